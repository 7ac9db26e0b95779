//! Clones, exports and imports: copies that show what the originals show, and stand where they are put.

use crate::support;
use crate::support::planning;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use planning::{context, execute_request, words};
use qanopy::host::{Host, RealHost};
use qanopy::ops::{self, CloneImage, Error, Export, Import, Outcome, Plan, RefusalKind, Request};
use support::image_crash_suite::refused_as;
use support::{Calls, Fault, FaultyHost, HoldMode, Qemu, RecordingHost, Then, qemu};

fn plan(dir: &Path, request: &Request) -> Plan {
    ops::plan(&context(Arc::new(RealHost), dir), request)
}

fn run(dir: &Path, request: &Request) -> Result<Outcome, Error> {
    execute_request(&context(Arc::new(RealHost), dir), request)
}

/// A chain of three over two folders, with two files of one name and a raw base.
fn build(qemu: &Qemu, dir: &Path) -> u64 {
    let here = qemu.within(dir);
    fs::create_dir_all(dir.join("deep/away")).unwrap();
    here.img(&["create", "-f", "raw", "base.img", "2M"]);
    fs::write(
        dir.join("base.img"),
        [vec![7; 1 << 20], vec![0; 1 << 20]].concat(),
    )
    .unwrap();
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "../base.img",
        "deep/disk.qcow2",
    ]);
    here.io("deep/disk.qcow2", &["write -P 8 64k 64k"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "../disk.qcow2",
        "deep/away/disk.qcow2",
    ]);
    here.io("deep/away/disk.qcow2", &["write -P 9 192k 64k"]);
    here.digest("deep/away/disk.qcow2")
}

#[test]
fn a_clone_shows_the_same_from_another_folder_and_is_a_file_of_its_own() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let want = build(&qemu, dir);
    let request = Request::Clone(CloneImage {
        image: dir.join("deep/away/disk.qcow2"),
        new: dir.join("copy.qcow2"),
        chain: false,
        reflink: ops::Reflink::Auto,
    });
    let outcome = run(dir, &request).unwrap();
    let here = qemu.within(dir);
    assert_eq!(here.digest("copy.qcow2"), want);
    here.check_clean("copy.qcow2");
    let info = here.img(&["info", "--output=json", "copy.qcow2"]);
    assert!(
        info.contains("\"backing-filename\": \"deep/disk.qcow2\""),
        "{info}"
    );
    here.io("copy.qcow2", &["write -P 1 0 64k"]);
    assert_eq!(here.digest("deep/away/disk.qcow2"), want);
    let again = plan(dir, &request);
    refused_as(&again, RefusalKind::AlreadyExists);
    run(dir, &outcome.undo.unwrap()).unwrap();
    assert!(!dir.join("copy.qcow2").exists());
    let held = here.hold_with_nbd(&dir.join("deep/away/disk.qcow2"), HoldMode::ReadWrite);
    let busy = plan(dir, &request);
    let said = refused_as(&busy, RefusalKind::InUse);
    assert!(said.contains(&held.pid().to_string()), "{said}");
}

#[test]
fn a_chain_is_cloned_side_by_side_and_built_on_its_own_copies() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let want = build(&qemu, dir);
    fs::create_dir(dir.join("copies")).unwrap();
    let request = |to: &str, reflink| {
        Request::Clone(CloneImage {
            image: dir.join("deep/away/disk.qcow2"),
            new: dir.join(to),
            chain: true,
            reflink,
        })
    };
    let asked = plan(dir, &request("nowhere", ops::Reflink::Auto));
    refused_as(&asked, RefusalKind::Invalid);
    let files = support::script::files_below(dir);
    let outcome = run(dir, &request("copies", ops::Reflink::Never)).unwrap();
    let here = qemu.within(dir.join("copies"));
    for name in ["disk.qcow2", "2-disk.qcow2"] {
        here.check_clean(name);
    }
    assert_eq!(here.digest("disk.qcow2"), want);
    let info = here.img(&["info", "--backing-chain", "--output=json", "disk.qcow2"]);
    for name in ["\"2-disk.qcow2\"", "\"base.img\""] {
        let recorded = format!("\"backing-filename\": {name}");
        assert!(info.contains(&recorded), "{info}");
    }
    // Nothing of the old chain is needed, or changes with the new one.
    here.io("2-disk.qcow2", &["write -P 1 0 64k"]);
    assert_eq!(qemu.within(dir).digest("deep/away/disk.qcow2"), want);
    let again = plan(dir, &request("copies", ops::Reflink::Auto));
    refused_as(&again, RefusalKind::AlreadyExists);
    run(dir, &outcome.undo.unwrap()).unwrap();
    assert!(!dir.join("copies/base.img").exists());
    // What cannot share blocks is refused by the filesystem, and nothing is left.
    match run(dir, &request("copies", ops::Reflink::Always)) {
        Ok(_) => assert_eq!(here.digest("disk.qcow2"), want),
        Err(error) => {
            assert!(error.to_string().contains("share the blocks"), "{error}");
            for file in &files {
                assert!(file.exists(), "{file:?}");
            }
            assert!(!dir.join("copies/disk.qcow2").exists());
            assert!(!dir.join("copies/base.img").exists());
        }
    }
}

#[test]
fn a_crash_leaves_no_copy_of_a_chain_without_what_it_is_built_on() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let want = build(&qemu, dir);
    fs::create_dir(dir.join("copies")).unwrap();
    let host = Arc::new(RecordingHost::new(dir));
    let known: Arc<dyn Host> = host.clone();
    let request = Request::Clone(CloneImage {
        image: dir.join("deep/away/disk.qcow2"),
        new: dir.join("copies"),
        chain: true,
        reflink: ops::Reflink::Auto,
    });
    execute_request(&context(known, dir), &request).unwrap();
    host.mark("done");
    let log = host.log();
    for state in log.crash_states(40, 3) {
        let after = log.replay(&state);
        let story = log.describe(&state);
        let there = qemu.within(after.path());
        assert_eq!(there.digest("deep/away/disk.qcow2"), want, "{story}");
        let copies = after.path().join("copies");
        let is_there = |name: &str| copies.join(name).exists();
        if is_there("disk.qcow2") {
            assert_eq!(there.digest("copies/disk.qcow2"), want, "{story}");
        } else {
            assert!(!state.passed("done"), "{story}");
        }
        assert!(is_there("base.img") || !is_there("2-disk.qcow2"), "{story}");
    }
}

#[test]
fn an_exported_chain_stands_alone_and_comes_back() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let want = build(&qemu, dir);
    let out = dir.join("out");
    let request = Request::Export(Export {
        image: dir.join("deep/away/disk.qcow2"),
        dir: out.clone(),
    });
    run(dir, &request).unwrap();
    // Somewhere else, without the originals.
    let other = tempfile::tempdir().unwrap();
    let moved = other.path().join("moved");
    support::script::copy_tree(&out, &moved);
    assert_eq!(qemu.within(&moved).digest("disk.qcow2"), want);
    qemu.within(&moved).check_clean("disk.qcow2");
    qemu.within(&moved).check_clean("2-disk.qcow2");
    let to = other.path().join("to");
    fs::create_dir(&to).unwrap();
    let import = Request::Import(Import {
        dir: moved.clone(),
        to: to.clone(),
    });
    let outcome = run(other.path(), &import).unwrap();
    assert_eq!(qemu.within(&to).digest("disk.qcow2"), want);
    run(other.path(), &outcome.undo.unwrap()).unwrap();
    // Into a folder that is made for it.
    let fresh = other.path().join("fresh");
    let into = |to: &Path| {
        Request::Import(Import {
            dir: moved.clone(),
            to: to.to_path_buf(),
        })
    };
    run(other.path(), &into(&fresh)).unwrap();
    assert_eq!(qemu.within(&fresh).digest("disk.qcow2"), want);
    refused_as(
        &plan(other.path(), &into(&other.path().join("a/b"))),
        RefusalKind::NotFound,
    );
    // What is there then would pass for the base that somebody misses.
    let missed = other.path().join("missed");
    qemu.within(other.path()).img(&[
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        missed.join("base.img").to_str().unwrap(),
        "orphan.qcow2",
        "1M",
    ]);
    refused_as(
        &plan(other.path(), &into(&missed)),
        RefusalKind::AlreadyExists,
    );
    assert!(!missed.exists());

    // A file that is not what was exported stays out, and nothing comes of the rest.
    let mut bytes = fs::read(moved.join("base.img")).unwrap();
    bytes[5] ^= 1;
    fs::write(moved.join("base.img"), &bytes).unwrap();
    run(other.path(), &into(&other.path().join("none"))).unwrap_err();
    assert!(!other.path().join("none").exists());
    let failed = run(other.path(), &import).unwrap_err();
    assert!(failed.to_string().contains("checksum"), "{failed}");
    let left: Vec<_> = fs::read_dir(&to)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != ".qanopy-trash")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_export_makes_a_folder_of_its_own_where_one_can_be() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    for (out, kind) in [
        ("deep", RefusalKind::AlreadyExists),
        ("nowhere/out", RefusalKind::NotFound),
    ] {
        let request = Request::Export(Export {
            image: dir.join("deep/away/disk.qcow2"),
            dir: dir.join(out),
        });
        refused_as(&plan(dir, &request), kind);
    }
}

#[test]
fn a_forged_manifest_or_image_is_refused() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    let out = dir.join("out");
    let export = Request::Export(Export {
        image: dir.join("deep/disk.qcow2"),
        dir: out.clone(),
    });
    run(dir, &export).unwrap();
    let to = dir.join("to");
    fs::create_dir(&to).unwrap();
    let import = Request::Import(Import {
        dir: out.clone(),
        to,
    });
    let manifest = fs::read_to_string(out.join("qanopy-export.json")).unwrap();
    let forge = |text: &str, kind: RefusalKind| {
        fs::write(out.join("qanopy-export.json"), text).unwrap();
        let asked = plan(dir, &import);
        refused_as(&asked, kind);
    };
    forge(
        &manifest.replace("\"disk.qcow2\"", "\"../base.img\""),
        RefusalKind::Damaged,
    );
    forge(
        &manifest.replace("\"disk.qcow2\"", "\"/etc/passwd\""),
        RefusalKind::Damaged,
    );
    forge(
        &manifest.replace("\"qanopy-export\": 1", "\"qanopy-export\": 9"),
        RefusalKind::Unsupported,
    );
    forge("{", RefusalKind::Unreadable);
    forge("\u{1b}[31m", RefusalKind::Unreadable);
    fs::write(out.join("qanopy-export.json"), &manifest).unwrap();
    // An image that reaches for a file outside.
    qemu.within(&out).img(&[
        "rebase",
        "-u",
        "-F",
        "raw",
        "-b",
        "/etc/passwd",
        "disk.qcow2",
    ]);
    forge(&manifest, RefusalKind::Damaged);
    // The same, called raw by the manifest, or with its format left out.
    forge(
        &manifest.replace("\"format\": \"qcow2\"", "\"format\": \"raw\""),
        RefusalKind::Damaged,
    );
    forge(
        &manifest.replace("\"format\": \"raw\"", "\"format\": \"vmdk\""),
        RefusalKind::Damaged,
    );
    qemu.within(&out)
        .img(&["rebase", "-u", "-F", "raw", "-b", "base.img", "disk.qcow2"]);
    fs::write(out.join("qanopy-export.json"), &manifest).unwrap();
    let fine = plan(dir, &import);
    assert!(fine.refusals.is_empty(), "{}", words(&fine));
    // Built on the exported folder itself: it would break once that is gone.
    let absolute = out.join("base.img");
    let absolute = absolute.to_str().unwrap();
    qemu.within(&out)
        .img(&["rebase", "-u", "-F", "raw", "-b", absolute, "disk.qcow2"]);
    forge(&manifest, RefusalKind::Damaged);
}

#[test]
fn whatever_stops_a_copy_leaves_the_originals_and_no_half_of_it() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let want = build(&qemu, dir);
    let before = |dir: &Path| {
        let mut files = support::script::files_below(dir);
        files.retain(|path| !path.starts_with(dir.join("state")));
        files
    };
    let files = before(dir);
    let requests = [
        Request::Clone(CloneImage {
            image: dir.join("deep/away/disk.qcow2"),
            new: dir.join("copy.qcow2"),
            chain: false,
            reflink: ops::Reflink::Auto,
        }),
        Request::Export(Export {
            image: dir.join("deep/away/disk.qcow2"),
            dir: dir.join("out"),
        }),
    ];
    for request in &requests {
        for nth in 0.. {
            let faulty = Arc::new(FaultyHost::failing(
                Arc::new(RealHost),
                Calls::Mutating,
                nth,
                Fault::enospc(),
                Then::Recover,
            ));
            let host: Arc<dyn Host> = faulty.clone();
            let ended = execute_request(&context(host, dir), request);
            assert_eq!(qemu.within(dir).digest("deep/away/disk.qcow2"), want);
            let story = faulty.struck();
            // Only the last step, making the new name stable, comes after there is one.
            if ended.is_err()
                && !story
                    .as_ref()
                    .is_some_and(|story| story.contains("sync_dir"))
            {
                assert_eq!(before(dir), files, "{story:?}");
            }
            drop(fs::remove_file(dir.join("copy.qcow2")));
            drop(fs::remove_dir_all(dir.join("out")));
            if story.is_none() {
                ended.unwrap();
                break;
            }
        }
    }
}

#[test]
fn a_crash_leaves_a_whole_export_or_none() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let want = build(&qemu, dir);
    let host = Arc::new(RecordingHost::new(dir));
    let known: Arc<dyn Host> = host.clone();
    let request = Request::Export(Export {
        image: dir.join("deep/away/disk.qcow2"),
        dir: dir.join("out"),
    });
    execute_request(&context(known, dir), &request).unwrap();
    host.mark("done");
    let log = host.log();
    for state in log.crash_states(40, 3) {
        let after = log.replay(&state);
        let story = log.describe(&state);
        let there = qemu.within(after.path());
        assert_eq!(there.digest("deep/away/disk.qcow2"), want, "{story}");
        if after.path().join("out").exists() {
            assert_eq!(there.digest("out/disk.qcow2"), want, "{story}");
        } else {
            assert!(!state.passed("done"), "{story}");
        }
    }
}
