//! What the detail pane tells of the inside of an image: the files that differ as folders, one of them compared, and
//! what its bytes are for.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use qanopy::guest::diff::{Change, ChangeKind, VolumeDiff, VolumeState};
use qanopy::guest::disk::VolumeName;
use qanopy::guest::explain::Explained;
use qanopy::guest::filesystem::{Node, NodeId, NodeKind};
use qanopy::image::Format;
use qanopy::inside::LineKind;
use qanopy::tui::testing::{
    Answer, Changes, Compared, ComparedWith, Comparison, Effect, FilesAnswer, FilesQuery, Msg,
    Question, Shown, Trouble, Work,
};

use super::app_harness::{AppHarness, forest};
use super::files::guest_dir;
use super::pty::Terminal;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// The newest question about the files of an image.
fn asked(harness: &AppHarness) -> FilesQuery {
    let mut effects = harness.asked.iter().rev();
    let found = effects.find_map(|effect| match effect {
        Effect::Files(query) => Some(query.clone()),
        _ => None,
    });
    found.expect("something was asked")
}

fn sees(harness: &AppHarness, words: &[&str]) {
    let screen = harness.screen();
    for word in words {
        assert!(screen.contains(word), "no {word:?}: {screen}");
    }
}

const MIB: u64 = 1 << 20;

fn explained() -> Explained {
    Explained {
        file_data: 600 * MIB,
        metadata: 30 * MIB,
        journal: 128 * MIB,
        free: 1200 * MIB,
        swap: 0,
        outside: MIB,
        unread: 0,
    }
}

#[test]
fn what_the_bytes_of_an_image_are_for_is_told_step_by_step() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-1B.qcow2");
    harness.press("$");
    let query = asked(&harness);
    assert!(matches!(query, FilesQuery::Explain(..)), "{query:?}");
    assert_eq!(query.image(), PathBuf::from("/vm/Overlay-1B.qcow2"));
    sees(&harness, &["[$ Explain]", "Reading its tables."]);
    harness.send(Msg::Files(query.clone(), FilesAnswer::Bytes(1959 * MIB)));
    sees(&harness, &["It stores 1.9 GiB itself. Looking what for."]);
    harness.send(Msg::Files(
        query.clone(),
        FilesAnswer::Explained(explained()),
    ));
    sees(
        &harness,
        &[
            "1.2 GiB  61%  deleted, not given back by the guest",
            "600 MiB  30%  files",
            "128 MiB   6%  journals",
        ],
    );
    assert!(!harness.screen().contains("swap"), "{}", harness.screen());
    // What is told of another image is not for this one.
    harness.press("1k");
    sees(&harness, &["Reading its tables."]);
    harness.send(Msg::Files(query, FilesAnswer::Explained(explained())));
    assert!(!harness.screen().contains("600 MiB  30%"));
}

#[test]
fn what_gives_bytes_back_is_named_with_its_key() {
    let mut harness = AppHarness::new(forest(), (120, 40));
    harness.go_to("Overlay-1B.qcow2");
    harness.press("$");
    let query = asked(&harness);
    harness.send(Msg::Files(query, FilesAnswer::Explained(explained())));
    sees(&harness, &["1.2 GiB of deleted", "8 measures what squash"]);
}

#[test]
fn what_bytes_are_for_looks_so() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.go_to("Overlay-1B.qcow2");
        harness.press("$");
        let query = asked(&harness);
        harness.send(Msg::Files(query, FilesAnswer::Explained(explained())));
        let (width, height) = size;
        insta::assert_snapshot!(format!("explain-{width}x{height}"), harness.picture());
    }
}

#[test]
fn a_layer_of_a_real_disk_is_explained_on_the_screen() {
    let Some(dir) = guest_dir() else { return };
    for size in SIZES {
        let mut terminal = Terminal::open(dir.path(), &[], size);
        terminal.see("3 images");
        terminal.go_to("top.qcow2");
        terminal.press("$");
        terminal.see("It stores 256 KiB itself, for:");
        terminal.see("metadata of");
        terminal.press("1k");
        terminal.see("It stores nothing itself");
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

fn change(kind: ChangeKind, path: &str, bytes: u64) -> Change {
    let node = Node {
        id: NodeId::new(7),
        kind: NodeKind::File,
        size: bytes,
        allocated: bytes,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        links: 1,
        modified: None,
        changed: None,
        generation: 0,
        digest: 0,
    };
    let is_gone = kind == ChangeKind::Deleted;
    Change {
        kind,
        path: path.as_bytes().to_vec(),
        from: None,
        snapshot_of: None,
        content: kind != ChangeKind::Metadata,
        before: Some(node.clone()).filter(|_| kind != ChangeKind::Added),
        after: Some(node).filter(|_| !is_gone),
        bytes,
    }
}

fn some_changes() -> Vec<Change> {
    vec![
        change(ChangeKind::Modified, "etc/fstab", 14),
        change(ChangeKind::Metadata, "etc/hostname", 0),
        change(ChangeKind::Added, "home/anna/evil\u{1b}[2J", 500),
        change(ChangeKind::Added, "home/anna/thesis.odt", 30_000),
        change(ChangeKind::Deleted, "home/anna/old", 10),
        change(ChangeKind::Replaced, "var/log/messages", 8),
    ]
}

fn many_changes(count: u64) -> Vec<Change> {
    let path = |n: u64| format!("usr/lib/{:02}/{n:05}", n % 50);
    (0..count)
        .map(|n| change(ChangeKind::Added, &path(n), n))
        .collect()
}

fn told(changes: Vec<Change>) -> FilesAnswer {
    let volume = VolumeDiff {
        name: VolumeName::Partition(2),
        kind: "ext4".to_owned(),
        state: VolumeState::Compared,
        changed_bytes: 256 << 10,
        changes,
    };
    FilesAnswer::Changes(Arc::new(Changes::new(256 << 10, vec![volume])))
}

/// The files that Overlay-1B differs in.
fn with_changes(size: (u16, u16), changes: Vec<Change>) -> AppHarness {
    let mut harness = AppHarness::new(forest(), size);
    harness.go_to("Overlay-1B.qcow2");
    harness.press("4");
    let query = asked(&harness);
    harness.send(Msg::Files(query, told(changes)));
    harness
}

#[test]
fn files_that_differ_are_folders_that_fold() {
    let mut harness = with_changes((120, 40), some_changes());
    sees(
        &harness,
        &[
            "2 added, 1 modified, 1 only metadata, 1",
            "1 log, cached or temporary file is hidden (;).",
            "29.8 KiB  ▾ home/anna/ (3)",
            "A  29.3 KiB      thesis.odt",
            "evil\\u{1b}[2J",
            "m                hostname",
            "Enter opens or compares",
        ],
    );
    // The first row is a folder.
    harness.press("<enter>");
    sees(&harness, &["29.8 KiB  ▸ home/anna/ (3)"]);
    assert!(!harness.screen().contains("thesis.odt"));
    harness.press("<right><right>");
    sees(&harness, &["▌A  29.3 KiB      thesis.odt"]);
    harness.press("<left><left>");
    sees(&harness, &["▌   29.8 KiB  ▸ home/anna/ (3)"]);
    // Folds and the cursor stay while what is compared is the same.
    harness.press("r");
    harness.press("ij");
    harness.press("4");
    let query = asked(&harness);
    harness.send(Msg::Files(query, told(some_changes())));
    sees(&harness, &["▌   29.8 KiB  ▸ home/anna/ (3)"]);
    harness.press(";");
    sees(&harness, &["▾ var/log/ (1)", "is among them"]);
    // Further out there is the pane before.
    harness.press("<left>");
    sees(&harness, &["[3 Chain]"]);
}

#[test]
fn of_ten_thousand_files_the_folders_are_told_and_nothing_is_built_while_moving() {
    let mut harness = with_changes((80, 24), many_changes(10_000));
    sees(&harness, &["10,000 added.", "▸ usr/lib/ (10,000)"]);
    assert_eq!(harness.ui.app.detail.files.rows.len(), 1);
    harness.press("l");
    assert_eq!(harness.ui.app.detail.files.rows.len(), 51);
    harness.press("jlj");
    assert_eq!(harness.ui.app.detail.files.rows.len(), 251);
    // What changed most comes first.
    sees(&harness, &["A   9.8 KiB        09999"]);
    let rows = |harness: &AppHarness| harness.ui.app.detail.files.rows.as_ptr();
    let before = rows(&harness);
    harness.press("jjjj<pgdn><pgdn>Gkkg<down><up>");
    assert_eq!(rows(&harness), before);
    harness.press("G");
    sees(&harness, &["▌"]);
}

#[test]
fn files_that_differ_look_so() {
    for size in SIZES {
        let mut harness = with_changes(size, some_changes());
        harness.press("jj");
        let (width, height) = size;
        insta::assert_snapshot!(format!("changes-{width}x{height}"), harness.picture());
    }
}

/// The newest question of the browser.
fn compared(harness: &AppHarness) -> (u64, Comparison) {
    let mut effects = harness.asked.iter().rev();
    let found = effects.find_map(|effect| match effect {
        Effect::Browse(query_id, Question::Compare(what)) => Some((*query_id, what.clone())),
        _ => None,
    });
    found.expect("a file is compared")
}

fn lines(comparison: &Comparison) -> Compared {
    let older = Shown {
        image: "/vm/Overlay-1.qcow2".into(),
        format: Some(Format::Qcow2),
        snapshot: None,
    };
    let mut lines = vec![
        (LineKind::Word, "size      10 B -> 14 B".to_owned()),
        (
            LineKind::Head,
            "--- Overlay-1.qcow2:p2:/etc/fstab".to_owned(),
        ),
        (LineKind::Removed, "-old table".to_owned()),
        (LineKind::Added, "+the new table".to_owned()),
    ];
    lines.extend((0..100).map(|n| (LineKind::Both, format!(" line {n}"))));
    Compared {
        older: Some((older, comparison.spot.clone())),
        newer: Some((comparison.newer.clone(), comparison.spot.clone())),
        names: ["Overlay-1.qcow2".to_owned(), "Overlay-1B.qcow2".to_owned()],
        lines,
    }
}

#[test]
fn a_file_that_differs_is_compared_and_either_side_copied_out() {
    let mut harness = with_changes((80, 24), some_changes());
    // home/anna with three files, then etc with fstab.
    harness.press("jjjjj<enter>");
    let (query_id, comparison) = compared(&harness);
    assert_eq!(
        comparison.newer.image,
        PathBuf::from("/vm/Overlay-1B.qcow2")
    );
    assert_eq!(comparison.older, ComparedWith::Base);
    assert_eq!(comparison.spot.shown(), "p2:/etc/fstab");
    sees(&harness, &["Comparing it."]);
    let answer = Answer::Compared(Box::new(lines(&comparison)));
    harness.send(Msg::Browsed(query_id, Box::new(Ok(answer))));
    sees(
        &harness,
        &[
            "Diff of p2:/etc/fstab: Overlay-1.qcow2 and Overlay-1B.qcow2",
            "size      10 B -> 14 B",
            "-old table",
            "+the new table",
            "e extract",
            "o extract older",
        ],
    );
    harness.press("G");
    sees(&harness, &["line 99"]);
    harness.press("o");
    sees(&harness, &["Extract p2:/etc/fstab"]);
    harness.asked.clear();
    harness.press("<enter>");
    let started = harness.asked.iter().find_map(|effect| match effect {
        Effect::Run {
            work: Work::Extract(what),
            ..
        } => Some(what.of.image.clone()),
        _ => None,
    });
    assert_eq!(started, Some(PathBuf::from("/vm/Overlay-1.qcow2")));
    harness.press("<esc>");
    assert!(harness.ui.dialogs.is_empty());
    sees(&harness, &["[4 Diff]"]);
}

#[test]
fn a_passphrase_that_was_missing_begins_the_comparison_anew() {
    let mut harness = with_changes((80, 24), some_changes());
    harness.press("j<enter>");
    let (query_id, first) = compared(&harness);
    let image = PathBuf::from("/vm/Overlay-1B.qcow2");
    let locked = Trouble::Locked(image, "its passphrase is missing".to_owned());
    harness.send(Msg::Browsed(query_id, Box::new(Err(locked))));
    sees(&harness, &["Passphrase of Overlay-1B.qcow2"]);
    harness.asked.clear();
    harness.press("sesame<enter>");
    assert_eq!(compared(&harness).1, first);
}

#[test]
fn a_real_file_is_compared_on_the_screen() {
    for size in SIZES {
        let Some(dir) = guest_dir() else { return };
        let mut terminal = Terminal::open(dir.path(), &[], size);
        terminal.see("3 images");
        terminal.go_to("top.qcow2");
        terminal.press("4");
        terminal.see("home/anna/ (2)");
        // The folder home/anna with its two files, then etc.
        terminal.press("jjj");
        terminal.until("the cursor on etc", |screen| {
            screen
                .lines()
                .any(|line| line.contains('▌') && line.contains("etc/"))
        });
        terminal.press("j<enter>");
        terminal.see("-old table");
        terminal.see("+the new table");
        terminal.press("o");
        terminal.see("Extract disk:/etc/fstab");
        let copies = dir.path().join("copies");
        terminal.press(&format!("\x15{}<enter>", copies.display()));
        terminal.see("1 file, 10 B copied to");
        assert_eq!(fs::read(copies.join("fstab")).unwrap(), b"old table\n");
        terminal.press("<esc>");
        // The same from among the files, against the layer below.
        terminal.press("19");
        terminal.see("ext4 \"system\"");
        terminal.press("<enter>");
        terminal.see("lost+found/");
        terminal.press("<enter>");
        terminal.see("os-release");
        terminal.press("jd");
        terminal.see("Diff of disk:/etc/hostname: middle.qcow2 and top.qcow2");
        terminal.see("-rw-r--r-- -> -rw-------");
        terminal.press("qq");
        assert_eq!(terminal.end(), 0);
    }
}
