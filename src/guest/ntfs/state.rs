//! What the volume says of itself: its label, and whether it was unmounted.

use super::record::kind;
use super::{LOG_FILE, Ntfs, VOLUME, log_file, stream};
use crate::error::Result;
use crate::filesystem::Condition;
use crate::{field, utf16};

impl Ntfs {
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
        let volume = self.file(VOLUME)?;
        let information = volume.resident(kind::VOLUME_INFORMATION).next();
        // VOLUME_FLAG_DIRTY
        let flags = u16::from_le_bytes(field(information.unwrap_or_default(), 10));
        Ok(match flags & 1 {
            0 => Condition::Clean,
            _ => Condition::NotReplayed("the volume is marked as dirty".to_owned()),
        })
    }
}
