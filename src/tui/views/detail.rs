//! The detail pane: which of its tabs is shown, how far it is scrolled, and the first of them, all facts
//! of the selected image. The other tabs are in files of their own.

mod chain;
mod health;
mod map;
mod snapshots;

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::forest::{BackingState, Content, Flags, Node, NodeId, Reads, Whereabouts};
use crate::host::printable;
use crate::image::Encryption;
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::layout::Layout;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

/// Cells of the longest label.
const LABEL: usize = 11;

/// One fact: a label, and what there is to say.
struct Fact {
    label: &'static str,
    text: String,
    role: Role,
    /// Whether it stands on lines of its own.
    long: bool,
}

/// Draws one tab of the detail.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    app: &App,
    layout: &Layout,
    (area, tab): (Rect, Tab),
    focus: bool,
) {
    if area.width < 10 || area.height < 3 {
        return;
    }
    let ascii = app.settings.ascii;
    let theme = app.settings.theme;
    let line = if ascii { "-" } else { "─" };
    let dot = if ascii { "-" } else { "·" };
    let name = app
        .selected()
        .map_or_else(String::new, |node| app.label(node));
    let beside = !layout.chain.is_empty();
    let mut tabs = String::new();
    for (of, action, what) in Tab::ALL {
        // What has a pane of its own is no tab of this one.
        let has_own = beside && (tab == Tab::Chain) != (of == Tab::Chain);
        if of == tab {
            tabs.push_str(&format!("[{} {what}]", tab_key(app, action)));
        } else if !has_own {
            tabs.push_str(&format!(" {} {what} ", tab_key(app, action)));
        }
    }
    if text::width(&tabs) + 20 > usize::from(area.width) {
        // Names where there is room for them, keys where not.
        tabs.clear();
        for (of, action, what) in Tab::ALL {
            let key = tab_key(app, action);
            if of == tab {
                tabs.push_str(&format!("[{key} {what}]"));
            } else if !beside || tab != Tab::Chain && of != Tab::Chain {
                tabs.push_str(&format!(" {key}"));
            }
        }
        tabs.push(' ');
    }
    let room = usize::from(area.width).saturating_sub(text::width(&tabs) + 9);
    let title = format!(
        "{line} {} {dot} {tabs} ",
        text::cut_middle(&name, room, ascii)
    );
    let title = Line::styled(title, theme.style(Role::Title));
    let inside_width = usize::from(area.width).saturating_sub(2);
    let height = usize::from(area.height).saturating_sub(2);
    let count = count(app, layout, tab, inside_width);
    let scroll = if tab == app.detail.tab {
        app.detail.scroll
    } else {
        0
    };
    let scroll = scroll.min(count.saturating_sub(height));
    let below = count.saturating_sub(scroll + height);
    let bottom = if below > 0 || scroll > 0 {
        let more = if focus {
            "j k scrolls"
        } else {
            "Enter, then j k"
        };
        format!("{line} {below} more below: {more} ")
    } else {
        String::new()
    };
    let bottom = Line::raw(text::cut_end(&bottom, inside_width, ascii));
    let role = if focus { Role::Focus } else { Role::Frame };
    let inside = super::frame::draw(frame, app, area, title, bottom, role);
    let shown = lines(app, layout, tab, inside_width, scroll..scroll + height);
    frame.render_widget(Paragraph::new(shown), inside);
}

/// The key that shows a tab: the last of its action's, which is the pane's number unless it was bound
/// anew.
fn tab_key(app: &App, action: Action) -> String {
    let entry = app.settings.keymap.entry(action);
    let key = entry.and_then(|entry| entry.keys.last());
    key.map(ToString::to_string).unwrap_or_default()
}

/// How many lines the chosen tab has at its present width.
#[must_use]
pub fn lines_of_detail(app: &App, layout: &Layout) -> usize {
    let area = match app.detail.tab {
        Tab::Chain if !layout.chain.is_empty() => layout.chain,
        _ => layout.detail,
    };
    count(
        app,
        layout,
        app.detail.tab,
        usize::from(area.width).saturating_sub(2),
    )
}

/// The lines of the health pane that what is under its cursor takes.
#[must_use]
pub fn health_lines_at_cursor(app: &App, layout: &Layout) -> Option<Range<usize>> {
    let width = usize::from(layout.detail.width).saturating_sub(2);
    health::lines_at_cursor(app, app.selected()?, width)
}

/// How many lines a tab has. A chain may have thousands of layers: they are counted, not made.
fn count(app: &App, layout: &Layout, tab: Tab, width: usize) -> usize {
    match (tab, app.selected()) {
        (Tab::Chain, Some(_)) => chain::count(app),
        _ => lines(app, layout, tab, width, 0..usize::MAX).len(),
    }
}

/// Those lines of a tab that are seen.
fn lines(
    app: &App,
    layout: &Layout,
    tab: Tab,
    width: usize,
    seen: Range<usize>,
) -> Vec<Line<'static>> {
    let Some(node) = app.selected() else {
        return vec![Line::raw(" no image is selected")];
    };
    let all = match tab {
        Tab::Chain => return chain::lines(app, width, seen),
        Tab::Info => info(app, layout, node, width),
        Tab::Changes => map::lines(app, node, width, map::Of::Own),
        Tab::Map => map::lines(app, node, width, map::Of::All),
        Tab::Health => health::lines(app, node, width),
        Tab::Snapshots => snapshots::lines(app, node, width),
    };
    let len = seen.end.saturating_sub(seen.start);
    all.into_iter().skip(seen.start).take(len).collect()
}

/// All facts: problems first, since they are what one looks for.
fn info(app: &App, layout: &Layout, node: &Node, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let mut lines = Vec::new();
    for problem in &node.problems {
        for (i, part) in text::wrap(&problem.message, width.saturating_sub(4), 0)
            .into_iter()
            .enumerate()
        {
            let sign = if i == 0 { " ! " } else { "   " };
            lines.push(Line::from(vec![
                Span::styled(sign, theme.style(Role::Error)),
                Span::raw(text::safe(&part)),
            ]));
        }
    }
    let facts = facts(app, node);
    // A tall narrow pane has a line for each fact; a flat wide one puts them side by side.
    let flat = layout.detail.height < 14;
    let mut row: Vec<Span<'static>> = vec![Span::raw(" ")];
    let mut used = 1;
    for fact in facts {
        if flat && !fact.long {
            let needed = text::width(fact.label) + 1 + text::width(&fact.text) + 3;
            if used + needed > width && used > 1 {
                lines.push(Line::from(std::mem::replace(
                    &mut row,
                    vec![Span::raw(" ")],
                )));
                used = 1;
            }
            used += needed;
            row.push(Span::styled(
                format!("{} ", fact.label),
                theme.style(Role::Quiet),
            ));
            row.push(Span::styled(fact.text, theme.style(fact.role)));
            row.push(Span::raw("   "));
            continue;
        }
        if used > 1 {
            lines.push(Line::from(std::mem::replace(
                &mut row,
                vec![Span::raw(" ")],
            )));
            used = 1;
        }
        let label = text::pad(fact.label, LABEL, app.settings.ascii);
        let parts = text::wrap(&fact.text, width.saturating_sub(LABEL + 3), 0);
        for (i, part) in parts.into_iter().enumerate() {
            let label = if i == 0 {
                label.clone()
            } else {
                " ".repeat(LABEL)
            };
            lines.push(Line::from(vec![
                Span::styled(format!(" {label} "), theme.style(Role::Quiet)),
                Span::styled(part, theme.style(fact.role)),
            ]));
        }
    }
    if used > 1 {
        lines.push(Line::from(row));
    }
    lines
}

fn facts(app: &App, node: &Node) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label: &'static str, text: String, role: Role, long: bool| {
        facts.push(Fact {
            label,
            text,
            role,
            long,
        });
    };
    let flags = app.forest.flags(node.id);
    let long_ascii = app.settings.ascii;
    if let Some(bytes) = node.virtual_size() {
        add("virtual", units::size(bytes), Role::Plain, false);
    }
    if let Some(bytes) = node.size_on_disk() {
        let share = node
            .virtual_size()
            .filter(|all| *all > 0)
            .map(|all| u128::from(bytes) * 1000 / u128::from(all))
            .map(|tenths| format!(" ({}.{}%)", tenths / 10, tenths % 10))
            .unwrap_or_default();
        add(
            "on disk",
            format!("{}{share}", units::size(bytes)),
            Role::Plain,
            false,
        );
    }
    if let Some(facts) = node.facts() {
        let compat = if facts.version < 3 { "0.10" } else { "1.1" };
        add(
            "format",
            format!("qcow2 v{} (compat {compat})", facts.version),
            Role::Plain,
            false,
        );
        add(
            "cluster",
            units::size(facts.cluster_size),
            Role::Plain,
            false,
        );
        add(
            "refcounts",
            format!("{} bits", facts.refcount_bits),
            Role::Plain,
            false,
        );
        add(
            "compression",
            facts.compression.name().to_owned(),
            Role::Plain,
            false,
        );
        add("snapshots", facts.snapshots.to_string(), Role::Plain, false);
        if facts.bitmaps > 0 {
            add("bitmaps", facts.bitmaps.to_string(), Role::Plain, false);
        }
        let features: Vec<&str> = [
            (facts.extended_l2, "subclusters"),
            (facts.lazy_refcounts, "lazy refcounts"),
            (facts.external_data, "external data file"),
            (facts.data_file_raw, "raw external data"),
        ]
        .into_iter()
        .filter_map(|(is_on, name)| is_on.then_some(name))
        .collect();
        if !features.is_empty() {
            add("features", features.join(", "), Role::Plain, false);
        }
        if let Some(encryption) = facts.encryption {
            let name = match encryption {
                Encryption::Aes => "AES (legacy)",
                Encryption::Luks => "LUKS",
            };
            add("encrypted", name.to_owned(), Role::Warning, false);
        }
        if let Some(file) = &facts.data_file {
            add("data file", printable(file), Role::Plain, true);
        }
        if !facts.unknown_features.is_empty() {
            let names = text::safe(&facts.unknown_features.join(", "));
            add("unknown", names, Role::Warning, true);
        }
    } else if let Some(format) = node.format() {
        add("format", text::safe(format.name()), Role::Plain, false);
    }
    if let Some(stat) = &node.stat {
        add(
            "changed",
            format!("{} ago", text::age(stat.modified, app.now())),
            Role::Plain,
            false,
        );
        add(
            "mode",
            format!("{:o}", stat.mode & 0o7777),
            Role::Plain,
            false,
        );
    }
    let live = app
        .detail
        .facts
        .as_ref()
        .filter(|live| live.path == node.path);
    if let Some(space) = live.and_then(|live| live.space) {
        add(
            "free",
            format!(
                "{} of {}",
                units::size(space.available),
                units::size(space.total)
            ),
            Role::Plain,
            false,
        );
    }
    add(
        "children",
        match app.forest.trashed_children(node).count() {
            0 => node.children.len().to_string(),
            trashed => format!(
                "{} and {trashed} in the trash",
                node.children.len().saturating_sub(trashed)
            ),
        },
        Role::Plain,
        false,
    );
    let state = match node.whereabouts {
        Whereabouts::Missing => "missing: the file is not there",
        Whereabouts::Elsewhere => "not a local file",
        Whereabouts::InTrash => "in the trash: kept as it is until the trash is emptied",
        _ if flags.contains(Flags::FROZEN) => "frozen: others are built on it, it is only read",
        _ if flags.contains(Flags::ACTIVE) => "active: nothing is built on it, it may be written",
        _ => "",
    };
    if !state.is_empty() {
        add("state", state.to_owned(), Role::Plain, true);
    }
    let holders = live.map_or(node.holders.as_slice(), |live| &live.holders);
    if holders.is_empty() && flags.contains(Flags::IN_USE) {
        add(
            "in use",
            "through an image built on it".to_owned(),
            Role::Locked,
            true,
        );
    } else if !holders.is_empty() {
        let names: Vec<String> = holders
            .iter()
            .map(|holder| {
                let how = if holder.writes { "writes" } else { "reads" };
                if holder.is_unseen() {
                    return format!("by whom cannot be seen: it {how}");
                }
                format!("{} {how}", text::safe(&holder.to_string()))
            })
            .collect();
        add("in use", names.join(", "), Role::Locked, true);
    }
    if node.is_awaited() {
        let text = "not looked at yet: the scan comes to it last";
        add("where", text.to_owned(), Role::Dim, true);
    } else if node.whereabouts == Whereabouts::OutsideScan {
        let text = "outside the scanned directories: not opened, only looked at";
        add("where", text.to_owned(), Role::Warning, true);
    }
    match &node.content {
        Content::Unreadable(why) | Content::Damaged(why) if node.problems.is_empty() => {
            add("error", text::safe(why), Role::Error, true);
        }
        _ => {}
    }
    add("path", app.shown(&node.path), Role::Plain, true);
    for other in &node.other_names {
        add("also", app.shown(other), Role::Plain, true);
    }
    if let Some(backing) = &node.backing {
        let format = backing.format().map_or_else(
            || "no format recorded".to_owned(),
            |format| text::safe(format.name()),
        );
        add(
            "backing",
            format!("{} ({format})", printable(backing.name())),
            Role::Plain,
            true,
        );
        match (&backing.state, app.forest.leads_to(node)) {
            (BackingState::There(_), Some(path)) if !backing.is_understood() => {
                let text = format!("{}, read in a way not understood", app.shown(path));
                add("leads to", text, Role::Warning, true);
            }
            (BackingState::There(_), Some(path)) => {
                add("leads to", app.shown(path), Role::Plain, true);
            }
            (BackingState::Missing, _) => {
                add(
                    "leads to",
                    "nothing: the file is missing".to_owned(),
                    Role::Error,
                    true,
                );
            }
            (BackingState::Unreachable(why), _) => {
                add("leads to", text::safe(why), Role::Error, true)
            }
            (BackingState::Elsewhere(protocol), _) => {
                let text = format!("not a plain local file: {}", text::safe(protocol));
                add("leads to", text, Role::Plain, true);
            }
            (BackingState::There(_), None) => {}
        }
    }
    let arrow = if long_ascii { " <- " } else { " ← " };
    let layers = &app.detail.layers.ids;
    if layers.len() > 1 {
        // From the root on; of a long chain only both ends.
        let names = |part: &[NodeId]| -> Vec<String> {
            let nodes = part.iter().rev().filter_map(|id| app.forest.get(*id));
            nodes.map(|node| units::file_name(&node.path)).collect()
        };
        let shown = match (layers.first_chunk::<4>(), layers.last_chunk::<4>()) {
            (Some(near), Some(far)) if layers.len() > 12 => {
                let mut short = names(far);
                short.push(format!("({} more)", layers.len() - 8));
                short.extend(names(near));
                short
            }
            _ => names(layers),
        };
        add("chain", shown.join(arrow), Role::Plain, true);
    }
    if !node.children.is_empty() {
        let names: Vec<String> = node
            .children
            .iter()
            .take(12)
            .filter_map(|id| app.forest.get(*id))
            .map(|child| {
                let name = units::file_name(&child.path);
                if child.is_in_trash() {
                    format!("{name} (in the trash)")
                } else {
                    name
                }
            })
            .collect();
        let more = node.children.len().saturating_sub(12);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        add(
            "under",
            format!("{}{more}", names.join(", ")),
            Role::Plain,
            true,
        );
    }
    for edge in app.forest.also_reads(node.id) {
        let text = format!("{}, {}", app.shown(&edge.path), reading(edge.how));
        add("reads", text, Role::Warning, true);
    }
    let readers = app.forest.readers(node.id).into_iter();
    for reader in readers
        .filter(|reader| reader.how != Reads::Backing)
        .take(12)
    {
        if let Some(image) = app.forest.get(reader.node) {
            let text = format!("{}, {}", app.shown(&image.path), reading(reader.how));
            add("read by", text, Role::Warning, true);
        }
    }
    if let Some(stat) = &node.stat {
        let mut bytes = format!(
            "{} long, {} allocated",
            units::grouped(stat.len),
            units::grouped(stat.allocated)
        );
        if let Some(size) = node.virtual_size() {
            bytes.push_str(&format!(", guest sees {}", units::grouped(size)));
        }
        add("bytes", bytes, Role::Quiet, true);
    }
    facts
}

/// How an image reads a file, in words.
fn reading(how: Reads) -> &'static str {
    match how {
        Reads::Backing => "as its backing file",
        Reads::NotUnderstood => "in a way not understood",
        Reads::OtherName => "when opened by another name",
        Reads::DataFile => "as its data file",
    }
}
