//! Other machines: one thread each, which holds the connection open from one question to the next. A host that hangs
//! holds up nobody but who asks it.

mod beside;
mod files;
mod line;
mod plan;
mod scan;

pub(super) use beside::BesideAsker;
pub(super) use files::{answers, number};
pub(super) use line::{HostLine, Kind, Question};
pub(super) use plan::{Change, change};
pub(super) use scan::ScanAsker;
