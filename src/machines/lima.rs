//! Lima: a folder for each instance. Its disk is `disk`, or `diffdisk` of an older one, over `basedisk`; disks that
//! are added are folders of `_disks` (`pkg/limatype/filenames`).

use std::path::Path;

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineState};
use super::places::Places;
use super::text_file::{self, name};

/// Files of an instance that are its disks, and whether it only reads them.
const DISKS: [(&str, bool); 4] = [
    ("disk", false),
    ("diffdisk", false),
    ("basedisk", true),
    ("iso", true),
];

/// Every instance of every home, and the disks that are kept for them.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    for home in &places.homes {
        let host = places.host.as_ref();
        match text_file::list_if_there(host, &home.lima, "") {
            Ok(folders) => {
                let instances = folders
                    .iter()
                    .filter_map(|dir| instance(product, places, dir));
                found.machines.extend(instances);
            }
            Err(error) => found.unread(product, &home.lima, &error),
        }
        let kept = home.lima.join("_disks");
        match text_file::list_if_there(host, &kept, "") {
            Ok(folders) => {
                let disks = folders.iter().filter_map(|dir| disk(product, places, dir));
                found.machines.extend(disks);
            }
            Err(error) => found.unread(product, &kept, &error),
        }
    }
}

fn instance(product: &'static str, places: &Places, dir: &Path) -> Option<Machine> {
    let is_there = |file: &str| places.host.stat(&dir.join(file)).is_ok();
    if !is_there("lima.yaml") {
        return None;
    }
    let mut machine = Machine::new(product, printable(dir), name(dir), MachineState::Off);
    for (file, reads) in DISKS.into_iter().filter(|(file, _)| is_there(file)) {
        let mut disk = Disk::new(file, dir.join(file));
        disk.read_only = reads;
        machine.disks.push(disk);
    }
    Some(machine)
}

/// A disk that is kept; it is that instance's which has it in use.
fn disk(product: &'static str, places: &Places, dir: &Path) -> Option<Machine> {
    let host = places.host.as_ref();
    let file = dir.join("datadisk");
    host.stat(&file).ok()?;
    let user = host.canonical(&dir.join("in_use_by")).ok();
    let owner = user.map_or_else(|| format!("disk {}", name(dir)), |user| name(&user));
    let mut machine = Machine::new(product, printable(dir), owner, MachineState::Off);
    machine.disks.push(Disk::new(name(dir), file));
    Some(machine)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn instances_and_their_disks_are_found() {
        let (dir, places) = system();
        let lima = dir.path().join("home/.lima");
        for folder in ["old", "new", "_config", "_disks/data", "_disks/spare"] {
            fs::create_dir_all(lima.join(folder)).unwrap();
        }
        for file in [
            "old/lima.yaml",
            "old/basedisk",
            "old/diffdisk",
            "new/lima.yaml",
            "new/disk",
            "_config/disk",
            "_disks/data/datadisk",
            "_disks/spare/datadisk",
        ] {
            fs::write(lima.join(file), "").unwrap();
        }
        symlink(lima.join("new"), lima.join("_disks/data/in_use_by")).unwrap();
        let found = read_with(read, "Lima", &places);
        assert_eq!(found.unasked, []);
        let told: Vec<String> = found
            .machines
            .iter()
            .map(|machine| {
                let disks: Vec<_> = machine.disks.iter().map(|disk| &*disk.target).collect();
                format!("{}: {}", machine.name, disks.join(" "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "new: disk",
                "old: diffdisk basedisk",
                "new: data",
                "disk spare: spare"
            ]
        );
    }
}
