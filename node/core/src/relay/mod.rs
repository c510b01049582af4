//! Service: what a member passes on between two of its peers that cannot reach each other, and no more than that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::RelayConfig;
use crate::time::Time;
use crate::wire::Address;

/// How long a pair that is silent keeps its place.
const IDLE: Duration = Duration::from_secs(150);

/// The pairs that a member relays for, and the bytes that it has left for them.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    pairs: BTreeMap<(Address, Address), Time>,
    /// Bytes that may pass at `since`: a bucket that holds one second.
    budget: f64,
    since: Time,
    bytes: u64,
}

impl Relay {
    /// A member that relays for nobody yet.
    #[must_use]
    pub fn new(config: RelayConfig, now: Time) -> Self {
        let budget = config.bytes_per_second as f64;
        Self { config, pairs: BTreeMap::new(), budget, since: now, bytes: 0 }
    }

    /// Whether a packet of `len` bytes may pass between two members. A new pair needs a free place; one that was silent
    /// for long gives its place up.
    pub fn admit(&mut self, (one, other): (Address, Address), len: usize, now: Time) -> bool {
        let pair = (one.min(other), one.max(other));
        if !self.pairs.contains_key(&pair) && self.pairs.len() >= self.config.pairs {
            self.pairs.retain(|_, last| *last + IDLE > now);
            if self.pairs.len() >= self.config.pairs {
                return false;
            }
        }
        let rate = self.config.bytes_per_second as f64;
        self.budget = (self.budget + rate * now.since(self.since).as_secs_f64()).min(rate);
        self.since = now;
        if self.budget < len as f64 {
            return false;
        }
        self.budget -= len as f64;
        self.bytes += len as u64;
        self.pairs.insert(pair, now);
        true
    }

    /// Pairs that were heard lately.
    #[must_use]
    pub fn pairs(&self, now: Time) -> usize {
        self.pairs.values().filter(|last| **last + IDLE > now).count()
    }

    /// Bytes of packets that passed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(byte: u8) -> Address {
        Address::from_bytes([byte; Address::LEN])
    }

    fn relay() -> Relay {
        Relay::new(RelayConfig { pairs: 2, bytes_per_second: 1000 }, Time::ZERO)
    }

    #[test]
    fn a_new_pair_needs_a_free_place_and_a_silent_one_gives_its_up() {
        let mut relay = relay();
        assert!(relay.admit((at(1), at(2)), 1, Time::ZERO));
        assert!(relay.admit((at(3), at(1)), 1, Time::ZERO) && relay.admit((at(1), at(3)), 1, Time::ZERO));
        assert!(!relay.admit((at(2), at(3)), 1, Time::ZERO) && relay.pairs(Time::ZERO) == 2);
        assert!(relay.admit((at(2), at(3)), 1, Time::from_secs(151)));
        assert_eq!(relay.pairs(Time::from_secs(151)), 1);
    }

    #[test]
    fn all_pairs_together_get_so_many_bytes_a_second() {
        let mut relay = relay();
        assert!(relay.admit((at(1), at(2)), 900, Time::ZERO));
        assert!(!relay.admit((at(1), at(3)), 101, Time::ZERO));
        assert!(relay.admit((at(1), at(3)), 600, Time::ZERO + Duration::from_millis(500)));
        assert!(!relay.admit((at(1), at(3)), 1001, Time::from_secs(9)));
        assert_eq!(relay.bytes(), 1500);
    }
}
