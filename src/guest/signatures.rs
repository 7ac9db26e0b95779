//! What tells one disk from another: the identifiers of partition tables, filesystems and volumes. A few
//! sectors are read; nothing is followed but the partition table.

use qanopy_core::image::{self, Chain, Layer, State};

use super::Partitions;

/// Partitions looked into.
const MOST: usize = 32;

/// One kind of thing that has an identifier: how it is recognised, and where that is.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// What it is called: `ext filesystem UUID`.
    pub name: &'static str,
    magic: &'static [u8],
    magic_at: u64,
    id_at: u64,
    id_len: usize,
    /// Whether the identifier is text already.
    is_text: bool,
}

const fn kind(
    name: &'static str,
    (magic, magic_at): (&'static [u8], u64),
    (id_at, id_len): (u64, usize),
) -> Kind {
    Kind {
        name,
        magic,
        magic_at,
        id_at,
        id_len,
        is_text: false,
    }
}

/// Tables over the whole disk.
static MBR: Kind = kind("MBR signature", (&[0x55, 0xaa], 510), (440, 4));
static GPT: Kind = kind("GPT disk GUID", (b"EFI PART", 512), (512 + 56, 16));

/// What a partition, or a disk without any, may hold.
static INSIDE: [Kind; 9] = [
    kind(
        "ext filesystem UUID",
        (&[0x53, 0xef], 1024 + 56),
        (1024 + 104, 16),
    ),
    kind("XFS UUID", (b"XFSB", 0), (32, 16)),
    kind("btrfs UUID", (b"_BHRfS_M", 65536 + 64), (65536 + 32, 16)),
    kind("NTFS serial number", (b"NTFS    ", 3), (72, 8)),
    kind("FAT serial number", (b"FAT32   ", 82), (67, 4)),
    kind("FAT serial number", (b"FAT1", 54), (39, 4)),
    kind("swap UUID", (b"SWAPSPACE2", 4086), (1024 + 12, 16)),
    Kind {
        is_text: true,
        ..kind("LVM volume UUID", (b"LABELONE", 512), (512 + 32, 32))
    },
    Kind {
        is_text: true,
        ..kind("LUKS UUID", (b"LUKS\xba\xbe", 0), (168, 36))
    },
];

/// One identifier on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Of what.
    pub kind: &'static Kind,
    /// The partition it is in; none for the disk as a whole.
    pub partition: Option<u32>,
    /// Where that begins, in bytes of the disk.
    at: u64,
    id: Vec<u8>,
}

impl Signature {
    /// `ext filesystem UUID 4fd2… in partition 1`.
    #[must_use]
    pub fn words(&self) -> String {
        let place = match self.partition {
            Some(number) => format!(" in partition {number}"),
            None => String::new(),
        };
        format!("{} {}{place}", self.kind.name, self.id())
    }

    /// The identifier, safe to print.
    #[must_use]
    pub fn id(&self) -> String {
        if self.kind.is_text {
            let text: Vec<u8> = self
                .id
                .iter()
                .copied()
                .take_while(|byte| *byte != 0)
                .collect();
            return qanopy_core::host::printable_bytes(&text);
        }
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What an image holds of its own where another disk has a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Nothing: what is below shows through there.
    Nothing,
    /// The same signature.
    Same,
    /// A signature of the same kind that says something else, or none of that kind.
    Other(Option<Signature>),
}

/// The identifiers found on a disk, as many as are known here.
///
/// # Errors
/// When the disk cannot be read.
pub fn signatures(disk: &Chain) -> image::Result<Vec<Signature>> {
    let mut found = Vec::new();
    let mut look = |kind: &'static Kind, at: u64, partition: Option<u32>| -> image::Result<()> {
        if let Some(id) = id_at(disk, kind, at)? {
            found.push(Signature {
                kind,
                partition,
                at,
                id,
            });
        }
        Ok(())
    };
    let partitions = Partitions::read(disk)?;
    match &partitions {
        Partitions::None => {}
        Partitions::Mbr(_) => look(&MBR, 0, None)?,
        Partitions::Gpt(_) => look(&GPT, 0, None)?,
    }
    for kind in &INSIDE {
        if partitions.all().is_empty() {
            look(kind, 0, None)?;
        }
        for one in partitions.all().iter().take(MOST) {
            look(kind, one.start, Some(one.number))?;
        }
    }
    Ok(found)
}

/// What `own`, an image by itself, holds where the disk has this signature. `over` is that image on top of
/// whatever it may be built on.
///
/// # Errors
/// When a table or the bytes cannot be read.
pub fn same_signature(own: &Layer, over: &Chain, signature: &Signature) -> image::Result<Held> {
    let kind = signature.kind;
    let size = own.virtual_size();
    for (at, len) in [(kind.magic_at, kind.magic.len()), (kind.id_at, kind.id_len)] {
        let start = signature.at.saturating_add(at);
        let end = start.saturating_add(len as u64);
        if end > size {
            return Ok(Held::Nothing);
        }
        for extent in own.extents(start, end) {
            if extent?.state == State::Unallocated {
                return Ok(Held::Nothing);
            }
        }
    }
    let id = id_at(over, kind, signature.at)?;
    Ok(match id {
        Some(id) if id == signature.id => Held::Same,
        other => Held::Other(other.map(|id| Signature {
            id,
            ..signature.clone()
        })),
    })
}

/// The identifier of that kind of thing, if one begins there. One of zeros says nothing.
fn id_at(disk: &Chain, kind: &Kind, at: u64) -> image::Result<Option<Vec<u8>>> {
    let place = |within: u64, len: usize| {
        let start = at.checked_add(within)?;
        let end = start.checked_add(len as u64)?;
        (end <= disk.virtual_size()).then_some(start)
    };
    let (Some(magic_at), Some(id_at)) = (
        place(kind.magic_at, kind.magic.len()),
        place(kind.id_at, kind.id_len),
    ) else {
        return Ok(None);
    };
    let mut magic = vec![0; kind.magic.len()];
    disk.read_at(&mut magic, magic_at)?;
    if magic != kind.magic {
        return Ok(None);
    }
    let mut id = vec![0; kind.id_len];
    disk.read_at(&mut id, id_at)?;
    Ok(id.iter().any(|byte| *byte != 0).then_some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qanopy_core::host::RealHost;
    use qanopy_core::image::Format;
    use std::fs;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn found(bytes: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        fs::write(&path, bytes).unwrap();
        of_file(&path)
    }

    fn of_file(path: &std::path::Path) -> Vec<String> {
        let disk = Chain::open(&RealHost, path, Some(&Format::Raw), &|_| true).unwrap();
        signatures(&disk)
            .unwrap()
            .iter()
            .map(Signature::words)
            .collect()
    }

    /// A disk of 1 MiB with these bytes at these places.
    fn disk(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut disk = vec![0; 1 << 20];
        for (at, bytes) in parts {
            disk[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        disk
    }

    #[test]
    fn each_kind_is_found_at_the_place_its_format_gives_it() {
        let id = [0xab; 36];
        let sixteen = "ab".repeat(16);
        for (parts, want) in [
            (
                vec![(0x438, &[0x53, 0xef][..]), (0x468, &id[..16])],
                format!("ext filesystem UUID {sixteen}"),
            ),
            (
                vec![(0, &b"XFSB"[..]), (32, &id[..16])],
                format!("XFS UUID {sixteen}"),
            ),
            (
                vec![(0x10040, &b"_BHRfS_M"[..]), (0x10020, &id[..16])],
                format!("btrfs UUID {sixteen}"),
            ),
            (
                vec![(3, &b"NTFS    "[..]), (0x48, &id[..8])],
                format!("NTFS serial number {}", "ab".repeat(8)),
            ),
            (
                vec![(0x52, &b"FAT32   "[..]), (0x43, &id[..4])],
                "FAT serial number abababab".to_owned(),
            ),
            (
                vec![(0x36, &b"FAT16   "[..]), (0x27, &id[..4])],
                "FAT serial number abababab".to_owned(),
            ),
            (
                vec![(0xff6, &b"SWAPSPACE2"[..]), (0x40c, &id[..16])],
                format!("swap UUID {sixteen}"),
            ),
            (
                vec![
                    (0x200, &b"LABELONE"[..]),
                    (0x220, &b"0123456789abcdefghijklmnopqrstuv"[..]),
                ],
                "LVM volume UUID 0123456789abcdefghijklmnopqrstuv".to_owned(),
            ),
            (
                vec![
                    (0, &b"LUKS\xba\xbe"[..]),
                    (168, &b"00000000-1111-2222-3333-444444444444"[..]),
                ],
                "LUKS UUID 00000000-1111-2222-3333-444444444444".to_owned(),
            ),
        ] {
            assert_eq!(found(&disk(&parts)), [want]);
        }
        assert_eq!(found(&disk(&[])), [""; 0]);
        assert_eq!(found(&[]), [""; 0]);
    }

    /// The first bytes of what the tools of Debian 12 made; `blkid` told the same identifiers of these
    /// files (serial numbers it prints the other way round).
    #[test]
    fn what_real_tools_wrote_is_found() {
        for (tool, parts, want) in [
            (
                "mkfs.xfs 6.1",
                &[(
                    0x0,
                    "58465342000010000000000000014000000000000000000000000000000000001bca2fb3622c4ee38f5c7deb313a1fe7",
                )][..],
                "XFS UUID 1bca2fb3622c4ee38f5c7deb313a1fe7",
            ),
            (
                "mkfs.btrfs 6.2",
                &[(
                    0x10000,
                    "5068a30200000000000000000000000000000000000000000000000000000000e100514732304e5682d3b012702e0d27000001000000000001000000000000005f42485266535f4d0600000000000000",
                )][..],
                "btrfs UUID e100514732304e5682d3b012702e0d27",
            ),
            (
                "mkfs.vfat -F 32",
                &[(
                    0x0,
                    "eb58906d6b66732e66617400020820000200000000f800003f00100000000000deff09008002000000000000020000000100060000000000000000000000000080002980f416114e4f204e414d45202020204641543332202020",
                )][..],
                "FAT serial number 80f41611",
            ),
            (
                "mkfs.vfat -F 16",
                &[(
                    0x0,
                    "eb3c906d6b66732e666174000204040002000200a0f82800200004000000000000000000800029d61717114e4f204e414d45202020204641543136202020",
                )][..],
                "FAT serial number d6171711",
            ),
            (
                "mkfs.ntfs",
                &[(
                    0x0,
                    "eb52904e5446532020202000020800000000000000f8000000000000000000000000000080008000ffff0900000000000400000000000000ff9f000000000000f600000001000000843b653881a35016",
                )][..],
                "NTFS serial number 843b653881a35016",
            ),
            (
                "mkswap",
                &[
                    (
                        0x400,
                        "01000000ff3f0100000000004280cac6877446d48f0b3b1795b06631",
                    ),
                    (0xff6, "53574150535041434532"),
                ][..],
                "swap UUID 4280cac6877446d48f0b3b1795b06631",
            ),
            (
                "pvcreate",
                &[(
                    0x200,
                    "4c4142454c4f4e450100000000000000c2ddf4ac200000004c564d3220303031424863693575385963526d326347334846434967386c78453036654f75585579",
                )][..],
                "LVM volume UUID BHci5u8YcRm2cG3HFCIg8lxE06eOuXUy",
            ),
            (
                "cryptsetup, LUKS2",
                &[
                    (0x0, "4c554b53babe00020000000000004000"),
                    (
                        0xa8,
                        "61633433633766612d333862352d343436372d383864662d343939613936383137393136",
                    ),
                ][..],
                "LUKS UUID ac43c7fa-38b5-4467-88df-499a96817916",
            ),
            (
                "cryptsetup, LUKS1",
                &[
                    (0x0, "4c554b53babe00016165730000000000"),
                    (
                        0xa8,
                        "66333536626666322d393336352d346562342d393566342d663534366166643234393162",
                    ),
                ][..],
                "LUKS UUID f356bff2-9365-4eb4-95f4-f546afd2491b",
            ),
        ] {
            let bytes = |hex: &str| -> Vec<u8> {
                let digits = hex.as_bytes().chunks(2);
                digits
                    .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
                    .collect()
            };
            let parts: Vec<(usize, Vec<u8>)> =
                parts.iter().map(|(at, hex)| (*at, bytes(hex))).collect();
            let parts: Vec<(usize, &[u8])> =
                parts.iter().map(|(at, bytes)| (*at, &bytes[..])).collect();
            assert_eq!(found(&disk(&parts)), [want], "{tool}");
        }
    }

    #[test]
    fn text_of_a_guest_is_safe_to_print() {
        let forged = disk(&[(0, b"LUKS\xba\xbe"), (168, b"\x1b[31mred")]);
        assert!(!found(&forged)[0].chars().any(char::is_control));
    }

    #[test]
    fn a_partition_table_that_leads_nowhere_is_survived() {
        let mut entry = [0xff; 16];
        entry[0] = 0;
        let forged = disk(&[(440, &[1, 2, 3, 4]), (446, &entry), (510, &[0x55, 0xaa])]);
        assert_eq!(found(&forged), ["MBR signature 01020304"]);
    }

    #[test]
    fn it_is_the_uuid_that_blkid_tells() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fs.raw");
        fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
        let made = Command::new("mkfs.ext4")
            .arg("-q")
            .arg(&path)
            .stderr(Stdio::null())
            .status();
        let told = Command::new("blkid")
            .args(["-p", "-o", "value", "-s", "UUID"])
            .arg(&path)
            .output();
        let (Ok(made), Ok(told)) = (made, told) else {
            let required = std::env::var_os("QANOPY_REQUIRE_QEMU").is_some_and(|v| v == "1");
            assert!(
                !required,
                "needs mkfs.ext4 and blkid; QANOPY_REQUIRE_QEMU=1 allows no skipping"
            );
            // Not `eprintln!`, whose output the test harness swallows when the test passes.
            let line =
                "SKIPPED (e2fsprogs or util-linux missing): it_is_the_uuid_that_blkid_tells\n";
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        };
        assert!(made.success() && told.status.success(), "{made} {told:?}");
        let uuid = String::from_utf8(told.stdout)
            .unwrap()
            .trim()
            .replace('-', "");
        assert_eq!(of_file(&path), [format!("ext filesystem UUID {uuid}")]);
    }
}
