//! Commit: a layer, or a run of layers, is merged down into an image below it. Planned here; which
//! layers these are is found in `run`, who would lose what in `analysis`, what becomes of them is decided in
//! `others`, and the merge itself is in `merge`.

pub(super) mod active;
mod analysis;
pub(super) mod live;
mod merge;
mod others;
pub(super) mod request;
mod run;
mod uncommit;
mod while_running;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use crate::forest::{Node, NodeId};
use crate::image::{self, CreateOptions, Format, Views};
use crate::units::{count, size};

use super::Relinked;
use super::framework::definition_change::successor;
use super::framework::eligibility::{
    format_of, is_readable, refuse_as_data_file, refuse_foreign_data, refuse_unfit, warn_of_unread,
};
use super::framework::files_to_lock::FilesToLock;
use super::framework::format::{command, listed, name, shown};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Left, Way};
use super::framework::request::Name;
use super::framework::secrecy::warn_of_plain_copies;
use super::framework::{backing_name, device, new_file, readers, resolve, space, unlock};
use super::{
    BackingStyle, CommandLine, Commit, CommittedLayer, Context, EffectKind, GuestFate, Note,
    NoteKind, Plan, RefusalKind, Remedy, Request, Siblings, Undo, WayOut, trash,
};
use analysis::{Analysis, Dependant};
use merge::{Child, CommitJob, KeepOld, MergedFile, PreservedImage};
use others::{judge_dependants, plan_children};
use run::{CommitRange, find_run};

impl Operation for Commit {
    fn name(&self) -> &'static str {
        "commit"
    }

    fn verb(&self) -> &'static str {
        "Commit"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.overlay));
        if let Some(path) = &mut self.into {
            visit(Name::Path(path));
        }
        if let Some(path) = &mut self.keep_old {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.overlay]
    }

    fn command_line(&self) -> Option<CommandLine> {
        let siblings = match self.siblings {
            Siblings::Refuse => None,
            Siblings::Preserve => Some("preserve"),
            Siblings::Break => Some("break"),
        };
        Some(
            CommandLine::new(&["commit"])
                .path(&self.overlay)
                .option_path("--into", self.into.as_ref())
                .flag("--keep", self.layer == CommittedLayer::Keep)
                .option("--siblings", siblings)
                .option_path("--keep-old", self.keep_old.as_ref()),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_commit(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let overlay = &self.overlay;
        if half.is_there(overlay) {
            return Way::Ask(self.clone().into());
        }
        if !half.is_in_trash(overlay) {
            return Way::Impossible(format!(
                "{} is neither at its place nor in the trash: how far it came cannot be told",
                shown(overlay)
            ));
        }
        // The uppermost goes first, and not before all of it is merged.
        match half.left() {
            Left::Some(images) => Way::Ask(Request::discard(images)),
            Left::All | Left::None => Way::Nothing(format!(
                "it was merged, and {} is in the trash",
                name(overlay)
            )),
        }
    }

    fn can_roll_back(&self) -> bool {
        self.keep_old.is_some()
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        if let Some(way) = half.planned_way_back() {
            return way;
        }
        match &self.keep_old {
            Some(old) => commit_back(half, old),
            None => Way::Impossible(format!(
                "what a commit overwrites is not kept, unless that was asked for. {} shows what it \
         showed, and the commit can be finished",
                name(&self.overlay)
            )),
        }
    }
}

/// The overlay that keeps the old content of the base is committed into it again.
fn commit_back(half: &Half<'_>, old: &Path) -> Way {
    let Ok(node) = resolve::named(half.context, old) else {
        return Way::Nothing(format!(
            "{} was not created yet, and nothing is overwritten before it is",
            shown(old)
        ));
    };
    let forest = half.context.forest.as_ref();
    let base = node.parent.and_then(|id| forest.get(id));
    let grown = base.is_some_and(|base| base.virtual_size() > node.virtual_size());
    if grown {
        return Way::Impossible(format!(
            "what was built on has grown, and stays as long as it became; {} shows its old content",
            shown(old)
        ));
    }
    let back = Request::Commit(Commit {
        overlay: old.to_path_buf(),
        into: None,
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: None,
    });
    let gone = half.batches(&half.entry.goes, Some("commit"));
    match gone.first() {
        None => Way::Ask(back),
        Some(batch) => Way::But(
            back,
            Note::new(
                NoteKind::Interrupted,
                "it was merged as a whole: the layers are in the trash",
            )
            .helped_by(vec![Remedy::restore(batch)]),
        ),
    }
}

/// Plans to merge layers into an image below them.
fn plan_commit(plan: &mut Plan, request: &Commit) {
    if let Some(commit) = plan_sparing(plan, request, &HashSet::new()) {
        plan.job = Some(Arc::new(commit));
    }
}

/// The same where these images are not asked about: they show the same whichever content the base has.
fn plan_sparing(plan: &mut Plan, request: &Commit, spared: &HashSet<NodeId>) -> Option<CommitJob> {
    let context = plan.context().clone();
    let forest = Arc::clone(&context.forest);
    plan.title = format!("Commit {}", name(&request.overlay));
    let run = find_run(plan, &context, &request.overlay, request.into.as_deref())?;
    let request = &leave_devices(plan, &run, request);
    let (top, base) = (run.top(), run.base);
    let between = match run.layers.len() {
        0 | 1 => String::new(),
        n => format!(" and {} below it", count(n - 1, "layer")),
    };
    plan.title = format!(
        "Commit {}{between} into {}",
        name(&top.path),
        name(&base.path)
    );
    if request.layer == CommittedLayer::Keep && run.layers.len() > 1 {
        // Between two of its steps it would leave a layer that shows a mixture.
        plan.refuse_but(
            RefusalKind::Invalid,
            format!(
                "{} can only be kept where no layer lies between it and {}",
                shown(&top.path),
                name(&base.path)
            ),
            vec![WayOut {
                label: "move it to the trash with the layers between".to_owned(),
                request: Request::Commit(Commit {
                    overlay: top.path.clone(),
                    into: request.into.clone(),
                    layer: CommittedLayer::Trash,
                    siblings: request.siblings,
                    keep_old: request.keep_old.clone(),
                }),
            }],
        );
    }
    refuse_unfit(plan, top, "committed");
    refuse_unfit(plan, base, "committed into");
    for layer in run.layers.iter().skip(1) {
        is_readable(plan, layer);
    }
    let read = run.layers.iter().chain([&base]);
    let concerned = read.flat_map(|node| node.children.iter().copied());
    refuse_foreign_data(plan, concerned.chain(forest.chain(top.id)));
    // Before anything is read of them.
    for node in run.layers.iter().chain([&base]) {
        readers::refuse(plan, &forest, node, "changed", &BTreeSet::new());
    }
    if !plan.refusals.is_empty() {
        return None;
    }
    // Everything that is read or written is opened before anything is planned on it.
    if let Err(error) = unlock::unlock_chain(&context, top.id) {
        plan.refuse_error(&error);
        return None;
    }
    let stays = request.layer == CommittedLayer::Keep;
    let mut analysis = match Analysis::make(&context, &run, stays) {
        Ok(analysis) => analysis,
        Err(error) => {
            plan.refuse_unsaid(&error, "this commit");
            return None;
        }
    };
    analysis
        .dependants
        .retain(|dependant| !spared.contains(&dependant.node));
    if refuse_growth(plan, &run, &analysis) {
        return None;
    }
    refuse_as_data_file(plan, &forest, base, "committed into");
    plan.effect(
        EffectKind::Writes,
        &base.path,
        Some(analysis.data + analysis.zeros),
        what_is_written(&analysis),
    );
    let keep_old = match request.keep_old.as_deref() {
        None => None,
        Some(new) => Some(plan_keep_old(plan, &run, &mut analysis, new)?),
    };
    let kept = judge_dependants(plan, &run, &analysis, request);
    let children = plan_children(plan, &run, &analysis);
    say_what_goes(plan, &run, &analysis, request);
    if analysis.data + analysis.zeros > 0 {
        let fate = GuestFate::Change {
            shown_by: top.path.clone(),
            layers: run.layers.len(),
        };
        plan.concerns_files(base, fate);
    }
    plan.frees = match stays {
        true => analysis.freed,
        false => run.layers.iter().map(|layer| on_disk(layer)).sum(),
    };
    plan.copies = analysis.data + kept.iter().map(|dependant| dependant.loses).sum::<u64>();
    if keep_old.as_ref().is_some_and(|old| !old.is_there) {
        plan.copies += analysis.old.certain;
    }
    note_info(plan, &run, &analysis);
    say_of_secrecy(plan, &run, &kept, keep_old.as_ref());
    let files_to_lock = files_to_lock(&context, &run, &kept, &children);
    files_to_lock.secure(plan);
    require_unchanged(plan, &analysis, &kept);
    if run.base_format == Format::Qcow2 {
        space::need_growth(plan, &base.path, analysis.new_in_base);
    } else {
        // What a raw disk's guest wrote into its first sector says nothing of where its bytes lie.
        space::need_at(plan, &base.path, analysis.new_in_base.total());
    }
    if stays {
        space::need_growth(plan, &top.path, analysis.emptied);
    }
    for dependant in &kept {
        space::need_growth(plan, &dependant.path, dependant.growth);
    }
    let undo = say_undo(plan, &run, &analysis, keep_old.as_ref(), request.layer);
    let were = were(plan, &children);
    list_commands(plan, &run, request, &children, &kept);
    let member = |node: &Node, format: &Format| MergedFile {
        path: node.path.clone(),
        format: format.clone(),
        bytes: on_disk(node),
    };
    Some(CommitJob {
        run: run
            .layers
            .iter()
            .map(|layer| member(layer, &Format::Qcow2))
            .collect(),
        base: member(base, &run.base_format),
        files_to_lock,
        children,
        kept: by_file(&kept),
        keep_old,
        layer: request.layer,
        bytes: plan.copies,
        undo,
        were,
        keys: context.keys.clone(),
    })
}

/// Refuses a base that would have to grow and cannot; says whether it has.
fn refuse_growth(plan: &mut Plan, run: &CommitRange<'_>, analysis: &Analysis) -> bool {
    let (top, base) = (run.top(), run.base);
    if run.base_format != Format::Qcow2
        && let Some(grown) = analysis.grows_to
        && let Some(stat) = device::stat_of(plan.host(), &base.path)
    {
        plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{} is longer than {}, which is a raw block device of {}: {}",
                name(&top.path),
                shown(&base.path),
                size(stat.len),
                device::extend_line(&stat, grown - analysis.base_size)
            ),
        );
        return true;
    }
    if let Some(why) = &analysis.cannot_grow {
        plan.refuse(
            RefusalKind::of(&why.kind),
            format!(
                "{} is longer than {}, which {}",
                name(&top.path),
                name(&base.path),
                why.kind
            ),
        );
        return true;
    }
    false
}

/// What the children's headers say now.
fn were(plan: &Plan, children: &[Child]) -> Vec<Relinked> {
    let forest = &plan.context().forest;
    let of = |child: &Child| {
        let node = forest.by_path(&child.path)?;
        let backing = node.backing.as_ref()?;
        let below = node.parent.and_then(|id| forest.get(id));
        Some(Relinked {
            image: child.path.clone(),
            recorded: backing.name().to_os_string(),
            format: backing.format().cloned().or_else(|| below?.format())?,
        })
    };
    children.iter().filter_map(of).collect()
}

/// A layer on a block device cannot go to the trash: it stays, emptied, until the person removes the device.
fn leave_devices(plan: &mut Plan, run: &CommitRange<'_>, request: &Commit) -> Commit {
    if request.layer == CommittedLayer::Keep {
        return request.clone();
    }
    let Some(layer) = run.layers.iter().find(|layer| device::is_device(layer)) else {
        return request.clone();
    };
    let path = shown(&layer.path);
    if run.layers.len() > 1 {
        // What lies between would show a mixture, and stays where it is.
        plan.refuse_but(RefusalKind::Unsupported,
            format!(
                "{path} is a block device, which cannot go to the trash with the other layers: commit them one by one"
            ),
            vec![WayOut {
                label: format!("commit {} by one layer only", name(&run.top().path)),
                request: Request::Commit(Commit {
                    overlay: run.top().path.clone(),
                    into: None,
                    layer: CommittedLayer::Keep,
                    siblings: request.siblings,
                    keep_old: request.keep_old.clone(),
                }),
            }],
        );
        return request.clone();
    }
    if let Some(stat) = layer.stat.as_ref() {
        plan.note(NoteKind::Device, format!(
            "{path} is a block device, which cannot go to the trash: it stays as an empty layer. Once nothing needs \
             it, remove it {}",
            device::remove_line(stat)
        ));
    }
    Commit {
        layer: CommittedLayer::Keep,
        ..request.clone()
    }
}

fn on_disk(node: &Node) -> u64 {
    node.size_on_disk().unwrap_or(0)
}

/// Each image once.
fn by_file(kept: &[Dependant]) -> Vec<PreservedImage> {
    let mut files: Vec<PreservedImage> = Vec::new();
    for dependant in kept {
        match files.iter_mut().find(|file| file.path == dependant.path) {
            Some(file) if dependant.is_image() => file.views = Views::All,
            Some(_) => {}
            None => files.push(PreservedImage {
                path: dependant.path.clone(),
                views: dependant.views(),
                on: dependant.on,
            }),
        }
    }
    files
}

/// Plans the overlay that shows what the base shows now.
fn plan_keep_old(
    plan: &mut Plan,
    run: &CommitRange<'_>,
    analysis: &mut Analysis,
    new: &Path,
) -> Option<KeepOld> {
    let base = name(&run.base.path);
    let recorded = backing_name::leading(plan.host(), new, &run.base.path, BackingStyle::default());
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(sentence) => {
            plan.refuse(RefusalKind::BackingName, sentence);
            return None;
        }
    };
    let options = CreateOptions {
        backing: Some((recorded, run.base_format.clone())),
        ..CreateOptions::new(analysis.base_size)
    };
    let keep_old = |is_there| KeepOld {
        path: new.to_path_buf(),
        options: options.clone(),
        is_there,
    };
    // What a commit that was cut off has made holds all that is overwritten, and is left as it is.
    let there = resolve::named(plan.context(), new).ok().map(|node| node.id);
    let mut own = analysis
        .dependants
        .iter()
        .filter(|dependant| Some(dependant.node) == there);
    if own.clone().next().is_some() && own.all(|d| d.loses == 0 && d.is_image() && !d.moves) {
        analysis
            .dependants
            .retain(|dependant| Some(dependant.node) != there);
        plan.note(NoteKind::Interrupted, format!(
            "{} holds what this overwrites already: it is taken for what a commit that was interrupted has \
             put aside",
            name(new)
        ));
        return Some(keep_old(true));
    }
    if analysis.is_merged {
        plan.warn(NoteKind::Interrupted, format!(
            "{base} shows all that {} holds already, so {} will show that too: what a commit that was \
             interrupted has overwritten is not in it",
            name(&run.top().path),
            name(new)
        ));
    }
    let bytes = analysis.old.certain;
    let empty = match image::new_len(new, &options) {
        Ok(len) => len.image_blocks,
        Err(error) => {
            plan.refuse(
                RefusalKind::Invalid,
                format!("{} {}", name(new), error.kind),
            );
            return None;
        }
    };
    let needed = empty.saturating_add(analysis.old.growth.total());
    new_file::check(plan, new, needed)?;
    plan.effect(
        EffectKind::Creates,
        new,
        Some(bytes),
        format!(
            "shows what {base} shows now: built on it, and holds the {} that this overwrites",
            size(bytes)
        ),
    );
    plan.counterpart(&run.base.path);
    Some(keep_old(false))
}

/// What becomes of the merged layers.
fn say_what_goes(plan: &mut Plan, run: &CommitRange<'_>, analysis: &Analysis, request: &Commit) {
    let base = name(&run.base.path);
    if request.layer == CommittedLayer::Trash {
        for layer in &run.layers {
            trash::refuse_foreign(plan, &layer.path);
            plan.effect(
                EffectKind::Trashes,
                &layer.path,
                layer.size_on_disk(),
                format!("{}, its content is in {base} then", size(on_disk(layer))),
            );
        }
        let forest = Arc::clone(&plan.context().forest);
        let goes = |id: &NodeId| run.layers.iter().any(|layer| layer.id == *id);
        // A machine would write it under whatever else is built on it.
        let is_free = run.top().children.is_empty()
            && run
                .base
                .children
                .iter()
                .all(|child| goes(child) || forest.get(*child).is_some_and(Node::is_in_trash));
        if is_free && request.keep_old.is_none() {
            let format = run.base_format.name().to_owned();
            plan.succeeds(successor(&run.top().path, &run.base.path, Some(format)));
        }
        return;
    }
    let top = run.top();
    let text = format!("stays as an empty layer on {base}");
    plan.effect(EffectKind::Empties, &top.path, Some(analysis.freed), text);
    if !top.children.is_empty() {
        plan.keeps.push(format!(
            "the images built on {}: they read through it",
            name(&top.path)
        ));
    }
}

/// Whether and how it can be taken back.
fn say_undo(
    plan: &mut Plan,
    run: &CommitRange<'_>,
    analysis: &Analysis,
    keep_old: Option<&KeepOld>,
    layer: CommittedLayer,
) -> Option<Request> {
    let base = name(&run.base.path);
    let Some(old) = keep_old else {
        plan.undo = Undo::Impossible(format!("the old content of {base} is overwritten"));
        return None;
    };
    if analysis.grows_to.is_some() {
        plan.undo = Undo::Impossible(format!(
            "{} shows the old content of {base}, but {base} stays as long as it becomes",
            name(&old.path)
        ));
        return None;
    }
    plan.undo = Undo::Possible(match layer {
        CommittedLayer::Keep => format!(
            "commit {} into {base}, keeping the others intact",
            name(&old.path)
        ),
        CommittedLayer::Trash => format!(
            "the layers come back from the trash, and {base} gets its old content from {}",
            name(&old.path)
        ),
    });
    Some(Request::Commit(Commit {
        overlay: old.path.clone(),
        into: None,
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: None,
    }))
}

fn what_is_written(analysis: &Analysis) -> String {
    let mut parts = vec![format!("{} of data", size(analysis.data))];
    if analysis.zeros > 0 {
        parts.push(format!("{} of zeros", size(analysis.zeros)));
    }
    let mut text = format!("{}, over what is there", parts.join(" and "));
    if let Some(grown) = analysis.grows_to {
        text.push_str(&format!("; its disk grows to {}", size(grown)));
    }
    text
}

fn note_info(plan: &mut Plan, run: &CommitRange<'_>, analysis: &Analysis) {
    warn_of_unread(plan, &run.base.path);
    let base = name(&run.base.path);
    if let Some(info) = run.base.info() {
        if info.snapshots > 0 {
            let number = usize::try_from(info.snapshots).unwrap_or(usize::MAX);
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
        if info.bitmaps > 0 {
            plan.warn(NoteKind::Bitmaps, format!("the dirty bitmaps of {base} that record writes will be marked as in use, which makes QEMU ignore them: backups start over"));
        }
    }
    if analysis.data > 0 && !run.base.is_encrypted() {
        let layers = run.layers.iter().copied();
        warn_of_plain_copies(plan, layers, std::slice::from_ref(&base));
    }
    if analysis.overlay_is_shorter() {
        plan.warn(NoteKind::Size, format!(
            "{} is shorter than {base} ({} and {}): {base} keeps its length, and its end shows again",
            name(&run.top().path),
            size(analysis.overlay_size),
            size(analysis.base_size)
        ));
    }
    if analysis.data + analysis.zeros == 0 {
        plan.note(
            NoteKind::Manner,
            format!(
                "{} holds nothing of its own: nothing is copied",
                name(&run.top().path)
            ),
        );
    }
}

/// Says which images besides the base receive what was encrypted, and are not.
fn say_of_secrecy(
    plan: &mut Plan,
    run: &CommitRange<'_>,
    kept: &[Dependant],
    keep_old: Option<&KeepOld>,
) {
    let forest = Arc::clone(&plan.context().forest);
    let receives = |dependant: &&Dependant| {
        let node = forest.get(dependant.node);
        dependant.loses > 0 && node.is_some_and(|node| !node.is_encrypted())
    };
    let others = kept.iter().filter(receives).map(|kept| name(&kept.path));
    let mut open: Vec<String> = others.collect();
    open.extend(
        keep_old
            .filter(|old| !old.is_there)
            .map(|old| name(&old.path)),
    );
    open.dedup();
    let layers = run.layers.iter().copied();
    warn_of_plain_copies(plan, layers.chain([run.base]), &open);
}

/// Whoever is left alone since nothing it reads changes has to be as it was when that was found out.
fn require_unchanged(plan: &mut Plan, analysis: &Analysis, kept: &[Dependant]) {
    for dependant in &analysis.dependants {
        if kept.iter().any(|other| other.path == dependant.path) {
            continue;
        }
        if let Err(unseen) = plan.remember(&dependant.path, Compare::Content) {
            plan.warn(NoteKind::Unseen, unseen.text);
        }
    }
}

/// Everything written, and what lies below the base.
fn files_to_lock(
    context: &Context,
    run: &CommitRange<'_>,
    kept: &[Dependant],
    children: &[Child],
) -> FilesToLock {
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let mut files_to_lock = FilesToLock::default();
    for layer in &run.layers {
        files_to_lock.write(host, &layer.path, &Format::Qcow2);
    }
    files_to_lock.write(host, &run.base.path, &run.base_format);
    let others = kept.iter().map(|dependant| &dependant.path);
    for path in others.chain(children.iter().map(|child| &child.path)) {
        files_to_lock.write(host, path, &Format::Qcow2);
    }
    let below = forest.chain(run.base.id).into_iter().skip(1);
    for node in below.filter_map(|id| forest.get(id)) {
        files_to_lock.read(host, &node.path, &format_of(node));
    }
    files_to_lock
}

/// The same with qemu-img, where qemu-img can do it.
fn list_commands(
    plan: &mut Plan,
    run: &CommitRange<'_>,
    request: &Commit,
    children: &[Child],
    kept: &[Dependant],
) {
    if !kept.is_empty() {
        let mut names: Vec<String> = kept.iter().map(|kept| kept.what.clone()).collect();
        names.dedup();
        return plan.beyond_qemu_img(&format!(
            "`qemu-img commit` would change what {} show{}",
            listed(&names, 5),
            if names.len() == 1 { "s" } else { "" }
        ));
    }
    if request.keep_old.is_some() {
        return plan.beyond_qemu_img(&format!(
            "`qemu-img commit` would overwrite the old content of {}, and nothing would show it any more",
            name(&run.base.path)
        ));
    }
    let layer = request.layer;
    let mut words: Vec<OsString> = vec!["qemu-img".into(), "commit".into()];
    if run.layers.len() > 1 {
        words.extend(["-b".into(), run.base.path.clone().into()]);
    } else if layer == CommittedLayer::Trash {
        words.push("-d".into());
    }
    words.push(run.top().path.clone().into());
    plan.commands.push(command(&words));
    for child in children {
        let words: [OsString; 8] = [
            "qemu-img".into(),
            "rebase".into(),
            "-u".into(),
            "-F".into(),
            run.base_format.name().into(),
            "-b".into(),
            child.recorded.clone(),
            child.path.clone().into(),
        ];
        plan.commands.push(command(&words));
    }
}
