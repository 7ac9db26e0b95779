//! The side that has the images: opens a chain, keeps writers out of it, and gives out what it is asked for.

use std::path::{Path, PathBuf};

use crate::host::{Access, LockSet, Segment};
use crate::image::{self, Format, ImageFile};
use crate::ops::framework::chain_files::{self, ChainFile};
use crate::ops::framework::format::shown;
use crate::ops::framework::locks::{Locking, Locks};
use crate::ops::framework::{device, resolve};
use crate::ops::{Context, Error, Plan, Progress};

use super::header::{beside_header, header_digest};
use super::pieces::{Digest, Found, PIECE, RootHasher, Span, Stopped, digest, each_piece};
use super::receive::Receive;
use super::source::{ChainSource, Described, PieceSink, Source, Told};

/// A chain that is given out. As long as this is there, nobody writes its files.
#[derive(Debug)]
pub struct Sending {
    plan: Plan,
    files: Vec<Open>,
    _locks: Locks,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: ImageFile,
    described: Described,
}

impl Sending {
    /// Opens an image and all that it is built on for reading, and locks it.
    ///
    /// # Errors
    /// Why it cannot be read as it is: a part of it is missing, damaged, or written by somebody.
    pub fn open(context: &Context, image: &Path) -> Result<Self, Error> {
        let request = Receive {
            from: shown(image),
            name: String::new(),
            to: PathBuf::new(),
            source: Source::default(),
        };
        let mut plan = Plan::empty(request.into(), context);
        let refused = |plan: &Plan| {
            let why = plan.refusals.first();
            let (text, remedies) = why
                .map(|refusal| (refusal.text.clone(), refusal.remedies.clone()))
                .unwrap_or_default();
            Error::failed(text).helped_by(remedies)
        };
        let node = resolve::named(context, image)
            .map_err(|reason| Error::failed(reason.text).helped_by(reason.remedies))?;
        let Some(chain) = chain_files::plan(&mut plan, node, Default::default()) else {
            return Err(refused(&plan));
        };
        let mut locking = Locking::default();
        let mut claimed = Vec::new();
        for file in chain {
            let taken = locking.take(plan.host(), &file.path, Access::Read, LockSet::ReadOnly)?;
            claimed.push((file, taken));
        }
        let locks = locking.settle(&plan)?;
        let files = claimed.into_iter().map(|(file, taken)| {
            let opened = taken.file(&locks);
            describe(&plan, &file, &opened).map(|described| Open {
                path: file.path,
                file: opened,
                described,
            })
        });
        let files = files.collect::<Result<Vec<Open>, Error>>()?;
        Ok(Self {
            plan,
            files,
            _locks: locks,
        })
    }

    fn file(&self, file: usize) -> Result<&Open, Error> {
        let found = self.files.get(file);
        found.ok_or_else(|| Error::failed("there is no such file in the chain"))
    }

    /// Shows pieces of a file. Its bytes are what they were when it was opened: who knows no image locks may have
    /// written meanwhile.
    fn each(
        &self,
        open: &Open,
        span: Span,
        show: &mut dyn FnMut(u64, Found<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let ended = each_piece(&**open.file.host_file(), open.described.bytes, span, show);
        ended.map_err(|stopped| match stopped {
            Stopped::Reading(error) => Error::io("read", &open.path, &error),
            Stopped::Shown(error) => error,
        })?;
        self.plan.verify_preconditions()
    }
}

impl ChainSource for Sending {
    fn chain(&self) -> Result<Vec<Described>, Error> {
        let files = self.files.iter();
        Ok(files.map(|open| open.described.clone()).collect())
    }

    fn digests(
        &self,
        file: usize,
        each: &mut dyn FnMut(Told) -> Result<(), Error>,
    ) -> Result<Digest, Error> {
        let open = self.file(file)?;
        let mut root = RootHasher::default();
        self.each(open, Span::whole(open.described.bytes), &mut |_, found| {
            let told = match found {
                Found::Zeros(count) => {
                    root.zeros(count);
                    Told::Zeros(count)
                }
                Found::Bytes(bytes) => {
                    let digest = digest(bytes);
                    root.piece(&digest);
                    Told::Piece(digest)
                }
            };
            each(told)
        })?;
        Ok(root.root())
    }

    fn fetch(
        &self,
        file: usize,
        spans: &[Span],
        _: &Progress,
        each: &mut PieceSink<'_>,
    ) -> Result<Option<Digest>, Error> {
        let open = self.file(file)?;
        let whole = Span::whole(open.described.bytes);
        let mut root = (spans == [whole]).then(RootHasher::default);
        for span in spans {
            self.each(open, *span, &mut |number, found| match found {
                Found::Zeros(count) => {
                    if let Some(root) = &mut root {
                        root.zeros(count);
                    }
                    Ok(())
                }
                Found::Bytes(bytes) => {
                    if let Some(root) = &mut root {
                        root.piece(&digest(bytes));
                    }
                    each(number, bytes)
                }
            })?;
        }
        Ok(root.map(RootHasher::root))
    }
}

/// Bytes of the pieces of a file that are not whole in holes.
fn data_of(file: &ImageFile, bytes: u64) -> std::io::Result<u64> {
    let (mut at, mut data) = (0, 0);
    while at < bytes {
        at = match file.host_file().segment_at(at)? {
            Segment::Hole(end) => (end.min(bytes) / PIECE * PIECE).max(at + PIECE.min(bytes - at)),
            Segment::Data(end) => {
                let end = end.max(at + 1).next_multiple_of(PIECE).min(bytes);
                data += end - at;
                end
            }
        };
    }
    Ok(data)
}

fn describe(plan: &Plan, chain: &ChainFile, file: &ImageFile) -> Result<Described, Error> {
    let reading = |error| Error::io("read", &chain.path, &error);
    let stat = file.host_file().stat().map_err(reading)?;
    let most = device::copied_len(plan.host(), &chain.path, &chain.format);
    let bytes = most.unwrap_or(stat.len);
    let mut described = Described {
        name: chain.name.clone(),
        format: chain.format.clone(),
        bytes,
        data: data_of(file, bytes).map_err(reading)?,
        header: None,
        beside_header: None,
        virtual_size: bytes,
    };
    if chain.format == Format::Qcow2 {
        let header = image::read_header(file)?;
        described.virtual_size = header.virtual_size();
        described.header = header_digest(&header);
        described.beside_header = Some(beside_header(file, &header, bytes)?);
    }
    Ok(described)
}
