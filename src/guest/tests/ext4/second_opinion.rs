//! Other readers than the kernel: `debugfs`, and the crate `ext4-view`.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use ext4_view::{Ext4, Ext4Read, FileType, PathBuf};
use qanopy_guest::filesystem::NodeKind;

use super::fixtures::{CAN, Image};
use crate::support::tree::{self, Tree};
use crate::support::{files, tools};

struct Raw(File);

impl Ext4Read for Raw {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.0.read_exact_at(dst, start_byte)?)
    }
}

/// What `ext4-view` shows: kinds, modes and content.
fn assert_shown(ours: &Tree, theirs: &Ext4) {
    let mut met = 0;
    let mut folders = vec![PathBuf::new("/")];
    while let Some(folder) = folders.pop() {
        for entry in theirs.read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if [&b"."[..], b".."].contains(&name.as_ref()) {
                continue;
            }
            met += 1;
            let path = entry.path();
            let seen = &ours[&path.as_ref()[1..]];
            let meta = theirs.symlink_metadata(&path).unwrap();
            assert_eq!(seen.mode, u32::from(meta.mode()) & 0o7777);
            assert_eq!(seen.owner, (meta.uid(), meta.gid()));
            match meta.file_type() {
                FileType::Directory => {
                    assert_eq!(seen.kind, NodeKind::Directory);
                    folders.push(path);
                }
                FileType::Regular => {
                    use sha2::{Digest, Sha256};
                    assert_eq!(seen.kind, NodeKind::File);
                    let content = theirs.read(&path).unwrap();
                    assert_eq!(seen.content, Sha256::digest(content).to_vec());
                }
                FileType::Symlink => {
                    let target = theirs.read_link(&path).unwrap();
                    assert_eq!(seen.content, target.as_ref());
                }
                _ => assert_eq!(seen.kind, NodeKind::Special),
            }
        }
    }
    assert_eq!(met, ours.len());
}

#[test]
fn another_reader_shows_the_same_files() {
    if !tools::has(&["mkfs.ext4"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    files::populate(folder.path(), CAN);
    // Its target has a part that is longer than names are, which that reader takes for damage.
    fs::remove_file(folder.path().join("long-link")).unwrap();
    for options in ["-b 4096", "-t ext2 -b 4096", "-b 1024 -O ^metadata_csum"] {
        if options.contains("ext2") {
            // It reads no holes in block maps.
            fs::remove_file(folder.path().join("sparse")).unwrap();
        }
        let image = Image::of_folder(folder.path(), 100, options);
        let theirs = Ext4::load(Box::new(Raw(File::open(image.path()).unwrap()))).unwrap();
        let (ours, _) = image.open();
        assert_shown(&tree::of_filesystem(&*ours), &theirs);
    }
}

#[test]
fn debugfs_names_the_same_inodes_and_blocks() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    files::populate(folder.path(), CAN);
    for options in ["-b 4096", "-t ext3 -b 1024"] {
        let image = Image::of_folder(folder.path(), 100, options);
        let (ours, _) = image.open();
        let block = u64::from(ours.summary().block_size);
        for path in ["large", "sparse", "etc", "many", "text"] {
            let id = tree::path(&*ours, path.as_bytes());
            let said = image.debugfs(&format!("stat /{path}"));
            assert!(said.contains(&format!("Inode: {}", id.number)), "{said}");
            let generation = ours.node(id).unwrap().generation;
            assert!(
                said.contains(&format!("Generation: {generation}")),
                "{said}"
            );
            let said = image.debugfs(&format!("blocks /{path}"));
            let theirs: Vec<u64> = said
                .split_whitespace()
                .map(|block| block.parse().unwrap())
                .collect();
            let extents = ours.extents(id).unwrap();
            let own: Vec<u64> = extents
                .iter()
                .flat_map(|extent| {
                    let first = extent.volume / block;
                    first..first + extent.len / block
                })
                .collect();
            // `debugfs` names map blocks as well.
            let listed: Vec<u64> = theirs
                .iter()
                .copied()
                .filter(|block| own.contains(block))
                .collect();
            assert_eq!(listed, own, "{path}");
            assert!(theirs.len() - own.len() <= theirs.len() / 100 + 4, "{path}");
        }
    }
}
