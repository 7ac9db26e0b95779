//! Faults of this program itself. A range outside its buffer or a number that does not fit is an error that
//! stops the operation, and never an empty slice, a zero or a skipped write.

use std::ops::Range;
use std::panic::Location;

/// What could not be, and where in the source it was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fault of this program ({what}, {}:{}): nothing more was written. Please report it", .at.file(), .at.line())]
pub struct Fault {
    what: &'static str,
    at: &'static Location<'static>,
}

impl Fault {
    #[track_caller]
    pub(crate) const fn new(what: &'static str) -> Self {
        Self {
            what,
            at: Location::caller(),
        }
    }
}

/// The bytes (or other items) of a range.
///
/// # Errors
/// The range is not inside the buffer.
#[track_caller]
pub(crate) fn part<T>(items: &[T], range: Range<usize>) -> std::result::Result<&[T], Fault> {
    match items.get(range) {
        Some(part) => Ok(part),
        None => Err(Fault::new("a range outside its buffer")),
    }
}

/// The bytes (or other items) of a range, to be changed.
///
/// # Errors
/// The range is not inside the buffer.
#[track_caller]
pub(crate) fn part_mut<T>(
    items: &mut [T],
    range: Range<usize>,
) -> std::result::Result<&mut [T], Fault> {
    match items.get_mut(range) {
        Some(part) => Ok(part),
        None => Err(Fault::new("a range outside its buffer")),
    }
}

/// One item of several.
///
/// # Errors
/// There are not so many.
#[track_caller]
pub(crate) fn item<T>(items: &[T], index: usize) -> std::result::Result<&T, Fault> {
    match items.get(index) {
        Some(item) => Ok(item),
        None => Err(Fault::new("an index outside its list")),
    }
}

/// One item of several, to be changed.
///
/// # Errors
/// There are not so many.
#[track_caller]
pub(crate) fn item_mut<T>(items: &mut [T], index: usize) -> std::result::Result<&mut T, Fault> {
    match items.get_mut(index) {
        Some(item) => Ok(item),
        None => Err(Fault::new("an index outside its list")),
    }
}

/// A number as a length, `most` where it is more than that.
pub(crate) fn at_most(number: u64, most: usize) -> usize {
    usize::try_from(number).map_or(most, |number| number.min(most))
}

/// A number of bytes or entries as an index.
///
/// # Errors
/// It does not fit this machine's addresses.
#[track_caller]
pub(crate) fn index(number: u64) -> std::result::Result<usize, Fault> {
    match usize::try_from(number) {
        Ok(index) => Ok(index),
        Err(_) => Err(Fault::new("a number that is no index")),
    }
}

/// The number of a subcluster as that of its bit.
///
/// # Errors
/// No cluster has so many.
#[track_caller]
pub(crate) fn bit(number: u64) -> std::result::Result<u32, Fault> {
    match u32::try_from(number) {
        Ok(bit) => Ok(bit),
        Err(_) => Err(Fault::new("a number that is no subcluster's")),
    }
}

/// How far `at` lies behind `start`, as an index.
///
/// # Errors
/// It lies before it, or does not fit this machine's addresses.
#[track_caller]
pub(crate) fn distance(start: u64, at: u64) -> std::result::Result<usize, Fault> {
    match at.checked_sub(start).map(usize::try_from) {
        Some(Ok(distance)) => Ok(distance),
        _ => Err(Fault::new("a place before its start")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::error::OfFile;

    #[test]
    fn what_cannot_be_is_an_error_that_says_where() {
        let mut bytes = [1, 2, 3];
        assert_eq!(part(&bytes, 1..3), Ok(&[2, 3][..]));
        assert_eq!(part_mut(&mut bytes, 0..1), Ok(&mut [1][..]));
        *item_mut(&mut bytes, 1).unwrap() = 9;
        assert!(part(&bytes, 1..4).is_err());
        #[allow(clippy::reversed_empty_ranges)] // That is the fault.
        let reversed = part_mut(&mut bytes, 2..1);
        assert!(reversed.is_err());
        assert_eq!((index(7), distance(3, 7)), (Ok(7), Ok(4)));
        assert_eq!((item(&bytes, 1), at_most(u64::MAX, 3)), (Ok(&9), 3));
        assert!(item(&bytes, 3).is_err() && item_mut(&mut bytes, 3).is_err());
        let fault = distance(7, 3).of(Path::new("/vm/a.qcow2")).unwrap_err();
        let said = fault.to_string();
        assert!(
            said.contains("/vm/a.qcow2") && said.contains("internal.rs"),
            "{said}"
        );
    }
}
