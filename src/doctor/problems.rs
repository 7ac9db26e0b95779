//! The problems that the scan sees in images, as findings: what is wrong is said by the forest, what helps by the
//! operations. Here is said why it matters.

use crate::forest::ProblemKind;
use crate::ops::fixes;

use super::finder::{Found, Subject};
use super::finding::{Finding, Sure};

/// Those of the images that the person asks about, one kind after the other.
pub(super) fn look(subject: &Subject<'_>) -> Vec<Finding> {
    let forest = &subject.context.forest;
    let mut all: Vec<(usize, Finding)> = Vec::new();
    for node in subject.images() {
        for problem in &node.problems {
            let found = Found::of(node, problem.message.clone());
            let found = found.helped_by(fixes(forest, node, problem.kind));
            let found = found.but(sure(problem.kind));
            let finding = found.named(problem.kind.name(), why(problem.kind));
            let turn = ProblemKind::ALL
                .iter()
                .position(|kind| kind.name() == finding.name);
            all.push((turn.unwrap_or(usize::MAX), finding));
        }
    }
    all.sort_by_key(|(turn, _)| *turn);
    all.into_iter().map(|(_, finding)| finding).collect()
}

fn sure(kind: ProblemKind) -> Sure {
    match kind {
        ProblemKind::BaseChanged { certain: false, .. } => Sure::Likely,
        _ => Sure::Certain,
    }
}

/// Why it matters.
fn why(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Unreadable => {
            "No program that runs as you can use this disk, and nobody can tell what else is wrong with it."
        }
        ProblemKind::Damaged => {
            "The first bytes of an image say where everything else is. Without them no guest starts from it."
        }
        ProblemKind::Truncated => {
            "A part of the file is missing, as after a copy that was broken off. What the guest kept there is gone."
        }
        ProblemKind::Unopenable => "No guest starts from this disk until that is put right.",
        ProblemKind::CorruptBit => {
            "QEMU met tables that contradict each other and stopped writing, so that no more is damaged. A guest can \
             read this disk, but not write it."
        }
        ProblemKind::DirtyBit => {
            "The program that wrote it was killed. The guest's data is there, but the list of used clusters is old."
        }
        ProblemKind::LeakedClusters => {
            "They take space on the disk and hold nothing that a guest can see. They do no other harm."
        }
        ProblemKind::CorruptClusters => {
            "Two parts of the disk may lie in one place of the file: writing one changes the other."
        }
        ProblemKind::UnknownFeature => {
            "Who opens an image without knowing all its features may read it wrong, so nobody does."
        }
        ProblemKind::MissingBacking => {
            "An overlay holds only what was changed since it was made. Without the image below it is no disk."
        }
        ProblemKind::UnreachableBacking => {
            "An overlay holds only what was changed since it was made. What lies below has to be read as well."
        }
        ProblemKind::UnresolvableBacking => {
            "The image was made on another system. Here nobody finds what it is built on, and without it it is no \
             disk."
        }
        ProblemKind::BrokenBelow => {
            "An overlay is read through all layers below it. As long as one of them cannot be opened, this one cannot."
        }
        ProblemKind::Loop => {
            "Each image of the circle waits for the next one, so that none is ever found to read from."
        }
        ProblemKind::NoBackingFormat => {
            "Nobody is told whether the image below is qcow2 or raw. libvirt may refuse to start a guest, and who \
             guesses can be made to guess wrong."
        }
        ProblemKind::DirectoryDependentBacking | ProblemKind::DirectoryDependentDataFile => {
            "Started in another folder the same guest gets another disk, or none."
        }
        ProblemKind::MissingDataFile => {
            "The image holds only the tables. What the guest wrote is in that file."
        }
        ProblemKind::WrongBackingFormat => {
            "Read in the wrong format, the disk below is rubbish to the guest, or cannot be opened at all."
        }
        ProblemKind::WrittenUnder => {
            "An overlay only fits what its base was when it was made. With every write below, the guest's files come \
             to be a mixture of two disks."
        }
        ProblemKind::Interrupted { .. } => {
            "What was begun is half done. Nothing is lost; it should be finished or taken back before something else \
             is done with these images."
        }
        ProblemKind::BaseChanged { .. } => {
            "An overlay holds only what differs from its base as that was when the overlay was made. Over another base \
             the guest sees a mixture of two disks: files that are cut off, and a filesystem that is damaged. Put the \
             base back as it was, from a backup, before a machine writes these images. Where the base was only copied \
             back or touched, accept it as it is now."
        }
        ProblemKind::BackingSize => {
            "The guest sees a disk of another length than the one that its partitions were made for."
        }
    }
}
