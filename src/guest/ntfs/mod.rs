//! NTFS, as Windows has it on its disks.
//!
//! A node is named by the number of its record in the master file table (MFT). Content is that of the stream without a
//! name; other streams are not shown, nor are the files of NTFS itself. A name in the 8.3 form that stands beside a real
//! one leads to its file and is not listed. The log is not replayed: a volume that was not unmounted says so.

mod assemble;
mod boot_sector;
mod error;
mod file;
mod fixup;
mod index;
mod links;
mod log_file;
mod lznt1;
mod mft;
mod names;
mod nodes;
mod record;
mod reparse;
mod runs;
mod state;
mod stream;
mod upcase;
mod usage;

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

use self::boot_sector::BootSector;
use self::error::not_a_directory;
use self::file::File;
use self::names::bits;
use self::record::Extents;
use crate::block::Source;
use crate::cache::{CHUNK, Cache, Chunks};
use crate::error::Result;
use crate::filesystem::{
    Candidates, Condition, Entry, FileExtent, Filesystem, Links, Node, NodeId, NodeKind,
    OpenFilesystem, Summary, Use,
};
use crate::ranges::Ranges;

/// Numbers of the records that NTFS has for itself.
const MFT: u64 = 0;
const LOG_FILE: u64 = 2;
const VOLUME: u64 = 3;
const ROOT: u64 = 5;
const VOLUME_BITMAP: u64 = 6;
const UPCASE: u64 = 10;

/// The first record that a file of somebody else may have.
const FIRST_USER: u64 = 24;

/// Bytes of records and directories that are held.
const HELD: usize = 8 << 20;

/// Bytes of files, as they were put together, that are held.
const HELD_FILES: usize = 8 << 20;

/// Bytes of content that were unpacked and are held.
const HELD_UNITS: usize = 2 << 20;

/// An NTFS filesystem.
#[derive(Debug)]
struct Ntfs {
    /// Content of files, which is read once.
    volume: Source,
    metadata: Chunks,
    boot: BootSector,
    /// Where the master file table is.
    mft: Extents,
    /// By number.
    files: Cache<u64, Arc<File>>,
    /// Unpacked content, by the file's number and the unit's.
    units: Cache<(u64, u64), Arc<[u8]>>,
    /// Upper-case forms, read when they are needed first.
    upcase: OnceLock<Option<Vec<u16>>>,
    /// Bytes in use, counted when they are asked for first.
    used: OnceLock<Option<u64>>,
    summary: Summary,
}

/// Opens an NTFS filesystem; none where there is none.
///
/// # Errors
/// When its boot sector, the first records of its master file table or its root directory are damaged; when the volume
/// cannot be read.
pub(crate) fn open(volume: &Source) -> Result<Option<OpenFilesystem>> {
    let mut sector = [0; 512];
    volume.read_at(0, &mut sector)?;
    let Some(boot) = BootSector::parse(&sector, volume.len())? else {
        return Ok(None);
    };
    let mut filesystem = Ntfs {
        volume: volume.clone(),
        metadata: Chunks::new(volume.clone(), CHUNK, HELD),
        boot,
        mft: Extents::default(),
        files: Cache::new(HELD_FILES),
        units: Cache::new(HELD_UNITS),
        upcase: OnceLock::new(),
        used: OnceLock::new(),
        summary: Summary {
            kind: "NTFS",
            label: Vec::new(),
            uuid: format!("{:016X}", boot.serial),
            block_size: boot.cluster_size,
            total: boot.total,
            used: None,
            written: None,
            condition: Condition::Clean,
        },
    };
    filesystem.find_mft()?;
    filesystem.summary.condition = filesystem.condition()?;
    filesystem.summary.label = filesystem.label()?;
    if !filesystem.file(ROOT)?.is_directory {
        return Err(not_a_directory(ROOT));
    }
    Ok(Some(Arc::new(filesystem)))
}

impl Filesystem for Ntfs {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn used(&self) -> Result<Option<u64>> {
        if let Some(used) = self.used.get() {
            return Ok(*used);
        }
        let used = self.count_used()?;
        Ok(*self.used.get_or_init(|| used))
    }

    fn root(&self) -> NodeId {
        NodeId::new(ROOT)
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        let file = self.file(id.number)?;
        self.node_of(&file)
    }

    fn entries(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let directory = self.file(directory.number)?;
        self.named(&directory, &mut |named| {
            if named.name.is_dos {
                return ControlFlow::Continue(());
            }
            // What a reparse point or a system file is, only its record says.
            let attributes = named.name.attributes;
            let kind = match attributes & (bits::REPARSE_POINT | bits::SYSTEM) {
                0 if attributes & bits::DIRECTORY != 0 => Some(NodeKind::Directory),
                0 => Some(NodeKind::File),
                _ => None,
            };
            each(Entry {
                name: &named.name.name,
                id: NodeId::new(named.file.number),
                kind,
            })
        })
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let directory = self.file(directory.number)?;
        let mut found = None;
        self.named(&directory, &mut |named| {
            // Names that differ in case only can stand beside each other: the one that is spelt so comes first.
            let is_exact = named.name.name == name;
            if is_exact || (found.is_none() && self.is_same_name(&named.name.name, name)) {
                found = Some(NodeId::new(named.file.number));
            }
            match is_exact {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(found)
    }

    fn read(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let file = self.file(file.number)?;
        self.read_content(&file, offset, buf)
    }

    fn link_target(&self, link: NodeId) -> Result<Vec<u8>> {
        let file = self.file(link.number)?;
        self.target(&file)
    }

    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        let file = self.file(id.number)?;
        self.extents_of(&file)
    }

    fn candidates(&self, changed: &Ranges) -> Result<Candidates> {
        Ok(Candidates::Nodes(self.touched(changed)?))
    }

    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        self.links_to(wanted)
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        self.used_for(each)
    }

    fn doubt(&self) -> Result<Option<String>> {
        self.doubt_of_bitmap()
    }
}
