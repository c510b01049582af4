//! Revocations by the overlay's own DHT: what the subscriptions wish for, and what comes of it.

use std::collections::BTreeSet;

use super::{Lent, Overlay};
use crate::dht::{How, News, Origin, Outcome, Write};
use crate::machine::Deadline;
use crate::revocations::{LEASE, Wish};
use crate::wire::{Mode, PacketHeader, PacketKind};

impl Overlay {
    /// Looks at whose nodes are our neighbours, in an overlay whose members can be revoked. Not at all peers: a few of those that
    /// have the revoked for a peer hear of it by the DHT, and they tell the others.
    pub(super) fn look_at_users(&mut self, lent: &Lent<'_>) {
        if self.subscriptions_timeout().is_none_or(|deadline| deadline.at > lent.now) {
            return;
        }
        let identity = |id| self.edges.get(id).and_then(|edge| edge.identity.as_deref());
        let nearest = self.connections.nearest(self.ring.near());
        let near = nearest.into_iter().filter_map(|peer| self.connections.get(peer));
        let users: BTreeSet<&str> = near.filter_map(|one| identity(one.edge())?.user.as_deref()).collect();
        self.subscriptions.look(&users, lent.now);
    }

    pub(super) fn subscriptions_timeout(&self) -> Option<Deadline> {
        let may = self.connected && self.trust.known().is_some();
        may.then(|| self.subscriptions.poll_timeout())
    }

    /// Carries wishes to the DHT and its answers back; false if there were none.
    pub(super) fn run_subscriptions(&mut self, lent: &mut Lent<'_>) -> bool {
        let mut any = false;
        while let Some((number, news)) = self.dht.poll_own_news() {
            any = true;
            if !self.tell_herald(number, &news, lent) {
                self.on_own_news(number, news, lent);
            }
        }
        any |= self.carry_out_herald(lent);
        while let Some(wish) = self.subscriptions.poll() {
            any = true;
            self.carry_out_wish(wish, lent);
        }
        any
    }

    fn carry_out_wish(&mut self, wish: Wish, lent: &mut Lent<'_>) {
        match wish {
            Wish::Keep(number, key, value) => {
                let write = Write { key, value, lease: LEASE };
                self.dht.keep(Origin::Overlay(number), How::Append, write, lent.now);
                self.dht.handle_timeout(lent.now);
            }
            Wish::Release(key, value) => self.dht.release(&key, &value),
            Wish::Get(number, key, after) => {
                self.dht.get(Origin::Overlay(number), key, after, lent.now);
            }
            Wish::Tell(member, notice) => {
                let header = PacketHeader::new(PacketKind::Notice, Mode::Exact, self.own, member);
                let body = lent.pool.copy(&notice);
                self.send_packet(&header, body, lent);
            }
        }
    }

    fn on_own_news(&mut self, number: u64, news: News, lent: &mut Lent<'_>) {
        // What one holder says alone may not be all.
        let News::Over(outcome) = news else { return };
        match outcome {
            Outcome::Stored { .. } | Outcome::Exists => self.subscriptions.on_stored(number),
            Outcome::Page { values, next, .. } => {
                let values = values.into_iter().map(|found| found.value).collect();
                for notice in self.subscriptions.on_page(number, values, next) {
                    self.hear_notice(&notice, lent);
                }
            }
            Outcome::Failed(_) => self.subscriptions.on_failure(number),
        }
    }
}
