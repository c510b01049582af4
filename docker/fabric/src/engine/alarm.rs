//! Wakes the engine at an instant, to the precision of the kernel's timers. The timeout of an epoll wait would not do:
//! the kernel rounds it up, by milliseconds or by a share of its length.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::Clock;

/// A timer on the kernel's monotonic clock.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    armed: Option<Duration>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { timer: timerfd_create(TimerfdClockId::Monotonic, flags)?, armed: None })
    }

    /// Becomes readable when the instant has come.
    pub(super) fn timer(&self) -> &OwnedFd {
        &self.timer
    }

    /// Sets the next instant, or none. Setting it anew also takes back that it is readable.
    pub(super) fn set(&mut self, clock: Clock, at: Option<Duration>) -> io::Result<()> {
        if self.armed == at {
            return Ok(());
        }
        // An instant of zero would mean no alarm; the clock's start is after the machine's.
        let at_boot = at.map_or(Duration::ZERO, |at| clock.monotonic_at(at));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value =
            Timespec { tv_sec: at_boot.as_secs().cast_signed(), tv_nsec: at_boot.subsec_nanos().into() };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.armed = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn rings(alarm: &Alarm) -> bool {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(alarm.timer(), PollFlags::IN)], Some(&zero)).unwrap() > 0
    }

    #[test]
    fn it_rings_at_the_instant_and_not_before() {
        let clock = Clock::starting_now();
        let mut alarm = Alarm::new().unwrap();
        assert!(!rings(&alarm));
        let at = clock.now() + Duration::from_millis(20);
        alarm.set(clock, Some(at)).unwrap();
        poll(&mut [PollFd::new(alarm.timer(), PollFlags::IN)], None).unwrap();
        assert!(clock.now() >= at);
        alarm.set(clock, Some(at + Duration::from_secs(60))).unwrap();
        assert!(!rings(&alarm), "a later instant takes the ring back");
        alarm.set(clock, None).unwrap();
        assert!(!rings(&alarm));
    }
}
