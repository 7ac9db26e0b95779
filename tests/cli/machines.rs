//! Machines as the command line tells of them: those that libvirt keeps in a home of its own, without a service.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::commands::Ended;

/// `base`, on it `disk`, and a home in which the machine `web` has that disk.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(place.path().join("images")).unwrap();
        place.q("create images/base 1M").with(0);
        place.q("branch images/base images/disk").with(0);
        place.q("branch images/base images/other").with(0);
        place.define("web\u{1b}[31m", "images/disk");
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn define(&self, name: &str, disk: &str) {
        let domains = self.path().join("home/.config/libvirt/qemu");
        fs::create_dir_all(&domains).unwrap();
        // XML has no such sign: it stands for whatever a name may be.
        let name = name.replace('\u{1b}', "\u{202e}");
        let text = format!(
            "<domain type='qemu'><name>{name}</name><uuid>8c34a151-90f6-4e2c-8572-a4dc793693a8</uuid><devices>\
             <disk type='file'><source file='{}'/><target dev='vda'/></disk></devices></domain>",
            self.path().join(disk).display()
        );
        fs::write(domains.join("web.xml"), text).unwrap();
    }

    fn q(&self, words: &str) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .args(words.split(' '))
            .current_dir(self.path())
            .env("HOME", self.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("LIMA_HOME")
            .output()
            .unwrap();
        Ended::of(output)
    }
}

fn image<'j>(forest: &'j Value, name: &str) -> &'j Value {
    let images = forest["images"].as_array().unwrap();
    let is_it = |image: &&Value| image["path"].as_str().unwrap().ends_with(name);
    images.iter().find(is_it).unwrap()
}

#[test]
fn an_image_tells_whose_disk_it_is() {
    let place = Place::new();
    let tree = place.q("tree images").with(0).out;
    let row = tree.lines().find(|line| line.contains(" disk ")).unwrap();
    assert!(row.contains("Active, web\\u{202e}[31m: off"), "{tree}");
    let forest = place.q("tree images --json").with(0).result();
    assert_eq!(image(&forest, "other").get("machines"), None);
    let machine = &image(&forest, "disk")["machines"][0];
    for (key, value) in [
        ("product", "libvirt"),
        ("state", "off"),
        ("part", "disk"),
        ("target", "vda"),
        ("id", "8c34a151-90f6-4e2c-8572-a4dc793693a8"),
    ] {
        assert_eq!(machine[key], value, "{machine}");
    }
    let info = place.q("info images/disk").with(0).out;
    assert!(
        info.contains("web\\u{202e}[31m (libvirt, off): the disk vda"),
        "{info}"
    );
    let info = place.q("info images/disk --json").with(0).result();
    assert_eq!(info["machines"][0]["target"], "vda");
}

#[test]
fn a_disk_is_taken_from_a_machine_only_where_that_is_said_and_counted() {
    let place = Place::new();
    let refused = place.q("discard images/disk --yes --json");
    assert_ne!(refused.code, 0);
    let refused = refused.json();
    assert_eq!(refused["error"]["kind"], "used-by-machine");
    assert!(place.path().join("images/disk").exists());
    let said = place.q("discard images/disk --dry-run").out;
    assert!(said.contains("images/disk --despite-machines"), "{said}");
    let other = place.q("discard images/disk --despite-machines --yes");
    assert!(other.err.contains("--confirm 1"), "{}", other.err);
    place
        .q("discard images/disk --despite-machines --confirm 1")
        .with(0);
    assert!(!place.path().join("images/disk").exists());
    place.q("undo --yes").with(0);
    assert!(place.path().join("images/disk").exists());
    // Once more as it was asked for, with its number.
    place.q("redo --confirm 1").with(0);
    assert!(!place.path().join("images/disk").exists());
}

#[test]
fn harm_to_machines_is_not_agreed_to_where_there_can_be_none() {
    let place = Place::new();
    let ended = place.q("branch images/base images/new --despite-machines");
    assert!(ended.with(2).err.contains("only adds files"));
    assert!(!place.path().join("images/new").exists());
}

#[test]
fn no_definition_is_changed_but_by_a_service() {
    let place = Place::new();
    let before = fs::read(place.path().join("home/.config/libvirt/qemu/web.xml")).unwrap();
    let said = place.q("move images/disk images/there --dry-run").out;
    assert!(said.contains("--despite-machines"), "{said}");
    assert!(!said.contains("--redefine"), "{said}");
    place
        .q("move images/disk images/there --redefine --yes")
        .with(4);
    let id = "8c34a151-90f6-4e2c-8572-a4dc793693a8";
    let ended = place.q(&format!("redefine {id} --source images/other --yes"));
    assert!(ended.with(4).err.contains("only libvirt's service"));
    assert!(place.path().join("images/disk").exists());
    let after = fs::read(place.path().join("home/.config/libvirt/qemu/web.xml")).unwrap();
    assert_eq!(after, before);
}

#[test]
fn a_leaf_of_a_machine_is_not_pruned() {
    let place = Place::new();
    let found = place
        .q("prune images --older-than 0s --json")
        .with(0)
        .result();
    let names: Vec<&str> = found["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{found}");
    assert!(names[0].ends_with("other"), "{found}");
}

#[test]
fn leaves_are_kept_by_rule_beside_each_machine() {
    let place = Place::new();
    place.q("branch images/base images/older").with(0);
    let rule = "prune images --keep-last 1 --per machine";
    let found = place.q(&format!("{rule} --json")).with(0).result();
    assert_eq!(found["candidates"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["kept"][0]["why"], "the youngest beside its machine");
    let said = place.q(rule).with(0).out;
    assert!(said.contains("(the youngest beside its machine)"), "{said}");
}

#[test]
fn what_could_not_be_asked_is_told_beside_the_tree_and_in_it() {
    let place = Place::new();
    let broken = place.path().join("home/.config/libvirt/qemu/broken.xml");
    fs::write(&broken, "<domain>").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o644)).unwrap();
    let told = place.q("tree images --json").with(0);
    assert!(told.err.contains("broken.xml"), "{}", told.err);
    let unasked = &told.result()["machines-not-asked"][0];
    assert_eq!(unasked["product"], "libvirt");
    let plan = place.q("discard images/other --dry-run").with(0).out;
    assert!(plan.contains("broken.xml"), "{plan}");
}

#[test]
fn garbage_is_what_no_machine_no_process_and_no_tag_needs() {
    let place = Place::new();
    let garbage = |words: &str, code| {
        let told = place.q(&format!("garbage images --older-than 0 --json{words}"));
        told.with(code).result()
    };
    let names = |found: &Value| -> Vec<String> {
        let all = found["garbage"].as_array().unwrap().iter();
        let paths = all.map(|one| Path::new(one["path"].as_str().unwrap()));
        paths
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let found = garbage(" --bases", 3);
    assert_eq!(names(&found), ["other"], "{found}");
    let needed = found["bases"][0]["needed-by"].as_array().unwrap();
    let kinds: Vec<&str> = needed
        .iter()
        .map(|need| need["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["root", "machine"], "{found}");
    assert!(needed[1]["image"].as_str().unwrap().ends_with("disk"));
    // Whoever is named is needed, whoever changed a moment ago may be, and so is what is tagged.
    assert_eq!(names(&garbage(" --root images/other", 0)), [""; 0]);
    place.q("garbage images").with(0);
    place.q("note images/other --tag keep -y").with(0);
    assert_eq!(names(&garbage("", 0)), [""; 0]);
    place.q("note images/other --untag keep -y").with(0);

    // Nobody says what is to be done with it, and somebody could not be asked.
    place.q("garbage images -y").with(2);
    fs::write(
        place.path().join("home/.config/libvirt/qemu/broken.xml"),
        "<domain>",
    )
    .unwrap();
    let found = garbage("", 3);
    assert_eq!(found["garbage"][0]["sure"], "possible", "{found}");
    assert!(
        found["not-asked"][0]
            .as_str()
            .unwrap()
            .contains("broken.xml")
    );
    let notes = place.path().join("images/.qanopy-notes.json");
    fs::write(&notes, "nonsense").unwrap();
    let found = garbage("", 3);
    assert!(
        found["not-asked"][1]
            .as_str()
            .unwrap()
            .contains("notes.json"),
        "{found}"
    );
    fs::remove_file(notes).unwrap();
    let discard = |consent: &str| {
        place
            .q(&format!(
                "garbage images --older-than 0 --discard {consent}"
            ))
            .with(0)
    };
    let planned = discard("-n");
    assert!(planned.out.contains("broken.xml"), "{}", planned.out);
    let discarded = discard("-y");
    assert!(discarded.err.contains("broken.xml"), "{}", discarded.err);
    assert!(!place.path().join("images/other").exists());
    assert!(place.path().join("images/disk").exists());
    place.q("garbage images --older-than 0").with(0);
    place.q("undo -y").with(0);
    assert!(place.path().join("images/other").exists());
}
