//! The only floor that makes system calls: files, directories, locks, clones, holes, who holds what.
//!
//! Everything above sees a host through two small traits, [`Host`] and [`HostFile`], so that a test
//! can record, cut short, reorder or fail every call; [`RealHost`] and what it opens are the Linux
//! behind them. Nothing here knows what an image is, except for the bytes QEMU locks in one.
//!
//! | file | concept |
//! |---|---|
//! | `machine` | the trait [`Host`]: names and directories |
//! | `file` | the trait [`HostFile`]: the bytes of one open file |
//! | `device` | what sysfs tells of a block device: its length, which logical volume it is |
//! | `lock` | what to lock and what came of it |
//! | `real`, `real_file` | the two traits on Linux |
//! | `renamed` | a file under another name, where renaming cannot leave alone what is there |
//! | `ofd` | open-file-description locks, byte by byte |
//! | `write_out` | what is written begins its way to the device |
//! | `reflink` | FICLONERANGE, which needs `unsafe` |
//! | `fiemap` | FS_IOC_FIEMAP, which needs `unsafe` |
//! | `holders` | which process has a file open |
//! | `closed` | which processes do not show what they have open |
//! | `own` | which files this process has locked, and for what |
//! | `attributes` | owner, mode and extended attributes of a file |
//! | `access_list`, `permissions` | who may do what with a file, as values |
//! | `confined` | a process that may look at one folder only |
//! | `user` | a user, and what the permissions of a file let them do |
//! | `process` | which process this is, and whether it still runs |
//! | `io_text` | what a failed call says, in words |
//! | `printable` | names made safe for a terminal and for a shell |

mod access_list;
mod attributes;
mod closed;
mod confined;
mod device;
mod fiemap;
mod file;
mod holder;
mod holders;
mod interface;
mod io_text;
mod lock;
mod ofd;
mod own;
mod permissions;
mod printable;
mod process;
mod real;
mod real_file;
mod reflink;
mod renamed;
mod stat;
mod user;
mod write_out;

pub use access_list::{AccessList, NotAnAccessList, right_letters};
pub use attributes::{
    AttributesKept, attribute, copy_attributes, limit_readers, selinux_type, set_attributes,
    set_mode,
};
pub use closed::ClosedProcess;
pub use confined::{confine_to, confined_to};
pub use device::{Volume, volume_of};
pub use file::{Access, Cloned, HostFile, Segment};
pub use holder::Holder;
pub use holders::{during_one_scan, holders, holders_of, machine_in, option_parts};
pub use interface::{Host, Space};
pub use io_text::io_text;
pub use lock::{Conflict, Lock, LockGuard, LockProbe, LockSet, LocksSeen};
pub use own::{OwnWork, own_work, working_as};
pub use permissions::{Gains, Permissions, PermissionsFound};
pub use printable::{misleads, printable, printable_bytes, printable_lines, shell_quoted};
pub use process::{Maker, effective_user, is_running, keep_out_of_dumps, this_process};
pub use real::RealHost;
pub use stat::{FileId, FileKind, Stat};
pub use user::{Permission, User};
pub use write_out::WriteOut;
