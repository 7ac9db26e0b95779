//! The passphrase of an encrypted image, asked for and typed.

use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::forest::far::host_and_path;
use crate::host::printable;
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::query::QueryId;
use crate::tui::secret::Secret;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::{hidden, push_wrapped};
use crate::units;

use super::next::Next;
use super::typing::type_secret;
use super::window::{Context, Window};

/// What a key can mean while a passphrase is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fires what has the focus.
    Fire,
    /// Leaves a dialog.
    Close,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Fire, "secret-use", &[Key::of(Code::Enter)], "open the image with it", "open it"),
        dialog(Self::Close, "secret-cancel", &[Key::of(Code::Esc), Key::ctrl('c')], "back, without it", "back"),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// The passphrase of an encrypted image, as it is typed.
#[derive(Debug)]
pub struct SecretDialog {
    /// The image.
    pub image: PathBuf,
    /// What is typed so far.
    pub secret: Secret,
    /// The job that has ended for lack of it, and begins again with it.
    pub job: Option<u64>,
    /// The host that asks for it, where one does.
    pub there: Option<SecretThere>,
}

/// Who asks for a passphrase that is to be sent.
#[derive(Debug)]
pub struct SecretThere {
    /// The host.
    pub host: String,
    /// The plan's question.
    pub query_id: QueryId,
    /// The number of the question for the passphrase.
    pub number: u32,
    /// What it opens, in words of this side.
    pub words: String,
}

impl Window for SecretDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, _context: &mut Context<'_>) -> Next {
        if let Some(there) = &self.there {
            let is_given = action == Action::Fire && !self.secret.is_empty();
            let given = is_given.then(|| self.secret.passphrase());
            return Next::UnlockedThere(there.number, given);
        }
        match action {
            Action::Fire if !self.secret.is_empty() => Next::Unlocked {
                image: self.image.clone(),
                passphrase: self.secret.passphrase(),
                job: self.job,
            },
            Action::Fire | Action::Close => Next::Close,
        }
    }

    fn type_key(&mut self, key: Key, _context: &mut Context<'_>) -> Next {
        type_secret(&mut self.secret, key);
        Next::Stay
    }

    fn paste(&mut self, text: &str, _context: &mut Context<'_>) {
        for c in text.chars().filter(|c| !c.is_control()) {
            type_secret(&mut self.secret, Key::char(c));
        }
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Some(lines(app, self, width).len())
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

fn draw(screen: &mut Frame<'_>, app: &App, dialog: &SecretDialog, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = frame::hints::<Action>(app, room);
    let title = match &dialog.there {
        Some(there) => there.words.clone(),
        // Two hosts may have images of one name.
        None if host_and_path(&dialog.image).is_some() => {
            format!("Passphrase of {}", printable(&dialog.image))
        }
        None => format!("Passphrase of {}", units::file_name(&dialog.image)),
    };
    let inside = frame::dialog(screen, app, area, &title, bottom);
    let lines = lines(app, dialog, usize::from(inside.width));
    frame::lines_in(screen, inside, lines);
}

/// What is said of a passphrase that is typed: never what it is.
fn lines(app: &App, dialog: &SecretDialog, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let room = width.saturating_sub(4).max(1);
    let shown = dialog.secret.len().min(room);
    let mut lines = vec![Line::from(vec![
        Span::raw(" "),
        Span::raw(hidden(app, shown)),
        Span::styled(" ", theme.style(Role::Cursor)),
    ])];
    let text = match &dialog.there {
        Some(there) => format!(
            "It is sent to {host}, which asks for it, and to nobody else. For this image it is remembered here until \
             you leave, as long as it opens it; {host} keeps it nowhere.",
            host = there.host
        ),
        None => "It is tried on the image, which takes a moment, and is kept nowhere; the key it \
                 opens is remembered until you leave."
            .to_owned(),
    };
    push_wrapped(&mut lines, app, "", &text, Role::Quiet, width);
    lines
}
