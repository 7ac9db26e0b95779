//! What the program asks of the operating system beside files and images: its log, the date, memory, the network.

mod allocator;
mod date;
mod folder_lock;
mod local_time;
mod log_file;
mod mounts;
mod network;
mod parallel;
mod share;
mod wait_lock;

pub use allocator::{give_back_memory, share_memory};
pub use date::Utc;
pub use folder_lock::FolderLock;
pub use local_time::local_offset;
pub use log_file::LogFile;
pub use network::{is_over_network, network_filesystem};
pub use parallel::{on_all_processors, on_threads};
pub use share::{SharedPlace, Shares, machine_identity};
pub use wait_lock::wait_for_lock;
