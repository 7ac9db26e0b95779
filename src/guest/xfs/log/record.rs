//! Records of the log: a header, which keeps what the cycle took the place of in each block, and the operations.

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::ring::{HEADER_MAGIC, Ring};
use super::trouble::{Tried, trouble};
use crate::field;
use crate::xfs::superblock::{BASIC_BLOCK, BASIC_BLOCK_LEN, Superblock};

/// `struct xlog_rec_header`.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magicno: U32,
    cycle: U32,
    version: U32,
    len: U32,
    lsn: U64,
    tail_lsn: U64,
    crc: [u8; 4],
    prev_block: U32,
    num_logops: U32,
    cycle_data: [U32; CYCLES],
    fmt: U32,
    fs_uuid: [u8; 16],
    size: U32,
}

/// Blocks whose first words a header keeps.
const CYCLES: usize = 64;
/// Bytes of these.
const CYCLES_LEN: u32 = 32 << 10;
/// The longest record (`XLOG_MAX_RECORD_BSIZE`).
const MAX_LEN: u32 = 256 << 10;
/// Blocks of the longest record with its headers.
const MAX_BLOCKS: u64 = 512 + 8;
/// `h_version`: large records have more headers than one.
const VERSION_2: u32 = 2;
/// Bytes of a header that its checksum is over: with and without the padding of 64-bit hosts.
const HEADER_SUMMED: [usize; 2] = [328, 324];
/// Bytes of a further header that the checksum is over.
const FURTHER_SUMMED: usize = 260;
/// Bytes of an operation's header, of which flags are the tenth.
const OPERATION_FLAGS: usize = 9;
/// The only operation of the record that an unmount writes (`XLOG_UNMOUNT_TRANS`).
const UNMOUNT: u8 = 0x20;

/// A record.
#[derive(Debug)]
pub(super) struct Record {
    /// Its first block, and the first behind it.
    pub(super) start: u64,
    pub(super) next: u64,
    /// Its number.
    pub(super) lsn: u64,
    /// The block of the oldest record whose changes may not have reached their places.
    pub(super) tail: u64,
    /// How many operations it has.
    pub(super) operations: u32,
    /// The byte order of the host that wrote it (`XLOG_FMT_*`).
    pub(super) format: u32,
    /// Its operations.
    pub(super) body: Vec<u8>,
    /// Whether its checksum is right.
    pub(super) is_whole: bool,
}

impl Record {
    /// The record whose header is a block; none where there is none.
    pub(super) fn read(ring: &Ring<'_>, superblock: &Superblock, at: u64) -> Tried<Option<Self>> {
        let first = ring.read(at, 1)?;
        let Ok((header, _)) = Header::ref_from_prefix(&first) else {
            return Ok(None);
        };
        if header.magicno != HEADER_MAGIC {
            return Ok(None);
        }
        let (len, size) = (header.len.get(), header.size.get());
        if len > MAX_LEN || size > MAX_LEN || header.fs_uuid != superblock.uuid {
            return trouble(format!(
                "the header at block {at} is not of this filesystem"
            ));
        }
        let headers = match header.version.get() & VERSION_2 {
            0 => 1,
            _ => u64::from(size.div_ceil(CYCLES_LEN).max(1)),
        };
        let blocks = u64::from(len).div_ceil(BASIC_BLOCK);
        if headers + blocks >= ring.blocks || blocks > headers * CYCLES as u64 {
            return trouble(format!("the record at block {at} is longer than it may be"));
        }
        let further = ring.read(at + 1, headers - 1)?;
        let mut body = ring.read(at + headers, blocks)?;
        body.truncate(usize::try_from(len).unwrap_or_default());
        let is_sound = is_sound(header, &first, &further, &body);
        let cycles = header.cycle_data.iter().map(|word| word.get());
        restore(&mut body, cycles, &further);
        let mut record = Self {
            start: at % ring.blocks,
            next: (at + headers + blocks) % ring.blocks,
            lsn: header.lsn.get(),
            tail: (header.tail_lsn.get() & u64::from(u32::MAX)) % ring.blocks,
            operations: header.num_logops.get(),
            format: header.fmt.get(),
            body,
            is_whole: is_sound,
        };
        // mkfs gives its record of an unmount no checksum.
        record.is_whole |= header.crc == [0; 4] && record.is_lone_unmount();
        Ok(Some(record))
    }

    /// The last record whose header is before a block.
    pub(super) fn before(ring: &Ring<'_>, superblock: &Superblock, at: u64) -> Tried<Option<Self>> {
        let count = MAX_BLOCKS.min(ring.blocks);
        let from = ring.back(at, count);
        let bytes = ring.read(from, count)?;
        let blocks = bytes.as_chunks::<BASIC_BLOCK_LEN>().0;
        let is_header = |block: &[u8; _]| u32::from_be_bytes(field(block, 0)) == HEADER_MAGIC;
        match blocks.iter().rposition(is_header) {
            Some(last) => Self::read(ring, superblock, (from + last as u64) % ring.blocks),
            None => Ok(None),
        }
    }

    /// Whether it says that the filesystem was unmounted, and can be believed.
    pub(super) fn is_unmount(&self) -> bool {
        self.is_whole && self.is_lone_unmount()
    }

    fn is_lone_unmount(&self) -> bool {
        let flags = self.body.get(OPERATION_FLAGS);
        self.operations == 1 && flags.is_some_and(|flags| flags & UNMOUNT != 0)
    }
}

/// Whether the checksum is right: over the header, of further ones as many as the body needs, and the body.
fn is_sound(header: &Header, first: &[u8], further: &[u8], body: &[u8]) -> bool {
    let needed = body.len().div_ceil(CYCLES_LEN as usize).saturating_sub(1);
    HEADER_SUMMED.into_iter().any(|summed| {
        let before = first.get(..32).unwrap_or_default();
        let after = first.get(36..summed).unwrap_or_default();
        let mut sum = crc32c::crc32c(before);
        sum = crc32c::crc32c_append(sum, &[0; 4]);
        sum = crc32c::crc32c_append(sum, after);
        let blocks = further.as_chunks::<BASIC_BLOCK_LEN>().0;
        for block in blocks.iter().take(needed) {
            sum = crc32c::crc32c_append(sum, block.get(..FURTHER_SUMMED).unwrap_or_default());
        }
        crc32c::crc32c_append(sum, body) == u32::from_le_bytes(header.crc)
    })
}

/// Puts the words back that the cycle took the place of.
fn restore(body: &mut [u8], cycles: impl Iterator<Item = u32>, further: &[u8]) {
    let blocks = further.as_chunks::<BASIC_BLOCK_LEN>().0;
    let more = blocks
        .iter()
        .flat_map(|block| (0..CYCLES).map(|index| u32::from_be_bytes(field(block, 4 + 4 * index))));
    let each = body.chunks_mut(BASIC_BLOCK_LEN);
    for (block, word) in each.zip(cycles.chain(more)) {
        for (to, from) in block.iter_mut().zip(word.to_be_bytes()) {
            *to = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        assert_eq!(std::mem::offset_of!(Header, crc), 32);
        assert_eq!(std::mem::offset_of!(Header, fmt), 300);
        assert_eq!(size_of::<Header>(), 324);
    }
}
