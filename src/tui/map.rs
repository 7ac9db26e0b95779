//! Where the bytes of an image are: gathered once into a strip, sums and the first runs, so that a
//! screen of any size can be drawn from it. Reading the tables is the workers' business.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::image::{MapRun, MapState};
use crate::ops::{self, ReadOptions};

/// Pieces of the strip.
pub(crate) const SEGMENTS: usize = 512;
/// Runs kept to be listed; the others are only counted.
const KEPT: usize = 2000;

/// Bytes of a piece of the disk, by where they come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapSegment {
    /// Data of the image's own.
    pub own: u64,
    /// Data of a layer below.
    pub below: u64,
    /// Zeros that the image itself writes over what is below.
    pub zeroed: u64,
}

/// Where the bytes of one image are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapSeen {
    /// The image.
    pub path: PathBuf,
    /// Bytes of its disk.
    pub size: u64,
    /// The disk in equal pieces.
    pub strip: Vec<MapSegment>,
    /// Bytes of data that each layer gives, the image itself first.
    pub layers: Vec<(PathBuf, u64)>,
    /// The first runs of all.
    pub runs: Vec<MapRun>,
    /// How many runs there are.
    pub count: u64,
    /// The first runs that the image itself holds.
    pub own: Vec<MapRun>,
    /// How many of those there are.
    pub own_count: u64,
    /// Bytes of zeros that the image itself holds.
    pub zeroed: u64,
    /// What stood in the way of a whole map.
    pub missing: Option<String>,
}

impl MapSeen {
    /// Reads the tables of an image and of what it is built on; none if `goes_on` says that nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// A sentence, if it cannot be read.
    pub fn look(
        host: &dyn Host,
        path: &Path,
        options: &ReadOptions,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, String> {
        let reading = ops::open_to_read(host, path, options).map_err(|error| error.to_string())?;
        let chain = &reading.chain;
        let size = chain.virtual_size();
        let layers = chain.layers().iter();
        let mut seen = Self {
            path: path.to_path_buf(),
            size,
            strip: vec![MapSegment::default(); SEGMENTS],
            layers: layers
                .map(|layer| (layer.path().to_path_buf(), 0))
                .collect(),
            missing: reading.missing.as_ref().map(ToString::to_string),
            ..Self::default()
        };
        for run in chain.map(0, u64::MAX) {
            if seen.count.is_multiple_of(1024) && !goes_on() {
                return Ok(None);
            }
            seen.add(run.map_err(|error| error.to_string())?);
        }
        Ok(Some(seen))
    }

    fn add(&mut self, run: MapRun) {
        self.count += 1;
        if self.runs.len() < KEPT {
            self.runs.push(run);
        }
        let is_data = matches!(run.state, MapState::Data | MapState::Compressed);
        let is_own = run.layer == 0 && run.state.is_present();
        if is_own {
            self.own_count += 1;
            if self.own.len() < KEPT {
                self.own.push(run);
            }
            if !is_data {
                self.zeroed = self.zeroed.saturating_add(run.len);
            }
        }
        if is_data && let Some((_, bytes)) = self.layers.get_mut(run.layer) {
            *bytes = bytes.saturating_add(run.len);
        }
        if is_data || is_own {
            self.paint(run, is_data);
        }
    }

    /// Adds a run to the pieces it lies in.
    fn paint(&mut self, run: MapRun, is_data: bool) {
        let pieces = u64::try_from(SEGMENTS).unwrap_or(u64::MAX);
        let each = self.size.div_ceil(pieces).max(1);
        let (first, last) = (run.start / each, run.end().saturating_sub(1) / each);
        for at in first..=last.min(pieces - 1) {
            let (from, to) = (at * each, (at + 1).saturating_mul(each));
            let bytes = run.end().min(to).saturating_sub(run.start.max(from));
            let Some(piece) = usize::try_from(at)
                .ok()
                .and_then(|at| self.strip.get_mut(at))
            else {
                break;
            };
            let sum = match (is_data, run.layer) {
                (true, 0) => &mut piece.own,
                (true, _) => &mut piece.below,
                (false, _) => &mut piece.zeroed,
            };
            *sum = sum.saturating_add(bytes);
        }
    }

    /// The strip in so many columns: for each, its bytes and how many it stands for.
    #[must_use]
    pub fn columns(&self, count: usize) -> Vec<(MapSegment, u64)> {
        let each = self
            .size
            .div_ceil(u64::try_from(SEGMENTS).unwrap_or(1))
            .max(1);
        (0..count)
            .map(|column| {
                let from = column * SEGMENTS / count.max(1);
                let to = ((column + 1) * SEGMENTS / count.max(1))
                    .max(from + 1)
                    .min(SEGMENTS);
                let part = self.strip.get(from..to).unwrap_or_default();
                let mut sum = MapSegment::default();
                for piece in part {
                    sum.own = sum.own.saturating_add(piece.own);
                    sum.below = sum.below.saturating_add(piece.below);
                    sum.zeroed = sum.zeroed.saturating_add(piece.zeroed);
                }
                let pieces = u64::try_from(part.len()).unwrap_or(1);
                (sum, each.saturating_mul(pieces))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, len: u64, layer: usize, state: MapState) -> MapRun {
        MapRun {
            start,
            len,
            layer,
            state,
            offset: None,
        }
    }

    fn seen() -> MapSeen {
        let pieces = u64::try_from(SEGMENTS).unwrap();
        let mut seen = MapSeen {
            size: pieces * 100,
            strip: vec![MapSegment::default(); SEGMENTS],
            layers: vec![("top".into(), 0), ("base".into(), 0)],
            ..MapSeen::default()
        };
        seen.add(run(0, 150, 0, MapState::Data));
        seen.add(run(150, 50, 0, MapState::Zero));
        seen.add(run(200, 100, 1, MapState::Compressed));
        seen.add(run(300, pieces * 100 - 300, 1, MapState::Unallocated));
        seen
    }

    #[test]
    fn a_run_is_painted_into_the_pieces_it_lies_in() {
        let seen = seen();
        let piece = |own, below, zeroed| MapSegment { own, below, zeroed };
        assert_eq!(
            seen.strip[..4],
            [
                piece(100, 0, 0),
                piece(50, 0, 50),
                piece(0, 100, 0),
                piece(0, 0, 0)
            ]
        );
        assert_eq!((seen.count, seen.own_count, seen.zeroed), (4, 2, 50));
        assert_eq!(seen.layers, [("top".into(), 150), ("base".into(), 100)]);
    }

    #[test]
    fn columns_add_up_whatever_their_number() {
        let seen = seen();
        for count in [1, 7, 60, 256, 512] {
            let columns = seen.columns(count);
            let own: u64 = columns.iter().map(|(piece, _)| piece.own).sum();
            let all: u64 = columns.iter().map(|(_, all)| all).sum();
            assert_eq!((own, all), (150, seen.size), "{count}");
        }
        assert!(seen.columns(0).is_empty());
    }
}
