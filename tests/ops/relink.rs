//! Relink: a header names its backing file anew, and no guest byte changes that was not named.

use crate::support;
use crate::support::planning;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use planning::{context, execute_request, words};
use qanopy::host::{Host, RealHost};
use qanopy::image::Format;
use qanopy::ops::{
    self, BackingStyle, ChangeSnapshot, Confirm, Error, Plan, RefusalKind, Relink, Request, Unlink,
};
use serde_json::Value;
use support::image_crash_suite::refused_as;
use support::{HoldMode, Qemu, RecordingHost, forests, qemu};

fn relink(dir: &Path, image: &str, to: Option<&str>, format: Option<Format>) -> Request {
    Request::Relink(Relink {
        image: dir.join(image),
        base: to.map(|to| dir.join(to)),
        format,
        style: None,
    })
}

fn plan(dir: &Path, request: &Request) -> Plan {
    ops::plan(&context(Arc::new(RealHost), dir), request)
}

fn run(dir: &Path, request: &Request) -> Result<ops::Outcome, Error> {
    execute_request(&context(Arc::new(RealHost), dir), request)
}

fn recorded(qemu: &Qemu, name: &str) -> (String, String) {
    let info: Value = serde_json::from_str(&qemu.img(&["info", "--output=json", name])).unwrap();
    let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    (text("backing-filename"), text("backing-filename-format"))
}

#[test]
fn a_missing_format_is_recorded_and_no_guest_byte_changes() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let qemu = qemu.within(dir);
    forests::no_format(dir);
    let (first, second) = ("centos-overlay-1.qcow2", "centos-overlay-2.qcow2");
    let before = [qemu.digest(first), qemu.digest(second)];

    // Its base is built on nothing: what it is can be seen without risk.
    let outcome = run(dir, &relink(dir, first, None, None)).unwrap();
    let named = ("centos.qcow2".to_owned(), "qcow2".to_owned());
    assert_eq!(recorded(&qemu, first), named);

    // Back to what no relink writes, and again to what it was.
    let again = run(dir, &outcome.undo.unwrap()).unwrap().undo.unwrap();
    let without = ("centos.qcow2".to_owned(), String::new());
    assert_eq!(recorded(&qemu, first), without);
    run(dir, &again).unwrap();
    assert_eq!(recorded(&qemu, first), named);

    // This one's base has a backing file itself: a forged header would look the same.
    let asked = plan(dir, &relink(dir, second, None, None));
    assert_eq!(asked.confirm, Confirm::Impossible, "{}", words(&asked));
    let way_out = asked.refusals[0].ways_out[0].request.clone();
    assert_eq!(way_out, relink(dir, second, None, Some(Format::Qcow2)));
    run(dir, &way_out).unwrap();
    assert_eq!(
        recorded(&qemu, second),
        (first.to_owned(), "qcow2".to_owned())
    );

    assert_eq!([qemu.digest(first), qemu.digest(second)], before);
    qemu.check_clean(first);
    qemu.check_clean(second);
}

#[test]
fn a_moved_base_is_found_again_and_the_way_back_is_known() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    here.img(&["create", "-f", "qcow2", "base.qcow2", "4M"]);
    here.io("base.qcow2", &["write -P 7 0 1M"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "top.qcow2",
    ]);
    let before = here.digest("top.qcow2");
    fs::create_dir(dir.join("moved")).unwrap();
    fs::rename(dir.join("base.qcow2"), dir.join("moved/base.qcow2")).unwrap();

    let outcome = run(
        dir,
        &relink(dir, "top.qcow2", Some("moved/base.qcow2"), None),
    )
    .unwrap();
    assert_eq!(recorded(&here, "top.qcow2").0, "moved/base.qcow2");
    assert_eq!(here.digest("top.qcow2"), before);

    // An absolute name, and back by what the outcome offers.
    let absolute = Request::Relink(Relink {
        image: dir.join("top.qcow2"),
        base: None,
        format: None,
        style: Some(BackingStyle::Absolute),
    });
    let undo = run(dir, &absolute).unwrap().undo.unwrap();
    assert!(Path::new(&recorded(&here, "top.qcow2").0).is_absolute());
    assert_eq!(here.digest("top.qcow2"), before);
    run(dir, &undo).unwrap();
    assert_eq!(recorded(&here, "top.qcow2").0, "moved/base.qcow2");

    // The base that was named at first is not there, and is named again all the same.
    let back = outcome.undo.unwrap();
    let asked = plan(dir, &back);
    assert!(asked.notes.iter().any(|note| note.warning), "{asked:?}");
    let forth = run(dir, &back).unwrap().undo.unwrap();
    assert_eq!(recorded(&here, "top.qcow2").0, "base.qcow2");
    assert!(plan(dir, &back).is_so());
    run(dir, &forth).unwrap();
    assert_eq!(here.digest("top.qcow2"), before);
}

#[test]
fn what_would_break_a_chain_is_refused_or_counted() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    forests::seed(dir);
    let header = |name: &str| fs::read(dir.join(name)).unwrap();
    let before = header("Overlay-1.qcow2");
    for (to, kind) in [
        ("Overlay-1.qcow2", RefusalKind::Loop),
        ("Overlay-1C.qcow2", RefusalKind::Loop),
        ("nowhere.qcow2", RefusalKind::NotFound),
    ] {
        let asked = plan(dir, &relink(dir, "Overlay-1.qcow2", Some(to), None));
        refused_as(&asked, kind);
    }
    let wrong = plan(
        dir,
        &relink(
            dir,
            "Overlay-1.qcow2",
            None,
            Some(Format::Other("vmdk".into())),
        ),
    );
    refused_as(&wrong, RefusalKind::BackingFormat);
    let none = plan(dir, &relink(dir, "RootBase.qcow2", None, None));
    refused_as(&none, RefusalKind::NotInChain);
    // Another disk below it: it and the three images above it show something else.
    let other = plan(
        dir,
        &relink(dir, "Overlay-1.qcow2", Some("Overlay-2.qcow2"), None),
    );
    assert_eq!(other.confirm, Confirm::Count(4), "{}", words(&other));
    assert_eq!(header("Overlay-1.qcow2"), before);

    let held = qemu
        .within(dir)
        .hold_with_nbd(&dir.join("Overlay-1.qcow2"), HoldMode::ReadWrite);
    let absolute = Request::Relink(Relink {
        image: dir.join("Overlay-1.qcow2"),
        base: None,
        format: None,
        style: Some(BackingStyle::Absolute),
    });
    let busy = plan(dir, &absolute);
    let said = refused_as(&busy, RefusalKind::InUse);
    assert!(said.contains(&held.pid().to_string()), "{said}");
}

/// A base with data at some places, an overlay with some of its own, and copies of the base.
fn with_copies(qemu: &Qemu, dir: &Path) {
    let here = qemu.within(dir);
    here.img(&["create", "-f", "qcow2", "base.qcow2", "8M"]);
    here.io("base.qcow2", &["write -P 7 0 1M", "write -P 8 5M 300k"]);
    let over = ["create", "-f", "qcow2", "-F", "qcow2", "-b"];
    here.img(&[&over[..], &["base.qcow2", "top.qcow2"]].concat());
    here.io("top.qcow2", &["write -P 9 512k 128k"]);
    here.img(&[&over[..], &["top.qcow2", "leaf.qcow2"]].concat());
    for copy in ["same.qcow2", "hidden.qcow2", "seen.qcow2"] {
        fs::copy(dir.join("base.qcow2"), dir.join(copy)).unwrap();
    }
    here.img(&["convert", "-O", "raw", "base.qcow2", "same.raw"]);
    // What the overlay holds itself hides the one difference, not the other.
    here.io("hidden.qcow2", &["write -P 1 576k 512"]);
    here.io("seen.qcow2", &["write -P 1 5200k 512"]);
}

#[test]
fn a_copy_is_known_as_one_while_the_old_base_is_there() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    with_copies(&qemu, dir);
    for copy in ["same.qcow2", "same.raw", "hidden.qcow2"] {
        let asked = plan(dir, &relink(dir, "top.qcow2", Some(copy), None));
        let said = words(&asked);
        assert_eq!(asked.confirm, Confirm::Yes, "{copy}: {said}");
        assert!(said.contains("is the same in"), "{copy}: {said}");
    }
    let asked = plan(dir, &relink(dir, "top.qcow2", Some("seen.qcow2"), None));
    assert_eq!(asked.confirm, Confirm::Count(2), "{}", words(&asked));
    let at = format!("first at byte {:#x}", 5200 << 10);
    assert!(words(&asked).contains(&at), "{}", words(&asked));
}

#[test]
fn what_is_large_is_compared_at_places_and_asked_about() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    here.img(&["create", "-f", "qcow2", "base.qcow2", "80M"]);
    here.io("base.qcow2", &["write -P 7 0 80M"]);
    let over = ["create", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"];
    here.img(&[&over[..], &["top.qcow2"]].concat());
    fs::copy(dir.join("base.qcow2"), dir.join("copy.qcow2")).unwrap();
    let asked = plan(dir, &relink(dir, "top.qcow2", Some("copy.qcow2"), None));
    let said = words(&asked);
    assert_eq!(asked.confirm, Confirm::Count(1), "{said}");
    assert!(said.contains("of 80 MiB were compared"), "{said}");
}

/// The first 2 MiB of a disk with a GPT, one partition at 1 MiB, and an ext filesystem in it.
fn disk(guid: u8, uuid: u8) -> Vec<u8> {
    let mut disk = vec![0; 2 << 20];
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12..446 + 16].copy_from_slice(&[0xff; 4]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[512..520].copy_from_slice(b"EFI PART");
    disk[512 + 56..512 + 72].fill(guid);
    disk[512 + 72] = 2;
    disk[512 + 80] = 4;
    disk[512 + 84] = 128;
    disk[1024..1040].fill(0x0f);
    disk[1024 + 33] = 8; // First sector 2048.
    disk[1024 + 40..1024 + 42].copy_from_slice(&[0xff, 0x3f]); // Last sector 16383.
    let inside = (1 << 20) + 1024;
    disk[inside + 56..inside + 58].copy_from_slice(&[0x53, 0xef]);
    disk[inside + 104..inside + 120].fill(uuid);
    disk
}

#[test]
fn without_the_old_base_what_the_overlay_holds_is_compared() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    let bases = [
        ("gone.qcow2", disk(0xa1, 0xb1), 8),
        ("copy.qcow2", disk(0xa1, 0xb1), 8),
        ("other.qcow2", disk(0xa2, 0xb2), 8),
        ("blank.qcow2", vec![0; 4096], 8),
        ("short.qcow2", disk(0xa1, 0xb1), 6),
    ];
    for (name, bytes, mib) in bases {
        let raw = fs::File::create(dir.join("disk.raw")).unwrap();
        std::io::Write::write_all(&mut &raw, &bytes).unwrap();
        raw.set_len(mib << 20).unwrap();
        here.img(&["convert", "-f", "raw", "-O", "qcow2", "disk.raw", name]);
    }
    let over = ["create", "-f", "qcow2", "-F", "qcow2", "-b", "gone.qcow2"];
    here.img(&[&over[..], &["top.qcow2"]].concat());
    // The guest mounted its filesystem: the superblock is the overlay's own.
    fs::write(
        dir.join("superblock"),
        &disk(0, 0xb1)[1 << 20..(1 << 20) + 4096],
    )
    .unwrap();
    here.io("top.qcow2", &["write -s superblock 1M 4k"]);
    for file in ["gone.qcow2", "disk.raw", "superblock"] {
        fs::remove_file(dir.join(file)).unwrap();
    }
    let said = |to: &str| {
        let asked = plan(dir, &relink(dir, "top.qcow2", Some(to), None));
        assert!(asked.refusals.is_empty(), "{to}: {}", words(&asked));
        (asked.confirm, words(&asked))
    };
    let (confirm, text) = said("copy.qcow2");
    assert_eq!(confirm, Confirm::Yes, "{text}");
    let id = format!("ext filesystem UUID {} in partition 1", "b1".repeat(16));
    assert!(
        text.contains(&format!("holds the same as copy.qcow2: {id}")),
        "{text}"
    );
    let (confirm, text) = said("other.qcow2");
    assert_eq!(confirm, Confirm::Count(1), "{text}");
    assert!(
        text.contains(&format!("holds {} where", "b1".repeat(16))),
        "{text}"
    );
    // Nothing to compare with is no reason to ask for more than before.
    let (confirm, text) = said("blank.qcow2");
    assert_eq!(confirm, Confirm::Yes, "{text}");
    assert!(text.contains("cannot be seen from here"), "{text}");
    let (confirm, text) = said("short.qcow2");
    assert_eq!(confirm, Confirm::Yes, "{text}");
    assert!(text.contains("past its own end"), "{text}");
}

#[test]
fn a_crash_leaves_the_old_link_or_the_new_one() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    forests::no_format(dir);
    let want = qemu.within(dir).digest("centos-overlay-2.qcow2");
    let host = Arc::new(RecordingHost::new(dir));
    let root = dir.to_path_buf();
    let asked = relink(&root, "centos-overlay-2.qcow2", None, Some(Format::Qcow2));
    let known: Arc<dyn Host> = host.clone();
    execute_request(&context(known, &root), &asked).unwrap();
    host.mark("done");
    let log = host.log();
    for state in log.crash_states(60, 1) {
        let after = log.replay(&state);
        let story = log.describe(&state);
        let there = qemu.within(after.path());
        let (name, format) = recorded(&there, "centos-overlay-2.qcow2");
        assert_eq!(name, "centos-overlay-1.qcow2", "{story}");
        assert!(
            format == "qcow2" || (format.is_empty() && !state.passed("done")),
            "{story}"
        );
        assert_eq!(there.digest("centos-overlay-2.qcow2"), want, "{story}");
    }
}

#[test]
fn an_overlay_is_built_on_nothing_and_on_an_image_again_by_its_header_alone() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let qemu = qemu.within(dir);
    qemu.img(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"]);
    qemu.io("base.qcow2", &["write -P 7 0 1M"]);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "o.qcow2",
    ]);
    qemu.io("o.qcow2", &["write -P 9 64k 64k"]);
    let before = (
        qemu.digest("o.qcow2"),
        fs::read(dir.join("o.qcow2")).unwrap(),
    );
    fs::copy(dir.join("o.qcow2"), dir.join("theirs.qcow2")).unwrap();
    qemu.img(&["rebase", "-u", "-b", "", "theirs.qcow2"]);

    let nothing = Request::Unlink(Unlink {
        image: dir.join("o.qcow2"),
    });
    let asked = plan(dir, &nothing);
    assert!(matches!(asked.confirm, Confirm::Count(_)), "{asked:?}");
    let outcome = run(dir, &nothing).unwrap();
    assert_eq!(recorded(&qemu, "o.qcow2"), (String::new(), String::new()));
    assert_eq!(qemu.digest("o.qcow2"), qemu.digest("theirs.qcow2"));
    let again = plan(dir, &nothing);
    assert!(again.is_so(), "{again:?}");

    let back = outcome.undo.unwrap();
    let undone = run(dir, &back).unwrap();
    assert_eq!(qemu.digest("o.qcow2"), before.0);
    assert_eq!(recorded(&qemu, "o.qcow2").0, "base.qcow2");
    assert!(plan(dir, &back).is_so());
    assert_eq!(undone.undo, Some(nothing));
}

#[test]
fn another_format_of_the_same_base_shows_something_else_there_and_back() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (dir, qemu) = (dir.path(), qemu.within(dir.path()));
    qemu.img(&["create", "-f", "qcow2", "base.qcow2", "1M"]);
    qemu.io("base.qcow2", &["write -P 5 0 64k"]);
    let line = "create -f qcow2 -F qcow2 -b base.qcow2 o.qcow2";
    qemu.img(&line.split(' ').collect::<Vec<_>>());
    let before = qemu.digest("o.qcow2");
    let is_told = |request: &Request, expected: &str| {
        let asked = plan(dir, request);
        assert_eq!(asked.confirm, Confirm::Count(1), "{asked:?}");
        assert!(asked.keeps.is_empty(), "{asked:?}");
        let said = words(&asked);
        assert!(said.contains(expected), "{said}");
    };
    let as_raw = relink(dir, "o.qcow2", None, Some(Format::Raw));
    is_told(
        &as_raw,
        "shows base.qcow2 as raw where it showed base.qcow2 as qcow2",
    );
    let back = run(dir, &as_raw).unwrap().undo.unwrap();
    assert_ne!(qemu.digest("o.qcow2"), before);
    is_told(&back, "base.qcow2 as qcow2");
    run(dir, &back).unwrap();
    assert_eq!(qemu.digest("o.qcow2"), before);
}

#[test]
fn asking_for_what_is_so_ends_well_and_changes_nothing() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let qemu = qemu.within(dir);
    qemu.img(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"]);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "o.qcow2",
    ]);
    qemu.img(&["create", "-q", "-f", "qcow2", "s.qcow2", "1M"]);
    qemu.io("s.qcow2", &["write -P 1 0 64k"]);
    qemu.img(&["snapshot", "-c", "kept", "s.qcow2"]);
    qemu.img(&["bitmap", "--add", "s.qcow2", "on"]);
    qemu.img(&["bitmap", "--add", "--disable", "s.qcow2", "off"]);
    fs::write(dir.join("raw.img"), vec![7; 1 << 20]).unwrap();
    let names = ["base.qcow2", "o.qcow2", "s.qcow2", "raw.img"];
    let bytes = || names.map(|name| fs::read(dir.join(name)).unwrap());
    let before = bytes();
    for words in [
        "move o.qcow2 o.qcow2",
        "move o.qcow2 .",
        "resize s.qcow2 +0",
        "resize --shrink s.qcow2 1M",
        "resize raw.img 1M",
        "flatten raw.img --in-place",
        "rebase base.qcow2 --flatten",
        "amend s.qcow2 --lazy-refcounts off",
        "bitmap enable s.qcow2 on",
        "bitmap disable s.qcow2 off",
        "bitmap clear s.qcow2 on",
        "snapshot apply s.qcow2 kept",
        "amend o.qcow2 --compat 1.1",
        "resize o.qcow2 1M",
        "flatten base.qcow2 --in-place",
        "flatten o.qcow2 --in-place --onto base.qcow2",
        "relink o.qcow2 --to base.qcow2",
        "relink base.qcow2 --to none",
        "rebase o.qcow2 --to base.qcow2",
        "check --repair all o.qcow2",
    ] {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .current_dir(dir)
            .env("XDG_STATE_HOME", dir.join("state"))
            .args(words.split(' '))
            .output()
            .unwrap();
        assert!(out.status.success(), "{words}: {out:?}");
        let said = String::from_utf8_lossy(&out.stdout);
        let so = ["already", "nothing to", "no layer between", "clean"];
        assert!(so.iter().any(|word| said.contains(word)), "{words}: {said}");
    }
    assert!(bytes() == before);
    // Once something was written, going back to the snapshot is work again.
    qemu.io("s.qcow2", &["write -P 2 0 64k"]);
    let apply = Request::Snapshot(ChangeSnapshot {
        image: dir.join("s.qcow2"),
        action: ops::SnapshotAction::Apply {
            snapshot: ops::SnapshotName::Name("kept".into()),
            dependants: ops::Dependants::Refuse,
        },
    });
    assert!(!plan(dir, &apply).is_so());
}
