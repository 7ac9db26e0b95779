//! Tools that a test calls. Where one is missing the test says so and passes; with `QANOPY_REQUIRE_QEMU=1` (set by the
//! project's CI) it fails instead.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// Where a tool is, on the PATH or where system tools are.
fn found(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// Whether all of these are here; otherwise a loud line on stderr.
pub fn has(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools.iter().filter(|tool| found(tool).is_none()).collect();
    missing.is_empty() || skip(&format!("{missing:?} missing"))
}

/// Whether this process may mount; otherwise a loud line on stderr.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    let root = id.is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    root || skip("not root")
}

/// Whether this process has a right that also root may not have, in a container for one; otherwise a loud line on
/// stderr. No tool brings it, so that it is missing is no failure.
pub fn has_capability(number: u32, name: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    let has = held.is_some_and(|held| held >> number & 1 == 1);
    if !has {
        say_skipped(&format!("{name} missing"));
    }
    has
}

/// Says that the running test is skipped, or fails where that is not allowed. Always false.
pub fn skip(why: &str) -> bool {
    let required = std::env::var_os("QANOPY_REQUIRE_QEMU").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{}: {why}; QANOPY_REQUIRE_QEMU=1 allows no skipping",
        running_test()
    );
    say_skipped(why);
    false
}

fn running_test() -> String {
    let thread = thread::current();
    thread.name().unwrap_or("(unnamed test)").to_owned()
}

fn say_skipped(why: &str) {
    // Not `eprintln!`, whose output the test harness swallows when the test passes.
    let line = format!("SKIPPED ({why}): {}\n", running_test());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Runs a tool with these words, which must succeed; its standard output.
pub fn run(words: &[&str]) -> String {
    let (tool, args) = words.split_first().unwrap();
    let path = found(tool).unwrap_or_else(|| PathBuf::from(tool));
    let out = Command::new(path)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {} {stderr}", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A disk that nobody here wrote, of Debian's packages `forensics-samples`; otherwise a loud line on stderr.
pub fn sample(name: &str) -> Option<Vec<u8>> {
    let file = format!("/usr/share/forensics-samples/{name}.xz");
    if !std::path::Path::new(&file).is_file() {
        skip(&format!("{file} of forensics-samples missing"));
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("sample.raw");
    run(&["sh", "-c", &format!("xz -dc {file} > {}", out.display())]);
    Some(std::fs::read(out).unwrap())
}
