//! Reading a node as the process sees it, over the network block device protocol on a socket of this machine. The
//! file of an image that is being written says nothing certain: what the process has in memory is not in it yet.
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::socket::connect;

const MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const READ: u16 = 0;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
/// An answer during negotiation is never longer than this.
const MAX_REPLY: u32 = 64 << 10;
/// What one request may ask for, by the protocol's advice to servers.
const MAX_READ: usize = 32 << 20;
/// A server that says nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// An export that is open for reading.
#[derive(Debug)]
pub struct Nbd {
    stream: UnixStream,
    /// The export's length in bytes.
    size: u64,
    sent: u64,
}

impl Nbd {
    /// Opens an export of the server at this socket.
    ///
    /// # Errors
    /// The system's, or `InvalidData` with what the server did wrong.
    pub fn open(socket: &Path, export: &str) -> io::Result<Self> {
        let mut stream = connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if u64_of(&mut stream)? != MAGIC || u64_of(&mut stream)? != OPTION_MAGIC {
            return Err(wrong("its greeting"));
        }
        let flags = u16_of(&mut stream)?;
        if flags & FIXED_NEWSTYLE == 0 {
            return Err(wrong("the old negotiation"));
        }
        stream.write_all(&u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes())?;
        let size = go(&mut stream, export)?;
        Ok(Self {
            stream,
            size,
            sent: 0,
        })
    }

    /// Reads from an offset; the export has to be that long.
    ///
    /// # Errors
    /// The system's, `InvalidData` where the server refuses, `UnexpectedEof` behind the end of the export.
    pub fn read_at(&mut self, mut offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = u64::try_from(buffer.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for part in buffer.chunks_mut(MAX_READ) {
            let len = u32::try_from(part.len()).map_err(|_| wrong("a length"))?;
            self.ask(READ, offset, len)?;
            self.stream.read_exact(part)?;
            offset += u64::from(len);
        }
        Ok(())
    }

    /// Has the process write down all that it keeps in memory of the node, tables included.
    ///
    /// # Errors
    /// The system's, or `InvalidData` where the server refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.ask(FLUSH, 0, 0)
    }

    fn ask(&mut self, command: u16, offset: u64, len: u32) -> io::Result<()> {
        self.sent += 1;
        self.send(command, offset, len)?;
        if u32_of(&mut self.stream)? != SIMPLE_REPLY {
            return Err(wrong("an answer of another kind"));
        }
        let error = u32_of(&mut self.stream)?;
        if u64_of(&mut self.stream)? != self.sent {
            return Err(wrong("an answer to something else"));
        }
        match error {
            0 => Ok(()),
            number => Err(io::Error::from_raw_os_error(
                i32::try_from(number).unwrap_or(5),
            )),
        }
    }

    fn send(&mut self, command: u16, offset: u64, len: u32) -> io::Result<()> {
        let mut request = Vec::with_capacity(28);
        request.extend(REQUEST.to_be_bytes());
        request.extend(0_u16.to_be_bytes());
        request.extend(command.to_be_bytes());
        request.extend(self.sent.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(len.to_be_bytes());
        self.stream.write_all(&request)
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        // A server takes a closed socket for the same.
        let _ = self.send(DISCONNECT, 0, 0);
    }
}

/// Chooses the export; gives its length.
fn go(stream: &mut UnixStream, export: &str) -> io::Result<u64> {
    let name = export.as_bytes();
    let name_len = u32::try_from(name.len()).map_err(|_| wrong("a name"))?;
    let mut option = Vec::new();
    option.extend(OPTION_MAGIC.to_be_bytes());
    option.extend(OPT_GO.to_be_bytes());
    option.extend((name_len + 6).to_be_bytes());
    option.extend(name_len.to_be_bytes());
    option.extend(name);
    option.extend(0_u16.to_be_bytes());
    stream.write_all(&option)?;
    let mut size = None;
    loop {
        if u64_of(stream)? != REPLY_MAGIC || u32_of(stream)? != OPT_GO {
            return Err(wrong("an answer to its options"));
        }
        let kind = u32_of(stream)?;
        let len = u32_of(stream)?;
        if len > MAX_REPLY {
            return Err(wrong("an answer without an end"));
        }
        let mut data = vec![0; usize::try_from(len).map_err(|_| wrong("a length"))?];
        stream.read_exact(&mut data)?;
        match kind {
            REP_ACK => return size.ok_or_else(|| wrong("no length of its export")),
            REP_INFO => size = size.or_else(|| export_size(&data)),
            kind if kind & REP_ERROR != 0 => {
                let why = crate::host::printable(String::from_utf8_lossy(&data).as_ref());
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
            _ => {}
        }
    }
}

fn export_size(data: &[u8]) -> Option<u64> {
    let (kind, rest) = data.split_first_chunk()?;
    let is_it = u16::from_be_bytes(*kind) == INFO_EXPORT;
    let size = rest.first_chunk().filter(|_| is_it)?;
    Some(u64::from_be_bytes(*size))
}

fn wrong(what: &str) -> io::Error {
    let text = format!("the NBD server answered with {what}, which is not understood");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn bytes<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16_of(stream: &mut UnixStream) -> io::Result<u16> {
    bytes(stream).map(u16::from_be_bytes)
}

fn u32_of(stream: &mut UnixStream) -> io::Result<u32> {
    bytes(stream).map(u32::from_be_bytes)
}

fn u64_of(stream: &mut UnixStream) -> io::Result<u64> {
    bytes(stream).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A server that says this and nothing more.
    fn open(says: Vec<u8>) -> io::Result<Nbd> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("nbd");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&says).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let opened = Nbd::open(&socket, "disk");
        let opened = opened.and_then(|mut nbd| nbd.read_at(0, &mut [0; 4]).map(|()| nbd));
        let kept = opened.as_ref().is_ok();
        if !kept {
            server.join().unwrap();
        }
        opened
    }

    fn greeting() -> Vec<u8> {
        let mut says = MAGIC.to_be_bytes().to_vec();
        says.extend(OPTION_MAGIC.to_be_bytes());
        says.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
        says
    }

    fn reply(kind: u32, len: u32, data: &[u8]) -> Vec<u8> {
        let mut says = REPLY_MAGIC.to_be_bytes().to_vec();
        for number in [OPT_GO, kind, len] {
            says.extend(number.to_be_bytes());
        }
        says.extend(data);
        says
    }

    fn info(size: u64) -> Vec<u8> {
        let mut data = INFO_EXPORT.to_be_bytes().to_vec();
        data.extend(size.to_be_bytes());
        data.extend([0; 2]);
        reply(REP_INFO, 12, &data)
    }

    #[test]
    fn what_a_server_does_wrong_is_an_error() {
        let with = |parts: &[Vec<u8>]| [greeting(), parts.concat()].concat();
        let ack = || reply(REP_ACK, 0, b"");
        let read = |magic: u32, error: u32, handle: u64| {
            let mut says = magic.to_be_bytes().to_vec();
            says.extend(error.to_be_bytes());
            says.extend(handle.to_be_bytes());
            says.extend(*b"data");
            says
        };
        for says in [
            b"SSH-2.0-OpenSSH_9.2p1 Debian".to_vec(),
            with(&[b"0123456789abcdef0123".to_vec()]),
            with(&[reply(REP_INFO, u32::MAX, b"")]),
            with(&[reply(REP_ERROR | 6, 4, b"gone")]),
            with(&[ack()]),
            with(&[info(8), ack(), read(SIMPLE_REPLY + 1, 0, 1)]),
            with(&[info(8), ack(), read(SIMPLE_REPLY, 5, 1)]),
            with(&[info(8), ack(), read(SIMPLE_REPLY, 0, 2)]),
            with(&[info(8)]),
        ] {
            assert!(open(says.clone()).is_err(), "{says:?}");
        }
        let nbd = open(with(&[info(8), ack(), read(SIMPLE_REPLY, 0, 1)])).unwrap();
        assert_eq!(nbd.size, 8);
    }
}
