//! Which images have rows, and in which order.

use super::space::Figure;

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
    /// Most data of its own first.
    Own,
    /// Most data that no image shows any more first.
    Hidden,
    /// What would free most first.
    Frees,
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
            Self::Own => 'd',
            Self::Hidden => 'h',
            Self::Frees => 'f',
        }
    }

    /// All orders.
    pub const ALL: [Self; 8] = [
        Self::Name,
        Self::Size,
        Self::Oldest,
        Self::Newest,
        Self::Problems,
        Self::Own,
        Self::Hidden,
        Self::Frees,
    ];

    /// What has to be measured for it.
    #[must_use]
    pub fn figure(self) -> Option<Figure> {
        match self {
            Self::Own => Some(Figure::Own),
            Self::Hidden => Some(Figure::Hidden),
            Self::Frees => Some(Figure::Frees),
            Self::Name | Self::Size | Self::Oldest | Self::Newest | Self::Problems => None,
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Problems => "problems",
            Self::Own => "own",
            Self::Hidden => "hidden",
            Self::Frees => "frees",
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
