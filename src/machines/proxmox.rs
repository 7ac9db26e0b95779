//! Proxmox VE: a file for each machine in `/etc/pve`, and `storage.cfg`, which tells where its volumes lie. As
//! `PVE::Storage::Plugin` and `LVMPlugin` (`filesystem_path`) and the examples of `qemu-server` have it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineSnapshot, MachineState, NamedFile};
use super::places::Places;
use super::text_file;

/// Names of disks, before their number.
const BUSES: [&str; 7] = [
    "ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "unused",
];

/// Every machine of every node that this one knows.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let host = places.host.as_ref();
    let pve = places.system("etc/pve");
    if let Err(error) = host.list_dir(&pve) {
        if !text_file::is_absent(&error) {
            found.unread(product, &pve, &error);
        }
        return;
    }
    let storages = match text_file::read(host, &pve.join("storage.cfg")) {
        Ok(text) => storages(&text),
        Err(error) => {
            found.unread(product, &pve.join("storage.cfg"), &error);
            storages("")
        }
    };
    let nodes = text_file::list_if_there(host, &pve.join("nodes"), "").unwrap_or_default();
    let mut folders: Vec<PathBuf> = nodes.iter().map(|node| node.join("qemu-server")).collect();
    if folders.is_empty() {
        folders.push(pve.join("qemu-server"));
    }
    for folder in folders {
        match text_file::list_if_there(host, &folder, ".conf") {
            Ok(files) => {
                for path in files {
                    match text_file::read(host, &path) {
                        Ok(text) => {
                            let machine = machine(product, &path, &text, &storages);
                            found.machines.push(with_chain(machine, places, &text));
                        }
                        Err(error) => found.unread(product, &path, &error),
                    }
                }
            }
            Err(error) => found.unread(product, &folder, &error),
        }
    }
}

/// Where a storage keeps its volumes.
#[derive(Debug, PartialEq, Eq)]
enum Storage {
    /// In folders of this one; where images lie in it.
    Folder(PathBuf, PathBuf),
    /// As logical volumes of this group.
    Group(String),
}

/// The storages that have files or volumes of this machine.
fn storages(text: &str) -> HashMap<String, Storage> {
    let local = Path::new("/var/lib/vz");
    let mut found = HashMap::from([(
        "local".to_owned(),
        Storage::Folder(local.to_path_buf(), local.join("images")),
    )]);
    let mut name = String::new();
    let mut images = HashMap::new();
    for line in text.lines() {
        let is_head = !line.starts_with([' ', '\t', '#']);
        if let Some((_, id)) = line.split_once(':').filter(|_| is_head) {
            id.trim().clone_into(&mut name);
            continue;
        }
        let Some((key, value)) = line.trim().split_once(char::is_whitespace) else {
            continue;
        };
        let value = value.trim();
        match key {
            "path" => {
                let dir = PathBuf::from(value);
                let storage = Storage::Folder(dir.clone(), dir.join("images"));
                found.insert(name.clone(), storage);
            }
            "vgname" => drop(found.insert(name.clone(), Storage::Group(value.to_owned()))),
            "content-dirs" => {
                let dirs = value.split(',').filter_map(|dir| dir.split_once('='));
                let own = dirs.filter(|(kind, _)| kind.trim() == "images");
                images.extend(own.map(|(_, dir)| (name.clone(), dir.trim().to_owned())));
            }
            _ => {}
        }
    }
    for (name, own) in images {
        if let Some(Storage::Folder(dir, images)) = found.get_mut(&name) {
            *images = dir.join(own);
        }
    }
    found
}

/// Where a volume lies: `local:100/vm-100-disk-0.qcow2`; none where it is no file or logical volume of this
/// machine.
fn place(storages: &HashMap<String, Storage>, volume: &str) -> Option<PathBuf> {
    if volume.starts_with('/') {
        return Some(PathBuf::from(volume));
    }
    let (storage, name) = volume.split_once(':')?;
    if name.split('/').any(|part| part == "..") {
        return None;
    }
    match storages.get(storage)? {
        Storage::Group(group) => Some(Path::new("/dev").join(group).join(name)),
        Storage::Folder(dir, images) => match name.strip_prefix("iso/") {
            Some(iso) => Some(dir.join("template/iso").join(iso)),
            None => {
                // A linked clone names its base first: `BASE/base-BASE-disk-0.qcow2/ID/vm-ID-disk-0.qcow2`.
                let mut parts = name.rsplit('/');
                let file = parts.next()?;
                Some(images.join(parts.next()?).join(file))
            }
        },
    }
}

/// The lines of the machine itself, before its snapshots.
fn current(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().take_while(|line| !line.starts_with('['));
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
}

fn machine(
    product: &'static str,
    path: &Path,
    text: &str,
    storages: &HashMap<String, Storage>,
) -> Machine {
    let number = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut machine = Machine::new(product, printable(path), number, MachineState::Off);
    for (key, value) in current(text) {
        match key {
            "name" => value.clone_into(&mut machine.name),
            "vmstate" | "lock" if value == "suspended" => machine.state = MachineState::Saved,
            "smbios1" => {
                let mut parts = value.split(',');
                let uuid = parts.find_map(|part| part.strip_prefix("uuid="));
                machine.id = uuid.map(str::to_owned);
            }
            _ => machine.disks.extend(disk(key, value, storages)),
        }
    }
    machine
}

fn disk(key: &str, value: &str, storages: &HashMap<String, Storage>) -> Option<Disk> {
    let bus = key.trim_end_matches(|c: char| c.is_ascii_digit());
    if bus == key || !BUSES.contains(&bus) {
        return None;
    }
    let mut parts = value.split(',');
    let volume = parts.next()?;
    let volume = volume.strip_prefix("file=").unwrap_or(volume);
    let mut disk = Disk::new(key, place(storages, volume)?);
    disk.read_only = parts.any(|part| part == "media=cdrom");
    Some(disk)
}

/// The same with the files of its snapshots, where the storage keeps a chain of them:
/// `snap-NAME-vm-100-disk-0.qcow2` in the folder of the disk, `snap_vm-100-disk-0_NAME.qcow2` as a volume.
fn with_chain(mut machine: Machine, places: &Places, text: &str) -> Machine {
    let heads = text.lines().filter_map(|line| line.strip_prefix('['));
    let heads = heads.filter_map(|line| line.trim().strip_suffix(']'));
    for name in heads.filter(|name| !name.contains([':', '/'])) {
        let mut needs = Vec::new();
        for disk in machine.disks.iter().filter(|disk| !disk.read_only) {
            let Some((dir, file)) = disk.file.path.parent().zip(disk.file.path.file_name()) else {
                continue;
            };
            let file = file.to_string_lossy();
            let stem = file.strip_suffix(".qcow2").unwrap_or(&file);
            let names = [
                format!("snap-{name}-{file}"),
                format!("snap_{stem}_{name}.qcow2"),
            ];
            let there = names.iter().map(|name| dir.join(name));
            let mut there = there.filter(|path| places.host.stat(path).is_ok());
            needs.extend(there.next().map(NamedFile::new));
        }
        if !needs.is_empty() {
            machine.snapshots.push(MachineSnapshot {
                name: name.to_owned(),
                owns: Vec::new(),
                needs,
            });
        }
    }
    machine
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    const STORAGE: &str = "dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl,backup

nfs: dir
\texport /export
\tpath ROOT/mnt/pve/dir
\tserver 10.0.0.1
\tcontent images

lvm: lvmthick
\tvgname pve
\tcontent images

rbd: rbd
\tpool vms
";

    const MACHINE: &str = "boot: order=scsi1;ide2;net0;ide1
ide0: dir:111/vm-111-disk-2.qcow2,size=1G
ide1: local:iso/virtio-win-0.1.266.iso,media=cdrom,size=707456K
ide2: none,media=cdrom
name: win-machine-ver
net0: virtio=BC:24:11:A3:DA:B1,bridge=vnet0,firewall=1
scsi0: dir:100/base-100-disk-0.qcow2/111/vm-111-disk-1.qcow2,iothread=1,size=1G
scsi1: lvmthick:vm-111-disk-0.qcow2,iothread=1,size=32G
scsihw: virtio-scsi-single
smbios1: uuid=2c4a2cda-712b-44ab-8728-51f5e734b658
unused0: rbd:vm-111-disk-0

[before]
#a comment
ide0: dir:111/vm-111-disk-2.qcow2,size=1G
name: other
snaptime: 1736939109
";

    #[test]
    fn a_machine_is_read_with_its_storages_and_its_snapshots_with_files() {
        let (dir, places) = system();
        let root = dir.path().to_str().unwrap();
        let images = dir.path().join("mnt/pve/dir/images/111");
        fs::create_dir_all(&images).unwrap();
        fs::write(images.join("snap-before-vm-111-disk-2.qcow2"), "").unwrap();
        let pve = dir.path().join("etc/pve/qemu-server");
        fs::create_dir_all(&pve).unwrap();
        fs::write(
            dir.path().join("etc/pve/storage.cfg"),
            STORAGE.replace("ROOT", root),
        )
        .unwrap();
        fs::write(pve.join("111.conf"), MACHINE).unwrap();
        let found = read_with(read, "Proxmox VE", &places);
        assert_eq!(found.unasked, []);
        let machine = &found.machines[0];
        assert_eq!(machine.name, "win-machine-ver");
        assert_eq!(
            machine.id.as_deref(),
            Some("2c4a2cda-712b-44ab-8728-51f5e734b658")
        );
        let disks: Vec<_> = machine
            .disks
            .iter()
            .map(|disk| (disk.target.as_str(), disk.file.path.clone(), disk.read_only))
            .collect();
        let iso = "/var/lib/vz/template/iso/virtio-win-0.1.266.iso";
        assert_eq!(
            disks,
            [
                ("ide0", images.join("vm-111-disk-2.qcow2"), false),
                ("ide1", PathBuf::from(iso), true),
                ("scsi0", images.join("vm-111-disk-1.qcow2"), false),
                (
                    "scsi1",
                    PathBuf::from("/dev/pve/vm-111-disk-0.qcow2"),
                    false
                ),
            ]
        );
        let [snapshot] = &machine.snapshots[..] else {
            panic!("{:?}", machine.snapshots)
        };
        assert_eq!(snapshot.name, "before");
        assert_eq!(
            snapshot.needs[0].path,
            images.join("snap-before-vm-111-disk-2.qcow2")
        );
        assert!(snapshot.needs[0].file.is_some());
    }

    #[test]
    fn a_name_that_climbs_out_of_its_storage_is_none() {
        let storages = storages("dir: a\n\tpath /a\n\tcontent-dirs images=own\n");
        let at = |volume: &str| place(&storages, volume);
        assert_eq!(at("a:1/x.raw"), Some(PathBuf::from("/a/own/1/x.raw")));
        assert_eq!(at("a:../../etc/x"), None);
        assert_eq!(at("nowhere:1/x"), None);
        assert_eq!(at("none"), None);
    }
}
