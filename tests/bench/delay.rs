//! A connection that takes its time, for benchmarks: what one end writes the other reads so much later, however much
//! of it there is.

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes taken up at a time.
const PIECE: usize = 64 << 10;

/// Hands on what `from` gives to `to`, each piece `delay` after it came, until either ends.
pub(crate) fn relay(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    delay: Duration,
) {
    let (pieces_in, pieces) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            let due = Instant::now() + delay;
            if pieces_in.send((due, piece[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    });
}
