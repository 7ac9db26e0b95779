//! Images of other machines: a shell with a home of its own stands in for ssh and the host, and in one test a real
//! server does the same.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qanopy::fleet::{
    Answer, Connection, Destination, Ends, Error, FromAgent, HostEntry, Moved, PROTOCOL, Patience,
    Question, Run, Said, Stream, ToAgent, Watcher,
};
use serde_json::Value;

use crate::commands::{Ended, Place};
use crate::schema;
use crate::support::lab::{Hosts, program};
use crate::support::sshd::server;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// Machines that are folders.
pub(crate) struct Lab {
    pub(crate) place: Place,
    pub(crate) hosts: Hosts,
}

impl Lab {
    /// Two of them, one and two, with a.qcow2 <- b.qcow2 each.
    pub(crate) fn new() -> Self {
        Self {
            place: Place::new(),
            hosts: Hosts::new(QANOPY),
        }
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.hosts.home(name)
    }

    pub(crate) fn ssh(&self) -> PathBuf {
        self.hosts.ssh()
    }

    /// Runs a command line on a host, as somebody there would.
    pub(crate) fn there(&self, name: &str, words: &str) -> Ended {
        Ended::of(self.hosts.there(name, words))
    }

    /// Runs a command line here.
    pub(crate) fn q(&self, words: &str) -> Ended {
        self.q_with(words, &[])
    }

    /// The same with variables.
    pub(crate) fn q_with(&self, words: &str, variables: &[(&str, &str)]) -> Ended {
        let mut command = self.place.command();
        command
            .args(words.split(' '))
            .env("QANOPY_SSH", self.ssh())
            .env("XDG_CONFIG_HOME", self.hosts.config())
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        Ended::of(command.output().unwrap())
    }

    /// A host that an agent runs on, reached from this process.
    pub(crate) fn connection(&self, name: &str) -> Connection {
        let entry = HostEntry {
            name: name.to_owned(),
            agent: Some(QANOPY.to_owned()),
            ..HostEntry::default()
        };
        let to = Destination::of(name, &[entry], Some(self.ssh().as_os_str()));
        let mut ends = Told::default();
        Connection::open(&to, Patience::default(), &mut ends, &AtomicUsize::new(0)).unwrap()
    }
}

/// What a command line printed and asked, and what is answered.
#[derive(Default)]
struct Told {
    out: Vec<u8>,
    err: Vec<u8>,
    asked: Vec<Question>,
    answer: String,
    is_marked: bool,
}

impl Watcher for Told {
    fn silent(&mut self, _: &str, _: u64) {
        self.is_marked = true;
    }
}

impl Ends for Told {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Out => self.out.extend(bytes),
            Stream::Err => self.err.extend(bytes),
        }
        Ok(())
    }

    fn asked(&mut self, question: &Question) -> io::Result<String> {
        self.asked.push(question.clone());
        Ok(self.answer.clone())
    }

    fn moved(&mut self, _: &Moved) {}
}

/// A person who asks to stop where they are asked to agree, or whose reader went away.
struct Leaving {
    told: Told,
    stops: Arc<AtomicUsize>,
    is_closed: bool,
}

impl Watcher for Leaving {
    fn silent(&mut self, _: &str, _: u64) {}
}

impl Ends for Leaving {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.told.printed(stream, bytes)
    }

    fn asked(&mut self, question: &Question) -> io::Result<String> {
        self.stops.fetch_add(1, Ordering::Relaxed);
        self.told.asked(question)
    }

    fn moved(&mut self, _: &Moved) {}
}

fn line(words: &str) -> Run {
    Run {
        asks: true,
        ..Run::new(words.split(' ').map(Into::into).collect(), "one")
    }
}

#[test]
fn a_host_tells_what_it_would_tell_there() {
    let lab = Lab::new();
    for (here, there) in [
        ("tree one:", "tree ."),
        ("info one:b.qcow2", "info b.qcow2"),
        ("map one:b.qcow2", "map b.qcow2"),
        ("check one:a.qcow2 one:b.qcow2", "check a.qcow2 b.qcow2"),
        ("space @lab:.", "space ."),
    ] {
        // Command lines are those that are typed here.
        let told = lab.q(here).with(0).out;
        let told = ["one", "two"].iter().fold(told, |told, host| {
            told.replace(&format!("qanopy discard {host}:"), "qanopy discard ")
        });
        let expected = lab.there("one", there).out;
        if here.contains('@') {
            assert_eq!(
                told,
                format!("one:\n{expected}\ntwo:\n{}", lab.there("two", there).out)
            );
        } else {
            assert_eq!(told, expected, "{here}");
        }
    }
    let absolute = lab.home("one").join("b.qcow2");
    let told = lab
        .q(&format!("info one:{}", absolute.display()))
        .with(0)
        .out;
    assert!(told.contains("a.qcow2"), "{told}");
    lab.q("info one:none.qcow2").with(1);
    lab.q("compare one:a.qcow2 two:a.qcow2").with(2);
    let odd = lab.place.path().join("one:b.qcow2");
    fs::write(odd, "no image").unwrap();
    let here = lab.q("info one:b.qcow2");
    assert!(!here.out.contains("a.qcow2"), "{}", here.out);
}

#[test]
fn several_hosts_are_one_document_and_one_that_fails_is_a_row_of_it() {
    let lab = Lab::new();
    let told = lab.q("tree one: away: two: shut: . --json").with(1);
    let document = told.json();
    let hosts = document["hosts"].as_array().unwrap();
    let names: Vec<&str> = hosts
        .iter()
        .map(|host| host["host"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["one", "away", "two", "shut", "localhost"]);
    for host in hosts {
        let whole = match host.get("result") {
            Some(result) => serde_json::json!({
                "schema": 1, "command": document["command"], "result": result,
            }),
            None => continue,
        };
        schema::read(&whole.to_string());
    }
    assert_eq!(hosts[0]["result"]["images"].as_array().unwrap().len(), 2);
    assert_eq!(hosts[1]["error"]["kind"], "host-away");
    assert_eq!(hosts[3]["error"]["kind"], "host-not-let-in");
    assert_eq!(document["error"]["kind"], "host-away");
    let told = lab.q("tree one: away: two:").with(1);
    assert!(
        told.err.contains("away cannot be reached: ssh: connect"),
        "{}",
        told.err
    );
    assert!(
        told.out.starts_with("one:\n") && told.out.contains("\ntwo:\n"),
        "{}",
        told.out
    );
    let one = lab.q("info one:b.qcow2 --json").with(0).json();
    assert_eq!(one["hosts"][0]["result"]["backing-filename"], "a.qcow2");
    fs::remove_file(lab.home("two").join("a.qcow2")).unwrap();
    lab.q("doctor one: two:").with(3);
}

#[test]
fn leaves_of_several_hosts_are_proposed_by_each_and_discarded_by_each_in_turn() {
    let lab = Lab::new();
    let is_there = |name: &str| lab.home(name).join("b.qcow2").exists();
    let told = lab.q("prune one: away: two:").with(1);
    for part in [
        "one:\n",
        "\ntwo:\n",
        "Nothing was discarded: --all takes them all.",
    ] {
        assert!(told.out.contains(part), "{}", told.out);
    }
    assert!(told.err.contains("away cannot be reached"), "{}", told.err);
    let document = lab.q("--read-only prune @lab --json").with(0).json();
    let paths = |host: usize| document["hosts"][host]["result"]["candidates"][0]["path"].clone();
    for (at, name) in ["one", "two"].iter().enumerate() {
        assert_eq!(paths(at), lab.home(name).join("b.qcow2").to_str().unwrap());
    }
    let kept = lab.q("prune @lab --keep-last 1").with(0).out;
    assert_eq!(
        kept.matches("All leaves that nobody uses are kept.")
            .count(),
        2
    );
    // Nobody can be asked about two plans at once.
    let refused = lab.q("prune @lab --all").with(2);
    assert!(
        refused.err.contains("--yes agrees to the plan of each"),
        "{}",
        refused.err
    );
    lab.q("prune @lab --all --yes --confirm 2").with(2);
    lab.q("--read-only prune @lab --all --yes").with(4);
    let planned = lab.q("prune @lab --all --dry-run").with(0).out;
    assert!(planned.matches("b.qcow2").count() >= 2, "{planned}");
    assert!(is_there("one") && is_there("two"));
    let done = lab
        .q("prune one: away: two: --all --yes --json")
        .with(1)
        .json();
    assert!(done["hosts"][2]["result"]["outcome"].is_object(), "{done}");
    assert!(!is_there("one") && !is_there("two"));
    // Each has it in its own log and trash.
    for name in ["one", "two"] {
        lab.q(&format!("undo {name}: --yes")).with(0);
        assert!(is_there(name));
    }
}

#[test]
fn what_is_changed_there_is_planned_kept_and_taken_back_there() {
    let lab = Lab::new();
    let refused = lab.q("commit one:b.qcow2").with(4);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    let planned = lab.q("commit one:b.qcow2 --dry-run").with(0).out;
    assert!(planned.contains("b.qcow2"), "{planned}");
    lab.q("--read-only discard one:b.qcow2 --yes").with(4);
    assert!(lab.home("one").join("b.qcow2").exists());
    lab.q("discard one:b.qcow2 --yes").with(0);
    assert!(!lab.home("one").join("b.qcow2").exists());
    assert!(lab.there("one", "log").out.contains("b.qcow2"));
    assert!(lab.q("log").with(0).out.contains("nothing was done"));
    lab.q("undo one: --yes").with(0);
    assert!(lab.home("one").join("b.qcow2").exists());
    let json = lab
        .q("branch one:b.qcow2 one:c.qcow2 --yes --json")
        .with(0)
        .json();
    assert!(json["hosts"][0]["result"]["outcome"].is_object(), "{json}");
    assert!(lab.home("one").join("c.qcow2").exists());
    assert!(
        lab.q("recover one:")
            .with(0)
            .out
            .contains("nothing was interrupted")
    );
    let mixed = lab.q("branch one:b.qcow2 d.qcow2 --yes").with(2);
    assert!(mixed.err.contains("one:d.qcow2"), "{}", mixed.err);
}

#[test]
fn a_way_out_and_a_fix_of_a_host_are_run_as_they_are_printed() {
    let lab = Lab::new();
    // A refusal that says what could be done instead.
    let home = lab.home("one");
    let told = lab.q("resize one:a.qcow2 4M").with(4);
    let line = told
        .out
        .lines()
        .find_map(|line| line.strip_prefix("To do 1: "));
    let line = line.unwrap_or_else(|| panic!("{}", told.out)).to_owned();
    assert_eq!(line, "qanopy resize one:a.qcow2 4194304 --shrink");
    let json = lab.q("resize one:a.qcow2 4M --json").with(4).json();
    let way = &json["hosts"][0]["error"]["ways-out"][0]["command"];
    assert_eq!(way.as_str(), Some(line.as_str()));
    let typed = |line: &str| line.strip_prefix("qanopy ").unwrap().to_owned();
    lab.q(&format!("{} --yes", typed(&line))).with(0);
    let told = lab.q("info one:a.qcow2 --json").with(0).json();
    assert_eq!(told["hosts"][0]["result"]["virtual-size"], 4 << 20);
    // Those of this machine, asked beside others, name no host.
    lab.q("create here.qcow2 1M").with(0);
    lab.q("branch here.qcow2 top.qcow2").with(0);
    let told = lab.q("space one: . --older-than 0").with(0).out;
    let here = format!(
        "qanopy discard {}",
        lab.place.path().join("top.qcow2").display()
    );
    assert!(
        told.contains("qanopy discard one:/") && told.contains(&here),
        "{told}"
    );
    // What helps against what is wrong.
    fs::create_dir(home.join("sub")).unwrap();
    fs::rename(home.join("a.qcow2"), home.join("sub/a.qcow2")).unwrap();
    let found = lab.q("doctor one: --json").with(3).json();
    let findings = found["hosts"][0]["result"]["findings"].as_array().unwrap();
    let fixes = findings
        .iter()
        .flat_map(|one| one["fixes"].as_array().unwrap());
    let fixes: Vec<&str> = fixes.map(|line| line.as_str().unwrap()).collect();
    assert!(fixes.iter().all(|line| line.contains("one:")), "{fixes:?}");
    let relink = fixes.iter().find(|line| line.starts_with("qanopy relink"));
    let line = relink
        .unwrap_or_else(|| panic!("{found}"))
        .strip_prefix("qanopy ")
        .unwrap();
    lab.q(&format!("{line} --yes")).with(0);
    lab.q("doctor one: --json").with(0);
}

#[test]
fn the_plan_is_shown_here_and_what_was_agreed_to_is_run() {
    let lab = Lab::new();
    let mut connection = lab.connection("one");
    let stops = AtomicUsize::new(0);
    let mut told = Told {
        answer: "n".to_owned(),
        ..Told::default()
    };
    let code = connection
        .run(line("discard b.qcow2"), &mut told, &stops)
        .unwrap();
    assert_eq!(code, 130);
    assert!(lab.home("one").join("b.qcow2").exists());
    let shown = told.asked[0].lines.join("\n");
    assert!(
        shown.contains("trash") && told.asked[0].prompt.contains("Go on?"),
        "{shown}"
    );
    let mut told = Told {
        answer: "y".to_owned(),
        ..Told::default()
    };
    let code = connection
        .run(line("discard b.qcow2"), &mut told, &stops)
        .unwrap();
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&told.err));
    assert!(!lab.home("one").join("b.qcow2").exists());
    let denied = connection
        .run(line("mount a.qcow2 x"), &mut told, &stops)
        .unwrap_err();
    assert_eq!(denied.kind(), "host-denied");
}

#[test]
fn who_asks_to_stop_at_the_question_has_agreed_to_nothing() {
    let lab = Lab::new();
    let stops = Arc::new(AtomicUsize::new(0));
    let told = Told {
        answer: "y".to_owned(),
        ..Told::default()
    };
    let mut ends = Leaving {
        told,
        stops: stops.clone(),
        is_closed: false,
    };
    let ended = lab
        .connection("one")
        .run(line("discard b.qcow2"), &mut ends, &stops);
    assert_eq!(ended.unwrap(), 130);
    assert_eq!(ends.told.asked.len(), 1);
    assert!(lab.home("one").join("b.qcow2").exists());
}

#[test]
fn a_reader_that_went_away_stops_nothing_there() {
    let lab = Lab::new();
    let stops = Arc::new(AtomicUsize::new(0));
    let mut ends = Leaving {
        told: Told::default(),
        stops: stops.clone(),
        is_closed: true,
    };
    let mut connection = lab.connection("one");
    for (words, code) in [
        ("branch b.qcow2 c.qcow2 --yes", 0),
        ("info none.qcow2", 1),
        ("tree .", 0),
    ] {
        let ended = connection.run(line(words), &mut ends, &stops);
        assert_eq!(ended.unwrap(), code, "{words}");
    }
    assert!(lab.home("one").join("c.qcow2").exists());
}

#[test]
fn a_name_that_another_machine_sent_is_one_of_this_machine() {
    let lab = Lab::new();
    let told = lab.q("tree one:two:").with(1);
    assert!(
        told.err.contains("two:") && told.out.is_empty(),
        "{}{}",
        told.out,
        told.err
    );
    let old = lab.home("one").join("db:old.qcow2");
    fs::copy(lab.home("one").join("a.qcow2"), &old).unwrap();
    lab.q("discard one:db:old.qcow2 --yes").with(0);
    assert!(!old.exists());
    let told = lab.q("discard one:db:old.qcow2 --yes").with(1);
    assert!(told.err.contains("db:old.qcow2"), "{}", told.err);
    let mut told = Told::default();
    let words = "contents a.qcow2 --passphrase-file -";
    let ended = lab
        .connection("one")
        .run(line(words), &mut told, &AtomicUsize::new(0));
    assert_eq!(ended.unwrap(), 2);
    let said = String::from_utf8_lossy(&told.err);
    assert!(said.contains("standard input"), "{said}");
}

/// What this side sends in a session that commits, as it was recorded.
fn session(lab: &Lab) -> Vec<u8> {
    let mut bytes = Vec::new();
    ToAgent::Hello { protocol: PROTOCOL }
        .write(&mut bytes)
        .unwrap();
    ToAgent::Run(Run {
        id: 1,
        ..line("commit b.qcow2")
    })
    .write(&mut bytes)
    .unwrap();
    let mut connection = lab.connection("one");
    let mut told = Told {
        answer: "n".to_owned(),
        ..Told::default()
    };
    connection
        .run(line("commit b.qcow2"), &mut told, &AtomicUsize::new(0))
        .unwrap();
    let digest = told.asked[0].digest();
    let typed = if told.asked[0].prompt.contains("Type 1") {
        "1"
    } else {
        "y"
    };
    let answer = Answer {
        digest,
        typed: typed.to_owned(),
    };
    ToAgent::Answer { run: 1, answer }
        .write(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn a_connection_that_is_cut_anywhere_loses_nothing() {
    let lab = Lab::new();
    let home = lab.home("one");
    let image = |name: &str| home.join(name);
    let kept: Vec<Vec<u8>> = ["a.qcow2", "b.qcow2"]
        .map(|name| fs::read(image(name)).unwrap())
        .into();
    let session = session(&lab);
    // Every byte of heads and kinds, and some of what is between.
    let cuts = (0..=session.len()).filter(|cut| cut % 29 < 2 || *cut == session.len());
    for cut in cuts {
        let mut agent = Command::new(QANOPY)
            .arg("agent")
            .current_dir(&home)
            .env("HOME", &home)
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        agent
            .stdin
            .take()
            .unwrap()
            .write_all(&session[..cut])
            .unwrap();
        io::copy(&mut agent.stdout.take().unwrap(), &mut io::sink()).unwrap();
        agent.wait().unwrap();
        let left = lab.there("one", "recover").out;
        assert!(left.contains("nothing was interrupted"), "{cut}: {left}");
        if !image("b.qcow2").exists() {
            // The answer came before the end was noticed.
            assert_eq!(cut, session.len());
            lab.there("one", "check a.qcow2");
            break;
        }
        assert_eq!(fs::read(image("a.qcow2")).unwrap(), kept[0], "{cut}");
        assert_eq!(fs::read(image("b.qcow2")).unwrap(), kept[1], "{cut}");
    }
}

#[test]
fn what_an_agent_says_is_cut_anywhere_and_that_is_told() {
    let lab = Lab::new();
    let recorded = {
        let mut agent = Command::new(QANOPY)
            .arg("agent")
            .current_dir(lab.home("one"))
            .env("HOME", lab.home("one"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = agent.stdin.take().unwrap();
        let mut output = io::BufReader::new(agent.stdout.take().unwrap());
        let mut bytes = Vec::new();
        io::BufRead::read_until(&mut output, b'\n', &mut bytes).unwrap();
        let hello = ToAgent::Hello { protocol: PROTOCOL };
        hello.write(&mut input).unwrap();
        let run = ToAgent::Run(Run {
            id: 1,
            ..line("snapshot list a.qcow2")
        });
        run.write(&mut input).unwrap();
        loop {
            let message = FromAgent::read(&mut output).unwrap().unwrap();
            message.clone().write(&mut bytes).unwrap();
            if let FromAgent::Ended { .. } = message {
                break;
            }
        }
        drop(input);
        agent.wait().unwrap();
        bytes
    };
    let file = lab.home("one").join("recorded");
    fs::write(&file, &recorded).unwrap();
    let player = lab.home("one").join("player");
    let text = format!("#!/bin/sh\nexec head -c \"$1\" {}\n", file.display());
    program(&player, &text);
    for cut in 0..=recorded.len() {
        let entry = HostEntry {
            name: "one".to_owned(),
            ssh: vec![player.to_str().unwrap().to_owned(), cut.to_string()],
            agent: Some(QANOPY.to_owned()),
            ..HostEntry::default()
        };
        let to = Destination::of("one", &[entry], None);
        let (mut told, stops) = (Told::default(), AtomicUsize::new(0));
        let begun = Instant::now();
        let ended = Connection::open(&to, Patience::default(), &mut told, &stops)
            .and_then(|mut agent| agent.run(line("snapshot list a.qcow2"), &mut told, &stops));
        assert!(begun.elapsed() < Duration::from_secs(10), "{cut}");
        match ended {
            Ok(code) => assert_eq!((code, cut), (0, recorded.len())),
            Err(error) => {
                assert!(cut < recorded.len(), "{error}");
                assert!(
                    error.to_string().starts_with("one: ")
                        || error.to_string().contains("one was cut"),
                    "{cut}: {error}"
                );
            }
        }
    }
}

#[test]
fn an_answer_about_another_plan_runs_nothing() {
    let lab = Lab::new();
    let mut agent = Command::new(QANOPY)
        .arg("agent")
        .current_dir(lab.home("one"))
        .env("HOME", lab.home("one"))
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = agent.stdin.take().unwrap();
    let mut output = io::BufReader::new(agent.stdout.take().unwrap());
    io::BufRead::read_line(&mut output, &mut String::new()).unwrap();
    ToAgent::Hello { protocol: PROTOCOL }
        .write(&mut input)
        .unwrap();
    ToAgent::Run(Run {
        id: 1,
        ..line("discard b.qcow2")
    })
    .write(&mut input)
    .unwrap();
    let code = loop {
        match FromAgent::read(&mut output).unwrap().unwrap() {
            FromAgent::Said {
                said: Said::Question(mut question),
                ..
            } => {
                question.lines.pop();
                let answer = Answer {
                    digest: question.digest(),
                    typed: "y".to_owned(),
                };
                ToAgent::Answer { run: 1, answer }
                    .write(&mut input)
                    .unwrap();
            }
            FromAgent::Ended { code, .. } => break code,
            _ => {}
        }
    };
    assert_eq!(code, 4);
    assert!(lab.home("one").join("b.qcow2").exists());
    drop(input);
    agent.wait().unwrap();
}

#[test]
fn the_program_is_put_there_once_and_only_its_owner_may_touch_it() {
    let lab = Lab::new();
    let home = lab.home("new");
    fs::create_dir(&home).unwrap();
    let text = fs::read_to_string(lab.ssh()).unwrap();
    program(
        &lab.ssh(),
        &text.replace("cd \"$HOME\"", "umask 022\ncd \"$HOME\""),
    );
    lab.q("tree new:").with(0);
    let cache = home.join(".cache/qanopy");
    let stored = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&cache).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let [agent] = stored().try_into().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&agent), mode(&cache)), (0o700, 0o700));
    assert_eq!(fs::read(&agent).unwrap(), fs::read(QANOPY).unwrap());
    // That is for the program alone, whether it was just stored or was there.
    lab.q("create new:one.qcow2 8M").with(0);
    assert_eq!(mode(&home.join("one.qcow2")), 0o644);
    // One without bytes, as a crash may leave it, is stored anew.
    program(&agent, "");
    lab.q("create new:two.qcow2 8M").with(0);
    assert_eq!(mode(&home.join("two.qcow2")), 0o644);
    assert_eq!(fs::read(&agent).unwrap(), fs::read(QANOPY).unwrap());
    assert_eq!(stored(), [agent.as_path()]);
    // One that is there is started: it need not be this one.
    program(&agent, "#!/bin/sh\necho 'QANOPY agent 99 9.9'\n");
    let told = lab.q("tree new:").with(1);
    assert!(told.err.contains("9.9"), "{}", told.err);
    // What comes otherwise than it was sent is not kept.
    fs::remove_file(&agent).unwrap();
    let bin = home.join("bin");
    fs::create_dir(&bin).unwrap();
    program(
        &bin.join("sha256sum"),
        "#!/bin/sh\ncat >/dev/null; echo 00\n",
    );
    let enter = "cd \"$HOME\"";
    let path = format!("export PATH=\"{}:$PATH\"\n{enter}", bin.display());
    program(
        &lab.ssh(),
        &fs::read_to_string(lab.ssh()).unwrap().replace(enter, &path),
    );
    let told = lab.q("tree new:").with(1);
    assert!(told.err.contains("arrived damaged"), "{}", told.err);
    assert!(stored().is_empty(), "{:?}", stored());
    program(
        &bin.join("uname"),
        "#!/bin/sh\ncase $1 in -m) echo s390x;; *) echo Linux;; esac\n",
    );
    let told = lab.q("tree new:").with(1);
    assert!(told.err.contains("qanopy-agent-s390x"), "{}", told.err);
}

/// A host whose agent says this.
fn saying(lab: &Lab, bytes: &[u8]) -> Ended {
    fs::write(lab.hosts.path().join("said"), bytes).unwrap();
    let said = lab.hosts.path().join("said");
    program(
        &lab.ssh(),
        &format!("#!/bin/sh\ncat '{}'\nexec sleep 0.2\n", said.display()),
    );
    lab.q("tree odd:")
}

#[test]
fn an_agent_that_lies_ends_with_a_sentence_and_reaches_no_terminal() {
    let lab = Lab::new();
    let greeting = qanopy::fleet::greeting().into_bytes();
    let hello = |messages: &[FromAgent]| {
        let mut bytes = greeting.clone();
        let hello = qanopy::fleet::Hello {
            version: "\u{1b}[31m".to_owned(),
            read_only: false,
            restricted_to: None,
        };
        FromAgent::Hello(hello).write(&mut bytes).unwrap();
        for message in messages {
            message.clone().write(&mut bytes).unwrap();
        }
        bytes
    };
    let output = |run: u32, text: &[u8]| FromAgent::Output {
        run,
        stream: Stream::Out,
        bytes: text.to_vec(),
    };
    let question = FromAgent::Said {
        run: 1,
        said: Said::Question(Question {
            lines: vec!["\u{1b}[2J".to_owned()],
            prompt: "?".to_owned(),
            count: None,
        }),
    };
    let long = FromAgent::Said {
        run: 1,
        said: Said::Question(Question {
            lines: vec![String::new(); 20_000],
            prompt: "?".to_owned(),
            count: None,
        }),
    };
    for (bytes, code, says) in [
        (hello(&[long]), 1, "more than a person reads"),
        // A frame of a byte more than are taken.
        ([&greeting[..], &[1, 0, 16, 0, 1]].concat(), 1, "no message"),
        (Vec::new(), 1, "did not start"),
        (
            format!("QANOPY agent {} 9.9\n", PROTOCOL + 1).into_bytes(),
            1,
            "9.9",
        ),
        (b"QANOPY send\n".to_vec(), 1, "protocol"),
        (vec![b'x'; 1 << 20], 1, "without end"),
        ([&greeting[..], &[0xff; 64]].concat(), 1, "no message"),
        (hello(&[]), 1, "was cut"),
        (
            hello(&[FromAgent::Ended { run: 9, code: 0 }]),
            1,
            "nobody asked for",
        ),
        (hello(&[output(7, b"x")]), 1, "nobody asked for"),
        (
            hello(&[question, FromAgent::Ended { run: 1, code: 0 }]),
            0,
            "",
        ),
        (
            hello(&[
                output(1, b"\x1b[31mred\xff\n"),
                FromAgent::Ended { run: 1, code: 0 },
            ]),
            0,
            "",
        ),
        (
            hello(&[FromAgent::Denied {
                run: 1,
                why: "\u{1b}no".to_owned(),
            }]),
            4,
            "\\u{1b}no",
        ),
    ] {
        let told = saying(&lab, &bytes).with(code);
        assert!(told.err.contains(says), "{says}: {}", told.err);
        assert!(
            !told.out.contains('\u{1b}') && !told.err.contains('\u{1b}'),
            "{says}"
        );
    }
    // Noise that no reader may believe.
    let mut seed = 1_u64;
    for _ in 0..20 {
        let mut bytes = hello(&[]);
        for _ in 0..200 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push(seed.to_le_bytes()[5]);
        }
        let told = saying(&lab, &bytes).with(1);
        assert!(!told.err.contains("panicked"), "{}", told.err);
    }
}

#[test]
fn a_host_that_hangs_is_told_of_and_given_up() {
    let lab = Lab::new();
    let pid = lab.hosts.path().join("pid");
    let text = format!(
        "#!/bin/sh\nsleep 60 &\necho $! >'{}'\nwait\n",
        pid.display()
    );
    program(&lab.ssh(), &text);
    let to = Destination::of("web", &[], Some(lab.ssh().as_os_str()));
    let patience = Patience {
        mark: Duration::from_millis(200),
        give_up: Duration::from_millis(800),
    };
    let mut told = Told::default();
    let begun = Instant::now();
    let error = Connection::open(&to, patience, &mut told, &AtomicUsize::new(0)).unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error}");
    assert!(told.is_marked);
    assert!(begun.elapsed() < Duration::from_secs(10));
    // What the transport started itself is gone with it.
    let pid = fs::read_to_string(pid).unwrap();
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    };
    // It was told to end; the kernel takes its time.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_gone() {
        assert!(Instant::now() < deadline, "it lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    let left = Connection::open(&to, patience, &mut told, &AtomicUsize::new(1)).unwrap_err();
    assert!(matches!(left, Error::Left { .. }), "{left}");
}

#[test]
fn an_agent_of_its_own_account_only_reads_what_it_may() {
    let lab = Lab::new();
    let home = lab.home("one");
    // As `command=` of authorized_keys has it: what was asked for is not run.
    let forced = format!(
        "#!/bin/sh\nexport HOME='{home}'\nunset XDG_STATE_HOME\nexec {QANOPY} agent --read-only --restrict '{home}'\n",
        home = home.display()
    );
    let outside = lab.place.path().join("outside.qcow2");
    let secret = "a-name-nobody-may-see";
    lab.q(&format!("create {secret}.qcow2 8M")).with(0);
    lab.q(&format!("branch {secret}.qcow2 outside.qcow2 --yes"))
        .with(0);
    std::os::unix::fs::symlink(&outside, home.join("link.qcow2")).unwrap();
    assert!(lab.q("tree one:").out.contains(secret));
    fs::remove_dir_all(home.join(".local")).unwrap();
    program(&lab.ssh(), &forced);
    let shown = lab.q("tree one:").with(0);
    assert!(
        shown.out.contains("b.qcow2") && !shown.out.contains(secret),
        "{}",
        shown.out
    );
    // It goes on to no other machine, nor to itself by another name.
    let mut told = Told::default();
    let ended = lab
        .connection("one")
        .run(line("tree localhost:"), &mut told, &AtomicUsize::new(0));
    assert_eq!(ended.unwrap(), 1);
    assert!(told.out.is_empty());
    assert!(lab.q("info one:b.qcow2").with(0).out.contains("a.qcow2"));
    for words in [
        "discard one:b.qcow2 --yes",
        "info one:/etc/passwd",
        "tree one:/",
        "tree --follow one:",
        "undo one: --yes",
        "log one:",
        "machine list one:",
        "doctor one:",
        "check one:a.qcow2 --repair all --yes",
        "contents one:a.qcow2 --passphrase-file one:b.qcow2",
    ] {
        let told = lab.q(words).with(4);
        assert!(
            told.err.contains("one does not run it"),
            "{words}: {}",
            told.err
        );
    }
    assert!(!home.join(".local").exists());
    let told = Command::new(QANOPY)
        .args(["agent", "--restrict", "/"])
        .stdin(Stdio::null())
        .output();
    assert_eq!(told.unwrap().status.code(), Some(2));
}

#[test]
fn a_real_server_tells_its_images_and_who_is_not_let_in_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path()) else {
        return;
    };
    let lab = Lab::new();
    let home = lab.home("one");
    let entry = |ssh: &str| {
        let agent = dir.path().join("agent");
        // The home of whoever runs the tests is left alone.
        program(
            &agent,
            &format!(
                "#!/bin/sh\nexport HOME='{}'\nexec {QANOPY} \"$@\"\n",
                home.display()
            ),
        );
        HostEntry {
            name: "127.0.0.1".to_owned(),
            ssh: ssh.split(' ').map(str::to_owned).collect(),
            agent: Some(agent.display().to_string()),
            ..HostEntry::default()
        }
    };
    let stops = AtomicUsize::new(0);
    let mut told = Told {
        answer: "y".to_owned(),
        ..Told::default()
    };
    let to = Destination::of("127.0.0.1", &[entry(&server.ssh)], None);
    let mut connection = Connection::open(&to, Patience::default(), &mut told, &stops).unwrap();
    let image = home.join("b.qcow2");
    let words = format!("info {} --json", image.display());
    assert_eq!(connection.run(line(&words), &mut told, &stops).unwrap(), 0);
    let document: Value = serde_json::from_slice(&told.out).unwrap();
    assert_eq!(document["result"]["backing-filename"], "a.qcow2");
    let words = format!("discard {}", image.display());
    assert_eq!(connection.run(line(&words), &mut told, &stops).unwrap(), 0);
    assert!(!image.exists());
    let other = server.ssh.replace("/user ", "/host ");
    let to = Destination::of("127.0.0.1", &[entry(&other)], None);
    let error = Connection::open(&to, Patience::default(), &mut told, &stops).unwrap_err();
    assert_eq!(error.kind(), "host-not-let-in", "{error}");
    fs::write(dir.path().join("known"), "").unwrap();
    let to = Destination::of("127.0.0.1", &[entry(&server.ssh)], None);
    let error = Connection::open(&to, Patience::default(), &mut told, &stops).unwrap_err();
    assert_eq!(error.kind(), "host-unknown-key", "{error}");
}
