//! What a file is: its kind, its content and where that is stored.

use super::error::{not_found, printable};
use super::file::{File, INDEX_NAME, extents};
use super::names::{FileName, StandardInformation, bits};
use super::record::{Attribute, Extents, Value, kind};
use super::reparse::{self, INTERIX_LINK, Reparse};
use super::runs::{self, Run};
use super::{Ntfs, stream};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::filesystem::{FileExtent, Node, NodeId, NodeKind};
use crate::utf16;

/// Bytes of the target of a symbolic link at the most.
const MOST_TARGET: usize = 4096;

/// What is shown of a file.
#[derive(Debug)]
enum Shape {
    File,
    Directory,
    Link(Vec<u8>),
    /// With the bits of its type in `st_mode`.
    Special(u32),
}

impl Ntfs {
    fn reparse(&self, file: &File) -> Result<Option<Reparse>> {
        let Some(point) = file.find(kind::REPARSE_POINT, "") else {
            return Ok(None);
        };
        let value = self.value(file, point, reparse::MOST)?;
        let point = Reparse::parse(&value).map_err(|problem| file.damaged(problem))?;
        Ok(Some(point))
    }

    fn shape(&self, file: &File) -> Result<Shape> {
        match self.reparse(file)? {
            Some(Reparse::Link(target)) => return Ok(Shape::Link(target)),
            Some(Reparse::Special(mode)) => return Ok(Shape::Special(mode)),
            _ if file.is_directory => return Ok(Shape::Directory),
            _ => {}
        }
        let target = self.interix_target(file)?;
        Ok(target.map_or(Shape::File, Shape::Link))
    }

    /// Where a symbolic link of Interix leads to: a system file that begins with a mark.
    fn interix_target(&self, file: &File) -> Result<Option<Vec<u8>>> {
        let Some(data) = file.data().filter(|_| is_set(file, bits::SYSTEM)) else {
            return Ok(None);
        };
        let size = usize::try_from(stream::size(data)).unwrap_or(usize::MAX);
        let is_one =
            (INTERIX_LINK.len() + 2..=INTERIX_LINK.len() + 2 * MOST_TARGET).contains(&size);
        if !is_one || data.flags.is_encrypted() {
            return Ok(None);
        }
        let mut content = vec![0; size];
        self.read_stream(file, data, 0, &mut content)?;
        Ok(content
            .strip_prefix(&INTERIX_LINK)
            .map(|target| utf16::to_wtf8(&utf16::units(target))))
    }

    /// What is recorded of a file.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub(super) fn node_of(&self, file: &File) -> Result<Node> {
        let shape = self.shape(file)?;
        let information = StandardInformation(information(file));
        let (kind, mode) = match &shape {
            Shape::Directory => (NodeKind::Directory, 0o40_755),
            Shape::File if is_set(file, bits::READONLY) => (NodeKind::File, 0o100_444),
            Shape::File => (NodeKind::File, 0o100_644),
            Shape::Link(_) => (NodeKind::Symlink, 0o120_777),
            Shape::Special(mode) => (NodeKind::Special, mode | 0o644),
        };
        let content = content(file);
        let size = match &shape {
            Shape::Link(target) => target.len() as u64,
            _ => content.map_or(0, stream::size),
        };
        let clusters: u64 = content
            .and_then(extents)
            .iter()
            .flat_map(|extents| &extents.runs)
            .filter(|run| run.lcn.is_some())
            .map(|run| run.count)
            .sum();
        let names = file.shown_names().count();
        Ok(Node {
            id: NodeId::new(file.number),
            kind,
            size,
            allocated: clusters.saturating_mul(self.boot.cluster_size.into()),
            mode,
            uid: 0,
            gid: 0,
            links: u32::try_from(names).unwrap_or(u32::MAX),
            modified: information.modified(),
            changed: information.changed(),
            generation: file.sequence.into(),
            digest: digest(file),
        })
    }

    /// Fills `buf` with the content of a regular file.
    ///
    /// # Errors
    /// When it is none, is stored in a way that is not read, is damaged, or cannot be read.
    pub(super) fn read_content(&self, file: &File, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Shape::File = self.shape(file)? else {
            return Err(Error::NotAFile(printable(file.number)));
        };
        let Some(data) = file.data() else {
            return Ok(0);
        };
        let rest = stream::size(data).saturating_sub(offset);
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        if buf.is_empty() {
            return Ok(0);
        }
        let feature = match self.reparse(file)? {
            Some(Reparse::Other(name)) => Some(name.to_owned()),
            Some(Reparse::Unknown(tag)) => Some(format!("the reparse tag {tag:#010x}")),
            _ => None,
        };
        if let Some(feature) = feature {
            return Err(Error::Unsupported {
                filesystem: "NTFS",
                feature,
            });
        }
        self.read_stream(file, data, offset, buf)?;
        Ok(len)
    }

    /// Where a symbolic link leads to.
    ///
    /// # Errors
    /// When it is none, is damaged, or cannot be read.
    pub(super) fn target(&self, file: &File) -> Result<Vec<u8>> {
        match self.shape(file)? {
            Shape::Link(target) if target.len() <= MOST_TARGET => Ok(target),
            Shape::Link(_) => Err(Error::TooMuch {
                what: "bytes of a symbolic link",
                most: MOST_TARGET as u64,
            }),
            _ => Err(not_found(file.number)),
        }
    }

    /// Where the content of a file is stored.
    ///
    /// # Errors
    /// When that is not known.
    pub(super) fn extents_of(&self, file: &File) -> Result<Vec<FileExtent>> {
        let Some(attribute) = content(file) else {
            return Ok(Vec::new());
        };
        let Some(extents) = extents(attribute) else {
            return Ok(Vec::new());
        };
        match self.unit(attribute, extents)? {
            None => Ok(self.plain_extents(extents)),
            Some(unit) => Ok(self.compressed_extents(extents, unit)),
        }
    }

    fn plain_extents(&self, extents: &Extents) -> Vec<FileExtent> {
        let size = u64::from(self.boot.cluster_size);
        let written = extents.initialized.div_ceil(size);
        let mut found = Vec::new();
        for (clusters, unwritten) in [(0..written, false), (written..u64::MAX, true)] {
            for run in runs::within(&extents.runs, clusters) {
                let Some(lcn) = run.lcn else { continue };
                found.push(FileExtent {
                    file: run.vcn * size,
                    volume: lcn * size,
                    len: run.count * size,
                    stored: run.count * size,
                    unwritten,
                });
            }
        }
        found
    }

    /// Of a compressed unit, each fragment is told as one of the whole unit.
    fn compressed_extents(&self, extents: &Extents, unit: u64) -> Vec<FileExtent> {
        let size = u64::from(self.boot.cluster_size);
        let clusters = unit / size;
        let mut found = Vec::new();
        let mut rest: &[Run] = &extents.runs;
        let mut parts: Vec<Run> = Vec::new();
        let end = runs::end(rest);
        let mut vcn = 0;
        while vcn < end {
            rest = rest
                .get(rest.partition_point(|run| run.vcn + run.count <= vcn)..)
                .unwrap_or_default();
            // A hole that goes on for units, or units that are not compressed.
            let whole = rest.first().map_or(1, |run| {
                let from = vcn.max(run.vcn);
                ((run.vcn + run.count).saturating_sub(from) / clusters).max(1)
            });
            let range = vcn..vcn + whole * clusters;
            parts.clear();
            parts.extend(runs::within(rest, range.clone()).filter(|run| run.lcn.is_some()));
            let stored: u64 = parts.iter().map(|run| run.count).sum();
            let is_packed = stored < range.end - range.start;
            for run in &parts {
                let (from, len) = match is_packed {
                    true => (range.start, range.end - range.start),
                    false => (run.vcn, run.count),
                };
                found.push(FileExtent {
                    file: from * size,
                    volume: run.lcn.unwrap_or_default() * size,
                    len: len * size,
                    stored: run.count * size,
                    unwritten: false,
                });
            }
            vcn = range.end;
        }
        found
    }
}

/// What holds the content: of a directory the blocks of its index.
fn content(file: &File) -> Option<&Attribute> {
    match file.is_directory {
        true => file
            .find(kind::INDEX_ALLOCATION, INDEX_NAME)
            .or_else(|| file.find(kind::INDEX_ROOT, INDEX_NAME)),
        false => file.data(),
    }
}

fn information(file: &File) -> &[u8] {
    file.resident(kind::STANDARD_INFORMATION)
        .next()
        .unwrap_or_default()
}

/// Whether one of the attributes of a file is set.
fn is_set(file: &File, bit: u32) -> bool {
    StandardInformation(information(file)).attributes() & bit != 0
}

/// A digest of everything that the records of a file hold, without the time it was read last.
fn digest(file: &File) -> u64 {
    let mut digest = Digest::new();
    for attribute in &file.attributes {
        digest = digest
            .with(&attribute.kind.to_le_bytes())
            .with(&attribute.flags.0.to_le_bytes());
        for unit in &attribute.name {
            digest = digest.with(&unit.to_le_bytes());
        }
        match (&attribute.value, attribute.kind) {
            // The index has the times of the files in it, as they were when somebody last wrote them there.
            (Value::Resident(_), kind::INDEX_ROOT) => {}
            (Value::Resident(value), kind::STANDARD_INFORMATION) => {
                for part in StandardInformation(value).lasting() {
                    digest = digest.with(part);
                }
            }
            (Value::Resident(value), kind::FILE_NAME) => {
                for part in FileName::lasting(value) {
                    digest = digest.with(part);
                }
            }
            (Value::Resident(value), _) => digest = digest.with(value),
            (Value::NonResident(extents), _) => {
                digest = digest
                    .with(&extents.size.to_le_bytes())
                    .with(&extents.initialized.to_le_bytes());
                for run in &extents.runs {
                    digest = digest
                        .with(&run.lcn.unwrap_or(u64::MAX).to_le_bytes())
                        .with(&run.count.to_le_bytes());
                }
            }
        }
    }
    digest.value()
}
