//! One trial as an environment sees it: a drawn topology and the members that live in it.

use atoll_core::wire::Address;
use atoll_topology::{HostId, Topology};

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

/// Everything that differs between one member and another.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Unique name, fit for a container and a metric label: `m0001`, `j01`.
    pub name: String,
    /// Place on the ring.
    pub address: Address,
    /// Where it lives; every member has a host for itself.
    pub host: HostId,
    /// What it is behind, for people: `public`, `port-restricted-cone behind carrier-grade`.
    pub behind: String,
    /// Members that it asks for the way in (at most 5); none for the first.
    pub bootstraps: Vec<NodeIndex>,
    /// Seed of the member's own randomness.
    pub seed: [u8; 32],
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
    /// The emulated Internet at the start, loss included.
    pub topology: Topology,
    /// Seed for `atoll_topology::Internet::new`, the same in every environment.
    pub internet_seed: [u8; 32],
}
