//! Frames of an overlay: what goes out on an edge, and who takes what comes in.

use super::{Lent, Overlay};
use crate::buffer::Buffer;
use crate::counters::DropReason;
use crate::edge::{self, Again, Edge, Overdue, Receipt, Stage};
use crate::wire::{
    Address, Broadcast, CloseReason, EdgeId, FrameHeader, FrameKind, Link, Malformed, Neighbours, OPEN, Ping,
    Revocation, RoleBits, SHORT_LEN, Way, read_observed,
};

/// The retransmission at which a packet also takes the next best way.
const DETOUR_AT: u8 = 2;

impl Overlay {
    /// Sends a frame that the peer acknowledges; beyond the window it is sent once, unacknowledged.
    pub(super) fn send_frame(&mut self, id: EdgeId, kind: FrameKind, body: Buffer, lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get_mut(id) else { return };
        let rto = lent.paths.get(edge.path).map(crate::path::Path::rto).unwrap_or_default();
        let sequence = edge.reliable.send(kind, &body, lent.now, rto + edge::ack_delay(kind));
        self.put_frame(id, FrameHeader { kind, ack: None, sequence }, body, lent);
    }

    /// Sends a frame to a connected peer.
    pub(super) fn send_to_peer(
        &mut self,
        peer: Address,
        (kind, body): (FrameKind, Buffer),
        lent: &mut Lent<'_>,
    ) {
        if let Some(id) = self.connections.get(peer).map(crate::connection::Connection::edge) {
            self.send_frame(id, kind, body, lent);
        }
    }

    /// Sends a frame that may be lost.
    pub(super) fn send_frame_once(&mut self, id: EdgeId, kind: FrameKind, body: Buffer, lent: &mut Lent<'_>) {
        self.put_frame(id, FrameHeader { kind, ack: None, sequence: None }, body, lent);
    }

    fn put_frame(&mut self, id: EdgeId, header: FrameHeader, mut body: Buffer, lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get_mut(id) else { return };
        let ack = edge.reliable.take_ack();
        let answers = std::mem::take(&mut edge.was_told) && header.kind == FrameKind::Ack;
        FrameHeader { ack, ..header }.prepend(&mut body);
        if answers || header.kind.tells() {
            self.counters.told.send(SHORT_LEN + body.len() + self.engine.overhead());
        }
        // An edge whose association is not up has sent nothing and owes nothing.
        let _ = self.engine.send(edge::channel(id), body, lent.now);
    }

    /// An opened record arrived on an edge.
    pub(super) fn on_record(&mut self, id: EdgeId, mut payload: Buffer, lent: &mut Lent<'_>) {
        let Ok(header) = FrameHeader::take(&mut payload) else {
            self.counters.drop(DropReason::Malformed);
            return;
        };
        self.observe(id, lent);
        let Some(edge) = self.edges.get_mut(id) else { return };
        if let Some(ack) = header.ack
            && let Some(acked) = edge.reliable.on_ack(ack, lent.now)
        {
            edge.on_acked(lent.now);
            lent.paths.guess(edge.path, acked.waited, acked.once);
            self.trust_again(id);
        }
        if let Some(sequence) = header.sequence {
            let Some(edge) = self.edges.get_mut(id) else { return };
            edge.was_told |= header.kind.tells();
            match edge.reliable.on_sequence(sequence, edge::ack_delay(header.kind), lent.now) {
                Receipt::New => {}
                Receipt::Duplicate => {
                    self.answer_again(id, header.kind, &payload, lent);
                    return self.counters.drop(DropReason::Duplicate);
                }
                Receipt::OutOfWindow => return self.counters.drop(DropReason::OutOfWindow),
            }
        }
        if self.on_frame(id, header.kind, payload, lent).is_err() {
            self.counters.drop(DropReason::Malformed);
        }
    }

    /// Who sends again what it handed on may have lost the answer with the acknowledgement that rode on it.
    fn answer_again(&mut self, id: EdgeId, kind: FrameKind, body: &[u8], lent: &mut Lent<'_>) {
        let Some(Stage::Linked(peer)) = self.edges.get(id).map(|edge| edge.stage) else { return };
        match kind {
            FrameKind::Broadcast => {
                if let Ok(message) = Broadcast::read(body) {
                    self.broadcasts.on_uncovered(peer, message.uncovered());
                    self.run_broadcasts(lent);
                }
            }
            FrameKind::Revocation => {
                if let Ok(Revocation::Broadcast(message)) = Revocation::read(body) {
                    self.notices.on_uncovered(peer, message.uncovered());
                    self.run_notices(lent);
                }
            }
            _ => {}
        }
    }

    /// Anything authentic keeps its edge alive, and moves it to where it came from.
    fn observe(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get_mut(id) else { return };
        let silence = edge.probe.on_heard().filter(|silence| *silence > self.keepalive.adjacent);
        let Some(path) = lent.paths.get_mut(edge.path) else { return };
        path.heard = lent.now;
        let remote = path.remote;
        if let Some(silence) = silence.filter(|_| remote.udp().is_some()) {
            lent.paths.mapping_closed(silence);
        }
        let Some(from) = self.arriving else { return };
        let Some(edge) = self.edges.get(id) else { return };
        let moves = from != remote && remote.may_move_to(from) && self.follows(edge, remote, from, lent.now);
        let Some(edge) = self.edges.get_mut(id) else { return };
        if moves || from == remote {
            edge.prove();
        }
        if !moves {
            return;
        }
        let old = std::mem::replace(&mut edge.path, lent.paths.hold(from, lent.now));
        (edge.moved, edge.left) = (lent.now, Some(remote));
        if from.way() == Way::Relayed {
            // What went the old way is probably lost.
            edge.reliable.start_over(lent.now);
        }
        lent.paths.release(old);
        let Some(from) = from.udp() else { return };
        let mut body = lent.pool.take(20);
        crate::wire::codec::Write::put_transport(&mut body, from);
        self.send_frame(id, FrameKind::Observed, body, lent);
    }

    fn on_frame(
        &mut self,
        id: EdgeId,
        kind: FrameKind,
        payload: Buffer,
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let peer = match (kind, self.edges.get(id).map(|edge| edge.stage)) {
            (FrameKind::Link, Some(_)) => {
                self.on_link(id, Link::read(&payload)?, lent);
                return Ok(());
            }
            (FrameKind::Ack, _) | (_, None) => return Ok(()),
            (FrameKind::Close, Some(_)) => {
                let reason = CloseReason::read(&payload)?;
                self.on_close(id, reason, lent);
                return Ok(());
            }
            (_, Some(Stage::Linked(peer))) => peer,
            (_, Some(_)) => {
                self.counters.drop(DropReason::NotLinked);
                return Ok(());
            }
        };
        match kind {
            FrameKind::Neighbours => self.on_neighbours(peer, Neighbours::read(&payload)?, lent),
            FrameKind::Ping => self.on_ping(id, peer, Ping::read(&payload)?, lent),
            FrameKind::Pong => self.on_pong(id, peer, Ping::read(&payload)?, lent),
            FrameKind::Observed => lent.paths.observe(read_observed(&payload)?),
            FrameKind::Packet => self.on_packet(peer, payload, lent)?,
            FrameKind::Upkeep => self.on_upkeep(peer, &payload, lent)?,
            FrameKind::Broadcast => self.on_broadcast(peer, &payload, lent)?,
            FrameKind::Covered => self.on_covered(peer, &payload, lent)?,
            FrameKind::Uncovered => self.on_uncovered(peer, &payload, lent)?,
            FrameKind::Revocation => self.on_revocation(peer, &payload, lent)?,
            FrameKind::Link | FrameKind::Ack | FrameKind::Close => {}
        }
        Ok(())
    }

    fn on_close(&mut self, id: EdgeId, reason: CloseReason, lent: &mut Lent<'_>) {
        let peer = self.edges.get(id).and_then(Edge::peer);
        if reason.is_refusal() {
            self.bootstraps.on_refused(id);
            self.on_refused(reason, lent);
        }
        self.drop_edge(id, reason.describe(), lent);
        if let Some(peer) = peer.filter(|_| reason == CloseReason::Leaving) {
            self.healing.forget(peer);
            if self.discovery.is_some() {
                self.departed.note(peer, lent.now);
            }
        }
        let Some(connection) = peer.and_then(|peer| self.connections.get(peer)) else { return };
        if !reason.is_of_edge() {
            for (_, other) in connection.edges.clone() {
                self.drop_edge(other, reason.describe(), lent);
            }
        }
    }

    fn on_neighbours(&mut self, peer: Address, news: Neighbours, lent: &mut Lent<'_>) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        connection.set_theirs(news.roles);
        let before = connection.set_neighbours(news.list, self.own);
        let now_named = connection.neighbours();
        let named_more = now_named.iter().any(|other| !before.contains(other));
        let gone: Vec<Address> = before.iter().filter(|other| !now_named.contains(other)).copied().collect();
        self.dirty = true;
        if named_more {
            return;
        }
        // Dropped and not displaced: the peer may have seen it die.
        for other in gone {
            self.doubt(other, lent);
        }
    }

    /// Asks a peer whether it lives.
    pub(super) fn doubt(&mut self, peer: Address, lent: &mut Lent<'_>) {
        let Some(connection) = self.connections.get(peer) else { return };
        if let Some(edge) = self.edges.get_mut(connection.edge()) {
            edge.probe.ask(lent.now);
        }
    }

    /// The peer of an edge answers: packets need not avoid it any more.
    pub(super) fn trust_again(&mut self, id: EdgeId) {
        let Some(peer) = self.edges.get(id).and_then(Edge::peer) else { return };
        if let Some(connection) = self.connections.get_mut(peer) {
            connection.suspected = false;
            // What it replaced may go, if that was our link frame.
            self.dirty |= connection.edges.len() > 1;
        }
    }

    /// Tells a peer our roles and the list that it ought to have, if they are not what it was told.
    pub(super) fn tell_neighbours(&mut self, peer: Address, lent: &mut Lent<'_>) {
        let list = self.connections.around(peer, self.ring.near());
        let open = self.open_bit(lent);
        let Some(connection) = self.connections.get_mut(peer) else { return };
        let roles = connection.ours.bits() | open;
        let digest = digest(roles, &list);
        connection.stale = false;
        if digest == connection.told_digest {
            return;
        }
        connection.told_digest = digest;
        connection.told = lent.now;
        let id = connection.edge();
        let mut body = lent.pool.take(200);
        Neighbours { roles, list }.write(&mut body);
        self.send_frame(id, FrameKind::Neighbours, body, lent);
    }

    /// What we say beside our roles.
    pub(super) fn open_bit(&self, lent: &Lent<'_>) -> RoleBits {
        if lent.paths.is_open() { OPEN } else { 0 }
    }

    fn send_again(&mut self, id: EdgeId, frame: Again, lent: &mut Lent<'_>) {
        self.counters.retransmitted_frames += 1;
        let peer = self.edges.get(id).and_then(Edge::peer);
        if let Some(peer) =
            peer.filter(|_| frame.kind == FrameKind::Packet && frame.retransmissions == DETOUR_AT)
        {
            self.detour(frame.body.clone(), peer, lent);
        }
        let header = FrameHeader { kind: frame.kind, ack: None, sequence: Some(frame.sequence) };
        self.put_frame(id, header, frame.body, lent);
    }

    /// Sends again what was not acknowledged, and what is owed.
    pub(super) fn run_reliable(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get_mut(id) else { return };
        let rto = lent.paths.get(edge.path).map(crate::path::Path::rto).unwrap_or_default();
        match edge.reliable.overdue(lent.now, rto) {
            Overdue::Dead if self.outlives_relay(id, lent) => return,
            Overdue::Dead => {
                self.miss(id, lent);
                self.drop_edge(id, "no acknowledgement", lent);
                return;
            }
            Overdue::Again(frames) => {
                if !frames.is_empty() {
                    self.suspect(id, lent);
                }
                for frame in frames {
                    self.send_again(id, frame, lent);
                }
            }
        }
        if self.edges.get(id).is_some_and(|edge| edge.reliable.ack_is_due(lent.now)) {
            let body = lent.pool.take(0);
            self.send_frame_once(id, FrameKind::Ack, body, lent);
        }
    }
}

/// A digest of what a peer is told (FNV-1a). It finds a lost update; it does not resist an attacker.
pub(super) fn digest(roles: RoleBits, list: &[Address]) -> u32 {
    let bytes = list.iter().flat_map(|one| one.to_bytes()).chain([roles]);
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
