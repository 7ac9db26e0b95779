//! What is noted of an image: kept beside its bytes, followed wherever it goes, and taken for what it says by whoever
//! would change the image or take it away.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qanopy::forest::{
    Annotation, FolderNotes, Forest, NOTES_FILE, ScanOptions, annotation_of, changed_since,
    refreshed,
};
use qanopy::host::{Host, RealHost};
use qanopy::image::{Amendment, Preallocation};
use qanopy::ops::{
    self, AmendImage, Annotate, AnnotateSeveral, BackingStyle, Branch, CloneImage, Commit,
    CommittedLayer, Confirm, Consent, Danger, Denied, Dependants, Error, Export, ImageOptions,
    Import, MoveImages, NewSize, NoteKind, Outcome, Plan, Progress, Reflink, RefusalKind,
    Relocation, Request, Resize, Revert, Siblings, Squash, UndoEntry,
};
use rustix::fs::{XattrFlags, setxattr};

use crate::support::planning::{context, execute, execute_request, words};
use crate::support::{Qemu, RecordingHost, qemu};

fn note(image: &Path, text: Option<&str>, tags: &[&str]) -> Request {
    Annotate {
        image: image.to_path_buf(),
        text: text.map(str::to_owned),
        tag: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Annotate::default()
    }
    .into()
}

fn untag(image: &Path, tag: &str) -> Request {
    Annotate {
        image: image.to_path_buf(),
        untag: vec![tag.to_owned()],
        ..Annotate::default()
    }
    .into()
}

/// What is noted, and the tags with blanks between them.
fn noted(image: &Path) -> (String, String) {
    let found = annotation_of(&RealHost, image).unwrap_or_default();
    (found.text, found.tags.join(" "))
}

fn plan(dir: &Path, request: &Request) -> Plan {
    ops::plan(&context(Arc::new(RealHost), dir), request)
}

fn run(dir: &Path, request: &Request) -> Outcome {
    execute(plan(dir, request)).unwrap_or_else(|error| panic!("{request:?}: {error}"))
}

fn move_to(from: PathBuf, to: PathBuf) -> Request {
    let moves = vec![Relocation {
        from,
        to,
        style: None,
    }];
    Request::Move(MoveImages {
        moves,
        subtree: false,
    })
}

fn branch(base: &Path, new: &Path) -> Request {
    Request::Branch(Branch {
        base: base.to_path_buf(),
        new: new.to_path_buf(),
        format: None,
        size: None,
        style: BackingStyle::Relative,
        image: ImageOptions::default(),
    })
}

fn options(dir: &Path) -> ScanOptions {
    ScanOptions {
        roots: vec![dir.to_path_buf()],
        follow: false,
        raw: true,
    }
}

fn base_and_overlay(qemu: &Qemu, dir: &Path) -> (PathBuf, PathBuf) {
    let here = qemu.within(dir);
    here.img(&["create", "-q", "-f", "qcow2", "base", "1M"]);
    here.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "over",
    ]);
    here.io("over", &["write -P 7 0 64k"]);
    (dir.join("base"), dir.join("over"))
}

/// Leaves no room for more attributes: what is noted of the image goes into its folder's notes then.
fn fill_attributes(image: &Path) {
    for len in (1..500).rev().map(|len| len * 8) {
        let name = format!("user.filler{len}");
        let _ = setxattr(image, name, &vec![1; len], XattrFlags::empty());
    }
}

#[test]
fn a_note_is_set_shown_changed_and_taken_back_and_no_byte_is_written() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, _) = base_and_overlay(&qemu, dir.path());
    let before = fs::read(&base).unwrap();
    let modified = fs::metadata(&base).unwrap().modified().unwrap();

    let first = plan(
        dir.path(),
        &note(&base, Some("Debian 13\nin May"), &["golden", "web"]),
    );
    assert_eq!(first.confirm, Confirm::Nothing, "{}", words(&first));
    assert!(
        words(&first).contains("extended attributes"),
        "{}",
        words(&first)
    );
    let outcome = execute(first).unwrap();
    assert_eq!(
        noted(&base),
        ("Debian 13\nin May".into(), "golden web".into())
    );
    assert!(plan(dir.path(), &note(&base, None, &["web"])).is_so());

    // What somebody wrote goes, and what protects does: that is told, and asked for.
    let second = plan(dir.path(), &untag(&base, "golden"));
    assert_eq!(second.confirm, Confirm::Yes, "{}", words(&second));
    execute(second).unwrap();
    assert_eq!(noted(&base).1, "web");

    // Taking the first back would lose the second.
    let back = plan(dir.path(), &outcome.undo.unwrap());
    assert_eq!(back.refusals[0].kind, RefusalKind::Stale);
    for left in ["golden web", ""] {
        let undo = UndoEntry {
            entry: None,
            folders: Vec::new(),
        };
        run(dir.path(), &undo.into());
        assert_eq!(noted(&base).1, left);
    }
    assert_eq!(noted(&base), (String::new(), String::new()));
    assert_eq!(fs::read(&base).unwrap(), before);
    assert_eq!(fs::metadata(&base).unwrap().modified().unwrap(), modified);
}

#[test]
fn a_note_does_not_stand_in_the_way_of_taking_back_what_was_done_before() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    let at = |name: &str| dir.path().join(name);
    run(dir.path(), &branch(&over, &at("new")));
    run(dir.path(), &move_to(over.clone(), at("moved")));
    for image in [&base, &at("moved"), &at("new")] {
        run(dir.path(), &note(image, Some("later"), &["web"]));
    }
    let undo = |entry| -> Request {
        UndoEntry {
            entry: Some(entry),
            folders: Vec::new(),
        }
        .into()
    };
    run(dir.path(), &undo(2));
    assert_eq!(noted(&over), ("later".into(), "web".into()));
    // But what is to be kept stays.
    run(dir.path(), &note(&at("new"), None, &["keep"]));
    let refused = plan(dir.path(), &undo(1));
    assert_eq!(refused.refusals[0].kind, RefusalKind::Tagged);
    run(dir.path(), &untag(&at("new"), "keep"));
    run(dir.path(), &undo(1));
    assert!(!at("new").exists());
    qemu.check_clean(&over);
}

/// Whatever moves, copies, replaces or brings back an image, what is noted of it is there afterwards.
fn everything_follows(in_folder: bool) {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    let dir = dir.path();
    if in_folder {
        fill_attributes(&base);
        fill_attributes(&over);
    }
    let text = "a note ".repeat(40).trim().to_owned();
    for image in [&base, &over] {
        let outcome = run(dir, &note(image, Some(&text), &["web"]));
        assert_eq!(
            outcome.summary.contains(NOTES_FILE),
            in_folder,
            "{}",
            outcome.summary
        );
    }
    let holds = |image: &str| {
        assert_eq!(
            noted(&dir.join(image)),
            (text.clone(), "web".to_owned()),
            "{image}"
        );
    };
    let notes = || fs::read_to_string(dir.join(NOTES_FILE)).unwrap_or_default();
    assert_eq!(
        notes().matches("\"name\"").count(),
        if in_folder { 2 } else { 0 }
    );

    fs::create_dir(dir.join("place")).unwrap();
    let moved = run(dir, &move_to(over.clone(), dir.join("place/moved")));
    holds("place/moved");
    assert!(!notes().contains("over"), "{}", notes());
    run(dir, &moved.undo.unwrap());
    holds("over");

    let clone = |image: &Path, new: &str| {
        Request::Clone(CloneImage {
            image: image.to_path_buf(),
            new: dir.join(new),
            chain: false,
            reflink: Reflink::Never,
        })
    };
    run(dir, &clone(&over, "clone"));
    holds("clone");
    let away = tempfile::tempdir_in("/dev/shm").unwrap();
    run(dir, &move_to(dir.join("clone"), away.path().join("clone")));
    assert_eq!(noted(&away.path().join("clone")).1, "web");

    let (image, out) = (over.clone(), dir.join("out"));
    run(
        dir,
        &Request::Export(Export {
            image,
            dir: out.clone(),
        }),
    );
    holds("out/over");
    holds("out/base");
    fs::create_dir(dir.join("in")).unwrap();
    let to = dir.join("in");
    run(dir, &Request::Import(Import { dir: out, to }));
    holds("in/over");

    let discarded = run(dir, &Request::discard(vec![over.clone()]));
    assert!(!notes().contains("over"), "{}", notes());
    // Another image of that name is not taken for it.
    qemu.within(dir)
        .img(&["create", "-q", "-f", "qcow2", "over", "1M"]);
    assert_eq!(noted(&over), (String::new(), String::new()));
    fs::remove_file(&over).unwrap();
    let restored = run(dir, &discarded.undo.unwrap());
    holds("over");
    let again = run(dir, &restored.undo.unwrap());
    run(dir, &again.undo.unwrap());
    holds("over");

    let reverted = run(dir, &Request::Revert(Revert::anew(over.clone())));
    holds("over");
    run(dir, &reverted.undo.unwrap());
    holds("over");
    qemu.check_clean(&over);

    // What is rewritten keeps it, and a layer that is taken out takes it along and brings it back.
    run(
        dir,
        &Request::Amend(AmendImage {
            image: over.clone(),
            amendment: Amendment {
                lazy_refcounts: Some(true),
                ..Amendment::default()
            },
        }),
    );
    holds("over");
    run(dir, &branch(&over, &dir.join("top")));
    let squash = Squash {
        layer: over.clone(),
        direction: None,
    };
    let squashed = run(dir, &squash.into());
    holds("base");
    assert!(!notes().contains("over"), "{}", notes());
    let back = squashed.undo.map(|undo| run(dir, &undo));
    assert!(back.is_none() || over.exists());
    if over.exists() {
        holds("over");
    }
}

#[test]
fn what_is_noted_in_attributes_follows_an_image() {
    everything_follows(false);
}

#[test]
fn what_is_noted_in_its_folder_follows_an_image() {
    everything_follows(true);
}

#[test]
fn a_file_that_may_not_be_written_gets_its_note_in_the_folder_and_the_plan_says_so() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, _) = base_and_overlay(&qemu, dir.path());
    run(dir.path(), &note(&base, Some("old"), &["a"]));
    let chattr = |flag: &str| {
        let ended = std::process::Command::new("chattr")
            .arg(flag)
            .arg(&base)
            .status();
        ended.is_ok_and(|status| status.success())
    };
    if !chattr("+i") {
        eprintln!("skipped: no file can be made immutable here");
        return;
    }
    let planned = plan(dir.path(), &note(&base, Some("new"), &["b"]));
    let told = words(&planned);
    let outcome = execute(planned);
    let clear = Annotate {
        image: base.clone(),
        clear: true,
        ..Annotate::default()
    };
    let first = noted(&base);
    let cleared = execute_request(&context(Arc::new(RealHost), dir.path()), &clear.into());
    let second = noted(&base);
    assert!(chattr("-i"));
    assert!(told.contains(NOTES_FILE), "{told}");
    outcome.unwrap();
    cleared.unwrap();
    // What stands in the attributes is overruled, also by nothing.
    assert_eq!(first, ("new".into(), "a b".into()));
    assert_eq!(second, (String::new(), String::new()));
    run(dir.path(), &note(&base, Some("again"), &[]));
    assert_eq!(noted(&base), ("again".into(), String::new()));
    assert!(!dir.path().join(NOTES_FILE).exists());
}

#[test]
fn an_image_that_is_kept_is_not_discarded_until_the_tag_is_off() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    run(dir.path(), &note(&over, None, &["keep"]));
    for image in [&over, &base] {
        let refused = plan(dir.path(), &Request::discard(vec![image.clone()]));
        assert_eq!(refused.danger, Danger::Refused, "{}", words(&refused));
        let refusal = &refused.refusals[0];
        assert_eq!(refusal.kind, RefusalKind::Tagged);
        assert_eq!(refusal.ways_out[0].request, untag(&over, "keep"));
    }
    let proposed = || ops::candidates(&context(Arc::new(RealHost), dir.path()), Duration::ZERO);
    assert_eq!(proposed(), []);
    run(dir.path(), &untag(&over, "keep"));
    assert_eq!(proposed().len(), 1);
    run(dir.path(), &Request::discard(vec![over]));
}

#[test]
fn a_golden_image_is_changed_and_taken_away_by_number_only() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    let dir = dir.path();
    run(dir, &note(&base, None, &["golden"]));
    let asked = [
        Request::Commit(Commit {
            overlay: over.clone(),
            into: None,
            layer: CommittedLayer::Trash,
            siblings: Siblings::Refuse,
            keep_old: None,
        }),
        Request::Resize(Resize {
            image: base.clone(),
            size: NewSize::To(2 << 20),
            shrink: false,
            preallocation: Preallocation::Off,
            dependants: Dependants::Break,
        }),
        Request::discard(vec![base.clone()]),
        move_to(base.clone(), dir.join("elsewhere")),
    ];
    for request in asked {
        let planned = plan(dir, &request);
        let told = words(&planned);
        assert_eq!(planned.confirm, Confirm::Count(1), "{told}");
        assert!(
            planned
                .notes
                .iter()
                .any(|note| note.kind == NoteKind::Tagged),
            "{told}"
        );
        assert!(matches!(
            planned.agree(Consent::Yes),
            Err(Denied::Count { needed: 1 })
        ));
    }
    // Building on it, copying it and writing its overlay is what it is for.
    let free = [
        branch(&base, &dir.join("new")),
        Request::discard(vec![over.clone()]),
        note(&base, Some("more"), &[]),
    ];
    for request in free {
        let planned = plan(dir, &request);
        assert!(
            !matches!(planned.confirm, Confirm::Count(_)),
            "{}",
            words(&planned)
        );
    }
    // Tagged since the plan was made, it is asked again.
    run(dir, &untag(&base, "golden"));
    let planned = plan(dir, &move_to(base.clone(), dir.join("elsewhere")));
    run(dir, &note(&base, None, &["golden"]));
    let ended = ops::run(planned.agree(Consent::Yes).unwrap(), &Progress::new());
    assert!(matches!(ended, Err(Error::Stale(_))), "{ended:?}");
    assert!(base.exists());
}

#[test]
fn what_nobody_could_mean_is_refused() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    let many: Vec<String> = (0..17).map(|n| format!("t{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for request in [
        note(&base, Some("\u{1b}[31m"), &[]),
        note(&base, Some(&"a".repeat(3000)), &[]),
        note(&base, None, &["two words"]),
        note(&base, None, &many),
    ] {
        let refused = plan(dir.path(), &request);
        assert_eq!(
            refused.refusals[0].kind,
            RefusalKind::Invalid,
            "{}",
            words(&refused)
        );
    }
    // Notes that somebody else wrote and that make no sense are not written over.
    fs::write(dir.path().join(NOTES_FILE), "nonsense").unwrap();
    let planned = plan(dir.path(), &Request::discard(vec![over]));
    assert!(
        words(&planned).contains("whether it protects"),
        "{}",
        words(&planned)
    );
    fill_attributes(&base);
    let long = "a".repeat(300);
    let ended = execute(plan(dir.path(), &note(&base, Some(&long), &[])));
    assert!(ended.unwrap_err().to_string().contains("base"));
    assert_eq!(fs::read(dir.path().join(NOTES_FILE)).unwrap(), b"nonsense");
}

#[test]
fn a_scan_sees_what_is_noted_and_that_it_has_changed() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    fill_attributes(&over);
    let long = "a".repeat(300);
    let seen = |forest: &Forest, image: &Path| -> Option<Annotation> {
        forest.by_path(image)?.annotation.as_deref().cloned()
    };
    let mut known = context(Arc::new(RealHost), dir.path());
    for (image, text) in [(&base, "short"), (&over, long.as_str())] {
        assert_eq!(seen(&known.forest, image), None);
        run(dir.path(), &note(image, Some(text), &[]));
        let changed = changed_since(&known.forest, &RealHost, &options(dir.path()));
        assert!(changed.contains(image), "{changed:?}");
        known = context(Arc::new(RealHost), dir.path());
        assert_eq!(seen(&known.forest, image).unwrap().text, text);
        let changed = changed_since(&known.forest, &RealHost, &options(dir.path()));
        assert!(!changed.contains(image), "{changed:?}");
    }
    // As when the screen is told of a change in the folder.
    fs::remove_file(dir.path().join(NOTES_FILE)).unwrap();
    let host: Arc<dyn Host> = Arc::new(RealHost);
    let notes = [dir.path().join(NOTES_FILE)];
    let fresh = refreshed(&known.forest, &host, &options(dir.path()), &notes);
    assert_eq!(seen(&fresh, &over), None);
    assert_eq!(seen(&fresh, &base).unwrap().text, "short");
}

#[test]
fn several_images_are_noted_by_one_plan_and_taken_back_at_once() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    run(dir.path(), &note(&base, Some("the base"), &["golden"]));
    let of = |image: &Path| Annotate {
        image: image.to_path_buf(),
        tag: vec!["web".to_owned()],
        untag: vec!["golden".to_owned()],
        ..Annotate::default()
    };
    let both: Request = AnnotateSeveral {
        images: vec![of(&base), of(&over)],
    }
    .into();
    let line = both.command_line().unwrap().to_string();
    assert!(line.ends_with("--tag web --untag golden"), "{line}");
    let asked = plan(dir.path(), &both);
    assert_eq!(asked.effects.len(), 2);
    let told = words(&asked);
    assert_eq!(told.matches("extended attributes").count(), 1, "{told}");
    assert!(
        told.contains("no longer protected by the tag golden"),
        "{told}"
    );
    let outcome = execute(asked).unwrap();
    assert_eq!(noted(&base), ("the base".into(), "web".into()));
    assert_eq!(noted(&over), (String::new(), "web".into()));
    // What is so already is passed over; where all is, nothing is done.
    assert!(plan(dir.path(), &both).is_so());
    run(dir.path(), &untag(&over, "web"));
    let rest = plan(dir.path(), &both);
    assert_eq!(rest.effects.len(), 1, "{}", words(&rest));
    execute(rest).unwrap();
    run(dir.path(), &outcome.undo.unwrap());
    assert_eq!(noted(&base), ("the base".into(), "golden".into()));
    assert_eq!(noted(&over), (String::new(), String::new()));
    let twice = AnnotateSeveral {
        images: vec![of(&base), of(&base)],
    };
    let refused = plan(dir.path(), &twice.into());
    assert!(
        words(&refused).contains("named twice"),
        "{}",
        words(&refused)
    );
    let missing = AnnotateSeveral {
        images: vec![of(&base), of(&dir.path().join("none"))],
    };
    let refused = plan(dir.path(), &missing.into());
    assert_eq!(refused.confirm, Confirm::Impossible, "{}", words(&refused));
}

#[test]
fn a_crash_leaves_the_notes_of_a_folder_as_they_were_or_as_they_are_to_be() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = base_and_overlay(&qemu, dir.path());
    fill_attributes(&base);
    fill_attributes(&over);
    let text = "a note ".repeat(40).trim().to_owned();
    run(dir.path(), &note(&over, Some(&text), &[]));
    let host = Arc::new(RecordingHost::new(dir.path()));
    let context = context(host.clone(), dir.path());
    execute_request(&context, &note(&base, Some(&text), &["web"])).unwrap();
    host.mark("done");
    let log = host.log();
    let mut seen = [0; 2];
    for state in log.crash_states(300, 7) {
        let after = log.replay(&state);
        let notes = FolderNotes::read(&RealHost, after.path()).unwrap();
        let of = |name: &str| notes.of(OsStr::new(name)).map(|found| found.text.as_str());
        assert_eq!(of("over"), Some(text.as_str()), "{}", log.describe(&state));
        let is_there = of("base") == Some(text.as_str());
        assert!(is_there || of("base").is_none() && !state.passed("done"));
        seen[usize::from(is_there)] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}
