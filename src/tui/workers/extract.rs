//! Files copied out of an image, as a job.

use std::path::{Path, PathBuf};

use crate::guest::Error as GuestError;
use crate::guest::extract;
use crate::guest::filesystem::NodeKind;
use crate::guest::path::{self, LastLink};
use crate::host::{io_text, printable};
use crate::inside;
use crate::ops::{Error, Note, NoteKind, Outcome, Phase, Progress};
use crate::tui::browse::Extraction;
use crate::tui::msg::Msg;
use crate::units;

use super::Workers;
use super::compare::Stopped;

impl Workers {
    /// Copies a file or folder of an image to a folder of this host; what is left out is told.
    pub(super) fn extract(&self, job: u64, what: &Extraction, progress: &Progress) {
        self.answer(match self.extracted(what, progress) {
            Ok(outcome) => Msg::Ended(job, Ok(outcome)),
            Err(Stopped::Ended(error)) => Msg::Ended(job, Err(error)),
            Err(Stopped::Locked(image, error)) => Msg::JobLocked(job, image, error),
        });
    }

    fn extracted(&self, what: &Extraction, progress: &Progress) -> Result<Outcome, Stopped> {
        is_folder(&what.to)?;
        let (view, live) = self.opened(&what.of)?;
        let place = what.spot.place();
        let (volume, filesystem) = place.on(&view)?;
        let node = path::lookup(&**filesystem, &place.path, LastLink::Keep)?;
        let name = inside::name_outside(volume, &place.path);
        let Some(to) = extract::below(&what.to, &name) else {
            let text = format!("{} names no file", what.spot.shown());
            return Err(Stopped::Ended(Error::failed(text)));
        };
        // How much a folder holds is known at its end only.
        let total = match node.kind {
            NodeKind::File => node.size,
            NodeKind::Directory | NodeKind::Symlink | NodeKind::Special => 0,
        };
        progress.enter(Phase::Copy, total);
        let done = extract::extract(&**filesystem, &node, &to, &mut |bytes| {
            progress.advance(bytes).is_ok()
        });
        let done = done.map_err(|error| match error {
            GuestError::Cancelled => Stopped::Ended(Error::cancelled(stopped(&to))),
            other => other.into(),
        })?;
        let mut summary = format!("{} copied to {}.", inside::extracted(&done), printable(&to));
        if done.left_out_count > 0 {
            let many = units::count(done.left_out_count, "file");
            summary.push_str(&format!(" {many} left out."));
        }
        for sentence in live {
            summary.push_str(&format!(" {sentence}."));
        }
        let told = done.left_out.iter();
        let mut remarks: Vec<String> = told
            .map(|(path, why)| format!("left out {path}: {why}"))
            .collect();
        let told = u64::try_from(remarks.len()).unwrap_or(u64::MAX);
        if done.left_out_count > told {
            let more = units::count(done.left_out_count - told, "more file");
            remarks.push(format!("left out {more}"));
        }
        let note = |text| Note::new(NoteKind::Manner, text);
        Ok(Outcome {
            summary,
            touched: Vec::new(),
            undo: None,
            remarks: remarks.into_iter().map(note).collect(),
        })
    }
}

fn is_folder(to: &Path) -> Result<(), Stopped> {
    let why = match std::fs::metadata(to) {
        Ok(stat) if stat.is_dir() => return Ok(()),
        Ok(_) => "it is no folder".to_owned(),
        Err(error) => io_text(&error),
    };
    let text = format!("{}: {why}", printable(to));
    Err(Stopped::Ended(Error::failed(text)))
}

/// What is said of a copy that was cut off.
fn stopped(to: &PathBuf) -> String {
    match to.symlink_metadata() {
        Ok(_) => format!("stopped; what was copied by then is in {}", printable(to)),
        Err(_) => "stopped; nothing was copied".to_owned(),
    }
}
