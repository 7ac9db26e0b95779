//! What looks for findings of one name. Which of them there are is `examine`'s business.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::fleet::typed;
use crate::forest::{Location, Node, NodeId};
use crate::host::shell_quoted;
use crate::machines::{Disk, Machine};
use crate::ops::{Context, Remedy};

use super::finding::{Finding, Sure};

/// What looks for findings of one name.
pub(super) struct Finder {
    /// The name.
    pub(super) name: &'static str,
    /// Why it matters, for somebody who never met it.
    pub(super) why: &'static str,
    /// Looks.
    pub(super) look: fn(&Subject<'_>) -> Vec<Found>,
}

impl Finder {
    /// All that it finds.
    pub(super) fn findings(&self, subject: &Subject<'_>) -> impl Iterator<Item = Finding> {
        let found = (self.look)(subject).into_iter();
        found.map(|found| found.named(self.name, self.why))
    }
}

/// What is looked at.
pub(super) struct Subject<'c> {
    pub(super) context: &'c Context,
    dirs: Vec<PathBuf>,
    images: Vec<&'c Node>,
}

impl<'c> Subject<'c> {
    /// What the person named of all that is known.
    pub(super) fn of(context: &'c Context) -> Self {
        let mut subject = Self {
            context,
            dirs: context.looked_in.dirs(),
            images: Vec::new(),
        };
        let met = context.forest.nodes();
        let met = met.filter(|node| node.location == Location::Scanned);
        subject.images = met.filter(|node| subject.covers(&node.path)).collect();
        subject
    }

    /// The images that the person asks about: what is only remembered counts as built on others, and is not told.
    pub(super) fn images(&self) -> impl Iterator<Item = &'c Node> {
        self.images.iter().copied()
    }

    /// The disks of all machines that are known.
    pub(super) fn disks(&self) -> impl Iterator<Item = (&'c Machine, &'c Disk)> {
        let machines = self.context.forest.machines().list().iter();
        machines.flat_map(|machine| machine.disks.iter().map(move |disk| (machine, disk)))
    }

    /// The folders that the person named.
    pub(super) fn named(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The folders in which these images lie, and those that the person named.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let folders = self.images().filter_map(|node| node.path.parent());
        let named = self.dirs.iter().map(PathBuf::as_path);
        let all: BTreeSet<&Path> = folders.chain(named).collect();
        all.into_iter().map(Path::to_path_buf).collect()
    }

    /// Whether that is a place which the person asks about.
    pub(super) fn covers(&self, path: &Path) -> bool {
        self.context.looked_in.covers(path)
    }
}

/// What was found, as far as it differs from others of the name.
pub(super) struct Found {
    path: PathBuf,
    node: Option<NodeId>,
    what: String,
    sure: Sure,
    fixes: Vec<Remedy>,
}

impl Found {
    /// Something about an image, which was seen.
    pub(super) fn of(node: &Node, what: impl Into<String>) -> Self {
        Self {
            path: node.path.clone(),
            node: Some(node.id),
            what: what.into(),
            sure: Sure::Certain,
            fixes: Vec::new(),
        }
    }

    /// Something about a file that is no image, or not there.
    pub(super) fn at(path: &Path, what: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            node: None,
            what: what.into(),
            sure: Sure::Certain,
            fixes: Vec::new(),
        }
    }

    /// Less sure than that.
    pub(super) fn but(mut self, sure: Sure) -> Self {
        self.sure = sure;
        self
    }

    /// With what helps, the best first.
    pub(super) fn helped_by(mut self, fixes: Vec<Remedy>) -> Self {
        self.fixes = fixes;
        self
    }

    /// By that name.
    pub(super) fn named(self, name: &'static str, why: &'static str) -> Finding {
        let Self {
            path,
            node,
            what,
            sure,
            fixes,
        } = self;
        Finding {
            name,
            why,
            path,
            node,
            what,
            sure,
            fixes,
        }
    }
}

/// The command line by which a person changes the definition of a machine of libvirt's.
pub(super) fn editing(machine: &Machine) -> String {
    typed(&format!("virsh edit {}", shell_quoted(&machine.name)))
}
