//! Volumes that `cryptsetup` made the headers of. What is in those of version 1 was encrypted by QEMU; sectors of
//! 4 KiB, which QEMU does not write, are encrypted here by the rules of IEEE 1619.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aes::Aes256;
use aes::cipher::{BlockEncrypt, KeyInit};
use qanopy_core::{Keys, Passphrase, Passphrases};
use qanopy_guest::diff::{self, NoWatch, Options, VolumeState};
use qanopy_guest::disk::{Content, Disk, Volume};
use qanopy_guest::{Source, explain};
use sha2::{Digest, Sha256};

use super::lvm::{self, Group};
use super::support::source::{self, differing, raw};
use super::support::tools::{has, run};
use super::support::{files, tree};

const MIB: u64 = 1 << 20;

#[derive(Debug)]
struct Says(&'static [u8]);

impl Passphrases for Says {
    fn passphrases(&self, _image: &Path) -> Vec<Passphrase> {
        vec![Passphrase::new(self.0.to_vec())]
    }
}

fn keys(passphrase: &'static [u8]) -> Keys {
    Keys::from(Arc::new(Says(passphrase)))
}

fn right() -> Keys {
    keys(b"open sesame")
}

fn opened(disk: &Source, keys: &Keys) -> Disk {
    Disk::unlock(disk, keys, Path::new("disk.qcow2")).unwrap()
}

/// A folder with a key, a passphrase and files to put into filesystems.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(made.path("key"), files::bytes(3, 64)).unwrap();
        fs::write(made.path("passphrase"), "open sesame").unwrap();
        let holds = made.path("holds");
        fs::create_dir(&holds).unwrap();
        fs::create_dir(holds.join("etc")).unwrap();
        fs::write(
            holds.join("etc/os-release"),
            "ID=debian\nPRETTY_NAME=Debian\n",
        )
        .unwrap();
        fs::write(holds.join("large"), files::bytes(9, 3_000_000)).unwrap();
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// An ext4 of so many MiB with the files.
    fn ext4(&self, len: u64) -> PathBuf {
        let file = self.text("ext4.raw");
        let words = [
            "mkfs.ext4",
            "-q",
            "-d",
            &self.text("holds"),
            &file,
            &format!("{len}M"),
        ];
        run(&words);
        file.into()
    }

    /// A container of so many bytes, with these options.
    fn format(&self, name: &str, len: u64, options: &str) -> PathBuf {
        let file = self.path(name);
        File::create(&file).unwrap().set_len(len).unwrap();
        let line = format!(
            "PATH=$PATH:/usr/sbin:/sbin cryptsetup luksFormat -q --disable-locks --volume-key-file {} --key-size 512 \
             {options} {} {}",
            self.text("key"),
            file.display(),
            self.text("passphrase")
        );
        run(&["sh", "-c", &line]);
        file
    }

    /// A container of version 1 in which QEMU encrypted the bytes of a file.
    fn version1(&self, name: &str, holds: &Path) -> PathBuf {
        let len = fs::metadata(holds).unwrap().len();
        let options = "--type luks1 --pbkdf-force-iterations 1000";
        let file = self.format(name, 2 * MIB + len, options);
        let secret = format!("secret,id=s,file={}", self.text("passphrase"));
        let target = format!("driver=luks,key-secret=s,file.filename={}", file.display());
        let words = [
            "qemu-img",
            "convert",
            "-n",
            "-f",
            "raw",
            "--object",
            &secret,
            "--target-image-opts",
        ];
        run(&[&words[..], &[holds.to_str().unwrap(), &target]].concat());
        file
    }

    /// The content of a container, encrypted in sectors of so many bytes.
    fn encrypted(&self, holds: &Path, sector: usize) -> Vec<u8> {
        let key = fs::read(self.path("key")).unwrap();
        let (data, tweak) = (
            Aes256::new_from_slice(&key[..32]).unwrap(),
            Aes256::new_from_slice(&key[32..]).unwrap(),
        );
        let mut bytes = fs::read(holds).unwrap();
        for (index, sector) in bytes.chunks_mut(sector).enumerate() {
            let number = (index * sector.len() / 512) as u128;
            let mut vector = number.to_le_bytes().into();
            tweak.encrypt_block(&mut vector);
            let mut alpha = u128::from_le_bytes(vector.into());
            for block in sector.chunks_mut(16) {
                let plain = u128::from_le_bytes((&*block).try_into().unwrap());
                let mut cipher = (plain ^ alpha).to_le_bytes().into();
                data.encrypt_block(&mut cipher);
                let cipher = u128::from_le_bytes(cipher.into()) ^ alpha;
                block.copy_from_slice(&cipher.to_le_bytes());
                alpha = (alpha << 1) ^ (0x87 * (alpha >> 127));
            }
        }
        bytes
    }

    fn assert_holds(&self, volume: &Volume) {
        let Content::Filesystem(filesystem) = &volume.content else {
            panic!("{volume:?}")
        };
        let mut ours = tree::of_filesystem(&**filesystem);
        ours.remove(&b"lost+found"[..]);
        tree::assert_same(&ours, &tree::of_folder(&self.path("holds")));
    }
}

fn is_possible() -> bool {
    has(&["cryptsetup", "qemu-img", "mkfs.ext4", "debugfs"])
}

fn only(disk: &Disk) -> &Volume {
    let [volume] = disk.volumes.as_slice() else {
        panic!("{disk:?}")
    };
    volume
}

#[test]
fn what_qemu_encrypted_is_read_by_its_passphrase_only() {
    if !is_possible() {
        return;
    }
    let made = Made::new();
    let disk = raw(&made.version1("luks1.raw", &made.ext4(16)));
    let keys = right();
    let with = opened(&disk, &keys);
    made.assert_holds(only(&with));
    assert_eq!(only(&with).encryption.as_ref().unwrap().kind, "LUKS1");
    // The key is known from now on, and no passphrase is needed.
    assert!(matches!(
        only(&opened(&disk, &keys)).content,
        Content::Filesystem(_)
    ));
    for (keys, want) in [(self::keys(b"wrong"), true), (Keys::none(), false)] {
        let without = opened(&disk, &keys);
        let content = &only(&without).content;
        assert!(
            matches!(content, Content::Locked { kind: "LUKS1", is_wrong } if *is_wrong == want),
            "{content:?}"
        );
        let sums = explain::explain(&without, &source::until(18 * MIB)).unwrap();
        assert_eq!(sums.unread, 18 * MIB);
    }
    // The header is outside, all else is explained.
    let sums = explain::explain(&with, &source::until(18 * MIB)).unwrap();
    assert_eq!(
        (sums.outside, sums.unread, sums.total()),
        (2 * MIB, 0, 18 * MIB)
    );
}

#[test]
fn version_2_is_read_with_each_derivation_and_length_of_sectors() {
    if !is_possible() {
        return;
    }
    let made = Made::new();
    let ext4 = made.ext4(16);
    let by_qemu = fs::read(made.version1("luks1.raw", &ext4)).unwrap();
    // QEMU and this test encrypt alike.
    assert!(made.encrypted(&ext4, 512) == by_qemu[2 << 20..]);
    for (sector, derivation) in [
        (
            512,
            "--pbkdf pbkdf2 --hash sha512 --pbkdf-force-iterations 1000",
        ),
        (
            512,
            "--pbkdf argon2i --pbkdf-memory 64 --pbkdf-parallel 2 --pbkdf-force-iterations 4",
        ),
        (
            4096,
            "--pbkdf argon2id --pbkdf-memory 8192 --pbkdf-parallel 4 --pbkdf-force-iterations 4",
        ),
    ] {
        let options = format!("--type luks2 --sector-size {sector} {derivation}");
        let file = made.format("luks2.raw", 32 * MIB, &options);
        let content = made.encrypted(&ext4, sector);
        let disk = File::options().write(true).open(&file).unwrap();
        disk.write_all_at(&content, 16 * MIB).unwrap();
        made.assert_holds(only(&opened(&raw(&file), &right())));
        let locked = opened(&raw(&file), &keys(b"open sesame\n"));
        let content = &only(&locked).content;
        assert!(
            matches!(content, Content::Locked { is_wrong: true, .. }),
            "{content:?}"
        );
        // The second copy of the header is used where the first one is damaged.
        disk.write_all_at(&[0xff], 4096 + 50).unwrap();
        made.assert_holds(only(&opened(&raw(&file), &right())));
    }
}

/// The JSON of both copies of a header, changed, with checksums that are right.
fn rewrite(file: &Path, from: &str, to: &str) {
    let disk = File::options().read(true).write(true).open(file).unwrap();
    for at in [0, 16 << 10] {
        let mut bytes = vec![0; 16 << 10];
        disk.read_exact_at(&mut bytes, at).unwrap();
        let json = String::from_utf8_lossy(&bytes[4096..]).into_owned();
        assert!(json.contains(from), "{from}: {json}");
        let json = json.trim_end_matches('\0').replace(from, to);
        bytes[4096..].fill(0);
        bytes[4096..4096 + json.len()].copy_from_slice(json.as_bytes());
        bytes[448..512].fill(0);
        let sum = Sha256::digest(&bytes);
        bytes[448..480].copy_from_slice(&sum);
        disk.write_all_at(&bytes, at).unwrap();
    }
}

#[test]
fn headers_that_ask_for_too_much_or_for_what_is_not_known_say_so() {
    if !is_possible() {
        return;
    }
    let made = Made::new();
    let options = "--type luks2 --pbkdf argon2id --pbkdf-memory 64 --pbkdf-parallel 1 --pbkdf-force-iterations 4";
    for (from, to, want) in [
        (
            "\"memory\":64",
            "\"memory\":2097152",
            "2048 MiB of memory (more than 1024 MiB)",
        ),
        ("\"memory\":64", "\"memory\":-1", "memory is missing"),
        ("\"time\":4", "\"time\":4000000000", "passes of Argon2"),
        ("\"cpus\":1", "\"cpus\":0", "parameter of Argon2"),
        ("\"argon2id\"", "\"scrypt\"", "derivation other than"),
        (
            "\"aes-xts-plain64\"",
            "\"aes-adiantum\"",
            "aes-adiantum is not read",
        ),
        (
            "\"sector_size\":4096",
            "\"sector_size\":4097",
            "length of sectors",
        ),
        ("\"stripes\":4000", "\"stripes\":4", "split otherwise"),
        ("\"key_size\":64", "\"key_size\":640000", "length of a key"),
        ("\"crypt\"", "\"linear\"", "encrypted anew"),
        ("{", "", "header"),
        ("{", &"[".repeat(200), "header"),
    ] {
        let file = made.format("luks2.raw", 17 * MIB, options);
        rewrite(&file, from, to);
        let disk = opened(&raw(&file), &right());
        let content = &only(&disk).content;
        assert!(
            matches!(content, Content::Failed(why) if why.to_string().contains(want)),
            "{to}: {content:?}"
        );
    }
    // What lies past the end is nothing.
    let file = made.format("luks2.raw", 17 * MIB, options);
    rewrite(
        &file,
        "\"offset\":\"16777216\"",
        "\"offset\":\"18446744073709551615\"",
    );
    let disk = opened(&raw(&file), &right());
    assert_eq!(only(&disk).len, 0);
    rewrite(&file, "\"keyslots\":[", "\"keyslots\":[7,");
    rewrite(&file, "\"type\":\"luks2\"", "\"type\":\"luks9\"");
    let disk = opened(&raw(&file), &right());
    assert!(matches!(
        only(&disk).content,
        Content::Locked { is_wrong: true, .. }
    ));
}

#[test]
fn logical_volumes_in_an_encrypted_one_are_compared_through_both() {
    if !is_possible() || !lvm::is_possible() {
        return;
    }
    let made = Made::new();
    // The layout of installers: a physical volume in an encrypted one.
    let group = Group::new(32, &[(0, 32)]);
    group.create("root", 2);
    group.lvm(&[
        "lvcreate", "-q", "-an", "-Zn", "-Wn", "-n", "other", "-l", "1", "my-vg",
    ]);
    group.lvm(&["lvextend", "-q", "-l", "+3", "my-vg/root"]);
    let ext4 = made.ext4(20);
    group.fill("root", &ext4);
    let before = raw(&made.version1("before.raw", &group.disk));
    fs::write(made.path("new"), "new words").unwrap();
    fs::write(
        made.path("edits"),
        format!("write {} etc/new\n", made.text("new")),
    )
    .unwrap();
    run(&[
        "debugfs",
        "-w",
        "-f",
        &made.text("edits"),
        ext4.to_str().unwrap(),
    ]);
    group.fill("root", &ext4);
    // The same header, so that only content differs.
    let after = made.path("after.raw");
    fs::copy(made.path("before.raw"), &after).unwrap();
    let content = made.encrypted(&group.disk, 512);
    File::options()
        .write(true)
        .open(&after)
        .unwrap()
        .write_all_at(&content, 2 * MIB)
        .unwrap();
    let after = raw(&after);

    let keys = right();
    let changed = differing(&before, &after, 4096);
    assert!((4096..MIB).contains(&changed.bytes()), "{changed:?}");
    let [one, other] = [&before, &after].map(|disk| opened(disk, &keys));
    let names: Vec<_> = other
        .volumes
        .iter()
        .map(|volume| volume.name.to_string())
        .collect();
    assert_eq!(names, ["disk", "my--vg-other", "my--vg-root"]);
    made.assert_holds(&one.volumes[2]);
    let diffs = diff::disks(&one, &other, &changed, Options::default(), &mut NoWatch).unwrap();
    let root = &diffs[2];
    assert!(matches!(root.state, VolumeState::Compared), "{root:?}");
    assert!(root.changed_bytes <= changed.bytes());
    let paths: Vec<_> = root
        .changes
        .iter()
        .map(|change| (change.kind.name(), &*change.path))
        .collect();
    assert_eq!(paths, [("added", &b"etc/new"[..])]);
    // Locked, nothing is known of what differs.
    let [one, other] = [&before, &after].map(|disk| opened(disk, &Keys::none()));
    let diffs = diff::disks(&one, &other, &changed, Options::default(), &mut NoWatch).unwrap();
    let [disk] = diffs.as_slice() else {
        panic!("{diffs:?}")
    };
    assert!(
        matches!(&disk.state, VolumeState::Locked(why) if why.contains("passphrase")),
        "{disk:?}"
    );
}

#[test]
fn an_encrypted_logical_volume_is_read_and_volumes_without_end_are_not() {
    if !is_possible() || !lvm::is_possible() {
        return;
    }
    let made = Made::new();
    let group = Group::new(40, &[(0, 40)]);
    group.create("crypt", 8);
    group.fill("crypt", &{
        let file = made.version1("luks1.raw", &made.ext4(16));
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(32 * MIB)
            .unwrap();
        file
    });
    let disk = opened(&group.state("state.raw"), &right());
    let volume = &disk.volumes[1];
    made.assert_holds(volume);
    assert_eq!(volume.place.segments()[0].disk, MIB + 2 * MIB);
}
