//! What an operation that was interrupted has done already, where the same is asked for again: what is there
//! is recognised, and the rest follows. How it is brought to an end through its entry is in `recover`.

use std::path::{Path, PathBuf};

use super::absolute;
use super::context::Context;
use super::journal::{Entry, Journal};
use super::nature::{Nature, Relocation};
use super::preconditions::FileVersion;
use super::request::Request;

/// The operations that were interrupted, if any of that can be told.
pub(in crate::ops) fn interrupted(state_dir: Option<&Path>) -> Vec<Entry> {
    let journal = state_dir.map(Journal::at);
    let entries = journal.and_then(|journal| journal.interrupted().ok());
    entries.unwrap_or_default()
}

/// The files that the same request was to make when it was interrupted: one of them that is there may be its.
pub(in crate::ops) fn made(context: &Context, request: &Request) -> Vec<PathBuf> {
    let request = request.clone().absolute();
    interrupted(context.state_dir.as_deref())
        .into_iter()
        .filter(|entry| entry.request.itself() == request.itself())
        .flat_map(|entry| entry.creates)
        .collect()
}

/// Whether the file is what it was when the same request was begun and interrupted.
pub(in crate::ops) fn is_as_begun(context: &Context, request: &Request, file: &Path) -> bool {
    let request = request.clone().absolute();
    let Ok(now) = FileVersion::now(context.host.as_ref(), file) else {
        return false;
    };
    let file = absolute::path(file);
    let entries = interrupted(context.state_dir.as_deref());
    let mut of_request = entries
        .iter()
        .filter(|entry| entry.request.itself() == request.itself());
    of_request.all(|entry| match entry.before.version(&file) {
        Some(was) => *was == now,
        // One that is only read is not noted.
        None => now.modified() <= entry.begun,
    })
}

/// The whole of the move that these are a part of and that was interrupted, if the names it gave are there.
pub(in crate::ops) fn moves(context: &Context, wanted: &[Relocation]) -> Option<Vec<Relocation>> {
    let host = context.host.as_ref();
    let id = |path: &Path| host.stat_link(path).ok().map(|stat| stat.id);
    // It has its new name, and perhaps the old one as well.
    let is_begun = |one: &Relocation| match (id(&one.from), id(&one.to)) {
        (None, Some(_)) => true,
        (from, to) => from.is_some() && from == to,
    };
    interrupted(context.state_dir.as_deref())
        .into_iter()
        .rev()
        .find_map(|entry| {
            let moves = moves_of(&entry)?;
            let is_it = wanted.iter().all(|one| is_of(one, moves)) && moves.iter().any(is_begun);
            is_it.then(|| moves.to_vec())
        })
}

/// The names that it gives, if it gives files other names.
fn moves_of(entry: &Entry) -> Option<&[Relocation]> {
    match entry.request.operation().nature() {
        Nature::Moves(moves) => Some(moves),
        Nature::CreatesImage(_)
        | Nature::CreatesFiles
        | Nature::Restores
        | Nature::Repairs
        | Nature::Changes
        | Nature::TakesBack(_)
        | Nature::DoesAgain(_)
        | Nature::EndsInterrupted(..) => None,
    }
}

fn is_of(wanted: &Relocation, moves: &[Relocation]) -> bool {
    let (from, to) = (absolute::path(&wanted.from), absolute::path(&wanted.to));
    moves.iter().any(|one| {
        let into = one.from.file_name().map(|name| to.join(name));
        one.from == from && (one.to == to || Some(&one.to) == into.as_ref())
    })
}

/// Where a move that was interrupted has taken the file of this name, or was to take it.
#[must_use]
pub fn moved_to(state_dir: Option<&Path>, from: &Path) -> Option<PathBuf> {
    let from = absolute::path(from);
    interrupted(state_dir).into_iter().rev().find_map(|entry| {
        let mut its = moves_of(&entry)?.iter().filter(|one| one.from == from);
        its.next().map(|one| one.to.clone())
    })
}
