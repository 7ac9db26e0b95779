//! Repair: an image's tables are brought back in line with each other. What the repair replaces is
//! kept in the trash first, and can be put back as long as nobody wrote the image since.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{Access, Host, LockSet};
use crate::image::{
    self, ErrorKind, FindingKind, ImageFile, LostTable, NoProgress, ProgressSink, RepairExtent,
    Suspect, UndoFile,
};
use crate::units::size;

use super::framework::copy_file::folder;
use super::framework::format::{command, name, shown};
use super::framework::locks::{Locking, claim};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{device, resolve, space};
use super::{
    CommandLine, Context, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan, Progress,
    RefusalKind, Remedy, Request, Undo, WayOut, trash,
};

/// Bring the tables of an image back in line with each other, or take that back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairImage {
    /// The image.
    pub image: PathBuf,
    /// What to do.
    pub action: RepairAction,
}

/// What is done about damage in an image's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairAction {
    /// Free leaked clusters, in an image that has nothing worse.
    Leaks,
    /// Repair everything that can be repaired without guessing.
    All,
    /// Put back the tables that a repair replaced, as long as nothing was written since.
    PutBack {
        /// The trash entry that keeps them, as the repair's outcome and `trash list` name it.
        entry: String,
    },
}

impl RepairImage {
    /// What puts back the tables that an interrupted repair replaced.
    fn put_back(&self, half: &Half<'_>) -> Way {
        let tables = [tables_name(half.context, &self.image)];
        // What is replaced is saved first: until then the image has to be repaired still.
        let is_untouched = || {
            let again = Request::Repair(self.clone());
            super::plan(half.context, &again).refusals.is_empty()
        };
        match half.batches(&tables, Some("repair")).first() {
            Some(_) if is_untouched() => Way::Nothing(format!(
                "the tables of {} are as they were; what was saved of them is in the trash",
                name(&self.image)
            )),
            Some(entry) => Way::Ask(Request::put_back(&self.image, entry)),
            None => Way::Nothing("no table was replaced yet".to_owned()),
        }
    }
}

impl Request {
    /// To bring all of an image back in line.
    pub(super) fn repair(image: &Path) -> Self {
        let (image, action) = (image.to_path_buf(), RepairAction::All);
        RepairImage { image, action }.into()
    }

    /// To put back the tables that a repair has replaced.
    fn put_back(image: &Path, entry: &str) -> Self {
        let entry = entry.to_owned();
        let (image, action) = (image.to_path_buf(), RepairAction::PutBack { entry });
        RepairImage { image, action }.into()
    }

    /// To free what is counted in an image and that nothing uses.
    pub(super) fn free_leaks(image: &Path) -> Self {
        let (image, action) = (image.to_path_buf(), RepairAction::Leaks);
        RepairImage { image, action }.into()
    }
}

impl Operation for RepairImage {
    fn name(&self) -> &'static str {
        "check"
    }

    fn verb(&self) -> &'static str {
        match self.action {
            RepairAction::Leaks | RepairAction::All => "Repair",
            RepairAction::PutBack { .. } => "Put back",
        }
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Repairs
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        match &mut self.action {
            RepairAction::PutBack { entry } => visit(Name::TrashEntry(entry)),
            RepairAction::Leaks | RepairAction::All => {}
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["check"]);
        Some(
            match &self.action {
                RepairAction::Leaks => line.option("--repair", Some("leaks")),
                RepairAction::All => line.option("--repair", Some("all")),
                RepairAction::PutBack { entry } => line.option("--put-back", Some(entry)),
            }
            .path(&self.image),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_repair_or_back(plan, &self.image, &self.action)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        match self.action {
            RepairAction::Leaks | RepairAction::All => true,
            RepairAction::PutBack { .. } => false,
        }
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        if let Some(way) = half.planned_way_back() {
            return way;
        }
        match self.action {
            RepairAction::Leaks | RepairAction::All => self.put_back(half),
            RepairAction::PutBack { .. } => half.as_planned(),
        }
    }
}

/// Sentences about one thing that a plan has at most.
const MOST_SENTENCES: usize = 8;

/// Plans a repair, or taking one back.
fn plan_repair_or_back(plan: &mut Plan, image: &Path, action: &RepairAction) {
    let verb = match action {
        RepairAction::Leaks => "Free the leaked clusters of",
        RepairAction::All => "Repair",
        RepairAction::PutBack { .. } => "Undo the repair of",
    };
    plan.title = format!("{verb} {}", name(image));
    let host = Arc::clone(&plan.context().host);
    // The file itself: what is kept of it lies beside it, not beside a link to it.
    let path = match host.canonical(image) {
        Ok(path) => path,
        Err(error) => {
            return plan.refuse_for(resolve::unseen(image, &error));
        }
    };
    claim(plan, &path, LockSet::ReadWrite);
    if !plan.refusals.is_empty() {
        return;
    }
    match action {
        RepairAction::Leaks => plan_repair(plan, path, RepairExtent::Leaks),
        RepairAction::All => plan_repair(plan, path, RepairExtent::All),
        RepairAction::PutBack { entry } => plan_put_back(plan, path, entry),
    }
}

fn plan_repair(plan: &mut Plan, path: PathBuf, extent: RepairExtent) {
    let worked_out = ImageFile::open(plan.host(), &path, Access::Read)
        .and_then(|file| image::Repair::work_out(&file, extent, &NoProgress));
    let repair = match worked_out {
        Ok(repair) => repair,
        Err(error) => return refuse_damage(plan, &path, &error),
    };
    for finding in repair.left().iter().take(MOST_SENTENCES) {
        plan.warn(
            NoteKind::NotRepaired,
            format!("stays as it is: {}", finding.text),
        );
    }
    if repair.left_count() > MOST_SENTENCES as u64 {
        plan.warn(
            NoteKind::NotRepaired,
            format!(
                "stays as it is: {} more of that kind",
                repair.left_count() - MOST_SENTENCES as u64
            ),
        );
    }
    if !repair.is_needed() {
        if repair.left_count() > 0 {
            return plan.refuse_as_through(RefusalKind::Damaged, format!(
                "nothing that is wrong in {} can be repaired: what its damaged entries meant cannot be told",
                shown(&path)
            ));
        }
        plan.refuse_as_done(if repair.found().trailing_bytes() > 0 {
            format!(
                "{} has no leaks; what lies past its end is cut off by a repair of all",
                shown(&path)
            )
        } else {
            format!("there is nothing to repair in {}", shown(&path))
        });
        return;
    }
    for (kind, number) in repair.mends() {
        let bytes = (kind == FindingKind::Trailing).then(|| repair.found().trailing_bytes());
        plan.effect(EffectKind::Updates, &path, bytes, mended(kind, number));
    }
    if repair.new_version().is_some() {
        plan.effect(
            EffectKind::Updates,
            &path,
            None,
            "made version 3 (compat=1.1), which its zero clusters are of",
        );
    }
    if let Some(bits) = repair.new_refcount_bits() {
        plan.effect(
            EffectKind::Updates,
            &path,
            None,
            format!("reference counts of {bits} bits: those it has cannot count what is there"),
        );
    }
    plan.keeps
        .push("whatever can be read of its guest's disk and of its snapshots".to_owned());
    let context = plan.context().clone();
    if device::stat_of(context.host.as_ref(), &path).is_some() && context.state_dir.is_none() {
        return plan.refuse(RefusalKind::Unsupported, format!(
            "{} is a block device, and there is no folder to keep the tables in that its repair replaces",
            shown(&path)
        ));
    }
    let dir = folder(&tables_name(&context, &path)).to_path_buf();
    let replaced = match repair.replaced() {
        Ok(replaced) => replaced,
        Err(error) => return plan.refuse_error(&error),
    };
    plan.keeps.push(format!(
        "a copy of all bytes it replaces ({}), in {}",
        size(replaced),
        shown(&dir.join(trash::DIR))
    ));
    warn_of_suspects(plan, &path, &repair);
    if repair.drops_bitmaps() {
        plan.warn(NoteKind::Bitmaps, format!(
            "the tables of its dirty bitmaps are damaged: {} loses them, and backups start over",
            name(&path)
        ));
    }
    let needed = repair.written().saturating_add(replaced);
    space::need_in(plan, &dir, needed);
    if repair.found().leaks > 0 {
        plan.keeps.push(format!(
            "the bytes of its leaked clusters ({}): the file does not shrink, and what is written next goes there",
            size(repair.found().leaked_bytes)
        ));
    }
    plan.undo = Undo::Possible(
        "the tables that are replaced can be put back until the image is written again".to_owned(),
    );
    let mode = match extent {
        RepairExtent::Leaks => "leaks",
        RepairExtent::All => "all",
    };
    // Of damage qemu-img makes something else, and keeps nothing of what it replaces.
    if repair.found().corruptions == 0 {
        plan.commands.push(command(&[
            "qemu-img".as_ref(),
            "check".as_ref(),
            "-r".as_ref(),
            mode.as_ref(),
            path.as_os_str(),
        ]));
    }
    plan.job = Some(Arc::new(Mend {
        image: path,
        extent,
    }));
}

fn refuse_damage(plan: &mut Plan, path: &Path, error: &image::Error) {
    let ErrorKind::Corruptions(number) = error.kind else {
        return plan.refuse_error(error);
    };
    plan.refuse_but(RefusalKind::Damaged,
        format!(
            "{} has {number} corruptions: what looks leaked may belong to what is damaged, so leaks alone are not \
             freed",
            shown(path)
        ),
        vec![WayOut::repair(path)],
    );
}

/// Parts of the guest's disk that the person should look at.
fn warn_of_suspects(plan: &mut Plan, path: &Path, repair: &image::Repair) {
    let (suspects, more) = repair.suspects();
    let shared = repair.found().findings.iter().filter_map(|finding| {
        let (offset, len) = finding.guest?;
        let why = match finding.kind {
            FindingKind::TableAliased => {
                "lay on a table of the image, so one of the two was overwritten"
            }
            FindingKind::SharedCluster => {
                "shows the same data as another place, so one of the two is wrong"
            }
            _ => return None,
        };
        Some(Suspect {
            offset,
            len,
            why: why.to_owned(),
        })
    });
    let all: Vec<Suspect> = suspects.iter().cloned().chain(shared).collect();
    for suspect in all.iter().take(MOST_SENTENCES) {
        plan.warn(
            NoteKind::Suspect,
            format!(
                "suspect: guest offset {:#x}, {}: {}",
                suspect.offset,
                size(suspect.len),
                suspect.why
            ),
        );
    }
    let hidden = all.len().saturating_sub(MOST_SENTENCES) as u64 + more;
    if hidden > 0 {
        plan.warn(
            NoteKind::Suspect,
            format!("suspect: {hidden} more places of the guest's disk"),
        );
    }
    let past_end = FindingKind::PastEnd;
    if repair.mends().any(|(kind, _)| kind == past_end) {
        plan.warn(NoteKind::Damaged, format!(
            "if {} was cut short, for example by a copy that stopped, get the whole file instead of repairing it",
            name(path)
        ));
    }
    for LostTable { offset, entries } in repair.lost_tables().iter().take(MOST_SENTENCES) {
        plan.warn(NoteKind::Suspect, format!(
            "suspect: the leaked cluster at {offset:#x} looks like an L2 table of {entries} clusters that nothing \
             leads to: what they hold may be the guest's only copy"
        ));
    }
    let any = !all.is_empty() || !repair.lost_tables().is_empty();
    if any && repair.found().leaks > 0 && repair.left_count() == 0 {
        plan.warn(NoteKind::Suspect,
            "leaked clusters may hold what the suspect places lost: their bytes stay in the file until something \
             is written there"
                .to_owned(),
        );
    }
}

/// What is mended, in words.
fn mended(kind: FindingKind, number: u64) -> String {
    let (one, many, done) = match kind {
        FindingKind::Undercount => (
            "reference count that is too low",
            "reference counts that are too low",
            "raised",
        ),
        FindingKind::Leak => ("leaked cluster", "leaked clusters", "freed"),
        FindingKind::TableAliased => (
            "table that guest data lies on",
            "tables that guest data lies on",
            "written to a place of its own",
        ),
        FindingKind::TablesOverlap => (
            "pair of tables in one place",
            "pairs of tables in one place",
            "written to places of their own",
        ),
        FindingKind::PastEnd => (
            "entry that leads past the end of the file",
            "entries that lead past the end of the file",
            "made to say what they read as: zeros, or what lies below",
        ),
        FindingKind::Unaligned => (
            "entry that keeps an unaligned place for zeros",
            "entries that keep an unaligned place for zeros",
            "kept as zeros, without a place",
        ),
        FindingKind::ReservedBits => (
            "entry with reserved bits",
            "entries with reserved bits",
            "cleared of them",
        ),
        FindingKind::CopiedFlag => ("wrong copied flag", "wrong copied flags", "corrected"),
        FindingKind::ZeroFlagInV2 => (
            "zero flag in version 2",
            "zero flags in version 2",
            "kept: the image becomes version 3, which knows them",
        ),
        FindingKind::SubclusterBitmap => (
            "subcluster bitmap of a compressed cluster",
            "subcluster bitmaps of compressed clusters",
            "cleared",
        ),
        FindingKind::CompressedEntry => (
            "copied flag of a compressed cluster",
            "copied flags of compressed clusters",
            "cleared",
        ),
        FindingKind::RefcountBlock => (
            "refcount table entry that leads nowhere",
            "refcount table entries that lead nowhere",
            "replaced, the counts made anew",
        ),
        FindingKind::SnapshotTable => (
            "fault in the snapshot table",
            "faults in the snapshot table",
            "mended: what is missing completed, what is too long cut, every snapshot kept",
        ),
        FindingKind::BitmapTable => ("damaged bitmap", "damaged bitmaps", "given up"),
        FindingKind::SharedCluster => ("shared cluster", "shared clusters", "counted"),
        FindingKind::Trailing => (
            "run of bytes past the image's end",
            "runs of bytes past the image's end",
            "cut off",
        ),
        FindingKind::MarkedDirty => ("dirty bit", "dirty bits", "cleared"),
        FindingKind::MarkedCorrupt => ("corrupt bit", "corrupt bits", "cleared"),
    };
    let what = if number == 1 { one } else { many };
    format!("{number} {what}: {done}")
}

fn plan_put_back(plan: &mut Plan, path: PathBuf, entry: &str) {
    let found = saved_tables(plan, &path, entry);
    let saved_at = match found {
        Ok(saved_at) => saved_at,
        Err(sentence) => return plan.refuse(RefusalKind::NotFound, sentence),
    };
    let host = Arc::clone(&plan.context().host);
    let ready = open_saved(plan, &saved_at).and_then(|saved| {
        let file = ImageFile::open(&*host, &path, Access::Read)?;
        saved.may_put_back(&file)?;
        let is_back = saved.is_put_back(&file)?;
        Ok((!is_back).then(|| saved.bytes()))
    });
    let bytes = match ready {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let path = shown(&path);
            return plan.refuse_as_done(format!("{path} is as it was before its repair already"));
        }
        Err(error) => return plan.refuse_error(&error),
    };
    plan.effect(
        EffectKind::Updates,
        &path,
        Some(bytes),
        format!(
            "{} of tables as they were before the repair, damage included",
            size(bytes)
        ),
    );
    plan.effect(EffectKind::Reads, &saved_at, None, "the tables kept");
    plan.require_unchanged(&saved_at, Compare::Content);
    plan.undo = Undo::Possible("repair it again".to_owned());
    plan.job = Some(Arc::new(PutBack {
        image: path,
        saved_at,
    }));
}

/// The file in that entry of the trash that keeps tables of `image`.
fn saved_tables(plan: &Plan, image: &Path, entry: &str) -> Result<PathBuf, String> {
    let context = plan.context();
    let dir = folder(&tables_name(context, image)).to_path_buf();
    let names = [entry.to_owned()];
    let state_dir = context.state_dir.as_deref();
    let (entries, _) = trash::find(context.host.as_ref(), state_dir, &[dir], &names);
    entries
        .iter()
        .flat_map(|entry| &entry.files)
        .find(|file| file.original == tables_name(context, image))
        .map(|file| file.kept_at.clone())
        .ok_or_else(|| {
            format!(
                "the trash has no tables of {} under the name {entry}",
                shown(image)
            )
        })
}

fn open_saved(plan: &Plan, path: &Path) -> image::Result<UndoFile> {
    let file = ImageFile::open(plan.host(), path, Access::Read)?;
    UndoFile::open(&file)
}

/// What the kept tables of an image are called beside it: `disk.qcow2.tables`. Beside a device's node there is
/// no room for files, and what is there is gone after the next boot: those of a device are in the state
/// directory, by the whole name of the node.
pub(super) fn tables_name(context: &Context, image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".tables");
    let device = device::stat_of(context.host.as_ref(), image);
    match (device, &context.state_dir) {
        (Some(_), Some(state_dir)) => {
            let flat: Vec<u8> = name
                .as_bytes()
                .iter()
                .map(|byte| if *byte == b'/' { b'!' } else { *byte })
                .collect();
            state_dir.join(DEVICE_TABLES).join(OsStr::from_bytes(&flat))
        }
        _ => PathBuf::from(name),
    }
}

/// The folder in the state directory that keeps the tables of devices.
const DEVICE_TABLES: &str = "tables";

/// The folder for the tables of a device comes into being with the first of them.
fn make_room_for_tables(host: &dyn Host, image: &Path, tables: &Path) -> Result<(), Error> {
    let dir = folder(tables);
    if dir == folder(image) {
        return Ok(());
    }
    match host.create_dir(dir, 0o700) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("make the folder", dir, &error))
        }
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct Mend {
    image: PathBuf,
    extent: RepairExtent,
}

impl Mend {
    fn failed(&self, error: image::Error) -> Error {
        let path = shown(&self.image);
        if matches!(error.kind, ErrorKind::Cancelled) {
            return Error::cancelled(format!("stopped: {path} reads as it did, or is repaired"))
                .helped_by([Remedy::Check(self.image.clone())]);
        }
        Error::of_image(
            format!("{error}. {path} is as it was, or repaired: run the repair again"),
            error,
        )
        .helped_by([Remedy::Check(self.image.clone())])
    }

    /// The same where nothing of it is left in the file.
    fn undone(&self, error: image::Error) -> Error {
        let path = shown(&self.image);
        if matches!(error.kind, ErrorKind::Cancelled) {
            return Error::cancelled(format!("stopped: {path} is as it was"));
        }
        Error::of_image(format!("{error}. {path} is as it was"), error)
    }

    fn work_out(&self, file: &ImageFile, pace: &dyn ProgressSink) -> Result<image::Repair, Error> {
        image::Repair::work_out(file, self.extent, pace).map_err(|error| self.undone(error))
    }
}

impl Job for Mend {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(host, &self.image, Access::ReadWrite, LockSet::ReadWrite)?;
        let locks = locking.settle(plan)?;
        let file = file.file(&locks);
        let mut repair = self.work_out(&file, progress)?;
        let replaced = repair.replaced().map_err(|error| self.undone(error))?;
        let (corruptions, leaks) = (repair.found().corruptions, repair.found().leaks);
        progress.enter(Phase::Copy, repair.written());
        let tables = tables_name(plan.context(), &self.image);
        make_room_for_tables(host, &self.image, &tables)?;
        let keep = trash::Keep {
            file: tables,
            reason: "repair",
            why: format!("tables of {} before its repair", name(&self.image)),
            bytes: replaced,
        };
        let kept = keep.write(host, plan.context().state_dir.as_deref(), |out| {
            repair
                .save(out, progress)
                .map_err(|error| self.undone(error))
        })?;
        let now = match repair.commit(progress) {
            Ok(now) => now,
            Err(error) => {
                // What was kept makes the file what it was, whatever was written of the repair.
                let rolled_back =
                    open_saved(plan, kept.path()).and_then(|saved| saved.roll_back(&file));
                return Err(match rolled_back {
                    Ok(()) => {
                        kept.give_up(host);
                        self.undone(error)
                    }
                    Err(_) => self.failed(error),
                });
            }
        };
        let remark = Note::new(
            NoteKind::Trash,
            "the tables it had are kept, and take the repair back as long as nothing was written since",
        );
        let back = Request::put_back(&self.image, kept.name());
        let mut remarks = vec![remark.helped_by(vec![Remedy::ask(back.clone())])];
        remarks.extend(kept.remarks().iter().cloned());
        if now.corruptions > 0 {
            let text = format!("{} of what is wrong could not be repaired", now.corruptions);
            let check = Remedy::Check(self.image.clone());
            remarks.push(Note::new(NoteKind::NotRepaired, text).helped_by(vec![check]));
        }
        Ok(Outcome {
            summary: format!(
                "repaired {}: {} corruptions, {} leaked clusters before, {} and {} now",
                shown(&self.image),
                corruptions,
                leaks,
                now.corruptions,
                now.leaks
            ),
            touched: vec![self.image.clone(), kept.path().to_path_buf()],
            undo: Some(back),
            remarks,
        })
    }
}

#[derive(Debug)]
struct PutBack {
    image: PathBuf,
    saved_at: PathBuf,
}

impl Job for PutBack {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(host, &self.image, Access::ReadWrite, LockSet::ReadWrite)?;
        let locks = locking.settle(plan)?;
        let file = file.file(&locks);
        progress.enter(Phase::Switch, 0);
        open_saved(plan, &self.saved_at)
            .and_then(|saved| saved.put_back(&file))
            .map_err(|error| {
                Error::of_image(
                    format!(
                        "{error}. {} is still repaired, or as it was before",
                        shown(&self.image)
                    ),
                    error,
                )
            })?;
        Ok(Outcome {
            summary: format!("{} is as it was before its repair", shown(&self.image)),
            touched: vec![self.image.clone()],
            undo: Some(Request::repair(&self.image)),
            remarks: Vec::new(),
        })
    }
}
