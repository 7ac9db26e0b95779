use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::fleet::{Destination, FarFolders};
use crate::forest::{Content, ScannedFile};
use crate::host::{FileId, FileKind, Stat};
use crate::machines::{Machines, NamedFile, Unasked, place_on};
use crate::tui::far_answers::{FarAnswer, Topic};
use crate::tui::hosts::{HostRules, Hosts, gathered_anew};
use crate::tui::key::{Code, Key};
use crate::tui::msg::{Effect, Msg, ScanEnd};
use crate::tui::order::View;
use crate::tui::query::QueryId;
use crate::tui::settings::Settings;
use crate::tui::ui::Ui;
use crate::tui::update::update;

fn file(host: usize, path: &str, inode: u64) -> ScannedFile {
    let number = std::num::NonZeroU16::new(u16::try_from(host).unwrap() + 1).unwrap();
    ScannedFile {
        path: path.into(),
        symlink: false,
        stat: Some(Stat {
            id: FileId { device: 1, inode }.on_machine(number).unwrap(),
            kind: FileKind::Regular,
            len: 1,
            allocated: 1,
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
    }
}

/// The machine `db` of a host: on each it has the same connection and the same UUID.
fn machine(host: &str, state: MachineState) -> Machine {
    Machine {
        product: "libvirt",
        host: Some(host.into()),
        place: place_on(host, "qemu:///system"),
        name: "db".to_owned(),
        id: Some("0b6b".to_owned()),
        state,
        disks: vec![Disk {
            target: "vda".to_owned(),
            file: NamedFile {
                path: format!("{host}:/srv/a").into(),
                file: None,
            },
            format: Some("raw".to_owned()),
            pinned: Vec::new(),
            pin_ends: false,
            read_only: false,
        }],
        snapshots: Vec::new(),
        checkpoints: Vec::new(),
        managed_by: None,
    }
}

/// Does what is asked, as far as that needs no host; what is left.
fn send(ui: &mut Ui, msg: Msg) -> Vec<Effect> {
    let mut left = Vec::new();
    for effect in update(ui, msg) {
        match effect {
            Effect::Gather(query_id, known, told) => {
                let forest = gathered_anew(known, &told);
                left.extend(send(ui, Msg::Gathered(query_id, forest)));
            }
            effect => left.push(effect),
        }
    }
    left
}

/// The places of the hosts that are asked for machines, each with the question.
fn asked(effects: &[Effect]) -> Vec<(usize, QueryId)> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::AskHost(query_id, at, asking) if asking.topic == Topic::Machines => {
            Some((*at, *query_id))
        }
        _ => None,
    });
    asked.collect()
}

fn told(machines: Vec<Machine>) -> Box<Result<FarAnswer, String>> {
    let machines = Machines::of(machines, Vec::new());
    Box::new(Ok(FarAnswer::Machines(Arc::new(machines))))
}

fn tell_images(ui: &mut Ui, at: usize) -> Vec<Effect> {
    let host = &ui.app.hosts.list[at];
    let (query_id, name) = (host.query_id, host.name.clone());
    let images = ["a", "b"].into_iter().zip(7..);
    let images = images.map(|(image, inode)| file(at, &format!("{name}:/srv/{image}"), inode));
    let images = images.collect();
    let mut effects = send(ui, Msg::FarFound(query_id, at, images));
    let end = Msg::FarScanned(query_id, at, Ok(ScanEnd::default()));
    effects.extend(send(ui, end));
    effects.extend(send(ui, Msg::Resize(120, 40)));
    effects
}

/// The hosts `web` and `two`, which have told their images.
fn with_images() -> (Ui, Vec<Effect>) {
    let mut ui = Ui::new(Settings::default(), (120, 40));
    let host = |name: &str| FarFolders {
        to: Destination::of(name, &[], None),
        folders: vec![PathBuf::from("/srv")],
        scan: Vec::new(),
        tell: Vec::new(),
        read: Vec::new(),
    };
    ui.app.hosts = Hosts::of(&["web", "two"].map(host));
    let mut effects = Vec::new();
    crate::tui::update::hosts::ask_all(&mut ui.app, &mut effects);
    // Of the machines of one nobody asks as long as another has images to tell.
    assert_eq!(asked(&tell_images(&mut ui, 0)), []);
    let effects = tell_images(&mut ui, 1);
    (ui, effects)
}

/// The same, which have told a machine each.
fn with_machines(state: MachineState) -> Ui {
    let (mut ui, effects) = with_images();
    let questions = asked(&effects);
    assert_eq!(questions.len(), 2, "{effects:?}");
    for (at, query_id) in questions {
        let name = ui.app.hosts.list[at].name.clone();
        let answer = told(vec![machine(&name, state)]);
        send(
            &mut ui,
            Msg::FarAnswered(query_id, at, Topic::Machines, answer),
        );
    }
    send(&mut ui, Msg::Resize(120, 40));
    ui
}

fn go_to(ui: &mut Ui, path: &str) {
    let node = ui.app.forest.by_path(Path::new(path)).unwrap().id;
    let row = ui.app.tree.rows.place(node).unwrap();
    ui.app.tree.touched = true;
    ui.app.tree.cursor = row;
    ui.app.tree.at = Some(node);
}

fn entries(ui: &Ui) -> Vec<(String, Option<String>)> {
    let menu = machines(&ui.app);
    let items = menu.items.into_iter();
    items
        .map(|item| (format!("{} {}", item.group, item.title), item.why_not))
        .collect()
}

#[test]
fn each_host_is_asked_for_its_machines_once_its_images_are_told_and_again_after_the_next_scan() {
    let (mut ui, effects) = with_images();
    assert_eq!(asked(&effects).len(), 2);
    assert_eq!(asked(&send(&mut ui, Msg::Resize(120, 40))), []);
    let mut effects = Vec::new();
    crate::tui::update::hosts::ask(&mut ui.app, 1, &mut effects);
    assert_eq!(asked(&send(&mut ui, Msg::Resize(120, 40))), []);
    let again = asked(&tell_images(&mut ui, 1));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].0, 1);
}

#[test]
fn a_host_that_shows_one_folder_is_not_asked_and_what_cannot_be_asked_is_said_once() {
    let (mut ui, effects) = with_images();
    let rules = HostRules {
        is_read_only: true,
        is_restricted: true,
    };
    send(&mut ui, Msg::FarGreeted(0, rules));
    let why = |ui: &Ui, text: &str| {
        let lines = ui.app.session.log.of(None);
        lines.filter(|line| line.text.contains(text)).count()
    };
    for _ in 0..2 {
        let mut ignored = Vec::new();
        crate::tui::update::hosts::ask(&mut ui.app, 0, &mut ignored);
        assert_eq!(asked(&tell_images(&mut ui, 0)), []);
    }
    assert_eq!(why(&ui, "web shows the images of one folder"), 1);
    let (at, query_id) = asked(&effects)[1];
    let unasked = Unasked {
        product: "libvirt",
        place: "two:qemu:///system".to_owned(),
        why: "no rights".to_owned(),
    };
    let answer = FarAnswer::Machines(Arc::new(Machines::of(Vec::new(), vec![unasked])));
    let answer = Msg::FarAnswered(query_id, at, Topic::Machines, Box::new(Ok(answer)));
    send(&mut ui, answer);
    assert_eq!(why(&ui, "libvirt (two:qemu:///system): no rights"), 1);
}

#[test]
fn machines_of_hosts_use_their_own_images_and_stand_by_themselves_in_the_view_by_machine() {
    let mut ui = with_machines(MachineState::Off);
    for host in ["web", "two"] {
        let path = format!("{host}:/srv/a");
        let node = ui.app.forest.by_path(Path::new(&path)).unwrap();
        let uses: Vec<String> = ui
            .app
            .forest
            .uses(node)
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = format!("db (libvirt on {host}, off): the disk vda");
        assert_eq!(uses, [expected]);
    }
    ui.app.tree.view = View::Machines;
    ui.app.tree.version += 1;
    send(&mut ui, Msg::Resize(120, 40));
    ui.app.tree.cursor = 0;
    let screen = screen(&mut ui);
    for row in ["db (libvirt on two, off)", "db (libvirt on web, off)"] {
        assert!(screen.contains(row), "{screen}");
    }
    assert!(screen.contains("known from two:qemu:///system"), "{screen}");
}

#[test]
fn what_is_done_to_a_machine_is_asked_of_its_host_and_of_nobody_else() {
    for (host, at) in [("web", 0), ("two", 1)] {
        let mut ui = with_machines(MachineState::Off);
        go_to(&mut ui, &format!("{host}:/srv/a"));
        let told = entries(&ui);
        let titles: Vec<&str> = told.iter().map(|(title, _)| title.as_str()).collect();
        assert!(
            titles[0].starts_with(&format!("start db on {host}")),
            "{titles:?}"
        );
        let other = ["web", "two"].into_iter().find(|it| *it != host).unwrap();
        assert!(
            !titles.iter().any(|title| title.contains(other)),
            "{titles:?}"
        );
        let is_possible = |word: &str| {
            let mut told = told.iter().filter(|(title, _)| title.starts_with(word));
            told.any(|(_, why_not)| why_not.is_none())
        };
        for word in ["start", "branch", "clone", "try this image as db"] {
            assert!(is_possible(word), "{word}: {told:?}");
        }
        assert!(!is_possible("try this image:"), "{told:?}");
        for key in [Key::char('&'), Key::of(Code::Enter)] {
            let effects = send(&mut ui, Msg::Key(key));
            let planned = effects.iter().any(|it| matches!(it, Effect::Plan { .. }));
            assert!(!planned, "{effects:?}");
            if key == Key::of(Code::Enter) {
                let words = effects.iter().find_map(|effect| match effect {
                    Effect::ChangeThere { at: of, words, .. } => Some((*of, words.clone())),
                    _ => None,
                });
                let line = "machine start --connect qemu:///system db";
                let line: Vec<OsString> = line.split(' ').map(OsString::from).collect();
                assert_eq!(words, Some((at, line)));
            }
        }
    }
}

#[test]
fn an_image_of_a_host_is_pointed_to_by_machines_of_that_host_alone() {
    let mut ui = with_machines(MachineState::Off);
    go_to(&mut ui, "two:/srv/b");
    let told = entries(&ui);
    assert!(
        told.iter().any(|(title, _)| title.starts_with("use")),
        "{told:?}"
    );
    assert!(
        !told.iter().any(|(title, _)| title.contains("web")),
        "{told:?}"
    );
    // Every entry that is asked is one that its host does, and no name of this machine is left in it.
    let asks = machines(&ui.app).items.into_iter();
    let asks = asks.filter(|item| item.why_not.is_none());
    for item in asks {
        let Choice::Ask(request) = item.choice else {
            continue;
        };
        let place = crate::tui::there::place(&ui.app.hosts, &request);
        let crate::tui::there::Place::There(1, words) = place else {
            panic!("{request:?}: {place:?}");
        };
        let is_left = |word: &OsString| word.to_string_lossy().contains("two:");
        assert!(!words.iter().any(is_left), "{words:?}");
    }
}

#[test]
fn a_clone_is_made_by_the_host_whose_machine_it_is() {
    let mut ui = with_machines(MachineState::Off);
    go_to(&mut ui, "two:/srv/a");
    let items = machines(&ui.app).items;
    let clone = items
        .into_iter()
        .find(|item| item.group == "clone")
        .unwrap();
    let Choice::Fill(kind, Some(which)) = clone.choice else {
        panic!();
    };
    let form = forms::form(&ui.app, None, kind, Some(&which)).unwrap();
    assert!(form.title.contains("db on two"), "{}", form.title);
    assert!(form.is_on_host());
    let request = form.requests().unwrap().pop().unwrap();
    assert_eq!(request.connections(), ["two:qemu:///system"]);
}

#[test]
fn a_host_that_only_lets_its_images_be_read_changes_no_machine() {
    let mut ui = with_machines(MachineState::Running);
    let rules = HostRules {
        is_read_only: true,
        is_restricted: false,
    };
    send(&mut ui, Msg::FarGreeted(1, rules));
    go_to(&mut ui, "two:/srv/a");
    send(&mut ui, Msg::Key(Key::char('&')));
    assert!(ui.dialogs.is_empty());
    let why = &ui.app.session.toast.as_ref().unwrap().text;
    assert!(why.contains("two lets its images be read"), "{why}");
    go_to(&mut ui, "web:/srv/a");
    send(&mut ui, Msg::Key(Key::char('&')));
    assert!(!ui.dialogs.is_empty());
}

fn screen(ui: &mut Ui) -> String {
    let (width, height) = ui.app.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| crate::tui::views::draw(frame, ui))
        .unwrap();
    let cells = terminal.backend().buffer().content().iter();
    cells.map(|cell| cell.symbol().to_owned()).collect()
}
