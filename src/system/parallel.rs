//! Work on many things of a kind, on all processors, or by as many threads as wait for a network.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What comes of each item, in the order of the items; none if `work` gave none for one, after which it is not asked
/// for others. It is called by several threads.
pub fn on_all_processors<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Option<R> + Sync,
) -> Option<Vec<R>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    on_threads(threads, items, work)
}

/// The same by so many threads at most.
pub fn on_threads<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Option<R> + Sync,
) -> Option<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(result) = items.get(at).and_then(&work) else {
                        // Nobody goes on then.
                        next.fetch_max(items.len(), Ordering::Relaxed);
                        return;
                    };
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    let is_whole = done.len() == items.len();
    is_whole.then(|| done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::on_all_processors;

    #[test]
    fn results_come_in_the_order_of_what_they_are_made_of_or_not_at_all() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled = on_all_processors(&items, |item| Some(item * 2)).unwrap();
        assert!(doubled.iter().zip(&items).all(|(two, one)| *two == one * 2));
        assert_eq!(doubled.len(), items.len());
        assert_eq!(
            on_all_processors(&items, |item| (*item != 500).then_some(())),
            None
        );
        assert_eq!(
            on_all_processors(&[], |item: &u32| Some(*item)),
            Some(Vec::new())
        );
    }
}
