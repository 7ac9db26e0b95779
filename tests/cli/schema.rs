//! What is printed with `--json` is as the schema has it, key for key.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::commands::{Place, demo_forest, small_forest};

const TEXT: &str = include_str!("../../assets/docs/schema-1.json");

/// The schema where a key that it does not name is wrong as well: readers have to bear new ones, and every one that is
/// printed has to be in it.
static STRICT: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let mut schema: Value = serde_json::from_str(TEXT).unwrap();
    close(&mut schema);
    jsonschema::draft202012::new(&schema).unwrap()
});

/// Lets no object have keys that are not named, but for the bytes beside a name.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(close),
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("type") == Some(&json!("object")) && map.contains_key("properties") {
                map.insert("additionalProperties".to_owned(), false.into());
                map.insert("patternProperties".to_owned(), json!({ "-bytes$": {} }));
            }
        }
        _ => {}
    }
}

/// Reads a document, which has to be as the schema has it.
pub(crate) fn read(printed: &str) -> Value {
    let document = serde_json::from_str(printed);
    let document: Value = document.unwrap_or_else(|error| panic!("{error}: {printed}"));
    let wrong = STRICT.iter_errors(&document);
    let wrong: Vec<String> = wrong
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{}\n{printed}", wrong.join("\n"));
    document
}

/// The commands that do something themselves.
fn commands() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(TEXT).unwrap();
    let mut named = BTreeSet::new();
    for rule in schema["allOf"].as_array().unwrap() {
        let command = &rule["if"]["properties"]["command"];
        let one = command["const"].as_str();
        let several = command["enum"].as_array().into_iter().flatten();
        let words = one
            .into_iter()
            .chain(several.map(|word| word.as_str().unwrap()));
        named.extend(words.map(str::to_owned));
    }
    named
}

/// Every command of the program, by the pages of its manual.
fn pages(place: &Place) -> BTreeSet<String> {
    fs::create_dir(place.path().join("pages")).unwrap();
    let told = place.q("man --to pages --json").with(0).result();
    let pages = told["pages"].as_array().unwrap().iter();
    let words = pages.filter_map(|page| {
        let page = page.as_str()?.strip_prefix("pages/qanopy-")?;
        Some(page.strip_suffix(".1")?.replace('-', " "))
    });
    let all: BTreeSet<String> = words.collect();
    let has_below = |command: &&String| {
        let below = format!("{command} ");
        !all.iter().any(|other| other.starts_with(&below))
    };
    all.iter().filter(has_below).cloned().collect()
}

/// Command lines that reach every command, and each form of what it gives.
const LINES: &[&str] = &[
    "tree demo",
    "tree demo --check",
    "info demo/rootbase/RootBase.qcow2",
    "info --chain demo/rootbase/Overlay-1C.qcow2",
    "check demo/rootbase/RootBase.qcow2 nothing",
    "check --repair all demo/rootbase/RootBase.qcow2",
    "doctor demo",
    "doctor demo --fix-safe -n",
    "map demo/rootbase/Overlay-1C.qcow2",
    "compare demo/rootbase/Overlay-1C.qcow2 demo/rootbase/RootBase.qcow2",
    "measure demo/rootbase/Overlay-1C.qcow2",
    "create new.qcow2 8M",
    "create locked.qcow2 8M --encrypt luks --passphrase-file words --iter-time 10",
    "info locked.qcow2",
    "keyslot list locked.qcow2",
    "keyslot add locked.qcow2 --passphrase-file words --new-passphrase-file other --iter-time 10 -y",
    "keyslot change locked.qcow2 --passphrase-file words --new-passphrase-file third --iter-time 10 -n",
    "keyslot erase locked.qcow2 --passphrase-file other --slot 0 -n",
    "branch new.qcow2 one.qcow2",
    "branch one.qcow2 two.qcow2",
    "branch two.qcow2 three.qcow2",
    "copy two.qcow2 another -n",
    "copy two.qcow2 demo -y",
    "copy two.qcow2 nothing -y",
    "bitmap add three.qcow2 bits -y",
    "bitmap add three.qcow2 more -y",
    "bitmap list three.qcow2",
    "info three.qcow2",
    "bitmap disable three.qcow2 bits -y",
    "bitmap enable three.qcow2 bits -y",
    "bitmap clear three.qcow2 bits -y",
    "bitmap merge three.qcow2 bits more -y",
    "bitmap remove three.qcow2 more --confirm 1",
    "snapshot create three.qcow2 before -y",
    "snapshot list three.qcow2",
    "tree .",
    "snapshot apply three.qcow2 before -y",
    "snapshot extract three.qcow2 before out.qcow2 -y",
    "snapshot delete three.qcow2 before --confirm 1",
    "convert three.qcow2 flat.img --to raw --salvage",
    "resize three.qcow2 +1M -y",
    "rebase three.qcow2 --to one.qcow2 -y",
    "relink three.qcow2 --to two.qcow2 -y",
    "relink three.qcow2 --to two.qcow2 -y",
    "amend three.qcow2 --lazy-refcounts on -y",
    "machine list",
    "machine use no-machine one.qcow2 -n",
    "machine branch no-machine new.qcow2 -n",
    "machine revert no-machine --to one.qcow2 -n",
    "machine clone no-machine new -n",
    "machine try one.qcow2 -n",
    "machine start no-machine -n",
    "machine stop no-machine -n",
    "job list",
    "job pause",
    "job resume 1-1",
    "job speed 20M",
    "job cancel",
    "job cancel nothing",
    "redefine no-machine --unpin -n",
    "protect three.qcow2 -y",
    "protect three.qcow2 --mode 644 -y",
    "note three.qcow2",
    "note three.qcow2 what-it-is --tag golden -y",
    "note three.qcow2 -n",
    "tree .",
    "info three.qcow2",
    "note three.qcow2 --clear -y",
    "squash two.qcow2 -y",
    "flatten three.qcow2 --in-place -y",
    "clone three.qcow2 four.qcow2 -y",
    "move four.qcow2 five.qcow2 -y",
    "export three.qcow2 gone-out -y",
    "import gone-out here -y",
    "commit one.qcow2 -y",
    "commit demo/rootbase/Overlay-2.qcow2",
    "undo -n",
    "undo -y",
    "redo -y",
    "log",
    "recover",
    "recover --leftovers",
    "branch new.qcow2 leaf.qcow2",
    "revert leaf.qcow2 -y",
    "discard leaf.qcow2 -y",
    "trash list",
    "trash restore --all -y",
    "discard leaf.qcow2 -y",
    "space .",
    "space --older-than 0 --sort hidden --at-least 1K demo",
    "space --read --sort equal demo",
    "garbage demo --older-than 0 --bases",
    "garbage demo --older-than 0 --whole-trees",
    "garbage demo --older-than 0 --discard -n",
    "prune --older-than 0 demo",
    "prune --keep-last 1 demo",
    "prune --older-than 0 demo --all -n",
    "trash empty -n",
    "trash empty nothing",
    "index list",
    "index accept words",
    "index forget --gone -n",
    "index forget --gone",
    "config print",
    "config path",
    "config check",
    "completions bash",
    "man tree",
    "schema",
    "demo another",
    "nothing-there",
    "comit",
    "snapshot nonsense",
];

/// What answers as a job of a machine does, as long as this test runs.
fn a_job_that_runs(place: &Place) {
    let folder = place.state.path().join("qanopy/jobs");
    fs::create_dir_all(&folder).unwrap();
    let listener = UnixListener::bind(folder.join("1-1")).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut asked = String::new();
            BufReader::new(&client).read_line(&mut asked).unwrap();
            let job = json!({
                "title": "Move a", "images": ["/vm/a"], "files": [[1, 2]], "phase": "copy", "done": 1, "total": 2,
                "rate": 3, "controls": "speed-and-pause", "is-paused": false, "speed": 4, "is-stopping": false,
                "is-done": true,
            });
            writeln!(client, "{job}").unwrap();
        }
    });
}

#[test]
fn every_command_prints_what_the_schema_says() {
    let place = demo_forest();
    for words in ["words", "other", "third"] {
        fs::write(place.path().join(words), words).unwrap();
    }
    a_job_that_runs(&place);
    let mut printed = BTreeSet::new();
    for line in LINES {
        let ended = place.q(&format!("{line} --json"));
        let document = ended.json();
        assert_eq!(document["schema"], 1);
        assert_eq!(
            document.get("error").is_some(),
            ![0, 3].contains(&ended.code),
            "{line} ends with {}: {document}",
            ended.code
        );
        if document.get("result").is_some() {
            printed.insert(document["command"].as_str().unwrap().to_owned());
        }
    }
    // `mount` stays: `tests/processes/mount.rs` reads what it prints.
    printed.extend(["man", "mount"].map(str::to_owned));
    // These need a filesystem, and are read in `guest.rs`.
    let inside = [
        "cat", "contents", "diff", "explain", "extract", "files", "find", "history", "trim",
    ];
    printed.extend(inside.map(str::to_owned));
    let mut pages = pages(&place);
    // It speaks with another qanopy, and in frames.
    pages.remove("agent");
    assert_eq!(commands(), pages);
    assert_eq!(printed, commands());
}

#[test]
fn a_key_that_the_schema_does_not_name_would_be_found() {
    let fine = json!({ "schema": 1, "command": "config path", "result": { "path": "a" } });
    assert!(STRICT.is_valid(&fine));
    for (at, key) in [("", "more"), ("/result", "more")] {
        let mut wrong = fine.clone();
        let object = wrong.pointer_mut(at).unwrap().as_object_mut().unwrap();
        object.insert(key.to_owned(), 1.into());
        assert!(!STRICT.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn qemu_imgs_option_prints_what_qemu_img_prints() {
    let place = small_forest();
    for (line, key) in [
        ("info --output=json one.qcow2", "virtual-size"),
        ("check --output json one.qcow2", "check-errors"),
        ("measure --output=json one.qcow2", "required"),
    ] {
        let bare: Value = serde_json::from_str(&place.q(line).with(0).out).unwrap();
        assert!(bare[key].is_u64(), "{line}: {bare}");
    }
    assert_eq!(place.q("info --output=json nothing").with(1).out, "");
}
