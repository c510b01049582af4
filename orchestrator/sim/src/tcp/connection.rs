//! One end of a TCP connection: datagrams in their order, whatever the network loses or swaps (RFC 9293, a small part).
//!
//! It counts datagrams instead of bytes, has no congestion window, and never sees a packet: it is told of segments and
//! says which to send.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use atoll_core::Time;
use atoll_topology::TcpFlags;

/// Datagrams that wait to be acknowledged or sent at most; beyond, new ones are lost as over UDP.
pub(crate) const QUEUE_MAX: usize = 128;
/// Datagrams that are under way at once.
const WINDOW: u32 = 32;
/// First wait for an answer (RFC 6298); it doubles.
const RTO_FIRST: Duration = Duration::from_secs(1);
const RTO_MIN: Duration = Duration::from_millis(200);
const RTO_MAX: Duration = Duration::from_secs(10);
/// Segments that open a connection, the first included, before it is given up: after seven seconds.
const OPEN_TRIES: u32 = 3;
/// Repetitions of a datagram before the connection counts as broken.
const DATA_TRIES: u32 = 6;
/// Acknowledgements of the same datagram after which the next one counts as lost (RFC 5681 section 3.2).
const REPEATS: u32 = 3;
/// A connection without a word for this long is closed.
const IDLE: Duration = Duration::from_secs(300);

const SYN_ACK: TcpFlags = TcpFlags::SYN.with(TcpFlags::ACK);

/// What an end wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send a segment with these flags, and the datagram of this number if there is one.
    Send(TcpFlags, Option<u32>),
    /// Give the machine a datagram.
    Deliver(Vec<u8>),
    /// The connection is no more.
    Gone,
}

/// What the other end sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) flags: TcpFlags,
    /// Number of the datagram in it.
    pub(crate) number: u32,
    /// Number of the datagram that the sender expects next.
    pub(crate) expects: u32,
    /// The datagram; empty if there is none.
    pub(crate) body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// We sent the first segment.
    Opening,
    /// We answered one.
    Accepted,
    Open,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Connection {
    stage: Stage,
    /// What is not acknowledged; the first has the number `acked`.
    queue: VecDeque<Vec<u8>>,
    acked: u32,
    /// One more than the last number that was sent.
    sent: u32,
    expected: u32,
    early: BTreeMap<u32, Vec<u8>>,
    repeats: u32,
    /// Losses up to this number are being mended.
    mending: u32,
    tries: u32,
    rto: Duration,
    rtt: Option<(Duration, Duration)>,
    /// The datagram whose round trip is measured.
    timed: Option<(u32, Time)>,
    resend_at: Time,
    heard: Time,
}

impl Connection {
    /// An end that opens the connection; follow with [`Connection::begin`].
    pub(crate) fn opening(now: Time) -> Self {
        Self::new(Stage::Opening, now)
    }

    /// An end that answers the first segment of another; follow with [`Connection::begin`].
    pub(crate) fn accepted(now: Time) -> Self {
        Self::new(Stage::Accepted, now)
    }

    fn new(stage: Stage, now: Time) -> Self {
        Self {
            stage,
            queue: VecDeque::new(),
            acked: 0,
            sent: 0,
            expected: 0,
            early: BTreeMap::new(),
            repeats: 0,
            mending: 0,
            tries: 1,
            rto: RTO_FIRST,
            rtt: None,
            timed: None,
            resend_at: now + RTO_FIRST,
            heard: now,
        }
    }

    /// The segment that opens or answers.
    pub(crate) fn begin(&self) -> Effect {
        let flags = if self.stage == Stage::Opening { TcpFlags::SYN } else { SYN_ACK };
        Effect::Send(flags, None)
    }

    /// Whether no answer came yet.
    pub(crate) fn is_opening(&self) -> bool {
        self.stage == Stage::Opening
    }

    /// The number of the datagram that we expect next.
    pub(crate) fn expects(&self) -> u32 {
        self.expected
    }

    /// The datagram of this number, if it is not acknowledged.
    pub(crate) fn datagram(&self, number: u32) -> Option<&[u8]> {
        self.queue.get(number.checked_sub(self.acked)? as usize).map(Vec::as_slice)
    }

    /// Takes a datagram to send; `false` if the queue is full.
    pub(crate) fn send(&mut self, datagram: &[u8], now: Time, effects: &mut Vec<Effect>) -> bool {
        if self.queue.len() >= QUEUE_MAX {
            return false;
        }
        self.queue.push_back(datagram.to_vec());
        self.push(now, effects);
        true
    }

    /// Sends what the window allows.
    fn push(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.stage != Stage::Open {
            return;
        }
        let end = self.acked + (self.queue.len() as u32).min(WINDOW);
        if self.sent == self.acked && self.sent < end {
            self.resend_at = now + self.rto;
        }
        while self.sent < end {
            self.timed.get_or_insert((self.sent, now));
            effects.push(Effect::Send(TcpFlags::ACK, Some(self.sent)));
            self.sent += 1;
        }
    }

    /// Takes a segment of the other end.
    pub(crate) fn take(&mut self, segment: Segment<'_>, now: Time, effects: &mut Vec<Effect>) {
        self.heard = now;
        let Segment { flags, .. } = segment;
        if flags.has(TcpFlags::RST) || flags.has(TcpFlags::FIN) {
            return effects.push(Effect::Gone);
        }
        if flags.has(TcpFlags::SYN) {
            return self.take_first(flags, now, effects);
        }
        if self.stage == Stage::Opening {
            return;
        }
        self.open(now);
        self.take_ack(&segment, now, effects);
        if !segment.body.is_empty() {
            self.take_datagram(&segment, effects);
            effects.push(Effect::Send(TcpFlags::ACK, None));
        }
        self.push(now, effects);
    }

    fn take_first(&mut self, flags: TcpFlags, now: Time, effects: &mut Vec<Effect>) {
        match self.stage {
            Stage::Opening if flags == SYN_ACK => {
                self.open(now);
                effects.push(Effect::Send(TcpFlags::ACK, None));
                self.push(now, effects);
            }
            Stage::Opening => {}
            Stage::Accepted => effects.push(self.begin()),
            Stage::Open => effects.push(Effect::Send(TcpFlags::ACK, None)),
        }
    }

    fn open(&mut self, now: Time) {
        if self.stage != Stage::Open {
            (self.stage, self.tries) = (Stage::Open, 0);
            self.resend_at = now + self.rto;
        }
    }

    fn take_ack(&mut self, segment: &Segment<'_>, now: Time, effects: &mut Vec<Effect>) {
        let expects = segment.expects;
        if expects > self.sent || expects < self.acked {
            return;
        }
        if expects == self.acked {
            let is_repeat = self.sent > self.acked && segment.body.is_empty();
            self.repeats += u32::from(is_repeat);
            if is_repeat && self.repeats == REPEATS && self.acked >= self.mending {
                self.mend(effects);
            }
            return;
        }
        self.queue.drain(..(expects - self.acked) as usize);
        (self.acked, self.repeats, self.tries) = (expects, 0, 0);
        if let Some((number, at)) = self.timed.filter(|(number, _)| *number < expects) {
            self.timed = None;
            if number >= self.mending {
                self.sample(now.since(at));
            }
        }
        self.resend_at = now + self.rto;
        if self.acked < self.mending {
            self.resend(effects);
        }
    }

    /// All that is under way may be lost: the first is sent again, and the others as the acknowledgements tell.
    fn mend(&mut self, effects: &mut Vec<Effect>) {
        self.mending = self.sent;
        self.resend(effects);
    }

    fn resend(&mut self, effects: &mut Vec<Effect>) {
        // What is sent twice has no round trip (Karn's rule, RFC 6298 section 3).
        self.timed = None;
        if self.acked < self.sent {
            effects.push(Effect::Send(TcpFlags::ACK, Some(self.acked)));
        }
    }

    fn sample(&mut self, sample: Duration) {
        let (rtt, variation) = match self.rtt {
            None => (sample, sample / 2),
            Some((rtt, variation)) => ((7 * rtt + sample) / 8, (3 * variation + rtt.abs_diff(sample)) / 4),
        };
        self.rtt = Some((rtt, variation));
        self.rto = (rtt + 4 * variation).clamp(RTO_MIN, RTO_MAX);
    }

    fn take_datagram(&mut self, segment: &Segment<'_>, effects: &mut Vec<Effect>) {
        let ahead = segment.number.checked_sub(self.expected);
        if ahead.is_some_and(|ahead| ahead < 2 * WINDOW) {
            self.early.insert(segment.number, segment.body.to_vec());
        }
        while let Some(datagram) = self.early.remove(&self.expected) {
            self.expected += 1;
            effects.push(Effect::Deliver(datagram));
        }
    }

    /// When something is due.
    pub(crate) fn due(&self) -> Time {
        let waits = self.stage != Stage::Open || self.sent > self.acked;
        let idle = self.heard + IDLE;
        if waits { self.resend_at.min(idle) } else { idle }
    }

    /// Does what is due at `now`.
    pub(crate) fn time_out(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.heard + IDLE <= now {
            effects.push(Effect::Send(TcpFlags::FIN.with(TcpFlags::ACK), None));
            return effects.push(Effect::Gone);
        }
        let limit = if self.stage == Stage::Open { DATA_TRIES } else { OPEN_TRIES };
        if self.tries >= limit {
            return effects.push(Effect::Gone);
        }
        self.tries += 1;
        self.rto = (self.rto * 2).min(RTO_MAX);
        self.resend_at = now + self.rto;
        if self.stage == Stage::Open {
            self.mend(effects);
        } else {
            effects.push(self.begin());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_core::Rng;

    const DELAY: Duration = Duration::from_millis(50);

    /// A segment on its way: to which end, and what is in it.
    type Flying = (usize, TcpFlags, [u32; 2], Vec<u8>);

    /// Two ends and a network that loses and swaps.
    struct Pair {
        ends: [Connection; 2],
        flying: BTreeMap<(Time, u64), Flying>,
        got: [Vec<Vec<u8>>; 2],
        gone: [bool; 2],
        now: Time,
        number: u64,
        rng: Rng,
        loss: f64,
    }

    impl Pair {
        fn new(loss: f64, seed: u8) -> Self {
            let ends = [Connection::opening(Time::ZERO), Connection::accepted(Time::ZERO)];
            let (flying, got, gone) = (BTreeMap::new(), [vec![], vec![]], [false; 2]);
            let rng = Rng::new([seed; 32]);
            let mut pair = Self { ends, flying, got, gone, now: Time::ZERO, number: 0, rng, loss };
            let first = pair.ends[0].begin();
            pair.carry_out(0, vec![first]);
            pair
        }

        fn carry_out(&mut self, end: usize, effects: Vec<Effect>) {
            for effect in effects {
                match effect {
                    Effect::Deliver(datagram) => self.got[end].push(datagram),
                    Effect::Gone => self.gone[end] = true,
                    Effect::Send(flags, number) => {
                        let body = number.and_then(|number| self.ends[end].datagram(number));
                        let body = body.map(<[u8]>::to_vec).unwrap_or_default();
                        let expects = self.ends[end].expects();
                        self.number += 1;
                        if self.rng.unit() >= self.loss {
                            let at = self.now + self.rng.jitter(DELAY, 0.5);
                            let segment = (1 - end, flags, [number.unwrap_or(0), expects], body);
                            self.flying.insert((at, self.number), segment);
                        }
                    }
                }
            }
        }

        fn send(&mut self, end: usize, datagram: &[u8]) -> bool {
            let mut effects = Vec::new();
            let taken = self.ends[end].send(datagram, self.now, &mut effects);
            self.carry_out(end, effects);
            taken
        }

        fn due(&self, end: usize) -> Time {
            if self.gone[end] { Time::MAX } else { self.ends[end].due() }
        }

        fn run(&mut self, until: Time) {
            loop {
                let landing = self.flying.keys().next().map(|(at, _)| *at);
                let [one, other] = [0, 1].map(|end| self.due(end));
                let due = one.min(other);
                let next = landing.map_or(due, |at| at.min(due));
                if next > until || self.gone == [true; 2] {
                    self.now = until;
                    return;
                }
                self.now = next;
                let mut effects = Vec::new();
                if landing == Some(next) {
                    let Some((_, (end, flags, [number, expects], body))) = self.flying.pop_first() else {
                        return;
                    };
                    let segment = Segment { flags, number, expects, body: &body };
                    self.ends[end].take(segment, next, &mut effects);
                    self.carry_out(end, effects);
                } else {
                    let end = usize::from(other == next);
                    self.ends[end].time_out(next, &mut effects);
                    self.carry_out(end, effects);
                }
            }
        }
    }

    #[test]
    fn datagrams_arrive_once_and_in_order_whatever_the_network_does() {
        for (seed, loss) in [(1, 0.0), (2, 0.05), (3, 0.2)] {
            let mut pair = Pair::new(loss, seed);
            let all: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 1 + usize::from(n)]).collect();
            for datagram in &all {
                assert!(pair.send(0, datagram) && pair.send(1, datagram));
            }
            pair.run(Time::from_secs(120));
            assert_eq!(pair.got, [all.clone(), all], "{loss}");
        }
    }

    #[test]
    fn what_nobody_answers_is_given_up_after_seven_seconds() {
        let mut pair = Pair::new(1.0, 1);
        pair.run(Time::from_nanos(6_900_000_000));
        assert!(!pair.gone[0]);
        pair.run(Time::from_secs(8));
        assert!(pair.gone[0]);
    }

    #[test]
    fn a_dead_way_ends_the_connection_if_there_is_something_to_say() {
        let mut pair = Pair::new(0.0, 1);
        pair.run(Time::from_secs(2));
        pair.loss = 1.0;
        assert!(pair.send(0, b"anyone?"));
        pair.run(Time::from_secs(60));
        assert!(pair.gone[0] && !pair.gone[1]);
        pair.run(Time::from_secs(400));
        assert!(pair.gone[1], "nothing was heard for long");
    }

    #[test]
    fn a_full_queue_takes_nothing_more() {
        let mut pair = Pair::new(1.0, 1);
        assert!((0..QUEUE_MAX).all(|_| pair.send(0, b"x")));
        assert!(!pair.send(0, b"x"));
    }
}
