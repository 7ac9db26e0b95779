//! Our check's verdict is that of `qemu-img check` on every sample image. What qemu-img cannot tell is told as
//! well. Images with one field forged are the matter of `verdict`.

use crate::support;

use std::fs;
use std::path::Path;

use qanopy::host::{Access, RealHost};
use qanopy::image::{self, Check, FindingKind, ImageFile, NoProgress, Verdict};
use support::script::Script;
use support::{forests, oracle};

fn ours(path: &Path) -> Result<Check, String> {
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    image::check(&file, &NoProgress).map_err(|error| error.to_string())
}

fn word(verdict: &oracle::Verdict) -> &'static str {
    match verdict {
        v if !v.errors.is_empty() => "failed",
        v if v.corruptions > 0 => "corrupt",
        v if v.leaks > 0 => "leaks",
        _ => "clean",
    }
}

fn our_word(check: &Result<Check, String>) -> &'static str {
    match check.as_ref().map(Check::verdict) {
        Ok(Verdict::Clean) => "clean",
        Ok(Verdict::Leaks) => "leaks",
        Ok(Verdict::Corrupt) => "corrupt",
        Err(_) => "failed",
    }
}

fn kinds(check: &Check) -> Vec<FindingKind> {
    let mut kinds: Vec<_> = check.findings.iter().map(|f| f.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[test]
fn every_sample_image_gets_the_verdict_of_qemu_img_and_its_numbers() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (folder, files) in forests::all(dir.path()) {
        for file in files.iter().filter(|file| file.format == "qcow2") {
            let path = dir.path().join(folder).join(file.path);
            if !path.exists() {
                continue;
            }
            let check = ours(&path);
            // qemu-img wants the passphrase, or the image below; the tables are here all the same.
            let wants = ["luks.qcow2", "orphan.qcow2", "lost-its-base.qcow2"];
            let loops = ["a.qcow2", "b.qcow2", "self.qcow2"];
            if wants.contains(&file.path) || loops.contains(&file.path) {
                assert_eq!(our_word(&check), "clean", "{}: {check:?}", file.path);
                continue;
            }
            let theirs = oracle::check(&path);
            assert_eq!(
                our_word(&check),
                word(&theirs),
                "{}: {check:?}\n{theirs:?}",
                file.path
            );
            if let Ok(check) = check {
                assert_eq!(check.leaks, theirs.leaks, "{}: {check:?}", file.path);
                let json = json(&path);
                let number = |key: &str| json.get(key).and_then(|n| n.as_u64()).unwrap_or(0);
                let same = [
                    ("image-end-offset", check.image_end),
                    ("total-clusters", check.total_clusters),
                    ("allocated-clusters", check.allocated_clusters),
                    ("compressed-clusters", check.compressed_clusters),
                    ("fragmented-clusters", check.fragmented_clusters),
                ];
                for (key, ours) in same {
                    assert_eq!(ours, number(key), "{}: {key}", file.path);
                }
            }
        }
    }
}

fn json(path: &Path) -> serde_json::Value {
    let words = ["qemu-img", "check", "-U", "--output=json", "-f", "qcow2"];
    let words: Vec<&std::ffi::OsStr> = words
        .iter()
        .map(std::ffi::OsStr::new)
        .chain([path.as_os_str()])
        .collect();
    let out = support::script::run_in(path.parent().unwrap(), &words);
    serde_json::from_slice(&out.stdout).unwrap()
}

fn notices(dir: &Path, name: &str) -> (Option<i32>, Vec<String>) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"));
    let out = command
        .current_dir(dir)
        .args(["check", "--json", name])
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let kinds = told["result"][0]["findings"].as_array().unwrap().iter();
    let kinds = kinds.map(|finding| finding["kind"].as_str().unwrap().to_owned());
    (out.status.code(), kinds.collect())
}

#[test]
fn what_is_odd_about_the_chain_is_told_beside_the_tables() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "base.qcow2", "1M");
    s.create("-b base.qcow2 -F qcow2", "same.qcow2", "1M");
    s.create("-b base.qcow2 -F qcow2", "longer.qcow2", "2M");
    s.create("-b longer.qcow2 -F qcow2", "shorter.qcow2", "1M");
    s.create("-b base.qcow2 -F qcow2", "raw.qcow2", "1M");
    s.run("qemu-img rebase -u -b base.qcow2 -F vmdk raw.qcow2");
    s.create("-b base.qcow2 -F qcow2", "gone.qcow2", "1M");
    s.run("qemu-img rebase -u -b nowhere.qcow2 -F qcow2 gone.qcow2");
    s.create("-b base.qcow2 -F qcow2", "round.qcow2", "1M");
    s.create("-b round.qcow2 -F qcow2", "about.qcow2", "1M");
    s.run("qemu-img rebase -u -b about.qcow2 -F qcow2 round.qcow2");
    s.build(dir);
    let expected: [(&str, i32, &[&str]); 6] = [
        ("same.qcow2", 0, &[]),
        ("longer.qcow2", 0, &["backing-size"]),
        ("shorter.qcow2", 0, &["backing-size", "backing-size"]),
        ("raw.qcow2", 3, &["wrong-backing-format"]),
        ("gone.qcow2", 3, &["missing-backing"]),
        ("about.qcow2", 3, &["loop", "loop"]),
    ];
    for (name, code, kinds) in expected {
        let (ended, told) = notices(dir, name);
        assert_eq!(told, kinds, "{name}");
        assert_eq!(ended, Some(code), "{name}");
    }
}

/// Guest data far behind the rest: the file is looked at in several parts, and each table only in
/// those it leads to.
#[test]
fn a_file_longer_than_what_is_looked_at_at_once_gets_the_verdict_of_qemu_img() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.create("-o cluster_size=512", "far.qcow2", "200k");
    s.io("qcow2", "far.qcow2", &["write -P 3 0 200k"]);
    s.build(dir.path());
    let path = dir.path().join("far.qcow2");
    let clean = ours(&path).unwrap();
    assert_eq!(clean.verdict(), Verdict::Clean);
    let mut bytes = fs::read(&path).unwrap();
    let word =
        |at: usize| usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()));
    let l1 = word(40).unwrap();
    let table = word(l1).unwrap() & 0xff_ffff;
    for (at, place) in [(table, 10_u64 << 30), (table + 24, 20 << 30)] {
        bytes[at..at + 8].copy_from_slice(&(1 << 63 | place).to_be_bytes());
    }
    fs::write(&path, &bytes).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len((20 << 30) + 512).unwrap();
    let check = ours(&path).unwrap();
    let theirs = oracle::check(&path);
    assert_eq!((check.leaks, theirs.leaks), (2, 2));
    assert_eq!(
        (check.corruptions, theirs.corruptions),
        (2 + 2, 2 + 2),
        "{theirs:?}"
    );
    let places: Vec<_> = check
        .findings
        .iter()
        .filter_map(|f| Some((f.offset?, f.guest?)))
        .collect();
    assert!(
        places.contains(&(10 << 30, (0, 512))),
        "{:?}",
        check.findings
    );
    assert!(
        places.contains(&(20 << 30, (3 * 512, 512))),
        "{:?}",
        check.findings
    );
    assert_eq!(check.image_end, (20 << 30) + 512);
}

/// A snapshot table of thousands of snapshots, whose L1 tables are as long as the format allows and
/// lie on one another, or one behind the other in a hole: none of that costs more than what is there.
#[test]
fn forged_snapshots_with_huge_tables_cost_no_more_than_the_bytes_there_are() {
    use qanopy::qcow2::snapshot::encode_table;
    use qanopy::qcow2::{HostOffset, Snapshot};
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.create("", "many.qcow2", "1M");
    s.io("qcow2", "many.qcow2", &["write -P 3 0 1M"]);
    s.build(dir.path());
    let path = dir.path().join("many.qcow2");
    let sound = fs::read(&path).unwrap();
    let end = sound.len().next_multiple_of(65536);
    const LONGEST: u32 = 4 << 20;
    for apart in [65536, 32 << 20] {
        let list: Vec<Snapshot> = (0..4000_u64)
            .map(|number| {
                let mut snapshot = Snapshot {
                    l1_offset: HostOffset((1 << 30) + number * apart),
                    l1_entries: LONGEST,
                    id: number.to_string().into_bytes(),
                    name: b"n".to_vec(),
                    date_seconds: 0,
                    date_nanoseconds: 0,
                    vm_clock_nanoseconds: 0,
                    vm_state_size_32: 0,
                    extra: Vec::new(),
                };
                snapshot.set_extra(0, 1 << 20, None);
                snapshot
            })
            .collect();
        let table = encode_table(&list).unwrap();
        let mut bytes = sound.clone();
        bytes[60..64].copy_from_slice(&4000_u32.to_be_bytes());
        bytes[64..72].copy_from_slice(&(end as u64).to_be_bytes());
        bytes.resize(end, 0);
        bytes.extend(table);
        fs::write(&path, bytes).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len((1 << 30) + 4000 * (32 << 20)).unwrap();
        drop(file);
        let started = std::time::Instant::now();
        let check = ours(&path).unwrap();
        assert_eq!(check.verdict(), Verdict::Corrupt);
        let overlaps = kinds(&check).contains(&FindingKind::TablesOverlap);
        assert_eq!(overlaps, apart == 65536, "{:?}", kinds(&check));
        // Generous for a busy machine: without the bound this takes many minutes.
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

#[test]
fn an_image_that_no_qemu_opens_is_a_problem_and_nothing_is_built_on_it() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let qemu = qemu.within(dir);
    let be32 = |bytes: &mut Vec<u8>, at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    };
    qemu.img(&["create", "-q", "-f", "qcow2", "plain.qcow2", "1M"]);
    qemu.img(&["create", "-q", "-f", "qcow2", "snap.qcow2", "1M"]);
    qemu.img(&["snapshot", "-c", "one", "snap.qcow2"]);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1",
        "luks.qcow2",
        "1M",
    ]);
    let forge = |from: &str, to: &str, how: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(dir.join(from)).unwrap();
        how(&mut bytes);
        std::fs::write(dir.join(to), bytes).unwrap();
    };
    // A crypt method without its header, a snapshot that is longer than its table, another LUKS.
    forge("plain.qcow2", "no-header.qcow2", &|bytes| {
        be32(bytes, 32, 2)
    });
    forge("snap.qcow2", "snapshots.qcow2", &|bytes| {
        let at = usize::try_from(u64::from_be_bytes(bytes[64..72].try_into().unwrap())).unwrap();
        be32(bytes, at + 36, u32::MAX);
    });
    forge("luks.qcow2", "version.qcow2", &|bytes| {
        let at = bytes
            .windows(6)
            .position(|six| six == b"LUKS\xba\xbe")
            .unwrap();
        bytes[at + 7] = 9;
    });
    let qanopy = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command
            .current_dir(dir)
            .env("XDG_STATE_HOME", dir.join("state"));
        let out = command.args(words).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
        (out.status.code(), text)
    };
    for name in ["no-header.qcow2", "snapshots.qcow2", "version.qcow2"] {
        assert!(
            !qemu.try_img(&["info", name]).success(),
            "QEMU opens {name}"
        );
        let (code, said) = qanopy(&["check", name]);
        assert_eq!(code, Some(3), "{name}: {said}");
        let (code, said) = qanopy(&["branch", name, "on.qcow2", "--yes"]);
        assert_eq!(code, Some(4), "{name}: {said}");
        assert!(!dir.join("on.qcow2").exists());
        let (_, said) = qanopy(&["tree", "--json", "."]);
        let tree: serde_json::Value = serde_json::from_str(&said).unwrap();
        let text = tree.to_string();
        assert!(text.contains("unopenable") && text.contains(name), "{text}");
    }
    // What reading does not need may be cut off: the counts lie at the end of this one.
    let (code, said) = qanopy(&["tree", "--check", "."]);
    assert_eq!(code, Some(3), "{said}");
}
