//! What two processes of this program say to each other while one copies images from the other: how a chain is told
//! of, asked for and given out over a connection that knows bytes only.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fleet::{MOST_BYTES, read_frame, write_frame, write_parts};
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
    chain.fetch(file, &spans, &Progress::new(), &mut |number, bytes| {
        let number = number.to_le_bytes();
        write_parts(&mut &mut *to, PIECE, &[&number, bytes]).map_err(|error| gone(&error))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::host::RealHost;
    use crate::ops::{self, Consent, Context, Receive, Request, Sending, Source};
    use crate::qcow2::{Geometry, Header, HostOffset, Version};

    /// Two folders, of which one has `base.img` <- `top.qcow2`, of some 3,000 bytes together.
    fn place() -> tempfile::TempDir {
        // What is flushed thousands of times does not have to wear out a disk.
        let memory = Path::new("/dev/shm");
        let place = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let place = place.unwrap();
        for name in ["from", "to"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let from = place.path().join("from");
        fs::write(from.join("base.img"), [5; 700]).unwrap();
        let mut header = Header::new(Version::V3, Geometry::new(9, 4, false).unwrap(), 4096);
        header.refcount_table_offset = HostOffset(0x200);
        header.refcount_table_clusters = 1;
        header.l1_offset = HostOffset(0x400);
        header.l1_entries = 1;
        header.set_backing(b"base.img", Some(b"raw")).unwrap();
        let mut image = header.encode().unwrap();
        image.resize(0x600, 0);
        image.resize(0x900, 9);
        fs::write(from.join("top.qcow2"), image).unwrap();
        place
    }

    fn around(place: &Path, images: &[PathBuf], also: &[PathBuf]) -> Context {
        let state = Some(place.join("state"));
        let found = Context::around(Arc::new(RealHost), state, images, also);
        found.unwrap().context
    }

    /// A connection that is cut after so many bytes.
    #[derive(Clone)]
    struct Cut(Arc<AtomicUsize>);

    impl Cut {
        fn after(bytes: usize) -> Self {
            Self(Arc::new(AtomicUsize::new(bytes)))
        }

        fn left(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        /// How many of so many bytes still go through.
        fn through(&self, bytes: usize) -> usize {
            let passed = bytes.min(self.left());
            self.0.fetch_sub(passed, Ordering::Relaxed);
            passed
        }
    }

    struct CutReader(UnixStream, Cut);

    impl Read for CutReader {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(self.1.left());
            let read = self.0.read(&mut into[..most])?;
            Ok(self.1.through(read))
        }
    }

    /// What both sides know before they begin, which takes longer than all they do.
    struct Sides {
        place: PathBuf,
        gives: Context,
        takes: Context,
    }

    impl Sides {
        fn of(place: &Path) -> Self {
            Self {
                gives: around(place, &[place.join("from/top.qcow2")], &[]),
                takes: around(place, &[], &[place.join("to")]),
                place: place.to_path_buf(),
            }
        }
    }

    /// Copies by a connection that is cut so, one way and the other; the first sentence against it otherwise.
    fn copied(sides: &Sides, answers: &Cut, questions: &Cut) -> Result<(), String> {
        let place = &sides.place;
        let [(asking, mut asked), (mut answering, answered)] =
            std::array::from_fn(|_| UnixStream::pair().unwrap());
        let (context, top) = (sides.gives.clone(), place.join("from/top.qcow2"));
        let giver = std::thread::spawn(move || {
            // A side that is gone ends it, which is what is tried here.
            let _ = give(Sending::open(&context, &top), &mut asked, &mut answering);
        });
        let questions = questions.clone();
        let ask = move |bytes: Vec<u8>| {
            let through = questions.through(bytes.len());
            (&asking).write_all(&bytes[..through])?;
            match through == bytes.len() {
                true => Ok(()),
                false => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        let taken = Taken::open(CutReader(answered, answers.clone()), ask);
        let ended = taken.map_err(|error| error.to_string()).and_then(|taken| {
            let request: Request = Receive {
                from: "web:top.qcow2".to_owned(),
                name: "top.qcow2".to_owned(),
                to: place.join("to"),
                source: Source::of(Arc::new(taken)),
            }
            .into();
            let plan = ops::plan(&sides.takes, &request);
            if let Some(refusal) = plan.refusals.first() {
                return Err(refusal.text.clone());
            }
            let ready = plan.agree(Consent::Yes).unwrap();
            let ended = ops::run(ready, &Progress::new());
            ended.map(drop).map_err(|error| error.to_string())
        });
        giver.join().unwrap();
        ended
    }

    /// What is there, sorted: the names that people see, and how many others.
    fn there(place: &Path) -> (Vec<String>, usize) {
        let entries = fs::read_dir(place.join("to")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let (hidden, mut seen): (Vec<String>, Vec<String>) =
            names.partition(|name| name.starts_with('.'));
        seen.sort();
        (seen, hidden.len())
    }

    /// Gives what is left half made to a process that has ended, as this one would have by now.
    fn leave(place: &Path) {
        // More than any process number there is.
        let nobody = format!(".{}.", u32::MAX - 1);
        for entry in fs::read_dir(place.join("to")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if let Some(made) = name.strip_suffix(".qanopy-new") {
                let whole = made.rsplit_once('.').unwrap().0;
                let left = format!("{whole}{nobody}qanopy-new");
                fs::rename(&path, path.with_file_name(left)).unwrap();
            }
        }
    }

    /// Each byte takes a minute and a half, and tells no more.
    const CUT_EVERY: usize = 7;

    #[test]
    fn a_copy_that_is_cut_anywhere_leaves_no_half_and_is_gone_on_with() {
        let place = place();
        let dir = place.path();
        let whole = ["base.img", "top.qcow2"].map(str::to_owned).to_vec();
        let clear = || {
            fs::remove_dir_all(dir.join("to")).unwrap();
            fs::create_dir(dir.join("to")).unwrap();
            // It is read by each operation, and thousands come.
            let _ = fs::remove_file(dir.join("state/journal.jsonl"));
        };
        let [answers, questions] = std::array::from_fn(|_| Cut::after(usize::MAX));
        let sides = Sides::of(dir);
        copied(&sides, &answers, &questions).unwrap();
        assert_eq!(there(dir), (whole.clone(), 0));
        let [told, asked] = [answers, questions].map(|cut| usize::MAX - cut.left());
        assert!(told > 3000 && asked > 50, "{told} {asked}");
        let (mut kept, mut ended) = (0, 0);
        let uncut = usize::MAX;
        let cuts = (0..told).step_by(CUT_EVERY).map(|cut| (cut, uncut));
        for (told, asked) in cuts.chain((0..asked).map(|cut| (uncut, cut))) {
            clear();
            let cut = copied(&sides, &Cut::after(told), &Cut::after(asked));
            let what = format!("{told} {asked}: {cut:?}");
            let (seen, hidden) = there(dir);
            match &cut {
                Ok(()) => ended += 1,
                Err(why) => assert!(!why.is_empty(), "{what}"),
            }
            assert_eq!(seen.is_empty(), cut.is_err(), "{what} {seen:?}");
            kept += usize::from(hidden > 0);
            leave(dir);
            if hidden > 0 || cut.is_ok() {
                let [answers, questions] = std::array::from_fn(|_| Cut::after(uncut));
                let again = copied(&sides, &answers, &questions);
                assert_eq!(again.is_ok(), cut.is_err(), "{what} {again:?}");
            }
            let (seen, hidden) = there(dir);
            if !seen.is_empty() {
                assert_eq!((seen, hidden), (whole.clone(), 0), "{what}");
                for name in ["base.img", "top.qcow2"] {
                    let [from, to] = ["from", "to"].map(|side| dir.join(side).join(name));
                    let [from, to] = [from, to].map(|path| fs::read(path).unwrap());
                    // Which file it is built on is said anew, in another place of the header.
                    assert_eq!(from[0x200..], to[0x200..from.len()], "{what} {name}");
                }
            }
        }
        assert!(kept > 100 && ended < 30, "{kept} {ended}");
    }
}
