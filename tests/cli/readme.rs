//! What README.md and the reference in `assets/docs/` show is what the program prints, and what they say to type is
//! run. With `QANOPY_UPDATE_README=1` the parts between markers are written anew instead of compared.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qanopy::tui::testing::markdown_table;
use serde_json::Value;

use crate::support::{Qemu, oracle, qemu};

/// Every page in English, with the same one in Chinese.
const PAGES: [(&str, &str); 4] = [
    ("README.md", "README.zh-CN.md"),
    ("assets/docs/keys.md", "assets/docs/zh-CN/keys.md"),
    ("assets/docs/commands.md", "assets/docs/zh-CN/commands.md"),
    (
        "assets/docs/configuration.md",
        "assets/docs/zh-CN/configuration.md",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
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

/// Where in a page the part between `<!-- name: ... -->` and `<!-- /name -->` stands.
fn part(text: &str, name: &str) -> Range<usize> {
    let begin = text.find(&format!("<!-- {name}:")).unwrap();
    let begin = begin + text[begin..].find("-->\n").unwrap() + 4;
    let end = text.find(&format!("<!-- /{name} -->")).unwrap();
    begin..end
}

fn assert_shown(file: &str, name: &str, expected: &str) {
    let mut text = page(file);
    let shown = part(&text, name);
    if text[shown.clone()] == *expected {
        return;
    }
    if std::env::var_os("QANOPY_UPDATE_README").is_some() {
        text.replace_range(shown, expected);
        fs::write(root().join(file), text).unwrap();
        return;
    }
    panic!(
        "{file} is old: run QANOPY_UPDATE_README=1 cargo test --test cli readme -- --test-threads 1\n{expected}"
    );
}

#[test]
fn the_keys_are_those_of_the_keymap() {
    let expected = format!("\n{}\n", markdown_table());
    assert_shown("assets/docs/keys.md", "keys", &expected);
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
    assert_shown("README.md", "boxes", &expected);
}

#[test]
fn every_command_is_in_the_table() {
    let here = tempfile::tempdir().unwrap();
    let text = page("assets/docs/commands.md");
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
            .then(|| line.rsplit(['(', '/']).next().unwrap());
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
fn the_chinese_pages_have_all_that_the_english_ones_have() {
    let mut compared = 0;
    for (english, chinese) in PAGES {
        let (here, there) = (without_prose(&page(english)), without_prose(&page(chinese)));
        for (english_line, chinese_line) in here.iter().zip(&there) {
            assert_eq!(chinese_line, english_line, "{chinese}, {english}");
        }
        assert_eq!(there.len(), here.len(), "{chinese}, {english}");
        compared += here.len();
    }
    assert!(compared > 150, "{compared}");
}

/// Where the links of a page lead that lead to no other site: files beside it, without what follows a `#`.
fn links(name: &str) -> Vec<PathBuf> {
    let text = page(name);
    let dir = root().join(name).parent().unwrap().to_path_buf();
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next());
    let local = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    local
        .map(|target| {
            dir.join(target)
                .canonicalize()
                .unwrap_or_else(|_| dir.join(target))
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_every_picture_and_page_is_linked() {
    let mut linked: Vec<PathBuf> = Vec::new();
    for (english, chinese) in PAGES {
        for name in [english, chinese] {
            for target in links(name) {
                assert!(target.exists(), "{name}: {}", target.display());
                linked.push(target);
            }
        }
    }
    let assets = root().join("assets").canonicalize().unwrap();
    for dir in [
        assets.clone(),
        assets.join("docs"),
        assets.join("docs/zh-CN"),
    ] {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                assert!(
                    linked.contains(&path),
                    "nothing leads to {}",
                    path.display()
                );
            }
            if path.extension().is_some_and(|extension| extension == "svg") {
                let svg = fs::read_to_string(&path).unwrap();
                assert!(svg.contains("<svg") && svg.contains("RootBase"), "{path:?}");
            }
        }
    }
}

/// Runs a line as a person types it, `qanopy` being the program that is tested.
fn typed(dir: &Path, line: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_qanopy"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    // Outside of the folder, whose files are compared.
    let home = dir.with_file_name("state");
    fs::create_dir_all(&home).unwrap();
    Command::new("sh")
        .args(["-ec", line])
        .current_dir(dir)
        .env("PATH", path)
        .env("XDG_STATE_HOME", &home)
        .env("XDG_CONFIG_HOME", &home)
        .output()
        .unwrap()
}

#[test]
fn the_five_minutes_can_be_typed_as_they_stand() {
    let mut done = Vec::new();
    for name in ["README.md", "README.zh-CN.md"] {
        let place = tempfile::tempdir().unwrap();
        let images = place.path().join("images");
        fs::create_dir(&images).unwrap();
        let text = page(name);
        let lines = text[part(&text, "start")].lines();
        let lines = lines.filter(|line| line.starts_with("qanopy "));
        let mut count = 0;
        for line in lines {
            let output = typed(&images, line);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {line}: {complaint}");
            count += 1;
        }
        let mut names: Vec<String> = fs::read_dir(&images)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        done.push((count, names));
    }
    assert_eq!(done[0], done[1]);
    assert_eq!(
        done[0].1,
        ["alone.qcow2", "base.qcow2", "test.qcow2", "web.qcow2"]
    );
}

/// The lines of the table for people who know qemu-img: theirs, ours.
fn rows_of_qemu_img(name: &str) -> Vec<(String, String)> {
    let text = page(name);
    let rows = text[part(&text, "qemu-img")].lines();
    rows.filter(|row| row.starts_with("| `qemu-img "))
        .map(|row| {
            let words: Vec<&str> = row.split('`').collect();
            (words[1].to_owned(), words[3].to_owned())
        })
        .collect()
}

/// Images as the table's lines name them.
fn images_of_the_table(qemu: &Qemu, dir: &Path) {
    fs::create_dir(dir).unwrap();
    let here = qemu.within(dir);
    for name in ["base.qcow2", "alone.qcow2"] {
        here.img(&["create", "-q", "-f", "qcow2", name, "4M"]);
        here.io(name, &["write -P 1 0 512k"]);
    }
    fs::copy(dir.join("base.qcow2"), dir.join("other.qcow2")).unwrap();
    let on_base = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
    ];
    here.img(&[&on_base[..], &["top.qcow2"]].concat());
    here.io("top.qcow2", &["write -P 2 64k 64k"]);
    let unchecked = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-F",
        "qcow2",
        "-b",
        "gone.qcow2",
    ];
    here.img(&[&unchecked[..], &["lost.qcow2", "4M"]].concat());
}

/// What the images of a folder are: content, and what the header says that somebody asked for.
fn told(qemu: &Qemu, dir: &Path) -> BTreeMap<String, (Value, u64)> {
    let here = qemu.within(dir);
    let names = fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let images = names.filter(|name| !name.starts_with('.'));
    images
        .map(|name| {
            let info = here.img(&["info", "-U", "--output=json", name.as_str()]);
            let info: Value = serde_json::from_str(&info).unwrap();
            let snapshots = info["snapshots"].as_array().map(|all| {
                let names = all.iter().map(|one| one["name"].clone());
                names.collect::<Vec<_>>()
            });
            let data = &info["format-specific"]["data"];
            let header = serde_json::json!({
                "format": info["format"], "size": info["virtual-size"], "on": info["backing-filename"],
                "compat": data["compat"], "bitmaps": data["bitmaps"], "snapshots": snapshots,
            });
            let content = match info["backing-filename"] == "gone.qcow2" {
                true => 0,
                false => here.digest(&name),
            };
            (name, (header, content))
        })
        .collect()
}

#[test]
fn what_is_typed_for_qemu_img_and_what_is_typed_here_come_to_the_same() {
    let Some(qemu) = qemu() else { return };
    let rows = rows_of_qemu_img("README.md");
    assert_eq!(rows, rows_of_qemu_img("README.zh-CN.md"));
    assert!(rows.len() >= 20, "{}", rows.len());
    for (theirs, ours) in rows {
        // All that such images show is read, hole by hole.
        let [theirs, ours] =
            [theirs, ours].map(|line| line.replace("10G", "10M").replace("+1G", "+1M"));
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (one.path().join("images"), two.path().join("images"));
        images_of_the_table(&qemu, &one);
        images_of_the_table(&qemu, &two);
        let done = typed(&one, &theirs);
        let complaint = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{theirs}: {complaint}");
        let mut answer = typed(&two, &ours);
        // Nobody is there to be asked.
        for agree in ["--yes", "--yes --confirm 1"] {
            if answer.status.code() == Some(4) {
                answer = typed(&two, &format!("{ours} {agree}"));
            }
        }
        let complaint = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.status.success(), "{ours}: {complaint}");
        assert_eq!(told(&qemu, &one), told(&qemu, &two), "{theirs}\n{ours}");
        for image in ["top.qcow2", "new.qcow2"] {
            if two.join(image).exists() {
                assert!(oracle::check(&two.join(image)).is_clean(), "{ours}");
            }
        }
    }
}

#[test]
fn the_files_that_are_spoken_of_are_there() {
    let mut texts = vec![".github/CONTRIBUTING.md", ".github/SECURITY.md"];
    texts.extend(
        PAGES
            .iter()
            .flat_map(|(english, chinese)| [english, chinese]),
    );
    let mut found = 0;
    for name in texts {
        let text = page(name);
        // Every second part stands between backquotes.
        for word in text.split('`').skip(1).step_by(2) {
            let places = ["src/", "tests/", "assets/", ".ci/", ".github/"];
            if places.iter().any(|place| word.starts_with(place)) {
                assert!(root().join(word).exists(), "{name}: {word}");
                found += 1;
            }
        }
    }
    assert!(found > 5, "{found}");
}
