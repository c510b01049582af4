//! Service: what a member passes on between two of its peers that cannot reach each other, and no more than that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::RelayConfig;
use crate::time::Time;
use crate::wire::Address;

/// How long a pair that is silent keeps its place at most: longer than an edge at rest is.
const IDLE: Duration = Duration::from_secs(150);
/// The same of a pair that has only tried to begin an edge.
const IDLE_BEGINNING: Duration = Duration::from_secs(10);
/// The same of a pair that has just begun one. It grows with the time since then, faster than the silences of an edge do.
const IDLE_NEW: Duration = Duration::from_secs(30);

/// Two peers that something passed between.
#[derive(Clone, Copy, Debug)]
struct Pair {
    /// Since when there were records and not only handshakes.
    since: Option<Time>,
    last: Time,
}

impl Pair {
    fn is_alive(&self, now: Time) -> bool {
        let kept = self.since.map_or(IDLE_BEGINNING, |since| IDLE.min(IDLE_NEW + self.last.since(since)));
        self.last + kept > now
    }
}

/// What a relayed packet brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A part of a handshake.
    Handshake,
    /// A sealed record of an edge that stands.
    Record,
}

/// The pairs that a member relays for, and the bytes that it has left for them.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    pairs: BTreeMap<(Address, Address), Pair>,
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
    /// for long gives its place up, and sooner if it never came to anything.
    pub fn admit(
        &mut self,
        (one, other): (Address, Address),
        (len, content): (usize, Content),
        now: Time,
    ) -> bool {
        let pair = (one.min(other), one.max(other));
        if !self.pairs.contains_key(&pair) && self.pairs.len() >= self.config.pairs {
            self.pairs.retain(|_, pair| pair.is_alive(now));
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
        let pair = self.pairs.entry(pair).or_insert(Pair { since: None, last: now });
        pair.last = now;
        if content == Content::Record {
            pair.since.get_or_insert(now);
        }
        true
    }

    /// Pairs that were heard lately.
    #[must_use]
    pub fn pairs(&self, now: Time) -> usize {
        self.pairs.values().filter(|pair| pair.is_alive(now)).count()
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
        let one = (1, Content::Record);
        assert!(relay.admit((at(1), at(2)), one, Time::ZERO));
        assert!(relay.admit((at(3), at(1)), one, Time::ZERO) && relay.admit((at(1), at(3)), one, Time::ZERO));
        assert!(!relay.admit((at(2), at(3)), one, Time::ZERO) && relay.pairs(Time::ZERO) == 2);
        assert!(relay.admit((at(2), at(3)), one, Time::from_secs(151)));
        assert_eq!(relay.pairs(Time::from_secs(151)), 1);
    }

    #[test]
    fn a_pair_keeps_its_place_through_the_silences_of_an_edge_and_one_that_came_to_nothing_gives_it_up_soon()
    {
        let (mut relay, pair) = (relay(), (at(1), at(2)));
        let secs = Time::from_secs;
        assert!(relay.admit(pair, (1, Content::Handshake), secs(1)));
        assert_eq!([relay.pairs(secs(10)), relay.pairs(secs(11))], [1, 0]);
        // An edge at rest says something after 25, 50, 100 and again 100 s at most.
        for at in [20, 45, 95, 195, 295] {
            assert!(relay.pairs(secs(at)) == 1 || at == 20, "{at}");
            assert!(relay.admit(pair, (1, Content::Record), secs(at)));
        }
        assert_eq!([relay.pairs(secs(444)), relay.pairs(secs(445))], [1, 0]);
    }

    #[test]
    fn all_pairs_together_get_so_many_bytes_a_second() {
        let mut relay = relay();
        assert!(relay.admit((at(1), at(2)), (900, Content::Record), Time::ZERO));
        assert!(!relay.admit((at(1), at(3)), (101, Content::Record), Time::ZERO));
        assert!(relay.admit((at(1), at(3)), (600, Content::Record), Time::ZERO + Duration::from_millis(500)));
        assert!(!relay.admit((at(1), at(3)), (1001, Content::Record), Time::from_secs(9)));
        assert_eq!(relay.bytes(), 1500);
    }
}
