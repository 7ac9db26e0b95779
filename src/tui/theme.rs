//! What each role looks like. Sixteen ANSI colours at most, so that the person's own palette
//! decides; plain text keeps the terminal's colours; nothing is said by colour alone. With
//! `NO_COLOR` only attributes are left.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Anything without a role.
    Plain,
    /// An image others are built on.
    Base,
    /// The row or box the cursor is on.
    Cursor,
    /// A marked row.
    Marked,
    /// In use by a process.
    Locked,
    /// Something is wrong, or will be lost.
    Error,
    /// Look twice.
    Warning,
    /// Something appears, is kept safe, or went well.
    Good,
    /// Less important.
    Quiet,
    /// Ancestors of filter hits, disabled entries.
    Dim,
    /// Titles and headings.
    Title,
    /// A key that can be pressed.
    Key,
    /// The frame of the pane that has the focus.
    Focus,
    /// The frame of another pane.
    Frame,
    /// The header and footer bars.
    Bar,
    /// A filled part of a bar graph.
    Fill,
}

/// How the roles look on this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// The terminal's sixteen colours.
    #[default]
    Ansi,
    /// No colour at all: attributes only.
    Plain,
}

impl Theme {
    /// The style of a role.
    #[must_use]
    pub fn style(self, role: Role) -> Style {
        let plain = Style::new();
        let style = match role {
            Role::Plain | Role::Frame => plain,
            Role::Base => plain.add_modifier(Modifier::BOLD),
            Role::Cursor => plain.add_modifier(Modifier::REVERSED),
            Role::Marked => plain.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Role::Locked => plain.fg(Color::Cyan),
            Role::Error => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            Role::Warning => plain.fg(Color::Yellow),
            Role::Good => plain.fg(Color::Green),
            Role::Quiet | Role::Dim => plain.add_modifier(Modifier::DIM),
            Role::Title => plain.add_modifier(Modifier::BOLD),
            Role::Key => plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            Role::Focus => plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            Role::Bar => plain.add_modifier(Modifier::REVERSED),
            Role::Fill => plain.fg(Color::Cyan),
        };
        match self {
            Self::Ansi => style,
            Self::Plain => Style {
                fg: None,
                bg: None,
                ..style
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 16] = [
        Role::Plain,
        Role::Base,
        Role::Cursor,
        Role::Marked,
        Role::Locked,
        Role::Error,
        Role::Warning,
        Role::Good,
        Role::Quiet,
        Role::Dim,
        Role::Title,
        Role::Key,
        Role::Focus,
        Role::Frame,
        Role::Bar,
        Role::Fill,
    ];

    #[test]
    fn no_role_is_unreadable_on_a_light_or_a_dark_ground() {
        for role in ROLES {
            let style = Theme::Ansi.style(role);
            for colour in [style.fg, style.bg].into_iter().flatten() {
                assert!(
                    !matches!(
                        colour,
                        Color::White | Color::Black | Color::DarkGray | Color::Gray
                    ),
                    "{role:?}"
                );
            }
        }
    }

    #[test]
    fn without_colour_only_attributes_are_left() {
        for role in ROLES {
            let style = Theme::Plain.style(role);
            assert_eq!((style.fg, style.bg), (None, None), "{role:?}");
        }
    }
}
