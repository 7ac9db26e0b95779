//! What is wrong in a forest: everything that is known to hurt, each with why it matters, how sure it is, and what
//! helps. One file a finding; what helps is a plan like any other, and nothing here changes a file. What can be wrong
//! with one image as far as a scan sees is a [`crate::forest::Problem`], and is taken from there.
//!
//! | file | concept |
//! |---|---|
//! | `finding` | a finding, and how sure it is |
//! | `finder` | what looks for findings of one name, and what it looks at |
//! | `examine` | the register of them, and the look itself |
//! | `problems` | the problems that the scan sees: why each matters |
//! | `tables` | what the tables of each image say of it |
//! | `treat` | the plans of what helps |
//! | the others | a finding each |

mod cluster_size;
mod cut_off_base;
mod deep_chain;
mod examine;
mod far_names;
mod finder;
mod finding;
mod format_differs;
mod half_made;
mod label_differs;
mod machine_disk_gone;
mod moved_folder;
mod name_leads_astray;
mod not_permitted;
mod odd_size;
mod old_trash;
mod old_version;
mod orphan;
mod pinned;
mod pinned_otherwise;
mod problems;
mod same_content;
mod stale_bitmap;
mod stale_note;
mod tables;
mod treat;
mod unfinished;
mod unread_notes;
mod writable_base;

pub use examine::{examine, examine_further, further, names};
pub use finding::{Finding, Sure};
pub use tables::look_through;
pub use treat::{treat, treat_safely};
