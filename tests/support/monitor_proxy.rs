//! Stands between our program and the monitor of a machine, passes on what is said, and kills one of both at a given
//! command: before the machine hears of it, or when it has done it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a machine takes at most for a command, before it counts as done.
const DOING: Duration = Duration::from_millis(300);

/// Where it is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KillAt {
    /// Nowhere.
    Never,
    /// When our program has sent this command, and nobody has heard it.
    Before(String),
    /// When that command is done.
    After(String),
}

/// What stands between, until it is dropped.
#[derive(Debug)]
pub struct MonitorProxy {
    socket: PathBuf,
    real: PathBuf,
    victim: Arc<AtomicU32>,
    commands: Arc<Mutex<Vec<Value>>>,
}

impl MonitorProxy {
    /// Takes the place of this socket.
    pub fn new(socket: &Path, kill_at: KillAt) -> Self {
        let real = socket.with_extension("real");
        fs::rename(socket, &real).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let proxy = Self {
            socket: socket.to_path_buf(),
            real: real.clone(),
            victim: Arc::default(),
            commands: Arc::default(),
        };
        let (victim, commands) = (Arc::clone(&proxy.victim), Arc::clone(&proxy.commands));
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(server) = UnixStream::connect(&real) else {
                    return;
                };
                pass(&client.unwrap(), &server, &kill_at, &victim, &commands);
            }
        });
        proxy
    }

    /// Says which process is to be killed.
    pub fn watch(&self, pid: u32) {
        self.victim.store(pid, Ordering::SeqCst);
    }

    /// The commands that were given.
    pub fn commands(&self) -> Vec<Value> {
        self.commands.lock().unwrap().clone()
    }
}

impl Drop for MonitorProxy {
    fn drop(&mut self) {
        let _ = fs::rename(&self.real, &self.socket);
    }
}

fn pass(
    client: &UnixStream,
    server: &UnixStream,
    kill_at: &KillAt,
    victim: &AtomicU32,
    commands: &Mutex<Vec<Value>>,
) {
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    let mut to_server = server;
    for line in BufReader::new(client).split(b'\n') {
        let Ok(mut line) = line else { break };
        let value: Value = serde_json::from_slice(&line).unwrap();
        let command = value["execute"].as_str().unwrap().to_owned();
        commands.lock().unwrap().push(value);
        line.push(b'\n');
        if *kill_at == KillAt::Before(command.clone()) {
            kill(victim);
            break;
        }
        if to_server.write_all(&line).is_err() {
            break;
        }
        if *kill_at == KillAt::After(command) {
            sleep(DOING);
            kill(victim);
            break;
        }
    }
    // The next client is let in once this one is gone.
    drop(server.shutdown(std::net::Shutdown::Both));
}

fn kill(victim: &AtomicU32) {
    let until = Instant::now() + Duration::from_secs(20);
    while victim.load(Ordering::SeqCst) == 0 {
        assert!(
            Instant::now() < until,
            "nobody says which process is to be killed"
        );
        sleep(Duration::from_millis(5));
    }
    // Only the first one: what recovers afterwards is another process.
    let pid = i32::try_from(victim.swap(0, Ordering::SeqCst)).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}
