//! The running model: who is where, and what is between them.
//!
//! Owns all state. Packets enter with `depart` and leave with `arrive`, both in `ways`; `change` alters the
//! Internet under them.

mod build;
mod change;
mod routes;
mod ways;
mod wire;

use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::nat::Nat;
use crate::packet::Owner;
use crate::path::nanos;
use crate::topology::Plan;
use crate::{
    Counters, DropReason, Gateway, GatewayCounters, GatewayId, Host, HostId, Packet, SiteId, Subnet, Topology,
};
use routes::Routes;
use wire::{SiteState, Wire};

/// What a host is put behind.
#[derive(Clone, Debug, PartialEq)]
pub enum Behind {
    /// Nothing: it gets a public address.
    Public,
    /// A gateway that is there.
    Gateway(GatewayId),
    /// New gateways, the innermost first.
    Fresh(Vec<Gateway>),
    /// New gateways, the innermost first, behind one that is there: say a home at a carrier.
    FreshBehind(Vec<Gateway>, GatewayId),
}

/// A host to add while the model runs.
#[derive(Clone, Debug, PartialEq)]
pub struct NewHost {
    /// Its name, for people.
    pub name: String,
    /// Where it stands.
    pub site: SiteId,
    /// What it is behind.
    pub behind: Behind,
}

/// What became of a packet that left its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Give the packet to `arrive` at this instant.
    InFlight {
        /// When it reaches the far side.
        at: Duration,
    },
    /// It is lost.
    Dropped(DropReason),
    /// It is lost, and this answer is on its way back: give it to `arrive` at this instant.
    Returned(Packet, Duration),
}

/// What became of a packet at the far side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is with this host, addressed to the host's own address.
    Delivered(HostId),
    /// It waits, say in the queue of an access link: give it to `arrive` again at this instant.
    InFlight {
        /// When it gets on.
        at: Duration,
    },
    /// It is lost.
    Dropped(DropReason),
    /// It is lost, and this answer is on its way back: give it to `arrive` at this instant.
    Returned(Packet, Duration),
}

/// No access link.
const NO_WIRE: u32 = u32::MAX;

/// What packets need to know of a host.
#[derive(Clone, Copy, Debug)]
struct Spot {
    address: IpAddr,
    gateway: Option<GatewayId>,
    site: u32,
    /// The site's point, kept here to spare packets a look at the site.
    point: u32,
    wire: u32,
}

#[derive(Debug)]
struct GatewayState {
    nat: Nat,
    behind: Option<GatewayId>,
    inside: Subnet,
    site: u32,
    point: u32,
    wire: u32,
}

/// Where a machine is, as far as the path is concerned.
#[derive(Clone, Copy, Debug)]
struct Position {
    site: u32,
    point: u32,
}

/// The Internet, running.
#[derive(Debug)]
pub struct Internet {
    topology: Topology,
    plan: Plan,
    sites: Vec<SiteState>,
    spots: Vec<Spot>,
    gateways: Vec<GatewayState>,
    wires: Vec<Wire>,
    routes: Routes,
    partitions: Vec<Option<String>>,
    /// No loss and no partition anywhere, so that packets need not look at their sites.
    is_quiet: bool,
    /// Two streams, so that a lost packet does not change the ports of later ones.
    ports_rng: ChaCha8Rng,
    loss_rng: ChaCha8Rng,
    counters: Counters,
}

impl Internet {
    /// A host; panics if the id is not from this model.
    pub fn host(&self, id: HostId) -> &Host {
        &self.topology.hosts[id.0 as usize]
    }

    /// All hosts, in the order of their ids.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &Host)> {
        self.topology.hosts.iter().enumerate().map(|(n, host)| (HostId(n as u32), host))
    }

    /// The topology as it is now.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What happened since the start.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What one gateway did since the start; panics if the id is not from this model.
    pub fn gateway_counters(&self, id: GatewayId) -> GatewayCounters {
        self.gateways[id.0 as usize].nat.counters()
    }

    /// Mappings of one gateway that live at `now`; panics if the id is not from this model.
    pub fn mappings(&self, id: GatewayId, now: Duration) -> usize {
        self.gateways[id.0 as usize].nat.live_mappings(nanos(now))
    }

    fn position_of(&self, owner: Owner) -> Position {
        match owner {
            Owner::Host(id) => {
                let Spot { site, point, .. } = self.spots[id.0 as usize];
                Position { site, point }
            }
            Owner::Gateway(id) => {
                let GatewayState { site, point, .. } = self.gateways[id.0 as usize];
                Position { site, point }
            }
        }
    }

    /// The gateway of the network that a machine's outside is in; `None` for the Internet itself.
    fn network_of(&self, owner: Owner) -> Option<GatewayId> {
        match owner {
            Owner::Host(id) => self.spots[id.0 as usize].gateway,
            Owner::Gateway(id) => self.gateways[id.0 as usize].behind,
        }
    }

    fn wire_index(&self, owner: Owner) -> u32 {
        match owner {
            Owner::Host(id) => self.spots[id.0 as usize].wire,
            Owner::Gateway(id) => self.gateways[id.0 as usize].wire,
        }
    }

    fn has_wire(&self, owner: Owner) -> bool {
        self.wire_index(owner) != NO_WIRE
    }

    fn wire_of(&mut self, owner: Owner) -> Option<&mut Wire> {
        let index = self.wire_index(owner);
        self.wires.get_mut(index as usize)
    }
}
