//! Service: questions that local users ask about the overlay, until they are answered or too old.

use std::time::Duration;

use crate::control::{FailureKind, Reply};
use crate::machine::{Deadline, RequestId};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Echo, Members, PacketKind};

/// Questions under way at most; beyond, new ones are refused.
pub const PENDING_MAX: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(10);
/// After how long a question is asked again: its packet may be lost where members are just moving to their places. Each
/// further time takes twice as long.
const AGAIN: Duration = Duration::from_secs(1);

/// What is asked of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// A request for an echo or for a trace.
    pub kind: PacketKind,
    /// The member.
    pub target: Address,
}

/// What the service wants.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    /// Ask this with this id.
    Ask(Question, u32),
    /// There is no answer.
    Reply(RequestId, Reply),
}

#[derive(Debug)]
struct Pending {
    request: RequestId,
    question: Question,
    /// The id on the wire and the time of each packet.
    packets: Vec<(u32, Time)>,
    again: Time,
    until: Time,
}

/// The questions of one overlay.
#[derive(Debug)]
pub struct Inquiries {
    rng: Rng,
    pending: Vec<Pending>,
}

impl Inquiries {
    /// No question yet.
    #[must_use]
    pub fn new(rng: &Rng) -> Self {
        Self { rng: rng.fork("inquiry"), pending: Vec::new() }
    }

    /// Takes a question in; its id on the wire, or none if there are too many.
    pub fn ask(&mut self, request: RequestId, question: Question, now: Time) -> Option<u32> {
        if self.pending.len() >= PENDING_MAX {
            return None;
        }
        let id = self.rng.next_u32();
        let packets = vec![(id, now)];
        let (again, until) = (now + AGAIN, now + TIMEOUT);
        self.pending.push(Pending { request, question, packets, again, until });
        Some(id)
    }

    /// The question that is over, and when the packet with this id left.
    fn take(&mut self, id: u32) -> Option<(Pending, Time)> {
        let (at, sent) = self.pending.iter().enumerate().find_map(|(at, pending)| {
            let packet = pending.packets.iter().find(|(own, _)| *own == id)?;
            Some((at, packet.1))
        })?;
        Some((self.pending.remove(at), sent))
    }

    /// There is no way to the target of the question with this id.
    pub fn give_up(&mut self, id: u32) -> Option<(RequestId, Reply)> {
        let (pending, _) = self.take(id)?;
        let why = format!("no way to {}: no connected peer is nearer to it", pending.question.target);
        Some((pending.request, Reply::failed(FailureKind::NoAnswer, why)))
    }

    /// An echo came back.
    pub fn on_echo(&mut self, echo: Echo, now: Time) -> Option<(RequestId, Reply)> {
        let (pending, sent) = self.take(echo.id)?;
        let seconds = now.since(sent).as_secs_f64();
        Some((pending.request, Reply::Ping { seconds, hops: u32::from(echo.hops) }))
    }

    /// A trace came back from `destination`.
    pub fn on_trace(
        &mut self,
        trace: Members,
        destination: Address,
        now: Time,
    ) -> Option<(RequestId, Reply)> {
        let (pending, sent) = self.take(trace.id)?;
        let seconds = now.since(sent).as_secs_f64();
        let hops = trace.members.into_iter().chain([destination]).collect();
        Some((pending.request, Reply::Route { hops, seconds }))
    }

    /// A question to ask again, or one that is too old; one a call.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Wanted> {
        if let Some(at) = self.pending.iter().position(|pending| pending.until <= now) {
            let why = format!("no answer within {} s", TIMEOUT.as_secs());
            let request = self.pending.remove(at).request;
            return Some(Wanted::Reply(request, Reply::failed(FailureKind::NoAnswer, why)));
        }
        let pending = self.pending.iter_mut().find(|pending| pending.again <= now)?;
        let id = self.rng.next_u32();
        pending.packets.push((id, now));
        pending.again = now + AGAIN * (1 << pending.packets.len().min(8)) / 2;
        Some(Wanted::Ask(pending.question, id))
    }

    /// When a question is to be asked again, or too old.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let at = self.pending.iter().map(|pending| pending.again.min(pending.until)).min()?;
        Some(Deadline { at, reason: "inquiry" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question { kind: PacketKind::EchoRequest, target: Address::from_bytes([7; Address::LEN]) }
    }

    #[test]
    fn a_question_is_asked_again_until_it_is_too_old() {
        let mut inquiries = Inquiries::new(&Rng::new([1; 32]));
        inquiries.ask(RequestId(7), question(), Time::ZERO).unwrap();
        let mut asked = Vec::new();
        let reply = loop {
            let now = inquiries.poll_timeout().unwrap().at;
            match inquiries.handle_timeout(now) {
                Some(Wanted::Ask(asking, _)) if asking == question() => asked.push(now),
                Some(Wanted::Reply(request, reply)) => break (now, request, reply),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(asked, [1, 3, 7].map(Time::from_secs));
        let (now, request, reply) = reply;
        assert_eq!((now, request), (Time::from_secs(10), RequestId(7)));
        assert!(matches!(reply, Reply::Failed { kind: FailureKind::NoAnswer, .. }), "{reply:?}");
        assert_eq!(inquiries.poll_timeout(), None);
    }

    #[test]
    fn the_round_trip_is_that_of_the_packet_that_is_answered() {
        for late in [false, true] {
            let mut inquiries = Inquiries::new(&Rng::new([1; 32]));
            let first = inquiries.ask(RequestId(7), question(), Time::ZERO).unwrap();
            let Some(Wanted::Ask(_, again)) = inquiries.handle_timeout(Time::from_secs(1)) else {
                panic!("it is not asked again")
            };
            let (id, seconds) = if late { (first, 2.0) } else { (again, 1.0) };
            let answer = inquiries.on_echo(Echo { id, hops: 3 }, Time::from_secs(2));
            assert_eq!(answer, Some((RequestId(7), Reply::Ping { seconds, hops: 3 })));
            let other = if late { again } else { first };
            assert_eq!(inquiries.on_echo(Echo { id: other, hops: 3 }, Time::from_secs(2)), None);
        }
    }
}
