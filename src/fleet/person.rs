//! What a process that an agent started knows of the person: they are not here, and can be asked all the same. Its
//! standard input is the agent's socket for that.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::host::{keep_out_of_dumps, shell_quoted};
use crate::image::Passphrase;

use super::frame::{MOST_BYTES, read_frame};
use super::message::{
    Answer, INPUT, Moved, PEERS, PeerAnswer, PeerQuery, Question, Run, Said, decoded, write_message,
};
use super::passphrase::{PassphraseAnswer, PassphraseOf, PassphraseQuery, SECRET};

/// Says to a process that an agent started it, and of whom.
const VARIABLE: &str = "QANOPY_FAR";

/// Pieces that wait to be read: more than fit the window of those who keep to it.
const MOST_PIECES: usize = 4096;
/// How long whoever asks other machines may take: longer than these have.
const PEERS_PATIENCE: Duration = Duration::from_secs(60);
/// How often a wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// What they may be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Asks {
    Nothing,
    /// Plans that do more than create the files that they were told to.
    Changes,
    /// All plans.
    All,
}

/// The person at the other end.
#[derive(Debug)]
pub struct Person {
    /// The columns of their terminal, if they have one.
    pub columns: Option<u16>,
    /// What this host is called where they are.
    pub host: String,
    /// Whether they want to be told which lines are about images of shared storage.
    pub marks: bool,
    reach: String,
    asks: Asks,
    to: Mutex<UnixStream>,
    answers: Receiver<Answer>,
    peers: Receiver<Vec<PeerAnswer>>,
    passphrases: Receiver<PassphraseAnswer>,
    /// The number of the last question for a passphrase. Who holds it has asked, and is answered next.
    asked: Mutex<u32>,
    input: Receiver<Vec<u8>>,
}

static PERSON: OnceLock<Option<Person>> = OnceLock::new();

/// The person at the other end; none where whoever asks is at this one.
#[must_use]
pub fn person() -> Option<&'static Person> {
    PERSON.get_or_init(found).as_ref()
}

/// Whether an agent started this process: then the names it was given are this machine's.
#[must_use]
pub fn is_far() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Tells the process that a command starts of the person at the other end.
pub fn begin(command: &mut std::process::Command, run: &Run) {
    let told = Told {
        columns: (run.columns > 0).then_some(run.columns),
        asks: match (run.asks, run.asks_always) {
            (false, _) => Asks::Nothing,
            (true, false) => Asks::Changes,
            (true, true) => Asks::All,
        },
        marks: run.marks,
        reach: run.reach.clone(),
        host: run.host.clone(),
    };
    // What holds text and numbers can be written.
    command.env(VARIABLE, serde_json::to_string(&told).unwrap_or_default());
}

/// What [`begin`] tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    columns: Option<u16>,
    asks: Asks,
    marks: bool,
    reach: String,
    host: String,
}

/// Reads what [`begin`] wrote.
fn read(value: &OsStr) -> Option<Told> {
    serde_json::from_str(value.to_str()?).ok()
}

/// What this machine is called in command lines that the person types; none where they are at it.
#[must_use]
pub fn host_typed() -> Option<&'static str> {
    let person = person().filter(|person| !person.reach.is_empty())?;
    Some(&person.host)
}

/// A command line as the person types it who sees this: at another machine, with what has it run on this one.
#[must_use]
pub fn typed(command: &str) -> String {
    match person().filter(|person| !person.reach.is_empty()) {
        Some(person) => format!("{} {}", person.reach, shell_quoted(command)),
        None => command.to_owned(),
    }
}

fn found() -> Option<Person> {
    let told = read(&std::env::var_os(VARIABLE)?)?;
    let socket = io::stdin().as_fd().try_clone_to_owned().ok()?;
    let socket = UnixStream::from(socket);
    // What inherits the variable alone, some program's child, has nobody to ask.
    socket.local_addr().ok()?;
    let mut from = socket.try_clone().ok()?;
    let (answers_in, answers) = unbounded();
    let (peers_in, peers) = unbounded();
    let (passphrases_in, passphrases) = unbounded();
    let (input_in, input) = unbounded();
    thread::spawn(move || {
        while let Ok(Some((kind, body))) = read_frame(&mut from, MOST_BYTES) {
            if kind == PEERS {
                let Ok(answers) = serde_json::from_slice(&body) else {
                    break;
                };
                let _ = peers_in.send(answers);
            } else if kind == SECRET {
                let body = Zeroizing::new(body);
                let Ok(answer) = PassphraseAnswer::read(&body) else {
                    break;
                };
                let _ = passphrases_in.send(answer);
            } else if kind != INPUT {
                let Ok(answer) = decoded(kind, &body) else {
                    break;
                };
                let _ = answers_in.send(answer);
            } else if input_in.len() < MOST_PIECES {
                let _ = input_in.send(body);
            } else {
                // Whoever brings it does not keep to what was agreed.
                break;
            }
        }
        // The agent is gone, and with it whoever wanted this.
        let _ = kill_process(getpid(), Signal::TERM);
    });
    Some(Person {
        columns: told.columns,
        host: told.host,
        marks: told.marks,
        reach: told.reach,
        asks: told.asks,
        to: Mutex::new(socket),
        answers,
        peers,
        passphrases,
        asked: Mutex::default(),
        input,
    })
}

impl Person {
    /// Whether there is somebody to ask.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.asks != Asks::Nothing
    }

    /// Whether they are asked about each plan, also about one that only creates.
    #[must_use]
    pub fn is_asked_always(&self) -> bool {
        self.asks == Asks::All
    }

    /// Asks, and gives what was typed; none for an answer to anything but this question.
    ///
    /// # Errors
    /// When the person is gone; `Interrupted` when `is_stopped` says so before they answer.
    pub fn ask(
        &self,
        question: Question,
        is_stopped: &dyn Fn() -> bool,
    ) -> io::Result<Option<String>> {
        let digest = question.digest();
        self.say(&Said::Question(question))?;
        let answer = loop {
            if is_stopped() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match self.answers.recv_timeout(TICK) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        Ok((answer.digest == digest).then_some(answer.typed))
    }

    /// Asks for a passphrase; none where there is nobody to ask, or they give none.
    pub fn ask_passphrase(&self, image: &Path, of: PassphraseOf) -> Option<Passphrase> {
        if !self.is_there() {
            return None;
        }
        // Before the first byte of it is in memory.
        keep_out_of_dumps();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = asked.wrapping_add(1);
        let query = PassphraseQuery {
            number: *asked,
            image: image.as_os_str().to_owned(),
            of,
        };
        self.say(&Said::Passphrase(query)).ok()?;
        // Who wants all of it to stop answers as well: with none.
        let mut answers = self.passphrases.iter();
        answers.find(|answer| answer.number == *asked)?.passphrase
    }

    /// Has them ask other machines, and gives what these say: one answer that says why where nothing comes back.
    pub(super) fn ask_peers(&self, query: &PeerQuery) -> Vec<PeerAnswer> {
        let nobody = |why: &str| {
            vec![PeerAnswer {
                host: "the machine that this is asked for from".to_owned(),
                told: Err(why.to_owned()),
            }]
        };
        if self.say(&Said::Peers(query.clone())).is_err() {
            return nobody("it is gone");
        }
        let answers = self.peers.recv_timeout(PEERS_PATIENCE);
        answers.unwrap_or_else(|_| nobody("it says nothing"))
    }

    /// Tells what a plan would do, as it travels; a person who is gone is noticed elsewhere.
    pub fn tell_plan(&self, plan: String) {
        let _ = self.say(&Said::Plan(plan));
    }

    /// Tells how far it is; a person who is gone is noticed elsewhere.
    pub fn tell(&self, moved: Moved) {
        let _ = self.say(&Said::Moved(moved));
    }

    /// Gives bytes to whoever brings some here.
    ///
    /// # Errors
    /// When they are gone.
    pub fn ask_for(&self, bytes: Vec<u8>) -> io::Result<()> {
        self.say(&Said::Asked(bytes))
    }

    /// What is brought here, until `stop` is set: reading fails then with `ConnectionAborted`.
    #[must_use]
    pub fn input<'a>(&'a self, stop: &'a AtomicBool) -> Input<'a> {
        Input {
            person: self,
            stop,
            piece: Vec::new(),
            at: 0,
            is_ended: false,
        }
    }

    fn say(&self, said: &Said) -> io::Result<()> {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        write_message(&mut *to, said)
    }
}

/// Bytes that are brought to this process.
#[derive(Debug)]
pub struct Input<'a> {
    person: &'a Person,
    stop: &'a AtomicBool,
    piece: Vec<u8>,
    at: usize,
    is_ended: bool,
}

impl Input<'_> {
    fn next(&self) -> io::Result<Vec<u8>> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match self.person.input.recv_timeout(TICK) {
                Ok(piece) => return Ok(piece),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.is_ended {
            self.piece = self.next()?;
            self.at = 0;
            self.is_ended = self.piece.is_empty();
            let taken = u32::try_from(self.piece.len()).unwrap_or(u32::MAX);
            self.person.say(&Said::Taken(taken))?;
        }
        let mut rest = self.piece.get(self.at..).unwrap_or_default();
        let read = rest.read(buf)?;
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_the_person_reads_back() {
        let run = Run {
            id: 1,
            words: Vec::new(),
            columns: 0,
            asks: true,
            asks_always: true,
            marks: true,
            reach: "ssh -t web".to_owned(),
            host: "me@web".to_owned(),
        };
        let mut command = std::process::Command::new("true");
        begin(&mut command, &run);
        let (_, value) = command.get_envs().next().unwrap();
        let expected = Told {
            columns: None,
            asks: Asks::All,
            marks: true,
            reach: "ssh -t web".to_owned(),
            host: "me@web".to_owned(),
        };
        assert_eq!(read(value.unwrap()), Some(expected));
        for nonsense in ["", "80", "{}", "80 1 0 web"] {
            assert_eq!(read(OsStr::new(nonsense)), None, "{nonsense}");
        }
    }

    /// Somebody at the other end of this socket.
    fn somebody(socket: UnixStream, asks: Asks) -> Person {
        Person {
            columns: None,
            host: "web".to_owned(),
            marks: false,
            reach: String::new(),
            asks,
            to: Mutex::new(socket),
            answers: unbounded().1,
            peers: unbounded().1,
            passphrases: unbounded().1,
            asked: Mutex::default(),
            input: unbounded().1,
        }
    }

    #[test]
    fn a_passphrase_is_the_one_that_was_asked_for_and_none_where_nobody_is_asked() {
        let (socket, other) = UnixStream::pair().unwrap();
        let (passphrases_in, passphrases) = unbounded();
        let mut person = somebody(socket, Asks::Changes);
        person.passphrases = passphrases;
        let answer = |number, text: Option<&str>| {
            let passphrase = text.map(|text| Passphrase::new(text.into()));
            let answer = PassphraseAnswer { number, passphrase };
            passphrases_in.send(answer).unwrap();
        };
        let asked = |person: &Person| {
            let image = Path::new("/a.qcow2");
            let given = person.ask_passphrase(image, PassphraseOf::Image);
            given.map(|given| String::from_utf8(given.bytes().to_vec()).unwrap())
        };
        // Nobody asked for the first.
        answer(7, Some("of another"));
        answer(1, Some("open"));
        answer(2, None);
        assert_eq!(asked(&person).as_deref(), Some("open"));
        assert_eq!(asked(&person), None);
        person.asks = Asks::Nothing;
        answer(3, Some("open"));
        assert_eq!(asked(&person), None);
        person.asks = Asks::All;
        drop(passphrases_in);
        person.passphrases = unbounded().1;
        assert_eq!(asked(&person), None, "the agent is gone");
        drop(other);
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let (socket, other) = UnixStream::pair().unwrap();
        let (answers_in, answers) = unbounded();
        let mut person = somebody(socket, Asks::Changes);
        person.answers = answers;
        let question = |line: &str| Question {
            lines: vec![line.to_owned()],
            prompt: "Go on?".to_owned(),
            count: None,
        };
        for (shown, typed) in [("one", Some("y".to_owned())), ("another", None)] {
            let digest = question(shown).digest();
            answers_in
                .send(Answer {
                    digest,
                    typed: "y".to_owned(),
                })
                .unwrap();
            let answered = person.ask(question("one"), &|| false);
            assert_eq!(answered.unwrap(), typed);
        }
        let stopped = person.ask(question("one"), &|| true).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        drop(other);
        assert!(person.ask(question("one"), &|| false).is_err());
    }
}
