//! What the screen tells of an image of this machine it tells of one on a host: a shell stands in for ssh.

use std::fs;

use super::hosts::{open, says};
use super::pty::Terminal;
use crate::support::guest_disks;
use crate::support::lab::Hosts;
use crate::support::qemu::qemu;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// Hosts of which one has the images of [`guest_disks::make`] beside its own. None where QEMU's tools are missing.
fn with_guests() -> Option<Hosts> {
    let qemu = qemu()?;
    let hosts = Hosts::new(QANOPY);
    guest_disks::make(&hosts.home("one"), &qemu);
    Some(hosts)
}

/// On an image there.
fn on(hosts: &Hosts, image: &str, size: (u16, u16)) -> Terminal {
    let mut terminal = open(hosts, &["--no-query", "one:", "away:/x"], size);
    terminal.see("away cannot be reached");
    terminal.see(image);
    terminal.go_to(image);
    terminal
}

#[test]
fn every_pane_tells_of_an_image_there_what_it_tells_of_one_here() {
    for size in [(80, 24), (200, 60)] {
        let Some(hosts) = with_guests() else { return };
        let mut terminal = on(&hosts, "top.qcow2", size);
        terminal.see("Debian GNU/Linux 12");
        terminal.press("4");
        terminal.see("home/anna/ (2)");
        terminal.press("5");
        terminal.see("[5 Map]");
        says(&terminal, "base.qcow2");
        terminal.press("$");
        says(&terminal, "metadata of filesystems");
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn files_of_an_image_there_are_browsed_compared_and_copied_out_to_this_machine() {
    let Some(hosts) = with_guests() else { return };
    let here = tempfile::tempdir().unwrap();
    let mut terminal = on(&hosts, "top.qcow2", (120, 40));
    terminal.press("9");
    terminal.see("ext4 \"system\"");
    terminal.press("<enter>");
    terminal.see("home/");
    terminal.press("<enter>");
    terminal.see("os-release");
    terminal.press("v");
    terminal.see("the new table");
    terminal.press("\x7f");
    terminal.see("os-release");
    terminal.press("gl");
    terminal.see("History of disk:/etc/fstab");
    terminal.see("modified");
    terminal.press("\x7f");
    terminal.see("os-release");
    terminal.press("d");
    terminal.see("-old table");
    terminal.see("+the new table");
    terminal.press("o");
    terminal.see("Extract disk:/etc/fstab");
    terminal.press(&format!("\x15{}<enter>", here.path().display()));
    terminal.see("1 file, 10 B copied to");
    assert_eq!(fs::read(here.path().join("fstab")).unwrap(), b"old table\n");
    terminal.press("<esc>q");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn an_image_there_is_checked_measured_and_compared_as_one_here() {
    let Some(hosts) = with_guests() else { return };
    let mut terminal = on(&hosts, "top.qcow2", (120, 40));
    terminal.press("c");
    terminal.see("top.qcow2 is clean");
    // Two of them are marked.
    terminal.press(" ");
    terminal.go_to("middle.qcow2");
    terminal.press(" ");
    terminal.see("2 marked");
    terminal.press("t");
    says(&terminal, "differ in");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_connection_that_is_cut_while_files_are_shown_is_made_again() {
    let Some(hosts) = with_guests() else { return };
    let mut terminal = on(&hosts, "top.qcow2", (120, 40));
    terminal.press("9");
    terminal.see("ext4 \"system\"");
    terminal.press("<enter>");
    terminal.see("home/");
    // The connection that reads was opened last.
    hosts.cut();
    terminal.press("<enter>");
    terminal.see("os-release");
    terminal.press("qq");
    assert_eq!(terminal.end(), 0);
}
