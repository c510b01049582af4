//! One gateway at work: packets are translated and filtered in place.
//!
//! Owns the mappings and the filter of the gateway. Never knows where packets go next, nor how long that takes.

mod key;
mod ports;
mod session;
mod table;

use std::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha8Rng;

use crate::packet::Owner;
use crate::{
    Allowed, Body, DropReason, EarlyInbound, Gateway, GatewayCounters, Hairpin, Icmp, Kind, Packet, Protocol,
    Quote, Refresh, TcpFlags,
};
pub(crate) use key::{Lookup, number};
use ports::{Picker, PortCursor};
use session::Direction;
use table::{Flow, MAPPINGS_MAX, Passing, Table};

/// A gateway with its state. What every packet needs comes first and together, for the cache's sake.
#[derive(Debug)]
pub(crate) struct Nat {
    table: Table,
    pub(crate) kind: Kind,
    refreshes_inbound: bool,
    permits_all_udp: bool,
    rare: Box<Rare>,
}

/// What few packets need.
#[derive(Debug)]
struct Rare {
    behaviour: Gateway,
    external: Vec<IpAddr>,
    cursor: PortCursor,
    counters: GatewayCounters,
}

impl Nat {
    /// The gateway after a restart, with these external addresses; a firewall has none.
    pub(crate) fn new(behaviour: Gateway, external: Vec<IpAddr>) -> Self {
        let (cursor, counters) = Default::default();
        Self {
            table: Table::new(&behaviour),
            kind: behaviour.kind,
            refreshes_inbound: behaviour.timers.udp_refresh == Refresh::Both,
            permits_all_udp: behaviour.outbound.udp == Allowed::All,
            rare: Box::new(Rare { behaviour, external, cursor, counters }),
        }
    }

    pub(crate) fn behaviour(&self) -> &Gateway {
        &self.rare.behaviour
    }

    pub(crate) fn counters(&self) -> GatewayCounters {
        self.rare.counters
    }

    /// The gateway after this one, with its counters.
    pub(crate) fn succeed(&mut self, mut next: Self) {
        next.rare.counters = GatewayCounters { mappings: 0, ..self.rare.counters };
        *self = next;
    }

    /// The address that the gateway's own messages come from.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.rare.external.first().copied()
    }

    /// Mappings that live at `now`, in nanoseconds.
    pub(crate) fn live_mappings(&self, now: u64) -> usize {
        self.table.live(now)
    }

    /// Forgets all mappings; later packets see the gateway as after its start.
    pub(crate) fn forget(&mut self) {
        self.table = Table::new(&self.rare.behaviour);
        self.rare.cursor = PortCursor::default();
        self.rare.counters.mappings = 0;
    }

    /// A packet from `owner` inside leaves.
    pub(crate) fn outbound(
        &mut self,
        packet: &mut Packet,
        owner: Owner,
        now: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), DropReason> {
        let flags = match packet.body {
            Body::Udp | Body::Icmp(Icmp::EchoRequest) => TcpFlags::NONE,
            Body::Tcp(flags) => flags,
            Body::Icmp(Icmp::EchoReply) => return self.pass_reply(),
            Body::Icmp(Icmp::Error(error, quote)) => {
                let quote = self.outbound_error(packet, quote, now)?;
                packet.body = Body::Icmp(Icmp::Error(error, quote));
                return Ok(());
            }
        };
        if !self.permits(packet) {
            return Err(DropReason::Blocked);
        }
        let protocol = packet.protocol();
        let slot = match self.table.find_inside((protocol, packet.source, packet.destination), now) {
            Some(slot) => slot,
            None if flags.has(TcpFlags::RST) => return Err(DropReason::NoMapping),
            None => {
                let (inside, remote) = (packet.source, packet.destination);
                self.create(&Flow { protocol, inside, remote, owner }, now, rng)?
            }
        };
        let passing = Passing { protocol, remote: packet.destination, direction: Direction::Outbound, flags };
        self.table.refresh(slot, &passing, now);
        packet.source = self.table.get(slot).outside();
        Ok(())
    }

    fn pass_reply(&self) -> Result<(), DropReason> {
        // The identifier of a reply belongs to the other side, so there is nothing to map.
        if self.kind == Kind::Nat { Err(DropReason::StrayIcmp) } else { Ok(()) }
    }

    fn permits(&self, packet: &Packet) -> bool {
        if self.permits_all_udp && matches!(packet.body, Body::Udp) {
            return true;
        }
        let outbound = &self.rare.behaviour.outbound;
        match packet.protocol() {
            Protocol::Udp => outbound.udp.permits(packet.destination.port()),
            Protocol::Tcp => outbound.tcp.permits(packet.destination.port()),
            Protocol::Icmp => outbound.icmp,
        }
    }

    fn create(&mut self, flow: &Flow, now: u64, rng: &mut ChaCha8Rng) -> Result<u32, DropReason> {
        self.table.sweep_now_and_then(now);
        let picked = self.pick(flow, now, rng);
        let outside = picked.inspect_err(|_| self.rare.counters.refused += 1)?;
        let slot = self.table.insert(flow, outside, now);
        self.rare.counters.created += 1;
        self.rare.counters.mappings = self.table.len() as u64;
        Ok(slot)
    }

    fn pick(&mut self, flow: &Flow, now: u64, rng: &mut ChaCha8Rng) -> Result<SocketAddr, DropReason> {
        if self.table.len() >= MAPPINGS_MAX {
            self.table.sweep(now);
        }
        if self.table.len() >= MAPPINGS_MAX {
            return Err(DropReason::TableFull);
        }
        if self.kind != Kind::Nat {
            // Another host cannot have that address, but a dead mapping of this one may be in the way.
            let free = self.table.is_free(flow, flow.inside, now);
            return if free { Ok(flow.inside) } else { Err(DropReason::PortsExhausted) };
        }
        let Rare { behaviour, external, cursor, .. } = &mut *self.rare;
        Picker { gateway: behaviour, external, table: &mut self.table, cursor, rng, now }.pick(flow)
    }

    /// An error that a machine inside made about a packet from outside (RFC 5508 REQ-4).
    fn outbound_error(&mut self, packet: &mut Packet, quote: Quote, now: u64) -> Result<Quote, DropReason> {
        let slot = self
            .table
            .find_inside((quote.protocol, quote.destination, quote.source), now)
            .ok_or(DropReason::StrayIcmp)?;
        let outside = self.table.get(slot).outside();
        if self.kind == Kind::Nat {
            packet.source = SocketAddr::new(outside.ip(), 0);
        }
        Ok(Quote { destination: outside, ..quote })
    }

    /// A packet from outside enters; returns who has the internal address.
    pub(crate) fn inbound(&mut self, packet: &mut Packet, now: u64) -> Result<Owner, DropReason> {
        let flags = match packet.body {
            Body::Tcp(flags) => flags,
            Body::Icmp(Icmp::Error(error, quote)) => {
                let (quote, owner) = self.inbound_error(packet, quote, now)?;
                packet.body = Body::Icmp(Icmp::Error(error, quote));
                return Ok(owner);
            }
            Body::Udp | Body::Icmp(_) => TcpFlags::NONE,
        };
        let protocol = packet.protocol();
        let (outside, remote) = (packet.destination, packet.source);
        let Some(slot) = self.table.find_outside((protocol, outside, remote), now) else {
            self.note_early(packet, now);
            return Err(DropReason::NoMapping);
        };
        if !self.table.admits(slot, remote, now) {
            self.note_early(packet, now);
            return Err(DropReason::Filtered);
        }
        if self.refreshes_inbound || protocol == Protocol::Tcp {
            let passing = Passing { protocol, remote, direction: Direction::Inbound, flags };
            self.table.refresh(slot, &passing, now);
        }
        let mapping = self.table.get(slot);
        packet.destination = mapping.inside();
        Ok(mapping.owner)
    }

    /// An error about a packet that left through here. It neither ends nor refreshes anything (RFC 4787 REQ-12).
    fn inbound_error(
        &self,
        packet: &mut Packet,
        quote: Quote,
        now: u64,
    ) -> Result<(Quote, Owner), DropReason> {
        let slot = self
            .table
            .find_outside((quote.protocol, quote.source, quote.destination), now)
            .ok_or(DropReason::StrayIcmp)?;
        let mapping = self.table.get(slot);
        packet.destination = SocketAddr::new(mapping.inside().ip(), 0);
        Ok((Quote { source: mapping.inside(), ..quote }, mapping.owner))
    }

    /// A packet that left through here to the gateway's own external address enters again.
    pub(crate) fn hairpin(&mut self, packet: &mut Packet, now: u64) -> Result<Owner, DropReason> {
        let (source, outside) = (packet.source, packet.destination);
        let owner = self.inbound(packet, now)?;
        if self.rare.behaviour.hairpin == Hairpin::InternalSource
            && let Some(slot) = self.table.find_outside((packet.protocol(), source, outside), now)
        {
            packet.source = self.table.get(slot).inside();
        }
        Ok(owner)
    }

    fn note_early(&mut self, packet: &Packet, now: u64) {
        if self.rare.behaviour.early_inbound != EarlyInbound::ClaimsPort {
            return;
        }
        let lifetime = match packet.protocol() {
            Protocol::Udp => self.table.lifetimes.udp,
            Protocol::Tcp => self.table.lifetimes.transitory,
            Protocol::Icmp => return,
        };
        self.table.sweep_now_and_then(now);
        self.table.claim(packet.protocol(), packet.destination, packet.source, now + lifetime);
    }
}
