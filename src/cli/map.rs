//! `qanopy map`: which layer of a chain holds what, and where; as a table, or line by line with the keys
//! of `qemu-img map --output=json`.

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::image::{self, Chain, MapRun, MapState};
use crate::json_text::{json_line, json_name};

use super::exit::Stop;
use super::options::{FollowArgs, Globals, ViewArgs};
use super::output::Out;
use super::reading;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct MapArgs {
    /// The image
    image: PathBuf,
    /// The image's format [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Begin at this guest offset
    #[arg(long, short = 's', value_name = "OFFSET", value_parser = units::parse_size, default_value = "0")]
    start_offset: u64,
    /// Go on for this many bytes [default: to the end]
    #[arg(long, short = 'l', value_name = "LENGTH", value_parser = units::parse_size)]
    max_length: Option<u64>,
    #[command(flatten)]
    snapshot: ViewArgs,
    #[command(flatten)]
    follow: FollowArgs,
}

/// Lines gathered before they are handed on.
const GATHERED: usize = 64 << 10;

/// Prints the map.
pub(super) fn run(out: &mut Out, globals: Globals, args: &MapArgs) -> anyhow::Result<()> {
    let reading = reading::open(
        &args.image,
        args.format.as_deref(),
        args.follow,
        args.snapshot.wanted(),
        &[],
    )?;
    let chain = &reading.chain;
    let end = args
        .max_length
        .map_or(u64::MAX, |length| args.start_offset.saturating_add(length));
    let runs = chain.map(args.start_offset, end);
    if globals.json {
        print_json(out, chain, runs)?;
    } else {
        print_table(out, chain, runs)?;
    }
    if let Some(error) = &reading.missing {
        out.flush()?;
        return Err(Stop::Problems(format!(
            "the map is not complete, \"unknown\" is decided by a layer that cannot be opened: {}",
            reading::why(error)
        ))
        .into());
    }
    Ok(())
}

/// Line by line: a map can have millions of runs. Where one cannot be read the list ends before it.
fn print_json(
    out: &mut Out,
    chain: &Chain,
    mut runs: impl Iterator<Item = image::Result<MapRun>>,
) -> anyhow::Result<()> {
    let files: Vec<String> = chain
        .layers()
        .iter()
        .map(|layer| {
            let file = json_line(json!({ "filename": json_name(layer.stored_in().path()) }));
            format!(", {}", file.trim_start_matches('{'))
        })
        .collect();
    out.begin_json()?;
    let mut text = String::from("[");
    let mut comma = "";
    let read = runs.try_for_each(|run| {
        let run = run?;
        text.push_str(comma);
        comma = ",\n";
        write_run(&mut text, &files, &run)?;
        if text.len() > GATHERED {
            out.text(&text)?;
            text.clear();
        }
        anyhow::Ok(())
    });
    text.push(']');
    out.text(&text)?;
    read
}

fn write_run(text: &mut String, files: &[String], run: &MapRun) -> fmt::Result {
    let MapRun {
        start,
        len,
        layer,
        state,
        offset,
    } = *run;
    write!(
        text,
        "{{ \"start\": {start}, \"length\": {len}, \"depth\": {layer}, \"present\": {}, \"zero\": {}, \
         \"data\": {}, \"compressed\": {}",
        state.is_present(),
        state.is_zero(),
        state.is_data(),
        state == MapState::Compressed
    )?;
    match (offset, files.get(layer)) {
        (Some(offset), Some(file)) => write!(text, ", \"offset\": {offset}{file}"),
        _ => text.write_char('}'),
    }
}

fn print_table(
    out: &mut Out,
    chain: &Chain,
    runs: impl Iterator<Item = image::Result<MapRun>>,
) -> anyhow::Result<()> {
    let files: Vec<String> = chain
        .layers()
        .iter()
        .map(|layer| crate::host::printable(layer.stored_in().path()))
        .collect();
    out.line(format_args!(
        "{:<15} {:<15} {:<10} {:<5} {:<15} FILE",
        "START", "LENGTH", "STATE", "DEPTH", "OFFSET"
    ))?;
    let mut sums = Sums::default();
    for run in runs {
        let run = run?;
        sums.add(&run);
        let row = format!(
            "{:<15} {:<15} {:<10} {:<5} ",
            format!("{:#x}", run.start),
            format!("{:#x}", run.len),
            run.state.name(),
            run.layer
        );
        match (run.offset, files.get(run.layer)) {
            (Some(offset), Some(file)) => {
                out.line(format_args!("{row}{:<15} {file}", format!("{offset:#x}")))?;
            }
            (None, Some(file)) if run.state.is_present() => {
                out.line(format_args!("{row}{:<15} {file}", "-"))?;
            }
            _ => out.line(row.trim_end())?,
        }
    }
    sums.print(out)?;
    Ok(())
}

/// Bytes in each state.
#[derive(Default)]
struct Sums {
    runs: u64,
    data: u64,
    zero: u64,
    unknown: u64,
}

impl Sums {
    fn add(&mut self, run: &MapRun) {
        self.runs += 1;
        *match run.state {
            MapState::Data | MapState::Compressed => &mut self.data,
            MapState::Hole | MapState::Zero | MapState::Unallocated => &mut self.zero,
            MapState::Unknown => &mut self.unknown,
        } += run.len;
    }

    fn print(&self, out: &mut Out) -> io::Result<()> {
        let runs = match self.runs {
            1 => "1 run".to_owned(),
            n => format!("{n} runs"),
        };
        let (data, zero) = (units::size(self.data), units::size(self.zero));
        let unknown = match self.unknown {
            0 => String::new(),
            bytes => format!(", {} unknown", units::size(bytes)),
        };
        out.line(format_args!("{runs}: {data} stored, {zero} zero{unknown}"))
    }
}
