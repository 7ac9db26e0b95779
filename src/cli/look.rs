//! What a command sees before it plans: the machine, the forest around the images named, and where
//! that was searched. How searching works is the forest's business.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use crate::forest::{
    Forest, Index, NodeId, ScanOptions, ScanSummary, Whereabouts, look_at, scan_all,
};
use crate::host::{Host, RealHost, printable};
use crate::image::Keys;
use crate::ops::{Context, LookedIn};

use super::args::{LookArgs, OpenArgs};
use super::out;

/// A forest, and how the search for it went.
pub(super) struct Seen {
    pub(super) context: Context,
    pub(super) summary: ScanSummary,
}

/// The machine, and no image known.
pub(super) fn nowhere() -> Context {
    context(Forest::new(), LookedIn::default())
}

fn context(forest: Forest, looked_in: LookedIn) -> Context {
    Context {
        host: Arc::new(RealHost),
        forest: Arc::new(forest),
        looked_in,
        state_dir: Index::default_dir(),
        keys: Keys::none(),
    }
}

fn scan(roots: Vec<PathBuf>, look: LookArgs) -> (Forest, ScanSummary) {
    let options = ScanOptions {
        roots,
        follow: look.follow,
        raw: look.raw,
    };
    scan_all(Arc::new(RealHost), options)
}

/// The directories to search, absolute, so that what is told of them holds anywhere; the current one
/// where none is named.
pub(super) fn roots(open: &OpenArgs) -> io::Result<Vec<PathBuf>> {
    if open.dirs.is_empty() {
        return Ok(vec![absolute(".")?]);
    }
    open.dirs.iter().map(absolute).collect()
}

/// The forest below the directories named.
///
/// # Errors
/// If one of those named cannot be read. What cannot be read below them is told on standard error.
pub(super) fn below(open: &OpenArgs) -> anyhow::Result<Seen> {
    let roots = roots(open)?;
    let (forest, summary) = scan(roots.clone(), open.look);
    for (dir, why) in &summary.unreadable_dirs {
        if roots.contains(dir) {
            return Err(anyhow!("cannot read {}: {}", printable(dir), why));
        }
        out::complain(format_args!(
            "qanopy: cannot read {}: {why}",
            printable(dir)
        ));
    }
    remember(&forest);
    let looked_in = LookedIn {
        dirs: roots,
        remembered: 0,
    };
    Ok(Seen {
        context: context(forest, looked_in),
        summary,
    })
}

/// The forest below the directories named, and what earlier runs saw elsewhere: it may be built on
/// what is below.
///
/// # Errors
/// As [`below`].
pub(super) fn below_and_remembered(open: &OpenArgs) -> anyhow::Result<Context> {
    let mut context = below(open)?.context;
    let forest = Arc::make_mut(&mut context.forest);
    context.looked_in.remembered = recall(forest, &context.looked_in.dirs);
    Ok(context)
}

/// The forest around these images: the folders of every file of their chains, and `also`.
///
/// # Errors
/// If an image or one of `also` is not there.
pub(super) fn around(images: &[PathBuf], also: &[PathBuf]) -> anyhow::Result<Context> {
    let mut named = Vec::new();
    for path in images.iter().chain(also) {
        RealHost
            .stat_link(path)
            .with_context(|| format!("cannot find {}", printable(path)))?;
        named.push(absolute(path)?);
    }
    let also = named.split_off(images.len());
    let chains = LookArgs {
        follow: true,
        raw: false,
    };
    let (forest, _) = scan(named.clone(), chains);
    let files = forest
        .nodes()
        .filter(|node| node.whereabouts == Whereabouts::Scanned)
        .map(|node| node.path.as_path());
    let folders: BTreeSet<PathBuf> = files
        .chain(named.iter().map(PathBuf::as_path))
        .filter_map(|path| path.parent().map(Path::to_path_buf))
        .chain(also)
        .collect();
    let dirs = outermost(folders);
    // The images themselves as well: a raw image nothing is built on is seen only when named.
    let roots = dirs.iter().cloned().chain(named).collect();
    let below = LookArgs {
        follow: false,
        raw: false,
    };
    let (mut forest, summary) = scan(roots, below);
    for (dir, why) in &summary.unreadable_dirs {
        out::complain(format_args!(
            "qanopy: cannot read {}: {why}",
            printable(dir)
        ));
    }
    remember(&forest);
    let remembered = recall(&mut forest, &dirs);
    Ok(context(forest, LookedIn { dirs, remembered }))
}

/// Notes down what was seen, for later runs. They are told what they miss: nothing fails for it here.
fn remember(forest: &Forest) {
    let Some(index) = Index::default_dir().map(Index::at) else {
        return;
    };
    if let Err(error) = index.merge(&RealHost, forest) {
        let file = printable(index.file());
        out::complain(format_args!(
            "qanopy: cannot remember images in {file}: {error}"
        ));
    }
}

/// Adds the images that earlier runs saw outside `scanned`, looked at again; returns their number.
fn recall(forest: &mut Forest, scanned: &[PathBuf]) -> usize {
    let Some(index) = Index::default_dir().map(Index::at) else {
        return 0;
    };
    let host: Arc<dyn Host> = Arc::new(RealHost);
    match index.recheck(&host, scanned) {
        Ok(found) => {
            let remembered = found.len();
            forest.extend(found);
            remembered
        }
        Err(error) => {
            let file = printable(index.file());
            out::complain(format_args!(
                "qanopy: cannot read the images remembered in {file}: {error}"
            ));
            0
        }
    }
}

/// Leaves out what lies inside another. A directory sorts before what is inside it.
fn outermost(dirs: BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut outer: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        if !outer.iter().any(|known| dir.starts_with(known)) {
            outer.push(dir);
        }
    }
    outer
}

/// One image, by the name as given; with its chain only if that is asked.
///
/// # Errors
/// If there is no such file.
pub(super) fn image(path: &Path, look: LookArgs) -> anyhow::Result<(Forest, NodeId)> {
    let file = RealHost
        .stat(path)
        .with_context(|| format!("cannot open {}", printable(path)))?;
    let forest = if look.follow {
        scan(vec![path.to_path_buf()], look).0
    } else {
        let mut forest = Forest::new();
        forest.extend(look_at(Arc::new(RealHost), path));
        forest
    };
    let id = forest
        .by_file(file.id)
        .map(|node| node.id)
        .ok_or_else(|| anyhow!("{} is no image", printable(path)))?;
    Ok((forest, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_inside_another_is_searched_once() {
        let dirs = ["/a/b", "/a", "/ab", "/c/d"].map(PathBuf::from);
        let outer = outermost(dirs.into());
        assert_eq!(outer, ["/a", "/ab", "/c/d"].map(PathBuf::from));
    }
}
