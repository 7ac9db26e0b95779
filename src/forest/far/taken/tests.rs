use super::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, UNIX_EPOCH};

use crate::forest::far::{host_and_path, lines};
use crate::forest::{Forest, Location, Scan, ScanOptions};
use crate::host::{FileKind, RealHost};
use serde_json::{Value, json};

fn intake() -> Intake {
    Intake::new("web", NonZeroU16::new(3).unwrap())
}

/// A line as an honest scan writes it.
fn honest(path: &str, inode: u64) -> Value {
    json!({ "found": {
        "path": path,
        "symlink": false,
        "stat": {
            "id": { "device": 5, "inode": inode },
            "kind": "Regular",
            "len": 196_608,
            "allocated": 4096,
            "modified": 1_700_000_000_000_000_000_i64,
            "changed": 0,
            "mode": 0o100644,
            "uid": 0,
            "gid": 0,
            "links": 1,
        },
        "content": "raw",
        "backing": null,
        "also": [],
        "holders": [],
        "annotation": null,
    }})
}

/// What is taken of one line, with whatever was changed in it.
fn taken(change: impl FnOnce(&mut Value)) -> Result<Vec<ScannedFile>, Nonsense> {
    let mut line = honest("/srv/a", 7);
    change(&mut line["found"]);
    let mut bytes = serde_json::to_vec(&line).unwrap();
    bytes.push(b'\n');
    let events = intake().feed(&bytes)?;
    Ok(events
        .into_iter()
        .flat_map(|event| match event {
            ScanEvent::Found(files) => files,
            _ => Vec::new(),
        })
        .collect())
}

#[test]
fn what_a_scan_meets_arrives_as_it_is_wherever_the_bytes_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let odd = root.join(OsString::from_vec(b"b\xff\n.qcow2".to_vec()));
    let create = |path: &Path, base: Option<&Path>| {
        let mut command = std::process::Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2"]);
        if let Some(base) = base {
            command.args(["-F", "qcow2", "-b"]).arg(base);
        }
        command.arg(path);
        if base.is_none() {
            command.arg("1M");
        }
        assert!(command.status().unwrap().success());
    };
    if std::process::Command::new("qemu-img")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: qemu-img is not here");
        return;
    }
    create(&root.join("a.qcow2"), None);
    create(&odd, Some(Path::new("a.qcow2")));
    create(&root.join("c.qcow2"), Some(&root.join("a.qcow2")));
    std::fs::remove_file(root.join("c.qcow2")).unwrap();
    std::os::unix::fs::symlink("gone", root.join("link.qcow2")).unwrap();
    let options = ScanOptions {
        roots: vec![root.clone()],
        ..ScanOptions::default()
    };
    let (mut here, mut bytes) = (Forest::new(), Vec::new());
    for event in Scan::start(Arc::new(RealHost), options).events() {
        bytes.extend(lines(&event).unwrap());
        match event {
            ScanEvent::Found(found) => here.extend(found),
            ScanEvent::Held(held) => here.hold(held),
            ScanEvent::Progress { .. } => {}
            ScanEvent::Done(_) => break,
        }
    }
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
        let mut intake = intake();
        let mut there = Forest::new();
        let (first, rest) = bytes.split_at(cut);
        let mut events = intake.feed(first).unwrap();
        events.extend(intake.feed(rest).unwrap());
        for event in events {
            if let ScanEvent::Found(found) = event {
                there.extend(found);
            }
        }
        assert!(intake.is_done(), "{cut}");
        assert_eq!(there.len(), here.len());
        for node in here.nodes() {
            let path = path_on("web", &node.path);
            let far = there.by_path(&path).unwrap();
            assert_eq!(far.content, node.content);
            assert_eq!(far.location, node.location);
            let parent = |forest: &Forest, id| forest.get(id).unwrap().path.clone();
            assert_eq!(
                far.parent.map(|id| parent(&there, id)),
                node.parent.map(|id| path_on("web", &parent(&here, id)))
            );
            assert_eq!(there.host_of(far), Some("web"));
            assert_eq!(here.host_of(node), None);
            if let (Some(far), Some(near)) = (&far.stat, &node.stat) {
                assert_eq!((far.len, far.modified), (near.len, near.modified));
                assert_eq!((far.id.machine(), near.id.machine()), (3, 0));
            }
        }
        assert!(there.here().is_empty());
    }
}

#[test]
fn a_file_that_cannot_be_is_left_out_and_counted() {
    let id = json!({ "device": 5_u64 | 1 << 48, "inode": 7 });
    type Change = Box<dyn FnOnce(&mut Value)>;
    let set = |path: &'static str, value: Value| -> Change {
        Box::new(move |file| *file.pointer_mut(path).unwrap() = value)
    };
    let backing = |changed: &str, value: Value| -> Change {
        let mut link = json!({
            "name": "a", "format": null, "beside": false, "understood": true,
            "path": "/srv/a", "state": "missing", "outside": null,
        });
        link[changed] = value;
        Box::new(move |file| file["backing"] = link)
    };
    assert_eq!(taken(|_| {}).unwrap().len(), 1);
    assert_eq!(taken(backing("format", json!("qcow2"))).unwrap().len(), 1);
    for (what, change) in [
        ("another machine's file", set("/stat/id", id.clone())),
        ("a relative path", set("/path", json!("srv/a"))),
        ("no path", set("/path", json!(""))),
        ("a path above the root", set("/path", json!("/srv/../../a"))),
        ("a path with a null", set("/path", json!("/srv/\u{0}"))),
        (
            "a long path",
            set("/path", json!(format!("/{}", "a".repeat(5000)))),
        ),
        ("a huge file", set("/stat/len", json!(u64::MAX))),
        ("a huge use", set("/stat/allocated", json!(u64::MAX))),
        (
            "a long format",
            set("/content", json!({ "opaque": "x".repeat(5000) })),
        ),
        ("a link above the root", backing("path", json!("/.."))),
        (
            "a link to a relative path",
            backing("path", json!("../etc/passwd")),
        ),
        (
            "a link to another machine",
            backing("state", json!({ "present": id })),
        ),
        ("a long name", backing("name", json!("a".repeat(5000)))),
        (
            "many holders",
            Box::new(|file: &mut Value| {
                let one = json!({
                    "pid": 1, "command": "a", "machine": null, "writes": false, "locks": false,
                });
                file["holders"] = vec![one; 2000].into();
            }),
        ),
        (
            "many edges",
            Box::new(|file: &mut Value| {
                let one = json!({
                    "how": "backing", "path": "/a", "file": { "device": 1, "inode": 1 },
                });
                file["also"] = vec![one; 2000].into();
            }),
        ),
    ] {
        assert_eq!(taken(change).unwrap(), [], "{what}");
    }
    let mut intake = intake();
    let mut bytes = Vec::new();
    for path in ["relative", "/srv/good"] {
        serde_json::to_writer(&mut bytes, &honest(path, 7)).unwrap();
        bytes.push(b'\n');
    }
    bytes.extend(b"{\"done\":{\"looked_at\":2,\"images\":99,\"cancelled\":false}}\n");
    let events = intake.feed(&bytes).unwrap();
    let Some(ScanEvent::Done(summary)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(summary.images, 2);
    assert!(summary.unreadable_dirs[0].1.contains("1 files"));
}

#[test]
fn a_header_that_cannot_be_is_none() {
    let info = json!({ "qcow2": {
        "version": 3, "virtual_size": 1 << 20, "cluster_size": 65536, "refcount_bits": 16,
        "extended_l2": false, "lazy_refcounts": false, "compression": "Zlib", "encryption": null,
        "dirty": false, "corrupt": false, "snapshots": 0, "first_snapshots": [], "bitmaps": 0,
        "external_data": false, "data_file": null, "data_file_raw": false,
        "backing_name_is_far": false, "unknown_features": [], "truncated": null,
        "lost_map": false, "unopenable": null,
    }});
    let header = |key: &str, value: Value| {
        let mut info = info.clone();
        info["qcow2"][key] = value;
        taken(|file| file["content"] = info)
    };
    assert_eq!(header("version", json!(2)).unwrap().len(), 1);
    let snapshot = json!({
        "l1_offset": 0, "l1_entries": 0, "id": [49], "name": [27], "date_seconds": 0,
        "date_nanoseconds": 0, "vm_clock_nanoseconds": 0, "vm_state_size_32": 0, "extra": [],
    });
    for (key, value) in [
        ("version", json!(4)),
        ("cluster_size", json!(0)),
        ("cluster_size", json!(65_537)),
        ("cluster_size", json!(1_u64 << 40)),
        ("refcount_bits", json!(0)),
        ("refcount_bits", json!(128)),
        ("virtual_size", json!(u64::MAX)),
        ("first_snapshots", json!([snapshot])),
        ("unknown_features", json!(vec!["a"; 100])),
        ("unknown_features", json!(["a".repeat(5000)])),
    ] {
        assert_eq!(header(key, value.clone()).unwrap(), [], "{key} {value}");
    }
}

#[test]
fn what_it_says_of_storage_is_a_name_of_some_or_nothing() {
    let sharing = |name: &str| {
        let said = json!({ "name": name, "keeps_inodes": true, "read_only": false });
        let files = taken(|file| file["sharing"] = said).unwrap();
        assert_eq!(files.len(), 1, "{name}");
        let sharing = files[0].sharing.as_deref().cloned();
        sharing.map(|sharing| sharing.name.display().to_string())
    };
    assert_eq!(sharing("nas:/e/a").as_deref(), Some("nas:/e/a"));
    let long = format!("nas:/{}", "a".repeat(5000));
    for odd in ["", "a", ":/a", "/a", "nas:/\u{0}", &long] {
        assert_eq!(sharing(odd), None, "{odd}");
    }
}

#[test]
fn what_it_says_acts_on_no_terminal() {
    let evil = "\u{1b}]0;x\u{7}\u{202e}".repeat(500);
    let is_safe = |text: &str| !text.chars().any(crate::host::misleads) && text.len() < 10_000;
    let files = taken(|file| {
        file["content"] = json!({ "unreadable": evil });
        file["holders"] = json!([{
            "pid": 1, "command": "\u{1b}[2J", "machine": "\u{9b}", "writes": true, "locks": true,
        }]);
        file["annotation"] = json!({ "note": "\u{1b}[31m", "tags": ["ok", "\u{1b}", "a b"] });
        file["backing"] = json!({
            "name": "\u{1b}", "format": "\u{1b}", "beside": true, "understood": true,
            "path": null, "state": { "unreachable": evil }, "outside": null,
        });
    });
    let [file] = &files.unwrap()[..] else {
        panic!()
    };
    let Content::Unreadable(why) = &file.content else {
        panic!()
    };
    let link = file.backing.as_deref().unwrap();
    let BackingState::Unreachable(unreachable) = &link.state else {
        panic!()
    };
    let holder = &file.holders[0];
    for text in [
        why,
        &**unreachable,
        &holder.command,
        holder.machine.as_deref().unwrap(),
        link.format().unwrap().name(),
    ] {
        assert!(is_safe(text), "{text:?}");
    }
    let noted = file.annotation.as_deref().unwrap();
    assert_eq!(
        (noted.text.as_str(), noted.tags.as_slice()),
        ("", &["ok".to_owned()][..])
    );
    // A name may be anything, as here, and is escaped where it is shown.
    assert_eq!(host_and_path(link.path.as_deref().unwrap()), None);
    assert!(link.path.as_deref().unwrap().is_relative());
}

#[test]
fn lines_that_are_no_lines_of_a_scan_end_it() {
    let end = b"{\"done\":{\"looked_at\":0,\"images\":0,\"cancelled\":false}}\n".as_slice();
    for (bytes, what) in [
        (b"hello\n".to_vec(), "version"),
        (b"{\"found\":{}}\n".to_vec(), "version"),
        (
            b"{\"held\":{\"file\":{\"device\":-1,\"inode\":1},\"holders\":[]}}\n".to_vec(),
            "version",
        ),
        ([b"[".repeat(100_000), b"\n".to_vec()].concat(), "version"),
        (b"a".repeat((1 << 20) + 1), "no end"),
        (
            [b"a".repeat((1 << 20) + 1), b"\n".to_vec()].concat(),
            "too long",
        ),
        ([end, end].concat(), "after the end"),
    ] {
        let Nonsense(told) = intake().feed(&bytes).unwrap_err();
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn no_name_of_one_machine_leads_to_a_file_of_another() {
    let stat = |inode| Stat {
        id: FileId { device: 5, inode },
        kind: FileKind::Regular,
        len: 0,
        allocated: 0,
        modified: UNIX_EPOCH + Duration::from_secs(1),
        changed: UNIX_EPOCH,
        mode: 0o644,
        uid: 0,
        gid: 0,
        links: 1,
    };
    let here = |path: &str, inode, backing| ScannedFile {
        path: path.into(),
        symlink: false,
        stat: Some(stat(inode)),
        content: Content::Raw,
        backing,
        also: Vec::new(),
        holders: Vec::new(),
        annotation: None,
        sharing: None,
    };
    let link =
        |name: &str, state| Some(Box::new(Backing::new(OsStr::new(name), None, None, state)));
    let elsewhere = BackingState::Elsewhere("web".into());
    // The same device and inode there; an image here says that it is built on what is called like a file there; one
    // there says that it is built on a file of this machine.
    let overlay = here("/srv/o", 8, link("web:/srv/a", elsewhere));
    let base = here("/srv/a", 7, None);
    let far = taken(|_| {}).unwrap();
    let liar = |state: Value, path: Value| {
        taken(move |file| {
            file["path"] = json!("/srv/liar");
            file["stat"]["id"]["inode"] = json!(9);
            file["backing"] = json!({
                "name": "/srv/a", "format": null, "beside": false, "understood": true,
                "path": path, "state": state, "outside": null,
            });
        })
        .unwrap()
    };
    let lies = [
        liar(json!("missing"), Value::Null),
        liar(json!({ "elsewhere": "nbd" }), Value::Null),
        liar(
            json!({ "present": { "device": 5, "inode": 7 } }),
            json!("/srv/a"),
        ),
    ];
    for lie in lies {
        let all = [vec![overlay.clone(), base.clone()], far.clone(), lie].concat();
        for turn in 0..all.len() {
            let mut order = all.clone();
            order.rotate_left(turn);
            let mut forest = Forest::new();
            forest.extend(order);
            for node in forest.nodes() {
                let parent = node.parent.and_then(|id| forest.get(id));
                let machine = |node| forest.host_of(node).is_some();
                assert!(
                    parent.is_none_or(|parent| machine(parent) == machine(node)),
                    "{node:?} on {parent:?}"
                );
            }
            let local = forest.here();
            assert_eq!(local.nodes().count(), 3);
            let mut names: Vec<_> = local.nodes().map(|node| node.path.clone()).collect();
            names.sort();
            assert_eq!(names, ["/srv/a", "/srv/o", "web:/srv/a"].map(PathBuf::from));
            let name = local.nodes().find(|node| node.path.is_relative()).unwrap();
            assert_eq!(name.location, Location::Elsewhere);
            for id in local.roots() {
                assert_eq!(local.get(id).map(|node| node.id), Some(id));
            }
        }
    }
}
