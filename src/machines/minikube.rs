//! minikube: a folder for each machine, whose `config.json` names the disk (`libmachine`'s `host.Host`).

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
            match text_file::read(host, &path) {
                Ok(text) => match machine(product, &printable(&path), &text) {
                    Ok(machine) => found.machines.extend(machine),
                    Err(error) => found.unasked(product, printable(&path), error.to_string()),
                },
                Err(error) if text_file::is_absent(&error) => {}
                Err(error) => found.unread(product, &path, &error),
            }
        }
    }
}

fn machine(
    product: &'static str,
    place: &str,
    text: &str,
) -> Result<Option<Machine>, serde_json::Error> {
    let settings: Value = serde_json::from_str(text)?;
    let named = || {
        let driver = settings.get("Driver")?;
        let name = driver.get("MachineName")?.as_str()?;
        let image = driver.get("DiskPath")?.as_str()?;
        let mut machine = Machine::new(product, place, name, MachineState::Off);
        let disk = Disk::new("disk", image);
        machine
            .disks
            .extend(disk.file.path.is_absolute().then_some(disk));
        Some(machine)
    };
    Ok(named().filter(|machine| !machine.disks.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

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
