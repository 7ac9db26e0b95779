//! What is answered to a command line that is almost right, and those that are right for qemu-img.

use std::fs;

use serde_json::Value;

use crate::commands::small_forest;

#[test]
fn a_mistake_is_answered_with_what_was_meant() {
    let place = small_forest();
    fs::create_dir(place.path().join("folder")).unwrap();
    for (words, answer) in [
        (
            "comit one.qcow2",
            "no such command: comit. Did you mean `qanopy commit`?",
        ),
        (
            "delete one.qcow2",
            "no such command: delete. Did you mean `qanopy discard`?",
        ),
        (
            "nowhere",
            "nowhere is no command, and no folder or image of that name is here",
        ),
        (
            "create 1G new.qcow2",
            "1G is a size, and stands where the file is named. The file comes first: \
             qanopy create new.qcow2 1G",
        ),
        (
            "resize +1G one.qcow2",
            "The file comes first: qanopy resize one.qcow2 +1G",
        ),
        (
            "branch new.qcow2 base.qcow2",
            "new.qcow2 is not there, and base.qcow2 is. The base comes first: \
             qanopy branch base.qcow2 new.qcow2",
        ),
        ("create 1G", "no file is named: qanopy create FILE 1G"),
        (
            "rebase top.qcow2 base.qcow2",
            "the base is named behind --to: qanopy rebase top.qcow2 --to base.qcow2",
        ),
        (
            "commit top.qcow2 base.qcow2 -y",
            "qanopy commit top.qcow2 --into base.qcow2",
        ),
        (
            "help comit",
            "no such command: comit. Did you mean `qanopy commit`?",
        ),
        (
            "man comit",
            "no such command: comit. Did you mean `qanopy commit`?",
        ),
        ("man images", "`qanopy help` lists them"),
        ("undo last", "write a whole number"),
        ("discard top.qcow2 --confirm all", "write a whole number"),
        (
            "create new.qcow2 1G --encrypt luks --iter-time 0",
            "a number of milliseconds from 1 to 60000",
        ),
        (
            "branch base.qcow2 folder",
            "folder is a folder: name the new file in it, as in folder/NAME",
        ),
        ("clone base.qcow2 folder", "name the new file in it"),
        ("convert base.qcow2 folder", "name the new file in it"),
        ("create folder 1G", "name the new file in it"),
        ("flatten top.qcow2 folder", "name the new file in it"),
        ("info folder", "folder is a folder: name an image in it."),
        ("commit folder", "`qanopy tree folder` lists them"),
        ("check folder", "folder is a folder"),
        ("convert folder new.qcow2", "folder is a folder"),
        ("map folder", "folder is a folder"),
        ("snapshot list folder", "folder is a folder"),
        ("discard folder", "folder is a folder"),
        ("dd if=a of=b", "copies are made by `qanopy convert`"),
        ("commit -d top.qcow2", "-d: the overlay goes to the trash"),
        (
            "commit -b base.qcow2 top.qcow2",
            "-b: --into ANCESTOR is that here",
        ),
    ] {
        let before = fs::read_dir(place.path()).unwrap().count();
        let ended = place.q(words).with(2);
        let told = ended.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(answer), "{words}: {told}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), before);
        assert_eq!(
            place.q(&format!("{words} --json")).json()["error"]["kind"],
            "usage"
        );
    }
}

#[test]
fn of_a_small_size_it_is_told_that_it_is_in_bytes() {
    let place = small_forest();
    for words in ["create new.qcow2 4096 -n", "resize one.qcow2 +4096 -n"] {
        let told = place.q(words).with(0).err;
        assert!(
            told.contains("4 KiB: without a unit it is a number of bytes"),
            "{told}"
        );
    }
    assert_eq!(place.q("create new.qcow2 4M -n").with(0).err, "");
}

#[test]
fn short_names_of_commands_are_understood() {
    let place = small_forest();
    // The picture of boxes tells no ages.
    assert_eq!(
        place.q("ls --boxes").with(0).out,
        place.q("tree --boxes").with(0).out
    );
    assert_eq!(
        place.q("show one.qcow2").with(0).out,
        place.q("info one.qcow2").with(0).out
    );
    place.q("cp two.qcow2 three.qcow2 --yes").with(0);
    place.q("mv three.qcow2 four.qcow2 --yes").with(0);
    place.q("rm four.qcow2 --yes").with(0);
    assert!(!place.path().join("four.qcow2").exists());
}

#[test]
fn what_is_typed_for_qemu_img_does_the_same() {
    let place = small_forest();
    for words in [
        "create -f qcow2 -b base.qcow2 -F qcow2 -o cluster_size=4k three.qcow2 --yes",
        "convert -p -O raw three.qcow2 three.img --yes",
        "rebase -b one.qcow2 -F qcow2 three.qcow2 --yes",
        "rebase -u -b base.qcow2 -F qcow2 three.qcow2 --yes",
        "commit three.qcow2 --siblings preserve --yes",
        "check -r all one.qcow2 --yes",
        "snapshot -c before top.qcow2 --yes",
        "resize -f qcow2 top.qcow2 +1M --yes",
        "amend -o lazy_refcounts=on top.qcow2 --yes",
        "bitmap --add -g 64k top.qcow2 b --yes",
    ] {
        place.q(words).with(0);
    }
    let told = place.q("snapshot -l top.qcow2").with(0).out;
    assert!(told.contains("before"), "{told}");
    // As qemu-img prints it, with nothing around it.
    let told = place
        .q("info --output=json --backing-chain top.qcow2")
        .with(0);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told.as_array().map(Vec::len), Some(3), "{told}");
    // A format that the base cannot be of would show other bytes; as raw anything can be read, which is said.
    std::fs::write(place.path().join("disk.img"), [7; 4096]).unwrap();
    let ended = place
        .q("create -b disk.img -F qcow2 new.qcow2 --json")
        .with(4);
    assert_eq!(ended.json()["error"]["kind"], "backing-format");
    assert!(!place.path().join("new.qcow2").exists());
    let ended = place
        .q("create -b base.qcow2 -F raw new.qcow2 --json --yes")
        .with(0);
    let note = ended.result()["plan"]["notes"][0].clone();
    assert_eq!(note["kind"], "backing-format", "{note}");
    assert_eq!(note["warning"], true, "{note}");
}

#[test]
fn a_letter_that_means_something_else_to_qemu_img_is_told() {
    let place = small_forest();
    for target in ["new.qcow2", "one.qcow2"] {
        let told = place.q(&format!("convert -n base.qcow2 {target}"));
        assert!(
            told.err.contains("--into-existing"),
            "{target}: {}",
            told.err
        );
    }
    assert!(!place.path().join("new.qcow2").exists());
    let plain = place.q("convert --dry-run base.qcow2 new.qcow2").with(0);
    assert!(!plain.err.contains("--into-existing"), "{}", plain.err);
}
