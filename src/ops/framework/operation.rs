//! What every operation says of itself. A request is a struct in its operation's file, and this trait is all
//! that the rest of the program asks it: planning, the journal, undo, recovery and the faces go by it and
//! match no request by its kind. No method has a default, so that a new operation answers each question.

use std::fmt;
use std::path::Path;

use super::command_line::CommandLine;
use super::nature::{Nature, RestsOn};
use super::plan::Plan;
use super::recovery::{Half, Way};
use super::request::Name;

/// One operation, as it was asked for.
pub(in crate::ops) trait Operation: fmt::Debug {
    /// The word that asks for it at a command line, and by which people know it.
    fn name(&self) -> &'static str;

    /// The word for doing it, as it stands on the button that says yes.
    fn verb(&self) -> &'static str;

    /// What it does to files, as far as the request alone tells.
    fn nature(&self) -> Nature<'_>;

    /// Visits whatever it names that lies outside the request: all paths and all entries of the trash.
    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>));

    /// The images whose content, with all below it, it copies into other files.
    fn copies(&self) -> Vec<&Path>;

    /// The command line that asks for exactly this; none where no command line does.
    fn command_line(&self) -> Option<CommandLine>;

    /// Looks, and says in the plan what it would do. Changes nothing.
    fn plan(&self, plan: &mut Plan);

    /// Where this is what takes back another operation: what has to be as that one left it.
    fn rests_on(&self) -> RestsOn<'_>;

    /// What does it to the end, where it was interrupted.
    fn finish(&self, half: &Half<'_>) -> Way;

    /// Whether what was done of it may be taken back after an interruption although its plan named no way
    /// back, as far as can be said without a look at the files.
    fn can_roll_back(&self) -> bool;

    /// What takes back what was done of it, where it was interrupted.
    fn roll_back(&self, half: &Half<'_>) -> Way;
}
