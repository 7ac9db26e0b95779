//! Images of other machines, named as scp names files: `HOST:PATH`. The command line itself is run there; here it is
//! found out which host is meant, and what comes back is shown. Groups of hosts are `@GROUP`.

pub(super) mod copy;
mod destination;
mod filter;
mod original;
mod passphrase;
pub(super) mod peers;
mod rules;
mod several;
mod shared;
mod shown;
mod task;
mod words;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, FromArgMatches};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::fleet::{Address, Destination, FarFolders, HERE, HostEntry, address};
use crate::host::printable;

use super::exit::Stop;
use super::options::{Globals, OpenArgs};
use super::output::Out;
use super::program;
use super::send::BY_AGENT;
use destination::destination;
use rules::{changes_several, here_alone, is_for_hosts, is_for_several};
use task::Task;
use words::name_of_command;

pub(super) use rules::{permitted, permitted_within};
pub(super) use words::{names_file, rebuilt};

/// The sides of a copy.
const BY_AGENTS: [&str; 2] = ["send", "receive"];
/// The command that is about two hosts.
const COPY: &str = "copy";
/// The argument that lists the folders of a command that takes several.
const FOLDERS: &str = "dirs";

/// A command line for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// None for this machine.
    host: Option<String>,
    words: Vec<OsString>,
}

/// A command line about other machines.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The command's own name.
    command: String,
    parts: Vec<Part>,
    /// Whether one host has to be done before the next begins: what one changes, others may see.
    in_turn: bool,
    /// Whether no command is named: the screen is asked for, where there is one.
    pub(super) is_screen: bool,
    /// Whether the terminal is asked nothing.
    pub(super) no_query: bool,
    /// What every command understands, as far as it was typed.
    pub(super) globals: Globals,
}

/// What a command line asks of other machines; none where it names none.
///
/// # Errors
/// What is wrong with it, if it names some and makes no sense.
pub(super) fn asked(arguments: &[OsString], entries: &[HostEntry]) -> Result<Option<Asked>, Stop> {
    let (hosts, arguments) = hosts_of_entries(arguments);
    let mut program = program();
    program.build();
    // What is wrong with it otherwise is told of all command lines alike.
    let Ok(matches) = program.try_get_matches_from_mut(&arguments) else {
        return Ok(None);
    };
    let mut named: Vec<(bool, OsString)> = Vec::new();
    rebuilt(&program, &matches, &mut |argument, value| {
        if names_file(argument) {
            named.push((argument.get_id() == FOLDERS, value.to_owned()));
        }
        Some(value.to_owned())
    });
    if hosts.is_empty() && !named.iter().any(|(_, value)| remote(value).is_some()) {
        return Ok(None);
    }
    let command = match name_of_command(&matches) {
        none if none.is_empty() => "tree".to_owned(),
        name => name,
    };
    if BY_AGENTS.contains(&command.as_str()) {
        return Err(Stop::Usage(BY_AGENT.to_owned()));
    }
    // It names two, and has a way of its own.
    if command == COPY {
        return Ok(None);
    }
    if !is_for_hosts(&command) {
        let text = format!("{command} is about this machine: it takes no HOST:PATH");
        return Err(Stop::Usage(text));
    }
    if let Some(why) = here_alone(&matches) {
        return Err(Stop::Usage(why));
    }
    if matches.subcommand().is_none() && matches.get_flag("plain") {
        let text = "--plain is about this machine: it takes no HOST:PATH".to_owned();
        return Err(Stop::Usage(text));
    }
    let folders = named.iter().filter(|(is_folder, _)| *is_folder);
    let folders: Vec<&OsStr> = folders.map(|(_, value)| value.as_os_str()).collect();
    let hosts = match (hosts.is_empty(), folders.is_empty()) {
        (false, _) => hosts_named(hosts, entries)?,
        (true, false) => hosts_of_folders(&folders, entries)?,
        (true, true) => one_host(&named)?,
    };
    if hosts.len() > 1 && !is_for_several(&command) {
        let text = format!("{command} is about one host at a time");
        return Err(Stop::Usage(text));
    }
    let in_turn = hosts.len() > 1 && changes_several(&matches).map_err(Stop::Usage)?;
    for (_, value) in named.iter().filter(|(is_folder, _)| !is_folder) {
        belongs(value, &hosts)?;
    }
    let parts = hosts.iter().map(|host| {
        let words = part(&program, &matches, host.as_deref(), entries)?;
        Ok(Part {
            host: host.clone(),
            words,
        })
    });
    let parts = parts.collect::<Result<Vec<Part>, Stop>>()?;
    let globals =
        Globals::from_arg_matches(&matches).map_err(|error| Stop::Usage(error.to_string()))?;
    Ok(Some(Asked {
        command,
        parts,
        in_turn,
        is_screen: matches.subcommand().is_none(),
        no_query: matches!(matches.try_get_one("no_query"), Ok(Some(true))),
        globals,
    }))
}

/// Whether any word could name a host: what needs no look at the configuration.
pub(super) fn may_name_hosts(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1).map(|word| word.as_bytes());
    words.any(|word| word.contains(&b':') || word.starts_with(b"@"))
}

/// The host of a value that names a place there. A file of that very name that is here is meant, as for scp.
fn remote(value: &OsStr) -> Option<Address> {
    let found = address(value)?;
    Path::new(value)
        .symlink_metadata()
        .is_err()
        .then_some(found)
}

/// Hosts that stand alone, or before the number of an entry, where a command names no file: `log web:`, `undo web:7`.
fn hosts_of_entries(arguments: &[OsString]) -> (Vec<String>, Vec<OsString>) {
    let command = arguments
        .iter()
        .skip(1)
        .find(|word| !word.as_bytes().starts_with(b"-"));
    let takes_entries = command.and_then(|word| word.to_str()).is_some_and(|word| {
        [
            "log", "undo", "redo", "recover", "trash", "machine", "redefine",
        ]
        .contains(&word)
    });
    if !takes_entries {
        return (Vec::new(), arguments.to_vec());
    }
    let (mut hosts, mut rest) = (Vec::new(), Vec::new());
    for word in arguments {
        let entry =
            remote(word).filter(|found| found.path.as_bytes().iter().all(u8::is_ascii_digit));
        match entry {
            Some(Address { host, path }) => {
                hosts.push(host);
                rest.extend((!path.is_empty()).then_some(path));
            }
            None => rest.push(word.clone()),
        }
    }
    (hosts, rest)
}

/// The hosts that are named, those of groups one by one.
fn hosts_named(names: Vec<String>, entries: &[HostEntry]) -> Result<Vec<Option<String>>, Stop> {
    let mut hosts = Vec::new();
    for name in names {
        for host in members(&name, entries)? {
            if !hosts.contains(&Some(host.clone())) {
                hosts.push(Some(host));
            }
        }
    }
    Ok(hosts)
}

/// The hosts whose folders are named, in that order; none stands for this machine.
fn hosts_of_folders(
    folders: &[&OsStr],
    entries: &[HostEntry],
) -> Result<Vec<Option<String>>, Stop> {
    let mut hosts = Vec::new();
    for folder in folders {
        let of_folder = match remote(folder) {
            Some(found) => members(&found.host, entries)?
                .into_iter()
                .map(Some)
                .collect(),
            None => vec![None],
        };
        for host in of_folder {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    Ok(hosts)
}

/// The hosts that a name stands for.
fn members(name: &str, entries: &[HostEntry]) -> Result<Vec<String>, Stop> {
    let Some(group) = name.strip_prefix('@') else {
        return Ok(vec![name.to_owned()]);
    };
    let of_group = entries
        .iter()
        .filter(|entry| entry.groups.iter().any(|one| one == group));
    let members: Vec<String> = of_group.map(|entry| entry.name.clone()).collect();
    if members.is_empty() {
        let text = format!(
            "no host is in the group {group}: name it in the configuration, groups = [\"{group}\"] below [[host]]"
        );
        return Err(Stop::Usage(text));
    }
    Ok(members)
}

/// The one host that all files are on.
fn one_host(named: &[(bool, OsString)]) -> Result<Vec<Option<String>>, Stop> {
    let found: Vec<Address> = named
        .iter()
        .filter_map(|(_, value)| remote(value))
        .collect();
    let hosts: BTreeSet<&str> = found.iter().map(|found| found.host.as_str()).collect();
    let names: Vec<&str> = hosts.into_iter().collect();
    match names.as_slice() {
        [group] if group.starts_with('@') => {
            let text = format!("{group} stands for several hosts: name one of them");
            Err(Stop::Usage(text))
        }
        [host] => Ok(vec![Some((*host).to_owned())]),
        _ => {
            let text = format!(
                "{} are different hosts: name files of one",
                names.join(" and ")
            );
            Err(Stop::Usage(text))
        }
    }
}

/// Whether a file that is named beside others is on one of their hosts.
fn belongs(value: &OsStr, hosts: &[Option<String>]) -> Result<(), Stop> {
    let host = remote(value).map(|found| found.host);
    if hosts.contains(&host) {
        return Ok(());
    }
    let name = printable(value);
    let first = hosts.iter().flatten().next().map_or(HERE, String::as_str);
    let text = match host {
        Some(host) => {
            format!("{name}: nothing is asked of {host} otherwise: name files of one host")
        }
        None => format!(
            "{name} is on this machine, and the rest is on {first}: write {first}:{name} if it is there; `copy` \
             copies images between machines, and `copy --move` moves them"
        ),
    };
    Err(Stop::Usage(text))
}

/// The words for one host.
fn part(
    program: &clap::Command,
    matches: &ArgMatches,
    host: Option<&str>,
    entries: &[HostEntry],
) -> Result<Vec<OsString>, Stop> {
    let mut missing = None;
    let mut folders = Vec::new();
    let mut change = |argument: &Arg, value: &OsStr| {
        if !names_file(argument) {
            return Some(value.to_owned());
        }
        let path = here_of(value, host, entries)?;
        if argument.get_id() != FOLDERS {
            return Some(path);
        }
        match folders_of(&path, value, host, entries) {
            Ok(all) => folders.extend(all),
            Err(stop) => missing = Some(stop),
        }
        None
    };
    let mut words = rebuilt(program, matches, &mut change);
    if let Some(stop) = missing {
        return Err(stop);
    }
    if matches.subcommand().is_none() {
        words.retain(|word| word != "--no-query");
        words.insert(0, "tree".into());
    }
    if !folders.is_empty() {
        words.push("--".into());
        words.extend(folders);
    }
    Ok(words)
}

/// The path of a value, if it is about this host.
fn here_of(value: &OsStr, host: Option<&str>, entries: &[HostEntry]) -> Option<OsString> {
    match (remote(value), host) {
        (Some(found), Some(host)) => {
            let all = members(&found.host, entries).unwrap_or_default();
            all.iter().any(|one| one == host).then_some(found.path)
        }
        (None, None) => Some(value.to_owned()),
        _ => None,
    }
}

/// The folders of a host: those named, those of the configuration, or where the host begins.
fn folders_of(
    path: &OsStr,
    value: &OsStr,
    host: Option<&str>,
    entries: &[HostEntry],
) -> Result<Vec<OsString>, Stop> {
    if host.is_none() || !path.is_empty() {
        return Ok(vec![path.to_owned()]);
    }
    let entry = entries
        .iter()
        .find(|entry| Some(entry.name.as_str()) == host);
    let own = entry.map(|entry| entry.dirs.as_slice()).unwrap_or_default();
    let is_group = value.as_bytes().starts_with(b"@");
    if own.is_empty() && is_group {
        let host = host.unwrap_or(HERE);
        let text = format!(
            "no folder of {host} is known: write {}:DIR, or dirs = [\"DIR\"] below [[host]] in the configuration",
            printable(value)
        );
        return Err(Stop::Usage(text));
    }
    Ok(match own.is_empty() {
        true => vec![".".into()],
        false => own.iter().map(OsString::from).collect(),
    })
}

/// What the screen is asked to show: how this machine's folders are looked at, and the folders of hosts.
pub(super) fn of_screen(asked: Asked, entries: &[HostEntry]) -> (OpenArgs, Vec<FarFolders>) {
    let mut here = OpenArgs::default();
    let mut hosts = Vec::new();
    for part in asked.parts {
        let end = part.words.iter().position(|word| word == "--");
        let (look, folders) = part.words.split_at(end.unwrap_or(part.words.len()));
        let folders: Vec<PathBuf> = folders.iter().skip(1).map(PathBuf::from).collect();
        let is_given = |word: &str| look.iter().any(|given| given == word);
        here.look.follow |= is_given("--follow");
        here.look.raw |= is_given("--raw");
        let Some(host) = part.host else {
            here.dirs.extend(folders);
            continue;
        };
        // The first is the command that prints the same.
        let words = |command: &str| {
            let more = part.words.iter().skip(1).cloned();
            [OsString::from(command)].into_iter().chain(more).collect()
        };
        let (scan, tell) = (words("scan"), words("tell"));
        hosts.push(FarFolders {
            to: destination(&host, entries),
            folders,
            scan,
            tell,
            read: vec!["read".into()],
        });
    }
    (here, hosts)
}

/// Has it done, shows what comes back, and gives the exit code.
pub(super) fn run(
    out: &mut Out,
    globals: Globals,
    asked: Asked,
    entries: &[HostEntry],
) -> anyhow::Result<ExitCode> {
    let stops = count_stops()?;
    let named = asked.parts.iter().filter_map(|part| part.host.as_deref());
    let all = peers::of(entries, named);
    let mut tasks = Vec::new();
    for part in asked.parts {
        let to = match &part.host {
            Some(host) => destination(host, entries),
            None => Destination::here(HERE),
        };
        let mut words = global_words(globals);
        words.extend(part.words);
        tasks.push(Task { to, words });
    }
    let is_raw = asked.command == "cat";
    match tasks.as_slice() {
        [task] if !globals.json || globals.bare_json => {
            shown::run(out, task, &all, is_raw, &stops).map(ExitCode::from)
        }
        _ if globals.bare_json => {
            let text = "--output=json gives the result of one host".to_owned();
            Err(Stop::Usage(text).into())
        }
        _ => several::run(out, globals, (&tasks, asked.in_turn), &all, &stops).map(ExitCode::from),
    }
}

/// What every command understands, as it holds here.
fn global_words(globals: Globals) -> Vec<OsString> {
    let words = [
        ("--json", globals.json && !globals.bare_json),
        ("--bare-json", globals.bare_json),
        ("--read-only", globals.read_only),
        ("--ascii", globals.ascii),
        ("--no-ascii", globals.no_ascii),
    ];
    let given = words.iter().filter(|(_, is_given)| *is_given);
    given.map(|(word, _)| OsString::from(word)).collect()
}

/// Counts how often the person asks to stop.
fn count_stops() -> anyhow::Result<Arc<AtomicUsize>> {
    let stops = Arc::new(AtomicUsize::new(0));
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
    let mut signals = signals.context("cannot watch for Ctrl-C")?;
    let counted = stops.clone();
    thread::spawn(move || {
        for _ in signals.forever() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(stops)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<HostEntry> {
        let entry = |name: &str, dirs: &[&str]| HostEntry {
            name: name.to_owned(),
            dirs: dirs.iter().map(|dir| (*dir).to_owned()).collect(),
            groups: vec!["lab".to_owned()],
            ..HostEntry::default()
        };
        vec![entry("one", &["/a", "/b"]), entry("two", &[])]
    }

    fn parts(line: &str) -> Result<Vec<(Option<String>, String)>, String> {
        let line: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let asked = asked(&line, &entries()).map_err(|stop| stop.to_string())?;
        let parts = asked.map(|asked| asked.parts).unwrap_or_default();
        let text = |part: Part| {
            let words: Vec<_> = part
                .words
                .iter()
                .map(|word| word.to_str().unwrap())
                .collect();
            (part.host, words.join(" "))
        };
        Ok(parts.into_iter().map(text).collect())
    }

    #[test]
    fn a_command_line_is_taken_apart_by_host() {
        let on = |host: &str, words: &str| (Some(host.to_owned()), words.to_owned());
        for (line, expected) in [
            ("q tree /a", vec![]),
            (
                "q info web:/a --chain --json",
                vec![on("web", "info --chain -- /a")],
            ),
            ("q web:/a", vec![on("web", "tree -- /a")]),
            ("q tree web:", vec![on("web", "tree -- .")]),
            ("q tree one:", vec![on("one", "tree -- /a /b")]),
            (
                "q tree web:/a /here web:/b --raw",
                vec![
                    on("web", "tree --raw -- /a /b"),
                    (None, "tree --raw -- /here".to_owned()),
                ],
            ),
            (
                "q doctor @lab:/x",
                vec![on("one", "doctor -- /x"), on("two", "doctor -- /x")],
            ),
            (
                "q branch web:a web:b --data-file web:c -y",
                vec![on("web", "branch --data-file=c --yes -- a b")],
            ),
            ("q resize web:a -1G", vec![on("web", "resize -- a -1G")]),
            ("q cat web:a /etc/x:y", vec![on("web", "cat -- a /etc/x:y")]),
            (
                "q prune web:/a db:/b --all --yes",
                vec![
                    on("web", "prune --all --yes -- /a"),
                    on("db", "prune --all --yes -- /b"),
                ],
            ),
            ("q log web: --last 3", vec![on("web", "log --last=3")]),
            ("q log @lab", vec![on("one", "log"), on("two", "log")]),
            ("q undo web:7 -y", vec![on("web", "undo --yes -- 7")]),
            ("q undo --dir web:/a", vec![on("web", "undo --dir=/a")]),
            ("q trash list web:", vec![on("web", "trash list")]),
            (
                "q garbage one:/a --root one:/a/b",
                vec![on("one", "garbage --root=/a/b -- /a")],
            ),
        ] {
            assert_eq!(parts(line).as_deref(), Ok(expected.as_slice()), "{line}");
        }
    }

    #[test]
    fn the_command_line_that_a_host_gives_asks_here_for_the_same_there() {
        let mut asked = 0;
        for line in crate::cli::tests::LINES {
            let words = std::iter::once("q").chain(line.split(' '));
            let request = crate::cli::tests::request_of(words).unwrap();
            let given = request.command_line().unwrap().on("web");
            let found = super::asked(given.words(), &[]);
            let found = match found {
                Err(stop) if stop.to_string().contains("about this machine") => continue,
                Err(stop) => panic!("{given}: {stop}"),
                Ok(found) => found.unwrap_or_else(|| panic!("{given}")),
            };
            let [part] = &found.parts[..] else {
                panic!("{given}");
            };
            assert_eq!(part.host.as_deref(), Some("web"), "{given}");
            let words = [OsString::from("q")].into_iter().chain(part.words.clone());
            assert_eq!(
                crate::cli::tests::request_of(words),
                Some(request),
                "{given}"
            );
            asked += 1;
        }
        assert!(asked > 50, "{asked}");
    }

    #[test]
    fn what_cannot_be_done_over_hosts_says_what_can() {
        for (line, why) in [
            ("q branch web:a b", "web:b"),
            ("q compare web:a db:b", "different hosts"),
            ("q garbage web:/a --root /b", "web:/b"),
            ("q mount web:a /mnt", "this machine"),
            ("q info @lab:/a", "several hosts"),
            ("q tree @none", "group none"),
            ("q tree @lab", "no folder of two"),
            ("q undo web:1 db:", "one host"),
            ("q prune one: two:/x --all", "--yes agrees"),
            ("q garbage one: two:/x --discard", "--yes agrees"),
            ("q prune one: two:/x --all --confirm 3", "one host"),
        ] {
            let told = parts(line).unwrap_err();
            assert!(told.contains(why), "{line}: {told}");
        }
    }

    #[test]
    fn a_file_that_is_here_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b");
        std::fs::write(&odd, "").unwrap();
        assert_eq!(parts(&format!("q info {}", odd.display())), Ok(vec![]));
        assert_eq!(
            remote(OsStr::new("no-such-file:b")).unwrap().host,
            "no-such-file"
        );
    }
}
