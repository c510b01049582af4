//! What wires do to packets: delay, jitter, loss, partitions, queues. Owns the state of links and sites.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;

use crate::path::nanos;
use crate::{DropReason, Link, Loss, Path, Rate};

/// Jitter that keeps order drifts from one value to the next in at least this time, and never faster than a
/// quarter of real time.
const JITTER_STEP: u64 = 100_000_000;

/// An access link with its queues.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    link: Link,
    up_busy_until: u64,
    down_busy_until: u64,
}

/// Which way a packet crosses an access link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

impl Wire {
    /// The state for a link; `None` if the link does nothing.
    pub(super) fn new(link: Link) -> Option<Self> {
        (link != Link::default()).then_some(Self { link, up_busy_until: 0, down_busy_until: 0 })
    }

    /// The MTU that a packet of this length breaks.
    pub(super) fn broken_mtu(&self, length: u32) -> Option<u16> {
        self.link.mtu.filter(|mtu| length > u32::from(*mtu))
    }

    /// When a packet that reaches the link at `now` is at its other end.
    pub(super) fn cross(&mut self, way: Way, length: u32, now: u64) -> Result<u64, DropReason> {
        let (rate, busy) = match way {
            Way::Up => (self.link.up, &mut self.up_busy_until),
            Way::Down => (self.link.down, &mut self.down_busy_until),
        };
        let sent = match rate {
            Some(rate) => queue(rate, busy, length, now)?,
            None => now,
        };
        Ok(sent + nanos(self.link.delay))
    }
}

fn queue(rate: Rate, busy_until: &mut u64, length: u32, now: u64) -> Result<u64, DropReason> {
    let bits_per_second = u128::from(rate.bits_per_second.max(1));
    let start = now.max(*busy_until);
    let waiting = u128::from(start - now) * bits_per_second / 8_000_000_000;
    if waiting > 0 && waiting + u128::from(length) > u128::from(rate.queue) {
        return Err(DropReason::QueueFull);
    }
    let takes = u128::from(length) * 8_000_000_000 / bits_per_second;
    *busy_until = start.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
    Ok(*busy_until)
}

/// Loss with the state of its bursts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LossState {
    loss: Loss,
    is_bad: bool,
}

impl LossState {
    pub(super) const fn new(loss: Loss) -> Self {
        Self { loss, is_bad: false }
    }

    /// True if the next packet is lost.
    pub(super) fn loses(&mut self, rng: &mut ChaCha8Rng) -> bool {
        if let Some(burst) = self.loss.burst {
            let turn = if self.is_bad { burst.leave } else { burst.enter };
            self.is_bad ^= chance(turn, rng);
            if self.is_bad && chance(burst.loss, rng) {
                return true;
            }
        }
        chance(self.loss.independent, rng)
    }
}

fn chance(probability: f64, rng: &mut ChaCha8Rng) -> bool {
    probability > 0.0 && unit(rng.next_u64()) < probability
}

/// A number from 0 to 1, 1 excluded, from 64 random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// What a site needs at run time.
#[derive(Clone, Copy, Debug)]
pub(super) struct SiteState {
    pub(super) point: u32,
    pub(super) leaving: LossState,
    pub(super) entering: LossState,
    /// Bit n: on this side of partition n.
    pub(super) sides: [u64; 2],
}

impl SiteState {
    /// True if nothing is lost here.
    pub(super) fn is_quiet(&self) -> bool {
        let is_lossless = |state: &LossState| state.loss == Loss::default();
        is_lossless(&self.leaving) && is_lossless(&self.entering) && self.sides == [0; 2]
    }

    pub(super) const fn is_cut_from(&self, other: &Self) -> bool {
        (self.sides[0] & other.sides[1]) | (self.sides[1] & other.sides[0]) != 0
    }
}

/// The jitter of a packet between two points at `now`, in nanoseconds.
pub(super) fn jitter(path: &Path, points: [u32; 2], now: u64, rng: &mut ChaCha8Rng) -> u64 {
    let most = nanos(path.jitter);
    if most == 0 {
        return 0;
    }
    if path.reorder {
        return (unit(rng.next_u64()) * most as f64) as u64;
    }
    let step = JITTER_STEP.max(most.saturating_mul(4));
    let knot = |n: u64| {
        let pair = u64::from(points[0]) << 32 | u64::from(points[1]);
        unit(crate::latency::scramble(crate::latency::scramble(pair) ^ n)) * most as f64
    };
    let (n, part) = (now / step, (now % step) as f64 / step as f64);
    (knot(n) * (1.0 - part) + knot(n + 1) * part) as u64
}
