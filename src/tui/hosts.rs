//! The other machines whose images are shown beside those of this one: how far each is, and what it has told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fleet::{FarFolders, Hello};
use crate::forest::Forest;
use crate::forest::far::{Told, path_on};
use crate::machines::{Machines, host_and_connection};

use super::far_answers::{Beside, Pending, asked, silent};
use super::host_images::Images;
use super::query::QueryId;
use super::told_again::ToldAgain;

/// What is said of what would be done here to a file that is on another machine.
pub(super) const NOT_HERE: &str = "it names a file of another machine";

/// What is said of two images that are not compared.
pub(super) const NOT_COMPARED: &str = "images of different machines are not compared";

/// So many hosts are named one by one.
const NAMED: usize = 3;

/// How it stands with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostState {
    /// It is being asked.
    Asked,
    /// It is being asked, and has said nothing for so many seconds.
    Silent(u64),
    /// It has told all.
    Told,
    /// It has not: why, as a sentence that begins with its name.
    Failed(String),
}

/// All that a host has told of which the forest is made.
#[derive(Debug, Clone)]
pub struct HostTold {
    /// Its images.
    pub images: Arc<Images>,
    /// Its machines.
    pub machines: Arc<Machines>,
}

/// The images of this machine and what hosts have told, in one forest.
#[must_use]
pub(super) fn gathered(here: Arc<Forest>, told: &[HostTold]) -> Arc<Forest> {
    let mut all = here;
    let told: Vec<Told<'_>> = told
        .iter()
        .map(|HostTold { images, machines }| Told {
            host: &images.host,
            files: &images.files,
            held: &images.held,
            machines,
        })
        .collect();
    Arc::make_mut(&mut all).gather(&told);
    all
}

/// The same where images of hosts are known already: what these have told since takes their place.
#[must_use]
pub(super) fn gathered_anew(known: Arc<Forest>, told: &[HostTold]) -> Arc<Forest> {
    // Also an image of this machine keeps what others told of it.
    let is_mixed = known
        .nodes()
        .any(|node| node.sharing.is_some() || known.is_far(node));
    let here = match is_mixed {
        true => Arc::new(known.here()),
        false => known,
    };
    gathered(here, told)
}

/// What the program on a host lets be done there, as it says itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostRules {
    /// Nothing is changed.
    pub is_read_only: bool,
    /// Nothing is told but the images of one folder.
    pub is_restricted: bool,
}

impl From<&Hello> for HostRules {
    fn from(hello: &Hello) -> Self {
        Self {
            is_read_only: hello.read_only,
            is_restricted: hello.restricted_to.is_some(),
        }
    }
}

/// One host.
#[derive(Debug, Clone)]
pub struct HostSeen {
    /// What it is called.
    pub name: String,
    /// Its folders, with its name before them.
    pub folders: Vec<PathBuf>,
    /// What it lets be done.
    pub rules: HostRules,
    /// How it stands with it.
    pub state: HostState,
    /// The newest question.
    pub query_id: QueryId,
    /// What is shown of it.
    pub images: Arc<Images>,
    /// What it has told so far where that will replace what is shown.
    pub again: Option<ToldAgain>,
    /// Its machines, as it told them last.
    pub machines: Arc<Machines>,
    /// Places there that could not be looked at, each as a sentence.
    pub unreadable: Vec<String>,
    /// What it was asked beside its images.
    pub beside: Beside,
}

/// All of them, in the order they were named.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// The hosts.
    pub list: Vec<HostSeen>,
}

impl Hosts {
    /// Those whose folders are to be shown.
    #[must_use]
    pub fn of(folders: &[FarFolders]) -> Self {
        let host = |one: &FarFolders| HostSeen {
            name: one.to.name.clone(),
            folders: one
                .folders
                .iter()
                .map(|folder| path_on(&one.to.name, folder))
                .collect(),
            rules: HostRules::default(),
            state: HostState::Asked,
            query_id: 0,
            images: Arc::new(Images::of(&one.to.name)),
            again: None,
            machines: Arc::default(),
            unreadable: Vec::new(),
            beside: Beside::default(),
        };
        Self {
            list: folders.iter().map(host).collect(),
        }
    }

    /// What each of them has told.
    #[must_use]
    pub fn told(&self) -> Vec<HostTold> {
        let told = |host: &HostSeen| HostTold {
            images: Arc::clone(&host.images),
            machines: Arc::clone(&host.machines),
        };
        self.list.iter().map(told).collect()
    }

    /// The host whose question that is.
    pub fn asked(&mut self, at: usize, query_id: QueryId) -> Option<&mut HostSeen> {
        let host = self.list.get_mut(at)?;
        (host.query_id == query_id).then_some(host)
    }

    /// Nobody waits for where the space went any more; says whether somebody did.
    pub(super) fn stop_space(&mut self) -> bool {
        let mut was_asked = false;
        for host in &mut self.list {
            if host.beside.space.is_open() {
                host.beside.space.stop();
                host.beside.space_of = Default::default();
                was_asked = true;
            }
        }
        was_asked
    }

    /// What is said of hosts that have not told what was asked of them, each as a sentence: that they cannot be
    /// reached, or what `of` gives.
    pub(super) fn said<T>(&self, of: fn(&Beside) -> &Pending<T>) -> Vec<String> {
        let said = |host: &HostSeen| match (&host.state, of(&host.beside)) {
            (HostState::Failed(why), answer) if answer.told().is_none() => Some(why.clone()),
            (HostState::Silent(_) | HostState::Asked, answer) if answer.told().is_none() => {
                Some(host.row().unwrap_or_else(|| asked(&host.name)))
            }
            (_, answer) => answer.said(&host.name),
        };
        self.list.iter().filter_map(said).collect()
    }

    /// What they are called together; nothing where there is none.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match &self.list[..] {
            [] => None,
            few if few.len() <= NAMED => {
                let names: Vec<String> = few.iter().map(|host| format!("{}:", host.name)).collect();
                Some(names.join(" "))
            }
            many => Some(format!("{} hosts", many.len())),
        }
    }

    /// The places of those that have a row: where something is wrong, and the others.
    #[must_use]
    pub fn with_rows(&self) -> (Vec<usize>, Vec<usize>) {
        let rows = self.list.iter().enumerate();
        let rows = rows.filter(|(_, host)| host.row().is_some());
        let (bad, others): (Vec<_>, Vec<_>) = rows.partition(|(_, host)| host.is_bad());
        let places = |rows: Vec<(usize, &HostSeen)>| rows.into_iter().map(|(at, _)| at).collect();
        (places(bad), places(others))
    }

    /// The place of the host that a connection of libvirt's is of; none for one of this machine.
    #[must_use]
    pub fn of_connection(&self, connection: &str) -> Option<usize> {
        let (name, _) = host_and_connection(connection)?;
        self.list.iter().position(|host| host.name == name)
    }

    /// What the machine of this place is called; none is this one.
    #[must_use]
    pub fn machine(&self, of: Option<usize>) -> String {
        match of.and_then(|at| self.list.get(at)) {
            Some(host) => host.name.clone(),
            None => "this machine".to_owned(),
        }
    }

    /// The place of the host that a path is of; none for one of this machine.
    #[must_use]
    pub fn of_path(&self, path: &Path) -> Option<usize> {
        let (name, _) = crate::forest::far::host_and_path(path)?;
        self.list.iter().position(|host| host.name == name)
    }

    /// The same, and what the path is called there.
    #[must_use]
    pub fn place_there(&self, path: &Path) -> Option<(usize, PathBuf)> {
        let (_, there) = crate::forest::far::host_and_path(path)?;
        Some((self.of_path(path)?, there.to_path_buf()))
    }
}

impl HostSeen {
    /// What its row says, where it has one: of a host that is shown by its images there is no more to say.
    #[must_use]
    pub fn row(&self) -> Option<String> {
        let name = &self.name;
        let has_images = !self.images.files.is_empty();
        match &self.state {
            HostState::Failed(why) => Some(why.clone()),
            HostState::Silent(seconds) => Some(silent(name, *seconds)),
            HostState::Asked if !has_images => Some(asked(name)),
            HostState::Told if !has_images => {
                let folders = self.folders.iter().map(crate::host::printable);
                let folders = folders.collect::<Vec<_>>().join(", ");
                Some(format!("{name}: no images below {folders}"))
            }
            HostState::Asked | HostState::Told => None,
        }
    }

    /// What it is called, and what it lets be done where that is not all.
    #[must_use]
    pub fn marked_name(&self) -> String {
        let mark = if self.rules.is_read_only {
            " (read-only)"
        } else {
            ""
        };
        format!("{}{mark}", self.name)
    }

    /// Why nothing is changed there, where nothing is.
    #[must_use]
    pub fn unchangeable(&self) -> Option<String> {
        let name = &self.name;
        let why = || format!("{name} lets its images be read, and nothing be changed");
        self.rules.is_read_only.then(why)
    }

    /// Why it tells nothing beside its images, where it does not.
    #[must_use]
    pub fn untold(&self) -> Option<String> {
        let name = &self.name;
        let why = || format!("{name} shows the images of one folder, and tells nothing else");
        self.rules.is_restricted.then(why)
    }

    /// Whether something is wrong with it.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        matches!(self.state, HostState::Failed(_) | HostState::Silent(_))
    }
}
