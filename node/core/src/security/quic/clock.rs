//! Clocks that quinn and rustls ask for, without one that runs by itself.

use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

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

/// The wall clock for rustls, which stands still: verifiers of ours do not look at it, trust rules have another.
#[derive(Debug)]
pub(super) struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
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
}
