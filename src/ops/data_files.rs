//! Data files named by a relative name: QEMU takes it from the directory that it is started in, and here the
//! one beside the image is read. Where that makes a difference the plan says so.

use std::collections::BTreeSet;
use std::path::Path;

use crate::forest::{Node, NodeId, ProblemKind};
use crate::host::Host;
use crate::image::beside;

use super::Plan;

/// Warns of every image that the plan touches or reads through, and whose data file QEMU would look for
/// somewhere else from here. Commands of qemu-img would not do the same: none is shown then.
pub(super) fn warn(plan: &mut Plan) {
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
        plan.warn(text);
    }
}

/// What is to be said of an image whose data file is another one for a QEMU started from here.
fn elsewhere(host: &dyn Host, node: &Node) -> Option<String> {
    let kind = ProblemKind::DirectoryDependentDataFile;
    let problem = node.problems.iter().find(|problem| problem.kind == kind)?;
    let recorded = Path::new(node.facts()?.data_file.as_deref()?);
    let file_of = |path: &Path| host.stat(path).ok().map(|stat| stat.id);
    let differs = file_of(recorded) != file_of(&beside(&node.path, recorded));
    differs.then(|| problem.message.clone())
}
