//! Populations: which shares of the hosts are behind what.

use crate::error::nearest;
use crate::{Family, Gateway, Kind, TopologyError, preset, preset_names};

/// Percent of public hosts in every built-in population but `none`.
const PUBLIC: f64 = 8.0;
/// Percent of hosts at sites that block UDP.
const BLOCKED: f64 = 3.0;

/// A share of the hosts and what they are behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Weight relative to the other shares, more than 0.
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
    /// A population of these shares; fails if a weight is not above 0, a gateway cannot be, or IPv4 and IPv6 mix.
    pub fn new(shares: Vec<Share>) -> Result<Self, TopologyError> {
        if shares.is_empty() {
            return Err(TopologyError::new("a population needs at least one share"));
        }
        if let Some(share) = shares.iter().find(|share| !(share.weight > 0.0 && share.weight.is_finite())) {
            let message = format!("a share has weight {}, which is not above 0", share.weight);
            return Err(TopologyError::new(message).key("weight"));
        }
        let mut gateways = shares.iter().flat_map(|share| &share.behind);
        gateways.clone().try_for_each(Gateway::check)?;
        let family = gateways.next().map(|gateway| gateway.family);
        if gateways.any(|gateway| Some(gateway.family) != family) {
            return Err(TopologyError::new("a population mixes IPv4 and IPv6 gateways")
                .hint("its hosts could not reach each other: make two populations"));
        }
        Ok(Self { shares })
    }

    /// A built-in population: `none` (all public), `default` (the whole mix), `cones` (the mix without symmetric
    /// and UDP-blocked sites), or a preset (8 % public and 92 % of it).
    pub fn named(name: &str) -> Result<Self, TopologyError> {
        let chain = |names: &[&str]| names.iter().map(|name| preset(name)).collect::<Result<Vec<_>, _>>();
        let share = |weight: f64, names: &[&str]| Ok(Share { weight, behind: chain(names)? });
        // Percent of what is neither public nor blocked.
        let behind =
            |percent: f64, names: &[&str]| share(percent * (100.0 - PUBLIC - BLOCKED) / 100.0, names);
        let cones = || {
            Ok(vec![
                share(PUBLIC, &[])?,
                behind(12.0, &["full-cone"])?,
                behind(9.0, &["restricted-cone"])?,
                behind(45.0, &["port-restricted-cone"])?,
                behind(15.0, &["port-restricted-cone", "carrier-grade"])?,
            ])
        };
        match name {
            "none" => Self::new(vec![share(1.0, &[])?]),
            "cones" => Self::new(cones()?),
            "default" => {
                let mut shares = cones()?;
                shares.push(behind(16.0, &["symmetric"])?);
                shares.push(behind(3.0, &["symmetric-sequential"])?);
                shares.push(share(BLOCKED, &["udp-blocked"])?);
                Self::new(shares)
            }
            _ => match preset(name) {
                Ok(gateway) => Self::new(vec![
                    share(PUBLIC, &[])?,
                    Share { weight: 100.0 - PUBLIC, behind: vec![gateway] },
                ]),
                Err(_) => Err(unknown(name)),
            },
        }
    }

    /// The names that `named` knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ["cones", "default"].into_iter().chain(preset_names())
    }

    /// The IP version of its hosts.
    pub(crate) fn family(&self) -> Family {
        let mut gateways = self.shares.iter().flat_map(|share| &share.behind);
        gateways.next().map_or(Family::Ipv4, |gateway| gateway.family)
    }

    /// For each of `count` hosts the index of its share: exact numbers by largest remainder, spread so that any
    /// prefix has nearly the right shares, public hosts first. `draw` gives numbers from 0 to 1.
    pub(crate) fn assign(&self, count: usize, mut draw: impl FnMut() -> f64) -> Vec<usize> {
        let mut places = Vec::with_capacity(count);
        for (index, number) in self.numbers(count).into_iter().enumerate() {
            let is_public = self.is_public(index);
            for n in 0..number {
                let within = if is_public && n == 0 { 0.0 } else { draw() };
                places.push(((n as f64 + within) / number as f64, !is_public, index));
            }
        }
        places.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        places.into_iter().map(|(_, _, index)| index).collect()
    }

    fn is_public(&self, share: usize) -> bool {
        self.shares[share].behind.iter().all(|gateway| gateway.kind == Kind::None)
    }

    fn numbers(&self, count: usize) -> Vec<usize> {
        let total: f64 = self.shares.iter().map(|share| share.weight).sum();
        let exact: Vec<f64> = self.shares.iter().map(|share| share.weight / total * count as f64).collect();
        let mut numbers: Vec<usize> = exact.iter().map(|exact| exact.floor() as usize).collect();
        let mut order: Vec<usize> = (0..exact.len()).collect();
        order.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()).then(a.cmp(b)));
        let left = count - numbers.iter().sum::<usize>().min(count);
        for index in order.into_iter().cycle().take(left) {
            numbers[index] += 1;
        }
        numbers
    }
}

fn unknown(name: &str) -> TopologyError {
    let hint = match nearest(name, Population::names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", Population::names().collect::<Vec<_>>().join(", ")),
    };
    TopologyError::new(format!("unknown population `{name}`")).hint(hint)
}
