//! Keepalive of one edge: when to ping at rest, and when a silence means death.
//!
//! A ping and its pong refresh the NAT mappings on both sides. The pinger says when it will ping next. Whoever
//! expects a ping and does not get it asks itself: an answer then tells that its own NAT had closed, so the interval
//! shrinks; no answer means that the peer is dead.

use std::time::Duration;

use crate::time::Time;

/// Pings without an answer before the peer counts as dead.
const PINGS_MAX: u32 = 3;
/// How much later than announced a ping may come before its receiver asks.
const LATE: Duration = Duration::from_secs(1);
/// How often in a row a ping is spared because the peer was heard otherwise: pings also tell what the peer has from us, and that
/// its end of the edge is there.
const SPARED_MAX: u8 = 4;
/// How much later than a ping of its own would be due a spared edge looks again: whoever spared it pings first.
const SPARED_GRACE: Duration = Duration::from_secs(1);
/// The shortest wait for a pong: death is not declared in a hurry.
const RTO_MIN: Duration = Duration::from_millis(500);

/// Pings whose sending is remembered (a power of two). Numbers tell which one an answer is for (unlike in RFC 6298, section
/// 3), so that an answer slower than the wait for it tells the round trip as well, and the wait grows with it.
const SENT_KEPT: u16 = 4;

/// A ping without an answer yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    pings: u32,
    due: Time,
    expected: Option<Duration>,
}

/// What the keepalive timer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Send a ping with this number.
    Ping(u16),
    /// The peer is dead.
    Dead,
}

/// Keepalive state of one edge.
#[derive(Debug)]
pub struct Probe {
    number: u16,
    interval: Duration,
    next: Time,
    /// The latest ping, while it waits for an answer.
    asked: Option<Asked>,
    /// When the last pings were sent, by their numbers; never if one was answered.
    sent: [Time; SENT_KEPT as usize],
    expects: Option<Duration>,
    peer_bears: Duration,
    yields: bool,
    /// Pings that were spared since the last one.
    spared: u8,
    /// How much later than the interval says the timer runs.
    slack: Duration,
}

impl Probe {
    /// An edge that was heard just now; the first ping comes after `interval`.
    #[must_use]
    pub fn new(interval: Duration, now: Time) -> Self {
        Self {
            number: 0,
            interval,
            next: now + interval,
            asked: None,
            sent: [Time::MAX; SENT_KEPT as usize],
            expects: None,
            peer_bears: Duration::MAX,
            yields: false,
            spared: 0,
            slack: Duration::ZERO,
        }
    }

    /// The current idle interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The longest silence that the peer's side bears, as it last said.
    #[must_use]
    pub fn peer_bears(&self) -> Duration {
        self.peer_bears
    }

    /// The peer says how long a silence its side bears.
    pub fn set_peer_bears(&mut self, bears: Duration) {
        self.peer_bears = bears;
    }

    /// We ping: next after `interval`.
    pub fn lead(&mut self, interval: Duration, now: Time) {
        self.interval = interval;
        self.next = now + interval;
        self.expects = None;
        (self.spared, self.slack) = (0, Duration::ZERO);
    }

    /// The peer pings; it said that its next ping comes after `interval`.
    pub fn follow(&mut self, interval: Duration, now: Time) {
        self.interval = interval;
        self.next = now + interval + LATE;
        self.expects = Some(interval);
        (self.spared, self.slack) = (0, LATE);
    }

    /// The peer ought to ping after `interval`, though it has not said so.
    pub fn watch(&mut self, interval: Duration, now: Time) {
        self.follow(interval, now);
        self.expects = None;
    }

    /// The peer pings while our own ping is under way. If both went on leading they would meet again each time, at twice the
    /// price: whoever `stays` goes on, the other one follows. True if this end goes on.
    pub fn meet(&mut self, stays: bool, rto: Duration, now: Time) -> bool {
        let Some(sent) = self.sent.get(usize::from(self.number % SENT_KEPT)) else { return false };
        let met = *sent < Time::MAX && now.since(*sent) < rto.max(RTO_MIN);
        self.yields |= met && !stays;
        met && stays
    }

    /// Whether the latest ping met one of the peer's, who goes on: an answer to it tells the round trip and no more.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.yields
    }

    /// The silence that an announced ping, which is still to come, ends.
    #[must_use]
    pub fn expects(&self) -> Option<Duration> {
        self.expects.filter(|_| self.asked.is_none())
    }

    /// The number of the next ping.
    #[must_use]
    pub fn upcoming(&self) -> u16 {
        self.number.wrapping_add(1)
    }

    /// Pings now, because there is reason to doubt the peer.
    pub fn ask(&mut self, now: Time) {
        if self.asked.is_none() {
            self.next = now;
            self.expects = None;
            self.spared = SPARED_MAX;
        }
    }

    /// Another edge on the same path had its answer at `kept`, so that mappings and peer live: a ping that is due at rest waits
    /// for as long from then. False if it is sent all the same.
    pub fn spare(&mut self, kept: Time, now: Time) -> bool {
        let next = kept + self.interval + self.slack;
        if self.asked.is_some() || self.spared >= SPARED_MAX || next <= now {
            return false;
        }
        self.spared += 1;
        self.next = next + SPARED_GRACE;
        // The silence that was announced is none any more.
        self.expects = None;
        true
    }

    /// Pings now and forgets the pings that were not answered: there was a reason for that other than the peer.
    pub fn start_over(&mut self, now: Time) {
        self.asked = None;
        self.ask(now);
    }

    /// Anything authentic came from the peer: it lives. Returns the silence that our own NAT did not bear, if the
    /// peer's announced ping had not come through.
    pub fn on_heard(&mut self) -> Option<Duration> {
        self.asked.take()?.expected
    }

    /// Whether a ping before the latest one was not answered in time, and nothing else came since.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.asked.is_some_and(|asked| asked.pings > 1)
    }

    /// The round trip, if `number` answers one of the last pings for the first time.
    pub fn round_trip(&mut self, number: u16, now: Time) -> Option<Duration> {
        let is_recent = self.number.wrapping_sub(number) < SENT_KEPT;
        let sent = self.sent.get_mut(usize::from(number % SENT_KEPT)).filter(|_| is_recent)?;
        let at = std::mem::replace(sent, Time::MAX);
        (at < Time::MAX).then(|| now.since(at))
    }

    /// What is due at `now`; `rto` is the path's wait for an answer.
    pub fn handle_timeout(&mut self, now: Time, rto: Duration) -> Option<Wanted> {
        if self.due() > now {
            return None;
        }
        let pings = self.asked.map_or(0, |asked| asked.pings);
        if pings == PINGS_MAX {
            return Some(Wanted::Dead);
        }
        let rto = rto.max(RTO_MIN);
        self.number = self.upcoming();
        self.yields = false;
        if let Some(sent) = self.sent.get_mut(usize::from(self.number % SENT_KEPT)) {
            *sent = now;
        }
        let expected = self.asked.map_or(self.expects, |asked| asked.expected);
        self.asked =
            Some(Asked { pings: pings + 1, due: now + rto.mul_f64(1.0 + 0.25 * f64::from(pings)), expected });
        self.next = now + self.interval.max(RTO_MIN);
        Some(Wanted::Ping(self.number))
    }

    /// When something is due next.
    #[must_use]
    pub fn due(&self) -> Time {
        self.asked.map_or(self.next, |asked| asked.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTO: Duration = Duration::from_millis(500);

    #[test]
    fn of_two_ends_that_ping_at_once_one_goes_on() {
        let spans = [Duration::from_secs(9); 2];
        let [mut leads, mut follows] = spans.map(|span| Probe::new(span, Time::ZERO));
        let (now, arrives) = (leads.due(), leads.due() + Duration::from_millis(100));
        let numbers = [&mut leads, &mut follows].map(|end| match end.handle_timeout(now, RTO) {
            Some(Wanted::Ping(number)) => number,
            other => panic!("{other:?}"),
        });
        assert!(leads.meet(true, RTO, arrives) && !follows.meet(false, RTO, arrives));
        assert!(leads.round_trip(numbers[0], arrives + RTO).is_some());
        assert!(
            follows.round_trip(numbers[1], arrives + RTO).is_some() && follows.yields() && !leads.yields()
        );
        assert!(!leads.meet(true, RTO, arrives), "an answered ping meets none");
        let number = leads.handle_timeout(leads.due(), RTO);
        assert!(number.is_some() && !leads.meet(true, RTO, leads.due() + RTO * 9), "nor does a lost one");
    }

    #[test]
    fn a_silent_peer_is_dead_after_the_last_ping() {
        let mut probe = Probe::new(Duration::from_secs(9), Time::ZERO);
        let mut pings = 0;
        let end = loop {
            let now = probe.due();
            match probe.handle_timeout(now, RTO) {
                Some(Wanted::Ping(_)) => pings += 1,
                Some(Wanted::Dead) => break now,
                None => panic!("a due timer does something"),
            }
        };
        assert_eq!(pings, PINGS_MAX);
        assert!(end < Time::from_secs(12), "{end}");
    }

    #[test]
    fn an_answer_to_ones_own_question_tells_that_ones_nat_had_closed() {
        let mut probe = Probe::new(Duration::from_secs(9), Time::ZERO);
        probe.follow(Duration::from_secs(50), Time::ZERO);
        let late = probe.due();
        assert!(late > Time::from_secs(50));
        let Some(Wanted::Ping(number)) = probe.handle_timeout(late, RTO) else { panic!("it asks") };
        assert_eq!(probe.round_trip(number, late + RTO), Some(RTO));
        assert_eq!(probe.on_heard(), Some(Duration::from_secs(50)));
        assert_eq!(probe.on_heard(), None);
    }

    #[test]
    fn an_answer_that_is_slower_than_the_wait_for_it_tells_the_round_trip_once() {
        let mut probe = Probe::new(Duration::from_secs(9), Time::ZERO);
        let asked: Vec<(u16, Time)> = (0..PINGS_MAX)
            .map(|_| {
                let now = probe.due();
                let Some(Wanted::Ping(number)) = probe.handle_timeout(now, RTO) else { panic!("it asks") };
                (number, now)
            })
            .collect();
        let late = probe.due();
        for (number, at) in &asked {
            assert_eq!(probe.round_trip(*number, late), Some(late.since(*at)));
            assert_eq!(probe.round_trip(*number, late), None, "an answer that came twice");
        }
        let next = asked.last().map_or(0, |(number, _)| number.wrapping_add(1));
        assert_eq!(probe.round_trip(next, late), None, "an answer to what was not asked");
    }

    #[test]
    fn a_ping_is_spared_a_few_times_while_another_edge_keeps_the_path_alive() {
        let (span, second) = (Duration::from_secs(30), Duration::from_secs(1));
        let [mut leads, mut follows] = [Probe::new(span, Time::ZERO), Probe::new(span, Time::ZERO)];
        follows.follow(span, Time::ZERO);
        let (mut kept, mut spared) = (Time::from_secs(20), 0);
        while leads.due() <= kept + span && leads.spare(kept, leads.due()) {
            assert!(follows.spare(kept, follows.due()));
            assert_eq!([leads.due(), follows.due()], [kept + span + second, kept + span + second * 2]);
            spared += 1;
            kept += span;
        }
        assert_eq!(spared, SPARED_MAX);
        assert!(matches!(leads.handle_timeout(leads.due(), RTO), Some(Wanted::Ping(_))));
        assert_eq!(follows.expects(), None, "the silence was broken");

        let mut doubts = Probe::new(span, Time::ZERO);
        doubts.ask(Time::from_secs(5));
        assert!(!doubts.spare(Time::from_secs(4), Time::from_secs(5)), "there was a reason to ask");
        let mut alone = Probe::new(span, Time::ZERO);
        assert!(!alone.spare(Time::ZERO, alone.due()), "nobody else keeps it");
    }

    #[test]
    fn an_early_timeout_does_nothing() {
        let mut probe = Probe::new(Duration::from_secs(9), Time::ZERO);
        assert_eq!(probe.handle_timeout(Time::from_secs(8), RTO), None);
    }
}
