//! The programs that may be put on a host: this one, and those for other processors beside it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::message::hex;

/// This program, whatever became of its file since it was started.
const OWN: &str = "/proc/self/exe";
/// A longer file is no program of ours.
const MOST_BYTES: u64 = 1 << 30;

/// The SHA-256 of this program.
///
/// # Errors
/// The system's own.
pub(super) fn own_sha256() -> io::Result<&'static str> {
    static OWN_SHA256: OnceLock<String> = OnceLock::new();
    if let Some(known) = OWN_SHA256.get() {
        return Ok(known);
    }
    let mut file = File::open(OWN)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(piece.get(..read).unwrap_or_default());
    }
    Ok(OWN_SHA256.get_or_init(|| hex(&hash.finalize())))
}

/// What such a program is called beside this one.
pub(super) fn file_name(machine: &str) -> String {
    format!("qanopy-agent-{}", architecture(machine))
}

/// The name that Rust has for what `uname -m` prints.
fn architecture(machine: &str) -> &str {
    match machine {
        "arm64" => "aarch64",
        "amd64" => "x86_64",
        other => other,
    }
}

/// A program for that system and processor, and its SHA-256; none if there is none here.
///
/// # Errors
/// The system's own.
pub(super) fn program_for(system: &str, machine: &str) -> io::Result<Option<(Vec<u8>, String)>> {
    let architecture = architecture(machine);
    let is_plain = architecture
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_');
    if system != "Linux" || !is_plain {
        return Ok(None);
    }
    let file = match architecture == std::env::consts::ARCH {
        true => Some(PathBuf::from(OWN)),
        false => beside()
            .into_iter()
            .map(|dir| dir.join(file_name(machine)))
            .find(|it| it.is_file()),
    };
    let Some(file) = file else {
        return Ok(None);
    };
    if fs::metadata(&file)?.len() > MOST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let bytes = fs::read(file)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok(Some((bytes, sha256)))
}

/// Where programs for other processors are looked for.
fn beside() -> Vec<PathBuf> {
    let own = std::env::current_exe().unwrap_or_default();
    let bin = own.parent().map(PathBuf::from).unwrap_or_default();
    let libexec = bin.join("../libexec/qanopy");
    vec![bin, libexec]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_for_this_machine_and_for_no_other() {
        let (bytes, sha256) = program_for("Linux", std::env::consts::ARCH)
            .unwrap()
            .unwrap();
        assert_eq!(bytes, fs::read(OWN).unwrap());
        assert_eq!(sha256, own_sha256().unwrap());
        for (system, machine) in [("Linux", "s390x"), ("FreeBSD", "amd64"), ("Linux", "../x")] {
            assert_eq!(program_for(system, machine).unwrap(), None, "{machine}");
        }
        assert_eq!(file_name("arm64"), "qanopy-agent-aarch64");
    }
}
