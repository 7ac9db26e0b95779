//! The checksums of ext4 and of its journal, each continued from a value before, as the kernel does.

/// CRC32C without the inversion at its end.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// CRC-16 (polynomial 0x8005, reflected): of group descriptors with `uninit_bg`.
pub(super) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xa001 * (crc & 1))
        })
    })
}

#[allow(clippy::indexing_slicing, reason = "it is run by the compiler")]
const fn crc32_be_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut top = 0;
    let mut at = 0;
    while at < 256 {
        let mut crc: u32 = top;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc << 1) ^ (0x04c1_1db7 * (crc >> 31));
            bit += 1;
        }
        table[at] = crc;
        at += 1;
        top = top.wrapping_add(1 << 24);
    }
    table
}

static CRC32_BE: [u32; 256] = crc32_be_table();

/// CRC-32, most significant bit first: of transactions of a journal with the compatible feature `checksum`.
pub(super) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        let [top, ..] = crc.to_be_bytes();
        let entry = CRC32_BE.get(usize::from(top ^ byte));
        (crc << 8) ^ entry.copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue_come_out() {
        let check = b"123456789";
        assert_eq!(!crc32c(u32::MAX, check), 0xe306_9283);
        assert_eq!(crc16(0, check), 0xbb3d);
        assert_eq!(crc32_be(u32::MAX, check), 0x0376_e6e7);
        assert_eq!(
            crc32_be(crc32_be(u32::MAX, &check[..4]), &check[4..]),
            0x0376_e6e7
        );
    }
}
