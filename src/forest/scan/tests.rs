use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;
use crate::forest::{BackingState, Content, Location, NOTES_FILE, ProblemKind};
use crate::host::RealHost;
use crate::image::{Format, TRASH_FOLDER};
use crate::qcow2::{Geometry, Header, HostOffset, Version};

/// Writes the header of an image that holds nothing, in three clusters.
pub(in crate::forest) fn image(path: &Path, backing: Option<(&str, Option<&str>)>) {
    let geometry = Geometry::new(16, 4, false).unwrap();
    let mut header = Header::new(Version::V3, geometry, 1 << 26);
    header.refcount_table_offset = HostOffset(0x10000);
    header.refcount_table_clusters = 1;
    header.l1_offset = HostOffset(0x20000);
    header.l1_entries = 1;
    if let Some((name, format)) = backing {
        header
            .set_backing(name.as_bytes(), format.map(str::as_bytes))
            .unwrap();
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).unwrap();
    }
    fs::write(path, header.encode().unwrap()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(0x30000).unwrap();
}

fn options(root: &Path) -> ScanOptions {
    ScanOptions {
        roots: vec![root.to_path_buf()],
        ..ScanOptions::default()
    }
}

fn scanned(options: ScanOptions) -> Forest {
    scan_all(Arc::new(RealHost), options).0
}

/// Paths relative to `dir` of what is shown, in the order of roots and children.
fn rows(forest: &Forest, dir: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for root in forest.roots() {
        rows.push(root);
        rows.extend(forest.descendants(root));
    }
    rows.into_iter()
        .map(|id| {
            let path = &forest.get(id).unwrap().path;
            path.strip_prefix(dir).unwrap_or(path).display().to_string()
        })
        .collect()
}

#[test]
fn a_scan_finds_images_by_content_and_raw_bases_by_their_overlays() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    image(&at("a/over.img"), Some(("../base.bin", Some("raw"))));
    image(&at("a/top"), Some(("over.img", Some("qcow2"))));
    image(&at("guess"), Some(("plain.bin", None)));
    image(&at("closed"), Some(("disk.x", Some("vpc"))));
    for name in ["base.bin", "plain.bin", "disk.x", "unrelated.bin"] {
        fs::write(at(name), [7; 5000]).unwrap();
    }
    fs::create_dir(at(TRASH_FOLDER)).unwrap();
    image(&at(TRASH_FOLDER).join("old.qcow2"), None);
    let (forest, summary) = scan_all(Arc::new(RealHost), options(dir.path()));
    assert_eq!(
        rows(&forest, dir.path()),
        [
            "base.bin",
            "a/over.img",
            "a/top",
            "disk.x",
            "closed",
            "plain.bin",
            "guess"
        ]
    );
    assert_eq!(summary.images, 7);
    assert!(summary.unreadable_dirs.is_empty());
    let node = |name: &str| forest.by_path(&at(name)).unwrap();
    assert_eq!(node("base.bin").content, Content::Raw);
    assert_eq!(node("plain.bin").content, Content::Raw);
    assert_eq!(
        node("disk.x").content,
        Content::Opaque(Format::Other("vpc".into()))
    );
    assert_eq!(node("guess").problems[0].kind, ProblemKind::NoBackingFormat);
    assert!(node("a/top").problems.is_empty());
    assert_eq!(node("base.bin").location, Location::Scanned);
}

#[test]
fn what_was_discarded_is_found_in_the_trash_and_seen_from_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let batch = at(TRASH_FOLDER).join("20261123-115537-3fa2");
    image(&at("base"), None);
    image(&batch.join("over"), Some(("base", Some("qcow2"))));
    image(&batch.join("top"), Some(("over", Some("qcow2"))));
    image(&batch.join("alone"), None);
    image(&batch.join("deeper/down"), None);
    fs::write(batch.with_extension("json"), "{}").unwrap();
    let forest = scanned(options(dir.path()));
    let node = |path: PathBuf| forest.by_path(&path).unwrap();
    assert!(forest.by_path(&batch.join("deeper/down")).is_none());
    assert_eq!(forest.len(), 4);
    let (base, over) = (node(at("base")), node(batch.join("over")));
    assert_eq!(over.parent, Some(base.id));
    assert_eq!(node(batch.join("top")).parent, Some(over.id));
    for path in ["over", "top", "alone"] {
        let node = node(batch.join(path));
        assert_eq!(node.location, Location::InTrash);
        let flags: Vec<&str> = forest.flags(node.id).names().collect();
        assert_eq!(flags, ["in-trash"]);
        assert!(node.problems.is_empty());
    }
    let flags: Vec<&str> = forest.flags(base.id).names().collect();
    assert_eq!(flags, ["active"]);
    // What hangs on nothing that is there stands in no picture.
    assert_eq!(forest.shown_roots(), [base.id]);
}

#[test]
fn a_trash_folder_that_others_may_write_to_is_told_of_and_not_looked_into() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let trash = at(TRASH_FOLDER);
    image(&at("base"), None);
    image(&trash.join("1/over"), Some(("base", Some("qcow2"))));
    fs::set_permissions(&trash, fs::Permissions::from_mode(0o777)).unwrap();
    symlink(&trash, {
        fs::create_dir(at("sub")).unwrap();
        at("sub").join(TRASH_FOLDER)
    })
    .unwrap();
    let (forest, summary) = scan_all(Arc::new(RealHost), options(dir.path()));
    assert_eq!(forest.len(), 1);
    let mut told = summary.unreadable_dirs;
    told.sort();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].1.contains("written by others"), "{told:?}");
    assert!(told[1].1.contains("symbolic link"), "{told:?}");
}

#[test]
fn what_lies_outside_is_not_opened_unless_told_to_follow() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    image(&inside.join("top"), Some(("../out/mid", Some("qcow2"))));
    image(&outside.join("mid"), Some(("base", Some("raw"))));
    fs::write(outside.join("base"), "x").unwrap();
    let forest = scanned(options(&inside));
    assert_eq!(forest.len(), 2);
    let top = forest.by_path(&inside.join("top")).unwrap();
    let mid = forest.get(top.parent.unwrap()).unwrap();
    assert_eq!(mid.content, Content::Unopened);
    assert_eq!(mid.location, Location::OutsideScan);
    assert_eq!(mid.stat.as_ref().unwrap().len, 0x30000);
    let forest = scanned(ScanOptions {
        follow: true,
        ..options(&inside)
    });
    assert_eq!(forest.len(), 3);
    let top = forest.by_path(&inside.join("top")).unwrap();
    let chain = forest.chain(top.id);
    assert_eq!(chain.len(), 3);
    assert_eq!(forest.get(chain[2]).unwrap().content, Content::Raw);
}

#[test]
fn links_are_names_and_never_end_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    image(&at("d/image"), None);
    symlink("image", at("d/a-link")).unwrap();
    fs::hard_link(at("d/image"), at("d/second")).unwrap();
    symlink("..", at("d/circle")).unwrap();
    symlink("nowhere", at("d/dangling.qcow2")).unwrap();
    symlink("nowhere", at("d/other-dangling")).unwrap();
    image(
        &at("abs"),
        Some((at("d/circle/d/image").to_str().unwrap(), Some("qcow2"))),
    );
    let forest = scanned(options(dir.path()));
    assert_eq!(
        rows(&forest, dir.path()),
        ["d/dangling.qcow2", "d/image", "abs"]
    );
    let node = forest.by_path(&at("d/second")).unwrap();
    assert_eq!(node.path, at("d/image"));
    assert_eq!(node.other_names, [at("d/a-link"), at("d/second")]);
    let dangling = forest.by_path(&at("d/dangling.qcow2")).unwrap();
    assert_eq!(dangling.problems[0].kind, ProblemKind::Unreadable);
    let over = forest.by_path(&at("abs")).unwrap();
    assert_eq!(forest.leads_to(over), Some(at("d/image").as_path()));
}

#[test]
fn what_is_broken_is_a_row_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    image(&at("orphan.qcow2"), Some(("gone.qcow2", Some("qcow2"))));
    image(&at("a.qcow2"), Some(("b.qcow2", Some("qcow2"))));
    image(&at("b.qcow2"), Some(("a.qcow2", Some("qcow2"))));
    image(&at("remote.qcow2"), Some(("nbd:localhost:1", Some("raw"))));
    image(&at("on-a-folder.qcow2"), Some((".", Some("raw"))));
    fs::write(at("zeros.qcow2"), [0; 4096]).unwrap();
    fs::write(at("empty.qcow2"), "").unwrap();
    fs::write(at("short.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    image(&at("esc\x1b[31m.qcow2"), Some(("new\nline", Some("raw"))));
    let forest = scanned(options(dir.path()));
    for node in forest.nodes() {
        let expected = match node.path.file_name().unwrap().to_str().unwrap() {
            "orphan.qcow2" | "esc\x1b[31m.qcow2" => ProblemKind::MissingBacking,
            "a.qcow2" | "b.qcow2" => ProblemKind::Loop,
            "on-a-folder.qcow2" => ProblemKind::UnreachableBacking,
            "zeros.qcow2" | "empty.qcow2" | "short.qcow2" => ProblemKind::Damaged,
            _ => {
                assert!(node.problems.is_empty(), "{node:?}");
                continue;
            }
        };
        assert_eq!(node.problems[0].kind, expected, "{node:?}");
        let message = &node.problems[0].message;
        assert!(
            !message.contains(char::is_control) && message.ends_with(['.', ')']),
            "{message}"
        );
    }
    let remote = forest.by_path(&at("remote.qcow2")).unwrap();
    let state = &remote.backing.as_ref().unwrap().state;
    assert_eq!(*state, BackingState::Elsewhere("nbd".into()));
}

#[test]
fn raw_disks_come_on_request_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.IMG");
    fs::write(&disk, [1; 10]).unwrap();
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    assert!(scanned(options(dir.path())).is_empty());
    let raw = ScanOptions {
        raw: true,
        ..options(dir.path())
    };
    assert_eq!(rows(&scanned(raw), dir.path()), ["disk.IMG"]);
    let forest = scanned(options(&disk));
    assert_eq!(forest.by_path(&disk).unwrap().content, Content::Raw);
}

#[test]
fn a_pipe_is_not_waited_for_and_a_missing_root_is_told() {
    let dir = tempfile::tempdir().unwrap();
    nix::unistd::mkfifo(
        &dir.path().join("pipe.qcow2"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    image(
        &dir.path().join("on-a-pipe"),
        Some(("pipe.qcow2", Some("qcow2"))),
    );
    let mut options = options(dir.path());
    options.roots.push(dir.path().join("not-there"));
    options.roots.push(dir.path().to_path_buf());
    let (forest, summary) = scan_all(Arc::new(RealHost), options);
    let image = forest.by_path(&dir.path().join("on-a-pipe")).unwrap();
    assert_eq!(image.problems[0].kind, ProblemKind::UnreachableBacking);
    assert_eq!(summary.unreadable_dirs.len(), 1);
    assert_eq!(
        summary.files_looked_at, 1,
        "a root given twice is walked once"
    );
}

#[test]
fn a_scan_that_is_dropped_or_cancelled_stops() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3000 {
        fs::write(dir.path().join(format!("{i}.qcow2")), b"QFI\xfb").unwrap();
    }
    drop(Scan::start(Arc::new(RealHost), options(dir.path())));
    let scan = Scan::start(Arc::new(RealHost), options(dir.path()));
    scan.cancel();
    let done = scan.events().iter().find_map(|event| match event {
        ScanEvent::Done(summary) => Some(summary),
        _ => None,
    });
    assert!(done.unwrap().cancelled);
}

#[test]
fn processes_that_have_an_image_open_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("held.qcow2");
    image(&path, None);
    let mut child = std::process::Command::new("sleep")
        .arg("30")
        .stdin(fs::File::open(&path).unwrap())
        .spawn()
        .unwrap();
    let forest = scanned(options(dir.path()));
    child.kill().unwrap();
    child.wait().unwrap();
    let node = forest.by_path(&path).unwrap();
    assert_eq!(node.holders.len(), 1);
    assert_eq!(node.holders[0].pid, child.id());
    let in_use = forest.flags(node.id).contains(crate::forest::Flags::IN_USE);
    assert!(!in_use, "reading a file is not using an image");
}

#[test]
fn a_directory_given_twice_lists_each_image_by_one_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    image(&at("vm/sub/base"), None);
    image(&at("vm/sub/over"), Some(("base", Some("qcow2"))));
    symlink(at("vm/sub"), at("again")).unwrap();
    let forest = scanned(ScanOptions {
        roots: vec![at("again"), at("vm")],
        ..ScanOptions::default()
    });
    let base = forest.by_path(&at("vm/sub/base")).unwrap();
    assert_eq!(base.path, at("vm/sub/base"));
    assert!(base.other_names.is_empty(), "{:?}", base.other_names);
    assert_eq!(base.children.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_looked_at_first_makes_no_difference(
        order in Just((0..9).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // A link to what is no image any more, a raw disk whose guest wrote a qcow2 header, and one
        // that is recorded by two names and with two formats.
        fs::write(at("spoiled.qcow2"), "no header").unwrap();
        symlink("spoiled.qcow2", at("link.img")).unwrap();
        image(&at("on-link"), Some(("link.img", Some("raw"))));
        image(&at("disk.img"), None);
        image(&at("on-disk"), Some(("disk.img", Some("raw"))));
        fs::write(at("plain.img"), [7; 5000]).unwrap();
        symlink("plain.img", at("plain.link")).unwrap();
        image(&at("on-plain"), Some(("plain.img", Some("raw"))));
        image(&at("on-plain-link"), Some(("plain.link", Some("vpc"))));
        let names = [
            "spoiled.qcow2", "link.img", "on-link", "disk.img", "on-disk", "plain.img", "plain.link",
            "on-plain", "on-plain-link",
        ];
        let look_in = |order: &[usize]| {
            let looker = Looker::new(Arc::new(RealHost), &options(dir.path()));
            let mut forest = Forest::new();
            for path in order.iter().map(|i| at(names[*i])) {
                let symlink = path.is_symlink();
                forest.extend(looker.look(&Visit::new(path, symlink, Why::Met)));
            }
            for visit in looker.left_over() {
                forest.extend(looker.look(&visit));
            }
            crate::forest::render::json(&forest, &|_, _, _| serde_json::Value::Null)
        };
        prop_assert_eq!(look_in(&order), look_in(&[0, 1, 2, 3, 4, 5, 6, 7, 8]));
    }
}

#[test]
fn folders_read_at_the_same_time_give_what_one_after_the_other_gives() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for i in 0..20 {
        image(&at(&format!("a{i}/b/c{}/d", i % 3)), None);
        image(&at(&format!("a{}/e{i}", i % 5)), None);
    }
    symlink(at("a0"), at("link")).unwrap();
    symlink(at("a0/e0"), at("a1/link")).unwrap();
    let batch = at("a2").join(TRASH_FOLDER).join("20261123-115537-3fa2");
    image(&batch.join("old.qcow2"), None);
    image(&batch.join("deeper/old.qcow2"), None);
    image(&at("a3").join(TRASH_FOLDER).join("other/old.qcow2"), None);
    let roots = [dir.path().to_path_buf(), at("a1"), at("none")];
    let walked = |readers| {
        let options = ScanOptions {
            roots: roots.to_vec(),
            ..ScanOptions::default()
        };
        let looker = Looker::new(Arc::new(RealHost), &options);
        let (visits_in, visits) = crossbeam_channel::unbounded();
        let mut unread = walk(
            &looker,
            &roots,
            &visits_in,
            &AtomicBool::new(false),
            readers,
        );
        drop(visits_in);
        let mut met: Vec<String> = visits.iter().map(|visit| format!("{visit:?}")).collect();
        met.sort();
        unread.sort();
        (met, unread)
    };
    let one = walked(1);
    assert!(one.0.len() >= 41, "{one:?}");
    assert!(one.1.iter().any(|(path, _)| *path == at("none")), "{one:?}");
    assert_eq!(walked(8), one);
    // Nobody takes what is met: the walk ends all the same.
    let looker = Looker::new(Arc::new(RealHost), &ScanOptions::default());
    let (visits_in, _) = bounded(0);
    let _ = walk(&looker, &roots, &visits_in, &AtomicBool::new(false), 8);
}

#[test]
fn where_a_folder_lists_no_notes_nobody_asks_for_them_and_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    image(&at("with/d"), None);
    image(&at("without/d"), None);
    let notes = r#"{"version":1,"images":[{"name":"d","note":"kept"}]}"#;
    fs::write(at("with").join(NOTES_FILE), notes).unwrap();
    let roots = [dir.path().to_path_buf()];
    let looker = Looker::new(Arc::new(RealHost), &options(dir.path()));
    let (visits_in, visits) = crossbeam_channel::unbounded();
    walk(&looker, &roots, &visits_in, &AtomicBool::new(false), 8);
    drop(visits_in);
    // What comes meanwhile is not asked for.
    fs::write(at("without").join(NOTES_FILE), notes).unwrap();
    let noted = |path: &Path| {
        let found = visits.try_iter().filter_map(|visit| looker.look(&visit));
        let found: Vec<ScannedFile> = found.collect();
        assert!(found.is_empty() || found.len() == 2);
        looker
            .folder_notes(path)
            .is_some_and(|notes| notes.of("d".as_ref()).is_some())
    };
    assert!(noted(&at("with/d")));
    assert!(!noted(&at("without/d")));
}
