//! What an operation that was interrupted has done already, where the same is asked for again: what is there
//! is recognised, and the rest follows. How it is brought to an end through its entry is in `recover`.

use std::path::{Path, PathBuf};

use super::absolute;
use super::journal::{Entry, Journal, Standing};
use super::refusal::RefusalKind;
use super::{
    Context, MoveImages, NewSize, Plan, RecoverEntry, Recovery, Relocation, Request, Resize, WayOut,
};

fn interrupted(state_dir: Option<&Path>) -> Vec<Entry> {
    let journal = state_dir.map(Journal::at);
    let entries = journal.and_then(|journal| journal.interrupted().ok());
    entries.unwrap_or_default()
}

/// The files that the same request was to make when it was interrupted: one of them that is there may be its.
pub(super) fn made(context: &Context, request: &Request) -> Vec<PathBuf> {
    let request = request.clone().absolute();
    interrupted(context.state_dir.as_deref())
        .into_iter()
        .filter(|entry| entry.request == request)
        .flat_map(|entry| entry.creates)
        .collect()
}

/// The whole of the move that these are a part of and that was interrupted, if the names it gave are there.
pub(super) fn moves(context: &Context, wanted: &[Relocation]) -> Option<Vec<Relocation>> {
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
        .find_map(|entry| match entry.request {
            Request::Move(MoveImages { moves, .. })
                if wanted.iter().all(|one| is_of(one, &moves)) && moves.iter().any(is_begun) =>
            {
                Some(moves)
            }
            _ => None,
        })
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
    let entries = interrupted(state_dir);
    entries
        .into_iter()
        .rev()
        .find_map(|entry| match entry.request {
            Request::Move(MoveImages { moves, .. }) => {
                let mut its = moves.into_iter().filter(|one| one.from == from);
                its.next().map(|one| one.to)
            }
            _ => None,
        })
}

/// Refuses to make a disk so much larger or smaller where a resize of it was interrupted: how large it was
/// meant to become then is known, and whether this is the same is not.
pub(super) fn refuse_as_resized_in_part(plan: &mut Plan, image: &Path, wanted: NewSize) {
    if matches!(wanted, NewSize::To(_)) {
        return;
    }
    let path = absolute::path(image);
    let state_dir = plan.context().state_dir.clone();
    let found = interrupted(state_dir.as_deref()).into_iter().rev().find(
        |entry| matches!(&entry.request, Request::Resize(Resize { image, .. }) if *image == path),
    );
    let Some(entry) = found else { return };
    let way = |label: &str, way| WayOut {
        label: format!("{label}: {}", crate::host::printable(&entry.title)),
        request: Request::Recover(RecoverEntry {
            entry: entry.id,
            way,
        }),
    };
    debug_assert_eq!(entry.standing, Standing::Interrupted);
    let mut ways_out = vec![way("finish it", Recovery::Finish)];
    if entry.may_be_rolled_back() {
        ways_out.push(way("take back what was done of it", Recovery::RollBack));
    }
    plan.refuse_but(RefusalKind::Interrupted,
        format!(
            "“{}” was interrupted, so it may have happened already: finish that, or say which size it is to be",
            crate::host::printable(&entry.title)
        ),
        ways_out,
    );
}
