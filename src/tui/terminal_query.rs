//! Asks the terminal about itself, once, before the first frame: whether its ground is light or dark, and
//! whether the signs of the pictures are one cell wide. The answers come in where keys come in; they are told
//! apart from keys, also those that come late.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::answers::{Answer, Fed, Sieve};

/// How long the first frame waits for the answers.
const PATIENCE: Duration = Duration::from_millis(50);

/// Signs of the pictures and columns whose width is in doubt where East Asian text is written.
const DOUBTFUL: &str = "●○◇▸⋮↺≈✗✓│─├└┌▌▶▲◄█·…»←";
/// A ground brighter than this, of 1000, is light.
const LIGHT: u32 = 500;

/// What is to be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Questions {
    /// Whether the ground is light.
    pub ground: bool,
    /// Whether signs are one cell wide.
    pub width: bool,
}

/// What was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether the ground is light, if that was told.
    pub is_light: Option<bool>,
    /// Whether all signs are one cell wide, if that was told.
    pub is_narrow: Option<bool>,
    /// What was typed meanwhile.
    pub early: Vec<u8>,
    /// What becomes of answers that are still to come; none if none are.
    pub late: Option<Sieve>,
}

impl Questions {
    /// What is sent, with the question that every terminal answers behind the others. The cursor is to be at the
    /// first cell of an empty screen, and is there again afterwards.
    fn text(self) -> String {
        let mut text = String::new();
        if self.width {
            text.push_str(&format!("\x1b[H{DOUBTFUL}\x1b[6n\x1b[H\x1b[K"));
        }
        if self.ground {
            text.push_str("\x1b]11;?\x1b\\");
        }
        text.push_str("\x1b[c");
        text
    }
}

/// Asks, and listens until all is answered or the time is over. The terminal is in raw mode. Where the system
/// does not let us listen for so long, the answers are taken for late ones.
///
/// # Errors
/// The system's own: the terminal is gone.
pub(super) fn ask(questions: Questions) -> io::Result<Heard> {
    if questions == Questions::default() {
        return Ok(Heard::default());
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(questions.text().as_bytes())?;
    stdout.flush()?;
    // A handle of its own: nothing may stay in a buffer where the thread that reads keys does not look.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let heard = listen(&input, Instant::now() + PATIENCE);
    Ok(heard.unwrap_or_else(|_| Heard {
        late: Some(Sieve::default()),
        ..Heard::default()
    }))
}

fn listen(mut input: &File, until: Instant) -> io::Result<Heard> {
    let fd = input.as_raw_fd();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    poll.registry()
        .register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
    let mut heard = Heard::default();
    let mut sieve = Sieve::default();
    let mut waiting: Vec<u8> = Vec::new();
    let mut bytes = [0; 512];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        if events.is_empty() {
            // Bytes nobody types wait for their rest; a lone Esc is a key.
            if !sieve.is_inside() {
                heard.early.append(&mut waiting);
                sieve.clear();
            }
            heard.late = Some(sieve);
            return Ok(heard);
        }
        let read = input.read(&mut bytes)?;
        let mut is_done = false;
        for byte in bytes.get(..read).unwrap_or_default() {
            waiting.push(*byte);
            match sieve.feed(*byte) {
                Fed::Held => {}
                Fed::NoAnswer(count) => heard.early.extend(waiting.drain(..count)),
                Fed::Answer(answer) => {
                    waiting.clear();
                    is_done |= heard.take(answer);
                }
            }
        }
        if is_done || read == 0 {
            heard.early.append(&mut waiting);
            return Ok(heard);
        }
    }
}

impl Heard {
    /// Takes in an answer; says whether it is the last one.
    fn take(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Ground(brightness) => {
                self.is_light = brightness.map(|brightness| brightness > LIGHT);
            }
            Answer::Column(column) => {
                let expected = DOUBTFUL.chars().count() + 1;
                self.is_narrow = Some(usize::from(column) == expected);
            }
            Answer::Identity => return true,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of a terminal that sends this.
    fn heard(sent: &[u8]) -> Heard {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(sent).unwrap();
        let input = File::from(std::os::fd::OwnedFd::from(reader));
        listen(&input, Instant::now() + PATIENCE).unwrap()
    }

    #[test]
    fn answers_are_heard_and_what_was_typed_is_kept() {
        let column = DOUBTFUL.chars().count() + 1;
        let sent = format!("j\x1b[1;{column}R\x1b]11;rgb:ffff/ffff/ffff\x07k\x1b[?62c");
        let told = heard(sent.as_bytes());
        assert_eq!((told.is_light, told.is_narrow), (Some(true), Some(true)));
        assert_eq!((told.early, told.late), (b"jk".to_vec(), None));
        let wide = heard(b"\x1b[1;33R\x1b]11;rgb:00/00/00\x07\x1b[?62c");
        assert_eq!((wide.is_light, wide.is_narrow), (Some(false), Some(false)));
    }

    #[test]
    fn a_terminal_that_does_not_answer_holds_nothing_up_for_longer() {
        let began = Instant::now();
        let told = heard(b"jj\x1b");
        assert!(began.elapsed() >= PATIENCE);
        assert_eq!((told.is_light, told.is_narrow), (None, None));
        assert_eq!(told.early, b"jj\x1b");
        assert_eq!(told.late, Some(Sieve::default()));
    }

    #[test]
    fn the_rest_of_an_answer_that_came_in_half_is_waited_for_elsewhere() {
        let told = heard(b"q\x1b]11;rgb:1e1e/");
        assert_eq!(told.early, b"q");
        assert!(told.late.unwrap().is_inside());
    }
}
