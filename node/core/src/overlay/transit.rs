//! Datagrams that packets carry for edges: those of other overlays of members, and those of two peers that cannot reach
//! each other and have one in common. Whoever passes one on sees a sealed record and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Lent, Overlay};
use crate::buffer::Buffer;
use crate::counters::DropReason;
use crate::relay::Content;
use crate::time::Time;
use crate::wire::codec::Write as _;
use crate::wire::{Address, Malformed, Mode, PacketHeader, PacketKind, Part, Relayed, Remote};

/// Bytes of a datagram that one packet brings at most; a longer one comes in halves.
const PART_MAX: usize = 1100;
/// The same where the packet records its way, which makes it longer at every hop.
const RECORDED_PART_MAX: usize = 600;
/// Members whose way is remembered at most; beyond, the oldest is forgotten.
const WAYS_BACK_MAX: usize = 128;
/// How long a recorded way is trusted.
const WAY_BACK: Duration = Duration::from_secs(30);

/// Recorded ways to members that have no place in the ring yet.
#[derive(Debug, Default)]
pub(super) struct WaysBack(BTreeMap<Address, (Time, Vec<Address>)>);

impl WaysBack {
    fn note(&mut self, header: &PacketHeader, now: Time) {
        if !header.record {
            self.0.remove(&header.source);
            return;
        }
        if self.0.len() >= WAYS_BACK_MAX && !self.0.contains_key(&header.source) {
            let oldest = self.0.iter().min_by_key(|(_, (since, _))| *since).map(|(member, _)| *member);
            oldest.and_then(|member| self.0.remove(&member));
        }
        self.0.insert(header.source, (now, header.way_back()));
    }

    fn get(&self, member: Address, now: Time) -> Option<Vec<Address>> {
        self.0.get(&member).filter(|(since, _)| *since + WAY_BACK > now).map(|(_, way)| way.clone())
    }
}

impl Overlay {
    /// Carries a datagram of another overlay's edge to the member at `to`.
    pub fn carry_edge(&mut self, to: Address, datagram: Buffer, lent: &mut Lent<'_>) {
        let header = match self.ways_back.get(to, lent.now) {
            Some(route) => PacketHeader::sourced(PacketKind::Edge, self.own, route),
            None => PacketHeader::new(PacketKind::Edge, Mode::Exact, self.own, to),
        };
        // Without a place in the ring nobody finds us: the packet records the way for the answer.
        let record = !self.connected && header.mode == Mode::Exact;
        let (header, max) = if record { (header.recorded(), RECORDED_PART_MAX) } else { (header, PART_MAX) };
        self.send_parts(&header, (datagram, max), lent);
        self.pump(lent);
    }

    /// Sends a datagram of our own to a peer's peer.
    pub(super) fn send_relayed(&mut self, to: Relayed, datagram: Buffer, lent: &mut Lent<'_>) {
        if !self.has_direct(to.via) {
            return self.counters.drop(DropReason::NoRoute);
        }
        let header = PacketHeader::sourced(PacketKind::Relayed, self.own, vec![to.via, to.peer]);
        self.send_parts(&header, (datagram, PART_MAX), lent);
    }

    fn send_parts(&mut self, header: &PacketHeader, (datagram, max): (Buffer, usize), lent: &mut Lent<'_>) {
        let number = self.rng.next_u32() as u16;
        let (first, second) = Part::split(datagram, max, number);
        self.send_packet(header, first, lent);
        if let Some(second) = second {
            self.send_packet(header, second, lent);
        }
    }

    /// Whether we have a peer without anybody in between.
    pub(super) fn has_direct(&self, peer: Address) -> bool {
        self.connections.get(peer).is_some_and(|connection| connection.way().is_unaided())
    }

    /// A packet brought a datagram, or a part of one, for one of this node's edges.
    pub(super) fn on_edge_packet(
        &mut self,
        header: &PacketHeader,
        body: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let remote = match (header.kind, header.mode, &header.route[..]) {
            (PacketKind::Relayed, Mode::Sourced, [via, _]) => {
                Remote::Relayed(Relayed { overlay: self.slot, peer: header.source, via: *via })
            }
            (PacketKind::Edge, ..) => {
                self.ways_back.note(header, lent.now);
                Remote::Carried(header.source)
            }
            _ => return Err(Malformed),
        };
        if let Some(datagram) = self.parts.take(header.source, Part::read(body)?, lent.pool, lent.now) {
            lent.arrivals.push_back((remote, datagram));
        }
        Ok(())
    }

    /// Tells a peer that its datagram goes no further, so that it looks for another relay at once.
    pub(super) fn refuse_to_relay(&mut self, header: &PacketHeader, from: Address, lent: &mut Lent<'_>) {
        if header.source != from {
            return;
        }
        let mut body = lent.pool.take(Address::LEN);
        body.put_address(header.destination);
        let answer = PacketHeader::new(PacketKind::NotRelayed, Mode::Exact, self.own, from);
        answer.prepend_departing(&mut body);
        self.hand_over(from, body, lent);
    }

    /// Whether we pass a datagram on from one of our peers to another: both are ours without anybody in between, and
    /// neither it nor all of them want more than we give.
    pub(super) fn passes_on(
        &mut self,
        header: &PacketHeader,
        from: Address,
        (packet, offset): (&[u8], usize),
        now: Time,
    ) -> bool {
        let [_, to] = header.route[..] else { return false };
        let is_between = header.mode == Mode::Sourced && header.source == from;
        let direct = self.has_direct(from) && self.has_direct(to);
        let is_record = header.is_bulk(&packet[offset..]);
        let content = if is_record { Content::Record } else { Content::Handshake };
        is_between && direct && self.relay.admit((from, to), (packet.len(), content), now)
    }
}
