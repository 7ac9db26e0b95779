//! What the commands that look inside images share: which image is opened and how, files as rows and as JSON.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::guest::disk::Volume;
use crate::guest::filesystem::{Filesystem, Node, NodeKind};
use crate::guest::readers::OpenFilesystem;
use crate::host::printable_bytes;
use crate::image::{Chain, Keys, NoProgress};
use crate::inside::{Place, PlaceError, View};
use crate::json_text::json_name_bytes;
use crate::ops::SnapshotName;
use crate::units;

use super::options::{FollowArgs, ViewArgs};
use super::passphrase::PassphraseArgs;
use super::{passphrase, reading};

/// How an image is opened down to its files.
#[derive(Debug, Args)]
pub(super) struct GuestImageArgs {
    /// The image
    pub(super) image: PathBuf,
    /// The image's format [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    snapshot: ViewArgs,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    /// What was read once: standard input cannot be read again.
    #[arg(skip)]
    keys: OnceLock<Keys>,
}

impl GuestImageArgs {
    /// The whole chain of the image, unlocked.
    pub(super) fn chain(&self) -> anyhow::Result<Chain> {
        self.chain_at(self.snapshot.wanted())
    }

    /// The internal snapshot that is asked for.
    pub(super) fn snapshot(&self) -> Option<SnapshotName> {
        self.snapshot.wanted()
    }

    /// The same as an internal snapshot shows it, or as it is now.
    pub(super) fn chain_at(&self, snapshot: Option<SnapshotName>) -> anyhow::Result<Chain> {
        let format = self.format.as_deref();
        let reading = reading::open(&self.image, format, self.follow, snapshot, &[])?;
        self.unlocked(reading.whole().map_err(reading::NotOpened)?)
    }

    /// Another image, opened the same way.
    pub(super) fn other(&self, path: &std::path::Path) -> anyhow::Result<Chain> {
        let reading = reading::open(path, None, self.follow, None, &[&self.image])?;
        self.unlocked(reading.whole().map_err(reading::NotOpened)?)
    }

    /// The passphrases that were given, and what they opened so far.
    pub(super) fn keys(&self) -> anyhow::Result<&Keys> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let keys = passphrase::keys(&self.passphrases)?;
        Ok(self.keys.get_or_init(|| keys))
    }

    fn unlocked(&self, chain: Chain) -> anyhow::Result<Chain> {
        chain.unlock(self.keys()?, &NoProgress)?;
        Ok(chain)
    }

    /// The image, opened down to its files.
    pub(super) fn view(&self) -> anyhow::Result<View> {
        Ok(View::open(self.chain()?, self.keys()?)?)
    }
}

/// What gives the passphrase of a volume that the guest encrypted.
pub(super) const GIVES_PASSPHRASE: &str = "--passphrase-file FILE gives it";

/// The volume of a place and the filesystem there.
pub(super) fn on<'a>(
    place: &Place,
    view: &'a View,
) -> anyhow::Result<(&'a Volume, &'a OpenFilesystem)> {
    place.on(view).map_err(|error| match error {
        PlaceError::Locked { .. } => anyhow::anyhow!("{error} ({GIVES_PASSPHRASE})"),
        other => other.into(),
    })
}

/// A path of a guest as it is printed: from the root, with a slash.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", printable_bytes(path))
}

/// The same as JSON.
pub(super) fn json_path(path: &[u8]) -> Value {
    json_name_bytes(&[b"/", path].concat())
}

/// A kind of node as JSON has it.
pub(super) fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Symlink => "symlink",
        NodeKind::Special => "special",
    }
}

/// A time as it is printed; a dash where none is recorded.
pub(super) fn time_text(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "-".to_owned(), units::utc)
}

/// What is recorded of a node, as JSON.
pub(super) fn node_fields(node: &Node) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!(kind_name(node.kind)));
    fields.insert("size".to_owned(), json!(node.size));
    fields.insert(
        "mode".to_owned(),
        json!(format!("{:04o}", node.mode & 0o7777)),
    );
    fields.insert("uid".to_owned(), json!(node.uid));
    fields.insert("gid".to_owned(), json!(node.gid));
    fields.insert("modified".to_owned(), json!(node.modified.map(units::utc)));
    fields
}

/// Where a symbolic link leads, made safe to print; empty for what is none, or cannot be read.
pub(super) fn target_text(filesystem: &dyn Filesystem, node: &Node) -> String {
    match node.kind {
        NodeKind::Symlink => filesystem.link_target(node.id).map_or_else(
            |error| format!(" -> ({error})"),
            |target| format!(" -> {}", printable_bytes(&target)),
        ),
        _ => String::new(),
    }
}
