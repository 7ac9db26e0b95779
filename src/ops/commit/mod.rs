//! Commit: a layer is merged down into the image it is built on. Planned here; who would lose what
//! is found out in `survey`, the merge itself is in `merge`.

mod merge;
mod preserve;
mod survey;

use std::path::Path;
use std::sync::Arc;

use crate::forest::{Content, Flags, Forest, Node, Whereabouts};
use crate::host::{Access, printable};
use crate::image::{self, Format};

use super::members::{
    Members, format_of, leading_to, need_space, refuse_foreign_data, refuse_unfit,
};
use super::words::{command, count, listed, name, shown, size};
use super::{
    CommittedLayer, Context, EffectKind, Plan, Request, Siblings, Undo, WayOut, find, locked,
};

use merge::{Child, Commit, Member};
use survey::{Dependant, Survey};

/// What is committed into what.
struct Pair<'f> {
    overlay: &'f Node,
    base: &'f Node,
    base_format: Format,
}

/// Plans to merge `overlay` into its base.
pub(super) fn plan(plan: &mut Plan, overlay: &Path, layer: CommittedLayer, siblings: Siblings) {
    let context = plan.context().clone();
    let forest = Arc::clone(&context.forest);
    plan.title = format!("Commit {}", name(overlay));
    let Some(pair) = find_pair(plan, &context, &forest, overlay) else {
        return;
    };
    plan.title = format!(
        "Commit {} into {}",
        name(&pair.overlay.path),
        name(&pair.base.path)
    );
    refuse_unfit(plan, pair.overlay, "committed");
    refuse_unfit(plan, pair.base, "committed into");
    refuse_foreign_data(
        plan,
        forest
            .chain(pair.overlay.id)
            .into_iter()
            .chain(pair.base.children.iter().copied())
            .chain(pair.overlay.children.iter().copied()),
    );
    if !plan.refusals.is_empty() {
        return;
    }
    // Everything that is read or written is opened before anything is planned on it.
    if let Err(error) = locked::unlock_chain(&context, pair.overlay.id) {
        return plan.refuse(error.to_string());
    }
    let survey = match Survey::make(&context, pair.overlay, pair.base, &pair.base_format) {
        Ok(survey) => survey,
        Err(error) => {
            return plan.refuse(format!("{error}: nothing can be said about this commit"));
        }
    };
    if let Some(why) = &survey.cannot_grow {
        return plan.refuse(format!(
            "{} is longer than {}, which {}",
            name(&pair.overlay.path),
            name(&pair.base.path),
            why.kind
        ));
    }
    let base_path = &pair.base.path;
    plan.effect(
        EffectKind::Writes,
        base_path,
        Some(survey.data + survey.zeros),
        what_is_written(&survey),
    );
    let kept = judge_dependants(plan, &forest, &pair, &survey, layer, siblings);
    let children = match layer {
        CommittedLayer::Trash => {
            let children = plan_children(plan, &context, &forest, &pair, &survey);
            plan.effect(
                EffectKind::Trashes,
                &pair.overlay.path,
                pair.overlay.size_on_disk(),
                format!(
                    "{}, its content is in {} then",
                    size(on_disk(pair.overlay)),
                    name(base_path)
                ),
            );
            children
        }
        CommittedLayer::Keep => {
            let text = format!("stays as an empty layer on {}", name(base_path));
            plan.effect(
                EffectKind::Empties,
                &pair.overlay.path,
                pair.overlay.size_on_disk(),
                text,
            );
            if !pair.overlay.children.is_empty() {
                plan.keeps.push(format!(
                    "the images built on {}: they read through it",
                    name(&pair.overlay.path)
                ));
            }
            Vec::new()
        }
    };
    plan.frees = on_disk(pair.overlay);
    plan.copies = survey.data + kept.iter().map(|dependant| dependant.loses).sum::<u64>();
    note_facts(plan, &pair, &survey);
    let members = members_of(&context, &forest, &pair, &kept, &children);
    members.secure(plan);
    need_space(plan, base_path, survey.new_in_base);
    for dependant in &kept {
        need_space(plan, &dependant.path, dependant.loses);
    }
    plan.undo = Undo::Impossible(format!(
        "the old content of {} is overwritten",
        name(base_path)
    ));
    list_commands(plan, &pair, layer, &children);
    plan.job = Some(Arc::new(Commit {
        overlay: Member {
            path: pair.overlay.path.clone(),
            format: Format::Qcow2,
        },
        base: Member {
            path: base_path.clone(),
            format: pair.base_format.clone(),
        },
        members,
        children,
        preserve: kept.into_iter().map(|dependant| dependant.path).fold(
            Vec::new(),
            |mut paths, path| {
                if !paths.contains(&path) {
                    paths.push(path);
                }
                paths
            },
        ),
        layer,
        bytes: plan.copies,
        overlay_bytes: on_disk(pair.overlay),
        keys: context.keys.clone(),
    }));
}

fn on_disk(node: &Node) -> u64 {
    node.size_on_disk().unwrap_or(0)
}

/// The overlay named and the image it is built on, if both are there and known for what they are.
fn find_pair<'f>(
    plan: &mut Plan,
    context: &'f Context,
    forest: &'f Forest,
    overlay: &Path,
) -> Option<Pair<'f>> {
    let node = match find::named(context, overlay) {
        Ok(node) => node,
        Err(sentence) => {
            plan.refuse(sentence);
            return None;
        }
    };
    let path = shown(&node.path);
    if forest.flags(node.id).contains(Flags::LOOP) {
        plan.refuse(format!("the backing links of {path} run in a circle: there is nothing at its end to commit into"));
        return None;
    }
    let Some(backing) = &node.backing else {
        plan.refuse(format!(
            "{path} is built on nothing: there is no image to commit into"
        ));
        return None;
    };
    let recorded = printable(&backing.recorded);
    let base = node.parent.and_then(|id| forest.get(id));
    let Some(base) = base.filter(|base| base.whereabouts == Whereabouts::Scanned) else {
        plan.refuse(match base.map(|base| base.whereabouts) {
            Some(Whereabouts::OutsideScan) => format!(
                "{path} is built on {recorded}, outside the folders looked in: what else is built on that is not \
                 known. Look in its folder too"
            ),
            Some(Whereabouts::Elsewhere) => format!("{path} is built on {recorded}, which is no local file"),
            _ => format!("{path} is built on {recorded}, which is not there"),
        });
        return None;
    };
    let Some(base_format) = backing.format.clone() else {
        plan.refuse(format!(
            "{path} does not record the format of {recorded}, and a guess would risk the data: \
             record it first with qanopy relink"
        ));
        return None;
    };
    // What a file is must be beyond doubt before its bytes are written: a raw write into a qcow2
    // image would overwrite its tables.
    if base_format != Format::Raw && base.format() != Some(base_format.clone())
        || base_format == Format::Raw && !matches!(base.content, Content::Raw)
    {
        plan.refuse(format!(
            "{path} records {recorded} as {}, and it looks like {}: nothing is written into it",
            printable(base_format.name()),
            base.format().map_or_else(
                || "something else".to_owned(),
                |format| printable(format.name())
            )
        ));
        return None;
    }
    if let Format::Other(format) = &base_format {
        plan.refuse(format!(
            "{recorded} is of format {}: only qcow2 and raw images are written here",
            printable(format)
        ));
        return None;
    }
    Some(Pair {
        overlay: node,
        base,
        base_format,
    })
}

fn what_is_written(survey: &Survey) -> String {
    let mut parts = vec![format!("{} of data", size(survey.data))];
    if survey.zeros > 0 {
        parts.push(format!("{} of zeros", size(survey.zeros)));
    }
    let mut text = format!("{}, over what is there", parts.join(" and "));
    if let Some(grown) = survey.grows_to {
        text.push_str(&format!("; its disk grows to {}", size(grown)));
    }
    text
}

/// Everybody else who reads the base: refused, kept intact or broken, as was asked. Returns those to
/// be kept intact.
fn judge_dependants(
    plan: &mut Plan,
    forest: &Forest,
    pair: &Pair<'_>,
    survey: &Survey,
    layer: CommittedLayer,
    siblings: Siblings,
) -> Vec<Dependant> {
    let losers: Vec<&Dependant> = survey.dependants.iter().filter(|d| d.loses > 0).collect();
    let safe: Vec<String> = survey
        .dependants
        .iter()
        .filter(|d| d.loses == 0)
        .map(|d| d.what.clone())
        .collect();
    if !safe.is_empty() {
        plan.keeps
            .push(format!("{}: nothing they read changes", listed(&safe, 5)));
    }
    if survey.is_merged {
        plan.note(format!(
            "{} shows all that {} holds already: this finishes a commit that was interrupted",
            name(&pair.base.path),
            name(&pair.overlay.path)
        ));
        return Vec::new();
    }
    let others = survey.dependants.iter().any(Dependant::is_image);
    if losers.is_empty() && !(others && siblings == Siblings::Refuse) {
        return Vec::new();
    }
    let concerned: Vec<&Dependant> = if losers.is_empty() {
        survey.dependants.iter().filter(|d| d.is_image()).collect()
    } else {
        losers.clone()
    };
    let names: Vec<String> = concerned.iter().map(|d| d.what.clone()).collect();
    let total: u64 = losers.iter().map(|dependant| dependant.loses).sum();
    let broken = |plan: &mut Plan| {
        for loser in &losers {
            plan.effect(
                EffectKind::Breaks,
                &loser.path,
                Some(loser.loses),
                broken_text(loser),
            );
            if loser.is_image() {
                for id in forest.descendants(loser.node) {
                    if let Some(node) = forest.get(id) {
                        let text = format!("built on {}, which changes", loser.what);
                        plan.effect(EffectKind::Breaks, &node.path, None, text);
                    }
                }
            }
        }
    };
    let closed: Vec<&&Dependant> = losers
        .iter()
        .filter(|dependant| dependant.closed.is_some())
        .collect();
    match siblings {
        Siblings::Refuse => {
            broken(plan);
            let breaks = plan
                .effects
                .iter()
                .filter(|effect| effect.kind == EffectKind::Breaks)
                .count();
            let commit = |siblings| Request::Commit {
                overlay: pair.overlay.path.clone(),
                layer,
                siblings,
            };
            let mut ways_out = Vec::new();
            if closed.is_empty() {
                ways_out.push(WayOut {
                    label: format!(
                        "keep the others intact: first copies {} into them",
                        size(total)
                    ),
                    request: commit(Siblings::Preserve),
                });
            }
            if breaks > 0 {
                ways_out.push(WayOut {
                    label: format!(
                        "break them: {} would show other content from then on",
                        count(breaks, "view")
                    ),
                    request: commit(Siblings::Break),
                });
            }
            let (verb, end) = match (names.len(), losers.is_empty()) {
                (1, true) => ("is built on", ""),
                (_, true) => ("are built on", ""),
                (1, false) => ("reads", ", and would lose what this overwrites"),
                (_, false) => ("read", ", and would lose what this overwrites"),
            };
            plan.refuse_but(
                format!(
                    "{} {verb} {} as well{end}",
                    listed(&names, 5),
                    name(&pair.base.path)
                ),
                ways_out,
            );
            Vec::new()
        }
        Siblings::Break => {
            broken(plan);
            Vec::new()
        }
        Siblings::Preserve => {
            for dependant in &closed {
                let why = dependant.closed.clone().unwrap_or_default();
                plan.refuse(format!("{} cannot be kept intact: {why}", dependant.what));
            }
            for dependant in losers.iter().filter(|loser| loser.closed.is_none()) {
                if let Err(error) = locked::unlock(plan.context(), &dependant.path) {
                    let (what, why) = (&dependant.what, error.kind);
                    plan.refuse(format!("{what} cannot be kept intact: {why}"));
                }
            }
            for dependant in &losers {
                let text = format!(
                    "{}: first receives {} that it would lose",
                    dependant.role,
                    size(dependant.loses)
                );
                plan.effect(
                    EffectKind::Preserves,
                    &dependant.path,
                    Some(dependant.loses),
                    text,
                );
            }
            losers.into_iter().cloned().collect()
        }
    }
}

fn broken_text(dependant: &Dependant) -> String {
    match &dependant.closed {
        Some(why) => format!(
            "{}: reads the base, how much is not known ({why})",
            dependant.role
        ),
        None => format!(
            "{}: reads {} that this overwrites",
            dependant.role,
            size(dependant.loses)
        ),
    }
}

/// The overlay's children, who will be built on the base.
fn plan_children(
    plan: &mut Plan,
    context: &Context,
    forest: &Forest,
    pair: &Pair<'_>,
    survey: &Survey,
) -> Vec<Child> {
    let mut children = Vec::new();
    for child in pair
        .overlay
        .children
        .iter()
        .filter_map(|id| forest.get(*id))
    {
        let path = shown(&child.path);
        if child
            .facts()
            .is_some_and(|facts| !facts.unknown_features.is_empty())
        {
            plan.refuse(format!("{path} is built on the overlay and needs features that are not known here: its header cannot be changed"));
            continue;
        }
        let fits = |recorded: std::ffi::OsString| {
            let file = context
                .host
                .open(&child.path, Access::Read)
                .map_err(|error| error.to_string())?;
            image::may_relink(&child.path, Arc::clone(&file), &recorded, &pair.base_format)
                .map_err(|error| error.kind.to_string())?;
            if survey.overlay_is_shorter() {
                // It receives zeros past the end of the overlay.
                image::read_header(&child.path, &*file)
                    .and_then(|header| image::writable(&child.path, &header))
                    .and_then(|()| locked::unlock(context, &child.path))
                    .map_err(|error| error.kind.to_string())?;
            }
            Ok::<_, String>(recorded)
        };
        match leading_to(context, child, &pair.base.path, None).and_then(fits) {
            Ok(recorded) => {
                let text = format!("now built on {}: its header only", printable(&recorded));
                plan.effect(EffectKind::Relinks, &child.path, None, text);
                children.push(Child {
                    path: child.path.clone(),
                    recorded,
                });
            }
            Err(why) => plan.refuse(format!(
                "{path} cannot be built on {}: {why}",
                shown(&pair.base.path)
            )),
        }
    }
    children
}

fn note_facts(plan: &mut Plan, pair: &Pair<'_>, survey: &Survey) {
    let forest = Arc::clone(&plan.context().forest);
    let closed: Vec<String> = forest
        .nodes()
        .filter(|node| matches!(node.content, Content::Unreadable(_)))
        .map(|node| shown(&node.path))
        .collect();
    if !closed.is_empty() {
        plan.warn(format!(
            "{} cannot be read: whether {} built on {} is not known",
            listed(&closed, 5),
            if closed.len() == 1 {
                "it is"
            } else {
                "they are"
            },
            name(&pair.base.path)
        ));
    }
    let base = name(&pair.base.path);
    if let Some(facts) = pair.base.facts() {
        if facts.snapshots > 0 {
            let number = usize::try_from(facts.snapshots).unwrap_or(usize::MAX);
            plan.keeps.push(format!(
                "{} of {base}: {} its own copies",
                count(number, "internal snapshot"),
                if number == 1 {
                    "it keeps"
                } else {
                    "each keeps"
                }
            ));
        }
        if facts.bitmaps > 0 {
            plan.warn(format!("the dirty bitmaps of {base} that record writes will be marked as in use, which makes QEMU ignore them: backups start over"));
        }
    }
    let is_encrypted = |node: &Node| node.facts().is_some_and(|facts| facts.encryption.is_some());
    if survey.data > 0 && is_encrypted(pair.overlay) && !is_encrypted(pair.base) {
        plan.warn(format!(
            "{base} is not encrypted: what {} holds will lie there for everybody to read",
            name(&pair.overlay.path)
        ));
    }
    if survey.overlay_is_shorter() {
        plan.warn(format!(
            "{} is shorter than {base} ({} and {}): {base} keeps its length, and its end shows again",
            name(&pair.overlay.path),
            size(survey.overlay_size),
            size(survey.base_size)
        ));
    }
    if survey.data + survey.zeros == 0 {
        plan.note(format!(
            "{} holds nothing of its own: nothing is copied",
            name(&pair.overlay.path)
        ));
    }
}

/// Everything written, and what lies below the base.
fn members_of(
    context: &Context,
    forest: &Forest,
    pair: &Pair<'_>,
    kept: &[Dependant],
    children: &[Child],
) -> Members {
    let host = context.host.as_ref();
    let mut members = Members::default();
    members.write(host, &pair.overlay.path, &Format::Qcow2);
    members.write(host, &pair.base.path, &pair.base_format);
    let others = kept.iter().map(|dependant| &dependant.path);
    for path in others.chain(children.iter().map(|child| &child.path)) {
        members.write(host, path, &Format::Qcow2);
    }
    let below = forest.chain(pair.base.id).into_iter().skip(1);
    for node in below.filter_map(|id| forest.get(id)) {
        members.read(host, &node.path, &format_of(node));
    }
    members
}

/// The same with qemu-img, where qemu-img can do it.
fn list_commands(plan: &mut Plan, pair: &Pair<'_>, layer: CommittedLayer, children: &[Child]) {
    let overlay = pair.overlay.path.as_os_str();
    let mut words: Vec<&std::ffi::OsStr> = vec!["qemu-img".as_ref(), "commit".as_ref()];
    if layer == CommittedLayer::Trash {
        words.push("-d".as_ref());
    }
    words.push(overlay);
    plan.commands.push(command(&words));
    let format = pair.base_format.name().to_owned();
    for child in children {
        plan.commands.push(command(&[
            "qemu-img".as_ref(),
            "rebase".as_ref(),
            "-u".as_ref(),
            "-F".as_ref(),
            format.as_ref(),
            "-b".as_ref(),
            child.recorded.as_os_str(),
            child.path.as_os_str(),
        ]));
    }
}
