//! The diagram: boxes joined by arrows that point from an overlay to what it is built on, left to
//! right, roots on the left, `(Active)` in every leaf.
//!
//! An image's first child stands beside it in the same band; every other child begins a band of its
//! own further down, joined to its parent by a trunk below the parent's box. Lines are made when they
//! are asked for, so that a picture of a hundred thousand images costs no more than what is seen.

use std::collections::HashMap;

use unicode_width::UnicodeWidthStr;

use crate::forest::{Forest, NodeId};

use super::order::{Place, order};
use super::{Charset, cut_middle, labels, note};

/// Columns between two boxes, where the arrow is.
pub const BOX_GAP: usize = 4;
/// No box is narrower than this, frame included.
const NARROWEST: usize = 13;
/// Nor wider; longer names are cut in the middle.
const WIDEST: usize = 36;
/// Where the trunks start below a box, from its left edge: the last child's, then the one before it.
const TRUNKS: [usize; 2] = [3, 8];

/// One box: its rectangle in cells from the corner of the picture, frame included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedBox {
    /// The image.
    pub id: NodeId,
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Its name, cut to the box.
    pub name: String,
    /// What stands below the name, in brackets.
    pub note: String,
    /// The box its arrow points at, by its place in [`Diagram::boxes`].
    pub parent: Option<usize>,
    /// The first of the boxes that point at it.
    pub first_child: Option<usize>,
    /// The box above it among those that point at the same box; among roots, the root before it.
    pub previous: Option<usize>,
    /// Likewise, below it.
    pub next: Option<usize>,
    /// Which of its siblings it is, from 0.
    index: usize,
    /// How many boxes point at it.
    children: usize,
}

/// A row of boxes, with the empty line above it if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Band {
    /// Where its lines begin; the empty line, if it has one.
    from: usize,
    /// Where its boxes begin.
    top: usize,
    height: usize,
    /// Its boxes.
    boxes: std::ops::Range<usize>,
}

/// The whole picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    boxes: Vec<PlacedBox>,
    bands: Vec<Band>,
    by_node: HashMap<NodeId, usize>,
    width: usize,
    height: usize,
}

impl Diagram {
    /// Lays out all images of a forest.
    #[must_use]
    pub fn new(forest: &Forest, charset: Charset) -> Self {
        let places = order(forest);
        let names = labels(forest);
        let mut diagram = Self::default();
        let mut start = 0;
        let mut last_root = None;
        while start < places.len() {
            let end = places
                .iter()
                .enumerate()
                .skip(start + 1)
                .find(|(_, place)| place.parent.is_none())
                .map_or(places.len(), |(at, _)| at);
            diagram.add_tree(
                forest,
                &names,
                places.get(start..end).unwrap_or(&[]),
                charset,
            );
            if let Some(root) = diagram.boxes.get_mut(start) {
                root.previous = last_root;
            }
            if let Some(before) = last_root.and_then(|at: usize| diagram.boxes.get_mut(at)) {
                before.next = Some(start);
            }
            last_root = Some(start);
            start = end;
        }
        diagram.height = diagram
            .bands
            .last()
            .map_or(0, |band| band.top + band.height);
        diagram.width = diagram
            .boxes
            .iter()
            .map(|placed| placed.x + placed.width)
            .max()
            .unwrap_or(0);
        diagram.by_node = diagram
            .boxes
            .iter()
            .enumerate()
            .map(|(at, placed)| (placed.id, at))
            .collect();
        diagram
    }

    /// Lays out one tree below what is there.
    fn add_tree(
        &mut self,
        forest: &Forest,
        names: &HashMap<NodeId, String>,
        places: &[Place],
        charset: Charset,
    ) {
        let offset = self.boxes.len();
        let mut columns: Vec<usize> = Vec::new();
        let mut column_of: Vec<usize> = Vec::with_capacity(places.len());
        let mut last_sibling: HashMap<(usize, usize), usize> = HashMap::new();
        let mut y = match self.bands.last() {
            Some(band) => band.top + band.height + 1,
            None => 0,
        };
        for (i, place) in places.iter().enumerate() {
            let at = offset + i;
            let column = place
                .parent
                .and_then(|parent| column_of.get(parent - offset))
                .map_or(0, |column| column + 1);
            column_of.push(column);
            let beside = place.index == 0 && place.parent.is_some_and(|parent| parent + 1 == at);
            if beside {
                if let Some(band) = self.bands.last_mut() {
                    band.boxes.end = at + 1;
                }
            } else {
                // Below a box with trunks there is a line for their arrowheads.
                let gap = place.parent.is_some()
                    && self.bands.last().is_some_and(|band| {
                        self.boxes
                            .get(band.boxes.clone())
                            .is_some_and(|row| row.iter().any(|placed| placed.children > 1))
                    });
                let height = if place.parent.is_none() { 5 } else { 4 };
                let top = y + usize::from(gap);
                self.bands.push(Band {
                    from: y,
                    top,
                    height,
                    boxes: at..at + 1,
                });
                y = top + height;
            }
            let name = names.get(&place.id).map_or("", String::as_str);
            let name = cut_middle(name, WIDEST - 4, charset);
            let note = note(forest, place.id).map_or_else(String::new, |note| format!("({note})"));
            let note = cut_middle(&note, WIDEST - 4, charset);
            let width = (name.width().max(note.width()) + 4).max(NARROWEST);
            match columns.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => columns.push(width),
            }
            let previous = place
                .parent
                .filter(|_| place.index > 0)
                .and_then(|parent| last_sibling.get(&(parent, place.index - 1)).copied());
            if let Some(parent) = place.parent {
                last_sibling.insert((parent, place.index), at);
            }
            if let Some(before) = previous.and_then(|at| self.boxes.get_mut(at)) {
                before.next = Some(at);
            }
            let (top, height) = self
                .bands
                .last()
                .map_or((0, 0), |band| (band.top, band.height));
            self.boxes.push(PlacedBox {
                id: place.id,
                x: 0,
                y: top,
                width: 0,
                height,
                name,
                note,
                parent: place.parent,
                first_child: (place.children > 0).then_some(at + 1),
                previous,
                next: None,
                index: place.index,
                children: place.children,
            });
        }
        let mut edges = Vec::with_capacity(columns.len());
        let mut x = 0;
        for width in &columns {
            edges.push(x);
            x += width + BOX_GAP;
        }
        for (placed, column) in self.boxes.iter_mut().skip(offset).zip(column_of) {
            placed.x = edges.get(column).copied().unwrap_or(0);
            placed.width = columns.get(column).copied().unwrap_or(NARROWEST);
        }
    }

    /// The boxes: roots first, parents before children.
    #[must_use]
    pub fn boxes(&self) -> &[PlacedBox] {
        &self.boxes
    }

    /// The box of an image, by its place in [`Diagram::boxes`].
    #[must_use]
    pub fn find(&self, id: NodeId) -> Option<usize> {
        self.by_node.get(&id).copied()
    }

    /// Columns of the picture.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of the picture.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The boxes that a part of rows `from..to` shows something of.
    pub fn boxes_in(&self, rows: std::ops::Range<usize>) -> impl Iterator<Item = &PlacedBox> {
        let first = self
            .bands
            .partition_point(|band| band.top + band.height <= rows.start);
        let last = self.bands.partition_point(|band| band.top < rows.end);
        self.bands
            .get(first..last)
            .unwrap_or(&[])
            .iter()
            .flat_map(|band| self.boxes.get(band.boxes.clone()).unwrap_or(&[]))
    }

    /// Row `y` of the picture, without spaces at its end. Empty beyond the last one.
    #[must_use]
    pub fn line(&self, y: usize) -> String {
        let mut pen = Pen::default();
        let Some(band) = self.band_at(y) else {
            return pen.text;
        };
        let Some(first) = self.boxes.get(band.boxes.start) else {
            return pen.text;
        };
        self.draw_trunks(first, band, y, &mut pen);
        if y < band.top {
            return pen.text;
        }
        let name_row = band.top + band.height - 3;
        for placed in self.boxes.get(band.boxes.clone()).unwrap_or(&[]) {
            let inner = placed.width.saturating_sub(2);
            let row = y - placed.y;
            if y == name_row && placed.index == 0 && placed.parent.is_some() {
                pen.put(placed.x.saturating_sub(BOX_GAP), "<---");
            }
            if row == 0 {
                pen.put(placed.x, &format!(".{}.", "-".repeat(inner)));
            } else if row + 1 == placed.height {
                pen.put(placed.x, &format!("'{}'", "-".repeat(inner)));
            } else {
                let text = match y {
                    y if y == name_row => placed.name.as_str(),
                    y if y == name_row + 1 => placed.note.as_str(),
                    _ => "",
                };
                pen.put(placed.x, "|");
                pen.put(placed.x + 2, text);
                pen.put(placed.x + placed.width.saturating_sub(1), "|");
            }
        }
        pen.text
    }

    /// All rows from the top.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        (0..self.height).map(|y| self.line(y))
    }

    fn band_at(&self, y: usize) -> Option<&Band> {
        let at = self.bands.partition_point(|band| band.from <= y);
        let band = self.bands.get(at.checked_sub(1)?)?;
        (y < band.top + band.height).then_some(band)
    }

    /// The trunks that pass through or end in row `y`, left of the band's first box.
    fn draw_trunks(&self, first: &PlacedBox, band: &Band, y: usize, pen: &mut Pen) {
        let name_row = band.top + band.height - 3;
        let mut signs: Vec<(usize, char)> = Vec::new();
        let mut child = first;
        while let Some(parent) = child.parent.and_then(|at| self.boxes.get(at)) {
            let head = y == parent.y + parent.height;
            let own = std::ptr::eq(child, first);
            // The children whose boxes are still to come, and this band's own.
            let until = if own && child.index > 0 {
                child.index
            } else {
                child.index + 1
            };
            for index in until..parent.children.min(until + 3) {
                let column = parent.x + trunk(index, parent.children);
                let ends_here = own && index == child.index;
                let sign = if head {
                    '^'
                } else if !ends_here || y < name_row {
                    '|'
                } else if y > name_row {
                    continue;
                } else if parent.children > 3 && index + 1 < parent.children {
                    '+'
                } else {
                    '\''
                };
                if !signs.iter().any(|(at, _)| *at == column) {
                    signs.push((column, sign));
                }
            }
            child = parent;
        }
        signs.sort_unstable();
        let joins = y == name_row && first.index > 0;
        for (column, sign) in signs {
            pen.put(column, sign.encode_utf8(&mut [0; 4]));
            if joins && sign != '|' {
                pen.put(column + 1, &"-".repeat(first.x.saturating_sub(column + 1)));
            }
        }
    }
}

/// Where the trunk of a child (not the first) starts, from the left edge of its parent's box. Two
/// have one each, the nearer child's to the right; more share one.
fn trunk(index: usize, children: usize) -> usize {
    match (children, index) {
        (3, 1) => TRUNKS[1],
        _ => TRUNKS[0],
    }
}

/// Writes one line from left to right.
#[derive(Default)]
struct Pen {
    text: String,
    at: usize,
}

impl Pen {
    fn put(&mut self, column: usize, text: &str) {
        if text.is_empty() {
            return;
        }
        while self.at < column {
            self.text.push(' ');
            self.at += 1;
        }
        self.text.push_str(text);
        self.at += text.width();
    }
}
