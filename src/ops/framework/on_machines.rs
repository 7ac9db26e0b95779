//! What is made of an operation that harms machines. What harm is, is found out in `machines`.

/// What is made of a plan that harms a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::ops) enum OnMachines {
    /// It is refused.
    #[default]
    Refuse,
    /// It is done for the number of the files.
    Count,
    /// It is done: what was interrupted has to come to an end.
    Warn,
}
