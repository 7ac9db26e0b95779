//! QEMU as it runs, whoever started it: machines by their command lines, and the tools that serve images.

use std::ffi::OsStr;
use std::path::Path;

use crate::host::machine_in;

use super::found::Found;
use super::machine::{Machine, MachineState};
use super::places::Places;
use super::qemu_line::{self, Program};
use super::text_file;

/// The name of this row of the table.
pub(super) const PRODUCT: &str = "QEMU";

/// Every process of QEMU that can be seen.
pub(super) fn read(product: &'static str, places: &Places, found: &mut Found) {
    let host = places.host.as_ref();
    let proc = places.system("proc");
    let names = match host.list_dir(&proc) {
        Ok(names) => names,
        Err(error) => return found.unread(product, &proc, &error),
    };
    let is_process = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let mut processes: Vec<_> = names.into_iter().filter(|name| is_process(name)).collect();
    processes.sort_unstable();
    for name in processes {
        // One that has ended meanwhile is none.
        let dir = proc.join(&name);
        found.machines.extend(machine(product, places, &dir));
    }
}

fn machine(product: &'static str, places: &Places, process: &Path) -> Option<Machine> {
    let host = places.host.as_ref();
    let line = text_file::read_bytes(host, &process.join("cmdline")).ok()?;
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let program = Program::of(words.first()?)?;
    // Of another user's process the folder cannot be seen: only absolute names count then.
    let folder = host.canonical(&process.join("cwd")).unwrap_or_default();
    let name = machine_in(line).map(|name| String::from_utf8_lossy(&name).into_owned());
    let number = process.file_name().unwrap_or_default().to_string_lossy();
    let mut machine = Machine::new(
        product,
        format!("process {number}"),
        name.unwrap_or_else(|| program.name().to_owned()),
        MachineState::Running,
    );
    machine.id = qemu_line::uuid(&words);
    machine.disks = qemu_line::disks(program, &words, &folder);
    machine.disks.retain(|disk| disk.file.path.is_absolute());
    Some(machine)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machines::places::tests::system;
    use crate::machines::products::read_with;

    #[test]
    fn a_process_of_qemu_is_a_machine_that_runs() {
        let (dir, places) = system();
        let process = dir.path().join("proc/12");
        fs::create_dir_all(&process).unwrap();
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        fs::create_dir_all(dir.path().join("work")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("work"), process.join("cwd")).unwrap();
        let line = "/usr/bin/qemu-system-x86_64\0-name\0guest=web,debug-threads=on\0-uuid\0ab-cd\0\
                    -drive\0file=disk.qcow2,id=d0\0";
        fs::write(process.join("cmdline"), line).unwrap();
        for (number, other) in [("13", "/usr/bin/less\0disk.qcow2\0"), ("14", "")] {
            let other_process = dir.path().join("proc").join(number);
            fs::create_dir_all(&other_process).unwrap();
            fs::write(other_process.join("cmdline"), other).unwrap();
        }
        let found = read_with(read, PRODUCT, &places);
        assert_eq!(found.unasked, []);
        let [machine] = &found.machines[..] else {
            panic!("{:?}", found.machines)
        };
        assert_eq!(machine.name, "web");
        assert_eq!(machine.place, "process 12");
        assert_eq!(machine.id.as_deref(), Some("ab-cd"));
        assert_eq!(machine.state, MachineState::Running);
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(machine.disks[0].file.path, root.join("work/disk.qcow2"));
    }
}
