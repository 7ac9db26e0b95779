//! The filter by what is inside images: looked at only where it asks for that, told while it becomes known.

use std::sync::Arc;

use qanopy::forest::{Inside, InsideFilesystem, InsideSystem};
use qanopy::ops::{InsideProgress, InsidesByPath};
use qanopy::tui::testing::{Effect, InsidesFound, Msg};

use super::app_harness::{AppHarness, forest};

/// The questions since the last look.
fn asked(harness: &mut AppHarness) -> Vec<u64> {
    let asked = harness.asked.iter().filter_map(|effect| match effect {
        Effect::Insides(query_id, _) => Some(*query_id),
        _ => None,
    });
    let asked = asked.collect();
    harness.asked.clear();
    asked
}

fn debian(names: &[&str]) -> InsidesByPath {
    let inside = Arc::new(Inside {
        system: Some(InsideSystem {
            id: "debian".to_owned(),
            name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            version: Some("12".to_owned()),
            hostname: Some("web".to_owned()),
        }),
        filesystems: vec![InsideFilesystem {
            kind: "ext4".to_owned(),
            label: "Root".to_owned(),
            uuid: "0a1b".to_owned(),
        }],
    });
    let path = |name: &&str| (format!("/vm/{name}").into(), Arc::clone(&inside));
    names.iter().map(path).collect()
}

fn tell(harness: &mut AppHarness, query_id: u64, names: &[&str], is_whole: bool) {
    let found = InsidesFound {
        found: debian(names),
        progress: InsideProgress {
            looked: names.len(),
            all: 9,
        },
        is_whole,
    };
    harness.send(Msg::Insides(query_id, Box::new(found)));
}

#[test]
fn images_are_looked_into_only_for_a_filter_that_asks_and_rows_come_one_by_one() {
    let mut harness = AppHarness::new(forest(), (120, 40));
    harness.press("/over");
    assert!(asked(&mut harness).is_empty());
    harness.press("<esc>/os:debian");
    // Once, however much is typed.
    let [query_id] = asked(&mut harness)[..] else {
        panic!("not asked once");
    };
    let screen = harness.screen();
    assert!(
        screen.contains("looking inside") && !screen.contains("Overlay-1A"),
        "{screen}"
    );
    tell(&mut harness, query_id, &["Overlay-1A.qcow2"], false);
    let screen = harness.screen();
    assert!(
        screen.contains("looking inside 1 of 9") && screen.contains("Overlay-1A"),
        "{screen}"
    );
    assert!(!screen.contains("Overlay-2B"), "{screen}");
    // What another question asked for is dropped.
    tell(&mut harness, query_id + 1, &["Overlay-2B.qcow2"], true);
    assert!(!harness.screen().contains("Overlay-2B"));
    tell(
        &mut harness,
        query_id,
        &["Overlay-1A.qcow2", "Overlay-2B.qcow2"],
        true,
    );
    let screen = harness.screen();
    assert!(
        !screen.contains("looking inside") && screen.contains("Overlay-2B"),
        "{screen}"
    );
    assert!(asked(&mut harness).is_empty());
    for (line, is_one) in [
        ("os:12", true),
        ("os:fedora", false),
        ("hostname:WEB", true),
        ("label:root", true),
        ("label:ext4", false),
        ("fs:ext4", true),
        ("fs:0a1b", true),
        ("os:debian hostname:db", false),
    ] {
        harness.press(&format!("<esc><esc>/{line}"));
        let screen = harness.screen();
        assert_eq!(screen.contains("Overlay-2B"), is_one, "{line}\n{screen}");
    }
}

#[test]
fn looking_stops_with_the_filter_and_what_was_kept_is_told_without_it() {
    let mut harness = AppHarness::new(forest(), (120, 40));
    harness.send(Msg::KeptInsides(debian(&["Overlay-1A.qcow2"])));
    harness.go_to("Overlay-1A.qcow2");
    harness.press("2");
    let screen = harness.screen();
    assert!(screen.contains("bookworm"), "{screen}");
    harness.press("/os:");
    assert_eq!(asked(&mut harness).len(), 1);
    harness.press("<esc>");
    let stops = |effect: &&Effect| matches!(effect, Effect::StopInsides);
    assert_eq!(harness.asked.iter().filter(stops).count(), 1);
}
