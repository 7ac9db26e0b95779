//! `qanopy` shows the forest of disk images on a machine and lets a person work on it safely.
//!
//! This page is the map of the source. It is a house of five floors; a lower floor never imports a higher one
//! (`tests/core/source.rs`), and in the rooms that `tests/core/imports.rs` names no two files import each other, but
//! for one arrow that it names. The two lowest are a crate of their own, `qanopy-core` (`src/core/`), and so is what
//! reads guests' disks, `qanopy-guest` (`src/guest/`).
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 5 | [`cli`], [`tui`] | two faces, equal in power, without any knowledge of the format |
//! | 4 | [`ops`] | what can be done: plans, and what runs them |
//! | | [`inside`] | the files inside images: which differ, where one changed, which is meant |
//! | | [`doctor`] | what is wrong: findings, each with the plans that help |
//! | | [`mount`] | images shown as folders and files, for reading only |
//! | | [`facts`] | what a host tells beside its images: findings, space, trash, what was interrupted |
//! | 3 | [`forest`], [`guest`] | what exists: scan, nodes, the graph, its pictures; what lies inside a guest's disk |
//! | | [`machines`] | who uses an image: the machines of each product, asked or read, and what could not be asked |
//! | | [`live`] | machines that run, told through their monitors what to do with their images |
//! | | [`fleet`] | other machines over OpenSSH: the agent, the protocol, the connection |
//! | | [`units`], [`json_text`], [`system`] | sizes, ages and names as people read them; the log's file, the date, memory |
//! | 2 | [`image`] | an image or a chain, in four rooms: read, check, write, change |
//! | 1 | [`qcow2`], [`host`] | the format, pure; files, locks, reflinks, holes |
//!
//! # The life of a change
//!
//! ```text
//! face            ops                                               image, host
//! Request ──────▶ plan(context, request) ─▶ Plan
//!                   Operation::plan looks, and changes nothing
//! the plan is shown; the person agrees
//! Plan::agree ──▶ Ready ─▶ run(ready)
//!                   preconditions: is every file what it was? ────▶ locks, then looked at again
//!                   journal: begun
//!                   Job::run ─────────────────────────────────────▶ writes, flushes, renames
//!                   journal: done, and what takes it back
//!                ◀─ Outcome { summary, touched, undo }
//! ```
//!
//! Only an agreed plan runs. Who depends on a file is asked while planning (over all folders looked in and all
//! images remembered) and once more under locks. What is cut off half way is told by the journal:
//! [`ops::Request::Recover`] asks the operation itself what is left to do, or what takes it back.
//!
//! # The life of a scan
//!
//! [`forest::scan_all`] walks the folders in threads; each file that may be an image is opened and its header is
//! read ([`image::probe`]). What was found comes in batches; the forest inserts it, joins children to what they
//! name, and tells problems. Screens draw after each batch. All of it is remembered in an index, so that who depends
//! on an image is known where nobody looks; a refresh looks again at what changed.
//!
//! # The life of a machine
//!
//! [`machines::Machines::ask`] asks every product of its table, each in a thread; whoever asks waits no longer than
//! twice what a service is given. The forest notes the answer ([`forest::Forest::note_machines`]) and tells the machines of a node
//! by its names and its file. Every plan is judged by it in one place (`ops/framework/machines.rs`), which asks anew,
//! and again under locks. A further product is a file in `machines/` with its reader and a fixture, and a row of the
//! table in `machines/products.rs`.
//!
//! # The life of a key
//!
//! `tui` is one pure step and what surrounds it. State is `Ui`: `App` (what is known) and `Dialogs` (what is open
//! over it; the topmost has the keyboard).
//!
//! 1. `runner.rs` reads a key and calls `update::update(&mut Ui, Msg::Key(key))`. Nothing in there touches a disk, a
//!    terminal, a thread or a clock.
//! 2. `update/keys.rs` gives it to the topmost dialog, or to the panes. There it becomes an action of that place's
//!    own type, looked up in its rows of the table of keys with the person's own keys over them.
//! 3. `update` of the dialog (trait `Window`) or `update/panes.rs` does it: one `match` over all actions of the place,
//!    so that a missing handler does not compile. A dialog says by a `Next` what concerns others.
//! 4. What is to be done outside comes back as `Effect`s: `runner.rs` does those of the terminal, `workers/` those of
//!    the disk. Their answers come in as further messages (`update/responses.rs`).
//! 5. `update/settle.rs` brings rows, cursor and scrolling in line; `views::draw` draws.
//!
//! `tui/plain/` is another runner of the same state and the same step: what is typed line by line becomes the keys,
//! and what is open is told as text.
//!
//! # Add an operation
//!
//! 1. `ops/NAME.rs`: a struct with what is asked, and its `impl Operation`: name, nature, what it names, its command
//!    line, its plan, what finishes it and what takes it back after an interruption. No method has a default: the
//!    compiler asks for each answer. Planning ends with a private `Job` that does it.
//! 2. One line each: `mod` and `pub use` in `ops/mod.rs`, the row in `ops/framework/request.rs`. The serialised form
//!    of a request is what journals hold: fields that come later have `#[serde(default)]`.
//! 3. `cli/NAME.rs`: arguments, help text and `fn request`; in `cli/mod.rs` one line for `mod`, the command and its
//!    arm; in `cli/examples.rs` two examples for its help and manual page; in `cli/tests.rs` its command lines, which
//!    have to come back as the same request; in `cli/completions.rs` what an argument of a new identifier names; in
//!    `assets/docs/schema-1.json` its name, and in `tests/cli/schema.rs` a command line that does it.
//! 4. `tui/actions.rs`: a row of the table of keys; its arms in `tui/update/panes.rs` and `tui/disabled_reason.rs`.
//!    `tui/dialogs/plan/variants.rs`: the other ways to ask for the same while its plan is shown, if it has any.
//! 5. `tests/ops/NAME.rs`: the same as the real tools do; every crash and every failing call (`CrashSuite`); what is
//!    refused, and who is asked before it. A row in `tests/ops/recovery.rs` (cut off, finished, taken back) and in
//!    `tests/ops/meanwhile.rs` (what else runs while it stands still).
//! 6. `assets/docs/commands.md` and `assets/docs/zh-CN/commands.md` (tests compare their tables), and `CHANGELOG.md`.
//!
//! # Add a problem and what helps against it
//!
//! 1. `forest/problem.rs`: a kind, with its name. `forest/problem_text.rs`: when an image has it, in a sentence that
//!    holds no command line. `forest/inherited.rs`: whether it breaks what is built on the image.
//! 2. `ops/framework/fixes.rs`: its arm in `fixes`, what helps (`remedy.rs`). The screen shows it as a key, the command
//!    line and JSON as command lines. A new kind of help needs its arms in `tui/remedies.rs`, `tui/health.rs` and
//!    `tui/update/operations.rs`.
//! 3. `doctor/problems.rs`: why it matters.
//! 4. `tests/support/forests.rs`: an image that has it.
//!
//! # Add a finding
//!
//! What the scan of one image does not see, but who looks at all of them, at machines, at the trash or at the log:
//!
//! 1. `doctor/NAME.rs`: a `Finder` with its name, why it matters, and what looks; what helps is a `Remedy`, which is a
//!    plan.
//! 2. `doctor/examine.rs`: its line in the register, where its gravity puts it. `doctor/mod.rs`: its `mod`.
//! 3. `tests/cli/doctor.rs`: the situation, made with the real tools; that it is seen; what helps, and that QEMU agrees.
//! 4. `assets/docs/commands.md` and `assets/docs/zh-CN/commands.md`: its row in the table of findings.
//!
//! # Add something to what `--json` prints
//!
//! 1. The value where it is made; `cli/envelope.rs` puts the document around it.
//! 2. `assets/docs/schema-1.json`: the key. The tests find one that is missing; `assets/docs/json.md` says what makes
//!    another version.
//!
//! # Add a key
//!
//! 1. `tui/actions.rs`: a variant of `Action` and its row: group, name, keys, title, which begins with the standard
//!    word; other words that find it. Existing data is reached with Shift only. Tests hold all of that.
//! 2. The compiler asks for its arm in `tui/update/panes.rs` (what it does) and for one in `tui/disabled_reason.rs`
//!    (when it makes no sense, and what it means while the cursor is on a snapshot: a function for each reason).
//! 3. `assets/docs/keys.md`: the table of keys; a test prints it as it has to be. `assets/docs/zh-CN/keys.md`: the same
//!    rows.
//!
//! A key of a dialog is a variant and a row in that dialog's file, and the arm in its `update`.
//!
//! # Add a dialog
//!
//! 1. `tui/dialogs/NAME.rs`: a struct with its state, an `Action` with its rows, and `impl Window`: `update`, `draw`,
//!    and `height` if it is in the lower part of the screen instead of over the panes.
//! 2. `tui/dialogs/mod.rs`: `mod`, and one line in `dialogs!` (its file, its state, its name). Its keys are in the
//!    table then, and it is drawn.
//! 3. Where it is opened: an arm in `tui/update/panes.rs`, which gives its state to `Dialogs::open_alone`.
//! 4. `tui/plain/`: how it is told line by line.
//! 5. If it asks the disk: an `Effect` and a `Msg` in `tui/msg.rs`, the work in `tui/workers/NAME.rs`, the answer's arm
//!    in `tui/update/responses.rs`. An answer to an older question is dropped by its `QueryId`.
//!
//! A form is no dialog of its own: a variant in `tui/forms/kind.rs`, its fields and its request in `tui/forms/`.
//! Words to choose from are a `Choice` of the values that they stand for.
//!
//! # Add a pane
//!
//! A tab of the detail: `tui/panes/detail/NAME.rs` with `lines(app, node, width)`; a variant of `Tab` and its row in
//! `tui/detail_pane.rs`; its arm in `tui/panes/detail.rs`; the key that shows it, as above. A pane with a place of its
//! own: `tui/panes/NAME.rs` with `draw`, an area in `tui/layout.rs`, one line in `tui/views/mod.rs`, and a snapshot in
//! `tests/tui/screens.rs` at the three sizes.

pub use qanopy_core::{host, image, qcow2};
pub use qanopy_guest as guest;

pub mod cli;
pub mod doctor;
pub mod facts;
pub mod fleet;
pub mod forest;
pub mod inside;

pub mod json_text;
pub mod live;
pub mod machines;
pub mod mount;
pub mod ops;
pub mod system;
pub mod tui;
pub mod units;
