//! The files inside an image: its volumes, their folders, what is in a file, files found by name, and the layers in
//! which a file changed. Only reads; what is copied out becomes a job.
//!
//! | file | what |
//! |---|---|
//! | `action` | what keys mean |
//! | `state` | the pages, and what is asked for them |
//! | `draw` | how they look |

mod action;
mod draw;
mod state;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use crate::tui::app::App;
use crate::tui::key::Key;
use crate::tui::views::frame;

use action::Action;
pub(crate) use draw::{rows, title};
pub(crate) use state::{Body, FilesDialog, Page};

use super::next::Next;
use super::window::{Context, Window};

/// Columns that the arrows move long lines by.
const SIDEWAYS: usize = 20;

impl FilesDialog {
    fn moves(&mut self, action: Action, context: &Context<'_>) {
        let height = draw::room(context.app, self, context.area);
        let Some(page) = self.pages.last_mut() else {
            return;
        };
        // In a file the cursor is the first line that is seen.
        let len = match page.is_text() {
            true => (page.len() + 1).saturating_sub(height),
            false => page.len(),
        };
        let cursor = &mut page.cursor;
        match action {
            Action::RowDown => cursor.down(len),
            Action::RowUp => cursor.up(),
            Action::PageDown => cursor.page_down(len, height),
            Action::PageUp => cursor.page_up(height),
            Action::Top => cursor.at = 0,
            Action::Bottom => cursor.at = len.saturating_sub(1),
            _ => {}
        }
    }

    /// The arrow to the right.
    fn right(&mut self, context: &mut Context<'_>) {
        match self.pages.last_mut() {
            Some(page) if page.is_text() => {
                page.left = page.left.saturating_add(SIDEWAYS).min(draw::widest(page));
            }
            _ => self.enter(context.app, context.effects),
        }
    }

    /// The arrow to the left.
    fn left(&mut self, context: &mut Context<'_>) {
        match self.pages.last_mut() {
            Some(page) if page.left > 0 => page.left = page.left.saturating_sub(SIDEWAYS),
            _ => {
                self.back(context.app, context.effects);
            }
        }
    }

    /// Copies out what is under the cursor; of a file that was compared the older or the newer one.
    fn extract(&self, is_older: bool, app: &mut App) -> Next {
        if app.settings.read_only {
            app.warn("Nothing is written: started with --read-only, or so configured.");
            return Next::Stay;
        }
        let page = self.page().filter(|_| !self.waits());
        let of = match page.map(|page| &page.body) {
            Some(Body::Compared(compared)) if is_older => compared.older.clone(),
            Some(Body::Compared(compared)) => compared.newer.clone(),
            _ if is_older => None,
            _ => page
                .and_then(Page::at_cursor)
                .map(|spot| (self.of.clone(), spot)),
        };
        match of {
            Some((of, spot)) => Next::ExtractTo(of, spot),
            None => Next::Stay,
        }
    }
}

impl Window for FilesDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        match action {
            Action::Open => self.enter(context.app, context.effects),
            Action::Right => self.right(context),
            Action::Left => self.left(context),
            Action::Up => {
                self.back(context.app, context.effects);
            }
            Action::Find if self.view.is_some() && !self.waits() => return Next::FindFiles,
            Action::Find => {}
            Action::Extract => return self.extract(false, context.app),
            Action::ExtractOlder => return self.extract(true, context.app),
            Action::Differ => self.differ(context.app, context.effects),
            Action::History => self.history(context.app, context.effects),
            Action::Again => self.open_anew(context.app, context.effects),
            Action::Back if self.back(context.app, context.effects) => {}
            Action::Back | Action::Close => {
                self.stop(context.app, context.effects);
                return Next::Close;
            }
            Action::RowDown
            | Action::RowUp
            | Action::PageDown
            | Action::PageUp
            | Action::Top
            | Action::Bottom => self.moves(action, context),
        }
        Next::Stay
    }

    fn turns(&self) -> bool {
        true
    }

    fn pressed(&mut self, spot: Position, context: &mut Context<'_>) -> Next {
        let inside = frame::inside(context.area);
        let at = draw::row_at(context.app, self, context.area, spot);
        if let Some(page) = self.pages.last_mut()
            && !page.is_text()
            && inside.contains(spot)
            && let Some(at) = at
        {
            page.cursor.at = at;
        }
        Next::Stay
    }

    fn footer(&self, app: &App, width: usize, _area: Rect) -> Line<'static> {
        self.edge(app, width)
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        frame::join(app, draw::hints(app, self), width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw::draw(screen, app, self, area);
    }
}
