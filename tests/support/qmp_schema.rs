//! What QEMU says of its own commands (`query-qmp-schema`), and whether a command is as it says: the same as a client that
//! is generated from its definitions would find out, of the version that is installed.

use std::collections::HashMap;

use serde_json::Value;

/// What a process of QEMU says of its commands.
#[derive(Debug)]
pub struct QmpSchema(HashMap<String, Value>);

impl QmpSchema {
    /// By its answer to `query-qmp-schema`.
    pub fn of(told: &Value) -> Self {
        let all = told.as_array().unwrap().iter();
        let named = all.map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone()));
        Self(named.collect())
    }

    /// What is wrong with a command.
    pub fn wrong_with(&self, asked: &Value) -> Vec<String> {
        let name = asked["execute"].as_str().unwrap();
        match self.0.get(name) {
            Some(command) if command["meta-type"] == "command" => {
                self.wrong(&command["arg-type"], &asked["arguments"], name)
            }
            _ => vec![format!("{name} is no command")],
        }
    }

    fn wrong(&self, kind: &Value, value: &Value, at: &str) -> Vec<String> {
        let kind = &self.0[kind.as_str().unwrap()];
        let one = |is_right: bool| match is_right {
            true => Vec::new(),
            false => vec![format!("{at}: {value} is no {}", kind["name"])],
        };
        match kind["meta-type"].as_str().unwrap() {
            "object" => self.wrong_members(kind, value, at),
            "array" => {
                let Some(all) = value.as_array() else {
                    return one(false);
                };
                let each = all.iter();
                each.flat_map(|value| self.wrong(&kind["element-type"], value, at))
                    .collect()
            }
            "enum" => one(kind["values"].as_array().unwrap().contains(value)),
            "alternate" => {
                let mut members = kind["members"].as_array().unwrap().iter();
                one(members.any(|member| self.wrong(&member["type"], value, at).is_empty()))
            }
            "builtin" => one(match kind["json-type"].as_str().unwrap() {
                "int" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "value" => true,
                other => panic!("a type of JSON that is not known: {other}"),
            }),
            other => panic!("a type that is not known: {other}"),
        }
    }

    fn wrong_members(&self, kind: &Value, value: &Value, at: &str) -> Vec<String> {
        let Some(given) = value.as_object() else {
            return vec![format!("{at}: {value} is no object")];
        };
        let members = self.members(kind, value);
        let mut wrong = Vec::new();
        for member in &members {
            let name = member["name"].as_str().unwrap();
            match given.get(name) {
                Some(value) => {
                    wrong.extend(self.wrong(&member["type"], value, &format!("{at}.{name}")))
                }
                // One that may be left out has a default.
                None if member.get("default").is_none() => {
                    wrong.push(format!("{at}.{name} is missing"))
                }
                None => {}
            }
        }
        let is_known = |name: &&String| members.iter().any(|member| member["name"] == ***name);
        let unknown = given.keys().filter(|name| !is_known(name));
        wrong.extend(unknown.map(|name| format!("{at}.{name} is not known")));
        wrong
    }

    /// The members of an object, with those that it has for what its tag says.
    fn members(&self, kind: &Value, value: &Value) -> Vec<Value> {
        let mut members = kind["members"].as_array().unwrap().clone();
        let tag = kind["tag"].as_str().map(|tag| &value[tag]);
        let cases = kind["variants"].as_array().into_iter().flatten();
        for case in cases.filter(|case| Some(&case["case"]) == tag) {
            let more = &self.0[case["type"].as_str().unwrap()];
            members.extend(self.members(more, value));
        }
        members
    }
}
