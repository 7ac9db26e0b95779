//! Flatten (QEMU's stream): the layers between an image and one it is built on leave its chain, since
//! it receives what they hold: in place, or as a new file that leaves the image as it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Node, NodeId};
use crate::host::{Host, printable};
use crate::image::{
    self, BackingChange, BackingView, CarriedBitmaps, Chain, CompareBy, ConvertFrom, ConvertTo,
    CreateOptions, Format, Keys, Layer, NoProgress, new_overlay,
};
use crate::units::size;

use super::branch::not_created;
use super::framework::definition_change::successor;
use super::framework::eligibility::{chain_below, format_of, is_readable, refuse_foreign_data};
use super::framework::files_to_lock::FilesToLock;
use super::framework::format::{command, listed, name, shown};
use super::framework::locked_host::{LockedHost, files_of, has_secrets};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::secrecy::warn_of_plain_copies;
use super::framework::{backing_format, backing_name, new_file, new_image, resolve, unlock};
use super::rebase::RebaseJob;
use super::reparent::NewBase;
use super::{
    BackingStyle, CloneImage, CommandLine, Compress, EffectKind, Error, NoteKind, Outcome, Phase,
    Plan, Progress, Rebase, Reflink, RefusalKind, Request, Undo, WayOut, reparent,
};

/// Take the layers between an image and one it is built on out of its chain: it receives what they
/// hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flatten {
    /// The image, whose guest sees the same afterwards.
    pub image: PathBuf,
    /// What it is built on then, one of the images it is built on now; none for nothing.
    pub onto: Option<PathBuf>,
    /// The file that is created to show the same; none to change the image itself.
    pub new: Option<PathBuf>,
    /// Whether the clusters of the new file are compressed, and how.
    #[serde(default)]
    pub compress: Option<Compress>,
}

impl Request {
    /// To have an image receive all that it is built on.
    pub(super) fn flatten(image: &Path) -> Self {
        Self::Flatten(Flatten {
            image: image.to_path_buf(),
            onto: None,
            new: None,
            compress: None,
        })
    }
}

impl Operation for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn verb(&self) -> &'static str {
        "Flatten"
    }

    fn nature(&self) -> Nature<'_> {
        match &self.new {
            Some(new) => Nature::CreatesImage(new),
            None => Nature::Changes,
        }
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        if let Some(path) = &mut self.onto {
            visit(Name::Path(path));
        }
        if let Some(path) = &mut self.new {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.image]
    }

    fn command_line(&self) -> Option<CommandLine> {
        let mut line = CommandLine::new(&["flatten"]).path(&self.image);
        line = match &self.new {
            Some(new) => line.path(new),
            None => line.flag("--in-place", true),
        };
        line = line.option_path("--onto", self.onto.as_ref());
        if let Some(Compress { kind, level }) = self.compress {
            line = line
                .flag("--compress", true)
                .option("--compression-type", Some(kind.name()))
                .number("--compression-level", level.number());
        }
        Some(line)
    }

    fn plan(&self, plan: &mut Plan) {
        plan_flatten(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        if self.new.is_some() {
            return half.finish_making(self.clone());
        }
        match &self.onto {
            Some(onto) if half.is_built_on(&self.image, onto) => Way::Nothing(format!(
                "{} is built on {} already",
                name(&self.image),
                name(onto)
            )),
            Some(_) | None => Way::Ask(self.clone().into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        self.new.is_some()
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        match self.new {
            Some(_) => half.unmake(),
            None => half.as_planned(),
        }
    }
}

/// Plans to flatten the image onto an image below it, or onto nothing.
fn plan_flatten(plan: &mut Plan, request: &Flatten) {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    plan.title = format!("Flatten {}", name(&request.image));
    if let Some(onto) = &request.onto {
        plan.title.push_str(&format!(" onto {}", name(onto)));
    }
    if let Some(new) = &request.new {
        plan.title.push_str(&format!(" into {}", name(new)));
    }
    let node = match resolve::named(&context, &request.image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let base = match request
        .onto
        .as_deref()
        .map(|onto| resolve::named(&context, onto))
        .transpose()
    {
        Ok(base) => base,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let Some(base) = fit(plan, forest, node, base, request.new.as_deref()) else {
        return;
    };
    match (request.new.as_deref(), request.compress) {
        (None, None) => in_place(plan, node, base),
        (None, Some(_)) => plan.refuse(
            RefusalKind::Invalid,
            "only a new file is compressed: what is in place already stays as it is stored",
        ),
        (Some(new), compress) => into_new(plan, node, base, new, compress),
    }
}

/// A copy of an image that is flat as it is.
fn copied(image: &Path, new: &Path) -> WayOut {
    let request = CloneImage {
        image: image.to_path_buf(),
        new: new.to_path_buf(),
        chain: false,
        reflink: Reflink::default(),
    };
    WayOut {
        label: format!("copy it as {}", name(new)),
        request: request.into(),
    }
}

/// The base it is going to have and its format, if that is one it has below itself.
fn fit<'f>(
    plan: &mut Plan,
    forest: &'f Forest,
    node: &'f Node,
    base: Option<&'f Node>,
    new: Option<&Path>,
) -> Option<Option<(&'f Node, Format)>> {
    let path = shown(&node.path);
    if node.backing.is_none() {
        let text = format!("{path} is built on nothing: there is nothing to flatten");
        match new {
            None => plan.refuse_as_done(text),
            // The file that is asked for is not there.
            Some(new) => {
                plan.refuse_but(RefusalKind::AlreadySo, text, vec![copied(&node.path, new)])
            }
        }
        return None;
    }
    let Some(base) = base else {
        return Some(None);
    };
    let below: Vec<NodeId> = forest.chain(node.id).into_iter().skip(1).collect();
    if base.id == node.id || !below.contains(&base.id) {
        let there: Vec<String> = below
            .iter()
            .filter_map(|id| forest.get(*id))
            .map(|node| name(&node.path))
            .collect();
        plan.refuse_but(
            RefusalKind::NotInChain,
            format!(
                "{path} is not built on {}, only on {}",
                shown(&base.path),
                listed(&there, 5)
            ),
            match new {
                Some(_) => Vec::new(),
                None => vec![WayOut {
                    label: format!("build it on {} by a rebase", name(&base.path)),
                    request: Request::Rebase(Rebase {
                        image: node.path.clone(),
                        to: base.path.clone(),
                        format: None,
                        style: None,
                        dedupe: false,
                        compress: false,
                    }),
                }],
            },
        );
        return None;
    }
    if below.first() == Some(&base.id) && new.is_none() {
        plan.refuse_as_done(format!(
            "{path} is built on {} directly: there is no layer between",
            name(&base.path)
        ));
        return None;
    }
    // What the image just above it in the chain records.
    let above = std::iter::once(node.id)
        .chain(below)
        .filter_map(|id| forest.get(id))
        .find(|above| above.parent == Some(base.id));
    let format = backing_format::recorded(plan, above?, base)?;
    Some(Some((base, format)))
}

fn in_place(plan: &mut Plan, node: &Node, base: Option<(&Node, Format)>) {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    let mut files_to_lock = FilesToLock::default();
    let request = reparent::Reparenting {
        node,
        base: base.as_ref().map(|(base, format)| (*base, format)),
        style: None,
    };
    let Some(planned) = reparent::plan(plan, &mut files_to_lock, request) else {
        return;
    };
    let read = forest.chain(node.id).into_iter().skip(1);
    reparent::say_what_is_read(plan, read.filter_map(|id| forest.get(id)));
    planned.say_the_rest(plan, &files_to_lock, node);
    plan.job = Some(Arc::new(RebaseJob {
        planned,
        files_to_lock,
        dedupe: false,
    }));
}

fn into_new(
    plan: &mut Plan,
    node: &Node,
    base: Option<(&Node, Format)>,
    new: &Path,
    compress: Option<Compress>,
) {
    let context = plan.context().clone();
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let Some(below) = chain_below(plan, forest, node) else {
        return;
    };
    if !is_readable(plan, node) {
        return;
    }
    let chain: Vec<&Node> = std::iter::once(node).chain(below).collect();
    refuse_foreign_data(plan, chain.iter().map(|node| node.id));
    if !plan.refusals.is_empty() {
        return;
    }
    if let Err(error) = unlock::unlock_chain(&context, node.id) {
        return plan.refuse_error(&error);
    }
    warn_of_plain_copies(plan, chain.iter().copied(), &[name(new)]);
    let layers = base
        .as_ref()
        .and_then(|(base, _)| chain.iter().position(|node| node.id == base.id));
    let base = match base {
        None => None,
        Some((base, format)) => {
            match backing_name::leading(host, new, &base.path, BackingStyle::default()) {
                Ok(recorded) => Some(NewBase {
                    path: base.path.clone(),
                    format,
                    recorded,
                }),
                Err(sentence) => return plan.refuse(RefusalKind::BackingName, sentence),
            }
        }
    };
    let mut job = IntoNew {
        image: node.path.clone(),
        base,
        layers,
        new: new.to_path_buf(),
        compress,
        files_to_lock: FilesToLock::default(),
        bytes: 0,
        keys: context.keys.clone(),
    };
    let forecast = match job.forecast(host) {
        Ok(forecast) => forecast,
        Err(error) => return plan.refuse_error(&error),
    };
    job.bytes = forecast.data;
    // How far data can be compressed is not known before.
    let needed = match compress {
        None => forecast.at_most,
        Some(_) => forecast.empty,
    };
    if new_file::check(plan, new, needed).is_none() {
        return;
    }
    let on = job.base.as_ref().map_or_else(
        || "built on nothing".to_owned(),
        |base| format!("built on {}", printable(&base.recorded)),
    );
    let how = compress.map_or_else(String::new, |compress| {
        format!(", compressed by {}", compress.kind.name())
    });
    plan.effect(
        EffectKind::Creates,
        new,
        Some(job.bytes),
        format!(
            "the disk of {} ({}), at most {} of data{how}, {on}",
            name(&node.path),
            size(node.virtual_size().unwrap_or(0)),
            size(job.bytes)
        ),
    );
    plan.counterpart(&node.path);
    if let Some(compress) = compress {
        new_image::refuse_level(plan, compress.kind, compress.level);
        new_image::say_of_compression(plan, new, forecast.at_most);
    }
    for node in &chain {
        job.files_to_lock.read(host, &node.path, &format_of(node));
    }
    reparent::say_what_is_read(plan, chain);
    job.files_to_lock.secure(plan);
    if let Some(info) = node.info()
        && (info.snapshots > 0 || info.bitmaps > 0)
    {
        plan.note(
            NoteKind::Snapshots,
            format!(
                "the internal snapshots and dirty bitmaps of {} are not copied",
                name(&node.path)
            ),
        );
    }
    plan.copies = job.bytes;
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    plan.succeeds(successor(&node.path, new, Some("qcow2".to_owned())));
    if job.base.is_none() {
        let mut words: Vec<OsString> = vec!["qemu-img".into(), "convert".into()];
        words.extend(["-O".into(), "qcow2".into()]);
        if compress.is_some() {
            words.push("-c".into());
        }
        if let Some(options) = new_image::qemu_options(&forecast.options) {
            words.extend(["-o".into(), options]);
        }
        words.extend([node.path.clone().into(), new.into()]);
        plan.commands.push(command(&words));
    }
    plan.job = Some(Arc::new(job));
}

/// What is known of a new file before it is made.
struct Forecast {
    /// Bytes that are read and written.
    data: u64,
    /// Bytes of the file while it holds nothing.
    empty: u64,
    /// Bytes of the file at most.
    at_most: u64,
    options: CreateOptions,
}

#[derive(Debug)]
struct IntoNew {
    image: PathBuf,
    base: Option<NewBase>,
    /// How many layers of the chain lie above the base.
    layers: Option<usize>,
    new: PathBuf,
    compress: Option<Compress>,
    files_to_lock: FilesToLock,
    bytes: u64,
    keys: Keys,
}

impl IntoNew {
    fn backing_views(&self, host: &dyn Host) -> image::Result<(Chain, BackingView, BackingView)> {
        let chain = Chain::open(host, &self.image, Some(&Format::Qcow2), &|_| true)?;
        let new = match &self.base {
            Some(base) => {
                let below = Chain::open(host, &base.path, Some(&base.format), &|_| true)?;
                below.unlock(&self.keys, &NoProgress)?;
                BackingView::of(below)
            }
            None => BackingView::nothing(),
        };
        // Opened when the plan was made, so that nothing has to be derived now.
        chain.unlock(&self.keys, &NoProgress)?;
        Ok((chain.clone(), BackingView::of(chain), new))
    }

    fn forecast(&self, host: &dyn Host) -> image::Result<Forecast> {
        let (chain, old, new) = self.backing_views(host)?;
        let options = self.options(&chain);
        let empty = image::new_len(&self.new, &options)?.image_blocks;
        let estimate = options.estimate(&self.new)?;
        let (data, content) = match self.compress {
            Some(_) => {
                let counted = self.source(chain).forecast(estimate)?;
                (counted.data, counted.growth)
            }
            None => {
                let change = BackingChange {
                    old: &old,
                    new: &new,
                    judge: CompareBy::Bytes,
                    keys: &self.keys,
                };
                let loss = image::backing_loss(change, estimate)?;
                (
                    loss.certain.saturating_add(loss.possible),
                    loss.growth.and(loss.possible_growth),
                )
            }
        };
        Ok(Forecast {
            data,
            empty,
            at_most: empty.saturating_add(content.total()),
            options,
        })
    }

    /// The layers above the base.
    fn source(&self, chain: Chain) -> ConvertFrom {
        ConvertFrom {
            sources: vec![chain],
            layers: self.layers,
            ..ConvertFrom::default()
        }
    }

    fn make(&self, host: &dyn Host, progress: &Progress) -> image::Result<()> {
        let (chain, old, new) = self.backing_views(host)?;
        let options = self.options(&chain);
        let Some(compress) = self.compress else {
            let change = BackingChange {
                old: &old,
                new: &new,
                judge: CompareBy::Bytes,
                keys: &self.keys,
            };
            return new_overlay(host, &self.new, &options, change, progress);
        };
        let to = ConvertTo::Qcow2 {
            options: Box::new(options),
            compress: Some(compress.level),
            bitmaps: CarriedBitmaps::None,
        };
        image::convert(host, &self.source(chain), &self.new, &to, progress)
    }

    /// The new image is of the kind the old one is.
    fn options(&self, chain: &Chain) -> CreateOptions {
        let mut options = CreateOptions {
            backing: self
                .base
                .as_ref()
                .map(|base| (base.recorded.clone(), base.format.clone())),
            ..CreateOptions::new(chain.virtual_size())
        };
        if let Some(Layer::Qcow2(image)) = chain.layers().first().map(|layer| &**layer) {
            let header = image.header();
            options.format.cluster_bits = header.geometry.cluster_bits();
            options.format.extended_l2 = header.geometry.extended_l2();
            options.format.old_version = header.version == crate::qcow2::Version::V2;
        }
        if let Some(compress) = self.compress {
            options.format.compression = compress.kind;
        }
        options
    }
}

impl Job for IntoNew {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let locks = self.files_to_lock.lock(plan)?;
        let held = LockedHost::new(host, &locks);
        progress.enter(Phase::Copy, self.bytes);
        self.backing_views(&held)
            .and_then(|(chain, ..)| {
                // The new image is not encrypted.
                let making =
                    LockedHost::new(host, &locks).for_copies(files_of(&chain), has_secrets(&chain));
                self.make(&making, progress)
            })
            .map_err(|error| not_created(&self.new, error))?;
        Ok(Outcome {
            summary: format!(
                "created {}, which shows what {} shows",
                shown(&self.new),
                name(&self.image)
            ),
            touched: vec![self.new.clone()],
            undo: Some(Request::discard(vec![self.new.clone()])),
            remarks: Vec::new(),
        })
    }
}
