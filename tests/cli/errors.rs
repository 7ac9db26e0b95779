//! With `--json` standard output holds one document, and where something was not done an error in it.

use std::fs;

use serde_json::Value;

use crate::commands::{Ended, demo_forest, small_forest};

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
}

#[test]
fn a_refused_plan_is_told_with_the_command_lines_that_lead_on() {
    let place = demo_forest();
    let commit = "commit demo/rootbase/Overlay-2.qcow2 --yes --json";
    let ended = place.q(commit);
    let plan = ended.json()["plan"].clone();
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
fn what_is_found_is_no_error_and_what_is_said_stays_one_document() {
    let place = small_forest();
    fs::write(place.path().join("other.img"), [7; 4096]).unwrap();
    let ended = place.q("compare base.qcow2 other.img --json").with(3);
    assert_eq!(ended.json()["identical"], false);
    assert_eq!(ended.json().get("error"), None);
    // Nobody asked for JSON.
    let ended = place.q("info nothing").with(1);
    assert_eq!(ended.out, "");
}
