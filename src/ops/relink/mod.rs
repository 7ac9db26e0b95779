//! Relink: an image's header names what it is built on anew - another place, or the format that it
//! lacked. Nothing but the header changes; the guest's data stays where it is. Whether the other place is the
//! right one is judged in `base_match`.

mod base_match;
mod header;
mod put_back;
pub(super) mod request;
mod several;
mod unlink;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Forest, Location, Node};
use crate::host::{Access, LockSet, printable};
use crate::image::{self, BackingName, Format, ImageFile};

use super::framework::built_on::BuiltOn;
use super::framework::format::{name, shown};
use super::framework::locks::{Locking, claim};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{backing_format, backing_name, resolve};
use super::{
    BackingStyle, CommandLine, EffectKind, Error, Outcome, Phase, Plan, Progress, RefusalKind,
    Relink, Request, Undo,
};
use header::{back, fit, undo};

impl Operation for Relink {
    fn name(&self) -> &'static str {
        "relink"
    }

    fn verb(&self) -> &'static str {
        "Relink"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        if let Some(path) = &mut self.base {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // The word `none` stands for nothing.
        let base = self
            .base
            .as_ref()
            .map(|base| match base.as_os_str() == "none" {
                true => Path::new(".").join(base),
                false => base.clone(),
            });
        Some(
            CommandLine::new(&["relink"])
                .path(&self.image)
                .option_path("--to", base)
                .option("--format", self.format.as_ref().map(Format::name))
                .style(self.style),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_relink(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        if self.style.is_none() && self.is_done(half) {
            return Way::Nothing(format!(
                "the header of {} says so already",
                name(&self.image)
            ));
        }
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        header::roll_back(half)
    }
}

/// Plans to change what the image's header says about its backing file.
fn plan_relink(plan: &mut Plan, request: &Relink) {
    if let Some(job) = link(plan, request) {
        plan.undo = undo(plan);
        plan.job = Some(Arc::new(job));
    }
}

/// Says in the plan what that does to the image, and how it is taken back; none where it is refused.
fn link(plan: &mut Plan, request: &Relink) -> Option<RelinkJob> {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    plan.title = format!("Relink {}", name(&request.image));
    let node = match resolve::named(&context, &request.image) {
        Ok(node) => node,
        Err(sentence) => {
            plan.refuse_for(sentence);
            return None;
        }
    };
    if !fit(plan, node) {
        return None;
    }
    let recorded = node
        .backing
        .as_ref()
        .map(|backing| backing.name().to_os_string());
    if recorded.is_none() && request.base.is_none() {
        plan.refuse(
            RefusalKind::NotInChain,
            format!(
                "{} is built on nothing: say which image it is to be built on",
                shown(&node.path)
            ),
        );
        return None;
    }
    let base = target(plan, &context, forest, node, request.base.as_deref())?;
    let format = format_of(plan, node, base, request)?;
    let moves = node.parent != Some(base.id);
    let now = recorded.clone();
    let recorded = new_name(plan, node, base, recorded, request, moves)?;
    // Recorded anew, the name lies where libvirt looks for it.
    let is_far = node.info().is_some_and(|info| info.backing_name_is_far);
    let is_the_same =
        !moves && now.as_ref() == Some(&recorded) && node.backing_format() == Some(&format);
    if is_the_same && !is_far {
        plan.refuse_as_done(format!(
            "{} records {} as the {format} image it is built on already",
            shown(&node.path),
            printable(&recorded)
        ));
        return None;
    }

    plan.title = if moves {
        format!("Relink {} to {}", name(&node.path), name(&base.path))
    } else {
        format!(
            "Relink {}: record {format} as the format of its base",
            name(&node.path)
        )
    };
    let text = format!(
        "header only: built on {}, format {format}",
        printable(&recorded)
    );
    plan.effect(EffectKind::Relinks, &node.path, None, text);
    base_match::judge(plan, node, base, &format);
    claim(plan, &node.path, LockSet::ReadWrite);
    // Where only the name or the format is new it is built on what it was built on.
    let on = (moves && plan.host().stat(&base.path).is_ok())
        .then(|| BuiltOn::ask(plan, &base.path, &node.path, Compare::Header));
    plan.roll_back = Some(back(node, &request.image));
    header::push_command(plan, node, &recorded, &format);
    Some(RelinkJob {
        image: node.path.clone(),
        base: Some(base.path.clone()),
        recorded,
        format: Some(format),
        on,
    })
}

/// The image it is going to be built on.
fn target<'f>(
    plan: &mut Plan,
    context: &'f super::Context,
    forest: &'f Forest,
    node: &Node,
    base: Option<&Path>,
) -> Option<&'f Node> {
    let path = shown(&node.path);
    let base = match base {
        Some(base) => match resolve::named(context, base) {
            Ok(base) => base,
            Err(sentence) => {
                plan.refuse_for(sentence);
                return None;
            }
        },
        None => forest.get(node.parent?)?,
    };
    match base.location {
        Location::Missing => {
            plan.refuse(
                RefusalKind::NotFound,
                format!(
                    "{} is not there: say which image {path} is built on",
                    shown(&base.path)
                ),
            );
            return None;
        }
        Location::Elsewhere => {
            plan.refuse(
                RefusalKind::NotFound,
                format!(
                    "{} is no local file: nothing is known of it here",
                    shown(&base.path)
                ),
            );
            return None;
        }
        Location::Scanned | Location::OutsideScan | Location::InTrash => {}
    }
    if base.id == node.id || forest.descendants(node.id).contains(&base.id) {
        plan.refuse(
            RefusalKind::Loop,
            format!(
                "{} is built on {path} itself: the links would run in a circle",
                shown(&base.path)
            ),
        );
        return None;
    }
    Some(base)
}

/// The format to be recorded: as it is said, as it is recorded already, or found out where a guess cannot
/// hurt.
fn format_of(plan: &mut Plan, node: &Node, base: &Node, request: &Relink) -> Option<Format> {
    if let Some(format) = &request.format {
        return backing_format::said(plan, base, format);
    }
    let recorded = node.backing_format().cloned();
    if let Some(recorded) =
        recorded.filter(|recorded| backing_format::seen(base).as_ref() == Some(recorded))
    {
        return Some(recorded);
    }
    let forest = Arc::clone(&plan.context().forest);
    backing_format::found(plan, &forest, base, |format| {
        Request::Relink(Relink {
            image: request.image.clone(),
            base: request.base.clone(),
            format: Some(format),
            style: request.style,
        })
    })
}

/// The name to be recorded: as it is where only the format is new.
fn new_name(
    plan: &mut Plan,
    node: &Node,
    base: &Node,
    recorded: Option<OsString>,
    request: &Relink,
    moves: bool,
) -> Option<OsString> {
    // A name that leads here only from some directories is no answer to where the base is.
    let is_vague = |name: &OsString| {
        request.base.is_some() && BackingName::interpret(&node.path, name).depends_on_directory()
    };
    let stays = recorded.as_ref().filter(|name| !is_vague(name));
    if let Some(name) = stays.filter(|_| !moves && request.style.is_none()) {
        return Some(name.clone());
    }
    let as_before = recorded.as_deref().map(backing_name::style_of);
    let style = request
        .style
        .or(as_before)
        .unwrap_or(BackingStyle::Relative);
    let context = plan.context().clone();
    match backing_name::leading_from_all(&context, node, &base.path, style) {
        Ok(name) => Some(name),
        Err(sentence) => {
            plan.refuse(RefusalKind::BackingName, sentence);
            None
        }
    }
}

#[derive(Debug)]
struct RelinkJob {
    image: PathBuf,
    /// The file that the name leads to, if it leads to one.
    base: Option<PathBuf>,
    recorded: OsString,
    format: Option<Format>,
    /// Another image than it was built on.
    on: Option<BuiltOn>,
}

impl RelinkJob {
    /// Changes the header, in one write.
    fn record(&self, file: &ImageFile) -> Result<(), Error> {
        image::record_backing(file, &self.recorded, self.format.as_ref())
            .map_err(|error| Error::of_image(format!("{error}. Its old header is in place"), error))
    }
}

impl Job for RelinkJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(host, &self.image, Access::ReadWrite, LockSet::ReadWrite)?;
        if let Some(on) = &self.on {
            on.hold(host, &mut locking)?;
        }
        let locks = locking.settle(plan)?;
        progress.enter(Phase::Switch, 0);
        self.record(&file.file(&locks))?;
        let undo = match plan.undo {
            Undo::Possible(_) => plan.roll_back.clone(),
            Undo::Impossible(_) => None,
        };
        let (image, base) = (shown(&self.image), printable(&self.recorded));
        Ok(Outcome {
            summary: match &self.format {
                Some(format) => {
                    format!("{image} records {base} as the {format} image it is built on")
                }
                None => format!("{image} records {base} as what it is built on, without a format"),
            },
            touched: [Some(self.image.clone()), self.base.clone()]
                .into_iter()
                .flatten()
                .collect(),
            undo,
            remarks: Vec::new(),
        })
    }
}
