//! Populations.

use crate::{Gateway, TopologyError};

/// A share of the hosts and what they are behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Relative weight, more than 0.
    pub weight: f64,
    /// Gateways, the innermost first; none for a public host.
    pub behind: Vec<Gateway>,
}

/// Which shares of the hosts are behind which gateways.
#[derive(Clone, Debug, PartialEq)]
pub struct Population {
    /// Its shares.
    pub shares: Vec<Share>,
}

impl Population {
    /// A built-in population: `none`, `cones`, `default`, or a preset (8 % public and 92 % of it).
    pub fn named(_name: &str) -> Result<Self, TopologyError> {
        Ok(Self { shares: vec![Share { weight: 1.0, behind: vec![] }] })
    }
}
