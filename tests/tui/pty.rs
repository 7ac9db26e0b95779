//! The program in a pseudo-terminal: type, look at the screen, wait until it shows something.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Far more than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the program has sent so far: as bytes, and as a screen.
struct Seen {
    bytes: Vec<u8>,
    screen: vt100::Parser,
    /// Whether nobody looks any more.
    gone: bool,
}

pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    input: Option<Box<dyn Write + Send>>,
    seen: Arc<Mutex<Seen>>,
    /// Keeps the terminal open.
    master: Option<Box<dyn MasterPty + Send>>,
    home: Option<tempfile::TempDir>,
}

/// The image under the cursor, as its row begins: what stands beside the images changes by itself, and further
/// right the sign of the cursor may be a part of a bar of progress.
pub fn under_cursor(screen: &str) -> String {
    let is_it = |line: &&str| line.chars().take(3).any(|sign| sign == '▌');
    let line = screen.lines().find(is_it).unwrap_or_default();
    line.chars().take(40).collect()
}

impl Terminal {
    /// Opens the program on a directory, with nothing remembered and nothing configured.
    pub fn open(dir: &Path, args: &[&str], size: (u16, u16)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut terminal = Self::open_at(home.path(), dir, args, size);
        terminal.home = Some(home);
        terminal
    }

    /// Opens it with these in its environment.
    pub fn open_with(dir: &Path, env: &[(&str, &str)], size: (u16, u16)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qanopy"));
        command.arg(dir);
        let mut terminal = Self::run_with(command, env, home.path(), size);
        terminal.home = Some(home);
        terminal
    }

    /// Opens it with these words and in this environment.
    pub fn with_words(words: &[&str], env: &[(&str, &str)], size: (u16, u16)) -> Self {
        Self::with_words_in(Path::new("/"), words, env, size)
    }

    /// Likewise, in this folder.
    pub fn with_words_in(
        dir: &Path,
        words: &[&str],
        env: &[(&str, &str)],
        size: (u16, u16),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qanopy"));
        command.args(words);
        command.cwd(dir);
        let mut terminal = Self::run_with(command, env, home.path(), size);
        terminal.home = Some(home);
        terminal
    }

    /// Opens it with what is remembered and configured in `home`.
    pub fn open_at(home: &Path, dir: &Path, args: &[&str], size: (u16, u16)) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qanopy"));
        command.args(args);
        command.arg(dir);
        Self::run(command, home, size)
    }

    /// Opens a shell with job control in a directory.
    pub fn shell(dir: &Path, size: (u16, u16)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = CommandBuilder::new("bash");
        command.args(["--norc", "--noprofile", "--noediting", "-i"]);
        command.cwd(dir);
        let mut terminal = Self::run(command, home.path(), size);
        terminal.home = Some(home);
        terminal
    }

    fn run(command: CommandBuilder, home: &Path, size: (u16, u16)) -> Self {
        Self::run_with(command, &[], home, size)
    }

    fn run_with(
        mut command: CommandBuilder,
        env: &[(&str, &str)],
        home: &Path,
        size: (u16, u16),
    ) -> Self {
        let (cols, rows) = size;
        let pty = native_pty_system()
            .openpty(PtySize {
                rows,
                cols,
                pixel_width: 0,
                pixel_height: 0,
            })
            .unwrap();
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        command.env("XDG_STATE_HOME", home);
        command.env("XDG_CONFIG_HOME", home);
        command.env("SHELL", "/bin/sh");
        command.env("PS1", "shell> ");
        for name in ["NO_COLOR", "WAYLAND_DISPLAY", "DISPLAY", "TERM_PROGRAM"] {
            command.env_remove(name);
        }
        for (name, value) in env {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let input = pty.master.take_writer().unwrap();
        let mut output = pty.master.try_clone_reader().unwrap();
        let seen = Arc::new(Mutex::new(Seen {
            bytes: Vec::new(),
            screen: vt100::Parser::new(rows, cols, 0),
            gone: false,
        }));
        let theirs = Arc::clone(&seen);
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(read) = output.read(&mut buffer) {
                if read == 0 {
                    break;
                }
                let mut seen = theirs.lock().unwrap();
                if seen.gone {
                    break;
                }
                seen.bytes.extend(&buffer[..read]);
                seen.screen.process(&buffer[..read]);
            }
        });
        Self {
            child,
            input: Some(input),
            seen,
            master: Some(pty.master),
            home: None,
        }
    }

    /// Presses the left button where this text stands first on the screen.
    pub fn click(&mut self, what: &str) {
        self.see(what);
        let screen = self.screen();
        let mut lines = screen.lines().enumerate();
        let (row, column) = lines
            .find_map(|(row, line)| Some((row, line[..line.find(what)?].chars().count())))
            .unwrap();
        self.press(&format!("\u{1b}[<0;{};{}M", column + 1, row + 1));
    }

    /// Types characters and named keys (`<enter>`, `<esc>`).
    pub fn press(&mut self, keys: &str) {
        let keys = keys
            .replace("<enter>", "\r")
            .replace("<esc>", "\u{1b}")
            .replace("<backspace>", "\u{7f}")
            .replace("<c-c>", "\u{3}")
            .replace("<c-o>", "\u{f}")
            .replace("<down>", "\u{1b}[B")
            .replace("<c-z>", "\u{1a}");
        let input = self.input.as_mut().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    pub fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// What is made of the screen's cells.
    pub fn look<T>(&self, make: impl FnOnce(&vt100::Screen) -> T) -> T {
        make(self.seen.lock().unwrap().screen.screen())
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().bytes.clone()
    }

    /// Waits until the screen shows this.
    pub fn see(&self, what: &str) {
        self.until(&format!("{what:?} on the screen"), |screen| {
            screen.contains(what)
        });
    }

    /// Waits until the screen no longer shows this.
    pub fn lose(&self, what: &str) {
        self.until(&format!("no {what:?} on the screen"), |screen| {
            !screen.contains(what)
        });
    }

    pub fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "waited for {what}:\n{screen}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until what was sent is as it should be.
    pub fn until_sent(&self, what: &str, holds: impl Fn(&[u8]) -> bool) {
        let started = Instant::now();
        while !holds(&self.bytes()) {
            assert!(
                started.elapsed() < PATIENCE,
                "waited for {what}:\n{}",
                self.screen()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Moves the cursor with `j` until it is on the row that shows this.
    pub fn go_to(&mut self, name: &str) {
        let on_it = |screen: &str| {
            // Further right the sign of the cursor may be a part of a bar.
            let is_at = |line: &str| line.chars().take(3).any(|sign| sign == '▌');
            screen
                .lines()
                .any(|line| is_at(line) && line.contains(name))
        };
        if on_it(&self.screen()) {
            return;
        }
        self.press("g");
        self.until("the cursor on the first row", |screen| {
            let mut lines = screen.lines();
            lines.any(|line| line.contains("1 Images"))
                && lines.next().is_some_and(|first| first.contains('▌'))
        });
        for _ in 0..60 {
            if on_it(&self.screen()) {
                return;
            }
            // A key more while something else was drawn would carry it past the row.
            let before = under_cursor(&self.screen());
            self.press("j");
            self.until("the cursor to move", |screen| {
                under_cursor(screen) != before
            });
        }
        panic!("no row shows {name}:\n{}", self.screen());
    }

    /// Takes the terminal away, as when a window is closed.
    pub fn hang_up(&mut self) {
        // The reader holds the terminal open as well: the next thing drawn is its last.
        self.seen.lock().unwrap().gone = true;
        self.press("?");
        thread::sleep(Duration::from_millis(300));
        self.input = None;
        self.master = None;
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.process_id().unwrap()).unwrap()
    }

    /// Waits for the program's end; its exit code.
    pub fn end(&mut self) -> u32 {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it goes on:\n{}",
                self.screen()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
