//! What the volume is used for.

use std::ops::Range;

use super::file::extents;
use super::record::{Attribute, Extents, kind};
use super::{FIRST_USER, LOG_FILE, Ntfs, VOLUME_BITMAP, stream};
use crate::error::{Error, Result};
use crate::filesystem::Use;

/// Bytes of the volume's bitmap read together: those of 32 GiB in clusters of 4 KiB.
const PIECE: usize = 1 << 20;

/// Records that are read to tell what is metadata.
const MOST_RECORDS: u64 = 16 << 20;

/// Clusters of a volume that are counted: a bitmap of 64 MiB, 2 TiB in clusters of 4 KiB.
const MOST_COUNTED: u64 = 512 << 20;

impl Ntfs {
    /// Calls `each` for runs of clusters that are used, or free, by the volume's bitmap.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(super) fn bitmap(
        &self,
        each: &mut dyn FnMut(Range<u64>, bool) -> Result<()>,
    ) -> Result<()> {
        let file = self.file(VOLUME_BITMAP)?;
        let data = file
            .data()
            .ok_or_else(|| file.damaged("the volume's bitmap has no data"))?;
        let mut run: Option<(Range<u64>, bool)> = None;
        let mut tell = |bits: Range<u64>, is_used: bool| match &mut run {
            Some((range, kind)) if *kind == is_used => {
                range.end = bits.end;
                Ok(())
            }
            _ => match run.replace((bits, is_used)) {
                Some((range, kind)) => each(range, kind),
                None => Ok(()),
            },
        };
        let bytes = self.boot.clusters.div_ceil(8);
        if stream::size(data) < bytes {
            return Err(file.damaged("the volume's bitmap is too short"));
        }
        let mut at = 0;
        let mut piece = Vec::new();
        while at < bytes {
            let len = usize::try_from(bytes - at).unwrap_or(PIECE).min(PIECE);
            piece.resize(len, 0);
            self.read_stream(&file, data, at, &mut piece)?;
            for (byte, index) in piece.iter().zip(at..) {
                let first = index * 8;
                let end = (first + 8).min(self.boot.clusters);
                match byte {
                    0 => tell(first..end, false)?,
                    0xff => tell(first..end, true)?,
                    byte => {
                        for bit in first..end {
                            tell(bit..bit + 1, byte >> (bit - first) & 1 == 1)?;
                        }
                    }
                }
            }
            at += len as u64;
        }
        match run {
            Some((range, kind)) => each(range, kind),
            None => Ok(()),
        }
    }

    /// Calls `each` for what is free, for what NTFS stores for itself, and for the log.
    ///
    /// # Errors
    /// When records or the bitmap are damaged or cannot be read.
    pub(super) fn used_for(
        &self,
        each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>,
    ) -> Result<()> {
        let size = u64::from(self.boot.cluster_size);
        self.bitmap(&mut |clusters, is_used| match is_used {
            true => Ok(()),
            false => each(clusters.start * size..clusters.end * size, Use::Free),
        })?;
        if self.records() > MOST_RECORDS {
            return Err(Error::TooMuch {
                what: "MFT records",
                most: MOST_RECORDS,
            });
        }
        let mut own = Vec::new();
        self.headers(0..self.mft.size, &mut |number, header| {
            if header.is_in_use {
                own.push((number, header.base.map_or(number, |base| base.number)));
            }
        })?;
        for (number, file) in own {
            let record = match self.record(number) {
                // What is damaged is told where its file is read.
                Err(Error::Damaged { .. }) | Ok(None) => continue,
                Ok(Some(record)) => record,
                Err(error) => return Err(error),
            };
            for attribute in &record.attributes {
                let Some(used) = use_of(file, attribute) else {
                    continue;
                };
                for extent in extents(attribute).map(places(size)).into_iter().flatten() {
                    each(extent, used)?;
                }
            }
        }
        Ok(())
    }

    /// Bytes in use, where counting them takes little.
    ///
    /// # Errors
    /// As [`Ntfs::bitmap`].
    pub(super) fn count_used(&self) -> Result<Option<u64>> {
        if self.boot.clusters > MOST_COUNTED {
            return Ok(None);
        }
        let mut used = 0;
        self.bitmap(&mut |clusters, is_used| {
            if is_used {
                used += clusters.end - clusters.start;
            }
            Ok(())
        })?;
        Ok(Some(used * u64::from(self.boot.cluster_size)))
    }
}

/// What an attribute that is not resident is used for; none of content of files.
fn use_of(file: u64, attribute: &Attribute) -> Option<Use> {
    match (file, attribute.kind) {
        (LOG_FILE, _) => Some(Use::Journal),
        (..FIRST_USER, _) => Some(Use::Metadata),
        (_, kind::DATA) => None,
        _ => Some(Use::Metadata),
    }
}

/// The bytes of the volume that a stream takes.
fn places(cluster_size: u64) -> impl Fn(&Extents) -> Vec<Range<u64>> {
    move |extents| {
        let place = |run: &super::runs::Run| {
            let start = run.lcn? * cluster_size;
            Some(start..start + run.count * cluster_size)
        };
        extents.runs.iter().filter_map(place).collect()
    }
}
