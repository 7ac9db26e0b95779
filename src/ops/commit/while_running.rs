//! What is the same whether a machine that runs writes the layer that it merges or only reads it.

use std::path::{Path, PathBuf};

use crate::ops::framework::eligibility::refuse_foreign_data;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locks::look_again;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::live::running::is_open;
use crate::ops::{Error, Plan, RefusalKind, Siblings};

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

/// What is left to do of an interrupted merge whose overlay is not there any more; none where it is there.
pub(super) fn is_gone(half: &Half<'_>, overlay: &Path) -> Option<Way> {
    if half.is_there(overlay) {
        return None;
    }
    Some(match half.is_in_trash(overlay) {
        true => Way::Nothing(format!(
            "it was merged, and {} is in the trash",
            name(overlay)
        )),
        false => Way::Impossible(format!(
            "{} is neither at its place nor in the trash",
            shown(overlay)
        )),
    })
}

/// What an interrupted merge merges into: what was named, or what the overlay is built on.
pub(super) fn base_of(half: &Half<'_>, overlay: &Path, into: Option<&Path>) -> Option<PathBuf> {
    let forest = half.context.forest.as_ref();
    match into {
        Some(into) => Some(into.to_path_buf()),
        None => Some(forest.get(forest.by_path(overlay)?.parent?)?.path.clone()),
    }
}

/// That merged layers may go: nobody has built on one while it was merged, and none is open.
///
/// # Errors
/// [`Error::Stale`] and [`Error::InUse`] name who is in the way.
pub(super) fn require_free<'l>(
    plan: &Plan,
    layers: impl IntoIterator<Item = &'l PathBuf>,
) -> Result<(), Error> {
    look_again(plan)?;
    match layers.into_iter().find(|layer| is_open(plan.host(), layer)) {
        Some(layer) => Err(Error::in_use(format!("{} is open still", shown(layer)))),
        None => Ok(()),
    }
}
