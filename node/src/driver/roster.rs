//! The memberships as the configuration, the identity and the seed make them.

use atoll_core::config::Config;
use atoll_core::wire::Address;
use atoll_core::{Rng, Seed};

use crate::config::Settings;

/// The memberships of the node.
#[derive(Debug)]
pub(super) struct Roster {
    settings: Settings,
    addresses: Vec<Address>,
    rng: Rng,
}

impl Roster {
    /// `first` is the address of the first overlay where the configuration gives none.
    pub(super) fn new(settings: Settings, first: Option<Address>, seed: Seed) -> Self {
        let rng = Rng::new(seed);
        let members = settings.overlays.iter().enumerate();
        let addresses = members.map(|(place, member)| {
            let derived = first.filter(|_| place == 0);
            member.address.or(derived).unwrap_or_else(|| random(&rng, &member.name.0))
        });
        let addresses = addresses.collect();
        Self { settings, addresses, rng }
    }

    /// Each overlay's name with the member's address.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, Address)> {
        let names = self.settings.overlays.iter().map(|member| member.name.0.as_str());
        names.zip(self.addresses.iter().copied())
    }

    /// The name of the overlay at this place in the configuration.
    pub(super) fn name(&self, place: usize) -> Option<String> {
        self.settings.overlays.get(place).map(|member| member.name.0.clone())
    }

    /// What to make the machine from; bootstraps that have names follow once these are resolved.
    pub(super) fn config(&self) -> Config {
        self.settings.core(&self.addresses)
    }

    /// The seed of the machine; the same for the same seed of the node.
    pub(super) fn seed(&self) -> Seed {
        self.rng.seed(1)
    }
}

fn random(rng: &Rng, name: &str) -> Address {
    let mut bytes = [0; Address::LEN];
    rng.fork("address").fork(name).fill(&mut bytes);
    Address::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(text: &str, first: Option<Address>, seed: u8) -> Roster {
        Roster::new(Settings::parse("x", text).unwrap().with_defaults(), first, [seed; 32])
    }

    fn addresses(roster: &Roster) -> Vec<Address> {
        roster.members().map(|(_, address)| address).collect()
    }

    #[test]
    fn an_address_comes_from_the_file_else_the_identity_else_the_seed() {
        let digits = "00112233445566778899aabbccddeeff00112233";
        let derived = Address::from_bytes([9; 20]);
        let identity = Some(derived);
        let text = format!("overlays: [{{name: a, address: \"{digits}\"}}, {{name: b}}]");
        let both = addresses(&roster(&text, identity, 1));
        assert_eq!(both[0], digits.parse().unwrap());
        assert_ne!(Some(both[1]), identity, "only the first overlay's address follows from the identity");
        assert_eq!(addresses(&roster("", identity, 1)), [derived]);
        assert_eq!(addresses(&roster("", None, 1)), addresses(&roster("", None, 1)));
        assert_ne!(addresses(&roster("", None, 1)), addresses(&roster("", None, 2)));
    }

    #[test]
    fn a_member_whose_bootstraps_are_only_names_is_not_taken_for_the_first() {
        assert!(roster("", None, 1).config().overlays[0].is_first);
        let config = roster("overlays: [{name: a, bootstraps: [\"host.example:1\"]}]", None, 1).config();
        assert!(config.overlays[0].bootstraps.is_empty() && !config.overlays[0].is_first);
    }
}
