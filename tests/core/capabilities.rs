//! What is said to be understood of the format is proven by tests that are there and run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The tests that a row names: the file, then the function.
fn named(row: &str) -> Vec<(&str, &str)> {
    let mut file = "";
    let mut named = Vec::new();
    // Every second part stands between backquotes.
    for word in row.split('`').skip(1).step_by(2) {
        if word.ends_with(".rs") {
            file = word;
        } else {
            named.push((file, word));
        }
    }
    named
}

/// Why the function is no test that is run, if it is none.
fn fault(text: &str, function: &str) -> Option<&'static str> {
    let Some(at) = text.find(&format!("fn {function}(")) else {
        return Some("is not there");
    };
    let before = text[..at].trim_end().lines().rev();
    let attributes: Vec<&str> = before
        .map(str::trim)
        .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
        .collect();
    // Of some cases a macro makes tests: they stand in its list, a line each.
    let is_listed = || text.lines().any(|line| line.trim() == function);
    if !attributes.contains(&"#[test]") && !is_listed() {
        return Some("is no test");
    }
    let is_ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
    is_ignored.then_some("is not run")
}

/// Whether a file is among those that its parent declares, so that its tests are compiled at all.
fn is_declared(file: &Path) -> bool {
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    let dir = root().join(file.parent().unwrap());
    let parents = [
        dir.join("main.rs"),
        dir.join("mod.rs"),
        dir.with_extension("rs"),
    ];
    let declaration = format!("mod {name};");
    parents.iter().any(|parent| {
        let text = fs::read_to_string(parent).unwrap_or_default();
        let visible = ["", "pub ", "pub(crate) ", "pub(super) "];
        let is_it = |line: &str| {
            let mut ways = visible.iter();
            ways.any(|how| line.strip_prefix(how) == Some(&declaration))
        };
        text.lines().any(is_it)
    })
}

#[test]
fn every_capability_names_tests_that_are_there_and_run() {
    let table = fs::read_to_string(root().join("tests/capabilities.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let mut faults = Vec::new();
    let mut files = BTreeSet::new();
    for row in rows.skip(1) {
        // What stands in backquotes before the last column names no test.
        let (capability, proof) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        let named = named(proof);
        if named.is_empty() {
            faults.push(format!("{capability}: no test"));
        }
        for (file, function) in named {
            files.insert(file.to_owned());
            match fs::read_to_string(root().join(file)) {
                Err(error) => faults.push(format!("{file}: {error}")),
                Ok(text) => {
                    let fault = fault(&text, function);
                    faults.extend(fault.map(|fault| format!("{file}: {function} {fault}")));
                }
            }
        }
    }
    let undeclared = files.iter().filter(|file| !is_declared(Path::new(file)));
    faults.extend(undeclared.map(|file| format!("{file}: its tests are not compiled")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(files.len() > 20, "{files:?}");
}

#[test]
fn what_is_no_test_that_runs_is_told() {
    let text = "#[test]\nfn a() {}\n#[test]\n#[ignore = \"slow\"]\nfn b() {}\nfn c() {}\ncases! {\n    d\n}\nfn d() {}\n";
    assert_eq!(fault(text, "a"), None);
    assert_eq!(fault(text, "b"), Some("is not run"));
    assert_eq!(fault(text, "c"), Some("is no test"));
    assert_eq!(fault(text, "d"), None);
    assert_eq!(fault(text, "e"), Some("is not there"));
}
