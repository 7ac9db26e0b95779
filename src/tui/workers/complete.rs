//! How the name of a file can go on: what there is in its folder that begins so.

use std::path::Path;

use crate::host::{FileKind, Host};
use crate::tui::query::Completions;

/// Names given at most; more than a screen holds help nobody.
const MOST: usize = 200;
/// Of these it is asked whether they are folders: on a host each question takes its time.
const ASKED: usize = 32;

/// The names in the folder that begin as the path's last part does. Hidden ones only where a dot is typed.
/// None where the folder cannot be read.
pub(super) fn ways_on(host: &dyn Host, begun: &Path) -> Completions {
    let text = begun.to_string_lossy();
    let (folder, start) = text.rsplit_once('/').unwrap_or((".", &text));
    let folder = if folder.is_empty() { "/" } else { folder };
    let Ok(entries) = host.list_dir(Path::new(folder)) else {
        return Completions::default();
    };
    let is_asked_for =
        |name: &String| name.starts_with(start) && (!start.is_empty() || !name.starts_with('.'));
    let mut found: Vec<String> = entries
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(is_asked_for)
        .collect();
    found.sort_unstable();
    let common = common(found.iter().map(String::as_str));
    let count = found.len();
    let names = found.into_iter().take(MOST).enumerate();
    let names: Vec<String> = names
        .map(|(at, name)| match at < ASKED {
            true => whole(host, Path::new(folder), name),
            false => name,
        })
        .collect();
    Completions {
        common: match &names[..] {
            [only] => only.clone(),
            _ => common,
        },
        count,
        names,
    }
}

/// The name, with a slash behind a folder's. A link is followed, as the name will be.
fn whole(host: &dyn Host, folder: &Path, name: String) -> String {
    let stat = host.stat(&folder.join(&name));
    let is_folder = stat.is_ok_and(|stat| stat.kind == FileKind::Directory);
    if is_folder { format!("{name}/") } else { name }
}

/// What all of the names begin with.
fn common<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = names.next() else {
        return String::new();
    };
    let mut common = first;
    for name in names {
        let same = common
            .char_indices()
            .zip(name.chars())
            .take_while(|((_, one), other)| one == other)
            .last()
            .map_or(0, |((at, one), _)| at + one.len_utf8());
        common = common.get(..same).unwrap_or_default();
    }
    common.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::fs;

    fn ways_on(begun: &Path) -> Completions {
        super::ways_on(&RealHost, begun)
    }

    #[test]
    fn what_begins_so_is_listed_and_folders_have_a_slash() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["base.qcow2", "base.img", "other", ".base"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("bases")).unwrap();
        std::os::unix::fs::symlink("bases", dir.path().join("basin")).unwrap();
        let ways = ways_on(&dir.path().join("bas"));
        assert_eq!(ways.names, ["base.img", "base.qcow2", "bases/", "basin/"]);
        assert_eq!((ways.count, ways.common.as_str()), (4, "bas"));
        let only = ways_on(&dir.path().join("bases"));
        assert_eq!(only.common, "bases/");
        let mut all = dir.path().as_os_str().to_owned();
        all.push("/");
        assert_eq!(ways_on(Path::new(&all)).count, 5, "not the hidden one");
        assert_eq!(ways_on(Path::new("/nonexistent/x")), Completions::default());
    }

    #[test]
    fn in_a_large_folder_a_name_goes_on_no_further_than_all_of_them_agree() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..MOST + 50 {
            fs::write(dir.path().join(format!("image-0{i:04}")), "").unwrap();
        }
        fs::write(dir.path().join("image-z"), "").unwrap();
        let ways = ways_on(&dir.path().join("im"));
        assert_eq!(
            ways.common, "image-",
            "the one behind all that are listed counts"
        );
        assert_eq!((ways.count, ways.names.len()), (MOST + 51, MOST));
    }

    #[test]
    fn names_are_compared_by_characters() {
        let common = |names: &[&str]| common(names.iter().copied());
        assert_eq!(common(&["fünf", "für"]), "fü");
        assert_eq!(common(&["a", "äb"]), "");
        assert_eq!(common(&["same", "same.qcow2"]), "same");
        assert_eq!(common(&[]), "");
    }
}
