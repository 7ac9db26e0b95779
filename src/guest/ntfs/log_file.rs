//! `$LogFile`: whether it holds changes that were not written. What it holds is not replayed.

use super::fixup;
use crate::field;

/// Bytes at its start that tell it: two restart pages.
pub(super) const HEAD: u64 = 128 << 10;

/// Why the log is not clean; none where it is.
///
/// Clean is a log that nobody has open, one of a volume that was unmounted, and one that was emptied.
pub(super) fn why_dirty(head: &[u8]) -> Option<String> {
    if head.iter().all(|byte| *byte == 0xff) {
        return None;
    }
    let size = u32::from_le_bytes(field(head, 16));
    let size = match usize::try_from(size) {
        Ok(size) if size.is_power_of_two() => size,
        _ => 4096,
    };
    let second = head.get(size..).and_then(restart);
    let first = restart(head);
    let newest = match (first, second) {
        (Some(first), Some(second)) if second.lsn > first.lsn => second,
        (Some(first), _) => first,
        (None, Some(second)) => second,
        (None, None) => return Some("$LogFile has no restart page".to_owned()),
    };
    match newest.is_clean {
        true => None,
        false => Some("$LogFile holds changes that were not written".to_owned()),
    }
}

/// What a restart page says.
#[derive(Debug)]
struct Restart {
    /// `current_lsn`: which of two is newer.
    lsn: u64,
    is_clean: bool,
}

fn restart(bytes: &[u8]) -> Option<Restart> {
    let size = usize::try_from(u32::from_le_bytes(field(bytes, 16))).ok()?;
    if !size.is_power_of_two() || !(512..=64 << 10).contains(&size) {
        return None;
    }
    let mut page = bytes.get(..size)?.to_vec();
    fixup::apply(&mut page, *b"RSTR").ok()?;
    let at = usize::from(u16::from_le_bytes(field(&page, 24)));
    let area = page.get(at..at + 16)?;
    let in_use = u16::from_le_bytes(field(area, 12));
    let flags = u16::from_le_bytes(field(area, 14));
    Some(Restart {
        lsn: u64::from_le_bytes(field(area, 0)),
        // No client has it open, or the volume was unmounted (RESTART_VOLUME_IS_CLEAN).
        is_clean: in_use == 0xffff || flags & 2 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A restart page as Windows lays it out: pages of 4 KiB, its area at byte 0x30.
    fn page(lsn: u64, in_use: u16, flags: u16) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..4].copy_from_slice(b"RSTR");
        page[4..8].copy_from_slice(&[0x1e, 0, 9, 0]);
        for at in [16, 20] {
            page[at..at + 4].copy_from_slice(&4096_u32.to_le_bytes());
        }
        page[24] = 0x30;
        page[0x30..0x38].copy_from_slice(&lsn.to_le_bytes());
        page[0x3c..0x3e].copy_from_slice(&in_use.to_le_bytes());
        page[0x3e..0x40].copy_from_slice(&flags.to_le_bytes());
        // The update sequence number, with which each sector ends.
        page[0x1e] = 5;
        for sector in page.chunks_mut(512) {
            sector[510..].copy_from_slice(&[5, 0]);
        }
        page
    }

    #[test]
    fn the_newer_restart_page_says_whether_the_log_is_clean() {
        const NOBODY: u16 = 0xffff;
        let (clean, dirty) = (page(10, NOBODY, 0), page(20, 0, 0));
        assert_eq!(why_dirty(&[0xff; 8192]), None, "emptied");
        assert_eq!(why_dirty(&[&clean[..], &clean].concat()), None);
        assert!(why_dirty(&[&clean[..], &dirty].concat()).is_some());
        assert!(why_dirty(&[&dirty[..], &clean].concat()).is_some());
        assert_eq!(
            why_dirty(&[dirty, page(30, 0, 2)].concat()),
            None,
            "unmounted"
        );
        let mut torn = page(40, 0, 0);
        torn[1022] = 6;
        assert_eq!(why_dirty(&[torn, clean].concat()), None, "written in part");
        assert!(why_dirty(&[0; 8192]).is_some(), "no page");
    }
}
