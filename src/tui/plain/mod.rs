//! The interface line by line, for screen readers, dumb terminals and pipes: what is open is told as lines, numbers
//! and words are typed, and become the keys that mean the same on the screen. State, step and workers are the
//! screen's own; nothing is decided here.
//!
//! | file | what |
//! |---|---|
//! | `talk` | what is printed and typed, and waiting for what is asked of the disk |
//! | `images` | the images by number, and what is done without one |
//! | `dialogs` | lists, plans and the small dialogs |
//! | `space` | where the space went |
//! | `files` | the files inside an image |
//! | `form` | forms, field by field |

mod dialogs;
mod files;
mod form;
mod images;
mod space;
mod talk;

use std::io;
use std::process::ExitCode;

use super::dialogs::Dialog;
use super::options::TuiOptions;

use talk::Talk;

/// Talks with the person until they leave, or until there is nothing more to read.
///
/// # Errors
/// If standard input or output fails.
pub fn run(options: &TuiOptions) -> anyhow::Result<ExitCode> {
    let mut talk = Talk::begin(options)?;
    for warning in &options.warnings {
        talk.say(warning)?;
    }
    talk.say("qanopy, line by line. Each question says what may be typed; Enter alone goes back.")?;
    while !talk.left {
        talk.wait()?;
        turn(&mut talk)?;
    }
    talk.end();
    Ok(ExitCode::SUCCESS)
}

/// Tells what is open, and does what is typed about it.
fn turn(talk: &mut Talk) -> io::Result<()> {
    match talk.ui.dialogs.top() {
        None => images::turn(talk),
        Some(Dialog::List(_)) => dialogs::list(talk),
        Some(Dialog::Plan(_)) => dialogs::plan(talk),
        Some(Dialog::Form(_)) => form::turn(talk),
        Some(Dialog::Secret(_)) => dialogs::secret(talk),
        Some(Dialog::Prune(_)) => dialogs::prune(talk),
        Some(Dialog::Trash(_)) => dialogs::trash(talk),
        Some(Dialog::Space(_)) => space::turn(talk),
        Some(Dialog::Files(_)) => files::turn(talk),
        Some(Dialog::FilesLine(_)) => files::line(talk),
        Some(Dialog::Folders(_)) => dialogs::folders(talk),
        Some(
            Dialog::Jobs(_)
            | Dialog::Filter(_)
            | Dialog::Leave(_)
            | Dialog::Log(_)
            | Dialog::Measure(_),
        ) => dialogs::read(talk),
    }
}
