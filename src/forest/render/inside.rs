//! What a picture says of the internal snapshots of an image, below the image that holds them.

use crate::forest::Node;
use crate::host::printable_bytes;
use crate::qcow2::Snapshot;
use crate::system::Utc;
use crate::units;

use super::{Charset, cut_middle};

/// Snapshots of one image shown at most.
const MOST: usize = 16;
/// Columns of a name, and of an ID, at most.
const WIDEST_NAME: usize = 40;
const WIDEST_ID: usize = 12;

/// One internal snapshot in a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLine {
    /// Its name, cut, safe to print.
    pub name: String,
    /// What else there is to say, safe to print: `snapshot 2, 2024-05-01 12:00 UTC, vm state 12 MiB`.
    pub about: String,
    /// When it was taken, in seconds since 1970.
    pub taken: u64,
}

/// The first internal snapshots of an image, and how many more there are.
#[must_use]
pub fn snapshot_lines(node: &Node, charset: Charset) -> (Vec<SnapshotLine>, usize) {
    let Some(info) = node.info() else {
        return (Vec::new(), 0);
    };
    let shown = info.first_snapshots.iter().take(MOST);
    let lines: Vec<_> = shown.map(|snapshot| line(snapshot, charset)).collect();
    let all = usize::try_from(info.snapshots).unwrap_or(usize::MAX);
    let more = all.saturating_sub(lines.len());
    (lines, more)
}

/// What stands before an internal snapshot, so that it is not taken for an image.
#[must_use]
pub const fn snapshot_sign(charset: Charset) -> &'static str {
    match charset {
        Charset::Unicode => "◇",
        Charset::Ascii => "#",
    }
}

/// The internal snapshots of an image as they stand inside its box.
pub(super) fn boxed(node: &Node, charset: Charset) -> Vec<String> {
    let sign = snapshot_sign(charset);
    let (lines, more) = snapshot_lines(node, charset);
    let shown = lines.iter().map(|line| format!("{sign} {}", line.name));
    let rest = (more > 0).then(|| format!("{sign} {more} more"));
    shown.chain(rest).collect()
}

fn line(snapshot: &Snapshot, charset: Charset) -> SnapshotLine {
    let text = |bytes: &[u8], width| cut_middle(&printable_bytes(bytes), width, charset);
    let taken = u64::from(snapshot.date_seconds);
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        ..
    } = Utc::from_seconds(taken);
    let id = text(&snapshot.id, WIDEST_ID);
    let mut about =
        format!("snapshot {id}, {year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC");
    if snapshot.vm_state_size() > 0 {
        let size = units::size(snapshot.vm_state_size());
        about.push_str(&format!(", vm state {size}"));
    }
    SnapshotLine {
        name: text(&snapshot.name, WIDEST_NAME),
        about,
        taken,
    }
}
