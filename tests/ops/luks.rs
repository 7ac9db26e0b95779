//! LUKS-encrypted images: read and written byte for byte as the real tools do, refused by name where
//! they are not understood, and never a danger however their headers are forged.
#![allow(clippy::cast_possible_truncation)] // Helpers of tests: what they say and cast is known.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{
    Chain, Format, ImageFile, Keys, NoProgress, Passphrase, Passphrases, Root, Source, Target,
};
use qanopy::ops::{
    self, ChangeSnapshot, Commit, CommittedLayer, Dependants, ExtractAs, NoteKind, Progress,
    RefusalKind, Request, Siblings, SnapshotAction, SnapshotName,
};
use support::RecordingHost;
use support::encrypted::{self, Kind, ours, theirs};
use support::image_crash_suite::warns_of;
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
    assert!(said(&Keys::none()).contains("no passphrase was given for it"));
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
    assert!(chain.unlock(&encrypted::keys(), &NoProgress).is_err());
}

/// What planning looks at, with the passphrase of every image.
fn context(host: &Arc<dyn Host>, dir: &Path, keys: &Keys) -> ops::Context {
    let mut context = support::own_code::context(host, dir);
    context.keys = keys.clone();
    context
}

fn plan_commit(host: &Arc<dyn Host>, overlay: &Path, siblings: Siblings, keys: &Keys) -> ops::Plan {
    let request = Request::Commit(Commit {
        overlay: overlay.to_path_buf(),
        into: None,
        keep_old: None,
        layer: CommittedLayer::Keep,
        siblings,
    });
    ops::plan(&context(host, overlay.parent().unwrap(), keys), &request)
}

fn commit(host: &Arc<dyn Host>, overlay: &Path, siblings: Siblings, keys: &Keys) {
    let plan = plan_commit(host, overlay, siblings, keys);
    let ready = support::own_code::agree(plan).unwrap();
    ops::run(ready, &Progress::new()).unwrap();
}

/// Images in `dir`: an encrypted, a plain and a raw base, and overlays on them, all with content.
fn family(qemu: &support::Qemu, dir: &Path, base: Kind, top: Kind) -> [PathBuf; 2] {
    let below = match base {
        Kind::Luks => dir.join("two-base.qcow2"),
        Kind::Plain => dir.join("base.qcow2"),
        Kind::Raw => dir.join("base.img"),
    };
    let format = if base == Kind::Raw { "raw" } else { "qcow2" };
    let size = encrypted::SIZE.to_string();
    match base {
        Kind::Luks => encrypted::two(qemu, &below),
        _ => drop(qemu.img(&["create", "-q", "-f", format, below.to_str().unwrap(), &size])),
    }
    let overlay = dir.join("one.qcow2");
    let name = below.file_name().unwrap().to_str().unwrap();
    if top == Kind::Luks {
        encrypted::one(qemu, &overlay);
        encrypted::build_on(&overlay, name, format);
    } else {
        let overlay = overlay.to_str().unwrap();
        qemu.img(&[
            "create", "-q", "-f", "qcow2", "-F", format, "-b", name, overlay,
        ]);
    }
    let chain = [(overlay.as_path(), top), (below.as_path(), base)];
    encrypted::io(
        qemu,
        &chain[1..],
        &["write -P 1 0 1M", "write -P 2 2M 100k"],
    );
    encrypted::io(
        qemu,
        &chain,
        &[
            "write -P 3 64k 192k",
            "write -P 4 900k 300k",
            "write -P 5 2050k 1k",
            "write -z 640k 64k",
        ],
    );
    [overlay, below]
}

#[test]
fn what_we_encrypt_the_real_tool_reads_and_calls_clean() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    fs::write(&from, noise(7, 300_000)).unwrap();
    let source = ImageFile::open(&RealHost, &from, Access::Read).unwrap();
    for (name, make) in [
        ("one.qcow2", encrypted::one as fn(&support::Qemu, &Path)),
        ("two.qcow2", encrypted::two),
    ] {
        let image = dir.path().join(name);
        make(&qemu, &image);
        let kind = [(image.as_path(), Kind::Luks)];
        encrypted::io(&qemu, &kind, &["write -P 9 1M 512k"]);
        let mut expected = theirs(&qemu, &kind);
        let chain = Chain::open(&RealHost, &image, Some(&Format::Qcow2), &|_| true).unwrap();
        // Locked, it is not opened for writing.
        let open = |chain: &Chain| {
            let format = Format::Qcow2;
            Target::open(
                &RealHost,
                &image,
                &format,
                chain.clone(),
                Root::Active,
                &NoProgress,
            )
        };
        assert!(
            open(&chain)
                .unwrap_err()
                .to_string()
                .contains("no passphrase")
        );
        chain.unlock(&encrypted::keys(), &NoProgress).unwrap();
        let mut target = open(&chain).unwrap();
        target.begin().unwrap();
        // In place and into new clusters, at and off the boundaries of sectors, from memory and from
        // a file, past whose end there are zeros.
        for (at, len) in [
            (0, 1),
            (700, 3000),
            (65_536, 65_536),
            (1_100_000, 5),
            (1_200_001, 70_000),
        ] {
            let bytes = noise(at, len);
            target.write(at, len, Source::Bytes(&bytes)).unwrap();
            expected[at as usize..][..len as usize].copy_from_slice(&bytes);
        }
        for (at, len, offset) in [(200_000, 100_000, 5), (1_400_000, 200_000, 299_000)] {
            let source = Source::File {
                file: &source,
                offset,
            };
            target.write(at, len, source).unwrap();
            let mut bytes = noise(7, 300_000).split_off(offset as usize);
            bytes.resize(len as usize, 0);
            expected[at as usize..][..len as usize].copy_from_slice(&bytes);
        }
        target.write_zeros(1_048_577, 40_000).unwrap();
        expected[1_048_577..1_088_577].fill(0);
        target.grow(encrypted::SIZE + (1 << 20)).unwrap();
        expected.resize(expected.len() + (1 << 20), 0);
        target.finish().unwrap();
        assert!(theirs(&qemu, &kind) == expected, "{name}");
        assert!(
            ours(&RealHost, &image, &encrypted::keys()).unwrap() == expected,
            "{name}"
        );
        assert!(encrypted::check_is_clean(&qemu, &kind), "{name}");
        // Nothing of it lies there in the clear.
        let stored = fs::read(&image).unwrap();
        let needle = &noise(7, 300_000)[1000..1032];
        assert!(!stored.windows(32).any(|bytes| bytes == needle), "{name}");
    }
}

#[test]
fn a_commit_between_encrypted_and_plain_images_shows_what_was_shown() {
    let Some(qemu) = support::qemu() else { return };
    for (base, top) in [
        (Kind::Luks, Kind::Luks),
        (Kind::Plain, Kind::Luks),
        (Kind::Raw, Kind::Luks),
        (Kind::Luks, Kind::Plain),
    ] {
        let home = tempfile::tempdir().unwrap();
        let [overlay, below] = family(&qemu, home.path(), base, top);
        let chain = [(overlay.as_path(), top), (below.as_path(), base)];
        let before = theirs(&qemu, &chain);
        let host = support::own_code::real_host();
        let plan = plan_commit(&host, &overlay, Siblings::Refuse, &encrypted::keys());
        let warned = warns_of(&plan, NoteKind::Secrecy);
        assert_eq!(warned, top == Kind::Luks && base != Kind::Luks);
        commit(&host, &overlay, Siblings::Refuse, &encrypted::keys());
        assert!(theirs(&qemu, &chain) == before, "{base:?} {top:?}");
        assert!(theirs(&qemu, &chain[1..]) == before, "{base:?} {top:?}");
        assert!(encrypted::check_is_clean(&qemu, &chain), "{base:?} {top:?}");
        if base != Kind::Raw {
            assert!(
                encrypted::check_is_clean(&qemu, &chain[1..]),
                "{base:?} {top:?}"
            );
        }
    }
}

#[test]
fn without_the_passphrases_a_commit_is_refused_before_anything_is_written() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let [overlay, below] = family(&qemu, home.path(), Kind::Luks, Kind::Luks);
    let before = support::recorder::digest_tree(home.path());
    let host = support::own_code::real_host();
    let said = |keys: &Keys, kind: RefusalKind| {
        let plan = plan_commit(&host, &overlay, Siblings::Refuse, keys);
        support::image_crash_suite::refused_as(&plan, kind)
    };
    assert!(said(&Keys::none(), RefusalKind::PassphraseNeeded).contains("one.qcow2"));

    #[derive(Debug)]
    struct OnlyOne;
    impl Passphrases for OnlyOne {
        fn passphrases(&self, _: &Path) -> Vec<Passphrase> {
            vec![Passphrase::new(b"one".to_vec())]
        }
    }
    let wrong = RefusalKind::Image("wrong-passphrase");
    let text = said(&Keys::from(Arc::new(OnlyOne)), wrong);
    assert!(text.contains("two-base.qcow2"), "{text}");
    assert_eq!(support::recorder::digest_tree(home.path()), before);

    // The same from the command line, and then with the right ones.
    let shown = theirs(&qemu, &[(&overlay, Kind::Luks), (&below, Kind::Luks)]);
    let qanopy = |more: &[String]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command.env("XDG_STATE_HOME", home.path().join("state"));
        command
            .args(["commit", "--keep", "--confirm", "1"])
            .arg(&overlay)
            .args(more);
        qemu.run(&mut command)
    };
    let one = encrypted::passphrase_file(&overlay);
    let outcome = qanopy(&[format!("--passphrase-file={}", one.display())]);
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("opens none of its key slots"),
        "{}",
        outcome.stderr
    );
    let two = home.path().join("with a newline");
    fs::write(&two, "two\n").unwrap();
    let outcome = qanopy(&[
        format!("--passphrase-file={}", one.display()),
        format!("--passphrase-file={}={}", below.display(), two.display()),
    ]);
    assert_eq!(outcome.code, 0, "{}{}", outcome.text(), outcome.stderr);
    assert!(theirs(&qemu, &[(&below, Kind::Luks)]) == shown);
}

#[test]
fn an_encrypted_sibling_receives_what_it_would_lose() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let [overlay, below] = family(&qemu, home.path(), Kind::Plain, Kind::Plain);
    let sibling = home.path().join("two-sibling.qcow2");
    encrypted::two(&qemu, &sibling);
    encrypted::build_on(&sibling, "base.qcow2", "qcow2");
    let chain = [
        (sibling.as_path(), Kind::Luks),
        (below.as_path(), Kind::Plain),
    ];
    encrypted::io(&qemu, &chain, &["write -P 7 70k 1k"]);
    let before = theirs(&qemu, &chain);
    let host = support::own_code::real_host();
    let plan = plan_commit(&host, &overlay, Siblings::Preserve, &Keys::none());
    let text = &plan.refusals[0].text;
    assert!(
        text.contains("two-sibling.qcow2 cannot be kept intact"),
        "{text}"
    );
    commit(&host, &overlay, Siblings::Preserve, &encrypted::keys());
    assert!(theirs(&qemu, &chain) == before);
    assert!(encrypted::check_is_clean(&qemu, &chain));
}

#[test]
fn a_commit_says_where_what_was_encrypted_will_lie_in_the_clear() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let [overlay, below] = family(&qemu, home.path(), Kind::Luks, Kind::Plain);
    let sibling = home.path().join("sibling.qcow2");
    let (below, name) = (below.file_name().unwrap(), sibling.to_str().unwrap());
    let below = below.to_str().unwrap();
    qemu.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, name,
    ]);
    let host = support::own_code::real_host();
    let plan = |siblings, keep_old: Option<PathBuf>| {
        let request = Request::Commit(Commit {
            overlay: overlay.clone(),
            into: None,
            keep_old,
            layer: CommittedLayer::Trash,
            siblings,
        });
        let context = context(&host, home.path(), &encrypted::keys());
        support::image_crash_suite::words(&ops::plan(&context, &request))
    };
    let text = plan(Siblings::Preserve, Some(home.path().join("old.qcow2")));
    let told =
        "two-base.qcow2 is encrypted and sibling.qcow2 and old.qcow2 are not: what is copied there";
    assert!(text.contains(told), "{text}");
    let text = plan(Siblings::Break, None);
    assert!(!text.contains("what is copied there"), "{text}");
}

#[test]
fn snapshots_of_an_encrypted_image_need_a_key_only_to_be_copied_out() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("two.qcow2");
    encrypted::two(&qemu, &image);
    let kind = [(image.as_path(), Kind::Luks)];
    encrypted::io(&qemu, &kind, &["write -P 1 0 300k"]);
    let was = theirs(&qemu, &kind);
    let host = support::own_code::real_host();
    let act = |action: SnapshotAction, keys: &Keys| {
        let request = Request::Snapshot(ChangeSnapshot {
            image: image.clone(),
            action,
        });
        let plan = ops::plan(&context(&host, home.path(), keys), &request);
        let ready = support::own_code::agree(plan)?;
        ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
    };
    let named = || SnapshotName::Name("s".into());
    act(SnapshotAction::Create { name: "s".into() }, &Keys::none()).unwrap();
    encrypted::io(&qemu, &kind, &["write -P 2 100k 1M"]);
    let now = theirs(&qemu, &kind);
    assert!(now != was);
    let new = home.path().join("new.img");
    let extract = || SnapshotAction::Extract {
        snapshot: named(),
        new: new.clone(),
        form: ExtractAs::Raw,
    };
    let refused = act(extract(), &Keys::none()).unwrap_err();
    assert!(refused.contains("no passphrase"), "{refused}");
    act(extract(), &encrypted::keys()).unwrap();
    assert!(fs::read(&new).unwrap() == was);
    assert!(theirs(&qemu, &kind) == now);
    let apply = SnapshotAction::Apply {
        snapshot: named(),
        dependants: Dependants::Refuse,
    };
    act(apply, &Keys::none()).unwrap();
    assert!(theirs(&qemu, &kind) == was);
    act(SnapshotAction::Delete { snapshot: named() }, &Keys::none()).unwrap();
    assert!(theirs(&qemu, &kind) == was);
    assert!(encrypted::check_is_clean(&qemu, &kind));
}

#[test]
fn a_commit_into_an_encrypted_base_survives_every_crash() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let [overlay, below] = family(&qemu, dir, Kind::Luks, Kind::Luks);
    let keys = encrypted::keys();
    let view = |dir: &Path, image: &Path| {
        let image = dir.join(image.file_name().unwrap());
        encrypted::our_view(&RealHost, &image, &keys).unwrap()
    };
    let (shown, was) = (view(dir, &overlay), view(dir, &below));
    let recorder = Arc::new(RecordingHost::new(dir));
    let host: Arc<dyn Host> = recorder.clone();
    commit(&host, &overlay, Siblings::Refuse, &keys);
    recorder.mark("done");
    let log = recorder.log();
    for (number, state) in log.crash_states(150, 11).enumerate() {
        let after = log.replay(&state);
        let said = || format!("state {number}:\n{}", log.describe(&state));
        for image in [&overlay, &below] {
            let image = after.path().join(image.file_name().unwrap());
            assert!(support::checker::check(&image).is_sound(), "{}", said());
        }
        assert!(view(after.path(), &overlay) == shown, "{}", said());
        let now = view(after.path(), &below);
        assert!(now.is_mixture(&was, &shown), "{}", said());
        assert!(!state.passed("done") || now == shown, "{}", said());
        if number % 30 == 0 {
            let overlay = after.path().join(overlay.file_name().unwrap());
            commit(
                &support::own_code::real_host(),
                &overlay,
                Siblings::Refuse,
                &keys,
            );
            assert!(
                view(after.path(), &below) == shown,
                "run again after {}",
                said()
            );
        }
    }
}

/// Changes of one field of the LUKS header: offset, bytes.
fn forgeries() -> Vec<(usize, Vec<u8>)> {
    let mut all = vec![
        (0, b"M".to_vec()),
        (6, vec![0, 0]),
        (6, vec![0, 2]),
        (8, vec![b'a'; 32]),
        (8, b"AES\0".to_vec()),
        (8, b"\0".to_vec()),
        (8, b"a\x1b[2J\0".to_vec()),
        (40, vec![b'x'; 32]),
        (40, b"xts\0".to_vec()),
        (40, b"-plain64\0".to_vec()),
        (40, b"xts-\0".to_vec()),
        (40, b"xts-essiv\0".to_vec()),
        (40, b"xts-essiv:\0".to_vec()),
        (40, b"xts-essiv:sha1\0".to_vec()),
        (40, b"xts-essiv:sha256\0".to_vec()),
        (40, b"xts-plain64:sha256\0".to_vec()),
        (40, b"cbc-plain64\0".to_vec()),
        (72, vec![b's'; 32]),
        (72, b"sha1\0".to_vec()),
        (72, b"\0".to_vec()),
        (112, vec![0x55; 20]),
        (132, vec![0x55; 32]),
        (168, vec![0xff; 40]),
        // A slot that is not in use.
        (256 + 4, vec![0xff; 4]),
        (256 + 8, vec![0xff; 32]),
        (208, 0x00ac_71f2_u32.to_be_bytes().to_vec()),
        (208, 0xdead_u32.to_be_bytes().to_vec()),
        (212, 1_u32.to_be_bytes().to_vec()),
        (216, vec![0x55; 32]),
        (256, 0x00ac_71f3_u32.to_be_bytes().to_vec()),
    ];
    // Payload, key length, iterations of the digest, key material and stripes of the first two slots.
    for at in [104, 108, 164, 248, 252, 296, 300] {
        for value in [
            0,
            1,
            7,
            8,
            9,
            16,
            24,
            48,
            512,
            4000,
            4001,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ] {
            all.push((at, value.to_be_bytes().to_vec()));
        }
    }
    for at in [212, 256 + 4] {
        all.push((at, 0_u32.to_be_bytes().to_vec()));
        all.push((at, u32::MAX.to_be_bytes().to_vec()));
    }
    all
}

#[test]
fn forged_luks_headers_are_refused_as_the_real_tool_refuses_them_and_never_hang() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("one.qcow2");
    encrypted::one(&qemu, &image);
    let kind = [(image.as_path(), Kind::Luks)];
    encrypted::io(&qemu, &kind, &["write -P 1 0 64k"]);
    let header = luks_offset(&image);
    let good = fs::read(&image).unwrap();
    let first = |keys: &Keys| ours(&RealHost, &image, keys).map(|bytes| bytes[..4096].to_vec());
    let was = first(&encrypted::keys()).unwrap();
    for (number, (at, change)) in forgeries().into_iter().enumerate() {
        let mut bytes = good.clone();
        bytes[header + at..][..change.len()].copy_from_slice(&change);
        fs::write(&image, &bytes).unwrap();
        let begun = std::time::Instant::now();
        let read = first(&encrypted::keys());
        assert!(begun.elapsed().as_secs() < 20, "{at}: {change:x?}");
        // What it says of itself can be shown on any terminal.
        let file = RealHost.open(&image, Access::Read).unwrap();
        let head = qanopy::image::read_header(&ImageFile::new(&image, file.clone())).unwrap();
        let info = qanopy::image::luks_header(&ImageFile::new(&image, file.clone()), &head);
        for said in [
            read.as_ref().err().cloned(),
            info.err().map(|error| error.to_string()),
        ] {
            assert!(!said.unwrap_or_default().chars().any(char::is_control));
        }
        // The real tool is asked about some of these. It would iterate for an hour.
        let endless = matches!(at, 164 | 212) && change[0] >= 0x7f;
        if number % 3 == 0 && !endless {
            let outcome = encrypted::try_io(&qemu, &kind, &["read -P 1 0 4096"]);
            let opens = !outcome.stderr.contains("can't open") && outcome.code == 0;
            let reads = opens && !outcome.text().contains("verification failed");
            let same = reads == read.as_ref().is_ok_and(|bytes| *bytes == was);
            assert!(
                same,
                "{at}: {change:x?}: {read:?}, {}{}",
                outcome.text(),
                outcome.stderr
            );
        }
    }
    // The place of the header, in the qcow2 header's extension.
    let at = good
        .windows(4)
        .position(|bytes| bytes == [0x05, 0x37, 0xbe, 0x77])
        .unwrap()
        + 8;
    for (offset, length) in [
        (0, 0x10000),
        (0x10000, 0x10000),
        (1 << 40, 0x20_0000),
        (u64::MAX, 1),
        (header as u64, 0),
        (header as u64, 591),
        (header as u64, 4096),
        (header as u64, u64::MAX),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&u64::to_be_bytes(offset));
        bytes[at + 8..at + 16].copy_from_slice(&u64::to_be_bytes(length));
        fs::write(&image, &bytes).unwrap();
        let error = first(&encrypted::keys()).unwrap_err();
        assert!(
            error.contains("LUKS") || error.contains("crypto header"),
            "{error}"
        );
        // The real tool believes any length; we, only one that a file can have.
        let refused = encrypted::try_io(&qemu, &kind, &["read 0 512"]).code != 0;
        assert!(refused || length == u64::MAX, "{offset:#x} {length:#x}");
    }
}
