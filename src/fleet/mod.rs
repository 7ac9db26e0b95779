//! Other machines, over OpenSSH or whatever else joins two programs by a pipe: how the program gets there, what both
//! sides say to each other, and what becomes of a connection that is cut. Which command lines may be run there, and
//! what is printed of them, is the command line's business.
//!
//! Nothing is installed and nothing listens. The program that runs here is put once into
//! `~/.cache/qanopy` there, under the SHA-256 of its bytes, and started as an *agent* whose standard input and output
//! are the connection:
//!
//! ```text
//! here                                   there
//! ssh HOST exec sh -c SCRIPT ──────────▶ sh: is ~/.cache/qanopy/agent-SHA256 there?
//!      "need Linux x86_64"   ◀──────────     no
//!      SHA256 SIZE, bytes    ──────────▶     stored, compared, renamed
//!                                            exec agent-SHA256 agent
//!      "QANOPY agent 5 0.1.0" ◀─────────  agent: hello
//!      frames                ◀─────────▶  frames
//! ```
//!
//! Each command line is a process of its own there, started by the agent: it plans, takes locks and keeps its journal
//! as any other. Its output comes back in frames; a question comes back with the whole text of the plan, and is
//! answered with the SHA-256 of that text, so that what was agreed to is what runs. Where an encrypted image needs its
//! passphrase, that is asked for in the same way, and comes in a frame of its own. When the connection is cut, the
//! agent asks what runs to stop, as Ctrl-C does, and ends after it.
//!
//! | file | what lives there |
//! |---|---|
//! | `address` | `HOST:PATH` |
//! | `destination` | how a host is reached, as it is set up |
//! | `frame`, `message` | the protocol |
//! | `bootstrap` | the script that finds the agent there, or stores it |
//! | `binary` | the programs that may be stored there |
//! | `dials` | how many connections are opened at a time |
//! | `connection` | this side: threads, deadlines, the end of it |
//! | `last_words` | what a program that failed said last |
//! | `feed` | bytes that this side brings to a command line there |
//! | `agent` | the other side |
//! | `peers` | other machines that may see the same storage, asked about its files |
//! | `passphrase` | passphrases on their way to a host |
//! | `person` | what a process that an agent started knows of the person at the other end |
//! | `program` | what is run on a host with no agent between |
//! | `folders` | what the screen is asked to show of a host |
//! | `here` | the files of this machine, beside names of others |
//! | `reading/` | the files of a host, read from here |
//! | `error` | why it does not work, in sentences |
//!
#![doc = include_str!("../../assets/docs/many-hosts.md")]

mod address;
mod agent;
mod binary;
mod bootstrap;
mod connection;
mod destination;
mod dials;
mod error;
mod feed;
mod folders;
mod frame;
mod here;
mod last_words;
mod message;
mod passphrase;
mod peers;
mod person;
mod program;
mod reading;

pub use address::{Address, address};
pub use agent::{Rules, greeting, serve};
pub use connection::{Connection, Ends, Patience, Watcher};
pub use destination::{Destination, HostEntry};
pub use dials::Dials;
pub use error::Error;
pub use feed::Feed;
pub use folders::FarFolders;
pub use frame::{MOST_BYTES, frames_in, frames_out, read_frame, write_frame, write_parts};
pub use here::Here;
pub use last_words::LastWords;
pub use message::{
    Answer, FromAgent, Hello, Moved, PROTOCOL, PeerAnswer, PeerFacts, PeerFile, PeerMachine,
    PeerQuery, PeerReader, Question, Run, Said, Stream, ToAgent, WINDOW,
};
pub use passphrase::{PassphraseAnswer, PassphraseOf, PassphraseQuery};
pub use peers::{HERE, Peers};
pub use person::{Input, Person, begin, host_typed, is_far, person, typed};
pub use program::Program;
pub use reading::{FarHost, Opener, serve_files};
