//! Every screen and dialog as it looks, with its styles, on small, middling and large terminals.

use qanopy::image::Measure;
use qanopy::ops::{Candidate, Phase, Progress, ProgressView};
use qanopy::tui::testing::{Effect, Measured, Msg, ScanEnd, SpaceFound, Theme, Watching};
use std::path::PathBuf;
use std::time::Duration;

use super::app_harness::{
    AppHarness, DAY, commit_for_good, conversion, discard_of_three, forest, new_branch,
    possible_commit, refused_commit, space_report,
};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn snapshot(name: &str, harness: &AppHarness) {
    let (width, height) = harness.ui.app.size;
    insta::assert_snapshot!(format!("{name}-{width}x{height}"), harness.picture());
}

fn each(name: &str, prepare: impl Fn(&mut AppHarness)) {
    for size in SIZES {
        let mut harness = AppHarness::new(forest(), size);
        prepare(&mut harness);
        snapshot(name, &harness);
    }
}

#[test]
fn the_tree() {
    each("tree", |harness| harness.go_to("Overlay-1B.qcow2"));
}

#[test]
fn the_tree_folded_marked_and_sorted() {
    each("tree-folded", |harness| {
        harness.go_to("Overlay-2A.qcow2");
        harness.press("  ");
        harness.go_to("Overlay-1.qcow2");
        harness.press("hss");
    });
}

#[test]
fn the_tree_in_ascii_without_colour() {
    let mut harness = AppHarness::with(forest(), (80, 24), |settings| {
        settings.ascii = true;
        settings.theme = Theme::plain();
    });
    harness.go_to("Overlay-1B.qcow2");
    snapshot("tree-ascii", &harness);
    assert!(harness.screen().is_ascii());
}

#[test]
fn the_tree_and_a_plan_in_themes_with_colours_of_their_own() {
    for name in ["dark", "light"] {
        let mut harness = AppHarness::with(forest(), (80, 24), |settings| {
            settings.theme = Theme::named(name).unwrap();
        });
        harness.go_to("Overlay-1B.qcow2");
        snapshot(&format!("tree-{name}"), &harness);
        harness.go_to("Overlay-1.qcow2");
        harness.press("C");
        harness.answer(refused_commit);
        snapshot(&format!("commit-refused-{name}"), &harness);
    }
}

#[test]
fn the_health_of_a_broken_image() {
    each("health", |harness| {
        harness.go_to("lost.qcow2");
        harness.press("6");
    });
}

#[test]
fn the_form_of_another_base() {
    each("rebase", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("B");
    });
}

#[test]
fn the_menu_of_what_can_be_copied() {
    each("copy", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("y");
    });
}

#[test]
fn the_log() {
    each("log", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("C");
        harness.answer(possible_commit);
        harness.press("yL");
    });
}

#[test]
fn a_directory_that_cannot_be_read() {
    let mut harness = AppHarness::scanning((80, 24), |_| {});
    harness.send(Msg::Scanned(
        1,
        ScanEnd {
            looked_at: 0,
            unreadable: vec!["/vm: permission denied".to_owned()],
        },
    ));
    snapshot("unreadable", &harness);
}

#[test]
fn a_directory_on_a_network() {
    let mut harness = AppHarness::new(Vec::new(), (80, 24));
    harness.send(Msg::Watching(Watching::Polling(
        "the system does not tell of changes on NFS".to_owned(),
    )));
    assert!(harness.screen().contains("polling"));
    snapshot("network", &harness);
}

#[test]
fn the_snapshots_of_an_image_and_what_can_be_done_with_one() {
    each("snapshots", |harness| {
        harness.press("Gk");
        harness.press("x");
    });
}

#[test]
fn the_passphrase_of_an_image() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-2A.qcow2");
    harness.press("C");
    let (query_id, _) = harness.planned();
    harness.send(Msg::Locked(query_id, PathBuf::from("/vm/Overlay-2A.qcow2")));
    harness.answer(refused_commit);
    harness.press("u");
    harness.press("secret");
    snapshot("passphrase", &harness);
}

#[test]
fn the_form_of_a_conversion() {
    each("convert", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("V");
    });
}

#[test]
fn the_form_of_an_encrypted_conversion() {
    each("convert-luks", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("V<up><up> <down>secret<down>secret");
        harness.answer(|plan| {
            new_branch(plan);
            plan.title = "Convert Overlay-1B.qcow2".to_owned();
        });
    });
}

#[test]
fn the_form_of_a_new_image_with_all_options() {
    each("create-options", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("<c-n><up> <down> ");
    });
}

#[test]
fn the_form_of_a_copy() {
    each("clone", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("u<down>");
    });
}

#[test]
fn the_form_of_several_conversions() {
    each("convert-each", |harness| {
        for name in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
            harness.go_to(name);
            harness.press(" ");
        }
        harness.press("V");
        harness.answer_each(conversion);
    });
}

#[test]
fn how_large_a_copy_would_be() {
    each("measure", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("W");
        let query_id = harness.asked.iter().find_map(|effect| match effect {
            Effect::Measure { query_id, .. } => Some(*query_id),
            _ => None,
        });
        let copy = |required, fully_allocated, bitmaps| Measure {
            required,
            fully_allocated,
            bitmaps,
        };
        let found = Measured {
            qcow2: copy(13_153_337_344, 42_956_488_704, Some(655_360)),
            luks: copy(13_155_434_496, 42_958_585_856, Some(655_360)),
            raw: copy(40 << 30, 40 << 30, None),
            live: Vec::new(),
        };
        harness.send(Msg::Measured(query_id.unwrap(), Ok(found)));
    });
}

#[test]
fn a_directory_with_very_many_files() {
    let mut harness = AppHarness::scanning((80, 24), |_| {});
    harness.send(Msg::Looked(1, 1_204_000));
    snapshot("huge", &harness);
}

#[test]
fn the_detail_of_a_broken_image() {
    each("detail-lost", |harness| {
        harness.go_to("lost.qcow2");
        harness.press("<enter>");
    });
}

#[test]
fn the_chain() {
    each("chain", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("3");
    });
}

#[test]
fn the_help() {
    each("help", |harness| harness.press("?"));
}

#[test]
fn the_actions_with_the_reasons_of_those_that_are_off() {
    each("actions", |harness| {
        harness.go_to("RootBase.qcow2");
        harness.press("x");
    });
}

#[test]
fn the_branch_form() {
    each("branch", |harness| {
        harness.go_to("Overlay-1.qcow2");
        harness.press("b");
        harness.answer(new_branch);
    });
}

#[test]
fn a_refused_commit_with_its_ways_out() {
    each("commit-refused", |harness| {
        harness.go_to("Overlay-1.qcow2");
        harness.press("C");
        harness.answer(refused_commit);
    });
}

#[test]
fn a_commit_that_can_be_done() {
    each("commit", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("C");
        harness.answer(possible_commit);
    });
}

#[test]
fn a_discard_that_asks_for_a_yes() {
    each("discard", |harness| {
        harness.go_to("Overlay-1.qcow2");
        harness.press("X");
        harness.answer(discard_of_three);
    });
}

#[test]
fn a_commit_that_wants_its_count_typed() {
    each("commit-count", |harness| {
        harness.go_to("Overlay-1B.qcow2");
        harness.press("C");
        harness.answer(commit_for_good);
        harness.press("1");
    });
}

#[test]
fn a_running_job_and_one_that_waits() {
    each("jobs", |harness| {
        for image in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
            harness.go_to(image);
            harness.press("C");
            harness.answer(possible_commit);
            harness.press("y");
        }
        let view = ProgressView {
            phase: Phase::Copy,
            done: 3 << 30,
            total: 5 << 30,
            elapsed: Duration::from_secs(9),
            in_phase: Duration::from_secs(8),
            ..Progress::new().view()
        };
        harness.send(Msg::Progress(vec![(1, view)]));
    });
}

#[test]
fn the_question_whether_to_leave_running_jobs() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-1B.qcow2");
    harness.press("C");
    harness.answer(possible_commit);
    harness.press("yq");
    snapshot("leave", &harness);
}

#[test]
fn the_prune_checklist() {
    each("prune", |harness| {
        harness.press("P");
        let query_id = harness.asked.iter().rev().find_map(|effect| match effect {
            Effect::Candidates(query_id, _) => Some(*query_id),
            _ => None,
        });
        let candidate = |name: &str, days: u64, frees: u64| {
            let path = PathBuf::from("/vm").join(name);
            Candidate {
                node: harness.ui.app.forest.by_path(&path).unwrap().id,
                path,
                age: Duration::from_secs(days * DAY),
                frees,
                why: "nothing is built on it".to_owned(),
            }
        };
        let candidates = vec![
            candidate("Overlay-2A.qcow2", 160, 210 << 20),
            candidate("Overlay-2B.qcow2", 155, 1100 << 20),
            candidate("Overlay-1B.qcow2", 9, 3500 << 20),
        ];
        harness.send(Msg::Candidates(query_id.unwrap(), candidates));
    });
}

/// What the images of the forest hold, as it was measured: answers the question for it.
fn measured(harness: &mut AppHarness) {
    let query_id = harness.asked.iter().rev().find_map(|effect| match effect {
        Effect::Space { query_id, .. } => Some(*query_id),
        _ => None,
    });
    let report = space_report(&harness.ui.app.forest);
    let found = SpaceFound::whole(&report);
    harness.send(Msg::Space(query_id.unwrap(), Box::new(found)));
}

#[test]
fn where_the_space_went() {
    each("space", |harness| {
        harness.press("8");
        measured(harness);
        harness.press("<down>");
    });
    each("space-images", |harness| {
        harness.press("8<tab>");
        measured(harness);
        harness.press("<down>");
    });
    let mut harness = AppHarness::with(forest(), (80, 24), |settings| {
        settings.ascii = true;
        settings.theme = Theme::plain();
    });
    harness.press("8<tab>");
    measured(&mut harness);
    snapshot("space-ascii", &harness);
    // Its own frames are drawn in ASCII as well.
    assert!(harness.screen().is_ascii());
}

#[test]
fn the_diagram() {
    each("diagram", |harness| {
        harness.go_to("Overlay-2A.qcow2");
        harness.press("D");
    });
}

#[test]
fn the_diagram_shows_a_plan() {
    let mut harness = AppHarness::new(forest(), (120, 40));
    harness.press("D");
    harness.go_to("Overlay-1.qcow2");
    harness.press("C");
    harness.answer(refused_commit);
    snapshot("diagram-commit", &harness);
}

#[test]
fn the_filter() {
    each("filter", |harness| harness.press("/overlay size>1G"));
}

#[test]
fn an_empty_directory() {
    each("empty", |harness| {
        *harness = AppHarness::new(Vec::new(), harness.ui.app.size)
    });
}

#[test]
fn the_first_frame_before_anything_is_found() {
    let harness = AppHarness::scanning((80, 24), |_| {});
    snapshot("scanning", &harness);
}

#[test]
fn no_name_sends_a_control_character_to_the_terminal() {
    let mut harness = AppHarness::new(forest(), (200, 60));
    for keys in ["", "D", "<esc>i", "x", "<esc>:"] {
        harness.press(keys);
        let screen = harness.screen();
        assert!(
            screen.chars().all(|c| c == '\n' || !c.is_control()),
            "{screen}"
        );
        assert!(!screen.contains('\u{1b}'));
    }
}
