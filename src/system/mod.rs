//! What the program asks of the operating system beside files and images: its log, the date, memory, the network.

mod date;
mod heap;
mod log_file;
mod network;

pub use date::Utc;
pub use heap::{give_back_memory, share_memory};
pub use log_file::LogFile;
pub use network::network_filesystem;
