//! `qanopy` shows the forest of disk images on a machine and lets a person work on it safely.
//!
//! The crate is a house of five floors; a lower floor never imports a higher one.
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 5 | [`cli`], [`tui`] | two faces, equal in power, without any knowledge of the format |
//! | 4 | [`ops`], [`guest`] | what can be done: plans, and what runs them; what lies inside a guest's disk |
//! | 3 | [`forest`] | what exists: scan, nodes, the graph, its pictures |
//! | 2 | [`image`] | an image or a chain: open, map, read, allocate, write |
//! | 1 | [`qcow2`], [`host`] | the format, pure; files, locks, reflinks, holes |

pub mod cli;
pub mod forest;
pub mod guest;
pub mod host;
pub mod image;
pub mod ops;
pub mod qcow2;
pub mod tui;
pub mod units;
