//! Vagrant: an index of all machines of somebody (`lib/vagrant/machine_index.rb`), each with a folder of its own. With
//! libvirt that folder has the UUID of its domain, which libvirt knows; with QEMU the folder has the disks.

use std::path::{Path, PathBuf};

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
        let path = home.dir.join(".vagrant.d/data/machine-index/index");
        let text = text_file::read_if_there(host, &path);
        let Some(index) = text.and_then(|text| found.json(product, &path, text)) else {
            continue;
        };
        let entries = index.get("machines").and_then(Value::as_object);
        let entries = entries.into_iter().flat_map(|entries| entries.values());
        let machines = entries.filter_map(|entry| machine(product, places, entry));
        found.machines.extend(machines);
    }
}

fn machine(product: &'static str, places: &Places, entry: &Value) -> Option<Machine> {
    let text = |key: &str| entry.get(key)?.as_str();
    let (name, provider) = (text("name")?, text("provider")?);
    if !is_name(name) || !matches!(provider, "libvirt" | "qemu") {
        return None;
    }
    let data = PathBuf::from(text("local_data_path")?);
    if !data.is_absolute() {
        return None;
    }
    let dir = data.join("machines").join(name).join(provider);
    let host = places.host.as_ref();
    let id = text_file::read(host, &dir.join("id"))
        .ok()?
        .trim()
        .to_owned();
    if !is_name(&id) {
        return None;
    }
    let project = text("vagrantfile_path").unwrap_or_default();
    let place = printable(Path::new(project));
    let mut machine = Machine::new(product, place, name, MachineState::Off);
    if provider == "qemu" {
        let disks = text_file::list_if_there(host, &dir.join(&id), ".img").unwrap_or_default();
        let disks = disks.into_iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(Disk::new(name, path))
        });
        machine.disks.extend(disks);
    } else {
        machine.id = Some(id);
    }
    Some(machine)
}

/// Whether it is one component of a path.
fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn machines_of_the_index_have_their_domain_or_their_disks() {
        let (dir, places) = system();
        let project = dir.path().join("project");
        let data = project.join(".vagrant");
        let entry = |name: &str, provider: &str| {
            serde_json::json!({
                "local_data_path": data, "name": name, "provider": provider, "architecture": "amd64",
                "state": "running", "vagrantfile_name": null, "vagrantfile_path": project,
                "updated_at": null, "extra_data": {},
            })
        };
        let index = serde_json::json!({"version": 1, "machines": {
            "a": entry("web", "libvirt"), "b": entry("db", "qemu"), "c": entry("old", "libvirt"),
            "d": entry("box", "virtualbox"), "e": entry("../..", "qemu"), "f": 3,
        }});
        for folder in ["web/libvirt", "db/qemu/vq_1"] {
            fs::create_dir_all(data.join("machines").join(folder)).unwrap();
        }
        let file = |name: &str, text: &str| fs::write(data.join("machines").join(name), text);
        file("web/libvirt/id", "0b6b6f2e-0000-4000-8000-000000000001\n").unwrap();
        file("db/qemu/id", "vq_1").unwrap();
        file("db/qemu/vq_1/linked-box.img", "").unwrap();
        let home = dir.path().join("home/.vagrant.d/data/machine-index");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("index"), index.to_string()).unwrap();
        let found = read_with(read, "Vagrant", &places);
        assert_eq!(found.unasked, []);
        let [web, db] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(
            web.id.as_deref(),
            Some("0b6b6f2e-0000-4000-8000-000000000001")
        );
        assert_eq!(db.disks[0].target, "linked-box.img");
    }
}
