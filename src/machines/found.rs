//! What the readers find: machines, and what could not be asked.

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::host::{io_text, printable};

use super::machine::Machine;

/// What one product's reader found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) machines: Vec<Machine>,
    pub(super) unasked: Vec<Unasked>,
}

impl Found {
    /// Notes that a place could not be asked.
    pub(super) fn unasked(
        &mut self,
        product: &'static str,
        place: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.unasked.push(Unasked {
            product,
            place: place.into(),
            why: why.into(),
        });
    }

    /// The same of a file or a folder.
    pub(super) fn unread(&mut self, product: &'static str, path: &Path, error: &io::Error) {
        self.unasked(product, printable(path), io_text(error));
    }
}

impl Found {
    /// What a file says that holds JSON; where it could not be read, or holds something else, that is noted.
    pub(super) fn json(
        &mut self,
        product: &'static str,
        path: &Path,
        text: io::Result<String>,
    ) -> Option<Value> {
        let parsed = text.map(|text| serde_json::from_str(&text));
        match parsed {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.unasked(product, printable(path), error.to_string()),
            Err(error) => self.unread(product, path, &error),
        }
        None
    }
}

/// A product that could not be asked, or something of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// The product.
    pub product: &'static str,
    /// What of it: a connection, a file; printable.
    pub place: String,
    /// Why, as the rest of a sentence; printable.
    pub why: String,
}

/// `libvirt (qemu:///system): permission denied`
impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.product, self.place, self.why)
    }
}
