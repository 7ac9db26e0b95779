//! The browser of the files inside an image: its pages in memory, and whole journeys on a real disk.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qanopy::guest::filesystem::{Node, NodeId, NodeKind};
use qanopy::guest::path::{self, LastLink};
use qanopy::guest::{self, extract};
use qanopy::host::RealHost;
use qanopy::image::{Format, Keys};
use qanopy::inside::{
    self, Contents, Event, Hit, Pattern, Place, States, Step, View, VolumeContents, contents,
};
use qanopy::ops::{self, Error, ReadOptions};
use qanopy::tui::testing::{
    Answer, Dialog, Effect, FileRow, FileText, Found, Msg, Question, Trouble, Work,
};

use super::app_harness::{AppHarness, forest, now};
use super::pty::Terminal;
use super::support::{guest_disks, qemu};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// An opened disk with nothing on it: what is on it is told by the answers.
fn view() -> Arc<View> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let options = ReadOptions {
        format: Some(Format::Raw),
        ..ReadOptions::default()
    };
    let reading = ops::open_to_read(&RealHost, &path, &options).unwrap();
    Arc::new(View::open(reading.whole().unwrap(), &Keys::none()).unwrap())
}

fn volume(name: &str, kind: &str, is_read: bool) -> VolumeContents {
    VolumeContents {
        name: name.to_owned(),
        len: 8 << 30,
        kind: kind.to_owned(),
        encryption: None,
        is_locked: false,
        is_read,
        label: if is_read { "system" } else { "" }.to_owned(),
        uuid: String::new(),
        total: is_read.then_some(8 << 30),
        used: is_read.then_some(2_254_857_830),
        written: None,
        caution: is_read
            .then(|| "it was not unmounted; its journal is applied to what is shown".to_owned()),
        system: None,
    }
}

fn opened() -> Answer {
    let view = view();
    let scheme = contents(&view).unwrap().scheme;
    let volumes = vec![
        volume("p1", "LUKS (encrypted), which is not read", false),
        volume("p2", "ext4", true),
    ];
    Answer::Opened(view, Contents { scheme, volumes }, Vec::new())
}

fn node(number: u64, kind: NodeKind, mode: u32, size: u64) -> Node {
    Node {
        id: NodeId::new(number),
        kind,
        size,
        allocated: size,
        mode,
        uid: 0,
        gid: 0,
        links: 1,
        modified: Some(now()),
        changed: None,
        generation: 0,
        digest: 0,
    }
}

fn row(name: &[u8], node: Node, target: Option<&str>) -> FileRow {
    FileRow {
        name: name.to_vec(),
        node: Ok(node),
        target: target.map(str::to_owned),
    }
}

fn root() -> Answer {
    Answer::Folder(vec![
        row(
            b"bin",
            node(11, NodeKind::Symlink, 0o120_777, 7),
            Some("usr/bin"),
        ),
        row(b"etc", node(12, NodeKind::Directory, 0o040_755, 4096), None),
        row(
            b"evil\x1b[2J\xff",
            node(13, NodeKind::File, 0o100_644, 1_234),
            None,
        ),
        row(b"su", node(14, NodeKind::File, 0o104_755, 71_912), None),
        FileRow {
            name: b"torn".to_vec(),
            node: Err(
                "ext4: inode 15 at byte 4096 of the volume: its checksum is wrong".to_owned(),
            ),
            target: None,
        },
    ])
}

/// The newest question, with its number.
fn asked(harness: &AppHarness) -> (u64, &Question) {
    let mut effects = harness.asked.iter().rev();
    let found = effects.find_map(|effect| match effect {
        Effect::Browse(query_id, question) => Some((*query_id, question)),
        _ => None,
    });
    found.expect("something was asked")
}

fn answer(harness: &mut AppHarness, answer: Result<Answer, Trouble>) {
    let query_id = asked(harness).0;
    harness.send(Msg::Browsed(query_id, Box::new(answer)));
}

/// On the root of the volume with the system.
fn at_root(size: (u16, u16)) -> AppHarness {
    let mut harness = AppHarness::with(forest(), size, |settings| {
        settings.here = Some("/tmp".into());
    });
    harness.go_to("Overlay-1B.qcow2");
    harness.press("9");
    answer(&mut harness, Ok(opened()));
    harness.press("<enter>");
    answer(&mut harness, Ok(root()));
    harness
}

fn sees(harness: &AppHarness, words: &[&str]) {
    let screen = harness.screen();
    for word in words {
        assert!(screen.contains(word), "no {word:?}: {screen}");
    }
}

#[test]
fn volumes_and_folders_and_files_are_opened_and_left() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-1B.qcow2");
    harness.press("9");
    sees(
        &harness,
        &["Files of Overlay-1B.qcow2", "Opening the disk."],
    );
    let (_, Question::Open(of)) = asked(&harness) else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(of.image, PathBuf::from("/vm/Overlay-1B.qcow2"));
    answer(&mut harness, Ok(opened()));
    sees(
        &harness,
        &[
            "p2     ext4 \"system\"  2.1 GiB of 8 GiB",
            "its journal is applied",
        ],
    );
    // The cursor is on what can be looked into; what cannot says why.
    harness.press("k<enter>");
    sees(&harness, &["p1: LUKS (encrypted), which is not read."]);
    harness.press("j<enter>");
    sees(&harness, &["Reading it.", "p2:/"]);
    answer(&mut harness, Ok(root()));
    sees(
        &harness,
        &[
            "lrwxrwxrwx",
            "bin -> usr/bin",
            "drwxr-xr-x",
            "etc/",
            "-rwsr-xr-x   70.2 KiB  2027-01-15 08:00  su",
            "evil\\u{1b}[2J\\xff",
        ],
    );
    // What is cut off is told below.
    assert!(!harness.screen().contains("checksum is wrong"));
    harness.press("G");
    sees(&harness, &["checksum is wrong"]);
    harness.press("g");
    harness.press("jj<enter>");
    let (_, Question::Look(_, spot)) = asked(&harness) else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(spot.path, b"evil\x1b[2J\xff");
    assert_eq!(spot.node, Some(NodeId::new(13)));
    let text = FileText {
        lines: (0..100).map(|line| format!("line {line}")).collect(),
        note: Some("The first 1 MiB of 4 MiB are shown.".to_owned()),
    };
    answer(&mut harness, Ok(Answer::Text(text)));
    sees(&harness, &["line 0", "The first 1 MiB of 4 MiB are shown."]);
    harness.press("G");
    sees(&harness, &["line 99"]);
    harness.press("<backspace>");
    sees(&harness, &["su", "etc/"]);
    harness.press("<esc>");
    sees(&harness, &["p2     ext4"]);
    harness.press("<backspace>");
    sees(&harness, &["p2     ext4"]);
    harness.press("<esc>");
    assert!(harness.ui.dialogs.is_empty());
}

#[test]
fn an_answer_that_nobody_waits_for_is_dropped_and_the_work_stopped() {
    let mut harness = at_root((80, 24));
    harness.press("j<enter>");
    let late = asked(&harness).0;
    harness.press("<backspace>");
    let mut effects = harness.asked.iter();
    assert!(effects.any(|effect| matches!(effect, Effect::StopBrowsing)));
    harness.send(Msg::Browsed(late, Box::new(Ok(Answer::Folder(Vec::new())))));
    sees(&harness, &["etc/"]);
    // A page that waits asks nothing more.
    harness.press("<enter>");
    harness.asked.clear();
    harness.press("<enter>/el");
    assert!(harness.asked.is_empty(), "{:?}", harness.asked);
    harness.press("q");
    assert!(harness.ui.dialogs.is_empty());
}

#[test]
fn an_encrypted_image_asks_for_its_passphrase_and_is_opened_with_it() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-2A.qcow2");
    harness.press("9");
    let image = PathBuf::from("/vm/Overlay-2A.qcow2");
    let locked = || {
        let why = "/vm/Overlay-2A.qcow2: its passphrase is missing".to_owned();
        Err(Trouble::Locked(PathBuf::from("/vm/Overlay-2A.qcow2"), why))
    };
    answer(&mut harness, locked());
    sees(&harness, &["Passphrase of Overlay-2A.qcow2"]);
    harness.press("sesame");
    harness.asked.clear();
    harness.press("<enter>");
    let [
        Effect::Unlock(unlocked, passphrase),
        Effect::Browse(_, Question::Open(_)),
    ] = &harness.asked[..]
    else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!((unlocked, passphrase.bytes()), (&image, &b"sesame"[..]));
    // Without it the dialog says what stands in the way.
    answer(&mut harness, locked());
    harness.press("<esc>");
    sees(&harness, &["its passphrase is missing."]);
}

#[test]
fn files_are_found_by_name_and_have_a_history() {
    let mut harness = at_root((80, 24));
    harness.press("/");
    sees(&harness, &["Find files by name"]);
    harness.press("fstab<enter>");
    let (_, Question::Find(_, name)) = asked(&harness) else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(name, "fstab");
    let hit = |path: &[u8], number| Hit {
        volume: "p2".to_owned(),
        path: path.to_vec(),
        id: NodeId::new(number),
    };
    let found = Found {
        name: "fstab".to_owned(),
        hits: vec![hit(b"etc/fstab", 20), hit(b"old/fstab\n", 21)],
        remarks: vec!["ext4: a folder is damaged".to_owned()],
    };
    answer(&mut harness, Ok(Answer::Found(found)));
    sees(
        &harness,
        &[
            "called fstab",
            "p2:/etc/fstab",
            "p2:/old/fstab\\n",
            "ext4: a folder is damaged.",
        ],
    );
    harness.press("l");
    let (_, Question::History(_, _, spot)) = asked(&harness) else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(spot.shown(), "p2:/etc/fstab");
    let step = |layer: &str, event, size| Step {
        layer: PathBuf::from(layer),
        event,
        node: Some(node(20, NodeKind::File, 0o100_644, size)),
    };
    let steps = vec![
        step("/vm/Overlay-1B.qcow2", Ok(Event::Modified), 2_048),
        step("/vm/Overlay-1.qcow2", Ok(Event::Unchanged), 512),
        step("/vm/RootBase.qcow2", Err("it is torn".to_owned()), 512),
    ];
    answer(&mut harness, Ok(Answer::History(steps)));
    sees(
        &harness,
        &[
            "History of p2:/etc/fstab in Overlay-1B.qcow2",
            "modified       2 KiB  2027-01-15 08:00  Overlay-1B.qcow2",
            "unknown        512 B  2027-01-15 08:00  RootBase.qcow2  (it is torn)",
        ],
    );
    harness.press("<esc><esc>");
    sees(&harness, &["etc/"]);
}

#[test]
fn a_file_is_copied_out_by_a_job() {
    let mut harness = at_root((80, 24));
    harness.press("jjj");
    harness.asked.clear();
    harness.press("e");
    sees(&harness, &["Extract p2:/su", "set-user-ID rights"]);
    harness.press("/copies<enter>");
    let started = harness.asked.iter().find_map(|effect| match effect {
        Effect::Run {
            work: Work::Extract(what),
            ..
        } => Some(what.clone()),
        _ => None,
    });
    let what = started.expect("a job");
    assert_eq!(what.spot.shown(), "p2:/su");
    assert_eq!(what.to, PathBuf::from("/tmp/copies"));
    assert!(matches!(harness.ui.dialogs.top(), Some(Dialog::Files(_))));
    harness.send(Msg::Ended(1, Err(Error::failed("the disk is full"))));
    sees(
        &harness,
        &["Extract p2:/su of Overlay-1B.qcow2: the disk is full"],
    );
    // It is tried again from the jobs.
    harness.asked.clear();
    harness.press("qJr");
    let again = harness.asked.iter().any(
        |effect| matches!(effect, Effect::Run { work: Work::Extract(again), .. } if *again == what),
    );
    assert!(again, "{:?}", harness.asked);
}

#[test]
fn an_image_that_is_being_written_says_that_it_may_be_torn() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("Overlay-1A.qcow2");
    harness.press("9");
    let Answer::Opened(view, contents, _) = opened() else {
        panic!("another answer");
    };
    let live = "Overlay-1A.qcow2 is written by a process: what is read of it may be torn";
    answer(
        &mut harness,
        Ok(Answer::Opened(view, contents, vec![live.to_owned()])),
    );
    sees(&harness, &["may be torn", "p2     ext4"]);
    harness.press("<enter>");
    answer(&mut harness, Ok(root()));
    sees(&harness, &["may be torn", "etc/"]);
}

#[test]
fn a_session_that_only_reads_copies_nothing_out() {
    let mut harness = AppHarness::with(forest(), (80, 24), |settings| settings.read_only = true);
    harness.go_to("Overlay-1B.qcow2");
    harness.press("9");
    answer(&mut harness, Ok(opened()));
    assert!(!harness.screen().contains("e extract"));
    harness.press("e");
    sees(&harness, &["Nothing is written"]);
}

#[test]
fn every_page_is_drawn_at_any_size() {
    let pages: [fn() -> Answer; 4] = [
        root,
        || Answer::Folder(Vec::new()),
        || {
            Answer::Text(FileText {
                lines: vec!["日本語 and more".repeat(20); 50],
                note: Some("It is cut.".to_owned()),
            })
        },
        || {
            Answer::Found(Found {
                name: "x".to_owned(),
                hits: Vec::new(),
                remarks: vec!["one".to_owned(); 9],
            })
        },
    ];
    for page in pages {
        let mut harness = at_root((120, 40));
        harness.press("j<enter>");
        answer(&mut harness, Ok(page()));
        for height in 0..=30 {
            for width in (0..=60).step_by(3) {
                harness.send(Msg::Resize(width, height));
                harness.press("G<pgdn>jkg");
                harness.buffer();
            }
        }
    }
}

#[test]
fn a_folder_looks_so() {
    for size in SIZES {
        let harness = at_root(size);
        let (width, height) = size;
        insta::assert_snapshot!(format!("files-{width}x{height}"), harness.picture());
    }
}

#[test]
fn a_snapshot_under_the_cursor_is_what_is_opened() {
    let mut harness = AppHarness::new(forest(), (80, 24));
    harness.go_to("golden-win.qcow2");
    harness.press("j9");
    let (_, Question::Open(of)) = asked(&harness) else {
        panic!("{:?}", harness.asked);
    };
    assert_eq!(of.image, PathBuf::from("/vm/golden-win.qcow2"));
    assert_eq!(of.snapshot.as_deref(), Some(&b"1"[..]));
    sees(&harness, &["Files of snapshot 1 of golden-win.qcow2"]);
}

/// The images of [`guest_disks::make`], and an empty folder `copies`. None where QEMU's tools are missing.
pub fn guest_dir() -> Option<tempfile::TempDir> {
    let qemu = qemu()?;
    let dir = tempfile::tempdir().unwrap();
    guest_disks::make(dir.path(), &qemu);
    fs::create_dir(dir.path().join("copies")).unwrap();
    Some(dir)
}

#[test]
fn a_history_and_a_folder_end_as_soon_as_nobody_waits() {
    let Some(dir) = guest_dir() else { return };
    let path = dir.path().join("top.qcow2");
    let reading = ops::open_to_read(&RealHost, &path, &ReadOptions::default()).unwrap();
    let chain = reading.whole().unwrap();
    let place = Place::parse(b"disk:/etc/fstab");
    // As many reads as it takes, and then one less each time than would do.
    let history = |allowed: u64| {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let stop = Arc::new(move || counted.fetch_add(1, Ordering::SeqCst) >= allowed);
        let found = States::stoppable(&chain, &Keys::none(), stop)
            .and_then(|states| states.history(&place));
        (found, asked.load(Ordering::SeqCst))
    };
    let (found, needed) = history(u64::MAX);
    assert_eq!(found.unwrap().len(), 3);
    assert!(needed > 10, "{needed}");
    for allowed in [0, 1, needed / 2, needed - 1] {
        let (found, asked) = history(allowed);
        assert!(matches!(found, Err(guest::Error::Cancelled)), "{allowed}");
        // Nothing goes on after it was told to stop.
        assert!(asked <= allowed + 3, "{asked} after {allowed}");
    }
    let view = View::open(chain.clone(), &Keys::none()).unwrap();
    let (_, filesystem) = place.on(&view).unwrap();
    let root = filesystem.root();
    let mut names = 0;
    let stopped = path::list_while(&**filesystem, root, 100, &mut || {
        names += 1;
        names < 2
    });
    assert!(matches!(stopped, Err(guest::Error::Cancelled)));
    assert_eq!(names, 2);
}

#[test]
fn searches_and_copies_stop_before_the_next_folder_or_file() {
    let Some(dir) = guest_dir() else { return };
    let path = dir.path().join("base.qcow2");
    let reading = ops::open_to_read(&RealHost, &path, &ReadOptions::default()).unwrap();
    let view = View::open(reading.whole().unwrap(), &Keys::none()).unwrap();
    let name = Pattern::parse(b"fstab");
    let mut folders = 0;
    let stopped = inside::search(&view, &name, &mut || {
        folders += 1;
        folders < 2
    });
    assert!(matches!(stopped, Err(guest::Error::Cancelled)));
    assert_eq!(folders, 2);
    let (hits, _) = inside::search(&view, &name, &mut || true).unwrap();
    assert_eq!(hits.len(), 1);
    let place = Place::parse(b"/home");
    let (_, filesystem) = place.on(&view).unwrap();
    let home = path::lookup(&**filesystem, b"/home", LastLink::Keep).unwrap();
    let to = dir.path().join("copies/home");
    // No byte was copied when the second folder is stopped at.
    let (mut nodes, mut bytes) = (0, 0);
    let stopped = extract::extract(&**filesystem, &home, &to, &mut |more| {
        nodes += u32::from(more == 0);
        bytes += more;
        nodes < 2
    });
    assert!(matches!(stopped, Err(guest::Error::Cancelled)));
    assert_eq!((nodes, bytes), (2, 0));
    assert!(to.is_dir() && !to.join("anna").exists());
}

#[test]
fn a_person_browses_an_image_copies_a_file_out_and_sees_its_history() {
    for size in [(80, 24), (120, 40)] {
        let Some(dir) = guest_dir() else { return };
        let mut terminal = Terminal::open(dir.path(), &[], size);
        terminal.go_to("top.qcow2");
        terminal.press("9");
        terminal.see("ext4 \"system\"");
        terminal.see("Debian GNU/Linux 12 (bookworm)");
        terminal.press("<enter>");
        terminal.see("home/");
        terminal.press("<enter>");
        terminal.see("os-release");
        // The first is fstab.
        terminal.press("v");
        terminal.see("the new table");
        terminal.press("\x7f");
        terminal.see("os-release");
        // The last is a folder with a file that is no text.
        terminal.press("G<enter>");
        terminal.see("97.7 KiB");
        terminal.press("<enter>");
        terminal.see("000000 07 07 07");
        terminal.see("The first 4 KiB of 97.7 KiB are shown.");
        terminal.press("\x7f");
        terminal.see("key");
        terminal.press("\x7f");
        terminal.see("os-release");
        terminal.press("gl");
        terminal.see("History of disk:/etc/fstab");
        terminal.until("what each layer did", |screen| {
            let did = |event: &str, layer: &str| {
                screen
                    .lines()
                    .any(|line| line.contains(event) && line.contains(layer))
            };
            did("modified", "top.qcow2") && did("added", "base.qcow2")
        });
        terminal.press("\x7f");
        terminal.see("os-release");
        terminal.press("/thesis<enter>");
        terminal.see("disk:/home/anna/thesis.odt");
        terminal.press("e");
        terminal.see("Extract disk:/home/anna/thesis.odt");
        let copies = dir.path().join("copies");
        terminal.press(&format!("\x15{}<enter>", copies.display()));
        terminal.see("1 file, 29.3 KiB copied to");
        let copied = fs::read(copies.join("thesis.odt")).unwrap();
        assert_eq!(copied, vec![b'x'; 30_000]);
        terminal.press("q");
        terminal.lose("Files of top.qcow2");
        terminal.press("q");
        assert_eq!(terminal.end(), 0);
    }
}
