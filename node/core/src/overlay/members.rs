//! Peers for whom an authority vouches: remembered as such, and judged again when a membership ends or is revoked.

use std::sync::Arc;
use std::time::Duration;

use super::{Lent, Overlay};
use crate::control::EventKind;
use crate::edge::{self, Edge};
use crate::machine::Deadline;
use crate::security::{ChannelId, Claim, Credentials, Identity, Refusal, Unusable};
use crate::time::Time;
use crate::wire::{CloseReason, EdgeId};

/// How long a member of our group that refused us counts, unless it was for a revocation.
const REFUSED_FOR: Duration = Duration::from_secs(600);

impl Overlay {
    /// Who the peer of an edge proved to be.
    pub(super) fn remember(&mut self, id: EdgeId, identity: Identity, lent: &Lent<'_>) {
        self.expect_end(&identity, lent);
        if let Some(edge) = self.edges.get_mut(id) {
            edge.identity = vouched(identity);
        }
    }

    /// Who the other end of a sender proved to be.
    pub(super) fn remember_sender(&mut self, channel: ChannelId, identity: Identity, lent: &Lent<'_>) {
        self.expect_end(&identity, lent);
        if let Some(sender) = self.senders.get_mut(channel) {
            sender.identity = vouched(identity);
        }
    }

    /// Takes a revocation list (DER) of our group's authority. Those whom it names are out at once.
    pub fn set_revocations(&mut self, list: &[u8], lent: &mut Lent<'_>) {
        if let Ok(trust) = self.trust.revised(list) {
            self.trust = Arc::new(trust);
            self.review(lent);
        }
    }

    /// Presents a new certificate in all handshakes to come. Associations that can show it do so at once; an edge of QUIC
    /// lives until its peer finds the old one expired, and is then linked anew.
    pub fn set_credentials(&mut self, credentials: &Credentials, lent: &mut Lent<'_>) {
        let judged = self.judge_own(credentials, lent);
        let taken =
            judged.and_then(|own| self.present(credentials).map_or(Err(Refusal::Malformed), |()| Ok(own)));
        match taken {
            Ok(own) => {
                self.certificate_expires = own.not_after;
                (self.refused, self.refusals_told, self.dirty) = (None, 0, true);
                self.sign_dht_with(credentials);
                self.renew_all(lent);
            }
            Err(refusal) => self.counters.drop(refusal.into()),
        }
        self.pump(lent);
    }

    /// What our peers will say to a certificate of ours.
    fn judge_own(&self, credentials: &Credentials, lent: &Lent<'_>) -> Result<Identity, Refusal> {
        let claim = Claim::Certificate(credentials.certificate().to_der()?);
        self.trust.verify(&claim, lent.wall)?.at(Some(self.own))
    }

    fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable> {
        self.security.present(credentials)?;
        self.engine.present(credentials)?;
        self.ends.as_mut().map_or(Ok(()), |ends| ends.present(credentials))
    }

    fn renew_all(&mut self, lent: &Lent<'_>) {
        for (id, _) in self.edges.iter() {
            self.engine.renew(edge::channel(id), lent.now);
        }
        let Some(ends) = &mut self.ends else { return };
        for (channel, _) in self.senders.iter() {
            ends.renew(channel, lent.now);
        }
    }

    /// Judges every peer again, and closes what leads to those who are no longer members.
    pub fn review(&mut self, lent: &mut Lent<'_>) {
        if !self.leaving {
            self.judge_again(lent);
            self.pump(lent);
        }
    }

    pub(super) fn judge_again(&mut self, lent: &mut Lent<'_>) {
        for (id, refusal) in self.refused_edges(lent) {
            if refusal == Refusal::Revoked {
                self.sealed = Some(lent.now);
                self.counters.revoked_closed += 1;
                if let Some(peer) = self.edges.get(id).and_then(Edge::peer) {
                    self.departed.note(peer, lent.now);
                }
            }
            self.refuse(id, refusal, lent);
        }
        for (channel, refusal) in self.refused_senders(lent) {
            self.counters.revoked_closed += u64::from(refusal == Refusal::Revoked);
            self.counters.drop(refusal.into());
            self.close_sender(channel, lent);
        }
        let edges = self.edges.iter().filter_map(|(_, edge)| edge.identity.as_deref());
        let senders = self.senders.iter().filter_map(|(_, sender)| sender.identity.as_deref());
        self.review_at = edges.chain(senders).map(|identity| end(identity, lent)).min().unwrap_or(Time::MAX);
    }

    /// A peer that proved its claim is refused, and told why: its end may see a complete handshake.
    pub(super) fn refuse(&mut self, id: EdgeId, refusal: Refusal, lent: &mut Lent<'_>) {
        self.counters.drop(refusal.into());
        self.say_close(id, refusal.into(), lent);
        self.drop_edge(id, &refusal.to_string(), lent);
    }

    /// Until when a member of our group that refused us counts, if none has taken us since: nobody to be found is no sign then of
    /// being the first. A revocation is for good; all else may have been its mistake, or pass.
    pub(super) fn out_until(&self) -> Option<Time> {
        let (reason, at) = self.refused.filter(|_| self.trust.known().is_some())?;
        Some(if reason == CloseReason::Revoked { Time::MAX } else { at + REFUSED_FOR })
    }

    /// A peer takes us for no member. Each reason is said aloud once: we knock again and again.
    pub(super) fn on_refused(&mut self, reason: CloseReason, lent: &mut Lent<'_>) {
        self.refused = Some((reason, lent.now));
        self.dirty = true;
        let bit = 1 << reason as u8;
        if self.refusals_told & bit == 0 {
            self.refusals_told |= bit;
            self.tell(EventKind::Refused { why: reason.describe().to_owned() }, lent);
        }
    }

    fn refused_edges(&self, lent: &Lent<'_>) -> Vec<(EdgeId, Refusal)> {
        let judge = |identity: &Identity| self.trust.review(identity, lent.wall).err();
        let edges = self.edges.iter();
        edges.filter_map(|(id, edge)| Some((id, judge(edge.identity.as_deref()?)?))).collect()
    }

    fn refused_senders(&self, lent: &Lent<'_>) -> Vec<(ChannelId, Refusal)> {
        let judge = |identity: &Identity| self.trust.review(identity, lent.wall).err();
        let senders = self.senders.iter();
        senders.filter_map(|(channel, one)| Some((channel, judge(one.identity.as_deref()?)?))).collect()
    }

    fn expect_end(&mut self, identity: &Identity, lent: &Lent<'_>) {
        self.review_at = self.review_at.min(end(identity, lent));
    }

    pub(super) fn review_timeout(&self) -> Option<Deadline> {
        (self.review_at < Time::MAX).then_some(Deadline { at: self.review_at, reason: "end of a membership" })
    }
}

/// Nothing need be remembered of a member that no authority knows.
fn vouched(identity: Identity) -> Option<Box<Identity>> {
    identity.group.is_some().then(|| Box::new(identity))
}

/// When the membership is over, at most a second late, if nobody sets the wall clock.
fn end(identity: &Identity, lent: &Lent<'_>) -> Time {
    let Some(last) = identity.not_after else { return Time::MAX };
    let seconds = last.0.saturating_sub(lent.wall.0).saturating_add(1);
    lent.now + Duration::from_secs(seconds)
}
