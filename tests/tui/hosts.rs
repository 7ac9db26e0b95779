//! Images of other machines on the screen: a shell stands in for ssh and the hosts.

use std::fs;

use super::pty::Terminal;
use crate::support::lab::Hosts;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// The screen on folders of hosts.
pub fn open(hosts: &Hosts, words: &[&str], size: (u16, u16)) -> Terminal {
    let (ssh, config) = (hosts.ssh(), hosts.config());
    let env = [
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
    ];
    Terminal::with_words(words, &env, size)
}

/// Waits until the screen says this, however many spaces are between the words.
pub fn says(terminal: &Terminal, words: &str) {
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
    // What is there is read there: the decoy here is built on nothing.
    for (key, tab, told) in [
        ("4", "[4 Diff]", "a.qcow2"),
        ("5", "[5 Map]", "8 MiB"),
        ("$", "[$ Explain]", "stores nothing"),
    ] {
        terminal.press(key);
        terminal.see(tab);
        says(&terminal, told);
    }
    terminal.press("2");
    says(&terminal, "virtual 8 MiB");
    let after = fs::metadata(decoy.join("b.qcow2")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_change_on_a_host_is_planned_there_shown_here_and_done_once_it_is_agreed_to() {
    let hosts = Hosts::new(QANOPY);
    let mut terminal = open(&hosts, &["--no-query", "@lab"], (120, 40));
    terminal.see("● one:/");
    terminal.see("● two:/");
    terminal.go_to("● one:");
    terminal.press("b");
    terminal.see("Branch on");
    terminal.press("<enter>");
    // The host's own plan, of its own path.
    let base = hosts.home("one").join("a.qcow2");
    terminal.see("one: Branch");
    says(&terminal, "[ Cancel ]");
    terminal.press("<esc>");
    terminal.see("Branch on");
    terminal.press("<esc>");
    terminal.lose("Branch on");
    assert_eq!(
        fs::read_dir(hosts.home("one"))
            .unwrap()
            .flatten()
            .filter(is_image)
            .count(),
        2
    );
    terminal.press("b");
    terminal.see("Branch on");
    terminal.press("<enter>");
    terminal.see("one: Branch");
    says(&terminal, "[ Cancel ]");
    // The row that it would be is shown before.
    terminal.see("○ a-1.qcow2");
    terminal.press("y");
    terminal.see("✓");
    assert!(base.with_file_name("a-1.qcow2").exists());
    assert!(!hosts.home("two").join("a-1.qcow2").exists());
    // It stands in the journal of the host, and nowhere here.
    let log = hosts.there("one", "log");
    assert!(String::from_utf8(log.stdout).unwrap().contains("a-1.qcow2"));
    // On an image of the host, what is taken back is what was done there.
    terminal.go_to("● one:");
    terminal.press("z");
    terminal.see("one: Undo");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.lose("○ a-1.qcow2");
    assert!(!base.with_file_name("a-1.qcow2").exists());
    terminal.press("Y");
    terminal.see("one: Redo");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.lose("[ Cancel ]");
    terminal.see("○ a-1.qcow2");
    // What the host refuses is told in its words.
    terminal.go_to("○ b.qcow2");
    terminal.press("b");
    terminal.see("Branch on b.qcow2");
    terminal.press(&"<backspace>".repeat(9));
    terminal.press("a.qcow2<enter>");
    terminal.see("one: Branch");
    says(&terminal, "exists already");
    // No yes is possible.
    terminal.press("y<esc>");
    terminal.lose("one: Branch");
    terminal.press("<esc>");
    terminal.lose("Branch on b.qcow2");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    assert!(hosts.home("one").join("b.qcow2").exists());
}

fn is_image(entry: &fs::DirEntry) -> bool {
    entry.path().extension().is_some_and(|it| it == "qcow2")
}

#[test]
fn a_connection_that_is_cut_before_the_answer_changes_nothing_and_says_so() {
    let hosts = Hosts::new(QANOPY);
    let mut terminal = open(&hosts, &["--no-query", "one:"], (120, 40));
    terminal.see("● one:/");
    terminal.go_to("○ b.qcow2");
    terminal.press("X");
    terminal.see("one: Discard");
    says(&terminal, "[ Cancel ]");
    hosts.cut();
    terminal.press("y");
    says(&terminal, "the connection to one was cut");
    assert!(hosts.home("one").join("b.qcow2").exists());
    // The next time it is there again.
    terminal.press("X");
    terminal.see("one: Discard");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.lose("○ b.qcow2");
    assert!(!hosts.home("one").join("b.qcow2").exists());
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn what_is_done_to_images_of_two_hosts_is_planned_by_each() {
    let hosts = Hosts::new(QANOPY);
    let mut terminal = open(&hosts, &["--no-query", "@lab"], (120, 40));
    terminal.see("● one:/");
    terminal.see("● two:/");
    for name in ["● one:", "● two:"] {
        terminal.go_to(name);
        terminal.press(" ");
    }
    terminal.see("2 marked");
    terminal.press("X");
    terminal.see("one: Discard");
    terminal.see("(then two)");
    terminal.press("<esc>");
    terminal.see("two: Discard");
    terminal.press("<esc>");
    says(&terminal, "Nothing was changed on two.");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
