//! What a commit would overwrite, and what each other view of the base and of the merged layers would
//! lose by it: found out from tables alone. Guest data is read only to recognise a commit that was cut
//! off before its end.

use std::path::PathBuf;

use crate::forest::{Node, NodeId};
use crate::host::Host;
use crate::image::{
    self, AllocationEstimate, BackingChange, BackingView, Chain, CompareBy, CreateOptions, Format,
    Growth, Keys, Layer, Loss, NoProgress, Root, State, Views, snapshot_views, view_loss,
};
use crate::ops::Context;
use crate::ops::framework::format::name;
use crate::qcow2::{HostOffset, TablePlace};

use super::run::CommitRange;

/// Bytes compared at a time.
const PIECE: u64 = 1 << 20;

/// One view that reads what changes: another image, or an internal snapshot.
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
    /// The number, in the chain of the uppermost layer, of the layer it is built on.
    pub(super) on: usize,
    /// Bytes it reads from below that show otherwise afterwards.
    pub(super) loses: u64,
    /// What its file grows by when it receives them, at most.
    pub(super) growth: Growth,
    /// Why nothing can be written into it, if so.
    pub(super) closed: Option<String>,
    /// It is built on the base afterwards, since what it is built on goes: it is kept intact whatever
    /// is asked about others.
    pub(super) moves: bool,
}

impl Dependant {
    /// Whether it is an image that others may be built on, not a snapshot.
    pub(super) fn is_image(&self) -> bool {
        self.root == Root::Active
    }

    /// Which views of its file it stands for, with those found beside it.
    pub(super) fn views(&self) -> Views {
        if self.is_image() {
            Views::All
        } else {
            Views::Snapshots
        }
    }
}

/// What is known before the plan is shown.
#[derive(Debug)]
pub(super) struct Analysis {
    /// Bytes of data the merged layers hold.
    pub(super) data: u64,
    /// Bytes that read as zero by their word.
    pub(super) zeros: u64,
    /// What the base's file grows by, at most.
    pub(super) new_in_base: Growth,
    /// What the file of the uppermost layer grows by when it is emptied, at most.
    pub(super) emptied: Growth,
    /// Bytes that come free on disk when the uppermost layer is emptied.
    pub(super) freed: u64,
    /// The base's new virtual size, if it grows.
    pub(super) grows_to: Option<u64>,
    /// Why it cannot grow so, if it cannot.
    pub(super) cannot_grow: Option<image::Error>,
    /// Virtual size of the uppermost layer in bytes.
    pub(super) overlay_size: u64,
    /// Virtual size of the base in bytes.
    pub(super) base_size: u64,
    /// What an overlay has to hold to show what the base shows now.
    pub(super) old: Loss,
    /// Everybody else who reads what changes.
    pub(super) dependants: Vec<Dependant>,
    /// Whether the base shows all that the merged layers hold already, so that nobody loses anything: a
    /// commit was cut off after it had re-parented children, who read the base now.
    pub(super) is_merged: bool,
}

impl Analysis {
    /// Looks at the tables of the layers, their base and everything built on them. The uppermost layer
    /// stays, emptied, or goes.
    pub(super) fn make(
        context: &Context,
        run: &CommitRange<'_>,
        stays: bool,
    ) -> image::Result<Self> {
        let host = context.host.as_ref();
        let chain = Chain::open(host, &run.top().path, Some(&Format::Qcow2), &|_| true)?;
        chain.unlock(&context.keys, &NoProgress)?;
        let depth = run.layers.len();
        let base_chain = chain.without(depth);
        let Some(below) = base_chain.layers().first() else {
            let text = "its chain is not the one that was scanned".to_owned();
            let kind = image::ErrorKind::Backing(text);
            return Err(image::Error::new(&run.top().path, kind));
        };
        // The tables of all of them decide where bytes go: nothing is planned on tables that contradict
        // themselves.
        for layer in chain.layers().iter().take(depth + 1) {
            if let Layer::Qcow2(image) = &**layer {
                image::require_sound(image.file(), &NoProgress)?;
            }
        }
        let (size, base_size) = (chain.virtual_size(), below.virtual_size());
        let under = base_chain.layers().get(1);
        let under = under.map_or(0, |layer| layer.virtual_size());
        let mut analysis = Self {
            data: 0,
            zeros: 0,
            new_in_base: Growth::default(),
            emptied: chain
                .layers()
                .first()
                .map_or_else(Growth::default, |top| AllocationEstimate::emptied(top)),
            freed: match chain.layers().first().map(|top| &**top) {
                Some(Layer::Qcow2(top)) if stays => image::freed_if_emptied(top)?,
                _ => 0,
            },
            grows_to: (size > base_size).then_some(size),
            cannot_grow: match &**below {
                Layer::Qcow2(image) if size > base_size => {
                    image::may_grow(image.file(), image.header(), size).err()
                }
                _ => None,
            },
            overlay_size: size,
            base_size,
            old: Loss::default(),
            dependants: Vec::new(),
            is_merged: false,
        };
        let shared = run.base.info().is_some_and(|info| info.snapshots > 0);
        let mut estimate = AllocationEstimate::of(below);
        for found in chain.runs(depth, 0, size) {
            let extent = found?.extent;
            match extent.state {
                // A base that becomes longer says itself that it is zero there, where what it is built
                // on would shine through.
                State::Unallocated => {
                    estimate.zeros(extent.start.max(base_size), extent.end().min(under))
                }
                State::Zero => {
                    analysis.zeros += extent.len;
                    estimate.zeros(extent.start, extent.end());
                }
                State::Data { .. } | State::Compressed { .. } => {
                    analysis.data += extent.len;
                    estimate.written(below, extent.start, extent.end(), shared)?;
                }
            }
        }
        analysis.new_in_base = estimate.growth();
        if let (Layer::Qcow2(image), Some(size)) = (&**below, analysis.grows_to) {
            // The L1 table is written anew.
            let geometry = image.header().geometry;
            let l1 = geometry.clusters_for(geometry.l1_entries_for(size).saturating_mul(8));
            let l1 = l1.saturating_mul(geometry.cluster_size());
            analysis.new_in_base.tables = analysis.new_in_base.tables.saturating_add(l1);
            // So is the rest of the last cluster, with zeros, where anything is stored of it.
            let mut tail = AllocationEstimate::of(below);
            if base_size > 0
                && below.extent_at(base_size - 1, base_size)?.state != State::Unallocated
            {
                let end = base_size.next_multiple_of(geometry.cluster_size());
                tail.data(base_size, end);
            }
            analysis.new_in_base = analysis.new_in_base.and(tail.growth());
        }
        let merged = BackingView::merged(chain.clone(), base_chain.clone());
        let old = BackingView::of(base_chain);
        let change = BackingChange {
            old: &old,
            new: &merged,
            judge: CompareBy::Tables,
            keys: &context.keys,
        };
        let kept = CreateOptions::new(base_size).estimate(&run.base.path)?;
        analysis.old = image::backing_loss(change, kept)?;
        let views = Readers {
            host,
            chain: &chain,
            merged: &merged,
            keys: &context.keys,
        };
        analysis.dependants = views.all(context, run, stays)?;
        if !analysis.dependants.is_empty() && analysis.grows_to.is_none() {
            analysis.is_merged = analysis.data + analysis.zeros > 0 && is_merged(&chain, depth)?;
        }
        if analysis.is_merged {
            for dependant in analysis.dependants.iter_mut().filter(|d| !d.moves) {
                (dependant.loses, dependant.closed) = (0, None);
            }
        }
        Ok(analysis)
    }

    /// Whether part of the base lies past the overlay's end.
    pub(super) fn overlay_is_shorter(&self) -> bool {
        self.overlay_size < self.base_size
    }
}

/// Whether the base shows everything that the uppermost `depth` layers hold. Stops at the first
/// difference, which in a commit that was never begun is near its start.
fn is_merged(chain: &Chain, depth: usize) -> image::Result<bool> {
    let below = chain.without(depth);
    for found in chain.runs(depth, 0, chain.virtual_size()) {
        let extent = found?.extent;
        if extent.state == State::Unallocated {
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

/// Who reads what changes.
struct Readers<'a> {
    host: &'a dyn Host,
    chain: &'a Chain,
    merged: &'a BackingView,
    keys: &'a Keys,
}

impl Readers<'_> {
    /// Every view that reads the base or a merged layer, besides the merged layers' own.
    fn all(
        &self,
        context: &Context,
        run: &CommitRange<'_>,
        stays: bool,
    ) -> image::Result<Vec<Dependant>> {
        let depth = run.layers.len();
        let mut found = Vec::new();
        let others = |node: &Node, but: Option<&Node>| {
            let children = node.children.iter();
            let but = but.map(|but| but.id);
            children
                .filter(|id| Some(**id) != but)
                .filter_map(|id| context.forest.get(*id))
                .cloned()
                .collect::<Vec<Node>>()
        };
        for sibling in others(run.base, run.layers.last().copied()) {
            found.extend(self.views(&sibling, depth, true, "built on the same base", false)?);
        }
        for (index, layer) in run.layers.iter().enumerate() {
            let above = index.checked_sub(1).and_then(|above| run.layers.get(above));
            if index > 0 || !stays {
                for child in others(layer, above.copied()) {
                    let role = format!("built on {}", name(&layer.path));
                    found.extend(self.views(&child, index, true, &role, true)?);
                }
            }
            found.extend(self.views(layer, index + 1, false, "", false)?);
        }
        Ok(found)
    }

    /// The views in one file: its active one, if asked for, and its snapshots. What another image shows
    /// that cannot be read counts as lost; a layer that is merged has to be readable.
    fn views(
        &self,
        node: &Node,
        on: usize,
        active: bool,
        role: &str,
        moves: bool,
    ) -> image::Result<Vec<Dependant>> {
        let file_name = name(&node.path);
        let dependant = |what: String, role: String, root: Root| Dependant {
            node: node.id,
            path: node.path.clone(),
            what,
            role,
            root,
            on,
            loses: 0,
            growth: Growth::default(),
            closed: None,
            moves,
        };
        let main = dependant(file_name.clone(), role.to_owned(), Root::Active);
        let unknown = |dependant: Dependant, why: &image::Error| Dependant {
            loses: self.merged.virtual_size(),
            closed: Some(why.kind.to_string()),
            ..dependant
        };
        let layer = match Layer::open(self.host, &node.path, &Format::Qcow2) {
            Ok(layer) => layer,
            Err(error) if active => return Ok(vec![unknown(main, &error)]),
            Err(error) => return Err(error),
        };
        let closed = match &layer {
            Layer::Qcow2(image) => image::writable(&node.path, image.header())
                .err()
                .map(|error| error.kind.to_string()),
            Layer::Raw(_) => None,
        };
        let old = BackingView::of(self.chain.without(on));
        let change = BackingChange {
            old: &old,
            new: self.merged,
            judge: CompareBy::Tables,
            keys: self.keys,
        };
        let judged = |dependant: Dependant, view: &Layer| match view_loss(view, change) {
            Ok(loss) => Dependant {
                loses: loss.total(),
                growth: loss.growth.and(loss.possible_growth),
                closed: closed.clone().filter(|_| loss.total() > 0),
                ..dependant
            },
            Err(error) => unknown(dependant, &error),
        };
        let mut found = Vec::new();
        if active {
            found.push(judged(main, &layer));
        }
        let snapshots = match snapshot_views(&layer) {
            Ok(snapshots) => snapshots,
            Err(error) if active => {
                let what = format!("{file_name}'s internal snapshots");
                let root = Root::Snapshot(TablePlace {
                    offset: HostOffset(0),
                    entries: 0,
                });
                let role = "its internal snapshots".to_owned();
                found.push(unknown(dependant(what, role, root), &error));
                return Ok(found);
            }
            Err(error) => return Err(error),
        };
        for (title, root, view) in snapshots {
            let what = format!("{file_name}'s internal snapshot {title}");
            found.push(judged(
                dependant(what, format!("its internal snapshot {title}"), root),
                &view,
            ));
        }
        Ok(found)
    }
}
