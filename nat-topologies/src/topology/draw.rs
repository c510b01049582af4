//! Topologies drawn from a population: the same arguments give the same topology.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{Place, Plan, Site, Topology};
use crate::{GatewayId, Kind, Latency, Path, Population, SiteId, TopologyError};

/// Hosts of one topology.
const HOSTS_MAX: usize = 2_000_000;

impl Topology {
    /// A topology of this many hosts. Each host has a site of its own; if the latency matrix has fewer points, sites
    /// have several hosts, and the homes behind one carrier NAT share a site with it.
    pub fn draw(
        population: &Population,
        hosts: usize,
        latency: Latency,
        seed: [u8; 32],
    ) -> Result<Self, TopologyError> {
        let mut draw = Draw::new(latency, seed);
        draw.add_sites(hosts)?;
        draw.add_hosts(population, hosts, "host")?;
        Ok(draw.topology)
    }
}

/// Adds drawn hosts to a topology.
pub(super) struct Draw {
    pub(super) topology: Topology,
    pub(super) plan: Plan,
    rng: ChaCha8Rng,
}

/// Gateways that still take subscribers, by share and depth.
type Open = BTreeMap<(usize, usize), (GatewayId, u16)>;

impl Draw {
    pub(super) fn new(latency: Latency, seed: [u8; 32]) -> Self {
        let topology = Topology {
            sites: Vec::new(),
            gateways: Vec::new(),
            hosts: Vec::new(),
            latency,
            path: Path::default(),
        };
        Self { topology, plan: Plan::default(), rng: ChaCha8Rng::from_seed(seed) }
    }

    /// Adds as many sites as hosts need, but none twice.
    pub(super) fn add_sites(&mut self, hosts: usize) -> Result<(), TopologyError> {
        if hosts > HOSTS_MAX {
            return Err(TopologyError::new(format!("{hosts} hosts are more than {HOSTS_MAX}")));
        }
        let mut points: Vec<u32> = match &self.topology.latency {
            Latency::Matrix(matrix) => (0..matrix.points()).collect(),
            Latency::Constant(_) | Latency::Generated(_) => (0..hosts as u32).collect(),
        };
        for n in (1..points.len()).rev() {
            points.swap(n, (self.rng.next_u64() % (n as u64 + 1)) as usize);
        }
        let sites = points.into_iter().take(hosts);
        self.topology.sites.extend(sites.map(|point| Site { name: format!("site-{point}"), point }));
        Ok(())
    }

    /// Adds hosts of a population at all sites in turn.
    pub(super) fn add_hosts(
        &mut self,
        population: &Population,
        hosts: usize,
        name: &str,
    ) -> Result<(), TopologyError> {
        let shares = population.assign(hosts, || (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64);
        let mut open = Open::new();
        for (n, share) in shares.into_iter().enumerate() {
            let site = SiteId((n % self.topology.sites.len()) as u32);
            let name = format!("{name}-{n}");
            let (behind, site) = self.add_chain(population, share, (&name, site), &mut open)?;
            let place = Place { name, site, behind };
            self.plan.place_host(&mut self.topology, place, population.family())?;
        }
        Ok(())
    }

    /// Finds or makes the gateways of a host; returns the innermost one and the host's site.
    fn add_chain(
        &mut self,
        population: &Population,
        share: usize,
        (host, mut site): (&str, SiteId),
        open: &mut Open,
    ) -> Result<(Option<GatewayId>, SiteId), TopologyError> {
        let chain = &population.shares[share].behind;
        let mut behind = None;
        let mut depth = chain.len();
        // The innermost gateway that still takes subscribers; what is outside of it is there already.
        let has_room = |depth: &usize| open.get(&(share, *depth)).is_some_and(|(_, left)| *left > 0);
        if let Some(found) = (0..chain.len()).find(has_room)
            && let Some((id, left)) = open.get_mut(&(share, found))
        {
            *left -= 1;
            site = self.topology.gateways[id.0 as usize].site;
            behind = Some(*id);
            depth = found;
        }
        for (depth, behaviour) in chain[..depth].iter().enumerate().rev() {
            if behaviour.kind == Kind::None {
                continue;
            }
            let place = Place { name: format!("{host}-gateway-{depth}"), site, behind };
            let id = self.plan.place_gateway(&mut self.topology, place, behaviour.clone())?;
            open.insert((share, depth), (id, behaviour.subscribers - 1));
            behind = Some(id);
        }
        Ok((behind, site))
    }
}
