//! A forest that exists only in memory, and an interface on it: press keys, look at the screen.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use qanopy::forest::{Backing, BackingState, Content, Forest, ScannedFile};
use qanopy::host::{FileId, FileKind, Holder, RealHost, Stat};
use qanopy::image::{Compression, Encryption, Format, ImageInfo, Keys, Snapshot};
use qanopy::ops::{
    self, Commit, Confirm, Context, Danger, Direction, Effect as Change, EffectKind, ImageSpace,
    LayerSpace, LookedIn, Note, NoteKind, Plan, Refusal, RefusalKind, Request, Saving, SavingKind,
    Siblings, SpaceNeed, SpaceReport, Squash, Undo, WayOut,
};
use qanopy::qcow2::HostOffset;
use qanopy::tui::testing::{
    Code, Completions, Effect, Key, Msg, ScanEnd, Settings, Ui, Work, draw, start, update,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
pub const DAY: u64 = 86_400;

/// The time in all these tests.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// One image to be.
#[derive(Debug, Clone)]
pub struct Image {
    found: ScannedFile,
}

pub fn qcow2(name: &str, on_disk: u64, age: u64) -> Image {
    let path = PathBuf::from("/vm").join(name);
    Image {
        found: ScannedFile {
            stat: Some(stat(&path, on_disk, age)),
            path,
            symlink: false,
            content: Content::Qcow2(Arc::new(ImageInfo {
                version: 3,
                virtual_size: 40 * GIB,
                cluster_size: 65_536,
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
            })),
            backing: None,
            also: Vec::new(),
            holders: Vec::new(),
            annotation: None,
            sharing: None,
        },
    }
}

fn stat(path: &Path, allocated: u64, age: u64) -> Stat {
    // Any number will do, as long as no two files share one.
    let inode = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(7_u64, |sum, byte| {
            sum.wrapping_mul(1_000_003).wrapping_add(u64::from(*byte))
        });
    Stat {
        id: FileId { device: 1, inode },
        kind: FileKind::Regular,
        len: allocated,
        allocated,
        modified: now() - Duration::from_secs(age),
        changed: now() - Duration::from_secs(age),
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        links: 1,
    }
}

impl Image {
    pub fn found(self) -> ScannedFile {
        self.found
    }

    pub fn on(mut self, base: &str) -> Self {
        let path = PathBuf::from("/vm").join(base);
        let format = Some(Format::Qcow2);
        let state = BackingState::Present(stat(&path, 0, 0).id);
        let mut link = Backing::new(base.as_ref(), format, Some(&path), state);
        link.outside = Some(Box::new(stat(&path, 0, 0)));
        self.found.backing = Some(Box::new(link));
        self
    }

    pub fn on_nothing(mut self, base: &str) -> Self {
        let (format, path) = (Some(Format::Qcow2), Path::new("/vm").join(base));
        let link = Backing::new(base.as_ref(), format, Some(&path), BackingState::Missing);
        self.found.backing = Some(Box::new(link));
        self
    }

    pub fn held(mut self) -> Self {
        self.found.holders = vec![Holder {
            pid: 4242,
            command: "qemu-system-x86".to_owned(),
            machine: None,
            writes: true,
            locks: true,
            host: None,
        }];
        self
    }

    pub fn info(mut self, change: impl FnOnce(&mut ImageInfo)) -> Self {
        if let Content::Qcow2(info) = &mut self.found.content {
            change(Arc::make_mut(info));
        }
        self
    }
}

/// An internal snapshot of that ID and name, so old and with so large a state of the machine.
pub fn snapshot(id: &str, name: &str, age: u64, vm_state: u64) -> Snapshot {
    let taken = now() - Duration::from_secs(age);
    let seconds = taken.duration_since(UNIX_EPOCH).unwrap().as_secs();
    Snapshot {
        l1_offset: HostOffset(1 << 20),
        l1_entries: 1,
        id: id.as_bytes().to_vec(),
        name: name.as_bytes().to_vec(),
        date_seconds: u32::try_from(seconds).unwrap(),
        date_nanoseconds: 0,
        vm_clock_nanoseconds: 0,
        vm_state_size_32: u32::try_from(vm_state).unwrap(),
        extra: Vec::new(),
    }
}

/// The forest of the design's mockup, with what can be wrong in it.
pub fn forest() -> Vec<Image> {
    vec![
        qcow2("RootBase.qcow2", 8 * GIB, 210 * DAY),
        qcow2("Overlay-1.qcow2", 1200 * MIB, 44 * DAY).on("RootBase.qcow2"),
        qcow2("Overlay-1A.qcow2", 640 * MIB, 7200)
            .on("Overlay-1.qcow2")
            .held(),
        qcow2("Overlay-1B.qcow2", 3500 * MIB, 9 * DAY).on("Overlay-1.qcow2"),
        qcow2("Overlay-2.qcow2", 900 * MIB, 30 * DAY).on("RootBase.qcow2"),
        qcow2("Overlay-2A.qcow2", 210 * MIB, 160 * DAY)
            .on("Overlay-2.qcow2")
            .info(|info| info.encryption = Some(Encryption::Luks)),
        qcow2("Overlay-2B.qcow2", 1100 * MIB, 155 * DAY).on("Overlay-2.qcow2"),
        qcow2("golden-win.qcow2", 22 * GIB, 12 * DAY).info(|info| {
            info.snapshots = 2;
            info.first_snapshots = vec![
                snapshot("1", "before the update", 30 * DAY, 0),
                snapshot("2", "running", 12 * DAY, 512 << 20),
            ];
        }),
        qcow2("lost.qcow2", 380 * MIB, 400 * DAY).on_nothing("../old/base.qcow2"),
        qcow2(
            "with \u{1b}[31mcolour and a very long name indeed, longer than any column.qcow2",
            MIB,
            60,
        )
        .on("golden-win.qcow2"),
    ]
}

/// What the images of that forest hold: of each a part of every kind, and some of what would free space.
pub fn space_report(forest: &Forest) -> SpaceReport {
    let root = |id| *forest.chain(id).last().unwrap();
    let mut nodes: Vec<_> = forest.nodes().filter(|node| node.stat.is_some()).collect();
    nodes.sort_by_key(|node| {
        (
            root(node.id),
            forest.chain(node.id).len(),
            node.path.clone(),
        )
    });
    let images = nodes.iter().map(|node| {
        let disk = node.size_on_disk().unwrap();
        let is_base = !forest.is_leaf(node);
        let space = LayerSpace {
            disk,
            data: disk / 8 * 6,
            zeros: disk / 8,
            hidden: if is_base { disk / 4 } else { 0 },
            leaked: disk / 64,
            past_end: disk / 64,
            past_end_on_disk: disk / 64,
            shared: Some(if is_base { 0 } else { disk / 8 }),
            ..LayerSpace::default()
        };
        ImageSpace {
            node: node.id,
            path: node.path.clone(),
            root: root(node.id),
            space,
        }
    });
    let images: Vec<ImageSpace> = images.collect();
    let vm = |name: &str| PathBuf::from("/vm").join(name);
    let squash = Squash {
        layer: vm("Overlay-1.qcow2"),
        direction: Some(Direction::Up),
    };
    let saving = |kind, name: &str, frees, why: &str, request| Saving {
        kind,
        images: vec![vm(name)],
        frees,
        why: why.to_owned(),
        request,
    };
    SpaceReport {
        savings: vec![
            saving(
                SavingKind::Discard,
                "Overlay-2B.qcow2",
                960 * MIB,
                "nothing is built on it, no process uses it, unchanged for 155 days",
                Request::discard(vec![vm("Overlay-2B.qcow2")]),
            ),
            saving(
                SavingKind::Squash,
                "Overlay-1.qcow2",
                300 * MIB,
                "300 MiB of its 900 MiB of data are hidden by Overlay-1B.qcow2",
                squash.into(),
            ),
        ],
        trash: 12 * MIB,
        images,
    }
}

/// An interface on a forest in memory.
pub struct AppHarness {
    pub ui: Ui,
    /// Everything that was asked for since the last look.
    pub asked: Vec<Effect>,
    /// How names can go on, one at most: there is no disk to look at.
    pub names: Vec<String>,
}

impl AppHarness {
    pub fn new(images: Vec<Image>, size: (u16, u16)) -> Self {
        Self::with(images, size, |_| {})
    }

    pub fn with(images: Vec<Image>, size: (u16, u16), change: impl FnOnce(&mut Settings)) -> Self {
        let mut harness = Self::scanning(size, change);
        harness.send(Msg::Found(
            1,
            images.into_iter().map(|image| image.found).collect(),
        ));
        let end = ScanEnd {
            looked_at: 812,
            unreadable: Vec::new(),
        };
        harness.send(Msg::Scanned(1, end));
        harness.asked.clear();
        harness
    }

    /// One whose first scan still runs.
    pub fn scanning(size: (u16, u16), change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            roots: vec![PathBuf::from("/vm")],
            prune_days: 30,
            ..Settings::default()
        };
        change(&mut settings);
        let mut ui = Ui::new(settings, size);
        ui.app.now = Some(now());
        let asked = start(&mut ui);
        Self {
            ui,
            asked,
            names: Vec::new(),
        }
    }

    pub fn send(&mut self, msg: Msg) {
        let asked = update(&mut self.ui, msg);
        let completes = asked.iter().find_map(|effect| match effect {
            Effect::Complete(query_id, _) => Some(*query_id),
            _ => None,
        });
        self.asked.extend(asked);
        if let Some(query_id) = completes {
            let names = self.names.clone();
            let ways = Completions {
                common: names.first().cloned().unwrap_or_default(),
                count: names.len(),
                names,
            };
            self.send(Msg::Completed(query_id, ways));
        }
    }

    /// Presses keys: characters as they are, others as `<enter>`, `<esc>`, `<tab>`, `<down>`.
    pub fn press(&mut self, keys: &str) {
        for key in keys_of(keys) {
            self.send(Msg::Key(key));
        }
    }

    /// Puts the cursor on an image.
    pub fn go_to(&mut self, name: &str) {
        let path = Path::new("/vm").join(name);
        let id = self
            .ui
            .app
            .forest
            .by_path(&path)
            .expect("an image of that name")
            .id;
        self.ui.app.tree.cursor = self.ui.app.tree.rows.place(id).expect("its row");
        self.send(Msg::Clock(now()));
    }

    /// The name of the image under the cursor.
    pub fn at(&self) -> String {
        let node = self.ui.app.selected().expect("a selected image");
        node.path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    }

    /// The request of the newest plan that was asked for, with its number.
    pub fn planned(&self) -> (u64, Request) {
        let plans = self.asked.iter().rev();
        let mut plans = plans.filter_map(|effect| match effect {
            Effect::Plan {
                query_id, request, ..
            } => Some((*query_id, request.clone())),
            _ => None,
        });
        plans.next().expect("a plan was asked for")
    }

    /// Answers the newest question for a plan.
    pub fn answer(&mut self, change: impl FnOnce(&mut Plan)) {
        let (query_id, request) = self.planned();
        self.send(Msg::Planned(
            query_id,
            Box::new(plan(request, change)),
            None,
        ));
    }

    /// The requests that were asked to be planned together last, with the question's number.
    pub fn planned_each(&self) -> (u64, Vec<Request>) {
        let effects = self.asked.iter().rev();
        let mut all = effects.filter_map(|effect| match effect {
            Effect::PlanEach {
                query_id, requests, ..
            } => Some((*query_id, requests.clone())),
            _ => None,
        });
        all.next().expect("plans were asked for")
    }

    /// Answers the newest question for plans that are agreed to together.
    pub fn answer_each(&mut self, change: impl Fn(&mut Plan)) {
        let (query_id, requests) = self.planned_each();
        let plans = requests.into_iter().map(|request| plan(request, &change));
        let plans = plans.collect();
        self.send(Msg::PlannedEach(query_id, plans));
    }

    /// How many plans were begun since the last look.
    pub fn started(&self) -> usize {
        let runs = self.asked.iter().filter(|effect| {
            let plan = |work: &Work| matches!(work, Work::Plan(_));
            matches!(effect, Effect::Run { work, .. } if plan(work))
        });
        runs.count()
    }

    pub fn buffer(&self) -> Buffer {
        let (width, height) = self.ui.app.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &self.ui)).unwrap();
        terminal.backend().buffer().clone()
    }

    /// The screen as text, one line a row.
    pub fn screen(&self) -> String {
        rows(&self.buffer(), |cell| cell.symbol().to_owned())
    }

    /// The screen as text, and below it the same screen as letters that tell each cell's style.
    pub fn picture(&self) -> String {
        let buffer = self.buffer();
        let text = rows(&buffer, |cell| cell.symbol().to_owned());
        let styles = rows(&buffer, |cell| {
            style_letter(cell.fg, cell.modifier).to_string()
        });
        format!("{text}\n{styles}")
    }
}

fn rows(buffer: &Buffer, cell: impl Fn(&ratatui::buffer::Cell) -> String) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..buffer.area.width)
            .map(|x| cell(&buffer[(x, y)]))
            .collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// R reversed; else the colour, upper case where bold: r g y b c; else B bold, d dim.
fn style_letter(colour: Color, modifier: Modifier) -> char {
    let letter = match colour {
        Color::Red => 'r',
        Color::Green => 'g',
        Color::Yellow => 'y',
        Color::Blue => 'b',
        Color::Cyan => 'c',
        Color::Reset => '.',
        Color::Rgb(r, g, b) => match (r.cmp(&g), g.cmp(&b)) {
            (Ordering::Equal, Ordering::Equal) => 'w',
            (Ordering::Greater, Ordering::Greater) => 'y',
            (Ordering::Greater, _) => 'r',
            (_, Ordering::Less) => 'c',
            _ => 'g',
        },
        _ => '?',
    };
    if modifier.contains(Modifier::REVERSED) {
        'R'
    } else if letter != '.' && modifier.contains(Modifier::BOLD) {
        letter.to_ascii_uppercase()
    } else if letter != '.' {
        letter
    } else if modifier.contains(Modifier::BOLD) {
        'B'
    } else if modifier.contains(Modifier::DIM) {
        'd'
    } else {
        '.'
    }
}

pub fn keys_of(keys: &str) -> Vec<Key> {
    let mut out = Vec::new();
    let mut rest = keys;
    while let Some(c) = rest.chars().next() {
        if let Some((name, after)) = rest
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .filter(|(name, _)| !name.is_empty())
        {
            rest = after;
            out.push(match name {
                "enter" => Key::of(Code::Enter),
                "esc" => Key::of(Code::Esc),
                "tab" => Key::of(Code::Tab),
                "down" => Key::of(Code::Down),
                "up" => Key::of(Code::Up),
                "right" => Key::of(Code::Right),
                "left" => Key::of(Code::Left),
                "backspace" => Key::of(Code::Backspace),
                "c-c" => Key::ctrl('c'),
                "c-n" => Key::ctrl('n'),
                "c-o" => Key::ctrl('o'),
                "pgdn" => Key::of(Code::PageDown),
                other => panic!("no key is called {other}"),
            });
        } else {
            rest = &rest[c.len_utf8()..];
            out.push(Key::char(c));
        }
    }
    out
}

/// A plan for this request, with words and dangers of the test's own: no file is looked at.
pub fn plan(request: Request, change: impl FnOnce(&mut Plan)) -> Plan {
    let context = Context {
        host: Arc::new(RealHost),
        forest: Arc::new(Forest::new()),
        looked_in: LookedIn::default(),
        state_dir: None,
        keys: Keys::none(),
        peers: qanopy::fleet::Peers::Nobody,
    };
    let mut plan = ops::plan(&context, &request);
    plan.title = "A plan".to_owned();
    plan.effects.clear();
    plan.keeps.clear();
    plan.notes.clear();
    plan.refusals.clear();
    plan.commands.clear();
    plan.space.clear();
    plan.copies = 0;
    plan.frees = 0;
    plan.undo = Undo::Possible("restore from the trash".to_owned());
    plan.danger = Danger::Reversible;
    plan.confirm = Confirm::Yes;
    plan.looked_in = LookedIn::within(vec![PathBuf::from("/vm")]);
    change(&mut plan);
    plan
}

pub fn change(kind: EffectKind, name: &str, bytes: u64, detail: &str) -> Change {
    Change {
        kind,
        path: Path::new("/vm").join(name),
        bytes: Some(bytes),
        detail: detail.to_owned(),
        counterpart: None,
    }
}

/// Overlay-1 into RootBase as it is planned at first: refused, since others read the base.
pub fn refused_commit(plan: &mut Plan) {
    plan.title = "Commit Overlay-1.qcow2 into RootBase.qcow2".to_owned();
    plan.effects = vec![
        change(
            EffectKind::Writes,
            "RootBase.qcow2",
            1200 * MIB,
            "1.2 GiB over existing data",
        ),
        change(
            EffectKind::Breaks,
            "Overlay-2.qcow2",
            0,
            "reads clusters being overwritten",
        ),
        change(
            EffectKind::Breaks,
            "Overlay-2A.qcow2",
            0,
            "built on Overlay-2.qcow2",
        ),
        change(
            EffectKind::Breaks,
            "Overlay-2B.qcow2",
            0,
            "built on Overlay-2.qcow2",
        ),
        change(
            EffectKind::Relinks,
            "Overlay-1A.qcow2",
            0,
            "onto RootBase.qcow2",
        ),
        change(
            EffectKind::Relinks,
            "Overlay-1B.qcow2",
            0,
            "onto RootBase.qcow2",
        ),
        change(
            EffectKind::Trashes,
            "Overlay-1.qcow2",
            1200 * MIB,
            "its content is in the base then",
        ),
    ];
    plan.space = vec![SpaceNeed {
        dir: PathBuf::from("/vm"),
        needed: 1200 * MIB,
        possible: 0,
        available: 120 * GIB,
    }];
    let commit = |siblings| {
        Request::Commit(Commit {
            overlay: PathBuf::from("/vm/Overlay-1.qcow2"),
            into: None,
            layer: Default::default(),
            siblings,
            keep_old: None,
        })
    };
    plan.refusals = vec![Refusal {
        kind: RefusalKind::HasDependants,
        text: "3 images would break".to_owned(),
        ways_out: vec![
            WayOut {
                label: "keep the others intact: copies 900 MiB into them first".to_owned(),
                request: commit(Siblings::Preserve),
            },
            WayOut {
                label: "let them break: their number has to be typed".to_owned(),
                request: commit(Siblings::Break),
            },
        ],
        remedies: Vec::new(),
    }];
    plan.danger = Danger::Refused;
    plan.confirm = Confirm::Impossible;
}

/// Overlay-1B into Overlay-1, whose other child receives first what it would lose.
pub fn possible_commit(plan: &mut Plan) {
    plan.title = "Commit Overlay-1B.qcow2 into Overlay-1.qcow2".to_owned();
    plan.effects = vec![
        change(
            EffectKind::Writes,
            "Overlay-1.qcow2",
            3500 * MIB,
            "3.4 GiB over existing data",
        ),
        change(
            EffectKind::Preserves,
            "Overlay-1A.qcow2",
            900 * MIB,
            "receives 900 MiB first",
        ),
        change(
            EffectKind::Trashes,
            "Overlay-1B.qcow2",
            3500 * MIB,
            "its content is in Overlay-1 then",
        ),
    ];
    plan.copies = 4400 * MIB;
    plan.undo = Undo::Possible("commit Overlay-1-before.qcow2 into Overlay-1.qcow2".to_owned());
    plan.notes = vec![Note {
        warning: true,
        ..Note::new(
            NoteKind::InUse,
            "Overlay-1A.qcow2 is in use and would have to be closed",
        )
    }];
    plan.commands = vec!["qemu-img commit Overlay-1B.qcow2".to_owned()];
}

/// A commit that nothing takes back.
pub fn commit_for_good(plan: &mut Plan) {
    possible_commit(plan);
    plan.undo = Undo::Impossible("the old content of Overlay-1.qcow2 is overwritten".to_owned());
    plan.danger = Danger::Loses;
    plan.confirm = Confirm::Count(1);
}

pub fn discard_of_three(plan: &mut Plan) {
    plan.title = "Discard 3 images".to_owned();
    plan.effects = vec![
        change(EffectKind::Trashes, "Overlay-1.qcow2", 1200 * MIB, "marked"),
        change(
            EffectKind::Trashes,
            "Overlay-1A.qcow2",
            640 * MIB,
            "built on a marked image",
        ),
        change(
            EffectKind::Trashes,
            "Overlay-1B.qcow2",
            3500 * MIB,
            "built on a marked image",
        ),
    ];
    plan.keeps = vec!["RootBase.qcow2 and its other child Overlay-2.qcow2".to_owned()];
    plan.frees = 5340 * MIB;
}

/// One of several conversions.
pub fn conversion(plan: &mut Plan) {
    let new = plan.request.creates().unwrap().to_path_buf();
    let old = match &plan.request {
        Request::Convert(options) => options.sources[0].clone(),
        other => panic!("{other:?}"),
    };
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let (old, new) = (name(&old), name(&new));
    plan.effects = vec![
        change(EffectKind::Reads, &old, 0, ""),
        change(
            EffectKind::Creates,
            &new,
            3 * GIB,
            "a disk of 40 GiB, qcow2, built on nothing",
        ),
    ];
    plan.copies = 3 * GIB;
    plan.space = vec![SpaceNeed {
        dir: PathBuf::from("/vm"),
        needed: 3 * GIB,
        possible: 0,
        available: 120 * GIB,
    }];
    plan.commands = vec![format!("qemu-img convert -O qcow2 {old} {new}")];
    plan.danger = Danger::Creates;
}

pub fn new_branch(plan: &mut Plan) {
    plan.title = "Branch on Overlay-1.qcow2".to_owned();
    plan.effects = vec![change(
        EffectKind::Creates,
        "Overlay-1C.qcow2",
        196 << 10,
        "196 KiB",
    )];
    plan.notes = vec![Note::new(
        NoteKind::Dependants,
        "Overlay-1.qcow2 then has 3 overlays: writing to it would corrupt them",
    )];
    plan.commands =
        vec!["qemu-img create -f qcow2 -F qcow2 -b Overlay-1.qcow2 Overlay-1C.qcow2".to_owned()];
    plan.danger = Danger::Creates;
}
