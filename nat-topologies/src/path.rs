//! What wires do: loss, jitter, rates and queues, as data. The state lives in `internet::wire`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::TopologyError;

/// Bursts of loss (Gilbert and Elliott): a path is good or bad, and may change before each packet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Probability that a good path turns bad, 0 to 1.
    pub enter: f64,
    /// Probability that a bad path turns good, 0 to 1.
    pub leave: f64,
    /// Share of packets that a bad path loses, 0 to 1.
    pub loss: f64,
}

/// Which packets a path loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Share of packets lost independently, 0 to 1.
    pub independent: f64,
    /// Bursts on top of that.
    pub burst: Option<Burst>,
}

impl Loss {
    /// Says which of these shares cannot be.
    pub(crate) fn check(&self) -> Result<(), TopologyError> {
        let burst = self.burst.map(|Burst { enter, leave, loss }| [enter, leave, loss]);
        let mut shares = burst.into_iter().flatten().chain([self.independent]);
        match shares.find(|share| !(0.0..=1.0).contains(share)) {
            Some(share) => Err(TopologyError::new(format!("{share} is no share from 0 to 1")).key("loss")),
            None => Ok(()),
        }
    }
}

/// What all paths between sites have in common.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// Up to this much is added to the delay, evenly.
    pub jitter: Duration,
    /// Jitter may reorder the packets of a path; otherwise it drifts slowly enough to keep their order.
    pub reorder: bool,
    /// Loss, applied once a packet, at the sender's site.
    pub loss: Loss,
    /// One-way delay between two lines of one site.
    pub within_site: Duration,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            jitter: Duration::ZERO,
            reorder: false,
            loss: Loss::default(),
            within_site: Duration::from_micros(500),
        }
    }
}

/// A bottleneck with a first-in first-out queue in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Bits per second, 1 or more.
    pub bits_per_second: u64,
    /// Bytes that may wait; what comes beyond that is lost.
    pub queue: u32,
}

/// The access link of a host or a gateway: its line to the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One-way delay of the line itself.
    pub delay: Duration,
    /// Limit towards the outside.
    pub up: Option<Rate>,
    /// Limit from the outside.
    pub down: Option<Rate>,
    /// Largest IP packet in bytes; larger ones are answered with an ICMP error, as if all had DF set.
    pub mtu: Option<u16>,
}

/// A duration in nanoseconds, at most 584 years.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}
