//! The script that starts the agent on a host. All that a system needs for it is `sh` and a few programs of POSIX.

/// Begins every line that is meant for us: a shell may print a greeting before.
pub(super) const MARK: &str = "QANOPY ";

/// Where the script and the agent are stored: nobody else writes there.
const STORED: &str = concat!(
    // Back as it was before the agent starts: what that makes is for whom its owner says.
    "o=$(umask); umask 077; ",
    "[ -n \"$HOME\" ] || { echo \"QANOPY failed store\"; exit 1; }; ",
    "d=$HOME/.cache/qanopy; a=$d/agent-@OWN@; ",
    "r() { umask \"$o\"; exec \"$a\" agent; }; ",
    "t() { [ -s \"$a\" ] && [ -x \"$a\" ]; }; ",
    "if t; then touch \"$a\" 2>/dev/null; r; fi; ",
    // What is there is told, and which program to start is asked for.
    "echo \"QANOPY need $(uname -s) $(uname -m)\"; ",
    "read -r h s || exit 1; a=$d/agent-$h; ",
    "if t; then r; fi; ",
    "mkdir -p \"$d\" || { echo \"QANOPY failed store\"; exit 1; }; ",
    // What nobody started for a month, and what was never stored to its end.
    "find \"$d\" -name \"agent-*\" -mtime +30 -exec rm -f {} + 2>/dev/null; ",
    "find \"$d\" -name \".new.*\" -mtime +1 -exec rm -f {} + 2>/dev/null; ",
    "n=$(mktemp \"$d/.new.XXXXXX\") || { echo \"QANOPY failed store\"; exit 1; }; ",
    "c() { rm -f \"$n\"; }; trap c EXIT; trap \"exit 1\" HUP INT TERM; ",
    "echo \"QANOPY send\"; ",
    "head -c \"$s\" > \"$n\" && [ \"$(wc -c < \"$n\")\" -eq \"$s\" ] || { echo \"QANOPY failed store\"; exit 1; }; ",
    "if command -v sha256sum >/dev/null 2>&1; then ",
    "case \"$(sha256sum < \"$n\")\" in \"$h\"*) ;; *) echo \"QANOPY failed damaged\"; exit 1;; esac; fi; ",
    "chmod 700 \"$n\"; \"$n\" --version >/dev/null || { echo \"QANOPY failed run\"; exit 1; }; ",
    // Its bytes are there before its name is.
    "sync \"$n\" 2>/dev/null || sync; ",
    "mv -f \"$n\" \"$a\" || { echo \"QANOPY failed store\"; exit 1; }; ",
    "trap - EXIT HUP INT TERM; r",
);

/// A line for a shell.
#[derive(Debug, Clone)]
pub(super) struct Script(String);

impl Script {
    /// Starts the agent of that SHA-256, which is asked for where it is not there.
    pub(super) fn stored(sha256: &str) -> Self {
        Self(STORED.replace("@OWN@", sha256))
    }

    /// Starts what is installed.
    pub(super) fn installed(agent: &str) -> Self {
        Self(format!("exec {agent} agent"))
    }

    /// The line.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// A line that the script, or the agent, prints for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// It is not there; this is the system and the processor.
    Need(String, String),
    /// It waits for the bytes.
    Send,
    /// It could not be stored.
    NotStored,
    /// Other bytes came.
    Damaged,
    /// It cannot be run.
    NotRunnable,
    /// The agent speaks: the protocol and its version. Frames follow.
    Agent(u32, String),
}

impl Line {
    /// Reads a line; none for what others print.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?.trim_end().strip_prefix(MARK)?;
        let words: Vec<&str> = line.split(' ').collect();
        Some(match words.as_slice() {
            ["need", system, machine] => Self::Need((*system).to_owned(), (*machine).to_owned()),
            ["send"] => Self::Send,
            ["failed", "store"] => Self::NotStored,
            ["failed", "damaged"] => Self::Damaged,
            ["failed", "run"] => Self::NotRunnable,
            ["agent", protocol, version] => {
                Self::Agent(protocol.parse().ok()?, (*version).to_owned())
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_that_every_login_shell_hands_on_as_it_is() {
        let script = Script::stored("0a");
        // Quotes end, csh ends a line or looks for what was typed before, fish reads backslashes.
        assert!(
            !script.text().contains(['\'', '\n', '!', '\\']),
            "{}",
            script.text()
        );
        let checked = std::process::Command::new("sh")
            .args(["-n", "-c", script.text()])
            .output();
        assert!(checked.unwrap().status.success());
    }

    #[test]
    fn lines_of_others_are_none_of_ours() {
        let line = |text: &str| Line::read(text.as_bytes());
        assert_eq!(line("Welcome to QANOPY send"), None);
        assert_eq!(line("QANOPY nonsense"), None);
        assert_eq!(line("QANOPY agent x 1"), None);
        assert_eq!(Line::read(b"QANOPY \xff"), None);
        assert_eq!(line("QANOPY send\r\n"), Some(Line::Send));
        let agent = Line::Agent(1, "0.1.0".to_owned());
        assert_eq!(line("QANOPY agent 1 0.1.0"), Some(agent));
        let need = Line::Need("Linux".to_owned(), "aarch64".to_owned());
        assert_eq!(line("QANOPY need Linux aarch64"), Some(need));
    }
}
