//! Which addresses machines get. Owns the plan; never who has which address.
//!
//! Public IPv4 addresses come from 44.128.0.0/10 and public IPv6 addresses from 2600:4400::/32: both look
//! public to every program (the documentation and benchmarking ranges do not), and no packet of the model
//! leaves it. Carriers use 100.64.0.0/10 (RFC 6598) inside, homes the same few private subnets everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, PlacedGateway, Subnet, Topology};
use crate::{Family, Gateway, GatewayId, HostId, Kind, Link, SiteId, TopologyError};

/// Public IPv4 addresses.
pub(crate) const PUBLIC_V4: Subnet = Subnet::v4(Ipv4Addr::new(44, 128, 0, 0), 10);
/// Public IPv6 addresses.
pub(crate) const PUBLIC_V6: Subnet = Subnet::v6(Ipv6Addr::new(0x2600, 0x4400, 0, 0, 0, 0, 0, 0), 32);
/// Inside of every carrier NAT.
const CARRIER: Subnet = Subnet::v4(Ipv4Addr::new(100, 64, 0, 0), 10);
/// Inside of every IPv6 NAT.
const UNIQUE_LOCAL: Subnet = Subnet::v6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 64);
/// Insides of homes, by number of gateway.
const HOMES: [Subnet; 4] = [
    Subnet::v4(Ipv4Addr::new(192, 168, 1, 0), 24),
    Subnet::v4(Ipv4Addr::new(192, 168, 0, 0), 24),
    Subnet::v4(Ipv4Addr::new(192, 168, 1, 0), 24),
    Subnet::v4(Ipv4Addr::new(10, 0, 0, 0), 24),
];
/// The first host of a home is number 100, as routers do it.
const FIRST_AT_HOME: u32 = 100;

/// What a machine to be placed is called, where it stands and what it is behind.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) site: SiteId,
    pub(crate) behind: Option<GatewayId>,
}

/// The next free addresses: public ones, and inside each gateway. No address is used twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    v4: u32,
    v6: u32,
    inside: Vec<u32>,
}

impl Plan {
    /// A plan that avoids what the topology already uses.
    pub(crate) fn after(topology: &Topology) -> Self {
        let mut plan = Self::default();
        for gateway in &topology.gateways {
            plan.inside.push(first_inside(gateway));
            for address in &gateway.external {
                plan.avoid(topology, gateway.behind, *address);
            }
        }
        for host in &topology.hosts {
            plan.avoid(topology, host.gateway, host.address);
        }
        plan
    }

    fn avoid(&mut self, topology: &Topology, behind: Option<GatewayId>, address: IpAddr) {
        let (subnet, next) = match translator(topology, behind) {
            Some(id) => (topology.gateways[id.0 as usize].inside, &mut self.inside[id.0 as usize]),
            None if address.is_ipv4() => (PUBLIC_V4, &mut self.v4),
            None => (PUBLIC_V6, &mut self.v6),
        };
        *next = (*next).max(subnet.offset(address).map_or(0, |offset| offset.saturating_add(1)));
    }

    /// A new address just outside or inside: in the network that machines behind `behind` are in.
    pub(crate) fn address(
        &mut self,
        topology: &Topology,
        behind: Option<GatewayId>,
        family: Family,
    ) -> Result<IpAddr, TopologyError> {
        let (subnet, next, name) = match translator(topology, behind) {
            Some(id) => {
                let gateway = &topology.gateways[id.0 as usize];
                (gateway.inside, &mut self.inside[id.0 as usize], gateway.name.as_str())
            }
            None if family == Family::Ipv4 => (PUBLIC_V4, &mut self.v4, "the Internet"),
            None => (PUBLIC_V6, &mut self.v6, "the Internet"),
        };
        *next = (*next).max(1);
        let address = subnet.nth(*next).ok_or_else(|| {
            TopologyError::new(format!("{name} has no address left in its /{}", subnet.prefix))
                .hint("put fewer machines behind it")
        })?;
        *next += 1;
        Ok(address)
    }

    /// Adds a gateway to the topology, with the addresses that it needs.
    pub(crate) fn place_gateway(
        &mut self,
        topology: &mut Topology,
        place: Place,
        behaviour: Gateway,
    ) -> Result<GatewayId, TopologyError> {
        let id = GatewayId(topology.gateways.len() as u32);
        let external = self.external(topology, place.behind, &behaviour)?;
        let inside = match (behaviour.kind, behaviour.family) {
            (Kind::Nat, Family::Ipv4) if behaviour.subscribers > 1 => CARRIER,
            (Kind::Nat, Family::Ipv4) => HOMES[id.0 as usize % HOMES.len()],
            (Kind::Nat, Family::Ipv6) => UNIQUE_LOCAL,
            (_, family) => match (translator(topology, place.behind), family) {
                (Some(outer), _) => topology.gateways[outer.0 as usize].inside,
                (None, Family::Ipv4) => PUBLIC_V4,
                (None, Family::Ipv6) => PUBLIC_V6,
            },
        };
        let Place { name, site, behind } = place;
        let link = Link::default();
        let gateway = PlacedGateway { name, site, behind, behaviour, external, inside, link };
        self.inside.push(first_inside(&gateway));
        topology.gateways.push(gateway);
        Ok(id)
    }

    /// The external addresses for a gateway: as many as its pool, none for a firewall.
    pub(crate) fn external(
        &mut self,
        topology: &Topology,
        behind: Option<GatewayId>,
        behaviour: &Gateway,
    ) -> Result<Vec<IpAddr>, TopologyError> {
        let count = if behaviour.kind == Kind::Nat { behaviour.pool.max(1) } else { 0 };
        (0..count).map(|_| self.address(topology, behind, behaviour.family)).collect()
    }

    /// Adds a host to the topology, with the address that it needs.
    pub(crate) fn place_host(
        &mut self,
        topology: &mut Topology,
        place: Place,
        family: Family,
    ) -> Result<HostId, TopologyError> {
        let address = self.address(topology, place.behind, family)?;
        let id = HostId(topology.hosts.len() as u32);
        let Place { name, site, behind } = place;
        topology.hosts.push(Host { name, site, gateway: behind, address, link: Link::default() });
        Ok(id)
    }
}

impl Subnet {
    fn offset(&self, address: IpAddr) -> Option<u32> {
        if !self.contains(address) {
            return None;
        }
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => Some(address.to_bits() - base.to_bits()),
            (IpAddr::V6(base), IpAddr::V6(address)) => u32::try_from(address.to_bits() - base.to_bits()).ok(),
            _ => None,
        }
    }
}

fn first_inside(gateway: &PlacedGateway) -> u32 {
    if gateway.inside.prefix == 24 { FIRST_AT_HOME } else { 2 }
}

/// The innermost NAT at or outside of `behind`: its inside is the network that machines there are in.
fn translator(topology: &Topology, mut behind: Option<GatewayId>) -> Option<GatewayId> {
    while let Some(id) = behind {
        let gateway = &topology.gateways[id.0 as usize];
        if gateway.behaviour.kind == Kind::Nat {
            return Some(id);
        }
        behind = gateway.behind;
    }
    None
}
