//! Topologies read from YAML.
//!
//! ```yaml
//! latency: builtin                  # or a one-way delay such as "50 ms", or a matrix file (RTTs): x.csv, x.king
//! path: {jitter: 5 ms, loss: 1 %, burst: {enter: 0.1 %, leave: 30 %, loss: 100 %}}
//! gateways:                         # own behaviours, on top of a preset
//!   office: {preset: symmetric, udp_timeout: 60 s}
//! populations:
//!   mobile: [{weight: 8}, {weight: 92, behind: [port-restricted-cone, carrier-grade]}]
//! hosts:                            # drawn; each at a site of its own where the matrix has enough points
//!   - {count: 100, population: mobile}
//! sites:                            # placed by hand
//!   - name: berlin
//!     gateways: [{name: router, is: office, link: {up: 10 Mbit/s, down: 50 Mbit/s, delay: 8 ms}}]
//!     hosts: [{name: alice, behind: router}, {name: bob, behind: router}]
//! ```

use std::collections::BTreeMap;

use super::draw::Draw;
use super::spec::{DrawnSpec, FileSpec, PlacedSpec, SiteSpec};
use super::{Place, Site, Topology};
use crate::error::nearest;
use crate::latency::scramble;
use crate::yaml::{locate, read};
use crate::{
    Family, Gateway, GatewayId, Generated, Kind, Latency, Population, RttMatrix, Share, SiteId,
    TopologyError, preset, preset_names,
};

/// Hosts and gateways of all sites that are placed by hand.
const PLACED_MAX: usize = 100_000;

impl Topology {
    /// The topology that a YAML text describes. `load` gets the name of the matrix file if the text names one, and
    /// returns its content or says why not; names that end in `.csv` hold milliseconds, all others are King's format.
    pub fn from_yaml(
        text: &str,
        seed: [u8; 32],
        load: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Self, TopologyError> {
        let spec: FileSpec = read(text)?;
        let latency = latency(&spec.latency, text, seed, load)?;
        let names = Names::new(text, &spec)?;
        let mut draw = Draw::new(latency, seed);
        draw.topology.path.jitter = spec.path.jitter.map(|jitter| jitter.0).unwrap_or_default();
        draw.topology.path.reorder = spec.path.reorder;
        draw.topology.path.loss = spec.path.loss();
        if let Some(delay) = spec.path.within_site {
            draw.topology.path.within_site = delay.0;
        }
        let drawn: usize = spec.hosts.iter().map(|hosts| hosts.count).sum();
        draw.add_sites(drawn)?;
        for (n, DrawnSpec { count, population }) in spec.hosts.iter().enumerate() {
            let prefix = if spec.hosts.len() == 1 { "host".into() } else { format!("{population}-{n}") };
            draw.add_hosts(&names.population(population)?, *count, &prefix)?;
        }
        place_sites(&mut draw, &spec.sites, &names)?;
        if draw.topology.hosts.is_empty() {
            return Err(TopologyError::new("there are no hosts")
                .at(1, 1)
                .hint("hosts: [{count: 10, population: default}]"));
        }
        Ok(draw.topology)
    }
}

fn latency(
    word: &str,
    text: &str,
    seed: [u8; 32],
    load: impl FnOnce(&str) -> Result<String, String>,
) -> Result<Latency, TopologyError> {
    if word == "builtin" {
        let seed = seed.into_iter().fold(0, |hash, byte| scramble(hash ^ u64::from(byte)));
        return Ok(Latency::Generated(Generated::new(seed)));
    }
    if let Some(delay) = crate::value::span(word) {
        return Ok(Latency::Constant(delay));
    }
    let (line, column) = locate(text, word);
    let content = load(word).map_err(|why| {
        TopologyError::new(format!("cannot read the latency matrix `{word}`: {why}"))
            .at(line, column)
            .key("latency")
            .hint("`builtin`, a one-way delay such as `50 ms`, or the name of a matrix file")
    })?;
    let matrix = if word.ends_with(".csv") {
        RttMatrix::from_rtt_ms_csv(&content)
    } else {
        RttMatrix::from_rtt_us_king(&content)
    };
    matrix.map(Latency::Matrix).map_err(|error| {
        let key = format!("latency ({word})");
        error.key(key)
    })
}

/// The names that a file defines, on top of the built-in ones.
struct Names<'a> {
    text: &'a str,
    gateways: BTreeMap<String, Gateway>,
    populations: BTreeMap<String, Population>,
}

impl<'a> Names<'a> {
    fn new(text: &'a str, spec: &FileSpec) -> Result<Self, TopologyError> {
        let mut names = Self { text, gateways: BTreeMap::new(), populations: BTreeMap::new() };
        for (name, gateway) in &spec.gateways {
            let base = gateway.preset.as_deref().map_or_else(
                || Ok(Gateway::default()),
                |base| {
                    preset(base)
                        .map_err(|error| names.located(error, base, &format!("gateways.{name}.preset")))
                },
            )?;
            let gateway = gateway.clone().over(base).map_err(|error| {
                let key = format!("gateways.{name}.{}", error.key);
                let word = error.key.clone();
                names.located(error, &word, &key)
            })?;
            names.gateways.insert(name.clone(), gateway);
        }
        for (name, shares) in &spec.populations {
            let shares = shares.iter().map(|share| {
                let behind = share.behind.iter().map(|gateway| names.gateway(gateway));
                Ok(Share { weight: share.weight, behind: behind.collect::<Result<_, TopologyError>>()? })
            });
            let population = Population::new(shares.collect::<Result<_, TopologyError>>()?)
                .map_err(|error| names.located(error, name, &format!("populations.{name}")))?;
            names.populations.insert(name.clone(), population);
        }
        Ok(names)
    }

    fn gateway(&self, name: &str) -> Result<Gateway, TopologyError> {
        if let Some(gateway) = self.gateways.get(name) {
            return Ok(gateway.clone());
        }
        preset(name).map_err(|mut error| {
            let mut known: Vec<&str> = preset_names().collect();
            known.extend(self.gateways.keys().map(String::as_str));
            if let Some(near) = nearest(name, known) {
                error.hint = format!("did you mean `{near}`?");
            }
            self.located(error, name, "")
        })
    }

    fn population(&self, name: &str) -> Result<Population, TopologyError> {
        if let Some(population) = self.populations.get(name) {
            return Ok(population.clone());
        }
        Population::named(name).map_err(|mut error| {
            let mut known: Vec<&str> = Population::names().collect();
            known.extend(self.populations.keys().map(String::as_str));
            if let Some(near) = nearest(name, known) {
                error.hint = format!("did you mean `{near}`?");
            }
            self.located(error, name, "population")
        })
    }

    fn located(&self, error: TopologyError, word: &str, key: &str) -> TopologyError {
        let (line, column) = locate(self.text, word);
        error.at(line, column).key(key)
    }
}

fn place_sites(draw: &mut Draw, sites: &[SiteSpec], names: &Names<'_>) -> Result<(), TopologyError> {
    let placed: usize = sites.iter().map(|site| site.gateways.len() + site.hosts.len()).sum();
    if placed > PLACED_MAX {
        return Err(TopologyError::new(format!("{placed} placed machines are more than {PLACED_MAX}")));
    }
    let first = draw.topology.sites.len() as u32;
    for (n, site) in sites.iter().enumerate() {
        let point = site.point.unwrap_or(first + n as u32);
        draw.topology.sites.push(Site { name: site.name.clone(), point });
    }
    let all: Vec<(SiteId, &PlacedSpec)> = sites
        .iter()
        .enumerate()
        .flat_map(|(n, site)| site.gateways.iter().map(move |gateway| (SiteId(first + n as u32), gateway)))
        .collect();
    let mut ids = BTreeMap::new();
    place_gateways(draw, &all, names, &mut ids)?;
    for (n, site) in sites.iter().enumerate() {
        for host in &site.hosts {
            let behind = host.behind.as_deref().map(|name| find_gateway(name, &ids, names)).transpose()?;
            let family =
                behind.map_or(Family::Ipv4, |id| draw.topology.gateways[id.0 as usize].behaviour.family);
            let place = Place { name: host.name.clone(), site: SiteId(first + n as u32), behind };
            let id = draw.plan.place_host(&mut draw.topology, place, family)?;
            draw.topology.hosts[id.0 as usize].link = host.link.link();
        }
    }
    Ok(())
}

type Ids = BTreeMap<String, GatewayId>;

/// Places gateways after those that they are behind, whatever their order in the file.
fn place_gateways(
    draw: &mut Draw,
    all: &[(SiteId, &PlacedSpec)],
    names: &Names<'_>,
    ids: &mut Ids,
) -> Result<(), TopologyError> {
    let mut waiting: Vec<_> = all.to_vec();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for (site, spec) in waiting {
            match &spec.behind {
                Some(outer) if !ids.contains_key(outer) => later.push((site, spec)),
                outer => {
                    let behind = outer.as_ref().and_then(|outer| ids.get(outer).copied());
                    let id =
                        place_gateway(draw, Place { name: spec.name.clone(), site, behind }, spec, names)?;
                    if ids.insert(spec.name.clone(), id).is_some() {
                        let error = TopologyError::new(format!("two gateways are called `{}`", spec.name));
                        return Err(names.located(error, &spec.name, "sites"));
                    }
                }
            }
        }
        if let (true, Some((_, spec))) = (later.len() == before, later.first()) {
            let outer = spec.behind.clone().unwrap_or_default();
            let is_placed = all.iter().any(|(_, spec)| spec.name == outer);
            if is_placed {
                let message = format!("gateway `{}` is behind itself", spec.name);
                return Err(names.located(TopologyError::new(message), &outer, "sites"));
            }
            let known = all.iter().map(|(_, spec)| spec.name.as_str());
            return Err(names.located(unknown_gateway(&outer, known), &outer, "sites"));
        }
        waiting = later;
    }
    Ok(())
}

fn place_gateway(
    draw: &mut Draw,
    place: Place,
    spec: &PlacedSpec,
    names: &Names<'_>,
) -> Result<GatewayId, TopologyError> {
    let behaviour = names.gateway(&spec.is)?;
    if behaviour.kind == Kind::None {
        let error = TopologyError::new(format!("gateway `{}` is of kind `none`", spec.name))
            .hint("leave it out and let its hosts be behind nothing");
        return Err(names.located(error, &spec.name, "sites"));
    }
    let id = draw.plan.place_gateway(&mut draw.topology, place, behaviour)?;
    draw.topology.gateways[id.0 as usize].link = spec.link.link();
    Ok(id)
}

fn find_gateway(name: &str, ids: &Ids, names: &Names<'_>) -> Result<GatewayId, TopologyError> {
    ids.get(name).copied().ok_or_else(|| {
        let error = unknown_gateway(name, ids.keys().map(String::as_str));
        names.located(error, name, "behind")
    })
}

fn unknown_gateway<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> TopologyError {
    let hint = nearest(name, known).map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
    TopologyError::new(format!("no gateway is called `{name}`")).hint(hint)
}
