//! What becomes of one L2 entry. The rule: whatever can be read reads the same afterwards, and what
//! cannot be read is left and named. Counts are not known here.

use crate::image::FindingKind;
use crate::image::check::{kind_of, past_end};
use crate::qcow2::{
    FormatError, HostCluster, HostClusters, HostOffset, L2Context, L2Entry, SubclusterBitmap,
    Version, l2,
};

/// What the fate of an entry depends on besides its bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryRules {
    pub(super) context: L2Context,
    /// Length of the file in bytes.
    pub(super) len: u64,
    /// Something shows through where the image holds nothing.
    pub(super) has_backing: bool,
}

/// What the copied flag of an entry has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// Nothing: the entry has no cluster of its own.
    AsItIs,
    /// That this cluster is counted once.
    Counts(HostCluster),
    /// That it is set: guest data is in another file.
    Set,
}

/// An entry as it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) raw: u64,
    pub(super) bitmap: u64,
    /// Clusters it refers to.
    pub(super) refers: Option<HostClusters>,
    pub(super) flag: Flag,
    /// It led past the end of the file, read as zeros and says so from now on.
    pub(super) emptied: bool,
    /// Why it stays as it is although it is wrong.
    pub(super) left: Option<FindingKind>,
}

impl EntryRules {
    fn size(&self) -> u64 {
        self.context.geometry.cluster_size()
    }

    /// Decides about one entry.
    pub(super) fn judge(&self, raw: u64, bitmap: u64) -> Judged {
        let place = l2::offset_bits(raw);
        if !self.context.geometry.extended_l2()
            && !self.context.data_file
            && l2::with_copied_flag(raw, false) == place
            && place.is_multiple_of(self.size())
            && (1..self.len).contains(&place)
        {
            // What nearly every entry is.
            let cluster = self.context.geometry.cluster_of(HostOffset(place));
            return Judged {
                raw,
                bitmap,
                refers: Some(HostClusters::one(cluster)),
                flag: Flag::Counts(cluster),
                emptied: false,
                left: None,
            };
        }
        let (clean, clean_bitmap) = l2::without_ignored_bits(raw, bitmap);
        let as_it_is = Judged {
            raw: clean,
            bitmap: clean_bitmap,
            refers: None,
            flag: Flag::AsItIs,
            emptied: false,
            left: None,
        };
        let entry = match L2Entry::parse(clean, clean_bitmap, self.context) {
            Ok(entry) => entry,
            Err(error) => return self.unreadable(raw, bitmap, &error),
        };
        if let L2Entry::Compressed(stream) = entry {
            let (offset, len) = (stream.host.get(), stream.max_len());
            if past_end(offset, len, self.len, self.size()) {
                return Judged {
                    left: Some(FindingKind::PastEnd),
                    ..as_it_is
                };
            }
            return Judged {
                refers: Some(self.context.geometry.clusters_of(stream.host, len)),
                ..as_it_is
            };
        }
        let Some(host) = entry.host() else {
            return as_it_is;
        };
        if self.context.data_file {
            return Judged {
                flag: Flag::Set,
                ..as_it_is
            };
        }
        if past_end(host.get(), self.size(), self.len, self.size()) {
            let zeros = self.as_zeros(entry).map(|zero| zero.encode(self.context));
            return match zeros {
                Some(Ok((raw, bitmap))) => Judged {
                    raw,
                    bitmap,
                    emptied: true,
                    ..as_it_is
                },
                _ => Judged {
                    left: Some(FindingKind::PastEnd),
                    ..as_it_is
                },
            };
        }
        let cluster = self.context.geometry.cluster_of(host);
        Judged {
            refers: Some(HostClusters::one(cluster)),
            flag: Flag::Counts(cluster),
            ..as_it_is
        }
    }

    /// The entry without its place, reading as zeros where it had data. Version 2 can say so only
    /// where nothing shows through.
    fn as_zeros(&self, entry: L2Entry) -> Option<L2Entry> {
        match entry {
            L2Entry::Subclusters { bitmap, .. } => Some(L2Entry::Subclusters {
                host: None,
                copied: false,
                bitmap: SubclusterBitmap {
                    allocated: 0,
                    zero: bitmap.zero | bitmap.allocated,
                },
            }),
            _ if self.context.version == Version::V3 => Some(L2Entry::Zero {
                host: None,
                copied: false,
            }),
            _ if !self.has_backing => Some(L2Entry::Unallocated),
            _ => None,
        }
    }

    /// An entry at which every reader stops. What it may mean keeps its clusters.
    fn unreadable(&self, raw: u64, bitmap: u64, error: &FormatError) -> Judged {
        if matches!(error, FormatError::Unaligned { .. })
            && let Some((raw, bitmap)) = self.without_place(raw, bitmap)
        {
            return Judged {
                raw,
                bitmap,
                refers: None,
                flag: Flag::AsItIs,
                emptied: false,
                left: None,
            };
        }
        let size = self.size();
        let offset = l2::offset_bits(raw);
        let hopeless = self.context.data_file
            || offset == 0
            || matches!(error, FormatError::BadCompressedEntry { .. });
        let inside = !hopeless && !past_end(offset, size, self.len, size);
        let aligned = offset.is_multiple_of(size);
        let clusters = self.context.geometry.clusters_of(HostOffset(offset), size);
        Judged {
            raw,
            bitmap,
            refers: inside.then_some(clusters),
            flag: if inside && aligned {
                Flag::Counts(clusters.first)
            } else {
                Flag::AsItIs
            },
            emptied: false,
            left: Some(kind_of(error)),
        }
    }

    /// An entry that keeps a place for zeros, without the place: what lies there shows nowhere.
    fn without_place(&self, raw: u64, bitmap: u64) -> Option<(u64, u64)> {
        if self.context.data_file {
            return None;
        }
        let without = l2::with_copied_flag(raw & !l2::offset_bits(raw), false);
        // Subclusters with data and no place for it do not parse.
        let entry = L2Entry::parse(without, bitmap, self.context).ok()?;
        let shows_none = match entry {
            L2Entry::Zero { .. } => true,
            _ => self.context.geometry.extended_l2(),
        };
        if !shows_none {
            return None;
        }
        entry.encode(self.context).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qcow2::Geometry;

    fn clusters(first: u64, count: u64) -> HostClusters {
        HostClusters {
            first: HostCluster(first),
            count,
        }
    }

    fn rules(version: Version, extended: bool, has_backing: bool) -> EntryRules {
        let bits = if extended { 14 } else { 12 };
        EntryRules {
            context: L2Context {
                geometry: Geometry::new(bits, 4, extended).unwrap(),
                version,
                data_file: false,
            },
            len: 1 << 20,
            has_backing,
        }
    }

    #[test]
    fn a_good_entry_stays_and_counts_its_cluster() {
        let judged = rules(Version::V3, false, false).judge(1 << 63 | 0x5000, 0);
        assert_eq!(
            (judged.raw, judged.refers, judged.flag),
            (
                1 << 63 | 0x5000,
                Some(clusters(5, 1)),
                Flag::Counts(HostCluster(5))
            )
        );
        assert_eq!((judged.emptied, judged.left), (false, None));
    }

    #[test]
    fn reserved_bits_go_and_the_place_stays() {
        let judged = rules(Version::V3, false, false).judge(1 << 60 | 0x5000 | 2, 0);
        assert_eq!((judged.raw, judged.refers), (0x5000, Some(clusters(5, 1))));
    }

    #[test]
    fn what_lay_past_the_end_reads_as_zeros_without_a_place() {
        let past = 1 << 63 | 1 << 30;
        assert_eq!(rules(Version::V3, false, true).judge(past, 0).raw, 1);
        assert_eq!(rules(Version::V2, false, false).judge(past, 0).raw, 0);
        let stays = rules(Version::V2, false, true).judge(past, 0);
        assert_eq!((stays.raw, stays.left), (past, Some(FindingKind::PastEnd)));
        // Data in subclusters 0 and 1, zeros in 2, the rest not there.
        let mixed = rules(Version::V3, true, true).judge(past, 4 << 32 | 3);
        assert_eq!((mixed.raw, mixed.bitmap), (0, 7 << 32));
        assert!(mixed.emptied);
    }

    #[test]
    fn zeros_that_are_kept_an_unaligned_place_lose_it() {
        let judged = rules(Version::V3, false, true).judge(1 << 63 | 0x5201, 0);
        assert_eq!((judged.raw, judged.refers, judged.left), (1, None, None));
        let extended = rules(Version::V3, true, true);
        // Zeros in subclusters 0 and 1, the rest shows what lies below.
        let judged = extended.judge(1 << 63 | 0x8200, 3 << 32);
        assert_eq!((judged.raw, judged.bitmap), (0, 3 << 32));
        assert_eq!((judged.refers, judged.left), (None, None));
        // With data in any of them it stays.
        let judged = extended.judge(1 << 63 | 0x8200, 3 << 32 | 4);
        assert_eq!(judged.raw, 1 << 63 | 0x8200);
        assert_eq!(judged.left, Some(FindingKind::Unaligned));
    }

    #[test]
    fn what_no_reader_reads_is_left_and_keeps_its_clusters() {
        let rules = rules(Version::V3, false, false);
        let judged = rules.judge(0x5200, 0);
        assert_eq!(
            (judged.raw, judged.refers, judged.left),
            (0x5200, Some(clusters(5, 2)), Some(FindingKind::Unaligned))
        );
        assert_eq!(judged.flag, Flag::AsItIs);
    }
}
