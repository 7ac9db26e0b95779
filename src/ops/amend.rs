//! Amend: another version, refcount width or feature of an image. Its guest sees the same, and so
//! does everything built on it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Content, Node};
use crate::host::{Access, LockSet, printable_bytes};
use crate::image::{
    self, Amend, Amendment, BackingName, ErrorKind, ImageFile, NoProgress, Version,
};
use crate::qcow2::Header;
use crate::units::{count, size};

use super::framework::eligibility::refuse_unfit;
use super::framework::format::{command, listed, name, shown};
use super::framework::locks::{Locking, claim};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{resolve, space};
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Request,
    Undo,
};

/// Make an image of another version, refcount width or feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmendImage {
    /// The image.
    pub image: PathBuf,
    /// What is to be another way.
    pub amendment: Amendment,
}

impl Request {
    /// To record where the data file of an image is.
    pub(super) fn record_data_file(image: &Path, file: &Path) -> Self {
        let amendment = Amendment {
            data_file: Some(file.as_os_str().as_bytes().to_vec()),
            ..Amendment::default()
        };
        let image = image.to_path_buf();
        AmendImage { image, amendment }.into()
    }
}

impl Operation for AmendImage {
    fn name(&self) -> &'static str {
        "amend"
    }

    fn verb(&self) -> &'static str {
        "Amend"
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
        let to = &self.amendment;
        let switch = |is_on: bool| if is_on { "on" } else { "off" };
        let line = CommandLine::new(&["amend"])
            .path(&self.image)
            .option(
                "--compat",
                to.version.map(|version| match version {
                    Version::V2 => "0.10",
                    Version::V3 => "1.1",
                }),
            )
            .option("--lazy-refcounts", to.lazy_refcounts.map(switch))
            .number(
                "--refcount-bits",
                to.refcount_order.map(|order| 1_u64 << order.min(63)),
            )
            .option(
                "--compression-type",
                to.compression.map(|kind| kind.to_string()),
            )
            .option_name(
                "--data-file",
                to.data_file.as_deref().map(OsStr::from_bytes),
            )
            .flag("--data-file-relative", names_data_file_as_given(to))
            .option("--data-file-raw", to.data_file_raw.map(switch));
        Some(line)
    }

    fn plan(&self, plan: &mut Plan) {
        plan_amendment(plan, &self.image, &self.amendment)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Identity)
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

/// Whether the name of the data file would be another one if it were made whole.
fn names_data_file_as_given(to: &Amendment) -> bool {
    let Some(name) = to.data_file.as_deref() else {
        return false;
    };
    let name = Path::new(OsStr::from_bytes(name));
    std::path::absolute(name).map_or(true, |whole| whole.as_os_str() != name.as_os_str())
}

/// Plans to amend an image.
fn plan_amendment(plan: &mut Plan, image: &Path, amendment: &Amendment) {
    let context = plan.context().clone();
    plan.title = format!("Amend {}", name(image));
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    refuse_unfit(plan, node, "amended");
    if !plan.refusals.is_empty() {
        return;
    }
    let path = &node.path;
    if !matches!(node.content, Content::Qcow2(_)) {
        return plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{} is a raw image: there is nothing in it to amend",
                shown(path)
            ),
        );
    }
    claim(plan, path, LockSet::ReadWrite);
    if !plan.refusals.is_empty() {
        return;
    }
    let worked_out = ImageFile::open(plan.host(), path, Access::Read)
        .and_then(|file| Amend::plan(&file, amendment, &NoProgress));
    let amend = match worked_out {
        Ok(amend) => amend,
        Err(error) => return plan.refuse_error(&error),
    };
    let before = amend.header();
    let changes = amendment.clone().differing(before);
    if changes == Amendment::default() {
        return plan.refuse_as_done(format!("{} is as asked already", shown(path)));
    }
    let words = listed(&described(before, &changes), 9);
    plan.effect(
        EffectKind::Updates,
        path,
        Some(amend.written()),
        format!("{words}; {} of tables", size(amend.written())),
    );
    let above = context.forest.descendants(node.id).len();
    plan.keeps.push(match above {
        0 => format!("what {} shows", name(path)),
        n => format!(
            "what {} shows, and {} built on it",
            name(path),
            count(n, "image")
        ),
    });
    if let Some(data) = &changes.data_file {
        judge_data_file(plan, node, before, data);
    }
    space::need_at(plan, path, amend.written());
    plan.undo = match changes.inverse(before) {
        Some(_) => Undo::Possible("amend it back".to_owned()),
        None => Undo::Impossible(
            "that the data file is raw cannot be promised again once it was taken back".to_owned(),
        ),
    };
    plan.roll_back = changes.inverse(before).map(|amendment| {
        Request::Amend(AmendImage {
            image: path.clone(),
            amendment,
        })
    });
    push_command(plan, path, &changes);
    plan.job = Some(Arc::new(AmendJob {
        image: path.clone(),
        amendment: changes,
    }));
}

/// Each change in words.
fn described(before: &Header, changes: &Amendment) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(version) = changes.version {
        all.push(format!("version {version} (compat={})", version.compat()));
    }
    if let Some(order) = changes.refcount_order {
        let now = before.geometry.refcount_bits();
        all.push(format!(
            "refcounts of {} bits, not {now}",
            1u64 << order.min(6)
        ));
    }
    if let Some(lazy) = changes.lazy_refcounts {
        let how = if lazy { "late" } else { "at once" };
        all.push(format!("refcounts are written {how}"));
    }
    if let Some(compression) = changes.compression {
        all.push(format!("compresses with {compression}"));
    }
    if let Some(data) = &changes.data_file {
        all.push(format!("its data file is {}", printable_bytes(data)));
    }
    if changes.data_file_raw == Some(false) {
        all.push("its data file is not promised to be raw any more".to_owned());
    }
    all
}

/// Another data file shows another disk, unless it is the same or a copy of it.
fn judge_data_file(plan: &mut Plan, node: &Node, before: &Header, data: &[u8]) {
    let host = Arc::clone(&plan.context().host);
    let place = |recorded: &[u8]| {
        let recorded = OsString::from_vec(recorded.to_vec());
        let file = BackingName::interpret(&node.path, &recorded);
        file.file().map(Path::to_path_buf)
    };
    let new = place(data);
    let stat = |path: &Option<PathBuf>| path.as_ref().and_then(|path| host.stat(path).ok());
    let (old, found) = (stat(&before.data_file().and_then(place)), stat(&new));
    match (found, old) {
        (Some(found), Some(old)) if found.id == old.id => {}
        (Some(_), _) => plan.warn(NoteKind::DataFile, format!(
            "{} shows what {} holds from then on: that this is the disk it was made with cannot be seen from here",
            name(&node.path),
            printable_bytes(data)
        )),
        (None, _) => plan.warn(NoteKind::DataFile, format!(
            "there is no file {}: {} cannot be opened until there is",
            printable_bytes(data),
            name(&node.path)
        )),
    }
}

fn push_command(plan: &mut Plan, path: &Path, changes: &Amendment) {
    // The real tool changes the codec only when an image is made.
    if changes.compression.is_some() {
        return;
    }
    let on_off = |on: bool| if on { "on" } else { "off" };
    let mut options: Vec<Vec<u8>> = Vec::new();
    if let Some(version) = changes.version {
        options.push(format!("compat={}", version.compat()).into());
    }
    if let Some(order) = changes.refcount_order {
        options.push(format!("refcount_bits={}", 1u64 << order.min(6)).into());
    }
    if let Some(lazy) = changes.lazy_refcounts {
        options.push(format!("lazy_refcounts={}", on_off(lazy)).into());
    }
    if let Some(data) = &changes.data_file {
        // A comma in a value is doubled.
        let mut option = b"data_file=".to_vec();
        for byte in data {
            option.extend(std::iter::repeat_n(
                *byte,
                if *byte == b',' { 2 } else { 1 },
            ));
        }
        options.push(option);
    }
    if let Some(raw) = changes.data_file_raw {
        options.push(format!("data_file_raw={}", on_off(raw)).into());
    }
    plan.commands.push(command(&[
        "qemu-img".as_ref(),
        "amend".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        "-o".as_ref(),
        std::ffi::OsStr::from_bytes(&options.join(&b","[..])),
        path.as_os_str(),
    ]));
}

#[derive(Debug)]
struct AmendJob {
    image: PathBuf,
    amendment: Amendment,
}

impl Job for AmendJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let path = shown(&self.image);
        let failed = |error: image::Error| {
            if matches!(error.kind, ErrorKind::Cancelled) {
                return Error::cancelled(format!("stopped: {path} is as it was"));
            }
            Error::of_image(
                format!("{error}. {path} is complete, either as it was or amended"),
                error,
            )
        };
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(
            plan.host(),
            &self.image,
            Access::ReadWrite,
            LockSet::ReadWrite,
        )?;
        let locks = locking.settle(plan)?;
        let file = file.file(&locks);
        let amend = Amend::plan(&file, &self.amendment, progress).map_err(failed)?;
        progress.enter(Phase::Copy, amend.written());
        let words = listed(&described(amend.header(), &self.amendment), 9);
        amend.commit(progress).map_err(failed)?;
        Ok(Outcome {
            summary: format!("amended {path}: {words}"),
            touched: vec![self.image.clone()],
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
