//! The table of products, and asking all of them. What could not be asked is told as well: nobody is to take
//! "no machine" for an answer that was not given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::host::{FileId, confined_to, io_text};

use super::found::{Found, Unasked};
use super::machine::{Machine, MachineState};
use super::places::Places;
use super::uses::{Index, Use};
use super::{
    incus, libvirt, lima, minikube, multipass, nova, opennebula, podman, processes, proxmox,
    quickemu, utm, vagrant,
};

/// Readers that may be at work at once: a filesystem that hangs holds each that comes to it.
const MOST_READERS: usize = 64;

/// Readers at work in this process.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// A product, and what reads its machines.
#[derive(Clone, Copy)]
struct Product {
    name: &'static str,
    read: fn(&'static str, &Places, &mut Found),
}

/// The product that the machines of others may be defined in.
const LIBVIRT: &str = "libvirt";

/// All products that are known, one row each.
static PRODUCTS: &[Product] = &[
    Product {
        name: LIBVIRT,
        read: libvirt::system,
    },
    Product {
        name: LIBVIRT,
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
        name: "Incus",
        read: incus::read,
    },
    Product {
        name: "Nova",
        read: nova::read,
    },
    Product {
        name: "OpenNebula",
        read: opennebula::read,
    },
    Product {
        name: "minikube",
        read: minikube::read,
    },
    Product {
        name: "Vagrant",
        read: vagrant::read,
    },
    Product {
        name: "QEMU",
        read: processes::read,
    },
];

/// The product of that name, if it is one that is known.
#[must_use]
pub fn product_named(name: &str) -> Option<&'static str> {
    let mut products = PRODUCTS.iter();
    products.find_map(|product| (product.name == name).then_some(product.name))
}

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
    /// Asks every product. None is waited for longer than twice [`Places::patience`]: a service is given that
    /// once, and reading its files once more. A process that may look at one folder only asks none.
    #[must_use]
    pub fn ask(places: Places) -> Self {
        if confined_to().is_some() {
            return Self::of(Vec::new(), Vec::new());
        }
        let now = Instant::now();
        let (mut list, mut unasked) = (Vec::new(), Vec::new());
        for found in ask_all(PRODUCTS, &places) {
            list.extend(found.machines);
            unasked.extend(found.unasked);
        }
        Self {
            asked: Some((places, now)),
            ..Self::of(join_front_ends(join_processes(list)), unasked)
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

    /// Where was asked for them, if anywhere.
    pub(super) fn places(&self) -> Option<&Places> {
        self.asked.as_ref().map(|(places, _)| places)
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

/// What the readers of all products found, in their order; each is given so long and no longer.
fn ask_all(products: &[Product], places: &Places) -> Vec<Found> {
    let patience = places.patience.saturating_mul(2);
    let deadline = Instant::now() + patience;
    let places = Arc::new(places.clone());
    let readers: Vec<_> = products
        .iter()
        .map(|product| (product, start(*product, &places)))
        .collect();
    let answers = readers.into_iter().map(|(product, reader)| {
        let why = match reader {
            Ok(reader) => match reader.recv_deadline(deadline) {
                Ok(found) => return found,
                Err(RecvTimeoutError::Timeout) => {
                    format!(
                        "they were not read within {} seconds",
                        patience.as_secs_f32()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    "reading its machines broke off by a fault of this program".to_owned()
                }
            },
            Err(why) => why,
        };
        let mut none = Found::default();
        none.unasked(product.name, "all of its machines", why);
        none
    });
    answers.collect()
}

/// Starts a reader, which is left to itself where it hangs: nothing ends a thread that waits for a filesystem.
fn start(product: Product, places: &Arc<Places>) -> Result<Receiver<Found>, String> {
    let at_work = AtWork::new().ok_or("too many earlier questions have no answer yet")?;
    let places = Arc::clone(places);
    let (answer, found) = bounded(1);
    let read = move || {
        let _at_work = at_work;
        // Nobody waits for one that was late.
        drop(answer.send(asked(&product, &places)));
    };
    let started = thread::Builder::new().spawn(read);
    started.map_err(|error| io_text(&error))?;
    Ok(found)
}

/// A reader at work.
struct AtWork;

impl AtWork {
    fn new() -> Option<Self> {
        let this = Self;
        (READERS.fetch_add(1, Ordering::Relaxed) < MOST_READERS).then_some(this)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
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

/// Products that may define their machines in libvirt, which then knows all of them.
const FRONT_ENDS: [&str; 4] = ["Nova", "OpenNebula", "minikube", "Vagrant"];

/// A machine that libvirt knows as well is listed once, with both places.
fn join_front_ends(list: Vec<Machine>) -> Vec<Machine> {
    let is_front = |machine: &Machine| FRONT_ENDS.contains(&machine.product);
    let (fronts, mut machines): (Vec<Machine>, Vec<Machine>) = list.into_iter().partition(is_front);
    for front in fronts {
        let is_it =
            |machine: &&mut Machine| machine.product == LIBVIRT && is_the_same(machine, &front);
        match machines.iter_mut().find(is_it) {
            Some(domain) => {
                let Machine { product, place, .. } = front;
                domain.managed_by = Some(format!("{product} ({place})"));
                domain.snapshots.extend(front.snapshots);
            }
            // Of the disks of others only libvirt knows.
            None if front.disks.is_empty() => {}
            None => machines.push(front),
        }
    }
    machines
}

fn is_run_by(machine: &Machine, process: &Machine) -> bool {
    machine.product != processes::PRODUCT && is_the_same(machine, process)
}

/// Whether two products tell of one machine: its UUID is the same, or a disk that it writes.
fn is_the_same(machine: &Machine, other: &Machine) -> bool {
    if let (Some(a), Some(b)) = (&machine.id, &other.id) {
        return a.eq_ignore_ascii_case(b);
    }
    let files = |machine: &Machine| -> Vec<(PathBuf, Option<FileId>)> {
        let written = machine.disks.iter().filter(|disk| !disk.read_only);
        written
            .map(|disk| (disk.file.path.clone(), disk.file.file))
            .collect()
    };
    let own = files(machine);
    files(other).iter().any(|(path, file)| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::machine::Disk;
    use crate::machines::places::tests::system;

    #[test]
    fn a_product_that_hangs_or_breaks_off_is_told_of_and_the_others_are_read() {
        let (_dir, mut places) = system();
        places.patience = Duration::from_millis(200);
        let hangs =
            |_: &'static str, _: &Places, _: &mut Found| thread::sleep(Duration::from_secs(60));
        let breaks_off = |_: &'static str, _: &Places, _: &mut Found| panic!("a fault");
        let has_one = |product: &'static str, _: &Places, found: &mut Found| {
            let machine = Machine::new(product, "here", "web", MachineState::Off);
            found.machines.push(machine);
        };
        let row = |name, read| Product { name, read };
        let products = [row("A", hangs), row("B", breaks_off), row("C", has_one)];
        let begun = Instant::now();
        let found = ask_all(&products, &places);
        assert!(begun.elapsed() < Duration::from_secs(30));
        let why = |found: &Found| found.unasked[0].to_string();
        assert_eq!(
            why(&found[0]),
            "A (all of its machines): they were not read within 0.4 seconds"
        );
        assert!(why(&found[1]).starts_with("B (all of its machines): "));
        assert_eq!(found[2].machines[0].name, "web");
    }

    #[test]
    fn a_machine_that_libvirt_knows_as_well_is_listed_once() {
        let with_disk = |product, name: &str, disk: &str| {
            let mut machine = Machine::new(product, "/there", name, MachineState::Off);
            machine.disks.push(Disk::new("vda", disk));
            machine
        };
        let mut domain = with_disk(LIBVIRT, "lab_web", "/a");
        domain.id = Some("0B6B6F2E".to_owned());
        let mut web = Machine::new("Vagrant", "/lab", "web", MachineState::Off);
        web.id = Some("0b6b6f2e".to_owned());
        let mut gone = web.clone();
        gone.id = Some("1".to_owned());
        let joined = join_front_ends(vec![
            web,
            gone,
            domain,
            with_disk(LIBVIRT, "minikube", "/m"),
            with_disk("minikube", "minikube", "/m"),
            with_disk("minikube", "other", "/o"),
            with_disk("Lima", "default", "/a"),
        ]);
        let told: Vec<_> = joined
            .iter()
            .map(|machine| {
                (
                    machine.product,
                    &*machine.name,
                    machine.managed_by.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (LIBVIRT, "lab_web", Some("Vagrant (/lab)")),
                (LIBVIRT, "minikube", Some("minikube (/there)")),
                ("Lima", "default", None),
                ("minikube", "other", None),
            ]
        );
    }
}
