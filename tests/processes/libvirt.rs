//! What a real libvirt defines, runs, snapshots and saves is known.
#![allow(clippy::print_stderr)] // What it took is printed.

use std::time::{Duration, Instant};

use crate::support::libvirt::session;

fn row(name: &str, state: &str, part: &str, is_pinned: bool) -> (String, String, String, bool) {
    (
        name.to_owned(),
        state.to_owned(),
        part.to_owned(),
        is_pinned,
    )
}

#[test]
fn what_libvirt_defines_runs_snapshots_and_saves_is_known_and_kept() {
    let Some(session) = session() else { return };
    session.image("base 64M");
    session.image("-b base -F qcow2 disk.qcow2");
    session.image("-b base -F qcow2 free.qcow2");
    session.define("web", "disk.qcow2");
    assert_eq!(
        session.use_of("disk.qcow2"),
        row("web", "off", "disk", false)
    );
    assert_eq!(session.refusal("discard disk.qcow2"), "used-by-machine");
    assert_eq!(
        session.refusal("move disk.qcow2 other.qcow2"),
        "used-by-machine"
    );
    assert_eq!(session.refusal("discard free.qcow2"), "");
    assert_eq!(session.refusal("resize disk.qcow2 128M"), "");

    session.virsh_ok("start web");
    assert_eq!(
        session.use_of("disk.qcow2"),
        row("web", "running", "disk", false)
    );
    session.virsh_ok("snapshot-create-as web before --disk-only --atomic");
    session.virsh_ok("destroy web");
    // The definition names the chain from now on, whatever the headers say.
    assert_eq!(
        session.use_of("disk.before"),
        row("web", "off", "disk", true)
    );
    assert_eq!(
        session.use_of("disk.qcow2"),
        row("web", "off", "pinned", false)
    );
    assert_eq!(
        session.refusal("rebase disk.before --to base"),
        "used-by-machine"
    );
    assert_eq!(session.refusal("squash disk.qcow2"), "used-by-machine");

    session.virsh_ok("start web");
    session.virsh_ok("managedsave web");
    assert_eq!(
        session.use_of("disk.before"),
        row("web", "saved", "disk", true)
    );
    assert_eq!(
        session.refusal("resize disk.before 128M"),
        "used-by-machine"
    );
}

#[test]
fn a_hundred_domains_are_asked_in_no_time() {
    let Some(session) = session() else { return };
    session.image("disk.qcow2 64M");
    for number in 0..100 {
        session.define(&format!("m{number}"), "disk.qcow2");
    }
    session.q("info disk.qcow2");
    let begun = Instant::now();
    let told = session.q("info disk.qcow2")["result"].take();
    let took = begun.elapsed();
    assert_eq!(told["machines"].as_array().unwrap().len(), 100);
    eprintln!("100 domains: {} ms", took.as_millis());
    // A machine that does ten other things is slower; one process for each would take a minute there.
    assert!(took < Duration::from_secs(5), "{took:?}");
}
