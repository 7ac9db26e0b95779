//! Rules for the source that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a wrong index would become other bytes: what reads, writes and compares images.
const CORE: [&str; 2] = ["image", "qcow2"];

/// Lines that fall back on purpose: the file, what the line holds, and why it may.
const MEANT: &[(&str, &str, &str)] = &[
    (
        "image/write/luks/make.rs",
        "u64::try_from(rounds).unwrap_or(u64::MAX)",
        "bounded right after: more rounds than that are as many as are allowed",
    ),
    (
        "image/write/luks/make.rs",
        "try_from(time.tv_",
        "the clock of the processor, which starts at zero; measured, never stored",
    ),
    (
        "image/read/probe.rs",
        "first.get(..read).unwrap_or(&first)",
        "what the read did not fill is zeros, which no format begins with",
    ),
    (
        "image/change/snapshots/create.rs",
        "u32::try_from(since.as_secs()).unwrap_or(u32::MAX)",
        "the format knows no later date than one of the year 2106",
    ),
    (
        "image/write/temp_file.rs",
        "own.get(..room).unwrap_or(own)",
        "a name that is short enough is taken whole",
    ),
    (
        "image/write/shadow_refcounts.rs",
        "self.replaced.words.get(at).unwrap_or(&0)",
        "a set of clusters says no of all that lie past its last word",
    ),
    (
        "qcow2/geometry.rs",
        "try_from(index).unwrap_or(u",
        "no table has that entry: whoever uses it gets the error of the table",
    ),
    (
        "qcow2/header.rs",
        "usize::try_from(needed).unwrap_or(usize::MAX)",
        "the parser bounds it to one cluster",
    ),
    (
        "qcow2/luks.rs",
        "usize::try_from(raw.key_bytes.get()).unwrap_or(usize::MAX)",
        "refused in the line after it, as every length that is no key's",
    ),
    (
        "qcow2/rewrite.rs",
        "unwrap_or(usize::MAX)",
        "past the end of every cluster, where nothing fits: then there is no such layout",
    ),
    (
        "qcow2/snapshot.rs",
        "u32::try_from(vm_state_size).unwrap_or(0)",
        "a state too large for the old field is no state to an old reader",
    ),
    (
        "qcow2/snapshot.rs",
        "self.extra.get(24..).unwrap_or_default()",
        "extra data that is shorter has none of a later version's",
    ),
    (
        "qcow2/cluster_run.rs",
        ".unwrap_or_default()",
        "whole words of the table, from one that was met in it",
    ),
];

/// The rooms, from the lowest floor up: those of one line stand on one floor, and use each other no more than
/// those above them.
const ROOMS: &[&[&str]] = &[
    &["host"],
    &["qcow2"],
    &["image"],
    &["json_text", "system"],
    &["units"],
    &["machines", "fleet"],
    &["forest", "guest"],
    &["inside"],
    &["ops"],
    &["doctor", "mount"],
    &["facts"],
    &["tui"],
    // It opens the screen.
    &["cli"],
];

/// The floors inside `image`, from the lowest up. What lies beside them (errors, progress) stands on the lowest.
const FLOORS: &[&str] = &["read", "check", "write", "change"];

/// Lines of code that a file has at most.
const MOST_LINES: usize = 800;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Where a room of the source stands, or a file in one: those of `qanopy-core` lie in its own folder, and a room may
/// be a file.
pub(crate) fn place(room: &str) -> PathBuf {
    let in_core = source().join("core").join(room);
    if room != "." && in_core.exists() {
        return in_core;
    }
    let place = source().join(room);
    if place.exists() {
        place
    } else {
        place.with_extension("rs")
    }
}

fn files_below(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.push(path.to_path_buf());
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(Result::unwrap).collect();
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        files_below(&entry.path(), found);
    }
}

/// Every file below these folders of the source, by its name there, and its code without its tests.
fn code_below(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in folders {
        files_below(&place(folder), &mut files);
    }
    let is_code = |path: &PathBuf| {
        path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs")
    };
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let name = path.strip_prefix(source()).unwrap();
        let name = name.strip_prefix("core").unwrap_or(name).to_str().unwrap();
        (name.to_owned(), code.to_owned())
    };
    files.into_iter().filter(is_code).map(read).collect()
}

/// A conversion, index or range whose failure is taken for a number or for no bytes at all, or is passed over.
fn is_silent(line: &str, before: &str) -> bool {
    // What a type wraps is no look-up.
    let (line, before) = (line.replace(".get()", ""), before.replace(".get()", ""));
    let (line, before) = (line.trim(), before.trim());
    let looks_up = |text: &str| {
        ["try_from(", ".get(", ".get_mut("]
            .iter()
            .any(|call| text.contains(call))
    };
    let is_named = |rest: &str| {
        let name = rest.rsplit("::").next().unwrap_or(rest);
        let may_be = |c: char| c.is_ascii_uppercase() || c == '_';
        name != "MAX" && !name.is_empty() && name.chars().all(may_be)
    };
    // A constant says what is meant where there is nothing.
    let falls_back = line.contains("unwrap_or_default()")
        || line.split("unwrap_or(").skip(1).any(|rest| {
            let value = rest.split(')').next().unwrap_or(rest);
            !is_named(value)
        });
    if falls_back && (looks_up(line) || line.starts_with('.') && looks_up(before)) {
        return true;
    }
    // Two wrong ranges are equal, and what is to be changed is not.
    let compares =
        line.matches(".get(").count() == 2 && (line.contains("==") || line.contains("!="));
    let passes_over = line.starts_with("if let Some(") && line.contains(".get_mut(");
    compares || passes_over && !line.contains(".get_mut(&")
}

#[test]
fn a_wrong_index_is_an_error_where_bytes_are_read_written_or_compared() {
    let (mut silent, mut met) = (Vec::new(), vec![false; MEANT.len()]);
    for (file, code) in code_below(&CORE) {
        let lines: Vec<&str> = code.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let before = number.checked_sub(1).map_or("", |at| lines[at]);
            if !is_silent(line, before) {
                continue;
            }
            let is_meant =
                |(name, part, _): &(&str, &str, &str)| *name == file && line.contains(part);
            match MEANT.iter().position(is_meant) {
                Some(at) => met[at] = true,
                None => silent.push(format!("{file}:{}: {line}", number + 1)),
            }
        }
    }
    assert!(
        silent.is_empty(),
        "use `image::internal` or an error of the format instead:\n{}",
        silent.join("\n")
    );
    let gone: Vec<_> = MEANT.iter().zip(met).filter(|(_, met)| !met).collect();
    assert!(gone.is_empty(), "no longer there: {gone:?}");
}

#[test]
fn the_rule_knows_what_it_looks_for() {
    for silent in [
        "let at = usize::try_from(n).unwrap_or(usize::MAX);",
        "bytes.get(range).unwrap_or_default()",
        "if let Some(byte) = bytes.get_mut(at) {",
        "if old.get(range.clone()) == new.get(range) {",
        "out.write(zeros.get(..part).unwrap_or(&zeros))",
    ] {
        assert!(is_silent(silent, ""), "{silent}");
    }
    assert!(is_silent("    .unwrap_or(0)", "let raw = table.get(at)"));
    for sound in [
        "let share = idle.pop().unwrap_or_default();",
        "let raw = table.get(at).unwrap_or(L1Entry::UNMAPPED);",
        "if let Some(block) = self.blocks.get_mut(&index) {",
    ] {
        assert!(!is_silent(sound, ""), "{sound}");
    }
}

/// The code without what is said of it.
fn without_comments(code: &str) -> String {
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// What follows each `crate::` of a file: paths, and the heads of lists.
fn paths_from_crate(code: &str) -> Vec<String> {
    let code = without_comments(code);
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let path = |rest: &str| rest.split(|c| !is_part(c)).next().unwrap().to_owned();
    code.split("crate::").skip(1).map(path).collect()
}

fn room_of(name: &str) -> Option<usize> {
    ROOMS.iter().position(|rooms| rooms.contains(&name))
}

#[test]
fn no_room_uses_one_of_a_floor_above_or_beside_its_own() {
    let mut wrong = Vec::new();
    let all: Vec<&str> = ROOMS
        .iter()
        .flat_map(|rooms| rooms.iter().copied())
        .collect();
    let folders: Vec<String> = all.iter().map(|room| (*room).to_owned()).collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    for (file, code) in code_below(&folders) {
        let own = file.split('/').next().unwrap().trim_end_matches(".rs");
        let floor = room_of(own).unwrap();
        for path in paths_from_crate(&code) {
            let room = path.split("::").next().unwrap();
            let above = room_of(room).is_some_and(|at| at > floor || at == floor && room != own);
            if above {
                wrong.push(format!("{file}: crate::{path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "upward:\n{}", wrong.join("\n"));
}

/// The floor of each name that `image` hands out.
fn handed_out() -> Vec<(String, usize)> {
    let facade = fs::read_to_string(place("image/mod.rs")).unwrap();
    let mut names = Vec::new();
    for statement in without_comments(&facade).split("use ").skip(1) {
        let statement = statement.split(';').next().unwrap();
        let floor = statement.split("::").next().unwrap();
        let Some(floor) = FLOORS.iter().position(|name| *name == floor) else {
            continue;
        };
        let list = statement.rsplit("::").next().unwrap();
        let each = list.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        names.extend(
            each.filter(|name| !name.is_empty())
                .map(|name| (name.to_owned(), floor)),
        );
    }
    names
}

/// The names that a file takes from `image` itself, in lists and one by one.
fn taken_from_image(code: &str) -> Vec<String> {
    let code = without_comments(code);
    let mut names = Vec::new();
    for rest in code.split("crate::image::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap();
                names.extend(list.split(',').map(|name| name.trim().to_owned()));
            }
            None => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                names.push(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    names
}

#[test]
fn inside_the_image_floor_nothing_uses_what_is_above_it() {
    let handed = handed_out();
    assert!(
        handed.len() > 50,
        "the names that `image` hands out are not understood"
    );
    let mut wrong = Vec::new();
    for (file, code) in code_below(&["image"]) {
        let own = file.split('/').nth(1).unwrap();
        // What lies beside the floors stands on the lowest, but for the file that hands names out.
        let own = FLOORS.iter().position(|floor| *floor == own).unwrap_or(0);
        if file == "image/mod.rs" {
            continue;
        }
        for name in taken_from_image(&code) {
            let floor = FLOORS.iter().position(|floor| *floor == name);
            let floor = floor.or_else(|| {
                let found = handed.iter().find(|(handed, _)| *handed == name);
                found.map(|(_, floor)| *floor)
            });
            if floor > Some(own) {
                wrong.push(format!("{file}: {name}"));
            }
        }
        if code.contains("super::super::super::") {
            wrong.push(format!("{file}: names its way by `super`"));
        }
    }
    assert!(wrong.is_empty(), "upward:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_one_thing_is() {
    let mut long = Vec::new();
    for (file, code) in code_below(&["."]) {
        let name = file.trim_start_matches("./");
        let lines = code.lines().count();
        if lines > MOST_LINES {
            long.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(long.is_empty(), "part them:\n{}", long.join("\n"));
}

#[test]
fn no_sentence_below_the_faces_holds_a_command_line_of_ours() {
    let mut found = Vec::new();
    for room in ROOMS.iter().copied().flatten() {
        if matches!(*room, "cli" | "tui") {
            continue;
        }
        let mut files = Vec::new();
        files_below(&place(room), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for line in own
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
            {
                let is_one = ["`qanopy ", "`--", "(--"]
                    .iter()
                    .any(|sign| line.contains(sign));
                if is_one {
                    found.push(format!("{}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Terms of others, in which a folder is called a directory.
const DIRECTORIES: [&str; 6] = [
    "bitmap directory",
    "working directory",
    "home directory",
    "no such file or directory",
    "directory-dependent",
    // What the glossary and a search for it know.
    "directory",
];

#[test]
fn a_folder_is_called_one_thing_in_what_people_read() {
    let rooms: Vec<&str> = ROOMS.iter().copied().flatten().copied().collect();
    let mut found = Vec::new();
    for (name, code) in code_below(&rooms) {
        // Structures of filesystems are called as their specifications do, and kinds of files as POSIX does.
        if name.starts_with("guest/") || name.ends_with("cli/guest_image.rs") {
            continue;
        }
        // What is between quotes is every second part, as far as a line holds no quoted quote.
        let code = without_comments(&code);
        for text in code
            .lines()
            .flat_map(|line| line.split('"').skip(1).step_by(2))
        {
            let knows = ["tui/labels.rs", "tui/actions.rs"]
                .iter()
                .any(|file| name.ends_with(file));
            let terms = &DIRECTORIES[..DIRECTORIES.len() - usize::from(!knows)];
            let rest = terms
                .iter()
                .fold(text.to_owned(), |text, term| text.replace(term, ""));
            if rest.to_lowercase().contains("director") {
                found.push(format!("{name}: {text}"));
            }
        }
    }
    assert!(found.is_empty(), "write folder:\n{}", found.join("\n"));
}
