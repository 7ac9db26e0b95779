//! Which layers are merged into what: a run from the image named down to just above its target.

use std::path::Path;

use crate::forest::{Content, Flags, Forest, Location, Node};
use crate::host::printable;
use crate::image::Format;
use crate::ops::framework::eligibility::{refuse_missing_base, refuse_unnamed};
use crate::ops::framework::format::{listed, name, shown};
use crate::ops::framework::{readers, resolve};
use crate::ops::{Context, Plan, RefusalKind, WayOut};

/// What is committed into what.
#[derive(Debug)]
pub(super) struct CommitRange<'f> {
    /// The uppermost first; each is built on the next, the last on the base.
    pub(super) layers: Vec<&'f Node>,
    pub(super) base: &'f Node,
    pub(super) base_format: Format,
}

impl<'f> CommitRange<'f> {
    /// The image named.
    pub(super) fn top(&self) -> &'f Node {
        self.layers.first().copied().unwrap_or(self.base)
    }
}

/// The image named and those below it down to `into`, if all of them are there and known for what they
/// are.
pub(super) fn find_run<'f>(
    plan: &mut Plan,
    context: &'f Context,
    overlay: &Path,
    into: Option<&Path>,
) -> Option<CommitRange<'f>> {
    let forest = context.forest.as_ref();
    let found = resolve::named(context, overlay).and_then(|top| {
        Ok((
            top,
            into.map(|into| resolve::named(context, into)).transpose()?,
        ))
    });
    let (top, into) = match found {
        Ok(found) => found,
        Err(sentence) => {
            plan.refuse_for(sentence);
            return None;
        }
    };
    let path = shown(&top.path);
    if forest.flags(top.id).contains(Flags::LOOP) {
        plan.refuse(RefusalKind::Loop, format!("the backing links of {path} run in a circle: there is nothing at its end to commit into"));
        return None;
    }
    if let Some(into) = into {
        let below: Vec<&Node> = forest
            .chain(top.id)
            .into_iter()
            .skip(1)
            .filter_map(|id| forest.get(id))
            .collect();
        if !below.iter().any(|node| node.id == into.id) {
            let below: Vec<String> = below.iter().map(|node| name(&node.path)).collect();
            plan.refuse(
                RefusalKind::NotInChain,
                match below.as_slice() {
                    [] => format!("{path} is built on nothing: there is no image to commit into"),
                    below => format!(
                        "{path} is not built on {}, only on {}",
                        shown(&into.path),
                        listed(below, 5)
                    ),
                },
            );
            return None;
        }
    }
    let mut layers = Vec::new();
    let mut layer = top;
    loop {
        let (base, base_format) = base_of(plan, forest, layer)?;
        layers.push(layer);
        if into.is_none_or(|into| into.id == base.id) {
            refuse_doubtful(plan, layer, base, &base_format)?;
            return Some(CommitRange {
                layers,
                base,
                base_format,
            });
        }
        layer = base;
    }
}

/// What a layer is built on, and the format it records.
fn base_of<'f>(plan: &mut Plan, forest: &'f Forest, node: &Node) -> Option<(&'f Node, Format)> {
    let path = shown(&node.path);
    let Some(backing) = &node.backing else {
        plan.refuse(
            RefusalKind::NotInChain,
            format!("{path} is built on nothing: there is no image to commit into"),
        );
        return None;
    };
    if !readers::is_understood(plan, forest, node) {
        return None;
    }
    let recorded = printable(backing.name());
    let base = node.parent.and_then(|id| forest.get(id));
    let Some(base) = base.filter(|base| base.location == Location::Scanned) else {
        let why = match base {
            Some(base) if base.location == Location::OutsideScan => {
                plan.refuse_for(resolve::dependants_unknown(&base.path));
                return None;
            }
            Some(base) if base.location == Location::Elsewhere => "which is no local file",
            _ => {
                let text = format!("{path} is built on {recorded}, which is not there");
                refuse_missing_base(plan, forest, node, text);
                return None;
            }
        };
        let text = format!("{path} is built on {recorded}, {why}");
        plan.refuse(RefusalKind::NotFound, text);
        return None;
    };
    if refuse_unnamed(plan, node, base) {
        return None;
    }
    let Some(base_format) = backing.format().cloned() else {
        plan.refuse_but(
            RefusalKind::BackingFormat,
            format!(
                "{path} does not record the format of {recorded}, and a guess would risk the data: \
                 it has to be recorded first"
            ),
            vec![WayOut::record_format(&node.path, &base.path)],
        );
        return None;
    };
    Some((base, base_format))
}

/// What a file is must be beyond doubt before its bytes are written: a raw write into a qcow2 image would
/// overwrite its tables.
fn refuse_doubtful(plan: &mut Plan, node: &Node, base: &Node, base_format: &Format) -> Option<()> {
    let path = shown(&node.path);
    let recorded = name(&base.path);
    if *base_format != Format::Raw && base.format().as_ref() != Some(base_format)
        || *base_format == Format::Raw && !matches!(base.content, Content::Raw)
    {
        plan.refuse(
            RefusalKind::BackingFormat,
            format!(
                "{path} records {recorded} as {}, and it looks like {}: nothing is written into it",
                printable(base_format.name()),
                base.format().map_or_else(
                    || "something else".to_owned(),
                    |format| printable(format.name())
                )
            ),
        );
        return None;
    }
    if let Format::Other(format) = base_format {
        plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{recorded} is of format {}: only qcow2 and raw images are written here",
                printable(format)
            ),
        );
        return None;
    }
    Some(())
}
