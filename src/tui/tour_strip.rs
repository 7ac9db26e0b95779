//! The strip above the images while the tour is taken: which task it is, and what helps.

use super::actions::Action;
use super::app::App;
use super::text;

/// Its lines, none longer than the width; none while no tour is taken.
#[must_use]
pub(crate) fn lines(app: &App, width: usize) -> Vec<String> {
    let Some(goal) = app.tour.as_ref().and_then(|tour| tour.goal()) else {
        return Vec::new();
    };
    let (key, back) = (app.key(goal.action), app.key(Action::Back));
    let said = [
        format!("Tour {} of {}: {}", goal.task, goal.of, goal.text),
        format!("{key} {}. {back} leaves the tour.", goal.does),
    ];
    let wrapped = said.iter().flat_map(|text| text::wrap(text, width, 0));
    wrapped.collect()
}
