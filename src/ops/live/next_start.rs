//! What a machine must be started with from now on. One that libvirt defines is started from its definition, which
//! libvirt changes along; one that was started from a command line is started from the old file again, and writes it
//! under whatever is built on it.

use std::fs;
use std::path::Path;

use crate::host::{printable, printable_bytes};
use crate::ops::framework::format::{name, shown};
use crate::ops::{NoteKind, Plan};

use super::running::{By, Running};

/// What the new file is to the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Next {
    /// It is built on it.
    Overlay,
    /// It shows the same.
    Copy,
}

/// Has the plan say which name the machine is to be started with.
pub(in crate::ops) fn tell(plan: &mut Plan, running: &Running, old: &Path, new: &Path, next: Next) {
    match &running.by {
        By::Libvirt { .. } => plan.note(
            NoteKind::Machine,
            format!(
                "the definition of {} names {} from then on, and says nothing of the layers below: its next start is \
                 from there",
                running.name,
                shown(new)
            ),
        ),
        By::Monitor => {
            let place = word_with(running.pid, old).map_or_else(String::new, |word| {
                let script = script_of(running.pid);
                let by = script.map_or_else(String::new, |script| format!(" by {script}"));
                format!(" (it was started{by} with `{word}`)")
            });
            let why = match next {
                Next::Overlay => format!(
                    "started with {} again, it would write that under {}, which is built on it",
                    name(old),
                    name(new)
                ),
                Next::Copy => format!("{} is in the trash then", name(old)),
            };
            plan.warn(
                NoteKind::Machine,
                format!("start {} with {} from now on{place}: {why}", running.name, shown(new)),
            );
        }
    }
}

/// The word of its command line that names the file.
fn word_with(pid: u32, old: &Path) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let name = old.file_name()?.as_encoded_bytes();
    let has_name = |word: &&[u8]| word.windows(name.len().max(1)).any(|part| part == name);
    let word = line.split(|byte| *byte == 0).find(has_name)?;
    Some(printable_bytes(word))
}

/// The script that started it, where that runs still.
fn script_of(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent: u32 = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()?;
    if parent <= 1 {
        return None;
    }
    let line = fs::read(format!("/proc/{parent}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).skip(1);
    let script = words.find(|word| !word.starts_with(b"-") && !word.is_empty())?;
    let folder = fs::read_link(format!("/proc/{parent}/cwd")).ok()?;
    let path = folder.join(String::from_utf8_lossy(script).as_ref());
    path.is_file().then(|| printable(&path))
}
