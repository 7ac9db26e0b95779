//! Images in the trash: which paths are in it, and what a name that an image there records leads to.
//! It is seen from where the image was taken from, since that is where it is put back. And which trash
//! folders are believed: in a folder that several people write to, anybody can put one beside the images
//! of others. How something comes into the trash is not told here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::host::{FileKind, Host, effective_user, io_text};

/// The name of the folder, beside the images, that discarded images are moved to.
pub const TRASH_FOLDER: &str = ".qanopy-trash";

/// What a path in a trash folder is made of.
#[derive(Debug, Clone, Copy)]
struct TrashedPath<'p> {
    /// The folder the trash folder is in.
    dir: &'p Path,
    batch: &'p OsStr,
    name: &'p OsStr,
}

fn kept(path: &Path) -> Option<TrashedPath<'_>> {
    let name = path.file_name()?;
    let folder = path.parent()?;
    let batch = folder.file_name()?;
    let trash = folder.parent()?;
    (trash.file_name()? == TRASH_FOLDER).then_some(())?;
    let dir = trash.parent()?;
    Some(TrashedPath { dir, batch, name })
}

/// Whether this is a file in a trash folder: `X/.qanopy-trash/BATCH/NAME`.
#[must_use]
pub fn is_trashed(path: &Path) -> bool {
    kept(path).is_some()
}

/// Where a file in the trash was taken from, and is put back: `X/NAME`. None of a file that is not in
/// one.
#[must_use]
pub fn taken_from(path: &Path) -> Option<PathBuf> {
    kept(path).map(|kept| kept.dir.join(kept.name))
}

/// The entry of the trash that the file at this path went with.
#[must_use]
pub fn entry_of(path: &Path) -> Option<&OsStr> {
    kept(path).map(|kept| kept.batch)
}

/// Where the file is that an image records as `named`: for an image in the trash that may be the trash
/// as well. What went with it comes back with it; of what went by itself, the last one of that name.
#[must_use]
pub fn where_it_is(host: &dyn Host, overlay: &Path, named: PathBuf) -> PathBuf {
    let Some(own) = kept(overlay) else {
        return named;
    };
    let (Some(dir), Some(name)) = (named.parent(), named.file_name()) else {
        return named;
    };
    let trash = dir.join(TRASH_FOLDER);
    let is_ours = foreign_trash(host, &trash).is_none();
    let is_file = |path: &Path| {
        let stat = host.stat_link(path);
        is_ours && stat.is_ok_and(|stat| stat.kind == FileKind::Regular)
    };
    let beside = trash.join(own.batch).join(name);
    if is_file(&beside) {
        return beside;
    }
    if host.stat_link(&named).is_ok() {
        return named;
    }
    let mut batches = host.list_dir(&trash).unwrap_or_default();
    // They are called by the time at which they went.
    batches.sort_unstable_by(|a, b| b.cmp(a));
    let kept = batches.iter().map(|batch| trash.join(batch).join(name));
    kept.into_iter().find(|path| is_file(path)).unwrap_or(named)
}

/// Whoever else may write there.
const OTHERS_WRITE: u32 = 0o022;

/// Why this trash folder is not believed, as the rest of a sentence that begins with its name; none
/// if it is ours. Ours is one of the person who runs this, or of the person whose folder it is in where
/// nobody else may write there, and in no case one that others may write in.
#[must_use]
pub fn foreign_trash(host: &dyn Host, trash: &Path) -> Option<String> {
    let stat = match host.stat_link(trash) {
        Ok(stat) => stat,
        Err(error) => {
            return Some(format!(
                "cannot be looked at: {error}",
                error = io_text(&error)
            ));
        }
    };
    match stat.kind {
        FileKind::Directory => {}
        FileKind::Symlink => return Some("is a symbolic link".to_owned()),
        _ => return Some("is in the way and is no folder".to_owned()),
    }
    if stat.mode & OTHERS_WRITE != 0 {
        let mode = stat.mode & 0o777;
        return Some(format!("may be written by others (mode {mode:04o})"));
    }
    let is_mine = stat.uid == effective_user();
    let is_theirs = || {
        let dir = trash.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = host.stat(dir.unwrap_or(Path::new(".")));
        dir.is_ok_and(|dir| dir.uid == stat.uid && dir.mode & OTHERS_WRITE == 0)
    };
    if is_mine || is_theirs() {
        return None;
    }
    Some(format!("belongs to another user ({})", stat.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn a_path_in_the_trash_tells_where_its_file_was() {
        let path = Path::new("/vm/.qanopy-trash/20261123-115537-3fa2/a.qcow2");
        assert!(is_trashed(path));
        assert_eq!(taken_from(path), Some(PathBuf::from("/vm/a.qcow2")));
        assert_eq!(entry_of(path), Some(OsStr::new("20261123-115537-3fa2")));
        for other in [
            "/vm/a.qcow2",
            "/vm/.qanopy-trash/a.qcow2",
            "/vm/.qanopy-trash/b/c/a.qcow2",
            "/vm/.qanopy-trash.old/b/a.qcow2",
        ] {
            assert!(!is_trashed(Path::new(other)), "{other}");
        }
        let here = Path::new(".qanopy-trash/b/a");
        assert_eq!(taken_from(here), Some(PathBuf::from("a")));
    }

    #[test]
    fn a_base_is_looked_for_in_the_entry_then_at_its_place_then_in_the_trash() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for batch in ["1", "2", "3"] {
            fs::create_dir_all(at(TRASH_FOLDER).join(batch)).unwrap();
        }
        let trashed = |batch: &str, name: &str| at(TRASH_FOLDER).join(batch).join(name);
        let overlay = trashed("2", "overlay");
        let place = |host: &RealHost| where_it_is(host, &overlay, at("base"));
        assert_eq!(place(&RealHost), at("base"));
        fs::write(trashed("1", "base"), "1").unwrap();
        assert_eq!(place(&RealHost), trashed("1", "base"));
        fs::write(trashed("3", "base"), "3").unwrap();
        assert_eq!(place(&RealHost), trashed("3", "base"));
        fs::write(at("base"), "new").unwrap();
        assert_eq!(place(&RealHost), at("base"));
        fs::write(trashed("2", "base"), "2").unwrap();
        assert_eq!(place(&RealHost), trashed("2", "base"));
        // Only of an image in the trash.
        assert_eq!(
            where_it_is(&RealHost, &at("overlay"), at("base")),
            at("base")
        );
    }

    fn folder(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let trash = dir.path().join(TRASH_FOLDER);
        fs::create_dir(&trash).unwrap();
        fs::set_permissions(&trash, Permissions::from_mode(mode)).unwrap();
        (dir, trash)
    }

    #[test]
    fn a_trash_folder_that_others_may_write_or_that_is_a_link_is_not_ours() {
        let (dir, trash) = folder(0o700);
        assert_eq!(foreign_trash(&RealHost, &trash), None);
        let link = dir.path().join("link");
        symlink(&trash, &link).unwrap();
        assert!(foreign_trash(&RealHost, &link).unwrap().contains("link"));
        for mode in [0o770, 0o702, 0o1777] {
            let (_dir, trash) = folder(mode);
            let why = foreign_trash(&RealHost, &trash).unwrap();
            assert!(why.contains("written by others"), "{why}");
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(
            foreign_trash(&RealHost, &file)
                .unwrap()
                .contains("no folder")
        );
    }

    #[test]
    fn a_trash_folder_of_somebody_else_is_ours_only_in_their_own_folder() {
        if effective_user() != 0 {
            eprintln!("skipped: only root gives files away");
            return;
        }
        let (dir, trash) = folder(0o700);
        chown(&trash, Some(65534), None).unwrap();
        let why = foreign_trash(&RealHost, &trash).unwrap();
        assert!(why.contains("65534"), "{why}");
        chown(dir.path(), Some(65534), None).unwrap();
        assert_eq!(foreign_trash(&RealHost, &trash), None);
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(foreign_trash(&RealHost, &trash).is_some());
    }
}
