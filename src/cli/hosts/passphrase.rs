//! Passphrases that a command line on a host asks for: put to the person at this terminal, in words of this side.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::fleet::PassphraseQuery;
use crate::image::Passphrase;

use super::super::output;
use super::super::passphrase::{hidden_until, typed_twice};
use super::task::Task;

/// Who is asked for the passphrases of one host's images.
pub(super) struct Asked {
    host: String,
    /// The command line there.
    words: Vec<OsString>,
}

impl Asked {
    /// The person who typed this command line.
    pub(super) fn about(task: &Task) -> Self {
        Self {
            host: task.to.name.clone(),
            words: task.words.clone(),
        }
    }

    /// Asks for it; none where nothing was typed, or not twice the same. An image that the command line does not name,
    /// as the base of one that it does, is said to be one: whether the host is to have its passphrase is the person's to
    /// say.
    pub(super) fn ask(
        &self,
        query: &PassphraseQuery,
        is_stopped: &dyn Fn() -> bool,
    ) -> Option<Passphrase> {
        if !self.names(Path::new(&query.image)) {
            output::complain(format_args!(
                "qanopy: {} needs the passphrase of an image that the command line does not name",
                self.host
            ));
        }
        let question = format!("{}: ", query.words(&self.host));
        let given = match query.of.is_new() {
            true => typed_twice(&question, &mut |question| {
                hidden_until(question, is_stopped)
            }),
            false => hidden_until(&question, is_stopped),
        };
        given.filter(|_| !is_stopped())
    }

    /// Whether a word of the command line is this path, or what stands behind an option's equals sign.
    fn names(&self, image: &Path) -> bool {
        let is_it = |word: &[u8]| {
            let word = Path::new(std::ffi::OsStr::from_bytes(word));
            // What was typed there begins at the person's home.
            let is_below_home = word.is_relative() && !word.as_os_str().is_empty();
            word == image || (is_below_home && image.ends_with(word))
        };
        self.words.iter().any(|word| {
            let word = word.as_bytes();
            let value = word.splitn(2, |byte| *byte == b'=').nth(1);
            is_it(word) || value.is_some_and(is_it)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_named_is_told_from_one_that_is_not() {
        let asked = Asked {
            host: "web".to_owned(),
            words: ["convert", "--backing=base.qcow2", "--", "/srv/a", "dir/b"]
                .map(OsString::from)
                .to_vec(),
        };
        for (image, is_named) in [
            ("/srv/a", true),
            ("dir/b", true),
            ("/home/me/dir/b", true),
            ("/home/me/base.qcow2", true),
            ("/srv/other", false),
            ("/srv/ab", false),
            ("/", false),
        ] {
            assert_eq!(asked.names(Path::new(image)), is_named, "{image}");
        }
    }
}
