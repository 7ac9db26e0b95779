//! A key press in our own words, so that the keymap and the update step know nothing of a terminal
//! library. Reading keys from a terminal is `runner`'s work.

use std::fmt;

/// What was pressed, without modifiers other than what the character itself shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A character as typed; shift is part of it.
    Char(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// To the start.
    Home,
    /// To the end.
    End,
    /// One screen up.
    PageUp,
    /// One screen down.
    PageDown,
    /// Delete to the left.
    Backspace,
    /// Delete under the cursor.
    Delete,
    /// A function key, from 1.
    F(u8),
}

/// One key press.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Which key.
    pub code: Code,
    /// With Ctrl held.
    pub ctrl: bool,
}

impl Key {
    /// A key without Ctrl.
    #[must_use]
    pub const fn of(code: Code) -> Self {
        Self { code, ctrl: false }
    }

    /// A character.
    #[must_use]
    pub const fn char(c: char) -> Self {
        Self::of(Code::Char(c))
    }

    /// A character with Ctrl held.
    #[must_use]
    pub const fn ctrl(c: char) -> Self {
        Self {
            code: Code::Char(c),
            ctrl: true,
        }
    }

    /// Reads a key as it is shown: `C`, `Ctrl-d`, `Space`, `PgUp`, `F5`.
    ///
    /// # Errors
    /// A sentence, if it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        const NAMES: [(&str, Code); 14] = [
            ("space", Code::Char(' ')),
            ("enter", Code::Enter),
            ("esc", Code::Esc),
            ("tab", Code::Tab),
            ("shift-tab", Code::BackTab),
            ("up", Code::Up),
            ("down", Code::Down),
            ("left", Code::Left),
            ("right", Code::Right),
            ("home", Code::Home),
            ("end", Code::End),
            ("pgup", Code::PageUp),
            ("pgdn", Code::PageDown),
            ("del", Code::Delete),
        ];
        let (ctrl, name) = match text.get(..5) {
            Some(start) if start.eq_ignore_ascii_case("ctrl-") => (true, &text[5..]),
            _ => (false, text),
        };
        let mut chars = name.chars();
        let code = match (chars.next(), chars.next()) {
            (Some(c), None) if !c.is_control() && c != ' ' => Some(Code::Char(c)),
            _ => {
                let lower = name.to_lowercase();
                let number = lower.strip_prefix('f').and_then(|n| n.parse().ok());
                NAMES
                    .iter()
                    .find(|(known, _)| *known == lower)
                    .map(|(_, code)| *code)
                    .or(number.filter(|n| (1..=12).contains(n)).map(Code::F))
            }
        };
        match code {
            Some(code) if !ctrl || matches!(code, Code::Char(_)) => Ok(Self { code, ctrl }),
            _ => Err(format!(
                "{text:?} is no key: a character, Ctrl- and a character, or a name such as Space, PgUp or F5"
            )),
        }
    }

    /// The character this key would type into a field, if it would.
    #[must_use]
    pub fn typed(self) -> Option<char> {
        match self.code {
            Code::Char(c) if !self.ctrl && !c.is_control() => Some(c),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("Ctrl-")?;
        }
        match self.code {
            Code::Char(' ') => f.write_str("Space"),
            Code::Char(c) => write!(f, "{c}"),
            Code::Enter => f.write_str("Enter"),
            Code::Esc => f.write_str("Esc"),
            Code::Tab => f.write_str("Tab"),
            Code::BackTab => f.write_str("Shift-Tab"),
            Code::Up => f.write_str("Up"),
            Code::Down => f.write_str("Down"),
            Code::Left => f.write_str("Left"),
            Code::Right => f.write_str("Right"),
            Code::Home => f.write_str("Home"),
            Code::End => f.write_str("End"),
            Code::PageUp => f.write_str("PgUp"),
            Code::PageDown => f.write_str("PgDn"),
            Code::Backspace => f.write_str("Backspace"),
            Code::Delete => f.write_str("Del"),
            Code::F(number) => write!(f, "F{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        let named = [
            Key::char('C'),
            Key::char('!'),
            Key::char(' '),
            Key::ctrl('d'),
            Key::of(Code::BackTab),
            Key::of(Code::PageDown),
            Key::of(Code::Delete),
            Key::of(Code::F(5)),
        ];
        for key in named {
            assert_eq!(Key::parse(&key.to_string()), Ok(key));
        }
        for bad in ["", "Alt-x", "Ctrl-", "Ctrl-Up", "F13", "xy"] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }
}
