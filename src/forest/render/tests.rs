use std::sync::Arc;

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::forest::insert::tests::{assert_no_square, image, record_format};
use crate::forest::{Content, Forest, ScannedFile};
use crate::image::Format;

/// A forest from `name <- backing name` pairs in the folder `vm`; inodes follow the names.
fn forest(images: &[(&str, &str)]) -> Forest {
    let mut forest = Forest::new();
    let inode = |name: &str| {
        images
            .iter()
            .position(|(known, _)| *known == name)
            .map(|at| at as u64 + 1)
    };
    forest.extend(images.iter().map(|(name, on)| {
        let on_path = format!("vm/{on}");
        image(
            &format!("vm/{name}"),
            inode(name).unwrap(),
            (!on.is_empty()).then(|| (on_path.as_str(), inode(on))),
        )
    }));
    forest
}

fn root_base() -> Forest {
    forest(&[
        ("RootBase", ""),
        ("Overlay-1", "RootBase"),
        ("Overlay-1A", "Overlay-1"),
        ("Overlay-1B", "Overlay-1A"),
        ("Overlay-1C", "Overlay-1B"),
        ("Overlay-2", "RootBase"),
        ("Overlay-2A", "Overlay-2"),
        ("Overlay-3", "RootBase"),
        ("Overlay-3A", "Overlay-3"),
    ])
}

fn drawn(forest: &Forest) -> String {
    let mut text = String::from("\n");
    for line in Diagram::new(forest, Charset::Unicode).lines() {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn lines(forest: &Forest, width: usize, charset: Charset) -> String {
    let mut text = String::from("\n");
    for line in tree(forest, width, charset) {
        text.push_str(&line.text());
        text.push('\n');
    }
    text
}

#[test]
fn the_diagram_of_the_seeds_forest_is_the_seeds_picture() {
    assert_eq!(
        drawn(&root_base()),
        r"
.-----------.    .-----------.    .------------.    .------------.    .------------.
|           |    |           |    |            |    |            |    |            |
| RootBase  |<---| Overlay-1 |<---| Overlay-1A |<---| Overlay-1B |<---| Overlay-1C |
|           |    |           |    |            |    |            |    | (Active)   |
'-----------'    '-----------'    '------------'    '------------'    '------------'
   ^    ^
   |    |        .-----------.    .------------.
   |    '--------| Overlay-2 |<---| Overlay-2A |
   |             |           |    | (Active)   |
   |             '-----------'    '------------'
   |             .-----------.    .------------.
   '-------------| Overlay-3 |<---| Overlay-3A |
                 |           |    | (Active)   |
                 '-----------'    '------------'
"
    );
}

#[test]
fn two_files_of_one_name_show_the_folder_that_tells_them_apart() {
    let mut forest = Forest::new();
    let base = ScannedFile {
        content: Content::Raw,
        ..image("f/FedoraBase.img", 1, None)
    };
    forest.add(base);
    for (guest, inode) in [("guest-1", 2), ("guest-2", 4)] {
        let first = format!("f/{guest}/{guest}.qcow2");
        let mut overlay = image(&first, inode, Some(("f/FedoraBase.img", Some(1))));
        record_format(&mut overlay, Some(Format::Raw));
        forest.add(overlay);
        let updates = format!("f/{guest}/updates.qcow2");
        forest.add(image(&updates, inode + 1, Some((&first, Some(inode)))));
    }
    assert_eq!(
        drawn(&forest),
        r"
.----------------.    .---------------.    .-----------------------.
|                |    |               |    |                       |
| FedoraBase.img |<---| guest-1.qcow2 |<---| guest-1/updates.qcow2 |
| (raw)          |    |               |    | (Active)              |
'----------------'    '---------------'    '-----------------------'
   ^
   |                  .---------------.    .-----------------------.
   '------------------| guest-2.qcow2 |<---| guest-2/updates.qcow2 |
                      |               |    | (Active)              |
                      '---------------'    '-----------------------'
"
    );
}

#[test]
fn deeper_forks_have_trunks_of_their_own() {
    let forest = forest(&[
        ("a", ""),
        ("a1", "a"),
        ("a1x", "a1"),
        ("a1y", "a1"),
        ("a2", "a"),
        ("a3", "a"),
        ("a4", "a"),
        ("z", "gone"),
    ]);
    assert_eq!(
        drawn(&forest),
        r"
.-----------.    .-----------.    .-----------.
|           |    |           |    |           |
| a         |<---| a1        |<---| a1x       |
|           |    |           |    | (Active)  |
'-----------'    '-----------'    '-----------'
   ^                ^
   |                |             .-----------.
   |                '-------------| a1y       |
   |                              | (Active)  |
   |                              '-----------'
   |             .-----------.
   +-------------| a2        |
   |             | (Active)  |
   |             '-----------'
   |             .-----------.
   +-------------| a3        |
   |             | (Active)  |
   |             '-----------'
   |             .-----------.
   '-------------| a4        |
                 | (Active)  |
                 '-----------'

.-----------.    .-----------.
|           |    |           |
| gone      |<---| z         |
| (missing) |    | (Active)  |
'-----------'    '-----------'
"
    );
}

#[test]
fn the_tree_has_connectors_in_both_charsets() {
    let forest = forest(&[
        ("a", ""),
        ("a1", "a"),
        ("a1x", "a1"),
        ("a1y", "a1"),
        ("a2", "a"),
        ("z", "gone"),
        ("p", "q"),
        ("q", "p"),
    ]);
    assert_eq!(
        lines(&forest, 80, Charset::Unicode),
        "
● a
├─● a1
│ ├─○ a1x (Active)
│ └─○ a1y (Active)
└─○ a2 (Active)
? gone (missing)
└─○ z (Active)
↺ p (loop)
└─↺ q (loop)
"
    );
    assert_eq!(
        lines(&forest, 80, Charset::Ascii),
        "
* a
|-* a1
| |-o a1x (Active)
| `-o a1y (Active)
`-o a2 (Active)
? gone (missing)
`-o z (Active)
@ p (loop)
`-@ q (loop)
"
    );
}

#[test]
fn straight_runs_share_a_lane_where_the_indent_would_be_too_deep() {
    let names: Vec<String> = (0..8).map(|i| format!("d{i}")).collect();
    let mut images: Vec<(&str, &str)> = vec![("d0", ""), ("e", "d0"), ("x", "d7"), ("y", "d7")];
    for pair in names.windows(2) {
        images.push((&pair[1], &pair[0]));
    }
    assert_eq!(
        lines(&forest(&images), 20, Charset::Unicode),
        "
● d0
├─● d1
│ ● d2
│ ● d3
│ ● d4
│ ● d5
│ ● d6
│ ● d7
│ ├─○ x (Active)
│ └─○ y (Active)
└─○ e (Active)
"
    );
}

#[test]
fn a_long_name_is_cut_in_the_middle_by_its_display_width() {
    assert_eq!(cut_middle("abcdefgh", 8, Charset::Unicode), "abcdefgh");
    assert_eq!(cut_middle("abcdefghi", 8, Charset::Unicode), "abc…fghi");
    assert_eq!(cut_middle("abcdefghi", 8, Charset::Ascii), "abc~fghi");
    assert_eq!(cut_middle("快照快照快照", 8, Charset::Unicode), "快…快照");
    for width in 0..12 {
        assert!(cut_middle("快照 e\u{301}快照快照", width, Charset::Unicode).width() <= width);
    }
}

#[test]
fn names_are_escaped_for_whoever_reads_them() {
    let mut forest = Forest::new();
    forest.add(image("vm/a\"b#<i>\x1b[31m\n", 1, None));
    let quoted = dot(&forest);
    assert!(
        quoted.contains(r#"label="a\"b#<i>\\u{1b}[31m\\n\n(Active)""#),
        "{quoted}"
    );
    let chart = mermaid(&forest);
    assert!(
        chart.contains("a#34;b#35;#60;i#62;#92;u#123;1b#125;#91;31m#92;n<br/>"),
        "{chart}"
    );
    assert!(!drawn(&forest).contains('\x1b'));
    assert_eq!(
        json(&forest, &|_, _, _| serde_json::Value::Null)["images"][0]["path"],
        "vm/a\"b#<i>\x1b[31m\n"
    );
}

#[test]
fn the_graphs_point_from_the_overlay_to_its_base() {
    let forest = forest(&[("base", ""), ("over", "base")]);
    assert_eq!(
        dot(&forest),
        "digraph forest {\n  rankdir=RL;\n  node [shape=box];\n  n0 [label=\"base\"];\n  \
         n1 [label=\"over\\n(Active)\"];\n  n1 -> n0;\n}\n"
    );
    assert_eq!(
        mermaid(&forest),
        "flowchart RL\n  n0[\"base\"]\n  n1[\"over<br/>(Active)\"]\n  n1 --> n0\n"
    );
}

/// A forest of a base with two snapshots, one of them hostile, and an overlay on it.
fn with_snapshots() -> Forest {
    let snapshot = |id: &str, name: &[u8], vm_state| {
        let mut snapshot = crate::qcow2::Snapshot {
            l1_offset: crate::qcow2::HostOffset(0),
            l1_entries: 0,
            id: id.as_bytes().to_vec(),
            name: name.to_vec(),
            date_seconds: 1_714_564_800,
            date_nanoseconds: 0,
            vm_clock_nanoseconds: 0,
            vm_state_size_32: 0,
            extra: Vec::new(),
        };
        snapshot.set_extra(vm_state, 1 << 26, None);
        snapshot
    };
    let mut base = image("vm/base", 1, None);
    if let Content::Qcow2(info) = &mut base.content {
        let info = Arc::make_mut(info);
        info.snapshots = 5;
        info.first_snapshots = vec![
            snapshot("1", b"before-update", 12 << 20),
            snapshot("2", b"\x1b[31mred\n\"<b>", 0),
        ];
    }
    let mut forest = Forest::new();
    forest.extend([base, image("vm/over", 2, Some(("vm/base", Some(1))))]);
    forest
}

#[test]
fn internal_snapshots_stand_below_their_image_and_say_nothing_to_the_terminal() {
    let forest = with_snapshots();
    let lines = tree(&forest, 80, Charset::Unicode);
    let below: Vec<&str> = lines.iter().map(|line| line.below.as_str()).collect();
    assert_eq!(below, ["│ ", "    "]);
    let node = forest.get(lines[0].id).unwrap();
    let (snapshots, more) = snapshot_lines(node, Charset::Unicode);
    assert_eq!((snapshots.len(), more), (2, 3));
    assert_eq!(snapshots[0].name, "before-update");
    assert_eq!(
        snapshots[0].about,
        "snapshot 1, 2024-05-01 12:00 UTC, vm state 12 MiB"
    );
    for text in [dot(&forest), mermaid(&forest), snapshots[1].name.clone()] {
        assert!(!text.contains('\x1b'), "{text}");
    }
    assert!(dot(&forest).contains("n0s1 -> n0 [style=dotted];"));
    assert!(mermaid(&forest).contains("n0s2(\"3 more\")"));
    let value = json(&forest, &|_, _, _| serde_json::Value::Null);
    assert_eq!(value["images"][0]["snapshots"][0]["name"], "before-update");
    assert_eq!(value["images"][0]["snapshots-left-out"], 3);
    assert!(value["images"][1].get("snapshots").is_none());
}

#[test]
fn internal_snapshots_stand_inside_the_box_of_their_image() {
    let mut forest = with_snapshots();
    forest.add(image("vm/more", 3, Some(("vm/base", Some(1)))));
    assert_eq!(
        drawn(&forest),
        r#"
.-----------------------.    .-----------.
|                       |    |           |
| base                  |<---| more      |
|                       |    | (Active)  |
| ◇ before-update       |    |           |
| ◇ \u{1b}[31mred\n"<b> |    |           |
| ◇ 3 more              |    |           |
'-----------------------'    '-----------'
   ^
   |                         .-----------.
   '-------------------------| over      |
                             | (Active)  |
                             '-----------'
"#
    );
}

#[test]
fn json_has_one_object_an_image() {
    let forest = forest(&[("base", ""), ("over", "base"), ("lost", "gone")]);
    let value = json(
        &forest,
        &|_, _, problem| serde_json::json!({ "kind": problem.kind.name() }),
    );
    let images = value["images"].as_array().unwrap();
    assert_eq!(images.len(), 4);
    assert_eq!(
        images[1],
        serde_json::json!({
            "path": "vm/over",
            "names": ["vm/over"],
            "format": "qcow2",
            "virtual-size": 1 << 26,
            "actual-size": 4096,
            "backing": {"recorded": "vm/base", "path": "vm/base", "format": "qcow2"},
            "children": [],
            "flags": ["active"],
            "problems": [],
        })
    );
    assert_eq!(images[0]["children"], serde_json::json!(["vm/over"]));
    assert_eq!(images[0]["flags"], serde_json::json!(["frozen"]));
    assert_eq!(images[0]["backing"], serde_json::Value::Null);
    assert_eq!(
        images[3]["flags"],
        serde_json::json!(["active", "missing-backing"])
    );
    assert_eq!(images[3]["problems"][0]["kind"], "missing-backing");
}

proptest! {
    /// Random forests: every image has one box, boxes do not overlap, and each frame is where its
    /// rectangle says.
    #[test]
    fn every_box_is_drawn_where_it_says(parents in prop::collection::vec(prop::option::of(0usize..30), 1..30)) {
        let mut forest = Forest::new();
        forest.extend(parents.iter().enumerate().map(|(i, on)| {
            let on = on.filter(|on| *on < parents.len());
            let path = on.map(|on| format!("vm/{on}"));
            image(
                &format!("vm/{i}"),
                i as u64 + 1,
                path.as_deref().map(|path| (path, on.map(|on| on as u64 + 1))),
            )
        }));
        let diagram = Diagram::new(&forest, Charset::Ascii);
        prop_assert_eq!(diagram.boxes().len(), forest.len());
        let lines: Vec<Vec<char>> = diagram.lines().map(|line| line.chars().collect()).collect();
        for placed in diagram.boxes() {
            prop_assert_eq!(lines[placed.y][placed.x], '.');
            prop_assert_eq!(lines[placed.y][placed.x + placed.width - 1], '.');
            prop_assert_eq!(lines[placed.y + placed.height - 1][placed.x], '\'');
            let right = placed.x + placed.width - 1;
            prop_assert_eq!(lines[placed.y + placed.height - 1][right], '\'');
            let name: String = lines[placed.y + placed.height - 3][placed.x + 2..].iter().collect();
            prop_assert!(name.starts_with(&placed.name), "{:?} {:?}", name, placed);
            let seen: Vec<usize> = diagram
                .seen(placed.y..placed.y + 1, placed.x..placed.x + 1)
                .map(|(at, _)| at)
                .collect();
            prop_assert_eq!(seen.len(), 1);
            prop_assert_eq!(&diagram.boxes()[seen[0]], placed);
        }
        prop_assert_eq!(tree(&forest, 40, Charset::Ascii).len(), forest.len());
    }
}

#[test]
fn a_long_chain_and_a_wide_base_are_laid_out_in_a_time_that_grows_as_they_do() {
    for is_wide in [true, false] {
        assert_no_square(5_000, |count| {
            let mut forest = Forest::new();
            forest.extend((1..count).map(|i| {
                let base = if is_wide { 0 } else { i - 1 };
                let name = format!("vm/{base}");
                image(&format!("vm/{i}"), i + 1, Some((&name, Some(base + 1))))
            }));
            let diagram = Diagram::new(&forest, Charset::Unicode);
            assert_eq!(diagram.boxes().len() as u64, count);
            assert!(diagram.line(diagram.height() - 2).contains("(Active)"));
            let rows = diagram.height() - 3..diagram.height();
            let mut seen = diagram.seen(rows, 0..usize::MAX);
            assert!(seen.any(|(_, placed)| placed.note == "(Active)"));
            let lines = tree(&forest, 80, Charset::Unicode).len();
            assert_eq!(lines as u64, count);
        });
    }
    assert!(forest(&[]).is_empty() && drawn(&forest(&[])) == "\n");
}
