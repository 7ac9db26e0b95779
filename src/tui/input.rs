//! What comes from the terminal: the thread that reads it, in our own words for keys, and the gate that keeps it
//! from reading while somebody else has the terminal.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use crossterm::event::{
    self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use signal_hook::consts::SIGWINCH;

use super::key::{Code, Key};
use super::late_answers::{self, LateAnswers};
use super::msg::{MouseEvent, Msg};

/// How long the thread that reads keys gets to stop reading.
const PARKING: Duration = Duration::from_secs(2);

/// What comes from outside.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are messages, and each is taken before many more have come"
)]
pub(super) enum Input {
    Msg(Msg),
    Lost(io::Error),
    Signal(i32),
}

/// Keeps the thread that reads keys from reading while somebody else has the terminal.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    waiting: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits while the gate is closed.
    fn pass(&self) {
        let mut state = self.state();
        while state.closed {
            state.waiting = true;
            self.changed.notify_all();
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting = false;
    }

    /// Closes it, and waits until the reader stands before it.
    pub(super) fn close(&self) {
        self.state().closed = true;
        // The reader sleeps until something comes; a change of size that is none wakes it.
        let _ = signal_hook::low_level::raise(SIGWINCH);
        let state = self.state();
        let _ = self
            .changed
            .wait_timeout_while(state, PARKING, |state| !state.waiting);
    }

    pub(super) fn open(&self) {
        self.state().closed = false;
        self.changed.notify_all();
    }
}

/// Reads what the terminal sends, for as long as somebody listens. Answers that come late are no input.
pub(super) fn listen(to: &Sender<Input>, gate: &Gate, mut late: Option<LateAnswers>) {
    loop {
        gate.pass();
        let events = match read_events(late.as_mut()) {
            Ok(events) => events,
            Err(error) => {
                // Nobody listening is as good as told.
                let _ = to.send(Input::Lost(error));
                return;
            }
        };
        let mut msgs = events.into_iter().flat_map(messages_of);
        if msgs.any(|msg| to.send(Input::Msg(msg)).is_err()) {
            return;
        }
    }
}

/// The next events that are no answers; none if those held back may still become one.
fn read_events(late: Option<&mut LateAnswers>) -> io::Result<Vec<Event>> {
    let Some(late) = late else {
        return Ok(vec![event::read()?]);
    };
    if late.is_holding() && !event::poll(late_answers::PATIENCE)? {
        return Ok(late.give_up());
    }
    Ok(late.take(event::read()?))
}

/// What an event means, in our own words.
fn messages_of(event: Event) -> Vec<Msg> {
    let msg = match event {
        Event::Key(key) => return keys_of(key).into_iter().map(Msg::Key).collect(),
        Event::Mouse(mouse) => {
            mouse_event(mouse.kind).map(|did| Msg::Mouse(did, mouse.column, mouse.row))
        }
        Event::FocusGained => Some(Msg::Focus(true)),
        Event::FocusLost => Some(Msg::Focus(false)),
        Event::Paste(text) => Some(Msg::Paste(text)),
        Event::Resize(width, height) => Some(Msg::Resize(width, height)),
    };
    msg.into_iter().collect()
}

/// Esc with a key right behind it looks like Alt with that key; nothing is bound to Alt, so it is taken for
/// what it may have been.
fn keys_of(key: KeyEvent) -> Vec<Key> {
    let is_alt = key.modifiers.contains(KeyModifiers::ALT) && key.kind != KeyEventKind::Release;
    let esc = is_alt.then(|| Key::of(Code::Esc));
    esc.into_iter().chain(key_of(key)).collect()
}

fn mouse_event(kind: MouseEventKind) -> Option<MouseEvent> {
    match kind {
        MouseEventKind::Down(MouseButton::Left) => Some(MouseEvent::Press),
        MouseEventKind::ScrollDown => Some(MouseEvent::WheelDown),
        MouseEventKind::ScrollUp => Some(MouseEvent::WheelUp),
        _ => None,
    }
}

/// A key in our own words. Only presses count, repeats included: a release would act twice.
fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let code = match key.code {
        KeyCode::Char(c) => Code::Char(c),
        KeyCode::Enter => Code::Enter,
        KeyCode::Esc => Code::Esc,
        KeyCode::Tab => Code::Tab,
        KeyCode::BackTab => Code::BackTab,
        KeyCode::Up => Code::Up,
        KeyCode::Down => Code::Down,
        KeyCode::Left => Code::Left,
        KeyCode::Right => Code::Right,
        KeyCode::Home => Code::Home,
        KeyCode::End => Code::End,
        KeyCode::PageUp => Code::PageUp,
        KeyCode::PageDown => Code::PageDown,
        KeyCode::Backspace => Code::Backspace,
        KeyCode::Delete => Code::Delete,
        KeyCode::F(number) => Code::F(number),
        _ => return None,
    };
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL) && matches!(code, Code::Char(_));
    Some(Key { code, ctrl })
}
