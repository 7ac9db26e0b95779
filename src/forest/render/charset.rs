//! Which signs a picture is drawn with.

/// The signs a picture may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Charset {
    /// Line-drawing characters.
    #[default]
    Unicode,
    /// ASCII only, for terminals where the others may be missing or two cells wide.
    Ascii,
}
