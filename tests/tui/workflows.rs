//! Journeys through what is done less often, on real images, in a pseudo-terminal: press, see.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::e2e::{demo, ends_on_the_persons_screen, exists, open};
use super::pty::Terminal;
use crate::support;

/// Runs one of QEMU's tools.
fn qemu(tool: &str, words: &[&str], dir: &Path) {
    let output = Command::new(tool)
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {words:?}: {complaint}");
}

#[test]
fn a_snapshot_is_taken_gone_back_to_and_deleted_where_it_stands() {
    if support::qemu().is_none() {
        return;
    }
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("S");
    terminal.see("keep what the image shows now");
    terminal.press("<enter>");
    terminal.see("Snapshot Overlay-2A.qcow2 as it is now");
    terminal.press("before lunch<enter>");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("◇ before lunch (ID 1)");
    // So that there is something to go back from.
    let write = ["-c", "write -P 0x55 0 64k", "vm/rootbase/Overlay-2A.qcow2"];
    qemu("qemu-io", &write, dir.path());
    terminal.go_to("◇ before lunch");
    terminal.press("C");
    terminal.see("the cursor is on a snapshot");
    terminal.press("x");
    terminal.see("show again what before lunch");
    terminal.press("A");
    terminal.see("Type 1 to do it");
    terminal.press("1<enter>");
    terminal.see("✓");
    terminal.go_to("◇ before lunch");
    terminal.press("f");
    terminal.see("Snapshot: copy one of Overlay-2A.qcow2 out");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("10 images");
    assert!(exists(&dir, "Overlay-2A-snapshot-1.qcow2"));
    terminal.go_to("◇ before lunch");
    terminal.press("X");
    terminal.see("[ Cancel ]");
    // The row that goes is marked while the question is open.
    terminal.until("the mark of what goes", |screen| {
        screen
            .lines()
            .any(|line| line.contains('✗') && line.contains("before lunch"))
    });
    terminal.press("1<enter>");
    terminal.lose("◇ before lunch");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_chain_is_exported_brought_in_elsewhere_and_shows_the_same() {
    let dir = demo();
    std::fs::create_dir(dir.path().join("vm/rootbase/elsewhere")).unwrap();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("e");
    terminal.see("Export Overlay-2A.qcow2 with all it is built on");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("12 images");
    assert!(exists(&dir, "Overlay-2A-export"));
    terminal.press("I");
    terminal.see("Import an exported folder");
    // Tab completes the name, a folder's with its slash.
    terminal.press("Overlay-2A-e\t");
    terminal.see("Overlay-2A-export/");
    terminal.press("\t\t");
    terminal.press("<backspace>elsewhere");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("15 images");
    assert!(exists(&dir, "elsewhere/Overlay-2A.qcow2"));
    // Compared with the one that it is a copy of.
    terminal.press("/2A.qcow2<enter>");
    terminal.see("3 trees");
    terminal.go_to("─○ Overlay-2A.qcow2");
    terminal.press(" nt");
    terminal.see("show the same.");
    terminal.press("<esc>q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_copy_and_a_raw_disk_are_made_and_differences_are_told() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press("u");
    terminal.see("Clone Overlay-3A.qcow2");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("10 images");
    terminal.see("Overlay-3A-copy.qcow2");
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press("V\t ");
    terminal.see("Overlay-3A-converted.raw");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("converted Overlay-3A");
    assert!(exists(&dir, "Overlay-3A-converted.raw"));
    terminal.go_to("Overlay-1C.qcow2");
    terminal.press(" ");
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press("t");
    terminal.see("differ in");
    terminal.press("J<enter>");
    terminal.see("at 1,048,576: 512 KiB differ");
    terminal.press("<esc><esc>q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_layer_leaves_its_chain_and_a_header_changes() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-1A.qcow2");
    terminal.press("Q");
    terminal.see("Squash Overlay-1A.qcow2");
    terminal.see("Type 1 to do it");
    terminal.press("1<enter>");
    terminal.see("8 images");
    assert!(!exists(&dir, "Overlay-1A.qcow2"));
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press("O");
    terminal.see("Amend Overlay-3A.qcow2, now version 3");
    terminal.press("  <enter>");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    terminal.press("i");
    terminal.see("qcow2 v2 (compat 0.10)");
    terminal.press("1q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_leaf_starts_anew_and_gets_back_what_it_held() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press("~");
    terminal.see("Revert Overlay-3A.qcow2");
    terminal.see("trash");
    terminal.press("y");
    terminal.see("starts anew;");
    terminal.press("z");
    terminal.see("Undo: Revert Overlay-3A.qcow2");
    terminal.press("y");
    terminal.see("has what it held before");
    terminal.go_to("RootBase.qcow2");
    terminal.press(":revert<enter>");
    terminal.see("others are built on it");
    terminal.press("<esc>q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_dirty_bitmap_is_added_switched_off_and_removed() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press("K");
    terminal.see("a bitmap that records");
    terminal.press("<enter>monday<enter>");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    terminal.press("K");
    terminal.see("monday (64 KiB a bit, records writes)");
    terminal.press("disable<enter>");
    terminal.see("[ Disable ]");
    terminal.press("y");
    terminal.see("✓");
    terminal.press("K");
    terminal.see("monday (64 KiB a bit, off)");
    terminal.press("remove<enter>");
    terminal.see("Type 1 to do it");
    terminal.press("1<enter>");
    terminal.see("✓");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_commit_into_the_root_keeps_the_old_root_and_proves_that_nobody_else_changed() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("C");
    terminal.see("Commit Overlay-2A.qcow2 into Overlay-2.qcow2");
    terminal.press("i");
    terminal.see("into RootBase.qcow2");
    terminal.see("refused");
    terminal.press("1");
    terminal.see("preserves");
    terminal.press("o");
    terminal.see("RootBase-before.qcow2");
    terminal.see("[ Cancel ]");
    terminal.press("v");
    terminal.see(" proves ");
    terminal.press("y");
    terminal.see("8 images");
    terminal.until("the old base as an overlay", |screen| {
        screen
            .lines()
            .any(|line| line.contains("○ RootBase-before.qcow2"))
    });
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn an_encrypted_image_opens_to_another_passphrase_besides() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let words = ["create", "-q", "--object", "secret,id=s,data=open"];
    let words = words
        .into_iter()
        .chain(["-f", "qcow2", "-o", options, "a.qcow2", "4M"]);
    qemu("qemu-img", &words.collect::<Vec<_>>(), dir.path());
    let mut terminal = Terminal::open(dir.path(), &[], (100, 40));
    terminal.see("1 image");
    terminal.go_to("a.qcow2");
    terminal.press("H");
    terminal.see("a passphrase of a.qcow2");
    terminal.press("\t\tsesame\tsesame<enter>");
    terminal.see("no passphrase");
    terminal.press("uopen<enter>");
    terminal.see("key slot 1 opens to the new passphrase");
    terminal.press("y");
    terminal.see("key slot 1 opens to the new passphrase.");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    let opened = "driver=qcow2,file.filename=a.qcow2,encrypt.format=luks,encrypt.key-secret=s";
    let secret = "secret,id=s,data=sesame";
    let words = [
        "--object",
        secret,
        "-c",
        "read 0 64k",
        "--image-opts",
        opened,
    ];
    qemu("qemu-io", &words, dir.path());
}

#[test]
fn an_encrypted_image_opens_with_its_passphrase_and_with_no_other() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = ["--object", "secret,id=s,data=open"];
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let mut words = vec!["create", "-q"];
    words.extend(secret);
    words.extend(["-f", "qcow2", "-o", options, "base.qcow2", "4M"]);
    qemu("qemu-img", &words, dir.path());
    let over = [
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
    ];
    let words: Vec<&str> = over.into_iter().chain(["top.qcow2", "4M"]).collect();
    qemu("qemu-img", &words, dir.path());
    let mut terminal = Terminal::open(dir.path(), &[], (100, 40));
    terminal.see("2 images");
    terminal.go_to("top.qcow2");
    terminal.press("C");
    terminal.see("no passphrase");
    terminal.press("uwrong");
    terminal.see("•••••");
    terminal.press("<enter>");
    terminal.see("the passphrase given opens none");
    terminal.press("uopen<enter>");
    // It holds nothing: nothing is overwritten.
    terminal.see("[ Commit ]");
    terminal.press("y");
    terminal.see("1 image");
    let sent = terminal.bytes();
    let contains = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
    assert!(!contains(b"wrong"), "a passphrase on the screen");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

/// Whether QEMU opens an image with this passphrase.
fn opens(image: &Path, passphrase: &str) -> bool {
    let secret = format!("secret,id=s,data={passphrase}");
    let options = format!(
        "driver=qcow2,file.filename={},encrypt.key-secret=s",
        image.display()
    );
    let output = Command::new("qemu-io")
        .args(["--object", &secret, "--image-opts", &options])
        .args(["-r", "-c", "read -P 0 0 64k"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    output.status.success() && !said.contains("failed")
}

#[test]
fn a_new_image_is_encrypted_with_the_passphrase_that_was_typed_twice() {
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.press("\u{e}");
    terminal.see("Create an image");
    terminal.press(&"<backspace>".repeat("disk-1.qcow2".len()));
    terminal.press("safe.qcow2\t");
    terminal.press(&"<backspace>".repeat(3));
    terminal.press("8M\t\t ");
    terminal.see("once more");
    terminal.press("\tsesame\tsesam<enter>");
    terminal.see("both times the same");
    terminal.press("e");
    terminal.see("its content is encrypted");
    terminal.press("<enter>");
    terminal.see("10 images");
    let image = dir.path().join("vm/rootbase/safe.qcow2");
    assert!(opens(&image, "sesame"));
    assert!(!opens(&image, "sesam"));
    // Converted, it is opened with that, and encrypted with another one.
    terminal.go_to("safe.qcow2");
    terminal.press("V\t\t\t\t\t\t ");
    terminal.see("once more");
    terminal.press("\topen\topen");
    terminal.see("passphrase was given for it");
    terminal.press("<enter>");
    terminal.see("Passphrase of safe.qcow2");
    terminal.press("sesame<enter>");
    terminal.see("its content is encrypted");
    terminal.press("<enter>");
    terminal.see("11 images");
    let converted = dir.path().join("vm/rootbase/safe-converted.qcow2");
    assert!(opens(&converted, "open"));
    assert!(!opens(&converted, "sesame"));
    let sent = terminal.bytes();
    let contains = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
    assert!(!contains(b"sesam"), "a passphrase on the screen");
    terminal.press("L");
    terminal.see("qemu-img create");
    terminal.press("<esc>q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_comparison_asks_for_the_passphrase_it_lacks() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = ["--object", "secret,id=s,data=open"];
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let mut words = vec!["create", "-q"];
    words.extend(secret);
    words.extend(["-f", "qcow2", "-o", options, "locked.qcow2", "4M"]);
    qemu("qemu-img", &words, dir.path());
    qemu(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "plain.qcow2", "4M"],
        dir.path(),
    );
    let mut terminal = Terminal::open(dir.path(), &[], (100, 40));
    terminal.see("2 images");
    terminal.go_to("locked.qcow2");
    terminal.press(" ");
    terminal.go_to("plain.qcow2");
    terminal.press("t");
    terminal.see("Passphrase of locked.qcow2");
    terminal.see("passphrase was given");
    terminal.press("wrong<enter>");
    terminal.see("opens none of its key slots");
    terminal.see("Passphrase of locked.qcow2");
    terminal.press("open<enter>");
    terminal.see("show the same.");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_copy_is_measured_and_a_whole_chain_copied() {
    let dir = demo();
    std::fs::create_dir(dir.path().join("vm/rootbase/copies")).unwrap();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("W");
    terminal.see("how large a copy of Overlay-2A.qcow2 would be");
    terminal.see("qcow2, luks");
    terminal.see("qanopy measure");
    terminal.press("<esc>");
    terminal.lose("qcow2, luks");
    terminal.press("u\t ");
    // What is typed goes to the field before, which is another one now.
    terminal.press("\u{1b}[Zcop\t");
    terminal.see("copies/");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("12 images");
    for name in ["RootBase", "Overlay-2", "Overlay-2A"] {
        assert!(exists(&dir, &format!("copies/{name}.qcow2")), "{name}");
    }
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn marked_images_are_converted_together() {
    if support::qemu().is_none() {
        return;
    }
    let dir = demo();
    let mut terminal = open(&dir);
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press(" ");
    terminal.go_to("Overlay-3A.qcow2");
    terminal.press(" V");
    terminal.see("Convert 2 images");
    terminal.see("Overlay-2A-converted.qcow2");
    terminal.see("Overlay-3A-converted.qcow2");
    terminal.press("<enter>");
    terminal.see("11 images");
    for name in ["Overlay-2A", "Overlay-3A"] {
        let (old, new) = (format!("{name}.qcow2"), format!("{name}-converted.qcow2"));
        qemu(
            "qemu-img",
            &["compare", &old, &new],
            &dir.path().join("vm/rootbase"),
        );
    }
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn what_a_crash_interrupted_is_told_at_the_start_and_brought_to_an_end() {
    let dir = demo();
    let home = tempfile::tempdir().unwrap();
    let root = dir.path().join("vm/rootbase");
    for new in ["one.qcow2", "two.qcow2"] {
        let status = Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .args(["branch", "--yes", "Overlay-3A.qcow2", new])
            .current_dir(&root)
            .env("XDG_STATE_HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }
    // As if both had ended without a word.
    let journal = home.path().join("qanopy/journal.jsonl");
    let lines = std::fs::read_to_string(&journal).unwrap();
    let begun = lines.lines().filter(|line| line.contains("\"begun\""));
    let begun: String = begun.map(|line| format!("{line}\n")).collect();
    std::fs::write(&journal, begun).unwrap();
    let mut terminal = Terminal::open_at(home.path(), &root, &[], (100, 40));
    terminal.see("2 operations were interrupted: Z finishes that");
    terminal.see("11 images");
    terminal.press("Z");
    terminal.see("finish");
    terminal.see("Branch one.qcow2");
    terminal.press("<enter>");
    terminal.see("nothing is left to do");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.see("✓");
    terminal.press("Z");
    terminal.see("Branch two.qcow2");
    assert!(!terminal.screen().contains("Branch one.qcow2"));
    terminal.press("leave<enter>");
    terminal.see("is not known any more after this");
    terminal.press("y");
    terminal.see("is left as it is");
    terminal.press("Z");
    terminal.see("nothing was interrupted");
    terminal.press("<esc>q");
    assert_eq!(terminal.end(), 0);
    assert!(exists(&dir, "one.qcow2") && exists(&dir, "two.qcow2"));
}

#[test]
fn what_is_wrong_is_mended_from_the_health_pane() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = |words: &[&str]| qemu("qemu-img", words, dir.path());
    image(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"]);
    image(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "top.qcow2",
    ]);
    std::fs::rename(
        dir.path().join("base.qcow2"),
        dir.path().join("moved.qcow2"),
    )
    .unwrap();
    let mut terminal = Terminal::open(dir.path(), &[], (100, 40));
    terminal.see("? (missing) base.qcow2");
    terminal.go_to("top.qcow2");
    terminal.press("6");
    terminal.see("says where it went");
    terminal.press("<enter>");
    terminal.see("Relink top.qcow2: what it is built on");
    // The only other image of its size is proposed.
    terminal.see("[moved.qcow2");
    terminal.press("<enter>");
    terminal.see("[ Cancel ]");
    terminal.press("y");
    terminal.lose("(missing)");
    terminal.see("● moved.qcow2");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

/// A process that has an image open for writing, as a running machine has.
struct Machine(Child);

impl Machine {
    fn of(image: &Path) -> Self {
        let socket = image.with_extension("socket");
        let child = Command::new("qemu-storage-daemon")
            .arg("--blockdev")
            .arg(format!(
                "driver=file,node-name=f,filename={}",
                image.display()
            ))
            .args(["--blockdev", "driver=qcow2,node-name=q,file=f"])
            .arg("--nbd-server")
            .arg(format!("addr.type=unix,addr.path={}", socket.display()))
            .args(["--export", "type=nbd,id=e,node-name=q,writable=on"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !socket.exists() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "it does not begin"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_running_machine_uses_is_seen_and_left_alone() {
    if support::qemu().is_none() {
        return;
    }
    let dir = demo();
    let image = dir.path().join("vm/rootbase/Overlay-2A.qcow2");
    let machine = Machine::of(&image);
    let mut terminal = open(&dir);
    terminal.until("the leaf in use and its base", |screen| {
        let has = |name: &str, letter: &str| {
            screen
                .lines()
                .any(|line| line.contains(name) && line.contains(letter))
        };
        has("○ Overlay-2A.qcow2", " I ") && has("● Overlay-2.qcow2", " I ")
    });
    terminal.go_to("○ Overlay-2A.qcow2");
    terminal.press("C");
    terminal.see("refused");
    terminal.see("qemu-storage-d");
    terminal.press("y<esc>");
    assert!(image.exists());
    drop(machine);
    terminal.press("C");
    terminal.see("Type 1 to do it");
    terminal.press("<esc>q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn ctrl_z_gives_the_shell_its_screen_and_fg_brings_ours_back() {
    let dir = demo();
    let mut terminal = Terminal::shell(&dir.path().join("vm/rootbase"), (100, 40));
    terminal.see("shell> ");
    terminal.press(&format!("{} .\r", env!("CARGO_BIN_EXE_qanopy")));
    terminal.see("9 images");
    terminal.press("<c-z>");
    terminal.see("Stopped");
    terminal.press("echo here $((40 + 2))\r");
    terminal.see("here 42");
    assert!(ends_on_the_persons_screen(&terminal.bytes()));
    terminal.press("fg\r");
    terminal.see("1 Images");
    terminal.go_to("Overlay-2A.qcow2");
    terminal.press("q");
    // The screen is given back a moment before the process ends, which takes keys as long as it lives.
    terminal.until("the shell's prompt after it", |screen| {
        screen.trim_end().ends_with("shell>")
    });
    terminal.press("exit\r");
    terminal.end();
}

#[test]
fn the_end_of_a_job_reaches_somebody_who_looks_elsewhere() {
    let dir = demo();
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("qanopy/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(&config, "notify_after = 0\n").unwrap();
    let root = dir.path().join("vm/rootbase");
    let mut terminal = Terminal::open_at(home.path(), &root, &[], (100, 40));
    terminal.see("9 images");
    // What a terminal sends when another window gets the focus.
    terminal.press("\u{1b}[Oc");
    terminal.until_sent("the notice", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        text.contains("\u{1b}]777;notify;Check RootBase.qcow2;RootBase.qcow2 is clean.\u{1b}\\")
    });
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
