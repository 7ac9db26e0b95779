//! What an image in the trash was built on: written down when it goes, and again whenever an operation of ours
//! has kept what it shows, so that a restore can tell whether anything else happened since.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::NodeId;
use crate::host::{Access, Host};
use crate::image::{self, BackingName, Probe, taken_from, where_it_is};
use crate::ops::pin::Seen;
use crate::ops::{EffectKind, Plan};

use super::batch::manifest_path;
use super::manifest::{Manifest, Name};

/// A base, and what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ops) struct Base {
    /// Where it is outside the trash.
    path: Name,
    seen: Seen,
}

impl Base {
    /// What the image at this path is built on now; none if it is built on nothing that is there.
    pub(super) fn of(host: &dyn Host, path: &Path) -> Option<Self> {
        let base = base_of(host, path)?;
        let seen = Seen::now(host, &base).ok()?;
        Some(Self {
            path: Name::from(home(&base).as_os_str()),
            seen,
        })
    }
}

/// What the image at this path is built on, wherever that is now.
pub(in crate::ops) fn base_of(host: &dyn Host, path: &Path) -> Option<PathBuf> {
    let file = host.open(path, Access::Read).ok()?;
    let Probe::Qcow2(_, Some(backing)) = image::probe(&*file, path).ok()? else {
        return None;
    };
    let named = BackingName::interpret(path, &backing.recorded);
    let named = named.file()?;
    // `a/../b` is the same place as `b`, unless there are links; what is gone has no other name.
    let named = host.canonical(named).unwrap_or_else(|_| {
        let dir = named.parent().and_then(|dir| host.canonical(dir).ok());
        match (dir, named.file_name()) {
            (Some(dir), Some(name)) => dir.join(name),
            _ => named.to_path_buf(),
        }
    });
    Some(where_it_is(host, path, named))
}

fn home(path: &Path) -> PathBuf {
    taken_from(path).unwrap_or_else(|| path.to_path_buf())
}

/// What became of the base of an image in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) enum Since {
    /// It is what it was, or the image is built on nothing.
    Same,
    /// It has another name now, and the image knows it by that.
    Moved(PathBuf),
    /// It was written.
    Written(PathBuf, Seen),
    /// Another file has its name.
    Replaced(PathBuf),
    /// It is in the trash itself.
    InTrash(PathBuf),
    /// It is not there.
    Missing(PathBuf),
    /// Nothing was written down of it.
    Unknown(PathBuf),
}

/// What became of the base of the image at `path`, of which `then` was written down.
pub(in crate::ops) fn since(host: &dyn Host, path: &Path, then: Option<&Base>) -> Since {
    let Some(base) = base_of(host, path) else {
        return Since::Same;
    };
    let Ok(now) = Seen::now(host, &base) else {
        return Since::Missing(base);
    };
    match then {
        _ if taken_from(&base).is_some() => Since::InTrash(base),
        None => Since::Unknown(base),
        Some(then) if !then.seen.is_same_file(&now) => Since::Replaced(base),
        Some(then) if then.seen != now => Since::Written(base, now),
        Some(then) if Name::from(home(&base).as_os_str()) != then.path => Since::Moved(base),
        Some(_) => Since::Same,
    }
}

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
