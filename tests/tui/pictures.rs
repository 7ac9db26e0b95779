//! The README's pictures of the screen: the program in a pseudo-terminal, on the demo's forests. With
//! `QANOPY_UPDATE_README=1` they are written to `assets/`; else each is only drawn.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use crate::pty::Terminal;
use crate::svg::{moving, svg};

/// Columns and rows.
const SIZE: (u16, u16) = (120, 30);

fn is_asked_for() -> bool {
    std::env::var_os("QANOPY_UPDATE_README").is_some()
}

/// The demo's forests.
struct Demo {
    home: tempfile::TempDir,
    dir: tempfile::TempDir,
}

impl Demo {
    fn new() -> Self {
        // The pictures show the name.
        let mut dir = tempfile::Builder::new();
        dir.prefix("qanopy-demo");
        if is_asked_for() {
            dir.rand_bytes(0);
        }
        let (home, dir) = (tempfile::tempdir().unwrap(), dir.tempdir().unwrap());
        let demo = Self { home, dir };
        demo.qanopy(&["demo", demo.dir.path().to_str().unwrap()]);
        demo
    }

    fn qanopy(&self, words: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command.args(words).env("XDG_STATE_HOME", self.home.path());
        let command = command.env("XDG_CONFIG_HOME", self.home.path());
        let output = command.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {complaint}");
    }

    /// The program, with the cursor on an image.
    fn open(&self, size: (u16, u16), at: &str) -> Terminal {
        let mut terminal = Terminal::open(self.dir.path(), &[], size);
        terminal.see("RootBase");
        terminal.go_to(at);
        terminal
    }
}

/// Draws the screen once it shows this, and keeps the picture where that is asked for.
fn picture(terminal: &Terminal, shows: &str, name: &str) {
    terminal.see(shows);
    // What the disk tells of an image comes a moment later.
    thread::sleep(Duration::from_millis(300));
    let drawn = svg(&terminal.look(buffer));
    assert!(drawn.contains("RootBase"), "{name}: {}", terminal.screen());
    if is_asked_for() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        fs::write(assets.join(name), drawn).unwrap();
    }
}

/// What a terminal shows, cell by cell.
fn buffer(screen: &vt100::Screen) -> Buffer {
    let (rows, cols) = screen.size();
    let mut buffer = Buffer::empty(Rect::new(0, 0, cols, rows));
    for y in 0..rows {
        for x in 0..cols {
            let Some(cell) = screen.cell(y, x) else {
                continue;
            };
            let to = &mut buffer[(x, y)];
            match cell.contents() {
                "" => to.set_symbol(" "),
                symbol => to.set_symbol(symbol),
            };
            to.fg = colour(cell.fgcolor());
            to.bg = colour(cell.bgcolor());
            to.modifier.set(Modifier::BOLD, cell.bold());
            to.modifier.set(Modifier::DIM, cell.dim());
            to.modifier.set(Modifier::REVERSED, cell.inverse());
        }
    }
    buffer
}

fn colour(colour: vt100::Color) -> Color {
    match colour {
        vt100::Color::Default => Color::Reset,
        vt100::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
        vt100::Color::Idx(1) => Color::Red,
        vt100::Color::Idx(2) => Color::Green,
        vt100::Color::Idx(3) => Color::Yellow,
        vt100::Color::Idx(4) => Color::Blue,
        vt100::Color::Idx(5) => Color::Magenta,
        vt100::Color::Idx(6) => Color::Cyan,
        vt100::Color::Idx(9) => Color::LightRed,
        vt100::Color::Idx(10) => Color::LightGreen,
        vt100::Color::Idx(11) => Color::LightYellow,
        vt100::Color::Idx(12) => Color::LightBlue,
        vt100::Color::Idx(13) => Color::LightMagenta,
        vt100::Color::Idx(14) => Color::LightCyan,
        vt100::Color::Idx(other) => Color::Indexed(other),
    }
}

#[test]
fn the_pictures_of_the_readme_can_be_drawn() {
    let demo = Demo::new();
    let terminal = demo.open(SIZE, "Overlay-1B.qcow2");
    picture(&terminal, "Overlay-1B.qcow2", "screen.svg");

    let mut terminal = demo.open((150, 36), "Overlay-2A.qcow2");
    terminal.press("D+++++");
    picture(&terminal, "Overlay-2A", "diagram.svg");

    let mut terminal = demo.open(SIZE, "Overlay-1.qcow2");
    terminal.press("C");
    picture(&terminal, "refused", "commit.svg");

    let mut terminal = demo.open(SIZE, "centos-overlay-2.qcow2");
    terminal.press("A6");
    picture(&terminal, "looked through", "health.svg");

    // An image that takes a while to copy is made for it, which is too much for every run.
    if is_asked_for() {
        picture_of_a_job(&demo);
    }
}

/// One look of the moving picture: keys, or `>` and the image to go to; what the screen shows then, or behind a `-` no
/// longer shows; for how many seconds that is left standing.
type Look = (&'static str, &'static str, f64);

const TOUR: [Look; 9] = [
    ("", "RootBase", 2.0),
    (">Overlay-1.qcow2", "Overlay-1.qcow2", 2.0),
    ("C", "refused", 4.5),
    ("<esc>", "-refused", 1.0),
    (">Overlay-1C.qcow2", "Overlay-1C.qcow2", 1.5),
    ("X", "[ Discard ]", 4.0),
    ("y", "-[ Discard ]", 3.0),
    ("z", "[ Cancel ]", 3.0),
    ("y", "-[ Cancel ]", 3.0),
];

#[test]
fn the_moving_picture_of_the_readme_can_be_drawn() {
    let demo = Demo::new();
    let mut terminal = Terminal::open(demo.dir.path(), &[], (100, 28));
    terminal.see("RootBase");
    let mut frames = Vec::new();
    for (keys, shows, seconds) in TOUR {
        match keys.strip_prefix('>') {
            Some(name) => terminal.go_to(name),
            None => terminal.press(keys),
        }
        match shows.strip_prefix('-') {
            Some(gone) => terminal.lose(gone),
            None => terminal.see(shows),
        }
        // What the disk tells of an image comes a moment later.
        thread::sleep(Duration::from_millis(300));
        frames.push((terminal.look(buffer), seconds));
    }
    let drawn = moving(&frames);
    assert!(drawn.contains("<animate"), "nothing moves");
    if is_asked_for() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        fs::write(assets.join("tour.svg"), drawn).unwrap();
    }
}

fn picture_of_a_job(demo: &Demo) {
    let dir = demo.dir.path().join("rootbase");
    let (base, overlay) = (dir.join("Disk.raw"), dir.join("Disk-1.qcow2"));
    let mut file = File::create(&base).unwrap();
    for _ in 0..1024 {
        file.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    drop(file);
    let (base, overlay) = (base.to_str().unwrap(), overlay.to_str().unwrap());
    demo.qanopy(&["branch", base, overlay, "--yes"]);
    let mut terminal = demo.open(SIZE, "Disk-1.qcow2");
    terminal.press("f");
    terminal.see("at most 1 GiB");
    terminal.press("<enter>");
    terminal.until("a good part of the copy", |screen| {
        (30..90).any(|part| screen.contains(&format!(" {part}%")))
    });
    picture(&terminal, "%", "job.svg");
}
