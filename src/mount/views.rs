//! The images of a mount, each opened when something in it is looked at, and closed when nothing was for a while.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::host::Host;
use crate::image::{Format, Keys, NoProgress, snapshot_view};
use crate::ops::{self, ReadOptions};
use crate::system::give_back_memory;

use super::tree::ViewId;
use super::view::View;

/// Images and snapshots that are kept open; those of files that are open come on top.
const MOST_OPEN: usize = 8;

/// How long after it was looked at last one is closed.
const IDLE: Duration = Duration::from_secs(30);

/// How often it is asked whether the files of an open one were changed.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// The same while somebody writes it.
const ASKED_EVERY_LIVE: Duration = Duration::from_secs(5);

/// How long it holds that one cannot be opened.
const TRIED_EVERY: Duration = Duration::from_secs(2);

/// An image that is shown.
#[derive(Debug, Clone)]
pub struct ShownImage {
    /// Its name.
    pub path: PathBuf,
    /// Its format; none to go by its content.
    pub format: Option<Format>,
    /// When it was changed last.
    pub modified: SystemTime,
}

/// The images, and those of them that are open.
pub struct Views {
    host: Arc<dyn Host>,
    images: Vec<ShownImage>,
    /// How far an image's links are followed.
    read: ReadOptions,
    keys: Keys,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    slots: Vec<Slot>,
    /// Those whose files were changed while they were open.
    changed: HashSet<ViewId>,
}

/// A view, or why there is none, as a sentence.
type Opened = Result<Arc<View>, Arc<str>>;

/// One that is open, or is being opened by a thread that others wait for.
#[derive(Debug)]
struct Slot {
    id: ViewId,
    view: Arc<OnceLock<Opened>>,
    used: Instant,
    asked: Instant,
}

impl Slot {
    /// Whether it is to be opened anew.
    fn is_outdated(&mut self, host: &dyn Host, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.asked);
        match self.view.get() {
            None => false,
            Some(Err(_)) => since > TRIED_EVERY,
            Some(Ok(view)) => {
                let every = if view.live().is_empty() {
                    ASKED_EVERY
                } else {
                    ASKED_EVERY_LIVE
                };
                if since <= every {
                    return false;
                }
                self.asked = now;
                !view.is_current(host)
            }
        }
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Views({} images)", self.images.len())
    }
}

impl Views {
    /// These images, none of them open. Files they name are opened as `read` allows it, encrypted ones with `keys`.
    #[must_use]
    pub fn new(
        host: Arc<dyn Host>,
        images: Vec<ShownImage>,
        read: ReadOptions,
        keys: Keys,
    ) -> Self {
        Self {
            host,
            images,
            read,
            keys,
            open: Mutex::default(),
        }
    }

    /// An image by its number.
    #[must_use]
    pub fn image(&self, image: u32) -> Option<&ShownImage> {
        self.images.get(usize::try_from(image).ok()?)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image or a snapshot, opened.
    ///
    /// # Errors
    /// Why it cannot be, as a sentence.
    pub fn get(&self, id: ViewId) -> Opened {
        let (view, was_changed) = self.slot(id);
        let opened = view.get_or_init(|| {
            self.opened(id, was_changed)
                .map(Arc::new)
                .map_err(|error| error.to_string().into())
        });
        opened.clone()
    }

    /// The place of a view, which is perhaps not opened yet, and whether its files were changed before.
    fn slot(&self, id: ViewId) -> (Arc<OnceLock<Opened>>, bool) {
        let now = Instant::now();
        let mut open = self.lock();
        let open = &mut *open;
        if let Some(at) = open.slots.iter().position(|slot| slot.id == id) {
            let mut slot = open.slots.swap_remove(at);
            if slot.is_outdated(&*self.host, now) {
                if matches!(slot.view.get(), Some(Ok(_))) {
                    open.changed.insert(id);
                }
                slot.view = Arc::default();
                slot.asked = now;
            }
            slot.used = now;
            let found = Arc::clone(&slot.view);
            open.slots.push(slot);
            return (found, open.changed.contains(&id));
        }
        if open.slots.len() >= MOST_OPEN {
            let oldest = (0..open.slots.len()).min_by_key(|at| open.slots.get(*at).map(|s| s.used));
            if let Some(oldest) = oldest {
                open.slots.swap_remove(oldest);
            }
        }
        let view: Arc<OnceLock<Opened>> = Arc::default();
        open.slots.push(Slot {
            id,
            view: Arc::clone(&view),
            used: now,
            asked: now,
        });
        (view, open.changed.contains(&id))
    }

    fn opened(&self, id: ViewId, was_changed: bool) -> Result<View, Failed> {
        let image = self.image(id.image).ok_or(Failed::Gone)?;
        let (chain, live) = match id.snapshot {
            None => {
                let options = ReadOptions {
                    format: image.format.clone(),
                    ..self.read.clone()
                };
                let mut reading = ops::open_to_read(&*self.host, &image.path, &options)?;
                let live = std::mem::take(&mut reading.live);
                (reading.whole()?, live)
            }
            Some(snapshot) => {
                let now = self.get(ViewId::now(id.image)).map_err(Failed::Below)?;
                let snapshot = usize::try_from(snapshot).ok();
                let snapshot = snapshot.and_then(|at| now.snapshots().get(at));
                let chain = snapshot_view(now.chain(), snapshot.ok_or(Failed::Gone)?)?;
                (chain, now.live().to_vec())
            }
        };
        chain.unlock(&self.keys, &NoProgress)?;
        Ok(View::new(id, chain, live, was_changed, self.keys.clone())?)
    }

    /// Closes what nobody has looked at for a while, and gives back the memory that it took.
    pub fn close_idle(&self) {
        let now = Instant::now();
        let is_used = |slot: &mut Slot| now.saturating_duration_since(slot.used) < IDLE;
        let idle: Vec<Slot> = self
            .lock()
            .slots
            .extract_if(.., |slot| !is_used(slot))
            .collect();
        if !idle.is_empty() {
            drop(idle);
            give_back_memory();
        }
    }
}

/// Why a view cannot be opened.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Open(#[from] ops::Error),
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    #[error("{0}")]
    Below(Arc<str>),
    #[error("it is there no more")]
    Gone,
}
