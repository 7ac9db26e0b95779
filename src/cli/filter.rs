//! Which images a filter asks for: the line that `/` on the screen takes, with the same meaning.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::forest::Index;
use crate::inside::Until;
use crate::ops::{self, Context, InsidesByPath, SpaceCache, SpaceQuery};
use crate::tui::filter::{Filter, Hits};
use crate::tui::places::Places;
use crate::tui::space::{Figures, SpaceFound};

use super::exit::Stop;

/// Of leaves that nobody uses, discarding is proposed for those unchanged for this long, as `space` does.
const UNCHANGED: Duration = Duration::from_secs(30 * 86_400);

/// The images that a line finds. Looks inside images, or measures them, where it asks for that.
///
/// # Errors
/// When a term of it makes no sense.
pub(super) fn hits(context: &Context, line: &str) -> anyhow::Result<Hits> {
    let mut filter = Filter::parse(line);
    if let Some(complaint) = filter.complaint() {
        return Err(Stop::Usage(complaint.to_owned()).into());
    }
    if filter.asks_for_insides() {
        filter = filter.seeing(Arc::new(insides(context)));
    }
    if filter.asks_for_space() {
        filter = filter.knowing(figures(context));
    }
    let roots = context.looked_in.dirs();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = Places {
        roots: &roots,
        home: home.as_deref(),
    };
    Ok(filter.hits(&context.forest, places, context.host.now()))
}

/// What is inside all images: looked at where no earlier run has.
fn insides(context: &Context) -> InsidesByPath {
    let mut known = ops::kept_insides(Index::default_dir().as_deref());
    let mut found = InsidesByPath::new();
    let mut hears = |path: &Path, inside: &Arc<_>, _| {
        found.insert(path.to_path_buf(), Arc::clone(inside));
    };
    ops::insides(context, &mut known, &Until::as_long_as(|| true), &mut hears);
    found
}

/// The space that all images take.
fn figures(context: &Context) -> Arc<Figures> {
    let query = SpaceQuery {
        older_than: UNCHANGED,
        reads: false,
        estimates_compressing: false,
        known: &SpaceCache::default(),
        until: Until::as_long_as(|| true),
        advances: &|_| {},
        hears: &|_, _| {},
    };
    let measured = ops::space(context, &query);
    measured.map_or_else(Arc::default, |report| SpaceFound::whole(&report).figures)
}
