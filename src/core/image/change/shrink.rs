//! Making the disk of an image shorter, and saying how long it is. Making that of a qcow2 image longer
//! is the writer's work but for the last step.

use std::collections::BTreeSet;

use crate::image::change::bitmaps::resize_all;
use crate::image::error::{OfFile, Result};
use crate::image::read::bitmaps::bitmaps;
use crate::image::read::table_reader::{read_active_l1, read_l2};
use crate::image::read::table_walk::TableWalk;
use crate::image::write::header_file::HeaderFile;
use crate::image::write::transaction::MetadataTransaction;
use crate::image::write::writer::provide_zeros;
use crate::image::{Error, ErrorKind, ImageFile, Preallocation, ProgressSink, internal};
use crate::qcow2::rewrite::HeaderEdit;
use crate::qcow2::{GuestOffset, HostCluster, HostClusters, HostOffset, L1Entry, L2Entry, Version};

/// What makes a disk shorter, ready to be done. Until then nothing is written.
#[derive(Debug)]
pub struct Shrink {
    transaction: MetadataTransaction,
    data: Option<ImageFile>,
    size: u64,
}

impl Shrink {
    /// Works out what makes the disk `size` bytes long, a multiple of 512 that is not 0 and less than
    /// now: clusters that lie wholly past the new end are given up, the L1 table gets shorter, the
    /// bitmaps too. Internal snapshots keep what they hold and their own sizes.
    ///
    /// # Errors
    /// When the image cannot be read or may not be written, a check finds corruptions, it is of
    /// version 2 and has snapshots, or a bitmap is stale.
    pub fn plan(
        file: &ImageFile,
        data: Option<ImageFile>,
        size: u64,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let mut transaction = MetadataTransaction::begin(file, progress)?;
        may_resize(file, transaction.header())?;
        let (geometry, context) = (transaction.geometry(), transaction.context);
        let header = transaction.header();
        let old = read_active_l1(file, header)?;
        let kept = internal::index(geometry.l1_entries_for(size)).of(file)?;
        let mut l1 = old.clone();
        l1.resize(kept.min(old.len()));
        let trees = TableWalk::new(file, context, progress);
        let mut lost = old.clone();
        for at in 0..l1.len() {
            lost.set(at, 0).map_err(|e| transaction.format_error(e))?;
        }
        trees.each(&lost, |named, table| {
            if !context.data_file {
                trees.references(table, |clusters| transaction.counts.lower(clusters))?;
            }
            transaction.release(named.offset, geometry.cluster_size())
        })?;
        // The table that the new end lies in keeps what is before it.
        let first_lost = size.next_multiple_of(geometry.cluster_size());
        let at = internal::index(geometry.l1_index(GuestOffset(first_lost))).of(file)?;
        // Where a table ends with the disk there is none.
        let raw = l1.get(at).unwrap_or(L1Entry::UNMAPPED);
        let entry = L1Entry::parse(raw, geometry).map_err(|e| transaction.format_error(e))?;
        if let Some(offset) = entry.table {
            let table = read_l2(file, offset.get(), context)?;
            let (mut before, mut after) = (table.clone(), table);
            let cut = geometry.l2_index(GuestOffset(first_lost));
            for index in 0..before.len() {
                let emptied = if index < cut { &mut before } else { &mut after };
                emptied
                    .set(index, L2Entry::Unallocated)
                    .map_err(|e| transaction.format_error(e))?;
            }
            // `before` holds what is lost, `after` what stays.
            let mut is_lost = false;
            for index in cut..before.len() {
                let entry = before.get(index).map_err(|e| transaction.format_error(e))?;
                is_lost |= !matches!(entry, L2Entry::Unallocated);
            }
            if is_lost {
                if !context.data_file {
                    trees.references(before.as_bytes(), |clusters| {
                        transaction.counts.lower(clusters)
                    })?;
                }
                transaction.release(offset, geometry.cluster_size())?;
                let place = transaction.put(after.as_bytes().to_vec())?;
                let raw = L1Entry {
                    table: Some(place),
                    copied: true,
                }
                .encode(geometry)
                .map_err(|e| transaction.format_error(e))?;
                l1.set(at, raw).map_err(|e| transaction.format_error(e))?;
            }
        }
        if l1 != old {
            transaction.put_active_l1(&l1)?;
        }
        resize_all(&mut transaction, size)?;
        transaction.edit.virtual_size = Some(size);
        Ok(Self {
            transaction: transaction.settle()?,
            data,
            size,
        })
    }

    /// Bytes of tables that are written, all of them to places that are free now.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.transaction.written()
    }

    /// Bytes on disk of clusters that nothing refers to afterwards, those of replaced tables included.
    #[must_use]
    pub fn freed(&self) -> u64 {
        self.transaction.freed()
    }

    /// Makes the disk shorter. At every instant the image is the old one or the new one, each
    /// complete. It can be stopped until the switch; stopped later, it leaves free space in the file.
    ///
    /// # Errors
    /// When a file cannot be written, or it was stopped: the image is as it was, or shorter with
    /// its free space not yet given back.
    pub fn commit(self, progress: &dyn ProgressSink) -> Result<()> {
        let file = self.transaction.file.clone();
        let written: BTreeSet<HostCluster> = self
            .transaction
            .places()?
            .into_iter()
            .flat_map(HostClusters::iter)
            .collect();
        self.transaction.commit(progress)?;
        if let Some(data) = &self.data
            && data.len()? > self.size
        {
            data.set_len(self.size, "cut off the end")?;
            data.flush()?;
        }
        // The disk is as long as it is to be, on stable storage. Whatever fails from here on leaves the image
        // whole, and the file longer than it need be.
        drop(draw_in(&file, &written, progress));
        Ok(())
    }
}

/// The new tables had to be written behind what was in use before. Writes them once more, to the places
/// that came free, so that the file can end with the last cluster of data.
fn draw_in(
    file: &ImageFile,
    written: &BTreeSet<HostCluster>,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let mut transaction = MetadataTransaction::begin(file, progress)?;
    let (end, limit) = (
        transaction.counts.end_of_all()?,
        transaction
            .counts
            .end_of(&|cluster| !written.contains(&cluster))?,
    );
    if end <= limit || !transaction.owns_the_end() {
        return Ok(());
    }
    let (geometry, context) = (transaction.geometry(), transaction.context);
    let behind = |offset: HostOffset| geometry.cluster_of(offset) >= limit;
    let mut l1 = read_active_l1(file, transaction.header())?;
    let mut moves = behind(transaction.header().l1_offset);
    for at in 0..l1.len() {
        let raw = l1.entry(at).map_err(|e| transaction.format_error(e))?;
        let entry = L1Entry::parse(raw, geometry).map_err(|e| transaction.format_error(e))?;
        let lies_behind = |table: &HostOffset| entry.copied && behind(*table);
        let Some(table) = entry.table.filter(lies_behind) else {
            continue;
        };
        let bytes = read_l2(file, table.get(), context)?;
        transaction.release(table, geometry.cluster_size())?;
        let moved = L1Entry {
            table: Some(transaction.put(bytes.as_bytes().to_vec())?),
            ..entry
        };
        let raw = moved
            .encode(geometry)
            .map_err(|e| transaction.format_error(e))?;
        l1.set(at, raw).map_err(|e| transaction.format_error(e))?;
        moves = true;
    }
    if moves {
        transaction.put_active_l1(&l1)?;
    }
    let size = transaction.header().virtual_size();
    resize_all(&mut transaction, size)?;
    transaction.counts.move_blocks_from(limit)?;
    let mut transaction = transaction.settle()?;
    // Where the free places are too short for it, it stays as it is.
    match transaction.counts.end_of_all()? < end {
        true => transaction.commit(progress),
        false => Ok(()),
    }
}

/// Whether the disk's size may change at all.
///
/// # Errors
/// Why not, if not.
pub fn may_resize(file: &ImageFile, header: &crate::qcow2::Header) -> Result<()> {
    // Its snapshots may not record how long the disk was (QEMU refuses as well).
    if header.version == Version::V2 && header.snapshot_count > 0 {
        let text = "is of version 2 and has internal snapshots, which do not say how long their disk is: \
                    its size cannot change";
        return Err(Error::new(file, ErrorKind::Unsupported(text.to_owned())));
    }
    crate::image::read::bitmaps::refuse_stale(file.path(), &bitmaps(file, header)?)
}

/// Makes a raw image `size` bytes long. What is new reads as zero.
///
/// # Errors
/// When the file cannot be written, or its filesystem cannot reserve space: it is as long as before.
pub fn resize_raw(file: &ImageFile, size: u64, preallocation: Preallocation) -> Result<()> {
    let old = file.len()?;
    file.set_len(size, "set the length")?;
    if let Some(new) = size.checked_sub(old).filter(|new| *new > 0)
        && preallocation != Preallocation::Off
        && let Err(error) = provide_zeros(file, old, new, preallocation)
    {
        file.set_len(old, "set the length back")?;
        return Err(error);
    }
    file.flush()
}

/// Says that the disk is `size` bytes long, after the tables have been made fit for it; the bitmaps
/// get as long with it.
///
/// # Errors
/// When the image cannot be read or written, or a bitmap is stale or would be too long.
pub fn set_virtual_size(file: &ImageFile, size: u64, progress: &dyn ProgressSink) -> Result<()> {
    let mut header = HeaderFile::read(file)?;
    if bitmaps(file, header.header())?.is_empty() {
        return header.edit(&HeaderEdit {
            virtual_size: Some(size),
            ..HeaderEdit::default()
        });
    }
    let mut transaction = MetadataTransaction::begin(file, progress)?;
    resize_all(&mut transaction, size)?;
    transaction.edit.virtual_size = Some(size);
    transaction.settle()?.commit(progress)
}
