//! The pure step: what keys and answers lead to.

use qanopy::ops::{
    EffectKind, Error, NewSize, Outcome, Request, Siblings, SnapshotAction, SnapshotName,
};
use qanopy::tui::dialog::Mode;
use qanopy::tui::filter::Filter;
use qanopy::tui::jobs::JobState;
use qanopy::tui::{Effect, Msg};
use std::path::PathBuf;

use super::desk::{
    Desk, change, discard_of_three, forest, new_branch, plan, possible_commit, qcow2,
    refused_commit,
};

fn desk() -> Desk {
    Desk::new(forest(), (100, 40))
}

fn outcome(undo: Option<Request>) -> Outcome {
    Outcome {
        summary: "Did it.".to_owned(),
        touched: Vec::new(),
        undo,
        remarks: Vec::new(),
    }
}

#[test]
fn the_cursor_jumps_among_parents_siblings_and_roots() {
    let mut desk = desk();
    desk.go_to("Overlay-1A.qcow2");
    desk.press(".");
    assert_eq!(desk.at(), "Overlay-1B.qcow2");
    desk.press(",p.");
    assert_eq!(desk.at(), "Overlay-2.qcow2");
    desk.press("l");
    assert_eq!(desk.at(), "Overlay-2A.qcow2");
    desk.press("<");
    assert_eq!(desk.at(), "RootBase.qcow2");
    desk.press(">");
    assert_eq!(desk.at(), "golden-win.qcow2");
    desk.press("g");
    assert_eq!(desk.app.tree.cursor, 0);
}

#[test]
fn folding_hides_and_unfolding_shows_the_same_rows() {
    let mut desk = desk();
    let before = desk.screen();
    desk.go_to("RootBase.qcow2");
    desk.press("h");
    assert!(
        desk.screen().contains("6 hidden (folded)"),
        "{}",
        desk.screen()
    );
    desk.press("l");
    desk.press("g");
    assert_eq!(desk.screen(), before);
    desk.press("-");
    assert!(!desk.screen().contains("Overlay-1A"));
    desk.press("=");
    assert_eq!(desk.screen(), before);
}

#[test]
fn a_filter_keeps_ancestors_and_goes_on_escape() {
    let mut desk = desk();
    desk.press("/overlay-2b");
    let screen = desk.screen();
    for name in ["RootBase", "Overlay-2.qcow2", "Overlay-2B"] {
        assert!(screen.contains(name), "{screen}");
    }
    assert!(!screen.contains("─● Overlay-1"), "{screen}");
    desk.press("<enter>n");
    assert_eq!(desk.at(), "Overlay-2B.qcow2");
    desk.press("<esc>");
    assert!(desk.screen().contains("Overlay-1A"));
}

#[test]
fn a_plan_marks_the_rows_it_would_change() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("C");
    desk.answer(refused_commit);
    let screen = desk.screen();
    let row = |name: &str| {
        screen
            .lines()
            .find(|line| line.contains(name))
            .unwrap()
            .to_owned()
    };
    assert!(row("● RootBase").starts_with("│ ≈"), "{screen}");
    assert!(row("● Overlay-1.").starts_with("│▌✗"), "{screen}");
    assert!(row("○ Overlay-1A").starts_with("│ ~"), "{screen}");
    assert!(row("● Overlay-2.").starts_with("│ !"), "{screen}");
    desk.press("<esc>");
    assert!(!desk.screen().contains('✗'));
}

#[test]
fn a_refused_plan_has_no_yes_and_its_ways_out_have_keys() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("C");
    desk.answer(refused_commit);
    desk.press("y<tab><enter>");
    assert_eq!(desk.started(), 0);
    desk.press("C");
    desk.answer(refused_commit);
    desk.press("1");
    assert!(matches!(
        desk.planned().1,
        Request::Commit {
            siblings: Siblings::Preserve,
            ..
        }
    ));
    desk.answer(possible_commit);
    desk.press("<esc>");
    assert!(
        desk.screen().contains("3 images would break"),
        "one step back"
    );
}

#[test]
fn enter_on_the_focused_cancel_changes_nothing() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(possible_commit);
    desk.press("<enter>");
    assert_eq!(desk.started(), 0);
    assert!(matches!(desk.app.mode, Mode::Main));
    assert!(desk.screen().contains("Nothing was changed."));
}

#[test]
fn the_highlighted_button_is_the_one_that_fires() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(possible_commit);
    desk.press("<tab><enter>");
    assert_eq!(desk.started(), 1);
}

#[test]
fn a_count_has_to_be_typed_and_be_right() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("X");
    desk.answer(discard_of_three);
    desk.press("y");
    assert_eq!(desk.started(), 0, "yes alone does not do");
    desk.press("4<enter>");
    assert_eq!(desk.started(), 0, "a wrong number does not do");
    assert!(
        desk.screen().contains("type 3 to confirm"),
        "{}",
        desk.screen()
    );
    desk.press("3<enter>");
    assert_eq!(desk.started(), 1);
    assert!(desk.app.tree.marks.is_empty());
}

#[test]
fn pasting_does_not_type_a_count() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("X");
    desk.answer(discard_of_three);
    desk.send(Msg::Paste("3".to_owned()));
    desk.press("<enter>");
    assert_eq!(desk.started(), 0);
}

#[test]
fn keys_pressed_before_the_plan_is_there_do_nothing() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("Xy");
    assert_eq!(desk.started(), 0);
    desk.answer(possible_commit);
    assert_eq!(desk.started(), 0);
}

#[test]
fn an_answer_to_an_older_question_is_dropped() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("C");
    let (old, request) = desk.planned();
    desk.press("t");
    desk.send(Msg::Planned(
        old,
        Box::new(plan(request, possible_commit)),
        None,
    ));
    desk.press("y");
    assert_eq!(desk.started(), 0);
}

#[test]
fn a_branch_is_planned_while_it_is_typed_and_created_on_enter() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("b");
    let Request::Branch { new, .. } = desk.planned().1 else {
        panic!("a branch");
    };
    assert_eq!(
        new,
        PathBuf::from("/vm/Overlay-1C.qcow2"),
        "A and B are taken"
    );
    for _ in 0.."1C.qcow2".len() {
        desk.press("<backspace>");
    }
    desk.press("x.qcow2<enter>");
    let Request::Branch { new, .. } = desk.planned().1 else {
        panic!("a branch");
    };
    assert_eq!(new, PathBuf::from("/vm/Overlay-x.qcow2"));
    assert_eq!(desk.started(), 0, "not before its plan is there");
    desk.answer(new_branch);
    assert_eq!(desk.started(), 1, "Enter was pressed for this very name");
}

#[test]
fn jobs_run_one_after_the_other_and_leaving_asks() {
    let mut desk = desk();
    for image in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
        desk.go_to(image);
        desk.press("C");
        desk.answer(possible_commit);
        desk.press("y");
    }
    assert_eq!(desk.started(), 1);
    assert_eq!(desk.app.jobs.list[1].state, JobState::Waiting);
    desk.press("q");
    assert!(
        !desk
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Quit))
    );
    desk.press("<esc>");
    desk.send(Msg::Ended(1, Ok(outcome(None))));
    assert_eq!(desk.started(), 2);
    desk.press("qw");
    desk.send(Msg::Ended(2, Ok(outcome(None))));
    assert!(
        desk.asked
            .iter()
            .any(|effect| matches!(effect, Effect::Quit))
    );
}

#[test]
fn cancelling_a_job_stops_it_and_says_so() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(possible_commit);
    desk.press("yJX");
    assert!(desk.app.jobs.list[0].progress.is_cancelled());
    desk.send(Msg::Ended(
        1,
        Err(Error::Cancelled("stopped; nothing is lost".to_owned())),
    ));
    assert!(
        desk.screen().contains("nothing is lost"),
        "{}",
        desk.screen()
    );
}

#[test]
fn a_plan_gone_stale_is_made_anew_with_the_reason_on_top() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(possible_commit);
    desk.press("y");
    desk.send(Msg::Ended(
        1,
        Err(Error::Stale("Overlay-1B.qcow2 changed 3 s ago".to_owned())),
    ));
    desk.answer(possible_commit);
    let screen = desk.screen();
    assert!(screen.contains("changed 3 s ago"), "{screen}");
    assert!(screen.contains("[ Cancel ]"), "{screen}");
    assert_eq!(
        desk.started(),
        1,
        "nothing runs until it is agreed to again"
    );
}

#[test]
fn undo_plans_the_newest_operation_backwards() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("X");
    desk.answer(discard_of_three);
    desk.press("3<enter>");
    let restore = Request::Restore {
        entries: vec!["entry".to_owned()],
    };
    desk.send(Msg::Ended(1, Ok(outcome(Some(restore.clone())))));
    desk.press("z");
    assert_eq!(desk.planned().1, restore);
    desk.answer(|_| {});
    desk.press("y");
    desk.send(Msg::Ended(2, Ok(outcome(None))));
    assert!(desk.app.undo.is_empty());
}

#[test]
fn actions_say_why_they_are_off() {
    let mut desk = desk();
    desk.go_to("RootBase.qcow2");
    desk.press("C");
    assert!(
        desk.screen().contains("built on nothing"),
        "{}",
        desk.screen()
    );
    let missing = desk
        .app
        .forest
        .nodes()
        .find(|node| node.stat.is_none())
        .unwrap()
        .id;
    desk.app.tree.cursor = desk.app.tree.rows.place(missing).unwrap();
    desk.press("<down><up>b");
    assert!(
        desk.screen().contains("the file is not there"),
        "{}",
        desk.screen()
    );
    assert!(
        desk.asked
            .iter()
            .all(|effect| !matches!(effect, Effect::Plan { .. }))
    );
}

#[test]
fn read_only_hides_what_changes_and_refuses_its_keys() {
    let mut desk = Desk::with(forest(), (100, 40), |settings| settings.read_only = true);
    desk.go_to("Overlay-1.qcow2");
    desk.press("bCXPz");
    assert!(
        desk.asked
            .iter()
            .all(|effect| matches!(effect, Effect::Facts(_))),
        "{:?}",
        desk.asked
    );
    assert!(!desk.screen().contains("commit  "), "{}", desk.screen());
    desk.press("?branch");
    assert!(
        !desk.screen().contains("a new overlay on this image"),
        "{}",
        desk.screen()
    );
}

#[test]
fn help_finds_an_action_by_its_name_and_runs_it() {
    let mut desk = desk();
    desk.press("?boxes<enter>");
    assert!(desk.app.picture.is_some());
    desk.press("l");
    assert!(desk.screen().contains("Diagram"));
}

#[test]
fn every_action_works_from_the_diagram() {
    let mut desk = desk();
    desk.press("D");
    desk.go_to("RootBase.qcow2");
    desk.press("l");
    assert_eq!(desk.at(), "Overlay-1.qcow2");
    desk.press("jC");
    assert!(matches!(desk.planned().1, Request::Commit { .. }));
    desk.answer(refused_commit);
    assert!(desk.screen().contains("3 images would break"));
}

#[test]
fn a_menu_shows_its_keys_and_runs_the_entry_of_the_one_pressed() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("y");
    assert!(desk.screen().contains("p  copy"), "{}", desk.screen());
    desk.press("p");
    let copied = desk.asked.iter().find_map(|effect| match effect {
        Effect::Copy(text) => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(copied, Some("/vm/Overlay-1B.qcow2"));
    desk.press("yq");
    desk.asked.clear();
    desk.press("yx");
    let copied = desk.asked.iter().find_map(|effect| match effect {
        Effect::Copy(text) => Some(text.as_str()),
        _ => None,
    });
    let xml = copied.expect("the <disk>");
    assert!(xml.contains("<source file='/vm/RootBase.qcow2'/>"), "{xml}");
    desk.press("xb");
    assert!(matches!(desk.app.mode, Mode::Form(_)));
    desk.press("<esc>xZ");
    assert!(
        desk.screen().contains("Z is none of these"),
        "{}",
        desk.screen()
    );
}

#[test]
fn an_image_is_built_on_the_one_that_is_marked() {
    let mut desk = desk();
    desk.go_to("Overlay-2.qcow2");
    desk.press(" ");
    desk.go_to("Overlay-1B.qcow2");
    desk.press("B<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Rebase { to, dedupe: false, .. } if to == std::path::Path::new("/vm/Overlay-2.qcow2")
    ));
    desk.answer(possible_commit);
    assert_eq!(desk.started(), 0, "a plan is shown first");
    desk.press("<esc>");
    assert!(matches!(desk.app.mode, Mode::Form(_)), "one step back");
    // Space on the second field chooses to change the header only.
    desk.press("<tab> <enter>");
    assert!(matches!(desk.planned().1, Request::Relink { .. }));
}

#[test]
fn a_size_is_typed_and_planned() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("Eten<enter>");
    assert!(desk.screen().contains("such as +10G"), "{}", desk.screen());
    desk.press("<backspace><backspace><backspace>10G<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Resize {
            size: NewSize::More(size),
            shrink: false,
            ..
        } if size == 10 << 30
    ));
}

#[test]
fn a_flat_copy_is_planned_while_its_name_is_typed() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("f");
    assert!(matches!(
        desk.planned().1,
        Request::Flatten { new: Some(new), onto: None, .. }
            if new == std::path::Path::new("/vm/Overlay-1B-flat.qcow2")
    ));
    desk.answer(new_branch);
    desk.press("<enter>");
    assert_eq!(desk.started(), 1);
}

#[test]
fn jobs_on_other_trees_run_side_by_side() {
    let mut desk = desk();
    for (image, plan) in [
        ("Overlay-1B.qcow2", "RootBase.qcow2"),
        (
            "with \u{1b}[31mcolour and a very long name indeed, longer than any column.qcow2",
            "golden-win.qcow2",
        ),
    ] {
        desk.go_to(image);
        desk.press("C");
        desk.answer(|made| {
            possible_commit(made);
            made.effects = vec![change(EffectKind::Writes, plan, 0, "")];
        });
        desk.press("y");
    }
    assert_eq!(desk.started(), 2);
    desk.send(Msg::Ended(
        1,
        Err(Error::Failed("the disk is full".to_owned())),
    ));
    desk.press("<esc>Jk");
    desk.press("r");
    assert!(matches!(desk.planned().1, Request::Commit { .. }));
    desk.press("<esc><enter>");
    assert!(
        desk.screen().contains("the disk is full"),
        "{}",
        desk.screen()
    );
}

#[test]
fn what_cannot_be_looked_through_is_told_in_the_health_pane() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("c");
    let path = PathBuf::from("/vm/Overlay-1B.qcow2");
    let stat = desk.app.selected().unwrap().stat.clone();
    let found = Err(Error::InUse("process 7 writes it".to_owned()));
    desk.send(Msg::Checked(1, path, stat, Box::new(found)));
    desk.send(Msg::Ended(1, Ok(outcome(None))));
    desk.press("6");
    let screen = desk.screen();
    assert!(screen.contains("could not be looked through"), "{screen}");
    assert!(screen.contains("process 7 writes it"), "{screen}");
    desk.press("1L");
    assert!(
        desk.screen().contains("not checked: process 7"),
        "{}",
        desk.screen()
    );
}

#[test]
fn in_a_large_forest_a_worker_finds_what_the_filter_asks_for() {
    let images = (0..5000).map(|i| qcow2(&format!("image-{i:04}.qcow2"), 1 << 20, 60));
    let mut desk = Desk::new(images.collect(), (100, 40));
    desk.press("/image-0042");
    assert!(
        desk.screen().contains("image-0000"),
        "the rows stay meanwhile"
    );
    let asked = desk.asked.iter().rev().find_map(|effect| match effect {
        Effect::Filter(ticket, line, forest, now) => {
            let hits = Filter::parse(line).hits(forest, *now);
            Some((*ticket, hits))
        }
        _ => None,
    });
    let (ticket, hits) = asked.expect("a worker was asked");
    desk.send(Msg::Filtered(ticket, hits.into()));
    let screen = desk.screen();
    assert!(
        screen.contains("image-0042") && !screen.contains("image-0000"),
        "{screen}"
    );
    assert!(screen.contains("1 of 5000"), "{screen}");
}

#[test]
fn letters_in_their_order_do_where_no_name_has_them_side_by_side() {
    let mut desk = desk();
    desk.press("/ovl2b");
    let screen = desk.screen();
    assert!(screen.contains("Overlay-2B"), "{screen}");
    assert!(!screen.contains("golden"), "{screen}");
}

#[test]
fn files_that_change_while_others_are_looked_at_are_looked_at_after_them() {
    let mut desk = desk();
    let changed = |name: &str| Msg::Changed(Some(vec![PathBuf::from(name)]));
    desk.send(changed("/vm/a"));
    desk.send(changed("/vm/b"));
    desk.send(changed("/vm/c"));
    let refreshes = |desk: &Desk| -> Vec<(u64, Vec<PathBuf>)> {
        let effects = desk.asked.iter();
        let all = effects.filter_map(|effect| match effect {
            Effect::Refresh(ticket, _, files) => Some((*ticket, files.clone())),
            _ => None,
        });
        all.collect()
    };
    let first = refreshes(&desk);
    assert_eq!(first.len(), 1);
    let forest = std::sync::Arc::clone(&desk.app.forest);
    desk.send(Msg::Refreshed(first[0].0, forest));
    let then = refreshes(&desk);
    assert_eq!(then.len(), 2);
    assert_eq!(then[1].1, [PathBuf::from("/vm/b"), "/vm/c".into()]);
}

#[test]
fn a_move_is_planned_from_its_form_and_undo_looks_into_the_journal() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press(
        "M<backspace><backspace><backspace><backspace><backspace><backspace>-old.qcow2<enter>",
    );
    let Request::Move { moves, subtree } = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert!(!subtree);
    assert_eq!(moves[0].to, PathBuf::from("/vm/Overlay-1B-old.qcow2"));
    desk.press("<esc><esc>z");
    assert!(matches!(desk.planned().1, Request::Undo { entry: None }));
}

/// Puts the cursor on the row that shows this.
fn go_to_row(desk: &mut Desk, what: &str) {
    desk.press("g");
    for _ in 0..desk.app.tree.rows.list.len() {
        let screen = desk.screen();
        if screen
            .lines()
            .any(|line| line.contains('▌') && line.contains(what))
        {
            return;
        }
        desk.press("j");
    }
    panic!("no row shows {what}");
}

#[test]
fn snapshots_have_rows_and_what_is_done_there_is_done_to_them() {
    let mut desk = desk();
    go_to_row(&mut desk, "before the update (ID 1)");
    assert_eq!(desk.at(), "golden-win.qcow2");
    let the_first = SnapshotName::Id("1".into());
    desk.press("X");
    assert!(matches!(
        desk.planned().1,
        Request::Snapshot {
            action: SnapshotAction::Delete { snapshot },
            ..
        } if snapshot == the_first
    ));
    desk.answer(possible_commit);
    let screen = desk.screen();
    let row = screen
        .lines()
        .find(|line| line.contains("before the update"));
    assert!(row.unwrap().contains('✗'), "{screen}");
    desk.press("<esc>SA");
    assert!(matches!(
        desk.planned().1,
        Request::Snapshot {
            action: SnapshotAction::Apply { snapshot, .. },
            ..
        } if snapshot == the_first
    ));
    desk.press("<esc>f");
    assert!(matches!(
        desk.planned().1,
        Request::Snapshot {
            action: SnapshotAction::Extract { snapshot, .. },
            ..
        } if snapshot == the_first
    ));
    desk.press("<esc>");
    desk.asked.clear();
    for (key, why) in [
        ("C", "commit: the cursor is on a snapshot"),
        ("b", "nothing can be built on a snapshot"),
        (" ", "only images are marked"),
    ] {
        desk.press(key);
        assert!(desk.screen().contains(why), "{}", desk.screen());
    }
    assert!(desk.asked.is_empty(), "{:?}", desk.asked);
    desk.press("p");
    assert!(desk.app.snapshot().is_none());
    assert_eq!(desk.at(), "golden-win.qcow2");
}

#[test]
fn the_cursor_stays_on_its_snapshot_while_rows_come_and_go_and_images_fold_over_them() {
    let mut desk = desk();
    go_to_row(&mut desk, "running (ID 2)");
    desk.press("ss");
    assert_eq!(desk.app.snapshot().unwrap().id, b"2");
    desk.press("p");
    desk.press("h");
    assert!(!desk.screen().contains("running (ID 2)"));
    assert!(
        desk.screen().contains("1 hidden (folded)"),
        "{}",
        desk.screen()
    );
    desk.press("l/running");
    assert!(
        desk.screen().contains("● golden-win"),
        "found by its snapshot"
    );
    assert!(!desk.screen().contains("RootBase"));
}
