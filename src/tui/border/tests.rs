use super::*;
use std::collections::HashMap;
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::forest::far::Told;
use crate::forest::{Content, Forest, ScannedFile};
use crate::host::{FileId, FileKind, Stat};
use crate::machines::{Machine, MachineState, Machines};
use crate::ops::{
    BranchMachine, CloneMachine, Power, PowerAction, Progress, Redefine, RedefineAction, Request,
    Retention, RevertMachine, Talks, TryImage,
};
use crate::tui::browse::{Comparison, Shown, Spot};

const FAR: &str = "web:/srv/a.qcow2";

/// One image here, and one there.
fn forest() -> Arc<Forest> {
    let file = |path: &str, id: FileId| ScannedFile {
        path: path.into(),
        symlink: false,
        stat: Some(Stat {
            id,
            kind: FileKind::Regular,
            len: 0,
            allocated: 0,
            modified: UNIX_EPOCH,
            changed: UNIX_EPOCH,
            mode: 0o644,
            uid: 0,
            gid: 0,
            links: 1,
        }),
        content: Content::Raw,
        backing: None,
        also: Vec::new(),
        holders: Vec::new(),
        annotation: None,
        sharing: None,
    };
    let here = FileId {
        device: 1,
        inode: 1,
    };
    let there = here.on_machine(NonZeroU16::MIN).unwrap();
    let mut forest = Forest::new();
    forest.gather(&[Told {
        host: "web",
        files: &[],
        held: &HashMap::new(),
        machines: &Machines::of(vec![far_machine()], Vec::new()),
    }]);
    forest.extend([file("/srv/a.qcow2", here), file(FAR, there)]);
    Arc::new(forest)
}

fn far_machine() -> Machine {
    Machine {
        product: "libvirt",
        host: Some("web".into()),
        place: "web:qemu:///system".to_owned(),
        name: "db".to_owned(),
        id: Some("0b6b".to_owned()),
        state: MachineState::Off,
        disks: Vec::new(),
        snapshots: Vec::new(),
        checkpoints: Vec::new(),
        managed_by: None,
    }
}

fn far() -> PathBuf {
    FAR.into()
}

fn words() -> Vec<OsString> {
    vec!["less".into(), FAR.into()]
}

fn shown() -> Shown {
    Shown {
        image: far(),
        format: None,
        snapshot: None,
    }
}

/// Effects that would do something to a file by a name of another machine.
fn on_far_files() -> Vec<Effect> {
    let run = |work| Effect::Run {
        job: 1,
        work,
        progress: Progress::new(),
    };
    let plan = |forest| Effect::Plan {
        query_id: 1,
        request: Request::discard(vec![far()]),
        forest,
        delay: Duration::ZERO,
    };
    let compared = Comparison {
        newer: Shown {
            image: "/srv/a.qcow2".into(),
            ..shown()
        },
        older: ComparedWith::Other(shown()),
        spot: Spot::root(""),
        from: None,
    };
    vec![
        plan(forest()),
        Effect::PlanEach {
            query_id: 1,
            requests: vec![Request::discard(vec!["/a".into(), far()])],
            forest: forest(),
            delay: Duration::ZERO,
        },
        run(Work::Check(vec!["/a".into(), far()])),
        run(Work::Compare(["/a".into(), far()])),
        run(Work::Command(words())),
        run(Work::Command(vec![
            "x".into(),
            format!("--image={FAR}").into(),
        ])),
        Effect::Info(far()),
        Effect::Map(far(), None),
        Effect::Files(FilesQuery::Contents(far(), None)),
        Effect::Files(FilesQuery::Changes {
            after: "/a".into(),
            format: None,
            before: Before::Image(far()),
        }),
        Effect::Complete(1, "web:/srv/".into()),
        Effect::Browse(1, Question::Open(shown())),
        Effect::Browse(1, Question::Compare(compared)),
        Effect::Measure {
            query_id: 1,
            image: far(),
            format: None,
            snapshot: None,
        },
        Effect::Accept(far(), forest()),
        Effect::Open(vec!["/a".into(), "web:/srv".into()]),
        Effect::Shell("web:/srv".into()),
        Effect::Mount(far(), None),
        Effect::OnScreen(words()),
    ]
}

#[test]
fn nothing_is_done_here_to_a_file_that_a_host_named() {
    for effect in on_far_files() {
        let text = format!("{effect:?}");
        assert!(
            Border::new(vec!["db".to_owned()]).pass(effect).is_err(),
            "{text}"
        );
    }
}

/// Requests that would do something with a machine by a connection of another host.
fn on_far_machines() -> Vec<Request> {
    let machine = || "db".to_owned();
    let connection = || Some("web:qemu:///system".to_owned());
    let power = |action| {
        Request::Power(Power {
            machine: machine(),
            connection: connection(),
            action,
        })
    };
    vec![
        power(PowerAction::Start),
        power(PowerAction::ShutDown),
        power(PowerAction::Kill),
        Request::BranchMachine(BranchMachine {
            machine: machine(),
            connection: connection(),
            disks: Vec::new(),
            start: true,
        }),
        Request::RevertMachine(RevertMachine {
            machine: machine(),
            connection: connection(),
            to: "/srv/a".into(),
            disks: Vec::new(),
            start: false,
        }),
        Request::CloneMachine(CloneMachine {
            machine: machine(),
            connection: connection(),
            new: "new".to_owned(),
            full: true,
            folder: None,
            found: None,
        }),
        Request::Redefine(Redefine {
            machine: machine(),
            connection: connection(),
            disk: None,
            action: RedefineAction::Source("/srv/a".into()),
        }),
        Request::TryImage(TryImage {
            image: "/srv/a".into(),
            like: Some(machine()),
            connection: connection(),
            template: Vec::new(),
            talks: Talks::Nowhere,
        }),
    ]
}

#[test]
fn nothing_is_done_here_to_a_machine_of_a_host() {
    for hosts in [vec!["web".to_owned()], vec!["db".to_owned()]] {
        let border = Border::new(hosts);
        for request in on_far_machines() {
            let text = format!("{request:?}");
            let alone = Effect::Plan {
                query_id: 1,
                request: request.clone(),
                forest: forest(),
                delay: Duration::ZERO,
            };
            assert!(border.pass(alone).is_err(), "{text}");
            let among = Effect::PlanEach {
                query_id: 1,
                requests: vec![Request::discard(vec!["/srv/a".into()]), request.clone()],
                forest: forest(),
                delay: Duration::ZERO,
            };
            assert!(border.pass(among).is_err(), "{text}");
            // By a connection of this machine it is done here.
            let here = request.with_connections(&mut |_| Some("qemu:///system".to_owned()));
            let here = Effect::Plan {
                query_id: 1,
                request: here.unwrap(),
                forest: forest(),
                delay: Duration::ZERO,
            };
            assert!(matches!(border.pass(here), Ok(Passed::Here(_))), "{text}");
        }
    }
}

#[test]
fn what_is_asked_about_images_of_one_host_goes_there_by_their_names_there() {
    let border = Border::new(vec!["db".to_owned(), "web".to_owned()]);
    let there = |effect| match border.pass(effect) {
        Ok(Passed::There(1, effect)) => Some(format!("{effect:?}")),
        Ok(Passed::There(at, _)) => panic!("{at}"),
        Ok(Passed::Here(_)) | Err(_) => None,
    };
    let passed: Vec<String> = on_far_files().into_iter().filter_map(there).collect();
    // The others change something, or name this machine's files as well.
    assert_eq!(passed.len(), 7, "{passed:#?}");
    for effect in passed {
        assert!(effect.contains("\"/srv/"), "{effect}");
        assert!(!effect.contains("web:"), "{effect}");
    }
}

#[test]
fn an_answer_comes_back_by_the_names_that_images_have_here() {
    let number = NonZeroU16::MIN;
    let query = |path: &str| FilesQuery::Changes {
        after: path.into(),
        format: None,
        before: Before::Image(path.into()),
    };
    let why = || FilesAnswer::Failed(String::new());
    let msg = Msg::Files(query("/srv/a.qcow2"), why());
    let Msg::Files(back, _) = told("web", number, msg) else {
        panic!();
    };
    assert_eq!(back, query(FAR));
    let forest = forest();
    let node = forest.by_path(Path::new("/srv/a.qcow2"));
    let stat = node.and_then(|node| node.stat.clone());
    let error = || Box::new(Err(Error::failed("")));
    let msg = Msg::Checked(1, "/srv/a.qcow2".into(), stat, error());
    let Msg::Checked(1, path, Some(stat), _) = told("web", number, msg) else {
        panic!();
    };
    assert_eq!((path, stat.id.machine()), (far(), 1));
}

#[test]
fn whoever_opens_files_knows_no_others_than_those_of_this_machine() {
    let mut narrow = Narrow::default();
    let whole = forest();
    assert_eq!((whole.len(), whole.all_machines().count()), (2, 1));
    let of = || Arc::clone(&whole);
    let effects = [
        Effect::Plan {
            query_id: 1,
            request: Request::discard(vec!["/srv/a.qcow2".into()]),
            forest: of(),
            delay: Duration::ZERO,
        },
        Effect::Refresh(1, of(), vec![far()]),
        Effect::Candidates(1, of()),
        Effect::Keep {
            query_id: 1,
            forest: of(),
            candidates: Vec::new(),
            rule: Retention::default(),
        },
        Effect::Space {
            query_id: 1,
            forest: of(),
            reads: true,
            prune_days: 1,
        },
        Effect::Insides(1, of()),
        Effect::Machines(of()),
        Effect::Examine(of()),
        Effect::Interrupted(1, Some(of())),
        Effect::Remember(of()),
        Effect::Accept("/srv/a.qcow2".into(), of()),
    ];
    for effect in effects {
        let text = format!("{effect:?}");
        let passed = Border::pass_here(effect).map(|effect| narrow.narrow(effect));
        let forest = match passed {
            Ok(Effect::Refresh(_, forest, changed)) => {
                assert!(changed.is_empty());
                forest
            }
            Ok(
                Effect::Plan { forest, .. }
                | Effect::Candidates(_, forest)
                | Effect::Keep { forest, .. }
                | Effect::Space { forest, .. }
                | Effect::Insides(_, forest)
                | Effect::Machines(forest)
                | Effect::Examine(forest)
                | Effect::Interrupted(_, Some(forest))
                | Effect::Remember(forest)
                | Effect::Accept(_, forest),
            ) => forest,
            other => panic!("{text}: {other:?}"),
        };
        let names: Vec<_> = forest.nodes().map(|node| &node.path).collect();
        assert_eq!(names, [Path::new("/srv/a.qcow2")], "{text}");
        assert_eq!(forest.all_machines().count(), 0, "{text}");
        // By the number that it has among all.
        let node = whole.by_path(Path::new("/srv/a.qcow2")).unwrap();
        assert!(forest.get(node.id).is_some());
    }
    assert_eq!(whole.len(), 2);
}
