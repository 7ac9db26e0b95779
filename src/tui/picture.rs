//! The forest as boxes: which box stands where, which part of the picture is seen, which box is
//! next in a direction. A box's number is its row's number, so that both pictures share the cursor.
//! How boxes look is the view's business.

use crate::forest::Forest;
use crate::host::printable;

use super::rows::{RowKind, Rows};
use super::text;

/// One box, in cells from the picture's corner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boxed {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Width with its frame.
    pub width: usize,
    /// What stands in it: a name, printable.
    pub label: String,
    /// The box it points at.
    pub parent: Option<usize>,
}

/// Rows of a box with its frame.
pub const HEIGHT: usize = 4;
/// Columns between a box and the next one, for the arrow.
pub const GAP: usize = 4;
/// No box is wider than this; longer names are cut in the middle.
const WIDEST: usize = 30;
const NARROWEST: usize = 13;

/// The picture, and which part of it is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The boxes, by row.
    pub boxes: Vec<Boxed>,
    /// Columns of the whole picture.
    pub width: usize,
    /// Rows of the whole picture.
    pub height: usize,
    /// The first column seen.
    pub left: usize,
    /// The first row seen.
    pub top: usize,
}

impl Picture {
    /// Lays the boxes out again.
    pub fn rebuild(&mut self, forest: &Forest, rows: &Rows) {
        let mut boxes: Vec<Boxed> = Vec::with_capacity(rows.list.len());
        let mut columns: Vec<usize> = Vec::new();
        let mut column_of: Vec<usize> = Vec::with_capacity(rows.list.len());
        let mut bands = 0;
        for (i, row) in rows.list.iter().enumerate() {
            let parent = row.parent.and_then(|parent| usize::try_from(parent).ok());
            let column = parent
                .and_then(|parent| column_of.get(parent))
                .map_or(0, |column| column + 1);
            // A first child stands beside its parent, on the same band; whatever else comes takes
            // the next free band.
            let beside = parent
                .filter(|parent| parent + 1 == i)
                .and_then(|p| boxes.get(p));
            let y = beside.map_or_else(
                || {
                    bands += 1;
                    (bands - 1) * HEIGHT
                },
                |parent| parent.y,
            );
            let label = label(forest, rows, row.kind);
            let width = (text::width(&label) + 4).clamp(NARROWEST, WIDEST);
            if columns.len() <= column {
                columns.resize(column + 1, 0);
            }
            if let Some(widest) = columns.get_mut(column) {
                *widest = width.max(*widest);
            }
            column_of.push(column);
            boxes.push(Boxed {
                x: 0,
                y,
                width,
                label,
                parent,
            });
        }
        let mut edges = Vec::with_capacity(columns.len());
        let mut x = 0;
        for width in &columns {
            edges.push(x);
            x += width + GAP;
        }
        for (boxed, column) in boxes.iter_mut().zip(&column_of) {
            boxed.x = edges.get(*column).copied().unwrap_or_default();
            boxed.width = columns.get(*column).copied().unwrap_or(NARROWEST);
        }
        self.width = x.saturating_sub(GAP);
        self.height = bands * HEIGHT;
        self.boxes = boxes;
    }

    /// The box at this place of what is seen.
    #[must_use]
    pub fn at(&self, x: usize, y: usize) -> Option<usize> {
        let (x, y) = (x + self.left, y + self.top);
        self.boxes.iter().position(|boxed| {
            (boxed.x..boxed.x + boxed.width).contains(&x)
                && (boxed.y..boxed.y + HEIGHT).contains(&y)
        })
    }

    /// Scrolls just so far that this box is seen.
    pub fn follow(&mut self, at: usize, seen: (u16, u16)) {
        let Some(boxed) = self.boxes.get(at) else {
            return;
        };
        let (width, height) = (usize::from(seen.0), usize::from(seen.1));
        self.left = within(self.left, boxed.x, boxed.width, width, self.width);
        self.top = within(self.top, boxed.y, HEIGHT, height, self.height);
    }

    /// The nearest box above or below, preferring those straight above or below.
    #[must_use]
    pub fn vertical(&self, from: usize, down: bool) -> Option<usize> {
        let start = self.boxes.get(from)?;
        self.boxes
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

fn label(forest: &Forest, rows: &Rows, kind: RowKind) -> String {
    match kind {
        RowKind::Image(id) | RowKind::Again(id) => {
            forest.get(id).map_or_else(String::new, |node| {
                let name = node.path.file_name().unwrap_or(node.path.as_os_str());
                let folder = node.path.parent().and_then(|dir| dir.file_name());
                match folder {
                    // The folder tells two files of one name apart.
                    Some(folder) if rows.ambiguous.contains(name) => {
                        format!("{}/{}", printable(folder), printable(name))
                    }
                    _ => printable(name),
                }
            })
        }
        RowKind::Folded { hidden, .. } => format!("{hidden} folded"),
        RowKind::Run { hidden, .. } => format!("{hidden} in line"),
        RowKind::New(_) => "new".to_owned(),
    }
}
