//! Files that differ along chains of several layers, of every kind of layer, and that looking at them writes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher};

use crate::commands::Place;
use crate::support::guest_disks::{edited, make, overlay, tool};
use crate::support::recorder::digest_tree;
use crate::support::{Qemu, qemu};

/// The kind of each change by its path.
type Told = BTreeMap<String, String>;

/// Four states of one disk, as raw images: `base.raw`, `a.raw` made of it, `b.raw` made of that, and `s.raw`, which is
/// made of the first in another way.
fn states(dir: &Path) {
    let root = dir.join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    for name in [
        "kept", "one", "two", "three", "four", "five", "six", "seven",
    ] {
        fs::write(
            root.join("etc").join(name),
            format!("{name} as it was\n").repeat(300),
        )
        .unwrap();
    }
    for content in ["new", "newer", "other", "again", "sibling"] {
        fs::write(dir.join(content), format!("{content}\n").repeat(900)).unwrap();
    }
    tool(dir, &["mkfs.ext4", "-q", "-d", "root", "base.raw", "48M"]);
    // Each new file has an inode of its own time, as a kernel gives it.
    let write = |from: &str, to: &str, generation: u32| {
        format!("write {from} {to}\nset_inode_field {to} generation {generation}\n")
    };
    let over =
        |from: &str, to: &str, generation: u32| format!("rm {to}\n{}", write(from, to, generation));
    let mode = |name: &str, mode: &str| format!("set_inode_field {name} mode {mode}\n");
    let a = [
        write("new", "/etc/added", 11),
        write("new", "/etc/added-and-gone", 12),
        write("new", "/etc/added-and-changed", 13),
        over("new", "/etc/one", 14),
        over("new", "/etc/two", 15),
        mode("/etc/three", "0100600"),
        mode("/etc/four", "0100600"),
        "rm /etc/five\nrm /etc/six\n".to_owned(),
    ];
    edited(dir, "base.raw", "a.raw", &a.concat());
    let b = [
        over("newer", "/etc/added-and-changed", 21),
        over("newer", "/etc/one", 22),
        over("other", "/etc/four", 23),
        mode("/etc/two", "0100600"),
        mode("/etc/seven", "0100640"),
        write("again", "/etc/five", 24),
        write("newer", "/etc/added-later", 25),
        "rm /etc/added-and-gone\n".to_owned(),
    ];
    edited(dir, "a.raw", "b.raw", &b.concat());
    let s = [
        write("sibling", "/etc/added", 31),
        over("sibling", "/etc/one", 32),
        mode("/etc/seven", "0100600"),
        "rm /etc/six\n".to_owned(),
    ];
    edited(dir, "base.raw", "s.raw", &s.concat());
}

/// What a diff of these images tells.
fn told(place: &Place, words: &str) -> Told {
    let document = place.q(&format!("diff --json {words}")).with(1).result();
    let volumes = document["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 1, "{document}");
    assert_eq!(volumes[0]["state"], "compared", "{document}");
    let changes = volumes[0]["changes"].as_array().unwrap();
    let text = |change: &serde_json::Value, key: &str| change[key].as_str().unwrap().to_owned();
    changes
        .iter()
        .map(|change| (text(change, "path"), text(change, "kind")))
        .collect()
}

/// One change after the other, as one.
fn composed(first: &Told, second: &Told) -> Told {
    let mut both = first.clone();
    for (path, then) in second {
        let kind = match (first.get(path).map(String::as_str), then.as_str()) {
            (None, then) => then,
            (Some("added"), "deleted") => {
                both.remove(path);
                continue;
            }
            (Some("added"), _) => "added",
            (Some(_), "deleted") => "deleted",
            (Some("deleted"), "added") => "replaced",
            (Some("replaced"), _) | (_, "replaced") => "replaced",
            (Some("modified"), _) | (_, "modified") => "modified",
            _ => "metadata",
        };
        both.insert(path.clone(), kind.to_owned());
    }
    both
}

/// The changes the other way round.
fn undone(told: &Told) -> Told {
    let back = |kind: &String| match kind.as_str() {
        "added" => "deleted".to_owned(),
        "deleted" => "added".to_owned(),
        same => same.to_owned(),
    };
    told.iter()
        .map(|(path, kind)| (path.clone(), back(kind)))
        .collect()
}

fn expected(changes: &[(&str, &[&str])]) -> Told {
    let one = |kind: &str, name: &str| (format!("/etc/{name}"), kind.to_owned());
    changes
        .iter()
        .flat_map(|(kind, names)| names.iter().map(|name| one(kind, name)))
        .collect()
}

/// Makes `base`, `a.qcow2` on it, `b.qcow2` on that, and `s.qcow2` on the base.
fn layered(qemu: &Qemu, base: (&str, &str), options: &[&str]) {
    overlay(qemu, base, "a.raw", "a.qcow2", options);
    overlay(qemu, ("a.qcow2", "qcow2"), "b.raw", "b.qcow2", options);
    overlay(qemu, base, "s.raw", "s.qcow2", options);
}

#[test]
fn what_a_chain_changed_is_what_its_layers_changed_one_after_the_other() {
    let Some(qemu) = qemu() else { return };
    let place = Place::new();
    let qemu = qemu.within(place.path());
    states(place.path());
    qemu.img(&[
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "base.raw",
        "base.qcow2",
    ]);
    qemu.img(&[
        "convert",
        "-c",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "base.raw",
        "packed.qcow2",
    ]);
    let in_a: &[(&str, &[&str])] = &[
        ("added", &["added", "added-and-gone", "added-and-changed"]),
        ("replaced", &["one", "two"]),
        ("metadata", &["three", "four"]),
        ("deleted", &["five", "six"]),
    ];
    for (base, format, options) in [
        ("base.qcow2", "qcow2", &[][..]),
        ("packed.qcow2", "qcow2", &[]),
        ("base.raw", "raw", &[]),
        (
            "base.qcow2",
            "qcow2",
            &["-o", "extended_l2=on,cluster_size=128k"],
        ),
        ("packed.qcow2", "qcow2", &["-o", "cluster_size=4k"]),
    ] {
        layered(&qemu, (base, format), options);
        let (to_a, to_b) = (told(&place, "a.qcow2"), told(&place, "b.qcow2"));
        assert_eq!(to_a, expected(in_a), "{base} {options:?}");
        let both = composed(&to_a, &to_b);
        assert_eq!(told(&place, "--root b.qcow2"), both, "{base} {options:?}");
        assert_eq!(told(&place, &format!("{base} b.qcow2")), both);
        assert_eq!(told(&place, &format!("b.qcow2 {base}")), undone(&both));
        assert!(!both.contains_key("/etc/added-and-gone") && both["/etc/five"] == "replaced");
        // Two overlays on one base: back to it, and on from there.
        let to_s = told(&place, "s.qcow2");
        let between = told(&place, "a.qcow2 s.qcow2");
        assert_eq!(
            between,
            composed(&undone(&to_a), &to_s),
            "{base} {options:?}"
        );
        // Gone on both sides.
        assert!(!between.contains_key("/etc/six"));
        for gone in ["a.qcow2", "b.qcow2", "s.qcow2"] {
            fs::remove_file(place.path().join(gone)).unwrap();
        }
    }
}

#[test]
fn what_changed_since_an_internal_snapshot_is_told() {
    let Some(qemu) = qemu() else { return };
    let place = Place::new();
    let qemu = qemu.within(place.path());
    states(place.path());
    qemu.img(&["convert", "-f", "raw", "-O", "qcow2", "a.raw", "disk.qcow2"]);
    qemu.img(&["snapshot", "-c", "then", "disk.qcow2"]);
    qemu.img(&[
        "convert",
        "-n",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "b.raw",
        "disk.qcow2",
    ]);
    overlay(&qemu, ("base.raw", "raw"), "a.raw", "a.qcow2", &[]);
    overlay(&qemu, ("a.qcow2", "qcow2"), "b.raw", "b.qcow2", &[]);
    assert_eq!(
        told(&place, "--snapshot then disk.qcow2"),
        told(&place, "b.qcow2")
    );
}

#[test]
fn a_guest_that_grew_into_a_larger_overlay_has_only_the_changes_that_were_made() {
    let Some(qemu) = qemu() else { return };
    let place = Place::new();
    let qemu = qemu.within(place.path());
    states(place.path());
    tool(
        place.path(),
        &["cp", "--sparse=always", "a.raw", "grown.raw"],
    );
    tool(place.path(), &["truncate", "-s", "200M", "grown.raw"]);
    tool(place.path(), &["resize2fs", "grown.raw"]);
    overlay(&qemu, ("base.raw", "raw"), "a.raw", "a.qcow2", &[]);
    overlay(&qemu, ("base.raw", "raw"), "grown.raw", "grown.qcow2", &[]);
    assert_eq!(told(&place, "grown.qcow2"), told(&place, "a.qcow2"));
    let contents = place.q("contents grown.qcow2 --json").with(0).result();
    assert_eq!(contents["volumes"][0]["total"], 200 << 20, "{contents}");
}

#[test]
fn a_folder_that_holds_itself_is_looked_into_once() {
    let Some(qemu) = qemu() else { return };
    let place = Place::new();
    let qemu = qemu.within(place.path());
    states(place.path());
    // Two names are enough for more paths than anybody can walk.
    let loops = "link /etc /etc/again\nlink /etc /etc/and-again\n";
    edited(place.path(), "base.raw", "loop.raw", loops);
    qemu.img(&["convert", "-O", "qcow2", "loop.raw", "loop.qcow2"]);
    fs::create_dir(place.path().join("out")).unwrap();
    let ended = place.q("extract loop.qcow2 /etc --to out");
    let told = format!("{}{}", ended.out, ended.err);
    assert_eq!(
        told.matches("another name leads to the same folder")
            .count(),
        2,
        "{told}"
    );
    assert!(place.path().join("out/etc/seven").is_file());
    assert!(!place.path().join("out/etc/again").exists());
    let ended = place.q("find loop.qcow2 seven");
    assert_eq!(ended.out, "disk:/etc/seven\n", "{}", ended.err);
    assert!(
        ended
            .err
            .contains("a folder that another name leads to as well"),
        "{}",
        ended.err
    );
}

/// Everything that looks inside images.
const LOOKS: [&str; 12] = [
    "contents top.qcow2",
    "diff top.qcow2",
    "diff --root --deep top.qcow2",
    "diff base.qcow2 top.qcow2",
    "explain top.qcow2",
    "ls top.qcow2 /etc",
    "files -1 top.qcow2 /home/anna",
    "cat top.qcow2 /etc/fstab",
    "history top.qcow2 /etc/fstab",
    "find top.qcow2 fstab",
    "find --layers top.qcow2 fstab",
    "extract top.qcow2 /etc --to out",
];

/// The files that were open for writing until now, as the kernel tells.
fn written(events: &mpsc::Receiver<notify::Result<Event>>) -> Vec<Event> {
    let mut found = Vec::new();
    let deadline = Instant::now() + Duration::from_millis(300);
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        let event = event.unwrap();
        let is_write = matches!(
            event.kind,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(_)
        );
        if is_write {
            found.push(event);
        }
    }
    found
}

#[test]
fn whoever_looks_inside_never_opens_an_image_for_writing() {
    let Some(qemu) = qemu() else { return };
    let place = Place::new();
    make(place.path(), &qemu);
    let images = place.path().join("images");
    fs::create_dir(&images).unwrap();
    for name in ["base.qcow2", "middle.qcow2", "top.qcow2"] {
        fs::rename(place.path().join(name), images.join(name)).unwrap();
    }
    let before = digest_tree(&images);
    let (told, events) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(told).unwrap();
    watcher.watch(&images, RecursiveMode::NonRecursive).unwrap();
    for command in LOOKS {
        let command = command.replace("base.qcow2", "images/base.qcow2");
        let command = command.replace("top.qcow2", "images/top.qcow2");
        let ended = place.q(&command);
        assert!(ended.code <= 1, "{command}: {}", ended.err);
        assert_eq!(written(&events), [], "{command}");
    }
    assert_eq!(digest_tree(&images), before);
    // The kernel tells of it where one is, even if nothing was written.
    drop(
        fs::File::options()
            .write(true)
            .open(images.join("top.qcow2"))
            .unwrap(),
    );
    assert!(!written(&events).is_empty());
}
