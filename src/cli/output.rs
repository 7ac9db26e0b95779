//! The one way to standard output: every write can fail, and a reader that went away ends the
//! program quietly. What is printed is decided elsewhere.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use crate::host::printable_lines;
use crate::json_text::json_text;

/// Standard output, buffered.
#[derive(Debug)]
pub(super) struct Out {
    to: BufWriter<Stdout>,
    /// Whether nothing was written yet.
    is_untouched: bool,
}

impl Out {
    /// The program's standard output.
    pub(super) fn new() -> Self {
        Self {
            to: BufWriter::new(io::stdout()),
            is_untouched: true,
        }
    }

    /// Whether nothing was written yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.is_untouched
    }

    /// Writes one line.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.is_untouched = false;
        writeln!(self.to, "{}", printable_lines(&line.to_string()))
    }

    /// Writes text as it is; what has line ends brings them along.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.is_untouched = false;
        self.to.write_all(text.as_bytes())
    }

    /// Writes rows whose columns stand below each other; the first row is the heading.
    pub(super) fn table<const N: usize>(&mut self, rows: &[[String; N]]) -> io::Result<()> {
        let mut widths = [0; N];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in rows {
            let mut line = String::new();
            for (width, cell) in widths.into_iter().zip(row) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Writes a JSON value, indented, and a line end.
    pub(super) fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        self.line(json_text(value.clone()))
    }

    /// Hands everything on to the reader.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes one line to standard error. A failure there has nowhere left to be told.
pub(super) fn complain(line: impl fmt::Display) {
    let line = line.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", printable_lines(&line));
}
