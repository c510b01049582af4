//! What is to be done when.

use std::collections::BTreeMap;
use std::time::Duration;

/// Things to do in the order of their times; of several at one time the first that was put down comes first.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    items: BTreeMap<(Duration, u64), T>,
    next: u64,
}

impl<T> Agenda<T> {
    /// Nothing to do.
    pub(super) fn new() -> Self {
        Self { items: BTreeMap::new(), next: 0 }
    }

    /// Puts something down for this time.
    pub(super) fn put(&mut self, at: Duration, item: T) {
        self.items.insert((at, self.next), item);
        self.next += 1;
    }

    /// Takes what comes next, if it is before `end`.
    pub(super) fn take_before(&mut self, end: Duration) -> Option<(Duration, T)> {
        let next = self.items.first_entry().filter(|next| next.key().0 < end)?;
        let ((at, _), item) = next.remove_entry();
        Some((at, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_comes_first_and_what_is_later_stays() {
        let mut agenda = Agenda::new();
        for (seconds, item) in [(3, "c"), (1, "a"), (9, "d"), (1, "b")] {
            agenda.put(Duration::from_secs(seconds), item);
        }
        let end = Duration::from_secs(9);
        let taken: Vec<&str> = std::iter::from_fn(|| Some(agenda.take_before(end)?.1)).collect();
        assert_eq!(taken, ["a", "b", "c"]);
        assert_eq!(agenda.take_before(end * 2), Some((end, "d")));
    }
}
