//! What a file that was cut short has lost: clusters that its tables place past its end, which read as zeros.

use crate::image::{Layer, Result, State};

/// Bytes of the guest's disk that one image places past the end of the file which holds its data. A last
/// cluster that is not written to its end has lost nothing.
///
/// # Errors
/// When the tables or the file's length cannot be read.
pub fn cut_short(layer: &Layer) -> Result<u64> {
    let Layer::Qcow2(image) = layer else {
        // A raw image ends where its file does.
        return Ok(0);
    };
    let file = layer.stored_in();
    let cluster = image.header().geometry.cluster_size();
    let stat = file.stat("look at")?;
    let end = stat.len.next_multiple_of(cluster);
    let mut lost = 0u64;
    for extent in layer.extents(0, layer.virtual_size()) {
        let extent = extent?;
        let gone = match extent.state {
            State::Data { host } => host
                .saturating_add(extent.len)
                .saturating_sub(host.max(end)),
            State::Compressed { host, .. } if host >= end => extent.len,
            State::Compressed { .. } | State::Unallocated | State::Zero => 0,
        };
        lost = lost.saturating_add(gone);
    }
    Ok(lost)
}
