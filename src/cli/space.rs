//! `qanopy space`: what each layer holds, what of it nobody sees any more, and what would free most.

use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::forest::Forest;
use crate::host::printable;
use crate::inside::Until;
use crate::ops::{
    self, LayerSpace, Phase, Progress, ReadSpace, Saving, SpaceCache, SpaceQuery, SpaceReport,
};

use super::context;
use super::exit::Stop;
use super::json::{path, with_storage};
use super::mark::{Mark, Piece, cell};
use super::options::{Globals, OpenArgs, Words, one_of};
use super::output::Out;
use super::progress_bar;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct SpaceArgs {
    #[command(flatten)]
    open: OpenArgs,
    /// Order the images by this, the most first [default: tree by tree]
    #[arg(long, value_name = "WHAT", value_parser = one_of(ORDERS))]
    sort: Option<Order>,
    /// Of leaves that nobody uses, propose those unchanged for this long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = units::parse_age, default_value = "30d")]
    older_than: Duration,
    /// Read the images' data as well: what equals the data below, what was deleted inside, and by an estimate what compressing would give back
    #[arg(long)]
    read: bool,
    /// Leave out images that take or hide less than this: 100M
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    at_least: Option<u64>,
}

/// What images are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Disk,
    Data,
    Hidden,
    Leaked,
    Shared,
    Equal,
}

const ORDERS: &Words<Order> = &[
    ("disk", "Bytes the file takes on disk", Order::Disk),
    (
        "data",
        "Bytes of the guest's disk that it holds",
        Order::Data,
    ),
    (
        "hidden",
        "Of these, bytes that no image shows any more",
        Order::Hidden,
    ),
    (
        "leaked",
        "Bytes of clusters that nothing refers to",
        Order::Leaked,
    ),
    (
        "shared",
        "Bytes on disk that other files have as well (reflinks)",
        Order::Shared,
    ),
    (
        "equal",
        "With --read: bytes that equal what lies below",
        Order::Equal,
    ),
];

/// Savings that are told one by one.
const MOST_TOLD: usize = 10;

/// Measures and prints.
pub(super) fn run(out: &mut Out, globals: Globals, args: &SpaceArgs) -> anyhow::Result<()> {
    let context = context::below_and_remembered(&args.open)?;
    let progress = Progress::new();
    let query = SpaceQuery {
        older_than: args.older_than,
        reads: args.read,
        estimates_compressing: args.read,
        known: &SpaceCache::default(),
        until: Until::as_long_as({
            let progress = progress.clone();
            move || !progress.is_cancelled()
        }),
        advances: &|bytes| {
            // Whether to go on is asked by itself.
            let _ = progress.advance(bytes);
        },
        hears: &|_, _| {},
    };
    let measured = progress_bar::watch(&progress, || {
        if args.read {
            progress.enter(Phase::Collect, ops::bytes_to_read(&context));
        }
        ops::space(&context, &query)
    })?;
    let Some(mut report) = measured else {
        return Err(Stop::Cancelled("nothing was changed".to_owned()).into());
    };
    let trees = report.trees();
    let total = report.total();
    if let Some(least) = args.at_least {
        let sum = |space: &LayerSpace| space.disk.max(space.hidden);
        report.images.retain(|image| sum(&image.space) >= least);
    }
    if let Some(order) = args.sort {
        report
            .images
            .sort_by_key(|image| std::cmp::Reverse(order.of(&image.space)));
    }
    let forest = &context.forest;
    if globals.json {
        let root = |id| forest.get(id).map(|node| path(&node.path));
        let trees = trees
            .iter()
            .map(|(id, space)| json!({ "root": root(*id), "space": described(space) }));
        let images = report.images.iter().map(|image| {
            let told = json!({ "path": path(&image.path), "root": root(image.root), "space": described(&image.space) });
            with_storage(told, forest, &image.path)
        });
        return Ok(out.json(json!({
            "images": images.collect::<Vec<_>>(),
            "trees": trees.collect::<Vec<_>>(),
            "total": described(&total),
            "trash": report.trash,
            "savings": report.savings.iter().map(saving).collect::<Vec<_>>(),
        }))?);
    }
    print(out, forest, &report, &total)?;
    Ok(())
}

impl Order {
    fn of(self, space: &LayerSpace) -> u64 {
        match self {
            Self::Disk => space.disk,
            Self::Data => space.data,
            Self::Hidden => space.hidden,
            Self::Leaked => space.leaked,
            Self::Shared => space.shared.unwrap_or_default(),
            Self::Equal => read(space).map_or(0, |read| read.equal.bytes),
        }
    }
}

/// What reading has told, where it was asked for and could be done.
fn read(space: &LayerSpace) -> Option<&ReadSpace> {
    space.read.as_ref()?.as_ref().ok()
}

fn described(space: &LayerSpace) -> serde_json::Map<String, Value> {
    let LayerSpace {
        disk,
        data,
        zeros,
        hidden,
        leaked,
        past_end,
        past_end_on_disk: _,
        shared,
        read,
        unread,
    } = space;
    let mut fields = serde_json::Map::new();
    for (key, bytes) in [
        ("disk", disk),
        ("data", data),
        ("zeros", zeros),
        ("hidden", hidden),
        ("leaked", leaked),
        ("past-end", past_end),
    ] {
        fields.insert(key.to_owned(), json!(bytes));
    }
    if let Some(shared) = shared {
        fields.insert("shared".to_owned(), json!(shared));
    }
    match read {
        Some(Ok(read)) => {
            let compressible = json!({
                "data": read.compressible.data,
                "read": read.compressible.read,
                "saves": read.compressible.saves,
            });
            fields.insert("equal".to_owned(), json!(read.equal.bytes));
            fields.insert("compressible".to_owned(), compressible);
            fields.insert("deleted".to_owned(), json!(read.deleted));
        }
        Some(Err(why)) => {
            fields.insert("not-read".to_owned(), json!(printable(why)));
        }
        None => {}
    }
    if let Some(why) = unread {
        fields.insert("unread".to_owned(), json!(printable(why)));
    }
    fields
}

fn saving(saving: &Saving) -> Value {
    json!({
        "kind": saving.kind.name(),
        "paths": saving.images.iter().map(|image| path(image)).collect::<Vec<_>>(),
        "frees": saving.frees,
        "shrinks": saving.kind.shrinks(),
        "why": saving.why,
        "command": saving.request.command_line().map(|line| line.typed().to_string()),
    })
}

/// A column, and what stands in it.
type Column = (&'static str, fn(&LayerSpace) -> Option<u64>);

/// Columns of every table.
const COLUMNS: [Column; 5] = [
    ("ON DISK", |space| Some(space.disk)),
    ("DATA", |space| tables(space, space.data)),
    ("HIDDEN", |space| tables(space, space.hidden)),
    ("LEAKED", |space| tables(space, space.leaked)),
    ("PAST END", |space| tables(space, space.past_end)),
];

/// Columns that stand only where something is in them.
const MORE_COLUMNS: [Column; 4] = [
    ("SHARED", |space| space.shared),
    ("EQUAL", |space| Some(read(space)?.equal.bytes)),
    ("DELETED", |space| Some(read(space)?.deleted)),
    ("ZSTD SAVES", |space| Some(read(space)?.compressible.saves)),
];

fn tables(space: &LayerSpace, bytes: u64) -> Option<u64> {
    space.unread.is_none().then_some(bytes)
}

fn print(
    out: &mut Out,
    forest: &Forest,
    report: &SpaceReport,
    total: &LayerSpace,
) -> io::Result<()> {
    if report.images.is_empty() {
        return out.line("No image was found here.");
    }
    let mut more = MORE_COLUMNS.to_vec();
    more.retain(|(_, of)| of(total).is_some_and(|bytes| bytes > 0));
    let columns = [&COLUMNS, &*more].concat();
    let heads = columns.iter().map(|(head, _)| format!("{head:>10}  "));
    out.line(format_args!("{}IMAGE", heads.collect::<String>()))?;
    for image in &report.images {
        let name = forest.get(image.node).map(|node| printable(&node.path));
        let why = why_unknown(&image.space);
        let bytes = columns.iter().map(|(_, of)| of(&image.space).unwrap_or(0));
        let counts = bytes.chain([1]).collect();
        out.about(&Mark::of(forest, &[image.node], "space").counting(counts))?;
        row(
            out,
            (&columns, &image.space),
            &format!("{}{why}", name.unwrap_or_default()),
        )?;
    }
    out.about(&Mark::default())?;
    let number = u64::try_from(report.images.len()).unwrap_or(u64::MAX);
    let cells = columns.iter().enumerate();
    let cells = cells.map(|(at, (_, of))| Piece::Cell(at, of(total)));
    let all = [
        Piece::Text("all, ".to_owned()),
        Piece::Count(columns.len(), number, "image".to_owned()),
    ];
    out.sum(cells.chain(all).collect())?;
    if report.trash > 0 {
        out.line(format_args!(
            "{:>10}  in the trash",
            units::size(report.trash)
        ))?;
    }
    print_notes(out, report, total)?;
    out.line("")?;
    print_savings(out, forest, &report.savings)
}

fn why_unknown(space: &LayerSpace) -> String {
    let not_read = space.read.as_ref().and_then(|read| read.as_ref().err());
    let why = space.unread.as_ref().or(not_read);
    why.map_or_else(String::new, |why| format!(" ({})", printable(why)))
}

/// What the numbers do not tell, and how sure they are.
fn print_notes(out: &mut Out, report: &SpaceReport, total: &LayerSpace) -> io::Result<()> {
    if let Some(read) = read(total).filter(|read| read.compressible.data > 0) {
        out.line(format_args!(
            "What zstd would save is an estimate: {} of {} of data were read for it.",
            units::size(read.compressible.read),
            units::size(read.compressible.data)
        ))?;
    }
    let mut images = report.images.iter();
    if images.any(|image| image.space.shared.is_none() && image.space.unread.is_none()) {
        out.line(
            "What images share with other files by reflinks is not told by every filesystem here.",
        )?;
    }
    Ok(())
}

fn print_savings(out: &mut Out, forest: &Forest, savings: &[Saving]) -> io::Result<()> {
    if savings.is_empty() {
        return out.line("Nothing here would free space without losing what is in use.");
    }
    out.line("What frees most:")?;
    for saving in savings.iter().take(MOST_TOLD) {
        let images = saving.images.iter();
        let nodes = images.filter_map(|image| forest.by_path(image));
        let ids: Vec<_> = nodes.map(|node| node.id).collect();
        out.about(&Mark::of(forest, &ids, saving.kind.name()))?;
        let line = saving.request.command_line();
        let line = line.map_or_else(String::new, |line| line.typed().to_string());
        out.line(format_args!("{:>10}  {line}", units::size(saving.frees)))?;
        out.line(format_args!("{:>10}  {}", "", printable(&saving.why)))?;
    }
    out.about(&Mark::default())?;
    let more = savings.len().saturating_sub(MOST_TOLD);
    if more > 0 {
        out.line(format_args!("{:>10}  and {more} more: --json has all", ""))?;
    }
    Ok(())
}

fn row(out: &mut Out, (columns, space): (&[Column], &LayerSpace), name: &str) -> io::Result<()> {
    let cells = columns.iter().map(|(_, of)| cell(of(space)));
    out.line(format_args!("{}{name}", cells.collect::<String>()))
}
