//! Images on the disk for benchmarks: many, small, in trees.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use qanopy::qcow2::{Geometry, Header, HostOffset, Version};

/// Each tree: a base, overlays on it, overlays on those.
const TREE: usize = 50;

/// Writes one image that holds nothing, with a backing file of that name and format, as `qemu-img create` lays it out.
pub(crate) fn image(path: &Path, backing: Option<(&str, &str)>) {
    let geometry = Geometry::new(16, 4, false).unwrap();
    let mut header = Header::new(Version::V3, geometry, 10 << 30);
    header.refcount_table_offset = HostOffset(0x10000);
    header.refcount_table_clusters = 1;
    header.l1_offset = HostOffset(0x30000);
    header.l1_entries = 20;
    if let Some((name, format)) = backing {
        let format = Some(format.as_bytes());
        header.set_backing(name.as_bytes(), format).unwrap();
    }
    fs::write(path, header.encode().unwrap()).unwrap();
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(0x30000 + 160)
        .unwrap();
}

/// Builds `count` images in trees of [`TREE`], a folder each, and returns all paths.
pub(crate) fn build(dir: &Path, count: usize) -> Vec<PathBuf> {
    let mut paths = Vec::with_capacity(count);
    for i in 0..count {
        let (folder, at) = (dir.join(format!("vm-{:04}", i / TREE)), i % TREE);
        let backing = match at {
            0 => {
                fs::create_dir(&folder).unwrap();
                None
            }
            1..=10 => Some("layer-00.qcow2".to_owned()),
            at => Some(format!("layer-{:02}.qcow2", at - 10)),
        };
        let path = folder.join(format!("layer-{at:02}.qcow2"));
        image(&path, backing.as_deref().map(|name| (name, "qcow2")));
        paths.push(path);
    }
    paths
}

/// How many images a benchmark works on: `QANOPY_BENCH_IMAGES`, or so many.
pub(crate) fn wished(usual: usize) -> usize {
    let wished = std::env::var("QANOPY_BENCH_IMAGES").ok();
    wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(usual)
}
