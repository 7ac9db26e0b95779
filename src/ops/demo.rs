//! Demo: small forests to try everything on, real images with a few MiB of data, made without QEMU.
//! They are those of Kashyap Chamarthy's handout on snapshots: branches on one base, a raw base with
//! two files of one name above it, and overlays that record no backing format.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::host::{Access, Host};
use crate::image::{self, Chain, Format, ImageFile, NoProgress, Root, Source, Target};

use super::Error;
use super::framework::format::shown;

const KIB: u64 = 1 << 10;

const MIB: u64 = 1 << 20;

/// One image of a forest: its path below the directory, what it is built on as recorded (itself for
/// a root), and the guest ranges it holds as offset and length.
struct Layer {
    path: &'static str,
    base: Base,
    data: &'static [(u64, u64)],
}

enum Base {
    /// A qcow2 image of this size, built on nothing.
    None(u64),
    /// A raw image of this size.
    RawDisk(u64),
    Qcow2(&'static str),
    Raw(&'static str),
    /// As programs wrote it before QEMU 6.1: the name alone.
    NoFormat(&'static str),
}

const fn layer(path: &'static str, base: Base, data: &'static [(u64, u64)]) -> Layer {
    Layer { path, base, data }
}

const DIRS: [&str; 5] = [
    "rootbase",
    "fedora",
    "fedora/guest-1",
    "fedora/guest-2",
    "centos",
];

/// Bases before what is built on them.
const LAYERS: [Layer; 19] = [
    layer(
        "rootbase/RootBase.qcow2",
        Base::None(64 * MIB),
        &[(0, 2 * MIB), (16 * MIB, MIB)],
    ),
    layer(
        "rootbase/Overlay-1.qcow2",
        Base::Qcow2("RootBase.qcow2"),
        &[(MIB, 512 * KIB), (20 * MIB, 192 * KIB)],
    ),
    layer(
        "rootbase/Overlay-1A.qcow2",
        Base::Qcow2("Overlay-1.qcow2"),
        &[(2 * MIB, 256 * KIB)],
    ),
    layer(
        "rootbase/Overlay-1B.qcow2",
        Base::Qcow2("Overlay-1A.qcow2"),
        &[(3 * MIB, 128 * KIB)],
    ),
    layer(
        "rootbase/Overlay-1C.qcow2",
        Base::Qcow2("Overlay-1B.qcow2"),
        &[(5 * MIB, 64 * KIB)],
    ),
    layer(
        "rootbase/Overlay-2.qcow2",
        Base::Qcow2("RootBase.qcow2"),
        &[(0, 64 * KIB)],
    ),
    layer(
        "rootbase/Overlay-2A.qcow2",
        Base::Qcow2("Overlay-2.qcow2"),
        &[(30 * MIB, 768 * KIB)],
    ),
    layer(
        "rootbase/Overlay-3.qcow2",
        Base::Qcow2("RootBase.qcow2"),
        &[(7 * MIB, 512 * KIB)],
    ),
    layer(
        "rootbase/Overlay-3A.qcow2",
        Base::Qcow2("Overlay-3.qcow2"),
        &[(63 * MIB, 256 * KIB)],
    ),
    layer(
        "fedora/FedoraBase.img",
        Base::RawDisk(32 * MIB),
        &[(0, 2 * MIB)],
    ),
    layer(
        "fedora/guest-1/Fedora-guest-1.qcow2",
        Base::Raw("../FedoraBase.img"),
        &[(MIB, 256 * KIB)],
    ),
    layer(
        "fedora/guest-1/Fed-w-updates.qcow2",
        Base::Qcow2("Fedora-guest-1.qcow2"),
        &[(2 * MIB, 256 * KIB)],
    ),
    layer(
        "fedora/guest-1/Fedora-guest-with-updates-1A.qcow2",
        Base::Qcow2("Fed-w-updates.qcow2"),
        &[(3 * MIB, 128 * KIB)],
    ),
    layer(
        "fedora/guest-2/Fedora-guest-2.qcow2",
        Base::Raw("../FedoraBase.img"),
        &[(MIB, 384 * KIB)],
    ),
    layer(
        "fedora/guest-2/Fed-w-updates.qcow2",
        Base::Qcow2("Fedora-guest-2.qcow2"),
        &[(2 * MIB, 128 * KIB)],
    ),
    layer(
        "fedora/guest-2/Fedora-guest-with-updates-2A.qcow2",
        Base::Qcow2("Fed-w-updates.qcow2"),
        &[(3 * MIB, 64 * KIB)],
    ),
    layer("centos/centos.qcow2", Base::None(32 * MIB), &[(0, MIB)]),
    layer(
        "centos/centos-overlay-1.qcow2",
        Base::NoFormat("centos.qcow2"),
        &[(0, 64 * KIB)],
    ),
    layer(
        "centos/centos-overlay-2.qcow2",
        Base::NoFormat("centos-overlay-1.qcow2"),
        &[(MIB, 64 * KIB)],
    ),
];

/// Makes the forests in `dir`, which is created if it is not there and has to be empty if it is.
///
/// # Errors
/// [`Error::Failed`] with the file; what was made until then stays.
pub fn demo(host: &dyn Host, dir: &Path) -> Result<(), Error> {
    match host.create_dir(dir, 0o777) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let names = host
                .list_dir(dir)
                .map_err(|error| Error::io("use", dir, &error))?;
            if !names.is_empty() {
                return Err(Error::failed(format!(
                    "{} is not empty: choose another folder for the demo",
                    shown(dir)
                )));
            }
        }
        Err(error) => return Err(Error::io("create", dir, &error)),
    }
    for name in DIRS {
        let path = dir.join(name);
        host.create_dir(&path, 0o777)
            .map_err(|error| Error::io("create", &path, &error))?;
    }
    LAYERS.iter().try_for_each(|layer| make(host, dir, layer))
}

fn make(host: &dyn Host, dir: &Path, layer: &Layer) -> Result<(), Error> {
    let path = dir.join(layer.path);
    match &layer.base {
        Base::RawDisk(size) => {
            return make_raw(host, &path, *size, layer.data)
                .map_err(|error| Error::io("create", &path, &error));
        }
        Base::None(size) => create(host, &path, *size, None)?,
        Base::Qcow2(base) => on(host, &path, base, Format::Qcow2)?,
        Base::Raw(base) => on(host, &path, base, Format::Raw)?,
        Base::NoFormat(base) => on(host, &path, base, Format::Qcow2)?,
    }
    write(host, &path, layer.data)?;
    if let Base::NoFormat(base) = &layer.base {
        forget_format(host, &path, base)?;
    }
    Ok(())
}

/// An overlay as large as its base.
fn on(host: &dyn Host, path: &Path, base: &str, format: Format) -> Result<(), Error> {
    let base_path = path
        .parent()
        .map_or_else(|| PathBuf::from(base), |dir| dir.join(base));
    let size = image::Layer::open(host, &base_path, &format)?.virtual_size();
    create(host, path, size, Some((base.into(), format)))
}

fn create(
    host: &dyn Host,
    path: &Path,
    size: u64,
    backing: Option<(OsString, Format)>,
) -> Result<(), Error> {
    let options = image::CreateOptions {
        backing,
        ..image::CreateOptions::new(size)
    };
    Ok(image::create(host, path, &options, &image::NoProgress)?)
}

fn make_raw(host: &dyn Host, path: &Path, size: u64, data: &[(u64, u64)]) -> io::Result<()> {
    let file = host.create_new(path)?;
    file.set_len(size)?;
    for (offset, len) in data {
        file.write_at(&text(path, *offset, *len), *offset)?;
    }
    file.flush()
}

fn write(host: &dyn Host, path: &Path, data: &[(u64, u64)]) -> image::Result<()> {
    let format = Format::Qcow2;
    // All of the chain was made here, just now.
    let view = Chain::open(host, path, Some(&format), &|_| true)?;
    let mut target = Target::open(host, path, &format, view, Root::Active, &NoProgress)?;
    target.begin()?;
    for (offset, len) in data {
        target.write(*offset, *len, Source::Bytes(&text(path, *offset, *len)))?;
    }
    target.finish()
}

/// What the layer's guest wrote: lines that name the layer and the place, so that a look into any
/// layer shows whose bytes one sees.
fn text(path: &Path, offset: u64, len: u64) -> Vec<u8> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let len = usize::try_from(len).unwrap_or(0);
    let mut bytes = Vec::with_capacity(len + 128);
    for line in (offset..).step_by(64) {
        if bytes.len() >= len {
            break;
        }
        bytes.extend(format!("{:<50.50} {line:#011x}\n", name).bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Takes the backing format out of the header again.
fn forget_format(host: &dyn Host, path: &Path, base: &str) -> Result<(), Error> {
    let failed = |error: io::Error| Error::io("write the header of", path, &error);
    let file = ImageFile::open(host, path, Access::ReadWrite)?;
    let mut header = image::read_header(&file)?;
    let mut cluster = header
        .set_backing(base.as_bytes(), None)
        .and_then(|()| header.encode())
        .map_err(|error| image::Error::new(path, error))?;
    let file = file.host_file();
    // The old header was longer by one extension; what is left of it must not follow the new one.
    cluster.resize(4096, 0);
    file.write_at(&cluster, 0).map_err(failed)?;
    file.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::forest::{Flags, ScanOptions, scan_all};
    use crate::host::RealHost;

    #[test]
    fn the_demo_is_three_forests_of_readable_images() {
        let dir = tempfile::tempdir().unwrap();
        demo(&RealHost, dir.path()).unwrap();
        let options = ScanOptions {
            roots: vec![dir.path().to_path_buf()],
            ..ScanOptions::default()
        };
        let (forest, summary) = scan_all(Arc::new(RealHost), options);
        assert_eq!(summary.images, 19);
        assert_eq!(forest.roots().len(), 3);
        let unformatted = forest
            .nodes()
            .filter(|node| forest.flags(node.id).contains(Flags::NO_BACKING_FORMAT));
        assert_eq!(unformatted.count(), 2);
        for layer in &LAYERS {
            let path = dir.path().join(layer.path);
            let chain = Chain::open(&RealHost, &path, None, &|_| true).unwrap();
            for (offset, len) in layer.data {
                let mut bytes = vec![0; usize::try_from(*len).unwrap()];
                chain.read_at(&mut bytes, *offset).unwrap();
                assert_eq!(bytes, text(&path, *offset, *len), "{}", layer.path);
            }
            if !matches!(layer.base, Base::RawDisk(_)) {
                let file = ImageFile::open(&RealHost, &path, Access::Read).unwrap();
                let check = image::check(&file, &NoProgress).unwrap();
                assert_eq!((check.corruptions, check.leaks), (0, 0), "{}", layer.path);
            }
        }
    }

    #[test]
    fn a_directory_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "mine").unwrap();
        assert!(matches!(
            demo(&RealHost, dir.path()),
            Err(Error::Failed(text)) if text.text.contains("not empty")
        ));
    }
}
