//! Answers about images of a host on their way to the interface.

use std::num::NonZeroU16;
use std::thread;

use crossbeam_channel::{Sender, unbounded};

use crate::tui::border;
use crate::tui::msg::Msg;

/// The number that the identities of files have of the host at this place; none past the last that there is.
pub(crate) fn number(at: usize) -> Option<NonZeroU16> {
    u16::try_from(at + 1).ok().and_then(NonZeroU16::new)
}

/// Where answers go that name images as this host does: from there on they name them as they are called here.
pub(crate) fn answers(host: &str, number: NonZeroU16, to: Sender<Msg>) -> Sender<Msg> {
    let (answers, told) = unbounded();
    let host = host.to_owned();
    thread::spawn(move || {
        for msg in told {
            // An interface that is gone needs no answer.
            if to.send(border::told(&host, number, msg)).is_err() {
                return;
            }
        }
    });
    answers
}
