//! What room an operation needs on which filesystem: added up in the plan, and refused where more is
//! needed than is free. How much one image takes is counted in `image`.

use std::path::Path;

use crate::image::Growth;
use crate::units::size;

use super::copy_file::folder;
use super::device;
use super::format::shown;
use super::locks::data_file;
use super::plan::{Plan, SpaceNeed};
use super::refusal::RefusalKind;

/// Adds to what is needed on the filesystem of a directory.
pub(in crate::ops) fn need_in(plan: &mut Plan, dir: &Path, bytes: u64) {
    add(plan, dir, bytes, 0);
}

/// Adds to what is needed for certain and what may be needed besides. What is free has to do for the
/// first; where it does not for both, that is no more than said.
pub(in crate::ops) fn add(plan: &mut Plan, dir: &Path, certain: u64, possible: u64) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let Ok(space) = host.space(dir) else {
        return;
    };
    let same = |need: &&mut SpaceNeed| {
        device::stat_of(host, &need.dir).is_none()
            && host
                .space(&need.dir)
                .is_ok_and(|other| other.device == space.device)
    };
    let new = SpaceNeed {
        dir: dir.to_path_buf(),
        needed: certain,
        possible,
        available: space.available,
    };
    let needed = add_to(&mut plan.space, same, new);
    if space.available < needed {
        plan.refuse(
            RefusalKind::NoSpace,
            format!(
                "there is no room in {}: {} needed, {} free",
                shown(dir),
                size(needed),
                size(space.available)
            ),
        );
    }
}

/// Adds to what is needed where this file is.
pub(in crate::ops) fn need_at(plan: &mut Plan, path: &Path, bytes: u64) {
    at(plan, path, bytes, 0);
}

/// Adds to what is needed in the filesystem of a file, or on the device that it is: what is free there is what
/// its image does not use.
fn at(plan: &mut Plan, path: &Path, certain: u64, possible: u64) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let Some((available, stat)) = device::free(host, path) else {
        return add(plan, folder(path), certain, possible);
    };
    let same = |need: &&mut SpaceNeed| host.stat(&need.dir).is_ok_and(|other| other.id == stat.id);
    let new = SpaceNeed {
        dir: path.to_path_buf(),
        needed: certain,
        possible,
        available,
    };
    let needed = add_to(&mut plan.space, same, new);
    if available < needed {
        plan.refuse(
            RefusalKind::NoSpace,
            format!(
                "there is no room on the device {}, which is {} long: {} needed, {} left: {}",
                shown(path),
                size(stat.len),
                size(needed),
                size(available),
                device::extend_line(&stat, needed - available)
            ),
        );
    }
}

/// Adds a need to the one of the same place, if there is one; tells the bytes that are needed there for certain.
pub(in crate::ops) fn add_to(
    needs: &mut Vec<SpaceNeed>,
    is_same: impl FnMut(&&mut SpaceNeed) -> bool,
    new: SpaceNeed,
) -> u64 {
    match needs.iter_mut().find(is_same) {
        Some(need) => {
            need.needed = need.needed.saturating_add(new.needed);
            need.possible = need.possible.saturating_add(new.possible);
            need.available = need.available.min(new.available);
            need.needed
        }
        None => {
            let needed = new.needed;
            needs.push(new);
            needed
        }
    }
}

/// Adds what an image that is there grows by: where it is, and where its data file is, if it has one.
pub(in crate::ops) fn need_growth(plan: &mut Plan, image: &Path, growth: Growth) {
    may_need_growth(plan, image, growth, Growth::default());
}

/// The same, with what it may grow by besides.
pub(in crate::ops) fn may_need_growth(
    plan: &mut Plan,
    image: &Path,
    growth: Growth,
    besides: Growth,
) {
    match data_file(plan.host(), image) {
        Some(data) => {
            at(plan, &data, growth.data, besides.data);
            at(plan, image, growth.tables, besides.tables);
        }
        None => at(plan, image, growth.total(), besides.total()),
    }
}
