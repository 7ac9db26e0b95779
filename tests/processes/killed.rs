//! The real process under way: killed at any moment, stopped and continued over and over, and two of them at
//! the same images at once. Images that no operation is about show what they showed, and what was interrupted
//! can be finished by what the program itself proposes.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::crash_suite::Promise as _;
use support::folder_crash_suite::{Promise, Trial};
use support::script::{Script, copy_tree};

const FAMILY: [&str; 7] = [
    "root.qcow2",
    "base.qcow2",
    "layer.qcow2",
    "one.qcow2",
    "two.qcow2",
    "sibling.qcow2",
    "other.qcow2",
];

/// root <- base <- layer <- one, two; base <- sibling; root <- other. Megabytes in each, so that an operation
/// takes a while.
fn family() -> Script {
    let mut s = Script::default();
    s.create("", "root.qcow2", "48M");
    s.io("qcow2", "root.qcow2", &["write -P 0x10 0 24M"]);
    for (name, on, writes) in [
        (
            "base.qcow2",
            "root.qcow2",
            ["write -P 0x20 8M 8M", "write -z 20M 1M"],
        ),
        (
            "layer.qcow2",
            "base.qcow2",
            ["write -P 0x21 4M 24M", "write -z 40M 1M"],
        ),
        (
            "one.qcow2",
            "layer.qcow2",
            ["write -P 0x31 5M 3M", "write -P 0x41 1M 1M"],
        ),
        (
            "two.qcow2",
            "layer.qcow2",
            ["write -P 0x32 12M 6M", "write -P 0x42 44M 1M"],
        ),
        (
            "sibling.qcow2",
            "base.qcow2",
            ["write -P 0x33 14M 2M", "write -P 0x43 2M 1M"],
        ),
        (
            "other.qcow2",
            "root.qcow2",
            ["write -P 0x34 0 9M", "write -P 0x44 30M 2M"],
        ),
    ] {
        s.overlay("qcow2", on, name);
        s.io("qcow2", name, &writes);
    }
    s.run("mkdir sub");
    s
}

/// An operation as it is typed, and what it is about.
struct Typed {
    line: &'static str,
    trial: Trial,
}

fn typed(
    line: &'static str,
    target: Option<(&'static str, &'static str)>,
    goes: &[&'static str],
    mixed: &[&'static str],
    creates: Option<(&'static str, &'static str)>,
) -> Typed {
    let mut trial = Trial::new(&FAMILY, |_| unreachable!("it is typed"));
    trial.target = target;
    trial.goes = goes.to_vec();
    trial.mixed = mixed.to_vec();
    trial.creates = creates;
    Typed { line, trial }
}

fn operations() -> Vec<Typed> {
    vec![
        typed(
            "commit layer.qcow2 --siblings preserve",
            Some(("base.qcow2", "layer.qcow2")),
            &["layer.qcow2"],
            &[],
            None,
        ),
        typed(
            "commit two.qcow2 --into base.qcow2 --siblings preserve --keep-old old.qcow2",
            Some(("base.qcow2", "two.qcow2")),
            &["two.qcow2", "layer.qcow2"],
            &["layer.qcow2"],
            Some(("old.qcow2", "base.qcow2")),
        ),
        typed(
            "squash layer.qcow2 --direction up",
            None,
            &["layer.qcow2"],
            &[],
            None,
        ),
        typed("flatten one.qcow2 --in-place", None, &[], &[], None),
        typed(
            "flatten two.qcow2 new.qcow2",
            None,
            &[],
            &[],
            Some(("new.qcow2", "two.qcow2")),
        ),
        typed(
            "rebase one.qcow2 --to other.qcow2 --format qcow2",
            None,
            &[],
            &[],
            None,
        ),
        typed(
            "move layer.qcow2 sub --subtree",
            None,
            &["layer.qcow2", "one.qcow2", "two.qcow2"],
            &[],
            Some(("sub/one.qcow2", "one.qcow2")),
        ),
        typed(
            "clone layer.qcow2 new.qcow2",
            None,
            &[],
            &[],
            Some(("new.qcow2", "layer.qcow2")),
        ),
        typed(
            "export one.qcow2 out",
            None,
            &[],
            &[],
            Some(("out/one.qcow2", "one.qcow2")),
        ),
        typed(
            "resize sibling.qcow2 64M",
            None,
            &[],
            &["sibling.qcow2"],
            None,
        ),
        typed("snapshot create sibling.qcow2 now", None, &[], &[], None),
        typed(
            "discard layer.qcow2",
            None,
            &["layer.qcow2", "one.qcow2", "two.qcow2"],
            &[],
            None,
        ),
    ]
}

/// Images, and a state directory of their own.
struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        support::qemu()?;
        let home = tempfile::tempdir().unwrap();
        family().build(&home.path().join("pristine"));
        Some(Self { home })
    }

    fn pristine(&self) -> PathBuf {
        self.home.path().join("pristine")
    }

    fn fresh(&self) -> PathBuf {
        let dir = self.home.path().join("dir");
        let _ = fs::remove_dir_all(&dir);
        let _ = fs::remove_dir_all(self.home.path().join("state"));
        copy_tree(&self.pristine(), &dir);
        dir
    }

    fn command(&self, dir: &Path, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command
            .args(line.split(' '))
            .current_dir(dir)
            .env("XDG_STATE_HOME", self.home.path().join("state"))
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Begins it, agreed to beforehand.
    fn begin(&self, dir: &Path, line: &str) -> Child {
        // Where a number is asked for it is that of the base that is overwritten.
        self.command(dir, &format!("{line} --yes --confirm 1"))
            .spawn()
            .unwrap()
    }

    fn execute(&self, dir: &Path, line: &str) -> Output {
        self.begin(dir, line).wait_with_output().unwrap()
    }

    /// Finishes what the program itself says was interrupted; false if there is nothing.
    fn recover(&self, dir: &Path, context: &str) -> bool {
        let out = self.command(dir, "recover --json").output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|why| panic!("{why}: {}\n{context}", words(&out)));
        let entries = said["result"]["entries"]
            .as_array()
            .unwrap_or_else(|| panic!("{said}\n{context}"));
        for entry in entries {
            let number = entry["id"]
                .as_u64()
                .unwrap_or_else(|| panic!("{said}\n{context}"));
            let out = self.execute(dir, &format!("recover {number} --finish"));
            assert!(out.status.success(), "recover: {}\n{context}", words(&out));
        }
        !entries.is_empty()
    }
}

fn words(out: &Output) -> String {
    let (said, erred) = (&out.stdout, &out.stderr);
    format!(
        "{} {}{}",
        out.status,
        String::from_utf8_lossy(said),
        String::from_utf8_lossy(erred)
    )
}

fn signal(child: &Child, name: &str) -> bool {
    let pid = child.id().to_string();
    let status = Command::new("kill")
        .args(["-s", name, &pid])
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_it_can_be_finished() {
    let Some(place) = Place::new() else { return };
    let operations = operations();
    let promises = Promise::of(&operations[0].trial, &place.pristine());
    let (mut interrupted, mut rounds_in_all) = (0, 0);
    for Typed { line, trial } in &operations {
        let promise = promises.to(trial);
        let dir = place.fresh();
        let start = Instant::now();
        let out = place.execute(&dir, line);
        let whole = start.elapsed();
        assert!(out.status.success(), "{line}: {}", words(&out));
        promise.check_quickly(&dir, true, line);
        let rounds = 4;
        for round in 0..rounds {
            let dir = place.fresh();
            let mut child = place.begin(&dir, line);
            let after = whole * (2 * round + 1) / (2 * rounds);
            std::thread::sleep(after.max(Duration::from_millis(1)));
            child.kill().unwrap();
            child.wait().unwrap();
            let context = format!("{line} killed after {after:?} of {whole:?}");
            promise.check_quickly(&dir, false, &context);
            rounds_in_all += 1;
            if place.recover(&dir, &context) {
                interrupted += 1;
                promise.check_quickly(&dir, true, &format!("finished, {context}"));
                assert!(
                    !place.recover(&dir, &context),
                    "still interrupted: {context}"
                );
            } else {
                // Nothing had begun, or all was done: asked again it is done or says why not.
                let out = place.execute(&dir, line);
                assert!(
                    out.status.code().is_some_and(|code| code < 100),
                    "{}",
                    words(&out)
                );
                promise.check_quickly(&dir, out.status.success(), &format!("again, {context}"));
            }
        }
        oracle_agrees(&dir, trial, line);
    }
    assert!(
        interrupted * 5 > rounds_in_all,
        "only {interrupted} of {rounds_in_all} were killed while they worked"
    );
}

/// qemu-img finds no fault with any image that is left.
fn oracle_agrees(dir: &Path, trial: &Trial, line: &str) {
    for name in trial.images.iter().filter(|name| dir.join(name).exists()) {
        let verdict = support::oracle::check(&dir.join(name));
        assert!(verdict.is_sound(), "{line}: {name}: {verdict:?}");
    }
}

#[test]
fn stopped_and_continued_all_the_time_it_comes_to_the_same_end() {
    let Some(place) = Place::new() else { return };
    let operations = operations();
    let promises = Promise::of(&operations[0].trial, &place.pristine());
    for Typed { line, trial } in &operations {
        let promise = promises.to(trial);
        let dir = place.fresh();
        let mut child = place.begin(&dir, line);
        // System calls of a process that is stopped are cut short or end with EINTR.
        while child.try_wait().unwrap().is_none() {
            signal(&child, "STOP");
            signal(&child, "CONT");
        }
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{line}: {}", words(&out));
        promise.check_quickly(&dir, true, line);
    }
}

#[test]
fn two_at_the_same_images_at_once_tear_nothing() {
    let Some(place) = Place::new() else { return };
    let operations = operations();
    let promises = Promise::of(&operations[0].trial, &place.pristine());
    let find = |start: &str| {
        operations
            .iter()
            .find(|typed| typed.line.starts_with(start))
            .unwrap()
    };
    let (mut rounds, mut carried_out) = (0, 0);
    for (first, second) in [
        ("commit layer", "commit layer"),
        ("commit layer", "flatten one"),
        ("squash", "rebase"),
        ("move", "flatten two"),
        ("move", "commit two"),
        ("flatten one", "rebase"),
        ("clone", "commit layer"),
        ("discard", "squash"),
    ] {
        let (first, second) = (find(first), find(second));
        for delay in [0, 4, 12] {
            let dir = place.fresh();
            let one = place.begin(&dir, first.line);
            std::thread::sleep(Duration::from_millis(delay));
            let two = place.begin(&dir, second.line);
            let (one, two) = (
                one.wait_with_output().unwrap(),
                two.wait_with_output().unwrap(),
            );
            let context = format!(
                "{}: {}\n{} {delay} ms later: {}",
                first.line,
                words(&one),
                second.line,
                words(&two)
            );
            // Each may find the other in its way, or a file gone: it says so, and nothing is done.
            for out in [&one, &two] {
                let ended = out.status.code().is_some_and(|code| code < 100);
                assert!(ended, "{context}");
                carried_out += usize::from(out.status.success());
            }
            rounds += 1;
            // Together they are about what either is about.
            let mut both = Trial::new(&FAMILY, |_| unreachable!("it is typed"));
            for typed in [first, second] {
                both.goes.extend(&typed.trial.goes);
                both.mixed.extend(&typed.trial.mixed);
                // What is in the trash needs no proof, and a target's content is one of two.
                both.mixed
                    .extend(typed.trial.target.map(|(target, _)| target));
            }
            promises.to(&both).check_quickly(&dir, false, &context);
            oracle_agrees(&dir, &both, &context);
        }
    }
    assert!(
        carried_out * 2 >= rounds,
        "{carried_out} in {rounds} rounds"
    );
}
