//! Guest bytes on their way into an encrypted image: whole sectors, each under the number of the place
//! where it comes to lie. How sectors are encrypted is in [`crate::image::read::luks`].

use crate::image::error::{OfFile, Result};
use crate::image::internal::{distance, index, part, part_mut};
use crate::image::read::luks::SectorCipher;
use crate::image::read::qcow2_layer::read_decrypted;
use crate::image::write::transfer::BUFFER;
use crate::qcow2::HostOffset;
use crate::qcow2::limits::SECTOR;

use super::source::Source;
use super::state::Writer;

impl Writer {
    /// Encrypts and writes to the file that holds the guest's data. Where only a part of a sector is
    /// written, the rest of it is read, and written again: no disk tears a sector.
    pub(super) fn put_encrypted(
        &mut self,
        cipher: &SectorCipher,
        host: HostOffset,
        len: u64,
        source: Source<'_>,
    ) -> Result<()> {
        let mut sealed = std::mem::take(&mut self.sealed);
        let end = host.get().saturating_add(len);
        let mut at = host.get();
        let mut result = Ok(());
        while at < end && result.is_ok() {
            let start = at - at % SECTOR;
            let stop = end.min(start.saturating_add(BUFFER as u64));
            let whole = (stop - start).next_multiple_of(SECTOR);
            result = index(whole).of(&self.file).and_then(|whole| {
                sealed.resize(whole, 0);
                let source = source.skip(at - host.get()).of(&self.file)?;
                self.put_sectors(cipher, start, at..stop, source, &mut sealed)
            });
            at = stop;
        }
        self.sealed = sealed;
        result
    }

    /// Writes `sealed`, whole sectors from `start` on, after the bytes of `range` came from `source`.
    fn put_sectors(
        &self,
        cipher: &SectorCipher,
        start: u64,
        range: std::ops::Range<u64>,
        source: Source<'_>,
        sealed: &mut [u8],
    ) -> Result<()> {
        let target = self.data.as_ref().unwrap_or(&self.file);
        let sector = index(SECTOR).of(target)?;
        let from = distance(start, range.start).of(target)?;
        let to = distance(start, range.end).of(target)?;
        let last = sealed.len().saturating_sub(sector);
        if from > 0 {
            let first = part_mut(sealed, 0..sector).of(target)?;
            read_decrypted(target, cipher, first, start)?;
        }
        // The first sector is the last one as well where both ends are cut.
        let len = sealed.len();
        if to < len && (last > 0 || from == 0) {
            let end = part_mut(sealed, last..len).of(target)?;
            read_decrypted(target, cipher, end, start + last as u64)?;
        }
        let plain = part_mut(sealed, from..to).of(target)?;
        match source {
            Source::Bytes(bytes) => plain.copy_from_slice(part(bytes, 0..plain.len()).of(target)?),
            Source::File { file, offset } => file.read(plain, offset)?,
        }
        cipher.encrypt(start / SECTOR, sealed);
        target.write(sealed, start)
    }
}
