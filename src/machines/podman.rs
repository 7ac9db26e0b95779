//! Podman's machines: a file of settings each, which names its image (`pkg/machine/vmconfigs`, `MachineConfig`).

use serde_json::Value;

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineState};
use super::places::Places;
use super::text_file;

/// Every machine of every home.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let host = places.host.as_ref();
    for home in &places.homes {
        // A folder for each provider: `qemu`.
        let dir = home.config.join("containers/podman/machine");
        let providers = match text_file::list_if_there(host, &dir, "") {
            Ok(providers) => providers,
            Err(error) => {
                found.unread(product, &dir, &error);
                continue;
            }
        };
        for provider in providers {
            for path in text_file::list_if_there(host, &provider, ".json").unwrap_or_default() {
                let settings = found.json(product, &path, text_file::read(host, &path));
                let machine = settings.and_then(|it| machine(product, &printable(&path), &it));
                found.machines.extend(machine);
            }
        }
    }
}

fn machine(product: &'static str, place: &str, settings: &Value) -> Option<Machine> {
    let name = settings.get("Name")?.as_str()?;
    let image = settings.get("ImagePath")?.get("Path")?.as_str()?;
    let mut machine = Machine::new(product, place, name, MachineState::Off);
    machine.disks.push(Disk::new("disk", image));
    Some(machine)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn each_machine_has_its_image() {
        let (dir, places) = system();
        let settings = dir
            .path()
            .join("home/.config/containers/podman/machine/qemu");
        fs::create_dir_all(&settings).unwrap();
        let text = r#"{"Created": "2026-01-01T00:00:00Z", "GvProxy": {}, "Name": "podman-machine-default",
            "ImagePath": {"Path": "/data/podman-machine-default-amd64.qcow2"}, "Starting": false}"#;
        fs::write(settings.join("podman-machine-default.json"), text).unwrap();
        fs::write(settings.join("broken.json"), "{").unwrap();
        fs::write(settings.join("other.json"), "{}").unwrap();
        let found = read_with(read, "Podman", &places);
        assert_eq!(found.unasked.len(), 1);
        let [machine] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(machine.name, "podman-machine-default");
        let image = Path::new("/data/podman-machine-default-amd64.qcow2");
        assert_eq!(machine.disks[0].file.path, image);
    }
}
