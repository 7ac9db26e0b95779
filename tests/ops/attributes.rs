//! Owner, mode, access control list, extended attributes and holes of an image survive whatever is done
//! to it, and its copies have them too.

use crate::support;
use crate::support::planning;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use planning::{context, execute_request};
use qanopy::host::RealHost;
use qanopy::image::{Amendment, Format, Preallocation};
use qanopy::ops::{
    AmendImage, BackingStyle, ChangeSnapshot, CloneImage, Commit, CommittedLayer, Dependants,
    Direction, Export, Flatten, Import, MoveImages, NewSize, Outcome, Rebase, Reflink, Relink,
    Relocation, Request, Resize, Siblings, SnapshotAction, Squash,
};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use support::script::Script;

const ACL: &str = "system.posix_acl_access";

/// `user::rw-,user:1000:r--,group::r--,mask::r--,other::---`, as the kernel has it.
fn acl() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 1000),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Owner, group, mode, and what extended attributes say. What the filesystem does not take is none.
type Attributes = (u32, u32, u32, Option<Vec<u8>>, Option<Vec<u8>>);

fn attributes(path: &Path) -> Attributes {
    let stat = fs::metadata(path).unwrap();
    let value = |name: &str| {
        let mut bytes = vec![0; 256];
        let len = getxattr(path, name, &mut bytes).ok()?;
        bytes.truncate(len);
        Some(bytes)
    };
    (
        stat.uid(),
        stat.gid(),
        stat.mode() & 0o7777,
        value("user.note"),
        value(ACL),
    )
}

/// A request of the images in a directory.
type Asks = Box<dyn Fn(&Path) -> Request>;

/// Gives the file what no new file has by itself.
fn dress(path: &Path, number: u8) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    let _ = setxattr(path, "user.note", &[b'n', number], XattrFlags::empty());
    let _ = setxattr(path, ACL, &acl(), XattrFlags::empty());
    // Only root can; anybody else's images stay their own.
    drop(std::os::unix::fs::chown(path, Some(12345), Some(54321)));
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = support::script::files_below(dir);
    files.retain(|path| {
        path.extension()
            .is_some_and(|end| end == "qcow2" || end == "img")
            && !path.starts_with(dir.join("state"))
    });
    files
}

fn all(dir: &Path) -> BTreeMap<PathBuf, Attributes> {
    let files = files(dir);
    files
        .into_iter()
        .map(|path| (path.clone(), attributes(&path)))
        .collect()
}

fn run(dir: &Path, request: &Request) -> Outcome {
    execute_request(&context(Arc::new(RealHost), dir), request)
        .unwrap_or_else(|error| panic!("{request:?}: {error}"))
}

/// `root.img <- low <- high <- top`, and `other` on `root.img`, each dressed in its own way.
fn build(dir: &Path) {
    let mut s = Script::default();
    s.run("qemu-img create -f raw root.img 16M");
    s.io("raw", "root.img", &["write -P 0x10 1M 256k"]);
    for (format, base, new, write) in [
        ("raw", "root.img", "low.qcow2", "write -P 0x21 2M 128k"),
        ("qcow2", "low.qcow2", "high.qcow2", "write -P 0x22 3M 128k"),
        ("qcow2", "high.qcow2", "top.qcow2", "write -P 0x23 4M 128k"),
        ("raw", "root.img", "other.qcow2", "write -P 0x31 5M 64k"),
    ] {
        s.overlay(format, base, new);
        s.io("qcow2", new, &[write]);
    }
    s.build(dir);
    for (number, file) in (0..).zip(files(dir)) {
        dress(&file, number);
    }
}

#[test]
fn an_image_that_is_changed_keeps_its_attributes_and_its_holes() {
    if support::qemu().is_none() {
        return;
    }
    let image = |dir: &Path, name: &str| dir.join(name);
    let commit = |overlay: &str, keep: CommittedLayer| {
        let overlay = overlay.to_owned();
        move |dir: &Path| {
            Request::Commit(Commit {
                overlay: dir.join(&overlay),
                into: None,
                layer: keep,
                siblings: Siblings::Preserve,
                keep_old: None,
            })
        }
    };
    let requests: Vec<Asks> = vec![
        Box::new(move |dir| {
            Request::Amend(AmendImage {
                image: image(dir, "top.qcow2"),
                amendment: Amendment {
                    refcount_order: Some(5),
                    ..Amendment::default()
                },
            })
        }),
        Box::new(move |dir| {
            Request::Snapshot(ChangeSnapshot {
                image: image(dir, "other.qcow2"),
                action: SnapshotAction::Create { name: "one".into() },
            })
        }),
        Box::new(move |dir| {
            Request::Resize(Resize {
                image: image(dir, "other.qcow2"),
                size: NewSize::More(1 << 20),
                shrink: false,
                preallocation: Preallocation::Off,
                dependants: Dependants::Refuse,
            })
        }),
        Box::new(move |dir| {
            Request::Relink(Relink {
                image: image(dir, "top.qcow2"),
                base: None,
                format: None,
                style: Some(BackingStyle::Absolute),
            })
        }),
        Box::new(move |dir| {
            Request::Rebase(Rebase {
                image: image(dir, "top.qcow2"),
                to: image(dir, "other.qcow2"),
                format: Some(Format::Qcow2),
                style: None,
                dedupe: true,
                compress: false,
            })
        }),
        Box::new(move |dir| {
            Request::Flatten(Flatten {
                image: image(dir, "high.qcow2"),
                onto: Some(image(dir, "root.img")),
                new: None,
                compress: None,
            })
        }),
        Box::new(commit("low.qcow2", CommittedLayer::Keep)),
        Box::new(commit("high.qcow2", CommittedLayer::Trash)),
        Box::new(move |dir| {
            Request::Squash(Squash {
                layer: image(dir, "other.qcow2"),
                direction: Some(Direction::Up),
            })
        }),
    ];
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    build(&dir);
    let before = all(&dir);
    assert_eq!(before.len(), 5);
    for request in &requests {
        let request = request(&dir);
        run(&dir, &request);
        for (path, now) in all(&dir) {
            let name = path.file_name();
            let was = before.iter().find(|(old, _)| old.file_name() == name);
            assert_eq!(
                Some(&now),
                was.map(|(_, was)| was),
                "{path:?} after {request:?}"
            );
        }
        let root = fs::metadata(dir.join("root.img")).unwrap();
        let (blocks, len) = (root.blocks() * 512, root.len());
        assert!(
            len == 16 << 20 && blocks < 2 << 20,
            "{blocks} of {len}: {request:?}"
        );
    }
}

#[test]
fn an_image_that_moves_is_copied_or_comes_back_has_the_attributes_it_had() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    build(&dir);
    fs::create_dir(dir.join("place")).unwrap();
    let of = |name: &str| attributes(&dir.join(name));
    let root = of("root.img");
    let move_to = |from: PathBuf, to: PathBuf| {
        Request::Move(MoveImages {
            moves: vec![Relocation {
                from,
                to,
                style: None,
            }],
            subtree: false,
        })
    };
    run(
        &dir,
        &move_to(dir.join("root.img"), dir.join("place/moved.img")),
    );
    assert_eq!(of("place/moved.img"), root);

    run(
        &dir,
        &Request::Clone(CloneImage {
            image: dir.join("place/moved.img"),
            new: dir.join("clone.img"),
            chain: false,
            reflink: Reflink::Never,
        }),
    );
    assert_eq!(of("clone.img"), root);
    let clone = fs::metadata(dir.join("clone.img")).unwrap();
    assert!(clone.blocks() * 512 < 2 << 20, "{} blocks", clone.blocks());

    let top = of("top.qcow2");
    run(
        &dir,
        &Request::Export(Export {
            image: dir.join("top.qcow2"),
            dir: dir.join("out"),
        }),
    );
    assert_eq!(of("out/top.qcow2"), top);
    fs::create_dir(dir.join("in")).unwrap();
    run(
        &dir,
        &Request::Import(Import {
            dir: dir.join("out"),
            to: dir.join("in"),
        }),
    );
    assert_eq!(of("in/top.qcow2"), top);

    let discarded = run(&dir, &Request::discard(vec![dir.join("top.qcow2")]));
    run(&dir, &discarded.undo.unwrap());
    assert_eq!(of("top.qcow2"), top);

    // A filesystem of its own, in memory: what it does not take is told.
    let away = tempfile::tempdir_in("/dev/shm").unwrap();
    let there = away.path().join("top.qcow2");
    let moved = run(&dir, &move_to(dir.join("top.qcow2"), there.clone()));
    let now = attributes(&there);
    assert_eq!((now.0, now.1, now.2), (top.0, top.1, top.2));
    let told = |what: &str| {
        moved
            .remarks
            .iter()
            .any(|remark| remark.text.contains(what))
    };
    assert!(now.3 == top.3 || told("user.note"), "{:?}", moved.remarks);
    assert!(
        now.4 == top.4 || told("access control"),
        "{:?}",
        moved.remarks
    );
}
