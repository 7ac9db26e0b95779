//! The header of an image that is written: kept as bytes and as values, changed in steps that each
//! leave the old header or the new one, with a flush after each.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{Fault, index, part_mut};
use crate::image::read::qcow2_layer::read_header;
use crate::image::write::stale_bitmaps::mark_stale;
use crate::image::{Error, ErrorKind, Format, ImageFile};
use crate::qcow2::rewrite::{BackingEdit, HeaderEdit, Write, rewrite};
use crate::qcow2::{Autoclear, Header, HostClusters, HostOffset, Version};

/// The header of one image, open for change.
#[derive(Debug)]
pub(crate) struct HeaderFile {
    file: ImageFile,
    header: Header,
    first_cluster: Vec<u8>,
}

/// Changes what an image is built on: name and format in its header, nothing else. The name is
/// recorded as given. A crash leaves the old link or the new one.
///
/// # Errors
/// When the header is not valid, has no room for the name, needs features that are not known, or
/// cannot be written.
pub fn relink(file: &ImageFile, name: &OsStr, format: &Format) -> Result<()> {
    record_backing(file, name, Some(format))
}

/// The same with no format where none is given, as headers were written before QEMU recorded it: for one
/// that is to say again what it said.
///
/// # Errors
/// As [`relink`].
pub fn record_backing(file: &ImageFile, name: &OsStr, format: Option<&Format>) -> Result<()> {
    let mut header = HeaderFile::read(file)?;
    let format = format.map(|format| format.name().as_bytes().to_vec());
    let edit = backing_edit(&header, name, format)?;
    header.clear_unkept_features()?;
    header.edit(&edit)
}

/// Makes an image one that is built on nothing: the backing file's name and format leave its header.
/// A crash leaves the old link or none.
///
/// # Errors
/// As [`relink`].
pub fn unlink(file: &ImageFile) -> Result<()> {
    let mut header = HeaderFile::read(file)?;
    refuse_unknown(&header)?;
    header.clear_unkept_features()?;
    header.edit(&HeaderEdit {
        backing: Some(BackingEdit::Remove),
        ..HeaderEdit::default()
    })
}

/// Whether [`relink`] would succeed, as far as the header's content decides it. Writes nothing.
///
/// # Errors
/// As there.
pub fn may_relink(file: &ImageFile, name: &OsStr, format: &Format) -> Result<()> {
    let header = HeaderFile::read(file)?;
    let edit = relink_edit(&header, name, format)?;
    rewrite(&header.first_cluster, &edit)
        .map(drop)
        .map_err(|e| Error::new(file, e))
}

/// Makes a write in the bytes of the first cluster.
fn put(cluster: &mut [u8], write: &Write) -> std::result::Result<(), Fault> {
    let at = index(write.offset)?;
    part_mut(cluster, at..at.saturating_add(write.bytes.len()))?.copy_from_slice(&write.bytes);
    Ok(())
}

fn refuse_unknown(header: &HeaderFile) -> Result<()> {
    let unknown = header.header.unknown_incompatible();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        &header.file,
        ErrorKind::UnknownFeatures(unknown.iter().map(ToString::to_string).collect()),
    ))
}

/// Changes the name by which an image knows its backing file, and nothing else: the format stays as
/// recorded, also where none is. The name is recorded as given; where it is recorded already nothing
/// is written.
///
/// # Errors
/// As [`relink`].
pub fn rename_backing(file: &ImageFile, name: &OsStr) -> Result<()> {
    let mut header = HeaderFile::read(file)?;
    if header.header.backing_file() == Some(name.as_bytes()) {
        return Ok(());
    }
    let edit = rename_edit(&header, name)?;
    header.clear_unkept_features()?;
    header.edit(&edit)
}

/// Whether [`rename_backing`] would succeed, as far as the header's content decides it. Writes
/// nothing.
///
/// # Errors
/// As there.
pub fn may_rename_backing(file: &ImageFile, name: &OsStr) -> Result<()> {
    let header = HeaderFile::read(file)?;
    let edit = rename_edit(&header, name)?;
    rewrite(&header.first_cluster, &edit)
        .map(drop)
        .map_err(|e| Error::new(file, e))
}

fn rename_edit(header: &HeaderFile, name: &OsStr) -> Result<HeaderEdit> {
    let format = header.header.backing_format().map(<[u8]>::to_vec);
    backing_edit(header, name, format)
}

fn relink_edit(header: &HeaderFile, name: &OsStr, format: &Format) -> Result<HeaderEdit> {
    backing_edit(header, name, Some(format.name().as_bytes().to_vec()))
}

fn backing_edit(header: &HeaderFile, name: &OsStr, format: Option<Vec<u8>>) -> Result<HeaderEdit> {
    refuse_unknown(header)?;
    Ok(HeaderEdit {
        backing: Some(BackingEdit::Set {
            name: name.as_bytes().to_vec(),
            format,
        }),
        ..HeaderEdit::default()
    })
}

/// Autoclear bits of features that are kept up here. Whoever writes clears all others, as the specification
/// demands.
pub(crate) const KEPT_AUTOCLEAR: Autoclear = Autoclear::BITMAPS.union(Autoclear::RAW_EXTERNAL_DATA);

/// A table's place, and how many entries (or clusters) it has, as the header says it.
///
/// # Errors
/// When the header has no room for the number.
pub(crate) fn table_in_header(
    path: &Path,
    what: &str,
    (offset, count): (HostOffset, u64),
) -> Result<(HostOffset, u32)> {
    let count = u32::try_from(count).map_err(|_| {
        let text = format!("{what} is too long for the header");
        Error::new(path, ErrorKind::Limit(text))
    })?;
    Ok((offset, count))
}

impl HeaderFile {
    /// Reads the header.
    pub(crate) fn read(file: &ImageFile) -> Result<Self> {
        let header = read_header(file)?;
        let mut first_cluster = vec![0; header.geometry.cluster_len()];
        file.read_padded(&mut first_cluster, 0, "read the header")?;
        Ok(Self {
            file: file.clone(),
            header,
            first_cluster,
        })
    }

    /// The header as it stands.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The first cluster as [`HeaderFile::edit`] would leave it. Writes nothing.
    pub(crate) fn edited(&self, edit: &HeaderEdit) -> Result<Vec<u8>> {
        let mut bytes = self.first_cluster.clone();
        let steps = rewrite(&bytes, edit).map_err(|e| Error::new(&self.file, e))?;
        for write in steps.iter().flat_map(|step| &step.writes) {
            put(&mut bytes, write).of(&self.file)?;
        }
        Ok(bytes)
    }

    /// The edits that amount to `edit`, each of which one write switches over: one, but where the
    /// place of the bitmap directory lies in another sector than the rest. Then the bitmaps are marked
    /// as out of date first, so that a crash in between costs the bitmaps and nothing else.
    ///
    /// # Errors
    /// When the header cannot hold what it is to say.
    pub(crate) fn split(&self, edit: &HeaderEdit) -> Result<Vec<HeaderEdit>> {
        let wrong = |e| Error::new(&self.file, e);
        let whole = match rewrite(&self.first_cluster, edit) {
            Ok(_) => return Ok(vec![edit.clone()]),
            Err(error) => error,
        };
        if edit.bitmaps.is_none() {
            return Err(wrong(whole));
        }
        let edits = vec![
            HeaderEdit {
                autoclear: Some(self.header.autoclear.difference(Autoclear::BITMAPS)),
                ..HeaderEdit::default()
            },
            HeaderEdit {
                bitmaps: edit.bitmaps,
                ..HeaderEdit::default()
            },
            HeaderEdit {
                bitmaps: None,
                ..edit.clone()
            },
        ];
        let mut cluster = self.first_cluster.clone();
        for edit in &edits {
            for step in rewrite(&cluster, edit).map_err(wrong)? {
                for write in &step.writes {
                    put(&mut cluster, write).of(&self.file)?;
                }
            }
        }
        Ok(edits)
    }

    /// Makes the changes of `edit`, all at once, with a flush after each step.
    pub(crate) fn edit(&mut self, edit: &HeaderEdit) -> Result<()> {
        for step in rewrite(&self.first_cluster, edit).map_err(|e| Error::new(&self.file, e))? {
            for write in step.writes {
                let mut first_cluster = self.first_cluster.clone();
                put(&mut first_cluster, &write).of(&self.file)?;
                self.file
                    .write_at(&write.bytes, write.offset, "write the header")?;
                self.first_cluster = first_cluster;
            }
            self.file.flush()?;
        }
        self.header = Header::parse(&self.first_cluster).map_err(|e| Error::new(&self.file, e))?;
        Ok(())
    }

    /// Switches to another L1 table (host offset, entries) or refcount table or both in one write.
    pub(crate) fn set_tables(
        &mut self,
        l1: Option<(HostOffset, u64)>,
        refcounts: Option<HostClusters>,
    ) -> Result<()> {
        let narrow = |what, table: Option<(HostOffset, u64)>| {
            let table = table.map(|table| table_in_header(self.file.path(), what, table));
            table.transpose()
        };
        let l1 = narrow("the L1 table", l1)?;
        let geometry = self.header.geometry;
        let refcounts = refcounts.map(|table| (geometry.offset_of(table.first), table.count));
        let refcount_table = narrow("the refcount table", refcounts)?;
        self.edit(&HeaderEdit {
            l1,
            refcount_table,
            ..HeaderEdit::default()
        })
    }

    /// Changes the virtual size, in bytes.
    pub(crate) fn set_virtual_size(&mut self, size: u64) -> Result<()> {
        self.edit(&HeaderEdit {
            virtual_size: Some(size),
            ..HeaderEdit::default()
        })
    }

    /// Before guest content changes: marks bitmaps that will miss the change, and clears the
    /// autoclear bits of features that are not kept up here (specification, autoclear features).
    pub(crate) fn begin_content_change(&mut self) -> Result<()> {
        if self.header.version == Version::V2 {
            return Ok(());
        }
        mark_stale(&self.file, &self.header)?;
        self.clear_unkept_features()
    }

    /// Before metadata changes and what the guest sees does not: clears the autoclear bits of
    /// features that are not kept up here. Bitmaps stay right.
    pub(crate) fn clear_unkept_features(&mut self) -> Result<()> {
        let kept = self.header.autoclear & KEPT_AUTOCLEAR;
        if kept == self.header.autoclear {
            return Ok(());
        }
        self.edit(&HeaderEdit {
            autoclear: Some(kept),
            ..HeaderEdit::default()
        })
    }
}
