//! The story that people come with: an overlay on an installed system boots, an overlay on that overlay does not. It is
//! told with the files as `qemu-img create -b` made them for years, and with `virsh create`.

use crate::support::libvirt::{Session, session};

/// Does what a way out says; where that is refused, what its own first way out says.
fn take(session: &Session, way: &str) {
    let words = way.strip_prefix("qanopy ").unwrap();
    match session.ways_out(words).first() {
        // That a file begins like an overlay may be its guest's doing: a person says that it is one.
        Some(on) => take(session, on),
        None => drop(session.q_ok(&format!("{words} --yes"))),
    }
}

#[test]
fn the_overlay_on_an_overlay_boots_once_the_ways_out_are_taken() {
    let Some(session) = session() else { return };
    session.image("centos.qcow2 64M");
    session.write("centos.qcow2", 1, 0);
    session.image("-b centos.qcow2 -F qcow2 centos-overlay-1.qcow2");
    session.drop_backing_format("centos-overlay-1.qcow2");
    let created = session.create("example", "centos-overlay-1.qcow2");
    assert!(created.status.success(), "{created:?}");
    let (name, state, ..) = session.use_of("centos-overlay-1.qcow2");
    assert_eq!((name.as_str(), state.as_str()), ("example", "running"));
    session.virsh_ok("destroy example");
    // What the guest writes there.
    session.write("centos-overlay-1.qcow2", 2, 64);
    session.image("-b centos-overlay-1.qcow2 -F qcow2 centos-overlay-2.qcow2");
    session.drop_backing_format("centos-overlay-2.qcow2");
    let failed = session.create("example", "centos-overlay-2.qcow2");
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        !failed.status.success() && told.contains("was not specified"),
        "{failed:?}"
    );
    // The same machine, asked for here: the reason is named, and what helps.
    session.define("example", "centos-overlay-2.qcow2");
    assert_eq!(session.refusal("machine start example"), "backing-format");
    let ways = session.ways_out("machine start example");
    assert!(!ways.is_empty());
    for way in ways {
        take(&session, &way);
    }
    assert_eq!(session.refusal("machine start example"), "");
    session.virsh_ok("undefine example");
    let created = session.create("example", "centos-overlay-2.qcow2");
    assert!(created.status.success(), "{created:?}");
    session.running_guest_finds("example", &[(1, 0), (2, 64)]);
}

#[test]
fn the_same_story_told_here_has_no_step_that_fails() {
    let Some(session) = session() else { return };
    session.image("centos.qcow2 64M");
    session.write("centos.qcow2", 1, 0);
    session.define("example", "centos.qcow2");
    session.q_ok("machine branch example --start --yes");
    session.q_ok("machine stop --kill example --yes");
    session.write("centos-1.qcow2", 2, 64);
    session.q_ok("machine branch example --start --yes");
    session.running_guest_finds("example", &[(1, 0), (2, 64)]);
    session.q_ok("machine stop --kill example --yes");
    session.write("centos-1A.qcow2", 3, 128);
    // Back to the installed system, on a branch of its own.
    session.q_ok("machine revert example --to centos.qcow2 --start --yes");
    session.running_guest_finds("example", &[(1, 0), (0, 64), (0, 128)]);
    assert!(session.shows("centos-1A.qcow2", "qcow2", 3, 128));
}
