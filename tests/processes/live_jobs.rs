//! What a machine does with its images is governed while it does it, from another terminal: it is listed with the bytes
//! that it really copies, stands still and goes on, is held to a speed, and stopped. What goes on in the machine when our
//! program is gone is taken up.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::live_machine::{Kind, LiveMachine, OF_L3, OF_SIB};

const MIB: u64 = 1 << 20;

/// Each that takes its time, and what it copies at most.
const JOBS: &[(&str, u64)] = &[
    (
        "flatten --in-place --live l3 --onto base --speed 4M --yes",
        20,
    ),
    (
        "commit --live l2 --siblings preserve --speed 2M --confirm 1",
        8,
    ),
    ("move --live l3 moved --speed 1M --yes", 4),
    ("commit --live --active l3 --speed 1M --confirm 1", 4),
];

fn begin(machine: &LiveMachine, words: &str) -> Child {
    let mut ours = machine.command(words);
    ours.stdout(Stdio::null()).stderr(Stdio::null());
    ours.spawn().unwrap()
}

fn json(machine: &LiveMachine, words: &str) -> Value {
    let told = machine.q(&format!("{words} --json"));
    assert!(told.status.success(), "{words}: {told:?}");
    let document: Value = serde_json::from_slice(&told.stdout).unwrap();
    document["result"]["jobs"].clone()
}

/// The one job that runs, once it copies.
fn job(machine: &LiveMachine) -> Value {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let jobs = json(machine, "job list");
        let jobs = jobs.as_array().unwrap();
        if let [job] = &jobs[..]
            && job["controls"] == "speed-and-pause"
        {
            return job.clone();
        }
        assert!(Instant::now() < until, "{jobs:?}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_job_stands_still_and_goes_on_by_a_word_from_elsewhere() {
    for (words, most) in JOBS {
        let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
            return;
        };
        let mut ours = begin(&machine, words);
        let begun = job(&machine);
        // A part of the disk that holds nothing is no work.
        assert!(begun["total"].as_u64().unwrap() <= most * MIB, "{begun}");
        machine.q_ok("job pause");
        // What is on its way comes to its end.
        sleep(Duration::from_millis(700));
        let before = job(&machine);
        sleep(Duration::from_millis(1500));
        let after = job(&machine);
        assert_eq!(before["done"], after["done"], "{words}");
        assert_eq!(after["paused"], true, "{after}");
        assert!(ours.try_wait().unwrap().is_none(), "{words}");
        machine.guest_finds(OF_L3);
        machine.q_ok("job speed 0");
        machine.q_ok(&format!("job resume {}", after["name"].as_str().unwrap()));
        assert!(ours.wait().unwrap().success(), "{words}");
        assert_eq!(json(&machine, "job list"), Value::Array(Vec::new()));
        machine.guest_finds(OF_L3);
        machine.kill();
        machine.finds("sib", OF_SIB);
    }
}

#[test]
fn a_job_is_held_to_another_speed_by_the_image_that_it_is_about() {
    let Some(machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let words = "commit --live l2 --siblings preserve --speed 64K --confirm 1";
    let mut ours = begin(&machine, words);
    assert_eq!(job(&machine)["speed"], 64 << 10);
    let told = json(&machine, "job speed 1G l2");
    assert_eq!(told[0]["speed"], 1 << 30, "{told}");
    let begun = Instant::now();
    assert!(ours.wait().unwrap().success());
    // Two minutes at the speed before.
    assert!(begun.elapsed() < Duration::from_secs(60), "{begun:?}");
    let told = machine.q("job speed 1M l2");
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(1), "{said}");
    assert!(said.contains("no such job runs"), "{said}");
}

#[test]
fn a_job_is_stopped_from_elsewhere_and_its_guest_goes_on() {
    for (words, _) in JOBS {
        let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
            return;
        };
        let mut ours = begin(&machine, words);
        job(&machine);
        machine.q_ok("job pause");
        machine.q_ok("job cancel");
        assert_eq!(ours.wait().unwrap().code(), Some(130), "{words}");
        assert_eq!(machine.jobs(), Vec::<String>::new(), "{words}");
        machine.guest_finds(OF_L3);
        assert!(!machine.at("moved").exists());
        machine.kill();
        machine.finds("l3", OF_L3);
        machine.finds("sib", OF_SIB);
    }
}

#[test]
fn the_job_of_a_program_that_is_gone_is_no_longer_listed_and_is_taken_up_again() {
    for (words, _) in JOBS {
        let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
            return;
        };
        let mut ours = begin(&machine, words);
        job(&machine);
        machine.q_ok("job pause");
        sleep(Duration::from_millis(700));
        ours.kill().unwrap();
        ours.wait().unwrap();
        let told = machine.q("job list");
        let said = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(said.contains("No machine runs a job"), "{said}");
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(said.contains("was interrupted"), "{said}");
        // It stands still in the machine: nothing but going on with it brings it to its end.
        assert_eq!(machine.jobs().len(), 1, "{words}");
        let agrees = if words.contains("--confirm") {
            "--confirm 1"
        } else {
            "--yes"
        };
        let mut again = begin(&machine, &format!("recover 1 --finish {agrees}"));
        let taken_up = job(&machine);
        assert_eq!(taken_up["paused"], false, "{taken_up}");
        machine.q_ok("job speed 0");
        assert!(again.wait().unwrap().success(), "{words}");
        assert_eq!(machine.jobs(), Vec::<String>::new(), "{words}");
        machine.guest_finds(OF_L3);
        machine.kill();
        machine.finds("sib", OF_SIB);
    }
}
