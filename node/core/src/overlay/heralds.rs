//! Announcements: a site's member of the public overlay has members of a group told of revocations, and members of the group
//! take what they are told and sign that they have it.

use std::sync::Arc;

use super::{Lent, Overlay};
use crate::control::{FailureKind, Reply};
use crate::counters::DropReason;
use crate::dht::{News, Outcome};
use crate::herald::{Page, Wish};
use crate::machine::{Output, RequestId, Telling};
use crate::security::{Authority, Course, Refusal, Trust, sign_receipt};
use crate::wire::{
    ANNOUNCED_BYTES, ANNOUNCED_MAX, Address, Announcement, Mode, PacketHeader, PacketKind, Receipt,
};

/// Marks numbers of questions to the DHT as the herald's.
const HERALD: u64 = 1 << 63;
/// Announcements that wait for the node to hand them on at most; one more is dropped, and comes again.
const HEARD_MAX: usize = 16;

impl Overlay {
    /// Has members of a group told, through this overlay.
    pub fn tell_group(&mut self, id: RequestId, telling: &Telling, lent: &mut Lent<'_>) {
        let bytes: usize = telling.notices.iter().map(Vec::len).sum();
        let fits = (1..=ANNOUNCED_MAX).contains(&telling.notices.len()) && bytes <= ANNOUNCED_BYTES;
        let failed = match self.rule_of(telling) {
            _ if !fits => Reply::failed(FailureKind::Refused, "the notices fit into no announcement"),
            Err(refusal) => Reply::failed(FailureKind::Refused, refusal.to_string()),
            Ok(trust) => {
                if self.herald.begin(id, telling, trust, lent.now) {
                    self.run_dht(lent);
                    return self.pump(lent);
                }
                Reply::failed(FailureKind::Busy, "too many announcements are under way")
            }
        };
        Self::reply(id, failed, lent);
    }

    /// What judges the receipts: the group's rule, by all that the site knows.
    fn rule_of(&self, telling: &Telling) -> Result<Arc<Trust>, Refusal> {
        let mut authority = Authority::new(&telling.authority, &telling.group)?;
        if let Some(list) = &telling.list {
            authority.take_user_list(list)?;
        }
        for notice in &telling.notices {
            authority.take_notice(notice)?;
        }
        Ok(self.security.clone().in_group(authority, None).trust())
    }

    /// Runs the herald's timers.
    pub(super) fn run_heralds(&mut self, lent: &mut Lent<'_>) {
        self.herald.handle_timeout(lent.now);
    }

    /// Carries out what the herald wishes; false if there was nothing.
    pub(super) fn carry_out_herald(&mut self, lent: &mut Lent<'_>) -> bool {
        let mut any = false;
        while let Some(wish) = self.herald.poll() {
            any = true;
            match wish {
                Wish::Get(number, key, after) => {
                    let origin = crate::dht::Origin::Overlay(number | HERALD);
                    self.dht.get(origin, key, after, lent.now);
                }
                Wish::Tell(to, sealed) => self.send_sealed(PacketKind::Announcement, to, &sealed, lent),
                Wish::Done(id, members) => {
                    let reply = Reply::Announced { members };
                    lent.outputs.push_back(Output::Reply { id, reply });
                }
            }
        }
        any
    }

    fn send_sealed(&mut self, kind: PacketKind, to: Address, sealed: &[u8], lent: &mut Lent<'_>) {
        if to == self.own {
            // The node beside the site may be a member of the group as well.
            return match kind {
                PacketKind::Announcement => self.on_announcement(to, sealed),
                _ => self.on_receipt(to, sealed, lent),
            };
        }
        let header = PacketHeader::new(kind, Mode::Exact, self.own, to);
        let body = lent.pool.copy(sealed);
        self.send_packet(&header, body, lent);
    }

    /// What the DHT says to the herald; false if it is not for it.
    pub(super) fn tell_herald(&mut self, number: u64, news: &News, lent: &Lent<'_>) -> bool {
        if number & HERALD == 0 {
            return false;
        }
        let number = number & !HERALD;
        match news {
            News::Over(Outcome::Page { values, next, complete }) => {
                let values: Vec<Vec<u8>> = values.iter().map(|found| found.value.clone()).collect();
                // Whoever has not joined yet asks nobody but itself.
                let is_all = *complete && self.connected;
                let page = Page { values: &values, next: *next, is_all };
                self.herald.on_page(number, &page, lent.now);
            }
            News::Over(_) => self.herald.on_failure(number, lent.now),
            // Nobody but those who know the secret can make up an entry.
            News::Glimpse(values) => self.herald.on_glimpse(number, values, lent.now),
        }
        true
    }

    /// A member of this overlay says that it has what it was told.
    pub(super) fn on_receipt(&mut self, from: Address, sealed: &[u8], lent: &mut Lent<'_>) {
        if !self.herald.on_receipt(from, sealed, (lent.wall, lent.now)) {
            self.counters.drop(DropReason::Unasked);
        }
        self.run_dht(lent);
    }

    /// An announcement for one of the node's private overlays, which only they can tell.
    pub(super) fn on_announcement(&mut self, from: Address, sealed: &[u8]) {
        if self.announced.len() == HEARD_MAX {
            return self.counters.drop(DropReason::Full);
        }
        self.announced.push_back((from, sealed.to_vec()));
    }

    /// The next announcement that came through this overlay: who says it, and what.
    pub fn poll_announced(&mut self) -> Option<(Address, Vec<u8>)> {
        self.announced.pop_front()
    }

    /// What came is for no overlay of the node.
    pub fn on_foreign_announcement(&mut self) {
        self.counters.drop(DropReason::Foreign);
    }

    /// Sends a sealed receipt through this overlay.
    pub fn send_receipt(&mut self, to: Address, sealed: &[u8], lent: &mut Lent<'_>) {
        self.send_sealed(PacketKind::Receipt, to, sealed, lent);
        self.pump(lent);
    }

    /// Takes an announcement that came through the public overlay, where we are `to`: gives the receipt if it is for us and
    /// true.
    pub fn hear_announcement(
        &mut self,
        (from, to): (Address, Address),
        sealed: &[u8],
        lent: &mut Lent<'_>,
    ) -> Option<Vec<u8>> {
        let course = Course { kind: PacketKind::Announcement, from, to };
        let Ok(message) = Announcement::read(&self.envelope.as_ref()?.open(course, sealed)?) else {
            self.counters.drop(DropReason::Malformed);
            return None;
        };
        self.counters.announcements_heard += 1;
        if let Err(refusal) = self.hear_notices(&message.notices, lent) {
            self.counters.drop(refusal.into());
            return None;
        }
        self.pump(lent);
        let receipt = self.receipt(&message)?.write();
        let mut once = [0; 12];
        self.rng.fill(&mut once);
        let back = Course { kind: PacketKind::Receipt, from: to, to: from };
        Some(self.envelope.as_ref()?.seal(back, once, &receipt))
    }

    fn receipt(&self, message: &Announcement) -> Option<Receipt> {
        let (token, member) = (message.token, self.own);
        let Some(credentials) = self.security.credentials() else {
            return Some(Receipt { token, member, certificate: Vec::new(), signature: Vec::new() });
        };
        let certificate = credentials.certificate().to_der().ok()?;
        let signature = sign_receipt(credentials.key(), &message.notices).ok()?;
        Some(Receipt { token, member, certificate, signature })
    }
}
