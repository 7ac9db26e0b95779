//! Runs the interface: owns the terminal, waits for keys, signals and the workers' answers, draws
//! when something changed. While nothing happens it does nothing at all.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::forest::ScanOptions;
use crate::host::RealHost;

use super::app::App;
use super::key::{Code, Key};
use super::msg::{Effect, Msg};
use super::terminal::Screen;
use super::work::Workers;
use super::{TuiOptions, update};

/// How often the progress of running jobs is shown.
const TICK: Duration = Duration::from_millis(100);
/// How long jobs get to stop when the program is told to end.
const GRACE: Duration = Duration::from_millis(1500);
/// So many things that happened are taken in before the screen is drawn.
const AT_ONCE: usize = 4096;

/// What comes from outside.
enum Input {
    Msg(Msg),
    Lost(io::Error),
    Signal(i32),
}

/// Opens the interface and runs it until the person leaves.
///
/// # Errors
/// If there is no terminal, or it is lost.
pub fn run(options: TuiOptions) -> anyhow::Result<ExitCode> {
    let options = options.absolute();
    anyhow::ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "the terminal interface needs a terminal"
    );
    let (input_in, input) = bounded(1024);
    let (answers_in, answers) = bounded(1024);
    // Signals first: whatever comes from here on gives the terminal back.
    let mut signals =
        Signals::new([SIGTERM, SIGHUP, SIGINT]).context("cannot watch for signals")?;
    let signals_in = input_in.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            if signals_in.send(Input::Signal(signal)).is_err() {
                return;
            }
        }
    });
    let screen = Screen::take().context("cannot draw on this terminal")?;
    let workers = Workers::new(
        Arc::new(RealHost),
        ScanOptions {
            roots: options.roots.clone(),
            follow: options.follow,
            raw: options.raw,
        },
        options.state_dir.clone(),
        answers_in,
    );
    let app = App::new(options.settings(), screen.size()?);
    let runner = Runner {
        app,
        screen,
        workers,
        left: false,
    };
    runner.run(input_in, &input, &answers)
}

struct Runner {
    app: App,
    screen: Screen,
    workers: Workers,
    left: bool,
}

impl Runner {
    fn run(
        mut self,
        input_in: Sender<Input>,
        input: &Receiver<Input>,
        answers: &Receiver<Msg>,
    ) -> anyhow::Result<ExitCode> {
        self.app.now = Some(SystemTime::now());
        // The first frame waits for nothing.
        self.screen.draw(&self.app)?;
        let effects = update::start(&mut self.app);
        self.carry_out(effects)?;
        thread::spawn(move || listen(&input_in));
        while !self.left {
            let tick = if self.app.jobs.running().is_some() {
                after(TICK)
            } else {
                never()
            };
            select! {
                recv(input) -> got => match got {
                    Ok(Input::Msg(msg)) => self.take(msg)?,
                    Ok(Input::Lost(error)) => return Err(error).context("the terminal is gone"),
                    Ok(Input::Signal(signal)) => return Ok(self.end(signal, answers)),
                    Err(_) => self.left = true,
                },
                recv(answers) -> got => match got {
                    Ok(msg) => self.take(msg)?,
                    Err(_) => self.left = true,
                },
                recv(tick) -> _ => self.tick()?,
            }
            for _ in 0..AT_ONCE {
                if self.left {
                    break;
                }
                if let Ok(next) = input.try_recv() {
                    match next {
                        Input::Msg(msg) => self.take(msg)?,
                        Input::Lost(error) => return Err(error).context("the terminal is gone"),
                        Input::Signal(signal) => return Ok(self.end(signal, answers)),
                    }
                } else if let Ok(msg) = answers.try_recv() {
                    self.take(msg)?;
                } else {
                    break;
                }
            }
            if !self.left {
                self.screen.draw(&self.app)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn take(&mut self, msg: Msg) -> anyhow::Result<()> {
        // Not a message of its own: the time is part of whatever happens.
        self.app.now = Some(SystemTime::now());
        let effects = update::update(&mut self.app, msg);
        self.carry_out(effects)
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        let running = self.app.jobs.list.iter();
        let views = running
            .filter(|job| job.state == super::app::JobState::Running)
            .map(|job| (job.id, job.progress.view()))
            .collect();
        self.take(Msg::Progress(views))
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> anyhow::Result<()> {
        for effect in effects {
            match effect {
                Effect::Quit => self.left = true,
                Effect::Redraw => self.screen.forget()?,
                Effect::Copy(text) => self.screen.copy(&text)?,
                other => self.workers.start(other),
            }
        }
        Ok(())
    }

    /// Told to end: jobs are asked to stop and get a moment, then the terminal is given back. One
    /// that did not make it is as safe as after a crash: every image is readable.
    fn end(self, signal: i32, answers: &Receiver<Msg>) -> ExitCode {
        let open: Vec<u64> = self
            .app
            .jobs
            .list
            .iter()
            .filter(|job| job.state == super::app::JobState::Running)
            .map(|job| {
                job.progress.cancel();
                job.id
            })
            .collect();
        let deadline = after(GRACE);
        let mut left = open.len();
        while left > 0 {
            select! {
                recv(answers) -> got => match got {
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

/// Reads what the terminal sends, for as long as somebody listens.
fn listen(to: &Sender<Input>) {
    loop {
        let input = match event::read() {
            Ok(Event::Key(key)) => {
                // Esc with a key right behind it looks like Alt with that key; nothing is bound to
                // Alt, so it is taken for what it may have been.
                if key.modifiers.contains(KeyModifiers::ALT)
                    && key.kind != KeyEventKind::Release
                    && to.send(Input::Msg(Msg::Key(Key::of(Code::Esc)))).is_err()
                {
                    return;
                }
                key_of(key).map(|key| Input::Msg(Msg::Key(key)))
            }
            Ok(Event::Paste(text)) => Some(Input::Msg(Msg::Paste(text))),
            Ok(Event::Resize(width, height)) => Some(Input::Msg(Msg::Resize(width, height))),
            Ok(_) => None,
            Err(error) => {
                // Nobody listening is as good as told.
                let _ = to.send(Input::Lost(error));
                return;
            }
        };
        if let Some(input) = input
            && to.send(input).is_err()
        {
            return;
        }
    }
}

/// A key in our own words. Only presses count, repeats included: a release would act twice.
fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let code = match key.code {
        KeyCode::Char(c) => Code::Char(c),
        KeyCode::Enter => Code::Enter,
        KeyCode::Esc => Code::Esc,
        KeyCode::Tab => Code::Tab,
        KeyCode::BackTab => Code::BackTab,
        KeyCode::Up => Code::Up,
        KeyCode::Down => Code::Down,
        KeyCode::Left => Code::Left,
        KeyCode::Right => Code::Right,
        KeyCode::Home => Code::Home,
        KeyCode::End => Code::End,
        KeyCode::PageUp => Code::PageUp,
        KeyCode::PageDown => Code::PageDown,
        KeyCode::Backspace => Code::Backspace,
        KeyCode::Delete => Code::Delete,
        _ => return None,
    };
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL) && matches!(code, Code::Char(_));
    Some(Key { code, ctrl })
}
