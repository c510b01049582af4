//! Halves of datagrams that wait for the other half.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::buffer::{Buffer, Pool};
use crate::time::Time;
use crate::wire::{Address, Part};

/// Halves that wait at most; beyond, the oldest is given up.
pub const HALVES_MAX: usize = 64;
/// How long a half waits.
const WAIT: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Half {
    second: bool,
    bytes: Buffer,
    since: Time,
}

/// The halves that a member waits with.
#[derive(Debug, Default)]
pub struct Parts(BTreeMap<(Address, u16), Half>);

impl Parts {
    /// Takes what a packet from `source` brought; the datagram, once it is whole.
    pub fn take(&mut self, source: Address, part: Part<'_>, pool: &Pool, now: Time) -> Option<Buffer> {
        let (number, second, bytes) = match part {
            Part::Whole(bytes) => return Some(pool.copy(bytes)),
            Part::Half { number, second, bytes } => (number, second, bytes),
        };
        let key = (source, number);
        let fits = |half: &Half| half.second != second && half.since + WAIT > now;
        if let Some(other) = self.0.remove(&key).filter(fits) {
            let (first, rest): (&[u8], &[u8]) =
                if second { (&other.bytes, bytes) } else { (bytes, &other.bytes) };
            let mut whole = pool.take(first.len() + rest.len());
            whole.extend(first);
            whole.extend(rest);
            return Some(whole);
        }
        if self.0.len() >= HALVES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, half)| half.since).map(|(key, _)| *key);
            oldest.and_then(|key| self.0.remove(&key));
        }
        self.0.insert(key, Half { second, bytes: pool.copy(bytes), since: now });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: [u8; 20] = [7; 20];

    fn take(parts: &mut Parts, body: &[u8], now: Time) -> Option<Vec<u8>> {
        let part = Part::read(body).expect("it is well-formed");
        parts.take(Address::from_bytes(MEMBER), part, &Pool::new(), now).map(|datagram| datagram.to_vec())
    }

    fn halves(datagram: &[u8]) -> [Buffer; 2] {
        let (first, second) = Part::split(Pool::new().copy(datagram), 10, 9);
        [first, second.expect("it is longer than ten bytes")]
    }

    #[test]
    fn a_datagram_is_whole_again_in_either_order() {
        let datagram: Vec<u8> = (0..21).collect();
        let [first, second] = halves(&datagram);
        for (one, other) in [(&first, &second), (&second, &first)] {
            let mut parts = Parts::default();
            assert_eq!(take(&mut parts, one, Time::ZERO), None);
            assert_eq!(take(&mut parts, other, Time::ZERO), Some(datagram.clone()));
            assert!(parts.0.is_empty());
        }
    }

    #[test]
    fn a_short_datagram_travels_in_one_packet() {
        let (whole, none) = Part::split(Pool::new().copy(b"short"), 10, 9);
        assert!(none.is_none());
        assert_eq!(take(&mut Parts::default(), &whole, Time::ZERO).as_deref(), Some(&b"short"[..]));
    }

    #[test]
    fn a_half_that_comes_twice_or_too_late_makes_nothing() {
        let [first, second] = halves(&[1; 30]);
        let mut parts = Parts::default();
        assert_eq!(take(&mut parts, &first, Time::ZERO), None);
        assert_eq!(take(&mut parts, &first, Time::ZERO), None);
        assert_eq!(take(&mut parts, &second, Time::from_secs(4)), None);
    }

    #[test]
    fn a_flood_of_halves_displaces_the_oldest_only() {
        let mut parts = Parts::default();
        for number in 0..=HALVES_MAX as u16 {
            let half = Part::Half { number, second: false, bytes: b"half" };
            let now = Time::ZERO + Duration::from_millis(u64::from(number));
            assert!(parts.take(Address::from_bytes(MEMBER), half, &Pool::new(), now).is_none());
        }
        assert_eq!(parts.0.len(), HALVES_MAX);
        let first = *parts.0.keys().next().expect("it is full");
        assert_eq!(first.1, 1);
    }
}
