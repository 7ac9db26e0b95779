//! The forest as indented rows with connector lines. Only the rows that are seen are made.

use std::os::unix::ffi::OsStrExt;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::fleet::HERE;
use crate::forest::render::snapshot_sign;
use crate::forest::{Flags, Location, Node, NodeId};
use crate::host::printable;
use crate::image::Snapshot;
use crate::ops::SnapshotName;
use crate::tui::actions::Action;
use crate::tui::app::{App, Pane};
use crate::tui::dialogs::Keyboard;
use crate::tui::filter::{self, Filter};
use crate::tui::hosts::HostSeen;
use crate::tui::labels;
use crate::tui::msg::Watching;
use crate::tui::order::View;
use crate::tui::panes::machine;
use crate::tui::rows::{Row, RowKind, nth};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

/// Draws the images pane.
pub(in crate::tui) fn draw(frame: &mut Frame<'_>, app: &App, keyboard: Keyboard, area: Rect) {
    if area.is_empty() {
        return;
    }
    let inside = framed(frame, app, keyboard, area);
    if app.tree.rows.list.is_empty() {
        frame.render_widget(Paragraph::new(nothing(app, inside)), inside);
        return;
    }
    frame.render_widget(Paragraph::new(lines(app, inside)), inside);
}

/// The frame of the images pane, with what is counted at its bottom.
pub(in crate::tui) fn framed(
    frame: &mut Frame<'_>,
    app: &App,
    keyboard: Keyboard,
    area: Rect,
) -> Rect {
    let theme = app.settings.theme;
    let (line, dot) = if app.settings.ascii {
        ("-", "-")
    } else {
        ("─", "·")
    };
    let focus =
        app.pane == Pane::Images && matches!(keyboard, Keyboard::Panes | Keyboard::FilterLine);
    let what = if app.diagram.is_some() {
        "Diagram"
    } else {
        "Images"
    };
    let lead = frame::lead(app, focus);
    let title = Line::styled(format!("{lead} 1 {what} "), theme.style(Role::Title));
    let rows = app.tree.rows.list.len();
    let at = if rows == 0 { 0 } else { app.tree.cursor + 1 };
    let mut parts = vec![format!("{at}/{rows}")];
    if !app.tree.marks.is_empty() {
        let hidden = match app.hidden_marks() {
            0 => String::new(),
            n => format!(" ({n} hidden)"),
        };
        let bytes = app
            .tree
            .marks
            .iter()
            .filter_map(|id| app.forest.get(*id)?.size_on_disk());
        parts.push(format!(
            "{} marked{hidden}, {}",
            app.tree.marks.len(),
            units::size(bytes.fold(0, u64::saturating_add))
        ));
    }
    if !app.tree.filter.value().is_empty() && keyboard != Keyboard::FilterLine {
        parts.push(format!("/{}", text::safe(app.tree.filter.value())));
    }
    if let Some(words) = looking_inside(app) {
        parts.push(words);
    }
    if app.tree.narrowed {
        parts.push("only what the plan concerns: , . go through it".to_owned());
    }
    if app.tree.rows.filtered && app.tree.view != Default::default() {
        parts.push(app.tree.view.name().to_owned());
    }
    let instead = match app.tree.sort.figure() {
        Some(_) => ", shown in place of the size",
        None => "",
    };
    parts.push(format!("sort: {}{instead}", app.tree.sort.name()));
    let bottom = format!("{line} {} ", parts.join(&format!(" {dot} ")));
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = text::cut_end(&bottom, room, app.settings.ascii);
    let role = if focus { Role::Focus } else { Role::Frame };
    let plain = theme.style(Role::Plain);
    frame::draw(frame, app, area, title, Line::styled(bottom, plain), role)
}

/// How far looking into images is, while rows are chosen by what is inside.
fn looking_inside(app: &App) -> Option<String> {
    let progress = app.insides.under_way()?;
    Some(match progress.all {
        0 => "looking inside".to_owned(),
        all => format!("looking inside {} of {all}", progress.looked),
    })
}

/// What to say when there is no row.
pub(in crate::tui) fn nothing(app: &App, area: Rect) -> Vec<Line<'static>> {
    let room = usize::from(area.width).saturating_sub(2);
    let mut texts = Vec::new();
    if app.tree.rows.filtered && !app.forest.is_empty() {
        let is_by_machine = app.tree.view == View::Machines;
        texts.push(match is_by_machine && app.tree.filter.value().is_empty() {
            true => "Esc shows all images again.".to_owned(),
            false => "No image matches. Esc shows all again.".to_owned(),
        });
        texts.extend(looking_inside(app));
        if is_by_machine || Filter::parse(app.tree.filter.value()).asks_for_machines() {
            texts.push(machine::known(app));
        }
    } else if app.refresh.scan.running {
        let looked_at = units::grouped(app.refresh.scan.looked_at);
        texts.push(format!("Looking for images: {looked_at} files so far."));
        if app.refresh.scan.looked_at > HUGE {
            let quit = app.key(Action::Quit);
            texts.push(format!(
                "That is a lot. Images appear here as they are found; a narrower folder is quicker: \
                 {quit} leaves, then `qanopy DIR`."
            ));
        }
    } else {
        nothing_found(app, &mut texts);
    }
    let wrapped = texts.iter().flat_map(|text| text::wrap(text, room, 2));
    wrapped.map(|line| Line::raw(format!(" {line}"))).collect()
}

/// More files than this without an image are worth a word.
const HUGE: u64 = 20_000;

/// Why there may be no image, and what to do.
fn nothing_found(app: &App, texts: &mut Vec<String>) {
    let roots = &app.settings.roots;
    let shown: Vec<String> = roots.iter().map(|root| app.shown(root)).collect();
    let folders = u64::try_from(app.refresh.scan.unreadable.len()).unwrap_or(u64::MAX);
    let unreadable = match folders {
        0 => String::new(),
        n => format!(", {} unreadable", units::count(n, "folder")),
    };
    texts.push(format!(
        "No qcow2 images under {} (looked at {}{unreadable}).",
        shown.join(", "),
        units::count(app.refresh.scan.looked_at, "file")
    ));
    let told = app.refresh.scan.unreadable.iter().take(5);
    texts.extend(told.map(|told| format!("Cannot read {}", text::safe(told))));
    if folders > 0 {
        texts.push(
            "Open a folder you may read, or run qanopy as a user who may read this one: \
             `qanopy DIR`."
                .to_owned(),
        );
    } else {
        if !app.settings.raw {
            texts.push(
                "Raw disks that nothing is built on are listed with `qanopy --raw DIR`.".to_owned(),
            );
        }
        if !app.settings.read_only {
            let create = app.key(Action::NewImage);
            texts.push(format!(
                "{create} makes a new image here; `qanopy demo` makes sample forests to try."
            ));
        }
    }
    if let Watching::Polling(why) = &app.refresh.watching {
        let again = app.key(Action::Rescan);
        texts.push(format!(
            "What comes is seen within seconds, not at once ({}): {again} looks at once.",
            text::safe(why)
        ));
    }
    let (open, again) = (app.key(Action::Open), app.key(Action::Rescan));
    let (help, quit) = (app.key(Action::Help), app.key(Action::Quit));
    texts.push(format!(
        "{open} opens another folder, {again} looks again, {help} shows all keys, {quit} leaves."
    ));
}

/// Cells that the pane has to have before hosts get a column.
const ROOM_FOR_HOSTS: usize = 72;
/// Cells of a host's name there.
const WIDEST_HOST: usize = 16;

/// How the width is shared among the columns.
struct Columns {
    /// The host's name, where there are hosts and room.
    host: usize,
    name: usize,
    state: usize,
    flags: usize,
    size: usize,
    age: usize,
}

impl Columns {
    fn of(app: &App, width: usize) -> Self {
        let hosts = app.hosts.list.iter().map(|host| text::width(&host.name));
        let is_shared = app.hosts.list.iter().any(|host| host.images.is_shared);
        // Beside the first of those that see it, how many do.
        let widest = hosts.max().unwrap_or(0) + if is_shared { 3 } else { 0 };
        let mut columns = Self {
            host: if widest > 0 && width >= ROOM_FOR_HOSTS {
                widest.min(WIDEST_HOST) + 1
            } else {
                0
            },
            name: 0,
            state: if width >= 54 { 9 } else { 0 },
            flags: 6,
            size: 10,
            age: if width >= 50 { 5 } else { 0 },
        };
        // Cells for the cursor and marks on the left, and a space after the name, before the age and
        // on the right.
        columns.name = width.saturating_sub(3 + columns.others() + 3);
        columns
    }

    /// Cells of all columns but the name's.
    fn others(&self) -> usize {
        self.host + self.state + self.flags + self.size + self.age
    }
}

/// The lines that are seen: one a row, from the first shown, no more than fit.
pub(in crate::tui) fn lines(app: &App, area: Rect) -> Vec<Line<'static>> {
    let columns = Columns::of(app, usize::from(area.width));
    let rows = app.tree.rows.list.iter().enumerate();
    rows.skip(app.tree.top)
        .take(usize::from(area.height))
        .map(|(i, row)| line(app, i, row, &columns))
        .collect()
}

fn line(app: &App, i: usize, row: &Row, columns: &Columns) -> Line<'static> {
    let ascii = app.settings.ascii;
    let theme = app.settings.theme;
    let is_at = i == app.tree.cursor;
    let id = match row.kind {
        RowKind::Image(id) => Some(id),
        _ => None,
    };
    let node = id.and_then(|id| app.forest.get(id));
    let style = row_style(app, row, node);
    let (mark, mark_role) = sign(app, row, id);
    let prefix = connectors(app, row, ascii);
    let room = columns.name.saturating_sub(text::width(&prefix));
    // A sentence has no columns.
    let room = match row.kind {
        RowKind::Host(_) => room + columns.others(),
        _ => room,
    };
    let name = with_tags(app, node, name(app, row, room), room);
    let name = machine::beside_name(app, node, name, room);
    let name = text::pad(&name, room, ascii);
    let bar = frame::bar(app, is_at);
    let snapshot = app.snapshot_on(row);
    let bytes = match row.kind {
        RowKind::Image(_) => node.and_then(|node| ordered_by(app, node)),
        RowKind::Folded { hidden, .. } | RowKind::Run { hidden, .. } => {
            Some(app.tree.rows.hidden(hidden).bytes)
        }
        // The state of the machine is what it adds for sure.
        RowKind::Snapshot { .. } => snapshot
            .map(Snapshot::vm_state_size)
            .filter(|size| *size > 0),
        RowKind::Again(_)
        | RowKind::New(_)
        | RowKind::MoreSnapshots { .. }
        | RowKind::NewSnapshot(_)
        | RowKind::Host(_)
        | RowKind::Machine(_)
        | RowKind::Disk { .. } => None,
    };
    let nothing = if ascii { "-" } else { "—" };
    let size = bytes.map_or_else(
        || {
            if node.is_some() {
                nothing.to_owned()
            } else {
                String::new()
            }
        },
        units::size,
    );
    let changed = node.and_then(|node| Some(node.stat.as_ref()?.modified));
    let age = changed
        .or_else(|| snapshot.map(text::snapshot_taken))
        .map(|when| text::age(when, app.now()));
    let state = match row.kind {
        RowKind::Snapshot { .. } | RowKind::NewSnapshot(_) => "snapshot",
        _ => node.map_or("", |node| state(app, node)),
    };
    let hosts = node.map(|node| app.forest.hosts_of(node, HERE));
    let host = text::few(&hosts.unwrap_or_default(), columns.host.saturating_sub(1));
    let host = text::cut_end(&host, columns.host.saturating_sub(1), ascii);
    let letters = node.map(|node| letters(app, node)).unwrap_or_default();
    let is_bad = node.is_some_and(|node| filter::is_problem(&app.forest, node));
    let quiet = style.patch(theme.style(if row.dim { Role::Dim } else { Role::Plain }));
    let flag_style = if is_bad {
        quiet.patch(theme.style(Role::Error))
    } else {
        quiet
    };
    let mut spans = vec![
        Span::styled(bar.to_owned(), theme.style(Role::Key)),
        Span::styled(mark, theme.style(mark_role)),
        Span::raw(" "),
        Span::styled(prefix, quiet.remove_modifier(Modifier::BOLD)),
        Span::styled(name, style),
        Span::raw(" "),
        Span::styled(text::pad(&host, columns.host, ascii), quiet),
        Span::styled(text::pad(state, columns.state, ascii), quiet),
        Span::styled(text::pad(&letters, columns.flags, ascii), flag_style),
        Span::styled(text::pad_left(&size, columns.size, ascii), quiet),
    ];
    if columns.age > 0 {
        let age = age.unwrap_or_default();
        spans.push(Span::styled(
            format!(" {}", text::pad_left(&age, columns.age, ascii)),
            quiet,
        ));
    }
    spans.push(Span::raw(" "));
    if matches!(row.kind, RowKind::Host(_)) {
        spans.truncate(5);
    }
    let mut line = Line::from(spans);
    if is_at {
        line = line.patch_style(theme.style(Role::Cursor));
    }
    line
}

/// The name, and behind it the tags of the image, as far as there is room.
fn with_tags(app: &App, node: Option<&Node>, name: String, room: usize) -> String {
    let words = node.and_then(|node| Some(node.annotation.as_ref()?.tag_words()));
    let words = words.unwrap_or_default();
    let left = room.saturating_sub(text::width(&name));
    if words.is_empty() || left < LEAST_TAG {
        return name;
    }
    let words = text::cut_end(&words, left - 1, app.settings.ascii);
    format!("{name} {words}")
}

/// In fewer cells a tag says nothing.
const LEAST_TAG: usize = 5;

/// Bytes that tell why a row is where it is: those that rows are ordered by, or else those on disk.
fn ordered_by(app: &App, node: &Node) -> Option<u64> {
    match app.tree.sort.figure() {
        Some(figure) => app.space.found.figures.of(&node.path, figure),
        None => node.size_on_disk(),
    }
}

fn row_style(app: &App, row: &Row, node: Option<&Node>) -> Style {
    let theme = app.settings.theme;
    if row.dim {
        return theme.style(Role::Dim);
    }
    if matches!(row.kind, RowKind::New(_) | RowKind::NewSnapshot(_)) {
        return theme.style(Role::Good);
    }
    let Some(node) = node else {
        return match row.kind {
            RowKind::Host(at) if nth(&app.hosts.list, at).is_some_and(HostSeen::is_bad) => {
                theme.style(Role::Error)
            }
            RowKind::Snapshot { .. } | RowKind::Machine(_) => theme.style(Role::Plain),
            _ => theme.style(Role::Quiet),
        };
    };
    if app.tree.marks.contains(&node.id) {
        return theme.style(Role::Marked);
    }
    let flags = app.forest.flags(node.id);
    let mut style = theme.style(Role::Plain);
    if flags.contains(Flags::IN_USE) {
        style = style.patch(theme.style(Role::InUse));
    }
    if node.location == Location::Missing {
        style = style.patch(theme.style(Role::Error));
    }
    if flags.contains(Flags::FROZEN) {
        style = style.patch(theme.style(Role::Base));
    }
    style
}

/// What a plan would do to the row, or whether it is marked.
fn sign(app: &App, row: &Row, id: Option<NodeId>) -> (String, Role) {
    if matches!(row.kind, RowKind::New(_) | RowKind::NewSnapshot(_)) {
        return ("+".to_owned(), Role::Good);
    }
    if is_forgotten(app, row) {
        let gone = if app.settings.ascii { "x" } else { "✗" };
        return (gone.to_owned(), Role::Error);
    }
    let Some(id) = id else {
        return (" ".to_owned(), Role::Plain);
    };
    let kind = app
        .preview
        .as_ref()
        .and_then(|preview| preview.marks.get(&id));
    if let Some((mark, _)) = kind.and_then(|kind| kind.mark()) {
        let (mark, role) = match mark {
            '✗' => (if app.settings.ascii { 'x' } else { '✗' }, Role::Error),
            '≈' => (if app.settings.ascii { '=' } else { '≈' }, Role::Warning),
            '!' => ('!', Role::Error),
            '+' => ('+', Role::Good),
            other => (other, Role::Warning),
        };
        return (mark.to_string(), role);
    }
    if app.tree.marks.contains(&id) || app.tree.range == Some(id) {
        return ("*".to_owned(), Role::Marked);
    }
    (" ".to_owned(), Role::Plain)
}

/// The lines left of a row and its sign.
fn connectors(app: &App, row: &Row, ascii: bool) -> String {
    let (down, tee, corner) = if ascii {
        ("| ", "|-", "`-")
    } else {
        ("│ ", "├─", "└─")
    };
    let mut parts: Vec<&str> = Vec::new();
    if is_inside(row) {
        // What is in an image hangs from no line of its own.
        parts.push(if row.last { "  " } else { down });
    } else if row.depth > 0 {
        parts.push(match (row.lane, row.last) {
            (true, true) => "  ",
            (true, false) => down,
            (false, true) => corner,
            (false, false) => tee,
        });
    }
    let mut guide = row.guide;
    while let Some(at) = guide.and_then(|at| usize::try_from(at).ok()) {
        let Some(above) = app.tree.rows.list.get(at) else {
            break;
        };
        if above.depth == 0 {
            break;
        }
        parts.push(if above.last { "  " } else { down });
        guide = above.guide;
    }
    parts.reverse();
    let mut prefix = parts.concat();
    prefix.push_str(kind_sign(app, row, ascii));
    prefix.push(' ');
    prefix
}

/// Frozen, active, missing, folded.
fn kind_sign(app: &App, row: &Row, ascii: bool) -> &'static str {
    match row.kind {
        RowKind::Image(id) => {
            let node = app.forest.get(id);
            let is_there = node.is_some_and(|node| {
                !matches!(node.location, Location::Missing | Location::Elsewhere)
            });
            let is_frozen = node.is_some_and(|node| !app.forest.is_leaf(node));
            match (is_there, is_frozen, ascii) {
                (false, _, _) => "?",
                (true, true, false) => "●",
                (true, true, true) => "*",
                (true, false, false) => "○",
                (true, false, true) => "o",
            }
        }
        RowKind::Folded { .. } => {
            if ascii {
                ">"
            } else {
                "▸"
            }
        }
        RowKind::Run { .. } => {
            if ascii {
                ":"
            } else {
                "⋮"
            }
        }
        RowKind::Again(_) => {
            if ascii {
                "@"
            } else {
                "↺"
            }
        }
        RowKind::New(_) => {
            if ascii {
                "o"
            } else {
                "○"
            }
        }
        RowKind::Machine(_) => {
            if ascii {
                "#"
            } else {
                "▶"
            }
        }
        RowKind::Disk { .. } | RowKind::Host(_) => "?",
        RowKind::Snapshot { .. } | RowKind::MoreSnapshots { .. } | RowKind::NewSnapshot(_) => {
            snapshot_sign(app.settings.charset())
        }
    }
}

/// Whether the row is of something inside an image.
fn is_inside(row: &Row) -> bool {
    matches!(
        row.kind,
        RowKind::Snapshot { .. } | RowKind::MoreSnapshots { .. } | RowKind::NewSnapshot(_)
    )
}

/// Whether the shown plan would delete the row's internal snapshot.
fn is_forgotten(app: &App, row: &Row) -> bool {
    let RowKind::Snapshot { of, .. } = row.kind else {
        return false;
    };
    let forgets = app
        .preview
        .as_ref()
        .and_then(|preview| preview.forgets.as_ref());
    let (Some((image, which)), Some(snapshot)) = (forgets, app.snapshot_on(row)) else {
        return false;
    };
    *image == of
        && match which {
            SnapshotName::Id(id) => id.as_bytes() == snapshot.id,
            SnapshotName::Name(name) => name.as_bytes() == snapshot.name,
        }
}

pub(in crate::tui) fn name(app: &App, row: &Row, room: usize) -> String {
    let ascii = app.settings.ascii;
    let name = match row.kind {
        RowKind::Image(id) | RowKind::Again(id) => {
            let Some(node) = app.forest.get(id) else {
                return String::new();
            };
            let label = app.label(node);
            match (row.kind, node.location) {
                (RowKind::Again(_), _) => format!("back to {label}: a loop"),
                (_, Location::Missing) => format!("(missing) {}", recorded(app, node)),
                (_, Location::Elsewhere) => format!("(not a local file) {label}"),
                (_, Location::InTrash) => format!("(in trash) {}", units::file_name(&node.path)),
                _ => match machine::disk_of(app, row, node) {
                    Some(disk) => format!("{}: {}", disk.target, app.inside(&node.path)),
                    None => placed(app, node),
                },
            }
        }
        RowKind::Machine(place) => machine::heading(app, place),
        RowKind::Disk { machine, at } => machine::unknown_disk(app, machine, at),
        RowKind::Host(at) => nth(&app.hosts.list, at)
            .and_then(HostSeen::row)
            .unwrap_or_default(),
        RowKind::Folded { hidden, .. } => match app.tree.rows.hidden(hidden).images {
            0 => "its snapshots (folded)".to_owned(),
            images => format!("{images} hidden (folded)"),
        },
        RowKind::Snapshot { .. } => app
            .snapshot_on(row)
            .map_or_else(String::new, |one| text::safe(&text::snapshot_name(one))),
        RowKind::MoreSnapshots { hidden, .. } => {
            let key = app.key(Action::SnapshotList);
            let many = units::count(u64::from(hidden), "more snapshot");
            format!("{many} ({key} lists them)")
        }
        RowKind::NewSnapshot(_) => {
            let takes = app
                .preview
                .as_ref()
                .and_then(|preview| preview.takes.as_ref());
            takes.map_or_else(String::new, |(_, name)| printable(name))
        }
        RowKind::Run { hidden, .. } => {
            let images = app.tree.rows.hidden(hidden).images;
            format!("{images} more in line (Enter shows them)")
        }
        RowKind::New(new) => {
            let preview = app.preview.as_ref();
            let new = preview.and_then(|preview| nth(&preview.new, new));
            new.map(|(path, _)| units::file_name(path))
                .unwrap_or_default()
        }
    };
    match row.kind {
        RowKind::Host(_) => text::cut_end(&name, room, ascii),
        _ => text::cut_middle(&name, room, ascii),
    }
}

/// The name as seen from the image above, or from the scanned directory where there is none.
fn placed(app: &App, node: &Node) -> String {
    let above = node.parent.and_then(|id| app.forest.get(id));
    let beside = above
        .and_then(|above| above.path.parent())
        .and_then(|dir| node.path.strip_prefix(dir).ok());
    beside.map_or_else(|| app.inside(&node.path), printable)
}

/// The name by which a child records a missing image.
fn recorded(app: &App, node: &Node) -> String {
    let child = node.children.first().and_then(|id| app.forest.get(*id));
    let backing = child.and_then(|child| child.backing.as_ref());
    backing.map_or_else(|| app.label(node), |backing| printable(backing.name()))
}

/// The word for what may be done with it.
fn state(app: &App, node: &Node) -> &'static str {
    let flags = app.forest.flags(node.id);
    if node.stat.is_none() && node.location == Location::Missing {
        "missing"
    } else if node.is_in_trash() {
        "in trash"
    } else if flags.contains(Flags::FROZEN) {
        "frozen"
    } else if flags.contains(Flags::ACTIVE) {
        "(Active)"
    } else {
        ""
    }
}

/// `!` where something is wrong, then the letters.
fn letters(app: &App, node: &Node) -> String {
    let mut letters = String::new();
    if filter::is_problem(&app.forest, node) {
        letters.push('!');
    }
    letters.push_str(&labels::letters(&app.forest, node));
    letters
}
