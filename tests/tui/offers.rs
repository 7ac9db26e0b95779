//! What the screen offers beside actions: the filter, help, messages, the log, the mouse, what has the focus.

use qanopy::tui::testing::{Effect, MouseEvent, Msg, Theme};

use super::app_harness::{AppHarness, forest, possible_commit, qcow2};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn harness() -> AppHarness {
    AppHarness::new(forest(), (100, 40))
}

/// The column and the row of the screen at which this text stands first.
fn place(harness: &AppHarness, what: &str) -> (u16, u16) {
    let screen = harness.screen();
    for (y, line) in screen.lines().enumerate() {
        if let Some(at) = line.find(what) {
            let x = line[..at].chars().count();
            return (u16::try_from(x).unwrap(), u16::try_from(y).unwrap());
        }
    }
    panic!("no {what:?} in\n{screen}");
}

fn click(harness: &mut AppHarness, what: &str) {
    let (x, y) = place(harness, what);
    harness.send(Msg::Mouse(MouseEvent::Press, x, y));
}

#[test]
fn a_filter_looks_at_the_path_that_is_shown_and_goes_to_the_first_hit() {
    let images = vec![
        qcow2("a/one.qcow2", 1 << 20, 60),
        qcow2("b/one.qcow2", 1 << 20, 60),
        qcow2("b/two.qcow2", 1 << 20, 60),
    ];
    let mut harness = AppHarness::new(images, (100, 40));
    harness.press("/b/t");
    assert_eq!(harness.at(), "two.qcow2");
    assert!(harness.screen().contains("1 of 3"), "{}", harness.screen());
    // The folder that is looked at is no part of what is shown.
    harness.press("<backspace><backspace><backspace>vm");
    assert!(harness.screen().contains("0 of 3"), "{}", harness.screen());
}

#[test]
fn the_name_of_a_missing_base_is_found_as_it_is_recorded() {
    let mut harness = harness();
    harness.press("/../old");
    let screen = harness.screen();
    assert!(screen.contains("(missing) ../old/base.qcow2"), "{screen}");
    assert!(screen.contains("1 of 11"), "{screen}");
}

#[test]
fn a_filter_that_is_dropped_leaves_the_cursor_where_it_was() {
    let mut harness = harness();
    harness.go_to("Overlay-2A.qcow2");
    harness.press("/golden");
    assert_eq!(harness.at(), "golden-win.qcow2");
    harness.press("<esc>");
    assert_eq!(harness.at(), "Overlay-2A.qcow2");
    harness.press("/golden<enter>");
    assert_eq!(harness.at(), "golden-win.qcow2");
}

#[test]
fn the_words_for_in_use_find_the_same_images() {
    let found = |line: &str| {
        let mut harness = harness();
        harness.press(line);
        let rows = harness.ui.app.tree.rows.hits.clone();
        rows.len()
    };
    assert!(found("/state:in-use") > 0);
    assert_eq!(found("/state:locked"), found("/state:in-use"));
    assert_eq!(found("/>1.5G"), found("/size>1.5G"));
}

#[test]
fn a_state_that_does_not_exist_is_answered_with_those_that_do() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.press("/state:lokced");
        let screen = harness.screen();
        assert!(screen.contains("No state is called lokced"), "{screen}");
        assert!(screen.contains("in-use"), "{screen}");
        assert!(screen.contains("/state:lokced"), "{screen}");
    }
}

#[test]
fn the_terms_of_a_filter_are_explained_and_put_into_the_line() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.press("/Over?");
        let screen = harness.screen();
        assert!(screen.contains("size>1.5G"), "{screen}");
        assert!(screen.contains("a process has it open"), "{screen}");
        harness.press("in-use<enter>");
        assert_eq!(harness.ui.app.tree.filter.value(), "Over state:in-use");
        harness.press("<enter>");
        assert_eq!(harness.at(), "Overlay-1.qcow2");
    }
}

#[test]
fn help_begins_with_what_can_be_done_with_the_image_and_ends_with_words_and_signs() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.go_to("Overlay-2A.qcow2");
        harness.press("?");
        let screen = harness.screen();
        assert!(screen.contains("Help for Overlay-2A.qcow2"), "{screen}");
        let is_first = |line: &str| line.contains("▌b ") && line.contains("branch - ");
        assert!(screen.lines().any(is_first), "{screen}");
        for (word, meaning) in [
            ("frozen", "writing would damage them"),
            ("in use", "or an image built on it"),
            ("overlay", "it holds what was written since"),
            ("(Active)", "the only layer of its chain"),
        ] {
            harness.press("<esc>?");
            harness.press(word);
            assert!(harness.screen().contains(meaning), "{}", harness.screen());
        }
    }
}

#[test]
fn signs_are_explained_as_this_terminal_shows_them() {
    let mut harness = AppHarness::with(forest(), (100, 40), |settings| settings.ascii = true);
    harness.press("?frozen");
    let screen = harness.screen();
    assert!(screen.contains("* frozen"), "{screen}");
    assert!(screen.is_ascii(), "{screen}");
}

#[test]
fn a_message_ends_in_a_sign_where_it_is_cut_and_no_list_hides_it() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.press("x");
        let text = format!("/vm/Overlay-1.qcow2 {}", "is not what it was ".repeat(60));
        harness.send(Msg::Tell(text));
        let screen = harness.screen();
        assert!(
            screen.contains(" Overlay-1.qcow2 is not"),
            "a name, not a path: {screen}"
        );
        let mut lines = screen.lines();
        assert!(
            lines.any(|line| line.contains("not what it was") && line.ends_with('…')),
            "{screen}"
        );
        assert!(screen.contains("Actions for"), "{screen}");
    }
}

#[test]
fn the_log_has_headings_and_clock_times_and_can_be_copied() {
    for size in SIZES {
        let mut harness = AppHarness::with(forest(), size, |settings| {
            settings.utc_offset = 2 * 3600;
        });
        harness.go_to("Overlay-1B.qcow2");
        harness.press("C");
        harness.answer(possible_commit);
        harness.press("yL");
        let screen = harness.screen();
        assert!(screen.contains("time     job   what happened"), "{screen}");
        assert!(screen.contains("10:00:00   1"), "{screen}");
        harness.press("y");
        let copied = harness.asked.iter().rev().find_map(|effect| match effect {
            Effect::Copy(text) => Some(text.clone()),
            _ => None,
        });
        let copied = copied.expect("something was copied");
        assert!(copied.starts_with("10:00:00 job 1 "), "{copied}");
        let screen = harness.screen();
        assert!(screen.contains("Copied: 10:00:00 job 1"), "{screen}");
    }
}

#[test]
fn what_was_copied_is_told() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("yp");
    let screen = harness.screen();
    assert!(screen.contains("Copied: /vm/Overlay-1B.qcow2"), "{screen}");
    harness.press("yc");
    let screen = harness.screen();
    assert!(screen.contains("(and 2 more lines)"), "{screen}");
}

#[test]
fn jobs_that_are_not_seen_are_counted() {
    for (size, hidden) in [((80, 24), "+3 more: J"), ((120, 40), "+2 more: J")] {
        let mut harness = AppHarness::new(forest(), size);
        for name in ["Overlay-1B", "Overlay-2A", "Overlay-2B", "golden-win"] {
            harness.go_to(&format!("{name}.qcow2"));
            harness.press("c");
        }
        let screen = harness.screen();
        assert!(screen.contains(hidden), "{screen}");
        assert!(screen.contains("Overlay-1B"), "the first is seen: {screen}");
    }
}

#[test]
fn tabs_hints_and_entries_are_pressed_with_the_mouse() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.go_to("Overlay-1B.qcow2");
        click(&mut harness, "6 Health");
        assert!(
            harness.screen().contains("[6 Health]"),
            "{}",
            harness.screen()
        );
        click(&mut harness, "x actions");
        assert!(
            harness.screen().contains("Actions for"),
            "{}",
            harness.screen()
        );
        let entry = "flatten - into";
        click(&mut harness, entry);
        let at = |harness: &AppHarness| {
            let screen = harness.screen();
            let line = screen.lines().find(|line| line.contains(entry));
            line.is_some_and(|line| line.contains('▌'))
        };
        assert!(at(&harness), "{}", harness.screen());
        click(&mut harness, entry);
        assert!(harness.screen().contains("Flatten"), "{}", harness.screen());
        harness.press("<esc>x");
        click(&mut harness, "Esc close");
        assert!(
            !harness.screen().contains("Actions for"),
            "{}",
            harness.screen()
        );
    }
}

#[test]
fn the_mouse_cancels_a_plan_and_never_agrees_to_one() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.go_to("Overlay-1B.qcow2");
        harness.press("C");
        harness.answer(possible_commit);
        click(&mut harness, "[ Commit ]");
        click(&mut harness, "y commit");
        assert_eq!(harness.started(), 0);
        assert!(
            harness.screen().contains("[ Cancel ]"),
            "{}",
            harness.screen()
        );
        click(&mut harness, "[ Cancel ]");
        let screen = harness.screen();
        assert!(!screen.contains("[ Cancel ]"), "{screen}");
        assert!(screen.contains("Nothing was changed."), "{screen}");
    }
}

#[test]
fn the_wheel_scrolls_what_is_below_the_pointer() {
    let mut harness = AppHarness::new(forest(), (200, 60));
    harness.go_to("RootBase.qcow2");
    let before = harness.ui.app.tree.cursor;
    harness.send(Msg::Mouse(MouseEvent::WheelDown, 10, 30));
    assert!(harness.ui.app.tree.cursor > before);
    let images: Vec<_> = (1..80)
        .map(|i| qcow2(&format!("{i:02}.qcow2"), 1 << 20, 60).on(&format!("{:02}.qcow2", i - 1)))
        .collect();
    let mut harness = AppHarness::new(images, (200, 60));
    harness.go_to("79.qcow2");
    let (tab, cursor) = (harness.ui.app.detail.tab, harness.ui.app.tree.cursor);
    assert!(
        harness.screen().contains("○ 79.qcow2 "),
        "{}",
        harness.screen()
    );
    let (x, y) = place(&harness, "reads through");
    harness.send(Msg::Mouse(MouseEvent::WheelDown, x, y));
    let line = harness.screen().lines().nth(2).unwrap().to_owned();
    let chain: String = line.chars().skip(usize::from(x) - 3).collect();
    assert!(
        !chain.contains("79.qcow2"),
        "the chain was scrolled: {line}"
    );
    assert_eq!(
        (harness.ui.app.detail.tab, harness.ui.app.tree.cursor),
        (tab, cursor)
    );
}

#[test]
fn what_has_the_focus_is_told_by_signs_alone() {
    for size in SIZES {
        for ascii in [false, true] {
            let mut harness = AppHarness::with(forest(), size, |settings| {
                settings.ascii = ascii;
                settings.theme = Theme::plain();
            });
            let (pane, row) = if ascii { (">", ">") } else { ("»", "▌") };
            assert!(harness.screen().contains(&format!("{pane} 1 Images")));
            harness.press("i");
            let screen = harness.screen();
            assert!(!screen.contains(&format!("{pane} 1 Images")), "{screen}");
            assert!(screen.contains(pane), "{screen}");
            harness.press("?");
            let screen = harness.screen();
            let is_at = |line: &&str| line.contains(row) && line.contains(" - ");
            assert!(screen.lines().any(|line| is_at(&line)), "{screen}");
            harness.press("<esc>1");
            harness.go_to("lost.qcow2");
            harness.press("6");
            assert!(
                harness.screen().contains(&format!("{row}!")),
                "{}",
                harness.screen()
            );
            harness.press("1");
            harness.go_to("Overlay-1B.qcow2");
            harness.press("b");
            assert!(
                harness.screen().contains(&format!("{row}name")),
                "{}",
                harness.screen()
            );
            harness.press("<esc>C");
            harness.answer(possible_commit);
            let cancel = format!("{row}[ Cancel ]");
            assert!(harness.screen().contains(&cancel), "{}", harness.screen());
            harness.press("<tab>");
            assert!(
                harness.screen().contains(&format!("{row}[ Commit ]")),
                "{}",
                harness.screen()
            );
            assert!(!harness.screen().contains(&cancel));
        }
    }
}
