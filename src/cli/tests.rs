//! What command lines ask for.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use crate::image::Preallocation;
use crate::ops::{Commit, CommittedLayer, Dependants, NewSize, Request, Resize, Siblings};

use super::{Cli, Command, bitmap, keyslot, machine, snapshot, trash};

/// What a command line asks for; none where it asks for no operation by itself.
pub(super) fn request_of<W: Into<OsString> + Clone>(
    words: impl IntoIterator<Item = W>,
) -> Option<Request> {
    let Cli { command, .. } = Cli::try_parse_from(words).unwrap();
    let request = match command.unwrap() {
        Command::Check(args) => args.request(),
        Command::Create(args) => args.request(),
        Command::Branch(args) => args.request(),
        Command::Convert(args) => args.request(),
        Command::Commit(args) => args.request(),
        Command::Relink(args) => args.request(),
        Command::Resize(args) => args.request(),
        Command::Rebase(args) => args.request(),
        Command::Squash(args) => args.request(),
        Command::Trim(args) => args.request(),
        Command::Flatten(args) => args.request(),
        Command::Amend(args) => args.request(),
        Command::Redefine(args) => args.request(),
        Command::Machine(machine::MachineCommand::Change(args)) => args.request(),
        Command::Protect(args) => args.request(),
        Command::Note(args) => args.request(),
        Command::Keyslot(keyslot::KeySlotCommand::Change(args)) => args.request(),
        Command::Bitmap(bitmap::BitmapCommand::Change(args)) => args.request(),
        Command::Snapshot(snapshot::SnapshotCommand::Change(args)) => args.request(),
        Command::Move(args) => args.request(),
        Command::Clone(args) => args.request(),
        Command::Export(args) => args.request(),
        Command::Import(args) => args.request(),
        Command::Undo(args) => args.request(),
        Command::Redo(args) => args.request(),
        Command::Recover(args) => args.request(),
        Command::Revert(args) => args.request(),
        Command::Discard(args) => args.request(),
        Command::Trash(trash::TrashCommand::Change(args)) => args.request(Vec::new),
        Command::Machine(machine::MachineCommand::List)
        | Command::Job(_)
        | Command::Copy(_)
        | Command::Read
        | Command::Send(_)
        | Command::Receive(_)
        | Command::Tree(_)
        | Command::Info(_)
        | Command::Map(_)
        | Command::Mount(_)
        | Command::Compare(_)
        | Command::Diff(_)
        | Command::Contents(_)
        | Command::Files(_)
        | Command::Cat(_)
        | Command::Extract(_)
        | Command::History(_)
        | Command::Find(_)
        | Command::Measure(_)
        | Command::Keyslot(_)
        | Command::Bitmap(_)
        | Command::Snapshot(_)
        | Command::Log(_)
        | Command::Doctor(_)
        | Command::Prune(_)
        | Command::Garbage(_)
        | Command::Space(_)
        | Command::Trash(_)
        | Command::Index(_)
        | Command::Demo(_)
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::Man(_)
        | Command::Schema
        | Command::Agent(_)
        | Command::Scan(_)
        | Command::Holders(_)
        | Command::Explain(_)
        | Command::Tell(_) => return None,
    };
    Some(request.unwrap())
}

#[test]
fn words_stand_for_what_the_operations_call_them() {
    let commit = |layer, siblings| {
        Request::Commit(Commit {
            overlay: "a".into(),
            into: None,
            layer,
            siblings,
            keep_old: None,
        })
    };
    let rows = [
        (
            "qanopy commit a",
            Some(commit(CommittedLayer::Trash, Siblings::Refuse)),
        ),
        (
            "qanopy commit a --keep --siblings preserve",
            Some(commit(CommittedLayer::Keep, Siblings::Preserve)),
        ),
        (
            "qanopy resize a -1G --shrink --dependants break --preallocation full",
            Some(Request::Resize(Resize {
                image: "a".into(),
                size: NewSize::Less(1 << 30),
                shrink: true,
                preallocation: Preallocation::Full,
                dependants: Dependants::Break,
            })),
        ),
        ("qanopy snapshot list a", None),
    ];
    for (line, request) in rows {
        assert_eq!(request_of(line.split(' ')), request, "{line}");
    }
}

/// Command lines of each operation, with each of its options.
pub(super) const LINES: &[&str] = &[
    "amend a --compat 0.10 --lazy-refcounts off --refcount-bits 64",
    "amend a --compat 1.1 --compression-type zstd --data-file d --data-file-raw on",
    "amend a --data-file d --data-file-relative",
    "bitmap add a n",
    "bitmap add a n --granularity 64K --disabled",
    "bitmap remove a n",
    "bitmap clear a n",
    "bitmap enable a n",
    "bitmap disable a n",
    "bitmap merge a n m",
    "bitmap merge a n m --source-file b",
    "branch a b",
    "branch a b --size 1G --backing-format raw",
    "branch a b --size 1G --absolute --cluster-size 4K --compat 0.10 --refcount-bits 16",
    "branch a b --extended-l2 --refcount-bits 1 --lazy-refcounts --compression-type zstd",
    "branch a b --preallocation metadata --data-file d --data-file-raw --data-file-relative",
    "branch a b --encrypt luks --iter-time 7",
    "check a --repair leaks",
    "check a --repair all",
    "check a --put-back e",
    "clone a b",
    "clone a b --chain --reflink always",
    "clone a b --reflink never",
    "clone a b --linked",
    "commit a",
    "commit a --into b --keep --siblings preserve --keep-old c",
    "commit a --siblings break",
    "convert a b",
    "convert a b --to raw --preallocation full --source-format raw --salvage --sparse-size 0",
    "convert a b c --compress --compression-level 9 --cluster-size 2M --sparse-size 8K",
    "convert a b --compress --bitmaps",
    "convert a b --bitmaps --skip-broken-bitmaps --backing c --absolute",
    "convert a b --snapshot s --into-existing",
    "convert a b --snapshot 1 --id --source-format qcow2 --encrypt luks",
    "create a 1G",
    "create a 1G --format raw --preallocation falloc",
    "create a --backing b",
    "create a --backing b --backing-format qcow2",
    "create a 1G --backing b --unchecked --backing-format raw --absolute",
    "discard a b",
    "export a b",
    "flatten a b",
    "flatten a b --compress --compression-type zstd --compression-level 3 --onto c",
    "flatten a --in-place",
    "import a b",
    "keyslot add a --slot 1 --iter-time 5",
    "keyslot add a",
    "keyslot change a --slot 0 --iter-time 5",
    "keyslot erase a --slot 7",
    "move a b",
    "move a b c --subtree",
    "note a text",
    "note a --text text --tag web",
    "note a '' --clear --tag golden --untag keep",
    "protect a",
    "protect a --mode 644",
    "machine start web",
    "machine branch web",
    "machine try a",
    "machine try --connect qemu:///session --like web a",
    "machine clone web b",
    "machine clone --full --folder a web b --connect qemu:///session",
    "machine branch --start web b",
    "machine branch --disk vda --on a web b --connect qemu:///session",
    "machine branch --disk vdb web",
    "machine revert --to a web",
    "machine revert --disk vdb=c --keep vdc --to a --start web --connect qemu:///session",
    "machine stop web --connect qemu:///session",
    "machine stop --kill web",
    "branch --live a b",
    "branch --live a b c d",
    "branch --live --no-quiesce a b",
    "commit a --live",
    "commit a --live --into b --siblings preserve --speed 1024",
    "flatten a --in-place --live",
    "flatten a --in-place --live --onto b --speed 1024",
    "move a b --live",
    "redefine web --unpin",
    "redefine web --disk vda --source a --connect qemu:///session",
    "rebase a --to b",
    "rebase a --to b --format raw --relative --dedupe --compress",
    "rebase a --to b --absolute",
    "rebase a --flatten",
    "recover 7 --finish",
    "recover 7 --roll-back",
    "recover 7 --forget",
    "redo",
    "redo 7",
    "redo --dir a --dir b",
    "relink a",
    "relink a --to b --format raw --relative",
    "relink a --to none",
    "relink a --to ./none --absolute",
    "resize a 1G",
    "resize a +1G --preallocation falloc",
    "resize a -1G --shrink --dependants break",
    "revert a",
    "revert a --to e",
    "snapshot create a n",
    "snapshot apply a n",
    "snapshot apply a 1 --id --dependants break",
    "snapshot delete a n",
    "snapshot extract a n b",
    "snapshot extract a 1 b --id --as raw",
    "snapshot extract a n b --as overlay",
    "squash a",
    "squash a --direction up",
    "squash a --direction down",
    "trash restore n m",
    "trash empty n m",
    "trim a",
    "undo",
    "undo 7",
    "undo --dir a",
];

#[test]
fn the_command_line_that_an_operation_gives_asks_for_the_same() {
    for line in LINES {
        let request = request_of(std::iter::once("qanopy").chain(line.split(' '))).unwrap();
        let given = request.command_line();
        let given = given.unwrap_or_else(|| panic!("{line}: no command line"));
        assert_eq!(
            request_of(given.words()),
            Some(request),
            "{line}, given as {given}"
        );
    }
}

#[test]
fn the_definitions_of_commands_are_sound() {
    Cli::command().debug_assert();
}
