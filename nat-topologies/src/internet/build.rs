//! From a topology to a running model: everything is checked before anything starts.

use std::net::IpAddr;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::routes::Routes;
use super::wire::{LossState, SiteState, Wire};
use super::{Counters, GatewayState, Internet, NO_WIRE, Spot};
use crate::nat::Nat;
use crate::packet::Owner;
use crate::topology::Plan;
use crate::{GatewayId, HostId, Kind, Latency, Link, SiteId, Topology, TopologyError};

impl Internet {
    /// Starts the model; fails if the topology contradicts itself.
    pub fn new(topology: Topology, seed: [u8; 32]) -> Result<Self, TopologyError> {
        check(&topology)?;
        let mut ports_rng = ChaCha8Rng::from_seed(seed);
        ports_rng.set_stream(1);
        let mut loss_rng = ChaCha8Rng::from_seed(seed);
        loss_rng.set_stream(2);
        let mut internet = Self {
            plan: Plan::after(&topology),
            sites: Vec::new(),
            spots: Vec::new(),
            gateways: Vec::new(),
            wires: Vec::new(),
            routes: Routes::default(),
            partitions: Vec::new(),
            is_quiet: false,
            ports_rng,
            loss_rng,
            counters: Counters::default(),
            topology,
        };
        let leaving = LossState::new(internet.topology.path.loss);
        internet.sites = internet
            .topology
            .sites
            .iter()
            .map(|site| SiteState {
                point: site.point,
                leaving,
                entering: LossState::default(),
                sides: [0; 2],
            })
            .collect();
        internet.is_quiet = internet.sites.iter().all(SiteState::is_quiet);
        internet.take_in_new_machines()?;
        Ok(internet)
    }

    /// Brings the state up to what the topology has gained.
    pub(super) fn take_in_new_machines(&mut self) -> Result<(), TopologyError> {
        for n in self.gateways.len()..self.topology.gateways.len() {
            let id = GatewayId(n as u32);
            let gateway = &self.topology.gateways[n];
            let state = GatewayState {
                nat: Nat::new(gateway.behaviour.clone(), gateway.external.clone()),
                behind: gateway.behind,
                inside: gateway.inside,
                site: gateway.site.0,
                point: self.sites[gateway.site.0 as usize].point,
                wire: add_wire(&mut self.wires, gateway.link),
            };
            let external = gateway.external.clone();
            self.gateways.push(state);
            for address in external {
                self.register(self.gateways[n].behind, address, Owner::Gateway(id))?;
            }
        }
        for n in self.spots.len()..self.topology.hosts.len() {
            let host = &self.topology.hosts[n];
            let wire = add_wire(&mut self.wires, host.link);
            let spot = Spot {
                address: host.address,
                gateway: host.gateway,
                site: host.site.0,
                point: self.sites[host.site.0 as usize].point,
                wire,
            };
            self.spots.push(spot);
            self.register(spot.gateway, spot.address, Owner::Host(HostId(n as u32)))?;
        }
        Ok(())
    }

    /// Makes an address known in its network and, through firewalls, in those around it.
    pub(super) fn register(
        &mut self,
        mut network: Option<GatewayId>,
        address: IpAddr,
        mut owner: Owner,
    ) -> Result<(), TopologyError> {
        loop {
            if self.routes.insert(network, address, owner).is_some() {
                return Err(TopologyError::new(format!("two machines of one network have {address}")));
            }
            let Some(id) = network.filter(|id| self.is_firewall(*id)) else { return Ok(()) };
            network = self.gateways[id.0 as usize].behind;
            owner = Owner::Gateway(id);
        }
    }

    pub(super) fn unregister(&mut self, mut network: Option<GatewayId>, address: IpAddr) {
        loop {
            self.routes.remove(network, address);
            let Some(id) = network.filter(|id| self.is_firewall(*id)) else { return };
            network = self.gateways[id.0 as usize].behind;
        }
    }

    fn is_firewall(&self, id: GatewayId) -> bool {
        self.gateways[id.0 as usize].nat.kind != Kind::Nat
    }
}

fn add_wire(wires: &mut Vec<Wire>, link: Link) -> u32 {
    let Some(wire) = Wire::new(link) else { return NO_WIRE };
    wires.push(wire);
    (wires.len() - 1) as u32
}

fn check(topology: &Topology) -> Result<(), TopologyError> {
    let has_site = |site: SiteId| (site.0 as usize) < topology.sites.len();
    for (n, gateway) in topology.gateways.iter().enumerate() {
        let wrong = |what: String| Err(TopologyError::new(format!("gateway `{}` {what}", gateway.name)));
        gateway.behaviour.check().map_err(|error| error.key(gateway.name.as_str()))?;
        if !has_site(gateway.site) {
            return wrong(format!("stands at site {}, which does not exist", gateway.site.0));
        }
        if gateway.behind.is_some_and(|behind| behind.0 as usize >= n) {
            return wrong("is behind a gateway that does not come before it".into());
        }
        gateway.inside.check().map_err(|error| error.key(gateway.name.as_str()))?;
        if gateway.behaviour.kind == Kind::None {
            return wrong("is of kind `none`, which means that there is no gateway".into());
        }
        let addresses = gateway.external.len();
        let wanted =
            if gateway.behaviour.kind == Kind::Nat { usize::from(gateway.behaviour.pool) } else { 0 };
        if addresses != wanted {
            return wrong(format!("has {addresses} external addresses and needs {wanted}"));
        }
    }
    for host in &topology.hosts {
        let wrong = |what: String| Err(TopologyError::new(format!("host `{}` {what}", host.name)));
        if !has_site(host.site) {
            return wrong(format!("stands at site {}, which does not exist", host.site.0));
        }
        if host.gateway.is_some_and(|gateway| gateway.0 as usize >= topology.gateways.len()) {
            return wrong("is behind a gateway that does not exist".into());
        }
    }
    topology.path.loss.check()?;
    check_points(topology)
}

fn check_points(topology: &Topology) -> Result<(), TopologyError> {
    let Latency::Matrix(matrix) = &topology.latency else { return Ok(()) };
    let Some(site) = topology.sites.iter().find(|site| site.point >= matrix.points()) else { return Ok(()) };
    Err(TopologyError::new(format!(
        "site `{}` is point {} of a latency matrix of {} points",
        site.name,
        site.point,
        matrix.points()
    )))
}
