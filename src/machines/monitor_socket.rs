//! Where a command line of QEMU puts its monitors of the machine protocol (QMP), pure. Monitors for people (HMP)
//! are none, nor are those that QEMU itself connects to somebody.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::host::option_parts;

use super::qemu_line::{Program, option};

/// Monitors of one command line, at most.
const MAX_MONITORS: usize = 16;

/// A socket on which a process of QEMU listens for one who speaks QMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorSocket {
    /// By its name; a relative one counts from the folder that the process runs in.
    Path(PathBuf),
    /// By the number of the descriptor that it was passed.
    Descriptor(u32),
}

/// The monitors that a process has been started with, given the words of its command line.
#[must_use]
pub fn monitor_sockets(words: &[&[u8]]) -> Vec<MonitorSocket> {
    let program = words.first().and_then(|first| Program::of(first));
    let Some(program @ (Program::Emulator | Program::Daemon)) = program else {
        return Vec::new();
    };
    let mut chardevs = Vec::new();
    let mut monitors = Vec::new();
    let mut found = Vec::new();
    for pair in words.windows(2) {
        let [word, value] = pair else { continue };
        match option(word) {
            Some(b"qmp" | b"qmp-pretty") => found.extend(by_address(value)),
            Some(b"chardev") => chardevs.push(option_parts(value)),
            Some(b"mon") => monitors.push((option_parts(value), false)),
            Some(b"monitor") if program == Program::Daemon => {
                monitors.push((option_parts(value), true));
            }
            _ => {}
        }
    }
    for (parts, is_control) in monitors {
        let is_control = is_control || get(&parts, "mode") == Some(b"control");
        // The first word of it may stand without its key.
        let bare = parts.first().filter(|part| !part.contains(&b'='));
        let Some(id) = get(&parts, "chardev").or(bare.map(Vec::as_slice)) else {
            continue;
        };
        let of_it = |parts: &&Vec<Vec<u8>>| get(parts, "id") == Some(id);
        let chardev = chardevs.iter().find(of_it).filter(|_| is_control);
        found.extend(chardev.and_then(|parts| by_chardev(parts)));
    }
    found.truncate(MAX_MONITORS);
    found
}

/// Where the agent in the guest (`qemu-guest-agent`) is spoken with, given the words of the command line.
#[must_use]
pub fn agent_socket(words: &[&[u8]]) -> Option<MonitorSocket> {
    let of = |wanted: &'static [u8]| {
        let pairs = words.windows(2).filter_map(move |pair| match pair {
            [word, value] if option(word) == Some(wanted) => Some(option_parts(value)),
            _ => None,
        });
        pairs.collect::<Vec<_>>()
    };
    let port = of(b"device").into_iter().find(|parts| {
        let is_port = parts.first().is_some_and(|kind| kind == b"virtserialport");
        is_port && get(parts, "name") == Some(b"org.qemu.guest_agent.0")
    })?;
    let id = get(&port, "chardev")?;
    let chardev = of(b"chardev")
        .into_iter()
        .find(|parts| get(parts, "id") == Some(id))?;
    by_chardev(&chardev)
}

/// Where a storage daemon serves exports over NBD, given the words of its command line.
#[must_use]
pub fn nbd_socket(words: &[&[u8]]) -> Option<MonitorSocket> {
    let mut pairs = words.windows(2).filter_map(|pair| match pair {
        [word, value] if option(word) == Some(b"nbd-server") => Some(option_parts(value)),
        _ => None,
    });
    let parts = pairs.next_back()?;
    (get(&parts, "addr.type") == Some(b"unix")).then_some(())?;
    path(get(&parts, "addr.path")?)
}

/// `unix:PATH,server=on,wait=off`.
fn by_address(value: &[u8]) -> Option<MonitorSocket> {
    let parts = option_parts(value.strip_prefix(b"unix:")?);
    listens(&parts).then_some(())?;
    path(parts.first()?)
}

/// `socket,id=m,path=PATH,server=on`, `socket,id=m,fd=31,server=on`.
fn by_chardev(parts: &[Vec<u8>]) -> Option<MonitorSocket> {
    let is_socket = parts.first().is_some_and(|kind| kind == b"socket");
    (is_socket && listens(parts)).then_some(())?;
    if let Some(name) = get(parts, "path") {
        return path(name);
    }
    let number = str::from_utf8(get(parts, "fd")?).ok()?.parse().ok()?;
    Some(MonitorSocket::Descriptor(number))
}

fn listens(parts: &[Vec<u8>]) -> bool {
    let is_bare = parts.iter().any(|part| part == b"server");
    is_bare || matches!(get(parts, "server"), Some(b"on" | b"yes" | b"true"))
}

fn path(name: &[u8]) -> Option<MonitorSocket> {
    let is_name = !name.is_empty() && !name.contains(&0);
    is_name.then(|| MonitorSocket::Path(OsString::from_vec(name.to_vec()).into()))
}

fn get<'p>(parts: &'p [Vec<u8>], key: &str) -> Option<&'p [u8]> {
    let value = |part: &'p Vec<u8>| part.strip_prefix(key.as_bytes())?.strip_prefix(b"=");
    parts.iter().rev().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<MonitorSocket> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        monitor_sockets(&words)
    }

    fn path(name: &str) -> MonitorSocket {
        MonitorSocket::Path(name.into())
    }

    #[test]
    fn monitors_are_found_in_each_form_that_qemu_takes() {
        for (line, socket) in [
            (
                "qemu-system-x86_64 -qmp unix:/run/a,,b.sock,server=on,wait=off",
                path("/run/a,b.sock"),
            ),
            (
                "/usr/bin/kvm -m 64 -qmp-pretty unix:qmp,server,nowait",
                path("qmp"),
            ),
            (
                "qemu-system-arm -chardev socket,id=m,path=/run/m,server=on,wait=off -mon chardev=m,mode=control",
                path("/run/m"),
            ),
            (
                "qemu-storage-daemon --chardev socket,path=/run/q,server=on,wait=off,id=c --monitor c",
                path("/run/q"),
            ),
            (
                "qemu-storage-daemon --monitor chardev=c --chardev socket,path=q,server=on,id=c",
                path("q"),
            ),
            (
                "qemu-kvm -chardev socket,id=charmonitor,fd=31,server=on,wait=off -mon \
                 chardev=charmonitor,id=monitor,mode=control",
                MonitorSocket::Descriptor(31),
            ),
        ] {
            assert_eq!(found(line), [socket], "{line}");
        }
    }

    #[test]
    fn the_agent_is_behind_the_port_of_its_name() {
        let line = "qemu-kvm -chardev socket,id=a,path=/run/a,server=on -device virtio-serial -chardev \
                    socket,path=ga,server=on,wait=off,id=g -device virtserialport,chardev=a,name=org.spice.0 -device \
                    virtserialport,chardev=g,name=org.qemu.guest_agent.0";
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        assert_eq!(agent_socket(&words), Some(path("ga")));
        assert_eq!(agent_socket(&[b"qemu-kvm", b"-S"]), None);
    }

    #[test]
    fn what_is_no_monitor_for_programs_is_none() {
        for line in [
            "qemu-system-x86_64 -monitor unix:/run/hmp,server=on",
            "qemu-system-x86_64 -chardev socket,id=m,path=/run/m,server=on -mon chardev=m,mode=readline",
            "qemu-system-x86_64 -chardev socket,id=m,path=/run/m,server=on -mon m",
            "qemu-system-x86_64 -qmp tcp:localhost:4444,server=on",
            "qemu-system-x86_64 -qmp unix:/run/m",
            "qemu-system-x86_64 -qmp stdio",
            "qemu-system-x86_64 -chardev pty,id=m -mon chardev=m,mode=control",
            "qemu-nbd -qmp unix:/run/m,server=on",
            "vi -qmp unix:/run/m,server=on",
            "",
        ] {
            assert_eq!(found(line), [], "{line}");
        }
    }
}
