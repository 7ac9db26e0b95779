//! The files inside an image: opened, listed, read, found by name, and their history.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::guest::block::Stop;
use crate::guest::filesystem::{Filesystem, Node, NodeKind};
use crate::guest::path::{self, LastLink};
use crate::guest::{self, Error as GuestError};
use crate::host::printable_bytes;
use crate::image::{Chain, Format, Keys, Layer, NoProgress};
use crate::inside::{self, LineKind, Older, Pattern, PlaceError, Sides, States, View};
use crate::ops::{self, Error, SnapshotName};
use crate::tui::browse::{
    Answer, Compared, ComparedWith, Comparison, FileRow, FileText, Found, Question, Shown, Spot,
    Trouble,
};
use crate::tui::msg::Msg;
use crate::tui::query::QueryId;
use crate::units;

use super::Workers;
use super::compare::Stopped;

/// Entries of a folder that are listed at the most.
const MOST_ENTRIES: usize = 200_000;
/// Files found by name that are listed at the most.
const MOST_HITS: usize = 10_000;
/// Bytes of a file that are shown at the most.
const MOST_TEXT: usize = 1 << 20;
/// The same of a file that is no text.
const MOST_HEX: usize = 4 << 10;
/// Characters of a line that are shown in one: more go on in the next.
const MOST_LINE: usize = 2_000;
/// Characters of where a symbolic link leads.
const MOST_TARGET: usize = 200;
/// Columns between two stops of the tabulator.
const TAB: usize = 8;

impl From<GuestError> for Stopped {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Image(error) => error.into(),
            GuestError::Cancelled => Self::Ended(Error::cancelled("stopped")),
            other => Self::Ended(Error::failed(other.to_string())),
        }
    }
}

impl From<PlaceError> for Stopped {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Guest(error) => error.into(),
            PlaceError::Locked { ref image, .. } => {
                Self::Locked(image.clone(), Error::failed(error.to_string()))
            }
            other => Self::Ended(Error::failed(other.to_string())),
        }
    }
}

impl Workers {
    /// Answers, unless that is no longer the newest question.
    pub(super) fn browse(&self, query_id: QueryId, question: Question) {
        let mut go_on = || self.newest.browse.load(Ordering::SeqCst) == query_id;
        let answer = match question {
            Question::Open(of) => self.volumes(&of),
            Question::Look(view, spot) => look(&view, &spot, &mut go_on),
            Question::Find(view, name) => find(&view, name, &mut go_on),
            Question::History(view, _, spot) => {
                history(&view, &self.keys, &spot, self.stop(query_id))
            }
            Question::Compare(what) => self.compare_file(&what, &self.stop(query_id)),
        };
        let answer = answer.map_err(|stopped| match stopped {
            Stopped::Locked(image, error) => Trouble::Locked(image, error.to_string()),
            Stopped::Ended(error) => Trouble::Told(error.to_string()),
        });
        self.answer(Msg::Browsed(query_id, Box::new(answer)));
    }

    /// Tells whether another question is asked by now.
    fn stop(&self, query_id: QueryId) -> Stop {
        let newest = Arc::clone(&self.newest);
        Arc::new(move || newest.browse.load(Ordering::SeqCst) != query_id)
    }

    fn volumes(&self, of: &Shown) -> Result<Answer, Stopped> {
        let (view, live) = self.opened(of)?;
        let contents = inside::contents(&view)?;
        Ok(Answer::Opened(Arc::new(view), contents, live))
    }

    /// Opens an image down to its files; which of its files a process is writing, each as a sentence.
    pub(super) fn opened(&self, of: &Shown) -> Result<(View, Vec<String>), Stopped> {
        let (chain, live) = self.chain(of)?;
        Ok((View::open(chain, &self.keys)?, live))
    }

    /// An image with all it is built on, unlocked by the passphrases that were given.
    fn chain(&self, of: &Shown) -> Result<(Chain, Vec<String>), Stopped> {
        let snapshot = of.snapshot.clone();
        let snapshot = snapshot.map(|id| SnapshotName::Id(OsString::from_vec(id)));
        let options = self.reading(of.format.clone(), snapshot);
        let mut reading =
            ops::open_to_read(&*self.host, &of.image, &options).map_err(Stopped::Ended)?;
        let live = std::mem::take(&mut reading.live);
        let chain = reading.whole()?;
        chain.unlock(&self.keys, &NoProgress)?;
        Ok((chain, live))
    }

    /// How a file differs between two states.
    fn compare_file(&self, what: &Comparison, stop: &Stop) -> Result<Answer, Stopped> {
        let (newer, _) = self.chain(&what.newer)?;
        let (older, shown) = match &what.older {
            ComparedWith::Other(shown) => (self.chain(shown)?.0, shown.clone()),
            below => {
                let is_base = *below == ComparedWith::Base;
                let older = if is_base { Older::Base } else { Older::Root };
                let sides = Sides::of(&newer, older).ok_or_else(|| {
                    let text = "it is built on no other image: mark it, and point at the image to compare it with";
                    Stopped::Ended(Error::failed(text))
                })?;
                let shown = top(&sides.before);
                (sides.before, shown)
            }
        };
        let view = |chain: Chain| View::stoppable(chain, &self.keys, View::KEPT, Arc::clone(stop));
        let views = [view(older)?, view(newer)?];
        let found = inside::file_diff(
            [&views[0], &views[1]],
            &what.spot.place(),
            what.from.as_deref(),
            &mut || !stop(),
        )?;
        let names = [&shown, &what.newer].map(Shown::name);
        let lines = found.told([&names[0], &names[1]]);
        let spot = |path: &[u8]| Spot {
            path: path.to_vec(),
            ..what.spot.clone()
        };
        let from = what.from.as_deref().unwrap_or(&what.spot.path);
        Ok(Answer::Compared(Box::new(Compared {
            older: found.before.as_ref().map(|_| (shown, spot(from))),
            newer: found
                .after
                .as_ref()
                .map(|_| (what.newer.clone(), spot(&what.spot.path))),
            names,
            lines: lines.into_iter().flat_map(broken).collect(),
        })))
    }
}

/// The image on top of a chain.
fn top(chain: &Chain) -> Shown {
    let layer = chain.layers().first();
    Shown {
        image: layer.map_or_else(PathBuf::new, |layer| layer.path().to_path_buf()),
        format: layer.map(|layer| match &**layer {
            Layer::Raw(_) => Format::Raw,
            Layer::Qcow2(_) => Format::Qcow2,
        }),
        snapshot: None,
    }
}

/// A line with its tabulators as spaces, in parts where it is very long.
fn broken((kind, line): (LineKind, String)) -> Vec<(LineKind, String)> {
    let spread = tabs_as_spaces(line.split('\t').map(str::to_owned));
    parts(spread).into_iter().map(|part| (kind, part)).collect()
}

/// A folder's entries, or what is in a file.
fn look(view: &View, spot: &Spot, go_on: &mut dyn FnMut() -> bool) -> Result<Answer, Stopped> {
    let (_, filesystem) = spot.place().on(view)?;
    let filesystem: &dyn Filesystem = &**filesystem;
    let listed = spot.node.map(|id| filesystem.node(id)).transpose()?;
    let node = match listed.filter(|node| node.kind != NodeKind::Symlink) {
        Some(node) => node,
        None => path::lookup(filesystem, &spot.path, LastLink::Follow)?,
    };
    match node.kind {
        NodeKind::Directory => Ok(Answer::Folder(folder(filesystem, &node, go_on)?)),
        NodeKind::File => {
            let (bytes, _) = path::content(filesystem, &node, MOST_TEXT)?;
            Ok(Answer::Text(text(&bytes, node.size)))
        }
        NodeKind::Symlink | NodeKind::Special => Err(Stopped::Ended(Error::failed(
            "it is a device, FIFO or socket, which holds nothing",
        ))),
    }
}

fn folder(
    filesystem: &dyn Filesystem,
    node: &Node,
    go_on: &mut dyn FnMut() -> bool,
) -> guest::Result<Vec<FileRow>> {
    let entries = path::list_while(filesystem, node.id, MOST_ENTRIES, go_on)?;
    let rows = entries.into_iter().map(|(name, id)| {
        if !go_on() {
            return Err(GuestError::Cancelled);
        }
        let node = filesystem.node(id);
        let link = node.as_ref().ok();
        let link = link.filter(|node| node.kind == NodeKind::Symlink);
        let target = link.map(|link| match filesystem.link_target(link.id) {
            Ok(target) => {
                let target = target.get(..MOST_TARGET).unwrap_or(&target);
                printable_bytes(target)
            }
            Err(why) => format!("({why})"),
        });
        Ok(FileRow {
            name,
            node: node.map_err(|why| why.to_string()),
            target,
        })
    });
    rows.collect()
}

fn find(view: &View, name: String, go_on: &mut dyn FnMut() -> bool) -> Result<Answer, Stopped> {
    let pattern = Pattern::parse(name.as_bytes());
    let (mut hits, mut remarks) = inside::search(view, &pattern, go_on)?;
    if hits.len() > MOST_HITS {
        let more = units::count(hits.len() - MOST_HITS, "more file");
        remarks.insert(0, format!("{more} are not listed"));
        hits.truncate(MOST_HITS);
    }
    Ok(Answer::Found(Found {
        name,
        hits,
        remarks,
    }))
}

fn history(view: &View, keys: &Keys, spot: &Spot, stop: Stop) -> Result<Answer, Stopped> {
    let states = States::stoppable(&view.chain, keys, stop)?;
    Ok(Answer::History(states.history(&spot.place())?))
}

/// The first bytes of a file of that size, to be read.
fn text(bytes: &[u8], size: u64) -> FileText {
    let of = |shown: usize, what: &str| {
        let shown = u64::try_from(shown).unwrap_or(u64::MAX);
        match shown < size {
            true => Some(format!(
                "{what} The first {} of {} are shown.",
                units::size(shown),
                units::size(size)
            )),
            false if what.is_empty() => None,
            false => Some(what.to_owned()),
        }
    };
    if inside::is_text(bytes) {
        return FileText {
            lines: lines(bytes),
            note: of(bytes.len(), "").map(|note| note.trim_start().to_owned()),
        };
    }
    let bytes = bytes.get(..MOST_HEX).unwrap_or(bytes);
    FileText {
        lines: hex(bytes),
        note: of(bytes.len(), "It is no text."),
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let mut all: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // What ends in a line end has no line behind it.
    if all.last().is_some_and(|last| last.is_empty()) {
        all.pop();
    }
    let mut lines = Vec::with_capacity(all.len());
    for line in all {
        lines.extend(parts(printed(line.strip_suffix(b"\r").unwrap_or(line))));
    }
    lines
}

/// A line in parts, where it is very long.
fn parts(line: String) -> Vec<String> {
    if line.len() <= MOST_LINE {
        return vec![line];
    }
    let chars: Vec<char> = line.chars().collect();
    let parts = chars.chunks(MOST_LINE);
    parts.map(|part| part.iter().collect()).collect()
}

/// A line that acts on no terminal, with its tabulators as spaces.
fn printed(line: &[u8]) -> String {
    tabs_as_spaces(line.split(|byte| *byte == b'\t').map(printable_bytes))
}

/// A line whose parts stand at tabulator stops.
fn tabs_as_spaces(parts: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    let mut columns = 0;
    for (at, part) in parts.enumerate() {
        if at > 0 {
            let spaces = TAB - columns % TAB;
            text.extend(std::iter::repeat_n(' ', spaces));
            columns += spaces;
        }
        columns += part.chars().count();
        text.push_str(&part);
    }
    text
}

/// As `hexdump -C` has it, a little narrower.
fn hex(bytes: &[u8]) -> Vec<String> {
    let rows = bytes.chunks(16).enumerate();
    rows.map(|(row, bytes)| {
        let numbers: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let signs = bytes.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let signs: String = signs.collect();
        format!("{:06x} {:<47}  {signs}", row * 16, numbers.join(" "))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_acts_on_no_terminal_and_what_is_none_is_shown_in_numbers() {
        let shown = text(b"a\tb\r\n\x1b[31mred\xe2\x80\xae\n\nend", 100);
        assert_eq!(
            shown.lines,
            ["a       b", "\\u{1b}[31mred\\u{202e}", "", "end"]
        );
        assert_eq!(
            shown.note.as_deref(),
            Some("The first 21 B of 100 B are shown.")
        );
        assert_eq!(text(b"", 0), FileText::default());
        assert_eq!(text(b"one\n", 4).lines, ["one"]);
        let mut elf = b"\x7fELF\0\x01 ".to_vec();
        elf.resize(5_000, 0);
        let shown = text(&elf, 5_000);
        assert_eq!(shown.lines.len(), 256);
        assert_eq!(
            shown.lines.first().map(String::as_str),
            Some("000000 7f 45 4c 46 00 01 20 00 00 00 00 00 00 00 00 00  .ELF.. .........")
        );
        assert_eq!(
            shown.note.as_deref(),
            Some("It is no text. The first 4 KiB of 4.9 KiB are shown.")
        );
    }

    #[test]
    fn a_line_without_end_is_broken() {
        let shown = text(&vec![b'x'; 4_500], 4_500);
        let lengths: Vec<usize> = shown.lines.iter().map(String::len).collect();
        assert_eq!(lengths, [2_000, 2_000, 500]);
    }
}
