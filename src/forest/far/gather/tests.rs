use super::*;
use std::path::Path;

use crate::forest::Sharing;
use crate::forest::insert::tests::image;
use crate::machines::{Disk, MachineState, NamedFile};

/// A file of a machine: 0 for this one.
fn of(machine: u16, mut file: ScannedFile) -> ScannedFile {
    let number = std::num::NonZeroU16::new(machine);
    let id = |id: FileId| number.map_or(id, |number| id.on_machine(number).unwrap());
    if let Some(stat) = &mut file.stat {
        stat.id = id(stat.id);
    }
    if let Some(link) = &mut file.backing
        && let BackingState::Present(base) = &mut link.state
    {
        link.outside = None;
        *base = id(*base);
    }
    file
}

/// The same on storage that it shares, by inode numbers of the server.
fn shared(mut file: ScannedFile, name: &str, is_read_only: bool) -> ScannedFile {
    file.sharing = Some(Box::new(Sharing {
        name: Path::new(name).into(),
        keeps_inodes: true,
        is_read_only,
        seen_as: Vec::new(),
    }));
    file
}

fn nas(machine: u16, path: &str, inode: u64) -> ScannedFile {
    let file = of(machine, image(path, inode, None));
    shared(file, "nas:/e/a", false)
}

struct Machine {
    name: &'static str,
    files: Vec<ScannedFile>,
    held: HashMap<FileId, Vec<Holder>>,
    machines: Machines,
}

fn machine(name: &'static str, files: Vec<ScannedFile>) -> Machine {
    Machine {
        name,
        files,
        held: HashMap::new(),
        machines: Machines::default(),
    }
}

fn gathered(here: Vec<ScannedFile>, machines: &[Machine]) -> Forest {
    let mut forest = Forest::new();
    forest.extend(here);
    let told = machines.iter().map(|one| Told {
        host: one.name,
        files: &one.files,
        held: &one.held,
        machines: &one.machines,
    });
    forest.gather(&told.collect::<Vec<_>>());
    forest
}

/// Each image with those that see it, and with what it is built on.
fn rows(forest: &Forest) -> Vec<(String, String, String)> {
    let name = |node: &Node| node.path.display().to_string();
    let row = |node: &Node| {
        let base = node.parent.and_then(|id| forest.get(id));
        (
            name(node),
            forest.hosts_of(node, "here").join(" "),
            base.map(name).unwrap_or_default(),
        )
    };
    let mut rows: Vec<_> = forest.nodes().map(row).collect();
    rows.sort();
    rows
}

fn row(path: &str, hosts: &str, base: &str) -> (String, String, String) {
    (path.to_owned(), hosts.to_owned(), base.to_owned())
}

#[test]
fn what_several_machines_see_is_one_image_and_all_that_is_built_on_it() {
    let overlay = |machine, path: &str, base: &str| {
        let mut file = of(machine, image(path, 90, Some((base, Some(7)))));
        file.sharing = None;
        file
    };
    let one = machine("one", vec![nas(1, "one:/n/a", 7)]);
    let two = machine(
        "two",
        vec![nas(2, "two:/m/a", 7), overlay(2, "two:/own", "two:/m/a")],
    );
    let expected = [
        row("one:/n/a", "one two", ""),
        row("two:/own", "two", "one:/n/a"),
    ];
    let far = gathered(Vec::new(), &[one, two]);
    assert_eq!(rows(&far), expected);
    let names = |forest: &Forest, path: &str| {
        let node = forest.by_path(Path::new(path)).unwrap();
        forest.names_on_hosts(node, "here")
    };
    assert_eq!(
        names(&far, "one:/n/a"),
        ["one:/n/a", "two:/m/a"].map(PathBuf::from)
    );
    assert!(names(&far, "two:/own").is_empty());

    // This machine comes before all others, wherever it is named.
    let others = [
        machine("one", vec![nas(1, "one:/n/a", 7)]),
        machine(
            "two",
            vec![overlay(2, "two:/own", "two:/m/a"), nas(2, "two:/m/a", 7)],
        ),
    ];
    let here = vec![nas(0, "/z/a", 7)];
    let mut all = gathered(here.clone(), &others);
    let expected = [
        row("/z/a", "here one two", ""),
        row("two:/own", "two", "/z/a"),
    ];
    assert_eq!(rows(&all), expected);
    assert_eq!(
        names(&all, "/z/a"),
        ["here:/z/a", "one:/n/a", "two:/m/a"].map(PathBuf::from)
    );
    // What is left of it without the others is as it was.
    let alone = all.here();
    assert_eq!(rows(&alone), [row("/z/a", "", "")]);
    assert!(alone.nodes().all(|node| alone.is_leaf(node)));
    assert_eq!(alone.roots(), gathered(here, &[]).roots());
    all.gather(&[]);
    assert_eq!(rows(&all)[0], row("/z/a", "", ""));
}

#[test]
fn who_may_write_comes_first_and_of_those_the_first_that_is_named() {
    let read_only = |machine, path| {
        let file = of(machine, image(path, 7, None));
        shared(file, "nas:/e/a", true)
    };
    let machines = [
        machine("one", vec![read_only(1, "one:/a")]),
        machine("two", vec![nas(2, "two:/a", 7)]),
        machine("three", vec![nas(3, "three:/a", 7)]),
    ];
    let forest = gathered(Vec::new(), &machines);
    assert_eq!(rows(&forest), [row("two:/a", "two one three", "")]);
    let forest = gathered(vec![read_only(0, "/a")], &machines);
    assert_eq!(rows(&forest), [row("/a", "here one two three", "")]);
}

#[test]
fn what_is_only_called_alike_is_two_images() {
    let one = || machine("one", vec![nas(1, "one:/a", 7)]);
    let separate = |file: ScannedFile| {
        let forest = gathered(Vec::new(), &[one(), machine("two", vec![file])]);
        assert_eq!(forest.nodes().count(), 2);
        assert!(
            forest
                .nodes()
                .all(|node| forest.hosts_of(node, "here").len() == 1)
        );
    };
    // Another server of that name, another file there, other contents, or nobody knows.
    separate(nas(2, "two:/a", 8));
    separate(shared(of(2, image("two:/a", 7, None)), "nas:/e/b", false));
    separate(of(2, image("two:/a", 7, None)));
    let with = |content| ScannedFile {
        content,
        ..nas(2, "two:/a", 7)
    };
    separate(with(Content::Raw));
    separate(with(Content::Unreadable("denied".to_owned())));
    // Where numbers are made up, the length and the last change have to be the same.
    let sshfs = |machine, path: &str, inode, len| {
        let mut file = nas(machine, path, inode);
        file.sharing.as_mut().unwrap().keeps_inodes = false;
        file.stat.as_mut().unwrap().len = len;
        file
    };
    for (len, images) in [(5, 1), (6, 2)] {
        let first = machine("one", vec![sshfs(1, "one:/a", 7, 5)]);
        let second = machine("two", vec![sshfs(2, "two:/a", 12, len)]);
        let forest = gathered(Vec::new(), &[first, second]);
        assert_eq!(forest.nodes().count(), images, "{len}");
    }
}

#[test]
fn a_machine_that_lies_takes_the_place_of_no_image_and_changes_none() {
    let honest = || {
        vec![
            nas(1, "one:/a", 7),
            of(1, image("one:/o", 8, Some(("one:/a", Some(7))))),
        ]
    };
    let mut lies = vec![nas(2, "evil:/x", 7), nas(2, "evil:/y", 7)];
    // Its overlay says that the base is raw.
    let mut raw = of(2, image("evil:/o", 9, Some(("evil:/x", Some(7)))));
    std::sync::Arc::make_mut(&mut raw.backing.as_mut().unwrap().recorded).format =
        Some(Format::Raw);
    lies.push(raw);
    let alone = gathered(Vec::new(), &[machine("one", honest())]);
    let forest = gathered(
        Vec::new(),
        &[machine("one", honest()), machine("evil", lies)],
    );
    for path in ["one:/a", "one:/o"] {
        let of = |forest: &Forest| {
            let node = forest.by_path(Path::new(path)).unwrap();
            (
                node.content.clone(),
                node.path.clone(),
                node.problems.clone(),
            )
        };
        assert_eq!(of(&forest), of(&alone));
    }
    let base = forest.by_path(Path::new("one:/a")).unwrap();
    assert_eq!(forest.hosts_of(base, "here"), ["one", "evil"]);
}

#[test]
fn who_has_it_open_is_told_with_the_machine_that_it_is_on() {
    let holder = |pid, writes| Holder {
        pid,
        command: "qemu".to_owned(),
        machine: None,
        writes,
        locks: true,
        host: None,
    };
    let mut here = nas(0, "/a", 7);
    here.holders = vec![Holder::unseen(true)];
    let mut one = machine("one", vec![nas(1, "one:/a", 7)]);
    let id = one.files[0].stat.as_ref().unwrap().id;
    one.held = HashMap::from([(id, vec![holder(12, true)])]);
    let forest = gathered(vec![here.clone()], &[one]);
    let held = |forest: &Forest| {
        let node = forest.by_path(Path::new("/a")).unwrap();
        let told: Vec<String> = node.holders.iter().map(ToString::to_string).collect();
        told
    };
    // Whose locks are seen here is known there.
    assert_eq!(held(&forest), ["qemu (process 12 on one)"]);
    assert!(held(&forest.here()).is_empty());

    here.holders = vec![holder(3, false)];
    let mut one = machine("one", vec![nas(1, "one:/a", 7)]);
    one.held = HashMap::from([(id, vec![Holder::unseen(true)])]);
    let forest = gathered(vec![here], &[one]);
    assert_eq!(
        held(&forest),
        ["qemu (process 3)", "a process on one that cannot be seen"]
    );
    assert_eq!(held(&forest.here()), ["qemu (process 3)"]);
}

/// A machine of a host with one disk, of which the name is known, or the file as well.
fn vm(
    host: Option<&str>,
    name: &str,
    disk: &str,
    file: Option<FileId>,
) -> crate::machines::Machine {
    crate::machines::Machine {
        product: "libvirt",
        host: host.map(Into::into),
        place: "qemu:///system".to_owned(),
        name: name.to_owned(),
        id: None,
        state: MachineState::Off,
        disks: vec![Disk {
            target: "vda".to_owned(),
            file: NamedFile {
                path: disk.into(),
                file,
            },
            format: None,
            pinned: Vec::new(),
            pin_ends: false,
            read_only: false,
        }],
        snapshots: Vec::new(),
        checkpoints: Vec::new(),
        managed_by: None,
    }
}

fn used_by(forest: &Forest, path: &str) -> Vec<String> {
    let node = forest.by_path(Path::new(path)).unwrap();
    let uses = forest.uses(node).into_iter();
    uses.map(|used| used.machine.to_string()).collect()
}

#[test]
fn a_machine_uses_the_images_of_its_own_host_and_those_that_are_shared() {
    let file = |file: &ScannedFile| file.stat.as_ref().map(|stat| stat.id);
    let own = |number, path: &str| of(number, image(path, 50, None));
    let with = |mut host: Machine, list: Vec<crate::machines::Machine>| {
        host.machines = Machines::of(list, Vec::new());
        host
    };
    let seen = nas(2, "two:/m/a", 7);
    let (by_link, same_number) = (file(&seen), file(&own(2, "two:/x")));
    let one = with(
        machine("one", vec![nas(1, "one:/n/a", 7), own(1, "one:/x")]),
        vec![vm(Some("one"), "web", "one:/x", None)],
    );
    let two = with(
        machine("two", vec![seen]),
        vec![
            vm(Some("two"), "web", "two:/x", same_number),
            vm(Some("two"), "by name", "two:/m/a", None),
            vm(Some("two"), "by file", "two:/link", by_link),
        ],
    );
    let mut forest = Forest::new();
    forest.extend([image("/x", 50, None)]);
    let here = vec![vm(None, "web", "/x", None)];
    forest.note_machines(Arc::new(Machines::of(here, Vec::new())));
    let told = [&one, &two].map(|one| Told {
        host: one.name,
        files: &one.files,
        held: &one.held,
        machines: &one.machines,
    });
    forest.gather(&told);
    assert_eq!(used_by(&forest, "/x"), ["web (libvirt, off)"]);
    assert_eq!(used_by(&forest, "one:/x"), ["web (libvirt on one, off)"]);
    let shared = [
        "by name (libvirt on two, off)",
        "by file (libvirt on two, off)",
    ];
    assert_eq!(used_by(&forest, "one:/n/a"), shared);
    let node = forest.by_path(Path::new("one:/n/a")).unwrap();
    let words = ["by name on two: off", "by file on two: off"];
    assert_eq!(crate::forest::machine_words(&forest, node), words);
    let node = forest.by_path(Path::new("one:/x")).unwrap();
    assert_eq!(crate::forest::machine_words(&forest, node), ["web: off"]);
    assert_eq!(forest.all_machines().count(), 5);
    assert_eq!(forest.machine_at(1).unwrap().host.as_deref(), Some("one"));

    // Whoever opens files knows none of theirs, and what they no longer tell is gone.
    let here = forest.here();
    assert_eq!(here.all_machines().count(), 1);
    forest.gather(&told[..1]);
    assert_eq!(forest.all_machines().count(), 2);
}
