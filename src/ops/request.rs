//! What a person can ask for. The names are the faces' names as well.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image::{Amendment, Compression, CompressionLevel, Format, Preallocation, Qcow2Options};
use crate::units;

use super::{ConvertForm, KeySlotAction};

/// One wish, complete: planning it needs nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A new overlay `new` on `base`.
    Branch(Branch),
    /// A new overlay `new` on `base`, which is not there yet.
    BranchUnchecked(Box<BranchUnchecked>),
    /// A new image without a backing file.
    Create(Create),
    /// A new raw image.
    CreateRaw(CreateRaw),
    /// What an image shows, as a new image of another kind.
    Convert(Box<super::Convert>),
    /// Merge `overlay`, and all that is between, down into an image it is built on.
    Commit(Commit),
    /// Change what an image's header says about its backing file, and nothing else.
    Relink(Relink),
    /// Make an image one that is built on nothing, by its header alone: it receives nothing.
    Unlink(Unlink),
    /// Make the disk of an image longer or shorter.
    Resize(Resize),
    /// Build an image on another one, and keep what it shows: it receives what would show otherwise.
    Rebase(Rebase),
    /// Take one layer out of its chain; every other image shows what it showed.
    Squash(Squash),
    /// Take the layers between an image and one it is built on out of its chain: it receives what they
    /// hold.
    Flatten(Flatten),
    /// Give images another name or place; whatever refers to them follows.
    Move(MoveImages),
    /// Make an image of another version, refcount width or feature.
    Amend(AmendImage),
    /// Have other passphrases open an image that is encrypted with LUKS.
    KeySlot(ChangeKeySlot),
    /// Do something with a dirty bitmap of an image.
    Bitmap(ChangeBitmap),
    /// Copy an image, file for file; the copy is built on the same base.
    Clone(CloneImage),
    /// Copy an image and all it is built on into a new folder that stands alone.
    Export(Export),
    /// Copy what an exported folder holds to where it is to live.
    Import(Import),
    /// Do something with the internal snapshots of an image.
    Snapshot(ChangeSnapshot),
    /// Bring the tables of an image back in line with each other, or take that back.
    Repair(RepairImage),
    /// Move these images and everything built on them to the trash.
    Discard(Discard),
    /// Take back a commit that kept what its base showed: the layers come back, what was built on them is
    /// built on them again, and the base receives its old content.
    Uncommit(Uncommit),
    /// Bring entries back from the trash.
    Restore(Restore),
    /// Take back an operation of the journal.
    Undo(UndoEntry),
    /// Do again an operation of the journal that was taken back.
    Redo(RedoEntry),
    /// Bring an interrupted operation of the journal to an end.
    Recover(RecoverEntry),
    /// Unlink what was half made by processes that have ended.
    RemoveLeftovers(RemoveLeftovers),
    /// Unlink entries of the trash for good.
    EmptyTrash(EmptyTrash),
}

impl Request {
    /// To move these images and everything built on them to the trash.
    #[must_use]
    pub fn discard(images: Vec<PathBuf>) -> Self {
        Self::Discard(Discard {
            images,
            spare: Vec::new(),
        })
    }

    /// The one new image it makes, if it makes one.
    #[must_use]
    pub fn creates(&self) -> Option<&Path> {
        match self {
            Self::Branch(Branch { new, .. })
            | Self::Snapshot(ChangeSnapshot {
                action: SnapshotAction::Extract { new, .. },
                ..
            }) => Some(new),
            Self::Flatten(Flatten { new, .. }) => new.as_deref(),
            Self::Create(options) => Some(&options.path),
            Self::BranchUnchecked(options) => Some(&options.new),
            Self::CreateRaw(CreateRaw { new, .. }) => Some(new),
            Self::Clone(CloneImage {
                new, chain: false, ..
            }) => Some(new),
            Self::Convert(options) if options.form != ConvertForm::Existing => Some(&options.new),
            _ => None,
        }
    }

    /// The word for doing it, as it stands on the button that says yes.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Branch(_) | Self::BranchUnchecked(_) | Self::Create(_) | Self::CreateRaw(_) => {
                "Create"
            }
            Self::Convert(_) => "Convert",
            Self::Commit(_) => "Commit",
            Self::Discard(_) => "Discard",
            Self::Restore(_) => "Restore",
            Self::RemoveLeftovers(_) => "Remove",
            Self::EmptyTrash(_) => "Delete for good",
            Self::Relink(_) | Self::Unlink(_) => "Relink",
            Self::Move(_) => "Move",
            Self::Clone(_) => "Clone",
            Self::Export(_) => "Export",
            Self::Import(_) => "Import",
            Self::Undo(_) => "Undo",
            Self::Uncommit(_) => "Take back",
            Self::Redo(_) => "Redo",
            Self::Recover(RecoverEntry {
                way: Recovery::Forget,
                ..
            }) => "Forget",
            Self::Recover(RecoverEntry {
                way: Recovery::Finish,
                ..
            }) => "Finish",
            Self::Recover(RecoverEntry {
                way: Recovery::RollBack,
                ..
            }) => "Roll back",
            Self::Repair(RepairImage { action, .. }) => match action {
                RepairAction::Leaks | RepairAction::All => "Repair",
                RepairAction::PutBack { .. } => "Put back",
            },
            Self::Resize(_) => "Resize",
            Self::Rebase(_) => "Rebase",
            Self::Flatten(_) => "Flatten",
            Self::Amend(_) => "Amend",
            Self::KeySlot(ChangeKeySlot { action, .. }) => match action {
                KeySlotAction::Add { .. } => "Add",
                KeySlotAction::Change { .. } => "Change",
                KeySlotAction::Erase { .. } => "Erase",
            },
            Self::Bitmap(ChangeBitmap { action, .. }) => match action {
                BitmapAction::Add { .. } => "Add",
                BitmapAction::Remove => "Remove",
                BitmapAction::Clear => "Clear",
                BitmapAction::Enable => "Enable",
                BitmapAction::Disable => "Disable",
                BitmapAction::Merge { .. } => "Merge",
            },
            Self::Squash(_) => "Squash",
            Self::Snapshot(ChangeSnapshot { action, .. }) => match action {
                SnapshotAction::Create { .. } => "Take",
                SnapshotAction::Apply { .. } => "Apply",
                SnapshotAction::Delete { .. } => "Delete",
                SnapshotAction::Extract { .. } => "Copy out",
            },
        }
    }

    /// Whether it speaks of images, not of what the journal remembers.
    pub(super) fn is_plain(&self) -> bool {
        !matches!(self, Self::Undo(_) | Self::Redo(_) | Self::Recover(_))
    }

    /// Whether it only makes new files, which get their names when they are whole.
    pub(super) fn makes_files(&self) -> bool {
        self.only_adds() && !matches!(self, Self::Restore(_) | Self::Repair(_))
    }

    /// Whether it only adds files or changes nothing that can be read, so that no other image can be
    /// affected.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        if let Self::Convert(options) = self {
            return options.form != ConvertForm::Existing;
        }
        matches!(
            self,
            Self::Branch(_)
                | Self::BranchUnchecked(_)
                | Self::Create(_)
                | Self::CreateRaw(_)
                | Self::Clone(_)
                | Self::Export(_)
                | Self::Import(_)
                | Self::Restore(_)
                | Self::Repair(_)
                | Self::Flatten(Flatten { new: Some(_), .. })
                | Self::Snapshot(ChangeSnapshot {
                    action: SnapshotAction::Extract { .. },
                    ..
                })
        )
    }
}

/// A new overlay `new` on `base`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The image to build on: any node, qcow2 or raw, leaf or frozen.
    pub base: PathBuf,
    /// The file to create.
    pub new: PathBuf,
    /// Its virtual size in bytes; none for the base's.
    pub size: Option<u64>,
    /// How the backing name is recorded.
    pub style: BackingStyle,
    /// How it is made.
    pub image: ImageOptions,
}

/// A new raw image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRaw {
    /// The file to create.
    pub new: PathBuf,
    /// Its size in bytes; rounded up to a multiple of 512, as QEMU does.
    pub size: u64,
    /// What is reserved in advance: not metadata, which it has not.
    pub preallocation: Preallocation,
}

/// Merge `overlay`, and all that is between, down into an image it is built on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The uppermost layer to merge.
    pub overlay: PathBuf,
    /// The image that receives what the layers hold; none for the one the overlay is built on.
    pub into: Option<PathBuf>,
    /// What happens to the overlay afterwards; layers between go to the trash.
    pub layer: CommittedLayer,
    /// What happens to others that are built on the same base.
    pub siblings: Siblings,
    /// An overlay to create first, that keeps what the base shows now.
    pub keep_old: Option<PathBuf>,
}

/// Change what an image's header says about its backing file, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relink {
    /// The overlay whose header changes.
    pub image: PathBuf,
    /// The image it is built on; none for the one it names already.
    pub base: Option<PathBuf>,
    /// That image's format; none to find it out where that is safe.
    pub format: Option<Format>,
    /// How the name is recorded; none for as it was.
    pub style: Option<BackingStyle>,
}

/// Make an image one that is built on nothing, by its header alone: it receives nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlink {
    /// The overlay whose header changes.
    pub image: PathBuf,
}

/// Make the disk of an image longer or shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// The image, qcow2 or raw.
    pub image: PathBuf,
    /// Its new virtual size.
    pub size: NewSize,
    /// Whether it may become shorter: what lies past the new end is lost.
    pub shrink: bool,
    /// What becomes of the space behind the old end.
    pub preallocation: Preallocation,
    /// What becomes of images that read what is cut off.
    pub dependants: Dependants,
}

/// Build an image on another one, and keep what it shows: it receives what would show otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebase {
    /// The image, whose guest sees the same afterwards.
    pub image: PathBuf,
    /// What it is built on then: any image but itself and those built on it.
    pub to: PathBuf,
    /// That image's format; none for the one it was recognised by.
    pub format: Option<Format>,
    /// How the name is recorded; none for as it was.
    pub style: Option<BackingStyle>,
    /// Whether clusters are given up that the new base shows as well.
    pub dedupe: bool,
    /// Whether whole clusters that it receives are compressed.
    #[serde(default)]
    pub compress: bool,
}

/// Take one layer out of its chain; every other image shows what it showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Squash {
    /// The layer, which goes to the trash.
    pub layer: PathBuf,
    /// Where its content goes; none for whichever copies less.
    pub direction: Option<Direction>,
}

/// Take the layers between an image and one it is built on out of its chain: it receives what they
/// hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flatten {
    /// The image, whose guest sees the same afterwards.
    pub image: PathBuf,
    /// What it is built on then, one of the images it is built on now; none for nothing.
    pub onto: Option<PathBuf>,
    /// The file that is created to show the same; none to change the image itself.
    pub new: Option<PathBuf>,
    /// Whether the clusters of the new file are compressed, and how.
    #[serde(default)]
    pub compress: Option<Compress>,
}

/// Give images another name or place; whatever refers to them follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveImages {
    /// Which, and where to.
    pub moves: Vec<Relocation>,
    /// Whether everything built on them moves along.
    pub subtree: bool,
}

/// Make an image of another version, refcount width or feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmendImage {
    /// The image.
    pub image: PathBuf,
    /// What is to be another way.
    pub amendment: Amendment,
}

/// Have other passphrases open an image that is encrypted with LUKS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeKeySlot {
    /// The image.
    pub image: PathBuf,
    /// What becomes of its key slots.
    pub action: KeySlotAction,
}

/// Do something with a dirty bitmap of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeBitmap {
    /// The image it is in.
    pub image: PathBuf,
    /// Its name, 1 to 1023 bytes.
    pub bitmap: OsString,
    /// What to do.
    pub action: BitmapAction,
}

/// Copy an image, file for file; the copy is built on the same base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneImage {
    /// The image.
    pub image: PathBuf,
    /// The file to create; for a whole chain the directory that receives the files.
    pub new: PathBuf,
    /// Whether all it is built on is copied along, so that the copy is built on copies.
    #[serde(default)]
    pub chain: bool,
    /// Whether blocks are shared.
    #[serde(default)]
    pub reflink: Reflink,
}

/// Copy an image and all it is built on into a new folder that stands alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The image.
    pub image: PathBuf,
    /// The folder to create.
    pub dir: PathBuf,
}

/// Copy what an exported folder holds to where it is to live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The exported folder.
    pub dir: PathBuf,
    /// The folder that receives the images.
    pub to: PathBuf,
}

/// Do something with the internal snapshots of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSnapshot {
    /// The image they are in.
    pub image: PathBuf,
    /// What to do.
    pub action: SnapshotAction,
}

/// Bring the tables of an image back in line with each other, or take that back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairImage {
    /// The image.
    pub image: PathBuf,
    /// What to do.
    pub action: RepairAction,
}

/// Move these images and everything built on them to the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discard {
    /// The images named; what is built on them follows by itself.
    pub images: Vec<PathBuf>,
    /// What is built on them and stays where it is all the same, with all above it: a restore that is taken
    /// back leaves what stood without its base before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spare: Vec<PathBuf>,
}

/// Take back a commit that kept what its base showed: the layers come back, what was built on them is
/// built on them again, and the base receives its old content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncommit {
    /// The overlay that shows the old content.
    pub old: PathBuf,
    /// The layers, the uppermost first, by the places they had.
    pub layers: Vec<PathBuf>,
    /// The trash's entry that holds them.
    pub entry: String,
    /// What was built on them.
    pub children: Vec<Relinked>,
}

/// Bring entries back from the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The trash entries' names, as `trash list` shows them.
    pub entries: Vec<String>,
}

/// Take back an operation of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoEntry {
    /// Its number; none for the newest that can be taken back.
    pub entry: Option<u64>,
    /// Without a number: it concerns a file at or below one of these, or any where there are none.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
}

/// Do again an operation of the journal that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedoEntry {
    /// Its number; none for the one that was taken back last.
    pub entry: Option<u64>,
    /// As for [`Request::Undo`].
    #[serde(default)]
    pub folders: Vec<PathBuf>,
}

/// Bring an interrupted operation of the journal to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverEntry {
    /// Its number.
    pub entry: u64,
    /// Which end.
    pub way: Recovery,
}

/// Unlink what was half made by processes that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveLeftovers {
    /// The files, as [`super::leftovers`] finds them.
    pub files: Vec<PathBuf>,
}

/// Unlink entries of the trash for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyTrash {
    /// The trash entries' names; all of them are listed in the plan.
    pub entries: Vec<String>,
}

/// The size a disk is to have, in bytes; rounded up to a multiple of 512.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewSize {
    /// This size.
    To(u64),
    /// So much more than now.
    More(u64),
    /// So much less than now.
    Less(u64),
}

impl std::str::FromStr for NewSize {
    type Err = String;

    /// Reads `40G`, `+10G` or `-512M`: see [`units::parse_size`].
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (kind, number): (fn(u64) -> Self, &str) = match text.split_at_checked(1) {
            Some(("+", more)) => (Self::More, more),
            Some(("-", less)) => (Self::Less, less),
            _ => (Self::To, text),
        };
        units::parse_size(number)
            .map(kind)
            .map_err(|why| format!("{why}, +10G for so much more"))
    }
}

/// An image that was built on something else before, and what its header said then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relinked {
    /// The image.
    pub image: PathBuf,
    /// The name it recorded.
    pub recorded: OsString,
    /// The format it recorded, or that it was taken for.
    pub format: Format,
}

/// One image's way to another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// Its name now.
    pub from: PathBuf,
    /// The new name, or a directory that is to hold it under the name it has.
    pub to: PathBuf,
    /// How it names its own backing file afterwards; none for as it does now.
    pub style: Option<BackingStyle>,
}

/// What is done with a dirty bitmap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BitmapAction {
    /// Add it; nothing is dirty in it.
    Add {
        /// Guest bytes per bit; none for QEMU's choice.
        granularity: Option<u64>,
        /// Whether it records writes from then on.
        enabled: bool,
    },
    /// Remove it.
    Remove,
    /// Call nothing dirty in it.
    Clear,
    /// Have it record writes from then on.
    Enable,
    /// Have it record nothing from then on.
    Disable,
    /// Call dirty also what another one does.
    Merge {
        /// The other one's name.
        source: OsString,
        /// The image that one is in; none for the same.
        from: Option<PathBuf>,
    },
}

/// What is done with the internal snapshots of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotAction {
    /// Keep what the image shows now as a new snapshot.
    Create {
        /// Its name, 1 to 255 bytes.
        name: OsString,
    },
    /// Show again what a snapshot shows, in place of what the image holds now.
    Apply {
        /// Which one.
        snapshot: SnapshotName,
        /// What becomes of images that are built on this one.
        dependants: Dependants,
    },
    /// Forget a snapshot.
    Delete {
        /// Which one.
        snapshot: SnapshotName,
    },
    /// Copy what a snapshot shows into a new image.
    Extract {
        /// Which one.
        snapshot: SnapshotName,
        /// The file to create.
        new: PathBuf,
        /// What it is to be.
        form: ExtractAs,
    },
}

/// What is done about damage in an image's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairAction {
    /// Free leaked clusters, in an image that has nothing worse.
    Leaks,
    /// Repair everything that can be repaired without guessing.
    All,
    /// Put back the tables that a repair replaced, as long as nothing was written since.
    PutBack {
        /// The trash entry that keeps them, as the repair's outcome and `trash list` name it.
        entry: String,
    },
}

/// Which internal snapshot is meant. An image may hold any bytes as either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotName {
    /// The one of this name; refused if there are several.
    Name(OsString),
    /// The one with this ID.
    Id(OsString),
}

/// What becomes of images that are built on one whose content changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Dependants {
    /// Refuse if there are any.
    #[default]
    Refuse,
    /// Let them change; their number has to be typed.
    Break,
}

/// What a snapshot is copied out as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ExtractAs {
    /// A qcow2 image that is built on nothing.
    #[default]
    Qcow2,
    /// A raw image.
    Raw,
    /// A qcow2 image that is built on what the snapshot's image is built on.
    Overlay,
}

/// How an interrupted operation is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recovery {
    /// It is done to the end.
    Finish,
    /// What was done of it is taken back.
    RollBack,
    /// It stays half done, and is not told of again.
    Forget,
}

/// Whether a copy shares the blocks of the original until either is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reflink {
    /// Where the filesystem can.
    #[default]
    Auto,
    /// Always: it fails where the filesystem cannot.
    Always,
    /// Never: every byte is written.
    Never,
}

/// How the clusters of a new image are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compress {
    /// By which algorithm.
    pub kind: Compression,
    /// How hard.
    pub level: CompressionLevel,
}

/// Where the content of a squashed layer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Into what it is built on; others there are kept intact.
    Down,
    /// Into each image that is built on it.
    Up,
}

impl Direction {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Down => Self::Up,
            Self::Up => Self::Down,
        }
    }
}

/// How an overlay names its backing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BackingStyle {
    /// From the overlay's own directory: the pair can be moved together.
    #[default]
    Relative,
    /// From the root of the file tree.
    Absolute,
}

/// What becomes of a layer that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CommittedLayer {
    /// To the trash; its children are then built on the base.
    #[default]
    Trash,
    /// Kept, emptied, still built on the base.
    Keep,
}

/// What becomes of other images on the base that is committed into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Siblings {
    /// Refuse if there are any.
    #[default]
    Refuse,
    /// Copy into each of them first exactly what it would lose.
    Preserve,
    /// Let them change; their number has to be typed.
    Break,
}

/// A new image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The file to create.
    pub path: PathBuf,
    /// Virtual size in bytes; rounded up to a multiple of 512, as QEMU does.
    pub size: u64,
    /// How it is made.
    pub image: ImageOptions,
}

/// A new overlay on an image that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchUnchecked {
    /// Where the image to build on is going to be.
    pub base: PathBuf,
    /// Of which format it is going to be.
    pub format: Format,
    /// The file to create.
    pub new: PathBuf,
    /// Its virtual size in bytes.
    pub size: u64,
    /// How the backing name is recorded.
    pub style: BackingStyle,
    /// How it is made.
    pub image: ImageOptions,
}

/// How a new qcow2 image is made, whatever its size and content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageOptions {
    /// What its header says.
    pub format: Qcow2Options,
    /// A file of its own for the guest's data.
    pub data_file: Option<DataFileOption>,
    /// Its content is encrypted, with the passphrase that the context's keys have for it.
    pub encryption: Option<EncryptionOption>,
}

/// The LUKS encryption of a new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionOption {
    /// Milliseconds of this processor that trying one passphrase is to cost.
    pub iter_time_ms: u32,
}

impl Default for EncryptionOption {
    /// A second.
    fn default() -> Self {
        Self { iter_time_ms: 1000 }
    }
}

/// The external data file of a new image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFileOption {
    /// The file to create.
    pub path: PathBuf,
    /// It is to be a raw image of the disk at every time.
    pub raw: bool,
    /// How the header names it. QEMU takes a relative name from the directory it is started in, not from the
    /// image's.
    #[serde(default)]
    pub style: BackingStyle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_new_or_so_much_more_or_less() {
        let parse = str::parse::<NewSize>;
        assert_eq!(parse("40G"), Ok(NewSize::To(40 << 30)));
        assert_eq!(parse("1.5G"), Ok(NewSize::To(3 << 29)));
        assert_eq!(parse("+512MiB"), Ok(NewSize::More(512 << 20)));
        assert_eq!(parse("-1t"), Ok(NewSize::Less(1 << 40)));
        for bad in ["", "+", "ten", "+-1G", "é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
