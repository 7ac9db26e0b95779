//! What is asked of an image that a machine has open, asked of the machine.

use std::path::PathBuf;

use crate::ops::framework::format::command;
use crate::ops::framework::request::Name;
use crate::ops::framework::{lifecycle, resolve};
use crate::ops::{
    Branch, Commit, CommittedLayer, Context, ImageOptions, LiveBranch, LiveCommit, LiveFlatten,
    LiveMove, LiveOverlay, MoveImages, Plan, Power, PowerAction, Refusal, RefusalKind, Request,
    Siblings, WayOut,
};

use super::running::{By, Running};

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
/// done is a plan with refusals. Where something is in use stands in the way, the machine can be asked to do it, or to
/// shut down first.
#[must_use]
pub fn plan(context: &Context, request: &Request) -> Plan {
    let mut plan = lifecycle::plan(context, request);
    let is_in_use = |refusal: &&Refusal| refusal.kind == RefusalKind::InUse;
    if !plan.refusals.iter().any(|refusal| is_in_use(&refusal)) {
        return plan;
    }
    let live = request.live().map(|request| WayOut {
        label: "have the machine do it while its guest goes on".to_owned(),
        request,
    });
    let ways_out = live.into_iter().chain(shut_down(&plan));
    let ways_out: Vec<WayOut> = ways_out.collect();
    if let Some(refusal) = plan.refusals.iter_mut().find(|it| is_in_use(&&**it)) {
        refusal.ways_out.extend(ways_out);
    }
    plan
}

/// The machines of libvirt's that have the images open, each to be shut down. What only a machine that runs does, none
/// does then.
fn shut_down(plan: &Plan) -> Vec<WayOut> {
    let needs_it = matches!(
        plan.request,
        Request::LiveBranch(_)
            | Request::LiveCommit(_)
            | Request::ActiveCommit(_)
            | Request::LiveFlatten(_)
            | Request::LiveMove(_)
            | Request::Power(_)
    );
    if needs_it {
        return Vec::new();
    }
    let context = plan.context();
    let machines = context.forest.machines().list();
    let mut about: Vec<PathBuf> = plan.effects.iter().map(|it| it.path.clone()).collect();
    plan.request.clone().each_name(&mut |name| {
        if let Name::Path(path) = name {
            about.push(path.clone());
        }
    });
    let mut ways_out: Vec<WayOut> = Vec::new();
    for node in about
        .iter()
        .filter_map(|path| resolve::named(context, path).ok())
    {
        let Ok(Running {
            name,
            by: By::Libvirt { connection, id },
            ..
        }) = Running::with(plan, node)
        else {
            continue;
        };
        let known = machines.iter().find(|it| it.id.as_ref() == Some(&id));
        let machine = known.map_or(id, |machine| machine.name.clone());
        let way = WayOut {
            label: format!(
                "shut {name} down first: {}",
                command(&["virsh", "-c", &connection, "shutdown", &name])
            ),
            request: Request::Power(Power {
                machine,
                connection: Some(connection),
                action: PowerAction::ShutDown,
            }),
        };
        if !ways_out.contains(&way) {
            ways_out.push(way);
        }
    }
    ways_out
}
