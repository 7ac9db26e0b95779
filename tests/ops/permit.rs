//! Permitting: a user that runs machines gets what it lacks and no more, nobody else gets anything, and all files get
//! back the permissions that they had.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::unistd::geteuid;
use qanopy::host::{RealHost, User};
use qanopy::ops::{
    self, Context, Danger, Error, NoteKind, Permit, PermitScope, RefusalKind, Request,
};

use crate::support::planning::{context, execute, execute_request, words};
use crate::support::{Qemu, qemu};

const NOBODY: u32 = 65_534;
const SOMEBODY: u32 = 65_533;

/// `home/images` with `base`, `disk` on it, and files that are no business of a machine's.
struct Place {
    dir: tempfile::TempDir,
    qemu: Qemu,
}

impl Place {
    /// None after a loud line on stderr where lists cannot be looked at or kept.
    fn new() -> Option<Self> {
        let qemu = qemu()?;
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("home/images");
        fs::create_dir_all(&images).unwrap();
        let qemu = qemu.within(&images);
        let place = Self { dir, qemu };
        place.make();
        place.mode("", 0o755);
        for (name, mode) in [
            ("home", 0o700),
            ("home/images", 0o710),
            ("home/images/base", 0o640),
            ("home/images/disk", 0o600),
            ("home/images/secret", 0o600),
            ("home/images/open", 0o644),
        ] {
            place.mode(name, mode);
        }
        if !place.setfacl("u:65533:rwx,m::r-x", "home/images") {
            skipped("no setfacl, or no access control lists in the folder for temporary files");
            return None;
        }
        Some(place)
    }

    fn make(&self) {
        self.qemu
            .img(&["create", "-q", "-f", "qcow2", "base", "1M"]);
        self.qemu.img(&[
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "disk",
        ]);
        for name in ["secret", "open"] {
            fs::write(self.at("home/images").join(name), name).unwrap();
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().canonicalize().unwrap();
        if name.is_empty() { dir } else { dir.join(name) }
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn setfacl(&self, entries: &str, name: &str) -> bool {
        let mut command = Command::new("setfacl");
        let ended = command
            .args(["-n", "-m", entries])
            .arg(self.at(name))
            .status();
        ended.is_ok_and(|ended| ended.success())
    }

    fn all(&self) -> Vec<PathBuf> {
        let names = [
            "",
            "home",
            "home/images",
            "home/images/base",
            "home/images/disk",
        ];
        let others = ["home/images/secret", "home/images/open"];
        names
            .iter()
            .chain(&others)
            .map(|name| self.at(name))
            .collect()
    }

    /// What `getfacl` says of all files.
    fn lists(&self) -> Vec<String> {
        self.all().iter().map(|path| list(path)).collect()
    }

    /// What a user may do, as the kernel sees it, which lets root ask for others: `r home/images/base`.
    fn rights(&self, user: u32) -> BTreeSet<String> {
        let script =
            "for f; do for r in r w x; do if test -$r \"$f\"; then echo \"$r $f\"; fi; done; done";
        let ended = Command::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args(["--clear-groups", "sh", "-c", script, "sh"])
            .args(self.all())
            .current_dir("/")
            .output()
            .unwrap();
        let here = format!("{}/", self.at("").display());
        let told = String::from_utf8(ended.stdout).unwrap();
        told.lines().map(|line| line.replace(&here, "")).collect()
    }

    fn context(&self) -> Context {
        context(Arc::new(RealHost), &self.at("home/images"))
    }

    fn permit(&self, scope: PermitScope) -> Request {
        let user = User::named("65534").unwrap().unwrap();
        Permit::run(&user, vec![self.at("home/images/disk")], scope).into()
    }
}

fn skipped(why: &str) {
    // Not `eprintln!`, whose output the test harness swallows when the test passes.
    let line = format!("SKIPPED ({why})\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn list(path: &Path) -> String {
    let mut command = Command::new("getfacl");
    let ended = command.arg("-cpnE").arg(path).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout)
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn the_user_gets_what_it_lacks_and_nobody_else_gets_anything() {
    let Some(place) = Place::new() else { return };
    let may_ask = geteuid().is_root();
    let rights = |user| match may_ask {
        true => place.rights(user),
        false => BTreeSet::new(),
    };
    let before = (place.lists(), rights(NOBODY), rights(SOMEBODY));
    let plan = ops::plan(&place.context(), &place.permit(PermitScope::All));
    let told = words(&plan);
    assert_eq!(plan.danger, Danger::Reversible, "{told}");
    assert_eq!(plan.effects.len(), 4, "{told}");
    assert!(told.contains("user:nobody:rw-"), "{told}");
    let warned = plan.notes.iter().filter(|note| note.warning);
    let warned: Vec<_> = warned.map(|note| note.kind).collect();
    assert_eq!(warned, [NoteKind::Permissions], "{told}");
    assert_eq!(plan.commands.len(), 4);
    let outcome = execute(plan).unwrap();
    let expected = [
        (
            "home",
            "user::rwx user:65534:--x group::--- mask::--x other::---",
        ),
        (
            "home/images",
            "user::rwx user:65533:r-x user:65534:--x group::--x mask::r-x other::---",
        ),
        (
            "home/images/base",
            "user::rw- user:65534:r-- group::r-- mask::r-- other::---",
        ),
        (
            "home/images/disk",
            "user::rw- user:65534:rw- group::--- mask::rw- other::---",
        ),
    ];
    for (name, expected) in expected {
        assert_eq!(list(&place.at(name)), expected, "{name}");
    }
    if may_ask {
        let new: BTreeSet<String> = rights(NOBODY).difference(&before.1).cloned().collect();
        let expected = set([
            "x home",
            "x home/images",
            "r home/images/base",
            "r home/images/disk",
            "w home/images/disk",
            // The plan warns of it.
            "r home/images/open",
        ]);
        assert_eq!(new, expected);
        assert_eq!(rights(SOMEBODY), before.2);
    }
    let again = ops::plan(&place.context(), &place.permit(PermitScope::All));
    assert!(again.is_so(), "{}", words(&again));
    execute_request(&place.context(), &outcome.undo.unwrap()).unwrap();
    assert_eq!((place.lists(), rights(NOBODY), rights(SOMEBODY)), before);
}

#[test]
fn only_the_folders_are_opened_to_whom_the_files_are_given() {
    let Some(place) = Place::new() else { return };
    // What it may do there already it may do still.
    place.mode("home", 0o704);
    let plan = ops::plan(&place.context(), &place.permit(PermitScope::Folders));
    assert_eq!(plan.effects.len(), 2, "{}", words(&plan));
    execute(plan).unwrap();
    let home = "user::rwx user:65534:r-x group::--- mask::r-x other::r--";
    assert_eq!(list(&place.at("home")), home);
    let disk = "user::rw- group::--- other::---";
    assert_eq!(list(&place.at("home/images/disk")), disk);
}

#[test]
fn no_file_is_opened_that_an_image_names_where_nobody_looked() {
    let Some(place) = Place::new() else { return };
    let secret = place.at("home/secret.txt");
    fs::write(&secret, vec![7; 1 << 20]).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let base = secret.to_str().unwrap();
    place
        .qemu
        .img(&["rebase", "-u", "-F", "raw", "-b", base, "disk"]);
    let before = place.lists();
    let plan = ops::plan(&place.context(), &place.permit(PermitScope::All));
    let kinds: Vec<_> = plan.refusals.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [RefusalKind::OutsideRoots], "{}", words(&plan));
    // The folders are those of the disk as well.
    execute_request(&place.context(), &place.permit(PermitScope::Folders)).unwrap();
    assert_eq!(list(&secret), "user::rw- group::--- other::---");
    assert_ne!(place.lists(), before);
}

#[test]
fn the_owner_of_a_file_gets_it_by_the_mode() {
    let Some(place) = Place::new() else { return };
    if !geteuid().is_root() {
        return skipped("not root");
    }
    let disk = place.at("home/images/disk");
    std::os::unix::fs::chown(&disk, Some(NOBODY), None).unwrap();
    place.mode("home/images/disk", 0o040);
    let outcome = execute_request(&place.context(), &place.permit(PermitScope::All)).unwrap();
    assert_eq!(list(&disk), "user::rw- group::r-- other::---");
    execute_request(&place.context(), &outcome.undo.unwrap()).unwrap();
    assert_eq!(list(&disk), "user::--- group::r-- other::---");
}

#[test]
fn permissions_that_were_changed_meanwhile_are_left_as_they_are() {
    let Some(place) = Place::new() else { return };
    let plan = ops::plan(&place.context(), &place.permit(PermitScope::All));
    place.mode("home/images/disk", 0o620);
    let before = place.lists();
    match execute(plan) {
        Err(Error::Stale(report)) => assert!(report.text.contains("disk"), "{}", report.text),
        other => panic!("{other:?}"),
    }
    assert_eq!(place.lists(), before);
    let outcome = execute_request(&place.context(), &place.permit(PermitScope::All)).unwrap();
    assert!(place.setfacl("u:65534:r", "home/images/disk"));
    let then = place.lists();
    let undo = ops::plan(&place.context(), &outcome.undo.unwrap());
    assert!(
        words(&undo).contains("disk were changed since"),
        "{}",
        words(&undo)
    );
    assert_eq!(place.lists(), then);
}

#[test]
fn where_one_file_does_not_take_them_no_file_keeps_them() {
    let Some(place) = Place::new() else { return };
    let disk = place.at("home/images/disk");
    let chattr = |flag: &str| {
        let ended = Command::new("chattr").arg(flag).arg(&disk).output();
        ended.is_ok_and(|ended| ended.status.success())
    };
    if !chattr("+i") {
        return skipped("no file can be made immutable here");
    }
    let before = place.lists();
    let ended = execute_request(&place.context(), &place.permit(PermitScope::All));
    assert!(chattr("-i"));
    assert!(matches!(ended, Err(Error::Failed(_))), "{ended:?}");
    assert_eq!(place.lists(), before);
}

/// A filesystem without access control lists, mounted until this is dropped.
struct WithoutLists(PathBuf);

impl WithoutLists {
    fn at(dir: PathBuf) -> Option<Self> {
        let mut command = Command::new("mount");
        let ended = command.args(["-t", "ramfs", "none"]).arg(&dir).output();
        ended
            .is_ok_and(|ended| ended.status.success())
            .then_some(Self(dir))
    }
}

impl Drop for WithoutLists {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn where_no_lists_are_kept_everybody_gets_it_and_the_plan_warns_of_that() {
    let Some(place) = Place::new() else { return };
    let Some(_mounted) = WithoutLists::at(place.at("home/images")) else {
        return skipped("no ramfs can be mounted, not root?");
    };
    place.make();
    for (name, mode) in [("", 0o750), ("/base", 0o640), ("/disk", 0o600)] {
        place.mode(&format!("home/images{name}"), mode);
    }
    let plan = ops::plan(&place.context(), &place.permit(PermitScope::All));
    let told = words(&plan);
    for warned in [
        "everybody may pass it then",
        "everybody may read it then",
        "everybody may read and write it then",
    ] {
        assert!(told.contains(warned), "{told}");
    }
    let mode = |name: &str| {
        let stat = fs::metadata(place.at("home/images").join(name)).unwrap();
        stat.permissions().mode() & 0o7777
    };
    let outcome = execute(plan).unwrap();
    assert_eq!(
        (mode(""), mode("base"), mode("disk")),
        (0o751, 0o644, 0o606)
    );
    assert!(place.rights(NOBODY).contains("w home/images/disk"));
    execute_request(&place.context(), &outcome.undo.unwrap()).unwrap();
    assert_eq!(
        (mode(""), mode("base"), mode("disk")),
        (0o750, 0o640, 0o600)
    );
}
