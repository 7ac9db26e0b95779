//! The diagram: boxes joined by arrows that point from an overlay to what it is built on, left to
//! right, roots on the left, `(Active)` in every leaf. An image's internal snapshots stand inside its box.
//!
//! An image's first child stands beside it in the same band; every other child begins a band of its
//! own further down, joined to its parent by a trunk below the parent's box. Lines are made when they
//! are asked for, so that a picture of a hundred thousand images costs no more than what is seen.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

use crate::forest::Forest;

use super::inside::boxed;
use super::order::order;
use super::{Charset, cut_middle, labels, note};

/// Columns between two boxes, where the arrow is.
pub const BOX_GAP: usize = 4;
/// No box is narrower than this, frame included.
const NARROWEST: usize = 13;
/// Nor wider; longer names are cut in the middle.
const WIDEST: usize = 36;
/// Where the trunks start below a box, from its left edge: the last child's, then the one before it.
const TRUNKS: [usize; 2] = [3, 8];

/// A box to be placed: what stands in it, safe to print, and the box its arrow points at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToPlace {
    /// Its name; cut in the middle where it is too long.
    pub name: String,
    /// What stands below the name.
    pub note: String,
    /// What stands below that, a line each.
    pub inside: Vec<String>,
    /// The box it points at, by its place among those before it.
    pub parent: Option<usize>,
}

/// One box: its rectangle in cells from the corner of the picture, frame included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedBox {
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
    /// What stands below the name.
    pub note: String,
    /// What stands below that, a line each, cut to the box.
    pub inside: Vec<String>,
    /// The box its arrow points at, by its place in [`Diagram::boxes`].
    pub parent: Option<usize>,
    /// Rows from its top edge to its name.
    lead: usize,
    /// Which of its siblings it is, from 0.
    index: usize,
    /// How many boxes point at it.
    children: usize,
}

impl PlacedBox {
    /// The row its name stands in; the note is in the one below.
    #[must_use]
    pub fn name_row(&self) -> usize {
        self.y + self.lead
    }
}

/// A row of boxes, with the empty line above it if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Band {
    /// Where its lines begin; the empty line, if it has one.
    from: usize,
    /// Where its boxes begin.
    top: usize,
    height: usize,
    /// Rows from there to their names.
    lead: usize,
    /// Its boxes, from left to right.
    boxes: Range<usize>,
}

/// The whole picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    boxes: Vec<PlacedBox>,
    bands: Vec<Band>,
    width: usize,
    height: usize,
}

impl Diagram {
    /// Lays out all images of a forest.
    #[must_use]
    pub fn new(forest: &Forest, charset: Charset) -> Self {
        let mut names = labels(forest);
        let places = order(forest).into_iter().map(|place| ToPlace {
            name: names.remove(&place.id).unwrap_or_default(),
            note: note(forest, place.id).map_or_else(String::new, |note| format!("({note})")),
            inside: forest
                .get(place.id)
                .map_or_else(Vec::new, |node| boxed(node, charset)),
            parent: place.parent,
        });
        Self::of(places.collect(), charset)
    }

    /// Lays out these boxes: each root, then what points at it, parents before children, a first child
    /// right behind its parent.
    #[must_use]
    pub fn of(boxes: Vec<ToPlace>, charset: Charset) -> Self {
        let mut diagram = Self::default();
        diagram.boxes.reserve(boxes.len());
        let mut children = vec![0; boxes.len()];
        let mut index = vec![0; boxes.len()];
        for (at, to_place) in boxes.iter().enumerate() {
            if let (Some(count), Some(index)) = (
                to_place.parent.and_then(|parent| children.get_mut(parent)),
                index.get_mut(at),
            ) {
                *index = *count;
                *count += 1;
            }
        }
        let mut tree = Tree::default();
        for (at, to_place) in boxes.into_iter().enumerate() {
            let count = |list: &[usize]| list.get(at).copied().unwrap_or(0);
            if to_place.parent.is_none() {
                diagram.close(&tree);
                tree = Tree {
                    offset: at,
                    ..Tree::default()
                };
            }
            diagram.place(
                &mut tree,
                to_place,
                count(&index),
                count(&children),
                charset,
            );
        }
        diagram.close(&tree);
        for band in &diagram.bands {
            let row = diagram.boxes.get_mut(band.boxes.clone());
            for placed in row.into_iter().flatten() {
                (placed.y, placed.height) = (band.top, band.height);
            }
        }
        diagram.height = diagram
            .bands
            .last()
            .map_or(0, |band| band.top + band.height);
        let right = diagram.boxes.iter().map(|placed| placed.x + placed.width);
        diagram.width = right.max().unwrap_or(0);
        diagram
    }

    /// Places one more box of a tree; where its column begins is known when the tree is closed.
    fn place(
        &mut self,
        tree: &mut Tree,
        to_place: ToPlace,
        index: usize,
        children: usize,
        charset: Charset,
    ) {
        let at = self.boxes.len();
        let parent = to_place.parent;
        let column = parent
            .and_then(|parent| tree.column_of.get(parent.checked_sub(tree.offset)?))
            .map_or(0, |column| column + 1);
        tree.column_of.push(column);
        let beside = index == 0 && parent.is_some_and(|parent| parent + 1 == at);
        if beside {
            if let Some(band) = self.bands.last_mut() {
                band.boxes.end = at + 1;
            }
        } else {
            // Below a box with trunks there is a line for their arrowheads.
            let gap = parent.is_some()
                && self.bands.last().is_some_and(|band| {
                    self.boxes
                        .get(band.boxes.clone())
                        .is_some_and(|row| row.iter().any(|placed| placed.children > 1))
                });
            let from = match (self.bands.last(), parent) {
                (Some(band), Some(_)) => band.top + band.height,
                // An empty line between two trees.
                (Some(band), None) => band.top + band.height + 1,
                (None, _) => 0,
            };
            self.bands.push(Band {
                from,
                top: from + usize::from(gap),
                height: 0,
                lead: if parent.is_none() { 2 } else { 1 },
                boxes: at..at + 1,
            });
        }
        let name = cut_middle(&to_place.name, WIDEST - 4, charset);
        let note = cut_middle(&to_place.note, WIDEST - 4, charset);
        let inside: Vec<String> = to_place
            .inside
            .iter()
            .map(|line| cut_middle(line, WIDEST - 4, charset))
            .collect();
        let texts = [&name, &note].into_iter().chain(&inside);
        let widest = texts.map(|text| text.width()).max().unwrap_or(0);
        let width = (widest + 4).max(NARROWEST);
        match tree.columns.get_mut(column) {
            Some(widest) => *widest = width.max(*widest),
            None => tree.columns.push(width),
        }
        let lead = self.bands.last_mut().map_or(0, |band| {
            // All boxes of a band are as high as the highest.
            band.height = band.height.max(band.lead + 3 + inside.len());
            band.lead
        });
        self.boxes.push(PlacedBox {
            x: 0,
            y: 0,
            width: 0,
            height: 0,
            name,
            note,
            inside,
            parent,
            lead,
            index,
            children,
        });
    }

    /// A tree is whole: its columns are as wide as their widest box.
    fn close(&mut self, tree: &Tree) {
        let mut edges = Vec::with_capacity(tree.columns.len());
        let mut x = 0;
        for width in &tree.columns {
            edges.push(x);
            x += width + BOX_GAP;
        }
        let boxes = self.boxes.iter_mut().skip(tree.offset);
        for (placed, column) in boxes.zip(&tree.column_of) {
            placed.x = edges.get(*column).copied().unwrap_or(0);
            placed.width = tree.columns.get(*column).copied().unwrap_or(NARROWEST);
        }
    }

    /// The boxes: roots first, parents before children.
    #[must_use]
    pub fn boxes(&self) -> &[PlacedBox] {
        &self.boxes
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

    /// The boxes of which something is seen in these rows and columns, with their places in
    /// [`Diagram::boxes`].
    pub fn seen(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> impl Iterator<Item = (usize, &PlacedBox)> {
        let first = self
            .bands
            .partition_point(|band| band.top + band.height <= rows.start);
        let last = self.bands.partition_point(|band| band.top < rows.end);
        let bands = self.bands.get(first..last).unwrap_or(&[]).iter();
        bands.flat_map(move |band| self.across(band, columns.clone()))
    }

    /// The boxes of a band of which something is seen in these columns.
    fn across(
        &self,
        band: &Band,
        columns: Range<usize>,
    ) -> impl Iterator<Item = (usize, &PlacedBox)> {
        let row = self.boxes.get(band.boxes.clone()).unwrap_or(&[]);
        let first = row.partition_point(|placed| placed.x + placed.width <= columns.start);
        let last = row.partition_point(|placed| placed.x < columns.end);
        let part = row.get(first..last).unwrap_or(&[]);
        (band.boxes.start + first..).zip(part)
    }

    /// The arrows in row `y`: pieces of text with the columns they begin at, from left to right where
    /// they come from one band. Those that end in `columns` are there; others may be.
    #[must_use]
    pub fn arrows(&self, y: usize, columns: Range<usize>) -> Vec<(usize, String)> {
        let Some(band) = self.band_at(y) else {
            return Vec::new();
        };
        let Some(first) = self.boxes.get(band.boxes.start) else {
            return Vec::new();
        };
        let mut arrows = self.trunks(first, band, y);
        if y == first.name_row() && y >= band.top {
            let columns = columns.start..columns.end.saturating_add(BOX_GAP);
            let beside = self.across(band, columns);
            let beside = beside.filter(|(_, placed)| placed.index == 0 && placed.parent.is_some());
            arrows.extend(beside.map(|(_, placed)| {
                let column = placed.x.saturating_sub(BOX_GAP);
                (column, "<---".to_owned())
            }));
        }
        arrows
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
        for (column, text) in self.trunks(first, band, y) {
            pen.put(column, &text);
        }
        if y < band.top {
            return pen.text;
        }
        for placed in self.boxes.get(band.boxes.clone()).unwrap_or(&[]) {
            let inner = placed.width.saturating_sub(2);
            let row = y - placed.y;
            if y == placed.name_row() && placed.index == 0 && placed.parent.is_some() {
                pen.put(placed.x.saturating_sub(BOX_GAP), "<---");
            }
            if row == 0 {
                pen.put(placed.x, &format!(".{}.", "-".repeat(inner)));
            } else if row + 1 == placed.height {
                pen.put(placed.x, &format!("'{}'", "-".repeat(inner)));
            } else {
                let text = match y {
                    y if y == placed.name_row() => placed.name.as_str(),
                    y if y == placed.name_row() + 1 => placed.note.as_str(),
                    y => y
                        .checked_sub(placed.name_row() + 2)
                        .and_then(|line| placed.inside.get(line))
                        .map_or("", String::as_str),
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
    fn trunks(&self, first: &PlacedBox, band: &Band, y: usize) -> Vec<(usize, String)> {
        let name_row = band.top + band.lead;
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
        let mut pieces = Vec::new();
        for (column, sign) in signs {
            pieces.push((column, sign.to_string()));
            if joins && sign != '|' {
                let flat = "-".repeat(first.x.saturating_sub(column + 1));
                pieces.push((column + 1, flat));
            }
        }
        pieces
    }
}

/// What is gathered of a tree until it is whole.
#[derive(Debug, Default)]
struct Tree {
    /// The place of its root.
    offset: usize,
    /// The width of each column so far.
    columns: Vec<usize>,
    /// Per box: its column.
    column_of: Vec<usize>,
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
