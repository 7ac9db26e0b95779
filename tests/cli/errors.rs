//! With `--json` standard output holds one document, and where something was not done an error in it.

use std::fs;

use serde_json::Value;

use crate::commands::{Ended, Place, demo_forest, small_forest};

/// The error of a call that ended so, which its standard error tells as well.
fn error(ended: Ended, code: i32) -> Value {
    let ended = ended.with(code);
    let error = ended.json()["error"].clone();
    let message = error["message"].as_str().unwrap();
    let told: Vec<&str> = ended.err.split_whitespace().collect();
    assert!(told.join(" ").contains(message), "{message}: {told:?}");
    error
}

#[test]
fn an_error_has_a_kind_a_path_and_a_message() {
    let place = small_forest();
    fs::write(place.path().join("raw.img"), [7; 4096]).unwrap();
    let rows = [
        ("info nothing", 1, "not-found", Some("nothing")),
        ("commit nothing --yes", 1, "not-found", Some("nothing")),
        ("snapshot list raw.img", 1, "not-qcow2", Some("raw.img")),
        (
            "keyslot list top.qcow2",
            1,
            "unsupported",
            Some("top.qcow2"),
        ),
        ("recover 99 --forget", 4, "not-found", None),
        ("check one.qcow2 two.qcow2 --repair all", 2, "usage", None),
        ("info", 2, "usage", None),
        ("commit one.qcow2 --siblings x", 2, "usage", None),
        ("create new 1M --read-only", 4, "read-only", None),
        ("discard top.qcow2", 4, "not-agreed", None),
    ];
    for (words, code, kind, path) in rows {
        let error = error(place.q(&format!("{words} --json")), code);
        assert_eq!(error["kind"], kind, "{words}: {error}");
        assert_eq!(error["path"].as_str(), path, "{words}: {error}");
        assert_eq!(error["ways-out"], Value::Array(Vec::new()), "{words}");
    }
    // A folder is told by its whole name.
    let error = error(place.q("tree nowhere --json"), 1);
    assert_eq!(error["kind"], "not-found");
    assert!(error["path"].as_str().unwrap().ends_with("/nowhere"));
}

#[test]
fn a_refused_plan_is_told_with_the_command_lines_that_lead_on() {
    let place = demo_forest();
    let commit = "commit demo/rootbase/Overlay-2.qcow2 --yes --json";
    let ended = place.q(commit);
    let plan = ended.result()["plan"].clone();
    let error = error(ended, 4);
    assert_eq!(error["kind"], "dependants");
    assert_eq!(error["ways-out"], plan["refusals"][0]["ways-out"]);
    let ways = error["ways-out"].as_array().unwrap();
    let lines = ways.iter().map(|way| way["command"].as_str().unwrap());
    let keeps = |line: &str| line.starts_with("qanopy commit ") && line.ends_with("preserve");
    assert!(lines.clone().any(keeps), "{error}");
    assert!(ways.iter().all(|way| way["label"].is_string()), "{error}");
}

#[test]
fn what_an_image_cannot_do_is_told_apart_by_its_kind() {
    let place = small_forest();
    place.q("bitmap add top.qcow2 b --yes").with(0);
    let rows = [
        ("bitmap add top.qcow2 b", "already-exists"),
        ("bitmap remove top.qcow2 none", "not-found"),
        ("bitmap add top.qcow2 c --granularity 3000", "limit"),
        ("amend top.qcow2 --compat 0.10", "unsupported"),
        ("keyslot erase top.qcow2 --slot 0", "unsupported"),
    ];
    for (words, kind) in rows {
        let error = error(place.q(&format!("{words} --yes --json")), 4);
        assert_eq!(error["kind"], kind, "{words}: {error}");
    }
}

#[test]
fn a_flat_image_is_not_flattened_into_a_new_file_and_a_copy_is_proposed() {
    let place = small_forest();
    let ended = place.q("flatten base.qcow2 flat.qcow2 --json");
    let error = error(ended, 4);
    assert_eq!(error["kind"], "already-so", "{error}");
    let line = error["ways-out"][0]["command"].as_str().unwrap();
    let words = line.strip_prefix("qanopy ").unwrap();
    place.q(words).with(0);
    assert!(place.path().join("flat.qcow2").exists());
    // In place nothing has to be done for it.
    place.q("flatten base.qcow2 --in-place").with(0);
}

#[test]
fn what_is_found_is_no_error_and_what_is_said_stays_one_document() {
    let place = small_forest();
    fs::write(place.path().join("other.img"), [7; 4096]).unwrap();
    let ended = place.q("compare base.qcow2 other.img --json").with(3);
    assert_eq!(ended.result()["identical"], false);
    assert_eq!(ended.json().get("error"), None);
    // Nobody asked for JSON.
    let ended = place.q("info nothing").with(1);
    assert_eq!(ended.out, "");
}

/// What helps against the first problem of an image, as `info --json` gives it, carried out as it is given.
fn helped(place: &Place, image: &str) -> String {
    let info = place.q(&format!("info {image} --json")).with(0).result();
    let problem = &info["problems"][0];
    let line = problem["fixes"][0]
        .as_str()
        .unwrap_or_else(|| panic!("{info}"));
    let words = line.strip_prefix("qanopy ").unwrap();
    place.q(&format!("{words} --yes")).with(0);
    problem["kind"].as_str().unwrap().to_owned()
}

#[test]
fn what_helps_against_a_problem_is_a_command_line_that_ends_it() {
    let place = small_forest();
    let one = place.path().join("one.qcow2");
    crate::support::fields::forget_format(&one);
    assert_eq!(helped(&place, "one.qcow2"), "no-backing-format");
    // A base that was moved away is found by its name.
    let info = place.q("info one.qcow2 --json").with(0).result();
    assert_eq!(info.get("problems"), None, "{info}");
    let base = info["full-backing-filename"].as_str().unwrap().to_owned();
    fs::create_dir(place.path().join("elsewhere")).unwrap();
    let name = std::path::Path::new(&base).file_name().unwrap();
    let base = place.path().join(&base);
    fs::rename(&base, place.path().join("elsewhere").join(name)).unwrap();
    let tree = place.q("tree --json").with(0).result();
    let images = tree["images"].as_array().unwrap();
    let broken = images
        .iter()
        .find(|image| image["problems"][0]["kind"] == "missing-backing")
        .unwrap_or_else(|| panic!("{tree}"));
    let line = broken["problems"][0]["fixes"][0].as_str().unwrap();
    assert!(
        line.starts_with("qanopy relink ") && line.contains("elsewhere"),
        "{line}"
    );
}

#[test]
fn what_the_system_says_comes_in_words() {
    let place = small_forest();
    for words in [
        "info nothing",
        "tree nothing",
        "nothing/below",
        "commit nothing",
        "branch nothing new.qcow2",
        "create nothing/new.qcow2 1M",
        "clone one.qcow2 nothing/new.qcow2",
        "import nothing elsewhere",
        "export one.qcow2 nothing/below",
    ] {
        let ended = place.q(words);
        assert!(
            ended.err.contains("no such file or directory"),
            "{}",
            ended.err
        );
        assert!(!ended.err.contains("os error"), "{}", ended.err);
    }
}

#[test]
fn a_number_where_only_a_yes_is_asked_for_was_meant_for_something_else() {
    let place = small_forest();
    let ended = place.q("discard top.qcow2 --confirm 7").with(4);
    assert!(
        ended.err.contains("no number is asked for"),
        "{}",
        ended.err
    );
    assert!(place.path().join("top.qcow2").exists());
    place.q("discard top.qcow2 --yes --confirm 7").with(0);
}

#[test]
fn what_helps_against_a_problem_is_told_as_a_command() {
    let place = small_forest();
    crate::support::fields::forget_format(&place.path().join("one.qcow2"));
    for words in ["tree", "info one.qcow2"] {
        let ended = place.q(words).with(0);
        let is_help = |line: &str| {
            let command = line.split("helps").nth(1);
            command.is_some_and(|command| command.contains("qanopy relink "))
        };
        assert!(ended.out.lines().any(is_help), "{}", ended.out);
        assert!(!ended.out.contains('`'), "{}", ended.out);
    }
}

#[test]
fn of_several_files_of_a_missing_name_none_is_proposed_by_chance() {
    let place = small_forest();
    let info = place.q("info one.qcow2 --json").with(0).result();
    let base = info["full-backing-filename"].as_str().unwrap();
    let base = place.path().join(base);
    let name = base.file_name().unwrap().to_owned();
    for folder in ["here", "there"] {
        fs::create_dir(place.path().join(folder)).unwrap();
        fs::copy(&base, place.path().join(folder).join(&name)).unwrap();
    }
    fs::remove_file(&base).unwrap();
    let tree = place.q("tree --json").with(0).result();
    let images = tree["images"].as_array().unwrap();
    let is_missing = |image: &&Value| image["problems"][0]["kind"] == "missing-backing";
    let problem = &images.iter().find(is_missing).unwrap()["problems"][0];
    let fixes: Vec<&str> = problem["fixes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fix| fix.as_str().unwrap())
        .collect();
    assert_eq!(fixes.len(), 2, "{problem}");
    assert!(
        fixes[0].contains("here/") && fixes[1].contains("there/"),
        "{problem}"
    );
    let template = problem["templates"][0].as_str().unwrap();
    assert!(template.ends_with("--to BASE"), "{template}");
}
