//! What two processes of this program say to each other while one copies images from the other: how a chain is told
//! of, asked for and given out over a connection that knows bytes only.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fleet::{MOST_BYTES, read_frame, write_frame};
use crate::host::{io_text, printable};
use crate::ops::{ChainSource, Described, Digest, Error, PieceSink, Progress, Span, Told};

/// A frame of JSON.
const SAID: u8 = 1;
/// A frame of one piece: its number, its bytes.
const PIECE: u8 = 2;
/// A frame that tells of pieces in order.
const DIGESTS: u8 = 3;

/// Stands before a number of pieces of zeros.
const ZEROS: u8 = 0;
/// Stands before a digest.
const DIGEST: u8 = 1;
/// Bytes of such a frame from which on it is sent.
const FULL: usize = 32 << 10;

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Asked {
    Digests { file: usize },
    Pieces { file: usize, spans: Vec<(u64, u64)> },
}

/// What is said of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    /// What there is.
    Chain(Vec<Described>),
    /// All that was asked for came before.
    Done(Option<Digest>),
    /// Why it does not come.
    Failed(String),
}

fn say(to: &mut dyn Write, what: &impl Serialize) -> io::Result<()> {
    write_frame(&mut &mut *to, SAID, &serde_json::to_vec(what)?)
}

fn understood<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, Error> {
    let is_said = kind == SAID;
    let said = is_said.then(|| serde_json::from_slice(body).ok()).flatten();
    said.ok_or_else(nonsense)
}

/// Gives a chain out, or says why not, until nobody asks any more.
///
/// # Errors
/// When the other side cannot be written to, or asks for nonsense.
pub(super) fn give(
    chain: Result<impl ChainSource, Error>,
    from: &mut dyn Read,
    to: &mut dyn Write,
) -> anyhow::Result<()> {
    let chain = match chain.and_then(|chain| Ok((chain.chain()?, chain))) {
        Ok((described, chain)) => {
            say(to, &Said::Chain(described))?;
            chain
        }
        Err(error) => return Ok(say(to, &Said::Failed(error.to_string()))?),
    };
    while let Some((kind, body)) = read_frame(&mut &mut *from, MOST_BYTES)? {
        let asked = understood(kind, &body)?;
        let given = match &asked {
            Asked::Digests { file } => give_digests(&chain, *file, to).map(Some),
            Asked::Pieces { file, spans } => give_pieces(&chain, *file, spans, to),
        };
        let said = match given {
            Ok(digest) => Said::Done(digest),
            Err(error) => Said::Failed(error.to_string()),
        };
        say(to, &said).context("the other side is gone")?;
    }
    Ok(())
}

fn gone(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return Error::cancelled("cancelled: what was received is kept, and is not sent again");
    }
    Error::failed(format!("the other side is gone: {}", io_text(error)))
}

fn give_digests(
    chain: &impl ChainSource,
    file: usize,
    to: &mut dyn Write,
) -> Result<Digest, Error> {
    let mut body = Vec::with_capacity(FULL + 33);
    let root = chain.digests(file, &mut |told| {
        match told {
            Told::Zeros(count) => {
                body.push(ZEROS);
                body.extend(count.to_le_bytes());
            }
            Told::Piece(digest) => {
                body.push(DIGEST);
                body.extend(digest);
            }
        }
        if body.len() >= FULL {
            write_frame(&mut &mut *to, DIGESTS, &body).map_err(|error| gone(&error))?;
            body.clear();
        }
        Ok(())
    })?;
    write_frame(&mut &mut *to, DIGESTS, &body).map_err(|error| gone(&error))?;
    Ok(root)
}

fn give_pieces(
    chain: &impl ChainSource,
    file: usize,
    spans: &[(u64, u64)],
    to: &mut dyn Write,
) -> Result<Option<Digest>, Error> {
    let spans = spans.iter().map(|(first, count)| Span {
        first: *first,
        count: *count,
    });
    let spans: Vec<Span> = spans.collect();
    let mut body = Vec::new();
    chain.fetch(file, &spans, &Progress::new(), &mut |number, bytes| {
        body.clear();
        body.extend(number.to_le_bytes());
        body.extend(bytes);
        write_frame(&mut &mut *to, PIECE, &body).map_err(|error| gone(&error))
    })
}

/// A chain that another process gives out.
pub(super) struct Taken<R, W> {
    chain: Vec<Described>,
    ends: Mutex<(R, W)>,
}

impl<R, W> std::fmt::Debug for Taken<R, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taken").field("chain", &self.chain).finish()
    }
}

impl<R: Read + Send, W: FnMut(Vec<u8>) -> io::Result<()> + Send> Taken<R, W> {
    /// Learns what there is. Bytes that are said go through `to`.
    ///
    /// # Errors
    /// What the other side says, or that it is gone.
    pub(super) fn open(mut from: R, to: W) -> Result<Self, Error> {
        let (kind, body) = next(&mut from)?;
        match understood(kind, &body)? {
            Said::Chain(chain) => Ok(Self {
                chain,
                ends: Mutex::new((from, to)),
            }),
            Said::Failed(why) => Err(Error::failed(printable(&why))),
            Said::Done(_) => Err(nonsense()),
        }
    }

    fn ask(&self, asked: &Asked) -> Result<MutexGuard<'_, (R, W)>, Error> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        let said = say(&mut bytes, asked).and_then(|()| ends.1(bytes));
        said.map_err(|error| gone(&error))?;
        Ok(ends)
    }
}

fn nonsense() -> Error {
    Error::failed("the other side does not keep to the protocol")
}

fn next(from: &mut impl Read) -> Result<(u8, Vec<u8>), Error> {
    match read_frame(from, MOST_BYTES) {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(Error::failed("the other side is gone")),
        Err(error) => Err(gone(&error)),
    }
}

/// The digest that ends an answer.
fn ended(kind: u8, body: &[u8]) -> Result<Option<Digest>, Error> {
    match understood(kind, body)? {
        Said::Done(digest) => Ok(digest),
        Said::Failed(why) => Err(Error::failed(printable(&why))),
        Said::Chain(_) => Err(nonsense()),
    }
}

/// What a frame tells of pieces.
fn told(mut body: &[u8], each: &mut dyn FnMut(Told) -> Result<(), Error>) -> Result<(), Error> {
    while let Some((kind, rest)) = body.split_first() {
        let (told, rest) = match *kind {
            ZEROS => {
                let (count, rest) = rest.split_first_chunk().ok_or_else(nonsense)?;
                (Told::Zeros(u64::from_le_bytes(*count)), rest)
            }
            DIGEST => {
                let (digest, rest) = rest.split_first_chunk().ok_or_else(nonsense)?;
                (Told::Piece(*digest), rest)
            }
            _ => return Err(nonsense()),
        };
        each(told)?;
        body = rest;
    }
    Ok(())
}

impl<R: Read + Send, W: FnMut(Vec<u8>) -> io::Result<()> + Send> ChainSource for Taken<R, W> {
    fn chain(&self) -> Result<Vec<Described>, Error> {
        Ok(self.chain.clone())
    }

    fn digests(
        &self,
        file: usize,
        each: &mut dyn FnMut(Told) -> Result<(), Error>,
    ) -> Result<Digest, Error> {
        let mut ends = self.ask(&Asked::Digests { file })?;
        loop {
            match next(&mut ends.0)? {
                (DIGESTS, body) => told(&body, each)?,
                (kind, body) => return ended(kind, &body)?.ok_or_else(nonsense),
            }
        }
    }

    fn fetch(
        &self,
        file: usize,
        spans: &[Span],
        _: &Progress,
        each: &mut PieceSink<'_>,
    ) -> Result<Option<Digest>, Error> {
        let spans = spans.iter().map(|span| (span.first, span.count)).collect();
        let mut ends = self.ask(&Asked::Pieces { file, spans })?;
        loop {
            match next(&mut ends.0)? {
                (PIECE, body) => {
                    let (number, bytes) = body.split_first_chunk().ok_or_else(nonsense)?;
                    each(u64::from_le_bytes(*number), bytes)?;
                }
                (kind, body) => return ended(kind, &body),
            }
        }
    }
}
