//! The forest as boxes: the rows laid out as the forest's own picture lays its images out, and which
//! part of that is seen. A box's number is its row's number, so that both pictures share the cursor.
//! How boxes look is the view's business.

use std::collections::HashSet;
use std::ffi::OsString;

use crate::forest::render::{Charset, Diagram, ToPlace};
use crate::forest::{Flags, Forest};
use crate::host::printable;
use crate::units;

use super::labels::letters;
use super::plan_preview::PlanPreview;
use super::rows::{Row, RowKind, Rows, nth};

/// The picture, and which part of it is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiagramPane {
    /// Where everything is.
    pub diagram: Diagram,
    /// The first column seen.
    pub left: usize,
    /// The first row seen.
    pub top: usize,
}

impl DiagramPane {
    /// Lays the boxes out again.
    pub(super) fn rebuild(
        &mut self,
        forest: &Forest,
        rows: &Rows,
        ambiguous: &HashSet<OsString>,
        preview: Option<&PlanPreview>,
        charset: Charset,
    ) {
        let boxes = rows.list.iter().map(|row| ToPlace {
            name: name(forest, ambiguous, rows, row, preview),
            note: note(forest, row),
            parent: row.parent.and_then(|parent| usize::try_from(parent).ok()),
            ..ToPlace::default()
        });
        self.diagram = Diagram::of(boxes.collect(), charset);
    }

    /// The box at this place of what is seen.
    #[must_use]
    pub fn at(&self, x: usize, y: usize) -> Option<usize> {
        let (x, y) = (x + self.left, y + self.top);
        let mut seen = self.diagram.seen(y..y + 1, x..x + 1);
        seen.next().map(|(at, _)| at)
    }

    /// Scrolls just so far that this box is seen.
    pub fn follow(&mut self, at: usize, seen: (u16, u16)) {
        let Some(placed) = self.diagram.boxes().get(at) else {
            return;
        };
        let (width, height) = (usize::from(seen.0), usize::from(seen.1));
        let whole = (self.diagram.width(), self.diagram.height());
        self.left = within(self.left, placed.x, placed.width, width, whole.0);
        self.top = within(self.top, placed.y, placed.height, height, whole.1);
    }

    /// The nearest box above or below, preferring those straight above or below.
    #[must_use]
    pub fn vertical(&self, from: usize, down: bool) -> Option<usize> {
        let boxes = self.diagram.boxes();
        let start = boxes.get(from)?;
        boxes
            .iter()
            .enumerate()
            .filter(|(_, b)| if down { b.y > start.y } else { b.y < start.y })
            .min_by_key(|(i, b)| (b.y.abs_diff(start.y), b.x.abs_diff(start.x), *i))
            .map(|(i, _)| i)
    }
}

/// The first cell seen, moved no further than needed to see `len` cells from `start`.
fn within(first: usize, start: usize, len: usize, seen: usize, whole: usize) -> usize {
    let end = start + len.min(seen);
    let first = first.min(start).max(end.saturating_sub(seen));
    first.min(whole.saturating_sub(seen))
}

fn name(
    forest: &Forest,
    ambiguous: &HashSet<OsString>,
    rows: &Rows,
    row: &Row,
    preview: Option<&PlanPreview>,
) -> String {
    match row.kind {
        RowKind::Image(id) | RowKind::Again(id) => {
            forest.get(id).map_or_else(String::new, |node| {
                let name = node.path.file_name().unwrap_or(node.path.as_os_str());
                let folder = node.path.parent().and_then(|dir| dir.file_name());
                match folder {
                    // The folder tells two files of one name apart.
                    Some(folder) if ambiguous.contains(name) => {
                        format!("{}/{}", printable(folder), printable(name))
                    }
                    _ => printable(name),
                }
            })
        }
        RowKind::Folded { hidden, .. } => format!("{} folded", rows.hidden(hidden).images),
        RowKind::Run { hidden, .. } => format!("{} in line", rows.hidden(hidden).images),
        // The picture is of files: it has no rows of what is inside.
        RowKind::Snapshot { .. } | RowKind::MoreSnapshots { .. } => String::new(),
        RowKind::NewSnapshot(_) => "new snapshot".to_owned(),
        RowKind::Machine(place) => {
            let machine = usize::try_from(place).ok();
            let machine = machine.and_then(|place| forest.machine_at(place));
            machine.map_or_else(String::new, |machine| printable(&machine.name))
        }
        RowKind::Disk { .. } => "not an image here".to_owned(),
        // What is said of a host has no room in a box.
        RowKind::Host(_) => String::new(),
        RowKind::New(new) => {
            let new = preview.and_then(|preview| nth(&preview.new, new));
            new.map_or_else(|| "new".to_owned(), |(path, _)| units::file_name(path))
        }
    }
}

/// What stands below the name: whether it may be written, and what else is to be known.
fn note(forest: &Forest, row: &Row) -> String {
    let RowKind::Image(id) = row.kind else {
        return match row.kind {
            RowKind::Again(_) => "a loop".to_owned(),
            _ => String::new(),
        };
    };
    let Some(node) = forest.get(id) else {
        return String::new();
    };
    let word = if forest.flags(id).contains(Flags::ACTIVE) {
        "(Active)"
    } else if node.is_in_trash() {
        "(in trash)"
    } else if node.stat.is_none() {
        "(missing)"
    } else {
        ""
    };
    let problem = if node.problems.is_empty() { "" } else { "!" };
    let letters = letters(forest, node);
    format!("{word} {problem}{letters}").trim().to_owned()
}
