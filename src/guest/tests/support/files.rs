//! Files to put into a mounted filesystem, and changes to make to them afterwards: every kind that a reader has to get
//! right, where the filesystem can hold it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Bytes that differ by seed and do not compress to nothing.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut made = Vec::with_capacity(len + 8);
    while made.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made.truncate(len);
    made
}

/// What a filesystem can hold.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Owners, links, symbolic links, names that are no text.
    pub unix: bool,
}

/// A tree with everything: small and large files, sparse ones, deep folders, a folder of many entries, links.
pub fn populate(root: &Path, can: Abilities) {
    for (folder, count) in [
        ("etc", 40),
        ("usr/share/doc", 60),
        ("var/log", 10),
        ("many", 1500),
    ] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).unwrap();
        for index in 0..count {
            let size = (index * 37) % 9_000;
            fs::write(
                folder.join(format!("file-{index:04}.conf")),
                bytes(index as u64, size),
            )
            .unwrap();
        }
    }
    fs::write(root.join("large"), bytes(7, 6 << 20)).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(
        root.join("text"),
        "the same words again and again\n".repeat(9_000),
    )
    .unwrap();
    let mut deep = root.to_path_buf();
    for level in 0..30 {
        deep.push(format!("level{level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"deep").unwrap();
    fs::write(root.join("Grüße 你好 🎉"), b"a name in many scripts").unwrap();
    if !can.unix {
        return;
    }
    let mut sparse = File::create(root.join("sparse")).unwrap();
    for at in [0, 1 << 20, 40 << 20] {
        sparse.seek(SeekFrom::Start(at)).unwrap();
        sparse.write_all(&bytes(at, 10_000)).unwrap();
    }
    sparse.set_len(50 << 20).unwrap();
    fs::hard_link(root.join("large"), root.join("etc/large-again")).unwrap();
    symlink("etc/file-0001.conf", root.join("short-link")).unwrap();
    symlink("x".repeat(900), root.join("long-link")).unwrap();
    fs::write(
        root.join(OsStr::from_bytes(b"not\xfftext\x1b[31m")),
        b"odd name",
    )
    .unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o4750)).unwrap();
    super::tools::run(&["mkfifo", root.join("fifo").to_str().unwrap()]);
}

/// Changes of every kind. What [`populate`] made is there before.
pub fn change(root: &Path, can: Abilities) {
    let rewrite = |name: &str, at: u64, what: &[u8]| {
        let file = File::options().write(true).open(root.join(name)).unwrap();
        file.write_all_at(what, at).unwrap();
        file
    };
    fs::write(root.join("etc/added"), bytes(99, 5_000)).unwrap();
    fs::create_dir(root.join("added-folder")).unwrap();
    fs::write(root.join("added-folder/inside"), b"new").unwrap();
    drop(rewrite("etc/file-0005.conf", 0, b"changed"));
    drop(rewrite("large", 3 << 20, &bytes(5, 100_000)));
    // The same length and time as before, so that only content tells.
    let disguised = root.join("usr/share/doc/file-0020.conf");
    let time = fs::metadata(&disguised).unwrap().modified().unwrap();
    let file = rewrite("usr/share/doc/file-0020.conf", 10, b"disguised");
    file.set_modified(time).unwrap();
    drop(file);
    fs::remove_file(root.join("etc/file-0007.conf")).unwrap();
    fs::remove_dir_all(root.join("level0/level1")).unwrap();
    fs::rename(
        root.join("etc/file-0009.conf"),
        root.join("var/log/renamed"),
    )
    .unwrap();
    fs::rename(root.join("usr/share"), root.join("usr/shared")).unwrap();
    let touched = File::options()
        .write(true)
        .open(root.join("var/log/file-0003.conf"))
        .unwrap();
    touched
        .set_modified(SystemTime::now() - Duration::from_secs(1_000_000))
        .unwrap();
    drop(touched);
    // Replaced by another file of that name.
    fs::remove_file(root.join("etc/file-0011.conf")).unwrap();
    fs::write(root.join("etc/file-0011.conf"), b"another file").unwrap();
    // A file that becomes a folder, and a folder that becomes a file.
    fs::remove_file(root.join("etc/file-0012.conf")).unwrap();
    fs::create_dir(root.join("etc/file-0012.conf")).unwrap();
    if !can.unix {
        return;
    }
    fs::set_permissions(
        root.join("etc/file-0013.conf"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::remove_file(root.join("short-link")).unwrap();
    symlink("etc/file-0002.conf", root.join("short-link")).unwrap();
    fs::hard_link(root.join("etc/file-0014.conf"), root.join("var/log/linked")).unwrap();
    std::os::unix::fs::chown(root.join("etc/file-0015.conf"), Some(1000), Some(1000)).unwrap();
}
