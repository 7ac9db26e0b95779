//! qcow2 images opened, mapped, read, checked, written, repaired and converted, alone and in chains, without QEMU.
//!
//! This is the core of `qanopy`. It changes an image only in an order of writes after which a crash at any moment
//! leaves every guest byte old or new, and its answers are those of `qemu-img` wherever that has one.
//!
//! | module | what lives there |
//! |---|---|
//! | [`image`] | an image or a chain: [`ImageFile`], [`Chain`], [`Target`], [`check()`], [`create()`], [`convert()`], [`Repair`] |
//! | [`qcow2`] | the format itself, pure: bytes to structures and back |
//! | [`host`] | files, locks, holes and reflinks behind two traits, [`Host`] and [`HostFile`] |
//!
//! ```
//! use qanopy_core::{Chain, CreateOptions, NoProgress, RealHost, Verdict, check, create};
//! use qanopy_core::{Access, ImageFile};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("new.qcow2");
//! create(&RealHost, &path, &CreateOptions::new(1 << 30), &NoProgress)?;
//!
//! let chain = Chain::open(&RealHost, &path, None, &|_| true)?;
//! assert_eq!(chain.virtual_size(), 1 << 30);
//! for run in chain.map(0, chain.virtual_size()) {
//!     let run = run?;
//!     println!("{:#x} {:#x} {}", run.start, run.len, run.state.name());
//! }
//!
//! let file = ImageFile::open(&RealHost, &path, Access::Read)?;
//! assert_eq!(check(&file, &NoProgress)?.verdict(), Verdict::Clean);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Three programs below `examples/` go further: `map` (who decides each byte of a chain), `commit` (an overlay into
//! its base) and `repair` (check an image and repair it).
//!
//! # Units
//!
//! Offsets and lengths are bytes in a `u64`, unless a name says clusters, sectors or entries. A *guest* offset counts
//! from the start of the disk that the guest sees, a *host* offset from the start of a file. Virtual sizes are
//! multiples of 512. Cluster sizes are powers of two from 512 bytes to 2 MiB.
//!
//! # Errors
//!
//! Every error is an [`Error`]: the file, and an [`ErrorKind`] to match on, with the field and the offset where there
//! is one. [`ErrorKind::kind_name`] is a name that stays whatever becomes of the sentence. Whatever an image says is
//! bounded before memory is taken for it; nothing panics on one. [`ErrorKind::Internal`] is a fault of this crate:
//! what was not written by then is not written.
//!
//! # What the caller decides
//!
//! - **Locks.** Nothing here takes QEMU's image locks by itself: [`HostFile::lock`] does, and the guard has to live as
//!   long as the work.
//! - **Dependants.** Writing a base changes what every overlay on it shows. Who that is, this crate does not know;
//!   [`preserve_views`] keeps a known one as it is.
//! - **Files.** A header can name any file. Before one is followed, [`Chain::open`] asks the caller.
//! - **Stopping.** Long work tells a [`ProgressSink`] of every piece and stops where that says so, at a point that
//!   leaves the image whole.
//!
//! # Features
//!
//! | feature | what it brings |
//! |---|---|
//! | `luks` (on) | content encrypted with LUKS is read and written; without it such an image is refused by name |
//! | `serde` | `Serialize` and `Deserialize` for options and for what is told of an image |

pub mod host;
pub mod image;
pub mod qcow2;

pub use host::{Access, Host, HostFile, Lock, LockSet, RealHost};
pub use image::{
    Chain, Check, CreateOptions, Error, ErrorKind, Extent, Finding, Format, ImageFile, ImageInfo,
    Keys, Layer, MapRun, MapState, NoProgress, Passphrase, Passphrases, ProgressSink, Repair,
    RepairExtent, Result, Root, State, Target, Verdict, Writer, check, compare, convert, create,
    header_info, measure, preserve_views, probe,
};
