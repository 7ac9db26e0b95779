//! libvirt by its files, and by a program that stands for `virsh`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;
use crate::machines::places::tests::system as a_system;
use crate::machines::products::read_with;

/// A domain with one disk, which the definition pins on another.
fn domain(name: &str, id: &str, disk: &str, pin: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><uuid>{id}</uuid><devices>\
         <disk type='file' device='disk'><source file='{disk}'/>{pin}<target dev='vda'/></disk>\
         </devices></domain>\n"
    )
}

const WEB: &str = "11111111-2222-3333-4444-555555555555";
const DB: &str = "99999999-2222-3333-4444-555555555555";

fn snapshot() -> String {
    format!(
        "<domainsnapshot><name>it's</name><disks><disk name='vda' snapshot='external'>\
         <source file='/vm/web.s1'/></disk></disks>{}</domainsnapshot>\n",
        domain("web", WEB, "/vm/web.qcow2", "")
    )
}

/// A `virsh` that knows two machines, `web` running and `db` saved.
fn virsh(dir: &Path, more: &str) -> OsString {
    let answers = dir.join("answers");
    fs::create_dir_all(&answers).unwrap();
    let pool =
        "<disk type='volume'><source pool='p' volume='v 1'/><target dev='vdb'/></disk></devices>";
    for (name, text) in [
        ("list --uuid --all", format!("{WEB}\n{DB}\n\n")),
        ("list --uuid", format!("{WEB}\n\n")),
        ("list --uuid --all --with-managed-save", format!("{DB}\n\n")),
        ("list --uuid --all --with-snapshot", format!("{WEB}\n\n")),
        ("list --uuid --all --with-checkpoint", format!("{DB}\n\n")),
        (
            &format!("dumpxml --inactive {WEB}"),
            domain(
                "web",
                WEB,
                "/vm/web.s1",
                "<backingStore type='file'><source file='/vm/web.qcow2'/></backingStore>",
            ),
        ),
        (
            &format!("dumpxml {WEB}"),
            domain("web", WEB, "/vm/web.live", ""),
        ),
        (
            &format!("dumpxml --inactive {DB}"),
            domain("db", DB, "/vm/db.qcow2", "").replace("</devices>", pool),
        ),
        (
            &format!("snapshot-list --name {WEB}"),
            "it's\n\n".to_owned(),
        ),
        (&format!("snapshot-dumpxml {WEB} it's"), snapshot()),
        (
            &format!("checkpoint-list --name {DB}"),
            "monday\n\n".to_owned(),
        ),
        ("vol-path --pool p v 1", "/pool/v 1\n\n".to_owned()),
    ] {
        fs::write(answers.join(name), text).unwrap();
    }
    let script = format!(
        "#!/bin/sh\n{more}\ncd {}\nwhile IFS= read -r line; do\n  printf 'virsh > %s\\n' \"$line\"\n  \
         eval \"set -- $line\"\n  case \"$1\" in\n    echo) printf '%s' \"$2\";;\n    \
         *) if [ -f \"$*\" ]; then cat \"$*\"; else echo \"error: $*\" >&2; fi;;\n  esac\ndone\n",
        answers.display()
    );
    let program = dir.join("virsh");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    dir.as_os_str().to_owned()
}

fn listening(dir: &Path) {
    let sockets = dir.join("run/libvirt");
    fs::create_dir_all(&sockets).unwrap();
    fs::write(sockets.join("libvirt-sock-ro"), "").unwrap();
}

#[test]
fn the_service_tells_of_all_that_it_defines_and_runs() {
    let (dir, mut places) = a_system();
    places.programs = virsh(dir.path(), "");
    places.patience = Duration::from_secs(60);
    listening(dir.path());
    let found = read_with(system, "libvirt", &places);
    assert_eq!(found.unasked, []);
    let [web, db] = &found.machines[..] else {
        panic!("{:?}", found.machines)
    };
    assert_eq!(
        (web.name.as_str(), web.state),
        ("web", MachineState::Running)
    );
    assert_eq!(web.place, "qemu:///system");
    let paths: Vec<_> = web.disks.iter().map(|disk| &disk.file.path).collect();
    assert_eq!(paths, [Path::new("/vm/web.s1"), Path::new("/vm/web.live")]);
    assert_eq!(web.disks[0].pinned[0].path, Path::new("/vm/web.qcow2"));
    assert_eq!(web.snapshots[0].name, "it's");
    assert_eq!(web.snapshots[0].owns[0].path, Path::new("/vm/web.s1"));
    assert_eq!((db.name.as_str(), db.state), ("db", MachineState::Saved));
    assert_eq!(db.checkpoints, ["monday"]);
    assert_eq!(db.disks[1].file.path, Path::new("/pool/v 1"));
}

#[test]
fn a_service_at_another_socket_is_asked_as_the_default_connection_says() {
    let (dir, mut places) = a_system();
    let told = dir.path().join("told");
    places.programs = virsh(dir.path(), &format!("echo \"$*\" >>{}", told.display()));
    places.patience = Duration::from_secs(60);
    for other in [
        "qemu+ssh://host/system",
        "qemu+unix:///session?socket=/s",
        "test:///default",
    ] {
        places.default_uri = Some(other.to_owned());
        assert_eq!(
            read_with(system, "libvirt", &places).machines,
            [],
            "{other}"
        );
    }
    let elsewhere = "qemu+unix:///system?socket=/run/other";
    places.default_uri = Some(elsewhere.to_owned());
    let found = read_with(system, "libvirt", &places);
    assert_eq!(found.unasked, []);
    assert!(found.machines.iter().all(|it| it.place == elsewhere));
    assert_eq!(found.machines.len(), 2);
    let lines = fs::read_to_string(&told).unwrap();
    assert!(lines.contains(&format!("--connect {elsewhere}")), "{lines}");
    // Where a service listens as usual, that is it.
    listening(dir.path());
    let found = read_with(system, "libvirt", &places);
    assert!(found.machines.iter().all(|it| it.place == "qemu:///system"));
}

#[test]
fn what_the_service_does_not_tell_is_told() {
    let (dir, mut places) = a_system();
    places.programs = virsh(dir.path(), "");
    places.patience = Duration::from_secs(60);
    listening(dir.path());
    let answer = |name: &str| dir.path().join("answers").join(name);
    fs::remove_file(answer(&format!("dumpxml --inactive {DB}"))).unwrap();
    fs::write(
        answer(&format!("snapshot-list --name {WEB}")),
        "it's\na\tb\ngone\n",
    )
    .unwrap();
    let told = |places: &Places| -> Vec<String> {
        let found = read_with(system, "libvirt", places);
        found.unasked.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        told(&places),
        [
            "libvirt (qemu:///system, web): its snapshot a\\tb: no command can hold its name"
                .to_owned(),
            format!(
                "libvirt (qemu:///system, web): its snapshot gone: snapshot-dumpxml {WEB} gone"
            ),
            format!("libvirt (qemu:///system, {DB}): dumpxml --inactive {DB}"),
        ]
    );
    // A list that is not given is no empty one.
    fs::remove_file(answer("list --uuid --all")).unwrap();
    let told = told(&places);
    assert!(told[0].contains("list --uuid --all; "), "{told:?}");
}

#[test]
fn without_a_service_the_files_tell() {
    let (dir, places) = a_system();
    let domains = dir.path().join("etc/libvirt/qemu");
    let state = dir.path().join("var/lib/libvirt/qemu");
    for folder in [
        &domains,
        &state.join("save"),
        &state.join("snapshot/web"),
        &state.join("checkpoint/db"),
        &dir.path().join("etc/libvirt/storage"),
    ] {
        fs::create_dir_all(folder).unwrap();
    }
    let pool =
        "<disk type='volume'><source pool='p' volume='v'/><target dev='vdb'/></disk></devices>";
    let web = domain("web", WEB, "/vm/web.s1", "").replace("</devices>", pool);
    let lost = domain("db", DB, "/vm/db", "").replace("</devices>", &pool.replace("'p'", "'q'"));
    fs::write(
        domains.join("web.xml"),
        format!("<!--\nWARNING: generated\n-->\n\n{web}"),
    )
    .unwrap();
    fs::write(domains.join("db.xml"), lost).unwrap();
    fs::write(domains.join("broken.xml"), "<domain").unwrap();
    fs::write(state.join("save/db.save"), "").unwrap();
    fs::write(state.join("snapshot/web/it's.xml"), snapshot()).unwrap();
    fs::write(
        state.join("checkpoint/db/monday.xml"),
        "<domaincheckpoint/>",
    )
    .unwrap();
    fs::write(
        dir.path().join("etc/libvirt/storage/p.xml"),
        "<pool type='dir'><name>p</name><target><path>/pool</path></target></pool>",
    )
    .unwrap();
    let found = read_with(system, "libvirt", &places);
    let [db, web] = &found.machines[..] else {
        panic!("{:?}", found.machines)
    };
    assert_eq!(
        (db.state, web.state),
        (MachineState::Saved, MachineState::Off)
    );
    assert_eq!(db.checkpoints, ["monday"]);
    assert_eq!(web.disks[1].file.path, Path::new("/pool/v"));
    assert_eq!(web.snapshots.len(), 1);
    let told: Vec<String> = found.unasked.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("broken.xml"), "{told:?}");
    assert!(told[1].contains("the volume q/v of db"), "{told:?}");
}

#[test]
fn what_is_not_installed_is_not_missed_and_what_cannot_be_asked_is_told() {
    let (dir, mut places) = a_system();
    assert_eq!(read_with(system, "libvirt", &places).unasked, []);
    let why = |places: &Places| {
        let found = read_with(system, "libvirt", places);
        assert!(found.machines.is_empty());
        found.unasked[0].to_string()
    };
    listening(dir.path());
    let text = why(&places);
    assert!(text.contains("virsh is not installed"), "{text}");
    places.programs = virsh(
        dir.path(),
        "echo 'error: Unable to get system bus' >&2; exit 1",
    );
    let text = why(&places);
    assert!(text.contains("Unable to get system bus; "), "{text}");
    places.programs = virsh(dir.path(), "exec sleep 60");
    places.patience = Duration::from_millis(100);
    let begun = Instant::now();
    let text = why(&places);
    assert!(text.contains("did not answer within 0.1 seconds"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn sessions_are_read_from_the_folders_of_homes() {
    let (dir, places) = a_system();
    for (home, name) in [
        ("home/.config", "mine"),
        ("home/.var/app/org.gnome.Boxes/config", "box"),
    ] {
        let domains = dir.path().join(home).join("libvirt/qemu");
        fs::create_dir_all(&domains).unwrap();
        let text = domain(name, WEB, "/vm/a", "");
        fs::write(domains.join(format!("{name}.xml")), text).unwrap();
    }
    let names = |read| -> Vec<String> {
        let found = read_with(read, "libvirt", &places);
        found
            .machines
            .into_iter()
            .map(|machine| machine.name)
            .collect()
    };
    assert_eq!(names(session), ["mine"]);
    assert_eq!(names(boxes), ["box"]);
}
