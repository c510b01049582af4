//! What the node keeps in the DHT: renewed at half of its lease until it is released. A lease cannot be taken back, and
//! who has been here for long is likely to stay, so that the first one is short, and each is twice as long as the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{How, Origin, Write};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Key;

/// Values that one member keeps at most; more are refused.
pub const KEEPS_MAX: usize = 256;
/// The longest first lease.
const LEASE_FIRST: Duration = Duration::from_secs(240);
/// The first wait after a renewal failed; it doubles.
const BACK_OFF: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Keep {
    how: How,
    /// With the longest lease that it shall have.
    write: Write,
    /// The next one.
    lease: Duration,
    /// Who waits for what becomes of the first writing.
    origin: Option<Origin>,
    next: Time,
    failures: u32,
}

/// Everything that is kept.
#[derive(Debug)]
pub(super) struct Keeping {
    rng: Rng,
    last: u64,
    keeps: BTreeMap<u64, Keep>,
}

impl Keeping {
    pub(super) fn new(rng: &Rng) -> Self {
        Self { rng: rng.fork("keeping"), last: 0, keeps: BTreeMap::new() }
    }

    /// Values that are kept.
    pub(super) fn len(&self) -> usize {
        self.keeps.len()
    }

    /// Keeps a value from now on, in place of the same value or, under an owned key, of any; false if there is no room.
    pub(super) fn insert(&mut self, origin: Origin, how: How, write: Write, now: Time) -> bool {
        let is_owned = matches!(write.key, Key::Owned { .. });
        self.keeps
            .retain(|_, keep| keep.write.key != write.key || !(is_owned || keep.write.value == write.value));
        if self.keeps.len() == KEEPS_MAX {
            return false;
        }
        self.last += 1;
        let lease = write.lease.min(LEASE_FIRST);
        let keep = Keep { how, write, lease, origin: Some(origin), next: now, failures: 0 };
        self.keeps.insert(self.last, keep);
        true
    }

    /// Renews a value no more.
    pub(super) fn release(&mut self, key: &Key, value: &[u8]) {
        self.keeps.retain(|_, keep| keep.write.key != *key || keep.write.value != value);
    }

    /// A renewal that is due; the next one is then scheduled as if it will fail.
    pub(super) fn due(&mut self, now: Time) -> Option<(u64, How, Write)> {
        let (id, keep) = self.keeps.iter_mut().find(|(_, keep)| keep.next <= now)?;
        let wait = BACK_OFF.saturating_mul(1 << keep.failures.min(8)).min(BACK_OFF_MAX).min(keep.lease / 4);
        // No sooner than the renewal under way has given up.
        keep.next = now + super::operation::PATIENCE + self.rng.jitter(wait, 0.3);
        keep.failures += 1;
        Some((*id, keep.how, Write { lease: keep.lease, ..keep.write.clone() }))
    }

    /// What became of a writing; returns who waits for that.
    pub(super) fn on_outcome(&mut self, id: u64, granted: Option<Duration>, now: Time) -> Option<Origin> {
        let keep = self.keeps.get_mut(&id)?;
        if let Some(lease) = granted {
            keep.failures = 0;
            keep.lease = (keep.lease * 2).min(keep.write.lease);
            keep.next = now + self.rng.jitter(lease / 2, 0.1);
        }
        keep.origin.take()
    }

    /// When the next renewal is due.
    pub(super) fn poll_timeout(&self) -> Time {
        self.keeps.values().map(|keep| keep.next).min().unwrap_or(Time::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u8) -> Write {
        Write { key: Key::named("a"), value: vec![value], lease: Duration::from_secs(100) }
    }

    #[test]
    fn a_kept_value_is_renewed_at_half_of_its_lease_until_released() {
        let mut keeping = Keeping::new(&Rng::new([1; 32]));
        let origin = Origin::Node(7);
        assert!(keeping.insert(origin, How::Append, write(1), Time::ZERO));
        let (mut now, mut waits) = (Time::ZERO, Vec::new());
        for turn in 0..20 {
            let (id, _, _) = keeping.due(now).unwrap();
            let waiting = keeping.on_outcome(id, Some(Duration::from_secs(100)), now);
            assert_eq!(waiting, Some(origin).filter(|_| turn == 0));
            let waited = keeping.poll_timeout().since(now).as_secs_f64();
            assert!((45.0..=55.0).contains(&waited), "{waited}");
            waits.push(waited);
            now = keeping.poll_timeout();
        }
        let spread = waits.iter().copied().fold(0.0, f64::max) - waits.iter().copied().fold(100.0, f64::min);
        assert!(spread > 3.0, "renewals come together: {waits:?}");
        keeping.release(&Key::named("a"), &[1]);
        assert_eq!(keeping.poll_timeout(), Time::MAX);
    }

    #[test]
    fn leases_grow_with_the_time_that_a_value_is_kept() {
        let mut keeping = Keeping::new(&Rng::new([1; 32]));
        let wanted = Write { lease: Duration::from_secs(1800), ..write(1) };
        keeping.insert(Origin::Node(1), How::Append, wanted, Time::ZERO);
        let mut leases = Vec::new();
        while leases.len() < 5 {
            let now = keeping.poll_timeout();
            let (id, _, Write { lease, .. }) = keeping.due(now).unwrap();
            keeping.on_outcome(id, Some(lease), now);
            leases.push(lease.as_secs());
        }
        assert_eq!(leases, [240, 480, 960, 1800, 1800]);
    }

    #[test]
    fn a_renewal_that_fails_is_tried_again_well_before_the_lease_ends() {
        let mut keeping = Keeping::new(&Rng::new([1; 32]));
        keeping.insert(Origin::Node(1), How::Append, write(1), Time::ZERO);
        let first = keeping.poll_timeout();
        assert_eq!(first, Time::ZERO);
        keeping.due(first).unwrap();
        assert!(keeping.due(first).is_none());
        assert!(keeping.poll_timeout() < first + Duration::from_secs(20));
    }

    #[test]
    fn a_full_book_refuses_and_the_same_value_takes_one_place() {
        let mut keeping = Keeping::new(&Rng::new([1; 32]));
        for number in 0..KEEPS_MAX {
            let value = number.to_be_bytes().to_vec();
            assert!(keeping.insert(Origin::Node(1), How::Append, Write { value, ..write(0) }, Time::ZERO));
        }
        assert!(!keeping.insert(Origin::Node(1), How::Append, write(1), Time::ZERO));
        let value = 0usize.to_be_bytes().to_vec();
        assert!(keeping.insert(Origin::Node(1), How::Append, Write { value, ..write(0) }, Time::ZERO));
        assert_eq!(keeping.len(), KEEPS_MAX);
    }
}
