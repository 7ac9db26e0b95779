//! What can be wrong with an image as far as a scan can see, each with a sentence for the person.

use super::NodeId;

/// One thing that is wrong with one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind of thing.
    pub kind: ProblemKind,
    /// What is wrong, with which file: a sentence, safe to print. What helps is `ops::fixes`' to say.
    pub message: String,
}

/// The kinds of problem, by the names that JSON shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The file cannot be opened or read.
    Unreadable,
    /// It is not what its first bytes say, or its header breaks the format's limits.
    Damaged,
    /// The file ends before what its header or tables point at.
    Truncated,
    /// Its header can be read, but neither QEMU nor we open it.
    Unopenable,
    /// The corrupt bit is set.
    CorruptBit,
    /// The dirty bit is set.
    DirtyBit,
    /// A check found clusters that nothing refers to.
    LeakedClusters,
    /// A check found references that cannot be right.
    CorruptClusters,
    /// It needs a feature that is not known here.
    UnknownFeature,
    /// The image it is built on is not there.
    MissingBacking,
    /// The image it is built on cannot be looked at.
    UnreachableBacking,
    /// Its backing name is one that no Linux can resolve: a path of Windows, a colon that QEMU takes for the
    /// end of a protocol.
    UnresolvableBacking,
    /// A layer below the image it is built on, or that one, cannot be opened.
    BrokenBelow,
    /// Its backing links run in a circle.
    Loop,
    /// It records no format for its backing file.
    NoBackingFormat,
    /// Where its backing name leads depends on the directory that a program is started in.
    DirectoryDependentBacking,
    /// Where its data file's name leads depends on the directory that a program is started in.
    DirectoryDependentDataFile,
    /// The file that it keeps its data in is not there.
    MissingDataFile,
    /// The recorded backing format is not what the backing file is.
    WrongBackingFormat,
    /// Somebody writes it though others are built on it, or writes an image it is built on.
    WrittenUnder,
    /// An operation on it was interrupted and not brought to its end.
    Interrupted {
        /// Its entry in the journal.
        entry: u64,
        /// Whether what was done of it may be taken back.
        can_roll_back: bool,
    },
    /// It, or an image it is built on, was changed by something else after what is built on it was made.
    BaseChanged {
        /// The one that was changed.
        base: NodeId,
        /// Whether it shows something else for sure: it may only have been copied or touched, if not.
        certain: bool,
    },
    /// It and the image it is built on are not of one size. Often meant so; told by a check only.
    BackingSize,
}

impl ProblemKind {
    /// Every kind once; what else is told of a kind stands for nothing here.
    pub const ALL: [Self; 23] = [
        Self::Unreadable,
        Self::Damaged,
        Self::Truncated,
        Self::Unopenable,
        Self::CorruptBit,
        Self::DirtyBit,
        Self::LeakedClusters,
        Self::CorruptClusters,
        Self::UnknownFeature,
        Self::MissingBacking,
        Self::UnreachableBacking,
        Self::UnresolvableBacking,
        Self::BrokenBelow,
        Self::Loop,
        Self::NoBackingFormat,
        Self::DirectoryDependentBacking,
        Self::DirectoryDependentDataFile,
        Self::MissingDataFile,
        Self::WrongBackingFormat,
        Self::WrittenUnder,
        Self::Interrupted {
            entry: 0,
            can_roll_back: false,
        },
        Self::BaseChanged {
            base: NodeId(0),
            certain: true,
        },
        Self::BackingSize,
    ];

    /// The name in JSON and in filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Truncated => "truncated",
            Self::Unopenable => "unopenable",
            Self::CorruptBit => "corrupt-bit",
            Self::DirtyBit => "dirty-bit",
            Self::LeakedClusters => "leaked-clusters",
            Self::CorruptClusters => "corrupt-clusters",
            Self::UnknownFeature => "unknown-feature",
            Self::MissingBacking => "missing-backing",
            Self::UnreachableBacking => "unreachable-backing",
            Self::UnresolvableBacking => "unresolvable-backing",
            Self::BrokenBelow => "broken-below",
            Self::Loop => "loop",
            Self::NoBackingFormat => "no-backing-format",
            Self::DirectoryDependentBacking => "directory-dependent-backing",
            Self::DirectoryDependentDataFile => "directory-dependent-data-file",
            Self::MissingDataFile => "missing-data-file",
            Self::WrongBackingFormat => "wrong-backing-format",
            Self::WrittenUnder => "written-under",
            Self::Interrupted { .. } => "interrupted",
            Self::BaseChanged { .. } => "base-changed",
            Self::BackingSize => "backing-size",
        }
    }
}
