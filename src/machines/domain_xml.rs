//! libvirt's XML: domains and snapshots, pure. Elements that are not known are passed over, as libvirt's own
//! older versions do.

use std::path::PathBuf;

use roxmltree::{Document, Node, ParsingOptions};

use crate::host::printable;

use super::machine::{Disk, Machine, MachineSnapshot, MachineState, NamedFile};

/// Nodes of one document, at most.
const MAX_NODES: u32 = 200_000;
/// Layers that one definition pins, at most.
const MAX_PINNED: usize = 256;

/// A domain as it is written down.
#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) disks: Vec<DomainDisk>,
}

/// A disk of it, whose place may have to be looked up.
#[derive(Debug)]
pub(super) struct DomainDisk {
    pub(super) source: Source,
    /// All but where it is.
    disk: Disk,
}

/// Where a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A file or a device.
    File(PathBuf),
    /// A volume of a storage pool.
    Volume {
        /// The pool's name.
        pool: String,
        /// The volume's.
        volume: String,
    },
}

/// A snapshot as it is written down.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) name: String,
    owns: Vec<PathBuf>,
    frozen: Vec<PathBuf>,
}

/// Why a text is none of libvirt's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum XmlError {
    #[error("it is no XML that can be read ({0})")]
    Malformed(String),
    #[error("it holds no {0}")]
    Without(&'static str),
}

/// A text as a document; one that would cost too much is refused.
pub(super) fn document(text: &str, allow_dtd: bool) -> Result<Document<'_>, XmlError> {
    let options = ParsingOptions {
        allow_dtd,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    // It does not go down by calling itself (0.21.2), nor does what reads its nodes here.
    Document::parse_with_options(text, options)
        .map_err(|error| XmlError::Malformed(printable(error.to_string())))
}

/// The first element of that name in another one.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = child(node, name)?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The name of an element, by which libvirt calls files as well, so that it allows none with a `/`.
fn file_name(node: Node<'_, '_>) -> Result<String, XmlError> {
    let name = text_of(node, "name").filter(|name| !name.contains('/') && name != "..");
    name.ok_or(XmlError::Without("name"))
}

/// Reads a domain: `dumpxml`, or a file that libvirt keeps.
///
/// # Errors
/// [`XmlError`] if it is none.
pub(super) fn domain(text: &str) -> Result<Domain, XmlError> {
    let document = document(text, false)?;
    let root = document.root_element();
    // What libvirt keeps of a running one has the domain inside.
    let node = root.descendants().find(|node| node.has_tag_name("domain"));
    let node = node.ok_or(XmlError::Without("domain"))?;
    Ok(Domain {
        name: file_name(node)?,
        id: text_of(node, "uuid"),
        disks: disks(node),
    })
}

fn disks(domain: Node<'_, '_>) -> Vec<DomainDisk> {
    let devices = child(domain, "devices").into_iter();
    let disks = devices.flat_map(|devices| devices.children());
    let disks = disks.filter(|node| node.has_tag_name("disk"));
    let mut found: Vec<DomainDisk> = disks.filter_map(disk).collect();
    if let Some(nvram) = child(domain, "os").and_then(|os| child(os, "nvram")) {
        let path = nvram
            .text()
            .map(str::trim)
            .filter(|path| path.starts_with('/'));
        let path = path.map(PathBuf::from).or_else(|| file_of(nvram));
        found.extend(path.map(|path| {
            let mut disk = Disk::new("nvram", "");
            disk.format = nvram.attribute("format").map(str::to_owned);
            DomainDisk {
                source: Source::File(path),
                disk,
            }
        }));
    }
    found
}

fn disk(node: Node<'_, '_>) -> Option<DomainDisk> {
    let source = child(node, "source")?;
    let volume = || {
        Some(Source::Volume {
            pool: source.attribute("pool")?.to_owned(),
            volume: source.attribute("volume")?.to_owned(),
        })
    };
    let place = file_of(node).map(Source::File).or_else(volume)?;
    let target = child(node, "target").and_then(|target| target.attribute("dev"));
    let mut disk = Disk::new(target.unwrap_or("disk"), "");
    let driver = child(node, "driver").and_then(|driver| driver.attribute("type"));
    disk.format = driver.map(str::to_owned);
    let is_medium = node.attribute("device") == Some("cdrom");
    disk.read_only = is_medium || child(node, "readonly").is_some();
    (disk.pinned, disk.pin_ends) = pinned(node);
    Some(DomainDisk {
        source: place,
        disk,
    })
}

/// The local file or device that an element's `source` names.
fn file_of(node: Node<'_, '_>) -> Option<PathBuf> {
    let source = child(node, "source")?;
    let name = source.attribute("file").or(source.attribute("dev"))?;
    name.starts_with('/').then(|| PathBuf::from(name))
}

/// The chain that a disk's `backingStore` elements name, and whether it says that it ends there.
fn pinned(disk: Node<'_, '_>) -> (Vec<NamedFile>, bool) {
    let mut found = Vec::new();
    let mut next = child(disk, "backingStore");
    while let Some(node) = next {
        if node.children().all(|child| !child.is_element()) {
            return (found, true);
        }
        match file_of(node) {
            Some(path) if found.len() < MAX_PINNED => found.push(NamedFile::new(path)),
            // Something that is no local file; what is below it is read all the same.
            _ => {}
        }
        next = child(node, "backingStore");
    }
    (found, false)
}

/// Reads a snapshot: `snapshot-dumpxml`, or a file that libvirt keeps.
///
/// # Errors
/// [`XmlError`] if it is none.
pub(super) fn snapshot(text: &str) -> Result<Snapshot, XmlError> {
    let document = document(text, false)?;
    let root = document.root_element();
    if !root.has_tag_name("domainsnapshot") {
        return Err(XmlError::Without("snapshot"));
    }
    let own = child(root, "disks").into_iter();
    let own = own.flat_map(|disks| disks.children());
    let own = own.filter(|disk| disk.attribute("snapshot") == Some("external"));
    let frozen = ["domain", "inactiveDomain"].into_iter();
    let frozen = frozen.filter_map(|name| child(root, name)).flat_map(disks);
    let frozen = frozen.filter(|disk| !disk.disk.read_only && disk.disk.target != "nvram");
    let mut snapshot = Snapshot {
        name: text_of(root, "name").ok_or(XmlError::Without("name"))?,
        owns: own.filter_map(file_of).collect(),
        frozen: Vec::new(),
    };
    for disk in frozen {
        match disk.source {
            Source::File(path) if !snapshot.frozen.contains(&path) => snapshot.frozen.push(path),
            _ => {}
        }
    }
    Ok(snapshot)
}

impl Snapshot {
    /// Its files; none where all of it is inside the disks.
    pub(super) fn with_files(self) -> Option<MachineSnapshot> {
        if self.owns.is_empty() {
            return None;
        }
        let named = |paths: Vec<PathBuf>| paths.into_iter().map(NamedFile::new).collect();
        let frozen = self.frozen.into_iter();
        let needs = frozen.filter(|path| !self.owns.contains(path)).collect();
        Some(MachineSnapshot {
            name: self.name,
            needs: named(needs),
            owns: named(self.owns),
        })
    }
}

impl Domain {
    /// The machine, with its volumes looked up; those that cannot be found are given back as `pool/volume`.
    pub(super) fn machine(
        self,
        product: &'static str,
        place: &str,
        state: MachineState,
        find: &dyn Fn(&str, &str) -> Option<PathBuf>,
    ) -> (Machine, Vec<String>) {
        let mut machine = Machine::new(product, place, self.name, state);
        machine.id = self.id;
        let mut lost = Vec::new();
        for DomainDisk { source, mut disk } in self.disks {
            let path = match source {
                Source::File(path) => Some(path),
                Source::Volume { pool, volume } => {
                    let found = find(&pool, &volume);
                    if found.is_none() {
                        lost.push(format!("{pool}/{volume}"));
                    }
                    found
                }
            };
            if let Some(path) = path {
                disk.file = NamedFile::new(path);
                machine.disks.push(disk);
            }
        }
        (machine, lost)
    }

    /// Adds the disks that it has while it runs, and not when it is started next. What those are built on is
    /// what was opened, which nothing pins.
    pub(super) fn add_live(&mut self, live: Self) {
        for mut disk in live.disks {
            let is_known = |known: &DomainDisk| known.source == disk.source;
            if !self.disks.iter().any(is_known) {
                disk.disk.pinned.clear();
                disk.disk.pin_ends = false;
                self.disks.push(disk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "<domain type='qemu'>
  <name>web</name><uuid>8c34a151-90f6-4e2c-8572-a4dc793693a8</uuid>
  <os><nvram format='raw'>/vm/web_VARS.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/vm/web.s1'/>
      <backingStore type='file'>
        <format type='qcow2'/>
        <source file='/vm/web.qcow2'/>
      </backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='volume' device='disk'>
      <source pool='default' volume='data.qcow2'/>
      <backingStore/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='block' device='lun'><source dev='/dev/pve/x'/><target dev='sda'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='hdc'/><readonly/></disk>
    <disk type='file' device='cdrom'><target dev='hdd'/></disk>
    <disk type='network'><source protocol='rbd' name='pool/x'/><target dev='vdc'/></disk>
  </devices>
</domain>";

    fn find(pool: &str, volume: &str) -> Option<PathBuf> {
        (pool == "default").then(|| PathBuf::from("/pool").join(volume))
    }

    #[test]
    fn a_domain_names_its_disks_their_pins_and_its_media() {
        let domain = domain(WEB).unwrap();
        let (machine, lost) = domain.machine("libvirt", "here", MachineState::Off, &find);
        assert_eq!((machine.name.as_str(), lost.len()), ("web", 0));
        assert_eq!(
            machine.id.as_deref(),
            Some("8c34a151-90f6-4e2c-8572-a4dc793693a8")
        );
        let told = |disk: &Disk| {
            let pinned = disk.pinned.iter().map(|file| file.path.clone()).collect();
            (
                disk.target.clone(),
                disk.file.path.clone(),
                pinned,
                (disk.pin_ends, disk.read_only),
            )
        };
        let told: Vec<_> = machine.disks.iter().map(told).collect();
        let row = |target: &str, path: &str, pinned: &[&str], ends, reads| {
            let pinned: Vec<PathBuf> = pinned.iter().map(PathBuf::from).collect();
            (
                target.to_owned(),
                PathBuf::from(path),
                pinned,
                (ends, reads),
            )
        };
        assert_eq!(
            told,
            [
                row("vda", "/vm/web.s1", &["/vm/web.qcow2"], false, false),
                row("vdb", "/pool/data.qcow2", &[], true, false),
                row("sda", "/dev/pve/x", &[], false, false),
                row("hdc", "/iso/a.iso", &[], false, true),
                row("nvram", "/vm/web_VARS.fd", &[], false, false),
            ]
        );
        assert_eq!(machine.disks[0].format.as_deref(), Some("qcow2"));
    }

    #[test]
    fn a_volume_that_cannot_be_found_is_told_of() {
        let text = WEB.replace("'default'", "'gone'");
        let (machine, lost) =
            domain(&text)
                .unwrap()
                .machine("libvirt", "here", MachineState::Off, &find);
        assert_eq!(lost, ["gone/data.qcow2"]);
        assert_eq!(machine.disks.len(), 4);
    }

    #[test]
    fn a_running_domain_adds_what_it_has_only_now_without_pins() {
        let mut defined = domain(WEB).unwrap();
        let live = WEB.replace("/vm/web.s1", "/vm/other");
        defined.add_live(domain(&live).unwrap());
        let (machine, _) = defined.machine("libvirt", "here", MachineState::Running, &find);
        let vda: Vec<_> = machine
            .disks
            .iter()
            .filter(|disk| disk.target == "vda")
            .collect();
        assert_eq!(vda.len(), 2);
        assert!(vda[0].is_pinned() && !vda[1].is_pinned());
    }

    #[test]
    fn a_snapshot_owns_its_overlay_and_needs_what_it_froze() {
        let text = format!(
            "<domainsnapshot><name>s 1</name><disks>
            <disk name='vda' snapshot='external' type='file'><source file='/vm/web.s1'/></disk>
            <disk name='vdb' snapshot='internal'/></disks>{}</domainsnapshot>",
            WEB.replace("/vm/web.s1", "/vm/web.qcow2")
        );
        let found = snapshot(&text).unwrap().with_files().unwrap();
        let paths = |files: &[NamedFile]| -> Vec<PathBuf> {
            files.iter().map(|file| file.path.clone()).collect()
        };
        assert_eq!(found.name, "s 1");
        assert_eq!(paths(&found.owns), [PathBuf::from("/vm/web.s1")]);
        assert_eq!(
            paths(&found.needs),
            ["/vm/web.qcow2", "/dev/pve/x"].map(PathBuf::from)
        );
        let inside = text.replace("'external'", "'internal'");
        assert_eq!(snapshot(&inside).unwrap().with_files(), None);
    }

    #[test]
    fn hostile_texts_are_errors() {
        let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert!(matches!(domain(&deep), Err(XmlError::Without("domain"))));
        let hidden = format!("<!-- /> -->{}", "<a x='/>'>/>".repeat(60_000));
        assert!(matches!(domain(&hidden), Err(XmlError::Malformed(_))));
        let pins = format!(
            "<domain><name>x</name><devices><disk><source file='/a'/>{}{}</disk></devices></domain>",
            "<backingStore><source file='/b'/>".repeat(60_000),
            "</backingStore>".repeat(60_000)
        );
        let pinned = domain(&pins).unwrap().disks.remove(0).disk.pinned;
        assert_eq!(pinned.len(), MAX_PINNED);
        let bomb = "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain><name>&b;</name></domain>";
        assert!(matches!(domain(bomb), Err(XmlError::Malformed(_))));
        for text in [
            "",
            "<",
            "<domain>",
            "\0",
            "<domain/>",
            "<x><name>a</name></x>",
            "<domain><name>../../etc</name></domain>",
            "<domain><name>..</name></domain>",
        ] {
            assert!(domain(text).is_err(), "{text:?}");
            assert!(snapshot(text).is_err(), "{text:?}");
        }
    }
}
