//! A screen as an SVG picture: each word placed by itself and frames drawn as lines. Renderers differ in
//! what they make of text lengths and lists of places, and no two fonts have the same widths: frames made
//! of letters would fall apart.

use std::fmt::Write as _;

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

/// Cell size in SVG units.
const CELL: (usize, usize) = (8, 17);
/// Ground and ink, readable beside any page.
const GROUND: &str = "#1b1f27";
const INK: &str = "#d5d9e0";

/// A buffer as SVG.
pub fn svg(buffer: &Buffer) -> String {
    let mut out = ground(buffer);
    for y in 0..buffer.area.height {
        row(&mut out, buffer, y);
    }
    out.push_str("</svg>\n");
    out
}

/// Buffers of one size, each shown for so many seconds, again and again. A row that several have in common is written
/// once. What does not move pictures shows the first.
pub fn moving(frames: &[(Buffer, f64)]) -> String {
    let (first, _) = &frames[0];
    let mut out = ground(first);
    for y in 0..first.area.height {
        let mut rows: Vec<(String, Vec<bool>)> = Vec::new();
        for (at, (buffer, _)) in frames.iter().enumerate() {
            let mut text = String::new();
            row(&mut text, buffer, y);
            let known = rows.iter().position(|(row, _)| *row == text);
            let known = known.unwrap_or_else(|| {
                rows.push((text, vec![false; frames.len()]));
                rows.len() - 1
            });
            rows[known].1[at] = true;
        }
        for (text, shown) in rows {
            if text.is_empty() || shown.iter().all(|is_shown| *is_shown) {
                out.push_str(&text);
                continue;
            }
            let first = word(shown[0]);
            let _ = writeln!(
                out,
                "<g visibility=\"{first}\">\n{text}{}</g>",
                animate(frames, &shown)
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// When a row is to be seen.
fn animate(frames: &[(Buffer, f64)], shown: &[bool]) -> String {
    let whole: f64 = frames.iter().map(|(_, seconds)| seconds).sum();
    let (mut values, mut times) = (vec![word(shown[0])], vec!["0".to_owned()]);
    let mut at = 0.0;
    for (pair, (_, seconds)) in shown.windows(2).zip(frames) {
        at += seconds;
        if pair[0] != pair[1] {
            values.push(word(pair[1]));
            times.push(format!("{:.4}", at / whole));
        }
    }
    format!(
        "<animate attributeName=\"visibility\" calcMode=\"discrete\" values=\"{}\" keyTimes=\"{}\" dur=\"{whole}s\" repeatCount=\"indefinite\"/>\n",
        values.join(";"),
        times.join(";")
    )
}

fn word(is_shown: bool) -> &'static str {
    if is_shown { "visible" } else { "hidden" }
}

/// How a picture of that size begins.
fn ground(buffer: &Buffer) -> String {
    let area = buffer.area;
    let (cell_width, cell_height) = CELL;
    let (width, height) = (
        usize::from(area.width) * cell_width + 16,
        usize::from(area.height) * cell_height + 16,
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"13.3\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{GROUND}\"/>\n"
    )
}

/// How a run of cells looks: all that tells it from its neighbours.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Look {
    ink: &'static str,
    ground: Option<&'static str>,
    bold: bool,
    dim: bool,
}

fn row(out: &mut String, buffer: &Buffer, y: u16) {
    let (cell_width, cell_height) = CELL;
    let top = usize::from(y) * cell_height + 8;
    let base = top + cell_height - 4;
    let cells: Vec<(usize, &str, Look)> = (0..buffer.area.width)
        .filter_map(|x| {
            let cell = buffer.cell((x, y))?;
            let reversed = cell.modifier.contains(Modifier::REVERSED);
            let ink = colour(cell.fg).unwrap_or(INK);
            let ground = colour(cell.bg);
            let look = Look {
                ink: if reversed {
                    ground.unwrap_or(GROUND)
                } else {
                    ink
                },
                ground: if reversed { Some(ink) } else { ground },
                bold: cell.modifier.contains(Modifier::BOLD),
                dim: cell.modifier.contains(Modifier::DIM),
            };
            Some((usize::from(x), cell.symbol(), look))
        })
        .collect();
    for run in cells.chunk_by(|a, b| a.2 == b.2) {
        let Some((first, _, look)) = run.first().copied() else {
            continue;
        };
        if let Some(ground) = look.ground {
            let _ = writeln!(
                out,
                "<rect x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{cell_height}\" fill=\"{ground}\"/>",
                first * cell_width + 8,
                run.len() * cell_width
            );
        }
        let lines = lines(run, top);
        if !lines.is_empty() {
            let width = if look.bold { "1.6" } else { "1" };
            let faint = if look.dim { " opacity=\"0.65\"" } else { "" };
            let _ = writeln!(
                out,
                "<path d=\"{lines}\" stroke=\"{}\" stroke-width=\"{width}\" fill=\"none\"{faint}/>",
                look.ink
            );
        }
        text(out, run, look, base);
    }
}

/// The words of a run, each at its own place.
fn text(out: &mut String, run: &[(usize, &str, Look)], look: Look, base: usize) {
    let (cell_width, _) = CELL;
    let mut words = String::new();
    let mut open = false;
    for (x, symbol, _) in run {
        let is_ascii = symbol.is_ascii();
        if symbol.trim().is_empty() || symbol.width() == 0 || strokes(symbol).is_some() {
            if open {
                words.push_str("</tspan>");
            }
            open = false;
            continue;
        }
        if open && !is_ascii {
            words.push_str("</tspan>");
            open = false;
        }
        if !open {
            let _ = write!(words, "<tspan x=\"{}\">", x * cell_width + 8);
        }
        for c in symbol.chars() {
            match c {
                '<' => words.push_str("&lt;"),
                '>' => words.push_str("&gt;"),
                '&' => words.push_str("&amp;"),
                c => words.push(c),
            }
        }
        open = is_ascii;
        if !is_ascii {
            words.push_str("</tspan>");
        }
    }
    if open {
        words.push_str("</tspan>");
    }
    if words.is_empty() {
        return;
    }
    let weight = if look.bold {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let faint = if look.dim { " opacity=\"0.65\"" } else { "" };
    let _ = writeln!(
        out,
        "<text y=\"{base}\" fill=\"{}\"{weight}{faint}>{words}</text>",
        look.ink
    );
}

/// Which strokes a line-drawing character has from its middle: left, right, up, down.
fn strokes(symbol: &str) -> Option<[bool; 4]> {
    Some(match symbol {
        "─" | "═" => [true, true, false, false],
        "│" | "║" => [false, false, true, true],
        "┌" | "╔" => [false, true, false, true],
        "┐" | "╗" => [true, false, false, true],
        "└" | "╚" => [false, true, true, false],
        "┘" | "╝" => [true, false, true, false],
        "├" => [false, true, true, true],
        _ => return None,
    })
}

/// The line-drawing characters of a run as path data.
fn lines(run: &[(usize, &str, Look)], top: usize) -> String {
    let (cell_width, cell_height) = CELL;
    let mut path = String::new();
    let mut run = run.iter().peekable();
    while let Some((x, symbol, _)) = run.next() {
        let Some([left, right, up, down]) = strokes(symbol) else {
            continue;
        };
        let (start, middle) = (x * cell_width + 8, x * cell_width + 8 + cell_width / 2);
        // Half a unit more puts thin lines on the pixels instead of between them.
        let y = format!("{}.5", top + cell_height / 2);
        let mut cells = 1;
        while left && right && run.next_if(|(_, next, _)| next == symbol).is_some() {
            cells += 1;
        }
        match (left, right) {
            (true, true) => {
                let _ = write!(path, "M{start} {y}h{}", cells * cell_width);
            }
            (true, false) => {
                let _ = write!(path, "M{start} {y}h{}.5", cell_width / 2);
            }
            (false, true) => {
                let _ = write!(path, "M{middle} {y}h{}", cell_width / 2);
            }
            (false, false) => {}
        }
        match (up, down) {
            (true, true) => {
                let _ = write!(path, "M{middle}.5 {top}v{cell_height}");
            }
            (true, false) => {
                let _ = write!(path, "M{middle}.5 {top}v{}", cell_height / 2 + 1);
            }
            (false, true) => {
                let _ = write!(path, "M{middle}.5 {y}V{}", top + cell_height);
            }
            (false, false) => {}
        }
    }
    path
}

fn colour(colour: Color) -> Option<&'static str> {
    match colour {
        Color::Red | Color::LightRed => Some("#f07178"),
        Color::Green | Color::LightGreen => Some("#9ece6a"),
        Color::Yellow | Color::LightYellow => Some("#e6b450"),
        Color::Blue | Color::LightBlue => Some("#6fb3ff"),
        Color::Magenta | Color::LightMagenta => Some("#c792ea"),
        Color::Cyan | Color::LightCyan => Some("#5ccfe6"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn every_word_has_a_place_of_its_own_and_markup_is_escaped() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
        buffer.set_string(0, 0, "a<b  c○", Style::new().fg(Color::Red));
        let svg = svg(&buffer);
        let words =
            "<tspan x=\"8\">a&lt;b</tspan><tspan x=\"48\">c</tspan><tspan x=\"56\">○</tspan>";
        assert!(svg.contains(words), "{svg}");
    }

    #[test]
    fn a_moving_picture_writes_a_row_once_and_shows_it_when_its_frame_does() {
        let frame = |top: &str| {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 5, 2));
            buffer.set_string(0, 0, top, Style::new());
            buffer.set_string(0, 1, "stays", Style::new());
            buffer
        };
        let moving = moving(&[
            (frame("one"), 1.0),
            (frame("two"), 2.0),
            (frame("one"), 1.0),
        ]);
        let count = |text: &str| moving.matches(text).count();
        assert_eq!(
            (count(">one<"), count(">two<"), count(">stays<")),
            (1, 1, 1),
            "{moving}"
        );
        let times = "values=\"hidden;visible;hidden\" keyTimes=\"0;0.2500;0.7500\" dur=\"4s\"";
        assert!(moving.contains(times), "{moving}");
        assert_eq!(count("<g visibility=\"visible\">"), 1);
    }

    #[test]
    fn frames_are_lines() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 5, 1));
        buffer.set_string(0, 0, "┌───┐", Style::new());
        let svg = svg(&buffer);
        assert!(
            svg.contains("<path d=\"M12 16.5h4M12.5 16.5V25M16 16.5h24M40 16.5h4.5"),
            "{svg}"
        );
        assert!(!svg.contains('┌'), "{svg}");
    }
}
