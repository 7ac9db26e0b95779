//! The images of this machine alone, for whoever opens files. With many images it takes as long as many frames to leave
//! out those of others: it is never done by the thread that draws.

use std::sync::{Arc, Weak};

use crate::forest::Forest;
use crate::tui::msg::Effect;

/// Gives effects the images of this machine alone.
#[derive(Debug, Default)]
pub(in crate::tui) struct Narrow {
    /// The images that were asked about last, and those of this machine among them.
    last: Option<(Weak<Forest>, Arc<Forest>)>,
}

impl Narrow {
    /// Whether an effect has to be narrowed, or must not overtake one that has to be.
    #[must_use]
    pub(in crate::tui) fn concerns(effect: &mut Effect) -> bool {
        let stops = matches!(effect, Effect::StopSpace | Effect::StopInsides);
        stops || forest(effect).is_some()
    }

    /// The effect with the images of this machine, by the numbers that they have.
    #[must_use]
    pub(in crate::tui) fn narrow(&mut self, mut effect: Effect) -> Effect {
        if let Some(forest) = forest(&mut effect) {
            *forest = self.here(forest);
        }
        effect
    }

    fn here(&mut self, forest: &Arc<Forest>) -> Arc<Forest> {
        if let Some((whole, here)) = &self.last
            && std::ptr::eq(whole.as_ptr(), Arc::as_ptr(forest))
        {
            return Arc::clone(here);
        }
        let here = Arc::new(forest.here());
        self.last = Some((Arc::downgrade(forest), Arc::clone(&here)));
        here
    }
}

/// The images by which an effect opens files.
fn forest(effect: &mut Effect) -> Option<&mut Arc<Forest>> {
    match effect {
        Effect::Plan { forest, .. }
        | Effect::PlanEach { forest, .. }
        | Effect::Keep { forest, .. }
        | Effect::Space { forest, .. }
        | Effect::Refresh(_, forest, _)
        | Effect::Candidates(_, forest)
        | Effect::Insides(_, forest)
        | Effect::Machines(forest)
        | Effect::Examine(forest)
        | Effect::Remember(forest)
        | Effect::Accept(_, forest) => Some(forest),
        Effect::Interrupted(_, forest) => forest.as_mut(),
        // They open none, or none by what is known of images; a filter looks at no file.
        Effect::Scan(_)
        | Effect::Gather(..)
        | Effect::ScanHost(..)
        | Effect::AskHost(..)
        | Effect::JoinSpace(..)
        | Effect::ChangeThere { .. }
        | Effect::Filter { .. }
        | Effect::Run { .. }
        | Effect::Info(_)
        | Effect::Map(..)
        | Effect::Files(_)
        | Effect::Unlock(..)
        | Effect::Protect(..)
        | Effect::Forget
        | Effect::Complete(..)
        | Effect::Notify(_)
        | Effect::StopSpace
        | Effect::Browse(..)
        | Effect::StopBrowsing
        // What it was planned with is narrowed.
        | Effect::LookInside { .. }
        | Effect::StopLookingInside
        | Effect::StopInsides
        | Effect::Trash(_)
        | Effect::Measure { .. }
        | Effect::Open(_)
        | Effect::Copy(_)
        | Effect::Mouse(_)
        | Effect::Shell(_)
        | Effect::Mount(..)
        | Effect::OnScreen(_)
        | Effect::OnScreenThere(..)
        | Effect::Suspend
        | Effect::Redraw
        | Effect::Quit => None,
    }
}
