//! Images that were copied while they were mounted, and journals that `debugfs` wrote.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;

use qanopy_guest::filesystem::{Condition, NodeId};

use super::differences::states;
use super::fixtures::{CAN, Image};
use crate::support::mount::Mount;
use crate::support::tree::{self, Tree};
use crate::support::{files, tools};

/// Writes a file, and waits until it is on disk.
fn write_through(path: &Path, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
}

/// What the kernel shows of a copy of an image, whose journal it replays.
fn of_kernel(image: &Image) -> Tree {
    let copy = image.copy();
    let mount = Mount::new(&copy.path(), "noatime");
    tree::of_folder(&mount.path())
}

/// A filesystem, and an image of it that was taken while it was mounted, after this was done to it.
fn taken_while_mounted(
    mebibytes: u64,
    options: &str,
    mount: &str,
    change: impl FnOnce(&Path),
) -> Image {
    let image = Image::new(mebibytes, options);
    let mount = Mount::new(&image.path(), mount);
    change(&mount.path());
    image.copy()
}

/// Fails unless the image shows what it does once the kernel replayed its journal.
fn assert_replayed(image: &Image) -> Tree {
    let (ours, _) = image.open();
    assert_eq!(ours.summary().condition, Condition::Replayed);
    assert!(!ours.replayed().is_empty());
    let shown = tree::of_filesystem(&*ours);
    tree::assert_same(&shown, &of_kernel(image));
    shown
}

/// Fails if the image shows the same when its journal is passed over.
fn assert_needed(image: &Image, shown: &Tree) {
    let passed_over = image.copy();
    passed_over.debugfs("feature -needs_recovery");
    let (ours, _) = passed_over.open();
    assert_eq!(ours.summary().condition, Condition::Clean);
    // Which may be no tree that can be walked.
    let walk = std::panic::AssertUnwindSafe(|| tree::of_filesystem(&*ours));
    let walked = std::panic::catch_unwind(walk);
    assert!(walked.ok().as_ref() != Some(shown));
}

/// Files of [`files::populate`] in a folder, some of which were written through before the others.
fn populate_in_part(root: &Path) {
    files::populate(root, CAN);
    files::change(root, CAN);
    for index in 0..20 {
        let content = files::bytes(index, 3_000 * usize::try_from(index).unwrap());
        write_through(&root.join(format!("through-{index}")), &content);
    }
}

#[test]
fn files_written_through_before_the_image_was_taken_are_shown() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) || !tools::is_root() {
        return;
    }
    for (options, mount) in [
        ("-b 4096", "noatime"),
        ("-b 4096", "noatime,data=journal"),
        ("-b 4096 -O ^64bit,^metadata_csum", "noatime"),
        ("-b 4096 -O ^metadata_csum", "noatime,journal_checksum"),
        ("-b 1024 -J size=4", "noatime,data=journal"),
        ("-b 1024 -t ext3 -J size=4", "noatime"),
        (
            "-b 4096 -O inline_data",
            "noatime,journal_async_commit,data=writeback",
        ),
        ("-b 4096 -O bigalloc -C 16384", "noatime"),
    ] {
        println!("{options} {mount}");
        let image = taken_while_mounted(120, options, mount, populate_in_part);
        let shown = assert_replayed(&image);
        for index in 0..20 {
            let path = format!("through-{index}").into_bytes();
            assert_eq!(shown[&path].size, 3_000 * index);
        }
        // With its data in the journal, the kernel writes a file in place as well when it is to be on disk.
        if !mount.contains("data=journal") {
            assert_needed(&image, &shown);
        }
    }
}

#[test]
fn blocks_that_begin_like_those_of_a_journal_come_back_as_they_were() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) || !tools::is_root() {
        return;
    }
    let content = [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 1].repeat(2048);
    let image = taken_while_mounted(32, "-b 1024", "data=journal", |root| {
        write_through(&root.join("file"), &content);
    });
    assert_needed(&image, &assert_replayed(&image));
    let (ours, _) = image.open();
    let file = tree::path(&*ours, b"file");
    assert_eq!(tree::content(&*ours, file), content);
}

#[test]
fn blocks_of_a_deleted_folder_do_not_come_back_where_a_file_has_them_now() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) || !tools::is_root() {
        return;
    }
    for options in [
        "-b 1024 -J size=4",
        "-b 1024 -J size=4 -O ^metadata_csum,^64bit",
    ] {
        let image = taken_while_mounted(16, options, "noatime", |root| {
            let folder = root.join("folder");
            fs::create_dir(&folder).unwrap();
            for index in 0..1_000 {
                fs::write(folder.join(format!("{index:0200}")), b"").unwrap();
            }
            write_through(&root.join("first"), b"the folder is in the journal now");
            fs::remove_dir_all(&folder).unwrap();
            write_through(&root.join("second"), b"and so is that it went");
            // All that is free, so that the folder's blocks are among it.
            let mut file = File::create(root.join("file")).unwrap();
            while file.write_all(&[0x5a; 64 << 10]).is_ok() {}
            file.sync_all().unwrap();
        });
        let said = image.debugfs("logdump -a");
        assert!(said.contains("revoke"), "{said}");
        assert_needed(&image, &assert_replayed(&image));
        let (ours, _) = image.open();
        let file = tree::path(&*ours, b"file");
        let content = tree::content(&*ours, file);
        assert!(content.len() > 8 << 20);
        assert!(content.iter().all(|byte| *byte == 0x5a));
    }
}

#[test]
fn a_log_that_wrapped_around_is_replayed() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) || !tools::is_root() {
        return;
    }
    let image = taken_while_mounted(32, "-b 1024 -J size=1", "noatime", |root| {
        let mut round = 0;
        // Until the last transactions lie at the end of the log and at its beginning.
        while round < 40 {
            for index in 0..30 {
                fs::write(root.join(format!("{round}-{index}")), b"some").unwrap();
            }
            write_through(&root.join("through"), &[7; 5_000]);
            round += 1;
        }
    });
    let said = image.debugfs("logdump -a");
    let blocks: Vec<u64> = said
        .lines()
        .filter_map(|line| {
            line.split("descriptor block")
                .next()?
                .split("at block ")
                .nth(1)
        })
        .chain(
            said.lines()
                .filter_map(|line| line.split("at block ").nth(1)),
        )
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect();
    assert!(
        blocks.windows(2).any(|pair| pair[1] < pair[0]),
        "it did not wrap: {said}"
    );
    assert_needed(&image, &assert_replayed(&image));
}

/// Puts the differences between two images into the journal of the first, in some transactions.
pub fn through_journal(before: &Image, after: &Image, open: &str, block: u64) {
    let (sources, changed) = states(before, after);
    let mut blocks = BTreeSet::new();
    for range in changed.as_slice() {
        for at in range.start / block..range.end / block {
            let mut pair = [0, 1].map(|_| vec![0; usize::try_from(block).unwrap()]);
            for (source, bytes) in sources.iter().zip(&mut pair) {
                source.read_at(at * block, bytes).unwrap();
            }
            if pair[0] != pair[1] {
                blocks.insert(at);
            }
        }
    }
    assert!(blocks.len() > 3, "{blocks:?}");
    let folder = tempfile::tempdir().unwrap();
    let image = File::open(after.path()).unwrap();
    let mut requests = format!("journal_open {open}\n");
    let blocks: Vec<u64> = blocks.into_iter().collect();
    for (index, part) in blocks.chunks(blocks.len() / 3 + 1).enumerate() {
        let mut content = Vec::new();
        for at in part {
            let mut bytes = vec![0; usize::try_from(block).unwrap()];
            image.read_exact_at(&mut bytes, at * block).unwrap();
            content.extend(bytes);
        }
        let file = folder.path().join(index.to_string());
        // Something older of the same blocks first, and something that is never committed last.
        let old = folder.path().join(format!("old-{index}"));
        fs::write(&file, &content).unwrap();
        fs::write(&old, vec![0x33; content.len()]).unwrap();
        let list: Vec<String> = part.iter().map(u64::to_string).collect();
        let list = list.join(",");
        writeln!(requests, "journal_write -b {list} {}", old.display()).unwrap();
        writeln!(requests, "journal_write -b {list} {}", file.display()).unwrap();
        if index == 2 {
            writeln!(requests, "journal_write -c -b {list} {}", old.display()).unwrap();
        }
    }
    requests.push_str("journal_close\n");
    let script = folder.path().join("script");
    fs::write(&script, requests).unwrap();
    let (script, path) = (script.to_str().unwrap().to_owned(), before.path());
    tools::run(&["debugfs", "-w", "-f", &script, path.to_str().unwrap()]);
}

#[test]
fn every_form_of_journal_that_debugfs_writes_is_replayed() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    for index in 0..200 {
        fs::write(
            folder.path().join(format!("etc/{index}")),
            files::bytes(index, 700),
        )
        .unwrap();
    }
    let new = folder.path().join("etc/7");
    for (options, open) in [
        ("-b 1024 -O ^metadata_csum,^64bit", ""),
        ("-b 1024 -O ^metadata_csum,64bit", ""),
        ("-b 4096 -O ^metadata_csum,^64bit", "-c -v 2"),
        ("-b 1024 -O metadata_csum,64bit", "-c -v 2"),
        ("-b 1024 -O metadata_csum,64bit", "-c -v 3"),
        ("-b 4096 -O ^metadata_csum,^64bit", "-c -v 3"),
    ] {
        println!("{options} {open}");
        let before = Image::of_folder(folder.path(), 16, options);
        let after = before.copy();
        for index in 0..10 {
            after.debugfs(&format!("write {} new-{index}", new.display()));
            after.debugfs(&format!("rm etc/{index}"));
        }
        let (ours, _) = after.open();
        let expected = tree::of_filesystem(&*ours);
        let block = u64::from(ours.summary().block_size);
        through_journal(&before, &after, open, block);
        let (ours, _) = before.open();
        assert_eq!(ours.summary().condition, Condition::Replayed);
        tree::assert_same(&tree::of_filesystem(&*ours), &expected);
    }
}

/// Why the journal was not replayed.
fn why_not(image: &Image) -> String {
    match &image.open().0.summary().condition {
        Condition::NotReplayed(why) => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_journal_that_is_not_replayed_is_told() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let image = Image::new(16, "-b 1024");
    image.debugfs("feature needs_recovery");
    assert_eq!(image.open().0.summary().condition, Condition::Replayed);
    let external = image.copy();
    external.debugfs("ssv journal_inum 0");
    assert!(why_not(&external).contains("another device"));
    let (ours, _) = image.open();
    let journal = ours.extents(NodeId::new(8)).unwrap()[0].volume;
    let file = File::options().write(true).open(image.path()).unwrap();
    file.write_all_at(&[0, 0, 0, 0x80], journal + 0x28).unwrap();
    assert!(why_not(&image).contains("s_feature_incompat 0x80"));
    file.write_all_at(b"nothing", journal).unwrap();
    assert!(why_not(&image).contains("h_magic"));
}

#[test]
fn a_copy_in_the_journal_that_is_damaged_is_told() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let image = Image::new(16, "-b 1024");
    let after = image.copy();
    for index in 0..5 {
        after.debugfs(&format!("mkdir folder-{index}"));
    }
    through_journal(&image, &after, "-c -v 3", 1024);
    assert_eq!(image.open().0.summary().condition, Condition::Replayed);
    let journal = image.open().0.extents(NodeId::new(8)).unwrap()[0].volume;
    let file = File::options().write(true).open(image.path()).unwrap();
    // Block 1 describes a transaction, of which block 2 is a copy.
    file.write_all_at(&[0x44; 64], journal + 3 * 1024 - 64)
        .unwrap();
    let (ours, _) = image.open();
    match &ours.summary().condition {
        // Unless a later copy of the same block is what counts.
        Condition::Replayed => {
            file.write_all_at(&[0x44; 64], journal + 2 * 1024 - 64)
                .unwrap();
            assert!(why_not(&image).contains("checksum"));
        }
        Condition::NotReplayed(why) => assert!(why.contains("checksum"), "{why}"),
        Condition::Clean => panic!("it is not clean"),
    }
}

#[test]
fn fast_commits_are_told() {
    if !tools::has(&["mkfs.ext4"]) || !tools::is_root() {
        return;
    }
    let image = taken_while_mounted(64, "-b 4096 -O fast_commit", "noatime", |root| {
        write_through(&root.join("one"), b"a whole commit comes first");
        tools::run(&["sync", "-f", root.to_str().unwrap()]);
        write_through(&root.join("two"), b"and a fast one after it");
    });
    assert!(why_not(&image).contains("fast commits"));
}

#[test]
fn fast_commits_are_said_to_be_missing() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) || !tools::is_root() {
        return;
    }
    let image = taken_while_mounted(64, "-O fast_commit", "noatime", |root| {
        // The first commit is a full one, and those of `fsync` after it are fast ones.
        fs::write(root.join("early"), b"by a full commit").unwrap();
        tools::run(&["sync", "-f", root.to_str().unwrap()]);
        write_through(&root.join("late"), b"by a fast commit");
    });
    let (ours, _) = image.open();
    let condition = &ours.summary().condition;
    assert!(
        matches!(condition, Condition::NotReplayed(why) if why.contains("fast commits")),
        "{condition:?}"
    );
    assert!(ours.lookup(ours.root(), b"early").unwrap().is_some());
    assert!(of_kernel(&image).contains_key(&b"late"[..]));
}
