//! What takes back a relink that no relink would make again: the header names what it named before, by the same
//! words, also where that is not there, and without a format where none was recorded.

use std::path::Path;
use std::sync::Arc;

use crate::forest::Node;
use crate::host::{LockSet, printable};
use crate::image::{BackingName, Format};
use crate::ops::framework::built_on::BuiltOn;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locks::claim;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::request::Name;
use crate::ops::framework::resolve;
use crate::ops::{CommandLine, EffectKind, NoteKind, Plan, PutBackLink};

use super::header::{self, back, fit, undo};
use super::{RelinkJob, base_match};

impl Operation for PutBackLink {
    fn name(&self) -> &'static str {
        "undo"
    }

    fn verb(&self) -> &'static str {
        "Undo"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // It is what undoing a relink becomes, and asked for in no other way.
        None
    }

    fn plan(&self, plan: &mut Plan) {
        plan_put_back(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        match self.is_done(half) {
            true => Way::Nothing(format!(
                "the header of {} says so already",
                name(&self.image)
            )),
            false => Way::Ask(self.clone().into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        header::roll_back(half)
    }
}

/// Plans to have the header name what it named before.
fn plan_put_back(plan: &mut Plan, request: &PutBackLink) {
    if let Some(job) = link_back(plan, request) {
        plan.undo = undo(plan);
        plan.job = Some(Arc::new(job));
    }
}

/// Says in the plan what that does to the image, and how it is taken back; none where it is refused.
pub(super) fn link_back(plan: &mut Plan, request: &PutBackLink) -> Option<RelinkJob> {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    plan.title = format!("Relink {} to what it named before", name(&request.image));
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
    let recorded = printable(&request.recorded);
    if request.is_recorded_in(node) {
        plan.refuse_as_done(format!(
            "{} names {recorded} already, as it did before",
            shown(&node.path)
        ));
        return None;
    }
    let format = request.format.as_ref().map(Format::name);
    let text = format!(
        "header only: names {recorded}, {}",
        format.map_or_else(
            || "without a format".to_owned(),
            |format| format!("format {format}")
        )
    );
    plan.effect(EffectKind::Relinks, &node.path, None, text);
    let named = BackingName::interpret(&node.path, &request.recorded);
    let base = named.file().and_then(|file| forest.by_path(file));
    let mut on = None;
    match base {
        Some(base) if node.parent == Some(base.id) || base.location.is_met() => {
            let format = request.format.clone().or_else(|| base.format());
            base_match::judge(plan, node, base, &format.unwrap_or(Format::Raw));
            let is_another = node.parent != Some(base.id);
            on = is_another.then(|| BuiltOn::ask(plan, &base.path, &node.path, Compare::Header));
        }
        Some(_) | None => plan.warn(NoteKind::Base, format!(
            "{recorded} is not among the files looked at: until it is there, {} and what is built on it cannot be \
             read",
            name(&node.path)
        )),
    }
    claim(plan, &node.path, LockSet::ReadWrite);
    plan.roll_back = Some(back(node, &request.image));
    if let Some(format) = &request.format {
        header::push_command(plan, node, &request.recorded, format);
    }
    Some(RelinkJob {
        image: node.path.clone(),
        base: named.file().map(Path::to_path_buf),
        recorded: request.recorded.clone(),
        format: request.format.clone(),
        on,
    })
}

impl PutBackLink {
    /// Whether the header of that image says it.
    fn is_recorded_in(&self, node: &Node) -> bool {
        let backing = node.backing.as_ref();
        backing.is_some_and(|backing| {
            backing.name() == self.recorded && backing.format() == self.format.as_ref()
        })
    }

    pub(super) fn is_done(&self, half: &Half<'_>) -> bool {
        let node = resolve::named(half.context, &self.image);
        node.is_ok_and(|node| self.is_recorded_in(node))
    }
}
