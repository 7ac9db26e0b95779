//! The space pane, and rows ordered and chosen by what was measured: asked for when it is needed, stopped when it is
//! not, and never in the way.

use qanopy::ops::{Request, SpaceReport};
use qanopy::tui::testing::{Effect, Msg, Sort, SpaceFound};

use super::app_harness::{AppHarness, forest, space_report};

fn harness() -> AppHarness {
    AppHarness::new(forest(), (80, 24))
}

/// The questions for the space since the last look: the number, and whether data is read.
fn asked(harness: &mut AppHarness) -> Vec<(u64, bool)> {
    let questions = harness.asked.iter().filter_map(|effect| match effect {
        Effect::Space {
            query_id, reads, ..
        } => Some((*query_id, *reads)),
        _ => None,
    });
    let questions = questions.collect();
    harness
        .asked
        .retain(|effect| !matches!(effect, Effect::Space { .. }));
    questions
}

fn is_stopped(harness: &AppHarness) -> bool {
    let mut effects = harness.asked.iter();
    effects.any(|effect| matches!(effect, Effect::StopSpace))
}

fn answer(harness: &mut AppHarness) -> SpaceReport {
    let question = asked(harness).pop().expect("the space was asked for");
    let report = space_report(&harness.ui.app.forest);
    harness.send(Msg::Space(question.0, Box::new(SpaceFound::whole(&report))));
    report
}

#[test]
fn it_is_measured_when_the_pane_opens_and_stopped_when_it_closes() {
    let mut harness = harness();
    assert_eq!(asked(&mut harness), []);
    harness.press("8");
    let first = asked(&mut harness);
    assert_eq!(first.len(), 1);
    assert!(
        harness.screen().contains("measuring"),
        "{}",
        harness.screen()
    );
    harness.press("j<esc>");
    assert!(is_stopped(&harness));
    harness.asked.clear();
    // What comes too late is for nobody.
    let late = space_report(&harness.ui.app.forest);
    harness.send(Msg::Space(first[0].0, Box::new(SpaceFound::whole(&late))));
    assert_eq!(harness.ui.app.space.found.images, 0);
    // Once it is known nobody asks again.
    harness.press("8");
    answer(&mut harness);
    harness.press("<esc>8");
    assert_eq!(asked(&mut harness), []);
    assert!(!is_stopped(&harness));
}

#[test]
fn rows_come_piece_by_piece() {
    let mut harness = harness();
    harness.press("8<tab>");
    let question = asked(&mut harness).pop().unwrap().0;
    let whole = space_report(&harness.ui.app.forest);
    let some = SpaceReport {
        images: whole.images[2..].to_vec(),
        ..SpaceReport::default()
    };
    harness.send(Msg::SpaceSoFar(
        question,
        Box::new(SpaceFound::so_far(&some)),
    ));
    let count = some.images.len();
    assert_eq!(harness.ui.app.space.found.images, count);
    let told = format!("measuring, {count} images so far");
    assert!(harness.screen().contains(&told), "{}", harness.screen());
    harness.send(Msg::SpaceSoFar(
        question,
        Box::new(SpaceFound::so_far(&whole)),
    ));
    assert_eq!(harness.ui.app.space.found.images, whole.images.len());
    // A base comes before what is built on it, whatever came first.
    let rows = &harness.ui.app.space.found.rows;
    let at = |name: &str| {
        rows.iter()
            .position(|row| row.is_layer && row.path.ends_with(name))
    };
    assert!(at("RootBase.qcow2") < at("Overlay-1.qcow2"));
    assert_eq!(harness.ui.app.space.found.savings.len(), 2);
}

#[test]
fn a_proposal_is_planned_over_the_pane_and_an_image_is_gone_to() {
    let mut harness = harness();
    harness.press("8");
    answer(&mut harness);
    harness.press("<down><enter>");
    assert!(matches!(harness.planned().1, Request::Squash(_)));
    // Back from the plan the pane is there.
    harness.press("<esc>");
    assert!(harness.screen().contains("Where the space went"));
    harness.press("<tab><down><enter>");
    assert!(!harness.screen().contains("Where the space went"));
    let wanted = harness.ui.app.space.found.rows[1].path.clone();
    assert_eq!(harness.at(), wanted.file_name().unwrap().to_str().unwrap());
}

#[test]
fn a_read_only_session_looks_and_plans_nothing() {
    let mut harness = AppHarness::with(forest(), (80, 24), |settings| settings.read_only = true);
    harness.press("8");
    answer(&mut harness);
    harness.press("<enter>");
    let plans = harness
        .asked
        .iter()
        .any(|effect| matches!(effect, Effect::Plan { .. }));
    assert!(!plans);
    assert!(
        harness.screen().contains("--read-only"),
        "{}",
        harness.screen()
    );
}

#[test]
fn data_is_read_only_when_a_key_asks_for_it() {
    let mut harness = harness();
    harness.press("8");
    assert!(!asked(&mut harness)[0].1);
    harness.press("r");
    let questions = asked(&mut harness);
    assert!(questions.len() == 1 && questions[0].1, "{questions:?}");
    let report = space_report(&harness.ui.app.forest);
    harness.send(Msg::Space(
        questions[0].0,
        Box::new(SpaceFound::whole(&report)),
    ));
    // What was read is kept while the pane is closed and opened again.
    harness.press("<esc>8");
    assert_eq!(asked(&mut harness), []);
}

#[test]
fn rows_are_ordered_and_chosen_by_what_was_measured() {
    let mut harness = harness();
    harness.press("sf");
    assert_eq!(harness.ui.app.tree.sort, Sort::Frees);
    answer(&mut harness);
    let order = |harness: &AppHarness, first: &str, then: &str| {
        let row = |name: &str| {
            let path = std::path::Path::new("/vm").join(name);
            let id = harness.ui.app.forest.by_path(&path).unwrap().id;
            harness.ui.app.tree.rows.place(id)
        };
        assert!(row(first) < row(then), "{first} {then}");
    };
    order(&harness, "Overlay-2B.qcow2", "Overlay-2A.qcow2");
    let shown = harness.screen();
    assert!(
        shown.contains("sort: frees, shown in place of the size"),
        "{shown}"
    );
    let line = shown
        .lines()
        .find(|line| line.contains("Overlay-2B"))
        .unwrap();
    assert!(line.contains("960 MiB"), "{line}");
    harness.press("sn");
    order(&harness, "Overlay-2A.qcow2", "Overlay-2B.qcow2");
    harness.press("/frees:>500M<enter>");
    let hits = &harness.ui.app.tree.rows.hits;
    assert_eq!(hits.len(), 1);
    harness.press("<esc>/hidden>1G<enter>");
    let shown = harness.screen();
    assert!(
        shown.contains("RootBase.qcow2") && !shown.contains("Overlay-2B"),
        "{shown}"
    );
    harness.press("<esc>/frees>lots");
    let shown = harness.screen();
    assert!(
        shown.contains("is no size") || shown.contains("lots"),
        "{shown}"
    );
}

#[test]
fn a_filter_that_asks_for_it_has_it_measured_and_a_changed_one_stops_that() {
    let mut harness = harness();
    harness.press("/own>1");
    assert_eq!(asked(&mut harness).len(), 1);
    assert!(!is_stopped(&harness));
    harness.press("<esc>");
    assert!(is_stopped(&harness));
}
