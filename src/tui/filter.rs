//! What a filter line asks of an image: words of its name, and terms such as `size>1G`, `age>30d`
//! and `state:missing`. All of them have to hold. Where no name holds a line's words as they are,
//! names that have their letters in that order do.

use std::cell::RefCell;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::panic::resume_unwind;
use std::thread;
use std::time::SystemTime;

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use crate::forest::{Flags, Forest, Location, Node, NodeId};
use crate::host::printable_bytes;
use crate::units;

/// A parsed filter line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    /// A word somewhere in the path.
    Word(String),
    /// On disk more than so many bytes.
    Larger(u64),
    /// On disk less than so many bytes.
    Smaller(u64),
    /// Not written for so many seconds.
    Older(u64),
    /// Written within so many seconds.
    Younger(u64),
    /// A flag's or a problem's name holds these letters.
    State(String),
}

impl Filter {
    /// Reads a filter line. Whatever is not a term is a word to be found in the name.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        Self {
            terms: line.split_whitespace().map(term).collect(),
        }
    }

    /// Whether it asks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Which images are what it asks for. Many are shared out among threads.
    #[must_use]
    pub fn hits(&self, forest: &Forest, now: SystemTime) -> Hits {
        let words: Vec<&str> = self.terms.iter().filter_map(Term::word).collect();
        let others = |node: &Node| {
            let mut terms = self.terms.iter().filter(|term| term.word().is_none());
            terms.all(|term| holds(term, forest, node, now))
        };
        let as_they_are = || {
            let words = words.clone();
            move |name: &str| words.iter().all(|word| holds_word(name, word))
        };
        let hits = among_all(
            forest,
            |node, named: &dyn Fn(&str) -> bool| {
                (words.is_empty() || is_named(node, named)) && others(node)
            },
            as_they_are,
        );
        if hits.count > 0 || words.is_empty() {
            return hits;
        }
        let line = words.join(" ");
        let by_letters = || {
            let fuzzy = Fuzzy::new(&line);
            move |name: &str| fuzzy.fits(name)
        };
        among_all(
            forest,
            |node, named: &dyn Fn(&str) -> bool| is_named(node, named) && others(node),
            by_letters,
        )
    }
}

/// In so many images it is worth a further thread.
const SHARE: u32 = 16_384;

/// The images that `is_hit` says yes to; each thread gets a test of names of its own.
fn among_all<T: Fn(&str) -> bool>(
    forest: &Forest,
    is_hit: impl Fn(&Node, &dyn Fn(&str) -> bool) -> bool + Sync,
    named: impl Fn() -> T + Sync,
) -> Hits {
    let all = u32::try_from(forest.numbers()).unwrap_or(u32::MAX);
    let threads = if all <= SHARE {
        1
    } else {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        u32::try_from(threads).unwrap_or(1).clamp(1, 8)
    };
    let share = all.div_ceil(threads).max(SHARE);
    let part = |from: u32| -> Vec<bool> {
        let named = named();
        let ids = (from..all.min(from.saturating_add(share))).map(NodeId);
        ids.map(|id| forest.get(id).is_some_and(|node| is_hit(node, &named)))
            .collect()
    };
    let mut set = Vec::new();
    thread::scope(|scope| {
        let part = &part;
        let begins = (share..all).step_by(usize::try_from(share).unwrap_or(1));
        let others: Vec<_> = begins.map(|from| scope.spawn(move || part(from))).collect();
        set = part(0);
        for other in others {
            // Without the answers of one that broke, all that follow would be taken for other images'.
            set.extend(other.join().unwrap_or_else(|broke| resume_unwind(broke)));
        }
    });
    let count = set.iter().filter(|is_hit| **is_hit).count();
    Hits { set, count }
}

/// Whether a name holds a word, which is in lower case, whatever the case of the name.
fn holds_word(name: &str, word: &str) -> bool {
    if !name.is_ascii() {
        return name.to_lowercase().contains(word);
    }
    // By far the most names: nothing has to be copied.
    let (name, word) = (name.as_bytes(), word.as_bytes());
    let Some(first) = word.first() else {
        return true;
    };
    name.windows(word.len()).any(|part| {
        part.first().map(u8::to_ascii_lowercase) == Some(*first) && part.eq_ignore_ascii_case(word)
    })
}

/// Which images a filter asks for, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    set: Vec<bool>,
    count: usize,
}

impl Hits {
    /// Whether the image is one of them.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        let at = usize::try_from(id.0).unwrap_or(usize::MAX);
        self.set.get(at) == Some(&true)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Letters to be found in their order, not necessarily side by side.
#[derive(Debug)]
pub(crate) struct Fuzzy {
    pattern: Pattern,
    /// The words, where nothing in them is special to the matcher.
    plain: Option<Vec<Vec<u8>>>,
    /// Room the matcher works in.
    work: RefCell<(Matcher, Vec<char>)>,
}

impl Fuzzy {
    /// Looks for each word of the line.
    #[must_use]
    pub(crate) fn new(line: &str) -> Self {
        let is_plain =
            |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase() && !b"!^'$\\".contains(&byte);
        let words = || line.split_whitespace().map(|word| word.as_bytes().to_vec());
        Self {
            pattern: Pattern::parse(line, CaseMatching::Smart, Normalization::Smart),
            plain: line.bytes().all(is_plain).then(|| words().collect()),
            work: RefCell::new((Matcher::new(Config::DEFAULT), Vec::new())),
        }
    }

    /// How well the text fits; none if it does not.
    #[must_use]
    pub(crate) fn score(&self, text: &str) -> Option<u32> {
        let (matcher, room) = &mut *self.work.borrow_mut();
        self.pattern.score(Utf32Str::new(text, room), matcher)
    }

    /// Whether the text fits: many times cheaper than how well.
    #[must_use]
    pub(crate) fn fits(&self, text: &str) -> bool {
        match &self.plain {
            Some(words) if text.is_ascii() => {
                let mut words = words.iter();
                words.all(|word| holds_in_order(text.as_bytes(), word))
            }
            _ => self.score(text).is_some(),
        }
    }
}

/// Whether a name holds letters, which are in lower case, in their order, whatever its case.
fn holds_in_order(name: &[u8], letters: &[u8]) -> bool {
    let mut rest = name.iter().map(u8::to_ascii_lowercase);
    letters
        .iter()
        .all(|letter| rest.any(|byte| byte == *letter))
}

impl Term {
    /// The word to be found in a name, if it is one.
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

fn term(word: &str) -> Term {
    let lower = word.to_lowercase();
    let parsed = if let Some(state) = lower.strip_prefix("state:") {
        Some(Term::State(state.to_owned()))
    } else if let Some(size) = lower.strip_prefix("size>") {
        units::parse_size(size).ok().map(Term::Larger)
    } else if let Some(size) = lower.strip_prefix("size<") {
        units::parse_size(size).ok().map(Term::Smaller)
    } else if let Some(age) = lower.strip_prefix("age>") {
        seconds(age).map(Term::Older)
    } else if let Some(age) = lower.strip_prefix("age<") {
        seconds(age).map(Term::Younger)
    } else {
        None
    };
    parsed.unwrap_or(Term::Word(lower))
}

fn seconds(text: &str) -> Option<u64> {
    units::parse_age(text).ok().map(|age| age.as_secs())
}

fn holds(term: &Term, forest: &Forest, node: &Node, now: SystemTime) -> bool {
    let age = || {
        let modified = node.stat.as_ref()?.modified;
        Some(now.duration_since(modified).unwrap_or_default().as_secs())
    };
    match term {
        Term::Word(_) => true,
        Term::Larger(bytes) => node.size_on_disk().is_some_and(|size| size > *bytes),
        Term::Smaller(bytes) => node.size_on_disk().is_some_and(|size| size < *bytes),
        Term::Older(secs) => age().is_some_and(|age| age > *secs),
        Term::Younger(secs) => age().is_some_and(|age| age < *secs),
        Term::State(state) => {
            forest
                .flags(node.id)
                .names()
                .any(|name| name.contains(state.as_str()))
                || node
                    .problems
                    .iter()
                    .any(|p| p.kind.name().contains(state.as_str()))
                || (state == "bad" && is_problem(forest, node))
                || (state == "missing" && node.location == Location::Missing)
        }
    }
}

/// Whether the name of an image's file, or that of a snapshot inside it, is the one asked for.
fn is_named(node: &Node, named: &dyn Fn(&str) -> bool) -> bool {
    let files = std::iter::once(&node.path).chain(&node.other_names);
    let files = files.map(|path| path.file_name().unwrap_or(path.as_os_str()).as_bytes());
    let inside = node
        .known_snapshots()
        .0
        .iter()
        .map(|snapshot| &*snapshot.name);
    files.chain(inside).any(|name| {
        // Signs that a terminal could not show are looked for as they are shown.
        let plain = name.iter().all(|byte| matches!(byte, b' '..=b'~'));
        match str::from_utf8(name) {
            Ok(name) if plain => named(name),
            _ => named(&printable_bytes(name)),
        }
    })
}

/// Whether anything is wrong with the image.
#[must_use]
pub(crate) fn is_problem(forest: &Forest, node: &Node) -> bool {
    // What is in the trash is no trouble to anybody.
    let may_be = !node.is_in_trash();
    !node.problems.is_empty()
        || may_be
            && forest.flags(node.id).intersects(
                Flags::MISSING_BACKING
                    | Flags::LOOP
                    | Flags::CORRUPT
                    | Flags::DIRTY
                    | Flags::UNREADABLE
                    | Flags::NO_BACKING_FORMAT,
            )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_fits_has_a_score(name in "[abAB.é$ -]{0,9}", line in "[abA.é!^'$\\\\ -]{0,5}") {
            let fuzzy = Fuzzy::new(&line);
            prop_assert_eq!(fuzzy.fits(&name), fuzzy.score(&name).is_some());
        }
    }

    #[test]
    fn terms_have_units() {
        assert!(matches!(term("size>1.5G"), Term::Larger(bytes) if bytes == 3 << 29));
        assert!(matches!(term("size<640MiB"), Term::Smaller(bytes) if bytes == 640 << 20));
        assert!(matches!(term("size>x"), Term::Word(_)));
        assert!(matches!(term("age>30d"), Term::Older(seconds) if seconds == 30 * 86_400));
    }

    #[test]
    fn a_word_is_found_whatever_the_case() {
        assert!(holds_word("Overlay-1B.qcow2", "lay-1b"));
        assert!(holds_word("ÜBER.qcow2", "über"));
        assert!(!holds_word("Overlay", "overlay-"));
        assert!(!holds_word("a", "overlay"));
        assert!(holds_word("a", ""));
    }

    #[test]
    fn a_term_that_is_none_is_a_word() {
        assert_eq!(
            Filter::parse("size>big ovl").terms,
            [Term::Word("size>big".into()), Term::Word("ovl".into())]
        );
    }
}
