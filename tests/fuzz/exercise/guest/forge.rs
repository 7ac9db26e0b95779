//! A disk that others are forged from, and the language of edits.
//!
//! An edit is eight bytes: which sector of those that hold something (two bytes), where in it (two), what is done
//! (one: its low four bits; `0x80` leaves checksums as they are, `0x40` chooses among all sectors and not among those
//! of metadata), a value (one), and a further number (two). All numbers are little endian.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use qanopy_core::image::{Chain, ImageFile, Layer, Qcow2};
use qanopy_guest::block::{Mapped, Place, Replayed};
use qanopy_guest::disk::{Content, Disk, Volume};
use qanopy_guest::filesystem::Use;
use qanopy_guest::{Ranges, Source};

use super::super::memory::MemoryFile;
use super::seals::{self, Seal};

/// What is edited at a time.
pub(super) const BLOCK: usize = 4096;
const SECTOR: usize = 512;
/// Edits of one input at the most.
const MOST_EDITS: usize = 64;

/// Numbers that are often at the edge of what is right.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    u64::MAX,
    u64::MAX - 1,
    1 << 31,
    (1 << 31) - 1,
    1 << 63,
    (1 << 63) - 1,
    0xffff_ffff,
    0x1_0000,
    0xffff,
    0x8000,
    4096,
    4095,
    1 << 40,
];

/// A disk as its tools made it.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(super) source: Source,
    pub(super) disk: Disk,
    /// Where sectors are that hold something other than content of files: by their number.
    metadata: Vec<usize>,
    /// All that are not zero.
    all: Vec<usize>,
    seals: Vec<Seal>,
}

/// A forged disk, and the bytes of it that differ.
#[derive(Debug)]
pub(super) struct Forged {
    pub(super) source: Source,
    pub(super) changed: Ranges,
}

impl Seed {
    /// The disk that a compressed image shows.
    pub(super) fn new(image: &[u8]) -> Self {
        let file = ImageFile::new(
            Path::new("seed.qcow2"),
            Arc::new(MemoryFile::new(image.to_vec())),
        );
        let layer = Layer::Qcow2(Box::new(Qcow2::open(&file, None).unwrap()));
        let chain = Chain::new(vec![Arc::new(layer)]);
        let mut bytes = vec![0; usize::try_from(chain.virtual_size()).unwrap()];
        // What is zero takes no memory.
        for range in qanopy_guest::stored(&chain).unwrap().as_slice() {
            let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
            chain.read_at(&mut bytes[start..end], range.start).unwrap();
        }
        let all: Vec<usize> = (0..bytes.len() / SECTOR)
            .filter(|sector| {
                let sector = &bytes[sector * SECTOR..][..SECTOR];
                sector.iter().any(|byte| *byte != 0)
            })
            .collect();
        let seals = seals::of(&bytes, &all);
        let source: Source = Arc::new(bytes);
        let disk = Disk::open(&source).unwrap();
        let content = content(&disk);
        let is_metadata = |sector: &usize| {
            let at = (sector * SECTOR) as u64;
            !content.intersects(&(at..at + 1))
        };
        let metadata = all.iter().copied().filter(is_metadata).collect();
        let is_known = |volume: &Volume| {
            matches!(
                volume.content,
                Content::Filesystem(_) | Content::Locked { .. }
            )
        };
        assert!(
            disk.volumes.iter().any(is_known),
            "a seed has a filesystem, or is encrypted"
        );
        Self {
            source,
            disk,
            metadata,
            all,
            seals,
        }
    }

    /// The disk after these edits.
    pub(super) fn forged(&self, edits: &[u8]) -> Forged {
        let mut forger = Forger {
            seed: self,
            blocks: BTreeMap::new(),
            unsealed: Vec::new(),
            len: self.source.len(),
        };
        for edit in edits.chunks_exact(8).take(MOST_EDITS) {
            forger.edit(edit.try_into().unwrap());
        }
        forger.finish()
    }
}

/// The bytes of a disk that hold content of files.
fn content(disk: &Disk) -> Ranges {
    let mut found = Ranges::new();
    for (volume, filesystem) in disk.filesystems() {
        let mut own = Ranges::new();
        own.insert(0..volume.place.len());
        let mut others = Ranges::new();
        filesystem
            .usage(&mut |range, used| {
                if used != Use::FileData {
                    others.insert(range);
                }
                Ok(())
            })
            .unwrap();
        let mut at = 0;
        let mut data = Ranges::new();
        for range in others.as_slice() {
            data.insert(at..range.start);
            at = range.end;
        }
        data.insert(at..volume.place.len());
        found.extend(&volume.place.to_disk(&data));
    }
    found
}

/// A disk on its way to be forged.
struct Forger<'a> {
    seed: &'a Seed,
    /// What was overwritten, by its number.
    blocks: BTreeMap<u64, Box<[u8]>>,
    /// Sectors whose checksums stay wrong.
    unsealed: Vec<usize>,
    len: u64,
}

impl Forger<'_> {
    fn block(&mut self, number: usize) -> &mut [u8] {
        let source = &self.seed.source;
        self.blocks.entry(number as u64).or_insert_with(|| {
            let mut block = vec![0; BLOCK];
            source.read_at((number * BLOCK) as u64, &mut block).unwrap();
            block.into_boxed_slice()
        })
    }

    fn sector(&mut self, number: usize) -> &mut [u8] {
        let at = number % (BLOCK / SECTOR) * SECTOR;
        &mut self.block(number / (BLOCK / SECTOR))[at..at + SECTOR]
    }

    fn edit(&mut self, edit: [u8; 8]) {
        let [which, other, at] =
            [0, 6, 2].map(|at| usize::from(u16::from_le_bytes([edit[at], edit[at + 1]])));
        let (what, value) = (edit[4], edit[5]);
        let from = if what & 0x40 == 0 {
            &self.seed.metadata
        } else {
            &self.seed.all
        };
        let (sector, another) = (from[which % from.len()], from[other % from.len()]);
        let edge = EDGES[usize::from(value) % EDGES.len()];
        if what & 0x80 != 0 {
            self.unsealed.push(sector);
        }
        let at = at % SECTOR;
        let aligned = at & !7;
        let word = |len: usize, bytes: [u8; 8]| (at & !(len - 1), bytes);
        match what & 15 {
            0 => self.sector(sector)[at] = value,
            1 => self.sector(sector)[at] ^= 1 << (value & 7),
            2 | 3 => {
                let (at, number) = (at & !1, u16::try_from(other).unwrap());
                let bytes = if what & 1 == 0 {
                    number.to_le_bytes()
                } else {
                    number.to_be_bytes()
                };
                self.sector(sector)[at..at + 2].copy_from_slice(&bytes);
            }
            4 | 5 => {
                let [little, big] = [
                    edge.to_le_bytes()[..4].to_vec(),
                    edge.to_be_bytes()[4..].to_vec(),
                ];
                let (at, _) = word(4, [0; 8]);
                self.sector(sector)[at..at + 4].copy_from_slice(if what & 1 == 0 {
                    &little
                } else {
                    &big
                });
            }
            6 => self.sector(sector)[aligned..aligned + 8].copy_from_slice(&edge.to_le_bytes()),
            7 => self.sector(sector)[aligned..aligned + 8].copy_from_slice(&edge.to_be_bytes()),
            8 | 9 => {
                let (at, _) = word(4, [0; 8]);
                let bytes: &mut [u8] = &mut self.sector(sector)[at..at + 4];
                let old: [u8; 4] = bytes.try_into().unwrap();
                let step = i32::from(i16::from_le_bytes([edit[6], edit[7]]));
                let new = if what & 1 == 0 {
                    u32::from_le_bytes(old)
                        .wrapping_add_signed(step)
                        .to_le_bytes()
                } else {
                    u32::from_be_bytes(old)
                        .wrapping_add_signed(step)
                        .to_be_bytes()
                };
                bytes.copy_from_slice(&new);
            }
            10 => {
                // A pointer that leads where another does.
                let bytes = self.sector(another)[aligned..aligned + 8].to_vec();
                self.sector(sector)[aligned..aligned + 8].copy_from_slice(&bytes);
            }
            11 => {
                let bytes = self.block(another / (BLOCK / SECTOR)).to_vec();
                self.block(sector / (BLOCK / SECTOR))
                    .copy_from_slice(&bytes);
            }
            12 | 13 => {
                let end = (at + usize::from(value) + 1).min(SECTOR);
                self.sector(sector)[at..end].fill(if what & 1 == 0 { 0 } else { 0xff });
            }
            14 => {
                let bytes = self.sector(another).to_vec();
                self.sector(sector)[at..].copy_from_slice(&bytes[..SECTOR - at]);
            }
            _ => self.len = (sector * SECTOR) as u64,
        }
    }

    /// Puts checksums right, and gives what came of it.
    fn finish(mut self) -> Forged {
        let touched: Vec<u64> = self.blocks.keys().copied().collect();
        for seal in &self.seed.seals {
            let (start, end) = (seal.range.start, seal.range.end);
            let (first, last) = (start as u64, end as u64);
            let is_touched = touched
                .iter()
                .any(|block| first < (block + 1) * BLOCK as u64 && last > block * BLOCK as u64);
            let is_left = self
                .unsealed
                .iter()
                .any(|sector| (start..end).contains(&(sector * SECTOR)));
            if is_touched && !is_left {
                self.seal(seal);
            }
        }
        let changed = self
            .blocks
            .keys()
            .map(|block| block * BLOCK as u64..(block + 1) * BLOCK as u64)
            .collect();
        let whole: Source = Arc::new(Replayed::new(self.seed.source.clone(), BLOCK, self.blocks));
        let source: Source = Arc::new(Mapped::new(whole, Place::range(0..self.len)));
        Forged { source, changed }
    }

    fn seal(&mut self, seal: &Seal) {
        let first = seal.range.start / BLOCK;
        let mut bytes = Vec::new();
        for block in first..seal.range.end.div_ceil(BLOCK) {
            bytes.extend_from_slice(self.block(block));
        }
        let start = seal.range.start - first * BLOCK;
        let sum = seal.sum(&bytes[start..start + seal.range.len()]);
        for (index, byte) in sum.into_iter().enumerate() {
            let at = seal.range.start + seal.place + index;
            self.block(at / BLOCK)[at % BLOCK] = byte;
        }
    }
}
