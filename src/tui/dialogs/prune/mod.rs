//! The prune checklist: leaves that nothing uses, of this machine and of hosts, to be ticked and discarded.
//!
//! | file | what |
//! |---|---|
//! | `action` | what keys mean |
//! | `state` | what machines propose, and what of it is ticked |
//! | `rows` | what each machine proposes, put together |
//! | `draw` | how it looks |

mod action;
mod draw;
mod rows;
mod state;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::ops::{Per, Request};
use crate::tui::app::App;
use crate::tui::key::Key;
use crate::tui::views::frame;

use action::Action;
pub(crate) use state::PruneDialog;

use super::next::Next;
use super::window::{Context, Window};

impl PruneDialog {
    /// The plans of what is ticked.
    fn proceed(&self, app: &mut App) -> Next {
        let mut of: Vec<Option<usize>> = self.chosen().map(|row| row.of).collect();
        of.dedup();
        if let Some(of) = of.into_iter().find(|of| self.waits_for(app, *of)) {
            let machine = app.hosts.machine(of);
            app.tell(format!(
                "It is not known yet what the rule keeps of {machine}."
            ));
            return Next::Stay;
        }
        let images: Vec<_> = self.chosen().map(|row| row.leaf.path.clone()).collect();
        if images.is_empty() {
            app.warn("Nothing is ticked: Space ticks an image.");
            return Next::Stay;
        }
        Next::Ask(Box::new(Request::discard(images)))
    }
}

/// The number after this one in turn, and none after the last.
fn next_of(steps: &[usize], now: usize) -> usize {
    steps.iter().copied().find(|step| *step > now).unwrap_or(0)
}

impl Window for PruneDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let len = self.rows().len();
        match action {
            Action::Down => self.cursor.down(len),
            Action::Up => self.cursor.up(),
            Action::PageDown => self.cursor.page_down(len, context.page()),
            Action::PageUp => self.cursor.page_up(context.page()),
            Action::Tick => {
                let at = self.cursor.at;
                let is_ticked = self.rows().get(at).is_some_and(|row| row.ticked);
                self.tick(at, !is_ticked);
                self.cursor.down(len);
            }
            Action::TickAll => {
                let all = self.rows().iter().all(|row| row.ticked);
                for at in 0..len {
                    self.tick(at, !all);
                }
            }
            // What a rule keeps is for each machine to say.
            Action::KeepLast => self.rule.last = next_of(&[1, 2, 3, 5, 10], self.rule.last),
            Action::KeepDaily => self.rule.daily = next_of(&[7, 14, 30], self.rule.daily),
            Action::KeepWeekly => self.rule.weekly = next_of(&[4, 8, 12], self.rule.weekly),
            Action::KeepMonthly => self.rule.monthly = next_of(&[3, 6, 12], self.rule.monthly),
            Action::Per => {
                let all = Per::ALL.map(|(per, _)| per);
                let at = all.iter().position(|per| *per == self.rule.per);
                let next = all.into_iter().cycle().nth(at.unwrap_or(0) + 1);
                self.rule.per = next.unwrap_or_default();
            }
            Action::Proceed => return self.proceed(context.app),
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
        draw::draw(screen, app, self, area);
    }
}
