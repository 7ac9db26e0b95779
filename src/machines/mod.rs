//! Who uses an image: the machines that are defined or run here, and the files that each of them names. What
//! products write down is read where they write it; nothing is changed, and nothing here knows of a forest.
//!
//! | file | concept |
//! |---|---|
//! | `machine` | a machine, its disks, what else of it names files |
//! | `places` | where is looked |
//! | `products`, `found` | the table of products, and asking all of them |
//! | `uses` | which machine uses a file, and how |
//! | `elsewhere` | how connections of other hosts are called here |
//! | `text_file` | files read within bounds |
//! | `libvirt`, `virsh`, `domain_xml` | libvirt: its service where it answers, its files where not |
//! | `definition`, `defining` | changing a disk in the definition of a domain: its text, and by the service |
//! | `cloned_definition` | the text of a definition as that of another domain |
//! | `domain` | what a domain that runs is told to do with its disks |
//! | `processes`, `qemu_line`, `monitor_socket` | QEMU as it runs, by its command lines: disks, monitors |
//! | the others | a product each |

mod cloned_definition;
mod defining;
mod definition;
mod domain;
mod domain_xml;
mod elsewhere;
mod found;
mod incus;
mod libvirt;
mod lima;
mod machine;
mod minikube;
mod monitor_socket;
mod multipass;
mod nova;
mod opennebula;
mod places;
mod podman;
mod processes;
mod products;
mod proxmox;
mod qemu_line;
mod quickemu;
mod text_file;
mod uses;
mod utm;
mod vagrant;
mod virsh;

pub use cloned_definition::{NewMachine, Shared, Sharing, cloned, shared};
pub use defining::{DefineError, Defined, Defines};
pub use definition::{DiskEdit, EditedDisk, disk_element, edit_disk, say_the_same, with_disk};
pub use domain::{DiskJob, Domain};
pub use elsewhere::{host_and_connection, place_on};
pub use found::Unasked;
pub use machine::{Disk, Machine, MachineSnapshot, MachineState, NamedFile};
pub use monitor_socket::{MonitorSocket, agent_socket, monitor_sockets, nbd_socket};
pub use places::{Home, Places};
pub use products::{Machines, product_named};
pub use uses::{Part, Use};
