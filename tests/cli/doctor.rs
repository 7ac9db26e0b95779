//! What the doctor finds: each situation is made with the real tools, seen, and put right by what is said to help.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::commands::Ended;
use crate::support::{Qemu, copy_program, forests, qemu};

/// A folder `images`, and beside it a home and a state of its own.
struct Place {
    dir: TempDir,
    qemu: Qemu,
}

impl Place {
    fn new() -> Option<Self> {
        let qemu = qemu()?;
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().canonicalize().unwrap().join("images");
        fs::create_dir(&images).unwrap();
        let qemu = qemu.within(&images);
        Some(Self { dir, qemu })
    }

    /// A file among the images.
    fn at(&self, name: &str) -> PathBuf {
        self.dir
            .path()
            .canonicalize()
            .unwrap()
            .join("images")
            .join(name)
    }

    fn create(&self, options: &str, name: &str, size: &str) {
        let words = format!("create -q -f qcow2 {options} {name} {size}");
        self.qemu.img(&words.split_whitespace().collect::<Vec<_>>());
    }

    fn overlay(&self, base: &str, name: &str) {
        self.create(&format!("-F qcow2 -b {base}"), name, "");
    }

    /// Runs `qanopy` among the images.
    fn q(&self, words: &str) -> Ended {
        let beside = |name: &str| self.dir.path().join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .args(words.split(' '))
            .current_dir(self.at(""))
            .env("HOME", beside("home"))
            .env("XDG_RUNTIME_DIR", beside("run"))
            .env("XDG_STATE_HOME", beside("state"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("LIMA_HOME")
            .output()
            .unwrap();
        Ended::of(output)
    }

    /// What is found, once it was seen that the exit code says whether anything is.
    fn findings(&self) -> Vec<Value> {
        let ended = self.q("doctor --json");
        let found = ended.result()["findings"].as_array().unwrap().clone();
        let code = if found.is_empty() { 0 } else { 3 };
        ended.with(code);
        found
    }

    /// The names of the findings about an image.
    fn about(&self, name: &str) -> Vec<String> {
        let all = self.findings();
        let of_it = all.iter().filter(|one| path(one) == self.at(name));
        of_it.map(|one| text(one, "kind")).collect()
    }
}

fn path(finding: &Value) -> PathBuf {
    Path::new(finding["path"].as_str().unwrap()).to_path_buf()
}

fn text(finding: &Value, key: &str) -> String {
    finding[key].as_str().unwrap().to_owned()
}

#[test]
fn a_healthy_forest_has_no_finding() {
    let Some(place) = Place::new() else { return };
    forests::seed(&place.at(""));
    forests::fedora(&place.at(""));
    assert_eq!(place.findings(), Vec::<Value>::new());
    let told = place.q("doctor").with(0).out;
    assert!(
        told.starts_with("Nothing is known to be wrong under "),
        "{told}"
    );
}

#[test]
fn the_tables_of_all_images_are_looked_through() {
    let Some(place) = Place::new() else { return };
    place.create("", "leaking", "8M");
    place.qemu.io("leaking", &["write -P 1 0 1M"]);
    place.create("", "long", "8M");
    place.qemu.io("long", &["write -P 1 0 1M"]);
    place.overlay("long", "fine");
    let before = place.qemu.digest("long");
    let field = |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut bytes = fs::read(place.at("leaking")).unwrap();
    // The cluster is counted, and no table names it.
    let l1 = usize::try_from(field(&bytes, 40)).unwrap();
    let l2 = usize::try_from(field(&bytes, l1) & 0x00ff_ffff_ffff_fe00).unwrap();
    bytes[l2 + 15 * 8..l2 + 16 * 8].fill(0);
    fs::write(place.at("leaking"), bytes).unwrap();
    let mut bytes = fs::read(place.at("long")).unwrap();
    let end = bytes.len();
    bytes.resize(end + (3 << 20), 7);
    fs::write(place.at("long"), bytes).unwrap();

    assert_eq!(place.about("leaking"), ["leaked-clusters"]);
    assert_eq!(place.about("long"), ["past-end"]);
    assert_eq!(place.about("fine"), [""; 0]);
    place
        .q("doctor --fix leaked-clusters --fix past-end --yes")
        .with(0);
    assert_eq!(fs::metadata(place.at("long")).unwrap().len(), end as u64);
    assert_eq!(place.qemu.digest("long"), before);
    for image in ["leaking", "long", "fine"] {
        place.qemu.check_clean(image);
    }

    // One table for two places.
    let mut bytes = fs::read(place.at("long")).unwrap();
    bytes.copy_within(l2..l2 + 8, l2 + 8);
    fs::write(place.at("long"), bytes).unwrap();
    let about = place.about("long");
    assert!(about.contains(&"corrupt-clusters".to_owned()), "{about:?}");
}

#[test]
fn every_problem_of_the_scan_is_a_finding_that_says_why_it_matters() {
    let Some(place) = Place::new() else { return };
    forests::broken(&place.at(""));
    forests::no_format(&place.at(""));
    let found = place.findings();
    let kinds: Vec<String> = found.iter().map(|one| text(one, "kind")).collect();
    for kind in [
        "missing-backing",
        "loop",
        "corrupt-bit",
        "unknown-feature",
        "damaged",
        "no-backing-format",
    ] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
    assert!(found.iter().all(|one| text(one, "why").len() > 30));
    let told = place.q("doctor").with(3);
    assert!(told.err.contains(" findings"), "{}", told.err);
    let lines: Vec<&str> = told.out.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with("no-backing-format: "));
    let line = lines[at.unwrap() + 1];
    assert!(
        line.starts_with("! ") && line.contains("  helps: qanopy relink "),
        "{line}"
    );
    // The tree tells as many, once it has looked through the tables as well.
    let forest = place.q("tree --check --json").with(3).result();
    let images = forest["images"].as_array().unwrap().iter();
    let problems: usize = images
        .map(|one| one["problems"].as_array().unwrap().len())
        .sum();
    assert_eq!(problems, found.len());
}

impl Place {
    /// Does what helps against findings of this name.
    fn fix(&self, name: &str, consent: &str) -> Ended {
        self.q(&format!("doctor --fix {name} {consent}"))
    }

    fn info(&self, name: &str) -> Value {
        let told = self.qemu.img(&["info", "--output=json", name]);
        serde_json::from_str(&told).unwrap()
    }

    fn is_clean(&self, name: &str) {
        self.qemu.img(&["check", "-q", name]);
    }

    /// The one finding about an image, by this name.
    fn only(&self, name: &str, kind: &str) -> Value {
        let all = self.findings();
        let mut of_it = all.iter().filter(|one| path(one) == self.at(name));
        let one = of_it.next().unwrap_or_else(|| panic!("{all:?}")).clone();
        assert_eq!(of_it.next(), None);
        assert_eq!(text(&one, "kind"), kind);
        one
    }

    /// Defines the machine `web`; the rest of its disk is as it stands here.
    fn define(&self, disk: &str, rest: &str) {
        self.define_as("qcow2", disk, rest);
    }

    /// The same, the disk being of that format by the definition.
    fn define_as(&self, format: &str, disk: &str, rest: &str) {
        let domains = self.dir.path().join("home/.config/libvirt/qemu");
        fs::create_dir_all(&domains).unwrap();
        let text = format!(
            "<domain type='qemu'><name>web</name><uuid>8c34a151-90f6-4e2c-8572-a4dc793693a8</uuid><devices>\
             <disk type='file'><driver name='qemu' type='{format}'/><source file='{}'/><target dev='vda'/>{rest}</disk>\
             </devices></domain>",
            self.at(disk).display()
        );
        fs::write(domains.join("web.xml"), text).unwrap();
    }

    /// Calls a file unchanged for so many days.
    fn age(&self, name: &str, days: u64) {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.at(name))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60))
            .unwrap();
    }
}

#[test]
fn an_image_of_version_2_is_made_one_of_version_3() {
    let Some(place) = Place::new() else { return };
    place.create("-o compat=0.10", "old", "4M");
    place.qemu.io("old", &["write -P 7 1M 64k"]);
    let shown = place.qemu.digest("old");
    let one = place.only("old", "old-version");
    assert_eq!(text(&one, "sure"), "certain");
    assert!(
        one["fixes"][0]
            .as_str()
            .unwrap()
            .starts_with("qanopy amend ")
    );
    // A plan by itself changes nothing.
    let told = place.q("doctor --fix-safe -n").with(3).out;
    assert!(
        told.contains("Amend old") && told.contains("old-version: "),
        "{told}"
    );
    assert_eq!(
        place.info("old")["format-specific"]["data"]["compat"],
        "0.10"
    );
    let told = place.q("doctor --fix-safe --yes").with(0).out;
    assert!(told.contains("Nothing is known to be wrong"), "{told}");
    assert_eq!(
        place.info("old")["format-specific"]["data"]["compat"],
        "1.1"
    );
    assert_eq!(place.qemu.digest("old"), shown);
    place.is_clean("old");
    place.q("undo --yes").with(0);
    assert_eq!(place.about("old"), ["old-version"]);
}

#[test]
fn nobody_agrees_to_nothing_and_nothing_is_done_that_nobody_agreed_to() {
    let Some(place) = Place::new() else { return };
    place.create("-o compat=0.10", "old", "4M");
    assert!(place.q("doctor --yes").with(2).err.contains("--fix-safe"));
    assert!(
        place
            .q("doctor --fix nonsense")
            .with(2)
            .err
            .contains("nonsense")
    );
    let told = place.q("doctor --fix-safe --json").with(4).json();
    assert_eq!(told["error"]["kind"], "not-agreed");
    assert_eq!(told["result"]["fixes"], serde_json::json!([]));
    assert_eq!(told["result"]["findings"][0]["kind"], "old-version");
    place.q("doctor --fix-safe --yes --read-only").with(4);
    assert_eq!(place.about("old"), ["old-version"]);
    // Another finding's fix is not done along.
    place.fix("deep-chain", "--yes").with(3);
    assert_eq!(place.about("old"), ["old-version"]);
    let told = place
        .q("doctor --fix old-version --yes --json")
        .with(0)
        .result();
    assert_eq!(told["findings"], serde_json::json!([]));
    assert!(told["fixes"][0]["outcome"]["undoable"].as_bool().unwrap());
}

#[test]
fn what_helps_against_several_things_of_one_image_is_done_one_after_the_other() {
    let Some(place) = Place::new() else { return };
    forests::no_format(&place.at(""));
    let levels = ["centos-overlay-1.qcow2", "centos-overlay-2.qcow2"];
    for name in levels {
        place
            .q(&format!("amend {name} --compat 0.10 --yes"))
            .with(0);
    }
    // The second cannot be opened by libvirt for the first as well.
    assert_eq!(place.about(levels[0]), ["no-backing-format", "old-version"]);
    let told = place.q("doctor --fix-safe --yes --json").with(3).result();
    assert_eq!(told["fixes"].as_array().unwrap().len(), 3, "{told}");
    // That the base of the second is qcow2 would be a guess, which is the person's to make.
    assert_eq!(place.about(levels[0]), Vec::<String>::new());
    assert_eq!(place.about(levels[1]), ["no-backing-format"]);
    let refused = place.fix("no-backing-format", "--yes").with(4).out;
    let (_, way) = refused.split_once("To do 1: qanopy ").unwrap();
    place
        .q(&format!("{} --yes", way.lines().next().unwrap()))
        .with(0);
    assert_eq!(place.findings(), Vec::<Value>::new());
    for name in levels {
        let info = place.info(name);
        assert_eq!(info["backing-filename-format"], "qcow2");
        assert_eq!(info["format-specific"]["data"]["compat"], "1.1");
        place.is_clean(name);
    }
}

#[test]
fn a_chain_of_very_many_layers_is_made_short() {
    let Some(place) = Place::new() else { return };
    place.create("", "l0", "1M");
    for layer in 1..31 {
        place.overlay(&format!("l{}", layer - 1), &format!("l{layer}"));
        if layer % 10 == 0 {
            let write = format!("write -P {layer} {layer}k 1k");
            place.qemu.io(format!("l{layer}"), &[&write]);
        }
    }
    let shown = place.qemu.digest("l30");
    assert!(text(&place.only("l30", "deep-chain"), "message").contains("31 layers"));
    place.fix("deep-chain", "--yes").with(0);
    assert_eq!(place.info("l30")["backing-filename"], "l0");
    assert_eq!(place.qemu.digest("l30"), shown);
    place.is_clean("l30");
}

#[test]
fn an_overlay_that_cuts_off_its_base_is_seen_and_one_that_does_not_is_made_beside_it() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "8M");
    place.create("-F qcow2 -b base", "short", "4M");
    place.create("-F qcow2 -b base", "long", "16M");
    let one = place.only("short", "cut-off-base");
    assert_eq!(text(&one, "sure"), "likely");
    assert!(
        text(&one, "message").contains("4 MiB of it are cut off"),
        "{one}"
    );
    assert_eq!(one["fixes"], serde_json::json!([]));
    let branch = one["templates"][0].as_str().unwrap();
    let branch = branch
        .strip_prefix("qanopy ")
        .unwrap()
        .replace("NEW", "whole");
    place.q(&branch).with(0);
    assert_eq!(place.info("whole")["virtual-size"], 8 << 20);
    place.q("discard short --yes").with(0);
    assert_eq!(place.findings(), Vec::<Value>::new());
}

#[test]
fn a_disk_of_no_whole_sectors_is_made_one_of_whole_sectors() {
    let Some(place) = Place::new() else { return };
    fs::write(place.at("odd.img"), vec![7; 1_000_001]).unwrap();
    place.create("-F raw -b odd.img", "over", "");
    let shown = place.qemu.digest("over");
    let one = place.only("odd.img", "odd-size");
    assert_eq!(text(&one, "sure"), "likely");
    place.fix("odd-size", "--yes").with(0);
    let whole = 1_000_001_u64.next_multiple_of(512);
    assert_eq!(fs::metadata(place.at("odd.img")).unwrap().len(), whole);
    assert_eq!(place.qemu.digest("over"), shown);
    place.is_clean("over");
}

#[test]
fn a_bitmap_that_missed_writes_is_removed() {
    let Some(place) = Place::new() else { return };
    place.create("", "disk", "4M");
    place.qemu.img(&["bitmap", "--add", "disk", "nightly"]);
    assert_eq!(place.findings(), Vec::<Value>::new());
    let crashed = Command::new("qemu-io")
        .args(["-c", "write 0 64k", "-c", "abort", "disk"])
        .current_dir(place.at(""))
        .output()
        .unwrap();
    assert!(!crashed.status.success());
    let one = place.only("disk", "stale-bitmap");
    assert!(text(&one, "message").contains("nightly"), "{one}");
    // What goes for good is not done unasked.
    place.q("doctor --fix-safe --yes").with(3);
    place.fix("stale-bitmap", "--confirm 1").with(0);
    assert!(
        place.info("disk")["format-specific"]["data"]
            .get("bitmaps")
            .is_none()
    );
    place.is_clean("disk");
}

#[test]
fn a_name_that_leads_to_no_base_gets_one_that_leads_there_from_everywhere() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "4M");
    place.qemu.io("base", &["write -P 9 0 64k"]);
    place.overlay("base", "disk");
    assert_eq!(place.findings(), Vec::<Value>::new());
    fs::create_dir(place.at("vm")).unwrap();
    std::os::unix::fs::symlink("../disk", place.at("vm/hda")).unwrap();
    let shown = place.qemu.digest("disk");
    let one = place.only("disk", "name-leads-astray");
    assert!(
        text(&one, "message").contains("which cannot be found"),
        "{one}"
    );
    // A file of that name there is worse.
    place.create("", "vm/base", "4M");
    let one = place.only("disk", "name-leads-astray");
    assert!(
        text(&one, "message").contains("which is another file"),
        "{one}"
    );
    assert_ne!(place.qemu.digest("vm/hda"), shown);
    place.q("doctor --fix-safe --yes").with(0);
    assert_eq!(place.qemu.digest("vm/hda"), shown);
    assert_eq!(place.qemu.digest("disk"), shown);
}

#[test]
fn a_backing_name_too_far_inside_the_file_for_libvirt_is_moved_to_the_front() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "4M");
    place.overlay("base", "disk");
    let mut bytes = fs::read(place.at("disk")).unwrap();
    bytes[8..16].copy_from_slice(&0xf000_u64.to_be_bytes());
    bytes[0xf000..0xf004].copy_from_slice(b"base");
    fs::write(place.at("disk"), &bytes).unwrap();
    assert_eq!(place.info("disk")["backing-filename"], "base");
    place.only("disk", "far-names");
    place.q("doctor --fix-safe --yes").with(0);
    assert_eq!(place.info("disk")["backing-filename"], "base");
    let moved = fs::read(place.at("disk")).unwrap();
    assert!(moved[8..16] < 0x8200_u64.to_be_bytes()[..]);
    place.is_clean("disk");
}

#[test]
fn the_disk_that_a_machine_misses_comes_back_from_the_trash() {
    let Some(place) = Place::new() else { return };
    place.create("", "disk", "4M");
    place.define("disk", "");
    assert_eq!(place.findings(), Vec::<Value>::new());
    place
        .q("discard disk --despite-machines --confirm 1")
        .with(0);
    let one = place.only("disk", "machine-disk-gone");
    assert!(
        text(&one, "message").contains("The machine web (libvirt, off)"),
        "{one}"
    );
    place.q("doctor --fix-safe --yes").with(0);
    place.is_clean("disk");
    // Where it is nowhere, nothing is offered.
    fs::remove_file(place.at("disk")).unwrap();
    assert_eq!(
        place.only("disk", "machine-disk-gone")["fixes"],
        serde_json::json!([])
    );
}

#[test]
fn a_chain_that_a_definition_pins_otherwise_than_the_headers_is_told() {
    let Some(place) = Place::new() else { return };
    for base in ["one", "two"] {
        place.create("", base, "4M");
    }
    place.overlay("one", "disk");
    let pin = |base: &str, end: &str| {
        format!(
            "<backingStore type='file'><format type='qcow2'/><source file='{}'/>{end}</backingStore>",
            place.at(base).display()
        )
    };
    place.define("disk", "");
    assert_eq!(place.findings(), Vec::<Value>::new());
    // Nothing is broken where both say the same, and nothing is done to it unasked.
    for same in [pin("one", ""), pin("one", "<backingStore/>")] {
        place.define("disk", &same);
        let one = place.only("disk", "pinned");
        assert_eq!(text(&one, "sure"), "possible");
        assert!(text(&one, "message").contains("virsh edit web"), "{one}");
    }
    // A disk that is built on nothing.
    place.define("one", "<backingStore/>");
    assert_eq!(place.findings(), Vec::<Value>::new());
    for wrong in [pin("two", ""), "<backingStore/>".to_owned()] {
        place.define("disk", &wrong);
        let one = place.only("disk", "pinned-otherwise");
        assert!(text(&one, "message").contains("virsh edit web"), "{one}");
    }
}

#[test]
fn a_format_that_a_definition_says_otherwise_than_the_bytes_is_told_and_never_guessed() {
    let Some(place) = Place::new() else { return };
    for name in ["base", "plain"] {
        place.create("", name, "4M");
    }
    place.overlay("base", "disk");
    place.define("disk", "");
    assert_eq!(place.findings(), Vec::<Value>::new());
    // As its guest can make a raw disk look.
    place.define_as("raw", "disk", "");
    let one = place.only("disk", "format-differs");
    for part in ["reads", "as raw", "looks like qcow2", "virsh edit web"] {
        assert!(text(&one, "message").contains(part), "{part}: {one}");
    }
    for guessed in [
        "branch disk new --yes",
        "convert disk new --yes",
        "rebase plain --to disk --yes",
    ] {
        let told = place.q(guessed).with(4).err;
        assert!(told.contains("web opens"), "{guessed}: {told}");
    }
    assert!(!place.at("new").exists());
    place
        .q("branch disk new --backing-format raw --yes")
        .with(0);
    let info = place.qemu.img(&["info", "--output=json", "new"]);
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["backing-filename-format"], "raw");
}

#[test]
fn an_image_that_nobody_needs_among_disks_of_machines_is_an_orphan() {
    let Some(place) = Place::new() else { return };
    for name in ["base", "nobodys"] {
        place.create("", name, "4M");
    }
    place.overlay("base", "disk");
    for name in ["base", "disk", "nobodys"] {
        place.age(name, 40);
    }
    // Where no machine is known nobody can say so.
    assert_eq!(place.findings(), Vec::<Value>::new());
    place.define("disk", "");
    let one = place.only("nobodys", "orphan");
    assert!(text(&one, "message").contains("unchanged for 40d"), "{one}");
    assert_ne!(text(&one, "sure"), "certain");
    place.q("doctor --fix-safe --yes").with(3);
    place.fix("orphan", "--yes").with(0);
    assert!(!place.at("nobodys").exists());
    place.is_clean("disk");
    place.age("base", 2);
    place.q("undo --yes").with(0);
    place.age("nobodys", 20);
    assert_eq!(place.findings(), Vec::<Value>::new());
}

#[test]
fn a_trash_that_is_never_emptied_is_told_and_emptied_by_number() {
    let Some(place) = Place::new() else { return };
    for name in ["old", "young"] {
        place.create("", name, "4M");
        place.q(&format!("discard {name} --yes")).with(0);
    }
    assert_eq!(place.findings(), Vec::<Value>::new());
    let trash = place.at(".qanopy-trash");
    let entries = fs::read_dir(&trash)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let manifests: Vec<PathBuf> = entries.filter(|path| path.extension().is_some()).collect();
    for manifest in manifests {
        let mut told: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        if told["files"][0]["name"] == "old" {
            told["discarded"] = (told["discarded"].as_u64().unwrap() - 40 * 24 * 60 * 60).into();
            fs::write(&manifest, told.to_string()).unwrap();
        }
    }
    let one = place.only(".qanopy-trash", "old-trash");
    assert!(
        text(&one, "message").contains("1 entry older than"),
        "{one}"
    );
    place.q("doctor --fix-safe --yes").with(3);
    place.fix("old-trash", "--confirm 1").with(0);
    let left = place.q("trash list --json").with(0).result();
    assert_eq!(left["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn notes_that_cannot_be_read_are_told_since_they_may_protect() {
    let Some(place) = Place::new() else { return };
    place.create("", "a", "4M");
    assert_eq!(place.findings(), Vec::<Value>::new());
    fs::write(place.at(".qanopy-notes.json"), "{").unwrap();
    let one = place.only(".qanopy-notes.json", "unread-notes");
    assert!(text(&one, "message").contains("cannot be read"), "{one}");
    fs::remove_file(place.at(".qanopy-notes.json")).unwrap();
    place.is_clean("a");
}

#[test]
fn several_images_are_noted_at_once_and_a_word_that_is_no_file_is_the_note() {
    let Some(place) = Place::new() else { return };
    for name in ["a", "b", "c"] {
        place.create("", name, "4M");
    }
    let noted = |name: &str| {
        let told = place.q(&format!("note {name} --json")).with(0).result();
        (text(&told, "note"), told["tags"].to_string())
    };
    place.q("note a b c fine --tag web --yes").with(0);
    for name in ["a", "b", "c"] {
        assert_eq!(noted(name), ("fine".to_owned(), r#"["web"]"#.to_owned()));
    }
    place.q("note a b --untag web --text c --yes").with(0);
    assert_eq!(noted("b"), ("c".to_owned(), "[]".to_owned()));
    assert_eq!(noted("c").0, "fine");
    place.q("undo --yes").with(0);
    assert_eq!(noted("a"), ("fine".to_owned(), r#"["web"]"#.to_owned()));
    place.q("note a none b --tag web --yes").with(2);
    place.q("note a b").with(2);
}

#[test]
fn a_note_of_what_is_not_there_is_told_and_forgotten_and_comes_back_by_undo() {
    let Some(place) = Place::new() else { return };
    place.create("", "a", "4M");
    let file = place.at(".qanopy-notes.json");
    let notes = r#"{"version":1,"images":[{"name":"gone","note":"kernel 6.9","tags":["keep"]},{"name":"a","tags":["web"]}]}"#;
    fs::write(&file, notes).unwrap();
    let one = place.only("gone", "stale-note");
    assert!(text(&one, "message").contains("speaks of"), "{one}");
    place.q("note gone --tag more --yes").with(4);
    place.q("doctor --fix-safe --yes").with(0);
    let left = || fs::read_to_string(&file).unwrap();
    assert!(
        !left().contains("gone") && left().contains("web"),
        "{}",
        left()
    );
    assert_eq!(place.findings(), Vec::<Value>::new());
    place.q("undo --yes").with(0);
    assert!(
        left().contains("kernel 6.9") && left().contains("keep"),
        "{}",
        left()
    );
    place.only("gone", "stale-note");
    place.q("redo --yes").with(0);
    assert!(!left().contains("gone"), "{}", left());
    // Once there is such an image its note is no longer what is put back.
    place.create("", "gone", "4M");
    place.q("undo --yes").with(4);
}

#[test]
fn what_a_crash_left_half_made_is_removed() {
    let Some(place) = Place::new() else { return };
    place.create("", "disk", "4M");
    // No process has that number.
    let name = ".copy.qcow2.4294967294.qanopy-new";
    let left = place.at(name);
    fs::write(&left, vec![0; 4096]).unwrap();
    let one = place.only(name, "half-made");
    assert!(
        one["fixes"][0]
            .as_str()
            .unwrap()
            .contains("doctor --fix half-made")
    );
    place.fix("half-made", "--confirm 1").with(0);
    assert!(!left.exists());
    place.is_clean("disk");
}

#[test]
fn what_was_interrupted_before_its_file_was_there_is_finished() {
    let Some(place) = Place::new() else { return };
    place.create("", "disk", "4M");
    place.q("clone disk copy").with(0);
    fs::remove_file(place.at("copy")).unwrap();
    let journal = place.dir.path().join("state/qanopy/journal.jsonl");
    let begun = fs::read_to_string(&journal).unwrap();
    let begun: Vec<&str> = begun
        .lines()
        .filter(|line| line.contains("\"begun\""))
        .collect();
    fs::write(&journal, begun.join("\n") + "\n").unwrap();
    let found = place.findings();
    let kinds: Vec<String> = found.iter().map(|one| text(one, "kind")).collect();
    assert_eq!(kinds, ["unfinished"], "{found:?}");
    place.fix("unfinished", "--yes").with(0);
    assert_eq!(place.qemu.digest("copy"), place.qemu.digest("disk"));
    place.is_clean("copy");
}

#[test]
fn the_reference_has_a_row_for_every_finding() {
    let Some(place) = Place::new() else { return };
    let told = place.q("doctor --fix nonsense").with(2).err;
    let (_, names) = told.split_once("[possible values: ").unwrap();
    let names = names.split_once(']').unwrap().0.split(", ");
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 30, "{names:?}");
    for page in ["assets/docs/commands.md", "assets/docs/zh-CN/commands.md"] {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let page = fs::read_to_string(page).unwrap();
        for name in &names {
            assert!(page.contains(&format!("\n| `{name}` | ")), "{name}");
        }
    }
}

#[test]
fn a_base_that_everybody_may_write_is_protected() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "4M");
    place.overlay("base", "disk");
    let mode = |name: &str, mode| {
        fs::set_permissions(place.at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("base", 0o664);
    mode("disk", 0o666);
    assert_eq!(place.findings(), Vec::<Value>::new());
    mode("base", 0o666);
    place.only("base", "writable-base");
    place.q("doctor --fix-safe --yes").with(0);
    let now = fs::metadata(place.at("base")).unwrap().permissions().mode();
    assert_eq!(now & 0o777, 0o444);
    place.is_clean("disk");
    place.q("undo --yes").with(0);
    place.only("base", "writable-base");
}

#[test]
fn what_a_user_may_not_pass_or_open_is_told_and_nothing_once_it_may() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "4M");
    place.overlay("base", "disk");
    let home = place.dir.path().canonicalize().unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for dir in [&home, &place.at("")] {
        mode(dir, 0o700);
    }
    mode(&place.at("base"), 0o600);
    mode(&place.at("disk"), 0o644);
    assert_eq!(place.findings(), Vec::<Value>::new());
    let told = || {
        let told = place.q("doctor --json --as-user nobody").result();
        let all = told["findings"].as_array().unwrap().clone();
        assert!(all.iter().all(|one| text(one, "kind") == "not-permitted"));
        all.iter().map(path).collect::<Vec<_>>()
    };
    // As the kernel sees it, which lets root ask for others.
    let is_let = |words: &[&str]| {
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let mut command = Command::new("setpriv");
        let ended = command.args(user).args(words).current_dir("/").output();
        ended.is_ok_and(|ended| ended.status.success())
    };
    let opens = || {
        let disk = place.at("disk").display().to_string();
        is_let(&["qemu-io", "-c", "read 0 64k", &disk])
    };
    let may_ask = is_let(&["true"]);
    let images = place.at("base").parent().unwrap().to_path_buf();
    assert_eq!(
        told(),
        [
            home.clone(),
            images.clone(),
            place.at("base"),
            place.at("disk")
        ]
    );
    for dir in [&home, &images] {
        mode(dir, 0o711);
    }
    mode(&place.at("base"), 0o644);
    assert_eq!(told(), [place.at("disk")]);
    assert!(!may_ask || !opens());
    mode(&place.at("disk"), 0o666);
    assert_eq!(told(), Vec::<PathBuf>::new());
    assert!(!may_ask || opens());
    let wrong = place.q("doctor --as-user no-such-user").with(2);
    assert!(wrong.err.contains("no-such-user"), "{}", wrong.err);
}

/// What is missing for `nobody` in a folder of which everybody else is kept out.
fn closed() -> Option<Place> {
    let place = Place::new()?;
    place.create("", "base", "4M");
    place.overlay("base", "disk");
    let home = place.dir.path().canonicalize().unwrap();
    for (path, mode) in [
        (home, 0o700),
        (place.at(""), 0o700),
        (place.at("base"), 0o600),
        (place.at("disk"), 0o600),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    Some(place)
}

/// Whose permissions they are, of the two folders and the two images.
fn modes(place: &Place) -> Vec<u32> {
    let home = place.dir.path().to_path_buf();
    let paths = [home, place.at(""), place.at("base"), place.at("disk")];
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    paths.iter().map(mode).collect()
}

#[test]
fn a_user_gets_by_one_plan_all_that_it_lacks_and_undo_takes_it_back() {
    let Some(place) = closed() else { return };
    let before = modes(&place);
    let told = place.q("doctor --json --as-user nobody").with(3).result();
    let fix = text(&told["findings"][0], "message");
    assert!(fix.contains("may not pass the folder"), "{told}");
    let fixes = told["findings"][0]["fixes"][0].as_str().unwrap();
    assert!(
        fixes.contains("--fix not-permitted --as-user nobody"),
        "{fixes}"
    );
    // Others gain by it what is open to all, so that it is not done unasked.
    place.q("doctor --as-user nobody --fix-safe --yes").with(3);
    assert_eq!(modes(&place), before);
    let fix = "doctor --as-user nobody --fix not-permitted --json";
    let planned = place.q(&format!("{fix} -n")).with(3).result();
    let plans = planned["fixes"].as_array().unwrap();
    assert_eq!(plans.len(), 1, "{planned}");
    assert_eq!(plans[0]["plan"]["effects"].as_array().unwrap().len(), 4);
    assert_eq!(modes(&place), before);
    place.q(&format!("{fix} --yes")).with(0);
    assert_eq!(modes(&place), [0o710, 0o710, 0o640, 0o660], "the masks");
    place.q("undo --yes").with(0);
    assert_eq!(modes(&place), before);
    place.q("redo --yes").with(0);
    place.q("doctor --as-user nobody").with(0);
}

#[test]
fn permitting_that_was_cut_off_is_finished_or_taken_back() {
    let Some(place) = closed() else { return };
    let before = modes(&place);
    let fix = "doctor --as-user nobody --fix not-permitted --yes";
    for way in ["roll-back", "finish"] {
        place.q(fix).with(0);
        let after = modes(&place);
        // Two of the files were not reached, and the end of it was never written down.
        for name in ["base", "disk"] {
            let path = place.at(name).display().to_string();
            let ended = Command::new("setfacl").args(["-b", &path]).status();
            assert!(ended.unwrap().success());
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let journal = place.dir.path().join("state/qanopy/journal.jsonl");
        let told = fs::read_to_string(&journal).unwrap();
        let mut lines: Vec<&str> = told.lines().collect();
        assert!(lines.pop().unwrap().contains("\"done\""));
        fs::write(&journal, lines.join("\n") + "\n").unwrap();
        let open = place.q("recover --json").with(0).result();
        let id = &open["entries"][0]["id"];
        place.q(&format!("recover {id} --{way} --yes")).with(0);
        match way {
            "finish" => assert_eq!(modes(&place), after),
            _ => assert_eq!(modes(&place), before),
        }
    }
}

#[test]
fn nobody_but_the_owner_and_root_gives_permissions() {
    let Some(place) = closed() else { return };
    if !geteuid().is_root() {
        return;
    }
    // The folder of the build need not be one that everybody may enter.
    let open = tempfile::tempdir().unwrap();
    let program = open.path().join("qanopy");
    copy_program(&program);
    let home = place.dir.path().canonicalize().unwrap();
    for (path, mode) in [
        (open.path(), 0o755),
        (&home, 0o755),
        (&place.at(""), 0o755),
        (&place.at("base"), 0o644),
        (&place.at("disk"), 0o644),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let before = modes(&place);
    let ended = Command::new("setpriv")
        .args(["--reuid=65533", "--regid=65533", "--clear-groups"])
        .arg(&program)
        .args("doctor --as-user nobody --fix not-permitted --yes".split(' '))
        .arg(place.at(""))
        .current_dir("/")
        .env("HOME", open.path())
        .env("XDG_STATE_HOME", open.path())
        .output()
        .unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(told.contains("only its owner (user 0) or root"), "{told}");
    assert_eq!(modes(&place), before);
}

#[test]
fn a_protection_that_was_cut_off_is_finished_or_taken_back() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "4M");
    place.overlay("base", "disk");
    let mode = || fs::metadata(place.at("base")).unwrap().permissions().mode() & 0o777;
    let before = mode();
    for (way, then) in [("finish", 0o444), ("roll-back", before)] {
        fs::set_permissions(place.at("base"), fs::Permissions::from_mode(before)).unwrap();
        place.q("protect base --yes").with(0);
        assert_eq!(mode(), 0o444);
        // The end of it was never written down.
        let journal = place.dir.path().join("state/qanopy/journal.jsonl");
        let told = fs::read_to_string(&journal).unwrap();
        let mut lines: Vec<&str> = told.lines().collect();
        assert!(lines.pop().unwrap().contains("\"done\""));
        fs::write(&journal, lines.join("\n") + "\n").unwrap();
        assert_eq!(place.about("base"), ["interrupted"]);
        let open = place.q("recover --json").with(0).result();
        let id = &open["entries"][0]["id"];
        place.q(&format!("recover {id} --{way} --yes")).with(0);
        assert_eq!(mode(), then);
        assert_eq!(place.findings(), Vec::<Value>::new());
    }
}

#[test]
fn all_images_that_name_a_folder_which_has_moved_are_relinked_by_one_plan() {
    let Some(place) = Place::new() else { return };
    for folder in ["old", "other", "vm"] {
        fs::create_dir(place.at(folder)).unwrap();
    }
    let on = |base: &str, name: &str| place.overlay(&place.at(base).display().to_string(), name);
    place.create("", "old/one", "4M");
    place.qemu.io("old/one", &["write -P 1 0 64k"]);
    on("old/one", "old/two");
    place.qemu.io("old/two", &["write -P 2 64k 64k"]);
    let tops = ["vm/a", "vm/b", "vm/c"];
    for (base, top) in [("one", tops[0]), ("two", tops[1]), ("two", tops[2])] {
        on(&format!("old/{base}"), top);
        place.qemu.io(top, &["write -P 3 128k 64k"]);
    }
    // A file of the same name, which is another disk.
    place.create("", "other/one", "16M");
    let shown = tops.map(|top| place.qemu.digest(top));
    assert_eq!(place.findings(), Vec::<Value>::new());
    fs::rename(place.at("old"), place.at("new")).unwrap();
    let all = place.findings();
    let moved = all.iter().filter(|one| text(one, "kind") == "moved-folder");
    let [one] = &moved.collect::<Vec<_>>()[..] else {
        panic!("{all:?}")
    };
    let told = text(one, "message");
    assert!(told.contains("4 images name 2 files in "), "{told}");
    // The best first, with its reasons.
    let at = |part: &str| told.find(part).unwrap_or_else(|| panic!("{part}: {told}"));
    assert!(at("new has those of 4 images, 4 of them") < at("other has those of 2 images, 0"));
    assert_eq!(text(one, "sure"), "likely");
    // A guess is not made unasked.
    let told = place.q("doctor --fix-safe -n --json").with(3).result();
    assert_eq!(told["fixes"], serde_json::json!([]));
    let told = place
        .q("doctor --fix moved-folder --yes --json")
        .with(0)
        .result();
    assert_eq!(told["fixes"].as_array().unwrap().len(), 1);
    assert_eq!(tops.map(|top| place.qemu.digest(top)), shown);
    for image in ["new/two", "vm/a", "vm/b", "vm/c"] {
        let named = text(&place.info(image), "backing-filename");
        assert!(named.contains("/new/"), "{named}");
        place.is_clean(image);
    }
    place.q("undo --yes").with(0);
    for image in ["new/two", "vm/a", "vm/b", "vm/c"] {
        let named = text(&place.info(image), "backing-filename");
        assert!(named.contains("/old/"), "{named}");
    }
    place.q("redo --yes").with(0);
    assert_eq!(tops.map(|top| place.qemu.digest(top)), shown);
}

#[test]
fn a_base_that_is_changed_under_its_overlays_is_told_with_each_of_them() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "1M");
    place.qemu.io(place.at("base"), &["write -P 0x11 0 1M"]);
    place.overlay("base", "web");
    place.overlay("web", "db");
    assert_eq!(place.findings(), [] as [Value; 0]);
    fs::copy(place.at("base"), place.dir.path().join("backup")).unwrap();

    place.qemu.io(place.at("base"), &["write -P 0x22 0 64k"]);
    for name in ["base", "web", "db"] {
        assert_eq!(place.about(name), ["base-changed"], "{name}");
    }
    let found = place.findings();
    let of_base = found.iter().find(|one| path(one) == place.at("base"));
    assert_eq!(text(of_base.unwrap(), "sure"), "certain");
    let commands = of_base.unwrap()["fixes"].to_string();
    assert!(commands.contains("index accept"), "{commands}");
    let ended = place.q("doctor");
    assert!(ended.out.contains("2 images built on it"), "{}", ended.out);

    // The tree tells it too, and so does a plan on what is built on it.
    let tree = place.q("tree").with(0).out;
    let marked = tree.lines().filter(|line| line.ends_with(" base-changed"));
    assert_eq!(marked.count(), 3, "{tree}");
    assert_eq!(tree.matches("index accept").count(), 3, "{tree}");
    let tree = place.q("tree --json").with(0).result();
    for image in tree["images"].as_array().unwrap() {
        assert_eq!(image["problems"][0]["kind"], "base-changed", "{image}");
        let flags = image["flags"].as_array().unwrap();
        assert!(flags.contains(&"base-changed".into()), "{image}");
    }
    let web = place.q("info web --json").with(0).result();
    assert_eq!(web["problems"][0]["kind"], "base-changed", "{web}");
    let told = web["problems"][0]["message"].as_str().unwrap();
    assert!(told.contains("its bytes are others since 20"), "{told}");
    for line in [
        "commit db --dry-run",
        "clone db new --dry-run",
        "flatten db --in-place --dry-run",
    ] {
        let plan = place.q(&format!("{line} --json")).with(0).result();
        let notes = plan["plan"]["notes"].as_array().unwrap();
        let warns = |note: &&Value| note["kind"] == "base" && note["warning"] == true;
        let warning = notes
            .iter()
            .find(warns)
            .unwrap_or_else(|| panic!("{line}: {plan}"));
        let fixes = warning["fixes"].to_string();
        assert!(fixes.contains("index accept"), "{fixes}");
    }

    // An operation on it takes nothing of that back.
    place.q("protect base --yes").with(0);
    place.q("protect base --mode 644 --yes").with(0);
    assert_eq!(place.about("db"), ["base-changed"]);

    // Put back from a backup: only its time is another one.
    fs::copy(place.dir.path().join("backup"), place.at("base")).unwrap();
    let found = place.findings();
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|one| text(one, "sure") == "likely"));
    place.q("--read-only index accept base").with(4);
    let accepted = place.q("index accept base --json").with(0).result();
    assert_eq!(accepted["accepted"].as_array().unwrap().len(), 1);
    assert_eq!(place.findings(), [] as [Value; 0]);
    let tree = place.q("tree").with(0).out;
    assert!(!tree.contains("base-changed"), "{tree}");

    // What is changed here keeps what is built on it.
    place.overlay("base", "old");
    place.qemu.io(place.at("old"), &["write -P 0x33 0 64k"]);
    place
        .q("commit old --siblings preserve --confirm 1")
        .with(0);
    assert_eq!(place.findings(), [] as [Value; 0]);
    let read = place.qemu.io(place.at("db"), &["read -P 0x11 0 1M"]);
    assert!(!read.contains("failed"), "{read}");
}

#[test]
fn clusters_that_work_against_copy_on_write_are_told() {
    let Some(place) = Place::new() else { return };
    place.create("-o cluster_size=2M", "base", "8M");
    place.create("-F qcow2 -b base -o cluster_size=2M", "large", "");
    place.create(
        "-F qcow2 -b base -o extended_l2=on,cluster_size=128k",
        "fine",
        "",
    );
    place.create(
        "-F qcow2 -b base -o extended_l2=on,cluster_size=64k",
        "small",
        "",
    );
    for name in ["large", "small"] {
        assert_eq!(place.about(name), ["cluster-size"], "{name}");
    }
    assert_eq!(place.findings().len(), 2);
    place.qemu.io(place.at("large"), &["write -P 1 0 64k"]);
    place
        .q("convert large new --backing base --extended-l2 --cluster-size 128K --yes")
        .with(0);
    assert_eq!(place.about("new"), [] as [String; 0]);
    place.qemu.img(&["compare", "-q", "large", "new"]);
}

#[test]
fn copies_of_an_image_are_told_and_others_of_its_length_not() {
    let Some(place) = Place::new() else { return };
    for name in ["one", "other"] {
        place.create("", name, "4M");
        let pattern = format!("write -P {} 0 4M", name.len());
        place.qemu.io(place.at(name), &[pattern]);
    }
    assert_eq!(place.findings(), [] as [Value; 0]);
    fs::copy(place.at("one"), place.at("two")).unwrap();
    assert_eq!(place.about("two"), ["same-content"]);
    assert_eq!(place.findings().len(), 1);
    place.q("compare one two").with(0);
    place.q("discard two --yes").with(0);
    assert_eq!(place.findings(), [] as [Value; 0]);
}

#[test]
fn a_label_that_differs_within_a_chain_is_told() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "1M");
    place.overlay("base", "leaf");
    let label = |name: &str, kind: &str| {
        let value = format!("system_u:object_r:{kind}:s0\0");
        let none = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(place.at(name), c"security.selinux", value.as_bytes(), none)
    };
    if label("leaf", "svirt_image_t").is_err() {
        eprintln!("SKIPPED: no SELinux label can be set here");
        return;
    }
    let label = |name: &str, kind: &str| label(name, kind).unwrap();
    label("base", "virt_content_t");
    assert_eq!(place.findings(), [] as [Value; 0]);
    label("base", "user_home_t");
    assert_eq!(place.about("base"), ["label-differs"]);
    let what = place.findings()[0].to_string();
    assert!(what.contains("user_home_t"), "{what}");
    label("base", "svirt_image_t");
    assert_eq!(place.findings(), [] as [Value; 0]);
}

#[test]
fn the_owner_of_a_protected_base_lifts_that_around_a_commit() {
    let Some(place) = Place::new() else { return };
    place.create("", "base", "1M");
    place.overlay("base", "over");
    place.qemu.io(place.at("over"), &["write -P 1 0 64k"]);
    place.q("protect base --yes").with(0);
    // Root is not kept from it, so that another user has to try.
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777));
    open(place.dir.path()).unwrap();
    let program = place.dir.path().join("qanopy");
    copy_program(&program);
    let (user, group) = (Some(60_000), Some(60_000));
    if geteuid().is_root() {
        for name in ["", "base", "over"] {
            std::os::unix::fs::chown(place.at(name), user, group).unwrap();
        }
    }
    let q = |words: &str| {
        let mut command = Command::new(&program);
        command
            .args(words.split(' '))
            .current_dir(place.at(""))
            .env("HOME", place.dir.path().join("other"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_RUNTIME_DIR");
        if geteuid().is_root() {
            std::os::unix::process::CommandExt::uid(&mut command, 60_000);
            std::os::unix::process::CommandExt::gid(&mut command, 60_000);
        }
        Ended::of(command.output().unwrap())
    };
    let refused = q("commit over --yes");
    assert_eq!(refused.code, 4, "{}", refused.err);
    let way_out = refused.out.lines().last().unwrap_or_default();
    assert!(
        way_out.starts_with("To do 1: qanopy protect "),
        "{}",
        refused.out
    );
    assert!(way_out.ends_with("--mode 644"), "{way_out}");
    q("protect base --mode 644 --yes").with(0);
    q("commit over --confirm 1").with(0);
    q("protect base --yes").with(0);
    place.qemu.io(place.at("base"), &["read -P 1 0 64k"]);
}
