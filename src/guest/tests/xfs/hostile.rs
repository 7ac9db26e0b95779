//! Forged images: whatever a guest wrote, with checksums that are right for it, a reader answers or fails.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use super::{can, opened};
use crate::support::files::bytes;
use crate::support::hostile::survives_sealed;
use crate::support::mount::Mount;
use crate::support::tools::run;
use qanopy_guest::filesystem::Condition;

/// A part of the image with a checksum.
struct Sealed {
    range: Range<usize>,
    /// Where the checksum is in it.
    crc: usize,
    /// The bytes that it is over, beside those of it.
    over: Vec<Range<usize>>,
}

impl Sealed {
    fn block(at: usize, len: usize, crc: usize) -> Self {
        Self {
            range: at..at + len,
            crc,
            over: vec![0..crc, crc + 4..len],
        }
    }

    /// A record of the log.
    fn record(image: &[u8], at: usize) -> Self {
        let number = |from: usize| {
            let bytes = image[at + from..at + from + 4].try_into().unwrap();
            usize::try_from(u32::from_be_bytes(bytes)).unwrap()
        };
        let (len, size) = (number(12), number(320));
        let headers = size.div_ceil(32 << 10).max(1);
        let mut over = vec![0..32, 36..328];
        for further in 1..len.div_ceil(32 << 10) {
            over.push(further * 512..further * 512 + 260);
        }
        over.push(headers * 512..headers * 512 + len);
        Self {
            range: at..at + headers * 512 + len,
            crc: 32,
            over,
        }
    }

    fn sum(&self, image: &[u8]) -> u32 {
        let bytes = &image[self.range.clone()];
        let mut sum = 0;
        for (index, part) in self.over.iter().enumerate() {
            if index == 1 {
                sum = crc32c::crc32c_append(sum, &[0; 4]);
            }
            sum = crc32c::crc32c_append(sum, &bytes[part.clone()]);
        }
        sum
    }

    fn place(&self) -> Range<usize> {
        self.range.start + self.crc..self.range.start + self.crc + 4
    }

    fn is_right(&self, image: &[u8]) -> bool {
        self.range.end <= image.len() && image[self.place()] == self.sum(image).to_le_bytes()
    }

    fn seal(&self, image: &mut [u8]) {
        let sum = self.sum(image).to_le_bytes();
        image[self.place()].copy_from_slice(&sum);
    }
}

/// Everything of an image that has a checksum, which is how it is known to be what its magic number says.
fn sealed(image: &[u8]) -> Vec<Sealed> {
    let found = (0..image.len()).step_by(512).filter_map(|at| {
        let whole = |crc| (at % 4096 == 0).then(|| Sealed::block(at, 4096, crc));
        let sealed = match &image[at..at + 4] {
            b"XFSB" => Some(Sealed::block(at, 512, 224)),
            b"XAGF" => Some(Sealed::block(at, 512, 216)),
            b"XAGI" => Some(Sealed::block(at, 512, 312)),
            b"XAFL" => Some(Sealed::block(at, 512, 32)),
            b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"R3FC" | b"RMB3" => whole(52),
            b"BMA3" => whole(64),
            b"XDB3" | b"XDD3" | b"XDF3" => whole(4),
            b"XSLM" => whole(12),
            [b'I', b'N', ..] => Some(Sealed::block(at, 512, 100)),
            [0xfe, 0xed, 0xba, 0xbe] => Some(Sealed::record(image, at)),
            _ => None,
        };
        sealed.filter(|sealed| sealed.is_right(image))
    });
    found.collect()
}

/// A small image with each kind of metadata; `log` is what becomes of it before it is unmounted.
fn made(folder: &Path, log: impl FnOnce(&Path, &Path) -> PathBuf) -> PathBuf {
    let image = folder.join("image");
    File::create(&image).unwrap().set_len(40 << 20).unwrap();
    let name = image.to_str().unwrap();
    run(&["mkfs.xfs", "--unsupported", "-q", "-m", "rmapbt=1", name]);
    let mount = Mount::new(&image, "nouuid");
    let root = mount.path();
    for (directory, count) in [("few", 3), ("block", 40), ("leaf", 300)] {
        fs::create_dir(root.join(directory)).unwrap();
        for index in 0..count {
            let file = root.join(format!("{directory}/a-file-of-number-{index}"));
            fs::write(file, bytes(index, 100)).unwrap();
        }
    }
    let apart = File::create(root.join("apart")).unwrap();
    for index in 0..700 {
        apart
            .write_all_at(&bytes(index, 4096), index * 8192)
            .unwrap();
    }
    apart.sync_all().unwrap();
    drop(apart);
    symlink("x".repeat(700), root.join("long-link")).unwrap();
    symlink("leaf", root.join("short-link")).unwrap();
    run(&["sync", "-f", root.to_str().unwrap()]);
    let kept = log(&image, &root);
    drop(mount);
    kept
}

fn assert_survives(image: &Path, cases: u64, only_log: bool) {
    let image = fs::read(image).unwrap();
    let mut sealed = sealed(&image);
    let is_record = |one: &Sealed| image[one.range.start] == 0xfe;
    sealed.retain(|one| !only_log || is_record(one));
    assert!(sealed.len() > if only_log { 2 } else { 100 });
    let places: Vec<_> = sealed.iter().map(|one| one.range.clone()).collect();
    survives_sealed(&image, &places, cases, &|image, which| {
        sealed[which].seal(image);
    });
}

#[test]
fn forged_metadata_is_answered_or_refused() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = made(folder.path(), |image, _| image.to_path_buf());
    assert_eq!(opened(&image).summary().condition, Condition::Clean);
    assert_survives(&image, 1_200, false);
}

#[test]
fn a_forged_log_is_answered_or_refused() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = made(folder.path(), |image, root| {
        fs::remove_file(root.join("apart")).unwrap();
        fs::create_dir(root.join("new")).unwrap();
        for index in 0..100 {
            fs::write(root.join(format!("new/{index}")), b"new").unwrap();
        }
        run(&["sync", "-f", root.to_str().unwrap()]);
        super::copied(image, "dirty")
    });
    assert_eq!(opened(&image).summary().condition, Condition::Replayed);
    assert_survives(&image, 600, true);
}
