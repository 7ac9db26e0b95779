//! Branch and create: what we make is what qemu-img makes, the base keeps every byte, nothing is
//! overwritten, and a crash leaves the new image whole or absent.

use crate::support;
use crate::support::planning;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use planning::{context, execute, execute_request, words};
use qanopy::host::RealHost;
use qanopy::image::Format;
use qanopy::ops::{
    self, BackingStyle, Branch, BranchUnchecked, Commit, CommittedLayer, Confirm, Create, Danger,
    Direction, Error, Flatten, ImageOptions, NoteKind, Rebase, RefusalKind, Request, Siblings,
    Squash,
};
use serde_json::Value;
use support::image_crash_suite::{refused_as, warns_of};
use support::{FaultyHost, HoldMode, Qemu, RecordingHost, own_code, qemu};

fn branch(dir: &Path, base: &str, new: &str) -> Request {
    Request::Branch(Branch {
        base: dir.join(base),
        new: dir.join(new),
        format: None,
        size: None,
        style: BackingStyle::Relative,
        image: ImageOptions::default(),
    })
}

fn real(dir: &Path) -> ops::Context {
    context(Arc::new(RealHost), dir)
}

fn plan(dir: &Path, request: &Request) -> ops::Plan {
    ops::plan(&real(dir), request)
}

fn run(dir: &Path, request: &Request) {
    execute_request(&real(dir), request).unwrap();
}

/// What qemu-img says of the image, without what differs between any two files.
fn info(qemu: &Qemu, name: &str) -> Value {
    let text = qemu.img(&["info", "--output=json", name]);
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let object = value.as_object_mut().unwrap();
    for key in ["filename", "actual-size", "children"] {
        object.remove(key);
    }
    value
}

/// Bases of every kind a branch can start from, with data in them.
fn bases(qemu: &Qemu, dir: &Path) -> Vec<(&'static str, &'static str)> {
    let here = qemu.within(dir);
    let create = |options: &str, name: &str, size: &str| {
        here.img(&["create", "-f", "qcow2", "-o", options, name, size]);
        here.io(name, &["write -P 3 64k 128k"]);
    };
    create("compat=1.1", "v3", "4M");
    create("compat=0.10", "v2", "4M");
    create("cluster_size=512", "c512", "1M");
    create("cluster_size=2M", "c2M", "64M");
    create("extended_l2=on", "sub", "4M");
    create("compression_type=zstd", "odd-size", "1000448");
    here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", "v3", "leaf"]);
    fs::write(dir.join("raw.img"), vec![9; 1_000_001]).unwrap();
    fs::create_dir(dir.join("deep")).unwrap();
    fs::copy(dir.join("v3"), dir.join("deep/a:b")).unwrap();
    vec![
        ("v3", "qcow2"),
        ("v2", "qcow2"),
        ("c512", "qcow2"),
        ("c2M", "qcow2"),
        ("sub", "qcow2"),
        ("odd-size", "qcow2"),
        ("leaf", "qcow2"),
        ("raw.img", "raw"),
        ("deep/a:b", "qcow2"),
    ]
}

#[test]
fn our_overlay_is_the_one_qemu_img_makes() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    for (base, format) in bases(&qemu, dir.path()) {
        let before = fs::read(dir.path().join(base)).unwrap();
        run(dir.path(), &branch(dir.path(), base, "ours"));
        here.img(&["create", "-f", "qcow2", "-F", format, "-b", base, "theirs"]);
        assert_eq!(info(&here, "ours"), info(&here, "theirs"), "{base}");
        here.check_clean("ours");
        assert_eq!(here.digest("ours"), here.digest("theirs"), "{base}");
        let len = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
        assert_eq!(
            len("ours").div_ceil(65536),
            len("theirs").div_ceil(65536),
            "{base}"
        );
        // It can be written by QEMU, and that changes nothing below.
        here.io("ours", &["write -P 5 0 192k"]);
        here.check_clean("ours");
        assert_eq!(fs::read(dir.path().join(base)).unwrap(), before, "{base}");
        fs::remove_file(dir.path().join("ours")).unwrap();
        fs::remove_file(dir.path().join("theirs")).unwrap();
    }
}

#[test]
fn relative_names_lead_from_any_directory_to_any_other() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    for sub in ["x", "x/y", "z:1"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
    }
    std::os::unix::fs::symlink("x/y", dir.path().join("way")).unwrap();
    for base in ["base", "x/base", "x/y/base", "z:1/base"] {
        here.img(&["create", "-f", "qcow2", &format!("./{base}"), "1M"]);
        here.io(format!("./{base}"), &["write -P 3 0 64k"]);
        for to in ["new", "x/new", "x/y/new", "z:1/new", "way/new"] {
            for style in [BackingStyle::Relative, BackingStyle::Absolute] {
                let request = Request::Branch(Branch {
                    base: dir.path().join(base),
                    new: dir.path().join(to),
                    format: None,
                    size: None,
                    style,
                    image: ImageOptions::default(),
                });
                run(dir.path(), &request);
                let new = dir.path().join(to);
                let info = info(&here, new.to_str().unwrap());
                let recorded = Path::new(info["backing-filename"].as_str().unwrap());
                assert_eq!(recorded.is_absolute(), style == BackingStyle::Absolute);
                assert_eq!(
                    here.digest(&new),
                    here.digest(format!("./{base}")),
                    "{base} {to}"
                );
                fs::remove_file(&new).unwrap();
            }
        }
    }
}

#[test]
fn a_base_is_what_it_is_said_to_be_or_nothing_is_built_on_it() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    here.img(&["create", "-f", "qcow2", "base", "1M"]);
    fs::write(dir.join("disk.img"), [7; 4096]).unwrap();
    for (base, said, is_so) in [
        ("base", "qcow2", true),
        ("disk.img", "raw", true),
        ("disk.img", "qcow2", false),
    ] {
        let Request::Branch(mut request) = branch(dir, base, "new") else {
            unreachable!()
        };
        request.format = Some(Format::from_name(said));
        let request = Request::Branch(request);
        if is_so {
            run(dir, &request);
            assert_eq!(info(&here, "new")["backing-filename-format"], said);
            fs::remove_file(dir.join("new")).unwrap();
        } else {
            refused_as(&plan(dir, &request), RefusalKind::BackingFormat);
        }
    }
}

#[test]
fn a_base_that_is_said_to_be_raw_is_read_so_whatever_it_begins_like() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    here.img(&["create", "-f", "qcow2", "below", "1M"]);
    here.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", "below", "base",
    ]);
    // Nothing below it is needed: a guest may have written that header.
    fs::remove_file(dir.join("below")).unwrap();
    let Request::Branch(mut request) = branch(dir, "base", "new") else {
        unreachable!()
    };
    request.format = Some(Format::Raw);
    let request = Request::Branch(request);
    let asked = plan(dir, &request);
    assert_eq!(asked.confirm, Confirm::Yes, "{}", words(&asked));
    assert!(
        warns_of(&asked, NoteKind::BackingFormat),
        "{}",
        words(&asked)
    );
    run(dir, &request);
    here.img(&["create", "-f", "qcow2", "-F", "raw", "-b", "base", "same"]);
    let of = |name: &str| {
        let info = info(&here, name);
        [
            "virtual-size",
            "backing-filename",
            "backing-filename-format",
        ]
        .map(|key| info[key].clone())
    };
    assert_eq!(of("new"), of("same"));
    assert_eq!(here.digest("new"), here.digest("same"));
}

#[test]
fn a_pair_with_a_relative_name_can_be_moved_together() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    fs::create_dir(dir.path().join("one")).unwrap();
    here.img(&["create", "-f", "qcow2", "one/base", "1M"]);
    run(dir.path(), &branch(dir.path(), "one/base", "one/new"));
    fs::rename(dir.path().join("one"), dir.path().join("two")).unwrap();
    here.check_clean("two/new");
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    qemu.within(dir.path())
        .img(&["create", "-f", "qcow2", "base", "1M"]);
    let mine = dir.path().join("mine");
    let late = plan(dir.path(), &branch(dir.path(), "base", "mine"));
    fs::write(&mine, "mine").unwrap();
    let refused = plan(dir.path(), &branch(dir.path(), "base", "mine"));
    assert_eq!(refused.danger, Danger::Refused);
    refused_as(&refused, RefusalKind::AlreadyExists);
    assert!(matches!(execute(late), Err(Error::Stale(_))));
    assert_eq!(fs::read(&mine).unwrap(), b"mine");

    fs::remove_file(&mine).unwrap();
    std::os::unix::fs::symlink("nowhere", &mine).unwrap();
    let refused = plan(dir.path(), &branch(dir.path(), "base", "mine"));
    assert_eq!(refused.danger, Danger::Refused);
    let onto_itself = plan(dir.path(), &branch(dir.path(), "base", "base"));
    assert_eq!(onto_itself.danger, Danger::Refused);
    let create = Request::Create(Create {
        path: dir.path().join("base"),
        size: 1 << 20,
        image: ImageOptions::default(),
    });
    assert_eq!(plan(dir.path(), &create).danger, Danger::Refused);
}

#[test]
fn what_cannot_be_built_on_is_refused_with_its_reason() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "gone", "1M"]);
    here.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", "gone", "orphan",
    ]);
    here.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", "orphan", "above",
    ]);
    here.img(&["create", "-f", "qcow2", "x", "1M"]);
    here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", "x", "y"]);
    here.img(&["rebase", "-u", "-F", "qcow2", "-b", "y", "x"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=aes,encrypt.key-secret=s",
        "locked",
        "1M",
    ]);
    fs::remove_file(dir.path().join("gone")).unwrap();
    fs::write(dir.path().join("short"), b"QFI\xfb\0\0\0\x03").unwrap();
    for (base, kind) in [
        ("gone", RefusalKind::NotFound),
        ("orphan", RefusalKind::NotFound),
        ("above", RefusalKind::NotFound),
        ("y", RefusalKind::Loop),
        ("locked", RefusalKind::Unsupported),
        ("short", RefusalKind::Unreadable),
        ("nothing", RefusalKind::NotFound),
    ] {
        let plan = plan(dir.path(), &branch(dir.path(), base, "new"));
        assert_eq!(plan.danger, Danger::Refused, "{base}: {}", words(&plan));
        refused_as(&plan, kind);
    }
    // A new file there would pass for the missing base.
    let create = Request::Create(Create {
        path: dir.path().join("gone"),
        size: 1 << 20,
        image: ImageOptions::default(),
    });
    let text = words(&plan(dir.path(), &create));
    assert!(text.contains("would pass for it"), "{text}");
    let nowhere = branch(dir.path(), "x", "no/such/dir");
    assert_eq!(plan(dir.path(), &nowhere).danger, Danger::Refused);
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_size_is_whole_sectors_and_less_than_the_bases_with_a_warning() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base", "1M"]);
    let sized = |size| {
        Request::Branch(Branch {
            base: dir.path().join("base"),
            new: dir.path().join("new"),
            format: None,
            size: Some(size),
            style: BackingStyle::Relative,
            image: ImageOptions::default(),
        })
    };
    here.io("base", &["write -P 7 0 1M"]);
    let shorter = plan(dir.path(), &sized(512 << 10));
    assert!(
        words(&shorter).contains("does not see the end"),
        "{}",
        words(&shorter)
    );
    run(dir.path(), &sized(512 << 10));
    here.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "theirs", "512k",
    ]);
    assert_eq!(here.digest("new"), here.digest("theirs"));
    fs::remove_file(dir.path().join("new")).unwrap();
    assert_eq!(plan(dir.path(), &sized(u64::MAX)).danger, Danger::Refused);
    assert_eq!(
        plan(dir.path(), &sized((1 << 51) + 512)).danger,
        Danger::Refused
    );
    run(dir.path(), &sized((1 << 20) + 1));
    assert_eq!(info(&here, "new")["virtual-size"], (1 << 20) + 512);
}

#[test]
fn the_plan_says_what_depends_on_the_base_and_how_qemu_img_does_it() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base", "1M"]);
    let first = plan(dir.path(), &branch(dir.path(), "base", "one"));
    assert_eq!(
        (first.danger, first.confirm),
        (Danger::Creates, Confirm::Nothing)
    );
    let text = words(&first);
    assert!(text.contains("base is frozen from then on"), "{text}");
    let command = format!(
        "$ qemu-img create -f qcow2 -F qcow2 -b base {}",
        dir.path().join("one").display()
    );
    assert!(text.contains(&command), "{text}");
    execute(first).unwrap();
    let second = plan(dir.path(), &branch(dir.path(), "base", "two"));
    assert!(
        words(&second).contains("base then has 2 overlays"),
        "{}",
        words(&second)
    );
}

#[test]
fn a_base_that_a_machine_writes_is_warned_of_and_agreed_to_by_number() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    qemu.within(dir.path())
        .img(&["create", "-f", "qcow2", "base", "1M"]);
    let holding = qemu.hold_with_nbd(&dir.path().join("base"), HoldMode::ReadWrite);
    let plan = plan(dir.path(), &branch(dir.path(), "base", "new"));
    let text = words(&plan);
    assert!(text.contains(&holding.pid().to_string()), "{text}");
    assert!(text.contains("warning"), "{text}");
    assert_eq!(plan.confirm, Confirm::Count(1));
}

#[test]
fn undoing_a_branch_puts_the_new_file_into_the_trash_by_a_plain_yes() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    qemu.within(dir.path())
        .img(&["create", "-f", "qcow2", "base", "1M"]);
    let request = branch(dir.path(), "base", "new");
    let outcome = execute_request(&real(dir.path()), &request).unwrap();
    let undo = plan(dir.path(), &outcome.undo.unwrap());
    assert_eq!(undo.confirm, Confirm::Yes);
    execute(undo).unwrap();
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_new_image_is_the_one_qemu_img_makes() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    for size in [0_u64, 512, 1 << 20, 10 << 30, 3 << 40] {
        let request = Request::Create(Create {
            path: dir.path().join("ours"),
            size,
            image: ImageOptions::default(),
        });
        run(dir.path(), &request);
        here.img(&["create", "-f", "qcow2", "theirs", &size.to_string()]);
        assert_eq!(info(&here, "ours"), info(&here, "theirs"), "{size}");
        here.check_clean("ours");
        fs::remove_file(dir.path().join("ours")).unwrap();
        fs::remove_file(dir.path().join("theirs")).unwrap();
    }
}

#[test]
fn a_crash_at_any_moment_leaves_the_new_image_whole_or_absent() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base", "1M"]);
    here.io("base", &["write -P 3 0 64k"]);
    let base = fs::read(dir.path().join("base")).unwrap();
    let digest = here.digest("base");
    let host = Arc::new(RecordingHost::new(dir.path()));
    let root = fs::canonicalize(dir.path()).unwrap();
    let request = branch(&root, "base", "new");
    execute_request(&context(host.clone(), &root), &request).unwrap();
    host.mark("done");
    let log = host.log();
    let mut whole = 0;
    for state in log.crash_states(200, 1) {
        let after = log.replay(&state);
        let story = log.describe(&state);
        assert_eq!(
            fs::read(after.path().join("base")).unwrap(),
            base,
            "{story}"
        );
        let new: PathBuf = after.path().join("new");
        assert!(new.exists() || !state.passed("done"), "{story}");
        if new.exists() {
            whole += 1;
            if whole % 8 == 1 {
                let there = qemu.within(after.path());
                there.check_clean("new");
                assert_eq!(there.digest("new"), digest, "{story}");
            } else {
                let whole = fs::read(root.join("new")).unwrap();
                assert_eq!(fs::read(&new).unwrap(), whole, "{story}");
            }
        }
    }
    assert!(whole > 0);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    use support::{Calls, Fault};
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    qemu.within(dir.path())
        .img(&["create", "-f", "qcow2", "base", "1M"]);
    for nth in 0.. {
        let host = Arc::new(FaultyHost::failing(
            Arc::new(RealHost),
            Calls::Mutating,
            nth,
            Fault::enospc(),
            support::Then::Recover,
        ));
        let request = branch(dir.path(), "base", "new");
        let result = execute_request(&context(host.clone(), dir.path()), &request);
        if host.struck().is_none() {
            result.unwrap();
            break;
        }
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        match result {
            Err(Error::Failed(text)) => assert!(text.text.contains("new"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert!(names.len() <= 2, "{names:?}");
        let _ = fs::remove_file(dir.path().join("new"));
    }
}

#[test]
fn qemu_reads_every_image_of_the_demo() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    ops::demo(&RealHost, dir.path()).unwrap();
    for path in support::script::files_below(dir.path()) {
        let path = dir.path().join(path);
        if path
            .extension()
            .is_some_and(|extension| extension == "qcow2")
        {
            qemu.check_clean(&path);
        }
    }
    let leaf = dir.path().join("rootbase/Overlay-1C.qcow2");
    let bytes = qemu.raw_bytes(&leaf);
    for (offset, name) in [
        (0, "RootBase.qcow2"),
        (1 << 20, "Overlay-1.qcow2"),
        (2 << 20, "Overlay-1A.qcow2"),
        (3 << 20, "Overlay-1B.qcow2"),
        (5 << 20, "Overlay-1C.qcow2"),
    ] {
        assert!(bytes[offset..].starts_with(name.as_bytes()), "{name}");
    }
}

/// An overlay `new` on `base`, which is not there.
fn unchecked(dir: &Path, base: &str, format: Format, new: &str) -> Request {
    Request::BranchUnchecked(BranchUnchecked {
        base: dir.join(base),
        format,
        new: dir.join(new),
        size: 1 << 20,
        style: BackingStyle::Relative,
        image: ImageOptions::default(),
    })
}

#[test]
fn an_overlay_on_a_base_that_is_not_there_is_what_qemu_img_makes_of_it_and_shows_it_once_it_is() {
    let Some(qemu) = qemu() else { return };
    for (base, format) in [
        ("late", Format::Qcow2),
        ("not/there/late", Format::Raw),
        ("late", Format::Other("vmdk".to_owned())),
        ("a:b", Format::Raw),
    ] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let here = qemu.within(dir);
        let wish = unchecked(dir, base, format.clone(), "new");
        let made = plan(dir, &wish);
        assert_eq!(made.confirm, Confirm::Count(1), "{}", words(&made));
        let text = words(&made);
        assert!(text.contains("cannot be opened before"), "{text}");
        assert!(text.contains("warning"), "{text}");
        let command = made.commands[0].clone();
        assert!(command.starts_with("qemu-img create -u "), "{command}");
        let outcome = execute(made).unwrap();
        let recorded = if base == "a:b" { "./a:b" } else { base };
        here.img(&[
            "create",
            "-u",
            "-f",
            "qcow2",
            "-b",
            recorded,
            "-F",
            format.name(),
            "theirs",
            "1M",
        ]);
        assert_eq!(info(&here, "new"), info(&here, "theirs"), "{base}");
        if matches!(format, Format::Raw | Format::Qcow2) {
            let there = dir.join(base);
            fs::create_dir_all(there.parent().unwrap()).unwrap();
            fs::write(&there, vec![9; 2 << 20]).unwrap();
            if format == Format::Qcow2 {
                fs::remove_file(&there).unwrap();
                here.img(&["create", "-f", "qcow2", base, "2M"]);
                here.io(base, &["write -P 9 0 2M"]);
            }
            here.io("new", &["read -P 9 0 1M"]);
            assert_eq!(here.digest("new"), here.digest("theirs"), "{base}");
            here.check_clean("new");
        }
        run(dir, &outcome.undo.unwrap());
        assert!(!dir.join("new").exists());
    }
}

#[test]
fn what_is_not_as_it_is_said_to_be_is_refused_for_an_unchecked_base() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::write(dir.join("there"), b"x").unwrap();
    for (base, format, kind) in [
        ("there", "raw", RefusalKind::AlreadyExists),
        ("new", "raw", RefusalKind::Loop),
        ("none", "", RefusalKind::Invalid),
        ("none", "a b", RefusalKind::Invalid),
        ("no/where/../late", "raw", RefusalKind::BackingName),
    ] {
        let refused = plan(dir, &unchecked(dir, base, Format::from_name(format), "new"));
        assert_eq!(refused.danger, Danger::Refused, "{base}");
        refused_as(&refused, kind);
    }
    // One that came since the plan.
    let late = plan(dir, &unchecked(dir, "late", Format::Raw, "new"));
    fs::write(dir.join("late"), b"x").unwrap();
    assert!(matches!(execute(late), Err(Error::Stale(_))));
    assert!(!dir.join("new").exists());
}

/// base <- short <- long, where `short` is made by us or by qemu-img and ends before its base does; what is
/// behind its end reads as zero above it, whatever the base has there.
fn shorter(qemu: &Qemu, dir: &Path, base: &str, by_us: bool) {
    let here = qemu.within(dir);
    if base == "raw" {
        fs::write(dir.join("base.img"), vec![7; 1 << 20]).unwrap();
    } else {
        here.img(&["create", "-f", "qcow2", "base.img", "1M"]);
        here.io("base.img", &["write -P 7 0 1M"]);
    }
    let size: u64 = (500 << 10) + 512;
    if by_us {
        let wish = Request::Branch(Branch {
            base: dir.join("base.img"),
            new: dir.join("short"),
            format: None,
            size: Some(size),
            style: BackingStyle::Relative,
            image: ImageOptions::default(),
        });
        let plan = plan(dir, &wish);
        assert_eq!(plan.confirm, Confirm::Yes);
        let text = words(&plan);
        assert!(text.contains("does not see the end"), "{text}");
        execute(plan).unwrap();
    } else {
        let length = size.to_string();
        here.img(&[
            "create", "-f", "qcow2", "-F", base, "-b", "base.img", "short", &length,
        ]);
    }
    here.io("short", &["write -P 8 64k 100k", "write -P 5 499k 512"]);
    here.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", "short", "long", "1M",
    ]);
    here.io("long", &["write -P 4 900k 8k"]);
}

#[test]
fn an_overlay_shorter_than_its_base_reads_and_is_committed_as_qemu_does_it() {
    let Some(qemu) = qemu() else { return };
    for base in ["raw", "qcow2"] {
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [mine, theirs] = [homes[0].path(), homes[1].path()];
        let tools = [qemu.within(mine), qemu.within(theirs)];
        shorter(&qemu, mine, base, true);
        shorter(&qemu, theirs, base, false);
        assert_eq!(info(&tools[0], "short"), info(&tools[1], "short"));
        for tool in &tools {
            tool.io(
                "short",
                &[
                    "read -P 7 0 64k",
                    "read -P 8 64k 100k",
                    "read -P 7 500k 512",
                ],
            );
            tool.io("long", &["read -P 0 501k 300k", "read -P 4 900k 8k"]);
        }
        for name in ["short", "long"] {
            assert_eq!(tools[0].digest(name), tools[1].digest(name), "{name}");
            let seen = own_code::view(&mine.join(name), Some("qcow2")).unwrap();
            assert_eq!(
                seen,
                own_code::view(&theirs.join(name), Some("qcow2")).unwrap()
            );
        }
        // Without the one above, which would be left on what it is not built on.
        for dir in [mine, theirs] {
            fs::remove_file(dir.join("long")).unwrap();
        }
        let host = own_code::real_host();
        let (layer, siblings) = (CommittedLayer::Keep, Siblings::Refuse);
        own_code::commit(&host, mine, &mine.join("short"), layer, siblings).unwrap();
        tools[1].img(&["commit", "-f", "qcow2", "short"]);
        let format = Some(base);
        let [ours, other] =
            [mine, theirs].map(|dir| own_code::view(&dir.join("base.img"), format).unwrap());
        assert_eq!(ours, other, "{base}");
        assert_eq!(ours.len, 1 << 20, "the base keeps its length");
        tools[0].io("short", &["read -P 7 500k 512", "read -P 8 64k 100k"]);
    }
}

#[test]
fn what_is_above_a_short_overlay_shows_the_same_after_the_chain_is_made_another_one() {
    let Some(qemu) = qemu() else { return };
    for base in ["raw", "qcow2"] {
        for act in ["commit", "down", "up", "flatten", "rebase"] {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path();
            shorter(&qemu, dir, base, true);
            let here = qemu.within(dir);
            let before = here.digest("long");
            let squash = |direction| {
                Request::Squash(Squash {
                    layer: dir.join("short"),
                    direction: Some(direction),
                })
            };
            let request = match act {
                "commit" => Request::Commit(Commit {
                    overlay: dir.join("short"),
                    into: None,
                    layer: CommittedLayer::Trash,
                    siblings: Siblings::Refuse,
                    keep_old: None,
                }),
                "down" => squash(Direction::Down),
                "up" => squash(Direction::Up),
                "flatten" => Request::Flatten(Flatten {
                    image: dir.join("long"),
                    onto: None,
                    new: None,
                    compress: None,
                }),
                _ => Request::Rebase(Rebase {
                    image: dir.join("long"),
                    to: dir.join("base.img"),
                    format: None,
                    style: None,
                    dedupe: false,
                    compress: false,
                }),
            };
            own_code::run(&own_code::real_host(), dir, &request)
                .unwrap_or_else(|error| panic!("{act} on {base}: {error}"));
            assert_eq!(here.digest("long"), before, "{act} on {base}");
            here.check_clean("long");
        }
    }
}
