//! Plans that change definitions of machines, with a real libvirt: what is refused, the way out, and that the machine
//! starts and its guest finds what it is to find, before and after, and when it is taken back.

use std::path::Path;

use serde_json::Value;

use crate::support::libvirt::{Cut, OF_BASE, OF_WEB, Session, session, web};

/// The same with a snapshot by libvirt: the definition pins `disk` below `disk.before`.
fn pinned() -> Option<Session> {
    let session = web()?;
    session.virsh_ok("start web");
    session.virsh_ok("snapshot-create-as web before --disk-only --atomic --no-metadata");
    session.virsh_ok("destroy web");
    session.write("disk.before", 3, 128);
    assert!(session.xml("web").contains("<backingStore"));
    Some(session)
}

const OF_PINNED: &[(u8, u32)] = &[(1, 0), (2, 64), (3, 128)];

fn is_source(session: &Session, image: &str) -> bool {
    let named = format!("<source file='{}'/>", session.at(image).display());
    session.xml("web").contains(&named)
}

/// What is refused for a machine's sake is offered with its definition changed, and by number.
fn is_refused(session: &Session, words: &str) {
    assert_eq!(session.refusal(words), "used-by-machine", "{words}");
    let ways = session.ways_out(words);
    let has = |flag: &str| ways.iter().any(|line| line.contains(flag));
    assert!(
        has("--redefine") && has("--despite-machines"),
        "{words}: {ways:?}"
    );
}

fn redefines(told: &Value) -> Vec<(String, String)> {
    let all = told["plan"]["redefines"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|one| (text(&one["machine"]), text(&one["step"])))
        .collect()
}

#[test]
fn a_disk_that_moves_is_found_at_its_new_place_and_back_again() {
    let Some(session) = web() else { return };
    let before = session.xml("web");
    is_refused(&session, "move disk there");
    let told = session.q_ok("move disk there --redefine --yes");
    assert_eq!(redefines(&told), [("web".to_owned(), "source".to_owned())]);
    assert!(is_source(&session, "there") && !session.at("disk").exists());
    session.guest_finds("web", OF_WEB);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_WEB);
    session.q_ok("redo --yes");
    assert!(is_source(&session, "there"));
    session.guest_finds("web", OF_WEB);
    // By number the machine is left behind.
    session.q_ok("move there elsewhere --despite-machines --confirm 1");
    assert!(is_source(&session, "there"));
    assert!(!session.virsh("start web").status.success());
}

#[test]
fn a_chain_that_is_pinned_moves_with_its_pin_taken_out() {
    let Some(session) = pinned() else { return };
    let before = session.xml("web");
    // What lies below the last layer that is pinned is for the headers to say.
    assert_eq!(session.refusal("move base ground"), "");
    is_refused(&session, "move disk there");
    is_refused(&session, "move disk.before there");
    // The leaf goes with its pin, which holds for it there as well.
    session.q_ok("move disk.before top --redefine --yes");
    assert!(session.xml("web").contains("<backingStore"));
    session.guest_finds("web", OF_PINNED);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    let told = session.q_ok("move disk middle --redefine --yes");
    assert_eq!(redefines(&told), [("web".to_owned(), "unpin".to_owned())]);
    assert!(!session.xml("web").contains("<backingStore"));
    session.guest_finds("web", OF_PINNED);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_PINNED);
}

/// The chain of `pinned`, with the pin or without.
fn three_layers(is_pinned: bool) -> Option<Session> {
    if is_pinned {
        return pinned();
    }
    let session = web()?;
    session.image("-b disk -F qcow2 disk.before");
    session.write("disk.before", 3, 128);
    session.edit("web", "vm/disk'", "vm/disk.before'");
    assert!(!session.xml("web").contains("<backingStore"));
    Some(session)
}

/// Does it, with the definition changed only where that pins the chain; the guest finds what it found.
fn is_done_below(session: &Session, is_pinned: bool, words: &str, yes: &str) {
    let before = session.xml("web");
    let (flag, steps) = match is_pinned {
        true => (" --redefine", vec![("web".to_owned(), "unpin".to_owned())]),
        false => ("", Vec::new()),
    };
    match is_pinned {
        true => is_refused(session, words),
        false => assert_eq!(session.refusal(words), "", "{words}"),
    }
    let told = session.q_ok(&format!("{words}{flag} {yes}"));
    assert_eq!(redefines(&told), steps, "{words}");
    let then = session.xml("web");
    assert_eq!(then == before, !is_pinned, "{words}: {then}");
    assert!(!then.contains("<backingStore"), "{words}: {then}");
    session.guest_finds("web", OF_PINNED);
}

#[test]
fn the_chain_of_a_machine_is_changed_and_back_again_pinned_or_not() {
    for is_pinned in [false, true] {
        let Some(session) = three_layers(is_pinned) else {
            return;
        };
        let before = session.xml("web");
        for words in [
            "rebase disk.before --to base",
            "flatten disk.before --onto base --in-place",
            "flatten disk.before --in-place",
            "commit disk --keep-old old",
        ] {
            is_done_below(&session, is_pinned, words, "--yes");
            session.q_ok("undo --yes");
            assert_eq!(session.xml("web"), before, "{words}");
            session.guest_finds("web", OF_PINNED);
        }
    }
}

#[test]
fn a_layer_leaves_the_chain_of_a_machine_for_good_pinned_or_not() {
    for is_pinned in [false, true] {
        // Upwards nothing is overwritten.
        for (words, yes) in [
            ("squash disk --direction up", "--yes"),
            ("squash disk --direction down", "--confirm 1"),
            ("commit disk", "--confirm 1"),
        ] {
            let Some(session) = three_layers(is_pinned) else {
                return;
            };
            is_done_below(&session, is_pinned, words, yes);
            assert!(!session.at("disk").exists(), "{words}");
            assert_eq!(session.refusal("undo"), "not-reversible", "{words}");
        }
    }
}

#[test]
fn a_layer_that_is_committed_leaves_the_machine_its_base() {
    for is_pinned in [false, true] {
        let Some(session) = three_layers(is_pinned) else {
            return;
        };
        is_refused(&session, "commit disk.before");
        let told = session.q_ok("commit disk.before --redefine --confirm 1");
        assert_eq!(redefines(&told), [("web".to_owned(), "source".to_owned())]);
        assert!(is_source(&session, "disk") && !session.xml("web").contains("<backingStore"));
        session.guest_finds("web", OF_PINNED);
        // What it overwrote is kept nowhere.
        assert_eq!(session.refusal("undo"), "not-reversible");
        // Another one is built on the base: the machine would write it under that.
        session.image("-b base -F qcow2 sibling");
        let ways = session.ways_out("commit disk");
        assert!(
            !ways.iter().any(|line| line.contains("--redefine")),
            "{ways:?}"
        );
    }
}

#[test]
fn a_disk_that_is_discarded_leaves_the_machine_the_layer_below() {
    let Some(session) = web() else { return };
    let before = session.xml("web");
    is_refused(&session, "discard disk");
    let told = session.q_ok("discard disk --redefine --yes");
    assert_eq!(redefines(&told), [("web".to_owned(), "source".to_owned())]);
    let notes = told["plan"]["notes"].as_array().unwrap().iter();
    let mut warned = notes.filter(|note| note["warning"] == true);
    assert!(
        warned.any(|note| note["text"].as_str().unwrap().contains("no longer sees")),
        "{told:#}"
    );
    assert!(is_source(&session, "base") && !session.at("disk").exists());
    session.guest_finds("web", OF_BASE);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_WEB);
    session.q_ok("redo --yes");
    assert!(is_source(&session, "base"));
    session.q_ok("undo --yes");
    // By number the machine is left behind.
    session.q_ok("discard disk --despite-machines --confirm 1");
    assert!(is_source(&session, "disk"));
    assert!(!session.virsh("start web").status.success());
    session.q_ok("undo --yes");
    // The base would be written under another one.
    session.image("-b base -F qcow2 sibling");
    let ways = session.ways_out("discard disk");
    assert!(
        !ways.iter().any(|line| line.contains("--redefine")),
        "{ways:?}"
    );
    assert_eq!(
        session.refusal("discard disk --redefine"),
        "used-by-machine"
    );
    session.guest_finds("web", OF_WEB);
}

#[test]
fn a_pinned_disk_that_is_discarded_leaves_the_machine_the_layer_below() {
    let Some(session) = pinned() else { return };
    let before = session.xml("web");
    is_refused(&session, "discard disk.before");
    session.q_ok("discard disk.before --redefine --yes");
    assert!(is_source(&session, "disk") && !session.xml("web").contains("<backingStore"));
    session.guest_finds("web", &[(1, 0), (2, 64), (0, 128)]);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_PINNED);
    // All of it goes but the base.
    session.q_ok("discard disk --redefine --yes");
    assert!(is_source(&session, "base") && !session.at("disk.before").exists());
    session.guest_finds("web", &[(1, 0), (0, 64), (0, 128)]);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_PINNED);
}

#[test]
fn a_discard_that_is_cut_off_is_finished_or_taken_back() {
    let cuts = [(Cut::BeforeDefine, OF_WEB), (Cut::AfterDefine, OF_BASE)];
    for (cut, found) in cuts {
        let Some(session) = web() else { return };
        let before = session.xml("web");
        session.cut_off("discard disk --redefine --yes", cut);
        // Whichever it is, the machine starts.
        session.guest_finds("web", found);
        session.q_ok("recover 1 --roll-back --yes");
        assert_eq!(session.xml("web"), before, "{cut:?}");
        session.guest_finds("web", OF_WEB);
        session.cut_off("discard disk --redefine --yes", cut);
        session.q_ok("recover 3 --finish --yes");
        assert!(is_source(&session, "base") && !session.at("disk").exists());
        session.guest_finds("web", OF_BASE);
    }
}

#[test]
fn a_converted_disk_takes_the_place_of_the_old_one_where_that_is_asked_for() {
    let Some(session) = pinned() else { return };
    let before = session.xml("web");
    session.q_ok("convert disk.before plain.raw --to raw --redefine --yes");
    let then = session.xml("web");
    assert!(
        is_source(&session, "plain.raw") && then.contains("type='raw'"),
        "{then}"
    );
    session.guest_finds("web", OF_PINNED);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_PINNED);
    // Nobody asked.
    session.q_ok("convert disk.before other --yes");
    assert_eq!(session.xml("web"), before);
}

#[test]
fn no_definition_changes_of_a_machine_that_runs_is_saved_or_marked() {
    let Some(session) = web() else { return };
    let refused = |words: &str, how: &str| {
        let told = session.q(&format!("{words} --redefine --dry-run"));
        let text = told["error"]["message"].as_str().unwrap_or_default();
        assert!(text.contains(how), "{words}: {told:#}");
    };
    session.virsh_ok("start web");
    refused("move disk there", "in use by");
    session.virsh_ok("managedsave web");
    refused("move disk there", "saved");
    refused("redefine web --source base", "saved");
    session.virsh_ok("managedsave-remove web");
    session.virsh_ok("start web");
    session.virsh_ok("checkpoint-create-as web monday");
    session.virsh_ok("destroy web");
    refused("convert disk new", "checkpoints");
}

#[test]
fn a_move_that_is_cut_off_is_finished_or_taken_back() {
    let Some(session) = web() else { return };
    let before = session.xml("web");
    let mut entry = 0;
    for cut in [Cut::BeforeDefine, Cut::AfterDefine] {
        for (way, place) in [("--roll-back", "disk"), ("--finish", "there")] {
            session.cut_off("move disk there --redefine --yes", cut);
            entry += 1;
            // Whichever it is, the machine starts.
            session.guest_finds("web", OF_WEB);
            session.q_ok(&format!("recover {entry} {way} --yes"));
            entry += 1;
            let then = session.xml("web");
            assert!(is_source(&session, place), "{cut:?} {way}: {then}");
            assert_eq!(session.at("disk").exists(), place == "disk");
            assert_eq!(session.at("there").exists(), place == "there");
            assert_eq!(then == before, place == "disk");
            session.guest_finds("web", OF_WEB);
        }
        session.q_ok("move there disk --redefine --yes");
        entry += 1;
        assert_eq!(session.xml("web"), before);
    }
}

#[test]
fn what_one_machine_gets_and_another_loses_by_number_is_finished_or_taken_back() {
    let Some(session) = web() else { return };
    session.image("-b disk -F qcow2 top");
    session.write("top", 4, 192);
    session.define("db", "top");
    session.virsh_ok("start db");
    session.virsh_ok("managedsave db");
    session.folder("sub");
    let before = (session.xml("web"), session.xml("db"));
    let words = "move disk sub --subtree";
    // Of what is saved no definition changes.
    let told = session.q(&format!("{words} --redefine --dry-run"));
    assert!(
        told["error"]["message"].as_str().unwrap().contains("db"),
        "{told:#}"
    );
    let entry = |number: usize| 2 * number + 1;
    let cuts = [
        (Cut::BeforeDefine, "--roll-back"),
        (Cut::AfterDefine, "--roll-back"),
        (Cut::AfterDefine, "--finish"),
    ];
    for (number, (cut, way)) in cuts.into_iter().enumerate() {
        session.cut_off(
            &format!("{words} --redefine --despite-machines --confirm 1"),
            cut,
        );
        session.q_ok(&format!("recover {} {way} --yes", entry(number)));
        let is_back = way == "--roll-back";
        assert_eq!(session.xml("web") == before.0, is_back, "{cut:?} {way}");
        assert_eq!(session.xml("db"), before.1);
        assert_eq!(session.at("disk").exists(), is_back, "{cut:?} {way}");
        assert_eq!(session.at("top").exists(), is_back, "{cut:?} {way}");
        session.guest_finds("web", OF_WEB);
    }
    assert!(is_source(&session, "sub/disk"));
    // It is left behind.
    assert!(!session.virsh("start db").status.success());
}

#[test]
fn a_rebase_of_a_pinned_chain_that_is_cut_off_is_finished_or_taken_back() {
    let Some(session) = pinned() else { return };
    let before = session.xml("web");
    let cuts = [
        (Cut::BeforeDefine, "--roll-back"),
        (Cut::AfterDefine, "--roll-back"),
        (Cut::AfterDefine, "--finish"),
    ];
    for (number, (cut, way)) in (0..).zip(cuts) {
        session.cut_off("rebase disk.before --to base --redefine --yes", cut);
        session.guest_finds("web", OF_PINNED);
        session.q_ok(&format!("recover {} {way} --yes", 2 * number + 1));
        assert_eq!(
            session.xml("web") == before,
            way == "--roll-back",
            "{cut:?} {way}"
        );
        session.guest_finds("web", OF_PINNED);
    }
}

#[test]
fn a_definition_alone_is_changed_and_taken_back() {
    let Some(session) = web() else { return };
    let before = session.xml("web");
    session.image("-b base -F qcow2 other");
    session.write("other", 9, 64);
    assert_eq!(session.refusal("redefine web --source base"), "dependants");
    session.q_ok("redefine web --source other --yes");
    session.guest_finds("web", &[(1, 0), (9, 64)]);
    assert_eq!(session.refusal("redefine web --source other"), "");
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.guest_finds("web", OF_WEB);
    session.cut_off("redefine web --source other --yes", Cut::AfterDefine);
    session.q_ok("recover 3 --roll-back --yes");
    assert_eq!(session.xml("web"), before);
    // Somebody else changed it since: that is not taken back.
    session.q_ok("redefine web --source other --yes");
    session.image("-b base -F qcow2 third");
    session.edit("web", "vm/other'", "vm/third'");
    assert_eq!(session.refusal("undo"), "stale");
    // Another machine of the same name is another machine.
    session.virsh_ok("undefine web");
    session.define("web", "other");
    assert_eq!(session.refusal("undo"), "used-by-machine");
}

#[test]
fn the_doctor_takes_a_pin_out_that_agrees_where_that_is_asked_for() {
    let Some(session) = pinned() else { return };
    let before = session.xml("web");
    let told = || {
        let found = session.q("doctor .")["result"]["findings"].take();
        let mut found = found.as_array().unwrap().clone().into_iter();
        found.find(|one| one["kind"] == "pinned")
    };
    assert_eq!(told().unwrap()["fixes"].as_array().unwrap().len(), 1);
    session.q("doctor . --fix-safe --yes");
    assert_eq!(session.xml("web"), before);
    // What a running machine has open is no pin, and what it is defined by is left to it.
    session.virsh_ok("start web");
    assert_eq!(told().unwrap()["fixes"].as_array().unwrap().len(), 0);
    session.virsh_ok("destroy web");
    session.q("doctor . --fix pinned --yes");
    assert_eq!(told(), None);
    session.guest_finds("web", OF_PINNED);
    session.virsh_ok("start web");
    assert_eq!(told(), None);
    session.virsh_ok("destroy web");
    assert_eq!(session.refusal("rebase disk.before --to base"), "");
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
}

#[test]
fn the_doctor_takes_a_pin_out_that_is_not_so_and_finds_a_disk_that_moved() {
    let Some(session) = web() else { return };
    session.image("other 64M");
    let pin = format!(
        "<backingStore type='file'><format type='qcow2'/><source file='{}'/><backingStore/></backingStore>",
        session.at("other").display()
    );
    session.virsh_ok("undefine web");
    session.define_with("web", "disk", &pin);
    let names = |session: &Session| -> Vec<String> {
        let found = session.q("doctor .")["result"]["findings"].take();
        let found = found.as_array().unwrap().iter();
        found
            .map(|one| one["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    let pinned = "pinned-otherwise".to_owned();
    assert!(names(&session).contains(&pinned));
    let before = session.xml("web");
    session.q("doctor . --fix pinned-otherwise --yes");
    assert!(!names(&session).contains(&pinned));
    session.guest_finds("web", OF_WEB);
    session.q_ok("undo --yes");
    assert_eq!(session.xml("web"), before);
    session.q("doctor . --fix-safe --yes");
    assert_eq!(session.xml("web"), before, "it shows another disk then");

    session.virsh_ok("undefine web");
    session.define("web", "disk");
    std::fs::create_dir(session.at("far")).unwrap();
    let there = session.at("far/disk");
    std::fs::rename(session.at("disk"), &there).unwrap();
    relink(&session, &there);
    let gone = "machine-disk-gone".to_owned();
    assert!(names(&session).contains(&gone));
    assert!(!session.virsh("start web").status.success());
    session.q("doctor . --fix machine-disk-gone --yes");
    assert!(!names(&session).contains(&gone));
    assert!(is_source(&session, "far/disk"));
    session.guest_finds("web", OF_WEB);
}

/// The base by its whole name, so that the overlay may lie anywhere.
fn relink(session: &Session, image: &Path) {
    let base = session.at("base");
    session.q_ok(&format!(
        "relink {} --to {} --absolute --yes",
        image.display(),
        base.display()
    ));
}

#[test]
fn a_branch_on_what_a_snapshot_owns_is_warned_of() {
    let Some(session) = web() else { return };
    session.virsh_ok("start web");
    session.virsh_ok("snapshot-create-as web before --disk-only --atomic");
    session.virsh_ok("snapshot-create-as web after --disk-only --atomic");
    session.virsh_ok("destroy web");
    let told = session.q_ok("branch disk.before new --dry-run");
    let notes = told["plan"]["notes"].as_array().unwrap();
    let warns = |note: &&Value| note["text"].as_str().unwrap().contains("snapshot before");
    assert!(notes.iter().any(|note| warns(&note)), "{told:#}");
}

#[test]
fn one_process_is_asked_for_a_hundred_machines() {
    let Some(session) = session() else { return };
    session.image("disk 64M");
    for number in 0..100 {
        session.define(&format!("m{number}"), "disk");
    }
    assert_eq!(session.processes_of_virsh("info disk"), 1);
}
