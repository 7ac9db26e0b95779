//! Random trees of images: a proptest strategy for what they are, and how the real tools build
//! them. A tree prints itself as shell lines that build it again.

use std::fmt;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::script::{Script, Step};

/// Bytes of each layer's file of noise, which `write -s` repeats where a write is longer.
const NOISE: u64 = 96 << 10;

/// What happens to a layer after it was made.
#[derive(Debug, Clone)]
pub enum Op {
    /// A pattern of one byte.
    Pattern { at: u64, len: u64, byte: u8 },
    /// Bytes that never repeat.
    Noise { at: u64, len: u64 },
    /// `write -z`: zero, clusters may stay allocated.
    Zero { at: u64, len: u64 },
    /// `write -z -u`: zero, clusters may go.
    ZeroUnmap { at: u64, len: u64 },
    /// `discard`.
    Discard { at: u64, len: u64 },
    /// `write -c` of one cluster, of noise or of one byte.
    Compressed { cluster: u64, noise: bool },
    /// An internal snapshot.
    Snapshot,
}

/// What kind of file a layer is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A raw file of any length: only ever a root.
    Raw,
    /// A qcow2 image.
    Qcow2 {
        /// compat=0.10
        v2: bool,
        /// log2 of the cluster size.
        cluster_bits: u32,
        /// Subclusters.
        extended_l2: bool,
        /// Bits a reference count.
        refcount_bits: u32,
        /// compression_type=zstd
        zstd: bool,
        /// lazy_refcounts=on
        lazy: bool,
        /// The guest's bytes are in another file.
        data_file: bool,
    },
}

/// One layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What it is.
    pub kind: Kind,
    /// Index of the layer below; none for the root.
    pub parent: Option<usize>,
    /// Virtual size in bytes; the file's length for raw.
    pub size: u64,
    /// What was done to it, in order.
    pub ops: Vec<Op>,
}

/// A tree of layers; the first is the root, parents come before their children.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The layers.
    pub layers: Vec<Layer>,
    /// The layer to be committed: it has a parent.
    pub overlay: usize,
}

impl Layer {
    /// Bytes a cluster; none for raw.
    pub fn cluster_size(&self) -> Option<u64> {
        match self.kind {
            Kind::Raw => None,
            Kind::Qcow2 { cluster_bits, .. } => Some(1 << cluster_bits),
        }
    }

    /// QEMU's name of its format.
    pub fn format(&self) -> &'static str {
        match self.kind {
            Kind::Raw => "raw",
            Kind::Qcow2 { .. } => "qcow2",
        }
    }

    /// How many internal snapshots it has.
    pub fn snapshots(&self) -> usize {
        self.ops
            .iter()
            .filter(|op| matches!(op, Op::Snapshot))
            .count()
    }

    fn options(&self) -> String {
        let Kind::Qcow2 {
            v2,
            cluster_bits,
            extended_l2,
            refcount_bits,
            zstd,
            lazy,
            data_file,
        } = &self.kind
        else {
            return String::new();
        };
        let mut options = vec![
            format!("compat={}", if *v2 { "0.10" } else { "1.1" }),
            format!("cluster_size={}", 1_u64 << cluster_bits),
        ];
        if !v2 {
            options.push(format!("refcount_bits={refcount_bits}"));
        }
        for (on, option) in [
            (*extended_l2, "extended_l2=on"),
            (*zstd, "compression_type=zstd"),
            (*lazy, "lazy_refcounts=on"),
        ] {
            if on {
                options.push(option.to_owned());
            }
        }
        if *data_file {
            options.push("data_file=DATA".to_owned());
        }
        options.join(",")
    }
}

impl Tree {
    /// The file name of a layer.
    pub fn name(&self, index: usize) -> String {
        let layer = &self.layers[index];
        let role = if index == 0 {
            "base"
        } else if index == self.overlay {
            "overlay"
        } else {
            "layer"
        };
        format!(
            "{index}-{role}.{}",
            if layer.format() == "raw" {
                "img"
            } else {
                "qcow2"
            }
        )
    }

    /// All file names.
    pub fn names(&self) -> Vec<String> {
        (0..self.layers.len()).map(|i| self.name(i)).collect()
    }

    /// The layers built directly on `index`.
    pub fn children(&self, index: usize) -> Vec<usize> {
        (0..self.layers.len())
            .filter(|&i| self.layers[i].parent == Some(index))
            .collect()
    }

    /// The layer the overlay is built on.
    pub fn base(&self) -> usize {
        self.layers[self.overlay].parent.unwrap()
    }

    /// The base's children besides the overlay.
    pub fn siblings(&self) -> Vec<usize> {
        let mut all = self.children(self.base());
        all.retain(|&i| i != self.overlay);
        all
    }

    /// The steps that build it.
    pub fn script(&self) -> Script {
        let mut script = Script::default();
        for (index, layer) in self.layers.iter().enumerate() {
            self.layer_script(index, layer, &mut script);
        }
        script
    }

    /// Builds it in `dir`.
    pub fn build(&self, dir: &Path) {
        self.script().build(dir);
    }

    fn layer_script(&self, index: usize, layer: &Layer, script: &mut Script) {
        let name = self.name(index);
        let noise = format!("noise-{index}");
        script.push(Step::Noise {
            file: noise.clone(),
            from: (index as u64 + 1) * 1_000_003,
            len: NOISE,
        });
        if let Kind::Raw = layer.kind {
            script.push(Step::Truncate {
                file: name.clone(),
                len: layer.size,
            });
        } else {
            let options = layer
                .options()
                .replace("DATA", &format!("{index}-data.raw"));
            let backing = layer.parent.map_or(String::new(), |p| {
                format!(" -F {} -b {}", self.layers[p].format(), self.name(p))
            });
            script.create(
                &format!("-o {options}{backing}"),
                &name,
                &layer.size.to_string(),
            );
        }
        let mut commands: Vec<String> = Vec::new();
        let mut snapshots = 0;
        for (step, op) in layer.ops.iter().enumerate() {
            // Each layer and each write its own byte.
            let own = |byte: u8| (byte & 0x0f) | (u8::try_from(index + 1).unwrap() << 4);
            commands.push(match op {
                Op::Pattern { at, len, byte } => {
                    format!("write -P {:#04x} {at} {len}", own(*byte))
                }
                Op::Noise { at, len } => format!("write -s {noise} {at} {len}"),
                Op::Zero { at, len } => format!("write -z {at} {len}"),
                Op::ZeroUnmap { at, len } => format!("write -z -u {at} {len}"),
                Op::Discard { at, len } => format!("discard {at} {len}"),
                Op::Compressed { cluster, noise: n } => {
                    let size = layer.cluster_size().unwrap();
                    let at = cluster * size;
                    let len = size.min(layer.size - at);
                    let what = if *n {
                        format!("-s {noise}")
                    } else {
                        format!("-P {:#04x}", own(u8::try_from(step & 0xf).unwrap()))
                    };
                    format!("write -c {what} {at} {len}")
                }
                Op::Snapshot => {
                    flush(&mut commands, layer, &name, script);
                    snapshots += 1;
                    script.run(&format!("qemu-img snapshot -c snap-{snapshots} {name}"));
                    continue;
                }
            });
        }
        flush(&mut commands, layer, &name, script);
        script.push(Step::Remove(noise));
        if let Kind::Raw = layer.kind {
            // qemu-io rounds a raw file up to whole sectors when it writes.
            script.push(Step::Truncate {
                file: name,
                len: layer.size,
            });
        }
    }
}

fn flush(commands: &mut Vec<String>, layer: &Layer, name: &str, script: &mut Script) {
    if !commands.is_empty() {
        let words: Vec<&str> = commands.iter().map(String::as_str).collect();
        script.io(layer.format(), name, &words);
        commands.clear();
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# {} layers; {} is committed into {}",
            self.layers.len(),
            self.name(self.overlay),
            self.name(self.base())
        )?;
        write!(f, "{}", self.script())
    }
}

/// What a strategy may use.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Most layers.
    pub layers: usize,
    /// Greatest virtual size in bytes.
    pub size: u64,
    /// Whether every layer may have internal snapshots.
    pub snapshots: bool,
    /// Whether guest bytes may be in external data files.
    pub data_files: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            layers: 5,
            size: 6 << 20,
            snapshots: true,
            data_files: true,
        }
    }
}

/// A layer before the tree around it is known.
#[derive(Debug, Clone)]
struct Seedling {
    kind: Kind,
    parent: usize,
    sectors: u64,
    odd_tail: u64,
    same_size: bool,
    ops: Vec<(u8, u64, u64, u8)>,
    compressed: Vec<(u64, bool)>,
}

fn kind(shape: Shape) -> impl Strategy<Value = Kind> {
    (
        prop::bool::weighted(0.25),
        prop_oneof![
            3 => select(vec![9_u32, 10, 12]),
            3 => select(vec![14_u32, 15, 17]),
            4 => Just(16_u32),
            1 => select(vec![20_u32, 21]),
        ],
        prop::bool::weighted(0.35),
        prop_oneof![3 => Just(16_u32), 2 => select(vec![1_u32, 2, 4, 8, 32, 64])],
        any::<bool>(),
        prop::bool::weighted(0.15),
        prop::bool::weighted(if shape.data_files { 0.12 } else { 0.0 }),
    )
        .prop_map(
            |(v2, cluster_bits, extended_l2, refcount_bits, zstd, lazy, data_file)| Kind::Qcow2 {
                v2,
                cluster_bits,
                extended_l2: extended_l2 && !v2 && cluster_bits >= 14,
                refcount_bits: if v2 { 16 } else { refcount_bits },
                zstd: zstd && !v2,
                lazy: lazy && !v2,
                data_file: data_file && !v2,
            },
        )
}

fn seedling(shape: Shape) -> impl Strategy<Value = Seedling> {
    (
        kind(shape),
        any::<prop::sample::Index>(),
        prop_oneof![
            1 => 1..64_u64,
            3 => 64..shape.size / 512,
        ],
        0..512_u64,
        prop::bool::weighted(0.5),
        vec((0..16_u8, any::<u64>(), any::<u64>(), any::<u8>()), 0..7),
        prop_oneof![
            2 => Just(Vec::new()),
            1 => vec((any::<u64>(), any::<bool>()), 1..6),
        ],
    )
        .prop_map(
            |(kind, parent, sectors, odd_tail, same_size, ops, compressed)| Seedling {
                kind,
                parent: parent.index(1 << 16),
                sectors,
                odd_tail,
                same_size,
                ops,
                compressed,
            },
        )
}

/// Random trees with at least two layers.
pub fn trees(shape: Shape) -> impl Strategy<Value = Tree> {
    (
        vec(seedling(shape), 2..=shape.layers),
        prop::bool::weighted(0.2),
        any::<prop::sample::Index>(),
    )
        .prop_map(move |(seedlings, raw_root, overlay)| {
            let mut layers: Vec<Layer> = Vec::new();
            for (index, seedling) in seedlings.iter().enumerate() {
                let layer = grow(seedling, index, raw_root && index == 0, &layers, shape);
                layers.push(layer);
            }
            Tree {
                overlay: 1 + overlay.index(layers.len() - 1),
                layers,
            }
        })
}

fn grow(seedling: &Seedling, index: usize, raw: bool, layers: &[Layer], shape: Shape) -> Layer {
    // Sizes stay in proportion to the clusters, or small clusters would make thousands of tables.
    let kind = if raw {
        Kind::Raw
    } else {
        seedling.kind.clone()
    };
    let most = match kind {
        Kind::Qcow2 {
            cluster_bits: 9, ..
        } => 3 << 20,
        _ => shape.size,
    };
    let parent = (index > 0).then(|| seedling.parent % index);
    let mut size = (seedling.sectors * 512).min(most);
    if let (true, Some(parent)) = (seedling.same_size, parent) {
        size = layers[parent].size.next_multiple_of(512);
    }
    if raw && seedling.odd_tail % 2 == 1 {
        size += seedling.odd_tail;
    }
    let mut layer = Layer {
        kind,
        parent,
        size,
        ops: Vec::new(),
    };
    let (v2, data_file, refcount_bits) = match layer.kind {
        Kind::Raw => (true, false, 0),
        Kind::Qcow2 {
            v2,
            data_file,
            refcount_bits,
            ..
        } => (v2, data_file, refcount_bits),
    };
    if let (Some(cluster_size), false) = (layer.cluster_size(), data_file) {
        // Compressed writes come first, once a cluster: they cannot overwrite.
        let clusters = size.div_ceil(cluster_size);
        let mut seen = Vec::new();
        for (at, noise) in &seedling.compressed {
            let cluster = at % clusters;
            if !seen.contains(&cluster) {
                seen.push(cluster);
                layer.ops.push(Op::Compressed {
                    cluster,
                    noise: *noise,
                });
            }
        }
    }
    let may_snapshot = shape.snapshots && !raw && !data_file && refcount_bits >= 4;
    let unit = layer.cluster_size().unwrap_or(4096);
    for &(what, at, len, byte) in &seedling.ops {
        // Some aligned to clusters, some to sectors, some to nothing.
        let align = match byte % 5 {
            0 | 1 => unit,
            2 | 3 => 512,
            _ => 1,
        };
        let at = (at % size) / align * align;
        let longest = if byte % 3 == 0 { 8 * unit } else { 300 << 10 };
        let len = (len % longest)
            .next_multiple_of(align)
            .max(align)
            .min(size - at);
        layer.ops.push(match what {
            0..=4 => Op::Pattern { at, len, byte },
            5..=8 => Op::Noise { at, len },
            9 | 10 => Op::Zero { at, len },
            11 | 12 => Op::ZeroUnmap { at, len },
            13 if !v2 => Op::Discard { at, len },
            13 | 14 if may_snapshot && layer.snapshots() < 2 => Op::Snapshot,
            _ => Op::Noise { at, len },
        });
    }
    layer
}
