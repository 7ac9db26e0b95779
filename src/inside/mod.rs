//! What faces ask about the files inside images: an opened disk, which file is meant, which files differ between two
//! images, how one file differs, where a file changed along a chain. What a filesystem is made of is read by [`crate::guest`]; only reads.

mod compare;
mod contents;
mod file_diff;
mod history;
mod place;
mod search;
mod summary;
mod until;
mod view;
mod words;

pub use compare::{Older, Sides, compare, compare_changed};
pub use contents::{Contents, VolumeContents, contents};
pub use file_diff::{ContentDiff, FileDiff, LineKind, file_diff};
pub use history::{Event, States, Step};
pub use place::{Place, PlaceError};
pub use search::{Hit, Pattern, search};
pub use summary::{NEW, Summary, SummaryFile, summary, summary_of_all};
pub use until::Until;
pub use view::View;
pub use words::{extracted, is_text, mode_text, name_outside, uses};
