//! What keys mean while a plan waits.

use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};

/// What a key can mean while a plan waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Says yes to a plan.
    Confirm,
    /// Leaves a dialog.
    Close,
    /// Fires what has the focus.
    Fire,
    /// To the next field or button.
    NextField,
    /// To the field or button before.
    PreviousField,
    /// A way out of a refusal; its number is the key's.
    WayOut,
    /// What happens to the committed layer, or where a squashed one goes.
    ToggleLayer,
    /// Commits into the next image below.
    Into,
    /// Puts aside what the base shows.
    KeepOld,
    /// Has the machine do it that has the image open.
    Live,
    /// Proves that no other image changes.
    Verify,
    /// Gives a passphrase.
    Unlock,
    /// The same as commands, shown or hidden.
    Commands,
    /// Scrolls down.
    ScrollDown,
    /// Scrolls up.
    ScrollUp,
    /// To the next row of the images that the plan concerns.
    NextImage,
    /// To the row before.
    PreviousImage,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Confirm, "plan-yes", &[Key::char('y')], "do it", ""),
        dialog(Self::Close, "plan-no", &[Key::of(Code::Esc), Key::ctrl('c')], "nothing happens", ""),
        dialog(Self::Fire, "plan-fire", &[Key::of(Code::Enter)], "what has the focus", ""),
        dialog(Self::NextField, "plan-next", &[Key::of(Code::Tab), Key::of(Code::Right)], "next button", ""),
        dialog(Self::PreviousField, "plan-previous", &[Key::of(Code::BackTab), Key::of(Code::Left)], "button before", ""),
        dialog(Self::WayOut, "plan-instead", &[Key::char('1'), Key::char('2'), Key::char('3'), Key::char('4'), Key::char('5'), Key::char('6'), Key::char('7'), Key::char('8'), Key::char('9')], "plan that instead", ""),
        dialog(Self::ToggleLayer, "plan-layer", &[Key::char('t')], "committed layer: to the trash, or kept and emptied; squashed layer: down or up", ""),
        dialog(Self::Into, "plan-into", &[Key::char('i')], "commit into the next image below", ""),
        dialog(Self::KeepOld, "plan-keep-old", &[Key::char('o')], "put aside what the base shows now, or not", ""),
        dialog(Self::Live, "plan-live", &[Key::char('m')], "have the machine do it that has the image open, while its guest goes on", ""),
        dialog(Self::Verify, "plan-verify", &[Key::char('v')], "read all images around before and after, and prove that the others show the same", ""),
        dialog(Self::Unlock, "plan-unlock", &[Key::char('u')], "give the passphrase of an encrypted image", ""),
        dialog(Self::Commands, "plan-commands", &[Key::char('p')], "the same as qemu-img commands", ""),
        dialog(Self::NextImage, "plan-next-image", &[Key::char('.')], "next image above that the plan concerns", ""),
        dialog(Self::PreviousImage, "plan-previous-image", &[Key::char(',')], "the image before", ""),
        dialog(Self::ScrollDown, "plan-down", &[Key::of(Code::Down), Key::char('j'), Key::of(Code::PageDown)], "scroll down", ""),
        dialog(Self::ScrollUp, "plan-up", &[Key::of(Code::Up), Key::char('k'), Key::of(Code::PageUp)], "scroll up", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}
