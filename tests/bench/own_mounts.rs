//! Mounts that are gone with the process that made them, even where it is killed.

use std::os::unix::process::CommandExt;
use std::process::Command;

const DONE: &str = "QANOPY_BENCH_MOUNTS_ARE_OWN";

/// Begins the process again where nobody else sees what it mounts; goes on as it is where that is not allowed.
#[allow(clippy::panic)] // A benchmark fails loudly.
pub(crate) fn enter() {
    if std::env::var_os(DONE).is_some() || !nix::unistd::geteuid().is_root() {
        return;
    }
    let apart = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave"]);
        command
    };
    if apart()
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        let me = std::env::current_exe().unwrap();
        let failed = apart()
            .arg(me)
            .args(std::env::args_os().skip(1))
            .env(DONE, "1")
            .exec();
        panic!("{failed}");
    }
}
