//! How a node is open: what a guest's disk was started with, so that the one that takes its place is open alike.

use std::path::Path;

use serde_json::{Value, json};

use super::qmp::QmpError;
use super::{job, member};

/// What QEMU tells of how a node is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Tuning {
    cache: Option<Value>,
    detects_zeroes: bool,
}

impl Tuning {
    /// That of a node, by what the process tells of it.
    pub(super) fn of(node: &Value) -> Self {
        let cache = node.get("cache").map(|cache| {
            let is = |key: &str| cache.get(key).and_then(Value::as_bool).unwrap_or(false);
            json!({ "direct": is("direct"), "no-flush": is("no-flush") })
        });
        Self {
            cache,
            // Whether zeros are also discarded is not known of the new file.
            detects_zeroes: member(node, "detect_zeroes") == "on",
        }
    }

    /// The description of a file to be opened alike.
    pub(super) fn file(&self, path: &Path) -> Result<Value, QmpError> {
        let name = job::text(path.as_os_str())?;
        let mut file = json!({ "driver": "file", "filename": name });
        self.add_cache(&mut file);
        Ok(file)
    }

    /// The same for a node above it.
    pub(super) fn add_to(&self, node: &mut Value) {
        self.add_cache(node);
        if self.detects_zeroes {
            job::put(node, "detect-zeroes", json!("on"));
        }
    }

    fn add_cache(&self, node: &mut Value) {
        if let Some(cache) = &self.cache {
            job::put(node, "cache", cache.clone());
        }
    }
}
