//! The queue of what happens next: a 4-ary heap in a total order, and the one wake that each host may have in it.
//!
//! It never compares slots: time first, then the sequence number, which no two entries share.

use atoll_core::Time;

const ARITY: usize = 4;
const ABSENT: u32 = u32::MAX;

/// When and what: `slot` names a datagram in flight or a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) time: Time,
    pub(crate) sequence: u64,
    pub(crate) slot: u32,
}

impl Entry {
    pub(crate) fn before(&self, other: &Self) -> bool {
        (self.time, self.sequence) < (other.time, other.sequence)
    }
}

/// Hears where each entry of a heap lies.
pub(crate) trait Track {
    /// `slot` lies at `position` now.
    fn placed(&mut self, slot: u32, position: usize);
}

impl Track for () {
    fn placed(&mut self, _slot: u32, _position: usize) {}
}

/// A 4-ary min-heap: shallower than a binary one, and the four children share one or two cache lines.
#[derive(Debug, Default)]
pub(crate) struct Heap<T> {
    entries: Vec<Entry>,
    track: T,
}

impl<T: Track> Heap<T> {
    pub(crate) fn first(&self) -> Option<&Entry> {
        self.entries.first()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.rise(self.entries.len() - 1, entry);
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let first = *self.entries.first()?;
        self.remove(0);
        Some(first)
    }

    /// Removes the entry at `position`, which must exist.
    fn remove(&mut self, position: usize) {
        let last = self.entries.pop().expect("the caller saw an entry");
        if position < self.entries.len() {
            self.replace(position, last);
        }
    }

    /// Puts `entry` in place of the one at `position`.
    fn replace(&mut self, position: usize, entry: Entry) {
        if entry.before(&self.entries[position]) {
            self.rise(position, entry);
        } else {
            self.sink(position, entry);
        }
    }

    fn rise(&mut self, mut hole: usize, entry: Entry) {
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if !entry.before(&self.entries[parent]) {
                break;
            }
            self.place(hole, self.entries[parent]);
            hole = parent;
        }
        self.place(hole, entry);
    }

    fn sink(&mut self, mut hole: usize, entry: Entry) {
        while let Some(child) = self.least_child(hole) {
            if !self.entries[child].before(&entry) {
                break;
            }
            self.place(hole, self.entries[child]);
            hole = child;
        }
        self.place(hole, entry);
    }

    fn least_child(&self, parent: usize) -> Option<usize> {
        let from = parent * ARITY + 1;
        let to = (from + ARITY).min(self.entries.len());
        let mut least = from;
        for child in from + 1..to {
            if self.entries[child].before(&self.entries[least]) {
                least = child;
            }
        }
        (from < to).then_some(least)
    }

    fn place(&mut self, position: usize, entry: Entry) {
        self.entries[position] = entry;
        self.track.placed(entry.slot, position);
    }
}

/// Where each host's wake lies in the heap.
#[derive(Debug, Default)]
pub(crate) struct Positions(Vec<u32>);

impl Track for Positions {
    fn placed(&mut self, slot: u32, position: usize) {
        self.0[slot as usize] = position as u32;
    }
}

/// At most one wake for each host, so that re-arming never makes the queue grow.
///
/// A wake moves forward at once. It moves back only when it comes due, for most deadlines move back again and again
/// before they matter.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    heap: Heap<Positions>,
}

impl Wakes {
    /// Makes room for hosts `0..count`.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.heap.track.0.resize(count, ABSENT);
    }

    pub(crate) fn first(&self) -> Option<&Entry> {
        self.heap.first()
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Wakes the host of `entry.slot` no later than `entry.time`.
    pub(crate) fn arm(&mut self, entry: Entry) {
        match self.position(entry.slot) {
            None => self.heap.push(entry),
            Some(at) if entry.time < self.heap.entries[at].time => self.heap.rise(at, entry),
            Some(_) => {}
        }
    }

    /// Moves the first wake back to `entry.time`; the host stays the same.
    pub(crate) fn put_off_first(&mut self, entry: Entry) {
        debug_assert_eq!(self.heap.first().map(|first| first.slot), Some(entry.slot), "only its own wake");
        self.heap.sink(0, entry);
    }

    /// Forgets the wake of `host`, if there is one.
    pub(crate) fn disarm(&mut self, host: u32) {
        if let Some(at) = self.position(host) {
            self.heap.remove(at);
            self.heap.track.0[host as usize] = ABSENT;
        }
    }

    fn position(&self, host: u32) -> Option<usize> {
        let at = self.heap.track.0[host as usize];
        (at != ABSENT).then_some(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(time: u64, sequence: u64, slot: u32) -> Entry {
        Entry { time: Time::from_nanos(time), sequence, slot }
    }

    proptest! {
        #[test]
        fn entries_come_out_by_time_and_at_equal_times_as_they_went_in(times in prop::collection::vec(0..50u64, 0..300)) {
            let mut heap = Heap::<()>::default();
            for (sequence, time) in times.iter().enumerate() {
                heap.push(entry(*time, sequence as u64, 0));
            }
            let out: Vec<_> = std::iter::from_fn(|| heap.pop()).map(|e| (e.time, e.sequence)).collect();
            let mut sorted = out.clone();
            sorted.sort();
            prop_assert_eq!(out.len(), times.len());
            prop_assert_eq!(out, sorted);
        }

        #[test]
        fn a_host_has_at_most_one_wake_and_the_first_is_the_earliest(
            steps in prop::collection::vec((0..8u32, 0..100u64, 0..4u8), 1..300),
        ) {
            let mut wakes = Wakes::default();
            wakes.reserve(8);
            let mut naive: Vec<Option<(u64, u64)>> = vec![None; 8];
            for (sequence, (host, time, verb)) in (0..).zip(steps) {
                match (verb, wakes.first().copied()) {
                    (0, _) => {
                        wakes.disarm(host);
                        naive[host as usize] = None;
                    }
                    (1, Some(first)) => {
                        wakes.put_off_first(entry(first.time.as_nanos() + time, sequence, first.slot));
                        naive[first.slot as usize] = Some((first.time.as_nanos() + time, sequence));
                    }
                    _ => {
                        wakes.arm(entry(time, sequence, host));
                        let known = &mut naive[host as usize];
                        if known.is_none_or(|(at, _)| time < at) {
                            *known = Some((time, sequence));
                        }
                    }
                }
                let first = wakes.first().map(|e| (e.time.as_nanos(), e.sequence));
                prop_assert_eq!(first, naive.iter().flatten().min().copied());
                prop_assert_eq!(wakes.len(), naive.iter().flatten().count());
            }
        }
    }
}
