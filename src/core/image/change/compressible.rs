//! How much room the data of an image would give back compressed: an estimate, since only some of it is read.

use std::sync::Arc;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::image::error::{OfFile, Result};
use crate::image::internal::{Fault, index};
use crate::image::{Chain, Error, ErrorKind, Layer, MapRun, MapState, ProgressSink};
use crate::qcow2::limits::SECTOR;
use crate::qcow2::{CompressionType, Deflater};

/// Pieces that are read and compressed at most, spread evenly over the data.
const MOST_PIECES: u64 = 256;
/// Bytes of a piece of a raw image, which has no clusters: those of a cluster that QEMU makes.
const RAW_PIECE: u64 = 64 << 10;

/// What compressing an image's own data would give back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Compressible {
    /// Bytes of data that are stored as they are.
    pub data: u64,
    /// Of these, bytes that were read: all else is estimated by them.
    pub read: u64,
    /// Bytes that compressing would give back, if all data is like what was read.
    pub saves: u64,
}

/// Estimates what compressing the top layer's own data by zstd would give back, from a bounded number of its
/// clusters. What is compressed already or lies in holes does not count.
///
/// # Errors
/// When a table or data cannot be read, or it was stopped.
pub fn compressible(chain: &Chain, progress: &dyn ProgressSink) -> Result<Compressible> {
    let Some(top) = chain.layers().first() else {
        return Ok(Compressible::default());
    };
    let own = Chain::new(vec![Arc::clone(top)]);
    let path = top.path();
    let piece = match &**top {
        Layer::Qcow2(image) => image.header().geometry.cluster_size(),
        Layer::Raw(_) => RAW_PIECE,
    };
    let mut found = Compressible::default();
    for run in data_runs(&own) {
        found.data = found.data.saturating_add(run?.len);
    }
    let step = found.data.div_ceil(MOST_PIECES).max(piece);
    let mut deflater =
        Deflater::new(CompressionType::Zstd).map_err(|error| Error::new(path, error))?;
    let (mut before, mut next, mut stored) = (0_u64, 0_u64, 0_u64);
    let mut bytes = Vec::new();
    for run in data_runs(&own) {
        let run = run?;
        let after = before.saturating_add(run.len);
        while next < after {
            let at = run.start.saturating_add(next - before);
            let from = (at - at % piece).max(run.start);
            let len = (from - from % piece + piece).min(run.end()) - from;
            bytes.resize(index(len).of(path)?, 0);
            own.read_at(&mut bytes, from)?;
            found.read = found.read.saturating_add(len);
            stored = stored.saturating_add(compressed_len(&mut deflater, &bytes));
            if !progress.advance(len) {
                return Err(Error::new(path, ErrorKind::Cancelled));
            }
            next = next.saturating_add(step);
        }
        before = after;
    }
    let gained = u128::from(found.read.saturating_sub(stored));
    let saves = u128::from(found.data) * gained / u128::from(found.read.max(1));
    let fits = u64::try_from(saves).map_err(|_| Fault::new("more saved than there is"));
    found.saves = fits.of(path)?;
    Ok(found)
}

/// Bytes that a cluster takes compressed: none where it is zeros, those it has where that does not make it smaller.
fn compressed_len(deflater: &mut Deflater, bytes: &[u8]) -> u64 {
    if bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let plain = bytes.len() as u64;
    let packed = deflater
        .deflate(bytes)
        .map(|packed| (packed.len() as u64).next_multiple_of(SECTOR));
    packed.unwrap_or(plain).min(plain)
}

/// Where the image has data of its own that is stored as it is.
fn data_runs(own: &Chain) -> impl Iterator<Item = Result<MapRun>> + '_ {
    let is_data =
        |run: &Result<MapRun>| run.as_ref().map_or(true, |run| run.state == MapState::Data);
    own.map(0, u64::MAX).filter(is_data)
}
