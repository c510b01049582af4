//! One association: its handshake, the last flight, its records.

use super::flight::{Attempt, Backoff, Farewell, Flight};
use super::{
    Action, Buffer, ChannelId, Claim, Common, Down, DropReason, Handshake, Handshaker, Outcome, Protection,
    Reply, SendError, Start, Step, Time,
};
use crate::security::door::{Kind, Letter};
use crate::security::record::{Fresh, Phases, Purpose};

/// What one call into the engine works with.
pub(super) struct Call<'a, H> {
    pub(super) channel: ChannelId,
    pub(super) now: Time,
    pub(super) common: &'a mut Common,
    pub(super) handshaker: &'a mut H,
}

impl<H> Call<'_, H> {
    pub(super) fn act(&mut self, action: impl FnOnce(ChannelId) -> Action) {
        self.common.actions.push_back(action(self.channel));
    }

    pub(super) fn drop(&mut self, reason: DropReason) {
        self.common.drop(reason);
    }
}

/// What stands between payloads and records.
#[derive(Debug)]
pub(super) enum Shield {
    Open,
    Phases(Box<Phases>),
}

impl Shield {
    fn seal(&mut self, payload: &mut Buffer, purpose: Purpose, common: &Common) -> Result<(), SendError> {
        match self {
            Self::Open => Ok(()),
            Self::Phases(phases) => phases.seal(payload, purpose, &common.limits),
        }
    }
}

/// The state with one peer.
#[derive(Debug)]
pub(super) struct Association<T> {
    pub(super) attempt: Option<Box<Attempt<T>>>,
    pub(super) farewell: Option<Box<Farewell>>,
    pub(super) shield: Option<Shield>,
    /// An empty record that shows the peer our new keys is sent again until it answers.
    pub(super) confirm: Option<Box<Backoff>>,
    /// Whether the first handshake began here: this end leads renewals.
    pub(super) leads: bool,
    pub(super) ended: Option<Down>,
}

impl<T: Handshake> Association<T> {
    pub(super) fn new(attempt: Attempt<T>) -> Self {
        let leads = attempt.is_initiator();
        let attempt = Some(Box::new(attempt));
        Self { attempt, farewell: None, shield: None, confirm: None, leads, ended: None }
    }

    /// Whether a peer's first handshake is under way.
    pub(super) fn is_half_open(&self) -> bool {
        self.shield.is_none() && !self.leads
    }

    pub(super) fn due(&self, common: &Common) -> Time {
        let attempt = self.attempt.as_ref().map(|attempt| attempt.due());
        let confirm = self.confirm.as_ref().map(|confirm| confirm.due);
        let shield = match &self.shield {
            Some(Shield::Phases(phases)) if self.attempt.is_some() => Some(phases.due()),
            Some(Shield::Phases(phases)) => {
                Some(phases.due().min(phases.renewal_due(&common.limits, self.leads)))
            }
            _ => None,
        };
        attempt.into_iter().chain(confirm).chain(shield).min().unwrap_or(Time::MAX)
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
        attempt.set_flight(reply, call.common, call.now);
        self.say_again(call);
    }

    pub(super) fn say_again<H>(&mut self, call: &mut Call<'_, H>) {
        let Some(attempt) = &mut self.attempt else { return };
        let common = &mut *call.common;
        if let Some(backoff) = &mut attempt.backoff {
            backoff.sent(&common.limits, &mut common.rng, call.now);
        }
        let (kind, start) = (attempt.kind(), attempt.start);
        if attempt.only_asks() {
            let letter = common.door.write(kind, &[0]);
            return call.act(|channel| Action::Handshake(channel, letter));
        }
        post::<T, H>(&mut attempt.flight, (kind, start), self.shield.as_mut(), call);
    }

    /// A handshake datagram arrived on the channel.
    pub(super) fn on_letter<H>(&mut self, letter: Letter, call: &mut Call<'_, H>)
    where
        H: Handshaker<Handshake = T>,
    {
        match letter.kind {
            Kind::Retry { cookie } => self.on_retry(cookie, call),
            Kind::Renewal => self.on_renewal(letter.body, call),
            Kind::Flight if self.is_opening() => self.hear(&letter.body, call),
            Kind::Hello { .. } if self.expects_hellos() => self.hear(&letter.body, call),
            Kind::Hello { .. } | Kind::Flight => self.on_repeated(0, call),
        }
    }

    /// Whether the first handshake is under way.
    fn is_opening(&self) -> bool {
        self.shield.is_none() && self.attempt.is_some()
    }

    /// Whether the peer's first flight comes in several hellos.
    fn expects_hellos(&self) -> bool {
        let is_bulky = self.attempt.as_ref().is_some_and(|attempt| attempt.handshake.is_bulky());
        is_bulky && self.is_half_open()
    }

    fn on_retry<H>(&mut self, cookie: u64, call: &mut Call<'_, H>) {
        let Some(attempt) = &mut self.attempt else { return call.drop(DropReason::LateHandshake) };
        if attempt.retry(cookie, call.common, call.now) {
            self.say_again(call);
        } else {
            call.drop(DropReason::LateHandshake);
        }
    }

    /// The peer says again what was taken: it may have missed our last flight.
    pub(super) fn on_repeated<H>(&mut self, generation: u8, call: &mut Call<'_, H>) {
        let farewell = self.farewell.as_mut().filter(|farewell| farewell.start.generation == generation);
        let Some(farewell) = farewell else { return call.drop(DropReason::LateHandshake) };
        if !farewell.repeats(call.now) {
            return call.drop(DropReason::LateHandshake);
        }
        let kind = if generation == 0 { Kind::Flight } else { Kind::Renewal };
        post::<T, H>(&mut farewell.flight, (kind, farewell.start), self.shield.as_mut(), call);
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
            Step::Failed(why) => self.fail(why, call),
            Step::Waiting if reply.flight.is_empty() => {}
            Step::Waiting => self.say(reply, call),
            Step::Done(outcome) => self.complete(outcome, reply, call),
        }
    }

    /// The handshake under way is over. The association lives on if it was a renewal.
    fn fail<H>(&mut self, why: Down, call: &mut Call<'_, H>) {
        match &mut self.shield {
            Some(Shield::Phases(phases)) => phases.postpone(call.now),
            _ => self.ended = Some(why),
        }
        self.attempt = None;
    }

    fn complete<H>(&mut self, outcome: Outcome, reply: Reply, call: &mut Call<'_, H>) {
        let says_last = !reply.flight.is_empty();
        if says_last {
            self.say(reply, call);
        }
        let Some(attempt) = self.attempt.take() else { return };
        let start = attempt.start;
        self.farewell = says_last.then(|| Box::new(attempt.into_farewell(call.now)));
        let Outcome { claim, protection } = outcome;
        match (protection, &mut self.shield) {
            (Protection::Open, shield) => *shield = Some(Shield::Open),
            (Protection::Modelled { padding, greets }, _) => {
                self.protect(&Fresh::Model { padding }, (start, claim), call);
                if greets {
                    self.send_empty(call);
                }
                return;
            }
            (Protection::Sealed(keys), _) => return self.protect(&Fresh::Keys(keys), (start, claim), call),
        }
        call.act(|channel| Action::Up(channel, claim));
    }

    fn protect<H>(&mut self, fresh: &Fresh, (start, claim): (Start, Claim), call: &mut Call<'_, H>) {
        let after = call.common.rng.jitter(call.common.limits.renew_after, 0.1);
        if let Some(Shield::Phases(phases)) = &mut self.shield {
            phases.install(fresh, start);
            phases.plan(after, self.leads, call.now);
            self.begin_confirm(start, call);
            return call.act(|channel| Action::Renewed(channel, claim));
        }
        let mut phases = Box::new(Phases::new(fresh, start));
        phases.plan(after, self.leads, call.now);
        self.shield = Some(Shield::Phases(phases));
        call.act(|channel| Action::Up(channel, claim));
    }

    pub(super) fn on_record<H>(&mut self, mut record: Buffer, call: &mut Call<'_, H>)
    where
        H: Handshaker<Handshake = T>,
    {
        match &mut self.shield {
            None => return call.drop(DropReason::NotUp),
            Some(Shield::Open) => self.farewell = None,
            Some(Shield::Phases(_)) => {
                if !self.open(&mut record, Purpose::Payload, call) {
                    return;
                }
                self.renew_if_due(call);
            }
        }
        if record.is_empty() {
            self.on_confirm(call);
        } else {
            call.act(|channel| Action::Opened(channel, record));
        }
    }

    /// Opens a record in place; false if it was dropped.
    pub(super) fn open<H>(&mut self, record: &mut Buffer, purpose: Purpose, call: &mut Call<'_, H>) -> bool {
        let Some(Shield::Phases(phases)) = &mut self.shield else {
            call.drop(DropReason::NotUp);
            return false;
        };
        let result = phases.open(record, purpose, call.now + call.common.limits.grace);
        if phases.heard() && result.is_ok() {
            // The peer has the newest keys: nothing of their handshake is missing there.
            self.farewell = None;
            self.confirm = None;
        }
        let Err(reason) = result else { return true };
        if phases.is_attacked(&call.common.limits) {
            self.ended = Some(Down::Exhausted);
        }
        call.drop(reason);
        false
    }

    pub(super) fn send<H>(&mut self, mut payload: Buffer, call: &mut Call<'_, H>) -> Result<(), SendError>
    where
        H: Handshaker<Handshake = T>,
    {
        let shield = self.shield.as_mut().ok_or(SendError::NotUp)?;
        shield.seal(&mut payload, Purpose::Payload, call.common)?;
        call.act(|channel| Action::Record(channel, payload));
        self.renew_if_due(call);
        Ok(())
    }

    pub(super) fn on_timeout<H>(&mut self, call: &mut Call<'_, H>)
    where
        H: Handshaker<Handshake = T>,
    {
        if self.farewell.as_ref().is_some_and(|farewell| farewell.is_over(call.now)) {
            self.farewell = None;
        }
        if let Some(Shield::Phases(phases)) = &mut self.shield
            && phases.expire(call.now)
        {
            self.ended = Some(Down::Exhausted);
            return;
        }
        self.confirm_again(call);
        if let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.due() <= call.now) {
            match &attempt.backoff {
                Some(backoff) if backoff.is_spent(&call.common.limits) => self.fail(Down::Silent, call),
                _ => self.say_again(call),
            }
        }
        self.renew_if_due(call);
    }
}

/// Sends the datagrams of a flight; those of a renewal are sealed.
pub(super) fn post<T: Handshake, H>(
    flight: &mut Flight,
    (kind, start): (Kind, Start),
    mut shield: Option<&mut Shield>,
    call: &mut Call<'_, H>,
) {
    let common = &mut *call.common;
    for datagram in flight.renumbered::<T>() {
        let letter = if kind == Kind::Renewal {
            let mut body = common.door.blank(datagram.len() + 2);
            body.extend(&[start.generation, start.side as u8]);
            body.extend(datagram);
            let Some(shield) = shield.as_mut() else { return };
            if shield.seal(&mut body, Purpose::Renewal, common).is_err() {
                return;
            }
            common.door.write(kind, &body)
        } else {
            common.door.write(kind, datagram)
        };
        common.actions.push_back(Action::Handshake(call.channel, letter));
    }
}
