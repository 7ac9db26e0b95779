//! What a commit would overwrite, and what each other view of the base would lose by it: found out
//! from tables alone. Guest data is read only to recognise a commit that was cut off before its end.

use std::path::PathBuf;
use std::sync::Arc;

use crate::forest::{Forest, Node, NodeId};
use crate::image::{self, Chain, Format, Layer, Root, State, Unhurried, snapshot_views};

use super::super::words::name;
use super::Context;

/// Bytes compared at a time.
const PIECE: u64 = 1 << 20;

/// Tables written beside the data, at most: one L2 table for each 8192 clusters and some.
const TABLE_OVERHEAD: u64 = 1 << 20;

/// One view that reads the base: another image, or an internal snapshot.
#[derive(Debug, Clone)]
pub(super) struct Dependant {
    /// The image, or the one the snapshot is in.
    pub(super) node: NodeId,
    /// Its file.
    pub(super) path: PathBuf,
    /// For a sentence: `Overlay-2.qcow2`, `Overlay-2.qcow2's snapshot clean`.
    pub(super) what: String,
    /// For a line that shows the path already: `built on the same base`, `its snapshot clean`.
    pub(super) role: String,
    /// Which view of the file it is.
    pub(super) root: Root,
    /// Bytes it reads from the base that the commit overwrites.
    pub(super) loses: u64,
    /// Why nothing can be written into it, if so.
    pub(super) closed: Option<String>,
}

impl Dependant {
    /// Whether it is an image that others may be built on, not a snapshot.
    pub(super) fn is_image(&self) -> bool {
        self.root == Root::Active
    }
}

/// What is known before the plan is shown.
#[derive(Debug)]
pub(super) struct Survey {
    /// Bytes of data the overlay holds.
    pub(super) data: u64,
    /// Bytes that read as zero by the overlay's word.
    pub(super) zeros: u64,
    /// Bytes that will be newly allocated in the base, at most.
    pub(super) new_in_base: u64,
    /// The base's new virtual size, if it grows.
    pub(super) grows_to: Option<u64>,
    /// Why it cannot grow so, if it cannot.
    pub(super) cannot_grow: Option<image::Error>,
    /// Virtual size of the overlay in bytes.
    pub(super) overlay_size: u64,
    /// Virtual size of the base in bytes.
    pub(super) base_size: u64,
    /// Everybody else who reads the base.
    pub(super) dependants: Vec<Dependant>,
    /// Whether the base shows all that the overlay holds already, so that nobody loses anything: a
    /// commit was cut off after it had re-parented children, who read the base now.
    pub(super) is_merged: bool,
}

impl Survey {
    /// Looks at the tables of the overlay, its base and everything built on it.
    pub(super) fn make(
        context: &Context,
        overlay: &Node,
        base: &Node,
        base_format: &Format,
    ) -> image::Result<Self> {
        let host = context.host.as_ref();
        let top = Layer::open(host, &overlay.path, &Format::Qcow2)?;
        let below = Layer::open(host, &base.path, base_format)?;
        // The tables of both decide where bytes go: nothing is planned on tables that contradict
        // themselves.
        for (path, layer) in [(&overlay.path, &top), (&base.path, &below)] {
            if let Layer::Qcow2(layer) = layer {
                let found = image::check(path, layer.file(), &Unhurried)?;
                if found.corruptions > 0 {
                    return Err(image::Error::new(
                        path,
                        image::ErrorKind::Corruptions(found.corruptions),
                    ));
                }
            }
        }
        let mut survey = Self {
            data: 0,
            zeros: 0,
            new_in_base: TABLE_OVERHEAD,
            grows_to: (top.virtual_size() > below.virtual_size()).then(|| top.virtual_size()),
            cannot_grow: match &below {
                Layer::Qcow2(image) if top.virtual_size() > below.virtual_size() => {
                    image::may_grow(
                        &base.path,
                        &**image.file(),
                        image.header(),
                        top.virtual_size(),
                    )
                    .err()
                }
                _ => None,
            },
            overlay_size: top.virtual_size(),
            base_size: below.virtual_size(),
            dependants: Vec::new(),
            is_merged: false,
        };
        let shared = base.facts().is_some_and(|facts| facts.snapshots > 0);
        for extent in top.extents(0, top.virtual_size()) {
            let extent = extent?;
            match extent.state {
                State::Absent => continue,
                State::Zero => survey.zeros += extent.len,
                State::Data { .. } | State::Compressed { .. } => survey.data += extent.len,
            }
            if extent.state != State::Zero {
                survey.new_in_base += unallocated(&below, extent.start, extent.end(), shared)?;
            }
        }
        survey.dependants = dependants(context, &context.forest, overlay, base, &top);
        if !survey.dependants.is_empty() && survey.grows_to.is_none() {
            survey.is_merged = survey.data + survey.zeros > 0 && is_merged(context, overlay)?;
        }
        if survey.is_merged {
            for dependant in &mut survey.dependants {
                (dependant.loses, dependant.closed) = (0, None);
            }
        }
        Ok(survey)
    }

    /// Whether part of the base lies past the overlay's end.
    pub(super) fn overlay_is_shorter(&self) -> bool {
        self.overlay_size < self.base_size
    }
}

/// Whether what is below `overlay` shows everything it holds. Stops at the first difference, which
/// in a commit that was never begun is near its start.
fn is_merged(context: &Context, overlay: &Node) -> image::Result<bool> {
    let host = context.host.as_ref();
    let chain = Chain::open(host, &overlay.path, Some(&Format::Qcow2), &|_| true)?;
    chain.unlock(&context.keys, &Unhurried)?;
    let below = chain.below();
    let Some(top) = chain.layers().first() else {
        return Ok(false);
    };
    for extent in top.extents(0, top.virtual_size()) {
        let extent = extent?;
        if extent.state == State::Absent {
            continue;
        }
        let mut at = extent.start;
        while let Some(piece) = extent.clip(at, at.saturating_add(PIECE)) {
            let len = usize::try_from(piece.len).unwrap_or(0);
            let (mut above, mut under) = (vec![0; len], vec![0; len]);
            chain.read_at(&mut above, at)?;
            below.read_at(&mut under, at)?;
            if above != under {
                return Ok(false);
            }
            at = piece.end();
        }
    }
    Ok(true)
}

/// Bytes of the range for which the layer has no cluster of its own.
fn unallocated(layer: &Layer, start: u64, end: u64, shared: bool) -> image::Result<u64> {
    let size = layer.virtual_size();
    let inside = end.min(size);
    let mut sum = end - end.min(size.max(start));
    if shared {
        return Ok(end - start);
    }
    for extent in layer.extents(start, inside) {
        let extent = extent?;
        if !matches!(extent.state, State::Data { .. }) {
            sum += extent.len;
        }
    }
    Ok(sum)
}

/// Every view of the base besides the overlay's own, with what it loses.
fn dependants(
    context: &Context,
    forest: &Forest,
    overlay: &Node,
    base: &Node,
    changed: &Layer,
) -> Vec<Dependant> {
    let mut found = Vec::new();
    for sibling in base
        .children
        .iter()
        .filter(|id| **id != overlay.id)
        .filter_map(|id| forest.get(*id))
    {
        found.extend(views(context, sibling, changed, true));
    }
    found.extend(views(context, overlay, changed, false));
    found
}

/// The views in one file: its active one, if asked for, and its snapshots.
fn views(context: &Context, node: &Node, changed: &Layer, active: bool) -> Vec<Dependant> {
    let file_name = name(&node.path);
    let dependant = |what: String, role: String, root: Root| Dependant {
        node: node.id,
        path: node.path.clone(),
        what,
        role,
        root,
        loses: 0,
        closed: None,
    };
    let main = dependant(
        file_name.clone(),
        "built on the same base".to_owned(),
        Root::Active,
    );
    let layer = match Layer::open(context.host.as_ref(), &node.path, &Format::Qcow2) {
        Ok(layer) => layer,
        Err(error) if active => {
            return vec![Dependant {
                loses: changed.virtual_size(),
                closed: Some(error.kind.to_string()),
                ..main
            }];
        }
        Err(_) => return Vec::new(),
    };
    let closed = match &layer {
        Layer::Qcow2(image) => image::writable(&node.path, image.header())
            .err()
            .map(|error| error.kind.to_string()),
        Layer::Raw(_) => None,
    };
    let judged = |dependant: Dependant, view: &Layer| match loses(changed, view) {
        Ok(loses) => Dependant {
            loses,
            closed: closed.clone().filter(|_| loses > 0),
            ..dependant
        },
        Err(error) => Dependant {
            loses: changed.virtual_size(),
            closed: Some(error.kind.to_string()),
            ..dependant
        },
    };
    let mut found = Vec::new();
    if active {
        found.push(judged(main, &layer));
    }
    let Ok(snapshots) = snapshot_views(&node.path, &layer) else {
        return found;
    };
    for (title, root, view) in snapshots {
        let what = format!("{file_name}'s internal snapshot {title}");
        found.push(judged(
            dependant(what, format!("its internal snapshot {title}"), root),
            &view,
        ));
    }
    found
}

/// Bytes that `view` reads from below where `changed` holds something.
fn loses(changed: &Layer, view: &Layer) -> image::Result<u64> {
    let size = view.virtual_size();
    let mut sum = 0;
    for extent in changed.extents(0, changed.virtual_size().min(size)) {
        let extent = extent?;
        if extent.state == State::Absent {
            continue;
        }
        for own in view.extents(extent.start, extent.end()) {
            let own = own?;
            if own.state == State::Absent {
                sum += own.len;
            }
        }
    }
    Ok(sum)
}

/// `top` over the layers of `below`.
pub(super) fn over(top: Layer, below: &Chain) -> Chain {
    let layers = std::iter::once(Arc::new(top)).chain(below.layers().iter().cloned());
    Chain::new(layers.collect())
}
