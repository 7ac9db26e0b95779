//! The other side: starts what it is asked to run, hands on what that prints and asks, and ends when nobody listens any
//! more. Which command lines are run is said by whoever starts it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::bootstrap::MARK;
use super::frame::{widen, write_frame};
use super::message::{
    FromAgent, Hello, INPUT, PEERS, PROTOCOL, Run, Said, Stream, ToAgent, read_message,
    write_message,
};

/// What may run at the same time; more are denied.
const MOST_RUNS: usize = 16;
/// What is read of a process at a time: what its pipe holds when it prints much.
const PIECE: usize = 256 << 10;
/// What a pipe usually holds.
const USUAL: usize = 64 << 10;

/// What an agent was told when it was started.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Whatever changes something is refused.
    pub read_only: bool,
    /// Nothing outside this folder may be named.
    pub restricted_to: Option<OsString>,
}

/// An agent's first line: what follows are frames.
#[must_use]
pub fn greeting() -> String {
    format!("{MARK}agent {PROTOCOL} {}\n", env!("CARGO_PKG_VERSION"))
}

/// What a command line becomes, or why it is not run.
pub(super) type Starts<'a> = dyn Fn(&Run) -> Result<Command, String> + 'a;

/// What the threads of an agent write to.
type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// A process that runs.
struct Running {
    child: Mutex<Child>,
    /// Joined with its standard input: answers go there, questions come from there.
    ask: UnixStream,
    /// A second signal would end it at once, whatever it is at.
    is_cancelled: AtomicBool,
}

impl Running {
    /// Asks it to stop, once, as Ctrl-C does, by the signal that no shell has its programs ignore.
    fn cancel(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Its number is its own as long as it is not waited for, which takes this lock. What it started itself is in
        // its group, as in a terminal's.
        if matches!(child.try_wait(), Ok(None)) && !self.is_cancelled.swap(true, Ordering::Relaxed)
        {
            let _ = kill_process_group(Pid::from_child(&child), Signal::TERM);
        }
    }

    /// Waits for its end. It may be cancelled all the while: the lock is taken only once it ended.
    fn wait(&self) -> Option<ExitStatus> {
        let lock = || self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = Pid::from_child(&lock());
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), ended) {}
        lock().wait().ok()
    }
}

/// Serves until the input ends; what runs then is asked to stop, and waited for.
///
/// # Errors
/// When the other side speaks another protocol, or cannot be written to.
pub fn serve(
    mut input: impl Read,
    mut output: impl Write + Send + 'static,
    rules: &Rules,
    starts: &Starts<'_>,
) -> io::Result<()> {
    output.write_all(greeting().as_bytes())?;
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        read_only: rules.read_only,
        restricted_to: rules.restricted_to.clone(),
    };
    FromAgent::Hello(hello).write(&mut output)?;
    match ToAgent::read(&mut input)? {
        Some(ToAgent::Hello { protocol: PROTOCOL }) => {}
        Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        None => return Ok(()),
    }
    let mut agent = Agent {
        output: Arc::new(Mutex::new(Box::new(output))),
        runs: HashMap::new(),
        threads: Vec::new(),
    };
    let ended = agent.listen(&mut input, starts);
    agent.leave();
    ended
}

struct Agent {
    output: Writer,
    runs: HashMap<u32, Arc<Running>>,
    threads: Vec<(u32, thread::JoinHandle<()>)>,
}

impl Agent {
    fn listen(&mut self, input: &mut impl Read, starts: &Starts<'_>) -> io::Result<()> {
        while let Some(message) = ToAgent::read(input)? {
            self.forget_ended();
            match message {
                ToAgent::Hello { .. } => return Err(io::ErrorKind::InvalidData.into()),
                ToAgent::Ping => send(&self.output, FromAgent::Pong),
                ToAgent::Run(run) => {
                    let id = run.id;
                    if let Err(why) = self.start(&run, starts) {
                        send(&self.output, FromAgent::Denied { run: id, why });
                    }
                }
                ToAgent::Answer { run, answer } => {
                    if let Some(running) = self.runs.get(&run) {
                        // What has ended needs no answer.
                        let _ = write_message(&mut &running.ask, &answer);
                    }
                }
                ToAgent::Input { run, bytes } => {
                    if let Some(running) = self.runs.get(&run) {
                        // It reads all that comes at once, and what has ended needs none.
                        let _ = write_frame(&mut &running.ask, INPUT, &bytes);
                    }
                }
                ToAgent::Peers { run, answers } => {
                    if let Some(running) = self.runs.get(&run) {
                        let body = serde_json::to_vec(&answers)?;
                        // What has ended asks nobody.
                        let _ = write_frame(&mut &running.ask, PEERS, &body);
                    }
                }
                ToAgent::Passphrase { run, answer } => {
                    if let Some(running) = self.runs.get(&run) {
                        // What has ended opens nothing any more.
                        let _ = answer.write(&[], &mut &running.ask);
                    }
                }
                ToAgent::Cancel { run } => {
                    if let Some(running) = self.runs.get(&run) {
                        running.cancel();
                    }
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, run: &Run, starts: &Starts<'_>) -> Result<(), String> {
        if self.runs.contains_key(&run.id) {
            return Err("a run of that number is there already".to_owned());
        }
        if self.runs.len() >= MOST_RUNS {
            return Err(format!("{MOST_RUNS} command lines run already"));
        }
        let mut command = starts(run)?;
        let failed = |error: io::Error| format!("it cannot be started: {error}");
        let (ask, theirs) = UnixStream::pair().map_err(failed)?;
        command
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        // Its own copy of the socket's other end goes with it.
        drop(command);
        let out = child.stdout.take();
        let err = child.stderr.take();
        let running = Arc::new(Running {
            child: Mutex::new(child),
            ask,
            is_cancelled: AtomicBool::new(false),
        });
        self.runs.insert(run.id, running.clone());
        let (id, output) = (run.id, self.output.clone());
        let thread = thread::spawn(move || follow(id, &running, out, err, &output));
        self.threads.push((id, thread));
        Ok(())
    }

    fn forget_ended(&mut self) {
        let runs = &mut self.runs;
        self.threads.retain(|(id, thread)| {
            let is_over = thread.is_finished();
            if is_over {
                runs.remove(id);
            }
            !is_over
        });
    }

    /// Asks all that runs to stop, and waits for it: a switch that is under way is finished.
    fn leave(&mut self) {
        self.forget_ended();
        self.runs.values().for_each(|running| running.cancel());
        for (_, thread) in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Hands on what a process prints and asks, until it ends.
fn follow(
    run: u32,
    running: &Running,
    out: Option<impl Read + AsFd + Send>,
    err: Option<impl Read + AsFd + Send>,
    output: &Writer,
) {
    thread::scope(|scope| {
        let asked = scope.spawn(|| questions(run, &running.ask, output));
        let pumps = [
            scope.spawn(move || pump(run, Stream::Out, out, output)),
            scope.spawn(move || pump(run, Stream::Err, err, output)),
        ];
        for pump in pumps {
            let _ = pump.join();
        }
        let status = running.wait();
        let _ = running.ask.shutdown(Shutdown::Both);
        let _ = asked.join();
        let code = status.and_then(|status| {
            // As a shell tells of a signal.
            let by_signal = status.signal().map(|signal| 128 + signal);
            u8::try_from(status.code().or(by_signal)?).ok()
        });
        let code = code.unwrap_or(u8::MAX);
        send(output, FromAgent::Ended { run, code });
    });
}

/// Reads to the end even where nobody listens any more: what prints is not to be stopped by that.
fn pump(run: u32, stream: Stream, from: Option<impl Read + AsFd>, output: &Writer) {
    let Some(mut from) = from else {
        return;
    };
    let mut piece = vec![0; PIECE];
    let mut is_wide = false;
    loop {
        match from.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => {
                if read >= USUAL && !std::mem::replace(&mut is_wide, true) {
                    widen(&from);
                }
                let bytes = piece.get(..read).unwrap_or_default().to_vec();
                send(output, FromAgent::Output { run, stream, bytes });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn questions(run: u32, ask: &UnixStream, output: &Writer) {
    let mut from = ask;
    while let Ok(Some(said)) = read_message::<Said>(&mut from) {
        send(output, FromAgent::Said { run, said });
    }
}

/// A side that went away is noticed where its messages are read.
fn send(output: &Writer, message: FromAgent) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = message.write(&mut *output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    use super::super::message::Answer;

    /// An agent that runs its words by a shell, and what it says.
    struct Served {
        to: UnixStream,
        from: io::BufReader<UnixStream>,
        thread: thread::JoinHandle<io::Result<()>>,
    }

    impl Served {
        fn new() -> Self {
            let (to, input) = UnixStream::pair().unwrap();
            let (from, output) = UnixStream::pair().unwrap();
            let thread = thread::spawn(move || {
                let starts = |run: &Run| {
                    let mut command = Command::new("sh");
                    command.arg("-c").args(&run.words);
                    Ok(command)
                };
                serve(input, output, &Rules::default(), &starts)
            });
            from.set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let mut served = Self {
                to,
                from: io::BufReader::new(from),
                thread,
            };
            let mut line = String::new();
            io::BufRead::read_line(&mut served.from, &mut line).unwrap();
            assert_eq!(line, greeting());
            assert!(matches!(served.next(), FromAgent::Hello(_)));
            served.say(&ToAgent::Hello { protocol: PROTOCOL });
            served
        }

        fn say(&self, message: &ToAgent) {
            message.write(&mut &self.to).unwrap();
        }

        fn next(&mut self) -> FromAgent {
            FromAgent::read(&mut self.from).unwrap().unwrap()
        }

        fn run(&self, id: u32, line: &str) {
            self.say(&ToAgent::Run(Run {
                id,
                ..Run::new(vec![line.into()], "web")
            }));
        }

        /// All that a run prints, and how it ends.
        fn ended(&mut self) -> (String, String, u8) {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            loop {
                match self.next() {
                    FromAgent::Output {
                        stream: Stream::Out,
                        bytes,
                        ..
                    } => out.extend(bytes),
                    FromAgent::Output {
                        stream: Stream::Err,
                        bytes,
                        ..
                    } => err.extend(bytes),
                    FromAgent::Ended { code, .. } => {
                        let text = |bytes| String::from_utf8(bytes).unwrap();
                        return (text(out), text(err), code);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn output_and_exit_code_come_back() {
        let mut agent = Served::new();
        agent.run(1, "echo out; echo err >&2; exit 3");
        let ended = agent.ended();
        assert_eq!(ended, ("out\n".to_owned(), "err\n".to_owned(), 3));
        agent.say(&ToAgent::Ping);
        assert_eq!(agent.next(), FromAgent::Pong);
        agent.run(2, "kill -9 $$");
        assert_eq!(agent.ended().2, 137);
        agent.to.shutdown(Shutdown::Both).unwrap();
        agent.thread.join().unwrap().unwrap();
    }

    #[test]
    fn a_cancel_is_as_ctrl_c_and_so_is_the_end_of_the_connection() {
        let waiting =
            "trap 'echo stopped; exit 130' TERM; echo ready; while :; do sleep 0.05; done";
        let mut agent = Served::new();
        agent.run(1, waiting);
        assert!(matches!(agent.next(), FromAgent::Output { .. }));
        agent.say(&ToAgent::Cancel { run: 1 });
        let (out, _, code) = agent.ended();
        assert_eq!((out.as_str(), code), ("stopped\n", 130));
        agent.run(2, waiting);
        assert!(matches!(agent.next(), FromAgent::Output { .. }));
        let started = Instant::now();
        agent.to.shutdown(Shutdown::Both).unwrap();
        assert_eq!(agent.ended().2, 130);
        agent.thread.join().unwrap().unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_is_cancelled_is_asked_to_stop_once() {
        let counting = "n=0; trap 'n=$((n+1))' TERM; echo ready; \
            i=0; while [ $i -lt 20 ]; do sleep 0.02; i=$((i+1)); done; exit $n";
        let mut agent = Served::new();
        agent.run(1, counting);
        assert!(matches!(agent.next(), FromAgent::Output { .. }));
        agent.say(&ToAgent::Cancel { run: 1 });
        agent.say(&ToAgent::Cancel { run: 1 });
        thread::sleep(Duration::from_millis(100));
        agent.to.shutdown(Shutdown::Both).unwrap();
        assert_eq!(agent.ended().2, 1);
        agent.thread.join().unwrap().unwrap();
    }

    #[test]
    fn what_prints_no_more_can_be_cancelled_and_what_ended_is_not_signalled() {
        let mut agent = Served::new();
        agent.run(1, "echo ready; exec sleep 30 >&- 2>&-");
        assert!(matches!(agent.next(), FromAgent::Output { .. }));
        thread::sleep(Duration::from_millis(100));
        agent.say(&ToAgent::Cancel { run: 1 });
        assert_eq!(agent.ended().2, 143);
        agent.to.shutdown(Shutdown::Both).unwrap();
        agent.thread.join().unwrap().unwrap();
        let child = Command::new("true").process_group(0).spawn().unwrap();
        let running = Running {
            child: Mutex::new(child),
            ask: UnixStream::pair().unwrap().0,
            is_cancelled: AtomicBool::new(false),
        };
        running.wait();
        running.cancel();
        assert!(!running.is_cancelled.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_never_asked_for_is_answered_and_cancelled_without_harm() {
        let mut agent = Served::new();
        agent.say(&ToAgent::Cancel { run: 9 });
        let answer = Answer {
            digest: String::new(),
            typed: String::new(),
        };
        agent.say(&ToAgent::Answer { run: 9, answer });
        agent.run(1, "cat >/dev/null; echo read");
        agent.run(1, "true");
        assert!(matches!(agent.next(), FromAgent::Denied { run: 1, .. }));
        agent.to.shutdown(Shutdown::Both).unwrap();
        agent.thread.join().unwrap().unwrap();
    }

    #[test]
    fn another_protocol_and_nonsense_end_it() {
        for bytes in [b"\xff\xff\xff\xff\x01".as_slice(), b"\x02\0\0\0\x01{}"] {
            let starts = |_: &Run| Err(String::new());
            let ended = serve(bytes, Vec::new(), &Rules::default(), &starts);
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let mut other = Vec::new();
        ToAgent::Hello {
            protocol: PROTOCOL + 1,
        }
        .write(&mut other)
        .unwrap();
        let ended = serve(other.as_slice(), Vec::new(), &Rules::default(), &|_| {
            Err(String::new())
        });
        assert!(ended.is_err());
    }
}
