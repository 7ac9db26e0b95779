//! Storage that several hosts see. The hosts have processes and mounts of their own, and each mounts the same folder by
//! sshfs: two machines in all that the program can tell.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use qanopy::fleet::{
    Connection, Destination, Ends, HostEntry, Moved, Patience, PeerAnswer, PeerQuery, Peers,
    Question, Run, Stream, Watcher,
};

use serde_json::{Value, json};

use crate::commands::Ended;
use crate::hosts::Lab;
use crate::support::lab::program;
use crate::support::qemu::{Qemu, qemu};

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");
/// Where distributions have the program that serves files to sshfs.
const SERVERS: [&str; 3] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// A machine: its first process ends all others with it.
struct Machine {
    child: Child,
    pid: String,
}

impl Machine {
    /// A command that runs there, in that folder.
    fn command(&self, dir: &Path, name: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.pid, "-m", "-p"])
            .arg(format!("--wdns={}", dir.display()))
            .args(["--", name]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.pid.is_empty() {
            let _ = Command::new("kill").args(["-9", &self.pid]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same storage, mounted on this machine.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-uz").arg(&self.0).status();
    }
}

/// The words that mount the storage at a folder.
fn sshfs(lab: &Lab, store: &Path, at: &Path) -> String {
    format!(
        "sshfs nas:{} {} -o ssh_command={}",
        store.display(),
        at.display(),
        lab.hosts.path().join("to-nas").display()
    )
}

/// The hosts one and two, each with `nas` on which base.qcow2 <- over.qcow2 are.
struct Shared {
    lab: Lab,
    store: PathBuf,
    _one: Machine,
    two: Machine,
    _here: Mounted,
    qemu: Qemu,
}

impl Shared {
    /// None where something for it is missing.
    fn new() -> Option<Self> {
        let lab = Lab::new();
        let store = lab.hosts.path().join("store");
        fs::create_dir(&store).unwrap();
        let qemu = qemu()?.within(&store);
        let server = SERVERS.iter().find(|path| Path::new(path).exists());
        let is_root = nix::unistd::geteuid().is_root();
        let has = |name: &str| Command::new(name).arg("-V").output().is_ok();
        let Some(server) = server.filter(|_| is_root && has("sshfs") && has("nsenter")) else {
            let _ = io::stderr().write_all(b"SKIPPED (no sshfs, not root?): shared storage\n");
            return None;
        };
        program(
            &lab.hosts.path().join("to-nas"),
            &format!("#!/bin/sh\nexec {server}\n"),
        );
        qemu.img(&["create", "-q", "-f", "qcow2", "base.qcow2", "8M"]);
        qemu.img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            "base.qcow2",
            "over.qcow2",
        ]);
        qemu.io(store.join("over.qcow2"), &["write -P 7 1M 1M"]);
        let [one, two] = ["one", "two"].map(|name| machine(&lab, &store, name));
        // Those do not see what is mounted here from now on.
        let here = lab.place.path().join("nas");
        fs::create_dir(&here).unwrap();
        let mounted = sshfs(&lab, &store, &here);
        let mounted = Command::new("sh").args(["-c", &mounted]).status();
        assert!(mounted.unwrap().success());
        let shared = Self {
            lab,
            store,
            _one: one?,
            two: two?,
            _here: Mounted(here),
            qemu,
        };
        Some(shared)
    }

    /// Runs a command line on a host.
    fn there(&self, host: &Machine, name: &str, words: &str) -> Ended {
        let home = self.lab.home(name);
        let mut command = host.command(&home, QANOPY);
        command
            .args(words.split(' '))
            .env("HOME", &home)
            .env("QANOPY_SSH", self.lab.ssh())
            .env("XDG_CONFIG_HOME", self.lab.hosts.config())
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null());
        Ended::of(command.output().unwrap())
    }

    /// Has an image open for writing on the host two, as a machine that runs has.
    fn held(&self, image: &Path) -> Held {
        let mut command = self.two.command(&self.store, "qemu-io");
        command
            .args(["-f", "qcow2"])
            .arg(image)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"length\n").unwrap();
        let mut told = [0; 9];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut told).unwrap();
        Held {
            child,
            input: Some(input),
        }
    }
}

struct Held {
    child: Child,
    input: Option<std::process::ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn machine(lab: &Lab, store: &Path, name: &str) -> Option<Machine> {
    let at = lab.home(name).join("nas");
    fs::create_dir(&at).unwrap();
    let ready = lab.hosts.path().join(format!("{name}.ready"));
    let script = format!(
        "{} && touch {} && exec sleep 1000",
        sshfs(lab, store, &at),
        ready.display()
    );
    let started = Command::new("unshare")
        .args(["-m", "-p", "-f", "--mount-proc", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut machine = Machine {
        child: started,
        pid: String::new(),
    };
    let begun = Instant::now();
    while !ready.exists() {
        if begun.elapsed() > Duration::from_secs(20) {
            let _ = io::stderr().write_all(b"SKIPPED (nothing can be mounted): shared storage\n");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let children = format!("/proc/{0}/task/{0}/children", machine.child.id());
    machine.pid = fs::read_to_string(children).unwrap().trim().to_owned();
    let noted = lab.hosts.path().join(format!("{name}.pid"));
    fs::write(noted, &machine.pid).unwrap();
    Some(machine)
}

#[test]
fn what_another_host_uses_is_not_touched() {
    let Some(shared) = Shared::new() else { return };
    let lab = &shared.lab;
    let [base, over] = ["base.qcow2", "over.qcow2"].map(|name| shared.store.join(name));
    let kept = [&base, &over].map(|path| fs::read(path).unwrap());
    let unchanged = || {
        for (path, kept) in [&base, &over].into_iter().zip(&kept) {
            assert!(fs::read(path).unwrap() == *kept, "{}", path.display());
        }
    };
    // Nobody uses it: what cannot be seen is said, and who did not answer.
    let commit = "commit one:nas/over.qcow2";
    let planned = lab.q(&format!("{commit} --dry-run")).with(0).out;
    assert!(planned.contains("sshfs passes none on"), "{planned}");
    assert!(planned.contains("the other hosts were asked"), "{planned}");
    assert!(planned.contains("whether odd uses"), "{planned}");
    assert!(!planned.contains("two"), "{planned}");
    // What a process there has open.
    let two = lab.home("two");
    for image in ["over.qcow2", "base.qcow2"] {
        let held = shared.held(&two.join("nas").join(image));
        let told = lab.q(&format!("{commit} --yes")).with(4);
        assert!(
            told.err.contains("is in use on two by qemu-io"),
            "{}",
            told.err
        );
        // Nothing is done to the base by this.
        let code = if image == "over.qcow2" { 4 } else { 0 };
        lab.q("discard one:nas/over.qcow2 --dry-run").with(code);
        // The same from this machine, which sees the storage as well.
        let told = lab.q("commit nas/over.qcow2 --yes").with(4);
        assert!(
            told.err.contains("is in use on two by qemu-io"),
            "{}",
            told.err
        );
        drop(held);
    }
    unchanged();
    // What is built on it there, on a disk that nobody else sees.
    let words = "branch nas/base.qcow2 own.qcow2 --yes";
    shared.there(&shared.two, "two", words).with(0);
    // As whoever looks at the folder has it remembered.
    shared.there(&shared.two, "two", "tree .").with(0);
    let told = lab.q(&format!("{commit} --yes")).with(4);
    let own = two.join("own.qcow2");
    assert!(
        told.err
            .contains(&format!("two has {}, which is built on", own.display())),
        "{}",
        told.err
    );
    fs::remove_file(&own).unwrap();
    // The disk of a machine that is off.
    let domains = two.join(".config/libvirt/qemu");
    fs::create_dir_all(&domains).unwrap();
    let disk = two.join("nas/over.qcow2");
    let domain = format!(
        "<domain type='kvm'><name>web</name><devices><disk type='file' device='disk'>\
         <driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vda'/></disk></devices></domain>",
        disk.display()
    );
    fs::write(domains.join("web.xml"), domain).unwrap();
    let told = lab.q("discard one:nas/over.qcow2 --yes").with(4);
    assert!(
        told.err.contains("a disk of the machine web"),
        "{}",
        told.err
    );
    lab.q("discard one:nas/over.qcow2 --despite-machines --confirm 1 --dry-run")
        .with(0);
    fs::remove_file(domains.join("web.xml")).unwrap();
    unchanged();
    // That both see the overlay, and that it reads the base, the plan knew all the time.
    let wanted = shared.store.join("wanted.raw");
    shared
        .qemu
        .img(&["convert", "-O", "raw", "over.qcow2", "wanted.raw"]);
    lab.q(&format!("{commit} --confirm 1")).with(0);
    let [base, wanted] = [&base, &wanted].map(|path| path.to_str().unwrap());
    shared.qemu.img(&["compare", base, wanted]);
}

#[test]
fn what_several_hosts_see_is_told_once() {
    let Some(shared) = Shared::new() else { return };
    let lab = &shared.lab;
    let two = lab.home("two");
    let words = "branch nas/base.qcow2 own.qcow2 --yes";
    shared.there(&shared.two, "two", words).with(0);
    let nas = |host: &str| match host {
        "localhost" => lab.place.path().join("nas"),
        host => lab.home(host).join("nas"),
    };
    let seen = |image: &str, hosts: &[&str]| {
        let one = |host: &&str| json!({ "host": host, "path": nas(host).join(image) });
        Value::from(hosts.iter().map(one).collect::<Vec<_>>())
    };
    let images = |host: &Value| -> Vec<String> {
        let images = host["result"]["images"].as_array().unwrap().iter();
        let path = |image: &Value| PathBuf::from(image["path"].as_str().unwrap());
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<String> = images.map(path).map(name).collect();
        names.sort();
        names
    };
    let document = lab
        .q("tree one:nas nas two:nas two:own.qcow2 --json")
        .with(0)
        .json();
    let hosts = document["hosts"].as_array().unwrap();
    assert_eq!(images(&hosts[0]), ["base.qcow2", "over.qcow2"]);
    assert_eq!(images(&hosts[1]), [""; 0]);
    assert_eq!(images(&hosts[2]), ["own.qcow2"]);
    for image in hosts[0]["result"]["images"].as_array().unwrap() {
        let name = Path::new(image["path"].as_str().unwrap())
            .file_name()
            .unwrap();
        let name = name.to_str().unwrap();
        let hosts = ["one", "localhost", "two"];
        assert_eq!(image["seen-by"], seen(name, &hosts), "{image}");
        let store = shared.store.join(name);
        let storage = format!("nas:{}", store.display());
        assert_eq!(image["storage"]["name"], storage);
    }
    // The same for people; a tree with an image that no other sees is told whole.
    let told = lab.q("tree one:nas nas").with(0).out;
    let (first, second) = told.split_once("\nlocalhost:\n").unwrap();
    assert!(first.contains("over.qcow2"), "{told}");
    let base = nas("localhost").join("base.qcow2");
    let line = format!(
        "(told above, since one sees the same storage: {})\n",
        base.display()
    );
    assert_eq!(second, line);
    let told = lab.q("tree one:nas two:nas two:own.qcow2").with(0).out;
    let (_, second) = told.split_once("\ntwo:\n").unwrap();
    assert!(
        second.contains("own.qcow2") && !second.contains("told above"),
        "{told}"
    );
    fs::remove_file(two.join("own.qcow2")).unwrap();

    // It takes its space once, and what is wrong with it or not needed is told once.
    let document = lab.q("space one:nas two:nas --json").with(0).json();
    let disk = |host: usize| {
        document["hosts"][host]["result"]["total"]["disk"]
            .as_u64()
            .unwrap()
    };
    assert!(disk(0) > 0 && disk(1) == 0, "{document}");
    let document = lab
        .q("garbage one:nas two:nas --older-than 0 --json")
        .with(3)
        .json();
    let frees = |host: usize| document["hosts"][host]["result"]["frees"].as_u64().unwrap();
    assert!(frees(0) > 0 && frees(1) == 0, "{document}");
    // The same sums for people.
    let told = lab.q("space one:nas two:nas").with(0).out;
    let (first, second) = told.split_once("\ntwo:\n").unwrap();
    assert!(first.contains("all, 2 images"), "{told}");
    assert!(second.contains("all, 0 images"), "{told}");
    let told = lab.q("garbage one:nas two:nas --older-than 0").with(3).out;
    let (first, second) = told.split_once("\ntwo:\n").unwrap();
    assert!(
        first.contains(" in all,") && !first.contains("  0 B "),
        "{told}"
    );
    assert!(second.contains("  0 B  "), "{told}");
}

#[test]
fn a_leaf_that_several_hosts_see_is_pruned_once_and_not_while_another_uses_it() {
    let Some(shared) = Shared::new() else { return };
    let lab = &shared.lab;
    let over = shared.store.join("over.qcow2");
    let before = fs::read(&over).unwrap();
    let line = "prune one:nas two:nas --older-than 0";
    let document = lab.q(&format!("{line} --json")).with(0).json();
    let number = |host: usize| {
        let candidates = &document["hosts"][host]["result"]["candidates"];
        candidates.as_array().unwrap().len()
    };
    assert_eq!((number(0), number(1)), (1, 0), "{document}");
    let told = lab.q(line).with(0).out;
    assert_eq!(told.matches("over.qcow2").count(), 2, "{told}");
    assert!(
        told.contains("(told above, since one sees the same storage: "),
        "{told}"
    );
    // The other host has it open.
    let held = shared.held(&lab.home("two").join("nas/over.qcow2"));
    let told = lab.q(&format!("{line} --all --yes")).with(4);
    assert!(
        told.err.contains("is in use on two by qemu-io"),
        "{}",
        told.err
    );
    assert!(fs::read(&over).unwrap() == before);
    drop(held);
    // Once it is gone, the second has nothing to do.
    let told = lab.q(&format!("{line} --all --yes")).with(0).out;
    assert!(!over.exists(), "{told}");
    let (first, second) = told.split_once("\ntwo:\n").unwrap();
    assert!(first.contains("to the trash"), "{told}");
    assert!(second.contains("No leaf is unused"), "{told}");
}

#[test]
fn what_is_wrong_with_an_image_that_several_hosts_see_is_told_once() {
    let Some(shared) = Shared::new() else { return };
    let lab = &shared.lab;
    let words = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-F",
        "qcow2",
        "-b",
        "gone.qcow2",
        "lost.qcow2",
        "8M",
    ];
    shared.qemu.img(&words);
    let document = lab.q("doctor one:nas two:nas --json").with(3).json();
    let found = |host: usize, kind: &str| {
        let findings = document["hosts"][host]["result"]["findings"]
            .as_array()
            .unwrap();
        findings.iter().filter(|one| one["kind"] == kind).count()
    };
    assert_eq!(
        (found(0, "missing-backing"), found(1, "missing-backing")),
        (1, 0),
        "{document}"
    );
    let told = lab.q("doctor one:nas two:nas").with(3).out;
    assert_eq!(
        told.matches("! ").count(),
        told.split("\ntwo:\n").next().unwrap().matches("! ").count()
    );
    assert!(
        told.contains("(told above, since one sees the same storage: "),
        "{told}"
    );
}

#[test]
fn hosts_that_are_only_named_are_asked_as_well() {
    let Some(shared) = Shared::new() else { return };
    let lab = &shared.lab;
    let nothing = tempfile::tempdir().unwrap();
    let config = [("XDG_CONFIG_HOME", nothing.path().to_str().unwrap())];
    let line = "garbage one:nas two:nas --older-than 0 --discard --dry-run";
    let told = lab.q_with(line, &config).with(0);
    assert!(
        told.out
            .contains("the other hosts were asked who uses them"),
        "{}",
        told.out
    );
    let held = shared.held(&lab.home("two").join("nas/over.qcow2"));
    let told = lab.q_with(line, &config).with(4);
    assert!(
        told.err.contains("one: ") && told.err.contains("is in use on two by qemu-io"),
        "{}",
        told.err
    );
    drop(held);
}

#[test]
fn a_discard_is_taken_back_where_inode_numbers_are_made_up() {
    let Some(shared) = Shared::new() else { return };
    let lab = &shared.lab;
    let over = shared.store.join("over.qcow2");
    let before = fs::read(&over).unwrap();
    lab.q("discard one:nas/over.qcow2 --yes").with(0);
    assert!(!over.exists());
    lab.q("undo one: --yes").with(0);
    assert!(fs::read(&over).unwrap() == before);
    // Nothing is left of the trash, and what has its name by now stays.
    lab.q("discard one:nas/over.qcow2 --yes").with(0);
    fs::write(&over, "another").unwrap();
    let told = lab.q("undo one: --yes").with(4);
    assert!(told.err.contains("has changed since"), "{}", told.err);
    assert_eq!(fs::read(&over).unwrap(), b"another");
}

/// A person who agrees, while somebody begins to use the image on the host two.
struct Slow<'a> {
    shared: &'a Shared,
    peers: Peers,
    held: Option<Held>,
    err: Vec<u8>,
}

impl Watcher for Slow<'_> {
    fn silent(&mut self, _: &str, _: u64) {}
}

impl Ends for Slow<'_> {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Err {
            self.err.extend(bytes);
        }
        Ok(())
    }

    fn asked(&mut self, question: &Question) -> io::Result<String> {
        let image = self.shared.lab.home("two").join("nas/over.qcow2");
        self.held = Some(self.shared.held(&image));
        Ok(question
            .count
            .map_or("y".to_owned(), |count| count.to_string()))
    }

    fn moved(&mut self, _: &Moved) {}

    fn peers_asked(&mut self, query: &PeerQuery) -> Vec<PeerAnswer> {
        self.peers.ask(query, &AtomicUsize::new(0))
    }
}

#[test]
fn what_another_host_begins_to_use_meanwhile_is_not_touched() {
    let Some(shared) = Shared::new() else { return };
    let entry = |name: &str| HostEntry {
        name: name.to_owned(),
        agent: Some(QANOPY.to_owned()),
        ..HostEntry::default()
    };
    let ssh = shared.lab.ssh();
    let to = |name: &str| Destination::of(name, &[entry(name)], Some(ssh.as_os_str()));
    let before = fs::read(shared.store.join("base.qcow2")).unwrap();
    let mut ends = Slow {
        shared: &shared,
        peers: Peers::hosts([to("two")]),
        held: None,
        err: Vec::new(),
    };
    let stops = AtomicUsize::new(0);
    let mut connection =
        Connection::open(&to("one"), Patience::default(), &mut ends, &stops).unwrap();
    let run = Run {
        asks: true,
        ..Run::new(["commit", "nas/over.qcow2"].map(Into::into).into(), "one")
    };
    let code = connection.run(run, &mut ends, &stops).unwrap();
    let err = String::from_utf8(std::mem::take(&mut ends.err)).unwrap();
    assert!(ends.held.is_some(), "{err}");
    assert_ne!(code, 0, "{err}");
    assert!(err.contains("is in use on two by qemu-io"), "{err}");
    assert_eq!(fs::read(shared.store.join("base.qcow2")).unwrap(), before);
}
