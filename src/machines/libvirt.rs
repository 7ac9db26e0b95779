//! libvirt: the system's connection, and the sessions of people. Its service is asked through `virsh` where there
//! is one that listens; else the files are read that it keeps its definitions in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::host::printable;
use crate::units::count;

use super::domain_xml::{self, Domain, Source};
use super::found::Found;
use super::machine::{Machine, MachineState};
use super::places::{Home, Places};
use super::text_file;
use super::virsh::{Answer, Program, Rights, Virsh, word};

/// What the services listen on: first those for reading only.
const SOCKETS: [&str; 4] = [
    "libvirt-sock-ro",
    "virtqemud-sock-ro",
    "libvirt-sock",
    "virtqemud-sock",
];

/// Where a connection's definitions are.
struct Connection {
    /// What libvirt calls it; none where only files can be read.
    uri: Option<String>,
    /// The folder of its sockets.
    sockets: Option<PathBuf>,
    /// What it defines.
    domains: PathBuf,
    /// What it knows besides: snapshots, checkpoints, saved memory.
    state: PathBuf,
    /// Its storage pools.
    pools: PathBuf,
}

/// The system's own connection.
pub(super) fn system(product: &'static str, places: &Places, found: &mut Found) {
    let sockets = places.system("run/libvirt");
    let connection = Connection {
        uri: Some(uri("system", &sockets, places)),
        sockets: Some(sockets),
        domains: places.system("etc/libvirt/qemu"),
        state: places.system("var/lib/libvirt/qemu"),
        pools: places.system("etc/libvirt/storage"),
    };
    connection.read(product, places, found);
}

/// The sessions of people: of others than oneself the files.
pub(super) fn session(product: &'static str, places: &Places, found: &mut Found) {
    for home in &places.homes {
        let sockets = home.runtime.as_ref().map(|dir| dir.join("libvirt"));
        let uri = sockets.as_ref().map(|dir| uri("session", dir, places));
        session_at(home.config.clone(), sockets, uri).read(product, places, found);
    }
}

/// GNOME Boxes as a Flatpak, whose session has folders of its own. Any other uses the person's.
pub(super) fn boxes(product: &'static str, places: &Places, found: &mut Found) {
    for Home { dir, .. } in &places.homes {
        let config = dir.join(".var/app/org.gnome.Boxes/config");
        session_at(config, None, None).read(product, places, found);
    }
}

/// What libvirt calls a connection of this machine: as usual, or as `LIBVIRT_DEFAULT_URI` does where the service listens
/// at another socket than the usual ones. That of another machine is about other files.
fn uri(name: &str, sockets: &Path, places: &Places) -> String {
    let usual = format!("qemu:///{name}");
    let elsewhere = format!("qemu+unix:///{name}?");
    match &places.default_uri {
        Some(named) if named.starts_with(&elsewhere) && !is_listening(sockets, places) => {
            named.clone()
        }
        _ => usual,
    }
}

/// Whether a service listens at a socket in this folder.
fn is_listening(sockets: &Path, places: &Places) -> bool {
    SOCKETS
        .iter()
        .any(|name| places.host.stat(&sockets.join(name)).is_ok())
}

fn session_at(config: PathBuf, sockets: Option<PathBuf>, uri: Option<String>) -> Connection {
    Connection {
        uri,
        sockets,
        domains: config.join("libvirt/qemu"),
        state: config.join("libvirt/qemu"),
        pools: config.join("libvirt/storage"),
    }
}

impl Connection {
    fn read(&self, product: &'static str, places: &Places, found: &mut Found) {
        let why = match self
            .listens(places)
            .then(|| self.ask(product, places, found))
        {
            Some(Ok(())) => return,
            Some(Err(why)) => Some(why),
            None => None,
        };
        self.read_files(product, places, found, why);
    }

    /// Whether a service listens.
    fn listens(&self, places: &Places) -> bool {
        let (Some(dir), Some(uri)) = (&self.sockets, &self.uri) else {
            return false;
        };
        uri.starts_with("qemu+unix:") || is_listening(dir, places)
    }

    /// Asks the service.
    fn ask(&self, product: &'static str, places: &Places, found: &mut Found) -> Result<(), String> {
        let uri = self.uri.as_deref().unwrap_or_default();
        let program = Program::at(places)
            .ok_or_else(|| "its service runs, and virsh is not installed".to_owned())?;
        let mut virsh = Virsh::start(&program, uri, Rights::Read, places.patience)?;
        let known = Known::ask(&mut virsh)?;
        let domains = known.domains(&mut virsh)?;
        // Those that were undefined meanwhile are no machines any more.
        let left = ids(&virsh.ask_one("list --uuid --all")?);
        let domains = domains.into_iter().filter(|asked| left.contains(&asked.id));
        let domains: Vec<Asked> = domains.collect();
        let volumes = Volumes::ask(&mut virsh, &domains)?;
        let find = |pool: &str, volume: &str| volumes.find(pool, volume);
        for asked in domains {
            match asked.domain {
                Ok(domain) => {
                    let (mut machine, lost) = domain.machine(product, uri, asked.state, &find);
                    for volume in lost {
                        tell_lost(found, product, uri, &machine, &volume);
                    }
                    machine.checkpoints = asked.checkpoints;
                    machine.snapshots = self.snapshots(product, uri, asked.snapshots, found);
                    for why in asked.unasked {
                        found.unasked(
                            product,
                            format!("{}, {}", printable(uri), printable(&machine.name)),
                            why,
                        );
                    }
                    found.machines.push(machine);
                }
                Err(why) => {
                    found.unasked(product, format!("{}, {}", printable(uri), asked.id), why)
                }
            }
        }
        Ok(())
    }

    fn snapshots(
        &self,
        product: &'static str,
        place: &str,
        texts: Vec<String>,
        found: &mut Found,
    ) -> Vec<super::MachineSnapshot> {
        let mut snapshots = Vec::new();
        for text in texts {
            match domain_xml::snapshot(&text) {
                Ok(snapshot) => snapshots.extend(snapshot.with_files()),
                Err(error) => found.unasked(product, place, format!("a snapshot: {error}")),
            }
        }
        snapshots
    }

    /// Reads the files. `why` tells why the service was not asked, if there is one.
    fn read_files(
        &self,
        product: &'static str,
        places: &Places,
        found: &mut Found,
        why: Option<String>,
    ) {
        let host = places.host.as_ref();
        let place = self.place();
        let files = match text_file::list(host, &self.domains, ".xml") {
            Ok(files) => files,
            Err(error) if text_file::is_absent(&error) && why.is_none() => return,
            Err(error) => {
                let files = format!("{} cannot be read: {error}", printable(&self.domains));
                let why = why.map_or(files.clone(), |why| format!("{why}; {files}"));
                return found.unasked(product, place, why);
            }
        };
        let find = |pool: &str, volume: &str| self.pool(places, pool).map(|dir| dir.join(volume));
        let mut closed = 0_u64;
        for path in files {
            match text_file::read(host, &path) {
                Ok(text) => match domain_xml::domain(&text) {
                    Ok(domain) => {
                        let place = printable(&path);
                        let machine = self.defined(product, &place, places, domain, found, &find);
                        found.machines.push(machine);
                    }
                    Err(error) => found.unasked(product, printable(&path), error.to_string()),
                },
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => closed += 1,
                Err(error) => found.unread(product, &path, &error),
            }
        }
        if closed > 0 {
            let files = format!(
                "{} in {} may not be read",
                count(closed, "definition"),
                printable(&self.domains)
            );
            let why = why.map_or(files.clone(), |why| format!("{why}; {files}"));
            found.unasked(product, place, why);
        }
    }

    fn place(&self) -> String {
        let uri = self.uri.as_deref().map(printable);
        uri.unwrap_or_else(|| printable(&self.domains))
    }

    /// A domain by the files of it.
    fn defined(
        &self,
        product: &'static str,
        place: &str,
        places: &Places,
        domain: Domain,
        found: &mut Found,
        find: &dyn Fn(&str, &str) -> Option<PathBuf>,
    ) -> Machine {
        let host = places.host.as_ref();
        let name = domain.name.clone();
        let saved = self.state.join("save").join(format!("{name}.save"));
        let state = match host.stat(&saved) {
            Ok(_) => MachineState::Saved,
            // Those that run are told by their processes.
            Err(error) if text_file::is_absent(&error) => MachineState::Off,
            Err(_) => MachineState::Unknown,
        };
        let (mut machine, lost) = domain.machine(product, place, state, find);
        for volume in lost {
            tell_lost(found, product, place, &machine, &volume);
        }
        let mut texts = |kind: &str| -> Vec<(PathBuf, String)> {
            let dir = self.state.join(kind).join(&name);
            let files = text_file::list_if_there(host, &dir, ".xml");
            let files = files.unwrap_or_else(|error| {
                found.unread(product, &dir, &error);
                Vec::new()
            });
            let read = |path: PathBuf| match text_file::read(host, &path) {
                Ok(text) => Some((path, text)),
                Err(error) => {
                    found.unread(product, &path, &error);
                    None
                }
            };
            files.into_iter().filter_map(read).collect()
        };
        let snapshots = texts("snapshot")
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        let named = |(path, _): (PathBuf, String)| {
            let name = path.file_stem().map(|name| name.to_string_lossy());
            name.map(std::borrow::Cow::into_owned)
        };
        machine.checkpoints = texts("checkpoint").into_iter().filter_map(named).collect();
        machine.snapshots = self.snapshots(product, place, snapshots, found);
        machine
    }

    /// The folder of a storage pool, by its definition.
    fn pool(&self, places: &Places, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return None;
        }
        let path = self.pools.join(format!("{name}.xml"));
        let text = text_file::read(places.host.as_ref(), &path).ok()?;
        let document = domain_xml::document(&text, false).ok()?;
        let mut nodes = document.descendants();
        let target = nodes.find(|node| node.has_tag_name("target"))?;
        let mut inside = target.children();
        let path = inside.find(|node| node.has_tag_name("path"))?.text()?;
        let path = Path::new(path.trim());
        path.is_absolute().then(|| path.to_path_buf())
    }
}

fn tell_lost(
    found: &mut Found,
    product: &'static str,
    place: &str,
    machine: &Machine,
    volume: &str,
) {
    let why = format!(
        "where the volume {} of {} lies cannot be found out",
        printable(volume),
        printable(&machine.name)
    );
    found.unasked(product, place, why);
}

/// What the service knows, by UUID.
struct Known {
    all: BTreeSet<String>,
    running: BTreeSet<String>,
    saved: BTreeSet<String>,
    with_snapshots: BTreeSet<String>,
    with_checkpoints: BTreeSet<String>,
}

/// A domain as the service tells of it.
struct Asked {
    id: String,
    state: MachineState,
    domain: Result<Domain, String>,
    snapshots: Vec<String>,
    checkpoints: Vec<String>,
    /// What it did not tell, each why.
    unasked: Vec<String>,
}

/// The words of an answer, one a line.
fn words(answer: &str) -> impl Iterator<Item = String> + '_ {
    let lines = answer.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned)
}

/// A UUID is a word as it stands; whatever else comes is none.
fn ids(answer: &str) -> BTreeSet<String> {
    let is_id = |word: &String| {
        word.bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    };
    words(answer).filter(is_id).collect()
}

impl Known {
    fn ask(virsh: &mut Virsh) -> Result<Self, String> {
        let mut list = |with: &str| {
            let answer = virsh.ask_one(&format!("list --uuid{with}"));
            answer.map(|answer| ids(&answer))
        };
        Ok(Self {
            all: list(" --all")?,
            running: list("")?,
            saved: list(" --all --with-managed-save")?,
            with_snapshots: list(" --all --with-snapshot")?,
            with_checkpoints: match list(" --all --with-checkpoint") {
                // An older one, which has no checkpoints.
                Err(why) if why.contains("support option") => BTreeSet::new(),
                other => other?,
            },
        })
    }

    fn state(&self, id: &str) -> MachineState {
        if self.running.contains(id) {
            MachineState::Running
        } else if self.saved.contains(id) {
            MachineState::Saved
        } else {
            MachineState::Off
        }
    }

    /// Every domain: as it is defined, as it runs, with its snapshots and checkpoints.
    fn domains(&self, virsh: &mut Virsh) -> Result<Vec<Asked>, String> {
        let defined = ask_each(virsh, "dumpxml --inactive", &self.all)?;
        let mut running = ask_each(virsh, "dumpxml", &self.running)?;
        let mut snapshots = ask_each(virsh, "snapshot-list --name", &self.with_snapshots)?;
        let mut checkpoints = ask_each(virsh, "checkpoint-list --name", &self.with_checkpoints)?;
        let mut domains = Vec::new();
        for (id, text) in defined {
            // One that has been shut down meanwhile does not tell how it runs.
            let live = running.remove(&id).and_then(Result::ok);
            let mut asked = Asked {
                state: self.state(&id),
                domain: text.and_then(|text| whole(&text, live.as_deref())),
                snapshots: Vec::new(),
                checkpoints: Vec::new(),
                unasked: Vec::new(),
                id,
            };
            if let Some(names) = snapshots.remove(&asked.id) {
                asked.read_snapshots(virsh, names)?;
            }
            match checkpoints.remove(&asked.id) {
                Some(Ok(names)) => asked.checkpoints.extend(words(&names)),
                Some(Err(why)) => asked.unasked.push(format!("its checkpoints: {why}")),
                None => {}
            }
            domains.push(asked);
        }
        Ok(domains)
    }
}

/// What a command tells of each.
fn ask_each(
    virsh: &mut Virsh,
    command: &str,
    ids: &BTreeSet<String>,
) -> Result<BTreeMap<String, Answer>, String> {
    let commands: Vec<String> = ids.iter().map(|id| format!("{command} {id}")).collect();
    let answers = virsh.ask(&commands)?;
    Ok(ids.iter().cloned().zip(answers).collect())
}

impl Asked {
    fn read_snapshots(&mut self, virsh: &mut Virsh, names: Answer) -> Result<(), String> {
        let names = match names {
            Ok(names) => names,
            Err(why) => {
                self.unasked.push(format!("its snapshots: {why}"));
                return Ok(());
            }
        };
        let (mut commands, mut asked) = (Vec::new(), Vec::new());
        for name in words(&names) {
            match word(&name) {
                Some(word) => {
                    commands.push(format!("snapshot-dumpxml {} {word}", self.id));
                    asked.push(name);
                }
                None => {
                    let name = printable(&name);
                    let why = format!("its snapshot {name}: no command can hold its name");
                    self.unasked.push(why);
                }
            }
        }
        for (name, text) in asked.iter().zip(virsh.ask(&commands)?) {
            match text {
                Ok(text) => self.snapshots.push(text),
                Err(why) => {
                    let name = printable(name);
                    self.unasked.push(format!("its snapshot {name}: {why}"));
                }
            }
        }
        Ok(())
    }
}

/// A domain as it is defined, and what it has besides while it runs.
fn whole(defined: &str, live: Option<&str>) -> Result<Domain, String> {
    let mut domain = domain_xml::domain(defined).map_err(|error| error.to_string())?;
    if let Some(live) = live.filter(|text| !text.trim().is_empty()) {
        domain.add_live(domain_xml::domain(live).map_err(|error| error.to_string())?);
    }
    Ok(domain)
}

/// Where the volumes lie that domains name by their pools.
struct Volumes(Vec<(String, String, PathBuf)>);

impl Volumes {
    fn ask(virsh: &mut Virsh, domains: &[Asked]) -> Result<Self, String> {
        let disks = domains
            .iter()
            .filter_map(|asked| asked.domain.as_ref().ok());
        let disks = disks.flat_map(|domain| &domain.disks);
        let mut wanted: Vec<(String, String, String)> = Vec::new();
        for disk in disks {
            if let Source::Volume { pool, volume } = &disk.source
                && let Some((in_pool, named)) = word(pool).zip(word(volume))
            {
                let command = format!("vol-path --pool {in_pool} {named}");
                wanted.push((pool.clone(), volume.clone(), command));
            }
        }
        wanted.dedup();
        let commands: Vec<String> = wanted
            .iter()
            .map(|(_, _, command)| command.clone())
            .collect();
        let paths = virsh.ask(&commands)?;
        let found = wanted
            .into_iter()
            .zip(paths)
            .filter_map(|((pool, volume, _), path)| {
                let path = PathBuf::from(words(&path.ok()?).next()?);
                path.is_absolute().then_some((pool, volume, path))
            });
        Ok(Self(found.collect()))
    }

    fn find(&self, pool: &str, volume: &str) -> Option<PathBuf> {
        let found = self.0.iter().find(|one| one.0 == pool && one.1 == volume);
        found.map(|(_, _, path)| path.clone())
    }
}

#[cfg(test)]
mod tests;
