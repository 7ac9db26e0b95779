//! What a view would lose, told from tables: no guest byte is read.

use crate::image::AllocationEstimate;
use crate::image::change::preserve::backing_change::{BackingChange, CompareBy};
use crate::image::change::preserve::loss::Loss;
use crate::image::change::preserve::pieces::UnitRuns;
use crate::image::error::Result;
use crate::image::read::backing_view::{BackingDiff, Compared, ViewRun};

/// Adds up what is lost.
pub(super) struct Count<'a> {
    pieces: UnitRuns<'a>,
    judge: CompareBy,
    loss: Loss,
    /// For what is certain, and for everything.
    sure: AllocationEstimate,
    all: AllocationEstimate,
}

impl<'a> Count<'a> {
    pub(super) fn new(change: BackingChange<'a>, room: AllocationEstimate) -> Result<Self> {
        Ok(Self {
            pieces: UnitRuns {
                difference: BackingDiff::new(change.old, change.new)?,
                unit: room.unit(),
            },
            judge: change.judge,
            loss: Loss::default(),
            sure: room,
            all: room,
        })
    }

    pub(super) fn add(&mut self, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while let Some(piece) = self.pieces.next(at, end)? {
            at = piece.end();
            let certain = match &piece.places {
                Some((old, _)) if old.is_zero() => {
                    self.loss.zeros += piece.len;
                    self.sure.zeros(piece.start, piece.end());
                    self.all.zeros(piece.start, piece.end());
                    continue;
                }
                Some((_, new)) => self.is_lost(new),
                None => self.is_certain(piece.start, piece.end())?,
            };
            if certain {
                self.loss.certain += piece.len;
                self.sure.data(piece.start, piece.end());
            } else {
                self.loss.possible += piece.len;
            }
            self.all.data(piece.start, piece.end());
        }
        Ok(())
    }

    /// Whether what is stored in a place of its own has to be copied where this is the new one.
    fn is_lost(&self, new: &ViewRun) -> bool {
        self.judge == CompareBy::Tables || new.is_zero()
    }

    /// Whether a unit that is put together from several places has to be copied for one of them.
    fn is_certain(&self, start: u64, end: u64) -> Result<bool> {
        let mut at = start;
        while at < end {
            match self.pieces.difference.at(at, end)? {
                Compared::Same(to) => at = to,
                Compared::Differs { old, new } => {
                    if !old.is_zero() && self.is_lost(&new) {
                        return Ok(true);
                    }
                    at = old.extent.end();
                }
            }
        }
        Ok(false)
    }

    pub(super) fn loss(self) -> Loss {
        let growth = self.sure.growth();
        Loss {
            growth,
            possible_growth: self.all.growth().beyond(growth),
            ..self.loss
        }
    }
}
