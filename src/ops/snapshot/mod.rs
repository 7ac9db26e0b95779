//! Internal snapshots: taken, applied and deleted, which changes their image, and copied out, which
//! only reads it. What they have in common is here: which snapshot of which image is meant.

mod change;
mod extract;
pub(super) mod request;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::forest::{Content, Node};
use crate::host::{Access, printable, printable_bytes};
use crate::image::{self, ImageFile};
use crate::qcow2::Snapshot;

use super::framework::eligibility::refuse_unfit;
use super::framework::format::{listed, name, shown};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::resolve;
use super::{ChangeSnapshot, CommandLine, Plan, RefusalKind, SnapshotAction, SnapshotName};

impl Operation for ChangeSnapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    fn verb(&self) -> &'static str {
        match self.action {
            SnapshotAction::Create { .. } => "Snapshot",
            SnapshotAction::Apply { .. } => "Apply",
            SnapshotAction::Delete { .. } => "Delete",
            SnapshotAction::Extract { .. } => "Copy out",
        }
    }

    fn nature(&self) -> Nature<'_> {
        match &self.action {
            SnapshotAction::Extract { new, .. } => Nature::CreatesImage(new),
            SnapshotAction::Create { .. }
            | SnapshotAction::Apply { .. }
            | SnapshotAction::Delete { .. } => Nature::Changes,
        }
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        match &mut self.action {
            SnapshotAction::Extract { new, .. } => visit(Name::Path(new)),
            SnapshotAction::Create { .. }
            | SnapshotAction::Apply { .. }
            | SnapshotAction::Delete { .. } => {}
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(self.line())
    }

    fn plan(&self, plan: &mut Plan) {
        plan_snapshot(plan, &self.image, &self.action)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        match self.nature().makes_files() {
            true => half.finish_making(self.clone()),
            false => Way::Ask(self.clone().into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        self.nature().makes_files()
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        match self.nature().makes_files() {
            true => half.unmake(),
            false => half.as_planned(),
        }
    }
}

/// Plans what is asked of an image's internal snapshots.
fn plan_snapshot(plan: &mut Plan, image: &Path, action: &SnapshotAction) {
    let context = plan.context().clone();
    plan.title = title(image, action);
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let how = match action {
        SnapshotAction::Extract { .. } => "read",
        _ => "changed",
    };
    refuse_unfit(plan, node, how);
    if !matches!(node.content, Content::Qcow2(_)) {
        if plan.refusals.is_empty() {
            plan.refuse(
                RefusalKind::Unsupported,
                format!(
                    "{} is a raw image: only qcow2 images have internal snapshots",
                    shown(&node.path)
                ),
            );
        }
        return;
    }
    if node.info().is_some_and(|info| info.external_data) {
        plan.refuse(RefusalKind::Unsupported, format!(
            "{} keeps its guest's data in an external data file: such images have no internal snapshots",
            shown(&node.path)
        ));
    }
    if !plan.refusals.is_empty() {
        return;
    }
    let snapshots = match snapshots_of(plan, node) {
        Ok(snapshots) => snapshots,
        Err(error) => return plan.refuse_error(&error),
    };
    match action {
        SnapshotAction::Create { name } => change::plan_create(plan, node, &snapshots, name),
        SnapshotAction::Apply {
            snapshot,
            dependants,
        } => {
            if let Some(snapshot) = chosen(plan, node, &snapshots, snapshot) {
                change::plan_apply(plan, node, snapshot, *dependants);
            }
        }
        SnapshotAction::Delete { snapshot } => {
            if let Some(snapshot) = chosen(plan, node, &snapshots, snapshot) {
                change::plan_delete(plan, node, snapshot);
            } else {
                plan.is_done = !snapshots.iter().any(|one| is_meant(one, snapshot));
            }
        }
        SnapshotAction::Extract {
            snapshot,
            new,
            form,
        } => {
            if let Some(snapshot) = chosen(plan, node, &snapshots, snapshot) {
                extract::plan(plan, node, snapshot, new, *form);
            }
        }
    }
}

fn title(image: &Path, action: &SnapshotAction) -> String {
    let image = name(image);
    match action {
        SnapshotAction::Create { name } => {
            format!("Snapshot: take {} of {image}", printable(name))
        }
        SnapshotAction::Apply { snapshot, .. } => {
            format!("Snapshot: apply {} to {image}", called(snapshot))
        }
        SnapshotAction::Delete { snapshot } => {
            format!("Snapshot: delete {} of {image}", called(snapshot))
        }
        SnapshotAction::Extract { snapshot, new, .. } => {
            format!(
                "Snapshot: copy {} of {image} to {}",
                called(snapshot),
                name(new)
            )
        }
    }
}

fn called(snapshot: &SnapshotName) -> String {
    match snapshot {
        SnapshotName::Name(name) => printable(name),
        SnapshotName::Id(id) => format!("ID {}", printable(id)),
    }
}

/// The internal snapshot of an image that is meant.
pub(super) fn named(plan: &mut Plan, node: &Node, wanted: &SnapshotName) -> Option<Snapshot> {
    if !matches!(node.content, Content::Qcow2(_)) {
        plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{} is no qcow2 image: only those have internal snapshots",
                shown(&node.path)
            ),
        );
        return None;
    }
    match snapshots_of(plan, node) {
        Ok(snapshots) => chosen(plan, node, &snapshots, wanted).cloned(),
        Err(error) => {
            plan.refuse_error(&error);
            None
        }
    }
}

fn snapshots_of(plan: &Plan, node: &Node) -> image::Result<Vec<Snapshot>> {
    let file = ImageFile::open(plan.host(), &node.path, Access::Read)?;
    let header = image::read_header(&file)?;
    image::snapshots(&file, &header)
}

fn is_meant(snapshot: &Snapshot, wanted: &SnapshotName) -> bool {
    match wanted {
        SnapshotName::Name(name) => snapshot.name == name.as_bytes(),
        SnapshotName::Id(id) => snapshot.id == id.as_bytes(),
    }
}

/// The one snapshot that is meant, or why it cannot be said.
pub(super) fn choose<'s>(
    path: &Path,
    snapshots: &'s [Snapshot],
    wanted: &SnapshotName,
) -> Result<&'s Snapshot, String> {
    let path = shown(path);
    let of_id =
        |id: &[u8]| -> Vec<&'s Snapshot> { snapshots.iter().filter(|s| s.id == id).collect() };
    let found: Vec<&Snapshot> = snapshots.iter().filter(|s| is_meant(s, wanted)).collect();
    let ids = |list: &[&Snapshot]| {
        let ids: Vec<String> = list.iter().map(|s| printable_bytes(&s.id)).collect();
        listed(&ids, 8)
    };
    Err(match (found.as_slice(), wanted) {
        ([one], _) => return Ok(one),
        ([], _) if snapshots.is_empty() => format!("{path} has no internal snapshots"),
        ([], SnapshotName::Name(name)) if !of_id(name.as_bytes()).is_empty() => {
            let number = printable(name);
            format!(
                "{path} has no internal snapshot of the name {number}, but one with that ID: say that the ID \
                 is meant"
            )
        }
        ([], _) => {
            let names: Vec<String> = snapshots.iter().map(|s| printable_bytes(&s.name)).collect();
            format!(
                "{path} has no such internal snapshot, it has {}",
                listed(&names, 8)
            )
        }
        (several, SnapshotName::Name(_)) => format!(
            "{path} has several internal snapshots of that name, with the IDs {}: choose by the ID",
            ids(several)
        ),
        (_, SnapshotName::Id(_)) => format!(
            "{path} has several internal snapshots with that ID: which one is meant cannot be said"
        ),
    })
}

/// The same where a plan is refused for want of it.
fn chosen<'s>(
    plan: &mut Plan,
    node: &Node,
    snapshots: &'s [Snapshot],
    wanted: &SnapshotName,
) -> Option<&'s Snapshot> {
    match choose(&node.path, snapshots, wanted) {
        Ok(snapshot) => Some(snapshot),
        Err(sentence) => {
            plan.refuse(RefusalKind::NotFound, sentence);
            None
        }
    }
}
