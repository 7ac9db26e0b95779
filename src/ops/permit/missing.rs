//! What keeps a user from running a machine: folders that it cannot pass, and files that it cannot open. By what
//! permissions say; nothing is opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::forest::{Location, Node};
use crate::host::{Permission, Stat, User};
use crate::ops::Context;

/// A permission that a user lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPermission {
    /// The file or the folder, by a name without links.
    pub path: PathBuf,
    /// What is needed.
    pub permission: Permission,
    /// What the system tells of the file.
    pub stat: Stat,
    /// The disks that need it.
    pub disks: Vec<PathBuf>,
    /// Whether it is only needed for layers that lie where nobody looked: an image may name any file as one.
    pub is_outside: bool,
}

/// What is looked at on the way to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermitScope {
    /// The folders: whoever starts the machine gives its user the files.
    Folders,
    /// The files as well.
    All,
}

/// All that the user lacks to run machines on these disks: folders on the way, then files; each once, in order. A leaf
/// is written, and read with all below it.
#[must_use]
pub fn missing_permissions<'n>(
    context: &Context,
    user: &User,
    disks: impl IntoIterator<Item = &'n Node>,
    scope: PermitScope,
) -> Vec<MissingPermission> {
    let mut folders = Asked::default();
    let mut files = Asked::default();
    let forest = &context.forest;
    for disk in disks {
        let chain = forest.chain(disk.id);
        for layer in chain.iter().filter_map(|id| forest.get(*id)) {
            let is_there = matches!(layer.location, Location::Scanned | Location::OutsideScan);
            let place = is_there.then(|| context.host.canonical(&layer.path).ok());
            let Some(place) = place.flatten() else {
                continue;
            };
            let is_written = layer.id == disk.id && forest.is_leaf(disk);
            let permission = match is_written {
                true => Permission::ReadWrite,
                false => Permission::Read,
            };
            let need = |permission| Need {
                permission,
                disk: &disk.path,
                is_outside: layer.location == Location::OutsideScan,
            };
            for folder in place.ancestors().skip(1) {
                folders.ask(context, user, folder, need(Permission::Search));
            }
            if scope == PermitScope::All {
                files.ask(context, user, &place, need(permission));
            }
        }
    }
    let all = folders.0.into_values().chain(files.0.into_values());
    all.flatten().collect()
}

/// What a file is needed for.
#[derive(Clone, Copy)]
struct Need<'d> {
    permission: Permission,
    disk: &'d Path,
    is_outside: bool,
}

/// Each file that was looked at; none for those that stand in nobody's way.
#[derive(Default)]
struct Asked(BTreeMap<PathBuf, Option<MissingPermission>>);

impl Asked {
    /// Asks once of each file.
    fn ask(&mut self, context: &Context, user: &User, path: &Path, need: Need<'_>) {
        let Need {
            permission,
            disk,
            is_outside,
        } = need;
        if let Some(known) = self.0.get_mut(path) {
            if let Some(missing) = known {
                missing.is_outside &= is_outside;
                if missing.disks.last().is_none_or(|last| last != disk) {
                    missing.disks.push(disk.to_path_buf());
                }
            }
            return;
        }
        let missing = context.host.stat(path).ok().and_then(|stat| {
            let may = user.may(permission, path, &stat).unwrap_or(true);
            (!may).then(|| MissingPermission {
                path: path.to_path_buf(),
                permission,
                stat,
                disks: vec![disk.to_path_buf()],
                is_outside,
            })
        });
        self.0.insert(path.to_path_buf(), missing);
    }
}
