//! Flights: what one end says at once, and how often it says it again.

use std::time::Duration;

use super::{Common, Handshake, Intent, Limits, Reply, Side, Start};
use crate::rng::Rng;
use crate::security::door::Kind;
use crate::time::Time;
use crate::wire::Address;

/// Retries that one attempt follows, so that a liar cannot keep it busy.
pub(in crate::security) const RETRIES_MAX: u32 = 2;
/// Datagrams of the peer's that one handshake takes.
pub(in crate::security) const DATAGRAMS_MAX: u32 = 96;
/// Bytes of theirs.
const BYTES_MAX: usize = 64 * 1024;

/// How often the last flight is said again, and how soon.
const REPEATS_MAX: u32 = 16;
const REPEAT_GAP: Duration = Duration::from_millis(150);
/// How long the last flight is kept.
const REPEAT_FOR: Duration = Duration::from_secs(15);

/// The longest first wait for an answer.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How many times in what is usual a flight is said about. Loss, too, makes answers take longer: with fewer times, waits that follow
/// it would make it longer still, without an end at 30 % in each direction.
const TIMES: u32 = 3;
/// The same in usual round trips, which loss does not lengthen.
const ROUND_TRIPS: f64 = 1.5;
/// The weight of one answer in what is usual.
const SHARE: u32 = 8;

/// How long answers take lately. Where they all take long (a busy machine, a full link), to say things again after the
/// shortest wait would make everything longer still.
#[derive(Debug)]
pub(super) struct Pace {
    wait: Duration,
    wait_max: Duration,
    usual: Duration,
    round_trip: Duration,
}

impl Pace {
    /// What is usual of nobody yet; waits are never shorter than these.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            wait: limits.wait,
            wait_max: limits.wait_max,
            usual: Duration::ZERO,
            round_trip: Duration::ZERO,
        }
    }

    /// A flight was answered so long after it was first said.
    pub(super) fn learn(&mut self, took: Duration, limits: &mut Limits) {
        self.usual = (self.usual * (SHARE - 1) + took) / SHARE;
        self.set(limits);
    }

    /// What the member's other exchanges take there and back: an engine that is new where all is busy need not find out by itself.
    pub(super) fn set_round_trip(&mut self, usual: Duration, limits: &mut Limits) {
        if self.round_trip != usual {
            self.round_trip = usual;
            self.set(limits);
        }
    }

    fn set(&self, limits: &mut Limits) {
        let wait = (self.usual / TIMES).max(self.round_trip.mul_f64(ROUND_TRIPS));
        limits.wait = wait.min(WAIT_MAX).max(self.wait);
        limits.wait_max = self.wait_max.max(limits.wait * 2);
    }
}

/// Waits that grow by half, with jitter.
#[derive(Debug)]
pub(in crate::security) struct Backoff {
    began: Option<Time>,
    sends: u32,
    wait: Duration,
    pub(in crate::security) due: Time,
}

impl Backoff {
    pub(in crate::security) fn new(limits: &Limits) -> Self {
        Self { began: None, sends: 0, wait: limits.wait, due: Time::MAX }
    }

    /// Takes note of a send at `now`.
    pub(in crate::security) fn sent(&mut self, limits: &Limits, rng: &mut Rng, now: Time) {
        self.began.get_or_insert(now);
        self.due = now + rng.jitter(self.wait, 0.15);
        self.wait = self.wait.mul_f64(1.5).min(limits.wait_max);
        self.sends += 1;
    }

    pub(in crate::security) fn is_spent(&self, limits: &Limits) -> bool {
        self.sends >= limits.sends
    }
}

/// The datagrams of one flight, with the counter that numbers their parts.
#[derive(Debug, Default)]
pub(super) struct Flight {
    datagrams: Vec<Vec<u8>>,
    numbers: u64,
}

impl Flight {
    fn replace(&mut self, datagrams: Vec<Vec<u8>>) {
        self.datagrams = datagrams;
    }

    /// The datagrams, freshly numbered.
    pub(super) fn renumbered<T: Handshake>(&mut self) -> impl Iterator<Item = &[u8]> {
        let numbers = &mut self.numbers;
        self.datagrams.iter_mut().map(|datagram| {
            T::renumber(datagram, numbers);
            &datagram[..]
        })
    }
}

/// What an initiator says until it hears the responder's first flight.
#[derive(Clone, Copy, Debug)]
struct Hello {
    target: Option<Address>,
    proof: u64,
    retries: u32,
}

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Attempt<T> {
    pub(super) handshake: T,
    pub(super) start: Start,
    pub(super) backoff: Option<Backoff>,
    hello: Option<Hello>,
    pub(super) flight: Flight,
    datagrams: u32,
    bytes: usize,
}

impl<T: Handshake> Attempt<T> {
    pub(super) fn new(handshake: T, start: Start) -> Self {
        let (flight, datagrams, bytes) = (Flight::default(), 0, 0);
        Self { handshake, start, backoff: None, hello: None, flight, datagrams, bytes }
    }

    /// The same, behind hellos.
    pub(super) fn greeting(mut self, intent: Intent) -> Self {
        let proof = intent.token.unwrap_or(0);
        self.hello = Some(Hello { target: intent.target, proof, retries: 0 });
        self
    }

    pub(super) fn is_initiator(&self) -> bool {
        self.start.side == Side::Initiator
    }

    /// Whether another datagram of this length is within the bounds of one handshake.
    pub(super) fn takes(&mut self, len: usize) -> bool {
        self.datagrams += 1;
        self.bytes += len;
        self.datagrams <= DATAGRAMS_MAX && self.bytes <= BYTES_MAX
    }

    /// A new flight takes the place of the last one, which was answered if there was one.
    pub(super) fn set_flight(&mut self, reply: Reply, common: &mut Common, now: Time) {
        if self.backoff.is_some() {
            self.hello = None;
        }
        self.learn(common, now);
        self.flight.replace(reply.flight);
        self.backoff = Some(Backoff::new(&common.limits));
    }

    fn learn(&self, common: &mut Common, now: Time) {
        if let Some(began) = self.backoff.as_ref().and_then(|backoff| backoff.began) {
            common.pace.learn(now.since(began), &mut common.limits);
        }
    }

    /// Whether it says nothing of its flight yet.
    pub(super) fn only_asks(&self) -> bool {
        self.handshake.is_bulky() && self.hello.is_some_and(|hello| hello.proof == 0)
    }

    /// A cookie came; false if it is not wanted.
    pub(super) fn retry(&mut self, cookie: u64, common: &mut Common, now: Time) -> bool {
        let Some(hello) = self.hello.as_mut().filter(|hello| hello.retries < RETRIES_MAX) else {
            return false;
        };
        hello.retries += 1;
        hello.proof = cookie;
        self.learn(common, now);
        self.backoff = Some(Backoff::new(&common.limits));
        true
    }

    /// What stands in front of its datagrams.
    pub(super) fn kind(&self) -> Kind {
        match self.hello {
            Some(Hello { target, proof, .. }) => Kind::Hello { target, proof },
            None if self.start.generation == 0 => Kind::Flight,
            None => Kind::Renewal,
        }
    }

    pub(super) fn due(&self) -> Time {
        self.backoff.as_ref().map_or(Time::MAX, |backoff| backoff.due)
    }

    /// Keeps the last flight for a peer that missed it.
    pub(super) fn into_farewell(self, now: Time) -> Farewell {
        let until = now + REPEAT_FOR;
        Farewell { flight: self.flight, start: self.start, repeats: 0, again: now + REPEAT_GAP, until }
    }
}

/// The last flight of a handshake.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) flight: Flight,
    pub(super) start: Start,
    repeats: u32,
    again: Time,
    until: Time,
}

impl Farewell {
    /// Whether it is to be said again now, because the peer repeated itself.
    pub(super) fn repeats(&mut self, now: Time) -> bool {
        if now < self.again || self.is_over(now) || self.repeats == REPEATS_MAX {
            return false;
        }
        self.repeats += 1;
        self.again = now + REPEAT_GAP;
        true
    }

    pub(super) fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_answers_follow_what_they_usually_take_between_bounds() {
        let shortest = Limits::default();
        let (mut limits, mut pace) = (shortest.clone(), Pace::new(&shortest));
        pace.learn(shortest.wait / 2, &mut limits);
        assert_eq!((limits.wait, limits.wait_max), (shortest.wait, shortest.wait_max));
        for _ in 0..40 {
            pace.learn(Duration::from_secs(3600), &mut limits);
        }
        assert_eq!((limits.wait, limits.wait_max), (WAIT_MAX, WAIT_MAX * 2));
        for _ in 0..100 {
            pace.learn(shortest.wait / 2, &mut limits);
        }
        assert_eq!((limits.wait, limits.wait_max), (shortest.wait, shortest.wait_max));
        pace.set_round_trip(shortest.wait * 2, &mut limits);
        assert_eq!((limits.wait, limits.wait_max), (shortest.wait * 3, shortest.wait * 6));
        pace.set_round_trip(Duration::from_secs(3600), &mut limits);
        assert_eq!(limits.wait, WAIT_MAX);
        pace.set_round_trip(shortest.wait / 4, &mut limits);
        assert_eq!((limits.wait, limits.wait_max), (shortest.wait, shortest.wait_max));
    }
}
