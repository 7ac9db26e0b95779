//! What keys mean in the checklist.

use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};

/// What a key can mean in the checklist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ticks or unticks an entry.
    Tick,
    /// Ticks all or none.
    TickAll,
    /// Keeps more of the youngest, or none again.
    KeepLast,
    /// The same of the youngest of each day.
    KeepDaily,
    /// Of each week.
    KeepWeekly,
    /// Of each month.
    KeepMonthly,
    /// What the youngest are counted by.
    Per,
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
        dialog(Self::KeepLast, "prune-keep-last", &[Key::char('l')], "keep the youngest few: 1, 2, 3, 5, 10, none", "keep last"),
        dialog(Self::KeepDaily, "prune-keep-daily", &[Key::char('d')], "keep the youngest of each day: 7, 14, 30, none", ""),
        dialog(Self::KeepWeekly, "prune-keep-weekly", &[Key::char('w')], "keep the youngest of each week: 4, 8, 12, none", ""),
        dialog(Self::KeepMonthly, "prune-keep-monthly", &[Key::char('m')], "keep the youngest of each month: 3, 6, 12, none", ""),
        dialog(Self::Per, "prune-per", &[Key::char('p')], "count them per base, per tree or per machine", ""),
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
