//! What must not cost anything, counted instead of timed.

use qanopy::tui::testing::{Effect, Filter, Msg};

use super::app_harness::{AppHarness, Image, forest, now, qcow2};

fn many(images: usize) -> Vec<Image> {
    let mut list = vec![qcow2("base.qcow2", 1 << 30, 60)];
    list.extend(
        (0..images).map(|i| qcow2(&format!("overlay-{i:06}.qcow2"), 1 << 20, 60).on("base.qcow2")),
    );
    list
}

#[test]
fn moving_the_cursor_builds_no_rows() {
    let mut harness = AppHarness::new(many(1000), (120, 40));
    // Rows that are built anew lie elsewhere, since the old ones are there until then.
    let before = harness.ui.app.tree.rows.list.as_ptr();
    harness.press("jjjjkkGg<down><up>.,><li");
    assert_eq!(harness.ui.app.tree.rows.list.as_ptr(), before);
}

#[test]
fn typing_in_the_filter_line_of_a_large_forest_builds_no_rows_before_the_answer() {
    let mut harness = AppHarness::new(many(5000), (120, 40));
    let rows = |harness: &AppHarness| harness.ui.app.tree.rows.list.as_ptr();
    harness.press("/");
    let before = rows(&harness);
    harness.press("over");
    assert_eq!(rows(&harness), before);
    let asked = harness.asked.iter().rev().find_map(|effect| match effect {
        Effect::Filter {
            query_id,
            line,
            forest,
            ..
        } if line == "over" => {
            let places = harness.ui.app.places();
            let hits = Filter::parse(line).hits(forest, places, now());
            Some((*query_id, std::sync::Arc::new(hits)))
        }
        _ => None,
    });
    let (query_id, hits) = asked.unwrap();
    harness.send(Msg::Filtered(query_id, hits));
    assert_ne!(rows(&harness), before);
    assert_eq!(harness.ui.app.tree.rows.hits.len(), 5000);
    // Nothing asked shows all again at once.
    harness.press(&"<backspace>".repeat(4));
    assert!(harness.ui.app.tree.rows.hits.is_empty());
}

#[test]
fn finds_that_wait_together_are_laid_out_once() {
    let mut harness = AppHarness::scanning((120, 40), |_| {});
    for (i, image) in many(500).into_iter().enumerate() {
        harness.send(Msg::Found(1, vec![image.found()]));
        harness.send(Msg::Looked(1, i as u64));
    }
    assert!(harness.ui.app.tree.rows.list.is_empty());
    harness.send(Msg::Clock(now()));
    assert_eq!(harness.ui.app.tree.rows.list.len(), 501);
}

#[test]
fn drawing_makes_only_the_rows_that_are_seen() {
    let harness = AppHarness::new(many(20_000), (80, 24));
    let started = std::time::Instant::now();
    for _ in 0..100 {
        harness.buffer();
    }
    let large = started.elapsed();
    let harness = AppHarness::new(many(20), (80, 24));
    let started = std::time::Instant::now();
    for _ in 0..100 {
        harness.buffer();
    }
    let small = started.elapsed();
    assert!(
        large < small * 20,
        "{large:?} against {small:?} for a thousandth of the rows"
    );
}

#[test]
fn a_rescan_leaves_cursor_marks_and_folds_where_they_were() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-2.qcow2");
    harness.press("h");
    harness.go_to("Overlay-1B.qcow2");
    harness.press(" kr");
    let again = AppHarness::new(forest(), (80, 24));
    let nodes = again.ui.app.forest.nodes();
    let found = nodes.map(|node| qanopy::forest::ScannedFile {
        also: Vec::new(),
        holders: node.holders.to_vec(),
        ..again.ui.app.forest.found(node)
    });
    let query_id = harness.ui.app.refresh.scan.query_id;
    harness.send(Msg::Found(
        query_id,
        found.filter(|found| found.stat.is_some()).collect(),
    ));
    assert_eq!(
        harness.at(),
        "Overlay-1B.qcow2",
        "the old forest stays until the new one is whole"
    );
    harness.send(Msg::Scanned(query_id, Default::default()));
    assert_eq!(harness.at(), "Overlay-1B.qcow2");
    assert_eq!(harness.ui.app.tree.marks.len(), 1);
    assert!(
        harness.screen().contains("2 hidden (folded)"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_chain_of_thousands_shares_one_lane_and_folds_to_a_line() {
    let mut images = vec![qcow2("day-0000.qcow2", 1 << 20, 60)];
    for day in 1..5000 {
        let base = format!("day-{:04}.qcow2", day - 1);
        images.push(qcow2(&format!("day-{day:04}.qcow2"), 1 << 20, 60).on(&base));
    }
    let mut harness = AppHarness::new(images, (80, 24));
    let screen = harness.screen();
    assert!(screen.contains("⋮ 4998 more in line"), "{screen}");
    assert!(screen.contains("○ day-4999.qcow2"), "{screen}");
    harness.press("j<enter>");
    assert_eq!(harness.ui.app.tree.rows.list.len(), 5000);
}
