//! Which commands are run on other machines.

use clap::{ArgMatches, Command};

use super::words::name_of_command;

/// Commands that change nothing, unless an option says so; with --read-only that is refused.
const READING: &[&str] = &[
    "tree",
    "scan",
    "tell",
    "holders",
    "read",
    "info",
    "check",
    "doctor",
    "map",
    "compare",
    "diff",
    "contents",
    "files",
    "cat",
    "explain",
    "history",
    "find",
    "measure",
    "send",
    "space",
    "garbage",
    "prune",
    "log",
    "recover",
    "snapshot list",
    "bitmap list",
    "keyslot list",
    "trash list",
    "machine list",
];

/// Commands for whoever may see one folder and nothing else of the machine.
const WITHIN_A_FOLDER: &[&str] = &[
    "tree",
    "scan",
    "read",
    "info",
    "check",
    "map",
    "compare",
    "diff",
    "contents",
    "files",
    "cat",
    "explain",
    "history",
    "find",
    "measure",
    "send",
    "snapshot list",
    "bitmap list",
    "keyslot list",
];

/// Commands that are about this machine, or about the program itself.
const HERE_ONLY: &[&str] = &[
    "copy",
    "mount",
    "index list",
    "index forget",
    "demo",
    "config",
    "completions",
    "man",
    "schema",
    "agent",
    "help",
    "job",
];

/// Commands that take several hosts.
const SEVERAL: &[&str] = &[
    "tree",
    "doctor",
    "space",
    "garbage",
    "prune",
    "log",
    "trash list",
    "machine list",
];

/// Whether a command is one for other machines.
pub(super) fn is_for_hosts(name: &str) -> bool {
    let first = name.split(' ').next().unwrap_or(name);
    !HERE_ONLY.contains(&first) && !HERE_ONLY.contains(&name)
}

/// Why a command line is done by the machine that it is typed on alone, though others of its command are not.
pub(super) fn here_alone(matches: &ArgMatches) -> Option<String> {
    let (_, machine) = matches
        .subcommand()
        .filter(|(name, _)| *name == "machine")?;
    let (_, tried) = machine.subcommand().filter(|(name, _)| *name == "try")?;
    (!tried.contains_id("like")).then(|| {
        "machine try without --like is about this machine, which shows the program's window: \
         --like MACHINE runs the image on its host, as libvirt's machine of that name is defined"
            .to_owned()
    })
}

/// Whether it may be asked of several at once.
pub(super) fn is_for_several(name: &str) -> bool {
    SEVERAL.contains(&name)
}

/// Whether a command line that may be asked of several hosts has each of them change something.
///
/// # Errors
/// Why it is not asked of several at once: it needs a person who agrees to each plan.
pub(super) fn changes_several(matches: &ArgMatches) -> Result<bool, String> {
    let Some((name, given)) = matches.subcommand() else {
        return Ok(false);
    };
    let is_given = |id: &str| matches!(given.try_get_one::<bool>(id), Ok(Some(true)));
    let changes = match name {
        "prune" => is_given("all"),
        "garbage" => is_given("discard"),
        _ => false,
    };
    if !changes || is_given("dry_run") {
        return Ok(false);
    }
    if matches!(given.try_get_one::<u64>("confirm"), Ok(Some(_))) {
        return Err("--confirm agrees to the plan of one host: name one".to_owned());
    }
    match is_given("yes") {
        true => Ok(true),
        false => Err(
            "nobody is asked for several hosts at once: --yes agrees to the plan of each, --dry-run shows them, or name \
             one host"
                .to_owned(),
        ),
    }
}

/// Whether an agent runs this command line.
///
/// # Errors
/// Why it does not.
pub(in crate::cli) fn permitted(
    program: &Command,
    matches: &ArgMatches,
    read_only: bool,
) -> Result<(), String> {
    let name = name_of_command(matches);
    let first = name.split(' ').next().unwrap_or_default();
    if first.is_empty() || program.find_subcommand(first).is_none() {
        return Err("no command is named".to_owned());
    }
    if !is_for_hosts(&name) {
        return Err(format!("{name} is done by the machine that it is typed on"));
    }
    if let Some(why) = here_alone(matches) {
        return Err(why);
    }
    if read_only && !READING.contains(&name.as_str()) {
        return Err(format!(
            "the agent there only reads, and {name} changes something"
        ));
    }
    Ok(())
}

/// Whether an agent that shows one folder runs this command line.
///
/// # Errors
/// Why it does not.
pub(in crate::cli) fn permitted_within(matches: &ArgMatches) -> Result<(), String> {
    let name = name_of_command(matches);
    match WITHIN_A_FOLDER.contains(&name.as_str()) {
        true => Ok(()),
        false => Err(format!(
            "the agent there only shows the images of one folder, and {name} looks further"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_tried_on_a_host_where_a_machine_of_libvirts_shows_it() {
        let permitted = |words: &str, read_only: bool| {
            let program = crate::cli::program();
            let words = ["qanopy"].into_iter().chain(words.split(' '));
            let matches = program.clone().try_get_matches_from(words).unwrap();
            permitted(&program, &matches, read_only)
        };
        let why = permitted("machine try a", false).unwrap_err();
        assert!(why.contains("--like"), "{why}");
        assert_eq!(permitted("machine try --like web a", false), Ok(()));
        assert!(permitted("machine try --like web a", true).is_err());
    }

    #[test]
    fn the_lists_name_commands_that_are_there() {
        let program = crate::cli::program();
        let is_there = |name: &&&str| {
            let mut at = Some(&program);
            for word in name.split(' ') {
                at = at.and_then(|command| command.find_subcommand(word));
            }
            at.is_some() || **name == "help"
        };
        for list in [READING, WITHIN_A_FOLDER, HERE_ONLY, SEVERAL] {
            let gone: Vec<_> = list.iter().filter(|name| !is_there(name)).collect();
            assert!(gone.is_empty(), "{gone:?}");
        }
    }
}
