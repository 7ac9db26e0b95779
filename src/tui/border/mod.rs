//! The one way from the step to the world: what an effect would do to files of this machine is done to no name that
//! came from another one, and whoever opens files is given the images of this machine alone. A name of another
//! machine is never absolute; that a file here is called `web:/srv/a` changes nothing. What is asked about the images of
//! one host goes to it by the names that they have there, and its answers come back by those that they have here.

mod names;
mod narrow;

use std::path::Path;

use crate::forest::far::host_and_path;
use crate::machines::host_and_connection;
use crate::ops::{Error, Request};

use super::browse::{ComparedWith, Question, Trouble};
use super::file_changes::{Before, FilesAnswer, FilesQuery};
use super::hosts::{NOT_COMPARED, NOT_HERE};
use super::jobs::Work;
use super::msg::{Effect, Msg};
use super::query::Completions;

pub(super) use names::told;
pub(super) use narrow::Narrow;

/// An effect that is let through.
#[derive(Debug)]
pub(super) enum Passed {
    /// It is carried out here.
    Here(Effect),
    /// It is about images of the host at this place alone, and names them as they are called there.
    There(usize, Effect),
}

/// Lets effects through.
#[derive(Debug, Default)]
pub(super) struct Border {
    /// The names of the other machines.
    hosts: Vec<String>,
}

impl Border {
    /// With other machines of these names, in the order of their places.
    #[must_use]
    pub(super) fn new(hosts: Vec<String>) -> Self {
        Self { hosts }
    }

    /// Whether there are other machines.
    #[must_use]
    pub(super) fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// The effect as it may be carried out, and where; by [`Narrow`] it is given the images of this machine alone.
    ///
    /// # Errors
    /// What is answered in its place, if anybody waits for an answer.
    pub(super) fn pass(&self, effect: Effect) -> Result<Passed, Vec<Msg>> {
        if self.hosts.is_empty() {
            return Ok(Passed::Here(effect));
        }
        match names::there(&self.hosts, effect) {
            (Some(at), effect) => Ok(Passed::There(at, effect)),
            (None, effect) => Self::pass_here(effect).map(Passed::Here),
        }
    }

    /// The effect as it may be carried out here.
    fn pass_here(effect: Effect) -> Result<Effect, Vec<Msg>> {
        let told = || vec![Msg::Tell(format!("Not done: {NOT_HERE}."))];
        let why = || NOT_HERE.to_owned();
        Ok(match effect {
            Effect::Plan { ref request, .. } if names_far(request) => return Err(told()),
            Effect::PlanEach { ref requests, .. } if requests.iter().any(names_far) => {
                return Err(told());
            }
            Effect::Refresh(query_id, forest, mut changed) => {
                changed.retain(|path| path.is_absolute());
                Effect::Refresh(query_id, forest, changed)
            }
            Effect::Run { job, work, .. } if works_there(&work) => {
                let error = Error::failed(NOT_HERE.to_owned());
                return Err(vec![Msg::Ended(job, Err(error))]);
            }
            Effect::Info(path) if is_far(&path) => return Err(Vec::new()),
            Effect::Map(path, _) if is_far(&path) => {
                return Err(vec![Msg::Mapped(path, Err(why()))]);
            }
            Effect::Files(query) if is_far(query.image()) || compares_there(&query) => {
                let why = FilesAnswer::Failed(NOT_COMPARED.to_owned());
                return Err(vec![Msg::Files(query, why)]);
            }
            Effect::Complete(query_id, path) if is_far(&path) => {
                return Err(vec![Msg::Completed(query_id, Completions::default())]);
            }
            Effect::Browse(query_id, ref question) if browses_there(question) => {
                let trouble = Trouble::Told(NOT_COMPARED.to_owned());
                return Err(vec![Msg::Browsed(query_id, Box::new(Err(trouble)))]);
            }
            Effect::Unlock(image, _) if is_far(&image) => return Err(Vec::new()),
            Effect::Measure {
                query_id,
                ref image,
                ..
            } if is_far(image) => return Err(vec![Msg::Measured(query_id, Err(why()))]),
            Effect::Accept(base, _) if is_far(&base) => return Err(told()),
            Effect::Open(roots) if roots.iter().any(|root| is_far(root)) => return Err(told()),
            Effect::Shell(dir) if is_far(&dir) => return Err(told()),
            Effect::Mount(image, _) if is_far(&image) => return Err(told()),
            Effect::OnScreen(words) if words.iter().any(|word| is_named(Path::new(word))) => {
                return Err(told());
            }
            // They name no file, or only what is planned, looked through or asked for here.
            Effect::Plan { .. }
            | Effect::PlanEach { .. }
            | Effect::Candidates(..)
            | Effect::Keep { .. }
            | Effect::Space { .. }
            | Effect::Insides(..)
            | Effect::Machines(_)
            | Effect::Examine(_)
            | Effect::Interrupted(..)
            | Effect::Remember(_)
            | Effect::Accept(..)
            | Effect::Scan(_)
            | Effect::Gather(..)
            | Effect::ScanHost(..)
            | Effect::AskHost(..)
            | Effect::JoinSpace(..)
            | Effect::ChangeThere { .. }
            | Effect::Filter { .. }
            | Effect::Run { .. }
            | Effect::Info(_)
            | Effect::Map(..)
            | Effect::Files(_)
            | Effect::Unlock(..)
            | Effect::Protect(..)
            | Effect::Forget
            | Effect::Complete(..)
            | Effect::Notify(_)
            | Effect::StopSpace
            | Effect::Browse(..)
            | Effect::StopBrowsing
            | Effect::LookInside { .. }
            | Effect::StopLookingInside
            | Effect::StopInsides
            | Effect::Trash(_)
            | Effect::Measure { .. }
            | Effect::Open(_)
            | Effect::Copy(_)
            | Effect::Mouse(_)
            | Effect::Shell(_)
            | Effect::Mount(..)
            | Effect::OnScreen(_)
            | Effect::OnScreenThere(..)
            | Effect::Suspend
            | Effect::Redraw
            | Effect::Quit => effect,
        })
    }
}

/// Whether a path is none of this machine.
fn is_far(path: &Path) -> bool {
    path.is_relative()
}

/// Whether a word, or what stands behind its equals sign, may be a path of another machine.
fn is_named(word: &Path) -> bool {
    let text = word.to_string_lossy();
    let value = text.split_once('=').map(|(_, value)| Path::new(value));
    host_and_path(word).is_some() || value.is_some_and(|value| host_and_path(value).is_some())
}

/// Whether a request names a file or a connection of another machine.
fn names_far(request: &Request) -> bool {
    let mut paths = request.paths().into_iter();
    let mut connections = request.connections().into_iter();
    paths.any(|path| host_and_path(&path).is_some())
        || connections.any(|connection| host_and_connection(&connection).is_some())
}

fn works_there(work: &Work) -> bool {
    match work {
        // It was planned here, with nothing but the images of this machine.
        Work::Plan(_) => false,
        // Its words name files of that host, and are run there.
        Work::CommandThere(..) => false,
        Work::Check(images) => images.iter().any(|image| is_far(image)),
        Work::Compare(images) => images.iter().any(|image| is_far(image)),
        Work::Extract(what) => is_far(&what.of.image) || is_far(&what.to),
        Work::Command(words) => words.iter().any(|word| is_named(Path::new(word))),
    }
}

fn compares_there(query: &FilesQuery) -> bool {
    match query {
        FilesQuery::Changes {
            before: Before::Image(image),
            ..
        } => is_far(image),
        FilesQuery::Changes { .. } | FilesQuery::Contents(..) | FilesQuery::Explain(..) => false,
    }
}

fn browses_there(question: &Question) -> bool {
    match question {
        Question::Open(shown) => is_far(&shown.image),
        // What is open reads the machine that it is of.
        Question::Look(..) | Question::Find(..) => false,
        Question::History(_, image, _) => is_far(image),
        Question::Compare(what) => {
            let older = match &what.older {
                ComparedWith::Base | ComparedWith::Root => None,
                ComparedWith::Other(shown) => Some(shown),
            };
            is_far(&what.newer.image) || older.is_some_and(|shown| is_far(&shown.image))
        }
    }
}

#[cfg(test)]
mod tests;
