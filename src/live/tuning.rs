//! How a node is open: what a guest's disk was started with, so that the one that takes its place is open alike.

use std::path::Path;

use serde_json::{Value, json};

use super::qmp::{Qmp, QmpError};

/// What QEMU tells of how a node is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Tuning {
    cache: Option<Value>,
    detect_zeroes: Option<String>,
}

impl Tuning {
    /// That of a node.
    pub(super) fn of(qmp: &mut Qmp, node: &str) -> Result<Self, QmpError> {
        let node = super::named_node(qmp, node)?;
        let cache = node.get("cache").map(|cache| {
            let is = |key: &str| cache.get(key).and_then(Value::as_bool).unwrap_or(false);
            json!({ "direct": is("direct"), "no-flush": is("no-flush") })
        });
        let detect_zeroes = node.get("detect_zeroes").and_then(Value::as_str);
        Ok(Self {
            cache,
            detect_zeroes: detect_zeroes.map(str::to_owned),
        })
    }

    /// The description of a file to be opened alike.
    pub(super) fn file(&self, path: &Path) -> Result<Value, QmpError> {
        // QMP is UTF-8: another name cannot be said in it.
        let name = path.to_str().ok_or_else(|| {
            QmpError::Malformed(format!(
                "it cannot be told the name {}, which is no UTF-8",
                crate::host::printable(path)
            ))
        })?;
        let mut file = json!({ "driver": "file", "filename": name });
        self.add_cache(&mut file);
        Ok(file)
    }

    /// The same for a node above it.
    pub(super) fn add_to(&self, node: &mut Value) {
        self.add_cache(node);
        if let (Some(map), Some(detect)) = (node.as_object_mut(), &self.detect_zeroes)
            && detect == "on"
        {
            map.insert("detect-zeroes".to_owned(), json!(detect));
        }
    }

    fn add_cache(&self, node: &mut Value) {
        if let (Some(map), Some(cache)) = (node.as_object_mut(), &self.cache) {
            map.insert("cache".to_owned(), cache.clone());
        }
    }
}
