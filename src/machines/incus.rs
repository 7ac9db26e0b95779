//! Incus and LXD: pools that are folders have `root.img` in a folder for each machine and each of its snapshots
//! (`internal/server/storage/drivers`). Pools on block devices have no files.

use std::path::{Path, PathBuf};

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineSnapshot, MachineState, NamedFile};
use super::places::Places;
use super::text_file::{self, name};

/// Where pools are: of Incus, of LXD, and of LXD as a snap.
const POOLS: [&str; 3] = [
    "var/lib/incus/storage-pools",
    "var/lib/lxd/storage-pools",
    "var/snap/lxd/common/lxd/storage-pools",
];

/// Every machine of every pool.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    for pools in POOLS.map(|pools| places.system(pools)) {
        for pool in folders(product, places, &pools, found) {
            for dir in folders(product, places, &pool.join("virtual-machines"), found) {
                let machine = machine(product, places, &pool, &dir, found);
                found.machines.extend(machine);
            }
        }
    }
}

fn folders(product: &'static str, places: &Places, dir: &Path, found: &mut Found) -> Vec<PathBuf> {
    match text_file::list_if_there(places.host.as_ref(), dir, "") {
        Ok(folders) => folders,
        Err(error) => {
            found.unread(product, dir, &error);
            Vec::new()
        }
    }
}

fn machine(
    product: &'static str,
    places: &Places,
    pool: &Path,
    dir: &Path,
    found: &mut Found,
) -> Option<Machine> {
    let disk = dir.join("root.img");
    places.host.stat(&disk).ok()?;
    let mut machine = Machine::new(product, printable(dir), name(dir), MachineState::Off);
    machine.disks.push(Disk::new("root", disk));
    let kept = pool.join("virtual-machines-snapshots").join(name(dir));
    let snapshots = folders(product, places, &kept, found).into_iter();
    machine
        .snapshots
        .extend(snapshots.map(|snapshot| MachineSnapshot {
            name: name(&snapshot),
            owns: Vec::new(),
            needs: vec![NamedFile::new(snapshot.join("root.img"))],
        }));
    Some(machine)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn machines_and_their_snapshots_are_found() {
        let (dir, places) = system();
        let pool = dir.path().join("var/lib/incus/storage-pools/default");
        for folder in [
            "virtual-machines/web",
            "virtual-machines/on-a-volume",
            "virtual-machines-snapshots/web/before",
            "containers/box/rootfs",
        ] {
            fs::create_dir_all(pool.join(folder)).unwrap();
        }
        fs::write(pool.join("virtual-machines/web/root.img"), "").unwrap();
        let found = read_with(read, "Incus", &places);
        assert_eq!(found.unasked, []);
        let [machine] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(machine.name, "web");
        let disk = pool.join("virtual-machines/web/root.img");
        assert_eq!(machine.disks[0].file.path, disk);
        assert_eq!(machine.snapshots[0].name, "before");
    }
}
