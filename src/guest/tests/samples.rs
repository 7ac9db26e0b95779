//! Disks that nobody here wrote, of Debian's packages `forensics-samples`: each filesystem on them against what the
//! kernel, or ntfs-3g, shows of it.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use qanopy_guest::block::{Mapped, Place};
use qanopy_guest::disk::{Content, Scheme, VolumeName};
use qanopy_guest::filesystem::NodeId;
use qanopy_guest::readers::{self, OpenFilesystem};
use qanopy_guest::{Disk, Filesystem, Source, explain};

use crate::ntfs;
use crate::support::mount::Mount;
use crate::support::tools::{has, is_root, sample};
use crate::support::{nodes, source, tree};

/// A disk that is opened, and a folder to put its volumes into.
struct Sample {
    source: Source,
    disk: Disk,
    folder: tempfile::TempDir,
}

impl Sample {
    fn open(name: &str) -> Option<Self> {
        if !has(&["xz", "mount"]) || !is_root() {
            return None;
        }
        let source: Source = Arc::new(sample(name)?);
        let disk = Disk::open(&source).unwrap();
        assert_eq!(disk.scheme, Scheme::Mbr);
        Some(Self {
            source,
            disk,
            folder: tempfile::tempdir().unwrap(),
        })
    }

    fn content(&self, number: u32) -> &Content {
        let name = VolumeName::Partition(number);
        let volumes = &self.disk.volumes;
        &volumes.iter().find(|one| one.name == name).unwrap().content
    }

    /// The filesystem that begins where a partition does, and an image of all from there on: those of `multiple` take
    /// themselves to be as long.
    fn filesystem(&self, number: u32) -> (OpenFilesystem, PathBuf) {
        let name = VolumeName::Partition(number);
        let mut volumes = self.disk.volumes.iter();
        let volume = volumes.find(|volume| volume.name == name).unwrap();
        let start = volume.place.segments().first().unwrap().disk;
        let rest = Place::range(start..self.source.len());
        let rest: Source = Arc::new(Mapped::new(self.source.clone(), rest));
        let mut bytes = vec![0; usize::try_from(rest.len()).unwrap()];
        rest.read_at(0, &mut bytes).unwrap();
        let image = self.folder.path().join(name.to_string());
        fs::write(&image, bytes).unwrap();
        (readers::open(&rest).unwrap().unwrap(), image)
    }

    /// Fails where the kernel shows other files than these many.
    fn assert_as_kernel(&self, number: u32, kind: &str, files: usize) {
        let (ours, image) = self.filesystem(number);
        assert_eq!(ours.summary().kind, kind);
        let mount = Mount::new(&image, "ro");
        let kernel = tree::of_folder(&mount.path());
        assert_eq!(kernel.len(), files);
        tree::assert_same(&tree::of_filesystem(&*ours), &kernel);
    }
}

/// Every file that is walked to has its name, and no byte of it is free.
fn assert_consistent(filesystem: &dyn Filesystem) {
    let nodes = nodes::all(filesystem);
    let ids: HashSet<NodeId> = nodes.keys().copied().collect();
    let links = filesystem.links(&ids).unwrap();
    assert_eq!(links.len(), ids.len() - 1, "all but the root");
    let free = explain::free(filesystem).unwrap();
    assert!(free.bytes() > 0 && free.bytes() < filesystem.summary().total);
    for id in ids {
        for extent in filesystem.extents(id).unwrap() {
            let stored = extent.volume..extent.volume + extent.stored;
            assert!(!free.intersects(&stored), "{extent:?} of {id:?} is free");
        }
    }
}

#[test]
fn ext2_and_ext4_of_debian_s_forensics_samples_are_read_as_the_kernel_reads_them() {
    for kind in ["ext2", "ext4"] {
        let Some(sample) = Sample::open(&format!("fs.{kind}")) else {
            return;
        };
        sample.assert_as_kernel(1, kind, 23);
        assert_consistent(&*sample.filesystem(1).0);
    }
}

#[test]
fn btrfs_of_debian_s_forensics_samples_is_read_as_the_kernel_reads_it() {
    let Some(sample) = Sample::open("fs.btrfs") else {
        return;
    };
    sample.assert_as_kernel(1, "Btrfs", 22);
    assert_consistent(&*sample.filesystem(1).0);
}

#[test]
fn each_partition_of_debian_s_forensics_samples_is_read_or_named() {
    let Some(sample) = Sample::open("fs.multiple") else {
        return;
    };
    assert_eq!(sample.disk.volumes.len(), 4);
    sample.assert_as_kernel(1, "Btrfs", 2);
    // What it takes to be its own behind its end was written over by the partitions there.
    sample.assert_as_kernel(2, "ext4", 3);
    // The kernel does not mount what is longer than its partition either.
    let Content::Failed(why) = sample.content(2) else {
        panic!("{:?}", sample.content(2));
    };
    let why = why.to_string();
    assert!(why.contains("more than the volume has"), "{why}");
    assert!(matches!(sample.content(3), Content::Named("exFAT")));
    let (ours, image) = sample.filesystem(4);
    let mount = Mount::new(&image, "ro");
    tree::assert_same(&ntfs::shown(&*ours), &ntfs::truth(&mount));
    assert_consistent(&*ours);
    // What is on none of them is not called deleted data.
    let all = source::until(sample.disk.len);
    let sums = explain::explain(&sample.disk, &all).unwrap();
    assert_eq!(sums.total(), sample.disk.len);
    let partitions = [225_280, 81_920, 81_920, 120_832_u64].map(|sectors| sectors * 512);
    // An NTFS ends one sector before its partition does: there is a copy of its boot sector.
    let outside = sample.disk.len - partitions.iter().sum::<u64>() + 512;
    assert_eq!(sums.outside, outside);
    assert_eq!(sums.unread, partitions[1] + partitions[2]);
}
