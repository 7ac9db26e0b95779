//! What releases are made of: the packages' lists of files, the scripts, and the workflows that run them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo says of one of the two packages.
fn package(name: &str) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let output = cargo.current_dir(root()).output().unwrap();
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = all["packages"].as_array().unwrap();
    let found = packages.iter().find(|package| package["name"] == name);
    found.unwrap().clone()
}

/// Source and destination of each file of a package, as Cargo.toml says.
fn assets(of: &str) -> Vec<(String, String)> {
    let package = package("qanopy");
    let list = package["metadata"][of]["assets"].as_array().unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter()
        .map(|asset| match asset {
            Value::Array(asset) => (word(&asset[0]), format!("/{}", word(&asset[1]))),
            asset => (word(&asset["source"]), word(&asset["dest"])),
        })
        .collect()
}

#[test]
fn both_packages_hold_the_same_files_and_each_is_there_or_made_by_the_script() {
    let script = fs::read_to_string(root().join(".ci/package")).unwrap();
    let mut held = Vec::new();
    for package in ["deb", "generate-rpm"] {
        let mut sources = BTreeSet::new();
        for (source, destination) in assets(package) {
            assert!(destination.starts_with("/usr/"), "{destination}");
            match source.strip_prefix("target/packages/share/") {
                Some(made) => {
                    let folder = made.split('/').next().unwrap();
                    assert!(script.contains(&format!("$share/{folder}")), "{source}");
                }
                None if source == "target/release/qanopy" || source == "LICENSE*" => {}
                None => match source.strip_suffix("/*.md") {
                    Some(folder) => assert!(root().join(folder).is_dir(), "{source}"),
                    None => assert!(root().join(&source).is_file(), "{source}"),
                },
            }
            sources.insert(source);
        }
        // A .deb has its licence as `copyright`.
        sources.remove("LICENSE*");
        held.push(sources);
    }
    assert_eq!(held[0], held[1]);
    assert!(held[0].len() >= 8, "{:?}", held[0]);
}

#[test]
fn a_package_for_the_registry_says_what_it_is_and_carries_its_licences() {
    for (name, folder) in [
        ("qanopy", "."),
        ("qanopy-core", "src/core"),
        ("qanopy-guest", "src/guest"),
    ] {
        let package = package(name);
        for key in ["description", "license", "rust_version"] {
            assert!(package[key].is_string(), "{name}: {key}");
        }
        for key in ["keywords", "categories"] {
            let count = package[key].as_array().unwrap().len();
            assert!((1..=5).contains(&count), "{name}: {key}");
        }
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let text = fs::read_to_string(root().join(folder).join(licence)).unwrap();
            assert!(text.len() > 1000, "{name}: {licence}");
        }
    }
}

#[test]
fn the_scripts_are_shell_and_the_workflows_run_what_is_there() {
    let mut scripts = BTreeSet::from(["run".to_owned()]);
    for entry in fs::read_dir(root().join(".github/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for key in ["name:", "on:", "permissions:", "jobs:"] {
            let is_there = text.lines().any(|line| line.starts_with(key));
            assert!(is_there, "{}: {key}", path.display());
        }
        assert!(!text.contains('\t'), "{}", path.display());
        for word in text.split_whitespace() {
            if let Some(script) = word.strip_prefix(".ci/").filter(|name| !name.contains('.')) {
                scripts.insert(script.to_owned());
            }
        }
    }
    assert!(
        scripts.contains("package") && scripts.contains("try-package"),
        "{scripts:?}"
    );
    for script in scripts {
        let path = root().join(".ci").join(&script);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert!(mode & 0o111 == 0o111, "{script} may not be run");
        let checked = Command::new("bash").arg("-n").arg(&path).status().unwrap();
        assert!(checked.success(), "{script}");
    }
}
