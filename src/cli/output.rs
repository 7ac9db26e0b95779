//! The one way to standard output: every write can fail, and a reader that went away ends the
//! program quietly. What is printed is decided elsewhere.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use serde_json::Value;

use crate::fleet::person;
use crate::host::printable_lines;
use crate::json_text::json_text;

use super::envelope::{self, Document};
use super::mark::{MARK, Mark, Piece, sum_less};

/// Standard output, buffered.
#[derive(Debug)]
pub(super) struct Out {
    to: BufWriter<Stdout>,
    /// What is printed is held in it, until all is known.
    document: Option<Document>,
}

impl Out {
    /// The program's standard output, one document if there is one to be.
    pub(super) fn new(document: Option<Document>) -> Self {
        Self {
            to: BufWriter::new(io::stdout()),
            document,
        }
    }

    /// Writes one line.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.to, "{}", printable_lines(&line.to_string()))
    }

    /// Says what the lines that follow are about, to who wants to know it; an empty mark ends that.
    pub(super) fn about(&mut self, mark: &Mark) -> io::Result<()> {
        if !person().is_some_and(|person| person.marks) {
            return Ok(());
        }
        let mark = serde_json::to_string(mark)?;
        self.text(&format!("{MARK}{mark}\n"))
    }

    /// Writes a line that sums up what the lines before are about.
    pub(super) fn sum(&mut self, pieces: Vec<Piece>) -> io::Result<()> {
        let line = sum_less(&pieces, &[]);
        self.about(&Mark::of_sum(pieces))?;
        self.line(line)?;
        self.about(&Mark::default())
    }

    /// Writes text as it is; what has line ends brings them along.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
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

    /// What the command gives, as JSON: as the document's result, and without a document as it is.
    pub(super) fn json(&mut self, value: Value) -> io::Result<()> {
        match &mut self.document {
            Some(document) => {
                document.hold(value);
                Ok(())
            }
            None => self.line(json_text(value)),
        }
    }

    /// Begins what several hosts give, a document each, by [`Out::host`].
    pub(super) fn begin_hosts(&mut self) -> io::Result<()> {
        let head = self.document.as_mut().map(Document::head_of_hosts);
        self.text(&head.unwrap_or_default())
    }

    /// The document of one of them.
    pub(super) fn host(&mut self, document: Value, is_first: bool) -> io::Result<()> {
        self.text(&envelope::host(document, is_first))
    }

    /// There are no more of them.
    pub(super) fn end_hosts(&mut self) -> io::Result<()> {
        self.text(envelope::END_OF_HOSTS)
    }

    /// [`Out::json`] for a result that follows piece by piece, by [`Out::text`].
    pub(super) fn begin_json(&mut self) -> io::Result<()> {
        let head = self.document.as_mut().map(Document::head);
        self.text(&head.unwrap_or_default())
    }

    /// Writes what is left of the document, if there is one, and hands everything on.
    pub(super) fn end(&mut self, error: Option<Value>) -> io::Result<()> {
        if let Some(document) = self.document.take() {
            self.text(&document.ended(error))?;
        }
        self.flush()
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
