//! The master file table: where the record of a number is.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::error::damaged;
use super::file::{File, extents};
use super::record::{Extents, Header, Record};
use super::{FIRST_USER, MFT, Ntfs, ROOT};
use crate::block::BlockSource;
use crate::error::Result;
use crate::filesystem::NodeId;
use crate::ranges::Ranges;

/// Bytes of records read together.
const PIECE: u64 = 256 << 10;

impl Ntfs {
    /// Finds the whole master file table from its first record, which tells where at least the next ones are.
    ///
    /// # Errors
    /// When its first record is damaged, or the volume cannot be read.
    pub(super) fn find_mft(&mut self) -> Result<()> {
        let mut bytes = vec![0; usize::try_from(self.boot.record_size).unwrap_or(1024)];
        self.metadata.read_at(self.boot.mft, &mut bytes)?;
        let wrong = |problem| damaged("MFT record 0", self.boot.mft, problem);
        let record = Record::parse(bytes, self.boot.clusters).map_err(wrong)?;
        let data = record.iter().flat_map(|record| &record.attributes);
        let data = data
            .filter(|one| one.kind == super::record::kind::DATA && one.name.is_empty())
            .filter_map(extents)
            .find(|extents| extents.first == 0);
        self.mft = data
            .cloned()
            .ok_or_else(|| wrong("it does not say where it is".to_owned()))?;
        self.check_mft()?;
        // Where the rest is may be told by records that are in a part which is told of later.
        loop {
            let file = self.assemble(MFT, true)?;
            let Some(found) = file.data().and_then(extents) else {
                return Ok(());
            };
            if found.runs.len() <= self.mft.runs.len() {
                return Ok(());
            }
            self.mft = found.clone();
            self.check_mft()?;
        }
    }

    /// Whether as much of the master file table is stored as it says it is long. One that has holes, or lies in the
    /// same place twice, could be read for ever.
    fn check_mft(&self) -> Result<()> {
        let stored: u64 = self.mft.runs.iter().map(|run| run.count).sum();
        let has_hole = self.mft.runs.iter().any(|run| run.lcn.is_none());
        if has_hole || stored > self.boot.clusters {
            let problem = format!(
                "it is stored in {stored} clusters of {}",
                self.boot.clusters
            );
            return Err(damaged("MFT record 0", self.boot.mft, problem));
        }
        Ok(())
    }

    /// How many records there are room for, as far as it is known where they are.
    pub(super) fn records(&self) -> u64 {
        let stored = super::runs::end(&self.mft.runs) * u64::from(self.boot.cluster_size);
        self.mft.size.min(stored) / u64::from(self.boot.record_size)
    }

    /// Where a record begins in the volume; 0 where it is not known.
    pub(super) fn record_place(&self, number: u64) -> u64 {
        let (size, cluster) = (
            u64::from(self.boot.record_size),
            u64::from(self.boot.cluster_size),
        );
        let at = number.saturating_mul(size);
        let vcn = at / cluster;
        let run = super::runs::within(&self.mft.runs, vcn..vcn.saturating_add(1)).next();
        run.and_then(|run| run.lcn)
            .map_or(0, |lcn| lcn * cluster + at % cluster)
    }

    /// A record; none where there is none or it is not in use.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub(super) fn record(&self, number: u64) -> Result<Option<Record>> {
        if number >= self.records() {
            return Ok(None);
        }
        let size = u64::from(self.boot.record_size);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read_mft(number * size, &mut bytes)?;
        Record::parse(bytes, self.boot.clusters).map_err(|problem| {
            let structure = format!("MFT record {number}");
            damaged(structure, self.record_place(number), problem)
        })
    }

    fn read_mft(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let table = File {
            number: MFT,
            sequence: 0,
            is_directory: false,
            at: self.boot.mft,
            attributes: Vec::new(),
        };
        self.read_clusters(&self.metadata, &table, &self.mft, at, bytes)
    }

    /// A file of a number, from those that were read lately if it is among them.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where no file has it; when it is damaged or cannot be read.
    pub(super) fn file(&self, number: u64) -> Result<Arc<File>> {
        self.files.get_or(number, || {
            let file = self.assemble(number, false)?;
            let weight = file.weight();
            Ok((Arc::new(file), weight))
        })
    }

    /// Calls `each` for the records that lie in these bytes of the master file table: their number and what they say
    /// before their attributes. Records that were never written are left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn headers(
        &self,
        within: Range<u64>,
        each: &mut dyn FnMut(u64, Header),
    ) -> Result<()> {
        let size = u64::from(self.boot.record_size);
        let end = within.end.div_ceil(size).min(self.records());
        let mut number = within.start / size;
        let mut piece = Vec::new();
        while number < end {
            let count = (PIECE / size).min(end - number);
            piece.resize(usize::try_from(count * size).unwrap_or_default(), 0);
            self.read_mft(number * size, &mut piece)?;
            let whole = usize::try_from(size).unwrap_or(usize::MAX);
            for bytes in piece.chunks_exact(whole) {
                if let Some(header) = Header::of(bytes) {
                    each(number, header);
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// The files of which a record lies in these bytes of the volume.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub(super) fn touched(&self, changed: &Ranges) -> Result<Vec<NodeId>> {
        let mut found = BTreeSet::new();
        for part in self.mft_within(changed).as_slice() {
            self.headers(part.clone(), &mut |number, header| {
                let number = header.base.map_or(number, |base| base.number);
                if header.is_in_use && (number == ROOT || number >= FIRST_USER) {
                    found.insert(number);
                }
            })?;
        }
        Ok(found.into_iter().map(NodeId::new).collect())
    }

    /// The bytes of the master file table that are stored in these bytes of the volume.
    fn mft_within(&self, volume: &Ranges) -> Ranges {
        stored_within(&self.mft, volume, self.boot.cluster_size)
    }
}

/// The bytes of a stream that are stored in these bytes of the volume.
fn stored_within(extents: &Extents, volume: &Ranges, cluster_size: u32) -> Ranges {
    let size = u64::from(cluster_size);
    let mut found = Ranges::new();
    for run in &extents.runs {
        let Some(lcn) = run.lcn else { continue };
        let start = lcn * size;
        for part in volume.within(start..start + run.count * size) {
            let at = run.vcn * size + (part.start - start);
            found.insert(at..at + (part.end - part.start));
        }
    }
    found
}
