//! Requests under way: each is asked again until it is answered, or its time is over, or one of its two ends is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_core::control::{Command, Reply};

use super::values;
use crate::environment::{Answer, NodeIndex, OVERLAY, Question, Trial};
use crate::run::theory::Overlay;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// An answer of this member in this overlay.
    Member(Overlay, NodeIndex),
    /// The value with this number.
    Value(usize),
}

impl Aim {
    /// After how long it is asked again, and how long it may take with all that.
    pub(super) fn terms(self) -> (Duration, Duration) {
        match self {
            Self::Member(..) => (Duration::from_secs(1), Duration::from_secs(5)),
            // A node itself asks the points of the ring again after 1.5 s.
            Self::Value(_) => (Duration::from_millis(2500), Duration::from_secs(10)),
        }
    }

    /// What a member is told that asks for it.
    pub(super) fn command(self, trial: &Trial) -> Option<Command> {
        match self {
            Self::Member(overlay, to) => {
                let address = overlay.address(&trial.nodes[to.index()])?;
                Some(Command::Ping { overlay: overlay.name().to_owned(), address })
            }
            Self::Value(number) => Some(Command::DhtGet {
                overlay: OVERLAY.to_owned(),
                key: values::key(number),
                owner: None,
                after: None,
            }),
        }
    }

    /// Whether that is what was asked for.
    pub(super) fn is_met(self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::Member(..), Reply::Ping { .. }) => true,
            (Self::Value(number), Reply::DhtValues { values, .. }) => {
                matches!(&values[..], [one] if one.value == values::value(number))
            }
            _ => false,
        }
    }
}

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) from: NodeIndex,
    pub(super) aim: Aim,
    /// When it was first asked.
    pub(super) asked: Duration,
    /// One for each time that it was asked.
    questions: Vec<Question>,
}

/// Requests of one kind that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) answered: u32,
    pub(super) missed: u32,
    /// An end of it was gone before it was over: it does not count.
    pub(super) void: u32,
}

impl Tally {
    /// The share of those that count that were answered.
    pub(super) fn ratio(self) -> Option<f64> {
        let all = self.answered + self.missed;
        (all > 0).then(|| f64::from(self.answered) / f64::from(all))
    }
}

/// All requests of a trial.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<u64, Request>,
    next: u64,
    pub(super) public: Tally,
    pub(super) private: Tally,
    pub(super) reads: Tally,
}

impl Requests {
    /// A request begins; by this number it is known.
    pub(super) fn open(&mut self, from: NodeIndex, aim: Aim, now: Duration) -> u64 {
        self.next += 1;
        self.open.insert(self.next, Request { from, aim, asked: now, questions: Vec::new() });
        self.next
    }

    /// One that is under way.
    pub(super) fn get(&self, id: u64) -> Option<&Request> {
        self.open.get(&id)
    }

    /// It was asked once more.
    pub(super) fn asked(&mut self, id: u64, question: Question) {
        if let Some(request) = self.open.get_mut(&id) {
            request.questions.push(question);
        }
    }

    /// An answer came: the request that it ends.
    pub(super) fn answer(&mut self, answer: &Answer) -> Option<Request> {
        let (id, request) =
            self.open.iter().find(|(_, request)| request.questions.contains(&answer.question))?;
        let (id, limit) = (*id, request.asked + request.aim.terms().1);
        if answer.at > limit || !request.aim.is_met(&answer.reply) {
            return None;
        }
        let request = self.open.remove(&id)?;
        self.tally(request.aim).answered += 1;
        Some(request)
    }

    /// The time of a request is over: it was not answered.
    pub(super) fn give_up(&mut self, id: u64) -> Option<Request> {
        let request = self.open.remove(&id)?;
        self.tally(request.aim).missed += 1;
        Some(request)
    }

    /// A member is gone, and what it asked, and what it was asked, with it.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        let is_end = |_: &u64, request: &mut Request| {
            request.from == node || matches!(request.aim, Aim::Member(_, to) if to == node)
        };
        let gone: Vec<Request> = self.open.extract_if(.., is_end).map(|(_, request)| request).collect();
        for request in gone {
            self.tally(request.aim).void += 1;
        }
    }

    fn tally(&mut self, aim: Aim) -> &mut Tally {
        match aim {
            Aim::Member(Overlay::Public, _) => &mut self.public,
            Aim::Member(Overlay::Private, _) => &mut self.private,
            Aim::Value(_) => &mut self.reads,
        }
    }
}

#[cfg(test)]
mod tests {
    use atoll_core::control::FailureKind;

    use super::*;

    const AIM: Aim = Aim::Member(Overlay::Public, NodeIndex(1));
    const SECOND: Duration = Duration::from_secs(1);

    fn answer(question: u64, seconds: u32, reply: Reply) -> Answer {
        Answer { question: Question(question), at: SECOND * seconds, reply }
    }

    fn pong() -> Reply {
        Reply::Ping { seconds: 0.1, hops: 2 }
    }

    #[test]
    fn the_first_good_answer_within_the_limit_counts_and_no_other() {
        let mut requests = Requests::default();
        let id = requests.open(NodeIndex(0), AIM, SECOND);
        requests.asked(id, Question(7));
        requests.asked(id, Question(8));
        let failed = Reply::failed(FailureKind::NoAnswer, "nobody is on the way");
        assert!(requests.answer(&answer(7, 2, failed)).is_none());
        assert!(requests.answer(&answer(9, 2, pong())).is_none(), "nobody asked that");
        assert!(requests.answer(&answer(7, 7, pong())).is_none(), "too late");
        assert!(requests.answer(&answer(8, 6, pong())).is_some());
        assert!(requests.answer(&answer(8, 6, pong())).is_none());
        assert_eq!(
            (requests.public, requests.give_up(id).is_none()),
            (Tally { answered: 1, missed: 0, void: 0 }, true)
        );
    }

    #[test]
    fn a_request_whose_end_is_gone_does_not_count() {
        let mut requests = Requests::default();
        let ids = [(0, AIM), (1, Aim::Value(3)), (2, Aim::Member(Overlay::Private, NodeIndex(0)))]
            .map(|(from, aim)| requests.open(NodeIndex(from), aim, SECOND));
        requests.forget(NodeIndex(1));
        assert!(requests.get(ids[0]).is_none() && requests.get(ids[1]).is_none());
        assert!(requests.give_up(ids[2]).is_some());
        assert_eq!(
            [requests.public, requests.reads].map(|tally| (tally.void, tally.ratio())),
            [(1, None); 2]
        );
        assert_eq!(requests.private.ratio(), Some(0.0));
    }

    #[test]
    fn a_value_is_found_if_it_is_the_one_alone() {
        let found = |texts: &[&[u8]]| {
            let value = |bytes: &&[u8]| atoll_core::control::DhtValue {
                value: bytes.to_vec(),
                lease_seconds: 1.0,
                creator: None,
                sequence: None,
            };
            Reply::DhtValues { values: texts.iter().map(value).collect(), next: None, complete: false }
        };
        let own = values::value(3);
        assert!(Aim::Value(3).is_met(&found(&[&own])));
        for other in [&[][..], &[&b"x"[..]], &[&own[..], &b"x"[..]]] {
            assert!(!Aim::Value(3).is_met(&found(other)));
        }
    }
}
