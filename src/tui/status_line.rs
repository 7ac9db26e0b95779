//! What the line above the footer says: what happened last, or what is wrong with the filter that is typed. How
//! many rows that takes is known before anything is drawn.

use super::app::App;
use super::filter::Filter;
use super::text;

/// Rows of text at most; what is longer ends in a sign that there is more.
const MOST: usize = 3;
/// Cells for the sign before the text, and space around it.
const MARGIN: usize = 4;

/// What happened last, in lines for a screen so wide; none if there is nothing to tell.
#[must_use]
pub(crate) fn toast(app: &App, width: u16) -> Vec<String> {
    let toast = app.session.toast.as_ref();
    toast.map_or_else(Vec::new, |toast| lines(app, &toast.text, width))
}

/// What is wrong with the filter line, likewise.
#[must_use]
pub(crate) fn complaint(app: &App, width: u16) -> Vec<String> {
    let filter = Filter::parse(app.tree.filter.value());
    let complaint = filter.complaint().map(text::safe);
    complaint.map_or_else(Vec::new, |complaint| lines(app, &complaint, width))
}

fn lines(app: &App, text: &str, width: u16) -> Vec<String> {
    let room = usize::from(width).saturating_sub(MARGIN);
    text::clamp(text::wrap(text, room, 0), MOST, room, app.settings.ascii)
}
