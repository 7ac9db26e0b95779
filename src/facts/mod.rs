//! What a host tells beside its images: which machines use them, what is wrong with them, what takes the space, what is
//! in the trash, which leaves nothing uses, what was interrupted. It is found there, travels line by line as a scan does, and every line is checked here. What helps is a
//! request that names files as they are called here; asking for it leads back to the host.
//!
//! | file | what lives there |
//! |---|---|
//! | `fact` | what is told |
//! | `machine` | machines: what travels of them, and what is believed of it |
//! | `plan` | what a plan would do |
//! | `sent` | what travels |
//! | `taken` | what is believed of it |

mod fact;
mod machine;
mod plan;
mod sent;
mod taken;

pub use fact::{Fact, Halted, SpareLeaf, TrashEntry};
pub use plan::PlanFacts;
pub use sent::{END, line};
pub use taken::Intake;
