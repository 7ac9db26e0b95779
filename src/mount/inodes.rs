//! Which inode number stands for what. Most numbers say it themselves: a guest's file has the number of its inode there
//! behind that of its tree, so that nothing is kept of the millions of files that the kernel may hold. Of all others it
//! is kept what they stand for, until the kernel lets go of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::guest::filesystem::NodeId;

use super::tree::{Place, ViewId};

/// The number of the mount itself (`FUSE_ROOT_ID`).
const ROOT: u64 = 1;

/// The first number that is given to anything else: programs take small ones for something special.
const FIRST: u64 = 1 << 32;

/// Says of a number that it holds those of a tree and of a file in it.
const SPEAKS: u64 = 1 << 62;

/// Bits for the number of a file in its tree: inodes of ext4 have 32, those of XFS 40 on half a pebibyte.
const FILE_BITS: u32 = 40;

/// Trees that have numbers at most.
const MOST_TREES: usize = 1 << 16;

/// A tree of files: the image, the volume on it, and of a Btrfs the subvolume.
type FileTree = (ViewId, u16, u64);

/// The inode numbers of a mount. A place has the same number each time, as long as no two places come to the same one.
#[derive(Debug)]
pub(super) struct Inodes {
    root: Place,
    /// By their numbers.
    trees: Vec<FileTree>,
    tree_numbers: HashMap<FileTree, u64>,
    /// What the kernel holds of all else, and how often it looked each up.
    held: HashMap<u64, (Place, u64)>,
    numbers: RandomState,
}

impl Inodes {
    /// None but the number of the mount itself.
    #[must_use]
    pub(super) fn new(root: Place) -> Self {
        Self {
            root,
            trees: Vec::new(),
            tree_numbers: HashMap::new(),
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
        if number & SPEAKS == 0 {
            return self.held.get(&number).map(|(place, _)| *place);
        }
        let tree = usize::try_from((number & !SPEAKS) >> FILE_BITS).ok()?;
        let (view, volume, tree) = *self.trees.get(tree)?;
        let number = number & ((1 << FILE_BITS) - 1);
        Some(Place::Node(view, volume, NodeId { tree, number }))
    }

    /// The number of a place.
    pub(super) fn number(&mut self, place: Place) -> u64 {
        if place == self.root {
            return ROOT;
        }
        if let Some(number) = self.speaking(place) {
            return number;
        }
        let hash = |hash: u64| (hash & (SPEAKS - 1)).max(FIRST);
        let mut number = hash(self.numbers.hash_one(place));
        while self.held.get(&number).is_some_and(|(of, _)| *of != place) {
            number = hash(number + 1);
        }
        number
    }

    /// The number that says itself what it stands for, where there is one.
    fn speaking(&mut self, place: Place) -> Option<u64> {
        let Place::Node(view, volume, node) = place else {
            return None;
        };
        if node.number >> FILE_BITS > 0 {
            return None;
        }
        let tree = (view, volume, node.tree);
        let number = match self.tree_numbers.get(&tree) {
            Some(number) => *number,
            None if self.trees.len() < MOST_TREES => {
                let number = self.trees.len() as u64;
                self.trees.push(tree);
                self.tree_numbers.insert(tree, number);
                number
            }
            None => return None,
        };
        Some(SPEAKS | number << FILE_BITS | node.number)
    }

    /// Notes that the kernel was told the number of a place once more, and gives that.
    pub(super) fn hold(&mut self, place: Place) -> u64 {
        let number = self.number(place);
        if number != ROOT && number & SPEAKS == 0 {
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

    fn view(image: u32) -> Place {
        Place::View(ViewId::now(image))
    }

    fn file(volume: u16, tree: u64, number: u64) -> Place {
        Place::Node(ViewId::now(3), volume, NodeId { tree, number })
    }

    #[test]
    fn a_number_stands_for_one_place_until_the_kernel_lets_go_of_it() {
        let mut inodes = Inodes::new(Place::Folder(0));
        let number = inodes.number(view(1));
        assert_eq!(inodes.place(number), None);
        assert_eq!(
            (inodes.hold(view(1)), inodes.hold(view(1))),
            (number, number)
        );
        assert_ne!(inodes.hold(view(2)), number);
        inodes.forget(number, 1);
        assert_eq!(inodes.place(number), Some(view(1)));
        inodes.forget(number, 1);
        inodes.forget(number, 1);
        assert_eq!(inodes.place(number), None);
        assert_eq!(inodes.number(view(1)), number);
    }

    #[test]
    fn the_number_of_a_guests_file_says_what_it_stands_for() {
        let mut inodes = Inodes::new(Place::Folder(0));
        let files = [
            file(0, 0, 2),
            file(0, 0, (1 << FILE_BITS) - 1),
            file(0, 0, 0),
            file(1, 0, 2),
            file(0, 256, 2),
        ];
        let numbers = files.map(|file| inodes.hold(file));
        assert!(inodes.held.is_empty());
        for (file, number) in files.into_iter().zip(numbers) {
            inodes.forget(number, 1);
            assert_eq!(inodes.place(number), Some(file));
        }
        // One that is too long for that, and one of one tree too many, are held as all else is.
        let long = file(0, 0, 1 << FILE_BITS);
        let number = inodes.hold(long);
        assert_eq!(inodes.place(number), Some(long));
        for tree in 0..MOST_TREES as u64 {
            inodes.number(file(9, tree, 1));
        }
        let late = file(10, 0, 1);
        let number = inodes.hold(late);
        assert_eq!(inodes.place(number), Some(late));
        assert_eq!(inodes.held.len(), 2);
        // Nobody was ever given these.
        assert_eq!(inodes.place(SPEAKS | (1 << 60)), None);
        assert_eq!(inodes.place(u64::MAX), None);
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
        let taken = inodes.number(view(1));
        inodes.held.insert(taken, (view(2), 1));
        let number = inodes.hold(view(1));
        assert_ne!(number, taken);
        assert_eq!(inodes.place(number), Some(view(1)));
    }
}
