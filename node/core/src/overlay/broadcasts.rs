//! Payloads for all members of a range, from peer to peer.

use super::{Lent, Overlay};
use crate::broadcast::Wanted;
use crate::buffer::Buffer;
use crate::connection::Connection;
use crate::control::EventKind;
use crate::counters::DropReason;
use crate::machine::Output;
use crate::wire::{Address, BROADCAST_MAX, Broadcast, Covered, FrameKind, Malformed, Range, Uncovered};

impl Overlay {
    /// Sends a payload to every member in a range, or to all. [`EventKind::Broadcast`] tells how many have it.
    pub fn broadcast(&mut self, range: Option<(Address, Address)>, payload: Vec<u8>, lent: &mut Lent<'_>) {
        if payload.len() > BROADCAST_MAX {
            return self.counters.drop(DropReason::TooBig);
        }
        let range = range.map_or_else(|| Range::all(self.own), |(from, to)| Range { from, to });
        let peers = self.hearers();
        self.broadcasts.begin(range, payload, &peers, lent.now);
        self.run_broadcasts(lent);
        self.pump(lent);
    }

    /// Peers that may be asked to cover a part of the ring.
    pub(super) fn hearers(&self) -> Vec<Address> {
        self.connections
            .iter()
            .filter(|one| one.carries_transit())
            .map(|connection| connection.peer)
            .collect()
    }

    pub(super) fn on_broadcast(
        &mut self,
        from: Address,
        body: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let message = Broadcast::read(body)?;
        if !self.takes_broadcasts {
            self.counters.drop(DropReason::Unasked);
            return Ok(());
        }
        let (origin, payload) = (message.origin, message.payload.clone());
        let peers = self.hearers();
        if self.broadcasts.on_message(from, message, &peers, lent.now) {
            self.counters.broadcasts_received += 1;
            let payload = lent.pool.copy(&payload);
            lent.outputs.push_back(Output::Broadcast { overlay: self.slot, origin, payload });
        }
        self.run_broadcasts(lent);
        Ok(())
    }

    pub(super) fn on_covered(
        &mut self,
        from: Address,
        body: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        self.broadcasts.on_covered(from, Covered::read(body)?);
        self.run_broadcasts(lent);
        Ok(())
    }

    pub(super) fn on_uncovered(
        &mut self,
        from: Address,
        body: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        self.broadcasts.on_uncovered(from, Uncovered::read(body)?);
        self.run_broadcasts(lent);
        Ok(())
    }

    /// What a lost peer was to cover is shared among the others.
    pub(super) fn cover_for(&mut self, lost: Address, lent: &mut Lent<'_>) {
        let peers = self.hearers();
        self.broadcasts.on_lost(lost, &peers, lent.now);
        self.notices.on_lost(lost, &peers, lent.now);
        self.run_broadcasts(lent);
        self.run_notices(lent);
    }

    /// Sends a frame that may be lost to a connected peer; the acknowledgement that is owed rides along.
    pub(super) fn send_to_peer_once(
        &mut self,
        peer: Address,
        (kind, body): (FrameKind, Buffer),
        lent: &mut Lent<'_>,
    ) {
        if let Some(id) = self.connections.get(peer).map(Connection::edge) {
            self.send_frame_once(id, kind, body, lent);
        }
    }

    /// Carries out what broadcasts want.
    pub(super) fn run_broadcasts(&mut self, lent: &mut Lent<'_>) {
        self.broadcasts.handle_timeout(lent.now);
        while let Some(wanted) = self.broadcasts.poll() {
            match wanted {
                Wanted::Send(peer, message) => {
                    let mut body = lent.pool.take(400);
                    message.write(&mut body);
                    self.send_to_peer(peer, (FrameKind::Broadcast, body), lent);
                }
                Wanted::Ask(peer, uncovered) => {
                    let mut body = lent.pool.take(16);
                    uncovered.write(&mut body);
                    self.send_to_peer_once(peer, (FrameKind::Uncovered, body), lent);
                }
                Wanted::Tell(peer, covered) => {
                    let mut body = lent.pool.take(32);
                    covered.write(&mut body);
                    self.send_to_peer_once(peer, (FrameKind::Covered, body), lent);
                }
                Wanted::Doubt(peer) => self.doubt(peer, lent),
                Wanted::Done { members, complete, .. } => {
                    self.tell(EventKind::Broadcast { members, complete }, lent);
                }
            }
        }
    }
}
