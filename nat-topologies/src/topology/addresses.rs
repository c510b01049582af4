//! Which addresses machines get. Owns the plan; never who has which address.
//!
//! Public IPv4 addresses come from 44.128.0.0/10 and public IPv6 addresses from 2600:4400::/32: both look
//! public to every program (the documentation and benchmarking ranges do not), and no packet of the model
//! leaves it. Carriers use 100.64.0.0/10 (RFC 6598) inside, homes the same few private subnets everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Subnet;
use crate::{Family, TopologyError};

/// Public IPv4 addresses.
pub(crate) const PUBLIC_V4: Subnet = Subnet::v4(Ipv4Addr::new(44, 128, 0, 0), 10);
/// Public IPv6 addresses.
pub(crate) const PUBLIC_V6: Subnet = Subnet::v6(Ipv6Addr::new(0x2600, 0x4400, 0, 0, 0, 0, 0, 0), 32);
/// Inside of every carrier NAT.
pub(crate) const CARRIER: Subnet = Subnet::v4(Ipv4Addr::new(100, 64, 0, 0), 10);
/// Insides of homes, by number of home.
pub(crate) const HOMES: [Subnet; 4] = [
    Subnet::v4(Ipv4Addr::new(192, 168, 1, 0), 24),
    Subnet::v4(Ipv4Addr::new(192, 168, 0, 0), 24),
    Subnet::v4(Ipv4Addr::new(192, 168, 1, 0), 24),
    Subnet::v4(Ipv4Addr::new(10, 0, 0, 0), 24),
];

/// Hands out public addresses, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    v4: u32,
    v6: u32,
}

impl Addresses {
    /// The next public address.
    pub(crate) fn public(&mut self, family: Family) -> Result<IpAddr, TopologyError> {
        let (subnet, next) = match family {
            Family::Ipv4 => (PUBLIC_V4, &mut self.v4),
            Family::Ipv6 => (PUBLIC_V6, &mut self.v6),
        };
        *next += 1;
        subnet.nth(*next).ok_or_else(|| TopologyError::new("no public address is left"))
    }
}
