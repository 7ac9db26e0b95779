//! Images with bytes overwritten at random: whatever they say, a reader answers or fails, in bounded time.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qanopy_guest::filesystem::{NodeId, NodeKind};
use qanopy_guest::{Filesystem, Ranges, Source, readers};

/// What one case may take. Far more than it does, as other tests run beside it.
const MOST_TIME: Duration = Duration::from_secs(10);

/// Nodes of one case that are looked at.
const MOST_NODES: usize = 3_000;

/// Numbers that differ by seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}

/// Overwrites bytes of `image` within `places` (metadata, mostly), `cases` times from its first state on, and asks
/// everything that can be asked of what then is there.
pub fn survives(image: &[u8], places: &[Range<usize>], cases: u64) {
    survives_sealed(image, places, cases, &|_, _| {});
}

/// As [`survives`], with checksums put right again: `seal` is given the image and the number of a place that was
/// overwritten, and may change nothing but that place.
pub fn survives_sealed(
    image: &[u8],
    places: &[Range<usize>],
    cases: u64,
    seal: &dyn Fn(&mut [u8], usize),
) {
    let mut random = Random::new(cases);
    let mut forged = image.to_vec();
    let mut opened = 0;
    for case in 0..cases {
        let mut undo = Vec::new();
        for _ in 0..=random.below(4) {
            let which = random.below(places.len());
            let place = places[which].clone();
            undo.push((place.start, forged[place.clone()].to_vec()));
            let at = place.start + random.below(place.len());
            let len = [1, 1, 2, 4, 8, 64][random.below(6)].min(place.end - at);
            let what = random.below(5);
            for byte in &mut forged[at..at + len] {
                *byte = match what {
                    0 => 0,
                    1 => 0xff,
                    2 => *byte ^ (1 << random.below(8)),
                    3 => byte.wrapping_add(1),
                    _ => random.below(256).to_le_bytes()[0],
                };
            }
            if random.below(8) > 0 {
                seal(&mut forged, which);
            }
        }
        let shared = Arc::new(forged);
        let start = Instant::now();
        let volume: Source = shared.clone();
        if let Ok(Some(filesystem)) = readers::open(&volume) {
            opened += 1;
            ask_everything(&*filesystem);
        }
        let took = start.elapsed();
        assert!(took < MOST_TIME, "case {case} took {took:?}");
        drop(volume);
        forged = Arc::try_unwrap(shared).unwrap();
        for (at, bytes) in undo.into_iter().rev() {
            forged[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
    assert_eq!(forged, image);
    assert!(opened > cases / 2, "only {opened} of {cases} were opened");
}

/// Asks everything, and takes any answer.
pub fn ask_everything(filesystem: &dyn Filesystem) {
    let mut met = HashSet::from([filesystem.root()]);
    let mut waiting = vec![filesystem.root()];
    let mut buf = vec![0; 100_000];
    while let Some(id) = waiting.pop() {
        let _ = filesystem.extents(id);
        let Ok(node) = filesystem.node(id) else {
            continue;
        };
        match node.kind {
            NodeKind::Directory => {
                let _ = filesystem.entries(id, &mut |entry| {
                    if met.len() < MOST_NODES && met.insert(entry.id) {
                        waiting.push(entry.id);
                    }
                    ControlFlow::Continue(())
                });
                let _ = filesystem.lookup(id, b"a name");
            }
            NodeKind::File => {
                for at in [0, node.size / 2, node.size.saturating_sub(1), u64::MAX - 5] {
                    let _ = filesystem.read(id, at, &mut buf);
                }
            }
            NodeKind::Symlink => drop(filesystem.link_target(id)),
            NodeKind::Special => {}
        }
    }
    for odd in [1, u64::MAX, 1 << 40] {
        let _ = filesystem.node(NodeId::new(odd));
    }
    let _ = filesystem.links(&met);
    let _ = filesystem.candidates(&Ranges::all());
    let _ = filesystem.usage(&mut |_, _| Ok(()));
    let _ = filesystem.doubt();
}
