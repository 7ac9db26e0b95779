//! QEMU processes that keep an image open, as a running machine does.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::qemu::Qemu;

/// A process that holds an image; killed when dropped.
#[derive(Debug)]
pub struct Holding {
    child: Child,
    /// Keeps qemu-nbd's socket.
    _dir: tempfile::TempDir,
}

impl Holding {
    /// The process that holds the image.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a process gets to open its image.
const START: Duration = Duration::from_secs(30);

impl Qemu {
    /// qemu-nbd serving a qcow2 image, read-write or not, with all QEMU's locks taken
    /// by the time this returns.
    pub fn hold_with_nbd(&self, image: &Path, mode: HoldMode) -> Holding {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("nbd.sock");
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "-f", "qcow2"]);
        if mode == HoldMode::ReadOnly {
            command.arg("--read-only");
        }
        let child = self.spawn(command.arg("-k").arg(&socket).arg(image));
        let holding = Holding { child, _dir: dir };
        // The socket is there before the image is opened; the greeting comes after.
        holding.wait_until(|| greets(&socket))
    }

    /// qemu-storage-daemon with the image as a block node that nothing uses, as a paused machine
    /// has it.
    pub fn hold_with_storage_daemon(&self, image: &Path, mode: HoldMode) -> Holding {
        let dir = tempfile::tempdir().unwrap();
        let pidfile = dir.path().join("pid");
        let read_only = if mode == HoldMode::ReadOnly {
            "on"
        } else {
            "off"
        };
        let name = image.to_str().unwrap().replace(',', ",,");
        let mut command = Command::new("qemu-storage-daemon");
        command.arg("--blockdev").arg(format!(
            "driver=qcow2,node-name=disk,read-only={read_only},file.driver=file,file.filename={name}"
        ));
        let child = self.spawn(command.arg("--pidfile").arg(&pidfile));
        let holding = Holding { child, _dir: dir };
        // Its options are worked off in order, the pid file last.
        holding.wait_until(|| pidfile.exists())
    }

    /// qemu-io waiting for commands with the image open.
    pub fn hold_with_io(&self, image: &Path, mode: HoldMode) -> Holding {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "qcow2"]);
        if mode == HoldMode::ReadOnly {
            command.arg("-r");
        }
        let mut child = command
            .arg(image)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // An answer to a command shows that the image is open.
        child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"length\n")
            .unwrap();
        let mut line = String::new();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        answers.read_line(&mut line).unwrap();
        assert!(
            !line.is_empty(),
            "qemu-io could not open {}",
            image.display()
        );
        Holding {
            child,
            _dir: tempfile::tempdir().unwrap(),
        }
    }
}

/// Whether an NBD server answers on this socket.
fn greets(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    let mut greeting = [0; 8];
    stream.set_read_timeout(Some(START)).unwrap();
    stream.read_exact(&mut greeting).is_ok() && &greeting == b"NBDMAGIC"
}

/// How the image is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldMode {
    /// As a running machine holds its disk.
    ReadWrite,
    /// As something that only reads.
    ReadOnly,
}

impl Holding {
    fn wait_until(mut self, ready: impl Fn() -> bool) -> Holding {
        let deadline = Instant::now() + START;
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut words = String::new();
                let mut stderr = self.child.stderr.take().unwrap();
                stderr.read_to_string(&mut words).unwrap();
                panic!("the holder ended ({status}): {words}");
            }
            assert!(Instant::now() < deadline, "the holder did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        self
    }
}
