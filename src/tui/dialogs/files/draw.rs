//! How the files of an image look, and how they are told line by line.

use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use crate::guest::Printable;
use crate::guest::filesystem::NodeKind;
use crate::inside::{Event, LineKind, Step, VolumeContents, mode_text};
use crate::tui::app::App;
use crate::tui::bindings::Action as _;
use crate::tui::browse::{Compared, FileRow};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::push_wrapped;
use crate::units;

use super::action::Action;
use super::state::{Body, FilesDialog, Page};

pub(super) fn draw(screen: &mut Frame<'_>, app: &App, dialog: &FilesDialog, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = frame::join(app, hints(app, dialog), room);
    let inside = frame::dialog(screen, app, area, &title(dialog), bottom);
    if let Some(page) = dialog.page() {
        frame::corner(screen, app, area, &count(page));
    }
    let (width, height) = (usize::from(inside.width), usize::from(inside.height));
    let mut lines = head(app, dialog, width);
    let foot = foot(app, dialog, width);
    let room = height.saturating_sub(lines.len() + foot.len());
    if let Some(page) = dialog.page() {
        lines.extend(body(app, page, room, width));
    }
    let left = height.saturating_sub(lines.len() + foot.len());
    lines.extend((0..left).map(|_| Line::default()));
    lines.extend(foot);
    frame::lines_in(screen, inside, lines);
}

/// The keys that mean something on this page.
pub(super) fn hints(app: &App, dialog: &FilesDialog) -> Vec<(String, String)> {
    let page = dialog.page();
    let is_list = page.is_some_and(Page::has_entries);
    let is_about = page.and_then(Page::at_cursor).is_some() && !dialog.waits();
    let compared = page.and_then(|page| match &page.body {
        Body::Compared(compared) => Some(&**compared),
        _ => None,
    });
    let entries = app.settings.keymap.entries::<Action>();
    let fitting = entries.filter(|entry| match entry.action {
        Action::Open => is_list,
        Action::Up => dialog.pages.len() > 1,
        Action::Find => dialog.view.is_some() && !dialog.waits(),
        Action::Extract => is_about && !app.settings.read_only,
        Action::ExtractOlder => {
            matches!(compared, Some(Compared { older: Some(_), .. })) && !app.settings.read_only
        }
        Action::Differ => is_about && compared.is_none(),
        Action::History => is_about && dialog.view.is_some(),
        action => action.leaves() || !dialog.waits(),
    });
    fitting
        .filter_map(|entry| Some((entry.key(), entry.hint?.to_owned())))
        .collect()
}

/// What is shown, in words: `Files of x.qcow2: p1:/etc`.
#[must_use]
pub(crate) fn title(dialog: &FilesDialog) -> String {
    let of = dialog.of.name();
    let Some(page) = dialog.page() else {
        return format!("Files of {of}");
    };
    match (&page.body, &page.spot) {
        (Body::Found(found), _) => {
            format!("Files of {of} called {}", text::safe(&found.name))
        }
        (Body::Compared(compared), Some(spot)) => {
            let [older, newer] = &compared.names;
            format!("Diff of {}: {older} and {newer}", spot.shown())
        }
        (Body::History(_), Some(spot)) => format!("History of {} in {of}", spot.shown()),
        (_, Some(spot)) => format!("Files of {of}: {}", spot.shown()),
        (_, None) => format!("Files of {of}"),
    }
}

/// How much there is, for the corner.
fn count(page: &Page) -> String {
    let len = page.len();
    match page.body {
        Body::Waits(_) | Body::Failed(_) => String::new(),
        Body::Volumes(_) => units::count(len, "volume"),
        Body::Folder(_) => units::count(len, "name"),
        Body::Text(_) | Body::Compared(_) => units::count(len, "line"),
        Body::Found(_) => units::count(len, "file"),
        Body::History(_) => units::count(len, "layer"),
    }
}

/// Above the rows: what may be torn, and what there is instead of rows.
fn head(app: &App, dialog: &FilesDialog, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for sentence in &dialog.live {
        push_wrapped(&mut lines, app, "", sentence, Role::Warning, width);
    }
    if let Some(page) = dialog.page() {
        let (words, role) = instead(page);
        if let Some(words) = words {
            push_wrapped(&mut lines, app, "", &words, role, width);
        }
    }
    lines
}

/// What is said where there are no rows.
fn instead(page: &Page) -> (Option<String>, Role) {
    let is_empty = page.len() == 0;
    let words = match &page.body {
        Body::Waits(what) => return (Some((*what).to_owned()), Role::Quiet),
        Body::Failed(why) => return (Some(sentence(why)), Role::Error),
        Body::Volumes(_) => "There is no volume.",
        Body::Folder(_) => "The folder is empty.",
        Body::Text(_) => "The file is empty.",
        Body::Found(_) => "No file is called so.",
        Body::History(_) => "There is no layer.",
        Body::Compared(_) => "Nothing differs.",
    };
    (is_empty.then(|| words.to_owned()), Role::Quiet)
}

/// With a full stop. What it begins with may be a name.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// Below the rows: more of what the cursor is on, and what is left out.
fn foot(app: &App, dialog: &FilesDialog, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let Some(page) = dialog.page() else {
        return lines;
    };
    let (words, _) = row(page, page.cursor.at);
    if text::width(&words) + 1 > width {
        push_wrapped(&mut lines, app, "", &words, Role::Quiet, width);
        lines.truncate(MOST_OF_ROW);
    }
    for (words, role) in notes(page) {
        push_wrapped(&mut lines, app, "", &words, role, width);
    }
    lines
}

/// Lines that tell the whole of a row which is cut.
const MOST_OF_ROW: usize = 4;

/// Sentences about what a page shows.
fn notes(page: &Page) -> Vec<(String, Role)> {
    match &page.body {
        Body::Volumes(contents) => {
            let volume = contents.volumes.get(page.cursor.at);
            volume.map(about).unwrap_or_default()
        }
        Body::Text(text) => {
            let note = text.note.iter();
            note.map(|note| (note.clone(), Role::Quiet)).collect()
        }
        Body::Found(found) => {
            let remarks = found.remarks.iter().take(MOST_REMARKS);
            remarks
                .map(|remark| (sentence(remark), Role::Warning))
                .collect()
        }
        Body::Folder(_)
        | Body::History(_)
        | Body::Compared(_)
        | Body::Waits(_)
        | Body::Failed(_) => Vec::new(),
    }
}

/// Remarks on a search that are seen.
const MOST_REMARKS: usize = 3;

/// More of a volume.
fn about(volume: &VolumeContents) -> Vec<(String, Role)> {
    let mut words = Vec::new();
    if let Some(system) = &volume.system {
        let host = system.hostname.as_ref();
        let host = host.map_or_else(String::new, |name| format!(", called {name}"));
        words.push((format!("{}{host}.", system.name), Role::Plain));
    }
    if let Some(caution) = &volume.caution {
        words.push((sentence(caution), Role::Warning));
    }
    words
}

/// How many lines there are for rows.
pub(super) fn room(app: &App, dialog: &FilesDialog, area: Rect) -> usize {
    let inside = frame::inside(area);
    let width = usize::from(inside.width);
    let taken = head(app, dialog, width).len() + foot(app, dialog, width).len();
    usize::from(inside.height).saturating_sub(taken).max(1)
}

/// The row at a place of the screen.
pub(super) fn row_at(app: &App, dialog: &FilesDialog, area: Rect, spot: Position) -> Option<usize> {
    let inside = frame::inside(area);
    let above = head(app, dialog, usize::from(inside.width)).len();
    let line = usize::from(spot.y).checked_sub(usize::from(inside.y) + above)?;
    let room = room(app, dialog, area);
    let page = dialog.page()?;
    let at = page.cursor.first_seen(room) + line;
    (line < room && at < page.len()).then_some(at)
}

fn body(app: &App, page: &Page, room: usize, width: usize) -> Vec<Line<'static>> {
    let ascii = app.settings.ascii;
    if page.is_text() {
        let until = page.len().min(page.cursor.at + room);
        let lines = (page.cursor.at..until).filter_map(|at| {
            let (line, role) = text_line(page, at)?;
            let seen: String = line.chars().skip(page.left).collect();
            let seen = text::cut_end(&seen, width.saturating_sub(1), ascii);
            Some(Line::styled(
                format!(" {seen}"),
                app.settings.theme.style(role),
            ))
        });
        return lines.collect();
    }
    let from = page.cursor.first_seen(room);
    let until = page.len().min(from + room);
    let lines = (from..until).map(|at| {
        let is_at = at == page.cursor.at;
        let (words, role) = row(page, at);
        let words = text::pad(&words, width.saturating_sub(1), ascii);
        let line = Line::from(vec![
            Span::styled(frame::bar(app, is_at), app.settings.theme.style(Role::Key)),
            Span::styled(words, app.settings.theme.style(role)),
        ]);
        match is_at {
            true => line.patch_style(app.settings.theme.style(Role::Cursor)),
            false => line,
        }
    });
    lines.collect()
}

/// A line of a file, or of how it differs.
fn text_line(page: &Page, at: usize) -> Option<(&str, Role)> {
    match &page.body {
        Body::Text(text) => text.lines.get(at).map(|line| (line.as_str(), Role::Plain)),
        Body::Compared(compared) => compared.lines.get(at).map(|(kind, line)| {
            let role = match kind {
                LineKind::Word | LineKind::Both => Role::Plain,
                LineKind::Head => Role::Title,
                LineKind::Removed => Role::Error,
                LineKind::Added => Role::Good,
            };
            (line.as_str(), role)
        }),
        _ => None,
    }
}

/// The widest line of a file.
pub(super) fn widest(page: &Page) -> usize {
    let lines = (0..page.len()).filter_map(|at| text_line(page, at));
    let widths = lines.map(|(line, _)| line.chars().count());
    widths.max().unwrap_or(0).saturating_sub(1)
}

/// So many rows of a page as lines of text, and what is to be said besides.
#[must_use]
pub(crate) fn rows(page: &Page, most: usize) -> (Vec<String>, Vec<String>) {
    let told = match &page.body {
        Body::Text(_) | Body::Compared(_) => (0..page.len().min(most))
            .filter_map(|at| Some(text_line(page, at)?.0.to_owned()))
            .collect(),
        _ => (0..page.len().min(most))
            .map(|at| row(page, at).0)
            .collect(),
    };
    let mut words: Vec<String> = instead(page).0.into_iter().collect();
    if let Body::Volumes(contents) = &page.body {
        words.extend(
            contents
                .volumes
                .iter()
                .flat_map(about)
                .map(|(words, _)| words),
        );
    } else {
        words.extend(notes(page).into_iter().map(|(words, _)| words));
    }
    (told, words)
}

fn row(page: &Page, at: usize) -> (String, Role) {
    let found = match &page.body {
        Body::Volumes(contents) => contents.volumes.get(at).map(volume),
        Body::Folder(rows) => rows.get(at).map(file),
        Body::Found(found) => found.hits.get(at).map(|hit| {
            let path = Printable(hit.path.clone());
            (format!("{}:/{path}", hit.volume), Role::Plain)
        }),
        Body::History(steps) => steps.get(at).map(step),
        Body::Text(_) | Body::Compared(_) | Body::Waits(_) | Body::Failed(_) => None,
    };
    found.unwrap_or((String::new(), Role::Plain))
}

/// `p1  ext4  "system"  2.1 GiB of 8 GiB`; of what is not read what it is and why.
fn volume(volume: &VolumeContents) -> (String, Role) {
    let mut words = format!("{:<6} {}", volume.name, text::safe(&volume.kind));
    if !volume.label.is_empty() {
        words.push_str(&format!(" \"{}\"", volume.label));
    }
    match (volume.used, volume.total) {
        (Some(used), Some(total)) => words.push_str(&format!(
            "  {} of {}",
            units::size(used),
            units::size(total)
        )),
        _ => words.push_str(&format!("  {}", units::size(volume.len))),
    }
    let role = if volume.is_read {
        Role::Plain
    } else {
        Role::Quiet
    };
    (words, role)
}

/// `-rw-r--r--   1.2 KiB  2026-03-01 12:00  name`.
fn file(row: &FileRow) -> (String, Role) {
    let name = Printable(row.name.clone());
    let node = match &row.node {
        Ok(node) => node,
        Err(why) => return (format!("??????????  {name}  ({why})"), Role::Error),
    };
    let size = match node.kind {
        NodeKind::File => units::size(node.size),
        _ => "-".to_owned(),
    };
    let after = match (node.kind, &row.target) {
        (NodeKind::Directory, _) => "/".to_owned(),
        (_, Some(target)) => format!(" -> {target}"),
        _ => String::new(),
    };
    let words = format!(
        "{} {size:>10}  {}  {name}{after}",
        mode_text(node),
        minute(node.modified)
    );
    let role = match node.kind {
        NodeKind::Directory => Role::Title,
        NodeKind::File | NodeKind::Symlink => Role::Plain,
        NodeKind::Special => Role::Quiet,
    };
    (words, role)
}

/// `modified     1.2 KiB  2026-03-01 12:00  layer.qcow2`.
fn step(step: &Step) -> (String, Role) {
    let (event, why) = match &step.event {
        Ok(event) => (event.name(), String::new()),
        Err(why) => ("unknown", format!("  ({})", text::safe(why))),
    };
    let node = step.node.as_ref();
    let size = node.filter(|node| node.kind == NodeKind::File);
    let size = size.map_or_else(|| "-".to_owned(), |node| units::size(node.size));
    let words = format!(
        "{event:<9} {size:>10}  {}  {}{why}",
        minute(node.and_then(|node| node.modified)),
        units::file_name(&step.layer)
    );
    let role = match step.event {
        Ok(Event::Unchanged | Event::Absent) => Role::Quiet,
        Ok(_) => Role::Plain,
        Err(_) => Role::Error,
    };
    (words, role)
}

/// A time to the minute, UTC; as wide where there is none.
fn minute(time: Option<SystemTime>) -> String {
    let text = time.map_or_else(|| "-".to_owned(), units::utc);
    let text: String = text.chars().take(16).collect();
    format!("{:<16}", text.replace('T', " "))
}
