//! Renewals: a later handshake of the same association, inside it.
//!
//! Its datagrams are sealed with the keys in use, so that nobody else can begin or disturb one, and its certificates
//! are not seen. The end where the association began leads; the other begins only when a renewal is overdue, and gives
//! way if both begin at once.

use super::association::{Association, Call, Shield};
use super::flight::{Attempt, Backoff};
use super::{Action, Buffer, DropReason, Handshake, Handshaker, Reply, Side, Start};
use crate::security::record::Purpose;

impl<T: Handshake> Association<T> {
    /// Begins a renewal as soon as the last one is over.
    pub(super) fn renew<H>(&mut self, call: &mut Call<'_, H>)
    where
        H: Handshaker<Handshake = T>,
    {
        if let Some(Shield::Phases(phases)) = &mut self.shield {
            phases.hasten(call.now);
        }
        self.renew_if_due(call);
    }

    /// Begins a renewal if it is time.
    pub(super) fn renew_if_due<H>(&mut self, call: &mut Call<'_, H>)
    where
        H: Handshaker<Handshake = T>,
    {
        let Some(Shield::Phases(phases)) = &self.shield else { return };
        let due = phases.renewal_due(&call.common.limits, self.leads);
        if self.attempt.is_some() || self.ended.is_some() || due > call.now {
            return;
        }
        let start = Start { side: Side::Initiator, generation: phases.next_generation() };
        if let Some(reply) = self.begin(start, call) {
            self.say(reply, call);
        }
    }

    fn begin<H>(&mut self, start: Start, call: &mut Call<'_, H>) -> Option<Reply>
    where
        H: Handshaker<Handshake = T>,
    {
        let mut reply = Reply::default();
        match call.handshaker.begin(start, &mut reply) {
            Ok(handshake) => {
                self.attempt = Some(Box::new(Attempt::new(handshake, start)));
                Some(reply)
            }
            Err(_) => {
                if let Some(Shield::Phases(phases)) = &mut self.shield {
                    phases.postpone(call.now);
                }
                None
            }
        }
    }

    /// A datagram of a renewal arrived.
    pub(super) fn on_renewal<H>(&mut self, mut body: Buffer, call: &mut Call<'_, H>)
    where
        H: Handshaker<Handshake = T>,
    {
        if !self.open(&mut body, Purpose::Renewal, call) {
            return;
        }
        let [generation, side, datagram @ ..] = &body[..] else { return call.drop(DropReason::Malformed) };
        let side = if *side == Side::Initiator as u8 { Side::Responder } else { Side::Initiator };
        let start = Start { side, generation: *generation };
        if self.farewell.as_ref().is_some_and(|last| last.start == start && !last.is_over(call.now)) {
            return self.on_repeated(start.generation, call);
        }
        if self.is_under_way(start) || self.follows(start, call) {
            self.hear(datagram, call);
        } else {
            call.drop(DropReason::LateHandshake);
        }
    }

    fn is_under_way(&self, start: Start) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.start == start)
    }

    /// Begins to answer the peer's renewal, if it is the next one and ours does not come first.
    fn follows<H>(&mut self, start: Start, call: &mut Call<'_, H>) -> bool
    where
        H: Handshaker<Handshake = T>,
    {
        let Some(Shield::Phases(phases)) = &self.shield else { return false };
        let gives_way = self.attempt.is_none() || !self.leads;
        if start.side == Side::Initiator || start.generation != phases.next_generation() || !gives_way {
            return false;
        }
        self.begin(start, call).is_some()
    }

    /// The initiator of a renewal shows the responder that it has the new keys.
    pub(super) fn begin_confirm<H>(&mut self, start: Start, call: &mut Call<'_, H>) {
        if start.side == Side::Initiator {
            self.confirm = Some(Box::new(Backoff::new(&call.common.limits)));
            self.confirm_now(call);
        }
    }

    pub(super) fn confirm_again<H>(&mut self, call: &mut Call<'_, H>) {
        let Some(confirm) = self.confirm.as_ref().filter(|confirm| confirm.due <= call.now) else { return };
        if !confirm.is_spent(&call.common.limits) {
            return self.confirm_now(call);
        }
        self.confirm = None;
        if let Some(Shield::Phases(phases)) = &mut self.shield {
            phases.release_older(call.now + call.common.limits.grace);
        }
    }

    fn confirm_now<H>(&mut self, call: &mut Call<'_, H>) {
        let common = &mut *call.common;
        if let Some(confirm) = &mut self.confirm {
            confirm.sent(&common.limits, &mut common.rng, call.now);
        }
        self.send_empty(call);
    }

    /// The peer shows that it has the new keys, or answers that.
    pub(super) fn on_confirm<H>(&mut self, call: &mut Call<'_, H>) {
        let Some(Shield::Phases(phases)) = &self.shield else { return };
        if phases.answered() {
            self.send_empty(call);
        }
    }

    pub(super) fn send_empty<H>(&mut self, call: &mut Call<'_, H>) {
        let Some(Shield::Phases(phases)) = &mut self.shield else { return };
        let mut record = call.common.door.blank(0);
        if phases.seal(&mut record, Purpose::Payload, &call.common.limits).is_ok() {
            call.act(|channel| Action::Record(channel, record));
        }
    }
}
