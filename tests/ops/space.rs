//! Where the space went is told from tables alone, as `du`, `qemu-img map` and `qemu-img check` tell it; what is
//! said to be hidden is shown by no image.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use qanopy::host::RealHost;
use qanopy::machines::Machines;
use qanopy::ops::{self, Context, LayerSpace, Saving, SavingKind, SpaceReport};
use serde_json::Value;

use crate::support::chains::{Kind, Shape, Tree, trees};
use crate::support::{self, Qemu, own_code, planning, qemu};

/// Older than the leaves that tests make.
const ANY_AGE: Duration = Duration::ZERO;

fn report(context: &Context) -> SpaceReport {
    ops::space(context, ANY_AGE, &|| true).unwrap()
}

fn here(dir: &Path) -> SpaceReport {
    report(&own_code::context(&own_code::real_host(), dir))
}

fn of<'r>(report: &'r SpaceReport, path: &Path) -> &'r LayerSpace {
    let mut images = report.images.iter();
    &images.find(|image| image.path == path).unwrap().space
}

/// The map that QEMU tells of an image: start, length, layer, data, zeros.
fn map(path: &Path, format: &str) -> Vec<(u64, u64, u64, bool, bool)> {
    let mut command = std::process::Command::new("qemu-img");
    command
        .args(["map", "--output=json", "-f", format])
        .arg(path)
        .current_dir(path.parent().unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path:?}: {said}");
    let runs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    runs.iter()
        .map(|run| {
            let number = |key: &str| run[key].as_u64().unwrap();
            let is = |key: &str| run[key].as_bool().unwrap();
            (
                number("start"),
                number("length"),
                number("depth"),
                is("data"),
                is("zero"),
            )
        })
        .collect()
}

/// Per layer: whether each sector holds data, and whether a leaf shows it.
fn sectors(tree: &Tree, dir: &Path) -> Vec<Vec<(bool, bool)>> {
    let mut layers: Vec<Vec<(bool, bool)>> = vec![Vec::new(); tree.layers.len()];
    for (index, layer) in tree.layers.iter().enumerate() {
        let mut chain = vec![index];
        while let Some(parent) = tree.layers[*chain.last().unwrap()].parent {
            chain.push(parent);
        }
        let is_leaf = tree.children(index).is_empty();
        for (start, len, depth, data, zero) in map(&dir.join(tree.name(index)), layer.format()) {
            if !data || zero {
                continue;
            }
            let owner = &mut layers[chain[usize::try_from(depth).unwrap()]];
            for sector in start / 512..(start + len).div_ceil(512) {
                let sector = usize::try_from(sector).unwrap();
                if owner.len() <= sector {
                    owner.resize(sector + 1, (false, false));
                }
                owner[sector].0 |= depth == 0;
                owner[sector].1 |= is_leaf;
            }
        }
    }
    layers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn each_layer_is_told_as_du_and_the_maps_of_qemu_img_tell_it(tree in trees(Shape { layers: 6, ..Shape::default() })) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let home = tempfile::tempdir().unwrap();
        tree.build(home.path());
        let report = here(home.path());
        let has_snapshots = tree.layers.iter().any(|layer| layer.snapshots() > 0);
        for (index, sectors) in sectors(&tree, home.path()).iter().enumerate() {
            let path = home.path().join(tree.name(index));
            let space = of(&report, &path);
            prop_assert_eq!(&space.unread, &None);
            prop_assert_eq!(space.disk, fs::metadata(&path).unwrap().blocks() * 512);
            let bytes = |is: &dyn Fn(&(bool, bool)) -> bool| sectors.iter().filter(|one| is(one)).count() as u64 * 512;
            let (data, hidden) = (bytes(&|one| one.0), bytes(&|one| one.0 && !one.1));
            // QEMU tells of a raw file's last sector as a whole.
            let odd = if matches!(tree.layers[index].kind, Kind::Raw) { 511 } else { 0 };
            prop_assert!(data.abs_diff(space.data) <= odd, "{}: {data} {}", index, space.data);
            // Of what snapshots show no map of QEMU tells.
            if has_snapshots {
                prop_assert!(space.hidden <= hidden, "{}: {hidden} {}", index, space.hidden);
            } else {
                prop_assert!(hidden.abs_diff(space.hidden) <= odd, "{}: {hidden} {}", index, space.hidden);
            }
        }
    }
}

/// `base` with 4 MiB of data; on it `layer` over 3 MiB of these, and `leaf` over 2 MiB of those.
fn chain(qemu: &Qemu) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-q", "-f", "qcow2", "base", "8M"]);
    here.io("base", &["write -P 1 0 4M"]);
    for (base, name, write) in [
        ("base", "layer", "write -P 2 0 3M"),
        ("layer", "leaf", "write -P 3 0 2M"),
    ] {
        here.img(&[
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, name,
        ]);
        here.io(name, &[write]);
    }
    dir
}

fn hidden(report: &SpaceReport, dir: &Path) -> (u64, u64, u64) {
    let of = |name: &str| of(report, &dir.join(name)).hidden >> 20;
    (of("base"), of("layer"), of("leaf"))
}

#[test]
fn what_somebody_may_see_is_not_hidden() {
    let Some(qemu) = qemu() else { return };
    let dir = chain(&qemu);
    let (dir, tools) = (dir.path(), qemu.within(dir.path()));
    assert_eq!(hidden(&here(dir), dir), (3, 2, 0));

    // A machine that starts from the layer sees it as it is.
    let mut context = own_code::context(&own_code::real_host(), dir);
    let machine = planning::machine_of(dir.join("layer"));
    context.know_machines(Arc::new(Machines::of(vec![machine], Vec::new())));
    assert_eq!(hidden(&report(&context), dir), (3, 0, 0));

    // A second leaf sees what it does not have itself.
    tools.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "layer", "other",
    ]);
    tools.io("other", &["write -P 4 1M 1M"]);
    assert_eq!(hidden(&here(dir), dir), (3, 1, 0));
    // So does one that reads the file in a way that is not understood.
    fs::remove_file(dir.join("other")).unwrap();
    let slice = "json:{\"driver\":\"raw\",\"size\":1048576,\"file\":{\"driver\":\"file\",\"filename\":\"layer\"}}";
    tools.img(&[
        "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", slice, "other", "1M",
    ]);
    assert_eq!(hidden(&here(dir), dir).1, 0);
    fs::remove_file(dir.join("other")).unwrap();

    // A snapshot taken before the leaf was written sees all.
    tools.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "layer", "old",
    ]);
    tools.img(&["snapshot", "-c", "empty", "old"]);
    tools.io("old", &["write -P 5 0 4M"]);
    assert_eq!(hidden(&here(dir), dir), (3, 0, 0));
    fs::remove_file(dir.join("old")).unwrap();
    tools.img(&["snapshot", "-c", "full", "layer"]);
    assert_eq!(hidden(&here(dir), dir), (3, 0, 0));
}

#[test]
fn an_image_that_cannot_be_read_hides_nothing_and_is_told() {
    let Some(qemu) = qemu() else { return };
    let dir = chain(&qemu);
    let dir = dir.path();
    let mut bytes = fs::read(dir.join("leaf")).unwrap();
    // Its L1 table lies far behind its end.
    bytes[40..48].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    fs::write(dir.join("leaf"), bytes).unwrap();
    let report = here(dir);
    assert_eq!(of(&report, &dir.join("layer")).hidden, 0);
    assert!(of(&report, &dir.join("leaf")).unread.is_some());
}

#[test]
fn leaks_and_what_lies_past_the_end_are_those_of_qemu_img_check() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tools = qemu.within(dir.path());
    tools.img(&["create", "-q", "-f", "qcow2", "disk", "8M"]);
    tools.io("disk", &["write -P 1 0 2M"]);
    let path = dir.path().join("disk");
    let mut bytes = fs::read(&path).unwrap();
    // The last two clusters are counted, and no table names them; a tail follows.
    let at = |bytes: &[u8], offset: usize| {
        u64::from_be_bytes(bytes[offset..offset + 8].try_into().unwrap())
    };
    let l1 = usize::try_from(at(&bytes, 40)).unwrap();
    let l2 = usize::try_from(at(&bytes, l1) & 0x00ff_ffff_ffff_fe00).unwrap();
    bytes[l2 + 30 * 8..l2 + 32 * 8].fill(0);
    bytes.extend(vec![7; 300 << 10]);
    fs::write(&path, bytes).unwrap();
    let output = tools.try_img(&["check", "--output=json", "disk"]);
    let said: Value = serde_json::from_slice(output.stdout.as_ref()).unwrap();
    let report = here(dir.path());
    let space = of(&report, &path);
    assert_eq!(space.leaked, said["leaks"].as_u64().unwrap() * 65536);
    assert_eq!(space.leaked, 2 * 65536);
    let end = said["image-end-offset"].as_u64().unwrap();
    assert_eq!(space.past_end, fs::metadata(&path).unwrap().len() - end);
    assert!(space.past_end >= 300 << 10);
    let leaks = report
        .savings
        .iter()
        .find(|one| one.kind == SavingKind::FreeLeaks)
        .unwrap();
    assert_eq!(leaks.frees, 2 * 65536);
}

fn disk(dir: &Path) -> u64 {
    let files = support::script::files_below(dir);
    files
        .iter()
        .map(|file| fs::metadata(file).unwrap().blocks() * 512)
        .sum()
}

#[test]
fn what_is_said_to_come_free_comes_free() {
    let Some(qemu) = qemu() else { return };
    for kind in [SavingKind::Squash, SavingKind::Discard] {
        let dir = chain(&qemu);
        let dir = dir.path();
        let context = planning::context(Arc::new(RealHost), dir);
        let found = report(&context);
        let saving = found.savings.iter().find(|one| one.kind == kind).unwrap();
        let before = disk(dir);
        planning::execute_request(&context, &saving.request).unwrap();
        let context = planning::context(Arc::new(RealHost), dir);
        let found = report(&context);
        let empties = |one: &&Saving| one.kind == SavingKind::EmptyTrash;
        let emptied = found.savings.iter().find(empties).unwrap();
        assert_eq!(emptied.frees, found.trash);
        planning::execute_request(&context, &emptied.request).unwrap();
        fs::remove_dir_all(dir.join("state")).unwrap();
        let freed = before - disk(dir);
        // A squash frees the tables of the layer as well.
        assert!(
            freed >= saving.frees && freed <= saving.frees + (1 << 20),
            "{kind:?}: {freed} {}",
            saving.frees
        );
    }
}

#[test]
fn a_young_leaf_and_one_of_a_machine_are_not_proposed() {
    let Some(qemu) = qemu() else { return };
    let dir = chain(&qemu);
    let context = own_code::context(&own_code::real_host(), dir.path());
    let discards = |age: Duration| {
        let found = ops::space(&context, age, &|| true).unwrap();
        let kinds = found
            .savings
            .iter()
            .filter(|one| one.kind == SavingKind::Discard);
        kinds
            .flat_map(|one| one.images.clone())
            .collect::<Vec<PathBuf>>()
    };
    assert_eq!(discards(ANY_AGE), [dir.path().join("leaf")]);
    assert_eq!(discards(Duration::from_secs(3600)), [] as [PathBuf; 0]);
    let old = SystemTime::now() - Duration::from_secs(7200);
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("leaf"))
        .unwrap();
    file.set_modified(old).unwrap();
    let context = own_code::context(&own_code::real_host(), dir.path());
    let found = ops::space(&context, Duration::from_secs(3600), &|| true).unwrap();
    assert!(
        found
            .savings
            .iter()
            .any(|one| one.kind == SavingKind::Discard)
    );
}

#[test]
fn it_ends_soon_when_nobody_waits_any_more() {
    let Some(qemu) = qemu() else { return };
    let dir = chain(&qemu);
    let context = own_code::context(&own_code::real_host(), dir.path());
    let asked = AtomicUsize::new(0);
    let go_on = || asked.fetch_add(1, Ordering::SeqCst) < 1;
    assert!(ops::space(&context, ANY_AGE, &go_on).is_none());
}
