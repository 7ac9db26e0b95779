//! What is asked of an image that a machine has open, asked of the machine.

use crate::ops::framework::lifecycle;
use crate::ops::{
    Branch, Commit, CommittedLayer, Context, ImageOptions, LiveBranch, LiveCommit, LiveFlatten,
    LiveMove, LiveOverlay, MoveImages, Plan, RefusalKind, Request, Siblings, WayOut,
};

impl Request {
    /// The same by the machine that has the image open; none of what no machine does so.
    #[must_use]
    pub fn live(&self) -> Option<Self> {
        Some(match self {
            Self::Branch(branch) if is_plain(branch) => LiveBranch {
                disks: vec![LiveOverlay {
                    leaf: branch.base.clone(),
                    new: branch.new.clone(),
                }],
                style: branch.style,
                quiesce: true,
            }
            .into(),
            Self::Commit(Commit {
                overlay,
                into,
                layer: CommittedLayer::Trash,
                siblings,
                keep_old: None,
            }) => LiveCommit {
                overlay: overlay.clone(),
                into: into.clone(),
                siblings: match siblings {
                    // A machine breaks nobody.
                    Siblings::Break => Siblings::Refuse,
                    other => *other,
                },
                speed: None,
                takes_up: false,
            }
            .into(),
            Self::Flatten(flatten) if flatten.new.is_none() => LiveFlatten {
                image: flatten.image.clone(),
                onto: flatten.onto.clone(),
                speed: None,
                takes_up: false,
            }
            .into(),
            Self::Move(MoveImages {
                moves,
                subtree: false,
            }) => match &moves[..] {
                [one] => LiveMove {
                    image: one.from.clone(),
                    to: one.to.clone(),
                    speed: None,
                    takes_up: false,
                }
                .into(),
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// Whether nothing is asked of the overlay that the machine would not be told.
fn is_plain(branch: &Branch) -> bool {
    branch.size.is_none() && branch.format.is_none() && branch.image == ImageOptions::default()
}

/// Looks at what `request` asks and says what it would do. Changes nothing, and always gives a plan: what cannot be
/// done is a plan with refusals. Where something is in use stands in the way, the machine can be asked to do it.
#[must_use]
pub fn plan(context: &Context, request: &Request) -> Plan {
    let mut plan = lifecycle::plan(context, request);
    if let Some(request) = request.live() {
        let is_in_use = |kind| kind == RefusalKind::InUse;
        if let Some(refusal) = plan.refusals.iter_mut().find(|it| is_in_use(it.kind)) {
            refusal.ways_out.push(WayOut {
                label: "have the machine do it while its guest goes on".to_owned(),
                request,
            });
        }
    }
    plan
}
