//! Neighbours that go on as one run are one item.

use crate::image::error::{Error, Result};

/// The items of an iterator, those joined that `join` makes one of. An error is the last item.
#[derive(Debug)]
pub(crate) struct Joined<I, T, J> {
    items: I,
    join: J,
    held: Option<T>,
    failed: Option<Error>,
    ended: bool,
}

impl<T: Copy, I: Iterator<Item = Result<T>>, J: Fn(&T, &T) -> Option<T>> Joined<I, T, J> {
    pub(crate) const fn new(items: I, join: J) -> Self {
        Self {
            items,
            join,
            held: None,
            failed: None,
            ended: false,
        }
    }
}

impl<T: Copy, I: Iterator<Item = Result<T>>, J: Fn(&T, &T) -> Option<T>> Iterator
    for Joined<I, T, J>
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.items.next() {
                None => self.ended = true,
                Some(Err(error)) => {
                    self.failed = Some(error);
                    self.ended = true;
                }
                Some(Ok(next)) => match self.held {
                    None => self.held = Some(next),
                    Some(run) => match (self.join)(&run, &next) {
                        Some(joined) => self.held = Some(joined),
                        None => return self.held.replace(next).map(Ok),
                    },
                },
            }
        }
        let last = self.held.take().map(Ok);
        last.or_else(|| self.failed.take().map(Err))
    }
}

/// Items that follow each other over `start..end`: each is told by `ask` and goes on where `end_of` says that
/// the one before ends. An error is the last item.
pub(crate) fn in_row<'a, T: 'a>(
    start: u64,
    end: u64,
    ask: impl Fn(u64) -> Result<T> + 'a,
    end_of: impl Fn(&T) -> u64 + 'a,
) -> impl Iterator<Item = Result<T>> + 'a {
    let mut at = start;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let told = ask(at);
        at = told.as_ref().map_or(end, &end_of);
        Some(told)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::ErrorKind;

    fn join(one: &(u32, u32), next: &(u32, u32)) -> Option<(u32, u32)> {
        (one.1 == next.0).then_some((one.0, next.1))
    }

    #[test]
    fn what_was_before_an_error_is_told_before_it() {
        let fault = || Err(Error::new(Path::new("x"), ErrorKind::Loop));
        let items = vec![Ok((0, 1)), Ok((1, 4)), Ok((5, 6)), fault(), Ok((6, 7))];
        let told: Vec<_> = Joined::new(items.into_iter(), join).collect();
        assert!(matches!(told.as_slice(), [Ok((0, 4)), Ok((5, 6)), Err(_)]));
        assert_eq!(Joined::new(std::iter::empty(), join).count(), 0);
    }
}
