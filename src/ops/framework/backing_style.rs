//! How an overlay names its backing file.

use serde::{Deserialize, Serialize};

/// How an overlay names its backing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BackingStyle {
    /// From the overlay's own directory: the pair can be moved together.
    #[default]
    Relative,
    /// From the root of the file tree.
    Absolute,
}
