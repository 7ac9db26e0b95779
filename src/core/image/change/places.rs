//! Where two chains keep the bytes that they show. What is in the same place of the same file is equal, and nobody has
//! to read it.

use std::ops::Range;
use std::sync::Arc;

use crate::host::FileId;
use crate::image::error::Result;
use crate::image::read::runs::{Run, Runs};
use crate::image::{Chain, Error, ErrorKind, Layer, ProgressSink, State};

/// Data is read in whole sectors of this many bytes.
const SECTOR: u64 = 512;

/// Calls `each` for the runs of guest bytes that two chains keep in different places, in order, up to the end of the
/// longer one: all other bytes are equal. These may be equal as well: [`crate::image::compare`] reads them.
///
/// # Errors
/// When a table cannot be read, a layer could not be opened, or it was stopped.
pub fn differing_places(
    one: &Chain,
    other: &Chain,
    progress: &dyn ProgressSink,
    each: &mut dyn FnMut(Range<u64>),
) -> Result<()> {
    let mut places = PlacePairs::new(one, other)?;
    while let Some(pair) = places.next(u64::MAX)? {
        if !progress.advance(pair.len) {
            return Err(Error::new(other.path(), ErrorKind::Cancelled));
        }
        if !pair.is_same() {
            each(pair.at..pair.at + pair.len);
        }
    }
    Ok(())
}

/// A run of guest bytes, and where it is on each side; none where it is zero.
pub(super) struct PlacePair<'a> {
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) sides: [Option<Stored<'a>>; 2],
}

impl PlacePair<'_> {
    /// Whether both sides show the same bytes there, as is known without reading them.
    pub(super) fn is_same(&self) -> bool {
        match self.sides {
            [None, None] => true,
            [Some(one), Some(other)] => same_place(one, other),
            _ => false,
        }
    }
}

/// The runs of two chains side by side.
pub(super) struct PlacePairs<'a> {
    sides: [Side<'a>; 2],
    at: u64,
    size: u64,
}

impl<'a> PlacePairs<'a> {
    /// Of these two, from the first byte on.
    ///
    /// # Errors
    /// When a file cannot be asked which it is.
    pub(super) fn new(one: &'a Chain, other: &'a Chain) -> Result<Self> {
        Ok(Self {
            sides: [Side::new(one)?, Side::new(other)?],
            at: 0,
            size: one.virtual_size().max(other.virtual_size()),
        })
    }

    /// Up to where they were told, in guest bytes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether all of them were told.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.size
    }

    /// The next run; one that is not surely the same has `most` bytes at the most. None at the end.
    ///
    /// # Errors
    /// When a table cannot be read, or a layer could not be opened.
    pub(super) fn next(&mut self, most: u64) -> Result<Option<PlacePair<'a>>> {
        if self.is_at_end() {
            return Ok(None);
        }
        let at = self.at;
        let [one, other] = &mut self.sides;
        let (end_of_one, one) = one.at(at)?;
        let (end_of_other, other) = other.at(at)?;
        let end = end_of_one.min(end_of_other).min(self.size);
        let mut pair = PlacePair {
            at,
            len: end - at,
            sides: [one, other],
        };
        if !pair.is_same() {
            pair.len = pair.len.min(most);
        }
        self.at += pair.len;
        Ok(Some(pair))
    }
}

/// One of the two chains.
struct Side<'a> {
    chain: &'a Chain,
    runs: Runs<'a>,
    /// The files that hold the layers' guest bytes.
    files: Vec<FileId>,
    run: Option<Run>,
}

/// Where the bytes of a piece are to be read on one side; none where they are zero.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) layer: &'a Arc<Layer>,
    file: FileId,
    pub(super) state: State,
}

impl<'a> Side<'a> {
    fn new(chain: &'a Chain) -> Result<Self> {
        let files = chain.layers().iter().map(|layer| {
            let file = layer.stored_in();
            Ok(file.stat("stat")?.id)
        });
        Ok(Self {
            chain,
            runs: Runs::new(chain, 0, u64::MAX),
            files: files.collect::<Result<_>>()?,
            run: None,
        })
    }

    /// What is stored at `at`, and how far that goes, data in whole sectors; past the chain's end there are
    /// zeros.
    fn at(&mut self, at: u64) -> Result<(u64, Option<Stored<'a>>)> {
        while self.run.is_none_or(|run| run.placed.extent.end() <= at) {
            match self.runs.next() {
                Some(run) => self.run = Some(run?),
                None => return Ok((u64::MAX, None)),
            }
        }
        let Some(run) = self.run else {
            return Ok((u64::MAX, None));
        };
        let extent = run.placed.extent;
        let layers = self.chain.layers();
        if run.unknown {
            return Err(Error::new(
                self.chain.layer(run.layer)?.path(),
                ErrorKind::Backing("it could not be opened".to_owned()),
            ));
        }
        let stored = match extent.state {
            State::Unallocated | State::Zero => None,
            state @ (State::Data { .. } | State::Compressed { .. }) => layers
                .get(run.layer)
                .zip(self.files.get(run.layer))
                .map(|(layer, file)| Stored {
                    layer,
                    file: *file,
                    state: state.skip(at - extent.start),
                }),
        };
        // The data of a raw file may end inside a sector, the rest of which is read with it as zeros.
        let end = match stored {
            Some(_) => extent.end().checked_next_multiple_of(SECTOR),
            None => None,
        };
        Ok((end.unwrap_or(extent.end()), stored))
    }
}

/// Whether two places hold the same bytes without looking at them: the same byte of the same file on,
/// or the same compressed cluster.
fn same_place(one: Stored<'_>, other: Stored<'_>) -> bool {
    let alike = match (one.state, other.state) {
        (State::Compressed { .. }, State::Compressed { .. }) => {
            // Only one image says how clusters in its file are compressed, and how large they are.
            matches!((&**one.layer, &**other.layer), (Layer::Qcow2(a), Layer::Qcow2(b))
                if a.header().compression == b.header().compression
                    && a.header().geometry == b.header().geometry)
        }
        (State::Data { .. }, State::Data { .. }) => true,
        _ => false,
    };
    alike && one.file == other.file && one.state == other.state
}
