//! A command line taken apart and put together again: what names a file can be changed on the way.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, parser::ValueSource};

/// Names of files that are read as words, since they need not be there.
const FILES: [&str; 3] = ["passphrase_file", "new_passphrase_file", "data_file"];

/// Whether what stands for this argument is the name of a file.
pub(in crate::cli) fn names_file(argument: &Arg) -> bool {
    let is_path = matches!(
        argument.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
    );
    is_path || FILES.contains(&argument.get_id().as_str())
}

/// Says what stands for a value of an argument; none to leave it out.
pub(in crate::cli) type Change<'a> = dyn FnMut(&Arg, &OsStr) -> Option<OsString> + 'a;

/// The words of a command line, without those that every command understands. What stands for no option comes last,
/// so that nothing is taken for one.
pub(in crate::cli) fn rebuilt(
    command: &Command,
    matches: &ArgMatches,
    change: &mut Change<'_>,
) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut last = Vec::new();
    let given = |argument: &&Arg| {
        let id = argument.get_id().as_str();
        let is_known = matches!(matches.try_contains_id(id), Ok(true));
        is_known && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    let mut arguments: Vec<&Arg> = command.get_arguments().filter(given).collect();
    arguments.retain(|argument| !argument.is_global_set());
    arguments.sort_by_key(|argument| argument.get_index());
    for argument in arguments {
        let id = argument.get_id().as_str();
        let name = name_of(argument);
        match argument.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => words.push(name),
            ArgAction::Count => {
                let count = usize::from(matches.get_count(id));
                words.extend(std::iter::repeat_n(name, count));
            }
            _ => {
                for values in matches.get_raw_occurrences(id).into_iter().flatten() {
                    let values: Vec<OsString> =
                        values.filter_map(|value| change(argument, value)).collect();
                    match argument.is_positional() {
                        true => last.extend(values),
                        false => option(&mut words, &name, values),
                    }
                }
            }
        }
    }
    if let Some((name, below)) = matches.subcommand() {
        words.push(name.into());
        if let Some(command) = command.find_subcommand(name) {
            words.extend(rebuilt(command, below, change));
        }
    } else if !last.is_empty() {
        words.push("--".into());
        words.extend(last);
    }
    words
}

fn name_of(argument: &Arg) -> OsString {
    match (argument.get_long(), argument.get_short()) {
        (Some(long), _) => format!("--{long}").into(),
        (None, Some(short)) => format!("-{short}").into(),
        (None, None) => OsString::new(),
    }
}

/// An option with its values. One value is joined to it: it may begin as an option does.
fn option(words: &mut Vec<OsString>, name: &OsStr, values: Vec<OsString>) {
    match values.as_slice() {
        [] => {}
        [value] => {
            let mut word = name.to_owned();
            word.push("=");
            word.push(value);
            words.push(word);
        }
        _ => {
            words.push(name.to_owned());
            words.extend(values);
        }
    }
}

/// The command's own name: `snapshot list`; empty where none is given.
pub(in crate::cli) fn name_of_command(matches: &ArgMatches) -> String {
    let mut words = Vec::new();
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        words.push(name);
        at = below;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(line: &str) -> (Vec<OsString>, Vec<OsString>) {
        let again = |words: Vec<OsString>| {
            let mut program = crate::cli::program();
            program.build();
            let words = std::iter::once(OsString::from("qanopy")).chain(words);
            let matches = program.try_get_matches_from_mut(words).unwrap();
            rebuilt(&program, &matches, &mut |_, value| Some(value.to_owned()))
        };
        let once = again(line.split(' ').map(OsString::from).collect());
        (once.clone(), again(once))
    }

    #[test]
    fn a_command_line_asks_for_the_same_once_it_is_rebuilt() {
        for line in crate::cli::tests::LINES {
            let (once, twice) = twice(line);
            assert_eq!(once, twice, "{line}");
            let request = |words: Vec<OsString>| {
                crate::cli::tests::request_of(std::iter::once(OsString::from("q")).chain(words))
            };
            let plain = line.split(' ').map(OsString::from).collect();
            assert_eq!(request(once), request(plain), "{line}");
        }
    }

    #[test]
    fn what_names_a_file_is_known() {
        let mut program = crate::cli::program();
        program.build();
        let matches = program
            .try_get_matches_from_mut([
                "q",
                "convert",
                "a",
                "b",
                "--backing",
                "c",
                "--passphrase-file",
                "d",
                "--snapshot",
                "e",
            ])
            .unwrap();
        let mut files = Vec::new();
        rebuilt(&program, &matches, &mut |argument, value| {
            if names_file(argument) {
                files.push(value.to_str().unwrap().to_owned());
            }
            None
        });
        files.sort();
        assert_eq!(files, ["a", "b", "c", "d"]);
    }
}
