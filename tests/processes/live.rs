//! What a machine that runs is told to do with its images, by its own monitor: its guest finds the same at every
//! moment, also where the process is killed at once afterwards, and whoever else is built on the layers sees nothing
//! of it.

use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use crate::support::live_machine::{Kind, LiveMachine, OF_L3, OF_SIB};

/// What was written by the guest since.
fn with(more: &[(u8, u64)]) -> Vec<(u8, u64)> {
    [OF_L3, more].concat()
}

#[test]
fn a_guest_goes_on_in_a_new_overlay_and_the_old_leaf_is_frozen() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let told = machine.q_ok("branch --live l3 l4 --yes");
    assert!(told.contains("with l4 from now on"), "{told}");
    machine.write(0x55, 40);
    machine.guest_finds(&with(&[(0x55, 40)]));
    assert_eq!(machine.built_on("l4").as_deref(), Some("l3"));
    machine
        .qemu()
        .io(machine.at("sib"), &["read -P 0x10 1M 64k"]);
    machine.q_ok("branch --live l4 l5 --yes");
    machine.write(0x66, 41);
    machine.guest_finds(&with(&[(0x55, 40), (0x66, 41)]));
    machine.kill();
    machine.finds("l5", OF_L3);
    machine.shows("l3", OF_L3);
    machine.shows("sib", OF_SIB);
}

#[test]
fn an_emulator_is_told_the_same_and_by_its_monitor_for_people_to_flush() {
    let Some(mut machine) = LiveMachine::start(Kind::Emulator) else {
        return;
    };
    machine.q_ok("branch --live l3 l4 --yes");
    machine.q_ok("commit --live l3 --confirm 1");
    assert_eq!(machine.built_on("l4").as_deref(), Some("l2"));
    machine.q_ok("flatten --in-place --live l4 --onto base --yes");
    assert_eq!(machine.built_on("l4").as_deref(), Some("base"));
    machine.q_ok("move --live l4 moved --yes");
    assert!(!machine.at("l4").exists());
    machine.kill();
    machine.shows("moved", OF_L3);
    machine.shows("sib", OF_SIB);
}

#[test]
fn what_is_taken_in_is_there_when_the_process_is_killed_at_once() {
    for onto in ["l1", "base", ""] {
        let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
            return;
        };
        let onto = match onto {
            "" => String::new(),
            onto => format!(" --onto {onto}"),
        };
        machine.q_ok(&format!("flatten --in-place --live l3{onto} --yes"));
        machine.kill();
        machine.shows("l3", OF_L3);
        machine.shows("sib", OF_SIB);
    }
}

#[test]
fn a_frozen_layer_takes_in_what_is_below_it_too() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    machine.q_ok("flatten --in-place --live l2 --onto base --yes");
    assert_eq!(machine.built_on("l2").as_deref(), Some("base"));
    machine.guest_finds(OF_L3);
    machine.kill();
    machine.shows("l3", OF_L3);
    machine.shows("sib", OF_SIB);
}

#[test]
fn a_layer_is_merged_down_and_others_keep_what_they_show() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let told = machine.refused("commit --live l3 --confirm 1");
    assert!(told.contains("branch --live l3 l3-2.qcow2"), "{told}");
    let told = machine.refused("commit --live l2 --confirm 1");
    assert!(told.contains("--siblings preserve"), "{told}");
    machine.q_ok("commit --live l2 --siblings preserve --confirm 1");
    assert!(!machine.at("l2").exists());
    machine.write(0x55, 40);
    machine.guest_finds(&with(&[(0x55, 40)]));
    machine.kill();
    assert_eq!(machine.built_on("l3").as_deref(), Some("l1"));
    machine.finds("l3", OF_L3);
    machine.shows("sib", OF_SIB);
}

#[test]
fn several_layers_are_merged_into_an_image_far_below() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    machine.q_ok("commit --live l2 --into base --siblings preserve --confirm 1");
    machine.guest_finds(OF_L3);
    machine.kill();
    assert_eq!(machine.built_on("l3").as_deref(), Some("base"));
    machine.shows("l3", OF_L3);
    machine.shows("sib", OF_SIB);
}

#[test]
fn a_sibling_that_runs_stands_in_the_way_by_its_name() {
    let Some(machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let sibling = machine.at("sib");
    let held = machine
        .qemu()
        .hold_with_nbd(&sibling, crate::support::HoldMode::ReadWrite);
    let told = machine.refused("commit --live l2 --siblings preserve --confirm 1");
    assert!(
        told.contains(&held.pid().to_string()) && told.contains("sib"),
        "{told}"
    );
    machine.guest_finds(OF_L3);
    drop(held);
    machine.shows("sib", OF_SIB);
}

#[test]
fn a_disk_moves_into_another_folder_while_its_guest_writes() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    std::fs::create_dir(machine.at("new")).unwrap();
    machine.write(0x55, 40);
    machine.q_ok("move --live l3 new --yes");
    machine.write(0x66, 41);
    machine.guest_finds(&with(&[(0x55, 40), (0x66, 41)]));
    assert_eq!(machine.built_on("new/l3").as_deref(), Some("../l2"));
    assert!(!machine.at("l3").exists());
    machine.kill();
    machine.finds("new/l3", &with(&[(0x55, 40)]));
    machine.shows("sib", OF_SIB);
}

#[test]
fn a_monitor_that_somebody_else_speaks_with_is_left_alone() {
    let Some(machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let other = UnixStream::connect(machine.monitor()).unwrap();
    let ended = machine.q("branch --live l3 l4 --yes");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success() && told.contains("another program is connected"),
        "{told}"
    );
    // The overlay that nobody uses is gone again.
    assert!(!machine.at("l4").exists());
    drop(other);
    machine.q_ok("branch --live l3 l4 --yes");
}

#[test]
fn a_machine_that_cannot_open_the_new_file_goes_on_in_the_old_one() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    // Two disks at the same instant or none: the second one is no disk of this machine.
    let told = machine.refused("branch --live l3 l4 sib sib2 --yes");
    assert!(told.contains("open in no machine"), "{told}");
    assert!(!machine.at("l4").exists() && !machine.at("sib2").exists());
    machine.write(0x55, 40);
    machine.kill();
    machine.finds("l3", OF_L3);
}

#[test]
fn whatever_is_killed_half_way_nothing_is_lost_and_recover_brings_it_to_an_end() {
    for (number, words) in [
        "flatten --in-place --live l3 --onto base --speed 8M --yes",
        "commit --live l2 --siblings preserve --speed 2M --confirm 1",
        "move --live l3 moved --speed 1M --yes",
    ]
    .into_iter()
    .enumerate()
    {
        for (after, kills_machine) in [(300, false), (900, false), (300, true), (900, true)] {
            let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
                return;
            };
            let mut ours = machine.command(words).spawn().unwrap();
            sleep(Duration::from_millis(after));
            if kills_machine {
                machine.kill();
                ours.wait().unwrap();
                let leaf = ["l3", "l3", "l3"][number];
                machine.finds(leaf, OF_L3);
                machine.finds("sib", OF_SIB);
                continue;
            }
            ours.kill().unwrap();
            ours.wait().unwrap();
            machine.guest_finds(OF_L3);
            let told = machine.q("log");
            if String::from_utf8_lossy(&told.stdout).contains("interrupted") {
                let ended = machine.q("recover 1 --finish --yes");
                if !ended.status.success() {
                    machine.q_ok("recover 1 --finish --confirm 1");
                }
            }
            machine.guest_finds(OF_L3);
            machine.kill();
            let leaf = if machine.at("moved").exists() && !machine.at("l3").exists() {
                "moved"
            } else {
                "l3"
            };
            machine.finds(leaf, OF_L3);
            machine.finds("sib", OF_SIB);
        }
    }
}
