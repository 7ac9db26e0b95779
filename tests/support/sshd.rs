//! A server of OpenSSH on this machine.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What it is called where its key is noted.
const ALIAS: &str = "tested";

/// A server of OpenSSH on this machine, for one key. Dropping it ends it.
pub struct Server {
    child: std::process::Child,
    /// The words that reach it.
    pub ssh: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One whose keys and lists lie in this folder: `user` is let in by the file `authorized`. None where there is no sshd.
pub fn server(dir: &Path) -> Option<Server> {
    server_at(dir, "127.0.0.1", &[])
}

/// The same, which listens at this address and has these options besides.
pub fn server_at(dir: &Path, address: &str, options: &[String]) -> Option<Server> {
    let sshd = Path::new("/usr/sbin/sshd");
    if !sshd.exists() || !nix::unistd::geteuid().is_root() {
        let required = std::env::var_os("QANOPY_REQUIRE_QEMU").is_some();
        assert!(!required || sshd.exists(), "openssh-server is missing");
        let _ = io::stderr().write_all(b"SKIPPED (no sshd, not root?): images over a real ssh\n");
        return None;
    }
    for name in ["host", "user"] {
        let key = dir.join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
    }
    fs::copy(dir.join("user.pub"), dir.join("authorized")).unwrap();
    fs::create_dir_all("/run/sshd").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at = |name: &str| dir.join(name).display().to_string();
    let child = Command::new(sshd)
        .args([
            "-D",
            "-e",
            "-f",
            "/dev/null",
            "-h",
            &at("host"),
            "-p",
            &port.to_string(),
        ])
        .args(["-o", &format!("ListenAddress={address}")])
        .args(["-o", "StrictModes=no", "-o", "PidFile=none"])
        .args(options.iter().flat_map(|option| ["-o", option]))
        .args(["-o", "UsePAM=no", "-o", "PermitRootLogin=yes"])
        .args(["-o", &format!("AuthorizedKeysFile={}", at("authorized"))])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let key = fs::read_to_string(dir.join("host.pub")).unwrap();
    // By whatever address it is reached.
    let known = format!("{ALIAS} {key}");
    fs::write(dir.join("known"), known).unwrap();
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "sshd does not listen"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let ssh = format!(
        "ssh -F none -p {port} -i {} -o UserKnownHostsFile={} -o HostKeyAlias={ALIAS} -o IdentitiesOnly=yes",
        at("user"),
        at("known")
    );
    Some(Server { child, ssh })
}
