//! The dialogs: whatever takes the keyboard from the panes. Each is one file with its state, what keys mean in
//! it, what they do, and how it looks; a form is a folder of such files. What concerns others than itself it
//! says by a [`Next`], which `update::dialogs` does.
//!
//! | file | what |
//! |---|---|
//! | `window` | what every dialog can do |
//! | `next` | what a dialog may ask for |
//! | `list_cursor`, `typing` | what several of them need |

mod filter_line;
mod folders;
pub(crate) mod form;
mod jobs;
mod leave;
pub(crate) mod list;
pub(super) mod list_cursor;
mod log;
mod measure;
mod next;
mod plan;
mod prune;
mod secret;
mod trash;
mod typing;
mod window;

use crate::ops::Plan;

pub(crate) use filter_line::{Action as FilterAction, FilterLine};
pub(crate) use folders::{Action as FoldersAction, FoldersDialog};
pub(crate) use form::{Action as FormAction, Form};
pub(crate) use jobs::{Action as JobsAction, JobsPane};
pub(crate) use leave::{Action as LeaveAction, LeaveDialog};
pub(crate) use list::{Action as ListAction, ListMenu};
pub(crate) use log::{Action as LogAction, LogView};
pub(crate) use measure::{Action as MeasureAction, MeasureDialog};
pub(crate) use next::Next;
pub(crate) use plan::{Action as PlanAction, PlanDialog};
pub(crate) use prune::{Action as PruneAction, PruneDialog};
pub(crate) use secret::{Action as SecretAction, SecretDialog};
pub(crate) use trash::{Action as TrashAction, TrashDialog};
pub(crate) use window::{AnyWindow, Context};

/// Something that is open.
#[derive(Debug)]
pub enum Dialog {
    /// The jobs pane.
    Jobs(JobsPane),
    /// The filter line.
    Filter(FilterLine),
    /// A searchable list.
    List(Box<ListMenu>),
    /// A small form.
    Form(Box<Form>),
    /// A plan waits for an answer.
    Plan(Box<PlanDialog>),
    /// The prune checklist.
    Prune(Box<PruneDialog>),
    /// The trash.
    Trash(Box<TrashDialog>),
    /// Jobs run, and the person wants to leave.
    Leave(LeaveDialog),
    /// The log.
    Log(LogView),
    /// A passphrase is asked for.
    Secret(Box<SecretDialog>),
    /// How large a copy would be.
    Measure(Box<MeasureDialog>),
    /// Another folder is chosen.
    Folders(Box<FoldersDialog>),
}

impl Dialog {
    /// What it can do.
    #[must_use]
    pub fn window(&self) -> &dyn AnyWindow {
        match self {
            Self::Jobs(pane) => pane,
            Self::Filter(line) => line,
            Self::List(menu) => menu.as_ref(),
            Self::Form(form) => form.as_ref(),
            Self::Plan(dialog) => dialog.as_ref(),
            Self::Prune(dialog) => dialog.as_ref(),
            Self::Trash(dialog) => dialog.as_ref(),
            Self::Leave(dialog) => dialog,
            Self::Log(view) => view,
            Self::Secret(dialog) => dialog.as_ref(),
            Self::Measure(dialog) => dialog.as_ref(),
            Self::Folders(dialog) => dialog.as_ref(),
        }
    }

    /// The same, to be changed.
    pub fn window_mut(&mut self) -> &mut dyn AnyWindow {
        match self {
            Self::Jobs(pane) => pane,
            Self::Filter(line) => line,
            Self::List(menu) => menu.as_mut(),
            Self::Form(form) => form.as_mut(),
            Self::Plan(dialog) => dialog.as_mut(),
            Self::Prune(dialog) => dialog.as_mut(),
            Self::Trash(dialog) => dialog.as_mut(),
            Self::Leave(dialog) => dialog,
            Self::Log(view) => view,
            Self::Secret(dialog) => dialog.as_mut(),
            Self::Measure(dialog) => dialog.as_mut(),
            Self::Folders(dialog) => dialog.as_mut(),
        }
    }
}

/// Who has the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyboard {
    /// The panes.
    Panes,
    /// The filter line.
    FilterLine,
    /// The jobs pane.
    Jobs,
    /// A dialog.
    Dialog,
}

/// What is open: each over what it came from, and goes back to. The topmost has the keyboard.
#[derive(Debug, Default)]
pub struct Dialogs {
    open: Vec<Dialog>,
}

impl Dialogs {
    /// The one that has the keyboard; none if the panes have it.
    #[must_use]
    pub fn top(&self) -> Option<&Dialog> {
        self.open.last()
    }

    /// The same, to be changed.
    pub fn top_mut(&mut self) -> Option<&mut Dialog> {
        self.open.last_mut()
    }

    /// Whether the panes have the keyboard.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Who has the keyboard.
    #[must_use]
    pub fn keyboard(&self) -> Keyboard {
        match self.top() {
            None => Keyboard::Panes,
            Some(Dialog::Filter(_)) => Keyboard::FilterLine,
            Some(Dialog::Jobs(_)) => Keyboard::Jobs,
            Some(_) => Keyboard::Dialog,
        }
    }

    /// Opens one over what is open.
    pub(super) fn open(&mut self, dialog: Dialog) {
        self.open.push(dialog);
    }

    /// Opens one instead of all that is open.
    pub(super) fn open_alone(&mut self, dialog: Dialog) {
        self.open.clear();
        self.open.push(dialog);
    }

    /// Closes the topmost.
    pub(super) fn close(&mut self) {
        self.open.pop();
    }

    /// Closes all.
    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }

    /// The plan that is shown, or several that are agreed to together.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        // A passphrase is asked for over what shows plans.
        let mut open = self.open.iter().rev();
        match open.find(|dialog| !matches!(dialog, Dialog::Secret(_))) {
            Some(Dialog::Form(form)) => &form.plans,
            Some(Dialog::Plan(dialog)) => dialog.plan.as_deref().map_or(&[], std::slice::from_ref),
            _ => &[],
        }
    }
}
