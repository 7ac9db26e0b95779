//! A real libvirt, in a session of its own: a daemon, a home and a runtime folder that nobody else uses. Where it is
//! not installed these tests say so, and test nothing: `QANOPY_REQUIRE_LIBVIRT=1 cargo test --test processes libvirt`
//! makes a failure of that.
#![allow(clippy::print_stderr)] // Skipping has to be loud.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// libvirt is no session's where root asks, so that root lends the session to this user (`nobody`).
const USER: u32 = 65534;

/// A session of libvirt.
struct Session {
    dir: TempDir,
    daemon: Child,
    lends: bool,
}

/// Where a program is, if it is installed.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(name));
    found.find(|path| path.is_file())
}

fn session() -> Option<Session> {
    for name in ["libvirtd", "virsh", "qemu-system-x86_64", "qemu-img"] {
        if program(name).is_none() {
            let told = format!("{name} is not installed: nothing of a real libvirt is tested");
            assert!(
                std::env::var_os("QANOPY_REQUIRE_LIBVIRT").is_none(),
                "{told}"
            );
            eprintln!("NOT TESTED: {told}");
            return None;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    // The folder of the build need not be one that the other user may enter.
    fs::copy(env!("CARGO_BIN_EXE_qanopy"), dir.path().join("qanopy")).unwrap();
    let lends = nix::unistd::geteuid().is_root();
    for name in ["home", "run", "vm"] {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        if lends {
            chown(&folder, Some(USER), Some(USER)).unwrap();
        }
    }
    let daemon = command(dir.path(), lends, Path::new("libvirtd"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let session = Session { dir, daemon, lends };
    let until = Instant::now() + Duration::from_secs(120);
    while !session.virsh("list").status.success() {
        assert!(Instant::now() < until, "libvirtd does not come up");
        sleep(Duration::from_millis(100));
    }
    Some(session)
}

fn command(dir: &Path, lends: bool, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir.join("vm"))
        .env("HOME", dir.join("home"))
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .env("LC_ALL", "C");
    for variable in [
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
    ] {
        command.env_remove(variable);
    }
    if lends {
        command.uid(USER).gid(USER);
    }
    command
}

impl Session {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("vm").join(name)
    }

    fn run(&self, program: &Path, words: &str) -> Output {
        command(self.dir.path(), self.lends, program)
            .args(words.split(' '))
            .output()
            .unwrap()
    }

    fn virsh(&self, words: &str) -> Output {
        self.run(
            Path::new("virsh"),
            &format!("-q -c qemu:///session {words}"),
        )
    }

    fn virsh_ok(&self, words: &str) {
        let ended = self.virsh(words);
        assert!(ended.status.success(), "virsh {words}: {ended:?}");
    }

    fn image(&self, words: &str) {
        let ended = self.run(
            Path::new("qemu-img"),
            &format!("create -q -f qcow2 {words}"),
        );
        assert!(ended.status.success(), "{ended:?}");
    }

    fn define(&self, name: &str, disk: &str) {
        let text = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
             <target dev='vda' bus='virtio'/></disk><memballoon model='none'/></devices></domain>",
            self.at(disk).display()
        );
        let path = self.dir.path().join(format!("{name}.xml"));
        fs::write(&path, text).unwrap();
        self.virsh_ok(&format!("define {}", path.display()));
    }

    /// What we say, with `--json`.
    fn q(&self, words: &str) -> Value {
        let ended = self.run(&self.dir.path().join("qanopy"), &format!("{words} --json"));
        let out = String::from_utf8(ended.stdout).unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words}: {error}: {out}{err}"))
    }

    /// What an image of the tree is to the machine that uses it: its name and state, the part, whether it is pinned.
    fn use_of(&self, image: &str) -> (String, String, String, bool) {
        let forest = self.q("tree .")["result"].take();
        // The system's own libvirt may be there, and closed to this user.
        let unasked = forest["machines-not-asked"].as_array();
        let mut unasked = unasked.into_iter().flatten();
        assert!(
            unasked.all(|one| one["place"] != "qemu:///session"),
            "{forest}"
        );
        let images = forest["images"].as_array().unwrap();
        let is_it = |one: &&Value| Path::new(one["path"].as_str().unwrap()) == self.at(image);
        let used = &images.iter().find(is_it).unwrap()["machines"][0];
        assert_eq!(
            used["place"], "qemu:///session",
            "the service was asked: {used}"
        );
        let text = |key: &str| used[key].as_str().unwrap().to_owned();
        let is_pinned = used["pinned"].as_bool().unwrap_or_default();
        (text("name"), text("state"), text("part"), is_pinned)
    }

    fn refusal(&self, words: &str) -> String {
        let told = self.q(&format!("{words} --dry-run"));
        told["error"]["kind"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // None of these is told of: the test has ended, one way or the other.
        let running = String::from_utf8(self.virsh("list --name").stdout).unwrap_or_default();
        for name in running.lines().filter(|name| !name.is_empty()) {
            self.virsh(&format!("destroy {name}"));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // The daemon starts it for its logs.
        let pid = fs::read_to_string(self.dir.path().join("run/libvirt/virtlogd.pid"));
        if let Some(pid) = pid.ok().and_then(|pid| pid.trim().parse().ok()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
    }
}

fn row(name: &str, state: &str, part: &str, is_pinned: bool) -> (String, String, String, bool) {
    (
        name.to_owned(),
        state.to_owned(),
        part.to_owned(),
        is_pinned,
    )
}

#[test]
fn what_libvirt_defines_runs_snapshots_and_saves_is_known_and_kept() {
    let Some(session) = session() else { return };
    session.image("base 64M");
    session.image("-b base -F qcow2 disk.qcow2");
    session.image("-b base -F qcow2 free.qcow2");
    session.define("web", "disk.qcow2");
    assert_eq!(
        session.use_of("disk.qcow2"),
        row("web", "off", "disk", false)
    );
    assert_eq!(session.refusal("discard disk.qcow2"), "used-by-machine");
    assert_eq!(
        session.refusal("move disk.qcow2 other.qcow2"),
        "used-by-machine"
    );
    assert_eq!(session.refusal("discard free.qcow2"), "");
    assert_eq!(session.refusal("resize disk.qcow2 128M"), "");

    session.virsh_ok("start web");
    assert_eq!(
        session.use_of("disk.qcow2"),
        row("web", "running", "disk", false)
    );
    session.virsh_ok("snapshot-create-as web before --disk-only --atomic");
    session.virsh_ok("destroy web");
    // The definition names the chain from now on, whatever the headers say.
    assert_eq!(
        session.use_of("disk.before"),
        row("web", "off", "disk", true)
    );
    assert_eq!(
        session.use_of("disk.qcow2"),
        row("web", "off", "pinned", false)
    );
    assert_eq!(
        session.refusal("rebase disk.before --to base"),
        "used-by-machine"
    );
    assert_eq!(session.refusal("squash disk.qcow2"), "used-by-machine");

    session.virsh_ok("start web");
    session.virsh_ok("managedsave web");
    assert_eq!(
        session.use_of("disk.before"),
        row("web", "saved", "disk", true)
    );
    assert_eq!(
        session.refusal("resize disk.before 128M"),
        "used-by-machine"
    );
}

#[test]
fn a_hundred_domains_are_asked_in_no_time() {
    let Some(session) = session() else { return };
    session.image("disk.qcow2 64M");
    for number in 0..100 {
        session.define(&format!("m{number}"), "disk.qcow2");
    }
    session.q("info disk.qcow2");
    let begun = Instant::now();
    let told = session.q("info disk.qcow2")["result"].take();
    let took = begun.elapsed();
    assert_eq!(told["machines"].as_array().unwrap().len(), 100);
    eprintln!("100 domains: {} ms", took.as_millis());
    // A machine that does ten other things is slower; one process for each would take a minute there.
    assert!(took < Duration::from_secs(5), "{took:?}");
}
