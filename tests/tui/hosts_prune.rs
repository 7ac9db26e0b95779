//! Leaves of hosts that nothing uses, in the checklist on the screen: ticked, kept by rule and discarded, machine by
//! machine. A shell stands in for ssh; one host is away, one hangs.

use std::fs;

use super::hosts::{open, says};
use crate::support::lab::Hosts;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

#[test]
fn leaves_of_hosts_are_ticked_by_their_rules_and_discarded_machine_by_machine() {
    let hosts = Hosts::new(QANOPY);
    let here = tempfile::tempdir().unwrap();
    // On the host one a second leaf, younger than the other.
    hosts.there("one", "branch a.qcow2 c.qcow2 --yes");
    let words = [
        "--no-query",
        "@lab",
        "away:/x",
        here.path().to_str().unwrap(),
    ];
    let mut terminal = open(&hosts, &words, (140, 40));
    terminal.see("away cannot be reached");
    terminal.see(" one:/");
    terminal.see(" two:/");
    // On an image of a host, without a look at others: one that is being read is in use.
    terminal.press("/host:two<enter>");
    terminal.lose(" one:/");
    terminal.press("<esc>");
    terminal.see(" one:/");
    terminal.press("P");
    let [b, c] = ["b.qcow2", "c.qcow2"].map(|name| hosts.home("one").join(name));
    let two = hosts.home("two").join("b.qcow2");
    terminal.see(&format!("[✗] one:{}", b.display()));
    terminal.see(&format!("[ ] one:{}", c.display()));
    terminal.see(&format!("[✗] two:{}", two.display()));
    says(&terminal, "away cannot be reached");
    says(&terminal, "2 leaves ticked");
    // The rule is each host's to apply: the youngest of each stays.
    terminal.press("l");
    terminal.until("both have told", |screen| {
        screen.matches(" kept ").count() == 2
    });
    says(&terminal, "1 leaf ticked");
    terminal.see(&format!("[✗] one:{}", b.display()));
    terminal.see(&format!("[ ] two:{}", two.display()));
    terminal.press("a");
    says(&terminal, "3 leaves ticked");
    terminal.press("<enter>");
    terminal.see("one: Discard");
    terminal.see("(then two)");
    says(&terminal, "[ Cancel ]");
    terminal.press("<esc>");
    terminal.see("two: Discard");
    says(&terminal, "[ Cancel ]");
    assert!(two.exists());
    terminal.press("y");
    terminal.until("two is done", |_| !two.exists());
    assert!(b.exists() && c.exists());
    terminal.see("✓ moved");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_host_that_hangs_or_shows_one_folder_is_a_sentence_among_the_leaves_of_others() {
    let hosts = Hosts::new(QANOPY);
    let mut terminal = open(&hosts, &["--no-query", "hang:/x", "one:"], (120, 30));
    terminal.see(" one:/");
    terminal.press("P");
    terminal.see("[✗] one:/");
    terminal.see("hang has said nothing for");
    terminal.press("<enter>");
    terminal.see("one: Discard");
    says(&terminal, "[ Cancel ]");
    terminal.press("<esc>");
    terminal.see("[✗] one:/");
    terminal.press("<esc>");
    terminal.lose("[✗] one:/");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn marked_images_of_two_hosts_are_discarded_by_a_plan_of_each() {
    let hosts = Hosts::new(QANOPY);
    let mut terminal = open(&hosts, &["--no-query", "@lab"], (140, 40));
    terminal.see(" one:/");
    terminal.see(" two:/");
    terminal.press("/b.qcow2<enter>");
    terminal.go_to("b.qcow2");
    terminal.press(" ");
    terminal.press("n");
    terminal.press(" ");
    terminal.see("2 marked");
    terminal.press("X");
    terminal.see("one: Discard");
    terminal.see("(then two)");
    terminal.press("<esc>");
    terminal.see("two: Discard");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.until("two is done", |_| {
        !hosts.home("two").join("b.qcow2").exists()
    });
    assert!(fs::exists(hosts.home("one").join("b.qcow2")).unwrap());
    // What was not agreed to stays marked.
    terminal.see("1 marked");
    terminal.see("✓ moved");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
