//! Where the space went is told from tables alone, as `du`, `qemu-img map` and `qemu-img check` tell it; what is
//! said to be hidden is shown by no image.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use qanopy::host::{Host, RealHost};
use qanopy::inside::Until;
use qanopy::machines::Machines;
use qanopy::ops::{
    self, Context, LayerSpace, Saving, SavingKind, SpaceCache, SpaceQuery, SpaceReport,
};
use serde_json::Value;

use crate::support::chains::{Kind, Shape, Tree, trees};
use crate::support::{self, Calls, FaultyHost, Qemu, own_code, planning, qemu};

/// Older than the leaves that tests make.
const ANY_AGE: Duration = Duration::ZERO;

/// The question whose answer is only waited for.
pub(crate) fn query(known: &SpaceCache) -> SpaceQuery<'_> {
    SpaceQuery {
        older_than: ANY_AGE,
        reads: false,
        estimates_compressing: false,
        known,
        until: Until::as_long_as(|| true),
        advances: &|_| {},
        hears: &|_, _| {},
    }
}

pub(crate) fn report(context: &Context) -> SpaceReport {
    ops::space(context, &query(&SpaceCache::default())).unwrap()
}

pub(crate) fn here(dir: &Path) -> SpaceReport {
    report(&own_code::context(&own_code::real_host(), dir))
}

pub(crate) fn of<'r>(report: &'r SpaceReport, path: &Path) -> &'r LayerSpace {
    let mut images = report.images.iter();
    &images.find(|image| image.path == path).unwrap().space
}

/// A run of the map that QEMU tells of an image.
struct Run {
    start: u64,
    len: u64,
    depth: u64,
    present: bool,
    data: bool,
    zero: bool,
}

fn map(path: &Path, format: &str) -> Vec<Run> {
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
            Run {
                start: number("start"),
                len: number("length"),
                depth: number("depth"),
                present: is("present"),
                data: is("data"),
                zero: is("zero"),
            }
        })
        .collect()
}

/// What the maps of QEMU tell of a layer.
#[derive(Debug, Default, Clone)]
struct Mapped {
    /// Per sector: whether it holds data, and whether a leaf shows it.
    sectors: Vec<(bool, bool)>,
    /// Bytes that it says are zero.
    zeros: u64,
}

fn mapped(tree: &Tree, dir: &Path) -> Vec<Mapped> {
    let mut layers: Vec<Mapped> = vec![Mapped::default(); tree.layers.len()];
    for (index, layer) in tree.layers.iter().enumerate() {
        let mut chain = vec![index];
        while let Some(parent) = tree.layers[*chain.last().unwrap()].parent {
            chain.push(parent);
        }
        let is_leaf = tree.children(index).is_empty();
        for run in map(&dir.join(tree.name(index)), layer.format()) {
            if run.depth == 0 && run.present && run.zero {
                layers[index].zeros += run.len;
            }
            let Run {
                start, len, depth, ..
            } = run;
            if !run.data || run.zero {
                continue;
            }
            let owner = &mut layers[chain[usize::try_from(depth).unwrap()]].sectors;
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
        let mut sum = LayerSpace::default();
        for (index, Mapped { sectors, zeros }) in mapped(&tree, home.path()).iter().enumerate() {
            let path = home.path().join(tree.name(index));
            let space = of(&report, &path);
            prop_assert_eq!(&space.unread, &None);
            prop_assert_eq!(space.disk, fs::metadata(&path).unwrap().blocks() * 512);
            let bytes = |is: &dyn Fn(&(bool, bool)) -> bool| sectors.iter().filter(|one| is(one)).count() as u64 * 512;
            let (data, hidden) = (bytes(&|one| one.0), bytes(&|one| one.0 && !one.1));
            // QEMU tells of a raw file's last sector as a whole.
            let odd = if matches!(tree.layers[index].kind, Kind::Raw) { 511 } else { 0 };
            prop_assert!(data.abs_diff(space.data) <= odd, "{}: {data} {}", index, space.data);
            prop_assert!(zeros.abs_diff(space.zeros) <= odd, "{}: {zeros} {}", index, space.zeros);
            prop_assert_eq!(space.parts().iter().map(|(_, bytes)| bytes).sum::<u64>(), space.disk);
            sum = sum.plus(space);
            // Of what snapshots show no map of QEMU tells.
            if has_snapshots {
                prop_assert!(space.hidden <= hidden, "{}: {hidden} {}", index, space.hidden);
            } else {
                prop_assert!(hidden.abs_diff(space.hidden) <= odd, "{}: {hidden} {}", index, space.hidden);
            }
        }
        // Data files are images of their own here.
        let layers: Vec<PathBuf> = (0..tree.layers.len()).map(|at| home.path().join(tree.name(at))).collect();
        let of_layers = report.images.iter().filter(|image| layers.contains(&image.path));
        let all = of_layers.fold(LayerSpace::default(), |all, image| all.plus(&image.space));
        prop_assert_eq!(&all, &sum);
        let trees = report.trees();
        prop_assert_eq!(trees.iter().map(|(_, space)| space.disk).sum::<u64>(), report.total().disk);
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

fn at_age(context: &Context, older_than: Duration) -> SpaceReport {
    let known = SpaceCache::default();
    let query = SpaceQuery {
        older_than,
        ..query(&known)
    };
    ops::space(context, &query).unwrap()
}

#[test]
fn a_young_leaf_and_one_of_a_machine_are_not_proposed() {
    let Some(qemu) = qemu() else { return };
    let dir = chain(&qemu);
    let context = own_code::context(&own_code::real_host(), dir.path());
    let discards = |age: Duration| {
        let found = at_age(&context, age);
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
    let found = at_age(&context, Duration::from_secs(3600));
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
    let known = SpaceCache::default();
    let query = SpaceQuery {
        until: Until::as_long_as(move || asked.fetch_add(1, Ordering::SeqCst) < 1),
        advances: &|_| {},
        ..query(&known)
    };
    assert!(ops::space(&context, &query).is_none());
}

#[test]
fn what_is_measured_is_told_piece_by_piece_and_is_what_the_report_says_in_the_end() {
    let Some(qemu) = qemu() else { return };
    let dir = chain(&qemu);
    let context = planning::context(Arc::new(RealHost), dir.path());
    let (known, heard) = (SpaceCache::default(), Mutex::new((Vec::new(), Vec::new())));
    let query = SpaceQuery {
        hears: &|images, savings| {
            let mut heard = heard.lock().unwrap();
            heard.0.extend_from_slice(images);
            heard.1.extend_from_slice(savings);
        },
        ..query(&known)
    };
    let report = ops::space(&context, &query).unwrap();
    let (mut images, mut savings) = heard.into_inner().unwrap();
    images.reverse();
    assert_eq!(images, report.images);
    savings.sort_by(Saving::order);
    let told = |all: &[Saving]| all.iter().map(|one| one.why.clone()).collect::<Vec<_>>();
    assert_eq!(told(&savings), told(&report.savings));
    assert!(!savings.is_empty());
}

#[test]
fn of_a_file_that_is_what_it_was_no_table_is_read_again() {
    let Some(qemu) = qemu() else { return };
    let dir = chain(&qemu);
    let (dir, tools) = (dir.path(), qemu.within(dir.path()));
    let old = SystemTime::now() - Duration::from_secs(60);
    for name in ["base", "layer", "leaf"] {
        let file = fs::File::options().write(true).open(dir.join(name));
        file.unwrap().set_modified(old).unwrap();
    }
    let known = SpaceCache::default();
    let calls = Arc::new(FaultyHost::counting(Arc::new(RealHost)));
    let host: Arc<dyn Host> = Arc::<FaultyHost>::clone(&calls);
    let measure = || {
        let context = own_code::context(&host, dir);
        let before = calls.count(Calls::Reading);
        let report = ops::space(&context, &query(&known)).unwrap();
        (report, calls.count(Calls::Reading) - before)
    };
    let (first, cold) = measure();
    let (again, warm) = measure();
    // The numbers of nodes are those of each scan.
    let told = |report: &SpaceReport| {
        let images = report.images.iter();
        images
            .map(|image| (image.path.clone(), image.space.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&again), told(&first));
    assert!(warm < cold / 4, "{warm} {cold}");
    // Written since, by its time.
    tools.io("leaf", &["write -P 9 3M 1M"]);
    let (now, _) = measure();
    assert_eq!(of(&now, &dir.join("leaf")).data, 3 << 20);
    assert_eq!(of(&now, &dir.join("base")).hidden, 4 << 20);
}
