//! Images shown as folders and files (FUSE), for reading only: each layer of a forest and each internal snapshot as a
//! disk, and the files of the guest on it.
//!
//! ```text
//! MOUNT/web.qcow2/disk.raw            what the guest's disk holds, with its holes
//! MOUNT/web.qcow2/p1/                 the files on its first partition
//! MOUNT/web.qcow2/p2.txt              why the second one is not shown
//! MOUNT/web.qcow2/snapshots/NAME/     the same for an internal snapshot
//! MOUNT/web.qcow2/IN-USE.txt          who writes it meanwhile
//! MOUNT/web.qcow2/ERROR.txt           why it cannot be shown
//! ```
//!
//! Nothing is written, and no lock is taken. A guest's devices, FIFOs and sockets are shown as empty files: who reads
//! them all by turns must not hang or read devices of this machine.
//!
//! | file | what it knows |
//! |---|---|
//! | `images` | which images of a forest are shown, and where |
//! | `tree` | the folders of images, and what a name can stand for; pure |
//! | `inodes` | which inode number stands for what; pure |
//! | `view`, `views` | an image or a snapshot opened; those of a mount, opened when looked at, closed when not |
//! | `contents` | attributes, names and bytes of each place |
//! | `serve` | the kernel's protocol |
//! | `session` | mounted and unmounted |

mod contents;
mod images;
mod inodes;
mod serve;
mod session;
mod tree;
mod view;
mod views;

pub use contents::{Attributes, Contents, Failure, Fill, Kind, Listed, OpenFile, Owner};
pub use images::{images_below, one_image};
pub use serve::Report;
pub use session::{MountError, Mounted, Unmounted, lies_apart, mount};
pub use tree::{Place, Tree, ViewId};
pub use view::View;
pub use views::{ShownImage, Views};
