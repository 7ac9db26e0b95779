//! The configuration, the completions and the manual page, as a process.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
    command
        .current_dir(home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_STATE_HOME", home.join("state"));
    command
}

fn qanopy(home: &Path, words: &str) -> Output {
    command(home)
        .args(words.split_whitespace())
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
fn of_a_line_that_does_not_hold_it_is_told_once() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    configure(home, "colour = \"red\"\n");
    for words in ["", "tree .", "demo demo"] {
        let told = String::from_utf8(qanopy(home, words).stderr).unwrap();
        assert_eq!(told.matches("colour").count(), 1, "{words}: {told}");
    }
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
fn a_configuration_that_does_not_hold_is_told_beside_every_command() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    configure(
        home,
        "a = 1\nb = 1\nc = 1\nd = 1\ne = 1\nf = 1\nread_only = yes\n",
    );
    let refused = qanopy(home, "create a.qcow2 1M");
    assert_eq!(refused.status.code(), Some(4));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("config.toml:1: ") && !told.contains("config.toml:7: "),
        "{told}"
    );
    assert!(told.contains("`qanopy config check` tells"), "{told}");
    let quiet = qanopy(home, "config path");
    assert!(quiet.stderr.is_empty());
}

#[test]
fn a_shell_is_made_to_ask_and_the_manual_page_knows_every_command() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = said(&qanopy(home.path(), &format!("completions {shell}")));
        assert!(
            completions.contains("QANOPY_COMPLETE"),
            "{shell}: {completions}"
        );
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
fn a_shell_that_asks_hears_of_images_snapshots_trash_and_log() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    for words in [
        "create base.qcow2 1M",
        "create old 1M",
        "branch base.qcow2 top.qcow2",
        "snapshot create top.qcow2 before --yes",
        "bitmap add top.qcow2 daily --yes",
        "note base.qcow2 --tag web",
        "discard old --yes",
    ] {
        assert!(qanopy(dir, words).status.success(), "{words}");
    }
    fs::write(dir.join("notes.txt"), "no image").unwrap();
    let asked = |words: &[&str]| {
        let mut command = command(dir);
        command
            .env("QANOPY_COMPLETE", "fish")
            .args(["--", "qanopy"])
            .args(words);
        let told = said(&command.output().unwrap());
        let values = told
            .lines()
            .map(|line| line.split('\t').next().unwrap().to_owned());
        values
            .filter(|value| !value.starts_with('-'))
            .collect::<Vec<_>>()
    };
    let images = asked(&["commit", ""]);
    assert!(images.iter().any(|name| name == "top.qcow2"), "{images:?}");
    assert!(!images.iter().any(|name| name == "notes.txt"), "{images:?}");
    assert_eq!(asked(&["snapshot", "apply", "top.qcow2", ""]), ["before"]);
    assert_eq!(asked(&["bitmap", "remove", "top.qcow2", "d"]), ["daily"]);
    assert_eq!(asked(&["trash", "restore", ""]).len(), 1);
    assert_eq!(asked(&["note", "top.qcow2", "--tag", "g"]), ["golden"]);
    assert_eq!(asked(&["note", "top.qcow2", "--tag", "w"]), ["web"]);
    assert_eq!(asked(&["note", "base.qcow2", "--untag", ""]), ["web"]);
    let log = asked(&["undo", ""]);
    assert!(
        log.len() >= 5 && log[0].parse::<u64>().unwrap() >= 5,
        "{log:?}"
    );
    assert!(asked(&["recover", ""]).is_empty());
    assert_eq!(asked(&["comm"]), ["commit"]);
    // What a shell would make something else of is not offered.
    for name in [
        "da;touch x",
        "da$(touch x)",
        "da y",
        "da*",
        "da[1]",
        "da`x`",
        "da\nx",
    ] {
        let mut snapshot = command(dir);
        snapshot.args(["snapshot", "create", "top.qcow2", name, "--yes"]);
        assert!(snapshot.output().unwrap().status.success(), "{name}");
        fs::copy(dir.join("top.qcow2"), dir.join(name)).unwrap();
    }
    assert!(asked(&["snapshot", "apply", "top.qcow2", "da"]).is_empty());
    assert!(asked(&["commit", "da"]).is_empty());
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
    let has = |words: &str, what: &str| {
        let page = said(&qanopy(home.path(), &format!("man {words}")));
        page.contains(what)
    };
    for (words, what) in [
        ("commit", ".qanopy"),
        ("tree", "XDG_STATE_HOME"),
        ("config check", "a line of the configuration does not hold"),
        ("compare", "the images differ"),
        ("demo", "TMPDIR"),
        ("snapshot", "qanopy snapshot apply"),
        ("", "qanopy /var/lib/libvirt/images"),
        ("demo", "SHELL"),
        ("", "problems found (check,"),
    ] {
        assert!(has(words, what), "{words}: {what}");
    }
    for (words, what) in [
        ("tree", ".qanopy"),
        ("man", "$XDG_STATE_HOME"),
        ("commit", "SHELL"),
        ("commit", "NO_COLOR"),
        ("commit", "compare"),
        ("compare", "salvage"),
    ] {
        assert!(!has(words, what), "{words}: {what}");
    }
    let none = qanopy(home.path(), "man comit");
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn the_signs_are_those_of_the_configuration_unless_the_command_line_says_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    assert!(qanopy(home, "create a.qcow2 1M").status.success());
    let leaf = |words: &str| {
        let tree = said(&qanopy(home, words));
        tree.chars().next().unwrap_or_default()
    };
    assert_eq!(leaf("tree"), '○', "nothing is built on it");
    configure(home, "ascii = true\n");
    assert_eq!(leaf("tree"), 'o');
    assert_eq!(leaf("--no-ascii tree"), '○');
    assert_eq!(leaf("--no-ascii --ascii tree"), 'o', "the last one counts");
    assert!(qanopy(home, "branch a.qcow2 b.qcow2").status.success());
    assert_eq!(leaf("--no-ascii tree"), '●', "something is");
    let misplaced = qanopy(home, "--no-query tree");
    assert_eq!(misplaced.status.code(), Some(2));
}
