//! What a machine that runs is told to do with its images, by its own monitor: its guest finds the same at every
//! moment, also where the process is killed at once afterwards, and whoever else is built on the layers sees nothing
//! of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::filesystems::Filesystem;
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
    fs::create_dir(machine.at("new")).unwrap();
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
fn a_raw_disk_stays_raw_whatever_its_guest_writes_at_its_front() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    machine.kill();
    // As a guest could have written it: a header that names a file which is none of its business.
    let words = "create -q -f qcow2 -b base -F qcow2 disk";
    machine.qemu().img(&words.split(' ').collect::<Vec<_>>());
    let disk = File::options().write(true).open(machine.at("disk"));
    disk.unwrap().set_len(64 << 20).unwrap();
    machine.run_on_as("disk", "raw");
    let told = machine.q("move --live disk other --yes");
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("no qcow2 image whose features"), "{told}");
    machine.q_ok("branch --live disk next --yes");
    machine.write(0x55, 40);
    machine.kill();
    let info = machine.qemu().img(&["info", "--output=json", "next"]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["backing-filename-format"], "raw", "{info}");
    machine.finds("next", &[(0x55, 40), (0, 1)]);
}

#[test]
fn what_is_written_is_merged_and_the_guest_goes_on_in_the_base() {
    for (words, goes_on) in [
        ("commit --live --active l3 --confirm 1", true),
        (
            "commit --live --active l3 --into l2 --speed 8M --confirm 1",
            false,
        ),
    ] {
        let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
            return;
        };
        machine.write(0x55, 40);
        let mut shows = with(&[(0x55, 40)]);
        let told = machine.q_ok(words);
        let named = format!("writes {}", machine.at("l2").display());
        assert!(told.contains(&named), "{told}");
        assert!(!machine.at("l3").exists());
        if goes_on {
            machine.write(0x66, 44);
            shows.push((0x66, 44));
            machine.guest_finds(&shows);
            assert_eq!(machine.jobs(), Vec::<String>::new());
        }
        // The layer is in the trash: nothing may be in memory only.
        machine.kill();
        machine.finds("l2", &shows);
        machine.finds("sib", OF_SIB);
    }
}

#[test]
fn what_is_written_is_not_merged_into_what_others_are_built_on() {
    let Some(machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let refused = |words: &str| {
        let told = machine.q(words);
        assert!(!told.status.success(), "{words}");
        String::from_utf8_lossy(&told.stderr).into_owned()
    };
    // `sib` is built on `l1`.
    let told = refused("commit --live --active l3 --into l1 --yes");
    assert!(
        told.contains("sib is built on") && told.contains("branch first"),
        "{told}"
    );
    let told = refused("commit --live --active l2 --yes");
    assert!(told.contains("only reads"), "{told}");
    // Without the word for it, nothing that is written is merged; it is offered.
    let told = machine.q("commit --live l3 --dry-run --json");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("the guest goes on in what it is merged into"),
        "{told}"
    );
    machine.q_ok("branch l2 late --yes");
    let told = refused("commit --live --active l3 --yes");
    assert!(told.contains("late is built on"), "{told}");
    machine.guest_finds(OF_L3);
    machine.finds("sib", OF_SIB);
}

#[test]
fn whatever_is_killed_half_way_nothing_is_lost_and_recover_brings_it_to_an_end() {
    for words in [
        "flatten --in-place --live l3 --onto base --speed 8M --yes",
        "commit --live l2 --siblings preserve --speed 2M --confirm 1",
        "move --live l3 moved --speed 1M --yes",
        "commit --live --active l3 --speed 1M --confirm 1",
    ] {
        for (after, kills_machine) in [(300, false), (900, false), (300, true), (900, true)] {
            let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
                return;
            };
            let mut ours = machine.command(words).spawn().unwrap();
            sleep(Duration::from_millis(after));
            if kills_machine {
                machine.kill();
                ours.wait().unwrap();
                machine.finds("l3", OF_L3);
                machine.finds("sib", OF_SIB);
                recover(&machine);
                machine.finds(leaf(&machine), OF_L3);
                machine.finds("sib", OF_SIB);
                continue;
            }
            ours.kill().unwrap();
            ours.wait().unwrap();
            machine.guest_finds(OF_L3);
            assert!(recover(&machine), "{words} after {after} ms");
            machine.guest_finds(OF_L3);
            assert_eq!(machine.jobs(), Vec::<String>::new(), "{words}");
            machine.kill();
            machine.finds(leaf(&machine), OF_L3);
            machine.finds("sib", OF_SIB);
        }
    }
}

/// The image that the guest of `l3` is in after it was moved or merged, or not.
fn leaf(machine: &LiveMachine) -> &'static str {
    let mut names = ["l3", "moved", "l2"].into_iter();
    names.find(|name| machine.at(name).exists()).unwrap_or("l3")
}

/// Brings what was interrupted to an end; says whether nothing is interrupted then.
fn recover(machine: &LiveMachine) -> bool {
    let is_interrupted = || {
        let told = machine.q("log");
        String::from_utf8_lossy(&told.stdout).contains("interrupted")
    };
    if is_interrupted() && !machine.q("recover 1 --finish --yes").status.success() {
        machine.q("recover 1 --finish --confirm 1");
    }
    !is_interrupted()
}

#[test]
fn a_second_move_does_not_end_in_the_file_of_the_first() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let mut first = machine
        .command("move --live l3 one --speed 1M --yes")
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(700));
    first.kill().unwrap();
    first.wait().unwrap();
    let second = machine.q("move --live l3 two --yes");
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success(), "{told}");
    assert!(!machine.at("two").exists() && machine.at("l3").exists());
    machine.write(0x55, 40);
    assert!(recover(&machine));
    machine.guest_finds(&with(&[(0x55, 40)]));
    assert!(!machine.at("l3").exists());
    machine.kill();
    machine.finds("one", &with(&[(0x55, 40)]));
}

#[test]
fn what_an_image_holds_besides_what_its_guest_sees_is_not_lost() {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    machine.kill();
    machine.qemu().img(&["snapshot", "-c", "before", "l3"]);
    machine.run_on("l3");
    for words in [
        "flatten --in-place --live l3 --onto base --yes",
        "move --live l3 moved --yes",
    ] {
        let told = machine.refused(words);
        assert!(told.contains("internal snapshots"), "{words}: {told}");
    }
    machine.kill();
    machine.qemu().img(&["snapshot", "-d", "before", "l3"]);
    machine.qemu().img(&["bitmap", "--add", "l3", "backup"]);
    machine.run_on("l3");
    let told = machine.refused("move --live l3 moved --yes");
    assert!(told.contains("dirty bitmaps"), "{told}");
    assert!(!machine.at("moved").exists());
}

#[test]
fn a_layer_on_which_somebody_builds_meanwhile_stays_at_its_place() {
    let Some(machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let words = "commit --live l2 --siblings preserve --speed 2M --confirm 1";
    let mut ours = machine.command(words).spawn().unwrap();
    sleep(Duration::from_millis(1500));
    // As qemu-img creates it where it does not look at the base.
    machine.qemu().img(&[
        "create", "-q", "-u", "-f", "qcow2", "-b", "l2", "-F", "qcow2", "late", "64M",
    ]);
    let _ = ours.wait().unwrap();
    assert!(machine.at("l2").exists(), "something is built on it");
    machine.guest_finds(OF_L3);
    let mut machine = machine;
    machine.kill();
    machine.finds("late", &[(0x10, 1), (0x21, 9), (0x32, 17), (0x10, 25)]);
    machine.shows("sib", OF_SIB);
}

/// Has the room of this filesystem taken while the machine merges what this says into `base`; says whether that came to
/// its end all the same. The file that took it is `filler`.
fn without_room(machine: &LiveMachine, disk: &Filesystem, words: &str, base: &str) -> bool {
    let room = rustix::fs::statvfs(&disk.dir).unwrap();
    // Filled but for some MiB, since filling the rest is to be quicker than merging.
    let most = room.f_bavail * room.f_frsize - (32 << 20);
    let file = File::create(machine.at("most")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, most).unwrap();
    let size_of_base = || fs::metadata(machine.at(base)).unwrap().blocks();
    let before = size_of_base();
    let mut ours = machine.command(words).spawn().unwrap();
    // There is enough for the plan; somebody else takes it while the machine merges.
    let until = Instant::now() + Duration::from_secs(20);
    while size_of_base() == before {
        assert!(Instant::now() < until, "nothing is merged");
        sleep(Duration::from_millis(20));
    }
    let filler = machine.at("filler");
    let took = io::copy(&mut io::repeat(1), &mut File::create(filler).unwrap());
    assert_eq!(took.unwrap_err().kind(), io::ErrorKind::StorageFull);
    ours.wait().unwrap().success()
}

#[test]
fn without_room_a_merge_is_given_up_and_goes_on_once_there_is_some() {
    let Some(disk) = Filesystem::new("ext4") else {
        return;
    };
    let Some(mut machine) =
        LiveMachine::start_in(Kind::Daemon, tempfile::tempdir_in(&disk.dir).unwrap())
    else {
        return;
    };
    machine.write(0x55, 40);
    machine.q_ok("branch --live l3 l4 --yes");
    let words = "commit --live l3 --speed 1M --confirm 1";
    let is_through = without_room(&machine, &disk, words, "l2");
    machine.guest_finds(&with(&[(0x55, 40)]));
    assert!(!is_through && machine.at("l3").exists());
    fs::remove_file(machine.at("filler")).unwrap();
    machine.q_ok("commit --live l3 --confirm 1");
    machine.guest_finds(&with(&[(0x55, 40)]));
    assert_eq!(machine.built_on("l4").as_deref(), Some("l2"));
    machine.kill();
    machine.finds("l4", &with(&[(0x55, 40)]));
    machine.shows("sib", OF_SIB);
}

#[test]
fn without_room_in_the_base_a_guest_stays_in_its_leaf_until_there_is_some() {
    let Some(disk) = Filesystem::new("ext4") else {
        return;
    };
    let Some(mut machine) =
        LiveMachine::start_in(Kind::Daemon, tempfile::tempdir_in(&disk.dir).unwrap())
    else {
        return;
    };
    machine.write(0x55, 40);
    let words = "commit --live --active l3 --speed 1M --confirm 1";
    let is_through = without_room(&machine, &disk, words, "l2");
    machine.guest_finds(&with(&[(0x55, 40)]));
    assert!(!is_through && machine.at("l3").exists());
    assert_eq!(machine.jobs(), Vec::<String>::new());
    fs::remove_file(machine.at("filler")).unwrap();
    machine.q_ok("commit --live --active l3 --confirm 1");
    machine.write(0x66, 44);
    machine.guest_finds(&with(&[(0x55, 40), (0x66, 44)]));
    assert!(!machine.at("l3").exists());
    machine.kill();
    machine.finds("l2", &with(&[(0x55, 40), (0x66, 44)]));
    machine.finds("sib", OF_SIB);
}
