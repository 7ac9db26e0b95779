//! How a conversion writes what it writes.

use std::sync::Arc;

use crate::host::Host;
use crate::image;
use crate::image::{ConvertFrom, Keys, Lost, SparseSize};
use crate::ops::framework::format::{listed, name};
use crate::ops::{Convert, Note, NoteKind, Plan};
use crate::units::size;

use super::source::Source;

/// In which manner the sources are read.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) lost: Option<Arc<Lost>>,
    sparse: SparseSize,
}

impl Manner {
    pub(super) fn of(request: &Convert) -> Self {
        Self {
            lost: request.salvage.then(Arc::default),
            sparse: request.sparse,
        }
    }

    pub(super) fn open(
        &self,
        sources: &[Source],
        host: &dyn Host,
        keys: &Keys,
    ) -> image::Result<ConvertFrom> {
        let chains = sources.iter().map(|source| source.open(host, keys));
        Ok(ConvertFrom {
            sources: chains.collect::<image::Result<_>>()?,
            layers: None,
            salvage: self.lost.clone(),
            sparse: self.sparse,
        })
    }

    /// What was found to be lost when planning.
    pub(super) fn say(&self, plan: &mut Plan, request: &Convert) {
        let Some(lost) = &self.lost else { return };
        plan.note(
            NoteKind::Lost,
            "what cannot be read becomes zeros, and is listed at the end".to_owned(),
        );
        if lost.bytes() > 0 {
            let names: Vec<String> = request.sources.iter().map(|path| name(path)).collect();
            plan.warn(
                NoteKind::Lost,
                format!(
                    "{} of what {} showed cannot be read any more, by the tables alone: {}",
                    size(lost.bytes()),
                    listed(&names, 3),
                    ranges_of(lost)
                ),
            );
        }
    }

    /// What was lost, for the outcome.
    pub(super) fn remarks(&self) -> Vec<Note> {
        let lost = self.lost.as_ref().filter(|lost| lost.bytes() > 0);
        let say = |lost: &Arc<Lost>| {
            let text = format!(
                "{} could not be read and are zeros: {}",
                size(lost.bytes()),
                ranges_of(lost)
            );
            Note::new(NoteKind::Lost, text)
        };
        lost.map(say).into_iter().collect()
    }
}

/// The first of the ranges, by where they lie on the new disk.
fn ranges_of(lost: &Lost) -> String {
    let ranges = lost.ranges();
    let words: Vec<String> = ranges
        .iter()
        .map(|range| format!("{} at {:#x}", size(range.end - range.start), range.start))
        .collect();
    let more = if lost.has_more() { ", and more" } else { "" };
    format!("{}{more}", listed(&words, 20))
}
