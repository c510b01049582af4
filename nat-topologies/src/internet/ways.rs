//! The way of a packet: outwards through its own gateways, across, and inwards through the others'.

use std::net::IpAddr;
use std::time::Duration;

use super::wire::{Way, jitter};
use super::{Arrival, Departure, Internet, Position};
use crate::nat::Nat;
use crate::packet::{Owner, Route};
use crate::path::nanos;
use crate::{DropReason, GatewayId, Hairpin, HostId, IcmpError, Kind, OnUnsolicited, Packet};

/// One-way delay inside one home, in nanoseconds.
const LAN_DELAY: u64 = 100_000;

/// A packet that got no further.
#[derive(Clone, Copy, Debug)]
struct Lost {
    reason: DropReason,
    /// The machine whose line or table stopped it.
    by: Owner,
    mtu: u16,
}

impl Lost {
    const fn new(reason: DropReason, by: Owner) -> Self {
        Self { reason, by, mtu: 0 }
    }
}

impl Internet {
    /// The packet leaves its host: the host's line and its gateways, outermost last, rewrite or refuse it, then
    /// the path delays or loses it.
    pub fn depart(&mut self, from: HostId, packet: &mut Packet, now: Duration) -> Departure {
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += u64::from(packet.length);
        let is_own = self.spots.get(from.0 as usize).is_some_and(|spot| spot.address == packet.source.ip());
        if !is_own {
            return Departure::Dropped(self.drop_packet(DropReason::ForeignSource));
        }
        let now = nanos(now);
        match self.send(Owner::Host(from), packet, now) {
            Ok(at) => Departure::InFlight { at: Duration::from_nanos(at) },
            Err(lost) => {
                let reason = self.drop_packet(lost.reason);
                if reason != DropReason::TooBig || packet.is_error() {
                    return Departure::Dropped(reason);
                }
                let mut answer =
                    packet.error(self.address_of(lost.by, packet), IcmpError::TooBig { mtu: lost.mtu });
                answer.route = Route::Door(lost.by);
                self.counters.packets_returned += 1;
                Departure::Returned(answer, Duration::from_nanos(now + LAN_DELAY))
            }
        }
    }

    /// Sends a packet from a machine outwards; returns the instant of its arrival, in nanoseconds.
    fn send(&mut self, from: Owner, packet: &mut Packet, mut now: u64) -> Result<u64, Lost> {
        let mut hop = from;
        loop {
            let lost = |reason| Lost::new(reason, hop);
            let network = self.network_of(hop);
            let owner = self.find(network, packet.destination.ip()).map_err(lost)?;
            if owner == Some(hop) && hop != from {
                return self.turn(hop, packet, now).map_err(lost);
            }
            now = self.cross_up(hop, packet, now)?;
            if let Some(owner) = owner {
                return self.travel([hop, owner], packet, now).map_err(lost);
            }
            let Some(id) = network else { return Err(lost(DropReason::NoRoute)) };
            let next = Owner::Gateway(id);
            now += self.distance(self.position_of(hop), self.position_of(next));
            let nat = &mut self.gateways[id.0 as usize].nat;
            nat.outbound(packet, hop, now, &mut self.ports_rng).map_err(lost)?;
            hop = next;
        }
    }

    /// A packet that left a gateway for one of the gateway's own external addresses.
    fn turn(&mut self, gateway: Owner, packet: &mut Packet, now: u64) -> Result<u64, DropReason> {
        let Owner::Gateway(id) = gateway else { return Err(DropReason::NoRoute) };
        let nat = &self.gateways[id.0 as usize].nat;
        if nat.kind == Kind::Nat && nat.behaviour().hairpin == Hairpin::Off {
            return Err(DropReason::NoHairpin);
        }
        packet.route = Route::Hairpin(id);
        Ok(now + LAN_DELAY)
    }

    fn cross_up(&mut self, hop: Owner, packet: &Packet, now: u64) -> Result<u64, Lost> {
        let Some(wire) = self.wire_of(hop) else { return Ok(now) };
        if let Some(mtu) = wire.broken_mtu(packet.length) {
            return Err(Lost { reason: DropReason::TooBig, by: hop, mtu });
        }
        wire.cross(Way::Up, packet.length, now).map_err(|reason| Lost::new(reason, hop))
    }

    /// Who has this address in the network behind a gateway, or in the Internet itself.
    fn find(&self, network: Option<GatewayId>, address: IpAddr) -> Result<Option<Owner>, DropReason> {
        let Some(id) = network else { return Ok(self.routes.public(address)) };
        let gateway = &self.gateways[id.0 as usize];
        if !gateway.inside.contains(address) {
            return Ok(None);
        }
        match self.routes.private(id, address) {
            // Nobody answers in that network, and a NAT does not look for it elsewhere.
            None if gateway.nat.kind == Kind::Nat => Err(DropReason::NoRoute),
            owner => Ok(owner),
        }
    }

    /// Across one network, from one machine to another; returns the instant of arrival.
    fn travel(&mut self, [from, to]: [Owner; 2], packet: &mut Packet, now: u64) -> Result<u64, DropReason> {
        packet.route = if self.has_wire(to) { Route::Link(to) } else { Route::Door(to) };
        let is_private = self.network_of(from).is_some();
        let (a, b) = (self.position_of(from), self.position_of(to));
        let is_near = a.site == b.site;
        if is_near && is_private {
            let is_lan = matches!((from, to), (Owner::Host(_), Owner::Host(_)));
            return Ok(now + if is_lan { LAN_DELAY } else { nanos(self.topology.path.within_site) });
        }
        if !self.is_quiet {
            self.brave([a.site, b.site])?;
        }
        let delay = if is_near { nanos(self.topology.path.within_site) } else { self.distance(a, b) };
        Ok(now + delay + jitter(&self.topology.path, [a.point, b.point], now, &mut self.loss_rng))
    }

    /// Loses the packet if the sites say so.
    fn brave(&mut self, sites: [u32; 2]) -> Result<(), DropReason> {
        let [a, b] = sites.map(|site| site as usize);
        if self.sites[a].is_cut_from(&self.sites[b]) {
            return Err(DropReason::Partition);
        }
        if self.sites[a].leaving.loses(&mut self.loss_rng) || self.sites[b].entering.loses(&mut self.loss_rng)
        {
            return Err(DropReason::Loss);
        }
        Ok(())
    }

    /// The packet, as `depart` left it, reaches the far side at the instant that `depart` gave: gateways, outermost
    /// first, translate or refuse it.
    pub fn arrive(&mut self, packet: &mut Packet, now: Duration) -> Arrival {
        let mut now = nanos(now);
        loop {
            let (id, is_hairpin) = match packet.route {
                Route::Unsent => return Arrival::Dropped(self.drop_packet(DropReason::NotSent)),
                Route::Link(owner) => match self.cross_down(owner, packet, now) {
                    Ok(at) if at > now => return Arrival::InFlight { at: Duration::from_nanos(at) },
                    Ok(_) => continue,
                    Err(lost) => return self.refuse(&lost, packet, now),
                },
                Route::Door(Owner::Host(host)) => return self.deliver(host, packet),
                Route::Door(Owner::Gateway(id)) => (id, false),
                Route::Hairpin(id) => (id, true),
            };
            let entered = self.enter(id, is_hairpin, packet, now);
            let owner = match entered {
                Ok(owner) => owner,
                Err(reason) => return self.refuse(&Lost::new(reason, Owner::Gateway(id)), packet, now),
            };
            packet.route = if self.has_wire(owner) { Route::Link(owner) } else { Route::Door(owner) };
            let delay = self.distance(self.position_of(Owner::Gateway(id)), self.position_of(owner));
            if delay > 0 {
                now += delay;
                return Arrival::InFlight { at: Duration::from_nanos(now) };
            }
        }
    }

    fn cross_down(&mut self, owner: Owner, packet: &mut Packet, now: u64) -> Result<u64, Lost> {
        packet.route = Route::Door(owner);
        let Some(wire) = self.wire_of(owner) else { return Ok(now) };
        if let Some(mtu) = wire.broken_mtu(packet.length) {
            return Err(Lost { reason: DropReason::TooBig, by: owner, mtu });
        }
        wire.cross(Way::Down, packet.length, now).map_err(|reason| Lost::new(reason, owner))
    }

    fn enter(
        &mut self,
        id: GatewayId,
        is_hairpin: bool,
        packet: &mut Packet,
        now: u64,
    ) -> Result<Owner, DropReason> {
        let nat: &mut Nat = &mut self.gateways[id.0 as usize].nat;
        let owner = if is_hairpin { nat.hairpin(packet, now)? } else { nat.inbound(packet, now)? };
        // The mapping may be older than the move of the host to another network.
        if self.network_of(owner) == Some(id) { Ok(owner) } else { Err(DropReason::Moved) }
    }

    fn deliver(&mut self, host: HostId, packet: &Packet) -> Arrival {
        if self.spots[host.0 as usize].address != packet.destination.ip() {
            return Arrival::Dropped(self.drop_packet(DropReason::Moved));
        }
        self.counters.packets_delivered += 1;
        self.counters.bytes_delivered += u64::from(packet.length);
        Arrival::Delivered(host)
    }

    /// The packet is lost on its way in; some gateways and all narrow links answer.
    fn refuse(&mut self, lost: &Lost, packet: &Packet, now: u64) -> Arrival {
        let reason = self.drop_packet(lost.reason);
        let answer = match reason {
            DropReason::TooBig if !packet.is_error() => {
                Some(packet.error(packet.destination.ip(), IcmpError::TooBig { mtu: lost.mtu }))
            }
            DropReason::NoMapping | DropReason::Filtered if self.resets(lost.by) => packet.refusal(),
            _ => None,
        };
        let Some(mut answer) = answer else { return Arrival::Dropped(reason) };
        let Ok(at) = self.send(lost.by, &mut answer, now) else { return Arrival::Dropped(reason) };
        self.counters.packets_returned += 1;
        Arrival::Returned(answer, Duration::from_nanos(at))
    }

    fn resets(&self, owner: Owner) -> bool {
        let Owner::Gateway(id) = owner else { return false };
        self.gateways[id.0 as usize].nat.behaviour().on_unsolicited == OnUnsolicited::Reset
    }

    /// The address that an error about an outbound packet comes from.
    fn address_of(&self, owner: Owner, packet: &Packet) -> IpAddr {
        let own = match owner {
            Owner::Gateway(id) => self.gateways[id.0 as usize].nat.address(),
            Owner::Host(_) => None,
        };
        own.unwrap_or_else(|| packet.destination.ip())
    }

    /// One-way delay between two sites, 0 within one, in nanoseconds.
    fn distance(&self, from: Position, to: Position) -> u64 {
        if from.site == to.site { 0 } else { self.topology.latency.one_way_nanos(from.point, to.point) }
    }

    fn drop_packet(&mut self, reason: DropReason) -> DropReason {
        self.counters.count_drop(reason);
        reason
    }
}
