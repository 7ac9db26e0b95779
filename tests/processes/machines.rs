//! What is done to a machine as a whole, with a real libvirt: its disks and its definition change together, its guest
//! finds what it is to find, one undo leads back, and what was cut off comes to an end.

use crate::support::libvirt::{Cut, OF_BASE, OF_WEB, Session, web};

/// The same with a second disk: `data`, built on `ground`.
fn two_disks() -> Option<Session> {
    let session = web()?;
    session.image("ground 64M");
    session.image("-b ground -F qcow2 data");
    let second = format!(
        "</disk><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
         <target dev='vdb' bus='virtio'/></disk>",
        session.at("data").display()
    );
    session.edit("web", "</disk>", &second);
    Some(session)
}

/// Whether the machine's definition names just these files, and pins nothing.
fn has(session: &Session, name: &str, disks: &[&str]) -> bool {
    let xml = session.xml(name);
    let named =
        |disk: &&str| xml.contains(&format!("<source file='{}'/>", session.at(disk).display()));
    xml.matches("<source file=").count() == disks.len()
        && disks.iter().all(named)
        && !xml.contains("<backingStore")
}

#[test]
fn a_machine_goes_on_in_a_new_overlay_and_one_undo_leads_back() {
    let Some(session) = web() else { return };
    let before = session.xml("web");
    let told = session.q_ok("machine branch web second --yes");
    assert_eq!(told["plan"]["redefines"][0]["step"], "source", "{told}");
    assert!(has(&session, "web", &["second"]));
    session.guest_finds("web", OF_WEB);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    assert!(!session.at("second").exists());
    session.q_ok("redo --yes");
    assert!(has(&session, "web", &["second"]));
    session.guest_finds("web", OF_WEB);
    // On another image, by a name that is found for it.
    session.q_ok("machine branch web other --on base --yes");
    assert!(has(&session, "web", &["other"]));
    session.guest_finds("web", OF_BASE);
}

#[test]
fn a_machine_is_branched_and_started_in_one_plan_and_not_while_it_runs() {
    let Some(session) = web() else { return };
    session.q_ok("machine branch web --start --yes");
    assert!(has(&session, "web", &["disk-1.qcow2"]));
    assert_eq!(session.virsh_ok("domstate web").trim(), "running");
    assert_eq!(
        session.refusal("machine branch web third"),
        "used-by-machine"
    );
    assert!(!session.at("third").exists());
    session.virsh_ok("destroy web");
    session.guest_finds("web", OF_WEB);
}

#[test]
fn what_libvirt_would_not_start_is_not_branched_to_be_started() {
    let Some(session) = web() else { return };
    session.image("-b disk -F qcow2 no-format");
    session.drop_backing_format("no-format");
    assert_eq!(
        session.refusal("machine branch web second --on no-format --start"),
        "backing-format"
    );
    assert_eq!(session.refusal("machine branch nobody second"), "not-found");
    assert_eq!(session.refusal("machine branch web disk"), "already-exists");
}

#[test]
fn a_machine_goes_back_to_a_layer_and_keeps_what_it_is_as_a_branch() {
    let Some(session) = web() else { return };
    let before = session.xml("web");
    let told = session.q_ok("machine revert web --to base --yes");
    let keeps = told["plan"]["keeps"].to_string();
    assert!(keeps.contains("/disk: the present state"), "{told}");
    assert!(has(&session, "web", &["base-1.qcow2"]));
    session.guest_finds("web", OF_BASE);
    assert!(session.shows("disk", "qcow2", 2, 64));
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_WEB);
    assert_eq!(
        session.refusal("machine revert web --to disk"),
        "invalid-request"
    );
    session.image("alone 64M");
    assert_eq!(
        session.refusal("machine revert web --to alone"),
        "not-in-chain"
    );
}

#[test]
fn disks_that_were_frozen_together_go_back_together() {
    let Some(session) = two_disks() else { return };
    // What the other disk was then is not known.
    assert_eq!(
        session.refusal("machine revert web --to base"),
        "invalid-request"
    );
    let ways = session.ways_out("machine revert web --to base");
    assert!(
        ways.iter().any(|line| line.contains("--keep vdb")),
        "{ways:?}"
    );
    session.q_ok("machine branch web --yes");
    assert!(has(&session, "web", &["disk-1.qcow2", "data-1.qcow2"]));
    session.q_ok("machine branch web --yes");
    session.q_ok("machine revert web --to disk --yes");
    assert!(has(&session, "web", &["disk-2.qcow2", "data-2.qcow2"]));
    session.guest_finds("web", OF_WEB);
    session.q_ok("undo --yes");
    assert!(has(&session, "web", &["disk-1A.qcow2", "data-1A.qcow2"]));
    // Named, or left as it is.
    session.q_ok("machine revert web --to base --disk vdb=ground --yes");
    assert!(has(&session, "web", &["base-1.qcow2", "ground-1.qcow2"]));
    session.q_ok("undo --yes");
    session.q_ok("machine revert web --to base --keep vdb --yes");
    assert!(has(&session, "web", &["base-1.qcow2", "data-1A.qcow2"]));
}

#[test]
fn disks_of_a_snapshot_of_libvirts_go_back_together() {
    let Some(session) = two_disks() else { return };
    session.virsh_ok("start web");
    session.virsh_ok("snapshot-create-as web before --disk-only --atomic");
    session.virsh_ok("destroy web");
    session.write("disk.before", 3, 128);
    session.q_ok("machine revert web --to disk --yes");
    assert!(has(&session, "web", &["disk-1.qcow2", "data-1.qcow2"]));
    session.guest_finds("web", OF_WEB);
    assert!(session.shows("disk.before", "qcow2", 3, 128));
    session.q_ok("undo --yes");
    session.guest_finds("web", &[(1, 0), (2, 64), (3, 128)]);
}

/// Branches the machine, cut off there.
fn cut_off(cut: Cut) -> Option<(Session, String)> {
    let session = web()?;
    let before = session.xml("web");
    session.cut_off("machine branch web second --yes", cut);
    Some((session, before))
}

#[test]
fn a_branch_that_was_cut_off_is_done_to_the_end() {
    for cut in [Cut::BeforeDefine, Cut::AfterDefine] {
        let Some((session, _)) = cut_off(cut) else {
            return;
        };
        session.guest_finds("web", OF_WEB);
        session.q_ok("recover 1 --finish --yes");
        assert!(has(&session, "web", &["second"]), "{cut:?}");
        session.guest_finds("web", OF_WEB);
    }
}

#[test]
fn a_branch_that_was_cut_off_is_taken_back() {
    for cut in [Cut::BeforeDefine, Cut::AfterDefine] {
        let Some((session, before)) = cut_off(cut) else {
            return;
        };
        session.q_ok("recover 1 --roll-back --yes");
        assert_eq!(session.xml("web"), before, "{cut:?}");
        assert!(!session.at("second").exists(), "{cut:?}");
        session.guest_finds("web", OF_WEB);
    }
}

/// The UUID and the MAC address of a machine.
fn identity(session: &Session, name: &str) -> [String; 2] {
    let xml = session.xml(name);
    let after = |what: &str| {
        let (_, rest) = xml.split_once(what).unwrap();
        rest.split(['<', '\'']).next().unwrap().to_owned()
    };
    [after("<uuid>"), after("<mac address='")]
}

/// `web` with a network interface.
fn with_network() -> Option<Session> {
    let session = web()?;
    let interface =
        "<interface type='user'><mac address='52:54:00:11:22:33'/></interface></devices>";
    session.edit("web", "</devices>", interface);
    Some(session)
}

#[test]
fn a_clone_is_another_machine_on_the_same_layer_and_both_go_on_in_overlays() {
    let Some(session) = with_network() else {
        return;
    };
    let before = session.xml("web");
    session.q_ok("machine clone web copy --yes");
    assert!(has(&session, "web", &["disk-1.qcow2"]));
    assert!(has(&session, "copy", &["copy.qcow2"]));
    let (old, new) = (identity(&session, "web"), identity(&session, "copy"));
    assert!(old[0] != new[0] && old[1] != new[1], "{old:?} {new:?}");
    assert_eq!(session.refusal("machine clone web copy"), "already-exists");
    for name in ["web", "copy"] {
        session.guest_finds(name, OF_WEB);
    }
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    assert!(!session.virsh("dominfo copy").status.success());
    assert!(!session.at("copy.qcow2").exists() && !session.at("disk-1.qcow2").exists());
    session.guest_finds("web", OF_WEB);
    session.q_ok("redo --yes");
    session.guest_finds("copy", OF_WEB);
}

#[test]
fn a_full_clone_shares_nothing_with_its_machine() {
    let Some(session) = with_network() else {
        return;
    };
    let before = session.xml("web");
    session.folder("there");
    session.q_ok("machine clone web copy --full --folder there --yes");
    assert_eq!(session.xml("web"), before);
    assert!(has(&session, "copy", &["there/copy.qcow2"]));
    session.guest_finds("copy", OF_WEB);
    session.write("disk", 9, 64);
    session.guest_finds("copy", OF_WEB);
    session.q_ok("undo --yes");
    assert!(!session.virsh("dominfo copy").status.success());
    assert!(!session.at("there/copy.qcow2").exists());
}

#[test]
fn a_clone_has_its_own_variables_of_the_firmware_and_those_of_its_machine_stay() {
    let Some(session) = with_network() else {
        return;
    };
    session.file("web_VARS.fd", b"what its firmware keeps");
    let firmware = format!(
        "<loader readonly='yes' type='pflash'>{}</loader><nvram>{}</nvram></os>",
        session.at("code.fd").display(),
        session.at("web_VARS.fd").display()
    );
    session.edit("web", "</os>", &firmware);
    for (words, new) in [("", "copy"), (" --full", "whole")] {
        session.q_ok(&format!("machine clone web {new}{words} --yes"));
        let own = format!("{new}_VARS.fd");
        assert_eq!(session.read(&own), b"what its firmware keeps");
        let xml = session.xml(new);
        let named = session.at(&own).display().to_string();
        assert!(xml.contains(&named) && !xml.contains("web_VARS"), "{xml}");
        assert!(session.xml("web").contains("web_VARS.fd"));
    }
    // Each is changed by its own machine.
    session.file("web_VARS.fd", b"more");
    session.q_ok("undo --yes");
    assert!(!session.at("whole_VARS.fd").exists());
    assert_eq!(session.read("web_VARS.fd"), b"more");
}

#[test]
fn what_a_clone_would_share_is_told_by_name() {
    let Some(session) = with_network() else {
        return;
    };
    let chip = "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm></devices>";
    session.edit("web", "</devices>", chip);
    let told = session.q("machine clone web copy --dry-run").to_string();
    assert!(told.contains("both machines want its TPM"), "{told}");
}

#[test]
fn a_clone_that_was_cut_off_is_done_to_the_end_or_taken_back() {
    for (cut, full) in [
        (Cut::BeforeDefine, ""),
        (Cut::AfterDefine, ""),
        (Cut::BeforeDefine, " --full"),
        (Cut::AfterDefine, " --full"),
    ] {
        for finishes in [true, false] {
            let Some(session) = with_network() else {
                return;
            };
            let before = session.xml("web");
            session.cut_off(&format!("machine clone web copy{full} --yes"), cut);
            session.guest_finds("web", OF_WEB);
            if finishes {
                session.q_ok("recover 1 --finish --yes");
                session.guest_finds("copy", OF_WEB);
            } else {
                session.q_ok("recover 1 --roll-back --yes");
                assert_eq!(session.xml("web"), before, "{cut:?}{full}");
                assert!(!session.virsh("dominfo copy").status.success());
                assert!(!session.at("copy.qcow2").exists());
            }
            session.guest_finds("web", OF_WEB);
        }
    }
}

#[test]
fn what_is_tried_by_a_program_leaves_nothing_and_reads_the_image_only() {
    let Some(session) = web() else { return };
    session.configure("[machine]\ntemplate = [\"sh\", \"-c\", \"qemu-io -f qcow2 -c 'read -P 2 64k 64k' -c 'write -P 9 64k 64k' $0\", \"{disk}\"]");
    let before = session.files();
    session.q_ok("machine try disk --yes");
    assert_eq!(session.files(), before);
    assert!(session.shows("disk", "qcow2", 2, 64));
    session.configure("[machine]\ntemplate = [\"false\", \"{disk}\"]");
    assert!(!session.q("machine try disk --yes")["error"].is_null());
    assert_eq!(session.files(), before);
}

#[test]
fn what_is_tried_as_a_machine_is_defined_is_gone_with_it() {
    let Some(session) = two_disks() else { return };
    let before = session.files();
    let ours = session.spawn("machine try base --like web --yes");
    let name = loop {
        let running = session.virsh_ok("list --name");
        if let Some(name) = running.lines().find(|name| name.starts_with("web-try-")) {
            break name.to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    session.running_guest_finds(&name, OF_BASE);
    assert_eq!(session.files().len(), before.len() + 2);
    session.virsh_ok(&format!("destroy {name}"));
    let ended = ours.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(session.files(), before);
    session.guest_finds("web", OF_WEB);
}

#[test]
fn what_a_kill_leaves_of_a_try_is_found_and_removed() {
    let Some(session) = web() else { return };
    session.configure("[machine]\ntemplate = [\"sh\", \"-c\", \"kill -9 $PPID\", \"{disk}\"]");
    let before = session.files();
    let ended = session
        .spawn("machine try disk --yes")
        .wait_with_output()
        .unwrap();
    assert_eq!(ended.status.code(), None, "{ended:?}");
    assert_eq!(session.files().len(), before.len() + 1);
    session.q_ok("recover 1 --finish --confirm 1");
    assert_eq!(session.files(), before);
}
