//! Every mode at every size.

use super::app_harness::{AppHarness, discard_of_three, forest, new_branch, refused_commit};

/// The keys that lead to each mode, and the plan that is answered there.
const MODES: [&str; 35] = [
    "",
    "0D",
    "<c-o>",
    "/a?",
    "/state:lokced",
    "D",
    "i",
    "3",
    "m",
    "6",
    "7",
    "8",
    "8<tab><down>",
    "9",
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
                let mut harness = AppHarness::new(forest(), (120, 40));
                harness.go_to("Overlay-1.qcow2");
                harness.press(keys);
                match keys {
                    "b" => harness.answer(new_branch),
                    "C" => harness.answer(refused_commit),
                    "X" => harness.answer(discard_of_three),
                    _ => {}
                }
                harness.send(qanopy::tui::testing::Msg::Resize(width, height));
                harness.buffer();
                harness.press("jkl");
                harness.buffer();
            }
        }
    }
}

#[test]
fn too_small_a_terminal_says_what_it_needs_and_understands_only_leaving() {
    let mut harness = AppHarness::new(forest(), (32, 6));
    assert_eq!(
        harness.screen().lines().next(),
        Some("needs 40x8, have 32x6 - q quits")
    );
    harness.press("XjbC");
    assert!(harness.asked.is_empty(), "{:?}", harness.asked);
    harness.press("q");
    assert!(matches!(
        harness.asked[..],
        [qanopy::tui::testing::Effect::Quit]
    ));
}
