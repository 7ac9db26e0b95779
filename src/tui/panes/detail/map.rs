//! Where the bytes of the selected image are: its whole map, or only the ranges that it has changed.

use ratatui::text::{Line, Span};

use crate::forest::Node;
use crate::image::{MapRun, MapState};
use crate::tui::app::App;
use crate::tui::map::{MapSeen, MapSegment};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

/// Which runs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// All.
    All,
    /// Those the image itself holds.
    Own,
}

/// All lines.
pub(in crate::tui) fn lines(app: &App, node: &Node, width: usize, of: Of) -> Vec<Line<'static>> {
    let seen = match &app.detail.map {
        Some((path, Ok(seen))) if *path == node.path => seen,
        Some((path, Err(why))) if *path == node.path => {
            return wrapped(app, why, Role::Error, width);
        }
        _ => return wrapped(app, "Reading its tables.", Role::Quiet, width),
    };
    let mut lines = Vec::new();
    if let Some(missing) = &seen.missing {
        let text = format!("The map is not complete: {missing}");
        lines.extend(wrapped(app, &text, Role::Warning, width));
    }
    strip(&mut lines, app, seen, width);
    lines.extend(wrapped(app, &sums(app, seen), Role::Plain, width));
    let (runs, count) = match of {
        Of::All => (&seen.runs, seen.count),
        Of::Own => (&seen.own, seen.own_count),
    };
    if runs.is_empty() {
        let text = "It holds nothing itself: all it shows is from below.";
        lines.extend(wrapped(app, text, Role::Quiet, width));
    }
    for run in runs {
        lines.push(run_line(app, seen, run, width));
    }
    let told = u64::try_from(runs.len()).unwrap_or(u64::MAX);
    if count > told {
        let more = units::grouped(count - told);
        let text = format!("and {more} more: `qanopy map` tells all");
        lines.extend(wrapped(app, &text, Role::Quiet, width));
    }
    lines
}

pub(super) fn wrapped(app: &App, words: &str, role: Role, width: usize) -> Vec<Line<'static>> {
    let style = app.settings.theme.style(role);
    let parts = text::wrap(&text::safe(words), width.saturating_sub(2), 0);
    let line = |part| Line::styled(format!(" {part}"), style);
    parts.into_iter().map(line).collect()
}

/// The disk from its first byte to its last.
fn strip(lines: &mut Vec<Line<'static>>, app: &App, seen: &MapSeen, width: usize) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let cells = width.saturating_sub(4);
    let mut spans = vec![Span::raw(" [")];
    for (piece, of) in seen.columns(cells) {
        let (sign, role) = cell(piece, of, ascii);
        spans.push(Span::styled(sign, theme.style(role)));
    }
    spans.push(Span::raw("]"));
    lines.push(Line::from(spans));
    let each = seen.size.checked_div(u64::try_from(cells).unwrap_or(1));
    let each = units::size(each.unwrap_or(0));
    let signs = if ascii {
        "# own  = partly  : below  0 zeroed  . nothing"
    } else {
        "█ own  ▒ partly  ░ below  0 zeroed  · nothing"
    };
    let legend = format!(" {signs}   a cell is {each}");
    lines.push(Line::styled(
        text::cut_end(&legend, width, ascii),
        theme.style(Role::Quiet),
    ));
}

fn cell(piece: MapSegment, of: u64, ascii: bool) -> (&'static str, Role) {
    let (full, part, below, nothing) = if ascii {
        ("#", "=", ":", ".")
    } else {
        ("█", "▒", "░", "·")
    };
    if piece.own > of / 2 {
        (full, Role::Fill)
    } else if piece.own > 0 {
        (part, Role::Fill)
    } else if piece.below > 0 {
        (below, Role::Plain)
    } else if piece.zeroed > 0 {
        ("0", Role::Warning)
    } else {
        (nothing, Role::Quiet)
    }
}

/// How much each layer gives of what the guest sees.
fn sums(app: &App, seen: &MapSeen) -> String {
    let mut parts = Vec::new();
    for (at, (path, bytes)) in seen.layers.iter().enumerate() {
        let bytes_shown = units::size(*bytes);
        if at == 0 {
            parts.push(format!("{bytes_shown} its own"));
        } else if *bytes > 0 && parts.len() < 6 {
            parts.push(format!("{bytes_shown} from {}", units::file_name(path)));
        }
    }
    if seen.zeroed > 0 {
        parts.push(format!("{} zeroed", units::size(seen.zeroed)));
    }
    parts.join(if app.settings.ascii { ", " } else { " · " })
}

fn run_line(app: &App, seen: &MapSeen, run: &MapRun, width: usize) -> Line<'static> {
    let layer = seen.layers.get(run.layer).map(|(path, _)| path);
    let from = match (run.state, run.layer, layer) {
        (MapState::Unallocated, ..) => "no layer holds it: zeros".to_owned(),
        (MapState::Unknown, ..) => "from below what could be opened".to_owned(),
        (_, 0, _) => "its own".to_owned(),
        (_, _, Some(path)) => format!("from {}", units::file_name(path)),
        (_, _, None) => String::new(),
    };
    let role = match run.state {
        MapState::Unallocated => Role::Quiet,
        MapState::Unknown => Role::Warning,
        _ => Role::Plain,
    };
    let text = format!(
        " at {:>9} {:>9}  {:<10} {from}",
        units::size(run.start),
        units::size(run.len),
        run.state.name()
    );
    let text = text::cut_end(&text, width, app.settings.ascii);
    Line::styled(text, app.settings.theme.style(role))
}
