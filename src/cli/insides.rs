//! What earlier looks have found inside images, as far as it still holds: nothing is opened for it.

use serde_json::{Map, Value, json};

use crate::forest::{Forest, Index, Inside};
use crate::ops::{self, InsidesByPath};

use super::json::path;

/// What is known of these images.
pub(super) fn known(forest: &Forest) -> InsidesByPath {
    let kept = ops::kept_insides(Index::default_dir().as_deref());
    ops::known_insides(forest, &kept)
}

/// Puts it into the descriptions of images that have it.
pub(super) fn put_in<'a>(images: impl Iterator<Item = &'a mut Value>, known: &InsidesByPath) {
    if known.is_empty() {
        return;
    }
    let by_name = known
        .iter()
        .map(|(file, inside)| (path(file).to_string(), inside));
    let by_name: std::collections::HashMap<String, _> = by_name.collect();
    for image in images.filter_map(Value::as_object_mut) {
        let name = image.get("path").map(Value::to_string);
        if let Some(inside) = name.and_then(|name| by_name.get(&name)) {
            image.insert("inside".to_owned(), described(inside));
        }
    }
}

/// What is inside an image, for JSON.
pub(super) fn described(inside: &Inside) -> Value {
    let mut fields = Map::new();
    let system = inside.system.as_ref().map(|system| {
        json!({
            "id": system.id,
            "name": system.name,
            "version": system.version,
            "hostname": system.hostname,
        })
    });
    fields.insert("system".to_owned(), system.into());
    let filesystems = inside.filesystems.iter();
    let filesystems =
        filesystems.map(|one| json!({ "kind": one.kind, "label": one.label, "uuid": one.uuid }));
    fields.insert("filesystems".to_owned(), filesystems.collect());
    Value::Object(fields)
}
