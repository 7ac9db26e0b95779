//! Copies of chains between machines: a shell stands in for ssh and each host. `qemu-img` tells whether a copy shows
//! what its original shows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use qanopy::fleet::{Ends, Moved, Question, Run, Stream, Watcher};

use crate::hosts::Lab;
use crate::support::qemu::{Qemu, qemu};

/// base.qcow2 <- mid.qcow2 <- top.qcow2 and base.qcow2 <- side.qcow2 on the first host; none without QEMU's tools.
fn lab() -> Option<(Lab, Qemu)> {
    let lab = Lab::new();
    let dir = lab.home("one").join("images");
    fs::create_dir(&dir).unwrap();
    fs::create_dir(lab.home("two").join("got")).unwrap();
    let qemu = qemu()?.within(&dir);
    qemu.img(&["create", "-q", "-f", "qcow2", "base.qcow2", "64M"]);
    qemu.io(
        dir.join("base.qcow2"),
        &["write -P 7 1M 1M", "write -P 8 40M 200k"],
    );
    for (new, base, command) in [
        ("mid.qcow2", "base.qcow2", "write -P 9 2M 300k"),
        ("top.qcow2", "mid.qcow2", "write -P 10 1M 70k"),
        ("side.qcow2", "base.qcow2", "write -P 11 3M 100k"),
    ] {
        qemu.img(&[
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, new,
        ]);
        qemu.io(dir.join(new), &[command]);
    }
    Some((lab, qemu))
}

/// The names in a folder and their bytes, but for hidden ones.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, entry.path())
    });
    named
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    files(dir).into_keys().collect()
}

/// Both show the same, and the second is sound.
fn shows_the_same(qemu: &Qemu, one: &Path, other: &Path) {
    let [one, name] = [one, other].map(|path| path.to_str().unwrap().to_owned());
    qemu.img(&["compare", &one, &name]);
    qemu.check_clean(other);
}

#[test]
fn a_chain_is_copied_once_and_what_is_there_serves_as_base() {
    let Some((lab, qemu)) = lab() else { return };
    let (from, to) = (lab.home("one").join("images"), lab.home("two").join("got"));
    let before = files(&from);
    let asked = lab.q("copy one:images/top.qcow2 two:got").with(4);
    assert!(
        asked.err.contains("nobody is there to ask"),
        "{}",
        asked.err
    );
    let planned = lab.q("copy one:images/top.qcow2 two:got --dry-run").with(0);
    for part in [
        "Copy one:images/top.qcow2 to got",
        "creates",
        "mid.qcow2",
        "are sent",
    ] {
        assert!(planned.out.contains(part), "{part}: {}", planned.out);
    }
    assert_eq!(names(&to), Vec::<String>::new());
    let refused = lab.q("--read-only copy one:images/top.qcow2 two:got --yes");
    assert_ne!(refused.code, 0);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    let told = lab.q("copy one:images/top.qcow2 two:got --yes").with(0);
    assert!(told.out.contains("copied 3 images to got"), "{}", told.out);
    assert_eq!(names(&to), ["base.qcow2", "mid.qcow2", "top.qcow2"]);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 3);
    shows_the_same(&qemu, &from.join("top.qcow2"), &to.join("top.qcow2"));
    let info = lab.there("two", "info got/top.qcow2 --json").json();
    assert_eq!(info["result"]["backing-filename"], "mid.qcow2");
    // The header alone differs, of which QEMU writes another layout; the base has none to be changed.
    assert_eq!(files(&to)["base.qcow2"], before["base.qcow2"]);
    let planned = lab
        .q("copy one:images/side.qcow2 two:got --dry-run")
        .with(0);
    assert!(
        planned.out.contains("it is there already"),
        "{}",
        planned.out
    );
    lab.q("copy one:images/side.qcow2 two:got --yes").with(0);
    assert_eq!(
        names(&to),
        ["base.qcow2", "mid.qcow2", "side.qcow2", "top.qcow2"]
    );
    shows_the_same(&qemu, &from.join("side.qcow2"), &to.join("side.qcow2"));
    let again = lab.q("copy one:images/top.qcow2 two:got --yes").with(0);
    assert!(
        again.out.contains("holds it already"),
        "{}{}",
        again.out,
        again.err
    );
    assert!(
        lab.there("two", "log")
            .out
            .contains("copied 1 image to got")
    );
    lab.there("two", "undo --yes");
    assert_eq!(names(&to), ["base.qcow2", "mid.qcow2", "top.qcow2"]);
    assert_eq!(files(&from), before);
}

#[test]
fn either_side_may_be_this_machine() {
    let Some((lab, qemu)) = lab() else { return };
    let from = lab.home("one").join("images");
    let here = lab.place.path().join("here");
    fs::create_dir(&here).unwrap();
    lab.q("copy one:images/top.qcow2 here --yes").with(0);
    shows_the_same(&qemu, &from.join("top.qcow2"), &here.join("top.qcow2"));
    lab.q("copy here/top.qcow2 two:got --yes").with(0);
    let got = lab.home("two").join("got/top.qcow2");
    shows_the_same(&qemu, &from.join("top.qcow2"), &got);
    fs::create_dir(lab.place.path().join("beside")).unwrap();
    lab.q("copy here/mid.qcow2 beside --yes").with(0);
    let beside = lab.place.path().join("beside/mid.qcow2");
    shows_the_same(&qemu, &from.join("mid.qcow2"), &beside);
    for (words, code) in [
        ("copy one:images/none.qcow2 here --yes", 1),
        ("copy one:images/top.qcow2 two:none --yes", 4),
        ("copy @lab:images/top.qcow2 here --yes", 2),
        ("copy one:images/top.qcow2 away:. --yes", 1),
        ("send one:images/top.qcow2", 2),
    ] {
        let told = lab.q(words);
        assert_eq!(told.code, code, "{words}: {}{}", told.out, told.err);
    }
    lab.there("one", "info images/top.qcow2");
}

#[test]
fn a_base_that_is_another_one_of_its_name_is_not_built_on() {
    let Some((lab, qemu)) = lab() else { return };
    let (from, to) = (lab.home("one").join("images"), lab.home("two").join("got"));
    fs::copy(from.join("base.qcow2"), to.join("base.qcow2")).unwrap();
    qemu.io(to.join("base.qcow2"), &["write -P 1 40M 64k"]);
    let other = fs::read(to.join("base.qcow2")).unwrap();
    let planned = lab
        .q("copy one:images/side.qcow2 two:got --dry-run")
        .with(0);
    assert!(
        planned.out.contains("are copied from images"),
        "{}",
        planned.out
    );
    lab.q("copy one:images/side.qcow2 two:got --yes").with(0);
    assert_eq!(names(&to), ["2-base.qcow2", "base.qcow2", "side.qcow2"]);
    assert_eq!(fs::read(to.join("base.qcow2")).unwrap(), other);
    shows_the_same(&qemu, &from.join("side.qcow2"), &to.join("side.qcow2"));
}

#[test]
fn a_copy_that_is_cut_anywhere_leaves_no_half_and_is_gone_on_with() {
    let Some((lab, qemu)) = lab() else { return };
    let (from, to) = (lab.home("one").join("images"), lab.home("two").join("got"));
    let before = files(&from);
    let copy = "copy one:images/top.qcow2 two:got --yes";
    let mut kept = 0;
    let cuts = [0, 40, 1500, 5000, 500_000, 900_000, 1_400_000];
    for (host, way) in [("one", "out"), ("two", "in"), ("one", "in"), ("two", "out")] {
        // What goes there is short the one way.
        for cut in cuts.into_iter().filter(|cut| {
            way == "out" && host == "one" || host == "two" && way == "in" || *cut < 5000
        }) {
            let at = cut.to_string();
            let cut_off = [("CUT_HOST", host), ("CUT_WAY", way), ("CUT_AT", &at)];
            let told = lab.q_with(copy, &cut_off);
            let what = format!("{host} {way} {cut}: {} {}{}", told.code, told.out, told.err);
            assert_eq!(files(&from), before, "{what}");
            let there = names(&to);
            assert!(there.is_empty() || there.len() == 3, "{there:?} {what}");
            let is_whole = !there.is_empty();
            assert!(is_whole || told.code != 0 && !told.err.is_empty(), "{what}");
            let left = fs::read_dir(&to).unwrap().count();
            if !is_whole && left > 0 {
                kept += 1;
                let planned = lab.q("copy one:images/top.qcow2 two:got --dry-run").with(0);
                assert!(
                    planned.out.contains("an earlier try"),
                    "{what} {}",
                    planned.out
                );
            }
            let again = lab.q(copy);
            assert_eq!(again.code, 0, "{what} {}{}", again.out, again.err);
            assert_eq!(
                names(&to),
                ["base.qcow2", "mid.qcow2", "top.qcow2"],
                "{what}"
            );
            assert_eq!(fs::read_dir(&to).unwrap().count(), 3, "{what}");
            shows_the_same(&qemu, &from.join("top.qcow2"), &to.join("top.qcow2"));
            let all: Vec<PathBuf> = fs::read_dir(&to)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            all.iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
    assert!(kept > 3, "{kept}");
}

#[test]
fn a_commit_whose_connection_is_cut_at_any_message_loses_nothing() {
    let lab = Lab::new();
    let home = lab.home("one");
    let Some(qemu) = qemu() else { return };
    let qemu = qemu.within(&home);
    let [base, top] = ["a.qcow2", "b.qcow2"].map(|name| home.join(name));
    qemu.io(&base, &["write -P 3 0 5M"]);
    qemu.io(&top, &["write -P 4 1M 3M", "write -P 5 6M 200k"]);
    let kept = [&base, &top].map(|path| fs::read(path).unwrap());
    let wanted = home.join("wanted.raw");
    qemu.img(&["convert", "-O", "raw", "b.qcow2", "wanted.raw"]);
    let mut done = 0;
    // The agent's first line and its hello are of some 100 bytes; what it tells of the commit comes behind them.
    for cut in (0..700).step_by(23) {
        let at = cut.to_string();
        let cut_off = [("CUT_HOST", "one"), ("CUT_WAY", "out"), ("CUT_AT", &at)];
        let told = lab.q_with("commit one:b.qcow2 --confirm 1", &cut_off);
        let left = lab.there("one", "recover").out;
        if !left.contains("nothing was interrupted") {
            let entry = left
                .split_whitespace()
                .find_map(|word| word.parse::<u64>().ok());
            let finish = format!("recover one:{} --finish", entry.unwrap());
            let ended = lab.q(&format!("{finish} --yes"));
            if ended.code != 0 {
                lab.q(&format!("{finish} --confirm 1")).with(0);
            }
        }
        let shows = if top.exists() { &top } else { &base };
        let what = format!("{cut}: {}{}", told.out, told.err);
        qemu.check_clean(&base);
        let [shows, wanted] = [shows, &wanted].map(|path| path.to_str().unwrap());
        let compared = qemu.try_img(&["compare", shows, wanted]);
        assert!(compared.success(), "{what}");
        done += usize::from(!top.exists());
        fs::write(&base, &kept[0]).unwrap();
        fs::write(&top, &kept[1]).unwrap();
    }
    assert!(done > 0);
}

/// Ends the agent as soon as anything is copied.
struct Cutting<'a> {
    lab: &'a Lab,
    is_cut: bool,
}

impl Watcher for Cutting<'_> {
    fn silent(&mut self, _: &str, _: u64) {}
}

impl Ends for Cutting<'_> {
    fn printed(&mut self, _: Stream, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        Ok("1".to_owned())
    }

    fn moved(&mut self, moved: &Moved) {
        if moved.done > 0 && !std::mem::replace(&mut self.is_cut, true) {
            self.lab.hosts.cut();
        }
    }
}

#[test]
fn a_commit_that_is_cut_half_way_is_brought_to_its_end() {
    let lab = Lab::new();
    let home = lab.home("one");
    let Some(qemu) = qemu() else { return };
    let qemu = qemu.within(&home);
    qemu.img(&["create", "-q", "-f", "qcow2", "c.qcow2", "600M"]);
    qemu.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "c.qcow2", "d.qcow2",
    ]);
    // More than is copied before anybody hears of it.
    qemu.io(home.join("c.qcow2"), &["write -P 3 0 64M"]);
    qemu.io(home.join("d.qcow2"), &["write -P 4 0 512M"]);
    let mut ends = Cutting {
        lab: &lab,
        is_cut: false,
    };
    let stops = AtomicUsize::new(0);
    let mut connection = lab.connection("one");
    let run = Run {
        asks: true,
        ..Run::new(["commit", "d.qcow2"].map(Into::into).into(), "one")
    };
    let ended = connection.run(run, &mut ends, &stops);
    assert!(ended.is_err() && ends.is_cut, "{ended:?}");
    // It stops by itself, and what it has done is half of it.
    let begun = Instant::now();
    let entry = loop {
        let left = lab.there("one", "recover").out;
        let number = left
            .split_whitespace()
            .find_map(|word| word.parse::<u64>().ok());
        match number {
            Some(number)
                if lab
                    .q(&format!("recover one:{number} --finish --dry-run"))
                    .code
                    == 0 =>
            {
                break number;
            }
            _ if begun.elapsed() < Duration::from_secs(60) => {
                std::thread::sleep(Duration::from_millis(100));
            }
            _ => panic!("{left}"),
        }
    };
    let held = |name: &str| {
        let bytes = qemu.try_io(home.join(name), &["read -P 4 0 512M"]);
        bytes.success() && !bytes.text().contains("verification failed")
    };
    assert!(held("d.qcow2") && !held("c.qcow2"), "it is half way");
    qemu.check_clean(home.join("c.qcow2"));
    let finish = format!("recover one:{entry} --finish");
    if lab.q(&format!("{finish} --yes")).code != 0 {
        lab.q(&format!("{finish} --confirm 1")).with(0);
    }
    assert!(held("c.qcow2") && !home.join("d.qcow2").exists());
    qemu.check_clean(home.join("c.qcow2"));
}

/// What `top.qcow2` shows, as a raw image.
fn shown_by_top(lab: &Lab, qemu: &Qemu) -> PathBuf {
    let wanted = lab.hosts.path().join("wanted.raw");
    let path = wanted.to_str().unwrap();
    qemu.img(&["convert", "-O", "raw", "top.qcow2", path]);
    wanted
}

#[test]
fn an_image_that_moves_goes_to_the_trash_once_it_is_copied() {
    let Some((lab, qemu)) = lab() else { return };
    let (from, to) = (lab.home("one").join("images"), lab.home("two").join("got"));
    let wanted = shown_by_top(&lab, &qemu);
    let before = files(&from);
    // What something is built on stays, and nothing is copied.
    let told = lab
        .q("copy --move one:images/mid.qcow2 two:got --yes")
        .with(4);
    assert!(told.err.contains("top.qcow2 is built on"), "{}", told.err);
    let told = lab.q("copy --move one:images/top.qcow2 two:got").with(4);
    assert!(told.err.contains("--yes"), "{}", told.err);
    let planned = lab
        .q("copy --move one:images/top.qcow2 two:got --dry-run")
        .with(0)
        .out;
    let place = |text: &str| {
        planned
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {planned}"))
    };
    assert!(
        place("Once it is copied, on one:") < place("trashes"),
        "{planned}"
    );
    assert!(place("trashes") < place("creates"), "{planned}");
    assert_eq!(files(&from), before);
    assert!(names(&to).is_empty());
    // The base has another overlay, and stays.
    let told = lab
        .q("copy --move one:images/top.qcow2 two:got --yes")
        .with(0);
    assert_eq!(names(&from), ["base.qcow2", "side.qcow2"], "{}", told.out);
    assert_eq!(names(&to), ["base.qcow2", "mid.qcow2", "top.qcow2"]);
    shows_the_same(&qemu, &wanted, &to.join("top.qcow2"));
    lab.q("undo one: --yes").with(0);
    assert_eq!(files(&from), before);
    // The other way it meets itself again: nothing is sent, and all that it is built on goes.
    let back = "copy --remove-source two:got/top.qcow2 one:images --yes --json";
    let told = lab.q(back).with(0).json();
    let original = &told["result"]["original"]["outcome"]["summary"];
    assert!(original.as_str().unwrap().contains("3 images"), "{told}");
    assert_eq!((names(&to), files(&from)), (Vec::new(), before));
}

#[test]
fn an_image_that_moves_and_is_cut_off_anywhere_is_at_one_place_at_least() {
    let Some((lab, qemu)) = lab() else { return };
    let (from, to) = (lab.home("one").join("images"), lab.home("two").join("got"));
    let wanted = shown_by_top(&lab, &qemu);
    let chain = ["base.qcow2", "mid.qcow2", "top.qcow2"];
    let before = files(&from);
    let opened = lab.hosts.path().join("one.opened");
    let (mut both, mut moved) = (0, 0);
    // The first connection to it plans and discards, the second one gives.
    for (nth, way, cuts) in [
        ("1", "out", (0..2600).step_by(130).collect::<Vec<_>>()),
        (
            "1",
            "in",
            vec![0, 30, 90, 150, 250, 290, 310, 340, 370, 2000],
        ),
        ("2", "out", vec![0, 500, 200_000]),
    ] {
        for cut in cuts {
            let at = cut.to_string();
            fs::remove_file(&opened).ok();
            let told = lab.q_with(
                "copy --move one:images/top.qcow2 two:got --yes",
                &[
                    ("CUT_HOST", "one"),
                    ("CUT_WAY", way),
                    ("CUT_AT", &at),
                    ("CUT_NTH", nth),
                ],
            );
            let what = format!("{nth} {way} {cut}: {} {}{}", told.code, told.out, told.err);
            let is_there = names(&to) == chain;
            assert!(is_there || names(&to).is_empty(), "{what}");
            let is_gone = files(&from) != before;
            assert!(is_there || !is_gone, "{what}");
            assert!(is_there || told.code != 0, "{what}");
            if is_there {
                shows_the_same(&qemu, &wanted, &to.join("top.qcow2"));
                both += usize::from(!is_gone);
                moved += usize::from(is_gone);
            }
            let all = fs::read_dir(&to)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            all.for_each(|path| fs::remove_file(path).unwrap());
            if is_gone {
                assert_eq!(names(&from), ["base.qcow2", "side.qcow2"], "{what}");
                lab.q("undo one: --yes").with(0);
                assert_eq!(files(&from), before, "{what}");
            }
        }
    }
    assert!(
        both > 0 && moved > 0,
        "{both} at both places, {moved} moved"
    );
}

#[test]
fn an_agent_that_shows_one_folder_gives_its_images_alone_and_takes_none() {
    let Some((lab, qemu)) = lab() else { return };
    let (home, here) = (lab.home("one"), lab.place.path().join("here"));
    fs::create_dir(&here).unwrap();
    let images = home.join("images");
    let outside = lab.place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret.raw"), [83; 1 << 20]).unwrap();
    for (name, format) in [("secret.raw", "raw"), ("secret.qcow2", "qcow2")] {
        let at = outside.join(name);
        let at = at.to_str().unwrap();
        if format == "qcow2" {
            qemu.img(&["create", "-q", "-f", format, at, "1M"]);
        }
        let over = format!("over-{name}.qcow2");
        qemu.img(&["create", "-q", "-f", "qcow2", "-F", format, "-b", at, &over]);
        std::os::unix::fs::symlink(at, images.join(format!("link-{name}"))).unwrap();
    }
    std::os::unix::fs::symlink(&outside, images.join(".folder")).unwrap();
    let ssh = fs::read_to_string(lab.ssh()).unwrap();
    let before = files(&images);
    for rules in ["--read-only", "--read-only --restrict"] {
        let rules = rules.replace("--restrict", &format!("--restrict '{}'", images.display()));
        // As `command=` of authorized_keys has it: what was asked for is not run.
        let forced = format!(
            "#!/bin/sh\nexport HOME='{}'\nunset XDG_STATE_HOME\ncd \"$HOME\"\nexec {} agent {rules}\n",
            home.display(),
            env!("CARGO_BIN_EXE_qanopy")
        );
        crate::support::lab::program(&lab.ssh(), &forced);
        let far = format!("one:{}", images.display());
        let own = lab.q(&format!("copy {far}/top.qcow2 here --yes"));
        assert_eq!(own.code, 0, "{rules}: {}", own.err);
        shows_the_same(&qemu, &images.join("top.qcow2"), &here.join("top.qcow2"));
        fs::write(lab.place.path().join("new.img"), "new").unwrap();
        let put = lab.q(&format!("copy new.img {far} --yes"));
        assert_ne!(put.code, 0, "{rules}");
        assert!(
            put.err.contains("one does not run it"),
            "{rules}: {}",
            put.err
        );
        let gone = lab.q(&format!("copy --move {far}/top.qcow2 here --yes"));
        assert_ne!(gone.code, 0, "{rules}");
        for name in names(&here) {
            fs::remove_file(here.join(name)).unwrap();
        }
        if rules.contains("--restrict") {
            for image in [
                "over-secret.raw.qcow2",
                "over-secret.qcow2.qcow2",
                "link-secret.raw",
                "link-secret.qcow2",
                ".folder/secret.raw",
                "../../outside/secret.raw",
            ] {
                for also in [String::new(), format!(" --scan one:{}", outside.display())] {
                    let told = lab.q(&format!("copy {far}/{image} here --yes{also}"));
                    let what = format!("{rules} {image}{also}: {}{}", told.out, told.err);
                    assert_ne!(told.code, 0, "{what}");
                    assert!(!told.err.contains("panic"), "{what}");
                    assert_eq!(fs::read_dir(&here).unwrap().count(), 0, "{what}");
                }
            }
        }
        assert_eq!(files(&images), before, "{rules}");
    }
    fs::write(lab.ssh(), ssh).unwrap();
    // Who may read both folders says so.
    let over = "copy one:images/over-secret.raw.qcow2 here --yes";
    let refused = lab.q(over);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("--scan"), "{}", refused.err);
    let at = outside.display();
    for (also, code) in [
        (format!("--scan two:{at}"), 2),
        (format!("--scan {at}"), 2),
        (format!("--scan one:{at}"), 0),
    ] {
        let told = lab.q(&format!("{over} {also}"));
        assert_eq!(told.code, code, "{also}: {}", told.err);
    }
    shows_the_same(
        &qemu,
        &images.join("over-secret.raw.qcow2"),
        &here.join("over-secret.raw.qcow2"),
    );
}
