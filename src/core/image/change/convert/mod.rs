//! Converting: what a chain shows, written into a new image of any kind. One thread finds out where the
//! bytes are, several read them, look for zeros and compress, and the calling one writes in order.
//! The sources are only read.

mod into;
mod lost;
mod options;
mod pieces;
mod pipeline;
mod shareable;
mod sink;
mod sparse;
mod work;

use std::path::Path;

use crate::host::Host;
use crate::image::error::Result;
use crate::image::write::carried_bitmaps::{Carried, CarriedBitmaps, carried};
use crate::image::write::create::{new_header, stage};
use crate::image::write::new_raw::stage_raw;
use crate::image::write::temp_file::TempFiles;
use crate::image::{
    AllocationEstimate, Error, ErrorKind, Growth, Preallocation, ProgressSink, State,
};
use crate::qcow2::extension::BitmapsExtension;
use crate::qcow2::{FormatError, Header, HostOffset, Version};

use sink::{RawSink, Sink};

pub use into::convert_into;
pub use lost::Lost;
pub use options::{CompressionLevel, ConvertFrom, ConvertTo};
pub use sparse::SparseSize;

impl ConvertFrom {
    /// Tells of each run of the new disk how it is stored, where it begins and where it ends, in order; gives
    /// the bytes of those that hold data.
    ///
    /// # Errors
    /// When a table cannot be read, and those of `tell`.
    pub fn for_each_run(&self, mut tell: impl FnMut(State, u64, u64) -> Result<()>) -> Result<u64> {
        let mut data = 0_u64;
        let mut walk = pieces::Walk::new(self);
        while let Some(run) = walk.next_run(u64::MAX)? {
            if run.holds_data() {
                data = data.saturating_add(run.len);
            }
            tell(run.state, run.start, run.end())?;
        }
        Ok(data)
    }

    /// What is to be moved, as far as tables and holes tell, into a new file where it takes what `room`
    /// counts.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn forecast(&self, mut room: AllocationEstimate) -> Result<Forecast> {
        let data = self.for_each_run(|state, start, end| {
            match state {
                State::Data { .. } | State::Compressed { .. } => room.data(start, end),
                State::Zero if self.stores_zeros(end - start) => room.data(start, end),
                // What is below must not show through.
                State::Zero if self.layers.is_some() => room.zeros(start, end),
                State::Zero | State::Unallocated => {}
            }
            Ok(())
        })?;
        Ok(Forecast {
            data,
            growth: room.growth(),
        })
    }
}

/// How much a conversion moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forecast {
    /// Bytes that hold data; what [`convert`] reports as work.
    pub data: u64,
    /// What they take in the target, at most.
    pub growth: Growth,
}

/// Writes what `from` shows into the new image `new`, which gets its name only when all of it is on
/// stable storage.
///
/// # Errors
/// When something of that name exists, the options cannot be had together, a file cannot be read or
/// written, or it was stopped; nothing is left behind then.
pub fn convert(
    host: &dyn Host,
    from: &ConvertFrom,
    new: &Path,
    to: &ConvertTo,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let size = from.virtual_size();
    let mut temp = TempFiles::new(host);
    match to {
        ConvertTo::Raw { preallocation } => {
            // What is copied is the work, not what is filled before.
            let file = stage_raw(&mut temp, new, size, *preallocation, |_| {
                progress.advance(0)
            })?;
            let sink = RawSink::new(&file, from, *preallocation);
            pipeline::run(from, Sink::Raw(&sink), new, progress)?;
            file.flush()?;
        }
        ConvertTo::Qcow2 {
            options,
            compress,
            bitmaps,
        } => {
            let mut header = new_header(new, options)?;
            let bitmaps = bitmaps_of(from, *bitmaps, new, &mut header)?;
            if compress.is_some() && options.data_file.is_some() {
                let text = "cannot be compressed: it has a data file".to_owned();
                return Err(Error::new(new, ErrorKind::Unsupported(text)));
            }
            if compress.is_some() && options.encryption.is_some() {
                let text = "cannot be both compressed and encrypted".to_owned();
                return Err(Error::new(new, ErrorKind::Unsupported(text)));
            }
            if compress.is_some() && options.format.preallocation != Preallocation::Off {
                let text = "cannot be both compressed and preallocated".to_owned();
                return Err(Error::new(new, ErrorKind::Unsupported(text)));
            }
            let mut sequential = stage(&mut temp, new, options, header, bitmaps, progress)?;
            pipeline::run(
                from,
                Sink::Qcow2 {
                    sequential: &mut sequential,
                    compress: *compress,
                },
                new,
                progress,
            )?;
            sequential.finish()?;
        }
    }
    // A wish to stop that came during the last flush.
    if !progress.advance(0) {
        return Err(Error::new(new, ErrorKind::Cancelled));
    }
    temp.persist()
}

/// The bitmaps that are taken along, with room in the header for where they will be.
fn bitmaps_of(
    from: &ConvertFrom,
    which: CarriedBitmaps,
    new: &Path,
    header: &mut Header,
) -> Result<Vec<Carried>> {
    let unsupported = |text: &str| Err(Error::new(new, ErrorKind::Unsupported(text.to_owned())));
    if which == CarriedBitmaps::None {
        return Ok(Vec::new());
    }
    if header.version == Version::V2 {
        return unsupported("has no dirty bitmaps with compat 0.10");
    }
    let [source] = from.sources.as_slice() else {
        return unsupported("gets dirty bitmaps from one source only, not from several in a row");
    };
    let all = carried(source, which, header.geometry)?;
    let Some(count) = u32::try_from(all.len()).ok().filter(|count| *count > 0) else {
        return Ok(all);
    };
    // What has no room in the first cluster is found now, not after the data was written.
    let somewhere = BitmapsExtension {
        count,
        directory_size: 0,
        directory_offset: HostOffset(header.geometry.cluster_size()),
    };
    let fail = |error: FormatError| Error::new(new, error);
    header.set_bitmaps(somewhere).map_err(fail)?;
    let placed = Header {
        refcount_table_offset: HostOffset(header.geometry.cluster_size()),
        refcount_table_clusters: 1,
        ..header.clone()
    };
    placed.encode().map_err(fail)?;
    Ok(all)
}
