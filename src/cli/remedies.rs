//! What gets a person further, as the command lines of it.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::fleet::{host_typed, person};
use crate::forest::far::path_on;
use crate::forest::{Forest, Node};
use crate::host::shell_quoted;
use crate::ops::{self, Remedy};

use super::output;

/// The label before a command line that helps.
pub(super) const HELPS: &str = "helps";

/// A path as the person types it: at another machine, with this one's name before it.
pub(super) fn typed_path(path: impl AsRef<Path>) -> String {
    match host_typed() {
        Some(host) => shell_quoted(path_on(host, path.as_ref())),
        None => shell_quoted(path.as_ref()),
    }
}

/// A command line without a path, as the person types it: at another machine, with this one's name behind the command.
pub(super) fn typed_line(command: &str, rest: &str) -> String {
    match host_typed() {
        Some(host) => format!("qanopy {command} {host}: {rest}"),
        None => format!("qanopy {command} {rest}"),
    }
}

/// The command lines; what has none is an option, or nothing that can be said here.
pub(super) fn lines(remedies: &[Remedy]) -> Vec<String> {
    let line = |remedy: &Remedy| match remedy {
        Remedy::Passphrase(_) => Some(passphrase_file("--passphrase-file")),
        Remedy::NewPassphrase(_) => Some(passphrase_file("--new-passphrase-file")),
        Remedy::LookIn(folder) => Some(format!("the option --scan {}", typed_path(folder))),
        _ => remedy.command_line().map(|line| line.typed().to_string()),
    };
    let mut lines: Vec<String> = Vec::new();
    for line in remedies.iter().filter_map(line) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// The option that names a file with a passphrase, and for a person at another machine how they are asked instead.
fn passphrase_file(option: &str) -> String {
    let file = match host_typed() {
        Some(host) => format!("the option {option} {}:FILE", shell_quoted(host)),
        None => format!("the option {option} FILE"),
    };
    match person() {
        Some(person) if !person.is_there() => {
            format!("{file}; it is asked for at a terminal, where one host alone is meant")
        }
        _ => file,
    }
}

/// What helps against all that is wrong with an image, each once.
pub(super) fn of_node(forest: &Forest, node: &Node) -> Vec<String> {
    let kinds = node.problems.iter().map(|problem| problem.kind);
    let remedies = kinds.flat_map(|kind| ops::fixes(forest, node, kind));
    lines(&remedies.collect::<Vec<_>>())
}

/// Tells them on standard error, a line each.
pub(super) fn complain(remedies: &[Remedy]) {
    for line in lines(remedies) {
        output::complain(format_args!("{HELPS}: {line}"));
    }
}

/// The same as fields of a JSON object: what can be run as it stands, and what has a word for the person to say.
pub(super) fn put_in(fields: &mut Map<String, Value>, remedies: &[Remedy]) {
    let (fixes, templates) = ops::command_lines(remedies);
    fields.insert("fixes".to_owned(), json!(fixes));
    fields.insert("templates".to_owned(), json!(templates));
}
