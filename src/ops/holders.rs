//! Who uses files of shared storage on this machine: what it says to another one that is going to change them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fleet::{PeerFacts, PeerFile, PeerMachine, PeerQuery, PeerReader};
use crate::forest::Node;
use crate::host::{Access, FileKind, Holder, Host, LockProbe, LockSet, Stat, printable};
use crate::machines::{MachineState, Part};
use crate::system::{Shares, machine_identity};

use super::framework::context::Context;
use super::framework::dependants::dependants_of;
use super::framework::format::shown;

/// Files that are looked at for one question.
const MOST_FILES: usize = 4096;
/// Images that read one file and are told of; with more, that is said.
const MOST_READERS: usize = 1024;

/// Tells who uses these files here. What is not on storage that this machine shares is not told of, and nothing of the
/// files but who uses them is.
#[must_use]
pub fn holders_here(
    host: &Arc<dyn Host>,
    state_dir: Option<PathBuf>,
    query: &PeerQuery,
) -> PeerFacts {
    let mut facts = PeerFacts::default();
    if !query.machine.is_empty() && query.machine == machine_identity() {
        facts.is_asker = true;
        return facts;
    }
    let shares = Shares::here();
    let seen = seen(&**host, &shares, &query.files);
    if seen.is_empty() {
        return facts;
    }
    if rustix::process::geteuid().as_raw() != 0 {
        let text = "processes of other users cannot be seen there";
        facts.complaints.push(text.to_owned());
    }
    let places: BTreeSet<PathBuf> = seen.iter().map(|(_, place, _)| place.clone()).collect();
    let places: Vec<PathBuf> = places.into_iter().collect();
    let looked = match Context::around(Arc::clone(host), state_dir, &places, &[]) {
        Ok(looked) => looked,
        Err((path, error)) => {
            let text = format!("{} cannot be looked at: {error}", shown(&path));
            facts.complaints.push(text);
            return facts;
        }
    };
    facts.complaints.extend(looked.complaints);
    let mut context = looked.context;
    context.ask_machines();
    let unasked = context.forest.machines().unasked();
    facts.complaints.extend(
        unasked
            .iter()
            .map(|one| format!("which machines use these images could not be asked: {one}")),
    );
    let ids: Vec<_> = seen.iter().map(|(_, _, stat)| stat.id).collect();
    let mut held = host.holders(&ids);
    for (name, place, stat) in seen {
        let mut holders = held.remove(&stat.id).unwrap_or_default();
        holders.extend(unseen(&**host, &shares, &place, &holders));
        let node = context.forest.by_file(stat.id);
        let mut readers = node.map_or_else(Vec::new, |node| readers(&context, &shares, node));
        if readers.len() > MOST_READERS {
            readers.truncate(MOST_READERS);
            let text = format!(
                "more images are built on {} than are told of",
                shown(&place)
            );
            facts.complaints.push(text);
        }
        facts.files.push(PeerFile {
            name,
            holders,
            machines: node.map_or_else(Vec::new, |node| machines(&context, node)),
            readers,
        });
    }
    facts
}

/// The files that are here, each by every mount that shows it.
fn seen(host: &dyn Host, shares: &Shares, names: &[OsString]) -> Vec<(OsString, PathBuf, Stat)> {
    let mut seen = Vec::new();
    for name in names.iter().take(MOST_FILES) {
        for place in shares.places(Path::new(name)) {
            if let Ok(stat) = host.stat_link(&place)
                && matches!(stat.kind, FileKind::Regular | FileKind::BlockDevice)
            {
                seen.push((name.clone(), place, stat));
            }
        }
    }
    seen
}

/// Somebody here who locks the file and cannot be seen. Where locks pass from machine to machine, whoever asks sees
/// them, and they may be theirs.
fn unseen(host: &dyn Host, shares: &Shares, place: &Path, seen: &[Holder]) -> Option<Holder> {
    let is_told = seen.iter().any(|holder| holder.locks);
    if is_told || shares.lockless(place).is_none() {
        return None;
    }
    let file = host.open(place, Access::Read).ok()?;
    match file.probe_lock(LockSet::ReadWrite).ok()? {
        LockProbe::Busy(conflict) => Some(Holder::unseen(conflict.writer)),
        LockProbe::Free | LockProbe::Unsupported => None,
    }
}

fn readers(context: &Context, shares: &Shares, node: &Node) -> Vec<PeerReader> {
    let host = &*context.host;
    let found = dependants_of(host, &context.forest, node);
    let nodes = found
        .iter()
        .filter_map(|reader| context.forest.get(reader.node));
    let told = |node: &Node| {
        let place = host.canonical(&node.path).ok();
        PeerReader {
            path: node.path.clone().into(),
            name: place
                .and_then(|place| shares.name(&place))
                .map(OsString::from),
        }
    };
    nodes.map(told).collect()
}

fn machines(context: &Context, node: &Node) -> Vec<PeerMachine> {
    let mut found = Vec::new();
    for used in context.forest.uses(node) {
        let writes = match used.part {
            Part::Disk(disk) => !disk.read_only,
            Part::Pinned(..) | Part::NeededBy(_) => false,
            Part::OwnedBy(_) => continue,
        };
        let machine = PeerMachine {
            name: printable(&used.machine.name),
            product: used.machine.product.to_string(),
            runs: used.machine.state == MachineState::Running,
            is_saved: used.machine.state == MachineState::Saved,
            writes,
        };
        if !found.contains(&machine) {
            found.push(machine);
        }
    }
    found
}
