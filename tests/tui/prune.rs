//! The prune checklist: ticked by age, or by what rules leave.

use std::path::PathBuf;
use std::time::Duration;

use qanopy::ops::{Candidate, Per, Request, Retention};
use qanopy::tui::testing::{Effect, Msg};

use super::app_harness::{AppHarness, DAY, forest};

/// The checklist with two old leaves and a young one.
fn checklist() -> AppHarness {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.press("P");
    let query_id = harness.asked.iter().rev().find_map(|effect| match effect {
        Effect::Candidates(query_id, _) => Some(*query_id),
        _ => None,
    });
    let candidate = |name: &str, days: u64| {
        let path = PathBuf::from("/vm").join(name);
        Candidate {
            node: harness.ui.app.forest.by_path(&path).unwrap().id,
            path,
            age: Duration::from_secs(days * DAY),
            frees: 1 << 20,
            why: "nothing is built on it".to_owned(),
        }
    };
    let candidates = vec![
        candidate("Overlay-2A.qcow2", 160),
        candidate("Overlay-2B.qcow2", 155),
        candidate("Overlay-1B.qcow2", 9),
    ];
    harness.send(Msg::Candidates(query_id.unwrap(), candidates));
    harness
}

/// The rule that was asked for last, and the question's number.
fn asked(harness: &AppHarness) -> (u64, Retention) {
    let mut rules = harness
        .asked
        .iter()
        .rev()
        .filter_map(|effect| match effect {
            Effect::Keep { query_id, rule, .. } => Some((*query_id, *rule)),
            _ => None,
        });
    rules.next().expect("a rule was asked for")
}

fn ticked(harness: &AppHarness) -> Vec<String> {
    let screen = harness.screen();
    let lines = screen.lines().filter(|line| line.contains("[✗]"));
    let name = |line: &str| {
        line.split_whitespace()
            .find(|word| word.ends_with(".qcow2"))
            .map(str::to_owned)
    };
    lines.filter_map(name).collect()
}

#[test]
fn rules_tick_what_they_do_not_keep_and_none_ticks_by_age_again() {
    let mut harness = checklist();
    assert_eq!(ticked(&harness), ["Overlay-2A.qcow2", "Overlay-2B.qcow2"]);
    harness.press("l");
    let (query_id, rule) = asked(&harness);
    assert_eq!((rule.last, rule.per), (1, Per::Base));
    let kept = |why: &str| Some(why.to_owned());
    let why = "the youngest on its base";
    harness.send(Msg::Kept(query_id, vec![None, kept(why), kept(why)]));
    assert_eq!(ticked(&harness), ["Overlay-2A.qcow2"]);
    assert!(
        harness.screen().contains("keep: last 1"),
        "{}",
        harness.screen()
    );
    assert!(harness.screen().contains("kept"));
    // The plan is of what is ticked.
    harness.press("<enter>");
    let paths = vec![PathBuf::from("/vm/Overlay-2A.qcow2")];
    assert_eq!(harness.planned().1, Request::discard(paths));
    harness.press("<esc>dwmpp");
    let (_, rule) = asked(&harness);
    assert_eq!(
        (rule.daily, rule.weekly, rule.monthly, rule.per),
        (7, 4, 3, Per::Machine)
    );
    // An answer to an older rule is for nobody.
    harness.send(Msg::Kept(query_id, vec![None, None, None]));
    assert_eq!(ticked(&harness), ["Overlay-2A.qcow2"]);
    harness.press("lllllddd");
    harness.press("wwwmmm");
    let (query_id, rule) = asked(&harness);
    assert!(rule.keeps_nothing(), "{rule:?}");
    harness.send(Msg::Kept(query_id, vec![None, None, None]));
    assert_eq!(ticked(&harness), ["Overlay-2A.qcow2", "Overlay-2B.qcow2"]);
}
