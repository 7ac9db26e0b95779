//! What one user can know of the processes of another: their command lines, and nothing of what they have open.

use crate::support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::qemu;

/// Ends it with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a user who is not root could be made the one who asks; says so where not.
pub(crate) fn may_become_another() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("(unnamed test)");
        // Not `eprintln!`, whose output the test harness swallows when the test passes.
        let line = format!("SKIPPED (nobody else to be, not root?): {test}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    is_root
}

/// Puts the program into a folder that all may go to: where it was built others may not.
pub(crate) fn put_program(home: &Path) {
    let (built, program) = (env!("CARGO_BIN_EXE_qanopy"), home.join("qanopy"));
    if fs::hard_link(built, &program).is_err() {
        fs::copy(built, program).unwrap();
    }
}

/// That program as a user to whom nothing belongs, beside the images in that folder.
pub(crate) fn as_nobody(home: &Path, words: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(home.join("qanopy"))
        .args(words.split(' '))
        .current_dir(home.join("images"))
        .env("HOME", home)
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .stdin(Stdio::null());
    command
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn an_image_on_the_command_line_of_another_users_process_is_no_garbage() {
    let Some(qemu) = qemu() else { return };
    if !may_become_another() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    open_to_all(&home);
    let images = home.join("images");
    fs::create_dir(&images).unwrap();
    open_to_all(&images);
    let tools = qemu.within(&images);
    tools.img(&["create", "-q", "-f", "qcow2", "base", "1M"]);
    for name in ["one", "two"] {
        tools.img(&[
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", name,
        ]);
        open_to_all(&images.join(name));
    }
    put_program(&home);
    let other = Command::new("tail")
        .arg("-f")
        .arg(images.join("one"))
        .stdout(Stdio::null())
        .spawn();
    let other = Ends(other.unwrap());
    let q = |words: &str| {
        let ended = as_nobody(&home, words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&ended.stdout), text(&ended.stderr))
    };
    let (out, err) = q("garbage --older-than 0 --bases");
    let lines: Vec<&str> = out.lines().filter(|line| !line.starts_with('!')).collect();
    assert!(
        lines[0].ends_with("/two") && !lines[1].contains("/one"),
        "{out}{err}"
    );
    let who = format!(
        "tail (process {}, of user 0), whose command line names it",
        other.0.id()
    );
    assert!(out.contains(&who), "{out}{err}");
    assert!(
        out.contains("! not asked: processes of other users"),
        "{out}{err}"
    );

    let (out, err) = q("garbage --older-than 0 --discard -n");
    assert!(
        out.contains("not asked: processes of other users"),
        "{out}{err}"
    );
    let (out, err) = q("discard one -n");
    let warning = format!(
        "one stands on the command line of tail (process {}",
        other.0.id()
    );
    assert!(out.contains(&warning), "{out}{err}");
    drop(other);
    let (out, err) = q("discard one -n");
    assert!(!out.contains("on the command line of"), "{out}{err}");
}
