//! The format core at work: an image or a chain is opened, mapped, read, allocated in, written.
//!
//! Knows nothing of terminals, JSON, progress bars or users; finds no images, and decides nothing about what is
//! safe to do with them.
//!
//! Four floors, each of which uses those above it in this table and never one below:
//!
//! | floor | what is there |
//! |---|---|
//! | `read` | images and chains opened, their tables and bytes read; nothing is written |
//! | `check` | whether an image's tables agree with each other |
//! | `write` | clusters, counts, tables and headers written in an order that a crash cannot hurt; new images |
//! | `change` | whole images changed, repaired, copied and compared |

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod change;
mod check;
mod error;
mod image_file;
mod internal;
mod progress;
mod read;
mod write;

pub use crate::qcow2::bitmap::{Bitmap, BitmapFlags};
pub use crate::qcow2::limits::{MAX_CLUSTER_BITS, MAX_REFCOUNT_ORDER, MIN_CLUSTER_BITS};
pub use crate::qcow2::luks::STRIPES;
pub use crate::qcow2::{CompressionType, LuksHeader, Snapshot, Version};
pub use change::amend::{Amend, Amendment};
pub use change::bitmaps::{BitmapChange, NewBitmap};
pub use change::compare::{Comparison, DifferingRange, compare};
pub use change::compressible::{Compressible, compressible};
pub use change::convert::{
    CompressionLevel, ConvertFrom, ConvertTo, Forecast, Lost, SparseSize, convert, convert_into,
};
pub use change::discard::{Discarded, discard, discarded};
pub use change::measure::{Measure, MeasureAs, bytes_of_bitmaps, measure};
pub use change::places::differing_places;
pub use change::preserve::{
    BackingChange, BackingSwitch, CompareBy, EqualBelow, Loss, Stores, Views, backing_loss, dedupe,
    dedupe_growth, equal_below, new_overlay, preserve_views, snapshot_views, view_loss,
};
pub use change::repair::{LostTable, Repair, RepairExtent, Suspect, UndoFile};
pub use change::shrink::{Shrink, may_resize, resize_raw, set_virtual_size};
pub use change::snapshots::made_like;
pub use change::snapshots::{
    NewSnapshot, SnapshotChange, SnapshotForm, extract_snapshot, snapshot_view,
};
pub use change::unused::{frees_leaks, give_back_unused, unused};
pub use check::{Check, Finding, FindingKind, Severity, Verdict, check, require_sound};
pub use error::{Error, ErrorKind, Result, in_use};
pub use image_file::ImageFile;
pub use progress::{NoProgress, ProgressSink};
pub use read::backing::{
    BackingName, BackingTarget, Mention, Unresolvable, beside, is_described, unresolvable,
};
pub use read::backing_view::{BackingDiff, BackingView, Compared, ViewRun};
pub use read::bitmaps::{Dirty, bitmaps, dirty, dirty_bits};
pub use read::chain::{Chain, Layer, MAX_DEPTH, Resolved, data_file_path};
pub use read::cut_short::cut_short;
pub use read::extent::{Extent, Placed, State};
pub use read::format::Format;
pub use read::info::{BackingRef, Compression, Encryption, ImageInfo, Unopenable};
pub use read::luks::{Keys, Passphrase, Passphrases, luks_header};
#[cfg(feature = "luks")]
pub use read::luks::{SectorCipher, merged, pbkdf2};
pub use read::map::{MapRun, MapState};
pub use read::metadata_overlap::MetadataOverlap;
pub use read::probe::{Probe, built_on, header_info, named_like_qcow2, probe, recognised};
pub use read::qcow2_layer::{Qcow2, closed, read_header};
pub use read::raw::Raw;
pub use read::snapshots::snapshots;
pub use read::trashed::{
    TRASH_FOLDER, entry_of, foreign_trash, is_trashed, taken_from, where_it_is,
};
pub use write::allocation_estimate::{AllocationEstimate, Growth, end_offset, used_bytes};
pub use write::carried_bitmaps::CarriedBitmaps;
pub use write::create::{NewLen, create, new_len};
pub use write::disk_writer::{RawWriter, Target};
pub use write::freed::{freed_if_emptied, on_disk};
pub use write::header_file::{
    may_relink, may_rename_backing, record_backing, relink, rename_backing, unlink,
};
pub use write::luks::NewEncryption;
#[cfg(feature = "luks")]
pub use write::luks::{KeySlots, OpenedSlot};
pub use write::new_raw::create_raw;
pub use write::options::{CreateOptions, NewDataFile, Preallocation, Qcow2Options};
pub use write::temp_file::{is_temporary_of, maker_of, temporary_name};
pub use write::writer::{Root, Source, Writer, may_compress, may_grow, writable};
