//! Convert into an image that is there, as `qemu-img convert -n` does: it keeps its file, its place and its
//! options, and shows something else afterwards. Nothing of what it held is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::Node;
use crate::host::{FileId, Host};
use crate::image::{
    self, AllocationEstimate, Chain, ConvertFrom, ErrorKind, Format, Growth, Layer, NoProgress,
    Root, State, Target, convert_into,
};
use crate::ops::framework::eligibility::{
    chain_below, format_of, refuse_as_data_file, refuse_corrupt, refuse_foreign_data, refuse_unfit,
    warn_of_unread,
};
use crate::ops::framework::files_to_lock::FilesToLock;
use crate::ops::framework::format::{command, listed, name, shown};
use crate::ops::framework::locked_host::LockedHost;
use crate::ops::framework::locks::{Locking, data_file};
use crate::ops::framework::plan::Job;
use crate::ops::framework::{device, resolve, space, unlock};
use crate::ops::{
    Context, Convert, Dependants, EffectKind, Error, NewSize, NoteKind, Outcome, Phase, Plan,
    Progress, RefusalKind, Request, Resize, Undo, WayOut,
};
use crate::units::{count, size};

use super::manner::Manner;
use super::qemu_line::qemu_manner;
use super::source::{Source, look_at_sources};

/// Plans a conversion of `sources`, which are open as `from`, into the image of that name.
pub(super) fn plan(
    plan: &mut Plan,
    request: &Convert,
    sources: Vec<Source>,
    from: &ConvertFrom,
    manner: Manner,
) {
    let context = plan.context().clone();
    let node = match resolve::named(&context, &request.new) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let target = node.path.as_path();
    let names: Vec<String> = request.sources.iter().map(|path| name(path)).collect();
    plan.title = format!("Convert {} into {}", listed(&names, 3), name(target));
    refuse_unfit(plan, node, "overwritten");
    refuse_if_read(plan, &context, node, &sources);
    refuse_if_built_on(plan, &context, node);
    refuse_as_data_file(plan, &context.forest, node, "overwritten");
    refuse_foreign_data(plan, context.forest.chain(node.id));
    if !plan.refusals.is_empty() {
        return;
    }
    let format = format_of(node);
    let mut files_to_lock = FilesToLock::default();
    files_to_lock.write(plan.host(), target, &format);
    if format == Format::Qcow2 {
        let Some(below) = chain_below(plan, &context.forest, node) else {
            return;
        };
        for base in below {
            files_to_lock.read(plan.host(), &base.path, &format_of(base));
        }
        if let Err(error) = unlock::unlock_chain(&context, node.id) {
            return plan.refuse_error(&error);
        }
        refuse_corrupt(plan, target);
    }
    let job = Into {
        sources,
        manner,
        target: target.to_path_buf(),
        format,
        files_to_lock,
        data: 0,
    };
    let (data, growth, disk) = match job.forecast(&context, from) {
        Ok(found) => found,
        Err(error) => return plan.refuse_error(&error),
    };
    refuse_if_shorter(plan, node, disk, from.virtual_size());
    space::need_growth(plan, target, growth);
    look_at_sources(plan, &job.sources);
    job.files_to_lock.secure(plan);
    plan.effect(
        EffectKind::Writes,
        target,
        Some(from.virtual_size()),
        format!(
            "{} over what it shows now, by {} of data",
            size(from.virtual_size()),
            size(data)
        ),
    );
    plan.copies = data;
    say_what_it_means(plan, node, disk, from.virtual_size());
    refuse_to_nest(plan, from, &job);
    plan.undo = Undo::Impossible(format!(
        "what {} shows now is overwritten, and kept nowhere",
        name(target)
    ));
    plan.commands.extend(job.qemu_line(request));
    plan.job = Some(Arc::new(Into { data, ..job }));
}

/// An image cannot receive what it holds itself, or what is built on it.
fn refuse_if_read(plan: &mut Plan, context: &Context, node: &Node, sources: &[Source]) {
    let host = context.host.as_ref();
    // What a guest writes into a raw disk names no data file.
    let is_qcow2 = |path: &Path| {
        let node = context.forest.by_path(path);
        node.is_some_and(|node| format_of(node) == Format::Qcow2)
    };
    let with_data = |path: &Path| -> Vec<FileId> {
        let data = is_qcow2(path).then(|| data_file(host, path)).flatten();
        let files = [Some(path.to_path_buf()), data];
        let stats = files.into_iter().flatten().map(|file| host.stat(&file));
        stats.flatten().map(|stat| stat.id).collect()
    };
    let written = with_data(&node.path);
    let is_it = |path: &PathBuf| with_data(path).iter().any(|id| written.contains(id));
    if let Some(source) = sources.iter().find(|source| source.files().any(is_it)) {
        plan.refuse(
            RefusalKind::Invalid,
            format!(
                "{} is read for what {} shows: it cannot receive that",
                shown(&node.path),
                shown(&source.path)
            ),
        );
    }
}

/// A raw file whose first bytes are a qcow2 header is a qcow2 image to whoever opens it next, this program
/// included: the disk could never be found again by itself.
fn refuse_to_nest(plan: &mut Plan, from: &ConvertFrom, job: &Into) {
    let mut first = [0; 4];
    let read = from
        .sources
        .first()
        .map(|chain| chain.read_at(&mut first, 0));
    if job.format == Format::Raw && matches!(read, Some(Ok(()))) && &first == b"QFI\xfb" {
        plan.refuse(RefusalKind::Invalid, format!(
            "the disk of {} begins as a qcow2 image does, and {} would be taken for one: convert into a qcow2 image \
             instead",
            job.sources.first().map_or_else(String::new, |source| name(&source.path)),
            name(&job.target)
        ));
    }
}

/// Everything that is built on it would show something else.
fn refuse_if_built_on(plan: &mut Plan, context: &Context, node: &Node) {
    let children: Vec<String> = node
        .children
        .iter()
        .filter_map(|child| context.forest.get(*child))
        .map(|child| name(&child.path))
        .collect();
    if !children.is_empty() {
        plan.refuse(
            RefusalKind::HasDependants,
            format!(
                "{} {} built on {}, and would show other content: convert into a new image instead",
                listed(&children, 5),
                if children.len() == 1 { "is" } else { "are" },
                shown(&node.path)
            ),
        );
    }
    warn_of_unread(plan, &node.path);
}

/// qemu-img does not grow an image for what is too long for it either.
fn refuse_if_shorter(plan: &mut Plan, node: &Node, disk: u64, needed: u64) {
    if disk >= needed {
        return;
    }
    let text = format!(
        "{} is {} large, and {} are to be written",
        shown(&node.path),
        size(disk),
        size(needed)
    );
    match (node.format(), device::stat_of(plan.host(), &node.path)) {
        (Some(Format::Raw) | None, Some(stat)) => plan.refuse(
            RefusalKind::WouldLose,
            format!("{text}: {}", device::extend_line(&stat, needed - disk)),
        ),
        _ => plan.refuse_but(
            RefusalKind::WouldLose,
            text,
            vec![WayOut {
                label: format!("make {} as large first", name(&node.path)),
                request: Request::Resize(Resize {
                    image: node.path.clone(),
                    size: NewSize::To(needed),
                    shrink: false,
                    preallocation: image::Preallocation::Off,
                    dependants: Dependants::Refuse,
                }),
            }],
        ),
    }
}

fn say_what_it_means(plan: &mut Plan, node: &Node, disk: u64, written: u64) {
    let target = name(&node.path);
    plan.warn(NoteKind::Manner, format!(
        "{target} is written in place: cut off in the middle, by a crash or by you, it shows new content up to \
         somewhere and old content behind that. It stays readable, and the same command again completes it"
    ));
    if disk > written {
        plan.warn(
            NoteKind::Size,
            format!(
                "{target} is longer than that ({} and {}): what it shows behind stays",
                size(disk),
                size(written)
            ),
        );
    }
    let Some(info) = node.info() else {
        return;
    };
    plan.note(
        NoteKind::Manner,
        format!("{target} is a qcow2 image by its first bytes, and is written as one"),
    );
    if info.snapshots > 0 {
        let number = usize::try_from(info.snapshots).unwrap_or(usize::MAX);
        plan.keeps.push(format!(
            "{} of {target}, with what it shows",
            count(number, "internal snapshot")
        ));
    }
    if info.bitmaps > 0 {
        plan.warn(NoteKind::Bitmaps, format!("the dirty bitmaps of {target} that record writes will be marked as in use, which makes QEMU ignore them: backups start over"));
    }
    if node.backing.is_some() {
        plan.note(
            NoteKind::Manner,
            format!("{target} stays built on what it is built on, and holds all of this itself"),
        );
    }
}

#[derive(Debug)]
struct Into {
    sources: Vec<Source>,
    manner: Manner,
    target: PathBuf,
    format: Format,
    /// The target, its data file and what it is built on.
    files_to_lock: FilesToLock,
    /// Bytes of data that are moved.
    data: u64,
}

impl Into {
    /// The target with what it is built on, opened and unlocked.
    fn view(&self, host: &dyn Host, keys: &image::Keys) -> image::Result<Chain> {
        let chain = Chain::open(host, &self.target, Some(&self.format), &|_| true)?;
        chain.unlock(keys, &NoProgress)?;
        Ok(chain)
    }

    /// Bytes of data, what the target grows by at most, and the size of its disk.
    fn forecast(&self, context: &Context, from: &ConvertFrom) -> image::Result<(u64, Growth, u64)> {
        let view = self.view(context.host.as_ref(), &context.keys)?;
        let disk = view.virtual_size();
        let Some(layer) = view.layers().first() else {
            return Ok((0, Growth::default(), disk));
        };
        let mut estimate = AllocationEstimate::of(layer);
        let shared = match &**layer {
            Layer::Qcow2(image) => image.header().snapshot_count > 0,
            Layer::Raw(_) => false,
        };
        let data = from.for_each_run(|state, start, end| match state {
            State::Unallocated | State::Zero if !from.stores_zeros(end - start) => {
                estimate.zeros(start, end);
                Ok(())
            }
            _ => estimate.written(layer, start, end, shared),
        })?;
        Ok((data, estimate.growth(), disk))
    }

    /// The same by qemu-img, where all sources are of one format.
    fn qemu_line(&self, request: &Convert) -> Option<String> {
        let first = self.sources.first()?;
        let mut words = vec!["qemu-img".into(), "convert".into(), "-n".into()];
        if self.sources.iter().any(|one| one.format != first.format) || request.snapshot.is_some() {
            return None;
        }
        words.extend(["-f".into(), first.format.name().into()]);
        words.extend(["-O".into(), self.format.name().into()]);
        words.extend(qemu_manner(request));
        let paths = self.sources.iter().map(|source| &source.path);
        words.extend(
            paths
                .chain([&self.target])
                .map(|path| path.as_os_str().to_owned()),
        );
        Some(command(&words))
    }

    fn failed(&self, error: image::Error) -> Error {
        let target = shown(&self.target);
        if matches!(error.kind, ErrorKind::Cancelled) {
            return Error::cancelled(format!(
                "stopped: {target} shows a part of the new content, and the old one behind that; do it again to \
                 finish"
            ));
        }
        Error::of_image(
            format!(
                "{error}. {target} may show a part of the new content; once that is mended, do it again"
            ),
            error,
        )
    }
}

impl Job for Into {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        self.files_to_lock.take(&mut locking, host)?;
        for source in &self.sources {
            source.files_to_lock.take(&mut locking, host)?;
        }
        let locks = locking.settle(plan)?;
        let held = LockedHost::new(host, &locks);
        let keys = &plan.context().keys;
        progress.enter(Phase::Copy, self.data);
        let written = || {
            let from = self.manner.open(&self.sources, &held, keys)?;
            let view = self.view(&held, keys)?;
            let (path, looking) = (&self.target, &NoProgress);
            let mut target = Target::open(&held, path, &self.format, view, Root::Active, looking)?;
            convert_into(&from, &mut target, progress)
        };
        written().map_err(|error| self.failed(error))?;
        let names: Vec<String> = self.sources.iter().map(|one| shown(&one.path)).collect();
        let mut touched = vec![self.target.clone()];
        touched.extend(data_file(host, &self.target).filter(|_| self.format == Format::Qcow2));
        Ok(Outcome {
            summary: format!(
                "converted {} into {}, which keeps its place and its options",
                listed(&names, 3),
                shown(&self.target)
            ),
            touched,
            undo: None,
            remarks: self.manner.remarks(),
        })
    }
}
