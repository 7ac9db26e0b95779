//! Which images have rows, and in which order.

/// The order of roots, and of the children of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Sort {
    /// By path.
    #[default]
    Name,
    /// Largest on disk first.
    Size,
    /// Longest untouched first.
    Oldest,
    /// Last written first.
    Newest,
    /// Whatever has problems first.
    Problems,
}

impl Sort {
    /// The key that stands for it in the menu.
    #[must_use]
    pub fn key(self) -> char {
        match self {
            Self::Name => 'n',
            Self::Size => 's',
            Self::Oldest => 'o',
            Self::Newest => 'w',
            Self::Problems => 'p',
        }
    }

    /// All orders.
    pub const ALL: [Self; 5] = [
        Self::Name,
        Self::Size,
        Self::Oldest,
        Self::Newest,
        Self::Problems,
    ];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Problems => "problems",
        }
    }
}

/// Which images are shown at all; ancestors of those stay, dimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum View {
    /// All of them.
    #[default]
    All,
    /// Leaves only.
    Leaves,
    /// Only what has problems.
    Problems,
    /// Disks of machines, below the machine whose they are.
    Machines,
}

impl View {
    /// The next one in turn.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::All => Self::Leaves,
            Self::Leaves => Self::Problems,
            Self::Problems => Self::Machines,
            Self::Machines => Self::All,
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Leaves => "leaves only",
            Self::Problems => "problems only",
            Self::Machines => "by machine",
        }
    }
}
