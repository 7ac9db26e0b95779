//! Import: the files of an exported folder are copied to where they are to live, each compared with
//! its checksum before any of them gets its name. The folder stays as it is.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{Access, FileKind, Host, LockSet, io_text, printable};
use crate::image::{self, Format, ImageFile};
use crate::units::{count, size};

use super::export::{Exported, Manifest, digest};
use super::framework::copy_file::Copy;
use super::framework::format::{name, shown};
use super::framework::locks::{Locking, claim};
use super::framework::nature::{Nature, RestsOn};
use super::framework::new_folder::NewFolder;
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{absolute, new_file, resumed};
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, Reflink, RefusalKind,
    Request, Undo,
};

/// Copy what an exported folder holds to where it is to live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The exported folder.
    pub dir: PathBuf,
    /// The folder that receives the images.
    pub to: PathBuf,
}

impl Operation for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn verb(&self) -> &'static str {
        "Import"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesFiles
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.dir));
        visit(Name::Path(&mut self.to));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(CommandLine::new(&["import"]).path(&self.dir).path(&self.to))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_import(plan, &self.dir, &self.to)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        half.finish_making_the_rest(self.clone())
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.unmake()
    }
}

/// Plans to copy what the folder `dir` holds into the folder `to`.
fn plan_import(plan: &mut Plan, dir: &Path, to: &Path) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    plan.title = format!("Import {} into {}", shown(dir), shown(to));
    let manifest = match Manifest::read(host, dir) {
        Ok(manifest) => manifest,
        Err(reason) => return plan.refuse_for(reason),
    };
    let folder = match host.stat(to) {
        Ok(stat) if stat.kind == FileKind::Directory => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(folder) = new_file::new_folder(plan, to) else {
                return;
            };
            plan.note(
                NoteKind::Manner,
                format!("the folder {} is made first", shown(to)),
            );
            Some(folder)
        }
        _ => {
            return plan.refuse(RefusalKind::Invalid, format!("{} is no folder", shown(to)));
        }
    };
    if manifest.files.is_empty() {
        return plan.refuse(
            RefusalKind::Invalid,
            format!("the manifest of {} names no file", shown(dir)),
        );
    }
    let total = total(&manifest.files);
    let made = resumed::made(&context, &plan.request);
    let mut present = BTreeSet::new();
    for (index, file) in manifest.files.iter().enumerate() {
        let below = manifest.files.get(index + 1);
        // The image above was looked at before, and records the format that the manifest gives.
        if let Err(why) = fits(host, dir, file, below, index > 0) {
            return plan.refuse(
                RefusalKind::Damaged,
                format!("{}: {why}", printable(&file.name)),
            );
        }
        let from = dir.join(&file.name);
        claim(plan, &from, LockSet::ReadOnly);
        let new = to.join(&file.name);
        if made.contains(&absolute::path(&new)) && is_same(host, &new, file) {
            plan.require_unchanged(&new, Compare::Content);
            let text = "it is there already, as the manifest says; the rest follows";
            plan.effect(EffectKind::Reads, &new, Some(file.bytes), text);
            present.insert(new);
            continue;
        }
        let needed = if index == 0 { total } else { 0 };
        match &folder {
            Some(folder) => new_file::check_in_new_folder(plan, &new, folder, needed),
            None if new_file::check(plan, &new, needed).is_none() => return,
            None => {}
        }
        let text = format!("{}, once its checksum is found right", size(file.bytes));
        plan.effect(EffectKind::Creates, &new, Some(file.bytes), text);
        plan.counterpart(&from);
    }
    plan.copies = total;
    plan.undo = Undo::Possible("discard the images".to_owned());
    plan.job = Some(Arc::new(ImportJob {
        files: manifest.files,
        dir: dir.to_path_buf(),
        to: to.to_path_buf(),
        makes_folder: folder.is_some(),
        present,
    }));
}

/// Bytes of all files; a manifest may be forged.
fn total(files: &[Exported]) -> u64 {
    let bytes = files.iter().map(|file| file.bytes);
    bytes.fold(0, u64::saturating_add)
}

/// Whether this is the file of the manifest.
fn is_same(host: &dyn Host, path: &Path, file: &Exported) -> bool {
    let is_file = host
        .stat_link(path)
        .is_ok_and(|stat| stat.kind == FileKind::Regular && stat.len == file.bytes);
    is_file && digest(host, path, &Progress::new()).is_ok_and(|digest| digest == file.sha256)
}

/// Whether a file of the manifest is what an export writes: a plain name, the length it says, and
/// built on the file that comes next and on nothing else. A manifest may be forged.
fn fits(
    host: &dyn Host,
    dir: &Path,
    file: &Exported,
    below: Option<&Exported>,
    above_says_raw: bool,
) -> Result<(), String> {
    let mut parts = Path::new(&file.name).components();
    let plain = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(part)), None) if part == OsStr::new(&file.name)
    );
    if !plain {
        return Err("is no plain file name".to_owned());
    }
    let path = dir.join(&file.name);
    let stat = host.stat_link(&path).map_err(|error| io_text(&error))?;
    if stat.kind != FileKind::Regular {
        return Err("is no regular file".to_owned());
    }
    if stat.len != file.bytes {
        return Err(format!(
            "has {} bytes where the manifest says {}",
            stat.len, file.bytes
        ));
    }
    let opened =
        ImageFile::open(host, &path, Access::Read).map_err(|error| error.kind.to_string())?;
    let seen = image::recognised(&opened).map_err(|error| error.kind.to_string())?;
    match &file.format {
        // A raw disk's guest may have written such a header: only what is built on it says raw then.
        Format::Raw if seen.is_some() && !above_says_raw => {
            return Err("is raw by the manifest and begins like another format".to_owned());
        }
        Format::Raw => return ends_here(below),
        Format::Qcow2 => {}
        Format::Other(name) => {
            return Err(format!(
                "is of format {}, which no export writes",
                printable(name)
            ));
        }
    }
    let header = image::read_header(&opened).map_err(|error| error.kind.to_string())?;
    if header.has_data_file() {
        return Err("names a data file, which no export does".to_owned());
    }
    let (Some(name), Some(below)) = (header.backing_file(), below) else {
        return match header.backing_file() {
            None => ends_here(below),
            Some(_) => Err("is built on a file that the manifest does not name".to_owned()),
        };
    };
    // As an export records it: the bare name, guarded where QEMU would take it for a protocol.
    let plain = name.strip_prefix(b"./").unwrap_or(name) == below.name.as_bytes();
    let format = header.backing_format() == Some(below.format.name().as_bytes());
    if plain && format {
        Ok(())
    } else {
        Err("is not built on what comes next in the manifest".to_owned())
    }
}

fn ends_here(below: Option<&Exported>) -> Result<(), String> {
    match below {
        None => Ok(()),
        Some(_) => Err("is not built on what comes next in the manifest".to_owned()),
    }
}

#[derive(Debug)]
struct ImportJob {
    files: Vec<Exported>,
    dir: PathBuf,
    to: PathBuf,
    /// The folder is not there yet.
    makes_folder: bool,
    /// Those that an import that was interrupted has given their names.
    present: BTreeSet<PathBuf>,
}

impl Job for ImportJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        for file in &self.files {
            let path = self.dir.join(&file.name);
            let _ = locking.take(host, &path, Access::Read, LockSet::ReadOnly)?;
        }
        let _locks = locking.settle(plan)?;
        if self.makes_folder {
            let making = NewFolder::make(host, &self.to)?;
            self.copy(plan, making.temporary(), progress)?;
            making.publish()?;
        } else {
            self.copy(plan, &self.to, progress)?;
        }
        // What is built on last comes first in the manifest.
        let names = self.files.iter().rev();
        let touched: Vec<PathBuf> = names.map(|file| self.to.join(&file.name)).collect();
        let top = touched.last().map_or_else(String::new, |path| name(path));
        Ok(Outcome {
            summary: format!(
                "imported {} into {}, {top} on top",
                count(touched.len(), "image"),
                shown(&self.to)
            ),
            undo: Some(Request::discard(touched.clone())),
            touched,
            remarks: Vec::new(),
        })
    }
}

impl ImportJob {
    /// Copies the images into `dir` and gives them their names there, with what is copied locked.
    fn copy(&self, plan: &Plan, dir: &Path, progress: &Progress) -> Result<(), Error> {
        let host = plan.host();
        progress.enter(Phase::Copy, total(&self.files).saturating_mul(2));
        let mut copies = Vec::new();
        for file in self.files.iter().rev() {
            let (from, to) = (self.dir.join(&file.name), dir.join(&file.name));
            if self.present.contains(&to) {
                continue;
            }
            let copy = Copy::make(host, &from, &to, Reflink::Auto, progress)?;
            if digest(host, copy.temporary(), progress)? != file.sha256 {
                return Err(Error::failed(format!(
                    "{} is not what was exported: its checksum differs. Nothing was imported",
                    shown(&from)
                )));
            }
            copies.push(copy);
        }
        plan.verify_preconditions()?;
        progress.enter(Phase::Switch, 0);
        if !self.present.is_empty() {
            // What cut it off may have been that the last name could not be made stable.
            host.sync_dir(dir)
                .map_err(|error| Error::io("flush", dir, &error))?;
        }
        copies.into_iter().try_for_each(Copy::publish)
    }
}
