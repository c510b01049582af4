//! The only reader of the OS clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atoll_core::Time;
use tokio::time::Instant;

/// Monotonic time since the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    dilation: u32,
}

impl Clock {
    /// A clock that reads zero now; make it first of all.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), dilation: 1 }
    }

    /// The same clock, whose monotonic time runs so many times slower.
    #[must_use]
    pub fn dilated(self, dilation: u32) -> Self {
        Self { dilation: dilation.max(1), ..self }
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed() / self.dilation
    }

    /// What the wall clock says, in seconds since 1970 (UTC).
    #[must_use]
    pub fn wall(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// How long a span of its time really takes.
    #[must_use]
    pub fn real(&self, span: Duration) -> Duration {
        span.saturating_mul(self.dilation)
    }

    /// The moment that `time` stands for.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.start + self.real(time.since(Time::ZERO))
    }
}
