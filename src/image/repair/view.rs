//! A file with another first cluster than it has on disk: the image as the switch would leave it, to
//! be checked before it is made. Nothing can be written through it.

use std::io;
use std::sync::Arc;

use crate::host::{Cloned, HostFile, Lock, LockProbe, LockSet, Segment, Stat};

/// The file behind another first cluster.
#[derive(Debug)]
pub(super) struct Switched {
    inner: Arc<dyn HostFile>,
    first: Vec<u8>,
}

impl Switched {
    pub(super) fn new(inner: Arc<dyn HostFile>, first: Vec<u8>) -> Self {
        Self { inner, first }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this view of a file is for reading only",
    ))
}

impl HostFile for Switched {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let got = self.inner.read_at(buf, offset)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let other = self.first.get(from..).unwrap_or_default();
        let len = other.len().min(buf.len());
        if let (Some(to), Some(other)) = (buf.get_mut(..len), other.get(..len)) {
            to.copy_from_slice(other);
        }
        Ok(got.max(len))
    }
    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }
    fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
        refused()
    }
    fn punch(&self, _offset: u64, _len: u64) -> io::Result<()> {
        refused()
    }
    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        refused()
    }
    fn clone_range(
        &self,
        _source: &dyn HostFile,
        _from: u64,
        _to: u64,
        _len: u64,
    ) -> io::Result<Cloned> {
        refused()
    }
    fn copy_range(
        &self,
        _source: &dyn HostFile,
        _from: u64,
        _to: u64,
        _len: u64,
    ) -> io::Result<Cloned> {
        refused()
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        refused()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn fence(&self) -> io::Result<()> {
        refused()
    }
    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        // What is not on disk yet is data, too.
        let end = self.first.len() as u64;
        if offset < end {
            return Ok(Segment::Data(end));
        }
        self.inner.segment_at(offset)
    }
    fn stat(&self) -> io::Result<Stat> {
        self.inner.stat()
    }
    fn lock(&self, want: LockSet) -> io::Result<Lock> {
        self.inner.lock(want)
    }
    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe> {
        self.inner.probe_lock(want)
    }
}
