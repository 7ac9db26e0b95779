//! Which images cannot be opened for a layer below them. How that is found out is in `inherited`.

use std::collections::{HashMap, HashSet};

use super::NodeId;

/// The nearest layer below an image that keeps it from being opened, by QEMU or by libvirt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenBelow {
    /// The layer.
    pub layer: NodeId,
    /// How many layers below: 1 for what the image itself is built on.
    pub distance: u32,
}

/// The layers that break what is built on them, and who is broken by them.
#[derive(Debug, Clone, Default)]
pub(super) struct Inherited {
    pub(super) layers: HashSet<NodeId>,
    pub(super) broken: HashMap<NodeId, BrokenBelow>,
}
