//! What is written begins its way to the device while the next is made: the flush at the end has less to wait for.

use std::ops::Range;

use super::file::HostFile;

/// Bytes in a row that are sent together.
const SENT: u64 = 4 << 20;

/// Runs shorter than this wait: they may come to lie beside others.
const WORTH_SENDING: u64 = 64 << 10;

/// What was written last to one file without a gap, and was not sent yet.
#[derive(Debug, Default)]
pub struct WriteOut {
    unsent: Range<u64>,
}

impl WriteOut {
    /// `len` bytes at `offset` were written.
    pub fn wrote(&mut self, file: &dyn HostFile, offset: u64, len: u64) {
        if self.unsent.end == offset {
            self.unsent.end += len;
        } else {
            self.send(file, WORTH_SENDING);
            self.unsent = offset..offset + len;
        }
        self.send(file, SENT);
    }

    fn send(&mut self, file: &dyn HostFile, least: u64) {
        let Range { start, end } = self.unsent;
        if end - start >= least {
            file.write_out(start, end - start);
            self.unsent = end..end;
        }
    }
}
