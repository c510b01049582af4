//! The watch over virtual time: a run that gets nowhere ends with a reason instead of hanging.

use atoll_core::Time;
use atoll_topology::HostId;

/// How much may happen before it counts as getting nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallLimits {
    /// Events at one point of virtual time, for each host of the world; at least 64 hosts are assumed.
    pub events_per_host: u64,
    /// Wakes of one host at one point of virtual time after which it wants the next at once.
    pub wakes: u32,
    /// Outputs of one host after one input.
    pub outputs: u32,
}

impl Default for StallLimits {
    fn default() -> Self {
        Self { events_per_host: 2_000, wakes: 64, outputs: 1_000_000 }
    }
}

/// Why a run ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stalled {
    /// Event follows event, and the clock stands.
    #[error(
        "time stands at {at}: {events} events there and no end, the last at host {}, which waits for {reason:?}",
        host.0
    )]
    Frozen {
        /// Where virtual time stands.
        at: Time,
        /// The host of the last event.
        host: HostId,
        /// What that host's deadline is for.
        reason: &'static str,
        /// Events at that time.
        events: u64,
    },
    /// A machine wants to be woken at once again and again.
    #[error(
        "host {} spins at {at}: woken {wakes} times, now for {reason:?}, and its deadline is still not later than now",
        host.0
    )]
    Spinning {
        /// Where virtual time stands.
        at: Time,
        /// The host of the machine.
        host: HostId,
        /// What its deadline is for.
        reason: &'static str,
        /// Wakes in vain.
        wakes: u32,
    },
    /// A machine's outputs have no end.
    #[error("host {} floods at {at}: {outputs} outputs after one input and no end", host.0)]
    Flooding {
        /// Where virtual time stands.
        at: Time,
        /// The host of the machine.
        host: HostId,
        /// Outputs so far.
        outputs: u32,
    },
}

/// Counts what happens at one point of virtual time.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: StallLimits,
    at: Time,
    events: u64,
}

/// How often one machine was woken in vain at one point of virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spins {
    at: Time,
    wakes: u32,
}

impl Spins {
    /// Notes a wake after which the machine is due at `now` again, and returns how many there were.
    pub(crate) fn note(&mut self, now: Time) -> u32 {
        if now > self.at {
            *self = Self { at: now, wakes: 0 };
        }
        self.wakes += 1;
        self.wakes
    }
}

impl Watch {
    pub(crate) fn new(limits: StallLimits) -> Self {
        Self { limits, at: Time::ZERO, events: 0 }
    }

    pub(crate) fn limits(&self) -> &StallLimits {
        &self.limits
    }

    /// Notes one event; `true` if there are too many at `now`.
    pub(crate) fn event(&mut self, now: Time, hosts: usize) -> bool {
        if now > self.at {
            self.at = now;
            self.events = 0;
        }
        self.events += 1;
        self.events > self.limits.events_per_host.saturating_mul(hosts.max(64) as u64)
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}
