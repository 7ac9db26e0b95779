//! `qanopy --plain`: the same actions as on the screen, line by line, over a pipe.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::commands::{Place, demo_forest, small_forest};

/// A question is over by then, also where other things are built meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// How questions end.
const QUESTIONS: [&str; 4] = ["quit: ", "go back: ", "goes back: ", "it): "];

/// The program, and what it has said since the last answer.
struct Dialogue {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<String>,
    said: String,
}

impl Dialogue {
    /// Begins one, and waits for the first question.
    fn begin(place: &Place, words: &str) -> Self {
        let mut command = place.command();
        command.args(words.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (told, from) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                if told.send(text).is_err() {
                    return;
                }
            }
        });
        let to = child.stdin.take();
        let mut dialogue = Self {
            child,
            to,
            from,
            said: String::new(),
        };
        dialogue.listen();
        dialogue
    }

    /// Takes in what is said, up to the next question or the end.
    fn listen(&mut self) {
        self.said.clear();
        while !QUESTIONS.iter().any(|end| self.said.ends_with(end)) {
            match self.from.recv_timeout(PATIENCE) {
                Ok(text) => self.said.push_str(&text),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("{error}: {}", self.said),
            }
        }
        assert!(!self.said.contains('\u{1b}'), "{:?}", self.said);
    }

    /// Types a line, and gives what is said then.
    fn answer(&mut self, line: &str) -> String {
        let mut to = self.to.as_ref().unwrap();
        writeln!(to, "{line}").unwrap();
        self.listen();
        self.said.clone()
    }

    /// The same with the number of the line that holds these words.
    fn pick(&mut self, words: &str) -> String {
        let line = self.said.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("no {words:?} in {}", self.said));
        let number = line.split("  ").next().unwrap().to_owned();
        self.answer(&number)
    }

    /// Ends what can be read, and gives the exit code.
    fn end(mut self) -> Option<i32> {
        self.to = None;
        self.child.wait().unwrap().code()
    }
}

#[test]
fn an_image_is_branched_and_that_is_undone() {
    let place = small_forest();
    let mut talk = Dialogue::begin(&place, "--plain .");
    assert!(
        talk.said.contains("top.qcow2, on one.qcow2"),
        "{}",
        talk.said
    );
    let actions = talk.pick("  two.qcow2");
    assert!(actions.contains("branch - a new overlay"), "{actions}");
    assert!(
        actions.contains("squash: not now: nothing is built on it"),
        "the reasons are told as well: {actions}"
    );
    let form = talk.pick("branch - ");
    assert!(form.contains("name: two-"), "{form}");
    talk.pick("name: ");
    let form = talk.answer("new.qcow2");
    assert!(form.contains("creates  new.qcow2"), "{form}");
    let done = talk.answer("yes");
    assert!(done.contains("new.qcow2. z takes it back."), "{done}");
    assert!(place.path().join("new.qcow2").exists());
    assert!(done.contains("new.qcow2, on two.qcow2"), "{done}");
    let plan = talk.answer("undo");
    assert!(plan.contains("new.qcow2"), "{plan}");
    let number = plan.rsplit("Type ").next().unwrap();
    let number = number.split(' ').next().unwrap();
    let agreed = if plan.contains("Type ") {
        number
    } else {
        "yes"
    };
    talk.answer(agreed);
    assert!(!place.path().join("new.qcow2").exists(), "{}", talk.said);
    assert_eq!(talk.end(), Some(0));
}

#[test]
fn a_refusal_has_its_ways_out_and_nothing_happens_without_an_answer() {
    let place = demo_forest();
    let before = crate::support::recorder::digest_tree(place.path());
    let mut talk = Dialogue::begin(&place, "--plain demo/rootbase");
    talk.pick("Overlay-2.qcow2");
    let plan = talk.pick("commit - ");
    assert!(plan.contains("Number of another way"), "{plan}");
    assert!(plan.contains("refused"), "{plan}");
    let other = talk.answer("1");
    assert!(other.contains("to do it, or Enter to go back"), "{other}");
    let back = talk.answer("");
    assert!(back.contains("Number of another way"), "{back}");
    let images = talk.answer("");
    assert!(images.contains("Nothing was changed."), "{images}");
    assert_eq!(talk.end(), Some(0));
    assert_eq!(crate::support::recorder::digest_tree(place.path()), before);
}

#[test]
fn what_is_looked_at_is_told_and_mistakes_are_answered() {
    let place = demo_forest();
    let mut talk = Dialogue::begin(&place, "--plain ./demo");
    for (typed, answer) in [
        ("9999", "There is no 9999 in the list."),
        ("brunch", "There is no brunch; help tells what there is."),
        ("branch", "branch is about an image: type its number first."),
        ("help", "undo - take back the last operation"),
        ("mark 1", "Marked: "),
        ("mark 1", "Marked: nothing."),
        ("mark", "Type mark and a number"),
        ("find Overlay-1C", "Overlay-1C.qcow2, on Overlay-1B.qcow2"),
    ] {
        let told = talk.answer(typed);
        assert!(told.contains(answer), "{typed}: {told}");
    }
    talk.pick("Overlay-1C.qcow2");
    let info = talk.pick("info - ");
    assert!(info.contains("virtual"), "{info}");
    talk.answer("list");
    talk.pick("Overlay-1C.qcow2");
    let wrong = talk.answer("nonsense");
    assert!(wrong.contains("nonsense is none of these."), "{wrong}");
    let info = talk.answer("info");
    assert!(info.contains("virtual"), "{info}");
    let recover = talk.answer("recover");
    assert!(recover.contains("was interrupted"), "{recover}");
    talk.answer("");
    let log = talk.answer("log");
    assert!(log.contains("nothing happened yet"), "{log}");
    let bye = talk.answer("quit");
    assert_eq!(bye.trim(), "");
    assert_eq!(talk.end(), Some(0));
}

#[test]
fn read_only_offers_nothing_that_changes() {
    let place = small_forest();
    let mut talk = Dialogue::begin(&place, "--plain --read-only .");
    let actions = talk.pick("top.qcow2");
    assert!(actions.contains("info - "), "{actions}");
    assert!(!actions.contains("commit"), "{actions}");
    assert_eq!(talk.end(), Some(0));
}

#[test]
fn a_terminal_that_cannot_show_the_screen_is_told_of_it() {
    let place = small_forest();
    let told = crate::commands::shown_on(&place, ".", "dumb");
    assert!(told.contains("qanopy --plain"), "{told}");
    assert!(told.contains("top.qcow2"), "{told}");
    let ended = place.q("--plain tree").with(2);
    assert!(ended.err.contains("only `demo` takes it"), "{}", ended.err);
}
