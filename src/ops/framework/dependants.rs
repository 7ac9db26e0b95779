//! Who depends on an image? A dependant is every file that reads what an operation touches. The question is
//! asked of the forest when an operation is planned, and once more by [`look_again`] when its locks are held
//! and no byte is written: a person may think for an hour, and meanwhile others make images. A dependant that
//! the plan did not know makes it stale. Where is looked is decided in `context`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::forest::{Forest, Index, Node, Reader, Reads, ScanOptions, ScannedFile, news};
use crate::host::{FileId, Host};
use crate::machines::Machines;

use super::context::Context;
use super::data_files::{data_file_of, data_file_users};
use super::definition_change::Step;
use super::error::Error;
use super::format::shown;
use super::plan::{EffectKind, Plan};

/// Every image other than `node` that reads it or its external data file, and how: what is built on either, and what
/// keeps its data in either.
pub(in crate::ops) fn dependants_of(host: &dyn Host, forest: &Forest, node: &Node) -> Vec<Reader> {
    let mut found = forest.readers(node.id);
    let data = data_file_of(host, node).map(|(_, stat)| stat.id);
    for file in node.file_id().into_iter().chain(data) {
        let users = data_file_users(host, forest, node, file).into_iter();
        found.extend(users.map(|owner| Reader {
            node: owner.id,
            how: Reads::DataFile,
        }));
    }
    if let Some(file) = data {
        match forest.by_file(file) {
            Some(data) => found.extend(forest.readers(data.id)),
            None => found.extend(forest.readers_by_other_ways(file)),
        }
    }
    found.retain(|reader| reader.node != node.id);
    found.sort_unstable();
    found.dedup();
    found
}

/// What an operation touches, or has a machine touch from then on, and all that is known to depend on it.
#[derive(Debug, Default)]
struct Known {
    /// Each file, with the name to tell it by.
    files: HashMap<FileId, PathBuf>,
    /// Every name by which an image elsewhere may know one of them.
    names: BTreeSet<PathBuf>,
}

/// Every file that the plan touches, and all that is known to read it: by name.
pub(in crate::ops) fn touched(plan: &Plan) -> HashMap<FileId, PathBuf> {
    Known::of(plan).files
}

/// Whether the files that a kind of effect happens to are read by others afterwards as before.
fn is_touched(kind: EffectKind) -> bool {
    match kind {
        EffectKind::Reads
        | EffectKind::Annotates
        | EffectKind::Freezes
        | EffectKind::Creates
        | EffectKind::Restores => false,
        EffectKind::Writes
        | EffectKind::Preserves
        | EffectKind::Relinks
        | EffectKind::Moves
        | EffectKind::Updates
        | EffectKind::Chmods
        | EffectKind::Grows
        | EffectKind::Drops
        | EffectKind::Empties
        | EffectKind::Breaks
        | EffectKind::Trashes
        | EffectKind::Deletes => true,
    }
}

impl Known {
    fn of(plan: &Plan) -> Self {
        let context = plan.context();
        let forest = context.forest.as_ref();
        let mut known = Self::default();
        let mut places = BTreeMap::new();
        let touched = plan.effects.iter().filter(|one| is_touched(one.kind));
        // What a machine is going to write is to have no dependants.
        let written = plan.redefinitions.iter().filter(|one| !one.is_done());
        let written = written.filter_map(|one| match &one.change.step {
            Step::Source { to, .. } => Some(to),
            Step::Unpin | Step::Pin => None,
        });
        let written = written.chain(&plan.written_by_machine);
        for path in touched.map(|effect| &effect.path).chain(written) {
            let by_file = || context.host.stat(path).ok();
            let node = forest
                .by_path(path)
                .or_else(|| forest.by_file(by_file()?.id));
            let Some(node) = node else {
                if let Some(stat) = by_file() {
                    known.files.insert(stat.id, path.clone());
                }
                continue;
            };
            let mut open = vec![node.id];
            while let Some(one) = open.pop().and_then(|id| forest.get(id)) {
                let Some(file) = one.file_id() else { continue };
                if known.files.insert(file, one.path.clone()).is_some() {
                    continue;
                }
                let names = std::iter::once(&one.path).chain(&one.other_names);
                known
                    .names
                    .extend(names.flat_map(|name| places_of(&*context.host, &mut places, name)));
                open.extend(forest.readers(one.id).into_iter().map(|reader| reader.node));
            }
        }
        known
    }

    /// What a found file depends on of all that is known, unless the plan knew it.
    fn new_on(&self, found: &ScannedFile) -> Option<&PathBuf> {
        let file = found.stat.as_ref()?.id;
        if self.files.contains_key(&file) {
            return None;
        }
        found.reads().find_map(|base| self.files.get(&base))
    }
}

/// A name with the links in its folder resolved, and with all resolved: under either the index may know it.
pub(in crate::ops) fn places_of(
    host: &dyn Host,
    folders: &mut BTreeMap<PathBuf, Option<PathBuf>>,
    name: &Path,
) -> Vec<PathBuf> {
    let folder = name.parent().unwrap_or(Path::new("/"));
    let place = folders
        .entry(folder.to_path_buf())
        .or_insert_with(|| host.canonical(folder).ok());
    let in_folder = place.as_ref().zip(name.file_name());
    let in_folder = in_folder.map(|(place, name)| place.join(name));
    in_folder
        .into_iter()
        .chain(host.canonical(name).ok())
        .collect()
}

/// Looks once more for what depends on the files that the plan touches. Folders are listed again and new or
/// changed files opened, no others; of the images remembered, those that are built on these files; of the disks of
/// machines, those that lie elsewhere.
///
/// # Errors
/// [`Error::Stale`] names a dependant that the plan did not know, and what it depends on.
pub(in crate::ops) fn look_again(plan: &Plan, machines: Option<&Machines>) -> Result<(), Error> {
    let known = Known::of(plan);
    if known.files.is_empty() {
        return Ok(());
    }
    let context = plan.context();
    let scan = ScanOptions {
        roots: context.looked_in.dirs(),
        follow: false,
        raw: false,
    };
    let came = news(&context.forest, &context.host, &scan);
    let elsewhere = remembered(context, &known);
    let disks = machines.map(|now| context.forest.disks_elsewhere(&context.host, now));
    for found in came.iter().chain(&elsewhere).chain(disks.iter().flatten()) {
        if plan.made_before.contains(&found.path) {
            continue;
        }
        if let Some(base) = known.new_on(found) {
            return Err(Error::stale(format!(
                "{} is built on {}, which the plan did not know: plan again",
                shown(&found.path),
                shown(base)
            )));
        }
    }
    Ok(())
}

/// What the index knows of images built on these files. An index that cannot be read was told when planning.
fn remembered(context: &Context, known: &Known) -> Vec<ScannedFile> {
    let index = context.state_dir.as_deref().map(Index::at);
    let found = index.and_then(|index| index.built_on(&context.host, &known.names).ok());
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests;
