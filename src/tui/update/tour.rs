//! The tour goes on where what was to be done is done.

use std::sync::Arc;

use crate::tui::actions::Action;
use crate::tui::app::App;

/// Looks at the forest; while something runs nothing is known for certain.
pub(super) fn follow(app: &mut App) {
    let is_at_rest = !app.refresh.scan.running
        && app.refresh.refreshing.is_none()
        && app.jobs.open().next().is_none();
    let Some(tour) = app.tour.as_mut().filter(|_| is_at_rest) else {
        return;
    };
    tour.look(&Arc::clone(&app.forest));
    if tour.goal().is_none() {
        app.tour = None;
        let help = app.key(Action::Help);
        app.tell(format!(
            "That was the tour. {help} lists all that can be done."
        ));
    }
}
