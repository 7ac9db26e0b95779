//! Multipass (the snap): one file with the image of each instance (`default_vm_image_vault.cpp`).

use serde_json::Value;

use crate::host::printable;

use super::found::Found;
use super::machine::{Disk, Machine, MachineState};
use super::places::Places;
use super::text_file;

/// Where it is written down.
const RECORDS: &str =
    "var/snap/multipass/common/data/multipassd/vault/multipassd-instance-image-records.json";

/// Every instance.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let path = places.system(RECORDS);
    let text = match text_file::read(places.host.as_ref(), &path) {
        Ok(text) => text,
        Err(error) if text_file::is_absent(&error) => return,
        Err(error) => return found.unread(product, &path, &error),
    };
    let place = printable(&path);
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(records)) => {
            let of = |(name, record): (&String, &Value)| {
                let image = record.get("image")?.get("path")?.as_str()?;
                let mut machine = Machine::new(product, &*place, name, MachineState::Off);
                machine.disks.push(Disk::new("disk", image));
                Some(machine)
            };
            found.machines.extend(records.iter().filter_map(of));
        }
        Ok(_) => found.unasked(product, place, "it holds no instances"),
        // It is emptied rather than removed.
        Err(_) if text.trim().is_empty() => {}
        Err(error) => found.unasked(product, place, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn each_instance_has_its_image() {
        let (dir, places) = system();
        let path = dir.path().join(RECORDS);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = r#"{"lab": {"image": {"path": "/vault/instances/lab/noble.img", "kernel_path": "",
            "initrd_path": "", "id": "abc", "aliases": []}, "query": {"release": "noble",
            "persistent": false, "remote_name": ""}, "last_accessed": 17}}"#;
        fs::write(&path, text).unwrap();
        let found = read_with(read, "Multipass", &places);
        assert_eq!(found.unasked, []);
        assert_eq!(found.machines[0].name, "lab");
        let image = &found.machines[0].disks[0].file.path;
        assert_eq!(image, Path::new("/vault/instances/lab/noble.img"));
        for (text, unasked) in [("", 0), ("[]", 1), ("{", 1), ("{\"a\": 1}", 0)] {
            fs::write(&path, text).unwrap();
            let found = read_with(read, "Multipass", &places);
            assert_eq!((found.machines.len(), found.unasked.len()), (0, unasked));
        }
    }
}
