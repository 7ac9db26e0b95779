//! The image that a new one is going to be built on. An overlay is worth nothing once its base is written, so
//! the base's read lock is held from the look at it until the overlay has its name, and the base is looked at
//! again after that; one that something writes is built on only when the person agrees by number.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, Host, LockSet, io_text};

use super::error::Error;
use super::format::{name, shown};
use super::locks::{Locking, Use, who_uses};
use super::note::NoteKind;
use super::plan::{EffectKind, Plan};
use super::preconditions::{Compare, Preconditions};

/// An image that is going to have one more overlay.
#[derive(Debug, Clone)]
pub(in crate::ops) struct BuiltOn {
    path: PathBuf,
    /// What must not change meanwhile.
    preconditions: Preconditions,
    /// Whether its read lock is taken: not where it cannot be opened, nor where something writes it and the
    /// person agreed to that.
    holds: bool,
}

impl BuiltOn {
    /// Asks who uses the base of `new`, and has the plan say what that means.
    pub(in crate::ops) fn ask(plan: &mut Plan, base: &Path, new: &Path, watch: Compare) -> Self {
        let host = Arc::clone(&plan.context().host);
        let mut preconditions = Preconditions::default();
        // What cannot be looked at is refused where the plan adds it.
        let _ = preconditions.add(host.as_ref(), base, watch);
        let holds = match who_uses(host.as_ref(), base, LockSet::ReadOnly) {
            Ok(Use::Free | Use::Open(_)) => true,
            Ok(Use::Unknown(sentence)) => {
                plan.warn(NoteKind::InUse, sentence);
                true
            }
            // QEMU creates an overlay on such a base without a word.
            Ok(Use::Busy(sentence)) => {
                plan.effect(
                    EffectKind::Breaks,
                    new,
                    None,
                    format!("worthless as soon as {} is written", name(base)),
                );
                plan.warn(
                    NoteKind::InUse,
                    format!(
                        "{sentence}, or what {} shows changes with it and is soon worthless",
                        name(new)
                    ),
                );
                false
            }
            Err(error) => {
                plan.warn(
                    NoteKind::Unseen,
                    format!(
                        "{} cannot be opened here ({error}): {} can be made, but not read",
                        shown(base),
                        name(new),
                        error = io_text(&error)
                    ),
                );
                false
            }
        };
        Self {
            path: base.to_path_buf(),
            preconditions,
            holds,
        }
    }

    /// Takes the base's read lock beside others, so that nobody begins to write it.
    ///
    /// # Errors
    /// [`Error::InUse`] if somebody has begun since the plan was made.
    pub(in crate::ops) fn hold(&self, host: &dyn Host, locking: &mut Locking) -> Result<(), Error> {
        if self.holds {
            let _ = locking.take(host, &self.path, Access::Read, LockSet::ReadOnly)?;
        }
        Ok(())
    }

    /// Once `new` has its name: the base is what it was. Otherwise `new`, into which nobody can have written
    /// yet, is taken away again.
    ///
    /// # Errors
    /// [`Error::Stale`] says what became of the base.
    pub(in crate::ops) fn look_again(&self, host: &dyn Host, new: &[PathBuf]) -> Result<(), Error> {
        let Err(error) = self.preconditions.verify(host) else {
            return Ok(());
        };
        let mut left = Vec::new();
        for file in new {
            if host.remove_file(file).is_err() {
                left.push(shown(file));
            }
        }
        let names: Vec<String> = new.iter().map(|file| shown(file)).collect();
        let what = match left.is_empty() {
            true => format!("{} was taken away again", names.join(" and ")),
            false => format!("{} is worthless: discard it", left.join(" and ")),
        };
        Err(Error::stale(format!("{error}; {what}")))
    }
}
