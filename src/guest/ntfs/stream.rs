//! The bytes of a stream: resident, in clusters, sparse or compressed.

use std::sync::Arc;

use super::file::File;
use super::record::{Attribute, Extents, Value};
use super::runs::{self, Run};
use super::{Ntfs, lznt1};
use crate::block::BlockSource;
use crate::error::{Error, Result};

/// Bytes that are compressed together, at the most: Windows has 64 KiB.
const MOST_UNIT: u64 = 1 << 20;

/// The length of a stream.
pub(super) fn size(attribute: &Attribute) -> u64 {
    match &attribute.value {
        Value::Resident(value) => value.len() as u64,
        Value::NonResident(extents) => extents.size,
    }
}

impl Ntfs {
    /// Bytes that compressed clusters unpack to; none where the stream is not compressed.
    ///
    /// # Errors
    /// When these are more than Windows makes.
    pub(super) fn unit(&self, attribute: &Attribute, extents: &Extents) -> Result<Option<u64>> {
        if !attribute.flags.is_compressed() || extents.compression_unit == 0 {
            return Ok(None);
        }
        u64::from(self.boot.cluster_size)
            .checked_shl(extents.compression_unit.into())
            .filter(|unit| extents.compression_unit < 16 && *unit <= MOST_UNIT)
            .map(Some)
            .ok_or_else(|| Error::Unsupported {
                filesystem: "NTFS",
                feature: format!(
                    "a compression unit of 2^{} clusters",
                    extents.compression_unit
                ),
            })
    }

    /// The whole value of an attribute that is metadata, `most` bytes of it at the most.
    ///
    /// # Errors
    /// When there is more, and when it cannot be read.
    pub(super) fn value(&self, file: &File, attribute: &Attribute, most: u64) -> Result<Vec<u8>> {
        let extents = match &attribute.value {
            Value::Resident(value) => return Ok(value.clone()),
            Value::NonResident(extents) => extents,
        };
        let len = usize::try_from(extents.size.min(most)).unwrap_or_default();
        if extents.size > most {
            return Err(Error::TooMuch {
                what: "bytes of an attribute",
                most,
            });
        }
        let mut value = vec![0; len];
        self.read_clusters(&self.metadata, file, extents, 0, &mut value)?;
        Ok(value)
    }

    /// Fills `buf` from a stream that is not compressed. What was not written, and holes, are zeros.
    ///
    /// # Errors
    /// When no run is told for these bytes, and when they cannot be read.
    pub(super) fn read_clusters(
        &self,
        source: &dyn BlockSource,
        file: &File,
        extents: &Extents,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        let written = extents.initialized.saturating_sub(offset);
        let written = usize::try_from(written)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let (mut buf, unwritten) = buf.split_at_mut(written);
        unwritten.fill(0);
        if buf.is_empty() {
            return Ok(());
        }
        let size = u64::from(self.boot.cluster_size);
        let end = offset.saturating_add(buf.len() as u64).div_ceil(size);
        let mut at = offset;
        for run in runs::within(&extents.runs, offset / size..end) {
            let start = run.vcn * size;
            let rest = (start + run.count * size).saturating_sub(at);
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
            let (part, after) = buf.split_at_mut(len);
            match run.lcn {
                Some(lcn) => source.read_at(lcn * size + (at - start), part)?,
                None => part.fill(0),
            }
            at += len as u64;
            buf = after;
        }
        match buf.is_empty() {
            true => Ok(()),
            false => Err(file.damaged(format!("no cluster is told for byte {at} of a stream"))),
        }
    }

    /// Fills `buf` from a stream of a file, which has these bytes.
    ///
    /// # Errors
    /// When it is encrypted, damaged, or cannot be read.
    pub(super) fn read_stream(
        &self,
        file: &File,
        attribute: &Attribute,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        if attribute.flags.is_encrypted() {
            return Err(Error::Unsupported {
                filesystem: "NTFS",
                feature: "the Encrypting File System (EFS)".to_owned(),
            });
        }
        let extents = match &attribute.value {
            Value::Resident(value) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = value.get(at..).unwrap_or_default();
                for (to, from) in buf.iter_mut().zip(found) {
                    *to = *from;
                }
                return Ok(());
            }
            Value::NonResident(extents) => extents,
        };
        let Some(unit) = self.unit(attribute, extents)? else {
            return self.read_clusters(&*self.volume, file, extents, offset, buf);
        };
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let number = at / unit;
            let bytes = self.units.get_or((file.number, number), || {
                let bytes = self.unpacked(file, extents, unit, number)?;
                let weight = bytes.len();
                Ok((bytes, weight))
            })?;
            let within = usize::try_from(at % unit).unwrap_or_default();
            let found = bytes.get(within..).unwrap_or_default();
            let len = found.len().min(rest.len());
            let (part, after) = rest.split_at_mut(len);
            part.copy_from_slice(found.get(..len).unwrap_or_default());
            at += len as u64;
            rest = after;
        }
        Ok(())
    }

    /// A unit of a compressed stream: all holes are zeros, no hole means that it is stored as it is.
    fn unpacked(
        &self,
        file: &File,
        extents: &Extents,
        unit: u64,
        number: u64,
    ) -> Result<Arc<[u8]>> {
        let size = u64::from(self.boot.cluster_size);
        let clusters = unit / size;
        let first = number.saturating_mul(clusters);
        let stored: Vec<Run> = runs::within(&extents.runs, first..first.saturating_add(clusters))
            .filter(|run| run.lcn.is_some())
            .collect();
        let len = |bytes: u64| usize::try_from(bytes).unwrap_or_default();
        let mut packed = vec![0; len(stored.iter().map(|run| run.count).sum::<u64>() * size)];
        let mut rest = &mut packed[..];
        for run in &stored {
            let (part, after) = rest.split_at_mut(len(run.count * size));
            self.volume
                .read_at(run.lcn.unwrap_or_default() * size, part)?;
            rest = after;
        }
        let mut bytes = vec![0; len(unit)];
        if packed.len() == bytes.len() {
            bytes = packed;
        } else if !packed.is_empty() {
            lznt1::unpack(&packed, &mut bytes)
                .map_err(|problem| file.damaged(format!("compression unit {number}: {problem}")))?;
        }
        let written = extents
            .initialized
            .saturating_sub(number.saturating_mul(unit));
        if let Some(unwritten) = bytes.get_mut(usize::try_from(written).unwrap_or(usize::MAX)..) {
            unwritten.fill(0);
        }
        Ok(bytes.into())
    }
}
