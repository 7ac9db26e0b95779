//! The table of products, and asking all of them. What could not be asked is told as well: nobody is to take
//! "no machine" for an answer that was not given.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::FileId;

use super::found::{Found, Unasked};
use super::machine::{Machine, MachineState};
use super::places::Places;
use super::uses::{Index, Use};
use super::{libvirt, lima, multipass, podman, processes, proxmox, quickemu, utm};

/// A product, and what reads its machines.
struct Product {
    name: &'static str,
    read: fn(&'static str, &Places, &mut Found),
}

/// All products that are known, one row each.
static PRODUCTS: &[Product] = &[
    Product {
        name: "libvirt",
        read: libvirt::system,
    },
    Product {
        name: "libvirt",
        read: libvirt::session,
    },
    Product {
        name: "GNOME Boxes",
        read: libvirt::boxes,
    },
    Product {
        name: "Proxmox VE",
        read: proxmox::read,
    },
    Product {
        name: "Lima",
        read: lima::read,
    },
    Product {
        name: "Multipass",
        read: multipass::read,
    },
    Product {
        name: "Podman",
        read: podman::read,
    },
    Product {
        name: "Quickemu",
        read: quickemu::read,
    },
    Product {
        name: "UTM",
        read: utm::read,
    },
    Product {
        name: "QEMU",
        read: processes::read,
    },
];

/// All machines that were found, when they were asked for.
#[derive(Debug, Clone, Default)]
pub struct Machines {
    list: Vec<Machine>,
    unasked: Vec<Unasked>,
    index: Index,
    /// Where was asked, and when; none where nobody asked.
    asked: Option<(Places, Instant)>,
}

/// Two answers are alike if the same machines use the same files: when they were asked for is no matter.
impl PartialEq for Machines {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list && self.unasked == other.unasked
    }
}

impl Eq for Machines {}

impl Machines {
    /// Asks every product. Nothing is waited for longer than [`Places::patience`].
    #[must_use]
    pub fn ask(places: Places) -> Self {
        let now = Instant::now();
        let mut found: Vec<Found> = Vec::new();
        thread::scope(|scope| {
            let readers: Vec<_> = PRODUCTS
                .iter()
                .map(|product| (product, scope.spawn(|| asked(product, &places))))
                .collect();
            for (product, reader) in readers {
                found.push(reader.join().unwrap_or_else(|_| {
                    let mut broken = Found::default();
                    let why = "reading its machines broke off by a fault of this program";
                    broken.unasked(product.name, "all", why);
                    broken
                }));
            }
        });
        let (mut list, mut unasked) = (Vec::new(), Vec::new());
        for found in found {
            list.extend(found.machines);
            unasked.extend(found.unasked);
        }
        Self {
            asked: Some((places, now)),
            ..Self::of(join_processes(list), unasked)
        }
    }

    /// These machines, which nobody asks for again.
    #[must_use]
    pub fn of(list: Vec<Machine>, unasked: Vec<Unasked>) -> Self {
        Self {
            index: Index::of(&list),
            list,
            unasked,
            asked: None,
        }
    }

    /// Asks again at the same places; nothing where nobody ever asked.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        self.asked
            .as_ref()
            .map(|(places, _)| Self::ask(places.clone()))
    }

    /// Asks again where the answer is older than that.
    #[must_use]
    pub fn not_older_than(&self, age: Duration) -> Option<Self> {
        let (_, when) = self.asked.as_ref()?;
        (when.elapsed() > age).then(|| self.again()).flatten()
    }

    /// Whether they were asked for, so that they can be asked for again.
    #[must_use]
    pub fn are_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// All of them.
    pub fn list(&self) -> &[Machine] {
        &self.list
    }

    /// Whether no machine names any file.
    #[must_use]
    pub fn use_nothing(&self) -> bool {
        self.index.is_empty()
    }

    /// The machines that use the file which goes by these names, in the order of the list.
    #[must_use]
    pub fn uses<'n>(
        &self,
        names: impl IntoIterator<Item = &'n Path>,
        file: Option<FileId>,
    ) -> Vec<Use<'_>> {
        self.index.uses(&self.list, names, file)
    }

    /// What could not be asked.
    pub fn unasked(&self) -> &[Unasked] {
        &self.unasked
    }
}

fn asked(product: &Product, places: &Places) -> Found {
    let mut found = Found::default();
    (product.read)(product.name, places, &mut found);
    for file in found.machines.iter_mut().flat_map(Machine::files_mut) {
        file.file = places.host.stat(&file.path).ok().map(|stat| stat.id);
    }
    found
}

/// A process that runs a machine which a product defines is no machine of its own: that one runs.
fn join_processes(list: Vec<Machine>) -> Vec<Machine> {
    let (processes, mut machines): (Vec<Machine>, Vec<Machine>) = list
        .into_iter()
        .partition(|machine| machine.product == processes::PRODUCT);
    for process in processes {
        let mut is_defined = false;
        for machine in machines
            .iter_mut()
            .filter(|machine| is_run_by(machine, &process))
        {
            machine.state = MachineState::Running;
            is_defined = true;
        }
        if !is_defined {
            machines.push(process);
        }
    }
    machines
}

fn is_run_by(machine: &Machine, process: &Machine) -> bool {
    if machine.product == processes::PRODUCT {
        return false;
    }
    if let (Some(a), Some(b)) = (&machine.id, &process.id) {
        return a.eq_ignore_ascii_case(b);
    }
    let files = |machine: &Machine| -> Vec<(PathBuf, Option<FileId>)> {
        let written = machine.disks.iter().filter(|disk| !disk.read_only);
        written
            .map(|disk| (disk.file.path.clone(), disk.file.file))
            .collect()
    };
    let own = files(machine);
    files(process).iter().any(|(path, file)| {
        own.iter()
            .any(|(known, id)| known == path || (id.is_some() && id == file))
    })
}

/// Asks nothing: the host of a test that has no machines.
#[cfg(test)]
pub(super) fn read_with(
    read: fn(&'static str, &Places, &mut Found),
    product: &'static str,
    places: &Places,
) -> Found {
    let row = Product {
        name: product,
        read,
    };
    asked(&row, places)
}
