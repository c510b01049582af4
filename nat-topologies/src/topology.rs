//! A topology: sites, gateways, hosts and what joins them. Plain data, checked by `Internet::new`.
//!
//! Its serde form has every detail, drawn addresses included, and is for programs of one build; topology files have a
//! form of their own, which `file` reads.

mod addresses;
mod distance;
mod draw;
mod file;
mod spec;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{Gateway, GatewayId, Latency, Link, Path, SiteId, TopologyError};

pub(crate) use addresses::{PUBLIC_V4, Place, Plan};

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// First address.
    pub base: IpAddr,
    /// Length of the prefix in bits: 0 to 32 or 128.
    pub prefix: u8,
}

impl Subnet {
    /// An IPv4 block.
    pub const fn v4(base: Ipv4Addr, prefix: u8) -> Self {
        Self { base: IpAddr::V4(base), prefix }
    }

    /// An IPv6 block.
    pub const fn v6(base: Ipv6Addr, prefix: u8) -> Self {
        Self { base: IpAddr::V6(base), prefix }
    }

    /// Says why this is no block.
    pub(crate) fn check(&self) -> Result<(), TopologyError> {
        let Self { base, prefix } = self;
        let (bits, inside) = match base {
            IpAddr::V4(base) => (32, base.to_bits().checked_shl((*prefix).into()).unwrap_or(0).into()),
            IpAddr::V6(base) => (128, base.to_bits().checked_shl((*prefix).into()).unwrap_or(0)),
        };
        if *prefix > bits || inside != 0 {
            return Err(TopologyError::new(format!("{base}/{prefix} is no block of addresses")));
        }
        Ok(())
    }

    /// True if the address lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The address this far from the first one, if it is still in the block.
    pub fn nth(&self, n: u32) -> Option<IpAddr> {
        let address = match self.base {
            IpAddr::V4(base) => IpAddr::V4(base.to_bits().checked_add(n)?.into()),
            IpAddr::V6(base) => IpAddr::V6(base.to_bits().checked_add(n.into())?.into()),
        };
        self.contains(address).then_some(address)
    }
}

/// A place: a point of the latency matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name, for people.
    pub name: String,
    /// Row and column of the latency matrix, or number for the generator.
    pub point: u32,
}

/// A gateway and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacedGateway {
    /// Its name, for people.
    pub name: String,
    /// Where it stands.
    pub site: SiteId,
    /// The gateway that it is behind; `None` if it has public addresses.
    pub behind: Option<GatewayId>,
    /// What it does.
    pub behaviour: Gateway,
    /// Its addresses outside: one, or as many as its pool. A firewall has none.
    pub external: Vec<IpAddr>,
    /// The network inside. All homes may use the same one; a firewall has that of its outside.
    pub inside: Subnet,
    /// Its line to the outside.
    pub link: Link,
}

/// A host and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name, for people.
    pub name: String,
    /// Where it stands.
    pub site: SiteId,
    /// The innermost gateway that it is behind; `None` if nothing is between it and the Internet.
    pub gateway: Option<GatewayId>,
    /// Its own address: private behind a NAT.
    pub address: IpAddr,
    /// Its line to the outside.
    pub link: Link,
}

impl Host {
    /// True if nothing stands between the host and the Internet, so that anyone can reach it first.
    pub const fn is_public(&self) -> bool {
        self.gateway.is_none()
    }
}

/// Everything that an `Internet` starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Places; `SiteId` is the index.
    pub sites: Vec<Site>,
    /// Gateways; `GatewayId` is the index. A gateway comes after the one that it is behind.
    pub gateways: Vec<PlacedGateway>,
    /// Hosts; `HostId` is the index.
    pub hosts: Vec<Host>,
    /// Delay between sites.
    pub latency: Latency,
    /// What all paths have in common.
    pub path: Path,
}
