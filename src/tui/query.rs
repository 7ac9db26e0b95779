//! Questions to the disk and their answers, as the messages and the dialogs that asked both know them.

use crate::image::Measure;

/// Numbers a question, so that an answer to an older one is recognised and dropped.
pub(crate) type QueryId = u64;

/// The number of the question that is asked before all others, which are counted from 1.
pub(super) const AT_START: QueryId = 0;
/// That of a question only for the signs on the rows.
pub(super) const FOR_THE_ROWS: QueryId = QueryId::MAX;

/// How large copies of one image would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// As a qcow2 image.
    pub qcow2: Measure,
    /// As a qcow2 image that is encrypted with LUKS.
    pub luks: Measure,
    /// As a raw image.
    pub raw: Measure,
    /// Of each image of its chain that is being written meanwhile, a sentence that says so.
    pub live: Vec<String>,
}

/// How the name of a file can go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completions {
    /// What all of the names begin with; the whole name where there is but one.
    pub common: String,
    /// How many names there are.
    pub count: usize,
    /// The first of them in order, folders with a slash behind them; no more than help anybody.
    pub names: Vec<String>,
}
