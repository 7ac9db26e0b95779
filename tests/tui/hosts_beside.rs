//! What hosts tell beside their images, on the screen: their trash, what was interrupted there, what takes the space, and
//! what is wrong. A shell stands in for ssh; one host is away.

use std::fs;

use super::hosts::{open, says};
use super::pty::Terminal;
use crate::support::lab::Hosts;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// The screen on both hosts, one that is away and a folder here.
fn on_all(hosts: &Hosts, size: (u16, u16)) -> (Terminal, tempfile::TempDir) {
    let here = tempfile::tempdir().unwrap();
    let words = [
        "--no-query",
        "@lab",
        "away:/x",
        here.path().to_str().unwrap(),
    ];
    let terminal = open(hosts, &words, size);
    terminal.see("away cannot be reached");
    terminal.see(" one:/");
    terminal.see(" two:/");
    (terminal, here)
}

#[test]
fn what_is_in_the_trash_of_hosts_is_put_back_and_deleted_there() {
    let hosts = Hosts::new(QANOPY);
    for name in ["one", "two"] {
        hosts.there(name, "discard b.qcow2 --yes");
    }
    let (mut terminal, _here) = on_all(&hosts, (120, 40));
    terminal.press("T");
    terminal.see("one: discard");
    terminal.see("two: discard");
    says(&terminal, "away cannot be reached");
    // What is of two machines is planned by each, and cancelled by itself.
    terminal.press("ar");
    terminal.see("one: Restore");
    terminal.see("(then two)");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("two: Restore");
    says(&terminal, "[ Cancel ]");
    terminal.press("<esc>");
    says(&terminal, "Nothing was changed on two.");
    terminal.until("what one has is back", |_| {
        hosts.home("one").join("b.qcow2").exists()
    });
    terminal.lose("[ Cancel ]");
    terminal.until("its trash is empty", |_| {
        let left = hosts.there("one", "trash list");
        String::from_utf8_lossy(&left.stdout).contains("is empty")
    });
    assert!(hosts.home("one").join("b.qcow2").exists());
    assert!(!hosts.home("two").join("b.qcow2").exists());
    terminal.press("T");
    terminal.see("two: discard");
    terminal.lose("one: discard");
    terminal.press("E");
    terminal.see("two: ");
    says(&terminal, "Type 1 to do it");
    terminal.press("1<enter>");
    terminal.see("✓ deleted 1 file");
    let left = hosts.there("two", "trash list");
    assert!(String::from_utf8(left.stdout).unwrap().contains("is empty"));
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn what_was_interrupted_on_a_host_is_told_and_brought_to_an_end_there() {
    let hosts = Hosts::new(QANOPY);
    // Cut off after the first line of the log.
    hosts.there("two", "branch a.qcow2 c.qcow2 --yes");
    let journal = hosts.home("two").join(".local/state/qanopy/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let begun = lines.iter().rposition(|line| line.contains("\"begun\""));
    let kept = lines[..=begun.unwrap()].join("\n") + "\n";
    fs::write(&journal, kept).unwrap();
    let (mut terminal, _here) = on_all(&hosts, (120, 40));
    says(&terminal, "was interrupted: Z finishes that");
    terminal.press("Z");
    terminal.see("two: Branch");
    says(&terminal, "away cannot be reached");
    terminal.press("leave<enter>");
    terminal.see("two: ");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.lose("[ Cancel ]");
    terminal.see("is left as it is");
    terminal.press("Z");
    terminal.see("type to search");
    terminal.lose("two is being asked");
    terminal.lose("two: Branch");
    terminal.press("<esc>");
    terminal.lose("type to search");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    let left = hosts.there("two", "recover");
    let left = String::from_utf8(left.stdout).unwrap();
    assert!(left.contains("nothing was interrupted"), "{left}");
}

#[test]
fn where_the_space_of_hosts_went_is_told_with_that_of_this_machine() {
    let hosts = Hosts::new(QANOPY);
    hosts.there("one", "discard b.qcow2 --yes");
    let (mut terminal, here) = on_all(&hosts, (120, 40));
    terminal.press("8");
    terminal.see("Where the space went");
    says(&terminal, "away cannot be reached");
    // Those of both hosts.
    says(&terminal, "3 images");
    terminal.see("empty-trash");
    terminal.press("<enter>");
    terminal.see("one: ");
    says(&terminal, "Type 1 to do it");
    terminal.press("<esc>");
    terminal.lose("Type 1");
    terminal.press("\t");
    terminal.see(" two:/");
    terminal.press("q");
    terminal.lose("Where the space went");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    drop(here);
    let left = hosts.there("one", "trash list");
    assert!(String::from_utf8(left.stdout).unwrap().contains("discard"));
}

#[test]
fn what_is_wrong_on_hosts_stands_in_the_health_pane_and_is_mended_there() {
    let hosts = Hosts::new(QANOPY);
    hosts.there("one", "amend a.qcow2 --compat 0.10 --yes");
    let (mut terminal, _here) = on_all(&hosts, (160, 50));
    terminal.go_to(" one:/");
    terminal.press("6");
    terminal.see("Not examined:");
    terminal.see("~ away cannot be reached");
    says(&terminal, "is of version 2");
    says(&terminal, "plans what helps");
    terminal.press("<enter>");
    terminal.see("one: Amend");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    terminal.lose("is of version 2");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    let told = hosts.there("one", "info a.qcow2 --json");
    assert!(
        String::from_utf8(told.stdout)
            .unwrap()
            .contains("\"compat\": \"1.1\"")
    );
}

#[test]
fn a_host_that_hangs_is_a_sentence_among_what_the_others_tell() {
    let hosts = Hosts::new(QANOPY);
    hosts.there("one", "discard b.qcow2 --yes");
    let mut terminal = open(&hosts, &["--no-query", "hang:/x", "one:"], (100, 30));
    terminal.see(" one:/");
    terminal.press("T");
    terminal.see("one: discard");
    terminal.see("hang has said nothing for");
    terminal.press("<esc>");
    terminal.lose("one: discard");
    terminal.press("8");
    terminal.see("empty-trash  one:/");
    terminal.see("hang has said nothing for");
    terminal.press("q");
    terminal.lose("Where the space went");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
