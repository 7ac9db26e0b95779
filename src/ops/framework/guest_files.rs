//! What a plan does to the files inside images, in figures and in words. Planning only says of which images that is to
//! be told; looking takes a while, and is for whoever shows the plan.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::guest::Printable;
use crate::image::Format;
use crate::inside::{Summary, SummaryFile};
use crate::units::{ago, count, size};

use super::format::name;

/// What becomes of files inside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFate {
    /// The image shows what another one shows now, which stands so many layers above it.
    Change {
        /// That other one.
        shown_by: PathBuf,
        /// How many layers lie between, with that one.
        layers: usize,
    },
    /// What the image holds besides what it is built on goes.
    Go,
    /// What it holds besides what its internal snapshot of that ID shows goes.
    GoBack {
        /// The ID.
        snapshot: OsString,
    },
}

/// The files inside one image that a plan changes or takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFiles {
    /// The image.
    pub image: PathBuf,
    /// The format of the file that is opened for it; none to go by its content.
    pub format: Option<Format>,
    /// What becomes of them.
    pub fate: GuestFate,
    /// Which these are, or why that is not known; none while nobody has looked.
    pub found: Option<Result<Summary, NotLooked>>,
}

/// Why nobody knows which files these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotLooked {
    /// It would take too long.
    TooLarge,
    /// It is encrypted, and nobody asked for its passphrase.
    Encrypted,
    /// It cannot be read: a sentence.
    Unreadable(String),
}

impl NotLooked {
    /// Its name, for programs to match on.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::Encrypted => "encrypted",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl GuestFiles {
    /// Files that nobody has looked at yet.
    pub(in crate::ops) fn of(image: PathBuf, format: Option<Format>, fate: GuestFate) -> Self {
        Self {
            image,
            format,
            fate,
            found: None,
        }
    }

    /// What is known of them, as a sentence without its stop.
    #[must_use]
    pub fn text(&self, now: SystemTime) -> String {
        let image = name(&self.image);
        let what = match &self.fate {
            GuestFate::Change { .. } => "which files change",
            GuestFate::Go | GuestFate::GoBack { .. } => "which files go",
        };
        match &self.found {
            None => format!("looking inside {image}"),
            Some(Err(NotLooked::TooLarge)) => {
                format!(
                    "not looked which files of {image} these are: it is too large for a quick look"
                )
            }
            Some(Err(NotLooked::Encrypted)) => {
                format!("{image} is encrypted: {what} is not known")
            }
            Some(Err(NotLooked::Unreadable(why))) => {
                format!("{what} of {image} is not known: {why}")
            }
            Some(Ok(found)) => {
                let no_file = found.files() == 0;
                if found.is_partial && no_file {
                    return format!("{image}: {}", found.remarks.join("; "));
                }
                let mut parts = match &self.fate {
                    GuestFate::Change { .. } => vec![changing(found, &image)],
                    GuestFate::Go | GuestFate::GoBack { .. } => going(found, &image, now),
                };
                parts.extend(found.remarks.iter().cloned());
                parts.join("; ")
            }
        }
    }

    /// Whether files go that somebody wrote lately.
    pub(super) fn loses_recent(&self) -> bool {
        let goes = !matches!(self.fate, GuestFate::Change { .. });
        goes && matches!(&self.found, Some(Ok(found)) if found.recent > 0)
    }
}

/// `3 files change in base.qcow2 (1 added, 2 changed); largest /srv/db 40 MiB`.
fn changing(found: &Summary, image: &str) -> String {
    let parts = counted(&[
        (found.added, "added"),
        (found.deleted, "deleted"),
        (found.changed, "changed"),
        (found.renamed, "renamed"),
        (found.metadata, "in metadata only"),
    ]);
    let all = found.files();
    let mut text = match all {
        0 => return format!("no file changes in {image}"),
        1 => format!("1 file changes in {image} ({parts})"),
        _ => format!("{} change in {image} ({parts})", count(all, "file")),
    };
    if let Some(largest) = &found.largest {
        text.push_str(&format!(
            "; largest {} {}",
            path_text(found, largest),
            size(largest.bytes)
        ));
    }
    text
}

/// `top.qcow2 holds 15 files of its own (9 added, 6 changed)`, and which of them are new.
fn going(found: &Summary, image: &str, now: SystemTime) -> Vec<String> {
    let all = found.added + found.changed + found.renamed;
    if all == 0 {
        return vec![format!("{image} holds no file of its own")];
    }
    let parts = counted(&[
        (found.added, "added"),
        (found.changed, "changed"),
        (found.renamed, "renamed"),
    ]);
    let mut told = vec![format!(
        "{image} holds {} of its own ({parts})",
        count(all, "file")
    )];
    if let Some(newest) = &found.newest {
        let path = path_text(found, newest);
        told.push(match found.recent {
            0 => {
                let modified = newest.modified.unwrap_or(now);
                let old = ago(now.duration_since(modified).unwrap_or_default());
                format!("none newer than a week, the newest {path}, {old} old")
            }
            1 => format!("1 file newer than a week: {path}"),
            recent => format!(
                "{} newer than a week, the newest {path}",
                count(recent, "file")
            ),
        });
    }
    match found.noise {
        0 => {}
        noise if noise == all => {
            told.push("all of them logs, caches or temporary files".to_owned())
        }
        1 => told.push("1 is a log, a cache or a temporary file".to_owned()),
        noise => told.push(format!("{noise} are logs, caches or temporary files")),
    }
    told
}

/// Those that are not 0.
fn counted(numbers: &[(usize, &str)]) -> String {
    let parts = numbers.iter().filter(|(number, _)| *number > 0);
    let parts = parts.map(|(number, what)| format!("{number} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// Characters of a path that are shown at the most.
const MOST_CHARS: usize = 100;

/// Where a file is, safe to print: `/etc/fstab`, `p2:/etc/fstab`; of a long path its end.
fn path_text(found: &Summary, file: &SummaryFile) -> String {
    let path = Printable(file.path.clone()).to_string();
    let chars = path.chars().count();
    let path = match chars.checked_sub(MOST_CHARS) {
        None | Some(0) => format!("/{path}"),
        Some(over) => format!("…{}", path.chars().skip(over).collect::<String>()),
    };
    match found.has_volumes {
        true => format!("{}:{path}", file.volume),
        false => path,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::guest::disk::VolumeName;

    fn going(found: Summary) -> String {
        let mut files = GuestFiles::of("/vm/top.qcow2".into(), None, GuestFate::Go);
        files.found = Some(Ok(found));
        files.text(SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400))
    }

    fn file(path: &[u8], day: u64) -> SummaryFile {
        SummaryFile {
            volume: VolumeName::Partition(2),
            path: path.to_vec(),
            bytes: 1 << 20,
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400)),
        }
    }

    #[test]
    fn a_name_that_a_guest_gave_cannot_reach_a_terminal_nor_fill_it() {
        let found = |path: &[u8]| Summary {
            added: 3,
            newest: Some(file(path, 60)),
            has_volumes: true,
            ..Summary::default()
        };
        let told = going(found(b"home/\x1b[31m\nx"));
        assert!(!told.contains(['\u{1b}', '\n']), "{told}");
        assert!(told.contains("p2:/home/"), "{told}");
        let told = going(found(&[b'a'; 5_000]));
        assert!(told.chars().count() < 250, "{told}");
        assert!(told.ends_with("aaa, 40 days old"), "{told}");
    }

    #[test]
    fn logs_are_told_apart_and_what_is_not_known_is_said() {
        let logs = Summary {
            changed: 2,
            noise: 2,
            ..Summary::default()
        };
        assert_eq!(
            going(logs),
            "top.qcow2 holds 2 files of its own (2 changed); all of them logs, caches or temporary files"
        );
        let nothing = Summary {
            is_partial: true,
            remarks: vec!["1 MiB of p1 differ".to_owned()],
            ..Summary::default()
        };
        assert_eq!(going(nothing), "top.qcow2: 1 MiB of p1 differ");
        assert_eq!(
            going(Summary::default()),
            "top.qcow2 holds no file of its own"
        );
    }
}
