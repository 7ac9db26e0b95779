//! What bytes are used for, against what `dumpe2fs` says is free.

use qanopy_guest::filesystem::{NodeKind, Use};

use super::differences::all_nodes;
use super::fixtures::{CAN, Image};
use crate::support::{files, tools};

#[test]
fn free_blocks_are_those_that_e2fsprogs_names() {
    if !tools::has(&["mkfs.ext4", "dumpe2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    files::populate(folder.path(), CAN);
    for options in [
        "-b 4096",
        "-b 1024 -g 1024 -N 8192",
        "-b 1024 -g 1024 -N 8192 -O meta_bg,^resize_inode",
        "-O sparse_super2,^resize_inode -b 1024",
        "-t ext2 -b 1024",
        "-t ext3 -b 4096",
        "-O bigalloc -b 4096 -C 16384",
        "-O bigalloc -b 1024 -C 16384",
        "-O ^metadata_csum,uninit_bg -b 4096",
    ] {
        println!("{options}");
        let image = Image::of_folder(folder.path(), 100, options);
        let path = image.path();
        let (ours, _) = image.open();
        let block = u64::from(ours.summary().block_size);
        let blocks = ours.summary().total / block;
        let mut used = vec![Use::FileData; usize::try_from(blocks).unwrap()];
        ours.usage(&mut |bytes, what| {
            assert!(bytes.start % block == 0 && bytes.end % block == 0);
            for at in bytes.start / block..bytes.end / block {
                used[usize::try_from(at).unwrap()] = what;
            }
            Ok(())
        })
        .unwrap();

        let cluster = if options.contains("bigalloc") {
            usize::try_from(16384 / block).unwrap()
        } else {
            1
        };
        let mut theirs = vec![false; used.len()];
        let said = tools::run(&["dumpe2fs", path.to_str().unwrap()]);
        for line in said.lines() {
            let Some(ranges) = line.strip_prefix("  Free blocks: ") else {
                continue;
            };
            for range in ranges.split(", ").filter(|range| !range.is_empty()) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                // Of the last cluster the first block is named.
                theirs[first..(last + cluster).min(used.len())].fill(true);
            }
        }
        for (at, (what, is_free)) in used.iter().zip(&theirs).enumerate() {
            assert_eq!(*what == Use::Free, *is_free, "block {at}");
        }
        let free = theirs.iter().filter(|is_free| **is_free).count() as u64;
        assert_eq!(ours.summary().used, Some((blocks - free) * block));

        // Every block of a file is of a file, and of a directory metadata.
        let mut of_files = 0;
        for node in all_nodes(&*ours).values() {
            for extent in ours.extents(node.id).unwrap() {
                for at in extent.volume / block..(extent.volume + extent.len) / block {
                    let what = used[usize::try_from(at).unwrap()];
                    match node.kind {
                        NodeKind::Directory => assert_eq!(what, Use::Metadata),
                        _ => assert_eq!(what, Use::FileData),
                    }
                    of_files += u64::from(node.kind != NodeKind::Directory);
                }
            }
        }
        let counted = used.iter().filter(|what| **what == Use::FileData).count();
        // The rest of clusters, and what is kept for the descriptors of a grown filesystem.
        println!("{counted} blocks of files, {of_files} of them named");
        assert!(counted as u64 >= of_files);
        assert!(options.contains("bigalloc") || counted as u64 <= of_files + 300);
    }
}
