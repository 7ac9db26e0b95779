use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::forest::{Backing, BackingState, Flags, ProblemKind, Reads};
use crate::host::{FileKind, Holder, Stat};
use crate::image::{Compression, Format, ImageInfo};

fn stat(inode: u64) -> Stat {
    Stat {
        id: FileId { device: 1, inode },
        kind: FileKind::Regular,
        len: 196_608,
        allocated: 4096,
        modified: SystemTime::UNIX_EPOCH,
        changed: SystemTime::UNIX_EPOCH,
        mode: 0o644,
        uid: 0,
        gid: 0,
        links: 1,
    }
}

fn info() -> ImageInfo {
    ImageInfo {
        version: 3,
        virtual_size: 1 << 26,
        cluster_size: 65536,
        refcount_bits: 16,
        extended_l2: false,
        lazy_refcounts: false,
        compression: Compression::Zlib,
        encryption: None,
        dirty: false,
        corrupt: false,
        snapshots: 0,
        first_snapshots: Vec::new(),
        bitmaps: 0,
        external_data: false,
        data_file: None,
        backing_name_is_far: false,
        data_file_raw: false,
        unknown_features: Vec::new(),
        truncated: None,
        lost_map: false,
        unopenable: None,
    }
}

/// Another format is recorded for its backing file.
pub(in crate::forest) fn record_format(overlay: &mut ScannedFile, format: Option<Format>) {
    if let Some(link) = &mut overlay.backing {
        Arc::make_mut(&mut link.recorded).format = format;
    }
}

/// An image at `path` with this inode number; built on `backing` (path, inode if it is there).
pub(in crate::forest) fn image(
    path: &str,
    inode: u64,
    backing: Option<(&str, Option<u64>)>,
) -> ScannedFile {
    let link = backing.map(|(path, inode)| {
        let state = inode.map_or(BackingState::Missing, |inode| {
            BackingState::Present(stat(inode).id)
        });
        let format = Some(Format::Qcow2);
        let mut link = Backing::new(path.as_ref(), format, Some(Path::new(path)), state);
        // Every other file lies outside the scan.
        let outside = inode.filter(|inode| inode % 2 == 0);
        link.outside = outside.map(|inode| Box::new(stat(inode)));
        link
    });
    ScannedFile {
        path: path.into(),
        symlink: false,
        stat: Some(stat(inode)),
        content: Content::Qcow2(Arc::new(info())),
        backing: link.map(Box::new),
        also: Vec::new(),
        holders: Vec::new(),
        annotation: None,
        sharing: None,
    }
}

fn paths(forest: &Forest, ids: &[NodeId]) -> Vec<String> {
    ids.iter()
        .map(|id| forest.get(*id).unwrap().path.display().to_string())
        .collect()
}

fn kinds(forest: &Forest, path: &str) -> Vec<ProblemKind> {
    let node = forest.by_path(Path::new(path)).unwrap();
    node.problems.iter().map(|problem| problem.kind).collect()
}

/// The forest without its numbers, for comparison.
fn told(forest: &Forest) -> Vec<String> {
    let name = |id: NodeId| forest.get(id).unwrap().path.clone();
    let mut rows: Vec<String> = forest
        .nodes()
        .map(|node| {
            let children: Vec<_> = node.children.iter().copied().map(name).collect();
            let mut readers: Vec<_> = forest.readers(node.id);
            readers.retain(|reader| reader.how != Reads::Backing);
            let mut readers: Vec<_> = readers.iter().map(|it| (name(it.node), it.how)).collect();
            readers.sort();
            format!(
                "{:?} {} {:?} {:?} {:?} parent {:?} children {children:?} flags {:?} {:?} chain {:?} \
                 also reads {:?} readers {readers:?}",
                node.path,
                node.symlink,
                node.other_names,
                node.location,
                node.content,
                node.parent.map(name),
                forest.flags(node.id),
                node.problems,
                paths(forest, &forest.chain(node.id)),
                forest.also_reads(node.id),
            )
        })
        .collect();
    rows.sort();
    rows.push(format!("{:?}", paths(forest, &forest.roots())));
    rows
}

#[test]
fn children_met_before_their_base_are_joined_to_it() {
    let mut forest = Forest::new();
    forest.add(image("d/b", 2, Some(("d/base", Some(1)))));
    forest.add(image("d/a", 3, Some(("d/base", Some(1)))));
    assert_eq!(
        forest.by_path(Path::new("d/base")).unwrap().location,
        Location::OutsideScan
    );
    let base = forest.add(image("d/base", 1, None));
    assert_eq!(forest.len(), 3);
    assert_eq!(paths(&forest, &forest.roots()), ["d/base"]);
    assert_eq!(paths(&forest, &forest.descendants(base)), ["d/a", "d/b"]);
    assert!(forest.flags(base).contains(Flags::FROZEN));
}

#[test]
fn the_name_shown_is_a_files_own_before_a_links() {
    let mut forest = Forest::new();
    let mut link = image("a-link", 1, None);
    link.symlink = true;
    forest.add(link);
    let id = forest.add(image("z-own", 1, None));
    forest.add(image("m-own", 1, None));
    let node = forest.get(id).unwrap();
    assert_eq!(node.path, Path::new("m-own"));
    assert_eq!(node.other_names, [Path::new("a-link"), Path::new("z-own")]);
    assert!(!node.symlink);
    assert_eq!(paths(&forest, &forest.roots()), ["m-own"]);
}

#[test]
fn an_image_is_read_by_whatever_any_name_of_it_leads_to() {
    // From the first in order nothing is there: shown is the name by which it can be opened.
    let mut forest = Forest::new();
    let mid = forest.add(image("real/mid", 1, None));
    let vm = forest.add(image("pool/vm", 3, Some(("pool/mid", None))));
    assert!(forest.readers(mid).is_empty());
    forest.add(image("real/vm", 3, Some(("real/mid", Some(1)))));
    let node = forest.get(vm).unwrap();
    assert_eq!(node.path, Path::new("real/vm"));
    assert_eq!(node.parent, Some(mid));
    assert_eq!(node.other_names.as_slice(), [PathBuf::from("pool/vm")]);
    assert!(kinds(&forest, "real/vm").is_empty());
    assert!(forest.by_path(Path::new("pool/mid")).is_none());
    // Another file appears where the other name leads: it is read as well.
    let other = forest.add(image("pool/mid", 5, None));
    forest.add(image("pool/vm", 3, Some(("pool/mid", Some(5)))));
    let how = |id: NodeId| {
        forest
            .readers(id)
            .iter()
            .map(|it| it.how)
            .collect::<Vec<_>>()
    };
    let node = forest.get(vm).unwrap();
    assert_eq!(node.path, Path::new("pool/vm"));
    assert_eq!(how(other), [Reads::Backing]);
    assert_eq!(how(mid), [Reads::OtherName]);
    assert!(forest.flags(mid).contains(Flags::FROZEN));
    assert!(!forest.flags(mid).contains(Flags::ACTIVE));
}

/// The layer that keeps an image from being opened, and how far below it is.
fn below(forest: &Forest, path: &str) -> Option<(String, u32)> {
    let found = forest.broken_below(forest.by_path(Path::new(path)).unwrap().id)?;
    let flags = forest.flags(forest.by_path(Path::new(path)).unwrap().id);
    assert!(flags.contains(Flags::BROKEN_BELOW));
    assert!(kinds(forest, path).contains(&ProblemKind::BrokenBelow));
    let layer = forest.get(found.layer).unwrap();
    Some((layer.path.display().to_string(), found.distance))
}

fn said(forest: &Forest, path: &str, kind: ProblemKind) -> String {
    let node = forest.by_path(Path::new(path)).unwrap();
    let mut problems = node.problems.iter();
    let problem = problems.find(|problem| problem.kind == kind).unwrap();
    problem.message.clone()
}

#[test]
fn every_image_above_a_broken_layer_says_which_and_how_far_below() {
    let mut forest = Forest::new();
    forest.extend([
        image("m1", 1, Some(("gone", None))),
        image("m2", 2, Some(("m1", Some(1)))),
        image("m3", 3, Some(("m2", Some(2)))),
        image("l1", 4, Some(("l2", Some(5)))),
        image("l2", 5, Some(("l1", Some(4)))),
        image("l3", 6, Some(("l1", Some(4)))),
        image("l4", 7, Some(("l3", Some(6)))),
        image("d2", 9, Some(("d1", Some(8)))),
        image("d3", 10, Some(("d2", Some(9)))),
    ]);
    forest.add(ScannedFile {
        content: Content::Damaged("no header".to_owned()),
        ..image("d1", 8, None)
    });
    let at = |path: &str, distance| Some((path.to_owned(), distance));
    assert_eq!(below(&forest, "m1"), None);
    assert_eq!(below(&forest, "m2"), at("gone", 2));
    assert_eq!(below(&forest, "m3"), at("gone", 3));
    assert_eq!(below(&forest, "l1"), None);
    assert_eq!(below(&forest, "l3"), at("l1", 1));
    assert_eq!(below(&forest, "l4"), at("l1", 2));
    assert_eq!(below(&forest, "d2"), at("d1", 1));
    assert_eq!(below(&forest, "d3"), at("d1", 2));
    // And no longer once it is mended.
    forest.add(image("m1", 1, None));
    forest.add(image("d1", 8, None));
    for path in ["m2", "m3", "d2", "d3"] {
        assert_eq!(below(&forest, path), None, "{path}");
        assert!(kinds(&forest, path).is_empty(), "{path}");
    }
}

#[test]
fn what_libvirt_makes_of_a_format_that_is_not_recorded_is_told_for_each_level() {
    let mut first = image("first", 2, Some(("base", Some(1))));
    let mut second = image("second", 3, Some(("first", Some(2))));
    record_format(&mut first, None);
    record_format(&mut second, None);
    let mut forest = Forest::new();
    forest.extend([
        image("base", 1, None),
        first,
        second,
        image("third", 4, Some(("second", Some(3)))),
    ]);
    let kind = ProblemKind::NoBackingFormat;
    assert!(said(&forest, "first", kind).contains("starts the guest"));
    let quoted =
        "format of backing image 'first' of image 'second' was not specified in the image metadata";
    assert!(said(&forest, "second", kind).contains(quoted));
    assert!(said(&forest, "third", ProblemKind::BrokenBelow).contains(quoted));
    assert_eq!(below(&forest, "second"), None);
    assert_eq!(below(&forest, "third"), Some(("second".to_owned(), 1)));
}

#[test]
fn a_name_that_no_linux_resolves_is_a_problem_with_a_way_out() {
    let mut forest = Forest::new();
    for (inode, recorded, state) in [
        (2, r"C:\VMs\base.qcow2", BackingState::Elsewhere("C".into())),
        (3, r"..\images\base.qcow2", BackingState::Missing),
        (4, "vm:base.qcow2", BackingState::Elsewhere("vm".into())),
        (5, "nbd:host:1", BackingState::Elsewhere("nbd".into())),
    ] {
        let path = (state == BackingState::Missing).then_some(Path::new(recorded));
        let link = Backing::new(recorded.as_ref(), Some(Format::Qcow2), path, state);
        let mut found = image(&format!("vm/{inode}"), inode, None);
        found.backing = Some(Box::new(link));
        forest.add(found);
    }
    forest.add(image("vm/above", 9, Some(("vm/2", Some(2)))));
    let kind = ProblemKind::UnresolvableBacking;
    assert!(said(&forest, "vm/2", kind).contains("a path of Windows"));
    assert!(said(&forest, "vm/4", kind).contains("colon"));
    assert!(kinds(&forest, "vm/5").is_empty());
    assert_eq!(
        forest
            .broken_below(forest.by_path(Path::new("vm/above")).unwrap().id)
            .unwrap()
            .distance,
        2
    );
    // The file beside it is proposed, also when it comes later.
    assert!(!said(&forest, "vm/3", kind).contains("vm/base.qcow2"));
    forest.add(image("vm/base.qcow2", 7, None));
    for path in ["vm/2", "vm/3"] {
        assert!(
            said(&forest, path, kind).contains("vm/base.qcow2"),
            "{path}"
        );
    }
}

#[test]
fn a_loop_has_one_root_and_every_member_says_so() {
    let mut forest = Forest::new();
    forest.add(image("b", 2, Some(("a", Some(1)))));
    forest.add(image("a", 1, Some(("b", Some(2)))));
    forest.add(image("c", 3, Some(("b", Some(2)))));
    forest.add(image("self", 4, Some(("self", Some(4)))));
    assert_eq!(paths(&forest, &forest.roots()), ["a", "self"]);
    let c = forest.by_path(Path::new("c")).unwrap();
    assert!(!c.in_loop);
    assert_eq!(paths(&forest, &forest.chain(c.id)), ["c", "b", "a"]);
    assert_eq!(kinds(&forest, "a"), [ProblemKind::Loop]);
    assert_eq!(kinds(&forest, "self"), [ProblemKind::Loop]);
    let a = forest.by_path(Path::new("a")).unwrap().id;
    assert_eq!(paths(&forest, &forest.descendants(a)), ["b", "c"]);
}

#[test]
fn a_missing_base_is_a_node_and_a_namesake_is_proposed() {
    let mut forest = Forest::new();
    forest.add(image("x/ov", 2, Some(("x/here.qcow2", None))));
    assert_eq!(kinds(&forest, "x/ov"), [ProblemKind::MissingBacking]);
    let message = |forest: &Forest| {
        forest.by_path(Path::new("x/ov")).unwrap().problems[0]
            .message
            .clone()
    };
    assert!(!message(&forest).contains("moved"));
    forest.add(image("moved/here.qcow2", 3, None));
    assert!(
        message(&forest).contains("moved/here.qcow2"),
        "{}",
        message(&forest)
    );
    assert_eq!(
        paths(&forest, &forest.roots()),
        ["moved/here.qcow2", "x/here.qcow2"]
    );
}

#[test]
fn that_there_may_be_more_namesakes_is_known_when_one_of_those_remembered_goes_by_another_name() {
    let mut forest = Forest::new();
    forest.add(image("x/ov", 2, Some(("x/here.qcow2", None))));
    let namesakes = |forest: &Forest| {
        let overlay = forest.by_path(Path::new("x/ov")).unwrap();
        let found = forest.namesakes(overlay);
        let text = overlay.problems[0].message.clone();
        assert_eq!(found.may_be_more, text.contains("other places"), "{text}");
        (found.images.len(), found.may_be_more)
    };
    for (inode, dir) in [(11, "a"), (13, "b"), (15, "c"), (17, "d")] {
        forest.add(image(&format!("{dir}/here.qcow2"), inode, None));
    }
    assert_eq!(namesakes(&forest), (4, false));
    forest.add(image("e/here.qcow2", 19, None));
    assert_eq!(namesakes(&forest), (4, true));
    // Another name of the first, which comes before it.
    forest.add(image("a/also.qcow2", 11, None));
    assert_eq!(namesakes(&forest), (3, true));
}

#[test]
fn what_is_held_above_is_in_use_below() {
    let mut forest = Forest::new();
    let mut top = image("top", 3, Some(("mid", Some(2))));
    top.holders = vec![Holder {
        pid: 1,
        command: "qemu".into(),
        machine: None,
        writes: true,
        locks: true,
        host: None,
    }];
    forest.add(top);
    forest.add(image("base", 1, None));
    forest.add(image("mid", 2, Some(("base", Some(1)))));
    forest.add(image("other", 4, Some(("base", Some(1)))));
    let in_use = |path| {
        let id = forest.by_path(Path::new(path)).unwrap().id;
        forest.flags(id).contains(Flags::IN_USE)
    };
    assert!(in_use("base") && in_use("mid") && in_use("top"));
    assert!(!in_use("other"));
}

#[test]
fn a_base_recorded_as_raw_stays_raw_whatever_its_guest_wrote() {
    let mut forest = Forest::new();
    let mut overlay = image("ov", 2, Some(("disk.img", Some(1))));
    record_format(&mut overlay, Some(Format::Raw));
    let forged = image("disk.img", 1, Some(("/etc/shadow", Some(9))));
    forest.add(forged.clone());
    assert_eq!(forest.len(), 2);
    forest.add(overlay.clone());
    let disk = forest.by_path(Path::new("disk.img")).unwrap();
    assert_eq!(disk.content, Content::Raw);
    assert_eq!(disk.parent, None);
    assert_eq!(forest.len(), 2, "what the guest named is no longer shown");
    assert_eq!(kinds(&forest, "ov"), [ProblemKind::WrongBackingFormat]);
    let mut other = Forest::new();
    other.add(overlay);
    other.add(forged.clone());
    assert_eq!(told(&forest), told(&other));
    forest.add(image("ov2", 3, Some(("disk.img", Some(1)))));
    let disk = forest.by_path(Path::new("disk.img")).unwrap();
    assert_eq!(disk.content, forged.content, "one of two is wrong");
    assert!(disk.parent.is_some());
}

#[test]
fn a_name_with_control_characters_never_reaches_a_message_as_it_is() {
    let mut forest = Forest::new();
    forest.add(image("a\x1b[31m\n", 1, Some(("b\x07", None))));
    let node = forest.nodes().next().unwrap();
    assert!(!node.problems[0].message.contains(char::is_control));
}

/// The time of a processor that this thread has had: what else runs does not lengthen it.
fn spent() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = told.split_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// Does the work for so many, and for ten times as many: that may take far less than a hundred times as long.
pub(in crate::forest) fn assert_no_square(few: u64, work: impl Fn(u64)) {
    let time = |count| {
        let before = spent();
        work(count);
        spent() - before
    };
    let (small, large) = (time(few), time(few * 10));
    assert!(large < small * 40, "{small:?}, then {large:?}");
}

#[test]
fn ten_times_as_many_layers_in_a_row_or_on_one_base_take_about_ten_times_as_long() {
    let name = |i: u64| format!("dir/{i:06}");
    let layer = |i: u64| match i {
        0 => image(&name(0), 1, None),
        i => image(&name(i), i + 1, Some((&name(i - 1), Some(i)))),
    };
    for upwards in [true, false] {
        assert_no_square(10_000, |count| {
            let mut forest = Forest::new();
            for batch in 0..count / 100 {
                forest.extend((0..100).map(|i| {
                    let i = batch * 100 + i;
                    layer(if upwards { i } else { count - 1 - i })
                }));
            }
            let top = forest.by_path(Path::new(&name(count - 1))).unwrap().id;
            assert_eq!(forest.chain(top).len() as u64, count);
            let all = forest.descendants(forest.roots()[0]).len();
            assert_eq!(all as u64, count - 1);
        });
    }
    assert_no_square(10_000, |count| {
        let mut forest = Forest::new();
        for batch in 0..count / 100 {
            forest.extend((0..100).map(|i| {
                let i = (batch * 100 + i) * 7919 % count + 2;
                image(&name(i), i, Some(("base", Some(1))))
            }));
        }
        forest.add(image("base", 1, None));
        assert_eq!(forest.roots().len(), 1);
        let all = forest.descendants(forest.roots()[0]).len();
        assert_eq!(all as u64, count);
    });
}

#[test]
fn a_loop_of_many_members_is_found_once() {
    let name = |i: u64| format!("{i:05}");
    let mut forest = Forest::new();
    for i in 0..5000u64 {
        let below = (i + 1) % 5000;
        forest.add(image(
            &name(i),
            i + 1,
            Some((&name(below), Some(below + 1))),
        ));
    }
    assert!(forest.nodes().all(|node| node.in_loop));
    let first = forest.roots();
    assert_eq!(paths(&forest, &first), ["00000"]);
    assert_eq!(forest.chain(first[0]).len(), 5000);
    assert_eq!(forest.descendants(first[0]).len(), 4999);
}

#[test]
fn what_is_said_above_a_layer_follows_what_becomes_wrong_with_it() {
    let top = image("d/top", 1, Some(("d/b", Some(2))));
    let mut layer = image("d/b", 2, Some(("d/c", Some(3))));
    record_format(&mut layer, None);
    let before = image("d/c", 3, Some(("d/gone", None)));
    let circle = image("d/c", 3, Some(("d/b", Some(2))));
    let mut one = Forest::new();
    one.extend([top.clone(), layer.clone(), circle.clone()]);
    let mut other = Forest::new();
    other.extend([top, layer, before]);
    other.add(circle);
    assert_eq!(told(&one), told(&other));
}

/// Random files over few inodes and names: links by every state, further names, raw claims, holders.
fn found_files() -> impl Strategy<Value = Vec<ScannedFile>> {
    let entry = (0u64..8, prop::option::of(0u64..11), 0u8..4, 0u8..8, 0u8..3);
    prop::collection::vec(entry, 8).prop_map(|entries| {
        let mut files = Vec::new();
        for (i, (own, backing, how, extra, format)) in entries.into_iter().enumerate() {
            let inode = i as u64;
            let link = backing.map(|to| match to {
                8 => ("n/gone".to_owned(), None),
                9 => ("out/side".to_owned(), Some(90)),
                10 => ("gone/f1".to_owned(), None),
                to => (format!("d{}/f{to}", to % 2), Some(to)),
            });
            let mut file = image(
                &format!("d{}/f{i}", i % 2),
                inode,
                link.as_ref().map(|(path, inode)| (path.as_str(), *inode)),
            );
            let recorded = match format {
                0 => None,
                1 => Some(Format::Raw),
                _ => Some(Format::Qcow2),
            };
            record_format(&mut file, recorded);
            if how == 0 {
                file.holders = vec![Holder {
                    pid: 7,
                    command: "qemu".into(),
                    machine: None,
                    writes: true,
                    locks: true,
                    host: None,
                }];
            }
            if extra < 2 {
                let mut link = file.clone();
                link.path = format!("links/{own}-{i}").into();
                link.symlink = extra == 0;
                // Seen from there, a relative name leads elsewhere: to nothing, or to another image.
                // One name leads to one file.
                let elsewhere = format!("links/elsewhere-{own}");
                let end = match own {
                    0 | 1 => Some((elsewhere.as_str(), Some(own))),
                    2 => Some(("out/side", Some(90))),
                    _ => Some(("links/gone", None)),
                };
                let end = end.filter(|_| file.backing.is_some());
                link.backing = image("x", 0, end).backing;
                files.push(link);
            }
            files.push(file);
        }
        files
    })
}

proptest! {
    #[test]
    fn any_order_of_the_same_files_gives_the_same_forest(
        (files, shuffled) in found_files().prop_flat_map(|files| {
            (Just(files.clone()), Just(files).prop_shuffle())
        }),
        cut in 0usize..8,
    ) {
        let mut one = Forest::new();
        one.extend(files.clone());
        let mut other = Forest::new();
        for (i, file) in shuffled.iter().enumerate() {
            if i < cut {
                other.add(file.clone());
            }
        }
        other.extend(shuffled.into_iter().skip(cut));
        prop_assert_eq!(told(&one), told(&other));
        let generation = other.generation();
        other.extend(files);
        prop_assert_eq!(told(&one), told(&other));
        prop_assert!(other.generation() > generation);
    }
}

#[test]
fn what_is_proposed_for_a_missing_base_follows_what_becomes_known_of_it() {
    let lost = image("x/ov", 2, Some(("x/disk", None)));
    let candidate = image("moved/disk", 3, None);
    let mut overlay = image("x/other", 4, Some(("moved/disk", Some(3))));
    record_format(&mut overlay, Some(Format::Raw));
    let mut one = Forest::new();
    one.extend([lost.clone(), candidate.clone(), overlay.clone()]);
    let mut other = Forest::new();
    for found in [lost, candidate, overlay] {
        other.add(found);
    }
    assert_eq!(told(&one), told(&other));
    let node = other.by_path(Path::new("x/ov")).unwrap();
    assert!(
        node.problems[0].message.contains("moved/disk"),
        "{:?}",
        node.problems
    );
}
