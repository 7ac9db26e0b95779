//! What each role looks like. A theme is a small file: four come with the program, and the person's
//! own lines go over it. Plain text keeps the terminal's colours; nothing is said by colour alone.

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
    InUse,
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

impl Role {
    /// All roles, with their names in theme files.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::Plain, "plain"),
        (Self::Base, "base"),
        (Self::Cursor, "cursor"),
        (Self::Marked, "marked"),
        (Self::InUse, "in-use"),
        (Self::Error, "error"),
        (Self::Warning, "warning"),
        (Self::Good, "good"),
        (Self::Quiet, "quiet"),
        (Self::Dim, "dim"),
        (Self::Title, "title"),
        (Self::Key, "key"),
        (Self::Focus, "focus"),
        (Self::Frame, "frame"),
        (Self::Bar, "bar"),
        (Self::Fill, "fill"),
    ];

    /// The name that a role has now, where a theme file has one from before.
    #[must_use]
    pub fn renamed(name: &str) -> Option<&'static str> {
        (name == "locked").then_some("in-use")
    }
}

/// How many colours a terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// None are wanted: attributes only.
    None,
    /// The sixteen the person has chosen.
    #[default]
    Sixteen,
    /// The 256 of xterm.
    Indexed,
    /// Any.
    True,
}

impl Depth {
    /// What the environment says of the terminal.
    #[must_use]
    pub fn of(no_color: bool, colorterm: Option<&str>, term: Option<&str>) -> Self {
        if no_color {
            Self::None
        } else if matches!(colorterm, Some("truecolor" | "24bit")) {
            Self::True
        } else if term.is_some_and(|term| term.contains("256color") || term.contains("direct")) {
            Self::Indexed
        } else {
            Self::Sixteen
        }
    }
}

/// How the roles look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    styles: [Style; Role::ALL.len()],
}

impl Default for Theme {
    fn default() -> Self {
        Self::named("ansi").unwrap_or(Self::BARE)
    }
}

impl Theme {
    /// The themes that come with the program, with their files.
    pub const BUILT_IN: [(&'static str, &'static str); 4] = [
        ("ansi", include_str!("../../assets/themes/ansi.toml")),
        ("dark", include_str!("../../assets/themes/dark.toml")),
        ("light", include_str!("../../assets/themes/light.toml")),
        ("plain", include_str!("../../assets/themes/plain.toml")),
    ];

    /// Everything as the terminal writes plain text.
    pub const BARE: Self = Self {
        styles: [Style::new(); Role::ALL.len()],
    };

    /// A theme that comes with the program.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (_, file) = Self::BUILT_IN.iter().find(|(known, _)| *known == name)?;
        let table = toml::de::DeTable::parse(file).ok()?;
        let mut theme = Self::BARE;
        for (role, look) in table.get_ref() {
            theme
                .set(role.get_ref(), look.get_ref().as_str().unwrap_or_default())
                .ok()?;
        }
        Some(theme)
    }

    /// Without any colour.
    #[must_use]
    pub fn plain() -> Self {
        Self::named("plain").unwrap_or(Self::BARE)
    }

    /// Gives a role a look: colours and attributes in words, as in `red bold` or
    /// `#ffffff on #263a57`.
    ///
    /// # Errors
    /// A sentence, if there is no such role, or a word is neither colour nor attribute.
    pub fn set(&mut self, role: &str, look: &str) -> Result<(), String> {
        let at = Role::ALL.iter().position(|(_, name)| *name == role);
        let slot = at.and_then(|at| self.styles.get_mut(at));
        let Some(slot) = slot else {
            let names = Role::ALL.map(|(_, name)| name).join(", ");
            return Err(format!("no role is called {role:?}; there are {names}"));
        };
        *slot = style(look)?;
        Ok(())
    }

    /// Whether a role can have that look.
    ///
    /// # Errors
    /// The same as of [`Theme::set`].
    pub fn check(role: &str, look: &str) -> Result<(), String> {
        let mut theme = Self::BARE;
        theme.set(role, look)
    }

    /// The same on a terminal that has only so many colours.
    #[must_use]
    pub fn at_depth(self, depth: Depth) -> Self {
        let has_own = self.styles.iter().any(|style| {
            [style.fg, style.bg]
                .iter()
                .any(|colour| matches!(colour, Some(Color::Rgb(..))))
        });
        match depth {
            Depth::True => self,
            Depth::None => Self::plain(),
            Depth::Sixteen if has_own => Self::default(),
            Depth::Sixteen => self,
            Depth::Indexed => Self {
                styles: self.styles.map(|style| Style {
                    fg: style.fg.map(nearest),
                    bg: style.bg.map(nearest),
                    ..style
                }),
            },
        }
    }

    /// The style of a role.
    #[must_use]
    pub fn style(self, role: Role) -> Style {
        let at = Role::ALL.iter().position(|(known, _)| *known == role);
        at.and_then(|at| self.styles.get(at))
            .copied()
            .unwrap_or_default()
    }
}

fn style(look: &str) -> Result<Style, String> {
    let mut style = Style::new();
    let mut is_ground = false;
    for word in look.split_whitespace() {
        match word {
            "on" => is_ground = true,
            "bold" => style = style.add_modifier(Modifier::BOLD),
            "dim" => style = style.add_modifier(Modifier::DIM),
            "italic" => style = style.add_modifier(Modifier::ITALIC),
            "underlined" => style = style.add_modifier(Modifier::UNDERLINED),
            "reversed" => style = style.add_modifier(Modifier::REVERSED),
            "plain" => style = Style::new(),
            _ => {
                let colour: Color = word.parse().map_err(|_| {
                    format!(
                        "{word:?} is neither a colour (red, lightblue, 114, #ffd75f) nor one of bold, dim, \
                         italic, underlined, reversed, on"
                    )
                })?;
                style = if is_ground {
                    style.bg(colour)
                } else {
                    style.fg(colour)
                };
            }
        }
    }
    Ok(style)
}

/// The nearest of xterm's 256 colours: of its cube and its greys, whichever is nearer.
fn nearest(colour: Color) -> Color {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let Color::Rgb(r, g, b) = colour else {
        return colour;
    };
    let step = |value: u8| -> u8 {
        let steps = STEPS.iter().zip(0_u8..);
        let best = steps.min_by_key(|(step, _)| step.abs_diff(value));
        best.map_or(0, |(_, at)| at)
    };
    let (cr, cg, cb) = (step(r), step(g), step(b));
    let level = |at: u8| STEPS.get(usize::from(at)).copied().unwrap_or(0);
    let sum = u16::from(r) + u16::from(g) + u16::from(b);
    let grey = u8::try_from((sum / 3).saturating_sub(3) / 10)
        .unwrap_or(0)
        .min(23);
    let tone = 8 + 10 * grey;
    let far = |x: u8, y: u8, z: u8| -> u32 {
        let square = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
        square(r, x) + square(g, y) + square(b, z)
    };
    if far(tone, tone, tone) < far(level(cr), level(cg), level(cb)) {
        Color::Indexed(232 + grey)
    } else {
        Color::Indexed(16 + 36 * cr + 6 * cg + cb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(name: &str) -> Theme {
        Theme::named(name).expect("a theme of that name")
    }

    fn colours(style: Style) -> impl Iterator<Item = Color> {
        [style.fg, style.bg].into_iter().flatten()
    }

    #[test]
    fn with_sixteen_colours_no_role_is_unreadable_on_a_light_or_a_dark_ground() {
        for (role, name) in Role::ALL {
            for colour in colours(theme("ansi").style(role)) {
                assert!(
                    matches!(
                        colour,
                        Color::Red | Color::Green | Color::Yellow | Color::Blue | Color::Cyan
                    ),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn without_colour_only_attributes_are_left() {
        for (theme_name, _) in Theme::BUILT_IN {
            for (role, name) in Role::ALL {
                let style = theme(theme_name).at_depth(Depth::None).style(role);
                assert_eq!(colours(style).count(), 0, "{theme_name} {name}");
            }
        }
    }

    /// Relative luminance, as the web's accessibility guidelines define it.
    fn luminance(colour: Color) -> f64 {
        let Color::Rgb(r, g, b) = colour else {
            panic!("{colour} is no colour of its own");
        };
        let part = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.03928 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
    }

    fn contrast(a: Color, b: Color) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn themes_with_colours_of_their_own_can_be_read_on_their_grounds() {
        let dark = [(0, 0, 0), (0x1e, 0x1e, 0x2e), (0x28, 0x2c, 0x34)];
        let light = [(255, 255, 255), (0xfd, 0xf6, 0xe3), (0xf0, 0xf0, 0xf0)];
        for (name, grounds) in [("dark", dark), ("light", light)] {
            for (role, role_name) in Role::ALL {
                let style = theme(name).style(role);
                // Also below the cursor, which keeps the colour of what it is on.
                let cursor = theme(name).style(Role::Cursor).bg;
                let grounds = grounds.map(|(r, g, b)| Color::Rgb(r, g, b));
                for ground in grounds.into_iter().chain(cursor) {
                    let ground = style.bg.unwrap_or(ground);
                    let Some(ink) = style.fg else { continue };
                    let contrast = contrast(ink, ground);
                    assert!(contrast >= 4.0, "{name} {role_name}: {contrast:.1}");
                }
            }
        }
    }

    #[test]
    fn a_terminal_with_fewer_colours_gets_the_nearest_or_the_sixteen() {
        assert_eq!(nearest(Color::Rgb(255, 215, 95)), Color::Indexed(221));
        assert_eq!(nearest(Color::Rgb(0x8a, 0x8a, 0x8a)), Color::Indexed(245));
        assert_eq!(theme("dark").at_depth(Depth::Sixteen), Theme::default());
        let indexed = theme("light").at_depth(Depth::Indexed);
        assert!(matches!(
            indexed.style(Role::Error).fg,
            Some(Color::Indexed(_))
        ));
        assert_eq!(Depth::of(true, Some("truecolor"), None), Depth::None);
        assert_eq!(
            Depth::of(false, None, Some("xterm-256color")),
            Depth::Indexed
        );
        assert_eq!(Depth::of(false, None, Some("linux")), Depth::Sixteen);
    }

    #[test]
    fn a_look_is_said_in_words() {
        let mut theme = Theme::BARE;
        theme.set("error", "#ff0000 on white bold").unwrap();
        let style = theme.style(Role::Error);
        assert_eq!(
            (style.fg, style.bg),
            (Some(Color::Rgb(255, 0, 0)), Some(Color::White))
        );
        assert!(theme.set("error", "reddish").is_err());
        assert!(theme.set("mistake", "red").is_err());
    }
}
