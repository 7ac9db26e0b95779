//! Copying an image, with all that it is built on, to where its files cannot be read: another machine. One side gives
//! out what its files hold, the other asks for what it lacks, makes the files and proves that they hold the same. How
//! both come together is the business of whoever calls; what is asked and answered is [`ChainSource`].
//!
//! Files are compared and sent by their *pieces*: 64 KiB, counted from the beginning of the file. Pieces of zeros are
//! told of and never sent. The digest of a file is that of the digests of its pieces, in order ([`RootHasher`]).

mod header;
mod known;
mod partial;
mod pieces;
mod receive;
mod send;
mod source;
#[cfg(test)]
mod tests;
mod work;

pub use pieces::{Digest, Span};
pub use receive::Receive;
pub use send::Sending;
pub use source::{ChainSource, Described, PieceSink, Source, Told};
