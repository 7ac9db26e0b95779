//! Quickemu: `NAME.conf`, lines of a shell, in the folder above that of the disk. It is read line by line; what a
//! shell would have to work out is none of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineState};
use super::places::Places;
use super::text_file;

/// Folders that are looked into, at most.
const MAX_FOLDERS: usize = 4000;

/// The settings in the folders of images, and in those above them.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let host = places.host.as_ref();
    let above = places.near.iter().filter_map(|dir| dir.parent());
    let folders: BTreeSet<&Path> = above
        .chain(places.near.iter().map(PathBuf::as_path))
        .collect();
    if folders.len() > MAX_FOLDERS {
        let why = "images lie in more folders than are looked into for its settings";
        found.unasked(product, "NAME.conf", why);
    }
    for folder in folders.into_iter().take(MAX_FOLDERS) {
        // Where nothing can be listed no machine is started from either.
        for path in text_file::list(host, folder, ".conf").unwrap_or_default() {
            if let Ok(text) = text_file::read(host, &path) {
                found.machines.extend(machine(product, &path, &text));
            }
        }
    }
}

/// What a line sets to a plain text.
fn set<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = text.lines().rev().find_map(|line| {
        let rest = line.trim_start().strip_prefix(key)?;
        rest.strip_prefix('=')
    })?;
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value.get(1..)?.split(quote).next()?,
        _ => value.split(char::is_whitespace).next()?,
    };
    let is_plain = !value.is_empty() && !value.contains(['$', '`', '\\']);
    is_plain.then_some(value)
}

fn machine(product: &'static str, path: &Path, text: &str) -> Option<Machine> {
    // Other programs have files of that name.
    set(text, "guest_os")?;
    let disk = Path::new(set(text, "disk_img")?);
    let name = path.file_stem()?.to_string_lossy();
    let mut machine = Machine::new(product, printable(path), name, MachineState::Off);
    // One is started in the folder of its settings.
    let disk = path.parent()?.join(disk);
    machine.disks.push(Disk::new("disk", disk));
    Some(machine)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn settings_above_the_disk_are_found_and_no_shell_is_run() {
        let (dir, mut places) = system();
        let folder = dir.path().join("vms/ubuntu");
        fs::create_dir_all(&folder).unwrap();
        places.near = vec![folder.clone()];
        let vms = dir.path().join("vms");
        let text = "#!/usr/bin/quickemu --vm\nguest_os=\"linux\"\ndisk_img=\"ubuntu/disk.qcow2\"\n\
                    iso=\"ubuntu/ubuntu.iso\"\n";
        fs::write(vms.join("ubuntu.conf"), text).unwrap();
        fs::write(
            vms.join("evil.conf"),
            "guest_os=x\ndisk_img=\"$(touch /tmp/evil)\"\n",
        )
        .unwrap();
        fs::write(vms.join("other.conf"), "disk_img=a\n").unwrap();
        let found = read_with(read, "Quickemu", &places);
        let [machine] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(machine.name, "ubuntu");
        assert_eq!(machine.disks[0].file.path, folder.join("disk.qcow2"));
    }
}
