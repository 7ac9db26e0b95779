//! Looking at the directories, and remembering what is there for plans of later runs elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::doctor;
use crate::forest::{self, Fingerprints, Forest, Scan, ScanEvent};
use crate::host::{io_text, printable};
use crate::tui::msg::{Msg, ScanEnd};
use crate::tui::query::QueryId;

use super::{LookedIn, Workers};

impl Workers {
    pub(super) fn scan(&self, query_id: QueryId) {
        let scan = Scan::start(Arc::clone(&self.host), self.scan.clone());
        for event in scan.events() {
            if self.newest.scan.load(Ordering::SeqCst) != query_id {
                // Dropping the scan stops it.
                return;
            }
            match event {
                ScanEvent::Found(found) => self.answer(Msg::Found(query_id, found)),
                ScanEvent::Held(held) => self.answer(Msg::Held(query_id, held)),
                ScanEvent::Progress { files, .. } => self.answer(Msg::Looked(query_id, files)),
                ScanEvent::Done(summary) => {
                    let unreadable = summary.unreadable_dirs.iter();
                    let end = ScanEnd {
                        looked_at: summary.files_looked_at,
                        unreadable: unreadable
                            .map(|(dir, why)| format!("{}: {why}", printable(dir)))
                            .collect(),
                    };
                    self.answer(Msg::Scanned(query_id, end));
                    return;
                }
            }
        }
    }

    /// Looks for what a scan does not see.
    pub(super) fn examine(&self, forest: Arc<Forest>) {
        let looked_in = LookedIn::within(self.scan.roots.clone());
        let context = self.context(forest, looked_in);
        self.answer(Msg::Examined(doctor::examine_further(&context)));
    }

    /// Takes a base as it is now, and says so.
    pub(super) fn accept(&self, base: &Path) {
        let Some(dir) = &self.state_dir else { return };
        let done = Fingerprints::at(dir).renew(&*self.host, [base]);
        let name = printable(base);
        self.answer(Msg::Tell(match done {
            Ok(_) => format!("{name} is taken as it is now."),
            Err(error) => format!("{name}: this cannot be noted: {}.", io_text(&error)),
        }));
    }

    /// Tells which bases were changed under what is built on them.
    pub(super) fn compare_bases(&self, forest: &Forest) {
        if let Some(dir) = &self.state_dir {
            let changed = forest::changed_bases(dir, &*self.host, forest);
            self.answer(Msg::BasesChanged(changed));
        }
    }

    pub(super) fn remember(&self, forest: &Forest) {
        if let Some(dir) = &self.state_dir
            && let Err(error) = forest::remember(dir, &*self.host, forest)
        {
            self.answer(Msg::Tell(format!(
                "The index of images cannot be written to {}: {error}.",
                printable(dir),
                error = io_text(&error)
            )));
        }
    }
}
