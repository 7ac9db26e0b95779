//! Every mode at every size.

use super::desk::{Desk, discard_of_three, forest, new_branch, refused_commit};

/// The keys that lead to each mode, and the plan that is answered there.
const MODES: [&str; 28] = [
    "",
    "D",
    "i",
    "3",
    "m",
    "6",
    "7",
    "?",
    "x",
    "y",
    "s",
    "S",
    "/a",
    "P",
    "T",
    "b",
    "B",
    "E",
    "V<down><down><down><down><down><down> <down>secret",
    "u<down> ",
    "  V",
    "K",
    "cL",
    "W",
    "b<up> <down><down><down>",
    "Z",
    "C",
    "X",
];

#[test]
fn nothing_panics_at_any_size() {
    for keys in MODES {
        for height in 0..=30 {
            for width in 0..=60 {
                // The mode is reached on a large screen; then the terminal shrinks.
                let mut desk = Desk::new(forest(), (120, 40));
                desk.go_to("Overlay-1.qcow2");
                desk.press(keys);
                match keys {
                    "b" => desk.answer(new_branch),
                    "C" => desk.answer(refused_commit),
                    "X" => desk.answer(discard_of_three),
                    _ => {}
                }
                desk.send(qanopy::tui::Msg::Resize(width, height));
                desk.buffer();
                desk.press("jkl");
                desk.buffer();
            }
        }
    }
}

#[test]
fn too_small_a_terminal_says_what_it_needs_and_understands_only_leaving() {
    let mut desk = Desk::new(forest(), (32, 6));
    assert_eq!(
        desk.screen().lines().next(),
        Some("needs 40x8, have 32x6 - q quits")
    );
    desk.press("XjbC");
    assert!(desk.asked.is_empty(), "{:?}", desk.asked);
    desk.press("q");
    assert!(matches!(desk.asked[..], [qanopy::tui::Effect::Quit]));
}
