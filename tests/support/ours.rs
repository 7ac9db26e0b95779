//! Our own code at work in tests: the guest's bytes as we read them, and operations planned, agreed
//! to and run on a directory of images.

use std::path::Path;
use std::sync::Arc;

use qanopy::forest::{self, Forest, ScanOptions};
use qanopy::host::{Host, RealHost};
use qanopy::image::{Chain, Format, Keys};
use qanopy::ops::{
    self, CommittedLayer, Confirm, Consent, Context, LookedIn, Outcome, Plan, Progress, Ready,
    Request, Siblings,
};

use super::oracle::View;

/// Bytes read at a time: no multiple of most cluster sizes' tables, so that reads cross them.
const STEP: usize = 3 << 17;

/// The guest's bytes of a chain as we read them, or why we do not.
pub fn view(path: &Path, format: Option<&str>) -> Result<View, String> {
    view_on(&RealHost, path, format)
}

/// The same on another host.
pub fn view_on(host: &dyn Host, path: &Path, format: Option<&str>) -> Result<View, String> {
    let format = format.map(Format::from_name);
    let chain =
        Chain::open(host, path, format.as_ref(), &|_| true).map_err(|error| error.to_string())?;
    let mut view = View::of(&[]);
    let mut buf = vec![0xee; STEP];
    let size = chain.virtual_size();
    while view.len < size {
        let part = STEP.min(usize::try_from(size - view.len).unwrap());
        chain
            .read_at(&mut buf[..part], view.len)
            .map_err(|error| error.to_string())?;
        view.append(&buf[..part]);
    }
    Ok(view)
}

/// Everything below `dir`, as a scan finds it.
pub fn scan(host: &Arc<dyn Host>, dir: &Path) -> Forest {
    let options = ScanOptions {
        roots: vec![dir.to_path_buf()],
        ..ScanOptions::default()
    };
    forest::scan_all(Arc::clone(host), options).0
}

/// What planning looks at: everything below `dir`.
pub fn context(host: &Arc<dyn Host>, dir: &Path) -> Context {
    Context {
        host: Arc::clone(host),
        forest: Arc::new(scan(host, dir)),
        looked_in: LookedIn {
            dirs: vec![dir.to_path_buf()],
            remembered: 0,
        },
        state_dir: None,
        keys: Keys::none(),
    }
}

/// The plan to commit `overlay`, all of `dir` being known.
pub fn plan_commit(
    host: &Arc<dyn Host>,
    dir: &Path,
    overlay: &Path,
    layer: CommittedLayer,
    siblings: Siblings,
) -> Plan {
    let request = Request::Commit {
        overlay: overlay.to_path_buf(),
        into: None,
        layer,
        siblings,
        keep_old: None,
    };
    ops::plan(&context(host, dir), &request)
}

/// Agrees to a plan as a person does who types what they are asked to type.
pub fn agree(plan: Plan) -> Result<Ready, String> {
    let consent = match plan.confirm {
        Confirm::Count(count) => Consent::Count(count),
        Confirm::Yes | Confirm::Impossible => Consent::Yes,
    };
    plan.agree(consent).map_err(|denied| denied.to_string())
}

/// Plans, agrees and runs; the refusal or the error in words.
pub fn commit(
    host: &Arc<dyn Host>,
    dir: &Path,
    overlay: &Path,
    layer: CommittedLayer,
    siblings: Siblings,
) -> Result<Outcome, String> {
    let ready = agree(plan_commit(host, dir, overlay, layer, siblings))?;
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// The plan of any request, all of `dir` being known.
pub fn plan(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Plan {
    ops::plan(&context(host, dir), request)
}

/// Plans, agrees and runs, with the proof that nobody else's content changed; the refusal or the error in
/// words.
pub fn run(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Result<Outcome, String> {
    let ready = agree(plan(host, dir, request))?.proving();
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// The machine as it is.
pub fn real_host() -> Arc<dyn Host> {
    Arc::new(RealHost)
}
