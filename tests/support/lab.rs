//! Machines that are folders: a shell with a home of its own stands in for ssh and the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Called as ssh is: the host is a folder, and the line is run by a shell in it.
const STAND_IN: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
case "$2" in
  away) echo "ssh: connect to host away port 22: Connection refused" >&2; exit 255 ;;
  shut) echo "me@shut: Permission denied (publickey,password)." >&2; exit 255 ;;
  hang) exec sleep 1000 ;;
esac
if [ -e "@HOSTS@/$2.away" ]; then
  echo "ssh: connect to host $2 port 22: No route to host" >&2
  exit 255
fi
echo $$ >> "@HOSTS@/pids"
export HOME="@HOSTS@/$2"
unset XDG_STATE_HOME XDG_CONFIG_HOME
opened=$(( $(cat "@HOSTS@/$2.opened" 2>/dev/null || echo 0) + 1 ))
echo "$opened" > "@HOSTS@/$2.opened"
# A connection that is cut after so many bytes, one way or the other; of several to the host this one alone.
if [ "$CUT_HOST" = "$2" ] && [ "${CUT_NTH:-$opened}" = "$opened" ]; then
  cd "$HOME"
  exec 4<&0
  # Nobody else has the other side's end open.
  case "$CUT_WAY" in
    out) sh -c "$3" <&4 | dd bs=1 count="$CUT_AT" 2>/dev/null & ;;
    in) dd bs=1 count="$CUT_AT" <&4 2>/dev/null | sh -c "$3" & ;;
  esac
  exec >&- 4<&- <&-
  wait
  exit
fi
echo "Welcome to $2"
# One with processes and mounts of its own.
if [ -s "@HOSTS@/$2.pid" ]; then
  exec nsenter -t "$(cat "@HOSTS@/$2.pid")" -m -p -- sh -c 'cd "$HOME" && exec sh -c "$0"' "$3"
fi
cd "$HOME" && exec sh -c "$3"
"#;

/// The folders.
pub struct Hosts {
    dir: tempfile::TempDir,
    qanopy: &'static str,
}

impl Hosts {
    /// Two of them, one and two, with a.qcow2 <- b.qcow2 each, in the group lab; and what a third one, odd, is called.
    pub fn new(qanopy: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = STAND_IN.replace("@HOSTS@", dir.path().to_str().unwrap());
        program(&dir.path().join("ssh"), &text);
        let config = dir.path().join("config/qanopy");
        fs::create_dir_all(&config).unwrap();
        let entry = |name: &str| {
            let groups = "groups = [\"lab\"]\ndirs = [\".\"]";
            format!("[[host]]\nname = \"{name}\"\n{groups}\nagent = \"{qanopy}\"\n")
        };
        let text: String = ["one", "two", "odd"].map(entry).concat();
        fs::write(
            config.join("config.toml"),
            text.replace("odd\"\ngroups = [\"lab\"]", "odd\""),
        )
        .unwrap();
        let hosts = Self { dir, qanopy };
        for name in ["one", "two"] {
            fs::create_dir(hosts.home(name)).unwrap();
            hosts.there(name, "create a.qcow2 8M");
            hosts.there(name, "branch a.qcow2 b.qcow2");
            // An age that is the same in every run.
            let old = std::time::SystemTime::now() - Duration::from_secs(9_000_000);
            for image in ["a.qcow2", "b.qcow2"] {
                let file = fs::File::options()
                    .write(true)
                    .open(hosts.home(name).join(image));
                file.unwrap().set_modified(old).unwrap();
            }
        }
        hosts
    }

    /// Where the folders are.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What stands in for ssh.
    pub fn ssh(&self) -> PathBuf {
        self.dir.path().join("ssh")
    }

    /// Where the configuration is that names them.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Cuts the connection that was opened last.
    pub fn cut(&self) {
        let pids = fs::read_to_string(self.dir.path().join("pids")).unwrap();
        let last = pids.lines().next_back().unwrap();
        let status = Command::new("kill").args(["-9", last]).status().unwrap();
        assert!(status.success());
    }

    /// Cuts every connection that was opened.
    pub fn cut_all(&self) {
        let pids = fs::read_to_string(self.dir.path().join("pids")).unwrap();
        for pid in pids.lines() {
            // Some have ended.
            let _ = Command::new("kill")
                .args(["-9", pid])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Has a host be away, or there again.
    pub fn away(&self, name: &str, is_away: bool) {
        let flag = self.dir.path().join(format!("{name}.away"));
        match is_away {
            true => fs::write(flag, "").unwrap(),
            false => fs::remove_file(flag).unwrap(),
        }
    }

    /// Runs a command line on a host, as somebody there would.
    pub fn there(&self, name: &str, words: &str) -> Output {
        let output = Command::new(self.qanopy)
            .args(words.split(' '))
            .current_dir(self.home(name))
            .env("HOME", self.home(name))
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }
}

/// Writes a program.
pub fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
