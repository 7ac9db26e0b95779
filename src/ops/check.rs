//! Check: what is wrong with an image's tables, changing nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::forest::{Forest, Node, Problem, ProblemKind, ScanOptions, scan_all};
use crate::host::{Access, Host, LockSet, during_one_scan};
use crate::image::{self, Check, ImageFile, NoProgress, ProgressSink};
use crate::system::on_all_processors;
use crate::units::size;

use super::Error;
use super::framework::format::{name, shown};
use super::framework::locks::{Use, who_uses};

/// Checks a qcow2 image. What is built on it or below it is not looked at.
///
/// # Errors
/// [`Error::InUse`] while a process writes it, whose tables would change while they are read;
/// [`Error::Failed`] where it cannot be read or understood.
pub fn check(host: &dyn Host, path: &Path, pace: &dyn ProgressSink) -> Result<Check, Error> {
    let looked = who_uses(host, path, LockSet::ReadOnly);
    if let Use::Busy(sentence) = looked.map_err(|error| Error::io("open", path, &error))? {
        return Err(Error::in_use(sentence));
    }
    let file = ImageFile::open(host, path, Access::Read)?;
    Ok(image::check(&file, pace)?)
}

/// Checks each of these images as [`check`] does, on all processors. Who has them open is found out once by each.
#[must_use]
pub fn check_each(host: &dyn Host, images: &[PathBuf]) -> Vec<Result<Check, Error>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = images
        .chunks(images.len().div_ceil(processors).max(1))
        .collect();
    let checked = on_all_processors(&parts, |part| {
        let check = |image: &PathBuf| check(host, image, &NoProgress);
        Some(during_one_scan(|| {
            part.iter().map(check).collect::<Vec<_>>()
        }))
    });
    checked.into_iter().flatten().flatten().collect()
}

/// What is wrong with the chain below an image, as far as headers tell: loops, files that are not there,
/// formats that are not recorded or not right, sizes that differ. Of the files it names only the
/// headers are read; an image whose own header cannot be read has no chain here.
#[must_use]
pub fn chain_notices(host: &Arc<dyn Host>, path: &Path) -> Vec<Problem> {
    let options = ScanOptions {
        roots: vec![path.to_path_buf()],
        follow: true,
        raw: false,
    };
    let (forest, _) = scan_all(Arc::clone(host), options);
    let top = host
        .stat(path)
        .ok()
        .and_then(|stat| forest.by_file(stat.id));
    let mut notices = Vec::new();
    let (mut seen, mut next) = (BTreeSet::new(), top);
    while let Some(node) = next.filter(|node| seen.insert(node.id)) {
        let about_chain = |problem: &&Problem| {
            matches!(
                problem.kind,
                ProblemKind::Unopenable
                    | ProblemKind::MissingBacking
                    | ProblemKind::MissingDataFile
                    | ProblemKind::DirectoryDependentDataFile
                    | ProblemKind::UnreachableBacking
                    | ProblemKind::Loop
                    | ProblemKind::NoBackingFormat
                    | ProblemKind::WrongBackingFormat
            )
        };
        notices.extend(node.problems.iter().filter(about_chain).cloned());
        notices.extend(sizes_differ(&forest, node));
        next = node.parent.and_then(|id| forest.get(id));
    }
    notices
}

fn sizes_differ(forest: &Forest, node: &Node) -> Option<Problem> {
    let parent = node.parent.and_then(|id| forest.get(id))?;
    let (own, below) = (node.virtual_size()?, parent.virtual_size()?);
    // A raw disk that is no whole number of sectors is seen rounded up.
    let rounded = below.checked_next_multiple_of(512).unwrap_or(below);
    if own == below || own == rounded {
        return None;
    }
    let (path, base) = (shown(&node.path), name(&parent.path));
    let (own_size, base_size) = (size(own), size(below));
    let message = if own > below {
        format!(
            "{path} is {own_size} and {base}, which it is built on, {base_size}: what lies past that is \
             the overlay's alone and reads as zeros until it is written"
        )
    } else {
        format!(
            "{path} is {own_size} and {base}, which it is built on, {base_size}: the end of {base} is not \
             to be seen through it"
        )
    };
    Some(Problem {
        kind: ProblemKind::BackingSize,
        message,
    })
}
