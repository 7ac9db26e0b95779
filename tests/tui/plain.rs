//! `--plain` on a terminal: whole sessions line by line, from the first list to the end.

use std::thread;
use std::time::{Duration, Instant};

use super::e2e::{demo, exists};
use super::files::guest_dir;
use super::pty::{PATIENCE, Terminal};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// How questions end.
const QUESTIONS: [&str; 4] = ["quit: ", "go back: ", "goes back: ", "it): "];

/// A terminal on which the program talks, and what it has said since the last answer.
struct Dialogue {
    terminal: Terminal,
    heard: usize,
    said: String,
}

impl Dialogue {
    fn begin(terminal: Terminal) -> Self {
        let mut dialogue = Self {
            terminal,
            heard: 0,
            said: String::new(),
        };
        dialogue.listen(&QUESTIONS);
        dialogue
    }

    /// Takes in what is said up to the next question.
    fn listen(&mut self, ends: &[&str]) {
        let started = Instant::now();
        loop {
            let bytes = self.terminal.bytes();
            let new = String::from_utf8_lossy(&bytes[self.heard..]).into_owned();
            if ends.iter().any(|end| new.ends_with(end)) {
                (self.heard, self.said) = (bytes.len(), new);
                return;
            }
            assert!(started.elapsed() < PATIENCE, "no question: {new}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types a line; the terminal echoes it, and the next question comes after that.
    fn answer(&mut self, line: &str) -> String {
        self.terminal.press(&format!("{line}\r"));
        self.listen(&QUESTIONS);
        self.said.clone()
    }

    /// The same with the number of the line that ends the picture of this image.
    fn image(&mut self, name: &str) -> String {
        let list = self.answer("list");
        let holds = |line: &&str| line.contains(&format!("{name}, "));
        let line = list.lines().find(holds).unwrap_or_else(|| panic!("{list}"));
        let number = line.split("  ").next().unwrap().to_owned();
        self.answer(&number)
    }

    fn leave(mut self) {
        self.terminal.press("quit\r");
        assert_eq!(self.terminal.end(), 0);
        let bytes = self.terminal.bytes();
        assert!(!bytes.contains(&0x1b), "no cursor is moved, no colour set");
    }
}

/// Asserts that these stand in a text in this order.
fn in_order(text: &str, words: &[&str]) {
    let mut from = 0;
    for word in words {
        let at = text[from..].find(word);
        from += at.unwrap_or_else(|| panic!("no {word:?} from {from} on: {text}"));
    }
}

#[test]
fn a_commit_is_refused_takes_another_way_and_a_discard_is_undone() {
    for size in SIZES {
        let dir = demo();
        let folder = dir.path().join("vm/rootbase");
        let mut talk = Dialogue::begin(Terminal::open(&folder, &["--plain"], size));
        in_order(&talk.said, &["Images below", "RootBase.qcow2, ", "frozen"]);
        talk.image("Overlay-1.qcow2");
        let plan = talk.answer("commit");
        let way = "1  keep the others intact";
        in_order(&plan, &["refused", way, "breaks", "writes", "trashes"]);
        let other = talk.answer("1");
        assert!(other.contains("preserves  Overlay-2.qcow2"), "{other}");
        let unsure = talk.answer("yes");
        assert!(unsure.contains("yes is none of these."), "{unsure}");
        let done = talk.answer("1");
        assert!(
            done.contains("Overlay-1A.qcow2, on RootBase.qcow2"),
            "{done}"
        );
        assert!(!exists(&dir, "Overlay-1.qcow2") && exists(&dir, "Overlay-2A.qcow2"));
        talk.image("Overlay-3A.qcow2");
        talk.answer("discard");
        let done = talk.answer("yes");
        assert!(!done.contains("  Overlay-3A.qcow2, "), "{done}");
        assert!(!exists(&dir, "Overlay-3A.qcow2"));
        let plan = talk.answer("undo");
        assert!(plan.contains("Undo: Discard"), "{plan}");
        let back = talk.answer("yes");
        assert!(
            back.contains("Overlay-3A.qcow2, on Overlay-3.qcow2"),
            "{back}"
        );
        assert!(exists(&dir, "Overlay-3A.qcow2"));
        talk.leave();
    }
}

#[test]
fn going_back_tells_no_list_again_that_stayed_as_it_was() {
    let dir = demo();
    let folder = dir.path().join("vm/rootbase");
    let mut talk = Dialogue::begin(Terminal::open(&folder, &["--plain"], (80, 24)));
    talk.image("Overlay-1.qcow2");
    talk.answer("commit");
    let back = talk.answer("");
    assert!(back.contains("Nothing was changed."), "{back}");
    assert!(!back.contains("Images below"), "{back}");
    talk.leave();
}

#[test]
fn the_files_of_an_image_are_told_found_and_copied_out() {
    let Some(dir) = guest_dir() else { return };
    let mut talk = Dialogue::begin(Terminal::open(dir.path(), &["--plain"], (80, 24)));
    talk.image("top.qcow2");
    let volumes = talk.answer("files");
    in_order(
        &volumes,
        &[
            "Files of top.qcow2:",
            "1  disk",
            "ext4 \"system\"",
            "Debian GNU/Linux 12",
        ],
    );
    let root = talk.answer("1");
    in_order(&root, &["disk:/:", "1  drwxr-xr-x", "etc/", "home/"]);
    let etc = talk.answer("1");
    in_order(
        &etc,
        &["1  -rw-r--r--", "fstab", "2  -rw-------", "hostname"],
    );
    let hostname = talk.answer("2");
    assert!(hostname.contains("golden"), "{hostname}");
    talk.answer("");
    let history = talk.answer("history 1");
    in_order(&history, &["modified", "top.qcow2", "added", "base.qcow2"]);
    let etc = talk.answer("");
    assert!(etc.contains("fstab"), "{etc}");
    talk.answer("find");
    let found = talk.answer("thesis");
    assert!(found.contains("1  disk:/home/anna/thesis.odt"), "{found}");
    talk.answer("extract 1");
    let copies = dir.path().join("copies");
    let done = talk.answer(copies.to_str().unwrap());
    assert!(done.contains("1 file, 29.3 KiB copied to"), "{done}");
    assert!(copies.join("thesis.odt").is_file());
    for _ in 0..4 {
        talk.answer("");
    }
    talk.leave();
}

#[test]
fn where_the_space_went_is_told_and_planned_by_number() {
    let dir = demo();
    let folder = dir.path().join("vm/rootbase");
    let mut talk = Dialogue::begin(Terminal::open(&folder, &["--plain"], (80, 24)));
    let told = talk.answer("space");
    in_order(
        &told,
        &[
            "images, ",
            " on disk: ",
            "own ",
            "RootBase.qcow2",
            "to go back: ",
        ],
    );
    let read = talk.answer("read");
    assert!(read.contains("on disk"), "{read}");
    let back = talk.answer("");
    assert!(!back.contains("on disk:"), "{back}");
    talk.leave();
}

#[test]
fn the_tour_is_taken_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let vm = dir.path().join("vm");
    let terminal = Terminal::open(&vm, &["demo", "--plain", "--tour"], (80, 24));
    let mut talk = Dialogue::begin(terminal);
    in_order(&talk.said, &["Images below", "Tour 1 of 5", "then branch."]);
    let left = talk.answer("back");
    assert!(left.contains("The tour is left"), "{left}");
    let again = talk.answer("tour");
    assert!(again.contains("Tour 1 of 5"), "{again}");
    assert!(!talk.answer("mark 1").contains("Tour"), "it is told once");
    talk.answer("mark 1");
    talk.image("Overlay-1C.qcow2");
    talk.answer("branch");
    let next = talk.answer("yes");
    assert!(next.contains("Tour 2 of 5"), "{next}");
    talk.image("Overlay-1C-1.qcow2");
    talk.answer("move");
    talk.answer("1");
    talk.answer("mine.qcow2");
    talk.answer("yes");
    let next = talk.answer("yes");
    assert!(next.contains("Tour 3 of 5"), "{next}");
    talk.image("Overlay-3A.qcow2");
    talk.answer("commit");
    let next = talk.answer("1");
    assert!(next.contains("Tour 4 of 5"), "{next}");
    talk.image("Overlay-2A.qcow2");
    talk.answer("discard");
    let next = talk.answer("yes");
    in_order(&next, &["Take that back", "Type undo."]);
    talk.answer("undo");
    let next = talk.answer("yes");
    assert!(next.contains("Tour 5 of 5"), "{next}");
    talk.image("centos-overlay-1.qcow2");
    talk.answer("repair");
    let over = talk.answer("yes");
    assert!(over.contains("That was the tour."), "{over}");
    talk.leave();
}

#[test]
fn another_folder_is_opened_by_its_name_and_by_its_number() {
    let dir = demo();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut talk = Dialogue::begin(Terminal::open(&empty, &["--plain"], (120, 40)));
    assert!(talk.said.contains("There is none."), "{}", talk.said);
    let asked = talk.answer("open");
    assert!(!asked.contains("Opened before"), "{asked}");
    let images = talk.answer("../vm/rootbase");
    assert!(images.contains("Overlay-3A.qcow2, "), "{images}");
    let asked = talk.answer("open");
    in_order(&asked, &["Opened before:", "1  ", "empty"]);
    let gone = talk.answer("nowhere");
    assert!(gone.contains("no such file or directory"), "{gone}");
    assert!(!gone.contains("Images below"), "{gone}");
    talk.answer("open");
    let both = talk.answer("add 1");
    in_order(&both, &["Images below", "rootbase, ", "empty"]);
    assert!(both.contains("Overlay-3A.qcow2, "), "{both}");
    talk.answer("open");
    let one = talk.answer("../../empty");
    assert!(one.contains("There is none."), "{one}");
    talk.leave();
}
