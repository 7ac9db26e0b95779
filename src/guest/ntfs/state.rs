//! What the volume says of itself: its label, and whether it was unmounted.

use super::record::kind;
use super::{LOG_FILE, Ntfs, VOLUME, log_file, stream};
use crate::error::Result;
use crate::filesystem::Condition;
use crate::{field, utf16};

/// Flags of the volume that tell of nothing unfinished: it was looked through by `chkdsk`.
const PLAIN_FLAGS: u16 = 0x8000;
/// Where volume shadow copies begin on the volume, by what identifier, and where after that their catalog is named.
const SHADOWS_AT: u64 = 0x1e00;
const SHADOWS: [u8; 16] = [
    0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52,
];
const CATALOG_AT: usize = 48;

impl Ntfs {
    /// As [`crate::Filesystem::doubt`].
    pub(super) fn doubt_of_bitmap(&self) -> Result<Option<String>> {
        let flags = self.flags()?;
        if flags & !PLAIN_FLAGS != 0 {
            return Ok(Some(format!(
                "the volume's flags are {flags:#x}: have the guest check it (`chkdsk`)"
            )));
        }
        let mut shadows = [0; 64];
        self.volume.read_at(SHADOWS_AT, &mut shadows)?;
        if field(&shadows, 0) == SHADOWS && field(&shadows, CATALOG_AT) != [0; 8] {
            return Ok(Some(
                "it has volume shadow copies, which may need what is free".to_owned(),
            ));
        }
        Ok(None)
    }

    /// `VOLUME_INFORMATION`'s flags.
    fn flags(&self) -> Result<u16> {
        let volume = self.file(VOLUME)?;
        let information = volume.resident(kind::VOLUME_INFORMATION).next();
        Ok(u16::from_le_bytes(field(
            information.unwrap_or_default(),
            10,
        )))
    }

    pub(super) fn label(&self) -> Result<Vec<u8>> {
        let volume = self.file(VOLUME)?;
        let name = volume.resident(kind::VOLUME_NAME).next();
        let units = utf16::units(name.unwrap_or_default());
        Ok(utf16::to_wtf8(&units))
    }

    /// Whether the volume was unmounted, and its log holds nothing that was not written.
    pub(super) fn condition(&self) -> Result<Condition> {
        let log = self.file(LOG_FILE)?;
        let data = log
            .data()
            .ok_or_else(|| log.damaged("$LogFile has no data"))?;
        let len = stream::size(data).min(log_file::HEAD);
        let mut head = vec![0; usize::try_from(len).unwrap_or_default()];
        self.read_stream(&log, data, 0, &mut head)?;
        if let Some(why) = log_file::why_dirty(&head) {
            return Ok(Condition::NotReplayed(why));
        }
        // VOLUME_FLAG_DIRTY
        Ok(match self.flags()? & 1 {
            0 => Condition::Clean,
            _ => Condition::NotReplayed("the volume is marked as dirty".to_owned()),
        })
    }
}
