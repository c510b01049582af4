//! The kinds of experiments, and which keys mean something to each.

use super::values::{KEYS, Key};
use super::wrong::Wrong;

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Experiment {
    /// How long a newcomer needs until it is connected.
    #[default]
    Join,
    /// How long many newcomers of a private overlay need that start at one instant.
    Pool,
    /// What members of a private overlay send at rest.
    Bandwidth,
    /// How far it is through relays, and what becomes of a pair whose relay dies.
    Relay,
    /// How long the halves of a partition need until they are one ring again.
    Partition,
    /// What is answered and kept while members come and go.
    Churn,
    /// How long it takes until everybody knows who was revoked.
    Revocation,
}

/// Experiments that a later version may have, so that a file with one of them is refused for the right reason.
const LATER: [&str; 2] = ["nat-matrix", "vpn"];

impl Experiment {
    /// Every kind with its name.
    pub const ALL: [(Self, &str); 7] = [
        (Self::Join, "join"),
        (Self::Pool, "pool"),
        (Self::Bandwidth, "bandwidth"),
        (Self::Relay, "relay"),
        (Self::Partition, "partition"),
        (Self::Churn, "churn"),
        (Self::Revocation, "revocation"),
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        let known = Self::ALL.map(|(_, name)| name);
        if let Some((experiment, _)) = Self::ALL.into_iter().find(|(_, name)| *name == text) {
            return Ok(experiment);
        }
        if LATER.contains(&text) {
            return Err(Wrong::new(format!("this version has no experiment `{text}`"))
                .with_hint(format!("known: {}", known.join(", "))));
        }
        Err(Wrong::unknown("experiment", text, &known))
    }

    /// Whether a key means something to it.
    #[must_use]
    pub fn takes(self, key: Key) -> bool {
        if self == Self::Relay {
            return matches!(
                key,
                Key::Public | Key::Security | Key::Latency | Key::Nat | Key::Loss | Key::Rest
            );
        }
        match key {
            Key::Joiners => self == Self::Join,
            Key::Start => matches!(self, Self::Join | Self::Partition),
            Key::Partition => self == Self::Partition,
            Key::Session => self == Self::Churn,
            Key::By | Key::From | Key::Deaths | Key::Churn => self == Self::Revocation,
            Key::Rest => matches!(self, Self::Join | Self::Bandwidth | Self::Revocation),
            Key::Measure => matches!(self, Self::Join | Self::Bandwidth | Self::Churn),
            _ => true,
        }
    }

    /// Whether `private` counts some of the public members, and not pairs that come on top.
    #[must_use]
    pub fn shares(self) -> bool {
        !matches!(self, Self::Pool | Self::Bandwidth)
    }

    /// The keys that mean something to it, in the order of the documentation.
    pub fn keys(self) -> impl Iterator<Item = (Key, &'static str)> {
        KEYS.into_iter().filter(move |(key, _)| self.takes(*key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_experiments() {
        for (experiment, name) in Experiment::ALL {
            assert_eq!(experiment.name(), name);
            assert_eq!(Experiment::read(name).unwrap(), experiment);
        }
    }
}
