//! minikube: a folder for each machine, whose `config.json` names the disk (`libmachine`'s `host.Host`).

use std::path::Path;

use serde_json::Value;

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineState};
use super::places::Places;
use super::text_file;

/// Every machine of every home. Those without a file for a disk are containers.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let host = places.host.as_ref();
    for home in &places.homes {
        let dir = home.dir.join(".minikube/machines");
        let folders = match text_file::list_if_there(host, &dir, "") {
            Ok(folders) => folders,
            Err(error) => {
                found.unread(product, &dir, &error);
                continue;
            }
        };
        for path in folders.into_iter().map(|dir| dir.join("config.json")) {
            let text = text_file::read_if_there(host, &path);
            let settings = text.and_then(|text| found.json(product, &path, text));
            let machine = settings.and_then(|it| machine(product, &printable(&path), &it));
            found.machines.extend(machine);
        }
    }
}

fn machine(product: &'static str, place: &str, settings: &Value) -> Option<Machine> {
    let driver = settings.get("Driver")?;
    let name = driver.get("MachineName")?.as_str()?;
    let image = driver.get("DiskPath")?.as_str()?;
    let mut machine = Machine::new(product, place, name, MachineState::Off);
    machine.disks.push(Disk::new("disk", image));
    Path::new(image).is_absolute().then_some(machine)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn each_machine_has_its_disk() {
        let (dir, places) = system();
        let machines = dir.path().join("home/.minikube/machines");
        for (name, text) in [
            (
                "minikube",
                r#"{"ConfigVersion": 3, "Driver": {"IPAddress": "192.168.39.174", "MachineName": "minikube",
                    "StorePath": "/home/anna/.minikube", "DiskSize": 20000, "ConnectionURI": "qemu:///system",
                    "DiskPath": "/home/anna/.minikube/machines/minikube/minikube.rawdisk"},
                    "DriverName": "kvm2", "HostOptions": {"Driver": ""}}"#,
            ),
            (
                "container",
                r#"{"Driver": {"MachineName": "container"}, "DriverName": "docker"}"#,
            ),
            (
                "relative",
                r#"{"Driver": {"MachineName": "relative", "DiskPath": "a"}}"#,
            ),
            ("broken", "{"),
        ] {
            fs::create_dir_all(machines.join(name)).unwrap();
            fs::write(machines.join(name).join("config.json"), text).unwrap();
        }
        fs::write(machines.join("server.pem"), "").unwrap();
        let found = read_with(read, "minikube", &places);
        assert_eq!(found.unasked.len(), 1, "{:?}", found.unasked);
        let [machine] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(machine.name, "minikube");
        let image = Path::new("/home/anna/.minikube/machines/minikube/minikube.rawdisk");
        assert_eq!(machine.disks[0].file.path, image);
    }
}
