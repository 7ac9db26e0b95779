//! Copying a snapshot out: its content becomes an image of its own. The image it is in is only read.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Content, Flags, Location, Node};
use crate::host::{Host, printable_bytes};
use crate::image::{
    self, AllocationEstimate, Chain, ErrorKind, Format, Keys, NoProgress, SnapshotForm, State,
    extract_snapshot, snapshot_view,
};
use crate::ops::branch::not_created;
use crate::ops::framework::eligibility::{
    format_of, names_outside, refuse_foreign_data, refuse_unnamed,
};
use crate::ops::framework::files_to_lock::FilesToLock;
use crate::ops::framework::format::{command, name, shown};
use crate::ops::framework::locked_host::{LockedHost, files_of, has_secrets};
use crate::ops::framework::plan::Job;
use crate::ops::framework::secrecy::warn_of_plain_copies;
use crate::ops::framework::{backing_name, new_file, readers, unlock};
use crate::ops::{
    BackingStyle, EffectKind, Error, ExtractAs, NoteKind, Outcome, Phase, Plan, Progress,
    RefusalKind, Request, Undo, WayOut,
};
use crate::qcow2::Snapshot;
use crate::units::size;

/// Plans to copy a snapshot out.
pub(super) fn plan(plan: &mut Plan, node: &Node, snapshot: &Snapshot, new: &Path, form: ExtractAs) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let Some(below) = chain_below(plan, node) else {
        return;
    };
    refuse_foreign_data(plan, context.forest.chain(node.id));
    if !plan.refusals.is_empty() {
        return;
    }
    let Some(form) = form_of(plan, node, &below, new, form) else {
        return;
    };
    let unlocked = match form {
        SnapshotForm::Overlay { .. } => unlock::unlock(&context, &node.path),
        SnapshotForm::Qcow2 | SnapshotForm::Raw => unlock::unlock_chain(&context, node.id),
    };
    if let Err(error) = unlocked {
        return plan.refuse_error(&error);
    }
    let (bytes, needed) = match forecast(host, &context.keys, &node.path, snapshot, &form) {
        Ok(forecast) => forecast,
        Err(error) => return plan.refuse_error(&error),
    };
    let virtual_size = snapshot.virtual_size().or(node.virtual_size()).unwrap_or(0);
    if new_file::check(plan, new, needed).is_none() {
        return;
    }
    let mut files_to_lock = FilesToLock::default();
    files_to_lock.read(host, &node.path, &Format::Qcow2);
    for base in below.iter().filter_map(|path| context.forest.by_path(path)) {
        files_to_lock.read(host, &base.path, &format_of(base));
    }
    files_to_lock.secure(plan);
    for path in std::iter::once(&node.path).chain(&below) {
        plan.effect(EffectKind::Reads, path, None, "");
    }
    let title = printable_bytes(&snapshot.name);
    let kind = match &form {
        SnapshotForm::Raw => "a raw image, built on nothing".to_owned(),
        SnapshotForm::Qcow2 => "a qcow2 image, built on nothing".to_owned(),
        SnapshotForm::Overlay { .. } => match below.first() {
            Some(base) => format!("built on {} as {} is", name(base), name(&node.path)),
            None => String::new(),
        },
    };
    plan.effect(
        EffectKind::Creates,
        new,
        Some(bytes),
        format!(
            "the disk of {} that the snapshot {title} shows, {} of data, {kind}",
            size(virtual_size),
            size(bytes)
        ),
    );
    plan.copies = bytes;
    warn_of_plain_copies(plan, [node], &[name(new)]);
    plan.note(NoteKind::Manner,
        "it becomes an image of its own: an overlay can be built on what an image shows now, never on one of \
         its internal snapshots"
            .to_owned(),
    );
    if snapshot.vm_state_size() > 0 {
        plan.note(
            NoteKind::Snapshots,
            format!(
                "the machine state in the snapshot ({}) is not copied",
                size(snapshot.vm_state_size())
            ),
        );
    }
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    if !matches!(form, SnapshotForm::Overlay { .. }) {
        push_command(plan, node, snapshot, new, &form);
    }
    plan.job = Some(Arc::new(Extract {
        image: node.path.clone(),
        files_to_lock,
        id: snapshot.id.clone(),
        title,
        new: new.to_path_buf(),
        form,
        bytes,
        keys: context.keys.clone(),
    }));
}

fn push_command(
    plan: &mut Plan,
    node: &Node,
    snapshot: &Snapshot,
    new: &Path,
    form: &SnapshotForm,
) {
    let mut selector = OsString::from("snapshot.id=");
    selector.push(OsStr::from_bytes(&snapshot.id));
    let format = match form {
        SnapshotForm::Raw => "raw",
        _ => "qcow2",
    };
    plan.commands.push(command(&[
        OsStr::new("qemu-img"),
        OsStr::new("convert"),
        OsStr::new("-l"),
        &selector,
        OsStr::new("-O"),
        OsStr::new(format),
        node.path.as_os_str(),
        new.as_os_str(),
    ]));
}

/// The files below the image, nearest first, if all of them are there.
fn chain_below(plan: &mut Plan, node: &Node) -> Option<Vec<PathBuf>> {
    let forest = Arc::clone(&plan.context().forest);
    let path = shown(&node.path);
    if forest.flags(node.id).contains(Flags::LOOP) {
        plan.refuse(
            RefusalKind::Loop,
            format!("the backing links of {path} run in a circle"),
        );
        return None;
    }
    let mut below = Vec::new();
    if !readers::is_understood(plan, &forest, node) {
        return None;
    }
    for id in forest.chain(node.id).into_iter().skip(1) {
        let base = forest.get(id)?;
        if !readers::is_understood(plan, &forest, base) {
            return None;
        }
        let why = match base.location {
            Location::Missing => "which is not there",
            Location::Elsewhere => "which is no local file",
            Location::OutsideScan if matches!(base.content, Content::Unopened) => {
                plan.refuse_for(names_outside(&node.path, "is built on", &base.path));
                return None;
            }
            Location::Scanned | Location::OutsideScan | Location::InTrash => {
                if refuse_unnamed(plan, node, base) {
                    return None;
                }
                below.push(base.path.clone());
                continue;
            }
        };
        plan.refuse(
            RefusalKind::NotFound,
            format!(
                "{path} is built on {}, {why}: a part of what the snapshot shows is in there",
                shown(&base.path)
            ),
        );
        return None;
    }
    Some(below)
}

fn form_of(
    plan: &mut Plan,
    node: &Node,
    below: &[PathBuf],
    new: &Path,
    form: ExtractAs,
) -> Option<SnapshotForm> {
    match form {
        ExtractAs::Qcow2 => Some(SnapshotForm::Qcow2),
        ExtractAs::Raw => Some(SnapshotForm::Raw),
        ExtractAs::Overlay => {
            let path = shown(&node.path);
            let (Some(base), Some(backing)) = (below.first(), &node.backing) else {
                plan.refuse(RefusalKind::NotInChain, format!(
                    "{path} is built on nothing, so its snapshot can only become an image that is built on \
                     nothing"
                ));
                return None;
            };
            let Some(format) = backing.format().cloned() else {
                plan.refuse_but(
                    RefusalKind::BackingFormat,
                    format!(
                        "{path} does not record the format of what it is built on: record it first"
                    ),
                    vec![WayOut::record_format(&node.path, base)],
                );
                return None;
            };
            let style = BackingStyle::default();
            match backing_name::leading(plan.host(), new, base, style) {
                Ok(name) => Some(SnapshotForm::Overlay { name, format }),
                Err(sentence) => {
                    plan.refuse(RefusalKind::BackingName, sentence);
                    None
                }
            }
        }
    }
}

/// The snapshot's view: with all that is below it, or alone where that is what is copied.
fn view_of(
    host: &dyn Host,
    keys: &Keys,
    image: &Path,
    id: &[u8],
    form: &SnapshotForm,
) -> image::Result<Chain> {
    let chain = match form {
        SnapshotForm::Overlay { .. } => Chain::new(vec![Arc::new(image::Layer::open(
            host,
            image,
            &Format::Qcow2,
        )?)]),
        // The plan has seen that all of them may be followed.
        SnapshotForm::Qcow2 | SnapshotForm::Raw => {
            Chain::open(host, image, Some(&Format::Qcow2), &|_| true)?
        }
    };
    chain.unlock(keys, &NoProgress)?;
    let snapshots = match chain.layers().first().map(|layer| &**layer) {
        Some(image::Layer::Qcow2(top)) => image::snapshots(top.file(), top.header())?,
        _ => Vec::new(),
    };
    let found = snapshots.iter().find(|snapshot| snapshot.id == id);
    let Some(snapshot) = found else {
        let text = format!("has no snapshot with the ID {}", printable_bytes(id));
        return Err(image::Error::new(image, ErrorKind::NoSuch(text)));
    };
    snapshot_view(&chain, snapshot)
}

/// Bytes that will be copied, and those that the new file takes at most.
fn forecast(
    host: &dyn Host,
    keys: &Keys,
    path: &Path,
    snapshot: &Snapshot,
    form: &SnapshotForm,
) -> image::Result<(u64, u64)> {
    let view = view_of(host, keys, path, &snapshot.id, form)?;
    let disk = view.virtual_size();
    let (mut estimate, empty) = match image::made_like(&view, form) {
        None => (AllocationEstimate::raw(), 0),
        Some(options) => (
            options.estimate(path)?,
            image::new_len(path, &options)?.image_blocks,
        ),
    };
    let mut bytes = 0;
    let mut at = 0;
    while at < disk {
        let run = view.resolve(at, disk)?.extent;
        match run.state {
            State::Data { .. } | State::Compressed { .. } => {
                bytes += run.len;
                estimate.data(run.start, run.end());
            }
            State::Zero => estimate.zeros(run.start, run.end()),
            State::Unallocated => {}
        }
        at = run.end();
    }
    Ok((bytes, estimate.growth().total().saturating_add(empty)))
}

#[derive(Debug)]
struct Extract {
    image: PathBuf,
    /// All files that are read.
    files_to_lock: FilesToLock,
    id: Vec<u8>,
    title: String,
    new: PathBuf,
    form: SnapshotForm,
    bytes: u64,
    keys: Keys,
}

impl Job for Extract {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let locks = self.files_to_lock.lock(plan)?;
        progress.enter(Phase::Copy, self.bytes);
        let held = LockedHost::new(host, &locks);
        view_of(&held, &self.keys, &self.image, &self.id, &self.form)
            .and_then(|view| {
                let making =
                    LockedHost::new(host, &locks).for_copies(files_of(&view), has_secrets(&view));
                extract_snapshot(&making, &view, &self.new, &self.form, progress)
            })
            .map_err(|error| not_created(&self.new, error))?;
        Ok(Outcome {
            summary: format!(
                "copied the snapshot {} of {} to {}",
                self.title,
                shown(&self.image),
                shown(&self.new)
            ),
            touched: vec![self.new.clone()],
            undo: Some(Request::discard(vec![self.new.clone()])),
            remarks: Vec::new(),
        })
    }
}
