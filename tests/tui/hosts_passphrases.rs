//! Passphrases of images on hosts, typed on the screen: a shell stands in for ssh.

use std::fs;

use super::hosts::{open, says};
use super::pty::Terminal;
use crate::support::lab::Hosts;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// Hosts, one of which has an encrypted image and an overlay of it.
fn hosts() -> Hosts {
    let hosts = Hosts::new(QANOPY);
    for (file, word) in [("word", "sesame"), ("other", "open")] {
        fs::write(hosts.home("one").join(file), word).unwrap();
    }
    let words = "create safe.qcow2 4M --encrypt luks --passphrase-file word --iter-time 10";
    hosts.there("one", words);
    hosts.there("one", "branch safe.qcow2 over.qcow2 --yes");
    hosts
}

/// On an image of the one host.
fn on(hosts: &Hosts, image: &str) -> Terminal {
    let mut terminal = open(hosts, &["--no-query", "@lab"], (120, 40));
    terminal.see("● two:/");
    terminal.see(image);
    terminal.go_to(image);
    terminal
}

/// Leaves, and looks that no passphrase was ever on the screen.
fn leave(mut terminal: Terminal, secrets: &[&str]) {
    terminal.press("q");
    let sent = terminal.bytes();
    for secret in secrets {
        let secret = secret.as_bytes();
        let is_shown = sent.windows(secret.len()).any(|part| part == secret);
        assert!(!is_shown, "{secret:?}");
    }
    assert_eq!(terminal.end(), 0);
}

#[test]
fn key_slots_there_come_change_and_go_and_a_passphrase_is_asked_for_once() {
    let hosts = hosts();
    let mut terminal = on(&hosts, "safe.qcow2");
    terminal.press("H");
    terminal.see("a passphrase of safe.qcow2");
    terminal.press("\t\topenup\topen<enter>");
    terminal.see("both times the same");
    terminal.press("up<enter>");
    // The host asks, and the dialog says whose it is.
    terminal.see("Passphrase of one:/");
    says(&terminal, "It is sent to one");
    terminal.press("wrong<enter>");
    says(&terminal, "opens none of its key slots");
    // A wrong one is asked for again.
    terminal.press("u");
    terminal.see("Passphrase of one:/");
    terminal.press("sesame<enter>");
    says(&terminal, "key slot 1 opens to the new passphrase");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    // What opened it is known from now on, for this image.
    terminal.go_to("safe.qcow2");
    terminal.press("H");
    terminal.see("a passphrase of safe.qcow2");
    terminal.press(" \t\tsimsim\tsimsim<enter>");
    says(
        &terminal,
        "key slot 2 opens to the new passphrase; then key slot 0 is erased",
    );
    assert!(!terminal.screen().contains("It is sent"));
    says(&terminal, "[ Cancel ]");
    terminal.press("<esc>");
    terminal.lose("[ Cancel ]");
    terminal.press("<esc>");
    leave(terminal, &["sesame", "openup", "wrong", "simsim"]);
    fs::write(hosts.home("one").join("new"), "openup").unwrap();
    hosts.there("one", "contents safe.qcow2 --passphrase-file new");
    hosts.there("one", "contents safe.qcow2 --passphrase-file word");
}

#[test]
fn a_question_that_is_left_gives_none_and_the_plan_says_what_it_lacks() {
    let hosts = hosts();
    let mut terminal = on(&hosts, "over.qcow2");
    terminal.press("C");
    terminal.see("Passphrase of one:/");
    terminal.press("<esc>");
    says(&terminal, "no passphrase was given");
    terminal.press("u");
    terminal.see("Passphrase of one:/");
    terminal.press("sesame<enter>");
    says(&terminal, "[ Cancel ]");
    terminal.press("<esc>");
    terminal.lose("[ Cancel ]");
    leave(terminal, &["sesame"]);
}

#[test]
fn a_new_image_there_is_encrypted_with_what_is_typed_into_its_form() {
    let hosts = hosts();
    let mut terminal = on(&hosts, "over.qcow2");
    terminal.press("b");
    terminal.see("Branch on over.qcow2");
    terminal.press("\t\t\t ");
    terminal.see("once more");
    terminal.press("\tsesame\tsesame<enter>");
    terminal.see("one: Branch");
    says(&terminal, "its content is encrypted");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    leave(terminal, &["sesame"]);
    hosts.there("one", "contents over-1.qcow2 --passphrase-file word");
}

#[test]
fn an_encrypted_image_there_is_read_here_with_its_passphrase_which_stays_here() {
    let hosts = hosts();
    let mut terminal = open(&hosts, &["--no-query", "one:"], (120, 40));
    terminal.see("over.qcow2");
    // A pane that reads no files of the image: what is given is for who asks first.
    terminal.press("3");
    terminal.see("[3 Chain]");
    terminal.press("1");
    terminal.go_to("over.qcow2");
    terminal.press("9");
    terminal.see("Passphrase of one:/");
    says(&terminal, "kept nowhere");
    terminal.press("wrong");
    terminal.see("•••••");
    terminal.press("<enter>");
    // It opens nothing, and is asked for again.
    terminal.lose("•••••");
    terminal.see("Passphrase of one:/");
    terminal.press("sesame");
    terminal.see("••••••");
    terminal.press("<enter>");
    terminal.lose("••••••");
    says(&terminal, "empty");
    terminal.press("<esc>");
    // What it was opened with serves whatever else is read, as a comparison.
    terminal.go_to("over.qcow2");
    terminal.press(" ");
    terminal.go_to("safe.qcow2");
    terminal.press(" ");
    terminal.see("2 marked");
    terminal.press("t");
    says(&terminal, "the same");
    leave(terminal, &["sesame", "wrong"]);
}
