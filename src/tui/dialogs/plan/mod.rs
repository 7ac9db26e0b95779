//! A plan that waits for its answer. Only [`PlanDialog::confirm`] lets a plan become a job that does more
//! than create.
//!
//! | file | what |
//! |---|---|
//! | `action` | what keys mean |
//! | `state` | the plan, and how far its answer is |
//! | `variants` | other ways to ask for the same |
//! | `draw` | how it looks |

mod action;
mod draw;
mod state;
mod variants;

use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use crate::ops::{Consent, Request};
use crate::tui::actions::Motion;
use crate::tui::app::App;
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::plan_preview::PlanPreview;
use crate::tui::text;
use crate::tui::views::frame;

use action::Action;
use draw::{answer, edge, hints_left, is_cancel, written};
use state::Button;
pub(crate) use state::PlanDialog;
use variants::{Variant, variants};

use super::next::Next;
use super::window::{Context, Window};

/// Which part of a plan is on the screen.
struct View {
    /// So many lines of it.
    height: usize,
    /// So many lines have to be read before one agrees.
    to_be_read: usize,
    /// How far it can be scrolled.
    most: usize,
}

impl PlanDialog {
    /// Opens the dialog and asks for its plan.
    pub(in crate::tui) fn ask(app: &mut App, request: Request, effects: &mut Vec<Effect>) -> Self {
        let query_id = app.query_id();
        effects.push(Effect::Plan {
            query_id,
            request: request.clone(),
            forest: Arc::clone(&app.forest),
            delay: Duration::ZERO,
        });
        Self::new(query_id, request)
    }

    /// The person says yes: with the number typed where one is asked for. What was never on the screen is
    /// not agreed to.
    fn confirm(&mut self, context: &mut Context<'_>) -> Next {
        if self.is_possible() && self.read_on(context) {
            return Next::Stay;
        }
        if self.is_possible() && self.there.is_some() {
            let typed = match self.count() {
                None => "y".to_owned(),
                Some(count) if self.typed == count.to_string() => self.typed.clone(),
                Some(count) => {
                    self.typed.clear();
                    self.reason = Some(format!("{count} has to be typed"));
                    return Next::Stay;
                }
            };
            return Next::AgreedThere(typed);
        }
        let Some(plan) = &self.plan else {
            self.reason = Some("the plan is not there yet".to_owned());
            return Next::Stay;
        };
        let consent = match self.typed.parse() {
            Ok(count) if self.count().is_some() => Consent::Count(count),
            _ => Consent::Yes,
        };
        match plan.as_ref().clone().agree(consent) {
            Ok(ready) if self.proves => Next::Agreed(vec![ready.proving()]),
            Ok(ready) => Next::Agreed(vec![ready]),
            Err(denied) => {
                self.typed.clear();
                self.reason = Some(denied.to_string());
                Next::Stay
            }
        }
    }

    /// Which part of it is on the screen.
    fn view(&self, app: &App, area: Rect) -> View {
        let width = usize::from(area.width.saturating_sub(2));
        let written = written(app, self, width);
        let height = usize::from(area.height.saturating_sub(2))
            .saturating_sub(answer(app, self, width).len());
        View {
            height,
            to_be_read: written.to_be_read,
            most: written.lines.len().saturating_sub(height),
        }
    }

    /// Remembers what is on the screen.
    fn see(&mut self, view: &View, area: Rect) {
        if self.plan.is_none() && self.told().is_none() {
            return;
        }
        let seen = self.scroll.min(view.most) + view.height;
        self.seen = match self.seen {
            (width, before) if width == area.width => (width, before.max(seen)),
            _ => (area.width, seen),
        };
    }

    /// Scrolls to what has to be read before one agrees, and was not on the screen yet; says whether there was
    /// any.
    fn read_on(&mut self, context: &mut Context<'_>) -> bool {
        let view = self.view(context.app, context.area);
        if self.seen.1 >= view.to_be_read {
            return false;
        }
        // The last line that was seen stands above what follows it.
        let overlap = usize::from(view.height > 1);
        self.scroll = self.seen.1.saturating_sub(overlap).min(view.most);
        let key = context.app.settings.keymap.key(Action::Confirm);
        let key = match self.count() {
            Some(_) => "Enter".to_owned(),
            None => key,
        };
        context
            .app
            .tell(format!("There is more to read: {key} goes on."));
        true
    }

    fn way_out(&mut self, key: Key) -> Next {
        let Code::Char(c) = key.code else {
            return Next::Stay;
        };
        if self.count().is_some() {
            self.type_count(key);
            return Next::Stay;
        }
        let number = c.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
        let chosen = number
            .and_then(|number| self.ways_out().get(number.checked_sub(1)?).copied())
            .map(|way| way.request.clone());
        let Some(request) = chosen.map(Box::new) else {
            return Next::Stay;
        };
        match &self.there {
            None => Next::Ask(request),
            // Also where it names no file that says whose it is.
            Some(there) => Next::AskThere(there.at, request),
        }
    }

    /// Plans the variant of that key in its place.
    fn vary(&self, app: &mut App, action: Action) -> Next {
        let variants = variants(&app.forest, &self.request);
        let is_it = |variant: &Variant| variant.action == action;
        match variants.into_iter().find(is_it) {
            Some(variant) => Next::AskInstead {
                request: Box::new(variant.request),
                proves: self.proves,
            },
            None => {
                app.tell("This plan has no such choice.");
                Next::Stay
            }
        }
    }

    fn type_count(&mut self, key: Key) {
        if self.count().is_none() {
            return;
        }
        match key.code {
            Code::Backspace => {
                self.typed.pop();
            }
            Code::Char(c) if c.is_ascii_digit() && self.typed.len() < 12 => self.typed.push(c),
            _ => {}
        }
    }
}

impl Window for PlanDialog {
    type Action = Action;

    fn update(&mut self, action: Action, key: Key, context: &mut Context<'_>) -> Next {
        let view = self.view(context.app, context.area);
        self.see(&view, context.area);
        let page = match key.code {
            Code::PageDown | Code::PageUp => view.height.saturating_sub(1).max(1),
            _ => 1,
        };
        match action {
            Action::Close => return Next::Cancel,
            Action::Confirm => return self.confirm(context),
            Action::Fire => {
                if self.count().is_some() && !self.typed.is_empty() {
                    return self.confirm(context);
                }
                return match self.button {
                    Button::Cancel => Next::Cancel,
                    Button::Confirm => self.confirm(context),
                };
            }
            Action::NextField | Action::PreviousField => {
                self.button = match self.button {
                    Button::Cancel if self.is_possible() => Button::Confirm,
                    Button::Cancel | Button::Confirm => Button::Cancel,
                };
            }
            Action::ScrollDown => self.scroll = (self.scroll + page).min(view.most),
            Action::ScrollUp => self.scroll = self.scroll.min(view.most).saturating_sub(page),
            Action::NextImage => return Next::Go(Motion::Down),
            Action::PreviousImage => return Next::Go(Motion::Up),
            Action::Commands => self.commands = !self.commands,
            Action::WayOut => return self.way_out(key),
            Action::ToggleLayer | Action::Into | Action::KeepOld | Action::Live => {
                return self.vary(context.app, action);
            }
            Action::Verify => self.proves = !self.proves,
            // It is asked for anew by the host that plans.
            Action::Unlock if self.there.is_some() && self.locked.is_some() => {
                return Next::AskInstead {
                    request: Box::new(self.request.clone()),
                    proves: self.proves,
                };
            }
            Action::Unlock => match self.locked.clone() {
                Some(image) => return Next::AskSecret(image),
                None => context.app.tell(
                    "No passphrase of an image that is there is missing. That of a new one is typed in its form.",
                ),
            },
        }
        Next::Stay
    }

    fn type_key(&mut self, key: Key, _context: &mut Context<'_>) -> Next {
        self.type_count(key);
        Next::Stay
    }

    fn pressed(&mut self, spot: Position, context: &mut Context<'_>) -> Next {
        match is_cancel(context.app, self, context.area, spot) {
            true => Next::Cancel,
            false => Next::Stay,
        }
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        edge(app, self, width)
    }

    fn turns(&self) -> bool {
        true
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Some(written(app, self, width).lines.len() + answer(app, self, width).len())
    }

    fn footer(&self, app: &App, width: usize, area: Rect) -> Line<'static> {
        let left = hints_left(app, self, area);
        if !left.is_empty() {
            return frame::spread(app, left, width);
        }
        let legend = app.preview.as_ref().map(PlanPreview::legend);
        let signs = legend.unwrap_or_default().into_iter();
        let signs = signs.map(|(sign, meaning)| match (sign, app.settings.ascii) {
            ('✗', true) => format!("x {meaning}"),
            ('≈', true) => format!("= {meaning}"),
            _ => format!("{sign} {meaning}"),
        });
        let signs = signs.collect::<Vec<_>>().join("  ");
        Line::raw(text::cut_end(
            &format!(" {signs}"),
            width,
            app.settings.ascii,
        ))
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw::draw(screen, app, self, area);
    }
}
