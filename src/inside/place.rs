//! Which file of an image is meant: `/etc/fstab` on the volume with the system, `p2:/home` on another one.

use std::path::PathBuf;

use crate::guest::disk::{Content, Volume, locked};
use crate::guest::readers::OpenFilesystem;
use crate::guest::{self, Printable};

use super::View;

/// A file's place as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The volume, if one is named: `p2`, `disk`, `group-name`.
    pub volume: Option<String>,
    /// The path on it, from its root.
    pub path: Vec<u8>,
}

/// Why a place is not there.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The guest's disk or the file cannot be read.
    #[error(transparent)]
    Guest(#[from] guest::Error),
    /// There is no such volume.
    #[error("there is no volume {name} ({there})")]
    NoVolume {
        /// What was asked for.
        name: Printable,
        /// The volumes there are.
        there: String,
    },
    /// The volume's files cannot be read.
    #[error("the files of {volume} cannot be read: {why}")]
    NotRead {
        /// Which.
        volume: String,
        /// Why.
        why: String,
    },
    /// The volume is encrypted, and was not opened.
    #[error("{volume}: {why}")]
    Locked {
        /// The image that shows it.
        image: PathBuf,
        /// Which.
        volume: String,
        /// Whether a passphrase is missing or wrong.
        why: String,
    },
    /// No filesystem is read here at all.
    #[error("no filesystem in it can be read ({there})")]
    Nothing {
        /// What there is instead.
        there: String,
    },
}

impl Place {
    /// Reads `VOLUME:PATH` or `PATH`. Volume names have no slash, so that a path with a colon stays one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let colon = text.iter().position(|byte| *byte == b':');
        let (volume, path) = match colon.map(|at| text.split_at(at)) {
            Some((volume, rest)) if !volume.is_empty() && !volume.contains(&b'/') => (
                str::from_utf8(volume).ok(),
                rest.get(1..).unwrap_or_default(),
            ),
            _ => (None, text),
        };
        let path = if volume.is_some() || colon.is_none() {
            path
        } else {
            text
        };
        Self {
            volume: volume.map(str::to_owned),
            path: path.to_vec(),
        }
    }

    /// The volume it is on, and the filesystem there.
    ///
    /// # Errors
    /// See [`PlaceError`].
    pub fn on<'a>(&self, view: &'a View) -> Result<(&'a Volume, &'a OpenFilesystem), PlaceError> {
        let Some(name) = &self.volume else {
            return view
                .root()?
                .ok_or_else(|| PlaceError::Nothing { there: there(view) });
        };
        let volume = view
            .disk
            .volumes
            .iter()
            .find(|volume| volume.name.to_string() == *name);
        let Some(volume) = volume else {
            return Err(PlaceError::NoVolume {
                name: Printable::from(name.as_bytes()),
                there: there(view),
            });
        };
        match &volume.content {
            Content::Filesystem(filesystem) => Ok((volume, filesystem)),
            Content::Locked { kind, is_wrong } => Err(PlaceError::Locked {
                image: view.image().to_path_buf(),
                volume: volume.name.to_string(),
                why: locked(kind, *is_wrong),
            }),
            other => Err(PlaceError::NotRead {
                volume: volume.name.to_string(),
                why: why(other),
            }),
        }
    }
}

/// The volumes there are, for people.
fn there(view: &View) -> String {
    let all = view
        .disk
        .volumes
        .iter()
        .map(|volume| match &volume.content {
            Content::Filesystem(filesystem) => {
                format!("{}: {}", volume.name, filesystem.summary().kind)
            }
            other => format!("{}: {}", volume.name, why(other)),
        });
    all.collect::<Vec<_>>().join(", ")
}

/// What is there where no filesystem is read.
pub(super) fn why(content: &Content) -> String {
    match content {
        Content::Filesystem(filesystem) => filesystem.summary().kind.to_owned(),
        Content::Locked { kind, is_wrong } => locked(kind, *is_wrong),
        Content::Physical(group) => {
            format!("LVM2 physical volume of {group}, whose volumes are listed by themselves")
        }
        Content::Named(name) => format!("{name}, which is not read"),
        Content::Failed(error) => error.to_string(),
        Content::Unknown { is_empty: true } => "empty".to_owned(),
        Content::Unknown { is_empty: false } => "nothing that is known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_stands_before_a_colon() {
        for (text, volume, path) in [
            ("/etc/fstab", None, "/etc/fstab"),
            ("p2:/etc/fstab", Some("p2"), "/etc/fstab"),
            ("p2:", Some("p2"), ""),
            ("/srv/a:b", None, "/srv/a:b"),
            (":x", None, ":x"),
            ("", None, ""),
        ] {
            let place = Place::parse(text.as_bytes());
            assert_eq!(
                (place.volume.as_deref(), &*place.path),
                (volume, path.as_bytes()),
                "{text}"
            );
        }
    }
}
