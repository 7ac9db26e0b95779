//! Plans of hosts on the screen: the rows that they mark, the ways out of their refusals, snapshots and bitmaps, names
//! that are completed, and a host that only lets its images be read. A shell stands in for ssh, and in one test a real
//! server does the same.

use std::fs;

use super::hosts::{open, says};
use super::pty::Terminal;
use crate::support::lab::{Hosts, program};
use crate::support::qemu::qemu;
use crate::support::sshd::server;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// On an image of the one host.
fn on(hosts: &Hosts, image: &str) -> Terminal {
    let mut terminal = open(hosts, &["--no-query", "one:"], (120, 40));
    terminal.see(image);
    terminal.go_to(image);
    terminal
}

/// Whether a row shows an image with this sign before its name.
fn is_marked(screen: &str, sign: char, name: &str) -> bool {
    let rows = screen.lines().filter(|line| line.contains(name));
    rows.take(1)
        .any(|line| line.chars().take(6).any(|it| it == sign))
}

#[test]
fn a_plan_of_a_host_marks_rows_and_its_ways_out_are_planned_there() {
    let hosts = Hosts::new(QANOPY);
    hosts.there("one", "branch a.qcow2 c.qcow2 --yes");
    let Some(qemu) = qemu() else { return };
    qemu.io(hosts.home("one").join("b.qcow2"), &["write -P 4 0 64k"]);
    let mut terminal = on(&hosts, "b.qcow2");
    terminal.press("X");
    terminal.see("one: Discard");
    says(&terminal, "[ Cancel ]");
    terminal.until("the row marked", |screen| is_marked(screen, '✗', "b.qcow2"));
    terminal.press("<esc>");
    terminal.until("no mark", |screen| !is_marked(screen, '✗', "b.qcow2"));
    // Others are built on the base: what can be done instead is a digit.
    terminal.press("C");
    terminal.see("one: Commit");
    says(&terminal, "1-3 instead");
    assert!(!terminal.screen().contains("[ Cancel ]"));
    terminal.press("1");
    says(&terminal, "Type 1 to do it");
    terminal.press("1<enter>");
    terminal.see("✓");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    qemu.io(hosts.home("one").join("a.qcow2"), &["read -P 4 0 64k"]);
    qemu.io(hosts.home("one").join("c.qcow2"), &["read -P 0 0 64k"]);
    assert!(!hosts.home("one").join("b.qcow2").exists());
    assert!(hosts.home("one").join("c.qcow2").exists());
}

#[test]
fn snapshots_and_bitmaps_of_an_image_there_come_and_go() {
    let hosts = Hosts::new(QANOPY);
    let mut terminal = on(&hosts, "b.qcow2");
    terminal.press("S");
    terminal.see("Snapshots of");
    terminal.press("<enter>");
    terminal.see("name");
    terminal.press("before<enter>");
    terminal.see("one: ");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    let told = hosts.there("one", "snapshot list b.qcow2");
    assert!(String::from_utf8(told.stdout).unwrap().contains("before"));
    terminal.press("K");
    terminal.see("Bitmaps of");
    terminal.press("<enter>");
    terminal.see("name");
    terminal.press("changes<enter>");
    terminal.see("one: ");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.lose("[ Cancel ]");
    terminal.press("K");
    terminal.see("Bitmaps of");
    says(&terminal, "changes (");
    terminal.press("remove<enter>");
    terminal.see("one: ");
    terminal.press("<esc>");
    terminal.lose("one: Bitmap");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn names_of_files_there_are_completed() {
    let hosts = Hosts::new(QANOPY);
    let home = hosts.home("one");
    fs::create_dir(home.join("elsewhere")).unwrap();
    let mut terminal = on(&hosts, "b.qcow2");
    terminal.press("M");
    terminal.see("Move");
    terminal.press(&"<backspace>".repeat(7));
    terminal.press("else\t");
    terminal.see("elsewhere/");
    terminal.press(&"<backspace>".repeat(10));
    // From its root, with the host's name before it or without.
    for lead in ["one:", ""] {
        let begun = format!("{lead}{}/elsew", home.display());
        terminal.press(&begun);
        terminal.press("\t");
        terminal.see("elsewhere/");
        terminal.press(&"<backspace>".repeat(begun.len() + 5));
    }
    terminal.press(&format!(
        "one:{}/elsewhere/new.qcow2<enter>",
        home.display()
    ));
    terminal.see("one: Move");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    assert!(home.join("elsewhere/new.qcow2").exists());
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_real_server_that_only_shows_one_folder_is_marked_and_refuses_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path()) else {
        return;
    };
    let hosts = Hosts::new(QANOPY);
    let home = hosts.home("one");
    let key = fs::read_to_string(dir.path().join("user.pub")).unwrap();
    let forced = dir.path().join("forced");
    program(
        &forced,
        &format!(
            "#!/bin/sh\nexport HOME='{home}'\nexec {QANOPY} agent --read-only --restrict '{home}'\n",
            home = home.display()
        ),
    );
    let line = format!("command=\"{}\" {key}", forced.display());
    fs::write(dir.path().join("authorized"), line).unwrap();
    let config = dir.path().join("config/qanopy");
    fs::create_dir_all(&config).unwrap();
    let words: Vec<String> = server
        .ssh
        .split(' ')
        .map(|word| format!("\"{word}\""))
        .collect();
    let text = format!(
        "[[host]]\nname = \"127.0.0.1\"\nssh = [{}]\n",
        words.join(", ")
    );
    fs::write(config.join("config.toml"), text).unwrap();
    let config = dir.path().join("config");
    let env = [("XDG_CONFIG_HOME", config.to_str().unwrap())];
    let words = ["--no-query", "127.0.0.1:"];
    let mut terminal = Terminal::with_words(&words, &env, (120, 40));
    terminal.see("○ b.qcow2");
    terminal.go_to("○ b.qcow2");
    says(&terminal, "host 127.0.0.1 (read-only)");
    for key in ["X", "b", "R"] {
        terminal.press(key);
        says(
            &terminal,
            "127.0.0.1 lets its images be read, and nothing be changed",
        );
    }
    terminal.press("T");
    says(
        &terminal,
        "127.0.0.1 shows the images of one folder, and tells nothing else",
    );
    terminal.press("<esc>");
    terminal.lose("tells nothing else");
    // What is inside is told as of any.
    terminal.press("5");
    terminal.see("[5 Map]");
    says(&terminal, "a.qcow2");
    terminal.press("c");
    says(&terminal, "b.qcow2 is clean");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
