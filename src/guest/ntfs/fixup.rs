//! Records of several sectors, whose last two bytes of each sector are kept elsewhere (the update sequence array), so that
//! one that was written in part is recognised.

use super::error::Checked;
use crate::field;

/// Bytes that are guarded together, whatever the size of a sector is.
const STRIDE: usize = 512;

/// Checks a record and puts the bytes back that its update sequence array holds.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn apply(record: &mut [u8], magic: [u8; 4]) -> Checked<()> {
    let found: [u8; 4] = field(record, 0);
    if found != magic {
        return Err(format!(
            "begins with {}, not {}",
            found.escape_ascii(),
            magic.escape_ascii()
        ));
    }
    let at = usize::from(u16::from_le_bytes(field(record, 4)));
    let count = usize::from(u16::from_le_bytes(field(record, 6)));
    let sectors = record.len() / STRIDE;
    let array = record.get(at..at + count * 2).unwrap_or_default().to_vec();
    if count != sectors + 1 || array.len() != count * 2 || at + array.len() > STRIDE - 2 {
        return Err(format!(
            "an update sequence array of {count} numbers at byte {at}"
        ));
    }
    let (number, rest) = array.split_at(2);
    for (sector, kept) in record.chunks_exact_mut(STRIDE).zip(rest.chunks_exact(2)) {
        let Some(end) = sector.get_mut(STRIDE - 2..) else {
            continue;
        };
        if end != number {
            return Err("was written in part: its update sequence numbers differ".to_owned());
        }
        end.copy_from_slice(kept);
    }
    Ok(())
}
