//! The fabric's clock: time since its start, on the kernel's monotonic clock, which every process of the host
//! shares. Whoever knows the start can tell the fabric's time without asking.

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
}

impl Clock {
    /// A clock that stands at zero now.
    #[must_use]
    pub fn starting_now() -> Self {
        Self { start: monotonic() }
    }

    /// A clock that stood at zero when the monotonic clock showed `start`.
    #[must_use]
    pub const fn since(start: Duration) -> Self {
        Self { start }
    }

    /// What the monotonic clock showed at zero.
    #[must_use]
    pub const fn start(self) -> Duration {
        self.start
    }

    /// The time now; zero before the start.
    #[must_use]
    pub fn now(self) -> Duration {
        monotonic().saturating_sub(self.start)
    }
}
