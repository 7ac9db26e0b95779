//! How far an interrupted operation came, told from what is there now. Each operation decides in its own file
//! what follows from that; what several of them go by is here. Nothing is changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::context::Context;
use super::data_files::data_file_of;
use super::format::{listed_names, shown};
use super::journal::Entry;
use super::nature::{Nature, Relocation};
use super::note::Note;
use super::preconditions::FileVersion;
use super::request::Request;
use super::{resolve, trash};

/// What can be done about an operation that was interrupted.
pub(in crate::ops) enum Way {
    /// This.
    Ask(Request),
    /// These, none of which rests on what another one changes.
    Each(Vec<Request>),
    /// This, and something to know about it; where it finishes, that it only repeats something.
    But(Request, Note),
    /// Nothing: it is through, or was never begun. A sentence that says which.
    Nothing(String),
    /// Nothing can be: why.
    Impossible(String),
}

/// What is still at its place of the files that were to go to the trash.
pub(in crate::ops) enum Left {
    All,
    Some(Vec<PathBuf>),
    None,
}

/// An operation of which a part may be done.
pub(in crate::ops) struct Half<'a> {
    pub(in crate::ops) context: &'a Context,
    pub(in crate::ops) entry: &'a Entry,
}

impl Half<'_> {
    /// Whether there is a file of that name.
    pub(in crate::ops) fn is_there(&self, path: &Path) -> bool {
        self.context.host.stat_link(path).is_ok()
    }

    /// Those of the files that are there.
    pub(in crate::ops) fn there_of(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        let there = files.iter().filter(|path| self.is_there(path));
        there.cloned().collect()
    }

    /// What is still at its place of the files that were to go to the trash.
    pub(in crate::ops) fn left(&self) -> Left {
        let left = self.there_of(&self.entry.goes);
        if left.is_empty() {
            Left::None
        } else if left.len() == self.entry.goes.len() {
            Left::All
        } else {
            Left::Some(left)
        }
    }

    /// The trash entries, not older than the operation, that hold one of these files: by this reason,
    /// or by any.
    pub(in crate::ops) fn batches(&self, files: &[PathBuf], reason: Option<&str>) -> Vec<String> {
        let host = self.context.host.as_ref();
        let state_dir = self.context.state_dir.as_deref();
        trash::holding(host, state_dir, files, self.entry.begun)
            .into_iter()
            .filter(|batch| reason.is_none_or(|reason| batch.reason == reason))
            .map(|batch| batch.name)
            .collect()
    }

    /// The trash entry that holds the very file of this name that was there when the operation was begun; the inner
    /// none where it is at its place still, and the outer where neither can be told.
    pub(in crate::ops) fn entry_of_file(&self, path: &Path) -> Option<Option<String>> {
        let was = self.entry.before.version(path)?;
        let host = self.context.host.as_ref();
        let state_dir = self.context.state_dir.as_deref();
        let files = [path.to_path_buf()];
        let entries = trash::holding(host, state_dir, &files, SystemTime::UNIX_EPOCH);
        let kept: Vec<(&String, FileVersion)> = entries
            .iter()
            .flat_map(|entry| entry.files.iter().map(move |file| (&entry.name, file)))
            .filter(|(_, file)| file.original.file_name() == path.file_name())
            .filter_map(|(name, file)| Some((name, FileVersion::now(host, &file.kept_at).ok()?)))
            .collect();
        let here = FileVersion::now(host, path).ok();
        for is_it in [FileVersion::is_same_file, FileVersion::is_alike] {
            if let Some((name, _)) = kept.iter().find(|(_, file)| is_it(file, was)) {
                // Two that are alike are told apart by which has the name.
                if here.as_ref().is_none_or(|here| !is_it(here, was)) {
                    return Some(Some((*name).clone()));
                }
            }
            if here.as_ref().is_some_and(|here| is_it(here, was)) {
                return Some(None);
            }
        }
        None
    }

    /// Whether the file went to the trash since the operation was begun.
    pub(in crate::ops) fn is_in_trash(&self, path: &Path) -> bool {
        !self.is_there(path) && !self.batches(&[path.to_path_buf()], None).is_empty()
    }

    /// Those of these entries that are in the trash.
    pub(in crate::ops) fn in_trash(&self, names: &[String]) -> Vec<String> {
        let host = self.context.host.as_ref();
        let dirs = &self.context.looked_in.dirs();
        let (found, _) = trash::find(host, self.context.state_dir.as_deref(), dirs, names);
        found.into_iter().map(|entry| entry.name).collect()
    }

    /// Whether the image is built on that one now.
    pub(in crate::ops) fn is_built_on(&self, image: &Path, base: &Path) -> bool {
        let found = resolve::named(self.context, image).and_then(|node| {
            let base = resolve::named(self.context, base)?;
            Ok(node.parent == Some(base.id))
        });
        found.unwrap_or(false)
    }

    /// That one of the images that the operation rests on is not among those looked at, so that nobody can tell
    /// what it is built on now.
    pub(in crate::ops) fn unknown(&self) -> Option<String> {
        let forest = self.context.forest.as_ref();
        let is_data = |path: &PathBuf| {
            let mut nodes = forest.nodes();
            nodes.any(|node| {
                data_file_of(self.context.host.as_ref(), node)
                    .is_some_and(|(data, _)| data == *path)
            })
        };
        let is_known = |path: &PathBuf| resolve::named(self.context, path).is_ok();
        let mut touched = self.entry.touched.iter();
        let unknown = touched.find(|path| !is_known(path) && !is_data(path))?;
        Some(format!(
            "{} is not among the images looked at, so what it is built on now is not known: look in its folder too",
            shown(unknown)
        ))
    }

    /// What finishes an operation that only makes files, each of which gets its name when it is whole.
    pub(in crate::ops) fn finish_making(&self, again: impl Into<Request>) -> Way {
        let made = self.there_of(&self.entry.creates);
        if made.is_empty() {
            return Way::Ask(again.into());
        }
        if made.len() == self.entry.creates.len() {
            return Self::made(&made);
        }
        Way::Impossible(format!(
            "{} of {} are there, and nothing is overwritten: roll it back, then ask again",
            listed_names(&made),
            self.entry.creates.len()
        ))
    }

    /// The same where what is there already is recognised, and the rest made beside it.
    pub(in crate::ops) fn finish_making_the_rest(&self, again: impl Into<Request>) -> Way {
        let made = self.there_of(&self.entry.creates);
        match made.len() < self.entry.creates.len() {
            true => Way::Ask(again.into()),
            false => self.finish_making(again),
        }
    }

    /// That nothing is left to make.
    pub(in crate::ops) fn made(files: &[PathBuf]) -> Way {
        Way::Nothing(format!(
            "{} {} there, and whole: a name comes last",
            listed_names(files),
            if files.len() == 1 { "is" } else { "are" }
        ))
    }

    /// What takes back an operation that only makes files.
    pub(in crate::ops) fn unmake(&self) -> Way {
        let images = self.there_of(&self.entry.creates);
        match images.is_empty() {
            true => Way::Nothing("nothing of it has its name yet".to_owned()),
            false => Way::Ask(Request::discard(images)),
        }
    }

    /// The way back that was written down when it was begun.
    pub(in crate::ops) fn planned_way_back(&self) -> Option<Way> {
        let back = self.entry.roll_back.as_ref()?;
        Some(Way::Ask(back.clone()))
    }

    /// The same, of an operation that has no other way back.
    pub(in crate::ops) fn as_planned(&self) -> Way {
        self.planned_way_back().unwrap_or_else(|| {
            Way::Impossible(
                "what it replaced is not kept. Every image is readable; it can be finished"
                    .to_owned(),
            )
        })
    }

    /// What of it is done and what is not, in sentences.
    pub(in crate::ops) fn sentences(&self, nature: Nature<'_>) -> Vec<String> {
        let mut said = Said::default();
        match nature {
            Nature::Moves(moves) => self.say_moves(&mut said, moves),
            Nature::CreatesImage(_)
            | Nature::CreatesFiles
            | Nature::Restores
            | Nature::Repairs
            | Nature::Changes
            | Nature::TakesBack(_)
            | Nature::DoesAgain(_)
            | Nature::EndsInterrupted(..) => self.say_files(&mut said),
        }
        said.0
    }

    fn say_moves(&self, said: &mut Said, moves: &[Relocation]) {
        let (done, not): (Vec<_>, Vec<_>) = moves.iter().partition(|one| !self.is_there(&one.from));
        let names = |all: Vec<&Relocation>| all.iter().map(|one| one.from.clone()).collect();
        said.say(names(done), "has its new name", "have their new names");
        said.say(
            names(not),
            "is not moved, or has both names",
            "are not moved, or have both names",
        );
    }

    fn say_files(&self, said: &mut Said) {
        let entry = self.entry;
        let missing = |files: &[PathBuf]| -> Vec<PathBuf> {
            let gone = files.iter().filter(|path| !self.is_there(path));
            gone.cloned().collect()
        };
        said.say(self.there_of(&entry.creates), "is there", "are there");
        said.say(missing(&entry.creates), "is not made", "are not made");
        said.say(
            missing(&entry.goes),
            "is not at its place",
            "are not at their places",
        );
        said.say(
            self.there_of(&entry.goes),
            "is not in the trash",
            "are not in the trash",
        );
        let changed: Vec<PathBuf> = entry
            .concerned()
            .into_iter()
            .filter(|path| !entry.creates.contains(path) && !entry.goes.contains(path))
            .collect();
        said.say(
            changed,
            "may be changed in part, and may hold clusters that nothing uses",
            "may be changed in part, and may hold clusters that nothing uses",
        );
    }
}

#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn say(&mut self, files: Vec<PathBuf>, one: &str, many: &str) {
        if !files.is_empty() {
            let verb = if files.len() == 1 { one } else { many };
            self.0.push(format!("{} {verb}", listed_names(&files)));
        }
    }
}
