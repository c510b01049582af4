//! How far hosts are from each other, without a packet.

use std::time::Duration;

use super::{Host, PlacedGateway, Topology};
use crate::{HostId, Link, SiteId};

impl Topology {
    /// The round trip between two hosts through the Internet if nobody else sends: lines, gateways and sites, without
    /// jitter, rates and what a short cut inside one network would save. Panics if a host is not in the topology.
    pub fn round_trip(&self, a: HostId, b: HostId) -> Duration {
        let [a, b] = [a, b].map(|id| &self.hosts[id.0 as usize]);
        let (near, edge) = self.way_out(a);
        let (far, other) = self.way_out(b);
        2 * (near + self.between(edge, other) + far)
    }

    /// From a host to the outside of its outermost gateway, one way, and where that stands.
    fn way_out(&self, host: &Host) -> (Duration, SiteId) {
        let (mut delay, mut site, mut next) = (line(host.link), host.site, host.gateway);
        while let Some(id) = next {
            let PlacedGateway { site: own, link, behind, .. } = &self.gateways[id.0 as usize];
            let inside = if *own == site { Duration::ZERO } else { self.between(site, *own) };
            delay += inside + line(*link);
            (site, next) = (*own, *behind);
        }
        (delay, site)
    }

    fn between(&self, a: SiteId, b: SiteId) -> Duration {
        let point = |site: SiteId| self.sites[site.0 as usize].point;
        if a == b { self.path.within_site } else { self.latency.rtt(point(a), point(b)) / 2 }
    }
}

const fn line(link: Link) -> Duration {
    link.delay
}
