//! What is on its way, by the instant at which it is due. Bounded: when it is full, the newcomer is refused.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Packets on their way at once; at 300 bytes each they take 80 MB.
pub(super) const QUEUE_MAX: usize = 1 << 18;

/// Items in the order of their instants; of one instant, in the order in which they came.
#[derive(Debug)]
pub(super) struct DelayQueue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<T> {
    due: Duration,
    sequence: u64,
    item: T,
}

impl<T> Default for DelayQueue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> DelayQueue<T> {
    /// Takes an item in; gives it back if the queue is full.
    pub(super) fn push(&mut self, due: Duration, item: T) -> Result<(), T> {
        if self.heap.len() >= QUEUE_MAX {
            return Err(item);
        }
        self.sequence += 1;
        self.heap.push(Reverse(Entry { due, sequence: self.sequence, item }));
        Ok(())
    }

    /// The earliest item that is due at `now`, with its instant.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<(Duration, T)> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.due, entry.item))
    }

    /// When the next item is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(entry)| entry.due)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

impl<T> Entry<T> {
    const fn key(&self) -> (Duration, u64) {
        (self.due, self.sequence)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_queue_refuses_the_newcomer() {
        let mut queue = DelayQueue::default();
        for n in 0..QUEUE_MAX {
            queue.push(Duration::ZERO, n).unwrap();
        }
        assert_eq!(queue.push(Duration::ZERO, 7), Err(7));
        assert_eq!(queue.pop_due(Duration::ZERO), Some((Duration::ZERO, 0)));
        assert_eq!(queue.push(Duration::ZERO, 7), Ok(()));
    }

    proptest! {
        #[test]
        fn items_leave_sorted_and_never_early(dues in prop::collection::vec(0..50u64, 0..200), now in 0..60u64) {
            let mut queue = DelayQueue::default();
            for (n, due) in dues.iter().enumerate() {
                queue.push(Duration::from_millis(*due), n).unwrap();
            }
            let now = Duration::from_millis(now);
            let mut expected: Vec<_> = dues.iter().map(|due| Duration::from_millis(*due)).zip(0..).collect();
            expected.sort();
            expected.retain(|(due, _)| *due <= now);
            let left: Vec<_> = std::iter::from_fn(|| queue.pop_due(now)).collect();
            prop_assert_eq!(&left, &expected);
            prop_assert_eq!(queue.len(), dues.len() - left.len());
            prop_assert!(queue.next_due().is_none_or(|due| due > now));
        }
    }
}
