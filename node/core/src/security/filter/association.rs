//! One association: its handshake, the last flight, its records.

use super::flight::{Attempt, Farewell};
use super::{
    Action, Buffer, ChannelId, Common, Down, DropReason, Handshake, Handshaker, Outcome, Protection, Reply,
    SendError, Step, Time,
};
use crate::security::door::{Kind, Letter};

/// What one call into the engine works with.
pub(super) struct Call<'a, H> {
    pub(super) channel: ChannelId,
    pub(super) now: Time,
    pub(super) common: &'a mut Common,
    #[expect(dead_code, reason = "the next handshake of an association needs it")]
    pub(super) handshaker: &'a mut H,
}

impl<H> Call<'_, H> {
    fn act(&mut self, action: impl FnOnce(ChannelId) -> Action) {
        self.common.actions.push_back(action(self.channel));
    }

    fn drop(&mut self, reason: DropReason) {
        self.common.drop(reason);
    }
}

/// The state with one peer.
#[derive(Debug)]
pub(super) struct Association<T> {
    attempt: Option<Box<Attempt<T>>>,
    farewell: Option<Box<Farewell>>,
    protection: Option<Protection>,
    ended: Option<Down>,
}

impl<T: Handshake> Association<T> {
    pub(super) fn new(attempt: Attempt<T>) -> Self {
        Self { attempt: Some(Box::new(attempt)), farewell: None, protection: None, ended: None }
    }

    /// Whether a peer's handshake is under way that has not shown who it is.
    pub(super) fn is_half_open(&self) -> bool {
        self.protection.is_none() && self.attempt.as_ref().is_some_and(|attempt| !attempt.is_initiator())
    }

    pub(super) fn ended(&self) -> Option<Down> {
        self.ended
    }

    pub(super) fn due(&self) -> Time {
        self.attempt.as_ref().map_or(Time::MAX, |attempt| attempt.due())
    }

    /// Takes the peer's first flight, which must be worth an answer.
    pub(super) fn accept<H>(&mut self, datagram: &[u8], call: &mut Call<'_, H>) {
        self.hear(datagram, call);
        if self.attempt.as_ref().is_some_and(|attempt| attempt.backoff.is_none()) {
            self.ended = Some(Down::Failed);
        }
    }

    /// Says a new flight.
    pub(super) fn say<H>(&mut self, reply: Reply, call: &mut Call<'_, H>) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.set_flight(reply, call.common);
        self.say_again(call);
    }

    fn say_again<H>(&mut self, call: &mut Call<'_, H>) {
        let Some(attempt) = &mut self.attempt else { return };
        let common = &mut *call.common;
        if let Some(backoff) = &mut attempt.backoff {
            backoff.sent(&common.limits, &mut common.rng, call.now);
        }
        let (kind, flight) = attempt.flight();
        for datagram in flight.renumbered::<T>() {
            let letter = common.door.write(kind, datagram);
            common.actions.push_back(Action::Handshake(call.channel, letter));
        }
    }

    /// A handshake datagram arrived on the channel.
    pub(super) fn on_letter<H>(&mut self, letter: &Letter, call: &mut Call<'_, H>) {
        match letter.kind {
            Kind::Retry { cookie } => self.on_retry(cookie, call),
            Kind::Hello { .. } => self.on_repeated(call),
            Kind::Flight if self.attempt.is_some() => self.hear(&letter.body, call),
            Kind::Flight => self.on_repeated(call),
        }
    }

    fn on_retry<H>(&mut self, cookie: u64, call: &mut Call<'_, H>) {
        let Some(attempt) = &mut self.attempt else { return call.drop(DropReason::LateHandshake) };
        if attempt.retry(cookie, call.common) {
            self.say_again(call);
        } else {
            call.drop(DropReason::LateHandshake);
        }
    }

    /// The peer says again what was taken: it may have missed our last flight.
    fn on_repeated<H>(&mut self, call: &mut Call<'_, H>) {
        let Some(farewell) = &mut self.farewell else { return call.drop(DropReason::LateHandshake) };
        if !farewell.repeats(call.now) {
            return call.drop(DropReason::LateHandshake);
        }
        for datagram in farewell.flight.renumbered::<T>() {
            let letter = call.common.door.write(Kind::Flight, datagram);
            call.common.actions.push_back(Action::Handshake(call.channel, letter));
        }
    }

    /// The handshake under way takes what the peer says.
    pub(super) fn hear<H>(&mut self, datagram: &[u8], call: &mut Call<'_, H>) {
        let Some(attempt) = &mut self.attempt else { return };
        if !attempt.takes(datagram.len()) {
            return call.drop(DropReason::Full);
        }
        let mut reply = Reply::default();
        let step = attempt.handshake.advance(datagram, &mut reply);
        if let Some(reason) = reply.dropped {
            call.drop(reason);
        }
        match step {
            Step::Failed(why) => self.ended = Some(why),
            Step::Waiting if reply.flight.is_empty() => {}
            Step::Waiting => self.say(reply, call),
            Step::Done(outcome) => self.complete(outcome, reply, call),
        }
    }

    fn complete<H>(&mut self, outcome: Outcome, reply: Reply, call: &mut Call<'_, H>) {
        let says_last = !reply.flight.is_empty();
        if says_last {
            self.say(reply, call);
        }
        let attempt = self.attempt.take();
        self.farewell =
            attempt.filter(|_| says_last).map(|attempt| Box::new(attempt.into_farewell(call.now)));
        self.protection = Some(outcome.protection);
        call.act(|channel| Action::Up(channel, outcome.claim));
    }

    pub(super) fn on_record<H>(&mut self, record: Buffer, call: &mut Call<'_, H>) {
        match &self.protection {
            None => call.drop(DropReason::NotUp),
            Some(Protection::Open) => {
                self.farewell = None;
                call.act(|channel| Action::Opened(channel, record));
            }
        }
    }

    pub(super) fn send<H>(&mut self, payload: Buffer, call: &mut Call<'_, H>) -> Result<(), SendError> {
        match &self.protection {
            None => return Err(SendError::NotUp),
            Some(Protection::Open) => call.act(|channel| Action::Record(channel, payload)),
        }
        Ok(())
    }

    pub(super) fn on_timeout<H: Handshaker>(&mut self, call: &mut Call<'_, H>) {
        if self.farewell.as_ref().is_some_and(|farewell| farewell.is_over(call.now)) {
            self.farewell = None;
        }
        let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.due() <= call.now) else { return };
        if attempt.backoff.as_ref().is_some_and(|backoff| backoff.is_spent(&call.common.limits)) {
            self.ended = Some(Down::Silent);
        } else {
            self.say_again(call);
        }
    }
}
