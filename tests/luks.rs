//! LUKS-encrypted images: read and written byte for byte as the real tools do, refused by name where
//! they are not understood, and never a danger however their headers are forged.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail the test.

mod support;

use std::fs;
use std::path::Path;

use qanopy::host::RealHost;
use qanopy::image::{Chain, Format, Keys, Unhurried};
use support::encrypted::{self, Kind, ours, theirs};
use support::script::noise;

/// Where the LUKS header of an image is.
fn luks_offset(image: &Path) -> usize {
    let bytes = fs::read(image).unwrap();
    let at = bytes.windows(6).position(|bytes| bytes == b"LUKS\xba\xbe");
    at.unwrap()
}

#[test]
fn what_the_real_tool_encrypted_is_read_byte_for_byte() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw");
    fs::write(&raw, noise(1, 700 * 512)).unwrap();
    let plain = fs::read(&raw).unwrap();
    // Few, since the real tool measures its processor for seconds whenever it makes one.
    for (number, options) in [
        "cipher-mode=cbc,ivgen-alg=essiv,hash-alg=ripemd160,!compat=0.10",
        "cipher-alg=aes-192,hash-alg=sha512,!extended_l2=on",
        "cipher-alg=serpent-256,ivgen-alg=essiv,hash-alg=sha384,!cluster_size=2M",
    ]
    .into_iter()
    .enumerate()
    {
        let image = dir.path().join(format!("{number}.qcow2"));
        encrypted::convert(&qemu, &raw, &image, options);
        let read = ours(&RealHost, &image, &encrypted::keys()).unwrap();
        assert_eq!(read.len(), plain.len(), "{options}");
        assert!(read == plain, "{options}");
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn a_chain_of_encrypted_and_plain_layers_reads_as_the_real_tool_reads_it() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (base, middle, top) = (at("two.qcow2"), at("middle.qcow2"), at("one.qcow2"));
    encrypted::two(&qemu, &base);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "two.qcow2",
        middle.to_str().unwrap(),
    ]);
    encrypted::one(&qemu, &top);
    encrypted::build_on(&top, "middle.qcow2", "qcow2");
    let chain = [
        (top.as_path(), Kind::Luks),
        (middle.as_path(), Kind::Plain),
        (base.as_path(), Kind::Luks),
    ];
    encrypted::io(
        &qemu,
        &chain[2..],
        &["write -P 1 0 1M", "write -P 2 1536k 700k"],
    );
    encrypted::io(
        &qemu,
        &chain[1..],
        &["write -P 3 512k 8k", "write -z 768k 64k"],
    );
    encrypted::io(
        &qemu,
        &chain,
        &["write -P 4 514k 3k", "write -P 5 2M 512", "discard 1M 64k"],
    );
    let read = ours(&RealHost, &top, &encrypted::keys()).unwrap();
    assert!(read == theirs(&qemu, &chain));

    // What is stored is not what is read, and nobody is told it is.
    let locked = Chain::open(&RealHost, &top, Some(&Format::Qcow2), &|_| true).unwrap();
    assert!(
        locked
            .layers()
            .iter()
            .filter(|layer| layer.guest_file().is_none())
            .count()
            == 2
    );
    let error = locked.read_at(&mut [0; 512], 0).unwrap_err().to_string();
    assert!(error.contains("no passphrase was given"), "{error}");
    // Where things lie can be asked all the same.
    assert!(locked.resolve(0, 512).unwrap().layer == Some(2));
}

#[test]
fn an_image_that_nobody_can_open_says_why() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("one.qcow2");
    encrypted::one(&qemu, &image);
    let said = |keys: &Keys| ours(&RealHost, &image, keys).unwrap_err();
    assert!(said(&Keys::none()).contains("no passphrase was given for it (--passphrase-file)"));
    let other = dir.path().join("two.qcow2");
    fs::rename(&image, &other).unwrap();
    // The passphrase goes by the name.
    let error = ours(&RealHost, &other, &encrypted::keys()).unwrap_err();
    assert!(error.contains("opens none of its key slots"), "{error}");
    fs::rename(&other, &image).unwrap();

    let header = luks_offset(&image);
    let was = fs::read(&image).unwrap();
    for (at, text, name) in [
        (8, "cast5\0", "cipher cast5"),
        (40, "ctr-plain64\0", "mode ctr"),
        (40, "xts-benbi\0", "vector generator benbi"),
        (72, "sm3\0", "hash sm3"),
        (72, "md5\0", "hash md5"),
    ] {
        let mut bytes = was.clone();
        bytes[header + at..][..text.len()].copy_from_slice(text.as_bytes());
        fs::write(&image, bytes).unwrap();
        let error = ours(&RealHost, &image, &encrypted::keys()).unwrap_err();
        assert!(
            error.contains(name) && error.contains("not supported"),
            "{error}"
        );
    }
    let old = dir.path().join("old.qcow2");
    let made = qemu.try_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=aes,encrypt.key-secret=s",
        old.to_str().unwrap(),
        "1M",
    ]);
    assert!(made.success(), "{}", made.stderr);
    let error = ours(&RealHost, &old, &encrypted::keys()).unwrap_err();
    assert!(error.contains("legacy AES"), "{error}");
}

#[test]
fn a_key_is_derived_once() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("one.qcow2");
    encrypted::one(&qemu, &image);
    let keys = encrypted::keys();
    ours(&RealHost, &image, &keys).unwrap();
    // Another name, another passphrase: the key is known.
    let other = dir.path().join("two.qcow2");
    fs::rename(&image, &other).unwrap();
    ours(&RealHost, &other, &keys).unwrap();
    let chain = Chain::open(&RealHost, &other, Some(&Format::Qcow2), &|_| true).unwrap();
    assert!(chain.unlock(&encrypted::keys(), &Unhurried).is_err());
}
