//! Taking back a commit that kept what its base showed: the merged layers come back from the trash, what was
//! built on them is built on them again by the names it had, and only then the base receives its old content.
//! At every instant each of them shows what it shows: a layer over the merged base shows what it showed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Node, NodeId};
use crate::host::{Access, LockSet, printable};
use crate::image::{self};
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locked_host::LockedHost;
use crate::ops::framework::locks::{Locking, claim};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::request::Name;
use crate::ops::framework::resolve;
use crate::ops::{
    CommandLine, Commit, CommittedLayer, Context, EffectKind, Error, Outcome, Phase, Plan,
    Progress, RefusalKind, Relinked, Siblings, Uncommit, Undo, trash,
};
use crate::units::{count, size};

use super::merge::{CommitJob, PreservedImage};
use super::plan_sparing;

impl Operation for Uncommit {
    fn name(&self) -> &'static str {
        "undo"
    }

    fn verb(&self) -> &'static str {
        "Undo"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.old));
        for path in &mut self.layers {
            visit(Name::Path(path));
        }
        for child in &mut self.children {
            visit(Name::Path(&mut child.image));
        }
        visit(Name::TrashEntry(&mut self.entry));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // It is what undoing a commit becomes, and asked for in no other way.
        None
    }

    fn plan(&self, plan: &mut Plan) {
        plan_uncommit(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Trashed {
            layers: &self.layers,
            entry: &self.entry,
        }
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        if half.is_there(&self.old) {
            return Way::Ask(self.clone().into());
        }
        Way::Nothing(format!(
            "the base has its old content, and {} is in the trash",
            name(&self.old)
        ))
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// Plans to take the commit back.
fn plan_uncommit(plan: &mut Plan, back: &Uncommit) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    plan.title = format!("Undo the commit that {} was made by", name(&back.old));
    let names = [back.entry.to_owned()];
    let state_dir = context.state_dir.as_deref();
    let (entries, _) = trash::find(host, state_dir, &context.looked_in.dirs(), &names);
    let kept: Vec<_> = entries.iter().flat_map(|entry| &entry.files).collect();
    let mut moves = Vec::new();
    // Those below come first.
    for layer in back.layers.iter().rev() {
        let found = kept.iter().find(|file| file.original == *layer);
        match (found, host.stat_link(layer).is_ok()) {
            (Some(file), false) => {
                let text = size(file.bytes);
                plan.effect(EffectKind::Restores, layer, Some(file.bytes), text);
                plan.preconditions.add_absent(layer);
                moves.push((file.kept_at.clone(), layer.clone()));
            }
            // By the same, interrupted.
            (None, true) => {}
            (Some(_), true) => plan.refuse(RefusalKind::AlreadyExists, format!(
                "{} is taken: move what is there away first",
                shown(layer)
            )),
            (None, false) => plan.refuse(RefusalKind::NotReversible, format!(
                "{} is neither at its place nor in the trash any more: commit {} into what it is built on instead, \
                 keeping the others intact",
                shown(layer),
                name(&back.old)
            )),
        }
    }
    for child in &back.children {
        claim(plan, &child.image, LockSet::ReadWrite);
        let text = format!(
            "built on {} again: its header only",
            printable(&child.recorded)
        );
        plan.effect(EffectKind::Relinks, &child.image, None, text);
    }
    if !plan.refusals.is_empty() {
        return;
    }
    let spared = spared(&context, back);
    let asked = Commit {
        overlay: back.old.clone(),
        into: None,
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: None,
    };
    let (title, request) = (plan.title.clone(), plan.request.clone());
    let Some(mut commit) = plan_sparing(plan, &asked, &spared) else {
        return;
    };
    plan.title = title;
    plan.request = request;
    plan.undo = Undo::Possible("commit it again".to_owned());
    let kept = std::mem::take(&mut commit.kept);
    plan.job = Some(Arc::new(UncommitJob {
        commit,
        kept,
        entries,
        moves,
        children: back.children.to_vec(),
    }));
}

/// Those who read the base now, or a layer in the trash, and will read a layer over it. That one shows the
/// same whichever content the base has: what it does not hold itself it is given first, like any sibling.
fn spared(context: &Context, back: &Uncommit) -> HashSet<NodeId> {
    let forest = &context.forest;
    let children = back.children.iter().map(|child| child.image.as_path());
    let layers = back.layers.iter().map(PathBuf::as_path);
    let tops: Vec<&Node> = children
        .chain(layers)
        .filter_map(|path| resolve::named(context, path).ok())
        .collect();
    let above = tops.iter().flat_map(|node| forest.descendants(node.id));
    let in_trash = forest
        .nodes()
        .filter(|node| is_of_entry(&node.path, back))
        .flat_map(|node| forest.descendants(node.id));
    let children = back.children.iter();
    let children = children.filter_map(|child| forest.by_path(&child.image));
    children
        .map(|node| node.id)
        .chain(above)
        .chain(in_trash)
        .collect()
}

/// Whether it is one of the layers, where the trash keeps it.
fn is_of_entry(path: &Path, back: &Uncommit) -> bool {
    back.layers.iter().any(|layer| {
        let dir = layer.parent().map(|dir| dir.join(trash::DIR));
        let kept = dir.zip(layer.file_name());
        kept.is_some_and(|(dir, name)| dir.join(&back.entry).join(name) == path)
    })
}

#[derive(Debug)]
struct UncommitJob {
    commit: CommitJob,
    /// Those that receive what they would lose, the layers among them: before these leave the trash.
    kept: Vec<PreservedImage>,
    entries: Vec<trash::Entry>,
    /// From the trash to their places, those below first.
    moves: Vec<(PathBuf, PathBuf)>,
    children: Vec<Relinked>,
}

impl Job for UncommitJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        self.commit.files_to_lock.take(&mut locking, host)?;
        let mut claimed = Vec::new();
        for child in &self.children {
            let all = LockSet::ReadWrite;
            claimed.push(locking.take(host, &child.image, Access::ReadWrite, all)?);
        }
        let locks = locking.settle(plan)?;
        let files: Vec<_> = claimed.into_iter().map(|one| one.file(&locks)).collect();
        let failed = |error| self.commit.failed(error);
        let held = &LockedHost::new(host, &locks);
        self.commit
            .keep(&self.kept, held, progress)
            .map_err(failed)?;
        for (from, to) in &self.moves {
            host.rename_new(from, to)
                .map_err(|error| Error::io("restore", to, &error))?;
            for dir in [to.parent(), from.parent()].into_iter().flatten() {
                host.sync_dir(dir)
                    .map_err(|error| Error::io("flush", dir, &error))?;
            }
        }
        for (child, file) in self.children.iter().zip(files) {
            image::relink(&file, &child.recorded, &child.format).map_err(|error| {
                Error::of_image(
                    format!("{error}. Its header is the old one or the new one"),
                    error,
                )
            })?;
        }
        // Back to the layers before the base shows its old content.
        plan.redefine_sources()?;
        let mut done = self.commit.execute(plan, &locks, progress)?;
        for entry in &self.entries {
            entry.clear(host, plan.context().state_dir.as_deref());
        }
        for (from, to) in &self.moves {
            done.touched.extend([from.clone(), to.clone()]);
        }
        let children = self.children.iter().map(|child| child.image.clone());
        done.touched.extend(children);
        done.touched
            .extend(self.kept.iter().map(|kept| kept.path.clone()));
        done.touched.sort();
        done.touched.dedup();
        done.undo = None;
        done.summary = format!(
            "{} shows its old content again; {} back from the trash",
            shown(&self.commit.base.path),
            match self.moves.len() {
                1 => "1 layer is".to_owned(),
                n => format!("{} are", count(n, "layer")),
            }
        );
        Ok(done)
    }
}
