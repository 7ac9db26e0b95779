//! How the checklist looks.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

use super::action::Action;
use super::rows::PruneRow;
use super::state::PruneDialog;

/// Sentences of machines that are shown at a time.
const MOST_SAID: usize = 4;

/// The keys that change the rule.
fn rule_keys(app: &App) -> String {
    let keys = [
        Action::KeepLast,
        Action::KeepDaily,
        Action::KeepWeekly,
        Action::KeepMonthly,
        Action::Per,
    ];
    keys.map(|action| app.settings.keymap.key(action)).join(" ")
}

pub(super) fn draw(screen: &mut Frame<'_>, app: &App, dialog: &PruneDialog, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = frame::hints::<Action>(app, room);
    let inside = frame::dialog(screen, app, area, "Prune: leaves that nothing uses", bottom);
    let width = usize::from(inside.width);
    let said = dialog.said(app);
    if dialog.rows().is_empty() {
        let room = width.saturating_sub(2);
        let lines = said.iter().flat_map(|text| text::wrap(text, room, 0));
        let lines = lines.map(|line| Line::raw(format!(" {line}")));
        frame::lines_in(screen, inside, lines.collect());
        return;
    }
    let frees = dialog.chosen().map(|row| row.leaf.frees);
    let frees = frees.fold(0, u64::saturating_add);
    let chosen = u64::try_from(dialog.chosen().count()).unwrap_or(0);
    let ticked = match dialog.rule.keeps_nothing() {
        true => format!(
            "ticked at first: unchanged for {}",
            units::count(app.settings.prune_days, "day")
        ),
        false => "ticked: what no rule keeps".to_owned(),
    };
    let first = format!(
        " {} ticked, {} to be freed; {ticked}",
        units::count(chosen, "leaf"),
        units::size(frees),
    );
    let rule = format!(" {} ({})", dialog.rule_words(), rule_keys(app));
    let quiet = theme.style(Role::Quiet);
    let mut lines = vec![
        Line::raw(text::cut_end(&first, width, ascii)),
        Line::styled(text::cut_end(&rule, width, ascii), quiet),
    ];
    // They stay above all rows, however many these are.
    let more = said.len().saturating_sub(MOST_SAID);
    let more = (more > 0).then(|| format!("and {}", units::count(more, "more machine")));
    for text in said.into_iter().take(MOST_SAID).chain(more) {
        let text = text::cut_end(&format!(" {}", text::safe(&text)), width, ascii);
        lines.push(Line::styled(text, theme.style(Role::Warning)));
    }
    let height = usize::from(inside.height).saturating_sub(lines.len());
    let from = dialog.cursor.first_seen(height);
    let rows = dialog.rows().iter().enumerate();
    for (i, row) in rows.skip(from).take(height) {
        lines.push(drawn(app, row, i == dialog.cursor.at, width));
    }
    frame::lines_in(screen, inside, lines);
}

fn drawn(app: &App, row: &PruneRow, is_at: bool, width: usize) -> Line<'static> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let tick = match (row.ticked, ascii) {
        (false, _) => "[ ]",
        (true, true) => "[x]",
        (true, false) => "[✗]",
    };
    let days = row.leaf.age.as_secs() / 86_400;
    let age = if row.kept().is_some() {
        "kept".to_owned()
    } else if days > 0 {
        units::count(days, "day")
    } else {
        format!("{} h", row.leaf.age.as_secs() / 3600)
    };
    let name_room = width.saturating_sub(32);
    let name = text::cut_middle(&row.label(app), name_room, ascii);
    let frees = units::size(row.leaf.frees);
    let line = Line::from(vec![
        Span::styled(
            format!("{}{tick} ", frame::bar(app, is_at)),
            theme.style(if row.ticked { Role::Error } else { Role::Quiet }),
        ),
        Span::raw(text::pad(&name, name_room, ascii)),
        Span::raw(text::pad_left(&frees, 11, ascii)),
        Span::styled(
            format!("  {}", text::pad_left(&age, 11, ascii)),
            theme.style(Role::Quiet),
        ),
        Span::raw(" "),
    ]);
    match is_at {
        true => line.patch_style(theme.style(Role::Cursor)),
        false => line,
    }
}
