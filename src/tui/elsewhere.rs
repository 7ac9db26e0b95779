//! Looking at other directories from now on, in the same session.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, bounded};

use super::msg::Msg;
use super::session_state::{recall, remember};
use super::ui::Ui;
use super::workers::Workers;

/// Answers of the workers that may wait. Each may be hundreds of files found.
pub(super) const ANSWERS: usize = 16;

/// Makes a new interface, which keeps what happened in this session, and new workers; gives where these answer. No job
/// runs meanwhile.
///
/// # Errors
/// Why these directories cannot be looked at; nothing has changed then.
pub(super) fn open(
    ui: &mut Ui,
    workers: &mut Workers,
    roots: Vec<PathBuf>,
) -> Result<Receiver<Msg>, String> {
    let (answers_in, answers) = bounded(ANSWERS);
    let hosts = ui.app.settings.hosts_with(&roots);
    let there = workers.elsewhere(&roots, &hosts, answers_in)?;
    remember(&ui.app, workers.state_dir.as_deref());
    *workers = there;
    *ui = std::mem::take(ui).on(roots);
    recall(&mut ui.app, workers.state_dir.as_deref());
    Ok(answers)
}
