//! The format core at work: an image or a chain is opened, mapped, read, allocated in, written.
//!
//! Knows nothing of terminals, JSON, progress bars or users; finds no images (that is
//! [`crate::forest`]) and decides nothing about what is safe to do with them (that is
//! [`crate::ops`]).

mod amend;
mod backing;
mod batch;
mod bitmaps;
mod chain;
mod check;
mod compare;
mod convert;
mod create;
mod cut_short;
mod entries;
mod error;
mod extent;
mod facts;
mod format;
mod freed;
mod header_file;
mod holes;
mod internal;
mod joined;
mod keep;
mod l2_tables;
mod luks;
mod map;
mod measure;
mod new_counts;
mod new_raw;
mod pace;
mod packed;
mod probe;
mod qcow2_layer;
mod raw;
mod refcounts;
mod repair;
mod room;
mod runs;
mod shrink;
mod sight;
mod snapshots;
mod staged;
mod tables;
mod tail;
mod target;
mod transaction;
mod transfer;
mod trashed;
mod tree;
mod writer;

pub use crate::qcow2::bitmap::{Bitmap, BitmapFlags};
pub use crate::qcow2::limits::{MAX_CLUSTER_BITS, MAX_REFCOUNT_ORDER, MIN_CLUSTER_BITS};
pub use crate::qcow2::luks::STRIPES;
pub use crate::qcow2::{CompressionType, LuksHeader, Snapshot, Version};
pub use amend::{Amend, Amendment};
pub use backing::{
    BackingName, BackingTarget, Mention, Unresolvable, beside, is_described, unresolvable,
};
pub use bitmaps::{BitmapChange, CarriedBitmaps, Dirty, NewBitmap, bitmaps, dirty, dirty_bits};
pub use chain::{Chain, Layer, MAX_DEPTH, Resolved, data_file_path};
pub use check::{Check, Finding, FindingKind, Severity, Verdict, check, require_sound};
pub use compare::{Comparison, DifferingRange, compare};
pub use convert::{
    CompressionLevel, ConvertFrom, ConvertTo, Forecast, Lost, SparseSize, convert, convert_into,
};
pub use create::{
    CreateOptions, NewDataFile, NewLen, Preallocation, Qcow2Options, create, new_len,
};
pub use cut_short::cut_short;
pub use error::{Error, ErrorKind, Result, in_use};
pub use extent::{Extent, Placed, State};
pub use facts::{BackingRef, Compression, Encryption, ImageFacts};
pub use format::Format;
pub use freed::freed_if_emptied;
pub use header_file::{may_relink, may_rename_backing, relink, rename_backing, unlink};
pub use keep::{
    Below, Change, Judge, Loss, Stores, Views, give_up_equal, give_up_growth, keep_views,
    new_overlay, sight_loss, snapshot_views, view_loss,
};
pub use luks::{KeySlots, Keys, NewEncryption, OpenedSlot, Passphrase, Passphrases, luks_header};
pub use map::{MapRun, MapState};
pub use measure::{Measure, MeasureAs, bytes_of_bitmaps, measure};
pub use new_raw::create_raw;
pub use pace::{Pace, Unhurried};
pub use probe::{Probe, built_on, facts, named_like_qcow2, probe};
pub use qcow2_layer::{DataFile, Qcow2, closed, read_header};
pub use raw::Raw;
pub use repair::{Repair, RepairExtent, Saved, Suspect};
pub use room::{Growth, Room, end_offset, used_bytes};
pub use shrink::{Shrink, may_resize, resize_raw, set_virtual_size};
pub use sight::{Compared, Difference, Place, Sight};
pub(crate) use snapshots::made_like;
pub use snapshots::{
    NewSnapshot, SnapshotChange, SnapshotForm, extract_snapshot, snapshot_view, snapshots,
};
pub use staged::{maker_of, temporary_name};
pub use tables::TableMap;
pub use target::{RawWriter, Target};
pub use trashed::{TRASH_FOLDER, entry_of, foreign_trash, is_trashed, taken_from, where_it_is};
pub use writer::{Root, Source, Writer, may_compress, may_grow, writable};
