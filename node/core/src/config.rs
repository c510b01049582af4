//! What a node is told when it is made.

use std::net::SocketAddr;
use std::time::Duration;

pub use crate::path::TcpUse;
use crate::security::{Epoch, GroupSecret, Security, Wall};
use crate::wire::Address;

/// Everything that a node needs to know before its first input.
#[derive(Clone, Debug)]
pub struct Config {
    /// The overlays that the node is a member of, the public one first (1 to 256).
    pub overlays: Vec<OverlayConfig>,
    /// What the wall clock says at the node's start, in seconds since 1970 (UTC); 0 if it is not known, and then no
    /// certificate that expires is valid.
    pub unix_seconds: u64,
    /// What the node may do over TCP.
    pub tcp: TcpUse,
}

impl Config {
    /// Memberships of a node that does not know what the wall clock says and does without TCP.
    #[must_use]
    pub fn new(overlays: Vec<OverlayConfig>) -> Self {
        Self { overlays, unix_seconds: 0, tcp: TcpUse::Off }
    }
}

/// One membership.
#[derive(Clone, Debug)]
pub struct OverlayConfig {
    /// Name, shown to people and mixed into the overlay's tag on the wire.
    pub name: String,
    /// The member's place on the ring.
    pub address: Address,
    /// Transport addresses of members that may know the way in; more may follow ([`crate::Input::Bootstraps`]).
    pub bootstraps: Vec<SocketAddr>,
    /// The member begins the overlay: alone, it is connected.
    pub is_first: bool,
    /// How the member keeps its ring.
    pub ring: RingConfig,
    /// How edges are kept alive.
    pub keepalive: KeepaliveConfig,
    /// What the member passes on between peers that cannot reach each other.
    pub relay: RelayConfig,
    /// How edges and end-to-end senders are protected.
    pub security: Security,
    /// How members find each other through the DHT of the node's first overlay; without it, by bootstraps only.
    pub discovery: Option<DiscoveryConfig>,
    /// Whether what a member says to all is handed on: anybody's word reaches everybody, so it is off in a public overlay.
    pub broadcast: bool,
    /// When the member's own certificate ends, if it does; for reports only.
    pub certificate_expires: Option<Wall>,
}

impl OverlayConfig {
    /// A membership with the default settings and without security; without bootstraps it is the first member.
    #[must_use]
    pub fn new(name: &str, address: Address, bootstraps: Vec<SocketAddr>) -> Self {
        Self {
            name: name.to_owned(),
            address,
            is_first: bootstraps.is_empty(),
            bootstraps,
            ring: RingConfig::default(),
            keepalive: KeepaliveConfig::default(),
            relay: RelayConfig::default(),
            security: Security::none(),
            discovery: None,
            broadcast: false,
            certificate_expires: None,
        }
    }
}

/// The shape of the ring around a member.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Near connections on each side (1 to 8).
    pub near: usize,
    /// Shortcuts per log2 of the estimated size (0 to 4).
    pub shortcuts: f64,
    /// Candidates that are linked before the shortcut with the shortest round trip is kept (1 to 8).
    pub shortcut_sample: usize,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { near: 3, shortcuts: 0.5, shortcut_sample: 3 }
    }
}

/// How the members of a private overlay find each other.
#[derive(Clone, Debug)]
pub struct DiscoveryConfig {
    /// What the keys and the seal of the entries follow from.
    pub secret: GroupSecret,
    /// Counts changes of the group after which former members shall find nobody.
    pub epoch: u64,
    /// The salt that the group has since the last notice of a revocation, as far as the member was told one.
    pub salted: Option<Epoch>,
    /// How often a connected member looks for others.
    pub timer: QueryTimer,
}

impl DiscoveryConfig {
    /// Discovery by a secret in its first epoch, with the dynamic timer.
    #[must_use]
    pub fn new(secret: GroupSecret) -> Self {
        Self { secret, epoch: 0, salted: None, timer: QueryTimer::Dynamic }
    }
}

/// The rule (section V-E of the paper).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryTimer {
    /// 30 s at first and after every event that gives reason to doubt, doubling to 60 min.
    Dynamic,
    /// Always this long.
    Static(Duration),
}

/// How much a member relays. What is beyond is dropped, and the pair looks for another relay.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Pairs of peers at once (0 to 4,096); 0 relays nothing.
    pub pairs: usize,
    /// Bytes per second of all pairs together, as packets count them.
    pub bytes_per_second: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { pairs: 128, bytes_per_second: 1_000_000 }
    }
}

/// Timers of idle connections.
#[derive(Clone, Debug)]
pub struct KeepaliveConfig {
    /// How often adjacent neighbours exchange a ping, so that a silent death is noticed within 15 s.
    pub adjacent: Duration,
    /// The first idle interval of any other connection; it grows while the mapping is seen to live longer.
    pub idle_min: Duration,
    /// The longest idle interval, below the mapping timer of RFC 4787 REQ-5 (120 s).
    pub idle_max: Duration,
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        Self {
            adjacent: Duration::from_secs(9),
            idle_min: Duration::from_secs(25),
            idle_max: Duration::from_secs(100),
        }
    }
}
