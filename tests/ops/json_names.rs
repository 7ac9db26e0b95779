//! `json:` backing names: those that describe a plain local file are followed as far as any name is, all
//! others are shown and left alone, and no name is ever rewritten on the side.

use crate::support;

use std::fs;
use std::path::Path;
use std::process::Command;

use qanopy::forest::{BackingState, Flags, Location, ProblemKind, Reads};
use qanopy::image::{Format, ImageFile};
use qanopy::ops::{Commit, MoveImages, RefusalKind, Relocation, Request, Resize};
use support::{Qemu, own_code};

/// A base with content, and an overlay named `over` that names it so.
fn overlay(qemu: &Qemu, dir: &Path, name: &str, format: Option<&str>) {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    if !dir.join("base").exists() {
        qemu.img(&["create", "-q", "-f", "qcow2", &at("base"), "1M"]);
        qemu.io(dir.join("base"), &["write -P 7 0 1M"]);
    }
    let _ = fs::remove_file(dir.join("over"));
    qemu.img(&["create", "-q", "-f", "qcow2", &at("over"), "1M"]);
    let recorded = format.unwrap_or("qcow2");
    qemu.img(&["rebase", "-u", "-F", recorded, "-b", name, &at("over")]);
    if format.is_none() {
        let mut bytes = fs::read(dir.join("over")).unwrap();
        let extension = [0xe2, 0x79, 0x2a, 0xca];
        let found = bytes
            .windows(4)
            .position(|bytes| bytes == extension)
            .unwrap();
        bytes[found..found + 4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        fs::write(dir.join("over"), bytes).unwrap();
    }
}

#[test]
fn a_description_of_a_plain_file_leads_where_the_real_tool_finds_it() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let base = dir.join("base").to_str().unwrap().to_owned();
    for (name, format) in [
        (
            r#"{"driver":"qcow2","file":{"driver":"file","filename":"BASE"}}"#,
            Some("qcow2"),
        ),
        (
            r#"{"driver":"qcow2","file":{"driver":"file","filename":"BASE"}}"#,
            None,
        ),
        (
            r#"{"driver":"qcow2","file.driver":"file","file.filename":"BASE"}"#,
            Some("qcow2"),
        ),
        // The format that is recorded comes first.
        (
            r#"{"driver":"raw","file":{"driver":"file","filename":"BASE"}}"#,
            Some("qcow2"),
        ),
        (
            r#"{"driver":"raw","file":{"driver":"file","filename":"BASE"}}"#,
            None,
        ),
        (r#"{"file.filename":"BASE"}"#, None),
        (r#"{"driver":"file","filename":"BASE"}"#, None),
        (r#"{"driver":"file","filename":"BASE"}"#, Some("raw")),
        (r#"{"filename":"BASE"}"#, Some("qcow2")),
        (
            r#"{"driver":"qcow2","file":{"driver":"raw","file":{"filename":"BASE"}}}"#,
            Some("qcow2"),
        ),
        (
            r#"{"driver":"qcow2","file":{"driver":"file","filename":"file:BASE"}}"#,
            Some("qcow2"),
        ),
        (
            r#"{"driver":"qcow2","file":{"filename":"x","filename":"BASE"}}"#,
            Some("qcow2"),
        ),
        (
            r#"{"driver":"qcow2","read-only":true,"file":{"filename":"BASE","locking":"off"}}"#,
            Some("qcow2"),
        ),
    ] {
        let name = format!("json:{}", name.replace("BASE", &base));
        overlay(&qemu, dir, &name, format);
        let path = dir.join("over");
        let theirs = qemu.try_img(&[
            "convert",
            "-f",
            "qcow2",
            "-O",
            "raw",
            path.to_str().unwrap(),
            dir.join("raw").to_str().unwrap(),
        ]);
        let ours = own_code::view(&path, Some("qcow2"));
        assert_eq!(
            ours.is_ok(),
            theirs.success(),
            "{name} {format:?}: {ours:?} {}",
            theirs.stderr
        );
        if let Ok(ours) = ours {
            let theirs = support::oracle::file_view(&dir.join("raw")).unwrap();
            assert!(ours == theirs, "{name} {format:?}");
        }
    }
}

#[test]
fn what_is_no_plain_file_is_shown_and_left_alone() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let base = dir.join("base").to_str().unwrap().to_owned();
    for (name, what) in [
        (
            r#"{"driver":"qcow2","file":{"driver":"nbd","host":"127.0.0.1"}}"#,
            "json: nbd",
        ),
        (r#"{"driver":"\u001b[2J"}"#, "json: \u{1b}[2J"),
        ("{", "json: not understood"),
    ] {
        let name = format!("json:{}", name.replace("BASE", &base));
        overlay(&qemu, dir, "base", Some("qcow2"));
        let over = dir.join("over");
        let file = qanopy::host::Host::open(
            &qanopy::host::RealHost,
            &over,
            qanopy::host::Access::ReadWrite,
        );
        qanopy::image::relink(
            &ImageFile::new(&over, file.unwrap()),
            name.as_ref(),
            &Format::Raw,
        )
        .unwrap();
        let forest = own_code::scan(&own_code::real_host(), dir);
        let node = forest.by_path(&over).unwrap();
        let backing = node.backing.as_ref().unwrap();
        assert_eq!(backing.state, BackingState::Elsewhere(what.into()));
        assert_eq!(backing.name(), name.as_str());
        assert_eq!(
            forest.get(node.parent.unwrap()).unwrap().location,
            Location::Elsewhere
        );
        let error = own_code::view(&over, Some("qcow2")).unwrap_err();
        assert!(error.contains("not a local file but json: "), "{error}");
        for words in [["info"].as_slice(), &["info", "--json"], &["tree"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
            command.env("XDG_STATE_HOME", dir.join("state"));
            let last = if words == ["tree"] { dir } else { &over };
            let outcome = qemu.run(command.args(words).arg(last));
            assert_eq!(outcome.code, 0, "{}", outcome.stderr);
            let shown = outcome.text();
            assert!(
                !shown.chars().any(|c| c.is_control() && c != '\n'),
                "{shown:?}"
            );
        }
    }
}

/// Names by which QEMU reads `BASE` (qcow2), and some of them `MORE`, another file.
const NOT_UNDERSTOOD: [(&str, &str); 14] = [
    (
        "raw",
        r#"json:{"driver":"raw","offset":512,"size":65536,"file":{"driver":"file","filename":"BASE"}}"#,
    ),
    (
        "raw",
        r#"json:{"driver":"raw","size":65536,"file.driver":"file","file.filename":"BASE"}"#,
    ),
    (
        "qcow2",
        r#"json:{"driver":"qcow2","backing":null,"file":{"filename":"BASE"}}"#,
    ),
    (
        "qcow2",
        r#"json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file","filename":"BASE"}}}"#,
    ),
    (
        "qcow2",
        r#"json:{"driver":"qcow2","file.driver":"blkdebug","file.image.filename":"BASE"}"#,
    ),
    (
        "raw",
        r#"json:{"driver":"blkverify","test":{"driver":"raw","file.filename":"BASE"},"raw":{"driver":"file","filename":"MORE"}}"#,
    ),
    (
        "raw",
        r#"json:{"driver":"copy-on-read","file":{"driver":"qcow2","file.filename":"BASE"}}"#,
    ),
    (
        "raw",
        r#"json:{"driver":"quorum","vote-threshold":1,"children":[{"driver":"raw","file.filename":"MORE"},{"driver":"raw","file.filename":"BASE"}]}"#,
    ),
    (
        "qcow2",
        r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"MORE"},"backing":{"driver":"qcow2","file":{"driver":"file","filename":"BASE"}}}"#,
    ),
    (
        "qcow2",
        "json:{'driver':'qcow2','file':{'driver':'file','filename':'BASE'}}",
    ),
    (
        "raw",
        r#"json:{"driver":"luks","key-secret":"s","file":{"driver":"host_device","filename":"BASE"}}"#,
    ),
    ("qcow2", "blkdebug::BASE"),
    ("raw", "blkverify:MORE:BASE"),
    ("qcow2", "blkdebug::blkdebug::file:BASE"),
];

#[test]
fn nothing_is_done_to_a_file_that_is_read_in_a_way_not_understood() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let at = |name: &str| dir.join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let host = own_code::real_host();
    overlay(&qemu, dir, "base", Some("qcow2"));
    qemu.img(&["create", "-q", "-f", "qcow2", &text("more"), "1M"]);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        &text("base"),
        &text("other"),
    ]);
    qemu.io(at("other"), &["write -P 9 0 64k"]);
    for (format, name) in NOT_UNDERSTOOD {
        let name = name
            .replace("BASE", &text("base"))
            .replace("MORE", &text("more"));
        let file = ImageFile::open(&*host, &at("over"), qanopy::host::Access::ReadWrite).unwrap();
        let format = Format::from_name(format);
        qanopy::image::relink(&file, name.as_ref(), &format).unwrap();
        let forest = own_code::scan(&host, dir);
        let over = forest.by_path(&at("over")).unwrap();
        let base = forest.by_path(&at("base")).unwrap();
        let is_reader = |file: &qanopy::forest::Node| {
            let mut readers = forest.readers(file.id).into_iter();
            readers.any(|reader| reader.node == over.id && reader.how == Reads::NotUnderstood)
        };
        assert!(is_reader(base), "{name}");
        if name.contains("more") {
            assert!(is_reader(forest.by_path(&at("more")).unwrap()), "{name}");
        }
        // In the tree it stands below what it reads.
        let parent = forest.get(over.parent.unwrap()).unwrap();
        assert!(parent.id == base.id || name.contains("more"), "{name}");
        let note = qanopy::forest::render::note(&forest, over.id).unwrap();
        assert!(note.contains("not understood"), "{name}: {note}");
        assert!(!forest.flags(base.id).contains(Flags::ACTIVE), "{name}");

        let moves = vec![Relocation {
            from: at("base"),
            to: at("elsewhere"),
            style: None,
        }];
        for request in [
            Request::Commit(Commit {
                overlay: at("other"),
                into: None,
                layer: qanopy::ops::CommittedLayer::Trash,
                siblings: qanopy::ops::Siblings::Preserve,
                keep_old: None,
            }),
            Request::Move(MoveImages {
                moves,
                subtree: false,
            }),
            Request::Resize(Resize {
                image: at("base"),
                size: qanopy::ops::NewSize::More(1 << 20),
                shrink: false,
                preallocation: qanopy::image::Preallocation::Off,
                dependants: qanopy::ops::Dependants::Break,
            }),
        ] {
            let plan = own_code::plan(&host, dir, &request);
            let told = plan.refusals.iter().any(|refusal| {
                refusal.kind == RefusalKind::Unsupported && refusal.text.contains("over")
            });
            assert!(told, "{name}: {request:?}: {:?}", plan.refusals);
        }
        // Nothing is read through it either, and both may go together.
        let error = own_code::view(&at("over"), Some("qcow2")).unwrap_err();
        assert!(
            error.contains("understood") || error.contains("no format"),
            "{name}: {error}"
        );
        let images = vec![at("base"), at("over"), at("more")];
        let plan = own_code::plan(&host, dir, &Request::discard(images));
        assert!(plan.refusals.is_empty(), "{name}: {:?}", plan.refusals);
    }
}

#[test]
fn options_that_only_tune_how_a_file_is_read_leave_a_plain_overlay() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let base = dir.join("base").to_str().unwrap().to_owned();
    let name = r#"json:{"driver":"qcow2","l2-cache-size":1048576,"cache-clean-interval":3,"file":{"filename":"BASE"}}"#;
    overlay(&qemu, dir, &name.replace("BASE", &base), Some("qcow2"));
    let forest = own_code::scan(&own_code::real_host(), dir);
    let over = forest.by_path(&dir.join("over")).unwrap();
    assert!(over.backing.as_ref().unwrap().is_understood());
    assert_eq!(
        over.parent,
        forest.by_path(&dir.join("base")).map(|node| node.id)
    );
    assert!(own_code::view(&dir.join("over"), Some("qcow2")).is_ok());
}

#[test]
fn a_relative_name_in_a_description_goes_by_the_current_directory_and_is_a_problem() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (home.path().join("a"), home.path().join("b"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let name = r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"base"}}"#;
    overlay(&qemu, &dir, name, Some("qcow2"));
    // The same as the real tool: there or not, by where a program runs.
    for (from, there) in [(&dir, true), (&elsewhere, false)] {
        let here = qemu.within(from);
        let read = here.try_io(dir.join("over"), &["read -P 7 0 512"]);
        assert_eq!(
            !read.stderr.contains("can't open"),
            there,
            "{}",
            read.stderr
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command.env("XDG_STATE_HOME", home.path().join("state"));
        let outcome = here.run(command.args(["tree", "--json"]).arg(&dir));
        let shown = outcome.text();
        assert!(shown.contains("directory-dependent-backing"), "{shown}");
        assert_eq!(!shown.contains("missing-backing"), there, "{shown}");
    }
    // It says how to mend it, and that does.
    let forest = own_code::scan(&own_code::real_host(), &dir);
    let node = forest.by_path(&dir.join("over")).unwrap();
    let kinds: Vec<ProblemKind> = node.problems.iter().map(|problem| problem.kind).collect();
    assert!(
        kinds.contains(&ProblemKind::DirectoryDependentBacking),
        "{kinds:?}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
    command.env("XDG_STATE_HOME", home.path().join("state"));
    command.args(["relink", "--yes", "over", "--to", "base"]);
    let outcome = qemu.within(&dir).run(&mut command);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let forest = own_code::scan(&own_code::real_host(), &dir);
    let node = forest.by_path(&dir.join("over")).unwrap();
    assert_eq!(node.backing.as_ref().unwrap().name(), "base");
    assert!(node.problems.is_empty(), "{:?}", node.problems);
}

#[test]
fn a_described_file_outside_the_folders_is_never_opened_and_a_name_is_kept_as_it_is() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let (dir, outside) = (home.path().join("in"), home.path().join("out"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&outside).unwrap();
    overlay(&qemu, &outside, "base", Some("qcow2"));
    let describe = |at: &Path| {
        let file = at.join("base");
        let file = file.to_str().unwrap();
        format!(r#"json:{{"driver": "qcow2", "file": {{"driver": "file", "filename": "{file}"}}}}"#)
    };
    overlay(&qemu, &dir, &describe(&outside), Some("qcow2"));
    let forest = own_code::scan(&own_code::real_host(), &dir);
    let parent = forest.by_path(&dir.join("over")).unwrap().parent.unwrap();
    assert_eq!(forest.get(parent).unwrap().location, Location::OutsideScan);
    assert!(forest.get(parent).unwrap().format().is_none());

    // A commit rewrites the image it empties, and its name stays.
    let name = describe(&dir);
    overlay(&qemu, &dir, &name, Some("qcow2"));
    let over = dir.join("over");
    qemu.io(&over, &["write -P 9 64k 64k"]);
    let shown = qemu.digest(&over);
    let (keep, refuse) = (
        qanopy::ops::CommittedLayer::Keep,
        qanopy::ops::Siblings::Refuse,
    );
    own_code::commit(&own_code::real_host(), &dir, &over, keep, refuse).unwrap();
    assert_eq!(qemu.digest(&over), shown);
    assert_eq!(qemu.digest(dir.join("base")), shown);
    let forest = own_code::scan(&own_code::real_host(), &dir);
    let node = forest.by_path(&over).unwrap();
    assert_eq!(node.backing.as_ref().unwrap().name(), name.as_str());
}

/// QEMU takes them from the directory it is started in, which for many is the image's.
#[test]
fn a_described_relative_name_may_mean_the_file_beside_the_image() {
    let Some(qemu) = support::qemu() else { return };
    for (name, format) in [
        ("file:base", Some("qcow2")),
        ("blkdebug::base", Some("qcow2")),
        (
            r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"base"}}"#,
            Some("qcow2"),
        ),
        (
            r#"json:{"driver":"raw","offset":512,"size":512,"file":{"driver":"file","filename":"./base"}}"#,
            Some("raw"),
        ),
        // Nothing opens it as it is, and what it means is plain all the same.
        (r#"json:{"driver":"file","filename":"base"}"#, Some("qcow2")),
    ] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        overlay(&qemu, dir, "base", Some("qcow2"));
        fs::rename(dir.join("over"), dir.join("top")).unwrap();
        overlay(&qemu, dir, name, format);
        let host = own_code::real_host();
        for request in [
            Request::Commit(Commit {
                overlay: dir.join("top"),
                into: None,
                layer: qanopy::ops::CommittedLayer::Trash,
                siblings: qanopy::ops::Siblings::Break,
                keep_old: None,
            }),
            Request::Move(MoveImages {
                moves: vec![Relocation {
                    from: dir.join("base"),
                    to: dir.join("other"),
                    style: None,
                }],
                subtree: false,
            }),
        ] {
            let plan = own_code::plan(&host, dir, &request);
            let is_told = plan.refusals.iter().any(|refusal| {
                refusal.kind == RefusalKind::Unsupported && refusal.text.contains("over")
            });
            assert!(is_told, "{name}: {:?}", plan.refusals);
        }
    }
}
