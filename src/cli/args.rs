//! What can be typed: the definitions of every command, its arguments and its help. What a command
//! does lives in the command's own file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::image::{Preallocation, SparseSize};
use crate::ops::{Dependants, Direction, EncryptionOption, NewSize, Reflink, Siblings};
use crate::tui::svg::Screen;
use crate::units;

use super::{new_image, screenshot};

const AFTER_HELP: &str = "\
Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 problems found (check, \
tree --check, config check, map), a difference (compare) or something unread (convert --salvage), \
4 refused, 130 cancelled.

Without a command qanopy opens its screen on the directories; where standard output is no terminal, or \
TERM is dumb, it prints the tree instead. A directory that bears a command's name is written ./tree.";

/// See the forest of qcow2 images on a machine; branch, commit, discard and prune it safely.
///
/// Every command that changes something makes a plan first. --dry-run prints the plan and changes
/// nothing, --yes skips the question, --json gives the plan or the outcome as JSON.
#[derive(Debug, Parser)]
#[command(
    name = "qanopy",
    version,
    after_help = AFTER_HELP,
    override_usage = "qanopy [OPTIONS] [DIR]...\n       qanopy COMMAND ...",
    max_term_width = 100
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) globals: Globals,
    #[command(flatten)]
    pub(super) open: OpenArgs,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What every command understands.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Globals {
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) json: bool,
    /// Change nothing: whatever would is refused (--dry-run still works)
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) read_only: bool,
    /// Draw with ASCII characters only
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) ascii: bool,
}

/// Where to look.
#[derive(Debug, Clone, Args)]
pub(super) struct OpenArgs {
    /// Directories to search, and images [default: the current directory]
    #[arg(value_name = "DIR")]
    pub(super) dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) look: LookArgs,
}

/// How to look.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct LookArgs {
    /// Also open backing files that lie outside the directories
    #[arg(long)]
    pub(super) follow: bool,
    /// Also list files called like a disk image (.img, .raw, .dd, .iso) on which nothing is built
    #[arg(long)]
    pub(super) raw: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the forest: who is built on whom
    Tree(TreeArgs),
    /// Print what the header of an image says
    Info(InfoArgs),
    /// Look for what is wrong with the tables of images, and repair it
    Check(CheckArgs),
    /// Print which layer of a chain holds what, and where
    Map(MapArgs),
    /// Compare what two images show
    Compare(CompareArgs),
    /// Tell how large a copy of an image, or an empty image, would be
    Measure(MeasureArgs),
    /// Create an empty qcow2 or raw image
    Create(CreateArgs),
    /// Create an overlay on an image
    Branch(BranchArgs),
    /// Copy what an image shows into a new image of another kind
    Convert(ConvertArgs),
    /// Merge an overlay down into the image it is built on
    Commit(CommitArgs),
    /// Record anew what an image is built on, or in which format
    Relink(RelinkArgs),
    /// Make the disk of an image longer or shorter
    Resize(ResizeArgs),
    /// Build an image on another one; what it shows stays
    Rebase(RebaseArgs),
    /// Take one layer out of its chain; every other image shows what it showed
    Squash(SquashArgs),
    /// Take the layers below an image out of its chain; what it shows stays
    Flatten(FlattenArgs),
    /// Make an image of another version, refcount width or feature
    Amend(AmendArgs),
    /// List, add, change or erase the key slots of an image that is encrypted with LUKS
    #[command(subcommand)]
    Keyslot(KeySlotCommand),
    /// List, add, remove, clear, enable, disable or merge the dirty bitmaps of an image
    #[command(subcommand)]
    Bitmap(BitmapCommand),
    /// List, take, apply, delete or copy out the internal snapshots of an image
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Give images another name or place; whatever refers to them follows
    #[command(visible_alias = "rename")]
    Move(MoveArgs),
    /// Copy an image, file for file; the copy is built on the same base
    Clone(CloneArgs),
    /// Copy an image and all it is built on into a folder that stands alone
    Export(ExportArgs),
    /// Copy what an exported folder holds to where it is to live
    Import(ImportArgs),
    /// Take back what was done last, or an entry of the log
    Undo(UndoArgs),
    /// Do again what was taken back last, or an entry of the log that was taken back
    Redo(UndoArgs),
    /// Finish an operation that was interrupted, or take back what was done of it
    Recover(RecoverArgs),
    /// List what was done, oldest first
    Log(LogArgs),
    /// Move images and everything built on them to the trash
    Discard(DiscardArgs),
    /// Propose leaves that nothing uses, oldest first, and discard those you choose
    Prune(PruneArgs),
    /// List, restore or empty the trash
    #[command(subcommand)]
    Trash(TrashCommand),
    /// List or forget the images that are remembered from earlier runs
    #[command(subcommand)]
    Index(IndexCommand),
    /// Make sample forests of real images and open them
    Demo(DemoArgs),
    /// Show the configuration: what holds, where it is, whether its lines mean something
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Print the table of keys as Markdown, as README.md shows it
    #[command(hide = true)]
    Keys,
    /// Print a picture of the screen as SVG, as README.md shows it
    #[command(hide = true)]
    Screenshot(ScreenshotArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("picture").multiple(false))]
pub(super) struct TreeArgs {
    #[command(flatten)]
    pub(super) open: OpenArgs,
    /// Draw boxes joined by arrows that point from an overlay to what it is built on
    #[arg(long, group = "picture")]
    pub(super) boxes: bool,
    /// Print a graph for Graphviz
    #[arg(long, group = "picture")]
    pub(super) dot: bool,
    /// Print a graph for Mermaid
    #[arg(long, group = "picture")]
    pub(super) mermaid: bool,
    /// Look through every image's tables as well; end with exit code 3 if any image has a problem
    #[arg(long)]
    pub(super) check: bool,
}

#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// The image
    pub(super) image: PathBuf,
    /// Also every image it is built on, down to the root
    #[arg(long)]
    pub(super) chain: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The images; of what they are built on only headers are read, and it need not be there
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    /// Repair what is found, after a plan; the tables replaced are kept in the trash
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) repair: Option<RepairArg>,
    /// Take a repair back: put the tables that it replaced in place again
    #[arg(long, value_name = "ENTRY", conflicts_with = "repair")]
    pub(super) put_back: Option<String>,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// How much is repaired.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RepairArg {
    /// Free clusters that nothing refers to, in images that have nothing worse
    Leaks,
    /// Repair everything that can be repaired without guessing
    All,
}

/// How far a command that reads an image with all it is built on may go.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct FollowArgs {
    /// Also open what images name outside the folders of those given here
    #[arg(long)]
    pub(super) follow: bool,
}

#[derive(Debug, Args)]
pub(super) struct MapArgs {
    /// The image
    pub(super) image: PathBuf,
    /// The image's format [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// Begin at this guest offset
    #[arg(long, short = 's', value_name = "OFFSET", value_parser = units::parse_size, default_value = "0")]
    pub(super) start_offset: u64,
    /// Go on for this many bytes [default: to the end]
    #[arg(long, short = 'l', value_name = "LENGTH", value_parser = units::parse_size)]
    pub(super) max_length: Option<u64>,
    #[command(flatten)]
    pub(super) snapshot: ViewArgs,
    #[command(flatten)]
    pub(super) follow: FollowArgs,
}

/// Which internal snapshot is read.
#[derive(Debug, Clone, Args)]
pub(super) struct ViewArgs {
    /// Read what this internal snapshot shows, not what the image shows now
    #[arg(long, value_name = "NAME")]
    pub(super) snapshot: Option<OsString>,
    /// NAME is the snapshot's ID, as `snapshot list` shows it
    #[arg(long, requires = "snapshot")]
    pub(super) id: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("snapshots").multiple(true))]
pub(super) struct CompareArgs {
    /// One image
    pub(super) one: PathBuf,
    /// The other
    pub(super) other: PathBuf,
    /// The format of the first [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// The format of the other [default: by its content]
    #[arg(long, short = 'F', value_name = "FORMAT")]
    pub(super) other_format: Option<String>,
    /// Read what this internal snapshot of the first shows
    #[arg(long, value_name = "NAME", group = "snapshots")]
    pub(super) snapshot: Option<OsString>,
    /// Read what this internal snapshot of the other shows
    #[arg(long, value_name = "NAME", group = "snapshots")]
    pub(super) other_snapshot: Option<OsString>,
    /// NAME is the snapshot's ID, as `snapshot list` shows it
    #[arg(long, requires = "snapshots")]
    pub(super) id: bool,
    /// Images of different sizes differ, also where the longer one goes on with zeros
    #[arg(long, short = 's')]
    pub(super) strict: bool,
    /// Print every differing range, not only the first few (--json always does)
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) follow: FollowArgs,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
}

/// Formats a copy can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TargetArg {
    /// QEMU's copy-on-write format
    Qcow2,
    /// Bytes as the guest sees them
    Raw,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("measured").required(true).multiple(false))]
pub(super) struct MeasureArgs {
    /// The image that is to be copied
    #[arg(group = "measured")]
    pub(super) image: Option<PathBuf>,
    /// Virtual size of an image that is to be empty
    #[arg(long, value_parser = units::parse_size, group = "measured")]
    pub(super) size: Option<u64>,
    /// The image's format [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT", requires = "image")]
    pub(super) format: Option<String>,
    /// The new image's format
    #[arg(long, short = 'O', value_enum, default_value_t = TargetArg::Qcow2)]
    pub(super) target: TargetArg,
    #[command(flatten)]
    pub(super) image_options: ImageArgs,
    /// Count the header of an encrypted image, which is in this format
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        help_heading = "The new image"
    )]
    pub(super) encrypt: Option<EncryptArg>,
    #[command(flatten)]
    pub(super) snapshot: ViewArgs,
    #[command(flatten)]
    pub(super) follow: FollowArgs,
}

/// How a command that changes something is allowed to.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct ConsentArgs {
    /// Print the plan and change nothing
    #[arg(long, short = 'n')]
    pub(super) dry_run: bool,
    /// Skip the question
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
    /// Agree to a plan that asks for a number, by that number
    #[arg(long, value_name = "N")]
    pub(super) confirm: Option<u64>,
    /// Read all images around before and after, and prove that those it is not about show the same
    #[arg(long)]
    pub(super) verify: bool,
}

/// Where else to search for images that are built on the ones named, and what they are built on may be read.
#[derive(Debug, Clone, Args)]
pub(super) struct ScanArgs {
    /// Also search this directory for images that are built on the ones named, and read what they are built on there
    #[arg(long, value_name = "DIR")]
    pub(super) scan: Vec<PathBuf>,
}

/// How a new qcow2 image is made. The names and defaults are qemu-img's.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The new image")]
pub(super) struct ImageArgs {
    /// Bytes a cluster, a power of two from 512 to 2M
    #[arg(long, value_name = "SIZE", value_parser = new_image::cluster_bits, default_value = "64K")]
    pub(super) cluster_size: u32,
    /// Version of the format: 1.1, or 0.10 for QEMU before 1.1
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = CompatArg::New)]
    pub(super) compat: CompatArg,
    /// Divide clusters into 32 subclusters, which are allocated one by one
    #[arg(long)]
    pub(super) extended_l2: bool,
    /// Width of a reference count, a power of two from 1 to 64
    #[arg(long, value_name = "BITS", value_parser = new_image::refcount_order, default_value = "16")]
    pub(super) refcount_bits: u32,
    /// Let reference counts be written late: faster, with a repair after a crash
    #[arg(long)]
    pub(super) lazy_refcounts: bool,
    /// Algorithm of compressed clusters
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CompressionArg::Zlib)]
    pub(super) compression_type: CompressionArg,
    /// What is reserved for clusters that hold nothing yet
    #[arg(long, value_enum, value_name = "MODE", default_value_t = PreallocationArg::Off)]
    pub(super) preallocation: PreallocationArg,
    /// Keep the guest's data in this file of its own; an existing one is never overwritten
    #[arg(long, value_name = "FILE")]
    pub(super) data_file: Option<PathBuf>,
    /// Let the data file be a raw image of the disk at every time
    #[arg(long, requires = "data_file")]
    pub(super) data_file_raw: bool,
    /// Record the data file's name as seen from the image; QEMU takes it from the directory it is started in
    #[arg(long, requires = "data_file")]
    pub(super) data_file_relative: bool,
}

/// How a new image is encrypted.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The new image")]
pub(super) struct EncryptArgs {
    /// Encrypt the content (aes-256, xts, plain64, sha256)
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(super) encrypt: Option<EncryptArg>,
    /// Milliseconds of this processor that trying one passphrase is to cost
    #[arg(long, value_name = "MS", default_value_t = EncryptionOption::default().iter_time_ms, requires = "encrypt",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(super) iter_time: u32,
}

/// Formats of encryption, by qemu-img's names.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum EncryptArg {
    /// LUKS version 1
    Luks,
}

/// Version of the format, by qemu-img's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CompatArg {
    /// Version 2
    #[value(name = "0.10")]
    Old,
    /// Version 3
    #[value(name = "1.1")]
    New,
}

/// Algorithm of compressed clusters.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CompressionArg {
    /// Deflate, which every QEMU reads
    Zlib,
    /// Zstandard, which QEMU reads since 5.1
    Zstd,
}

/// What of a new image is reserved in advance.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PreallocationArg {
    /// Nothing
    Off,
    /// A place in the file for each cluster
    Metadata,
    /// Also blocks of the filesystem
    Falloc,
    /// Also zeros written into them
    Full,
}

impl From<PreallocationArg> for Preallocation {
    fn from(arg: PreallocationArg) -> Self {
        match arg {
            PreallocationArg::Off => Self::Off,
            PreallocationArg::Metadata => Self::Metadata,
            PreallocationArg::Falloc => Self::Falloc,
            PreallocationArg::Full => Self::Full,
        }
    }
}

/// What opens encrypted images.
#[derive(Debug, Clone, Args)]
pub(super) struct PassphraseArgs {
    /// File with the passphrase of the LUKS-encrypted images, the new one as well, `-` for standard input;
    /// IMAGE=FILE for that image only. May be given several times [default: ask, at a terminal]
    #[arg(long, value_name = "[IMAGE=]FILE")]
    pub(super) passphrase_file: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The file to create; an existing one is never overwritten
    pub(super) new: PathBuf,
    /// Virtual size: a number of bytes, or with K, M, G, T, P or E (powers of 1024) [default: the
    /// backing file's]
    #[arg(value_parser = units::parse_size, required_unless_present = "backing")]
    pub(super) size: Option<u64>,
    /// What it is to be; of the options below only --preallocation goes with raw
    #[arg(long, short = 'f', value_enum, default_value_t = FormatArg::Qcow2)]
    pub(super) format: FormatArg,
    /// Build it on this image, as `qanopy branch` does
    #[arg(long, value_name = "BASE")]
    pub(super) backing: Option<PathBuf>,
    /// BASE is not there yet: record it as it is said to be, with a size and --backing-format; asks for a number
    #[arg(long, requires_all = ["backing", "size", "backing_format"])]
    pub(super) unchecked: bool,
    /// The format BASE is going to have
    #[arg(long, short = 'F', value_name = "FORMAT", requires = "unchecked")]
    pub(super) backing_format: Option<String>,
    /// Record the backing file by its absolute path, not as seen from the new image
    #[arg(long, requires = "backing")]
    pub(super) absolute: bool,
    #[command(flatten)]
    pub(super) image: ImageArgs,
    #[command(flatten)]
    pub(super) encryption: EncryptArgs,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct BranchArgs {
    /// The image to build on: qcow2 or raw, leaf or frozen
    pub(super) base: PathBuf,
    /// The overlay to create; an existing file is never overwritten
    pub(super) new: PathBuf,
    /// Virtual size of the overlay; of a longer base it shows the beginning [default: the base's]
    #[arg(long, value_parser = units::parse_size)]
    pub(super) size: Option<u64>,
    /// Record the backing file by its absolute path, not as seen from the overlay
    #[arg(long)]
    pub(super) absolute: bool,
    #[command(flatten)]
    pub(super) image: ImageArgs,
    #[command(flatten)]
    pub(super) encryption: EncryptArgs,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// What an image is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// A qcow2 image
    Qcow2,
    /// A raw image
    Raw,
}

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// The images to copy: their whole chains are read; several become one disk, one after the other
    #[arg(required = true, value_name = "SRC")]
    pub(super) sources: Vec<PathBuf>,
    /// The file to create; an existing one is overwritten only with --into-existing
    #[arg(value_name = "DST")]
    pub(super) new: PathBuf,
    /// DST is an image that is there, and keeps its place and its options: its content is overwritten for good,
    /// which asks for a number
    #[arg(long, conflicts_with_all = ["to", "compress", "bitmaps", "backing", "encrypt"])]
    pub(super) into_existing: bool,
    /// What the new image is to be
    #[arg(long, value_enum, default_value_t = FormatArg::Qcow2)]
    pub(super) to: FormatArg,
    /// Take the sources for this [default: what they are by their looks]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(super) source_format: Option<FormatArg>,
    /// Compress every cluster that becomes smaller by it
    #[arg(long, short = 'c')]
    pub(super) compress: bool,
    /// How hard: 1 to 9 for zlib, 1 to 22 for zstd [default: as qemu-img]
    #[arg(long, value_name = "N", requires = "compress")]
    pub(super) compression_level: Option<u8>,
    /// Take what can be read: what cannot becomes zeros and is listed, and the command ends with 3
    #[arg(long)]
    pub(super) salvage: bool,
    /// From how many zeros in a row on nothing is stored for them, a multiple of 512 up to 16M; 0 stores everything
    #[arg(long, short = 'S', value_name = "SIZE", value_parser = new_image::sparse_size, default_value = "4K")]
    pub(super) sparse_size: SparseSize,
    #[command(flatten)]
    pub(super) snapshot: ViewArgs,
    /// Take the dirty bitmaps of the source along; one that is marked as in use is refused
    #[arg(long, conflicts_with = "snapshot")]
    pub(super) bitmaps: bool,
    /// Leave bitmaps that are marked as in use behind, and take the others
    #[arg(long, requires = "bitmaps")]
    pub(super) skip_broken_bitmaps: bool,
    /// Build the new image on this one, which the source must be built on, and copy what is above it
    #[arg(long, value_name = "BASE")]
    pub(super) backing: Option<PathBuf>,
    /// Record the backing file by its absolute path, not as seen from the new image
    #[arg(long, requires = "backing")]
    pub(super) absolute: bool,
    #[command(flatten)]
    pub(super) image: ImageArgs,
    #[command(flatten)]
    pub(super) encryption: EncryptArgs,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// What becomes of other images on the base that is committed into.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum SiblingsArg {
    /// Refuse if there are any
    Refuse,
    /// First copy into each of them exactly what it would lose
    Preserve,
    /// Let them change; their number has to be given with --confirm
    Break,
}

impl From<SiblingsArg> for Siblings {
    fn from(arg: SiblingsArg) -> Self {
        match arg {
            SiblingsArg::Refuse => Self::Refuse,
            SiblingsArg::Preserve => Self::Preserve,
            SiblingsArg::Break => Self::Break,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CommitArgs {
    /// The overlay to merge down
    pub(super) overlay: PathBuf,
    /// The image of its chain that receives it and all layers between [default: the one it is built on]
    #[arg(long, value_name = "ANCESTOR")]
    pub(super) into: Option<PathBuf>,
    /// Keep the overlay, emptied, instead of moving it to the trash
    #[arg(long)]
    pub(super) keep: bool,
    /// What becomes of other images that are built on the same base
    #[arg(long, value_enum, default_value_t = SiblingsArg::Refuse)]
    pub(super) siblings: SiblingsArg,
    /// First create this overlay, which keeps what the base shows now: with it the commit can be undone
    #[arg(long, value_name = "NEW")]
    pub(super) keep_old: Option<PathBuf>,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct RelinkArgs {
    /// The overlay; only its header changes
    pub(super) image: PathBuf,
    /// The image it is built on, or `none` for nothing (./none for a file of that name) [default: the one
    /// its header names]
    #[arg(long, value_name = "BASE")]
    pub(super) to: Option<PathBuf>,
    /// That image's format [default: found out where a guess cannot hurt]
    #[arg(long)]
    pub(super) format: Option<String>,
    /// Record the name as seen from the overlay
    #[arg(long, conflicts_with = "absolute")]
    pub(super) relative: bool,
    /// Record the name by its absolute path
    #[arg(long)]
    pub(super) absolute: bool,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).multiple(false))]
pub(super) struct RebaseArgs {
    /// The image; it receives what its new base shows otherwise
    pub(super) image: PathBuf,
    /// The image it is built on then: any but itself and those built on it
    #[arg(long, value_name = "BASE", group = "where")]
    pub(super) to: Option<PathBuf>,
    /// Build it on nothing: the same as flatten --in-place
    #[arg(long, group = "where", conflicts_with_all = ["format", "relative", "absolute", "dedupe", "compress"])]
    pub(super) flatten: bool,
    /// The new base's format [default: as it was recognised]
    #[arg(long)]
    pub(super) format: Option<String>,
    /// Record the name as seen from the image
    #[arg(long, conflicts_with = "absolute")]
    pub(super) relative: bool,
    /// Record the name by its absolute path
    #[arg(long)]
    pub(super) absolute: bool,
    /// Afterwards give up what the new base shows as well
    #[arg(long)]
    pub(super) dedupe: bool,
    /// Compress whole clusters that it receives, where that makes them smaller
    #[arg(long, short = 'c')]
    pub(super) compress: bool,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// Where the content of a squashed layer goes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum DirectionArg {
    /// Into what it is built on; others there receive what they would lose
    Down,
    /// Into each image that is built on it
    Up,
}

impl From<DirectionArg> for Direction {
    fn from(arg: DirectionArg) -> Self {
        match arg {
            DirectionArg::Down => Self::Down,
            DirectionArg::Up => Self::Up,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct SquashArgs {
    /// The layer; it goes to the trash
    pub(super) layer: PathBuf,
    /// Where its content goes [default: whichever copies less]
    #[arg(long, value_enum)]
    pub(super) direction: Option<DirectionArg>,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(false),
    override_usage = "qanopy flatten [OPTIONS] <IMAGE> <NEW|--in-place>"
)]
pub(super) struct FlattenArgs {
    /// The image; it receives what the layers below it hold
    pub(super) image: PathBuf,
    /// The file to create in its stead; an existing one is never overwritten
    #[arg(group = "what")]
    pub(super) new: Option<PathBuf>,
    /// Change the image itself
    #[arg(long, group = "what")]
    pub(super) in_place: bool,
    /// Stop at this image of its chain, and be built on it [default: be built on nothing]
    #[arg(long, value_name = "ANCESTOR")]
    pub(super) onto: Option<PathBuf>,
    /// Compress every cluster of the new file that becomes smaller by it
    #[arg(long, short = 'c', requires = "new")]
    pub(super) compress: bool,
    /// By which algorithm
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CompressionArg::Zlib, requires = "compress")]
    pub(super) compression_type: CompressionArg,
    /// How hard: 1 to 9 for zlib, 1 to 22 for zstd [default: as qemu-img]
    #[arg(long, value_name = "N", requires = "compress")]
    pub(super) compression_level: Option<u8>,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// The images, then their new name or a directory to hold them
    #[arg(value_name = "IMAGE", num_args = 2.., required = true)]
    pub(super) paths: Vec<PathBuf>,
    /// Everything built on them moves along
    #[arg(long)]
    pub(super) subtree: bool,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// Whether blocks are shared.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ReflinkArg {
    /// Where the filesystem can
    Auto,
    /// Always: nothing is created where the filesystem cannot
    Always,
    /// Never: every byte is written
    Never,
}

impl From<ReflinkArg> for Reflink {
    fn from(arg: ReflinkArg) -> Self {
        match arg {
            ReflinkArg::Auto => Self::Auto,
            ReflinkArg::Always => Self::Always,
            ReflinkArg::Never => Self::Never,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CloneArgs {
    /// The image
    pub(super) image: PathBuf,
    /// The file to create; with --chain the directory that receives the copies
    pub(super) new: PathBuf,
    /// Copy all it is built on along: the copy is built on copies
    #[arg(long, conflicts_with = "linked")]
    pub(super) chain: bool,
    /// Copy nothing: a new overlay on the image, as `qanopy branch` makes it
    #[arg(long, conflicts_with = "reflink")]
    pub(super) linked: bool,
    /// Whether the copy shares the blocks of the original until either is written
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ReflinkArg::Auto)]
    pub(super) reflink: ReflinkArg,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The image
    pub(super) image: PathBuf,
    /// The folder to create
    pub(super) dir: PathBuf,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The exported folder
    pub(super) dir: PathBuf,
    /// The folder that receives the images
    pub(super) to: PathBuf,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct UndoArgs {
    /// The entry's number, as `log` shows it [default: the newest]
    pub(super) entry: Option<u64>,
    /// Without a number: the newest that was done in this directory or below it; may be repeated
    #[arg(long, value_name = "DIR", conflicts_with = "entry")]
    pub(super) dir: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("way").multiple(false))]
pub(super) struct RecoverArgs {
    /// The entry's number [default: list what was interrupted]
    pub(super) entry: Option<u64>,
    /// Do it to the end
    #[arg(long, group = "way", requires = "entry")]
    pub(super) finish: bool,
    /// Take back what was done of it
    #[arg(long, group = "way", requires = "entry")]
    pub(super) roll_back: bool,
    /// Leave everything as it is, and ask no more
    #[arg(long, group = "way", requires = "entry")]
    pub(super) forget: bool,
    /// Remove what was half made by processes that have ended
    #[arg(long, group = "way", conflicts_with = "entry")]
    pub(super) leftovers: bool,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// At most so many of the newest entries
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(super) last: usize,
}

#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    /// The images; what is built on them goes with them
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    pub(super) open: OpenArgs,
    /// Propose only images unchanged for this long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = units::parse_age, default_value = "30d")]
    pub(super) older_than: std::time::Duration,
    /// Take everything proposed, without asking which to keep
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// Where trashes are looked for.
#[derive(Debug, Clone, Args)]
pub(super) struct TrashDirs {
    /// Also look in the trash of the filesystem this directory is on
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TrashCommand {
    /// List what is in the trash
    List {
        #[command(flatten)]
        dirs: TrashDirs,
    },
    /// Bring images back to where they were
    #[command(group = ArgGroup::new("what").required(true).multiple(false))]
    Restore {
        /// Entries, by the names that `trash list` shows
        #[arg(value_name = "NAME", group = "what")]
        entries: Vec<String>,
        /// Everything in the trash
        #[arg(long, group = "what")]
        all: bool,
        #[command(flatten)]
        dirs: TrashDirs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Delete what is in the trash, for good
    Empty {
        /// Only these entries, by the names that `trash list` shows [default: all]
        #[arg(value_name = "NAME")]
        entries: Vec<String>,
        #[command(flatten)]
        dirs: TrashDirs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum IndexCommand {
    /// List the images that are remembered, each with what it is built on
    List {
        /// Only those built on these images [default: all]
        #[arg(value_name = "BASE")]
        bases: Vec<PathBuf>,
    },
    /// Forget images: they are met again by the next run that looks where they are
    #[command(group = ArgGroup::new("what").required(true).multiple(true))]
    Forget {
        /// These images, and those below these folders
        #[arg(value_name = "PATH", group = "what")]
        paths: Vec<PathBuf>,
        /// Those that are not there any more
        #[arg(long, group = "what", conflicts_with = "all")]
        gone: bool,
        /// All of them
        #[arg(long, group = "what", conflicts_with = "paths")]
        all: bool,
        /// Only say which
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
}

/// Which internal snapshot of which image.
#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    /// The image
    pub(super) image: PathBuf,
    /// The snapshot's name
    #[arg(value_name = "NAME")]
    pub(super) snapshot: OsString,
    /// NAME is the snapshot's ID, as `snapshot list` shows it
    #[arg(long)]
    pub(super) id: bool,
}

/// What becomes of images that are built on one whose content changes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum DependantsArg {
    /// Refuse if there are any
    Refuse,
    /// Let them change; their number has to be given with --confirm
    Break,
}

impl From<DependantsArg> for Dependants {
    fn from(arg: DependantsArg) -> Self {
        match arg {
            DependantsArg::Refuse => Self::Refuse,
            DependantsArg::Break => Self::Break,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ResizeArgs {
    /// The image, qcow2 or raw
    pub(super) image: PathBuf,
    /// Its virtual size: 20G, or by how much it grows (+5G) or shrinks (-5G)
    #[arg(allow_hyphen_values = true)]
    pub(super) size: NewSize,
    /// Let it become shorter; what lies past the new end is lost
    #[arg(long)]
    pub(super) shrink: bool,
    /// What becomes of the space behind the old end
    #[arg(long, value_enum, value_name = "HOW", default_value_t = PreallocationArg::Off)]
    pub(super) preallocation: PreallocationArg,
    /// What becomes of images that read what is cut off
    #[arg(long, value_enum, default_value_t = DependantsArg::Refuse)]
    pub(super) dependants: DependantsArg,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// On or off.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Switch {
    /// On
    On,
    /// Off
    Off,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct AmendArgs {
    /// The image; what its guest sees stays
    pub(super) image: PathBuf,
    /// Version of the format: 1.1, or 0.10 for QEMU before 1.1
    #[arg(long, value_enum, value_name = "VERSION", group = "change")]
    pub(super) compat: Option<CompatArg>,
    /// Let reference counts be written late, or not
    #[arg(long, value_enum, value_name = "SWITCH", group = "change")]
    pub(super) lazy_refcounts: Option<Switch>,
    /// Width of a reference count, a power of two from 1 to 64
    #[arg(long, value_name = "BITS", value_parser = new_image::refcount_order, group = "change")]
    pub(super) refcount_bits: Option<u32>,
    /// Algorithm of compressed clusters; only where nothing is compressed
    #[arg(long, value_enum, value_name = "TYPE", group = "change")]
    pub(super) compression_type: Option<CompressionArg>,
    /// The external data file, recorded with its whole path; the image must have one
    #[arg(long, value_name = "FILE", group = "change")]
    pub(super) data_file: Option<OsString>,
    /// Record the data file's name as it is given; QEMU takes it from the directory it is started in
    #[arg(long, requires = "data_file")]
    pub(super) data_file_relative: bool,
    /// Whether the data file is promised to be a raw image of the disk; can only be taken back
    #[arg(long, value_enum, value_name = "SWITCH", group = "change")]
    pub(super) data_file_raw: Option<Switch>,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

/// The passphrase that a key slot is to open to.
#[derive(Debug, Args)]
pub(super) struct NewPassphraseArgs {
    /// The file that holds the new passphrase, - for standard input; asked for at the terminal otherwise
    #[arg(long, value_name = "FILE")]
    pub(super) new_passphrase_file: Option<OsString>,
    /// How long trying one passphrase is to take, in milliseconds of this processor
    #[arg(long, value_name = "MS", default_value_t = EncryptionOption::default().iter_time_ms,
        value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(super) iter_time: u32,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeySlotCommand {
    /// List the key slots of an image
    List {
        /// The image
        image: PathBuf,
    },
    /// Have another passphrase open an image as well
    Add {
        /// The image
        image: PathBuf,
        /// The key slot, 0 to 7; the first that is not active otherwise
        #[arg(long, value_name = "N")]
        slot: Option<usize>,
        #[command(flatten)]
        new: NewPassphraseArgs,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have another passphrase open an image instead of the one given
    Change {
        /// The image
        image: PathBuf,
        /// The key slot that is erased, 0 to 7; the one that the passphrase given opens otherwise
        #[arg(long, value_name = "N")]
        slot: Option<usize>,
        #[command(flatten)]
        new: NewPassphraseArgs,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have a passphrase open an image no longer; one of another slot has to be given
    Erase {
        /// The image
        image: PathBuf,
        /// The key slot, 0 to 7
        #[arg(long, value_name = "N")]
        slot: usize,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

/// Which dirty bitmap of which image.
#[derive(Debug, Args)]
pub(super) struct BitmapArgs {
    /// The image
    pub(super) image: PathBuf,
    /// The bitmap's name
    #[arg(value_name = "NAME")]
    pub(super) bitmap: OsString,
}

#[derive(Debug, Subcommand)]
pub(super) enum BitmapCommand {
    /// List the dirty bitmaps of an image, and how much each calls dirty
    List {
        /// The image
        image: PathBuf,
    },
    /// Add a bitmap in which nothing is dirty
    Add {
        #[command(flatten)]
        which: BitmapArgs,
        /// Bytes of the disk per bit, a power of two from 512 to 2G [default: the cluster size, 4K to 64K]
        #[arg(long, short = 'g', value_name = "SIZE", value_parser = units::parse_size)]
        granularity: Option<u64>,
        /// Let it record nothing until it is enabled
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Remove a bitmap, be it stale or not
    Remove {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Call nothing dirty in a bitmap
    Clear {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have a bitmap record what is written from then on
    Enable {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have a bitmap record nothing from then on
    Disable {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Call dirty in a bitmap also what another one calls dirty
    Merge {
        #[command(flatten)]
        which: BitmapArgs,
        /// The other one's name
        source: OsString,
        /// The image the other one is in [default: the same]
        #[arg(long, short = 'b', value_name = "IMAGE")]
        source_file: Option<PathBuf>,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

/// What a snapshot is copied out as.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ExtractArg {
    /// A qcow2 image that is built on nothing
    Qcow2,
    /// A raw image
    Raw,
    /// A qcow2 image that is built on what the image itself is built on
    Overlay,
}

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// List the internal snapshots of an image
    List {
        /// The image
        image: PathBuf,
    },
    /// Keep what the image shows now as a new snapshot
    Create {
        /// The image
        image: PathBuf,
        /// The new snapshot's name
        name: OsString,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Show again what a snapshot shows, in place of what the image holds now
    Apply {
        #[command(flatten)]
        which: SnapshotArgs,
        /// What becomes of images that are built on this one
        #[arg(long, value_enum, default_value_t = DependantsArg::Refuse)]
        dependants: DependantsArg,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Delete a snapshot; what the image shows stays
    Delete {
        #[command(flatten)]
        which: SnapshotArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Copy what a snapshot shows into a new image
    Extract {
        #[command(flatten)]
        which: SnapshotArgs,
        /// The file to create; an existing one is never overwritten
        new: PathBuf,
        /// What the new image is to be
        #[arg(long = "as", value_enum, default_value_t = ExtractArg::Qcow2)]
        form: ExtractArg,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the whole configuration as it holds, as a file to start from
    Print,
    /// Print where the file is looked for
    Path,
    /// Tell every line of the file that does not hold; ends with 3 if there is one
    Check,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where to make them; must not exist or be empty [default: a new temporary directory]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ScreenshotArgs {
    /// What to show [default: the demo's forests, in a directory that is removed again]
    pub(super) dir: Option<PathBuf>,
    /// What is open: tree, diagram, help, commit, discard, health, map or job
    #[arg(long, value_parser = screenshot::view, default_value = "tree")]
    pub(super) view: Screen,
    /// The image the cursor is on, by its file name
    #[arg(long, value_name = "NAME")]
    pub(super) at: Option<String>,
    /// Columns of the screen
    #[arg(long, default_value_t = 120)]
    pub(super) width: u16,
    /// Rows of the screen
    #[arg(long, default_value_t = 30)]
    pub(super) height: u16,
}
