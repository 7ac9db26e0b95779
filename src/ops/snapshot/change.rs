//! Taking, applying and deleting an internal snapshot. The whole change is worked out when it is
//! planned, so that the plan says what it costs, and once more under locks when it runs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use crate::forest::{Location, Node};
use crate::host::{Access, LockSet, printable, printable_bytes};
use crate::image::{
    self, ErrorKind, ImageFile, NewSnapshot, NoProgress, ProgressSink, SnapshotChange,
};
use crate::ops::framework::format::{command, listed, name, shown};
use crate::ops::framework::locks::{Locking, claim};
use crate::ops::framework::plan::Job;
use crate::ops::framework::{resolve, space};
use crate::ops::{
    ChangeSnapshot, Dependants, EffectKind, Error, GuestFate, NoteKind, Outcome, Phase, Plan,
    Progress, RefusalKind, Request, SnapshotAction, SnapshotName, Undo, WayOut,
};
use crate::qcow2::Snapshot;
use crate::units::{count, size};

/// The longest name that QEMU shows and finds again, in bytes.
const MAX_NAME: usize = 255;

/// Plans to take a snapshot.
pub(super) fn plan_create(plan: &mut Plan, node: &Node, there: &[Snapshot], title: &OsStr) {
    let wanted = title.as_bytes();
    let path = shown(&node.path);
    if wanted.is_empty() || wanted.len() > MAX_NAME {
        plan.refuse(
            RefusalKind::Invalid,
            format!(
                "a snapshot's name has from 1 to {MAX_NAME} bytes, and this one has {}",
                wanted.len()
            ),
        );
    }
    if there.iter().any(|snapshot| snapshot.name == wanted) {
        plan.refuse_as_through(
            RefusalKind::AlreadyExists,
            format!(
                "{path} has an internal snapshot {} already: choose another name",
                printable(title)
            ),
        );
    }
    if wanted.iter().all(u8::is_ascii_digit) {
        plan.warn(
            NoteKind::Snapshots,
            "a name that is a number can be taken for an ID by qemu-img".to_owned(),
        );
    }
    let what = What::Create(title.to_owned());
    let Some(change) = work_out(plan, node, what) else {
        return;
    };
    plan.effect(
        EffectKind::Updates,
        &node.path,
        Some(change.written()),
        format!(
            "{} of tables, its disk stays as it is; from then on what is overwritten takes new space",
            size(change.written())
        ),
    );
    plan.undo = Undo::Possible("delete the snapshot".to_owned());
    plan.roll_back = Some(Request::Snapshot(ChangeSnapshot {
        image: node.path.clone(),
        action: SnapshotAction::Delete {
            snapshot: SnapshotName::Name(title.to_owned()),
        },
    }));
    push_command(plan, node, "-c", title);
}

/// Plans to go back to a snapshot.
pub(super) fn plan_apply(
    plan: &mut Plan,
    node: &Node,
    snapshot: &Snapshot,
    dependants: Dependants,
) {
    if node.location == Location::OutsideScan {
        plan.refuse_for(resolve::dependants_unknown(&node.path));
    }
    let Some(change) = work_out(plan, node, What::Apply(snapshot.id.clone())) else {
        return;
    };
    let title = printable_bytes(&snapshot.name);
    if change.is_so() {
        return plan.refuse_as_done(format!(
            "{} shows what its snapshot {title} shows already",
            shown(&node.path)
        ));
    }
    let mut text = format!("shows what its snapshot {title} shows, in place of what it holds now");
    let now = node.virtual_size().unwrap_or(0);
    if let Some(then) = snapshot.virtual_size().filter(|then| *then != now) {
        text.push_str(&format!(
            "; its disk is {} then, not {}",
            size(then),
            size(now)
        ));
    }
    plan.effect(EffectKind::Writes, &node.path, Some(change.written()), text);
    let id = OsString::from_vec(snapshot.id.clone());
    plan.concerns_files(node, GuestFate::GoBack { snapshot: id });
    plan.frees = change.freed().saturating_sub(change.written());
    plan.keeps
        .push(format!("the snapshot {title}, which can be applied again"));
    judge_dependants(plan, node, snapshot, dependants);
    if node.info().is_some_and(|info| info.bitmaps > 0) {
        plan.warn(NoteKind::Bitmaps, format!(
            "the dirty bitmaps of {} that record writes will be marked as in use, which makes QEMU ignore \
             them: backups start over",
            name(&node.path)
        ));
    }
    if snapshot.vm_state_size() > 0 {
        plan.note(NoteKind::Snapshots, format!(
            "the snapshot holds the state of a running machine ({}): a machine started on the disk alone \
             finds it as after a power cut",
            size(snapshot.vm_state_size())
        ));
    }
    plan.undo = Undo::Impossible(format!(
        "what {} holds now and no snapshot does is lost; take a snapshot of it first to keep it",
        name(&node.path)
    ));
    say_command(plan, node, "-a", snapshot, change.snapshots());
}

/// Everything built on the image sees other content from then on.
fn judge_dependants(plan: &mut Plan, node: &Node, snapshot: &Snapshot, dependants: Dependants) {
    let forest = Arc::clone(&plan.context().forest);
    let above: Vec<&Node> = forest
        .descendants(node.id)
        .into_iter()
        .filter_map(|id| forest.get(id))
        .collect();
    if above.is_empty() {
        return;
    }
    for child in &above {
        let text = if child.parent == Some(node.id) {
            format!("built on {}, which changes below it", name(&node.path))
        } else {
            format!("reads {} through others", name(&node.path))
        };
        plan.effect(EffectKind::Breaks, &child.path, None, text);
    }
    if dependants == Dependants::Break {
        return;
    }
    let names: Vec<String> = above.iter().map(|child| name(&child.path)).collect();
    let action = SnapshotAction::Apply {
        snapshot: SnapshotName::Id(OsStr::from_bytes(&snapshot.id).to_owned()),
        dependants: Dependants::Break,
    };
    plan.refuse_but(
        RefusalKind::HasDependants,
        format!(
            "{} {} built on {}, and would see other content below what they hold",
            listed(&names, 5),
            if names.len() == 1 { "is" } else { "are" },
            name(&node.path)
        ),
        vec![WayOut {
            label: format!(
                "break them: {} would show other content from then on",
                count(names.len(), "image")
            ),
            request: Request::Snapshot(ChangeSnapshot {
                image: node.path.clone(),
                action,
            }),
        }],
    );
}

/// Plans to delete a snapshot.
pub(super) fn plan_delete(plan: &mut Plan, node: &Node, snapshot: &Snapshot) {
    let Some(change) = work_out(plan, node, What::Delete(snapshot.id.clone())) else {
        return;
    };
    let title = printable_bytes(&snapshot.name);
    let state = match snapshot.vm_state_size() {
        0 => String::new(),
        bytes => format!(" and its machine state of {}", size(bytes)),
    };
    plan.effect(
        EffectKind::Drops,
        &node.path,
        Some(change.written()),
        format!("its snapshot {title}{state} is gone for good, its disk stays as it is"),
    );
    plan.frees = change.freed().saturating_sub(change.written());
    let others = change.snapshots().len();
    if others > 0 {
        plan.keeps.push(format!(
            "{} of {}",
            count(others, "other snapshot"),
            name(&node.path)
        ));
    }
    plan.undo = Undo::Impossible(format!(
        "nothing else remembers what the snapshot {title} shows; copy it out first to keep it"
    ));
    say_command(plan, node, "-d", snapshot, change.snapshots());
}

/// The same with qemu-img, which takes a snapshot by its name or ID and the first that fits.
fn say_command(
    plan: &mut Plan,
    node: &Node,
    option: &str,
    snapshot: &Snapshot,
    others: &[Snapshot],
) {
    let fits = |other: &&Snapshot| {
        other.id != snapshot.id && (other.name == snapshot.name || other.id == snapshot.name)
    };
    match others.iter().find(fits) {
        None => push_command(plan, node, option, OsStr::from_bytes(&snapshot.name)),
        Some(_) => plan.beyond_qemu_img(&format!(
            "by the name {} it may take another snapshot",
            printable_bytes(&snapshot.name)
        )),
    }
}

fn push_command(plan: &mut Plan, node: &Node, option: &str, title: &OsStr) {
    plan.commands.push(command(&[
        OsStr::new("qemu-img"),
        OsStr::new("snapshot"),
        OsStr::new(option),
        title,
        node.path.as_os_str(),
    ]));
}

/// Looks who uses the image, works the change out as far as nothing has to be written for it, and
/// makes it what the plan runs.
fn work_out(plan: &mut Plan, node: &Node, what: What) -> Option<SnapshotChange> {
    let context = plan.context().clone();
    let (host, path) = (context.host.as_ref(), &node.path);
    claim(plan, path, LockSet::ReadWrite);
    if !plan.refusals.is_empty() {
        return None;
    }
    let job = Change {
        image: path.clone(),
        what,
    };
    let worked_out = ImageFile::open(host, path, Access::Read)
        .and_then(|file| job.work_out(plan, &file, &NoProgress));
    let change = match worked_out {
        Ok(change) => change,
        Err(error) => {
            plan.refuse_error(&error);
            return None;
        }
    };
    space::need_at(plan, path, change.written());
    plan.job = Some(Arc::new(job));
    Some(change)
}

/// What is changed; snapshots by their IDs.
#[derive(Debug)]
enum What {
    Create(OsString),
    Apply(Vec<u8>),
    Delete(Vec<u8>),
}

#[derive(Debug)]
struct Change {
    image: PathBuf,
    what: What,
}

impl Change {
    fn work_out(
        &self,
        plan: &Plan,
        file: &ImageFile,
        pace: &dyn ProgressSink,
    ) -> image::Result<SnapshotChange> {
        match &self.what {
            What::Create(title) => {
                let new = NewSnapshot {
                    name: title.as_bytes().to_vec(),
                    date: plan.host().now(),
                };
                SnapshotChange::create(file, &new, pace)
            }
            What::Apply(id) => SnapshotChange::apply(file, id, pace),
            What::Delete(id) => SnapshotChange::delete(file, id, pace),
        }
    }

    fn failed(&self, error: image::Error) -> Error {
        let path = shown(&self.image);
        if matches!(error.kind, ErrorKind::Cancelled) {
            return Error::cancelled(format!("stopped: {path} is as it was"));
        }
        Error::of_image(
            format!("{error}. {path} is complete, either as it was or with the change made"),
            error,
        )
    }
}

impl Job for Change {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(host, &self.image, Access::ReadWrite, LockSet::ReadWrite)?;
        let locks = locking.settle(plan)?;
        let file = file.file(&locks);
        let change = self
            .work_out(plan, &file, progress)
            .map_err(|error| self.failed(error))?;
        progress.enter(Phase::Copy, change.written());
        let path = shown(&self.image);
        let id_of_last = change.snapshots().last().map(|last| last.id.clone());
        let (summary, undo) = match &self.what {
            What::Create(title) => {
                let undo = id_of_last.map(|id| {
                    Request::Snapshot(ChangeSnapshot {
                        image: self.image.clone(),
                        action: SnapshotAction::Delete {
                            snapshot: SnapshotName::Id(OsStr::from_bytes(&id).to_owned()),
                        },
                    })
                });
                (
                    format!("took the snapshot {} of {path}", printable(title)),
                    undo,
                )
            }
            What::Apply(id) => {
                let applied = change.snapshots().iter().find(|s| s.id == *id);
                let title = applied.map_or_else(String::new, |s| printable_bytes(&s.name));
                (format!("took {path} back to its snapshot {title}"), None)
            }
            What::Delete(id) => (
                format!(
                    "deleted the snapshot with the ID {} of {path}",
                    printable_bytes(id)
                ),
                None,
            ),
        };
        change
            .commit(progress)
            .map_err(|error| self.failed(error))?;
        Ok(Outcome {
            summary,
            touched: vec![self.image.clone()],
            undo,
            remarks: Vec::new(),
        })
    }
}
