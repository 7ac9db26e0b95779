//! What a conversion is asked with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::{CarriedBitmaps, CompressionLevel, Format, Preallocation, SparseSize};
use crate::ops::{BackingStyle, CommandLine, ImageOptions, SnapshotName};

/// A conversion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convert {
    /// The images to read, whose disks follow each other on the new one.
    pub sources: Vec<PathBuf>,
    /// What to take them for; none for what they are by their looks.
    pub format: Option<Format>,
    /// The internal snapshot of the one source that is read instead of what it shows now.
    pub snapshot: Option<SnapshotName>,
    /// Which dirty bitmaps of the one source the new image gets.
    #[serde(default)]
    pub bitmaps: CarriedBitmaps,
    /// What cannot be read becomes zeros and is told, instead of ending it.
    #[serde(default)]
    pub salvage: bool,
    /// From how many zeros in a row on the new image stores nothing for them.
    #[serde(default)]
    pub sparse: SparseSize,
    /// The file to create.
    pub new: PathBuf,
    /// What it is to be.
    pub form: ConvertForm,
    /// An image the one source is built on, directly or not, that the new one is to be built on as
    /// well; what it shows is not copied.
    pub backing: Option<PathBuf>,
    /// How the backing name is recorded.
    pub style: BackingStyle,
}

/// What an image is converted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConvertForm {
    /// A raw image.
    Raw {
        /// What is reserved in advance: not metadata, which it has not.
        preallocation: Preallocation,
    },
    /// What the image of that name is, which is there: it keeps its options, and its content is overwritten.
    Existing,
    /// A qcow2 image.
    Qcow2 {
        /// How it is made.
        image: ImageOptions,
        /// Whether its clusters are compressed, and how hard.
        compress: Option<CompressionLevel>,
    },
}

impl Convert {
    /// What the command line is; none for sources of a format that it has no word for.
    pub(super) fn line(&self) -> Option<CommandLine> {
        let source_format = match &self.format {
            None => None,
            Some(format @ (Format::Qcow2 | Format::Raw)) => Some(format.name()),
            Some(Format::Other(_)) => return None,
        };
        let (name, id) = match &self.snapshot {
            None => (None, false),
            Some(SnapshotName::Name(name)) => (Some(name), false),
            Some(SnapshotName::Id(id)) => (Some(id), true),
        };
        let sparse = Some(self.sparse).filter(|sparse| *sparse != SparseSize::default());
        let line = CommandLine::new(&["convert"])
            .paths(&self.sources)
            .path(&self.new)
            .option("--source-format", source_format)
            .flag("--salvage", self.salvage)
            .number("--sparse-size", sparse.map(SparseSize::bytes))
            .option("--snapshot", name)
            .flag("--id", id)
            .flag("--bitmaps", self.bitmaps != CarriedBitmaps::None)
            .flag(
                "--skip-broken-bitmaps",
                self.bitmaps == CarriedBitmaps::Sound,
            )
            .option_path("--backing", self.backing.as_ref())
            .flag("--absolute", self.style == BackingStyle::Absolute);
        Some(match &self.form {
            ConvertForm::Existing => line.flag("--into-existing", true),
            ConvertForm::Raw { preallocation } => {
                let preallocation = Some(*preallocation).filter(|how| *how != Preallocation::Off);
                line.option("--to", Some("raw"))
                    .option("--preallocation", preallocation.map(Preallocation::name))
            }
            ConvertForm::Qcow2 { image, compress } => {
                image.add_to(line.flag("--compress", compress.is_some()).number(
                    "--compression-level",
                    compress.and_then(CompressionLevel::number),
                ))
            }
        })
    }
}
