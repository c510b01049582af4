//! The fabric's clock: time since its start, on the kernel's monotonic clock, which every process of the host
//! shares. Whoever knows the start, and how much slower it runs, can tell the fabric's time without asking.
//!
//! Where a machine is too slow for all its members, time itself can run slower for them and for the network between them, so that
//! in their eyes the machine is as many times faster (time dilation: Gupta et al., NSDI 2006).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The kernel's monotonic clock, as time since boot.
#[must_use]
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A clock that stood at zero at a point of the kernel's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    start: Duration,
    dilation: u32,
}

impl Clock {
    /// A clock that stands at zero now.
    #[must_use]
    pub fn starting_now() -> Self {
        Self::since(monotonic())
    }

    /// A clock that stood at zero when the monotonic clock showed `start`.
    #[must_use]
    pub const fn since(start: Duration) -> Self {
        Self { start, dilation: 1 }
    }

    /// The same clock, which runs so many times slower than the kernel's; 0 counts as 1.
    #[must_use]
    pub const fn dilated(self, dilation: u32) -> Self {
        let dilation = if dilation == 0 { 1 } else { dilation };
        Self { start: self.start, dilation }
    }

    /// A clock that runs as this one does, and stood at zero when the monotonic clock showed `start`.
    #[must_use]
    pub const fn started(self, start: Duration) -> Self {
        Self { start, ..self }
    }

    /// What the monotonic clock showed at zero.
    #[must_use]
    pub const fn start(self) -> Duration {
        self.start
    }

    /// The time now; zero before the start.
    #[must_use]
    pub fn now(self) -> Duration {
        self.time_at(monotonic())
    }

    /// What the monotonic clock shows at a time of this one.
    #[must_use]
    pub fn monotonic_at(self, time: Duration) -> Duration {
        self.start + self.real(time)
    }

    /// What this clock shows when the monotonic one shows `instant`; zero before the start.
    #[must_use]
    pub fn time_at(self, instant: Duration) -> Duration {
        instant.saturating_sub(self.start) / self.dilation
    }

    /// How long a span of this clock is on the kernel's.
    #[must_use]
    pub fn real(self, span: Duration) -> Duration {
        span.saturating_mul(self.dilation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dilated_clock_runs_so_many_times_slower() {
        let start = monotonic().saturating_sub(Duration::from_secs(40));
        let now = Clock::since(start).dilated(8).now();
        assert!(now >= Duration::from_secs(5) && now < Duration::from_secs(30), "{now:?}");
        let clock = Clock::since(Duration::from_secs(3)).dilated(8);
        assert_eq!(clock.monotonic_at(Duration::from_secs(2)), Duration::from_secs(19));
        assert_eq!(clock.time_at(Duration::from_secs(19)), Duration::from_secs(2));
        assert_eq!(Clock::since(start).dilated(0), Clock::since(start));
    }
}
