//! The document that standard output is with `--json`: the version of its form, the command, its result, and
//! why something was not done. `assets/docs/json.md` says what holds for all of them, and `qanopy schema` prints
//! their JSON Schema.

use std::ffi::OsString;

use clap::Command;
use serde_json::{Map, Value};

use crate::json_text::{json_line, json_text};

/// Grows where a program that reads the documents would have to be changed.
const SCHEMA: u32 = 1;

/// One document.
#[derive(Debug)]
pub(super) struct Document {
    command: String,
    result: Held,
}

/// What is known of a result.
#[derive(Debug)]
enum Held {
    Nothing,
    Value(Value),
    /// It was written piece by piece, behind the head.
    Written,
}

impl Document {
    /// One without a result, about this command line.
    pub(super) fn of(program: &Command, arguments: &[OsString]) -> Self {
        Self {
            command: words(program, arguments),
            result: Held::Nothing,
        }
    }

    /// What the command gives.
    pub(super) fn hold(&mut self, result: Value) {
        self.result = Held::Value(result);
    }

    /// What stands before a result that is written piece by piece.
    pub(super) fn head(&mut self) -> String {
        self.head_of("result")
    }

    /// What stands before the documents of hosts, which are written one after the other: see [`host`].
    pub(super) fn head_of_hosts(&mut self) -> String {
        self.head_of("hosts") + "["
    }

    fn head_of(&mut self, key: &str) -> String {
        self.result = Held::Written;
        let open = json_text(Value::Object(self.opened()));
        format!("{},\n  \"{key}\": ", open.trim_end_matches("\n}"))
    }

    /// The whole document, or what is missing of it behind a result that is written.
    pub(super) fn ended(self, error: Option<Value>) -> String {
        let mut fields = self.opened();
        match self.result {
            Held::Written => {
                let error = error.map(|error| format!(",\n  \"error\": {}", json_line(error)));
                return error.unwrap_or_default() + "\n}\n";
            }
            Held::Value(result) => drop(fields.insert("result".to_owned(), result)),
            Held::Nothing => {}
        }
        if let Some(error) = error {
            fields.insert("error".to_owned(), error);
        }
        json_text(Value::Object(fields)) + "\n"
    }

    fn opened(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("schema".to_owned(), SCHEMA.into());
        fields.insert("command".to_owned(), self.command.clone().into());
        fields
    }
}

/// The document of a host, as it stands in the list of them.
pub(super) fn host(document: Value, is_first: bool) -> String {
    let comma = if is_first { "" } else { "," };
    // No text in it holds a line end as it is.
    let lines = json_text(document).replace('\n', "\n    ");
    format!("{comma}\n    {lines}")
}

/// What stands behind the last of them.
pub(super) const END_OF_HOSTS: &str = "\n  ]";

/// The command of these arguments, by its own name: `snapshot list`. Without one the forest is printed.
fn words(program: &Command, arguments: &[OsString]) -> String {
    let mut command = program;
    let mut words = Vec::new();
    let typed = arguments.iter().skip(1).filter_map(|word| word.to_str());
    for word in typed.filter(|word| !word.starts_with('-')) {
        let Some(below) = command.find_subcommand(word) else {
            break;
        };
        // What it is called where it was typed.
        words.push(match below.get_name() {
            "receive" => "copy",
            name => name,
        });
        command = below;
    }
    match words.is_empty() {
        true => "tree".to_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(line: &str) -> Document {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Document::of(&super::super::program(), &arguments)
    }

    #[test]
    fn the_command_is_told_by_its_own_name() {
        for (line, command) in [
            ("q --json ls a", "tree"),
            ("q --json folder tree", "tree"),
            ("q --json", "tree"),
            ("q rm tree", "discard"),
            ("q snapshot --json list create", "snapshot list"),
            ("q snapshot --nonsense", "snapshot"),
        ] {
            assert_eq!(document(line).command, command, "{line}");
        }
    }

    #[test]
    fn hosts_written_one_after_the_other_are_a_list() {
        let mut written = document("q tree a: b:");
        let hosts = [
            json!({ "host": "a", "result": {} }),
            json!({ "host": "b\n" }),
        ];
        let mut text = written.head_of_hosts();
        for (at, one) in hosts.iter().enumerate() {
            text += &host(one.clone(), at == 0);
        }
        text += END_OF_HOSTS;
        text += &written.ended(None);
        let expected = json!({ "schema": SCHEMA, "command": "tree", "hosts": hosts });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        assert!(text.lines().any(|line| line == "    {"), "{text}");
    }

    #[test]
    fn a_result_written_piece_by_piece_reads_as_one_held() {
        for error in [None, Some(json!({ "kind": "failed" }))] {
            let mut held = document("q map a");
            held.hold(json!([1]));
            let mut written = document("q map a");
            let text = written.head() + "[1]" + &written.ended(error.clone());
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(read(&text), read(&held.ended(error)));
        }
    }
}
