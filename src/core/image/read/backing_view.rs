//! What an image shows below itself, now or after a change, and where two such views differ as far as
//! tables tell. Nothing is written here, and no guest byte is read to find a difference.

use std::collections::HashMap;
use std::sync::Arc;

use crate::host::FileId;
use crate::image::error::Result;
use crate::image::internal::at_most;
use crate::image::{Chain, Extent, Layer, State};

/// What is seen from above: a chain, and past the end of it, where asked, another one.
///
/// An image past whose end the one above it is longer shows zeros there: so does a backing view of one chain.
#[derive(Debug, Clone)]
pub struct BackingView {
    front: Chain,
    /// Where `rest` begins, in guest bytes.
    len: u64,
    rest: Chain,
}

/// A run of guest bytes of a backing view.
#[derive(Debug, Clone)]
pub struct ViewRun {
    /// The run; never [`State::Unallocated`].
    pub extent: Extent,
    /// The layer that stores it; none where it is zero by nobody's word.
    pub layer: Option<Arc<Layer>>,
}

impl ViewRun {
    /// Whether tables alone say that it reads as zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.extent.state == State::Zero
    }

    fn clipped(self, end: u64) -> Self {
        let len = self.extent.len.min(end.saturating_sub(self.extent.start));
        Self {
            extent: Extent { len, ..self.extent },
            ..self
        }
    }
}

impl BackingView {
    /// A chain as it is.
    #[must_use]
    pub fn of(chain: Chain) -> Self {
        Self {
            front: chain,
            len: u64::MAX,
            rest: Chain::new(Vec::new()),
        }
    }

    /// Nothing: zeros everywhere.
    #[must_use]
    pub fn nothing() -> Self {
        Self::of(Chain::new(Vec::new()))
    }

    /// What `base` shows once it has received all that `merged` shows: past the end of `merged` it
    /// keeps what it has.
    #[must_use]
    pub fn merged(merged: Chain, base: Chain) -> Self {
        Self {
            len: merged.virtual_size(),
            front: merged,
            rest: base,
        }
    }

    /// The chain that decides first.
    pub(crate) fn front(&self) -> &Chain {
        &self.front
    }

    /// How long the disk is, in bytes; 0 for nothing.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.front.virtual_size().max(self.rest.virtual_size())
    }

    /// The chain that decides at `at`, and where its word ends.
    fn part(&self, at: u64) -> (&Chain, u64) {
        if at < self.len {
            (&self.front, self.len)
        } else {
            (&self.rest, u64::MAX)
        }
    }

    /// Reads guest bytes; past the end they are zero.
    ///
    /// # Errors
    /// As [`Chain::read_at`].
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let front = at_most(self.len.saturating_sub(offset), buf.len());
        let (a, b) = buf.split_at_mut(front);
        self.front.read_at(a, offset)?;
        self.rest.read_at(b, offset.saturating_add(front as u64))
    }
}

/// What the layers from number `from` on show.
fn place(chain: &Chain, from: usize, start: u64, end: u64) -> Result<ViewRun> {
    let found = chain.resolve_in(from..chain.layers().len(), start, end)?;
    let layer = chain.decider(&found)?;
    let state = match found.extent.state {
        State::Unallocated => State::Zero,
        stored => stored,
    };
    Ok(ViewRun {
        extent: Extent {
            state,
            ..found.extent
        },
        layer: layer.map(Arc::clone),
    })
}

/// What  backing views show of one run.
#[derive(Debug)]
pub enum Compared {
    /// The same, for certain, up to this guest offset.
    Same(u64),
    /// Stored in different places: the bytes may be equal all the same.
    Differs {
        /// The first backing view's.
        old: ViewRun,
        /// The second one's, of the same length.
        new: ViewRun,
    },
}

/// Two views side by side. What both take from the same bytes of the same file is the same, and
/// layers that both end in are not even looked into where neither holds anything above them.
#[derive(Debug)]
pub struct BackingDiff<'a> {
    old: &'a BackingView,
    new: &'a BackingView,
    /// For each pair of parts (front or rest), how many layers both chains end in.
    tails: [[usize; 2]; 2],
    /// The file that decides which bytes each layer stores, by the layer's address: an open file stays
    /// the one it is, so it is asked once.
    stored: HashMap<usize, FileId>,
}

impl<'a> BackingDiff<'a> {
    /// Lays them side by side.
    ///
    /// # Errors
    /// When a file cannot be asked which one it is.
    pub fn new(old: &'a BackingView, new: &'a BackingView) -> Result<Self> {
        let ids = |view: &BackingView| -> Result<[Vec<Identity>; 2]> {
            Ok([identities(&view.front)?, identities(&view.rest)?])
        };
        let (a, b) = (ids(old)?, ids(new)?);
        let tail = |x: &[Identity], y: &[Identity]| {
            let pairs = x.iter().rev().zip(y.iter().rev());
            pairs.take_while(|(x, y)| x == y).count()
        };
        let mut stored = HashMap::new();
        for chain in [&old.front, &old.rest, &new.front, &new.rest] {
            for layer in chain.layers() {
                stored.insert(address(layer), stored_in(layer)?);
            }
        }
        let [old_front, old_rest] = &a;
        let [new_front, new_rest] = &b;
        Ok(Self {
            old,
            new,
            tails: [
                [tail(old_front, new_front), tail(old_front, new_rest)],
                [tail(old_rest, new_front), tail(old_rest, new_rest)],
            ],
            stored,
        })
    }

    /// Compares the bytes from `start` on, as far as one answer goes, to `end` at the latest.
    ///
    /// # Errors
    /// As [`Chain::resolve`].
    pub fn at(&self, start: u64, end: u64) -> Result<Compared> {
        let (old_chain, old_to) = self.old.part(start);
        let (new_chain, new_to) = self.new.part(start);
        let end = end.min(old_to).min(new_to);
        let [row_front, row_rest] = self.tails;
        let row = if start < self.old.len {
            row_front
        } else {
            row_rest
        };
        let [front, rest] = row;
        let tail = if start < self.new.len { front } else { rest };
        let (old_depth, new_depth) = (
            old_chain.layers().len() - tail,
            new_chain.layers().len() - tail,
        );
        let old = old_chain.resolve_in(0..old_depth, start, end)?.extent;
        let new = new_chain.resolve_in(0..new_depth, start, old.end())?.extent;
        if old.state == State::Unallocated && new.state == State::Unallocated {
            return Ok(Compared::Same(new.end()));
        }
        let end = new.end();
        let old = place(old_chain, 0, start, end)?;
        let new = place(new_chain, 0, start, old.extent.end())?;
        let end = new.extent.end();
        let old = old.clipped(end);
        if self.is_same(&old, &new) {
            return Ok(Compared::Same(end));
        }
        Ok(Compared::Differs { old, new })
    }

    /// Whether both runs begin at the same bytes of the same file, or are both zero.
    fn is_same(&self, old: &ViewRun, new: &ViewRun) -> bool {
        if old.extent.state != new.extent.state {
            return false;
        }
        if old.is_zero() {
            return true;
        }
        let (Some(a), Some(b)) = (&old.layer, &new.layer) else {
            return false;
        };
        // What lies at one place of a file is other bytes to whoever decrypts it.
        let alike = a.guest_file().is_none() == b.guest_file().is_none();
        let id = |layer| self.stored.get(&address(layer));
        Arc::ptr_eq(a, b) || alike && id(a).is_some_and(|a| id(b) == Some(a))
    }
}

fn address(layer: &Arc<Layer>) -> usize {
    Arc::as_ptr(layer).addr()
}

/// The file that decides which bytes this layer stores.
fn stored_in(layer: &Layer) -> Result<FileId> {
    let file = match layer {
        // Two keys make two disks of one data file: only the same image has the same key.
        Layer::Qcow2(image) if image.is_encrypted() => image.file(),
        _ => layer.stored_in(),
    };
    Ok(file.stat("stat")?.id)
}

/// Which file a layer is and how it is read.
type Identity = (FileId, bool);

fn identities(chain: &Chain) -> Result<Vec<Identity>> {
    let one = |layer: &Arc<Layer>| {
        let (file, raw) = match &**layer {
            Layer::Qcow2(image) => (image.file(), false),
            Layer::Raw(image) => (image.file(), true),
        };
        Ok((file.stat("stat")?.id, raw))
    };
    chain.layers().iter().map(one).collect()
}
