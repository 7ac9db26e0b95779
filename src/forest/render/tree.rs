//! The tree: one line an image, indented, with connectors. Where the indent would take more than
//! 40 % of the width, straight runs share one lane, and what is deeper still shows only the nearest
//! connectors.

use crate::forest::{Forest, Location, NodeId};

use super::order::{Position, order, order_to};
use super::{Charset, labels, note};

/// One line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeLine {
    /// The image.
    pub id: NodeId,
    /// The connectors before it; empty for a root.
    pub prefix: String,
    /// What stands before a line that tells what is in this image, below it.
    pub below: String,
    /// One sign for what it is: frozen, a leaf, something missing, a part of a loop.
    pub marker: &'static str,
    /// Its name, safe to print.
    pub name: String,
    /// What stands in brackets behind it, safe to print.
    pub note: Option<String>,
}

impl TreeLine {
    /// The whole line, without anything a face may want to add.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            prefix,
            marker,
            name,
            ..
        } = self;
        match &self.note {
            Some(note) => format!("{prefix}{marker} {name} ({note})"),
            None => format!("{prefix}{marker} {name}"),
        }
    }
}

struct Signs {
    past: &'static str,
    free: &'static str,
    fork: &'static str,
    last: &'static str,
    more: &'static str,
    frozen: &'static str,
    leaf: &'static str,
    missing: &'static str,
    circle: &'static str,
}

const UNICODE: Signs = Signs {
    past: "│ ",
    free: "  ",
    fork: "├─",
    last: "└─",
    more: "‥ ",
    frozen: "●",
    leaf: "○",
    missing: "?",
    circle: "↺",
};

const ASCII: Signs = Signs {
    past: "| ",
    free: "  ",
    fork: "|-",
    last: "`-",
    more: ": ",
    frozen: "*",
    leaf: "o",
    missing: "?",
    circle: "@",
};

/// The forest as lines for a terminal of `width` columns.
#[must_use]
pub fn tree(forest: &Forest, width: usize, charset: Charset) -> Vec<TreeLine> {
    lines(forest, &order(forest), width, charset)
}

/// As [`tree`], with no images but those that `is_wanted` and what these are built on.
#[must_use]
pub fn tree_to(
    forest: &Forest,
    is_wanted: &dyn Fn(NodeId) -> bool,
    width: usize,
    charset: Charset,
) -> Vec<TreeLine> {
    lines(forest, &order_to(forest, is_wanted), width, charset)
}

fn lines(forest: &Forest, places: &[Position], width: usize, charset: Charset) -> Vec<TreeLine> {
    let names = labels(forest);
    let signs = match charset {
        Charset::Unicode => &UNICODE,
        Charset::Ascii => &ASCII,
    };
    let most = (width * 2 / 5 / 2).max(1);
    let lanes = Lanes::of(places, most);
    places
        .iter()
        .enumerate()
        .filter_map(|(at, place)| {
            let node = forest.get(place.id)?;
            let marker = match node.location {
                Location::Missing | Location::Elsewhere => signs.missing,
                _ if node.in_loop => signs.circle,
                _ if forest.is_leaf(node) => signs.leaf,
                _ => signs.frozen,
            };
            let prefix = lanes.prefix(places, at, most, signs);
            Some(TreeLine {
                id: place.id,
                below: lanes.below(&prefix, place, at, signs),
                prefix,
                marker,
                name: names.get(&place.id).cloned().unwrap_or_default(),
                note: note(forest, place.id),
            })
        })
        .collect()
}

/// Which lines have a connector of their own.
struct Lanes {
    /// Per line: the nearest line from itself towards its root that has a connector.
    connector: Vec<Option<usize>>,
}

impl Lanes {
    fn of(places: &[Position], most: usize) -> Self {
        // Per tree: does any line pass the limit?
        let mut depth: Vec<usize> = Vec::with_capacity(places.len());
        let mut root: Vec<usize> = Vec::with_capacity(places.len());
        let mut deep = vec![false; places.len()];
        for (at, place) in places.iter().enumerate() {
            let above = place.parent;
            depth.push(above.map_or(0, |p| depth.get(p).map_or(0, |d| d + 1)));
            root.push(above.and_then(|p| root.get(p).copied()).unwrap_or(at));
            if depth.last() > Some(&most)
                && let Some(flag) = root.last().and_then(|root| deep.get_mut(*root))
            {
                *flag = true;
            }
        }
        let mut connector: Vec<Option<usize>> = Vec::with_capacity(places.len());
        for (at, place) in places.iter().enumerate() {
            let shares =
                root.get(at).and_then(|root| deep.get(*root)) == Some(&true) && place.siblings == 1;
            connector.push(match place.parent {
                None => None,
                Some(parent) if shares => connector.get(parent).copied().flatten(),
                Some(_) => Some(at),
            });
        }
        Self { connector }
    }

    /// The connectors that pass by below the line at `at`, whose own are `prefix`.
    fn below(&self, prefix: &str, place: &Position, at: usize, signs: &Signs) -> String {
        let passing = prefix
            .strip_suffix(signs.fork)
            .map(|before| format!("{before}{}", signs.past))
            .or_else(|| {
                let before = prefix.strip_suffix(signs.last)?;
                Some(format!("{before}{}", signs.free))
            });
        let mut below = passing.unwrap_or_else(|| prefix.to_owned());
        let first_child = self.connector.get(at + 1).copied().flatten();
        below.push_str(if place.children > 0 && first_child == Some(at + 1) {
            signs.past
        } else {
            signs.free
        });
        below
    }

    fn prefix(&self, places: &[Position], at: usize, most: usize, signs: &Signs) -> String {
        let mut pieces = Vec::new();
        let mut next = self.connector.get(at).copied().flatten();
        while let Some(line) = next {
            let Some(place) = places.get(line) else { break };
            if pieces.len() >= most {
                pieces.push(signs.more);
                break;
            }
            pieces.push(match (line == at, place.is_last()) {
                (true, false) => signs.fork,
                (true, true) => signs.last,
                (false, false) => signs.past,
                (false, true) => signs.free,
            });
            next = place
                .parent
                .and_then(|parent| self.connector.get(parent).copied().flatten());
        }
        pieces.into_iter().rev().collect()
    }
}
