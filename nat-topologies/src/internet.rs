//! The running model.

use std::time::Duration;

use crate::{
    Counters, DropReason, Fault, FaultReport, Gateway, GatewayId, Host, HostId, Packet, SiteId, Topology,
    TopologyError,
};

/// What a host is put behind.
#[derive(Clone, Debug, PartialEq)]
pub enum Behind {
    /// Nothing: it gets a public address.
    Public,
    /// A gateway that is there.
    Gateway(GatewayId),
    /// New gateways, the innermost first.
    Fresh(Vec<Gateway>),
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

/// The Internet, running.
#[derive(Debug)]
pub struct Internet {
    topology: Topology,
    counters: Counters,
}

impl Internet {
    /// Starts the model; fails if the topology contradicts itself.
    pub fn new(topology: Topology, _seed: [u8; 32]) -> Result<Self, TopologyError> {
        Ok(Self { topology, counters: Counters::default() })
    }

    /// The packet leaves its host.
    pub fn depart(&mut self, from: HostId, packet: &mut Packet, now: Duration) -> Departure {
        let Some(to) = self.topology.hosts.iter().position(|h| h.address == packet.destination.ip()) else {
            return Departure::Dropped(DropReason::NoRoute);
        };
        let a = self.topology.hosts[from.0 as usize].site.0;
        let b = self.topology.hosts[to].site.0;
        Departure::InFlight { at: now + self.topology.latency.one_way(a, b) }
    }

    /// The packet, as `depart` left it, reaches the far side at the instant that `depart` gave.
    pub fn arrive(&mut self, packet: &mut Packet, _now: Duration) -> Arrival {
        let to = self.topology.hosts.iter().position(|h| h.address == packet.destination.ip());
        to.map_or(Arrival::Dropped(DropReason::NoRoute), |to| Arrival::Delivered(HostId(to as u32)))
    }

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

    /// Changes the Internet.
    pub fn apply(&mut self, _fault: &Fault, _now: Duration) -> FaultReport {
        FaultReport { hosts: 0 }
    }

    /// Adds a host.
    pub fn add_host(&mut self, _new: NewHost) -> Result<HostId, TopologyError> {
        Err(TopologyError::new("no public address is left"))
    }

    /// What happened since the start.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
