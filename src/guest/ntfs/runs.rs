//! Where a stream that is not resident is stored: mapping pairs.

use super::error::Checked;
use crate::error::{Error, Result};

/// The runs that one stream may have.
const MOST_RUNS: usize = 1 << 20;

/// Clusters of a stream that follow each other on the volume, or are a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first, counted from the start of the stream (VCN).
    pub(super) vcn: u64,
    /// The first on the volume (LCN); none of a hole.
    pub(super) lcn: Option<u64>,
    /// How many.
    pub(super) count: u64,
}

/// Decodes mapping pairs from the cluster `vcn` of the stream on. `clusters` are those of the volume.
///
/// # Errors
/// What is wrong with them, in words.
pub(super) fn decode(pairs: &[u8], vcn: u64, clusters: u64) -> Checked<Vec<Run>> {
    let mut runs = Vec::new();
    let mut rest = pairs;
    let mut next = vcn;
    let mut lcn = 0_i64;
    while let Some((header, after)) = rest.split_first() {
        if *header == 0 {
            break;
        }
        let (count_len, lcn_len) = (usize::from(header & 0xf), usize::from(header >> 4));
        let Some((number, after)) = after.split_at_checked(count_len) else {
            return Err("mapping pairs end too early".to_owned());
        };
        let Some((delta, after)) = after.split_at_checked(lcn_len) else {
            return Err("mapping pairs end too early".to_owned());
        };
        rest = after;
        let count = signed(number).and_then(|count| u64::try_from(count).ok());
        let Some(count) = count.filter(|count| *count > 0) else {
            return Err("a run without a length".to_owned());
        };
        let place = match delta {
            [] => None,
            delta => {
                lcn = signed(delta)
                    .and_then(|delta| lcn.checked_add(delta))
                    .ok_or("a run that is nowhere")?;
                Some(u64::try_from(lcn).map_err(|_| format!("a run at cluster {lcn}"))?)
            }
        };
        let end = next.checked_add(count).filter(|end| *end < 1 << 56);
        let end = end.ok_or_else(|| format!("a run of {count} clusters"))?;
        if place.is_some_and(|place| place.saturating_add(count) > clusters) {
            return Err(format!("a run of {count} clusters at cluster {lcn}"));
        }
        runs.push(Run {
            vcn: next,
            lcn: place,
            count,
        });
        next = end;
    }
    Ok(runs)
}

/// A little-endian number of up to eight bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    let last = bytes.last()?;
    let fill = if last & 0x80 == 0 { 0 } else { 0xff };
    let mut number = [fill; 8];
    number.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(number))
}

/// Adds what follows to the runs of a stream.
///
/// # Errors
/// When there are too many.
pub(super) fn append(runs: &mut Vec<Run>, more: Vec<Run>) -> Result<()> {
    if runs.len().saturating_add(more.len()) > MOST_RUNS {
        return Err(Error::TooMuch {
            what: "fragments of a file",
            most: MOST_RUNS as u64,
        });
    }
    runs.extend(more);
    Ok(())
}

/// One more than the last cluster of the stream that a run is told for.
pub(super) fn end(runs: &[Run]) -> u64 {
    runs.last().map_or(0, |run| run.vcn + run.count)
}

/// The parts of the runs that are within these clusters of the stream, in order.
pub(super) fn within(runs: &[Run], vcns: std::ops::Range<u64>) -> impl Iterator<Item = Run> + '_ {
    let first = runs.partition_point(|run| run.vcn + run.count <= vcns.start);
    runs.iter()
        .skip(first)
        .take_while(move |run| run.vcn < vcns.end)
        .map(move |run| {
            let start = run.vcn.max(vcns.start);
            let end = (run.vcn + run.count).min(vcns.end);
            Run {
                vcn: start,
                lcn: run.lcn.map(|lcn| lcn + (start - run.vcn)),
                count: end - start,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(vcn: u64, lcn: Option<u64>, count: u64) -> Run {
        Run { vcn, lcn, count }
    }

    #[test]
    fn mapping_pairs_count_from_the_run_before() {
        // 0x18 clusters at 0x5634, a hole of 0x20, 0x30 clusters 0x100 below the first.
        let pairs = [
            0x21, 0x18, 0x34, 0x56, 0x01, 0x20, 0x22, 0x30, 0x00, 0x00, 0xff, 0, 0xff,
        ];
        let runs = decode(&pairs, 5, 1 << 20).unwrap();
        let want = [
            run(5, Some(0x5634), 0x18),
            run(0x1d, None, 0x20),
            run(0x3d, Some(0x5534), 0x30),
        ];
        assert_eq!(runs, want);
        assert_eq!(end(&runs), 0x6d);
        assert_eq!(
            within(&runs, 0x1c..0x3e).collect::<Vec<_>>(),
            [
                run(0x1c, Some(0x564b), 1),
                run(0x1d, None, 0x20),
                run(0x3d, Some(0x5534), 1)
            ]
        );
    }

    #[test]
    fn mapping_pairs_that_lead_nowhere_are_refused() {
        for pairs in [
            &[0x21, 0x18, 0x34][..],
            &[0x11, 0, 1],
            &[0x10, 1],
            &[0x11, 1, 0xff],
            &[0x11, 2, 99],
            &[0x9f; 20],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(decode(pairs, 0, 100).is_err(), "{pairs:?}");
        }
    }
}
