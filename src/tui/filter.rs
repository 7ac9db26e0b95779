//! What a filter line asks of an image: words of its path as it is shown, and terms such as `size>1.5G`,
//! `age>30d`, `vm:web`, `tag:golden`, `os:debian` and `state:missing`. All of them have to hold. Where no path holds a line's words as they are,
//! names that have their letters in that order do.

use std::borrow::Cow;
use std::cell::RefCell;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use crate::fleet::HERE;
use crate::forest::{Flags, Forest, Inside, Location, Node, NodeId, ProblemKind};
use crate::host::{printable, printable_bytes};
use crate::ops::InsidesByPath;
use crate::units;

use super::places::Places;
use super::space::{Figure, Figures};

/// A parsed filter line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
    /// What is known of the space that images take.
    space: Arc<Figures>,
    /// What is known of the inside of images.
    insides: Arc<InsidesByPath>,
    /// What is wrong with the first term that makes no sense.
    complaint: Option<String>,
}

/// Terms that can be asked for, and what each finds.
pub(crate) const TERMS: [(&str, &str); 24] = [
    (
        "base",
        "a word of the path as it is shown; several words: all of them",
    ),
    (
        "size>1.5G",
        "more than that on disk; K, M, G, T; also >1.5G",
    ),
    ("size<10M", "less than that on disk; also <10M"),
    (
        "age>30d",
        "not written for so long; s, m, h, d, w, y; also >30d",
    ),
    ("age<12h", "written within that time; also <12h"),
    (
        "hidden>1G",
        "more data than that which no image shows; also own>1G",
    ),
    (
        "frees>1G",
        "discarding, squashing or the like frees more than that",
    ),
    (
        "vm:web",
        "disks of machines whose names hold that; vm: those of all",
    ),
    (
        "host:web",
        "images of hosts whose names hold that; host: those of all others than this one",
    ),
    ("tag:golden", "images with a tag that holds that; tag: any"),
    ("note:kernel", "images with a note that holds that"),
    (
        "os:debian",
        "the operating system inside, its version or name, holds that; os: any",
    ),
    ("hostname:web", "what the machine inside calls itself"),
    ("fs:xfs", "the kind, label or UUID of a filesystem inside"),
    ("label:root", "the label of a filesystem inside"),
    (
        "state:in-use",
        "a process has it open, or an image built on it",
    ),
    ("state:active", "leaves: nothing is built on them"),
    ("state:frozen", "others are built on them"),
    ("state:bad", "something is wrong with it"),
    ("state:missing", "files that are not there"),
    ("state:encrypted", "encrypted images"),
    ("state:snapshots", "images that hold internal snapshots"),
    ("state:in-trash", "images in the trash"),
    (
        "state:corrupt",
        "images marked as corrupt; any flag and problem works so",
    ),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    /// A word somewhere in the path as it is shown.
    Word(String),
    /// On disk more than so many bytes.
    Larger(u64),
    /// On disk less than so many bytes.
    Smaller(u64),
    /// More than so many bytes are that, or less.
    Space(Figure, bool, u64),
    /// Not written for so many seconds.
    Older(u64),
    /// Written within so many seconds.
    Younger(u64),
    /// A flag's or a problem's name holds these letters.
    State(String),
    /// A machine whose name holds these letters uses it.
    Machine(String),
    /// It is of another host whose name holds these letters.
    Host(String),
    /// One of its tags holds these letters.
    Tag(String),
    /// Its note holds these letters.
    Note(String),
    /// What is inside it is called so.
    Inside(Kind, String),
}

/// What of the inside of an image is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    System,
    Hostname,
    Filesystem,
    Label,
}

/// How terms that ask for that begin.
const INSIDE: [(&str, Kind); 4] = [
    ("os:", Kind::System),
    ("hostname:", Kind::Hostname),
    ("fs:", Kind::Filesystem),
    ("label:", Kind::Label),
];

impl Filter {
    /// Reads a filter line. Whatever is not a term is a word to be found in the path.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        Self {
            terms: line.split_whitespace().map(term).collect(),
            space: Arc::default(),
            insides: Arc::default(),
            complaint: line.split_whitespace().find_map(complaint),
        }
    }

    /// The same with what is known of the space that images take.
    #[must_use]
    pub fn knowing(self, space: Arc<Figures>) -> Self {
        Self { space, ..self }
    }

    /// The same with what is known of the inside of images.
    #[must_use]
    pub fn seeing(self, insides: Arc<InsidesByPath>) -> Self {
        Self { insides, ..self }
    }

    /// Whether it asks for what is inside images.
    #[must_use]
    pub fn asks_for_insides(&self) -> bool {
        let mut terms = self.terms.iter();
        terms.any(|term| matches!(term, Term::Inside(..)))
    }

    /// Whether it asks for what has to be measured.
    #[must_use]
    pub fn asks_for_space(&self) -> bool {
        let mut terms = self.terms.iter();
        terms.any(|term| matches!(term, Term::Space(..)))
    }

    /// What is wrong with the line, as a sentence: a term that looks like one and is none.
    #[must_use]
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Whether it asks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it asks for machines.
    #[must_use]
    pub fn asks_for_machines(&self) -> bool {
        let mut terms = self.terms.iter();
        terms.any(|term| matches!(term, Term::Machine(_)))
    }

    /// Which images are what it asks for, whose paths are seen from these places. Many are shared out among
    /// threads.
    #[must_use]
    pub fn hits(&self, forest: &Forest, places: Places<'_>, now: SystemTime) -> Hits {
        let words: Vec<&str> = self.terms.iter().filter_map(Term::word).collect();
        let others = |node: &Node| {
            let mut terms = self.terms.iter().filter(|term| term.word().is_none());
            terms.all(|term| match term {
                Term::Inside(kind, text) => {
                    let inside = self.insides.get(&node.path);
                    inside.is_some_and(|inside| is_inside(inside, *kind, text))
                }
                term => holds(term, forest, node, (now, &self.space)),
            })
        };
        let as_they_are = || {
            let words = words.clone();
            move |name: &str| words.iter().all(|word| holds_word(name, word))
        };
        let hits = among_all(
            forest,
            |node, named: &dyn Fn(&str) -> bool| {
                (words.is_empty() || is_named(forest, node, Some(places), named)) && others(node)
            },
            as_they_are,
        );
        if hits.count > 0 || words.is_empty() {
            return hits;
        }
        let line = words.join(" ");
        // In a whole path nearly any letters stand in some order: a folder has to be asked for.
        let seen_from = line.contains('/').then_some(places);
        let by_letters = || {
            let fuzzy = Fuzzy::new(&line);
            move |name: &str| fuzzy.fits(name)
        };
        among_all(
            forest,
            |node, named: &dyn Fn(&str) -> bool| {
                is_named(forest, node, seen_from, named) && others(node)
            },
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
    /// The word to be found in a path, if it is one.
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Terms by what they begin with, which may be followed by less or more than a value.
enum Asks {
    Size,
    Space(Figure),
    Age,
    /// One of both, as its unit says.
    Either,
}

/// What a term compares, whether with more than a value, and the value.
fn compared(word: &str) -> Option<(Asks, bool, &str)> {
    let figure = Figure::ALL
        .into_iter()
        .find_map(|(figure, name)| Some((figure, word.strip_prefix(name)?)));
    let (asks, rest) = if let Some((figure, rest)) = figure {
        // A colon, as other terms have it, is understood.
        (Asks::Space(figure), rest.strip_prefix(':').unwrap_or(rest))
    } else if let Some(rest) = word.strip_prefix("size") {
        (Asks::Size, rest)
    } else if let Some(rest) = word.strip_prefix("age") {
        (Asks::Age, rest)
    } else {
        (Asks::Either, word)
    };
    let (is_more, value) = match rest.strip_prefix('>') {
        Some(value) => (true, value),
        None => (false, rest.strip_prefix('<')?),
    };
    Some((asks, is_more, value))
}

fn term(word: &str) -> Term {
    let lower = word.to_lowercase();
    if let Some(state) = lower.strip_prefix("state:") {
        return Term::State(state.to_owned());
    }
    if let Some(machine) = lower.strip_prefix("vm:") {
        return Term::Machine(machine.to_owned());
    }
    if let Some(host) = lower.strip_prefix("host:") {
        return Term::Host(host.to_owned());
    }
    if let Some(tag) = lower.strip_prefix("tag:") {
        return Term::Tag(tag.trim_start_matches('#').to_owned());
    }
    if let Some(text) = lower.strip_prefix("note:") {
        return Term::Note(text.to_owned());
    }
    let mut inside = INSIDE.into_iter();
    if let Some((kind, text)) =
        inside.find_map(|(begins, kind)| Some((kind, lower.strip_prefix(begins)?)))
    {
        return Term::Inside(kind, text.to_owned());
    }
    let Some((asks, is_more, value)) = compared(&lower) else {
        return Term::Word(lower);
    };
    let size = || match units::parse_size(value).ok()? {
        bytes if is_more => Some(Term::Larger(bytes)),
        bytes => Some(Term::Smaller(bytes)),
    };
    let age = || match units::parse_age(value).ok()?.as_secs() {
        seconds if is_more => Some(Term::Older(seconds)),
        seconds => Some(Term::Younger(seconds)),
    };
    let space = |figure| {
        let bytes = units::parse_size(value).ok()?;
        Some(Term::Space(figure, is_more, bytes))
    };
    let term = match asks {
        Asks::Size => size(),
        Asks::Space(figure) => space(figure),
        Asks::Age => age(),
        Asks::Either => size().or_else(age),
    };
    term.unwrap_or(Term::Word(lower))
}

/// What is wrong with a word that looks like a term.
fn complaint(word: &str) -> Option<String> {
    let lower = word.to_lowercase();
    if let Some(state) = lower.strip_prefix("state:") {
        let is_known = Flags::NAMES.iter().any(|(_, name)| name.contains(state))
            || ProblemKind::ALL
                .iter()
                .any(|kind| kind.name().contains(state))
            || OTHER_STATES.iter().any(|(name, _)| name.starts_with(state));
        let names = Flags::NAMES.iter().map(|(_, name)| *name);
        let names = names.chain(OTHER_STATES.iter().map(|(name, _)| *name));
        return (!is_known).then(|| {
            let names: Vec<&str> = names.collect();
            format!(
                "No state is called {state}. There are {}.",
                names.join(", ")
            )
        });
    }
    let (asks, _, value) = compared(&lower)?;
    // A term that is still being typed is not wrong yet.
    let reads = match asks {
        Asks::Size | Asks::Space(_) => units::parse_size(value).map(|_| ()),
        Asks::Age => units::parse_age(value).map(|_| ()),
        Asks::Either => return None,
    };
    reads.err().filter(|_| !value.is_empty())
}

/// Whether an image is in a state.
type Holds = fn(&Forest, &Node) -> bool;

/// States that are no flags, and what they mean.
const OTHER_STATES: [(&str, Holds); 3] = [
    ("bad", is_problem),
    ("missing", |_, node| node.location == Location::Missing),
    ("locked", |forest, node| {
        forest.flags(node.id).contains(Flags::IN_USE)
    }),
];

fn holds(term: &Term, forest: &Forest, node: &Node, (now, space): (SystemTime, &Figures)) -> bool {
    let age = || {
        let modified = node.stat.as_ref()?.modified;
        Some(now.duration_since(modified).unwrap_or_default().as_secs())
    };
    match term {
        // Words and what is inside are looked for where these are known.
        Term::Word(_) | Term::Inside(..) => true,
        Term::Larger(bytes) => node.size_on_disk().is_some_and(|size| size > *bytes),
        Term::Smaller(bytes) => node.size_on_disk().is_some_and(|size| size < *bytes),
        Term::Space(figure, is_more, bytes) => {
            let is = space.of(&node.path, *figure);
            is.is_some_and(|is| if *is_more { is > *bytes } else { is < *bytes })
        }
        Term::Older(secs) => age().is_some_and(|age| age > *secs),
        Term::Younger(secs) => age().is_some_and(|age| age < *secs),
        Term::Machine(name) => {
            let mut uses = forest.uses(node).into_iter();
            uses.any(|used| holds_word(&printable(&used.machine.name), name))
        }
        Term::Host(name) => {
            let mut hosts = forest.hosts_of(node, HERE).into_iter();
            hosts.any(|host| holds_word(host, name))
        }
        Term::Tag(tag) => {
            let mut tags = node.annotation.iter().flat_map(|noted| &noted.tags);
            tags.any(|own| own.contains(tag.as_str()))
        }
        Term::Note(text) => {
            let noted = node.annotation.as_ref().filter(|it| !it.text.is_empty());
            noted.is_some_and(|noted| holds_word(&noted.text, text))
        }
        Term::State(state) => {
            let mut flags = forest.flags(node.id).names();
            let mut problems = node.problems.iter().map(|problem| problem.kind.name());
            let mut others = OTHER_STATES.iter();
            flags.any(|name| name.contains(state.as_str()))
                || problems.any(|name| name.contains(state.as_str()))
                || others.any(|(name, holds)| name == state && holds(forest, node))
        }
    }
}

/// Whether what is inside an image is called so.
fn is_inside(inside: &Inside, kind: Kind, text: &str) -> bool {
    let system = inside.system.as_ref();
    let mut filesystems = inside.filesystems.iter();
    match kind {
        Kind::System => system.is_some_and(|system| {
            let words = [&system.id, &system.name]
                .into_iter()
                .chain(&system.version);
            words.into_iter().any(|word| holds_word(word, text))
        }),
        Kind::Hostname => {
            let name = system.and_then(|system| system.hostname.as_ref());
            name.is_some_and(|name| holds_word(name, text))
        }
        Kind::Filesystem => filesystems.any(|one| {
            let words = [&one.kind, &one.label, &one.uuid];
            words.into_iter().any(|word| holds_word(word, text))
        }),
        Kind::Label => filesystems.any(|one| !one.label.is_empty() && holds_word(&one.label, text)),
    }
}

/// The path as it is shown from these places, or the file's name alone.
fn seen<'a>(path: &'a Path, places: Option<Places<'_>>) -> Cow<'a, [u8]> {
    let whole = path.as_os_str().as_bytes();
    let Some(places) = places else {
        return Cow::Borrowed(path.file_name().map_or(whole, OsStrExt::as_bytes));
    };
    // By far the most lie in a root that is written as it begins.
    let mut roots = places.roots.iter();
    let inside = roots.find_map(|root| {
        let rest = whole.strip_prefix(root.as_os_str().as_bytes())?;
        rest.strip_prefix(b"/").filter(|rest| !rest.is_empty())
    });
    inside.map_or_else(
        || Cow::Owned(places.inside(path).into_bytes()),
        Cow::Borrowed,
    )
}

/// The name by which a missing image is recorded in the first that is built on it: the one that is shown.
fn recorded<'a>(forest: &'a Forest, node: &Node) -> Option<&'a [u8]> {
    let is_missing = node.location == Location::Missing;
    let child = node.children.first().filter(|_| is_missing)?;
    let backing = forest.get(*child)?.backing.as_ref()?;
    Some(backing.name().as_bytes())
}

/// Whether the path of an image's file, or the name of a snapshot inside it, is the one asked for. Without
/// places the file's name alone counts.
fn is_named(
    forest: &Forest,
    node: &Node,
    places: Option<Places<'_>>,
    named: &dyn Fn(&str) -> bool,
) -> bool {
    let files = std::iter::once(&node.path).chain(&node.other_names);
    let files = files.map(|path| seen(path, places));
    let snapshots = node.known_snapshots().0.iter();
    let inside = snapshots.map(|snapshot| Cow::Borrowed(&*snapshot.name));
    let recorded = recorded(forest, node).map(Cow::Borrowed);
    files.chain(inside).chain(recorded).any(|name| {
        // Signs that a terminal could not show are looked for as they are shown.
        let plain = name.iter().all(|byte| matches!(byte, b' '..=b'~'));
        match str::from_utf8(&name) {
            Ok(name) if plain => named(name),
            _ => named(&printable_bytes(&name)),
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
        assert!(matches!(term(">1.5G"), Term::Larger(bytes) if bytes == 3 << 29));
        assert!(matches!(term("<30d"), Term::Younger(seconds) if seconds == 30 * 86_400));
        assert!(matches!(term("size>x"), Term::Word(_)));
        assert_eq!(term("vm:Web"), Term::Machine("web".into()));
        assert_eq!(term("tag:#Golden"), Term::Tag("golden".into()));
        assert_eq!(term("host:Web"), Term::Host("web".into()));
        assert_eq!(term("note:Kernel"), Term::Note("kernel".into()));
        assert_eq!(
            term("os:Debian"),
            Term::Inside(Kind::System, "debian".into())
        );
        assert_eq!(term("label:"), Term::Inside(Kind::Label, String::new()));
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
    fn what_looks_like_a_term_and_is_none_is_told() {
        let told = |line| Filter::parse(line).complaint().map(str::to_owned);
        let states = told("ovl state:lokced").unwrap();
        for word in ["lokced", "in-use", "locked", "frozen", "bad"] {
            assert!(states.contains(word), "{states}");
        }
        assert!(told("size>1.x").is_some());
        assert!(told("age<soon").is_some());
        for line in [
            "",
            "ovl",
            "state:lock",
            "state:leak",
            "state:in-use",
            "size>",
            "size>1.5G",
            ">x",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn a_term_that_is_none_is_a_word() {
        assert_eq!(
            Filter::parse("size>big ovl").terms,
            [Term::Word("size>big".into()), Term::Word("ovl".into())]
        );
    }
}
