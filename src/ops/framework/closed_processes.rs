//! Processes that do not show which files they have open, as far as one who takes files away has to tell of them. Who can
//! be seen is asked in `locks`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{ClosedProcess, Host, effective_user};

use super::format::shown;
use super::note::NoteKind;
use super::plan::Plan;

/// These processes, and the files that their command lines name.
#[derive(Debug)]
pub(in crate::ops) struct ClosedProcesses {
    has_any: bool,
    /// The first that names a file, by what it is called there and by where that leads.
    by_name: HashMap<PathBuf, Arc<ClosedProcess>>,
}

impl ClosedProcesses {
    /// Those that run now.
    pub(in crate::ops) fn ask(host: &dyn Host) -> Self {
        let processes = host.closed_processes();
        let has_any = !processes.is_empty();
        let mut by_name = HashMap::new();
        for process in processes.into_iter().map(Arc::new) {
            for name in &process.names {
                let places = [Some(name.clone()), host.canonical(name).ok()];
                for place in places.into_iter().flatten() {
                    by_name.entry(place).or_insert_with(|| Arc::clone(&process));
                }
            }
        }
        Self { has_any, by_name }
    }

    /// The first whose command line names this file, by whatever name.
    pub(in crate::ops) fn naming(&self, host: &dyn Host, file: &Path) -> Option<&ClosedProcess> {
        if self.by_name.is_empty() {
            return None;
        }
        let place = || host.canonical(file).ok();
        let by_place = || self.by_name.get(&place()?);
        let found = self.by_name.get(file).or_else(by_place);
        found.map(Arc::as_ref)
    }

    /// Who could not be asked, where there may be such processes.
    pub(in crate::ops) fn unasked(&self) -> Option<&'static str> {
        let may_be = effective_user() != 0 || self.has_any;
        may_be.then_some(
            "processes of other users, but for those that hold image locks or name the file on their command lines",
        )
    }
}

/// Tells which of these files such a process names, and that no more than that can be known.
pub(in crate::ops) fn tell(plan: &mut Plan, files: &[PathBuf]) {
    let host = Arc::clone(&plan.context().host);
    let closed = ClosedProcesses::ask(&*host);
    for file in files {
        if let Some(process) = closed.naming(&*host, file) {
            let text = format!(
                "{} stands on the command line of {process}, which may have it open: that cannot be seen",
                shown(file)
            );
            plan.warn(NoteKind::InUse, text);
        }
    }
    if let Some(who) = closed.unasked() {
        plan.note(NoteKind::Unseen, format!("not asked: {who}"));
    }
}
