//! Several plans that are agreed to at once: each is made as if it were alone, and then what they come to
//! together is held against what there is. Running them is as running each.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::host::during_one_scan;
use crate::units::size;

use super::context::Context;
use super::format::shown;
use super::lifecycle::plan;
use super::plan::{EffectKind, Plan};
use super::refusal::RefusalKind;
use super::request::Request;

/// Plans each of the requests, none of which may hang on what another one does. Two that would create the
/// same file are not both possible, and neither is what the filesystems have no room for together.
#[must_use]
pub fn plan_each(context: &Context, requests: &[Request]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = during_one_scan(|| {
        let planned = requests.iter().map(|request| plan(context, request));
        planned.collect()
    });
    let mut created: HashSet<PathBuf> = HashSet::new();
    let mut needed: HashMap<u64, u64> = HashMap::new();
    for plan in &mut plans {
        let twin = plan
            .effects
            .iter()
            .filter(|effect| effect.kind == EffectKind::Creates)
            .find(|effect| !created.insert(effect.path.clone()));
        let mut why = twin.map(|effect| {
            format!(
                "{} would be created twice: give one of them another name",
                shown(&effect.path)
            )
        });
        for need in &plan.space {
            let Ok(stat) = context.host.stat(&need.dir) else {
                continue;
            };
            let together = needed.entry(stat.id.device).or_default();
            *together = together.saturating_add(need.needed);
            // What does not fit alone is refused already.
            if *together > need.available && need.needed <= need.available {
                why = Some(format!(
                    "with those before it {} would be needed in {}, and {} are free",
                    size(*together),
                    shown(&need.dir),
                    size(need.available)
                ));
            }
        }
        if let Some(why) = why {
            plan.refuse(RefusalKind::Invalid, why);
            plan.settle();
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::forest::Forest;
    use crate::host::{Host, RealHost};
    use crate::image::{Keys, Preallocation, Qcow2Options};
    use crate::ops::{Confirm, Create, ImageOptions, LookedIn};

    fn create(path: PathBuf, size: u64) -> Request {
        Request::Create(Create {
            path,
            size,
            image: ImageOptions {
                format: Qcow2Options {
                    preallocation: Preallocation::Full,
                    ..Qcow2Options::default()
                },
                ..ImageOptions::default()
            },
        })
    }

    fn possible(dir: &Path, sizes: [(&str, u64); 2]) -> [bool; 2] {
        let context = Context {
            host: Arc::new(RealHost),
            forest: Arc::new(Forest::new()),
            looked_in: LookedIn::default(),
            state_dir: None,
            keys: Keys::none(),
            peers: crate::fleet::Peers::Nobody,
        };
        let requests = sizes.map(|(name, size)| create(dir.join(name), size));
        let plans = plan_each(&context, &requests);
        let yes = |at: usize| plans[at].confirm == Confirm::Nothing;
        [yes(0), yes(1)]
    }

    #[test]
    fn what_fits_alone_but_not_with_those_before_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let free = RealHost.space(dir.path()).unwrap().available;
        let most = (free / 5 * 3) >> 16 << 16;
        let little = 1 << 20;
        assert_eq!(
            possible(dir.path(), [("a", most), ("b", little)]),
            [true, true]
        );
        assert_eq!(
            possible(dir.path(), [("a", most), ("b", most)]),
            [true, false]
        );
    }

    #[test]
    fn no_file_is_created_twice() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            possible(dir.path(), [("a", 1 << 20), ("a", 1 << 20)]),
            [true, false]
        );
    }
}
