//! One `virsh` as a process, fed by its standard input and asked as often as there is something to ask: a process
//! for each question would take fifty times as long. It starts no service, and where it only has to read
//! (`--readonly`) no right to change machines is needed.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::host::printable;

use super::places::Places;

/// What all answers together may take.
const MAX_BYTES: usize = 64 << 20;
/// How many characters of a command are echoed in one line.
const LINE: &str = "65536";
/// What a line begins with that tells of a failure.
const ERROR: &str = "error: ";

/// What a command printed, or why it failed.
pub(super) type Answer = Result<String, String>;

/// What it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Tell of machines.
    Read,
    /// Change definitions, and tell what is secret in them.
    Define,
}

/// Where `virsh` is, and what starts it away from the terminal.
#[derive(Debug, Clone)]
pub(super) struct Program {
    virsh: PathBuf,
    setsid: Option<PathBuf>,
}

impl Program {
    /// The one that these places have.
    pub(super) fn at(places: &Places) -> Option<Self> {
        Some(Self {
            virsh: places.program("virsh")?,
            setsid: places.program("setsid"),
        })
    }

    /// Where it may change something, it asks for the right to with an agent of its own (`pkttyagent`), if it has a
    /// terminal: on a screen that somebody else draws. In a session of its own it has none.
    fn command(&self, rights: Rights) -> Command {
        let mut command = match (rights, &self.setsid) {
            (Rights::Define, Some(setsid)) => {
                let mut command = Command::new(setsid);
                command.arg(&self.virsh);
                command
            }
            _ => Command::new(&self.virsh),
        };
        command.arg("--quiet");
        if rights == Rights::Read {
            command.arg("--readonly");
        }
        command
    }
}

/// A conversation with `virsh`. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Virsh {
    child: Child,
    questions: Sender<String>,
    answers: Receiver<Vec<u8>>,
    heard: Vec<u8>,
    deadline: Instant,
    patience: Duration,
    /// No text of libvirt's holds it.
    mark: String,
    /// Commands sent so far.
    sent: usize,
}

impl Virsh {
    /// Starts it for a connection.
    ///
    /// # Errors
    /// Why it cannot be started, as the rest of a sentence.
    pub(super) fn start(
        program: &Program,
        uri: &str,
        rights: Rights,
        patience: Duration,
    ) -> Result<Self, String> {
        let mut command = program.command(rights);
        let called = printable(command.get_program());
        let unable = |error| format!("{called} cannot be run: {error}");
        // Both outputs are one, so that an error stands where the answer would; `virsh` keeps them in order.
        let (mut output, into) = io::pipe().map_err(unable)?;
        let complaints = into.try_clone().map_err(unable)?;
        let mut child = command
            .args(["--connect", uri])
            .env("LC_ALL", "C")
            .env("LIBVIRT_AUTOSTART", "0")
            .env("TERM", "dumb")
            // A build with readline echoes what it reads, and breaks what is longer than a line of the terminal.
            .env("COLUMNS", LINE)
            .env_remove("VIRSH_DEBUG")
            .stdin(Stdio::piped())
            .stdout(into)
            .stderr(complaints)
            .spawn()
            .map_err(unable)?;
        // It holds the ends of the pipe, and an answer has an end only where nobody else does.
        drop(command);
        let (questions, to_write) = unbounded::<String>();
        let (heard, answers) = unbounded();
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing shall not hold up whoever asks.
            thread::spawn(move || {
                while let Ok(text) = to_write.recv() {
                    if stdin.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
        thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(read @ 1..) = output.read(&mut piece) {
                let bytes = piece.get(..read).unwrap_or_default().to_vec();
                if heard.send(bytes).is_err() {
                    return;
                }
            }
        });
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = nanos.unwrap_or_default().as_nanos();
        Ok(Self {
            mark: format!("qanopy-{}-{nanos}-", std::process::id()),
            child,
            questions,
            answers,
            heard: Vec::new(),
            deadline: Instant::now() + patience,
            patience,
            sent: 0,
        })
    }

    /// Gives it the time of one answer again.
    pub(super) fn renew(&mut self) {
        self.deadline = Instant::now() + self.patience;
    }

    /// Has it carry out these commands; gives what each printed, or why it failed, as the rest of a sentence.
    ///
    /// # Errors
    /// Why there are no answers, as the rest of a sentence.
    pub(super) fn ask(&mut self, commands: &[String]) -> Result<Vec<Answer>, String> {
        let first = self.sent;
        let mut text = String::new();
        for command in commands {
            text.push_str(&format!("{command}\n{}\n", self.echo(self.sent)));
            self.sent += 1;
        }
        // One that has ended is found out below.
        let _ = self.questions.send(text);
        let mut answers = Vec::new();
        for (number, command) in (first..self.sent).zip(commands) {
            let answer = self.until(&format!("{}{number}.", self.mark))?;
            let told = self.told(&answer, command, number);
            answers.push(match told.lines().any(|line| line.starts_with(ERROR)) {
                true => Err(last_line(&told)),
                false => Ok(told),
            });
        }
        Ok(answers)
    }

    /// Has it carry out this command; gives what it printed.
    ///
    /// # Errors
    /// Why there is no answer, or why it failed, as the rest of a sentence.
    pub(super) fn ask_one(&mut self, command: &str) -> Result<String, String> {
        let answers = self.ask(&[command.to_owned()])?;
        answers.into_iter().collect()
    }

    /// The command that prints a mark. It is no mark itself: where the input is echoed, that is none.
    fn echo(&self, number: usize) -> String {
        format!("echo {}'{number}'.", self.mark)
    }

    /// What it prints up to a mark.
    fn until(&mut self, mark: &str) -> Result<String, String> {
        let mut looked = 0;
        loop {
            if let Some(at) = find(&self.heard, mark.as_bytes(), looked) {
                let rest = self.heard.split_off(at + mark.len());
                self.heard.truncate(at);
                let answer = String::from_utf8_lossy(&self.heard).into_owned();
                self.heard = rest;
                return Ok(answer);
            }
            looked = self.heard.len().saturating_sub(mark.len());
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(bytes) => self.heard.extend(bytes),
                Err(RecvTimeoutError::Timeout) => {
                    let patience = self.patience.as_secs_f32();
                    return Err(format!("virsh did not answer within {patience} seconds"));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.last_words()),
            }
            if self.heard.len() > MAX_BYTES {
                return Err("virsh answered more than is read".to_owned());
            }
        }
    }

    /// Why it has ended, in its own words.
    fn last_words(&self) -> String {
        match last_line(&String::from_utf8_lossy(&self.heard)) {
            line if line.is_empty() => "virsh ended without a word".to_owned(),
            line => line,
        }
    }

    /// An answer without prompts, and without the echo of what was asked.
    fn told(&self, answer: &str, command: &str, number: usize) -> String {
        let (echo, before) = (self.echo(number), number.checked_sub(1));
        let before = before.map(|number| self.echo(number));
        let mut told = String::new();
        for whole in answer.lines() {
            let line = without_prompts(whole);
            let is_prompt = line.is_empty() && !whole.is_empty();
            if !is_prompt && line != command && line != echo && Some(line) != before.as_deref() {
                told.push_str(line);
                told.push('\n');
            }
        }
        told
    }
}

/// The last line of a text, which says most where one failed.
fn last_line(text: &str) -> String {
    let lines = text.lines().map(|line| without_prompts(line).trim());
    let last = lines.rev().find(|line| !line.is_empty());
    printable(last.unwrap_or_default().trim_start_matches(ERROR))
}

fn without_prompts(mut line: &str) -> &str {
    for prompt in ["virsh > ", "virsh # "].into_iter().cycle().take(4) {
        line = line.strip_prefix(prompt).unwrap_or(line);
    }
    line
}

fn find(text: &[u8], part: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let at = rest.windows(part.len()).position(|window| window == part)?;
    Some(from + at)
}

/// Killed rather than told to leave: on its way out it would write the commands into the person's history.
impl Drop for Virsh {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A word of `virsh`, which reads quotes as a shell does. None where a line cannot hold it.
pub(super) fn word(text: &str) -> Option<String> {
    let has_lines = text.chars().any(|c| c.is_control());
    (!has_lines).then(|| format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// A program that stands for `virsh`.
    fn program(dir: &Path, script: &str) -> std::path::PathBuf {
        let path = dir.join("virsh");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn start(script: &str, patience: Duration) -> (tempfile::TempDir, Virsh) {
        let dir = tempfile::tempdir().unwrap();
        let program = Program {
            virsh: program(dir.path(), script),
            setsid: None,
        };
        let virsh = Virsh::start(&program, "qemu:///system", Rights::Read, patience).unwrap();
        (dir, virsh)
    }

    const LONG: Duration = Duration::from_secs(30);

    /// Prints a prompt and its input, as a build with readline does; `echo` leaves its line open.
    const ECHOING: &str = r#"while IFS= read -r line; do
  printf 'virsh > %s\n' "$line"
  case "$line" in
    echo*) eval "set -- $line"; printf '%s' "$2";;
    lines) printf 'one\ntwo\n';;
    *) echo "error: unknown command" >&2;;
  esac
done"#;

    /// Prints a prompt only.
    const MUTE: &str = r#"while printf 'virsh > ' && IFS= read -r line; do
  case "$line" in
    echo*) eval "set -- $line"; printf '%s' "$2";;
    lines) printf 'one\ntwo\n';;
    *) echo "error: unknown command" >&2;;
  esac
done"#;

    #[test]
    fn answers_come_apart_whether_input_is_echoed_or_not() {
        for script in [ECHOING, MUTE] {
            let (_dir, mut virsh) = start(script, LONG);
            let commands = ["lines", "nothing", "lines"].map(str::to_owned);
            let answers = virsh.ask(&commands).unwrap();
            let lines = || Ok("one\ntwo\n".to_owned());
            let why = "unknown command".to_owned();
            assert_eq!(answers, [lines(), Err(why), lines()], "{script}");
            let many: Vec<String> = vec!["lines".to_owned(); 3000];
            assert!(virsh.ask(&many).unwrap().iter().all(|it| *it == lines()));
        }
    }

    #[test]
    fn one_that_ends_is_told_of_by_its_last_words() {
        let script = "echo 'error: failed to connect\nerror: no socket\u{1b}[1m' >&2; exit 1";
        let (_dir, mut virsh) = start(script, LONG);
        let why = virsh.ask(&["list".to_owned()]).unwrap_err();
        assert_eq!(why, "no socket\\u{1b}[1m");
        let (_dir, mut virsh) = start("exit 0", LONG);
        let why = virsh.ask(&["list".to_owned()]).unwrap_err();
        assert_eq!(why, "virsh ended without a word");
    }

    #[test]
    fn one_that_hangs_is_left_when_patience_ends_though_much_was_asked() {
        let begun = Instant::now();
        let (_dir, mut virsh) = start("exec sleep 60", Duration::from_millis(200));
        let much = vec!["x".repeat(1000); 1000];
        let why = virsh.ask(&much).unwrap_err();
        assert_eq!(why, "virsh did not answer within 0.2 seconds");
        drop(virsh);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn one_that_never_stops_talking_is_left() {
        let (_dir, mut virsh) = start("exec yes", LONG);
        let why = virsh.ask(&["list".to_owned()]).unwrap_err();
        assert_eq!(why, "virsh answered more than is read");
    }

    #[test]
    fn words_are_quoted_and_none_has_a_line_of_its_own() {
        assert_eq!(word("a b'; c").unwrap(), r"'a b'\''; c'");
        assert_eq!(word("a\nundefine x"), None);
    }
}
