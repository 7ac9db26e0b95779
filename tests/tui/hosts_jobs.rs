//! Changes that hosts make while the screen watches: how far they are, stopped, cut off, brought to an end. A shell
//! stands in for ssh.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::hosts::{open, says};
use super::pty::Terminal;
use crate::support::lab::Hosts;
use crate::support::qemu::{Qemu, qemu};

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// Hosts of which one has c.qcow2 <- d.qcow2, and a commit of the latter takes a while.
fn with_large() -> Option<(Hosts, Qemu)> {
    let qemu = qemu()?;
    let hosts = Hosts::new(QANOPY);
    let qemu = qemu.within(hosts.home("one"));
    qemu.img(&["create", "-q", "-f", "qcow2", "c.qcow2", "600M"]);
    qemu.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "c.qcow2", "d.qcow2",
    ]);
    // More than is copied before anybody hears of it.
    let image = |name: &str| hosts.home("one").join(name);
    qemu.io(image("c.qcow2"), &["write -P 3 0 64M"]);
    qemu.io(image("d.qcow2"), &["write -P 4 0 512M"]);
    Some((hosts, qemu))
}

/// Has the commit begun, and stops its process where it is half way; gives its number.
fn begin(terminal: &mut Terminal, hosts: &Hosts) -> i32 {
    terminal.see(" one:/");
    terminal.go_to("○ d.qcow2");
    terminal.press("C");
    terminal.see("one: Commit");
    says(terminal, "Type 1 to do it");
    terminal.press("1<enter>");
    let begun = Instant::now();
    let process = loop {
        if let Some(process) = commit_of(hosts) {
            signal("-STOP", process);
            break process;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    };
    // It goes on a little at a time, so that it is never done before anybody looks.
    while !is_half_way(&terminal.screen()) {
        assert!(begun.elapsed() < Duration::from_secs(60));
        signal("-CONT", process);
        thread::sleep(Duration::from_millis(20));
        signal("-STOP", process);
        thread::sleep(Duration::from_millis(50));
    }
    process
}

/// Whether the share of a job is shown that has copied something.
fn is_half_way(screen: &str) -> bool {
    screen.contains("copy ") && screen.contains('%') && !screen.contains("  0%")
}

/// The process on a host that commits.
fn commit_of(hosts: &Hosts) -> Option<i32> {
    let home = hosts.home("one");
    let is_it = |process: &i32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(" commit ") && line.contains(home.to_str().unwrap())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|one| one.file_name().to_str()?.parse().ok());
    numbers.find(is_it)
}

fn signal(signal: &str, process: i32) {
    let sent = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Whether an image shows what d.qcow2 did.
fn holds(qemu: &Qemu, hosts: &Hosts, name: &str) -> bool {
    let bytes = qemu.try_io(hosts.home("one").join(name), &["read -P 4 0 512M"]);
    bytes.success() && !bytes.text().contains("verification failed")
}

/// Finishes what was interrupted on the host.
fn finish(terminal: &mut Terminal, hosts: &Hosts, qemu: &Qemu) {
    says(terminal, "was interrupted: Z finishes that");
    terminal.press("Z");
    terminal.see("one: Commit");
    terminal.press("finish<enter>");
    terminal.see("one: ");
    says(terminal, "[ Cancel ]");
    match terminal.screen().contains("Type 1") {
        true => terminal.press("1<enter>"),
        false => terminal.press("y"),
    }
    terminal.lose("○ d.qcow2");
    assert!(holds(qemu, hosts, "c.qcow2"));
    qemu.check_clean(hosts.home("one").join("c.qcow2"));
}

#[test]
fn a_job_of_a_host_tells_how_far_it_is_and_is_stopped_there() {
    let Some((hosts, qemu)) = with_large() else {
        return;
    };
    let mut terminal = open(&hosts, &["--no-query", "@lab"], (120, 40));
    let process = begin(&mut terminal, &hosts);
    terminal.press("J");
    terminal.see("X cancel");
    terminal.press("X");
    says(&terminal, "stopping");
    signal("-CONT", process);
    terminal.until("the job's end", |screen| screen.contains('✗'));
    terminal.press("<esc>");
    // No image lost anything, and what is half done is brought to its end.
    assert!(holds(&qemu, &hosts, "d.qcow2"));
    finish(&mut terminal, &hosts, &qemu);
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_host_that_goes_away_while_it_works_says_so_and_what_it_left_is_finished_once_it_is_back() {
    let Some((hosts, qemu)) = with_large() else {
        return;
    };
    let mut terminal = open(&hosts, &["--no-query", "@lab"], (120, 40));
    terminal.see(" two:/");
    let process = begin(&mut terminal, &hosts);
    hosts.away("one", true);
    hosts.cut_all();
    signal("-CONT", process);
    // The job says so, and the row.
    says(&terminal, "the connection to one was cut");
    says(&terminal, "one cannot be reached");
    let begun = Instant::now();
    while commit_of(&hosts).is_some() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it stops by itself"
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert!(holds(&qemu, &hosts, "d.qcow2"));
    hosts.away("one", false);
    terminal.press("r");
    terminal.lose("one cannot be reached");
    finish(&mut terminal, &hosts, &qemu);
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
