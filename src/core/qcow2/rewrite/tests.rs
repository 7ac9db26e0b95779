//! Every crash during a rewrite leaves the old header or the new one.

use proptest::prelude::*;

use super::*;
use crate::qcow2::geometry::Geometry;
use crate::qcow2::header::tests::any_header;

fn image(cluster_bits: u32, backing: Option<(&[u8], Option<&[u8]>)>) -> Vec<u8> {
    let geometry = Geometry::new(cluster_bits, 4, false).unwrap();
    let mut header = Header::new(Version::V3, geometry, 1 << 20);
    (header.l1_offset, header.l1_entries) = (HostOffset(3 << cluster_bits), 32);
    (header.refcount_table_offset, header.refcount_table_clusters) =
        (HostOffset(1 << cluster_bits), 1);
    if let Some((name, format)) = backing {
        header.set_backing(name, format).unwrap();
    }
    let mut bytes = header.encode().unwrap();
    bytes.resize(1 << cluster_bits, 0);
    bytes
}

fn set(name: &[u8], format: Option<&[u8]>) -> HeaderEdit {
    HeaderEdit {
        backing: Some(BackingEdit::Set {
            name: name.to_vec(),
            format: format.map(<[u8]>::to_vec),
        }),
        ..HeaderEdit::default()
    }
}

fn apply(bytes: &mut [u8], write: &Write) {
    let at = usize::try_from(write.offset).unwrap();
    bytes[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
}

/// Applies every subset of every step after all earlier steps, and gives the final bytes.
fn crash_everywhere(cluster: &[u8], steps: &[Step]) -> Vec<u8> {
    let old = Header::parse(cluster).unwrap();
    let mut done = cluster.to_vec();
    let mut end = cluster.to_vec();
    steps
        .iter()
        .flat_map(|s| &s.writes)
        .for_each(|w| apply(&mut end, w));
    let new = Header::parse(&end).unwrap();
    for (number, step) in steps.iter().enumerate() {
        let last = number + 1 == steps.len();
        for subset in 0..1u32 << step.writes.len() {
            let mut torn = done.clone();
            for (bit, write) in step.writes.iter().enumerate() {
                if subset >> bit & 1 == 1 {
                    apply(&mut torn, write);
                }
            }
            let seen = Header::parse(&torn).unwrap();
            if last && subset != 0 {
                assert_eq!(seen, new);
            } else {
                assert_eq!(seen, old);
            }
        }
        step.writes.iter().for_each(|w| apply(&mut done, w));
    }
    if let Some(step) = steps.last() {
        assert_eq!(step.writes.len(), 1);
        let write = &step.writes[0];
        let end = write.offset + write.bytes.len() as u64 - 1;
        assert_eq!(write.offset / 512, end / 512, "the switch crosses a sector");
    }
    end
}

#[test]
fn fixed_fields_are_switched_by_one_write_of_just_those_bytes() {
    let cluster = image(16, Some((b"base", Some(b"raw"))));
    let edit = HeaderEdit {
        l1: Some((HostOffset(0x0090_0000), 64)),
        ..HeaderEdit::default()
    };
    let steps = rewrite(&cluster, &edit).unwrap();
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].writes[0].offset, 39);
    assert_eq!(steps[0].writes[0].bytes.len(), 7);
    let end = crash_everywhere(&cluster, &steps);
    assert_eq!(end[36..48], [0, 0, 0, 64, 0, 0, 0, 0, 0, 0x90, 0, 0]);
    assert!(
        rewrite(&cluster, &HeaderEdit::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_edit_that_would_make_the_image_unreadable_is_refused() {
    let cluster = image(16, None);
    for edit in [
        HeaderEdit {
            l1: Some((HostOffset(0x10001), 64)),
            ..HeaderEdit::default()
        },
        HeaderEdit {
            l1: Some((HostOffset(0x10000), 0)),
            ..HeaderEdit::default()
        },
        HeaderEdit {
            incompatible: Some(Incompatible::EXTENDED_L2),
            ..HeaderEdit::default()
        },
        set(b"", None),
        set(&[b'x'; 1024], None),
        set(b"x", Some(b"sixteen-bytes-xx")),
    ] {
        assert!(rewrite(&cluster, &edit).is_err(), "{edit:?}");
    }
}

#[test]
fn a_new_name_beyond_the_first_sector_is_written_before_the_switch() {
    let cluster = image(16, Some((b"old-base.qcow2", Some(b"qcow2"))));
    let steps = rewrite(&cluster, &set(b"new-base.raw", Some(b"raw"))).unwrap();
    assert_eq!(steps.len(), 2);
    let end = Header::parse(&crash_everywhere(&cluster, &steps)).unwrap();
    assert_eq!(end.backing_file(), Some(&b"new-base.raw"[..]));
    assert_eq!(end.backing_format(), Some(&b"raw"[..]));
    assert_eq!(end.feature_names().len(), 8);
}

#[test]
fn in_small_clusters_one_write_does_it_all() {
    let cluster = image(9, Some((b"old", Some(b"qcow2"))));
    let name = [b'n'; 300];
    let steps = rewrite(&cluster, &set(&name, Some(b"raw"))).unwrap();
    assert_eq!(steps.len(), 1);
    let end = Header::parse(&crash_everywhere(&cluster, &steps)).unwrap();
    assert_eq!(end.backing_file(), Some(&name[..]));
    assert!(matches!(
        rewrite(&cluster, &set(&[b'n'; 400], Some(b"raw"))),
        Err(FormatError::NoSpaceInHeader { .. })
    ));
}

#[test]
fn the_name_table_goes_when_a_format_must_be_put_in_before_it() {
    let cluster = image(16, Some((b"base", None)));
    let steps = rewrite(&cluster, &set(b"base", Some(b"qcow2"))).unwrap();
    let end = Header::parse(&crash_everywhere(&cluster, &steps)).unwrap();
    assert_eq!(end.backing_format(), Some(&b"qcow2"[..]));
    assert!(end.feature_names().is_empty());
}

#[test]
fn a_backing_file_can_be_removed_and_recorded_again() {
    let cluster = image(16, Some((b"base", Some(b"raw"))));
    let edit = HeaderEdit {
        backing: Some(BackingEdit::Remove),
        ..HeaderEdit::default()
    };
    let steps = rewrite(&cluster, &edit).unwrap();
    let gone = crash_everywhere(&cluster, &steps);
    let header = Header::parse(&gone).unwrap();
    assert_eq!(
        (header.backing_file(), header.backing_format()),
        (None, None)
    );
    assert_eq!(header.feature_names().len(), 8);
    let steps = rewrite(&gone, &set(b"again", Some(b"raw"))).unwrap();
    let back = crash_everywhere(&gone, &steps);
    assert_eq!(
        Header::parse(&back).unwrap().backing_file(),
        Some(&b"again"[..])
    );
}

#[test]
fn unknown_extensions_are_kept_in_order_when_the_name_table_goes() {
    let mut header = Header::parse(&image(16, Some((b"base", None)))).unwrap();
    for magic in [0x1111, 0x2222] {
        header.extensions.push(Extension {
            magic,
            data: vec![7; 21],
        });
    }
    header.backing.as_mut().unwrap().offset = 0x400;
    let mut cluster = header.encode().unwrap();
    cluster.resize(65536, 0);
    let steps = rewrite(&cluster, &set(b"base", Some(b"raw"))).unwrap();
    let end = Header::parse(&crash_everywhere(&cluster, &steps)).unwrap();
    let unknown: Vec<_> = end
        .extensions
        .iter()
        .filter(|e| e.magic < 0x10000)
        .collect();
    assert_eq!(
        unknown.iter().map(|e| e.magic).collect::<Vec<_>>(),
        [0x1111, 0x2222]
    );
    assert!(unknown.iter().all(|e| e.data == [7; 21]));
}

proptest! {
    #[test]
    fn any_rewrite_that_is_allowed_is_safe_at_every_moment(
        header in any_header(),
        remove: bool,
        name in prop::collection::vec(1u8..=255, 1..1023),
        format in prop::option::of("[a-z0-9]{1,15}"),
        noise: u8,
    ) {
        let mut cluster = header.encode().unwrap();
        // Rubbish behind the header, as an image has that was rewritten before; only where no end
        // marker can be missed.
        cluster.resize(header.geometry.cluster_len(), noise);
        prop_assume!(Header::parse(&cluster).as_ref() == Ok(&header));
        let edit = if remove {
            HeaderEdit { backing: Some(BackingEdit::Remove), ..HeaderEdit::default() }
        } else {
            set(&name, format.as_deref().map(str::as_bytes))
        };
        if let Ok(steps) = rewrite(&cluster, &edit) {
            let end = Header::parse(&crash_everywhere(&cluster, &steps)).unwrap();
            let unknown = |h: &Header| {
                let mut list = h.extensions.clone();
                list.retain(|e| e.magic != BACKING_FORMAT && e.magic != FEATURE_NAMES);
                list
            };
            prop_assert_eq!(unknown(&end), unknown(&header));
            prop_assert_eq!(&end.unknown_fields, &header.unknown_fields);
            if remove {
                prop_assert_eq!(end.backing_file(), None);
            } else {
                prop_assert_eq!(end.backing_file(), Some(&name[..]));
                prop_assert_eq!(end.backing_format(), format.as_deref().map(str::as_bytes));
            }
        }
    }
}
