//! What was found inside images: the operating system, and filesystems with their labels. It counts as long as an image
//! and all that it is built on are the files that were looked into, and is found by what these are, not by their names.
//! A guest wrote it, and others may have written the file that keeps it: it is shortened, and made printable when it is
//! read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::{FileKind, Stat, printable};

use super::state_file::{Name, StateFile, write_line};
use super::{Forest, Location, Node, NodeId};

/// So much of so many images is remembered at most; what was found longest ago is forgotten first.
const MAX_ENTRIES: usize = 20_000;
/// So many bytes of the file are read at most.
const MAX_BYTES: u64 = 32 << 20;
/// Filesystems kept of one image.
const MOST_FILESYSTEMS: usize = 32;
/// Characters kept of each word.
const MOST_CHARS: usize = 200;

/// What is inside an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// The operating system, if there is one that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<InsideSystem>,
    /// The filesystems that are read.
    #[serde(default)]
    pub filesystems: Vec<InsideFilesystem>,
}

/// An operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideSystem {
    /// `ID` of os-release: `debian`.
    pub id: String,
    /// `PRETTY_NAME` of os-release: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// `VERSION_ID` of os-release.
    #[serde(default)]
    pub version: Option<String>,
    /// The name that the machine gives itself.
    #[serde(default)]
    pub hostname: Option<String>,
}

/// A filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideFilesystem {
    /// `ext4`, `XFS`.
    pub kind: String,
    /// Its label; empty where it has none.
    #[serde(default)]
    pub label: String,
    /// Its UUID or serial number; empty where it has none.
    #[serde(default)]
    pub uuid: String,
}

impl Inside {
    /// The system and the name that the machine gives itself, in a line.
    #[must_use]
    pub fn system_text(&self) -> Option<String> {
        let system = self.system.as_ref()?;
        Some(match &system.hostname {
            Some(hostname) => format!("{}, hostname {hostname}", system.name),
            None => system.name.clone(),
        })
    }

    /// The same with nothing that a terminal would obey, and not too long.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let bound = |text: &mut String| {
            *text = printable(text.chars().take(MOST_CHARS).collect::<String>());
        };
        if let Some(system) = &mut self.system {
            let optional = [&mut system.version, &mut system.hostname];
            optional.into_iter().flatten().for_each(bound);
            [&mut system.id, &mut system.name]
                .into_iter()
                .for_each(bound);
        }
        self.filesystems.truncate(MOST_FILESYSTEMS);
        for one in &mut self.filesystems {
            let words = [&mut one.kind, &mut one.label, &mut one.uuid];
            words.into_iter().for_each(bound);
        }
        self
    }
}

/// Which files an image and all that it is built on are, as far as a look at the folders tells: another one where any of
/// them was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainIdentity(String);

/// Those of the images of a forest, each worked out once.
#[derive(Debug, Default)]
pub struct ChainIdentities(HashMap<NodeId, Option<ChainIdentity>>);

impl ChainIdentities {
    /// That of an image; none where something of it is no regular file that the scan has met.
    pub fn of(&mut self, forest: &Forest, node: &Node) -> Option<ChainIdentity> {
        // Down to the first that is known.
        let mut unknown = Vec::new();
        let mut next = Some(node.id);
        while let Some(layer) = next.and_then(|id| forest.get(id)) {
            if self.0.contains_key(&layer.id) {
                break;
            }
            unknown.push(layer);
            next = layer.parent.filter(|_| !layer.in_loop);
        }
        for layer in unknown.into_iter().rev() {
            let own = self.of_layer(layer);
            self.0.insert(layer.id, own);
        }
        self.0.get(&node.id)?.clone()
    }

    /// That of an image whose base is known: made of its file and of the base's.
    fn of_layer(&self, layer: &Node) -> Option<ChainIdentity> {
        let base = match layer.parent {
            _ if layer.in_loop => return None,
            Some(parent) => Some(self.0.get(&parent)?.as_ref()?),
            None if layer.backing.is_some() => return None,
            None => None,
        };
        let stat = layer.stat.as_ref()?;
        let has_own = layer.info().is_none_or(|info| !info.external_data);
        if layer.location != Location::Scanned || stat.kind != FileKind::Regular || !has_own {
            return None;
        }
        let mut digest = Sha256::new();
        for number in numbers(stat) {
            digest.update(number.to_le_bytes());
        }
        // The same bytes are another disk as another format.
        digest.update(layer.format()?.name().as_bytes());
        digest.update([0]);
        if let Some(ChainIdentity(base)) = base {
            digest.update(base.as_bytes());
        }
        let digest = digest.finalize();
        let text = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
        Some(ChainIdentity(text.collect()))
    }
}

/// A file that was written so lately may be written once more without showing it.
const YOUNG: Duration = Duration::from_secs(2);

/// Whether a change of the image, or of what it is built on, would show.
#[must_use]
pub fn is_settled(forest: &Forest, node: &Node, now: SystemTime) -> bool {
    let chain = forest.chain(node.id).into_iter();
    let mut stats = chain.filter_map(|id| forest.get(id)?.stat.as_ref());
    stats.all(|stat| {
        let age = now.duration_since(stat.modified);
        age.is_ok_and(|age| age >= YOUNG)
    })
}

/// What changes where a file does.
fn numbers(stat: &Stat) -> [u128; 5] {
    let nanoseconds = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos()
    };
    [
        stat.id.device.into(),
        stat.id.inode.into(),
        stat.len.into(),
        nanoseconds(stat.modified),
        nanoseconds(stat.changed),
    ]
}

/// What was found inside images, by what they are.
pub type KnownInsides = HashMap<ChainIdentity, Found>;

/// What was found inside one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it lay then.
    pub path: PathBuf,
    /// What it was.
    pub inside: std::sync::Arc<Inside>,
    /// When that was, in seconds since 1970.
    pub seen: u64,
}

/// The file that keeps it: one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insides {
    file: StateFile,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    chain: ChainIdentity,
    path: Name,
    seen: u64,
    #[serde(flatten)]
    inside: Inside,
}

impl Insides {
    /// What is kept in the directory `dir`, which need not exist yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            file: StateFile::at(dir, "insides"),
        }
    }

    /// The file itself, for messages.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.file.path()
    }

    /// All that is kept. Lines that cannot be right are passed over.
    ///
    /// # Errors
    /// The system's own, if the file is there and cannot be read.
    pub fn all(&self) -> io::Result<KnownInsides> {
        let file = match File::open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
            Err(error) => return Err(error),
        };
        let mut known = HashMap::new();
        for line in BufReader::new(file.take(MAX_BYTES)).split(b'\n') {
            let line = serde_json::from_slice::<Line>(&line?);
            known.extend(line.ok().map(|line| {
                let found = Found {
                    path: line.path.into(),
                    inside: line.inside.bounded().into(),
                    seen: line.seen,
                };
                (line.chain, found)
            }));
        }
        Ok(known)
    }

    /// Keeps more.
    ///
    /// # Errors
    /// The system's own; `WouldBlock` if another run holds the file for seconds.
    pub fn add(&self, new: KnownInsides) -> io::Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        self.change(|known| known.extend(new))
    }

    /// Forgets what was found in these images.
    ///
    /// # Errors
    /// As [`Insides::add`].
    pub fn forget(&self, goes: impl Fn(&Path) -> bool) -> io::Result<()> {
        match self.file().try_exists()? {
            true => self.change(|known| known.retain(|_, found| !goes(&found.path))),
            false => Ok(()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut KnownInsides)) -> io::Result<()> {
        let _lock = self.file.lock()?;
        let mut known = self.all()?;
        change(&mut known);
        let mut entries: Vec<_> = known.into_iter().collect();
        entries.sort_by(|a, b| (a.1.seen, &a.0).cmp(&(b.1.seen, &b.0)));
        let surplus = entries.len().saturating_sub(MAX_ENTRIES);
        entries.drain(..surplus);
        self.file.replace(|out| {
            entries.into_iter().try_for_each(|(chain, found)| {
                let line = Line {
                    chain,
                    path: found.path.as_path().into(),
                    seen: found.seen,
                    inside: (*found.inside).clone(),
                };
                write_line(out, &line)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_what_was_forged_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let insides = Insides::at(dir.path());
        assert_eq!(insides.all().unwrap(), HashMap::new());
        let found = |id: &str, seen| Found {
            path: format!("/vm/{id}").into(),
            inside: std::sync::Arc::new(Inside {
                system: Some(InsideSystem {
                    id: id.to_owned(),
                    ..InsideSystem::default()
                }),
                filesystems: Vec::new(),
            }),
            seen,
        };
        let new = |id: &str, seen| (ChainIdentity(id.to_owned()), found(id, seen));
        insides.add([new("a", 1), new("b", 2)].into()).unwrap();
        insides.add([new("b", 3)].into()).unwrap();
        let all = insides.all().unwrap();
        assert_eq!(all, [new("a", 1), new("b", 3)].into());
        // A line of another program, one that is cut off, and one with what a terminal would obey.
        let mut text = std::fs::read_to_string(insides.file()).unwrap();
        let evil = "\u{1b}]0;x\u{7}".repeat(500);
        let line = serde_json::json!({"chain": "e", "path": "/e", "seen": 4, "filesystems": [],
            "system": {"id": evil, "name": evil, "hostname": evil}});
        text.push_str(&format!("[]\n{line}\n{{\"chain\": \"c"));
        std::fs::write(insides.file(), text).unwrap();
        let all = insides.all().unwrap();
        assert_eq!(all.len(), 3);
        let system = all[&ChainIdentity("e".to_owned())]
            .inside
            .system
            .clone()
            .unwrap();
        for word in [&system.id, &system.name, system.hostname.as_ref().unwrap()] {
            assert!(
                !word.chars().any(char::is_control) && word.len() < 2_000,
                "{word}"
            );
        }
        insides.forget(|path| path != Path::new("/vm/a")).unwrap();
        assert_eq!(insides.all().unwrap(), [new("a", 1)].into());
    }
}
