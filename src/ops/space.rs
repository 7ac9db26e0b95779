//! What room an operation needs on which filesystem: added up in the plan, and refused where more is
//! needed than is free. How much one image takes is counted in `image`.

use std::path::Path;

use crate::image::Growth;

use super::copy_file::folder;
use super::in_use::data_file;
use super::words::{shown, size};
use super::{Plan, SpaceNeed};

/// Adds to what is needed on the filesystem of a directory.
pub(super) fn need_in(plan: &mut Plan, dir: &Path, bytes: u64) {
    add(plan, dir, bytes, 0);
}

/// Adds to what is needed for certain and what may be needed besides. What is free has to do for the
/// first; where it does not for both, that is no more than said.
pub(super) fn add(plan: &mut Plan, dir: &Path, certain: u64, possible: u64) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let Ok(space) = host.space(dir) else {
        return;
    };
    let same = |need: &&mut SpaceNeed| {
        host.space(&need.dir)
            .is_ok_and(|other| other.device == space.device)
    };
    let needed = match plan.space.iter_mut().find(same) {
        Some(need) => {
            need.needed = need.needed.saturating_add(certain);
            need.possible = need.possible.saturating_add(possible);
            need.needed
        }
        None => {
            plan.space.push(SpaceNeed {
                dir: dir.to_path_buf(),
                needed: certain,
                possible,
                available: space.available,
            });
            certain
        }
    };
    if space.available < needed {
        plan.refuse(format!(
            "there is no room in {}: {} needed, {} free",
            shown(dir),
            size(needed),
            size(space.available)
        ));
    }
}

/// Adds to what is needed where this file is.
pub(super) fn need_at(plan: &mut Plan, path: &Path, bytes: u64) {
    need_in(plan, folder(path), bytes);
}

/// Adds what an image that is there grows by: where it is, and where its data file is, if it has one.
pub(super) fn need_growth(plan: &mut Plan, image: &Path, growth: Growth) {
    may_need_growth(plan, image, growth, Growth::default());
}

/// The same, with what it may grow by besides.
pub(super) fn may_need_growth(plan: &mut Plan, image: &Path, growth: Growth, besides: Growth) {
    match data_file(plan.host(), image) {
        Some(data) => {
            add(plan, folder(&data), growth.data, besides.data);
            add(plan, folder(image), growth.tables, besides.tables);
        }
        None => add(plan, folder(image), growth.total(), besides.total()),
    }
}
