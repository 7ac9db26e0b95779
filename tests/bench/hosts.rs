//! The forests of a hundred hosts with a hundred images each, by one command line and on the screen: once with a shell
//! that stands in for ssh and the hosts, so that what is measured is this program on both sides, and with ssh and a real
//! sshd, all on this machine: by the key exchange that ssh chooses, of which some take 80 ms of each side's processor,
//! and by one that takes little everywhere.
//!
//! `cargo bench --bench hosts` prints for `tree`, `doctor` and the screen the seconds until something is seen and until
//! all is, and the most memory that this side ever had. `QANOPY_BENCH_HOSTS` sets another number of hosts.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.
#![allow(clippy::panic, dead_code, unreachable_pub)] // The terminal is the tests' own.

mod images;
mod many;
mod process;
#[path = "../tui/pty.rs"]
mod pty;
#[path = "../support/sshd.rs"]
mod sshd;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

const STAND_IN: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
export HOME="@HOSTS@/$2"
unset XDG_STATE_HOME XDG_CONFIG_HOME
cd "$HOME" && exec sh -c "$3"
"#;

/// What sshd runs for a host: each has a home of its own, by its address, and no start file of whoever measures.
const FORCED: &str = r#"#!/bin/sh
set -- $SSH_CONNECTION
address=${3#127.1.}
export HOME="@HOSTS@/$(printf 'host-%03d' $(( ${address%.*} * 250 + ${address#*.} - 1 )))"
unset XDG_STATE_HOME XDG_CONFIG_HOME
cd "$HOME" && exec sh -c "$SSH_ORIGINAL_COMMAND"
"#;

/// Writes a program that knows where the hosts are.
fn program(path: &Path, text: &str) {
    let hosts = path.parent().unwrap().to_str().unwrap();
    fs::write(path, text.replace("@HOSTS@", hosts)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes the configuration of all hosts; `ssh` stands for ssh where the stand-in does not.
fn configure(dir: &Path, hosts: usize, ssh: Option<&[String]>) {
    let mut config = String::new();
    for number in 0..hosts {
        let name = format!("host-{number:03}");
        let home = dir.join(&name);
        config += &format!("[[host]]\nname = \"{name}\"\nagent = \"{QANOPY}\"\n");
        config += &format!(
            "groups = [\"lab\"]\ndirs = [{:?}]\n",
            home.to_str().unwrap()
        );
        if let Some(words) = ssh {
            // Every address of that network is this machine.
            let (net, host) = (number / 250, number % 250 + 1);
            config += &format!("address = \"127.1.{net}.{host}\"\nssh = {words:?}\n");
        }
    }
    fs::create_dir_all(dir.join("config/qanopy")).unwrap();
    fs::write(dir.join("config/qanopy/config.toml"), config).unwrap();
}

/// All command lines, and the screen.
fn measure(env: &[(&str, &str)], images: usize) {
    for (what, words) in [
        ("tree, first", &["tree", "@lab"][..]),
        ("tree, again", &["tree", "@lab"]),
        ("tree --json", &["tree", "@lab", "--json"]),
        ("doctor", &["doctor", "@lab"]),
    ] {
        many::command(what, words, env);
    }
    many::screen(env, images);
}

fn main() {
    // `cargo test --benches` runs this too; then few hosts are enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_HOSTS").ok();
    let wished = wished.and_then(|number| number.parse().ok());
    let hosts: usize = wished.unwrap_or(if full { 100 } else { 3 });
    let each = images::wished(if full { 100 } else { 5 });
    let dir = tempfile::tempdir().unwrap();
    let ssh = dir.path().join("ssh");
    program(&ssh, STAND_IN);
    for number in 0..hosts {
        let home = dir.path().join(format!("host-{number:03}"));
        fs::create_dir(&home).unwrap();
        images::build(&home, each);
    }
    let config = dir.path().join("config");
    let env = [
        ("HOME", dir.path().to_str().unwrap()),
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
    ];
    println!("{hosts} hosts with {each} images each, a shell in place of ssh");
    configure(dir.path(), hosts, None);
    measure(&env, hosts * each);
    let forced = dir.path().join("forced");
    program(&forced, FORCED);
    let options = [
        format!("SetEnv=HOME={}", dir.path().display()),
        format!("ForceCommand={}", forced.display()),
        "MaxStartups=300:30:600".to_owned(),
    ];
    match sshd::server_at(dir.path(), "0.0.0.0", &options) {
        Some(daemon) => {
            let words: Vec<String> = daemon.ssh.split(' ').map(str::to_owned).collect();
            println!(
                "the same by ssh and an sshd of this machine, a key exchange for each host and command line"
            );
            configure(dir.path(), hosts, Some(&words));
            measure(&env, hosts * each);
            println!("the same with the key exchange curve25519-sha256");
            let cheap = ["-o", "KexAlgorithms=curve25519-sha256"].map(str::to_owned);
            configure(dir.path(), hosts, Some(&[words, cheap.into()].concat()));
            measure(&env, hosts * each);
        }
        None => println!("by ssh: not measured, root and an sshd are needed"),
    }
}
