//! Names of images on their way to a host, and back: there they are called without the host's name before them.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::far::{host_and_path, path_on};
use crate::tui::browse::{Answer, ComparedWith, Question, Shown, Trouble};
use crate::tui::file_changes::{Before, FilesQuery};
use crate::tui::jobs::Work;
use crate::tui::map::MapSeen;
use crate::tui::msg::{Effect, Msg};

/// The place of the host that something is asked of, and the same by the names that its images have there; no place,
/// and the effect as it was, where that is about none, or about images of several machines.
pub(super) fn there(hosts: &[String], mut effect: Effect) -> (Option<usize>, Effect) {
    let mut of = Vec::new();
    for path in images(&mut effect) {
        let host = host_and_path(path).map(|(host, _)| host);
        of.push(host.and_then(|host| hosts.iter().position(|known| known == host)));
    }
    let (Some(&Some(at)), true) = (of.first(), of.windows(2).all(|two| two[0] == two[1])) else {
        return (None, effect);
    };
    for path in images(&mut effect) {
        if let Some((_, there)) = host_and_path(path) {
            *path = there.to_path_buf();
        }
    }
    (Some(at), effect)
}

/// The images that an effect only reads and tells of; none of any other effect.
fn images(effect: &mut Effect) -> Vec<&mut PathBuf> {
    match effect {
        Effect::Info(path)
        | Effect::Map(path, _)
        | Effect::Mount(path, _)
        | Effect::Unlock(path, _)
        | Effect::Complete(_, path)
        | Effect::Measure { image: path, .. } => vec![path],
        Effect::Files(query) => of_query(query),
        Effect::Browse(_, question) => of_question(question),
        Effect::Run { work, .. } => match work {
            Work::Check(images) => images.iter_mut().collect(),
            Work::Compare(images) => images.iter_mut().collect(),
            Work::Extract(what) => vec![&mut what.of.image],
            Work::Plan(_) | Work::Command(_) | Work::CommandThere(..) => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn of_query(query: &mut FilesQuery) -> Vec<&mut PathBuf> {
    match query {
        FilesQuery::Contents(path, _) | FilesQuery::Explain(path, _) => vec![path],
        FilesQuery::Changes { after, before, .. } => match before {
            Before::Image(path) => vec![after, path],
            Before::Base | Before::Root | Before::Snapshot(_) => vec![after],
        },
    }
}

fn of_question(question: &mut Question) -> Vec<&mut PathBuf> {
    match question {
        Question::Open(shown) => vec![&mut shown.image],
        Question::History(_, image, _) => vec![image],
        Question::Compare(what) => match &mut what.older {
            ComparedWith::Other(older) => vec![&mut what.newer.image, &mut older.image],
            ComparedWith::Base | ComparedWith::Root => vec![&mut what.newer.image],
        },
        // What is open knows where it is.
        Question::Look(..) | Question::Find(..) => Vec::new(),
    }
}

/// What was answered about images of a host, by the names and the numbers that they have here.
pub(in crate::tui) fn told(host: &str, number: NonZeroU16, msg: Msg) -> Msg {
    let here = |path: &Path| path_on(host, path);
    match msg {
        Msg::Info(mut info) => {
            info.path = here(&info.path);
            Msg::Info(info)
        }
        Msg::Mapped(path, seen) => {
            let seen = seen.map(|seen| {
                let seen = Arc::unwrap_or_clone(seen);
                let layers = seen.layers.into_iter();
                Arc::new(MapSeen {
                    path: here(&seen.path),
                    layers: layers.map(|(path, len)| (here(&path), len)).collect(),
                    ..seen
                })
            });
            Msg::Mapped(here(&path), seen)
        }
        Msg::Files(mut query, answer) => {
            for path in of_query(&mut query) {
                *path = here(path);
            }
            Msg::Files(query, answer)
        }
        Msg::Browsed(query_id, answer) => {
            let answer = match *answer {
                Ok(Answer::Compared(mut compared)) => {
                    let sides = [&mut compared.older, &mut compared.newer];
                    for (Shown { image, .. }, _) in sides.into_iter().flatten() {
                        *image = here(image);
                    }
                    Ok(Answer::Compared(compared))
                }
                Err(Trouble::Locked(image, why)) => Err(Trouble::Locked(here(&image), why)),
                other => other,
            };
            Msg::Browsed(query_id, Box::new(answer))
        }
        Msg::Checked(job, path, mut stat, found) => {
            // Where it cannot be of that machine nothing is known of it.
            stat = stat.and_then(|mut stat| {
                stat.id = stat.id.on_machine(number)?;
                Some(stat)
            });
            Msg::Checked(job, here(&path), stat, found)
        }
        Msg::JobLocked(job, image, error) => Msg::JobLocked(job, here(&image), error),
        other => other,
    }
}
