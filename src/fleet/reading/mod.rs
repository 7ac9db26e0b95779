//! Files of a host read from here, byte by byte: whatever reads an image here reads one there by the same code, and
//! believes its bytes no more than those of any image. Nothing is written, and no file of this machine is opened.
//!
//! | file | what lives there |
//! |---|---|
//! | `message` | what is asked and answered |
//! | `server` | the side that has the files |
//! | `session` | the way there: one process on the host, started when somebody asks, ended when nobody does |
//! | `host`, `file` | the side that reads: a [`Host`](crate::host::Host) whose files are those of the other machine |
//! | `blocks` | bytes that were read a moment ago |

mod blocks;
mod file;
mod host;
mod message;
mod server;
mod session;

pub use host::FarHost;
pub use server::serve_files;
pub use session::Opener;
