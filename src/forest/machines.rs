//! Which machines use an image, once somebody has asked for machines: whatever is noted here is told of every
//! node by its names and by its file, also of those that come later.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::Host;
use crate::machines::{Machine, Machines, Part, Use};

use super::{Forest, Node, NodeId, ScannedFile, follow};

impl Forest {
    /// Notes which machines there are; those noted before are so no longer.
    pub fn note_machines(&mut self, machines: Arc<Machines>) {
        if self.machines != machines {
            self.generation += 1;
        }
        self.machines = machines;
    }

    /// The machines that are noted.
    #[must_use]
    pub fn machines(&self) -> &Arc<Machines> {
        &self.machines
    }

    /// Notes which machines other hosts have; those noted before are so no longer.
    pub(super) fn note_far_machines(&mut self, machines: Arc<Machines>) {
        if self.far_machines != machines {
            self.generation += 1;
        }
        self.far_machines = machines;
    }

    /// The machines of this machine and of other hosts; each stands at its place until others are noted.
    pub fn all_machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.list().iter().chain(self.far_machines.list())
    }

    /// The machine at that place among all of them.
    #[must_use]
    pub fn machine_at(&self, place: usize) -> Option<&Machine> {
        let here = self.machines.list();
        let far = place.checked_sub(here.len());
        far.map_or_else(|| here.get(place), |far| self.far_machines.list().get(far))
    }

    /// The machines that use an image, on whatever host.
    #[must_use]
    pub fn uses(&self, node: &Node) -> Vec<Use<'_>> {
        let mut uses = match self.is_far(node) {
            true => Vec::new(),
            false => self.machines.uses_of(node),
        };
        uses.extend(self.far_machines.uses_of(node));
        uses
    }

    /// The folders in which images lie: some products keep what they define beside these.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let met = self.nodes().filter(|node| node.location.is_met());
        let dirs = met.filter_map(|node| node.path.parent());
        let dirs: BTreeSet<&Path> = dirs.collect();
        dirs.into_iter().map(Path::to_path_buf).collect()
    }

    /// The disks of machines that are not known here but read, directly or through others, an image that is; with
    /// all that lies between. They are looked for where the machines say that they are, wherever that is.
    #[must_use]
    pub fn disks_elsewhere(&self, host: &Arc<dyn Host>, machines: &Machines) -> Vec<ScannedFile> {
        let unknown = self.unknown_disks(machines);
        if unknown.is_empty() {
            return Vec::new();
        }
        let around = follow(Arc::clone(host), &unknown);
        let is_known = |node: &&Node| {
            let file = node.file_id();
            file.is_some_and(|file| self.by_file(file).is_some())
        };
        let mut open: Vec<NodeId> = around
            .nodes()
            .filter(is_known)
            .map(|node| node.id)
            .collect();
        let mut reading: BTreeSet<NodeId> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            let readers = around.readers(id).into_iter().map(|reader| reader.node);
            open.extend(readers.filter(|reader| reading.insert(*reader)));
        }
        reading
            .into_iter()
            .filter_map(|id| around.get(id))
            .filter(|node| !is_known(node))
            .map(|node| around.found(node))
            .collect()
    }

    /// The disks of machines that may be built on something and are not known here.
    fn unknown_disks(&self, machines: &Machines) -> Vec<PathBuf> {
        let disks = machines.list().iter().flat_map(|machine| &machine.disks);
        let disks = disks.filter(|disk| disk.format.as_deref() != Some("raw"));
        let files = disks.flat_map(|disk| std::iter::once(&disk.file).chain(&disk.pinned));
        let there = files.filter_map(|named| Some((&named.path, named.file?)));
        let unknown = there.filter(|(_, file)| self.by_file(*file).is_none());
        let unknown: BTreeSet<&PathBuf> = unknown.map(|(path, _)| path).collect();
        unknown.into_iter().cloned().collect()
    }
}

impl Machines {
    /// The machines that use an image. What is in the trash nobody uses.
    #[must_use]
    pub fn uses_of(&self, node: &Node) -> Vec<Use<'_>> {
        if self.use_nothing() || node.is_in_trash() {
            return Vec::new();
        }
        let seen = node.sharing.iter().flat_map(|sharing| &sharing.seen_as);
        let names = std::iter::once(&node.path).chain(&node.other_names);
        let names = names.chain(seen);
        self.uses(names.map(PathBuf::as_path), node.file_id())
    }
}

/// Whose disk an image is, each machine once, in a few words: `web: running`, and `web on db: running` where that is
/// another host than the image is of. Not printable yet.
#[must_use]
pub fn machine_words(forest: &Forest, node: &Node) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for Use { machine, part } in forest.uses(node) {
        let on = machine.host.as_deref();
        let on = on.filter(|on| forest.host_of(node) != Some(*on));
        let on = on.map_or_else(String::new, |on| format!(" on {on}"));
        let word = format!("{}{on}: {}", machine.name, machine.state.name());
        let is_disk = matches!(part, Part::Disk(disk) if !disk.read_only);
        if is_disk && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}
