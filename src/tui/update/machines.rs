//! Which machines there are: asked for once a scan is through, never before, since a service may take its time.

use std::sync::Arc;
use std::time::Duration;

use crate::machines::Machines;
use crate::tui::app::App;
use crate::tui::log::Kind;
use crate::tui::msg::Effect;

/// Files change all the time while machines run; they are asked for no more often than this for that.
const AGAIN: Duration = Duration::from_secs(10);

/// Asks for them.
pub(super) fn ask(app: &mut App, effects: &mut Vec<Effect>) {
    app.session.machines_asked = Some(app.now());
    effects.push(Effect::Machines(Arc::clone(&app.forest)));
}

/// Asks for them since files have changed, unless that was done a moment ago; tells whether it did.
pub(super) fn ask_again(app: &mut App, effects: &mut Vec<Effect>) -> bool {
    let asked = app.session.machines_asked;
    // A clock that was set back tells nothing.
    let ago = asked.and_then(|asked| app.now().duration_since(asked).ok());
    let is_due = ago.is_none_or(|ago| ago >= AGAIN);
    if is_due {
        ask(app, effects);
    }
    is_due
}

/// Takes in the answer: it stays with every forest that comes later. What could not be asked is told in the log,
/// once.
pub(super) fn take(app: &mut App, machines: Arc<Machines>) {
    let before = app.session.machines.replace(Arc::clone(&machines));
    let before = before.map(|before| before.unasked().to_vec());
    for unasked in machines.unasked() {
        let is_told = before.as_ref().is_some_and(|told| told.contains(unasked));
        if !is_told {
            let text = format!("Which machines use images could not be asked: {unasked}.");
            app.note(None, Kind::Note, &text);
        }
    }
    app.apply_checks();
    app.changed();
}
