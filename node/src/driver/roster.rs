//! The memberships as the configuration, the identity and the seed make them.

use std::collections::BTreeMap;

use atoll_core::config::Config;
use atoll_core::security::{Security, Wall};
use atoll_core::wire::Address;
use atoll_core::{Rng, Seed};

use crate::config::{Engine, Group, Membership, Place, Settings};
use crate::failure::Failure;
use crate::group::{self, Papers};
use crate::identity::Identity;
use crate::revoked::Memory;

/// What the memberships are made from besides the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// All randomness follows from it.
    pub(super) seed: Seed,
    /// What the wall clock says.
    pub(super) now: Wall,
}

/// The memberships of the node.
#[derive(Debug)]
pub(super) struct Roster {
    settings: Settings,
    places: Vec<Place>,
    rng: Rng,
}

impl Roster {
    /// Without an identity each secured membership has a key that follows from the seed.
    ///
    /// # Errors
    /// If an address is asked for that does not belong to the key or the certificate, OpenSSL does not take the key, or
    /// the files of a group do not make a member.
    pub(super) fn new(
        settings: Settings,
        identity: Option<&Identity>,
        start: Start,
    ) -> Result<Self, Failure> {
        let rng = Rng::new(start.seed);
        let members = settings.overlays.iter().enumerate();
        let places = members.map(|(number, member)| match (&member.group, member.security) {
            (Some(group), engine) => vouched(member, group, engine, start.now),
            (None, Engine::None) => believed(member, identity.filter(|_| number == 0), &rng),
            (None, _) => proved(member, identity, start.seed),
        });
        let places: Vec<Place> = places.collect::<Result<_, _>>()?;
        let secrets = settings.overlays.iter().enumerate().zip(places);
        let places = secrets.map(|((number, member), place)| found_by(member, number, place));
        let places: Vec<Place> = places.collect::<Result<_, _>>()?;
        let roster = Self { settings, places, rng };
        roster.check_secrets()?;
        Ok(roster)
    }

    /// Overlays are told apart on the wire by their secrets.
    fn check_secrets(&self) -> Result<(), Failure> {
        let mut tags = BTreeMap::new();
        for (name, place) in self.members() {
            let Some(secret) = place.security.secret() else { continue };
            if let Some(other) = tags.insert(secret.tag(), name) {
                let why = format!("overlay `{other}` has the same secret");
                return Err(Failure::new(format!("overlay `{name}`"), why)
                    .hint("a node is a member of a group once; another group has a secret of its own"));
            }
        }
        Ok(())
    }

    /// Each overlay's name with the member's place.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Place)> {
        let names = self.settings.overlays.iter().map(|member| member.name.0.as_str());
        names.zip(&self.places)
    }

    /// Whether a site hands out the certificates of this overlay.
    pub(super) fn has_site(&self, overlay: &str) -> bool {
        let mut members = self.settings.overlays.iter().filter(|member| member.name.0 == overlay);
        members.any(|member| member.group.as_ref().is_some_and(|group| group.site.is_some()))
    }

    /// The name of the overlay at this place in the configuration.
    pub(super) fn name(&self, place: usize) -> Option<String> {
        self.settings.overlays.get(place).map(|member| member.name.0.clone())
    }

    /// Where each member keeps what it is told of revocations; nowhere if it is in no group.
    pub(super) fn memories(&self) -> impl Iterator<Item = Option<Memory>> {
        self.settings.overlays.iter().map(|member| member.group.as_ref().map(Memory::of))
    }

    /// What to make the machine from; bootstraps that have names follow once these are resolved.
    pub(super) fn config(&self) -> Config {
        self.settings.core(&self.places)
    }

    /// The seed of the machine; the same for the same seed of the node.
    pub(super) fn seed(&self) -> Seed {
        self.rng.seed(1)
    }
}

/// Without security any address will do: that of the file, that of the identity, or a random one.
fn believed(member: &Membership, identity: Option<&Identity>, rng: &Rng) -> Result<Place, Failure> {
    let derived = identity.map(Identity::address).transpose()?;
    let address = member.address.or(derived).unwrap_or_else(|| random(rng, &member.name.0));
    Ok(Place { address, security: Security::none(), identity: None, secret: None, salted: None })
}

/// The address belongs to the key.
fn proved(member: &Membership, identity: Option<&Identity>, seed: Seed) -> Result<Place, Failure> {
    let name = &member.name.0;
    let derived;
    let identity = match identity {
        Some(identity) => identity,
        None => {
            derived = Identity::derived(seed, name)?;
            &derived
        }
    };
    let address = identity.address()?;
    if let Some(asked) = member.address.filter(|asked| *asked != address) {
        let why = format!("{asked} does not belong to the identity, whose address is {address}");
        return Err(Failure::new(format!("address of overlay `{name}`"), why)
            .hint("leave `address` out, or use `security: none`"));
    }
    let security = (member.security.secured(&identity.credentials()?))
        .map_err(|why| Failure::new(format!("security of overlay `{name}`"), why))?;
    Ok(Place { address, security, identity: None, secret: None, salted: None })
}

/// The group's authority says who the member is.
fn vouched(member: &Membership, group: &Group, engine: Engine, now: Wall) -> Result<Place, Failure> {
    let name = &member.name.0;
    if let Some((why, hint)) = member.contradiction() {
        return Err(Failure::new(format!("overlay `{name}`"), why).hint(hint));
    }
    let Papers { security, member: proved } = group::read(group, engine, now)?;
    let address = proved.address;
    if let Some(asked) = member.address.filter(|asked| *asked != address) {
        let why = format!("{asked} is not the address of the certificate, which is {address}");
        return Err(Failure::new(format!("address of overlay `{name}`"), why).hint("leave `address` out"));
    }
    Ok(Place { address, security, identity: Some(proved), secret: None, salted: None })
}

/// The same with the secret that members find each other by, if they do so.
fn found_by(member: &Membership, number: usize, place: Place) -> Result<Place, Failure> {
    if !member.discovers(number) {
        return Ok(place);
    }
    let own = member.discovery.as_ref().and_then(|discovery| discovery.secret.as_deref());
    let secret = match own {
        Some(path) => Some(group::secret_of(path)?),
        None => place.security.secret().cloned(),
    };
    let salted = member.group.as_ref().and_then(|group| Memory::of(group).epoch());
    Ok(Place { secret, salted, ..place })
}

fn random(rng: &Rng, name: &str) -> Address {
    let mut bytes = [0; Address::LEN];
    rng.fork("address").fork(name).fill(&mut bytes);
    Address::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(text: &str, identity: Option<&Identity>, seed: u8) -> Result<Roster, Failure> {
        Roster::new(
            Settings::parse("x", text).unwrap().with_defaults(),
            identity,
            Start { seed: [seed; 32], now: Wall(0) },
        )
    }

    fn addresses(roster: &Roster) -> Vec<Address> {
        roster.members().map(|(_, place)| place.address).collect()
    }

    fn identity(seed: u8) -> Identity {
        Identity::derived([seed; 32], "a").unwrap()
    }

    #[test]
    fn a_secured_address_belongs_to_the_identity_else_to_a_key_of_the_seed() {
        let identity = identity(9);
        let own = identity.address().unwrap();
        assert_eq!(addresses(&roster("", Some(&identity), 1).unwrap()), [own]);
        let [one, again, other] = [1, 1, 2].map(|seed| addresses(&roster("", None, seed).unwrap()));
        assert!(one == again && one != other && one != [own]);
    }

    #[test]
    fn an_address_that_does_not_belong_to_the_key_is_refused() {
        let digits = "00112233445566778899aabbccddeeff00112233";
        let text = format!("overlays: [{{name: a, address: \"{digits}\"}}]");
        let shown = roster(&text, None, 1).unwrap_err().to_string();
        assert!(shown.contains(digits) && shown.contains("hint: leave `address` out"), "{shown}");
    }

    #[test]
    fn without_security_an_address_comes_from_the_file_else_the_identity_else_the_seed() {
        let digits = "00112233445566778899aabbccddeeff00112233";
        let identity = identity(9);
        let own = identity.address().unwrap();
        let text = format!(
            "overlays: [{{name: a, security: none, address: \"{digits}\"}}, {{name: b, security: none}}]"
        );
        let both = addresses(&roster(&text, Some(&identity), 1).unwrap());
        assert_eq!(both[0], digits.parse().unwrap());
        assert_ne!(both[1], own, "only the first overlay's address follows from the identity");
        let alone = "overlays: [{name: a, security: none}]";
        assert_eq!(addresses(&roster(alone, Some(&identity), 1).unwrap()), [own]);
        let [one, again, other] = [1, 1, 2].map(|seed| addresses(&roster(alone, None, seed).unwrap()));
        assert!(one == again && one != other);
    }

    #[test]
    fn a_member_whose_bootstraps_are_only_names_is_not_taken_for_the_first() {
        assert!(roster("", None, 1).unwrap().config().overlays[0].is_first);
        let text = "overlays: [{name: a, bootstraps: [\"host.example:1\"]}]";
        let config = roster(text, None, 1).unwrap().config();
        assert!(config.overlays[0].bootstraps.is_empty() && !config.overlays[0].is_first);
    }
}
