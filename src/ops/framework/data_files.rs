//! Data files named by a relative name: QEMU takes it from the directory that it is started in, and here the
//! one beside the image is read. Where that makes a difference the plan says so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::forest::{Forest, Node, NodeId, ProblemKind};
use crate::host::{FileId, Host, Stat};
use crate::image::{BackingName, beside};

use super::note::NoteKind;
use super::plan::Plan;

/// The images other than `node` that keep their data in this file. They depend on it by a name that is
/// not a backing name.
pub(in crate::ops) fn data_file_users<'f>(
    host: &dyn Host,
    forest: &'f Forest,
    node: &Node,
    file: FileId,
) -> Vec<&'f Node> {
    let uses = |owner: &&Node| {
        owner.id != node.id && data_file_of(host, owner).is_some_and(|(_, stat)| stat.id == file)
    };
    forest.nodes().filter(uses).collect()
}

/// An image's external data file, if it has one that is there.
pub(in crate::ops) fn data_file_of(host: &dyn Host, node: &Node) -> Option<(PathBuf, Stat)> {
    let name = node.info()?.data_file.as_ref()?;
    let path = BackingName::interpret(&node.path, name)
        .file()?
        .to_path_buf();
    let stat = host.stat(&path).ok()?;
    Some((path, stat))
}

/// Warns of every image that the plan touches or reads through, and whose data file QEMU would look for
/// somewhere else from here. Commands of qemu-img would not do the same: none is shown then.
pub(in crate::ops) fn warn(plan: &mut Plan) {
    let context = plan.context().clone();
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let mut layers: BTreeSet<NodeId> = BTreeSet::new();
    for effect in &plan.effects {
        if let Some(node) = forest.by_path(&effect.path) {
            layers.extend(forest.chain(node.id));
        }
    }
    let told: Vec<String> = layers
        .into_iter()
        .filter_map(|id| elsewhere(host, forest.get(id)?))
        .collect();
    if told.is_empty() {
        return;
    }
    plan.commands.clear();
    for text in told {
        plan.warn(NoteKind::DataFile, text);
    }
}

/// What is to be said of an image whose data file is another one for a QEMU started from here.
fn elsewhere(host: &dyn Host, node: &Node) -> Option<String> {
    let kind = ProblemKind::DirectoryDependentDataFile;
    let problem = node.problems.iter().find(|problem| problem.kind == kind)?;
    let recorded = Path::new(node.info()?.data_file.as_deref()?);
    let file_of = |path: &Path| host.stat(path).ok().map(|stat| stat.id);
    let differs = file_of(recorded) != file_of(&beside(&node.path, recorded));
    differs.then(|| problem.message.clone())
}
