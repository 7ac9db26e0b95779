//! Keeping what an image shows while what it is built on changes: each of its views (what the guest
//! sees now, and its internal snapshots) receives exactly what it would lose, and nothing else. Works
//! run by run, in the same small memory whatever the size. Headers are switched by the caller,
//! afterwards.

use std::path::Path;
use std::sync::Arc;

use crate::host::{Host, printable_bytes};

use super::error::{IoContext, Result};
use super::sight::{Compared, Difference, Place, Sight};
use super::staged::temporary_name;
use super::{
    Chain, CreateOptions, Error, ErrorKind, Extent, Format, Growth, Keys, Layer, Pace, Room, Root,
    Source, State, Target, create, snapshots,
};

/// Bytes moved between two looks at whether to go on, where they need not be looked at.
const PIECE: u64 = 16 << 20;

/// Bytes compared at a time: a whole number of clusters of any size there is.
const WINDOW: u64 = 2 << 20;

/// Clones must lie on the filesystem's blocks; this is the largest usual block.
const BLOCK: u64 = 4096;

/// What changes below an image.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What is there now.
    pub old: &'a Sight,
    /// What is going to be there.
    pub new: &'a Sight,
    /// How it is decided whether the two show the same.
    pub judge: Judge,
    /// What opens the image that keeps its views, should it be encrypted. The sights are open already.
    pub keys: &'a Keys,
}

/// What changes below an image whose views are kept.
#[derive(Clone, Copy)]
pub struct Below<'a> {
    /// Opens what is there now and what is going to be there, unlocked: called for each view, since
    /// what was read before another one was written may not hold any more.
    pub sights: &'a dyn Fn() -> Result<(Sight, Sight)>,
    /// As in [`Change`].
    pub judge: Judge,
    /// As in [`Change`].
    pub keys: &'a Keys,
}

/// How it is decided whether two places hold the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// By where they are stored: what is stored in two places counts as different.
    Tables,
    /// By the bytes, where tables do not tell.
    Bytes,
}

/// Which views of an image are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Views {
    /// All there are.
    All,
    /// The internal snapshots: what the guest sees now needs nothing.
    Snapshots,
}

/// What a view would lose, in bytes, told from tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Has to be copied.
    pub certain: u64,
    /// Has to be copied unless the bytes turn out to be the same.
    pub possible: u64,
    /// Reads as zero, and has to say so itself then.
    pub zeros: u64,
    /// What the file becomes longer by for what is certain and for the zeros, at most.
    pub growth: Growth,
    /// And by this much more if all that is possible has to be copied.
    pub possible_growth: Growth,
}

impl Loss {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.certain
            .saturating_add(self.possible)
            .saturating_add(self.zeros)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            certain: self.certain.saturating_add(other.certain),
            possible: self.possible.saturating_add(other.possible),
            zeros: self.zeros.saturating_add(other.zeros),
            growth: self.growth.and(other.growth),
            possible_growth: self.possible_growth.and(other.possible_growth),
        }
    }
}

/// The internal snapshots of an opened image: printable name, root, and the view through it.
///
/// # Errors
/// When the snapshot table or an L1 table cannot be read.
pub fn snapshot_views(path: &Path, layer: &Layer) -> Result<Vec<(String, Root, Layer)>> {
    let Layer::Qcow2(image) = layer else {
        return Ok(Vec::new());
    };
    let mut views = Vec::new();
    for snapshot in snapshots(path, &**image.file(), image.header())? {
        let (l1_offset, l1_entries) = (snapshot.l1_offset.get(), u64::from(snapshot.l1_entries));
        let size = snapshot
            .virtual_size()
            .unwrap_or_else(|| image.virtual_size());
        let view = Layer::Qcow2(Box::new(image.at_l1(l1_offset, l1_entries, size)?));
        views.push((
            printable_bytes(&snapshot.name),
            Root::Snapshot {
                l1_offset,
                l1_entries,
            },
            view,
        ));
    }
    Ok(views)
}

/// What the view `top` would lose.
///
/// # Errors
/// When a table cannot be read.
pub fn view_loss(top: &Layer, change: Change<'_>) -> Result<Loss> {
    if unit_of(top).is_none() {
        return Ok(Loss::default());
    }
    let mut count = Count::new(change, Room::of(top))?;
    for extent in absent(top) {
        let extent = extent?;
        count.add(extent.start, extent.end())?;
    }
    Ok(count.loss())
}

/// What a new image would have to receive, where it takes what `room` counts.
///
/// # Errors
/// When a table cannot be read.
pub fn sight_loss(change: Change<'_>, room: Room) -> Result<Loss> {
    let mut count = Count::new(change, room)?;
    count.add(0, change.old.virtual_size())?;
    Ok(count.loss())
}

/// Copies into the views of the image `path` what they would lose. At every instant each of them shows
/// what it shows now, below the old sight and, once this has returned, below the new one.
///
/// Where a snapshot and the active view part, what the latter holds moves inside the file: whoever opened
/// the image before must open it anew before it reads on. So are the sights, which may have it in them.
///
/// # Errors
/// When a file cannot be read or written, or it was stopped: the views show the same all the same, and
/// doing it again goes on.
pub fn keep_views(
    host: &dyn Host,
    path: &Path,
    views: Views,
    below: Below<'_>,
    pace: &dyn Pace,
) -> Result<()> {
    let layer = Layer::open(host, path, &Format::Qcow2)?;
    layer.unlock(below.keys, pace)?;
    let snapshots = snapshot_views(path, &layer)?;
    // First: a table that the active view shares with a snapshot is then the snapshot's alone, and
    // need not be copied twice.
    let active = (views == Views::All).then_some((Root::Active, layer));
    let snapshots = snapshots.into_iter().map(|(_, root, view)| (root, view));
    for (root, view) in active.into_iter().chain(snapshots) {
        let (old, new) = (below.sights)()?;
        let change = Change {
            old: &old,
            new: &new,
            judge: below.judge,
            keys: below.keys,
        };
        keep_view(host, path, view, root, change, pace)?;
    }
    Ok(())
}

/// Creates an image that is built on the new sight, as `options` say, and holds what makes it show the
/// old one. It gets its name only when all of it is on stable storage.
///
/// # Errors
/// As [`keep_views`], and when something of that name exists; nothing is left behind then.
pub fn new_overlay(
    host: &dyn Host,
    new: &Path,
    options: &CreateOptions,
    change: Change<'_>,
    pace: &dyn Pace,
) -> Result<()> {
    let temporary = temporary_name(new);
    let made = create(host, &temporary, options, pace)
        .and_then(|()| Layer::open(host, &temporary, &Format::Qcow2))
        .and_then(|layer| keep_view(host, &temporary, layer, Root::Active, change, pace))
        .and_then(|()| host.rename_new(&temporary, new).at(new, "create"))
        .and_then(|()| {
            let dir = new
                .parent()
                .filter(|dir| !dir.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            host.sync_dir(dir).at(dir, "flush the folder")
        });
    if made.is_err() && host.stat_link(&temporary).is_ok() {
        // The file is ours and has no other name yet; failing to remove it changes nothing.
        drop(host.remove_file(&temporary));
    }
    made
}

/// Gives up what the image `path` holds and `below`, which it is built on, shows as well: the guest
/// sees the same. Returns the bytes given up. Internal snapshots keep what they hold.
///
/// # Errors
/// As [`keep_views`].
pub fn give_up_equal(
    host: &dyn Host,
    path: &Path,
    below: &Chain,
    keys: &Keys,
    pace: &dyn Pace,
) -> Result<u64> {
    let top = Arc::new(Layer::open(host, path, &Format::Qcow2)?);
    top.unlock(keys, pace)?;
    let Some(unit) = unit_of(&top) else {
        return Ok(0);
    };
    let size = top.virtual_size();
    let chain = over(Arc::clone(&top), below);
    let mut target: Option<Target> = None;
    let (mut own, mut under) = (Vec::new(), Vec::new());
    let mut given_up = 0;
    let mut at = 0;
    while at < size {
        let run = top.extent_at(at, size)?;
        if run.state == State::Absent {
            at = run.end();
            continue;
        }
        let start = at - at % unit;
        let end = start.saturating_add(WINDOW).min(size).min(
            run.end()
                .checked_next_multiple_of(unit)
                .unwrap_or(u64::MAX)
                .max(start + unit),
        );
        read_both(&mut own, &mut under, &chain, below, start, end)?;
        for (from, to) in groups(start, end, unit, |range| {
            own.get(range.clone()) == under.get(range)
        }) {
            let target = match &mut target {
                Some(target) => target,
                none => {
                    let mut opened = Target::open(
                        host,
                        path,
                        &Format::Qcow2,
                        chain.clone(),
                        Root::Active,
                        pace,
                    )?;
                    opened.begin_same_content()?;
                    none.insert(opened)
                }
            };
            given_up += target.let_through(from, to - from)?;
        }
        at = end;
        if !pace.advance(end - start) {
            if let Some(target) = &mut target {
                target.finish()?;
            }
            return Err(Error::new(path, ErrorKind::Stopped));
        }
    }
    if let Some(target) = &mut target {
        target.finish()?;
    }
    Ok(given_up)
}

fn read_both(
    a: &mut Vec<u8>,
    b: &mut Vec<u8>,
    first: &Chain,
    second: &Chain,
    start: u64,
    end: u64,
) -> Result<()> {
    let len = usize::try_from(end - start).unwrap_or(0);
    a.resize(len, 0);
    b.resize(len, 0);
    first.read_at(a, start)?;
    second.read_at(b, start)
}

/// The runs of whole units of `start..end` for which `wanted` holds, asked with the unit's place in a
/// buffer that begins at `start`.
fn groups(
    start: u64,
    end: u64,
    unit: u64,
    wanted: impl Fn(std::ops::Range<usize>) -> bool,
) -> Vec<(u64, u64)> {
    let place = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = start;
    while at < end {
        let to = (at + unit).min(end);
        if wanted(place(at)..place(to)) {
            match found.last_mut() {
                Some((_, last)) if *last == at => *last = to,
                _ => found.push((at, to)),
            }
        }
        at = to;
    }
    found
}

fn is_zero(bytes: &[u8]) -> bool {
    // Whole words at a time: the compiler makes vectors of them.
    let (head, words, tail) = (bytes.len() % 64, bytes.chunks_exact(64), bytes);
    words
        .clone()
        .all(|chunk| chunk.iter().fold(0_u8, |sum, byte| sum | byte) == 0)
        && tail
            .get(tail.len() - head..)
            .is_none_or(|rest| rest.iter().all(|byte| *byte == 0))
}

/// The bytes that are here or not here as a whole; none for a raw image, which has nothing below.
fn unit_of(layer: &Layer) -> Option<u64> {
    match layer {
        Layer::Qcow2(image) => Some(image.header().geometry.subcluster_size()),
        Layer::Raw(_) => None,
    }
}

fn over(top: Arc<Layer>, below: &Chain) -> Chain {
    Chain::new(
        std::iter::once(top)
            .chain(below.layers().iter().cloned())
            .collect(),
    )
}

/// The runs that show what lies below, in order.
fn absent(top: &Layer) -> impl Iterator<Item = Result<Extent>> + '_ {
    top.extents(0, top.virtual_size())
        .filter(|extent| !matches!(extent, Ok(extent) if extent.state != State::Absent))
}

/// Adds up what is lost.
struct Count<'a> {
    pieces: Pieces<'a>,
    judge: Judge,
    loss: Loss,
    /// For what is certain, and for everything.
    sure: Room,
    all: Room,
}

impl<'a> Count<'a> {
    fn new(change: Change<'a>, room: Room) -> Result<Self> {
        Ok(Self {
            pieces: Pieces {
                difference: Difference::new(change.old, change.new)?,
                unit: room.unit(),
            },
            judge: change.judge,
            loss: Loss::default(),
            sure: room,
            all: room,
        })
    }

    fn add(&mut self, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while let Some(piece) = self.pieces.next(at, end)? {
            at = piece.end();
            let certain = match &piece.places {
                Some((old, _)) if old.is_zero() => {
                    self.loss.zeros += piece.len;
                    self.sure.zeros(piece.start, piece.end());
                    self.all.zeros(piece.start, piece.end());
                    continue;
                }
                Some((_, new)) => self.is_lost(new),
                None => self.is_certain(piece.start, piece.end())?,
            };
            if certain {
                self.loss.certain += piece.len;
                self.sure.data(piece.start, piece.end());
            } else {
                self.loss.possible += piece.len;
            }
            self.all.data(piece.start, piece.end());
        }
        Ok(())
    }

    /// Whether what is stored in a place of its own has to be copied where this is the new one.
    fn is_lost(&self, new: &Place) -> bool {
        self.judge == Judge::Tables || new.is_zero()
    }

    /// Whether a unit that is put together from several places has to be copied for one of them.
    fn is_certain(&self, start: u64, end: u64) -> Result<bool> {
        let mut at = start;
        while at < end {
            match self.pieces.difference.at(at, end)? {
                Compared::Same(to) => at = to,
                Compared::Apart { old, new } => {
                    if !old.is_zero() && self.is_lost(&new) {
                        return Ok(true);
                    }
                    at = old.extent.end();
                }
            }
        }
        Ok(false)
    }

    fn loss(self) -> Loss {
        let growth = self.sure.growth();
        Loss {
            growth,
            possible_growth: self.all.growth().beyond(growth),
            ..self.loss
        }
    }
}

/// Whole units that two sights may show differently.
#[derive(Debug)]
struct Pieces<'a> {
    difference: Difference<'a>,
    unit: u64,
}

/// Some whole units.
#[derive(Debug)]
struct Piece {
    start: u64,
    len: u64,
    /// Old and new; none for one unit that is put together from several places.
    places: Option<(Place, Place)>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.len
    }
}

impl Pieces<'_> {
    /// The next one in `at..end`; `at` begins a unit.
    fn next(&self, at: u64, end: u64) -> Result<Option<Piece>> {
        let mut at = at;
        while at < end {
            let (old, new) = match self.difference.at(at, end)? {
                Compared::Same(to) => {
                    at = to;
                    continue;
                }
                Compared::Apart { old, new } => (old, new),
            };
            let start = at - at % self.unit;
            let stop = old.extent.end();
            let whole = if start != at {
                0
            } else if stop == end {
                stop - at
            } else {
                (stop - at) - (stop - at) % self.unit
            };
            return Ok(Some(if whole == 0 {
                Piece {
                    start,
                    len: (start + self.unit).min(end) - start,
                    places: None,
                }
            } else {
                Piece {
                    start,
                    len: whole,
                    places: Some((old, new)),
                }
            }));
        }
        Ok(None)
    }
}

fn keep_view(
    host: &dyn Host,
    path: &Path,
    view: Layer,
    root: Root,
    change: Change<'_>,
    pace: &dyn Pace,
) -> Result<()> {
    let Some(unit) = unit_of(&view) else {
        return Ok(());
    };
    let top = Arc::new(view);
    let pieces = Pieces {
        difference: Difference::new(change.old, change.new)?,
        unit,
    };
    let mut keeper = Keeper {
        host,
        path,
        root,
        top: Arc::clone(&top),
        change,
        unit,
        pace,
        target: None,
        old: Vec::new(),
        new: Vec::new(),
    };
    for extent in absent(&top) {
        let extent = extent?;
        let mut at = extent.start;
        while let Some(piece) = pieces.next(at, extent.end())? {
            at = piece.end();
            keeper.keep(piece)?;
        }
        keeper.go_on(0)?;
    }
    keeper.finish()
}

/// One view that receives what it would lose.
struct Keeper<'a> {
    host: &'a dyn Host,
    path: &'a Path,
    root: Root,
    top: Arc<Layer>,
    change: Change<'a>,
    unit: u64,
    pace: &'a dyn Pace,
    /// Opened when there is something to write.
    target: Option<Target>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Keeper<'_> {
    fn target(&mut self) -> Result<&mut Target> {
        if self.target.is_none() {
            let view = over(Arc::clone(&self.top), self.change.old.front());
            let mut target = Target::open(
                self.host,
                self.path,
                &Format::Qcow2,
                view,
                self.root,
                self.pace,
            )?;
            target.begin_same_content()?;
            let (old, new) = (self.change.old, self.change.new);
            target.expect_backing_size(old.virtual_size().max(new.virtual_size()));
            self.target = Some(target);
        }
        match &mut self.target {
            Some(target) => Ok(target),
            None => Err(Error::new(self.path, ErrorKind::NotQcow2)),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.target.as_mut().map_or(Ok(()), Target::finish)
    }

    fn go_on(&mut self, bytes: u64) -> Result<()> {
        if self.pace.advance(bytes) {
            return Ok(());
        }
        self.finish()?;
        Err(Error::new(self.path, ErrorKind::Stopped))
    }

    fn keep(&mut self, piece: Piece) -> Result<()> {
        let (start, end) = (piece.start, piece.end());
        let Some((old, new)) = piece.places else {
            self.by_bytes(start, end, None, None)?;
            return self.go_on(end - start);
        };
        let mut at = start;
        while at < end {
            let to = self.keep_some(at, end, &old, &new)?;
            // What only has to say that it is zero is not counted as copied.
            let costs = !(old.is_zero() && self.change.judge == Judge::Tables);
            self.go_on(if costs { to - at } else { 0 })?;
            at = to;
        }
        Ok(())
    }

    /// Deals with the first bytes of a run; returns where it stopped.
    fn keep_some(&mut self, at: u64, end: u64, old: &Place, new: &Place) -> Result<u64> {
        let judged = self.change.judge == Judge::Tables;
        let as_it_lies = judged || new.is_zero() && self.may_clone(old, at)?;
        if !as_it_lies {
            let to = (at - at % WINDOW).saturating_add(WINDOW).min(end);
            self.by_bytes(at, to, Some(old), Some(new))?;
            return Ok(to);
        }
        // Whether blocks can be shared turns out with the first ones.
        let first = !judged && self.target.is_none();
        let most = if first { self.unit } else { PIECE };
        let to = (at - at % self.unit)
            .saturating_add(most.max(self.unit))
            .min(end);
        let Some(extent) = old.extent.clip(at, to) else {
            return Ok(to);
        };
        match &old.layer {
            Some(layer) if !old.is_zero() => self.target()?.write_from(layer, extent)?,
            _ => self.target()?.write_zeros(at, to - at)?,
        }
        Ok(to)
    }

    /// Whether the blocks of this run can be shared, as far as is known.
    fn may_clone(&self, old: &Place, at: u64) -> Result<bool> {
        let State::Data { host } = old.extent.state.skip(at - old.extent.start) else {
            return Ok(false);
        };
        let lies_well = host.is_multiple_of(BLOCK) && self.unit.is_multiple_of(BLOCK);
        Ok(lies_well && self.target.as_ref().is_none_or(Target::may_clone))
    }

    /// Copies those units of `start..end` whose bytes differ. A run's places, where it has one on
    /// either side, spare reading what tables call zero.
    fn by_bytes(
        &mut self,
        start: u64,
        end: u64,
        old: Option<&Place>,
        new: Option<&Place>,
    ) -> Result<()> {
        let len = usize::try_from(end - start).unwrap_or(0);
        let (mut a, mut b) = (std::mem::take(&mut self.old), std::mem::take(&mut self.new));
        let (old_zero, new_zero) = (
            old.is_some_and(Place::is_zero),
            new.is_some_and(Place::is_zero),
        );
        if !old_zero {
            a.resize(len, 0);
            self.change.old.read_at(&mut a, start)?;
        }
        if !new_zero {
            b.resize(len, 0);
            self.change.new.read_at(&mut b, start)?;
        }
        let judged = self.change.judge == Judge::Tables;
        let part = |bytes: &'_ [u8], range: std::ops::Range<usize>| {
            is_zero(bytes.get(range).unwrap_or_default())
        };
        let differing = groups(start, end, self.unit, |range| {
            judged
                || match (old_zero, new_zero) {
                    (true, _) => !part(&b, range),
                    (_, true) => !part(&a, range),
                    _ => a.get(range.clone()) != b.get(range),
                }
        });
        for (from, to) in differing {
            if old_zero {
                self.target()?.write_zeros(from, to - from)?;
                continue;
            }
            let shared = match old.and_then(|old| Some((old, old.layer.as_ref()?))) {
                Some((old, layer)) if self.target.is_some() && self.may_clone(old, from)? => {
                    old.extent.clip(from, to).map(|extent| (layer, extent))
                }
                _ => None,
            };
            if let Some((layer, extent)) = shared {
                self.target()?.write_from(layer, extent)?;
                continue;
            }
            let place = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
            let bytes = a.get(place(from)..place(to)).unwrap_or_default();
            // Zeros between are told by entries, not stored.
            let mut done = from;
            for (zero_from, zero_to) in groups(from, to, self.unit, |range| part(bytes, range)) {
                self.store(bytes, from, done, zero_from)?;
                self.target()?.write_zeros(zero_from, zero_to - zero_from)?;
                done = zero_to;
            }
            self.store(bytes, from, done, to)?;
        }
        (self.old, self.new) = (a, b);
        Ok(())
    }

    /// Writes `start..end` out of bytes that begin at `from`.
    fn store(&mut self, bytes: &[u8], from: u64, start: u64, end: u64) -> Result<()> {
        let place = |at: u64| usize::try_from(at - from).unwrap_or(usize::MAX);
        match bytes.get(place(start)..place(end)) {
            Some(bytes) if !bytes.is_empty() => {
                self.target()?
                    .write(start, end - start, Source::Bytes(bytes))
            }
            _ => Ok(()),
        }
    }
}
