//! What the fields of forms are called.

/// The fields that forms have, by the words that stand before them; no form has two of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldName {
    /// As what a snapshot is copied out.
    As,
    /// How the backing file is recorded.
    Backing,
    /// What the image is to be built on.
    Base,
    /// A dirty bitmap.
    Bitmap,
    /// Which dirty bitmaps come along.
    Bitmaps,
    /// Bytes a cluster.
    Cluster,
    /// The algorithm of compressed clusters.
    Codec,
    /// The version of the format.
    Compat,
    /// Whether, and how, what is copied is compressed.
    Compress,
    /// A further file for the guest's data.
    DataFile,
    /// Whether that is a raw image at every time.
    DataRaw,
    /// Whether what the base shows as well is given up.
    Dedupe,
    /// Whether the new image is encrypted.
    Encrypt,
    /// What stands behind each name.
    Ending,
    /// The key slot that is erased.
    Erased,
    /// A folder.
    Folder,
    /// A format.
    Format,
    /// Where something comes from.
    From,
    /// Guest bytes a bit.
    Granularity,
    /// What stays of what the image shows.
    Keeps,
    /// Whether reference counts are written late.
    Lazy,
    /// The file to create, or the name of what is created.
    Name,
    /// What is noted of an image.
    Note,
    /// The same passphrase again.
    OnceMore,
    /// An image of the chain to stay built on.
    Onto,
    /// Whether all options of the format are asked for.
    Options,
    /// A new passphrase.
    Passphrase,
    /// Whether a bitmap records from the start.
    Records,
    /// Bits of a reference count.
    Refcounts,
    /// Whether blocks are shared.
    Reflink,
    /// What is reserved in advance for a qcow2 image.
    Reserve,
    /// What is reserved in advance for a raw image.
    ReserveRaw,
    /// Whether the disk may become shorter.
    Shrink,
    /// The size of the disk.
    Size,
    /// A key slot.
    Slot,
    /// The ID of an internal snapshot.
    Snapshot,
    /// The other bitmap.
    Source,
    /// From how many zeros in a row on nothing is stored.
    Sparse,
    /// Whether clusters have parts.
    Subcluster,
    /// Whether what is built on it moves along.
    Subtree,
    /// The tags of an image.
    Tags,
    /// What something becomes, or where it goes.
    To,
    /// The tags that images lose.
    Untag,
    /// What becomes of what cannot be read.
    Unread,
    /// Which kind of copy.
    Way,
    /// What is done.
    What,
}

impl FieldName {
    /// The words that stand before the field.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::Backing => "backing",
            Self::Base => "base",
            Self::Bitmap => "bitmap",
            Self::Bitmaps => "bitmaps",
            Self::Cluster => "cluster",
            Self::Codec => "codec",
            Self::Compat => "compat",
            Self::Compress => "compress",
            Self::DataFile => "data file",
            Self::DataRaw => "data raw",
            Self::Dedupe => "dedupe",
            Self::Encrypt => "encrypt",
            Self::Ending => "ending",
            Self::Erased => "erased",
            Self::Folder => "folder",
            Self::Format => "format",
            Self::From => "from",
            Self::Granularity => "granularity",
            Self::Keeps => "keeps",
            Self::Lazy => "lazy",
            Self::Name => "name",
            Self::Note => "note",
            Self::OnceMore => "once more",
            Self::Onto => "onto",
            Self::Options => "options",
            Self::Passphrase => "passphrase",
            Self::Records => "records",
            Self::Refcounts => "refcounts",
            Self::Reflink => "reflink",
            Self::Reserve | Self::ReserveRaw => "reserve",
            Self::Shrink => "shrink",
            Self::Size => "size",
            Self::Slot => "slot",
            Self::Snapshot => "snapshot",
            Self::Source => "source",
            Self::Sparse => "sparse",
            Self::Subcluster => "subcluster",
            Self::Subtree => "subtree",
            Self::Tags => "tags",
            Self::To => "to",
            Self::Untag => "take off",
            Self::Unread => "unread",
            Self::Way => "way",
            Self::What => "what",
        }
    }
}
