//! The nodes that a process of QEMU has: which file each one is, who is built on whom, which one a guest or a client
//! writes. A file is known by what it is, never by its name: names count from the folder of the process, and one file
//! may be open as several nodes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::host::{FileId, Host};

use super::qmp::{Qmp, QmpError};
use super::{member, named_nodes};

/// Nodes of one process, at most.
const MAX_NODES: usize = 65_536;
/// Drivers of nodes that are a file themselves.
const STORAGE: [&str; 3] = ["file", "host_device", "host_cdrom"];

/// A node that reads an image, of whichever format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockNode {
    /// Its node name: `disk`, `#block105`.
    pub name: String,
    /// Its driver: `qcow2`, `raw`.
    pub driver: String,
    /// Which file it is; none where it was removed.
    pub file: Option<FileId>,
    /// The node for the file itself.
    pub storage: String,
    /// The node it is built on, whichever filters are between.
    pub backing: Option<String>,
    /// Whether it is open for reading only.
    pub read_only: bool,
    /// Whether a guest, an export or a job stands directly on it, or on a filter above it.
    pub is_root: bool,
}

/// All such nodes of a process, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph(Vec<BlockNode>);

impl Graph {
    /// Asks a process for it.
    ///
    /// # Errors
    /// [`QmpError`], also where an answer lacks what it must have.
    pub fn ask(qmp: &mut Qmp, host: &dyn Host, pid: u32) -> Result<Self, QmpError> {
        let named = named_nodes(qmp)?;
        let edges = qmp.execute("x-debug-query-block-graph", json!({}))?;
        let folder = PathBuf::from(format!("/proc/{pid}/cwd"));
        let file = |name: &str| host.stat(&folder.join(name)).ok().map(|stat| stat.id);
        Self::read(&named, &edges, &file)
    }

    /// The same from what it answered; `file` tells which file a name is.
    fn read(
        named: &[Value],
        edges: &Value,
        file: &dyn Fn(&str) -> Option<FileId>,
    ) -> Result<Self, QmpError> {
        if named.len() > MAX_NODES {
            return Err(QmpError::Malformed(format!("{} nodes", named.len())));
        }
        let storage: HashMap<&str, &str> = named
            .iter()
            .filter(|node| STORAGE.contains(&member(node, "drv")))
            .map(|node| (member(node, "node-name"), member(node, "file")))
            .collect();
        let links = Links::read(edges, &storage)?;
        let mut nodes = Vec::new();
        for node in named {
            let name = member(node, "node-name");
            let Some(storage_node) = links.storage_of(name) else {
                continue;
            };
            nodes.push(BlockNode {
                name: name.to_owned(),
                driver: member(node, "drv").to_owned(),
                file: storage.get(storage_node).and_then(|name| file(name)),
                storage: storage_node.to_owned(),
                backing: links.backing_of(name).map(str::to_owned),
                read_only: node.get("ro").and_then(Value::as_bool).unwrap_or(true),
                is_root: links.roots.contains(name),
            });
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self(nodes))
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&BlockNode> {
        let at = self.0.binary_search_by(|node| node.name.as_str().cmp(name));
        at.ok().and_then(|at| self.0.get(at))
    }

    /// The nodes that are this file.
    pub fn of_file(&self, file: FileId) -> impl Iterator<Item = &BlockNode> {
        self.0.iter().filter(move |node| node.file == Some(file))
    }

    /// The nodes from one down to the last it is built on.
    #[must_use]
    pub fn chain(&self, name: &str) -> Vec<&BlockNode> {
        let mut chain = Vec::new();
        let mut seen = HashSet::new();
        let mut at = self.node(name);
        while let Some(node) = at.filter(|node| seen.insert(node.name.as_str())) {
            chain.push(node);
            at = node.backing.as_ref().and_then(|name| self.node(name));
        }
        chain
    }

    /// The uppermost nodes, on which guests and clients stand, whose chain has this file.
    #[must_use]
    pub fn roots_over(&self, file: FileId) -> Vec<&BlockNode> {
        let has_it = |root: &&BlockNode| {
            let chain = self.chain(&root.name);
            chain.iter().any(|node| node.file == Some(file))
        };
        let roots = self.0.iter().filter(|node| node.is_root);
        roots.filter(has_it).collect()
    }
}

/// Who is whose child, by names of nodes.
struct Links<'v> {
    /// By the parent's name, and what the child is to it.
    children: HashMap<(&'v str, &'v str), &'v str>,
    /// Nodes that are a file themselves.
    storage: HashSet<&'v str>,
    /// Nodes of images on which somebody stands who is no node.
    roots: HashSet<&'v str>,
}

impl<'v> Links<'v> {
    fn read(graph: &'v Value, storage: &HashMap<&'v str, &'v str>) -> Result<Self, QmpError> {
        let list = |key: &str| {
            let list = graph.get(key).and_then(Value::as_array);
            list.ok_or_else(|| QmpError::lacks("the graph of nodes"))
        };
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let nodes = list("nodes")?.iter();
        // Who is no node has no name that is one.
        let names: HashMap<u64, (&str, bool)> = nodes
            .filter_map(|node| {
                let is_node = member(node, "type") == "block-driver";
                Some((number(node, "id")?, (member(node, "name"), is_node)))
            })
            .collect();
        let mut links = Self {
            children: HashMap::new(),
            storage: storage.keys().copied().collect(),
            roots: HashSet::new(),
        };
        let mut stood_on = Vec::new();
        for edge in list("edges")? {
            let end = |key| number(edge, key).and_then(|id| names.get(&id));
            match (end("parent"), end("child")) {
                (Some((parent, true)), Some((child, _))) => {
                    links.children.insert((parent, member(edge, "name")), child);
                }
                (Some((_, false)), Some((child, _))) => stood_on.push(*child),
                _ => {}
            }
        }
        let roots = stood_on
            .into_iter()
            .filter_map(|name| links.image_below(name));
        links.roots = roots.collect();
        Ok(links)
    }

    fn child(&self, parent: &str, role: &str) -> Option<&'v str> {
        self.children.get(&(parent, role)).copied()
    }

    /// The node for the file of an image's node; none of a node of another kind.
    fn storage_of(&self, name: &str) -> Option<&'v str> {
        let below = self.child(name, "file")?;
        self.storage.contains(below).then_some(below)
    }

    fn backing_of(&self, name: &str) -> Option<&'v str> {
        self.image_below(self.child(name, "backing")?)
    }

    /// The node itself, or the one that it filters: throttling, copy-on-read, what jobs put between.
    fn image_below(&self, name: &'v str) -> Option<&'v str> {
        let mut at = Some(name);
        // No chain of filters is longer than there are nodes.
        for _ in 0..=self.children.len() {
            match at {
                Some(name) if self.storage_of(name).is_none() => {
                    at = self
                        .child(name, "file")
                        .or_else(|| self.child(name, "backing"));
                }
                found => return found,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 3] = ["base", "mid", "leaf"];

    /// `leaf` on `mid` on `base`; a job filters `leaf`, on which a guest stands, and another one `mid` below it.
    fn graph(edges: Value) -> Result<Graph, QmpError> {
        let mut named = vec![
            json!({ "node-name": "mirror_top", "drv": "mirror_top", "ro": false }),
            json!({ "node-name": "commit_top", "drv": "commit_top", "ro": true }),
        ];
        for file in FILES {
            let node = json!({ "node-name": file, "drv": "qcow2", "ro": file != "leaf" });
            let storage =
                json!({ "node-name": format!("{file}-file"), "drv": "file", "file": file });
            named.extend([node, storage]);
        }
        let number = |name: &str| FILES.iter().position(|one| *one == name);
        let file = |name: &str| {
            let inode = u64::try_from(number(name)?).ok()?;
            Some(FileId { device: 1, inode })
        };
        Graph::read(&named, &edges, &file)
    }

    fn edges() -> Value {
        let names = [
            "guest",
            "mirror_top",
            "leaf",
            "leaf-file",
            "commit_top",
            "mid",
            "mid-file",
            "base",
            "base-file",
        ];
        let nodes: Vec<Value> = names
            .iter()
            .enumerate()
            .map(|(id, name)| {
                let kind = if id == 0 {
                    "block-backend"
                } else {
                    "block-driver"
                };
                json!({ "id": id, "name": name, "type": kind })
            })
            .collect();
        let edge = |parent: u64, child: u64, name: &str| json!({ "parent": parent, "child": child, "name": name });
        let edges = [
            edge(0, 1, "root"),
            edge(1, 2, "backing"),
            edge(2, 3, "file"),
            edge(2, 4, "backing"),
            edge(4, 5, "backing"),
            edge(5, 6, "file"),
            edge(5, 7, "backing"),
            edge(7, 8, "file"),
        ];
        json!({ "nodes": nodes, "edges": edges })
    }

    #[test]
    fn a_chain_is_seen_through_what_jobs_put_between() {
        let graph = graph(edges()).unwrap();
        let names =
            |nodes: Vec<&BlockNode>| nodes.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(graph.chain("leaf")), ["leaf", "mid", "base"]);
        let base = FileId {
            device: 1,
            inode: 0,
        };
        assert_eq!(names(graph.roots_over(base)), ["leaf"]);
        let mid = graph.node("mid").unwrap();
        assert!(mid.read_only && !mid.is_root && mid.storage == "mid-file");
        assert_eq!(names(graph.of_file(base).collect()), ["base"]);
        // What filters an image is none itself.
        assert_eq!(graph.node("mirror_top"), None);
    }

    #[test]
    fn a_circle_ends_and_a_graph_that_is_none_is_an_error() {
        let mut looped = edges();
        let edge = json!({ "parent": 7, "child": 2, "name": "backing" });
        looped["edges"].as_array_mut().unwrap().push(edge);
        assert_eq!(graph(looped).unwrap().chain("leaf").len(), 3);
        let mut filters = edges();
        filters["edges"][1]["child"] = json!(1);
        assert!(
            graph(filters)
                .unwrap()
                .roots_over(FileId {
                    device: 1,
                    inode: 0
                })
                .is_empty()
        );
        assert!(graph(json!({ "nodes": [] })).is_err());
    }
}
