//! The memberships with what changes about them: addresses of bootstraps, and whether they are connected.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use atoll_core::config::Config;
use atoll_core::control::{Event, EventKind, State, Status};
use atoll_core::wire::Address;
use atoll_core::{Rng, Seed, Time};

use super::names::{self, Found};
use crate::config::Settings;

/// The memberships of the node.
#[derive(Debug)]
pub(super) struct Roster {
    settings: Settings,
    addresses: Vec<Address>,
    bootstraps: Vec<Vec<SocketAddr>>,
    connected: BTreeSet<String>,
    rng: Rng,
    machines: u64,
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
        let bootstraps = settings.overlays.iter().map(|member| names::literal(&member.bootstraps)).collect();
        Self { settings, addresses, bootstraps, connected: BTreeSet::new(), rng, machines: 0 }
    }

    /// Each overlay's name with the member's address.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, Address)> {
        let names = self.settings.overlays.iter().map(|member| member.name.0.as_str());
        names.zip(self.addresses.iter().copied())
    }

    /// What to make a machine from; `None` while a member that has bootstraps knows no address of any, since
    /// the core would take it for the first of its overlay.
    pub(super) fn config(&self) -> Option<Config> {
        let mut members = self.settings.overlays.iter().zip(&self.bootstraps);
        let lost = members.any(|(member, known)| !member.bootstraps.is_empty() && known.is_empty());
        (!lost).then(|| self.settings.core(&self.addresses, &self.bootstraps))
    }

    /// How the members stand that wait for a machine.
    pub(super) fn waiting(&self, now: Time) -> Vec<Status> {
        let waiting = self.members().map(|(overlay, address)| Status {
            overlay: overlay.to_owned(),
            address,
            state: State::Joining,
            uptime_seconds: now.as_secs_f64(),
            join_seconds: None,
            neighbours_changed_seconds: 0.0,
            predecessor: None,
            successor: None,
            size_estimate: 1.0,
            connections: Vec::new(),
            observed: Vec::new(),
        });
        waiting.collect()
    }

    /// A seed for the next machine; the first one is the same for the same seed of the node.
    pub(super) fn next_seed(&mut self) -> Seed {
        self.machines += 1;
        self.rng.seed(self.machines)
    }

    /// Takes newly resolved bootstraps.
    pub(super) fn resolved(&mut self, found: Found) {
        if let Some(known) = self.bootstraps.get_mut(found.overlay) {
            *known = found.bootstraps;
        }
    }

    /// Notes what an event says about a membership.
    pub(super) fn note(&mut self, event: &Event) {
        match event.kind {
            EventKind::Connected => {
                self.connected.insert(event.overlay.clone());
            }
            EventKind::Disconnected => {
                self.connected.remove(&event.overlay);
            }
            _ => {}
        }
    }

    /// Whether any membership is connected.
    pub(super) fn is_connected(&self) -> bool {
        !self.connected.is_empty()
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
    fn a_member_whose_bootstraps_are_unknown_waits_for_their_addresses() {
        assert!(roster("", None, 1).config().is_some(), "the first member has no bootstraps");
        let mut waiting = roster("overlays: [{name: a, bootstraps: [\"host.example:1\"]}]", None, 1);
        assert!(waiting.config().is_none());
        let bootstraps: Vec<SocketAddr> = vec!["192.0.2.1:1".parse().unwrap()];
        waiting.resolved(Found { overlay: 0, bootstraps: bootstraps.clone() });
        assert_eq!(waiting.config().unwrap().overlays[0].bootstraps, bootstraps);
    }
}
