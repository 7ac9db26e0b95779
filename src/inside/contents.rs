//! What is in an image: its volumes, filesystems and system, in a few words.

use std::time::SystemTime;

use crate::guest::disk::{Content, Scheme, Volume};
use crate::guest::filesystem::Condition;
use crate::guest::system::{self, System};
use crate::guest::{self, Printable};

use super::View;
use super::place::why;

/// What a disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// How it is divided.
    pub scheme: Scheme,
    /// Its volumes.
    pub volumes: Vec<VolumeContents>,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeContents {
    /// `p1`, `disk`, `group-name` as below `/dev/mapper`.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// The filesystem's kind; of what is not read, what it is and why.
    pub kind: String,
    /// Whether its files can be read.
    pub is_read: bool,
    /// How it is encrypted: `LUKS2`.
    pub encryption: Option<&'static str>,
    /// Whether its passphrase is missing.
    pub is_locked: bool,
    /// The filesystem's label, made safe to print; empty where it has none.
    pub label: String,
    /// Its UUID or serial number; empty where it has none.
    pub uuid: String,
    /// Bytes it covers.
    pub total: Option<u64>,
    /// Bytes in use.
    pub used: Option<u64>,
    /// When it was written last.
    pub written: Option<SystemTime>,
    /// What limits how far it can be relied on: a journal that was not applied.
    pub caution: Option<String>,
    /// The operating system on it.
    pub system: Option<System>,
}

impl Contents {
    /// The operating system on the disk.
    #[must_use]
    pub fn system(&self) -> Option<&System> {
        self.volumes
            .iter()
            .find_map(|volume| volume.system.as_ref())
    }
}

/// Looks at what is in an image.
///
/// # Errors
/// When it cannot be read.
pub fn contents(view: &View) -> guest::Result<Contents> {
    let volumes = view
        .disk
        .volumes
        .iter()
        .map(of_volume)
        .collect::<guest::Result<_>>()?;
    Ok(Contents {
        scheme: view.disk.scheme,
        volumes,
    })
}

fn of_volume(volume: &Volume) -> guest::Result<VolumeContents> {
    let mut found = VolumeContents {
        name: volume.name.to_string(),
        len: volume.len,
        kind: why(&volume.content),
        is_read: false,
        encryption: volume.encryption.as_ref().map(|how| how.kind),
        is_locked: false,
        label: String::new(),
        uuid: String::new(),
        total: None,
        used: None,
        written: None,
        caution: None,
        system: None,
    };
    if let Content::Locked { kind, .. } = &volume.content {
        (found.encryption, found.is_locked) = (Some(*kind), true);
    }
    if let Content::Filesystem(filesystem) = &volume.content {
        let summary = filesystem.summary();
        found.is_read = true;
        found.label = Printable(summary.label.clone()).to_string();
        found.uuid.clone_from(&summary.uuid);
        found.total = Some(summary.total);
        found.used = filesystem.used()?;
        found.written = summary.written;
        found.caution = match &summary.condition {
            Condition::Clean => None,
            Condition::Replayed => {
                Some("it was not unmounted; its journal is applied to what is shown".to_owned())
            }
            Condition::NotReplayed(why) => Some(format!(
                "it was not unmounted, and the newest changes may be missing: {why}"
            )),
        };
        found.system = system::system(&**filesystem)?;
    }
    Ok(found)
}
