//! The nodes that a process of QEMU has: which file each one is, who is built on whom, which one a guest or a client
//! writes. A file is known by what it is, never by its name: names count from the folder of the process, and one file
//! may be open as several nodes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::host::{FileId, Host};

use super::qmp::{Qmp, QmpError};

/// Nodes of one process, at most.
const MAX_NODES: usize = 65_536;
/// Drivers of nodes that are a file themselves.
const STORAGE: [&str; 3] = ["file", "host_device", "host_cdrom"];

/// A node that reads an image of some format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockNode {
    /// Its node name: `disk`, `#block105`.
    pub name: String,
    /// Its driver: `qcow2`, `raw`.
    pub driver: String,
    /// The name by which QEMU opened the file; a relative one counts from the folder of the process.
    pub filename: String,
    /// Which file it is; none where it is no file, or was removed.
    pub file: Option<FileId>,
    /// The node for the file itself.
    pub storage: String,
    /// The node it is built on.
    pub backing: Option<String>,
    /// Whether it is open for reading only.
    pub read_only: bool,
    /// The disk's length in bytes.
    pub virtual_size: u64,
    /// Whether a guest, an export or a job stands directly on it, or on a filter above it.
    pub is_root: bool,
}

/// All such nodes of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    nodes: Vec<BlockNode>,
    /// The chains of nodes that guests and clients see, each from its leaf down.
    devices: HashMap<String, String>,
}

impl Graph {
    /// Asks a process for it.
    ///
    /// # Errors
    /// [`QmpError`], also where an answer lacks what it must have.
    pub fn ask(qmp: &mut Qmp, host: &dyn Host, pid: u32) -> Result<Self, QmpError> {
        let named = qmp.execute("query-named-block-nodes", json!({ "flat": true }))?;
        let edges = qmp.execute("x-debug-query-block-graph", json!({}))?;
        let devices = match qmp.execute("query-block", json!({})) {
            Ok(devices) => devices,
            // A storage daemon has no devices.
            Err(QmpError::NoCommand(_)) => json!([]),
            Err(error) => return Err(error),
        };
        let folder = PathBuf::from(format!("/proc/{pid}/cwd"));
        let file = |name: &str| host.stat(&folder.join(name)).ok().map(|stat| stat.id);
        Self::read(&named, &edges, &devices, &file)
    }

    /// The same from what it answered; `file` tells which file a name is.
    fn read(
        named: &Value,
        edges: &Value,
        devices: &Value,
        file: &dyn Fn(&str) -> Option<FileId>,
    ) -> Result<Self, QmpError> {
        let links = Links::read(edges)?;
        let list = named
            .as_array()
            .ok_or_else(|| QmpError::lacks("the list of nodes"))?;
        if list.len() > MAX_NODES {
            return Err(QmpError::Malformed(format!("{} nodes", list.len())));
        }
        let drivers: HashMap<&str, &Value> = list
            .iter()
            .filter_map(|node| Some((node.get("node-name")?.as_str()?, node)))
            .collect();
        let text = |node: &Value, key: &str| node.get(key)?.as_str().map(str::to_owned);
        let mut nodes = Vec::new();
        for (name, node) in &drivers {
            let driver = text(node, "drv").unwrap_or_default();
            let Some(storage) = links.child(name, "file") else {
                continue;
            };
            let below = drivers.get(storage.as_str());
            let is_file = below.is_some_and(|below| {
                text(below, "drv").is_some_and(|driver| STORAGE.contains(&driver.as_str()))
            });
            if !is_file {
                continue;
            }
            let filename = below
                .and_then(|below| text(below, "file"))
                .unwrap_or_default();
            nodes.push(BlockNode {
                name: (*name).to_owned(),
                driver,
                file: file(&filename),
                filename,
                storage,
                backing: links.child(name, "backing"),
                read_only: node.get("ro").and_then(Value::as_bool).unwrap_or(true),
                virtual_size: node
                    .get("image")
                    .and_then(|image| image.get("virtual-size"))
                    .and_then(Value::as_u64)
                    .unwrap_or(0),
                is_root: links.is_root(name),
            });
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let devices = devices
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|device| {
                let name = device.get("inserted")?.get("node-name")?.as_str()?;
                let device_name = ["qdev", "device"].iter().find_map(|key| {
                    let text = device.get(*key)?.as_str()?;
                    (!text.is_empty()).then(|| text.to_owned())
                });
                Some((name.to_owned(), device_name?))
            });
        Ok(Self {
            nodes,
            devices: devices.collect(),
        })
    }

    /// All nodes, by their names.
    #[must_use]
    pub fn nodes(&self) -> &[BlockNode] {
        &self.nodes
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&BlockNode> {
        let at = self
            .nodes
            .binary_search_by(|node| node.name.as_str().cmp(name));
        at.ok().and_then(|at| self.nodes.get(at))
    }

    /// The nodes that are this file.
    pub fn of_file(&self, file: FileId) -> impl Iterator<Item = &BlockNode> {
        self.nodes
            .iter()
            .filter(move |node| node.file == Some(file))
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
        self.nodes
            .iter()
            .filter(|node| node.is_root)
            .filter(has_it)
            .collect()
    }

    /// What the machine calls the device that stands on this node: `virtio0`, `/machine/peripheral/disk0/...`.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&str> {
        self.devices.get(name).map(String::as_str)
    }
}

/// Who is whose child, by names of nodes.
struct Links {
    children: HashMap<(String, String), String>,
    roots: HashSet<String>,
}

impl Links {
    fn read(graph: &Value) -> Result<Self, QmpError> {
        let list = |key: &str| {
            let list = graph.get(key).and_then(Value::as_array);
            list.ok_or_else(|| QmpError::lacks("the graph of nodes"))
        };
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let mut names = HashMap::new();
        let mut drivers = HashSet::new();
        for node in list("nodes")? {
            let (Some(id), Some(name)) = (number(node, "id"), node.get("name")) else {
                continue;
            };
            names.insert(id, name.as_str().unwrap_or_default().to_owned());
            if node.get("type").and_then(Value::as_str) == Some("block-driver") {
                drivers.insert(id);
            }
        }
        let mut children = HashMap::new();
        let mut roots = HashSet::new();
        for edge in list("edges")? {
            let (Some(parent), Some(child)) = (number(edge, "parent"), number(edge, "child"))
            else {
                continue;
            };
            let Some(child) = names.get(&child) else {
                continue;
            };
            if !drivers.contains(&parent) {
                roots.insert(child.clone());
                continue;
            }
            let role = edge.get("name").and_then(Value::as_str).unwrap_or_default();
            let parent = names.get(&parent).cloned().unwrap_or_default();
            children.insert((parent, role.to_owned()), child.clone());
        }
        let mut links = Self { children, roots };
        links.see_through_filters();
        Ok(links)
    }

    /// Filters (throttling, copy-on-read, those of jobs) stand between who reads and what is read: whoever stands on
    /// one stands on what is below it.
    fn see_through_filters(&mut self) {
        let is_format = |links: &Self, name: &str| links.child(name, "backing").is_some();
        let mut looked: Vec<String> = self.roots.iter().cloned().collect();
        while let Some(name) = looked.pop() {
            let below = match self.child(&name, "file") {
                // What has both is a format; what has only a file may be either, and its file is no format then.
                Some(file) if !is_format(self, &name) => Some(file),
                Some(_) => None,
                // The filters of jobs have what they filter as their backing node.
                None => self.child(&name, "backing"),
            };
            if let Some(below) = below
                && self.roots.insert(below.clone())
            {
                looked.push(below);
            }
        }
    }

    fn child(&self, parent: &str, role: &str) -> Option<String> {
        self.children
            .get(&(parent.to_owned(), role.to_owned()))
            .cloned()
    }

    fn is_root(&self, name: &str) -> bool {
        self.roots.contains(name)
    }
}
