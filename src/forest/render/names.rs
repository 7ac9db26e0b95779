//! What to call an image in a picture: its file name, with as many folders before it as tell it from
//! other files of that name; cut by display width.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Component, Path};

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::forest::{Forest, Location, NodeId};
use crate::host::printable;

use super::Charset;

/// A name for every image, safe to print. No two are alike unless the images' whole paths are.
#[must_use]
pub fn labels(forest: &Forest) -> HashMap<NodeId, String> {
    let mut labels = HashMap::with_capacity(forest.len());
    let mut open: Vec<(NodeId, Vec<&OsStr>)> = Vec::new();
    for node in forest.nodes() {
        if node.location == Location::Elsewhere {
            labels.insert(node.id, printable(&node.path));
        } else {
            open.push((node.id, parts(&node.path)));
        }
    }
    let mut folders = 0;
    while !open.is_empty() {
        let mut alike: HashMap<&[&OsStr], usize> = HashMap::new();
        for (_, parts) in &open {
            *alike.entry(tail(parts, folders)).or_default() += 1;
        }
        let ambiguous: Vec<bool> = open
            .iter()
            .map(|(_, parts)| {
                alike.get(tail(parts, folders)) > Some(&1) && parts.len() > folders + 1
            })
            .collect();
        let mut ambiguous = ambiguous.into_iter();
        open.retain(|(id, parts)| {
            let keep = ambiguous.next() == Some(true);
            if !keep {
                let shown: Vec<String> = tail(parts, folders).iter().map(printable).collect();
                labels.insert(*id, shown.join("/"));
            }
            keep
        });
        folders += 1;
    }
    labels
}

/// The parts of a path that are names.
fn parts(path: &Path) -> Vec<&OsStr> {
    let parts: Vec<&OsStr> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(OsStr::new("..")),
            _ => None,
        })
        .collect();
    if parts.is_empty() {
        vec![path.as_os_str()]
    } else {
        parts
    }
}

fn tail<'a, 'b>(parts: &'a [&'b OsStr], folders: usize) -> &'a [&'b OsStr] {
    parts
        .get(parts.len().saturating_sub(folders + 1)..)
        .unwrap_or(parts)
}

/// The text in at most `width` columns, cut in the middle if it is longer: what tells names apart is
/// mostly at their ends. `width` below 3 leaves no room for both ends.
#[must_use]
pub fn cut_middle(text: &str, width: usize, charset: Charset) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let gap = match charset {
        Charset::Unicode => "…",
        Charset::Ascii => "~",
    };
    if width == 0 {
        return String::new();
    }
    let room = width - 1;
    let head_room = room / 2;
    let mut head = String::new();
    let mut used = 0;
    for sign in text.graphemes(true) {
        if used + sign.width() > head_room {
            break;
        }
        used += sign.width();
        head.push_str(sign);
    }
    let mut tail = Vec::new();
    for sign in text.graphemes(true).rev() {
        if used + sign.width() > room {
            break;
        }
        used += sign.width();
        tail.push(sign);
    }
    head.push_str(gap);
    head.extend(tail.into_iter().rev());
    head
}
