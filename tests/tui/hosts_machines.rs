//! Machines of hosts on the screen: beside the images that they use, and what is done to them by their hosts. A shell
//! stands in for ssh; in one test a real libvirt runs on the host.

use std::fs;

use super::hosts::{open, says};
use super::pty::Terminal;
use crate::support::lab::Hosts;
use crate::support::libvirt::{OF_WEB, web};

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// Defines a machine on a host, as libvirt does in its files, with this image as its disk.
fn define(hosts: &Hosts, host: &str, name: &str, disk: &str) {
    let domains = hosts.home(host).join(".config/libvirt/qemu");
    fs::create_dir_all(&domains).unwrap();
    let text = format!(
        "<domain type='qemu'><name>{name}</name><uuid>8c34a151-90f6-4e2c-8572-a4dc793693a8</uuid><devices>\
         <disk type='file'><driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vda'/></disk>\
         </devices></domain>",
        hosts.home(host).join(disk).display()
    );
    fs::write(domains.join("web.xml"), text).unwrap();
}

#[test]
fn machines_that_are_off_on_hosts_stand_beside_their_disks_and_in_the_view_by_machine() {
    let hosts = Hosts::new(QANOPY);
    // The same name on both.
    define(&hosts, "one", "web", "b.qcow2");
    define(&hosts, "two", "web", "b.qcow2");
    let here = tempfile::tempdir().unwrap();
    let words = [
        "--no-query",
        "@lab",
        "away:/x",
        here.path().to_str().unwrap(),
    ];
    let mut terminal = open(&hosts, &words, (140, 40));
    terminal.until("both disks", |screen| {
        screen.matches("b.qcow2 (web: off)").count() == 2
    });
    terminal.go_to("b.qcow2 (web");
    says(&terminal, "web (libvirt on one, off): the disk vda");
    terminal.press("/host:two vm:web<enter>");
    terminal.lose("one:/");
    terminal.see("b.qcow2 (web: off)");
    says(&terminal, "web (libvirt on two, off): the disk vda");
    terminal.press("<esc>");
    terminal.see("one:/");
    terminal.press("www");
    terminal.see("web (libvirt on one, off)");
    terminal.see("web (libvirt on two, off)");
    terminal.press("w");
    terminal.see("b.qcow2 (web: off)");
    // What changes there is seen once they are asked again.
    define(&hosts, "one", "mail", "b.qcow2");
    terminal.press("r");
    terminal.see("b.qcow2 (mail: off)");
    terminal.see("b.qcow2 (web: off)");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_machine_of_a_host_is_started_branched_cloned_and_ended_there() {
    let Some(session) = web() else { return };
    let (ssh, config) = session.as_host("lab");
    let env = [
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
    ];
    let mut terminal = Terminal::with_words(&["--no-query", "lab:"], &env, (140, 40));
    terminal.see("disk (web: off)");
    terminal.go_to("disk (web");
    terminal.press("&");
    terminal.see("web on lab, linked or full");
    terminal.see("do it there");
    terminal.press("try this image as<enter>");
    terminal.see("lab: Try disk");
    says(&terminal, "[ Cancel ]");
    let files = session.files();
    terminal.press("y");
    let name = loop {
        let running = session.virsh_ok("list --name");
        if let Some(name) = running.lines().find(|name| name.starts_with("web-try-")) {
            break name.to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    // It is listed before it has started.
    session.running_guest_finds(&name, OF_WEB);
    session.virsh_ok(&format!("destroy {name}"));
    terminal.see("what was written is thrown away");
    assert_eq!(session.files(), files);
    terminal.press("&start<enter>");
    terminal.see("lab: Start web");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("disk (web: running)");
    assert_eq!(session.virsh_ok("domstate web").trim(), "running");
    terminal.press("&kill<enter>");
    terminal.see("lab: Kill web");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("disk (web: off)");
    assert_eq!(session.virsh_ok("domstate web").trim(), "shut off");
    terminal.press("&branch<enter>");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.lose("disk (web: off)");
    terminal.see("(web: off)");
    assert!(
        !session.xml("web").contains("/vm/disk'"),
        "{}",
        session.xml("web")
    );
    // The heading of the machine has what is done to all of it.
    terminal.press("www");
    terminal.see("web (libvirt on lab, off)");
    terminal.go_to("web (libvirt on lab");
    terminal.press("&clone<enter>");
    terminal.see("Clone the machine web on lab");
    terminal.press("<enter>");
    terminal.see("lab: Clone the machine web as web-2");
    says(&terminal, "[ Cancel ]");
    terminal.press("y");
    terminal.see("web-2 (libvirt on lab, off)");
    assert!(session.virsh_ok("list --all --name").contains("web-2"));
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
