//! What the screen tells while things go on, in a pseudo-terminal of each usual size.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::e2e::demo;
use super::pty::{Terminal, under_cursor};
use crate::support::qemu;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

#[test]
fn jobs_that_are_not_seen_are_counted_while_they_run() {
    for size in SIZES {
        let dir = demo();
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("qanopy/config.toml");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        let command =
            "[[command]]\nkey = \"!j\"\ntitle = \"wait\"\nrun = \"sleep 600\"\nas = \"job\"\n";
        fs::write(&config, command).unwrap();
        let root = dir.path().join("vm/rootbase");
        let mut terminal = Terminal::open_at(home.path(), &root, &[], size);
        terminal.see("9 images");
        for _ in 0..6 {
            terminal.press("!j");
        }
        let is_job = |line: &&str| line.contains("sleep 600") || line.contains("wait  ");
        terminal.until("each of six jobs to be seen or counted", |screen| {
            let seen = screen.lines().filter(is_job).count();
            let counted = screen.lines().find_map(|line| {
                let (_, after) = line.split_once('+')?;
                let (number, _) = after.split_once(" more: J")?;
                number.parse::<usize>().ok()
            });
            seen > 0 && seen + counted.unwrap_or(0) == 6
        });
        // The other keys do what they did.
        terminal.go_to("Overlay-2A");
        terminal.press("J");
        terminal.until("all six, or a list to be scrolled", |screen| {
            screen.lines().filter(is_job).count() >= 4
        });
    }
}

#[test]
fn a_long_message_ends_in_a_sign_and_is_not_hidden_by_a_popup() {
    let Some(qemu) = qemu() else { return };
    for (width, height) in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let here = qemu.within(dir.path());
        let base = format!("long-{}.qcow2", "n".repeat(230));
        here.img(&["create", "-q", "-f", "qcow2", &base, "1M"]);
        here.img(&[
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &base, "over",
        ]);
        let mut terminal = Terminal::open(dir.path(), &[], (width, height));
        terminal.see("2 images");
        // The facts of the selected image come after what is there was noted and watched.
        terminal.see("free");
        thread::sleep(Duration::from_millis(500));
        terminal.press("x");
        terminal.see("Actions for");
        let mut file = fs::File::options()
            .append(true)
            .open(dir.path().join(&base))
            .unwrap();
        file.write_all(&[7; 4096]).unwrap();
        // In lines of 76 cells three do not hold it.
        let is_told = |screen: &str| match width {
            80 => screen.lines().any(|line| {
                let line = line.trim();
                line.starts_with('n') && line.ends_with('…') && !line.contains(' ')
            }),
            _ => screen.contains("built on it: 6 tells more."),
        };
        terminal.until("the message", is_told);
        let screen = terminal.screen();
        assert!(screen.contains("Actions for"), "{screen}");
        // The frame of the popup is whole: what has its left side has its right one.
        let lines: Vec<Vec<char>> = screen.lines().map(|line| line.chars().collect()).collect();
        let top = screen
            .lines()
            .position(|line| line.contains("Actions for"))
            .unwrap();
        let title = screen.lines().nth(top).unwrap();
        let before = &title[..title.find("Actions for").unwrap()];
        let left =
            before.chars().count() - before.chars().rev().position(|c| c == '┌').unwrap() - 1;
        let bottom = (top..lines.len()).find(|row| lines[*row].get(left) == Some(&'└'));
        let bottom = bottom.unwrap_or_else(|| panic!("no lower edge:\n{screen}"));
        let right = lines[bottom]
            .iter()
            .skip(left)
            .position(|c| *c == '┘')
            .unwrap()
            + left;
        for line in &lines[top + 1..bottom] {
            assert_eq!((line[left], line[right]), ('│', '│'), "{screen}");
        }
    }
}

/// A `virsh` that takes its time, and tells by files when it was asked and when it answers.
fn slow_virsh(dir: &Path) {
    let script = format!(
        "#!/bin/sh\ntouch '{0}/asked'\nsleep 5\ntouch '{0}/answered'\nexec cat\n",
        dir.display()
    );
    fs::write(dir.join("virsh"), script).unwrap();
    fs::set_permissions(dir.join("virsh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(dir.join("libvirt")).unwrap();
    fs::write(dir.join("libvirt/libvirt-sock"), "").unwrap();
}

#[test]
fn nobody_waits_for_libvirt_to_see_and_to_move() {
    for size in SIZES {
        let dir = demo();
        let beside = tempfile::tempdir().unwrap();
        slow_virsh(beside.path());
        let place = beside.path().to_str().unwrap();
        let path = format!("{place}:{}", std::env::var("PATH").unwrap());
        let env = [
            ("PATH", path.as_str()),
            ("XDG_RUNTIME_DIR", place),
            ("HOME", place),
        ];
        let began = Instant::now();
        let mut terminal = Terminal::open_with(&dir.path().join("vm/rootbase"), &env, size);
        terminal.see("9 images");
        let there = |name: &str| beside.path().join(name).exists();
        while !there("asked") {
            assert!(
                began.elapsed() < super::pty::PATIENCE,
                "{}",
                terminal.screen()
            );
            thread::sleep(Duration::from_millis(10));
        }
        let before = under_cursor(&terminal.screen());
        terminal.press("j");
        terminal.until("the cursor to move", |screen| {
            under_cursor(screen) != before
        });
        terminal.press("?");
        terminal.see("type to search");
        assert!(
            !there("answered"),
            "it was waited for:\n{}",
            terminal.screen()
        );
    }
}
