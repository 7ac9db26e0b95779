//! Leaves that nothing uses: each machine is asked for its own while the checklist is open, and again when another rule is
//! to keep some.

use std::sync::Arc;

use crate::tui::far_answers::{Asking, PendingState, Topic};
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::ui::Ui;

use super::beside;

/// Asks what is not asked yet, and brings the rows in line with what is known.
pub(super) fn ask(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let app = &mut ui.app;
    let Some(dialog) = ui.dialogs.prune_mut() else {
        return;
    };
    let rule = dialog.rule;
    let query_id = app.query_id();
    if let Some(candidates) = dialog.ask_here(query_id) {
        effects.push(Effect::Keep {
            query_id,
            forest: Arc::clone(&app.forest),
            candidates,
            rule,
        });
    }
    if dialog.ask_hosts() {
        let asking = Asking {
            rule,
            ..Asking::about(Topic::Prune)
        };
        for at in 0..app.hosts.list.len() {
            beside::ask(app, at, asking, effects);
        }
    }
    dialog.settle(app);
}

/// A host has answered.
pub(super) fn answered(ui: &mut Ui, query_id: QueryId, at: usize) {
    let old = ui.app.settings.prune_age();
    let host = ui.app.hosts.list.get(at);
    let pending = host.map(|host| &host.beside.prune);
    let pending = pending.filter(|pending| pending.query_id == query_id);
    let (Some(pending), Some(dialog)) = (pending, ui.dialogs.prune_mut()) else {
        return;
    };
    match &pending.state {
        PendingState::Told(leaves) => dialog.take(Some(at), Some(Arc::clone(leaves)), old),
        // What it said by another rule is worth nothing.
        PendingState::Failed(_) => dialog.take(Some(at), None, old),
        PendingState::NotAsked | PendingState::Asked | PendingState::Silent(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::facts::SpareLeaf;
    use crate::fleet::{Destination, FarFolders};
    use crate::forest::{Content, ScannedFile, Sharing};
    use crate::host::{FileId, FileKind, Stat};
    use crate::ops::{Request, Retention};
    use crate::tui::far_answers::FarAnswer;
    use crate::tui::hosts::{HostRules, Hosts, gathered_anew};
    use crate::tui::key::{Code, Key};
    use crate::tui::msg::{Msg, ScanEnd};
    use crate::tui::settings::Settings;
    use crate::tui::update::{hosts, update};

    const DAY: u64 = 86_400;

    fn shared(path: &str, machine: u16) -> ScannedFile {
        let id = FileId {
            device: 1,
            inode: 7,
        };
        ScannedFile {
            path: PathBuf::from(path),
            symlink: false,
            stat: Some(Stat {
                id: id.on_machine(NonZeroU16::new(machine).unwrap()).unwrap(),
                kind: FileKind::Regular,
                len: 1,
                allocated: 1,
                modified: SystemTime::UNIX_EPOCH,
                changed: SystemTime::UNIX_EPOCH,
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
            sharing: Some(Box::new(Sharing {
                name: Path::new("nas:/e/over").into(),
                keeps_inodes: true,
                is_read_only: false,
                seen_as: Vec::new(),
            })),
        }
    }

    /// An interface with the hosts one and two, which both see one image, and the checklist open; what was asked of them.
    fn checklist() -> (Ui, Vec<Effect>) {
        let mut ui = Ui::new(Settings::default(), (100, 30));
        ui.app.settings.prune_days = 30;
        let host = |name: &str| FarFolders {
            to: Destination::of(name, &[], None),
            folders: vec![PathBuf::from("/nas")],
            scan: Vec::new(),
            tell: Vec::new(),
            read: Vec::new(),
        };
        ui.app.hosts = Hosts::of(&["one", "two"].map(host));
        hosts::ask_all(&mut ui.app, &mut Vec::new());
        for (at, machine, path) in [(0, 1, "one:/nas/over"), (1, 2, "two:/nas/over")] {
            let id = ui.app.hosts.list[at].query_id;
            update(&mut ui, Msg::FarFound(id, at, vec![shared(path, machine)]));
            update(&mut ui, Msg::FarScanned(id, at, Ok(ScanEnd::default())));
        }
        for effect in update(&mut ui, Msg::Resize(100, 30)) {
            if let Effect::Gather(query_id, known, told) = effect {
                let forest = gathered_anew(known, &told);
                update(&mut ui, Msg::Gathered(query_id, forest));
            }
        }
        let effects = update(&mut ui, Msg::Key(Key::char('P')));
        (ui, effects)
    }

    /// The questions to hosts, with the rule of each.
    fn asked(effects: &[Effect]) -> Vec<(QueryId, usize, Retention)> {
        let asked = effects.iter().filter_map(|effect| match effect {
            Effect::AskHost(query_id, at, asking) if asking.topic == Topic::Prune => {
                Some((*query_id, *at, asking.rule))
            }
            _ => None,
        });
        asked.collect()
    }

    fn leaf(path: &str, days: u64, kept: Option<&str>) -> Arc<SpareLeaf> {
        Arc::new(SpareLeaf {
            path: path.into(),
            age: Duration::from_secs(days * DAY),
            frees: 1 << 20,
            why: "nothing is built on it".to_owned(),
            kept: kept.map(str::to_owned),
        })
    }

    fn answer(ui: &mut Ui, (query_id, at): (QueryId, usize), leaves: &[Arc<SpareLeaf>]) {
        let told = Ok(FarAnswer::Prune(leaves.to_vec().into()));
        let msg = Msg::FarAnswered(query_id, at, Topic::Prune, Box::new(told));
        update(ui, msg);
        update(ui, Msg::Resize(100, 30));
    }

    /// The rows, with a mark before those that are ticked.
    fn rows(ui: &mut Ui) -> Vec<String> {
        let rows = ui.dialogs.prune_mut().unwrap().rows().iter();
        let row = |ticked: bool| if ticked { "x " } else { "" };
        rows.map(|one| format!("{}{}", row(one.ticked), one.leaf.path.display()))
            .collect()
    }

    fn said(ui: &mut Ui) -> String {
        let app = &ui.app;
        ui.dialogs.prune_mut().unwrap().said(app).join("\n")
    }

    #[test]
    fn an_image_that_two_hosts_see_is_proposed_once_and_only_where_both_say_that_nothing_uses_it() {
        let (mut ui, effects) = checklist();
        let [(one, ..), (two, ..)] = asked(&effects)[..] else {
            panic!("{effects:?}");
        };
        answer(
            &mut ui,
            (one, 0),
            &[leaf("one:/nas/over", 90, None), leaf("one:/b", 40, None)],
        );
        assert_eq!(rows(&mut ui), ["x one:/b"]);
        assert!(said(&mut ui).contains("two is being asked"));
        // It has it in use.
        answer(&mut ui, (two, 1), &[leaf("two:/b", 9, None)]);
        assert_eq!(rows(&mut ui), ["x one:/b", "two:/b"]);
        assert!(said(&mut ui).contains("1 leaf on storage that several machines see is left out"));
        let effects = update(&mut ui, Msg::Key(Key::char('P')));
        assert!(asked(&effects).is_empty());
        // Both propose it; one of them by its rule keeps it.
        let effects = update(&mut ui, Msg::Key(Key::char('l')));
        let [(one, ..), (two, _, rule)] = asked(&effects)[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(rule.last, 1);
        answer(&mut ui, (one, 0), &[leaf("one:/nas/over", 90, None)]);
        let all = [
            leaf("two:/nas/over", 90, Some("the youngest on its base")),
            leaf("two:/b", 9, None),
        ];
        answer(&mut ui, (two, 1), &all);
        assert_eq!(rows(&mut ui), ["one:/nas/over", "x two:/b"]);
        assert!(!said(&mut ui).contains("left out"));
        update(&mut ui, Msg::Key(Key::char('k')));
        update(&mut ui, Msg::Key(Key::char(' ')));
        assert_eq!(rows(&mut ui), ["x one:/nas/over", "x two:/b"]);
    }

    #[test]
    fn what_is_told_by_an_older_rule_is_dropped_and_nothing_is_planned_before_the_new_one_is_known()
    {
        let (mut ui, effects) = checklist();
        let first = asked(&effects);
        answer(&mut ui, (first[0].0, 0), &[leaf("one:/b", 40, None)]);
        assert_eq!(rows(&mut ui), ["x one:/b"]);
        let effects = update(&mut ui, Msg::Key(Key::char('d')));
        let second = asked(&effects);
        assert_eq!((second.len(), second[0].2.daily), (2, 7));
        update(&mut ui, Msg::Key(Key::of(Code::Enter)));
        assert!(ui.dialogs.plan().is_none());
        // Older answers, late.
        answer(&mut ui, (first[0].0, 0), &[leaf("one:/c", 40, None)]);
        answer(&mut ui, (first[1].0, 1), &[leaf("two:/c", 40, None)]);
        assert_eq!(rows(&mut ui), ["x one:/b"]);
        let kept = leaf("one:/b", 40, Some("the youngest of its day"));
        answer(&mut ui, (second[0].0, 0), &[kept]);
        assert_eq!(rows(&mut ui), ["one:/b"]);
        // One that fails now proposes nothing any more.
        update(&mut ui, Msg::Key(Key::char('d')));
        let id = ui.app.hosts.list[0].beside.prune.query_id;
        let failed = Box::new(Err("one is away".to_owned()));
        update(&mut ui, Msg::FarAnswered(id, 0, Topic::Prune, failed));
        update(&mut ui, Msg::Resize(100, 30));
        assert!(rows(&mut ui).is_empty());
        assert!(said(&mut ui).contains("one is away"));
    }

    #[test]
    fn a_host_that_lets_nothing_be_changed_has_a_voice_and_no_rows() {
        let (mut ui, effects) = checklist();
        let rules = HostRules {
            is_read_only: true,
            is_restricted: false,
        };
        update(&mut ui, Msg::FarGreeted(1, rules));
        let ids = asked(&effects);
        let of_one = [leaf("one:/nas/over", 90, None)];
        answer(&mut ui, (ids[0].0, 0), &of_one);
        assert!(rows(&mut ui).is_empty());
        let of_two = [leaf("two:/nas/over", 90, None), leaf("two:/b", 90, None)];
        answer(&mut ui, (ids[1].0, 1), &of_two);
        assert_eq!(rows(&mut ui), ["x one:/nas/over"]);
        assert!(said(&mut ui).contains("two lets its images be read, and nothing be changed."));
    }

    #[test]
    fn what_is_ticked_of_several_machines_is_planned_machine_by_machine_and_none_is_lost() {
        let (mut ui, effects) = checklist();
        let here = ui.dialogs.prune_mut().unwrap().query_id;
        let own = crate::ops::Candidate {
            node: crate::forest::NodeId(0),
            path: "/own".into(),
            age: Duration::from_secs(90 * DAY),
            frees: 1,
            why: String::new(),
        };
        update(&mut ui, Msg::Candidates(here, vec![own]));
        for (query_id, at, _) in asked(&effects) {
            let path = ["one:/b", "two:/b"][at];
            answer(&mut ui, (query_id, at), &[leaf(path, 60, None)]);
        }
        let discard = |path: &str| Request::discard(vec![path.into()]);
        let plan = |ui: &Ui| ui.dialogs.top_plan().map(|plan| plan.request.clone());
        update(&mut ui, Msg::Key(Key::of(Code::Enter)));
        assert_eq!(plan(&ui), Some(discard("/own")));
        let then = |ui: &Ui| ui.dialogs.top_plan().unwrap().then(&ui.app);
        assert_eq!(then(&ui), " (then one, two)");
        let toast = |ui: &Ui| ui.app.session.toast.as_ref().unwrap().text.clone();
        let effects = update(&mut ui, Msg::Key(Key::of(Code::Esc)));
        assert_eq!(toast(&ui), "Nothing was changed on this machine.");
        assert_eq!(plan(&ui), Some(discard("one:/b")));
        let is_of = |place: usize| move |effect: &Effect| matches!(effect, Effect::ChangeThere { at, .. } if *at == place);
        assert!(effects.iter().any(is_of(0)));
        let query_id = ui.dialogs.plan().unwrap().query_id;
        let question = crate::fleet::Question {
            lines: vec!["Discard 1 image".to_owned()],
            prompt: String::new(),
            count: None,
        };
        update(&mut ui, Msg::ThereAsked(query_id, Box::new(question)));
        let effects = update(&mut ui, Msg::Key(Key::char('y')));
        assert!(effects.iter().any(is_of(1)), "{effects:?}");
        assert_eq!(plan(&ui), Some(discard("two:/b")));
        assert_eq!((then(&ui).as_str(), ui.app.jobs.list.len()), ("", 1));
        update(&mut ui, Msg::Key(Key::of(Code::Esc)));
        assert_eq!(toast(&ui), "Nothing was changed on two.");
        assert!(ui.dialogs.is_empty());
    }
}
