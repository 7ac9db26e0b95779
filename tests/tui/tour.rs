//! The tour, taken from its first task to its end: the program sees in the forest what was done.

use super::pty::Terminal;

/// A terminal that begins it, and the folder of its forests.
fn begin(size: (u16, u16)) -> (Terminal, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::open(&dir.path().join("vm"), &["demo", "--tour"], size);
    terminal.see("Tour 1 of 5");
    terminal.see("3 trees");
    (terminal, dir)
}

#[test]
fn the_tour_goes_on_with_what_was_done() {
    let (mut terminal, dir) = begin((100, 40));
    let exists = |name: &str| dir.path().join("vm/rootbase").join(name).exists();
    // What it is not about leads no further.
    terminal.press("3");
    terminal.see("1 layer, ");
    terminal.see("Tour 1 of 5");
    terminal.press("<esc>");
    terminal.go_to("Overlay-1C");
    terminal.press("b");
    terminal.see("Branch on Overlay-1C.qcow2");
    terminal.press("<enter>");
    terminal.see("Tour 2 of 5");
    assert!(exists("Overlay-1C-1.qcow2"));
    terminal.go_to("Overlay-1C-1");
    terminal.press("M");
    terminal.see("Move or rename Overlay-1C-1.qcow2");
    terminal.press(&"<backspace>".repeat(24));
    terminal.press("mine.qcow2<enter>");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("Tour 3 of 5");
    assert!(exists("mine.qcow2"));
    terminal.go_to("Overlay-3A");
    terminal.press("C");
    terminal.see("Type 1 to do it");
    terminal.press("1<enter>");
    terminal.see("Tour 4 of 5");
    assert!(!exists("Overlay-3A.qcow2"));
    terminal.go_to("Overlay-2A");
    terminal.press("X");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("Take that back");
    assert!(!exists("Overlay-2A.qcow2"));
    terminal.press("z");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("Tour 5 of 5");
    assert!(exists("Overlay-2A.qcow2"));
    terminal.go_to("centos-overlay-1");
    terminal.press("R");
    terminal.see("Cancel");
    terminal.press("y");
    terminal.see("That was the tour.");
    terminal.lose("Tour 5 of 5");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_tour_is_left_and_begun_again_and_is_only_about_the_sample_forests() {
    let (mut terminal, dir) = begin((80, 24));
    terminal.press("<esc>");
    terminal.lose("Tour 1 of 5");
    terminal.press("?");
    terminal.see("type to search");
    terminal.press("tour<enter>");
    terminal.see("Tour 1 of 5");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    let mut terminal = Terminal::open(&dir.path().join("vm"), &[], (80, 24));
    terminal.see("3 trees");
    terminal.press("?tour");
    terminal.see("qanopy demo --tour");
    terminal.press("<esc>q");
    assert_eq!(terminal.end(), 0);
}
