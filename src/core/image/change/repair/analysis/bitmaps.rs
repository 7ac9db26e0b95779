//! Dirty bitmaps: their tables and bits are counted, or all are given up where one is damaged.

use crate::image::error::Result;
use crate::image::read::bitmaps;
use crate::image::read::table_reader::each_entry;
use crate::qcow2::bitmap::{Bitmap, BitmapTableEntry};

use super::Analysis;

impl Analysis {
    /// Counts the clusters of the bitmaps. False, and nothing counted, if any of it cannot be.
    pub(super) fn count_bitmaps(&mut self) -> Result<bool> {
        let Ok(list) = bitmaps::bitmaps(&self.file, &self.header) else {
            return Ok(false);
        };
        let Some(extension) = self.header.bitmaps().filter(|_| !list.is_empty()) else {
            return Ok(true);
        };
        let (disk, geometry) = (self.header.virtual_size(), self.rules.context.geometry);
        if !list.iter().all(|bitmap| bitmap.fits(disk, geometry)) {
            return Ok(false);
        }
        let directory = (extension.directory_offset.get(), extension.directory_size);
        // With more clusters than the file has, two of them are the same.
        let most = self.rules.len.div_ceil(self.size());
        let mut clusters = 0;
        let fit = self.each_bitmap_run(&list, directory, &mut |analysis, offset, bytes| {
            clusters += analysis.run(offset, bytes).count;
            Ok(clusters <= most && !analysis.is_past_end(offset, bytes))
        })?;
        if !fit {
            return Ok(false);
        }
        self.each_bitmap_run(&list, directory, &mut |analysis, offset, bytes| {
            analysis.keep_off_bytes(offset, bytes)?;
            Ok(true)
        })?;
        let mut claimed = 0_u64;
        let all = self.each_bitmap_run(&list, directory, &mut |analysis, offset, bytes| {
            let claims = analysis.counts.claim(analysis.run(offset, bytes))?;
            claimed += u64::from(claims);
            Ok(claims)
        })?;
        if !all {
            // They are given up again.
            self.each_bitmap_run(&list, directory, &mut |analysis, offset, bytes| {
                if claimed == 0 {
                    return Ok(false);
                }
                claimed -= 1;
                analysis.counts.lower(analysis.run(offset, bytes))?;
                Ok(true)
            })?;
        }
        Ok(all)
    }

    /// Tells where the bitmaps lie, as long as `tell` wants more of it: their directory (offset and
    /// length in bytes are given), each table and what it names. False if it did not come to the
    /// end, or something cannot be read. The tables of bitmaps in use may be as long as 1 GiB: none is kept.
    fn each_bitmap_run(
        &mut self,
        list: &[Bitmap],
        (offset, bytes): (u64, u64),
        tell: &mut dyn FnMut(&mut Self, u64, u64) -> Result<bool>,
    ) -> Result<bool> {
        let file = self.file.clone();
        let (size, geometry) = (self.size(), self.rules.context.geometry);
        let mut goes_on = tell(self, offset, bytes)?;
        for bitmap in list {
            let table = bitmap.table();
            goes_on = goes_on && tell(self, table.offset.get(), table.bytes())?;
            if !goes_on {
                return Ok(false);
            }
            each_entry(&file, table, "bitmap table", &mut |_, raw| {
                goes_on = goes_on
                    && match BitmapTableEntry::parse(raw, geometry) {
                        Ok(BitmapTableEntry::Stored(place)) => tell(self, place.get(), size)?,
                        Ok(_) => true,
                        Err(_) => false,
                    };
                Ok(())
            })?;
        }
        Ok(goes_on)
    }
}
