//! How much of a job is done, in bytes that it really copies. A stream or a commit of QEMU's goes through the whole disk
//! and tells how far it is on it, though it copies only what the layers hold; a mirror tells bytes that it copies.

use std::path::Path;

use crate::host::Host;
use crate::image::{self, Chain, Extent, Format, State};

/// Parts of a disk that are told apart.
const PARTS: usize = 4096;

/// What there is to copy in which part of a disk.
#[derive(Debug)]
pub(in crate::ops) struct Weight(Option<Parts>);

#[derive(Debug)]
struct Parts {
    /// Bytes of the disk in a part.
    len: u64,
    /// Bytes to be copied before each part, and before the end of the last one.
    before: Vec<u64>,
}

impl Weight {
    /// As the job tells it.
    pub(in crate::ops) const fn as_told() -> Self {
        Self(None)
    }

    /// By what the uppermost `depth` layers of this chain hold, which nobody writes; as the job tells it where that
    /// cannot be read.
    pub(in crate::ops) fn of_layers(
        host: &dyn Host,
        top: &Path,
        format: Option<&Format>,
        depth: usize,
    ) -> Self {
        let parts = || -> image::Result<Parts> {
            let chain = Chain::open(host, top, format, &|_| true)?;
            let size = chain.virtual_size();
            let mut parts = Collected::of(size);
            for run in chain.runs(depth, 0, size) {
                parts.add(&run?.extent);
            }
            Ok(parts.summed())
        };
        Self(parts().ok())
    }

    /// Bytes that are copied and that are to be copied in all, of a job that says that it is so far.
    pub(in crate::ops) fn of(&self, done: u64, total: u64) -> (u64, u64) {
        let Some(parts) = &self.0 else {
            return (done, total);
        };
        let all = parts.before.last().copied().unwrap_or(0);
        match done >= total {
            true => (all, all),
            false => (parts.up_to(done), all),
        }
    }
}

impl Parts {
    fn up_to(&self, at: u64) -> u64 {
        let (number, within) = (at / self.len, at % self.len);
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let all = self.before.last().copied().unwrap_or(0);
        let bytes = |number: usize| self.before.get(number).copied().unwrap_or(all);
        let begun = bytes(number.saturating_add(1)) - bytes(number);
        let share = u128::from(begun) * u128::from(within) / u128::from(self.len);
        bytes(number) + u64::try_from(share).unwrap_or(begun)
    }
}

/// Parts while they are filled.
struct Collected {
    len: u64,
    bytes: Vec<u64>,
}

impl Collected {
    fn of(size: u64) -> Self {
        Self {
            len: size.div_ceil(PARTS as u64).max(1),
            bytes: vec![0; PARTS],
        }
    }

    fn add(&mut self, extent: &Extent) {
        if !matches!(extent.state, State::Data { .. } | State::Compressed { .. }) {
            return;
        }
        let mut at = extent.start;
        while at < extent.end() {
            let end = (at - at % self.len)
                .saturating_add(self.len)
                .min(extent.end());
            let part = usize::try_from(at / self.len).ok();
            if let Some(bytes) = part.and_then(|part| self.bytes.get_mut(part)) {
                *bytes += end - at;
            }
            at = end;
        }
    }

    fn summed(self) -> Parts {
        let mut sum = 0;
        let mut before = vec![0];
        before.extend(self.bytes.iter().map(|bytes| {
            sum += bytes;
            sum
        }));
        Parts {
            len: self.len,
            before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(start: u64, len: u64) -> Extent {
        let state = State::Data { host: 0 };
        Extent { start, len, state }
    }

    #[test]
    fn what_a_job_passes_over_is_no_work() {
        let size = 64 << 20;
        let mut parts = Collected::of(size);
        parts.add(&data(16 << 20, 8 << 20));
        parts.add(&Extent {
            state: State::Zero,
            ..data(32 << 20, 8 << 20)
        });
        let weight = Weight(Some(parts.summed()));
        let mib = |done: u64| {
            let (done, total) = weight.of(done << 20, size);
            (done >> 20, total >> 20)
        };
        assert_eq!(mib(0), (0, 8));
        assert_eq!(mib(16), (0, 8));
        assert_eq!(mib(20), (4, 8));
        assert_eq!(mib(24), (8, 8));
        assert_eq!(mib(64), (8, 8));
        assert_eq!(Weight::as_told().of(3, 7), (3, 7));
    }

    #[test]
    fn a_disk_of_any_size_has_parts() {
        for size in [0, 1, 513, u64::MAX] {
            let mut parts = Collected::of(size);
            parts.add(&data(0, size));
            let weight = Weight(Some(parts.summed()));
            assert_eq!(weight.of(size, size), (size, size), "{size}");
            let half = weight.of(size / 2, size).0;
            assert!(half <= size / 2 + 1, "{half} of {size}");
        }
    }
}
