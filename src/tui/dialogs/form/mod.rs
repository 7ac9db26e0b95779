//! Small forms: a few fields, and the request they come to. Every operation that needs to be told more than an
//! image has one, which `tui::forms` makes.
//!
//! | file | what |
//! |---|---|
//! | `action` | what keys mean in a form |
//! | `choice` | words to choose from, and what they stand for |
//! | `field_name` | what fields are called |
//! | `fields` | what they hold, and when they are there |
//! | `state` | a form as it is filled in, and what it comes to |
//! | `draw` | how it looks |

mod action;
mod choice;
mod draw;
mod field_name;
mod fields;
mod state;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::forest::far::host_and_path;
use crate::ops::{Confirm, Consent, Danger, Plan, Ready, Request};
use crate::tui::app::App;
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::query::{Completions, QueryId};
use crate::tui::views::frame;

use super::next::Next;
use super::typing::{edit, type_secret};
use super::window::{Context, Window};

pub(crate) use action::Action;
pub(crate) use choice::Choice;
pub use field_name::FieldName;
pub(crate) use fields::{Field, FieldValue};
pub(crate) use state::{Completing, Form, Submit};

/// How long a plan for a form waits for a further key.
const TYPING: Duration = Duration::from_millis(40);

/// Lines that a form is scrolled by.
const LINES: usize = 5;

impl Window for Form {
    type Action = Action;

    fn update(&mut self, action: Action, key: Key, context: &mut Context<'_>) -> Next {
        match action {
            Action::NextField if key.code == Code::Tab && self.look_up(context) => {
                return Next::Stay;
            }
            Action::ScrollDown => {
                let (at, most) = self.scrolled(context);
                self.scroll = (at + LINES).min(most);
                return Next::Stay;
            }
            Action::ScrollUp => {
                self.scroll = self.scrolled(context).0.saturating_sub(LINES);
                return Next::Stay;
            }
            Action::NextField => self.step(true),
            Action::PreviousField => self.step(false),
            Action::Close => return Next::Close,
            Action::Fire => {
                self.scroll = 0;
                return self.fire(context);
            }
        }
        self.scroll = 0;
        Next::Stay
    }

    fn type_key(&mut self, key: Key, context: &mut Context<'_>) -> Next {
        let field = self.fields.get_mut(self.at);
        let (changed, delay) = match field.map(|field| &mut field.holds) {
            Some(FieldValue::Text(input) | FieldValue::Path(input)) => (edit(input, key), TYPING),
            Some(FieldValue::Choice { words, at }) => {
                let count = words.len().max(1);
                let step = match key.code {
                    Code::Char(' ') | Code::Right => 1,
                    Code::Left => count - 1,
                    _ => 0,
                };
                *at = (*at + step) % count;
                (step > 0, Duration::ZERO)
            }
            Some(FieldValue::Secret(secret)) => {
                type_secret(secret, key);
                (true, TYPING)
            }
            None => (false, TYPING),
        };
        if changed {
            if let Some(tidy) = self.tidy.filter(|_| delay.is_zero()) {
                tidy(self);
            }
            self.replan(context.app, delay, context.effects);
        }
        Next::Stay
    }

    fn paste(&mut self, text: &str, context: &mut Context<'_>) {
        let keys = text.chars().filter(|c| !c.is_control()).map(Key::char);
        match self.fields.get_mut(self.at).map(|field| &mut field.holds) {
            Some(FieldValue::Text(input) | FieldValue::Path(input)) => {
                for key in keys {
                    edit(input, key);
                }
            }
            Some(FieldValue::Secret(secret)) => {
                for key in keys {
                    type_secret(secret, key);
                }
            }
            Some(FieldValue::Choice { .. }) | None => return,
        }
        self.replan(context.app, Duration::ZERO, context.effects);
    }

    /// While it is being found out how a name goes on, keys wait; leaving the form does not.
    fn hold(&mut self, action: Option<Action>, key: Key) -> bool {
        let is_held = self.completing.query_id.is_some() && action != Some(Action::Close);
        if is_held {
            self.completing.held.push(key);
        }
        is_held
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Some(draw::height(app, self, width))
    }

    fn footer(&self, app: &App, width: usize, _area: Rect) -> Line<'static> {
        frame::spread(app, draw::hints(app, self), width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw::draw(screen, app, self, area);
    }
}

impl Form {
    /// Plans anew what the form asks for.
    pub(in crate::tui) fn replan(
        &mut self,
        app: &mut App,
        delay: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let query_id = app.query_id();
        self.query_id = query_id;
        self.plans.clear();
        self.scroll = 0;
        self.submitted = false;
        self.reason = None;
        self.locked = None;
        self.completing = Completing::default();
        // A host is asked once, when the form is sent off.
        if !self.creates || self.is_on_host() {
            return;
        }
        let Ok(mut requests) = self.requests() else {
            return;
        };
        if let Ok(Some(passphrase)) = self.passphrase() {
            let new = requests.iter().filter_map(Request::creates);
            let new = new.map(Path::to_path_buf).collect();
            app.protects = true;
            effects.push(Effect::Protect(new, passphrase));
        }
        let forest = Arc::clone(&app.forest);
        match self.make {
            Submit::Each(_) => effects.push(Effect::PlanEach {
                query_id,
                requests,
                forest,
                delay,
            }),
            Submit::One(_) => effects.extend(requests.pop().map(|request| Effect::Plan {
                query_id,
                request,
                forest,
                delay,
            })),
        }
    }

    /// How far it is scrolled, and how far it can be.
    fn scrolled(&self, context: &Context<'_>) -> (usize, usize) {
        let most = draw::scroll_limit(context.app, self, context.area);
        (self.scroll.min(most), most)
    }

    /// Asks how the name in a path field can go on; says whether it did. Where that is known already there
    /// is no more to be had.
    fn look_up(&mut self, context: &mut Context<'_>) -> bool {
        let query_id = context.app.query_id();
        let Some(text) = self.unfinished().filter(|text| !text.is_empty()) else {
            return false;
        };
        let several = self.completing.several.as_ref();
        if several.is_some_and(|(known, _)| known == text) {
            return false;
        }
        // Not joined: that would swallow the slash behind a folder.
        let mut begun = match host_and_path(&self.image) {
            // What is typed begins at the root of the form's machine.
            Some((host, _)) if text.starts_with('/') => OsString::from(format!("{host}:")),
            Some(_) if host_and_path(Path::new(text)).is_some() => OsString::new(),
            None if text.starts_with('/') => OsString::new(),
            _ => {
                let mut folder = self.dir.clone().into_os_string();
                folder.push("/");
                folder
            }
        };
        begun.push(text);
        self.completing.query_id = Some(query_id);
        let effect = Effect::Complete(query_id, begun.into());
        context.effects.push(effect);
        true
    }

    /// How the name in a path field can go on; returns the keys that had to wait for that.
    pub(in crate::tui) fn completed(
        &mut self,
        query_id: QueryId,
        ways: Completions,
        app: &mut App,
        effects: &mut Vec<Effect>,
    ) -> Vec<Key> {
        if self.completing.query_id != Some(query_id) {
            return Vec::new();
        }
        self.completing.query_id = None;
        let held = std::mem::take(&mut self.completing.held);
        if self.complete(ways) {
            self.replan(app, Duration::ZERO, effects);
        }
        held
    }

    fn fire(&mut self, context: &mut Context<'_>) -> Next {
        match self.requests() {
            Err(reason) => {
                self.reason = Some(reason);
                Next::Stay
            }
            Ok(mut requests) if self.is_on_host() => match (self.passphrase(), requests.pop()) {
                (Ok(passphrase), Some(request)) if requests.is_empty() => {
                    if let Some(passphrase) = passphrase {
                        let new = request.creates().unwrap_or(&self.image);
                        context.app.protects = true;
                        let new = vec![new.to_path_buf()];
                        context.effects.push(Effect::Protect(new, passphrase));
                    }
                    Next::Ask(Box::new(request))
                }
                (Ok(_), _) => {
                    self.reason = Some("a host is asked for one image at a time".to_owned());
                    Next::Stay
                }
                (Err(reason), _) => {
                    self.reason = Some(reason);
                    Next::Stay
                }
            },
            Ok(_) if self.creates => {
                self.submitted = true;
                self.submit()
            }
            Ok(mut requests) => {
                let Some(request) = requests.pop() else {
                    return Next::Stay;
                };
                if let Ok(Some(passphrase)) = self.passphrase() {
                    let image = vec![self.image.clone()];
                    context.app.protects = true;
                    context.effects.push(Effect::Protect(image, passphrase));
                }
                Next::Ask(Box::new(request))
            }
        }
    }

    /// Creates what the form asks for, once its plans are there and nothing stands against any of them. A
    /// plan that does more than create is shown first.
    pub(in crate::tui) fn submit(&mut self) -> Next {
        if !self.submitted || self.plans.is_empty() {
            return Next::Stay;
        }
        let does_more =
            |plan: &&Plan| plan.danger != Danger::Creates && plan.confirm != Confirm::Impossible;
        if let Some(plan) = self.plans.iter().find(does_more) {
            self.submitted = false;
            return Next::Ask(Box::new(plan.request.clone()));
        }
        let plans = self.plans.iter().cloned();
        let leads_out = |plan: &Plan| plan.refusals.iter().any(|one| !one.ways_out.is_empty());
        if let [plan] = &self.plans[..]
            && self.locked.is_none()
            && leads_out(plan)
        {
            // Its numbers are keys there; here they would be typed into a field.
            self.submitted = false;
            return Next::Ask(Box::new(plan.request.clone()));
        }
        let agreed: Result<Vec<Ready>, _> = plans.map(|plan| plan.agree(Consent::Yes)).collect();
        match agreed {
            Ok(all) => Next::Agreed(all),
            Err(denied) => {
                self.submitted = false;
                self.reason = Some(denied.to_string());
                self.locked.clone().map_or(Next::Stay, Next::AskSecret)
            }
        }
    }
}
