//! Service: questions that local users ask about the overlay, until they are answered or too old.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::{FailureKind, Reply};
use crate::machine::{Deadline, RequestId};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Echo, Members};

/// Questions under way at most; beyond, new ones are refused.
pub const PENDING_MAX: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Pending {
    request: RequestId,
    sent: Time,
}

/// The questions of one overlay.
#[derive(Debug)]
pub struct Inquiries {
    rng: Rng,
    pending: BTreeMap<u32, Pending>,
}

impl Inquiries {
    /// No question yet.
    #[must_use]
    pub fn new(rng: &Rng) -> Self {
        Self { rng: rng.fork("inquiry"), pending: BTreeMap::new() }
    }

    /// Takes a question in; its id on the wire, or none if there are too many.
    pub fn ask(&mut self, request: RequestId, now: Time) -> Option<u32> {
        if self.pending.len() >= PENDING_MAX {
            return None;
        }
        let id = self.rng.next_u32();
        self.pending.insert(id, Pending { request, sent: now });
        Some(id)
    }

    /// An echo came back.
    pub fn on_echo(&mut self, echo: Echo, now: Time) -> Option<(RequestId, Reply)> {
        let pending = self.pending.remove(&echo.id)?;
        let seconds = now.since(pending.sent).as_secs_f64();
        Some((pending.request, Reply::Ping { seconds, hops: u32::from(echo.hops) }))
    }

    /// A trace came back from `destination`.
    pub fn on_trace(
        &mut self,
        trace: Members,
        destination: Address,
        now: Time,
    ) -> Option<(RequestId, Reply)> {
        let pending = self.pending.remove(&trace.id)?;
        let seconds = now.since(pending.sent).as_secs_f64();
        let hops = trace.members.into_iter().chain([destination]).collect();
        Some((pending.request, Reply::Route { hops, seconds }))
    }

    /// A question that is too old, one a call.
    pub fn handle_timeout(&mut self, now: Time) -> Option<(RequestId, Reply)> {
        let (id, _) = self.pending.iter().find(|(_, pending)| pending.sent + TIMEOUT <= now)?;
        let id = *id;
        let pending = self.pending.remove(&id)?;
        let why = format!("no answer within {} s", TIMEOUT.as_secs());
        Some((pending.request, Reply::failed(FailureKind::NoAnswer, why)))
    }

    /// When the oldest question is too old.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let sent = self.pending.values().map(|pending| pending.sent).min()?;
        Some(Deadline { at: sent + TIMEOUT, reason: "inquiry" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_is_too_old_has_no_answer() {
        let mut inquiries = Inquiries::new(&Rng::new([1; 32]));
        inquiries.ask(RequestId(7), Time::ZERO).unwrap();
        assert_eq!(inquiries.handle_timeout(Time::from_secs(9)), None);
        let (request, reply) = inquiries.handle_timeout(Time::from_secs(10)).unwrap();
        assert_eq!(request, RequestId(7));
        assert!(matches!(reply, Reply::Failed { kind: FailureKind::NoAnswer, .. }), "{reply:?}");
        assert_eq!(inquiries.poll_timeout(), None);
    }
}
