//! The prune checklist: leaves that nothing uses, to be ticked and discarded.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::ops::{Candidate, Request};
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::query::QueryId;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

use super::list_cursor::ListCursor;
use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean in the checklist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ticks or unticks an entry.
    Tick,
    /// Ticks all or none.
    TickAll,
    /// Goes on with what is ticked.
    Proceed,
    /// Leaves a dialog.
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
        dialog(Self::Tick, "prune-tick", &[Key::char(' ')], "tick or untick", "tick"),
        dialog(Self::TickAll, "prune-all", &[Key::char('a')], "tick all or none", "all/none"),
        dialog(Self::Proceed, "prune-plan", &[Key::of(Code::Enter)], "plan the discard of what is ticked", "discard: the plan"),
        dialog(Self::Close, "prune-close", &[Key::of(Code::Esc), Key::char('q'), Key::ctrl('c')], "nothing happens", "close"),
        dialog(Self::Down, "prune-down", &[Key::of(Code::Down), Key::char('j')], "next entry", ""),
        dialog(Self::Up, "prune-up", &[Key::of(Code::Up), Key::char('k')], "entry before", ""),
        dialog(Self::PageDown, "prune-page-down", &[Key::of(Code::PageDown)], "one screen down", ""),
        dialog(Self::PageUp, "prune-page-up", &[Key::of(Code::PageUp)], "one screen up", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// The prune checklist.
#[derive(Debug, Default)]
pub struct PruneDialog {
    /// The question's number.
    pub query_id: QueryId,
    /// What could go, oldest first; none while that is looked for.
    pub candidates: Option<Vec<Candidate>>,
    /// Which of them are ticked.
    pub ticked: Vec<bool>,
    /// The entry under the cursor.
    pub cursor: ListCursor,
}

impl PruneDialog {
    /// The ticked entries.
    pub fn chosen(&self) -> impl Iterator<Item = &Candidate> {
        let all = self.candidates.iter().flatten();
        all.zip(&self.ticked)
            .filter(|(_, ticked)| **ticked)
            .map(|(c, _)| c)
    }
}

impl Window for PruneDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let len = self.ticked.len();
        match action {
            Action::Down => self.cursor.down(len),
            Action::Up => self.cursor.up(),
            Action::PageDown => self.cursor.page_down(len, context.page()),
            Action::PageUp => self.cursor.page_up(context.page()),
            Action::Tick => {
                if let Some(tick) = self.ticked.get_mut(self.cursor.at) {
                    *tick = !*tick;
                }
                self.cursor.down(len);
            }
            Action::TickAll => {
                let all = self.ticked.iter().all(|tick| *tick);
                self.ticked.fill(!all);
            }
            Action::Proceed => {
                let images: Vec<_> = self.chosen().map(|c| c.path.clone()).collect();
                if images.is_empty() {
                    context.app.warn("Nothing is ticked: Space ticks an image.");
                    return Next::Stay;
                }
                return Next::Ask(Box::new(Request::discard(images)));
            }
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

fn draw(screen: &mut Frame<'_>, app: &App, dialog: &PruneDialog, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = dialog.edge(app, room);
    let inside = frame::dialog(screen, app, area, "Prune: leaves that nothing uses", bottom);
    let width = usize::from(inside.width);
    let Some(candidates) = &dialog.candidates else {
        let text = Line::raw(" Looking for leaves that nothing uses.");
        frame::lines_in(screen, inside, vec![text]);
        return;
    };
    if candidates.is_empty() {
        let text = "Nothing to prune: every leaf is in use, is a root, or has problems that should be looked at first.";
        let lines = text::wrap(text, width.saturating_sub(2), 0);
        let lines = lines.into_iter().map(|line| Line::raw(format!(" {line}")));
        frame::lines_in(screen, inside, lines.collect());
        return;
    }
    let frees = dialog
        .chosen()
        .map(|c| c.frees)
        .fold(0, u64::saturating_add);
    let chosen = u64::try_from(dialog.chosen().count()).unwrap_or(0);
    let mut lines = vec![Line::raw(text::cut_end(
        &format!(
            " {} ticked, {} to be freed; ticked at first: unchanged for {}",
            units::count(chosen, "leaf"),
            units::size(frees),
            units::count(app.settings.prune_days, "day")
        ),
        width,
        ascii,
    ))];
    let height = usize::from(inside.height).saturating_sub(1);
    let from = dialog.cursor.first_seen(height);
    let entries = candidates.iter().zip(&dialog.ticked).enumerate();
    for (i, (candidate, ticked)) in entries.skip(from).take(height) {
        let tick = match (ticked, ascii) {
            (false, _) => "[ ]",
            (true, true) => "[x]",
            (true, false) => "[✗]",
        };
        let label = app
            .forest
            .by_path(&candidate.path)
            .map_or_else(|| app.shown(&candidate.path), |node| app.label(node));
        let days = candidate.age.as_secs() / 86_400;
        let age = if days > 0 {
            units::count(days, "day")
        } else {
            format!("{} h", candidate.age.as_secs() / 3600)
        };
        let name_room = width.saturating_sub(32);
        let mut line = Line::from(vec![
            Span::styled(
                format!("{}{tick} ", frame::bar(app, i == dialog.cursor.at)),
                theme.style(if *ticked { Role::Error } else { Role::Quiet }),
            ),
            Span::raw(text::pad(
                &text::cut_middle(&label, name_room, ascii),
                name_room,
                ascii,
            )),
            Span::raw(text::pad_left(&units::size(candidate.frees), 11, ascii)),
            Span::styled(
                format!("  {}", text::pad_left(&age, 11, ascii)),
                theme.style(Role::Quiet),
            ),
            Span::raw(" "),
        ]);
        if i == dialog.cursor.at {
            line = line.patch_style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    frame::lines_in(screen, inside, lines);
}
