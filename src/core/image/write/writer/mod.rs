//! Changing the content of a qcow2 image: guest bytes and zeros are written, clusters allocated,
//! tables updated in flushed transactions. What is written where is the caller's decision; whether it
//! may be written at all, too. Each guest byte is written at most once between opening and the end.
//!
//! Order of a transaction ([`Writer::flush`]): data, new tables and raised reference counts; flush;
//! the switches that make new tables reachable (header, refcount table); flush; L2 entries in place
//! and L1 entries; flush; only then reference counts are lowered. A crash between any two writes
//! leaves every guest byte old or new and leaks clusters at worst. What a snapshot's view and the active
//! view share stays counted for both until the latter has a copy of its own: `own`.
//!
//! | file | what is in it |
//! |---|---|
//! | `state` | the image under change, as the other files see it |
//! | `source`, `packing` | where bytes come from, what they are compressed with |
//! | `data`, `compressed`, `encrypted` | writing guest bytes |
//! | `zeros`, `unallocate`, `discard`, `size` | writing zeros, letting the image below show through, giving up what nobody needs, growing and emptying |
//! | `flush`, `own` | what goes to disk when |

mod compressed;
mod data;
mod discard;
mod encrypted;
mod flush;
mod own;
mod packing;
mod size;
mod source;
mod state;
mod unallocate;
mod zeros;

pub(crate) use discard::{add, has_place, whole_clusters};
pub use packing::may_compress;
pub use size::may_grow;
pub(crate) use size::provide_zeros;
pub use source::Source;
pub use state::{Root, Writer, writable};
