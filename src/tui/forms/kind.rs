//! Which forms there are.

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FormKind {
    /// A new overlay.
    Branch,
    /// A new empty image.
    Create,
    /// What an image is built on.
    Rebase,
    /// Where a missing base went.
    Relink,
    /// A new file that shows the same.
    Flatten,
    /// Layers taken out of a chain.
    FlattenHere,
    /// Another size of the disk.
    Resize,
    /// Another name or folder.
    Move,
    /// A new internal snapshot.
    TakeSnapshot,
    /// A snapshot copied out into a file.
    ExtractSnapshot,
    /// A copy, file for file.
    Clone,
    /// Another machine that has what one has.
    CloneMachine,
    /// A new image of another kind.
    Convert,
    /// A new image of another kind for each of the marked ones.
    ConvertEach,
    /// A folder that holds the chain.
    Export,
    /// An exported folder brought in.
    Import,
    /// Another version, width or feature.
    Amend,
    /// The note and the tags of an image.
    Note,
    /// The note and the tags of each of the marked images.
    NoteEach,
    /// Other passphrases of an encrypted image.
    KeySlots,
    /// A new dirty bitmap.
    AddBitmap,
    /// A dirty bitmap that takes up what another says.
    MergeBitmap,
}
