//! LUKS-encrypted images made, read and written by the real tools, and the passphrases for our own
//! reading. Images whose name begins with `two` have the passphrase "two", all others "one".

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{Chain, Format, ImageFile, Keys, NoProgress, Passphrase, Passphrases, relink};

use super::oracle::View;
use super::qemu::{Outcome, Qemu};

/// The passphrase of an image.
pub fn passphrase(image: &Path) -> &'static str {
    let name = image.file_name().unwrap().to_str().unwrap();
    if name.starts_with("two") {
        "two"
    } else {
        "one"
    }
}

/// Virtual size of [`one`] and [`two`].
pub const SIZE: u64 = 4 << 20;

/// An empty image with the defaults of the real tool, at `path`. Made once in each process: the tool
/// measures its processor for seconds.
pub fn one(qemu: &Qemu, path: &Path) {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || made(qemu, "one.qcow2", "");
    std::fs::write(path, MADE.get_or_init(make)).unwrap();
}

/// Another one: clusters of 4 KiB, aes-128 in the mode cbc. Its name has to begin with `two`.
pub fn two(qemu: &Qemu, path: &Path) {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let options =
        "!cluster_size=4k,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha1";
    let make = || made(qemu, "two.qcow2", options);
    std::fs::write(path, MADE.get_or_init(make)).unwrap();
}

fn made(qemu: &Qemu, name: &str, more: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join(name));
    std::fs::File::create(&raw).unwrap().set_len(SIZE).unwrap();
    convert(qemu, &raw, &image, more);
    std::fs::read(&image).unwrap()
}

/// Knows the passphrase of every image.
#[derive(Debug)]
pub struct Known;

impl Passphrases for Known {
    fn passphrases(&self, image: &Path) -> Vec<Passphrase> {
        vec![Passphrase::new(passphrase(image).as_bytes().to_vec())]
    }
}

/// Keys for every image.
pub fn keys() -> Keys {
    Keys::from(Arc::new(Known))
}

/// The options of a cheap encryption, with these besides: `cipher-alg=serpent-256,hash-alg=sha1`.
fn options(more: &str) -> String {
    let mut all = "encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10".to_owned();
    for option in more.split(',').filter(|option| !option.is_empty()) {
        match option.strip_prefix('!') {
            // An option of the image itself.
            Some(own) => all.push_str(&format!(",{own}")),
            None => all.push_str(&format!(",encrypt.{option}")),
        }
    }
    all
}

fn secret(number: usize, image: &Path) -> String {
    format!("secret,id=s{number},data={}", passphrase(image))
}

/// Records what an encrypted image is built on. The real tool wants the passphrase for that.
pub fn build_on(image: &Path, base: &str, format: &str) {
    let file = ImageFile::open(&RealHost, image, Access::ReadWrite).unwrap();
    relink(&file, base.as_ref(), &Format::from_name(format)).unwrap();
}

/// An encrypted image with the content of a raw file.
pub fn convert(qemu: &Qemu, raw: &Path, image: &Path, more: &str) {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "raw", "-O", "qcow2", "--object"]);
    command.arg(secret(0, image)).args(["-o", &options(more)]);
    let outcome = qemu.run(command.arg(raw).arg(image));
    assert!(outcome.success(), "convert {image:?}: {}", outcome.stderr);
}

/// How the real tools open a chain, top first: a layer is raw, qcow2, or qcow2 and encrypted.
fn image_options(chain: &[(&Path, Kind)]) -> (Vec<String>, String) {
    let mut objects = Vec::new();
    let mut words = Vec::new();
    let mut prefix = String::new();
    for (number, (path, kind)) in chain.iter().enumerate() {
        let driver = if *kind == Kind::Raw { "raw" } else { "qcow2" };
        words.push(format!("{prefix}driver={driver}"));
        words.push(format!("{prefix}file.driver=file"));
        words.push(format!("{prefix}file.filename={}", path.display()));
        if *kind == Kind::Luks {
            objects.push(secret(number, path));
            words.push(format!("{prefix}encrypt.format=luks"));
            words.push(format!("{prefix}encrypt.key-secret=s{number}"));
        }
        prefix.push_str("backing.");
    }
    (objects, words.join(","))
}

/// What a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A raw image.
    Raw,
    /// A qcow2 image in the clear.
    Plain,
    /// An encrypted qcow2 image.
    Luks,
}

/// The guest's bytes of a chain as qemu-img reads them.
pub fn theirs(qemu: &Qemu, chain: &[(&Path, Kind)]) -> Vec<u8> {
    let raw = tempfile::NamedTempFile::new().unwrap();
    let (objects, options) = image_options(chain);
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-O", "raw"]);
    for object in objects {
        command.args(["--object", &object]);
    }
    command.args(["--image-opts", &options]).arg(raw.path());
    let outcome = qemu.run(&mut command);
    assert!(outcome.success(), "convert {options}: {}", outcome.stderr);
    std::fs::read(raw.path()).unwrap()
}

/// qemu-io on a chain, whatever comes of it.
pub fn try_io(qemu: &Qemu, chain: &[(&Path, Kind)], commands: &[&str]) -> Outcome {
    let (objects, options) = image_options(chain);
    let mut command = Command::new("qemu-io");
    for object in objects {
        command.args(["--object", &object]);
    }
    for one in commands {
        command.args(["-c", one]);
    }
    qemu.run(command.args(["--image-opts", &options]))
}

/// qemu-io on a chain.
pub fn io(qemu: &Qemu, chain: &[(&Path, Kind)], commands: &[&str]) {
    let outcome = try_io(qemu, chain, commands);
    let failed =
        outcome.code != 0 || outcome.text().contains("failed") || !outcome.stderr.is_empty();
    assert!(
        !failed,
        "{commands:?}: {}{}",
        outcome.text(),
        outcome.stderr
    );
}

/// Whether `qemu-img check` finds nothing at all in the top image of a chain, which is qcow2.
pub fn check_is_clean(qemu: &Qemu, chain: &[(&Path, Kind)]) -> bool {
    let (objects, options) = image_options(chain);
    let mut command = Command::new("qemu-img");
    command.arg("check");
    for object in objects {
        command.args(["--object", &object]);
    }
    qemu.run(command.args(["--image-opts", &options])).code == 0
}

/// The guest's bytes of a chain as we read them, or why we do not.
pub fn ours(host: &dyn Host, top: &Path, keys: &Keys) -> Result<Vec<u8>, String> {
    let chain = Chain::open(host, top, Some(&Format::Qcow2), &|_| true)
        .map_err(|error| error.to_string())?;
    chain
        .unlock(keys, &NoProgress)
        .map_err(|error| error.to_string())?;
    let mut bytes = vec![0xee; usize::try_from(chain.virtual_size()).unwrap()];
    // In pieces that lie across sectors.
    for (index, piece) in bytes.chunks_mut(100_003).enumerate() {
        chain
            .read_at(piece, index as u64 * 100_003)
            .map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}

/// The same as a view.
pub fn our_view(host: &dyn Host, top: &Path, keys: &Keys) -> Result<View, String> {
    ours(host, top, keys).map(|bytes| View::of(&bytes))
}

/// A file with a passphrase, for the command line.
pub fn passphrase_file(image: &Path) -> PathBuf {
    let file = image.with_extension("pass");
    std::fs::write(&file, passphrase(image)).unwrap();
    file
}
