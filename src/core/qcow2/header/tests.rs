//! The header against literal bytes, against itself, and against qemu-img.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::qcow2::tests::Scratch;

/// A version 3 header as QEMU 10.0 makes it for 1 MiB, 64 KiB clusters, base `b.qcow2`; no tables of
/// names. Written by hand from the specification.
fn v3() -> Vec<u8> {
    let mut b = vec![0u8; 65536];
    b[0..8].copy_from_slice(&[0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
    b[14..16].copy_from_slice(&[0, 0x88]); // backing_file_offset
    b[19] = 7; // backing_file_size
    b[23] = 16; // cluster_bits
    b[29] = 0x10; // size 1 MiB
    b[39] = 1; // l1_size
    b[45] = 3; // l1_table_offset 0x30000
    b[53] = 1; // refcount_table_offset 0x10000
    b[59] = 1; // refcount_table_clusters
    b[99] = 4; // refcount_order
    b[103] = 112; // header_length
    b[112..120].copy_from_slice(&[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5]);
    b[120..125].copy_from_slice(b"qcow2");
    b[136..143].copy_from_slice(b"b.qcow2");
    b
}

#[test]
fn every_field_is_read_from_its_place() {
    let h = Header::parse(&v3()).unwrap();
    assert_eq!(h.version, Version::V3);
    assert_eq!(h.geometry, Geometry::new(16, 4, false).unwrap());
    assert_eq!(h.virtual_size(), 1 << 20);
    assert_eq!((h.l1_offset, h.l1_entries), (HostOffset(0x30000), 1));
    assert_eq!(h.refcount_table_offset, HostOffset(0x10000));
    assert_eq!(h.backing_file(), Some(&b"b.qcow2"[..]));
    assert_eq!(h.backing_format(), Some(&b"qcow2"[..]));
    assert_eq!(h.compression, CompressionType::Zlib);
    assert!(h.unsupported().is_empty());
    let encoded = h.encode().unwrap();
    assert_eq!(encoded[..], v3()[..143]);
}

#[test]
fn a_prefix_says_how_much_more_is_needed() {
    let bytes = v3();
    let mut have = 0;
    let mut rounds = 0;
    loop {
        let needed = Header::needed(&bytes[..have]);
        if needed <= have {
            break;
        }
        have = needed;
        rounds += 1;
    }
    assert_eq!(have, 143);
    assert!(rounds < 10);
    assert!(matches!(
        Header::parse(&bytes[..142]),
        Err(FormatError::Truncated { needed: 143, .. })
    ));
}

#[test]
fn a_version_2_header_ends_at_72_and_still_carries_extensions() {
    let mut b = v3();
    b[7] = 2;
    b[72..136].fill(0);
    b[72..80].copy_from_slice(&[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 3]);
    b[80..83].copy_from_slice(b"raw");
    let h = Header::parse(&b).unwrap();
    assert_eq!(h.header_length, 72);
    assert_eq!(h.backing_format(), Some(&b"raw"[..]));
    assert_eq!(h.encode().unwrap()[..], b[..143]);
}

#[test]
fn a_size_that_is_no_multiple_of_a_sector_is_rounded_down() {
    let mut b = v3();
    b[30..32].copy_from_slice(&[0x03, 0xff]);
    let h = Header::parse(&b).unwrap();
    assert_eq!(h.recorded_size, 0x10_03ff);
    assert_eq!(h.virtual_size(), 0x10_0200);
}

#[test]
fn unknown_bits_fields_and_extensions_are_kept_and_named() {
    let mut b = v3();
    b[103] = 120; // header_length
    b[112..136].fill(0);
    b[116] = 0xee; // a field of the future
    b[120..128].copy_from_slice(&[0xca, 0xfe, 0, 1, 0, 0, 0, 1]);
    b[128] = 0x77;
    b[15] = 0x90; // name behind the end marker
    b[136..151].fill(0);
    b[144..151].copy_from_slice(b"b.qcow2");
    b[72] = 0x20; // incompatible bit 61
    let h = Header::parse(&b).unwrap();
    assert_eq!(h.extensions.len(), 1);
    assert_eq!(h.extensions[0].kind(), ExtensionKind::Unknown(0xcafe_0001));
    assert_eq!(h.unknown_incompatible().len(), 1);
    assert_eq!(
        h.unsupported()[0].to_string(),
        "unknown feature: incompatible feature bit 61"
    );
    assert_eq!(h.encode().unwrap()[..], b[..151]);
}

#[test]
fn encryption_without_a_header_of_its_own_is_called_unsupported() {
    let mut b = v3();
    b[35] = 2;
    let h = Header::parse(&b).unwrap();
    assert_eq!(
        h.unsupported(),
        [Unsupported::Encryption(CryptMethod::Luks)]
    );
    b[35] = 1;
    let h = Header::parse(&b).unwrap();
    assert_eq!(h.unsupported(), [Unsupported::Encryption(CryptMethod::Aes)]);
    b[35] = 2;
    b[112..120].copy_from_slice(&[0x05, 0x37, 0xbe, 0x77, 0, 0, 0, 16]);
    b[120..136].copy_from_slice(&[0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0]);
    let h = Header::parse(&b).unwrap();
    assert!(h.unsupported().is_empty());
    assert_eq!(h.crypto_header().unwrap().offset, HostOffset(0x40000));
}

#[test]
fn a_new_header_is_laid_out_as_qemu_does() {
    let g = Geometry::new(16, 4, false).unwrap();
    let mut h = Header::new(Version::V3, g, 1 << 20);
    (h.l1_offset, h.l1_entries) = (HostOffset(0x30000), 1);
    (h.refcount_table_offset, h.refcount_table_clusters) = (HostOffset(0x10000), 1);
    h.set_backing(b"b.qcow2", Some(b"qcow2")).unwrap();
    assert_eq!(h.backing.as_ref().unwrap().offset, 0x210);
    assert_eq!(Header::parse(&h.encode().unwrap()).unwrap(), h);
    assert!(h.set_backing(&[b'x'; 1024], None).is_err());
    assert!(h.set_backing(b"x", Some(&[b'x'; 16])).is_err());
    assert_eq!(h.backing.as_ref().unwrap().name, b"b.qcow2");
}

/// Bytes to put at an offset.
type Patch = (usize, Vec<u8>);

/// Patches to [`v3`]-like images, and what each forges. Each is put to qemu-img as well.
fn forgeries() -> Vec<(&'static str, Vec<Patch>)> {
    let be32 = |v: u32| v.to_be_bytes().to_vec();
    let be64 = |v: u64| v.to_be_bytes().to_vec();
    vec![
        ("nothing changed", vec![]),
        ("magic", vec![(0, vec![0])]),
        ("version 1", vec![(4, be32(1))]),
        ("version 4", vec![(4, be32(4))]),
        ("cluster_bits 8", vec![(20, be32(8))]),
        ("cluster_bits 22", vec![(20, be32(22))]),
        ("cluster_bits 63", vec![(20, be32(63))]),
        ("header_length 96", vec![(100, be32(96))]),
        ("header_length 103", vec![(100, be32(103))]),
        ("header_length beyond the cluster", vec![(100, be32(65537))]),
        (
            "header_length 113, extensions unaligned",
            vec![(100, be32(113))],
        ),
        ("header_length 104", vec![(100, be32(104))]),
        ("backing offset beyond the cluster", vec![(8, be64(65537))]),
        (
            "backing offset at the cluster's end, no name",
            vec![(8, be64(65536)), (16, be32(0))],
        ),
        (
            "backing offset at the cluster's end",
            vec![(8, be64(65536)), (16, be32(1))],
        ),
        ("backing name of 1024 bytes", vec![(16, be32(1024))]),
        ("backing name of 1023 bytes", vec![(16, be32(1023))]),
        (
            "backing name across the cluster's end",
            vec![(8, be64(65530))],
        ),
        (
            "backing name inside the header",
            vec![(8, be64(16)), (16, be32(0))],
        ),
        ("no backing, but a size", vec![(8, be64(0))]),
        ("backing offset cuts an extension", vec![(8, be64(124))]),
        (
            "backing offset cuts an extension header",
            vec![(8, be64(116))],
        ),
        ("extension too long", vec![(116, be32(0x7fff_ffff))]),
        (
            "extension to the cluster's end",
            vec![(8, be64(0)), (112, be32(0x1234)), (116, be32(65536 - 120))],
        ),
        (
            "extension past the cluster's end",
            vec![(8, be64(0)), (112, be32(0x1234)), (116, be32(65536 - 119))],
        ),
        ("backing format of 15 bytes", vec![(116, be32(15))]),
        (
            "backing format of 16 bytes",
            vec![(8, be64(0)), (116, be32(16))],
        ),
        ("refcount_order 7", vec![(96, be32(7))]),
        ("refcount_order 0", vec![(96, be32(0))]),
        ("crypt_method 3", vec![(32, be32(3))]),
        ("l1_size 0", vec![(36, be32(0))]),
        ("l1_size too small", vec![(24, be64((512 << 20) + 512))]),
        ("l1_size exactly enough", vec![(24, be64(512 << 20))]),
        ("l1_size at the bound", vec![(36, be32(4 << 20))]),
        ("l1_size beyond the bound", vec![(36, be32((4 << 20) + 1))]),
        ("l1 offset unaligned", vec![(40, be64(0x30200))]),
        ("l1 offset beyond 2^63", vec![(40, be64(1 << 63))]),
        (
            "l1 reaches 2^63",
            vec![(40, be64((1 << 63) - 65536)), (36, be32(8193))],
        ),
        ("virtual size 2^63", vec![(24, be64(1 << 63))]),
        ("virtual size 2^64 - 1", vec![(24, be64(u64::MAX))]),
        ("virtual size 0", vec![(24, be64(0))]),
        ("no refcount table", vec![(56, be32(0))]),
        ("refcount table too large", vec![(56, be32(129))]),
        ("refcount table offset unaligned", vec![(48, be64(0x10001))]),
        (
            "refcount table offset beyond 2^63",
            vec![(48, be64(u64::MAX - 65535))],
        ),
        ("too many snapshots", vec![(60, be32(65537))]),
        ("snapshot offset unaligned", vec![(64, be64(8))]),
        ("snapshot offset beyond 2^63", vec![(64, be64(1 << 63))]),
        ("compression zstd without its bit", vec![(104, vec![1])]),
        (
            "compression zstd with its bit",
            vec![(104, vec![1]), (79, vec![8])],
        ),
        ("compression bit without zstd", vec![(79, vec![8])]),
        ("compression 2", vec![(104, vec![2]), (79, vec![8])]),
        ("extended L2", vec![(79, vec![16])]),
        ("dirty and corrupt", vec![(79, vec![3])]),
        (
            "unknown compatible and autoclear bits",
            vec![(80, be64(1 << 40)), (88, be64(1 << 41))],
        ),
        (
            "crypto header without LUKS",
            vec![(112, be32(0x0537_be77)), (116, be32(16)), (8, be64(0))],
        ),
        (
            "bitmaps of a wrong length",
            vec![(112, be32(0x2385_2875)), (88, be64(1))],
        ),
        (
            "stale bitmaps of a wrong length",
            vec![(112, be32(0x2385_2875))],
        ),
        (
            "bitmaps without any",
            vec![
                (112, be32(0x2385_2875)),
                (116, be32(24)),
                (120, vec![0; 24]),
                (8, be64(0)),
                (88, be64(1)),
            ],
        ),
        (
            "stale bitmaps without any",
            vec![
                (112, be32(0x2385_2875)),
                (116, be32(24)),
                (120, vec![0; 24]),
                (8, be64(0)),
            ],
        ),
        (
            "data file name without the bit",
            vec![(112, be32(0x4441_5441))],
        ),
        ("unknown extension", vec![(112, be32(0xdead_beef))]),
    ]
}

/// Parses a file's header the way a scanner does: some first, more as needed, zeros past the end.
pub(crate) fn parse_file(path: &Path) -> Result<Header, FormatError> {
    let bytes = std::fs::read(path).unwrap();
    let mut have = 4096;
    loop {
        let mut prefix: Vec<u8> = bytes.iter().copied().take(have).collect();
        prefix.resize(have, 0);
        let needed = Header::needed(&prefix);
        if needed <= have {
            return Header::parse(&prefix);
        }
        have = needed;
    }
}

#[test]
fn our_verdict_on_forged_headers_is_that_of_qemu_img() {
    let Some(scratch) = Scratch::new("forged-headers") else {
        return;
    };
    let (made, said) = scratch.qemu_img(&["create", "-q", "-f", "qcow2", "base", "1M"]);
    assert!(made, "{said}");
    let base = std::fs::read(scratch.path("base")).unwrap();
    let mut wrong = Vec::new();
    let (mut yes, mut no) = (0, 0);
    for (what, patches) in forgeries() {
        let mut bytes = base.clone();
        bytes[..512].copy_from_slice(&v3()[..512]);
        bytes[512..528].fill(0);
        for (at, new) in patches {
            let end = at + new.len();
            bytes[at..end].copy_from_slice(&new);
        }
        std::fs::write(scratch.path("forged"), &bytes).unwrap();
        let (accepted, said) = scratch.qemu_img(&["info", "-f", "qcow2", "forged"]);
        let ours = parse_file(&scratch.path("forged"));
        *(if accepted { &mut yes } else { &mut no }) += 1;
        if ours.is_ok() != accepted {
            wrong.push(format!("{what}: ours {ours:?}, qemu-img: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Guards against a test that agrees because every image is refused.
    assert!(yes >= 15 && no >= 25, "{yes} accepted, {no} refused");
}

#[test]
fn headers_made_by_qemu_img_encode_back_to_their_bytes() {
    let Some(scratch) = Scratch::new("made-headers") else {
        return;
    };
    assert!(
        scratch
            .qemu_img(&["create", "-q", "-f", "qcow2", "b.qcow2", "3M"])
            .0
    );
    let kinds = [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=4k",
        "cluster_size=2M",
        "extended_l2=on",
        "compression_type=zstd",
        "refcount_bits=1",
        "refcount_bits=64",
        "lazy_refcounts=on",
    ];
    for kind in kinds {
        for backed in [false, true] {
            let mut args = vec!["create", "-q", "-f", "qcow2", "-o", kind];
            args.extend(if backed {
                vec!["-b", "b.qcow2", "-F", "qcow2", "made"]
            } else {
                vec!["made", "3M"]
            });
            let (made, said) = scratch.qemu_img(&args);
            assert!(made, "{kind}: {said}");
            let header = parse_file(&scratch.path("made")).unwrap();
            assert_eq!(header.virtual_size(), 3 << 20, "{kind}");
            assert_eq!(header.backing_file().is_some(), backed, "{kind}");
            let encoded = header.encode().unwrap();
            let bytes = std::fs::read(scratch.path("made")).unwrap();
            assert_eq!(
                encoded[..],
                bytes[..encoded.len()],
                "{kind} backed={backed}"
            );

            // And a header we make ourselves for the same image is the same, byte for byte.
            let mut ours = Header::new(header.version, header.geometry, 3 << 20);
            (ours.l1_offset, ours.l1_entries) = (header.l1_offset, header.l1_entries);
            ours.refcount_table_offset = header.refcount_table_offset;
            ours.refcount_table_clusters = header.refcount_table_clusters;
            ours.compression = header.compression;
            ours.incompatible = header.incompatible;
            ours.compatible = header.compatible;
            if backed {
                ours.set_backing(b"b.qcow2", Some(b"qcow2")).unwrap();
            }
            assert_eq!(ours, header, "{kind} backed={backed}");
        }
    }
}

fn extension() -> impl Strategy<Value = Extension> {
    (
        prop_oneof![
            Just(extension::DATA_FILE),
            Just(extension::FEATURE_NAMES),
            0x100u32..0x200
        ],
        prop::collection::vec(any::<u8>(), 0..50),
    )
        .prop_map(|(magic, data)| Extension { magic, data })
}

/// Headers that can be written: all that [`Header::parse`] can give but for name places inside the
/// header.
pub(crate) fn any_header() -> impl Strategy<Value = Header> {
    (
        (
            any::<bool>(),
            9u32..=21,
            0u32..=6,
            any::<bool>(),
            any::<bool>(),
        ),
        any::<(u32, u32, u32, u64, u64)>(),
        prop::collection::vec(any::<u8>(), 0..30),
        prop::collection::vec(extension(), 0..4),
        prop::option::of((
            prop::collection::vec(1u8..=255, 1..300),
            prop::option::of("[a-z0-9]{1,15}"),
        )),
        0u64..64,
    )
        .prop_filter_map(
            "does not fit",
            |(kind, n, unknown, extensions, backing, gap)| {
                let (v2, bits, order, extended, zstd) = kind;
                let version = if v2 { Version::V2 } else { Version::V3 };
                let extended = extended && !v2 && bits >= 14;
                let geometry = Geometry::new(bits, if v2 { 4 } else { order }, extended).ok()?;
                let align = |v: u32| HostOffset(u64::from(v) << bits);
                let mut h = Header::new(version, geometry, 0);
                h.l1_entries = n.0 % 4096;
                h.recorded_size = n.3 % (u64::from(h.l1_entries) * geometry.l2_coverage()).max(1);
                h.l1_offset = align(n.0);
                (h.refcount_table_offset, h.refcount_table_clusters) = (align(n.1), 1 + n.1 % 4);
                (h.snapshots_offset, h.snapshot_count) = (align(n.2), n.2 % 65_537);
                if version == Version::V3 {
                    h.incompatible |= Incompatible::from_bits_retain(n.4 & !0x18);
                    h.compatible = Compatible::from_bits_retain(n.3);
                    h.autoclear = Autoclear::from_bits_retain(n.4.rotate_left(9));
                    h.header_length = 105 + u32::try_from(unknown.len()).ok()?;
                    h.unknown_fields = unknown;
                    if zstd {
                        h.compression = CompressionType::Zstd;
                        h.incompatible |= Incompatible::COMPRESSION_TYPE;
                    }
                }
                h.extensions = extensions;
                if let Some((name, format)) = backing {
                    h.set_backing(&name, format.as_deref().map(str::as_bytes))
                        .ok()?;
                    h.backing.as_mut()?.offset += gap;
                }
                h.encode().ok()?;
                Some(h)
            },
        )
}

proptest! {
    #[test]
    fn a_header_survives_a_round_trip(header in any_header()) {
        let bytes = header.encode().unwrap();
        let back = Header::parse(&bytes).unwrap();
        prop_assert_eq!(&back, &header);
        prop_assert_eq!(back.encode().unwrap(), bytes);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Header::needed(&bytes);
    }

    #[test]
    fn no_change_to_a_good_header_makes_the_parser_panic(
        changes in prop::collection::vec((0usize..160, any::<u8>()), 1..8), len in 0usize..65536,
    ) {
        let mut bytes = v3();
        for (at, value) in changes {
            bytes[at] = value;
        }
        prop_assert!(Header::needed(&bytes[..len]) <= (2 << 20));
        if let Ok(header) = Header::parse(&bytes) {
            let _ = header.encode();
            let _ = header.unsupported();
            let _ = header.bitmaps();
        }
    }
}
