//! The command line as a process: what is printed where, what changes, and the exit code.

use crate::support;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::recorder::digest_tree;
use tempfile::TempDir;

/// A directory of images, and a state directory of its own beside it.
pub(crate) struct Place {
    images: TempDir,
    pub(crate) state: TempDir,
}

/// How a call ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails the test, showing everything, unless the exit code is this one.
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.out, self.err
        );
        self
    }

    /// The document on standard output, which is as the schema has it.
    pub(crate) fn json(&self) -> Value {
        crate::schema::read(&self.out)
    }

    /// The result in it.
    pub(crate) fn result(&self) -> Value {
        self.json()["result"].take()
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            images: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.images.path()
    }

    /// Where what is remembered from run to run is kept.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state.path().join("qanopy")
    }

    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command
            .current_dir(self.path())
            .env("XDG_STATE_HOME", self.state.path())
            .env("TERM", "xterm");
        command
    }

    /// Runs `qanopy` with these words, without a terminal and with nothing to read.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Ended {
        let output = assert_cmd::Command::from_std(self.command())
            .args(words)
            .timeout(Duration::from_secs(60))
            .output()
            .unwrap();
        Ended::of(output)
    }

    /// The same with words divided by blanks.
    pub(crate) fn q(&self, words: &str) -> Ended {
        self.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn digest(&self) -> u64 {
        digest_tree(self.path())
    }

    fn exists(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }
}

/// base <- one <- top, and base <- two; made by ourselves.
pub(crate) fn small_forest() -> Place {
    let place = Place::new();
    place.q("create base.qcow2 8M").with(0);
    place.q("branch base.qcow2 one.qcow2").with(0);
    place.q("branch base.qcow2 two.qcow2").with(0);
    place.q("branch one.qcow2 top.qcow2").with(0);
    place
}

/// The program's own sample forests, with data in every layer, below `demo`.
pub(crate) fn demo_forest() -> Place {
    let place = Place::new();
    place.q("demo demo").with(0);
    place
}

#[test]
fn help_and_version_are_no_failure_and_nonsense_is_wrong_usage() {
    let place = Place::new();
    assert!(place.q("--help").with(0).out.contains("branch"));
    assert!(place.q("--version").with(0).out.starts_with("qanopy "));
    for words in [
        "--nonsense",
        "branch",
        "create new.qcow2 huge",
        "create new.qcow2",
        "create new.qcow2 1M --cluster-size 3000",
        "create new.qcow2 1M --refcount-bits 12",
        "create new.qcow2 1M --compat 1.2",
        "create new.qcow2 1M --data-file-raw",
        "tree --dot --boxes",
        "--follow tree",
        "trash restore",
        "prune --older-than soon",
    ] {
        let ended = place.q(words).with(2);
        assert!(!ended.err.is_empty() && ended.out.is_empty(), "{words}");
    }
}

#[test]
fn the_options_of_a_new_image_end_up_in_its_header() {
    let place = Place::new();
    place
        .q("create new.qcow2 1M --cluster-size 128K --extended-l2 --refcount-bits 1 --lazy-refcounts \
            --compression-type zstd --preallocation metadata --data-file new.raw --data-file-raw")
        .with(0);
    let info = place.q("info --json new.qcow2").with(0).result();
    let data = &info["format-specific"]["data"];
    for (key, value) in [
        ("extended-l2", Value::from(true)),
        ("refcount-bits", Value::from(1)),
        ("lazy-refcounts", Value::from(true)),
        ("compression-type", Value::from("zstd")),
        (
            "data-file",
            Value::from(place.path().join("new.raw").to_str().unwrap()),
        ),
        ("data-file-raw", Value::from(true)),
    ] {
        assert_eq!(data[key], value, "{info}");
    }
    assert_eq!(info["cluster-size"], 128 << 10);
    assert!(place.exists("new.raw"));
    place
        .q("create over.qcow2 --backing new.qcow2 --compat 0.10")
        .with(0);
    let info = place.q("info --json over.qcow2").with(0).result();
    assert_eq!(info["format-specific"]["data"]["compat"], "0.10");
    assert_eq!(info["backing-filename"], "new.qcow2");
    assert_eq!(info["virtual-size"], 1 << 20);
    let refused = place
        .q("create no.qcow2 1M --compat 0.10 --extended-l2")
        .with(4);
    assert!(refused.err.contains("extended L2"), "{}", refused.err);
}

#[test]
fn a_raw_image_is_created_with_nothing_but_its_length_and_undone() {
    let place = Place::new();
    place.q("create -f raw disk.raw 1M").with(0);
    let len = |name: &str| fs::metadata(place.path().join(name)).unwrap().len();
    assert_eq!(len("disk.raw"), 1 << 20);
    let refused = place.q("create -f raw disk.raw 2M").with(4);
    assert!(refused.err.contains("exists already"), "{}", refused.err);
    for (more, code, why) in [
        ("--cluster-size 4K", 2, "no clusters"),
        ("--data-file d", 2, "no clusters"),
        ("--encrypt luks", 2, "no clusters"),
        ("--backing disk.raw", 2, "no backing file"),
        ("--preallocation metadata", 4, "no metadata"),
    ] {
        let words = format!("create --format raw x.raw 1M {more}");
        let ended = place.q(&words).with(code);
        assert!(ended.err.contains(why), "{more}: {}", ended.err);
    }
    assert!(!place.exists("x.raw"));
    place.q("undo --yes").with(0);
    assert!(!place.exists("disk.raw"));
    place.q("redo --yes").with(0);
    assert_eq!(len("disk.raw"), 1 << 20);
}

#[test]
fn an_overlay_on_a_base_that_is_not_there_is_agreed_to_by_number() {
    let place = Place::new();
    let words = "create top.qcow2 1M --backing late.qcow2 --unchecked -F qcow2";
    assert!(place.q("create top.qcow2 1M --backing late.qcow2").code != 0);
    place
        .q("create top.qcow2 --backing late.qcow2 --unchecked -F qcow2")
        .with(2);
    place
        .q("create top.qcow2 1M --backing late.qcow2 --unchecked")
        .with(2);
    let planned = place.q(&format!("{words} --dry-run")).with(0);
    assert!(planned.out.contains("--confirm 1"), "{}", planned.out);
    place.q(&format!("{words} --yes")).with(4);
    assert!(!place.exists("top.qcow2"));
    let done = place.q(&format!("{words} --confirm 1")).with(0);
    assert!(done.err.contains("is not there"), "{}", done.err);
    let info = place.q("info --json top.qcow2").with(0).result();
    assert_eq!(info["backing-filename"], "late.qcow2");
    assert_eq!(info["backing-filename-format"], "qcow2");
    place.q("undo --yes").with(0);
    assert!(!place.exists("top.qcow2"));
}

#[test]
fn an_image_that_is_there_is_converted_into_by_number_only() {
    let place = demo_forest();
    let leaf = "demo/rootbase/Overlay-1C.qcow2";
    place.q(&format!("convert {leaf} plain.qcow2")).with(0);
    place.q("create there.qcow2 64M --cluster-size 4K").with(0);
    let words = format!("convert {leaf} there.qcow2 --into-existing");
    place
        .q(&format!("convert {leaf} there.qcow2 --yes"))
        .with(4);
    let refused = place.q(&format!("{words} --yes")).with(4);
    assert!(refused.err.contains("--confirm 1"), "{}", refused.err);
    for more in ["--to raw", "-c", "--cluster-size 4K", "--encrypt luks"] {
        place.q(&format!("{words} --confirm 1 {more}")).with(2);
    }
    let done = place.q(&format!("{words} --confirm 1")).with(0);
    assert!(done.err.contains("undo not possible"), "{}", done.err);
    place.q("compare plain.qcow2 there.qcow2").with(0);
    let info = place.q("info --json there.qcow2").with(0).result();
    assert_eq!(info["cluster-size"], 4096);
    let log = place.q("log --json").with(0).out;
    assert!(log.contains("into there.qcow2"), "{log}");
}

#[test]
fn what_a_salvage_could_not_read_is_listed_and_ends_with_3() {
    let place = Place::new();
    place
        .q("create source.img 4M -f raw --preallocation full")
        .with(0);
    place.q("convert source.img damaged.qcow2 -S 0").with(0);
    let path = place.path().join("damaged.qcow2");
    let mut bytes = fs::read(&path).unwrap();
    let number = |bytes: &[u8], at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(number) & 0x00ff_ffff_ffff_fe00
    };
    let l1 = usize::try_from(number(&bytes, 40)).unwrap();
    let l2 = usize::try_from(number(&bytes, l1)).unwrap();
    // The entry of the third cluster is not aligned.
    bytes[l2 + 2 * 8 + 6] |= 2;
    fs::write(&path, bytes).unwrap();
    place.q("convert damaged.qcow2 copy.qcow2 --yes").with(4);
    assert!(!place.exists("copy.qcow2"));
    let told = place
        .q("convert damaged.qcow2 copy.qcow2 --salvage --yes")
        .with(3);
    assert!(told.out.contains("64 KiB at 0x20000"), "{}", told.out);
    assert!(told.err.contains("zeros stand for them"), "{}", told.err);
    let words = "convert damaged.qcow2 again.qcow2 --salvage --yes --json";
    let lost = &place.q(words).with(3).result()["outcome"]["lost"];
    assert_eq!(lost["bytes"], 1 << 16);
    assert_eq!(lost["ranges"][0]["start"], 2 << 16);
    assert_eq!(lost["more"], false);
    let whole = place
        .q("convert source.img whole.img --to raw --salvage --json")
        .with(0);
    assert_eq!(whole.result()["outcome"]["lost"]["bytes"], 0);
    place.q("convert source.img x.img -S 1000").with(2);
}

#[test]
fn a_rebase_compresses_what_it_copies_when_asked() {
    let place = demo_forest();
    let top = "demo/rootbase/Overlay-2.qcow2";
    place.q("create other.qcow2 64M").with(0);
    place.q(&format!("rebase {top} --flatten -c --yes")).with(2);
    let words = format!("rebase {top} --to other.qcow2 --format qcow2 --compress");
    let planned = place.q(&format!("{words} --dry-run")).with(0);
    assert!(
        planned.out.contains("compressed by zlib"),
        "{}",
        planned.out
    );
    assert!(
        planned.out.contains("qemu-img rebase -c"),
        "{}",
        planned.out
    );
    place
        .q(&format!("convert {top} before.img --to raw"))
        .with(0);
    place.q(&format!("{words} --yes --verify")).with(0);
    place.q(&format!("compare before.img {top}")).with(0);
    place.q(&format!("check {top}")).with(0);
}

#[test]
fn a_disk_grows_as_far_as_its_clusters_map() {
    let place = Place::new();
    place.q("create big.qcow2 1P --cluster-size 2M").with(0);
    place.q("resize big.qcow2 8P --yes").with(0);
    let info = place.q("info --json big.qcow2").with(0).result();
    assert_eq!(info["virtual-size"], 8_u64 << 50);
    place.q("check big.qcow2").with(0);
    let refused = place.q("resize big.qcow2 3E --yes").with(4);
    assert!(refused.err.contains("at most 2 EiB"), "{}", refused.err);
    place.q("create small.qcow2 2P").with(0);
    let refused = place.q("resize small.qcow2 +64K --yes").with(4);
    assert!(refused.err.contains("at most 2 PiB"), "{}", refused.err);
}

#[test]
fn what_is_converted_there_and_back_is_the_same() {
    let place = Place::new();
    place.q("demo demo").with(0);
    let leaf = "demo/rootbase/Overlay-1C.qcow2";
    let told = place
        .q(&format!("convert {leaf} flat.img --to raw"))
        .with(0);
    assert!(told.out.contains("flat.img"), "{}", told.out);
    place
        .q("convert flat.img small.qcow2 -c --compression-type zstd --compression-level 1")
        .with(0);
    place.q("convert small.qcow2 again.img --to raw").with(0);
    let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
    assert!(read("flat.img") == read("again.img"));
    place
        .q(&format!(
            "convert {leaf} near.qcow2 --backing demo/rootbase/RootBase.qcow2"
        ))
        .with(0);
    let info = place.q("info --json near.qcow2").with(0).result();
    assert_eq!(info["backing-filename"], "demo/rootbase/RootBase.qcow2");
    place.q("convert near.qcow2 third.img --to raw").with(0);
    assert!(read("flat.img") == read("third.img"));
    place.q("convert flat.img small.qcow2").with(4);
    for wrong in [
        "convert flat.img",
        "convert flat.img new --to raw --compress",
        "convert flat.img new --to raw --cluster-size 4K",
        "convert flat.img new --compression-level 3",
        "convert flat.img new --to vmdk",
    ] {
        place.q(wrong).with(2);
    }
    place
        .q("convert flat.img new -c --compression-level 20")
        .with(4);
    assert!(!place.exists("new"));
}

#[test]
fn every_command_has_a_help_text() {
    let place = Place::new();
    for command in [
        "tree", "info", "create", "convert", "branch", "commit", "discard", "prune", "trash",
        "index", "demo",
    ] {
        let ended = place.q(&format!("{command} --help")).with(0);
        assert!(ended.out.contains("Usage: qanopy"), "{command}");
    }
}

#[test]
fn without_a_terminal_the_tree_is_printed() {
    let place = small_forest();
    // An age that is the same in both runs.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(9_000_000);
    for name in ["base.qcow2", "one.qcow2", "two.qcow2", "top.qcow2"] {
        let image = std::fs::File::options()
            .write(true)
            .open(place.path().join(name));
        image.unwrap().set_modified(old).unwrap();
    }
    let bare = place.q("").with(0);
    assert_eq!(bare.out, place.q("tree").with(0).out);
    for name in ["base.qcow2", "one.qcow2", "two.qcow2", "top.qcow2"] {
        assert!(bare.out.contains(name), "{}", bare.out);
    }
    let dir = place.path().to_str().unwrap().to_owned();
    assert!(place.run(&[&dir]).with(0).out.contains("top.qcow2"));
}

#[test]
fn the_pictures_say_who_is_built_on_whom() {
    let place = small_forest();
    let boxes = place.q("tree --boxes").with(0).out;
    assert_eq!(boxes.matches("(Active)").count(), 2, "{boxes}");
    assert!(boxes.contains("<--"), "{boxes}");
    let ascii = place.q("--ascii tree").with(0).out;
    assert!(ascii.is_ascii(), "{ascii}");
    assert!(place.q("tree --dot").with(0).out.starts_with("digraph"));
    let mermaid = place.q("tree --mermaid").with(0).out;
    assert!(
        mermaid.starts_with("graph") || mermaid.starts_with("flowchart"),
        "{mermaid}"
    );
}

#[test]
fn the_tree_shows_what_a_filter_finds_and_what_that_is_built_on() {
    let place = small_forest();
    let lines = |words: &str| {
        let told = place.q(&format!("--ascii {words}")).with(0).out;
        let names = told.lines().map(|line| {
            let end = line.find(".qcow2").unwrap() + ".qcow2".len();
            line[..end].to_owned()
        });
        names.collect::<Vec<_>>()
    };
    let [base, one, top] = ["* base.qcow2", "`-* one.qcow2", "  `-o top.qcow2"];
    // The other overlay of the base is left out, so that the last is the last.
    assert_eq!(lines("tree --filter top"), [base, one, top]);
    assert_eq!(lines("tree --filter state:frozen"), [base, one]);
    assert_eq!(lines("tree --filter TOP"), [base, one, top]);
    let images = |words: &str| {
        let told = place.q(words).with(0).result();
        let images = told["images"].as_array().unwrap().clone();
        let names = images.iter().map(|image| image["path"].as_str().unwrap());
        let names = names.map(|path| path.rsplit('/').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(images("tree --json --filter top"), ["top.qcow2"]);
    assert_eq!(images("tree --json --filter size>1T"), [""; 0]);
    let none = place.q("tree --filter size>1T").with(0).out;
    assert_eq!(none, "No image here is what the filter asks for.\n");
    // Space is measured, where that is asked about.
    assert_eq!(images("tree --json --filter own<1T").len(), 4);
    assert_eq!(images("tree --json --filter own>1T"), [""; 0]);
    let wrong = place.q("tree --filter state:lokced").with(2).err;
    assert!(wrong.contains("No state is called lokced"), "{wrong}");
    place.q("tree --boxes --filter top").with(2);
}

#[test]
fn the_tree_as_json_has_the_promised_keys() {
    let place = small_forest();
    let tree = place.q("tree --json").with(0).result();
    let images = tree["images"].as_array().unwrap();
    assert_eq!(images.len(), 4);
    for image in images {
        let keys: Vec<&str> = image
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        for key in [
            "path",
            "names",
            "format",
            "virtual-size",
            "actual-size",
            "backing",
            "children",
            "flags",
            "problems",
        ] {
            assert!(keys.contains(&key), "{key} is missing in {keys:?}");
        }
    }
    let named = |name: &str| {
        images
            .iter()
            .find(|image| image["path"].as_str().unwrap().ends_with(name))
            .unwrap()
    };
    let base = named("base.qcow2");
    assert_eq!(base["flags"], serde_json::json!(["frozen"]));
    assert_eq!(base["virtual-size"], 8 << 20);
    assert_eq!(base["children"].as_array().unwrap().len(), 2);
    assert!(base["backing"].is_null());
    let top = named("top.qcow2");
    assert_eq!(top["flags"], serde_json::json!(["active"]));
    assert_eq!(top["backing"]["recorded"], "one.qcow2");
    assert_eq!(top["backing"]["format"], "qcow2");
    assert_eq!(top["backing"]["path"], named("one.qcow2")["path"]);
}

#[test]
fn problems_end_with_3_only_where_that_is_asked() {
    let place = small_forest();
    place.q("tree --check").with(0);
    fs::remove_file(place.path().join("base.qcow2")).unwrap();
    place.q("tree").with(0);
    let ended = place.q("tree --check").with(3);
    assert!(ended.out.contains("one.qcow2"), "{}", ended.out);
    assert!(ended.err.contains("problem"), "{}", ended.err);
}

#[test]
fn a_directory_that_is_not_there_is_said_so() {
    let place = Place::new();
    let ended = place.q("tree nowhere").with(1);
    assert!(ended.err.contains("nowhere"), "{}", ended.err);
    let ended = place.q("info nothing.qcow2").with(1);
    assert!(ended.err.contains("nothing.qcow2"), "{}", ended.err);
}

#[test]
fn an_empty_directory_is_no_failure() {
    let place = Place::new();
    assert!(place.q("tree").with(0).out.contains("No qcow2 images"));
    let tree = place.q("tree --json").with(0).result();
    assert_eq!(tree, serde_json::json!({ "images": [] }));
}

#[test]
fn a_dry_run_changes_nothing_and_prints_the_plan() {
    let place = small_forest();
    let before = place.digest();
    for words in [
        "create other.qcow2 1G --dry-run",
        "branch top.qcow2 new.qcow2 --dry-run",
        "commit top.qcow2 --dry-run",
        "commit top.qcow2 --keep --dry-run",
        "commit two.qcow2 --siblings preserve --dry-run",
        "commit two.qcow2 --siblings break --dry-run",
        "discard one.qcow2 --dry-run",
        "prune --older-than 0 --all --dry-run",
        "--read-only discard one.qcow2 --dry-run",
    ] {
        let ended = place.q(words).with(0);
        assert!(!ended.out.is_empty(), "{words}");
        let json = place.q(&format!("{words} --json")).with(0).result();
        let plan = &json["plan"];
        assert!(plan["title"].is_string(), "{words}: {json}");
        assert!(!plan["effects"].as_array().unwrap().is_empty(), "{words}");
        assert!(json.get("outcome").is_none(), "{words}");
        assert_eq!(place.digest(), before, "{words}");
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let place = small_forest();
    let before = place.digest();
    place.q("create base.qcow2 1M --yes").with(4);
    place.q("branch base.qcow2 two.qcow2 --yes").with(4);
    assert_eq!(place.digest(), before);
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_lost() {
    let place = small_forest();
    let before = place.digest();
    for words in [
        "commit top.qcow2",
        "discard one.qcow2",
        "prune --older-than 0 --all",
    ] {
        let ended = place.q(words).with(4);
        assert!(
            ended.err.contains("--yes") || ended.err.contains("--confirm"),
            "{words}: {}",
            ended.err
        );
        assert_eq!(place.digest(), before, "{words}");
    }
}

#[test]
fn yes_alone_does_not_agree_to_a_count() {
    let place = demo_forest();
    let before = place.digest();
    for words in [
        "commit demo/rootbase/Overlay-1C.qcow2 --yes",
        "commit demo/rootbase/Overlay-1C.qcow2 --confirm 2",
        "commit demo/rootbase/Overlay-2.qcow2 --siblings break --yes",
        "commit demo/rootbase/Overlay-2.qcow2 --siblings break --confirm 99",
    ] {
        place.q(words).with(4);
        assert_eq!(place.digest(), before, "{words}");
    }
    let plan = "commit demo/rootbase/Overlay-2.qcow2 --siblings break --dry-run --json";
    let count = place.q(plan).with(0).result()["plan"]["confirm"].clone();
    let words = format!("commit demo/rootbase/Overlay-2.qcow2 --siblings break --confirm {count}");
    place.q(&words).with(0);
    assert!(!place.exists("demo/rootbase/Overlay-2.qcow2"));
}

/// What is lost for good asks for a number, which `--dry-run` prints; what comes back by an undo, or loses
/// nothing, goes by a yes.
#[test]
fn a_number_is_asked_for_where_something_is_lost_for_good() {
    let Some(qemu) = support::qemu() else { return };
    let place = demo_forest();
    let root = "demo/rootbase";
    place
        .q(&format!(
            "snapshot create {root}/Overlay-3A.qcow2 now --yes"
        ))
        .with(0);
    place
        .q(&format!("bitmap add {root}/Overlay-3A.qcow2 dirty --yes"))
        .with(0);
    // So that there is something to lose in each.
    let changed = place.path().join(root).join("Overlay-3A.qcow2");
    qemu.io(&changed, &["write -P 0x77 64k 64k"]);
    let asks = |words: &str| {
        let shown = place.q(&format!("{words} --dry-run")).with(0).out;
        let number = shown.lines().find_map(|line| {
            let rest = line.strip_prefix("Agree to it with --confirm ")?;
            rest.parse::<u64>().ok()
        });
        let said = shown.contains("asks ");
        assert_eq!(number.is_some(), said, "{words}: {shown}");
        number
    };
    for words in [
        "commit {}/Overlay-1C.qcow2",
        "commit {}/Overlay-2.qcow2 --siblings preserve",
        "resize {}/Overlay-3A.qcow2 1M --shrink",
        "snapshot delete {}/Overlay-3A.qcow2 now",
        "snapshot apply {}/Overlay-3A.qcow2 now",
        "bitmap clear {}/Overlay-3A.qcow2 dirty",
        "bitmap remove {}/Overlay-3A.qcow2 dirty",
    ] {
        let words = words.replace("{}", root);
        let before = place.digest();
        assert_eq!(asks(&words), Some(1), "{words}");
        let ended = place.q(&format!("{words} --yes")).with(4);
        assert!(ended.err.contains("--confirm 1"), "{}", ended.err);
        place.q(&words).with(4);
        assert_eq!(place.digest(), before, "{words}");
    }
    let old = "commit {}/Overlay-1C.qcow2 --keep-old demo/old.qcow2";
    for words in [
        old,
        "resize {}/Overlay-3A.qcow2 +1M",
        "discard {}/Overlay-1.qcow2",
        "squash {}/Overlay-1A.qcow2 --direction up",
        "flatten {}/Overlay-2A.qcow2 --in-place",
    ] {
        assert_eq!(asks(&words.replace("{}", root)), None, "{words}");
    }
    for words in [
        "commit {}/Overlay-1C.qcow2 --confirm 1",
        "discard {}/Overlay-1.qcow2 --yes",
        "snapshot delete {}/Overlay-3A.qcow2 now --confirm 1",
    ] {
        place.q(&words.replace("{}", root)).with(0);
    }
}

/// What warns stands on standard error also where nothing was asked, and beside `--yes` and `--json`.
#[test]
fn warnings_and_notes_are_said_whatever_was_agreed_to() {
    let place = demo_forest();
    let ended = place.q("create odd.qcow2 50").with(0);
    assert!(
        ended.err.contains("note: the size becomes 512 bytes"),
        "{}",
        ended.err
    );
    let commit = "commit demo/rootbase/Overlay-1C.qcow2 --confirm 1 --json";
    let ended = place.q(commit).with(0);
    assert!(ended.err.contains("undo not possible: "), "{}", ended.err);
    ended.result();
    let ended = place.q("resize odd.qcow2 2M --yes").with(0);
    assert!(ended.err.contains("note: partitions"), "{}", ended.err);
}

/// What may not be written is refused when it is planned, not found out halfway.
#[test]
fn what_may_not_be_written_is_refused_when_it_is_planned() {
    let place = small_forest();
    place.q("create shut/../other.qcow2 1M").with(4);
    fs::create_dir(place.path().join("shut")).unwrap();
    place.q("create shut/inside.qcow2 1M").with(0);
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    // Root may write whatever the permissions are: the immutable flag stops it as well.
    let set = |name: &str, shut: bool| {
        let path = place.path().join(name);
        if is_root {
            let flag = if shut { "+i" } else { "-i" };
            let mut command = std::process::Command::new("chattr");
            let done = command.arg(flag).arg(&path).stderr(Stdio::null()).status();
            return done.is_ok_and(|status| status.success());
        }
        let mode = match (path.is_dir(), shut) {
            (true, true) => 0o555,
            (false, true) => 0o444,
            (_, false) => 0o755,
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        true
    };
    if !set("top.qcow2", true) {
        eprintln!("SKIPPED: no file can be made immutable here");
        return;
    }
    assert!(set("shut", true));
    let before = place.digest();
    let mut wrong = Vec::new();
    for words in [
        "resize top.qcow2 +1M",
        "snapshot create top.qcow2 now",
        "bitmap add top.qcow2 dirty",
        "amend top.qcow2 --lazy-refcounts on",
        "flatten top.qcow2 --in-place",
        "rebase top.qcow2 --to base.qcow2",
        "commit top.qcow2 --keep",
        "move one.qcow2 renamed.qcow2",
        "discard shut/inside.qcow2",
        "move shut/inside.qcow2 .",
        "move two.qcow2 shut",
        "branch base.qcow2 shut/new.qcow2",
        "convert base.qcow2 shut/new.qcow2",
        "export top.qcow2 shut/new",
    ] {
        for how in ["--dry-run", "--confirm 1"] {
            let ended = place.q(&format!("{words} {how}"));
            let said = ended.err.contains("cannot be written")
                || ended
                    .err
                    .contains("nothing can be made or removed in the folder");
            if ended.code != 4 || !said {
                wrong.push(format!("{words} {how}: {} {}", ended.code, ended.err));
            }
        }
    }
    let unchanged = place.digest() == before;
    set("top.qcow2", false);
    set("shut", false);
    assert!(wrong.is_empty() && unchanged, "{wrong:#?}");
    place.q("resize top.qcow2 +1M --yes").with(0);
}

/// Each kind of change says what it means for the proof: nothing that is as it should be raises an alarm, and
/// copies are compared with what they were made from.
#[test]
fn a_proof_compares_what_each_change_leaves_the_same_and_says_so() {
    let place = demo_forest();
    let root = "demo/rootbase";
    fs::create_dir(place.path().join("into")).unwrap();
    let (images, copies) = ("show what they showed", "originals showed, by SHA-256");
    let copy = "the copy shows what its original showed";
    let nothing = "there was nothing to prove";
    for (words, said) in [
        ("move {}/Overlay-3.qcow2 {}/moved.qcow2 --yes", images),
        ("undo --yes", images),
        ("resize {}/Overlay-3A.qcow2 +1M --yes", images),
        ("snapshot create {}/Overlay-3A.qcow2 now --yes", images),
        (
            "snapshot delete {}/Overlay-3A.qcow2 now --confirm 1",
            images,
        ),
        ("clone {}/Overlay-2A.qcow2 {}/copy.qcow2", copy),
        ("clone {}/Overlay-2A.qcow2 into --chain", copies),
        ("export {}/Overlay-2A.qcow2 out", copies),
        ("import out demo", copies),
        ("flatten {}/Overlay-2A.qcow2 flat.qcow2", copy),
        ("convert {}/Overlay-2A.qcow2 flat.raw --to raw", copy),
        (
            "commit {}/Overlay-1C.qcow2 --keep-old {}/old.qcow2 --yes",
            copy,
        ),
        ("discard {}/copy.qcow2 --yes", images),
        ("trash restore --all --yes", ""),
        ("create empty.qcow2 1M", nothing),
    ] {
        let words = words.replace("{}", root);
        let planned = place.q(&format!("{words} --verify --dry-run")).with(0).out;
        assert!(planned.contains("proves "), "{words}: {planned}");
        let ended = place.q(&format!("{words} --verify"));
        assert!(ended.code == 0, "{words}: {}{}", ended.out, ended.err);
        let proven = ended.out.contains("note: proven") || ended.out.contains(nothing);
        assert!(proven && ended.out.contains(said), "{words}: {}", ended.out);
        assert!(
            !ended.out.contains("not compared"),
            "{words}: {}",
            ended.out
        );
    }
    // A repair proves that the image and what is built on it show what they showed.
    let base = place.path().join(root).join("Overlay-2.qcow2");
    let mut file = fs::OpenOptions::new().append(true).open(base).unwrap();
    file.write_all(&[7; 65536]).unwrap();
    drop(file);
    let words = format!("check --repair all {root}/Overlay-2.qcow2 --yes --verify");
    let said = place.q(&words).with(0).out;
    assert!(said.contains("note: proven: "), "{said}");
}

/// A proof reads, and a commit writes, only where the person looked: that a header led there is no leave.
#[test]
fn no_proof_reads_and_no_commit_writes_what_only_a_header_names() {
    let Some(qemu) = support::qemu() else { return };
    let (place, elsewhere) = (Place::new(), tempfile::tempdir().unwrap());
    let secret = fs::canonicalize(elsewhere.path()).unwrap().join("shadow");
    fs::write(&secret, [7; 65536]).unwrap();
    let here = qemu.within(place.path());
    let on = |base: &str, format: &str, new: &str| {
        here.img(&["create", "-q", "-f", "qcow2", "-F", format, "-b", base, new]);
    };
    on(secret.to_str().unwrap(), "raw", "top.qcow2");
    here.img(&["create", "-q", "-f", "qcow2", "own.qcow2", "1M"]);
    let said = place.q("resize top.qcow2 +1M --yes --verify").with(0).out;
    assert!(!said.contains("note: proven"), "{said}");
    assert!(said.contains("lie outside the folders looked in"), "{said}");
    let folder = secret.parent().unwrap().display().to_string();
    let words = format!("resize top.qcow2 +1M --yes --verify --scan {folder}");
    let said = place.q(&words).with(0).out;
    assert!(said.contains("note: proven"), "{said}");

    // Who has built on an image of this folder in another one does not receive what it shows.
    on("own.qcow2", "qcow2", "new.qcow2");
    here.io("new.qcow2", &["write -P 1 0 64k"]);
    let own = place.path().join("own.qcow2").display().to_string();
    let there = qemu.within(secret.parent().unwrap());
    there.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        &own,
        "far.qcow2",
    ]);
    // An earlier run has met it.
    place.q(&format!("tree {folder}")).with(0);
    let before = digest_tree(secret.parent().unwrap());
    let words = "commit new.qcow2 --siblings preserve --confirm 1";
    let said = place.q(words).with(4).err;
    assert!(
        said.contains("far.qcow2 cannot be kept intact: it lies outside"),
        "{said}"
    );
    assert_eq!(digest_tree(secret.parent().unwrap()), before);
    place.q(&format!("{words} --scan {folder}")).with(0);
    there.check_clean("far.qcow2");
    assert_eq!(there.raw_bytes("far.qcow2")[..65536], [0; 65536]);
}

/// Whoever writes into an image finds out first whether its tables can be trusted: so does the plan.
#[test]
fn tables_that_contradict_each_other_are_refused_by_every_plan_that_writes() {
    let place = demo_forest();
    let root = place.path().join("demo/rootbase");
    for name in ["Overlay-3.qcow2", "Overlay-3A.qcow2"] {
        let path = root.join(name);
        let mut bytes = fs::read(&path).unwrap();
        let number = |bytes: &[u8], at: usize| {
            usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
        };
        let counts = number(&bytes, number(&bytes, 48));
        bytes[counts..counts + 64].fill(0);
        fs::write(&path, bytes).unwrap();
    }
    let before = place.digest();
    for words in [
        "resize demo/rootbase/Overlay-3A.qcow2 +1M",
        "snapshot create demo/rootbase/Overlay-3A.qcow2 now",
        "bitmap add demo/rootbase/Overlay-3A.qcow2 dirty",
        "amend demo/rootbase/Overlay-3A.qcow2 --refcount-bits 32",
        "flatten demo/rootbase/Overlay-3A.qcow2 --in-place",
        "rebase demo/rootbase/Overlay-3A.qcow2 --to demo/rootbase/RootBase.qcow2",
        "commit demo/rootbase/Overlay-3A.qcow2",
        // One that receives what it would lose.
        "commit demo/rootbase/Overlay-2.qcow2 --siblings preserve",
    ] {
        for how in ["--dry-run", "--confirm 1"] {
            let ended = place.q(&format!("{words} {how}")).with(4);
            assert!(ended.err.contains("corruptions"), "{words}: {}", ended.err);
            assert_eq!(place.digest(), before, "{words} {how}");
        }
    }
}

#[test]
fn read_only_refuses_what_would_change_something() {
    let place = small_forest();
    let before = place.digest();
    for words in [
        "create other.qcow2 1M --yes",
        "branch top.qcow2 new.qcow2 --yes",
        "commit top.qcow2 --yes",
        "discard two.qcow2 --yes --confirm 1",
        "demo demo",
    ] {
        place.q(&format!("--read-only {words}")).with(4);
        assert_eq!(place.digest(), before, "{words}");
    }
}

#[test]
fn a_commit_into_a_shared_base_is_refused_and_names_the_others() {
    let place = demo_forest();
    let before = place.digest();
    let commit = "commit demo/rootbase/Overlay-2.qcow2";
    let ended = place.q(&format!("{commit} --yes")).with(4);
    assert!(ended.err.contains("Overlay-1.qcow2"), "{}", ended.err);
    assert!(ended.err.contains("Overlay-3.qcow2"), "{}", ended.err);
    let way_out = "/Overlay-2.qcow2 --siblings preserve\n";
    assert!(ended.out.contains(way_out), "{}", ended.out);
    let ended = place.q(&format!("{commit} --yes --json")).with(4);
    let refusals = ended.result()["plan"]["refusals"].clone();
    assert_eq!(refusals.as_array().unwrap().len(), 1, "{refusals}");
    assert_eq!(place.digest(), before);
    place
        .q(&format!("{commit} --siblings preserve --confirm 1"))
        .with(0);
    assert!(!place.exists("demo/rootbase/Overlay-2.qcow2"));
}

#[test]
fn commit_moves_the_overlay_to_the_trash_and_its_children_down() {
    let place = small_forest();
    place.q("branch top.qcow2 leaf.qcow2").with(0);
    let ended = place.q("commit top.qcow2 --yes --json").with(0);
    let json = ended.result();
    assert!(json["outcome"]["summary"].is_string(), "{json}");
    assert!(json["plan"]["title"].is_string(), "{json}");
    assert!(!place.exists("top.qcow2"));
    let info = place.q("info leaf.qcow2 --json").with(0).result();
    assert_eq!(info["backing-filename"], "one.qcow2");
}

#[test]
fn a_kept_overlay_stays_and_siblings_are_preserved_when_asked() {
    let place = small_forest();
    place.q("commit top.qcow2 --keep --yes").with(0);
    assert!(place.exists("top.qcow2"));
    place
        .q("commit two.qcow2 --siblings preserve --yes")
        .with(0);
    assert!(!place.exists("two.qcow2"));
    assert!(place.exists("one.qcow2"));
}

#[test]
fn what_is_remembered_is_listed_and_forgotten() {
    let place = small_forest();
    place.q("tree").with(0);
    let listed = place.q("index list").with(0).out;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let on_one = place.q("index list one.qcow2").with(0).out;
    assert!(
        on_one.contains("top.qcow2") && !on_one.contains("two.qcow2"),
        "{on_one}"
    );
    let json = place.q("index list --json").with(0).result();
    assert_eq!(json["images"].as_array().unwrap().len(), 3);
    assert_eq!(json["images"][0]["there"], true);
    std::fs::remove_file(place.path().join("two.qcow2")).unwrap();
    let would = place.q("index forget --gone --dry-run").with(0).out;
    assert!(
        would.contains("would forget") && would.contains("two.qcow2"),
        "{would}"
    );
    place.q("--read-only index forget --gone").with(4);
    assert_eq!(place.q("index list").with(0).out.lines().count(), 3);
    place.q("index forget").with(2);
    let forgot = place.q("index forget --gone").with(0).out;
    assert_eq!(forgot.lines().count(), 1, "{forgot}");
    let json = place.q("index forget . --json").with(0).result();
    assert_eq!(json["forgotten"].as_array().unwrap().len(), 2);
    assert!(place.q("index list").with(0).out.contains("No image"));
}

#[test]
fn what_was_made_here_counts_where_no_scan_ever_meets_it() {
    let Some(qemu) = support::qemu() else { return };
    let place = Place::new();
    for folder in ["near", "apart"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    place.q("create near/base.qcow2 8M").with(0);
    place
        .q("branch near/base.qcow2 near/over.qcow2 --yes")
        .with(0);
    place
        .q("branch near/base.qcow2 apart/own.qcow2 --yes")
        .with(0);
    let over = place.path().join("near/over.qcow2");
    qemu.within(place.path()).io(&over, &["write -P 7 0 64k"]);
    let told = place.q("commit near/over.qcow2 --yes").with(4);
    assert!(told.err.contains("own.qcow2"), "{}", told.err);
}

#[test]
fn what_is_discarded_comes_back_from_the_trash() {
    let place = small_forest();
    let read = |name: &str| fs::read(place.path().join(name)).unwrap();
    let (one, top) = (read("one.qcow2"), read("top.qcow2"));
    place.q("discard one.qcow2 --yes").with(0);
    assert!(!place.exists("one.qcow2") && !place.exists("top.qcow2"));
    assert!(place.exists("two.qcow2") && place.exists("base.qcow2"));
    let listed = place.q("trash list").with(0).out;
    assert!(
        listed.contains("one.qcow2") && listed.contains("top.qcow2"),
        "{listed}"
    );
    let json = place.q("trash list --json").with(0).result();
    let files = json["entries"][0]["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{json}");
    place.q("trash restore --all --yes").with(0);
    assert_eq!((read("one.qcow2"), read("top.qcow2")), (one, top));
    let json = place.q("trash list --json").with(0).result();
    assert_eq!(json["entries"].as_array().unwrap().len(), 0, "{json}");
}

#[test]
fn only_emptying_the_trash_deletes_and_it_asks_for_the_count() {
    let place = small_forest();
    place.q("discard two.qcow2 --yes").with(0);
    place.q("trash empty --yes").with(4);
    assert!(place.q("trash list").with(0).out.contains("two.qcow2"));
    place.q("trash empty --confirm 1").with(0);
    assert!(!place.q("trash list").with(0).out.contains("two.qcow2"));
    assert!(place.q("trash empty --yes").with(0).out.contains("empty"));
}

#[test]
fn prune_proposes_leaves_and_says_what_each_frees() {
    let place = small_forest();
    let json = place
        .q("prune --older-than 0 --all --dry-run --json")
        .with(0)
        .result();
    let effects = json["plan"]["effects"].as_array().unwrap();
    let goes = |name: &str| {
        effects
            .iter()
            .any(|e| e["kind"] == "trashes" && e["path"].as_str().unwrap().ends_with(name))
    };
    assert!(goes("top.qcow2") && goes("two.qcow2"), "{json}");
    assert!(!goes("base.qcow2") && !goes("one.qcow2"), "{json}");
    let none = place.q("prune --all --yes").with(0);
    assert!(none.out.contains("30d"), "{}", none.out);
}

#[test]
fn no_name_reaches_the_terminal_raw() {
    let place = Place::new();
    let name = b"esc\x1b[31mape\n\x07\xff\xe2\x80\xae\xe2\x80\x8b\xc2\x9b.qcow2";
    let evil = PathBuf::from(OsStr::from_bytes(name));
    let overlay = PathBuf::from("on\x1b]0;it\x07.qcow2");
    let words = |words: &[&str], paths: &[&Path]| {
        let mut all: Vec<_> = words.iter().map(|w| OsStr::new(w).to_owned()).collect();
        all.extend(paths.iter().map(|p| p.as_os_str().to_owned()));
        all
    };
    let created = [evil.as_os_str(), OsStr::new("1M")];
    place
        .run(&[&[OsStr::new("create")], &created[..]].concat())
        .with(0);
    place.run(&words(&["branch"], &[&evil, &overlay])).with(0);
    let calls = [
        (words(&["tree"], &[]), 0),
        (words(&["tree", "--boxes"], &[]), 0),
        (words(&["tree", "--json"], &[]), 0),
        (words(&["tree", "--dot"], &[]), 0),
        (words(&["tree", "--mermaid"], &[]), 0),
        (words(&["info"], &[&overlay]), 0),
        (words(&["info", "--chain", "--json"], &[&overlay]), 0),
        (
            words(&["snapshot", "create", "--yes"], &[&overlay, &evil]),
            0,
        ),
        (words(&["snapshot", "list"], &[&overlay]), 0),
        (words(&["snapshot", "delete"], &[&overlay, &overlay]), 4),
        (
            words(
                &["bitmap", "add", "--yes"],
                &[&overlay, Path::new("b\x1b\u{202e}")],
            ),
            0,
        ),
        (words(&["bitmap", "list"], &[&overlay]), 0),
        (
            words(
                &["bitmap", "remove", "--yes"],
                &[&overlay, Path::new("b\x1b\u{202e}")],
            ),
            4,
        ),
        (words(&["map"], &[&overlay]), 0),
        (words(&["map", "--json"], &[&overlay]), 0),
        (words(&["compare"], &[&overlay, &evil]), 0),
        (words(&["measure"], &[&overlay]), 0),
        (words(&["check"], &[&overlay, &evil]), 0),
        (
            words(&["resize", "--dry-run"], &[&overlay, Path::new("+1M")]),
            0,
        ),
        (
            words(
                &["move", "--dry-run"],
                &[&overlay, Path::new("to\x1b\u{202e}")],
            ),
            0,
        ),
        (
            words(&["relink", "--dry-run", "--to"], &[&evil, &overlay]),
            0,
        ),
        (
            words(&["export", "--dry-run"], &[&overlay, Path::new("to\x1b")]),
            4,
        ),
        (words(&["log"], &[]), 0),
        (words(&["undo", "--dry-run"], &[]), 0),
        (words(&["index", "list"], &[]), 0),
        (words(&["prune", "--dry-run"], &[]), 0),
        (words(&["commit"], &[&overlay]), 4),
        (words(&["commit", "--dry-run"], &[&overlay]), 0),
        (words(&["discard", "--dry-run"], &[&evil]), 0),
        (words(&["discard"], &[&evil]), 4),
        (words(&["info"], &[Path::new("no\x1bne")]), 1),
        (words(&["tree"], &[Path::new("no\x1bne")]), 1),
        (words(&["branch"], &[&evil, &overlay]), 4),
        (words(&["discard", "--yes"], &[&evil]), 0),
        (words(&["trash", "list"], &[]), 0),
        (words(&["trash", "restore", "--all", "--yes"], &[]), 0),
    ];
    for (call, code) in calls {
        let ended = place.run(&call).with(code);
        let told = [ended.out, ended.err].concat();
        let raw = told
            .chars()
            .find(|c| c.is_control() && *c != '\n' || matches!(c, '\u{202e}' | '\u{200b}'));
        assert_eq!(raw, None, "{call:?}: {told:?}");
    }
}

/// What in the trash is built on the base stands in the way of a commit until it is kept intact, or deleted.
#[test]
fn a_commit_that_the_trash_stands_in_the_way_of_says_how_to_empty_it() {
    let Some(qemu) = support::qemu() else { return };
    let place = Place::new();
    let here = qemu.within(place.path());
    here.img(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"]);
    here.io("base.qcow2", &["write -P 1 0 1M"]);
    for (name, at) in [("one.qcow2", 0), ("two.qcow2", 512)] {
        here.img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            "base.qcow2",
            name,
        ]);
        here.io(name, &[&format!("write -P 2 {at}k 64k")]);
    }
    place.q("discard two.qcow2 --yes").with(0);
    let refused = place.q("commit one.qcow2 --yes").with(4);
    let said = refused.out + &refused.err;
    let (_, way) = said
        .split_once("qanopy trash empty ")
        .unwrap_or_else(|| panic!("{said}"));
    let entry: String = way
        .chars()
        .take_while(|c| c.is_ascii_hexdigit() || *c == '-')
        .collect();
    place.q(&format!("trash empty {entry} --yes")).with(4);
    place.q(&format!("trash empty {entry} --confirm 1")).with(0);
    place.q("commit one.qcow2 --confirm 1").with(0);
}

/// A base that was cut short is told by every plan that copies from it: what is gone reads as zeros.
#[test]
fn what_is_cut_short_is_told_by_every_plan_that_copies_from_it() {
    let Some(qemu) = support::qemu() else { return };
    let place = Place::new();
    let here = qemu.within(place.path());
    let on = |base: &str, new: &str| {
        here.img(&[
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, new,
        ]);
    };
    for name in ["base.qcow2", "other.qcow2"] {
        here.img(&["create", "-q", "-f", "qcow2", name, "2M"]);
        here.io(name, &["write -P 1 0 1M"]);
    }
    on("base.qcow2", "mid.qcow2");
    here.io("mid.qcow2", &["write -P 2 0 64k"]);
    on("mid.qcow2", "top.qcow2");
    here.io("top.qcow2", &["write -P 3 64k 64k"]);
    let base = place.path().join("base.qcow2");
    let file = fs::OpenOptions::new().write(true).open(&base).unwrap();
    file.set_len(fs::metadata(&base).unwrap().len() - (128 << 10))
        .unwrap();
    drop(file);
    fs::create_dir(place.path().join("dir")).unwrap();
    for line in [
        "convert top.qcow2 new.qcow2",
        "convert base.qcow2 new.raw --to raw",
        "flatten top.qcow2 new.qcow2",
        "flatten top.qcow2 --in-place",
        "export top.qcow2 out",
        "clone top.qcow2 dir --chain",
        "rebase top.qcow2 --to other.qcow2",
        "commit top.qcow2",
        "squash mid.qcow2",
    ] {
        let ended = place.q(&format!("{line} --dry-run"));
        assert!(
            ended
                .out
                .contains("base.qcow2 is cut short: 128 KiB of its disk"),
            "{line}: {}{}",
            ended.out,
            ended.err
        );
    }
    // One that copies nothing says nothing of it.
    let said = place.q("branch top.qcow2 new.qcow2 --dry-run").with(0).out;
    assert!(!said.contains("cut short"), "{said}");
}

/// What QEMU does not open is a finding, of the image and of what is built on it.
#[test]
fn what_no_qemu_opens_is_a_finding_of_check_and_of_the_tree() {
    let Some(qemu) = support::qemu() else { return };
    let place = Place::new();
    let here = qemu.within(place.path());
    let at = |name: &str| place.path().join(name);
    let with_data = |image: &str, data: &str| {
        let option = format!("data_file={}", at(data).display());
        here.img(&["create", "-q", "-f", "qcow2", "-o", &option, image, "1M"]);
    };
    let change = |image: &str, what: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(at(image)).unwrap();
        what(&mut bytes);
        fs::write(at(image), bytes).unwrap();
    };
    let find = |bytes: &[u8], what: &[u8]| {
        let mut windows = bytes.windows(what.len());
        windows.position(|window| window == what).unwrap()
    };
    with_data("missing.qcow2", "missing.raw");
    here.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "missing.qcow2",
        "over.qcow2",
    ]);
    fs::remove_file(at("missing.raw")).unwrap();
    with_data("unnamed.qcow2", "unnamed.raw");
    change("unnamed.qcow2", &|bytes| {
        let name = find(bytes, &0x4441_5441_u32.to_be_bytes());
        bytes[name..name + 4].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    });
    here.img(&[
        "create",
        "-q",
        "--object",
        "secret,id=s,data=x",
        "-f",
        "qcow2",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        "luks.qcow2",
        "1M",
    ]);
    change("luks.qcow2", &|bytes| {
        let header = find(bytes, b"LUKS\xba\xbe");
        bytes[header..header + 4096].fill(0);
    });
    here.img(&["create", "-q", "-f", "qcow2", "counts.qcow2", "1M"]);
    change("counts.qcow2", &|bytes| bytes[56..60].fill(0));
    for (image, sentence) in [
        ("missing", "missing.raw, which is not there"),
        ("unnamed", "does not name the file that holds its data"),
        ("luks", "LUKS header is not valid"),
        ("counts", "refcount_table_clusters is 0"),
    ] {
        let image = format!("{image}.qcow2");
        assert!(!here.try_io(&image, &["read 0 512"]).success(), "{image}");
        let ended = place.q(&format!("check {image}")).with(3);
        let said = ended.out + &ended.err;
        assert!(said.contains(sentence), "{said}");
        let tree = place.q("tree --check").with(3).out;
        assert!(tree.contains(sentence), "{tree}");
    }
    let said = place.q("check over.qcow2").with(3).out;
    assert!(said.contains("missing.raw, which is not there"), "{said}");
    let tree = place.q("tree --check").with(3).out;
    assert!(
        tree.contains("over.qcow2 cannot be opened: ") && tree.contains("missing.qcow2"),
        "{tree}"
    );
    // The way out that is told works.
    fs::write(at("there.raw"), vec![0; 1 << 20]).unwrap();
    place
        .q("amend missing.qcow2 --data-file there.raw --yes")
        .with(0);
    place.q("check missing.qcow2 over.qcow2").with(0);
    here.io("over.qcow2", &["read -P 0 0 512"]);
}

/// Names are data in the languages of pictures as well: each line is one that we wrote.
#[test]
fn no_name_says_anything_in_the_language_of_a_picture() {
    let place = Place::new();
    let names = [
        "a\"]; evil -> n0 [label=\"x.qcow2",
        "b\\\"]\n  n9 --> n0\n.qcow2",
        "c<script>`#34;`<script>.qcow2",
        "d\u{202e}2wocq.\u{200b}\u{9b}31m.qcow2",
    ];
    let mut base: Option<&str> = None;
    for name in names {
        match base {
            None => place.run(&["create", name, "1M"]).with(0),
            Some(base) => place.run(&["branch", base, name]).with(0),
        };
        place
            .run(&["snapshot", "create", name, name, "--yes"])
            .with(0);
        base = Some(name);
    }
    let number =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == 's');
    let node = |text: &str| text.strip_prefix('n').is_some_and(number);
    // A string ends at the first quote that no backslash precedes.
    let quoted = |text: &str, escapes: bool| {
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' if escapes => drop(rest.next()),
                '"' => return Some(rest.as_str().to_owned()),
                _ => {}
            }
        }
        None
    };
    let dot = place.q("tree --dot").with(0).out;
    for line in dot.lines().skip(3).filter(|line| *line != "}") {
        let line = line.trim_start();
        let is_ours = match (line.split_once(" [label=\""), line.split_once(" -> ")) {
            (Some((name, label)), _) => {
                let end = quoted(label, true);
                node(name) && end.is_some_and(|end| end == "];" || end == ", shape=note];")
            }
            (None, Some((from, to))) => {
                let to = to.trim_end_matches(';').trim_end_matches(" [style=dotted]");
                node(from) && node(to)
            }
            (None, None) => false,
        };
        assert!(is_ours, "{line}\n{dot}");
    }
    let mermaid = place.q("tree --mermaid").with(0).out;
    for line in mermaid.lines().skip(1) {
        let line = line.trim_start();
        let is_ours = match (line.split_once('"'), line.split_once("> ")) {
            (Some((name, label)), _) => {
                let end = quoted(label, false);
                node(name.trim_end_matches(['[', '('])) && end.is_some_and(|end| end.len() == 1)
            }
            (None, Some((from, to))) => node(from.trim_end_matches(['-', '.', ' '])) && node(to),
            (None, None) => false,
        };
        assert!(is_ours, "{line}\n{mermaid}");
        assert!(!line.contains('`') && !line.contains("<s"), "{line}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let place = small_forest();
    for words in [
        &["tree", "--json"][..],
        &["--help"],
        &["discard", "one.qcow2", "--dry-run"],
    ] {
        let mut child = place
            .command()
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), told.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
    }
}

#[test]
fn demo_makes_forests_and_prints_them() {
    let place = Place::new();
    let ended = place.q("demo made").with(0);
    assert!(ended.out.contains("RootBase"), "{}", ended.out);
    assert!(place.exists("made"));
    let again = place.q("demo made");
    assert_ne!(again.code, 0, "a directory with files in it is left alone");
    place.q("tree made").with(0);
}

/// Whatever they tell we tell as well.
fn assert_told(ours: &Value, theirs: &Value, at: &str) {
    match theirs {
        Value::Object(keys) => {
            for (key, value) in keys {
                let at = format!("{at}/{key}");
                let Some(told) = ours.get(key) else {
                    panic!("{at} is missing in {ours:#}");
                };
                assert_told(told, value, &at);
            }
        }
        Value::Array(values) => {
            let told = ours.as_array().unwrap();
            assert_eq!(told.len(), values.len(), "{at}");
            for (told, value) in told.iter().zip(values) {
                assert_told(told, value, at);
            }
        }
        value => assert_eq!(ours, value, "{at}"),
    }
}

#[test]
fn info_tells_what_qemu_img_tells() {
    let Some(qemu) = support::qemu() else { return };
    let place = Place::new();
    let qemu = qemu.within(place.path());
    let img = |words: &str| qemu.img(&words.split_whitespace().collect::<Vec<_>>());
    fs::create_dir(place.path().join("sub")).unwrap();
    img("create -q -f qcow2 base.qcow2 8M");
    img("create -q -f qcow2 -F qcow2 -b base.qcow2 over.qcow2");
    img("create -q -f qcow2 -F qcow2 -b ../over.qcow2 sub/top.qcow2 16M");
    img("create -q -f qcow2 -o compat=0.10 v2.qcow2 8M");
    img("create -q -f qcow2 -o compat=0.10 -F qcow2 -b v2.qcow2 v2-over.qcow2");
    img("create -q -f qcow2 -o extended_l2=on,cluster_size=128k sub.qcow2 8M");
    img("create -q -f qcow2 -o refcount_bits=1,lazy_refcounts=off,cluster_size=512 rc1.qcow2 1M");
    img("create -q -f qcow2 -o lazy_refcounts=on,compression_type=zstd lazy.qcow2 8M");
    img("create -q -f qcow2 -o data_file=external.raw,data_file_raw=on external.qcow2 8M");
    img("create -q -f raw plain.img 1000001");
    img("create -q -f qcow2 -F raw -b plain.img on-raw.qcow2");
    img("create -q -f qcow2 snaps.qcow2 8M");
    qemu.io(place.path().join("snaps.qcow2"), &["write -P 1 0 1M"]);
    img("snapshot -c before-update snaps.qcow2");
    img("create -q -f qcow2 bitmaps.qcow2 8M");
    img("bitmap --add bitmaps.qcow2 backup-0");
    img("create -q --object secret,id=s,data=x -f qcow2 \
         -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 luks.qcow2 1M");
    img("create -q -f qcow2 gone.qcow2 1M");
    img("create -q -f qcow2 -F qcow2 -b gone.qcow2 orphan.qcow2");
    fs::remove_file(place.path().join("gone.qcow2")).unwrap();
    for name in [
        "base.qcow2",
        "over.qcow2",
        "sub/top.qcow2",
        "v2.qcow2",
        "v2-over.qcow2",
        "sub.qcow2",
        "rc1.qcow2",
        "lazy.qcow2",
        "external.qcow2",
        "plain.img",
        "on-raw.qcow2",
        "snaps.qcow2",
        "bitmaps.qcow2",
        "luks.qcow2",
        "orphan.qcow2",
    ] {
        let theirs = img(&format!("info --output=json {name}"));
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        let ours = place.q(&format!("info --json {name}")).with(0).result();
        assert_told(&ours, &theirs, name);
        place.q(&format!("info {name}")).with(0);
    }
    for name in ["sub/top.qcow2", "on-raw.qcow2"] {
        let theirs = img(&format!("info --output=json --backing-chain {name}"));
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        let ours = place
            .q(&format!("info --json --chain {name}"))
            .with(0)
            .result();
        assert_told(&ours, &theirs, name);
    }
}

/// Runs `qanopy` in a terminal, types `answer` once `question` is asked, and gives the exit code and
/// everything shown.
fn at_a_terminal(place: &Place, words: &str, question: &str, answer: &str) -> (u32, String) {
    let (code, shown, is_answered) = on_terminal(place, words, "xterm", (question, answer));
    assert!(is_answered, "never asked {question:?}: {shown}");
    (code, shown)
}

/// What is shown on a terminal of that kind, where nothing is asked.
pub(crate) fn shown_on(place: &Place, words: &str, term: &str) -> String {
    on_terminal(place, words, term, ("\0", "")).1
}

/// The exit code, what was shown, and whether the question came.
fn on_terminal(
    place: &Place,
    words: &str,
    term: &str,
    (question, answer): (&str, &str),
) -> (u32, String, bool) {
    let pty = portable_pty::native_pty_system()
        .openpty(portable_pty::PtySize::default())
        .unwrap();
    let mut command = portable_pty::CommandBuilder::new(env!("CARGO_BIN_EXE_qanopy"));
    command.args(words.split_whitespace());
    command.cwd(place.path());
    command.env("XDG_STATE_HOME", place.state.path());
    command.env("TERM", term);
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let mut writer = pty.master.take_writer().unwrap();
    let (mut shown, mut is_answered) = (String::new(), false);
    let mut buffer = [0; 4096];
    // The end of a pseudo-terminal is an error (EIO).
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if !is_answered && shown.contains(question) {
            writer.write_all(answer.as_bytes()).unwrap();
            is_answered = true;
        }
    }
    (child.wait().unwrap().exit_code(), shown, is_answered)
}

#[test]
fn at_a_terminal_the_plan_is_shown_and_agreed_to() {
    let place = demo_forest();
    let before = place.digest();
    let commit = "commit demo/rootbase/Overlay-1C.qcow2";
    for answer in ["\n", "y\n", "2\n", "no\n"] {
        let (code, shown) = at_a_terminal(&place, commit, "Type 1", answer);
        assert_eq!(code, 130, "{shown}");
        assert!(shown.contains("Overlay-1B.qcow2"), "{shown}");
        assert_eq!(place.digest(), before);
    }
    let (code, shown) = at_a_terminal(&place, commit, "Type 1", "1\n");
    assert_eq!(code, 0, "{shown}");
    assert!(!place.exists("demo/rootbase/Overlay-1C.qcow2"));

    let discard = "discard demo/rootbase/Overlay-2.qcow2";
    let (code, shown) = at_a_terminal(&place, discard, "[y/N]", "\n");
    assert_eq!(code, 130, "{shown}");
    let (code, shown) = at_a_terminal(&place, discard, "[y/N]", "y\n");
    assert_eq!(code, 0, "{shown}");
    assert!(!place.exists("demo/rootbase/Overlay-2.qcow2"));
}

#[test]
fn prune_keeps_what_is_taken_out() {
    let place = small_forest();
    let prune = "prune --older-than 0 --confirm 1 --yes";
    let (code, shown) = at_a_terminal(&place, prune, "Numbers to keep", "9\nq\n");
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("no number from 1 to 2"), "{shown}");
    let (code, shown) = at_a_terminal(&place, prune, "Numbers to keep", "1\n");
    assert_eq!(code, 0, "{shown}");
    let left = ["two.qcow2", "top.qcow2"].map(|name| place.exists(name));
    assert_eq!(left.iter().filter(|there| **there).count(), 1, "{shown}");
}

#[test]
fn prune_keeps_by_rule_and_says_what_and_why() {
    let place = small_forest();
    let told = place
        .q("prune --keep-last 1 --per tree --json")
        .with(0)
        .result();
    assert_eq!(told["candidates"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["kept"].as_array().unwrap().len(), 1, "{told}");
    let kept = told["kept"][0]["path"].as_str().unwrap().to_owned();
    let said = place.q("prune --keep-last 1 --per tree").with(0).out;
    assert!(said.contains("(the youngest in its tree)"), "{said}");
    let said = place
        .q("prune --keep-daily 9 --per base --keep-last 5")
        .with(0)
        .out;
    assert!(
        said.contains("All leaves that nobody uses are kept."),
        "{said}"
    );
    place
        .q("prune --keep-last 1 --per tree --all --yes")
        .with(0);
    assert!(place.exists(&kept));
    let left = ["two.qcow2", "top.qcow2"].map(|name| place.exists(name));
    assert_eq!(left.iter().filter(|there| **there).count(), 1);
}

/// QEMU takes a relative name from the directory it is started in.
#[test]
fn a_data_file_that_qemu_would_look_for_elsewhere_is_told_by_every_plan() {
    let Some(qemu) = support::qemu() else { return };
    let place = Place::new();
    let dir = place.path().join("vm");
    fs::create_dir(&dir).unwrap();
    let options = "data_file=own.raw,data_file_raw=on";
    let made = std::process::Command::new("qemu-img")
        .args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            options,
            "own.qcow2",
            "1M",
        ])
        .current_dir(&dir)
        .status();
    assert!(made.unwrap().success());
    qemu.img(&[
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "own.qcow2",
        dir.join("top.qcow2").to_str().unwrap(),
        "1M",
    ]);
    let from = |cwd: &Path, words: &str| {
        let mut command = place.command();
        let ended = command.args(words.split(' ')).current_dir(cwd).output();
        String::from_utf8(ended.unwrap().stdout).unwrap()
    };
    let vm = dir.to_str().unwrap();
    for words in [
        format!("convert {vm}/own.qcow2 {vm}/new.qcow2 --dry-run"),
        format!("commit {vm}/top.qcow2 --dry-run"),
        format!("resize {vm}/own.qcow2 2M --dry-run"),
        format!("flatten {vm}/top.qcow2 {vm}/flat.qcow2 --dry-run"),
    ] {
        let (elsewhere, here) = (from(Path::new("/"), &words), from(&dir, &words));
        let told = "QEMU takes from the working directory";
        assert!(elsewhere.contains(told), "{words}: {elsewhere}");
        assert!(!elsewhere.contains("qemu-img"), "{words}: {elsewhere}");
        assert!(!here.contains(told), "{words}: {here}");
        assert!(here.contains("qemu-img"), "{words}: {here}");
    }
}
