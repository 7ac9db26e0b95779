//! UTM: bundles `NAME.utm` with `config.plist`, whose drives are files of its folder `Data`, or `Images` of an older
//! one (`UTMQemuConfigurationDrive.swift`). A plist that is no XML is told of, and not read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use roxmltree::Node;

use crate::host::printable;

use super::domain_xml::{XmlError, document};
use super::found::Found;
use super::machine::{Disk, Machine, MachineState};
use super::places::Places;
use super::text_file;

/// The bundles that images lie in.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let folders = places.near.iter().filter_map(|dir| {
        let bundle = dir.parent()?;
        let is_bundle = bundle.extension().is_some_and(|it| it == "utm");
        let is_data = dir.ends_with("Data") || dir.ends_with("Images");
        (is_bundle && is_data).then_some((bundle, dir))
    });
    let folders: BTreeSet<(&Path, &PathBuf)> = folders.collect();
    for (bundle, data) in folders {
        let path = bundle.join("config.plist");
        match text_file::read(places.host.as_ref(), &path) {
            Ok(text) => match drives(&text) {
                Ok(drives) => {
                    let name = bundle.file_stem().unwrap_or_default().to_string_lossy();
                    let mut machine =
                        Machine::new(product, printable(bundle), name, MachineState::Off);
                    for (number, (file, reads)) in drives.into_iter().enumerate() {
                        let mut disk = Disk::new(format!("drive {number}"), data.join(file));
                        disk.read_only = reads;
                        machine.disks.push(disk);
                    }
                    found.machines.push(machine);
                }
                Err(error) => found.unasked(product, printable(&path), error.to_string()),
            },
            Err(error) if text_file::is_absent(&error) => {}
            Err(error) => found.unread(product, &path, &error),
        }
    }
}

/// The files of the drives, and whether each is only read. Their order is that of the plist.
fn drives(text: &str) -> Result<Vec<(String, bool)>, XmlError> {
    let document = document(text, true)?;
    let root = document.root_element();
    let dict = root.children().find(|node| node.has_tag_name("dict"));
    let dict = dict.ok_or(XmlError::Without("settings"))?;
    // Version 4 has `Drive`, those before it `Drives` with `ImagePath`.
    let list = value(dict, "Drive").or_else(|| value(dict, "Drives"));
    let drives = list.into_iter().flat_map(|list| list.children());
    let drives = drives.filter(|node| node.has_tag_name("dict"));
    let drive = |drive: Node<'_, '_>| {
        let file = value(drive, "ImageName").or_else(|| value(drive, "ImagePath"))?;
        let file = file.text()?.trim();
        let is_name = !file.is_empty() && !file.contains('/');
        let reads = value(drive, "ReadOnly").is_some_and(|it| it.has_tag_name("true"));
        is_name.then(|| (file.to_owned(), reads))
    };
    Ok(drives.filter_map(drive).collect())
}

/// What a dictionary has under a key: the element after it.
fn value<'a, 'i>(dict: Node<'a, 'i>, key: &str) -> Option<Node<'a, 'i>> {
    let mut elements = dict.children().filter(Node::is_element);
    elements.find(|node| node.has_tag_name("key") && node.text() == Some(key))?;
    elements.next()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    const PLIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Backend</key>
    <string>QEMU</string>
    <key>Drive</key>
    <array>
        <dict>
            <key>Identifier</key>
            <string>Test</string>
            <key>ImageName</key>
            <string>Test.qcow2</string>
            <key>ImageType</key>
            <string>Disk</string>
            <key>Interface</key>
            <string>IDE</string>
            <key>ReadOnly</key>
            <false/>
        </dict>
        <dict>
            <key>ImageType</key>
            <string>CD</string>
        </dict>
    </array>
</dict>
</plist>
"#;

    #[test]
    fn a_bundle_names_the_files_of_its_data() {
        let (dir, mut places) = system();
        let data = dir.path().join("Test.utm/Data");
        fs::create_dir_all(&data).unwrap();
        places.near = vec![data.clone(), dir.path().to_path_buf()];
        let plist = dir.path().join("Test.utm/config.plist");
        fs::write(&plist, PLIST).unwrap();
        let found = read_with(read, "UTM", &places);
        assert_eq!(found.unasked, []);
        let [machine] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!((machine.name.as_str(), machine.disks.len()), ("Test", 1));
        assert_eq!(machine.disks[0].file.path, data.join("Test.qcow2"));
        fs::write(&plist, b"bplist00\xd1\x01").unwrap();
        assert_eq!(read_with(read, "UTM", &places).unasked.len(), 1);
        let bomb = PLIST.replace(".dtd\">", ".dtd\" [<!ENTITY a \"&a;\">]>");
        fs::write(&plist, bomb.replace("QEMU", "&a;")).unwrap();
        assert_eq!(read_with(read, "UTM", &places).unasked.len(), 1);
    }
}
