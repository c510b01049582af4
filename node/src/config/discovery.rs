//! How the members of a private overlay find each other.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use atoll_core::config::QueryTimer as Rule;
use serde::de::{Deserialize, Deserializer};

use super::value::{self, Text, span};

const TIMER_MIN: Duration = Duration::from_secs(1);
const TIMER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Discovery through the DHT of the node's first overlay.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// How often a connected member looks for others.
    pub query_timer: QueryTimer,
    /// Counts changes of the group after which former members shall find nobody; the same for all members.
    pub epoch: u64,
    /// The file of 32 bytes that keys and entries in the DHT follow from; a group has its own.
    pub secret: Option<PathBuf>,
}

/// `dynamic`, or a time from 1 s to 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryTimer(pub Rule);

impl Default for QueryTimer {
    fn default() -> Self {
        Self(Rule::Dynamic)
    }
}

impl Text for QueryTimer {
    const FORM: &'static str = "`dynamic`, or a duration with its unit such as \"5 min\"";
}

impl FromStr for QueryTimer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "dynamic" {
            return Ok(Self::default());
        }
        let wait = span(text)?;
        if !(TIMER_MIN..=TIMER_MAX).contains(&wait) {
            return Err(format!("`{text}` is out of range (1 s to 24 h)"));
        }
        Ok(Self(Rule::Static(wait)))
    }
}

impl fmt::Display for QueryTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Dynamic => f.write_str("dynamic"),
            Rule::Static(wait) => write!(f, "{} s", wait.as_secs_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for QueryTimer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value::text(deserializer)
    }
}
