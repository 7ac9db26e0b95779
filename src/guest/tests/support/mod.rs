//! What the tests of all readers share: tools that may be missing, files to put into a filesystem, changes to make to
//! them, and what a folder or an open filesystem holds, in one form that can be compared.

#![allow(dead_code, unreachable_pub, reason = "each reader needs a part of it")]

pub mod changes;
pub mod files;
pub mod hostile;
pub mod mount;
pub mod nodes;
pub mod source;
pub mod tools;
pub mod tree;
