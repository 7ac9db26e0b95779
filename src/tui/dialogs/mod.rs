//! The dialogs: whatever takes the keyboard from the panes. Each is one file with its state, what keys mean in
//! it, what they do, and how it looks; a form is a folder of such files. What concerns others than itself it
//! says by a [`Next`], which `update::dialogs` does.
//!
//! | file | what |
//! |---|---|
//! | `window` | what every dialog can do |
//! | `next` | what a dialog may ask for |
//! | `list_cursor`, `typing` | what several of them need |

pub(crate) mod files;
pub(crate) mod files_line;
mod filter_line;
mod folders;
pub(crate) mod form;
pub(crate) mod jobs;
mod leave;
pub(crate) mod list;
pub(super) mod list_cursor;
mod log;
mod measure;
mod next;
mod plan;
mod prune;
mod secret;
pub(crate) mod space;
mod trash;
mod typing;
mod window;

use super::bindings::{self, TableRow};
use super::there::Part;
use crate::ops::{Effect, Plan, Request};

pub(crate) use next::Next;
pub(crate) use secret::SecretThere;
pub(crate) use window::{AnyWindow, Context, Window};

/// Makes of one line a dialog that can be opened, has its keys and is drawn: its file, its state, which is what
/// implements [`Window`], and its name.
macro_rules! dialogs {
    ($($(#[$doc:meta])* pub(crate) use $file:ident::$state:ident; as $name:ident,)+) => {
        $(pub(crate) use $file::$state;)+

        /// Something that is open.
        #[derive(Debug)]
        pub enum Dialog {
            $($(#[$doc])* $name(Box<$state>),)+
        }

        impl Dialog {
            /// What it can do.
            #[must_use]
            pub fn window(&self) -> &dyn AnyWindow {
                match self {
                    $(Self::$name(state) => state.as_ref(),)+
                }
            }

            /// The same, to be changed.
            pub fn window_mut(&mut self) -> &mut dyn AnyWindow {
                match self {
                    $(Self::$name(state) => state.as_mut(),)+
                }
            }
        }

        $(impl From<$state> for Dialog {
            fn from(state: $state) -> Self {
                Self::$name(Box::new(state))
            }
        })+

        /// The dialogs' part of the table of keys.
        pub(super) fn rows() -> impl Iterator<Item = TableRow> {
            std::iter::empty()$(.chain(bindings::rows::<<$state as Window>::Action>()))+
        }
    };
}

dialogs! {
    /// The jobs pane.
    pub(crate) use jobs::JobsPane; as Jobs,
    /// The filter line.
    pub(crate) use filter_line::FilterLine; as Filter,
    /// A searchable list.
    pub(crate) use list::ListMenu; as List,
    /// A small form.
    pub(crate) use form::Form; as Form,
    /// A plan waits for an answer.
    pub(crate) use plan::PlanDialog; as Plan,
    /// The prune checklist.
    pub(crate) use prune::PruneDialog; as Prune,
    /// Where the space went.
    pub(crate) use space::SpaceDialog; as Space,
    /// The files inside an image.
    pub(crate) use files::FilesDialog; as Files,
    /// What is asked about them is typed.
    pub(crate) use files_line::FilesLine; as FilesLine,
    /// The trash.
    pub(crate) use trash::TrashDialog; as Trash,
    /// Jobs run, and the person wants to leave.
    pub(crate) use leave::LeaveDialog; as Leave,
    /// The log.
    pub(crate) use log::LogView; as Log,
    /// A passphrase is asked for.
    pub(crate) use secret::SecretDialog; as Secret,
    /// How large a copy would be.
    pub(crate) use measure::MeasureDialog; as Measure,
    /// Another folder is chosen.
    pub(crate) use folders::FoldersDialog; as Folders,
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

    /// The space pane, if it is open, be it below others.
    #[must_use]
    pub fn space(&self) -> Option<&SpaceDialog> {
        self.open.iter().find_map(|dialog| match dialog {
            Dialog::Space(pane) => Some(pane.as_ref()),
            _ => None,
        })
    }

    /// The prune checklist, if it is open, be it below others.
    pub(super) fn prune_mut(&mut self) -> Option<&mut PruneDialog> {
        self.open.iter_mut().find_map(|dialog| match dialog {
            Dialog::Prune(dialog) => Some(dialog.as_mut()),
            _ => None,
        })
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
    pub(super) fn open(&mut self, dialog: impl Into<Dialog>) {
        self.open.push(dialog.into());
    }

    /// Opens one instead of all that is open.
    pub(super) fn open_alone(&mut self, dialog: impl Into<Dialog>) {
        self.open.clear();
        self.open(dialog);
    }

    /// Closes the topmost.
    pub(super) fn close(&mut self) {
        self.open.pop();
    }

    /// Closes all. Where the plan of one of several machines was among them, those that follow it.
    pub(super) fn close_all(&mut self) -> Option<Vec<Part>> {
        let mut closed = self.open.drain(..);
        closed.find_map(|dialog| match dialog {
            Dialog::Plan(mut dialog) => dialog.following.take(),
            _ => None,
        })
    }

    /// The plan that has the keyboard.
    #[must_use]
    pub(super) fn top_plan(&self) -> Option<&PlanDialog> {
        match self.top() {
            Some(Dialog::Plan(dialog)) => Some(dialog),
            _ => None,
        }
    }

    /// Has these follow the plan that has the keyboard, whatever becomes of it.
    pub(super) fn let_follow(&mut self, following: Vec<Part>) {
        if let Some(Dialog::Plan(dialog)) = self.top_mut() {
            dialog.following = Some(following);
        }
    }

    /// Those that follow the plan that has the keyboard, where it is one of several; they do not any more.
    pub(super) fn take_following(&mut self) -> Option<Vec<Part>> {
        match self.top_mut() {
            Some(Dialog::Plan(dialog)) => dialog.following.take(),
            _ => None,
        }
    }

    /// The plan that waits for an answer, be it below a passphrase that is asked for.
    #[must_use]
    pub fn plan(&self) -> Option<&PlanDialog> {
        self.open.iter().rev().find_map(|dialog| match dialog {
            Dialog::Plan(dialog) => Some(dialog.as_ref()),
            _ => None,
        })
    }

    /// The same, to be changed.
    pub fn plan_mut(&mut self) -> Option<&mut PlanDialog> {
        self.open.iter_mut().rev().find_map(|dialog| match dialog {
            Dialog::Plan(dialog) => Some(dialog.as_mut()),
            _ => None,
        })
    }

    /// What the plan of a host that is shown was asked for, and its effects.
    #[must_use]
    pub fn plan_there(&self) -> Option<(&Request, &[Effect])> {
        // A passphrase is asked for over what shows plans.
        let mut open = self.open.iter().rev();
        match open.find(|dialog| !matches!(dialog, Dialog::Secret(_)))? {
            Dialog::Plan(dialog) => Some((&dialog.request, dialog.effects_there()?)),
            _ => None,
        }
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
