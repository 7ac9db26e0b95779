//! The interface on forests in memory: laying rows out, drawing, filtering, a step, for 1,000, 10,000 and
//! 100,000 images, and on one chain of 5,000 layers. `cargo bench --bench tui`.
#![allow(clippy::unwrap_used)] // A benchmark fails loudly.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use divan::{Bencher, black_box};
use qanopy::forest::{Backing, BackingState, Content, Forest, ScannedFile};
use qanopy::host::{FileId, FileKind, Stat};
use qanopy::image::Format;
use qanopy::tui::testing::{
    Figures, Filter, Key, Msg, RowOptions, Rows, ScanEnd, Settings, Sort, Ui, View,
    draw as draw_screen, start, update,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn main() {
    divan::main();
}

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const CHAIN: usize = 5_000;
/// Each tree: a base, overlays on it, overlays on those.
const TREE: usize = 50;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn path(i: usize) -> PathBuf {
    PathBuf::from(format!("/vm/tree-{:05}/image-{i:06}.qcow2", i / TREE))
}

fn found(i: usize, base: Option<usize>) -> ScannedFile {
    let stat = |i: usize| Stat {
        id: FileId {
            device: 1,
            inode: i as u64 + 1,
        },
        kind: FileKind::Regular,
        len: 1 << 20,
        allocated: (i as u64 % 977) << 20,
        modified: now() - Duration::from_secs(i as u64 * 61),
        changed: now() - Duration::from_secs(i as u64 * 61),
        mode: 0o644,
        uid: 0,
        gid: 0,
        links: 1,
    };
    ScannedFile {
        path: path(i),
        symlink: false,
        stat: Some(stat(i)),
        content: Content::Opaque(Format::Qcow2),
        backing: base.map(|base| {
            let (path, state) = (path(base), BackingState::Present(stat(base).id));
            let format = Some(Format::Qcow2);
            Box::new(Backing::new(path.as_os_str(), format, Some(&path), state))
        }),
        also: Vec::new(),
        holders: Vec::new(),
        annotation: None,
        sharing: None,
    }
}

/// Trees of a base, seven overlays on it, and others on these.
fn trees(count: usize) -> Vec<ScannedFile> {
    let base = |i: usize| match i % TREE {
        0 => None,
        at if at < 8 => Some(i - at),
        at => Some(i - at + 1 + at % 7),
    };
    (0..count).map(|i| found(i, base(i))).collect()
}

fn chain() -> Vec<ScannedFile> {
    (0..CHAIN).map(|i| found(i, i.checked_sub(1))).collect()
}

fn ui(images: Vec<ScannedFile>, size: (u16, u16)) -> Ui {
    let settings = Settings {
        roots: vec![PathBuf::from("/vm")],
        ..Settings::default()
    };
    let mut ui = Ui::new(settings, size);
    ui.app.now = Some(now());
    start(&mut ui);
    update(&mut ui, Msg::Found(1, images));
    update(&mut ui, Msg::Scanned(1, ScanEnd::default()));
    ui
}

fn lay_out(forest: &Forest) -> Rows {
    let none = std::collections::HashSet::new();
    Rows::build(
        forest,
        &RowOptions {
            folds: &none,
            open_runs: &none,
            sort: Sort::Name,
            view: View::All,
            hits: None,
            preview: None,
            narrowed: false,
            indent_room: 32,
            snapshots: true,
            space: &Figures::default(),
            hosts: (&[], &[]),
        },
    )
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn flatten(bencher: Bencher, count: usize) {
    let ui = ui(trees(count), (200, 60));
    bencher.bench(|| lay_out(black_box(&ui.app.forest)));
}

#[divan::bench(sample_count = 20)]
fn flatten_a_chain_of_5000(bencher: Bencher) {
    let ui = ui(chain(), (200, 60));
    bencher.bench(|| lay_out(black_box(&ui.app.forest)));
}

fn draw(bencher: Bencher, ui: &Ui) {
    let (width, height) = ui.app.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    bencher.bench_local(|| {
        terminal.draw(|frame| draw_screen(frame, ui)).unwrap();
    });
}

#[divan::bench(args = SIZES)]
fn draw_80x24(bencher: Bencher, count: usize) {
    let mut ui = ui(trees(count), (80, 24));
    update(&mut ui, Msg::Key(Key::char('G')));
    draw(bencher, &ui);
}

#[divan::bench(args = SIZES)]
fn draw_200x60(bencher: Bencher, count: usize) {
    let mut ui = ui(trees(count), (200, 60));
    update(&mut ui, Msg::Key(Key::char('G')));
    draw(bencher, &ui);
}

#[divan::bench(args = SIZES)]
fn draw_the_diagram_200x60(bencher: Bencher, count: usize) {
    let mut ui = ui(trees(count), (200, 60));
    update(&mut ui, Msg::Key(Key::char('D')));
    update(&mut ui, Msg::Key(Key::char('G')));
    draw(bencher, &ui);
}

#[divan::bench]
fn draw_a_chain_of_5000_200x60(bencher: Bencher) {
    let mut ui = ui(chain(), (200, 60));
    update(&mut ui, Msg::Key(Key::char('G')));
    draw(bencher, &ui);
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn filter_by_a_word(bencher: Bencher, count: usize) {
    let ui = ui(trees(count), (200, 60));
    let filter = Filter::parse("image-00017 size>100M");
    bencher.bench(|| filter.hits(black_box(&ui.app.forest), ui.app.places(), now()));
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn filter_by_letters_in_order(bencher: Bencher, count: usize) {
    let ui = ui(trees(count), (200, 60));
    let filter = Filter::parse("imge17q2");
    bencher.bench(|| filter.hits(black_box(&ui.app.forest), ui.app.places(), now()));
}

#[divan::bench(args = SIZES)]
fn a_key(bencher: Bencher, count: usize) {
    let mut ui = ui(trees(count), (200, 60));
    let mut down = true;
    bencher.bench_local(|| {
        down = !down;
        let key = Key::char(if down { 'k' } else { 'j' });
        update(&mut ui, Msg::Key(key))
    });
}

#[divan::bench]
fn a_key_in_a_chain_of_5000(bencher: Bencher) {
    let mut ui = ui(chain(), (200, 60));
    let mut down = true;
    bencher.bench_local(|| {
        down = !down;
        let key = Key::char(if down { 'k' } else { 'j' });
        update(&mut ui, Msg::Key(key))
    });
}

#[divan::bench(args = SIZES, sample_count = 10)]
fn take_in_what_was_found(bencher: Bencher, count: usize) {
    bencher
        .with_inputs(|| trees(count))
        .bench_local_values(|images| Arc::clone(&ui(images, (200, 60)).app.forest));
}
