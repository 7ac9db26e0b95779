//! The panes: what is always seen, each drawn by a file of its own. What keys do in them is `update::panes`'
//! business.
//!
//! | file | what |
//! |---|---|
//! | `tree`, `diagram` | the images, in one of two looks |
//! | `detail` | what is known of the selected image, in tabs |
//! | `machine` | machines in the first of these |
//! | `jobs` | the jobs |

pub(super) mod detail;
pub(super) mod diagram;
pub(super) mod jobs;
mod machine;
pub(super) mod tree;

pub(crate) use machine::machine_under_cursor;
