//! One file in two states: what is recorded of it, and how its content differs.

use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{Algorithm, ChangeTag, DiffOp};

use crate::guest::filesystem::{Filesystem, Node, NodeKind};
use crate::guest::path::{self, LastLink};
use crate::guest::{self, Error};
use crate::host::printable_bytes;
use crate::units;

use super::words::{is_text, mode_text};
use super::{Place, PlaceError, View};

/// Bytes of a file that is compared line by line; a larger one is compared byte by byte.
const MOST_TEXT: usize = 1 << 20;
/// Bytes of a file that are compared at the most.
const MOST_COMPARED: u64 = 1 << 30;
/// Bytes compared at a time.
const PIECE: usize = 256 << 10;
/// How long the fewest lines that differ are looked for; more are told after that.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines that are the same, around those that differ.
const AROUND: usize = 3;

/// How a file differs.
#[derive(Debug)]
pub struct FileDiff {
    /// Which file, its volume named.
    pub place: Place,
    /// Where it was, if it had another path.
    pub from: Option<Vec<u8>>,
    /// What it was; none where it was not there.
    pub before: Option<Node>,
    /// What it is; none where it is not there.
    pub after: Option<Node>,
    /// What is recorded otherwise.
    pub records: Vec<Record>,
    /// How the content differs.
    pub content: ContentDiff,
}

/// Something that is recorded of a file, and differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// A word for people and for JSON.
    pub name: &'static str,
    /// For people, made safe to print; empty where the file is not there.
    pub before: String,
    /// The same of the newer state.
    pub after: String,
}

/// How the content of a file differs.
#[derive(Debug, PartialEq, Eq)]
pub enum ContentDiff {
    /// It does not; or it is no file that holds any.
    Same,
    /// It is text in both states.
    Text(Vec<Hunk>),
    /// It is not, or is too long; where the first byte differs.
    Bytes(u64),
    /// It is too long to be compared wholly; so many bytes are the same.
    SameSoFar(u64),
}

/// Lines that differ, with some around them.
#[derive(Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Lines of the older state, from 0.
    pub before: Range<usize>,
    /// Lines of the newer state.
    pub after: Range<usize>,
    /// All of them, in order.
    pub lines: Vec<TextLine>,
}

/// A line of text.
#[derive(Debug, PartialEq, Eq)]
pub struct TextLine {
    /// Which states have it.
    pub kind: LineKind,
    /// Its bytes, with its line end if it has one.
    pub bytes: Vec<u8>,
}

/// What a line is, when the difference is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A sentence, or what is recorded.
    Word,
    /// Where lines stand, or which file they are of.
    Head,
    /// Both states have it.
    Both,
    /// Only the older state has it.
    Removed,
    /// Only the newer state has it.
    Added,
}

impl FileDiff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.records.is_empty() && self.content == ContentDiff::Same
    }

    /// All of it for people, line by line, as `diff -u` has it; what the two states are called is given.
    #[must_use]
    pub fn told(&self, [before, after]: [&str; 2]) -> Vec<(LineKind, String)> {
        let records = self.records.iter().map(|record| {
            let text = match (&*record.before, &*record.after) {
                ("", after) => format!("{:<9} {after}", record.name),
                (before, "") => format!("{:<9} {before}", record.name),
                (before, after) => format!("{:<9} {before} -> {after}", record.name),
            };
            (LineKind::Word, text)
        });
        let mut lines: Vec<_> = records.collect();
        if self.before.is_none() {
            lines.insert(0, (LineKind::Word, format!("It is not in {before}.")));
        }
        if self.after.is_none() {
            lines.insert(0, (LineKind::Word, format!("It is not in {after}.")));
        }
        match &self.content {
            ContentDiff::Same if self.is_same() => {
                lines.push((LineKind::Word, "Nothing differs.".to_owned()));
            }
            ContentDiff::Same => {
                lines.push((LineKind::Word, "The content is the same.".to_owned()));
            }
            ContentDiff::Bytes(first) => lines.push((
                LineKind::Word,
                format!(
                    "Binary files differ, from byte {} on.",
                    units::grouped(*first)
                ),
            )),
            ContentDiff::SameSoFar(bytes) => lines.push((
                LineKind::Word,
                format!(
                    "The first {} are the same; the rest was not compared.",
                    units::size(*bytes)
                ),
            )),
            ContentDiff::Text(hunks) => {
                lines.push((LineKind::Head, format!("--- {}", self.named(before, false))));
                lines.push((LineKind::Head, format!("+++ {}", self.named(after, true))));
                lines.extend(hunks.iter().flat_map(Hunk::told));
            }
        }
        lines
    }

    /// The file in one state: `base.qcow2:disk:/etc/fstab`; as other tools have it where it is not there.
    fn named(&self, state: &str, is_newer: bool) -> String {
        let node = if is_newer { &self.after } else { &self.before };
        if node.is_none() {
            return "/dev/null".to_owned();
        }
        let from = self.from.as_ref().filter(|_| !is_newer);
        let path = from.unwrap_or(&self.place.path);
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let volume = self.place.volume.as_deref().unwrap_or_default();
        format!("{state}:{volume}:/{}", printable_bytes(path))
    }
}

impl Hunk {
    fn told(&self) -> Vec<(LineKind, String)> {
        let place = |lines: &Range<usize>| match lines.len() {
            0 => format!("{},0", lines.start),
            1 => format!("{}", lines.start + 1),
            len => format!("{},{len}", lines.start + 1),
        };
        let head = format!("@@ -{} +{} @@", place(&self.before), place(&self.after));
        let mut told = vec![(LineKind::Head, head)];
        for line in &self.lines {
            let sign = match line.kind {
                LineKind::Removed => '-',
                LineKind::Added => '+',
                _ => ' ',
            };
            let bytes = line.bytes.strip_suffix(b"\n");
            let text = with_tabs(bytes.unwrap_or(&line.bytes));
            told.push((line.kind, format!("{sign}{text}")));
            if bytes.is_none() {
                let text = "\\ No newline at end of file".to_owned();
                told.push((LineKind::Head, text));
            }
        }
        told
    }
}

/// A line that acts on no terminal, but for its tabulators.
fn with_tabs(line: &[u8]) -> String {
    let parts = line.split(|byte| *byte == b'\t').map(printable_bytes);
    parts.collect::<Vec<_>>().join("\t")
}

/// Compares a file in two states, the older first. A renamed one had the path `from`.
///
/// # Errors
/// When it is in neither, one of them cannot be read, or it was stopped.
pub fn file_diff(
    [older, newer]: [&View; 2],
    place: &Place,
    from: Option<&[u8]>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<FileDiff, PlaceError> {
    let place = with_volume(place, newer, older)?;
    let was = Place {
        path: from.unwrap_or(&place.path).to_vec(),
        ..place.clone()
    };
    let (before, after) = (State::of(older, &was)?, State::of(newer, &place)?);
    if before.node.is_none() && after.node.is_none() {
        return Err(Error::NotFound(place.path.as_slice().into()).into());
    }
    Ok(FileDiff {
        records: records(&before, &after)?,
        content: content(&before, &after, go_on)?,
        from: from.map(<[u8]>::to_vec),
        before: before.node,
        after: after.node,
        place,
    })
}

/// Names the volume, so that both states mean the same one.
fn with_volume(place: &Place, newer: &View, older: &View) -> Result<Place, PlaceError> {
    if place.volume.is_some() {
        return Ok(place.clone());
    }
    let (volume, _) = match place.on(newer) {
        Err(PlaceError::Nothing { .. }) => place.on(older)?,
        found => found?,
    };
    Ok(Place {
        volume: Some(volume.name.to_string()),
        path: place.path.clone(),
    })
}

/// A file in one state.
struct State<'a> {
    filesystem: Option<&'a dyn Filesystem>,
    node: Option<Node>,
}

impl<'a> State<'a> {
    fn of(view: &'a View, place: &Place) -> Result<Self, PlaceError> {
        let filesystem: &dyn Filesystem = match place.on(view) {
            Ok((_, filesystem)) => &**filesystem,
            Err(PlaceError::NoVolume { .. }) => {
                return Ok(Self {
                    filesystem: None,
                    node: None,
                });
            }
            Err(error) => return Err(error),
        };
        let node = match path::lookup(filesystem, &place.path, LastLink::Keep) {
            Ok(node) => Some(node),
            Err(Error::NotFound(_) | Error::NotADirectory(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            filesystem: Some(filesystem),
            node,
        })
    }

    /// The filesystem, and the file on it if that is one.
    fn file(&self) -> Option<(&'a dyn Filesystem, &Node)> {
        let node = self.node.as_ref();
        self.filesystem
            .zip(node.filter(|node| node.kind == NodeKind::File))
    }

    fn target(&self) -> guest::Result<Option<String>> {
        match (self.filesystem, &self.node) {
            (Some(filesystem), Some(node)) if node.kind == NodeKind::Symlink => {
                Ok(Some(printable_bytes(&filesystem.link_target(node.id)?)))
            }
            _ => Ok(None),
        }
    }
}

/// What is recorded of a file, by a word for each.
type Recorded = (&'static str, fn(&Node) -> String);

const RECORDED: &[Recorded] = &[
    ("type", |node| kind_name(node.kind).to_owned()),
    ("size", |node| match node.kind {
        NodeKind::File => units::size(node.size),
        _ => String::new(),
    }),
    ("mode", mode_text),
    ("owner", |node| format!("{}:{}", node.uid, node.gid)),
    ("links", |node| match node.kind {
        NodeKind::Directory => String::new(),
        _ => node.links.to_string(),
    }),
    ("modified", |node| {
        node.modified.map(units::utc).unwrap_or_default()
    }),
    ("changed", |node| {
        node.changed.map(units::utc).unwrap_or_default()
    }),
];

/// What a node is, in a word.
fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "folder",
        NodeKind::Symlink => "symbolic link",
        NodeKind::Special => "device, FIFO or socket",
    }
}

fn records(before: &State<'_>, after: &State<'_>) -> guest::Result<Vec<Record>> {
    let mut found = Vec::new();
    let mut add = |name, before: String, after: String| {
        if before != after {
            found.push(Record {
                name,
                before,
                after,
            });
        }
    };
    let is_in_both = before.node.is_some() && after.node.is_some();
    for (name, tell) in RECORDED {
        let tell = |state: &State<'_>| state.node.as_ref().map(tell).unwrap_or_default();
        add(name, tell(before), tell(after));
    }
    let target = |state: &State<'_>| state.target().map(Option::unwrap_or_default);
    add("target", target(before)?, target(after)?);
    // A size of the same words may be another one.
    if let (Some((_, before)), Some((_, after))) = (before.file(), after.file())
        && before.size != after.size
        && units::size(before.size) == units::size(after.size)
    {
        let bytes = |node: &Node| format!("{} bytes", units::grouped(node.size));
        add("size", bytes(before), bytes(after));
    }
    if is_in_both && found.is_empty() && is_other_record(before, after) {
        found.push(Record {
            name: "other",
            before: String::new(),
            after: "extended attributes, or where its content is stored".to_owned(),
        });
    }
    Ok(found)
}

/// Whether one node is recorded otherwise, in what a [`Node`] does not tell.
fn is_other_record(before: &State<'_>, after: &State<'_>) -> bool {
    match (&before.node, &after.node) {
        (Some(before), Some(after)) => {
            (before.id, before.generation) == (after.id, after.generation)
                && before.digest != after.digest
        }
        _ => false,
    }
}

/// Compares what the files hold; one that is not there holds nothing.
fn content(
    before: &State<'_>,
    after: &State<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> guest::Result<ContentDiff> {
    let (was, is) = (before.file(), after.file());
    if was.is_none() && is.is_none() {
        return Ok(ContentDiff::Same);
    }
    let sizes = [was, is].map(|file| file.map_or(0, |(_, node)| node.size));
    if sizes.iter().all(|size| *size <= MOST_TEXT as u64) {
        let [was, is] = [read(was, go_on)?, read(is, go_on)?];
        if was == is {
            return Ok(ContentDiff::Same);
        }
        if is_text(&was) && is_text(&is) {
            return Ok(ContentDiff::Text(hunks(&was, &is)));
        }
        return Ok(ContentDiff::Bytes(first_difference(&was, &is)));
    }
    compare_bytes([was, is], sizes, go_on)
}

/// Where two runs of bytes that differ do so first.
fn first_difference(one: &[u8], other: &[u8]) -> u64 {
    let same = one
        .iter()
        .zip(other)
        .take_while(|(one, other)| one == other);
    same.count() as u64
}

type File<'a> = Option<(&'a dyn Filesystem, &'a Node)>;

/// A short file wholly.
fn read(file: File<'_>, go_on: &mut dyn FnMut() -> bool) -> guest::Result<Vec<u8>> {
    if !go_on() {
        return Err(Error::Cancelled);
    }
    let read = file.map(|(filesystem, node)| path::content(filesystem, node, MOST_TEXT));
    Ok(read.transpose()?.map_or_else(Vec::new, |(bytes, _)| bytes))
}

/// Compares byte by byte, up to a bound.
fn compare_bytes(
    files: [File<'_>; 2],
    [was, is]: [u64; 2],
    go_on: &mut dyn FnMut() -> bool,
) -> guest::Result<ContentDiff> {
    let [Some((older, before)), Some((newer, after))] = files else {
        return Ok(ContentDiff::Bytes(0));
    };
    let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    let end = was.min(is);
    while at < end {
        if !go_on() {
            return Err(Error::Cancelled);
        }
        if at >= MOST_COMPARED {
            return Ok(ContentDiff::SameSoFar(at));
        }
        let len = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let (Some(one), Some(other)) = (one.get_mut(..len), other.get_mut(..len)) else {
            break;
        };
        let read = older.read(before.id, at, one)?;
        let also = newer.read(after.id, at, other)?;
        if read != also || one != other {
            return Ok(ContentDiff::Bytes(at + first_difference(one, other)));
        }
        if read == 0 {
            break;
        }
        at += read as u64;
    }
    Ok(match was == is {
        true => ContentDiff::Same,
        false => ContentDiff::Bytes(end),
    })
}

/// The lines of two texts that differ.
fn hunks(before: &[u8], after: &[u8]) -> Vec<Hunk> {
    let (was, is) = (lines(before), lines(after));
    let until = Instant::now() + PATIENCE;
    let steps = similar::capture_diff_slices_deadline(Algorithm::Myers, &was, &is, Some(until));
    let groups = similar::group_diff_ops(steps, AROUND);
    groups.iter().map(|group| hunk(group, &was, &is)).collect()
}

/// Lines with their ends.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

fn hunk(steps: &[DiffOp], was: &[&[u8]], is: &[&[u8]]) -> Hunk {
    let whole = |range: fn(&DiffOp) -> Range<usize>| {
        let start = steps.first().map_or(0, |step| range(step).start);
        start..steps.last().map_or(start, |step| range(step).end)
    };
    let changes = steps.iter().flat_map(|step| step.iter_changes(was, is));
    let lines = changes.map(|change| TextLine {
        kind: match change.tag() {
            ChangeTag::Equal => LineKind::Both,
            ChangeTag::Delete => LineKind::Removed,
            ChangeTag::Insert => LineKind::Added,
        },
        bytes: change.value().to_vec(),
    });
    Hunk {
        before: whole(DiffOp::old_range),
        after: whole(DiffOp::new_range),
        lines: lines.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &str, after: &str) -> Vec<String> {
        let hunks = hunks(before.as_bytes(), after.as_bytes());
        let lines = hunks.iter().flat_map(Hunk::told);
        lines.map(|(_, line)| line).collect()
    }

    #[test]
    fn lines_are_told_as_diff_does() {
        assert_eq!(
            told("one\ntwo\nthree\n", "one\n2\nthree\nfour"),
            [
                "@@ -1,3 +1,4 @@",
                " one",
                "-two",
                "+2",
                " three",
                "+four",
                "\\ No newline at end of file",
            ]
        );
        assert_eq!(told("", "new\n"), ["@@ -0,0 +1 @@", "+new"]);
        assert_eq!(told("old\n", ""), ["@@ -1 +0,0 @@", "-old"]);
        let many: String = (0..30).map(|line| format!("{line}\n")).collect();
        let edited = many.replace("2\n", "two\n");
        let heads = told(&many, &edited);
        let heads: Vec<_> = heads.iter().filter(|line| line.starts_with("@@")).collect();
        assert_eq!(
            heads,
            ["@@ -1,6 +1,6 @@", "@@ -10,7 +10,7 @@", "@@ -20,7 +20,7 @@"]
        );
    }

    #[test]
    fn nothing_in_a_line_acts_on_a_terminal() {
        assert_eq!(
            told("", "a\tb\x1b[2J\r\n"),
            ["@@ -0,0 +1 @@", "+a\tb\\u{1b}[2J\\r"]
        );
    }

    #[test]
    fn the_first_byte_that_differs_is_found() {
        assert_eq!(first_difference(b"abc", b"abd"), 2);
        assert_eq!(first_difference(b"ab", b"abd"), 2);
    }
}
