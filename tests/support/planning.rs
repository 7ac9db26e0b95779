//! A context for plans made by a scan, and shorthands to plan and run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy::forest::{ScanOptions, scan_all};
use qanopy::host::Host;
use qanopy::image::Keys;
use qanopy::machines::{Disk, Machine, MachineState, NamedFile};
use qanopy::ops::{
    self, Confirm, Consent, Context, Error, LookedIn, Outcome, Plan, Progress, Request,
};

/// Everything below `dir`, seen through `host`; state is kept in `dir/state`.
pub fn context(host: Arc<dyn Host>, dir: &Path) -> Context {
    let options = ScanOptions {
        roots: vec![dir.to_path_buf()],
        follow: false,
        raw: true,
    };
    let (forest, _) = scan_all(Arc::clone(&host), options);
    Context {
        host,
        forest: Arc::new(forest),
        looked_in: LookedIn::within(vec![dir.to_path_buf()]),
        state_dir: Some(dir.join("state")),
        keys: Keys::none(),
        peers: qanopy::fleet::Peers::Nobody,
    }
}

/// Agrees to a plan, typing the number it asks for, and runs it.
pub fn execute(plan: Plan) -> Result<Outcome, Error> {
    let consent = match plan.confirm {
        Confirm::Count(count) => Consent::Count(count),
        _ => Consent::Yes,
    };
    ops::run(plan.agree(consent).unwrap(), &Progress::new())
}

/// Plans and runs it.
pub fn execute_request(context: &Context, request: &Request) -> Result<Outcome, Error> {
    execute(ops::plan(context, request))
}

/// The plan as the person reads it.
pub fn words(plan: &Plan) -> String {
    plan.lines()
        .iter()
        .map(|line| format!("{} {}\n", line.label, line.text))
        .collect()
}

/// The machine `web` of libvirt, which is off and has this as its disk.
pub fn machine_of(disk: impl Into<PathBuf>) -> Machine {
    Machine {
        product: "libvirt",
        host: None,
        place: "qemu:///system".to_owned(),
        name: "web".to_owned(),
        id: None,
        state: MachineState::Off,
        disks: vec![Disk {
            target: "vda".to_owned(),
            file: named(disk),
            format: Some("qcow2".to_owned()),
            pinned: Vec::new(),
            pin_ends: false,
            read_only: false,
        }],
        snapshots: Vec::new(),
        checkpoints: Vec::new(),
        managed_by: None,
    }
}

/// A file of which a machine knows the name.
pub fn named(path: impl Into<PathBuf>) -> NamedFile {
    NamedFile {
        path: path.into(),
        file: None,
    }
}
