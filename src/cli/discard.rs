//! `qanopy discard`: moves images and everything built on them to the trash.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::forest::{Forest, Location, Node, NodeId};
use crate::host::{Host, RealHost, printable};
use crate::ops::{RefusalKind, Request};

use super::context;
use super::execute::execute;
use super::exit::{FileError, Stop};
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    /// The images; what is built on them goes with them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// What IMAGE is built on goes with it, as far as nothing else needs that; refused where anything is built on IMAGE
    #[arg(long)]
    with_bases: bool,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl DiscardArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::discard(self.images.clone()))
    }
}

/// Discards the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: &DiscardArgs) -> anyhow::Result<()> {
    let context = context::around(&args.images, &args.scan.scan)?;
    let mut request = args.request()?;
    if args.with_bases {
        let mut images = args.images.clone();
        images.extend(bases(&context.forest, &args.images)?);
        request = Request::discard(images);
    }
    execute(out, globals, args.consent, &context, &request)
}

/// What the images are built on and nothing else needs, be it in the trash.
fn bases(forest: &Forest, images: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut goes = BTreeSet::new();
    let mut tops = Vec::new();
    for image in images {
        let file = RealHost.stat(image).map_err(FileError::at("open", image))?;
        // What no scan met is refused by the plan.
        if let Some(node) = forest.by_file(file.id) {
            goes.insert(node.id);
            tops.push(node);
        }
    }
    let needed_by = |node: &Node, goes: &BTreeSet<NodeId>| {
        let readers = forest.readers(node.id);
        let other = readers.into_iter().find(|one| !goes.contains(&one.node));
        other.and_then(|one| forest.get(one.node))
    };
    let mut bases = Vec::new();
    for top in tops {
        if let Some(other) = needed_by(top, &goes) {
            let text = format!(
                "{} is built on {}: it stays",
                printable(&other.path),
                printable(&top.path)
            );
            return Err(Stop::refused(RefusalKind::HasDependants.name(), text).into());
        }
        for base in forest.chain(top.id).into_iter().skip(1) {
            let Some(node) = forest.get(base) else { break };
            let is_free = node.location == Location::Scanned && needed_by(node, &goes).is_none();
            if !is_free {
                break;
            }
            if goes.insert(base) {
                bases.push(node.path.clone());
            }
        }
    }
    Ok(bases)
}
