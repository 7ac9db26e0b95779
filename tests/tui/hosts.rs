//! Images of other machines on the screen: a shell stands in for ssh and the hosts.

use std::fs;

use super::pty::Terminal;
use crate::support::lab::Hosts;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// The screen on folders of hosts.
fn open(hosts: &Hosts, words: &[&str], size: (u16, u16)) -> Terminal {
    let (ssh, config) = (hosts.ssh(), hosts.config());
    let env = [
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
    ];
    Terminal::with_words(words, &env, size)
}

/// Waits until the screen says this, however many spaces are between the words.
fn says(terminal: &Terminal, words: &str) {
    terminal.until(words, |screen| {
        let all: Vec<&str> = screen.split_whitespace().collect();
        all.join(" ").contains(words)
    });
}

#[test]
fn images_of_several_hosts_stand_in_one_forest_and_a_host_that_is_away_is_a_row() {
    let hosts = Hosts::new(QANOPY);
    let here = tempfile::tempdir().unwrap();
    let words = [
        "--no-query",
        "@lab",
        "away:/x",
        here.path().to_str().unwrap(),
    ];
    let mut terminal = open(&hosts, &words, (120, 40));
    terminal.see("away cannot be reached");
    terminal.see("port 22: Connection refused");
    terminal.see("● one:/");
    terminal.see("● two:/");
    terminal.see("2 trees · 4 images");
    // The detail says whose it is.
    terminal.go_to("one:");
    says(&terminal, "host one");
    terminal.press("/host:two<enter>");
    terminal.lose("● one:");
    terminal.see("● two:");
    terminal.press("<esc>");
    terminal.see("● one:");
    // What comes there is seen once they are asked again.
    hosts.there("one", "branch a.qcow2 c.qcow2");
    terminal.press("r");
    terminal.see("c.qcow2");
    terminal.see("away cannot be reached");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_host_that_hangs_is_told_of_and_holds_up_no_key() {
    let hosts = Hosts::new(QANOPY);
    let mut terminal = open(&hosts, &["--no-query", "hang:/x", "one:"], (100, 30));
    terminal.see("● one:");
    terminal.see("hang is being asked");
    terminal.press("/b.q<enter>");
    terminal.lose("hang is");
    terminal.press("<esc>");
    terminal.see("hang has said nothing for 5 s");
    terminal.press("r");
    terminal.see("hang is being asked");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn no_file_here_is_opened_by_a_name_of_a_host() {
    let hosts = Hosts::new(QANOPY);
    // A folder here is called as the host's images are, and is where the program runs.
    let here = tempfile::tempdir().unwrap();
    let there = hosts.home("one");
    let decoy = here.path().join(format!("one:{}", there.display()));
    fs::create_dir_all(&decoy).unwrap();
    hosts.there("two", &format!("create {}/b.qcow2 3M", decoy.display()));
    let before = fs::metadata(decoy.join("b.qcow2")).unwrap();
    let (ssh, config) = (hosts.ssh(), hosts.config());
    let env = [
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
    ];
    let folder = here.path().to_str().unwrap();
    let mut terminal = Terminal::with_words_in(
        here.path(),
        &["--no-query", "@lab", folder],
        &env,
        (120, 40),
    );
    terminal.see("● one:");
    terminal.go_to("● one:");
    terminal.press("j");
    // 8 MiB there, 3 MiB here.
    says(&terminal, "virtual 8 MiB");
    for (key, tab) in [("4", "[4 Diff]"), ("5", "[5 Map]"), ("$", "[$ Explain]")] {
        terminal.press(key);
        terminal.see(tab);
        says(&terminal, "not shown for images of other hosts");
    }
    terminal.press("2");
    says(&terminal, "virtual 8 MiB");
    for key in ["c", "!", "9"] {
        terminal.press(key);
        says(&terminal, "not shown for images of other hosts");
    }
    let after = fs::metadata(decoy.join("b.qcow2")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
