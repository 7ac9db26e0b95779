//! Machines on the screen: asked for once a scan is through, beside the images they use, and to be filtered by.

use std::path::Path;
use std::sync::Arc;

use qanopy::machines::{Machine, MachineState, Machines, Unasked};
use qanopy::tui::testing::{Effect, Msg, ScanEnd};

use crate::support::planning::machine_of;

use super::app_harness::{AppHarness, forest, now};

fn machine(name: &str, disk: &str, state: MachineState) -> Machine {
    Machine {
        name: name.to_owned(),
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
