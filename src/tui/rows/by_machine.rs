//! The rows of the view by machine: each machine, and below it all of its disks. What no machine uses has no row.

use crate::forest::NodeId;
use crate::machines::{Disk, Machine, NamedFile};

use super::{Builder, RowKind, get, number};

impl Builder<'_> {
    /// Lays machines out by name.
    pub(super) fn by_machine(&mut self) {
        let machines = self.forest.all_machines();
        let mut order: Vec<(usize, &Machine)> = machines.enumerate().collect();
        order.sort_by_key(|(_, machine)| (&machine.name, machine.product, &machine.place));
        for (place, machine) in order {
            self.lay_machine(number(place), machine);
        }
    }

    fn lay_machine(&mut self, place: u32, machine: &Machine) {
        let disks = machine.disks.iter().enumerate();
        let rows = disks.filter_map(|(at, disk)| self.row_of_disk(place, number(at), disk));
        let rows: Vec<RowKind> = rows.collect();
        // Under a filter a machine has a row for the sake of its disks only.
        if rows.is_empty() && self.options.hits.is_some() {
            return;
        }
        let heading = self.push(RowKind::Machine(place), 0, true, false, None, None);
        let last = rows.len().saturating_sub(1);
        for (i, row) in rows.into_iter().enumerate() {
            self.push(row, 1, i == last, false, Some(heading), Some(heading));
        }
    }

    /// The row of a disk, unless a filter does not ask for it. A medium that is no image here is left out.
    fn row_of_disk(&self, machine: u32, at: u32, disk: &Disk) -> Option<RowKind> {
        match self.image(&disk.file) {
            Some(id) => {
                let asked = self.options.hits.is_none() || get(&self.hit, id);
                asked.then_some(RowKind::Image(id))
            }
            None if disk.read_only || self.options.hits.is_some() => None,
            None => Some(RowKind::Disk { machine, at }),
        }
    }

    fn image(&self, named: &NamedFile) -> Option<NodeId> {
        let by_file = named.file.and_then(|file| self.forest.by_file(file));
        let node = by_file.or_else(|| self.forest.by_path(&named.path));
        node.filter(|node| node.stat.is_some()).map(|node| node.id)
    }
}
