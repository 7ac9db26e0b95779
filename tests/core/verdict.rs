//! One field of one image is forged, and nothing else: for every field of the format a family of values
//! (bounds, off by one, unaligned, past the end, on other tables, each reserved bit). Our verdict is
//! that of QEMU: whether the image opens, what a check says of it, what it reads as. Where it is
//! another one, [`CHOICES`] says why. Everything is done by a process that may have 256 MiB of memory
//! and no more.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use qanopy::host::{Access, RealHost};
use qanopy::image::{
    self, Amend, Amendment, BitmapChange, Chain, Format, ImageFile, MeasureAs, NewBitmap,
    NewSnapshot, NoProgress, Qcow2Options, Repair, RepairExtent, Shrink, SnapshotChange, Verdict,
};
use qanopy::qcow2::Version;
use serde_json::{Value, json};
use support::script::Script;
use support::{oracle, own_code};

/// Memory that what is done to one image may take, in KiB.
const MEMORY_KIB: u64 = 256 << 10;
/// How long it may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Guest bytes that are compared.
const READ: u64 = 32 << 10;

// ---- the images -------------------------------------------------------------------------------

/// A small image, and where in it guest data begins that is worth reading.
struct Image {
    name: &'static str,
    bytes: Vec<u8>,
    from: u64,
}

/// The names of the images, and where their data is.
const IMAGES: [(&str, u64); 10] = [
    ("plain", 96 << 10),
    ("old", 0),
    ("over", 0),
    ("narrow", 8 << 10),
    ("wide", 0),
    ("sub", 0),
    ("packed", 0),
    ("snaps", 0),
    ("bitmaps", 0),
    ("ext", 0),
];

fn images(dir: &Path) -> Vec<Image> {
    let mut s = Script::default();
    s.create("-o cluster_size=4k", "plain.qcow2", "1M");
    s.io(
        "qcow2",
        "plain.qcow2",
        &["write -P 1 100k 10k", "write -z 112k 8k"],
    );
    s.create("-o cluster_size=4k,compat=0.10", "old.qcow2", "1M");
    s.io("qcow2", "old.qcow2", &["write -P 2 0 20k"]);
    s.run("qemu-img create -q -f raw base.raw 64k");
    s.io("raw", "base.raw", &["write -P 9 0 64k"]);
    s.create(
        "-o cluster_size=4k -b base.raw -F raw",
        "over.qcow2",
        "128k",
    );
    s.io("qcow2", "over.qcow2", &["write -P 2 4k 8k"]);
    s.create(
        "-o cluster_size=512,refcount_bits=1",
        "narrow.qcow2",
        "100k",
    );
    s.io("qcow2", "narrow.qcow2", &["write -P 3 10k 20k"]);
    s.create("-o cluster_size=4k,refcount_bits=64", "wide.qcow2", "1M");
    s.io("qcow2", "wide.qcow2", &["write -P 3 0 20k"]);
    s.create("-o extended_l2=on,cluster_size=16k", "sub.qcow2", "1M");
    s.io(
        "qcow2",
        "sub.qcow2",
        &["write -P 4 1k 20k", "write -z 4k 2k"],
    );
    s.create("-o cluster_size=4k", "packed.qcow2", "1M");
    s.io(
        "qcow2",
        "packed.qcow2",
        &["write -c -P 5 0 4k", "write -c -P 6 4k 4k"],
    );
    s.create("-o cluster_size=4k", "snaps.qcow2", "256k");
    s.io("qcow2", "snaps.qcow2", &["write -P 8 0 20k"]);
    s.run("qemu-img snapshot -c one snaps.qcow2");
    s.io("qcow2", "snaps.qcow2", &["write -P 9 4k 20k"]);
    s.run("qemu-img snapshot -c two snaps.qcow2");
    s.create("-o cluster_size=4k", "bitmaps.qcow2", "256k");
    s.io("qcow2", "bitmaps.qcow2", &["write -P 1 0 20k"]);
    s.run("qemu-img bitmap --add bitmaps.qcow2 map");
    s.io("qcow2", "bitmaps.qcow2", &["write -P 2 0 20k"]);
    s.create("-o cluster_size=4k,data_file=ext.raw", "ext.qcow2", "256k");
    s.io("qcow2", "ext.qcow2", &["write -P 2 0 20k"]);
    s.build(dir);
    IMAGES
        .into_iter()
        .map(|(name, from)| Image {
            name,
            bytes: fs::read(dir.join(format!("{name}.qcow2"))).unwrap(),
            from,
        })
        .collect()
}

impl Image {
    fn number(&self, at: usize, width: usize) -> u64 {
        self.bytes[at..at + width]
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn be64(&self, at: usize) -> u64 {
        self.number(at, 8)
    }

    /// The file offset that an entry names.
    fn leads_to(&self, at: usize) -> usize {
        place(self.be64(at) & 0x00ff_ffff_ffff_fe00)
    }

    fn cluster(&self) -> u64 {
        1 << self.number(20, 4)
    }

    fn l1(&self) -> usize {
        place(self.be64(40))
    }

    fn l2(&self) -> usize {
        self.leads_to(self.l1())
    }

    /// The L2 entry of a guest offset.
    fn l2_entry(&self, guest: u64) -> usize {
        let width = if self.name == "sub" { 16 } else { 8 };
        self.l2() + place(guest / self.cluster()) * width
    }

    fn refcounts(&self) -> usize {
        place(self.be64(48))
    }

    fn block(&self) -> usize {
        self.leads_to(self.refcounts())
    }

    fn snapshots(&self) -> usize {
        place(self.be64(64))
    }

    /// The extension of that type.
    fn extension(&self, kind: u32) -> usize {
        let found = self.bytes[104..4096]
            .windows(4)
            .position(|window| window == kind.to_be_bytes());
        104 + found.unwrap()
    }

    fn bitmaps(&self) -> usize {
        self.extension(0x2385_2875)
    }

    fn directory(&self) -> usize {
        place(self.be64(self.bitmaps() + 24))
    }

    fn bitmap_table(&self) -> usize {
        place(self.be64(self.directory()))
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

// ---- the fields and what is put there ---------------------------------------------------------

/// What a field holds, and so what a forger puts there.
#[derive(Clone, Copy)]
enum Holds {
    /// An offset in the file in bytes.
    Offset,
    /// An offset with flags around it: an entry of a table.
    Entry,
    /// A number, whose largest legal value is given.
    Number(u64),
    /// Flags.
    Bits,
}

/// A field: the image, the structure, its name, bytes, where it is, what it holds.
type Field = (
    &'static str,
    &'static str,
    &'static str,
    usize,
    fn(&Image) -> usize,
    Holds,
);

use Holds::{Bits, Entry, Number, Offset};

#[rustfmt::skip] // A table.
const FIELDS: &[Field] = &[
    ("plain", "header", "magic", 4, |_| 0, Number(0)),
    ("plain", "header", "version", 4, |_| 4, Number(3)),
    ("plain", "header", "backing_file_offset", 8, |_| 8, Offset),
    ("plain", "header", "backing_file_size", 4, |_| 16, Number(1023)),
    ("plain", "header", "cluster_bits", 4, |_| 20, Number(21)),
    ("plain", "header", "size", 8, |_| 24, Number(1 << 21)),
    ("plain", "header", "crypt_method", 4, |_| 32, Number(2)),
    ("plain", "header", "l1_size", 4, |_| 36, Number(4 << 20)),
    ("plain", "header", "l1_table_offset", 8, |_| 40, Offset),
    ("plain", "header", "refcount_table_offset", 8, |_| 48, Offset),
    ("plain", "header", "refcount_table_clusters", 4, |_| 56, Number((8 << 20) / 4096)),
    ("plain", "header", "nb_snapshots", 4, |_| 60, Number(65536)),
    ("plain", "header", "snapshots_offset", 8, |_| 64, Offset),
    ("plain", "header", "incompatible_features", 8, |_| 72, Bits),
    ("plain", "header", "compatible_features", 8, |_| 80, Bits),
    ("plain", "header", "autoclear_features", 8, |_| 88, Bits),
    ("plain", "header", "refcount_order", 4, |_| 96, Number(6)),
    ("plain", "header", "header_length", 4, |_| 100, Number(4096)),
    ("plain", "header", "compression_type", 1, |_| 104, Number(1)),
    ("old", "header of version 2", "version", 4, |_| 4, Number(3)),
    ("old", "header of version 2", "backing_file_offset", 8, |_| 8, Offset),
    ("old", "header of version 2", "l1_size", 4, |_| 36, Number(4 << 20)),
    ("old", "header of version 2", "size", 8, |_| 24, Number(1 << 21)),
    ("over", "header", "backing_file_offset", 8, |_| 8, Offset),
    ("over", "header", "backing_file_size", 4, |_| 16, Number(1023)),
    ("narrow", "header", "refcount_table_clusters", 4, |_| 56, Number((8 << 20) / 512)),
    ("narrow", "header", "header_length", 4, |_| 100, Number(512)),
    ("narrow", "header", "refcount_order", 4, |_| 96, Number(6)),
    ("sub", "header", "cluster_bits", 4, |_| 20, Number(21)),
    ("sub", "header", "incompatible_features", 8, |_| 72, Bits),
    ("snaps", "header", "nb_snapshots", 4, |_| 60, Number(65536)),
    ("snaps", "header", "snapshots_offset", 8, |_| 64, Offset),
    ("snaps", "header", "size", 8, |_| 24, Number(1 << 21)),
    ("bitmaps", "header", "autoclear_features", 8, |_| 88, Bits),
    ("bitmaps", "header", "size", 8, |_| 24, Number(1 << 21)),
    ("ext", "header", "incompatible_features", 8, |_| 72, Bits),
    ("ext", "header", "autoclear_features", 8, |_| 88, Bits),

    ("sub", "extension", "type of feature names", 4, |i| i.extension(0x6803_f857), Number(0x2385_2875)),
    ("sub", "extension", "length of feature names", 4, |i| i.extension(0x6803_f857) + 4, Number(0xf00)),
    ("over", "extension", "type of backing format", 4, |i| i.extension(0xe279_2aca), Number(0x4441_5441)),
    ("over", "extension", "length of backing format", 4, |i| i.extension(0xe279_2aca) + 4, Number(15)),
    ("over", "extension", "backing format", 2, |i| i.extension(0xe279_2aca) + 8, Number(0x7761)),
    ("ext", "extension", "length of data file name", 4, |i| i.extension(0x4441_5441) + 4, Number(1023)),
    ("ext", "extension", "data file name", 2, |i| i.extension(0x4441_5441) + 8, Number(0x2e2f)),
    ("bitmaps", "extension", "length of bitmaps", 4, |i| i.bitmaps() + 4, Number(24)),
    ("bitmaps", "extension", "nb_bitmaps", 4, |i| i.bitmaps() + 8, Number(65535)),
    ("bitmaps", "extension", "reserved", 4, |i| i.bitmaps() + 12, Number(0)),
    ("bitmaps", "extension", "bitmap_directory_size", 8, |i| i.bitmaps() + 16, Number(65535 * 1024)),
    ("bitmaps", "extension", "bitmap_directory_offset", 8, |i| i.bitmaps() + 24, Offset),

    ("plain", "L1 table", "an entry in use", 8, |i| i.l1(), Entry),
    ("old", "L1 table", "an entry in use", 8, |i| i.l1(), Entry),
    ("narrow", "L1 table", "an entry not in use", 8, |i| i.l1() + 16, Entry),
    ("snaps", "L1 table", "an entry in use", 8, |i| i.l1(), Entry),
    ("ext", "L1 table", "an entry in use", 8, |i| i.l1(), Entry),

    ("plain", "L2 table", "a cluster with data", 8, |i| i.l2_entry(100 << 10), Entry),
    ("plain", "L2 table", "a zero cluster", 8, |i| i.l2_entry(112 << 10), Entry),
    ("plain", "L2 table", "an unallocated cluster", 8, |i| i.l2_entry(96 << 10), Entry),
    ("old", "L2 table", "a cluster with data", 8, |i| i.l2_entry(0), Entry),
    ("packed", "L2 table", "a compressed cluster", 8, |i| i.l2_entry(0), Entry),
    ("packed", "L2 table", "the second compressed cluster", 8, |i| i.l2_entry(4096), Entry),
    ("sub", "L2 table", "a cluster with subclusters", 8, |i| i.l2_entry(0), Entry),
    ("sub", "L2 table", "a subcluster bitmap", 8, |i| i.l2_entry(0) + 8, Bits),
    ("sub", "L2 table", "the bitmap of an unallocated cluster", 8, |i| i.l2_entry(64 << 10) + 8, Bits),
    ("snaps", "L2 table", "a shared cluster", 8, |i| i.l2_entry(0), Entry),
    ("ext", "L2 table", "a cluster of a data file", 8, |i| i.l2_entry(4096), Entry),

    ("plain", "refcount table", "an entry in use", 8, |i| i.refcounts(), Entry),
    ("plain", "refcount table", "an entry not in use", 8, |i| i.refcounts() + 8, Entry),
    ("old", "refcount table", "an entry in use", 8, |i| i.refcounts(), Entry),
    ("plain", "refcount block", "the header's count", 2, |i| i.block(), Number(65535)),
    ("plain", "refcount block", "a count past the end", 2, |i| i.block() + 2 * 300, Number(65535)),
    ("narrow", "refcount block", "counts of one bit", 2, |i| i.block() + 4, Bits),
    ("wide", "refcount block", "the header's count", 8, |i| i.block(), Number(1)),
    ("wide", "refcount block", "a count past the end", 8, |i| i.block() + 8 * 300, Number(1)),
    ("snaps", "refcount block", "a table's count", 2, |i| i.block() + 8, Number(65535)),

    ("snaps", "snapshot table", "l1_table_offset", 8, |i| i.snapshots(), Offset),
    ("snaps", "snapshot table", "l1_size", 4, |i| i.snapshots() + 8, Number(4 << 20)),
    ("snaps", "snapshot table", "id_str_size", 2, |i| i.snapshots() + 12, Number(65535)),
    ("snaps", "snapshot table", "name_size", 2, |i| i.snapshots() + 14, Number(65535)),
    ("snaps", "snapshot table", "date_sec", 4, |i| i.snapshots() + 16, Number(u32::MAX as u64)),
    ("snaps", "snapshot table", "date_nsec", 4, |i| i.snapshots() + 20, Number(999_999_999)),
    ("snaps", "snapshot table", "vm_clock_nsec", 8, |i| i.snapshots() + 24, Number(u64::MAX)),
    ("snaps", "snapshot table", "vm_state_size", 4, |i| i.snapshots() + 32, Number(u32::MAX as u64)),
    ("snaps", "snapshot table", "extra_data_size", 4, |i| i.snapshots() + 36, Number(1024)),
    ("snaps", "snapshot table", "vm_state_size_large", 8, |i| i.snapshots() + 40, Number(1 << 40)),
    ("snaps", "snapshot table", "disk_size", 8, |i| i.snapshots() + 48, Number(1 << 21)),
    ("snaps", "snapshot table", "icount", 8, |i| i.snapshots() + 56, Number(u64::MAX)),

    ("bitmaps", "bitmap directory", "bitmap_table_offset", 8, |i| i.directory(), Offset),
    ("bitmaps", "bitmap directory", "bitmap_table_size", 4, |i| i.directory() + 8, Number(0x800_0000)),
    ("bitmaps", "bitmap directory", "flags", 4, |i| i.directory() + 12, Bits),
    ("bitmaps", "bitmap directory", "type", 1, |i| i.directory() + 16, Number(1)),
    ("bitmaps", "bitmap directory", "granularity_bits", 1, |i| i.directory() + 17, Number(31)),
    ("bitmaps", "bitmap directory", "name_size", 2, |i| i.directory() + 18, Number(1023)),
    ("bitmaps", "bitmap directory", "extra_data_size", 4, |i| i.directory() + 20, Number(0)),
    ("bitmaps", "bitmap table", "an entry", 8, |i| i.bitmap_table(), Entry),
];

/// Masks for flags around an offset: the bits of L1, L2, refcount and bitmap table entries that are no
/// offset.
const FLAGS: u64 = 0xff00_0000_0000_01ff;

fn values(image: &Image, width: usize, now: u64, holds: Holds) -> BTreeSet<u64> {
    let most = if width == 8 {
        u64::MAX
    } else {
        (1 << (8 * width)) - 1
    };
    let cluster = image.cluster();
    let end = (image.bytes.len() as u64).next_multiple_of(cluster);
    let mut values: BTreeSet<u64> = [0, 1, most, now.wrapping_add(1), now.wrapping_sub(1)].into();
    let tables = [
        0,
        image.l1() as u64,
        image.refcounts() as u64,
        image.block() as u64,
        image.l2() as u64,
        end - cluster,
        end,
        end + cluster,
        1 << 40,
        (1 << 56) - cluster,
    ];
    match holds {
        Number(limit) => values.extend([
            2,
            limit.saturating_sub(1),
            limit,
            limit.saturating_add(1),
            now << 1,
            most >> 1,
            (most >> 1) + 1,
            1 << 10,
            1 << 16,
        ]),
        Offset => {
            values.extend(tables);
            values.extend([
                8,
                112,
                512,
                now + 8,
                now + 512,
                now ^ cluster,
                1 << 55,
                1 << 56,
                1 << 62,
                (1 << 63) - cluster,
                1 << 63,
                u64::MAX - 511,
            ]);
        }
        Entry => {
            values.extend(tables.map(|place| now & FLAGS | place));
            values.extend(tables.map(|place| (now & FLAGS) ^ (1 << 63) | place));
            values.extend([0, 1, 2, 8, 9, 12, 56, 59, 60, 61, 62, 63].map(|bit| now ^ 1 << bit));
        }
        Bits => values.extend(
            (0..8 * width)
                .filter(|bit| *bit < 8 || bit % 8 == 0 || bit % 32 == 31)
                .map(|bit| now ^ 1 << bit),
        ),
    }
    values.retain(|value| *value <= most && *value != now);
    values
}

/// A forged image in a directory, under its number.
struct Forged {
    field: &'static Field,
    value: u64,
    was: u64,
}

impl Forged {
    fn words(&self) -> String {
        let (image, table, name, ..) = self.field;
        format!(
            "{image}: {table}: {name} = {:#x} (was {:#x})",
            self.value, self.was
        )
    }
}

fn file_name(number: usize) -> String {
    format!("f{number}.qcow2")
}

// ---- what is done to each, by us --------------------------------------------------------------

/// Set for the process that is to judge the images of a directory.
const JUDGE: &str = "QANOPY_JUDGE";

/// Judges every image of a directory within bounds, when told to by the test below; nothing else.
#[test]
fn the_process_that_judges() {
    let Some(dir) = std::env::var_os(JUDGE) else {
        return;
    };
    let dir = Path::new(&dir);
    let froms: Vec<u64> = serde_json::from_slice(&fs::read(dir.join("froms")).unwrap()).unwrap();
    let mut out = fs::File::create(dir.join("verdicts")).unwrap();
    for (number, from) in froms.into_iter().enumerate() {
        let path = dir.join(file_name(number));
        let started = Instant::now();
        // Told before, so that it is known which one ends the process.
        out.write_all(format!("{number} ").as_bytes()).unwrap();
        let verdict = std::panic::catch_unwind(|| judge(&path, from));
        let verdict = verdict.unwrap_or_else(|why| {
            let said = why.downcast_ref::<String>().cloned();
            json!({"panics": said.unwrap_or_default(), "check": "panics", "open": "panics", "kinds": []})
        });
        assert!(started.elapsed() < PATIENCE, "{number} hangs");
        out.write_all(format!("{verdict}\n").as_bytes()).unwrap();
    }
    let forest = own_code::scan(&own_code::real_host(), dir);
    for problem in forest.nodes().flat_map(|node| &node.problems) {
        plain(&problem.message);
    }
}

/// Nothing that is said moves a cursor.
fn plain(said: &str) {
    assert!(!said.chars().any(char::is_control), "{said:?}");
}

fn done<T>(result: image::Result<T>) -> Option<T> {
    result.map_err(|error| plain(&error.to_string())).ok()
}

fn judge(path: &Path, from: u64) -> Value {
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    let checked = image::check(&file, &NoProgress);
    let mut corrupt = Vec::new();
    let (word, kinds) = match &checked {
        Ok(check) => {
            let kinds: BTreeSet<_> = check.findings.iter().map(|f| f.kind.name()).collect();
            check.findings.iter().for_each(|f| plain(&f.text));
            let worst = |f: &&image::Finding| f.kind.severity() == image::Severity::Corruption;
            let corruptions = check.findings.iter().filter(worst);
            corruptions.for_each(|f| corrupt.push(f.text.clone()));
            (
                match check.verdict() {
                    Verdict::Clean => "clean",
                    Verdict::Leaks => "leaks",
                    Verdict::Corrupt => "corrupt",
                },
                kinds,
            )
        }
        Err(error) => {
            plain(&error.to_string());
            ("failed", BTreeSet::new())
        }
    };
    plan_everything(path);
    let chain = Chain::open(&RealHost, path, Some(&Format::Qcow2), &|_| true);
    let chain = match chain {
        Ok(chain) => chain,
        Err(error) => {
            plain(&error.to_string());
            return json!({"open": error.to_string(), "check": word, "kinds": kinds, "corrupt": corrupt});
        }
    };
    let size = chain.virtual_size();
    let len = size.saturating_sub(from).min(READ);
    let mut bytes = vec![0; place(len)];
    let read = match chain.read_at(&mut bytes, from.min(size)) {
        Ok(()) => json!(digest(&bytes)),
        Err(error) => {
            plain(&error.to_string());
            json!(error.to_string())
        }
    };
    look(&chain, path);
    json!({"open": null, "len": len, "read": read, "check": word, "kinds": kinds, "corrupt": corrupt})
}

/// Maps, measures, compares, and reads the far end and every snapshot.
fn look(chain: &Chain, path: &Path) {
    let size = chain.virtual_size();
    let mut at = 0;
    for run in chain.map(0, u64::MAX).take(10_000) {
        match run {
            Ok(run) => {
                assert!(run.start == at && run.len > 0, "{run:?} after {at:#x}");
                at = run.end();
            }
            Err(error) => plain(&error.to_string()),
        }
    }
    let options = Qcow2Options::default();
    let copy = MeasureAs::Qcow2 {
        options: &options,
        backing: false,
        luks: false,
    };
    if let Some(measured) = done(image::measure(Some(chain), 0, copy)) {
        assert!(measured.required <= measured.fully_allocated);
    }
    let itself = image::compare(
        chain,
        chain,
        &NoProgress,
        &mut |_| ControlFlow::Continue(()),
    );
    if let Some(compared) = done(itself) {
        assert_eq!((compared.differences, compared.read), (0, 0));
    }
    let mut last = [0; 700];
    done(chain.read_at(&mut last, size.saturating_sub(300)));
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    let header = image::read_header(&file).unwrap();
    done(image::bitmaps(&file, &header));
    for snapshot in done(image::snapshots(&file, &header)).unwrap_or_default() {
        if let Some(view) = done(image::snapshot_view(chain, &snapshot)) {
            done(view.read_at(&mut last, 0));
        }
    }
}

/// Works out what would change the image, of every kind there is. Nothing is written.
fn plan_everything(path: &Path) {
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    let pace = &NoProgress;
    done(Repair::work_out(&file, RepairExtent::All, pace));
    let Ok(header) = image::read_header(&file) else {
        return;
    };
    let snapshot = NewSnapshot {
        name: b"new".to_vec(),
        date: SystemTime::UNIX_EPOCH,
    };
    done(SnapshotChange::create(&file, &snapshot, pace));
    done(SnapshotChange::apply(&file, b"1", pace));
    done(SnapshotChange::delete(&file, b"1", pace));
    let bitmap = NewBitmap {
        name: b"new".to_vec(),
        granularity: None,
        enabled: true,
    };
    done(BitmapChange::add(&file, &bitmap, pace));
    done(BitmapChange::remove(&file, b"map", pace));
    let other = match header.version {
        Version::V2 => Version::V3,
        Version::V3 => Version::V2,
    };
    let amendment = Amendment {
        version: Some(other),
        ..Amendment::default()
    };
    done(Amend::plan(&file, &amendment, pace));
    let half = (header.virtual_size() / 2).next_multiple_of(512);
    if half > 0 && half < header.virtual_size() {
        done(Shrink::plan(&file, None, half, pace));
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Our verdicts on the images of a directory, by a process with little memory.
fn our_verdicts(dir: &Path, froms: &[u64]) -> Vec<Value> {
    fs::write(dir.join("froms"), serde_json::to_vec(froms).unwrap()).unwrap();
    let test = std::env::current_exe().unwrap();
    // Memory of its own: stacks and the allocator's heaps count, the mapped program does not.
    let out = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -d {MEMORY_KIB} && exec \"$@\""),
            "sh",
        ])
        .arg(test)
        .args([
            "--exact",
            "verdict::the_process_that_judges",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(JUDGE, dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = fs::read_to_string(dir.join("verdicts")).unwrap_or_default();
    let told: Vec<&str> = text.lines().collect();
    assert!(
        out.status.success() && told.len() == froms.len(),
        "{}: after {:?}\n{}\n{}",
        out.status,
        told.last(),
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    told.iter()
        .map(|line| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap())
        .collect()
}

// ---- and by QEMU ------------------------------------------------------------------------------

/// Whether QEMU opens an image, or what it says.
type Opened = Result<(), String>;

/// What it reads, as a digest, or what it says.
type Content = Result<u64, String>;

/// Whether QEMU opens each image, and the bytes it reads, by one process for all. `lens` are the
/// bytes to be read.
fn their_reads(dir: &Path, froms: &[u64], lens: &[u64]) -> (Vec<Opened>, Vec<Option<Content>>) {
    let mut script = String::new();
    for (number, (from, len)) in froms.iter().zip(lens).enumerate() {
        script += &format!("open -r -o driver=qcow2 ./{}\n", file_name(number));
        if *len > 0 {
            script += &format!("read -v {from} {len}\n");
        }
        script += "close\n";
    }
    let mut child = Command::new("qemu-io")
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(dir.join("out")).unwrap())
        .stderr(fs::File::create(dir.join("err")).unwrap())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let status = child.wait().unwrap();
    let text = |name: &str| {
        let bytes = fs::read(dir.join(name)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (out, err) = (text("out"), text("err"));
    assert!(status.code().is_some(), "{status}: {err}");
    let mut opens = vec![Ok(()); froms.len()];
    for line in err.lines() {
        let Some((_, rest)) = line.split_once("can't open device ./f") else {
            continue;
        };
        let (number, why) = rest.split_once(".qcow2").unwrap();
        opens[number.parse::<usize>().unwrap()] = Err(why.trim_start_matches(": ").to_owned());
    }
    // What is printed is in order, a piece for each image that opens.
    let mut reads = Vec::new();
    let mut bytes: Vec<u8> = Vec::new();
    for line in out.lines() {
        let line = line.trim_start_matches("qemu-io> ");
        if line.contains(" failed: ") {
            reads.push(Err(line.to_owned()));
            bytes.clear();
        } else if line.starts_with("read ") {
            reads.push(Ok(digest(&bytes)));
            bytes.clear();
        } else if let Some((_, dump)) = line.split_once(":  ") {
            let hex = dump.split("  ").next().unwrap();
            bytes.extend(
                hex.split(' ')
                    .map(|byte| u8::from_str_radix(byte, 16).unwrap()),
            );
        }
    }
    let mut reads = reads.into_iter();
    let each = opens.iter().zip(lens);
    let reads = each
        .map(|(open, len)| (open.is_ok() && *len > 0).then(|| reads.next().unwrap()))
        .collect();
    (opens, reads)
}

/// What `qemu-img check` says of those images that open, by two processes at a time.
fn their_checks(dir: &Path, opens: &[Opened]) -> Vec<&'static str> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut words = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            match opens.get(number) {
                None => return words,
                Some(Err(_)) => words.push((number, "failed")),
                Some(Ok(())) => {
                    let verdict = oracle::check(&dir.join(file_name(number)));
                    let word = match verdict {
                        v if !v.errors.is_empty() => "failed",
                        v if v.corruptions > 0 => "corrupt",
                        v if v.leaks > 0 => "leaks",
                        _ => "clean",
                    };
                    words.push((number, word));
                }
            }
        }
    };
    let mut words: BTreeMap<usize, &'static str> = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        for worker in workers {
            words.extend(worker.join().unwrap());
        }
    });
    words.into_values().collect()
}

// ---- and where the two differ -----------------------------------------------------------------

/// Where a verdict differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum At {
    /// Nowhere: we panic.
    Panic,
    /// Whether it opens.
    Open,
    /// What a check says.
    Check,
    /// What is read.
    Read,
}

/// Both verdicts on one image.
struct Both {
    forged: Forged,
    ours: Value,
    open: Opened,
    read: Option<Content>,
    check: &'static str,
}

impl Both {
    fn opens(&self) -> bool {
        self.ours["open"].is_null()
    }

    fn word(&self) -> &str {
        self.ours["check"].as_str().unwrap()
    }

    fn has(&self, kind: &str) -> bool {
        let kinds = self.ours["kinds"].as_array().unwrap();
        kinds.iter().any(|found| found == kind)
    }

    /// Whether each corruption that we find says this.
    fn is_corrupt_only_by(&self, words: &str) -> bool {
        let corrupt = self.ours["corrupt"].as_array().unwrap();
        !corrupt.is_empty()
            && corrupt
                .iter()
                .all(|text| text.as_str().unwrap().contains(words))
    }

    /// Where the two differ.
    fn differs(&self) -> Vec<At> {
        let mut at = Vec::new();
        if !self.ours["panics"].is_null() {
            return vec![At::Panic];
        }
        if self.opens() != self.open.is_ok() {
            at.push(At::Open);
        }
        if self.word() != self.check {
            at.push(At::Check);
        }
        if let (true, Some(theirs)) = (self.opens(), &self.read)
            && self.ours["read"].as_u64() != theirs.as_ref().ok().copied()
        {
            at.push(At::Read);
        }
        at
    }

    fn words(&self) -> String {
        format!(
            "{}\n    we: {}\n    QEMU: {:?} {} {:?}",
            self.forged.words(),
            self.ours,
            self.open,
            self.check,
            self.read
        )
    }
}

/// A class of images on which our verdict is another one, and why.
type Choice = (At, &'static str, fn(&Both) -> bool);

/// Where we differ on purpose: in nothing that opens here and not there, or the reverse.
const CHOICES: &[Choice] = &[
    (
        At::Check,
        "a check looks at the image's own tables: it needs no image below, no data file and no passphrase",
        |both| !both.opens() && both.open.is_err() && both.word() != "failed",
    ),
    (
        At::Check,
        "where qemu-img gives up, a check goes on and tells what is wrong",
        |both| both.check == "failed" && both.word() == "corrupt",
    ),
    (
        At::Check,
        "a zero flag in version 2 cannot be read, which qemu-img finds out only by reading",
        |both| both.word() == "corrupt" && both.has("zero-flag-in-v2"),
    ),
    (
        At::Check,
        "an internal snapshot whose disk is larger than its table maps cannot be read, which qemu-img finds out only \
         when it is applied",
        |both| both.word() == "corrupt" && both.is_corrupt_only_by("snapshot disk size"),
    ),
];

#[test]
fn every_field_forged_in_every_way_gets_the_verdict_of_qemu() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let images = images(dir);
    let (mut forged, mut froms) = (Vec::new(), Vec::new());
    for field in FIELDS {
        let (name, _, _, width, at, holds) = *field;
        let image = images.iter().find(|image| image.name == name).unwrap();
        let at = at(image);
        let was = image.number(at, width);
        for value in values(image, width, was, holds) {
            let mut bytes = image.bytes.clone();
            bytes[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
            fs::write(dir.join(file_name(forged.len())), bytes).unwrap();
            forged.push(Forged { field, value, was });
            froms.push(image.from);
        }
    }
    let ours = our_verdicts(dir, &froms);
    let lens: Vec<u64> = ours
        .iter()
        .map(|verdict| verdict["len"].as_u64().unwrap_or(0))
        .collect();
    let (opens, reads) = their_reads(dir, &froms, &lens);
    let checks = their_checks(dir, &opens);
    let all = forged
        .into_iter()
        .zip(ours)
        .zip(opens)
        .zip(reads)
        .zip(checks);
    let mut wrong = Vec::new();
    let mut chosen = BTreeMap::new();
    let mut seen: BTreeMap<&'static str, usize> = BTreeMap::new();
    for ((((forged, ours), open), read), check) in all {
        let both = Both {
            forged,
            ours,
            open,
            read,
            check,
        };
        *seen.entry(check).or_default() += 1;
        for at in both.differs() {
            match CHOICES
                .iter()
                .find(|(where_, _, is)| *where_ == at && is(&both))
            {
                Some((_, why, _)) => *chosen.entry(*why).or_insert(0) += 1,
                None => wrong.push(format!("{at:?}: {}", both.words())),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} disagree of {seen:?}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // A choice that nothing is left of is out of date.
    for (_, why, _) in CHOICES {
        assert!(chosen.contains_key(why), "nobody needs: {why}");
    }
    let all_four = ["clean", "leaks", "corrupt", "failed"];
    assert!(
        all_four
            .iter()
            .all(|word| seen.get(word).is_some_and(|n| *n > 20)),
        "{seen:?}"
    );
}

/// A bitmap in use may have any table there is, of 1 GiB: it is gone through in pieces.
#[test]
fn a_bitmap_table_as_long_as_the_format_allows_is_never_held_whole() {
    if support::qemu().is_none() {
        return;
    }
    const TABLE: u64 = 1 << 30;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let images = images(dir);
    let image = images.iter().find(|image| image.name == "bitmaps").unwrap();
    let mut bytes = image.bytes.clone();
    let directory = image.directory();
    bytes[directory..directory + 8].copy_from_slice(&TABLE.to_be_bytes());
    bytes[directory + 8..directory + 12].copy_from_slice(&0x800_0000_u32.to_be_bytes());
    bytes[directory + 15] |= 1;
    let path = dir.join(file_name(0));
    fs::write(&path, bytes).unwrap();
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(2 * TABLE).unwrap();
    // Something to be gone through, here and there.
    for at in [0, TABLE / 2, TABLE - 4096] {
        file.seek(SeekFrom::Start(TABLE + at)).unwrap();
        file.write_all(&1_u64.to_be_bytes().repeat(512)).unwrap();
    }
    let verdicts = our_verdicts(dir, &[0]);
    // QEMU does not open it either; a check goes through it all the same.
    let opened = verdicts[0]["open"].as_str().unwrap_or_default();
    for word in ["bitmap data size", "A repair mends that"] {
        assert!(opened.contains(word), "{verdicts:?}");
    }
    assert_eq!(verdicts[0]["check"], "corrupt", "{verdicts:?}");
}

/// QEMU loads every bitmap there is before it opens an image: minutes, where many are named.
#[test]
fn bitmaps_without_number_are_refused_rather_than_gone_through() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let path = dir.join(file_name(0));
    let mut s = Script::default();
    s.create("-o cluster_size=512", &file_name(0), "64G");
    s.run(&format!("qemu-img bitmap --add -g 512 {} b", file_name(0)));
    s.build(dir);
    let mut bytes = fs::read(&path).unwrap();
    let magic = 0x2385_2875_u32.to_be_bytes();
    let extension = bytes[..512]
        .windows(4)
        .position(|four| four == magic)
        .unwrap()
        + 8;
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let directory = usize::try_from(number(extension + 16)).unwrap();
    let entry =
        bytes[directory..directory + usize::try_from(number(extension + 8)).unwrap()].to_vec();
    let count = 4096_u32;
    let end = bytes.len().next_multiple_of(512);
    bytes.resize(end, 0);
    for _ in 0..count {
        bytes.extend(&entry);
    }
    bytes[extension..extension + 4].copy_from_slice(&count.to_be_bytes());
    let len = (entry.len() * count as usize) as u64;
    bytes[extension + 8..extension + 16].copy_from_slice(&len.to_be_bytes());
    bytes[extension + 16..extension + 24].copy_from_slice(&(end as u64).to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let verdicts = our_verdicts(dir, &[0]);
    let opened = verdicts[0]["open"].as_str().unwrap_or_default();
    assert!(opened.contains("4096 dirty bitmaps"), "{verdicts:?}");
}
