//! A shell and commands of the person's own on hosts: a shell stands in for ssh.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::hosts::{open, says};
use super::pty::Terminal;
use crate::support::lab::Hosts;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// Commands of which one is seen, one is a job and one names no image.
const COMMANDS: &str = r#"
[[command]]
key = "!s"
title = "say it"
run = '''sh -c 'echo "in ${HOME##*/}: ${1##*/}"' x {path}'''
[[command]]
key = "!j"
title = "count"
run = "wc -c {chain}"
as = "job"
confirm = true
[[command]]
key = "!h"
title = "here"
run = '''sh -c 'echo "in ${HOME##*/} here"' '''
"#;

fn hosts() -> Hosts {
    let hosts = Hosts::new(QANOPY);
    let config = hosts.config().join("qanopy/config.toml");
    let mut config = OpenOptions::new().append(true).open(config).unwrap();
    config.write_all(COMMANDS.as_bytes()).unwrap();
    hosts
}

#[test]
fn a_command_runs_on_the_host_whose_images_it_names() {
    let hosts = hosts();
    let mut terminal = open(&hosts, &["--no-query", "@lab"], (120, 40));
    terminal.see("● one:/");
    terminal.see("● two:/");
    terminal.go_to("● two:");
    terminal.press("!s");
    terminal.see("in two: a.qcow2");
    terminal.see("Enter goes back to qanopy.");
    terminal.press("<enter>");
    terminal.see("1 Images");
    // What is to be confirmed says where.
    terminal.press("!j");
    says(&terminal, "two: wc -c");
    terminal.press("y");
    terminal.see("wc on two is done.");
    // What names no image is this machine's.
    terminal.press("!h");
    terminal.until("the home of this machine", |screen| {
        screen.contains(" here") && !screen.contains("in two here")
    });
    terminal.press("<enter>");
    terminal.see("1 Images");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_shell_opens_on_the_host_in_the_folder_of_the_image() {
    let hosts = hosts();
    let shell = hosts.path().join("shell");
    let told = hosts.path().join("told");
    let script = format!("#!/bin/sh\necho \"$1 $PWD $HOME\" > {}\n", told.display());
    fs::write(&shell, script).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let (ssh, config) = (hosts.ssh(), hosts.config());
    let env = [
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
        ("SHELL", shell.to_str().unwrap()),
    ];
    fs::create_dir(hosts.home("two").join("below")).unwrap();
    hosts.there("two", "move b.qcow2 below --yes");
    let mut terminal = Terminal::with_words(&["--no-query", "@lab"], &env, (120, 40));
    terminal.see("● one:/");
    terminal.see("below/b.qcow2");
    terminal.go_to("below/b.qcow2");
    terminal.press("o");
    let (dir, home) = (hosts.home("two").join("below"), hosts.home("two"));
    let expected = format!("-l {} {}\n", dir.display(), home.display());
    terminal.until("the shell has run", |_| {
        fs::read_to_string(&told).is_ok_and(|told| told == expected)
    });
    terminal.see("1 Images");
    // A host that cannot be reached by now: what ssh says is there to be read.
    fs::write(hosts.path().join("two.away"), "").unwrap();
    terminal.press("o");
    terminal.see("No route to host");
    terminal.see("Enter goes back to qanopy.");
    terminal.press("<enter>");
    terminal.see("1 Images");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
