//! The definition of a machine that is a clone of another one, pure: what tells machines apart is another, all the rest
//! stays as it is. What two machines cannot have at the same time is told.

use std::ops::Range;
use std::path::{Path, PathBuf};

use roxmltree::Node;

use super::definition::{DefinitionError, DiskEdit, edit_disk, escaped, with_disk, with_indent};
use super::domain_xml::{child, document};

/// What the clone has of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMachine<'n> {
    /// Its name.
    pub name: &'n str,
    /// Its UUID.
    pub id: &'n str,
    /// Its disks: the name that the machine has for each, the file, its format.
    pub disks: &'n [(String, PathBuf, String)],
    /// The file with the variables of its firmware, where it is another one.
    pub nvram: Option<&'n Path>,
}

/// The definition with another name, UUID and generation, without MAC addresses, so that libvirt gives it new ones, and
/// with these disks, of which nothing is pinned.
///
/// # Errors
/// `DefinitionError`; also where a disk that is written is none of these.
pub fn cloned(definition: &str, new: &NewMachine<'_>) -> Result<String, DefinitionError> {
    let document = document(definition, false)?;
    let root = document.root_element();
    let domain = root.descendants().find(|node| node.has_tag_name("domain"));
    let domain = domain.ok_or(DefinitionError::Differs)?;
    for target in written_disks(domain) {
        if !new.disks.iter().any(|(known, ..)| *known == target) {
            return Err(DefinitionError::NoFile);
        }
    }
    let mut pieces = identity(definition, domain, new)?;
    match new.nvram {
        Some(nvram) => pieces.extend(nvram_name(domain, nvram)?),
        None if names_nvram(domain) => {
            return Err(DefinitionError::Shares(
                "a file with the variables of its firmware",
            ));
        }
        None => {}
    }
    let mut text = definition.to_owned();
    pieces.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    for (range, piece) in pieces {
        if !text.is_char_boundary(range.start) || !text.is_char_boundary(range.end) {
            return Err(DefinitionError::Differs);
        }
        text.replace_range(range, &piece);
    }
    for (target, file, format) in new.disks {
        let edit = DiskEdit::Source {
            file,
            format: Some(format),
            keeps_pin: false,
        };
        let edited = edit_disk(&text, target, &edit)?;
        text = with_disk(&text, target, &edited.after)?;
    }
    is_as_asked(&text, new)
        .then_some(text)
        .ok_or(DefinitionError::Differs)
}

/// Something besides disks that a machine has, and that its clone would have as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// What, as words in a sentence.
    pub what: String,
    /// How.
    pub how: Sharing,
}

/// How two machines share something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Both want it when both run.
    Wanted,
    /// The guest can write it, so that both would.
    Written,
    /// It does not come along.
    Left,
}

/// What both machines would want or write besides disks, and what does not come along.
///
/// # Errors
/// `DefinitionError` where it cannot be read.
pub fn shared(definition: &str) -> Result<Vec<Shared>, DefinitionError> {
    let document = document(definition, false)?;
    let mut found = Vec::new();
    for node in document.descendants().filter(Node::is_element) {
        if let Some((how, what)) = written(node).or_else(|| wanted(node)) {
            found.push(Shared { what, how });
        }
    }
    found.dedup();
    Ok(found)
}

/// What the guest can write by this element.
fn written(node: Node<'_, '_>) -> Option<(Sharing, String)> {
    let attribute = |name: &str| node.attribute(name).unwrap_or_default();
    let source = |names: &[&str]| {
        let source = child(node, "source");
        let named = names
            .iter()
            .find_map(|name| source.and_then(|source| source.attribute(*name)));
        named.unwrap_or_default().to_owned()
    };
    let is_file = ["file", "dev", "pipe"].contains(&attribute("type"));
    let what = match node.tag_name().name() {
        "hostdev" => "a device of the host".to_owned(),
        "interface" if attribute("type") == "hostdev" => "a network device of the host".to_owned(),
        "filesystem" if child(node, "readonly").is_none() => {
            let names = ["dir", "file", "dev", "name", "socket"];
            format!("the shared folder {}", source(&names))
        }
        "memory" if ["nvdimm", "virtio-pmem"].contains(&attribute("model")) => {
            let path = child(node, "source").and_then(|source| child(source, "path"));
            let path = path.and_then(|path| path.text()).unwrap_or_default();
            format!("the memory in {}", path.trim())
        }
        "shmem" => format!("the shared memory {}", attribute("name")),
        "commandline" => "what <qemu:commandline> names".to_owned(),
        "loader" if attribute("readonly") == "no" => {
            format!("its firmware {}", node.text().unwrap_or_default().trim())
        }
        "pstore" => "the file of its <pstore>".to_owned(),
        "disk" if attribute("device") == "floppy" && child(node, "readonly").is_none() => {
            child(node, "source")?;
            format!(
                "the floppy disk {}",
                source(&["file", "dev", "name", "volume"])
            )
        }
        _ if is_character_device(&node) && is_file && !source(&["path"]).is_empty() => {
            source(&["path"])
        }
        "tpm" => {
            let backend = child(node, "backend")?;
            let is_own =
                backend.attribute("type") == Some("emulator") && child(backend, "source").is_none();
            return Some(match is_own {
                true => (Sharing::Left, "what its TPM holds".to_owned()),
                false => (Sharing::Written, "its TPM".to_owned()),
            });
        }
        _ => return None,
    };
    Some((Sharing::Written, what))
}

/// What is wanted by this element.
fn wanted(node: Node<'_, '_>) -> Option<(Sharing, String)> {
    let attribute = |name: &str| node.attribute(name).unwrap_or_default();
    let what = match node.tag_name().name() {
        "graphics"
            if !["", "-1"].contains(&attribute("port")) && attribute("autoport") != "yes" =>
        {
            format!("the port {} of its display", attribute("port"))
        }
        "target" if node.parent().is_some_and(|it| it.has_tag_name("interface")) => {
            format!("the network device {}", attribute("dev"))
        }
        _ if is_character_device(&node) => {
            let path = child(node, "source")?.attribute("path")?;
            path.to_owned()
        }
        _ => return None,
    };
    Some((Sharing::Wanted, what))
}

fn is_character_device(node: &Node<'_, '_>) -> bool {
    ["serial", "console", "parallel", "channel"].contains(&node.tag_name().name())
}

/// The disks that the machine writes, by the names it has for them.
fn written_disks(domain: Node<'_, '_>) -> Vec<String> {
    let devices = child(domain, "devices").into_iter();
    let disks = devices.flat_map(|devices| devices.children());
    let disks = disks.filter(|node| {
        let is_medium = ["cdrom", "floppy"].contains(&node.attribute("device").unwrap_or_default());
        node.has_tag_name("disk") && !is_medium && child(*node, "readonly").is_none()
    });
    let named = disks.map(|disk| {
        child(disk, "target")
            .and_then(|it| it.attribute("dev"))
            .unwrap_or_default()
    });
    named.map(str::to_owned).collect()
}

type Pieces = Vec<(Range<usize>, String)>;

fn identity(
    definition: &str,
    domain: Node<'_, '_>,
    new: &NewMachine<'_>,
) -> Result<Pieces, DefinitionError> {
    let name = child(domain, "name").ok_or(DefinitionError::Differs)?;
    let mut pieces = vec![(name.range(), format!("<name>{}</name>", escaped(new.name)?))];
    let id = escaped(new.id)?;
    match child(domain, "uuid") {
        Some(uuid) => pieces.push((uuid.range(), format!("<uuid>{id}</uuid>"))),
        None => {
            let at = name.range().end;
            pieces.push((at..at, format!("<uuid>{id}</uuid>")));
        }
    }
    if let Some(generation) = child(domain, "genid") {
        pieces.push((generation.range(), "<genid/>".to_owned()));
    }
    for entry in domain
        .descendants()
        .filter(|node| node.has_tag_name("entry"))
    {
        let is_of_system = entry.parent().is_some_and(|it| it.has_tag_name("system"));
        if is_of_system && entry.attribute("name") == Some("uuid") {
            pieces.push((entry.range(), format!("<entry name='uuid'>{id}</entry>")));
        }
    }
    let devices = child(domain, "devices").into_iter();
    let interfaces = devices
        .flat_map(|devices| devices.children())
        .filter(|it| it.has_tag_name("interface"));
    let addresses = interfaces.filter_map(|interface| child(interface, "mac"));
    pieces.extend(addresses.map(|mac| (with_indent(definition, mac.range()), String::new())));
    Ok(pieces)
}

/// Whether it says where the variables of its firmware are.
fn names_nvram(domain: Node<'_, '_>) -> bool {
    let nvram = child(domain, "os").and_then(|os| child(os, "nvram"));
    nvram.is_some_and(|nvram| {
        let is_named = |node: Node<'_, '_>| node.text().is_some_and(|it| !it.trim().is_empty());
        child(nvram, "source").is_some() || nvram.children().any(|it| it.is_text() && is_named(it))
    })
}

fn nvram_name(domain: Node<'_, '_>, file: &Path) -> Result<Pieces, DefinitionError> {
    let nvram = child(domain, "os").and_then(|os| child(os, "nvram"));
    let nvram = nvram.ok_or(DefinitionError::Differs)?;
    let file = escaped(file.to_str().ok_or(DefinitionError::Name)?)?;
    let source = child(nvram, "source").and_then(|source| source.attribute_node("file"));
    let text = nvram
        .children()
        .find(|node| node.is_text() && node.text().is_some_and(|it| !it.trim().is_empty()));
    match (source, text) {
        (Some(source), _) => Ok(vec![(source.range_value(), file)]),
        (None, Some(text)) => Ok(vec![(text.range(), file)]),
        (None, None) => Err(DefinitionError::Differs),
    }
}

fn is_as_asked(text: &str, new: &NewMachine<'_>) -> bool {
    let Ok(document) = document(text, false) else {
        return false;
    };
    let root = document.root_element();
    let Some(domain) = root.descendants().find(|node| node.has_tag_name("domain")) else {
        return false;
    };
    let says = |name: &str| {
        child(domain, name)
            .and_then(|node| node.text())
            .map(str::trim)
    };
    let mut nodes = domain.descendants();
    says("name") == Some(new.name)
        && says("uuid") == Some(new.id)
        && nodes.all(|node| {
            !(node.has_tag_name("mac")
                && node.parent().is_some_and(|it| it.has_tag_name("interface")))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "<domain type='kvm'>\n  <name>web</name>\n  <uuid>8c34a151-90f6-4e2c-8572-a4dc793693a8</uuid>\n  \
        <genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>\n  <os><nvram template='/t'>/vm/web_VARS.fd</nvram></os>\n  \
        <sysinfo type='smbios'><system><entry name='uuid'>8c34a151-90f6-4e2c-8572-a4dc793693a8</entry></system></sysinfo>\n  \
        <devices>\n    <disk type='file' device='disk'>\n      <driver name='qemu' type='raw'/>\n      \
        <source file='/vm/web'/>\n      <backingStore type='file'><source file='/vm/base'/></backingStore>\n      \
        <target dev='vda'/>\n    </disk>\n    <disk type='file' device='cdrom'><source file='/iso'/><target dev='hdc'/>\
        <readonly/></disk>\n    <interface type='network'>\n      <mac address='52:54:00:11:22:33'/>\n      \
        <source network='default'/>\n    </interface>\n    <graphics type='vnc' port='5901'/>\n  </devices>\n</domain>\n";

    fn clone(definition: &str) -> Result<String, DefinitionError> {
        let disks = [(
            "vda".to_owned(),
            PathBuf::from("/vm/a&b.qcow2"),
            "qcow2".to_owned(),
        )];
        cloned(
            definition,
            &NewMachine {
                name: "web <2>",
                id: "11111111-2222-4333-8444-555555555555",
                disks: &disks,
                nvram: Some(Path::new("/vm/new_VARS.fd")),
            },
        )
    }

    #[test]
    fn a_clone_has_its_own_identity_and_disks_and_all_the_rest() {
        let expected = WEB
            .replace("<name>web<", "<name>web &lt;2&gt;<")
            .replace(
                "8c34a151-90f6-4e2c-8572-a4dc793693a8",
                "11111111-2222-4333-8444-555555555555",
            )
            .replace(
                "<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>",
                "<genid/>",
            )
            .replace("\n      <mac address='52:54:00:11:22:33'/>", "")
            .replace("/vm/web_VARS.fd", "/vm/new_VARS.fd")
            .replace("type='raw'", "type='qcow2'")
            .replace("file='/vm/web'", "file='/vm/a&amp;b.qcow2'")
            .replace(
                "\n      <backingStore type='file'><source file='/vm/base'/></backingStore>",
                "",
            );
        assert_eq!(clone(WEB).unwrap(), expected);
    }

    #[test]
    fn a_disk_that_would_be_written_by_both_is_refused() {
        let more = "<disk type='network'><source protocol='rbd' name='p/x'/><target dev='vdb'/></disk></devices>";
        assert_eq!(
            clone(&WEB.replace("</devices>", more)),
            Err(DefinitionError::NoFile)
        );
        assert!(clone("<domain").is_err());
        assert!(clone(&WEB.replace("<name>web</name>", "")).is_err());
    }

    #[test]
    fn what_both_would_want_is_told() {
        let told = |definition: &str| -> Vec<(Sharing, String)> {
            let told = shared(definition).unwrap().into_iter();
            told.map(|it| (it.how, it.what)).collect()
        };
        let port = (Sharing::Wanted, "the port 5901 of its display".to_owned());
        assert_eq!(told(WEB), [port]);
        let more = "<hostdev/><serial type='file'><source path='/log'/></serial></devices>";
        let plain = WEB.replace("port='5901'", "port='5901' autoport='yes'");
        let with = |more: &str| told(&plain.replace("</devices>", &format!("{more}</devices>")));
        let said = with(more.trim_end_matches("</devices>"));
        let written = |what: &str| (Sharing::Written, what.to_owned());
        assert_eq!(said, [written("a device of the host"), written("/log")]);
        for (more, what) in [
            (
                "<interface type='hostdev'/>",
                "a network device of the host",
            ),
            (
                "<filesystem><source dir='/home'/><target dir='h'/></filesystem>",
                "the shared folder /home",
            ),
            (
                "<memory model='nvdimm'><source><path>/nv</path></source></memory>",
                "the memory in /nv",
            ),
            ("<shmem name='s'/>", "the shared memory s"),
            (
                "<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
                "its TPM",
            ),
            (
                "<disk device='floppy'><source file='/f'/><target dev='fda'/></disk>",
                "the floppy disk /f",
            ),
        ] {
            assert_eq!(with(more), [written(what)], "{more}");
        }
        let emulated = with("<tpm><backend type='emulator'/></tpm>");
        assert_eq!(emulated, [(Sharing::Left, "what its TPM holds".to_owned())]);
        for not in [
            "<filesystem><source dir='/home'/><readonly/></filesystem>",
            "<memory model='dimm'/>",
            "<disk device='floppy'><target dev='fda'/></disk>",
        ] {
            assert_eq!(with(not), [], "{not}");
        }
        let socket = with("<channel type='unix'><source path='/s'/></channel>");
        assert_eq!(socket, [(Sharing::Wanted, "/s".to_owned())]);
        let around = |inside: &str| {
            let domain = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>";
            told(&format!("{domain}{inside}</domain>"))
        };
        let line = around("<qemu:commandline><qemu:arg value='-x'/></qemu:commandline>");
        assert_eq!(line, [written("what <qemu:commandline> names")]);
        let loader = around("<os><loader readonly='no'>/fw</loader></os>");
        assert_eq!(loader, [written("its firmware /fw")]);
    }

    #[test]
    fn a_clone_never_keeps_the_variables_of_the_firmware_of_its_machine() {
        let disks = [("vda".to_owned(), PathBuf::from("/vm/b"), "qcow2".to_owned())];
        let new = NewMachine {
            name: "b",
            id: "11111111-2222-4333-8444-555555555555",
            disks: &disks,
            nvram: None,
        };
        let kept = cloned(WEB, &new);
        assert!(matches!(kept, Err(DefinitionError::Shares(_))), "{kept:?}");
        // One that libvirt gives a name to is none of anybody's yet.
        let open = WEB.replace("/vm/web_VARS.fd", "");
        assert!(cloned(&open, &new).is_ok());
    }
}
