//! Where a logical volume lies on the physical volumes of its group; what it is, where it is not read.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::block::{Place, Segment as Piece};
use crate::error::{Error, Result};

use super::error::damaged;
use super::group::{Group, Segment, Volume};

/// Logical volumes of a group at the most.
const MOST_VOLUMES: usize = 1024;
/// Pieces of the physical volumes that one that is not read takes.
const MOST_PIECES: usize = 1 << 16;

/// What is said of volumes by the kind of their segments. Of one with no name here it is told that it is not linear.
static KINDS: [(&str, &str); 15] = [
    ("cache", "LVM cached volume"),
    ("cache-pool", "LVM cache pool"),
    ("error", "LVM volume without storage"),
    ("integrity", "LVM volume with integrity"),
    ("mirror", "LVM mirror"),
    ("raid", "LVM RAID"),
    ("snapshot", "LVM snapshot"),
    ("striped", "LVM striped volume"),
    ("thin", "LVM thin volume"),
    ("thin-pool", "LVM thin pool"),
    ("vdo", "LVM VDO volume"),
    ("vdo-pool", "LVM VDO pool"),
    ("writecache", "LVM volume with a write cache"),
    ("zero", "LVM volume without storage"),
    ("", "LVM volume that is not linear"),
];
const SNAPSHOT: &str = "LVM snapshot";
const MERGING: &str = "LVM volume that a snapshot is merged into";
const MOVING: &str = "LVM volume that is being moved";
const MISSING: &str = "LVM volume with a missing physical volume";

/// A logical volume.
#[derive(Debug)]
pub(crate) struct Logical {
    /// Its name in the group.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Where it lies on the physical volumes, or what it may depend on there if it is not read.
    pub(crate) place: Place,
    /// What it is, where it is not read.
    pub(crate) not_read: Option<NotRead>,
}

/// Why a logical volume is not read.
#[derive(Debug)]
pub(crate) enum NotRead {
    /// It is of another kind: which.
    Kind(&'static str),
    /// What its group says of it cannot be.
    Damaged(Error),
}

/// Where each physical volume is, by its identifier.
pub(crate) type Physical = HashMap<String, Range<u64>>;

/// The logical volumes of a group for people, in the order of their names.
///
/// # Errors
/// When there are too many.
pub(crate) fn logical(group: &Group, physical: &Physical) -> Result<Vec<Logical>> {
    let is_told = |volume: &&Volume| volume.is_visible && !is_of_kind(volume, "snapshot");
    let mut told: Vec<_> = group.logical.iter().filter(is_told).collect();
    if told.len() > MOST_VOLUMES {
        return Err(Error::TooMuch {
            what: "logical volumes of a group",
            most: MOST_VOLUMES as u64,
        });
    }
    let map = Map {
        group,
        physical,
        by_name: (group.logical.iter())
            .map(|volume| (volume.name.as_str(), volume))
            .collect(),
        snapshots: snapshots(group),
    };
    told.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(told.into_iter().map(|volume| map.volume(volume)).collect())
}

/// The records of snapshots by what they name and how: `("cow_store", "snap")`.
type Snapshots<'a> = HashMap<(&'a str, &'a str), Vec<&'a Volume>>;

fn snapshots(group: &Group) -> Snapshots<'_> {
    let mut found = Snapshots::new();
    for volume in &group.logical {
        let of_snapshots = |segment: &&Segment| segment.kind == "snapshot";
        let segments = volume.segments.iter().filter(of_snapshots);
        for (key, name) in segments.flat_map(|segment| &segment.names) {
            let records = found.entry((key, name)).or_default();
            // Once, whatever many of its segments say so.
            if records
                .last()
                .is_none_or(|last| !std::ptr::eq(*last, volume))
            {
                records.push(volume);
            }
        }
    }
    found
}

struct Map<'a> {
    group: &'a Group,
    physical: &'a Physical,
    by_name: HashMap<&'a str, &'a Volume>,
    snapshots: Snapshots<'a>,
}

impl<'a> Map<'a> {
    fn volume(&self, volume: &'a Volume) -> Logical {
        let extents = volume
            .segments
            .iter()
            .map(|one| one.start.saturating_add(one.count))
            .max();
        let (place, not_read) = match self.kind(volume) {
            Some(kind) => (self.reached(volume), Some(NotRead::Kind(kind))),
            None => match self.linear(volume) {
                Ok(place) => (place, None),
                Err(error) => (self.reached(volume), Some(NotRead::Damaged(error))),
            },
        };
        Logical {
            name: volume.name.clone(),
            len: extents.unwrap_or(0).saturating_mul(self.group.extent),
            place,
            not_read,
        }
    }

    /// What a volume is, if it is not linear on physical volumes that are there.
    fn kind(&self, volume: &'a Volume) -> Option<&'static str> {
        if !self.snapshots(volume, "cow_store").is_empty() {
            return Some(SNAPSHOT);
        }
        if self.merging(volume).next().is_some() {
            return Some(MERGING);
        }
        volume.segments.iter().find_map(|segment| {
            let [stripe] = segment.stripes.as_slice() else {
                return Some(kind_words(&segment.kind));
            };
            if !matches!(segment.kind.as_str(), "striped" | "linear") {
                return Some(kind_words(&segment.kind));
            }
            match self.group.physical.get(&stripe.on) {
                Some(known) if self.physical.contains_key(&known.id) => None,
                None if self.by_name.contains_key(stripe.on.as_str()) => Some(MOVING),
                _ => Some(MISSING),
            }
        })
    }

    /// The records of snapshots that name a volume by this key.
    fn snapshots<'m>(&'m self, named: &'a Volume, key: &'a str) -> &'m [&'a Volume] {
        let records = self.snapshots.get(&(key, named.name.as_str()));
        records.map_or(&[], Vec::as_slice)
    }

    /// The records of snapshots that are being merged into a volume.
    fn merging(&self, origin: &'a Volume) -> impl Iterator<Item = &'a Volume> {
        let is_merging =
            |segment: &Segment| segment.names.iter().any(|(key, _)| key == "merging_store");
        let records = self.snapshots(origin, "origin").iter().copied();
        records.filter(move |volume| volume.segments.iter().any(is_merging))
    }

    /// The place of a linear volume.
    fn linear(&self, volume: &Volume) -> Result<Place> {
        let bad = |problem| damaged(&format!("logical volume {}", volume.name), 0, problem);
        let mut segments: Vec<&Segment> = volume.segments.iter().collect();
        segments.sort_by_key(|segment| segment.start);
        let (mut at, mut pieces) = (0, Vec::with_capacity(segments.len()));
        for segment in segments {
            if segment.start != at || segment.count == 0 {
                return Err(bad("its segments overlap or leave gaps"));
            }
            at = at.saturating_add(segment.count);
            let disk = self
                .pieces(segment)
                .ok_or_else(|| bad("a segment lies outside of its physical volume"))?;
            let volume = segment.start.checked_mul(self.group.extent);
            let [range] = disk.as_slice() else { continue };
            pieces.push(Piece {
                volume: volume.ok_or_else(|| bad("it is too large"))?,
                disk: range.start,
                len: range.end - range.start,
            });
        }
        Ok(Place::new(pieces))
    }

    /// The ranges of physical volumes that a segment says it is stored in; none where one of them cannot be.
    fn pieces(&self, segment: &Segment) -> Option<Vec<Range<u64>>> {
        let stripes = u64::try_from(segment.stripes.len()).ok()?;
        let each = segment.count.checked_div(stripes)?;
        let mut found = Vec::new();
        for stripe in &segment.stripes {
            let Some(physical) = self.group.physical.get(&stripe.on) else {
                continue;
            };
            let Some(whole) = self.physical.get(&physical.id) else {
                continue;
            };
            if stripe.start.checked_add(each)? > physical.count {
                return None;
            }
            let start = stripe
                .start
                .checked_mul(self.group.extent)?
                .checked_add(physical.start)?;
            let end = each.checked_mul(self.group.extent)?.checked_add(start)?;
            if end > whole.end - whole.start {
                return None;
            }
            found.push(whole.start + start..whole.start + end);
        }
        Some(found)
    }

    /// What a volume that is not read may depend on, in no order that means anything: all that it and the volumes it
    /// names are stored in.
    fn reached(&self, volume: &'a Volume) -> Place {
        let mut met: HashSet<&str> = HashSet::new();
        let mut waiting: Vec<&Volume> = vec![volume];
        waiting.extend(self.snapshots(volume, "cow_store"));
        waiting.extend(self.merging(volume));
        let (mut at, mut pieces) = (0_u64, Vec::new());
        while let Some(one) = waiting.pop() {
            if !met.insert(&one.name) {
                continue;
            }
            for segment in &one.segments {
                for range in self.pieces(segment).unwrap_or_default() {
                    let len = range.end - range.start;
                    pieces.push(Piece {
                        volume: at,
                        disk: range.start,
                        len,
                    });
                    at = at.saturating_add(len);
                }
                let named = segment
                    .names
                    .iter()
                    .filter_map(|(_, name)| self.by_name.get(name.as_str()));
                waiting.extend(named);
            }
            if pieces.len() > MOST_PIECES || waiting.len() > MOST_PIECES {
                break;
            }
        }
        Place::new(pieces)
    }
}

fn is_of_kind(volume: &Volume, kind: &str) -> bool {
    volume
        .segments
        .first()
        .is_some_and(|segment| segment.kind == kind)
}

/// The words for a kind of segment; `raid5_ls` is a kind of RAID.
fn kind_words(kind: &str) -> &'static str {
    let found = KINDS.iter().find(|(known, _)| {
        *known == kind || *known == "raid" && kind.starts_with("raid") || known.is_empty()
    });
    found.map_or("", |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(volumes: &str) -> Group {
        let text = format!(
            "vg {{ id=\"x\" seqno=1 extent_size=8\n\
             physical_volumes {{ pv0 {{ id=\"a-b\" pe_start=16 pe_count=10 }} pv1 {{ id=\"c\" pe_start=0 pe_count=5 }}\n\
             pv2 {{ id=\"gone\" pe_start=0 pe_count=5 }} }}\n\
             logical_volumes {{ {volumes} }} }}"
        );
        Group::parse(text.as_bytes(), 0).unwrap()
    }

    fn told(volumes: &str) -> Vec<Logical> {
        let physical = [
            ("ab".to_owned(), 0..60_000),
            ("c".to_owned(), 60_000..90_000),
        ];
        logical(&group(volumes), &physical.into()).unwrap()
    }

    const SHOWN: &str = "status=[\"READ\",\"VISIBLE\"]";

    fn segment(number: u32, start: u32, count: u32, rest: &str) -> String {
        format!("segment{number} {{ start_extent={start} extent_count={count} {rest} }}")
    }

    fn linear(number: u32, start: u32, count: u32, on: &str, from: u32) -> String {
        let rest = format!("type=\"striped\" stripe_count=1 stripes=[\"{on}\",{from}]");
        segment(number, start, count, &rest)
    }

    fn not_read(volume: &Logical) -> String {
        match &volume.not_read {
            None => String::new(),
            Some(NotRead::Kind(kind)) => (*kind).to_owned(),
            Some(NotRead::Damaged(error)) => error.to_string(),
        }
    }

    #[test]
    fn segments_on_two_physical_volumes_are_one_volume() {
        let text = format!(
            "b {{ {SHOWN} {} {} }} a {{ {SHOWN} {} }} hidden {{ {} }}",
            linear(2, 2, 3, "pv1", 1),
            linear(1, 0, 2, "pv0", 4),
            linear(1, 0, 1, "pv0", 0),
            linear(1, 0, 1, "pv0", 1),
        );
        let found = told(&text);
        let [a, b] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            (a.name.as_str(), a.len, not_read(a)),
            ("a", 4096, String::new())
        );
        let want = [
            Piece {
                volume: 0,
                disk: 8192 + 4 * 4096,
                len: 8192,
            },
            Piece {
                volume: 8192,
                disk: 60_000 + 4096,
                len: 3 * 4096,
            },
        ];
        assert_eq!((b.len, b.place.segments()), (5 * 4096, &want[..]));
    }

    #[test]
    fn what_is_not_linear_is_named_with_all_it_is_stored_in() {
        let text = format!(
            "pool {{ {SHOWN} {} }} data {{ {} }} thin {{ {SHOWN} {} }}",
            segment(
                1,
                0,
                2,
                "type=\"thin-pool\" metadata=\"data\" pool=\"data\""
            ),
            linear(1, 0, 2, "pv0", 3),
            segment(1, 0, 1000, "type=\"thin\" thin_pool=\"pool\""),
        );
        let found = told(&text);
        let words: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), not_read(one)))
            .collect();
        assert_eq!(
            words,
            [
                ("pool", "LVM thin pool".to_owned()),
                ("thin", "LVM thin volume".to_owned())
            ]
        );
        for one in &found {
            let [piece] = one.place.segments() else {
                panic!("{one:?}")
            };
            assert_eq!((piece.disk, piece.len), (8192 + 3 * 4096, 8192));
        }
        assert_eq!(found[1].len, 1000 * 4096);
        let cases = [
            ("type=\"raid1\" raids=[\"x\",\"y\"]", "LVM RAID"),
            ("type=\"mirror\" mirrors=[\"x\",0]", "LVM mirror"),
            ("type=\"cache\" origin=\"x\"", "LVM cached volume"),
            (
                "type=\"striped\" stripes=[\"pv0\",0,\"pv1\",0]",
                "LVM striped volume",
            ),
            ("type=\"striped\" stripes=[\"pv2\",0]", MISSING),
            ("type=\"striped\" stripes=[\"pv9\",0]", MISSING),
            ("type=\"striped\" stripes=[\"x\",0]", MOVING),
            ("type=\"of-later\"", "LVM volume that is not linear"),
        ];
        for (segments, want) in cases {
            let text = format!("x {{ {SHOWN} {} }}", segment(1, 0, 2, segments));
            assert_eq!(not_read(&told(&text)[0]), want);
        }
    }

    #[test]
    fn the_origin_of_a_snapshot_is_read_and_the_snapshot_named() {
        let with = |key: &str| {
            format!(
                "root {{ {SHOWN} {} }} snap {{ {SHOWN} {} }} snapshot0 {{ {SHOWN} {} }}",
                linear(1, 0, 2, "pv0", 0),
                linear(1, 0, 1, "pv0", 2),
                segment(
                    1,
                    0,
                    2,
                    &format!("type=\"snapshot\" origin=\"root\" {key}=\"snap\"")
                ),
            )
        };
        let found = told(&with("cow_store"));
        let words: Vec<_> = found.iter().map(not_read).collect();
        assert_eq!(words, ["", "LVM snapshot"]);
        // It changes with its origin.
        assert_eq!(found[1].place.len(), 3 * 4096);
        assert_eq!(not_read(&told(&with("merging_store"))[0]), MERGING);
    }

    /// Where each were compared with all others, this would take minutes.
    #[test]
    fn a_great_many_records_of_snapshots_are_looked_through_once() {
        let of = |number: usize, rest: &str| {
            format!("{rest}{number} {{ {} }}", {
                let name = format!("type=\"snapshot\" origin=\"v{number}\" cow_store=\"none\"");
                segment(1, 0, 1, &name)
            })
        };
        let mut text: Vec<String> = (0..25_000).map(|number| of(number, "s")).collect();
        let one = linear(1, 0, 1, "pv0", 0);
        text.extend((0..MOST_VOLUMES).map(|number| format!("v{number} {{ {SHOWN} {one} }}")));
        let group = group(&text.join("\n"));
        let began = std::time::Instant::now();
        let found = logical(&group, &Physical::new()).unwrap();
        assert_eq!(found.len(), MOST_VOLUMES);
        let took = began.elapsed();
        assert!(took.as_secs_f64() < 0.5, "{took:?}");
    }

    #[test]
    fn segments_that_cannot_be_are_damage() {
        for (segments, want) in [
            (linear(1, 0, 11, "pv0", 0), "outside of its physical volume"),
            (linear(1, 0, 2, "pv0", 9), "outside of its physical volume"),
            (
                linear(1, 0, 2, "pv0", u32::MAX),
                "outside of its physical volume",
            ),
            (linear(1, 1, 2, "pv0", 0), "overlap or leave gaps"),
            (linear(1, 0, 0, "pv0", 0), "overlap or leave gaps"),
            (
                linear(1, 0, 2, "pv0", 0) + &linear(2, 1, 2, "pv0", 2),
                "overlap or leave gaps",
            ),
        ] {
            let found = told(&format!("x {{ {SHOWN} {segments} }}"));
            assert!(not_read(&found[0]).contains(want), "{segments}: {found:?}");
        }
        // Volumes that name each other end.
        let text = format!(
            "x {{ {SHOWN} {} }} y {{ {} }}",
            segment(1, 0, 2, "type=\"cache\" origin=\"y\""),
            segment(1, 0, 2, "type=\"cache\" origin=\"x\""),
        );
        assert!(told(&text)[0].place.is_empty());
    }
}
