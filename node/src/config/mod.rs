//! What the daemon is told: a YAML file, flags over it, and what the core is made from.
//!
//! It owns the file's shape and its errors. It opens no socket and looks up no name.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```

mod discovery;
mod group;
mod link;
mod member_file;
mod section;
mod validity;
mod value;
mod yaml;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use atoll_core::config::{Config, KeepaliveConfig, OverlayConfig, RingConfig};
use atoll_core::security::{Epoch, GroupSecret, Identity, Security};
use atoll_core::wire::Address;
use serde::Deserialize;

pub use discovery::{Discovery, QueryTimer};
pub use group::{FromSite, Group, Refused, groups_folder};
pub(crate) use link::decoded;
pub use link::{Link, Source};
#[cfg(test)]
pub(crate) use member_file::tests::sample as sample_file;
pub use member_file::{Digits, MemberFile, Root, Url, Urls};
pub use section::{Engine, Keepalive, Log, LogFormat, LogLevel, Membership, Ring};
pub use validity::Validity;
pub(crate) use value::flag;
pub use value::{Bootstrap, Dilation, Endpoint, Interval, Lease, Listen, Name, OverlayName, Size};

use crate::failure::Failure;

/// Memberships of one node, at most.
pub const OVERLAYS_MAX: usize = 256;
/// Bootstraps of one membership, at most.
pub const BOOTSTRAPS_MAX: usize = 64;
/// Where the control interface listens, and where the other verbs look for it, if nothing else is said.
pub const CONTROL_DEFAULT: &str = "127.0.0.1:9101";

/// A complete configuration, with a remark at each key.
pub const EXAMPLE: &str = include_str!("example.yaml");

const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a member stands on the ring, and what proves that it may.
#[derive(Clone, Debug)]
pub struct Place {
    /// The place on the ring.
    pub address: Address,
    /// How the membership is protected.
    pub security: Security,
    /// Who the member is, if an authority made its certificate.
    pub identity: Option<Identity>,
    /// What members find each other by, if they do so through the first overlay.
    pub secret: Option<GroupSecret>,
    /// And the salt that they have since the last notice of a revocation.
    pub salted: Option<Epoch>,
}

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the UDP socket is bound; by default `[::]:4001`, or `0.0.0.0:4001` on a host without IPv6.
    #[serde(deserialize_with = "value::some_text")]
    pub listen: Option<Listen>,
    /// Whether TCP is used where UDP does not come through, and taken at the same port; it is by default.
    #[serde(deserialize_with = "value::some_bool")]
    pub tcp: Option<bool>,
    /// The file of the private key; made at the first start.
    pub identity: Option<PathBuf>,
    /// All randomness follows from it; only for runs that shall repeat.
    pub seed: Option<u64>,
    /// How many times slower than the system's the node's clock runs, for what it and its peers do (1 to 1000); only for
    /// experiments in which all nodes, and the network between them, are slower as many times. The wall clock is the system's.
    pub dilation: Option<Dilation>,
    /// The memberships, the public one first (1 to 256).
    #[serde(deserialize_with = "section::overlays")]
    pub overlays: Vec<Membership>,
    /// Where Prometheus reads the metrics; off by default.
    pub metrics: Option<Endpoint>,
    /// Where the control interface listens; [`CONTROL_DEFAULT`] by default.
    pub control: Option<Endpoint>,
    /// The folder for files that other members send; without it none is taken.
    pub inbox: Option<PathBuf>,
    /// The largest file that is taken.
    pub inbox_max: Size,
    /// What is logged, and how.
    pub log: Log,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or says something that is not understood; with line, column, key and a hint.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let wrong = |why: std::io::Error| {
            Failure::new(shown.clone(), why).hint("give the path of a readable YAML file to --config")
        };
        let mut text = String::new();
        let file = File::open(path).map_err(wrong)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(wrong)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(Failure::new(shown, "too long for a configuration")
                .hint("is this the right file? At most 1 MiB is read"));
        }
        Self::parse(&shown, &text)
    }

    /// Reads a text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// If it says something that is not understood; with line, column, key and a hint.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        yaml::read(name, text)
    }

    /// Fills what neither the file nor a flag said.
    #[must_use]
    pub fn with_defaults(mut self) -> Self {
        if self.overlays.is_empty() {
            self.overlays.push(Membership::new(OverlayName("public".to_owned())));
        }
        self
    }

    /// The core's configuration; `places` has one entry for each overlay. Bootstraps that have names are left out.
    #[must_use]
    pub fn core(&self, places: &[Place]) -> Config {
        let overlays = self.overlays.iter().zip(places).map(|(member, place)| OverlayConfig {
            is_first: member.bootstraps.is_empty() && place.secret.is_none(),
            discovery: place.secret.clone().map(|secret| member.discovery(secret, place.salted)),
            security: place.security.clone(),
            certificate_expires: place.identity.as_ref().and_then(|identity| identity.not_after),
            ring: RingConfig {
                near: member.ring.near,
                shortcuts: member.ring.shortcuts,
                shortcut_sample: member.ring.shortcut_sample,
            },
            keepalive: KeepaliveConfig {
                adjacent: member.keepalive.adjacent.0,
                idle_min: member.keepalive.idle_min.0,
                idle_max: member.keepalive.idle_max.0,
            },
            ..OverlayConfig::new(&member.name.0, place.address, member.literal_bootstraps())
        });
        Config::new(overlays.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr as _;
    use std::time::Duration;

    fn place() -> Place {
        let address = Address::from_bytes([1; 20]);
        Place { address, security: Security::none(), identity: None, secret: None, salted: None }
    }

    #[test]
    fn an_empty_file_is_one_public_member_with_the_defaults_of_the_core() {
        let settings = Settings::parse("x", "").unwrap().with_defaults();
        let config = settings.core(&[place()]);
        let expected = OverlayConfig::new("public", Address::from_bytes([1; 20]), vec![]);
        assert_eq!(format!("{:?}", config.overlays), format!("{:?}", vec![expected]));
    }

    #[test]
    fn the_example_is_understood() {
        let settings = Settings::parse("example.yaml", EXAMPLE).unwrap();
        assert_eq!(settings.overlays[0].bootstraps.len(), 2);
    }

    #[test]
    fn every_setting_of_the_core_can_be_set() {
        let text = "overlays: [{name: public}, {name: a, ring: {near: 2, shortcuts: 1, shortcut_sample: 4},
            keepalive: {adjacent: 1 s, idle_min: 2 s, idle_max: 3 s},
            discovery: {query_timer: 5 min, epoch: 7, secret: s}}]";
        let place = Place { secret: Some(GroupSecret::new([1; 32])), ..place() };
        let config = Settings::parse("x", text).unwrap().core(&[place.clone(), place]);
        let OverlayConfig { ring, keepalive, discovery, .. } = &config.overlays[1];
        let discovery = discovery.as_ref().unwrap();
        assert_eq!((discovery.epoch, discovery.timer), (7, QueryTimer::from_str("5 min").unwrap().0));
        assert_eq!((ring.near, ring.shortcuts, ring.shortcut_sample), (2, 1.0, 4));
        let seconds = [keepalive.adjacent, keepalive.idle_min, keepalive.idle_max];
        assert_eq!(seconds, [1, 2, 3].map(Duration::from_secs));
    }
}
