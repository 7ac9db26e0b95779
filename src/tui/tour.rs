//! The tour: five small tasks on the sample forests. Whether one is done is seen in the forest, not in the keys that
//! were pressed.

use std::sync::Arc;

use crate::forest::{Forest, Location, Node, ProblemKind};

use super::actions::Action;

/// One step: what is to be done, what helps, and whether it is done.
struct Step {
    goal: &'static str,
    /// The action whose key helps, and what that does.
    helps: (Action, &'static str),
    /// Seen from the forest as it was when the task began.
    is_done: fn(&Forest, &Forest) -> bool,
}

/// The tasks, each in one step or in several.
const TASKS: [&[Step]; 5] = [
    &[Step {
        goal: "Go to Overlay-1C.qcow2 and make an overlay on it: the image itself stays as it is from then on.",
        helps: (Action::Branch, "asks for its name, Enter makes it"),
        is_done: is_branched,
    }],
    &[Step {
        goal: "Give the new overlay another name.",
        helps: (Action::Move, "asks for it, Enter shows the plan, y does it"),
        is_done: is_renamed,
    }],
    &[Step {
        goal: "Merge Overlay-3A.qcow2 down: its base receives what it holds.",
        helps: (
            Action::Commit,
            "shows the plan, and asks for a number, since the base is overwritten",
        ),
        is_done: is_committed,
    }],
    &[
        Step {
            goal: "Throw Overlay-2A.qcow2 away.",
            helps: (Action::Discard, "shows the plan, y does it"),
            is_done: is_discarded,
        },
        Step {
            goal: "Take that back: what is discarded lies in the trash until it is emptied.",
            helps: (Action::Undo, "shows the plan, y does it"),
            is_done: is_back,
        },
    ],
    &[Step {
        goal: "Go to centos-overlay-1.qcow2, which does not say in which format its base is, and record that.",
        helps: (Action::Repair, "shows the plan, y does it"),
        is_done: is_recorded,
    }],
];

/// How far the tour is.
#[derive(Debug, Default)]
pub struct Tour {
    task: usize,
    step: usize,
    /// The forest as it was when the task began.
    before: Option<Arc<Forest>>,
}

/// What a task asks for, and what helps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// Which task it is, from 1.
    pub task: usize,
    /// Of so many.
    pub of: usize,
    /// What is to be done.
    pub text: &'static str,
    /// The action whose key helps.
    pub action: Action,
    /// What that does.
    pub does: &'static str,
}

impl Tour {
    /// What is to be done now; nothing once the tour is over.
    #[must_use]
    pub(crate) fn goal(&self) -> Option<Goal> {
        let step = self.step()?;
        let (action, does) = step.helps;
        Some(Goal {
            task: self.task + 1,
            of: TASKS.len(),
            text: step.goal,
            action,
            does,
        })
    }

    /// Looks whether what was to be done is done, and goes on to the next step then.
    pub(super) fn look(&mut self, now: &Arc<Forest>) {
        let before = self.before.get_or_insert_with(|| Arc::clone(now));
        let before = Arc::clone(before);
        if !self.step().is_some_and(|step| (step.is_done)(&before, now)) {
            return;
        }
        self.step += 1;
        if self.step().is_none() {
            (self.task, self.step) = (self.task + 1, 0);
            self.before = Some(Arc::clone(now));
        }
    }

    fn step(&self) -> Option<&'static Step> {
        TASKS.get(self.task)?.get(self.step)
    }
}

fn images(forest: &Forest) -> impl Iterator<Item = &Node> {
    let nodes = forest.nodes();
    nodes.filter(|node| node.location == Location::Scanned)
}

fn is_there(forest: &Forest, image: &Node) -> bool {
    let found = forest.by_path(&image.path);
    found.is_some_and(|node| node.location == Location::Scanned)
}

/// Whether there is an overlay whose file was not there.
fn is_branched(before: &Forest, now: &Forest) -> bool {
    let was_there = |node: &Node| {
        node.file_id()
            .is_some_and(|file| before.by_file(file).is_some())
    };
    images(now).any(|node| node.backing.is_some() && !was_there(node))
}

/// Whether a file that was there has another path.
fn is_renamed(before: &Forest, now: &Forest) -> bool {
    let mut found = images(now).filter_map(|node| Some((node, before.by_file(node.file_id()?)?)));
    found.any(|(node, then)| node.path != then.path && then.location == Location::Scanned)
}

/// Whether an overlay is gone and what it was built on was written.
fn is_committed(before: &Forest, now: &Forest) -> bool {
    let mut gone = images(before).filter(|node| !is_there(now, node));
    gone.any(|node| {
        let base = node.parent.and_then(|base| before.get(base));
        let base_now = base.and_then(|base| now.by_path(&base.path));
        let written = |node: &Node| node.stat.as_ref().map(|stat| stat.modified);
        base_now.is_some() && base.and_then(written) != base_now.and_then(written)
    })
}

fn is_discarded(before: &Forest, now: &Forest) -> bool {
    images(before).any(|node| !is_there(now, node))
}

/// Whether all is there again.
fn is_back(before: &Forest, now: &Forest) -> bool {
    images(before).all(|node| is_there(now, node))
}

/// Whether fewer images than before lack the format of their base.
fn is_recorded(before: &Forest, now: &Forest) -> bool {
    let lacks = |node: &&Node| {
        let mut problems = node.problems.iter();
        problems.any(|problem| problem.kind == ProblemKind::NoBackingFormat)
    };
    images(now).filter(lacks).count() < images(before).filter(lacks).count()
}
