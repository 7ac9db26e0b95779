//! FAT12, FAT16 and FAT32 with long names, as EFI system partitions have. exFAT is another filesystem and is not read.
//!
//! A node is named by the place of its directory entry in the volume; the root directory, which has none, by 0. Dates
//! are kept without a time zone and taken as UTC.

mod boot_sector;
mod directory;
mod error;
mod nodes;
mod table;

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use self::boot_sector::{BootSector, Root, Width};
use self::directory::Record;
use self::table::{Clusters, MOST_RUNS, Table};
use crate::block::{BlockSource, Source};
use crate::cache::{CHUNK, Cache, Chunks};
use crate::digest::Digest;
use crate::error::{Error, Printable, Result};
use crate::filesystem::{
    Candidates, Condition, Entry, FileExtent, Filesystem, Link, Links, Node, NodeId, NodeKind,
    OpenFilesystem, Summary, Use,
};
use crate::ranges::Ranges;
use crate::utf16;

/// Bytes of tables and directories that are held.
const HELD: usize = 8 << 20;

const ROOT: NodeId = NodeId::new(0);

/// A FAT filesystem.
#[derive(Debug)]
struct Fat {
    /// Content of files, which is read once.
    volume: Source,
    metadata: Arc<Chunks>,
    boot: BootSector,
    table: Table,
    /// By the place of the entry.
    chains: Cache<NodeId, Arc<Clusters>>,
    summary: Summary,
}

/// Opens a FAT filesystem; none where there is none.
///
/// # Errors
/// When the boot sector says that it is one, and contradicts itself; when the volume cannot be read.
pub(crate) fn open(volume: &Source) -> Result<Option<OpenFilesystem>> {
    let mut sector = [0; 512];
    volume.read_at(0, &mut sector)?;
    let Some(boot) = BootSector::parse(&sector, volume.len())? else {
        return Ok(None);
    };
    let metadata = Arc::new(Chunks::new(volume.clone(), CHUNK, HELD));
    let table = Table::new(metadata.clone(), &boot);
    let mut filesystem = Fat {
        volume: volume.clone(),
        summary: summary(&boot),
        metadata,
        table,
        chains: Cache::new(MOST_RUNS),
        boot,
    };
    filesystem.summary.used = filesystem.used()?;
    if let Some(label) = filesystem.root_label()? {
        filesystem.summary.label = label;
    }
    Ok(Some(Arc::new(filesystem)))
}

fn summary(boot: &BootSector) -> Summary {
    let label = boot.label.trim_ascii_end();
    Summary {
        kind: match boot.width {
            Width::Fat12 => "FAT12",
            Width::Fat16 => "FAT16",
            Width::Fat32 => "FAT32",
        },
        label: match label {
            b"NO NAME" => Vec::new(),
            label => label.to_vec(),
        },
        uuid: boot.serial.map_or_else(String::new, |serial| {
            format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)
        }),
        block_size: boot.cluster_size,
        total: boot.total,
        used: None,
        written: None,
        condition: Condition::Clean,
    }
}

impl Fat {
    /// Bytes in clusters that are not free. A table of 32 bits is large: there a count is kept apart, which is good as
    /// long as the volume was unmounted.
    fn used(&self) -> Result<Option<u64>> {
        let size = u64::from(self.boot.cluster_size);
        if self.boot.width != Width::Fat32 {
            return Ok(Some(u64::from(self.table.used()?) * size));
        }
        let Some(at) = self.boot.fs_info else {
            return Ok(None);
        };
        let mut info = [0; 512];
        self.metadata.read_at(at, &mut info)?;
        // FSI_LeadSig, FSI_StrucSig, FSI_Free_Count.
        let is_info =
            crate::field::<4>(&info, 0) == *b"RRaA" && crate::field::<4>(&info, 484) == *b"rrAa";
        let free = u32::from_le_bytes(crate::field(&info, 488));
        let used = self.boot.clusters.checked_sub(free);
        let is_known = is_info && !self.table.is_dirty()?;
        Ok(used.filter(|_| is_known).map(|used| u64::from(used) * size))
    }

    /// The label that the root directory holds, which is newer than the one in the boot sector.
    fn root_label(&self) -> Result<Option<Vec<u8>>> {
        let mut label = None;
        self.slots(ROOT, &mut |_, bytes| {
            let record = Record::new(bytes);
            if !record.is_unused() && !record.is_long_name() && record.is_label() {
                label = Some(record.label());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(label)
    }
}

/// A digest of an entry and of the clusters it leads to.
fn digest(record: Option<Record<'_>>, chain: &Clusters) -> u64 {
    let mut digest = Digest::new();
    if let Some(record) = record {
        let (attributes, created, rest) = record.lasting();
        digest = digest.with(&attributes).with(&created).with(&rest);
    }
    for run in &chain.runs {
        digest = digest
            .with(&run.cluster.to_le_bytes())
            .with(&run.count.to_le_bytes());
    }
    digest.value()
}

fn kind(record: Record<'_>) -> NodeKind {
    match record.is_directory() {
        true => NodeKind::Directory,
        false => NodeKind::File,
    }
}

impl Filesystem for Fat {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        let bytes = match id {
            ROOT => None,
            id => Some(self.record(id)?),
        };
        let record = bytes.as_ref().map(Record::new);
        let chain = self.chain(id)?;
        let kind = record.map_or(NodeKind::Directory, kind);
        let allocated = match (&self.boot.root, id) {
            (Root::Fixed(range), ROOT) => range.end - range.start,
            _ => u64::from(chain.count()) * u64::from(self.boot.cluster_size),
        };
        let is_read_only = record.is_some_and(Record::is_read_only);
        Ok(Node {
            id,
            kind,
            size: match kind {
                NodeKind::Directory => allocated,
                _ => record.map_or(0, Record::size).into(),
            },
            allocated,
            // The read-only bit of a directory keeps nothing from being written into it.
            mode: match (kind, is_read_only) {
                (NodeKind::Directory, _) => 0o40_755,
                (_, true) => 0o100_444,
                (_, false) => 0o100_644,
            },
            uid: 0,
            gid: 0,
            links: 1,
            modified: record.and_then(Record::modified),
            changed: None,
            generation: record.map_or(0, Record::created),
            digest: digest(record, &chain),
        })
    }

    fn entries(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.names(directory, &mut |named| {
            each(Entry {
                name: &named.name,
                id: NodeId::new(named.at),
                kind: Some(kind(named.record())),
            })
        })
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let mut found = None;
        self.names(directory, &mut |named| {
            if utf16::same_name(&named.name, name) || utf16::same_name(&named.short, name) {
                found = Some(NodeId::new(named.at));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn read(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let not_a_file = || {
            let name = format!("directory entry at byte {}", file.number);
            Error::NotAFile(Printable(name.into_bytes()))
        };
        if file == ROOT {
            return Err(not_a_file());
        }
        let bytes = self.record(file)?;
        let record = Record::new(&bytes);
        if record.is_directory() {
            return Err(not_a_file());
        }
        let rest = u64::from(record.size()).saturating_sub(offset);
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let mut buf = buf.get_mut(..len).unwrap_or_default();
        let chain = self.chain(file)?;
        let size = u64::from(self.boot.cluster_size);
        let mut at = offset;
        while !buf.is_empty() {
            let next = chain
                .runs
                .partition_point(|run| u64::from(run.index + run.count) * size <= at);
            let place = chain.runs.get(next).and_then(|run| {
                let within = at.checked_sub(u64::from(run.index) * size)?;
                let start = self.boot.cluster(run.cluster)?.start;
                Some((start + within, u64::from(run.count) * size - within))
            });
            let Some((place, rest)) = place else {
                let problem = chain.problem.as_deref().unwrap_or("ends too early");
                return Err(Table::broken(file.number, problem));
            };
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
            let (part, after) = buf.split_at_mut(len);
            self.volume.read_at(place, part)?;
            at += len as u64;
            buf = after;
        }
        Ok(len)
    }

    fn link_target(&self, link: NodeId) -> Result<Vec<u8>> {
        let name = format!("symbolic link at byte {}", link.number);
        Err(Error::NotFound(Printable(name.into_bytes())))
    }

    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        let chain = self.chain(id)?;
        if let Some(problem) = &chain.problem {
            return Err(Table::broken(id.number, problem));
        }
        let size = u64::from(self.boot.cluster_size);
        let extent = |run: &table::Run| {
            let len = u64::from(run.count) * size;
            Some(FileExtent {
                file: u64::from(run.index) * size,
                volume: self.boot.cluster(run.cluster)?.start,
                len,
                stored: len,
                unwritten: false,
            })
        };
        Ok(chain.runs.iter().filter_map(extent).collect())
    }

    fn candidates(&self, _: &Ranges) -> Result<Candidates> {
        // Which files a changed table or directory is of is known only after walking through all of them.
        Ok(Candidates::All)
    }

    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        let mut directories: HashMap<NodeId, Link> = HashMap::new();
        let mut found = Links::new();
        let problem = self.walk(&mut |parent, named| {
            let id = NodeId::new(named.at);
            let is_directory = named.record().is_directory();
            if is_directory || wanted.contains(&id) {
                let name = named.name.clone();
                let link = Link { parent, name };
                if wanted.contains(&id) {
                    found.insert(id, vec![link.clone()]);
                }
                if is_directory {
                    directories.insert(id, link);
                }
            }
        })?;
        // A damaged directory is no matter where all that was asked for is elsewhere.
        let is_missing = |id: &NodeId| *id != ROOT && !found.contains_key(id);
        if let Some(problem) = problem.filter(|_| wanted.iter().any(is_missing)) {
            return Err(problem);
        }
        let mut above: Vec<NodeId> = found.values().flatten().map(|link| link.parent).collect();
        while let Some(id) = above.pop() {
            if let Some(link) = directories.remove(&id) {
                above.push(link.parent);
                found.entry(id).or_insert_with(|| vec![link]);
            }
        }
        Ok(found)
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        let boot = &self.boot;
        let size = u64::from(boot.cluster_size);
        let place = |clusters: Range<u32>| {
            let start = boot.cluster(clusters.start).map_or(0, |place| place.start);
            start..start + u64::from(clusters.end - clusters.start) * size
        };
        let (mut directories, mut files) = (vec![ROOT], Vec::new());
        let problem = self.walk(&mut |_, named| {
            let all = match named.record().is_directory() {
                true => &mut directories,
                false => &mut files,
            };
            all.push(NodeId::new(named.at));
        })?;
        let end = place(2..boot.clusters + 2).end;
        if problem.is_some() {
            each(boot.data..end, Use::Unread)?;
        }
        each(0..boot.data, Use::Metadata)?;
        self.table.unused(|clusters, is_bad| {
            let used = if is_bad { Use::Metadata } else { Use::Free };
            each(place(clusters), used)
        })?;
        // What is left over behind the last cluster belongs to none.
        each(end..boot.total.max(end), Use::Metadata)?;
        files.truncate(if problem.is_some() { files.len() } else { 0 });
        for (ids, used) in [(files, Use::FileData), (directories, Use::Metadata)] {
            for id in ids {
                for part in self.places(self.chain(id)?.as_ref()) {
                    each(part, used)?;
                }
            }
        }
        Ok(())
    }

    fn doubt(&self) -> Result<Option<String>> {
        if self.boot.is_marked || self.table.is_dirty()? {
            return Ok(Some(
                "it was not unmounted, or had errors: have the guest check it".to_owned(),
            ));
        }
        if let Some(problem) = self.walk(&mut |_, _| {})? {
            return Ok(Some(problem.to_string()));
        }
        let differ = "its file allocation tables differ from each other";
        Ok((!self.table.has_equal_copies(&self.boot.copies)?).then(|| differ.to_owned()))
    }
}
