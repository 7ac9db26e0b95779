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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue_come_out() {
        let check = b"123456789";
        assert_eq!(!crc32c(u32::MAX, check), 0xe306_9283);
        assert_eq!(crc16(0, check), 0xbb3d);
    }
}
