//! Signs and letters that stand for what an image is, and what they mean.

use crate::forest::{Flags, Forest, Node};

/// An image's flags as letters, explained by [`LEGEND`].
#[must_use]
pub(crate) fn letters(forest: &Forest, node: &Node) -> String {
    let flags = forest.flags(node.id);
    let held = node.holders.iter().any(|holder| holder.locks);
    let mut letters = String::new();
    for (letter, flag) in LETTERS {
        let is_set = match letter {
            'L' => held,
            'B' => flags.contains(Flags::IN_USE) && !held,
            _ => flags.contains(flag),
        };
        if is_set {
            letters.push(letter);
        }
    }
    letters
}

/// The letters of the flags column, in order.
const LETTERS: [(char, Flags); 12] = [
    ('L', Flags::IN_USE),
    ('B', Flags::IN_USE),
    ('M', Flags::MISSING_BACKING),
    ('O', Flags::LOOP),
    ('F', Flags::NO_BACKING_FORMAT),
    ('C', Flags::CORRUPT),
    ('D', Flags::DIRTY),
    ('U', Flags::UNREADABLE),
    ('E', Flags::ENCRYPTED),
    ('S', Flags::SNAPSHOTS),
    ('N', Flags::UNSUPPORTED),
    ('X', Flags::OUTSIDE_SCAN),
];

/// What the signs and letters in the tree mean.
pub(crate) const LEGEND: [(&str, &str); 21] = [
    (
        "○",
        "active: a leaf, the only layer of its chain that may be written",
    ),
    ("●", "frozen: others are built on it, it is only read"),
    ("?", "missing, or not a local file"),
    ("▸", "images folded away"),
    ("↺", "a loop closes: the image is drawn further up"),
    (
        "!",
        "something is wrong; the info pane says what and what to do",
    ),
    ("L", "locked: a process uses the image"),
    ("B", "a process uses an image built on this one"),
    ("M", "the image it is built on is missing"),
    ("O", "its backing links run in a circle"),
    ("F", "records no format for its backing file"),
    ("C", "corrupt"),
    ("D", "dirty: reference counts may be wrong"),
    ("U", "unreadable"),
    ("E", "encrypted"),
    ("S", "has internal snapshots"),
    ("N", "not supported: its content stays closed"),
    ("X", "outside the scanned directories: never opened"),
    ("◇", "an internal snapshot of the image above it"),
    (
        "✗ ! ~ ≈ +",
        "in a plan: goes, would break, header rewritten, data rewritten, new",
    ),
    ("*", "marked"),
];
