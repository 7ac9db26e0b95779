//! Closing a transaction: everything changed in memory reaches the disk in the order that at every
//! instant leaves an image that opens.

use std::ops::Range;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{index, part};
use crate::qcow2::HostClusters;

use super::state::{FREE_BUDGET, TABLE_BUDGET, Writer, push};

/// The unit in which table bytes are written in place: no disk tears it.
const SECTOR: usize = 512;

impl Writer {
    /// Keeps memory bounded however much is written.
    pub(super) fn keep_budget(&mut self) -> Result<()> {
        let tables = self.tree.tables.len() as u64 * self.cluster_size();
        if self.freed.len() > FREE_BUDGET || (tables > TABLE_BUDGET && self.tree.tables.len() > 4) {
            self.flush()?;
        }
        Ok(())
    }

    /// Closes the transaction: all that was written so far is on stable storage and reachable.
    ///
    /// # Errors
    /// When a file cannot be written. The image is readable all the same.
    pub fn flush(&mut self) -> Result<()> {
        let fresh = self.tree.tables.values().any(|table| table.fresh);
        let dirty = fresh
            || self.tree.l1_moved
            || self.tree.tables.values().any(|table| table.dirty.is_some());
        if !dirty && self.freed.is_empty() && !self.wrote_data {
            self.tree.tables.clear();
            return Ok(());
        }
        self.refs.write_blocks()?;
        for table in self.tree.tables.values_mut().filter(|table| table.fresh) {
            self.file.write_at(
                table.entries.as_bytes(),
                table.offset.get(),
                format_args!("write the L2 table at {}", table.offset),
            )?;
            table.dirty = None;
        }
        if self.tree.l1_moved {
            self.file.write_at(
                self.tree.l1.as_bytes(),
                self.tree.l1_offset.get(),
                format_args!("write the L1 table at {}", self.tree.l1_offset),
            )?;
        }
        self.flush_files()?;
        self.switch_over()?;
        if self.write_in_place()? {
            self.file.flush()?;
        }
        self.tree.tables.clear();
        self.apply_frees()
    }

    /// As [`Writer::flush`], and the space that came free is counted as free on disk as well.
    ///
    /// # Errors
    /// When a file cannot be written. The image is readable all the same.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        self.part_from_active()?;
        self.refs.write_blocks()?;
        self.file.flush()
    }

    fn flush_files(&mut self) -> Result<()> {
        if let Some(data) = &self.data {
            data.flush()?;
        }
        self.wrote_data = false;
        self.file.flush()
    }

    /// Makes new refcount blocks, a moved refcount table and a moved L1 table reachable.
    fn switch_over(&mut self) -> Result<()> {
        let publishes = self.refs.must_publish();
        let table = self.refs.publish()?;
        if publishes && table.is_none() {
            self.file.flush()?;
        }
        let l1 = self
            .tree
            .l1_moved
            .then(|| (self.tree.l1_offset, self.tree.l1.len() as u64));
        if l1.is_some() || table.is_some() {
            self.header.set_tables(l1, table)?;
        }
        if self.tree.l1_moved {
            self.tree.l1_moved = false;
            self.tree.dirty_l1.clear();
        }
        if let Some(old) = self.refs.take_old_table() {
            self.free(old);
        }
        Ok(())
    }

    /// Writes changed entries of tables that are reachable already, whole sectors of them: each
    /// entry is old or new whichever sectors arrive, and either is valid. Returns whether any was.
    fn write_in_place(&mut self) -> Result<bool> {
        let mut wrote = false;
        let entry_size = index(self.context.geometry.l2_entry_size()).of(&self.file)?;
        for table in self.tree.tables.values_mut() {
            let Some(dirty) = table.dirty.take() else {
                continue;
            };
            let bytes = sectors(
                dirty.start * entry_size..dirty.end * entry_size,
                table.entries.as_bytes().len(),
            );
            let offset = table.offset.plus(bytes.start as u64);
            let part = part(table.entries.as_bytes(), bytes).of(&self.file)?;
            self.file.write_at(
                part,
                offset.get(),
                format_args!("write the L2 table at {offset}"),
            )?;
            wrote = true;
        }
        let dirty = std::mem::take(&mut self.tree.dirty_l1);
        let mut done = 0;
        for at in dirty {
            if at * 8 < done {
                continue;
            }
            let bytes = sectors(at * 8..at * 8 + 8, self.tree.l1.as_bytes().len());
            done = bytes.end;
            let offset = self.tree.l1_offset.plus(bytes.start as u64);
            let part = part(self.tree.l1.as_bytes(), bytes).of(&self.file)?;
            self.file.write_at(
                part,
                offset.get(),
                format_args!("write the L1 table at {offset}"),
            )?;
            wrote = true;
        }
        Ok(wrote)
    }

    /// After nothing refers to them any more: counts the freed clusters down and gives the blocks of
    /// those that nobody else refers to back to the filesystem.
    pub(super) fn apply_frees(&mut self) -> Result<()> {
        let mut freed = std::mem::take(&mut self.freed);
        freed.sort_by_key(|run| run.first);
        let mut hole: Option<HostClusters> = None;
        for cluster in freed.into_iter().flat_map(HostClusters::iter) {
            if !self.tree.active && self.refs.get(cluster)? == 2 {
                // The one left may be the active view's, whose flag would be wrong.
                push(&mut self.given_up, HostClusters::one(cluster));
                continue;
            }
            if !self.refs.lower(cluster)? {
                continue;
            }
            // A table that moved away leaves room for data.
            self.metadata.give_up(cluster);
            hole = match hole {
                Some(run) if run.end() == cluster => Some(HostClusters {
                    count: run.count + 1,
                    ..run
                }),
                Some(run) => {
                    self.punch(run)?;
                    Some(HostClusters::one(cluster))
                }
                None => Some(HostClusters::one(cluster)),
            };
        }
        hole.map_or(Ok(()), |run| self.punch(run))
    }

    fn punch(&self, clusters: HostClusters) -> Result<()> {
        let bytes = self.geometry().bytes_of(clusters);
        let (offset, len) = (bytes.start, bytes.end - bytes.start);
        self.file
            .punch(offset, len, format_args!("free {len} bytes at {offset:#x}"))
    }
}

/// `bytes` widened to whole sectors, inside a table of `len` bytes.
fn sectors(bytes: Range<usize>, len: usize) -> Range<usize> {
    bytes.start / SECTOR * SECTOR..bytes.end.next_multiple_of(SECTOR).min(len)
}
