//! Bytes that are brought to a command line on a host, no faster than it takes them.

use std::io::{self, IoSlice, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::message::{Outgoing, ToAgent, WINDOW};

/// Bytes in one message.
const PIECE: usize = 256 << 10;

/// The way to a command line that is run, or is going to be. It may be held by any thread.
#[derive(Debug, Clone)]
pub struct Feed {
    run: u32,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    /// Bytes that may still be sent; none before it is run.
    window: usize,
    /// None once it is over.
    to: Option<Sender<Outgoing>>,
    is_begun: bool,
    is_ended: bool,
}

impl Feed {
    /// A way to the run of this number, which is not begun.
    pub(super) fn new(run: u32, to: Option<Sender<Outgoing>>) -> Self {
        let state = State {
            window: 0,
            to,
            is_begun: false,
            is_ended: false,
        };
        Self {
            run,
            state: Arc::new((Mutex::new(state), Condvar::new())),
        }
    }

    /// Brings it bytes, and waits until there is room for them on the way.
    ///
    /// # Errors
    /// `ConnectionAborted` once it is over.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        bytes
            .chunks(PIECE)
            .try_for_each(|piece| self.send_piece(piece.to_vec()))
    }

    /// The same of no more than goes at once.
    fn send_piece(&self, piece: Vec<u8>) -> io::Result<()> {
        let mut state = self.state();
        while state.window < piece.len() && state.to.is_some() {
            let waited = self.state.1.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.to.is_none() || state.is_ended {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.window -= piece.len();
        self.bring(&state, piece);
        Ok(())
    }

    /// Says that no more comes.
    pub fn end(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_ended, true) && state.is_begun {
            self.bring(&state, Vec::new());
        }
    }

    /// It is run from now on.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.window = WINDOW as usize;
        state.is_begun = true;
        if state.is_ended {
            self.bring(&state, Vec::new());
        }
        self.state.1.notify_all();
    }

    /// It took so many bytes; more than it was brought count for nothing.
    pub(super) fn taken(&self, bytes: u32) {
        let mut state = self.state();
        let window = state.window.saturating_add(bytes as usize);
        state.window = window.min(WINDOW as usize);
        self.state.1.notify_all();
    }

    /// It is over.
    pub(super) fn over(&self) {
        self.state().to = None;
        self.state.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bring(&self, state: &State, bytes: Vec<u8>) {
        if let Some(to) = &state.to {
            let run = self.run;
            // A side that went away is noticed where its messages are read.
            let _ = to.send(Outgoing::Message(ToAgent::Input { run, bytes }));
        }
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)?;
        Ok(bytes.len())
    }

    /// What belongs together goes together.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let mut whole = Vec::with_capacity(bytes);
        parts.iter().for_each(|part| whole.extend_from_slice(part));
        match bytes {
            // Nothing would be the end.
            0 => {}
            1..=PIECE => self.send_piece(whole)?,
            _ => self.send(&whole)?,
        }
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn no_more_is_on_the_way_than_the_window_holds() {
        let (to, from) = crossbeam_channel::unbounded();
        let feed = Feed::new(3, Some(to));
        let sent = feed.clone();
        let whole = vec![7; 3 * WINDOW as usize];
        let sender = thread::spawn(move || sent.send(&whole));
        thread::sleep(Duration::from_millis(50));
        assert_eq!(from.len(), 0);
        feed.begin();
        let mut got = 0;
        while got < 3 * WINDOW as usize {
            let Outgoing::Message(ToAgent::Input { run: 3, bytes }) = from.recv().unwrap() else {
                panic!();
            };
            got += bytes.len();
            assert!(from.len() * PIECE <= WINDOW as usize);
            feed.taken(u32::try_from(bytes.len()).unwrap());
        }
        sender.join().unwrap().unwrap();
        feed.end();
        feed.end();
        let end = Outgoing::Message(ToAgent::Input {
            run: 3,
            bytes: Vec::new(),
        });
        assert_eq!(from.try_iter().collect::<Vec<_>>(), [end]);
        assert!(feed.send(b"late").is_err());
    }

    #[test]
    fn who_waits_for_room_is_told_that_it_is_over() {
        let (to, _from) = crossbeam_channel::unbounded();
        let feed = Feed::new(1, Some(to));
        let sent = feed.clone();
        let sender = thread::spawn(move || sent.send(b"never"));
        thread::sleep(Duration::from_millis(20));
        feed.over();
        let ended = sender.join().unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
    }
}
