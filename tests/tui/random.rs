//! Random keys and answers: nothing panics, and nothing runs that was not agreed to.

use proptest::prelude::*;
use qanopy::ops::{Confirm, Error, Plan};
use qanopy::tui::testing::{Code, Effect, Key, MouseEvent, Msg};

use super::app_harness::{
    AppHarness, DAY, Image, commit_for_good, discard_of_three, forest, new_branch, plan,
    possible_commit, qcow2, refused_commit, snapshot,
};

#[derive(Debug, Clone)]
enum Step {
    Key(Key),
    Answer(usize),
    End(bool),
    Resize(u16, u16),
    Mouse(MouseEvent, u16, u16),
    /// A press on one of [`WORDS`], where it is on the screen.
    Word(usize),
}

/// What a plan has on it to be pressed.
const WORDS: [&str; 7] = [
    "[ Cancel ]",
    "[ Commit ]",
    "[ Discard ]",
    "Type ",
    "Enter ",
    "instead",
    "nothing happens",
];

/// Where these words stand on the screen.
fn place_of(screen: &str, words: &str) -> Option<(u16, u16)> {
    let mut lines = screen.lines().enumerate();
    lines.find_map(|(y, line)| {
        let x = line[..line.find(words)?].chars().count();
        Some((x.try_into().unwrap(), y.try_into().unwrap()))
    })
}

fn step() -> impl Strategy<Value = Step> {
    let codes = prop_oneof![
        8 => proptest::char::range(' ', '~').prop_map(Code::Char),
        1 => Just(Code::Enter),
        1 => Just(Code::Esc),
        1 => Just(Code::Tab),
        1 => Just(Code::Down),
        1 => Just(Code::Up),
        1 => Just(Code::Backspace),
    ];
    let mouse = prop_oneof![
        3 => Just(MouseEvent::Press),
        1 => Just(MouseEvent::WheelDown),
        1 => Just(MouseEvent::WheelUp),
    ];
    prop_oneof![
        12 => (codes, proptest::bool::weighted(0.05)).prop_map(|(code, ctrl)| Step::Key(Key { code, ctrl })),
        3 => (0..PLANS.len()).prop_map(Step::Answer),
        2 => (0..WORDS.len()).prop_map(Step::Word),
        1 => any::<bool>().prop_map(Step::End),
        1 => (0..130_u16, 0..45_u16).prop_map(|(width, height)| Step::Resize(width, height)),
        3 => (mouse, 0..100_u16, 0..30_u16).prop_map(|(did, x, y)| Step::Mouse(did, x, y)),
    ]
}

/// Forests of any shape: trees, long chains, circles, missing bases, images that are used, snapshots.
fn any_forest() -> impl Strategy<Value = Vec<Image>> {
    let image = (any::<u8>(), 1..6_usize);
    proptest::collection::vec(image, 0..24).prop_map(|list| {
        let name = |i: usize| format!("image-{i:02}.qcow2");
        let image = |(i, (kind, back)): (usize, &(u8, usize))| {
            let image = qcow2(&name(i), u64::from(*kind) << 20, u64::from(*kind) * DAY);
            let below = name(i.saturating_sub(*back));
            match kind % 8 {
                0 => image,
                1 => image.on_nothing("gone.qcow2"),
                // On itself, and on one that may come later and be built on this one.
                2 => image.on(&name(i)),
                3 => image.on(&name(i + 1)),
                4 => image.on(&below).held(),
                5 => image.info(|info| {
                    info.snapshots = 40;
                    info.first_snapshots = vec![snapshot("1", "one", DAY, 0); 3];
                }),
                _ => image.on(&below),
            }
        };
        list.iter().enumerate().map(image).collect()
    })
}

const PLANS: [fn(&mut Plan); 5] = [
    refused_commit,
    possible_commit,
    commit_for_good,
    discard_of_three,
    new_branch,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_keys_never_panic_and_never_run_what_was_not_agreed_to(
        images in prop_oneof![Just(forest()), any_forest()],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut harness = AppHarness::new(images, (100, 30));
        for step in steps {
            harness.asked.retain(|effect| matches!(effect, Effect::Plan { .. }));
            let before = harness.ui.dialogs.plans().first().map(|plan| plan.confirm);
            let key = match &step {
                Step::Key(key) => Some(*key),
                _ => None,
            };
            match step.clone() {
                Step::Key(key) => harness.send(Msg::Key(key)),
                Step::Answer(which) => {
                    if harness.asked.iter().any(|effect| matches!(effect, Effect::Plan { .. })) {
                        let (query_id, request) = harness.planned();
                        harness.send(Msg::Planned(query_id, Box::new(plan(request, PLANS[which])), None));
                    }
                }
                Step::End(well) => {
                    let running = harness.ui.app.jobs.running().map(|job| job.id);
                    if let Some(id) = running {
                        let result = if well {
                            Err(Error::cancelled("stopped".to_owned()))
                        } else {
                            Err(Error::failed("failed".to_owned()))
                        };
                        harness.send(Msg::Ended(id, result));
                    }
                }
                Step::Resize(width, height) => harness.send(Msg::Resize(width, height)),
                Step::Word(_) | Step::Mouse(..) => {
                    let (did, x, y) = match step {
                        Step::Mouse(did, x, y) => (did, x, y),
                        Step::Word(which) => match place_of(&harness.screen(), WORDS[which]) {
                            Some((x, y)) => (MouseEvent::Press, x, y),
                            None => continue,
                        },
                        _ => continue,
                    };
                    harness.send(Msg::Mouse(did, x, y));
                    prop_assert_eq!(harness.started(), 0, "the mouse never says yes");
                }
            }
            let jobs = harness.ui.app.jobs.list.len();
            if harness.started() > 0 {
                // A plan that could be agreed to was on the screen, and a key that agrees was
                // pressed; or a form's Enter, or the end of the job before, set it going.
                prop_assert!(jobs > 0);
                if let Some(key) = key {
                    prop_assert!(matches!(key.code, Code::Char('y') | Code::Enter), "{key}");
                    prop_assert!(matches!(before, Some(Confirm::Nothing | Confirm::Yes | Confirm::Count(_))), "{before:?}");
                }
            }
            harness.buffer();
        }
    }
}

/// Opens a plan like that.
fn opened(of: fn(&mut Plan), size: (u16, u16)) -> AppHarness {
    let mut harness = AppHarness::new(forest(), size);
    harness.go_to("Overlay-2A.qcow2");
    harness.press("X");
    harness.answer(of);
    harness
}

#[test]
fn a_press_anywhere_on_a_plan_never_says_yes_and_only_what_leads_back_closes_it() {
    const BACK: [&str; 2] = ["[ Cancel ]", "Esc nothing happens"];
    for of in PLANS {
        for size in [(80, 24), (45, 12)] {
            let mut harness = opened(of, size);
            let screen = harness.screen();
            let mut closed = 0;
            for (y, line) in (0..size.1).zip(screen.lines()) {
                for x in 0..size.0 {
                    harness.send(Msg::Mouse(MouseEvent::Press, x, y));
                    assert_eq!(harness.started(), 0, "{x},{y}\n{screen}");
                    if !harness.ui.dialogs.is_empty() {
                        continue;
                    }
                    let leads_back = BACK.iter().any(|words| {
                        let at = line
                            .find(&words[..3])
                            .filter(|_| line.contains(&words[..5]));
                        let from = at.map(|at| line[..at].chars().count());
                        let length = words.chars().count();
                        from.is_some_and(|from| (from..from + length).contains(&x.into()))
                    });
                    assert!(leads_back, "{x},{y}\n{screen}");
                    closed += 1;
                    harness = opened(of, size);
                }
            }
            assert!(closed > 0, "nothing leads back\n{screen}");
        }
    }
}
