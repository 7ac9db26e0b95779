//! The side that gets the images: finds out what of them is in the folder already, makes the files of the rest, asks for
//! what they lack, and gives them their names when all of them are proved to hold what the other side has.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::host::{Access, FileId, FileKind, Host, LockSet, printable};
use crate::image::{self, Format, ImageFile};
use crate::ops::framework::backing_name;
use crate::ops::framework::backing_style::BackingStyle;
use crate::ops::framework::format::shown;
use crate::ops::framework::locks::{Locking, claim};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::new_file;
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Request,
    Undo,
};
use crate::qcow2::limits::MAX_FILE_LENGTH;
use crate::units::count;

use super::known::{Image, images_in};
use super::partial::{Partial, left_of};
use super::pieces::{Digest, PIECE};
use super::source::{ChainSource, Described, Source};
use super::work::{Work, root_of};

/// Images of a chain at most.
const MOST_FILES: usize = 1000;
/// Bytes of a name at most.
const MOST_NAME: usize = 200;

/// Copy an image, and all it is built on, from where its files cannot be read into a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// What the image is called where it comes from, for people.
    pub from: String,
    /// The name that it gets in the folder.
    pub name: String,
    /// The folder, which is there.
    pub to: PathBuf,
    /// Where it comes from.
    #[serde(skip)]
    pub source: Source,
}

impl Operation for Receive {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn verb(&self) -> &'static str {
        "Copy"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesFiles
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.to));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // It is typed at a machine that reaches both sides, and names them from there.
        None
    }

    fn plan(&self, plan: &mut Plan) {
        plan_receive(plan, self);
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let made = half.there_of(&half.entry.creates);
        match made.len() == half.entry.creates.len() {
            true => Half::made(&made),
            false => Way::Impossible(GONE.to_owned()),
        }
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.unmake()
    }
}

/// What is said where nobody gives the images any more.
const GONE: &str = "it comes from another place, and nothing comes from there now: copy it again; what came of it \
                    already is not sent again";

/// What an overlay that comes is built on.
#[derive(Debug, Clone)]
struct Below {
    path: PathBuf,
    format: Format,
    /// Which file it is, where it is there already.
    id: Option<FileId>,
}

fn plan_receive(plan: &mut Plan, request: &Receive) {
    plan.title = format!(
        "Copy {} to {}",
        printable(&request.from),
        shown(&request.to)
    );
    plan.is_asked = true;
    let Some(source) = &request.source.0 else {
        return plan.refuse(RefusalKind::NotFound, GONE);
    };
    if let Err(reason) = plan_from(plan, request, source) {
        plan.refuse_for(reason);
    }
}

fn plan_from(
    plan: &mut Plan,
    request: &Receive,
    source: &Arc<dyn ChainSource>,
) -> Result<(), Reason> {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let chain = source.chain().map_err(unreadable)?;
    plausible(request, &chain)?;
    let dir = &request.to;
    if !host
        .stat(dir)
        .is_ok_and(|stat| stat.kind == FileKind::Directory)
    {
        let text = format!("{} is no folder: make it first", shown(dir));
        return Err(Reason::new(RefusalKind::NotFound, text));
    }
    let images = images_in(host, dir);
    let mut names = BTreeSet::new();
    let mut below: Option<Below> = None;
    let mut files = Vec::new();
    for (number, described) in chain.iter().enumerate().rev() {
        let is_top = number == 0;
        let there = same(source, number, described, &images, below.as_ref())?;
        let next = match there {
            Some(image) if is_top => {
                let text = format!("{} holds it already: {}", shown(dir), shown(&image.path));
                plan.refuse_as_done(text);
                return Ok(());
            }
            Some(image) => {
                let text = "it is there already, with the same content: nothing of it is sent";
                plan.effect(EffectKind::Reads, &image.path, Some(image.bytes), text);
                claim(plan, &image.path, LockSet::ReadOnly);
                // What the plan rests on from here is what was compared.
                if !image.is_unchanged(host) {
                    let text = format!("{} was changed while it was compared", shown(&image.path));
                    return Err(Reason::new(RefusalKind::InUse, text));
                }
                files.push(Arriving::there(&image.path));
                Below {
                    path: image.path.clone(),
                    format: described.format.clone(),
                    id: Some(image.id),
                }
            }
            None => {
                let name = match is_top {
                    true => OsString::from(&request.name),
                    false => free_name(host, dir, described, &request.name, &mut names),
                };
                let path = dir.join(name);
                let left = left_of(host, &path);
                let work = Work::plan(&**source, number, described, &images, left.as_deref(), host)
                    .map_err(unreadable)?;
                let needed = work.bytes_to_write();
                if new_file::check(plan, &path, needed).is_none() {
                    return Ok(());
                }
                let text = work.text(described);
                plan.effect(EffectKind::Creates, &path, Some(described.bytes), text);
                plan.copies = plan.copies.saturating_add(needed);
                files.push(Arriving {
                    path: path.clone(),
                    new: Some(New {
                        number,
                        described: described.clone(),
                        below: below.clone(),
                        is_named_raw: !is_top,
                        left,
                        work,
                    }),
                });
                Below {
                    path,
                    format: described.format.clone(),
                    id: None,
                }
            }
        };
        below = Some(next);
    }
    if files
        .iter()
        .any(|file| file.new.as_ref().is_some_and(|new| new.left.is_some()))
    {
        let text = "an earlier try has left a part of it, which is gone on with";
        plan.note(NoteKind::Interrupted, text);
    }
    plan.undo = Undo::Possible("discard the images that came".to_owned());
    plan.job = Some(Arc::new(ReceiveJob {
        files,
        source: Arc::clone(source),
        to: dir.clone(),
    }));
    Ok(())
}

fn unreadable(error: Error) -> Reason {
    Reason::new(RefusalKind::Unreadable, error.to_string())
}

/// Whether what the other side says can be a chain that is copied.
fn plausible(request: &Receive, chain: &[Described]) -> Result<(), Reason> {
    let damaged = |text: String| Err(Reason::new(RefusalKind::Damaged, text));
    if chain.is_empty() || chain.len() > MOST_FILES {
        return damaged(format!(
            "it is said to be a chain of {} images",
            chain.len()
        ));
    }
    if !is_plain(&request.name) {
        let text = format!("{} is no name for an image", printable(&request.name));
        return Err(Reason::new(RefusalKind::Invalid, text));
    }
    for (number, described) in chain.iter().enumerate() {
        let name = printable(&described.name);
        let is_last = number + 1 == chain.len();
        match described.format {
            Format::Qcow2 if described.header.is_some() => {}
            Format::Raw if is_last && described.header.is_none() => {}
            Format::Qcow2 | Format::Raw => {
                return damaged(format!(
                    "{name} is said to be built on nothing that it can be"
                ));
            }
            Format::Other(_) => {
                let text = format!("{name} is neither qcow2 nor raw: convert it first");
                return Err(Reason::new(RefusalKind::Unsupported, text));
            }
        }
        if described.bytes > MAX_FILE_LENGTH
            || described.data > described.bytes.next_multiple_of(PIECE)
        {
            return damaged(format!("{name} is said to have a length that no image has"));
        }
    }
    Ok(())
}

/// Whether it names a file in a folder, and no hidden one.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_one = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(part)), None) if part == OsStr::new(name)
    );
    is_one && !name.starts_with('.') && name.len() <= MOST_NAME
}

/// A name for a base that is free: what it is called where it comes from, as far as that is the name of an image. The
/// other side does not choose which files programs find in the folder.
fn free_name(
    host: &dyn Host,
    dir: &Path,
    described: &Described,
    top: &str,
    names: &mut BTreeSet<OsString>,
) -> OsString {
    const ENDS: [&str; 6] = [".qcow2", ".img", ".raw", ".qcow", ".dd", ".iso"];
    let plain = |c: char| {
        if c.is_alphanumeric() || "._-+@".contains(c) {
            c
        } else {
            '_'
        }
    };
    let own: String = described.name.chars().take(100).map(plain).collect();
    let own = own.trim_start_matches('.');
    let end = match described.format {
        Format::Raw => ".img",
        Format::Qcow2 | Format::Other(_) => ".qcow2",
    };
    let has_end = ENDS
        .iter()
        .any(|end| own.len() > end.len() && own.ends_with(end));
    let own = match has_end {
        true => own.to_owned(),
        false => format!("{}{end}", if own.is_empty() { "base" } else { own }),
    };
    let mut name = OsString::from(&own);
    let mut number = 2;
    while name == top || names.contains(&name) || host.stat_link(&dir.join(&name)).is_ok() {
        name = format!("{number}-{own}").into();
        number += 1;
    }
    names.insert(name.clone());
    name
}

/// The image of the folder that is the very same, and built on the same.
fn same<'a>(
    source: &Arc<dyn ChainSource>,
    number: usize,
    described: &Described,
    images: &'a [Image],
    below: Option<&Below>,
) -> Result<Option<&'a Image>, Reason> {
    let base = match below {
        None => None,
        Some(Below { id: None, .. }) => return Ok(None),
        Some(Below {
            id: Some(id),
            format,
            ..
        }) => Some((*id, format.clone())),
    };
    let candidates = images
        .iter()
        .filter(|image| image.may_be(described, base.as_ref()));
    let mut compared: Vec<_> = candidates
        .map(|image| (image, image.compared(described)))
        .collect();
    compared.retain(|(_, compared)| compared.is_same());
    if compared.is_empty() {
        return Ok(None);
    }
    let looked = source.digests(number, &mut |told| {
        compared
            .iter_mut()
            .for_each(|(_, compared)| compared.take(told));
        Ok(())
    });
    looked.map_err(unreadable)?;
    let mut same = compared
        .iter()
        .filter(|(_, compared)| compared.is_same_to_its_end());
    Ok(same.next().map(|(image, _)| *image))
}

/// A file of the chain.
#[derive(Debug)]
struct Arriving {
    path: PathBuf,
    /// None where it is there already.
    new: Option<New>,
}

#[derive(Debug)]
struct New {
    number: usize,
    described: Described,
    below: Option<Below>,
    /// Whether an overlay says that it is raw, whatever it begins with.
    is_named_raw: bool,
    left: Option<PathBuf>,
    work: Work,
}

impl Arriving {
    fn there(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            new: None,
        }
    }
}

#[derive(Debug)]
struct ReceiveJob {
    /// What all others are built on first.
    files: Vec<Arriving>,
    source: Arc<dyn ChainSource>,
    to: PathBuf,
}

impl Job for ReceiveJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        for there in self.files.iter().filter(|file| file.new.is_none()) {
            let _ = locking.take(host, &there.path, Access::Read, LockSet::ReadOnly)?;
        }
        let _locks = locking.settle(plan)?;
        let new = || {
            self.files
                .iter()
                .filter_map(|file| Some((&file.path, file.new.as_ref()?)))
        };
        let total = new().map(|(_, new)| new.work.bytes_to_move()).sum();
        progress.enter(Phase::Copy, total);
        let mut partials = Vec::new();
        for (path, new) in new() {
            let left = new.left.as_deref();
            let mut partial = Partial::open(host, path, left, new.described.bytes)?;
            self.fill(&mut partial, new, progress)?;
            partials.push((partial, new));
        }
        for (partial, new) in &partials {
            if let Some(below) = &new.below {
                let to = partial.target();
                let recorded = backing_name::between(host, to, &below.path, BackingStyle::Relative)
                    .map_err(Error::failed)?;
                let file = ImageFile::open(host, partial.path(), Access::ReadWrite)?;
                image::relink(&file, &recorded, &below.format)?;
            }
        }
        plan.verify_preconditions()?;
        progress.enter(Phase::Switch, 0);
        let touched: Vec<PathBuf> = new().map(|(path, _)| path.clone()).collect();
        for (partial, _) in partials {
            partial.publish()?;
        }
        let top = touched.last().map_or_else(String::new, |path| shown(path));
        Ok(Outcome {
            summary: format!(
                "copied {} to {}, {top} on top",
                count(touched.len(), "image"),
                shown(&self.to)
            ),
            undo: Some(Request::discard(touched.clone())),
            touched,
            remarks: Vec::new(),
        })
    }
}

impl ReceiveJob {
    /// Makes a file what the other side has, and proves that.
    fn fill(&self, partial: &mut Partial<'_>, new: &New, progress: &Progress) -> Result<(), Error> {
        let bytes = new.described.bytes;
        let said = new
            .work
            .run(&*self.source, new.number, partial, bytes, progress)?;
        let to = shown(partial.target());
        let file = partial.file();
        // What is read again does not wait for the device.
        let (flushed, is) = thread::scope(|scope| {
            let flush = scope.spawn(|| file.flush());
            let is = root_of(&**file, bytes, partial.target(), progress);
            (flush.join(), is)
        });
        let flushed = flushed.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        flushed.map_err(|error| Error::io("flush", partial.target(), &error))?;
        let is: Digest = is?;
        if is != said {
            return Err(Error::failed(format!(
                "{to} did not arrive as it was sent: its digest differs. It got no name; copy it again, and what is right \
                 of it is not sent again"
            )));
        }
        fits(partial, new).map_err(|why| {
            Error::failed(format!(
                "{to} is not what it was said to be: it {why}. It got no name"
            ))
        })
    }
}

/// Whether a file that arrived is of the kind that was said, and names nothing but what it is going to be built on.
fn fits(partial: &Partial<'_>, new: &New) -> Result<(), String> {
    let file = ImageFile::new(partial.target(), Arc::clone(partial.file()));
    let seen = image::recognised(&file).map_err(|error| error.kind.to_string())?;
    if new.described.format == Format::Raw {
        // A raw disk's guest may have written such a header: only what is built on it says raw then.
        return match seen {
            Some(_) if !new.is_named_raw => Err("begins like another format than raw".to_owned()),
            _ => Ok(()),
        };
    }
    if seen != Some(Format::Qcow2) {
        return Err("begins like no qcow2 image".to_owned());
    }
    let header = image::read_header(&file).map_err(|error| error.kind.to_string())?;
    if header.has_data_file() {
        return Err("names a file that holds its data".to_owned());
    }
    match header.backing_file().is_some() == new.below.is_some() {
        true => Ok(()),
        false => Err("is built otherwise".to_owned()),
    }
}
