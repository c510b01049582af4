//! One trial as an environment sees it: a drawn topology and the members that live in it.

use atoll_core::config::{DiscoveryConfig, QueryTimer};
use atoll_core::rng::numbered;
use atoll_core::security::{GroupSecret, address_of, derived_key};
use atoll_core::wire::Address;
use atoll_topology::{HostId, Topology};

use super::{GROUP, OVERLAY};
use crate::error::{OrFail as _, Result};

/// A member of a trial: dense, from 0, in the order of the population.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// As an index into a slice.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How members protect their edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    None,
    /// By DTLS, with the address bound to the key.
    #[default]
    Dtls,
    /// By QUIC, with the address bound to the key.
    Quic,
    /// As many round trips and bytes as DTLS without cryptography; only where time is virtual.
    Modelled,
    /// The same with those of QUIC.
    ModelledQuic,
}

impl Security {
    /// Every kind with its name.
    pub const ALL: [(Self, &str); 5] = [
        (Self::None, "none"),
        (Self::Dtls, "dtls"),
        (Self::Quic, "quic"),
        (Self::Modelled, "modelled"),
        (Self::ModelledQuic, "modelled-quic"),
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether it only plays handshakes: nothing that a container could run.
    #[must_use]
    pub fn is_model(self) -> bool {
        matches!(self, Self::Modelled | Self::ModelledQuic)
    }
}

/// Everything that differs between one member and another.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Unique name, fit for a container and a metric label: `m0001`, `j01`.
    pub name: String,
    /// Place on the ring, as its key wants it ([`NodeSpec::address_of`]).
    pub address: Address,
    /// Where it lives; every member has a host for itself.
    pub host: HostId,
    /// What it is behind, for people: `public`, `port-restricted-cone behind carrier-grade`.
    pub behind: String,
    /// Members that it asks for the way in (at most 5); none for the first.
    pub bootstraps: Vec<NodeIndex>,
    /// Number from which all randomness of the member follows, and its key (`atoll_core::rng::numbered`).
    pub seed: u64,
    /// Its place on the ring of the trial's private overlay, if it is a member there too ([`NodeSpec::private_address_of`]).
    pub private: Option<Address>,
}

/// The private overlay of a trial: its members find each other through the public one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Seed of its authority and of its secret.
    pub seed: u64,
    /// How often a connected member looks for others.
    pub query_timer: QueryTimer,
}

impl Group {
    /// What the members share.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        atoll_core::Rng::new(numbered(self.seed)).fork("secret").seed(0)
    }

    /// How its members find each other.
    #[must_use]
    pub fn discovery(&self) -> DiscoveryConfig {
        DiscoveryConfig { timer: self.query_timer, ..DiscoveryConfig::new(GroupSecret::new(self.secret())) }
    }
}

impl NodeSpec {
    /// The place on the ring that belongs to the key of a member with this seed.
    ///
    /// # Errors
    /// OpenSSL cannot compute on its curve.
    pub fn address_of(seed: u64) -> Result<Address> {
        address_in(OVERLAY, seed)
    }

    /// The same on the ring of the private overlay.
    ///
    /// # Errors
    /// OpenSSL cannot compute on its curve.
    pub fn private_address_of(seed: u64) -> Result<Address> {
        address_in(GROUP, seed)
    }
}

fn address_in(overlay: &str, seed: u64) -> Result<Address> {
    let key = derived_key(numbered(seed), overlay).or_fail(|| "cannot make a member's key".to_owned())?;
    address_of(&key).or_fail(|| "cannot make a member's address".to_owned())
}

/// One seed with one set of values, drawn and checked.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Number within the plan, from 0.
    pub number: u32,
    /// Seed that everything in the trial is drawn from.
    pub seed: u64,
    /// The members, in the order of [`NodeIndex`].
    pub nodes: Vec<NodeSpec>,
    /// How they protect their edges, in both overlays.
    pub security: Security,
    /// The private overlay, if some of them have one.
    pub group: Option<Group>,
    /// The emulated Internet at the start, loss included.
    pub topology: Topology,
    /// Seed for `atoll_topology::Internet::new`, the same in every environment.
    pub internet_seed: [u8; 32],
}
