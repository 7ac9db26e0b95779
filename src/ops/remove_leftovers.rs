//! Files that were being made when a crash or a kill came: each tells its process in its name and is nobody's
//! once that has ended. Found here, and unlinked when the person says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::{FileKind, Host, LockSet, Stat};
use crate::image::maker_of;
use crate::units::{count, size};

use super::framework::copy_file::folder;
use super::framework::format::{name, shown};
use super::framework::locks::{Locking, Use, who_uses};
use super::framework::may_write;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::{
    CommandLine, EffectKind, Error, Outcome, Phase, Plan, Progress, RefusalKind, Undo, trash,
};

/// Unlink what was half made by processes that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveLeftovers {
    /// The files, as [`super::leftovers`] finds them.
    pub files: Vec<PathBuf>,
}

impl Operation for RemoveLeftovers {
    fn name(&self) -> &'static str {
        "recover --leftovers"
    }

    fn verb(&self) -> &'static str {
        "Remove"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        for path in &mut self.files {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // The command line finds them itself: it names no file.
        None
    }

    fn plan(&self, plan: &mut Plan) {
        plan_removal(plan, &self.files)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let files = half.there_of(&self.files);
        match files.is_empty() {
            true => Way::Nothing("everything named is removed".to_owned()),
            false => Way::Ask(Self { files }.into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.planned_way_back().unwrap_or_else(|| {
            Way::Impossible("what is removed is gone; it was no image yet".to_owned())
        })
    }
}

/// Longer than a manifest is ever being written.
const MANIFEST_TAKES: Duration = Duration::from_secs(60);

/// A file, or a folder of files, that was being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes it takes on disk.
    pub bytes: u64,
    /// The process that was making it.
    pub process: u32,
    /// Whether that process runs, which may still be making it.
    pub runs: bool,
}

/// What is half made right in these directories and in their trash folders, in the order of names. What
/// cannot be read is passed over.
#[must_use]
pub fn leftovers(host: &dyn Host, dirs: &[PathBuf]) -> Vec<Leftover> {
    let mut found = Vec::new();
    let trashes = dirs.iter().map(|dir| dir.join(trash::DIR));
    for dir in dirs.iter().cloned().chain(trashes) {
        let names = host.list_dir(&dir).unwrap_or_default();
        found.extend(
            names
                .iter()
                .filter_map(|name| look_at(host, &dir.join(name)).map(|(leftover, _)| leftover)),
        );
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    found
}

/// One of them, and the files to unlink: itself, or what is in it. None if it is not one: a folder with
/// other folders in it is not.
fn look_at(host: &dyn Host, path: &Path) -> Option<(Leftover, Vec<PathBuf>)> {
    let stat = host.stat_link(path).ok()?;
    let (process, runs) = match maker_of(path) {
        Some(maker) => (maker.process, maker.runs()),
        None => (0, !is_old_manifest(host, path, &stat)?),
    };
    let (bytes, files) = match stat.kind {
        FileKind::Regular => (stat.allocated, vec![path.to_path_buf()]),
        FileKind::Directory => {
            let names = host.list_dir(path).ok()?;
            let files: Vec<PathBuf> = names.iter().map(|name| path.join(name)).collect();
            let mut bytes = 0_u64;
            for file in &files {
                let stat = host.stat_link(file).ok()?;
                if stat.kind != FileKind::Regular {
                    return None;
                }
                bytes = bytes.saturating_add(stat.allocated);
            }
            (bytes, files)
        }
        _ => return None,
    };
    let leftover = Leftover {
        path: path.to_path_buf(),
        bytes,
        process,
        runs,
    };
    Some((leftover, files))
}

/// Whether it is the beginning of a manifest as older versions named it, without a process, and was not
/// written for a while; none if it is no such file.
fn is_old_manifest(host: &dyn Host, path: &Path, stat: &Stat) -> Option<bool> {
    let in_trash = path.parent()?.file_name()? == trash::DIR;
    let name = path.file_name()?.as_encoded_bytes();
    let is_one = in_trash && name.ends_with(b".json.new") && stat.kind == FileKind::Regular;
    is_one.then(|| {
        let age = host.now().duration_since(stat.modified);
        age.is_ok_and(|age| age > MANIFEST_TAKES)
    })
}

/// Plans to unlink these.
fn plan_removal(plan: &mut Plan, files: &[PathBuf]) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    plan.title = match files {
        [one] => format!("Remove the half-made {}", name(one)),
        more => format!("Remove {}", count(more.len(), "half-made file")),
    };
    if files.is_empty() {
        return plan.refuse(RefusalKind::NotFound, "nothing half-made is named");
    }
    let mut found = Vec::new();
    for path in files {
        let Some((leftover, inside)) = look_at(host, path) else {
            plan.refuse(
                RefusalKind::NotFound,
                format!(
                    "{} is nothing that qanopy was making: only that is removed by this",
                    shown(path)
                ),
            );
            continue;
        };
        if leftover.runs {
            plan.refuse(
                RefusalKind::InUse,
                format!(
                    "{} may be in the making: process {} runs",
                    shown(path),
                    leftover.process
                ),
            );
        }
        for file in &inside {
            // What cannot be opened cannot be asked about, and may be deleted by its owner all the same.
            if let Ok(Use::Busy(sentence)) = who_uses(host, file, LockSet::ReadWrite) {
                plan.refuse(RefusalKind::InUse, sentence);
            }
        }
        may_write::refuse_folder(plan, host, folder(path));
        let by = match leftover.process {
            0 => "a process".to_owned(),
            number => format!("process {number}"),
        };
        let text = format!(
            "{}, half made by {by}, which has ended on this machine",
            size(leftover.bytes)
        );
        plan.effect(EffectKind::Deletes, path, Some(leftover.bytes), text);
        plan.frees = plan.frees.saturating_add(leftover.bytes);
        found.push((path.clone(), inside));
    }
    plan.undo =
        Undo::Impossible("what is half made is of no use, and unlinked for good".to_owned());
    plan.job = Some(Arc::new(Remove { found }));
}

#[derive(Debug)]
struct Remove {
    /// Each with the files to unlink.
    found: Vec<(PathBuf, Vec<PathBuf>)>,
}

impl Job for Remove {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::CleanUp, 0);
        let _settled = Locking::default().settle(plan)?;
        for (path, inside) in &self.found {
            if progress.is_cancelled() {
                return Err(Error::cancelled(format!(
                    "cancelled: {} and what comes after it are still there",
                    shown(path)
                )));
            }
            if !matches!(look_at(host, path), Some((leftover, now)) if !leftover.runs && now == *inside)
            {
                return Err(Error::stale(format!(
                    "{} is not what it was when the plan was made: plan again",
                    shown(path)
                )));
            }
            for file in inside {
                host.remove_file(file)
                    .map_err(|error| Error::io("delete", file, &error))?;
            }
            if inside.first() != Some(path) {
                host.remove_dir(path)
                    .map_err(|error| Error::io("delete", path, &error))?;
            }
        }
        let touched: Vec<PathBuf> = self.found.iter().map(|(path, _)| path.clone()).collect();
        Ok(Outcome {
            summary: match touched.as_slice() {
                [one] => format!("removed the half-made {}", shown(one)),
                more => format!("removed {}", count(more.len(), "half-made file")),
            },
            touched,
            undo: None,
            remarks: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use crate::image::temporary_name;
    use std::fs;

    /// More than any process number there is.
    const NOBODY: u32 = u32::MAX - 1;

    #[test]
    fn what_a_process_was_making_is_found_by_its_name_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let own = temporary_name(&at("own.qcow2"));
        fs::write(&own, "half").unwrap();
        let ended = at(&format!(".a b.{NOBODY}.qanopy-new"));
        fs::write(&ended, "half").unwrap();
        let folder = at(&format!(".export.{NOBODY}.qanopy-new"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("one"), "1").unwrap();
        for other in [
            ".x.qanopy-new",
            "x.12.qanopy-new",
            ".x.12.qanopy",
            ".x.-1.qanopy-new",
        ] {
            fs::write(at(other), "no").unwrap();
        }
        let deep = at(&format!(".deep.{NOBODY}.qanopy-new"));
        fs::create_dir_all(deep.join("more")).unwrap();
        let link = at(&format!(".link.{NOBODY}.qanopy-new"));
        std::os::unix::fs::symlink("own.qcow2", &link).unwrap();
        // The number is this process's, and it was another one.
        let us = std::process::id();
        let before = at(&format!(".z.{us}-1-0123abcd.qanopy-new"));
        fs::write(&before, "half").unwrap();
        // A manifest that a batch of the trash never got.
        let trash = at(trash::DIR);
        fs::create_dir(&trash).unwrap();
        let manifest = trash.join(format!(".b.json.{NOBODY}.qanopy-new"));
        let old = trash.join("b.json.new");
        let file = fs::File::create(&old).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        fs::write(&manifest, "{").unwrap();
        fs::write(trash.join("c.json.new"), "{").unwrap();
        let found = leftovers(&RealHost, &[dir.path().to_path_buf()]);
        let found: Vec<(&Path, bool)> = found.iter().map(|l| (&*l.path, l.runs)).collect();
        let young = trash.join("c.json.new");
        assert_eq!(
            found,
            [
                (&*ended, false),
                (&*folder, false),
                (&*own, true),
                (&*manifest, false),
                (&*old, false),
                (&*young, true),
                (&*before, false),
            ]
        );
    }
}
