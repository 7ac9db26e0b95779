//! A resize that was interrupted, where one more is asked for.

use std::path::Path;

use crate::host::printable;
use crate::ops::framework::absolute;
use crate::ops::framework::resumed::interrupted;
use crate::ops::{NewSize, Plan, RefusalKind, Request, WayOut};

/// Refuses to make a disk so much larger or smaller where a resize of it was interrupted: how large it was
/// meant to become then is known, and whether this is the same is not.
pub(super) fn refuse_as_resized_in_part(plan: &mut Plan, image: &Path, wanted: NewSize) {
    if matches!(wanted, NewSize::To(_)) {
        return;
    }
    let path = absolute::path(image);
    let state_dir = plan.context().state_dir.clone();
    let found = interrupted(state_dir.as_deref()).into_iter().rev().find(
        |entry| matches!(entry.request.itself(), Request::Resize(resize) if resize.image == path),
    );
    let Some(entry) = found else { return };
    plan.refuse_but(
        RefusalKind::Interrupted,
        format!(
            "“{}” was interrupted, so it may have happened already: finish that, or say which size it is to be",
            printable(&entry.title)
        ),
        WayOut::recover(entry.id, entry.may_be_rolled_back()),
    );
}
