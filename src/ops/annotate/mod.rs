//! Annotate: the note and the tags of an image. None of its bytes is written for them, so an image in use may get
//! them as any other.

mod missing;
mod one;
mod request;
mod several;

pub use request::Annotate;
pub use several::AnnotateSeveral;
