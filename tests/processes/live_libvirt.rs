//! What a machine of libvirt's is told to do with its images while it runs: by libvirt alone, which knows of it
//! afterwards. Its definition names the right file, pins nothing, and its next start finds the same.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::libvirt::{Session, session};

/// `base <- l1 <- l2 <- l3`, and `sib` on `l1`; the machine `web` is defined on `l3`.
pub(crate) fn chain() -> Option<Session> {
    let session = session()?;
    session.image("base 64M");
    session.write("base", 1, 0);
    session.image("-b base -F qcow2 l1");
    session.write("l1", 2, 64);
    session.image("-b l1 -F qcow2 l2");
    session.write("l2", 3, 128);
    session.image("-b l2 -F qcow2 l3");
    session.write("l3", 4, 192);
    session.image("-b l1 -F qcow2 sib");
    session.define("web", "l3");
    Some(session)
}

/// The same, and the machine runs.
fn web() -> Option<Session> {
    let session = chain()?;
    session.virsh_ok("start web");
    Some(session)
}

const OF_L3: &[(u8, u32)] = &[(1, 0), (2, 64), (3, 128), (4, 192)];

/// The next start is from this image, and its guest finds what it is to find.
fn starts_from(session: &Session, image: &str) {
    let xml = session.xml("web");
    let named = format!("<source file='{}'/>", session.at(image).display());
    assert!(xml.contains(&named), "{xml}");
    assert!(!xml.contains("<backingStore"), "{xml}");
    session.virsh_ok("destroy web");
    session.guest_finds("web", OF_L3);
    for (pattern, kib) in [(1, 0), (2, 64), (0, 128), (0, 192)] {
        assert!(
            session.shows("sib", "qcow2", pattern, kib),
            "sib at {kib} KiB"
        );
    }
}

#[test]
fn a_guest_goes_on_in_a_new_overlay_that_libvirt_knows() {
    let Some(session) = web() else { return };
    session.q_ok("branch --live l3 l4 --yes");
    let live = session.virsh_ok("domblklist web");
    assert!(live.contains("/l4"), "{live}");
    starts_from(&session, "l4");
}

#[test]
fn a_layer_is_merged_down_by_libvirt_and_others_keep_what_they_show() {
    let Some(session) = web() else { return };
    assert_eq!(session.refusal("commit --live l3"), "in-use");
    assert_eq!(session.refusal("commit --live l2"), "dependants");
    session.q_ok("commit --live l2 --siblings preserve --confirm 1");
    assert!(!session.at("l2").exists());
    starts_from(&session, "l3");
}

#[test]
fn what_is_written_is_merged_by_libvirt_and_the_guest_goes_on_in_the_base() {
    let Some(session) = web() else { return };
    session.q_ok("commit --live --active l3 --confirm 1");
    assert!(!session.at("l3").exists());
    let live = session.virsh_ok("domblklist web");
    assert!(live.contains("/l2"), "{live}");
    starts_from(&session, "l2");
}

#[test]
fn a_leaf_takes_in_what_is_below_by_libvirt_and_is_proven_by_a_stop() {
    for onto in ["--onto l1", "--onto base", "--yes"] {
        let Some(session) = web() else { return };
        session.q_ok(
            &format!("flatten --in-place --live l3 --yes {onto}").replace("--yes --yes", "--yes"),
        );
        assert_eq!(session.virsh_ok("domstate web").trim(), "running");
        starts_from(&session, "l3");
    }
}

#[test]
fn a_disk_moves_while_its_machine_runs() {
    let Some(session) = web() else { return };
    session.folder("new");
    session.q_ok("move --live l3 new/l3 --yes");
    assert!(!session.at("l3").exists());
    starts_from(&session, "new/l3");
}

#[test]
fn the_story_of_an_overlay_on_an_overlay_goes_to_its_end() {
    let Some(session) = session() else { return };
    session.image("root 64M");
    session.write("root", 1, 0);
    // As `qemu-img create -b` made them for years: without the format of the base.
    session.image("-b root -F qcow2 one");
    session.define("web", "one");
    session.q_ok("machine start web");
    assert_eq!(session.virsh_ok("domstate web").trim(), "running");
    session.q_ok("machine stop --kill web --yes");
    session.q_ok("branch one two");
    assert_eq!(session.refusal("machine start web"), "dependants");
    session.q_ok("machine use web two --yes");
    session.q_ok("machine start web");
    session.q_ok("machine stop --kill web --yes");
    let listed = session.q("machine list");
    let machines = listed["result"]["machines"].as_array().unwrap();
    let web = machines.iter().find(|one| one["name"] == "web").unwrap();
    assert_eq!(web["state"], "off");
    assert!(
        web["disks"][0]["path"].as_str().unwrap().ends_with("/two"),
        "{web}"
    );
}

#[test]
fn a_job_of_libvirts_is_held_to_a_speed_and_has_no_pause() {
    let Some(session) = chain() else { return };
    session.fill("l3", 6, 40, 16);
    session.virsh_ok("start web");
    let ours = session.spawn("move --live l3 moved --speed 64K --yes");
    let until = Instant::now() + Duration::from_secs(120);
    let asked = loop {
        let asked = session.q("job speed 128K l3");
        if asked["error"].is_null() {
            break asked;
        }
        assert!(Instant::now() < until, "{asked}");
        sleep(Duration::from_millis(100));
    };
    assert_eq!(asked["result"]["jobs"][0]["controls"], "speed", "{asked}");
    let told = session.q("job pause l3")["error"]["message"].to_string();
    assert!(told.contains("no pause for a job"), "{told}");
    // libvirt has been told within the time of a look at it.
    sleep(Duration::from_secs(2));
    let told = session.virsh_ok("blockjob web vda --info --raw --bytes");
    assert!(told.contains("bandwidth=131072"), "{told}");
    session.q_ok("job speed 0");
    let ended = ours.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    starts_from(&session, "moved");
}

#[test]
fn what_is_in_use_names_the_machine_the_process_and_the_command_that_helps() {
    let Some(session) = web() else { return };
    let told = session.q("resize l3 128M --dry-run")["error"].take();
    let said = told.to_string();
    assert!(said.contains("machine web (qemu-system"), "{said}");
    assert!(said.contains("process "), "{said}");
    assert!(
        said.contains("virsh -c qemu:///session shutdown web"),
        "{said}"
    );
    let ways = session.ways_out("commit l2");
    let stops = "qanopy machine stop --connect qemu:///session web";
    assert!(ways.iter().any(|way| way == stops), "{ways:?}");
    session.virsh_ok("destroy web");
    let ways = session.ways_out("commit l3");
    assert!(
        !ways.iter().any(|way| way.contains("machine stop")),
        "{ways:?}"
    );
}

#[test]
fn what_breaks_a_checkpoint_is_refused_by_its_name() {
    let Some(session) = web() else { return };
    let made = session.virsh("checkpoint-create-as web before");
    assert!(made.status.success(), "{made:?}");
    let told = session.q("commit --live l2 --siblings preserve --dry-run");
    let text = told.to_string();
    assert!(
        text.contains("checkpoint") && text.contains("before"),
        "{text}"
    );
}
