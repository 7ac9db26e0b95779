//! Builds images by the real tools, one step at a time, and can print every step as a shell line:
//! a forest that made a test fail is ready to be pasted. What is built is decided elsewhere.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One step, in the directory the script stands in.
#[derive(Debug, Clone)]
pub enum Step {
    /// A command with its arguments.
    Run(Vec<String>),
    /// Overwrites bytes of a file.
    Patch {
        file: String,
        at: u64,
        bytes: Vec<u8>,
    },
    /// Ends the header extensions where the backing format stood: what `create -b` without `-F`
    /// wrote before QEMU 6.1.
    DropBackingFormat(String),
    /// A file of numbers in words, which compresses, but never twice the same: shifted reads show.
    Noise { file: String, from: u64, len: u64 },
    /// The first bytes of one file become another.
    Head { from: String, to: String, len: u64 },
    /// A file of zeros (or of nothing).
    Zeros { file: String, len: u64 },
    /// Sets a file's length.
    Truncate { file: String, len: u64 },
    /// A directory, with its parents.
    MakeDir(String),
    /// A rename.
    Move { from: String, to: String },
    /// Unlinks.
    Remove(String),
    /// A symbolic link.
    Symlink { target: String, name: String },
    /// A hard link.
    HardLink { of: String, name: String },
    /// Permission bits.
    Mode { file: String, mode: u32 },
}

/// Steps in order.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
}

impl Script {
    /// Adds a step.
    pub fn push(&mut self, step: Step) -> &mut Self {
        self.steps.push(step);
        self
    }

    /// Adds a command, its words separated by spaces: no word may hold one.
    pub fn run(&mut self, words: &str) -> &mut Self {
        self.command(words.split_whitespace())
    }

    /// Adds a command given word by word.
    pub fn command<S: Into<String>>(&mut self, words: impl IntoIterator<Item = S>) -> &mut Self {
        self.push(Step::Run(words.into_iter().map(Into::into).collect()))
    }

    /// Adds `qemu-img create -f qcow2 OPTIONS NAME SIZE`.
    pub fn create(&mut self, options: &str, name: &str, size: &str) -> &mut Self {
        let mut words: Vec<&str> = vec!["qemu-img", "create", "-q", "-f", "qcow2"];
        words.extend(options.split_whitespace());
        words.push(name);
        words.extend((!size.is_empty()).then_some(size));
        self.command(words)
    }

    /// Adds an overlay of default options.
    pub fn overlay(&mut self, base_format: &str, base: &str, name: &str) -> &mut Self {
        self.create(&format!("-F {base_format} -b {base}"), name, "")
    }

    /// Adds one `qemu-io` call with all these commands.
    pub fn io(&mut self, format: &str, name: &str, commands: &[&str]) -> &mut Self {
        let mut words = vec!["qemu-io", "-d", "unmap", "-f", format];
        for command in commands {
            words.extend(["-c", command]);
        }
        words.push(name);
        self.command(words)
    }

    /// Adds another script's steps.
    pub fn extend(&mut self, other: &Self) -> &mut Self {
        self.steps.extend(other.steps.iter().cloned());
        self
    }

    /// Runs every step in `dir`; a step that fails ends the test with the step and what it said.
    pub fn build(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for step in &self.steps {
            if let Err(why) = step.run(dir) {
                panic!("{why}\nwhile building {}:\n{self}", dir.display());
            }
        }
    }
}

impl Step {
    fn run(&self, dir: &Path) -> Result<(), String> {
        let at = |name: &str| dir.join(name);
        let said = |e: std::io::Error| format!("{self}: {e}");
        match self {
            Self::Run(words) => {
                let out = run_in(dir, words);
                // qemu-io reports a failed command on standard output and, in places, exits 0.
                let text = String::from_utf8_lossy(&out.stdout);
                if !out.status.success() || text.contains("failed") {
                    return Err(format!(
                        "{self}: {}\n{text}{}",
                        out.status,
                        String::from_utf8_lossy(&out.stderr)
                    ));
                }
                Ok(())
            }
            Self::Patch {
                file,
                at: offset,
                bytes,
            } => patch(&at(file), *offset, bytes).map_err(said),
            Self::DropBackingFormat(file) => {
                let mut head = vec![0; 4096];
                let n = fs::File::open(at(file))
                    .and_then(|mut f| f.read(&mut head))
                    .map_err(said)?;
                let found = head[..n]
                    .windows(4)
                    .position(|w| w == [0xe2, 0x79, 0x2a, 0xca])
                    .ok_or_else(|| format!("{self}: no backing format extension"))?;
                patch(&at(file), found as u64, &[0; 8]).map_err(said)
            }
            Self::Noise { file, from, len } => {
                fs::write(at(file), noise(*from, *len)).map_err(said)
            }
            Self::Head { from, to, len } => {
                let bytes = fs::read(at(from)).map_err(said)?;
                fs::write(at(to), &bytes[..usize::try_from(*len).unwrap()]).map_err(said)
            }
            Self::Zeros { file, len } => {
                fs::write(at(file), vec![0; usize::try_from(*len).unwrap()]).map_err(said)
            }
            Self::Truncate { file, len } => fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(at(file))
                .and_then(|f| f.set_len(*len))
                .map_err(said),
            Self::MakeDir(name) => fs::create_dir_all(at(name)).map_err(said),
            Self::Move { from, to } => fs::rename(at(from), at(to)).map_err(said),
            Self::Remove(name) => fs::remove_file(at(name)).map_err(said),
            Self::Symlink { target, name } => symlink(target, at(name)).map_err(said),
            Self::HardLink { of, name } => fs::hard_link(at(of), at(name)).map_err(said),
            Self::Mode { file, mode } => {
                fs::set_permissions(at(file), fs::Permissions::from_mode(*mode)).map_err(said)
            }
        }
    }
}

fn patch(path: &Path, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

/// What `seq FROM 99999999 | head -c LEN` prints.
pub fn noise(from: u64, len: u64) -> Vec<u8> {
    let len = usize::try_from(len).unwrap();
    let mut text = Vec::with_capacity(len + 16);
    for n in from.. {
        if text.len() >= len {
            break;
        }
        writeln!(text, "{n}").unwrap();
    }
    text.truncate(len);
    text
}

/// Runs a command in `dir` for at most a minute.
pub fn run_in<S: AsRef<OsStr>>(dir: &Path, words: &[S]) -> Output {
    Command::new("timeout")
        .args(["-k", "5", "60"])
        .args(words)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir(dir)
        .output()
        .unwrap()
}

/// A word as the shell wants it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else if word.chars().any(char::is_control) {
        let escaped: String = word
            .chars()
            .map(|c| match c {
                '\'' | '\\' => format!("\\{c}"),
                c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
                c => c.to_string(),
            })
            .collect();
        format!("$'{escaped}'")
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(words) => {
                let words: Vec<String> = words.iter().map(|w| quoted(w)).collect();
                f.write_str(&words.join(" "))
            }
            Self::Patch { file, at, bytes } => {
                let octal: String = bytes.iter().map(|b| format!("\\{b:03o}")).collect();
                write!(
                    f,
                    "printf '{octal}' | dd of={} bs=1 seek={at} conv=notrunc status=none",
                    quoted(file)
                )
            }
            Self::DropBackingFormat(file) => write!(
                f,
                "head -c 8 /dev/zero | dd of={0} bs=1 conv=notrunc status=none \
                 seek=$(LC_ALL=C grep -obUaP '\\xE2\\x79\\x2A\\xCA' {0} | head -n 1 | cut -d: -f1)",
                quoted(file)
            ),
            Self::Noise { file, from, len } => {
                write!(f, "seq {from} 99999999 | head -c {len} > {}", quoted(file))
            }
            Self::Head { from, to, len } => {
                write!(f, "head -c {len} {} > {}", quoted(from), quoted(to))
            }
            Self::Zeros { file, len } => write!(f, "head -c {len} /dev/zero > {}", quoted(file)),
            Self::Truncate { file, len } => write!(f, "truncate -s {len} {}", quoted(file)),
            Self::MakeDir(name) => write!(f, "mkdir -p {}", quoted(name)),
            Self::Move { from, to } => write!(f, "mv {} {}", quoted(from), quoted(to)),
            Self::Remove(name) => write!(f, "rm {}", quoted(name)),
            Self::Symlink { target, name } => {
                write!(f, "ln -s {} {}", quoted(target), quoted(name))
            }
            Self::HardLink { of, name } => write!(f, "ln {} {}", quoted(of), quoted(name)),
            Self::Mode { file, mode } => write!(f, "chmod {mode:o} {}", quoted(file)),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

/// A copy of a directory tree of images: holes stay holes, links stay links.
pub fn copy_tree(from: &Path, to: &Path) {
    let out = run_in(
        Path::new("/"),
        &[
            OsStr::new("cp"),
            OsStr::new("-a"),
            from.as_os_str(),
            to.as_os_str(),
        ],
    );
    assert!(
        out.status.success(),
        "cp -a: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Every regular file below `dir`, links not followed, in order.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
