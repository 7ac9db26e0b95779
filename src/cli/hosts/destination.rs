//! How a host is reached by this process: as it is set up, and by what the environment has for ssh.

use crate::fleet::{Destination, HostEntry};

/// The variable that has other words for ssh.
const SSH: &str = "QANOPY_SSH";

/// How a host is reached.
pub(super) fn destination(host: &str, entries: &[HostEntry]) -> Destination {
    let ssh = std::env::var_os(SSH).filter(|words| !words.is_empty());
    Destination::of(host, entries, ssh.as_deref())
}
