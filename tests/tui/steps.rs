//! The pure step: what keys and answers lead to.

use qanopy::doctor::{Finding, Sure};
use qanopy::forest::{Annotation, ChangedBase, Flags, Problem, ProblemKind};
use qanopy::image::{CarriedBitmaps, Compression, Measure, Preallocation, Qcow2Options};
use qanopy::ops::{
    AmendImage, Annotate, AnnotateSeveral, BitmapAction, Branch, ChangeBitmap, ChangeSnapshot,
    CloneImage, Commit, Controls, ConvertForm, CreateRaw, Direction, Discard, EffectKind,
    EmptyTrash, Error, Export, Flatten, ImageOptions, Import, Leftover, MoveImages, NewSize, Note,
    NoteKind, Outcome, Phase, Protect, Rebase, RedoEntry, Reflink, Remedy, RemoveLeftovers,
    RepairImage, Request, Resize, Restore, Siblings, SnapshotAction, SnapshotName, Squash,
    UndoEntry, Unlink,
};
use qanopy::tui::testing::{
    Completions, Dialog, Effect, FieldName, Filter, Interrupted, JobState, Measured, Msg, Places,
    Work, update,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::app_harness::{
    AppHarness, change, commit_for_good, conversion, discard_of_three, forest, keys_of, new_branch,
    plan, possible_commit, qcow2, refused_commit,
};

fn harness() -> AppHarness {
    AppHarness::new(forest(), (100, 40))
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
    let mut harness = harness();
    harness.go_to("Overlay-1A.qcow2");
    harness.press(".");
    assert_eq!(harness.at(), "Overlay-1B.qcow2");
    harness.press(",p.");
    assert_eq!(harness.at(), "Overlay-2.qcow2");
    harness.press("l");
    assert_eq!(harness.at(), "Overlay-2A.qcow2");
    harness.press("<");
    assert_eq!(harness.at(), "RootBase.qcow2");
    harness.press(">");
    assert_eq!(harness.at(), "golden-win.qcow2");
    harness.press("g");
    assert_eq!(harness.ui.app.tree.cursor, 0);
}

#[test]
fn folding_hides_and_unfolding_shows_the_same_rows() {
    let mut harness = harness();
    let before = harness.screen();
    harness.go_to("RootBase.qcow2");
    harness.press("h");
    assert!(
        harness.screen().contains("6 hidden (folded)"),
        "{}",
        harness.screen()
    );
    harness.press("l");
    harness.press("g");
    assert_eq!(harness.screen(), before);
    harness.press("-");
    assert!(!harness.screen().contains("Overlay-1A"));
    harness.press("=");
    assert_eq!(harness.screen(), before);
}

#[test]
fn a_filter_keeps_ancestors_and_goes_on_escape() {
    let mut harness = harness();
    harness.press("/overlay-2b");
    let screen = harness.screen();
    for name in ["RootBase", "Overlay-2.qcow2", "Overlay-2B"] {
        assert!(screen.contains(name), "{screen}");
    }
    assert!(!screen.contains("─● Overlay-1"), "{screen}");
    harness.press("<enter>n");
    assert_eq!(harness.at(), "Overlay-2B.qcow2");
    harness.press("<esc>");
    assert!(harness.screen().contains("Overlay-1A"));
}

#[test]
fn a_plan_marks_the_rows_it_would_change() {
    let mut harness = harness();
    harness.go_to("Overlay-1.qcow2");
    harness.press("C");
    harness.answer(refused_commit);
    let screen = harness.screen();
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
    harness.press("<esc>");
    assert!(!harness.screen().contains('✗'));
}

#[test]
fn a_refused_plan_has_no_yes_and_its_ways_out_have_keys() {
    let mut harness = harness();
    harness.go_to("Overlay-1.qcow2");
    harness.press("C");
    harness.answer(refused_commit);
    harness.press("y<tab><enter>");
    assert_eq!(harness.started(), 0);
    harness.press("C");
    harness.answer(refused_commit);
    harness.press("1");
    assert!(matches!(
        harness.planned().1,
        Request::Commit(Commit {
            siblings: Siblings::Preserve,
            ..
        })
    ));
    harness.answer(possible_commit);
    harness.press("<esc>");
    assert!(
        harness.screen().contains("3 images would break"),
        "one step back"
    );
}

#[test]
fn enter_on_the_focused_cancel_changes_nothing() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(possible_commit);
    harness.press("<enter>");
    assert_eq!(harness.started(), 0);
    assert!(harness.ui.dialogs.is_empty());
    assert!(harness.screen().contains("Nothing was changed."));
}

#[test]
fn the_highlighted_button_is_the_one_that_fires() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(possible_commit);
    harness.press("<tab><enter>");
    assert_eq!(harness.started(), 1);
}

#[test]
fn a_count_has_to_be_typed_and_be_right() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(commit_for_good);
    assert!(
        harness
            .screen()
            .contains("for the number 1: how many files lose something for good"),
        "{}",
        harness.screen()
    );
    harness.press("y");
    assert_eq!(harness.started(), 0, "yes alone does not do");
    harness.press("4<enter>");
    assert_eq!(harness.started(), 0, "a wrong number does not do");
    assert!(
        harness.screen().contains("type 1 to confirm"),
        "{}",
        harness.screen()
    );
    harness.press("1<enter>");
    assert_eq!(harness.started(), 1);
    assert!(harness.ui.app.tree.marks.is_empty());
}

#[test]
fn pasting_does_not_type_a_count() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(commit_for_good);
    harness.send(Msg::Paste("1".to_owned()));
    harness.press("<enter>");
    assert_eq!(harness.started(), 0);
}

#[test]
fn keys_pressed_before_the_plan_is_there_do_nothing() {
    let mut harness = harness();
    harness.go_to("Overlay-1.qcow2");
    harness.press("Xy");
    assert_eq!(harness.started(), 0);
    harness.answer(possible_commit);
    assert_eq!(harness.started(), 0);
}

#[test]
fn an_answer_to_an_older_question_is_dropped() {
    let mut harness = harness();
    harness.go_to("Overlay-1.qcow2");
    harness.press("C");
    let (old, request) = harness.planned();
    harness.press("t");
    harness.send(Msg::Planned(
        old,
        Box::new(plan(request, possible_commit)),
        None,
    ));
    harness.press("y");
    assert_eq!(harness.started(), 0);
}

#[test]
fn a_branch_is_planned_while_it_is_typed_and_created_on_enter() {
    let mut harness = harness();
    harness.go_to("Overlay-1.qcow2");
    harness.press("b");
    let Request::Branch(Branch { new, .. }) = harness.planned().1 else {
        panic!("a branch");
    };
    assert_eq!(
        new,
        PathBuf::from("/vm/Overlay-1C.qcow2"),
        "A and B are taken"
    );
    for _ in 0.."1C.qcow2".len() {
        harness.press("<backspace>");
    }
    harness.press("x.qcow2<enter>");
    let Request::Branch(Branch { new, .. }) = harness.planned().1 else {
        panic!("a branch");
    };
    assert_eq!(new, PathBuf::from("/vm/Overlay-x.qcow2"));
    assert_eq!(harness.started(), 0, "not before its plan is there");
    harness.answer(new_branch);
    assert_eq!(harness.started(), 1, "Enter was pressed for this very name");
}

#[test]
fn jobs_run_one_after_the_other_and_leaving_asks() {
    let mut harness = harness();
    for image in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
        harness.go_to(image);
        harness.press("C");
        harness.answer(possible_commit);
        harness.press("y");
    }
    assert_eq!(harness.started(), 1);
    assert_eq!(harness.ui.app.jobs.list[1].state, JobState::Waiting);
    harness.press("q");
    assert!(
        !harness
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Quit))
    );
    harness.press("<esc>");
    harness.send(Msg::Ended(1, Ok(outcome(None))));
    assert_eq!(harness.started(), 2);
    harness.press("qw");
    harness.send(Msg::Ended(2, Ok(outcome(None))));
    assert!(
        harness
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Quit))
    );
}

#[test]
fn cancelling_a_job_stops_it_and_says_so() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(possible_commit);
    harness.press("yJX");
    assert!(harness.ui.app.jobs.list[0].progress.is_cancelled());
    harness.send(Msg::Ended(
        1,
        Err(Error::cancelled("stopped; nothing is lost".to_owned())),
    ));
    assert!(
        harness.screen().contains("nothing is lost"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_plan_gone_stale_is_made_anew_with_the_reason_on_top() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(possible_commit);
    harness.press("y");
    harness.send(Msg::Ended(
        1,
        Err(Error::stale("Overlay-1B.qcow2 changed 3 s ago".to_owned())),
    ));
    harness.answer(possible_commit);
    let screen = harness.screen();
    assert!(screen.contains("changed 3 s ago"), "{screen}");
    assert!(screen.contains("[ Cancel ]"), "{screen}");
    assert_eq!(
        harness.started(),
        1,
        "nothing runs until it is agreed to again"
    );
}

#[test]
fn undo_plans_the_newest_operation_backwards() {
    let mut harness = harness();
    harness.go_to("Overlay-1.qcow2");
    harness.press("X");
    harness.answer(discard_of_three);
    harness.press("y");
    let restore = Request::Restore(Restore {
        entries: vec!["entry".to_owned()],
    });
    harness.send(Msg::Ended(1, Ok(outcome(Some(restore.clone())))));
    harness.press("z");
    assert_eq!(harness.planned().1, restore);
    harness.answer(|_| {});
    harness.press("y");
    harness.send(Msg::Ended(2, Ok(outcome(None))));
    assert!(harness.ui.app.session.undo.is_empty());
}

#[test]
fn actions_say_why_they_are_off() {
    let mut harness = harness();
    harness.go_to("RootBase.qcow2");
    harness.press("C");
    assert!(
        harness.screen().contains("built on nothing"),
        "{}",
        harness.screen()
    );
    let missing = harness
        .ui
        .app
        .forest
        .nodes()
        .find(|node| node.stat.is_none())
        .unwrap()
        .id;
    harness.ui.app.tree.cursor = harness.ui.app.tree.rows.place(missing).unwrap();
    harness.press("<down><up>b");
    assert!(
        harness.screen().contains("the file is not there"),
        "{}",
        harness.screen()
    );
    assert!(
        harness
            .asked
            .iter()
            .all(|effect| !matches!(effect, Effect::Plan { .. }))
    );
}

#[test]
fn read_only_hides_what_changes_and_refuses_its_keys() {
    let mut harness = AppHarness::with(forest(), (100, 40), |settings| settings.read_only = true);
    harness.go_to("Overlay-1.qcow2");
    harness.press("bCXPz");
    assert!(
        harness
            .asked
            .iter()
            .all(|effect| matches!(effect, Effect::Info(_) | Effect::Files(_))),
        "{:?}",
        harness.asked
    );
    assert!(
        !harness.screen().contains("commit  "),
        "{}",
        harness.screen()
    );
    harness.press("?branch");
    assert!(
        !harness.screen().contains("a new overlay on this image"),
        "{}",
        harness.screen()
    );
}

#[test]
fn help_finds_an_action_by_its_name_and_runs_it() {
    let mut harness = harness();
    harness.press("?boxes<enter>");
    assert!(harness.ui.app.diagram.is_some());
    harness.press("l");
    assert!(harness.screen().contains("Diagram"));
}

#[test]
fn every_action_works_from_the_diagram() {
    let mut harness = harness();
    harness.press("D");
    harness.go_to("RootBase.qcow2");
    harness.press("l");
    assert_eq!(harness.at(), "Overlay-1.qcow2");
    harness.press("jC");
    assert!(matches!(harness.planned().1, Request::Commit(_)));
    harness.answer(refused_commit);
    assert!(harness.screen().contains("3 images would break"));
}

#[test]
fn a_menu_shows_its_keys_and_runs_the_entry_of_the_one_pressed() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("y");
    assert!(harness.screen().contains("p  copy"), "{}", harness.screen());
    harness.press("p");
    let copied = harness.asked.iter().find_map(|effect| match effect {
        Effect::Copy(text) => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(copied, Some("/vm/Overlay-1B.qcow2"));
    harness.press("yq");
    harness.asked.clear();
    harness.press("yx");
    let copied = harness.asked.iter().find_map(|effect| match effect {
        Effect::Copy(text) => Some(text.as_str()),
        _ => None,
    });
    let xml = copied.expect("the <disk>");
    assert!(
        xml.contains("<source file='/vm/Overlay-1B.qcow2'/>"),
        "{xml}"
    );
    assert!(!xml.contains("backingStore"), "{xml}");
    harness.press("xb");
    assert!(matches!(harness.ui.dialogs.top(), Some(Dialog::Form(_))));
    harness.press("<esc>x|");
    assert!(
        harness.screen().contains("| is none of these"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_rebase_compresses_only_when_asked() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press(" ");
    harness.go_to("Overlay-2.qcow2");
    harness.press("B<up> <enter>");
    assert!(matches!(
        harness.planned().1,
        Request::Rebase(Rebase {
            dedupe: false,
            compress: true,
            ..
        })
    ));
}

#[test]
fn the_marked_image_is_built_on_the_one_under_the_cursor() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press(" ");
    harness.go_to("Overlay-2.qcow2");
    harness.press("B<enter>");
    assert!(matches!(
        harness.planned().1,
        Request::Rebase(Rebase { image, to, dedupe: false, compress: false, .. })
            if image == Path::new("/vm/Overlay-1B.qcow2") && to == Path::new("/vm/Overlay-2.qcow2")
    ));
    harness.answer(possible_commit);
    assert_eq!(harness.started(), 0, "a plan is shown first");
    harness.press("<esc>");
    assert!(
        matches!(harness.ui.dialogs.top(), Some(Dialog::Form(_))),
        "one step back"
    );
    // Space on the second field chooses to change the header only.
    harness.press("<tab> <enter>");
    assert!(matches!(harness.planned().1, Request::Relink(_)));
}

#[test]
fn an_overlay_is_built_on_nothing_by_its_header_alone() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("B");
    harness.press(&"<backspace>".repeat(80));
    harness.press("<enter>");
    assert!(
        matches!(harness.ui.dialogs.top(), Some(Dialog::Form(_))),
        "it cannot receive what would show otherwise from nowhere"
    );
    harness.press("<tab> ");
    assert!(
        harness.screen().contains("built on nothing"),
        "{}",
        harness.screen()
    );
    harness.press("<enter>");
    assert!(matches!(
        harness.planned().1,
        Request::Unlink(Unlink { image }) if image == Path::new("/vm/Overlay-1B.qcow2")
    ));
    harness.answer(possible_commit);
    assert_eq!(harness.started(), 0, "a plan is shown first");
    // So is one whose base is missing, where its problem is mended.
    let mut harness = self::harness();
    harness.go_to("lost.qcow2");
    harness.press("6<enter>");
    assert!(
        harness.screen().contains("built on"),
        "{}",
        harness.screen()
    );
    harness.press(&"<backspace>".repeat(80));
    harness.press("<enter>");
    assert!(matches!(
        harness.planned().1,
        Request::Unlink(Unlink { image }) if image.ends_with("lost.qcow2")
    ));
}

#[test]
fn a_size_is_typed_and_planned() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("Eten<enter>");
    assert!(
        harness.screen().contains("is no size"),
        "{}",
        harness.screen()
    );
    assert!(harness.screen().contains("+10G"), "{}", harness.screen());
    harness.press("<backspace><backspace><backspace>1.5G<enter>");
    assert!(matches!(
        harness.planned().1,
        Request::Resize(Resize {
            size: NewSize::More(size),
            shrink: false,
            preallocation: Preallocation::Off,
            ..
        }) if size == 3 << 29
    ));
    harness.press("<esc><up> <enter>");
    assert!(matches!(
        harness.planned().1,
        Request::Resize(Resize {
            preallocation: Preallocation::Metadata,
            ..
        })
    ));
}

#[test]
fn a_flat_copy_is_planned_while_its_name_is_typed() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("f");
    assert!(matches!(
        harness.planned().1,
        Request::Flatten(Flatten { new: Some(new), onto: None, .. })
            if new == std::path::Path::new("/vm/Overlay-1B-flat.qcow2")
    ));
    harness.answer(new_branch);
    harness.press("<enter>");
    assert_eq!(harness.started(), 1);
}

#[test]
fn a_job_of_a_machine_is_paused_and_held_to_a_speed_by_keys() {
    let mut harness = AppHarness::new(forest(), (120, 40));
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(possible_commit);
    harness.press("yJ");
    // Not one that this program copies itself.
    harness.press("p");
    let screen = harness.screen();
    assert!(
        screen.contains("only what a machine copies is paused"),
        "{screen}"
    );
    let progress = harness.ui.app.jobs.list[0].progress.clone();
    let tell = |harness: &mut AppHarness| harness.send(Msg::Progress(vec![(1, progress.view())]));
    progress.enter(Phase::Copy, 64 << 20);
    progress.offer(Controls::SpeedAndPause, 0);
    tell(&mut harness);
    harness.press("p");
    assert!(progress.view().is_paused);
    let screen = harness.screen();
    assert!(screen.contains("paused"), "{screen}");
    harness.press("p-");
    assert!(!progress.view().is_paused);
    let half = progress.view().speed;
    assert!(half.is_power_of_two(), "{half}");
    harness.press("--");
    assert_eq!(progress.view().speed, half / 4);
    let screen = harness.screen();
    assert!(screen.contains("at most 512 MiB/s"), "{screen}");
    harness.press("+");
    assert_eq!(progress.view().speed, half / 2);
    harness.press("0");
    assert_eq!(progress.view().speed, 0);
    progress.offer(Controls::Speed, 0);
    harness.press("p");
    let screen = harness.screen();
    assert!(
        !progress.view().is_paused && screen.contains("no pause"),
        "{screen}"
    );
}

#[test]
fn jobs_on_other_trees_run_side_by_side() {
    let mut harness = harness();
    for (image, plan) in [
        ("Overlay-1B.qcow2", "RootBase.qcow2"),
        (
            "with \u{1b}[31mcolour and a very long name indeed, longer than any column.qcow2",
            "golden-win.qcow2",
        ),
    ] {
        harness.go_to(image);
        harness.press("C");
        harness.answer(|made| {
            possible_commit(made);
            made.effects = vec![change(EffectKind::Writes, plan, 0, "")];
        });
        harness.press("y");
    }
    assert_eq!(harness.started(), 2);
    harness.send(Msg::Ended(
        1,
        Err(Error::failed("the disk is full".to_owned())),
    ));
    harness.press("<esc>Jk");
    harness.press("r");
    assert!(matches!(harness.planned().1, Request::Commit(_)));
    harness.press("<esc><enter>");
    assert!(
        harness.screen().contains("the disk is full"),
        "{}",
        harness.screen()
    );
}

#[test]
fn what_cannot_be_looked_through_is_told_in_the_health_pane() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("c");
    let path = PathBuf::from("/vm/Overlay-1B.qcow2");
    let stat = harness.ui.app.selected().unwrap().stat.clone();
    let found = Err(Error::in_use("process 7 writes it".to_owned()));
    harness.send(Msg::Checked(1, path, stat, Box::new(found)));
    harness.send(Msg::Ended(1, Ok(outcome(None))));
    harness.press("6");
    let screen = harness.screen();
    assert!(screen.contains("could not be looked through"), "{screen}");
    assert!(screen.contains("process 7 writes it"), "{screen}");
    harness.press("1L");
    assert!(
        harness.screen().contains("not checked: process 7"),
        "{}",
        harness.screen()
    );
}

#[test]
fn in_a_large_forest_a_worker_finds_what_the_filter_asks_for() {
    let images = (0..5000).map(|i| qcow2(&format!("image-{i:04}.qcow2"), 1 << 20, 60));
    let mut harness = AppHarness::new(images.collect(), (100, 40));
    harness.press("/image-0042");
    assert!(
        harness.screen().contains("image-0000"),
        "the rows stay meanwhile"
    );
    let asked = harness.asked.iter().rev().find_map(|effect| match effect {
        Effect::Filter {
            query_id,
            line,
            forest,
            now,
            ..
        } => {
            let hits = Filter::parse(line).hits(forest, Places::default(), *now);
            Some((*query_id, hits))
        }
        _ => None,
    });
    let (query_id, hits) = asked.expect("a worker was asked");
    harness.send(Msg::Filtered(query_id, hits.into()));
    let screen = harness.screen();
    assert!(
        screen.contains("image-0042") && !screen.contains("image-0000"),
        "{screen}"
    );
    assert!(screen.contains("1 of 5,000"), "{screen}");
}

#[test]
fn letters_in_their_order_do_where_no_name_has_them_side_by_side() {
    let mut harness = harness();
    harness.press("/ovl2b");
    let screen = harness.screen();
    assert!(screen.contains("Overlay-2B"), "{screen}");
    assert!(!screen.contains("golden"), "{screen}");
}

#[test]
fn files_that_change_while_others_are_looked_at_are_looked_at_after_them() {
    let mut harness = harness();
    let changed = |name: &str| Msg::Changed(Some(vec![PathBuf::from(name)]));
    harness.send(changed("/vm/a"));
    harness.send(changed("/vm/b"));
    harness.send(changed("/vm/c"));
    let refreshes = |harness: &AppHarness| -> Vec<(u64, Vec<PathBuf>)> {
        let effects = harness.asked.iter();
        let all = effects.filter_map(|effect| match effect {
            Effect::Refresh(query_id, _, files) => Some((*query_id, files.clone())),
            _ => None,
        });
        all.collect()
    };
    let first = refreshes(&harness);
    assert_eq!(first.len(), 1);
    let forest = std::sync::Arc::clone(&harness.ui.app.forest);
    harness.send(Msg::Refreshed(first[0].0, forest));
    let then = refreshes(&harness);
    assert_eq!(then.len(), 2);
    assert_eq!(then[1].1, [PathBuf::from("/vm/b"), "/vm/c".into()]);
}

#[test]
fn a_move_is_planned_from_its_form_and_undo_looks_into_the_journal() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press(
        "M<backspace><backspace><backspace><backspace><backspace><backspace>-old.qcow2<enter>",
    );
    let Request::Move(MoveImages { moves, subtree }) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert!(!subtree);
    assert_eq!(moves[0].to, PathBuf::from("/vm/Overlay-1B-old.qcow2"));
    harness.press("<esc><esc>z");
    assert!(matches!(
        harness.planned().1,
        Request::Undo(UndoEntry { entry: None, .. })
    ));
}

/// Puts the cursor on the row that shows this.
fn go_to_row(harness: &mut AppHarness, what: &str) {
    harness.press("g");
    for _ in 0..harness.ui.app.tree.rows.list.len() {
        let screen = harness.screen();
        if screen
            .lines()
            .any(|line| line.contains('▌') && line.contains(what))
        {
            return;
        }
        harness.press("j");
    }
    panic!("no row shows {what}");
}

#[test]
fn snapshots_have_rows_and_what_is_done_there_is_done_to_them() {
    let mut harness = harness();
    go_to_row(&mut harness, "before the update (ID 1)");
    assert_eq!(harness.at(), "golden-win.qcow2");
    let the_first = SnapshotName::Id("1".into());
    harness.press("X");
    assert!(matches!(
        harness.planned().1,
        Request::Snapshot(ChangeSnapshot {
            action: SnapshotAction::Delete { snapshot },
            ..
        }) if snapshot == the_first
    ));
    harness.answer(possible_commit);
    let screen = harness.screen();
    let row = screen
        .lines()
        .find(|line| line.contains("before the update"));
    assert!(row.unwrap().contains('✗'), "{screen}");
    harness.press("<esc>SA");
    assert!(matches!(
        harness.planned().1,
        Request::Snapshot(ChangeSnapshot {
            action: SnapshotAction::Apply { snapshot, .. },
            ..
        }) if snapshot == the_first
    ));
    harness.press("<esc>f");
    assert!(matches!(
        harness.planned().1,
        Request::Snapshot(ChangeSnapshot {
            action: SnapshotAction::Extract { snapshot, .. },
            ..
        }) if snapshot == the_first
    ));
    harness.press("<esc>");
    harness.asked.clear();
    for (key, why) in [
        ("C", "Commit: the cursor is on a snapshot"),
        ("b", "nothing can be built on a snapshot"),
        (" ", "only images are marked"),
    ] {
        harness.press(key);
        assert!(harness.screen().contains(why), "{}", harness.screen());
    }
    assert!(harness.asked.is_empty(), "{:?}", harness.asked);
    harness.press("p");
    assert!(harness.ui.app.snapshot().is_none());
    assert_eq!(harness.at(), "golden-win.qcow2");
}

#[test]
fn the_cursor_stays_on_its_snapshot_while_rows_come_and_go_and_images_fold_over_them() {
    let mut harness = harness();
    go_to_row(&mut harness, "running (ID 2)");
    harness.press("ss");
    assert_eq!(harness.ui.app.snapshot().unwrap().id, b"2");
    harness.press("p");
    harness.press("h");
    assert!(!harness.screen().contains("running (ID 2)"));
    assert!(
        harness.screen().contains("1 hidden (folded)"),
        "{}",
        harness.screen()
    );
    harness.press("l/running");
    assert!(
        harness.screen().contains("● golden-win"),
        "found by its snapshot"
    );
    assert!(!harness.screen().contains("RootBase"));
}

#[test]
fn copies_of_every_kind_are_planned_from_their_forms() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("u");
    assert!(matches!(
        harness.planned().1,
        Request::Clone(CloneImage { new, .. }) if new.ends_with("Overlay-1B-copy.qcow2")
    ));
    harness.press("<esc>e");
    assert!(matches!(
        harness.planned().1,
        Request::Export(Export { dir, .. }) if dir.ends_with("Overlay-1B-export")
    ));
    harness.press("<esc>I");
    harness.press("elsewhere");
    assert!(matches!(
        harness.planned().1,
        Request::Import(Import { dir, to }) if dir.ends_with("elsewhere") && to.as_path() == Path::new("/vm")
    ));
    harness.press("<esc>V");
    let converted = |harness: &AppHarness| match harness.planned().1 {
        Request::Convert(options) => options,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        converted(&harness).form,
        ConvertForm::Qcow2 { compress: None, .. }
    ));
    harness.press("<tab><tab> ");
    assert!(matches!(
        converted(&harness).form,
        ConvertForm::Qcow2 {
            compress: Some(_),
            ..
        }
    ));
    harness.press("<up> ");
    let Some(Dialog::Form(form)) = harness.ui.dialogs.top() else {
        panic!("a form");
    };
    let labels: Vec<&str> = form.shown().map(|(_, field)| field.name.label()).collect();
    assert_eq!(
        labels,
        ["name", "to", "reserve", "unread", "sparse"],
        "what a raw image has"
    );
    let raw = converted(&harness);
    assert!(matches!(raw.form, ConvertForm::Raw { .. }));
    harness.press("<down><down> ");
    assert!(converted(&harness).salvage);
    harness.press("<down><backspace><backspace>12K");
    assert_eq!(converted(&harness).sparse.bytes(), 12 << 10);
    harness.press("<up><up><up> ");
    assert_eq!(converted(&harness).form, ConvertForm::Existing);
    harness.press("<left>");
    assert!(raw.new.ends_with("Overlay-1B-converted.raw"), "{raw:?}");
    harness.press("<down> ");
    assert!(matches!(
        converted(&harness).form,
        ConvertForm::Raw {
            preallocation: Preallocation::Falloc
        }
    ));
    harness.answer(new_branch);
    harness.press("<enter>");
    assert_eq!(harness.started(), 1);
}

#[test]
fn what_is_asked_of_headers_and_bitmaps_is_planned_first() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("O<enter>");
    assert!(
        harness.screen().contains("nothing is to be another way"),
        "{}",
        harness.screen()
    );
    harness.press("  <tab>  <enter>");
    let Request::Amend(AmendImage { amendment, .. }) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert_eq!(amendment.version, Some(qanopy::qcow2::Version::V2));
    assert_eq!(amendment.refcount_order, Some(1), "two bits");
    assert_eq!(amendment.compression, None);
    harness.press("<esc><esc>K");
    assert!(
        harness.screen().contains("a bitmap that records"),
        "{}",
        harness.screen()
    );
    harness.press("<enter>since-monday<enter>");
    assert!(matches!(
        harness.planned().1,
        Request::Bitmap(ChangeBitmap {
            action: BitmapAction::Add {
                granularity: None,
                enabled: true
            },
            ..
        })
    ));
    harness.press("<esc><esc>");
    harness.go_to("Overlay-1.qcow2");
    harness.press("Q");
    let direction = |harness: &AppHarness| match harness.planned().1 {
        Request::Squash(Squash { direction, .. }) => direction,
        other => panic!("{other:?}"),
    };
    assert_eq!(direction(&harness), None);
    harness.press("t");
    assert_eq!(direction(&harness), Some(Direction::Down));
    harness.press("t");
    assert_eq!(direction(&harness), Some(Direction::Up));
    harness.press("<esc>");
    harness.go_to("Overlay-1B.qcow2");
    harness.press("Q");
    assert!(
        harness.screen().contains("nothing is built on it"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_commit_goes_further_down_keeps_the_old_base_and_is_proved_on_demand() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    let asked = |harness: &AppHarness| match harness.planned().1 {
        Request::Commit(Commit { into, keep_old, .. }) => (into, keep_old),
        other => panic!("{other:?}"),
    };
    harness.press("i");
    assert_eq!(asked(&harness).0, Some(PathBuf::from("/vm/RootBase.qcow2")));
    harness.press("o");
    assert_eq!(
        asked(&harness).1,
        Some(PathBuf::from("/vm/RootBase-before.qcow2"))
    );
    harness.press("i");
    assert_eq!(asked(&harness).0, None, "behind the root it begins again");
    harness.press("o");
    assert_eq!(asked(&harness).1, None);
    harness.answer(possible_commit);
    harness.press("v");
    assert!(
        harness.screen().contains(" proves "),
        "{}",
        harness.screen()
    );
    harness.press("y");
    assert_eq!(harness.started(), 1);
}

#[test]
fn two_marked_images_are_compared_by_a_job() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("t");
    assert!(
        harness.screen().contains("mark two images"),
        "{}",
        harness.screen()
    );
    harness.press(" ");
    harness.go_to("Overlay-2.qcow2");
    harness.press("t");
    let compared = harness.asked.iter().find_map(|effect| match effect {
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
    found.remarks = vec![Note::new(NoteKind::Manner, "at 0: 512 B differ")];
    harness.send(Msg::Ended(1, Ok(found)));
    assert!(
        !harness.screen().contains("512 B differ"),
        "the list is in the log"
    );
    harness.press("J<enter>");
    assert!(
        harness.screen().contains("512 B differ"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_passphrase_is_typed_unseen_and_the_plan_made_anew() {
    let mut harness = harness();
    harness.go_to("Overlay-2A.qcow2");
    harness.press("C");
    let (query_id, _) = harness.planned();
    let image = PathBuf::from("/vm/Overlay-2A.qcow2");
    harness.send(Msg::Locked(query_id, image.clone()));
    harness.answer(refused_commit);
    assert!(
        harness.screen().contains("u give the passphrase"),
        "{}",
        harness.screen()
    );
    harness.press("u");
    harness.send(Msg::Paste("open".to_owned()));
    harness.press("sesameX<backspace>");
    let screen = harness.screen();
    assert!(
        screen.contains("Passphrase of Overlay-2A.qcow2"),
        "{screen}"
    );
    assert!(
        screen.contains("••••••••••") && !screen.contains("sesame"),
        "{screen}"
    );
    harness.asked.clear();
    harness.press("<enter>");
    let [Effect::Unlock(unlocked, passphrase), Effect::Plan { .. }] = &harness.asked[..] else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(*unlocked, image);
    assert_eq!(passphrase.bytes(), b"opensesame");
    assert!(!format!("{:?} {:?}", harness.asked, harness.ui.dialogs).contains("sesame"));
    harness.answer(possible_commit);
    assert!(!harness.screen().contains("give the passphrase"));
    harness.press("y");
    assert_eq!(harness.started(), 1);
}

#[test]
fn a_form_whose_image_is_locked_asks_for_the_passphrase_on_enter() {
    let mut harness = harness();
    harness.go_to("Overlay-2A.qcow2");
    harness.press("f");
    let (query_id, _) = harness.planned();
    harness.send(Msg::Locked(query_id, PathBuf::from("/vm/Overlay-2A.qcow2")));
    harness.answer(refused_commit);
    harness.press("<enter>");
    assert!(matches!(harness.ui.dialogs.top(), Some(Dialog::Secret(_))));
    harness.press("pw<enter>");
    assert!(matches!(harness.ui.dialogs.top(), Some(Dialog::Form(_))));
    harness.answer(new_branch);
    harness.press("<enter>");
    assert_eq!(harness.started(), 1);
}

#[test]
fn the_question_about_running_jobs_goes_when_the_last_one_has_ended() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(possible_commit);
    harness.press("yq");
    assert!(matches!(harness.ui.dialogs.top(), Some(Dialog::Leave(_))));
    harness.send(Msg::Ended(1, Ok(outcome(None))));
    assert!(harness.ui.dialogs.is_empty());
    assert!(
        harness
            .screen()
            .contains("That was the last job: q leaves."),
        "{}",
        harness.screen()
    );
    harness.press("q");
    assert!(matches!(harness.asked.last(), Some(Effect::Quit)));
}

#[test]
fn the_end_of_a_long_job_is_told_to_somebody_who_looks_elsewhere() {
    let told = |focus: Option<bool>, seconds: u64| {
        let mut harness = harness();
        harness.go_to("Overlay-1B.qcow2");
        harness.press("C");
        harness.answer(possible_commit);
        harness.press("y");
        if let Some(is_there) = focus {
            harness.send(Msg::Focus(is_there));
        }
        let mut view = harness.ui.app.jobs.list[0].view;
        view.elapsed = Duration::from_secs(seconds);
        harness.send(Msg::Progress(vec![(1, view)]));
        harness.send(Msg::Ended(1, Ok(outcome(None))));
        let mut asked = harness.asked.into_iter();
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
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("B");
    let form = |harness: &AppHarness| match harness.ui.dialogs.top() {
        Some(Dialog::Form(form)) => (form.text(FieldName::Base).to_owned(), form.at),
        other => panic!("{other:?}"),
    };
    let (proposed, _) = form(&harness);
    harness.press(&"<backspace>".repeat(proposed.len()));
    harness.names = vec!["RootBase.qcow2".to_owned()];
    harness.press("Ro<tab>");
    let asked = harness.asked.iter().find_map(|effect| match effect {
        Effect::Complete(_, begun) => Some(begun.clone()),
        _ => None,
    });
    assert_eq!(asked, Some(PathBuf::from("/vm/Ro")));
    assert_eq!(form(&harness), ("RootBase.qcow2".to_owned(), 0));
    harness.press("<tab>");
    assert_eq!(form(&harness).1, 1, "it is whole");
}

#[test]
fn keys_pressed_while_a_name_is_looked_up_go_to_the_field_they_are_meant_for() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("V");
    // Told straight to the step: the harness would answer at once.
    let mut asked = update(&mut harness.ui, Msg::Key(keys_of("<tab>")[0]));
    asked.extend(update(&mut harness.ui, Msg::Key(keys_of(" ")[0])));
    let Some(Effect::Complete(query_id, _)) = asked.first() else {
        panic!("{asked:?}");
    };
    harness.send(Msg::Completed(*query_id, Completions::default()));
    let Some(Dialog::Form(form)) = harness.ui.dialogs.top() else {
        panic!("a form");
    };
    assert_eq!((form.at, form.word(FieldName::To)), (1, Some("raw")));
    assert!(
        form.text(FieldName::Name).ends_with("-converted.raw"),
        "{}",
        form.text(FieldName::Name)
    );
    update(&mut harness.ui, Msg::Key(keys_of("<up>")[0]));
    update(&mut harness.ui, Msg::Key(keys_of("<tab>")[0]));
    harness.press("<esc>");
    assert!(harness.ui.dialogs.is_empty(), "leaving waits for nothing");
}

#[test]
fn what_helps_stands_beside_each_line_of_the_health_pane_and_enter_does_it() {
    let mut harness = harness();
    harness.go_to("lost.qcow2");
    harness.press("6");
    assert!(
        harness.screen().contains("says where it went"),
        "{}",
        harness.screen()
    );
    harness.press("<enter>");
    assert!(
        harness
            .screen()
            .contains("Relink lost.qcow2: what it is built on"),
        "{}",
        harness.screen()
    );
    harness.press("<esc>j<enter>");
    assert!(
        harness.asked.iter().any(|effect| matches!(
            effect,
            Effect::Run {
                work: Work::Check(_),
                ..
            }
        )),
        "{:?}",
        harness.asked
    );
    harness.press("1");
    harness.go_to("Overlay-1B.qcow2");
    harness.press("6j");
    assert!(
        harness.screen().contains(". Enter goes there."),
        "{}",
        harness.screen()
    );
    harness.press("<enter>");
    assert_eq!(
        harness.at(),
        "lost.qcow2",
        "from there to the one with problems"
    );
}

/// A finding about a file, with what helps.
fn finding(name: &'static str, path: &str, fix: impl Into<Request>) -> Finding {
    Finding {
        name,
        why: "It matters.",
        path: path.into(),
        node: None,
        what: format!("Something is wrong with {path}."),
        sure: Sure::Likely,
        fixes: vec![Remedy::ask(fix)],
    }
}

#[test]
fn what_the_doctor_finds_stands_in_the_health_pane_of_the_image_and_of_all_others() {
    let mut harness = harness();
    let examines = |harness: &AppHarness| {
        let mut asked = harness.asked.iter();
        asked.any(|effect| matches!(effect, Effect::Examine(_)))
    };
    assert!(!examines(&harness), "not before machines are known");
    harness.send(Msg::Machines(Arc::default()));
    assert!(examines(&harness));
    let protect = |image: &str| Protect {
        image: image.into(),
        mode: None,
    };
    let emptied = EmptyTrash {
        entries: vec!["one".to_owned()],
    };
    harness.send(Msg::Examined(vec![
        finding(
            "old-version",
            "/vm/Overlay-1A.qcow2",
            protect("/vm/Overlay-1A.qcow2"),
        ),
        finding("old-trash", "/vm/.qanopy-trash", emptied),
    ]));
    harness.go_to("Overlay-1A.qcow2");
    harness.press("6");
    let screen = harness.screen();
    assert!(screen.contains("(likely) It matters."), "{screen}");
    assert!(screen.contains("1 finding about other files:"), "{screen}");
    harness.press("<enter>");
    assert_eq!(harness.planned().1, protect("/vm/Overlay-1A.qcow2").into());
    harness.press("<esc>1");
    harness.go_to("Overlay-1B.qcow2");
    harness.press("6");
    let screen = harness.screen();
    assert!(screen.contains("2 findings about other files:"), "{screen}");
    assert!(screen.contains("Overlay-1A.qcow2: old-version"), "{screen}");
}

#[test]
fn what_several_marked_images_are_gets_noted_by_one_form() {
    let mut harness = harness();
    let names = ["Overlay-1A.qcow2", "Overlay-1B.qcow2"];
    for name in names {
        harness.go_to(name);
        harness.press(" ");
    }
    harness.press("#");
    let screen = harness.screen();
    assert!(
        screen.contains("Note: what are these 2 images?"),
        "{screen}"
    );
    harness.press("<enter>");
    assert!(harness.screen().contains("nothing is to be noted"));
    harness.press("<down>web, lab<down>golden<enter>");
    let of = |name: &&str| Annotate {
        image: Path::new("/vm").join(name),
        tag: vec!["web".to_owned(), "lab".to_owned()],
        untag: vec!["golden".to_owned()],
        ..Annotate::default()
    };
    let images = names.iter().map(of).collect();
    assert_eq!(harness.planned().1, AnnotateSeveral { images }.into());
}

#[test]
fn what_an_image_is_gets_noted_in_a_form_and_stands_beside_its_name() {
    let mut harness = harness();
    harness.go_to("Overlay-1A.qcow2");
    harness.press("#");
    harness.press("patched in May\\nby hand<down>golden, Web<enter>");
    let asked = Annotate {
        image: "/vm/Overlay-1A.qcow2".into(),
        text: Some("patched in May\nby hand".to_owned()),
        tag: vec!["golden".to_owned(), "Web".to_owned()],
        clear: true,
        ..Annotate::default()
    };
    assert_eq!(harness.planned().1, asked.into());
    harness.press("<esc><esc>");
    let node = harness
        .ui
        .app
        .forest
        .by_path(Path::new("/vm/Overlay-1A.qcow2"));
    let mut found = harness.ui.app.forest.found(node.unwrap());
    found.annotation = Some(Box::new(Annotation {
        text: "patched in May\nby hand".to_owned(),
        tags: vec!["golden".to_owned(), "web".to_owned()],
        in_folder: false,
    }));
    Arc::make_mut(&mut harness.ui.app.forest).add(found);
    harness.press("2");
    let screen = harness.screen();
    assert!(screen.contains("Overlay-1A.qcow2 #golden #web"), "{screen}");
    assert!(
        screen.contains("patched in May") && screen.contains("by hand"),
        "{screen}"
    );
    harness.press("1#");
    let screen = harness.screen();
    assert!(screen.contains("patched in May\\nby hand"), "{screen}");
    harness.press("<esc>/tag:gold note:hand<enter>");
    let screen = harness.screen();
    assert!(
        screen.contains("Overlay-1A.qcow2") && !screen.contains("Overlay-1B.qcow2"),
        "{screen}"
    );
}

/// The passphrase that is held for a new image, with that image.
fn protected(harness: &AppHarness) -> Option<(PathBuf, Vec<u8>)> {
    harness.asked.iter().rev().find_map(|effect| match effect {
        Effect::Protect(images, passphrase) => {
            Some((images[0].clone(), passphrase.bytes().to_vec()))
        }
        _ => None,
    })
}

#[test]
fn a_new_image_is_encrypted_with_a_passphrase_that_is_typed_twice_and_never_seen() {
    let mut harness = harness();
    harness.go_to("Overlay-1.qcow2");
    harness.press("b");
    assert!(
        !harness.screen().contains("passphrase"),
        "{}",
        harness.screen()
    );
    harness.press("<down><down><down> ");
    assert!(
        harness.screen().contains("once more"),
        "{}",
        harness.screen()
    );
    harness.asked.clear();
    harness.press("<enter>");
    assert!(
        harness.screen().contains("passphrase is missing"),
        "{}",
        harness.screen()
    );
    harness.press("<down>sesame<down>");
    harness.send(Msg::Paste("sesam".to_owned()));
    harness.press("<enter>");
    let screen = harness.screen();
    assert!(screen.contains("both times the same"), "{screen}");
    assert!(
        screen.contains("[••••••") && !screen.contains("sesam"),
        "{screen}"
    );
    assert_eq!(protected(&harness), None);
    assert!(
        !harness
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Plan { .. }))
    );
    harness.press("e");
    let new = PathBuf::from("/vm/Overlay-1C.qcow2");
    assert_eq!(protected(&harness), Some((new.clone(), b"sesame".to_vec())));
    assert!(!format!("{:?} {:?}", harness.asked, harness.ui.dialogs).contains("sesam"));
    let Request::Branch(Branch { image, .. }) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert!(image.encryption.is_some());
    harness.answer(new_branch);
    harness.press("<enter>");
    assert_eq!(harness.started(), 1);
    let forgets = |harness: &AppHarness| {
        harness
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Forget))
    };
    assert!(!forgets(&harness), "should it fail, it is planned again");
    harness.send(Msg::Ended(1, Ok(outcome(None))));
    assert!(forgets(&harness));
    harness.press("L");
    assert!(!harness.screen().contains("sesam"));
}

#[test]
fn a_form_that_is_left_leaves_no_passphrase_behind() {
    let mut harness = harness();
    harness.press("<c-n><down><down><down> <down>open<down>open");
    let Request::Create(options) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert!(options.image.encryption.is_some());
    assert!(protected(&harness).is_some());
    harness.press("<esc>");
    assert!(
        matches!(harness.asked.last(), Some(Effect::Forget)),
        "{:?}",
        harness.asked
    );
    harness.asked.clear();
    harness.press("j");
    assert!(
        !harness
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Forget))
    );
}

#[test]
fn a_conversion_encrypts_and_takes_bitmaps_along_where_there_are_any() {
    let mut forest = forest();
    forest.push(qcow2("tracked.qcow2", 1 << 30, 60).info(|info| info.bitmaps = 2));
    let mut harness = AppHarness::new(forest, (100, 40));
    harness.go_to("Overlay-1B.qcow2");
    harness.press("V");
    assert!(
        !harness.screen().contains("bitmaps"),
        "{}",
        harness.screen()
    );
    harness.press("<esc>");
    harness.go_to("tracked.qcow2");
    let converted = |harness: &AppHarness| match harness.planned().1 {
        Request::Convert(options) => options,
        other => panic!("{other:?}"),
    };
    harness.press("V<up><up>");
    assert!(
        harness.screen().contains("luks: without"),
        "{}",
        harness.screen()
    );
    harness.press("<up><up><up> ");
    assert_eq!(converted(&harness).bitmaps, CarriedBitmaps::All);
    harness.press(" ");
    assert_eq!(converted(&harness).bitmaps, CarriedBitmaps::Sound);
    harness.press("<down><down><down> <down>open<down>open");
    let ConvertForm::Qcow2 { image, .. } = converted(&harness).form else {
        panic!("{:?}", harness.planned());
    };
    assert!(image.encryption.is_some());
    assert!(protected(&harness).is_some());
}

#[test]
fn a_flat_copy_is_compressed_as_it_is_asked_for() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    let compress = |harness: &AppHarness| match harness.planned().1 {
        Request::Flatten(Flatten { compress, .. }) => compress.map(|how| how.kind),
        other => panic!("{other:?}"),
    };
    harness.press("f<up>");
    assert_eq!(compress(&harness), None);
    harness.press(" ");
    assert_eq!(compress(&harness), Some(Compression::Zlib));
    harness.press(" ");
    assert_eq!(compress(&harness), Some(Compression::Zstd));
}

#[test]
fn a_copy_is_made_in_each_of_its_ways() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("u<down><down> ");
    let Request::Clone(CloneImage { chain, reflink, .. }) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert_eq!((chain, reflink), (false, Reflink::Always));
    harness.press("<up> ");
    assert!(harness.screen().contains("folder"), "{}", harness.screen());
    harness.asked.clear();
    harness.press("<enter>");
    assert!(
        harness.screen().contains("the folder needs a name"),
        "{}",
        harness.screen()
    );
    harness.press("<up>copies");
    let Request::Clone(CloneImage {
        new,
        chain,
        reflink,
        ..
    }) = harness.planned().1
    else {
        panic!("{:?}", harness.planned());
    };
    assert_eq!((chain, reflink), (true, Reflink::Always));
    assert_eq!(new, PathBuf::from("/vm/copies"));
    harness.press("<down> ");
    let Request::Branch(Branch { base, new, .. }) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert_eq!(base, PathBuf::from("/vm/Overlay-1B.qcow2"));
    assert_eq!(new, PathBuf::from("/vm/Overlay-1B-copy.qcow2"));
    assert!(
        !harness.screen().contains("reflink"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_comparison_that_lacks_a_passphrase_asks_for_it_and_begins_anew() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press(" ");
    harness.go_to("Overlay-2A.qcow2");
    harness.press("t");
    let image = PathBuf::from("/vm/Overlay-2A.qcow2");
    let locked = |words: &str| {
        Msg::JobLocked(
            1,
            image.clone(),
            Error::failed(format!("Overlay-2A.qcow2: {words}")),
        )
    };
    harness.send(locked("no passphrase was given"));
    let screen = harness.screen();
    assert!(
        screen.contains("Passphrase of Overlay-2A.qcow2"),
        "{screen}"
    );
    assert!(screen.contains("no passphrase was given"), "{screen}");
    harness.asked.clear();
    harness.press("sesame<enter>");
    let [
        Effect::Unlock(unlocked, passphrase),
        Effect::Run {
            job: 1,
            work: Work::Compare(images),
            ..
        },
    ] = &harness.asked[..]
    else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!((unlocked, passphrase.bytes()), (&image, &b"sesame"[..]));
    assert!(images.contains(&image));
    assert_eq!(harness.ui.app.jobs.list.len(), 1, "it is the same job");
    harness.send(locked("opens none of its key slots"));
    harness.press("<esc>");
    assert!(matches!(
        harness.ui.app.jobs.list[0].state,
        JobState::Failed(_)
    ));
    assert!(harness.ui.dialogs.is_empty());
}

#[test]
fn how_large_a_copy_would_be_is_told() {
    let mut harness = harness();
    go_to_row(&mut harness, "running (ID 2)");
    harness.press("W");
    let Some(Effect::Measure {
        query_id, snapshot, ..
    }) = harness.asked.last()
    else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(snapshot.as_deref(), Some(&b"2"[..]));
    let query_id = *query_id;
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
    harness.send(Msg::Measured(
        query_id - 1,
        Err("an answer to another question".to_owned()),
    ));
    assert!(
        harness.screen().contains("Reading its tables"),
        "{}",
        harness.screen()
    );
    harness.send(Msg::Measured(query_id, Ok(found)));
    let screen = harness.screen();
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
    harness.press("<esc>");
    assert!(harness.ui.dialogs.is_empty());
}

/// The images that what is asked for now is about.
fn about(harness: &AppHarness) -> Vec<PathBuf> {
    match harness.ui.dialogs.top() {
        Some(Dialog::Form(form)) => vec![form.image.clone()],
        Some(Dialog::Measure(dialog)) => vec![dialog.image.clone()],
        Some(Dialog::List(menu)) => {
            vec![PathBuf::from("/vm").join(menu.title.rsplit(' ').next().unwrap_or_default())]
        }
        _ => match harness.planned().1 {
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
                .info(|info| info.corrupt = true),
        );
        forest.push(qcow2("on-odd.qcow2", 1 << 30, 60).on("odd.qcow2"));
        let mut harness = AppHarness::new(forest, (100, 40));
        harness.go_to(if mark { "odd.qcow2" } else { "Overlay-1.qcow2" });
        if mark {
            harness.press(" ");
            harness.go_to("Overlay-1.qcow2");
        }
        harness
    };
    for key in [
        "b", "f", "u", "V", "e", "C", "B", "F", "Q", "M", "E", "S", "K", "O", "X", "W", "x", "R",
    ] {
        for (mark, name) in [(true, "/vm/odd.qcow2"), (false, "/vm/Overlay-1.qcow2")] {
            if key == "R" && !mark {
                // Nothing is wrong with that one.
                continue;
            }
            let mut harness = prepare(mark);
            harness.press(key);
            assert_eq!(
                about(&harness),
                [PathBuf::from(name)],
                "{key} with a mark: {mark}"
            );
        }
    }
    let mut harness = prepare(true);
    harness.press(" ");
    for key in ["b", "u", "C", "Q", "E", "S", "W"] {
        harness.press(key);
        let screen = harness.screen();
        assert!(
            screen.contains("one image at a time: U clears the marks"),
            "{key} {screen}"
        );
        assert!(harness.ui.dialogs.is_empty(), "{key}");
    }
    harness.press("x");
    assert!(
        harness.screen().contains("Actions for 2 marked images"),
        "{}",
        harness.screen()
    );
}

#[test]
fn the_inside_of_a_marked_image_is_asked_for_while_its_list_is_open() {
    let mut harness = harness();
    harness.go_to("golden-win.qcow2");
    harness.press(" ");
    harness.go_to("Overlay-1B.qcow2");
    harness.asked.clear();
    harness.press("K");
    let golden = PathBuf::from("/vm/golden-win.qcow2");
    assert!(
        matches!(&harness.asked[..], [Effect::Info(path)] if *path == golden),
        "{:?}",
        harness.asked
    );
    harness.press("<esc>");
    assert!(matches!(
        harness.asked.last(),
        Some(Effect::Info(path)) if path.ends_with("Overlay-1B.qcow2")
    ));
}

#[test]
fn in_a_small_form_the_field_with_the_focus_is_seen_and_the_rest_scrolls_in() {
    let mut harness = AppHarness::new(forest(), (70, 16));
    harness.go_to("Overlay-1B.qcow2");
    harness.press("V<up><up> ");
    // Once around all ten fields.
    for _ in 0..10 {
        harness.press("<down>");
        let Some(Dialog::Form(form)) = harness.ui.dialogs.top() else {
            panic!("a form");
        };
        let begin = format!("│▌{} ", form.fields[form.at].name.label());
        let screen = harness.screen();
        let is_seen = screen.lines().any(|line| line.starts_with(&begin));
        assert!(is_seen, "{begin} {screen}");
    }
    harness.press("<down>open<down>open");
    harness.answer(new_branch);
    assert!(
        harness.screen().contains("more below, PgDn"),
        "{}",
        harness.screen()
    );
    assert!(
        !harness.screen().contains("qemu-img create"),
        "{}",
        harness.screen()
    );
    harness.press("<pgdn><pgdn><pgdn>");
    assert!(
        harness.screen().contains("qemu-img create"),
        "{}",
        harness.screen()
    );
    assert!(
        !harness.screen().contains("more below, PgDn"),
        "{}",
        harness.screen()
    );
    harness.press("<up>");
    assert!(
        harness.screen().contains("passphrase"),
        "{}",
        harness.screen()
    );
}

/// Marks two images and asks for their conversion.
fn converting_two() -> AppHarness {
    let mut harness = harness();
    for name in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
        harness.go_to(name);
        harness.press(" ");
    }
    harness.press("V");
    harness
}

#[test]
fn several_marked_images_are_converted_by_one_form_that_lists_them_all() {
    let mut harness = converting_two();
    let converted = |harness: &AppHarness| -> Vec<(PathBuf, PathBuf, ConvertForm)> {
        let requests = harness.planned_each().1.into_iter();
        let all = requests.map(|request| match request {
            Request::Convert(options) => (options.sources[0].clone(), options.new, options.form),
            other => panic!("{other:?}"),
        });
        all.collect()
    };
    let files = |harness: &AppHarness| -> Vec<String> {
        let all = converted(harness).into_iter();
        all.map(|(_, new, _)| new.to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(
        files(&harness),
        [
            "/vm/Overlay-1B-converted.qcow2",
            "/vm/Overlay-2B-converted.qcow2"
        ]
    );
    harness.press("<tab>raws<tab> ");
    assert_eq!(
        files(&harness),
        [
            "/vm/raws/Overlay-1B-converted.raw",
            "/vm/raws/Overlay-2B-converted.raw"
        ]
    );
    assert!(matches!(converted(&harness)[0].2, ConvertForm::Raw { .. }));
    harness.press(" ");
    harness.answer_each(conversion);
    let screen = harness.screen();
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
    harness.press("<enter>");
    assert_eq!(harness.started(), 2);
    assert_eq!(harness.ui.app.jobs.list.len(), 2);
    assert!(harness.ui.app.tree.marks.is_empty());
}

#[test]
fn where_one_of_several_cannot_be_converted_none_is() {
    let mut harness = converting_two();
    harness.press("<enter>");
    assert_eq!(harness.started(), 0, "not before the plans are there");
    harness.answer_each(|plan| {
        conversion(plan);
        let is_second = plan
            .request
            .creates()
            .is_some_and(|new| new.ends_with("Overlay-2B-converted.qcow2"));
        if is_second {
            refused_commit(plan);
        }
    });
    assert_eq!(harness.started(), 0);
    let screen = harness.screen();
    assert!(screen.contains("refused"), "{screen}");
    assert!(screen.contains("3 images would break"), "{screen}");
    harness.press("<esc>");
    assert_eq!(
        harness.ui.app.tree.marks.len(),
        2,
        "what is marked stays marked"
    );
    harness.go_to("lost.qcow2");
    harness.press("k V");
    assert!(
        harness.screen().contains("is not among the scanned files"),
        "{}",
        harness.screen()
    );
}

#[test]
fn one_passphrase_protects_all_that_one_form_creates() {
    let mut harness = converting_two();
    harness.press("<up><up> <down>open<down>open");
    let protects = harness.asked.iter().rev().find_map(|effect| match effect {
        Effect::Protect(images, _) => Some(images.len()),
        _ => None,
    });
    assert_eq!(protects, Some(2));
    harness.press("<esc>");
    assert!(matches!(harness.asked.last(), Some(Effect::Forget)));
}

#[test]
fn what_is_half_done_is_marked_and_counted_until_it_is_settled() {
    let mut harness = harness();
    let root = PathBuf::from("/vm/Overlay-1B.qcow2");
    let is_half = |harness: &AppHarness| {
        let node = harness.ui.app.forest.by_path(&root).unwrap();
        let flags = harness.ui.app.forest.flags(node.id);
        flags.contains(Flags::INTERRUPTED)
    };
    let problems = harness.ui.app.tree.summary.problems.len();
    let half = Problem {
        kind: ProblemKind::Interrupted {
            entry: 1,
            can_roll_back: true,
        },
        message: "it may be half done".to_owned(),
    };
    let found = Interrupted {
        halves: vec![(root.clone(), half)],
        ..Interrupted::default()
    };
    harness.send(Msg::Interrupted(0, Ok(found)));
    assert!(is_half(&harness));
    assert_eq!(harness.ui.app.tree.summary.problems.len(), problems + 1);
    harness.send(Msg::Interrupted(0, Ok(Interrupted::default())));
    assert!(!is_half(&harness));
    assert_eq!(harness.ui.app.tree.summary.problems.len(), problems);
}

#[test]
fn what_is_built_on_a_base_that_was_changed_is_marked_until_that_is_accepted() {
    let mut harness = harness();
    let path = |name: &str| PathBuf::from("/vm").join(name);
    let above = ["Overlay-1A.qcow2", "Overlay-1B.qcow2"];
    let changed = ChangedBase {
        base: path("Overlay-1.qcow2"),
        noted: harness.ui.app.now() - Duration::from_secs(100),
        modified: harness.ui.app.now() - Duration::from_secs(50),
        bytes_differ: true,
        lengths: None,
        affected: above.map(path).to_vec(),
    };
    let problems = harness.ui.app.tree.summary.problems.len();
    let marked = |harness: &AppHarness| {
        let forest = &harness.ui.app.forest;
        let marked = forest.nodes().filter(|node| {
            let flags = forest.flags(node.id);
            flags.contains(Flags::BASE_CHANGED)
        });
        marked.count()
    };
    harness.send(Msg::BasesChanged(vec![changed.clone()]));
    assert_eq!(marked(&harness), 3);
    assert_eq!(harness.ui.app.tree.summary.problems.len(), problems + 3);
    let toast = harness.ui.app.session.toast.take().unwrap();
    assert!(
        toast.bad && toast.text.contains("2 images built on it"),
        "{toast:?}"
    );
    // The same once more is no news.
    harness.send(Msg::BasesChanged(vec![changed]));
    assert_eq!(harness.ui.app.session.toast, None);

    harness.press("/state:base-changed<enter>");
    assert_eq!(harness.ui.app.tree.rows.hits.len(), 3);
    harness.press("<esc>");
    harness.go_to(above[1]);
    let screen = harness.screen();
    assert!(screen.contains("was changed on"), "{screen}");
    assert!(screen.contains("6 lets you take the base"), "{screen}");
    let accepted = |harness: &AppHarness| {
        let mut asked = harness.asked.iter();
        asked.any(
            |effect| matches!(effect, Effect::Accept(base, _) if *base == path("Overlay-1.qcow2")),
        )
    };
    harness.press("R");
    assert!(!accepted(&harness), "nothing is accepted by a repair");
    harness.press("<esc>6<enter>");
    assert!(accepted(&harness), "{}", harness.screen());
    harness.send(Msg::BasesChanged(Vec::new()));
    assert_eq!(marked(&harness), 0);
    assert_eq!(harness.ui.app.tree.summary.problems.len(), problems);
}

#[test]
fn what_was_taken_back_is_done_again_by_a_key_in_the_folders_that_are_open() {
    let mut harness = harness();
    harness.ui.app.session.journal = Some(vec![PathBuf::from("/vm")]);
    harness.press("Y");
    let folders = vec![PathBuf::from("/vm")];
    let entry = None;
    assert_eq!(
        harness.planned().1,
        Request::Redo(RedoEntry { entry, folders })
    );
    harness.press("<esc>z");
    let folders = vec![PathBuf::from("/vm")];
    assert_eq!(
        harness.planned().1,
        Request::Undo(UndoEntry { entry, folders })
    );
}

#[test]
fn what_is_half_made_is_listed_and_goes_by_a_plan() {
    let mut harness = harness();
    harness.press("Z");
    let Some(Effect::Interrupted(query_id, Some(_))) = harness.asked.last() else {
        panic!("{:?}", harness.asked);
    };
    let query_id = *query_id;
    assert!(
        harness.screen().contains("looking into the log"),
        "{}",
        harness.screen()
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
    harness.send(Msg::Interrupted(query_id, found()));
    assert!(
        harness.screen().contains("1 half-made file, 3 MiB"),
        "{}",
        harness.screen()
    );
    harness.press("<enter>");
    assert!(matches!(
        harness.planned().1,
        Request::RemoveLeftovers(RemoveLeftovers { files }) if files == [path.clone()]
    ));
    harness.press("<esc>Z<esc>");
    let Some(Effect::Interrupted(query_id, _)) = harness.asked.last() else {
        panic!("{:?}", harness.asked);
    };
    let query_id = *query_id;
    harness.send(Msg::Interrupted(
        query_id,
        Err("the journal cannot be read".to_owned()),
    ));
    assert!(
        harness.ui.app.session.toast.is_none(),
        "{:?}",
        harness.ui.app.session.toast
    );
    harness.send(Msg::Interrupted(0, Ok(Interrupted::default())));
    assert!(harness.ui.app.session.toast.is_none(), "nothing is no news");
}

#[test]
fn a_new_image_has_every_option_that_the_command_line_has() {
    let mut harness = harness();
    let created = |harness: &AppHarness| match harness.planned().1 {
        Request::Create(options) => options.image,
        other => panic!("{other:?}"),
    };
    harness.go_to("Overlay-1B.qcow2");
    harness.press("<c-n><up>");
    assert!(
        !harness.screen().contains("cluster  "),
        "{}",
        harness.screen()
    );
    assert_eq!(created(&harness), ImageOptions::default());
    // In the order of the fields, from the cluster size on.
    harness.press(" <down><left><down> <down> <down> <down> <down> <down>  <down>data<down> ");
    let image = created(&harness);
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
    let screen = harness.screen();
    assert!(screen.contains("(•) 2M"), "{screen}");
    harness.press("<esc>");
    harness.go_to("Overlay-1.qcow2");
    harness.press("b<down><down>80G");
    let Request::Branch(Branch { size, .. }) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert_eq!(size, Some(80 << 30));
    harness.press("x<enter>");
    assert!(
        harness.screen().contains("is no size"),
        "{}",
        harness.screen()
    );
    // However long the form is, and whichever field has the focus.
    harness.send(Msg::Resize(80, 24));
    harness.press("<down><down> <up><up><up><up><enter>");
    assert!(
        harness.screen().contains("is no size"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_new_image_may_be_raw_and_is_called_so() {
    let mut harness = harness();
    harness.go_to("Overlay-1B.qcow2");
    harness.press("<c-n><down><down> <down> ");
    let Request::CreateRaw(CreateRaw {
        new,
        size,
        preallocation,
    }) = harness.planned().1
    else {
        panic!("{:?}", harness.planned());
    };
    assert!(new.ends_with("disk-1.raw"), "{new:?}");
    assert_eq!((size, preallocation), (20 << 30, Preallocation::Falloc));
    assert!(
        !harness.screen().contains("encrypt"),
        "{}",
        harness.screen()
    );
}

#[test]
fn the_options_of_a_form_are_the_usual_ones_unless_they_are_changed() {
    let mut harness = harness();
    harness.press("<c-n><up> ");
    let Request::Create(options) = harness.planned().1 else {
        panic!("{:?}", harness.planned());
    };
    assert_eq!(options.image, ImageOptions::default());
}

#[test]
fn actions_are_found_by_other_words_for_them() {
    for (word, name) in [
        ("rm", "discard"),
        ("delete", "discard"),
        ("stream", "flatten"),
        ("merge", "commit"),
        ("fix", "repair"),
        ("stop", "jobs"),
        ("encrypt", "create"),
    ] {
        let mut harness = harness();
        harness.press(&format!(":{word}"));
        let screen = harness.screen();
        let is_it = |line: &str| {
            let told = ["create   ", "change   ", "look     ", "panes    "];
            told.iter()
                .any(|group| line.contains(&format!("{group}{name}")))
        };
        assert!(screen.lines().any(is_it), "{word}: {screen}");
    }
}

#[test]
fn nothing_in_the_menu_of_actions_is_cut_at_80_columns() {
    let mut harness = AppHarness::new(forest(), (80, 60));
    harness.press("x");
    let screen = harness.screen();
    let menu: Vec<&str> = screen
        .lines()
        .filter(|line| {
            line.contains(" create   ")
                || line.contains(" change   ")
                || line.contains(" look     ")
        })
        .collect();
    assert!(menu.len() > 30, "{screen}");
    for line in menu {
        assert!(!line.contains('…'), "{line}");
    }
}
