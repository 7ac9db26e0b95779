//! Passphrases in the interface: one being typed, and those that the workers were given. Nothing of them
//! is shown, logged or kept: each is handed out once, and what it opened is remembered by the image
//! floor as long as the program runs. What opened an image on a host is held for when that host asks for it again.
//! That of an image still to be made is held until it is made, or no
//! longer to be.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::fleet::PassphraseOf;
use crate::host::keep_out_of_dumps;
use crate::image::{Passphrase, Passphrases};

/// Characters of a passphrase that are taken in at most: enough for any that is typed.
const MOST: usize = 1024;

/// A passphrase while it is typed. Wiped when it is dropped, never printed.
#[derive(PartialEq, Eq)]
pub struct Secret {
    text: Zeroizing<String>,
    /// Whether more was typed than is taken in.
    is_cut: bool,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Default for Secret {
    fn default() -> Self {
        // Before the first character of it is in memory.
        keep_out_of_dumps();
        // Room for all of it, so that no part is left behind where a smaller buffer was.
        Self {
            text: Zeroizing::new(String::with_capacity(MOST * 4)),
            is_cut: false,
        }
    }
}

impl Secret {
    /// How many characters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.chars().count()
    }

    /// Whether nothing was typed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// One more character.
    pub fn push(&mut self, c: char) {
        if self.len() < MOST {
            self.text.push(c);
        } else {
            self.is_cut = true;
        }
    }

    /// Whether the end of what was typed is missing: an image encrypted with the rest would open to
    /// nobody who has all of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Without the last character.
    pub fn pop(&mut self) {
        self.text.pop();
    }

    /// Without any.
    pub fn clear(&mut self) {
        self.text.clear();
        self.is_cut = false;
    }

    /// What was typed, as it is tried on an image.
    #[must_use]
    pub fn passphrase(&self) -> Passphrase {
        Passphrase::new(self.text.as_bytes().to_vec())
    }
}

/// What the workers know: the passphrases given and not yet tried, that of images still to be made, and
/// which images were asked for.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    given: Vec<(PathBuf, Passphrase)>,
    sent: Vec<(Sent, Passphrase)>,
    new: Option<(Vec<PathBuf>, Passphrase)>,
    asked: Vec<PathBuf>,
}

/// What the passphrase opens that a host was given: its image, by the host's name and path, or a volume in that.
pub(super) type Sent = (PathBuf, PassphraseOf);

impl Secrets {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the passphrase of an image until it is tried.
    pub(super) fn give(&self, image: PathBuf, passphrase: Passphrase) {
        let mut state = self.state();
        state.given.retain(|(known, _)| *known != image);
        state.given.push((image, passphrase));
    }

    /// Holds the passphrase that images still to be made are to have; none of others any more.
    pub(super) fn protect(&self, images: Vec<PathBuf>, passphrase: Passphrase) {
        self.state().new = Some((images, passphrase));
    }

    /// Wipes the passphrase of what was to be made.
    pub(super) fn forget(&self) {
        self.state().new = None;
    }

    /// The passphrase that opened this on its host before.
    pub(super) fn sent(&self, of: &Sent) -> Option<Passphrase> {
        let state = self.state();
        let known = state.sent.iter().find(|(known, _)| known == of);
        known.map(|(_, passphrase)| passphrase.clone())
    }

    /// Remembers what opened something on a host, for when that host asks for the same again.
    pub(super) fn remember_sent(&self, of: Sent, passphrase: Passphrase) {
        self.forget_sent(&of);
        self.state().sent.push((of, passphrase));
    }

    /// Wipes what no longer opens something on a host.
    pub(super) fn forget_sent(&self, of: &Sent) {
        self.state().sent.retain(|(known, _)| known != of);
    }

    /// The images whose passphrases were asked for since this was called before.
    pub(super) fn take_asked(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.state().asked)
    }
}

impl Passphrases for Secrets {
    fn passphrases(&self, image: &Path) -> Vec<Passphrase> {
        let mut state = self.state();
        if !state.asked.iter().any(|asked| asked == image) {
            state.asked.push(image.to_path_buf());
        }
        let at = state.given.iter().position(|(known, _)| known == image);
        // Tried once: the right one is not asked for again, and a wrong one is of no use.
        at.map(|at| state.given.swap_remove(at).1)
            .into_iter()
            .collect()
    }

    /// As often as it is asked for: each plan for the image needs it.
    fn for_new(&self, image: &Path) -> Option<Passphrase> {
        let state = self.state();
        let of_it = state.new.as_ref();
        let of_it = of_it.filter(|(images, _)| images.iter().any(|known| known == image));
        of_it.map(|(_, passphrase)| passphrase.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_handed_out_once_and_the_image_it_was_asked_for_is_known() {
        let secrets = Secrets::default();
        let image = Path::new("/vm/a.qcow2");
        assert!(secrets.passphrases(image).is_empty());
        assert_eq!(secrets.take_asked(), [image]);
        let mut typed = Secret::default();
        "opex".chars().for_each(|c| typed.push(c));
        typed.pop();
        typed.push('n');
        secrets.give(image.to_path_buf(), typed.passphrase());
        assert!(secrets.passphrases(Path::new("/vm/b.qcow2")).is_empty());
        let tried = secrets.passphrases(image);
        assert_eq!(tried.len(), 1);
        assert_eq!(tried[0].bytes(), b"open");
        assert!(secrets.passphrases(image).is_empty());
        assert_eq!(format!("{typed:?}"), "Secret");
    }

    #[test]
    fn what_opened_an_image_on_a_host_is_for_that_image_of_that_host_alone() {
        let secrets = Secrets::default();
        let of = |path: &str| (PathBuf::from(path), PassphraseOf::Image);
        let open = Passphrase::new(b"open".to_vec());
        secrets.remember_sent(of("web:/a"), open.clone());
        assert_eq!(secrets.sent(&of("web:/a")), Some(open));
        for other in ["db:/a", "web:/b", "/a"] {
            assert_eq!(secrets.sent(&of(other)), None, "{other}");
            assert!(secrets.passphrases(Path::new(other)).is_empty());
        }
        let volume = PassphraseOf::Volume("p1".to_owned());
        assert_eq!(secrets.sent(&(PathBuf::from("web:/a"), volume)), None);
        secrets.forget_sent(&of("web:/a"));
        assert_eq!(secrets.sent(&of("web:/a")), None);
    }

    #[test]
    fn the_passphrase_of_a_new_image_is_held_until_it_is_forgotten() {
        let secrets = Secrets::default();
        let image = Path::new("/vm/new.qcow2");
        let passphrase = Passphrase::new(b"open".to_vec());
        assert_eq!(secrets.for_new(image), None);
        secrets.protect(vec![image.to_path_buf()], passphrase.clone());
        assert_eq!(secrets.for_new(image), Some(passphrase.clone()));
        assert_eq!(secrets.for_new(image), Some(passphrase));
        assert_eq!(secrets.for_new(Path::new("/vm/other.qcow2")), None);
        assert!(
            secrets.passphrases(image).is_empty(),
            "it opens none that is there"
        );
        secrets.forget();
        assert_eq!(secrets.for_new(image), None);
    }
}
