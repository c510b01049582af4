//! A common peer that fails: the edges that went through it go through another one, without a new handshake and before
//! anybody knows for certain which of the others still live.

use std::time::Duration;

use super::{RENEW_WAIT, Through};
use crate::connection::Connection;
use crate::edge::{Edge, Stage};
use crate::linker::Attempt;
use crate::overlay::{Lent, Overlay};
use crate::path::Path;
use crate::time::Time;
use crate::wire::{Address, Candidate, EdgeId, Remote, Way};

/// How long an edge outlives the common peer that failed it while another one is being linked.
const RELAY_PATIENCE: Duration = Duration::from_secs(4);
/// How long an edge does not follow its peer back to where both were before.
const LEFT_WAIT: Duration = Duration::from_secs(10);
/// How long an edge that has just found a way through a common peer stays there, though the peer's records come through others.
const SETTLED_WAIT: Duration = Duration::from_secs(1);
/// Common peers that are known to be such and are asked at once for a way.
const RACERS: usize = 3;
/// The same together with those that may be.
const RACERS_MAX: usize = 6;

impl Overlay {
    /// A peer does not pass our datagrams on to `peer`: another one shall.
    pub(in crate::overlay) fn on_not_relayed(&mut self, via: Address, peer: Address, lent: &mut Lent<'_>) {
        if !self.relayed.remember_refusal(via, peer, lent.now) {
            return;
        }
        let remote = Remote::Relayed(Through { overlay: self.slot, peer, via });
        let over = |edge: &Edge| lent.paths.get(edge.path).is_some_and(|path| path.remote == remote);
        let ids: Vec<EdgeId> = self.edges.iter().filter(|(_, edge)| over(edge)).map(|(id, _)| id).collect();
        for id in ids {
            if matches!(self.edges.get(id).map(|edge| edge.stage), Some(Stage::Linked(_))) {
                self.switch_relay(id, lent);
            } else {
                self.drop_edge(id, "not relayed", lent);
            }
        }
        if self.linker.get(peer).is_some_and(Attempt::wants_relay) {
            self.relay_to(peer, lent);
        }
    }

    /// A peer is lost or doubted: the edges that go through it take another common peer, and those that kept it in reserve
    /// find another one for that.
    pub(in crate::overlay) fn leave_relay(&mut self, via: Address, lent: &mut Lent<'_>) {
        let over = self.edges.iter().map(|(id, _)| id).filter(|id| self.relay_of(*id, lent) == Some(via));
        let is_lost = self.connections.get(via).is_none();
        for id in over.collect::<Vec<_>>() {
            if let Some(peer) = self.edges.get(id).and_then(Edge::peer).filter(|_| is_lost) {
                self.relayed.remember_refusal(via, peer, lent.now);
            }
            self.switch_relay(id, lent);
        }
        if !is_lost {
            return;
        }
        let is_relayed = |peer: &Address| {
            self.connections.get(*peer).is_some_and(|connection| connection.way() == Way::Relayed)
        };
        let concerned = self.relayed.named.iter().filter(|(_, named)| named.iter().any(|one| one.via == via));
        let concerned: Vec<Address> = concerned.map(|(peer, _)| *peer).filter(is_relayed).collect();
        if !concerned.is_empty() {
            self.improve_in(RENEW_WAIT, lent.now);
        }
        for peer in concerned {
            self.make_relays(peer, lent);
        }
    }

    /// Nothing comes through on an edge. If a common peer passes its datagrams on, that one may be why, whatever else it says
    /// and answers: another one shall. Each gets the time that an answer needs.
    pub(in crate::overlay) fn doubt_relay(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        let Some(via) = self.relay_of(id, lent) else { return };
        let Some(edge) = self.edges.get(id) else { return };
        if lent.paths.get(edge.path).is_none_or(|path| !edge.is_overdue(path.rto(), lent.now)) {
            return;
        }
        if let Stage::Linked(peer) = edge.stage {
            // A peer that is dead itself answers through none of them.
            if self.relayed.remember_refusal(via, peer, lent.now) {
                self.switch_relay(id, lent);
            }
        }
    }

    /// Whether an edge without an answer may still come to life again: the common peer that failed it has only just done so, and
    /// another is not there yet.
    pub(in crate::overlay) fn outlives_relay(&mut self, id: EdgeId, lent: &Lent<'_>) -> bool {
        let Some(via) = self.relay_of(id, lent) else { return false };
        let Some(edge) = self.edges.get_mut(id) else { return false };
        let rto = lent.paths.get(edge.path).map(Path::rto).unwrap_or_default();
        let Stage::Linked(peer) = edge.stage else { return false };
        let failed = self.relayed.refused.get(&(via, peer));
        let hopes = failed.is_some_and(|refusal| lent.now < refusal.since + RELAY_PATIENCE);
        if hopes {
            edge.probe.start_over(lent.now);
            edge.reliable.start_over(lent.now + rto);
        }
        hopes
    }

    /// A common peer is new: the edge to a member takes it if the one that it has is of no use.
    pub(super) fn leave_useless_relay(&mut self, peer: Address, lent: &mut Lent<'_>) {
        let Some(id) = self.connections.get(peer).map(Connection::edge) else { return };
        let Some(via) = self.relay_of(id, lent) else { return };
        if self.is_useless(via, peer, lent.now) {
            self.switch_relay(id, lent);
        }
    }

    /// Moves a relayed edge away from the common peer that fails it: to the best of the others. Who of them is dead is not
    /// known, so that several are asked at once to bring a ping; the edge stays with the first that brings an answer.
    fn switch_relay(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        let Some(via) = self.relay_of(id, lent) else { return };
        let Some(Stage::Linked(peer)) = self.edges.get(id).map(|edge| edge.stage) else { return };
        let racers = self.racers(peer, via, lent);
        if let Some((first, others)) = racers.split_first() {
            self.move_edge(id, Through { overlay: self.slot, peer, via: *first }, lent);
            for other in others {
                self.ask_through(id, Through { overlay: self.slot, peer, via: *other }, lent);
            }
        }
        self.make_relays(peer, lent);
    }

    /// Who may bring a ping to a member in place of `avoid`: those that are known to be peers of both, the best first; and if
    /// these are few, those that we named to it and that it has probably linked since. One that it has not linked says so.
    fn racers(&self, peer: Address, avoid: Address, lent: &Lent<'_>) -> Vec<Address> {
        let mut racers = self.good_relays(peer, Some(avoid), lent);
        racers.truncate(RACERS);
        if racers.len() == RACERS {
            return racers;
        }
        for candidate in self.relays(lent) {
            let Candidate::Through { via, .. } = candidate else { continue };
            let is_usable = via != peer && via != avoid && !self.relayed.is_refused(via, peer, lent.now);
            if is_usable && !racers.contains(&via) {
                racers.push(via);
            }
        }
        racers.truncate(RACERS_MAX);
        racers
    }

    /// Moves a relayed edge to a common peer; its peer follows the first record that comes that way.
    pub(super) fn move_edge(&mut self, id: EdgeId, to: Through, lent: &mut Lent<'_>) {
        let path = lent.paths.hold(Remote::Relayed(to), lent.now);
        let Some(edge) = self.edges.get_mut(id) else { return lent.paths.release(path) };
        let left = lent.paths.get(edge.path).map(|path| path.remote);
        lent.paths.release(edge.move_to(path, left, lent.now));
        self.counters.relays_changed += 1;
    }

    /// Sends the ping that an edge is about to send along another way as well.
    fn ask_through(&mut self, id: EdgeId, through: Through, lent: &mut Lent<'_>) {
        let path = lent.paths.hold(Remote::Relayed(through), lent.now);
        let Some(edge) = self.edges.get_mut(id) else { return lent.paths.release(path) };
        let number = edge.probe.upcoming();
        let own = std::mem::replace(&mut edge.path, path);
        self.send_ping(id, (number, through.peer), lent);
        // What is sealed leaves before the edge has its own way again.
        while let Some(action) = self.engine.poll() {
            self.carry_out(action, lent);
        }
        if let Some(edge) = self.edges.get_mut(id) {
            edge.path = own;
        }
        lent.paths.release(path);
    }

    /// Whether the peer of an edge to `own`, whose record came from `from`, is to be followed there.
    pub(in crate::overlay) fn follows(&self, edge: &Edge, own: Remote, from: Remote, now: Time) -> bool {
        let (Remote::Relayed(own), Remote::Relayed(one)) = (own, from) else { return true };
        // What we left for a reason, or the peer did, may still bring records that it held back.
        let refusal = self.relayed.refused.get(&(one.via, one.peer));
        let is_bad = refusal.is_some_and(|refusal| refusal.is_remembered(now));
        let is_left = edge.left == Some(from) && edge.moved + LEFT_WAIT > now;
        let goes_back = (is_bad || is_left) && !self.is_useless(own.via, own.peer, now);
        let is_settled = edge.proven && edge.moved + SETTLED_WAIT > now;
        !goes_back && !is_settled
    }

    /// Whether nothing is to be hoped for from a common peer at the moment.
    fn is_useless(&self, via: Address, peer: Address, now: Time) -> bool {
        let suspected = self.connections.get(via).is_none_or(|connection| connection.suspected);
        suspected || !self.has_direct(via) || self.relayed.is_refused(via, peer, now)
    }
}
