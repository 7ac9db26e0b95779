//! What is not merged while a machine runs, whether it writes the layer or only reads it.

use crate::ops::framework::eligibility::refuse_foreign_data;
use crate::ops::framework::format::shown;
use crate::ops::{Plan, RefusalKind, Siblings};

use super::run::CommitRange;

/// Refuses what a machine does not do, or would lose.
pub(super) fn refuse_unfit(plan: &mut Plan, run: &CommitRange<'_>, siblings: Siblings) {
    if siblings == Siblings::Break {
        let text = "while a machine runs, what is built on the base is kept intact or the commit is refused";
        plan.refuse(RefusalKind::Invalid, text);
    }
    let concerned = run.layers.iter().chain([&run.base]);
    refuse_foreign_data(plan, concerned.clone().map(|node| node.id));
    for node in concerned {
        let Some(info) = node.info() else { continue };
        if info.bitmaps > 0 {
            let text = format!(
                "{} has dirty bitmaps, which would no longer fit what they record: this commit would break the \
                 backups that go by them",
                shown(&node.path)
            );
            plan.refuse(RefusalKind::WouldLose, text);
        }
        if info.encryption.is_some() || info.external_data {
            let text = format!(
                "{} is encrypted or keeps its data in another file: shut the machine down, and commit it then",
                shown(&node.path)
            );
            plan.refuse(RefusalKind::Unsupported, text);
        }
    }
}
