//! Runs the interface: owns the terminal, waits for keys, signals and the workers' answers, draws
//! when something changed. While nothing happens it does nothing at all.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, after, at, bounded, never, select, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::fleet::{Here, Program};
use crate::forest::ScanOptions;
use crate::host::{Host, RealHost, io_text, printable};
use crate::image::Format;
use crate::system::share_memory;

use super::border::{Border, Narrow, Passed};
use super::crash;
use super::early_input;
use super::elsewhere;
use super::input::{Gate, Input, listen};
use super::jobs::JobState;
use super::late_answers::LateAnswers;
use super::msg::{Effect, Msg};
use super::options::TuiOptions;
use super::session_state::{recall, remember};
use super::shell::{MountedImage, shell};
use super::terminal::{Screen, Surface};
use super::terminal_query;
use super::tour::Tour;
use super::ui::Ui;
use super::update;
use super::workers::Workers;

/// How often the progress of running jobs is shown.
const TICK: Duration = Duration::from_millis(100);
/// How long jobs get to stop when the program is told to end.
const GRACE: Duration = Duration::from_millis(1500);
/// So many things that happened are taken in before the screen is drawn.
const AT_ONCE: usize = 4096;

/// Between two frames of nothing but finds, at least.
const FRAME: Duration = Duration::from_millis(16);

/// The exit code of ssh where a host cannot be reached, and of a shell there that cannot enter its folder.
const CUT: i32 = 255;

/// Opens the interface and runs it until the person leaves.
///
/// # Errors
/// If there is no terminal, or it is lost.
pub fn run(options: TuiOptions) -> anyhow::Result<ExitCode> {
    share_memory();
    let options = options.absolute();
    anyhow::ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "the terminal interface needs a terminal"
    );
    let (input_in, input) = bounded(1024);
    let (answers_in, answers) = bounded(elsewhere::ANSWERS);
    let gate = Arc::new(Gate::default());
    // Signals first: whatever comes from here on gives the terminal back.
    let mut signals =
        Signals::new([SIGTERM, SIGHUP, SIGINT]).context("cannot watch for signals")?;
    {
        let (to, gate) = (input_in.clone(), Arc::clone(&gate));
        thread::spawn(move || {
            for signal in signals.forever() {
                // Ctrl-C while another program has the terminal is meant for that program.
                if signal == SIGINT && gate.is_closed() {
                    continue;
                }
                if to.send(Input::Signal(signal)).is_err() {
                    return;
                }
            }
        });
    }
    crash::watch(options.state_dir.as_deref());
    let screen = Screen::take(options.config.mouse).context("cannot draw on this terminal")?;
    let heard = terminal_query::ask(options.questions()).context("cannot ask the terminal")?;
    let settings = options.settings(&heard);
    let hosts: Vec<String> = options
        .hosts
        .iter()
        .map(|one| one.to.name.clone())
        .collect();
    let host: Arc<dyn Host> = match hosts.is_empty() {
        true => Arc::new(RealHost),
        false => Arc::new(Here),
    };
    let workers = Workers::new(
        host,
        ScanOptions {
            roots: options.roots.clone(),
            follow: options.follow,
            raw: options.raw,
        },
        &options.hosts,
        options.state_dir.clone(),
        answers_in,
    )
    .asking(options.peers.clone());
    let mut ui = Ui::new(settings, screen.size()?);
    ui.app.tree.sort = options.config.sort;
    recall(&mut ui.app, options.state_dir.as_deref());
    ui.app.tour = options.tour.then(Tour::default);
    let mut runner = Runner {
        ui,
        screen,
        workers,
        answers,
        watches: options.config.watch,
        gate,
        border: Border::new(hosts),
        narrow: None,
        left: false,
        next_find: Instant::now(),
        tick_at: None,
    };
    if runner.watches {
        runner.workers.watch();
    }
    for msg in early_input::messages(&heard.early) {
        // As if the thread that reads keys had read it.
        input_in.send(Input::Msg(msg)).context("nobody listens")?;
    }
    let late = heard.late.map(LateAnswers::after);
    let ended = runner.run(input_in, late, &input, &options.warnings);
    runner.leave();
    ended
}

struct Runner<S> {
    ui: Ui,
    screen: S,
    workers: Workers,
    /// What the workers answer.
    answers: Receiver<Msg>,
    /// Whether directories are watched for changes.
    watches: bool,
    gate: Arc<Gate>,
    /// What keeps names of other machines from files of this one.
    border: Border,
    /// Where effects go that are given the images of this machine alone; none before there was one.
    narrow: Option<Sender<(Workers, Effect)>>,
    left: bool,
    /// When finds alone are worth the next frame.
    next_find: Instant,
    /// When the progress of running jobs is shown next.
    tick_at: Option<Instant>,
}

/// Whether a person reads what a program has left on the terminal before the screen comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Always,
    /// Where it never came to what was to be run.
    WhereCut,
    Never,
}

/// What a turn begins with.
enum Happened {
    Input(Input),
    Answer(Msg),
    /// Nothing did until then.
    Nothing,
    /// Nobody is left to tell of anything.
    End,
}

/// Waits for the next thing, what comes from outside first.
fn next(input: &Receiver<Input>, answers: &Receiver<Msg>, until: &Receiver<Instant>) -> Happened {
    if let Ok(input) = input.try_recv() {
        return Happened::Input(input);
    }
    if let Ok(msg) = answers.try_recv() {
        return Happened::Answer(msg);
    }
    select! {
        recv(input) -> got => got.map_or(Happened::End, Happened::Input),
        recv(answers) -> got => got.map_or(Happened::End, Happened::Answer),
        recv(until) -> _ => Happened::Nothing,
    }
}

impl<S: Surface> Runner<S> {
    fn run(
        &mut self,
        input_in: Sender<Input>,
        late: Option<LateAnswers>,
        input: &Receiver<Input>,
        warnings: &[String],
    ) -> anyhow::Result<ExitCode> {
        self.begin(warnings)?;
        let gate = Arc::clone(&self.gate);
        thread::spawn(move || listen(&input_in, &gate, late));
        while !self.left {
            if let Some(code) = self.turn(input)? {
                return Ok(code);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Draws the first frame, which waits for nothing, then asks for the first scan.
    fn begin(&mut self, warnings: &[String]) -> anyhow::Result<()> {
        self.ui.app.now = Some(SystemTime::now());
        self.ui.app.complain(warnings);
        self.screen.draw(&self.ui)?;
        let effects = update::start(&mut self.ui);
        self.execute(effects)
    }

    /// Waits until something happens, takes in all that has happened by then, and draws once. Finds of a
    /// scan alone gather for a while first: laying all rows out again for each few would take longer than
    /// the scan. Gives the exit code if it was told to end.
    fn turn(&mut self, input: &Receiver<Input>) -> anyhow::Result<Option<ExitCode>> {
        let mut is_urgent = false;
        let mut begun = Instant::now();
        for taken in 0..AT_ONCE {
            // More can be found all the time than is taken in: the next frame does not wait for the end of it, but for
            // all keys that were pressed.
            let frame = match is_urgent {
                true => begun + FRAME,
                false => self.next_find.max(begun),
            };
            let until = if taken == 0 {
                self.next_tick()
            } else if input.is_empty() && Instant::now() >= frame {
                break;
            } else if is_urgent {
                at(Instant::now())
            } else {
                at(frame)
            };
            match next(input, &self.answers, &until) {
                Happened::Nothing if taken == 0 => {
                    self.tick()?;
                    is_urgent = true;
                }
                Happened::Nothing => break,
                Happened::Input(Input::Msg(msg)) => {
                    self.take(msg)?;
                    is_urgent = true;
                }
                Happened::Input(Input::Lost(error)) => {
                    return Err(error).context("the terminal is gone");
                }
                Happened::Input(Input::Signal(signal)) => {
                    return Ok(Some(self.end(signal)));
                }
                Happened::Answer(msg) => {
                    is_urgent |= !msg.may_gather();
                    self.take(msg)?;
                }
                Happened::End => self.left = true,
            }
            if self.left {
                return Ok(None);
            }
            if taken == 0 {
                begun = Instant::now();
            }
        }
        let began = Instant::now();
        if self.ui.app.refresh.unsettled {
            let now = SystemTime::now();
            self.take(Msg::Clock(now))?;
        }
        self.screen.draw(&self.ui)?;
        // A fifth of the time goes into frames while rows come in, the rest into finding more.
        self.next_find = Instant::now() + (began.elapsed() * 4).max(FRAME);
        Ok(None)
    }

    /// When the progress of running jobs is to be shown next; never while none runs.
    fn next_tick(&mut self) -> Receiver<Instant> {
        if self.ui.app.jobs.running().is_none() {
            self.tick_at = None;
            return never();
        }
        at(*self.tick_at.get_or_insert_with(|| Instant::now() + TICK))
    }

    fn take(&mut self, msg: Msg) -> anyhow::Result<()> {
        // Not a message of its own: the time is part of whatever happens.
        self.ui.app.now = Some(SystemTime::now());
        let effects = update::update(&mut self.ui, msg);
        let lines = self.ui.app.session.log.take_new();
        if !lines.is_empty() {
            self.workers.write_down(lines);
        }
        self.execute(effects)
    }

    /// Mounts an image, and lends the terminal to a shell there until it ends.
    fn mount(
        &mut self,
        workers: &Workers,
        image: PathBuf,
        format: Option<Format>,
    ) -> anyhow::Result<()> {
        let mounted = match MountedImage::new(workers, image, format) {
            Ok(mounted) => mounted,
            Err(why) => return self.take(Msg::Tell(why)),
        };
        let intro = mounted.intro();
        let lent = self.lend(&[shell()], Some(mounted.at()), &intro, Wait::Never);
        match mounted.end() {
            Some(told) => lent.and_then(|()| self.take(Msg::Tell(told))),
            None => lent,
        }
    }

    /// Lends the terminal to a program on the host at this place until it ends.
    fn lend_there(&mut self, at: usize, program: &Program) -> anyhow::Result<()> {
        let Some(to) = self.workers.destination(at) else {
            return Ok(());
        };
        let wait = match program {
            Program::Shell(_) => Wait::WhereCut,
            Program::Command(_) => Wait::Always,
        };
        let intro = format!("{}:", printable(&to.name));
        match program.at_terminal(to) {
            Ok(words) => self.lend(&words, None, &intro, wait),
            Err(why) => self.take(Msg::Tell(format!("{why}."))),
        }
    }

    /// Lends the terminal to a program until it ends; `intro` is told first.
    fn lend(
        &mut self,
        words: &[OsString],
        dir: Option<&Path>,
        intro: &str,
        wait: Wait,
    ) -> anyhow::Result<()> {
        let Some((program, more)) = words.split_first() else {
            return Ok(());
        };
        self.gate.close();
        self.screen.lend();
        let mut command = Command::new(program);
        command.args(more);
        if let Some(dir) = dir {
            command.current_dir(dir);
        }
        if !intro.is_empty() {
            // Whatever becomes of this line, the program runs.
            let _ = writeln!(io::stdout().lock(), "{intro}");
        }
        let ended = command.status();
        let told = match &ended {
            Ok(status) if status.success() => String::new(),
            Ok(status) => format!("{} ended with {status}. ", printable(program)),
            Err(error) => format!(
                "{} cannot be run: {error}. ",
                printable(program),
                error = io_text(error)
            ),
        };
        let is_cut = |status: &ExitStatus| status.code() == Some(CUT);
        let waits = match wait {
            Wait::Always => true,
            Wait::WhereCut => ended.as_ref().is_ok_and(is_cut),
            Wait::Never => false,
        };
        if waits || ended.is_err() {
            let mut stdout = io::stdout().lock();
            // Whatever becomes of this line, the screen comes back.
            let _ = write!(stdout, "\n{told}Enter goes back to qanopy. ");
            let _ = stdout.flush();
            let _ = io::stdin().lock().read_line(&mut String::new());
        }
        self.take_again()?;
        // Anything may have happened meanwhile.
        self.take(Msg::Changed(None))
    }

    /// Stops as any program does on Ctrl-Z; goes on here when it is brought back.
    fn suspend(&mut self) -> anyhow::Result<()> {
        self.gate.close();
        self.screen.lend();
        let stopped = signal_hook::low_level::raise(SIGTSTP);
        self.take_again()?;
        stopped.context("cannot stop")
    }

    fn take_again(&mut self) -> anyhow::Result<()> {
        self.screen.take_again().context("the terminal is gone")?;
        self.gate.open();
        let (width, height) = self.screen.size()?;
        self.take(Msg::Resize(width, height))
    }

    /// Gives the terminal back, and keeps what is worth it for the next run.
    fn leave(self) {
        remember(&self.ui.app, self.workers.state_dir.as_deref());
        let Self {
            ui,
            screen,
            workers,
            ..
        } = self;
        drop(screen);
        workers.finish_log();
        // The process ends now and takes it along: to free a hundred thousand images one by one would keep
        // the person waiting.
        std::mem::forget(ui);
    }

    /// Looks at other directories from now on.
    fn open(&mut self, roots: Vec<PathBuf>) -> anyhow::Result<()> {
        match elsewhere::open(&mut self.ui, &mut self.workers, roots) {
            Ok(answers) => self.answers = answers,
            Err(why) => return self.take(Msg::Tell(why)),
        }
        if self.watches {
            self.workers.watch();
        }
        let effects = update::start(&mut self.ui);
        self.execute(effects)
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        self.tick_at = None;
        self.take(Msg::Progress(self.ui.app.jobs.progress()))
    }

    fn execute(&mut self, effects: Vec<Effect>) -> anyhow::Result<()> {
        for effect in effects {
            let effect = match self.border.pass(effect) {
                Ok(Passed::Here(effect)) => effect,
                Ok(Passed::There(at, effect)) => {
                    self.there(at, effect)?;
                    continue;
                }
                Err(answers) => {
                    answers.into_iter().try_for_each(|msg| self.take(msg))?;
                    continue;
                }
            };
            match effect {
                Effect::Quit => self.left = true,
                Effect::Open(roots) => self.open(roots)?,
                Effect::Redraw => self.screen.forget()?,
                Effect::Copy(text) => {
                    self.screen.copy(&text)?;
                    self.workers.copy(text);
                }
                Effect::Notify(notice) => self.screen.notify(&notice)?,
                Effect::Mouse(is_on) => self.screen.mouse(is_on)?,
                Effect::Suspend => self.suspend()?,
                Effect::OnScreen(words) => self.lend(&words, None, "", Wait::Always)?,
                Effect::OnScreenThere(at, program) => self.lend_there(at, &program)?,
                Effect::Shell(dir) => self.lend(&[shell()], Some(&dir), "", Wait::Never)?,
                Effect::Mount(image, format) => {
                    self.mount(&self.workers.clone(), image, format)?;
                }
                other => self.start(other),
            }
        }
        Ok(())
    }

    /// Has workers do it; what opens files by what is known of images is first given those of this machine alone, by
    /// another thread.
    fn start(&mut self, mut effect: Effect) {
        if !self.border.has_hosts() || !Narrow::concerns(&mut effect) {
            return self.workers.start(effect);
        }
        let narrow = self.narrow.get_or_insert_with(|| {
            let (narrow_in, effects) = unbounded::<(Workers, Effect)>();
            thread::spawn(move || {
                let mut narrow = Narrow::default();
                for (workers, effect) in effects {
                    workers.start(narrow.narrow(effect));
                }
            });
            narrow_in
        });
        // Its thread lives as long as this sender.
        let _ = narrow.send((self.workers.clone(), effect));
    }

    /// Has the host at that place asked.
    fn there(&mut self, at: usize, effect: Effect) -> anyhow::Result<()> {
        match (self.workers.there(at), effect) {
            (Some(workers), Effect::Mount(image, format)) => self.mount(&workers, image, format),
            (Some(workers), effect) => {
                workers.start(effect);
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    /// Told to end: jobs are asked to stop and get a moment, then the terminal is given back. One
    /// that did not make it is as safe as after a crash: every image is readable.
    fn end(&self, signal: i32) -> ExitCode {
        let open: Vec<u64> = self
            .ui
            .app
            .jobs
            .list
            .iter()
            .filter(|job| job.state == JobState::Running)
            .map(|job| {
                job.progress.cancel();
                job.id
            })
            .collect();
        let deadline = after(GRACE);
        let mut left = open.len();
        while left > 0 {
            select! {
                recv(self.answers) -> got => match got {
                    Ok(Msg::Ended(id, _)) if open.contains(&id) => left -= 1,
                    Ok(_) => {}
                    Err(_) => break,
                },
                recv(deadline) -> _ => break,
            }
        }
        ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::key::Key;
    use crate::tui::msg::Notice;
    use crate::tui::settings::Settings;

    /// A terminal that only counts.
    #[derive(Debug, Default)]
    struct Counted {
        draws: usize,
        /// Whether a scan had been asked for when the first frame was drawn.
        scan_before_first: Option<bool>,
    }

    impl Surface for Counted {
        fn draw(&mut self, ui: &Ui) -> io::Result<()> {
            self.draws += 1;
            self.scan_before_first
                .get_or_insert(ui.app.refresh.scan.running);
            Ok(())
        }

        fn size(&self) -> io::Result<(u16, u16)> {
            Ok((80, 24))
        }

        fn forget(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn lend(&self) {}

        fn take_again(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn mouse(&mut self, _: bool) -> io::Result<()> {
            Ok(())
        }

        fn copy(&mut self, _: &str) -> io::Result<()> {
            Ok(())
        }

        fn notify(&mut self, _: &Notice) -> io::Result<()> {
            Ok(())
        }
    }

    fn runner() -> Runner<Counted> {
        let (answers_in, answers) = bounded(1024);
        let workers = Workers::new(
            Arc::new(RealHost),
            ScanOptions::default(),
            &[],
            None,
            answers_in,
        );
        Runner {
            ui: Ui::new(Settings::default(), (80, 24)),
            screen: Counted::default(),
            workers,
            answers,
            watches: false,
            gate: Arc::default(),
            border: Border::default(),
            narrow: None,
            left: false,
            next_find: Instant::now(),
            tick_at: None,
        }
    }

    #[test]
    fn a_thousand_keys_that_wait_are_one_frame() {
        let (input_in, input) = bounded(1024);
        let mut runner = runner();
        for _ in 0..1000 {
            let key = Key::char('j');
            input_in.send(Input::Msg(Msg::Key(key))).unwrap();
        }
        assert!(runner.turn(&input).unwrap().is_none());
        assert!(input.is_empty());
        assert_eq!(runner.screen.draws, 1);
    }

    #[test]
    fn the_first_frame_is_drawn_before_a_scan_is_asked_for() {
        let mut runner = runner();
        runner.begin(&[]).unwrap();
        assert_eq!(runner.screen.draws, 1);
        assert_eq!(runner.screen.scan_before_first, Some(false));
        assert!(runner.ui.app.refresh.scan.running);
    }

    #[test]
    fn a_signal_ends_it_without_a_further_frame() {
        let (input_in, input) = bounded(1024);
        let mut runner = runner();
        input_in.send(Input::Signal(SIGTERM)).unwrap();
        assert!(runner.turn(&input).unwrap().is_some());
        assert_eq!(runner.screen.draws, 0);
    }
}
