//! The configuration, the completions and the manual page, as a process.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn qanopy(home: &Path, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(words.split_whitespace())
        .current_dir(home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_STATE_HOME", home.join("state"))
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn configure(home: &Path, text: &str) {
    let dir = home.join("config/qanopy");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.toml"), text).unwrap();
}

#[test]
fn what_is_printed_is_a_configuration_without_fault() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let path = said(&qanopy(home, "config path"));
    assert_eq!(
        Path::new(path.trim()),
        home.join("config/qanopy/config.toml")
    );
    let printed = said(&qanopy(home, "config print"));
    assert!(printed.contains("# discard = [\"X\"]"), "{printed}");
    configure(home, &printed);
    let checked = qanopy(home, "config check");
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    assert_eq!(said(&qanopy(home, "config print")), printed);
}

#[test]
fn a_line_that_does_not_hold_is_told_with_its_number() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    configure(home, "mouse = true\ncolour = \"red\"\n");
    let checked = qanopy(home, "config check");
    assert_eq!(checked.status.code(), Some(3));
    assert!(
        said(&checked).contains("config.toml:2: \"colour\" is not known"),
        "{}",
        said(&checked)
    );
    let checked = qanopy(home, "config check --json");
    assert!(said(&checked).contains("\"line\": 2"), "{}", said(&checked));
}

#[test]
fn read_only_holds_for_commands_as_well_and_roots_are_what_is_opened() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::create_dir(home.join("images")).unwrap();
    assert!(qanopy(home, "create images/a.qcow2 1M").status.success());
    let root = home.join("images");
    configure(
        home,
        &format!("read_only = true\nroots = [{:?}]\n", root.to_str().unwrap()),
    );
    let refused = qanopy(home, "create images/b.qcow2 1M");
    assert_eq!(refused.status.code(), Some(4));
    assert!(!root.join("b.qcow2").exists());
    fs::create_dir(home.join("elsewhere")).unwrap();
    let tree = said(&qanopy(home, ""));
    assert!(tree.contains("a.qcow2"), "{tree}");
}

#[test]
fn completions_and_the_manual_page_know_every_command() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = said(&qanopy(home.path(), &format!("completions {shell}")));
        for command in ["commit", "discard", "snapshot", "config"] {
            assert!(completions.contains(command), "{shell} {command}");
        }
    }
    let man = said(&qanopy(home.path(), "man"));
    assert!(man.starts_with(".ie") || man.starts_with(".TH"), "{man}");
    for part in [
        ".TH QANOPY",
        "qanopy\\-commit(1)",
        ".SH FILES",
        ".SH \"EXIT STATUS\"",
    ] {
        assert!(man.contains(part), "{part}: {man}");
    }
}

#[test]
fn each_command_has_a_manual_page_with_examples() {
    let home = tempfile::tempdir().unwrap();
    let pages = home.path().join("pages");
    fs::create_dir(&pages).unwrap();
    qanopy(home.path(), "man --to pages");
    let names = fs::read_dir(&pages)
        .unwrap()
        .map(|page| page.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(names.len() > 55, "{names:?}");
    for name in ["qanopy.1", "qanopy-commit.1", "qanopy-snapshot-create.1"] {
        let page = fs::read_to_string(pages.join(name)).unwrap();
        assert!(
            page.contains("ENVIRONMENT") && page.contains("EXIT STATUS"),
            "{page}"
        );
    }
    let page = said(&qanopy(home.path(), "man snapshot create"));
    assert_eq!(
        page,
        fs::read_to_string(pages.join("qanopy-snapshot-create.1")).unwrap()
    );
    assert!(
        page.contains("EXAMPLES") && page.contains("before"),
        "{page}"
    );
    let none = qanopy(home.path(), "man comit");
    assert_eq!(none.status.code(), Some(2));
}
