//! `qanopy compare`: where two images show different bytes.

use clap::{ArgGroup, Args};
use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::image::{self, Chain, Comparison, DifferingRange, ErrorKind, NoProgress};
use crate::json_text::{json_name, json_text};

use super::exit::Stop;
use super::options::{FollowArgs, Globals, snapshot_named};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{passphrase, reading};
use crate::units;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("snapshots").multiple(true))]
pub(super) struct CompareArgs {
    /// One image
    one: PathBuf,
    /// The other
    other: PathBuf,
    /// The format of the first [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// The format of the other [default: by its content]
    #[arg(long, short = 'F', value_name = "FORMAT")]
    other_format: Option<String>,
    /// Read what this internal snapshot of the first shows
    #[arg(long, value_name = "NAME", group = "snapshots")]
    snapshot: Option<OsString>,
    /// Read what this internal snapshot of the other shows
    #[arg(long, value_name = "NAME", group = "snapshots")]
    other_snapshot: Option<OsString>,
    /// NAME is the snapshot's ID, as `snapshot list` shows it
    #[arg(long, requires = "snapshots")]
    id: bool,
    /// Images of different sizes differ, even if the rest of the longer one is zeros
    #[arg(long, short = 's')]
    strict: bool,
    /// Print every differing range, not only the first few (--json always does)
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    passphrases: PassphraseArgs,
}

/// Differing ranges printed unless all are asked for.
const PRINTED: u64 = 20;

/// Compares, and prints what differs.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CompareArgs) -> anyhow::Result<()> {
    let open =
        |path: &Path, format: &Option<String>, snapshot: &Option<OsString>, beside: &Path| {
            let snapshot = snapshot.as_ref().map(|name| snapshot_named(name, args.id));
            let reading = reading::open(path, format.as_deref(), args.follow, snapshot, &[beside])?;
            anyhow::Ok(reading.whole().map_err(reading::NotOpened)?)
        };
    let one = open(&args.one, &args.format, &args.snapshot, &args.other)?;
    let (format, snapshot) = (&args.other_format, &args.other_snapshot);
    let other = open(&args.other, format, snapshot, &args.one)?;
    let keys = passphrase::keys(&args.passphrases)?;
    one.unlock(&keys, &NoProgress)?;
    other.unlock(&keys, &NoProgress)?;
    let sizes = (one.virtual_size(), other.virtual_size());
    let form = match (globals.json, args.all) {
        (true, _) => Form::Json,
        (false, true) => Form::Text { most: u64::MAX },
        (false, false) => Form::Text { most: PRINTED },
    };
    let mut printer = Printer {
        out,
        form,
        printed: 0,
        failed: None,
    };
    printer.begin(args)?;
    let compared = match compare(&one, &other, &mut printer) {
        Ok(compared) => compared,
        Err(error) => {
            printer.cut_short()?;
            return Err(error);
        }
    };
    let same_size = sizes.0 == sizes.1;
    let equal = compared.differences == 0 && (same_size || !args.strict);
    printer.end(&compared, sizes, equal)?;
    if equal {
        return Ok(());
    }
    let differ = if compared.differences > 0 {
        "the images differ"
    } else {
        "the images have different sizes"
    };
    printer.out.flush()?;
    Err(Stop::Problems(differ.to_owned()).into())
}

fn compare(one: &Chain, other: &Chain, printer: &mut Printer<'_>) -> anyhow::Result<Comparison> {
    let result = image::compare(one, other, &NoProgress, &mut |difference| match printer
        .difference(difference)
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            printer.failed = Some(error);
            ControlFlow::Break(())
        }
    });
    match (result, printer.failed.take()) {
        (Err(error), Some(why)) if matches!(error.kind, ErrorKind::Cancelled) => Err(why.into()),
        (result, _) => Ok(result?),
    }
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Text { most: u64 },
}

/// Prints differences as they come: there may be millions.
struct Printer<'a> {
    out: &'a mut Out,
    form: Form,
    printed: u64,
    /// Why it could not go on.
    failed: Option<io::Error>,
}

impl Printer<'_> {
    fn begin(&mut self, args: &CompareArgs) -> io::Result<()> {
        match self.form {
            Form::Text { .. } => Ok(()),
            Form::Json => {
                let names = json!({ "one": json_name(&args.one), "other": json_name(&args.other) });
                let names = json_text(names).replace('\n', "\n  ");
                let names = names.trim_end_matches("\n  }");
                self.out.begin_json()?;
                self.out.text(&format!("{names},\n    \"ranges\": ["))
            }
        }
    }

    /// Closes what is open, where not all could be read.
    fn cut_short(&mut self) -> io::Result<()> {
        match self.form {
            Form::Text { .. } => Ok(()),
            Form::Json => self.out.text("]\n  }"),
        }
    }

    fn difference(&mut self, difference: DifferingRange) -> io::Result<()> {
        let DifferingRange { start, len } = difference;
        match self.form {
            Form::Json => {
                let comma = if self.printed > 0 { "," } else { "" };
                self.printed += 1;
                self.out.text(&format!(
                    "{comma}\n      {{ \"start\": {start}, \"length\": {len} }}"
                ))
            }
            Form::Text { most } if self.printed < most => {
                if self.printed == 0 {
                    self.out.line(
                        format_args!("{:<18} {:<18}", "START", "LENGTH")
                            .to_string()
                            .trim_end(),
                    )?;
                }
                self.printed += 1;
                let start = format!("{start:#x}");
                self.out.line(format_args!("{start:<18} {len:#x}"))
            }
            Form::Text { .. } => Ok(()),
        }
    }

    fn end(&mut self, compared: &Comparison, sizes: (u64, u64), equal: bool) -> io::Result<()> {
        let Comparison {
            differences,
            differing,
            ..
        } = *compared;
        match self.form {
            Form::Json => {
                let close = if self.printed > 0 { "\n    ]" } else { "]" };
                let sizes = json!([sizes.0, sizes.1]);
                self.out.text(&format!(
                    "{close},\n    \"differing-ranges\": {differences},\n    \"differing-bytes\": {differing},\n    \
                     \"virtual-sizes\": {sizes},\n    \"identical\": {equal}\n  }}"
                ))
            }
            Form::Text { .. } => {
                let more = differences - self.printed;
                if more > 0 {
                    self.out
                        .line(format_args!("and {more} more (--all lists them)"))?;
                }
                if sizes.0 != sizes.1 {
                    let (one, other) = (units::size(sizes.0), units::size(sizes.1));
                    let (a, b) = sizes;
                    self.out.line(format_args!(
                        "sizes differ: {one} ({a} bytes) and {other} ({b} bytes)"
                    ))?;
                }
                match differences {
                    0 if sizes.0 != sizes.1 => self
                        .out
                        .line("the same content: the longer one goes on with zeros"),
                    0 => self.out.line("the same content"),
                    1 => self
                        .out
                        .line(format_args!("1 range, {}", units::size(differing))),
                    n => self
                        .out
                        .line(format_args!("{n} ranges, {}", units::size(differing))),
                }
            }
        }
    }
}
