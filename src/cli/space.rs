//! `qanopy space`: what each layer holds, what of it nobody sees any more, and what would free most.

use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::forest::Forest;
use crate::host::printable;
use crate::ops::{self, LayerSpace, Saving, SpaceReport};

use super::context;
use super::json::path;
use super::options::{Globals, OpenArgs, Words, one_of};
use super::output::Out;
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
];

/// Savings that are told one by one.
const MOST_TOLD: usize = 10;

/// Measures and prints.
pub(super) fn run(out: &mut Out, globals: Globals, args: &SpaceArgs) -> anyhow::Result<()> {
    let context = context::below_and_remembered(&args.open)?;
    let Some(mut report) = ops::space(&context, args.older_than, &|| true) else {
        return Ok(());
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
            json!({ "path": path(&image.path), "root": root(image.root), "space": described(&image.space) })
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
        }
    }
}

fn described(space: &LayerSpace) -> serde_json::Map<String, Value> {
    let LayerSpace {
        disk,
        data,
        zeros,
        hidden,
        leaked,
        past_end,
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
        "why": saving.why,
        "command": saving.request.command_line().map(|line| line.to_string()),
    })
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
    out.line(format_args!(
        "{:>10}  {:>10}  {:>10}  {:>10}  {:>10}  IMAGE",
        "ON DISK", "DATA", "HIDDEN", "LEAKED", "PAST END"
    ))?;
    for image in &report.images {
        let name = forest.get(image.node).map(|node| printable(&node.path));
        let why = image.space.unread.as_ref();
        let why = why.map_or_else(String::new, |why| format!(" ({})", printable(why)));
        row(
            out,
            &image.space,
            &format!("{}{why}", name.unwrap_or_default()),
        )?;
    }
    let number = u64::try_from(report.images.len()).unwrap_or(u64::MAX);
    row(
        out,
        total,
        &format!("all, {}", units::count(number, "image")),
    )?;
    if report.trash > 0 {
        out.line(format_args!(
            "{:>10}  in the trash",
            units::size(report.trash)
        ))?;
    }
    out.line("")?;
    if report.savings.is_empty() {
        return out.line("Nothing here would free space without losing what is in use.");
    }
    out.line("What frees most:")?;
    for saving in report.savings.iter().take(MOST_TOLD) {
        let line = saving.request.command_line();
        let line = line.map_or_else(String::new, |line| line.to_string());
        out.line(format_args!("{:>10}  {line}", units::size(saving.frees)))?;
        out.line(format_args!("{:>10}  {}", "", printable(&saving.why)))?;
    }
    let more = report.savings.len().saturating_sub(MOST_TOLD);
    if more > 0 {
        out.line(format_args!("{:>10}  and {more} more: --json has all", ""))?;
    }
    Ok(())
}

fn row(out: &mut Out, space: &LayerSpace, name: &str) -> io::Result<()> {
    let cell = |bytes: u64| match (bytes, &space.unread) {
        (_, Some(_)) => "?".to_owned(),
        (0, None) => "-".to_owned(),
        (bytes, None) => units::size(bytes),
    };
    out.line(format_args!(
        "{:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {name}",
        units::size(space.disk),
        cell(space.data),
        cell(space.hidden),
        cell(space.leaked),
        cell(space.past_end),
    ))
}
