//! Disks whose definition says another format than their bytes look like.

use crate::image::Format;
use crate::machines::{Disk, Machine, Part};

use super::{Forest, Node};

/// Where a definition and the bytes of a disk say two things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatMismatch {
    /// The format by the definition.
    pub said: Format,
    /// What it looks like.
    pub seen: Format,
}

impl FormatMismatch {
    /// What differs of a disk whose image this is; none where nothing does, and where either says nothing.
    #[must_use]
    pub fn of(machine: &Machine, disk: &Disk, image: &Node) -> Option<Self> {
        let said = Format::from_name(machine.format_of(disk)?);
        let seen = image.format()?;
        // What is a disk in a format of its own, as the guest's own encryption, is raw to the machine all the same.
        let is_content = said == Format::Raw && matches!(seen, Format::Other(_));
        (said != seen && !is_content).then_some(Self { said, seen })
    }
}

impl Forest {
    /// The machine that opens an image as another format than it looks like, and what differs.
    #[must_use]
    pub fn format_mismatch(&self, image: &Node) -> Option<(&Machine, FormatMismatch)> {
        self.uses(image).into_iter().find_map(|used| {
            let Part::Disk(disk) = used.part else {
                return None;
            };
            let mismatch = FormatMismatch::of(used.machine, disk, image)?;
            Some((used.machine, mismatch))
        })
    }
}
