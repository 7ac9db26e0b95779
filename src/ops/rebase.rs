//! Rebase: an image is built on another one from then on, and its guest sees what it saw. Only what
//! would show otherwise is copied, and the header is switched last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Content, Forest, Location, Node};
use crate::host::{Access, printable};
use crate::image::{
    self, CompressionType, Format, Growth, ImageFile, Layer, Stores, dedupe_growth,
};
use crate::units::size;

use super::framework::files_to_lock::FilesToLock;
use super::framework::format::{name, shown};
use super::framework::locked_host::LockedHost;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{backing_format, backing_name, resolve, space};
use super::reparent::Move;
use super::{
    BackingStyle, CommandLine, Error, Note, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind,
    Request, reparent,
};

/// Build an image on another one, and keep what it shows: it receives what would show otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebase {
    /// The image, whose guest sees the same afterwards.
    pub image: PathBuf,
    /// What it is built on then: any image but itself and those built on it.
    pub to: PathBuf,
    /// That image's format; none for the one it was recognised by.
    pub format: Option<Format>,
    /// How the name is recorded; none for as it was.
    pub style: Option<BackingStyle>,
    /// Whether clusters are given up that the new base shows as well.
    pub dedupe: bool,
    /// Whether whole clusters that it receives are compressed.
    #[serde(default)]
    pub compress: bool,
}

impl Request {
    /// To build the image on what it is built on now, once it is built on something else; none if not all of that
    /// is known.
    pub(super) fn rebase_back(forest: &Forest, node: &Node) -> Option<Self> {
        let backing = node.backing.as_ref()?;
        Some(Self::Rebase(Rebase {
            image: node.path.clone(),
            to: forest.leads_to(node)?.to_path_buf(),
            format: Some(backing.format().cloned()?),
            style: Some(backing_name::style_of(backing.name())),
            dedupe: true,
            compress: false,
        }))
    }
}

impl Operation for Rebase {
    fn name(&self) -> &'static str {
        "rebase"
    }

    fn verb(&self) -> &'static str {
        "Rebase"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        visit(Name::Path(&mut self.to));
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.image, &self.to]
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            CommandLine::new(&["rebase"])
                .path(&self.image)
                .option_path("--to", Some(&self.to))
                .option("--format", self.format.as_ref().map(Format::name))
                .style(self.style)
                .flag("--dedupe", self.dedupe)
                .flag("--compress", self.compress),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_rebase(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Identity)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        if !half.is_built_on(&self.image, &self.to) {
            return Way::Ask(self.clone().into());
        }
        let text = format!(
            "{} is built on {} already",
            name(&self.image),
            name(&self.to)
        );
        match self.dedupe {
            true => Way::But(
                self.clone().into(),
                Note::new(
                    NoteKind::Interrupted,
                    format!("{text}: only giving up what that shows as well is repeated"),
                ),
            ),
            false => Way::Nothing(text),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// Plans to build the image on another one.
fn plan_rebase(plan: &mut Plan, request: &Rebase) {
    let context = plan.context().clone();
    plan.title = format!("Rebase {} to {}", name(&request.image), name(&request.to));
    let (node, base) = match resolve::named(&context, &request.image)
        .and_then(|node| Ok((node, resolve::named(&context, &request.to)?)))
    {
        Ok(found) => found,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let Some(format) = format_of(plan, node, base, request) else {
        return;
    };
    if node.parent == Some(base.id)
        && node.backing_format() == Some(&format)
        && request.style.is_none()
        && !request.dedupe
    {
        return plan.refuse_as_done(format!(
            "{} is built on {} already",
            shown(&node.path),
            name(&base.path)
        ));
    }
    let mut files_to_lock = FilesToLock::default();
    let asked = reparent::Reparenting {
        node,
        base: Some((base, &format)),
        style: request.style,
    };
    let Some(mut planned) = reparent::plan(plan, &mut files_to_lock, asked) else {
        return;
    };
    if request.compress {
        planned.stores = Stores::Compressed;
        say_of_compression(plan, node);
    }
    let read = context.forest.chain(node.id).into_iter().skip(1);
    let read = read.chain(context.forest.chain(base.id));
    reparent::say_what_is_read(plan, read.filter_map(|id| context.forest.get(id)));
    if let (Some(own), Some(below)) = (node.virtual_size(), base.virtual_size())
        && below < own
    {
        plan.note(NoteKind::Size, format!(
            "{} is shorter than {} ({} and {}): past its end the guest reads what is copied, or zeros",
            name(&base.path),
            name(&node.path),
            size(below),
            size(own)
        ));
    }
    if request.dedupe {
        let host = plan.host();
        match Layer::open(host, &node.path, &Format::Qcow2).and_then(|top| dedupe_growth(&top)) {
            Ok(growth) => space::may_need_growth(plan, &node.path, Growth::default(), growth),
            Err(error) => {
                return plan.refuse_unsaid(&error, "this");
            }
        }
        plan.note(
            NoteKind::Manner,
            format!(
                "what {} holds and {} shows as well is given up then, once the header is switched",
                name(&node.path),
                name(&base.path)
            ),
        );
    }
    planned.say_the_rest(plan, &files_to_lock, node);
    plan.job = Some(Arc::new(RebaseJob {
        planned,
        files_to_lock,
        dedupe: request.dedupe,
    }));
}

/// Says what compressing what is copied means, or why it cannot be done.
fn say_of_compression(plan: &mut Plan, node: &Node) {
    let file = ImageFile::open(plan.host(), &node.path, Access::Read);
    let header = file.and_then(|file| image::read_header(&file));
    let may = header.and_then(|header| {
        image::may_compress(&node.path, &header)?;
        Ok(header.compression)
    });
    match may {
        Err(error) => plan.refuse_error(&error),
        Ok(kind) => plan.note(NoteKind::Manner, format!(
            "whole clusters that are copied are compressed by {} where that makes them smaller; how much room that \
             saves is found out by compressing",
            match kind {
                CompressionType::Zstd => "zstd",
                _ => "zlib",
            }
        )),
    }
}

/// What the image is going to record as the format of its new base.
fn format_of(plan: &mut Plan, node: &Node, base: &Node, request: &Rebase) -> Option<Format> {
    let path = shown(&base.path);
    match base.location {
        Location::Scanned | Location::InTrash => {}
        Location::Missing => {
            plan.refuse(RefusalKind::NotFound, format!("{path} is not there"));
            return None;
        }
        Location::Elsewhere => {
            plan.refuse(
                RefusalKind::NotFound,
                format!("{path} is no local file: nothing is known of it here"),
            );
            return None;
        }
        Location::OutsideScan => {
            plan.refuse_for(resolve::outside(&base.path));
            return None;
        }
    }
    if let Content::Damaged(why) | Content::Unreadable(why) = &base.content {
        plan.refuse(
            RefusalKind::Unreadable,
            format!("{path} cannot be built on: {}", printable(why)),
        );
        return None;
    }
    if matches!(base.content, Content::Unopened) {
        plan.refuse(
            RefusalKind::OutsideRoots,
            format!("{path} cannot be built on: it was never looked into"),
        );
        return None;
    }
    if let Some(said) = &request.format {
        return backing_format::said(plan, base, said);
    }
    let forest = Arc::clone(&plan.context().forest);
    let below = forest.chain(node.id);
    let mut chain = below.iter().filter_map(|id| forest.get(*id));
    if let Some(above) = chain.find(|above| above.parent == Some(base.id)) {
        return backing_format::recorded(plan, above, base);
    }
    backing_format::found(plan, &forest, base, |format| {
        Request::Rebase(Rebase {
            image: request.image.clone(),
            to: request.to.clone(),
            format: Some(format),
            style: request.style,
            dedupe: request.dedupe,
            compress: request.compress,
        })
    })
}

/// Builds an image on another one, or on nothing.
#[derive(Debug)]
pub(super) struct RebaseJob {
    pub(super) planned: Move,
    pub(super) files_to_lock: FilesToLock,
    /// Whether it gives up afterwards what its new base shows as well.
    pub(super) dedupe: bool,
}

impl Job for RebaseJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let locks = self.planned.execute(&self.files_to_lock, plan, progress)?;
        let host = &LockedHost::new(host, &locks);
        let mut remarks = Vec::new();
        if self.dedupe {
            progress.enter(Phase::CleanUp, 0);
            remarks.push(Note::new(NoteKind::Manner, match self.planned.dedupe(host, progress) {
                Ok(0) => "nothing it holds is shown by its new base as well".to_owned(),
                Ok(bytes) => format!(
                    "gave up {} that its new base shows as well",
                    size(bytes)
                ),
                // It is rebased all the same; giving up more is only a matter of room.
                Err(error) => format!(
                    "not all that its new base shows as well was given up: {error}. Rebasing it once more, with \
                     dedupe, gives up the rest"
                ),
            }));
        }
        Ok(Outcome {
            summary: self.planned.summary(),
            touched: vec![self.planned.image.clone()],
            undo: plan.roll_back.clone(),
            remarks,
        })
    }
}
