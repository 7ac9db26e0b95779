//! After a plan was carried out: what the images in the trash are built on then is written down again, so that a
//! restore does not take what was kept intact for changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::forest::NodeId;
use crate::host::Host;
use crate::image::taken_from;
use crate::ops::framework::plan::{EffectKind, Plan};

use super::base::Base;
use super::file_name::Name;
use super::folder::manifest_path;
use super::manifest::Manifest;

/// After a plan was carried out: what it kept intact, or put into the trash, is built on what that is now. What
/// it broke keeps its record, which tells so.
pub(in crate::ops) fn record_again(plan: &Plan, touched: &[PathBuf]) {
    let (host, forest) = (plan.host(), &plan.context().forest);
    let with = |kind: EffectKind| {
        let effects = plan
            .effects
            .iter()
            .filter(move |effect| effect.kind == kind);
        effects.map(|effect| &effect.path)
    };
    let broken: BTreeSet<&PathBuf> = with(EffectKind::Breaks).collect();
    let concerned = plan
        .effects
        .iter()
        .filter(|effect| effect.kind != EffectKind::Reads);
    let nodes: BTreeSet<NodeId> = concerned
        .filter_map(|effect| forest.by_path(&effect.path))
        .map(|node| node.id)
        .collect();
    let mut trashed: BTreeSet<&Path> = nodes
        .iter()
        .filter_map(|id| forest.get(*id))
        .flat_map(|node| forest.trashed_children(node))
        .map(|child| child.path.as_path())
        .collect();
    trashed.extend(touched.iter().map(PathBuf::as_path));
    for path in trashed {
        if taken_from(path).is_some() && !broken.iter().any(|broken| *broken == path) {
            record(host, path);
        }
    }
}

/// Writes down what an image in the trash is built on now. Best effort: a record that is older warns of more
/// than it would have to.
fn record(host: &dyn Host, path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let manifest = manifest_path(folder);
    let Ok(mut said) = Manifest::read(host, &manifest) else {
        return;
    };
    let name = Name::from(name);
    let Some(file) = said.files.iter_mut().find(|file| file.name == name) else {
        return;
    };
    let now = Base::of(host, path);
    if now.is_some() && file.base != now {
        file.base = now;
        let _ = said.replace(host, &manifest);
    }
}
