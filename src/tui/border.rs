//! The one way from the step to the world: what an effect would do to files of this machine is done to no name that
//! came from another one, and whoever opens files is given the images of this machine alone. A name of another
//! machine is never absolute; that a file here is called `web:/srv/a` changes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::forest::Forest;
use crate::forest::far::host_and_path;
use crate::ops::Error;

use super::browse::{ComparedWith, Question, Trouble};
use super::file_changes::{Before, FilesAnswer, FilesQuery};
use super::hosts::NOT_HERE;
use super::jobs::Work;
use super::msg::{Effect, Msg};
use super::query::Completions;

/// Lets effects through.
#[derive(Debug, Default)]
pub(super) struct Border {
    /// Whether there are images of other machines at all.
    has_hosts: bool,
    /// The images that were asked about last, and those of this machine among them.
    last: Option<(Weak<Forest>, Arc<Forest>)>,
}

impl Border {
    /// With other machines, or without.
    #[must_use]
    pub(super) fn new(has_hosts: bool) -> Self {
        Self {
            has_hosts,
            last: None,
        }
    }

    /// The effect as it may be carried out here.
    ///
    /// # Errors
    /// What is answered in its place, if anybody waits for an answer.
    pub(super) fn pass(&mut self, effect: Effect) -> Result<Effect, Vec<Msg>> {
        if !self.has_hosts {
            return Ok(effect);
        }
        let told = || vec![Msg::Tell(format!("Not done: {NOT_HERE}."))];
        let why = || NOT_HERE.to_owned();
        Ok(match effect {
            Effect::Plan { ref request, .. } if any_far(&request.paths()) => return Err(told()),
            Effect::Plan {
                query_id,
                request,
                forest,
                delay,
            } => Effect::Plan {
                query_id,
                request,
                forest: self.here(forest),
                delay,
            },
            Effect::PlanEach { ref requests, .. }
                if requests.iter().any(|request| any_far(&request.paths())) =>
            {
                return Err(told());
            }
            Effect::PlanEach {
                query_id,
                requests,
                forest,
                delay,
            } => Effect::PlanEach {
                query_id,
                requests,
                forest: self.here(forest),
                delay,
            },
            Effect::Refresh(query_id, forest, mut changed) => {
                changed.retain(|path| path.is_absolute());
                Effect::Refresh(query_id, self.here(forest), changed)
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
                return Err(vec![Msg::Files(query, FilesAnswer::Failed(why()))]);
            }
            Effect::Complete(query_id, path) if is_far(&path) => {
                return Err(vec![Msg::Completed(query_id, Completions::default())]);
            }
            Effect::Candidates(query_id, forest) => Effect::Candidates(query_id, self.here(forest)),
            Effect::Keep {
                query_id,
                forest,
                candidates,
                rule,
            } => Effect::Keep {
                query_id,
                forest: self.here(forest),
                candidates,
                rule,
            },
            Effect::Space {
                query_id,
                forest,
                reads,
                prune_days,
            } => Effect::Space {
                query_id,
                forest: self.here(forest),
                reads,
                prune_days,
            },
            Effect::Browse(query_id, ref question) if browses_there(question) => {
                let trouble = Trouble::Told(why());
                return Err(vec![Msg::Browsed(query_id, Box::new(Err(trouble)))]);
            }
            Effect::Insides(query_id, forest) => Effect::Insides(query_id, self.here(forest)),
            Effect::Machines(forest) => Effect::Machines(self.here(forest)),
            Effect::Examine(forest) => Effect::Examine(self.here(forest)),
            Effect::Interrupted(query_id, forest) => {
                Effect::Interrupted(query_id, forest.map(|forest| self.here(forest)))
            }
            Effect::Measure {
                query_id,
                ref image,
                ..
            } if is_far(image) => return Err(vec![Msg::Measured(query_id, Err(why()))]),
            Effect::Remember(forest) => Effect::Remember(self.here(forest)),
            Effect::Accept(base, _) if is_far(&base) => return Err(told()),
            Effect::Accept(base, forest) => Effect::Accept(base, self.here(forest)),
            Effect::Open(roots) if roots.iter().any(|root| is_far(root)) => return Err(told()),
            Effect::Shell(dir) if is_far(&dir) => return Err(told()),
            Effect::Mount(image, _) if is_far(&image) => return Err(told()),
            Effect::OnScreen(words) if words.iter().any(|word| is_named(Path::new(word))) => {
                return Err(told());
            }
            // They name no file, or only what is planned, looked through or asked for here; what a filter asks for is
            // found without a look at any file.
            Effect::Scan(_)
            | Effect::Gather(..)
            | Effect::ScanHost(..)
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
            | Effect::Suspend
            | Effect::Redraw
            | Effect::Quit => effect,
        })
    }

    /// The images of this machine, by the numbers that they have.
    fn here(&mut self, forest: Arc<Forest>) -> Arc<Forest> {
        if let Some((whole, here)) = &self.last
            && std::ptr::eq(whole.as_ptr(), Arc::as_ptr(&forest))
        {
            return Arc::clone(here);
        }
        let here = Arc::new(forest.here());
        self.last = Some((Arc::downgrade(&forest), Arc::clone(&here)));
        here
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

fn any_far(paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| host_and_path(path).is_some())
}

fn works_there(work: &Work) -> bool {
    match work {
        // It was planned here, with nothing but the images of this machine.
        Work::Plan(_) => false,
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
        // What was opened was opened here.
        Question::Look(..) | Question::Find(..) | Question::History(..) => false,
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
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::num::NonZeroU16;
    use std::time::{Duration, UNIX_EPOCH};

    use crate::forest::{Content, ScannedFile};
    use crate::host::{FileId, FileKind, Stat};
    use crate::ops::{Progress, Request, Retention};
    use crate::tui::browse::{Comparison, Shown, Spot};

    const FAR: &str = "web:/srv/a.qcow2";

    /// One image here, and one there.
    fn forest() -> Arc<Forest> {
        let file = |path: &str, id: FileId| ScannedFile {
            path: path.into(),
            symlink: false,
            stat: Some(Stat {
                id,
                kind: FileKind::Regular,
                len: 0,
                allocated: 0,
                modified: UNIX_EPOCH,
                changed: UNIX_EPOCH,
                mode: 0o644,
                uid: 0,
                gid: 0,
                links: 1,
            }),
            content: Content::Raw,
            backing: None,
            also: Vec::new(),
            holders: Vec::new(),
            annotation: None,
        };
        let here = FileId {
            device: 1,
            inode: 1,
        };
        let there = here.on_machine(NonZeroU16::MIN).unwrap();
        let mut forest = Forest::new();
        forest.extend([file("/srv/a.qcow2", here), file(FAR, there)]);
        Arc::new(forest)
    }

    fn far() -> PathBuf {
        FAR.into()
    }

    fn words() -> Vec<OsString> {
        vec!["less".into(), FAR.into()]
    }

    fn shown() -> Shown {
        Shown {
            image: far(),
            format: None,
            snapshot: None,
        }
    }

    /// Effects that would do something to a file by a name of another machine.
    fn on_far_files() -> Vec<Effect> {
        let run = |work| Effect::Run {
            job: 1,
            work,
            progress: Progress::new(),
        };
        let plan = |forest| Effect::Plan {
            query_id: 1,
            request: Request::discard(vec![far()]),
            forest,
            delay: Duration::ZERO,
        };
        let compared = Comparison {
            newer: Shown {
                image: "/srv/a.qcow2".into(),
                ..shown()
            },
            older: ComparedWith::Other(shown()),
            spot: Spot::root(""),
            from: None,
        };
        vec![
            plan(forest()),
            Effect::PlanEach {
                query_id: 1,
                requests: vec![Request::discard(vec!["/a".into(), far()])],
                forest: forest(),
                delay: Duration::ZERO,
            },
            run(Work::Check(vec!["/a".into(), far()])),
            run(Work::Compare(["/a".into(), far()])),
            run(Work::Command(words())),
            run(Work::Command(vec![
                "x".into(),
                format!("--image={FAR}").into(),
            ])),
            Effect::Info(far()),
            Effect::Map(far(), None),
            Effect::Files(FilesQuery::Contents(far(), None)),
            Effect::Files(FilesQuery::Changes {
                after: "/a".into(),
                format: None,
                before: Before::Image(far()),
            }),
            Effect::Complete(1, "web:/srv/".into()),
            Effect::Browse(1, Question::Open(shown())),
            Effect::Browse(1, Question::Compare(compared)),
            Effect::Measure {
                query_id: 1,
                image: far(),
                format: None,
                snapshot: None,
            },
            Effect::Accept(far(), forest()),
            Effect::Open(vec!["/a".into(), "web:/srv".into()]),
            Effect::Shell("web:/srv".into()),
            Effect::Mount(far(), None),
            Effect::OnScreen(words()),
        ]
    }

    #[test]
    fn nothing_is_done_here_to_a_file_that_a_host_named() {
        for effect in on_far_files() {
            let text = format!("{effect:?}");
            assert!(Border::new(true).pass(effect).is_err(), "{text}");
        }
    }

    #[test]
    fn whoever_opens_files_knows_no_others_than_those_of_this_machine() {
        let mut border = Border::new(true);
        let whole = forest();
        assert_eq!(whole.len(), 2);
        let of = || Arc::clone(&whole);
        let effects = [
            Effect::Plan {
                query_id: 1,
                request: Request::discard(vec!["/srv/a.qcow2".into()]),
                forest: of(),
                delay: Duration::ZERO,
            },
            Effect::Refresh(1, of(), vec![far()]),
            Effect::Candidates(1, of()),
            Effect::Keep {
                query_id: 1,
                forest: of(),
                candidates: Vec::new(),
                rule: Retention::default(),
            },
            Effect::Space {
                query_id: 1,
                forest: of(),
                reads: true,
                prune_days: 1,
            },
            Effect::Insides(1, of()),
            Effect::Machines(of()),
            Effect::Examine(of()),
            Effect::Interrupted(1, Some(of())),
            Effect::Remember(of()),
            Effect::Accept("/srv/a.qcow2".into(), of()),
        ];
        for effect in effects {
            let text = format!("{effect:?}");
            let forest = match border.pass(effect) {
                Ok(Effect::Refresh(_, forest, changed)) => {
                    assert!(changed.is_empty());
                    forest
                }
                Ok(
                    Effect::Plan { forest, .. }
                    | Effect::Candidates(_, forest)
                    | Effect::Keep { forest, .. }
                    | Effect::Space { forest, .. }
                    | Effect::Insides(_, forest)
                    | Effect::Machines(forest)
                    | Effect::Examine(forest)
                    | Effect::Interrupted(_, Some(forest))
                    | Effect::Remember(forest)
                    | Effect::Accept(_, forest),
                ) => forest,
                other => panic!("{text}: {other:?}"),
            };
            let names: Vec<_> = forest.nodes().map(|node| &node.path).collect();
            assert_eq!(names, [Path::new("/srv/a.qcow2")], "{text}");
            // By the number that it has among all.
            let node = whole.by_path(Path::new("/srv/a.qcow2")).unwrap();
            assert!(forest.get(node.id).is_some());
        }
        assert_eq!(whole.len(), 2);
    }
}
