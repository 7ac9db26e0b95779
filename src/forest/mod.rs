//! What exists: files found by a scan, as nodes of a graph whose arrows point from each overlay to
//! the image it is built on. Nothing here changes a file, and nothing here decides what may be done.

mod absolute_names;
mod annotation;
mod broken_below;
mod changed_base;
mod checked;
mod edge;
mod edges;
pub mod far;
mod fingerprints;
mod folder_notes;
mod format_mismatch;
mod graph;
mod growth;
mod index;
mod inherited;
mod insert;
mod insides;
mod machines;
mod names;
mod node;
mod node_id;
mod overlay_name;
mod pins;
mod problem;
mod problem_text;
mod readers;
mod refresh;
mod remember;
pub mod render;
mod scan;
mod shared_id;
mod sharing;
mod state_file;
mod table;
mod trash_folder;
mod written;

pub use crate::image::TRASH_FOLDER;
pub use annotation::{Annotation, GOLDEN, KEEP, MOST_TAGS, attributes_of, read_tag, read_text};
pub use broken_below::BrokenBelow;
pub use changed_base::ChangedBase;
pub use edge::{Edge, Reads};
pub use fingerprints::{Fingerprints, sampled};
pub use folder_notes::{FolderNotes, NOTES_FILE, NotesReader, annotation_of};
pub use format_mismatch::FormatMismatch;
pub use graph::Forest;
pub use index::{Index, Remembered};
pub use insert::Namesakes;
pub use insides::{
    ChainIdentities, ChainIdentity, Found, Inside, InsideFilesystem, InsideSystem, Insides,
    KnownInsides, is_settled,
};
pub use machines::machine_words;
pub use node::{Backing, BackingState, Content, Flags, Location, Node, Recorded, ScannedFile};
pub use node_id::NodeId;
pub use overlay_name::overlay_name;
pub use pins::PinMismatch;
pub use problem::{Problem, ProblemKind};
pub use readers::Reader;
pub use refresh::{changed_since, news, refreshed};
pub use remember::{changed_bases, remember};
pub use scan::{
    RAW_EXTENSIONS, Scan, ScanEvent, ScanOptions, ScanSummary, follow, look_at, scan_all,
};
pub use shared_id::SharedId;
pub use sharing::Sharing;
