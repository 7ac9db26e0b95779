//! The two codecs of compressed clusters, with contexts that are used again and again.
//!
//! Where a compressed cluster lies is the business of [`super::compressed`]. Output is always bounded
//! by the buffer of one cluster; nothing here grows with what a stream claims.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use zstd::bulk::Compressor;
use zstd::stream::raw::{Decoder, Operation};

use super::error::FormatError;
use super::header::CompressionType;

/// The deflate window QEMU writes, as a power of two: 4 KiB.
const DEFLATE_WINDOW_BITS: u8 = 12;
/// Any deflate stream can be read with the largest window.
const INFLATE_WINDOW_BITS: u8 = 15;
/// zstd's default level, which QEMU uses.
const ZSTD_LEVEL: i32 = 3;
/// The first level of zlib-rs whose streams are no larger than those of zlib's default, which QEMU
/// uses: the ones below look for no matches of 3 bytes, and in a window of 4 KiB those count.
const ZLIB_LEVEL: u8 = 9;

/// Turns compressed clusters back into clusters. Keep one per thread.
pub struct Inflater {
    codec: InflateCodec,
}

enum InflateCodec {
    Zlib(Decompress),
    Zstd(Decoder<'static>),
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("kind", &self.kind())
            .finish()
    }
}

fn damaged(codec: &'static str, reason: impl Into<String>) -> FormatError {
    FormatError::BadCompressedData {
        codec,
        reason: reason.into(),
    }
}

impl Inflater {
    /// A context for one codec.
    ///
    /// # Errors
    /// [`FormatError::BadCompressedData`] if the codec cannot get its memory.
    pub fn new(kind: CompressionType) -> Result<Self, FormatError> {
        let codec = match kind {
            CompressionType::Zlib => {
                InflateCodec::Zlib(Decompress::new_with_window_bits(false, INFLATE_WINDOW_BITS))
            }
            CompressionType::Zstd => {
                InflateCodec::Zstd(Decoder::new().map_err(|e| damaged("zstd", e.to_string()))?)
            }
        };
        Ok(Self { codec })
    }

    /// The codec this context is for.
    #[must_use]
    pub const fn kind(&self) -> CompressionType {
        match self.codec {
            InflateCodec::Zlib(_) => CompressionType::Zlib,
            InflateCodec::Zstd(_) => CompressionType::Zstd,
        }
    }

    /// Fills `cluster` from the stream at the start of `source`. Bytes behind the stream are ignored:
    /// only sectors are counted in the descriptor, so there nearly always are some.
    ///
    /// # Errors
    /// [`FormatError::BadCompressedData`] unless the stream yields exactly one cluster. What is in
    /// `cluster` is then not to be used.
    pub fn inflate(&mut self, source: &[u8], cluster: &mut [u8]) -> Result<(), FormatError> {
        match &mut self.codec {
            InflateCodec::Zlib(context) => inflate_zlib(context, source, cluster),
            InflateCodec::Zstd(context) => inflate_zstd(context, source, cluster),
        }
    }
}

fn inflate_zlib(
    context: &mut Decompress,
    source: &[u8],
    cluster: &mut [u8],
) -> Result<(), FormatError> {
    context.reset(false);
    // As in QEMU a stream that goes on behind a full cluster is cut, not refused: both "ended" and
    // "output full" will do, so only the count matters.
    context
        .decompress(source, cluster, FlushDecompress::Finish)
        .map_err(|e| damaged("zlib", e.to_string()))?;
    if context.total_out() == cluster.len() as u64 {
        Ok(())
    } else {
        Err(damaged(
            "zlib",
            format!(
                "it ends after {} of {} bytes",
                context.total_out(),
                cluster.len()
            ),
        ))
    }
}

fn inflate_zstd(
    context: &mut Decoder<'static>,
    source: &[u8],
    cluster: &mut [u8],
) -> Result<(), FormatError> {
    context
        .reinit()
        .map_err(|e| damaged("zstd", e.to_string()))?;
    let (mut read, mut written) = (0usize, 0usize);
    let total = cluster.len();
    // A cluster may be several frames in a row; a full cluster in the middle of a frame is damage.
    while written < total {
        let (Some(from), Some(to)) = (source.get(read..), cluster.get_mut(written..)) else {
            return Err(damaged("zstd", "its decoder went past the end"));
        };
        let status = context
            .run_on_buffers(from, to)
            .map_err(|e| damaged("zstd", e.to_string()))?;
        read = read.saturating_add(status.bytes_read);
        written = written.saturating_add(status.bytes_written);
        if status.bytes_read == 0 && status.bytes_written == 0 {
            return Err(damaged(
                "zstd",
                format!("it ends after {written} of {total} bytes"),
            ));
        }
        if written == total && status.remaining != 0 {
            return Err(damaged("zstd", "it holds more than one cluster"));
        }
    }
    Ok(())
}

/// Compresses clusters. Keep one per thread.
pub struct Deflater {
    codec: DeflateCodec,
    buffer: Vec<u8>,
}

enum DeflateCodec {
    Zlib {
        context: Compress,
        level: Compression,
    },
    Zstd(Compressor<'static>),
}

fn zlib(level: Compression) -> Compress {
    Compress::new_with_window_bits(level, false, DEFLATE_WINDOW_BITS)
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("kind", &self.kind())
            .finish()
    }
}

impl Deflater {
    /// A context for one codec, with the window QEMU uses and at a level that compresses as well.
    ///
    /// # Errors
    /// [`FormatError::BadCompressedData`] if the codec cannot get its memory.
    pub fn new(kind: CompressionType) -> Result<Self, FormatError> {
        Self::with_level(kind, None)
    }

    /// The same at another level: 1 to 9 for zlib, 1 to 22 for zstd; what is beyond counts as the
    /// nearest. None for as much as QEMU.
    ///
    /// # Errors
    /// As [`Deflater::new`].
    pub fn with_level(kind: CompressionType, level: Option<u8>) -> Result<Self, FormatError> {
        let codec = match kind {
            CompressionType::Zlib => {
                let level = Compression::new(u32::from(level.unwrap_or(ZLIB_LEVEL)).clamp(1, 9));
                let context = zlib(level);
                DeflateCodec::Zlib { context, level }
            }
            CompressionType::Zstd => {
                let level = level.map_or(ZSTD_LEVEL, |level| i32::from(level).clamp(1, 22));
                DeflateCodec::Zstd(
                    Compressor::new(level).map_err(|e| damaged("zstd", e.to_string()))?,
                )
            }
        };
        Ok(Self {
            codec,
            buffer: Vec::new(),
        })
    }

    /// The codec this context is for.
    #[must_use]
    pub const fn kind(&self) -> CompressionType {
        match self.codec {
            DeflateCodec::Zlib { .. } => CompressionType::Zlib,
            DeflateCodec::Zstd(_) => CompressionType::Zstd,
        }
    }

    /// Compresses one whole cluster; `None` if that would not make it smaller, so that it is to be
    /// stored as it is.
    pub fn deflate(&mut self, cluster: &[u8]) -> Option<Vec<u8>> {
        self.buffer.resize(cluster.len().saturating_sub(1), 0);
        let len = match &mut self.codec {
            DeflateCodec::Zlib { context, level } => {
                context.reset();
                let status = context.compress(cluster, &mut self.buffer, FlushCompress::Finish);
                if !matches!(status, Ok(flate2::Status::StreamEnd)) {
                    // zlib-rs does not forget everything of a stream that was broken off: it would
                    // panic some streams later.
                    *context = zlib(*level);
                    return None;
                }
                usize::try_from(context.total_out()).ok()?
            }
            // The one failure there is in practice is a buffer too small, and "as it is" is always
            // a correct answer.
            DeflateCodec::Zstd(context) => context
                .compress_to_buffer(cluster, self.buffer.as_mut_slice())
                .ok()?,
        };
        self.buffer.get(..len).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [CompressionType; 2] = [CompressionType::Zlib, CompressionType::Zstd];

    fn text(len: usize) -> Vec<u8> {
        b"the quick brown fox jumps over the lazy dog "
            .iter()
            .copied()
            .cycle()
            .take(len)
            .collect()
    }

    #[test]
    fn a_cluster_survives_with_trailing_bytes_and_with_a_used_context() {
        for kind in KINDS {
            let mut deflater = Deflater::new(kind).unwrap();
            let mut inflater = Inflater::new(kind).unwrap();
            for size in [512, 65536, 2 << 20] {
                let cluster = text(size);
                let mut stream = deflater.deflate(&cluster).unwrap();
                assert!(stream.len() < size);
                stream.extend_from_slice(&[0xa5; 300]);
                let mut back = vec![0; size];
                inflater.inflate(&stream, &mut back).unwrap();
                assert!(back == cluster);
            }
        }
    }

    #[test]
    fn a_context_outlives_any_number_of_streams_that_did_not_fit() {
        let mut state = 1u64;
        let mut noise = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        };
        for kind in KINDS {
            let mut deflater = Deflater::new(kind).unwrap();
            let mut inflater = Inflater::new(kind).unwrap();
            for len in [512, 700, 4096, 5000, 65536, 70_000, 2 << 20].repeat(8) {
                let cluster: Vec<u8> = (0..len).map(|_| noise()).collect();
                assert_eq!(deflater.deflate(&cluster), None);
                let words = text(65536);
                let mut back = vec![0; 65536];
                inflater
                    .inflate(&deflater.deflate(&words).unwrap(), &mut back)
                    .unwrap();
                assert!(back == words);
            }
        }
    }

    #[test]
    fn several_zstd_frames_make_one_cluster() {
        let mut deflater = Deflater::new(CompressionType::Zstd).unwrap();
        let half = text(32768);
        let mut stream = deflater.deflate(&half).unwrap();
        stream.extend(stream.clone());
        let mut back = vec![0; 65536];
        let mut inflater = Inflater::new(CompressionType::Zstd).unwrap();
        inflater.inflate(&stream, &mut back).unwrap();
        assert!(back == [half.clone(), half].concat());
    }

    #[test]
    fn a_short_stream_is_damage_and_the_context_works_on() {
        for kind in KINDS {
            let mut deflater = Deflater::new(kind).unwrap();
            let mut inflater = Inflater::new(kind).unwrap();
            let stream = deflater.deflate(&text(4096)).unwrap();
            let mut back = vec![0; 8192];
            assert!(inflater.inflate(&stream, &mut back).is_err());
            assert!(
                inflater
                    .inflate(&stream[..stream.len() / 2], &mut back[..4096])
                    .is_err()
            );
            assert!(inflater.inflate(&[], &mut back).is_err());
            inflater.inflate(&stream, &mut back[..4096]).unwrap();
        }
    }

    #[test]
    fn a_zstd_frame_longer_than_a_cluster_is_damage() {
        let stream = Deflater::new(CompressionType::Zstd)
            .unwrap()
            .deflate(&text(8192))
            .unwrap();
        let mut inflater = Inflater::new(CompressionType::Zstd).unwrap();
        assert!(inflater.inflate(&stream, &mut [0; 4096]).is_err());
    }

    #[test]
    fn noise_is_not_compressed() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..65536)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[1]
            })
            .collect();
        for kind in KINDS {
            assert_eq!(Deflater::new(kind).unwrap().deflate(&noise), None);
        }
    }

    proptest! {
        #[test]
        fn no_input_panics_or_overflows_a_cluster(
            bytes in prop::collection::vec(any::<u8>(), 0..600), zstd: bool,
        ) {
            let kind = KINDS[usize::from(zstd)];
            let mut source = bytes.clone();
            if zstd {
                source.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
            }
            let _ = Inflater::new(kind).unwrap().inflate(&source, &mut [0; 512]);
        }
    }
}
