//! Answers of the terminal that come when the thread that reads keys has begun: the library that reads the
//! terminal takes them for keys. They are told apart here, and keys come out as they went in.

use std::collections::VecDeque;
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::answers::{Fed, Sieve};

/// How long a key that may be the beginning of an answer waits for the rest.
pub(super) const PATIENCE: Duration = Duration::from_millis(25);

/// What holds back events until it is known that they are no answer.
#[derive(Debug)]
pub(super) struct LateAnswers {
    sieve: Sieve,
    /// Events held, each with how many bytes it stands for.
    held: VecDeque<(Event, usize)>,
    /// Bytes held that came before any event.
    ahead: usize,
}

impl LateAnswers {
    /// Goes on with what was heard so far.
    #[must_use]
    pub(super) fn after(sieve: Sieve) -> Self {
        Self {
            ahead: sieve.held().len(),
            held: VecDeque::new(),
            sieve,
        }
    }

    /// Whether events are held back.
    #[must_use]
    pub(super) fn is_holding(&self) -> bool {
        !self.sieve.held().is_empty()
    }

    /// Takes in an event; gives those that are no answer.
    pub(super) fn take(&mut self, event: Event) -> Vec<Event> {
        let bytes = bytes_of(&event);
        if bytes.is_empty() {
            let mut out = self.give_up();
            out.push(event);
            return out;
        }
        self.held.push_back((event, bytes.len()));
        let mut out = Vec::new();
        for byte in bytes {
            match self.sieve.feed(byte) {
                Fed::Held => {}
                Fed::Answer(_) => {
                    self.held.clear();
                    self.ahead = 0;
                }
                Fed::NoAnswer(count) => self.release(count, &mut out),
            }
        }
        out
    }

    /// Nothing more has come: what is held are keys, unless it is more of an answer than anybody types.
    pub(super) fn give_up(&mut self) -> Vec<Event> {
        let is_answer = self.sieve.is_inside();
        self.sieve.clear();
        self.ahead = 0;
        let held = std::mem::take(&mut self.held).into_iter();
        match is_answer {
            true => Vec::new(),
            false => held.map(|(event, _)| event).collect(),
        }
    }

    /// Lets go of the events that so many bytes stand for.
    fn release(&mut self, count: usize, out: &mut Vec<Event>) {
        let ahead = self.ahead.min(count);
        self.ahead -= ahead;
        let mut left = count - ahead;
        while let Some((event, len)) = self.held.pop_front() {
            if len > left {
                self.held.push_front((event, len));
                return;
            }
            left -= len;
            out.push(event);
        }
    }
}

/// The bytes that a terminal sent for a key, as far as an answer may hold them.
fn bytes_of(event: &Event) -> Vec<u8> {
    let Event::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press,
        ..
    }) = event
    else {
        return Vec::new();
    };
    match (code, *modifiers) {
        (KeyCode::Esc, KeyModifiers::NONE) => vec![0x1b],
        (KeyCode::Char('g'), KeyModifiers::CONTROL) => vec![0x07],
        (KeyCode::Char(c), modifiers) if c.is_ascii() => {
            let byte = u8::try_from(*c).unwrap_or(b' ');
            match modifiers - KeyModifiers::SHIFT {
                KeyModifiers::NONE => vec![byte],
                KeyModifiers::ALT => vec![0x1b, byte],
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events that the library makes of these bytes where they come at once.
    fn events(bytes: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let mut chars = bytes.chars().peekable();
        while let Some(c) = chars.next() {
            let (code, modifiers) = match (c, chars.peek()) {
                ('\u{1b}', Some(next)) if *next != '\u{1b}' => {
                    let next = chars.next().unwrap();
                    (KeyCode::Char(next), KeyModifiers::ALT)
                }
                ('\u{1b}', _) => (KeyCode::Esc, KeyModifiers::NONE),
                ('\u{7}', _) => (KeyCode::Char('g'), KeyModifiers::CONTROL),
                (c, _) => (KeyCode::Char(c), KeyModifiers::NONE),
            };
            events.push(Event::Key(KeyEvent::new(code, modifiers)));
        }
        events
    }

    fn passed(late: &mut LateAnswers, bytes: &str) -> Vec<Event> {
        let events = events(bytes).into_iter();
        events.flat_map(|event| late.take(event)).collect()
    }

    #[test]
    fn an_answer_is_no_key_whatever_is_typed_around_it() {
        for end in ["\u{1b}\\", "\u{7}"] {
            let mut late = LateAnswers::after(Sieve::default());
            let sent = format!("j\u{1b}]11;rgb:ffff/0000/bbbb{end}k");
            assert_eq!(passed(&mut late, &sent), events("jk"));
            assert!(!late.is_holding());
        }
    }

    #[test]
    fn the_rest_of_an_answer_is_no_key() {
        let mut sieve = Sieve::default();
        for byte in b"\x1b]11;rg" {
            sieve.feed(*byte);
        }
        let mut late = LateAnswers::after(sieve);
        assert_eq!(passed(&mut late, "b:00/00/00\u{7}X"), events("X"));
    }

    #[test]
    fn keys_that_look_like_the_beginning_of_an_answer_are_keys() {
        let mut late = LateAnswers::after(Sieve::default());
        assert_eq!(passed(&mut late, "\u{1b}]x"), events("\u{1b}]x"));
        assert_eq!(passed(&mut late, "\u{1b}]1"), []);
        assert!(late.is_holding());
        let key = Event::Key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
        let mut late = LateAnswers::after(Sieve::default());
        assert_eq!(late.take(key.clone()), []);
        assert_eq!(late.give_up(), [key]);
    }
}
