//! The salt that a group has since somebody was revoked: members tell it to their peers, and are found by it.

use super::{Lent, Overlay};
use crate::machine::{Evidence, Output};
use crate::security::Known;
use crate::wire::{Address, Epoch, Revocation, Salt};

impl Overlay {
    /// Takes a salt that whoever keeps the group's authority said. One that has not the mark of the last notice changes
    /// nothing; one that comes before its notice waits for it.
    pub fn set_epoch(&mut self, epoch: Epoch, lent: &mut Lent<'_>) {
        self.take_epoch(epoch, lent);
        self.pump(lent);
    }

    fn take_epoch(&mut self, epoch: Epoch, lent: &mut Lent<'_>) {
        let Some(known) = self.trust.known() else { return };
        if self.epochs.take(epoch, known) {
            self.enter_epoch(lent);
        }
    }

    /// A peer says the salt since a notice.
    pub(super) fn on_epoch(&mut self, peer: Address, salt: Salt, notice: &[u8], lent: &mut Lent<'_>) {
        match self.learn(notice, lent) {
            Ok((notice, fresh)) => {
                self.untold |= fresh;
                self.take_epoch(Epoch { number: notice.number, salt }, lent);
            }
            Err(refusal) => return self.counters.drop(refusal.into()),
        }
        self.tell_peers(Some(peer), lent);
    }

    /// More is known of revocations: a salt may count by now, be missing, or be for the peers.
    pub(super) fn look_at_epoch(&mut self, lent: &mut Lent<'_>) {
        let Some(known) = self.trust.known() else { return };
        if self.epochs.on_notice(known) {
            return self.enter_epoch(lent);
        }
        if let Some(number) = self.epochs.missing(known) {
            lent.outputs.push_back(Output::SaltWanted { overlay: self.slot, number });
        }
        self.share_epoch(lent);
    }

    fn enter_epoch(&mut self, lent: &mut Lent<'_>) {
        let Some(epoch) = self.epochs.own() else { return };
        lent.outputs.push_back(Output::Keep { overlay: self.slot, evidence: Evidence::Epoch(epoch) });
        let size = self.ring.size_estimate(&self.connections);
        if let Some(discovery) = &mut self.discovery {
            discovery.set_epoch(epoch, size, lent.now);
        }
        self.share_epoch(lent);
    }

    /// Every peer was judged by all that is known when the last revocation was learnt.
    fn share_epoch(&mut self, lent: &mut Lent<'_>) {
        let Some(epoch) = self.trust.known().and_then(|known| self.epochs.unshared(known)) else { return };
        for peer in self.connections.iter().map(|one| one.peer).collect::<Vec<_>>() {
            self.say_epoch(peer, epoch, lent);
        }
    }

    /// A peer knows an older salt, or none.
    pub(super) fn show_epoch(&mut self, peer: Address, theirs: u64, lent: &mut Lent<'_>) {
        let shown = self.trust.known().and_then(|known| self.epochs.shown(known));
        if let Some(epoch) = shown.filter(|epoch| epoch.number > theirs) {
            self.say_epoch(peer, epoch, lent);
        }
    }

    fn say_epoch(&mut self, peer: Address, epoch: Epoch, lent: &mut Lent<'_>) {
        let Some(notice) = self.trust.known().and_then(Known::last_notice) else { return };
        let said = Revocation::Epoch { salt: epoch.salt, notice: notice.to_vec() };
        self.say(peer, &said, lent);
    }
}
