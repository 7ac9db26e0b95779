//! Our program, or the machine, is killed at every step of what a machine is told to do with its images: its guest finds
//! the same, whoever else is built on the layers sees nothing of it, and what is left to do is done, or told. `assets/docs/interrupted.md`
//! has it as a table.

use serde_json::{Value, json};

use crate::support::live_machine::{Kind, LiveMachine, OF_L3, OF_SIB};
use crate::support::monitor_proxy::{KillAt, MonitorProxy};
use crate::support::qmp_schema::QmpSchema;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Ours,
    Machine,
}

/// Runs this behind a proxy; gives the commands that the machine was given, and whether it came to its end.
fn run(machine: &LiveMachine, words: &str, kill_at: KillAt) -> (Vec<Value>, bool) {
    run_with(machine, words, kill_at, Victim::Ours)
}

fn run_with(
    machine: &LiveMachine,
    words: &str,
    kill_at: KillAt,
    victim: Victim,
) -> (Vec<Value>, bool) {
    let proxy = MonitorProxy::new(&machine.monitor(), kill_at);
    let mut ours = machine.command(words);
    let mut ours = ours
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    proxy.watch(match victim {
        Victim::Ours => ours.id(),
        Victim::Machine => machine.pid(),
    });
    let ended = ours.wait().unwrap();
    proxy.watch(0);
    (proxy.commands(), ended.success())
}

/// Kills us, and then the machine, before and after each command that this gives the machine.
fn at_every_step(words: &str) {
    let Some(machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let (commands, is_through) = run(&machine, words, KillAt::Never);
    assert!(is_through, "{words}");
    drop(machine);
    let mut steps: Vec<String> = Vec::new();
    for command in &commands {
        let command = command["execute"].as_str().unwrap();
        let asks = command.contains("query") || command == "qmp_capabilities";
        if !asks && !steps.iter().any(|step| step == command) {
            steps.push(command.to_owned());
        }
    }
    assert!(steps.len() >= 2, "{words}: {steps:?}");
    for step in steps {
        for kill_at in [KillAt::Before(step.clone()), KillAt::After(step.clone())] {
            killed(words, kill_at.clone());
            machine_killed(words, kill_at);
        }
    }
}

fn machine_killed(words: &str, kill_at: KillAt) {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let at = format!("{words}, the machine at {kill_at:?}");
    run_with(&machine, words, kill_at, Victim::Machine);
    machine.kill();
    let log = machine.q("log --json");
    if String::from_utf8_lossy(&log.stdout).contains("\"interrupted\"") {
        let mut told = machine.q("recover 1 --finish --yes");
        if told.status.code() == Some(4) {
            told = machine.q("recover 1 --finish --confirm 1");
        }
        let said = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success() || !said.is_empty(), "{at}");
    }
    // It starts with what it had, or with what took its place.
    let there = ["l3", "moved", "l2"];
    let leaf = there.iter().find(|name| machine.at(name).exists());
    let leaf = leaf.unwrap_or_else(|| panic!("{at}: nothing is left"));
    machine.finds(leaf, OF_L3);
    machine.finds("sib", OF_SIB);
}

fn killed(words: &str, kill_at: KillAt) {
    let Some(mut machine) = LiveMachine::start(Kind::Daemon) else {
        return;
    };
    let at = format!("{words}, {kill_at:?}");
    let (_, is_through) = run(&machine, words, kill_at);
    if is_through {
        // It came to its end while the last command was done.
        return;
    }
    assert!(machine.is_running(), "{at}: the machine has ended");
    machine.guest_finds(OF_L3);
    let mut told = machine.q("recover 1 --finish --yes");
    if told.status.code() == Some(4) {
        told = machine.q("recover 1 --finish --confirm 1");
    }
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(machine.is_running(), "{at}: the machine has ended: {said}");
    assert!(told.status.success() || !said.is_empty(), "{at}");
    machine.guest_finds(OF_L3);
    assert_eq!(machine.jobs(), Vec::<String>::new(), "{at}: {said}");
    // Whichever file it writes by then has everything.
    machine.write(0x77, 44);
    machine.kill();
    let is_leaf = |name: &&str| machine.at(name).exists() && machine.has(name, 0x77, 44);
    let leaves: Vec<&str> = ["moved", "l3", "l2"].into_iter().filter(is_leaf).collect();
    let leaf = leaves
        .last()
        .unwrap_or_else(|| panic!("{at}: the guest's write is lost"));
    machine.finds(leaf, OF_L3);
    machine.finds("sib", OF_SIB);
}

#[test]
fn a_move_that_is_killed_at_any_step_loses_nothing() {
    at_every_step("move --live l3 moved --yes");
}

#[test]
fn a_flatten_that_is_killed_at_any_step_loses_nothing() {
    at_every_step("flatten --in-place --live l3 --onto base --yes");
}

#[test]
fn a_commit_that_is_killed_at_any_step_loses_nothing() {
    at_every_step("commit --live l2 --siblings preserve --confirm 1");
}

#[test]
fn an_active_commit_that_is_killed_at_any_step_loses_nothing() {
    at_every_step("commit --live --active l3 --confirm 1");
}

#[test]
fn a_branch_that_is_killed_at_any_step_loses_nothing() {
    at_every_step("branch --live l3 moved --yes");
}

#[test]
fn what_a_machine_is_told_is_as_qemu_itself_says_it_has_to_be() {
    for kind in [Kind::Daemon, Kind::Emulator] {
        let Some(machine) = LiveMachine::start(kind) else {
            return;
        };
        let schema = QmpSchema::of(&machine.ask("query-qmp-schema"));
        let mut told = Vec::new();
        let mut tell = |machine: &LiveMachine, words: &str| {
            let (commands, is_through) = run(machine, words, KillAt::Never);
            assert!(is_through, "{kind:?}: {words}");
            told.extend(commands);
        };
        tell(&machine, "branch --live l3 l4 --yes");
        tell(&machine, "commit --live l3 --confirm 1");
        tell(&machine, "flatten --in-place --live l4 --onto base --yes");
        tell(&machine, "move --live l4 moved --yes");
        drop(machine);
        let Some(machine) = LiveMachine::start(kind) else {
            return;
        };
        tell(&machine, "commit --live --active l3 --confirm 1");
        for command in [
            json!({ "execute": "job-pause", "arguments": { "id": "a" } }),
            json!({ "execute": "job-resume", "arguments": { "id": "a" } }),
            json!({ "execute": "job-cancel", "arguments": { "id": "a" } }),
            json!({ "execute": "block-job-set-speed", "arguments": { "device": "a", "speed": 1 } }),
        ] {
            told.push(command);
        }
        let all_wrong = |command: &Value| schema.wrong_with(command);
        let mut wrong: Vec<String> = told.iter().flat_map(all_wrong).collect();
        // A storage daemon has no monitor for people, and is asked whether it does.
        wrong.retain(|one| kind == Kind::Emulator || one != "human-monitor-command is no command");
        assert_eq!(wrong, Vec::<String>::new(), "{kind:?}");
        // What is wrong would be found.
        let odd = json!({ "execute": "block-commit", "arguments": { "device": "a", "speed": "fast", "bas": "b" } });
        assert_eq!(
            schema.wrong_with(&odd).len(),
            2,
            "{:?}",
            schema.wrong_with(&odd)
        );
    }
}
