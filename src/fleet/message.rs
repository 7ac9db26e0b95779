//! What the two sides say to each other. Both are of the same protocol: the agent's first line says which.

use std::ffi::OsString;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::frame::{MOST_BYTES, read_frame, write_frame, write_parts};
use super::passphrase::{PassphraseAnswer, PassphraseQuery, SECRET};
use crate::host::Holder;

/// Grows with every change of what stands here.
pub const PROTOCOL: u32 = 5;

/// A frame that holds a message as JSON.
const MESSAGE: u8 = 1;
/// A frame that holds what a command line printed.
const OUTPUT: u8 = 2;
/// What stands behind printed bytes: the run's number and the stream's. Bytes that come first need not be moved.
const OUTPUT_TAIL: usize = 5;
/// A frame that holds what a command line is to read.
pub(super) const INPUT: u8 = 3;
/// A frame that holds what other machines say, as JSON.
pub(super) const PEERS: u8 = 4;
/// What stands behind bytes that are to be read: the run's number.
const INPUT_TAIL: usize = 4;
/// What stands before passphrases: the run's number.
const RUN_HEAD: usize = 4;
/// Bytes that may be on their way to a run and not taken by it.
pub const WINDOW: u32 = 4 << 20;

/// What this side takes in one frame of an agent's: it is not believed to be ours.
const MOST_FROM_AGENT: usize = 1 << 20;
/// The lines of a question at most.
const MOST_LINES: usize = 10_000;

/// To the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToAgent {
    /// The first message.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// Runs a command line.
    Run(Run),
    /// Answers what it asked.
    Answer {
        /// The run's number.
        run: u32,
        /// The answer.
        answer: Answer,
    },
    /// Brings it bytes to read, no more than [`WINDOW`] that it has not taken; none of them is the end.
    Input {
        /// The run's number.
        run: u32,
        /// Piece by piece.
        bytes: Vec<u8>,
    },
    /// Tells it what other machines say.
    Peers {
        /// The run's number.
        run: u32,
        /// One answer of each.
        answers: Vec<PeerAnswer>,
    },
    /// Answers its question for a passphrase. It stands in a frame of its own.
    #[serde(skip)]
    Passphrase {
        /// The run's number.
        run: u32,
        /// The answer.
        answer: PassphraseAnswer,
    },
    /// Asks it to stop, as Ctrl-C does.
    Cancel {
        /// The run's number.
        run: u32,
    },
    /// Asks whether the agent is there.
    Ping,
}

/// What goes to a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// To the agent.
    Message(ToAgent),
    /// Of a program that is put there.
    Bytes(Vec<u8>),
}

/// A command line to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number, which no other run of this connection has.
    pub id: u32,
    /// The words after the program's name.
    pub words: Vec<OsString>,
    /// The terminal's columns; 0 where there is none.
    pub columns: u16,
    /// Whether there is somebody to ask.
    pub asks: bool,
    /// Whether they are to be asked about each plan, also about one that only creates.
    pub asks_always: bool,
    /// Whether it is to say which lines are about images of shared storage.
    pub marks: bool,
    /// The words that have a shell there run one more, quoted; empty where it is this machine. It is said by the connection
    /// that runs it.
    pub reach: String,
    /// What the host is called where the person is, for command lines that are told.
    pub host: String,
}

impl Run {
    /// These words, where nobody watches and nobody is asked. Its number is given by the connection that runs it.
    #[must_use]
    pub fn new(words: Vec<OsString>, host: &str) -> Self {
        Self {
            id: 0,
            words,
            columns: 0,
            asks: false,
            asks_always: false,
            marks: false,
            reach: String::new(),
            host: host.to_owned(),
        }
    }
}

/// From the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// The first message.
    Hello(Hello),
    /// What a run printed.
    Output {
        /// The run's number.
        run: u32,
        /// Where.
        stream: Stream,
        /// Piece by piece.
        bytes: Vec<u8>,
    },
    /// What a run says to the person.
    Said {
        /// The run's number.
        run: u32,
        /// What.
        said: Said,
    },
    /// It ended with this code.
    Ended {
        /// The run's number.
        run: u32,
        /// Its exit code.
        code: u8,
    },
    /// It was not started.
    Denied {
        /// The run's number.
        run: u32,
        /// Why.
        why: String,
    },
    /// The agent is there.
    Pong,
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The program's version.
    pub version: String,
    /// Whether whatever changes something is refused.
    pub read_only: bool,
    /// The folder outside which nothing may be named, if there is one.
    pub restricted_to: Option<OsString>,
}

/// Where something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What a command line that runs there says to the person here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// Something to be answered.
    Question(Question),
    /// What the plan would do, for a screen: see `facts::PlanFacts`. It comes before what is printed or asked of it.
    Plan(String),
    /// How far it is.
    Moved(Moved),
    /// It took so many of the bytes that were brought.
    Taken(u32),
    /// Something for whoever brings it bytes.
    Asked(Vec<u8>),
    /// Other machines are to be asked about files.
    Peers(PeerQuery),
    /// A passphrase is needed.
    Passphrase(PassphraseQuery),
}

/// A question, with all that has to be seen before it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The plan, line by line.
    pub lines: Vec<String>,
    /// The question itself.
    pub prompt: String,
    /// The number that has to be typed, where a letter does not suffice.
    pub count: Option<u64>,
}

impl Question {
    /// Whether it is short enough to be sent, and shown to a person.
    #[must_use]
    pub fn is_short(&self) -> bool {
        // The longest that a byte becomes as JSON is six, and a line takes three more.
        let bytes = self.lines.iter().chain([&self.prompt]);
        let bytes: usize = bytes
            .map(|line| line.len().saturating_mul(6).saturating_add(3))
            .sum();
        self.lines.len() <= MOST_LINES && bytes <= MOST_FROM_AGENT - 1024
    }

    /// What an answer has to name: the SHA-256 of all that was to be seen.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for line in self.lines.iter().chain([&self.prompt]) {
            hash.update((line.len() as u64).to_le_bytes());
            hash.update(line.as_bytes());
        }
        hash.update([u8::from(self.count.is_some())]);
        hash.update(self.count.unwrap_or_default().to_le_bytes());
        hex(&hash.finalize())
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was typed, about what was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`Question::digest`] of what the person saw.
    pub digest: String,
    /// What was typed.
    pub typed: String,
}

/// Asks who uses files of storage that several machines see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerQuery {
    /// Tells the machine that asks from others; empty where it cannot be told.
    pub machine: String,
    /// The files, by the names that are the same everywhere: `nas:/export/a.qcow2`.
    pub files: Vec<OsString>,
}

/// What a machine says of them, or why it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAnswer {
    /// The machine.
    pub host: String,
    /// What it says.
    pub told: Result<PeerFacts, String>,
}

/// Who uses files on a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerFacts {
    /// Whether it is the machine that asked, by another name.
    pub is_asker: bool,
    /// Those of the files that it sees.
    pub files: Vec<PeerFile>,
    /// What could not be looked at there, each as a sentence.
    pub complaints: Vec<String>,
}

/// Who uses one file there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerFile {
    /// The file, as it was asked for.
    pub name: OsString,
    /// Processes that have it open.
    pub holders: Vec<Holder>,
    /// Machines that have it as a disk.
    pub machines: Vec<PeerMachine>,
    /// Images that read it.
    pub readers: Vec<PeerReader>,
}

/// A machine that has a file as its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMachine {
    /// What it is called.
    pub name: String,
    /// Whose it is: libvirt's.
    pub product: String,
    /// Whether it runs.
    pub runs: bool,
    /// Whether its memory is kept, which fits its disks as they are.
    pub is_saved: bool,
    /// Whether it writes the file, and does not only read it below another one.
    pub writes: bool,
}

/// An image that reads a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReader {
    /// Its path there.
    pub path: OsString,
    /// Its name on the storage that is shared; none where nobody else sees it.
    pub name: Option<OsString>,
}

/// How far a plan is that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The phase.
    pub phase: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 where that is not known.
    pub total: u64,
    /// What else there is to say, as the rate.
    pub text: String,
}

/// What travels as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    Hello(Hello),
    Said { run: u32, said: Said },
    Ended { run: u32, code: u8 },
    Denied { run: u32, why: String },
    Pong,
}

impl ToAgent {
    /// Writes it.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Input { run, bytes } => write_parts(to, INPUT, &[bytes, &run.to_le_bytes()]),
            Self::Passphrase { run, answer } => answer.write(&run.to_le_bytes(), to),
            other => write_message(to, other),
        }
    }

    /// Reads the next; none where the other side ended.
    ///
    /// # Errors
    /// The reader's own; `InvalidData` for what is no message.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some((kind, body)) = read_frame(from, MOST_BYTES)? else {
            return Ok(None);
        };
        match kind {
            SECRET => {
                let body = Zeroizing::new(body);
                let Some((run, answer)) = body.split_first_chunk::<RUN_HEAD>() else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                let run = u32::from_le_bytes(*run);
                let answer = PassphraseAnswer::read(answer)?;
                Ok(Some(Self::Passphrase { run, answer }))
            }
            INPUT => {
                let (bytes, run) = without_tail::<INPUT_TAIL>(body)?;
                let run = u32::from_le_bytes(run);
                Ok(Some(Self::Input { run, bytes }))
            }
            _ => decoded(kind, &body).map(Some),
        }
    }
}

impl FromAgent {
    /// Writes it.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(self, to: &mut impl Write) -> io::Result<()> {
        let told = match self {
            Self::Output { run, stream, bytes } => {
                let stream = match stream {
                    Stream::Out => 1,
                    Stream::Err => 2,
                };
                return write_parts(to, OUTPUT, &[&bytes, &run.to_le_bytes(), &[stream]]);
            }
            Self::Hello(hello) => Told::Hello(hello),
            Self::Said { run, said } => Told::Said { run, said },
            Self::Ended { run, code } => Told::Ended { run, code },
            Self::Denied { run, why } => Told::Denied { run, why },
            Self::Pong => Told::Pong,
        };
        write_message(to, &told)
    }

    /// Reads the next; none where the other side ended.
    ///
    /// # Errors
    /// The reader's own; `InvalidData` for what is no message.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some((kind, body)) = read_frame(from, MOST_FROM_AGENT)? else {
            return Ok(None);
        };
        if kind == OUTPUT {
            return output(body).map(Some);
        }
        Ok(Some(match decoded(kind, &body)? {
            Told::Hello(hello) => Self::Hello(hello),
            Told::Said { run, said } => Self::Said { run, said },
            Told::Ended { run, code } => Self::Ended { run, code },
            Told::Denied { run, why } => Self::Denied { run, why },
            Told::Pong => Self::Pong,
        }))
    }
}

fn output(body: Vec<u8>) -> io::Result<FromAgent> {
    let (bytes, [a, b, c, d, stream]) = without_tail::<OUTPUT_TAIL>(body)?;
    let stream = match stream {
        1 => Stream::Out,
        2 => Stream::Err,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    let run = u32::from_le_bytes([a, b, c, d]);
    Ok(FromAgent::Output { run, stream, bytes })
}

/// What stands before the last `N` bytes, and these.
fn without_tail<const N: usize>(mut body: Vec<u8>) -> io::Result<(Vec<u8>, [u8; N])> {
    let tail = body.split_last_chunk().map(|(_, tail)| *tail);
    let tail = tail.ok_or(io::ErrorKind::InvalidData)?;
    body.truncate(body.len().saturating_sub(N));
    Ok((body, tail))
}

/// Writes a message as a frame.
///
/// # Errors
/// The writer's own.
pub(super) fn write_message(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    write_frame(to, MESSAGE, &serde_json::to_vec(message)?)
}

/// Reads a frame as a message.
///
/// # Errors
/// The reader's own; `InvalidData` for what is no message.
pub(super) fn read_message<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let frame = read_frame(from, MOST_BYTES)?;
    frame.map(|(kind, body)| decoded(kind, &body)).transpose()
}

pub(super) fn decoded<T: DeserializeOwned>(kind: u8, body: &[u8]) -> io::Result<T> {
    let no_message = || io::Error::from(io::ErrorKind::InvalidData);
    if kind != MESSAGE {
        return Err(no_message());
    }
    // It knows a limit for how deep values nest.
    serde_json::from_slice(body).map_err(|_| no_message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::super::passphrase::PassphraseOf;
    use crate::image::Passphrase;

    #[test]
    fn every_message_reads_back_as_it_was() {
        let odd = OsStr::from_bytes(b"a\xff\n").to_owned();
        let run = Run {
            id: 7,
            words: vec!["info".into(), odd.clone()],
            columns: 80,
            asks: true,
            asks_always: true,
            marks: false,
            reach: String::new(),
            host: "web".to_owned(),
        };
        let answer = Answer {
            digest: "d".to_owned(),
            typed: "y".to_owned(),
        };
        let facts = PeerFacts {
            is_asker: false,
            files: vec![PeerFile {
                name: odd.clone(),
                holders: vec![Holder::unseen(true)],
                machines: Vec::new(),
                readers: vec![PeerReader {
                    path: odd.clone(),
                    name: None,
                }],
            }],
            complaints: Vec::new(),
        };
        let to = [
            ToAgent::Hello { protocol: PROTOCOL },
            ToAgent::Run(run),
            ToAgent::Answer { run: 7, answer },
            ToAgent::Cancel { run: 7 },
            ToAgent::Peers {
                run: 7,
                answers: vec![
                    PeerAnswer {
                        host: "db".to_owned(),
                        told: Ok(facts),
                    },
                    PeerAnswer {
                        host: "away".to_owned(),
                        told: Err("no".to_owned()),
                    },
                ],
            },
            ToAgent::Input {
                run: 7,
                bytes: vec![1, 0, 255],
            },
            ToAgent::Passphrase {
                run: 7,
                answer: PassphraseAnswer {
                    number: 2,
                    passphrase: Some(Passphrase::new(b"open\xff".to_vec())),
                },
            },
            ToAgent::Ping,
        ];
        let mut bytes = Vec::new();
        to.iter()
            .for_each(|message| message.write(&mut bytes).unwrap());
        let mut from = bytes.as_slice();
        for message in to {
            assert_eq!(ToAgent::read(&mut from).unwrap(), Some(message));
        }
        assert_eq!(ToAgent::read(&mut from).unwrap(), None);
        let odd_image = odd.clone();
        let hello = Hello {
            version: "1".to_owned(),
            read_only: true,
            restricted_to: Some(odd),
        };
        let question = Question {
            lines: vec!["commit".to_owned()],
            prompt: "Go on?".to_owned(),
            count: Some(2),
        };
        let back = [
            FromAgent::Hello(hello),
            FromAgent::Output {
                run: 7,
                stream: Stream::Err,
                bytes: vec![0, 255],
            },
            FromAgent::Said {
                run: 7,
                said: Said::Question(question),
            },
            FromAgent::Said {
                run: 7,
                said: Said::Peers(PeerQuery {
                    machine: "m".to_owned(),
                    files: vec!["nas:/a".into()],
                }),
            },
            FromAgent::Said {
                run: 7,
                said: Said::Plan("{}".to_owned()),
            },
            FromAgent::Said {
                run: 7,
                said: Said::Passphrase(PassphraseQuery {
                    number: 2,
                    image: odd_image,
                    of: PassphraseOf::Volume("p1".to_owned()),
                }),
            },
            FromAgent::Ended { run: 7, code: 3 },
            FromAgent::Denied {
                run: 7,
                why: "no".to_owned(),
            },
            FromAgent::Pong,
        ];
        let mut bytes = Vec::new();
        for message in back.clone() {
            message.write(&mut bytes).unwrap();
        }
        let mut from = bytes.as_slice();
        for message in back {
            assert_eq!(FromAgent::read(&mut from).unwrap(), Some(message));
        }
    }

    #[test]
    fn a_digest_tells_every_other_plan_and_question() {
        let counted = |lines: &[&str], prompt: &str, count| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            let prompt = prompt.to_owned();
            Question {
                lines,
                prompt,
                count,
            }
            .digest()
        };
        let question = |lines: &[&str], prompt: &str| counted(lines, prompt, None);
        let one = question(&["ab", "c"], "p");
        assert_eq!(one.len(), 64);
        for other in [
            question(&["a", "bc"], "p"),
            question(&["abc"], "p"),
            question(&["ab", "c"], "q"),
            question(&["ab"], "cp"),
            counted(&["ab", "c"], "p", Some(0)),
            counted(&["ab", "c"], "p", Some(1)),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_is_no_message_is_an_error_and_no_panic() {
        for (kind, body) in [
            (1, b"{".as_slice()),
            (1, b"[[[[[[[["),
            (1, b"{\"ended\":{\"run\":-1,\"code\":1}}"),
            (1, b"{\"ended\":{\"run\":1,\"code\":256}}"),
            (2, b"\0\0\0\0"),
            (2, b"abc\0\0\0\0\x03"),
            (3, b"{}"),
        ] {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, kind, body).unwrap();
            let error = FromAgent::read(&mut bytes.as_slice()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{kind} {body:?}");
        }
        let mut deep = Vec::new();
        write_frame(&mut deep, 1, &vec![b'['; 1 << 20]).unwrap();
        assert!(ToAgent::read(&mut deep.as_slice()).is_err());
    }
}
