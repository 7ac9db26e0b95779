//! How far an interrupted operation came, told from what is there now, and what follows: a request that
//! does the rest or takes back the half, or a sentence why there is none. Nothing is changed here.

use std::path::{Path, PathBuf};

use crate::host::printable;

use super::super::journal::Entry;
use super::super::members::data_file_of;
use super::super::trash;
use super::super::words::{listed, name, shown};
use super::super::{
    CloneImage, Commit, CommittedLayer, Context, Direction, Discard, EmptyTrash, Export, Flatten,
    MoveImages, Rebase, Relink, Relocation, RemoveLeftovers, RepairAction, RepairImage, Request,
    Restore, Siblings, Squash, Uncommit, backing_format, find, repair,
};

/// What can be done about it.
pub(super) enum Way {
    /// This.
    Ask(Request),
    /// These, none of which rests on what another one changes.
    Each(Vec<Request>),
    /// This, and something to know about it; where it finishes, that it only repeats something.
    But(Request, String),
    /// Nothing: it is through, or was never begun. A sentence that says which.
    Nothing(String),
    /// Nothing can be: why.
    Impossible(String),
}

/// What does it to the end.
pub(super) fn finish(context: &Context, entry: &Entry, request: Request) -> Way {
    if request.makes_files() {
        return finish_making(context, entry, request);
    }
    match &request {
        Request::Discard(Discard { spare, .. }) => match left_of(context, entry) {
            Left::All => Way::Ask(request),
            Left::Some(images) => Way::Ask(Request::Discard(Discard {
                images,
                spare: spare.clone(),
            })),
            Left::None => Way::Nothing("every image is in the trash".to_owned()),
        },
        Request::Commit(Commit { overlay, .. }) => {
            if is_there(context, overlay) {
                return Way::Ask(request);
            }
            if !is_in_trash(context, entry, overlay) {
                return Way::Impossible(format!(
                    "{} is neither at its place nor in the trash: how far it came cannot be told",
                    shown(overlay)
                ));
            }
            // The uppermost goes first, and not before all of it is merged.
            match left_of(context, entry) {
                Left::Some(images) => Way::Ask(Request::discard(images)),
                Left::All | Left::None => Way::Nothing(format!(
                    "it was merged, and {} is in the trash",
                    name(overlay)
                )),
            }
        }
        Request::Squash(Squash { layer, .. }) => {
            if is_in_trash(context, entry, layer) {
                return Way::Nothing(format!("{} is in the trash", name(layer)));
            }
            if let Some(sentence) = unknown(context, entry) {
                return Way::Impossible(sentence);
            }
            let alone = find::named(context, layer).is_ok_and(|node| node.children.is_empty());
            if alone {
                // Nobody reads it any more: only its way to the trash is left.
                let images = vec![layer.clone()];
                return Way::Ask(Request::discard(images));
            }
            Way::Ask(request)
        }
        Request::Rebase(Rebase {
            image, to, dedupe, ..
        }) if is_built_on(context, image, to) => {
            let text = format!("{} is built on {} already", name(image), name(to));
            if *dedupe {
                Way::But(
                    request,
                    format!("{text}: only giving up what that shows as well is repeated"),
                )
            } else {
                Way::Nothing(text)
            }
        }
        Request::Flatten(Flatten {
            image,
            onto: Some(onto),
            ..
        }) if is_built_on(context, image, onto) => Way::Nothing(format!(
            "{} is built on {} already",
            name(image),
            name(onto)
        )),
        Request::Relink(Relink {
            image,
            base,
            format,
            style: None,
        }) if says(context, image, base.as_deref(), format.as_ref()) => {
            Way::Nothing(format!("the header of {} says so already", name(image)))
        }
        Request::Convert(options) if !request.only_adds() => {
            let text = format!(
                "how much of {} has its new content cannot be told: all of it is written once more",
                name(&options.new)
            );
            Way::But(request, text)
        }
        Request::EmptyTrash(EmptyTrash { entries }) => {
            let there = in_trash(context, entries);
            if there.is_empty() {
                Way::Nothing("everything named is deleted".to_owned())
            } else {
                Way::Ask(Request::EmptyTrash(EmptyTrash { entries: there }))
            }
        }
        Request::RemoveLeftovers(RemoveLeftovers { files }) => {
            let files = there_of(context, files);
            if files.is_empty() {
                Way::Nothing("everything named is removed".to_owned())
            } else {
                Way::Ask(Request::RemoveLeftovers(RemoveLeftovers { files }))
            }
        }
        Request::Uncommit(Uncommit { old, .. }) if !is_there(context, old) => {
            Way::Nothing(format!(
                "the base has its old content, and {} is in the trash",
                name(old)
            ))
        }
        Request::Restore(Restore { entries }) => {
            let there = in_trash(context, entries);
            if there.is_empty() {
                Way::Nothing("everything named is back at its place".to_owned())
            } else {
                Way::Ask(Request::Restore(Restore { entries: there }))
            }
        }
        _ => Way::Ask(request),
    }
}

/// What of it is done and what is not, in sentences.
pub(super) fn half(context: &Context, entry: &Entry, request: &Request) -> Vec<String> {
    let mut all = Vec::new();
    let mut say = |files: Vec<PathBuf>, one: &str, many: &str| {
        if !files.is_empty() {
            let verb = if files.len() == 1 { one } else { many };
            all.push(format!("{} {verb}", listed_names(&files)));
        }
    };
    let missing = |files: &[PathBuf]| -> Vec<PathBuf> {
        let gone = files.iter().filter(|path| !is_there(context, path));
        gone.cloned().collect()
    };
    if let Request::Move(MoveImages { moves, .. }) = request {
        let (done, not): (Vec<_>, Vec<_>) =
            moves.iter().partition(|one| !is_there(context, &one.from));
        let names = |all: Vec<&Relocation>| all.iter().map(|one| one.from.clone()).collect();
        say(names(done), "has its new name", "have their new names");
        say(
            names(not),
            "is not moved, or has both names",
            "are not moved, or have both names",
        );
        return all;
    }
    say(there_of(context, &entry.creates), "is there", "are there");
    say(missing(&entry.creates), "is not made", "are not made");
    say(
        missing(&entry.goes),
        "is not at its place",
        "are not at their places",
    );
    say(
        there_of(context, &entry.goes),
        "is not in the trash",
        "are not in the trash",
    );
    let changed: Vec<PathBuf> = entry
        .concerned()
        .into_iter()
        .filter(|path| !entry.creates.contains(path) && !entry.goes.contains(path))
        .collect();
    say(
        changed,
        "may be changed in part, and may hold clusters that nothing uses",
        "may be changed in part, and may hold clusters that nothing uses",
    );
    all
}

/// What takes back what was done of it.
pub(super) fn back(context: &Context, entry: &Entry, request: &Request) -> Way {
    if request.makes_files() {
        return unmake(context, entry, request);
    }
    if let Request::Restore(_) = request {
        let spare = match &entry.roll_back {
            Some(Request::Discard(Discard { spare, .. })) => spare.clone(),
            _ => Vec::new(),
        };
        let images = there_of(context, &entry.creates);
        return match images.is_empty() {
            true => Way::Nothing("everything is in the trash still".to_owned()),
            false => Way::Ask(Request::Discard(Discard { images, spare })),
        };
    }
    if let Some(back) = &entry.roll_back {
        if let Request::Relink(Relink {
            image,
            base,
            format,
            ..
        }) = back
            && says(context, image, base.as_deref(), format.as_ref())
        {
            return Way::Nothing(format!("the header of {} is as it was", name(image)));
        }
        return Way::Ask(back.clone());
    }
    match request {
        Request::Discard(_) => {
            let names = batches(context, entry, &entry.goes, None);
            if names.is_empty() {
                Way::Nothing("every image is at its place".to_owned())
            } else {
                Way::Ask(Request::Restore(Restore { entries: names }))
            }
        }
        Request::Commit(Commit {
            keep_old: Some(old),
            ..
        }) => uncommit(context, entry, old),
        Request::Commit(Commit { overlay, .. }) => Way::Impossible(format!(
            "what a commit overwrites is not kept, unless it was begun with --keep-old. {} shows what it \
             showed, and the commit can be finished",
            name(overlay)
        )),
        Request::Squash(Squash {
            layer,
            direction: Some(Direction::Up),
        }) => unsquash(context, entry, layer),
        Request::Squash(Squash { layer, .. }) => Way::Impossible(format!(
            "what is merged down is not taken out of there again. Every image but {} shows what it showed, \
             and the rest can be finished",
            name(layer)
        )),
        Request::Repair(RepairImage {
            image,
            action: RepairAction::Leaks | RepairAction::All,
        }) => {
            let tables = [repair::tables_name(context, image)];
            // What is replaced is saved first: until then the image has to be repaired still.
            let untouched = || super::super::plan(context, request).refusals.is_empty();
            match batches(context, entry, &tables, Some("repair")).first() {
                Some(_) if untouched() => Way::Nothing(format!(
                    "the tables of {} are as they were; what was saved of them is in the trash",
                    name(image)
                )),
                Some(entry) => Way::Ask(Request::Repair(RepairImage {
                    image: image.clone(),
                    action: RepairAction::PutBack {
                        entry: entry.clone(),
                    },
                })),
                None => Way::Nothing("no table was replaced yet".to_owned()),
            }
        }
        Request::EmptyTrash(_) => {
            Way::Impossible("what is deleted from the trash is gone".to_owned())
        }
        Request::RemoveLeftovers(_) => {
            Way::Impossible("what is removed is gone; it was no image yet".to_owned())
        }
        _ => Way::Impossible(
            "what it replaced is not kept. Every image is readable; it can be finished".to_owned(),
        ),
    }
}

fn finish_making(context: &Context, entry: &Entry, request: Request) -> Way {
    let made = there_of(context, &entry.creates);
    if made.is_empty() {
        return Way::Ask(request);
    }
    let names = listed_names(&made);
    if matches!(
        request,
        Request::Import(_) | Request::Clone(CloneImage { chain: true, .. })
    ) && made.len() < entry.creates.len()
    {
        return Way::Ask(request);
    }
    if made.len() == entry.creates.len() || matches!(request, Request::Export(_)) {
        return Way::Nothing(format!(
            "{names} {} there, and whole: a name comes last",
            if made.len() == 1 { "is" } else { "are" }
        ));
    }
    Way::Impossible(format!(
        "{names} of {} are there, and nothing is overwritten: roll it back, then ask again",
        entry.creates.len()
    ))
}

fn unmake(context: &Context, entry: &Entry, request: &Request) -> Way {
    let images = there_of(context, &entry.creates);
    if images.is_empty() {
        return Way::Nothing("nothing of it has its name yet".to_owned());
    }
    if let Request::Export(Export { dir, .. }) = request {
        return Way::Impossible(format!(
            "{} is there as a whole; nothing else was changed, and it can be removed like any folder",
            shown(dir)
        ));
    }
    Way::Ask(Request::discard(images))
}

/// That one of the images that the operation rests on is not among those looked at, so that nobody can tell
/// what it is built on now.
fn unknown(context: &Context, entry: &Entry) -> Option<String> {
    let forest = context.forest.as_ref();
    let is_data = |path: &PathBuf| {
        let mut nodes = forest.nodes();
        nodes.any(|node| {
            data_file_of(context.host.as_ref(), node).is_some_and(|(data, _)| data == *path)
        })
    };
    let is_known = |path: &PathBuf| find::named(context, path).is_ok();
    let unknown = entry
        .touched
        .iter()
        .find(|path| !is_known(path) && !is_data(path))?;
    Some(format!(
        "{} is not among the images looked at, so what it is built on now is not known: look in its folder too",
        shown(unknown)
    ))
}

/// What was built on the layer is built on it again. What each received of it stays where it is, which
/// shows the same.
fn unsquash(context: &Context, entry: &Entry, layer: &Path) -> Way {
    if !is_there(context, layer) {
        let batches = batches(context, entry, &[layer.to_path_buf()], Some("squash"));
        return match batches.is_empty() {
            true => Way::Impossible(format!(
                "{} is neither at its place nor in the trash",
                shown(layer)
            )),
            false => Way::But(
                Request::Restore(Restore { entries: batches }),
                format!(
                    "it was squashed as a whole: {} comes back from the trash, and nothing is built on it",
                    name(layer)
                ),
            ),
        };
    }
    let node = match find::named(context, layer) {
        Ok(node) => node,
        Err(sentence) => return Way::Impossible(sentence),
    };
    if let Some(sentence) = unknown(context, entry) {
        return Way::Impossible(sentence);
    }
    let has_moved = |path: &&PathBuf| {
        find::named(context, path).is_ok_and(|image| {
            image.id != node.id
                && image.facts().is_some()
                && image.parent == node.parent
                && image.backing.is_some() == node.backing.is_some()
        })
    };
    // The plan spoke of those that were built on it, and of nobody beside it.
    let mut moved: Vec<&PathBuf> = entry.touched.iter().filter(has_moved).collect();
    moved.dedup();
    if moved.is_empty() {
        return Way::Nothing(format!(
            "what was built on {} is built on it still",
            name(layer)
        ));
    }
    // What was built on it recorded what it looks like: a squash wants that.
    let format = backing_format::seen(node);
    let back = moved.into_iter().map(|image| {
        Request::Rebase(Rebase {
            image: image.clone(),
            to: layer.to_path_buf(),
            format: format.clone(),
            style: None,
            dedupe: false,
            compress: false,
        })
    });
    Way::Each(back.collect())
}

/// The overlay that keeps the old content of the base is committed into it again.
fn uncommit(context: &Context, entry: &Entry, old: &Path) -> Way {
    let Ok(node) = find::named(context, old) else {
        return Way::Nothing(format!(
            "{} was not created yet, and nothing is overwritten before it is",
            shown(old)
        ));
    };
    let forest = context.forest.as_ref();
    let base = node.parent.and_then(|id| forest.get(id));
    let grown = base.is_some_and(|base| base.virtual_size() > node.virtual_size());
    if grown {
        return Way::Impossible(format!(
            "what was built on has grown, and stays as long as it became; {} shows its old content",
            shown(old)
        ));
    }
    let back = Request::Commit(Commit {
        overlay: old.to_path_buf(),
        into: None,
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: None,
    });
    let gone = batches(context, entry, &entry.goes, Some("commit"));
    match gone.first() {
        None => Way::Ask(back),
        Some(batch) => Way::But(
            back,
            format!(
                "it was merged as a whole: the layers are in the trash, and `qanopy trash restore {}` brings \
                 them back",
                printable(batch)
            ),
        ),
    }
}

fn is_there(context: &Context, path: &Path) -> bool {
    context.host.stat_link(path).is_ok()
}

fn there_of(context: &Context, files: &[PathBuf]) -> Vec<PathBuf> {
    let there = files.iter().filter(|path| is_there(context, path));
    there.cloned().collect()
}

/// What is still at its place of the files that were to go to the trash.
enum Left {
    All,
    Some(Vec<PathBuf>),
    None,
}

fn left_of(context: &Context, entry: &Entry) -> Left {
    let left = there_of(context, &entry.goes);
    if left.is_empty() {
        Left::None
    } else if left.len() == entry.goes.len() {
        Left::All
    } else {
        Left::Some(left)
    }
}

/// The trash entries, not older than the operation, that hold one of these files: by this reason,
/// or by any.
fn batches(
    context: &Context,
    entry: &Entry,
    files: &[PathBuf],
    reason: Option<&str>,
) -> Vec<String> {
    let host = context.host.as_ref();
    trash::holding(host, context.state_dir.as_deref(), files, entry.begun)
        .into_iter()
        .filter(|batch| reason.is_none_or(|reason| batch.reason == reason))
        .map(|batch| batch.name)
        .collect()
}

fn is_in_trash(context: &Context, entry: &Entry, path: &Path) -> bool {
    !is_there(context, path) && !batches(context, entry, &[path.to_path_buf()], None).is_empty()
}

/// Those of these entries that are in the trash.
fn in_trash(context: &Context, names: &[String]) -> Vec<String> {
    let host = context.host.as_ref();
    let dirs = &context.looked_in.dirs();
    let (found, _) = trash::find(host, context.state_dir.as_deref(), dirs, names);
    found.into_iter().map(|entry| entry.name).collect()
}

fn is_built_on(context: &Context, image: &Path, base: &Path) -> bool {
    let found = find::named(context, image).and_then(|node| {
        let base = find::named(context, base)?;
        Ok(node.parent == Some(base.id))
    });
    found.unwrap_or(false)
}

/// Whether the header names that base and that format, as far as they are asked for.
fn says(
    context: &Context,
    image: &Path,
    base: Option<&Path>,
    format: Option<&crate::image::Format>,
) -> bool {
    let Ok(node) = find::named(context, image) else {
        return false;
    };
    let recorded = node.backing_format();
    let base_is_right = base.is_none_or(|base| is_built_on(context, image, base));
    let format_is_right = match format {
        Some(format) => recorded == Some(format),
        None => recorded.is_some(),
    };
    base_is_right && format_is_right
}

fn listed_names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| name(path)).collect();
    listed(&names, 5)
}
