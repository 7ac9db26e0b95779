use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pieces::{Digest, PIECE};
use super::{ChainSource, Described, PieceSink, Receive, Sending, Source, Span, Told};
use crate::host::{Access, Host, Lock, LockSet, RealHost};
use crate::image::Format;
use crate::ops::{self, Consent, Context, Error, Outcome, Progress, Request};
use crate::qcow2::{Geometry, Header, HostOffset, Version};

/// An image of 40 pieces with something in some of them, built on a raw disk or on nothing.
fn image(path: &Path, base: Option<&str>, filled: u8) {
    let geometry = Geometry::new(16, 4, false).unwrap();
    let mut header = Header::new(Version::V3, geometry, 1 << 26);
    header.refcount_table_offset = HostOffset(0x10000);
    header.refcount_table_clusters = 1;
    header.l1_offset = HostOffset(0x20000);
    header.l1_entries = 1;
    if let Some(base) = base {
        header.set_backing(base.as_bytes(), Some(b"raw")).unwrap();
    }
    fs::write(path, header.encode().unwrap()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(40 * PIECE).unwrap();
    file.write_all_at(&vec![filled; 3 << 16], 10 * PIECE)
        .unwrap();
    file.write_all_at(&[filled; 100], 30 * PIECE + 7).unwrap();
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// from/disk.img <- from/top.qcow2, and an empty folder.
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(place.at("from")).unwrap();
        fs::create_dir(place.at("to")).unwrap();
        let mut disk = vec![0; 100_000];
        disk.extend(vec![5; 100_001]);
        fs::write(place.at("from/disk.img"), disk).unwrap();
        image(&place.at("from/top.qcow2"), Some("disk.img"), 9);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn around(&self, images: &[PathBuf], also: &[PathBuf]) -> Context {
        let host = Arc::new(RealHost);
        Context::around(host, Some(self.at("state")), images, also)
            .unwrap()
            .context
    }

    fn sending(&self) -> Result<Sending, Error> {
        let image = self.at("from/top.qcow2");
        Sending::open(&self.around(std::slice::from_ref(&image), &[]), &image)
    }

    /// Has it taken; the first sentence against it otherwise.
    fn receive(&self, source: impl ChainSource + 'static) -> Result<Outcome, String> {
        let request: Request = Receive {
            from: "web:top.qcow2".to_owned(),
            name: "top.qcow2".to_owned(),
            to: self.at("to"),
            source: Source::of(Arc::new(source)),
        }
        .into();
        let plan = ops::plan(&self.around(&[], &[self.at("to")]), &request);
        if let Some(refusal) = plan.refusals.first() {
            return Err(refusal.text.clone());
        }
        let ready = plan.agree(Consent::Yes).unwrap();
        ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
    }

    fn there(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("to")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }
}

/// A side that lies.
#[derive(Debug)]
struct Forged {
    true_one: Sending,
    chain: fn(Vec<Described>) -> Vec<Described>,
    piece: fn(u64, &[u8]) -> (u64, Vec<u8>),
    root: fn(Digest) -> Digest,
    again: bool,
}

impl ChainSource for Forged {
    fn chain(&self) -> Result<Vec<Described>, Error> {
        self.true_one.chain().map(self.chain)
    }

    fn digests(
        &self,
        file: usize,
        each: &mut dyn FnMut(Told) -> Result<(), Error>,
    ) -> Result<Digest, Error> {
        self.true_one.digests(file, each).map(self.root)
    }

    fn fetch(
        &self,
        file: usize,
        spans: &[Span],
        progress: &Progress,
        each: &mut PieceSink<'_>,
    ) -> Result<Option<Digest>, Error> {
        let (piece, again) = (self.piece, self.again);
        let told = self
            .true_one
            .fetch(file, spans, progress, &mut |number, bytes| {
                let (number, bytes) = piece(number, bytes);
                if again {
                    each(number, &bytes)?;
                }
                each(number, &bytes)
            });
        told.map(|root| root.map(self.root))
    }
}

fn forged(place: &Place) -> Forged {
    Forged {
        true_one: place.sending().unwrap(),
        chain: |chain| chain,
        piece: |number, bytes| (number, bytes.to_vec()),
        root: |root| root,
        again: false,
    }
}

#[test]
fn what_comes_is_what_was_there_and_what_is_there_is_not_asked_for() {
    let place = Place::new();
    let outcome = place.receive(place.sending().unwrap()).unwrap();
    assert_eq!(place.there(), ["disk.img", "top.qcow2"]);
    let same = |name: &str| {
        let read = |dir: &str| fs::read(place.at(dir).join(name)).unwrap();
        assert_eq!(read("from")[1 << 16..], read("to")[1 << 16..], "{name}");
    };
    same("disk.img");
    same("top.qcow2");
    use std::os::unix::fs::MetadataExt;
    let blocks = fs::metadata(place.at("to/top.qcow2")).unwrap().blocks();
    assert!(blocks * 512 < 12 * PIECE, "{blocks}");
    let told = place.receive(place.sending().unwrap()).unwrap_err();
    assert!(told.contains("holds it already"), "{told}");
    // Another overlay on the same disk: the disk is taken for what it is, and nothing of it is asked for.
    image(&place.at("from/top.qcow2"), Some("disk.img"), 8);
    fs::remove_file(place.at("to/top.qcow2")).unwrap();
    place.receive(forged(&place)).unwrap();
    assert_eq!(place.there(), ["disk.img", "top.qcow2"]);
    same("top.qcow2");
    assert_eq!(outcome.touched.len(), 2);
}

/// A side while whose images are compared somebody writes a file.
#[derive(Debug)]
struct Meanwhile {
    true_one: Sending,
    writes: PathBuf,
}

impl ChainSource for Meanwhile {
    fn chain(&self) -> Result<Vec<Described>, Error> {
        self.true_one.chain()
    }

    fn digests(
        &self,
        file: usize,
        each: &mut dyn FnMut(Told) -> Result<(), Error>,
    ) -> Result<Digest, Error> {
        let told = self.true_one.digests(file, each);
        let mut bytes = fs::read(&self.writes).unwrap();
        bytes[0] ^= 1;
        fs::write(&self.writes, bytes).unwrap();
        told
    }

    fn fetch(
        &self,
        file: usize,
        spans: &[Span],
        progress: &Progress,
        each: &mut PieceSink<'_>,
    ) -> Result<Option<Digest>, Error> {
        self.true_one.fetch(file, spans, progress, each)
    }
}

#[test]
fn nothing_is_built_on_what_changes_while_it_is_compared() {
    let place = Place::new();
    place.receive(place.sending().unwrap()).unwrap();
    image(&place.at("from/top.qcow2"), Some("disk.img"), 8);
    fs::remove_file(place.at("to/top.qcow2")).unwrap();
    let meanwhile = Meanwhile {
        true_one: place.sending().unwrap(),
        writes: place.at("to/disk.img"),
    };
    let told = place.receive(meanwhile).unwrap_err();
    assert!(told.contains("was changed while"), "{told}");
    assert_eq!(place.there(), ["disk.img"]);
}

#[test]
fn a_side_that_lies_makes_no_file() {
    let place = Place::new();
    let lies: Vec<(&str, Forged)> = vec![
        (
            "other bytes",
            Forged {
                piece: |number, bytes| (number, vec![1; bytes.len()]),
                ..forged(&place)
            },
        ),
        (
            "elsewhere",
            Forged {
                piece: |number, bytes| (number + 1, bytes.to_vec()),
                ..forged(&place)
            },
        ),
        (
            "far off",
            Forged {
                piece: |_, bytes| (u64::MAX, bytes.to_vec()),
                ..forged(&place)
            },
        ),
        (
            "too much",
            Forged {
                piece: |number, bytes| (number, [bytes, bytes].concat()),
                ..forged(&place)
            },
        ),
        (
            "nothing",
            Forged {
                piece: |number, _| (number, Vec::new()),
                ..forged(&place)
            },
        ),
        (
            "twice",
            Forged {
                again: true,
                ..forged(&place)
            },
        ),
        (
            "another digest",
            Forged {
                root: |_| [0; 32],
                ..forged(&place)
            },
        ),
        (
            "no chain",
            Forged {
                chain: |_| Vec::new(),
                ..forged(&place)
            },
        ),
        (
            "a shorter file",
            Forged {
                chain: |mut chain| {
                    chain[0].bytes = 5 * PIECE;
                    chain[0].data = 5 * PIECE;
                    chain
                },
                ..forged(&place)
            },
        ),
        (
            "endless",
            Forged {
                chain: |mut chain| {
                    chain[1].bytes = u64::MAX;
                    chain
                },
                ..forged(&place)
            },
        ),
        (
            "less than it sends",
            Forged {
                chain: |mut chain| {
                    chain.iter_mut().for_each(|file| file.data = 0);
                    chain
                },
                ..forged(&place)
            },
        ),
        (
            "another format",
            Forged {
                chain: |mut chain| {
                    chain[1].format = Format::Other("vmdk".to_owned());
                    chain
                },
                ..forged(&place)
            },
        ),
        (
            "built on nothing",
            Forged {
                chain: |mut chain| {
                    chain.truncate(1);
                    chain
                },
                ..forged(&place)
            },
        ),
        (
            "raw above",
            Forged {
                chain: |mut chain| {
                    chain[0].format = Format::Raw;
                    chain[0].header = None;
                    chain
                },
                ..forged(&place)
            },
        ),
    ];
    for (what, lie) in lies {
        let told = place.receive(lie);
        assert!(told.is_err(), "{what}");
        assert_eq!(place.there(), Vec::<String>::new(), "{what}: {told:?}");
        // In this process, nobody goes on with what was kept.
        for entry in fs::read_dir(place.at("to")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    let outside: Vec<_> = fs::read_dir(place.dir.path()).unwrap().collect();
    assert!(outside.len() <= 3, "{outside:?}");
}

#[test]
fn a_base_is_called_like_an_image_whatever_the_other_side_calls_it() {
    for (name, expected) in [
        ("../../etc/cron.d/x", "_.._etc_cron.d_x.img"),
        (".bashrc", "bashrc.img"),
        ("authorized_keys", "authorized_keys.img"),
        ("a\u{1b}[2Jb.img", "a__2Jb.img"),
        ("", "base.img"),
        ("..", "base.img"),
        ("top.qcow2", "2-top.qcow2"),
    ] {
        let place = Place::new();
        fn called(name: &'static str) -> impl Fn(Vec<Described>) -> Vec<Described> {
            move |mut chain| {
                chain[1].name = name.to_owned();
                chain
            }
        }
        #[derive(Debug)]
        struct Called(Sending, &'static str);
        impl ChainSource for Called {
            fn chain(&self) -> Result<Vec<Described>, Error> {
                self.0.chain().map(called(self.1))
            }
            fn digests(
                &self,
                file: usize,
                each: &mut dyn FnMut(Told) -> Result<(), Error>,
            ) -> Result<Digest, Error> {
                self.0.digests(file, each)
            }
            fn fetch(
                &self,
                file: usize,
                spans: &[Span],
                progress: &Progress,
                each: &mut PieceSink<'_>,
            ) -> Result<Option<Digest>, Error> {
                self.0.fetch(file, spans, progress, each)
            }
        }
        place
            .receive(Called(place.sending().unwrap(), name))
            .unwrap();
        let mut expected = vec![expected.to_owned(), "top.qcow2".to_owned()];
        expected.sort();
        assert_eq!(place.there(), expected, "{name}");
    }
}

#[test]
fn an_image_that_somebody_writes_is_not_given_out_and_nobody_writes_one_that_is() {
    let place = Place::new();
    let path = place.at("from/top.qcow2");
    let file = RealHost.open(&path, Access::ReadWrite).unwrap();
    let Lock::Held(writer) = file.lock(LockSet::ReadWrite).unwrap() else {
        return;
    };
    place.sending().unwrap_err();
    drop(writer);
    let sending = place.sending().unwrap();
    assert!(matches!(
        file.lock(LockSet::ReadWrite).unwrap(),
        Lock::Busy(_)
    ));
    // Who knows no locks is noticed.
    fs::write(place.at("from/disk.img"), "changed").unwrap();
    let told = place.receive(sending).unwrap_err();
    assert!(told.contains("disk.img"), "{told}");
    assert_eq!(place.there(), Vec::<String>::new());
}
