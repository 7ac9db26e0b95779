//! Retention: which of the leaves that nobody uses are kept by rule, as backup programs do it: the last few, the last
//! of each day, week and month. Each rule holds by itself; what one of them keeps is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::forest::{Forest, NodeId};
use crate::system::{Utc, local_offset};

use super::{Candidate, Context};

/// What is kept of each group of leaves, counted from the youngest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// So many leaves.
    pub last: usize,
    /// The youngest leaf of each day, of so many days that have one.
    pub daily: usize,
    /// The youngest leaf of each week (from Monday), of so many weeks that have one.
    pub weekly: usize,
    /// The youngest leaf of each month, of so many months that have one.
    pub monthly: usize,
    /// Which leaves are one group.
    pub per: Per,
}

/// Which leaves are one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Per {
    /// Those that are built on the same image.
    #[default]
    Base,
    /// Those of the same tree.
    Tree,
    /// Those beside the disks of the same machines: built on the same of their layers, or above it. What is beside no
    /// machine's disk is told apart by what it is built on.
    Machine,
}

impl Per {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Base, "base"),
        (Self::Tree, "tree"),
        (Self::Machine, "machine"),
    ];

    /// Where leaves of a group are, behind `the youngest`.
    fn place(self) -> &'static str {
        match self {
            Self::Base => "on its base",
            Self::Tree => "in its tree",
            Self::Machine => "beside its machine",
        }
    }
}

/// A machine: its product, where the product has it from, its name.
type MachineKey<'f> = (&'static str, &'f str, &'f str);

/// What the leaves of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group<'f> {
    Image(Option<NodeId>),
    Machines(BTreeSet<MachineKey<'f>>),
}

/// By image, the machines that use it or what is built on it.
type MachinesAbove<'f> = BTreeMap<NodeId, BTreeSet<MachineKey<'f>>>;

/// A leaf that is kept, and why: `one of the 3 youngest on its base`.
pub type Kept = (Candidate, String);

impl Retention {
    /// Whether it keeps anything.
    #[must_use]
    pub fn keeps_nothing(&self) -> bool {
        (self.last, self.daily, self.weekly, self.monthly) == (0, 0, 0, 0)
    }

    /// Parts the candidates into those that may go and those that are kept, each in the order given. Days are those
    /// of the machine's time zone as it is now.
    #[must_use]
    pub fn part(
        &self,
        context: &Context,
        candidates: Vec<Candidate>,
    ) -> (Vec<Candidate>, Vec<Kept>) {
        let mut kept = self.reasons(context, &candidates);
        let (mut go, mut stay) = (Vec::new(), Vec::new());
        for one in candidates {
            match kept.remove(&one.node) {
                Some(why) => stay.push((one, why)),
                None => go.push(one),
            }
        }
        (go, stay)
    }

    /// Of the candidates that are kept, why.
    #[must_use]
    pub fn reasons(&self, context: &Context, candidates: &[Candidate]) -> BTreeMap<NodeId, String> {
        let forest = context.forest.as_ref();
        let now = context.host.now();
        let offset = local_offset();
        let above = match self.per {
            Per::Machine => machines_above(forest),
            Per::Base | Per::Tree => MachinesAbove::new(),
        };
        let mut groups: BTreeMap<Group<'_>, Vec<(u64, NodeId)>> = BTreeMap::new();
        let mut youngest_first: Vec<&Candidate> = candidates.iter().collect();
        youngest_first.sort_by(|a, b| (a.age, &a.path).cmp(&(b.age, &b.path)));
        for one in youngest_first {
            let changed = now.checked_sub(one.age).unwrap_or(UNIX_EPOCH);
            let group = self.group(forest, &above, one.node);
            let leaves = groups.entry(group).or_default();
            leaves.push((local_seconds(changed, offset), one.node));
        }
        let mut kept: BTreeMap<NodeId, String> = BTreeMap::new();
        for leaves in groups.values() {
            self.keep(leaves, &mut kept);
        }
        kept
    }

    fn group<'f>(&self, forest: &Forest, above: &MachinesAbove<'f>, leaf: NodeId) -> Group<'f> {
        // The leaf itself is nobody's.
        let below: Vec<NodeId> = forest.chain(leaf).into_iter().skip(1).collect();
        let base = Group::Image(below.first().copied());
        match self.per {
            Per::Base => base,
            Per::Tree => Group::Image(below.last().copied()),
            Per::Machine => {
                let nearest = below.iter().find_map(|id| above.get(id));
                nearest.map_or(base, |machines| Group::Machines(machines.clone()))
            }
        }
    }

    /// Of leaves with the local time of their last change, youngest first.
    fn keep(&self, leaves: &[(u64, NodeId)], kept: &mut BTreeMap<NodeId, String>) {
        for (_, leaf) in leaves.iter().take(self.last) {
            let place = self.per.place();
            let why = match self.last {
                1 => format!("the youngest {place}"),
                last => format!("one of the {last} youngest {place}"),
            };
            kept.insert(*leaf, why);
        }
        let rules: [Rule; 3] = [
            (self.daily, "day", day),
            (self.weekly, "week", week),
            (self.monthly, "month", month),
        ];
        for (most, word, period) in rules {
            let mut met: BTreeSet<u64> = BTreeSet::new();
            for (changed, leaf) in leaves {
                if met.len() < most && met.insert(period(*changed)) {
                    let why = || format!("the youngest of its {word}");
                    kept.entry(*leaf).or_insert_with(why);
                }
            }
        }
    }
}

fn machines_above(forest: &Forest) -> MachinesAbove<'_> {
    let mut above = MachinesAbove::new();
    for node in forest.nodes() {
        let uses = forest.uses(node).into_iter();
        let machines: Vec<MachineKey<'_>> = uses
            .map(|used| used.machine)
            .map(|machine| {
                (
                    machine.product,
                    machine.place.as_str(),
                    machine.name.as_str(),
                )
            })
            .collect();
        if machines.is_empty() {
            continue;
        }
        for id in forest.chain(node.id) {
            above.entry(id).or_default().extend(&machines);
        }
    }
    above
}

/// Of how many periods the youngest leaf is kept, what one is called, and in which one a moment lies.
type Rule = (usize, &'static str, fn(u64) -> u64);

/// Seconds since 1970 on the clock of the wall.
fn local_seconds(time: SystemTime, offset: i64) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_add_signed(offset)
}

fn day(seconds: u64) -> u64 {
    seconds / 86_400
}

/// 1970 began on a Thursday.
fn week(seconds: u64) -> u64 {
    day(seconds).saturating_add(3) / 7
}

fn month(seconds: u64) -> u64 {
    let date = Utc::from_seconds(seconds);
    date.year.saturating_mul(12).saturating_add(date.month)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves kept of a group whose leaves were changed at these times, youngest first.
    fn kept(rule: &Retention, times: &[u64]) -> Vec<usize> {
        let leaves: Vec<(u64, NodeId)> = times
            .iter()
            .enumerate()
            .map(|(at, time)| (*time, NodeId(u32::try_from(at).unwrap())))
            .collect();
        let mut kept = BTreeMap::new();
        rule.keep(&leaves, &mut kept);
        kept.keys()
            .map(|id| usize::try_from(id.0).unwrap())
            .collect()
    }

    #[test]
    fn the_last_and_the_youngest_of_each_day_week_and_month_are_kept() {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        // Monday, the 5th of January 2026.
        let monday = 20_458 * DAY;
        let times = [
            monday + 9 * HOUR,
            monday + 8 * HOUR,
            monday,
            monday - 1,
            monday - 3 * DAY,
            monday - 6 * DAY,
            monday - 40 * DAY,
        ];
        let of = |last, daily, weekly, monthly| {
            let per = Per::Base;
            kept(
                &Retention {
                    last,
                    daily,
                    weekly,
                    monthly,
                    per,
                },
                &times,
            )
        };
        assert_eq!(of(0, 0, 0, 0), [] as [usize; 0]);
        assert_eq!(of(2, 0, 0, 0), [0, 1]);
        assert_eq!(of(0, 2, 0, 0), [0, 3]);
        assert_eq!(of(0, 0, 2, 0), [0, 3]);
        assert_eq!(of(0, 0, 9, 0), [0, 3, 6]);
        // The 30th of December was in another month.
        assert_eq!(of(0, 0, 0, 2), [0, 5]);
        assert_eq!(of(2, 0, 0, 9), [0, 1, 5, 6]);
        assert_eq!(of(99, 0, 0, 0).len(), times.len());
    }
}
