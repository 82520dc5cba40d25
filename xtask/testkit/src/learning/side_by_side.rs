//! Several pieces of work on all processors, each of which needs memory: no more at once than there are processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `work` makes of each item, in the items' order.
///
/// # Panics
/// When `work` does.
pub(super) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, made) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(items.len()) {
            scope.spawn(|| {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|item| (at, item))
                } {
                    let one = work(item);
                    if let Ok(mut made) = made.lock() {
                        made.push((at, one));
                    }
                }
            });
        }
    });
    let mut made = made.into_inner().unwrap_or_default();
    made.sort_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::side_by_side;

    #[test]
    fn every_item_is_worked_on_once_and_answers_are_in_order() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(
            side_by_side(&items, |item| item * 2),
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        assert!(side_by_side(&[], |item: &u32| *item).is_empty());
    }
}
