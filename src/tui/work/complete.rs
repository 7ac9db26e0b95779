//! How the name of a file can go on: what there is in its folder that begins so.

use std::fs;
use std::path::Path;

/// Names at most; more than a screen holds help nobody.
const MOST: usize = 200;

/// The names in the folder that begin as the path's last part does, in order, folders with a slash
/// behind them. Hidden ones only where a dot is typed. None where the folder cannot be read.
pub(super) fn names(begun: &Path) -> Vec<String> {
    let text = begun.to_string_lossy();
    let (folder, start) = text.rsplit_once('/').unwrap_or((".", &text));
    let folder = if folder.is_empty() { "/" } else { folder };
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            if !name.starts_with(start) || (start.is_empty() && name.starts_with('.')) {
                return None;
            }
            // Followed, as the name will be.
            let is_folder = entry.path().is_dir();
            Some(if is_folder { format!("{name}/") } else { name })
        })
        .collect();
    names.sort_unstable();
    names.truncate(MOST);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_so_is_listed_and_folders_have_a_slash() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["base.qcow2", "base.img", "other", ".base"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("bases")).unwrap();
        assert_eq!(
            names(&dir.path().join("bas")),
            ["base.img", "base.qcow2", "bases/"]
        );
        let mut all = dir.path().as_os_str().to_owned();
        all.push("/");
        assert_eq!(names(Path::new(&all)).len(), 4, "not the hidden one");
        assert!(names(Path::new("/nonexistent/x")).is_empty());
    }
}
