//! What is printed and typed, and waiting for what was asked of the disk.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use signal_hook::consts::{SIGINT, SIGTSTP};
use zeroize::Zeroizing;

use crate::forest::ScanOptions;
use crate::host::{RealHost, io_text, printable_lines};
use crate::image::Format;
use crate::ops::ProgressView;
use crate::system::share_memory;
use crate::tui::bindings::Keymap;
use crate::tui::dialogs::Dialog;
use crate::tui::elsewhere;
use crate::tui::key::{Code, Key};
use crate::tui::msg::{Effect, Msg};
use crate::tui::options::TuiOptions;
use crate::tui::selection::Built;
use crate::tui::session_state::{recall, remember};
use crate::tui::settings::Settings;
use crate::tui::shell::{MountedImage, shell};
use crate::tui::terminal_query::Heard;
use crate::tui::text;
use crate::tui::tour::Tour;
use crate::tui::ui::Ui;
use crate::tui::update;
use crate::tui::workers::Workers;

/// Room for all that a dialog says: nothing is ever scrolled away.
const SIZE: (u16, u16) = (160, 2000);
/// How often it is looked for the progress of jobs, and for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);
/// Between two lines that tell of progress.
const BETWEEN: Duration = Duration::from_secs(5);

/// The interface, and the two streams.
pub(super) struct Talk {
    pub(super) ui: Ui,
    workers: Workers,
    answers: Receiver<Msg>,
    /// Whether Ctrl-C ends the program, which it does while nothing runs.
    ends: Arc<AtomicBool>,
    /// Whether Ctrl-C was pressed while something ran.
    stop: Arc<AtomicBool>,
    /// The rows that were told last.
    pub(super) listed: Option<Built>,
    /// The lines of that list.
    pub(super) told: Vec<String>,
    /// What the tour asked for when it was told last.
    pub(super) goal: Option<&'static str>,
    /// Whether the person has left.
    pub(super) left: bool,
}

impl Talk {
    /// Begins to look at the directories.
    pub(super) fn begin(options: &TuiOptions) -> anyhow::Result<Self> {
        share_memory();
        let options = options.absolute();
        let (ends, stop) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let watched = "cannot watch for signals";
        signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(&ends))
            .context(watched)?;
        signal_hook::flag::register(SIGINT, Arc::clone(&stop)).context(watched)?;
        let (answers_in, answers) = bounded(elsewhere::ANSWERS);
        let scan = ScanOptions {
            roots: options.roots.clone(),
            follow: options.follow,
            raw: options.raw,
        };
        let state_dir = options.state_dir.clone();
        let workers = Workers::new(Arc::new(RealHost), scan, &[], state_dir, answers_in)
            .asking(options.peers.clone());
        // Keys are not pressed here: they stand for what is typed, and mean what they mean at first.
        let settings = Settings {
            ascii: true,
            mouse: false,
            keymap: Keymap::default(),
            ..options.settings(&Heard::default())
        };
        let mut ui = Ui::new(settings, SIZE);
        ui.app.tree.sort = options.config.sort;
        recall(&mut ui.app, options.state_dir.as_deref());
        ui.app.tour = options.tour.then(Tour::default);
        let mut talk = Self {
            ui,
            workers,
            answers,
            ends,
            stop,
            listed: None,
            told: Vec::new(),
            goal: None,
            left: false,
        };
        let effects = update::start(&mut talk.ui);
        talk.execute(effects)?;
        Ok(talk)
    }

    /// Writes down what is still to be written.
    pub(super) fn end(&self) {
        remember(&self.ui.app, self.workers.state_dir.as_deref());
        self.workers.finish_log();
    }

    /// Looks at other directories from now on.
    fn open(&mut self, roots: Vec<PathBuf>) -> io::Result<()> {
        match elsewhere::open(&mut self.ui, &mut self.workers, roots) {
            Ok(answers) => self.answers = answers,
            Err(why) => return self.take(Msg::Tell(why)),
        }
        (self.listed, self.told, self.goal) = (None, Vec::new(), None);
        let effects = update::start(&mut self.ui);
        self.execute(effects)
    }

    /// Prints lines.
    pub(super) fn say(&self, lines: impl Display) -> io::Result<()> {
        writeln!(io::stdout(), "{}", printable_lines(&lines.to_string()))
    }

    /// Asks, and reads a line. At the end of what can be read the person leaves.
    pub(super) fn ask(&mut self, question: &str) -> io::Result<String> {
        self.pose(question)?;
        let mut typed = String::new();
        self.left |= io::stdin().lock().read_line(&mut typed)? == 0;
        self.end_of_line()?;
        Ok(typed.trim().to_owned())
    }

    /// The same for what is not to be seen.
    pub(super) fn ask_secret(&mut self, question: &str) -> io::Result<Zeroizing<String>> {
        self.pose(question)?;
        let typed = if io::stdin().is_terminal() {
            Zeroizing::new(rpassword::read_password()?)
        } else {
            let mut typed = Zeroizing::new(String::new());
            self.left |= io::stdin().lock().read_line(&mut typed)? == 0;
            typed
        };
        self.end_of_line()?;
        Ok(Zeroizing::new(
            typed.trim_end_matches(['\r', '\n']).to_owned(),
        ))
    }

    fn pose(&self, question: &str) -> io::Result<()> {
        let mut out = io::stdout();
        write!(out, "{} ", printable_lines(question))?;
        out.flush()
    }

    /// What is typed at a terminal ends the line there; from elsewhere nothing does.
    fn end_of_line(&self) -> io::Result<()> {
        match io::stdin().is_terminal() {
            true => Ok(()),
            false => writeln!(io::stdout()),
        }
    }

    /// Presses a key.
    pub(super) fn press(&mut self, key: Key) -> io::Result<()> {
        self.take(Msg::Key(key))
    }

    /// Leaves what is open.
    pub(super) fn back(&mut self) -> io::Result<()> {
        self.press(Key::of(Code::Esc))
    }

    /// Types text where the keyboard is.
    pub(super) fn type_in(&mut self, text: &str) -> io::Result<()> {
        text.chars().try_for_each(|c| self.press(Key::char(c)))
    }

    /// Waits until all is there that was asked for and no job runs, then tells what has happened.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.wait_for(waits)?;
        self.tell()
    }

    /// Waits while something is missing.
    pub(super) fn wait_for(&mut self, misses: impl Fn(&Ui) -> bool) -> io::Result<()> {
        self.ends.store(false, Ordering::SeqCst);
        let mut next_line = Instant::now() + BETWEEN;
        while misses(&self.ui) {
            match self.answers.recv_timeout(TICK) {
                Ok(msg) => self.take(msg)?,
                Err(RecvTimeoutError::Timeout) => self.look_at_jobs()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.stop.swap(false, Ordering::SeqCst) && !self.stop_jobs()? {
                self.left = true;
                break;
            }
            if Instant::now() >= next_line {
                next_line += BETWEEN;
                self.tell_progress()?;
            }
        }
        self.stop.store(false, Ordering::SeqCst);
        self.ends.store(true, Ordering::SeqCst);
        while let Ok(msg) = self.answers.try_recv() {
            self.take(msg)?;
        }
        self.settle()
    }

    /// Brings in line what follows from what has changed.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.take(Msg::Clock(SystemTime::now()))
    }

    fn look_at_jobs(&mut self) -> io::Result<()> {
        self.take(Msg::Progress(self.ui.app.jobs.progress()))
    }

    /// Asks what runs to stop; false if nothing does.
    fn stop_jobs(&mut self) -> io::Result<bool> {
        let jobs = self.ui.app.jobs.list.iter_mut();
        let open = jobs.filter(|job| job.is_open()).map(|job| job.cancel());
        let any = open.count() > 0;
        if any {
            self.say("Stopping.")?;
        }
        Ok(any)
    }

    fn tell_progress(&self) -> io::Result<()> {
        let app = &self.ui.app;
        if app.refresh.scan.running {
            let looked_at = app.refresh.scan.looked_at;
            self.say(format_args!("Looking: {looked_at} files so far."))?;
        }
        for job in app.jobs.open() {
            let ProgressView { done, total, .. } = job.view;
            let percent = text::percent(done, total);
            self.say(format_args!("{}: {percent}", job.title))?;
        }
        Ok(())
    }

    /// Tells what has happened.
    fn tell(&mut self) -> io::Result<()> {
        match self.ui.app.session.toast.take() {
            Some(toast) => self.say(toast.text),
            None => Ok(()),
        }
    }

    fn take(&mut self, msg: Msg) -> io::Result<()> {
        self.ui.app.now = Some(SystemTime::now());
        let effects = update::update(&mut self.ui, msg);
        let lines = self.ui.app.session.log.take_new();
        if !lines.is_empty() {
            self.workers.write_down(lines);
        }
        self.execute(effects)
    }

    fn execute(&mut self, effects: Vec<Effect>) -> io::Result<()> {
        for effect in effects {
            match effect {
                Effect::Quit => self.left = true,
                Effect::Open(roots) => self.open(roots)?,
                Effect::Copy(text) => self.say(text)?,
                Effect::OnScreen(words) => {
                    if let Some((program, more)) = words.split_first() {
                        self.lend(Command::new(program).args(more))?;
                    }
                }
                Effect::Shell(dir) => {
                    self.lend(Command::new(shell()).current_dir(dir))?;
                }
                // It shows no host.
                Effect::OnScreenThere(..) => {}
                Effect::Mount(image, format) => self.mount(image, format)?,
                Effect::Suspend => signal_hook::low_level::raise(SIGTSTP)?,
                Effect::Redraw | Effect::Mouse(_) | Effect::Notify(_) => {}
                other => self.workers.start(other),
            }
        }
        Ok(())
    }

    /// Mounts an image, and lends the streams to a shell there until it ends.
    fn mount(&mut self, image: PathBuf, format: Option<Format>) -> io::Result<()> {
        let mounted = match MountedImage::new(&self.workers, image, format) {
            Ok(mounted) => mounted,
            Err(why) => return self.take(Msg::Tell(why)),
        };
        self.say(mounted.intro())?;
        let lent = self.lend(Command::new(shell()).current_dir(mounted.at()));
        if let Some(told) = mounted.end() {
            self.say(told)?;
        }
        lent
    }

    /// Lends the streams to a program until it ends.
    fn lend(&mut self, command: &mut Command) -> io::Result<()> {
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => self.say(format_args!("It ended with {status}."))?,
            Err(error) => self.say(format_args!("It cannot be run: {}.", io_text(&error)))?,
        }
        self.take(Msg::Changed(None))
    }
}

/// Whether something is not there yet that the person is to be told next.
fn waits(ui: &Ui) -> bool {
    let app = &ui.app;
    let is_open = match ui.dialogs.top() {
        Some(Dialog::Plan(dialog)) => dialog.plan.is_none(),
        Some(Dialog::Form(form)) => {
            form.creates && form.plans.is_empty() && form.requests().is_ok()
        }
        Some(Dialog::Prune(dialog)) => dialog.is_waiting(app),
        Some(Dialog::Trash(dialog)) => dialog.here.is_none(),
        Some(Dialog::Space(_)) => app.space.is_asked(),
        Some(Dialog::Measure(dialog)) => dialog.found.is_none(),
        Some(Dialog::Files(dialog)) => dialog.waits(),
        Some(Dialog::List(menu)) => menu.query_id.is_some(),
        _ => false,
    };
    is_open
        || app.waits_for_hits()
        || app.refresh.scan.running
        || app.refresh.refreshing.is_some()
        || app.jobs.open().next().is_some()
}
