//! Plans know the machines that are defined: what would take a disk from one, show it other bytes, or no longer
//! fit what is kept of it, is refused, and done only by number; what could not be asked is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qanopy::forest::{ScanOptions, changed_since, refreshed};
use qanopy::host::{Host, RealHost};
use qanopy::machines::{Home, Machine, MachineSnapshot, MachineState, Machines, Places, Unasked};
use qanopy::ops::{
    self, BackingStyle, Branch, BranchMachine, CloneMachine, Commit, CommittedLayer, Confirm,
    Context, Danger, DiskBranch, DiskRevert, Error, MoveImages, NewSize, Plan, Rebase, RefusalKind,
    Relink, Relocation, Request, Resize, RevertMachine, Siblings, Squash,
};

use crate::support::planning::{context, execute, execute_request, machine_of, named, words};
use crate::support::{Qemu, qemu};

/// `root`, on it `a`, on that `a1` and `a2`.
fn small_forest(qemu: &Qemu) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "root", "1M"]);
    for (base, name) in [("root", "a"), ("a", "a1"), ("a", "a2")] {
        here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", base, name]);
        here.io(name, &["write -P 7 0 64k"]);
    }
    dir
}

fn known(dir: &Path, machines: Vec<Machine>) -> Context {
    knowing(dir, Machines::of(machines, Vec::new()))
}

fn knowing(dir: &Path, machines: Machines) -> Context {
    let mut context = context(Arc::new(RealHost), dir);
    context.know_machines(Arc::new(machines));
    context
}

fn is_refused_for_machine(plan: &Plan) -> bool {
    let kinds: Vec<_> = plan.refusals.iter().map(|refusal| refusal.kind).collect();
    if kinds.contains(&RefusalKind::Machine) {
        assert!(
            kinds.iter().all(|kind| *kind == RefusalKind::Machine),
            "{plan:?}"
        );
        return true;
    }
    assert_eq!(kinds, [], "{}", words(plan));
    false
}

fn refused(dir: &Path, machine: &Machine, request: impl Into<Request>) -> bool {
    let context = known(dir, vec![machine.clone()]);
    is_refused_for_machine(&ops::plan(&context, &request.into()))
}

fn discard(path: PathBuf) -> Request {
    Request::discard(vec![path])
}

fn commit(overlay: PathBuf) -> Commit {
    Commit {
        overlay,
        into: None,
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: None,
    }
}

fn rename(from: PathBuf, to: PathBuf) -> MoveImages {
    MoveImages {
        moves: vec![Relocation {
            from,
            to,
            style: None,
        }],
        subtree: false,
    }
}

fn rebase(image: PathBuf, to: PathBuf) -> Rebase {
    Rebase {
        image,
        to,
        format: None,
        style: None,
        dedupe: false,
        compress: false,
    }
}

fn resize(image: PathBuf) -> Resize {
    Resize {
        image,
        size: NewSize::To(2 << 20),
        shrink: false,
        preallocation: Default::default(),
        dependants: Default::default(),
    }
}

#[test]
fn a_disk_is_not_taken_from_a_machine_but_by_number() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let machine = machine_of(at("a1"));
    assert!(refused(dir.path(), &machine, discard(at("a1"))));
    assert!(
        refused(dir.path(), &machine, discard(at("root"))),
        "it goes along"
    );
    assert!(refused(dir.path(), &machine, commit(at("a1"))));
    assert!(refused(dir.path(), &machine, rename(at("a1"), at("b1"))));
    assert!(!refused(dir.path(), &machine, discard(at("a2"))));
    // The layers below may move, since the image names them.
    assert!(!refused(
        dir.path(),
        &machine,
        rename(at("root"), at("ground"))
    ));

    let context = known(dir.path(), vec![machine]);
    let plan = ops::plan(&context, &discard(at("a1")));
    assert!(
        words(&plan).contains("the disk vda of the machine web"),
        "{}",
        words(&plan)
    );
    let [way] = &plan.refusals[0].ways_out[..] else {
        panic!("{:?}", plan.refusals)
    };
    let despite = ops::plan(&context, &way.request);
    assert_eq!(
        (despite.confirm, despite.danger),
        (Confirm::Count(1), Danger::Loses)
    );
    let outcome = execute(despite).unwrap();
    assert!(!at("a1").exists());
    let undo = outcome.undo.unwrap();
    execute_request(&known(dir.path(), vec![machine_of(at("a1"))]), &undo).unwrap();
    assert!(at("a1").exists());
}

/// The label of the way out that changes definitions too, and all that is said against it.
fn redefining(dir: &Path, machines: &[&Machine], image: &str) -> (Option<String>, String) {
    let defined = machines.iter().zip(1..).map(|(machine, number)| Machine {
        id: Some(format!("8c34a151-90f6-4e2c-8572-a4dc7936{number:04}")),
        name: format!("web{number}"),
        ..(*machine).clone()
    });
    let context = known(dir, defined.collect());
    let plan = ops::plan(&context, &discard(dir.join(image)));
    assert!(is_refused_for_machine(&plan), "{}", words(&plan));
    let ways = plan.refusals.iter().flat_map(|one| &one.ways_out);
    let mut ways = ways.filter(|way| matches!(way.request, Request::Redefining(_)));
    (ways.next().map(|way| way.label.clone()), words(&plan))
}

#[test]
fn a_machine_goes_on_with_the_layer_below_only_where_nobody_else_needs_it() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let here = qemu.within(dir.path());
    let at = |name: &str| dir.path().join(name);
    let (web, other) = (machine_of(at("a1")), machine_of(at("a2")));
    let offered = |machines: &[&Machine], image: &str, label: &str| {
        let (way, said) = redefining(dir.path(), machines, image);
        let folder = format!("{}/", dir.path().display());
        let way = way.map(|way| way.replace(&folder, ""));
        assert!(way.is_some_and(|way| way.contains(label)), "{said}");
    };
    let not_offered = |machines: &[&Machine], image: &str, why: &str| {
        let (way, said) = redefining(dir.path(), machines, image);
        assert_eq!(way, None, "{said}");
        assert!(said.contains(why), "{said}");
    };
    not_offered(&[&web], "a1", "on which a2 is built");
    offered(
        &[&web],
        "a",
        "vda of web1 is root then, without what a1 holds",
    );
    not_offered(&[&web, &other], "a", "the machine of a2");
    not_offered(
        &[&web, &machine_of(at("root"))],
        "a",
        "which is used by web2",
    );
    // Nothing is below.
    not_offered(&[&web], "root", "needs it at its place");
    // What is in the trash goes for nobody.
    execute_request(&known(dir.path(), Vec::new()), &discard(at("a2"))).unwrap();
    offered(
        &[&web],
        "a1",
        "vda of web1 is a then, without what a1 holds",
    );
    let mut pinned = web.clone();
    pinned.disks[0].pinned = vec![named(at("a"))];
    offered(&[&pinned], "a1", "is a then");
    pinned.disks[0].pinned = vec![named(at("root"))];
    not_offered(&[&pinned], "a1", "its definition names other layers");
    let mut marked = web.clone();
    marked.checkpoints = vec!["monday".to_owned()];
    not_offered(&[&marked], "a1", "needs it at its place");
    let mut snapshot = web.clone();
    snapshot.snapshots = vec![MachineSnapshot {
        name: "before".to_owned(),
        owns: Vec::new(),
        needs: vec![named(at("a"))],
    }];
    not_offered(&[&snapshot], "a1", "a file of the snapshot before");

    // A link that nobody has met, and a second name of an overlay's.
    let elsewhere = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
    fs::hard_link(at("a"), elsewhere.path().join("a")).unwrap();
    not_offered(
        &[&web],
        "a1",
        "1 more name in folders that were not looked in",
    );
    drop(elsewhere);
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o444)).unwrap();
    not_offered(&[&web], "a1", "which nobody may write: its mode is 0444");
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o644)).unwrap();
    let golden = || vec!["golden".to_owned()];
    let note = |tag: Vec<String>, untag: Vec<String>| {
        let note = ops::Annotate {
            image: at("a"),
            tag,
            untag,
            ..Default::default()
        };
        execute_request(&known(dir.path(), Vec::new()), &note.into()).unwrap();
    };
    note(golden(), Vec::new());
    not_offered(&[&web], "a1", "which is tagged golden");
    note(Vec::new(), golden());
    fs::rename(at("root"), at("elsewhere")).unwrap();
    not_offered(&[&web], "a1", "cannot be read to the end of its chain");
    here.img(&["rebase", "-u", "-b", "none", "-F", "qcow2", "a1"]);
    not_offered(&[&web], "a1", "which is not there");
}

#[test]
fn a_file_is_known_by_whatever_name_the_machine_has_for_it() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("disk");
    std::os::unix::fs::symlink(dir.path().join("a1"), &link).unwrap();
    let mut machine = machine_of(&link);
    let id = RealHost.stat(&link).unwrap().id;
    machine.disks[0].file.file = Some(id);
    assert!(refused(
        dir.path(),
        &machine,
        discard(dir.path().join("a1"))
    ));
}

#[test]
fn a_medium_and_what_is_not_harmed_stay_free() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let mut machine = machine_of(at("a1"));
    // Its owner grows it, and rebases it with its content.
    assert!(!refused(dir.path(), &machine, resize(at("a1"))));
    assert!(!refused(dir.path(), &machine, rebase(at("a1"), at("root"))));
    machine.state = MachineState::Running;
    assert!(refused(dir.path(), &machine, resize(at("a1"))));
    machine.disks[0].read_only = true;
    assert!(!refused(dir.path(), &machine, resize(at("a1"))));
    assert!(refused(dir.path(), &machine, discard(at("a1"))));
}

#[test]
fn a_chain_that_a_definition_pins_is_not_changed_behind_it() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let mut machine = machine_of(at("a1"));
    let relink = Relink {
        image: at("a"),
        base: None,
        format: None,
        style: Some(BackingStyle::Absolute),
    };
    machine.disks[0].pinned = vec![named(at("a"))];
    assert!(refused(dir.path(), &machine, rebase(at("a1"), at("root"))));
    let squash = Squash {
        layer: at("a"),
        direction: None,
    };
    assert!(refused(dir.path(), &machine, squash.clone()));
    // The last layer that is pinned is opened by its own header.
    assert!(!refused(dir.path(), &machine, relink.clone()));
    machine.disks[0].pinned.push(named(at("root")));
    assert!(refused(dir.path(), &machine, relink));
    // Whichever way the layer goes it is done by number, and it is that squash which is offered then.
    let context = known(dir.path(), vec![machine]);
    let plan = ops::plan(&context, &squash.into());
    assert_eq!(plan.refusals.len(), 2, "{}", words(&plan));
    let despite = ops::plan(&context, &plan.refusals[0].ways_out[0].request);
    assert_eq!(despite.request.itself().name(), "squash");
    assert!(matches!(despite.confirm, Confirm::Count(_)), "{despite:?}");
    execute(despite).unwrap();
    assert!(!at("a").exists());
}

#[test]
fn saved_memory_and_checkpoints_fit_one_content_only() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let mut saved = machine_of(at("a1"));
    saved.state = MachineState::Saved;
    assert!(refused(dir.path(), &saved, resize(at("a1"))));
    assert!(refused(dir.path(), &saved, rebase(at("a1"), at("root"))));
    assert!(!refused(dir.path(), &saved, resize(at("a2"))));
    let mut marked = machine_of(at("a1"));
    marked.checkpoints = vec!["monday".to_owned()];
    assert!(refused(dir.path(), &marked, resize(at("a1"))));
    assert!(refused(dir.path(), &marked, rebase(at("a1"), at("root"))));
    assert!(!refused(dir.path(), &marked, resize(at("a2"))));
}

#[test]
fn the_files_of_a_snapshot_stay_and_what_is_built_on_one_is_warned_of() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let mut machine = machine_of(at("a2"));
    machine.snapshots = vec![MachineSnapshot {
        name: "before".to_owned(),
        owns: vec![named(at("a1"))],
        needs: vec![named(at("a"))],
    }];
    assert!(refused(dir.path(), &machine, discard(at("a1"))));
    // It would show the snapshot's old state no more.
    let mut into = commit(at("a1"));
    into.layer = CommittedLayer::Keep;
    assert!(refused(dir.path(), &machine, into));
    let branch = |base: &str| -> Request {
        Branch {
            base: at(base),
            new: at("new"),
            format: None,
            size: None,
            style: BackingStyle::Relative,
            image: Default::default(),
        }
        .into()
    };
    let warned = |base: &str| {
        let plan = ops::plan(&known(dir.path(), vec![machine.clone()]), &branch(base));
        assert_eq!(plan.refusals, []);
        plan.notes
            .iter()
            .any(|note| note.warning && note.text.contains("snapshot before"))
    };
    assert!(warned("a1"));
    assert!(!warned("a2"));
}

#[test]
fn an_image_that_would_show_a_machine_other_bytes_is_told_of_by_its_name() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    qemu.within(dir.path()).io("a1", &["write -P 9 512k 64k"]);
    let mut into = commit(at("a1"));
    into.siblings = Siblings::Break;
    let machine = machine_of(at("a2"));
    assert!(refused(dir.path(), &machine, into.clone()));
    let context = known(dir.path(), vec![machine]);
    let plan = ops::plan(&context, &Request::despite_machines(into.into()));
    assert_eq!(plan.confirm, Confirm::Count(1));
    assert!(words(&plan).contains("web"), "{}", words(&plan));
}

#[test]
fn what_could_not_be_asked_is_told_where_it_matters() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let unasked = Unasked {
        product: "libvirt",
        place: "qemu:///system".to_owned(),
        why: "permission denied".to_owned(),
    };
    let context = knowing(dir.path(), Machines::of(Vec::new(), vec![unasked]));
    let told = |request: &Request| {
        let plan = ops::plan(&context, request);
        assert_eq!(plan.refusals, []);
        words(&plan).contains("libvirt (qemu:///system): permission denied")
    };
    assert!(told(&discard(dir.path().join("a1"))));
    let clone = ops::CloneImage {
        image: dir.path().join("a1"),
        new: dir.path().join("copy"),
        chain: false,
        reflink: Default::default(),
    };
    assert!(!told(&clone.into()));
}

#[test]
fn a_leaf_of_a_machine_is_not_proposed_for_pruning() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let context = known(dir.path(), vec![machine_of(dir.path().join("a1"))]);
    let names: Vec<_> = ops::candidates(&context, Duration::ZERO)
        .into_iter()
        .map(|one| one.path)
        .collect();
    assert_eq!(names, [dir.path().join("a2")]);
}

/// A system without machines, in whose one home they may come to be defined.
fn system(dir: &Path) -> Places {
    Places {
        host: Arc::new(RealHost),
        root: dir.to_path_buf(),
        homes: vec![Home::at(dir.join("home"))],
        near: Vec::new(),
        programs: Default::default(),
        patience: Duration::from_secs(60),
        default_uri: None,
    }
}

fn define(dir: &Path, name: &str, disk: &Path) {
    let domains = dir.join("home/.config/libvirt/qemu");
    fs::create_dir_all(&domains).unwrap();
    let text = format!(
        "<domain type='qemu'><name>{name}</name><devices><disk type='file'><source file='{}'/>\
         <target dev='vda'/></disk></devices></domain>",
        disk.display()
    );
    fs::write(domains.join(format!("{name}.xml")), text).unwrap();
}

#[test]
fn a_machine_that_was_defined_meanwhile_makes_the_plan_stale() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let places = tempfile::tempdir().unwrap();
    fs::create_dir_all(places.path().join("proc")).unwrap();
    let at = |name: &str| dir.path().join(name);
    let machines = Machines::ask(system(places.path()));
    assert_eq!(machines.unasked(), []);
    let context = knowing(dir.path(), machines);
    let plan = |name: &str| ops::plan(&context, &discard(at(name)));
    let (first, second) = (plan("a1"), plan("a2"));
    define(places.path(), "late", &at("a1"));
    match execute(first) {
        Err(Error::Stale(report)) => assert!(report.text.contains("late"), "{}", report.text),
        other => panic!("{other:?}"),
    }
    assert!(at("a1").exists());
    execute(second).unwrap();
    // Who agreed to harm that machine is not held up by it.
    let despite = Request::despite_machines(discard(at("a1")));
    std::thread::sleep(Duration::from_millis(1100));
    execute_request(&context, &despite).unwrap();
    assert!(!at("a1").exists());
}

#[test]
fn a_disk_of_a_machine_elsewhere_that_is_built_on_it_is_a_dependant() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let elsewhere = tempfile::tempdir().unwrap();
    let disk = built_elsewhere(&qemu, &dir.path().join("a1"), elsewhere.path());
    let places = tempfile::tempdir().unwrap();
    fs::create_dir_all(places.path().join("proc")).unwrap();
    define(places.path(), "far", &disk);
    let context = knowing(dir.path(), Machines::ask(system(places.path())));
    let plan = ops::plan(&context, &commit(dir.path().join("a1")).into());
    assert!(words(&plan).contains("between"), "{}", words(&plan));
    let plan = ops::plan(&context, &discard(dir.path().join("a1")));
    assert!(is_refused_for_machine(&plan), "{}", words(&plan));
    // What is built on nothing here is none of ours.
    let other = known(dir.path(), vec![machine_of(dir.path().join("none"))]);
    assert_eq!(other.forest.len(), 4);
    assert_eq!(context.forest.len(), 6, "and the layer between");
}

/// A system whose `virsh` knows one machine with this disk, and may change its definition.
fn with_service(dir: &Path, disk: &Path) -> Places {
    const ID: &str = "11111111-2222-3333-4444-555555555555";
    let answers = dir.join("answers");
    fs::create_dir_all(&answers).unwrap();
    fs::create_dir_all(dir.join("run/libvirt")).unwrap();
    fs::create_dir_all(dir.join("proc")).unwrap();
    fs::write(dir.join("run/libvirt/libvirt-sock-ro"), "").unwrap();
    let definition = format!(
        "<domain type='qemu'><name>web</name><uuid>{ID}</uuid><devices><disk type='file' device='disk'>\
         <driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vda'/></disk></devices></domain>\n",
        disk.display()
    );
    for (name, text) in [
        ("list --uuid --all", format!("{ID}\n\n")),
        ("list --uuid", "\n".to_owned()),
        ("list --uuid --all --with-managed-save", "\n".to_owned()),
        ("list --uuid --all --with-snapshot", "\n".to_owned()),
        ("list --uuid --all --with-checkpoint", "\n".to_owned()),
        (
            &format!("dominfo {ID}"),
            "State: shut off\nManaged save: no\n".to_owned(),
        ),
        (&format!("dumpxml --inactive {ID}"), definition.clone()),
        (
            &format!("dumpxml --inactive --security-info {ID}"),
            definition,
        ),
    ] {
        fs::write(answers.join(name), text).unwrap();
    }
    let script = format!(
        "#!/bin/sh\ncd {}\nwhile IFS= read -r line; do\n  printf 'virsh > %s\\n' \"$line\"\n  \
         eval \"set -- $line\"\n  case \"$1\" in\n    echo) printf '%s' \"$2\";;\n    \
         define) for old in dumpxml*; do cp \"$2\" \"$old\"; done;;\n    \
         *) if [ -f \"$*\" ]; then cat \"$*\"; else echo \"error: $*\" >&2; fi;;\n  esac\ndone\n",
        answers.display()
    );
    fs::write(dir.join("virsh"), script).unwrap();
    fs::set_permissions(dir.join("virsh"), fs::Permissions::from_mode(0o755)).unwrap();
    Places {
        programs: dir.as_os_str().to_owned(),
        ..system(dir)
    }
}

#[test]
fn a_layer_on_which_something_was_built_meanwhile_is_left_to_that() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let here = qemu.within(dir.path());
    let at = |name: &str| dir.path().join(name);
    fs::remove_file(at("a2")).unwrap();
    let places = tempfile::tempdir().unwrap();
    let places = || with_service(places.path(), &at("a1"));
    let plan = || {
        let context = knowing(dir.path(), Machines::ask(places()));
        let plan = ops::plan(&context, &Request::redefining(discard(at("a1"))));
        assert_eq!(plan.refusals, []);
        assert_eq!(plan.redefinitions.len(), 1);
        plan
    };
    let late = plan();
    here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", "a", "late"]);
    match execute(late) {
        Err(Error::Stale(report)) => assert!(report.text.contains("late"), "{}", report.text),
        other => panic!("{other:?}"),
    }
    assert!(at("a1").exists());
    fs::remove_file(at("late")).unwrap();
    execute(plan()).unwrap();
    assert!(!at("a1").exists());
}

#[test]
fn a_disk_elsewhere_of_a_machine_that_was_defined_meanwhile_makes_the_plan_stale() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let elsewhere = tempfile::tempdir().unwrap();
    let places = tempfile::tempdir().unwrap();
    fs::create_dir_all(places.path().join("proc")).unwrap();
    let context = knowing(dir.path(), Machines::ask(system(places.path())));
    let plan = ops::plan(&context, &discard(dir.path().join("a1")));
    assert_eq!(plan.refusals, []);
    let disk = built_elsewhere(&qemu, &dir.path().join("a1"), elsewhere.path());
    define(places.path(), "far", &disk);
    match execute(plan) {
        Err(Error::Stale(report)) => assert!(report.text.contains("built on"), "{}", report.text),
        other => panic!("{other:?}"),
    }
    assert!(dir.path().join("a1").exists());
}

/// `top` in that folder, on `between`, on this image.
fn built_elsewhere(qemu: &Qemu, image: &Path, folder: &Path) -> PathBuf {
    let there = qemu.within(folder);
    let base = image.to_str().unwrap();
    there.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", base, "between",
    ]);
    there.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", "between", "top",
    ]);
    folder.join("top")
}

#[test]
fn machines_are_told_of_images_that_are_looked_at_again() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let a1 = dir.path().join("a1");
    let context = known(dir.path(), vec![machine_of(&a1)]);
    qemu.within(dir.path()).io("a1", &["write -P 9 0 64k"]);
    let options = ScanOptions {
        roots: vec![dir.path().to_path_buf()],
        follow: false,
        raw: true,
    };
    let host: Arc<dyn Host> = Arc::new(RealHost);
    let changed = changed_since(&context.forest, &RealHost, &options);
    let fresh = refreshed(&context.forest, &host, &options, &changed);
    let node = fresh.by_path(&a1).unwrap();
    assert_eq!(fresh.uses(node)[0].machine.name, "web");
}

/// Why a machine that is known beside others is not branched, cloned or reverted so.
fn refusals(dir: &Path, machines: &[&Machine], request: impl Into<Request>) -> String {
    let machines = machines.iter().map(|machine| (*machine).clone()).collect();
    let plan = ops::plan(&known(dir, machines), &request.into());
    let said = plan.refusals.iter();
    said.map(|refusal| format!("{:?}: {}\n", refusal.kind, refusal.text))
        .collect()
}

fn branch_machine(on: Option<PathBuf>) -> BranchMachine {
    BranchMachine {
        machine: "web".to_owned(),
        connection: None,
        disks: vec![DiskBranch {
            disk: Some("vda".to_owned()),
            on,
            new: None,
        }],
        start: false,
    }
}

#[test]
fn a_raw_disk_whose_guest_wrote_a_header_becomes_no_other_disk() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let clone = |full| CloneMachine {
        machine: "web".to_owned(),
        connection: None,
        new: "other".to_owned(),
        full,
        folder: None,
        found: None,
    };
    let mut machine = machine_of(at("a1"));
    let said = refusals(dir.path(), &[&machine], branch_machine(None));
    assert!(!said.contains("BackingFormat"), "{said}");
    // Where a definition says nothing it is raw to libvirt.
    for format in [Some("raw".to_owned()), None] {
        machine.disks[0].format = format;
        let branched = refusals(dir.path(), &[&machine], branch_machine(None));
        let copied = refusals(dir.path(), &[&machine], clone(true));
        let cloned = refusals(dir.path(), &[&machine], clone(false));
        for said in [branched, copied, cloned] {
            assert!(
                said.starts_with("BackingFormat: the definition of web says"),
                "{said}"
            );
            assert!(
                said.contains("a1 is raw, and it looks like qcow2"),
                "{said}"
            );
        }
    }
}

#[test]
fn nothing_is_built_for_long_on_what_another_machine_writes() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let web = machine_of(at("a1"));
    let mut other = Machine {
        name: "other".to_owned(),
        id: Some("2".to_owned()),
        ..machine_of(at("a2"))
    };
    let on_other = || branch_machine(Some(at("a2")));
    let said = refusals(dir.path(), &[&web, &other], on_other());
    assert!(
        said.contains("a2 is written by other (libvirt, off)"),
        "{said}"
    );
    let own = refusals(dir.path(), &[&web, &other], branch_machine(None));
    assert!(!own.contains("is written by"), "{own}");
    other.disks[0].read_only = true;
    let read = refusals(dir.path(), &[&web, &other], on_other());
    assert!(!read.contains("is written by"), "{read}");
}

#[test]
fn a_machine_of_which_every_disk_stays_is_not_reverted() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let at = |name: &str| dir.path().join(name);
    let web = machine_of(at("a1"));
    let revert = RevertMachine {
        machine: "web".to_owned(),
        connection: None,
        to: at("a"),
        disks: vec![DiskRevert {
            disk: "vda".to_owned(),
            to: None,
        }],
        start: false,
    };
    let said = refusals(dir.path(), &[&web], revert);
    assert!(
        said.starts_with("Invalid: every disk of web is to stay"),
        "{said}"
    );
}
