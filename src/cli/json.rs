//! Plans and outcomes as JSON.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::fleet::typed;
use crate::forest::Forest;
use crate::forest::render::put_storage;
use crate::image::Lost;
use crate::inside::{Summary, SummaryFile};
use crate::json_text::{json_name, json_name_bytes};
use crate::ops::{
    Confirm, Danger, DefinitionChange, GuestFate, GuestFiles, Note, Outcome, Plan, Remedy, Step,
    Undo, WayOut,
};

use super::remedies;
use crate::units;

/// A path as text.
pub(super) fn path(path: &Path) -> Value {
    json_name(path)
}

/// What is told of an image, with which file of shared storage that is, if it is one.
pub(super) fn with_storage(mut told: Value, forest: &Forest, image: &Path) -> Value {
    if let Some(node) = forest.by_path(image)
        && let Some(fields) = told.as_object_mut()
    {
        put_storage(fields, forest, node);
    }
    told
}

/// A plan that was not run.
pub(super) fn planned(of: &Plan) -> Value {
    json!({ "plan": plan(of) })
}

/// Why something was not done. The kind is for programs to match on, the message for people.
pub(super) fn error(
    kind: &str,
    message: &str,
    about: Option<&Path>,
    ways: &[WayOut],
    helps: &[Remedy],
) -> Value {
    let mut error = json!({
        "kind": kind,
        "message": message,
        "path": about.map(path),
        "ways-out": ways_out(ways),
    });
    if let Some(fields) = error.as_object_mut() {
        remedies::put_in(fields, helps);
    }
    error
}

/// What could be done instead, with the command line for it where there is one.
fn ways_out(ways: &[WayOut]) -> Vec<Value> {
    let ways = ways.iter().map(|way| {
        let command = way
            .request
            .command_line()
            .map(|line| line.typed().to_string());
        json!({ "label": way.label, "command": command })
    });
    ways.collect()
}

/// A plan, as [`plan`] gave it before it was used up, and what came of it.
/// What could not be read is listed where that was no error.
pub(super) fn done(plan: &Value, came_of_it: &Outcome, lost: Option<&Lost>) -> Value {
    let mut outcome = outcome(came_of_it);
    if let (Some(lost), Some(fields)) = (lost, outcome.as_object_mut()) {
        fields.insert("lost".to_owned(), lost_ranges(lost));
    }
    json!({ "plan": plan, "outcome": outcome })
}

fn lost_ranges(lost: &Lost) -> Value {
    let ranges: Vec<Value> = lost
        .ranges()
        .into_iter()
        .map(|range| json!({ "start": range.start, "length": range.end - range.start }))
        .collect();
    json!({ "bytes": lost.bytes(), "ranges": ranges, "more": lost.has_more() })
}

/// A plan, complete. `confirm` is `nothing`, `yes`, the number that has to be given, or null where it is refused.
pub(super) fn plan(plan: &Plan) -> Value {
    let effects: Vec<Value> = plan
        .effects
        .iter()
        .map(|effect| {
            json!({
                "kind": effect.kind.verb(),
                "path": path(&effect.path),
                "bytes": effect.bytes,
                "detail": effect.detail,
            })
        })
        .collect();
    let left = plan.redefinitions.iter().filter(|one| !one.is_done());
    let redefines: Vec<Value> = left.map(|one| redefinition(&one.change)).collect();
    let notes: Vec<Value> = plan.notes.iter().map(note).collect();
    let refusals: Vec<Value> = plan
        .refusals
        .iter()
        .map(|refusal| {
            let mut refused = json!({
                "kind": refusal.kind.name(),
                "text": refusal.text,
                "ways-out": ways_out(&refusal.ways_out),
            });
            if let Some(fields) = refused.as_object_mut() {
                remedies::put_in(fields, &refusal.remedies);
            }
            refused
        })
        .collect();
    let space: Vec<Value> = plan
        .space
        .iter()
        .map(|need| {
            json!({
                "dir": path(&need.dir),
                "needed": need.needed,
                "possible": need.possible,
                "available": need.available,
            })
        })
        .collect();
    let danger = match plan.danger {
        Danger::Creates => "creates",
        Danger::Reversible => "reversible",
        Danger::Loses => "loses",
        Danger::Refused => "refused",
    };
    let confirm = match plan.confirm {
        Confirm::Nothing => json!("nothing"),
        Confirm::Yes => json!("yes"),
        Confirm::Count(number) => json!(number),
        Confirm::Impossible => Value::Null,
    };
    let (undo_possible, undo_text) = match &plan.undo {
        Undo::Possible(text) => (true, text),
        Undo::Impossible(text) => (false, text),
    };
    let now = plan.context().host.now();
    let guest_files = plan.guest_files.iter();
    let guest_files: Vec<Value> = guest_files.map(|one| files_of_guest(one, now)).collect();
    let dirs: Vec<Value> = plan.looked_in.dirs().iter().map(|dir| path(dir)).collect();
    json!({
        "title": plan.title,
        "effects": effects,
        "redefines": redefines,
        "keeps": plan.keeps,
        "guest-files": guest_files,
        "guest-files-more": plan.guest_files_more,
        "notes": notes,
        "refusals": refusals,
        "is-so-already": plan.is_so(),
        "copies": plan.copies,
        "frees": plan.frees,
        "space": space,
        "danger": danger,
        "confirm": confirm,
        "undo": { "possible": undo_possible, "text": undo_text },
        "commands": plan.commands.iter().map(|command| typed(command)).collect::<Vec<_>>(),
        "looked-in": { "dirs": dirs, "remembered": plan.looked_in.remembered },
    })
}

/// The files inside an image that change or go. The figures are there where somebody has looked.
fn files_of_guest(files: &GuestFiles, now: SystemTime) -> Value {
    let fate = match files.fate {
        GuestFate::Change { .. } => "change",
        GuestFate::Go | GuestFate::GoBack { .. } => "go",
    };
    let mut fields = Map::new();
    fields.insert("image".to_owned(), path(&files.image));
    fields.insert("fate".to_owned(), fate.into());
    fields.insert("text".to_owned(), files.text(now).into());
    let (found, why) = match &files.found {
        Some(Ok(found)) => (Some(found), None),
        Some(Err(why)) => (None, Some(why.name())),
        None => (None, Some("not-looked")),
    };
    fields.insert("not-known".to_owned(), why.into());
    if let Some(found) = found {
        fields.extend(figures(found));
    }
    Value::Object(fields)
}

/// How many files differ, and which of them is the newest and the largest.
fn figures(found: &Summary) -> Map<String, Value> {
    let file = |file: &Option<SummaryFile>| match file {
        None => Value::Null,
        Some(file) => json!({
            "volume": file.volume.to_string(),
            "path": json_name_bytes(&[b"/", file.path.as_slice()].concat()),
            "bytes": file.bytes,
            "written": file.modified.map(units::utc),
        }),
    };
    [
        ("added", json!(found.added)),
        ("changed", json!(found.changed)),
        ("deleted", json!(found.deleted)),
        ("renamed", json!(found.renamed)),
        ("metadata", json!(found.metadata)),
        ("noise", json!(found.noise)),
        ("newer-than-a-week", json!(found.recent)),
        ("newest", file(&found.newest)),
        ("largest", file(&found.largest)),
        ("is-partial", json!(found.is_partial)),
        ("remarks", json!(found.remarks)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}

/// What changes in the definition of a machine.
fn redefinition(change: &DefinitionChange) -> Value {
    let (step, from, to) = match &change.step {
        Step::Unpin => ("unpin", None, None),
        Step::Pin => ("pin", None, None),
        Step::Source { from, to } => ("source", Some(path(from)), Some(path(to))),
    };
    json!({
        "machine": change.disk.machine,
        "connection": change.disk.connection,
        "disk": change.disk.target,
        "step": step,
        "from": from,
        "to": to,
    })
}

/// Something to know, and what gets a person further.
fn note(note: &Note) -> Value {
    let mut fields = Map::new();
    fields.insert("kind".to_owned(), note.kind.name().into());
    fields.insert("warning".to_owned(), note.warning.into());
    fields.insert("text".to_owned(), note.text.clone().into());
    remedies::put_in(&mut fields, &note.remedies);
    Value::Object(fields)
}

/// What came of a plan.
fn outcome(outcome: &Outcome) -> Value {
    let touched: Vec<Value> = outcome.touched.iter().map(|file| path(file)).collect();
    json!({
        "summary": outcome.summary,
        "touched": touched,
        "undoable": outcome.undo.is_some(),
        "remarks": outcome.remarks.iter().map(note).collect::<Vec<_>>(),
    })
}
