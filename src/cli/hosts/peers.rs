//! The machines that may see the same storage: the hosts of the configuration, and this machine for those.

use crate::fleet::{HostEntry, Peers, person};

use super::destination::destination;
use crate::cli::config;

/// Who is asked by a process that plans: whoever started it at another machine, else the hosts of the configuration.
pub(in crate::cli) fn of_this_process() -> Peers {
    match person() {
        Some(person) => Peers::Person(person),
        None => of(&config::of_this_run().0.hosts),
    }
}

/// All hosts of these entries.
pub(in crate::cli) fn of(entries: &[HostEntry]) -> Peers {
    let hosts = entries.iter();
    Peers::hosts(hosts.map(|entry| destination(&entry.name, entries)))
}
