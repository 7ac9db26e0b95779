//! The sample forests: what a user's disk holds, built by the real `qemu-img` and `qemu-io`, and for
//! each file what a scan has to say of it. Every layer has its own byte pattern, so that a wrong
//! commit shows in the bytes. Random forests are `chains`' business.

use std::fs::File;
use std::path::Path;

use super::script::{Script, Step};

/// Whether the guest's bytes can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// By qemu-img and by us, and they are the same.
    Both,
    /// By qemu-img only: it knows formats that are opaque to us.
    QemuOnly,
    /// By nobody.
    Neither,
}

/// What a scan has to say of one file of a sample forest.
#[derive(Debug, Clone)]
pub struct Described {
    /// The file, from the forest's directory.
    pub path: &'static str,
    /// Further names of the same file.
    pub names: &'static [&'static str],
    /// The node at the end of its backing link, from the forest's directory.
    pub parent: Option<&'static str>,
    /// The flags' names, `active` and `frozen` included.
    pub flags: &'static str,
    /// Flags it may have or not.
    pub perhaps: &'static str,
    /// What the guest sees, in bytes; none where nobody can tell.
    pub virtual_size: Option<u64>,
    /// QEMU's name of its format; empty where it has none.
    pub format: &'static str,
    /// Who can read its guest's bytes.
    pub reading: Reading,
}

impl Described {
    fn new(path: &'static str, flags: &'static str, size: u64) -> Self {
        Self {
            path,
            names: &[],
            parent: None,
            flags,
            perhaps: "",
            virtual_size: Some(size),
            format: "qcow2",
            reading: Reading::Both,
        }
    }

    fn on(mut self, parent: &'static str) -> Self {
        self.parent = Some(parent);
        self
    }

    fn format(mut self, format: &'static str) -> Self {
        self.format = format;
        self
    }

    fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    fn perhaps(mut self, flags: &'static str) -> Self {
        self.perhaps = flags;
        self
    }

    fn also(mut self, names: &'static [&'static str]) -> Self {
        self.names = names;
        self
    }

    fn sizeless(mut self) -> Self {
        self.virtual_size = None;
        self.reading = Reading::Neither;
        self
    }
}

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;

/// RootBase with three branches.
pub fn seed(dir: &Path) -> Vec<Described> {
    let mut s = Script::default();
    s.create("", "RootBase.qcow2", "64M");
    s.io("qcow2", "RootBase.qcow2", &["write -P 0x10 0 8M"]);
    for (base, name, writes) in [
        (
            "RootBase",
            "Overlay-1",
            &["write -P 0x11 1M 1M", "write -P 0x11 20M 192k"][..],
        ),
        ("Overlay-1", "Overlay-1A", &["write -P 0x1a 2M 512k"]),
        (
            "Overlay-1A",
            "Overlay-1B",
            &["write -P 0x1b 3M 64k", "write -z 1M 64k"],
        ),
        ("Overlay-1B", "Overlay-1C", &["write -P 0x1c 5M 4k"]),
        ("RootBase", "Overlay-2", &["write -P 0x22 0 64k"]),
        ("Overlay-2", "Overlay-2A", &["write -P 0x2a 30M 3M"]),
        ("RootBase", "Overlay-3", &["write -P 0x33 7M 2M"]),
        ("Overlay-3", "Overlay-3A", &["write -P 0x3a 63M 1M"]),
    ] {
        let name = format!("{name}.qcow2");
        s.overlay("qcow2", &format!("{base}.qcow2"), &name);
        s.io("qcow2", &name, writes);
    }
    s.build(dir);
    vec![
        Described::new("RootBase.qcow2", "frozen", 64 * M),
        Described::new("Overlay-1.qcow2", "frozen", 64 * M).on("RootBase.qcow2"),
        Described::new("Overlay-1A.qcow2", "frozen", 64 * M).on("Overlay-1.qcow2"),
        Described::new("Overlay-1B.qcow2", "frozen", 64 * M).on("Overlay-1A.qcow2"),
        Described::new("Overlay-1C.qcow2", "active", 64 * M).on("Overlay-1B.qcow2"),
        Described::new("Overlay-2.qcow2", "frozen", 64 * M).on("RootBase.qcow2"),
        Described::new("Overlay-2A.qcow2", "active", 64 * M).on("Overlay-2.qcow2"),
        Described::new("Overlay-3.qcow2", "frozen", 64 * M).on("RootBase.qcow2"),
        Described::new("Overlay-3A.qcow2", "active", 64 * M).on("Overlay-3.qcow2"),
    ]
}

/// A raw base below two folders, and two different files of one name.
pub fn fedora(dir: &Path) -> Vec<Described> {
    let mut s = Script::default();
    s.push(Step::MakeDir("guest-1".to_owned()));
    s.push(Step::MakeDir("guest-2".to_owned()));
    s.run("qemu-img create -q -f raw FedoraBase.img 48M");
    s.io("raw", "FedoraBase.img", &["write -P 0xfe 0 4M"]);
    for g in 1..=2 {
        let guest = format!("guest-{g}/Fedora-guest-{g}.qcow2");
        let updates = format!("guest-{g}/Fed-w-updates.qcow2");
        let leaf = format!("guest-{g}/Fedora-guest-with-updates-{g}A.qcow2");
        s.overlay("raw", "../FedoraBase.img", &guest);
        s.io("qcow2", &guest, &[&format!("write -P 0x4{g} 1M 256k")]);
        s.overlay("qcow2", &format!("Fedora-guest-{g}.qcow2"), &updates);
        s.io("qcow2", &updates, &[&format!("write -P 0x5{g} 2M 256k")]);
        s.overlay("qcow2", "Fed-w-updates.qcow2", &leaf);
        s.io("qcow2", &leaf, &[&format!("write -P 0x6{g} 3M 256k")]);
    }
    s.build(dir);
    let node = Described::new;
    vec![
        node("FedoraBase.img", "frozen", 48 * M).format("raw"),
        node("guest-1/Fedora-guest-1.qcow2", "frozen", 48 * M).on("FedoraBase.img"),
        node("guest-1/Fed-w-updates.qcow2", "frozen", 48 * M).on("guest-1/Fedora-guest-1.qcow2"),
        node(
            "guest-1/Fedora-guest-with-updates-1A.qcow2",
            "active",
            48 * M,
        )
        .on("guest-1/Fed-w-updates.qcow2"),
        node("guest-2/Fedora-guest-2.qcow2", "frozen", 48 * M).on("FedoraBase.img"),
        node("guest-2/Fed-w-updates.qcow2", "frozen", 48 * M).on("guest-2/Fedora-guest-2.qcow2"),
        node(
            "guest-2/Fedora-guest-with-updates-2A.qcow2",
            "active",
            48 * M,
        )
        .on("guest-2/Fed-w-updates.qcow2"),
    ]
}

/// Overlays on overlays with no backing format recorded, as QEMU before 6.1 let people make.
pub fn no_format(dir: &Path) -> Vec<Described> {
    let mut s = Script::default();
    s.create("", "centos.qcow2", "32M");
    s.io("qcow2", "centos.qcow2", &["write -P 0xc0 0 1M"]);
    s.overlay("qcow2", "centos.qcow2", "centos-overlay-1.qcow2");
    s.io("qcow2", "centos-overlay-1.qcow2", &["write -P 0xc1 0 64k"]);
    s.overlay("qcow2", "centos-overlay-1.qcow2", "centos-overlay-2.qcow2");
    s.io("qcow2", "centos-overlay-2.qcow2", &["write -P 0xc2 1M 64k"]);
    for name in ["centos-overlay-1.qcow2", "centos-overlay-2.qcow2"] {
        s.push(Step::DropBackingFormat(name.to_owned()));
    }
    s.build(dir);
    vec![
        Described::new("centos.qcow2", "frozen", 32 * M),
        Described::new("centos-overlay-1.qcow2", "frozen no-backing-format", 32 * M)
            .on("centos.qcow2"),
        Described::new("centos-overlay-2.qcow2", "active no-backing-format", 32 * M)
            .on("centos-overlay-1.qcow2"),
    ]
}

/// Every kind of qcow2 image, and bases of other formats.
pub fn kinds(dir: &Path) -> Vec<Described> {
    let mut s = Script::default();
    // Versions and geometries.
    s.create("-o compat=0.10", "v2.qcow2", "16M");
    s.io("qcow2", "v2.qcow2", &["write -P 0x02 0 1M"]);
    s.create(
        "-o compat=0.10 -F qcow2 -b v2.qcow2",
        "v2-overlay.qcow2",
        "",
    );
    s.io("qcow2", "v2-overlay.qcow2", &["write -P 0x03 64k 64k"]);
    s.create("-o cluster_size=512", "c512.qcow2", "4M");
    s.io("qcow2", "c512.qcow2", &["write -P 0x04 0 300k"]);
    s.create("-o cluster_size=2M", "c2M.qcow2", "64M");
    s.io("qcow2", "c2M.qcow2", &["write -P 0x05 3M 5M"]);
    s.create(
        "-o extended_l2=on,cluster_size=128k",
        "subclusters.qcow2",
        "32M",
    );
    s.io(
        "qcow2",
        "subclusters.qcow2",
        &[
            "write -P 0x06 4k 4k",
            "write -P 0x06 1M 300k",
            "write -z 2M 8k",
        ],
    );
    s.create(
        "-o extended_l2=on -F qcow2 -b subclusters.qcow2",
        "subclusters-overlay.qcow2",
        "",
    );
    s.io(
        "qcow2",
        "subclusters-overlay.qcow2",
        &["write -P 0x07 6k 2k"],
    );
    for bits in [1, 8, 64] {
        let name = format!("rc{bits}.qcow2");
        s.create(&format!("-o refcount_bits={bits}"), &name, "8M");
        s.io("qcow2", &name, &["write -P 0x08 0 1M"]);
    }
    s.create("-o lazy_refcounts=on", "lazy.qcow2", "8M");
    s.io("qcow2", "lazy.qcow2", &["write -P 0x09 0 1M"]);
    s.create("-o preallocation=full", "prealloc.qcow2", "4M");
    s.create("-o preallocation=metadata", "prealloc-meta.qcow2", "8M");
    s.create(
        "-o data_file=external.raw,data_file_raw=on",
        "external.qcow2",
        "16M",
    );
    s.io("qcow2", "external.qcow2", &["write -P 0x0a 1M 1M"]);
    // Compressed clusters.
    s.create("", "source.qcow2", "64M");
    s.push(Step::Noise {
        file: "noise".to_owned(),
        from: 1_000_000,
        len: 300 * K,
    });
    s.io(
        "qcow2",
        "source.qcow2",
        &[
            "write -P 0x10 0 1M",
            "write -P 0x11 1M 1M",
            "write -P 0x1c 5M 4k",
            "write -s noise 6M 300k",
        ],
    );
    s.run("qemu-img convert -O qcow2 -c source.qcow2 zlib.qcow2");
    s.run("qemu-img convert -O qcow2 -c -o compression_type=zstd source.qcow2 zstd.qcow2");
    s.push(Step::Remove("source.qcow2".to_owned()));
    s.push(Step::Remove("noise".to_owned()));
    s.overlay("qcow2", "zlib.qcow2", "zlib-overlay.qcow2");
    s.io("qcow2", "zlib-overlay.qcow2", &["write -P 0x0b 10k 100"]);
    // Internal snapshots, bitmaps.
    s.create("", "snaps.qcow2", "16M");
    s.io("qcow2", "snaps.qcow2", &["write -P 0x21 0 1M"]);
    s.run("qemu-img snapshot -c before-update snaps.qcow2");
    s.io("qcow2", "snaps.qcow2", &["write -P 0x22 512k 1M"]);
    s.command(["qemu-img", "snapshot", "-c", "after update", "snaps.qcow2"]);
    s.io("qcow2", "snaps.qcow2", &["write -P 0x23 0 64k"]);
    s.create("", "bitmaps.qcow2", "16M");
    s.run("qemu-img bitmap --add bitmaps.qcow2 backup-0");
    s.io("qcow2", "bitmaps.qcow2", &["write -P 0x0c 1M 1M"]);
    // Lengths.
    s.create("", "small.qcow2", "8M");
    s.io("qcow2", "small.qcow2", &["write -P 0x0d 0 8M"]);
    s.create(
        "-F qcow2 -b small.qcow2",
        "larger-than-its-base.qcow2",
        "12M",
    );
    s.io(
        "qcow2",
        "larger-than-its-base.qcow2",
        &["write -P 0x0e 9M 1M"],
    );
    s.push(Step::Noise {
        file: "odd-size.img".to_owned(),
        from: 77,
        len: 1_000_001,
    });
    s.overlay("raw", "odd-size.img", "odd-size-overlay.qcow2");
    s.io(
        "qcow2",
        "odd-size-overlay.qcow2",
        &["write -P 0x1f 500k 64k"],
    );
    // What is closed to us, and an unusual way to name a base.
    s.command([
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        "luks.qcow2",
        "8M",
    ]);
    // What was never written reads as zero without a passphrase.
    s.command([
        "qemu-io",
        "--object",
        "secret,id=s,data=x",
        "-c",
        "write -q -P 0x0c 0 64k",
        "--image-opts",
        "driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s",
    ]);
    s.run("qemu-img create -q -f vmdk other.vmdk 8M");
    s.overlay("vmdk", "other.vmdk", "on-a-vmdk.qcow2");
    // A relative name in there would go by the directory that a program runs in.
    let described = dir.join("v2.qcow2");
    let described = format!(
        r#"json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{}"}}}}"#,
        described.display()
    );
    s.overlay("qcow2", &described, "json-backing.qcow2");
    s.build(dir);
    vec![
        Described::new("v2.qcow2", "frozen", 16 * M),
        Described::new("v2-overlay.qcow2", "active", 16 * M).on("v2.qcow2"),
        Described::new("json-backing.qcow2", "active", 16 * M).on("v2.qcow2"),
        Described::new("c512.qcow2", "active", 4 * M),
        Described::new("c2M.qcow2", "active", 64 * M),
        Described::new("subclusters.qcow2", "frozen", 32 * M),
        Described::new("subclusters-overlay.qcow2", "active", 32 * M).on("subclusters.qcow2"),
        Described::new("rc1.qcow2", "active", 8 * M),
        Described::new("rc8.qcow2", "active", 8 * M),
        Described::new("rc64.qcow2", "active", 8 * M),
        Described::new("lazy.qcow2", "active", 8 * M),
        Described::new("prealloc.qcow2", "active", 4 * M),
        Described::new("prealloc-meta.qcow2", "active", 8 * M),
        Described::new("external.qcow2", "active", 16 * M),
        Described::new("zlib.qcow2", "frozen", 64 * M),
        Described::new("zlib-overlay.qcow2", "active", 64 * M).on("zlib.qcow2"),
        Described::new("zstd.qcow2", "active", 64 * M),
        Described::new("snaps.qcow2", "active snapshots", 16 * M),
        Described::new("bitmaps.qcow2", "active", 16 * M),
        Described::new("small.qcow2", "frozen", 8 * M),
        Described::new("larger-than-its-base.qcow2", "active", 12 * M).on("small.qcow2"),
        Described::new("odd-size.img", "frozen", 1_000_001).format("raw"),
        Described::new("odd-size-overlay.qcow2", "active", 1_000_448).on("odd-size.img"),
        Described::new("luks.qcow2", "active encrypted", 8 * M).reading(Reading::Neither),
        Described::new("other.vmdk", "frozen unsupported", 8 * M)
            .format("vmdk")
            .sizeless(),
        Described::new("on-a-vmdk.qcow2", "active", 8 * M)
            .on("other.vmdk")
            .reading(Reading::QemuOnly),
    ]
}

/// What is broken on a user's disk.
pub fn broken(dir: &Path) -> Vec<Described> {
    let mut s = Script::default();
    let esc = "esc\u{1b}[31mape.qcow2";
    let newline = "new\nline.qcow2";
    s.push(Step::MakeDir("moved".to_owned()));
    s.create("", "gone.qcow2", "8M");
    s.overlay("qcow2", "gone.qcow2", "orphan.qcow2");
    s.push(Step::Remove("gone.qcow2".to_owned()));
    s.create("", "here.qcow2", "8M");
    s.io("qcow2", "here.qcow2", &["write -P 0x31 0 64k"]);
    s.overlay("qcow2", "here.qcow2", "lost-its-base.qcow2");
    s.push(Step::Move {
        from: "here.qcow2".to_owned(),
        to: "moved/here.qcow2".to_owned(),
    });
    s.create("", "a.qcow2", "8M");
    s.overlay("qcow2", "a.qcow2", "b.qcow2");
    s.run("qemu-img rebase -u -F qcow2 -b b.qcow2 a.qcow2");
    s.create("", "self.qcow2", "8M");
    s.run("qemu-img rebase -u -F qcow2 -b self.qcow2 self.qcow2");
    // Clusters are 64 KiB: the refcount block lies at 0x20000, entries are two bytes.
    s.create("", "leak.qcow2", "8M");
    s.io("qcow2", "leak.qcow2", &["write -P 0x32 0 1M"]);
    s.push(Step::Patch {
        file: "leak.qcow2".to_owned(),
        at: 0x20000 + 60,
        bytes: vec![0, 1],
    });
    s.create("", "bad-ref.qcow2", "8M");
    s.io("qcow2", "bad-ref.qcow2", &["write -P 0x33 0 1M"]);
    s.push(Step::Patch {
        file: "bad-ref.qcow2".to_owned(),
        at: 0x20000 + 12,
        bytes: vec![0, 0],
    });
    // Incompatible features are the eight bytes from 72: bit 1 is "corrupt", bit 63 is nobody's.
    s.create("", "corrupt-bit.qcow2", "8M");
    s.push(Step::Patch {
        file: "corrupt-bit.qcow2".to_owned(),
        at: 79,
        bytes: vec![2],
    });
    s.create("", "future.qcow2", "8M");
    s.push(Step::Patch {
        file: "future.qcow2".to_owned(),
        at: 72,
        bytes: vec![0x80],
    });
    s.create("", "truncated.qcow2", "8M");
    s.io("qcow2", "truncated.qcow2", &["write -P 0x34 0 4M"]);
    s.push(Step::Truncate {
        file: "truncated.qcow2".to_owned(),
        len: 300_000,
    });
    s.push(Step::Head {
        from: "truncated.qcow2".to_owned(),
        to: "short-header.qcow2".to_owned(),
        len: 60,
    });
    s.push(Step::Zeros {
        file: "zeros.qcow2".to_owned(),
        len: 4096,
    });
    s.push(Step::Zeros {
        file: "empty.qcow2".to_owned(),
        len: 0,
    });
    s.create("", "unreadable.qcow2", "8M");
    s.push(Step::Mode {
        file: "unreadable.qcow2".to_owned(),
        mode: 0,
    });
    s.command(["qemu-img", "create", "-q", "-f", "qcow2", esc, "8M"]);
    s.command([
        "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", esc, newline,
    ]);
    s.push(Step::Symlink {
        target: "orphan.qcow2".to_owned(),
        name: "link-to-orphan.qcow2".to_owned(),
    });
    s.push(Step::HardLink {
        of: "moved/here.qcow2".to_owned(),
        name: "second-name.qcow2".to_owned(),
    });
    s.push(Step::Symlink {
        target: "no-such-file".to_owned(),
        name: "dangling.qcow2".to_owned(),
    });
    s.build(dir);
    // Root reads what nobody may read.
    let unreadable = if File::open(dir.join("unreadable.qcow2")).is_ok() {
        Described::new("unreadable.qcow2", "active", 8 * M)
    } else {
        let mut row = Described::new("unreadable.qcow2", "active unreadable", 0).sizeless();
        row.format = "";
        row
    };
    let node = Described::new;
    let neither = Reading::Neither;
    vec![
        node("orphan.qcow2", "active missing-backing", 8 * M)
            .on("gone.qcow2")
            .also(&["link-to-orphan.qcow2"])
            .reading(neither),
        node("lost-its-base.qcow2", "active missing-backing", 8 * M)
            .on("here.qcow2")
            .reading(neither),
        node("moved/here.qcow2", "active", 8 * M).also(&["second-name.qcow2"]),
        node("a.qcow2", "frozen loop", 8 * M)
            .on("b.qcow2")
            .reading(neither),
        node("b.qcow2", "frozen loop", 8 * M)
            .on("a.qcow2")
            .reading(neither),
        node("self.qcow2", "frozen loop", 8 * M)
            .on("self.qcow2")
            .reading(neither),
        node("leak.qcow2", "active", 8 * M),
        node("bad-ref.qcow2", "active", 8 * M),
        node("corrupt-bit.qcow2", "active corrupt", 8 * M),
        node("future.qcow2", "active unsupported", 8 * M).reading(neither),
        node("truncated.qcow2", "active", 8 * M).perhaps("corrupt"),
        node("short-header.qcow2", "active corrupt", 0).sizeless(),
        node("zeros.qcow2", "active", 0)
            .perhaps("corrupt unsupported unreadable")
            .sizeless(),
        node("empty.qcow2", "active", 0)
            .perhaps("corrupt unsupported unreadable")
            .sizeless(),
        unreadable,
        node("esc\u{1b}[31mape.qcow2", "frozen", 8 * M),
        node("new\nline.qcow2", "active", 8 * M).on("esc\u{1b}[31mape.qcow2"),
    ]
}

/// Every sample forest, built in a folder of its own below `dir`: the folder's name and its files.
pub fn all(dir: &Path) -> Vec<(&'static str, Vec<Described>)> {
    vec![
        ("seed", seed(&dir.join("seed"))),
        ("fedora", fedora(&dir.join("fedora"))),
        ("no-format", no_format(&dir.join("no-format"))),
        ("kinds", kinds(&dir.join("kinds"))),
        ("broken", broken(&dir.join("broken"))),
    ]
}
