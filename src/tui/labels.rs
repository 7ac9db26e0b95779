//! Signs, letters and words of the screen, and what they mean.

use crate::forest::{Flags, Forest, Node};

/// An image's flags as letters, explained by [`signs`].
#[must_use]
pub(crate) fn letters(forest: &Forest, node: &Node) -> String {
    let flags = forest.flags(node.id);
    let held = node.holders.iter().any(|holder| holder.locks);
    let mut letters = String::new();
    for (letter, flag) in LETTERS {
        let is_set = match letter {
            'I' => held,
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
    ('I', Flags::IN_USE),
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

/// What the signs and letters in the tree mean, as this terminal shows them.
pub(crate) fn signs(ascii: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    SIGNS.into_iter().map(move |(sign, plain, meaning)| {
        let sign = if ascii { plain } else { sign };
        (sign, meaning)
    })
}

/// Each sign, the same in ASCII, and what it means.
const SIGNS: [(&str, &str, &str); 21] = [
    (
        "○ (Active)",
        "o (Active)",
        "a leaf: the only layer of its chain to be written",
    ),
    (
        "● frozen",
        "* frozen",
        "others are built on it: it is only read",
    ),
    ("?", "?", "missing, or not a local file"),
    ("▸", ">", "images folded away"),
    ("↺", "@", "a loop closes: the image is drawn further up"),
    (
        "!",
        "!",
        "something is wrong: the info pane says what helps",
    ),
    ("I", "I", "in use: a process has this image open"),
    ("B", "B", "base in use: a process has an image on it open"),
    ("M", "M", "the image it is built on is missing"),
    ("O", "O", "its backing links run in a circle"),
    ("F", "F", "records no format for its backing file"),
    ("C", "C", "corrupt"),
    ("D", "D", "dirty: reference counts may be wrong"),
    ("U", "U", "unreadable"),
    ("E", "E", "encrypted"),
    ("S", "S", "has internal snapshots"),
    ("N", "N", "not supported: its content stays closed"),
    ("X", "X", "outside the folders looked at: never opened"),
    ("◇", "#", "an internal snapshot of the image above it"),
    (
        "✗ ! ~ ≈ +",
        "x ! ~ = +",
        "in a plan: goes, breaks, header, data, is new",
    ),
    ("*", "*", "left of the tree: marked"),
];

/// The words of the field, as this program uses them.
pub(crate) const GLOSSARY: [(&str, &str); 18] = [
    ("base", "what another image is built on: its backing file"),
    (
        "overlay",
        "built on a base: it holds what was written since",
    ),
    ("chain", "an image, its base, and so on down to the root"),
    ("root", "an image that is built on nothing"),
    ("leaf", "an image that nothing is built on"),
    (
        "active",
        "the leaf of a chain: the only layer to be written",
    ),
    (
        "frozen",
        "others are built on it: writing would damage them",
    ),
    ("in use", "a process has it open, or an image built on it"),
    ("missing", "a base that is not there"),
    ("virtual", "the size of the disk that the guest sees"),
    ("on disk", "what the file takes; of an overlay its own data"),
    ("cluster", "the unit an image stores data in, mostly 64 KiB"),
    (
        "snapshot",
        "a state of the disk kept inside the image's file",
    ),
    ("bitmap", "notes inside the image of what was written since"),
    ("plan", "what an action would do, before you agree to it"),
    ("trash", "where discarded images go until you empty it"),
    ("folder", "a directory: DIR in a command line"),
    (
        "journal",
        "what was done, kept on disk for undo and recover",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::text;

    #[test]
    fn no_meaning_is_cut_in_the_help_of_a_small_terminal() {
        let all = GLOSSARY.into_iter().chain(signs(false)).chain(signs(true));
        for (word, meaning) in all {
            assert!(text::width(word) <= 10, "{word}");
            assert!(text::width(meaning) <= 51, "{meaning}");
        }
    }

    #[test]
    fn signs_for_terminals_without_others_are_ascii() {
        assert!(signs(true).all(|(sign, _)| sign.is_ascii()));
    }
}
