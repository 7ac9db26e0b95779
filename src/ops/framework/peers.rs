//! Other machines that see the files of a plan: storage that is exported to several. What they use nobody here sees,
//! so that they are asked: when it is planned, and once more by [`look_again`] under its locks. What is said there is
//! believed of that machine alone, and at worst keeps something from being done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use crate::fleet::{PeerFacts, PeerFile, PeerQuery, Peers};
use crate::host::{FileId, printable};
use crate::system::{Shares, machine_identity};
use crate::units::count;

use super::dependants;
use super::error::Error;
use super::format::{listed_names, processes, shown};
use super::note::NoteKind;
use super::on_machines::OnMachines;
use super::plan::{EffectKind, Plan};
use super::refusal::{RefusalKind, WayOut};
use super::request::Request;

/// Bytes of the names that are asked about at a time.
const MOST_BYTES: usize = 96 << 10;
/// How often is asked: of files beyond that it is said that nobody was asked.
const MOST_QUERIES: usize = 8;
/// Machines that did not answer, and things they could not look at, that are told one by one.
const MOST_TOLD: usize = 3;

/// A file of the plan that other machines may see.
#[derive(Debug)]
struct SharedFile {
    /// Its name here.
    path: PathBuf,
    /// Whether the plan touches it, or an image that it reads.
    is_touched: bool,
}

/// What other machines may see of a plan.
#[derive(Debug)]
struct Shared {
    shares: Shares,
    /// By the names that the storage has for them.
    files: BTreeMap<PathBuf, SharedFile>,
    touched: HashMap<FileId, PathBuf>,
}

/// What is made of something that a machine says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Weight {
    Refused(RefusalKind),
    /// A machine that is defined there is harmed by what happens to this file.
    Harm(PathBuf),
    Warning(NoteKind),
}

#[derive(Debug, Clone)]
struct Finding {
    weight: Weight,
    /// What stays the same when it is asked again.
    key: String,
    text: String,
}

/// Asks who uses the plan's files elsewhere, and puts that into the plan. One that is refused already asks nobody.
pub(in crate::ops) fn judge(plan: &mut Plan) {
    if plan.told_of_peers.is_some() || !plan.refusals.is_empty() {
        return;
    }
    let Some(shared) = Shared::of(plan) else {
        return;
    };
    let found = shared.ask(plan);
    tell_locks(plan, &shared);
    plan.told_of_peers = Some(found.iter().map(|one| one.key.clone()).collect());
    let mut harmed = BTreeSet::new();
    for Finding { weight, text, .. } in found {
        if text.is_empty() {
            continue;
        }
        match weight {
            Weight::Refused(kind) => plan.refuse(kind, text),
            Weight::Warning(kind) => plan.warn(kind, text),
            Weight::Harm(path) => match plan.on_machines {
                OnMachines::Refuse => {
                    let way = WayOut {
                        label: "go on all the same: it asks for a number".to_owned(),
                        request: Request::despite_machines(plan.asked.clone()),
                    };
                    plan.refuse_but(RefusalKind::Machine, text, vec![way]);
                }
                OnMachines::Count => {
                    harmed.insert(path);
                    plan.warn(NoteKind::Machine, text);
                }
                OnMachines::Warn => plan.warn(NoteKind::Machine, text),
            },
        }
    }
    plan.machines_harmed += u64::try_from(harmed.len()).unwrap_or(u64::MAX);
}

/// Asks again, with all locks held.
///
/// # Errors
/// [`Error::InUse`] and [`Error::Stale`] tell of what the plan did not know.
pub(in crate::ops) fn look_again(plan: &Plan) -> Result<(), Error> {
    if plan.context().peers.is_nobody() {
        return Ok(());
    }
    let Some(shared) = Shared::of(plan) else {
        return Ok(());
    };
    for Finding { weight, key, text } in shared.ask(plan) {
        let told = plan.told_of_peers.as_ref();
        if told.is_some_and(|told| told.contains(&key)) {
            continue;
        }
        match weight {
            Weight::Refused(RefusalKind::InUse) => return Err(Error::in_use(text)),
            // A part of a plan knows nothing of what its whole was told.
            Weight::Warning(_) if told.is_none() => {}
            Weight::Refused(_) | Weight::Harm(_) | Weight::Warning(_) => {
                let text = if text.is_empty() { key } else { text };
                let text = format!("{text}. The plan did not know this: plan again");
                return Err(Error::stale(text));
            }
        }
    }
    Ok(())
}

/// Says whose locks are not seen.
fn tell_locks(plan: &mut Plan, shared: &Shared) {
    let mut whys: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    for file in shared.files.values().filter(|file| file.is_touched) {
        let place = plan.host().canonical(&file.path).ok();
        if let Some(why) = place.and_then(|place| shared.shares.lockless(&place)) {
            whys.entry(why).or_default().push(file.path.clone());
        }
    }
    for (why, files) in whys {
        let text = format!(
            "locks that other machines take on {} cannot be seen from here: {why}",
            listed_names(&files)
        );
        match &plan.context().peers {
            Peers::Nobody => plan.warn(
                NoteKind::Unseen,
                format!("{text}; hosts of the configuration would be asked who uses them"),
            ),
            Peers::Hosts(_) | Peers::Person(_) => {
                plan.note(
                    NoteKind::InUse,
                    format!("{text}; the other hosts were asked who uses them"),
                );
            }
        }
    }
}

impl Shared {
    /// None where no file of the plan is on storage that others may see.
    fn of(plan: &Plan) -> Option<Self> {
        let shares = Shares::here();
        if shares.is_empty() {
            return None;
        }
        let touched = dependants::touched(plan);
        let mut files = BTreeMap::new();
        let read = plan.preconditions.paths().map(|path| (path, false));
        let all = touched.values().map(|path| (path.as_path(), true));
        for (path, is_touched) in read.chain(all) {
            let place = plan.host().canonical(path).ok();
            if let Some(name) = place.and_then(|place| shares.name(&place)) {
                let path = path.to_path_buf();
                files.insert(name, SharedFile { path, is_touched });
            }
        }
        (!files.is_empty()).then_some(Self {
            shares,
            files,
            touched,
        })
    }

    /// Asks the other machines about all of the files.
    fn ask(&self, plan: &Plan) -> Vec<Finding> {
        let peers = &plan.context().peers;
        if peers.is_nobody() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut away: BTreeMap<String, String> = BTreeMap::new();
        let mut queries = self.queries();
        let rest = queries.split_off(queries.len().min(MOST_QUERIES));
        for query in &queries {
            for answer in peers.ask(query, &AtomicUsize::new(0)) {
                let host = printable(&answer.host);
                match answer.told {
                    Err(why) => {
                        away.entry(host).or_insert_with(|| printable(&why));
                    }
                    Ok(facts) if facts.is_asker => {}
                    Ok(facts) => self.take(plan, &host, facts, &mut found),
                }
            }
        }
        self.tell_away(away, &mut found);
        let unasked: usize = rest.iter().map(|query| query.files.len()).sum();
        if unasked > 0 {
            let text = format!(
                "who uses {} elsewhere was not asked: the plan has too many",
                count(unasked, "more file")
            );
            found.push(Finding {
                weight: Weight::Warning(NoteKind::Unseen),
                key: text.clone(),
                text,
            });
        }
        found
    }

    fn queries(&self) -> Vec<PeerQuery> {
        let machine = machine_identity();
        let mut queries: Vec<PeerQuery> = Vec::new();
        let mut room = 0;
        for name in self.files.keys() {
            let name = OsString::from(name);
            let bytes = name.as_bytes().len() + 1;
            match queries.last_mut().filter(|_| bytes <= room) {
                Some(last) => last.files.push(name),
                None => {
                    room = MOST_BYTES;
                    queries.push(PeerQuery {
                        machine: machine.clone(),
                        files: vec![name],
                    });
                }
            }
            room = room.saturating_sub(bytes);
        }
        queries
    }

    fn tell_away(&self, away: BTreeMap<String, String>, found: &mut Vec<Finding>) {
        let files: Vec<PathBuf> = self.files.values().map(|file| file.path.clone()).collect();
        let files = listed_names(&files);
        let more = away.len().saturating_sub(MOST_TOLD);
        for (at, (host, why)) in away.into_iter().enumerate() {
            let key = format!("{host} was not asked");
            let text = match at {
                _ if at < MOST_TOLD => {
                    format!("whether {host} uses {files} is not known: {why}")
                }
                _ if at == MOST_TOLD => format!(
                    "nor is it known of {}",
                    count(more, "more host that did not answer")
                ),
                // It is among these.
                _ => String::new(),
            };
            let weight = Weight::Warning(NoteKind::Unseen);
            found.push(Finding { weight, key, text });
        }
    }

    /// What one machine says.
    fn take(&self, plan: &Plan, host: &str, facts: PeerFacts, found: &mut Vec<Finding>) {
        for complaint in facts.complaints.iter().take(MOST_TOLD) {
            let text = format!("{host}: {}", printable(complaint));
            found.push(Finding {
                weight: Weight::Warning(NoteKind::Unseen),
                key: text.clone(),
                text,
            });
        }
        for file in facts.files {
            // What nobody asked about is nobody's.
            if let Some(known) = self.files.get(Path::new(&file.name)) {
                self.take_file(plan, host, known, &file, found);
            }
        }
    }

    fn take_file(
        &self,
        plan: &Plan,
        host: &str,
        known: &SharedFile,
        file: &PeerFile,
        found: &mut Vec<Finding>,
    ) {
        let path = shown(&known.path);
        let mut add = |weight: Weight, text: String| {
            let key = text.clone();
            found.push(Finding { weight, key, text });
        };
        let writes = file.holders.iter().any(|holder| holder.writes);
        let locks = file.holders.iter().any(|holder| holder.locks);
        let who = processes(&file.holders);
        if writes || locks && known.is_touched {
            add(
                Weight::Refused(RefusalKind::InUse),
                format!("{path} is in use on {host} by {who}: shut that down first"),
            );
        } else if !file.holders.is_empty() && known.is_touched {
            add(
                Weight::Warning(NoteKind::InUse),
                format!("{path} is open on {host} in {who}"),
            );
        }
        for machine in &file.machines {
            let who = format!(
                "the machine {} ({}) on {host}",
                printable(&machine.name),
                printable(&machine.product)
            );
            if machine.runs && (machine.writes || known.is_touched) {
                add(
                    Weight::Refused(RefusalKind::InUse),
                    format!("{path} is used by {who}: shut it down first"),
                );
            } else if is_harmed(plan, &known.path) || machine.is_saved && known.is_touched {
                add(
                    Weight::Harm(known.path.clone()),
                    format!("{path} is a disk of {who}, which needs it as it is"),
                );
            }
        }
        for reader in file.readers.iter().filter(|_| known.is_touched) {
            if !self.knows(plan, reader.name.as_deref().map(Path::new)) {
                let reader = printable(&reader.path);
                add(
                    Weight::Refused(RefusalKind::HasDependants),
                    format!("{host} has {reader}, which is built on {path} and is not known here"),
                );
            }
        }
    }

    /// Whether the plan knows of an image that another machine has by this name.
    fn knows(&self, plan: &Plan, name: Option<&Path>) -> bool {
        let Some(name) = name else {
            return false;
        };
        if self.files.contains_key(name) {
            return true;
        }
        let places = self.shares.places(name);
        let mut files = places
            .iter()
            .filter_map(|place| plan.host().stat(place).ok());
        files.any(|stat| {
            self.touched.contains_key(&stat.id) || plan.context().forest.by_file(stat.id).is_some()
        })
    }
}

/// Whether a machine that is off finds another disk than it left, or none.
fn is_harmed(plan: &Plan, path: &Path) -> bool {
    let mut effects = plan.effects.iter().filter(|effect| effect.path == path);
    effects.any(|effect| {
        let shows_other = matches!(
            effect.kind,
            EffectKind::Writes | EffectKind::Grows | EffectKind::Breaks
        );
        effect.kind.leaves() || shows_other
    })
}
