//! Machines on the screen: asked for once a scan is through, beside the images they use, and to be filtered by.

use std::path::Path;
use std::sync::Arc;

use qanopy::machines::{Machine, MachineState, Machines, Unasked};
use qanopy::ops::Request;
use qanopy::tui::testing::{Effect, Msg, ScanEnd};

use crate::support::planning::machine_of;

use super::app_harness::{AppHarness, forest, now};

fn machine(name: &str, disk: &str, state: MachineState) -> Machine {
    Machine {
        name: name.to_owned(),
        id: Some(format!("uuid of {name}")),
        state,
        ..machine_of(Path::new("/vm").join(disk))
    }
}

fn machines() -> Machines {
    let list = vec![
        machine("web", "Overlay-1A.qcow2", MachineState::Running),
        machine("db\u{1b}[31m", "Overlay-2B.qcow2", MachineState::Off),
    ];
    let unasked = Unasked {
        product: "Proxmox VE",
        place: "/etc/pve".to_owned(),
        why: "permission denied".to_owned(),
    };
    Machines::of(list, vec![unasked])
}

fn harness() -> AppHarness {
    let mut harness = AppHarness::new(forest(), (100, 40));
    harness.send(Msg::Machines(Arc::new(machines())));
    harness
}

fn asks(harness: &AppHarness) -> usize {
    let asks = |effect: &&Effect| matches!(effect, Effect::Machines(_));
    harness.asked.iter().filter(asks).count()
}

#[test]
fn machines_are_asked_for_when_a_scan_is_through_and_not_before() {
    let mut harness = AppHarness::scanning((100, 40), |_| {});
    assert_eq!(asks(&harness), 0);
    let images = forest().into_iter().map(|image| image.found()).collect();
    harness.send(Msg::Found(1, images));
    assert_eq!(asks(&harness), 0);
    harness.send(Msg::Scanned(1, ScanEnd::default()));
    assert_eq!(asks(&harness), 1);
    // Looking again asks again.
    harness.press("r");
    harness.send(Msg::Scanned(
        harness.ui.app.refresh.scan.query_id,
        ScanEnd::default(),
    ));
    assert_eq!(asks(&harness), 2);
}

#[test]
fn a_row_names_the_machine_whose_disk_it_is_and_the_pane_tells_more() {
    let mut harness = harness();
    let screen = harness.screen();
    assert!(
        screen.contains("Overlay-1A.qcow2 (web: running)"),
        "{screen}"
    );
    assert!(
        screen.contains("Overlay-2B.qcow2 (db\\u{1b}[31m: off)"),
        "{screen}"
    );
    harness.go_to("Overlay-1A.qcow2");
    let screen = harness.screen();
    assert!(
        screen.contains("web (libvirt, running): the disk vda"),
        "{screen}"
    );
}

#[test]
fn machines_stay_with_a_forest_that_is_looked_at_anew() {
    let mut harness = harness();
    harness.press("r");
    let images = forest().into_iter().map(|image| image.found()).collect();
    let query_id = harness.ui.app.refresh.scan.query_id;
    harness.send(Msg::Found(query_id, images));
    harness.send(Msg::Scanned(query_id, ScanEnd::default()));
    let screen = harness.screen();
    assert!(
        screen.contains("Overlay-1A.qcow2 (web: running)"),
        "{screen}"
    );
}

#[test]
fn a_filter_asks_for_machines_and_says_which_there_are() {
    let mut harness = harness();
    harness.press("/vm:WE");
    let screen = harness.screen();
    assert!(screen.contains("Overlay-1A"), "{screen}");
    assert!(!screen.contains("Overlay-2B"), "{screen}");
    harness.press("x");
    let screen = harness.screen();
    assert!(screen.contains("Machines: db\\u{1b}[31m, web."), "{screen}");
    let mut bare = AppHarness::new(forest(), (100, 40));
    bare.press("/vm:a");
    let screen = bare.screen();
    assert!(screen.contains("No machine is known here."), "{screen}");
}

#[test]
fn what_could_not_be_asked_stands_in_the_log_once() {
    let mut harness = harness();
    harness.send(Msg::Clock(now()));
    harness.send(Msg::Machines(Arc::new(machines())));
    let lines = harness.ui.app.session.log.of(None);
    let told = lines.filter(|line| {
        line.text
            .contains("Proxmox VE (/etc/pve): permission denied")
    });
    let told = told.count();
    assert_eq!(told, 1);
}

#[test]
fn the_view_by_machine_has_all_disks_of_a_machine_together() {
    let two_disks = |name: &str, disks: &[&str]| {
        let mut all = machine(name, disks[0], MachineState::Off);
        all.disks = disks
            .iter()
            .zip(["vda", "vdb", "vdc"])
            .map(|(disk, target)| {
                let mut one = machine(name, disk, MachineState::Off).disks.remove(0);
                one.target = target.to_owned();
                one
            })
            .collect();
        all
    };
    let list = vec![
        two_disks(
            "web",
            &["Overlay-1A.qcow2", "Overlay-2B.qcow2", "gone.qcow2"],
        ),
        two_disks("db\u{1b}[31m", &["Overlay-2B.qcow2"]),
    ];
    let mut harness = AppHarness::new(forest(), (100, 40));
    harness.send(Msg::Machines(Arc::new(Machines::of(list, Vec::new()))));
    harness.press("www");
    let screen = harness.screen();
    let rows: Vec<&str> = [
        "▶ db\\u{1b}[31m (libvirt, off)",
        "└─○ vda: Overlay-2B.qcow2",
        "▶ web (libvirt, off)",
        "├─○ vda: Overlay-1A.qcow2",
        "├─○ vdb: Overlay-2B.qcow2",
        "└─? vdc: /vm/gone.qcow2 is not there",
    ]
    .to_vec();
    let mut rest = screen.as_str();
    for row in &rows {
        let at = rest.find(row);
        assert!(at.is_some(), "{row}\n{screen}");
        rest = &rest[at.unwrap_or(0)..];
    }
    assert!(!screen.contains("RootBase"), "{screen}");
    assert!(screen.contains("by machine"), "{screen}");
    // What is under the cursor is an image, or none: both have to be drawn, and acted on.
    for _ in 0..rows.len() {
        harness.press("x");
        assert!(!harness.screen().is_empty());
        harness.press("<esc>");
        harness.press("j");
    }
    assert!(screen.contains("known from"), "{screen}");
    assert!(screen.contains("db\\u{1b}[31m · [2 Info]"), "{screen}");
    harness.press("/Overlay-1A<enter>");
    let screen = harness.screen();
    assert!(!screen.contains("db\\u{1b}"), "{screen}");
    assert!(screen.contains("vda: Overlay-1A.qcow2"), "{screen}");
    assert!(!screen.contains("gone.qcow2 is not there"), "{screen}");
    harness.press("<esc><esc>");
    assert!(harness.screen().contains("RootBase"));
}

#[test]
fn the_view_by_machine_is_drawn_as_a_picture_too_and_says_when_there_is_none() {
    let mut harness = harness();
    harness.press("wwwD");
    assert!(harness.screen().contains("Overlay-1A"));
    let mut bare = AppHarness::new(forest(), (100, 40));
    bare.press("www");
    let screen = bare.screen();
    assert!(screen.contains("No machine is known here."), "{screen}");
}

#[test]
fn the_menu_of_machines_starts_branches_reverts_and_points_them() {
    let mut harness = harness();
    harness.go_to("Overlay-2B.qcow2");
    harness.press("&");
    let screen = harness.screen();
    assert!(
        screen.contains("goes on in a new overlay, and is started"),
        "{screen}"
    );
    // Another machine, which runs.
    assert!(screen.contains("use: web is running"), "{screen}");
    harness.press("start<enter>");
    assert!(matches!(harness.planned().1, Request::Power(_)));
    harness.press("<esc>");
    harness.go_to("Overlay-2.qcow2");
    harness.press("&revert<enter>");
    let (_, Request::RevertMachine(revert)) = harness.planned() else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(revert.to, Path::new("/vm/Overlay-2.qcow2"));
}

#[test]
fn a_machine_is_cloned_by_a_name() {
    let mut harness = harness();
    harness.go_to("Overlay-2B.qcow2");
    harness.press("&clone<enter>");
    let screen = harness.screen();
    assert!(screen.contains("Clone the machine db"), "{screen}");
    harness.press(&"<backspace>".repeat(20));
    harness.press("copy<enter>");
    let (_, Request::CloneMachine(clone)) = harness.planned() else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!((clone.new.as_str(), clone.full), ("copy", false));
    assert_eq!(clone.connection.as_deref(), Some("qemu:///system"));
    assert_eq!(clone.folder, None);
}

#[test]
fn a_clone_of_whole_copies_goes_into_another_folder() {
    let mut harness = harness();
    harness.go_to("Overlay-2B.qcow2");
    harness.press("&clone<enter><tab> <tab>new<enter>");
    let (_, Request::CloneMachine(clone)) = harness.planned() else {
        panic!("{:?}", harness.asked);
    };
    assert!(clone.full && clone.new.ends_with("-2"), "{clone:?}");
    assert_eq!(clone.folder.as_deref(), Some(Path::new("/vm/new")));
}

#[test]
fn one_that_runs_is_not_cloned_and_says_why() {
    let mut harness = harness();
    harness.go_to("Overlay-1A.qcow2");
    harness.press("&clone");
    let screen = harness.screen();
    assert!(screen.contains("clone: web is running"), "{screen}");
}

#[test]
fn an_image_is_tried_as_the_machine_is_defined_whose_disk_it_is() {
    let mut harness = harness();
    harness.go_to("Overlay-1A.qcow2");
    harness.press("&as web is<enter>");
    let (_, Request::TryImage(tried)) = harness.planned() else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(tried.like.as_deref(), Some("web"));
}

#[test]
fn an_image_is_tried_without_any_machine_that_is_known() {
    let mut harness = AppHarness::new(forest(), (100, 40));
    harness.go_to("Overlay-2B.qcow2");
    harness.press("&try<enter>");
    assert!(matches!(harness.planned().1, Request::TryImage(_)));
}
