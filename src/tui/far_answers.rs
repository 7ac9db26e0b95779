//! What hosts are asked beside their images, and how far each answer is.

use std::ffi::OsString;
use std::sync::Arc;

use crate::doctor::Finding;
use crate::facts::{Halted, SpareLeaf, TrashEntry};
use crate::machines::Machines;
use crate::ops::{Leftover, Per, Retention};

use super::query::QueryId;
use super::space::SpaceFound;

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What is wrong that a scan does not see.
    Findings,
    /// Where the space went.
    Space,
    /// What is in the trash.
    Trash,
    /// Which leaves nothing uses.
    Prune,
    /// What was interrupted.
    Interrupted,
    /// Which machines there are.
    Machines,
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// What is asked about.
    pub topic: Topic,
    /// Of space: whether the images' data is read as well.
    pub reads: bool,
    /// Of space: of leaves that nobody uses, those may go that were not changed for so many days.
    pub prune_days: u64,
    /// Of leaves that nothing uses: which are kept.
    pub rule: Retention,
}

impl Asking {
    /// About this, where there is no more to say.
    #[must_use]
    pub fn about(topic: Topic) -> Self {
        Self {
            topic,
            reads: false,
            prune_days: 0,
            rule: Retention::default(),
        }
    }

    /// The words that ask for it, made of those that ask for anything.
    #[must_use]
    pub fn words(self, tell: &[OsString]) -> Vec<OsString> {
        let about = match self.topic {
            Topic::Findings => "findings",
            Topic::Space => "space",
            Topic::Trash => "trash",
            Topic::Prune => "prune",
            Topic::Interrupted => "interrupted",
            Topic::Machines => "machines",
        };
        let mut words = tell.to_vec();
        let mut more = vec![OsString::from(format!("--about={about}"))];
        match self.topic {
            Topic::Space => {
                more.push(format!("--older-than={}", self.prune_days).into());
                more.extend(self.reads.then(|| OsString::from("--read")));
            }
            Topic::Prune => {
                more.push("--older-than=0".into());
                more.extend(rule_words(&self.rule));
            }
            Topic::Findings | Topic::Trash | Topic::Interrupted | Topic::Machines => {}
        }
        let behind = words.len().min(1);
        words.splice(behind..behind, more);
        words
    }
}

/// The options that say what is kept.
fn rule_words(rule: &Retention) -> Vec<OsString> {
    let Retention {
        last,
        daily,
        weekly,
        monthly,
        per,
    } = rule;
    let counts = [
        ("last", last),
        ("daily", daily),
        ("weekly", weekly),
        ("monthly", monthly),
    ];
    let counts = counts.iter().filter(|(_, count)| **count > 0);
    let counts = counts.map(|(name, count)| format!("--keep-{name}={count}"));
    let per = Per::ALL.iter().find(|(one, _)| one == per);
    let per = per.map(|(_, name)| format!("--per={name}"));
    counts.chain(per).map(OsString::from).collect()
}

/// What a host answers.
#[derive(Debug, Clone)]
pub enum FarAnswer {
    /// What is wrong that a scan does not see.
    Findings(Vec<Finding>),
    /// Where the space went.
    Space(Arc<SpaceFound>),
    /// What is in the trash.
    Trash(Vec<TrashEntry>),
    /// Which leaves nothing uses, oldest first.
    Prune(SpareLeaves),
    /// What was interrupted.
    Interrupted(Interruptions),
    /// Which machines there are.
    Machines(Arc<Machines>),
}

/// Leaves that nothing uses.
pub(super) type SpareLeaves = Arc<[Arc<SpareLeaf>]>;

/// What crashes, kills and cut connections have left on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// Operations of its log, oldest first.
    pub halted: Vec<Halted>,
    /// Files that were being made by processes that have ended.
    pub leftovers: Vec<Leftover>,
}

/// How far the answer to a question is.
#[derive(Debug, Clone)]
pub struct Pending<T> {
    /// The newest question.
    pub query_id: QueryId,
    /// How it stands with it.
    pub state: PendingState<T>,
}

/// How it stands with a question.
#[derive(Debug, Clone)]
pub enum PendingState<T> {
    /// It was not asked.
    NotAsked,
    /// It is being asked.
    Asked,
    /// The same, and the host has said nothing for so many seconds.
    Silent(u64),
    /// It was answered.
    Told(T),
    /// It was not: why, as a sentence that begins with the host's name.
    Failed(String),
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self {
            query_id: 0,
            state: PendingState::NotAsked,
        }
    }
}

impl<T> Pending<T> {
    /// It is asked.
    pub(super) fn ask(&mut self, query_id: QueryId) {
        self.query_id = query_id;
        self.state = PendingState::Asked;
    }

    /// Nobody waits for an answer any more; one that is there stays.
    pub(super) fn stop(&mut self) {
        if self.is_open() {
            *self = Self::default();
        }
    }

    /// Whether somebody waits for the answer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, PendingState::Asked | PendingState::Silent(_))
    }

    /// The answer, once it is there.
    #[must_use]
    pub fn told(&self) -> Option<&T> {
        match &self.state {
            PendingState::Told(answer) => Some(answer),
            _ => None,
        }
    }

    /// What is said of a host of that name in place of its answer, if anything is.
    #[must_use]
    pub fn said(&self, host: &str) -> Option<String> {
        match &self.state {
            PendingState::NotAsked | PendingState::Told(_) => None,
            PendingState::Asked => Some(asked(host)),
            PendingState::Silent(seconds) => Some(silent(host, *seconds)),
            PendingState::Failed(why) => Some(why.clone()),
        }
    }

    /// Takes in the end of a question, if it is the newest.
    pub(super) fn end(&mut self, query_id: QueryId, ended: Result<T, String>) {
        if self.query_id == query_id {
            self.state = match ended {
                Ok(answer) => PendingState::Told(answer),
                Err(why) => PendingState::Failed(why),
            };
        }
    }

    /// Takes in that the host says nothing, if it is the newest question.
    pub(super) fn silent(&mut self, query_id: QueryId, seconds: u64) {
        if self.query_id == query_id && self.is_open() {
            self.state = PendingState::Silent(seconds);
        }
    }
}

/// That a host of that name was asked and has not answered.
pub(super) fn asked(host: &str) -> String {
    format!("{host} is being asked")
}

/// That it has said nothing for so many seconds.
pub(super) fn silent(host: &str, seconds: u64) -> String {
    format!("{host} has said nothing for {seconds} s")
}

/// What a host was asked beside its images.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// What is wrong that a scan does not see.
    pub findings: Pending<Vec<Finding>>,
    /// Where the space went.
    pub space: Pending<Arc<SpaceFound>>,
    /// What is in the trash.
    pub trash: Pending<Vec<TrashEntry>>,
    /// Which leaves nothing uses.
    pub prune: Pending<SpareLeaves>,
    /// What was interrupted.
    pub interrupted: Pending<Interruptions>,
    /// Which machines there are.
    pub machines: Pending<Arc<Machines>>,
    /// The scan after which findings were asked for.
    pub(super) findings_of: QueryId,
    /// The scan after which it was asked what was interrupted.
    pub(super) interrupted_of: QueryId,
    /// Why machines could not be asked for, where they could not.
    pub(super) untold_machines: Option<String>,
    /// The scan after which machines were asked for.
    pub(super) machines_of: QueryId,
    /// The scan after which space was asked for, and whether data was read.
    pub(super) space_of: (QueryId, bool),
}

impl Beside {
    /// It is asked.
    pub(super) fn ask(&mut self, topic: Topic, query_id: QueryId) {
        match topic {
            Topic::Findings => self.findings.ask(query_id),
            Topic::Space => self.space.ask(query_id),
            Topic::Trash => self.trash.ask(query_id),
            Topic::Prune => self.prune.ask(query_id),
            Topic::Interrupted => self.interrupted.ask(query_id),
            Topic::Machines => self.machines.ask(query_id),
        }
    }

    /// Takes in the end of a question.
    pub(super) fn end(&mut self, topic: Topic, id: QueryId, ended: Result<FarAnswer, String>) {
        match (topic, ended) {
            (_, Ok(FarAnswer::Findings(found))) => self.findings.end(id, Ok(found)),
            (_, Ok(FarAnswer::Space(found))) => self.space.end(id, Ok(found)),
            (_, Ok(FarAnswer::Trash(entries))) => self.trash.end(id, Ok(entries)),
            (_, Ok(FarAnswer::Prune(leaves))) => self.prune.end(id, Ok(leaves)),
            (_, Ok(FarAnswer::Interrupted(found))) => self.interrupted.end(id, Ok(found)),
            (_, Ok(FarAnswer::Machines(found))) => self.machines.end(id, Ok(found)),
            (Topic::Findings, Err(why)) => self.findings.end(id, Err(why)),
            (Topic::Space, Err(why)) => self.space.end(id, Err(why)),
            (Topic::Trash, Err(why)) => self.trash.end(id, Err(why)),
            (Topic::Prune, Err(why)) => self.prune.end(id, Err(why)),
            (Topic::Interrupted, Err(why)) => self.interrupted.end(id, Err(why)),
            (Topic::Machines, Err(why)) => self.machines.end(id, Err(why)),
        }
    }

    /// Takes in that the host says nothing.
    pub(super) fn silent(&mut self, id: QueryId, seconds: u64) {
        self.findings.silent(id, seconds);
        self.space.silent(id, seconds);
        self.trash.silent(id, seconds);
        self.prune.silent(id, seconds);
        self.interrupted.silent(id, seconds);
        self.machines.silent(id, seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_stands_behind_the_command() {
        let tell = ["tell", "--follow", "--", "/srv"].map(OsString::from);
        let line = |asking: Asking| asking.words(&tell).join(&OsString::from(" "));
        let trash = Asking::about(Topic::Trash);
        assert_eq!(line(trash), "tell --about=trash --follow -- /srv");
        let space = Asking {
            reads: true,
            prune_days: 7,
            ..Asking::about(Topic::Space)
        };
        let words = "tell --about=space --older-than=7 --read --follow -- /srv";
        assert_eq!(line(space), words);
        let prune = Asking {
            rule: Retention {
                last: 2,
                weekly: 4,
                per: Per::Machine,
                ..Retention::default()
            },
            ..Asking::about(Topic::Prune)
        };
        let words = "tell --about=prune --older-than=0 --keep-last=2 --keep-weekly=4 --per=machine --follow -- /srv";
        assert_eq!(line(prune), words);
    }

    #[test]
    fn an_answer_to_an_older_question_is_dropped() {
        let mut pending = Pending::default();
        assert_eq!(pending.said("web"), None);
        pending.ask(1);
        pending.ask(2);
        pending.silent(1, 5);
        pending.end(1, Ok(1));
        assert_eq!(pending.said("web").unwrap(), "web is being asked");
        pending.silent(2, 5);
        assert!(pending.said("web").unwrap().contains("5 s"));
        pending.end(2, Ok(7));
        assert_eq!((pending.told(), pending.said("web")), (Some(&7), None));
        pending.stop();
        assert_eq!(pending.told(), Some(&7));
    }
}
