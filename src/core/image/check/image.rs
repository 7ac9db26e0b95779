//! The image that is checked, as all parts of the check see it.

use crate::image::read::l2_reader::Tables;
use crate::image::{ImageFile, ProgressSink};
use crate::qcow2::{Geometry, Header, L2Context};

/// The image as the parts of the check see it.
#[derive(Debug)]
pub(super) struct Image<'a> {
    pub(super) file: &'a ImageFile,
    pub(super) header: &'a Header,
    pub(super) geometry: Geometry,
    pub(super) context: L2Context,
    pub(super) len: u64,
    /// Clusters of the file, the last one perhaps in part.
    pub(super) clusters: u64,
}

/// Whether bytes reach a whole cluster or more past the end of a file of `len` bytes.
pub(in crate::image) const fn past_end(offset: u64, bytes: u64, len: u64, cluster: u64) -> bool {
    offset.saturating_add(bytes).saturating_sub(len) >= cluster
}

impl<'a> Image<'a> {
    /// The file, for reading its L2 tables.
    pub(super) const fn tables(&self, progress: &'a dyn ProgressSink) -> Tables<'a> {
        Tables {
            file: self.file,
            geometry: self.geometry,
            progress,
        }
    }

    /// Bytes of a cluster.
    pub(super) const fn size(&self) -> u64 {
        self.geometry.cluster_size()
    }

    /// Whether these bytes reach a whole cluster or more past the end of the file. Less may be
    /// missing at the end of an image.
    pub(super) fn is_past_end(&self, offset: u64, bytes: u64) -> bool {
        past_end(offset, bytes, self.len, self.size())
    }

    /// The last offset at which a cluster is not past the end.
    pub(super) fn last_start(&self) -> u64 {
        self.len.saturating_sub(1)
    }

    /// The guest's bytes that one entry of the active L1 table maps.
    pub(super) fn l1_guest(&self, index: u64) -> (u64, u64) {
        let coverage = self.geometry.l2_coverage();
        (index.saturating_mul(coverage), coverage)
    }

    /// The guest's bytes that one L2 entry maps.
    pub(super) fn l2_guest(&self, l1_index: u64, at: u64) -> (u64, u64) {
        let (start, _) = self.l1_guest(l1_index);
        let within = at.saturating_mul(self.size());
        (start.saturating_add(within), self.size())
    }
}
