//! A real libvirt, in a session of its own: a daemon, a home and a runtime folder that nobody else uses, all of which
//! ends with the value, also where a test fails.
//!
//! Where it is not installed a test says so and passes; with `QANOPY_REQUIRE_LIBVIRT=1` (set by the project's CI) it
//! fails instead.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::script::{Script, Step};

/// libvirt is no session's where root asks, so that root lends the session to this user (`nobody`).
const USER: u32 = 65534;

/// A session of libvirt.
#[derive(Debug)]
pub struct Session {
    dir: TempDir,
    daemon: Child,
    lends: bool,
}

/// What stands for `virsh` where a test cuts a change off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the definition is changed.
    BeforeDefine,
    /// When it is.
    AfterDefine,
    /// Before a disk becomes its copy.
    BeforePivot,
    /// When it has.
    AfterPivot,
}

/// Where a program is, if it is installed.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(name));
    found.find(|path| path.is_file())
}

/// A session of its own, or `None` after a loud line on stderr.
pub fn session() -> Option<Session> {
    for name in [
        "libvirtd",
        "virsh",
        "qemu-system-x86_64",
        "qemu-img",
        "qemu-io",
    ] {
        if program(name).is_none() {
            let told = format!("{name} is not installed: nothing of a real libvirt is tested");
            let required = std::env::var_os("QANOPY_REQUIRE_LIBVIRT").is_some_and(|it| it == "1");
            assert!(!required, "{told}");
            // Not `eprintln!`, whose output the test harness swallows when the test passes.
            let line = format!("SKIPPED (libvirt missing): {told}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            return None;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    // The folder of the build need not be one that the other user may enter.
    super::copy_program(&dir.path().join("qanopy"));
    let lends = nix::unistd::geteuid().is_root();
    for name in ["home", "run", "vm"] {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        if lends {
            chown(&folder, Some(USER), Some(USER)).unwrap();
        }
    }
    let daemon = start_daemon(dir.path(), lends);
    let session = Session { dir, daemon, lends };
    session.wait_for_daemon();
    Some(session)
}

fn start_daemon(dir: &Path, lends: bool) -> Child {
    let mut daemon = command(dir, lends, Path::new("libvirtd"));
    daemon
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    daemon.spawn().unwrap()
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

/// What the guest of the machine of [`web`] finds: a pattern, and where it is in KiB.
pub const OF_WEB: &[(u8, u32)] = &[(1, 0), (2, 64)];
/// What its base shows.
pub const OF_BASE: &[(u8, u32)] = &[(1, 0), (0, 64)];

/// `base`, on it `disk` of the machine `web`, each with bytes of its own.
pub fn web() -> Option<Session> {
    let session = session()?;
    session.image("base 64M");
    session.write("base", 1, 0);
    session.image("-b base -F qcow2 disk");
    session.write("disk", 2, 64);
    session.define("web", "disk");
    Some(session)
}

impl Session {
    /// The file of that name in the session's folder of images.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("vm").join(name)
    }

    fn command(&self, program: &str) -> Command {
        let program = match program {
            "qanopy" => self.dir.path().join("qanopy"),
            other => PathBuf::from(other),
        };
        command(self.dir.path(), self.lends, &program)
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        self.command(program).args(words).output().unwrap()
    }

    fn ok(&self, program: &str, words: &[&str]) -> String {
        let ended = self.run(program, words);
        assert!(ended.status.success(), "{program} {words:?}: {ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    /// Makes a file among the images, or has it hold this.
    pub fn file(&self, name: &str, holds: &[u8]) {
        fs::write(self.at(name), holds).unwrap();
        if self.lends {
            chown(self.at(name), Some(USER), Some(USER)).unwrap();
        }
    }

    /// The session as another host of this name: what stands in for ssh to it, and where the configuration is that names
    /// it. Its folder is that of the images.
    pub fn as_host(&self, name: &str) -> (PathBuf, PathBuf) {
        let at = |what: &str| self.dir.path().join(what).display().to_string();
        let user = match self.lends {
            true => format!("setpriv --reuid={USER} --regid={USER} --clear-groups "),
            false => String::new(),
        };
        let text = format!(
            "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\n\
             export HOME='{}' XDG_RUNTIME_DIR='{}' LC_ALL=C\n\
             unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_STATE_HOME\n\
             cd '{}' && exec {user}sh -c \"$3\"\n",
            at("home"),
            at("run"),
            at("vm")
        );
        let ssh = self.dir.path().join("ssh");
        super::lab::program(&ssh, &text);
        let config = self.dir.path().join("config");
        fs::create_dir_all(config.join("qanopy")).unwrap();
        let text = format!(
            "[[host]]\nname = \"{name}\"\ndirs = [\".\"]\nagent = \"{}\"\n",
            at("qanopy")
        );
        fs::write(config.join("qanopy/config.toml"), text).unwrap();
        (ssh, config)
    }

    /// What a file among the images holds.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).unwrap()
    }

    /// Makes a folder among the images.
    pub fn folder(&self, name: &str) {
        self.ok("mkdir", &[name]);
    }

    /// `virsh`, whatever comes of it.
    pub fn virsh(&self, words: &str) -> Output {
        let all: Vec<&str> = ["-q", "-c", "qemu:///session"]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        self.run("virsh", &all)
    }

    /// `virsh`; fails the test if it fails. Gives what it printed.
    pub fn virsh_ok(&self, words: &str) -> String {
        let ended = self.virsh(words);
        assert!(ended.status.success(), "virsh {words}: {ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    /// `qemu-img create -f qcow2`.
    pub fn image(&self, words: &str) {
        let all: Vec<&str> = ["create", "-q", "-f", "qcow2"]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        self.ok("qemu-img", &all);
    }

    /// Takes the format of its base out of an image's header, as `qemu-img create -b` left it out for years.
    pub fn drop_backing_format(&self, name: &str) {
        let mut script = Script::default();
        script.push(Step::DropBackingFormat(name.to_owned()));
        script.build(&self.at(""));
    }

    /// Has this in our configuration.
    pub fn configure(&self, text: &str) {
        let folder = self.dir.path().join("home/.config/qanopy");
        self.ok("mkdir", &["-p", folder.to_str().unwrap()]);
        fs::write(folder.join("config.toml"), text).unwrap();
    }

    /// The names of all files among the images.
    pub fn files(&self) -> Vec<String> {
        let listed = self.ok("find", &[".", "-type", "f"]);
        let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Writes this pattern over 64 KiB of an image, as a guest would.
    pub fn write(&self, image: &str, pattern: u8, kib: u32) {
        let line = format!("write -P {pattern} {kib}k 64k");
        self.ok("qemu-io", &["-f", "qcow2", "-c", &line, image]);
    }

    /// Whether an image shows this pattern there.
    pub fn shows(&self, image: &str, format: &str, pattern: u8, kib: u32) -> bool {
        let line = format!("read -P {pattern} {kib}k 64k");
        let told = self.ok("qemu-io", &["-f", format, "-c", &line, image]);
        !told.contains("verification failed")
    }

    /// Writes this pattern over these MiB of an image.
    pub fn fill(&self, image: &str, pattern: u8, mib: u32, len: u32) {
        let line = format!("write -P {pattern} {mib}M {len}M");
        self.ok("qemu-io", &["-f", "qcow2", "-c", &line, image]);
    }

    /// Has a machine run that is not defined, by `virsh create`, whatever comes of it.
    pub fn create(&self, name: &str, disk: &str) -> Output {
        let path = self.write_definition(name, disk, "");
        self.virsh(&format!("create {}", path.display()))
    }

    /// Defines a machine of that name with this disk.
    pub fn define(&self, name: &str, disk: &str) {
        self.define_with(name, disk, "");
    }

    /// The same with more in the disk's element.
    pub fn define_with(&self, name: &str, disk: &str, more: &str) {
        let path = self.write_definition(name, disk, more);
        self.virsh_ok(&format!("define {}", path.display()));
    }

    fn write_definition(&self, name: &str, disk: &str, more: &str) -> PathBuf {
        let text = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>{more}\
             <target dev='vda' bus='virtio'/></disk><memballoon model='none'/></devices></domain>",
            self.at(disk).display()
        );
        let path = self.dir.path().join(format!("{name}.xml"));
        fs::write(&path, text).unwrap();
        path
    }

    /// Changes a machine's definition as `virsh edit` does.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.xml(name);
        assert!(text.contains(from), "{text}");
        let path = self.dir.path().join(format!("{name}.xml"));
        fs::write(&path, text.replace(from, to)).unwrap();
        self.virsh_ok(&format!("define {}", path.display()));
    }

    /// A machine's definition.
    pub fn xml(&self, name: &str) -> String {
        self.virsh_ok(&format!("dumpxml --inactive {name}"))
    }

    /// Starts a machine, asks what its guest finds where each of these patterns is to be, and ends it.
    pub fn guest_finds(&self, name: &str, patterns: &[(u8, u32)]) {
        self.virsh_ok(&format!("start {name}"));
        self.running_guest_finds(name, patterns);
        self.virsh_ok(&format!("destroy {name}"));
    }

    /// Asks what the guest of a machine that runs finds where each of these patterns is to be.
    pub fn running_guest_finds(&self, name: &str, patterns: &[(u8, u32)]) {
        let live = self.virsh_ok(&format!("dumpxml {name}"));
        let (_, index) = live.split_once("index='").unwrap();
        let index: String = index.chars().take_while(char::is_ascii_digit).collect();
        let log = self
            .dir
            .path()
            .join(format!("home/.cache/libvirt/qemu/log/{name}.log"));
        let before = fs::read_to_string(&log).unwrap().len();
        // A raw image has no format of its own to go through.
        let node = match live.contains("type='raw'") {
            true => "storage",
            false => "format",
        };
        for (pattern, kib) in patterns {
            let line = format!("qemu-io libvirt-{index}-{node} \"read -P {pattern} {kib}k 64k\"");
            let words = [
                "-c",
                "qemu:///session",
                "qemu-monitor-command",
                name,
                "--hmp",
                &line,
            ];
            self.ok("virsh", &words);
        }
        let until = Instant::now() + Duration::from_secs(60);
        let told = loop {
            let told = fs::read_to_string(&log).unwrap().split_off(before);
            if told.matches("65536/65536").count() >= patterns.len() || Instant::now() > until {
                break told;
            }
            sleep(Duration::from_millis(20));
        };
        assert_eq!(
            told.matches("read 65536/65536").count(),
            patterns.len(),
            "{told}"
        );
        assert!(!told.contains("verification failed"), "{told}");
    }

    /// Has us begin this, with `--json`.
    pub fn spawn(&self, words: &str) -> Child {
        let mut command = self.command("qanopy");
        command.args(words.split(' ')).arg("--json");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Kills the daemon at once.
    pub fn kill_daemon(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    /// Starts it again.
    pub fn start_daemon(&mut self) {
        self.daemon = start_daemon(self.dir.path(), self.lends);
        self.wait_for_daemon();
    }

    fn wait_for_daemon(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        while !self.virsh("list").status.success() {
            assert!(Instant::now() < until, "libvirtd does not come up");
            sleep(Duration::from_millis(100));
        }
    }

    /// Kills the process of a machine, as a crash of it.
    pub fn kill_machine(&self, name: &str) {
        let file = self
            .dir
            .path()
            .join(format!("run/libvirt/qemu/run/{name}.pid"));
        let pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while self.virsh_ok(&format!("domstate {name}")).trim() != "shut off" {
            assert!(
                Instant::now() < until,
                "libvirt does not see that {name} has ended"
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// What we say, with `--json`.
    pub fn q(&self, words: &str) -> Value {
        self.q_with_status(words).1
    }

    fn q_with_status(&self, words: &str) -> (Option<i32>, Value) {
        let all: Vec<&str> = words.split(' ').chain(["--json"]).collect();
        let ended = self.run("qanopy", &all);
        (ended.status.code(), told(words, ended))
    }

    /// The same, where it has to go well; gives its result.
    pub fn q_ok(&self, words: &str) -> Value {
        let (status, told) = self.q_with_status(words);
        assert_eq!(status, Some(0), "{words}: {told:#}");
        told["result"].clone()
    }

    /// The same, cut off there as by a crash.
    pub fn cut_off(&self, words: &str, cut: Cut) {
        let at = match cut {
            Cut::BeforeDefine => {
                "case \"$line\" in define*) kill -9 $PPID; exit;; esac; printf '%s\\n' \"$line\""
            }
            Cut::AfterDefine => {
                "printf '%s\\n' \"$line\"; case \"$line\" in define*) sleep 1; kill -9 $PPID; exit;; esac"
            }
            Cut::BeforePivot => {
                "case \"$line\" in *--pivot) kill -9 $PPID; exit;; esac; printf '%s\\n' \"$line\""
            }
            Cut::AfterPivot => {
                "printf '%s\\n' \"$line\"; case \"$line\" in *--pivot) sleep 1; kill -9 $PPID; exit;; esac"
            }
        };
        let script = format!(
            "case \"$*\" in *--readonly*) exec VIRSH \"$@\";; esac\n\
             while IFS= read -r line; do {at}; done | VIRSH \"$@\""
        );
        let ended = self.with_virsh(&script, words);
        assert_eq!(ended.status.code(), None, "{words}: {ended:?}");
    }

    /// How many processes of `virsh` this session is asked by.
    pub fn processes_of_virsh(&self, words: &str) -> usize {
        let list = self.at("asked");
        let script = format!("echo \"$*\" >>{}\nexec VIRSH \"$@\"", list.display());
        let ended = self.with_virsh(&script, words);
        assert!(ended.status.success(), "{words}: {ended:?}");
        let asked = fs::read_to_string(list).unwrap();
        asked
            .lines()
            .filter(|line| line.contains("qemu:///session"))
            .count()
    }

    /// Has us find a script in the place of `virsh`, in which `VIRSH` is the real one.
    fn with_virsh(&self, script: &str, words: &str) -> Output {
        let real = program("virsh").unwrap();
        let bin = self.dir.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let path = bin.join("virsh");
        let script = script.replace("VIRSH", real.to_str().unwrap());
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let search = std::env::var("PATH").unwrap();
        let mut command = self.command("qanopy");
        command.env("PATH", format!("{}:{search}", bin.display()));
        command.args(words.split(' ')).output().unwrap()
    }

    /// What an image of the tree is to the machine that uses it: its name and state, the part, whether it is pinned.
    pub fn use_of(&self, image: &str) -> (String, String, String, bool) {
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

    /// The kind of reason for which something is refused, if it is.
    pub fn refusal(&self, words: &str) -> String {
        let told = self.q(&format!("{words} --dry-run"));
        told["error"]["kind"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The command lines of the ways out of a refused plan; none of one that is not refused.
    pub fn ways_out(&self, words: &str) -> Vec<String> {
        let told = self.q(&format!("{words} --dry-run"));
        let refusals = told["result"]["plan"]["refusals"].as_array();
        let ways = refusals
            .into_iter()
            .flatten()
            .flat_map(|one| one["ways-out"].as_array().unwrap());
        let lines = ways.filter_map(|way| way["command"].as_str());
        lines.map(str::to_owned).collect()
    }
}

/// What was printed as JSON.
fn told(words: &str, ended: Output) -> Value {
    let out = String::from_utf8(ended.stdout).unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words}: {error}: {out}{err}"))
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
