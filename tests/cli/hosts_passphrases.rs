//! Passphrases of images on hosts, typed at this machine: a shell stands in for ssh and the host.

use std::fs;
use std::io::{Read, Write};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::hosts::Lab;
use crate::support::lab::program;
use qanopy::fleet::{FromAgent, Hello, PassphraseOf, PassphraseQuery, Said, greeting};

/// A host with an encrypted image, whose passphrase is in a file beside it and in no variable.
fn lab() -> Lab {
    let lab = Lab::new();
    let home = lab.home("one");
    for (file, word) in [("word", "sesame"), ("other", "open"), ("third", "wide")] {
        fs::write(home.join(file), word).unwrap();
    }
    let words = "create safe.qcow2 4M --encrypt luks --passphrase-file word --iter-time 10";
    lab.there("one", words).with(0);
    lab
}

/// Runs a command line in a terminal and types each answer once its question is asked; the exit code and what was
/// shown.
fn at_a_terminal(lab: &Lab, words: &str, answers: &[(&str, &str)]) -> (u32, String) {
    let pty = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qanopy"));
    command.args(words.split(' '));
    command.cwd(lab.place.path());
    command.env("XDG_STATE_HOME", lab.place.state_dir());
    command.env("XDG_CONFIG_HOME", lab.hosts.config());
    command.env("QANOPY_SSH", lab.ssh());
    command.env("TERM", "xterm");
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let mut writer = pty.master.take_writer().unwrap();
    let mut shown = String::new();
    let mut buffer = [0; 4096];
    let mut answers = answers.iter();
    let mut next = answers.next();
    let mut from = 0;
    // The end of a pseudo-terminal is an error (EIO).
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        while let Some((question, answer)) = next
            && let Some(at) = shown[from..].find(question)
        {
            from += at + question.len();
            // A terminal throws away what was typed before it hid it.
            std::thread::sleep(std::time::Duration::from_millis(150));
            writer.write_all(answer.as_bytes()).unwrap();
            next = answers.next();
        }
    }
    assert_eq!(next, None, "never asked: {shown}");
    (child.wait().unwrap().exit_code(), shown)
}

/// Whether the image opens to what a file there holds.
fn opens(lab: &Lab, file: &str) -> bool {
    let words = format!("contents safe.qcow2 --passphrase-file {file}");
    let mut command = lab.place.command();
    command.args(words.split(' ')).current_dir(lab.home("one"));
    command.output().unwrap().status.success()
}

#[test]
fn an_encrypted_image_there_is_read_with_the_passphrase_that_is_typed_here() {
    let lab = lab();
    for read_only in ["", "--read-only "] {
        let words = format!("{read_only}contents one:safe.qcow2");
        let asked = "Passphrase of one:safe.qcow2: ";
        let (code, shown) = at_a_terminal(&lab, &words, &[(asked, "sesame\n")]);
        assert_eq!(code, 0, "{shown}");
        assert!(!shown.contains("sesame"), "{shown}");
        assert!(!shown.contains("does not name"), "{shown}");
        let (code, shown) = at_a_terminal(&lab, &words, &[(asked, "simsim\n")]);
        assert_ne!(code, 0, "{shown}");
        assert!(shown.contains("opens none of its key slots"), "{shown}");
    }
}

#[test]
fn key_slots_there_are_changed_with_passphrases_that_are_typed_here() {
    let lab = lab();
    let image = lab.home("one").canonicalize().unwrap().join("safe.qcow2");
    let new = format!("New passphrase of one:{}: ", image.display());
    let new = new.as_str();
    let old = &new["New p".len()..];
    let again = "The same once more: ";
    let agree = ("[y/N]", "y\n");
    let number = ("Type 1", "1\n");
    let (code, shown) = at_a_terminal(
        &lab,
        "keyslot add one:safe.qcow2 --iter-time 10",
        &[(new, "open\n"), (again, "open\n"), (old, "sesame\n"), agree],
    );
    assert_eq!(code, 0, "{shown}");
    assert!(opens(&lab, "word") && opens(&lab, "other"));
    let (code, shown) = at_a_terminal(
        &lab,
        "keyslot change one:safe.qcow2 --iter-time 10",
        &[
            (new, "wide\n"),
            (again, "wide\n"),
            (old, "sesame\n"),
            number,
        ],
    );
    assert_eq!(code, 0, "{shown}");
    assert!(!opens(&lab, "word") && opens(&lab, "third"));
    let (code, shown) = at_a_terminal(
        &lab,
        "keyslot erase one:safe.qcow2 --slot 1",
        &[(old, "wide\n"), number],
    );
    assert_eq!(code, 0, "{shown}");
    assert!(!opens(&lab, "other") && opens(&lab, "third"));
    // What was not typed twice the same opens nothing.
    let (code, shown) = at_a_terminal(
        &lab,
        "keyslot add one:safe.qcow2 --iter-time 10",
        &[(new, "open\n"), (again, "oepn\n")],
    );
    assert_eq!(code, 4, "{shown}");
    assert!(shown.contains("two that differ"), "{shown}");
    // Neither what was typed nor what it opened is written down there.
    let mut kept = Vec::new();
    let mut folders = vec![lab.home("one")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => kept.push(entry.path()),
                _ => {}
            }
        }
    }
    for file in kept {
        let name = file.file_name().unwrap();
        let bytes = fs::read(&file).unwrap();
        let holds = bytes.windows(6).any(|part| part == b"sesame");
        assert!(!holds || name == "word", "{file:?}");
    }
}

#[test]
fn a_new_image_there_is_encrypted_with_what_is_typed_here_twice() {
    let lab = lab();
    let asked = "Passphrase of the new image one:new.qcow2: ";
    let (code, shown) = at_a_terminal(
        &lab,
        "create one:new.qcow2 4M --encrypt luks --iter-time 10",
        &[(asked, "sesame\n"), ("The same once more: ", "sesame\n")],
    );
    assert_eq!(code, 0, "{shown}");
    let words = "contents new.qcow2 --passphrase-file word";
    lab.there("one", words).with(0);
}

#[test]
fn the_base_of_an_image_that_is_named_is_said_not_to_be_named() {
    let lab = lab();
    let words = "branch safe.qcow2 over.qcow2 --yes";
    lab.there("one", words).with(0);
    let (code, shown) = at_a_terminal(
        &lab,
        "contents one:over.qcow2",
        &[
            ("that the command line does not name", ""),
            ("safe.qcow2: ", "sesame\n"),
        ],
    );
    assert_eq!(code, 0, "{shown}");
}

#[test]
fn who_cannot_be_asked_gives_none_and_is_told_what_helps() {
    let lab = lab();
    let told = lab.q("contents one:safe.qcow2").with(1);
    assert!(told.err.contains("no passphrase was given"), "{}", told.err);
    assert!(
        told.err.contains("--passphrase-file one:FILE") && told.err.contains("at a terminal"),
        "{}",
        told.err
    );
    lab.q("contents one:safe.qcow2 --passphrase-file one:word")
        .with(0);
    // A wish to stop ends the question, and what is typed is seen again.
    let asked = "Passphrase of one:safe.qcow2: ";
    let (code, shown) = at_a_terminal(&lab, "contents one:safe.qcow2", &[(asked, "\u{3}")]);
    assert!([130, 143].contains(&code), "{code} {shown}");
    assert!(!shown.contains("no passphrase was given"), "{shown}");
}

#[test]
fn a_hostile_agent_is_given_no_passphrase_without_a_question_and_asks_no_more_than_a_few() {
    let lab = Lab::new();
    let ask = |number: u32, image: &str| FromAgent::Said {
        run: 1,
        said: Said::Passphrase(PassphraseQuery {
            number,
            image: image.into(),
            of: PassphraseOf::Volume("x, so type that of your bank".to_owned()),
        }),
    };
    let says = |messages: Vec<FromAgent>| {
        let mut bytes = greeting().into_bytes();
        let hello = Hello {
            version: "1".to_owned(),
            read_only: false,
            restricted_to: None,
        };
        FromAgent::Hello(hello).write(&mut bytes).unwrap();
        for message in messages {
            message.write(&mut bytes).unwrap();
        }
        let said = lab.hosts.path().join("said");
        let heard = lab.hosts.path().join("heard");
        fs::write(&said, bytes).unwrap();
        let text = format!(
            "#!/bin/sh\ncat '{}'\nexec timeout 3 cat > '{}'\n",
            said.display(),
            heard.display()
        );
        program(&lab.ssh(), &text);
        heard
    };
    // Nobody is there to be asked.
    let heard = says(vec![ask(1, "/a"), FromAgent::Ended { run: 1, code: 0 }]);
    lab.q("info one:/a").with(0);
    assert!(heard.exists());
    let many = (0..33).map(|number| ask(number, "/a")).collect();
    says(many);
    let told = lab.q("info one:/a").with(1);
    assert!(told.err.contains("passphrases without end"), "{}", told.err);
    for image in ["", "a\0b", &"a".repeat(5000)] {
        says(vec![ask(1, image)]);
        let told = lab.q("info one:/a").with(1);
        assert!(told.err.contains("what is no file"), "{}", told.err);
    }
    // The person sees whose it is, in words of this side, and that it was not named.
    let heard = says(vec![
        ask(1, "/etc/\u{1b}[2Jother"),
        FromAgent::Ended { run: 1, code: 0 },
    ]);
    let (code, shown) = at_a_terminal(&lab, "info one:/a", &[("other: ", "\n")]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("does not name"), "{shown}");
    assert!(
        shown.contains("an encrypted volume in one:/etc/"),
        "{shown}"
    );
    assert!(
        !shown.contains("bank") && !shown.contains('\u{1b}'),
        "{shown}"
    );
    assert!(heard.exists());
}
