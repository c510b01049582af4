//! One operation of a user of the DHT: its requests to the three points, until what came of it is certain.

use std::time::Duration;

use super::verdict::{self, MAJORITY, Sight, Verdict};
use super::{Failure, Found, Origin, Outcome};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Ask, Denial, DhtRequest, Item, Key, Mark, POINTS, Said, points};

/// How often a request to one point is sent.
const SENDS_MAX: u8 = 3;
/// After how long it is sent again.
const AGAIN: Duration = Duration::from_millis(1500);
/// When an operation gives up with what it has.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A creation that lost to nobody tries again only if that much time is left.
const RETRY_LEFT: Duration = Duration::from_secs(4);
/// Values that one operation puts back where they are missing at most.
const REPAIRS_MAX: usize = 16;

/// Why the operation is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits for the outcome.
    Asked(Origin),
    /// It renews what is kept.
    Renewal(u64),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Put a value.
    Put(Item),
    /// Create a value: claim, then commit.
    Create {
        /// The value.
        value: Vec<u8>,
        /// Its stamp and lease.
        writing: (u32, u32),
        /// Names the claim.
        token: u64,
        /// How far it is.
        phase: Phase,
    },
    /// Read what is behind a mark.
    Get(Option<Mark>),
}

/// How far a creation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Claiming,
    Committing,
    Aborting,
    /// Contenders met; another try at this time.
    Waiting(Time),
}

/// What became of the request to one point.
#[derive(Clone, Debug, Default)]
enum State {
    /// It is under way.
    #[default]
    Open,
    /// The claim stands, or the value does.
    Done(u32),
    /// It was refused.
    Denied(Denial),
    /// Nobody answered, or nothing sensible.
    Silent,
}

#[derive(Clone, Debug)]
struct Turn {
    id: u32,
    sent: u8,
    due: Time,
    state: State,
    /// A creation's turn is past its claim.
    commits: bool,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) key: Key,
    pub(super) work: Work,
    /// Who waits; nobody once the outcome is told.
    pub(super) purpose: Option<Purpose>,
    turns: [Turn; POINTS],
    sights: [Option<Sight>; POINTS],
    ends: Time,
}

impl Operation {
    pub(super) fn new(key: Key, work: Work, purpose: Purpose, rng: &mut Rng, now: Time) -> Self {
        let turns = std::array::from_fn(|_| Turn::new(rng, now));
        let sights = Default::default();
        Self { key, work, purpose: Some(purpose), turns, sights, ends: now + PATIENCE }
    }

    /// Begins anew with other work, for as long as there was time at first.
    pub(super) fn restart(&mut self, work: Work, rng: &mut Rng, now: Time) {
        self.work = work;
        self.turns = std::array::from_fn(|_| Turn::new(rng, now));
    }

    /// The point that a request id belongs to.
    pub(super) fn point_of(&self, id: u32) -> Option<usize> {
        self.turns.iter().position(|turn| turn.id == id)
    }

    /// When something is due.
    pub(super) fn due(&self) -> Time {
        let wait = match self.work {
            Work::Create { phase: Phase::Waiting(at), .. } => at,
            _ => Time::MAX,
        };
        let open = self.turns.iter().filter(|turn| matches!(turn.state, State::Open)).map(|turn| turn.due);
        open.min().unwrap_or(Time::MAX).min(self.ends).min(wait)
    }

    /// The requests that are due now.
    pub(super) fn requests(&mut self, rng: &mut Rng, now: Time) -> Vec<(Address, DhtRequest)> {
        let points = points(self.key.place());
        let mut requests = Vec::new();
        for (at, point) in points.into_iter().enumerate() {
            let ask = self.ask(self.turns[at].commits);
            let turn = &mut self.turns[at];
            if !matches!(turn.state, State::Open) || turn.due > now {
                continue;
            }
            if turn.sent == SENDS_MAX {
                turn.state = State::Silent;
                continue;
            }
            turn.sent += 1;
            turn.due = now + rng.jitter(AGAIN, 0.2);
            let request = DhtRequest { id: turn.id, point: at as u8, key: self.key, ask };
            requests.push((point, request));
        }
        requests
    }

    fn ask(&self, commits: bool) -> Ask {
        match &self.work {
            Work::Put(item) => Ask::Put(item.clone()),
            Work::Get(after) => Ask::Get(*after),
            Work::Create { token, phase: Phase::Aborting | Phase::Waiting(_), .. } => {
                Ask::Abort { token: *token }
            }
            Work::Create { token, writing: (stamp, lease), .. } if commits => {
                Ask::Commit { token: *token, stamp: *stamp, lease: *lease }
            }
            Work::Create { token, value, .. } => Ask::Claim { token: *token, value: value.clone() },
        }
    }

    /// A point answers.
    pub(super) fn on_said(&mut self, at: usize, said: Said, rng: &mut Rng, now: Time) {
        let commits = matches!(self.work, Work::Create { phase: Phase::Committing, .. });
        let turn = &mut self.turns[at];
        if !matches!(turn.state, State::Open) {
            return;
        }
        match (said, &self.work) {
            (Said::Page(page), Work::Get(after)) => {
                let sight = Sight::new(&self.key, *after, page);
                turn.state = match &sight {
                    Some(sight) if !sight.sure => {
                        turn.sent = turn.sent.min(1);
                        State::Open
                    }
                    Some(_) => State::Done(0),
                    None => State::Silent,
                };
                self.sights[at] = sight;
            }
            // It lives, and will know better in a few seconds.
            (Said::Refused(Denial::Unsure), _) => turn.sent = turn.sent.min(1),
            (Said::Refused(denial), _) => turn.state = State::Denied(denial),
            (Said::Stored(lease), Work::Put(_) | Work::Create { .. }) => turn.state = State::Done(lease),
            (Said::Granted, Work::Create { .. }) if !turn.commits => {
                turn.state = State::Done(0);
                if commits {
                    turn.begin_commit(rng, now);
                }
            }
            (Said::Aborted, Work::Create { .. }) => turn.state = State::Done(0),
            _ => turn.state = State::Silent,
        }
    }

    /// What a point of a reading says, if something of this node waits and has not heard what is certain.
    pub(super) fn glimpse(&self, at: usize) -> Option<(Origin, Vec<Vec<u8>>)> {
        let Some(Purpose::Asked(origin)) = self.purpose else { return None };
        let values: Vec<Vec<u8>> = self.sights[at].as_ref()?.values().collect();
        (!values.is_empty()).then_some((origin, values))
    }

    fn done(&self) -> impl Iterator<Item = u32> {
        self.turns
            .iter()
            .filter_map(|turn| if let State::Done(lease) = turn.state { Some(lease) } else { None })
    }

    fn denials(&self) -> impl Iterator<Item = Denial> {
        self.turns
            .iter()
            .filter_map(|turn| if let State::Denied(denial) = turn.state { Some(denial) } else { None })
    }

    fn open(&self) -> usize {
        self.turns.iter().filter(|turn| matches!(turn.state, State::Open)).count()
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_over(&self, now: Time) -> bool {
        let waits = matches!(self.work, Work::Create { phase: Phase::Waiting(_), .. });
        self.ends <= now || (self.open() == 0 && !waits)
    }

    /// What came of it, once that is certain or nothing more is to come.
    pub(super) fn outcome(&mut self, rng: &mut Rng, now: Time) -> Option<Outcome> {
        let is_last = self.is_over(now);
        match &self.work {
            Work::Get(_) => self.read(is_last),
            Work::Put(_) => self.written(is_last),
            Work::Create { .. } => self.created(is_last, rng, now),
        }
    }

    fn read(&self, is_last: bool) -> Option<Outcome> {
        if is_last && self.sights.iter().all(Option::is_none) {
            return Some(Outcome::Failed(Failure::NoAnswer));
        }
        let Verdict { items, next, complete, .. } = verdict::judge(&self.key, &self.sights, is_last)?;
        let values = items.into_iter().map(|(_, item)| Found::from(item)).collect();
        Some(Outcome::Page { values, next, complete })
    }

    /// What points lack that is certain, as requests that want no answer.
    pub(super) fn repairs(&self) -> Vec<(Address, DhtRequest)> {
        let Some(verdict) = verdict::judge(&self.key, &self.sights, true) else { return Vec::new() };
        let points = points(self.key.place());
        let repair = |(at, mark): (usize, Mark)| {
            let (_, item) = verdict.items.iter().find(|(there, _)| *there == mark)?;
            let ask = Ask::Put(item.clone());
            Some((points[at], DhtRequest { id: 0, point: at as u8, key: self.key, ask }))
        };
        verdict.missing.iter().copied().filter_map(repair).take(REPAIRS_MAX).collect()
    }

    fn written(&self, is_last: bool) -> Option<Outcome> {
        if let Some(stored) = self.stored() {
            return Some(stored);
        }
        let hopeless = self.done().count() + self.open() < MAJORITY;
        (hopeless || is_last).then(|| match self.failure() {
            Failure::Exists => Outcome::Exists,
            failure => Outcome::Failed(failure),
        })
    }

    fn stored(&self) -> Option<Outcome> {
        let points = self.done().count();
        let lease = Duration::from_millis(u64::from(self.done().min()?));
        (points >= MAJORITY).then_some(Outcome::Stored { lease })
    }

    fn failure(&self) -> Failure {
        self.denials().map(Failure::from).max().unwrap_or(Failure::NoAnswer)
    }

    fn created(&mut self, is_last: bool, rng: &mut Rng, now: Time) -> Option<Outcome> {
        let Work::Create { phase, .. } = &self.work else { return None };
        match *phase {
            Phase::Claiming => self.claimed(is_last, rng, now),
            Phase::Committing => self.committed(is_last, rng, now),
            Phase::Aborting => None,
            Phase::Waiting(at) if at <= now && self.ends > now => {
                self.claim_again(rng, now);
                None
            }
            Phase::Waiting(_) => is_last.then_some(Outcome::Failed(Failure::NoAnswer)),
        }
    }

    fn claimed(&mut self, is_last: bool, rng: &mut Rng, now: Time) -> Option<Outcome> {
        if self.done().count() >= MAJORITY {
            self.set_phase(Phase::Committing);
            let granted = self.turns.iter_mut().filter(|turn| matches!(turn.state, State::Done(_)));
            granted.for_each(|turn| turn.begin_commit(rng, now));
            return None;
        }
        if self.done().count() + self.open() >= MAJORITY && !is_last {
            return None;
        }
        let lost = self.denials().any(|denial| denial == Denial::Exists);
        let contended = self.denials().any(|denial| denial == Denial::Contended);
        let outcome = if lost { Outcome::Exists } else { Outcome::Failed(self.failure()) };
        self.give_up(rng, now);
        if contended && !lost && now + RETRY_LEFT <= self.ends {
            self.set_phase(Phase::Waiting(now + rng.jitter(AGAIN, 0.5)));
            return None;
        }
        Some(outcome)
    }

    fn committed(&mut self, is_last: bool, rng: &mut Rng, now: Time) -> Option<Outcome> {
        let made =
            self.turns.iter().filter(|turn| turn.commits && matches!(turn.state, State::Done(_))).count();
        if made >= MAJORITY {
            return self.stored();
        }
        if made + self.open() >= MAJORITY && !is_last {
            return None;
        }
        let failure = self.failure();
        self.give_up(rng, now);
        Some(Outcome::Failed(failure))
    }

    /// Takes back what was claimed, wherever that may be.
    fn give_up(&mut self, rng: &mut Rng, now: Time) {
        self.set_phase(Phase::Aborting);
        self.ends = self.ends.max(now + AGAIN * (u32::from(SENDS_MAX) + 1));
        for turn in &mut self.turns {
            if !matches!(turn.state, State::Denied(_)) || turn.commits {
                *turn = Turn::new(rng, now);
            }
        }
    }

    fn claim_again(&mut self, rng: &mut Rng, now: Time) {
        let token = rng.next_u64();
        if let Work::Create { token: old, phase, .. } = &mut self.work {
            (*old, *phase) = (token, Phase::Claiming);
        }
        self.turns = std::array::from_fn(|_| Turn::new(rng, now));
    }

    fn set_phase(&mut self, to: Phase) {
        if let Work::Create { phase, .. } = &mut self.work {
            *phase = to;
        }
    }

    /// The highest sequence number that stands in the way of an owned value, if one does.
    pub(super) fn outdated_by(&self) -> Option<u64> {
        let sequences = self.denials().filter_map(|denial| match denial {
            Denial::Outdated(sequence) => Some(sequence),
            _ => None,
        });
        sequences.max()
    }
}

impl Turn {
    fn new(rng: &mut Rng, now: Time) -> Self {
        Self { id: rng.next_u32() | 1, sent: 0, due: now, state: State::Open, commits: false }
    }

    fn begin_commit(&mut self, rng: &mut Rng, now: Time) {
        *self = Self { commits: true, ..Self::new(rng, now) };
    }
}
