//! What a shown plan would do to the rows: which images it changes, what would be new. The plan's
//! effects decide that, not this file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::forest::{Forest, NodeId};
use crate::ops::{
    Branch, ChangeSnapshot, CloneImage, Effect, EffectKind, Flatten, Request, SnapshotAction,
    SnapshotName,
};

/// What a plan would do, for marks in the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanPreview {
    /// What happens to images that are there.
    pub marks: HashMap<NodeId, EffectKind>,
    /// Files that would appear, and what they would be built on.
    pub new: Vec<(PathBuf, Option<NodeId>)>,
    /// The internal snapshot that would go.
    pub forgets: Option<(NodeId, SnapshotName)>,
    /// The internal snapshot that would be taken, and its name.
    pub takes: Option<(NodeId, OsString)>,
}

impl PlanPreview {
    /// The images it concerns: those it changes, those that something new is built on, and those whose snapshots
    /// it takes or forgets.
    pub fn images(&self) -> impl Iterator<Item = NodeId> {
        let bases = self.new.iter().filter_map(|(_, base)| *base);
        let forgets = self.forgets.as_ref().map(|(of, _)| *of);
        let takes = self.takes.as_ref().map(|(of, _)| *of);
        self.marks
            .keys()
            .copied()
            .chain(bases)
            .chain(forgets)
            .chain(takes)
    }

    /// The signs it puts beside rows and what each means, the gravest first; one sign has as many entries as it
    /// has meanings here.
    #[must_use]
    pub fn legend(&self) -> Vec<(char, &'static str)> {
        let new = (!self.new.is_empty() || self.takes.is_some()).then_some(EffectKind::Creates);
        let goes = self.forgets.is_some().then_some(EffectKind::Trashes);
        let kinds = self.marks.values().copied().chain(new).chain(goes);
        let mut legend: Vec<_> = kinds.filter_map(EffectKind::mark).collect();
        legend.sort_by_key(|(sign, meaning)| ("✗!≈~+".find(*sign), *meaning));
        legend.dedup();
        legend
    }

    /// What these effects mean for the images of this forest. Where several things happen to one
    /// file, the gravest counts.
    #[must_use]
    pub fn of(forest: &Forest, request: &Request, effects: &[Effect]) -> Self {
        let mut preview = Self::default();
        let request = request.itself();
        let id = |path: &Path| forest.by_path(path).map(|node| node.id);
        let base = match request {
            Request::Branch(Branch { base, .. }) => id(base),
            Request::Flatten(Flatten { onto, .. }) => onto.as_deref().and_then(id),
            Request::Convert(options) => options.backing.as_deref().and_then(id),
            Request::Clone(CloneImage { image, .. }) => {
                forest.by_path(image).and_then(|node| node.parent)
            }
            _ => None,
        };
        if let Request::Snapshot(ChangeSnapshot { image, action }) = request
            && let Some(node) = forest.by_path(image).filter(|_| !effects.is_empty())
        {
            match action {
                SnapshotAction::Create { name } => preview.takes = Some((node.id, name.clone())),
                SnapshotAction::Delete { snapshot } => {
                    preview.forgets = Some((node.id, snapshot.clone()));
                }
                SnapshotAction::Apply { .. } | SnapshotAction::Extract { .. } => {}
            }
        }
        for effect in effects {
            if effect.kind.mark().is_none() {
                continue;
            }
            match forest.by_path(&effect.path) {
                Some(node) => {
                    let mark = preview.marks.entry(node.id).or_insert(effect.kind);
                    if gravity(effect.kind) > gravity(*mark) {
                        *mark = effect.kind;
                    }
                }
                None if matches!(effect.kind, EffectKind::Creates | EffectKind::Restores) => {
                    preview.new.push((effect.path.clone(), base));
                }
                None => {}
            }
        }
        preview
    }
}

fn gravity(kind: EffectKind) -> u8 {
    match kind {
        EffectKind::Reads => 0,
        EffectKind::Creates | EffectKind::Restores => 1,
        EffectKind::Relinks
        | EffectKind::Moves
        | EffectKind::Updates
        | EffectKind::Chmods
        | EffectKind::Annotates
        | EffectKind::Freezes
        | EffectKind::Grows => 2,
        EffectKind::Preserves => 3,
        EffectKind::Empties | EffectKind::Drops => 4,
        EffectKind::Writes => 5,
        EffectKind::Trashes | EffectKind::Deletes => 6,
        EffectKind::Breaks => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legend_tells_what_there_is_and_the_gravest_first() {
        let mut preview = PlanPreview::default();
        assert_eq!(preview.legend(), []);
        preview.marks.insert(NodeId(1), EffectKind::Chmods);
        preview.marks.insert(NodeId(2), EffectKind::Reads);
        assert_eq!(preview.legend(), [('~', "permissions changed")]);
        preview.marks.insert(NodeId(3), EffectKind::Relinks);
        preview.marks.insert(NodeId(4), EffectKind::Updates);
        preview.marks.insert(NodeId(5), EffectKind::Trashes);
        preview.new.push((PathBuf::from("/vm/new"), None));
        assert_eq!(
            preview.legend(),
            [
                ('✗', "goes"),
                ('~', "header rewritten"),
                ('~', "permissions changed"),
                ('+', "new"),
            ]
        );
    }
}
