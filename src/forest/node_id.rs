//! What names a node.

/// A node of one [`super::Forest`]; stays valid while that forest grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);
