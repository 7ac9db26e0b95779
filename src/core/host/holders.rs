//! Which process has a file open, and whether it holds QEMU's image locks on it. This only names
//! names: whether a file is in use is decided by asking for the lock (`ofd`), which works across
//! users and needs no `/proc`.
//!
//! Open-file-description locks show no process in `/proc/locks`, so the way leads over
//! `/proc/PID/fd` (which file) and `/proc/PID/fdinfo` (how it is open, what is locked through it).
//! Processes of other users are invisible without privileges; nothing here fails for that.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::holder::Holder;
use super::lock::is_image_lock;
use super::printable::printable_bytes;
use super::stat::FileId;

/// At most so many descriptors are looked at in one pass, in one process and over all: somebody
/// else's runaway process must not stop a scan.
const MAX_DESCRIPTORS_PER_PROCESS: usize = 65_536;
/// See [`MAX_DESCRIPTORS_PER_PROCESS`].
const MAX_DESCRIPTORS: usize = 1 << 20;

/// Which other processes have this file open.
#[must_use]
pub fn holders(file: FileId) -> Vec<Holder> {
    holders_of(&[file]).remove(&file).unwrap_or_default()
}

/// Which other processes have these files open, in one pass. Files nobody has open are not in the
/// answer; holders come in order of process id.
#[must_use]
pub fn holders_of(files: &[FileId]) -> HashMap<FileId, Vec<Holder>> {
    if files.is_empty() {
        return HashMap::new();
    }
    let of_all = with_scan(|scan| {
        let found = files.iter().map(|file| (*file, scan.holders(*file)));
        found.filter(|(_, holders)| !holders.is_empty()).collect()
    });
    of_all.unwrap_or_else(|| {
        let wanted: HashSet<FileId> = files.iter().copied().collect();
        let scan = DescriptorScan::make(|id| wanted.contains(&id));
        scan.all()
    })
}

/// Does something that asks of many files who has them open, such as a plan: on this thread all of that is
/// answered from one pass over the processes, made when it is asked for first.
pub fn during_one_scan<T>(work: impl FnOnce() -> T) -> T {
    let is_outermost = SCAN.with(|scan| {
        let mut scan = scan.borrow_mut();
        let first = scan.is_none();
        if first {
            *scan = Some(None);
        }
        first
    });
    /// Ends it also where the work ends early.
    struct End(bool);
    impl Drop for End {
        fn drop(&mut self) {
            if self.0 {
                SCAN.with(|scan| *scan.borrow_mut() = None);
            }
        }
    }
    let _end = End(is_outermost);
    work()
}

thread_local! {
    /// Outside of [`during_one_scan`] nothing, in it the scan once it is made.
    static SCAN: RefCell<Option<Option<DescriptorScan>>> = const { RefCell::new(None) };
}

/// Asks the scan of this thread; nothing where there is none to be kept.
fn with_scan<T>(ask: impl FnOnce(&DescriptorScan) -> T) -> Option<T> {
    SCAN.with(|scan| {
        let mut scan = scan.borrow_mut();
        let made = scan.as_mut()?;
        Some(ask(
            made.get_or_insert_with(|| DescriptorScan::make(|_| true))
        ))
    })
}

/// Who stands against a lock on this file: the holders of image locks, or, where none can be seen,
/// all who have it open. This process counts when it holds locks through a descriptor other than
/// `asking`.
pub(super) fn holders_in_the_way(file: FileId, asking: i32) -> Vec<Holder> {
    let others = with_scan(|scan| scan.holders(file));
    let mut found = others.unwrap_or_else(|| DescriptorScan::make(|id| id == file).holders(file));
    found.extend(own_locks_on(file, asking));
    found.sort_by_key(|holder| holder.pid);
    if found.iter().any(|holder| holder.locks) {
        found.retain(|holder| holder.locks);
    }
    found
}

/// This process as a holder of image locks on a file, through another descriptor than `asking`.
fn own_locks_on(file: FileId, asking: i32) -> Option<Holder> {
    let me = std::process::id();
    let process = Path::new("/proc").join(me.to_string());
    let descriptors: Vec<i32> = numbers_in(&process.join("fd"), MAX_DESCRIPTORS_PER_PROCESS);
    let mut own: Option<Holder> = None;
    for fd in descriptors {
        if fd == asking || file_of(&process, fd) != Some(file) {
            continue;
        }
        let Some((writes, true)) = descriptor_facts(&process, fd) else {
            continue;
        };
        let own = own.get_or_insert_with(|| Holder {
            pid: me,
            command: command_of(&process),
            machine: None,
            writes,
            locks: true,
            host: None,
        });
        own.writes |= writes;
    }
    own
}

/// Which descriptors of other processes lead to which files, from one pass over all of them.
#[derive(Debug, Default)]
struct DescriptorScan {
    descriptors: HashMap<FileId, Vec<(u32, i32)>>,
}

impl DescriptorScan {
    fn make(wanted: impl Fn(FileId) -> bool) -> Self {
        let mut scan = Self::default();
        let mut budget = MAX_DESCRIPTORS;
        let me = std::process::id();
        let mut pids: Vec<u32> = numbers_in(Path::new("/proc"), usize::MAX);
        pids.sort_unstable();
        for pid in pids.into_iter().filter(|pid| *pid != me) {
            let process = Path::new("/proc").join(pid.to_string());
            let descriptors: Vec<i32> =
                numbers_in(&process.join("fd"), budget.min(MAX_DESCRIPTORS_PER_PROCESS));
            budget = budget.saturating_sub(descriptors.len());
            for fd in descriptors {
                if let Some(id) = file_of(&process, fd).filter(|id| wanted(*id)) {
                    scan.descriptors.entry(id).or_default().push((pid, fd));
                }
            }
        }
        scan
    }

    /// Those who have a file open, in order of process id: looked at only now.
    fn holders(&self, file: FileId) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        let mut copy = None;
        for (pid, fd) in self.descriptors.get(&file).into_iter().flatten() {
            let process = Path::new("/proc").join(pid.to_string());
            if copy == Some(*pid) {
                continue;
            }
            let Some((writes, locks)) = descriptor_facts(&process, *fd) else {
                continue;
            };
            if let Some(holder) = holders.last_mut()
                && holder.pid == *pid
            {
                holder.writes |= writes;
                holder.locks |= locks;
                continue;
            }
            if is_our_copy(&process) {
                copy = Some(*pid);
                continue;
            }
            let command = command_of(&process);
            holders.push(Holder {
                pid: *pid,
                machine: machine_of(&process, &command),
                command,
                writes,
                locks,
                host: None,
            });
        }
        holders
    }

    fn all(&self) -> HashMap<FileId, Vec<Holder>> {
        let found = self.descriptors.keys().map(|id| (*id, self.holders(*id)));
        found.filter(|(_, holders)| !holders.is_empty()).collect()
    }
}

/// The virtual machine that a process of QEMU runs, as its command line names it.
fn machine_of(process: &Path, command: &str) -> Option<Box<str>> {
    if !command.starts_with("qemu") && !command.starts_with("kvm") {
        return None;
    }
    let line = fs::read(process.join("cmdline")).ok()?;
    machine_in(&line).map(|name| printable_bytes(&name).into())
}

/// The name of the machine in a command line of QEMU, words ended by zero bytes: the value of `-name`, which is
/// `NAME` or `guest=NAME,debug-threads=on`.
#[must_use]
pub fn machine_in(line: &[u8]) -> Option<Vec<u8>> {
    let mut words = line.split(|byte| *byte == 0);
    words.find(|word| matches!(*word, b"-name" | b"--name"))?;
    let parts = option_parts(words.next()?);
    let named = parts.iter().find_map(|part| part.strip_prefix(b"guest="));
    let bare = parts.first().filter(|part| !part.contains(&b'='));
    let name = named.or(bare.map(Vec::as_slice))?;
    (!name.is_empty()).then(|| name.to_vec())
}

/// The parts of an option of QEMU, which commas stand between. A comma within a part is written twice.
#[must_use]
pub fn option_parts(value: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = value.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b',' && bytes.next_if_eq(&b',').is_none() {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    }
    parts
}

/// Whether a process is a child of this one that has not become another program yet: what it has open for
/// that instant is open here as well, or was.
fn is_our_copy(process: &Path) -> bool {
    // Fields 4 and 28 of `stat`, counted behind the name in brackets: the parent, and where the stack
    // begins, which a new program has elsewhere and nobody is told of who may not trace the process.
    let facts = |process: &Path| {
        let stat = fs::read_to_string(process.join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some((field(4)?, field(28)?))
    };
    let (Some((parent, stack)), Some((_, ours))) = (facts(process), facts(Path::new("/proc/self")))
    else {
        return false;
    };
    parent == u64::from(std::process::id()) && stack != 0 && stack == ours
}

/// The entries of a directory whose names are numbers, at most `limit` of them.
fn numbers_in<N: std::str::FromStr>(directory: &Path, limit: usize) -> Vec<N> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .take(limit)
        .collect()
}

/// Which regular file or block device a descriptor leads to. `stat` on the link neither opens the
/// file nor blocks on a pipe.
fn file_of(process: &Path, fd: i32) -> Option<FileId> {
    let link = process.join("fd").join(fd.to_string());
    // Pipes, sockets and the like read as `kind:[inode]`: no need to ask any further.
    if !fs::read_link(&link)
        .ok()?
        .as_os_str()
        .as_bytes()
        .starts_with(b"/")
    {
        return None;
    }
    let stat = fs::metadata(link).ok()?;
    let kind = stat.file_type();
    if kind.is_block_device() {
        return Some(FileId::of_device(stat.rdev()));
    }
    kind.is_file().then(|| FileId {
        device: stat.dev(),
        inode: stat.ino(),
    })
}

/// Whether a descriptor is open for writing, and whether image locks are held through it.
fn descriptor_facts(process: &Path, fd: i32) -> Option<(bool, bool)> {
    let info = fs::read_to_string(process.join("fdinfo").join(fd.to_string())).ok()?;
    Some(parse_fdinfo(&info))
}

/// Reads `flags:` (octal, the access mode in the two lowest bits) and `lock:` lines, such as
/// `lock: 1: OFDLCK ADVISORY READ -1 fd:00:1234 100 101`.
fn parse_fdinfo(info: &str) -> (bool, bool) {
    let mut writes = false;
    let mut locks = false;
    for line in info.lines() {
        if let Some(flags) = line.strip_prefix("flags:") {
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap_or(0);
            writes = flags & 0o3 != 0;
        } else if let Some(lock) = line.strip_prefix("lock:") {
            let mut words = lock.split_whitespace().rev();
            let last = words.next().unwrap_or_default();
            let first = words.next().and_then(|word| word.parse::<u64>().ok());
            let last = match last {
                "EOF" => Some(u64::MAX),
                number => number.parse::<u64>().ok(),
            };
            if let (Some(first), Some(last)) = (first, last) {
                locks |= lock.contains("OFDLCK") && is_image_lock(first, last);
            }
        }
    }
    (writes, locks)
}

/// The name of a process's command. The kernel's `comm` is cut after 15 bytes; where the command
/// line starts with the same name it is given whole.
pub(super) fn command_of(process: &Path) -> String {
    let comm = fs::read(process.join("comm")).unwrap_or_default();
    let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let program = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    let whole = program.len() <= 64 && !comm.is_empty() && program.starts_with(comm);
    printable_bytes(if whole { program } else { comm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_of_a_locking_writer_tells_both() {
        let info = "pos:\t0\nflags:\t02100002\nmnt_id:\t29\nino:\t7\n\
                    lock:\t1: OFDLCK  ADVISORY  READ  -1 fd:00:7 100 101\n";
        assert_eq!(parse_fdinfo(info), (true, true));
    }

    #[test]
    fn a_lock_elsewhere_in_the_file_is_no_image_lock() {
        let info = "flags:\t0100000\nlock:\t1: OFDLCK  ADVISORY  READ  -1 fd:00:7 0 0\n";
        assert_eq!(parse_fdinfo(info), (false, false));
        let posix = "flags:\t0100000\nlock:\t1: POSIX  ADVISORY  READ  99 fd:00:7 0 EOF\n";
        assert_eq!(parse_fdinfo(posix), (false, false));
    }

    #[test]
    fn the_machine_is_named_as_its_command_line_names_it() {
        let named = |words: &[&str]| {
            let name = machine_in(words.join("\0").as_bytes());
            name.map(|name| String::from_utf8(name).unwrap())
        };
        let q = "qemu-system-x86_64";
        assert_eq!(
            named(&[q, "-name", "guest=c2,debug-threads=on"]),
            Some("c2".into())
        );
        assert_eq!(named(&[q, "-m", "1G", "-name", "c2"]), Some("c2".into()));
        assert_eq!(named(&[q, "--name", "c2,process=x"]), Some("c2".into()));
        assert_eq!(
            named(&[q, "-name", "debug-threads=on,guest=a,,b"]),
            Some("a,b".into())
        );
        for none in [
            &[q][..],
            &[q, "-name"],
            &[q, "-name", "debug-threads=on"],
            &[q, "-name", ""],
        ] {
            assert_eq!(named(none), None, "{none:?}");
        }
    }

    #[test]
    fn one_scan_answers_all_questions_of_one_piece_of_work() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = file.as_file().metadata().unwrap();
        let id = FileId {
            device: stat.dev(),
            inode: stat.ino(),
        };
        let mut child = during_one_scan(|| {
            assert!(holders(id).is_empty());
            let child = std::process::Command::new("sleep")
                .arg("30")
                .stdin(fs::File::open(file.path()).unwrap())
                .spawn()
                .unwrap();
            during_one_scan(|| assert!(holders(id).is_empty(), "looked at once"));
            assert!(holders(id).is_empty(), "the inner one ends nothing");
            child
        });
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while holders(id).is_empty() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let found = holders(id);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_process_that_only_reads_is_a_holder_without_locks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .stdin(fs::File::open(file.path()).unwrap())
            .spawn()
            .unwrap();
        let stat = file.as_file().metadata().unwrap();
        let id = FileId {
            device: stat.dev(),
            inode: stat.ino(),
        };
        // The child becomes `sleep` a moment after it was forked.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let found = loop {
            let found = holders(id);
            let named = found.iter().any(|holder| holder.command == "sleep");
            if named || std::time::Instant::now() > deadline {
                break found;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let all = holders_of(&[id]);
        child.kill().unwrap();
        child.wait().unwrap();
        let expected = Holder {
            pid: child.id(),
            command: "sleep".into(),
            machine: None,
            writes: false,
            locks: false,
            host: None,
        };
        assert_eq!(
            found,
            std::slice::from_ref(&expected),
            "our own descriptor does not count"
        );
        assert_eq!(all.get(&id), Some(&vec![expected]));
    }

    #[test]
    #[allow(unsafe_code)] // The only way to hold a child where it is about to become a program.
    fn a_child_that_is_just_being_started_is_no_holder() {
        use std::io::{Read, Write};
        use std::os::unix::process::CommandExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = file.as_file().metadata().unwrap();
        let id = FileId {
            device: stat.dev(),
            inode: stat.ino(),
        };
        let (mut forked, mut tell) = std::io::pipe().unwrap();
        let (mut wait, mut go_on) = std::io::pipe().unwrap();
        let mut command = std::process::Command::new("true");
        // SAFETY: it reads and writes a byte of a pipe, which a forked child may.
        unsafe {
            command.pre_exec(move || {
                tell.write_all(b"x")?;
                wait.read_exact(&mut [0])
            });
        }
        let starting = std::thread::spawn(move || command.status().unwrap());
        forked.read_exact(&mut [0]).unwrap();
        let has_it = |pid: u32| {
            let process = Path::new("/proc").join(pid.to_string());
            let descriptors: Vec<i32> = numbers_in(&process.join("fd"), usize::MAX);
            let mut files = descriptors.into_iter();
            pid != std::process::id() && files.any(|fd| file_of(&process, fd) == Some(id))
        };
        let pids: Vec<u32> = numbers_in(Path::new("/proc"), usize::MAX);
        assert!(pids.into_iter().any(has_it), "the child has it open");
        let found = holders(id);
        go_on.write_all(b"x").unwrap();
        assert!(starting.join().unwrap().success());
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_file_nobody_has_open_is_not_in_the_answer() {
        let id = FileId {
            device: u64::MAX,
            inode: u64::MAX,
        };
        assert!(holders_of(&[id]).is_empty());
        assert!(holders_of(&[]).is_empty());
    }
}
