//! The space pane: what the images' bytes on disk are, and what would free most.

use std::cmp::Reverse;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::ops::{LayerSpace, Saving, SpacePart};
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::space::SpaceRow;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::push_wrapped;
use crate::units;

use super::list_cursor::ListCursor;
use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean in the pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Plans what is under the cursor, or goes to the image.
    Proceed,
    /// What frees most, or image by image.
    Turn,
    /// Reads the images' data as well.
    Read,
    /// Leaves the pane.
    Close,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// One screen down.
    PageDown,
    /// One screen up.
    PageUp,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Proceed, "space-proceed", &[Key::of(Code::Enter)], "plan it, or go to the image", "plan it, or go there"),
        dialog(Self::Turn, "space-turn", &[Key::of(Code::Tab)], "what frees most, or image by image", "proposals, images"),
        dialog(Self::Read, "space-read", &[Key::char('r')], "read the images' data as well", "read data"),
        dialog(Self::Close, "space-close", &[Key::of(Code::Esc), Key::char('q'), Key::char('8'), Key::ctrl('c')], "close", "close"),
        dialog(Self::Down, "space-down", &[Key::of(Code::Down), Key::char('j')], "next entry", ""),
        dialog(Self::Up, "space-up", &[Key::of(Code::Up), Key::char('k')], "entry before", ""),
        dialog(Self::PageDown, "space-page-down", &[Key::of(Code::PageDown)], "one screen down", ""),
        dialog(Self::PageUp, "space-page-up", &[Key::of(Code::PageUp)], "one screen up", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// The space pane.
#[derive(Debug, Default)]
pub struct SpaceDialog {
    /// Whether the images' data is read as well.
    pub reads: bool,
    /// Whether images are listed rather than what frees most.
    pub by_image: bool,
    /// The entry under the cursor.
    pub cursor: ListCursor,
}

impl SpaceDialog {
    fn len(&self, app: &App) -> usize {
        match self.by_image {
            true => app.space.found.rows.len(),
            false => app.space.found.savings.len(),
        }
    }

    fn proceed(&self, context: &mut Context<'_>) -> Next {
        let found = &context.app.space.found;
        if self.by_image {
            let Some(row) = found.rows.get(self.cursor.at) else {
                return Next::Stay;
            };
            context.app.tree.wanted = Some(row.path.clone());
            context.app.changed();
            return Next::Close;
        }
        let request = found
            .savings
            .get(self.cursor.at)
            .map(|one| one.request.clone());
        match request {
            Some(_) if context.app.settings.read_only => {
                context
                    .app
                    .warn("Nothing is changed: started with --read-only, or so configured.");
                Next::Stay
            }
            Some(request) => match self.host(context.app) {
                None => Next::Ask(Box::new(request)),
                Some(at) => Next::AskThere(at, Box::new(request)),
            },
            None => Next::Stay,
        }
    }

    /// The place of the host that the proposal under the cursor is about, where it is none for this machine.
    fn host(&self, app: &App) -> Option<usize> {
        let saving = app.space.found.savings.get(self.cursor.at)?;
        app.hosts.of_path(saving.images.first()?)
    }
}

impl Window for SpaceDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let len = self.len(context.app);
        match action {
            Action::Down => self.cursor.down(len),
            Action::Up => self.cursor.up(),
            Action::PageDown => self.cursor.page_down(len, context.page()),
            Action::PageUp => self.cursor.page_up(context.page()),
            Action::Turn => {
                self.by_image = !self.by_image;
                self.cursor = ListCursor::default();
            }
            Action::Read => self.reads = true,
            Action::Proceed => return self.proceed(context),
            Action::Close => return Next::Close,
        }
        Next::Stay
    }

    fn turns(&self) -> bool {
        true
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        frame::hints::<Action>(app, width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

fn draw(screen: &mut Frame<'_>, app: &App, pane: &SpaceDialog, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = pane.edge(app, room);
    let inside = frame::dialog(screen, app, area, "Where the space went", bottom);
    frame::corner(screen, app, area, &progress(app, pane));
    let (width, height) = (usize::from(inside.width), usize::from(inside.height));
    let mut lines = summary(app, width);
    let foot = foot(app, pane, width);
    let rows = height.saturating_sub(lines.len() + foot.len()).max(1);
    let from = pane.cursor.first_seen(rows);
    let shown = from..pane.len(app).min(from + rows);
    let count = shown.len();
    lines.extend(shown.map(|at| entry(app, pane, at, width)));
    if count == 0 {
        lines.push(Line::raw(format!(" {}", nothing(app))));
    }
    let left = height.saturating_sub(lines.len() + foot.len());
    let more = largest_trees(app, pane, left, width);
    let left = left.saturating_sub(more.len());
    lines.extend(more);
    lines.extend((0..left).map(|_| Line::default()));
    lines.extend(foot);
    frame::lines_in(screen, inside, lines);
}

/// Below the proposals, where there is room: the largest trees.
fn largest_trees(app: &App, pane: &SpaceDialog, room: usize, width: usize) -> Vec<Line<'static>> {
    let rows = &app.space.found.rows;
    if pane.by_image || rows.is_empty() || room < 4 {
        return Vec::new();
    }
    let title = Line::styled(" The largest trees:", app.settings.theme.style(Role::Title));
    let trees = rows.iter().filter(|row| !row.is_layer).take(room - 3);
    let trees = trees.map(|tree| {
        let mut spans = vec![Span::raw(" ")];
        spans.extend(image(app, tree, width.saturating_sub(1)));
        Line::from(spans)
    });
    [Line::default(), title].into_iter().chain(trees).collect()
}

/// How far it is.
fn progress(app: &App, pane: &SpaceDialog) -> String {
    let count = units::count(app.space.found.images, "image");
    match (is_asked(app), pane.reads) {
        _ if app.refresh.scan.running => "waits for the scan".to_owned(),
        (true, true) => format!("reading data, {count} so far"),
        (true, false) => format!("measuring, {count} so far"),
        (false, _) => count,
    }
}

/// Whether it is being measured here or anywhere.
fn is_asked(app: &App) -> bool {
    let mut hosts = app.hosts.list.iter();
    app.space.is_asked() || hosts.any(|host| host.beside.space.is_open())
}

/// What to say where no entry is.
fn nothing(app: &App) -> &'static str {
    match is_asked(app) || app.refresh.scan.running {
        true => "The images' tables are being read.",
        false => "Nothing here would free space without losing what is in use.",
    }
}

/// The sign that stands for a part in a bar, and how it looks: nothing is told by colour alone.
fn sign(part: SpacePart, ascii: bool) -> (char, Role) {
    let (plain, drawn, role) = match part {
        SpacePart::Own => ('#', '█', Role::Fill),
        SpacePart::Hidden => ('h', '▒', Role::Warning),
        SpacePart::Zeros => ('0', '·', Role::Quiet),
        SpacePart::Leaked => ('l', '!', Role::Error),
        SpacePart::PastEnd => ('>', '>', Role::Error),
        SpacePart::Shared => ('=', '=', Role::Good),
    };
    (if ascii { plain } else { drawn }, role)
}

/// All images as one bar, and what its signs mean.
fn summary(app: &App, width: usize) -> Vec<Line<'static>> {
    let found = &app.space.found;
    let theme = app.settings.theme;
    let mut first = vec![Span::raw(format!(
        " {:>10} ",
        units::size(found.total.disk)
    ))];
    let room = width.saturating_sub(13);
    first.extend(bar(app, &found.total, found.total.disk, room));
    let mut lines = vec![Line::from(first)];
    let mut legend = vec![Span::raw(" ")];
    let mut used = 1;
    for (part, bytes) in found.total.parts() {
        let (sign, role) = sign(part, app.settings.ascii);
        let words = format!(
            " {} {}  ",
            part.name(),
            if bytes == 0 {
                "-".to_owned()
            } else {
                units::size(bytes)
            }
        );
        let needed = 1 + text::width(&words);
        if used + needed > width {
            lines.push(Line::from(std::mem::replace(
                &mut legend,
                vec![Span::raw(" ")],
            )));
            used = 1;
        }
        used += needed;
        legend.push(Span::styled(sign.to_string(), theme.style(role)));
        legend.push(Span::raw(words));
    }
    lines.push(Line::from(legend));
    lines.extend(hosts_left(app, width));
    if found.untold > 0 {
        let text = "What is shared by reflinks is not told by every filesystem here.";
        lines.push(Line::styled(format!(" {text}"), theme.style(Role::Quiet)));
    }
    if let Some(Ok(read)) = &found.total.read {
        let packed = read.compressible;
        let text = format!(
            " equal to what lies below {}; compressing would give back about {} ({} of {} read)",
            units::size(read.equal.bytes),
            units::size(packed.saves),
            units::size(packed.read),
            units::size(packed.data)
        );
        lines.push(Line::raw(text::cut_end(&text, width, app.settings.ascii)));
    }
    lines.push(Line::default());
    lines
}

/// The hosts that have not told theirs: the first of them, and how many more.
fn hosts_left(app: &App, width: usize) -> Vec<Line<'static>> {
    let mut said = app.hosts.said(|beside| &beside.space);
    let more = said.len().saturating_sub(MOST_HOSTS);
    said.truncate(MOST_HOSTS);
    said.extend((more > 0).then(|| format!("and {}", units::count(more, "more host"))));
    let style = app.settings.theme.style(Role::Warning);
    let line = |text: String| {
        let text = text::cut_end(
            &text::safe(&text),
            width.saturating_sub(1),
            app.settings.ascii,
        );
        Line::styled(format!(" {text}"), style)
    };
    said.into_iter().map(line).collect()
}

/// The parts of an image side by side, in so many cells for so many bytes. What is there has a cell where there is room
/// for it: the larger come first then.
fn bar(app: &App, space: &LayerSpace, of: u64, cells: usize) -> Vec<Span<'static>> {
    let wide = u128::try_from(cells).unwrap_or(0);
    let in_cells = |bytes: u64| u128::from(bytes) * wide / u128::from(of.max(1));
    let in_cells = |bytes: u64| usize::try_from(in_cells(bytes)).unwrap_or(cells);
    let whole = in_cells(space.disk).max(usize::from(space.disk > 0));
    let mut lengths = space
        .parts()
        .map(|(part, bytes)| (part, bytes, in_cells(bytes)));
    lengths.sort_by_key(|(_, bytes, _)| Reverse(*bytes));
    let mut left = whole.saturating_sub(lengths.iter().map(|(.., cells)| cells).sum());
    let large = lengths.first().map_or(0, |(.., cells)| *cells);
    for (_, bytes, cells) in lengths.iter_mut().skip(1).filter(|(.., cells)| *cells == 0) {
        // A long bar can spare cells for what is small.
        if *bytes > 0 && (left > 1 || large > SPARE) {
            *cells = 1;
            left = left.saturating_sub(1);
        }
    }
    let others: usize = lengths.iter().skip(1).map(|(.., cells)| cells).sum();
    if let Some((.., largest)) = lengths.first_mut() {
        *largest = whole.saturating_sub(others);
    }
    let length = |part| lengths.iter().find(|(one, ..)| *one == part);
    SpacePart::ALL
        .into_iter()
        .filter_map(|part| {
            let (.., cells) = length(part)?;
            let (sign, role) = sign(part, app.settings.ascii);
            let style = app.settings.theme.style(role);
            Some(Span::styled(sign.to_string().repeat(*cells), style))
        })
        .collect()
}

/// Hosts that are named one by one.
const MOST_HOSTS: usize = 3;

/// Cells of the largest part beyond which each other part has one.
const SPARE: usize = 8;

fn entry(app: &App, pane: &SpaceDialog, at: usize, width: usize) -> Line<'static> {
    let is_at = at == pane.cursor.at;
    let found = &app.space.found;
    let mut spans = vec![Span::styled(
        frame::bar(app, is_at),
        app.settings.theme.style(Role::Key),
    )];
    let room = width.saturating_sub(1);
    if pane.by_image {
        spans.extend(
            found
                .rows
                .get(at)
                .map(|row| image(app, row, room))
                .unwrap_or_default(),
        );
    } else {
        spans.extend(
            found
                .savings
                .get(at)
                .map(|one| saving(app, one, room))
                .unwrap_or_default(),
        );
    }
    let line = Line::from(spans);
    match is_at {
        true => line.patch_style(app.settings.theme.style(Role::Cursor)),
        false => line,
    }
}

/// What is done, to what, and what that frees.
fn saving(app: &App, saving: &Saving, width: usize) -> Vec<Span<'static>> {
    let ascii = app.settings.ascii;
    let name = name_of(app, saving);
    let style = match saving.kind.shrinks() {
        true => Style::default(),
        false => app.settings.theme.style(Role::Quiet),
    };
    let text = format!(
        "{:>10}  {:<12} {name}",
        units::size(saving.frees),
        saving.kind.name()
    );
    let text = text::pad(&text::cut_end(&text, width, ascii), width, ascii);
    vec![Span::styled(text, style)]
}

/// What a saving is about.
pub(crate) fn name_of(app: &App, saving: &Saving) -> String {
    let label = |path: &std::path::PathBuf| {
        let node = app.forest.by_path(path);
        node.map_or_else(|| app.shown(path), |node| app.label(node))
    };
    let names: Vec<String> = saving.images.iter().map(label).collect();
    match names.as_slice() {
        [] => saving.why.clone(),
        names => text::safe(&names.join(", ")),
    }
}

/// An image or a tree, with its bar.
fn image(app: &App, row: &SpaceRow, width: usize) -> Vec<Span<'static>> {
    let ascii = app.settings.ascii;
    let theme = app.settings.theme;
    let names = (width / 3).max(12).min(width.saturating_sub(12));
    let label = app
        .forest
        .by_path(&row.path)
        .map_or_else(|| app.shown(&row.path), |node| app.label(node));
    let lead = if row.is_layer { "  " } else { "" };
    let more = match row.images {
        0 | 1 => String::new(),
        images => format!(" +{}", images - 1),
    };
    let room = names.saturating_sub(lead.len() + more.len());
    let name = format!(
        "{lead}{}{more}",
        text::cut_middle(&text::safe(&label), room, ascii)
    );
    let role = if row.is_layer {
        Role::Plain
    } else {
        Role::Title
    };
    let mut spans = vec![
        Span::styled(text::pad(&name, names, ascii), theme.style(role)),
        Span::raw(format!("{:>10} ", units::size(row.space.disk))),
    ];
    let room = width.saturating_sub(names + 12);
    spans.extend(bar(app, &row.space, app.space.found.largest, room));
    spans
}

/// The whole of what the cursor is on.
fn foot(app: &App, pane: &SpaceDialog, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let found = &app.space.found;
    if pane.by_image {
        if let Some(row) = found.rows.get(pane.cursor.at) {
            let text = told(&row.space);
            push_wrapped(&mut lines, app, "", &text, Role::Quiet, width);
        }
        return lines;
    }
    if let Some(saving) = found.savings.get(pane.cursor.at) {
        push_wrapped(&mut lines, app, "", &saving.why, Role::Quiet, width);
        // What names no file would be about this machine.
        let is_whole = pane.host(app).is_none() || !saving.request.paths().is_empty();
        if let Some(line) = saving.request.command_line().filter(|_| is_whole) {
            push_wrapped(&mut lines, app, "$", &line.to_string(), Role::Quiet, width);
        }
    }
    lines
}

/// What an image's bytes on disk are, in words.
pub(crate) fn told(space: &LayerSpace) -> String {
    let parts = space.parts().into_iter().filter(|(_, bytes)| *bytes > 0);
    let parts = parts.map(|(part, bytes)| format!("{} {}", part.name(), units::size(bytes)));
    let mut words: Vec<String> = parts.collect();
    match &space.read {
        Some(Ok(read)) if read.equal.bytes > 0 => {
            let equal = units::size(read.equal.bytes);
            words.push(format!("equal to what lies below {equal}"));
        }
        Some(Err(why)) => words.push(format!("not read: {why}")),
        _ => {}
    }
    words.extend(
        space
            .unread
            .as_ref()
            .map(|why| format!("tables not read: {why}")),
    );
    if words.is_empty() {
        return "nothing".to_owned();
    }
    words.join(", ")
}
