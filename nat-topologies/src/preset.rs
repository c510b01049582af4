//! Presets: named gateways, one YAML file each, built in. After expansion nothing knows the name any more.

mod spec;

use crate::error::nearest;
use crate::{Gateway, TopologyError};
pub(crate) use spec::GatewaySpec;

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../", $name, ".yaml")))),*]
    };
}

/// Sorted by name.
const PRESETS: &[(&str, &str)] = presets![
    "carrier-grade",
    "full-cone",
    "naive-linux",
    "none",
    "only-443",
    "port-restricted-cone",
    "restricted-cone",
    "short-timer",
    "stateful-ipv6",
    "symmetric",
    "symmetric-port-preserving",
    "symmetric-sequential",
    "udp-blocked",
];

/// The gateway that a preset stands for; fails with the nearest known name.
pub fn preset(name: &str) -> Result<Gateway, TopologyError> {
    let Some(text) = preset_source(name) else {
        let hint = match nearest(name, preset_names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", preset_names().collect::<Vec<_>>().join(", ")),
        };
        return Err(TopologyError::new(format!("unknown preset `{name}`")).hint(hint));
    };
    crate::yaml::read::<GatewaySpec>(text)?.over(Gateway::default())
}

/// The names of all presets, sorted.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The YAML text of a preset, with its comments.
pub fn preset_source(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
