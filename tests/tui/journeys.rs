//! What the screen itself offers, in a pseudo-terminal, on a small, a middling and a large terminal.

use super::e2e::demo;
use super::pty::{Terminal, under_cursor};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// Opens the demo's first forest in a terminal of each size.
fn at_each_size(journey: impl Fn(&mut Terminal, (u16, u16))) {
    for size in SIZES {
        let dir = demo();
        let mut terminal = Terminal::open(&dir.path().join("vm/rootbase"), &[], size);
        terminal.see("1 tree · 9 images");
        journey(&mut terminal, size);
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

/// The line of the screen that holds this.
fn line_with(screen: &str, what: &str) -> String {
    let line = screen.lines().find(|line| line.contains(what));
    line.unwrap_or_else(|| panic!("no {what:?} in\n{screen}"))
        .to_owned()
}

#[test]
fn every_size_tells_what_may_be_written_and_names_the_panes() {
    at_each_size(|terminal, (width, _)| {
        let screen = terminal.screen();
        assert!(line_with(&screen, "○ Overlay-1C.qcow2").contains("(Active)"));
        assert!(line_with(&screen, "● RootBase.qcow2").contains("frozen"));
        for pane in [
            "2 Info",
            "Chain",
            "4 Diff",
            "5 Map",
            "6 Health",
            "7 Snapshots",
        ] {
            assert!(screen.contains(pane), "{width}: {pane}\n{screen}");
        }
    });
}

#[test]
fn the_images_get_the_whole_width_in_both_pictures() {
    at_each_size(|terminal, (width, _)| {
        terminal.press("0");
        terminal.lose("2 Info");
        let edge = line_with(&terminal.screen(), "1 Images");
        assert_eq!(edge.chars().count(), usize::from(width), "{edge}");
        terminal.press("D");
        terminal.see("1 Diagram");
        let edge = line_with(&terminal.screen(), "1 Diagram");
        assert_eq!(edge.chars().count(), usize::from(width), "{edge}");
        terminal.press("i");
        terminal.see("2 Info");
        terminal.press("<esc>D0");
        terminal.lose("2 Info");
    });
}

#[test]
fn a_filter_finds_paths_explains_itself_and_goes_to_its_first_hit() {
    at_each_size(|terminal, _| {
        terminal.press("/2a");
        terminal.until("the cursor on the first hit", |screen| {
            under_cursor(screen).contains("Overlay-2A")
        });
        terminal.press("?");
        terminal.see("less than that on disk");
        terminal.press("<esc>");
        terminal.lose("less than that on disk");
        terminal.press(" state:lokced");
        terminal.see("No state is called lokced");
        terminal.press("<esc>");
        terminal.lose("No state is called lokced");
    });
}

#[test]
fn help_begins_with_the_image_and_has_a_glossary() {
    at_each_size(|terminal, _| {
        terminal.go_to("Overlay-3A");
        terminal.press("?");
        terminal.see("Help for Overlay-3A.qcow2");
        terminal.see("▌b ");
        terminal.press("overlay");
        terminal.see("built on a base");
        terminal.press("<esc>");
    });
}

#[test]
fn the_mouse_presses_tabs_hints_and_entries() {
    at_each_size(|terminal, _| {
        terminal.click("6 Health");
        terminal.see("[6 Health]");
        terminal.click("x actions");
        terminal.see("Actions for");
        terminal.click("rebase - ");
        terminal.until("the cursor on the entry", |screen| {
            let mut lines = screen.lines();
            lines.any(|line| line.contains("▌B") && line.contains("rebase - "))
        });
        terminal.click("Esc close");
        terminal.lose("Actions for");
    });
}

#[test]
fn another_folder_is_opened_added_and_found_again() {
    for size in SIZES {
        let dir = demo();
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let mut terminal = Terminal::open(&empty, &[], size);
        terminal.see("Ctrl-o opens another folder");
        terminal.press("<c-o>");
        terminal.see("Open another folder");
        terminal.press("../vm/rootb\t");
        terminal.see("vm/rootbase/");
        terminal.press("<enter>");
        terminal.see("1 tree · 9 images");
        terminal.press("<c-o>");
        terminal.see("/empty");
        terminal.press("nowhere<enter>");
        terminal.see("no such file or directory");
        terminal.see("1 tree · 9 images");
        terminal.press("<c-o>empty<down>");
        terminal.see("▌");
        terminal.press("<c-o>");
        terminal.lose("Open another folder");
        terminal.until("both folders", |screen| {
            let first = screen.lines().next().unwrap_or_default();
            first.contains("empty") && screen.contains("9 images")
        });
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

/// What a terminal says of a ground, and what it is.
const ON_LIGHT: &str = "\u{1b}]11;rgb:ffff/ffff/ffff\u{1b}\\\u{1b}[?62;22c";

/// The red, green and blue of the first letter of the header's bar.
fn colour_of_header(terminal: &Terminal) -> vt100::Color {
    terminal.look(|screen| screen.cell(0, 1).unwrap().fgcolor())
}

#[test]
fn the_ground_that_the_terminal_tells_chooses_the_colours() {
    let colours = [("COLORTERM", "truecolor")];
    for size in SIZES {
        let dir = demo();
        let folder = dir.path().join("vm/rootbase");
        let mut silent = Terminal::open_with(&folder, &colours, size);
        silent.see("9 images");
        let mut light = Terminal::open_with(&folder, &colours, size);
        // The answer is there before the question; keys that are typed early are keys.
        light.press(&format!("{ON_LIGHT}/2a"));
        light.see("1 of 9");
        assert_eq!(colour_of_header(&silent), vt100::Color::Default);
        assert!(matches!(colour_of_header(&light), vt100::Color::Rgb(..)));
        // An answer that comes late is no key.
        for _ in 0..3 {
            silent.press(ON_LIGHT);
        }
        silent.press("/3a");
        silent.see("1 of 9");
        assert!(silent.screen().contains("/3a"));
        for mut terminal in [silent, light] {
            terminal.press("<enter>q");
            assert_eq!(terminal.end(), 0);
        }
    }
    let dir = demo();
    let env = [colours[0], ("NO_COLOR", "1")];
    let plain = Terminal::open_with(&dir.path().join("vm/rootbase"), &env, (80, 24));
    plain.see("9 images");
    assert!(!plain.bytes().windows(5).any(|bytes| bytes == b"\x1b]11;"));
}

#[test]
fn line_drawing_stays_where_the_terminal_shows_signs_in_one_cell() {
    let chinese = [("LC_ALL", "zh_CN.UTF-8")];
    for size in SIZES {
        let dir = demo();
        let folder = dir.path().join("vm/rootbase");
        for (answer, frame) in [("\u{1b}[1;24R", "┌"), ("\u{1b}[1;37R", "+"), ("", "+")] {
            let mut terminal = Terminal::open_with(&folder, &chinese, size);
            terminal.press(&format!("{answer}{ON_LIGHT}"));
            terminal.see("9 images");
            let screen = terminal.screen();
            assert!(
                screen.lines().nth(1).unwrap().starts_with(frame),
                "{screen}"
            );
            terminal.press("q");
            assert_eq!(terminal.end(), 0);
        }
    }
    let dir = demo();
    let folder = dir.path().join("vm/rootbase");
    let terminal = Terminal::open(&folder, &["--ascii"], (80, 24));
    terminal.see("+> 1 Images");
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("qanopy")).unwrap();
    std::fs::write(home.path().join("qanopy/config.toml"), "ascii = true\n").unwrap();
    let terminal = Terminal::open_at(home.path(), &folder, &["--no-ascii"], (80, 24));
    terminal.see("┌» 1 Images");
}

#[test]
fn what_is_copied_reaches_the_desktop_where_the_terminal_may_not_take_it() {
    let programs = tempfile::tempdir().unwrap();
    let copied = programs.path().join("copied");
    let script = format!("#!/bin/sh\ncat > '{}'\n", copied.display());
    let program = programs.path().join("wl-copy");
    std::fs::write(&program, script).unwrap();
    let runnable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, runnable).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.path().display());
    for size in SIZES {
        let dir = demo();
        let folder = dir.path().join("vm/rootbase");
        let env = [("PATH", path.as_str()), ("WAYLAND_DISPLAY", "wayland-9")];
        let mut terminal = Terminal::open_with(&folder, &env, size);
        terminal.see("9 images");
        terminal.go_to("Overlay-3A");
        terminal.press("yp");
        terminal.see("Copied: ");
        let image = folder.join("Overlay-3A.qcow2");
        terminal.until("the program to have it", |_| {
            std::fs::read(&copied).is_ok_and(|text| text == image.to_str().unwrap().as_bytes())
        });
        std::fs::remove_file(&copied).unwrap();
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn no_error_is_told_in_the_words_of_a_program() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("gone.qcow2")).unwrap();
    std::os::unix::fs::symlink("circle.qcow2", dir.path().join("circle.qcow2")).unwrap();
    for size in SIZES {
        let mut terminal = Terminal::open(dir.path(), &[], size);
        terminal.see("circle.qcow2");
        terminal.press("6");
        terminal.see("[6 Health]");
        let screen = terminal.screen().to_lowercase();
        for word in ["os error", "entity not found", "filesystemloop"] {
            assert!(!screen.contains(word), "{screen}");
        }
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_size_with_a_fraction_is_asked_for_in_the_filter_line() {
    at_each_size(|terminal, _| {
        terminal.press("/>0.8M");
        terminal.see("RootBase.qcow2");
        terminal.until("nothing smaller", |screen| {
            !screen.contains("Overlay-1C") && screen.contains("Overlay-2A")
        });
        terminal.press("<esc>");
        terminal.see("Overlay-1C");
    });
}

#[test]
fn the_diagram_shows_what_a_plan_does_as_well() {
    at_each_size(|terminal, _| {
        terminal.go_to("Overlay-3A");
        terminal.press("D0");
        terminal.see("1 Diagram");
        terminal.press("X");
        terminal.see("[ Discard ]");
        terminal.until("the mark in the box", |screen| {
            let mut boxes = screen.lines().take_while(|line| !line.contains("Discard"));
            boxes.any(|line| line.contains('✗'))
        });
        terminal.press("<esc>");
        terminal.see("Nothing was changed.");
        terminal.press("0D");
        terminal.see("1 Images");
    });
}

#[test]
fn a_plan_begins_with_the_gravest_and_takes_no_number_before_all_of_it_was_seen() {
    for size in SIZES {
        let dir = demo();
        let root = dir.path().join("vm/rootbase");
        // More of them than any screen has lines.
        for number in 0..70 {
            let copy = root.join(format!("copy-{number:02}.qcow2"));
            std::fs::copy(root.join("Overlay-2.qcow2"), copy).unwrap();
        }
        let mut terminal = Terminal::open(&root, &[], size);
        terminal.see("79 images");
        terminal.press("/overlay-3.<enter>");
        terminal.go_to("Overlay-3.qcow2");
        terminal.press("C");
        terminal.see("refused");
        terminal.see("1         keep the others intact");
        terminal.press("1");
        terminal.see("Type 1 to do it");
        let screen = terminal.screen();
        let plan = &screen[screen.find("Commit Overlay-3").unwrap()..];
        let at = |what: &str| plan.find(what).unwrap_or_else(|| panic!("{what}: {plan}"));
        assert!(
            at("asks ") < at("undo ") && at("undo ") < at("writes "),
            "{plan}"
        );
        terminal.press("1<enter>");
        terminal.see("There is more to read");
        assert!(root.join("Overlay-3.qcow2").exists());
        terminal.press("<esc>");
        terminal.see("3         break them");
        terminal.press("<esc>");
        terminal.see("Nothing was changed.");
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn the_log_has_headings_and_the_time_of_the_clock_and_is_copied() {
    at_each_size(|terminal, _| {
        terminal.go_to("Overlay-3A");
        terminal.press("c");
        terminal.see("✓ Overlay-3A.qcow2 is clean.");
        terminal.press("L");
        terminal.see("what happened");
        let heading = line_with(&terminal.screen(), "what happened");
        assert!(heading.contains("time"), "{heading}");
        let line = line_with(&terminal.screen(), "is clean");
        let time = line.split(':').count();
        assert!(time >= 3 && !line.contains("/vm/"), "{line}");
        terminal.press("y");
        terminal.see("Copied: ");
        terminal.until_sent("the text for the clipboard", |bytes| {
            bytes.windows(5).any(|part| part == b"\x1b]52;")
        });
        terminal.press("<esc>");
    });
}

#[test]
fn lines_of_the_configuration_that_do_not_hold_are_named_and_read_only_holds_in_doubt() {
    for size in SIZES {
        let dir = demo();
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("qanopy")).unwrap();
        let wrong: String = (0..7).map(|n| format!("moose{n} = true\n")).collect();
        let text = format!("read_only = perhaps\n{wrong}");
        std::fs::write(home.path().join("qanopy/config.toml"), text).unwrap();
        let root = dir.path().join("vm/rootbase");
        let mut terminal = Terminal::open_at(home.path(), &root, &[], size);
        terminal.see("9 images");
        terminal.see("read-only");
        terminal.see("L tells this and 8 more: ");
        terminal.press("L");
        terminal.see("config.toml:1: read_only is true");
        for line in 2..9 {
            terminal.see(&format!("config.toml:{line}:"));
        }
        terminal.press("<esc>");
        terminal.lose("config.toml:5:");
        terminal.go_to("Overlay-3A");
        terminal.press("X");
        terminal.see("! Discard:");
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn the_mouse_cancels_a_plan_and_its_wheel_scrolls() {
    at_each_size(|terminal, _| {
        terminal.go_to("Overlay-3A");
        terminal.press("X");
        terminal.see("[ Discard ]");
        terminal.click("[ Discard ]");
        terminal.click("y discard");
        terminal.see("[ Cancel ]");
        terminal.click("[ Cancel ]");
        terminal.see("Nothing was changed.");
        terminal.press("g");
        terminal.until("the first row", |screen| {
            under_cursor(screen).contains("RootBase")
        });
        // The wheel goes down over the images.
        terminal.press("\u{1b}[<65;10;4M");
        terminal.until("the cursor further down", |screen| {
            under_cursor(screen).contains("Overlay-1B")
        });
    });
}

#[test]
fn without_colours_signs_tell_what_has_the_focus() {
    for size in SIZES {
        let dir = demo();
        let folder = dir.path().join("vm/rootbase");
        let mut terminal = Terminal::open_with(&folder, &[("NO_COLOR", "1")], size);
        terminal.see("9 images");
        terminal.see("» 1 Images");
        terminal.press("\t");
        terminal.lose("» 1 Images");
        terminal.see("» ");
        terminal.press("<esc>");
        terminal.see("» 1 Images");
        terminal.press("?");
        terminal.see("▌b ");
        terminal.press("<esc>");
        terminal.go_to("Overlay-3A");
        terminal.press("X");
        terminal.see("▌[ Cancel ]");
        terminal.press("\t");
        terminal.see("▌[ Discard ]");
        let (width, height) = size;
        terminal.look(|screen| {
            for (row, column) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let cell = screen.cell(row, column).unwrap();
                let colours = (cell.fgcolor(), cell.bgcolor());
                let none = (vt100::Color::Default, vt100::Color::Default);
                assert_eq!(colours, none, "{row},{column}");
            }
        });
        terminal.press("<esc>q");
        assert_eq!(terminal.end(), 0);
    }
}
