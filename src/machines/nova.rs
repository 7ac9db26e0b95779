//! OpenStack Nova: a folder for each instance, by its UUID, with its disks; `disk.info` says which files are disks and
//! in which format (`nova/virt/libvirt/imagebackend.py`). They are built on images in `_base`, by their headers.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineState};
use super::places::Places;
use super::text_file;

/// Every instance of this node.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let host = places.host.as_ref();
    let all = places.system("var/lib/nova/instances");
    let folders = match text_file::list_if_there(host, &all, "") {
        Ok(folders) => folders,
        Err(error) => return found.unread(product, &all, &error),
    };
    for dir in folders.iter().filter(|dir| is_uuid(dir)) {
        let machine = instance(product, places, dir, found);
        found.machines.extend(machine);
    }
}

fn is_uuid(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        name.len() == 36
            && name.char_indices().all(|(at, c)| match at {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            })
    })
}

/// An instance whose `disk.info` cannot be read has its disks all the same.
fn instance(
    product: &'static str,
    places: &Places,
    dir: &Path,
    found: &mut Found,
) -> Option<Machine> {
    let host = places.host.as_ref();
    let info = dir.join("disk.info");
    let text = text_file::read_if_there(host, &info);
    let formats = text.and_then(|text| found.json(product, &info, text));
    let formats = formats.as_ref().and_then(Value::as_object);
    let mut files: Vec<(PathBuf, Option<String>)> = formats
        .into_iter()
        .flatten()
        .map(|(path, format)| (PathBuf::from(path), format.as_str().map(str::to_owned)))
        .filter(|(path, _)| path.is_absolute())
        .collect();
    match text_file::list_if_there(host, dir, "") {
        Ok(there) => {
            for path in there.into_iter().filter(|path| is_disk(path)) {
                if files.iter().all(|(known, _)| *known != path) {
                    files.push((path, None));
                }
            }
        }
        Err(error) => found.unread(product, dir, &error),
    }
    let id = text_file::name(dir);
    let mut machine = Machine::new(product, printable(dir), &*id, MachineState::Off);
    machine.id = Some(id);
    for (path, format) in files {
        let target = text_file::name(&path);
        let mut disk = Disk::new(&*target, path);
        disk.read_only = target == "disk.config";
        disk.format = format;
        machine.disks.push(disk);
    }
    (!machine.disks.is_empty()).then_some(machine)
}

fn is_disk(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_encoded_bytes();
        name == b"disk" || name.starts_with(b"disk.") && name != b"disk.info"
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn instances_have_their_disks_and_formats() {
        let (dir, places) = system();
        let all = dir.path().join("var/lib/nova/instances");
        let id = "81f4aab5-db3b-40ce-97eb-ca436108c5ed";
        let broken = "91f4aab5-db3b-40ce-97eb-ca436108c5ed";
        for folder in ["_base", "locks", id, broken] {
            fs::create_dir_all(all.join(folder)).unwrap();
        }
        let one = all.join(id);
        for file in ["disk", "disk.eph0", "disk.config", "console.log"] {
            fs::write(one.join(file), "").unwrap();
        }
        let info = serde_json::json!({ one.join("disk").to_str().unwrap(): "qcow2" });
        fs::write(one.join("disk.info"), info.to_string()).unwrap();
        fs::write(all.join("_base/0a1b"), "").unwrap();
        fs::write(all.join(broken).join("disk.info"), "[").unwrap();
        fs::write(all.join(broken).join("disk"), "").unwrap();
        let found = read_with(read, "Nova", &places);
        assert_eq!(found.unasked.len(), 1, "{:?}", found.unasked);
        let [machine, other] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(other.disks[0].file.path, all.join(broken).join("disk"));
        assert_eq!(machine.id.as_deref(), Some(id));
        let disks: Vec<_> = machine
            .disks
            .iter()
            .map(|disk| (&*disk.target, disk.format.as_deref(), disk.read_only))
            .collect();
        assert_eq!(
            disks,
            [
                ("disk", Some("qcow2"), false),
                ("disk.config", None, true),
                ("disk.eph0", None, false),
            ]
        );
    }
}
