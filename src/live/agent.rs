//! The agent in the guest (`qemu-guest-agent`), which holds its filesystems still while a snapshot is taken. What is
//! frozen has to be thawed on every way out: nobody else does it, and a guest that stays frozen hangs.
//! <https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::printable;

use super::socket::connect;

/// An agent that does not answer so soon is not there: what libvirt waits for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Filesystems take a while to come to rest.
const FREEZING: Duration = Duration::from_secs(20);
/// An answer is never longer.
const MAX_ANSWER: usize = 1 << 20;

/// A conversation with an agent.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    sent: u64,
}

/// Filesystems that are held still until this is dropped.
#[derive(Debug)]
pub struct Frozen {
    agent: Agent,
    /// How many there are.
    pub filesystems: u64,
    is_thawed: bool,
}

impl Agent {
    /// Connects to an agent and finds out whether it is there: the socket is there without one.
    ///
    /// # Errors
    /// The system's; `TimedOut` where nobody answers.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let stream = connect(socket)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut agent = Self { stream, sent: 0 };
        agent.synchronise()?;
        Ok(agent)
    }

    /// What was left of another conversation is read over: an answer that begins after the mark is ours.
    fn synchronise(&mut self) -> io::Result<()> {
        let number = u64::from(std::process::id());
        self.stream.write_all(&[0xff])?;
        let asked = json!({ "execute": "guest-sync-delimited", "arguments": { "id": number } });
        self.send(&asked)?;
        let until = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while heard.pop() != Some(0xff) {
            heard.clear();
            heard.push(self.byte(until)?);
        }
        let answer = self.answer(until)?;
        match answer.get("return").and_then(Value::as_u64) == Some(number) {
            true => Ok(()),
            false => Err(wrong("it answers something else")),
        }
    }

    /// Holds all filesystems still.
    ///
    /// # Errors
    /// The agent's own words; nothing is frozen then.
    pub fn freeze(mut self) -> io::Result<Frozen> {
        match self.execute("guest-fsfreeze-freeze", FREEZING) {
            Ok(count) => Ok(Frozen {
                agent: self,
                filesystems: count.as_u64().unwrap_or(0),
                is_thawed: false,
            }),
            Err(error) => {
                // It may have done half of it, or do it late.
                let _ = self.execute("guest-fsfreeze-thaw", FREEZING);
                Err(error)
            }
        }
    }

    /// Lets all filesystems go on.
    ///
    /// # Errors
    /// The system's, or the agent's own words.
    fn thaw(&mut self) -> io::Result<()> {
        self.execute("guest-fsfreeze-thaw", FREEZING).map(drop)
    }

    fn execute(&mut self, command: &str, patience: Duration) -> io::Result<Value> {
        self.sent += 1;
        self.send(&json!({ "execute": command }))?;
        let mut answer = self.answer(Instant::now() + patience)?;
        let said = |answer: &Value| {
            let text = answer.get("error")?.get("desc")?.as_str()?;
            Some(wrong(&printable(text)))
        };
        match answer.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => Err(said(&answer).unwrap_or_else(|| wrong("it gives no answer"))),
        }
    }

    fn send(&mut self, asked: &Value) -> io::Result<()> {
        self.stream.write_all(format!("{asked}\n").as_bytes())
    }

    fn answer(&mut self, until: Instant) -> io::Result<Value> {
        let mut line = Vec::new();
        loop {
            match self.byte(until)? {
                b'\n' if !line.is_empty() => break,
                b'\n' => {}
                byte => line.push(byte),
            }
            if line.len() > MAX_ANSWER {
                return Err(wrong("its answer has no end"));
            }
        }
        serde_json::from_slice(&line).map_err(|_| wrong("what it says is no JSON"))
    }

    fn byte(&mut self, until: Instant) -> io::Result<u8> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }
}

impl Frozen {
    /// Lets them go on.
    ///
    /// # Errors
    /// The agent's own words: the guest may hang, and whoever asked has to be told.
    pub fn thaw(mut self) -> io::Result<()> {
        self.is_thawed = true;
        self.agent.thaw()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if !self.is_thawed {
            // On a way out that has another error to tell of.
            let _ = self.agent.thaw();
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(format!("the agent in the guest: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;

    type Heard = Arc<Mutex<Vec<String>>>;

    /// An agent that refuses to freeze where it is told so, and notes what it was asked.
    fn agent(refuses: bool) -> (tempfile::TempDir, std::path::PathBuf, Heard) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ga");
        let listener = UnixListener::bind(&path).unwrap();
        let heard = Heard::default();
        let notes = Arc::clone(&heard);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Left of another conversation.
            stream.write_all(b"{\"return\": 1}\n").unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).split(b'\n');
            for line in lines.map_while(Result::ok) {
                let text: Vec<u8> = line.into_iter().filter(|byte| *byte != 0xff).collect();
                let asked: Value = serde_json::from_slice(&text).unwrap();
                let command = asked["execute"].as_str().unwrap().to_owned();
                let answer = match command.as_str() {
                    "guest-sync-delimited" => {
                        stream.write_all(&[0xff]).unwrap();
                        json!({ "return": asked["arguments"]["id"] })
                    }
                    "guest-fsfreeze-freeze" if refuses => {
                        json!({ "error": { "desc": "busy\u{7}" } })
                    }
                    _ => json!({ "return": 2 }),
                };
                notes.lock().unwrap().push(command);
                stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        });
        (dir, path, heard)
    }

    #[test]
    fn what_is_frozen_is_thawed_on_every_way_out() {
        let thaws = |heard: &Heard| {
            let heard = heard.lock().unwrap();
            heard
                .iter()
                .filter(|one| *one == "guest-fsfreeze-thaw")
                .count()
        };
        let (_dir, path, heard) = agent(false);
        let frozen = Agent::connect(&path).unwrap().freeze().unwrap();
        assert_eq!(frozen.filesystems, 2);
        frozen.thaw().unwrap();
        assert_eq!(thaws(&heard), 1);

        let (_dir, path, heard) = agent(false);
        let caught = std::panic::catch_unwind(|| {
            let _frozen = Agent::connect(&path).unwrap().freeze().unwrap();
            std::panic::panic_any("on its way out");
        });
        assert!(caught.is_err());
        assert_eq!(thaws(&heard), 1);

        let (_dir, path, heard) = agent(true);
        let why = Agent::connect(&path).unwrap().freeze().unwrap_err();
        assert_eq!(why.to_string(), "the agent in the guest: busy\\u{7}");
        assert_eq!(thaws(&heard), 1);
    }

    #[test]
    fn a_socket_without_an_agent_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ga");
        let _listener = UnixListener::bind(&path).unwrap();
        let begun = Instant::now();
        let why = Agent::connect(&path).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
