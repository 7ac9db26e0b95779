//! `qanopy tree`: the forest printed, as a tree with sizes and ages or as one of the pictures.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::fleet::person;
use crate::forest::render::{self, Charset, Diagram, TreeLine};
use crate::forest::{Flags, Forest, Location, Node, NodeId};
use crate::host::printable;
use crate::ops;

use super::context::{self, Scanned};
use super::exit::Stop;
use super::filter;
use super::insides;
use super::mark::Mark;
use super::options::{Globals, OpenArgs};
use super::output::{self, Out};
use super::remedies;
use crate::units;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("picture").multiple(false))]
pub(super) struct TreeArgs {
    #[command(flatten)]
    open: OpenArgs,
    /// Draw boxes joined by arrows that point from an overlay to what it is built on
    #[arg(long, group = "picture")]
    boxes: bool,
    /// Print a graph for Graphviz
    #[arg(long, group = "picture")]
    dot: bool,
    /// Print a graph for Mermaid
    #[arg(long, group = "picture")]
    mermaid: bool,
    /// Look through every image's tables as well; end with exit code 3 if any image has a problem
    #[arg(long)]
    check: bool,
    /// Show only the images that this finds, and what they are built on; with --json these images alone. Words of a
    /// path and terms such as size>1G, age>30d, state:bad, vm:web, host:db and os:debian, as the filter of the screen (/) takes
    #[arg(long, value_name = "FILTER", conflicts_with = "picture")]
    filter: Option<String>,
}

/// Columns taken for the picture where standard output is no terminal.
const WIDTH: usize = 120;
/// The names' column is padded to the longest of them, and no further than this.
const WIDEST_NAMES: usize = 64;

/// Prints the forest in the form asked for.
pub(super) fn run(out: &mut Out, globals: Globals, args: &TreeArgs) -> anyhow::Result<()> {
    let has_picture = args.boxes || args.dot || args.mermaid;
    if globals.json && has_picture {
        return Err(Stop::Usage(
            "--json cannot be used with --boxes, --dot or --mermaid".to_owned(),
        )
        .into());
    }
    let mut seen = context::below(&args.open)?;
    if args.check {
        check_all(&mut seen);
    }
    let hits = args.filter.as_deref();
    let hits = hits.map(|line| filter::hits(&seen.context, line));
    let hits = hits.transpose()?;
    let is_hit = |id: NodeId| hits.as_ref().is_none_or(|hits| hits.contains(id));
    let forest = &seen.context.forest;
    if args.dot {
        out.text(&render::dot(forest))?;
    } else if args.mermaid {
        out.text(&render::mermaid(forest))?;
    } else if args.boxes && !forest.is_empty() {
        for line in Diagram::new(forest, charset(globals)).lines() {
            out.line(line)?;
        }
    } else {
        print(out, globals, &seen, &is_hit)?;
    }
    out.flush()?;
    let images = forest.nodes().filter(|node| is_hit(node.id));
    let problems: usize = images.map(|node| node.problems.len()).sum();
    if args.check && problems > 0 {
        let found = if problems == 1 {
            "1 problem found".to_owned()
        } else {
            format!("{problems} problems found")
        };
        return Err(Stop::Problems(found).into());
    }
    Ok(())
}

/// Looks through the tables of every image that was found and can be read, but for those in use.
fn check_all(seen: &mut Scanned) {
    let forest = Arc::make_mut(&mut seen.context.forest);
    let images = forest
        .nodes()
        .filter(|node| node.location == Location::Scanned && node.info().is_some());
    let (ids, paths): (Vec<NodeId>, Vec<PathBuf>) =
        images.map(|node| (node.id, node.path.clone())).unzip();
    for (id, checked) in ids
        .into_iter()
        .zip(ops::check_each(&*seen.context.host, &paths))
    {
        match checked {
            Ok(check) => forest.note_check(id, &check),
            Err(error) => output::complain(format_args!("qanopy: not checked: {error}")),
        }
    }
}

/// Prints the tree (or JSON): what the screen would show, where there is none.
pub(super) fn plain(out: &mut Out, globals: Globals, open: &OpenArgs) -> anyhow::Result<()> {
    Ok(print(out, globals, &context::below(open)?, &|_| true)?)
}

fn charset(globals: Globals) -> Charset {
    if globals.ascii {
        Charset::Ascii
    } else {
        Charset::Unicode
    }
}

/// Prints these images, and in the tree what they are built on.
fn print(
    out: &mut Out,
    globals: Globals,
    seen: &Scanned,
    is_hit: &dyn Fn(NodeId) -> bool,
) -> io::Result<()> {
    let forest = &seen.context.forest;
    if globals.json {
        let mut told = render::json_of(forest, is_hit, &ops::problem_json);
        let images = told.get_mut("images").and_then(Value::as_array_mut);
        insides::put_in(images.into_iter().flatten(), &insides::known(forest));
        return out.json(told);
    }
    if forest.is_empty() {
        return out.line(nothing(seen));
    }
    let lines = render::tree_to(forest, is_hit, width(), charset(globals));
    if lines.is_empty() {
        return out.line("No image here is what the filter asks for.");
    }
    let inside = lines.iter().map(|line| inside(forest, line, globals));
    let inside: Vec<Vec<SnapshotLine>> = inside.collect();
    let names = lines.iter().map(|line| line.text().width());
    let names = names.chain(inside.iter().flatten().map(|row| row.name.width()));
    let names = names.max().unwrap_or(0).min(WIDEST_NAMES);
    let now = seen.context.host.now();
    // Where a tree begins.
    let is_root = |line: &TreeLine| {
        let node = forest.get(line.id);
        node.is_some_and(|node| node.parent.is_none() || node.in_loop) && line.prefix.is_empty()
    };
    for (at, (line, inside)) in lines.iter().zip(&inside).enumerate() {
        if is_root(line) {
            let rest = lines.get(at + 1..).unwrap_or_default();
            let rest = rest.iter().take_while(|line| !is_root(line));
            let tree: Vec<NodeId> = [line].into_iter().chain(rest).map(|line| line.id).collect();
            out.about(&Mark::of(forest, &tree, "image"))?;
        }
        out.line(row(forest, line, names, now))?;
        for row in inside {
            out.line(row.text(names, now))?;
        }
    }
    out.about(&Mark::default())?;
    let mut sick = forest
        .nodes()
        .filter(|node| is_hit(node.id) && !node.problems.is_empty())
        .peekable();
    if sick.peek().is_some() {
        out.line("")?;
    }
    sick.try_for_each(|node| {
        out.about(&Mark::of(forest, &[node.id], "problems"))?;
        tell_problems(out, forest, node)
    })?;
    out.about(&Mark::default())
}

/// What is wrong with an image, and what helps: a line for each problem, so that `grep` shows both.
fn tell_problems(out: &mut Out, forest: &Forest, node: &Node) -> io::Result<()> {
    let mut told = Vec::new();
    for problem in &node.problems {
        let mut helps = remedies::lines(&ops::fixes(forest, node, problem.kind));
        helps.retain(|line| !told.contains(line));
        let message = printable(&problem.message);
        if helps.is_empty() {
            out.line(format_args!("! {message}"))?;
        } else {
            let all = helps.join("  or: ");
            out.line(format_args!("! {message}  {}: {all}", remedies::HELPS))?;
        }
        told.extend(helps);
    }
    Ok(())
}

/// A line below an image for something inside it: an internal snapshot.
struct SnapshotLine {
    /// Connectors, sign and name.
    name: String,
    about: String,
    taken: Option<u64>,
}

impl SnapshotLine {
    fn text(&self, names: usize, now: SystemTime) -> String {
        let pad = " ".repeat(names.saturating_sub(self.name.width()));
        let age = self.taken.map(|taken| {
            let taken = SystemTime::UNIX_EPOCH + Duration::from_secs(taken);
            units::age(now.duration_since(taken).unwrap_or_default())
        });
        let age = age.unwrap_or_default();
        let row = format!("{}{pad}  {:>10}  {age:>5}  {}", self.name, "", self.about);
        row.trim_end().to_owned()
    }
}

/// The internal snapshots of the image of a line.
fn inside(forest: &Forest, line: &TreeLine, globals: Globals) -> Vec<SnapshotLine> {
    let Some(node) = forest.get(line.id) else {
        return Vec::new();
    };
    let sign = render::snapshot_sign(charset(globals));
    let (snapshots, more) = render::snapshot_lines(node, charset(globals));
    let rows = snapshots.into_iter().map(|snapshot| SnapshotLine {
        name: format!("{}{sign} {}", line.below, snapshot.name),
        about: snapshot.about,
        taken: Some(snapshot.taken),
    });
    let rest = (more > 0).then(|| SnapshotLine {
        name: format!("{}{sign} {more} more", line.below),
        about: "internal snapshots: `qanopy snapshot list` tells them".to_owned(),
        taken: None,
    });
    rows.chain(rest).collect()
}

/// One line: connectors and name, size on disk, age, and what else there is to know at a glance.
fn row(forest: &Forest, line: &TreeLine, names: usize, now: SystemTime) -> String {
    let name = line.text();
    let pad = " ".repeat(names.saturating_sub(name.width()));
    let node = forest.get(line.id);
    let size = node.and_then(Node::size_on_disk).map(units::size);
    let age = node
        .and_then(|node| node.stat.as_ref())
        // A file from the future is as young as can be.
        .map(|stat| units::age(now.duration_since(stat.modified).unwrap_or_default()));
    // Who is active or frozen is told by the picture itself.
    let flags = forest.flags(line.id) - Flags::ACTIVE - Flags::FROZEN;
    let flags: Vec<&str> = flags.names().collect();
    let row = format!(
        "{name}{pad}  {:>10}  {:>5}  {}",
        size.unwrap_or_default(),
        age.unwrap_or_default(),
        flags.join(" ")
    );
    row.trim_end().to_owned()
}

/// What to say where there is no image.
fn nothing(seen: &Scanned) -> String {
    let dirs: Vec<String> = seen
        .context
        .looked_in
        .dirs()
        .iter()
        .map(printable)
        .collect();
    let files = seen.summary.files_looked_at;
    let folders = match seen.summary.unreadable_dirs.len() {
        0 => String::new(),
        1 => ", 1 folder unreadable".to_owned(),
        n => format!(", {n} folders unreadable"),
    };
    format!(
        "No qcow2 images under {} (looked at {files} files{folders}).",
        dirs.join(", ")
    )
}

/// Columns of the terminal, be it at another machine.
fn width() -> usize {
    let columns = match person() {
        Some(person) => person.columns,
        None => columns_of_terminal(),
    };
    columns.map_or(WIDTH, usize::from)
}

/// Columns of the terminal that standard output is; none where it is none.
pub(super) fn columns_of_terminal() -> Option<u16> {
    let terminal = io::stdout().is_terminal().then(crossterm::terminal::size);
    let (columns, _) = terminal.and_then(Result::ok)?;
    Some(columns)
}
