//! Changes that hosts make are asked for.

use std::ffi::OsString;

use crossbeam_channel::unbounded;

use crate::ops::{Progress, Request};
use crate::tui::dialogs::PlanDialog;
use crate::tui::hosts::HostSeen;
use crate::tui::msg::Effect;
use crate::tui::there::{Part, Place, place, words_for};
use crate::tui::ui::Ui;

/// Opens a dialog for what this request would do where it is a host that does it; what is left to be asked where it is
/// not, of each machine.
pub(super) fn ask(ui: &mut Ui, request: Request, effects: &mut Vec<Effect>) -> Vec<Part> {
    let asked = match place(&ui.app.hosts, &request) {
        Place::Here => return vec![(None, request)],
        Place::Several(parts) => return parts,
        Place::Nowhere(why) => Err(why),
        Place::There(at, words) => plan(ui, at, &request, words, effects),
    };
    if let Err(why) = asked {
        ui.app.warn(why);
    }
    Vec::new()
}

/// Opens a dialog for what this request would do on the host of this place, whatever it names.
///
/// # Errors
/// Why it is not asked for, as a sentence.
pub(super) fn ask_of(
    ui: &mut Ui,
    at: usize,
    request: &Request,
    effects: &mut Vec<Effect>,
) -> Result<(), String> {
    let words = words_for(&ui.app.hosts, at, request)?;
    plan(ui, at, request, words, effects)
}

fn plan(
    ui: &mut Ui,
    at: usize,
    request: &Request,
    words: Vec<OsString>,
    effects: &mut Vec<Effect>,
) -> Result<(), String> {
    let app = &mut ui.app;
    if let Some(why) = app.hosts.list.get(at).and_then(HostSeen::unchangeable) {
        return Err(format!("{why}."));
    }
    let query_id = app.query_id();
    let (answers, replies) = unbounded();
    let progress = Progress::new();
    let name = app.hosts.list.get(at).map(|host| host.name.clone());
    let dialog = PlanDialog::there(
        query_id,
        request.clone(),
        (at, name.unwrap_or_default()),
        (progress.clone(), answers),
    );
    effects.push(Effect::ChangeThere {
        query_id,
        at,
        words,
        progress,
        replies,
    });
    ui.dialogs.open(dialog);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::facts::PlanFacts;
    use crate::fleet::{Destination, FarFolders};
    use crate::ops::{EmptyTrash, WayOut};
    use crate::tui::dialogs::Next;
    use crate::tui::hosts::{HostRules, Hosts};
    use crate::tui::jobs::Task;
    use crate::tui::key::Key;
    use crate::tui::msg::Msg;
    use crate::tui::settings::Settings;
    use crate::tui::update::{dialogs, open, update};

    /// An interface with one host.
    fn ui() -> Ui {
        let mut ui = Ui::new(Settings::default(), (80, 24));
        ui.app.hosts = Hosts::of(&[FarFolders {
            to: Destination::of("web", &[], None),
            folders: vec![PathBuf::from("/srv")],
            scan: Vec::new(),
            tell: Vec::new(),
            read: Vec::new(),
        }]);
        ui
    }

    /// What names no file, and would be done here if nobody said whose it is.
    fn empty_trash() -> Request {
        let entries = vec!["2026-1".to_owned()];
        Request::EmptyTrash(EmptyTrash { entries })
    }

    fn is_asked_there(effects: &[Effect]) -> bool {
        let there = |effect: &Effect| matches!(effect, Effect::ChangeThere { at: 0, words, .. } if words.iter().any(|word| word == "empty"));
        let is_here = |effect: &Effect| matches!(effect, Effect::Plan { .. });
        effects.iter().any(there) && !effects.iter().any(is_here)
    }

    #[test]
    fn a_way_out_that_names_no_file_is_planned_by_the_host_that_named_it() {
        let mut ui = ui();
        let mut effects = Vec::new();
        let discard = Request::discard(vec!["web:/srv/a".into()]);
        assert!(ask(&mut ui, discard, &mut effects).is_empty());
        let facts = PlanFacts {
            effects: Vec::new(),
            ways_out: vec![WayOut {
                label: "make room".to_owned(),
                request: empty_trash(),
            }],
        };
        let query_id = ui.dialogs.plan().unwrap().query_id;
        update(&mut ui, Msg::TherePlanned(query_id, Box::new(facts)));
        let effects = update(&mut ui, Msg::Key(Key::char('1')));
        assert!(is_asked_there(&effects), "{effects:?}");
    }

    #[test]
    fn what_failed_on_a_host_is_tried_again_there() {
        let mut ui = ui();
        let mut effects = Vec::new();
        let task = Task::There {
            at: 0,
            request: empty_trash(),
            query_id: 7,
        };
        let title = String::new();
        dialogs::follow(&mut ui, Next::Retry { title, task }, &mut effects);
        assert!(is_asked_there(&effects), "{effects:?}");
    }

    #[test]
    fn a_host_that_only_lets_its_images_be_read_is_asked_for_no_plan() {
        let mut ui = ui();
        let rules = HostRules {
            is_read_only: true,
            is_restricted: false,
        };
        update(&mut ui, Msg::FarGreeted(0, rules));
        let mut effects = Vec::new();
        open::ask_there(&mut ui, 0, empty_trash(), &mut effects);
        assert!(effects.is_empty() && ui.dialogs.is_empty(), "{effects:?}");
        assert!(ui.app.session.toast.unwrap().text.contains("web lets"));
    }
}
