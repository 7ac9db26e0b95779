//! How a plan waits for its answer: what is said first, what has to have been seen, and which rows are shown
//! meanwhile.

use super::app_harness::{AppHarness, Image, change, forest, qcow2, refused_commit};
use qanopy::inside::Summary;
use qanopy::ops::{
    Confirm, Danger, EffectKind, GuestFate, GuestFiles, NotLooked, Note, NoteKind, Request, Undo,
};
use qanopy::tui::testing::{Dialog, Effect, Msg};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// A root with so many overlays, the last of which has an overlay itself.
fn wide(overlays: usize) -> Vec<Image> {
    let mut images = vec![qcow2("root.qcow2", 1 << 20, 9)];
    for number in 0..overlays {
        images.push(qcow2(&format!("o{number:02}.qcow2"), 1 << 20, 8).on("root.qcow2"));
    }
    let last = format!("o{:02}.qcow2", overlays - 1);
    images.push(qcow2("top.qcow2", 1 << 20, 7).on(&last));
    images
}

/// The lines of the screen that say this.
fn lines(screen: &str, what: &str) -> Vec<usize> {
    let lines = screen.lines().enumerate();
    let those = lines.filter(|(_, line)| line.contains(what));
    those.map(|(at, _)| at).collect()
}

/// A discard of the leaf under the cursor, with so many further files that are read, kept and warned of.
fn asked_to_discard(harness: &mut AppHarness, notes: usize) {
    harness.go_to("Overlay-2A.qcow2");
    harness.press("X");
    harness.answer(|plan| {
        plan.title = "Discard Overlay-2A.qcow2".to_owned();
        plan.effects = vec![change(EffectKind::Trashes, "Overlay-2A.qcow2", 1, "goes")];
        plan.notes = (0..notes)
            .map(|n| Note::new(NoteKind::Manner, format!("note {n}.")))
            .collect();
    });
}

fn scrolled(harness: &AppHarness) -> usize {
    match harness.ui.dialogs.top() {
        Some(Dialog::Plan(dialog)) => dialog.scroll,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plan_is_agreed_to_only_when_all_of_it_was_on_the_screen() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        asked_to_discard(&mut harness, 90);
        let mut seen = String::new();
        let mut pressed = 0;
        while harness.started() == 0 {
            seen.push_str(&harness.screen());
            harness.press("y");
            pressed += 1;
            assert!(pressed < 40, "{size:?}\n{}", harness.screen());
        }
        assert!(pressed > 1, "{size:?}");
        for note in 0..90 {
            assert!(seen.contains(&format!("note {note}.")), "{size:?}: {note}");
        }
    }
}

#[test]
fn a_plan_that_was_seen_whole_is_agreed_to_at_once_by_button_and_key() {
    for size in SIZES {
        for yes in ["y", "<tab><enter>"] {
            let mut harness = AppHarness::new(forest(), size);
            asked_to_discard(&mut harness, 2);
            harness.press(yes);
            assert_eq!(harness.started(), 1, "{size:?} {yes}");
        }
        let mut harness = AppHarness::new(forest(), size);
        asked_to_discard(&mut harness, 90);
        harness.press("<tab><enter>");
        assert_eq!((harness.started(), scrolled(&harness) > 0), (0, true));
    }
}

#[test]
fn a_number_is_not_taken_either_for_what_was_never_seen() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-2A.qcow2");
    harness.press("X");
    harness.answer(|plan| {
        plan.effects = vec![change(EffectKind::Deletes, "Overlay-2A.qcow2", 1, "gone")];
        plan.notes = (0..14)
            .map(|n| Note::new(NoteKind::Manner, format!("note {n}.")))
            .collect();
        plan.undo = Undo::Impossible("it is deleted".to_owned());
        plan.danger = Danger::Loses;
        plan.confirm = Confirm::Count(1);
    });
    harness.press("1<enter>");
    assert_eq!(harness.started(), 0);
    assert!(harness.screen().contains("There is more to read: Enter"));
    harness.press("<enter>");
    assert_eq!(harness.started(), 1, "{}", harness.screen());
}

#[test]
fn what_only_tells_where_was_looked_need_not_be_read() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-2A.qcow2");
    harness.press("X");
    harness.answer(|plan| {
        plan.effects = vec![change(EffectKind::Trashes, "Overlay-2A.qcow2", 1, "goes")];
        let read = |n: usize| change(EffectKind::Reads, &format!("r{n}"), 1, "");
        plan.effects.extend((0..40).map(read));
    });
    harness.press("y");
    assert_eq!(harness.started(), 1);
}

#[test]
fn a_plan_begins_with_what_is_lost_and_whether_that_can_be_taken_back() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.go_to("Overlay-2A.qcow2");
        harness.press("X");
        harness.answer(|plan| {
            plan.effects = vec![change(EffectKind::Deletes, "Overlay-2A.qcow2", 1, "gone")];
            plan.notes = vec![Note::new(NoteKind::Manner, "a note")];
            plan.keeps = vec!["the rest".to_owned()];
            plan.undo = Undo::Impossible("it is deleted".to_owned());
            plan.danger = Danger::Loses;
            plan.confirm = Confirm::Count(1);
        });
        let screen = harness.screen();
        let order = ["asks ", "undo ", "deletes ", "keeps ", "note "];
        let places: Vec<usize> = order.iter().map(|word| lines(&screen, word)[0]).collect();
        assert!(places.is_sorted(), "{places:?}\n{screen}");
    }
}

#[test]
fn a_refusal_and_its_ways_out_come_first_and_their_numbers_plan_them() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.go_to("Overlay-1.qcow2");
        harness.press("C");
        harness.answer(refused_commit);
        let screen = harness.screen();
        let order = ["refused", "1", "2", "writes"];
        let begin = |word: &str| lines(&screen, &format!("│ {word:<9} "))[0];
        let places = order.map(begin);
        assert!(places.is_sorted(), "{places:?}\n{screen}");
        harness.press("2");
        let (_, request) = harness.planned();
        assert!(matches!(
            request,
            Request::Commit(commit) if commit.siblings == qanopy::ops::Siblings::Break
        ));
    }
}

/// The images on the rows of the images pane.
fn shown(harness: &AppHarness) -> Vec<String> {
    let app = &harness.ui.app;
    let rows = 0..app.tree.rows.list.len();
    let nodes = rows.filter_map(|row| app.forest.get(app.tree.rows.node(row)?));
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    nodes.map(|node| name(&node.path)).collect()
}

/// A plan that changes images far from each other.
fn far_apart(harness: &mut AppHarness) {
    harness.press("X");
    harness.answer(|plan| {
        plan.effects = vec![
            change(EffectKind::Trashes, "o00.qcow2", 1, "goes"),
            change(EffectKind::Breaks, "top.qcow2", 1, "breaks"),
        ];
    });
}

#[test]
fn what_a_plan_concerns_is_on_the_screen_however_many_images_lie_between() {
    for size in SIZES {
        let mut harness = AppHarness::new(wide(70), size);
        harness.go_to("o40.qcow2");
        far_apart(&mut harness);
        let all = ["root.qcow2", "o00.qcow2", "o69.qcow2", "top.qcow2"];
        assert_eq!(shown(&harness), all, "{size:?}");
        let screen = harness.screen();
        for (sign, name) in [('✗', "o00.qcow2"), ('!', "top.qcow2")] {
            let row = screen
                .lines()
                .find(|line| line.contains(&format!("─○ {name}")))
                .unwrap();
            assert!(row.contains(sign), "{size:?}\n{screen}");
        }
        assert!(screen.contains("only what the plan concerns"), "{screen}");
        // It can be gone through, and nothing stays of that.
        harness.press("..");
        harness.press("<esc>");
        assert_eq!(harness.at(), "o40.qcow2", "{size:?}");
        assert_eq!(shown(&harness).len(), 72);
    }
}

#[test]
fn more_than_fits_of_what_a_plan_concerns_is_scrolled_with_its_own_keys() {
    let mut harness = AppHarness::new(wide(30), (80, 24));
    harness.go_to("root.qcow2");
    harness.press("X");
    harness.answer(|plan| {
        let gone = |n: usize| change(EffectKind::Trashes, &format!("o{n:02}.qcow2"), 1, "goes");
        plan.effects = (0..30).map(gone).collect();
    });
    assert!(!harness.screen().contains("├─○ o28.qcow2"));
    harness.press(&".".repeat(28));
    let screen = harness.screen();
    assert!(screen.contains("├─○ o27.qcow2"), "{screen}");
    harness.press(&",".repeat(28));
    assert!(harness.screen().contains("├─○ o00.qcow2"));
}

#[test]
fn what_fits_stays_among_its_neighbours() {
    let mut harness = AppHarness::new(wide(70), (200, 60));
    harness.go_to("o40.qcow2");
    harness.press("X");
    harness.answer(|plan| {
        plan.effects = vec![change(EffectKind::Trashes, "o40.qcow2", 1, "goes")];
    });
    assert_eq!(shown(&harness).len(), 72);
    assert!(harness.screen().contains("─○ o39.qcow2"));
}

#[test]
fn the_diagram_shows_what_a_plan_concerns_as_well() {
    for size in SIZES {
        let mut harness = AppHarness::new(wide(40), size);
        harness.press("D");
        harness.go_to("o20.qcow2");
        far_apart(&mut harness);
        let screen = harness.screen();
        assert!(screen.contains("✗o00.qcow2"), "{size:?}\n{screen}");
        harness.press("...");
        let screen = harness.screen();
        assert!(screen.contains("!top.qcow2"), "{size:?}\n{screen}");
        harness.press("<esc>");
        assert_eq!(harness.at(), "o20.qcow2");
    }
}

#[test]
fn a_key_for_what_the_plan_has_no_choice_of_says_so() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    asked_to_discard(&mut harness, 1);
    let before = harness.planned().0;
    harness.press("i");
    assert!(harness.screen().contains("This plan has no such choice."));
    assert_eq!(harness.planned().0, before);
}

#[test]
fn a_form_whose_plan_is_refused_leads_to_the_ways_out() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        harness.go_to("Overlay-1.qcow2");
        harness.press("b");
        harness.answer(refused_commit);
        harness.press("<enter>");
        harness.answer(refused_commit);
        assert!(matches!(harness.ui.dialogs.top(), Some(Dialog::Plan(_))));
        harness.press("1");
        let (_, request) = harness.planned();
        assert!(matches!(request, Request::Commit(_)), "{request:?}");
    }
}

/// A discard of a leaf and of what is built on it, which says of both that their files are to be told.
fn asked_with_files(harness: &mut AppHarness) {
    harness.go_to("Overlay-2A.qcow2");
    harness.press("X");
    harness.answer(|plan| {
        plan.title = "Discard 2 images".to_owned();
        plan.guest_files = ["Overlay-2A.qcow2", "Overlay-2B.qcow2"]
            .map(|name| GuestFiles {
                image: format!("/vm/{name}").into(),
                format: None,
                fate: GuestFate::Go,
                found: None,
            })
            .into();
    });
}

#[test]
fn files_inside_images_are_told_in_a_plan_that_is_there_already() {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        asked_with_files(&mut harness);
        let asked = harness.asked.iter().rev().find_map(|effect| match effect {
            Effect::LookInside {
                query_id, files, ..
            } => Some((*query_id, files.len())),
            _ => None,
        });
        let (query_id, 2) = asked.unwrap() else {
            panic!("{asked:?}");
        };
        let screen = harness.screen();
        assert_eq!(lines(&screen, "looking inside").len(), 2, "{screen}");
        // It is asked once, whatever happens meanwhile.
        harness.asked.clear();
        harness.press("j");
        let found = Summary {
            added: 2,
            ..Summary::default()
        };
        harness.send(Msg::GuestFiles(query_id, 1, Box::new(Ok(found.clone()))));
        let screen = harness.screen();
        assert_eq!(
            lines(&screen, "Overlay-2B.qcow2 holds 2 files").len(),
            1,
            "{screen}"
        );
        assert_eq!(lines(&screen, "looking inside").len(), 1, "{screen}");
        let encrypted = Box::new(Err(NotLooked::Encrypted));
        harness.send(Msg::GuestFiles(query_id, 0, encrypted));
        let screen = harness.screen();
        assert_eq!(
            lines(&screen, "Overlay-2A.qcow2 is encrypted").len(),
            1,
            "{screen}"
        );
        // What comes for another plan, or of an image that is none of its, changes nothing.
        harness.send(Msg::GuestFiles(
            query_id + 1,
            0,
            Box::new(Ok(found.clone())),
        ));
        harness.send(Msg::GuestFiles(query_id, 9, Box::new(Ok(found))));
        assert_eq!(harness.screen(), screen);
        let is_look = |effect: &Effect| matches!(effect, Effect::LookInside { .. });
        assert!(!harness.asked.iter().any(is_look));
        harness.press("<esc>");
        let stops = |effect: &&Effect| matches!(effect, Effect::StopLookingInside);
        assert_eq!(harness.asked.iter().filter(stops).count(), 1);
    }
}

#[test]
fn nobody_looks_inside_for_a_plan_that_says_nothing_of_files() {
    let mut harness = AppHarness::new(forest(), (120, 40));
    asked_to_discard(&mut harness, 1);
    harness.press("<esc>");
    let looks = |effect: &Effect| {
        matches!(
            effect,
            Effect::LookInside { .. } | Effect::StopLookingInside
        )
    };
    assert!(!harness.asked.iter().any(looks));
}
