//! What is run on a host for the person, with no agent between: a shell in a folder, or a command of their own. The line
//! is one for any shell there, and what is in a name stays in it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::destination::{Destination, quoted};

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The person's shell, in this folder.
    Shell(PathBuf),
    /// A program with its words.
    Command(Vec<OsString>),
}

impl Program {
    /// The words that run it there at this terminal.
    ///
    /// # Errors
    /// Why it gets no terminal there, as a sentence.
    pub fn at_terminal(&self, to: &Destination) -> Result<Vec<OsString>, String> {
        to.at_terminal(&self.line()).ok_or_else(|| {
            format!(
                "{host} is reached by {program}, which is not known to give a terminal: start it yourself with one",
                host = to.name,
                program = to.program(),
            )
        })
    }

    /// The words that run it there unseen; nothing is asked.
    #[must_use]
    pub fn unseen(&self, to: &Destination) -> Vec<OsString> {
        to.unseen(&self.line())
    }

    /// The line of the shell there.
    fn line(&self) -> OsString {
        let mut line = Vec::new();
        match self {
            Self::Shell(dir) => {
                line.extend(b"cd -- ");
                line.extend(quoted(dir.as_os_str()).into_vec());
                line.extend(b" || exit 255; exec \"${SHELL:-sh}\" -l");
            }
            Self::Command(words) => {
                line.extend(b"exec");
                for word in words {
                    line.push(b' ');
                    line.extend(quoted(word).into_vec());
                }
            }
        }
        OsString::from_vec(line)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use super::super::destination::HostEntry;
    use super::*;

    /// Where a shell stands that is called as ssh is: it runs the line that it is given.
    fn here() -> Destination {
        let script = "while [ \"$1\" != -- ]; do shift; done; exec sh -c \"$3\"";
        let entry = HostEntry {
            name: "web".to_owned(),
            ssh: ["sh", "-c", script, "ssh"].map(str::to_owned).to_vec(),
            ..HostEntry::default()
        };
        Destination::of("web", &[entry], None)
    }

    fn printed(words: &[OsString], shell: &str) -> Vec<u8> {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("SHELL", shell);
        command.output().unwrap().stdout
    }

    #[test]
    fn a_name_stays_a_name_whatever_is_in_it() {
        let odd = OsStr::from_bytes(b"a'b \"c\" $(touch /x) `y` \\ \n \xff -z");
        let words = ["printf", "%s|"].map(OsString::from);
        let words = words.into_iter().chain([odd.to_owned(), "-n".into()]);
        let program = Program::Command(words.collect());
        let expected = [odd.as_bytes(), b"|-n|"].concat();
        assert_eq!(printed(&program.unseen(&here()), "sh"), expected);
        let words = program.at_terminal(&here()).unwrap();
        assert_eq!(printed(&words, "sh"), expected);
    }

    #[test]
    fn a_shell_begins_in_its_folder_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().canonicalize().unwrap().join("-a 'b' $HOME");
        std::fs::create_dir(&odd).unwrap();
        let shell = dir.path().join("shell");
        std::fs::write(&shell, "#!/bin/sh\nprintf '%s %s' \"$1\" \"$PWD\"\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&shell, mode).unwrap();
        let shell = shell.to_str().unwrap();
        let words = |dir: PathBuf| Program::Shell(dir).at_terminal(&here()).unwrap();
        let expected = [b"-l ", odd.as_os_str().as_bytes()].concat();
        assert_eq!(printed(&words(odd.clone()), shell), expected);
        let words = words(odd.join("gone"));
        let ended = Command::new(&words[0]).args(&words[1..]).output().unwrap();
        assert_eq!(ended.status.code(), Some(255));
        assert_eq!(ended.stdout, b"");
    }

    #[test]
    fn what_gives_no_terminal_is_said() {
        let pod = HostEntry {
            name: "pod".to_owned(),
            run: ["kubectl", "exec", "p", "--"].map(str::to_owned).to_vec(),
            ..HostEntry::default()
        };
        let to = Destination::of("pod", &[pod], None);
        let program = Program::Command(vec!["ls".into()]);
        let why = program.at_terminal(&to).unwrap_err();
        assert!(why.contains("pod") && why.contains("kubectl"), "{why}");
        let expected = ["kubectl", "exec", "p", "--", "sh", "-c", "exec 'ls'"];
        assert_eq!(program.unseen(&to), expected);
    }
}
