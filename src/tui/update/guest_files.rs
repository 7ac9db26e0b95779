//! Which files inside images the plan that is shown changes or takes away: asked once the plan is there, and asked no
//! more where nobody sees it.

use crate::inside::Summary;
use crate::ops::NotLooked;
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::ui::Ui;

/// Asks for the plan that is shown, or says that nobody waits any more.
pub(super) fn ask(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let shown = ui.dialogs.plan().and_then(|dialog| {
        let plan = dialog.plan.as_deref()?;
        (!plan.guest_files.is_empty()).then_some((dialog.query_id, plan))
    });
    let query_id = shown.map(|(query_id, _)| query_id);
    if ui.app.looked_inside == query_id {
        return;
    }
    effects.push(match shown {
        Some((query_id, plan)) => Effect::LookInside {
            query_id,
            context: plan.context().clone(),
            files: plan.guest_files.clone(),
        },
        None => Effect::StopLookingInside,
    });
    ui.app.looked_inside = query_id;
}

/// What was found of one image.
pub(super) fn take(
    ui: &mut Ui,
    query_id: QueryId,
    index: usize,
    found: Result<Summary, NotLooked>,
) {
    let dialog = ui.dialogs.plan_mut();
    let dialog = dialog.filter(|dialog| dialog.query_id == query_id);
    let plan = dialog.and_then(|dialog| dialog.plan.as_mut());
    if let Some(files) = plan.and_then(|plan| plan.guest_files.get_mut(index)) {
        files.found = Some(found);
    }
}
