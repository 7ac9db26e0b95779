//! What all operations rest on. No file in here knows one of them; each of them is known by its answers to the
//! trait [`operation::Operation`] alone.
//!
//! | what | where |
//! |---|---|
//! | a request, and what every operation says of itself | `request`, `operation`, `nature`, `options`, `command_line` |
//! | what is known when planning begins | `context`, `resolve`, `dependants`, `readers`, `machines`, `on_machines`, `peers`, `through`, `tagged`, `changed_bases`, `closed_processes` |
//! | a plan, its words, and what helps where it is refused | `plan`, `note`, `text`, `format`, `refusal`, `remedy`, `fixes`, `batch` |
//! | whether a file may be read, written or made | `eligibility`, `may_write`, `new_file`, `space`, `reflinks`, `unlock`, `secrecy` |
//! | what must not change meanwhile | `preconditions`, `locks`, `files_to_lock`, `locked_host`, `built_on` |
//! | what becomes of files inside images | `guest_files` |
//! | carrying it out | `lifecycle`, `progress`, `error`, `verify` |
//! | what was done, and what was cut off | `journal`, `recovery`, `resumed`, `leaks`, `trash` |
//! | definitions of machines that change along | `definition_change`, `redefine`, `layer_below` |
//! | paths, and names that an image records | `absolute`, `backing_name`, `backing_format`, `backing_style`, `data_files` |
//! | new images, folders and copies | `new_image`, `new_folder`, `copy_file`, `chain_files`, `device`, `cut_short` |
//! | what people have noted of images | `annotations` |

pub(super) mod absolute;
pub(super) mod annotations;
pub(super) mod backing_format;
pub(super) mod backing_name;
pub(super) mod backing_style;
pub(super) mod batch;
pub(super) mod built_on;
pub(super) mod chain_files;
mod changed_bases;
pub(super) mod closed_processes;
pub(super) mod command_line;
pub(super) mod context;
pub(super) mod copy_file;
pub(super) mod cut_short;
pub(super) mod data_files;
pub(super) mod definition_change;
pub(super) mod dependants;
pub(super) mod device;
pub(super) mod eligibility;
pub(super) mod error;
pub(super) mod files_to_lock;
pub(super) mod fixes;
pub(super) mod format;
pub(super) mod guest_files;
pub mod journal;
pub(super) mod layer_below;
pub(super) mod leaks;
pub(super) mod lifecycle;
pub(super) mod locked_host;
pub(super) mod locks;
pub(super) mod machines;
pub(super) mod may_write;
pub(super) mod nature;
pub(super) mod new_file;
pub(super) mod new_folder;
pub(super) mod new_image;
pub(super) mod note;
pub(super) mod on_machines;
pub(super) mod operation;
pub(super) mod options;
pub(super) mod peers;
pub(super) mod plan;
pub(super) mod preconditions;
pub(super) mod progress;
pub(super) mod readers;
pub(super) mod recovery;
pub(super) mod redefine;
pub(super) mod reflinks;
pub(super) mod refusal;
pub(super) mod remedy;
pub(super) mod request;
pub(super) mod resolve;
pub(super) mod resumed;
pub(super) mod secrecy;
pub(super) mod space;
pub(super) mod tagged;
pub(super) mod text;
pub(super) mod through;
pub mod trash;
pub(super) mod unlock;
pub(super) mod verify;
