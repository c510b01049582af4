//! The sections of the file, with the rules that span several keys.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

use atoll_core::config::{DiscoveryConfig, KeepaliveConfig, RingConfig};
use atoll_core::security::{Credentials, Epoch, GroupSecret, QuicOptions, Security, Unusable};
use atoll_core::wire::Address;
use clap::ValueEnum;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::discovery::Discovery;
use super::group::Group;
use super::value::{self, Bootstrap, HINT, Interval, OverlayName};
use super::{BOOTSTRAPS_MAX, OVERLAYS_MAX};

/// One membership.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Name of the overlay.
    pub name: OverlayName,
    /// The place on the ring; else from the identity (first overlay only), else random.
    #[serde(default, deserialize_with = "value::some_text")]
    pub address: Option<Address>,
    /// Members that may know the way in (at most 64); none for the first member.
    #[serde(default, deserialize_with = "bootstraps")]
    pub bootstraps: Vec<Bootstrap>,
    /// How edges and end-to-end senders are protected.
    #[serde(default)]
    pub security: Engine,
    /// The group whose authority vouches for the members; without one an address belongs to a key, and anyone may join.
    #[serde(default)]
    pub group: Option<Group>,
    /// How members find each other through the first overlay: by default so in a group without bootstraps.
    #[serde(default)]
    pub discovery: Option<Discovery>,
    /// The shape of the ring.
    #[serde(default)]
    pub ring: Ring,
    /// Timers of idle connections.
    #[serde(default)]
    pub keepalive: Keepalive,
}

/// A security engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Nothing is protected: only to compare with.
    None,
    /// DTLS 1.2 handshakes with certificates on both sides; the address belongs to the key.
    #[default]
    Dtls,
    /// QUIC version 1 with TLS 1.3 and certificates on both sides, keys agreed on with X25519MLKEM768.
    Quic,
}

impl Engine {
    /// The security of a member with these credentials, for an overlay in which the address belongs to the key.
    ///
    /// # Errors
    /// The engine does not take the credentials.
    pub fn secured(self, credentials: &Credentials) -> Result<Security, Unusable> {
        match self {
            Self::None => Ok(Security::none()),
            Self::Dtls => Security::dtls(credentials),
            Self::Quic => Security::quic(credentials, QuicOptions::default()),
        }
    }
}

impl Membership {
    /// A membership with the default settings and no bootstraps.
    #[must_use]
    pub fn new(name: OverlayName) -> Self {
        let (ring, keepalive) = (Ring::default(), Keepalive::default());
        let security = Engine::default();
        let (group, discovery) = (None, None);
        Self { name, address: None, bootstraps: Vec::new(), security, group, discovery, ring, keepalive }
    }

    /// What is wrong with the section as a whole, with a hint.
    #[must_use]
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        if self.group.is_some() && self.security == Engine::None {
            return Some((
                "a group is not protected by `security: none`",
                "leave `security` out, or `group`",
            ));
        }
        let own = self.discovery.as_ref().map(|discovery| discovery.secret.is_some())?;
        match (self.group.is_some(), own) {
            (true, true) => Some(("a group has a secret of its own", "leave out `discovery.secret`")),
            (false, false) => Some((
                "members find each other by a secret, and there is none",
                "name its file in `discovery.secret`, or the `group` that has one",
            )),
            _ => None,
        }
    }

    /// Whether members find each other through the first overlay, if this is the membership with this number.
    #[must_use]
    pub fn discovers(&self, number: usize) -> bool {
        number > 0 && (self.discovery.is_some() || (self.group.is_some() && self.bootstraps.is_empty()))
    }

    /// How they do so, by this secret and the salt that the group has, if there is one.
    #[must_use]
    pub fn discovery(&self, secret: GroupSecret, salted: Option<Epoch>) -> DiscoveryConfig {
        let Discovery { query_timer, epoch, .. } = self.discovery.clone().unwrap_or_default();
        DiscoveryConfig { secret, epoch, salted, timer: query_timer.0 }
    }

    /// The bootstraps that need not be looked up.
    #[must_use]
    pub fn literal_bootstraps(&self) -> Vec<SocketAddr> {
        self.bootstraps.iter().filter_map(Bootstrap::address).collect()
    }
}

/// The shape of the ring around a member; see [`RingConfig`].
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ring {
    /// Near connections on each side (1 to 8).
    #[serde(deserialize_with = "one_to_eight")]
    pub near: usize,
    /// Shortcuts per log2 of the estimated size (0 to 4).
    #[serde(deserialize_with = "zero_to_four")]
    pub shortcuts: f64,
    /// Candidates that are linked before the best shortcut is kept (1 to 8).
    #[serde(deserialize_with = "one_to_eight")]
    pub shortcut_sample: usize,
}

impl Default for Ring {
    fn default() -> Self {
        let RingConfig { near, shortcuts, shortcut_sample, .. } = RingConfig::default();
        Self { near, shortcuts, shortcut_sample }
    }
}

fn one_to_eight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    value::whole(deserializer, 1..=8)
}

fn zero_to_four<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    value::number(deserializer, 0.0..=4.0)
}

/// Timers of idle connections; see [`KeepaliveConfig`]. `idle_min` is at most `idle_max`.
#[derive(Clone, Debug)]
pub struct Keepalive {
    /// How often adjacent neighbours exchange a ping.
    pub adjacent: Interval,
    /// The first idle interval of any other connection.
    pub idle_min: Interval,
    /// The longest idle interval.
    pub idle_max: Interval,
}

impl Default for Keepalive {
    fn default() -> Self {
        KeepaliveKeys::default().into()
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeepaliveKeys {
    adjacent: Interval,
    idle_min: Interval,
    idle_max: Interval,
}

impl Default for KeepaliveKeys {
    fn default() -> Self {
        let KeepaliveConfig { adjacent, idle_min, idle_max, .. } = KeepaliveConfig::default();
        let [adjacent, idle_min, idle_max] = [adjacent, idle_min, idle_max].map(Interval);
        Self { adjacent, idle_min, idle_max }
    }
}

impl From<KeepaliveKeys> for Keepalive {
    fn from(keys: KeepaliveKeys) -> Self {
        Self { adjacent: keys.adjacent, idle_min: keys.idle_min, idle_max: keys.idle_max }
    }
}

impl<'de> Deserialize<'de> for Keepalive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Keepalive;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the keys adjacent, idle_min and idle_max")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keepalive, A::Error> {
                let keys = KeepaliveKeys::deserialize(MapAccessDeserializer::new(map))?;
                if keys.idle_min > keys.idle_max {
                    let (min, max) = (keys.idle_min, keys.idle_max);
                    let why = format!("idle_min ({min}) is above idle_max ({max})");
                    return Err(Error::custom(format!("{why}{HINT}give both, the smaller one as idle_min")));
                }
                Ok(keys.into())
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// Reads a list and then has it judged, so that the error keeps the list's place.
struct List<T, F>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnOnce(&[T]) -> Result<(), String>> Visitor<'de> for List<T, F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
        let list = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
        (self.0)(&list).map_err(Error::custom)?;
        Ok(list)
    }
}

/// A membership that does not contradict itself.
struct Judged(Membership);

impl<'de> Deserialize<'de> for Judged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Judged;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the keys of a membership, `name` among them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Judged, A::Error> {
                let member = Membership::deserialize(MapAccessDeserializer::new(map))?;
                match member.contradiction() {
                    Some((why, hint)) => Err(Error::custom(format!("{why}{HINT}{hint}"))),
                    None => Ok(Judged(member)),
                }
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

pub(super) fn overlays<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Membership>, D::Error> {
    let judge = |list: &[Judged]| {
        if !(1..=OVERLAYS_MAX).contains(&list.len()) {
            return Err(format!("{} overlays{HINT}list 1 to {OVERLAYS_MAX}", list.len()));
        }
        let mut names = BTreeSet::new();
        if list[0].0.discovery.is_some() {
            return Err(format!(
                "the first overlay has `discovery`{HINT}members of later overlays find each other through the first; \
                 give it bootstraps"
            ));
        }
        match list.iter().find(|Judged(member)| !names.insert(&member.name)) {
            Some(Judged(twice)) => {
                let name = &twice.name.0;
                Err(format!("overlay `{name}` is listed twice{HINT}one membership for each name"))
            }
            None => Ok(()),
        }
    };
    let list = deserializer.deserialize_seq(List(judge, PhantomData))?;
    Ok(list.into_iter().map(|Judged(member)| member).collect())
}

fn bootstraps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bootstrap>, D::Error> {
    let judge = |list: &[Bootstrap]| match list.len() {
        0..=BOOTSTRAPS_MAX => Ok(()),
        many => Err(format!("{many} bootstraps{HINT}list at most {BOOTSTRAPS_MAX}; a few are enough")),
    };
    deserializer.deserialize_seq(List(judge, PhantomData))
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least urgent level that is shown.
    pub level: LogLevel,
    /// For people or for programs.
    pub format: LogFormat,
}

/// The least urgent level that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What ends the program.
    Error,
    /// What should wake someone.
    Warn,
    /// What a user would notice.
    #[default]
    Info,
    /// Odd but fine.
    Debug,
    /// Every datagram.
    Trace,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogLevel> for tracing::level_filters::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}
