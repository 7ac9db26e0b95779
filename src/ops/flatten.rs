//! Flatten (QEMU's stream): the layers between an image and one it is built on leave its chain, since
//! it receives what they hold: in place, or as a new file that leaves the image as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Forest, Node, NodeId};
use crate::host::{Host, printable};
use crate::image::{
    self, Chain, Change, Compression, CreateOptions, ErrorKind, Format, Judge, Keys, Layer, Loss,
    Sight, Unhurried, new_overlay,
};

use super::held::Held;
use super::members::{Members, chain_below, format_of, is_readable, refuse_foreign_data};
use super::rebase::{before_the_switch, undo};
use super::reroot::{self, Move, NewBase};
use super::words::{command, name, shown, size};
use super::{
    BackingStyle, EffectKind, Error, Job, Outcome, Phase, Plan, Progress, Request, Undo, WayOut,
    backing_name, find, locked, new_file,
};

/// Plans to flatten the image onto `onto`, or onto nothing.
pub(super) fn plan(plan: &mut Plan, image: &Path, onto: Option<&Path>, new: Option<&Path>) {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    plan.title = match (onto, new) {
        (None, None) => format!("Flatten {}", name(image)),
        (Some(onto), None) => format!("Flatten {} onto {}", name(image), name(onto)),
        (None, Some(new)) => format!("Flatten {} into {}", name(image), name(new)),
        (Some(onto), Some(new)) => format!(
            "Flatten {} onto {} into {}",
            name(image),
            name(onto),
            name(new)
        ),
    };
    let node = match find::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse(sentence),
    };
    let base = match onto.map(|onto| find::named(&context, onto)).transpose() {
        Ok(base) => base,
        Err(sentence) => return plan.refuse(sentence),
    };
    let Some(base) = fit(plan, forest, node, base, new) else {
        return;
    };
    match new {
        None => in_place(plan, node, base),
        Some(new) => into_new(plan, node, base, new),
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
        plan.refuse(format!(
            "{path} is built on nothing: there is nothing to flatten"
        ));
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
            format!(
                "{path} is not built on {}, only on {}",
                shown(&base.path),
                super::words::listed(&there, 5)
            ),
            match new {
                Some(_) => Vec::new(),
                None => vec![WayOut {
                    label: format!("build it on {} by a rebase", name(&base.path)),
                    request: Request::Rebase {
                        image: node.path.clone(),
                        to: base.path.clone(),
                        format: None,
                        style: None,
                        dedupe: false,
                    },
                }],
            },
        );
        return None;
    }
    if below.first() == Some(&base.id) && new.is_none() {
        plan.refuse(format!(
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
    let recorded = above
        .and_then(|above| above.backing.as_ref())
        .and_then(|backing| backing.format.clone());
    let format = recorded.unwrap_or_else(|| format_of(base));
    Some(Some((base, format)))
}

fn in_place(plan: &mut Plan, node: &Node, base: Option<(&Node, Format)>) {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    let mut members = Members::default();
    let wish = reroot::Wish {
        node,
        base: base.as_ref().map(|(base, format)| (*base, format)),
        style: None,
    };
    let Some(planned) = reroot::plan(plan, &mut members, wish) else {
        return;
    };
    let read = forest.chain(node.id).into_iter().skip(1);
    reroot::say_what_is_read(plan, read.filter_map(|id| forest.get(id)));
    members.secure(plan);
    plan.undo = undo(node);
    plan.commands
        .push(reroot::rebase_command(&node.path, planned.base.as_ref()));
    plan.job = Some(Arc::new(InPlace {
        planned,
        members,
        back: reroot::undo_request(node),
    }));
}

#[derive(Debug)]
struct InPlace {
    planned: Move,
    members: Members,
    back: Option<Request>,
}

impl Job for InPlace {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let image = &self.planned.image;
        progress.enter(Phase::Collect, 0);
        let locks = self.members.lock(host)?;
        plan.verify_pins()?;
        let host = &Held::new(host, &locks);
        progress.enter(Phase::Copy, self.planned.bytes);
        self.planned
            .copy(host, progress)
            .and_then(|()| {
                progress.enter(Phase::Switch, 0);
                self.planned.switch(host)
            })
            .map_err(|error| before_the_switch(image, &error))?;
        let on = match &self.planned.base {
            Some(base) => format!("is built on {} now", shown(&base.path)),
            None => "stands by itself now".to_owned(),
        };
        Ok(Outcome {
            summary: format!("{} {on}, and shows what it showed", shown(image)),
            touched: vec![image.clone()],
            undo: self.back.clone(),
            remarks: Vec::new(),
        })
    }
}

fn into_new(plan: &mut Plan, node: &Node, base: Option<(&Node, Format)>, new: &Path) {
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
    if let Err(error) = locked::unlock_chain(&context, node.id) {
        return plan.refuse(error.to_string());
    }
    if let Some(closed) = chain
        .iter()
        .find(|node| node.facts().is_some_and(|facts| facts.encryption.is_some()))
    {
        plan.warn(format!(
            "{} is encrypted, and {} will not be: what is copied out of it will lie there for everybody to read",
            name(&closed.path),
            name(new)
        ));
    }
    let base = match base {
        None => None,
        Some((base, format)) => {
            match backing_name::leading(host, new, &base.path, BackingStyle::default()) {
                Ok(recorded) => Some(NewBase {
                    path: base.path.clone(),
                    format,
                    recorded,
                }),
                Err(sentence) => return plan.refuse(sentence),
            }
        }
    };
    let mut job = IntoNew {
        image: node.path.clone(),
        base,
        new: new.to_path_buf(),
        members: Members::default(),
        bytes: 0,
        keys: context.keys.clone(),
    };
    let loss = match job.loss(host) {
        Ok(loss) => loss,
        Err(error) => return plan.refuse(error.to_string()),
    };
    job.bytes = loss.certain.saturating_add(loss.possible);
    let virtual_size = node.virtual_size().unwrap_or(0);
    let needed = job
        .bytes
        .saturating_add(new_file::empty_len(virtual_size))
        .saturating_add(job.bytes / 4096);
    if new_file::check(plan, new, needed).is_none() {
        return;
    }
    let on = job.base.as_ref().map_or_else(
        || "built on nothing".to_owned(),
        |base| format!("built on {}", printable(&base.recorded)),
    );
    plan.effect(
        EffectKind::Creates,
        new,
        Some(job.bytes),
        format!(
            "the disk of {} ({}), at most {} of data, {on}",
            name(&node.path),
            size(virtual_size),
            size(job.bytes)
        ),
    );
    for node in &chain {
        job.members.read(host, &node.path, &format_of(node));
    }
    reroot::say_what_is_read(plan, chain);
    job.members.secure(plan);
    if let Some(facts) = node.facts()
        && (facts.snapshots > 0 || facts.bitmaps > 0)
    {
        plan.note(format!(
            "the internal snapshots and dirty bitmaps of {} are not copied",
            name(&node.path)
        ));
    }
    plan.copies = job.bytes;
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    if job.base.is_none() {
        plan.commands.push(command(&[
            "qemu-img".as_ref(),
            "convert".as_ref(),
            "-O".as_ref(),
            "qcow2".as_ref(),
            node.path.as_os_str(),
            new.as_os_str(),
        ]));
    }
    plan.job = Some(Arc::new(job));
}

#[derive(Debug)]
struct IntoNew {
    image: PathBuf,
    base: Option<NewBase>,
    new: PathBuf,
    members: Members,
    bytes: u64,
    keys: Keys,
}

impl IntoNew {
    fn sights(&self, host: &dyn Host) -> image::Result<(Chain, Sight, Sight)> {
        let chain = Chain::open(host, &self.image, Some(&Format::Qcow2), &|_| true)?;
        let new = match &self.base {
            Some(base) => {
                let below = Chain::open(host, &base.path, Some(&base.format), &|_| true)?;
                below.unlock(&self.keys, &Unhurried)?;
                Sight::of(below)
            }
            None => Sight::nothing(),
        };
        // Opened when the plan was made, so that nothing has to be derived now.
        chain.unlock(&self.keys, &Unhurried)?;
        Ok((chain.clone(), Sight::of(chain), new))
    }

    fn loss(&self, host: &dyn Host) -> image::Result<Loss> {
        let (_, old, new) = self.sights(host)?;
        let change = Change {
            old: &old,
            new: &new,
            judge: Judge::Bytes,
            keys: &self.keys,
        };
        image::sight_loss(change)
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
            options.format.compression = Compression::Zlib;
        }
        options
    }
}

impl Job for IntoNew {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let locks = self.members.lock(host)?;
        plan.verify_pins()?;
        let host = &Held::new(host, &locks);
        progress.enter(Phase::Copy, self.bytes);
        self.sights(host)
            .and_then(|(chain, old, new)| {
                let change = Change {
                    old: &old,
                    new: &new,
                    judge: Judge::Bytes,
                    keys: &self.keys,
                };
                new_overlay(host, &self.new, &self.options(&chain), change, progress)
            })
            .map_err(|error| {
                let new = shown(&self.new);
                if matches!(error.kind, ErrorKind::Stopped) {
                    Error::Cancelled(format!("stopped: {new} was not created"))
                } else {
                    Error::Failed(format!("{new} was not created: {error}"))
                }
            })?;
        Ok(Outcome {
            summary: format!(
                "created {}, which shows what {} shows",
                shown(&self.new),
                name(&self.image)
            ),
            touched: vec![self.new.clone()],
            undo: Some(Request::Discard {
                images: vec![self.new.clone()],
            }),
            remarks: Vec::new(),
        })
    }
}
