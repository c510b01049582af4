//! Edges that we closed. A peer that did not hear of it goes on sending into the void until its keepalive finds out; here it is
//! told again, as in the closing state of RFC 9000, section 10.2.1.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;
use crate::wire::{EdgeId, Remote};

/// Closed edges that are remembered; beyond, the one that was closed first is forgotten.
const PARTINGS_MAX: usize = 32;
/// How long: whoever has nothing to send asks within the longest idle interval, or the fifth one if another edge of the path spares
/// its pings.
const KEPT: Duration = Duration::from_secs(600);
/// How often one end is told again at most.
const REPEATS_MAX: u8 = 6;

#[derive(Debug)]
struct Parting {
    id: EdgeId,
    to: Remote,
    /// The sealed word, as it was sent. Whoever has read it once drops it.
    farewell: Box<[u8]>,
    /// From when on what arrives shows that it was not heard.
    next: Time,
    wait: Duration,
    repeats: u8,
    until: Time,
}

/// What was said on edges when they were closed.
#[derive(Debug, Default)]
pub(super) struct Partings {
    all: VecDeque<Parting>,
}

impl Partings {
    /// An edge was closed with these bytes. What arrives within `wait` was sent before the peer could hear of it.
    pub(super) fn note(&mut self, id: EdgeId, (to, farewell): (Remote, &[u8]), wait: Duration, now: Time) {
        self.all.retain(|one| one.until > now && one.id != id);
        if self.all.len() >= PARTINGS_MAX {
            self.all.pop_front();
        }
        let (farewell, next) = (farewell.into(), now + wait);
        self.all.push_back(Parting { id, to, farewell, next, wait, repeats: 0, until: now + KEPT });
    }

    /// Something arrived for an edge that is no more: what to say again, and to whom. Never to where it came from, which
    /// nothing proves.
    pub(super) fn answer(&mut self, id: EdgeId, now: Time) -> Option<(Remote, &[u8])> {
        let is_due = |one: &&mut Parting| one.id == id && one.next <= now && now < one.until;
        let one = self.all.iter_mut().find(is_due).filter(|one| one.repeats < REPEATS_MAX)?;
        one.repeats += 1;
        one.wait *= 2;
        one.next = now + one.wait;
        Some((one.to, &one.farewell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTO: Duration = Duration::from_millis(200);

    fn remote(port: u16) -> Remote {
        Remote::Udp(std::net::SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn who_goes_on_sending_is_told_again_with_growing_pauses_and_not_for_ever() {
        let (mut partings, edge) = (Partings::default(), EdgeId(7));
        partings.note(edge, (remote(1), b"close"), RTO, Time::ZERO);
        assert_eq!(partings.answer(EdgeId(8), Time::from_secs(1)), None, "another edge");
        let mut told = Vec::new();
        for millis in (0..100_000).step_by(10) {
            let now = Time::ZERO + Duration::from_millis(millis);
            if let Some(said) = partings.answer(edge, now) {
                assert_eq!(said, (remote(1), &b"close"[..]));
                told.push(millis);
            }
        }
        assert_eq!(told, [200, 600, 1400, 3000, 6200, 12_600]);
    }

    #[test]
    fn what_was_closed_long_ago_or_before_many_others_is_forgotten() {
        let mut partings = Partings::default();
        for number in 0..=PARTINGS_MAX as u32 {
            partings.note(EdgeId(number), (remote(1), b""), RTO, Time::ZERO);
        }
        assert_eq!(partings.all.len(), PARTINGS_MAX);
        let at = Time::ZERO + KEPT;
        assert!(partings.answer(EdgeId(0), Time::from_secs(1)).is_none(), "it was the first");
        assert!(partings.answer(EdgeId(1), Time::from_secs(1)).is_some());
        assert!(partings.answer(EdgeId(2), at).is_none(), "it is too long ago");
        partings.note(EdgeId(99), (remote(1), b""), RTO, at);
        assert_eq!(partings.all.len(), 1, "nothing is kept for nobody");
    }
}
