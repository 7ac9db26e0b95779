//! The machines that may see the same storage: the hosts of the configuration, those that the command line names, and
//! this machine for those.

use crate::fleet::{HostEntry, Peers, person};

use super::destination::destination;
use crate::cli::config;

/// Who is asked by a process that plans: whoever started it at another machine, else the hosts of the configuration.
pub(in crate::cli) fn of_this_process() -> Peers {
    match person() {
        Some(person) => Peers::Person(person),
        None => of(&config::of_this_run().0.hosts, []),
    }
}

/// All hosts of these entries, and those that a command line names besides.
pub(in crate::cli) fn of<'a>(
    entries: &'a [HostEntry],
    named: impl IntoIterator<Item = &'a str>,
) -> Peers {
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    for name in named {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Peers::hosts(names.into_iter().map(|name| destination(name, entries)))
}
