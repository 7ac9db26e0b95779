//! How, and when, the end of a job is told to somebody who looks elsewhere.

/// When the end of a job is told to somebody who does not look at the terminal, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notices {
    /// How.
    pub by: NoticeBy,
    /// Only of jobs that took so long, in seconds.
    pub after: u64,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            by: NoticeBy::Osc777,
            after: 10,
        }
    }
}

/// How a terminal is asked to tell somebody something; one that cannot ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeBy {
    /// As urxvt, foot, WezTerm and Ghostty understand it.
    Osc777,
    /// As iTerm2, ConEmu and Windows Terminal understand it.
    Osc9,
    /// By its bell.
    Bell,
    /// Not at all.
    Off,
}

impl NoticeBy {
    /// All of them, with the names the configuration knows.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("osc777", Self::Osc777),
        ("osc9", Self::Osc9),
        ("bell", Self::Bell),
        ("off", Self::Off),
    ];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mut known = Self::NAMES.into_iter();
        known
            .find(|(_, by)| *by == self)
            .map_or("", |(name, _)| name)
    }
}
