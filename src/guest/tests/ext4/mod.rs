//! ext2, ext3 and ext4 as `mkfs.ext4` makes them, against the kernel, `debugfs` and the reader of another crate.

#![allow(unreachable_pub, reason = "for the files beside each other")]
#![allow(clippy::print_stdout, reason = "which variant it was when one fails")]

mod corners;
mod differences;
mod fixtures;
mod hostile;
mod journal;
mod reads;
mod second_opinion;
mod usage;
