//! What becomes of a dialog after a key: a dialog changes itself, and says here what it cannot do, since
//! others are concerned. `update::dialogs` does that.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::image::Passphrase;
use crate::ops::{Ready, Request};
use crate::tui::actions::{self, Motion};
use crate::tui::browse::{Extraction, Shown, Spot};
use crate::tui::forms::FormKind;
use crate::tui::jobs::Task;
use crate::tui::there::Part;

/// What becomes of a dialog.
#[derive(Debug)]
pub enum Next {
    /// It stays open.
    Stay,
    /// Back to what it came from.
    Close,
    /// The same; nothing of what it asked about was done, which is said where it leads to the panes.
    Cancel,
    /// A plan is asked for; the dialog waits below it.
    Ask(Box<Request>),
    /// A plan is asked for of the host of this place; the dialog waits below it.
    AskThere(usize, Box<Request>),
    /// Plans of several machines are asked for, one after the other; the dialog waits below.
    AskEach(Vec<Part>),
    /// A plan is asked for in its place.
    AskInstead {
        /// What is asked.
        request: Box<Request>,
        /// Whether running it has to prove that no other image changes.
        proves: bool,
    },
    /// The passphrase of an image is asked for; the dialog waits below the question.
    AskSecret(PathBuf),
    /// A passphrase was given: on with what waits for it.
    Unlocked {
        /// The image.
        image: PathBuf,
        /// Its passphrase.
        passphrase: Passphrase,
        /// The job that has ended for lack of it.
        job: Option<u64>,
    },
    /// The passphrase was given that a host asks for by this number, or none: on with its plan.
    UnlockedThere(u32, Option<Passphrase>),
    /// The person agreed: these become jobs, and every dialog closes.
    Agreed(Vec<Ready>),
    /// The person agreed to the plan of a host by typing this: it becomes a job, and every dialog closes.
    AgreedThere(String),
    /// An action of the panes was chosen.
    Run(actions::Action),
    /// The cursor of the panes moves; the dialog stays open.
    Go(Motion),
    /// The terms of a filter are explained, over the dialog.
    Terms,
    /// A form about the image that actions are about, in its place.
    Fill(FormKind, Option<OsString>),
    /// A command of the person's own becomes a job; the dialog closes.
    Command {
        /// What it is called.
        title: String,
        /// The program and its words, and where it is run.
        task: Task,
        /// The files it reads.
        reads: Vec<PathBuf>,
    },
    /// A name is typed by which files inside the image are found; the dialog waits below.
    FindFiles,
    /// That name was typed.
    FoundBy(String),
    /// A folder is typed to copy this file or folder of an image to; the dialog waits below.
    ExtractTo(Shown, Spot),
    /// That folder was typed: a job.
    Extract(Box<Extraction>),
    /// A job was stopped: another may begin.
    StartJobs,
    /// A job that is over is tried again.
    Retry {
        /// What it is called.
        title: String,
        /// What it is about.
        task: Task,
    },
    /// The log of that job, or the whole one, over the dialog.
    Log(Option<u64>),
    /// The person wants to leave the program.
    Quit,
}
