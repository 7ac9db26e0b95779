//! In the rooms that are named here no two files import each other, not even by way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file, as the path of its module below its room.
type Module = Vec<String>;

/// The code of every file of a room, without its tests and comments.
fn modules(room: &str) -> BTreeMap<Module, String> {
    fn read(dir: &Path, at: &Module, found: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let below: Module = at.iter().cloned().chain([name.clone()]).collect();
            if path.is_dir() && name == "tests" {
                // Those of a crate, which use what is public.
            } else if path.is_dir() {
                read(&path, &below, found);
            } else if name != "tests" && path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
                let lines = code.lines().map(|line| line.split("//").next().unwrap());
                let code = lines.collect::<Vec<_>>().join("\n");
                let is_front = name == "mod" || name == "lib";
                found.insert(if is_front { at.clone() } else { below }, code);
            }
        }
    }
    let mut found = BTreeMap::new();
    let dir = crate::source::place(room);
    read(&dir, &Module::new(), &mut found);
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn spread(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.trim_end_matches("::self").trim().to_owned()];
    };
    let inside = rest.trim_end().strip_suffix('}').unwrap();
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| spread(part))
        .map(|part| match part.as_str() {
            "self" => before.trim_end_matches("::").to_owned(),
            part => format!("{before}{part}"),
        })
        .collect()
}

/// What a file imports: whether it passes that on, and the path.
fn imports(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        // What stands before it on the lines of its own is another item.
        let Some(at) = statement.rfind("use ") else {
            continue;
        };
        let (before, tree) = statement.split_at(at);
        let before = before.rsplit('\n').next().unwrap().trim();
        if before.is_empty() || before.starts_with("pub") {
            let paths = spread(&tree["use ".len()..]);
            found.extend(paths.into_iter().map(|path| (!before.is_empty(), path)));
        }
    }
    found
}

/// Paths written out in the code: `super::name`, `crate::room::name`, and `name::function` of what is imported.
fn written_out(code: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split(|c: char| !is_part(c))
        .map(|word| word.trim_matches(':'))
        .filter(|word| word.contains("::"))
        .map(str::to_owned)
        .collect()
}

struct Room {
    name: &'static str,
    /// Whether it has a Cargo.toml.
    is_crate: bool,
    code: BTreeMap<Module, String>,
    imports: BTreeMap<Module, Vec<(bool, String)>>,
}

impl Room {
    /// The file that a path seen from another one leads to; followed to where a name passed on is defined.
    fn target(&self, from: &Module, path: &str, depth: usize) -> Option<Module> {
        let mut parts = path.split("::").map(str::trim).peekable();
        let mut at = match *parts.peek()? {
            "crate" => {
                parts.next();
                // A room that is a crate of its own does not name itself.
                if !self.is_crate && parts.next()? != self.name {
                    return None;
                }
                Module::new()
            }
            "super" | "self" => from.clone(),
            name => {
                let child: Module = from.iter().cloned().chain([name.to_owned()]).collect();
                self.code.contains_key(&child).then(|| from.clone())?
            }
        };
        while let Some(part) = parts.next_if(|part| matches!(*part, "super" | "self")) {
            if part == "super" {
                at.pop()?;
            }
        }
        while let Some(part) = parts.peek() {
            let child: Module = at.iter().cloned().chain([(*part).to_owned()]).collect();
            if !self.code.contains_key(&child) {
                break;
            }
            at = child;
            parts.next();
        }
        if let Some(name) = parts.next().filter(|_| at != *from && depth < 8) {
            let passed_on = self.imports[&at].iter().find(|(is_passed_on, path)| {
                *is_passed_on && path.rsplit("::").next() == Some(name)
            });
            if let Some((_, path)) = passed_on {
                return self.target(&at, path, depth + 1);
            }
        }
        Some(at)
    }

    /// The files that one imports, apart from the room's own front.
    fn targets(&self, from: &Module) -> BTreeSet<Module> {
        let imports = &self.imports[from];
        let mut paths: Vec<String> = imports.iter().map(|(_, path)| path.clone()).collect();
        for word in written_out(&self.code[from]) {
            let (first, rest) = word.split_once("::").unwrap();
            let imported = imports
                .iter()
                .find(|(_, path)| path.rsplit("::").next() == Some(first));
            match imported {
                Some((_, path)) => paths.push(format!("{path}::{rest}")),
                None => paths.push(word),
            }
        }
        let found = paths.iter().filter_map(|path| self.target(from, path, 0));
        found.filter(|to| to != from && !to.is_empty()).collect()
    }
}

fn room(name: &'static str) -> Room {
    let code = modules(name);
    let imports = code
        .iter()
        .map(|(module, code)| (module.clone(), imports(code)))
        .collect();
    Room {
        name,
        is_crate: crate::source::place(name).join("Cargo.toml").exists(),
        code,
        imports,
    }
}

/// The first circle among these arrows that is found.
fn circle(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    let mut left = arrows.clone();
    // What leads nowhere is in no circle, and nor is then what leads only there.
    while let Some(end) = left
        .iter()
        .find(|(_, to)| to.iter().all(|to| !left.contains_key(to)))
    {
        let end = end.0.clone();
        left.remove(&end);
    }
    let mut at = left.keys().next()?.clone();
    let mut way: Vec<Module> = Vec::new();
    while !way.contains(&at) {
        way.push(at.clone());
        at = left[&at].iter().find(|to| left.contains_key(*to))?.clone();
    }
    let begin = way.iter().position(|met| *met == at)?;
    way.push(at);
    Some(way[begin..].iter().map(|file| file.join("/")).collect())
}

/// The rooms, and so many files at the least.
const ROOMS: &[(&str, usize)] = &[
    ("cli", 40),
    ("doctor", 3),
    ("fleet", 8),
    ("forest", 30),
    ("guest", 6),
    ("host", 15),
    ("image", 100),
    ("inside", 5),
    ("machines", 12),
    ("mount", 8),
    ("ops", 80),
    ("qcow2", 15),
    ("tui", 80),
];

/// The arrow that is left out: a request is answered by its own operation, which makes the plan that holds the
/// request. The one file with the register leads round that way, and no other.
const ANSWERED_BY: (&str, &str, &str) = ("ops", "framework/request", "framework/operation");

fn module(name: &str) -> Module {
    name.split('/').map(str::to_owned).collect()
}

#[test]
fn no_two_files_of_a_room_import_each_other_by_any_way() {
    for (name, least) in ROOMS {
        let room = room(name);
        assert!(room.code.len() > *least, "{name}: {}", room.code.len());
        let mut arrows: BTreeMap<Module, BTreeSet<Module>> = room
            .code
            .keys()
            .map(|module| (module.clone(), room.targets(module)))
            .collect();
        if *name == ANSWERED_BY.0 {
            let from = arrows.get_mut(&module(ANSWERED_BY.1)).unwrap();
            assert!(
                from.remove(&module(ANSWERED_BY.2)),
                "it is no exception any more"
            );
        }
        assert_eq!(circle(&arrows), None, "{name}");
    }
}

#[test]
fn what_all_operations_rest_on_imports_none_of_them() {
    let ops = room("ops");
    let is_inside = |file: &Module| file[0] == "framework";
    let files: Vec<&Module> = ops.code.keys().filter(|file| !file.is_empty()).collect();
    let (inside, outside): (Vec<&Module>, Vec<&Module>) =
        files.into_iter().partition(|file| is_inside(file));
    assert!(inside.len() > 40 && outside.len() > 40);
    for file in inside {
        let up: Vec<Module> = ops
            .targets(file)
            .into_iter()
            .filter(|to| !is_inside(to))
            .collect();
        assert!(up.is_empty(), "{file:?} imports {up:?}");
    }
}

#[test]
fn the_rule_sees_what_it_looks_for() {
    let tui = room("tui");
    let has = |from: &str, to: &str| tui.targets(&module(from)).contains(&module(to));
    // By a plain import, by a name that the folder's front passes on, by a path in the code.
    assert!(has("dialogs/trash", "app"));
    assert!(has("update/panes", "dialogs/trash"));
    assert!(has("update/keys", "layout"));
    assert!(!has("app", "layout"));
    let arrows = [("a", "b"), ("b", "c"), ("c", "b")];
    let arrows = arrows.map(|(from, to)| (module(from), BTreeSet::from([module(to)])));
    assert!(circle(&BTreeMap::from(arrows)).is_some());
}
