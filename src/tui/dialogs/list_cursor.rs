//! The cursor of a list.

/// Which entry of a list the cursor is on, from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListCursor {
    /// The entry.
    pub at: usize,
}

impl ListCursor {
    /// To the next of so many entries.
    pub fn down(&mut self, len: usize) {
        self.page_down(len, 1);
    }

    /// To the entry before.
    pub fn up(&mut self) {
        self.page_up(1);
    }

    /// A page further down, in so many entries.
    pub fn page_down(&mut self, len: usize, page: usize) {
        self.at = (self.at + page).min(len.saturating_sub(1));
    }

    /// A page further up.
    pub fn page_up(&mut self, page: usize) {
        self.at = self.at.saturating_sub(page);
    }

    /// The first entry seen in so many lines, so that the cursor is.
    #[must_use]
    pub fn first_seen(self, height: usize) -> usize {
        (self.at + 1).saturating_sub(height)
    }
}
