//! Two examples for each command: what its help ends with, and what its manual page shows.

use clap::Command;

/// A command line, and what it does.
type Example = (&'static str, &'static str);

/// Two for each command that does something itself.
const EXAMPLES: &[Example] = &[
    (
        "qanopy tree /var/lib/libvirt/images",
        "who is built on whom in this folder",
    ),
    (
        "qanopy tree --check --filter os:debian",
        "only images with Debian inside; ends with 3 where something is wrong with one of them",
    ),
    ("qanopy info web.qcow2", "size, base, features, snapshots"),
    (
        "qanopy info --chain --json web.qcow2",
        "the image and all it is built on, for a program",
    ),
    (
        "qanopy check *.qcow2",
        "look through the tables; nothing is changed",
    ),
    (
        "qanopy check --repair all web.qcow2 -n",
        "what a repair would do",
    ),
    (
        "qanopy doctor /var/lib/libvirt/images",
        "what is wrong in this folder, and what helps",
    ),
    (
        "qanopy doctor --fix-safe -n",
        "the plans of what helps and loses nothing",
    ),
    (
        "qanopy map web.qcow2",
        "which layer holds each part of the disk",
    ),
    (
        "qanopy map -s 1G -l 64M web.qcow2",
        "only 64 MiB behind the first GiB",
    ),
    (
        "qanopy mount /var/lib/libvirt/images /mnt",
        "every layer and its guest's files, until Ctrl-C",
    ),
    (
        "qanopy mount web.qcow2 /mnt & tar cf etc.tar -C /mnt/p1 etc",
        "copy files out of one image",
    ),
    (
        "qanopy compare web.qcow2 web-old.qcow2",
        "the ranges that differ; ends with 3 if any does",
    ),
    (
        "qanopy compare --snapshot before web.qcow2 web.qcow2",
        "what changed since a snapshot",
    ),
    (
        "qanopy diff web.qcow2",
        "the files that this overlay changes over its base",
    ),
    (
        "qanopy diff web.qcow2 --file /etc/fstab",
        "the lines of one file that differ, as diff -u tells them",
    ),
    (
        "qanopy contents web.qcow2",
        "its partitions, filesystems and operating system",
    ),
    (
        "qanopy contents --json --snapshot before web.qcow2",
        "the same of an internal snapshot, for a program",
    ),
    (
        "qanopy files web.qcow2 /etc",
        "what lies in /etc of the guest",
    ),
    (
        "qanopy files web.qcow2 p2:/home",
        "the same on the second partition",
    ),
    (
        "qanopy cat web.qcow2 /etc/fstab",
        "a file of the guest, byte for byte",
    ),
    (
        "qanopy cat --snapshot before web.qcow2 /etc/passwd",
        "the file as it was then",
    ),
    (
        "qanopy explain web.qcow2",
        "how much of this layer is files, and how much is deleted data",
    ),
    ("qanopy explain --json web.qcow2", "the same for a program"),
    (
        "qanopy extract web.qcow2 /etc /home/anna/notes --to saved",
        "a folder and a file, copied into the folder saved",
    ),
    (
        "qanopy extract web.qcow2 p2:/home/anna --to /mnt/backup",
        "a home on the second partition",
    ),
    (
        "qanopy history web.qcow2 /etc/fstab",
        "the layers in which it changed, the newest first",
    ),
    (
        "qanopy history --all --json web.qcow2 /etc/passwd",
        "what each layer did to it, for a program",
    ),
    (
        "qanopy find web.qcow2 fstab",
        "files with that in their name",
    ),
    (
        "qanopy find --layers web.qcow2 '*.conf'",
        "and in which layers each of them changed",
    ),
    (
        "qanopy space /var/lib/libvirt/images",
        "what each image holds, and what would free most",
    ),
    (
        "qanopy space --read --sort equal --at-least 1G",
        "the large layers that repeat most of those below, and what compressing would give back",
    ),
    ("qanopy measure web.qcow2", "how large a flat copy would be"),
    (
        "qanopy measure --size 100G --preallocation full",
        "how large a new image would be",
    ),
    (
        "qanopy create disk.qcow2 20G",
        "an empty disk that grows as it is written",
    ),
    (
        "qanopy create -f raw disk.img 20G --preallocation falloc",
        "a raw disk with its space reserved",
    ),
    (
        "qanopy branch golden.qcow2 web.qcow2",
        "a new overlay: golden.qcow2 stays as it is",
    ),
    (
        "qanopy branch golden.qcow2 big.qcow2 --size 200G",
        "an overlay with a larger disk",
    ),
    (
        "qanopy convert web.qcow2 web.img --to raw",
        "the whole chain as one raw file",
    ),
    (
        "qanopy convert -c web.qcow2 small.qcow2",
        "one compressed qcow2 image",
    ),
    (
        "qanopy commit web.qcow2 -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy commit web.qcow2 --siblings preserve",
        "merge it down; other overlays keep what they show",
    ),
    (
        "qanopy relink web.qcow2 --format qcow2",
        "record the format of the base that is missing",
    ),
    (
        "qanopy relink web.qcow2 --to /srv/golden.qcow2",
        "the base is here now",
    ),
    ("qanopy resize web.qcow2 +10G", "ten GiB more"),
    (
        "qanopy resize web.qcow2 20G --shrink -n",
        "what would be lost if it became shorter",
    ),
    (
        "qanopy rebase web.qcow2 --to golden-2.qcow2",
        "build it on another image; it shows the same",
    ),
    (
        "qanopy rebase web.qcow2 --to golden-2.qcow2 --dedupe",
        "and give up what both hold",
    ),
    (
        "qanopy squash middle.qcow2",
        "one layer less; every other image shows the same",
    ),
    (
        "qanopy squash middle.qcow2 --direction down",
        "move its content into the layer below",
    ),
    (
        "qanopy trim web.qcow2 --dry-run",
        "how much deleted data would be given back",
    ),
    (
        "qanopy trim web.qcow2",
        "give it back; all files stay, deleted ones cannot be recovered",
    ),
    (
        "qanopy flatten web.qcow2 alone.qcow2",
        "a new file that needs no base",
    ),
    (
        "qanopy flatten web.qcow2 --in-place --onto golden.qcow2",
        "without the layers between the two",
    ),
    (
        "qanopy amend web.qcow2 --compat 0.10",
        "for QEMU before 1.1",
    ),
    (
        "qanopy amend web.qcow2 --lazy-refcounts on",
        "write reference counts late",
    ),
    (
        "qanopy keyslot list secret.qcow2",
        "which slots hold a passphrase",
    ),
    (
        "qanopy keyslot list secret.qcow2 --json",
        "the same for a program",
    ),
    (
        "qanopy keyslot add secret.qcow2",
        "one more passphrase; asks for both",
    ),
    (
        "qanopy keyslot add secret.qcow2 --passphrase-file old --new-passphrase-file new",
        "from files",
    ),
    (
        "qanopy keyslot change secret.qcow2",
        "another passphrase in place of one",
    ),
    (
        "qanopy keyslot change secret.qcow2 --slot 1",
        "in place of the one in slot 1",
    ),
    (
        "qanopy keyslot erase secret.qcow2 --slot 1 -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy keyslot erase secret.qcow2 --slot 1 --passphrase-file other",
        "this passphrase still opens it",
    ),
    (
        "qanopy bitmap list web.qcow2",
        "the bitmaps, and how much each calls dirty",
    ),
    (
        "qanopy bitmap list web.qcow2 --json",
        "the same for a program",
    ),
    (
        "qanopy bitmap add web.qcow2 backup",
        "record from now on what is written",
    ),
    (
        "qanopy bitmap add web.qcow2 backup -g 1M",
        "a bit for each MiB",
    ),
    ("qanopy bitmap remove web.qcow2 backup", "remove a bitmap"),
    (
        "qanopy bitmap remove web.qcow2 backup -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy bitmap clear web.qcow2 backup",
        "begin anew: nothing is dirty",
    ),
    (
        "qanopy bitmap clear web.qcow2 backup -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy bitmap enable web.qcow2 backup",
        "record what is written",
    ),
    (
        "qanopy bitmap enable web.qcow2 backup -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy bitmap disable web.qcow2 backup",
        "record nothing more",
    ),
    (
        "qanopy bitmap disable web.qcow2 backup -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy bitmap merge web.qcow2 all monday",
        "all: what is dirty in either",
    ),
    (
        "qanopy bitmap merge web.qcow2 all old -b base.qcow2",
        "from a bitmap of another image",
    ),
    ("qanopy snapshot list web.qcow2", "the internal snapshots"),
    (
        "qanopy snapshot list web.qcow2 --json",
        "the same for a program",
    ),
    (
        "qanopy snapshot create web.qcow2 before-update",
        "keep what the image shows now",
    ),
    (
        "qanopy snapshot create web.qcow2 before-update -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy snapshot apply web.qcow2 before-update",
        "back to what it showed then",
    ),
    ("qanopy snapshot apply web.qcow2 2 --id", "by its number"),
    (
        "qanopy snapshot delete web.qcow2 before-update",
        "the image itself stays as it is",
    ),
    (
        "qanopy snapshot delete web.qcow2 2 --id -n",
        "by its number; show the plan only",
    ),
    (
        "qanopy snapshot extract web.qcow2 before-update then.qcow2",
        "a new image of what it showed then",
    ),
    (
        "qanopy snapshot extract web.qcow2 before-update then.img --as raw",
        "as a raw disk",
    ),
    (
        "qanopy move golden.qcow2 /srv/images",
        "into another folder; its overlays follow",
    ),
    ("qanopy move golden.qcow2 debian.qcow2", "another name"),
    (
        "qanopy clone web.qcow2 web-2.qcow2",
        "a copy that is built on the same base",
    ),
    (
        "qanopy clone web.qcow2 copies --chain",
        "a copy of all layers, in a folder",
    ),
    (
        "qanopy export web.qcow2 /media/usb/web",
        "the whole chain in a folder that stands alone",
    ),
    (
        "qanopy export web.qcow2 out -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy import /media/usb/web /srv/images",
        "bring an exported chain here",
    ),
    (
        "qanopy import web /srv/new -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy copy web:/srv/web.qcow2 /var/lib/libvirt/images",
        "fetch an image and its bases; what is here already is not sent",
    ),
    (
        "qanopy copy --move web:/srv/web.qcow2 lab:/srv",
        "move it, and what it alone is built on, to another host",
    ),
    ("qanopy undo", "take back what was done last"),
    (
        "qanopy undo 12 -n",
        "what taking back entry 12 of the log would do",
    ),
    ("qanopy redo", "do again what was taken back last"),
    ("qanopy redo 12", "do entry 12 of the log again"),
    ("qanopy recover", "list what was interrupted"),
    ("qanopy recover 12 --finish", "do the rest of entry 12"),
    ("qanopy log", "what was done"),
    (
        "qanopy log --last 5 --json",
        "the newest five, for a program",
    ),
    (
        "qanopy revert web.qcow2",
        "throw away what the leaf holds; undo brings it back",
    ),
    (
        "qanopy revert web.qcow2 -n",
        "show the plan, and change nothing",
    ),
    (
        "qanopy discard old.qcow2",
        "to the trash, with all that is built on it",
    ),
    ("qanopy discard old.qcow2 -n", "what would go"),
    (
        "qanopy protect golden.qcow2",
        "nobody may write it; it can still be read and built on",
    ),
    (
        "qanopy protect golden.qcow2 --mode 644",
        "its owner may write it again",
    ),
    (
        "qanopy note base.qcow2 Debian-13 --tag golden",
        "say what it is, and protect it",
    ),
    (
        "qanopy note base.qcow2 --untag golden",
        "it is an image like others again",
    ),
    ("qanopy machine list", "every machine here, with its disks"),
    ("qanopy machine list --json", "the same for a program"),
    (
        "qanopy machine use web web-2.qcow2",
        "web starts from that image from now on",
    ),
    (
        "qanopy machine use web web-2.qcow2 --disk vda -n",
        "what would change in its definition",
    ),
    (
        "qanopy machine branch web web-2.qcow2 --start",
        "web goes on in a new overlay on what its disk is",
    ),
    (
        "qanopy machine branch web try.qcow2 --on base.qcow2 --disk vda -n",
        "what an overlay on another image would change",
    ),
    (
        "qanopy machine revert web --to base.qcow2",
        "web goes on from there; what it is now is kept",
    ),
    (
        "qanopy machine revert web --to base.qcow2 --keep vdb --start",
        "the same, but for its disk vdb",
    ),
    (
        "qanopy machine clone web web-2",
        "both go on in overlays on what the disks of web are",
    ),
    (
        "qanopy machine clone web web-2 --full --folder /srv/images",
        "with copies that share nothing with it",
    ),
    (
        "qanopy machine try web.qcow2",
        "what its guest writes is thrown away",
    ),
    (
        "qanopy machine try old.qcow2 --like web",
        "with the memory and devices of web",
    ),
    (
        "qanopy machine start web",
        "once its disks are found to be in order",
    ),
    ("qanopy machine start web -n", "whether they are"),
    ("qanopy machine stop web", "as its power button does"),
    ("qanopy machine stop --kill web", "as a power cut does"),
    (
        "qanopy job list",
        "the jobs that machines run now, and how far each is",
    ),
    ("qanopy job list --json", "the same for a program"),
    (
        "qanopy job pause web.qcow2",
        "the job about that image stands still",
    ),
    ("qanopy job pause", "the only job that runs does"),
    ("qanopy job resume web.qcow2", "it goes on"),
    (
        "qanopy job resume 4711-1",
        "the one of that name in the list does",
    ),
    (
        "qanopy job speed 20M web.qcow2",
        "20 MiB per second at most, as `virsh blockjob --bandwidth 20`",
    ),
    ("qanopy job speed 0", "as fast as it goes"),
    (
        "qanopy job cancel web.qcow2",
        "the guest goes on in the images it had",
    ),
    (
        "qanopy job cancel 4711-1",
        "the one of that name in the list",
    ),
    (
        "qanopy redefine web --disk vda --source /srv/images/web.qcow2",
        "the machine web has that file as its disk from now on",
    ),
    (
        "qanopy redefine web --unpin",
        "the headers say again what its disk is built on",
    ),
    (
        "qanopy prune /srv/images",
        "old leaves that nothing uses; you choose",
    ),
    (
        "qanopy prune --keep-last 3 --keep-daily 7 --all -n",
        "what would go by rule, without a question",
    ),
    (
        "qanopy garbage /srv/ci --bases",
        "what no machine, process or tag needs, and who needs the bases",
    ),
    (
        "qanopy garbage /srv/ci --older-than 1d --discard -y",
        "to the trash with it, as from cron",
    ),
    ("qanopy trash list", "what is in the trash"),
    (
        "qanopy trash list --dir /mnt/vm",
        "also in that of another filesystem",
    ),
    (
        "qanopy trash restore 20250101-120000-1",
        "one entry, back to where it was",
    ),
    ("qanopy trash restore --all", "everything"),
    ("qanopy trash empty -n", "what would be deleted for good"),
    ("qanopy trash empty 20250101-120000-1", "only this entry"),
    ("qanopy index list", "images that earlier runs saw"),
    (
        "qanopy index list golden.qcow2",
        "only those that are built on this one",
    ),
    (
        "qanopy index forget --gone",
        "those that are not there any more",
    ),
    ("qanopy index forget /mnt/old", "those below a folder"),
    (
        "qanopy index accept golden.qcow2",
        "it was put back from a backup, and fits its overlays again",
    ),
    (
        "qanopy index accept golden.qcow2 tools.qcow2 --json",
        "several, and for programs to read",
    ),
    (
        "qanopy demo",
        "sample forests in a temporary folder, opened",
    ),
    ("qanopy demo --tour", "five small tasks on them"),
    ("qanopy config print", "every setting as it holds"),
    (
        "qanopy config print > ~/.config/qanopy/config.toml",
        "a file to begin with",
    ),
    ("qanopy config path", "where the file is"),
    ("$EDITOR \"$(qanopy config path)\"", "change it"),
    ("qanopy config check", "lines that mean nothing"),
    (
        "qanopy config check && echo fine",
        "in a script: ends with 3 where there is one",
    ),
    ("source <(qanopy completions bash)", "for this shell"),
    (
        "qanopy completions fish > ~/.config/fish/completions/qanopy.fish",
        "for good",
    ),
    ("qanopy man commit | man -l -", "read the page of a command"),
    (
        "qanopy man --to /usr/local/share/man/man1",
        "write all pages into a folder",
    ),
    (
        "qanopy schema > qanopy.schema.json",
        "for a program that reads --json",
    ),
    (
        "qanopy schema | jq '.\"$defs\".plan'",
        "what a plan has in it",
    ),
    (
        "qanopy agent --read-only --restrict /srv/images",
        "behind command= in authorized_keys: this key reads, and only there",
    ),
    (
        "qanopy agent --read-only",
        "the same for all folders that its user may read",
    ),
];

/// Those of the program without a command.
const OF_PROGRAM: &[Example] = &[
    (
        "qanopy /var/lib/libvirt/images",
        "the screen, on the images of this folder and all below it",
    ),
    (
        "qanopy --plain --read-only .",
        "talk line by line about the images here, and change nothing",
    ),
];

/// What a manual page shows: of a command that only holds others the first example of each of these.
pub(super) fn of_page(command: &Command, words: &str) -> Vec<Example> {
    if words.is_empty() {
        return OF_PROGRAM.to_vec();
    }
    if !command.has_subcommands() {
        return of(command, words);
    }
    let below = command.get_subcommands();
    let first = |sub: &Command| {
        let words = format!("{words} {}", sub.get_name());
        of(sub, &words).into_iter().next()
    };
    below.filter_map(first).collect()
}

/// The examples of the command of these words; none of one that only holds others.
pub(super) fn of(command: &Command, words: &str) -> Vec<Example> {
    if command.has_subcommands() {
        return Vec::new();
    }
    let call = format!("qanopy {words}");
    let is_of_it = |(line, _): &&Example| {
        let rest = line.split(&call).nth(1);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    EXAMPLES.iter().filter(is_of_it).copied().collect()
}

/// A command with its examples at the end of its help. `words` name it.
pub(super) fn shown_in_help(command: Command, words: &str) -> Command {
    let examples = of(&command, words);
    if examples.is_empty() {
        return command;
    }
    command.after_help(text(&examples))
}

fn text(examples: &[Example]) -> String {
    let lines = examples
        .iter()
        .map(|(line, says)| format!("  {line}\n      {says}"));
    format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &Command, words: &str, found: &mut Vec<(String, usize)>) {
        // What nobody types needs none.
        if command.is_hide_set() {
            return;
        }
        if !command.has_subcommands() {
            found.push((words.to_owned(), of(command, words).len()));
        }
        for sub in command.get_subcommands() {
            leaves(
                sub,
                format!("{words} {}", sub.get_name()).trim_start(),
                found,
            );
        }
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let program = super::super::program();
        let mut commands = Vec::new();
        leaves(&program, "", &mut commands);
        assert!(commands.len() > 50, "{commands:?}");
        for (words, examples) in &commands {
            assert_eq!(*examples, 2, "{words}");
        }
        assert_eq!(EXAMPLES.len(), 2 * commands.len());
        for (line, _) in EXAMPLES.iter().chain(OF_PROGRAM) {
            // What the shell makes of it is not ours.
            let ours = line.split_once("qanopy ").unwrap().1;
            let ours = ours.split([')', '|', '>', '&']).next().unwrap();
            let words = std::iter::once("qanopy").chain(ours.split_whitespace());
            let parsed = program.clone().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
