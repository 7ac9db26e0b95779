//! A client of QMP, the protocol of QEMU's monitors: one JSON value a message, answers told apart by the number
//! given with the command, events in between. Everything is waited for with an end: a monitor serves one client, and
//! one that comes second is let in and then hears nothing.
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::host::printable;

use super::socket::connect;

/// What one message may take. The graph of a machine with a thousand nodes takes about one mebibyte.
const MAX_MESSAGE: usize = 64 << 20;
/// A monitor that greeted is there, and may be busy with what was asked before.
const ANSWERING: Duration = Duration::from_secs(30);
/// Events that are kept until somebody asks for them; of more, the oldest go.
const MAX_EVENTS: usize = 4096;

/// Why a monitor gave no answer that helps.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// Nobody listens there, or this user may not ask.
    #[error("its monitor {path} cannot be reached: {error}")]
    Unreachable {
        /// The socket.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A monitor serves one client, and somebody else is that.
    #[error(
        "its monitor {path} did not greet within {seconds} s: another program is connected to it"
    )]
    Taken {
        /// The socket.
        path: String,
        /// How long was waited.
        seconds: f32,
    },
    /// The answer did not come in time.
    #[error("its monitor did not answer {command} within {seconds} s")]
    Silent {
        /// What was asked.
        command: String,
        /// How long was waited.
        seconds: f32,
    },
    /// The process ended, or closed its monitor.
    #[error("its monitor was closed: it has ended")]
    Closed,
    /// QEMU says no; only its text says why.
    #[error("{command}: {text}")]
    Refused {
        /// What was asked.
        command: String,
        /// QEMU's own words.
        text: String,
    },
    /// It has no such command.
    #[error("it does not know the command {0}")]
    NoCommand(String),
    /// It cannot be asked for its nodes without harm.
    #[error(
        "a stream that another program began ({0}) has ended and is not dismissed: asked for its images now, QEMU \
         would crash. Dismiss that job first"
    )]
    EndedStream(String),
    /// What came is not QMP, or lacks what it must have.
    #[error("its monitor does not speak as QEMU's do: {0}")]
    Malformed(String),
}

impl QmpError {
    /// An answer that lacks something.
    pub(super) fn lacks(what: &str) -> Self {
        Self::Malformed(format!("{what} is missing"))
    }
}

/// Something that happened by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name: `BLOCK_JOB_READY`.
    pub name: String,
    /// What belongs to it.
    pub data: Value,
}

/// A conversation with a monitor. It ends when this is dropped; what it started goes on.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    /// Bytes that came and are not read yet.
    heard: Vec<u8>,
    events: VecDeque<Event>,
    sent: u64,
}

impl Qmp {
    /// Connects to a monitor and leaves its negotiation mode. A greeting comes at once or not at all: it is waited for
    /// as long as `patience`, unlike answers.
    ///
    /// # Errors
    /// [`QmpError::Taken`] where no greeting comes.
    pub fn connect(path: &Path, patience: Duration) -> Result<Self, QmpError> {
        let called = || printable(path);
        let unreachable = |error: io::Error| QmpError::Unreachable {
            path: called(),
            error,
        };
        let taken = || QmpError::Taken {
            path: called(),
            seconds: patience.as_secs_f32(),
        };
        let stream = match connect(path) {
            // The queue of those who wait to be let in is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(taken()),
            other => other.map_err(unreachable)?,
        };
        stream
            .set_write_timeout(Some(ANSWERING))
            .map_err(unreachable)?;
        let mut qmp = Self {
            stream,
            heard: Vec::new(),
            events: VecDeque::new(),
            sent: 0,
        };
        let until = Instant::now() + patience;
        let greeting = qmp.message(until)?.ok_or_else(taken)?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::lacks("its greeting"));
        }
        qmp.execute_within("qmp_capabilities", json!({}), patience)?;
        Ok(qmp)
    }

    /// Has it carry out a command.
    ///
    /// # Errors
    /// [`QmpError::Refused`] in QEMU's words, and the others where there is no answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.execute_within(command, arguments, ANSWERING)
    }

    /// The same for what may take longer: a snapshot waits for all requests that are on their way.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn execute_within(
        &mut self,
        command: &str,
        arguments: Value,
        patience: Duration,
    ) -> Result<Value, QmpError> {
        self.sent += 1;
        let number = self.sent;
        let asked = json!({ "execute": command, "arguments": arguments, "id": number });
        let mut line = asked.to_string();
        line.push_str("\r\n");
        match self.stream.write_all(line.as_bytes()) {
            Err(error) if is_timeout(&error) => return Err(silent(command, ANSWERING)),
            other => other.map_err(|_| QmpError::Closed)?,
        }
        let until = Instant::now() + patience;
        loop {
            let Some(message) = self.message(until)? else {
                return Err(silent(command, patience));
            };
            let Value::Object(mut message) = message else {
                return Err(QmpError::Malformed(
                    "a message that is no object".to_owned(),
                ));
            };
            if let Some(event) = event(&message) {
                self.keep(event);
                continue;
            }
            // The answer to a command that was given up on.
            if message.get("id").and_then(Value::as_u64) != Some(number) {
                continue;
            }
            if let Some(value) = message.remove("return") {
                return Ok(value);
            }
            return Err(refused(command, &message));
        }
    }

    /// The next event, those that came between answers first; none where none comes until then.
    ///
    /// # Errors
    /// [`QmpError`] where the conversation has ended.
    pub fn event(&mut self, until: Instant) -> Result<Option<Event>, QmpError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.message(until)? {
                Some(Value::Object(message)) => {
                    if let Some(event) = event(&message) {
                        self.keep(event);
                    }
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The next message, whether it is written in one line or over many; none where none comes until then.
    fn message(&mut self, until: Instant) -> Result<Option<Value>, QmpError> {
        loop {
            if let Some(message) = self.heard_message()? {
                return Ok(Some(message));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let closed = |_| QmpError::Closed;
            self.stream.set_read_timeout(Some(left)).map_err(closed)?;
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(read) => self.heard.extend(piece.iter().take(read)),
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(closed(error)),
            }
            if self.heard.len() > MAX_MESSAGE {
                return Err(QmpError::Malformed("a message without an end".to_owned()));
            }
        }
    }

    fn heard_message(&mut self) -> Result<Option<Value>, QmpError> {
        // Messages end with a line: before that there is no use in trying.
        if !self.heard.contains(&b'\n') {
            return Ok(None);
        }
        let mut values = serde_json::Deserializer::from_slice(&self.heard).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            None => {
                self.heard.clear();
                return Ok(None);
            }
            Some(Err(error)) if error.is_eof() => return Ok(None),
            Some(Err(_)) => return Err(QmpError::Malformed("what it says is no JSON".to_owned())),
        };
        let read = values.byte_offset();
        self.heard.drain(..read);
        Ok(Some(value))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

fn silent(command: &str, patience: Duration) -> QmpError {
    QmpError::Silent {
        command: command.to_owned(),
        seconds: patience.as_secs_f32(),
    }
}

fn event(message: &Map<String, Value>) -> Option<Event> {
    let name = message.get("event")?.as_str()?;
    Some(Event {
        name: name.to_owned(),
        data: message.get("data").cloned().unwrap_or_default(),
    })
}

fn refused(command: &str, message: &Map<String, Value>) -> QmpError {
    let Some(error) = message.get("error") else {
        return QmpError::lacks("an answer");
    };
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("class") {
        "CommandNotFound" => QmpError::NoCommand(command.to_owned()),
        _ => QmpError::Refused {
            command: command.to_owned(),
            text: printable(text("desc")),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);
    const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n";

    /// A monitor that says these texts, each after it was told something; the first at once.
    fn monitor(says: &'static [&'static str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for (number, text) in says.iter().enumerate() {
                let mut heard = [0; 4096];
                if number > 0 && !matches!(stream.read(&mut heard), Ok(1..)) {
                    return;
                }
                for part in text.as_bytes().chunks(7) {
                    stream.write_all(part).unwrap();
                }
            }
            // Open until the other side leaves.
            let _ = stream.read(&mut [0]);
        });
        (dir, path)
    }

    fn ask(says: &'static [&'static str]) -> (Result<Value, QmpError>, Vec<String>) {
        let (_dir, path) = monitor(says);
        let mut qmp = Qmp::connect(&path, LONG).unwrap();
        let answer = qmp.execute_within("query-jobs", json!({}), SHORT);
        let mut events = Vec::new();
        while let Ok(Some(event)) = qmp.event(Instant::now()) {
            events.push(event.name);
        }
        (answer, events)
    }

    const CAPABLE: &str = "{\"return\": {}, \"id\": 1}\r\n";

    #[test]
    fn an_answer_is_told_from_events_and_from_answers_to_others() {
        let says = &[
            GREETING,
            CAPABLE,
            "{\"event\": \"STOP\", \"data\": {}}\r\n{\"return\": [7], \"id\": 1}\r\n\
             {\"return\": [1],\r\n \"id\": 2\r\n}\r\n{\"event\": \"RESUME\"}\r\n",
        ];
        let (answer, events) = ask(says);
        assert_eq!(answer.unwrap(), json!([1]));
        assert_eq!(events, ["STOP", "RESUME"]);
    }

    #[test]
    fn what_it_refuses_is_told_in_its_own_words() {
        let says = &[
            GREETING,
            CAPABLE,
            "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\\u001b[1m room\"}}\n",
        ];
        let why = ask(says).0.unwrap_err().to_string();
        assert_eq!(why, "query-jobs: no\\u{1b}[1m room");
        let says = &[
            GREETING,
            CAPABLE,
            "{\"id\": 2, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"?\"}}\n",
        ];
        assert!(matches!(ask(says).0, Err(QmpError::NoCommand(name)) if name == "query-jobs"));
    }

    #[test]
    fn one_that_does_not_greet_belongs_to_somebody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let why = Qmp::connect(&path, SHORT).unwrap_err();
        assert!(matches!(why, QmpError::Taken { .. }), "{why}");
        // However long the queue is, nobody waits in it.
        let waiting: Vec<UnixStream> = std::iter::from_fn(|| connect(&path).ok()).collect();
        assert!(!waiting.is_empty());
        let why = Qmp::connect(&path, LONG).unwrap_err();
        assert!(matches!(why, QmpError::Taken { .. }), "{why}");
        drop(listener);
        let why = Qmp::connect(&path, SHORT).unwrap_err();
        assert!(matches!(why, QmpError::Unreachable { .. }), "{why}");
    }

    #[test]
    fn what_is_no_qmp_ends_it() {
        for (says, why) in [
            (&["HTTP/1.1 400\r\n"][..], "what it says is no JSON"),
            (&["{\"hello\": 1}\r\n"][..], "its greeting is missing"),
            (&[GREETING, "{\"id\": 1}\r\n"][..], "an answer is missing"),
            (&[GREETING, "3\r\n"][..], "a message that is no object"),
        ] {
            let (_dir, path) = monitor(Box::leak(says.to_vec().into_boxed_slice()));
            let error = Qmp::connect(&path, LONG).unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
        let (answer, _) = ask(&[GREETING, CAPABLE, "{\"return\": "]);
        assert!(matches!(answer, Err(QmpError::Silent { .. })), "{answer:?}");
    }
}
