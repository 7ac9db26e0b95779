//! The file that a new image is written to, mostly from front to back: small writes that follow each
//! other become one large one.

use std::path::Path;

use crate::host::WriteOut;
use crate::image::ImageFile;
use crate::image::error::Result;
use crate::image::internal;
use crate::image::write::transfer::BUFFER;

/// A gap up to this length is written as zeros, so that what stands around it is one write.
const SMALL_GAP: u64 = 4096;

#[derive(Debug)]
pub(super) struct Output {
    file: ImageFile,
    /// What is still to be written, and where its first byte goes.
    buffer: Vec<u8>,
    start: u64,
    write_out: WriteOut,
}

impl Output {
    pub(super) fn new(file: &ImageFile) -> Self {
        Self {
            file: file.clone(),
            buffer: Vec::new(),
            start: 0,
            write_out: WriteOut::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn file(&self) -> &ImageFile {
        &self.file
    }

    fn tail(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// Puts bytes at `offset`. What is never put reads as zero.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let tail = self.tail();
        if offset < tail {
            // Into a place that was kept for it.
            let inside = offset
                .checked_sub(self.start)
                .and_then(|from| usize::try_from(from).ok())
                .and_then(|from| self.buffer.get_mut(from..from + bytes.len()));
            if let Some(place) = inside {
                place.copy_from_slice(bytes);
                return Ok(());
            }
            self.flush()?;
            return self.file.write(bytes, offset);
        }
        if offset > tail {
            match usize::try_from(offset - tail) {
                Ok(gap) if offset - tail <= SMALL_GAP && !self.buffer.is_empty() => {
                    self.buffer.resize(self.buffer.len() + gap, 0);
                }
                _ => self.flush()?,
            }
        }
        if self.buffer.is_empty() {
            self.start = offset;
        }
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            self.start = offset;
        }
        if bytes.len() >= BUFFER {
            self.write(bytes, offset)?;
            self.start = offset + bytes.len() as u64;
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Reserves blocks for a range, or writes zeros where the filesystem cannot.
    pub(super) fn reserve(&mut self, offset: u64, len: u64) -> Result<()> {
        reserve(&self.file, offset, len)
    }

    /// Writes zeros, not holes.
    pub(super) fn write_zeros(&mut self, offset: u64, len: u64) -> Result<()> {
        write_zeros(&self.file, offset, len)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            self.write(&buffer, self.start)?;
            self.start += buffer.len() as u64;
            self.buffer = buffer;
            self.buffer.clear();
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write(bytes, offset)?;
        self.write_out
            .wrote(&**self.file.host_file(), offset, bytes.len() as u64);
        Ok(())
    }

    /// All is on stable storage, in a file of `len` bytes.
    pub(super) fn finish(&mut self, len: u64) -> Result<()> {
        self.flush()?;
        self.file.set_len(len, "set the length")?;
        self.file.flush()
    }
}

/// The file that holds the guest's bytes where that is not the image itself.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) file: ImageFile,
    write_out: WriteOut,
}

impl DataFile {
    pub(super) fn new(file: ImageFile) -> Self {
        Self {
            file,
            write_out: WriteOut::default(),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write(bytes, offset)?;
        self.write_out
            .wrote(&**self.file.host_file(), offset, bytes.len() as u64);
        Ok(())
    }
}

/// Reserves blocks for a range that reads as zero, or writes zeros where the filesystem cannot.
pub(crate) fn reserve(file: &ImageFile, offset: u64, len: u64) -> Result<()> {
    let reserved = file.reserve(offset, len, format_args!("reserve blocks at {offset:#x}"))?;
    if reserved {
        return Ok(());
    }
    write_zeros(file, offset, len)
}

/// Writes zeros, not holes.
pub(crate) fn write_zeros(file: &ImageFile, offset: u64, len: u64) -> Result<()> {
    let zeros = vec![0; internal::at_most(len, BUFFER)];
    let mut done = 0;
    while done < len {
        let part = internal::at_most(len - done, zeros.len());
        let (bytes, _) = zeros.split_at(part);
        let at = offset + done;
        file.write_at(bytes, at, format_args!("write zeros at {at:#x}"))?;
        done += part as u64;
    }
    Ok(())
}
