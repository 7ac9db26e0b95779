//! Dirty bitmaps: added, removed, cleared, switched on and off, merged. What the image shows stays.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Content, Location, Node};
use crate::host::{Access, Host, LockSet, printable};
use crate::image::{
    self, BitmapChange, Dirty, ErrorKind, ImageFile, NewBitmap, NoProgress, ProgressSink,
};
use crate::qcow2::bitmap::BitmapFlags;
use crate::units::size;

use super::framework::eligibility::refuse_unfit;
use super::framework::format::{command, name, shown};
use super::framework::locks::{Locking, claim};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{resolve, space};
use super::{
    CommandLine, EffectKind, Error, Outcome, Phase, Plan, Progress, RefusalKind, Request, Undo,
};

/// Do something with a dirty bitmap of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeBitmap {
    /// The image it is in.
    pub image: PathBuf,
    /// Its name, 1 to 1023 bytes.
    pub bitmap: OsString,
    /// What to do.
    pub action: BitmapAction,
}

/// What is done with a dirty bitmap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BitmapAction {
    /// Add it; nothing is dirty in it.
    Add {
        /// Guest bytes per bit; none for QEMU's choice.
        granularity: Option<u64>,
        /// Whether it records writes from then on.
        enabled: bool,
    },
    /// Remove it.
    Remove,
    /// Call nothing dirty in it.
    Clear,
    /// Have it record writes from then on.
    Enable,
    /// Have it record nothing from then on.
    Disable,
    /// Call dirty also what another one does.
    Merge {
        /// The other one's name.
        source: OsString,
        /// The image that one is in; none for the same.
        from: Option<PathBuf>,
    },
}

impl Operation for ChangeBitmap {
    fn name(&self) -> &'static str {
        "bitmap"
    }

    fn verb(&self) -> &'static str {
        match self.action {
            BitmapAction::Add { .. } => "Add",
            BitmapAction::Remove => "Remove",
            BitmapAction::Clear => "Clear",
            BitmapAction::Enable => "Enable",
            BitmapAction::Disable => "Disable",
            BitmapAction::Merge { .. } => "Merge",
        }
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        if let BitmapAction::Merge {
            from: Some(from), ..
        } = &mut self.action
        {
            visit(Name::Path(from));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = |command| CommandLine::new(&["bitmap", command]);
        let which = |line: CommandLine| line.path(&self.image).word(&self.bitmap);
        Some(match &self.action {
            BitmapAction::Add {
                granularity,
                enabled,
            } => which(
                line("add")
                    .number("--granularity", *granularity)
                    .flag("--disabled", !enabled),
            ),
            BitmapAction::Remove => which(line("remove")),
            BitmapAction::Clear => which(line("clear")),
            BitmapAction::Enable => which(line("enable")),
            BitmapAction::Disable => which(line("disable")),
            BitmapAction::Merge { source, from } => {
                which(line("merge").option_path("--source-file", from.as_ref())).word(source)
            }
        })
    }

    fn plan(&self, plan: &mut Plan) {
        plan_bitmap(plan, &self.image, &self.bitmap, &self.action)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// Plans what is asked of an image's bitmap.
fn plan_bitmap(plan: &mut Plan, image: &Path, bitmap: &OsStr, action: &BitmapAction) {
    let context = plan.context().clone();
    let title = printable(bitmap);
    plan.title = match action {
        BitmapAction::Add { .. } => format!("Bitmap: add {title} to {}", name(image)),
        BitmapAction::Remove => format!("Bitmap: remove {title} of {}", name(image)),
        BitmapAction::Clear => format!("Bitmap: clear {title} of {}", name(image)),
        BitmapAction::Enable => format!("Bitmap: enable {title} of {}", name(image)),
        BitmapAction::Disable => format!("Bitmap: disable {title} of {}", name(image)),
        BitmapAction::Merge { source, .. } => format!(
            "Bitmap: merge {} into {title} of {}",
            printable(source),
            name(image)
        ),
    };
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    if !is_fit(plan, node, "changed") {
        return;
    }
    claim(plan, &node.path, LockSet::ReadWrite);
    let mut source_file = None;
    if let BitmapAction::Merge {
        from: Some(from), ..
    } = action
    {
        let source = match resolve::named(&context, from) {
            Ok(source) => source,
            Err(sentence) => return plan.refuse_for(sentence),
        };
        if source.id != node.id {
            if source.location != Location::Scanned {
                return plan.refuse_for(resolve::outside(&source.path));
            }
            if !is_fit(plan, source, "read") {
                return;
            }
            claim(plan, &source.path, LockSet::ReadOnly);
            plan.effect(
                EffectKind::Reads,
                &source.path,
                None,
                "its dirty bitmap".to_owned(),
            );
            source_file = Some(source.path.clone());
        }
    }
    if !plan.refusals.is_empty() {
        return;
    }
    let job = Change {
        image: node.path.clone(),
        bitmap: bitmap.to_owned(),
        action: action.clone(),
        source_file,
    };
    let host = context.host.as_ref();
    let open = |path: &Path| ImageFile::open(host, path, Access::Read);
    let worked_out = open(&node.path).and_then(|file| {
        let source = job.source_file.as_deref().map(open).transpose()?;
        job.work_out(&file, source.as_ref(), &NoProgress)
    });
    match worked_out {
        Ok(_) if job.is_done(host) => return plan.refuse_as_done(job.said_as_done()),
        Ok(change) => describe(plan, node, &job, change.written()),
        Err(error) => {
            plan.is_done = job.is_done(host);
            return plan.refuse_error(&error);
        }
    }
    plan.roll_back = job.back();
    plan.job = Some(Arc::new(job));
}

/// Whether an image may have bitmaps at all, and they may be dealt with.
fn is_fit(plan: &mut Plan, node: &Node, how: &str) -> bool {
    let before = plan.refusals.len();
    refuse_unfit(plan, node, how);
    if plan.refusals.len() == before && !matches!(node.content, Content::Qcow2(_)) {
        plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{} is a raw image: only qcow2 images have dirty bitmaps",
                shown(&node.path)
            ),
        );
    }
    plan.refusals.len() == before
}

fn describe(plan: &mut Plan, node: &Node, job: &Change, written: u64) {
    let path = &node.path;
    let title = printable(&job.bitmap);
    let impossible = |why: &str| Undo::Impossible(why.to_owned());
    let (kind, text, undo) = match &job.action {
        BitmapAction::Add { enabled, .. } => (
            EffectKind::Updates,
            if *enabled {
                format!("has the dirty bitmap {title}, which records what is written from then on")
            } else {
                format!("has the dirty bitmap {title}, which records nothing until it is enabled")
            },
            Undo::Possible("remove the bitmap".to_owned()),
        ),
        BitmapAction::Remove => (
            EffectKind::Drops,
            format!("its dirty bitmap {title} is gone: backups that go by it start over"),
            impossible("nothing else remembers what the bitmap calls dirty"),
        ),
        BitmapAction::Clear => (
            EffectKind::Drops,
            format!("its dirty bitmap {title} calls nothing dirty any more"),
            impossible("nothing else remembers what the bitmap calls dirty"),
        ),
        BitmapAction::Enable => (
            EffectKind::Updates,
            format!("its dirty bitmap {title} records what is written from then on"),
            Undo::Possible("disable it".to_owned()),
        ),
        BitmapAction::Disable => (
            EffectKind::Updates,
            format!("its dirty bitmap {title} records nothing from then on"),
            Undo::Possible("enable it; what is written meanwhile it does not know".to_owned()),
        ),
        BitmapAction::Merge { source, .. } => (
            EffectKind::Updates,
            format!(
                "its dirty bitmap {title} also calls dirty whatever {} does",
                printable(source)
            ),
            impossible(
                "what the bitmap called dirty by itself is not remembered; merge into a new one to keep it",
            ),
        ),
    };
    plan.effect(
        kind,
        path,
        Some(written),
        format!("{text}; {} of tables", size(written)),
    );
    plan.keeps.push(format!("what {} shows", name(path)));
    plan.undo = undo;
    space::need_at(plan, path, written);
    plan.commands.push(command(&job.words()));
}

#[derive(Debug)]
struct Change {
    image: PathBuf,
    bitmap: OsString,
    action: BitmapAction,
    /// The image that holds the bitmap to be merged, if that is another one.
    source_file: Option<PathBuf>,
}

impl Change {
    fn work_out(
        &self,
        file: &ImageFile,
        source_file: Option<&ImageFile>,
        pace: &dyn ProgressSink,
    ) -> image::Result<BitmapChange> {
        let bitmap = self.bitmap.as_bytes();
        match &self.action {
            BitmapAction::Add {
                granularity,
                enabled,
            } => {
                let new = NewBitmap {
                    name: bitmap.to_vec(),
                    granularity: *granularity,
                    enabled: *enabled,
                };
                BitmapChange::add(file, &new, pace)
            }
            BitmapAction::Remove => BitmapChange::remove(file, bitmap, pace),
            BitmapAction::Clear => BitmapChange::clear(file, bitmap, pace),
            BitmapAction::Enable => BitmapChange::set_enabled(file, bitmap, true, pace),
            BitmapAction::Disable => BitmapChange::set_enabled(file, bitmap, false, pace),
            BitmapAction::Merge { source, .. } => {
                let source = read_bits(source_file.unwrap_or(file), source)?;
                BitmapChange::merge(file, bitmap, &source, pace)
            }
        }
    }

    /// The same as a command of qemu-img.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["qemu-img".into(), "bitmap".into()];
        match &self.action {
            BitmapAction::Add {
                granularity,
                enabled,
            } => {
                words.push("--add".into());
                if let Some(bytes) = granularity {
                    words.extend(["-g".into(), bytes.to_string().into()]);
                }
                if !enabled {
                    words.push("--disable".into());
                }
            }
            BitmapAction::Remove => words.push("--remove".into()),
            BitmapAction::Clear => words.push("--clear".into()),
            BitmapAction::Enable => words.push("--enable".into()),
            BitmapAction::Disable => words.push("--disable".into()),
            BitmapAction::Merge { source, .. } => {
                words.extend(["--merge".into(), source.clone()]);
                if let Some(from) = &self.source_file {
                    words.extend(["-b".into(), from.into(), "-F".into(), "qcow2".into()]);
                }
            }
        }
        words.extend(["-f".into(), "qcow2".into(), self.image.clone().into()]);
        words.push(self.bitmap.clone());
        words
    }
}

fn read_bits(file: &ImageFile, bitmap: &OsStr) -> image::Result<Dirty> {
    let header = image::read_header(file)?;
    image::dirty(file, &header, bitmap.as_bytes())
}

impl Change {
    /// What takes it back, if anything does.
    fn back(&self) -> Option<Request> {
        let action = match &self.action {
            BitmapAction::Add { .. } => BitmapAction::Remove,
            BitmapAction::Enable => BitmapAction::Disable,
            BitmapAction::Disable => BitmapAction::Enable,
            BitmapAction::Remove | BitmapAction::Clear | BitmapAction::Merge { .. } => return None,
        };
        Some(Request::Bitmap(ChangeBitmap {
            image: self.image.clone(),
            bitmap: self.bitmap.clone(),
            action,
        }))
    }

    /// That the bitmap is as it is asked for.
    fn said_as_done(&self) -> String {
        let (path, bitmap) = (shown(&self.image), printable(&self.bitmap));
        let how = match &self.action {
            BitmapAction::Add { .. } => "is there",
            BitmapAction::Remove => "is gone",
            BitmapAction::Clear => "calls nothing dirty",
            BitmapAction::Enable => "is enabled",
            BitmapAction::Disable => "is disabled",
            BitmapAction::Merge { .. } => "calls dirty what that one does",
        };
        format!("the dirty bitmap {bitmap} of {path} {how} already")
    }

    /// Whether the bitmap that is to come is there, the one to go is not, or the one to change is so.
    fn is_done(&self, host: &dyn Host) -> bool {
        let found = || -> image::Result<Option<(BitmapFlags, bool)>> {
            let file = ImageFile::open(host, &self.image, Access::Read)?;
            let header = image::read_header(&file)?;
            let bitmaps = image::bitmaps(&file, &header)?;
            let wanted = self.bitmap.as_bytes();
            let Some(bitmap) = bitmaps.iter().find(|bitmap| bitmap.name == wanted) else {
                return Ok(None);
            };
            // Only a bitmap that is to be cleared is read.
            let is_clear = matches!(self.action, BitmapAction::Clear)
                && image::dirty(&file, &header, wanted)?.ranges().is_empty();
            Ok(Some((bitmap.flags, is_clear)))
        };
        let Ok(found) = found() else { return false };
        match (&self.action, found) {
            (BitmapAction::Add { .. }, bitmap) => bitmap.is_some(),
            (BitmapAction::Remove, bitmap) => bitmap.is_none(),
            (BitmapAction::Clear, Some((_, is_clear))) => is_clear,
            (BitmapAction::Enable, Some((flags, _))) => flags.contains(BitmapFlags::AUTO),
            (BitmapAction::Disable, Some((flags, _))) => !flags.contains(BitmapFlags::AUTO),
            _ => false,
        }
    }
}

impl Job for Change {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let path = shown(&self.image);
        let failed = |error: image::Error| {
            if matches!(error.kind, ErrorKind::Cancelled) {
                return Error::cancelled(format!("stopped: {path} is as it was"));
            }
            Error::of_image(
                format!("{error}. {path} is complete, either as it was or with the change made"),
                error,
            )
        };
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(host, &self.image, Access::ReadWrite, LockSet::ReadWrite)?;
        let source = match &self.source_file {
            Some(from) => Some(locking.take(host, from, Access::Read, LockSet::ReadOnly)?),
            None => None,
        };
        let locks = locking.settle(plan)?;
        let file = file.file(&locks);
        let source = source.map(|source| source.file(&locks));
        let change = self
            .work_out(&file, source.as_ref(), progress)
            .map_err(failed)?;
        progress.enter(Phase::Copy, change.written());
        change.commit(progress).map_err(failed)?;
        let bitmap = printable(&self.bitmap);
        let done = match &self.action {
            BitmapAction::Add { .. } => "added",
            BitmapAction::Remove => "removed",
            BitmapAction::Clear => "cleared",
            BitmapAction::Enable => "enabled",
            BitmapAction::Disable => "disabled",
            BitmapAction::Merge { .. } => "merged into",
        };
        Ok(Outcome {
            summary: format!("{done} the dirty bitmap {bitmap} of {path}"),
            touched: vec![self.image.clone()],
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
