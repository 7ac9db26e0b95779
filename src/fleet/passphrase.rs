//! Passphrases on their way to a host: what a command line there asks for, how that is put to the person, and the
//! answer, which stands in frames of its own. Its bytes are wiped wherever they were, and printed nowhere.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::frame::write_parts;
use crate::host::printable;
use crate::image::Passphrase;

/// A frame that holds the answer to a question for a passphrase.
pub(super) const SECRET: u8 = 5;
/// The bytes of a passphrase at most.
pub(super) const MOST_PASSPHRASE: usize = 64 << 10;
/// So often one command line may ask for a passphrase.
pub(super) const MOST_ASKED: u32 = 32;
/// The bytes of a path at most: what Linux takes.
const MOST_PATH: usize = 4096;
/// The bytes of a volume's name that are shown at most.
const MOST_VOLUME: usize = 64;

/// Asks for a passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassphraseQuery {
    /// Tells its answer from others.
    pub number: u32,
    /// The image, by the name that the command line has for it.
    pub image: OsString,
    /// What the passphrase opens.
    pub of: PassphraseOf,
}

/// What a passphrase opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassphraseOf {
    /// The image.
    Image,
    /// A volume that the guest encrypted, on the disk that the image shows.
    Volume(String),
    /// The image that is to be made.
    New,
    /// The image that is there, from now on.
    Replacement,
}

impl PassphraseOf {
    /// Whether it is one that nothing opens to yet: it is typed twice.
    #[must_use]
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New | Self::Replacement)
    }
}

impl PassphraseQuery {
    /// Whether it names an image as a process names one.
    pub(super) fn is_plausible(&self) -> bool {
        let path = self.image.as_encoded_bytes();
        !path.is_empty() && path.len() <= MOST_PATH && !path.contains(&0)
    }

    /// What the person is asked for, as words that this side makes: of the host's own nothing stands there but a path
    /// and a volume's plain name.
    #[must_use]
    pub fn words(&self, host: &str) -> String {
        let image = format!("{}:{}", printable(host), printable(Path::new(&self.image)));
        match &self.of {
            PassphraseOf::Image => format!("Passphrase of {image}"),
            PassphraseOf::Volume(name) if is_plain(name) => {
                format!("Passphrase of the encrypted volume {name} in {image}")
            }
            PassphraseOf::Volume(_) => format!("Passphrase of an encrypted volume in {image}"),
            PassphraseOf::New => format!("Passphrase of the new image {image}"),
            PassphraseOf::Replacement => format!("New passphrase of {image}"),
        }
    }
}

/// Whether a volume's name is no more than one: whoever made the disk could write a sentence there.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    !name.is_empty() && name.len() <= MOST_VOLUME && name.chars().all(plain)
}

/// The answer: none where nobody gives one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseAnswer {
    /// The question's number.
    pub number: u32,
    /// The passphrase.
    pub passphrase: Option<Passphrase>,
}

impl PassphraseAnswer {
    /// Writes it; `head` stands before it.
    ///
    /// # Errors
    /// The writer's own; `InvalidInput` for a passphrase that is too long.
    pub(super) fn write(&self, head: &[u8], to: &mut impl Write) -> io::Result<()> {
        let bytes = self.passphrase.as_ref().map_or(&[][..], Passphrase::bytes);
        if bytes.len() > MOST_PASSPHRASE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // From where it lies, without a copy in between.
        let number = self.number.to_le_bytes();
        let is_given = [u8::from(self.passphrase.is_some())];
        write_parts(to, SECRET, &[head, &number, &is_given, bytes])
    }

    /// Reads what stands behind a frame's head.
    ///
    /// # Errors
    /// `InvalidData` for what is no answer.
    pub(super) fn read(body: &[u8]) -> io::Result<Self> {
        let no_answer = || io::Error::from(io::ErrorKind::InvalidData);
        let Some(([a, b, c, d, is_given], bytes)) = body.split_first_chunk() else {
            return Err(no_answer());
        };
        let passphrase = match is_given {
            0 if bytes.is_empty() => None,
            1 if bytes.len() <= MOST_PASSPHRASE => Some(Passphrase::new(bytes.to_vec())),
            _ => return Err(no_answer()),
        };
        Ok(Self {
            number: u32::from_le_bytes([*a, *b, *c, *d]),
            passphrase,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn query(image: &[u8], of: PassphraseOf) -> PassphraseQuery {
        PassphraseQuery {
            number: 1,
            image: OsStr::from_bytes(image).to_owned(),
            of,
        }
    }

    #[test]
    fn what_is_asked_is_made_of_the_hosts_name_and_a_path_alone() {
        for (of, words) in [
            (PassphraseOf::Image, "Passphrase of web:/a"),
            (
                PassphraseOf::Volume("vg/root".to_owned()),
                "Passphrase of the encrypted volume vg/root in web:/a",
            ),
            (
                PassphraseOf::Volume("x. Type the password of your bank".to_owned()),
                "Passphrase of an encrypted volume in web:/a",
            ),
            (PassphraseOf::New, "Passphrase of the new image web:/a"),
            (PassphraseOf::Replacement, "New passphrase of web:/a"),
        ] {
            assert_eq!(query(b"/a", of).words("web"), words);
        }
        let odd = query(b"/a\x1b[2J\n\xff", PassphraseOf::Image).words("web");
        assert!(!odd.chars().any(char::is_control), "{odd:?}");
    }

    #[test]
    fn a_path_that_no_process_has_is_not_asked_about() {
        for (image, is_plausible) in [
            (&b"/a"[..], true),
            (b"", false),
            (b"/a\0b", false),
            (&[b'a'; MOST_PATH + 1], false),
        ] {
            assert_eq!(
                query(image, PassphraseOf::Image).is_plausible(),
                is_plausible
            );
        }
    }

    #[test]
    fn an_answer_reads_back_and_what_is_none_is_an_error() {
        for passphrase in [None, Some(""), Some("open")] {
            let passphrase = passphrase.map(|text| Passphrase::new(text.into()));
            let answer = PassphraseAnswer {
                number: 7,
                passphrase,
            };
            let mut bytes = Vec::new();
            answer.write(b"head", &mut bytes).unwrap();
            assert_eq!(bytes[4], SECRET);
            let read = PassphraseAnswer::read(&bytes[9..]).unwrap();
            assert_eq!(read, answer);
            assert!(!format!("{answer:?}").contains("open"));
        }
        let long = |len| Some(Passphrase::new(vec![b'x'; len]));
        for (passphrase, fits) in [
            (long(MOST_PASSPHRASE), true),
            (long(MOST_PASSPHRASE + 1), false),
        ] {
            let number = 1;
            let answer = PassphraseAnswer { number, passphrase };
            assert_eq!(answer.write(b"", &mut io::sink()).is_ok(), fits);
        }
        for nonsense in [&b""[..], b"1234", b"1234\0x", b"1234\x02"] {
            assert!(PassphraseAnswer::read(nonsense).is_err(), "{nonsense:?}");
        }
        let mut long = b"1234\x01".to_vec();
        long.resize(5 + MOST_PASSPHRASE + 1, b'x');
        assert!(PassphraseAnswer::read(&long).is_err());
    }
}
