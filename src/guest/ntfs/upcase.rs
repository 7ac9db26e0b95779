//! `$UpCase`: which names are the same but for upper and lower case, as whoever made the volume has it.

use super::{Ntfs, UPCASE, stream};
use crate::error::Result;
use crate::utf16;

/// Bytes of the table: a unit of UTF-16 for every one there is.
const LEN: usize = 128 << 10;

impl Ntfs {
    /// Whether two names are the same on this volume. Where its table cannot be read, by that of Unicode.
    pub(super) fn is_same_name(&self, one: &[u8], other: &[u8]) -> bool {
        match self.upcase.get_or_init(|| self.table().ok().flatten()) {
            Some(table) => utf16::same_name_by(table, one, other),
            None => utf16::same_name(one, other),
        }
    }

    /// The table; none where it has another length than it can have.
    fn table(&self) -> Result<Option<Vec<u16>>> {
        let file = self.file(UPCASE)?;
        let Some(data) = file.data().filter(|data| stream::size(data) == LEN as u64) else {
            return Ok(None);
        };
        let mut bytes = vec![0; LEN];
        self.read_stream(&file, data, 0, &mut bytes)?;
        Ok(Some(utf16::units(&bytes)))
    }
}
