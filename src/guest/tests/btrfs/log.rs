//! Images that were copied while they were mounted: what `fsync` wrote is in the log tree only.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use qanopy_guest::filesystem::{Condition, NodeKind, Use};

use super::diff::States;
use super::{Images, MIB, btrfs, is_possible};
use crate::support::changes;
use crate::support::files::bytes;
use crate::support::mount::Mount;
use crate::support::tools::{has, run};
use crate::support::tree::{self, Tree};

/// Something done to a mounted filesystem, and written to the log.
type Act = (&'static str, fn(&Path));

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn write(path: &Path, at: u64, content: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(content, at).unwrap();
    file.sync_all().unwrap();
}

fn fallocate(words: &[&str], path: &Path) {
    run(&[&["fallocate"], words, &[path.to_str().unwrap()]].concat());
    sync(path);
}

/// What changes content, which is stored in another way without `no-holes`.
const CONTENT: &[Act] = &[
    ("a new file", |root| {
        fs::write(root.join("new"), bytes(1, 100_000)).unwrap();
        sync(&root.join("new"));
    }),
    ("a new small file in a new folder", |root| {
        fs::create_dir(root.join("folder/below")).unwrap();
        fs::write(root.join("folder/below/new"), b"small").unwrap();
        symlink("new", root.join("folder/below/link")).unwrap();
        sync(&root.join("folder/below/new"));
        sync(&root.join("folder/below"));
    }),
    ("content in the middle and at the end", |root| {
        write(&root.join("large"), 300_000, &bytes(2, 50_000));
        write(&root.join("large"), 1 << 20, &bytes(3, 5_000));
        write(&root.join("inline"), 0, &bytes(4, 9_000));
        write(&root.join("compressed"), 40_000, b"other words");
    }),
    ("a file cut short", |root| {
        let file = File::options()
            .write(true)
            .open(root.join("large"))
            .unwrap();
        file.set_len(123_456).unwrap();
        file.sync_all().unwrap();
        let file = File::options()
            .write(true)
            .open(root.join("sparse"))
            .unwrap();
        file.set_len(0).unwrap();
        file.set_len(70_000).unwrap();
        file.sync_all().unwrap();
    }),
    ("holes and what is allocated only", |root| {
        fallocate(&["-p", "-o", "100000", "-l", "65536"], &root.join("large"));
        fallocate(&["-l", "1M"], &root.join("inline"));
        fallocate(&["-n", "-o", "2M", "-l", "1M"], &root.join("sparse"));
    }),
];

const NAMES: &[Act] = &[
    ("a file renamed", |root| {
        fs::rename(root.join("folder/a"), root.join("renamed")).unwrap();
        sync(&root.join("renamed"));
    }),
    ("a file renamed over another", |root| {
        fs::write(root.join("folder/.new"), b"in place of a").unwrap();
        sync(&root.join("folder/.new"));
        fs::rename(root.join("folder/.new"), root.join("folder/a")).unwrap();
        sync(&root.join("folder"));
    }),
    ("two files that changed their names", |root| {
        let [a, b, c] = ["folder/a", "folder/b", "folder/c"].map(|name| root.join(name));
        fs::rename(&a, &c).unwrap();
        fs::rename(&b, &a).unwrap();
        fs::rename(&c, &b).unwrap();
        sync(&a);
        sync(&b);
    }),
    ("files removed", |root| {
        fs::remove_file(root.join("folder/a")).unwrap();
        fs::remove_file(root.join("folder/linked")).unwrap();
        sync(&root.join("folder"));
    }),
    ("links", |root| {
        fs::hard_link(root.join("large"), root.join("folder/large")).unwrap();
        fs::hard_link(root.join("large"), root.join("large-2")).unwrap();
        sync(&root.join("large"));
        fs::remove_file(root.join("inline")).unwrap();
        fs::hard_link(root.join("folder/b"), root.join("inline")).unwrap();
        sync(&root.join("inline"));
    }),
    ("many files in one folder", |root| {
        for index in 0..300 {
            let path = root.join(format!("folder/many-{index}"));
            fs::write(
                &path,
                bytes(index, 10 + usize::try_from(index).unwrap() * 20),
            )
            .unwrap();
            if index % 3 == 0 {
                sync(&path);
            }
            if index % 7 == 0 {
                fs::remove_file(&path).unwrap();
            }
        }
        sync(&root.join("folder"));
    }),
    ("a folder removed and a file in its place", |root| {
        fs::remove_dir(root.join("empty")).unwrap();
        fs::write(root.join("empty"), b"now a file").unwrap();
        sync(&root.join("empty"));
    }),
    ("owners and times", |root| {
        std::os::unix::fs::chown(root.join("folder/b"), Some(7), Some(8)).unwrap();
        sync(&root.join("folder/b"));
        let file = File::options()
            .write(true)
            .open(root.join("inline"))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        file.sync_all().unwrap();
    }),
    ("a file in a subvolume", |root| {
        fs::write(root.join("volume/new"), bytes(11, 20_000)).unwrap();
        sync(&root.join("volume/new"));
        write(&root.join("large"), 5, b"and one beside it");
    }),
];

/// What there is before.
fn populate(root: &Path) {
    fs::create_dir(root.join("folder")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    btrfs(&["subvolume", "create"], &root.join("volume"));
    fs::write(root.join("volume/file"), bytes(6, 10_000)).unwrap();
    fs::write(root.join("large"), bytes(7, 1 << 20)).unwrap();
    fs::write(root.join("inline"), b"a few bytes").unwrap();
    fs::write(root.join("folder/a"), b"content of a").unwrap();
    fs::write(root.join("folder/b"), bytes(8, 20_000)).unwrap();
    fs::hard_link(root.join("folder/b"), root.join("folder/linked")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&bytes(9, 10_000), 4 << 20).unwrap();
    sparse.set_len(10 << 20).unwrap();
    fs::write(root.join("compressed"), "the same words ".repeat(20_000)).unwrap();
}

/// The kernel gives the directories that it replays entries of the time of that.
fn without_times_of_folders(mut tree: Tree) -> Tree {
    for seen in tree
        .values_mut()
        .filter(|seen| seen.kind == NodeKind::Directory)
    {
        seen.modified = 0;
    }
    tree
}

/// An image `synced` of what there was before, and one `dirty` as it is when the power fails after an act.
fn dirty(options: &[&str], act: fn(&Path)) -> Images {
    let images = Images::new(128 * MIB, options);
    let mount = Mount::new(&images.path("before"), "noatime,commit=300,compress=zstd");
    populate(&mount.path());
    run(&["sync", "-f", mount.path().to_str().unwrap()]);
    images.copy("before", "synced");
    act(&mount.path());
    images.copy("before", "dirty");
    drop(mount);
    images
}

#[test]
fn the_log_is_replayed_as_the_kernel_does_it() {
    if !is_possible() || !has(&["fallocate"]) {
        return;
    }
    let mut replayed = 0;
    let all = CONTENT.iter().chain(NAMES).map(|act| (&[][..], act));
    let again = CONTENT.iter().map(|act| (&["-O", "^no-holes"][..], act));
    for (options, (name, act)) in all.chain(again) {
        let images = dirty(options, *act);
        let ours = images.open("dirty");
        println!("{name} {options:?}: {:?}", ours.summary().condition);
        // Some of these the kernel does not log: it finishes the transaction instead.
        if ours.summary().condition == Condition::Clean {
            continue;
        }
        assert_eq!(ours.summary().condition, Condition::Replayed);
        replayed += 1;
        let mut logged = 0;
        let mut tell = |range: std::ops::Range<u64>, used_for| {
            logged += u64::from(used_for == Use::Journal) * (range.end - range.start);
            Ok(())
        };
        ours.usage(&mut tell).unwrap();
        assert!(logged > 0);
        let seen = tree::of_filesystem(&*ours);
        let kernel = images.mounted("dirty", "noatime", |_| {});
        tree::assert_same(
            &without_times_of_folders(seen),
            &without_times_of_folders(kernel),
        );
        let after = images.open("dirty");
        assert_eq!(after.summary().condition, Condition::Clean);
    }
    assert!(replayed > NAMES.len() + CONTENT.len(), "{replayed}");
}

#[test]
fn what_was_only_logged_is_told_to_differ() {
    if !is_possible() {
        return;
    }
    let images = dirty(&[], |root| {
        fs::write(root.join("folder/new"), b"a new file").unwrap();
        sync(&root.join("folder/new"));
        write(&root.join("volume/file"), 0, b"other words");
        fs::remove_file(root.join("folder/a")).unwrap();
        sync(&root.join("folder"));
    });
    let mut told = changes::told(&States::of(&images, ["synced", "dirty"]).diff().changes);
    let one = |kind: &str, path: &str| (kind.to_owned(), path.as_bytes().to_vec(), None);
    let expected = [
        one("added", "folder/new"),
        one("modified", "volume/file"),
        one("deleted", "folder/a"),
    ];
    changes::assert_same(&told, &expected.into_iter().collect());
    // And the other way round.
    told = changes::told(&States::of(&images, ["dirty", "synced"]).diff().changes);
    let expected = [
        one("deleted", "folder/new"),
        one("modified", "volume/file"),
        one("added", "folder/a"),
    ];
    changes::assert_same(&told, &expected.into_iter().collect());
}
