//! `qanopy garbage`: the images that nobody needs, and who needs the bases.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::host::{Host, RealHost, printable};
use crate::ops::{self, Context, Garbage, GarbageReport, Need, NeededBase, Request, Sweep};
use crate::units::{self, count};

use super::context;
use super::execute::execute;
use super::exit::{FileError, Stop};
use super::json::{path, with_storage};
use super::mark::{Mark, Piece};
use super::options::{ConsentArgs, Globals, OpenArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct GarbageArgs {
    #[command(flatten)]
    open: OpenArgs,
    /// Only images unchanged for this long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = units::parse_age, default_value = "1h")]
    older_than: Duration,
    /// This image is needed, with all that it is built on
    #[arg(long, value_name = "IMAGE")]
    root: Vec<PathBuf>,
    /// Also images that are built on nothing, where nobody needs them nor what is built on them
    #[arg(long)]
    whole_trees: bool,
    /// Tell of each base who still needs it
    #[arg(long)]
    bases: bool,
    /// Discard what nobody needs: to the trash
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Names told of each base at most.
const MOST_TOLD: usize = 5;

/// Tells what is garbage, or discards it.
pub(super) fn run(out: &mut Out, globals: Globals, args: &GarbageArgs) -> anyhow::Result<()> {
    let consent = args.consent;
    if !args.discard && (consent.dry_run || consent.yes || consent.confirm.is_some()) {
        let text = "say what is to be done with it: --discard".to_owned();
        return Err(Stop::Usage(text).into());
    }
    let context = context::below_and_remembered(&args.open)?;
    let roots = args.root.iter().map(|root| known(&context, root));
    let roots = roots.collect::<anyhow::Result<Vec<PathBuf>>>()?;
    let report = ops::garbage(
        &context,
        &Sweep {
            older_than: args.older_than,
            roots,
            whole_trees: args.whole_trees,
        },
    );
    if args.discard && !report.garbage.is_empty() {
        let tops = report.garbage.into_iter().map(|one| one.path);
        let request = Request::discard(tops.collect());
        return execute(out, globals, consent, &context, &request);
    }
    if globals.json {
        out.json(described(&context, &report, args.bases))?;
    } else {
        tell(out, &context, &report, args)?;
    }
    out.flush()?;
    match images(&report) {
        0 => Ok(()),
        found => Err(Stop::Problems(count(found, "unneeded image")).into()),
    }
}

/// An image that the person named, by the name it is known by.
fn known(context: &Context, image: &Path) -> anyhow::Result<PathBuf> {
    let stat = RealHost.stat(image).map_err(FileError::at("find", image))?;
    let node = context.forest.by_file(stat.id).ok_or_else(|| {
        let text = format!("{} is no image in these folders", printable(image));
        Stop::Usage(text)
    })?;
    Ok(node.path.clone())
}

fn images(report: &GarbageReport) -> usize {
    report.garbage.iter().map(|one| one.images.len()).sum()
}

fn tell(
    out: &mut Out,
    context: &Context,
    report: &GarbageReport,
    args: &GarbageArgs,
) -> io::Result<()> {
    for one in &report.garbage {
        let nodes = one
            .images
            .iter()
            .filter_map(|image| context.forest.by_path(image));
        let ids: Vec<_> = nodes.map(|node| node.id).collect();
        let counts = vec![one.frees, one.shared.unwrap_or(0)];
        out.about(&Mark::of(&context.forest, &ids, "garbage").counting(counts))?;
        let with = match one.images.len() {
            0 | 1 => String::new(),
            all => format!(", and {} built on it", count(all - 1, "image")),
        };
        out.line(format_args!(
            "{:>10}  {:>6}  {}{with}",
            units::size(one.frees),
            units::age(one.age),
            printable(&one.path)
        ))?;
        for doubt in &one.doubts {
            out.line(format_args!("{:>10}  {:>6}  ! {doubt}", "", ""))?;
        }
    }
    out.about(&Mark::default())?;
    if report.garbage.is_empty() {
        let age = units::age(args.older_than);
        out.line(format_args!(
            "Nothing that is unchanged for {age} is garbage."
        ))?;
    } else {
        let text = format!(
            "  {:>6}  in all, once they are discarded and the trash is emptied",
            ""
        );
        out.sum(vec![Piece::Size(0, frees(report)), Piece::Text(text)])?;
    }
    tell_shared(out, report)?;
    if args.bases {
        out.line("")?;
        for base in &report.bases {
            tell_base(out, base)?;
        }
    }
    for who in &report.unasked {
        out.line(format_args!("! not asked: {}", printable(who)))?;
    }
    Ok(())
}

/// What is not counted, and where nobody knows.
fn tell_shared(out: &mut Out, report: &GarbageReport) -> io::Result<()> {
    let shared = report.garbage.iter().filter_map(|one| one.shared);
    let shared = shared.fold(0, u64::saturating_add);
    if shared > 0 {
        let text =
            " in blocks that other files have as well (reflinks), free once all of these are gone";
        out.sum(vec![
            Piece::Text("! not counted: ".to_owned()),
            Piece::Size(1, shared),
            Piece::Text(text.to_owned()),
        ])?;
    }
    let untold = report.garbage.iter().filter(|one| one.shared.is_none());
    match untold.count() {
        0 => Ok(()),
        _ => out.line(
            "! not known: whether other files have some of these blocks as well (reflinks), since their filesystem \
             does not tell: less may come free",
        ),
    }
}

fn tell_base(out: &mut Out, base: &NeededBase) -> io::Result<()> {
    out.line(format_args!("{} is needed by", printable(&base.path)))?;
    if base.needs.is_empty() {
        return out.line("  nobody");
    }
    for need in base.needs.iter().take(MOST_TOLD) {
        let through = match need.image == base.path {
            true => String::new(),
            false => format!(", through {}", printable(&need.image)),
        };
        out.line(format_args!("  {}{through}", printable(&need.who)))?;
    }
    match base.needs.len().saturating_sub(MOST_TOLD) {
        0 => Ok(()),
        more => out.line(format_args!("  and {more} more: --json has all")),
    }
}

fn frees(report: &GarbageReport) -> u64 {
    let freed = report.garbage.iter().map(|one| one.frees);
    freed.fold(0, u64::saturating_add)
}

fn described(context: &Context, report: &GarbageReport, with_bases: bool) -> Value {
    let garbage = report.garbage.iter().map(|one| {
        let told = piece(report, one);
        // What has a part that nobody else sees is told of by this machine alone.
        let mut images = one
            .images
            .iter()
            .filter_map(|image| context.forest.by_path(image));
        match images.all(|node| node.sharing.is_some()) {
            true => with_storage(told, &context.forest, &one.path),
            false => told,
        }
    });
    let mut value = json!({
        "garbage": garbage.collect::<Vec<_>>(),
        "frees": frees(report),
        "not-asked": report.unasked.iter().map(printable).collect::<Vec<_>>(),
    });
    if let Some(fields) = value.as_object_mut().filter(|_| with_bases) {
        let bases = report.bases.iter().map(|base| {
            let needs = base.needs.iter().map(need).collect::<Vec<_>>();
            json!({ "path": path(&base.path), "needed-by": needs })
        });
        fields.insert("bases".to_owned(), bases.collect());
    }
    value
}

/// It is sure where everybody could be asked, and nothing in it speaks against it.
fn piece(report: &GarbageReport, one: &Garbage) -> Value {
    let is_sure = report.unasked.is_empty() && one.doubts.is_empty();
    json!({
        "path": path(&one.path),
        "images": one.images.iter().map(|image| path(image)).collect::<Vec<_>>(),
        "age-sec": one.age.as_secs(),
        "frees": one.frees,
        "shared": one.shared,
        "sure": if is_sure { "likely" } else { "possible" },
        "doubts": one.doubts,
    })
}

fn need(need: &Need) -> Value {
    json!({ "kind": need.kind.name(), "image": path(&need.image), "who": need.who })
}
