//! The chain from the selected image down to its root, each layer with its share of the bytes on disk.

use std::ops::Range;

use ratatui::text::{Line, Span};

use crate::forest::{Node, NodeId};
use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

/// Layers whose names are measured to find the room for all of them; those further down are cut to it.
const MEASURED: usize = 200;

/// How many lines [`lines`] has in all.
pub(in crate::tui) fn count(app: &App) -> usize {
    let layers = &app.detail.chain;
    (2 * layers.ids.len()).saturating_sub(1) + usize::from(layers.is_circle) + 1
}

/// The lines seen: a layer, what it reads through, the next layer, and at the end the sum.
pub(in crate::tui) fn lines(app: &App, width: usize, seen: Range<usize>) -> Vec<Line<'static>> {
    let layers = &app.detail.chain.ids;
    let node = |id: &NodeId| app.forest.get(*id);
    let theme = app.settings.theme;
    let (total, most) = (app.detail.chain.total, app.detail.chain.most);
    // A sign, the size, the share; names and bars divide the rest, names first.
    let room = width.saturating_sub(3 + 11 + 6);
    let longest = layers
        .iter()
        .take(MEASURED)
        .filter_map(|id| Some(text::width(&named(app, node(id)?))))
        .max();
    let name_room = longest.unwrap_or(0).min(room.saturating_sub(8)).max(4);
    let columns = Columns {
        name: name_room,
        bar: room.saturating_sub(name_room).min(24),
        total,
        most,
    };
    let last = (2 * layers.len()).saturating_sub(1);
    let mut lines = Vec::new();
    for at in seen.start..seen.end.min(last) {
        let Some(layer) = layers.get(at / 2).and_then(node) else {
            continue;
        };
        lines.push(if at % 2 == 1 {
            through(app, layer)
        } else {
            layer_line(app, layer, &columns)
        });
    }
    let mut end = Vec::new();
    if app.detail.chain.is_circle {
        let text = " the links run in a circle: the chain has no root";
        end.push(Line::styled(text, theme.style(Role::Error)));
    }
    let depth = units::count(layers.len(), "layer");
    end.push(Line::styled(
        format!(" {depth}, {} on disk", units::size(total)),
        theme.style(Role::Quiet),
    ));
    let at = (last..).zip(end);
    lines.extend(at.filter_map(|(at, line)| seen.contains(&at).then_some(line)));
    lines
}

struct Columns {
    name: usize,
    bar: usize,
    total: u64,
    most: u64,
}

/// What lies between a layer and the next one.
fn through(app: &App, above: &Node) -> Line<'static> {
    let sign = if app.settings.ascii { "|" } else { "│" };
    let format = above
        .backing
        .as_ref()
        .map(|backing| match backing.format() {
            Some(format) => format!("reads through, as {}", text::safe(format.name())),
            None => "reads through; no format is recorded".to_owned(),
        })
        .unwrap_or_default();
    Line::styled(
        format!(" {sign} {format}"),
        app.settings.theme.style(Role::Quiet),
    )
}

fn layer_line(app: &App, layer: &Node, columns: &Columns) -> Line<'static> {
    let ascii = app.settings.ascii;
    let theme = app.settings.theme;
    let (full, half, bullet) = if ascii {
        ("#", "", ["o", "*"])
    } else {
        ("█", "▌", ["○", "●"])
    };
    let sign = bullet[usize::from(!layer.children.is_empty())];
    let own = u128::from(layer.size_on_disk().unwrap_or_default());
    let share = (columns.total > 0).then(|| own * 100 / u128::from(columns.total));
    let cells = match columns.most {
        0 => 0,
        most => own * (columns.bar as u128) * 2 / u128::from(most),
    };
    let cells = usize::try_from(cells).unwrap_or(0);
    let mut bar = full.repeat(cells / 2);
    if cells % 2 == 1 {
        bar.push_str(half);
    }
    let size = layer
        .size_on_disk()
        .map_or_else(|| "-".to_owned(), units::size);
    let role = if layer.stat.is_none() {
        Role::Error
    } else if !layer.children.is_empty() {
        Role::Base
    } else {
        Role::Plain
    };
    let name = text::cut_middle(&named(app, layer), columns.name, ascii);
    Line::from(vec![
        Span::raw(format!(" {sign} ")),
        Span::styled(text::pad(&name, columns.name, ascii), theme.style(role)),
        Span::raw(format!("{size:>10} ")),
        Span::styled(text::pad(&bar, columns.bar, ascii), theme.style(Role::Fill)),
        Span::raw(share.map_or_else(String::new, |share| format!(" {share:>3}%"))),
    ])
}

/// A layer's name, and whether its file is there.
fn named(app: &App, layer: &Node) -> String {
    if layer.stat.is_none() {
        format!("{} (not there)", app.label(layer))
    } else {
        app.label(layer)
    }
}
