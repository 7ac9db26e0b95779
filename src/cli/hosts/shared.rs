//! Images of storage that several hosts see, where these are asked at once: what is told of one is told once. A host
//! marks which of its lines, or parts of its document, are about such an image, and by what it is known elsewhere. That a
//! host may say so of images that it does not see is borne: nothing is left out without being named.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::mark::{MARK, Mark};

/// Images that are named at the end of what a host prints.
const MOST_NAMED: usize = 3;
/// Numbers that an image may have in sums.
const MOST_COUNTS: usize = 64;
/// The lists of a result whose members may be about such an image.
const LISTS: [&str; 5] = ["images", "findings", "garbage", "candidates", "kept"];

/// What was printed of such images so far, and by which host first.
#[derive(Debug, Default)]
pub(super) struct Printed {
    first: HashMap<String, String>,
}

impl Printed {
    /// What a host prints, without the marks and without what was printed of the same images before; what was left out
    /// is named at the end.
    pub(super) fn pass(&mut self, host: &str, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut new: Vec<String> = Vec::new();
        let mut left: Vec<(String, String)> = Vec::new();
        let mut is_left = false;
        // What sums count that is left out.
        let mut less: Vec<u64> = Vec::new();
        for line in text.split_inclusive('\n') {
            let Some(told) = line.strip_prefix(MARK) else {
                if !is_left {
                    shown.push_str(line);
                }
                continue;
            };
            let mark: Mark = serde_json::from_str(told).unwrap_or_default();
            if !mark.sum.is_empty() {
                is_left = less.iter().any(|count| *count > 0);
                if is_left {
                    shown.push_str(&mark.sum_less(&less));
                    shown.push('\n');
                }
                continue;
            }
            let by = self.by(&mark);
            is_left = by.is_some();
            match by {
                Some(by) => {
                    add(&mut less, &mark.counts);
                    left.push((by, mark.name));
                }
                None => new.extend(mark.ids),
            }
        }
        for id in new {
            self.first.entry(id).or_insert_with(|| host.to_owned());
        }
        shown + &named(&left)
    }

    /// The host that has told all that a mark is about; none where any of it was not told, or it is about none.
    fn by(&self, mark: &Mark) -> Option<String> {
        let mut by = None;
        for id in &mark.ids {
            by = Some(self.first.get(id)?.clone());
        }
        by
    }
}

/// Adds up, number by number.
fn add(sums: &mut Vec<u64>, counts: &[u64]) {
    // No line of ours has more columns.
    let counts = counts.iter().take(MOST_COUNTS);
    for (at, count) in counts.enumerate() {
        match sums.get_mut(at) {
            Some(sum) => *sum = sum.saturating_add(*count),
            None => sums.push(*count),
        }
    }
}

/// Lines that name what another host has told.
fn named(left: &[(String, String)]) -> String {
    let mut hosts: Vec<&str> = left.iter().map(|(host, _)| host.as_str()).collect();
    hosts.dedup();
    hosts.sort_unstable();
    hosts.dedup();
    let mut text = String::new();
    for host in hosts {
        let mut names: Vec<&str> = Vec::new();
        for (_, name) in left.iter().filter(|(by, _)| by == host) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let more = names.len().saturating_sub(MOST_NAMED);
        names.truncate(MOST_NAMED);
        let mut list = names.join(", ");
        if more > 0 {
            list.push_str(&format!(" and {more} more"));
        }
        text.push_str(&format!(
            "(told above, since {host} sees the same storage: {list})\n"
        ));
    }
    text
}

/// Whether a host's document is about such an image.
pub(super) fn is_shared(document: &Value) -> bool {
    let lists = LISTS
        .iter()
        .filter_map(|key| document.pointer("/result")?.get(*key)?.as_array());
    lists
        .flatten()
        .any(|member| member.get("storage").is_some())
}

/// Leaves each such image to the first host that tells of it; there, `seen-by` lists all hosts that do, with its path on
/// each. Sums are without what is left out.
pub(super) fn join(documents: &mut [Value]) {
    let mut first: HashMap<String, (usize, &'static str, usize)> = HashMap::new();
    let mut seen: Vec<((usize, &'static str, usize), Value)> = Vec::new();
    for (at, document) in documents.iter_mut().enumerate() {
        let host = document.get("host").cloned().unwrap_or_default();
        let Some(result) = document.get_mut("result").and_then(Value::as_object_mut) else {
            continue;
        };
        for key in LISTS {
            let Some(members) = result.get_mut(key).and_then(Value::as_array_mut) else {
                continue;
            };
            let mut left = Vec::new();
            let mut kept = Vec::new();
            for member in std::mem::take(members) {
                let known = known_by(&member).map(|id| format!("{key} {id}"));
                let own = (at, key, kept.len());
                let Some(known) = known else {
                    kept.push(member);
                    continue;
                };
                let place = *first.entry(known).or_insert(own);
                seen.push((place, sight(&host, &member)));
                match place.0 == at {
                    true => kept.push(member),
                    false => left.push(member),
                }
            }
            *members = kept;
            uncount(result, &left);
        }
    }
    let mut by_place: HashMap<(usize, &str, usize), Vec<Value>> = HashMap::new();
    for (place, sight) in seen {
        by_place.entry(place).or_default().push(sight);
    }
    for ((at, key, member), sights) in by_place {
        let list = documents
            .get_mut(at)
            .and_then(|one| one.pointer_mut("/result"));
        let member = list.and_then(|result| result.get_mut(key)?.get_mut(member)?.as_object_mut());
        if let Some(member) = member.filter(|_| sights.len() > 1) {
            member.insert("seen-by".to_owned(), sights.into());
        }
    }
}

/// By what the same is known that another host tells: the file, what is said of it, and how many images it is about.
fn known_by(member: &Value) -> Option<String> {
    let id = member.pointer("/storage/id")?.as_str()?;
    let kind = member
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let images = member.get("images").and_then(Value::as_array);
    Some(format!("{id} {kind} {}", images.map_or(1, Vec::len)))
}

fn sight(host: &Value, member: &Value) -> Value {
    let mut sight = Map::new();
    sight.insert("host".to_owned(), host.clone());
    for key in ["path", "path-bytes"] {
        if let Some(value) = member.get(key) {
            sight.insert(key.to_owned(), value.clone());
        }
    }
    sight.into()
}

/// Takes out of a result's sums what is left out of its lists.
fn uncount(result: &mut Map<String, Value>, left: &[Value]) {
    let path = |member: &Value| member.get("path").cloned();
    for member in left {
        if let (Some(all), Some(part)) = (result.get("frees"), member.get("frees")) {
            let rest = all.as_u64().zip(part.as_u64());
            let rest = rest.map(|(all, part)| all.saturating_sub(part));
            result.insert("frees".to_owned(), json!(rest));
        }
        let Some(space) = member.get("space") else {
            continue;
        };
        if let Some(total) = result.get_mut("total") {
            less(total, space);
        }
        let trees = result.get_mut("trees").and_then(Value::as_array_mut);
        for tree in trees.into_iter().flatten() {
            if tree.get("root") == member.get("root")
                && let Some(of_tree) = tree.get_mut("space")
            {
                less(of_tree, space);
            }
        }
    }
    if left.is_empty() {
        return;
    }
    let images = result.get("images").and_then(Value::as_array);
    let roots: Option<Vec<Value>> = images.map(|all| {
        all.iter()
            .filter_map(|one| one.get("root").cloned())
            .collect()
    });
    if let (Some(roots), Some(trees)) =
        (roots, result.get_mut("trees").and_then(Value::as_array_mut))
    {
        trees.retain(|tree| tree.get("root").is_none_or(|root| roots.contains(root)));
    }
    let gone: Vec<Value> = left.iter().filter_map(path).collect();
    if let Some(savings) = result.get_mut("savings").and_then(Value::as_array_mut) {
        savings.retain(|saving| {
            let paths = saving.get("paths").and_then(Value::as_array);
            let all = paths.filter(|paths| !paths.is_empty());
            !all.is_some_and(|paths| paths.iter().all(|path| gone.contains(path)))
        });
    }
}

/// Subtracts numbers under the same keys.
fn less(all: &mut Value, part: &Value) {
    let (Some(all), Some(part)) = (all.as_object_mut(), part.as_object()) else {
        return;
    };
    for (key, value) in all {
        let rest = value.as_u64().zip(part.get(key).and_then(Value::as_u64));
        if let Some((sum, part)) = rest {
            *value = sum.saturating_sub(part).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mark::{Piece, sum_less};
    use super::*;

    fn mark(name: &str, ids: &[&str]) -> String {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let mark = Mark {
            name: name.to_owned(),
            ids,
            ..Mark::default()
        };
        format!("{MARK}{}\n", serde_json::to_string(&mark).unwrap())
    }

    #[test]
    fn what_was_printed_of_an_image_is_not_printed_again_and_named() {
        let mut printed = Printed::default();
        let none = mark("", &[]);
        let first = [
            &mark("/n/a", &["a"]),
            "a 1\na 2\n",
            &mark("/n/b", &["b"]),
            "b\n",
            &none,
            "all\n",
        ];
        assert_eq!(printed.pass("one", &first.concat()), "a 1\na 2\nb\nall\n");
        let second = [
            &mark("/m/a", &["a"]),
            "a\n",
            &mark("/m/b", &["b", "c"]),
            "b c\n",
            &none,
            "all\n",
        ];
        let told = "b c\nall\n(told above, since one sees the same storage: /m/a)\n";
        assert_eq!(printed.pass("two", &second.concat()), told);
        let third = [&mark("/k/c", &["c"]), "c\n", &mark("/k/a", &["a"]), "a\n"].concat();
        let told = "(told above, since one sees the same storage: /k/a)\n\
            (told above, since two sees the same storage: /k/c)\n";
        assert_eq!(printed.pass("three", &third), told);
        // What is no mark leaves nothing out.
        assert_eq!(printed.pass("odd", &format!("{MARK}x\nline\n")), "line\n");
        // One that names the same twice names nothing of its own twice.
        let twice = [
            mark("/a", &["a"]),
            "1\n".to_owned(),
            mark("/a", &["a"]),
            "2\n".to_owned(),
        ]
        .concat();
        assert_eq!(
            printed.pass("four", &twice),
            "(told above, since one sees the same storage: /a)\n"
        );
        let own = [
            mark("/z", &["z"]),
            "1\n".to_owned(),
            mark("/z", &["z"]),
            "2\n".to_owned(),
        ]
        .concat();
        assert_eq!(printed.pass("five", &own), "1\n2\n");
    }

    #[test]
    fn sums_are_without_what_is_left_out() {
        let image = |id: &str, bytes: u64| {
            let mark = Mark {
                name: id.to_owned(),
                ids: vec![id.to_owned()],
                ..Mark::default()
            };
            let mark = mark.counting(vec![bytes, 1]);
            format!("{MARK}{}\n{id}\n", serde_json::to_string(&mark).unwrap())
        };
        let sum = |bytes: u64, images: u64| {
            let pieces = vec![
                Piece::Size(0, bytes),
                Piece::Text(" all, ".to_owned()),
                Piece::Count(1, images, "image".to_owned()),
            ];
            let text = sum_less(&pieces, &[]);
            let mark = serde_json::to_string(&Mark::of_sum(pieces)).unwrap();
            format!("{MARK}{mark}\n{text}\n{MARK}{{}}\nend\n")
        };
        let mut printed = Printed::default();
        let one = [image("a", 1 << 20), sum(1 << 20, 1)].concat();
        assert_eq!(
            printed.pass("one", &one),
            "a\n     1 MiB all, 1 image\nend\n"
        );
        let two = [image("a", 1 << 20), image("b", 2 << 20), sum(3 << 20, 2)].concat();
        let told = printed.pass("two", &two);
        assert!(
            told.starts_with("b\n     2 MiB all, 1 image\nend\n"),
            "{told}"
        );
        // A host that counts more than it tells of.
        let odd = [image("a", u64::MAX), sum(3 << 20, 2)].concat();
        let told = printed.pass("odd", &odd);
        assert!(told.starts_with("       0 B all, 1 image\nend\n"), "{told}");
    }

    #[test]
    fn an_image_stands_in_the_document_of_the_first_host_with_all_that_see_it() {
        let image = |path: &str, root: &str, id: &str, disk: u64| json!({ "path": path, "root": root, "space": { "disk": disk }, "storage": { "id": id } });
        let own = json!({ "path": "/own", "root": "/own", "space": { "disk": 5 } });
        let document = |host: &str, at: &str| {
            let [a, b] = ["a", "b"].map(|name| format!("{at}/{name}"));
            json!({ "host": host, "result": {
                "images": [image(&a, &a, "1", 10), image(&b, &a, "2", 3), own],
                "trees": [{ "root": a, "space": { "disk": 13 } }, { "root": "/own", "space": { "disk": 5 } }],
                "total": { "disk": 18, "unread": "x" },
                "savings": [{ "paths": [b], "frees": 3 }, { "paths": ["/own"], "frees": 5 }],
            }})
        };
        let mut all = [document("one", "/n"), document("two", "/m")];
        assert!(all.iter().all(is_shared));
        join(&mut all);
        let seen = json!([{ "host": "one", "path": "/n/a" }, { "host": "two", "path": "/m/a" }]);
        assert_eq!(all[0]["result"]["images"][0]["seen-by"], seen);
        assert_eq!(all[0]["result"]["total"]["disk"], 18);
        assert!(all[0]["result"]["images"][2].get("seen-by").is_none());
        let two = &all[1]["result"];
        assert_eq!(two["images"], json!([own]));
        assert_eq!(two["total"], json!({ "disk": 5, "unread": "x" }));
        assert_eq!(
            two["trees"],
            json!([{ "root": "/own", "space": { "disk": 5 } }])
        );
        assert_eq!(two["savings"], json!([{ "paths": ["/own"], "frees": 5 }]));
    }

    #[test]
    fn what_is_told_of_one_host_alone_stays() {
        let finding = |kind: &str| json!({ "path": "/a", "kind": kind, "storage": { "id": "1" } });
        let document = |kinds: &[&str]| {
            let findings: Vec<Value> = kinds.iter().map(|kind| finding(kind)).collect();
            json!({ "host": "h", "result": { "findings": findings, "garbage": "odd" } })
        };
        let mut all = [
            document(&["dirty"]),
            document(&["dirty", "pinned"]),
            json!({ "host": "x" }),
        ];
        join(&mut all);
        assert_eq!(all[1]["result"]["findings"], json!([finding("pinned")]));
        assert!(!is_shared(&all[2]));
    }

    #[test]
    fn what_would_come_free_is_counted_once() {
        let garbage = |id: &str, images: &[&str], frees: u64| json!({ "path": "/a", "images": images, "frees": frees, "storage": { "id": id } });
        let document = |all: Vec<Value>, frees: u64| json!({ "host": "h", "result": { "garbage": all, "frees": frees } });
        let mut all = [
            document(vec![garbage("1", &["/a"], 7)], 7),
            document(
                vec![garbage("1", &["/a"], 7), garbage("1", &["/a", "/b"], 9)],
                16,
            ),
        ];
        join(&mut all);
        assert_eq!(all[1]["result"]["frees"], 9);
        assert_eq!(all[1]["result"]["garbage"].as_array().unwrap().len(), 1);
    }
}
