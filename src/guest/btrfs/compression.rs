//! Data that is stored compressed: an extent at a time, or a file's inline data.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, Operation};
use zstd::zstd_safe::DParameter;

use super::lzo;

/// How data is stored (`btrfs_file_extent_item.compression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Zlib,
    Lzo,
    Zstd,
}

/// Bytes of a compressed extent at the most, in memory and on the volume (`BTRFS_MAX_UNCOMPRESSED`,
/// `BTRFS_MAX_COMPRESSED`).
pub(super) const MAX_COMPRESSED: u64 = 128 << 10;
/// The largest window that the kernel takes (`ZSTD_BTRFS_MAX_WINDOWLOG`), as a power of two.
const ZSTD_WINDOW_LOG: u32 = 17;

impl Compression {
    /// By its number; none for one that is not known.
    pub(super) const fn of_type(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Zlib),
            2 => Some(Self::Lzo),
            3 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Fills `into` with what `stored` holds. Bytes behind the stream are ignored, since whole sectors are stored;
    /// what a stream does not fill is zeros, since the last sector of a file is compressed up to its end only.
    ///
    /// # Errors
    /// What is wrong with the stream.
    pub(super) fn decompress(
        self,
        stored: &[u8],
        into: &mut [u8],
        sectorsize: usize,
    ) -> Result<(), String> {
        let filled = match self {
            Self::None => {
                let len = stored.len().min(into.len());
                let (to, from) = (into.get_mut(..len), stored.get(..len));
                if let (Some(to), Some(from)) = (to, from) {
                    to.copy_from_slice(from);
                }
                len
            }
            Self::Zlib => zlib(stored, into)?,
            Self::Lzo => lzo::decompress_extent(stored, into, sectorsize)?,
            Self::Zstd => zstd(stored, into)?,
        };
        into.iter_mut().skip(filled).for_each(|byte| *byte = 0);
        Ok(())
    }
}

fn zlib(stored: &[u8], into: &mut [u8]) -> Result<usize, String> {
    let mut context = Decompress::new(true);
    let status = context
        .decompress(stored, into, FlushDecompress::Finish)
        .map_err(|error| format!("its zlib stream: {error}"))?;
    let filled = usize::try_from(context.total_out()).map_err(|error| error.to_string())?;
    if status != Status::StreamEnd && filled < into.len() {
        return Err("its zlib stream is cut".to_owned());
    }
    Ok(filled)
}

fn zstd(stored: &[u8], into: &mut [u8]) -> Result<usize, String> {
    let wrong = |error: std::io::Error| format!("its zstd stream: {error}");
    let mut context = Decoder::new().map_err(wrong)?;
    context
        .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
        .map_err(wrong)?;
    let (mut read, mut filled) = (0, 0);
    while filled < into.len() {
        let (Some(from), Some(to)) = (stored.get(read..), into.get_mut(filled..)) else {
            break;
        };
        let status = context.run_on_buffers(from, to).map_err(wrong)?;
        read += status.bytes_read;
        filled += status.bytes_written;
        if status.remaining == 0 {
            break;
        }
        if status.bytes_read == 0 && status.bytes_written == 0 {
            return Err("its zstd stream is cut".to_owned());
        }
    }
    Ok(filled)
}
