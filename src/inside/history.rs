//! Where files changed along a chain, as `git log -- FILE` tells it of commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guest::block::Stop;
use crate::guest::diff::{self, NoWatch};
use crate::guest::filesystem::Node;
use crate::guest::path::{self, LastLink};
use crate::guest::{self, Error, Ranges};
use crate::image::{Chain, Keys};

use super::{Place, PlaceError, View};

/// What became of a file in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is there for the first time.
    Added,
    /// Its content, or what it is, differs from the layer below.
    Modified,
    /// Its permissions, owner, times or links differ.
    Metadata,
    /// It is gone.
    Deleted,
    /// It is as the layer below has it.
    Unchanged,
    /// It is neither here nor below.
    Absent,
}

impl Event {
    /// A word for people and for JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Metadata => "metadata",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Absent => "absent",
        }
    }
}

/// What became of a file in one layer.
#[derive(Debug)]
pub struct Step {
    /// The layer's file.
    pub layer: PathBuf,
    /// What became of the file; or why that is not known.
    pub event: Result<Event, String>,
    /// What the file is in this layer.
    pub node: Option<Node>,
}

/// Every state of a chain, the uppermost first: what each layer shows.
#[derive(Debug)]
pub struct States {
    states: Vec<State>,
}

/// What one layer shows, and which bytes of the disk it changed.
#[derive(Debug)]
struct State {
    view: View,
    changed: Ranges,
}

/// Bytes kept of all states together.
const KEPT: usize = 32 << 20;

impl States {
    /// Opens every layer of a chain with all it is built on.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn open(chain: &Chain, keys: &Keys) -> guest::Result<Self> {
        Self::stoppable(chain, keys, Arc::new(|| false))
    }

    /// The same; all that reads through it gives up once `stop` says so.
    ///
    /// # Errors
    /// As there, and when it was stopped.
    pub fn stoppable(chain: &Chain, keys: &Keys, stop: Stop) -> guest::Result<Self> {
        let count = chain.layers().len();
        let state = |index: usize| {
            let own = chain.without(index);
            let below = chain.without(index + 1);
            let changed = if index + 1 < count {
                guest::changed(&below, &own)?
            } else {
                Ranges::all()
            };
            Ok(State {
                view: View::stoppable(own, keys, KEPT / count.max(1), Arc::clone(&stop))?,
                changed,
            })
        };
        Ok(Self {
            states: (0..count).map(state).collect::<guest::Result<_>>()?,
        })
    }

    /// The states with the layer's file, the uppermost first.
    pub fn views(&self) -> impl Iterator<Item = (&Path, &View)> {
        self.states
            .iter()
            .map(|state| (state.view.image(), &state.view))
    }

    /// What became of a file in each layer, the uppermost first.
    ///
    /// # Errors
    /// When an image cannot be read. A layer that holds no such volume has no such file.
    pub fn history(&self, place: &Place) -> guest::Result<Vec<Step>> {
        let nodes = self
            .states
            .iter()
            .map(|state| node(&state.view, place))
            .collect::<guest::Result<Vec<_>>>()?;
        let mut steps = Vec::with_capacity(nodes.len());
        for (index, (state, own)) in self.states.iter().zip(&nodes).enumerate() {
            let older = self.states.get(index + 1).zip(nodes.get(index + 1));
            steps.push(Step {
                layer: state.view.image().to_path_buf(),
                event: event(state, own, older, place)?,
                node: own.as_ref().ok().cloned().flatten(),
            });
        }
        Ok(steps)
    }
}

/// A file in one state; none where it is not there, or why that is not known.
type Found = Result<Option<Node>, String>;

fn node(view: &View, place: &Place) -> guest::Result<Found> {
    let found = match place.on(view) {
        Ok((_, filesystem)) => path::lookup(&**filesystem, &place.path, LastLink::Keep),
        Err(PlaceError::Guest(error)) => Err(error),
        Err(PlaceError::NoVolume { .. }) => return Ok(Ok(None)),
        Err(error) => return Ok(Err(error.to_string())),
    };
    match found {
        Ok(node) => Ok(Ok(Some(node))),
        Err(Error::NotFound(_) | Error::NotADirectory(_)) => Ok(Ok(None)),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// What became of a file from the layer below to this one.
fn event(
    state: &State,
    own: &Found,
    older: Option<(&State, &Found)>,
    place: &Place,
) -> guest::Result<Result<Event, String>> {
    let none = Ok(None);
    let was = older.map_or(&none, |(_, was)| was);
    let (before, after) = match (was, own) {
        (Err(why), _) | (_, Err(why)) => return Ok(Err(why.clone())),
        (Ok(None), Ok(None)) => return Ok(Ok(Event::Absent)),
        (Ok(None), Ok(Some(_))) => return Ok(Ok(Event::Added)),
        (Ok(Some(_)), Ok(None)) => return Ok(Ok(Event::Deleted)),
        (Ok(Some(before)), Ok(Some(after))) => (before, after),
    };
    if (before.id, before.generation, before.kind) != (after.id, after.generation, after.kind) {
        return Ok(Ok(Event::Modified));
    }
    let on = |view| place.on(view).ok();
    let (Some((volume, newer)), Some((was, older))) = (
        on(&state.view),
        older.and_then(|(older, _)| on(&older.view)),
    ) else {
        return Ok(Ok(Event::Modified));
    };
    let changed = volume.changed_since(was, &state.changed);
    match diff::content_differs(
        (&**older, before),
        (&**newer, after),
        &changed,
        &mut NoWatch,
    ) {
        Ok(true) => Ok(Ok(Event::Modified)),
        Ok(false) if before.digest != after.digest => Ok(Ok(Event::Metadata)),
        Ok(false) => Ok(Ok(Event::Unchanged)),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}
