//! Trimming gives back what is free inside an image and nothing else: every byte that a filesystem uses stays, whenever it
//! is cut off, and nothing is done to what anything else depends on.

use crate::support;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use qanopy::guest::Source;
use qanopy::guest::discardable::discardable;
use qanopy::host::{Access, RealHost};
use qanopy::image::{
    BitmapFlags, Chain, ErrorKind, Format, ImageFile, Keys, Layer, bitmaps, discarded, read_header,
};
use qanopy::inside::{Until, View};
use qanopy::machines::{Home, Machine, Machines, Places};
use qanopy::ops::{
    self, Confirm, EffectKind, Error, NoteKind, Progress, RefusalKind, Request, SpaceCache,
    SpaceQuery, Trim,
};
use support::image_crash_suite::{Case, plan, refused_as, run, warns_of, words};
use support::script::{Script, Step};
use support::{HoldMode, Qemu, encrypted, oracle, own_code, planning};

fn trim(image: &Path) -> Request {
    Request::Trim(Trim {
        image: image.to_path_buf(),
    })
}

/// `disk.raw` with an ext4: a file that is kept, and one that was deleted.
fn disk(size: &str, deleted: u64) -> Script {
    let mut script = Script::default();
    script.push(Step::MakeDir("root".to_owned()));
    for (name, from, len) in [("root/kept", 1, 50_000), ("root/gone", 90_000, deleted)] {
        let file = name.to_owned();
        script.push(Step::Noise { file, from, len });
    }
    script.run(&format!(
        "/usr/sbin/mkfs.ext4 -q -F -b 1024 -N 64 -d root disk.raw {size}"
    ));
    script.command(["/usr/sbin/debugfs", "-w", "-R", "rm gone", "disk.raw"]);
    script
}

/// The same disk as `image.qcow2`, made by `qemu-img convert` with these options.
fn image_of(options: &str, size: &str, deleted: u64) -> Script {
    let mut script = disk(size, deleted);
    script.run(&format!(
        "qemu-img convert -q -f raw -O qcow2 {options} disk.raw image.qcow2"
    ));
    script
}

/// An empty base, and the disk as an overlay on it.
fn overlay_of(options: &str, size: &str, deleted: u64) -> Script {
    let mut script = disk(size, deleted);
    script.create("", "base.qcow2", size);
    script.io("qcow2", "base.qcow2", &["write -q -P 0x55 0 256k"]);
    script.run(&format!(
        "qemu-img convert -q -f raw -O qcow2 -B base.qcow2 -F qcow2 {options} disk.raw image.qcow2"
    ));
    script
}

fn chain(image: &Path) -> Chain {
    let chain = Chain::open(&RealHost, image, Some(&Format::Qcow2), &|_| true).unwrap();
    chain
        .unlock(&encrypted::keys(), &qanopy::image::NoProgress)
        .unwrap();
    chain
}

/// A digest of every byte of the disk that is in use, and whether anything is left to be given back.
fn shown(dir: &Path) -> String {
    let image = dir.join("image.qcow2");
    let chain = chain(&image);
    let disk: Source = Arc::new(chain.clone());
    let free = discardable(&disk, &|| true).unwrap();
    assert_eq!(free.left, []);
    let mut bytes = vec![0; usize::try_from(chain.virtual_size()).unwrap()];
    chain.read_at(&mut bytes, 0).unwrap();
    for range in free.free.as_slice() {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        bytes[at(range.start)..at(range.end)].fill(0);
    }
    let left = plan(&own_code::real_host(), dir, &trim(&image)).is_so();
    format!("{:x} nothing left: {left}", Sha256::digest(&bytes))
}

fn survives(script: &Script) {
    if support::qemu().is_none() {
        return;
    }
    let case = Case {
        script,
        image: "image.qcow2",
        request: &trim,
        shown: &shown,
        may_leak: true,
    };
    case.survives_crashes();
    case.survives_failures();
}

#[test]
fn trimming_survives_every_crash_and_every_failed_call() {
    survives(&image_of("-o cluster_size=2k", "2M", 900_000));
}

#[test]
fn trimming_an_overlay_survives_every_crash_and_every_failed_call() {
    let mut script = overlay_of("-o cluster_size=4k", "2M", 900_000);
    script.run("qemu-img bitmap --add -g 4096 image.qcow2 b");
    survives(&script);
}

#[test]
fn trimming_compressed_clusters_survives_every_crash_and_every_failed_call() {
    survives(&image_of("-c -o cluster_size=4k", "2M", 900_000));
}

#[test]
fn trimming_a_data_file_survives_every_crash_and_every_failed_call() {
    survives(&image_of(
        "-o cluster_size=4k,data_file=data.raw,data_file_raw=on",
        "2M",
        900_000,
    ));
}

/// Free blocks of 1 KiB, as `dumpe2fs` names them.
fn free_blocks(raw: &Path) -> Vec<std::ops::RangeInclusive<u64>> {
    let out = Command::new("/usr/sbin/dumpe2fs")
        .arg(raw)
        .output()
        .unwrap();
    assert!(out.status.success());
    let said = String::from_utf8(out.stdout).unwrap();
    let mut found = Vec::new();
    for line in said
        .lines()
        .filter_map(|line| line.strip_prefix("  Free blocks: "))
    {
        for range in line.split(", ").filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            found.push(first.parse().unwrap()..=last.parse().unwrap());
        }
    }
    found
}

/// What the image shows, by the real tool.
fn raw_of(qemu: &Qemu, dir: &Path, to: &str) -> Vec<u8> {
    let qemu = qemu.within(dir);
    qemu.img(&[
        "convert",
        "-q",
        "-f",
        "qcow2",
        "-O",
        "raw",
        "image.qcow2",
        to,
    ]);
    fs::read(dir.join(to)).unwrap()
}

fn on_disk(dir: &Path) -> u64 {
    let files = ["image.qcow2", "data.raw"].map(|name| dir.join(name));
    let stats = files.iter().filter_map(|file| fs::metadata(file).ok());
    stats.map(|stat| stat.blocks() * 512).sum()
}

/// The real tools' view of a trim: what they call free reads as zero or as before, all else as before.
fn only_free_bytes_change(qemu: &Qemu, script: &Script, context: &str) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    script.build(dir);
    let before = raw_of(qemu, dir, "before.raw");
    let free = free_blocks(&dir.join("before.raw"));
    let room = on_disk(dir);
    let host = own_code::real_host();
    let planned = plan(&host, dir, &trim(&dir.join("image.qcow2")));
    assert_eq!(
        planned.confirm,
        Confirm::Count(1),
        "{}\n{context}",
        words(&planned)
    );
    let promised = planned.frees;
    own_code::run(&host, dir, &trim(&dir.join("image.qcow2"))).unwrap();
    let came_free = room - on_disk(dir);
    // Blocks of 4 KiB that clusters share, and blocks of counts.
    let slack = (128 << 10) + promised / 3;
    assert!(
        came_free + slack >= promised,
        "{came_free} of {promised}\n{context}"
    );
    let after = raw_of(qemu, dir, "after.raw");
    assert_eq!(before.len(), after.len());
    let mut changed = 0;
    for (block, (old, new)) in before.chunks(1024).zip(after.chunks(1024)).enumerate() {
        if old != new {
            changed += 1;
            let block = block as u64;
            assert!(
                free.iter().any(|run| run.contains(&block)),
                "{block}\n{context}"
            );
            assert!(new.iter().all(|byte| *byte == 0), "{block}\n{context}");
        }
    }
    assert!(changed > 500, "{changed}\n{context}");
    let checked = Command::new("/usr/sbin/e2fsck")
        .args(["-fn", "after.raw"])
        .current_dir(dir)
        .output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{checked:?}\n{context}");
    assert!(
        oracle::check(&dir.join("image.qcow2")).is_clean(),
        "{context}"
    );
    let again = plan(&host, dir, &trim(&dir.join("image.qcow2")));
    assert!(again.is_so(), "{}\n{context}", words(&again));
}

#[test]
fn by_the_real_tools_only_what_is_free_changes_whatever_the_image_is_like() {
    let Some(qemu) = support::qemu() else { return };
    for options in [
        "",
        "-o cluster_size=512",
        "-o compat=0.10,cluster_size=4k",
        "-c",
        "-c -o compression_type=zstd,cluster_size=16k",
        "-o extended_l2=on,cluster_size=16k",
        "-o refcount_bits=1,cluster_size=4k",
        "-o lazy_refcounts=on",
        "-o data_file=data.raw",
        "-o data_file=data.raw,data_file_raw=on,cluster_size=4k",
    ] {
        only_free_bytes_change(&qemu, &image_of(options, "6M", 2_000_000), options);
    }
    for options in ["", "-c -o cluster_size=4k", "-o extended_l2=on"] {
        let context = format!("overlay {options}");
        only_free_bytes_change(&qemu, &overlay_of(options, "6M", 2_000_000), &context);
    }
}

/// An image without a filesystem whose compressed clusters were all written over: QEMU has freed them, and their blocks
/// are still there. The bytes that came free.
fn written_over(qemu: &Qemu, dir: &Path) -> u64 {
    // Half of every byte is noise: compressed it takes half the room.
    let noise = (0_u32..4 << 15).flat_map(|at| Sha256::digest(at.to_le_bytes()));
    let bytes: Vec<u8> = noise.map(|byte| byte & 15).collect();
    fs::write(dir.join("content"), bytes).unwrap();
    let here = qemu.within(dir);
    here.img(&["create", "-q", "-f", "qcow2", "image.qcow2", "6M"]);
    here.io("image.qcow2", &["write -q -c -s content 0 4M"]);
    let compressed = on_disk(dir);
    here.io("image.qcow2", &["write -q -s content 0 4M"]);
    compressed
}

#[test]
fn what_was_freed_or_leaked_in_the_file_is_given_back_as_well() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let freed = written_over(&qemu, dir);
    assert!(freed > 1 << 20, "{freed}");
    // Clusters past the end, counted as in use, as a kill leaves them.
    let image = dir.join("image.qcow2");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&image)
        .unwrap();
    let end = file.metadata().unwrap().len().next_multiple_of(1 << 16);
    file.write_all_at(&[7; 1 << 20], end).unwrap();
    let mut block = [0; 8];
    file.read_exact_at(&mut block, 1 << 16).unwrap();
    let block = u64::from_be_bytes(block);
    for cluster in end >> 16..(end >> 16) + 16 {
        file.write_all_at(&[0, 1], block + 2 * cluster).unwrap();
    }
    let before = raw_of(&qemu, dir, "before.raw");
    let room = on_disk(dir);
    let host = own_code::real_host();
    let planned = plan(&host, dir, &trim(&image));
    let said = words(&planned);
    for part in ["counts as free", "that nothing uses (1 MiB)"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    own_code::run(&host, dir, &trim(&image)).unwrap();
    let came_free = room - on_disk(dir);
    // The header and the tables stay.
    assert!(
        came_free + (384 << 10) >= freed + (1 << 20),
        "{came_free} of {freed}"
    );
    assert!(raw_of(&qemu, dir, "after.raw") == before);
    assert!(oracle::check(&image).is_clean());
    // Without a filesystem nothing else is left to be asked for.
    refused(dir, RefusalKind::Unsupported, "can be trimmed");
}

fn cases() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(12, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 20,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Files of any size come and go; what is free lies anywhere, clusters are of any size.
    #[test]
    fn whatever_was_deleted_every_byte_in_use_stays(
        files in prop::collection::vec((1_u64..120_000, any::<bool>()), 4..24),
        bits in 9_u32..17,
        kind in 0_usize..4,
    ) {
        let Some(qemu) = support::qemu() else { return Ok(()) };
        let mut script = Script::default();
        script.push(Step::MakeDir("root".to_owned()));
        for (number, (len, _)) in files.iter().enumerate() {
            let file = format!("root/f{number}");
            script.push(Step::Noise { file, from: number as u64 * 50_000, len: *len });
        }
        script.push(Step::Noise { file: "root/large".to_owned(), from: 7, len: 900_000 });
        script.run("/usr/sbin/mkfs.ext4 -q -F -b 1024 -N 64 -d root disk.raw 6M");
        let gone = files.iter().enumerate().filter(|(_, (_, is_gone))| *is_gone);
        for name in gone.map(|(number, _)| format!("f{number}")).chain(["large".to_owned()]) {
            script.command(["/usr/sbin/debugfs", "-w", "-R", &format!("rm {name}"), "disk.raw"]);
        }
        let size = 1_u64 << bits;
        let options = match kind {
            0 => format!("-o cluster_size={size}"),
            1 => format!("-c -o cluster_size={size}"),
            2 => format!("-o cluster_size={},extended_l2=on", size.max(16 << 10)),
            _ => format!("-o cluster_size={size},data_file=data.raw"),
        };
        script.run(&format!("qemu-img convert -q -f raw -O qcow2 {options} disk.raw image.qcow2"));
        only_free_bytes_change(&qemu, &script, &format!("{options}\n{script}"));
    }
}

/// As a plan is refused: by its kind, and the word that tells why.
#[track_caller]
fn refused(dir: &Path, kind: RefusalKind, word: &str) {
    let said = refused_as(
        &plan(&own_code::real_host(), dir, &trim(&dir.join("image.qcow2"))),
        kind,
    );
    assert!(said.contains(word), "{word}: {said}");
}

#[test]
fn what_anything_depends_on_is_not_trimmed() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("", "6M", 2_000_000).build(dir);
    let here = qemu.within(dir);
    let digest = || Sha256::digest(fs::read(dir.join("image.qcow2")).unwrap());
    let before = digest();
    here.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "image.qcow2",
        "above.qcow2",
    ]);
    refused(dir, RefusalKind::HasDependants, "above.qcow2 depends on");
    // An overlay in the trash may come back.
    own_code::run(
        &own_code::real_host(),
        dir,
        &Request::discard(vec![dir.join("above.qcow2")]),
    )
    .unwrap();
    refused(dir, RefusalKind::HasDependants, "in the trash depends on");
    let trash = own_code::trashed(dir, "above.qcow2").unwrap();
    let empty = Request::from(ops::EmptyTrash {
        entries: vec![trash],
    });
    own_code::run(&own_code::real_host(), dir, &empty).unwrap();
    here.img(&["snapshot", "-q", "-c", "kept", "image.qcow2"]);
    refused(dir, RefusalKind::HasDependants, "1 internal snapshot");
    here.img(&["snapshot", "-q", "-d", "kept", "image.qcow2"]);
    let held = qemu.hold_with_io(&dir.join("image.qcow2"), HoldMode::ReadWrite);
    refused(dir, RefusalKind::InUse, "image.qcow2");
    drop(held);
    // A part of it, under another driver.
    let json = r#"json:{"driver":"raw","offset":65536,"size":1048576,"file":{"driver":"qcow2","file":{"driver":"file","filename":"image.qcow2"}}}"#;
    here.img(&[
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        json,
        "part.qcow2",
        "1M",
    ]);
    let said = plan(&own_code::real_host(), dir, &trim(&dir.join("image.qcow2")));
    assert_eq!(said.confirm, Confirm::Impossible, "{}", words(&said));
    assert!(words(&said).contains("part.qcow2"), "{}", words(&said));
    assert_ne!(before, [0; 32].into());
}

#[test]
fn an_overlay_that_comes_between_plan_and_run_stops_it() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("", "6M", 2_000_000).build(dir);
    let host = own_code::real_host();
    let planned = plan(&host, dir, &trim(&dir.join("image.qcow2")));
    let ready = own_code::agree(planned).unwrap();
    let before = fs::read(dir.join("image.qcow2")).unwrap();
    let here = qemu.within(dir);
    here.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "image.qcow2",
        "above.qcow2",
    ]);
    let error = ops::run(ready, &Progress::new()).unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    assert!(error.to_string().contains("above.qcow2"), "{error}");
    assert!(fs::read(dir.join("image.qcow2")).unwrap() == before);
}

/// `over.qcow2`, built on `data.raw`.
fn on_data_file(qemu: &Qemu, dir: &Path) {
    let here = qemu.within(dir);
    let words = "create -q -f qcow2 -F raw -b data.raw over.qcow2";
    here.img(&words.split(' ').collect::<Vec<_>>());
}

#[test]
fn an_overlay_on_the_data_file_that_comes_between_plan_and_run_stops_it() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("-o data_file=data.raw,data_file_raw=on", "6M", 2_000_000).build(dir);
    let host = own_code::real_host();
    let planned = plan(&host, dir, &trim(&dir.join("image.qcow2")));
    let written = planned.effects.iter();
    let written = written.filter(|effect| effect.kind == EffectKind::Writes);
    let files: Vec<_> = written.map(|effect| effect.path.as_path()).collect();
    assert_eq!(files, [dir.join("image.qcow2"), dir.join("data.raw")]);
    assert_eq!(planned.confirm, Confirm::Count(1), "they are one disk");
    let ready = own_code::agree(planned).unwrap();
    let before = fs::read(dir.join("data.raw")).unwrap();
    on_data_file(&qemu, dir);
    let error = ops::run(ready, &Progress::new()).unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    assert!(error.to_string().contains("over.qcow2"), "{error}");
    assert!(fs::read(dir.join("data.raw")).unwrap() == before);
}

#[test]
fn what_cannot_be_trimmed_says_why() {
    let Some(qemu) = support::qemu() else { return };
    let build = |script: &Script, change: &[&str]| {
        let home = tempfile::tempdir().unwrap();
        script.build(home.path());
        if !change.is_empty() {
            let image = home.path().join("disk.raw");
            let changed = Command::new(change[0])
                .args(&change[1..])
                .arg(image)
                .output();
            assert!(changed.unwrap().status.success(), "{change:?}");
            let here = qemu.within(home.path());
            here.img(&[
                "convert",
                "-q",
                "-f",
                "raw",
                "-O",
                "qcow2",
                "disk.raw",
                "image.qcow2",
            ]);
        }
        home
    };
    let plain = image_of("", "6M", 2_000_000);
    for (change, word) in [
        (
            &["/usr/sbin/debugfs", "-w", "-R", "ssv state 3"][..],
            "errors",
        ),
        (
            &["/usr/sbin/debugfs", "-w", "-R", "ssv state 0"],
            "not unmounted",
        ),
        (
            &[
                "/usr/sbin/debugfs",
                "-w",
                "-R",
                "feature needs_recovery has_journal",
            ],
            "journal",
        ),
        (&["/usr/sbin/mkswap"], "swap"),
        (&["truncate", "-s", "0"], "not known"),
        (&["sh", "-c", "head -c 6M /dev/urandom > $0"], "not known"),
    ] {
        let home = build(&plain, change);
        let planned = plan(
            &own_code::real_host(),
            home.path(),
            &trim(&home.path().join("image.qcow2")),
        );
        let said = words(&planned);
        assert!(said.contains(word), "{word}: {said}");
        assert_eq!(planned.confirm, Confirm::Impossible, "{said}");
        assert!(!planned.is_so(), "{said}");
    }
    let old = build(&overlay_of("-o compat=0.10", "6M", 2_000_000), &[]);
    refused(old.path(), RefusalKind::Unsupported, "version 2");
    let raw = plan(
        &own_code::real_host(),
        old.path(),
        &trim(&old.path().join("disk.raw")),
    );
    assert!(words(&raw).contains("disk.raw"), "{}", words(&raw));
    assert_eq!(raw.confirm, Confirm::Impossible);
    // An image that is built on the data file, without a word of the image.
    let below = build(
        &image_of("-o data_file=data.raw,data_file_raw=on", "6M", 2_000_000),
        &[],
    );
    on_data_file(&qemu, below.path());
    refused(
        below.path(),
        RefusalKind::HasDependants,
        "over.qcow2 depends on",
    );
    // Two images with one data file.
    let data = build(&image_of("-o data_file=data.raw", "6M", 2_000_000), &[]);
    fs::copy(
        data.path().join("image.qcow2"),
        data.path().join("twin.qcow2"),
    )
    .unwrap();
    refused(
        data.path(),
        RefusalKind::HasDependants,
        "twin.qcow2 depends on",
    );
}

#[test]
fn a_machine_that_pins_it_runs_or_is_saved_keeps_it() {
    let Some(_) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("", "6M", 2_000_000).build(dir);
    let image = dir.join("image.qcow2");
    let planned = |machine: Machine| {
        let mut context = planning::context(Arc::new(RealHost), dir);
        context.know_machines(Arc::new(Machines::of(vec![machine], Vec::new())));
        ops::plan(&context, &trim(&image))
    };
    let of = |disk: &Path| planning::machine_of(disk);
    let off = planned(of(&image));
    assert_eq!(off.confirm, Confirm::Count(1), "{}", words(&off));
    for state in [
        qanopy::machines::MachineState::Running,
        qanopy::machines::MachineState::Saved,
    ] {
        let mut machine = of(&image);
        machine.state = state;
        refused_as(&planned(machine), RefusalKind::Machine);
    }
    let mut pinning = of(&dir.join("elsewhere.qcow2"));
    pinning.disks[0].pinned = vec![planning::named(image.clone())];
    let said = refused_as(&planned(pinning.clone()), RefusalKind::HasDependants);
    assert!(said.contains("web"), "{said}");
    // Nor by number.
    let mut context = planning::context(Arc::new(RealHost), dir);
    context.know_machines(Arc::new(Machines::of(vec![pinning], Vec::new())));
    let despite = Request::despite_machines(trim(&image));
    refused_as(&ops::plan(&context, &despite), RefusalKind::HasDependants);
}

#[test]
fn a_machine_that_pins_it_meanwhile_makes_the_plan_stale() {
    let Some(_) = support::qemu() else { return };
    let (home, system) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, domains) = (home.path(), system.path().join("home/.config/libvirt/qemu"));
    fs::create_dir_all(system.path().join("proc")).unwrap();
    fs::create_dir_all(&domains).unwrap();
    image_of("", "6M", 2_000_000).build(dir);
    let image = dir.join("image.qcow2");
    let places = Places {
        host: Arc::new(RealHost),
        root: system.path().to_path_buf(),
        homes: vec![Home::at(system.path().join("home"))],
        near: Vec::new(),
        programs: Default::default(),
        patience: Duration::from_secs(60),
        default_uri: None,
    };
    let mut context = planning::context(Arc::new(RealHost), dir);
    context.know_machines(Arc::new(Machines::ask(places)));
    let ready = own_code::agree(ops::plan(&context, &trim(&image))).unwrap();
    let text = format!(
        "<domain type='qemu'><name>late</name><devices><disk type='file'><source file='/elsewhere.qcow2'/>\
         <backingStore type='file'><format type='qcow2'/><source file='{}'/><backingStore/></backingStore>\
         <target dev='vda'/></disk></devices></domain>",
        image.display()
    );
    fs::write(domains.join("late.xml"), text).unwrap();
    let before = fs::read(&image).unwrap();
    let error = ops::run(ready, &Progress::new()).unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    assert!(error.to_string().contains("late"), "{error}");
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn what_is_encrypted_is_trimmed_with_its_passphrase() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    disk("6M", 2_000_000).build(dir);
    encrypted::convert(&qemu, &dir.join("disk.raw"), &dir.join("image.qcow2"), "");
    let before = shown_unlocked(dir);
    let request = trim(&dir.join("image.qcow2"));
    let mut context = own_code::context(&own_code::real_host(), dir);
    let locked = ops::plan(&context, &request);
    refused_as(&locked, RefusalKind::PassphraseNeeded);
    context.keys = encrypted::keys();
    let room = on_disk(dir);
    let ready = own_code::agree(ops::plan(&context, &request)).unwrap();
    ops::run(ready, &Progress::new()).unwrap();
    assert!(on_disk(dir) + 1_500_000 < room);
    assert_eq!(shown_unlocked(dir), before);
    let image = dir.join("image.qcow2");
    assert!(encrypted::check_is_clean(
        &qemu,
        &[(&image, encrypted::Kind::Luks)]
    ));
}

/// The kept file's content.
fn shown_unlocked(dir: &Path) -> Vec<u8> {
    let view = View::open(chain(&dir.join("image.qcow2")), &Keys::none()).unwrap();
    let (_, filesystem) = view.disk.filesystems().next().unwrap();
    let file = filesystem
        .lookup(filesystem.root(), b"kept")
        .unwrap()
        .unwrap();
    let mut bytes = vec![0; 60_000];
    let len = filesystem.read(file, 0, &mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn a_stopped_trim_leaves_the_image_whole_and_goes_on_when_asked_again() {
    let Some(_) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("-o cluster_size=4k", "6M", 2_000_000).build(dir);
    let before = shown(dir);
    let host = own_code::real_host();
    let request = trim(&dir.join("image.qcow2"));
    let progress = Progress::new();
    progress.cancel();
    let ready = own_code::agree(plan(&host, dir, &request)).unwrap();
    let error = ops::run(ready, &progress).unwrap_err();
    assert!(matches!(error, Error::Cancelled(_)), "{error}");
    assert_eq!(shown(dir), before);
    run(&host, dir, &request).unwrap();
    assert_eq!(shown(dir), before.replace("false", "true"));
}

#[test]
fn bitmaps_that_record_writes_are_marked_as_stale() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("", "6M", 2_000_000).build(dir);
    let here = qemu.within(dir);
    here.img(&["bitmap", "--add", "image.qcow2", "records"]);
    here.img(&["bitmap", "--add", "--disable", "image.qcow2", "rests"]);
    let host = own_code::real_host();
    let request = trim(&dir.join("image.qcow2"));
    assert!(warns_of(&plan(&host, dir, &request), NoteKind::Bitmaps));
    run(&host, dir, &request).unwrap();
    let file = ImageFile::open(&RealHost, &dir.join("image.qcow2"), Access::Read).unwrap();
    let header = read_header(&file).unwrap();
    let all = bitmaps(&file, &header).unwrap();
    let stale = |name: &[u8]| {
        let bitmap = all.iter().find(|bitmap| bitmap.name == name).unwrap();
        bitmap.flags.contains(BitmapFlags::IN_USE)
    };
    assert!(stale(b"records") && !stale(b"rests"));
}

#[test]
fn space_proposes_it_with_the_bytes_that_it_gives_back() {
    let Some(_) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("", "6M", 2_000_000).build(dir);
    let host = own_code::real_host();
    let image = dir.join("image.qcow2");
    let frees = plan(&host, dir, &trim(&image)).frees;
    let context = own_code::context(&host, dir);
    let query = |reads| SpaceQuery {
        reads,
        ..read_query(Box::leak(Box::new(SpaceCache::default())))
    };
    let trims = |savings: &[ops::Saving]| -> Vec<u64> {
        let trims = savings
            .iter()
            .filter(|one| one.kind == ops::SavingKind::Trim);
        trims.map(|one| one.frees).collect()
    };
    let report = ops::space(&context, &query(true)).unwrap();
    assert_eq!(trims(&report.savings), [frees]);
    let (space, savings) = ops::space_of(&context, &image, &query(true)).unwrap();
    assert_eq!(trims(&savings), [frees]);
    assert_eq!(space.space.read.unwrap().unwrap().deleted, frees);
    assert!(trims(&ops::space(&context, &query(false)).unwrap().savings).is_empty());
    run(&host, dir, &trim(&image)).unwrap();
    let context = own_code::context(&host, dir);
    assert!(trims(&ops::space(&context, &query(true)).unwrap().savings).is_empty());
}

/// Goes on for so many questions, and how many were asked.
fn times(most: usize) -> (Until, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let until = Until::as_long_as(move || counts.fetch_add(1, Ordering::SeqCst) < most);
    (until, asked)
}

#[test]
fn looking_for_what_to_give_up_can_be_stopped_anywhere() {
    let Some(_) = support::qemu() else { return };
    for options in ["", "-o data_file=data.raw,data_file_raw=on"] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        image_of(options, "6M", 2_000_000).build(dir);
        let image = dir.join("image.qcow2");
        let chain = chain(&image);
        let Layer::Qcow2(top) = &*chain.layers()[0] else {
            panic!("{options}")
        };
        let disk = 0..6 << 20;
        let all = |until: &Until| discarded(top, std::slice::from_ref(&disk), until);
        let (until, asked) = times(usize::MAX);
        assert!(!all(&until).unwrap().ranges.is_empty());
        // Of a data file bytes are read as well as tables.
        let questions = asked.load(Ordering::SeqCst);
        assert!(questions > usize::from(!options.is_empty()), "{questions}");
        for most in 0..questions {
            let stopped = all(&times(most).0).unwrap_err();
            assert!(matches!(stopped.kind, ErrorKind::Cancelled), "{stopped}");
        }
        let context = own_code::context(&own_code::real_host(), dir);
        for most in [0, 1, 2, 3, 5, 8, 13, 21] {
            let known = SpaceCache::default();
            let query = SpaceQuery {
                until: times(most).0,
                ..read_query(&known)
            };
            assert!(ops::space(&context, &query).is_none(), "{most}");
        }
    }
}

fn read_query(known: &SpaceCache) -> SpaceQuery<'_> {
    SpaceQuery {
        older_than: Duration::MAX,
        reads: true,
        estimates_compressing: true,
        known,
        until: Until::as_long_as(|| true),
        advances: &|_| {},
        hears: &|_, _| {},
    }
}

#[test]
fn what_cannot_be_trimmed_is_not_looked_through_for_it() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    image_of("", "6M", 2_000_000).build(dir);
    let (image, over) = (dir.join("image.qcow2"), dir.join("over.qcow2"));
    let words = "create -q -f qcow2 -F qcow2 -b image.qcow2 over.qcow2";
    qemu.within(dir).img(&words.split(' ').collect::<Vec<_>>());
    for path in [&image, &over] {
        // What is kept of it is of a file that a change would show of.
        let file = fs::File::options().write(true).open(path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(60);
        file.set_modified(then).unwrap();
    }
    let known = SpaceCache::default();
    let deleted = || {
        let context = own_code::context(&own_code::real_host(), dir);
        let (space, savings) = ops::space_of(&context, &image, &read_query(&known)).unwrap();
        let trims = savings
            .iter()
            .filter(|one| one.kind == ops::SavingKind::Trim);
        (space.space.read.unwrap().unwrap().deleted, trims.count())
    };
    assert_eq!(deleted(), (0, 0));
    // What was kept is of an image that something was built on.
    fs::remove_file(&over).unwrap();
    let (bytes, trims) = deleted();
    assert!(bytes > 1 << 20 && trims == 1, "{bytes} {trims}");
}
