//! The pure step: what keys and answers lead to.

use qanopy::image::{CarriedBitmaps, Compression, Measure, Preallocation, Qcow2Options};
use qanopy::ops::{
    AmendImage, BitmapAction, Branch, ChangeBitmap, ChangeSnapshot, CloneImage, Commit,
    ConvertForm, CreateRaw, Direction, Discard, EffectKind, Error, Export, Flatten, ImageOptions,
    Import, Leftover, MoveImages, NewSize, Outcome, Rebase, RedoEntry, Reflink, RemoveLeftovers,
    RepairImage, Request, Resize, Restore, Siblings, SnapshotAction, SnapshotName, Squash,
    UndoEntry, Unlink,
};
use qanopy::tui::dialogs::Dialog;
use qanopy::tui::dialogs::form::FieldName;
use qanopy::tui::filter::Filter;
use qanopy::tui::jobs::{JobState, Work};
use qanopy::tui::msg::Interrupted;
use qanopy::tui::query::{Completions, Measured};
use qanopy::tui::{Effect, Msg, update};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::desk::{
    Desk, change, commit_for_good, conversion, discard_of_three, forest, keys_of, new_branch, plan,
    possible_commit, qcow2, refused_commit,
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
    assert_eq!(desk.ui.app.tree.cursor, 0);
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
        Request::Commit(Commit {
            siblings: Siblings::Preserve,
            ..
        })
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
    assert!(desk.ui.dialogs.is_empty());
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
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(commit_for_good);
    assert!(
        desk.screen()
            .contains("for the number 1, of files that lose something for good"),
        "{}",
        desk.screen()
    );
    desk.press("y");
    assert_eq!(desk.started(), 0, "yes alone does not do");
    desk.press("4<enter>");
    assert_eq!(desk.started(), 0, "a wrong number does not do");
    assert!(
        desk.screen().contains("type 1 to confirm"),
        "{}",
        desk.screen()
    );
    desk.press("1<enter>");
    assert_eq!(desk.started(), 1);
    assert!(desk.ui.app.tree.marks.is_empty());
}

#[test]
fn pasting_does_not_type_a_count() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(commit_for_good);
    desk.send(Msg::Paste("1".to_owned()));
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
    let Request::Branch(Branch { new, .. }) = desk.planned().1 else {
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
    let Request::Branch(Branch { new, .. }) = desk.planned().1 else {
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
    assert_eq!(desk.ui.app.jobs.list[1].state, JobState::Waiting);
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
    assert!(desk.ui.app.jobs.list[0].progress.is_cancelled());
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
    desk.press("y");
    let restore = Request::Restore(Restore {
        entries: vec!["entry".to_owned()],
    });
    desk.send(Msg::Ended(1, Ok(outcome(Some(restore.clone())))));
    desk.press("z");
    assert_eq!(desk.planned().1, restore);
    desk.answer(|_| {});
    desk.press("y");
    desk.send(Msg::Ended(2, Ok(outcome(None))));
    assert!(desk.ui.app.session.undo.is_empty());
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
        .ui
        .app
        .forest
        .nodes()
        .find(|node| node.stat.is_none())
        .unwrap()
        .id;
    desk.ui.app.tree.cursor = desk.ui.app.tree.rows.place(missing).unwrap();
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
    assert!(desk.ui.app.picture.is_some());
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
    assert!(matches!(desk.planned().1, Request::Commit(_)));
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
    assert!(
        xml.contains("<source file='/vm/Overlay-1B.qcow2'/>"),
        "{xml}"
    );
    assert!(!xml.contains("backingStore"), "{xml}");
    desk.press("xb");
    assert!(matches!(desk.ui.dialogs.top(), Some(Dialog::Form(_))));
    desk.press("<esc>x&");
    assert!(
        desk.screen().contains("& is none of these"),
        "{}",
        desk.screen()
    );
}

#[test]
fn a_rebase_compresses_only_when_asked() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press(" ");
    desk.go_to("Overlay-2.qcow2");
    desk.press("B<up> <enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Rebase(Rebase {
            dedupe: false,
            compress: true,
            ..
        })
    ));
}

#[test]
fn the_marked_image_is_built_on_the_one_under_the_cursor() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press(" ");
    desk.go_to("Overlay-2.qcow2");
    desk.press("B<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Rebase(Rebase { image, to, dedupe: false, compress: false, .. })
            if image == Path::new("/vm/Overlay-1B.qcow2") && to == Path::new("/vm/Overlay-2.qcow2")
    ));
    desk.answer(possible_commit);
    assert_eq!(desk.started(), 0, "a plan is shown first");
    desk.press("<esc>");
    assert!(
        matches!(desk.ui.dialogs.top(), Some(Dialog::Form(_))),
        "one step back"
    );
    // Space on the second field chooses to change the header only.
    desk.press("<tab> <enter>");
    assert!(matches!(desk.planned().1, Request::Relink(_)));
}

#[test]
fn an_overlay_is_built_on_nothing_by_its_header_alone() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("B");
    desk.press(&"<backspace>".repeat(80));
    desk.press("<enter>");
    assert!(
        matches!(desk.ui.dialogs.top(), Some(Dialog::Form(_))),
        "it cannot receive what would show otherwise from nowhere"
    );
    desk.press("<tab> ");
    assert!(
        desk.screen().contains("built on nothing"),
        "{}",
        desk.screen()
    );
    desk.press("<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Unlink(Unlink { image }) if image == Path::new("/vm/Overlay-1B.qcow2")
    ));
    desk.answer(possible_commit);
    assert_eq!(desk.started(), 0, "a plan is shown first");
    // So is one whose base is missing, where its problem is mended.
    let mut desk = self::desk();
    desk.go_to("lost.qcow2");
    desk.press("6<enter>");
    assert!(desk.screen().contains("built on"), "{}", desk.screen());
    desk.press(&"<backspace>".repeat(80));
    desk.press("<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Unlink(Unlink { image }) if image.ends_with("lost.qcow2")
    ));
}

#[test]
fn a_size_is_typed_and_planned() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("Eten<enter>");
    assert!(desk.screen().contains("is no size"), "{}", desk.screen());
    assert!(desk.screen().contains("+10G"), "{}", desk.screen());
    desk.press("<backspace><backspace><backspace>1.5G<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Resize(Resize {
            size: NewSize::More(size),
            shrink: false,
            preallocation: Preallocation::Off,
            ..
        }) if size == 3 << 29
    ));
    desk.press("<esc><up> <enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Resize(Resize {
            preallocation: Preallocation::Metadata,
            ..
        })
    ));
}

#[test]
fn a_flat_copy_is_planned_while_its_name_is_typed() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("f");
    assert!(matches!(
        desk.planned().1,
        Request::Flatten(Flatten { new: Some(new), onto: None, .. })
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
    assert!(matches!(desk.planned().1, Request::Commit(_)));
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
    let stat = desk.ui.app.selected().unwrap().stat.clone();
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
    assert!(screen.contains("1 of 5,000"), "{screen}");
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
    let forest = std::sync::Arc::clone(&desk.ui.app.forest);
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
    let Request::Move(MoveImages { moves, subtree }) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert!(!subtree);
    assert_eq!(moves[0].to, PathBuf::from("/vm/Overlay-1B-old.qcow2"));
    desk.press("<esc><esc>z");
    assert!(matches!(
        desk.planned().1,
        Request::Undo(UndoEntry { entry: None, .. })
    ));
}

/// Puts the cursor on the row that shows this.
fn go_to_row(desk: &mut Desk, what: &str) {
    desk.press("g");
    for _ in 0..desk.ui.app.tree.rows.list.len() {
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
        Request::Snapshot(ChangeSnapshot {
            action: SnapshotAction::Delete { snapshot },
            ..
        }) if snapshot == the_first
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
        Request::Snapshot(ChangeSnapshot {
            action: SnapshotAction::Apply { snapshot, .. },
            ..
        }) if snapshot == the_first
    ));
    desk.press("<esc>f");
    assert!(matches!(
        desk.planned().1,
        Request::Snapshot(ChangeSnapshot {
            action: SnapshotAction::Extract { snapshot, .. },
            ..
        }) if snapshot == the_first
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
    assert!(desk.ui.app.snapshot().is_none());
    assert_eq!(desk.at(), "golden-win.qcow2");
}

#[test]
fn the_cursor_stays_on_its_snapshot_while_rows_come_and_go_and_images_fold_over_them() {
    let mut desk = desk();
    go_to_row(&mut desk, "running (ID 2)");
    desk.press("ss");
    assert_eq!(desk.ui.app.snapshot().unwrap().id, b"2");
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

#[test]
fn copies_of_every_kind_are_planned_from_their_forms() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("u");
    assert!(matches!(
        desk.planned().1,
        Request::Clone(CloneImage { new, .. }) if new.ends_with("Overlay-1B-copy.qcow2")
    ));
    desk.press("<esc>e");
    assert!(matches!(
        desk.planned().1,
        Request::Export(Export { dir, .. }) if dir.ends_with("Overlay-1B-export")
    ));
    desk.press("<esc>I");
    desk.press("elsewhere");
    assert!(matches!(
        desk.planned().1,
        Request::Import(Import { dir, to }) if dir.ends_with("elsewhere") && to.as_path() == Path::new("/vm")
    ));
    desk.press("<esc>V");
    let converted = |desk: &Desk| match desk.planned().1 {
        Request::Convert(options) => options,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        converted(&desk).form,
        ConvertForm::Qcow2 { compress: None, .. }
    ));
    desk.press("<tab><tab> ");
    assert!(matches!(
        converted(&desk).form,
        ConvertForm::Qcow2 {
            compress: Some(_),
            ..
        }
    ));
    desk.press("<up> ");
    let Some(Dialog::Form(form)) = desk.ui.dialogs.top() else {
        panic!("a form");
    };
    let labels: Vec<&str> = form.shown().map(|(_, field)| field.name.label()).collect();
    assert_eq!(
        labels,
        ["name", "to", "reserve", "unread", "sparse"],
        "what a raw image has"
    );
    let raw = converted(&desk);
    assert!(matches!(raw.form, ConvertForm::Raw { .. }));
    desk.press("<down><down> ");
    assert!(converted(&desk).salvage);
    desk.press("<down><backspace><backspace>12K");
    assert_eq!(converted(&desk).sparse.bytes(), 12 << 10);
    desk.press("<up><up><up> ");
    assert_eq!(converted(&desk).form, ConvertForm::Existing);
    desk.press("<left>");
    assert!(raw.new.ends_with("Overlay-1B-converted.raw"), "{raw:?}");
    desk.press("<down> ");
    assert!(matches!(
        converted(&desk).form,
        ConvertForm::Raw {
            preallocation: Preallocation::Falloc
        }
    ));
    desk.answer(new_branch);
    desk.press("<enter>");
    assert_eq!(desk.started(), 1);
}

#[test]
fn what_is_asked_of_headers_and_bitmaps_is_planned_first() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("O<enter>");
    assert!(
        desk.screen().contains("nothing is to be another way"),
        "{}",
        desk.screen()
    );
    desk.press("  <tab>  <enter>");
    let Request::Amend(AmendImage { amendment, .. }) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert_eq!(amendment.version, Some(qanopy::qcow2::Version::V2));
    assert_eq!(amendment.refcount_order, Some(1), "two bits");
    assert_eq!(amendment.compression, None);
    desk.press("<esc><esc>K");
    assert!(
        desk.screen().contains("a bitmap that records"),
        "{}",
        desk.screen()
    );
    desk.press("<enter>since-monday<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::Bitmap(ChangeBitmap {
            action: BitmapAction::Add {
                granularity: None,
                enabled: true
            },
            ..
        })
    ));
    desk.press("<esc><esc>");
    desk.go_to("Overlay-1.qcow2");
    desk.press("Q");
    let direction = |desk: &Desk| match desk.planned().1 {
        Request::Squash(Squash { direction, .. }) => direction,
        other => panic!("{other:?}"),
    };
    assert_eq!(direction(&desk), None);
    desk.press("t");
    assert_eq!(direction(&desk), Some(Direction::Down));
    desk.press("t");
    assert_eq!(direction(&desk), Some(Direction::Up));
    desk.press("<esc>");
    desk.go_to("Overlay-1B.qcow2");
    desk.press("Q");
    assert!(
        desk.screen().contains("nothing is built on it"),
        "{}",
        desk.screen()
    );
}

#[test]
fn a_commit_goes_further_down_keeps_the_old_base_and_is_proved_on_demand() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    let asked = |desk: &Desk| match desk.planned().1 {
        Request::Commit(Commit { into, keep_old, .. }) => (into, keep_old),
        other => panic!("{other:?}"),
    };
    desk.press("i");
    assert_eq!(asked(&desk).0, Some(PathBuf::from("/vm/RootBase.qcow2")));
    desk.press("o");
    assert_eq!(
        asked(&desk).1,
        Some(PathBuf::from("/vm/RootBase-before.qcow2"))
    );
    desk.press("i");
    assert_eq!(asked(&desk).0, None, "behind the root it begins again");
    desk.press("o");
    assert_eq!(asked(&desk).1, None);
    desk.answer(possible_commit);
    desk.press("v");
    assert!(desk.screen().contains(" proves "), "{}", desk.screen());
    desk.press("y");
    assert_eq!(desk.started(), 1);
}

#[test]
fn two_marked_images_are_compared_by_a_job() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("t");
    assert!(
        desk.screen().contains("mark two images"),
        "{}",
        desk.screen()
    );
    desk.press(" ");
    desk.go_to("Overlay-2.qcow2");
    desk.press("t");
    let compared = desk.asked.iter().find_map(|effect| match effect {
        Effect::Run {
            work: Work::Compare(images),
            ..
        } => Some(images.clone()),
        _ => None,
    });
    let names = compared.expect("a comparison");
    assert!(
        names.iter().any(|path| path.ends_with("Overlay-1B.qcow2")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|path| path.ends_with("Overlay-2.qcow2")),
        "{names:?}"
    );
    let mut found = outcome(None);
    found.remarks = vec!["at 0: 512 B differ".to_owned()];
    desk.send(Msg::Ended(1, Ok(found)));
    assert!(
        !desk.screen().contains("512 B differ"),
        "the list is in the log"
    );
    desk.press("J<enter>");
    assert!(desk.screen().contains("512 B differ"), "{}", desk.screen());
}

#[test]
fn a_passphrase_is_typed_unseen_and_the_plan_made_anew() {
    let mut desk = desk();
    desk.go_to("Overlay-2A.qcow2");
    desk.press("C");
    let (ticket, _) = desk.planned();
    let image = PathBuf::from("/vm/Overlay-2A.qcow2");
    desk.send(Msg::Locked(ticket, image.clone()));
    desk.answer(refused_commit);
    assert!(
        desk.screen().contains("u give the passphrase"),
        "{}",
        desk.screen()
    );
    desk.press("u");
    desk.send(Msg::Paste("open".to_owned()));
    desk.press("sesameX<backspace>");
    let screen = desk.screen();
    assert!(
        screen.contains("Passphrase of Overlay-2A.qcow2"),
        "{screen}"
    );
    assert!(
        screen.contains("••••••••••") && !screen.contains("sesame"),
        "{screen}"
    );
    desk.asked.clear();
    desk.press("<enter>");
    let [Effect::Unlock(unlocked, passphrase), Effect::Plan { .. }] = &desk.asked[..] else {
        panic!("{:?}", desk.asked);
    };
    assert_eq!(*unlocked, image);
    assert_eq!(passphrase.bytes(), b"opensesame");
    assert!(!format!("{:?} {:?}", desk.asked, desk.ui.dialogs).contains("sesame"));
    desk.answer(possible_commit);
    assert!(!desk.screen().contains("give the passphrase"));
    desk.press("y");
    assert_eq!(desk.started(), 1);
}

#[test]
fn a_form_whose_image_is_locked_asks_for_the_passphrase_on_enter() {
    let mut desk = desk();
    desk.go_to("Overlay-2A.qcow2");
    desk.press("f");
    let (ticket, _) = desk.planned();
    desk.send(Msg::Locked(ticket, PathBuf::from("/vm/Overlay-2A.qcow2")));
    desk.answer(refused_commit);
    desk.press("<enter>");
    assert!(matches!(desk.ui.dialogs.top(), Some(Dialog::Secret(_))));
    desk.press("pw<enter>");
    assert!(matches!(desk.ui.dialogs.top(), Some(Dialog::Form(_))));
    desk.answer(new_branch);
    desk.press("<enter>");
    assert_eq!(desk.started(), 1);
}

#[test]
fn the_question_about_running_jobs_goes_when_the_last_one_has_ended() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(possible_commit);
    desk.press("yq");
    assert!(matches!(desk.ui.dialogs.top(), Some(Dialog::Leave(_))));
    desk.send(Msg::Ended(1, Ok(outcome(None))));
    assert!(desk.ui.dialogs.is_empty());
    assert!(
        desk.screen().contains("That was the last job: q leaves."),
        "{}",
        desk.screen()
    );
    desk.press("q");
    assert!(matches!(desk.asked.last(), Some(Effect::Quit)));
}

#[test]
fn the_end_of_a_long_job_is_told_to_somebody_who_looks_elsewhere() {
    let told = |focus: Option<bool>, seconds: u64| {
        let mut desk = desk();
        desk.go_to("Overlay-1B.qcow2");
        desk.press("C");
        desk.answer(possible_commit);
        desk.press("y");
        if let Some(is_there) = focus {
            desk.send(Msg::Focus(is_there));
        }
        let mut view = desk.ui.app.jobs.list[0].view;
        view.elapsed = Duration::from_secs(seconds);
        desk.send(Msg::Progress(vec![(1, view)]));
        desk.send(Msg::Ended(1, Ok(outcome(None))));
        let mut asked = desk.asked.into_iter();
        asked.find_map(|effect| match effect {
            Effect::Notify(notice) => Some(notice),
            _ => None,
        })
    };
    let notice = told(Some(false), 12).expect("a notice");
    assert!(notice.title.starts_with("Commit Overlay-1B"), "{notice:?}");
    assert!(notice.text.starts_with("Did it."), "{notice:?}");
    assert_eq!(told(Some(true), 12), None, "it is seen anyway");
    assert_eq!(told(None, 12), None, "perhaps it is seen");
    assert_eq!(told(Some(false), 2), None, "nobody went away for that");
}

#[test]
fn a_name_is_completed_by_tab_and_a_whole_one_leads_on() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("B");
    let form = |desk: &Desk| match desk.ui.dialogs.top() {
        Some(Dialog::Form(form)) => (form.text(FieldName::Base).to_owned(), form.at),
        other => panic!("{other:?}"),
    };
    let (proposed, _) = form(&desk);
    desk.press(&"<backspace>".repeat(proposed.len()));
    desk.names = vec!["RootBase.qcow2".to_owned()];
    desk.press("Ro<tab>");
    let asked = desk.asked.iter().find_map(|effect| match effect {
        Effect::Complete(_, begun) => Some(begun.clone()),
        _ => None,
    });
    assert_eq!(asked, Some(PathBuf::from("/vm/Ro")));
    assert_eq!(form(&desk), ("RootBase.qcow2".to_owned(), 0));
    desk.press("<tab>");
    assert_eq!(form(&desk).1, 1, "it is whole");
}

#[test]
fn keys_pressed_while_a_name_is_looked_up_go_to_the_field_they_are_meant_for() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("V");
    // Told straight to the step: the desk would answer at once.
    let mut asked = update(&mut desk.ui, Msg::Key(keys_of("<tab>")[0]));
    asked.extend(update(&mut desk.ui, Msg::Key(keys_of(" ")[0])));
    let Some(Effect::Complete(ticket, _)) = asked.first() else {
        panic!("{asked:?}");
    };
    desk.send(Msg::Completed(*ticket, Completions::default()));
    let Some(Dialog::Form(form)) = desk.ui.dialogs.top() else {
        panic!("a form");
    };
    assert_eq!(
        (form.at, form.chosen(FieldName::To)),
        (1, 1),
        "raw is chosen"
    );
    assert!(
        form.text(FieldName::Name).ends_with("-converted.raw"),
        "{}",
        form.text(FieldName::Name)
    );
    update(&mut desk.ui, Msg::Key(keys_of("<up>")[0]));
    update(&mut desk.ui, Msg::Key(keys_of("<tab>")[0]));
    desk.press("<esc>");
    assert!(desk.ui.dialogs.is_empty(), "leaving waits for nothing");
}

#[test]
fn what_helps_stands_beside_each_line_of_the_health_pane_and_enter_does_it() {
    let mut desk = desk();
    desk.go_to("lost.qcow2");
    desk.press("6");
    assert!(
        desk.screen().contains("says where it went"),
        "{}",
        desk.screen()
    );
    desk.press("<enter>");
    assert!(
        desk.screen().contains("What lost.qcow2 is built on"),
        "{}",
        desk.screen()
    );
    desk.press("<esc>j<enter>");
    assert!(
        desk.asked.iter().any(|effect| matches!(
            effect,
            Effect::Run {
                work: Work::Check(_),
                ..
            }
        )),
        "{:?}",
        desk.asked
    );
    desk.press("1");
    desk.go_to("Overlay-1B.qcow2");
    desk.press("6j");
    assert!(
        desk.screen().contains(". Enter goes there."),
        "{}",
        desk.screen()
    );
    desk.press("<enter>");
    assert_eq!(
        desk.at(),
        "lost.qcow2",
        "from there to the one with problems"
    );
}

/// The passphrase that is held for a new image, with that image.
fn protected(desk: &Desk) -> Option<(PathBuf, Vec<u8>)> {
    desk.asked.iter().rev().find_map(|effect| match effect {
        Effect::Protect(images, passphrase) => {
            Some((images[0].clone(), passphrase.bytes().to_vec()))
        }
        _ => None,
    })
}

#[test]
fn a_new_image_is_encrypted_with_a_passphrase_that_is_typed_twice_and_never_seen() {
    let mut desk = desk();
    desk.go_to("Overlay-1.qcow2");
    desk.press("b");
    assert!(!desk.screen().contains("passphrase"), "{}", desk.screen());
    desk.press("<down><down><down> ");
    assert!(desk.screen().contains("once more"), "{}", desk.screen());
    desk.asked.clear();
    desk.press("<enter>");
    assert!(
        desk.screen().contains("passphrase is missing"),
        "{}",
        desk.screen()
    );
    desk.press("<down>sesame<down>");
    desk.send(Msg::Paste("sesam".to_owned()));
    desk.press("<enter>");
    let screen = desk.screen();
    assert!(screen.contains("both times the same"), "{screen}");
    assert!(
        screen.contains("[••••••") && !screen.contains("sesam"),
        "{screen}"
    );
    assert_eq!(protected(&desk), None);
    assert!(
        !desk
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Plan { .. }))
    );
    desk.press("e");
    let new = PathBuf::from("/vm/Overlay-1C.qcow2");
    assert_eq!(protected(&desk), Some((new.clone(), b"sesame".to_vec())));
    assert!(!format!("{:?} {:?}", desk.asked, desk.ui.dialogs).contains("sesam"));
    let Request::Branch(Branch { image, .. }) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert!(image.encryption.is_some());
    desk.answer(new_branch);
    desk.press("<enter>");
    assert_eq!(desk.started(), 1);
    let forgets = |desk: &Desk| {
        desk.asked
            .iter()
            .any(|effect| matches!(effect, Effect::Forget))
    };
    assert!(!forgets(&desk), "should it fail, it is planned again");
    desk.send(Msg::Ended(1, Ok(outcome(None))));
    assert!(forgets(&desk));
    desk.press("L");
    assert!(!desk.screen().contains("sesam"));
}

#[test]
fn a_form_that_is_left_leaves_no_passphrase_behind() {
    let mut desk = desk();
    desk.press("<c-n><down><down><down> <down>open<down>open");
    let Request::Create(options) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert!(options.image.encryption.is_some());
    assert!(protected(&desk).is_some());
    desk.press("<esc>");
    assert!(
        matches!(desk.asked.last(), Some(Effect::Forget)),
        "{:?}",
        desk.asked
    );
    desk.asked.clear();
    desk.press("j");
    assert!(
        !desk
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Forget))
    );
}

#[test]
fn a_conversion_encrypts_and_takes_bitmaps_along_where_there_are_any() {
    let mut forest = forest();
    forest.push(qcow2("tracked.qcow2", 1 << 30, 60).facts(|facts| facts.bitmaps = 2));
    let mut desk = Desk::new(forest, (100, 40));
    desk.go_to("Overlay-1B.qcow2");
    desk.press("V");
    assert!(!desk.screen().contains("bitmaps"), "{}", desk.screen());
    desk.press("<esc>");
    desk.go_to("tracked.qcow2");
    let converted = |desk: &Desk| match desk.planned().1 {
        Request::Convert(options) => options,
        other => panic!("{other:?}"),
    };
    desk.press("V<up><up>");
    assert!(desk.screen().contains("luks: without"), "{}", desk.screen());
    desk.press("<up><up><up> ");
    assert_eq!(converted(&desk).bitmaps, CarriedBitmaps::All);
    desk.press(" ");
    assert_eq!(converted(&desk).bitmaps, CarriedBitmaps::Sound);
    desk.press("<down><down><down> <down>open<down>open");
    let ConvertForm::Qcow2 { image, .. } = converted(&desk).form else {
        panic!("{:?}", desk.planned());
    };
    assert!(image.encryption.is_some());
    assert!(protected(&desk).is_some());
}

#[test]
fn a_flat_copy_is_compressed_as_it_is_asked_for() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    let compress = |desk: &Desk| match desk.planned().1 {
        Request::Flatten(Flatten { compress, .. }) => compress.map(|how| how.kind),
        other => panic!("{other:?}"),
    };
    desk.press("f<up>");
    assert_eq!(compress(&desk), None);
    desk.press(" ");
    assert_eq!(compress(&desk), Some(Compression::Zlib));
    desk.press(" ");
    assert_eq!(compress(&desk), Some(Compression::Zstd));
}

#[test]
fn a_copy_is_made_in_each_of_its_ways() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("u<down><down> ");
    let Request::Clone(CloneImage { chain, reflink, .. }) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert_eq!((chain, reflink), (false, Reflink::Always));
    desk.press("<up> ");
    assert!(desk.screen().contains("folder"), "{}", desk.screen());
    desk.asked.clear();
    desk.press("<enter>");
    assert!(
        desk.screen().contains("the folder needs a name"),
        "{}",
        desk.screen()
    );
    desk.press("<up>copies");
    let Request::Clone(CloneImage {
        new,
        chain,
        reflink,
        ..
    }) = desk.planned().1
    else {
        panic!("{:?}", desk.planned());
    };
    assert_eq!((chain, reflink), (true, Reflink::Always));
    assert_eq!(new, PathBuf::from("/vm/copies"));
    desk.press("<down> ");
    let Request::Branch(Branch { base, new, .. }) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert_eq!(base, PathBuf::from("/vm/Overlay-1B.qcow2"));
    assert_eq!(new, PathBuf::from("/vm/Overlay-1B-copy.qcow2"));
    assert!(!desk.screen().contains("reflink"), "{}", desk.screen());
}

#[test]
fn a_comparison_that_lacks_a_passphrase_asks_for_it_and_begins_anew() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press(" ");
    desk.go_to("Overlay-2A.qcow2");
    desk.press("t");
    let image = PathBuf::from("/vm/Overlay-2A.qcow2");
    let locked = |words: &str| {
        Msg::JobLocked(
            1,
            image.clone(),
            Error::Failed(format!("Overlay-2A.qcow2: {words}")),
        )
    };
    desk.send(locked("no passphrase was given"));
    let screen = desk.screen();
    assert!(
        screen.contains("Passphrase of Overlay-2A.qcow2"),
        "{screen}"
    );
    assert!(screen.contains("no passphrase was given"), "{screen}");
    desk.asked.clear();
    desk.press("sesame<enter>");
    let [
        Effect::Unlock(unlocked, passphrase),
        Effect::Run {
            job: 1,
            work: Work::Compare(images),
            ..
        },
    ] = &desk.asked[..]
    else {
        panic!("{:?}", desk.asked);
    };
    assert_eq!((unlocked, passphrase.bytes()), (&image, &b"sesame"[..]));
    assert!(images.contains(&image));
    assert_eq!(desk.ui.app.jobs.list.len(), 1, "it is the same job");
    desk.send(locked("opens none of its key slots"));
    desk.press("<esc>");
    assert!(matches!(
        desk.ui.app.jobs.list[0].state,
        JobState::Failed(_)
    ));
    assert!(desk.ui.dialogs.is_empty());
}

#[test]
fn how_large_a_copy_would_be_is_told() {
    let mut desk = desk();
    go_to_row(&mut desk, "running (ID 2)");
    desk.press("W");
    let Some(Effect::Measure {
        ticket, snapshot, ..
    }) = desk.asked.last()
    else {
        panic!("{:?}", desk.asked);
    };
    assert_eq!(snapshot.as_deref(), Some(&b"2"[..]));
    let ticket = *ticket;
    let size = |required, fully_allocated, bitmaps| Measure {
        required,
        fully_allocated,
        bitmaps,
    };
    let found = Measured {
        qcow2: size(3 << 30, 41 << 30, Some(1 << 20)),
        luks: size((3 << 30) + (2 << 20), 42 << 30, Some(1 << 20)),
        raw: size(40 << 30, 40 << 30, None),
        live: Vec::new(),
    };
    desk.send(Msg::Measured(
        ticket - 1,
        Err("an answer to another question".to_owned()),
    ));
    assert!(
        desk.screen().contains("Reading its tables"),
        "{}",
        desk.screen()
    );
    desk.send(Msg::Measured(ticket, Ok(found)));
    let screen = desk.screen();
    assert!(
        screen.contains("a copy of snapshot 2 of golden-win.qcow2"),
        "{screen}"
    );
    let row = |kind: &str| {
        let begin = format!("│ {kind} ");
        let line = screen.lines().find(|line| line.starts_with(&begin));
        line.unwrap_or_else(|| panic!("{screen}")).to_owned()
    };
    assert!(row("qcow2").contains("3 GiB (3,221,225,472)"), "{screen}");
    assert!(row("qcow2, luks").contains("(3,223,322,624)"), "{screen}");
    assert!(row("its bitmaps").contains("+ 1 MiB"), "{screen}");
    desk.press("<esc>");
    assert!(desk.ui.dialogs.is_empty());
}

/// The images that what is asked for now is about.
fn about(desk: &Desk) -> Vec<PathBuf> {
    match desk.ui.dialogs.top() {
        Some(Dialog::Form(form)) => vec![form.image.clone()],
        Some(Dialog::Measure(dialog)) => vec![dialog.image.clone()],
        Some(Dialog::List(menu)) => {
            vec![PathBuf::from("/vm").join(menu.title.rsplit(' ').next().unwrap_or_default())]
        }
        _ => match desk.planned().1 {
            Request::Commit(Commit { overlay, .. }) => vec![overlay],
            Request::Squash(Squash { layer, .. }) => vec![layer],
            Request::Discard(Discard { images, .. }) => images,
            Request::Repair(RepairImage { image, .. }) => vec![image],
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn every_action_is_about_the_marks_and_only_without_any_about_the_cursor() {
    let prepare = |mark: bool| {
        let mut forest = forest();
        forest.push(
            qcow2("odd.qcow2", 1 << 30, 60)
                .on("RootBase.qcow2")
                .facts(|facts| facts.corrupt = true),
        );
        forest.push(qcow2("on-odd.qcow2", 1 << 30, 60).on("odd.qcow2"));
        let mut desk = Desk::new(forest, (100, 40));
        desk.go_to(if mark { "odd.qcow2" } else { "Overlay-1.qcow2" });
        if mark {
            desk.press(" ");
            desk.go_to("Overlay-1.qcow2");
        }
        desk
    };
    for key in [
        "b", "f", "u", "V", "e", "C", "B", "F", "Q", "M", "E", "S", "K", "O", "X", "W", "x", "R",
    ] {
        for (mark, name) in [(true, "/vm/odd.qcow2"), (false, "/vm/Overlay-1.qcow2")] {
            if key == "R" && !mark {
                // Nothing is wrong with that one.
                continue;
            }
            let mut desk = prepare(mark);
            desk.press(key);
            assert_eq!(
                about(&desk),
                [PathBuf::from(name)],
                "{key} with a mark: {mark}"
            );
        }
    }
    let mut desk = prepare(true);
    desk.press(" ");
    for key in ["b", "u", "C", "Q", "E", "S", "W"] {
        desk.press(key);
        let screen = desk.screen();
        assert!(
            screen.contains("one image at a time: U clears the marks"),
            "{key} {screen}"
        );
        assert!(desk.ui.dialogs.is_empty(), "{key}");
    }
    desk.press("x");
    assert!(
        desk.screen().contains("Actions for 2 marked images"),
        "{}",
        desk.screen()
    );
}

#[test]
fn the_inside_of_a_marked_image_is_asked_for_while_its_list_is_open() {
    let mut desk = desk();
    desk.go_to("golden-win.qcow2");
    desk.press(" ");
    desk.go_to("Overlay-1B.qcow2");
    desk.asked.clear();
    desk.press("K");
    let golden = PathBuf::from("/vm/golden-win.qcow2");
    assert!(
        matches!(&desk.asked[..], [Effect::Facts(path)] if *path == golden),
        "{:?}",
        desk.asked
    );
    desk.press("<esc>");
    assert!(matches!(
        desk.asked.last(),
        Some(Effect::Facts(path)) if path.ends_with("Overlay-1B.qcow2")
    ));
}

#[test]
fn in_a_small_form_the_field_with_the_focus_is_seen_and_the_rest_scrolls_in() {
    let mut desk = Desk::new(forest(), (70, 16));
    desk.go_to("Overlay-1B.qcow2");
    desk.press("V<up><up> ");
    // Once around all ten fields.
    for _ in 0..10 {
        desk.press("<down>");
        let Some(Dialog::Form(form)) = desk.ui.dialogs.top() else {
            panic!("a form");
        };
        let begin = format!("│ {} ", form.fields[form.at].name.label());
        let screen = desk.screen();
        let is_seen = screen.lines().any(|line| line.starts_with(&begin));
        assert!(is_seen, "{begin} {screen}");
    }
    desk.press("<down>open<down>open");
    desk.answer(new_branch);
    assert!(
        desk.screen().contains("more below, PgDn"),
        "{}",
        desk.screen()
    );
    assert!(
        !desk.screen().contains("qemu-img create"),
        "{}",
        desk.screen()
    );
    desk.press("<pgdn><pgdn><pgdn>");
    assert!(
        desk.screen().contains("qemu-img create"),
        "{}",
        desk.screen()
    );
    assert!(
        !desk.screen().contains("more below, PgDn"),
        "{}",
        desk.screen()
    );
    desk.press("<up>");
    assert!(desk.screen().contains("passphrase"), "{}", desk.screen());
}

/// Marks two images and asks for their conversion.
fn converting_two() -> Desk {
    let mut desk = desk();
    for name in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
        desk.go_to(name);
        desk.press(" ");
    }
    desk.press("V");
    desk
}

#[test]
fn several_marked_images_are_converted_by_one_form_that_lists_them_all() {
    let mut desk = converting_two();
    let converted = |desk: &Desk| -> Vec<(PathBuf, PathBuf, ConvertForm)> {
        let requests = desk.planned_each().1.into_iter();
        let all = requests.map(|request| match request {
            Request::Convert(options) => (options.sources[0].clone(), options.new, options.form),
            other => panic!("{other:?}"),
        });
        all.collect()
    };
    let files = |desk: &Desk| -> Vec<String> {
        let all = converted(desk).into_iter();
        all.map(|(_, new, _)| new.to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(
        files(&desk),
        [
            "/vm/Overlay-1B-converted.qcow2",
            "/vm/Overlay-2B-converted.qcow2"
        ]
    );
    desk.press("<tab>raws<tab> ");
    assert_eq!(
        files(&desk),
        [
            "/vm/raws/Overlay-1B-converted.raw",
            "/vm/raws/Overlay-2B-converted.raw"
        ]
    );
    assert!(matches!(converted(&desk)[0].2, ConvertForm::Raw { .. }));
    desk.press(" ");
    desk.answer_each(conversion);
    let screen = desk.screen();
    for part in [
        "Convert 2 images",
        "Overlay-1B-converted.qcow2",
        "Overlay-2B-converted.qcow2",
        "at most 6 GiB",
        "6 GiB in /vm (120 GiB free)",
        "each by itself",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    desk.press("<enter>");
    assert_eq!(desk.started(), 2);
    assert_eq!(desk.ui.app.jobs.list.len(), 2);
    assert!(desk.ui.app.tree.marks.is_empty());
}

#[test]
fn where_one_of_several_cannot_be_converted_none_is() {
    let mut desk = converting_two();
    desk.press("<enter>");
    assert_eq!(desk.started(), 0, "not before the plans are there");
    desk.answer_each(|plan| {
        conversion(plan);
        let is_second = plan
            .request
            .creates()
            .is_some_and(|new| new.ends_with("Overlay-2B-converted.qcow2"));
        if is_second {
            refused_commit(plan);
        }
    });
    assert_eq!(desk.started(), 0);
    let screen = desk.screen();
    assert!(screen.contains("refused"), "{screen}");
    assert!(screen.contains("3 images would break"), "{screen}");
    desk.press("<esc>");
    assert_eq!(
        desk.ui.app.tree.marks.len(),
        2,
        "what is marked stays marked"
    );
    desk.go_to("lost.qcow2");
    desk.press("k V");
    assert!(
        desk.screen().contains("is not among the scanned files"),
        "{}",
        desk.screen()
    );
}

#[test]
fn one_passphrase_protects_all_that_one_form_creates() {
    let mut desk = converting_two();
    desk.press("<up><up> <down>open<down>open");
    let protects = desk.asked.iter().rev().find_map(|effect| match effect {
        Effect::Protect(images, _) => Some(images.len()),
        _ => None,
    });
    assert_eq!(protects, Some(2));
    desk.press("<esc>");
    assert!(matches!(desk.asked.last(), Some(Effect::Forget)));
}

#[test]
fn what_is_half_done_is_marked_and_counted_until_it_is_settled() {
    let mut desk = desk();
    let root = PathBuf::from("/vm/Overlay-1B.qcow2");
    let is_half = |desk: &Desk| {
        let node = desk.ui.app.forest.by_path(&root).unwrap();
        let flags = desk.ui.app.forest.flags(node.id);
        flags.contains(qanopy::forest::Flags::INTERRUPTED)
    };
    let problems = desk.ui.app.tree.summary.problems.len();
    let found = Interrupted {
        halves: vec![(root.clone(), "it may be half done".to_owned())],
        ..Interrupted::default()
    };
    desk.send(Msg::Interrupted(0, Ok(found)));
    assert!(is_half(&desk));
    assert_eq!(desk.ui.app.tree.summary.problems.len(), problems + 1);
    desk.send(Msg::Interrupted(0, Ok(Interrupted::default())));
    assert!(!is_half(&desk));
    assert_eq!(desk.ui.app.tree.summary.problems.len(), problems);
}

#[test]
fn what_was_taken_back_is_done_again_by_a_key_in_the_folders_that_are_open() {
    let mut desk = desk();
    desk.ui.app.session.journal = Some(vec![PathBuf::from("/vm")]);
    desk.press("Y");
    let folders = vec![PathBuf::from("/vm")];
    let entry = None;
    assert_eq!(
        desk.planned().1,
        Request::Redo(RedoEntry { entry, folders })
    );
    desk.press("<esc>z");
    let folders = vec![PathBuf::from("/vm")];
    assert_eq!(
        desk.planned().1,
        Request::Undo(UndoEntry { entry, folders })
    );
}

#[test]
fn what_is_half_made_is_listed_and_goes_by_a_plan() {
    let mut desk = desk();
    desk.press("Z");
    let Some(Effect::Interrupted(ticket, Some(_))) = desk.asked.last() else {
        panic!("{:?}", desk.asked);
    };
    let ticket = *ticket;
    assert!(
        desk.screen().contains("looking into the journal"),
        "{}",
        desk.screen()
    );
    let path = PathBuf::from("/vm/.new.qcow2.qanopy-7");
    let found = || {
        let leftovers = vec![Leftover {
            path: path.clone(),
            bytes: 3 << 20,
            process: 7,
            runs: false,
        }];
        Ok(Interrupted {
            halves: Vec::new(),
            entries: Vec::new(),
            leftovers,
        })
    };
    desk.send(Msg::Interrupted(ticket, found()));
    assert!(
        desk.screen().contains("1 half-made file, 3 MiB"),
        "{}",
        desk.screen()
    );
    desk.press("<enter>");
    assert!(matches!(
        desk.planned().1,
        Request::RemoveLeftovers(RemoveLeftovers { files }) if files == [path.clone()]
    ));
    desk.press("<esc>Z<esc>");
    let Some(Effect::Interrupted(ticket, _)) = desk.asked.last() else {
        panic!("{:?}", desk.asked);
    };
    let ticket = *ticket;
    desk.send(Msg::Interrupted(
        ticket,
        Err("the journal cannot be read".to_owned()),
    ));
    assert!(
        desk.ui.app.session.toast.is_none(),
        "{:?}",
        desk.ui.app.session.toast
    );
    desk.send(Msg::Interrupted(0, Ok(Interrupted::default())));
    assert!(desk.ui.app.session.toast.is_none(), "nothing is no news");
}

#[test]
fn a_new_image_has_every_option_that_the_command_line_has() {
    let mut desk = desk();
    let created = |desk: &Desk| match desk.planned().1 {
        Request::Create(options) => options.image,
        other => panic!("{other:?}"),
    };
    desk.go_to("Overlay-1B.qcow2");
    desk.press("<c-n><up>");
    assert!(!desk.screen().contains("cluster  "), "{}", desk.screen());
    assert_eq!(created(&desk), ImageOptions::default());
    // In the order of the fields, from the cluster size on.
    desk.press(" <down><left><down> <down> <down> <down> <down> <down>  <down>data<down> ");
    let image = created(&desk);
    let format = Qcow2Options {
        cluster_bits: 21,
        refcount_order: 0,
        extended_l2: true,
        old_version: true,
        lazy_refcounts: true,
        compression: Compression::Zstd,
        preallocation: Preallocation::Falloc,
    };
    assert_eq!(image.format, format);
    let data = image.data_file.expect("a data file");
    assert_eq!((data.path, data.raw), (PathBuf::from("/vm/data"), true));
    let screen = desk.screen();
    assert!(screen.contains("(•) 2M"), "{screen}");
    desk.press("<esc>");
    desk.go_to("Overlay-1.qcow2");
    desk.press("b<down><down>80G");
    let Request::Branch(Branch { size, .. }) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert_eq!(size, Some(80 << 30));
    desk.press("x<enter>");
    assert!(desk.screen().contains("is no size"), "{}", desk.screen());
    // However long the form is, and whichever field has the focus.
    desk.send(Msg::Resize(80, 24));
    desk.press("<down><down> <up><up><up><up><enter>");
    assert!(desk.screen().contains("is no size"), "{}", desk.screen());
}

#[test]
fn a_new_image_may_be_raw_and_is_called_so() {
    let mut desk = desk();
    desk.go_to("Overlay-1B.qcow2");
    desk.press("<c-n><down><down> <down> ");
    let Request::CreateRaw(CreateRaw {
        new,
        size,
        preallocation,
    }) = desk.planned().1
    else {
        panic!("{:?}", desk.planned());
    };
    assert!(new.ends_with("disk-1.raw"), "{new:?}");
    assert_eq!((size, preallocation), (20 << 30, Preallocation::Falloc));
    assert!(!desk.screen().contains("encrypt"), "{}", desk.screen());
}

#[test]
fn the_options_of_a_form_are_the_usual_ones_unless_they_are_changed() {
    let mut desk = desk();
    desk.press("<c-n><up> ");
    let Request::Create(options) = desk.planned().1 else {
        panic!("{:?}", desk.planned());
    };
    assert_eq!(options.image, ImageOptions::default());
}
