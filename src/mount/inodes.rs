//! Which inode number stands for what. The kernel names what it holds by number, and says when it lets go of one; until
//! then the number stands for the same.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::tree::Place;

/// The number of the mount itself (`FUSE_ROOT_ID`).
const ROOT: u64 = 1;

/// The first number that is given to anything else: programs take small ones for something special.
const FIRST: u64 = 1 << 32;

/// The inode numbers of a mount. A place has the same number each time, as long as no two places come to the same one.
#[derive(Debug)]
pub(super) struct Inodes {
    root: Place,
    /// What the kernel holds, and how often it looked each up.
    held: HashMap<u64, (Place, u64)>,
    numbers: RandomState,
}

impl Inodes {
    /// None but the number of the mount itself.
    #[must_use]
    pub(super) fn new(root: Place) -> Self {
        Self {
            root,
            held: HashMap::new(),
            numbers: RandomState::new(),
        }
    }

    /// What a number stands for; none if the kernel was never given it, or has let go of it.
    #[must_use]
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        if number == ROOT {
            return Some(self.root);
        }
        self.held.get(&number).map(|(place, _)| *place)
    }

    /// The number of a place.
    #[must_use]
    pub(super) fn number(&self, place: Place) -> u64 {
        if place == self.root {
            return ROOT;
        }
        let mut number = self.numbers.hash_one(place).max(FIRST);
        while self.held.get(&number).is_some_and(|(of, _)| *of != place) {
            number = number.wrapping_add(1).max(FIRST);
        }
        number
    }

    /// Notes that the kernel was told the number of a place once more, and gives that.
    pub(super) fn hold(&mut self, place: Place) -> u64 {
        let number = self.number(place);
        if number != ROOT {
            let (_, lookups) = self.held.entry(number).or_insert((place, 0));
            *lookups = lookups.saturating_add(1);
        }
        number
    }

    /// Notes that the kernel has let go of a number so many times.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some((_, left)) = self.held.get_mut(&number) else {
            return;
        };
        *left = left.saturating_sub(lookups);
        if *left == 0 {
            self.held.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::tree::ViewId;

    #[test]
    fn a_number_stands_for_one_place_until_the_kernel_lets_go_of_it() {
        let mut inodes = Inodes::new(Place::Folder(0));
        let (one, two) = (Place::View(ViewId::now(1)), Place::View(ViewId::now(2)));
        let number = inodes.number(one);
        assert_eq!(inodes.place(number), None);
        assert_eq!((inodes.hold(one), inodes.hold(one)), (number, number));
        assert_ne!(inodes.hold(two), number);
        inodes.forget(number, 1);
        assert_eq!(inodes.place(number), Some(one));
        inodes.forget(number, 1);
        inodes.forget(number, 1);
        assert_eq!(inodes.place(number), None);
        assert_eq!(inodes.number(one), number);
    }

    #[test]
    fn the_mount_itself_is_never_let_go_of() {
        let mut inodes = Inodes::new(Place::Folder(0));
        assert_eq!(inodes.hold(Place::Folder(0)), ROOT);
        inodes.forget(ROOT, u64::MAX);
        assert_eq!(inodes.place(ROOT), Some(Place::Folder(0)));
    }

    #[test]
    fn a_number_that_is_taken_is_given_to_no_other_place() {
        let mut inodes = Inodes::new(Place::Folder(0));
        let (one, two) = (Place::Folder(1), Place::Folder(2));
        let taken = inodes.number(one);
        inodes.held.insert(taken, (two, 1));
        let number = inodes.hold(one);
        assert_ne!(number, taken);
        assert_eq!(inodes.place(number), Some(one));
    }
}
