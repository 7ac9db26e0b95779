//! Corners of a commit that random trees seldom reach, each a place where bytes were or could be lost:
//! tables that move, flags that other views keep, bitmaps that must grow, files that others hold.

use crate::support;

use std::fs;
use std::path::Path;

use qanopy::ops::{Branch, CommittedLayer, NoteKind, RefusalKind, Request, Siblings};
use support::image_crash_suite::refused_as;
use support::oracle::Views;
use support::script::run_in;
use support::{Qemu, own_code};

const KEEP: CommittedLayer = CommittedLayer::Keep;
const TRASH: CommittedLayer = CommittedLayer::Trash;

/// Runs shell words, one command a line, in `dir`; each has to succeed.
fn build(dir: &Path, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let output = run_in(dir, &["sh", "-c", line]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && !text.contains("failed"),
            "{line}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn commit(
    dir: &Path,
    overlay: &str,
    layer: CommittedLayer,
    siblings: Siblings,
) -> Result<(), String> {
    own_code::commit(
        &own_code::real_host(),
        dir,
        &dir.join(overlay),
        layer,
        siblings,
    )
    .map(drop)
}

fn setting(lines: &str) -> Option<(Qemu, tempfile::TempDir)> {
    let qemu = support::qemu()?;
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), lines);
    Some((qemu, dir))
}

/// qemu-io with a raw image open for writing.
fn holds_raw(path: &Path) -> std::process::Child {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let mut child = Command::new("qemu-io")
        .args(["-f", "raw"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"length\n")
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!line.is_empty());
    child
}

#[test]
fn a_snapshot_that_shares_a_partly_filled_cluster_with_the_overlay_is_kept_intact() {
    for layer in [KEEP, TRASH] {
        let Some((qemu, dir)) = setting(
            "qemu-img create -q -f qcow2 base.qcow2 1M
             qemu-io -f qcow2 -c 'write -P 1 0 1M' base.qcow2
             qemu-img create -q -f qcow2 -o extended_l2=on -b base.qcow2 -F qcow2 a.qcow2
             qemu-io -f qcow2 -c 'write -P 2 0 2k' a.qcow2
             qemu-img snapshot -c s a.qcow2
             qemu-io -f qcow2 -c 'write -z 2k 2k' a.qcow2",
        ) else {
            return;
        };
        let dir = dir.path();
        let show = |path: &Path| support::oracle::snapshot_view(path, "s").unwrap();
        let before = show(&dir.join("a.qcow2"));
        commit(dir, "a.qcow2", layer, Siblings::Preserve).unwrap();
        qemu.check_clean(dir.join("base.qcow2"));
        if layer == TRASH {
            // Back to where its base is found.
            build(dir, "mv .qanopy-trash/*/a.qcow2 a.qcow2");
        }
        qemu.check_clean(dir.join("a.qcow2"));
        assert!(before == show(&dir.join("a.qcow2")));
    }
}

#[test]
fn a_siblings_snapshot_that_is_kept_intact_leaves_the_siblings_flags_right() {
    for options in [
        "",
        "-o cluster_size=16k,extended_l2=on",
        "-o compat=0.10,cluster_size=4k",
    ] {
        let Some((qemu, dir)) = setting(&format!(
            "qemu-img create -q -f qcow2 base.qcow2 4M
             qemu-io -f qcow2 -c 'write -P 1 0 4M' base.qcow2
             qemu-img create -q -f qcow2 {options} -b base.qcow2 -F qcow2 a.qcow2
             qemu-img create -q -f qcow2 {options} -b base.qcow2 -F qcow2 b.qcow2
             qemu-io -f qcow2 -c 'write -P 2 1M 6k' b.qcow2
             qemu-img snapshot -c one b.qcow2
             qemu-img snapshot -c two b.qcow2
             qemu-io -f qcow2 -c 'write -P 3 0 128k' -c 'write -P 4 1030k 1k' a.qcow2"
        )) else {
            return;
        };
        let dir = dir.path();
        let before = Views::of(dir, ["a.qcow2", "b.qcow2"]);
        let snap = |name: &str| support::oracle::snapshot_view(&dir.join("b.qcow2"), name).unwrap();
        let (one, two) = (snap("one"), snap("two"));
        commit(dir, "a.qcow2", KEEP, Siblings::Preserve).unwrap();
        for image in ["a.qcow2", "b.qcow2", "base.qcow2"] {
            qemu.check_clean(dir.join(image));
        }
        let after = Views::of(dir, ["a.qcow2", "b.qcow2"]);
        before.assert_same(&after, ["a.qcow2", "b.qcow2"], &options);
        assert!(one == snap("one") && two == snap("two"), "{options}");
    }
}

#[test]
fn a_cluster_that_held_the_old_l1_table_may_be_written_twice() {
    let Some((qemu, dir)) = setting(
        "qemu-img create -q -f qcow2 base.qcow2 1M
         qemu-img create -q -f qcow2 -o cluster_size=4k -b base.qcow2 -F qcow2 a.qcow2 2G
         qemu-io -f qcow2 -c 'write -P 1 1G 4k' -c 'write -P 2 1048592k 4k' -c 'write -P 3 1048608k 4k' a.qcow2
         qemu-img convert -O raw a.qcow2 expected.raw",
    ) else {
        return;
    };
    let dir = dir.path();
    commit(dir, "a.qcow2", KEEP, Siblings::Refuse).unwrap();
    qemu.check_clean(dir.join("base.qcow2"));
    qemu.img(&[
        "compare".as_ref(),
        dir.join("base.qcow2").as_os_str(),
        dir.join("expected.raw").as_os_str(),
    ]);
}

#[test]
fn a_bitmap_that_is_too_short_for_a_grown_base_does_not_make_it_unreadable() {
    for flags in ["--disable", "--enable"] {
        let Some((qemu, dir)) = setting(&format!(
            "qemu-img create -q -f qcow2 -o cluster_size=512 base.qcow2 1M
             qemu-img bitmap --add -g 512 {flags} base.qcow2 backup
             qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2 16M
             qemu-io -f qcow2 -c 'write -P 1 9M 64k' a.qcow2"
        )) else {
            return;
        };
        let dir = dir.path();
        let before = Views::of(dir, ["a.qcow2"]);
        let result = commit(dir, "a.qcow2", KEEP, Siblings::Refuse);
        match flags {
            "--enable" => result.unwrap(),
            _ => assert!(result.unwrap_err().contains("the bitmap backup")),
        }
        qemu.io(dir.join("base.qcow2"), &["read 0 512"]);
        qemu.check_clean(dir.join("base.qcow2"));
        before.assert_same(&Views::of(dir, ["a.qcow2"]), ["a.qcow2"], &flags);
    }
}

#[test]
fn an_old_base_with_snapshots_is_not_grown() {
    let Some((qemu, dir)) = setting(
        "qemu-img create -q -f qcow2 -o compat=0.10 base.qcow2 1M
         qemu-io -f qcow2 -c 'write -P 7 0 64k' base.qcow2
         qemu-img snapshot -c one base.qcow2
         qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2 2M
         qemu-io -f qcow2 -c 'write -P 1 1M 64k' a.qcow2",
    ) else {
        return;
    };
    let dir = dir.path();
    let before = std::fs::read(dir.join("base.qcow2")).unwrap();
    let result = commit(dir, "a.qcow2", KEEP, Siblings::Break);
    assert!(result.unwrap_err().contains("cannot grow"));
    assert_eq!(before, std::fs::read(dir.join("base.qcow2")).unwrap());
    qemu.check_clean(dir.join("base.qcow2"));
}

#[test]
fn a_data_file_that_a_machine_uses_as_a_raw_disk_is_not_written() {
    let Some((qemu, dir)) = setting(
        "qemu-img create -q -f qcow2 -o data_file=base.raw,data_file_raw=on base.qcow2 1M
         qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
         qemu-io -f qcow2 -c 'write -P 1 0 64k' a.qcow2",
    ) else {
        return;
    };
    let dir = dir.path();
    let before = std::fs::read(dir.join("base.qcow2")).unwrap();
    let mut holder = holds_raw(&dir.join("base.raw"));
    let result = commit(dir, "a.qcow2", KEEP, Siblings::Refuse);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(result.unwrap_err().contains("base.raw is in use by"));
    assert_eq!(before, std::fs::read(dir.join("base.qcow2")).unwrap());
    commit(dir, "a.qcow2", KEEP, Siblings::Refuse).unwrap();
    // QEMU finds a data file by its name relative to where it runs.
    qemu.within(dir).check_clean("base.qcow2");
}

#[test]
fn children_longer_than_a_shorter_overlay_keep_their_zeros_over_a_large_compressed_cluster() {
    let Some((qemu, dir)) = setting(
        "qemu-img create -q -f raw src.raw 4M
         qemu-io -f raw -c 'write -P 9 0 4M' src.raw
         qemu-img convert -c -O qcow2 -o cluster_size=2M src.raw base.qcow2
         rm src.raw
         qemu-img create -q -f qcow2 -o cluster_size=512 -b base.qcow2 -F qcow2 a.qcow2 99k
         qemu-io -f qcow2 -c 'write -P 3 0 1k' a.qcow2
         qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 c.qcow2 4M
         qemu-img snapshot -c s c.qcow2
         qemu-io -f qcow2 -c 'write -P 5 2M 1k' c.qcow2",
    ) else {
        return;
    };
    let dir = dir.path();
    let before = Views::of(dir, ["c.qcow2"]);
    let snap = support::oracle::snapshot_view(&dir.join("c.qcow2"), "s").unwrap();
    commit(dir, "a.qcow2", TRASH, Siblings::Break).unwrap();
    qemu.check_clean(dir.join("base.qcow2"));
    qemu.check_clean(dir.join("c.qcow2"));
    before.assert_same(&Views::of(dir, ["c.qcow2"]), ["c.qcow2"], &"");
    assert!(snap == support::oracle::snapshot_view(&dir.join("c.qcow2"), "s").unwrap());
}

#[test]
fn a_child_whose_header_has_no_room_for_the_bases_name_stops_the_commit_before_it_starts() {
    let long = "n".repeat(200);
    let Some((_, dir)) = setting(&format!(
        "mkdir {long} {long}/{long}
         qemu-img create -q -f qcow2 {long}/{long}/base.qcow2 1M
         qemu-img create -q -f qcow2 -b {long}/{long}/base.qcow2 -F qcow2 a.qcow2
         qemu-io -f qcow2 -c 'write -P 1 0 64k' a.qcow2
         qemu-img create -q -f qcow2 -o cluster_size=512 -b a.qcow2 -F qcow2 c.qcow2"
    )) else {
        return;
    };
    let dir = dir.path();
    let before = std::fs::read(dir.join(format!("{long}/{long}/base.qcow2"))).unwrap();
    let refusal = commit(dir, "a.qcow2", TRASH, Siblings::Refuse).unwrap_err();
    assert!(refusal.contains("c.qcow2 cannot be built on"), "{refusal}");
    let after = std::fs::read(dir.join(format!("{long}/{long}/base.qcow2"))).unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_folder_that_takes_no_trash_is_found_out_before_the_base_is_written() {
    let Some((_, dir)) = setting(
        "qemu-img create -q -f qcow2 base.qcow2 1M
         qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
         qemu-io -f qcow2 -c 'write -P 1 0 64k' a.qcow2
         touch .qanopy-trash",
    ) else {
        return;
    };
    let dir = dir.path();
    let before = std::fs::read(dir.join("base.qcow2")).unwrap();
    let failure = commit(dir, "a.qcow2", TRASH, Siblings::Refuse).unwrap_err();
    assert!(failure.contains("in the way"), "{failure}");
    assert_eq!(before, std::fs::read(dir.join("base.qcow2")).unwrap());
}

#[test]
fn a_feature_that_nobody_knows_is_declared_stale_when_the_overlay_is_emptied() {
    let Some((qemu, dir)) = setting(
        "qemu-img create -q -f qcow2 base.qcow2 1M
         qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
         qemu-io -f qcow2 -c 'write -P 1 0 64k' a.qcow2",
    ) else {
        return;
    };
    use std::os::unix::fs::FileExt;
    let dir = dir.path();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.join("a.qcow2"))
        .unwrap();
    file.write_all_at(&[0x80], 88).unwrap();
    commit(dir, "a.qcow2", KEEP, Siblings::Refuse).unwrap();
    assert_eq!(std::fs::read(dir.join("a.qcow2")).unwrap()[88..96], [0; 8]);
    qemu.check_clean(dir.join("a.qcow2"));
}

#[test]
fn a_data_file_outside_the_folders_looked_in_is_not_opened() {
    let Some((qemu, home)) = setting("") else {
        return;
    };
    let dir = home.path().join("vm");
    let elsewhere = home.path().join("secret.raw");
    fs::create_dir(&dir).unwrap();
    let here = qemu.within(&dir);
    here.img(&["create", "-f", "qcow2", "base.qcow2", "1M"]);
    let data = format!("data_file={}", elsewhere.display());
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        &data,
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "top.qcow2",
    ]);
    here.io("top.qcow2", &["write -P 5 0 64k"]);
    let before = fs::read(dir.join("base.qcow2")).unwrap();
    let said = commit(&dir, "top.qcow2", CommittedLayer::Trash, Siblings::Refuse).unwrap_err();
    assert!(said.contains("secret.raw"), "{said}");
    assert_eq!(fs::read(dir.join("base.qcow2")).unwrap(), before);
}

/// What every name of the disk shows.
fn shown(qemu: &Qemu, dir: &Path, names: &[&str]) -> Vec<u64> {
    names
        .iter()
        .map(|name| qemu.digest(dir.join(name)))
        .collect()
}

#[test]
fn a_disk_with_hard_links_in_two_folders_is_built_on_what_any_of_them_leads_to() {
    let Some((qemu, home)) = setting(
        r#"mkdir real pool
        qemu-img create -q -f qcow2 real/base.qcow2 8M
        qemu-io -c 'write -P 1 0 2M' real/base.qcow2
        qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 real/mid.qcow2
        qemu-io -c 'write -P 2 1M 1M' real/mid.qcow2
        qemu-img create -q -f qcow2 -F qcow2 -b mid.qcow2 real/vm.qcow2
        qemu-io -c 'write -P 3 2M 1M' real/vm.qcow2
        ln real/vm.qcow2 pool/vm.qcow2"#,
    ) else {
        return;
    };
    let dir = home.path();
    let before = shown(&qemu, dir, &["real/vm.qcow2"]);
    commit(dir, "real/mid.qcow2", TRASH, Siblings::Preserve).unwrap();
    // Now by either name, since the new one holds from both.
    let after = shown(&qemu, dir, &["real/vm.qcow2", "pool/vm.qcow2"]);
    assert_eq!(after, [before[0], before[0]]);
}

#[test]
fn what_a_disk_reads_by_another_of_its_names_is_left_alone() {
    let Some((_, home)) = setting(
        r#"mkdir a b
        qemu-img create -q -f qcow2 a/mid.qcow2 8M
        qemu-img create -q -f qcow2 b/mid.qcow2 8M
        qemu-img create -q -f qcow2 -F qcow2 -b mid.qcow2 a/vm.qcow2
        ln a/vm.qcow2 b/vm.qcow2"#,
    ) else {
        return;
    };
    let dir = home.path();
    let images = vec![dir.join("b/mid.qcow2")];
    let plan = own_code::plan(&own_code::real_host(), dir, &Request::discard(images));
    let said = refused_as(&plan, RefusalKind::HasDependants);
    assert!(said.contains("a/vm.qcow2"), "{said}");
    // Both at once can go.
    let images = vec![dir.join("b/mid.qcow2"), dir.join("a/vm.qcow2")];
    let plan = own_code::plan(&own_code::real_host(), dir, &Request::discard(images));
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
}

#[test]
fn a_name_that_is_written_holds_from_links_in_other_folders_and_a_link_left_behind_is_told() {
    // As OpenNebula keeps the snapshots of a disk: a link to the newest, and one by which the folder leads
    // to itself.
    let Some((qemu, home)) = setting(
        r#"mkdir -p 17/disk.0.snap 1
        qemu-img create -q -f qcow2 1/base 16M
        qemu-io -c 'write -P 1 0 1M' 1/base
        ln -s . 17/disk.0.snap/disk.0.snap
        qemu-img create -q -f qcow2 -F qcow2 -b "$PWD/1/base" 17/disk.0.snap/0
        cd 17; qemu-img create -q -f qcow2 -F qcow2 -b disk.0.snap/0 disk.0.snap/1
        qemu-io -c 'write -P 2 1M 1M' 17/disk.0.snap/1
        cd 17; qemu-img create -q -f qcow2 -F qcow2 -b disk.0.snap/1 disk.0.snap/2
        qemu-io -c 'write -P 3 2M 1M' 17/disk.0.snap/2
        ln -s disk.0.snap/2 17/disk.0"#,
    ) else {
        return;
    };
    let dir = home.path();
    let names = ["17/disk.0", "17/disk.0.snap/2"];
    let before = shown(&qemu, dir, &names);
    commit(dir, "17/disk.0.snap/1", TRASH, Siblings::Preserve).unwrap();
    assert_eq!(shown(&qemu, dir, &names), before);
    // The disk itself goes, by the name of the link: the link is left, which the plan says.
    let host = own_code::real_host();
    // The layer that went is in the trash, and may come back as it is.
    let plan = own_code::plan_commit(
        &host,
        dir,
        &dir.join("17/disk.0"),
        TRASH,
        Siblings::Preserve,
    );
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    let told = plan.notes.iter().any(|note| {
        note.warning && note.kind == NoteKind::OtherNames && note.text.contains("17/disk.0 ")
    });
    assert!(told, "{:?}", plan.notes);
    // A new branch on the link is built on the file, as a rebase would have it.
    let branch = Request::Branch(Branch {
        base: dir.join("17/disk.0"),
        new: dir.join("17/new"),
        format: None,
        size: None,
        style: qanopy::ops::BackingStyle::Relative,
        image: qanopy::ops::ImageOptions::default(),
    });
    own_code::run(&host, dir, &branch).unwrap();
    let forest = own_code::scan(&host, dir);
    let new = forest.by_path(&dir.join("17/new")).unwrap();
    assert_eq!(new.backing.as_ref().unwrap().name(), "disk.0.snap/2");
}

/// The program in `dir`, with a state of its own and everything agreed to.
fn qanopy(qemu: &Qemu, dir: &Path, words: &[&str]) -> support::Outcome {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"));
    command.env("XDG_STATE_HOME", dir.join("state"));
    qemu.run(command.current_dir(dir).args(words))
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_only_an_image_names_is_neither_read_nor_written() {
    let Some((qemu, home)) = setting(
        "mkdir vm private copies
         head -c 1048576 /dev/zero | tr '\\0' s > private/shadow
         chmod 600 private/shadow
         ln -s ../private/shadow vm/link.raw
         qemu-img create -q -f qcow2 -F raw -b ../private/shadow vm/far.qcow2
         qemu-img create -q -f qcow2 -F raw -b link.raw vm/near.qcow2
         qemu-img create -q -f qcow2 -F qcow2 -b far.qcow2 vm/top.qcow2
         qemu-io -f qcow2 -c 'write -P 9 0 64k' vm/far.qcow2
         qemu-io -f qcow2 -c 'write -P 9 0 64k' vm/near.qcow2
         qemu-img snapshot -c one vm/far.qcow2
         qemu-img snapshot -c one vm/near.qcow2
         qemu-img create -q -f raw vm/other.raw 1M",
    ) else {
        return;
    };
    let dir = home.path();
    let shadow = fs::read(dir.join("private/shadow")).unwrap();
    let mut left = fs::read_dir(dir.join("vm")).unwrap().count();
    for image in ["vm/far.qcow2", "vm/near.qcow2", "vm/top.qcow2"] {
        let before = fs::read(dir.join(image)).unwrap();
        let mut all: Vec<Vec<&str>> = vec![
            vec!["convert", image, "vm/out", "--yes"],
            vec!["convert", "--to", "raw", image, "vm/out", "--yes"],
            vec!["flatten", image, "vm/out", "--yes"],
            vec!["flatten", image, "--in-place", "--yes"],
            vec!["export", image, "vm/out", "--yes"],
            vec!["clone", "--chain", image, "copies", "--yes"],
            vec!["rebase", image, "--to", "vm/other.raw", "--yes"],
        ];
        if image != "vm/top.qcow2" {
            all.push(vec!["commit", image, "--yes", "--confirm", "1"]);
            all.push(vec!["snapshot", "extract", image, "one", "vm/out", "--yes"]);
        }
        for words in all {
            let outcome = qanopy(&qemu, dir, &words);
            let said = format!("{words:?}: {} {}", outcome.text(), outcome.stderr);
            assert_eq!(outcome.code, 4, "{said}");
            assert!(
                said.contains("private/shadow") && said.contains("--scan"),
                "{said}"
            );
            assert_eq!(fs::read_dir(dir.join("copies")).unwrap().count(), 0);
            assert!(!dir.join("vm/out").exists(), "{said}");
            assert!(fs::read(dir.join(image)).unwrap() == before, "{said}");
            assert!(
                fs::read(dir.join("private/shadow")).unwrap() == shadow,
                "{said}"
            );
        }
        // What it is built on is shown all the same.
        let shown = qanopy(&qemu, dir, &["info", image]).text();
        assert!(!shown.is_empty());
    }
    // Named, it is read; and who may not read it may not read the copy.
    for (words, new) in [
        (vec!["convert", "vm/far.qcow2", "vm/a"], "vm/a"),
        (
            vec!["convert", "--to", "raw", "vm/top.qcow2", "vm/b"],
            "vm/b",
        ),
        (vec!["flatten", "vm/top.qcow2", "vm/c"], "vm/c"),
        (
            vec!["snapshot", "extract", "vm/far.qcow2", "one", "vm/d"],
            "vm/d",
        ),
        (vec!["branch", "vm/far.qcow2", "vm/e"], "vm/e"),
    ] {
        let words = [words, vec!["--scan", "private", "--yes"]].concat();
        let outcome = qanopy(&qemu, dir, &words);
        assert_eq!(outcome.code, 0, "{words:?}: {}", outcome.stderr);
        assert_eq!(mode(&dir.join(new)), 0o600, "{words:?}");
        left += 1;
    }
    assert_eq!(fs::read_dir(dir.join("vm")).unwrap().count(), left);
    let outcome = qanopy(
        &qemu,
        dir,
        &["commit", "vm/far.qcow2", "--scan", "private", "-n"],
    );
    let told = outcome.text();
    assert!(told.contains("near.qcow2"), "{told}");
}

#[test]
fn a_data_file_beside_a_base_that_only_a_header_names_is_not_opened() {
    let Some((qemu, home)) = setting(
        "mkdir vm private
         head -c 1048576 /dev/zero | tr '\\0' s > private/shadow
         qemu-img create -q -f qcow2 private/base.qcow2 1M
         qemu-img create -q -f qcow2 -F qcow2 -b ../private/base.qcow2 vm/top.qcow2
         cp private/shadow private/data
         qemu-img create -q -f qcow2 -o data_file=$PWD/private/data,data_file_raw=on vm/data.qcow2 1M
         qemu-img rebase -u -F qcow2 -b ../private/base.qcow2 vm/data.qcow2 || true",
    ) else {
        return;
    };
    let outcome = qanopy(
        &qemu,
        home.path(),
        &["convert", "vm/data.qcow2", "vm/out", "-y"],
    );
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(!home.path().join("vm/out").exists());
}

#[test]
fn a_snapshot_larger_than_its_table_is_told_at_once_and_long_lists_take_one_pass() {
    use std::time::{Duration, Instant};
    let Some((qemu, home)) = setting(
        "qemu-img create -q -f qcow2 a.qcow2 64M
         qemu-io -f qcow2 -c 'write -P 9 0 64k' a.qcow2
         qemu-img snapshot -c one a.qcow2",
    ) else {
        return;
    };
    let dir = home.path();
    let sound = fs::read(dir.join("a.qcow2")).unwrap();
    let table = u64::from_be_bytes(sound[64..72].try_into().unwrap());
    let table = usize::try_from(table).unwrap();
    let mut forged = sound.clone();
    forged[table + 48..table + 56].copy_from_slice(&(1u64 << 62).to_be_bytes());
    fs::write(dir.join("huge.qcow2"), &forged).unwrap();
    let begun = Instant::now();
    for words in [
        &["map", "--snapshot", "one", "huge.qcow2"][..],
        &["compare", "--snapshot", "one", "huge.qcow2", "a.qcow2"],
        &["convert", "--snapshot", "one", "huge.qcow2", "out", "-y"],
        &["snapshot", "extract", "huge.qcow2", "one", "out", "-y"],
        &["check", "huge.qcow2"],
    ] {
        let outcome = qanopy(&qemu, dir, words);
        let said = format!("{words:?}: {} {}", outcome.text(), outcome.stderr);
        assert!(outcome.code != 0, "{said}");
        assert!(said.contains("snapshot disk size"), "{said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
    // As many as the format allows, all of the same table.
    let end = sound.len().next_multiple_of(65536);
    let mut many = sound;
    many.resize(end, 0);
    for number in 0..65_536u32 {
        let id = number.to_string();
        let mut entry = many[table..table + 40].to_vec();
        entry[12..14].copy_from_slice(&u16::try_from(id.len()).unwrap().to_be_bytes());
        entry.extend_from_slice(&many[table + 40..table + 64]);
        entry.extend_from_slice(id.as_bytes());
        entry.extend_from_slice(b"one");
        entry[36..40].copy_from_slice(&24u32.to_be_bytes());
        many.extend_from_slice(&entry);
        many.resize(many.len().next_multiple_of(8), 0);
    }
    many[60..64].copy_from_slice(&65_536u32.to_be_bytes());
    many[64..72].copy_from_slice(&(end as u64).to_be_bytes());
    fs::write(dir.join("many.qcow2"), &many).unwrap();
    let begun = Instant::now();
    let outcome = qanopy(&qemu, dir, &["snapshot", "list", "many.qcow2"]);
    assert_eq!(outcome.text().lines().count(), 65_537, "{}", outcome.stderr);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn arguments_and_names_reach_no_terminal_as_they_are_and_json_keeps_them() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let Some((qemu, home)) = setting("qemu-img create -q -f qcow2 a.qcow2 1M") else {
        return;
    };
    let dir = home.path();
    let odd = "\u{9b}31m\u{7f}\u{202e}\u{200b}\u{2066}\n\u{1b}[2J";
    let acts = |text: &str| {
        text.chars()
            .any(|c| c != '\n' && (c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c)))
    };
    let plain = "a.qcow2";
    for words in [
        vec!["tree", odd],
        vec![odd],
        vec!["tree", &format!("--{odd}")],
        vec!["resize", plain, odd],
        vec!["create", "new", "1M", "--cluster-size", odd],
        vec!["create", "new", "1M", "--encrypt", odd],
        vec!["snapshot", "delete", plain, odd, "-y"],
        vec!["check", odd],
        vec![plain, odd],
    ] {
        let outcome = qanopy(&qemu, dir, &words);
        assert_ne!(outcome.code, 0, "{words:?}");
        assert!(!acts(&outcome.stderr), "{words:?}: {:?}", outcome.stderr);
        assert!(!acts(&outcome.text()), "{words:?}: {:?}", outcome.text());
    }
    let mut bytes = odd.as_bytes().to_vec();
    bytes.push(0xff);
    let path = dir.join(OsStr::from_bytes(&bytes));
    fs::copy(dir.join(plain), &path).unwrap();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let outcome = qanopy(&qemu, dir, &["tree", "--json", "."]);
    assert!(!acts(&outcome.text()), "{:?}", outcome.text());
    let found: serde_json::Value = serde_json::from_str(&outcome.text()).unwrap();
    let image = found["result"]["images"]
        .as_array()
        .unwrap()
        .iter()
        .find(|image| image["path-bytes"].is_string())
        .unwrap();
    assert_eq!(image["path-bytes"], hex(path.as_os_str().as_bytes()));
    assert_eq!(image["path"], path.to_string_lossy().as_ref());
    assert_eq!(image["names-bytes"][0], image["path-bytes"]);
}
