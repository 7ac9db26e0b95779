//! Every screen and dialog as it looks, with its styles, on small, middling and large terminals.

use qanopy::image::Measure;
use qanopy::ops::{Candidate, Phase, ProgressView};
use qanopy::tui::msg::{ScanEnd, Watching};
use qanopy::tui::query::Measured;
use qanopy::tui::theme::Theme;
use qanopy::tui::{Effect, Msg};
use std::path::PathBuf;
use std::time::Duration;

use super::desk::{
    DAY, Desk, commit_for_good, conversion, discard_of_three, forest, new_branch, possible_commit,
    refused_commit,
};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn snapshot(name: &str, desk: &Desk) {
    let (width, height) = desk.ui.app.size;
    insta::assert_snapshot!(format!("{name}-{width}x{height}"), desk.picture());
}

fn each(name: &str, prepare: impl Fn(&mut Desk)) {
    for size in SIZES {
        let mut desk = Desk::new(forest(), size);
        prepare(&mut desk);
        snapshot(name, &desk);
    }
}

#[test]
fn the_tree() {
    each("tree", |desk| desk.go_to("Overlay-1B.qcow2"));
}

#[test]
fn the_tree_folded_marked_and_sorted() {
    each("tree-folded", |desk| {
        desk.go_to("Overlay-2A.qcow2");
        desk.press("  ");
        desk.go_to("Overlay-1.qcow2");
        desk.press("hss");
    });
}

#[test]
fn the_tree_in_ascii_without_colour() {
    let mut desk = Desk::with(forest(), (80, 24), |settings| {
        settings.ascii = true;
        settings.theme = Theme::plain();
    });
    desk.go_to("Overlay-1B.qcow2");
    snapshot("tree-ascii", &desk);
    assert!(desk.screen().is_ascii());
}

#[test]
fn the_tree_and_a_plan_in_themes_with_colours_of_their_own() {
    for name in ["dark", "light"] {
        let mut desk = Desk::with(forest(), (80, 24), |settings| {
            settings.theme = Theme::named(name).unwrap();
        });
        desk.go_to("Overlay-1B.qcow2");
        snapshot(&format!("tree-{name}"), &desk);
        desk.go_to("Overlay-1.qcow2");
        desk.press("C");
        desk.answer(refused_commit);
        snapshot(&format!("commit-refused-{name}"), &desk);
    }
}

#[test]
fn the_health_of_a_broken_image() {
    each("health", |desk| {
        desk.go_to("lost.qcow2");
        desk.press("6");
    });
}

#[test]
fn the_form_of_another_base() {
    each("rebase", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("B");
    });
}

#[test]
fn the_menu_of_what_can_be_copied() {
    each("copy", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("y");
    });
}

#[test]
fn the_log() {
    each("log", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("C");
        desk.answer(possible_commit);
        desk.press("yL");
    });
}

#[test]
fn a_directory_that_cannot_be_read() {
    let mut desk = Desk::scanning((80, 24), |_| {});
    desk.send(Msg::Scanned(
        1,
        ScanEnd {
            looked_at: 0,
            unreadable: vec!["/vm: permission denied".to_owned()],
        },
    ));
    snapshot("unreadable", &desk);
}

#[test]
fn a_directory_on_a_network() {
    let mut desk = Desk::new(Vec::new(), (80, 24));
    desk.send(Msg::Watching(Watching::Polling(
        "the system does not tell of changes on NFS".to_owned(),
    )));
    assert!(desk.screen().contains("polling"));
    snapshot("network", &desk);
}

#[test]
fn the_snapshots_of_an_image_and_what_can_be_done_with_one() {
    each("snapshots", |desk| {
        desk.press("Gk");
        desk.press("x");
    });
}

#[test]
fn the_passphrase_of_an_image() {
    let mut desk = Desk::new(forest(), (80, 24));
    desk.go_to("Overlay-2A.qcow2");
    desk.press("C");
    let (ticket, _) = desk.planned();
    desk.send(Msg::Locked(ticket, PathBuf::from("/vm/Overlay-2A.qcow2")));
    desk.answer(refused_commit);
    desk.press("u");
    desk.press("secret");
    snapshot("passphrase", &desk);
}

#[test]
fn the_form_of_a_conversion() {
    each("convert", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("V");
    });
}

#[test]
fn the_form_of_an_encrypted_conversion() {
    each("convert-luks", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("V<up><up> <down>secret<down>secret");
        desk.answer(|plan| {
            new_branch(plan);
            plan.title = "Convert Overlay-1B.qcow2".to_owned();
        });
    });
}

#[test]
fn the_form_of_a_new_image_with_all_options() {
    each("create-options", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("<c-n><up> <down> ");
    });
}

#[test]
fn the_form_of_a_copy() {
    each("clone", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("u<down>");
    });
}

#[test]
fn the_form_of_several_conversions() {
    each("convert-each", |desk| {
        for name in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
            desk.go_to(name);
            desk.press(" ");
        }
        desk.press("V");
        desk.answer_each(conversion);
    });
}

#[test]
fn how_large_a_copy_would_be() {
    each("measure", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("W");
        let ticket = desk.asked.iter().find_map(|effect| match effect {
            Effect::Measure { ticket, .. } => Some(*ticket),
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
        desk.send(Msg::Measured(ticket.unwrap(), Ok(found)));
    });
}

#[test]
fn a_directory_with_very_many_files() {
    let mut desk = Desk::scanning((80, 24), |_| {});
    desk.send(Msg::Looked(1, 1_204_000));
    snapshot("huge", &desk);
}

#[test]
fn the_detail_of_a_broken_image() {
    each("detail-lost", |desk| {
        desk.go_to("lost.qcow2");
        desk.press("<enter>");
    });
}

#[test]
fn the_chain() {
    each("chain", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("3");
    });
}

#[test]
fn the_help() {
    each("help", |desk| desk.press("?"));
}

#[test]
fn the_actions_with_the_reasons_of_those_that_are_off() {
    each("actions", |desk| {
        desk.go_to("RootBase.qcow2");
        desk.press("x");
    });
}

#[test]
fn the_branch_form() {
    each("branch", |desk| {
        desk.go_to("Overlay-1.qcow2");
        desk.press("b");
        desk.answer(new_branch);
    });
}

#[test]
fn a_refused_commit_with_its_ways_out() {
    each("commit-refused", |desk| {
        desk.go_to("Overlay-1.qcow2");
        desk.press("C");
        desk.answer(refused_commit);
    });
}

#[test]
fn a_commit_that_can_be_done() {
    each("commit", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("C");
        desk.answer(possible_commit);
    });
}

#[test]
fn a_discard_that_asks_for_a_yes() {
    each("discard", |desk| {
        desk.go_to("Overlay-1.qcow2");
        desk.press("X");
        desk.answer(discard_of_three);
    });
}

#[test]
fn a_commit_that_wants_its_count_typed() {
    each("commit-count", |desk| {
        desk.go_to("Overlay-1B.qcow2");
        desk.press("C");
        desk.answer(commit_for_good);
        desk.press("1");
    });
}

#[test]
fn a_running_job_and_one_that_waits() {
    each("jobs", |desk| {
        for image in ["Overlay-1B.qcow2", "Overlay-2B.qcow2"] {
            desk.go_to(image);
            desk.press("C");
            desk.answer(possible_commit);
            desk.press("y");
        }
        let view = ProgressView {
            phase: Phase::Copy,
            done: 3 << 30,
            total: 5 << 30,
            elapsed: Duration::from_secs(9),
            in_phase: Duration::from_secs(8),
        };
        desk.send(Msg::Progress(vec![(1, view)]));
    });
}

#[test]
fn the_question_whether_to_leave_running_jobs() {
    let mut desk = Desk::new(forest(), (80, 24));
    desk.go_to("Overlay-1B.qcow2");
    desk.press("C");
    desk.answer(possible_commit);
    desk.press("yq");
    snapshot("leave", &desk);
}

#[test]
fn the_prune_checklist() {
    each("prune", |desk| {
        desk.press("P");
        let ticket = desk.asked.iter().rev().find_map(|effect| match effect {
            Effect::Candidates(ticket, _) => Some(*ticket),
            _ => None,
        });
        let candidate = |name: &str, days: u64, frees: u64| {
            let path = PathBuf::from("/vm").join(name);
            Candidate {
                node: desk.ui.app.forest.by_path(&path).unwrap().id,
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
        desk.send(Msg::Candidates(ticket.unwrap(), candidates));
    });
}

#[test]
fn the_diagram() {
    each("diagram", |desk| {
        desk.go_to("Overlay-2A.qcow2");
        desk.press("D");
    });
}

#[test]
fn the_diagram_shows_a_plan() {
    let mut desk = Desk::new(forest(), (120, 40));
    desk.press("D");
    desk.go_to("Overlay-1.qcow2");
    desk.press("C");
    desk.answer(refused_commit);
    snapshot("diagram-commit", &desk);
}

#[test]
fn the_filter() {
    each("filter", |desk| desk.press("/overlay size>1G"));
}

#[test]
fn an_empty_directory() {
    each("empty", |desk| {
        *desk = Desk::new(Vec::new(), desk.ui.app.size)
    });
}

#[test]
fn the_first_frame_before_anything_is_found() {
    let desk = Desk::scanning((80, 24), |_| {});
    snapshot("scanning", &desk);
}

#[test]
fn no_name_sends_a_control_character_to_the_terminal() {
    let mut desk = Desk::new(forest(), (200, 60));
    for keys in ["", "D", "<esc>i", "x", "<esc>:"] {
        desk.press(keys);
        let screen = desk.screen();
        assert!(
            screen.chars().all(|c| c == '\n' || !c.is_control()),
            "{screen}"
        );
        assert!(!screen.contains('\u{1b}'));
    }
}
