//! The file allocation table: which cluster follows which.

use std::ops::Range;
use std::sync::Arc;

use super::boot_sector::{BootSector, Width};
use super::error::damaged;
use crate::block::BlockSource;
use crate::cache::Chunks;
use crate::error::{Error, Result};

/// The runs that one chain may have.
pub(super) const MOST_RUNS: usize = 1 << 20;

/// Bytes of the table that are looked at together.
const WINDOW: u64 = 4096;

/// Clusters of a file that follow each other on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first, counted from the start of the file.
    pub(super) index: u32,
    /// The number of the first.
    pub(super) cluster: u32,
    /// How many.
    pub(super) count: u32,
}

/// The clusters of a file in order.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    pub(super) runs: Vec<Run>,
    /// What is wrong with the chain after these; none where it is as long as was asked for, or ends.
    pub(super) problem: Option<String>,
}

impl Clusters {
    /// How many.
    pub(super) fn count(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.index + run.count)
    }

    fn push(&mut self, cluster: u32) -> Result<()> {
        let index = self.count();
        if let Some(run) = self.runs.last_mut()
            && run.cluster + run.count == cluster
        {
            run.count += 1;
            return Ok(());
        }
        if self.runs.len() >= MOST_RUNS {
            return Err(Error::TooMuch {
                what: "fragments of a file",
                most: MOST_RUNS as u64,
            });
        }
        self.runs.push(Run {
            index,
            cluster,
            count: 1,
        });
        Ok(())
    }
}

/// What the table says of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Free,
    Next(u32),
    Bad,
    End,
}

/// The table that is used.
#[derive(Debug)]
pub(super) struct Table {
    source: Arc<Chunks>,
    start: u64,
    width: Width,
    /// One more than the largest number of a cluster.
    end: u32,
}

impl Table {
    pub(super) fn new(source: Arc<Chunks>, boot: &BootSector) -> Self {
        Self {
            source,
            start: boot.table.start,
            width: boot.width,
            end: boot.clusters.saturating_add(2),
        }
    }

    /// The chain that begins with `first`, `most` clusters of it at the most. A cluster that is met again ends it.
    ///
    /// # Errors
    /// When the table cannot be read, or there are too many fragments.
    pub(super) fn chain(&self, first: u32, most: u64) -> Result<Clusters> {
        let mut found = Clusters::default();
        let mut window = Window::default();
        let mut cluster = first;
        // Brent's algorithm: a chain that returns to a cluster meets the one remembered at a power of two.
        let (mut remembered, mut until) = (0, 2_u64);
        for step in 1..=most {
            if !(2..self.end).contains(&cluster) {
                found.problem = Some(format!("names cluster {cluster}, which is not there"));
                break;
            }
            if cluster == remembered {
                found.problem = Some(format!("comes back to cluster {cluster}"));
                break;
            }
            if step == until {
                (remembered, until) = (cluster, until * 2);
            }
            found.push(cluster)?;
            match self.entry(cluster, &mut window)? {
                Entry::Next(next) => cluster = next,
                Entry::End => break,
                Entry::Free => {
                    found.problem = Some(format!("goes through cluster {cluster}, which is free"));
                    break;
                }
                Entry::Bad => {
                    found.problem = Some(format!("goes through cluster {cluster}, which is bad"));
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Calls `each` for runs of clusters that are free, and for those that are bad.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub(super) fn unused(
        &self,
        mut each: impl FnMut(Range<u32>, bool) -> Result<()>,
    ) -> Result<()> {
        let mut window = Window::default();
        let mut run: Option<(Range<u32>, Entry)> = None;
        for cluster in 2..=self.end {
            let entry = match cluster {
                last if last == self.end => Entry::End,
                _ => self.entry(cluster, &mut window)?,
            };
            if let Some((range, kind)) = &mut run {
                if *kind == entry {
                    range.end = cluster + 1;
                    continue;
                }
                each(range.clone(), *kind == Entry::Bad)?;
            }
            run = matches!(entry, Entry::Free | Entry::Bad).then(|| (cluster..cluster + 1, entry));
        }
        Ok(())
    }

    /// How many clusters are in use.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub(super) fn used(&self) -> Result<u32> {
        let mut free = 0;
        self.unused(|range, is_bad| {
            if !is_bad {
                free += range.end - range.start;
            }
            Ok(())
        })?;
        Ok((self.end - 2).saturating_sub(free))
    }

    /// Whether the volume was not unmounted, or had errors.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub(super) fn is_dirty(&self) -> Result<bool> {
        let second = self.value(1, &mut Window::default())?;
        Ok(match self.width {
            Width::Fat12 => false,
            Width::Fat16 => second & 0xc000 != 0xc000,
            Width::Fat32 => second & 0x0c00_0000 != 0x0c00_0000,
        })
    }

    /// Whether the tables at these places say the same.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn has_equal_copies(&self, copies: &[u64]) -> Result<bool> {
        let bits = match self.width {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        };
        let len = (u64::from(self.end) * bits).div_ceil(8);
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for copy in copies {
            let mut at = 0;
            while at < len {
                let part = usize::try_from((len - at).min(WINDOW)).unwrap_or_default();
                own.resize(part, 0);
                other.resize(part, 0);
                self.source.read_at(self.start + at, &mut own)?;
                self.source.read_at(copy + at, &mut other)?;
                if own != other {
                    return Ok(false);
                }
                at += WINDOW;
            }
        }
        Ok(true)
    }

    fn entry(&self, cluster: u32, window: &mut Window) -> Result<Entry> {
        let value = self.value(cluster, window)?;
        // The largest values of each width mean the same.
        let ones = match self.width {
            Width::Fat12 => 0xfff,
            Width::Fat16 => 0xffff,
            Width::Fat32 => 0x0fff_ffff,
        };
        Ok(match value & ones {
            0 => Entry::Free,
            value if value > ones - 8 => Entry::End,
            value if value == ones - 8 => Entry::Bad,
            value => Entry::Next(value),
        })
    }

    fn value(&self, cluster: u32, window: &mut Window) -> Result<u32> {
        let number = u64::from(cluster);
        let at = match self.width {
            Width::Fat12 => number + number / 2,
            Width::Fat16 => number * 2,
            Width::Fat32 => number * 4,
        };
        let start = at / WINDOW * WINDOW;
        if window.start != Some(start) {
            // An entry of 12 bits may end in the next one.
            window.bytes.resize(4096 + 4, 0);
            self.source.read_at(self.start + start, &mut window.bytes)?;
            window.start = Some(start);
        }
        let within = usize::try_from(at - start).unwrap_or_default();
        let value = u32::from_le_bytes(crate::field(&window.bytes, within));
        Ok(match self.width {
            Width::Fat12 if cluster % 2 == 1 => (value >> 4) & 0xfff,
            Width::Fat12 => value & 0xfff,
            Width::Fat16 => value & 0xffff,
            Width::Fat32 => value,
        })
    }

    /// What is wrong with the chain of the entry at `at`.
    pub(super) fn broken(at: u64, problem: &str) -> Error {
        damaged(
            "directory entry",
            at,
            format!("its cluster chain {problem}"),
        )
    }
}

/// A part of the table.
#[derive(Debug, Default)]
struct Window {
    start: Option<u64>,
    bytes: Vec<u8>,
}
