//! How a host is reached: by ssh and what it knows of the host, unless the configuration says otherwise.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::host::shell_quoted;

use super::bootstrap::Script;

/// A host as it is set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostEntry {
    /// What it is called here.
    pub name: String,
    /// What ssh is given for it, where that is another name.
    pub address: Option<String>,
    /// ssh with options, or what is called as ssh is.
    pub ssh: Vec<String>,
    /// What runs the words behind it there, in place of ssh: `kubectl exec -i POD --`.
    pub run: Vec<String>,
    /// Folders of images there.
    pub dirs: Vec<String>,
    /// Groups it is in.
    pub groups: Vec<String>,
    /// The qanopy that is installed there, in place of the one that is put there.
    pub agent: Option<String>,
}

impl HostEntry {
    /// Whether a name may stand for an agent in a line of the shell there as it is.
    #[must_use]
    pub fn is_agent(name: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-".contains(c);
        !name.is_empty() && !name.starts_with('-') && name.chars().all(plain)
    }
}

/// How one host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// What it is called.
    pub name: String,
    reach: Reach,
    agent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    /// Like ssh: options, the address, one line for the shell there.
    Ssh {
        words: Vec<OsString>,
        address: String,
    },
    /// Words before the words that are run there.
    Command(Vec<OsString>),
    /// This machine.
    Here,
}

impl Destination {
    /// The host of this name, as the entries have it; `ssh` are words that stand for ssh where no entry has others.
    #[must_use]
    pub fn of(host: &str, entries: &[HostEntry], ssh: Option<&OsStr>) -> Self {
        let entry = entries.iter().find(|entry| entry.name == host);
        let words = |list: &[String]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let own = entry.map(|entry| words(&entry.ssh)).unwrap_or_default();
        let reach = match entry.filter(|entry| !entry.run.is_empty()) {
            Some(entry) => Reach::Command(words(&entry.run)),
            None => Reach::Ssh {
                words: match own.is_empty() {
                    false => own,
                    true => ssh.map_or_else(|| vec!["ssh".into()], split),
                },
                address: bare(
                    entry
                        .and_then(|entry| entry.address.as_deref())
                        .unwrap_or(host),
                ),
            },
        };
        Self {
            name: host.to_owned(),
            reach,
            agent: entry.and_then(|entry| entry.agent.clone()),
        }
    }

    /// This machine, by an agent of its own.
    #[must_use]
    pub fn here(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            reach: Reach::Here,
            agent: None,
        }
    }

    /// The program that is started here for it.
    pub(super) fn program(&self) -> String {
        let first = match &self.reach {
            Reach::Ssh { words, .. } | Reach::Command(words) => words.first(),
            Reach::Here => None,
        };
        first.map_or_else(
            || "qanopy".to_owned(),
            |word| word.to_string_lossy().into_owned(),
        )
    }

    /// The words that have a shell there run one more, which is quoted; empty for this machine.
    pub(super) fn typed(&self) -> String {
        let words: Vec<OsString> = match &self.reach {
            Reach::Ssh { words, address } => {
                let own = words.iter().cloned();
                own.chain(["-t".into(), address.into()]).collect()
            }
            Reach::Command(words) => {
                let own = words.iter().cloned();
                own.chain(["sh".into(), "-c".into()]).collect()
            }
            Reach::Here => Vec::new(),
        };
        let words: Vec<String> = words.iter().map(shell_quoted).collect();
        words.join(" ")
    }

    /// The script that starts the agent there.
    pub(super) fn script(&self, own: &str) -> Script {
        match &self.agent {
            Some(agent) => Script::installed(agent),
            None => Script::stored(own),
        }
    }

    /// Whether the agent is the one that is put there.
    pub(super) fn is_stored(&self) -> bool {
        self.agent.is_none() && self.reach != Reach::Here
    }

    /// The words that have the shell there run one line while nobody looks, with nothing asked.
    pub(super) fn unseen(&self, line: &OsStr) -> Vec<OsString> {
        match &self.reach {
            Reach::Ssh { words, address } => {
                let mut all = words.clone();
                all.extend(["-T", "-o", "BatchMode=yes", "--", address].map(OsString::from));
                all.push(by_sh(line));
                all
            }
            Reach::Command(words) => {
                let sh = ["sh".into(), "-c".into(), line.to_owned()];
                words.iter().cloned().chain(sh).collect()
            }
            Reach::Here => vec!["sh".into(), "-c".into(), line.to_owned()],
        }
    }

    /// The words that have the shell there run one line at this terminal; none where what reaches it may have no way to
    /// hand a terminal on.
    pub(super) fn at_terminal(&self, line: &OsStr) -> Option<Vec<OsString>> {
        match &self.reach {
            Reach::Ssh { words, address } => {
                let mut all = words.clone();
                all.extend(["-t", "--", address].map(OsString::from));
                all.push(by_sh(line));
                Some(all)
            }
            Reach::Command(_) => None,
            Reach::Here => Some(self.unseen(line)),
        }
    }

    /// What is started here.
    pub(super) fn command(&self, script: &Script) -> Command {
        let mut command = match &self.reach {
            Reach::Here => {
                let mut command = Command::new("/proc/self/exe");
                command.arg("agent");
                command
            }
            Reach::Ssh { .. } | Reach::Command(_) => begun(&self.unseen(OsStr::new(script.text()))),
        };
        // Ctrl-C is for us: the other side is asked to stop, and tells how that ended.
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A line for a shell there of whatever kind: it hands on another one to a shell that is known.
fn by_sh(line: &OsStr) -> OsString {
    let mut whole = OsString::from("exec sh -c ");
    whole.push(quoted(line));
    whole
}

/// A word as every shell reads it, whatever bytes are in it.
pub(super) fn quoted(word: &OsStr) -> OsString {
    let mut whole = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => whole.extend(b"'\\''"),
            other => whole.push(*other),
        }
    }
    whole.push(b'\'');
    OsString::from_vec(whole)
}

fn begun(words: &[OsString]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or(OsStr::new("ssh"), OsString::as_os_str));
    command.args(words);
    command
}

fn split(line: &OsStr) -> Vec<OsString> {
    let words = line.as_bytes().split(u8::is_ascii_whitespace);
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect()
}

/// An address of numbers without the brackets that keep its colons from being read as the end of a host.
fn bare(address: &str) -> String {
    address.replace(['[', ']'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(host: &str, entries: &[HostEntry], ssh: Option<&str>) -> Vec<String> {
        let destination = Destination::of(host, entries, ssh.map(OsStr::new));
        let command = destination.command(&destination.script("0a"));
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let mut words: Vec<String> = words
            .map(|word| word.to_str().unwrap().to_owned())
            .collect();
        // The script.
        words.pop();
        words
    }

    #[test]
    fn ssh_is_asked_to_ask_nothing_and_never_takes_a_host_for_an_option() {
        let rest = ["-T", "-o", "BatchMode=yes", "--"];
        assert_eq!(
            words("me@[::1]", &[], None),
            [&["ssh"], &rest[..], &["me@::1"]].concat()
        );
        let own = words("web", &[], Some(" my-ssh  -v "));
        assert_eq!(own, [&["my-ssh", "-v"], &rest[..], &["web"]].concat());
    }

    #[test]
    fn an_entry_says_how_its_host_is_reached() {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let by_port = HostEntry {
            name: "web".to_owned(),
            address: Some("root@10.0.0.1".to_owned()),
            ssh: text(&["ssh", "-p", "2222"]),
            ..HostEntry::default()
        };
        let pod = HostEntry {
            name: "pod".to_owned(),
            run: text(&["kubectl", "exec", "-i", "p", "--"]),
            ..HostEntry::default()
        };
        let entries = [by_port, pod];
        let typed = |host: &str| Destination::of(host, &entries, None).typed();
        assert_eq!(typed("web"), "ssh -p 2222 -t root@10.0.0.1");
        assert_eq!(typed("pod"), "kubectl exec -i p -- sh -c");
        assert_eq!(Destination::here("x").typed(), "");
        let expected = [
            "ssh",
            "-p",
            "2222",
            "-T",
            "-o",
            "BatchMode=yes",
            "--",
            "root@10.0.0.1",
        ];
        assert_eq!(words("web", &entries, Some("other")), expected);
        assert_eq!(
            words("pod", &entries, None),
            ["kubectl", "exec", "-i", "p", "--", "sh", "-c"]
        );
    }

    #[test]
    fn the_name_of_an_agent_is_plain() {
        for name in ["qanopy", "/opt/q/qanopy-1.0", "~/bin/qanopy"] {
            assert!(HostEntry::is_agent(name), "{name}");
        }
        for name in ["", "-c", "a b", "$(x)", "a;b", "a'b"] {
            assert!(!HostEntry::is_agent(name), "{name}");
        }
    }
}
