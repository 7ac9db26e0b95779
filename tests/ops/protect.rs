//! Protecting: nobody may write an image any more, it shows the same, and it gets back the mode that it had.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::geteuid;
use qanopy::host::RealHost;
use qanopy::ops::{
    self, Commit, CommittedLayer, Danger, NoteKind, Protect, RefusalKind, Request, Siblings,
};

use crate::support::planning::{context, execute, execute_request, words};
use crate::support::{Qemu, qemu};

fn protect(image: &Path, mode: Option<u32>) -> Request {
    let image = image.to_path_buf();
    Protect { image, mode }.into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn base_and_overlay(qemu: &Qemu, dir: &Path) {
    let here = qemu.within(dir);
    here.img(&["create", "-q", "-f", "qcow2", "base", "1M"]);
    here.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "over",
    ]);
    fs::set_permissions(dir.join("base"), fs::Permissions::from_mode(0o664)).unwrap();
}

#[test]
fn nobody_may_write_a_protected_image_and_undo_gives_it_back_its_mode() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    base_and_overlay(&qemu, dir.path());
    let here = qemu.within(dir.path());
    let base = dir.path().join("base");
    let shown = here.digest("over");
    let context = context(Arc::new(RealHost), dir.path());
    let plan = ops::plan(&context, &protect(&base, None));
    let told = words(&plan);
    assert!(
        told.contains("mode 0444, was 0664: nobody may write it"),
        "{told}"
    );
    assert!(plan.notes.iter().all(|note| !note.warning), "{told}");
    assert_eq!(plan.danger, Danger::Reversible);
    let outcome = execute(plan).unwrap();
    assert_eq!(mode(&base), 0o444);
    assert_eq!(here.digest("over"), shown);
    let again = ops::plan(&context, &protect(&base, None));
    assert!(again.is_so(), "{}", words(&again));
    execute_request(&context, &outcome.undo.unwrap()).unwrap();
    assert_eq!(mode(&base), 0o664);
}

#[test]
fn a_leaf_that_nobody_may_write_is_warned_of_and_any_mode_can_be_given() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    base_and_overlay(&qemu, dir.path());
    let over = dir.path().join("over");
    let context = context(Arc::new(RealHost), dir.path());
    let plan = ops::plan(&context, &protect(&over, None));
    assert!(
        plan.notes.iter().any(|note| note.warning),
        "{}",
        words(&plan)
    );
    execute_request(&context, &protect(&over, Some(0o600))).unwrap();
    assert_eq!(mode(&over), 0o600);
    let nothing = ops::plan(&context, &protect(&dir.path().join("nothing"), None));
    assert_eq!(nothing.refusals[0].kind, RefusalKind::NotFound);
}

#[test]
fn what_writes_a_protected_image_says_so() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    base_and_overlay(&qemu, dir.path());
    let here = qemu.within(dir.path());
    here.io(dir.path().join("over"), &["write -P 1 0 64k"]);
    let context = context(Arc::new(RealHost), dir.path());
    let commit = Commit {
        overlay: dir.path().join("over"),
        into: None,
        layer: CommittedLayer::Trash,
        siblings: Siblings::Refuse,
        keep_old: None,
    };
    let is_told = |plan: &ops::Plan| {
        let mut notes = plan.notes.iter();
        notes.any(|note| note.kind == NoteKind::Protected && note.warning)
    };
    let plan = ops::plan(&context, &commit.clone().into());
    assert!(!is_told(&plan), "{}", words(&plan));
    execute_request(&context, &protect(&dir.path().join("base"), None)).unwrap();
    let plan = ops::plan(&context, &commit.into());
    if geteuid().is_root() {
        assert!(plan.refusals.is_empty(), "{}", words(&plan));
        assert!(is_told(&plan), "{}", words(&plan));
    } else {
        assert_eq!(plan.refusals[0].kind, RefusalKind::NotWritable);
        let lift = plan.refusals[0].ways_out[0].request.clone();
        execute_request(&context, &lift).unwrap();
        assert_eq!(mode(&dir.path().join("base")), 0o644);
    }
}
