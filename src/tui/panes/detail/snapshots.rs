//! The internal snapshots of the selected image.

use ratatui::text::{Line, Span};

use crate::forest::Node;
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

/// All lines.
pub(in crate::tui) fn lines(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let quiet = |words: &str| -> Vec<Line<'static>> {
        let parts = text::wrap(&text::safe(words), width.saturating_sub(2), 0);
        let line = |part| Line::styled(format!(" {part}"), theme.style(Role::Quiet));
        parts.into_iter().map(line).collect()
    };
    if node.info().is_none() {
        return quiet("Only qcow2 images have internal snapshots.");
    }
    let info = app
        .detail
        .info
        .as_ref()
        .filter(|info| info.path == node.path);
    let list = match info.and_then(|info| info.snapshots.as_ref()) {
        Some(Ok(list)) => list,
        Some(Err(why)) => return quiet(why),
        None => return quiet("Reading its snapshots."),
    };
    let key = app.key(Action::Snapshots);
    if list.is_empty() {
        return quiet(&format!("It has no internal snapshots. {key} takes one."));
    }
    let name_room = width.saturating_sub(6 + 12 + 12 + 3).max(8);
    let mut lines = vec![Line::styled(
        text::cut_end(
            &format!(
                " {} {} {:>11} {:>11}",
                text::pad("ID", 5, ascii),
                text::pad("name", name_room, ascii),
                "taken",
                "VM state"
            ),
            width,
            ascii,
        ),
        theme.style(Role::Quiet),
    )];
    for snapshot in list {
        let part = |bytes: &[u8]| text::safe(&String::from_utf8_lossy(bytes));
        let taken = text::snapshot_taken(snapshot);
        let state = match snapshot.vm_state_size() {
            0 => "-".to_owned(),
            bytes => units::size(bytes),
        };
        let name = text::cut_middle(&part(&snapshot.name), name_room, ascii);
        lines.push(Line::from(vec![
            Span::raw(format!(" {} ", text::pad(&part(&snapshot.id), 5, ascii))),
            Span::raw(text::pad(&name, name_room, ascii)),
            Span::styled(
                format!(" {:>7} ago {state:>11}", text::age(taken, app.now())),
                theme.style(Role::Quiet),
            ),
        ]));
    }
    lines.extend(quiet(&format!(
        "{key} takes, applies, deletes or copies one out."
    )));
    lines
}
