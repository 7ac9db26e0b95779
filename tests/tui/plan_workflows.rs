//! Journeys through plans at the three sizes, on real images, in a pseudo-terminal: the rows they concern, their
//! ways out, what takes them back.

use std::fs;
use std::path::Path;

use super::e2e::{demo, exists};
use super::pty::Terminal;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn open(dir: &Path, size: (u16, u16), sees: &str) -> Terminal {
    let terminal = Terminal::open(dir, &[], size);
    terminal.see(sees);
    terminal
}

/// Says yes as often as there is more to read.
fn agree(terminal: &mut Terminal, done: &str) {
    loop {
        terminal.press("y");
        terminal.until("an end, or more to read", |screen| {
            screen.contains(done) || screen.contains("There is more to read")
        });
        if terminal.screen().contains(done) {
            return;
        }
        // The next yes is no answer to what was said before.
        terminal.press("k");
        terminal.lose("There is more to read");
        terminal.press("j");
    }
}

#[test]
fn a_commit_that_others_forbid_is_merged_upward_instead() {
    for size in SIZES {
        let dir = demo();
        let root = dir.path().join("vm/rootbase");
        let mut terminal = open(&root, size, "9 images");
        let base = fs::read(root.join("RootBase.qcow2")).unwrap();
        let sibling = fs::read(root.join("Overlay-2.qcow2")).unwrap();
        terminal.go_to("Overlay-1.qcow2");
        terminal.press("C");
        terminal.see("refused");
        terminal.see("merge upward instead: squash");
        terminal.press("2");
        terminal.see("Squash Overlay-1.qcow2 up into what is built on it");
        agree(&mut terminal, "8 images");
        assert!(!exists(&dir, "Overlay-1.qcow2"));
        assert_eq!(fs::read(root.join("RootBase.qcow2")).unwrap(), base);
        assert_eq!(fs::read(root.join("Overlay-2.qcow2")).unwrap(), sibling);
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_leaf_that_may_not_be_committed_takes_in_what_its_base_holds() {
    for size in SIZES {
        let dir = demo();
        let root = dir.path().join("vm/rootbase");
        let mut terminal = open(&root, size, "9 images");
        terminal.go_to("Overlay-2A.qcow2");
        // Another one on the base of this one, which would lose what the commit overwrites.
        terminal.press("Ci");
        terminal.see("read RootBase.qcow2 as well");
        terminal.see("refused");
        terminal.press("2");
        terminal.see("Flatten Overlay-2A.qcow2");
        agree(&mut terminal, "✓");
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
        assert!(exists(&dir, "Overlay-2.qcow2"));
    }
}

#[test]
fn the_format_is_recorded_first_and_taken_back_again() {
    for size in SIZES {
        let dir = demo();
        let centos = dir.path().join("vm/centos");
        let mut terminal = open(&centos, size, "3 images");
        terminal.go_to("centos-overlay-1.qcow2");
        terminal.see("R records the format");
        terminal.press("C");
        terminal.see("refused");
        terminal.see("record the format");
        terminal.press("1");
        terminal.see("Relink centos-overlay-1.qcow2: record qcow2");
        terminal.see("undo");
        agree(&mut terminal, "✓");
        terminal.lose("R records the format");
        terminal.press("z");
        terminal.see("Undo: Relink centos-overlay-1.qcow2");
        agree(&mut terminal, "R records the format");
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_moved_base_is_proposed_recorded_and_taken_back() {
    for size in SIZES {
        let dir = demo();
        let root = dir.path().join("vm/rootbase");
        fs::create_dir(root.join("moved")).unwrap();
        fs::rename(
            root.join("RootBase.qcow2"),
            root.join("moved/RootBase.qcow2"),
        )
        .unwrap();
        let mut terminal = open(&root, size, "9 images");
        terminal.go_to("Overlay-3.qcow2");
        terminal.press("R");
        terminal.see("Relink Overlay-3.qcow2");
        terminal.see("[moved/RootBase.qcow2");
        terminal.press("<enter>");
        terminal.see("[ Relink ]");
        agree(&mut terminal, "✓");
        let misses_its_base = |screen: &str| {
            let mut lines = screen.lines();
            lines.any(|line| line.contains("● Overlay-3.qcow2") && line.contains("!M"))
        };
        terminal.until("the base to be found", |screen| !misses_its_base(screen));
        terminal.press("z");
        terminal.see("Undo: Relink Overlay-3.qcow2");
        terminal.see("[ Undo ]");
        agree(&mut terminal, "✓");
        terminal.until("the base to be missing", misses_its_base);
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_leaf_is_reverted_with_one_key_from_the_diagram_and_from_the_detail() {
    for size in SIZES {
        for from in ["D", "2\t"] {
            let dir = demo();
            let root = dir.path().join("vm/rootbase");
            let before = fs::read(root.join("Overlay-3A.qcow2")).unwrap();
            let mut terminal = open(&root, size, "9 images");
            terminal.go_to("Overlay-3A.qcow2");
            terminal.press(from);
            terminal.press("~");
            terminal.see("Revert Overlay-3A.qcow2");
            terminal.see("[ Revert ]");
            agree(&mut terminal, "starts anew");
            terminal.press("z");
            terminal.see("Undo: Revert Overlay-3A.qcow2");
            agree(&mut terminal, "has what it held before");
            assert!(fs::read(root.join("Overlay-3A.qcow2")).unwrap() == before);
            terminal.press("q");
            assert_eq!(terminal.end(), 0);
        }
    }
}

#[test]
fn all_that_goes_is_marked_on_the_screen_before_it_goes() {
    for size in SIZES {
        let dir = demo();
        let root = dir.path().join("vm/rootbase");
        let mut terminal = open(&root, size, "9 images");
        terminal.go_to("Overlay-1.qcow2");
        terminal.press("C");
        terminal.see("refused");
        for name in ["Overlay-1.qcow2", "Overlay-2.qcow2", "Overlay-3A.qcow2"] {
            let is_marked = |screen: &str| {
                let mut rows = screen.lines().take_while(|line| !line.contains("Commit"));
                rows.any(|row| row.contains(name) && row.contains(['✗', '!', '≈', '~']))
            };
            for _ in 0..9 {
                if is_marked(&terminal.screen()) {
                    break;
                }
                let before = super::pty::under_cursor(&terminal.screen());
                terminal.press(".");
                terminal.until("the cursor to move", |screen| {
                    super::pty::under_cursor(screen) != before
                });
            }
            assert!(
                is_marked(&terminal.screen()),
                "{name}:\n{}",
                terminal.screen()
            );
        }
        terminal.press("<esc>");
        terminal.see("Nothing was changed.");
        terminal.until("the cursor where it was", |screen| {
            super::pty::under_cursor(screen).contains("Overlay-1.qcow2")
        });
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}
