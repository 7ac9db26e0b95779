//! Moving a run of bytes from one file to another by the cheapest way the two allow: sharing the
//! blocks, copying inside the kernel, reading and writing.

use crate::image::ImageFile;

use crate::host::Cloned;
use crate::host::WriteOut;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{index, part_mut};

/// Bytes moved by one read and one write; also the size of the buffer kept.
pub(crate) const BUFFER: usize = 1 << 20;

/// Runs shorter than this are cheaper to read and write than to ask the kernel about.
pub(crate) const WORTH_ASKING: u64 = 64 << 10;

/// Clones must lie on the filesystem's blocks; this is the largest usual block.
pub(crate) const BLOCK: u64 = 4096;

/// Moves runs from one source file to one target file, and remembers what the pair cannot do.
#[derive(Debug)]
pub(crate) struct Transfer {
    clones: bool,
    copies: bool,
    buffer: Vec<u8>,
    write_out: WriteOut,
}

/// A place in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilePosition<'a> {
    /// The file.
    pub(crate) file: &'a ImageFile,
    /// Byte offset in it.
    pub(crate) offset: u64,
}

impl Transfer {
    /// Nothing known of the pair yet.
    pub(crate) fn new() -> Self {
        Self {
            clones: true,
            copies: true,
            buffer: Vec::new(),
            write_out: WriteOut::default(),
        }
    }

    /// Whether blocks can be shared, as far as is known.
    pub(crate) fn may_clone(&self) -> bool {
        self.clones
    }

    /// Moves `len` bytes. Source bytes past the end of its file count as zero.
    pub(crate) fn run(
        &mut self,
        from: FilePosition<'_>,
        to: FilePosition<'_>,
        len: u64,
    ) -> Result<()> {
        let inside = from.file.len()?.saturating_sub(from.offset);
        let len_inside = len.min(inside);
        if len_inside < len {
            let start = to.offset + len_inside;
            to.file.zero(
                start,
                len - len_inside,
                format_args!("write zeros at {start:#x}"),
            )?;
        }
        if self.offload(from, to, len_inside)? {
            // Shared blocks are on the device already.
            if !self.clones {
                self.write_out
                    .wrote(&**to.file.host_file(), to.offset, len_inside);
            }
            return Ok(());
        }
        self.buffer.resize(BUFFER, 0);
        let mut done = 0;
        while done < len_inside {
            let want = index((len_inside - done).min(BUFFER as u64)).of(to.file)?;
            let buffer = part_mut(&mut self.buffer, 0..want).of(to.file)?;
            let (read_at, write_at) = (from.offset + done, to.offset + done);
            from.file.read(buffer, read_at)?;
            to.file.write(buffer, write_at)?;
            done += want as u64;
        }
        self.write_out
            .wrote(&**to.file.host_file(), to.offset, len_inside);
        Ok(())
    }

    /// Writes bytes that are in memory.
    pub(crate) fn write(&mut self, bytes: &[u8], to: FilePosition<'_>) -> Result<()> {
        to.file.write(bytes, to.offset)?;
        self.write_out
            .wrote(&**to.file.host_file(), to.offset, bytes.len() as u64);
        Ok(())
    }

    /// Tries to let the kernel do it; true if it did.
    fn offload(&mut self, from: FilePosition<'_>, to: FilePosition<'_>, len: u64) -> Result<bool> {
        if len < WORTH_ASKING {
            return Ok(false);
        }
        let aligned = [from.offset, to.offset, len]
            .iter()
            .all(|n| n.is_multiple_of(BLOCK));
        if self.clones && aligned {
            match to
                .file
                .clone_range(from.file, from.offset, to.offset, len)?
            {
                Cloned::Done => return Ok(true),
                Cloned::Unsupported => self.clones = false,
            }
        }
        if self.copies && !self.clones {
            match to.file.copy_range(from.file, from.offset, to.offset, len)? {
                Cloned::Done => return Ok(true),
                Cloned::Unsupported => self.copies = false,
            }
        }
        Ok(false)
    }
}
