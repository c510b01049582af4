//! Datagrams of programs that secure themselves, as QUIC does: the ring carries them and looks into none.

use super::{Lent, Overlay};
use crate::buffer::Buffer;
use crate::control::{Author, FailureKind, Reply};
use crate::counters::DropReason;
use crate::machine::Output;
use crate::security::{Claim, Identity};
use crate::wire::{Address, CARRIED_MAX, Mode, PacketHeader, PacketKind};

impl Overlay {
    /// Sends a datagram to the program at `to`. It is not sealed end to end, and it may be lost.
    pub fn carry(&mut self, to: Address, payload: Buffer, lent: &mut Lent<'_>) {
        if payload.len() > CARRIED_MAX {
            return self.not_sent(to, DropReason::TooBig, lent);
        }
        let header = PacketHeader::new(PacketKind::Carried, Mode::Exact, self.own, to);
        self.send_packet(&header, payload, lent);
        self.pump(lent);
    }

    /// Judges the certificate of whoever is at the other end of what is carried.
    #[must_use]
    pub fn judge(&self, certificate: Vec<u8>, lent: &Lent<'_>) -> Reply {
        match self.trust.verify(&Claim::Certificate(certificate), lent.wall) {
            Ok(Identity { address, user, group, .. }) => Reply::Judged(Author { address, user, group }),
            Err(refusal) => Reply::failed(FailureKind::Refused, refusal.to_string()),
        }
    }

    pub(super) fn on_carried(&mut self, from: Address, body: &[u8], lent: &mut Lent<'_>) {
        if body.len() > CARRIED_MAX {
            return self.counters.drop(DropReason::TooBig);
        }
        let payload = lent.pool.copy(body);
        lent.outputs.push_back(Output::Carried { overlay: self.slot, from, payload });
    }
}
