//! Rules for the source that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

/// What writes or compares the bytes of images: there a wrong index would become other bytes.
const WRITES_OR_COMPARES: [&str; 17] = [
    "amend.rs",
    "batch.rs",
    "compare.rs",
    "entries.rs",
    "header_file.rs",
    "keep",
    "l2_tables.rs",
    "new_counts",
    "new_counts.rs",
    "packed",
    "refcounts.rs",
    "rework.rs",
    "snapshots/change.rs",
    "target.rs",
    "transfer.rs",
    "tree.rs",
    "writer",
];

fn files_below(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.push(path.to_path_buf());
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        files_below(&entry.unwrap().path(), found);
    }
}

/// A conversion, index or range whose failure is taken for a number or for no bytes at all.
fn is_silent(line: &str, before: &str) -> bool {
    let falls_back = ["0", "u64::MAX", "usize::MAX", "u32::MAX"]
        .iter()
        .any(|number| line.contains(&format!("unwrap_or({number})")))
        || line.contains("unwrap_or_default()");
    let looks_up = |text: &str| {
        ["try_from(", ".get(", ".get_mut("]
            .iter()
            .any(|call| text.contains(call))
    };
    falls_back && (looks_up(line) || line.trim().starts_with('.') && looks_up(before))
}

#[test]
fn a_wrong_index_is_an_error_where_bytes_are_written_or_compared() {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/image");
    let mut files = Vec::new();
    for name in WRITES_OR_COMPARES {
        files_below(&image.join(name), &mut files);
    }
    let mut silent = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines: Vec<&str> = code.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let before = number.checked_sub(1).map_or("", |at| lines[at]);
            if is_silent(line, before) {
                silent.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(
        silent.is_empty(),
        "use `image::internal` instead:\n{}",
        silent.join("\n")
    );
}

#[test]
fn the_rule_knows_what_it_looks_for() {
    assert!(is_silent(
        "let at = usize::try_from(n).unwrap_or(usize::MAX);",
        ""
    ));
    assert!(is_silent("bytes.get(range).unwrap_or_default()", ""));
    assert!(is_silent("    .unwrap_or(0)", "let raw = table.get(at)"));
    assert!(!is_silent(
        "let share = idle.pop().unwrap_or_default();",
        ""
    ));
}
