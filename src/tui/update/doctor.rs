//! What else is wrong than the scan sees: looked for anew after each change, one look at a time.

use std::sync::Arc;

use crate::doctor::Finding;
use crate::tui::app::App;
use crate::tui::msg::Effect;

/// Has it looked for.
pub(super) fn ask(app: &mut App, effects: &mut Vec<Effect>) {
    let examination = &mut app.session.examination;
    if examination.runs {
        examination.again = true;
        return;
    }
    examination.runs = true;
    effects.push(Effect::Examine(Arc::clone(&app.forest)));
}

/// Takes in what was found.
pub(super) fn take(app: &mut App, findings: Vec<Finding>, effects: &mut Vec<Effect>) {
    let examination = &mut app.session.examination;
    examination.findings = findings;
    examination.runs = false;
    if std::mem::take(&mut examination.again) {
        ask(app, effects);
    }
}
