//! The key slots of an image that is there: which of them a passphrase opens, one filled, one erased.
//! Which of them should be is the caller's business.
//!
//! Filling writes the key material and all of the slot's entry but that it is active, flushes, and then
//! says so by one write of four bytes that never cross a sector. Erasing goes the other way, as QEMU
//! does it: the slot is first said to be inactive. So no crash leaves a slot that is active and opens to
//! nobody, and none takes away another slot.

use std::fmt;

use zeroize::Zeroizing;

use crate::image::error::Result;
use crate::image::read::luks::header::read;
use crate::image::read::luks::unlock::{Slots, bound};
use crate::image::read::luks::{Keys, Passphrase};
use crate::image::write::luks::make::{bounded, material, random, rounds};
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::extension::CryptoHeader;
use crate::qcow2::luks::{KeySlot, SALT_LEN, Suite};
use crate::qcow2::{CryptMethod, FormatError, Header, LuksHeader};

/// Bytes at the start of a slot's entry that say whether it is active.
const ACTIVE_LEN: usize = 4;

/// The key slots of one image.
#[derive(Debug)]
pub struct KeySlots {
    file: ImageFile,
    place: CryptoHeader,
    luks: LuksHeader,
    suite: Suite,
}

/// A slot that a passphrase opened, with what it holds: the master key. Never printed, wiped when it is
/// dropped.
pub struct OpenedSlot {
    /// The slot, 0 to 7.
    pub slot: usize,
    master: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for OpenedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedSlot({})", self.slot)
    }
}

impl KeySlots {
    /// Reads the LUKS header of an image.
    ///
    /// # Errors
    /// When the image has none, it cannot be read or breaks the format's rules, the ciphers are not
    /// supported, or a slot asks for too many iterations.
    pub fn read(file: &ImageFile, header: &Header) -> Result<Self> {
        if header.crypt != CryptMethod::Luks {
            let text = "is not encrypted with LUKS: it has no key slots".to_owned();
            return Err(Error::new(file, ErrorKind::Unsupported(text)));
        }
        let (place, luks) = read(file, header)?;
        let suite = luks.suite().map_err(|e| Error::new(file, e))?;
        bound(file.path(), &luks)?;
        Ok(Self {
            file: file.clone(),
            place,
            luks,
            suite,
        })
    }

    /// The header as it is now.
    #[must_use]
    pub fn header(&self) -> &LuksHeader {
        &self.luks
    }

    /// The first active slot that one of the passphrases which `keys` has for the image opens, `except` left out.
    ///
    /// # Errors
    /// When there is no passphrase or none that opens a slot, key material cannot be read, or `progress` stopped it.
    pub fn open(
        &self,
        keys: &Keys,
        except: Option<usize>,
        progress: &dyn ProgressSink,
    ) -> Result<OpenedSlot> {
        let passphrases = keys.passphrases(self.file.path());
        if passphrases.is_empty() {
            return Err(Error::new(&self.file, ErrorKind::Locked));
        }
        let all = 0..self.luks.slots.len();
        let tried: Vec<usize> = all.filter(|slot| Some(*slot) != except).collect();
        self.try_on(&tried, &passphrases, progress)?
            .ok_or_else(|| Error::new(&self.file, ErrorKind::WrongPassphrase))
    }

    /// Whether a slot is active and opens to the passphrase.
    ///
    /// # Errors
    /// When key material cannot be read, or `progress` stopped it.
    pub fn opens_to(
        &self,
        slot: usize,
        passphrase: &Passphrase,
        progress: &dyn ProgressSink,
    ) -> Result<bool> {
        let passphrases = std::slice::from_ref(passphrase);
        Ok(self.try_on(&[slot], passphrases, progress)?.is_some())
    }

    fn try_on(
        &self,
        tried: &[usize],
        passphrases: &[Passphrase],
        progress: &dyn ProgressSink,
    ) -> Result<Option<OpenedSlot>> {
        let slots = Slots {
            file: &self.file,
            place: self.place,
            luks: &self.luks,
            suite: self.suite,
            progress,
        };
        for (number, slot) in self.luks.slots.iter().enumerate() {
            if !slot.active || !tried.contains(&number) {
                continue;
            }
            let encrypted = slots.material(slot)?;
            for passphrase in passphrases {
                if let Some(master) = slots.open(slot, &encrypted, passphrase)? {
                    return Ok(Some(OpenedSlot {
                        slot: number,
                        master,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// The first inactive slot whose key material has a place in the room for the LUKS header.
    #[must_use]
    pub fn free(&self) -> Option<usize> {
        let slots = self.luks.slots.iter().enumerate();
        let mut free =
            slots.filter(|(number, slot)| !slot.active && self.material_at(*number).is_ok());
        free.next().map(|(number, _)| number)
    }

    /// Has an inactive slot open to `new`. Trying one passphrase on it costs `iter_time_ms` milliseconds of
    /// this processor.
    ///
    /// # Errors
    /// When the slot is active or its key material has no place, the file cannot be written, the system has no
    /// randomness to give, or `progress` stopped it before anything was written.
    pub fn fill(
        &mut self,
        slot: usize,
        opened: &OpenedSlot,
        new: &Passphrase,
        iter_time_ms: u32,
        progress: &dyn ProgressSink,
    ) -> Result<()> {
        let stopped = || Error::new(&self.file, ErrorKind::Cancelled);
        let at = self.material_at(slot)?;
        let rounds = rounds(
            self.suite.hash,
            self.suite.key_bytes,
            iter_time_ms,
            progress,
        )
        .ok_or_else(stopped)?;
        let mut salt = [0; SALT_LEN];
        random(self.file.path(), &mut salt)?;
        let mut luks = self.luks.clone();
        let Some(entry) = luks.slots.get_mut(slot).filter(|entry| !entry.active) else {
            return Err(self.no_such(slot));
        };
        entry.iterations = bounded(rounds);
        entry.salt = salt;
        let bytes = material(
            self.file.path(),
            self.suite,
            entry,
            &opened.master,
            new,
            progress,
        )?;
        self.write(&bytes, at, "write key material")?;
        let (place, inactive) = luks.encode_slot(slot).map_err(|e| self.format(e))?;
        self.write(&inactive, self.in_file(place), "write the key slot")?;
        self.file.flush()?;
        self.entry(&mut luks, slot)?.active = true;
        self.switch(slot, luks)
    }

    /// Has a slot open to nobody, and writes noise over its key material.
    ///
    /// # Errors
    /// When its key material has no place, or the file cannot be written.
    pub fn erase(&mut self, slot: usize) -> Result<()> {
        let at = self.material_at(slot)?;
        let mut luks = self.luks.clone();
        self.entry(&mut luks, slot)?.active = false;
        self.switch(slot, luks.clone())?;
        let mut noise = vec![0; self.luks.material_len()];
        random(self.file.path(), &mut noise)?;
        self.write(&noise, at, "write over key material")?;
        let entry = self.entry(&mut luks, slot)?;
        entry.iterations = 0;
        entry.salt = [0; SALT_LEN];
        let (place, empty) = luks.encode_slot(slot).map_err(|e| self.format(e))?;
        self.write(&empty, self.in_file(place), "write the key slot")?;
        self.file.flush()?;
        self.luks = luks;
        Ok(())
    }

    /// Says on disk whether a slot is active, as `luks` says it.
    fn switch(&mut self, slot: usize, luks: LuksHeader) -> Result<()> {
        let (place, entry) = luks.encode_slot(slot).map_err(|e| self.format(e))?;
        let active = entry.get(..ACTIVE_LEN).ok_or_else(|| self.no_such(slot))?;
        self.write(active, self.in_file(place), "switch the key slot")?;
        self.file.flush()?;
        self.luks = luks;
        Ok(())
    }

    /// Where the key material of a slot lies in the file, all of it inside the room for the LUKS header.
    fn material_at(&self, slot: usize) -> Result<u64> {
        let entry = self.luks.slots.get(slot);
        let entry = entry.ok_or_else(|| self.no_such(slot))?;
        let end = entry
            .key_offset
            .saturating_add(self.luks.material_len() as u64);
        if end > self.place.length {
            return Err(self.format(FormatError::BadLuks {
                field: format!("the key material of key slot {slot}"),
                reason: "reaches past the room for the header".to_owned(),
            }));
        }
        Ok(self.in_file(entry.key_offset))
    }

    fn entry<'h>(&self, luks: &'h mut LuksHeader, slot: usize) -> Result<&'h mut KeySlot> {
        let entry = luks.slots.get_mut(slot);
        entry.ok_or_else(|| self.no_such(slot))
    }

    fn in_file(&self, offset: u64) -> u64 {
        self.place.offset.get().saturating_add(offset)
    }

    fn no_such(&self, slot: usize) -> Error {
        self.format(FormatError::BadLuks {
            field: format!("key slot {slot}"),
            reason: "cannot be used for that".to_owned(),
        })
    }

    fn format(&self, error: FormatError) -> Error {
        Error::new(&self.file, error)
    }

    fn write(&self, bytes: &[u8], at: u64, what: &str) -> Result<()> {
        self.file
            .write_at(bytes, at, format_args!("{what} at {at:#x}"))
    }
}
