//! Our own code at work in tests: the guest's bytes as we read them, and operations planned, agreed
//! to and run on a directory of images.

use std::path::Path;
use std::sync::Arc;

use qanopy::forest::{self, Forest, ScanOptions};
use qanopy::host::{Host, RealHost};
use qanopy::image::{Chain, Format, Keys};
use qanopy::ops::{
    self, Commit, CommittedLayer, Confirm, Consent, Context, Flatten, LookedIn, Outcome, Plan,
    Progress, Ready, Request, Siblings,
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
        looked_in: LookedIn::within(vec![dir.to_path_buf()]),
        state_dir: None,
        keys: Keys::none(),
        peers: qanopy::fleet::Peers::Nobody,
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
    let request = Request::Commit(Commit {
        overlay: overlay.to_path_buf(),
        into: None,
        layer,
        siblings,
        keep_old: None,
    });
    plan(host, dir, &request)
}

/// Agrees to a plan as a person does who types what they are asked to type.
pub fn agree(plan: Plan) -> Result<Ready, String> {
    let consent = match plan.confirm {
        Confirm::Count(count) => Consent::Count(count),
        Confirm::Nothing | Confirm::Yes | Confirm::Impossible => Consent::Yes,
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
    let plan = plan_commit(host, dir, overlay, layer, siblings);
    let forecast = Room::before(dir, &plan);
    let done = ops::run(agree(plan)?, &Progress::new()).map_err(|error| error.to_string());
    forecast.holds(dir);
    done
}

/// The plan of any request, all of `dir` being known.
pub fn plan(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Plan {
    ops::plan(&context(host, dir), request)
}

/// Plans, agrees and runs, with the proof that nobody else's content changed; the refusal or the error in
/// words.
pub fn run(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Result<Outcome, String> {
    let mut planned = plan(host, dir, request);
    // A process of another test that has not begun its own program yet has every file that is open here.
    for _ in 0..3 {
        let is_copy = |refusal: &ops::Refusal| refusal.text.contains("is in use by qemu-");
        if !planned.refusals.iter().any(is_copy) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(40));
        planned = plan(host, dir, request);
    }
    let forecast = Room::before(dir, &planned);
    let ready = agree(planned)?.proving();
    let done = ops::run(ready, &Progress::new()).map_err(|error| error.to_string());
    forecast.holds(dir);
    done
}

/// What a plan says it needs, to be held against what was taken.
struct Room {
    before: u64,
    needed: u64,
    is_compressed: bool,
    words: String,
}

impl Room {
    fn before(dir: &Path, plan: &Plan) -> Self {
        Self {
            before: allocated(dir),
            needed: plan
                .space
                .iter()
                .map(|need| need.needed + need.possible)
                .sum(),
            is_compressed: matches!(
                plan.request,
                Request::Flatten(Flatten {
                    compress: Some(_),
                    ..
                })
            ),
            words: format!("{:?}: {:?}", plan.request, plan.space),
        }
    }

    /// Nothing took more than was forecast; the trash keeps a small manifest besides.
    fn holds(&self, dir: &Path) {
        if self.is_compressed {
            // How far data can be compressed is not known before.
            return;
        }
        let took = allocated(dir).saturating_sub(self.before);
        let manifest = 16 << 10;
        assert!(
            took <= self.needed + manifest,
            "{took} bytes were taken, {} forecast: {}",
            self.needed,
            self.words
        );
    }
}

/// Bytes on disk of all files below a directory.
fn allocated(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = super::script::files_below(dir);
    files
        .iter()
        .filter_map(|file| std::fs::symlink_metadata(file).ok())
        .map(|stat| stat.blocks() * 512)
        .sum()
}

/// The name of the entry of `dir`'s trash that holds the image of that name, if one does.
pub fn trashed(dir: &Path, image: &str) -> Option<String> {
    let entries = ops::trash::list(&RealHost, None, &[dir.to_path_buf()]);
    let holds = |entry: &&ops::trash::Entry| {
        let mut files = entry.files.iter();
        files.any(|file| file.original == dir.join(image))
    };
    entries.iter().find(holds).map(|entry| entry.name.clone())
}

/// The machine as it is.
pub fn real_host() -> Arc<dyn Host> {
    Arc::new(RealHost)
}
