//! What people come to do, on real images, in a pseudo-terminal: press, see.

use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qanopy::host::RealHost;
use qanopy::ops;

use super::pty::Terminal;
use crate::support::{guest_disks, qemu};

pub fn demo() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    ops::demo(&RealHost, &dir.path().join("vm")).unwrap();
    dir
}

pub fn open(dir: &tempfile::TempDir) -> Terminal {
    let terminal = Terminal::open(&dir.path().join("vm/rootbase"), &[], (100, 40));
    terminal.see("1 tree · 9 images");
    terminal
}

pub fn exists(dir: &tempfile::TempDir, name: &str) -> bool {
    dir.path().join("vm/rootbase").join(name).exists()
}

#[test]
fn a_person_looks_around_and_leaves() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.see("● RootBase.qcow2");
    terminal.go_to("Overlay-1C");
    terminal.press("3");
    terminal.see("5 layers");
    // Esc with a key right behind it, which many terminals send for Alt and that key.
    terminal.press("<esc>D");
    terminal.see("(Active)");
    terminal.press("D?");
    terminal.see("type to search");
    terminal.press("commit");
    terminal.see("merge this layer down");
    terminal.press("<esc>");
    terminal.lose("merge this layer down");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    terminal.until_sent("the person's screen", ends_on_the_persons_screen);
}

#[test]
fn a_branch_is_created_and_taken_back() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A");
    terminal.press("b");
    terminal.see("Branch on Overlay-2A.qcow2");
    terminal.see("Overlay-2A-1.qcow2");
    terminal.see("qemu-img create");
    terminal.press("<enter>");
    terminal.see("10 images");
    assert!(exists(&dir, "Overlay-2A-1.qcow2"));
    terminal.until("the cursor on the new branch", |screen| {
        screen
            .lines()
            .any(|line| line.contains('▌') && line.contains("Overlay-2A-1"))
    });
    terminal.press("z");
    terminal.see("Undo: Branch");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("9 images");
    assert!(!exists(&dir, "Overlay-2A-1.qcow2"));
}

#[test]
fn a_layer_is_committed_into_its_base() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-1C");
    terminal.press("C");
    terminal.see("Commit Overlay-1C.qcow2 into Overlay-1B.qcow2");
    terminal.see("Type 1 to do it");
    terminal.see("≈");
    assert!(exists(&dir, "Overlay-1C.qcow2"));
    // Enter fires the button that has the focus, which is Cancel.
    terminal.press("<enter>");
    terminal.see("Nothing was changed.");
    assert!(exists(&dir, "Overlay-1C.qcow2"));
    terminal.press("C");
    terminal.see("Type 1 to do it");
    terminal.press("y<enter>");
    terminal.lose("Type 1 to do it");
    assert!(exists(&dir, "Overlay-1C.qcow2"), "yes alone does nothing");
    terminal.press("C");
    terminal.see("Type 1 to do it");
    terminal.press("1<enter>");
    terminal.see("8 images");
    assert!(!exists(&dir, "Overlay-1C.qcow2"));
    terminal.until("the base is the leaf now", |screen| {
        screen.lines().any(|line| line.contains("○ Overlay-1B"))
    });
}

#[test]
fn a_commit_that_would_break_others_is_refused_and_keeps_them_on_demand() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("─● Overlay-1.");
    terminal.press("C");
    terminal.see("refused");
    terminal.see("!");
    terminal.press("y");
    thread::sleep(Duration::from_millis(50));
    assert!(exists(&dir, "Overlay-1.qcow2"));
    terminal.press("1");
    terminal.see("preserves");
    terminal.press("1<enter>");
    terminal.see("8 images");
    assert!(!exists(&dir, "Overlay-1.qcow2"));
    assert!(exists(&dir, "Overlay-2.qcow2"));
}

#[test]
fn a_discard_goes_by_a_yes_and_comes_back_from_the_trash() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("─● Overlay-1A.");
    terminal.press("X");
    terminal.see("[ Discard ]");
    terminal.press("<enter>");
    terminal.lose("[ Discard ]");
    assert!(exists(&dir, "Overlay-1A.qcow2"), "Cancel has the focus");
    terminal.press("X");
    terminal.see("[ Discard ]");
    terminal.press("y");
    terminal.see("6 images");
    for name in ["Overlay-1A.qcow2", "Overlay-1B.qcow2", "Overlay-1C.qcow2"] {
        assert!(!exists(&dir, name), "{name}");
    }
    terminal.press("T");
    terminal.see("discard");
    terminal.see("3 files");
    terminal.press("<esc>");
    terminal.lose("3 files");
    terminal.press("z");
    terminal.see("Undo: Discard");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("9 images");
    for name in ["Overlay-1A.qcow2", "Overlay-1B.qcow2", "Overlay-1C.qcow2"] {
        assert!(exists(&dir, name), "{name}");
    }
}

#[test]
fn abandoned_leaves_are_pruned_by_a_checklist() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.press("P");
    terminal.see("[ ] Overlay-3A.qcow2");
    terminal.press("a");
    terminal.see("3 leaves ticked");
    terminal.press("<enter>");
    terminal.see("[ Discard ]");
    terminal.press("y");
    terminal.see("6 images");
    assert!(!exists(&dir, "Overlay-3A.qcow2"));
    assert!(exists(&dir, "Overlay-3.qcow2"));
}

#[test]
fn read_only_changes_nothing() {
    let dir = demo();
    let mut terminal = Terminal::open(&dir.path().join("vm/rootbase"), &["--read-only"], (100, 40));
    terminal.see("read-only");
    terminal.see("9 images");
    terminal.press("jX");
    terminal.see("started with --read-only");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_first_frame_waits_for_no_scan() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.press("q");
    terminal.end();
    let bytes = String::from_utf8_lossy(&terminal.bytes()).into_owned();
    let first = bytes.find("qanopy").expect("a first frame");
    let found = bytes.find("RootBase").expect("the first find");
    assert!(first < found);
    let frame = &bytes[first..found];
    assert!(
        frame.contains("Images"),
        "the panes are there before anything is found"
    );
}

#[test]
fn while_nothing_happens_nothing_is_sent_and_nothing_computed() {
    let dir = demo();
    let terminal = open(&dir);
    // The facts of the selected image are the last thing to come.
    terminal.see("free");
    thread::sleep(Duration::from_millis(500));
    let (sent, spent) = (terminal.bytes().len(), ticks(terminal.pid()));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(terminal.bytes().len(), sent, "bytes while idle");
    assert!(ticks(terminal.pid()) <= spent + 1, "clock ticks while idle");
}

/// Processor time used so far, in the kernel's hundredths of a second.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_thousand_keys_at_once_are_not_a_thousand_frames() {
    let dir = tempfile::tempdir().unwrap();
    ops::demo(&RealHost, &dir.path().join("vm")).unwrap();
    let root = dir.path().join("vm/rootbase");
    for i in 0..1200 {
        std::fs::copy(
            root.join("Overlay-3A.qcow2"),
            root.join(format!("copy-{i:04}.qcow2")),
        )
        .unwrap();
    }
    let mut terminal = Terminal::open(&root, &[], (100, 40));
    terminal.see("1,209 images");
    // What the system still tells of the new files is over.
    terminal.see("free");
    thread::sleep(Duration::from_millis(500));
    let frames = |terminal: &Terminal| {
        let bytes = terminal.bytes();
        let begins = bytes.windows(8).filter(|part| part == b"\x1b[?2026h");
        begins.count()
    };
    let before = frames(&terminal);
    terminal.press(&"j".repeat(1000));
    terminal.see(" 1001/");
    let drawn = frames(&terminal) - before;
    // The keys come through the terminal in a few pieces, each of which is one frame; what is read of
    // the selected image is another.
    assert!(drawn <= 12, "{drawn} frames for 1,000 keys");
}

#[test]
fn being_told_to_end_gives_the_terminal_back() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let dir = demo();
        let mut terminal = open(&dir);
        kill(Pid::from_raw(terminal.pid()), signal).unwrap();
        assert_eq!(terminal.end(), u32::try_from(128 + signal as i32).unwrap());
        terminal.until_sent("the person's screen", ends_on_the_persons_screen);
    }
}

/// Whether the other screen was left and the cursor shown again, and nothing was drawn after that.
pub fn ends_on_the_persons_screen(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some(left) = text.rfind("\u{1b}[?1049l") else {
        return false;
    };
    text[left..].contains("\u{1b}[?25h") && !text[left..].contains("\u{1b}[?1049h")
}

#[test]
fn no_file_name_talks_to_the_terminal() {
    let dir = demo();
    let root = dir.path().join("vm/rootbase");
    let hostile = "a\u{1b}]0;owned\u{7}\u{1b}[31mred.qcow2";
    std::fs::copy(root.join("RootBase.qcow2"), root.join(hostile)).unwrap();
    let mut terminal = Terminal::open(&root, &[], (100, 40));
    terminal.see("10 images");
    terminal.see("red.qcow2");
    terminal.go_to("red.qcow2");
    for (keys, shows) in [
        ("i1", "virtual"),
        ("x", "Actions for"),
        ("<c-c>", "1 Images"),
        ("b", "Branch on"),
        ("<c-c>", "1 Images"),
        ("X", "Discard"),
    ] {
        terminal.press(keys);
        terminal.see(shows);
    }
    terminal.see("[ Discard ]");
    let bytes = terminal.bytes();
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(!contains(b"\x1b]0;owned"));
    assert!(!contains(b"\x1b[31mred"));
    assert!(!contains(b"\x07"));
}

#[test]
fn an_empty_directory_says_what_was_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "no image").unwrap();
    let terminal = Terminal::open(dir.path(), &[], (100, 30));
    terminal.see("No qcow2 images under");
    terminal.see("looked at 1 file");
}

#[test]
fn a_small_terminal_works_too() {
    let dir = demo();
    let mut terminal = Terminal::open(&dir.path().join("vm/rootbase"), &[], (50, 10));
    terminal.see("RootBase");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    let terminal = Terminal::open(Path::new("/nonexistent-directory"), &[], (30, 5));
    terminal.see("needs 40x8");
}

#[test]
fn what_happens_on_the_disk_is_seen_without_asking() {
    let dir = demo();
    let root = dir.path().join("vm/rootbase");
    let terminal = open(&dir);
    // The facts of the selected image come after the watching has begun.
    terminal.see("free");
    std::fs::copy(root.join("Overlay-3A.qcow2"), root.join("copied.qcow2")).unwrap();
    terminal.see("copied.qcow2");
    terminal.see("10 images");
    std::fs::rename(root.join("copied.qcow2"), root.join("renamed.qcow2")).unwrap();
    terminal.see("renamed.qcow2");
    terminal.lose("copied.qcow2");
    std::fs::remove_file(root.join("renamed.qcow2")).unwrap();
    terminal.see("9 images");
}

#[test]
fn a_base_that_is_changed_while_one_looks_is_told_and_accepted() {
    let dir = demo();
    let mut terminal = open(&dir);
    // The facts of the selected image come after what is there was noted and watched.
    terminal.see("free");
    thread::sleep(Duration::from_millis(500));
    let base = dir.path().join("vm/rootbase/Overlay-2.qcow2");
    let mut file = std::fs::File::options().append(true).open(&base).unwrap();
    std::io::Write::write_all(&mut file, &[7; 4096]).unwrap();
    terminal.see("Overlay-2.qcow2 was changed under 1 image built on it");
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("6");
    terminal.see("which was changed on");
    terminal.press("<enter>");
    terminal.see("is taken as it is now");
    terminal.lose("which was changed on");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn reading_for_space_shows_how_far_it_is_and_stops_when_it_is_told_to() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    // Clusters that are there and hold nothing: reading them takes long, and the disk has no room taken.
    let full = "preallocation=metadata";
    here.img(&["create", "-q", "-f", "qcow2", "-o", full, "base", "256G"]);
    here.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base",
        "-o",
        "preallocation=metadata,extended_l2=on",
        "over",
    ]);
    let mut terminal = Terminal::shell(dir.path(), (100, 30));
    terminal.see("shell>");
    let program = env!("CARGO_BIN_EXE_qanopy");
    terminal.press(&format!("{program} space --read . ; echo ended-$?\r"));
    terminal.see("collect");
    terminal.until("how far it is", |screen| {
        screen.contains("%") && screen.contains("/s")
    });
    let started = std::time::Instant::now();
    terminal.press("<c-c>");
    terminal.see("ended-130");
    let took = started.elapsed();
    // A second, and what a busy machine adds.
    assert!(took < Duration::from_secs(5), "{took:?}");
    terminal.see("nothing was changed");
}

#[test]
fn tables_are_looked_through_and_the_health_pane_tells() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("c");
    terminal.see("Overlay-2A.qcow2 is clean.");
    terminal.press("6");
    terminal.see("looked through");
    terminal.see("ago: clean");
    terminal.press("A");
    terminal.see("9 images looked through, all clean.");
    terminal.press("L");
    terminal.see("Check 9 images");
    terminal.press("<esc>q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn commands_of_the_persons_own_run_on_the_screen_or_as_jobs() {
    let dir = demo();
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("qanopy/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(
        &config,
        "moose = true\n[[command]]\nkey = \"!s\"\ntitle = \"say it\"\nrun = \"echo said {path}\"\n\
         [[command]]\nkey = \"!j\"\ntitle = \"count\"\nrun = \"wc -c {chain}\"\nas = \"job\"\nconfirm = true\n",
    )
    .unwrap();
    let root = dir.path().join("vm/rootbase");
    let mut terminal = Terminal::open_at(home.path(), &root, &[], (120, 40));
    terminal.see("config.toml:1:");
    terminal.see("9 images");
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("!");
    terminal.see("say it");
    terminal.press("s");
    terminal.see("said /");
    terminal.see("Enter goes back to qanopy.");
    terminal.press("<enter>");
    terminal.see("1 Images");
    terminal.press("!j");
    terminal.see("run it");
    terminal.press("y");
    terminal.see("wc is done.");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_shell_opens_among_the_files_of_an_image_which_is_mounted_meanwhile() {
    let device = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    if device.is_err() || !nix::unistd::geteuid().is_root() {
        let required = std::env::var_os("QANOPY_REQUIRE_QEMU").is_some_and(|value| value == "1");
        assert!(!required, "this test needs /dev/fuse and root");
        let line =
            "SKIPPED (no /dev/fuse or not root): a_shell_opens_among_the_files_of_an_image\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        return;
    }
    let dir = demo();
    let runtime = tempfile::tempdir().unwrap();
    let home = runtime.path().to_str().unwrap();
    let env = [("XDG_RUNTIME_DIR", home), ("PS1", "among> ")];
    let vm = dir.path().join("vm/rootbase");
    let mut terminal = Terminal::open_with(&vm, &env, (100, 40));
    terminal.see("1 tree · 9 images");
    terminal.go_to("Overlay-2A");
    terminal.press("@");
    terminal.see("is mounted here, for reading only");
    terminal.see("among>");
    terminal.press("ls; wc -c < disk.raw; touch new<enter>");
    terminal.see("disk.raw");
    terminal.see(&(64_u64 << 20).to_string());
    terminal.see("Read-only file system");
    terminal.press("exit<enter>");
    terminal.see("1 tree · 9 images");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(home), "{mounts}");
    assert_eq!(std::fs::read_dir(home).unwrap().count(), 0);
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_shell_opens_where_the_image_is_and_gives_the_screen_back() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("RootBase.qcow2");
    terminal.press("o");
    terminal.see("shell>");
    terminal.press("echo it is $(basename $PWD); touch made-here\r");
    terminal.see("it is rootbase");
    terminal.press("exit\r");
    terminal.see("1 Images");
    assert!(exists(&dir, "made-here"));
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_mouse_moves_the_cursor_and_can_be_switched_off() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.see("Overlay-2A.qcow2");
    let screen = terminal.screen();
    let row = screen
        .lines()
        .position(|line| line.contains("Overlay-2A.qcow2"))
        .unwrap();
    terminal.press(&format!("\u{1b}[<0;10;{}M", row + 1));
    terminal.until("the cursor there", |screen| {
        screen
            .lines()
            .any(|line| line.contains('▌') && line.contains("Overlay-2A.qcow2"))
    });
    terminal.press("%");
    terminal.see("terminal's own again");
    terminal.until_sent("the mouse left alone", |bytes| {
        bytes.windows(8).any(|part| part == b"\x1b[?1000l")
    });
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn folds_and_the_order_are_remembered() {
    let dir = demo();
    let home = tempfile::tempdir().unwrap();
    let root = dir.path().join("vm/rootbase");
    let mut terminal = Terminal::open_at(home.path(), &root, &[], (100, 40));
    terminal.see("9 images");
    terminal.go_to("Overlay-1.qcow2");
    terminal.press("h");
    terminal.see("3 hidden (folded)");
    terminal.press("s");
    terminal.see("by size");
    terminal.press("s");
    terminal.see("sort: size");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    let terminal = Terminal::open_at(home.path(), &root, &[], (100, 40));
    terminal.see("3 hidden (folded)");
    terminal.see("sort: size");
}

#[test]
fn a_lost_terminal_ends_the_program() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.hang_up();
    assert_ne!(terminal.end(), 0);
}

#[test]
fn what_an_image_has_changed_and_where_its_bytes_are_can_be_seen() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("m");
    terminal.see("its own");
    terminal.see("from RootBase.qcow2");
    terminal.press("d");
    terminal.see("[4 Diff]");
    terminal.until("only its own ranges", |screen| {
        screen.contains("its own") && !screen.contains("no layer holds it")
    });
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn an_image_is_flattened_rebased_and_resized() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("f");
    terminal.see("Flatten into a new file: Overlay-2A.qcow2");
    terminal.see("Overlay-2A-flat.qcow2");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("10 images");
    terminal.see("2 trees");
    // Built on the flat copy, it shows the same: hardly anything has to be copied.
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press(" ");
    terminal.go_to("Overlay-2A-flat.qcow2");
    terminal.press("B");
    terminal.see("Rebase Overlay-2A.qcow2 on another image");
    terminal.press("<enter>");
    terminal.see("Rebase");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("└─○ Overlay-2A.qcow2");
    terminal.until("the new base", |screen| {
        let lines: Vec<&str> = screen.lines().collect();
        lines.windows(2).any(|pair| {
            pair[0].contains("● Overlay-2A-flat.qcow2") && pair[1].contains("○ Overlay-2A.qcow2")
        })
    });
    terminal.go_to("○ Overlay-2A.qcow2");
    terminal.press("E64M<enter>");
    terminal.see("Resize");
    terminal.press("y");
    terminal.press("i");
    terminal.see("virtual 128 MiB");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn an_image_is_renamed_and_what_is_built_on_it_follows() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2.qcow2");
    terminal.press("M");
    terminal.see("Move or rename Overlay-2.qcow2");
    terminal.press(&"<backspace>".repeat(16));
    terminal.press("moved.qcow2<enter>");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("● moved.qcow2");
    terminal.lose("● Overlay-2.qcow2");
    assert!(exists(&dir, "moved.qcow2") && !exists(&dir, "Overlay-2.qcow2"));
    terminal.press("z");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("● Overlay-2.qcow2");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn lost_space_is_found_and_given_back() {
    let dir = demo();
    let image = dir.path().join("vm/rootbase/Overlay-3A.qcow2");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&image)
        .unwrap();
    // The count of a cluster behind the last one in use: counted, and used by nothing.
    use std::os::unix::fs::FileExt;
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 48).unwrap();
    let table = u64::from_be_bytes(word);
    file.read_exact_at(&mut word, table).unwrap();
    let block = u64::from_be_bytes(word);
    let clusters = file.metadata().unwrap().len().div_ceil(65_536);
    file.set_len((clusters + 1) * 65_536).unwrap();
    file.write_all_at(&[0, 1], block + clusters * 2).unwrap();
    drop(file);
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press("c");
    terminal.see("has problems");
    terminal.press("R");
    terminal.see("Repair");
    terminal.press("y");
    terminal.see("repaired");
    terminal.press("c");
    // Not the repair's own words: leaving asks while a job runs.
    terminal.see("✓ Overlay-3A.qcow2 is clean.");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_files_a_layer_changed_are_told_and_what_is_inside_it() {
    let Some(qemu) = qemu() else { return };
    for size in [(80, 24), (120, 40), (200, 60)] {
        let dir = tempfile::tempdir().unwrap();
        guest_disks::make(dir.path(), &qemu);
        let mut terminal = Terminal::open(dir.path(), &[], size);
        terminal.go_to("top.qcow2");
        terminal.press("i");
        terminal.see("Debian GNU/Linux 12");
        terminal.press("4");
        terminal.see("thesis.odt");
        terminal.see("1 added");
        terminal.see("is hidden");
        terminal.press(";");
        terminal.see("is among them");
        if size.1 > 24 {
            terminal.see("messages");
        }
        // The same again, from the root of the chain.
        terminal.press("4");
        terminal.see("from its root");
        terminal.see("thesis.odt");
        terminal.press("1p");
        terminal.see("the same");
    }
}
