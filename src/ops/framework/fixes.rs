//! What helps against what is wrong with an image. A problem is found in the forest; here is decided, once for
//! plans and faces, which remedies there are against it.

use std::path::{Path, absolute};

use serde_json::{Value, json};

use crate::forest::{BackingState, Forest, Node, Problem, ProblemKind};
use crate::image::{self, BackingName, ErrorKind};

use super::format::{name, shown};
use super::refusal::WayOut;
use super::remedy::Remedy;
use super::request::Request;

/// What helps against this kind of problem of an image, the best first. None where nothing here helps.
#[must_use]
pub fn fixes(forest: &Forest, node: &Node, kind: ProblemKind) -> Vec<Remedy> {
    let image = node.path.clone();
    match kind {
        ProblemKind::MissingBacking | ProblemKind::UnresolvableBacking => {
            let found = found_elsewhere(forest, node).into_iter();
            let relinks = found.map(|base| Remedy::ask(Request::relink_to(&image, &base.path)));
            let mut fixes: Vec<Remedy> = relinks.collect();
            fixes.push(Remedy::Relink(image));
            fixes
        }
        // One image of a circle, too, has to be pointed at what it was made from.
        ProblemKind::Loop
        | ProblemKind::UnreachableBacking
        | ProblemKind::DirectoryDependentBacking => vec![Remedy::Relink(image)],
        ProblemKind::NoBackingFormat | ProblemKind::WrongBackingFormat => {
            vec![Remedy::ask(Request::record_format(&image))]
        }
        ProblemKind::CorruptClusters => vec![Remedy::repair(&image), Remedy::Check(image)],
        ProblemKind::CorruptBit | ProblemKind::DirtyBit => {
            vec![Remedy::repair(&image)]
        }
        ProblemKind::LeakedClusters => {
            // Freeing what is lost needs less than a repair, and is refused where that is needed.
            let is_leak = |kind| kind == ProblemKind::LeakedClusters;
            let repair = match node.problems.iter().all(|problem| is_leak(problem.kind)) {
                true => Request::free_leaks(&image),
                false => Request::repair(&image),
            };
            vec![Remedy::ask(repair), Remedy::Check(image)]
        }
        ProblemKind::DirectoryDependentDataFile => {
            record_data_file(node).map_or_else(Vec::new, |fix| vec![fix])
        }
        ProblemKind::MissingDataFile => vec![Remedy::DataFile(image)],
        ProblemKind::WrittenUnder => {
            let layer = forest.written_layer(node.id);
            layer.map_or_else(Vec::new, |layer| {
                vec![Remedy::LiveBranch(layer.path.clone())]
            })
        }
        ProblemKind::Interrupted {
            entry,
            can_roll_back,
        } => Remedy::recover(entry, can_roll_back),
        ProblemKind::BrokenBelow => {
            let below = forest.broken_below(node.id);
            let layer = below.and_then(|found| forest.get(found.layer));
            let layer = layer.filter(|layer| forest.stops_only_libvirt(layer));
            layer.map_or_else(Vec::new, |layer| {
                vec![Remedy::ask(Request::record_format(&layer.path))]
            })
        }
        ProblemKind::Unopenable => {
            let why = node.info().and_then(|info| info.unopenable.as_ref());
            match why.is_some_and(|why| why.is_mended_by_repair) {
                true => vec![Remedy::repair(&image)],
                false => Vec::new(),
            }
        }
        ProblemKind::BaseChanged { base, .. } => {
            let base = forest.get(base).map(|base| base.path.clone());
            base.map_or_else(Vec::new, |base| vec![Remedy::Accept(base)])
        }
        ProblemKind::BackingSize
        | ProblemKind::Unreadable
        | ProblemKind::Damaged
        | ProblemKind::Truncated
        | ProblemKind::UnknownFeature => Vec::new(),
    }
}

/// A problem as JSON: `fixes` are command lines that can be run as they stand, in `templates` the person
/// replaces the word in capitals.
#[must_use]
pub fn problem_json(forest: &Forest, node: &Node, problem: &Problem) -> Value {
    let (fixes, templates) = command_lines(&fixes(forest, node, problem.kind));
    json!({
        "kind": problem.kind.name(),
        "message": problem.message,
        "fixes": fixes,
        "templates": templates,
    })
}

/// The command lines that can be run as they stand, and those with a word for the person to say.
#[must_use]
pub fn command_lines(remedies: &[Remedy]) -> (Vec<String>, Vec<String>) {
    let (mut complete, mut templates) = (Vec::new(), Vec::new());
    for remedy in remedies {
        let line = remedy.command_line().map(|line| line.typed().to_string());
        match remedy.is_complete() {
            true => complete.extend(line),
            false => templates.extend(line),
        }
    }
    (complete, templates)
}

/// Each file of the missing base's name that is somewhere else, where all of them are known: whether one is the same
/// disk is judged by the plan of a relink to it.
fn found_elsewhere<'f>(forest: &'f Forest, node: &Node) -> Vec<&'f Node> {
    let is_gone = node.backing.as_ref().is_some_and(|link| {
        matches!(
            link.state,
            BackingState::Missing | BackingState::Elsewhere(_)
        )
    });
    if !is_gone {
        return Vec::new();
    }
    let found = forest.namesakes(node);
    match found.may_be_more {
        true => Vec::new(),
        false => found.images,
    }
}

/// The data file that is read here, by its whole path.
fn record_data_file(node: &Node) -> Option<Remedy> {
    let recorded = node.info()?.data_file.as_deref()?;
    let named = BackingName::interpret(&node.path, recorded);
    let place = absolute(named.file()?).ok()?;
    Some(Remedy::ask(Request::record_data_file(&node.path, &place)))
}

/// Instead of what is refused a request is planned; elsewhere it is told.
impl From<WayOut> for Remedy {
    fn from(way: WayOut) -> Self {
        Self::ask(way.request)
    }
}

impl Remedy {
    /// What helps against an error of an image.
    #[must_use]
    pub fn of(error: &image::Error) -> Vec<Self> {
        match error.kind {
            ErrorKind::Locked => vec![Self::Passphrase(error.path.clone())],
            _ => WayOut::of(error).into_iter().map(Self::from).collect(),
        }
    }

    /// Repairing what is damaged or marked so.
    pub(in crate::ops) fn repair(image: &Path) -> Self {
        WayOut::repair(image).into()
    }

    /// Bringing an entry back from the trash.
    pub(in crate::ops) fn restore(entry: impl Into<String>) -> Self {
        WayOut::restore(entry).into()
    }

    /// What ends an operation that was interrupted.
    pub(in crate::ops) fn recover(entry: u64, can_roll_back: bool) -> Vec<Self> {
        let ways = WayOut::recover(entry, can_roll_back).into_iter();
        ways.map(Self::from).collect()
    }
}

impl WayOut {
    /// What helps against an error of an image.
    #[must_use]
    pub fn of(error: &image::Error) -> Vec<Self> {
        match error.kind.is_mended_by_repair() {
            true => vec![Self::repair(&error.path)],
            false => Vec::new(),
        }
    }

    /// Repairing what is damaged or marked so.
    pub(in crate::ops) fn repair(image: &Path) -> Self {
        Self {
            label: "repair all of it".to_owned(),
            request: Request::repair(image),
        }
    }

    /// Bringing an entry back from the trash.
    pub(in crate::ops) fn restore(entry: impl Into<String>) -> Self {
        Self {
            label: "bring it back from the trash".to_owned(),
            request: Request::restore(vec![entry.into()]),
        }
    }

    /// Doing again an entry of the journal, whatever was done since.
    pub(in crate::ops) fn redo(entry: u64) -> Self {
        Self {
            label: "do it again".to_owned(),
            request: Request::redo(entry),
        }
    }

    /// What ends an operation that was interrupted.
    pub(in crate::ops) fn recover(entry: u64, can_roll_back: bool) -> Vec<Self> {
        let mut ways = vec![Self::finish(entry)];
        ways.extend(can_roll_back.then(|| Self::roll_back(entry)));
        ways
    }

    /// Recording where the missing base of an overlay is, for each file that it may be.
    pub(in crate::ops) fn relinks(forest: &Forest, overlay: &Node) -> Vec<Self> {
        let found = found_elsewhere(forest, overlay).into_iter();
        let ways = found.map(|base| Self {
            label: format!(
                "relink {} first, to {}",
                name(&overlay.path),
                shown(&base.path)
            ),
            request: Request::relink_to(&overlay.path, &base.path),
        });
        ways.collect()
    }

    /// Doing to the end what was interrupted.
    pub(in crate::ops) fn finish(entry: u64) -> Self {
        Self {
            label: "finish it".to_owned(),
            request: Request::finish(entry),
        }
    }

    /// Taking back what was done of what was interrupted.
    pub(in crate::ops) fn roll_back(entry: u64) -> Self {
        Self {
            label: "take back what was done of it".to_owned(),
            request: Request::roll_back(entry),
        }
    }

    /// Having an overlay record the format of the image that it is built on.
    pub(in crate::ops) fn record_format(overlay: &Path, base: &Path) -> Self {
        Self {
            label: format!(
                "record the format first: that of {}, in {}",
                name(base),
                name(overlay)
            ),
            request: Request::record_format(overlay),
        }
    }
}
