//! Images whose metadata was overwritten at random.

use std::fs;
use std::ops::Range;

use qanopy_guest::filesystem::{NodeId, Use};

use super::fixtures::Image;
use super::journal::through_journal;
use crate::support::{files, hostile, tools};

/// Where an image has metadata, the superblock for one twice: it is small and says most.
fn metadata(image: &Image) -> Vec<Range<usize>> {
    let (ours, _) = image.open();
    let mut found = vec![1024..2048, 1024..1400];
    ours.usage(&mut |bytes, what| {
        if what == Use::Metadata {
            let at = |offset: u64| usize::try_from(offset).unwrap();
            found.push(at(bytes.start)..at(bytes.end));
        }
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn whatever_metadata_says_it_is_answered_or_refused() {
    if !tools::has(&["mkfs.ext4"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for index in 0..120_u16 {
        let name = folder
            .path()
            .join(format!("a folder/{}/{index}", index % 7));
        fs::create_dir_all(name.parent().unwrap()).unwrap();
        fs::write(name, files::bytes(index.into(), 40 * usize::from(index))).unwrap();
    }
    fs::write(folder.path().join("large"), files::bytes(1, 900_000)).unwrap();
    std::os::unix::fs::symlink("a folder", folder.path().join("link")).unwrap();
    for (options, cases) in [
        ("-b 1024 -O ^metadata_csum,^uninit_bg", 1000),
        ("-b 1024 -t ext2", 1000),
        ("-b 1024 -O inline_data,^metadata_csum", 1000),
        ("-b 4096 -O bigalloc,^metadata_csum -C 16384", 500),
        ("-b 1024", 500),
    ] {
        println!("{options}");
        let image = Image::of_folder(folder.path(), 8, &format!("-N 200 {options}"));
        hostile::survives(&image.bytes(), &metadata(&image), cases);
    }
}

#[test]
fn whatever_a_journal_says_it_is_replayed_or_told() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("some")).unwrap();
    for (options, form) in [
        ("-b 1024 -O ^metadata_csum,^64bit", ""),
        ("-b 1024 -O ^metadata_csum,64bit", ""),
        ("-b 1024", "-c -v 3"),
    ] {
        println!("{options}");
        let image = Image::of_folder(folder.path(), 8, &format!("-N 200 {options}"));
        let after = image.copy();
        for index in 0..8 {
            after.debugfs(&format!("mkdir some/{index}"));
        }
        through_journal(&image, &after, form, 1024);
        let journal = image.open().0.extents(NodeId::new(8)).unwrap()[0].volume;
        let start = usize::try_from(journal).unwrap();
        // The journal's superblock, what is used of it, and each block's first bytes.
        let mut places = vec![start..start + 100, start..start + (40 << 10)];
        places.extend((1..30).map(|block| start + block * 1024..start + block * 1024 + 48));
        hostile::survives(&image.bytes(), &places, 1000);
    }
}
