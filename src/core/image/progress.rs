//! How long work reports how far it is and learns whether to go on. Bars and ETAs are the faces'.

/// Told of every piece of work done; answers whether to go on.
pub trait ProgressSink: Sync {
    /// `bytes` more guest bytes are dealt with. False stops the work at the next safe point.
    fn advance(&self, bytes: u64) -> bool;
}

/// Never stops anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn advance(&self, _bytes: u64) -> bool {
        true
    }
}
