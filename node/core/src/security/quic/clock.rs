//! Clocks that quinn and rustls ask for, without one that runs by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::security::Wall;
use crate::time::Time;

/// A point in time as quinn knows it.
pub(super) type Moment = Instant;

/// Our time as quinn wants it. The type has no other beginning than the OS clock, which is read once; only differences
/// to that reading exist, and those are ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    base: Moment,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { base: Instant::now() }
    }

    pub(super) fn moment(&self, time: Time) -> Moment {
        self.base + Duration::from_nanos(time.as_nanos())
    }

    /// The time of a moment. Both have nanoseconds: nothing is rounded, so no timer fires early.
    pub(super) fn time(&self, moment: Moment) -> Time {
        Time::ZERO + moment.saturating_duration_since(self.base)
    }
}

/// The wall clock for rustls, which stands still until it is set. Verifiers of ours do not look at it.
#[derive(Debug, Default)]
pub(super) struct WallClock(AtomicU64);

impl WallClock {
    pub(super) fn set(&self, wall: Wall) {
        self.0.store(wall.0, Ordering::Relaxed);
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_way_to_a_moment_and_back() {
        let clock = Clock::new();
        for nanos in [0, 1, 999, 1_000_001, u64::MAX / 4] {
            let time = Time::from_nanos(nanos);
            assert_eq!(clock.time(clock.moment(time)), time);
        }
    }

    #[test]
    fn the_wall_clock_says_what_it_was_told() {
        let clock = WallClock::default();
        clock.set(Wall(77));
        assert_eq!(clock.current_time().map(|time| time.as_secs()), Some(77));
    }
}
