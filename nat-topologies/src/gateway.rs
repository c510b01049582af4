//! What a gateway does, as data: RFC 4787's words and nothing else. Owns no state and knows no preset.
//!
//! The words of these enums in serde are those of topology files: whoever renames one changes that format.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::TopologyError;

/// External addresses of one gateway.
pub(crate) const POOL_MAX: u16 = 256;
/// Subscribers of one gateway in a drawn topology.
pub(crate) const SUBSCRIBERS_MAX: u16 = 10_000;

/// On how much of the remote transport address something depends (RFC 4787 sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    /// On nothing of it.
    EndpointIndependent,
    /// On its IP address.
    AddressDependent,
    /// On its IP address and port.
    AddressAndPortDependent,
}

impl Dependence {
    /// All three, the most permissive first.
    pub const ALL: [Self; 3] =
        [Self::EndpointIndependent, Self::AddressDependent, Self::AddressAndPortDependent];
}

/// Whether the gateway rewrites addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// There is no gateway: the host has a public address.
    None,
    /// Stateful filter without translation.
    Firewall,
    /// Network address and port translation.
    Nat,
}

/// The IP version behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// How the next port is picked when none is preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocator {
    /// The last one plus a step of 1 to 1,000: predictable.
    Sequential {
        /// Distance to the next port.
        step: u16,
    },
    /// Any free port, evenly.
    Random,
}

/// How external ports are picked (RFC 4787 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Take the internal port if it is free.
    pub preserve: bool,
    /// Otherwise pick this way.
    pub otherwise: Allocator,
    /// Each subscriber draws from blocks of this many ports (RFC 7422), 16 to 16,384.
    pub block: Option<u16>,
}

/// What happens to a packet from inside to the gateway's own external address (RFC 4787 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hairpin {
    /// Lost.
    Off,
    /// Comes back in with the internal source; breaks REQ-9a.
    InternalSource,
    /// Comes back in with the external source, as REQ-9a wants.
    ExternalSource,
}

/// Which packets keep a UDP mapping alive (RFC 4787 REQ-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Those from inside.
    Outbound,
    /// Those from either side.
    Both,
}

/// How long mappings and filter entries live without packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timers {
    /// UDP; RFC 4787 REQ-5 asks for 120 s or more.
    pub udp: Duration,
    /// What refreshes the UDP timer.
    pub udp_refresh: Refresh,
    /// TCP after both sides spoke; RFC 5382 REQ-5 asks for 2 h 4 min or more.
    pub tcp_established: Duration,
    /// TCP before that and after a FIN or RST; RFC 5382 REQ-5 asks for 4 min or more.
    pub tcp_transitory: Duration,
    /// ICMP echo; RFC 5508 REQ-2 asks for 60 s or more.
    pub icmp: Duration,
}

/// How a gateway with several external addresses uses them (RFC 4787 REQ-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// One internal host always has the same external address.
    Paired,
    /// Each new mapping takes any of them.
    Arbitrary,
}

/// The answer to an inbound packet that has no mapping or that the filter refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnsolicited {
    /// None (RFC 5382 REQ-4: a SYN is held silently, so simultaneous open works).
    Silent,
    /// TCP reset or ICMP port unreachable.
    Reset,
}

/// What an inbound packet without a mapping leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyInbound {
    /// Nothing.
    Ignored,
    /// The router takes it for its own and tracks it, so that a later outbound flow between the same two
    /// transport addresses must take another port. A Linux router without a drop rule in its input hook.
    ClaimsPort,
}

/// Which remote ports a protocol may go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowed {
    /// Any.
    All,
    /// None.
    None,
    /// Only these.
    Ports(Vec<u16>),
}

impl Allowed {
    /// True if a packet to this remote port may leave.
    pub fn permits(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Ports(ports) => ports.contains(&port),
        }
    }
}

/// What may leave through the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbound {
    /// UDP.
    pub udp: Allowed,
    /// TCP.
    pub tcp: Allowed,
    /// ICMP echo.
    pub icmp: bool,
}

/// Everything that a NAT or firewall does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// NAT, firewall or nothing.
    pub kind: Kind,
    /// IP version inside.
    pub family: Family,
    /// On what a mapping depends (RFC 4787 REQ-1).
    pub mapping: Dependence,
    /// On what filtering depends (RFC 4787 REQ-8).
    pub filtering: Dependence,
    /// How external ports are picked.
    pub ports: Ports,
    /// An even port maps to an even port, an odd one to an odd one (RFC 4787 REQ-4).
    pub parity: bool,
    /// One external port may serve several internal hosts if their remote addresses differ; breaks RFC 4787
    /// REQ-3 and REQ-11. Needs address-and-port-dependent mapping and filtering.
    pub overloading: bool,
    /// What an inbound packet without a mapping leaves behind.
    pub early_inbound: EarlyInbound,
    /// Hairpinning.
    pub hairpin: Hairpin,
    /// Lifetimes.
    pub timers: Timers,
    /// External addresses, 1 to 256.
    pub pool: u16,
    /// How several external addresses are used.
    pub pooling: Pooling,
    /// The answer to unsolicited packets.
    pub on_unsolicited: OnUnsolicited,
    /// Ports that one subscriber may have at a time, per protocol (RFC 6888 REQ-4).
    pub ports_per_subscriber: Option<u32>,
    /// How long a released port is kept from others (RFC 6888 REQ-8: 120 s).
    pub hold: Duration,
    /// What may leave.
    pub outbound: Outbound,
    /// Subscribers that share one such gateway in a drawn topology, 1 to 10,000; more than 1 makes it a carrier's.
    pub subscribers: u16,
}

impl Gateway {
    /// Says what in this data cannot be.
    pub fn check(&self) -> Result<(), TopologyError> {
        let all = Dependence::AddressAndPortDependent;
        let wrong = |key: &str, message: &str| Err(TopologyError::new(message).key(key));
        if self.overloading && (self.mapping != all || self.filtering != all) {
            return wrong(
                "overloading",
                "needs mapping and filtering to be address-and-port-dependent, since a shared port must tell its users apart",
            );
        }
        if self.kind == Kind::Firewall && self.mapping != Dependence::EndpointIndependent {
            return wrong("mapping", "a firewall does not map, so this must be endpoint-independent");
        }
        if self.pool == 0 || self.pool > POOL_MAX {
            return wrong("pool", "must be 1 to 256 addresses");
        }
        if self.subscribers == 0 || self.subscribers > SUBSCRIBERS_MAX {
            return wrong("subscribers", "must be 1 to 10000");
        }
        if self.ports.block.is_some_and(|size| !(16..=16_384).contains(&size)) {
            return wrong("block", "must be 16 to 16384 ports");
        }
        if matches!(self.ports.otherwise, Allocator::Sequential { step } if !(1..=1000).contains(&step)) {
            return wrong("step", "must be 1 to 1000");
        }
        let timers = &self.timers;
        let shortest = timers.udp.min(timers.tcp_established).min(timers.tcp_transitory).min(timers.icmp);
        if shortest.is_zero() {
            return wrong("udp_timeout", "timers must be longer than 0");
        }
        Ok(())
    }
}
