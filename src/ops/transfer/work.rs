//! How one file comes to be: which of its pieces are zeros, which an earlier try has left at their place, which are
//! copied from images that are there, and which have to be sent.

use std::path::Path;
use std::sync::Arc;

use crate::host::{Access, Host, HostFile};
use crate::ops::framework::format::shown;
use crate::ops::{Error, Progress};
use crate::units::size;

use super::known::{Image, Index};
use super::partial::Partial;
use super::pieces::{Digest, Found, PIECE, RootHasher, Span, Stopped, digest, each_piece};
use super::source::{ChainSource, Described, Told};

/// Runs of pieces of one file at most: 100 MiB of memory.
const MOST_RUNS: usize = 4 << 20;
/// Spans that are asked for at a time.
const SPANS: usize = 1024;

/// Where pieces that follow each other come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Zeros,
    There,
    /// From this file of the index, from this piece on.
    Copied(usize, u64),
    Sent,
}

/// What is done to make one file.
#[derive(Debug)]
pub(super) struct Work {
    runs: Vec<(Span, What)>,
    /// The digest of the whole file, where that was told.
    root: Option<Digest>,
    index: Index,
    /// What the other side says that it sends at most.
    sent: u64,
    copied: u64,
    bytes: u64,
}

impl Work {
    /// Compares what the other side has with what is there.
    pub(super) fn plan(
        source: &dyn ChainSource,
        number: usize,
        described: &Described,
        images: &[Image],
        left: Option<&Path>,
        host: &dyn Host,
    ) -> Result<Self, Error> {
        let whole = Span::whole(described.bytes);
        let mut index = Index::default();
        images
            .iter()
            .filter(|image| image.is_like(described))
            .for_each(|image| index.add(image));
        let left = left.and_then(|left| host.open(left, Access::Read).ok());
        let mut work = Self {
            runs: vec![(whole, What::Sent)],
            root: None,
            index,
            sent: described.data,
            copied: 0,
            bytes: described.bytes,
        };
        // Where nothing is there, nothing is gained by comparing.
        if left.is_none() && work.index.is_empty() {
            return Ok(work);
        }
        work.runs.clear();
        work.sent = 0;
        let mut at = 0;
        let root = source.digests(number, &mut |told| {
            let (what, count) = match told {
                Told::Zeros(count) => (What::Zeros, count),
                Told::Piece(digest) => (work.place_of(at, &digest, left.as_ref()), 1),
            };
            if count > whole.count.saturating_sub(at) {
                return Err(Error::failed("more is told of a file than it is long"));
            }
            work.push(at, count, what)?;
            at += count;
            Ok(())
        })?;
        if at != whole.count {
            return Err(Error::failed("less is told of a file than it is long"));
        }
        work.root = Some(root);
        Ok(work)
    }

    fn place_of(&self, at: u64, told: &Digest, left: Option<&Arc<dyn HostFile>>) -> What {
        let is_there = left.is_some_and(|left| {
            let mut piece = vec![0; self.piece_bytes(at)];
            let read = left.read_padded(&mut piece, at * PIECE);
            read.is_ok() && digest(&piece) == *told
        });
        match (is_there, self.index.place(told)) {
            (true, _) => What::There,
            (false, Some((file, from))) => What::Copied(file, from),
            (false, None) => What::Sent,
        }
    }

    fn push(&mut self, first: u64, count: u64, what: What) -> Result<(), Error> {
        match what {
            What::Sent => self.sent += self.piece_bytes(first) as u64,
            What::Copied(..) => self.copied += PIECE,
            What::Zeros | What::There => {}
        }
        if let Some((last, before)) = self.runs.last_mut() {
            let goes_on = match (*before, what) {
                (What::Copied(file, from), What::Copied(next, at)) => {
                    file == next && from + last.count == at
                }
                (before, what) => before == what,
            };
            if goes_on {
                last.count += count;
                return Ok(());
            }
        }
        if self.runs.len() >= MOST_RUNS {
            return Err(Error::failed("what differs is in too many places"));
        }
        self.runs.push((Span { first, count }, what));
        Ok(())
    }

    /// Bytes of a piece, which is shorter at the end.
    fn piece_bytes(&self, number: u64) -> usize {
        let rest = self.bytes.saturating_sub(number.saturating_mul(PIECE));
        usize::try_from(rest.min(PIECE)).unwrap_or(0)
    }

    /// Bytes that are written.
    pub(super) fn bytes_to_write(&self) -> u64 {
        self.sent.saturating_add(self.copied)
    }

    /// The same with those that are read again to prove it.
    pub(super) fn bytes_to_move(&self) -> u64 {
        self.bytes_to_write().saturating_add(self.bytes)
    }

    /// What it is in words.
    pub(super) fn text(&self, described: &Described) -> String {
        let name = crate::host::printable(&described.name);
        let sent = size(self.sent);
        let whole = size(described.bytes);
        match self.copied {
            0 => format!("{whole}, from {name}; {sent} are sent"),
            copied => format!(
                "{whole}, from {name}; {sent} are sent, {} are copied from images that are there",
                size(copied)
            ),
        }
    }

    /// Makes the file, but for its name, and gives the digest that the other side says it has.
    pub(super) fn run(
        &self,
        source: &dyn ChainSource,
        number: usize,
        partial: &mut Partial<'_>,
        bytes: u64,
        progress: &Progress,
    ) -> Result<Digest, Error> {
        for (span, what) in &self.runs {
            match what {
                What::Zeros => self.clear(partial, *span)?,
                What::Copied(file, from) => self.copy(partial, *span, *file, *from, progress)?,
                What::There | What::Sent => {}
            }
        }
        let sent: Vec<Span> = self
            .runs
            .iter()
            .filter(|(_, what)| *what == What::Sent)
            .map(|(span, _)| *span)
            .collect();
        let mut left = self.sent;
        let mut root = self.root;
        for spans in sent.chunks(SPANS) {
            let mut wanted = Wanted::of(spans);
            let told = source.fetch(number, spans, progress, &mut |piece, got| {
                if !wanted.takes(piece) || got.len() != self.piece_bytes(piece) {
                    return Err(Error::failed("what nobody asked for was sent"));
                }
                left = left
                    .checked_sub(got.len() as u64)
                    .ok_or_else(|| Error::failed("more was sent than was said"))?;
                partial.write(got, piece * PIECE)?;
                moved(progress, got.len() as u64)
            })?;
            root = root.or(told);
        }
        // Nothing at all is the same everywhere.
        root = root.or((bytes == 0).then(|| RootHasher::default().root()));
        root.ok_or_else(|| Error::failed("no digest was sent"))
    }

    /// Has pieces be zeros, of which an earlier try may have left others.
    fn clear(&self, partial: &Partial<'_>, span: Span) -> Result<(), Error> {
        let failed = |error| Error::io("write", partial.target(), &error);
        let file = partial.file();
        let mut dirty = Vec::new();
        let looked = each_piece(&**file, self.bytes, span, |number, found| {
            if let Found::Bytes(found) = found {
                dirty.push((number, found.len() as u64));
            }
            Ok::<(), Error>(())
        });
        looked.map_err(|stopped| match stopped {
            Stopped::Reading(error) => failed(error),
            Stopped::Shown(error) => error,
        })?;
        dirty
            .into_iter()
            .try_for_each(|(number, bytes)| file.zero(number * PIECE, bytes).map_err(failed))
    }

    /// Copies pieces from a file that is there. It may have changed since: the digest of the whole tells.
    fn copy(
        &self,
        partial: &mut Partial<'_>,
        span: Span,
        file: usize,
        from: u64,
        progress: &Progress,
    ) -> Result<(), Error> {
        let Some(source) = self.index.file(file) else {
            return Ok(());
        };
        let mut piece = vec![0; usize::try_from(PIECE).unwrap_or(0)];
        for i in 0..span.count {
            let read = source.read_padded(&mut piece, (from + i) * PIECE);
            read.map_err(|error| {
                Error::failed(format!(
                    "what is copied for {} cannot be read: {error}",
                    shown(partial.target())
                ))
            })?;
            partial.write(&piece, (span.first + i) * PIECE)?;
            moved(progress, PIECE)?;
        }
        Ok(())
    }
}

fn moved(progress: &Progress, bytes: u64) -> Result<(), Error> {
    progress.advance(bytes).map_err(|_| {
        Error::cancelled("cancelled: what was received is kept, and is not sent again".to_owned())
    })
}

/// The pieces that were asked for, in order.
struct Wanted<'a> {
    spans: &'a [Span],
    next: u64,
}

impl<'a> Wanted<'a> {
    fn of(spans: &'a [Span]) -> Self {
        Self { spans, next: 0 }
    }

    fn takes(&mut self, number: u64) -> bool {
        while let Some((span, rest)) = self.spans.split_first()
            && number >= span.end()
        {
            self.spans = rest;
        }
        let is_asked = self.spans.first().is_some_and(|span| number >= span.first);
        let is_next = number >= self.next;
        self.next = number.saturating_add(1);
        is_asked && is_next
    }
}

/// The digest of a file of so many bytes.
pub(super) fn root_of(
    file: &dyn HostFile,
    bytes: u64,
    path: &Path,
    progress: &Progress,
) -> Result<Digest, Error> {
    let mut root = RootHasher::default();
    let looked = each_piece(file, bytes, Span::whole(bytes), |_, found| match found {
        Found::Zeros(count) => {
            root.zeros(count);
            moved(progress, count.saturating_mul(PIECE))
        }
        Found::Bytes(found) => {
            root.piece(&digest(found));
            moved(progress, found.len() as u64)
        }
    });
    looked.map_err(|stopped| match stopped {
        Stopped::Reading(error) => Error::io("read", path, &error),
        Stopped::Shown(error) => error,
    })?;
    Ok(root.root())
}
