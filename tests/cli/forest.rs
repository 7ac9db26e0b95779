//! Everything a user's disk holds is listed, with the right parent, state and sizes; whatever is
//! broken is a row with a plain sentence.

use crate::support;

use std::collections::BTreeSet;
use std::path::Path;

use qanopy::forest::{Forest, Location, Node};
use support::forests::{self, Described, Reading};
use support::script::Script;
use support::{oracle, own_code};

#[test]
fn the_sample_forests_are_what_their_tables_say() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (folder, rows) in forests::all(dir.path()) {
        for row in rows {
            let image = dir.path().join(folder).join(row.path);
            // qemu-img runs out of file descriptors on a loop, slowly.
            if !row.flags.contains("loop") {
                let readable = oracle::guest_view(&image, None).is_ok();
                let expected = row.reading != Reading::Neither
                    || row.format == "vmdk"
                    || ["zeros.qcow2", "empty.qcow2"].contains(&row.path);
                assert_eq!(readable, expected, "{}", row.path);
            }
        }
    }
}

fn node<'a>(forest: &'a Forest, path: &Path) -> &'a Node {
    forest
        .by_path(path)
        .unwrap_or_else(|| panic!("{path:?} is not listed: {:?}", names(forest)))
}

fn names(forest: &Forest) -> Vec<&Path> {
    forest.nodes().map(|node| node.path.as_path()).collect()
}

fn flags(forest: &Forest, node: &Node) -> BTreeSet<&'static str> {
    forest.flags(node.id).names().collect()
}

fn assert_described(forest: &Forest, dir: &Path, row: &Described) {
    let path = dir.join(row.path);
    let found = node(forest, &path);
    for name in row.names {
        assert_eq!(node(forest, &dir.join(name)).id, found.id, "{name}");
    }
    let known: BTreeSet<&Path> = std::iter::once(found.path.as_path())
        .chain(found.other_names.iter().map(AsRef::as_ref))
        .collect();
    assert_eq!(known.len(), 1 + row.names.len(), "{known:?}");

    let parent = found.parent.and_then(|id| forest.get(id));
    let expected = row.parent.map(|parent| node(forest, &dir.join(parent)).id);
    assert_eq!(parent.map(|p| p.id), expected, "parent of {}", row.path);
    if let Some(parent) = parent {
        assert!(parent.children.contains(&found.id), "{}", row.path);
    }

    let has = flags(forest, found);
    let must: BTreeSet<&str> = row.flags.split_whitespace().collect();
    let may: BTreeSet<&str> = row.perhaps.split_whitespace().collect();
    assert!(must.is_subset(&has), "{}: {has:?}, not {must:?}", row.path);
    let surplus: Vec<_> = has
        .iter()
        .filter(|f| !must.contains(*f) && !may.contains(*f))
        .collect();
    assert!(surplus.is_empty(), "{}: {surplus:?} too many", row.path);

    assert_eq!(found.virtual_size(), row.virtual_size, "{}", row.path);
    if row.virtual_size.is_some() {
        let format = found.format().map(|format| format.name().to_owned());
        assert_eq!(format.as_deref(), Some(row.format), "{}", row.path);
    }
}

/// Fails if what a face may print of a node holds a control character.
fn assert_printable(forest: &Forest) {
    for node in forest.nodes() {
        for problem in &node.problems {
            let said = &problem.message;
            assert!(!said.chars().any(char::is_control), "{said:?}");
            assert!(said.ends_with('.'), "not a sentence: {said}");
            assert!(said.contains(' ') && !said.contains("Os {"), "{said}");
        }
    }
}

#[test]
fn every_sample_is_listed_with_its_parent_state_and_sizes() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let samples = forests::all(dir.path());
    let host = own_code::real_host();
    let whole = own_code::scan(&host, dir.path());
    assert_printable(&whole);
    for (folder, rows) in &samples {
        let folder = dir.path().join(folder);
        let alone = own_code::scan(&host, &folder);
        for forest in [&whole, &alone] {
            for row in rows {
                assert_described(forest, &folder, row);
            }
        }
        // Nothing else is a row, but what is missing and named.
        for node in alone.nodes() {
            let path = node.path.strip_prefix(&folder).unwrap();
            let told = rows.iter().any(|row| {
                Path::new(row.path) == path || row.names.iter().any(|n| Path::new(n) == path)
            });
            let missing = node.location == Location::Missing
                && rows
                    .iter()
                    .any(|row| row.parent.map(Path::new) == Some(path));
            assert!(
                told || missing || path == Path::new("dangling.qcow2"),
                "{path:?} is a row: {node:?}"
            );
        }
    }
}

#[test]
fn sizes_are_those_that_qemu_img_info_gives() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (folder, rows) in forests::all(dir.path()) {
        let folder = dir.path().join(folder);
        let forest = own_code::scan(&own_code::real_host(), &folder);
        for row in rows {
            let found = node(&forest, &folder.join(row.path));
            let (Some(size), Some(said)) =
                (found.virtual_size(), oracle::info(&folder.join(row.path)))
            else {
                continue;
            };
            let theirs = said["virtual-size"].as_u64();
            assert_eq!(theirs, Some(size.next_multiple_of(512)), "{}", row.path);
            let own = said["actual-size"].as_u64();
            // QEMU adds an external data file to the image that has it.
            if row.path != "external.qcow2" {
                assert_eq!(found.size_on_disk(), own, "{}", row.path);
            }
            let Some(info) = found.info() else { continue };
            let specific = &said["format-specific"]["data"];
            let compat = if info.version == 2 { "0.10" } else { "1.1" };
            assert_eq!(specific["compat"].as_str(), Some(compat), "{}", row.path);
            let cluster = said["cluster-size"].as_u64();
            assert_eq!(cluster, Some(info.cluster_size), "{}", row.path);
            let bits = specific["refcount-bits"].as_u64();
            assert_eq!(bits, Some(u64::from(info.refcount_bits)), "{}", row.path);
            let extended = specific["extended-l2"].as_bool().unwrap_or(false);
            assert_eq!(extended, info.extended_l2, "{}", row.path);
            let lazy = specific["lazy-refcounts"].as_bool().unwrap_or(false);
            assert_eq!(lazy, info.lazy_refcounts, "{}", row.path);
            let kind = specific["compression-type"].as_str().unwrap_or("zlib");
            assert_eq!(kind, info.compression.name(), "{}", row.path);
            let snapshots = said["snapshots"].as_array().map_or(0, Vec::len);
            assert_eq!(snapshots, info.snapshots as usize, "{}", row.path);
            let bitmaps = specific["bitmaps"].as_array().map_or(0, Vec::len);
            assert_eq!(bitmaps, info.bitmaps as usize, "{}", row.path);
            let backing = said["backing-filename"].as_str().map(std::ffi::OsStr::new);
            let recorded = found.backing.as_ref().map(|link| link.name());
            assert_eq!(backing, recorded, "{}", row.path);
        }
    }
}

#[test]
fn whatever_is_broken_is_a_row_with_a_plain_sentence() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    forests::broken(dir);
    let forest = own_code::scan(&own_code::real_host(), dir);
    assert_printable(&forest);
    for (name, word) in [
        ("orphan.qcow2", "gone.qcow2"),
        ("lost-its-base.qcow2", "here.qcow2"),
        ("a.qcow2", "circle"),
        ("b.qcow2", "circle"),
        ("self.qcow2", "itself"),
        ("corrupt-bit.qcow2", "corrupt"),
        ("future.qcow2", "feature"),
        ("short-header.qcow2", "short-header.qcow2"),
        ("zeros.qcow2", "zeros.qcow2"),
        ("empty.qcow2", "empty.qcow2"),
        ("dangling.qcow2", "dangling.qcow2"),
    ] {
        let found = node(&forest, &dir.join(name));
        let said: Vec<&str> = found.problems.iter().map(|p| p.message.as_str()).collect();
        assert!(said.iter().any(|s| s.contains(word)), "{name}: {said:?}");
    }
    // Loops are reached from the roots, and every node is.
    let mut reached = BTreeSet::new();
    for root in forest.roots() {
        reached.insert(root);
        reached.extend(forest.descendants(root));
    }
    assert_eq!(reached.len(), forest.len(), "{:?}", names(&forest));
}

#[test]
fn an_overlay_says_where_its_base_went_when_it_was_only_moved() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    forests::broken(dir);
    let forest = own_code::scan(&own_code::real_host(), dir);
    let found = node(&forest, &dir.join("lost-its-base.qcow2"));
    let said = &found.problems[0].message;
    assert!(said.contains("moved/here.qcow2"), "{said}");
}

#[test]
fn a_scan_changes_nothing_and_opens_nothing_outside() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.run("mkdir inside outside");
    s.create("", "outside/base.qcow2", "1M");
    s.overlay("qcow2", "../outside/base.qcow2", "inside/top.qcow2");
    s.build(dir);
    let before = oracle::Bytes::below(dir);
    let forest = own_code::scan(&own_code::real_host(), &dir.join("inside"));
    before.assert_unchanged(dir, &"a scan");
    let top = node(&forest, &dir.join("inside/top.qcow2"));
    let base = forest.get(top.parent.unwrap()).unwrap();
    assert_eq!(base.location, Location::OutsideScan);
    assert_eq!(base.info(), None);
    assert!(base.stat.is_some());
    assert_eq!(
        flags(&forest, base),
        BTreeSet::from(["frozen", "outside-scan"])
    );
}
