//! What is asked of several machines: a plan of each, one after the other. Each is agreed to or cancelled by itself, and
//! what becomes of one is nothing to the others.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::ops::Request;
use crate::tui::app::App;
use crate::tui::msg::Effect;
use crate::tui::there::Part;
use crate::tui::ui::Ui;

use super::open;

/// The plan on top is cancelled, which is one of several: on with the next one.
pub(super) fn cancel(ui: &mut Ui, following: Vec<Part>, effects: &mut Vec<Effect>) {
    let of = ui.dialogs.top_plan().and_then(|plan| plan.there.as_ref());
    let machine = ui.app.hosts.machine(of.map(|there| there.at));
    ui.dialogs.close();
    ui.app.tell(format!("Nothing was changed on {machine}."));
    open::ask_each(ui, following, effects);
}

/// What was agreed to needs no marks any more; where it is one of several plans, the images of the others keep theirs.
pub(super) fn unmark(app: &mut App, request: &Request, is_one_of_several: bool) {
    if !is_one_of_several {
        app.tree.marks.clear();
        return;
    }
    let agreed: HashSet<PathBuf> = request.paths().into_iter().collect();
    let forest = &app.forest;
    app.tree.marks.retain(|id| {
        let node = forest.get(*id);
        node.is_some_and(|node| !agreed.contains(&node.path))
    });
}
