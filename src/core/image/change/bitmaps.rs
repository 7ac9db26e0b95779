//! Changes of an image's dirty bitmaps. What its guest sees stays as it is.

use crate::host::printable_bytes;
use crate::image::error::{OfFile, Result};
use crate::image::internal::Fault;
use crate::image::read::bitmaps::{Dirty, directory, of_name, stale, usable};
use crate::image::read::table_reader::each_entry;
use crate::image::write::header_file::KEPT_AUTOCLEAR;
use crate::image::write::transaction::MetadataTransaction;
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::bitmap::{Bitmap, BitmapFlags, BitmapTableEntry, encode_directory};
use crate::qcow2::extension::BitmapsExtension;
use crate::qcow2::limits::{
    MAX_BITMAP_GRANULARITY_BITS, MAX_BITMAP_NAME_BYTES, MAX_BITMAPS, MIN_BITMAP_GRANULARITY_BITS,
};
use crate::qcow2::{Autoclear, Geometry, Header, HostOffset, Version};

/// A bitmap to be added. No bit of it is dirty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBitmap {
    /// Its name, 1 to 1023 bytes.
    pub name: Vec<u8>,
    /// Guest bytes per bit, a power of two from 512 to 2 GiB; none for QEMU's choice.
    pub granularity: Option<u64>,
    /// Whether it records writes from now on.
    pub enabled: bool,
}

/// A change of an image's bitmaps, ready to be made. Until then nothing is written.
#[derive(Debug)]
pub struct BitmapChange {
    transaction: MetadataTransaction,
    list: Vec<Bitmap>,
    /// Place and bytes of the directory on disk.
    old: Option<(HostOffset, u64)>,
}

impl BitmapChange {
    fn begin(file: &ImageFile, progress: &dyn ProgressSink) -> Result<Self> {
        let transaction = MetadataTransaction::begin(file, progress)?;
        if transaction.header().version == Version::V2 {
            return Err(transaction.unsupported("is of version 2, which has no dirty bitmaps"));
        }
        let found = directory(file, transaction.header())?;
        let (list, old) = match found {
            Some((list, offset, len)) => (list, Some((offset, len))),
            None => (Vec::new(), None),
        };
        Ok(Self {
            transaction,
            list,
            old,
        })
    }

    /// Works out what adds a bitmap.
    ///
    /// # Errors
    /// When the image cannot be read or may not be written, a check finds corruptions, the name is
    /// taken or not allowed, or the bitmap would take more room than QEMU allows.
    pub fn add(file: &ImageFile, new: &NewBitmap, progress: &dyn ProgressSink) -> Result<Self> {
        let mut change = Self::begin(file, progress)?;
        let limit = |text: String| Err(change.transaction.limit(text));
        if new.name.is_empty() || new.name.len() > MAX_BITMAP_NAME_BYTES {
            return limit(format!(
                "cannot have a dirty bitmap with a name of {} bytes: it has from 1 to {MAX_BITMAP_NAME_BYTES}",
                new.name.len()
            ));
        }
        if change.list.iter().any(|bitmap| bitmap.name == new.name) {
            let text = format!("has a dirty bitmap {} already", printable_bytes(&new.name));
            return Err(Error::new(file, ErrorKind::Taken(text)));
        }
        if change.list.len() as u64 >= u64::from(MAX_BITMAPS) {
            return limit(format!(
                "has {MAX_BITMAPS} dirty bitmaps already, the most that are allowed"
            ));
        }
        let header = change.transaction.header();
        if header.virtual_size() == 0 {
            let text = "has a disk of no bytes, of which nothing can be dirty";
            return Err(change.transaction.unsupported(text));
        }
        let Some(granularity_bits) = granularity_bits(header, new.granularity) else {
            return limit(format!(
                "cannot have a dirty bitmap of {} bytes a bit: that is a power of two from 512 to 2 GiB",
                new.granularity.unwrap_or(0)
            ));
        };
        let (size, geometry) = (header.virtual_size(), header.geometry);
        let Some(dirty) = Dirty::clean(size, granularity_bits, geometry) else {
            return limit(format!(
                "cannot have a dirty bitmap of {} bytes a bit, it would take too much room: choose a \
                 larger granularity",
                1u64 << granularity_bits
            ));
        };
        let (table_offset, table_entries) = put(&mut change.transaction, &dirty)?;
        let mut flags = BitmapFlags::empty();
        flags.set(BitmapFlags::AUTO, new.enabled);
        change.list.push(Bitmap {
            table_offset,
            table_entries,
            flags,
            granularity_bits,
            name: new.name.clone(),
        });
        change.settle()
    }

    /// Works out what removes a bitmap, be it stale or not.
    ///
    /// # Errors
    /// As [`BitmapChange::add`], and when there is no such bitmap.
    pub fn remove(file: &ImageFile, name: &[u8], progress: &dyn ProgressSink) -> Result<Self> {
        let mut change = Self::begin(file, progress)?;
        let gone = of_name(file.path(), &change.list, name)?.clone();
        release(&mut change.transaction, &gone)?;
        change.list.retain(|bitmap| bitmap.name != name);
        change.settle()
    }

    /// Works out what calls nothing dirty in a bitmap.
    ///
    /// # Errors
    /// As [`BitmapChange::remove`], and when the bitmap is stale.
    pub fn clear(file: &ImageFile, name: &[u8], progress: &dyn ProgressSink) -> Result<Self> {
        Self::rewrite(file, name, progress, &|dirty, geometry| {
            Ok(Dirty::clean(
                dirty.size(),
                dirty.granularity_bits(),
                geometry,
            ))
        })
    }

    /// Works out what makes a bitmap record writes from now on, or not.
    ///
    /// # Errors
    /// As [`BitmapChange::clear`].
    pub fn set_enabled(
        file: &ImageFile,
        name: &[u8],
        enabled: bool,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let mut change = Self::begin(file, progress)?;
        usable(file.path(), &change.list, name)?;
        change.named(name)?.flags.set(BitmapFlags::AUTO, enabled);
        change.settle()
    }

    /// Works out what calls dirty in a bitmap also whatever `source` calls dirty.
    ///
    /// # Errors
    /// As [`BitmapChange::clear`], and when `source` is of a disk of another size.
    pub fn merge(
        file: &ImageFile,
        name: &[u8],
        source: &Dirty,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let size = crate::image::read_header(file)?.virtual_size();
        if source.size() != size {
            let text = format!(
                "has a disk of {size} bytes, and the bitmap to be merged is of one of {}: they cannot be merged",
                source.size()
            );
            return Err(Error::new(file, ErrorKind::Unsupported(text)));
        }
        Self::rewrite(file, name, progress, &|dirty, _| {
            let mut dirty = dirty.clone();
            dirty.merge(source)?;
            Ok(Some(dirty))
        })
    }

    /// Replaces the bits of a bitmap.
    fn rewrite(
        file: &ImageFile,
        name: &[u8],
        progress: &dyn ProgressSink,
        new: &Rewritten<'_>,
    ) -> Result<Self> {
        let mut change = Self::begin(file, progress)?;
        let old = usable(file.path(), &change.list, name)?.clone();
        let (size, geometry) = (
            change.transaction.header().virtual_size(),
            change.transaction.geometry(),
        );
        let dirty = Dirty::read(file, geometry, &old, size)?;
        let new = new(&dirty, geometry).of(file)?;
        let bitmap = replaced(&mut change.transaction, &old, new)?;
        *change.named(name)? = bitmap;
        change.settle()
    }

    /// The bitmap of that name, which was found before.
    fn named(&mut self, name: &[u8]) -> Result<&mut Bitmap> {
        let found = self.list.iter_mut().find(|bitmap| bitmap.name == name);
        let found = found.ok_or(Fault::new("a bitmap that was there is gone"));
        found.of(&self.transaction.file)
    }

    fn settle(mut self) -> Result<Self> {
        put_directory(&mut self.transaction, self.old, &self.list)?;
        self.transaction = self.transaction.settle()?;
        Ok(self)
    }

    /// Bytes of tables that are written, all of them to places that are free now.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.transaction.written()
    }

    /// Makes the change. At every instant the image on disk is the old one or the new one, each
    /// complete. It can be stopped until the switch.
    ///
    /// # Errors
    /// When the file cannot be written, or it was stopped: the image is as it was.
    pub fn commit(self, progress: &dyn ProgressSink) -> Result<()> {
        self.transaction.commit(progress)
    }
}

/// Other bits for a bitmap; none if they would take too much room.
type Rewritten<'a> = dyn Fn(&Dirty, Geometry) -> std::result::Result<Option<Dirty>, Fault> + 'a;

/// The granularity as a power of two: as asked, or as QEMU chooses it; none if it is not allowed.
fn granularity_bits(header: &Header, asked: Option<u64>) -> Option<u8> {
    let bytes = asked.unwrap_or_else(|| header.geometry.cluster_size().clamp(4096, 65_536));
    let bits = u8::try_from(bytes.checked_ilog2()?).ok()?;
    let range = MIN_BITMAP_GRANULARITY_BITS..=MAX_BITMAP_GRANULARITY_BITS;
    (bytes.is_power_of_two() && range.contains(&bits)).then_some(bits)
}

/// Has every bitmap of the image resized to a disk of `size` bytes.
///
/// # Errors
/// When one is stale, cannot be read, or would take more room than QEMU allows.
pub(crate) fn resize_all(transaction: &mut MetadataTransaction, size: u64) -> Result<()> {
    let file = transaction.file.clone();
    let Some((mut list, offset, len)) = directory(&file, transaction.header())? else {
        return Ok(());
    };
    let (old_size, geometry) = (transaction.header().virtual_size(), transaction.geometry());
    for bitmap in &mut list {
        if bitmap.flags.contains(BitmapFlags::IN_USE) {
            return Err(stale(file.path(), bitmap));
        }
        let dirty = Dirty::read(&file, geometry, bitmap, old_size)?;
        *bitmap = replaced(
            transaction,
            bitmap,
            dirty.resized(size, geometry).of(&file)?,
        )?;
    }
    put_directory(transaction, Some((offset, len)), &list)
}

/// The same bitmap with other bits.
fn replaced(
    transaction: &mut MetadataTransaction,
    old: &Bitmap,
    dirty: Option<Dirty>,
) -> Result<Bitmap> {
    let Some(dirty) = dirty else {
        return Err(transaction.limit(format!(
            "its dirty bitmap {} would take too much room: remove it first",
            printable_bytes(&old.name)
        )));
    };
    release(transaction, old)?;
    let (table_offset, table_entries) = put(transaction, &dirty)?;
    Ok(Bitmap {
        table_offset,
        table_entries,
        ..old.clone()
    })
}

/// Has the bits written, and the table that names them: the table's place and entries.
fn put(transaction: &mut MetadataTransaction, dirty: &Dirty) -> Result<(HostOffset, u32)> {
    let (file, geometry) = (transaction.file.clone(), transaction.geometry());
    let mut put = |bytes: &[u8]| transaction.put(bytes.to_vec());
    let table = dirty.store(geometry, &mut put, &|error| Error::new(&file, error))?;
    let entries = u32::try_from(table.len()).map_err(|e| transaction.limit(e.to_string()))?;
    let place = transaction.put(table.as_bytes().to_vec())?;
    Ok((place, entries))
}

/// Gives up a bitmap's table and bits.
fn release(transaction: &mut MetadataTransaction, bitmap: &Bitmap) -> Result<()> {
    let file = transaction.file.clone();
    let (geometry, size) = (transaction.geometry(), transaction.cluster_size());
    let table = bitmap.table();
    each_entry(
        &file,
        table,
        "bitmap table",
        &mut |_, raw| match BitmapTableEntry::parse(raw, geometry)
            .map_err(|e| transaction.format_error(e))?
        {
            BitmapTableEntry::Stored(offset) => transaction.release(offset, size),
            _ => Ok(()),
        },
    )?;
    transaction.release(table.offset, table.bytes())
}

/// Has the directory written anew, or its place removed from the header if nothing is in it.
fn put_directory(
    transaction: &mut MetadataTransaction,
    old: Option<(HostOffset, u64)>,
    list: &[Bitmap],
) -> Result<()> {
    if let Some((offset, len)) = old {
        transaction.release(offset, len)?;
    }
    let bytes =
        encode_directory(list, transaction.geometry()).map_err(|e| transaction.format_error(e))?;
    let directory_size = bytes.len() as u64;
    let directory_offset = transaction.put(bytes)?;
    let count = u32::try_from(list.len()).map_err(|e| transaction.limit(e.to_string()))?;
    let place = (count > 0).then_some(BitmapsExtension {
        count,
        directory_size,
        directory_offset,
    });
    let mut autoclear = transaction.header().autoclear & KEPT_AUTOCLEAR;
    autoclear.set(Autoclear::BITMAPS, count > 0);
    transaction.edit.bitmaps = Some(place);
    transaction.edit.autoclear = Some(autoclear);
    Ok(())
}
