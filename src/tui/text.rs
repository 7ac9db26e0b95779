//! Words and names fit for a terminal: control characters made visible, long names cut in the
//! middle by display width, sizes and ages in few characters. No styles here.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::host::printable;
use crate::image::Check;
use crate::image::Snapshot;
use crate::units;

/// Text from elsewhere (a plan, a problem) made safe to print once more: it is meant to be, and a
/// terminal is no place to find out.
#[must_use]
pub(crate) fn safe(text: &str) -> String {
    printable(text)
}

/// A text with its paths seen from the folders looked in, as the panes show them. What is quoted stays as it is.
#[must_use]
pub(crate) fn inside_of(text: &str, roots: &[PathBuf]) -> String {
    let mut text = text.to_owned();
    for root in roots.iter().filter(|root| root.parent().is_some()) {
        let prefix = format!("{}/", printable(root));
        let mut rest = text.as_str();
        let mut short = String::new();
        while let Some(at) = rest.find(&prefix) {
            let (before, after) = rest.split_at(at);
            short.push_str(before);
            let begins_a_word = short.chars().next_back().is_none_or(char::is_whitespace);
            if !begins_a_word {
                short.push_str(&prefix);
            }
            rest = after.strip_prefix(&prefix).unwrap_or_default();
        }
        short.push_str(rest);
        text = short;
    }
    text
}

/// How many cells the text takes.
#[must_use]
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `max` cells; what does not fit is cut out of the middle, where names differ
/// least.
#[must_use]
pub(crate) fn cut_middle(text: &str, max: usize, ascii: bool) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    let sign = if ascii { "~" } else { "…" };
    if max <= 1 {
        return sign.repeat(max);
    }
    let room = max - 1;
    let tail_room = room / 2;
    let graphemes: Vec<&str> = text.graphemes(true).collect();
    let mut head = String::new();
    let mut used = 0;
    for g in &graphemes {
        if used + g.width() > room - tail_room {
            break;
        }
        used += g.width();
        head.push_str(g);
    }
    let mut tail: Vec<&str> = Vec::new();
    let mut tail_used = 0;
    for g in graphemes.iter().rev() {
        if tail_used + g.width() > room - used {
            break;
        }
        tail_used += g.width();
        tail.push(g);
    }
    tail.reverse();
    format!("{head}{sign}{}", tail.concat())
}

/// The text in at most `max` cells, cut at the end.
#[must_use]
pub(crate) fn cut_end(text: &str, max: usize, ascii: bool) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    if max == 0 {
        return String::new();
    }
    let mut out = String::new();
    let mut used = 0;
    for g in text.graphemes(true) {
        if used + g.width() > max - 1 {
            break;
        }
        used += g.width();
        out.push_str(g);
    }
    out.push_str(if ascii { "~" } else { "…" });
    out
}

/// Names in no more cells than `max`, as far as one name fits at all: `a b +3`.
#[must_use]
pub(crate) fn few(names: &[&str], max: usize) -> String {
    let said = |number: usize| {
        let mut words: Vec<String> = names.iter().take(number).map(|name| safe(name)).collect();
        let more = names.len().saturating_sub(number);
        words.extend((more > 0).then(|| format!("+{more}")));
        words.join(" ")
    };
    let fitting = (1..=names.len()).rev().map(said);
    let mut fitting = fitting.filter(|text| width(text) <= max);
    fitting.next().unwrap_or_else(|| said(names.len().min(1)))
}

/// The text filled up with spaces to `cells`, or cut at the end to fit.
#[must_use]
pub(crate) fn pad(text: &str, cells: usize, ascii: bool) -> String {
    let mut out = cut_end(text, cells, ascii);
    let used = out.width();
    out.extend(std::iter::repeat_n(' ', cells.saturating_sub(used)));
    out
}

/// The text pushed to the right within `cells`.
#[must_use]
pub(crate) fn pad_left(text: &str, cells: usize, ascii: bool) -> String {
    let cut = cut_end(text, cells, ascii);
    let used = cut.width();
    format!("{}{cut}", " ".repeat(cells.saturating_sub(used)))
}

/// The text broken into lines of at most `cells`, at spaces where there are any; a word longer than a line is
/// broken inside. Further lines start with `indent` spaces.
#[must_use]
pub(crate) fn wrap(text: &str, cells: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    let indent = if indent + 8 > cells { 0 } else { indent };
    let room = cells.max(1);
    for word in text.split(' ') {
        let needed = word.width();
        let has_words = line.chars().any(|c| c != ' ');
        if has_words && used + 1 + needed > room {
            lines.push(std::mem::take(&mut line));
            line = " ".repeat(indent);
            used = indent;
        } else if has_words {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let cells = c.width().unwrap_or(0);
            if used + cells > room && used > indent {
                lines.push(std::mem::take(&mut line));
                line = " ".repeat(indent);
                used = indent;
            }
            line.push(c);
            used += cells;
        }
    }
    lines.push(line);
    lines
}

/// At most so many of the lines; where some are left out, the last one ends in a sign for them within `cells`.
#[must_use]
pub(crate) fn clamp(mut lines: Vec<String>, most: usize, cells: usize, ascii: bool) -> Vec<String> {
    if lines.len() <= most {
        return lines;
    }
    lines.truncate(most);
    if let Some(last) = lines.last_mut() {
        // Whatever its length, it is longer than it seems.
        let more = format!("{last}{}", " ".repeat(cells.max(1)));
        *last = cut_end(&more, (last.width() + 1).min(cells), ascii);
    }
    lines
}

/// The same with a large first letter.
#[must_use]
pub(crate) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Time since `then` in one number: `2h`, `44d`.
#[must_use]
pub(crate) fn age(then: SystemTime, now: SystemTime) -> String {
    units::age(now.duration_since(then).unwrap_or_default())
}

/// An internal snapshot for people: its name, and its ID where that tells more.
#[must_use]
pub(crate) fn snapshot_name(snapshot: &Snapshot) -> String {
    let part = |bytes: &[u8]| safe(&String::from_utf8_lossy(bytes));
    let (name, id) = (part(&snapshot.name), part(&snapshot.id));
    if name.is_empty() {
        format!("(ID {id})")
    } else {
        format!("{name} (ID {id})")
    }
}

/// When an internal snapshot was taken.
#[must_use]
pub(crate) fn snapshot_taken(snapshot: &Snapshot) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(snapshot.date_seconds.into())
}

/// What a check amounts to: `clean`, `3 corruptions`, `212 leaked clusters, 13 MiB`.
#[must_use]
pub(crate) fn verdict(check: &Check) -> String {
    let leaks = format!(
        "{}, {}",
        units::count(check.leaks, "leaked cluster"),
        units::size(check.leaked_bytes)
    );
    let corruptions = units::count(check.corruptions, "corruption");
    match (check.corruptions, check.leaks) {
        (0, 0) => "clean".to_owned(),
        (0, _) => leaks,
        (_, 0) => corruptions,
        _ => format!("{corruptions}, {leaks}"),
    }
}

/// How far something is, in per cent; `..` while that is not known.
#[must_use]
pub(crate) fn percent(done: u64, total: u64) -> String {
    if total == 0 {
        return "..".to_owned();
    }
    format!("{}%", u128::from(done.min(total)) * 100 / u128::from(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_left_out_leave_a_sign() {
        let lines = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let three = lines(&["one", "two", "three"]);
        assert_eq!(clamp(three.clone(), 3, 9, false), three);
        assert_eq!(clamp(three.clone(), 2, 9, false), lines(&["one", "two…"]));
        assert_eq!(clamp(three.clone(), 2, 3, false), lines(&["one", "tw…"]));
        assert_eq!(clamp(three, 1, 9, true), lines(&["one~"]));
    }

    #[test]
    fn of_several_names_as_many_are_told_as_fit() {
        for (names, max, told) in [
            (&["one"][..], 3, "one"),
            (&["one", "two"], 7, "one two"),
            (&["one", "two"], 6, "one +1"),
            (&["a", "b", "c", "d", "e"], 6, "a b +3"),
            (&["a", "b", "c", "d", "e"], 1, "a +4"),
            (&[], 5, ""),
        ] {
            assert_eq!(few(names, max), told);
        }
    }

    #[test]
    fn paths_in_a_text_are_seen_from_the_folders_looked_in_unless_they_are_quoted() {
        let roots = [PathBuf::from("/vm"), PathBuf::from("/")];
        let text =
            "/vm/a/x.qcow2 names /vm/base.qcow2, says \"image '/vm/base.qcow2'\"; see /srv/vm/y";
        let short = "a/x.qcow2 names base.qcow2, says \"image '/vm/base.qcow2'\"; see /srv/vm/y";
        assert_eq!(inside_of(text, &roots), short);
    }

    #[test]
    fn long_names_are_cut_in_the_middle_by_display_width() {
        assert_eq!(
            cut_middle("Overlay-1B.qcow2", 16, false),
            "Overlay-1B.qcow2"
        );
        assert_eq!(cut_middle("Overlay-1B.qcow2", 9, false), "Over…cow2");
        assert_eq!(cut_middle("日本語の名前.img", 8, false), "日本…img");
        for max in 0..20 {
            assert!(width(&cut_middle("日本語の名前.qcow2", max, false)) <= max);
            assert!(width(&cut_end("日本語の名前.qcow2", max, true)) <= max);
        }
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_inside() {
        assert_eq!(wrap("one two three", 7, 0), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3, 0), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3, 0), [""]);
    }
}
