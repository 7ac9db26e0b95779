//! libvirt's daemon, or the machine itself, is killed while a job runs: nothing is lost, no sibling changes, and what
//! was begun comes to an end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::live_libvirt::chain;
use crate::support::libvirt::{Cut, Session};

/// The machine `web` runs on `l3`; it and `l2` hold enough for a job to take its time.
fn web() -> Option<Session> {
    let session = chain()?;
    session.fill("l2", 5, 16, 24);
    session.fill("l3", 6, 40, 16);
    session.virsh_ok("start web");
    Some(session)
}

const OF_L3: &[(u8, u32)] = &[
    (1, 0),
    (2, 64),
    (3, 128),
    (4, 192),
    (5, 16 << 10),
    (6, 40 << 10),
];
const OF_SIB: &[(u8, u32)] = &[
    (1, 0),
    (2, 64),
    (0, 128),
    (0, 192),
    (0, 16 << 10),
    (0, 40 << 10),
];

/// What takes its time, by libvirt.
const JOBS: &[&str] = &[
    "commit --live l2 --siblings preserve --speed 1M --confirm 1",
    "flatten --in-place --live l3 --onto base --speed 1M --yes",
    "move --live l3 moved --speed 1M --yes",
    "commit --live --active l3 --speed 1M --confirm 1",
];

/// Waits until the machine's job has begun.
fn wait_for_job(session: &Session) {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let told = session.virsh("blockjob web vda --info --raw");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let done = told
            .lines()
            .find_map(|line| line.trim().strip_prefix("cur="));
        if done.is_some_and(|done| done != "0") {
            return;
        }
        assert!(Instant::now() < until, "no job begins: {told}");
        sleep(Duration::from_millis(50));
    }
}

fn sibling_is_whole(session: &Session) {
    for (pattern, kib) in OF_SIB {
        assert!(
            session.shows("sib", "qcow2", *pattern, *kib),
            "sib at {kib} KiB"
        );
    }
}

/// Brings what was interrupted to an end, whatever that asks for; gives why it cannot be.
fn recover(session: &Session) -> Option<String> {
    let told = session.q("log").to_string();
    if !told.contains("\"interrupted\"") {
        return None;
    }
    let asked = session.q("recover 1 --finish --yes");
    let why = asked["error"]["kind"].as_str()?.to_owned();
    match why.as_str() {
        "not-reversible" => Some(why),
        _ => {
            session.q_ok("recover 1 --finish --confirm 1");
            None
        }
    }
}

#[test]
fn where_the_daemon_is_killed_in_a_job_the_guest_goes_on_and_the_job_comes_to_its_end() {
    for words in JOBS {
        let Some(mut session) = web() else { return };
        let ours = session.spawn(words);
        wait_for_job(&session);
        session.kill_daemon();
        let ended = ours.wait_with_output().unwrap();
        assert!(!ended.status.success(), "{words}: {ended:?}");
        session.start_daemon();
        session.running_guest_finds("web", OF_L3);
        assert_eq!(recover(&session), None, "{words}");
        session.running_guest_finds("web", OF_L3);
        session.virsh_ok("destroy web");
        session.guest_finds("web", OF_L3);
        sibling_is_whole(&session);
    }
}

#[test]
fn where_the_machine_is_killed_in_a_job_it_starts_with_what_it_had() {
    for words in JOBS {
        let Some(session) = web() else { return };
        let ours = session.spawn(words);
        wait_for_job(&session);
        session.kill_machine("web");
        let ended = ours.wait_with_output().unwrap();
        assert!(!ended.status.success(), "{words}: {ended:?}");
        session.guest_finds("web", OF_L3);
        sibling_is_whole(&session);
        // Which of two files a guest wrote last is not guessed: what libvirt has defined goes on.
        let why = recover(&session);
        match words.split_whitespace().next() {
            // A new file that holds nothing yet is taken away.
            Some("move") => assert_eq!(why.is_some(), session.at("moved").exists(), "{words}"),
            _ => assert_eq!(why.is_some(), words.contains("--active"), "{words}"),
        }
        session.guest_finds("web", OF_L3);
        sibling_is_whole(&session);
    }
}

#[test]
fn where_we_are_killed_at_the_switch_the_machine_goes_on_and_starts_with_what_it_wrote() {
    for words in JOBS
        .iter()
        .filter(|words| words.contains("move") || words.contains("active"))
    {
        for cut in [Cut::BeforePivot, Cut::AfterPivot] {
            let Some(session) = web() else { return };
            session.cut_off(&words.replace(" --speed 1M", ""), cut);
            session.running_guest_finds("web", OF_L3);
            recover(&session);
            session.running_guest_finds("web", OF_L3);
            sibling_is_whole(&session);
        }
    }
}
