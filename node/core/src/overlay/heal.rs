//! Rings that fell apart: those whom the member knew are asked through the ring, and dialled if they are not in it.

use super::{Lent, Overlay};
use crate::connection::Roles;
use crate::edge::Stage;
use crate::healing::Wanted;
use crate::security::Intent;
use crate::wire::codec::Write as _;
use crate::wire::{Address, EdgeId, Mode, PacketHeader, PacketKind, Remote};

impl Overlay {
    /// Looks for those who were here.
    pub(super) fn run_healing(&mut self, lent: &mut Lent<'_>) {
        if !self.connected || self.healing.poll_timeout().is_none_or(|deadline| deadline.at > lent.now) {
            return;
        }
        let size = self.ring.size_estimate(&self.connections);
        let connections = &self.connections;
        let is_connected = |address: Address| connections.get(address).is_some();
        if let Some(wanted) = self.healing.handle_timeout((size, is_connected), lent.now) {
            match wanted {
                Wanted::Ask(address, id) => {
                    let header = PacketHeader::new(PacketKind::EchoRequest, Mode::Exact, self.own, address);
                    let mut body = lent.pool.take(4);
                    body.put_u32(id);
                    self.send_packet(&header, body, lent);
                }
                Wanted::Dial(target, remote) => {
                    self.dial(remote, Intent { target, token: None }, lent);
                }
            }
        }
    }

    /// Whether a connection is one that nobody asked for, as between two parts of a ring: then each announces itself to
    /// the other part.
    pub(super) fn introduce(&mut self, peer: Address, lent: &mut Lent<'_>) {
        let is_chance =
            self.connections.get(peer).is_some_and(|one| one.ours.union(one.theirs) == Roles::NONE);
        if is_chance && self.connected {
            self.linker.forgive();
            self.announce(peer, lent);
        }
    }

    /// The peer of an edge fell silent.
    pub(super) fn miss(&mut self, id: EdgeId, lent: &Lent<'_>) {
        let Some(edge) = self.edges.get(id) else { return };
        let (Stage::Linked(peer), Some(path)) = (edge.stage, lent.paths.get(edge.path)) else { return };
        self.counters.peers_lost += 1;
        let lasts = match path.remote {
            Remote::Udp(_) | Remote::Carried(_) => true,
            // A port that a peer dialled from is nobody's any more.
            Remote::Tcp(_) => edge.initiated,
            Remote::Relayed(_) => false,
        };
        if lasts {
            self.healing.on_lost(peer, path.remote, lent.now);
        }
        if self.is_adjacent(peer) {
            // Whoever leaves says so; of who does not, others may be out of reach as well.
            self.doubt_ring(lent.now);
        }
    }
}
