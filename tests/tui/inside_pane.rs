//! What the detail pane tells of the inside of an image: what its bytes are for.

use std::path::PathBuf;

use qanopy::guest::explain::Explained;
use qanopy::tui::testing::{Effect, FilesAnswer, FilesQuery, Msg};

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
