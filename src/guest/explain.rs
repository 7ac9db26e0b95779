//! What bytes of a disk are used for: why is a layer as large as it is.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::disk::{Content, Disk, Volume};
use crate::error::{Error, Result};
use crate::filesystem::{Filesystem, Use};
use crate::ranges::Ranges;

/// Runs that a filesystem tells of at the most.
const MOST_RUNS: usize = 8 << 20;

/// Bytes by what they are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Explained {
    /// Content of files.
    pub file_data: u64,
    /// Inodes, directories, bitmaps, trees.
    pub metadata: u64,
    /// Journals.
    pub journal: u64,
    /// Belongs to no file any more: deleted, and never discarded by the guest.
    pub free: u64,
    /// Swap space.
    pub swap: u64,
    /// In no partition or logical volume, or behind the filesystem's end.
    pub outside: u64,
    /// In volumes that are not read, or in folders that are damaged.
    pub unread: u64,
}

impl Explained {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        [
            self.file_data,
            self.metadata,
            self.journal,
            self.free,
            self.swap,
            self.outside,
            self.unread,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// What these bytes of a disk are used for.
///
/// # Errors
/// When the image cannot be read. A filesystem whose records are damaged counts as not read.
pub fn explain(disk: &Disk, bytes: &Ranges) -> Result<Explained> {
    let mut sums = Explained::default();
    // What is in two volumes, as what thin volumes share is, counts once.
    let mut rest = bytes.clone();
    for volume in &disk.volumes {
        if matches!(volume.content, Content::Physical(_)) {
            continue;
        }
        let own = volume.place.from_disk(&rest);
        rest = rest.without(&volume.place.to_disk(&own));
        add_volume(volume, &own, &mut sums)?;
    }
    sums.outside = sums.outside.saturating_add(rest.bytes());
    Ok(sums)
}

fn add_volume(volume: &Volume, own: &Ranges, sums: &mut Explained) -> Result<()> {
    match &volume.content {
        Content::Filesystem(filesystem) => match uses(&**filesystem) {
            Ok(uses) => {
                let covered = filesystem.summary().total.min(volume.len);
                for range in own.as_slice() {
                    // Past the filesystem's end there are no files.
                    let within = range.start.min(covered)..range.end.min(covered);
                    sums.outside = sums
                        .outside
                        .saturating_add(range.end - range.start - (within.end - within.start));
                }
                let mut own_inside = Ranges::new();
                own.within(0..covered)
                    .for_each(|range| own_inside.insert(range));
                let mut known = 0;
                for (part, used) in &uses {
                    let found = own_inside
                        .within(part.clone())
                        .fold(0, |sum, one| sum + (one.end - one.start));
                    known += found;
                    *match used {
                        Use::FileData => &mut sums.file_data,
                        Use::Metadata => &mut sums.metadata,
                        Use::Journal => &mut sums.journal,
                        Use::Free => &mut sums.free,
                        Use::Unread => &mut sums.unread,
                    } += found;
                }
                sums.file_data += own_inside.bytes().saturating_sub(known);
            }
            Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
            Err(_) => sums.unread += own.bytes(),
        },
        Content::Named("swap") => sums.swap += own.bytes(),
        _ => sums.unread += own.bytes(),
    }
    Ok(())
}

/// The bytes of a volume that its filesystem calls free, in whole blocks.
///
/// # Errors
/// When its records are damaged or cannot be read.
pub fn free(filesystem: &dyn Filesystem) -> Result<Ranges> {
    let uses = uses(filesystem)?;
    Ok(uses
        .into_iter()
        .filter(|(_, used)| *used == Use::Free)
        .map(|(range, _)| range)
        .collect())
}

/// What each byte of a volume is used for, in order and without overlap: what was told last counts.
fn uses(filesystem: &dyn Filesystem) -> Result<Vec<(Range<u64>, Use)>> {
    Ok(last_told(&told(filesystem, MOST_RUNS)?))
}

/// What a filesystem tells of its use, in the order it tells it.
fn told(filesystem: &dyn Filesystem, most: usize) -> Result<Vec<(Range<u64>, Use)>> {
    let mut told: Vec<(Range<u64>, Use)> = Vec::new();
    filesystem.usage(&mut |range, used| {
        if range.is_empty() {
            return Ok(());
        }
        if told.len() >= most {
            return Err(Error::TooMuch {
                what: "runs of free or used space",
                most: most as u64,
            });
        }
        told.push((range, used));
        Ok(())
    })?;
    Ok(told)
}

fn last_told(told: &[(Range<u64>, Use)]) -> Vec<(Range<u64>, Use)> {
    // Where each begins and ends; an end before a beginning at the same place.
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(told.len() * 2);
    for (index, (range, _)) in told.iter().enumerate() {
        events.push((range.start, true, index));
        events.push((range.end, false, index));
    }
    events.sort_unstable();
    let mut open = BTreeSet::new();
    let mut found: Vec<(Range<u64>, Use)> = Vec::new();
    let mut at = 0;
    for (place, begins, index) in events {
        let used = open
            .last()
            .and_then(|index: &usize| told.get(*index))
            .map(|(_, used)| *used);
        if let Some(used) = used.filter(|_| place > at) {
            match found.last_mut() {
                Some((last, same)) if last.end == at && *same == used => last.end = place,
                _ => found.push((at..place, used)),
            }
        }
        at = place;
        if begins {
            open.insert(index);
        } else {
            open.remove(&index);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endless::Endless;

    #[test]
    fn runs_without_end_are_not_taken_in() {
        let found = told(&Endless::new(), 1000);
        assert!(matches!(found, Err(Error::TooMuch { most: 1000, .. })));
    }

    #[test]
    fn what_is_told_last_counts() {
        let told = [
            (0..100, Use::Free),
            (10..20, Use::Metadata),
            (15..30, Use::FileData),
            (30..40, Use::FileData),
        ];
        assert_eq!(
            last_told(&told),
            [
                (0..10, Use::Free),
                (10..15, Use::Metadata),
                (15..40, Use::FileData),
                (40..100, Use::Free)
            ]
        );
        assert_eq!(last_told(&[]), []);
    }
}
