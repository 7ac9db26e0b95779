//! OpenNebula: each datastore of machines has a folder for each of them, by its number, with `disk.N` and the copies
//! that snapshots keep of it in `disk.N.snap` (the drivers in `src/tm_mad`). A disk that is persistent is a link to an
//! image of another datastore.

use std::path::Path;

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineSnapshot, MachineState, NamedFile};
use super::places::Places;
use super::text_file;

/// Every machine of every datastore.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let host = places.host.as_ref();
    let all = places.system("var/lib/one/datastores");
    let stores = match text_file::list_if_there(host, &all, "") {
        Ok(stores) => stores,
        Err(error) => return found.unread(product, &all, &error),
    };
    for store in stores {
        let folders = match text_file::list_if_there(host, &store, "") {
            Ok(folders) => folders,
            Err(error) => {
                found.unread(product, &store, &error);
                continue;
            }
        };
        // A datastore of images has files in it, with other names.
        for dir in folders.iter().filter(|dir| number_of(dir, "").is_some()) {
            match machine(product, places, dir) {
                Ok(machine) => found.machines.extend(machine),
                Err(error) => found.unread(product, dir, &error),
            }
        }
    }
}

/// The number that a name is, behind what it begins with.
fn number_of(path: &Path, begins: &str) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_prefix(begins)?;
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| name.parse().ok()).flatten()
}

fn machine(product: &'static str, places: &Places, dir: &Path) -> std::io::Result<Option<Machine>> {
    let Some(number) = number_of(dir, "") else {
        return Ok(None);
    };
    // Its name in libvirt, too.
    let name = format!("one-{number}");
    let mut machine = Machine::new(product, printable(dir), name, MachineState::Off);
    let host = places.host.as_ref();
    for path in text_file::list_if_there(host, dir, "")? {
        let Some(disk) = number_of(&path, "disk.") else {
            continue;
        };
        machine.disks.push(Disk::new(format!("disk.{disk}"), &path));
        let kept = dir.join(format!("disk.{disk}.snap"));
        for copy in text_file::list_if_there(host, &kept, "")? {
            if let Some(snapshot) = number_of(&copy, "") {
                machine.snapshots.push(MachineSnapshot {
                    name: format!("{snapshot} of disk.{disk}"),
                    owns: Vec::new(),
                    needs: vec![NamedFile::new(copy)],
                });
            }
        }
    }
    Ok((!machine.disks.is_empty()).then_some(machine))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn machines_of_all_datastores_are_found() {
        let (dir, places) = system();
        let stores = dir.path().join("var/lib/one/datastores");
        for folder in ["0/42/disk.0.snap", "0/43", "1", "0/.isofiles"] {
            fs::create_dir_all(stores.join(folder)).unwrap();
        }
        for file in [
            "1/0a1b2c3d4e5f",
            "0/42/disk.0",
            "0/42/disk.0.snap/0",
            "0/42/deployment.0",
            "0/42/disk.x",
            "0/43/vm.xml",
        ] {
            fs::write(stores.join(file), "").unwrap();
        }
        symlink(stores.join("1/0a1b2c3d4e5f"), stores.join("0/42/disk.1")).unwrap();
        let found = read_with(read, "OpenNebula", &places);
        assert_eq!(found.unasked, []);
        let [machine] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(machine.name, "one-42");
        let targets: Vec<&str> = machine.disks.iter().map(|disk| &*disk.target).collect();
        assert_eq!(targets, ["disk.0", "disk.1"]);
        // The link is to the image that is used.
        let image = places.host.stat(&stores.join("1/0a1b2c3d4e5f")).unwrap();
        assert_eq!(machine.disks[1].file.file, Some(image.id));
        let kept = &machine.snapshots[0];
        assert_eq!(kept.name, "0 of disk.0");
        assert_eq!(kept.needs[0].path, stores.join("0/42/disk.0.snap/0"));
    }
}
