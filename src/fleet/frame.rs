//! What is sent either way: a kind, a length, so many bytes. Whoever reads believes no length.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;

/// A frame's bytes at most, length and kind left out.
pub const MOST_BYTES: usize = 16 << 20;

/// Bytes of memory that are taken before any of them came.
const STEP: usize = 256 << 10;

/// Bytes that a pipe holds which much goes through: four times what it usually does, so that both ends wait less often.
const ROOM: usize = 256 << 10;

/// Writes one frame and hands it on.
///
/// # Errors
/// The writer's own; `InvalidInput` for more bytes than a frame may have.
pub fn write_frame(to: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    write_parts(to, kind, &[body])
}

/// The same where its bytes lie in several places.
///
/// # Errors
/// As [`write_frame`].
pub fn write_parts(to: &mut impl Write, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let len = u32::try_from(bytes).map_err(too_long)?;
    if bytes > MOST_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let [a, b, c, d] = len.to_le_bytes();
    let head = [a, b, c, d, kind];
    let parts = std::iter::once(head.as_slice()).chain(parts.iter().copied());
    let mut slices: Vec<IoSlice<'_>> = parts.map(IoSlice::new).collect();
    let mut rest = slices.as_mut_slice();
    // Parts that are empty go with it.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match to.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.flush()
}

/// Has a pipe hold more than it usually does. Nothing fails where it cannot, or is none.
pub(super) fn widen(pipe: impl AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, ROOM);
}

/// The standard output for frames: what they hold is not looked through for ends of lines.
///
/// # Errors
/// Where it is closed.
pub fn frames_out() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// The standard input for frames: what comes that way is left in no buffer, since it may hold a passphrase.
///
/// # Errors
/// Where it is closed.
pub fn frames_in() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Reads one frame; none where the other side ended after a whole one.
///
/// # Errors
/// The reader's own; `InvalidData` for a frame of more than `most` bytes, `UnexpectedEof` for one that is cut off.
pub fn read_frame(from: &mut impl Read, most: usize) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 5];
    let mut have = 0;
    while let Some(rest) = head.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let [a, b, c, d, kind] = head;
    let len = u64::from(u32::from_le_bytes([a, b, c, d]));
    if len > most as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Vec::new();
    let mut rest = usize::try_from(len).unwrap_or(usize::MAX);
    // Memory is taken as bytes come: a length that is only claimed costs one step.
    while rest > 0 {
        let at = body.len();
        body.resize(at + rest.min(STEP), 0);
        let step = body.get_mut(at..).unwrap_or_default();
        from.read_exact(step)?;
        rest -= step.len();
    }
    Ok(Some((kind, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_cut_is_seen() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 7, b"hello").unwrap();
        write_frame(&mut bytes, 8, b"").unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(
            read_frame(&mut from, MOST_BYTES).unwrap(),
            Some((7, b"hello".to_vec()))
        );
        assert_eq!(
            read_frame(&mut from, MOST_BYTES).unwrap(),
            Some((8, Vec::new()))
        );
        assert_eq!(read_frame(&mut from, MOST_BYTES).unwrap(), None);
        let mut parted = Vec::new();
        write_parts(&mut parted, 7, &[b"", b"he", b"", b"llo"]).unwrap();
        write_parts(&mut parted, 8, &[]).unwrap();
        assert_eq!(parted, bytes);
        for cut in 1..10 {
            let mut from = &bytes[..cut];
            let error = read_frame(&mut from, MOST_BYTES).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }

    #[test]
    fn a_length_that_is_too_large_is_refused_and_none_is_believed() {
        let mut from = [0xff, 0xff, 0xff, 0xff, 1].as_slice();
        let error = read_frame(&mut from, MOST_BYTES).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let most = u32::try_from(MOST_BYTES).unwrap().to_le_bytes();
        let mut from = most.as_slice().chain([1, 2].as_slice());
        let error = read_frame(&mut from, MOST_BYTES).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let long = vec![0; MOST_BYTES + 1];
        assert!(write_frame(&mut Vec::new(), 1, &long).is_err());
    }
}
