//! Why a host does not do what is asked, in sentences that begin with its name.

use std::io;

use crate::host::io_text;

/// What keeps a host from it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program that joins us with it cannot be started here.
    #[error("{host}: cannot start {program}: {}", io_text(.source))]
    NoProgram {
        /// The host.
        host: String,
        /// ssh, or what stands for it.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("{host} cannot be reached: {why}")]
    Away {
        /// The host.
        host: String,
        /// What ssh says.
        why: String,
    },
    /// It asks for what nobody is asked for here.
    #[error(
        "{host} lets nobody in without a password, and none is asked for: have ssh use a key (ssh-keygen, ssh-copy-id \
         {host}; ssh-add where the key has a passphrase): {why}"
    )]
    NotLetIn {
        /// The host.
        host: String,
        /// What ssh says.
        why: String,
    },
    /// Its key is not known, or another one than before.
    #[error(
        "{host} cannot be told from another machine: connect once by ssh {host} and compare its key: {why}"
    )]
    UnknownKey {
        /// The host.
        host: String,
        /// What ssh says.
        why: String,
    },
    /// What was started there ended before it said anything.
    #[error("{host}: the agent did not start: {why}")]
    NotStarted {
        /// The host.
        host: String,
        /// What was said of it.
        why: String,
    },
    /// No program for its processor is here.
    #[error(
        "{host} is {theirs}: put a qanopy built for it beside this one, called {file}, or install one there and name it \
         in the configuration: agent = \"qanopy\" below [[host]]"
    )]
    OtherMachine {
        /// The host.
        host: String,
        /// System and processor.
        theirs: String,
        /// What is looked for.
        file: String,
    },
    /// The program that is to be put there cannot be read here.
    #[error("{host}: cannot read the program to put there: {}", io_text(.source))]
    NoBinary {
        /// The host.
        host: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It has no place for it.
    #[error("{host}: the agent cannot be stored in ~/.cache/qanopy there{}", because(.why))]
    NotStored {
        /// The host.
        host: String,
        /// What was said of it.
        why: String,
    },
    /// It came there otherwise than it was sent.
    #[error("{host}: the agent arrived damaged, and was removed: try again")]
    Damaged {
        /// The host.
        host: String,
    },
    /// It is there, and may not be run.
    #[error(
        "{host}: what is in ~/.cache/qanopy there cannot be run (a home folder mounted noexec, another C library): \
         install qanopy there and name it in the configuration: agent = \"qanopy\" below [[host]]{}", because(.why)
    )]
    NotRunnable {
        /// The host.
        host: String,
        /// What was said of it.
        why: String,
    },
    /// It is of another version, which says other things.
    #[error(
        "{host}: the qanopy there is {theirs} and does not understand this one ({}): install the same version there, or \
         leave agent out of the configuration", env!("CARGO_PKG_VERSION")
    )]
    OtherProtocol {
        /// The host.
        host: String,
        /// Its version.
        theirs: String,
    },
    /// It says nothing.
    #[error("{host} has said nothing for {seconds} s")]
    Silent {
        /// The host.
        host: String,
        /// For how long.
        seconds: u64,
    },
    /// What it says makes no sense.
    #[error("{host} does not keep to the protocol: {what}")]
    Garbled {
        /// The host.
        host: String,
        /// What it did.
        what: &'static str,
    },
    /// The connection is cut.
    #[error("the connection to {host} was cut{}", because(.why))]
    Cut {
        /// The host.
        host: String,
        /// What was said of it.
        why: String,
    },
    /// The agent does not run that there.
    #[error("{host} does not run it: {why}")]
    Denied {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// It prints more than is kept for somebody who waits for the others.
    #[error("{host} prints too much to be shown beside others: ask it alone")]
    TooMuch {
        /// The host.
        host: String,
    },
    /// The person left.
    #[error("{host}: stopped")]
    Left {
        /// The host.
        host: String,
    },
    /// What it prints cannot be handed on here.
    #[error("cannot print what {host} says: {}", io_text(.source))]
    NotPrinted {
        /// The host.
        host: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// A reason, if there is one.
fn because(why: &str) -> String {
    match why.is_empty() {
        true => String::new(),
        false => format!(": {why}"),
    }
}

impl Error {
    /// The word for it, for programs to match on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoProgram { .. } => "host-no-program",
            Self::Away { .. } => "host-away",
            Self::NotLetIn { .. } => "host-not-let-in",
            Self::UnknownKey { .. } => "host-unknown-key",
            Self::NotStarted { .. } => "host-not-started",
            Self::OtherMachine { .. } | Self::NoBinary { .. } => "host-other-machine",
            Self::NotStored { .. } => "host-not-stored",
            Self::Damaged { .. } => "host-damaged",
            Self::NotRunnable { .. } => "host-not-runnable",
            Self::OtherProtocol { .. } => "host-other-protocol",
            Self::Silent { .. } => "host-silent",
            Self::Garbled { .. } => "host-garbled",
            Self::Cut { .. } => "host-cut",
            Self::Denied { .. } => "host-denied",
            Self::TooMuch { .. } => "host-too-much",
            Self::Left { .. } => "cancelled",
            Self::NotPrinted { .. } => "failed",
        }
    }

    /// What ended before it said anything: why, by its exit code and its last words.
    pub(super) fn at_start(host: &str, code: Option<i32>, said: &str) -> Self {
        let host = host.to_owned();
        let why = said.to_owned();
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if says(&["Host key verification failed", "HOST IDENTIFICATION"]) {
            return Self::UnknownKey { host, why };
        }
        if says(&["Permission denied ("]) {
            return Self::NotLetIn { host, why };
        }
        match code {
            // ssh's own.
            Some(255) => Self::Away { host, why },
            Some(126) => Self::NotRunnable { host, why },
            Some(code) if why.is_empty() => Self::NotStarted {
                host,
                why: format!("it ended with {code}"),
            },
            _ => Self::NotStarted { host, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_ssh_tell_what_is_wrong() {
        for (code, said, kind) in [
            (
                255,
                "ssh: connect to host web port 22: Connection refused",
                "host-away",
            ),
            (
                255,
                "ssh: Could not resolve hostname web: Name or service not known",
                "host-away",
            ),
            (
                255,
                "me@web: Permission denied (publickey,password).",
                "host-not-let-in",
            ),
            (255, "Host key verification failed.", "host-unknown-key"),
            (
                126,
                "sh: 1: exec: /home/me/.cache/qanopy/agent-0: Permission denied",
                "host-not-runnable",
            ),
            (127, "sh: 1: exec: qanopy: not found", "host-not-started"),
            (1, "", "host-not-started"),
        ] {
            let error = Error::at_start("web", Some(code), said);
            assert_eq!(error.kind(), kind, "{said}");
            assert!(error.to_string().contains("web"), "{error}");
        }
    }
}
