//! What README.md shows is what the program prints. With `QANOPY_UPDATE_README=1` the parts between
//! markers are written anew instead of compared.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use qanopy::tui::testing::markdown_table;

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// Runs `qanopy` in `dir`, with a state directory of its own, and gives what it printed.
fn qanopy(dir: &Path, words: &str) -> String {
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(words.split_whitespace())
        .current_dir(dir)
        .env("XDG_STATE_HOME", state.path())
        .env("XDG_CONFIG_HOME", state.path())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where in README.md the part between `<!-- name: ... -->` and `<!-- /name -->` stands.
fn part(text: &str, name: &str) -> Range<usize> {
    let begin = text.find(&format!("<!-- {name}:")).unwrap();
    let begin = begin + text[begin..].find("-->\n").unwrap() + 4;
    let end = text.find(&format!("<!-- /{name} -->")).unwrap();
    begin..end
}

fn assert_shown(name: &str, expected: &str) {
    let mut text = fs::read_to_string(readme()).unwrap();
    let shown = part(&text, name);
    if text[shown.clone()] == *expected {
        return;
    }
    if std::env::var_os("QANOPY_UPDATE_README").is_some() {
        text.replace_range(shown, expected);
        fs::write(readme(), text).unwrap();
        return;
    }
    panic!(
        "README.md is old: run QANOPY_UPDATE_README=1 cargo test --test cli readme -- --test-threads 1\n{expected}"
    );
}

#[test]
fn the_keys_are_those_of_the_keymap() {
    assert_shown("keys", &format!("\n{}\n", markdown_table()));
}

#[test]
fn the_picture_of_boxes_is_what_the_command_prints() {
    let dir = tempfile::tempdir().unwrap();
    qanopy(dir.path(), "create RootBase.qcow2 64M");
    for (base, new) in [
        ("RootBase", "Overlay-1"),
        ("Overlay-1", "Overlay-1A"),
        ("Overlay-1A", "Overlay-1B"),
        ("Overlay-1B", "Overlay-1C"),
        ("RootBase", "Overlay-2"),
        ("Overlay-2", "Overlay-2A"),
        ("RootBase", "Overlay-3"),
        ("Overlay-3", "Overlay-3A"),
    ] {
        qanopy(dir.path(), &format!("branch {base}.qcow2 {new}.qcow2"));
    }
    let boxes = qanopy(dir.path(), "tree --boxes");
    let expected = format!("\n```text\n$ qanopy tree --boxes\n{boxes}```\n\n");
    assert_shown("boxes", &expected);
}

#[test]
fn every_command_is_in_the_table() {
    let here = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(readme()).unwrap();
    let help = qanopy(here.path(), "--help");
    let commands = help.split_once("Commands:\n").unwrap().1;
    for line in commands.lines().take_while(|line| !line.is_empty()) {
        // Longer texts go on in deeper lines.
        let Some(name) = line.strip_prefix("  ").and_then(|l| l.split(' ').next()) else {
            continue;
        };
        if !name.is_empty() && name != "help" {
            assert!(text.contains(&format!("`qanopy {name}")), "{name}");
        }
    }
}

/// What a text has in every language: headings by their depth, the first column of tables, pictures, commands to type,
/// the picture of boxes.
fn without_prose(text: &str) -> Vec<String> {
    let mut kept = Vec::new();
    let mut is_boxes = false;
    for line in text.lines() {
        is_boxes = line != "```" && (is_boxes || line == "```text");
        let heading = line.split(' ').next().filter(|word| word.starts_with("##"));
        let picture = line
            .starts_with("![")
            .then(|| line.split("](").nth(1).unwrap());
        // A bar that is escaped is part of the column.
        let row = line
            .strip_prefix("| `")
            .map(|row| row.split(" | ").next().unwrap());
        let typed = line.strip_prefix("    ");
        let boxes = is_boxes.then_some(line);
        let known = heading.or(picture).or(row).or(boxes).or(typed);
        kept.extend(known.map(str::to_owned));
    }
    kept
}

#[test]
fn the_chinese_readme_has_all_that_the_english_one_has() {
    let chinese = fs::read_to_string(readme().with_file_name("README.zh-CN.md")).unwrap();
    let english = fs::read_to_string(readme()).unwrap();
    let (chinese, english) = (without_prose(&chinese), without_prose(&english));
    assert!(english.len() > 150, "{}", english.len());
    for (chinese, english) in chinese.iter().zip(&english) {
        assert_eq!(chinese, english, "README.zh-CN.md, README.md");
    }
    assert_eq!(chinese.len(), english.len());
}

#[test]
fn the_pictures_of_the_screen_are_there_and_none_is_left_over() {
    let text = fs::read_to_string(readme()).unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let shown = text.split("](assets/").skip(1);
    let mut shown: Vec<&str> = shown.map(|rest| rest.split(')').next().unwrap()).collect();
    for name in &shown {
        let svg = fs::read_to_string(assets.join(name)).unwrap();
        assert!(svg.contains("<svg") && svg.contains("RootBase"), "{name}");
    }
    let entries = fs::read_dir(assets).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = names.filter(|name| name.ends_with(".svg")).collect();
    shown.sort_unstable();
    all.sort_unstable();
    assert_eq!(shown, all);
}

#[test]
fn the_files_that_are_spoken_of_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = [
        "README.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
    ];
    let mut found = 0;
    for name in texts {
        let text = fs::read_to_string(root.join(name)).unwrap();
        // Every second part stands between backquotes.
        for word in text.split('`').skip(1).step_by(2) {
            let places = ["src/", "tests/", "assets/", ".ci/", ".github/"];
            if places.iter().any(|place| word.starts_with(place)) {
                assert!(root.join(word).exists(), "{name}: {word}");
                found += 1;
            }
        }
    }
    assert!(found > 5, "{found}");
}
