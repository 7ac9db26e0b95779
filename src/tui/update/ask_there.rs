//! Changes that hosts make are asked for.

use crossbeam_channel::bounded;

use crate::ops::{Progress, Request};
use crate::tui::dialogs::PlanDialog;
use crate::tui::msg::Effect;
use crate::tui::there::{Place, place};
use crate::tui::ui::Ui;

/// Opens a dialog for what this request would do where it is a host that does it; says whether it is, or nobody does.
pub(super) fn ask(ui: &mut Ui, request: &Request, effects: &mut Vec<Effect>) -> bool {
    let app = &mut ui.app;
    let (at, words) = match place(&app.hosts, request) {
        Place::Here => return false,
        Place::Nowhere(why) => {
            app.warn(why);
            return true;
        }
        Place::There(at, words) => (at, words),
    };
    let query_id = app.query_id();
    let (answers, typed) = bounded(1);
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
        typed,
    });
    ui.dialogs.open(dialog);
    true
}
