//! What a fabric starts from, as a file: the topology in every detail, with the addresses that were drawn.
//!
//! The file travels from one program to the other of one build; it is no format for people.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use atoll_topology as model;
use model::{GatewayId, Latency, RttMatrix, SiteId, Topology, TopologyError};
use serde::{Deserialize, Serialize};

mod gateway;

use gateway::GatewayShape;

/// Everything that an emulated Internet starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Sites, gateways, hosts and what joins them.
    pub topology: Topology,
    /// Seed of ports and losses.
    pub seed: [u8; 32],
}

/// A setting that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// It is not of this form.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// Its matrix is not one.
    #[error("{0}")]
    Latency(#[from] TopologyError),
}

impl Setting {
    /// The setting as bytes of a file.
    ///
    /// # Errors
    /// Never for a setting that an `Internet` accepts.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&SettingShape { topology: TopologyShape::of(&self.topology), seed: self.seed })
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// They are not what [`Setting::to_json`] made.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SettingError> {
        let shape: SettingShape = serde_json::from_slice(bytes)?;
        Ok(Self { topology: shape.topology.into_topology()?, seed: shape.seed })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is not there, or not what [`Setting::to_json`] made.
    pub fn read(path: &Path) -> Result<Self, SettingError> {
        Self::from_json(&std::fs::read(path)?)
    }
}

#[derive(Serialize, Deserialize)]
struct SettingShape {
    topology: TopologyShape,
    seed: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct TopologyShape {
    sites: Vec<(String, u32)>,
    gateways: Vec<PlacedShape>,
    hosts: Vec<HostShape>,
    latency: LatencyShape,
    path: PathShape,
}

impl TopologyShape {
    fn of(topology: &Topology) -> Self {
        Self {
            sites: topology.sites.iter().map(|site| (site.name.clone(), site.point)).collect(),
            gateways: topology.gateways.iter().map(PlacedShape::of).collect(),
            hosts: topology.hosts.iter().map(HostShape::of).collect(),
            latency: LatencyShape::of(topology),
            path: PathShape::of(topology.path),
        }
    }

    fn into_topology(self) -> Result<Topology, TopologyError> {
        let site = |(name, point)| model::Site { name, point };
        Ok(Topology {
            sites: self.sites.into_iter().map(site).collect(),
            gateways: self.gateways.into_iter().map(PlacedShape::into_model).collect(),
            hosts: self.hosts.into_iter().map(HostShape::into_model).collect(),
            latency: self.latency.into_model()?,
            path: self.path.into_model(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct PlacedShape {
    name: String,
    site: u32,
    behind: Option<u32>,
    #[serde(with = "GatewayShape")]
    behaviour: model::Gateway,
    external: Vec<IpAddr>,
    inside: (IpAddr, u8),
    link: LinkShape,
}

impl PlacedShape {
    fn of(gateway: &model::PlacedGateway) -> Self {
        Self {
            name: gateway.name.clone(),
            site: gateway.site.0,
            behind: gateway.behind.map(|id| id.0),
            behaviour: gateway.behaviour.clone(),
            external: gateway.external.clone(),
            inside: (gateway.inside.base, gateway.inside.prefix),
            link: LinkShape::of(gateway.link),
        }
    }

    fn into_model(self) -> model::PlacedGateway {
        model::PlacedGateway {
            name: self.name,
            site: SiteId(self.site),
            behind: self.behind.map(GatewayId),
            behaviour: self.behaviour,
            external: self.external,
            inside: model::Subnet { base: self.inside.0, prefix: self.inside.1 },
            link: self.link.into_model(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct HostShape {
    name: String,
    site: u32,
    gateway: Option<u32>,
    address: IpAddr,
    link: LinkShape,
}

impl HostShape {
    fn of(host: &model::Host) -> Self {
        Self {
            name: host.name.clone(),
            site: host.site.0,
            gateway: host.gateway.map(|id| id.0),
            address: host.address,
            link: LinkShape::of(host.link),
        }
    }

    fn into_model(self) -> model::Host {
        model::Host {
            name: self.name,
            site: SiteId(self.site),
            gateway: self.gateway.map(GatewayId),
            address: self.address,
            link: self.link.into_model(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct LinkShape {
    delay: Duration,
    up: Option<(u64, u32)>,
    down: Option<(u64, u32)>,
    mtu: Option<u16>,
}

impl LinkShape {
    fn of(link: model::Link) -> Self {
        let rate = |rate: model::Rate| (rate.bits_per_second, rate.queue);
        Self { delay: link.delay, up: link.up.map(rate), down: link.down.map(rate), mtu: link.mtu }
    }

    fn into_model(self) -> model::Link {
        let rate = |(bits_per_second, queue)| model::Rate { bits_per_second, queue };
        model::Link { delay: self.delay, up: self.up.map(rate), down: self.down.map(rate), mtu: self.mtu }
    }
}

#[derive(Serialize, Deserialize)]
struct PathShape {
    jitter: Duration,
    reorder: bool,
    independent: f64,
    burst: Option<[f64; 3]>,
    within_site: Duration,
}

impl PathShape {
    fn of(path: model::Path) -> Self {
        Self {
            jitter: path.jitter,
            reorder: path.reorder,
            independent: path.loss.independent,
            burst: path.loss.burst.map(|burst| [burst.enter, burst.leave, burst.loss]),
            within_site: path.within_site,
        }
    }

    fn into_model(self) -> model::Path {
        let burst = |[enter, leave, loss]: [f64; 3]| model::Burst { enter, leave, loss };
        model::Path {
            jitter: self.jitter,
            reorder: self.reorder,
            loss: model::Loss { independent: self.independent, burst: self.burst.map(burst) },
            within_site: self.within_site,
        }
    }
}

/// Measured and made-up delays alike travel as the matrix that they amount to, in microseconds.
#[derive(Serialize, Deserialize)]
enum LatencyShape {
    Constant(Duration),
    RttMicros(Vec<Vec<u64>>),
}

impl LatencyShape {
    fn of(topology: &Topology) -> Self {
        if let Latency::Constant(delay) = topology.latency {
            return Self::Constant(delay);
        }
        let points = topology.sites.iter().map(|site| site.point + 1).max().unwrap_or(0);
        // A zero would say that a pair was not measured.
        let micros = |from, to| {
            let nanos = 2 * topology.latency.one_way(from, to).as_nanos();
            u64::try_from((nanos + 500) / 1000).unwrap_or(u64::MAX).max(1)
        };
        let cell = |from, to| if from == to { 0 } else { micros(from, to) };
        Self::RttMicros((0..points).map(|from| (0..points).map(|to| cell(from, to)).collect()).collect())
    }

    fn into_model(self) -> Result<Latency, TopologyError> {
        match self {
            Self::Constant(delay) => Ok(Latency::Constant(delay)),
            Self::RttMicros(rows) => {
                let row = |row: &Vec<u64>| row.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
                let text = rows.iter().map(row).collect::<Vec<_>>().join("\n");
                RttMatrix::from_rtt_us_king(&text).map(Latency::Matrix)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_topology::{Generated, Internet, Population};

    fn drawn(latency: Latency) -> Setting {
        let topology = Topology::draw(&Population::named("default").unwrap(), 60, latency, [3; 32]).unwrap();
        Setting { topology, seed: [9; 32] }
    }

    #[test]
    fn a_setting_survives_the_journey() {
        let setting = drawn(Latency::Constant(Duration::from_millis(50)));
        assert_eq!(Setting::from_json(&setting.to_json().unwrap()).unwrap(), setting);
    }

    #[test]
    fn a_made_up_latency_arrives_within_a_microsecond() {
        let setting = drawn(Latency::Generated(Generated::new(5)));
        let copy = Setting::from_json(&setting.to_json().unwrap()).unwrap();
        for from in 0..20 {
            for to in (0..20).filter(|to| *to != from) {
                let error = setting
                    .topology
                    .latency
                    .one_way(from, to)
                    .abs_diff(copy.topology.latency.one_way(from, to));
                assert!(error <= Duration::from_micros(1), "{from} to {to}: {error:?}");
            }
        }
        assert!(Internet::new(copy.topology, copy.seed).is_ok());
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        assert!(matches!(Setting::from_json(b"{}"), Err(SettingError::Malformed(_))));
        assert!(matches!(Setting::read(Path::new("/nowhere")), Err(SettingError::Unreadable(_))));
    }
}
