//! Convert: what one image shows, or several in a row, as a new image of another kind. The sources are
//! only read. What goes into an image that is there is planned in `into`.

mod into;
mod manner;
mod qemu_line;
pub(super) mod request;
mod source;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::printable_bytes;
use crate::image;
use crate::image::{
    AllocationEstimate, BitmapFlags, CarriedBitmaps, ConvertFrom, ConvertTo, Format, Layer,
    Preallocation,
};
use crate::qcow2::Version;
use crate::units::size;

use super::branch::not_created;
use super::framework::definition_change::successor;
use super::framework::format::{listed, name, shown};
use super::framework::locked_host::{LockedHost, files_of, has_secrets};
use super::framework::locks::Locking;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{backing_format, backing_name, new_file, new_image, resolve};
use super::{
    CommandLine, Convert, ConvertForm, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan,
    Progress, RefusalKind, Request, Undo, WayOut,
};
use manner::Manner;
use qemu_line::qemu_line;
use source::{Source, find_source, look_at_sources};

impl Operation for Convert {
    fn name(&self) -> &'static str {
        "convert"
    }

    fn verb(&self) -> &'static str {
        "Convert"
    }

    fn nature(&self) -> Nature<'_> {
        match self.form {
            ConvertForm::Existing => Nature::Changes,
            ConvertForm::Raw { .. } | ConvertForm::Qcow2 { .. } => Nature::CreatesImage(&self.new),
        }
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        for source in &mut self.sources {
            visit(Name::Path(source));
        }
        visit(Name::Path(&mut self.new));
        if let Some(backing) = &mut self.backing {
            visit(Name::Path(backing));
        }
        if let ConvertForm::Qcow2 { image, .. } = &mut self.form {
            image.each_name(visit);
        }
    }

    fn copies(&self) -> Vec<&Path> {
        self.sources.iter().map(PathBuf::as_path).collect()
    }

    fn command_line(&self) -> Option<CommandLine> {
        self.line()
    }

    fn plan(&self, plan: &mut Plan) {
        plan_conversion(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        match self.form {
            ConvertForm::Existing => Way::But(
                self.clone().into(),
                Note::new(
                    NoteKind::Interrupted,
                    format!(
                        "how much of {} has its new content cannot be told: all of it is written once more",
                        name(&self.new)
                    ),
                ),
            ),
            ConvertForm::Raw { .. } | ConvertForm::Qcow2 { .. } => half.finish_making(self.clone()),
        }
    }

    fn can_roll_back(&self) -> bool {
        self.nature().makes_files()
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        match self.form {
            ConvertForm::Existing => half.as_planned(),
            ConvertForm::Raw { .. } | ConvertForm::Qcow2 { .. } => half.unmake(),
        }
    }
}

/// Plans a conversion.
fn plan_conversion(plan: &mut Plan, request: &Convert) {
    let new = request.new.as_path();
    let names: Vec<String> = request.sources.iter().map(|path| name(path)).collect();
    plan.title = format!("Convert {} to {}", listed(&names, 3), name(new));
    if request.sources.is_empty() {
        return plan.refuse(RefusalKind::Invalid, "no image to convert is named");
    }
    if request.sources.len() > 1 && (request.snapshot.is_some() || request.backing.is_some()) {
        return plan.refuse(
            RefusalKind::Invalid,
            "a snapshot or a backing file goes with one source only, not with several in a row",
        );
    }
    refuse_contradictions(plan, request);
    let mut sources = Vec::new();
    for path in &request.sources {
        match find_source(plan, path, request) {
            Some(source) => sources.push(source),
            None => return,
        }
    }
    if !plan.refusals.is_empty() {
        return;
    }
    let context = plan.context().clone();
    // What the tables tell is counted by itself: what cannot be read is found out by reading.
    let seen = Manner::of(request);
    let mut from = match seen.open(&sources, context.host.as_ref(), &context.keys) {
        Ok(from) => from,
        Err(error) => return plan.refuse_error(&error),
    };
    let manner = Manner::of(request);
    plan.unread.clone_from(&manner.lost);
    if request.form == ConvertForm::Existing {
        into::plan(plan, request, sources, &from, manner);
        return seen.say(plan, request);
    }
    let disk = new_file::whole_sectors(plan, from.virtual_size());
    let backing = match &request.backing {
        None => None,
        Some(base) => match kept(plan, request, &sources, base) {
            Some((layers, recorded, format)) => {
                from.layers = Some(layers);
                Some((base.clone(), layers, recorded, format))
            }
            None => return,
        },
    };
    if request.bitmaps != CarriedBitmaps::None && !say_of_bitmaps(plan, request, &from) {
        return;
    }
    let Some((to, forecast, kind, options)) = target(plan, request, &from, disk, backing.as_ref())
    else {
        return;
    };
    look_at_sources(plan, &sources);
    plan.effect(
        EffectKind::Creates,
        new,
        Some(forecast.bytes),
        format!("a disk of {}, {kind}", size(disk)),
    );
    if let ([source], None, false) = (
        request.sources.as_slice(),
        &request.snapshot,
        request.salvage,
    ) {
        plan.counterpart(source);
    }
    if let Some(made) = &options {
        new_image::describe_data_file(plan, made);
        new_image::describe_encryption(plan, made);
    }
    plan.copies = forecast.data;
    if let ConvertForm::Qcow2 {
        compress: Some(_), ..
    } = &request.form
    {
        new_image::say_of_compression(plan, new, forecast.bytes);
    }
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    tell_successor(plan, request);
    let made = options.as_ref().map(|made| &made.options);
    if let Some(line) = qemu_line(
        request,
        &sources,
        made,
        backing.as_ref().map(|b| (b.1, &b.2, &b.3)),
    ) {
        plan.commands.push(line);
    }
    seen.say(plan, request);
    plan.job = Some(Arc::new(ConvertJob {
        sources,
        manner,
        layers: from.layers,
        new: new.to_path_buf(),
        to,
        data: forecast.data,
    }));
}

/// What cannot be had together, whatever the sources.
fn refuse_contradictions(plan: &mut Plan, request: &Convert) {
    if request.bitmaps != CarriedBitmaps::None {
        if request.sources.len() > 1 {
            plan.refuse(
                RefusalKind::Invalid,
                "bitmaps are taken along from one source only, not from several in a row",
            );
        }
        if request.snapshot.is_some() {
            plan.refuse(RefusalKind::Invalid,
                "dirty bitmaps tell of what an image shows now, and would be wrong for what a snapshot of it \
                 shows",
            );
        }
        match &request.form {
            ConvertForm::Raw { .. } => {
                plan.refuse(RefusalKind::Unsupported, "a raw image has no dirty bitmaps")
            }
            ConvertForm::Existing => {
                plan.refuse(
                    RefusalKind::Invalid,
                    "dirty bitmaps are taken along into new images only",
                );
            }
            ConvertForm::Qcow2 { image, .. } if image.format.old_version => {
                plan.refuse(
                    RefusalKind::Unsupported,
                    "an image with compat 0.10 has no dirty bitmaps",
                );
            }
            ConvertForm::Qcow2 { .. } => {}
        }
    }
    match &request.form {
        ConvertForm::Existing => {
            if request.backing.is_some() {
                plan.refuse(RefusalKind::Invalid,
                    "an image that is there stays built on what it is built on: rebase it afterwards",
                );
            }
        }
        ConvertForm::Raw { preallocation } => {
            if request.backing.is_some() {
                plan.refuse(RefusalKind::Unsupported, "a raw image has no backing file");
            }
            new_image::refuse_metadata_of_raw(plan, *preallocation);
        }
        ConvertForm::Qcow2 { image, compress } => {
            let Some(level) = compress else { return };
            if image.format.preallocation != Preallocation::Off {
                plan.refuse(
                    RefusalKind::Invalid,
                    "compressed clusters have no place in advance: compress, or preallocate",
                );
            }
            if image.data_file.is_some() {
                plan.refuse(
                    RefusalKind::Unsupported,
                    "an image with a data file has no compressed clusters",
                );
            }
            if image.encryption.is_some() {
                plan.refuse(
                    RefusalKind::Invalid,
                    "compressed clusters are not encrypted: compress, or encrypt",
                );
            }
            new_image::refuse_level(plan, image.format.compression, *level);
        }
    }
}

/// How many layers of the source are copied for the rest to be left to `base`, and how that is
/// recorded. Only what the source itself is built on shows the right bytes.
fn kept(
    plan: &mut Plan,
    request: &Convert,
    sources: &[Source],
    base: &Path,
) -> Option<(usize, OsString, Format)> {
    let context = plan.context().clone();
    let source = sources.first()?;
    let node = match resolve::named(&context, base) {
        Ok(node) => node,
        Err(sentence) => {
            plan.refuse_for(sentence);
            return None;
        }
    };
    let is_base = |path: &PathBuf| {
        context
            .forest
            .by_path(path)
            .is_some_and(|below| below.id == node.id)
    };
    let Some(index) = source.below.iter().position(is_base) else {
        plan.refuse(RefusalKind::NotInChain, format!(
            "{} is not built on {}: an image that shows the same can leave nothing to it. Convert without a \
             backing file, or name one that {} is built on",
            shown(&source.path),
            shown(base),
            name(&source.path)
        ));
        return None;
    };
    let above = source.files().nth(index);
    let above = above.and_then(|path| resolve::named(&context, path).ok())?;
    let format = backing_format::recorded(plan, above, node)?;
    match backing_name::leading(plan.host(), &request.new, base, request.style) {
        Ok(name) => Some((index + 1, name, format)),
        Err(sentence) => {
            plan.refuse(RefusalKind::BackingName, sentence);
            None
        }
    }
}

/// What a conversion writes.
struct Forecast {
    /// Bytes of data read.
    data: u64,
    /// Bytes of the new file, at most.
    bytes: u64,
}

type KeptBacking = (PathBuf, usize, OsString, Format);

/// The target, what it takes, and what to say of it; a qcow2 image also as it was checked.
fn target(
    plan: &mut Plan,
    request: &Convert,
    from: &ConvertFrom,
    disk: u64,
    backing: Option<&KeptBacking>,
) -> Option<(ConvertTo, Forecast, String, Option<new_image::NewImage>)> {
    let new = request.new.as_path();
    let counted = |plan: &mut Plan, estimate: AllocationEstimate| match from.forecast(estimate) {
        Ok(counted) => Some(counted),
        Err(error) => {
            plan.refuse_error(&error);
            None
        }
    };
    match &request.form {
        ConvertForm::Existing => None,
        ConvertForm::Raw { preallocation } => {
            let counted = counted(plan, AllocationEstimate::raw())?;
            let bytes = match preallocation {
                Preallocation::Off | Preallocation::Metadata => counted.growth.total(),
                Preallocation::Falloc | Preallocation::Full => disk,
            };
            new_file::check(plan, new, bytes)?;
            let to = ConvertTo::Raw {
                preallocation: *preallocation,
            };
            let data = counted.data;
            Some((to, Forecast { data, bytes }, "raw".to_owned(), None))
        }
        ConvertForm::Qcow2 { image, compress } => {
            let recorded = backing.map(|(_, _, name, format)| (name.clone(), format.clone()));
            let format = &image.format;
            let estimate = match AllocationEstimate::in_new(format) {
                Ok(estimate) => estimate,
                Err(error) => {
                    plan.refuse(RefusalKind::Invalid, error.to_string());
                    return None;
                }
            };
            let counted = counted(plan, estimate)?;
            let content = counted.growth.total();
            let bitmaps = match (request.bitmaps, from.sources.first(), format.geometry()) {
                (CarriedBitmaps::All | CarriedBitmaps::Sound, Some(source), Ok(geometry)) => {
                    match image::bytes_of_bitmaps(source, geometry) {
                        Ok(bytes) => bytes.unwrap_or(0),
                        Err(error) => {
                            plan.refuse_error(&error);
                            return None;
                        }
                    }
                }
                _ => 0,
            };
            // How far data can be compressed is not known before.
            let asked = if compress.is_some() { 0 } else { content };
            let asked = asked.saturating_add(bitmaps);
            let made = new_image::check(plan, new, disk, recorded, image, asked)?;
            let content = match format.preallocation {
                Preallocation::Falloc | Preallocation::Full => 0,
                _ => content,
            };
            let blocks = made.len.image_blocks.saturating_add(content);
            let bytes = blocks.saturating_add(bitmaps);
            let mut kind = "qcow2".to_owned();
            if compress.is_some() {
                kind.push_str(&format!(", compressed by {}", format.compression.name()));
            }
            match backing {
                Some((base, ..)) => kind.push_str(&format!(", built on {}", name(base))),
                None => kind.push_str(", built on nothing"),
            }
            let to = ConvertTo::Qcow2 {
                options: Box::new(made.options.clone()),
                compress: *compress,
                bitmaps: request.bitmaps,
            };
            let data = counted.data;
            Some((to, Forecast { data, bytes }, kind, Some(made)))
        }
    }
}

/// Says which bitmaps come along; false if one stands in the way.
fn say_of_bitmaps(plan: &mut Plan, request: &Convert, from: &ConvertFrom) -> bool {
    let top = from
        .sources
        .first()
        .and_then(|chain| chain.layers().first());
    let image = match top.map(|layer| &**layer) {
        Some(Layer::Qcow2(image)) if image.header().version != Version::V2 => image,
        _ => {
            plan.refuse(
                RefusalKind::Unsupported,
                "only qcow2 images of version 3 have dirty bitmaps that could be taken along",
            );
            return false;
        }
    };
    let path = image.path();
    let all = match image::bitmaps(image.file(), image.header()) {
        Ok(all) => all,
        Err(error) => {
            plan.refuse_error(&error);
            return false;
        }
    };
    let (stale, sound): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|bitmap| bitmap.flags.contains(BitmapFlags::IN_USE));
    let names = |list: &[&image::Bitmap]| {
        let names: Vec<String> = list.iter().map(|b| printable_bytes(&b.name)).collect();
        listed(&names, 8)
    };
    if !stale.is_empty() && request.bitmaps == CarriedBitmaps::All {
        let text = format!(
            "{} has dirty bitmaps that are marked as in use, so that nobody knows what they would say: {}",
            shown(path),
            names(&stale)
        );
        let way_out = WayOut {
            label: "leave them behind".to_owned(),
            request: Request::Convert(Convert {
                bitmaps: CarriedBitmaps::Sound,
                ..request.clone()
            }),
        };
        plan.refuse_but(RefusalKind::WouldLose, text, vec![way_out]);
        return false;
    }
    if !sound.is_empty() {
        let text = format!("its dirty bitmaps come along: {}", names(&sound));
        plan.note(NoteKind::Bitmaps, text);
    }
    if !stale.is_empty() {
        plan.warn(
            NoteKind::Bitmaps,
            format!(
                "dirty bitmaps that are marked as in use stay behind: {}",
                names(&stale)
            ),
        );
    }
    true
}

/// A machine may have the new image in the place of the one that it shows, unless it needs a passphrase then.
fn tell_successor(plan: &mut Plan, request: &Convert) {
    let format = match &request.form {
        ConvertForm::Raw { .. } => "raw",
        ConvertForm::Qcow2 { image, .. } if image.encryption.is_none() => "qcow2",
        ConvertForm::Qcow2 { .. } | ConvertForm::Existing => return,
    };
    if let ([source], None) = (request.sources.as_slice(), &request.snapshot) {
        plan.succeeds(successor(source, &request.new, Some(format.to_owned())));
    }
}

#[derive(Debug)]
struct ConvertJob {
    sources: Vec<Source>,
    manner: Manner,
    layers: Option<usize>,
    new: PathBuf,
    to: ConvertTo,
    data: u64,
}

impl Job for ConvertJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        for source in &self.sources {
            source.files_to_lock.take(&mut locking, host)?;
        }
        let locks = locking.settle(plan)?;
        let held = LockedHost::new(host, &locks);
        progress.enter(Phase::Copy, self.data);
        self.manner
            .open(&self.sources, &held, &plan.context().keys)
            .and_then(|mut from| {
                from.layers = self.layers;
                let is_plain = match &self.to {
                    ConvertTo::Qcow2 { options, .. } => options.encryption.is_none(),
                    _ => true,
                };
                let secret = is_plain && from.sources.iter().any(has_secrets);
                let files: Vec<PathBuf> = from.sources.iter().flat_map(files_of).collect();
                let making = LockedHost::new(host, &locks).for_copies(files, secret);
                image::convert(&making, &from, &self.new, &self.to, progress)
            })
            .map_err(|error| not_created(&self.new, error))?;
        let mut touched = vec![self.new.clone()];
        if let ConvertTo::Qcow2 { options, .. } = &self.to {
            touched.extend(options.data_file.iter().map(|data| data.path.clone()));
        }
        let names: Vec<String> = self
            .sources
            .iter()
            .map(|source| shown(&source.path))
            .collect();
        Ok(Outcome {
            summary: format!("converted {} to {}", listed(&names, 3), shown(&self.new)),
            touched,
            undo: Some(Request::discard(vec![self.new.clone()])),
            remarks: self.manner.remarks(),
        })
    }
}
