//! What is inside images, kept from run to run: none is opened that is known, and one whose chain was written is looked
//! at again.

use crate::support;
use crate::support::planning;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use planning::context;
use qanopy::forest::Insides;
use qanopy::host::RealHost;
use qanopy::inside::Until;
use qanopy::ops::{self, Context, InsideProgress, InsidesByPath};
use support::{guest_disks, qemu};

/// Images that were written a while ago, so that a change of one shows.
fn disks() -> Option<tempfile::TempDir> {
    let qemu = qemu()?;
    let dir = tempfile::tempdir().unwrap();
    guest_disks::make(dir.path(), &qemu);
    for name in ["base.qcow2", "middle.qcow2", "top.qcow2"] {
        written_before(&dir.path().join(name), 3600);
    }
    Some(dir)
}

fn written_before(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let then = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(then).unwrap();
}

fn real(dir: &Path) -> Context {
    context(Arc::new(RealHost), dir)
}

/// What a run finds that knows what earlier ones have kept.
fn found(context: &Context) -> (InsidesByPath, InsideProgress) {
    let mut known = ops::kept_insides(context.state_dir.as_deref());
    let (mut found, mut last) = (InsidesByPath::new(), InsideProgress::default());
    ops::insides(
        context,
        &mut known,
        &Until::as_long_as(|| true),
        &mut |path, inside, progress| {
            found.insert(path.to_path_buf(), Arc::clone(inside));
            last = progress;
        },
    );
    (found, last)
}

fn system(found: &InsidesByPath, path: &Path) -> Option<String> {
    found.get(path)?.system_text()
}

#[test]
fn what_is_known_is_told_without_opening_an_image() {
    let Some(dir) = disks() else { return };
    let dir = dir.path();
    let cold = real(dir);
    assert!(
        ops::known_insides(&cold.forest, &ops::kept_insides(Some(&dir.join("state")))).is_empty()
    );
    let (first, progress) = found(&cold);
    assert_eq!((progress.looked, progress.all), (3, 3));
    let top = dir.join("top.qcow2");
    let debian = "Debian GNU/Linux 12 (bookworm), hostname golden";
    assert_eq!(system(&first, &top).as_deref(), Some(debian));
    let one = &first[&top].filesystems[0];
    assert_eq!((one.kind.as_str(), one.label.as_str()), ("ext4", "system"));
    // The images are gone: whoever opened one of them would find nothing.
    let warm = real(dir);
    for name in ["base.qcow2", "middle.qcow2", "top.qcow2"] {
        fs::rename(dir.join(name), dir.join("state").join(name)).unwrap();
    }
    assert_eq!(found(&warm).0, first);
    let kept = ops::kept_insides(warm.state_dir.as_deref());
    assert_eq!(ops::known_insides(&warm.forest, &kept), first);
}

#[test]
fn an_image_whose_chain_was_written_is_looked_at_again() {
    let Some(dir) = disks() else { return };
    let dir = dir.path();
    let before = found(&real(dir)).0;
    let known = |context: &Context| {
        let kept = ops::kept_insides(context.state_dir.as_deref());
        ops::known_insides(&context.forest, &kept).len()
    };
    assert_eq!(known(&real(dir)), 3);
    // The one in the middle: what is built on it is another disk now, and its base is not.
    written_before(&dir.join("middle.qcow2"), 60);
    let again = real(dir);
    assert_eq!(known(&again), 1);
    assert_eq!(found(&again).0, before);
    assert_eq!(known(&again), 3);
    // What was written this moment may be written once more without a sign of it.
    written_before(&dir.join("base.qcow2"), 0);
    let young = real(dir);
    assert_eq!(found(&young).0, before);
    assert_eq!(known(&young), 0);
    Insides::at(dir.join("state")).forget(|_| true).unwrap();
    assert_eq!(ops::kept_insides(Some(&dir.join("state"))).len(), 0);
}

#[test]
fn three_hundred_images_on_a_warm_cache_open_none() {
    let Some(dir) = disks() else { return };
    let (dir, qemu) = (dir.path(), qemu().unwrap());
    let here = qemu.within(dir);
    here.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "top.qcow2",
        "leaf0.qcow2",
    ]);
    for number in 1..300 {
        fs::copy(
            dir.join("leaf0.qcow2"),
            dir.join(format!("leaf{number}.qcow2")),
        )
        .unwrap();
    }
    for number in 0..300 {
        written_before(&dir.join(format!("leaf{number}.qcow2")), 60);
    }
    let cold = real(dir);
    let (first, progress) = found(&cold);
    assert_eq!(progress.all, 303);
    for number in 0..300 {
        fs::remove_file(dir.join(format!("leaf{number}.qcow2"))).unwrap();
    }
    let (warm, progress) = found(&cold);
    assert_eq!((warm.len(), progress.looked), (303, 303));
    assert_eq!(warm, first);
    assert!(warm.values().all(|inside| inside.system.is_some()));
}

#[test]
fn looking_stops_where_nobody_waits() {
    let Some(dir) = disks() else { return };
    let context = real(dir.path());
    // At once, and in the midst of the first image.
    for most in [0, 1, 2, 5] {
        let mut heard = 0;
        let mut known = ops::kept_insides(context.state_dir.as_deref());
        let asked = AtomicUsize::new(0);
        let until = Until::as_long_as(move || asked.fetch_add(1, Ordering::SeqCst) < most);
        ops::insides(&context, &mut known, &until, &mut |_, _, _| heard += 1);
        assert_eq!((heard, known.len()), (0, 0), "{most}");
    }
}
