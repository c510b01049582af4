//! Draws one trial from its seed: the Internet, places on the ring, and whom each member asks for the way in.

use std::collections::BTreeSet;

use atoll_core::Rng;
use atoll_topology::{Gateway, Generated, HostId, Population, Topology, TopologyError, preset, preset_names};

use crate::environment::{Group, NodeIndex, NodeSpec, Trial};
use crate::error::{Error, Result};
use crate::plan::{Experiment, Latency, Nat, Turn, Values, topology};

/// Most members that one member asks for the way in.
const BOOTSTRAPS_MAX: usize = 5;

/// The trial for a turn with these values: the same for the same seed and values.
///
/// # Errors
/// The population or the topology file gives no Internet in which members can find each other.
pub fn draw(values: &Values, turn: Turn) -> Result<Trial> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&turn.seed.to_be_bytes());
    let rng = Rng::new(seed).fork("trial");
    let topology = internet(values, &rng.fork("topology")).map_err(|error| refused(values, &error))?;
    let hosts = places(&topology, values.members() as usize)?;
    let nodes = members(values, (&topology, &hosts), &rng)?;
    Ok(Trial {
        number: turn.number,
        seed: turn.seed,
        nodes,
        security: values.security,
        group: (values.private() > 0)
            .then(|| Group { seed: rng.fork("group").next_u64(), query_timer: values.query_timer }),
        topology,
        internet_seed: rng.fork("internet").seed(0),
    })
}

fn internet(values: &Values, rng: &Rng) -> Result<Topology, TopologyError> {
    let latency = values.latency.as_ref().map(|latency| match latency {
        Latency::Constant(delay) => atoll_topology::Latency::Constant(*delay),
        Latency::Builtin => generated(rng),
        Latency::Matrix { matrix, .. } => atoll_topology::Latency::Matrix((**matrix).clone()),
    });
    let mut topology = match &values.nat {
        Nat::Named(name) => {
            let latency = latency.unwrap_or_else(|| generated(rng));
            let members = values.members() as usize;
            Topology::draw(&reachable(Population::named(name)?, members), members, latency, rng.seed(0))?
        }
        Nat::File(file) => {
            let mut topology = topology(file, rng.seed(0))?;
            topology.latency = latency.unwrap_or(topology.latency);
            topology
        }
    };
    if let Some(loss) = values.loss {
        topology.path.loss = atoll_topology::Loss { independent: loss, burst: None };
    }
    Ok(topology)
}

/// The population with its public share raised, where that is too small, to one of this many hosts: somebody has to
/// let the others in.
fn reachable(mut population: Population, members: usize) -> Population {
    let others: f64 =
        population.shares.iter().filter(|share| !share.behind.is_empty()).map(|share| share.weight).sum();
    if let Some(public) = population.shares.iter_mut().find(|share| share.behind.is_empty()) {
        // A little more than one host, so that rounding does not take it away.
        public.weight = public.weight.max(1.01 * others / (members as f64 - 1.01).max(0.01));
    }
    population
}

fn generated(rng: &Rng) -> atoll_topology::Latency {
    atoll_topology::Latency::Generated(Generated::new(rng.fork("latency").next_u64()))
}

/// The hosts of the members in their order: those of the topology, a public one moved to the front.
fn places(topology: &Topology, members: usize) -> Result<Vec<HostId>> {
    let mut hosts: Vec<HostId> = (0..members as u32).map(HostId).collect();
    let public = hosts.iter().position(|host| topology.hosts[host.0 as usize].is_public());
    let Some(public) = public else {
        return Err(Error::new("nobody could join", "no member is reachable from outside its NAT")
            .with_hint("raise `public`, or give the topology file a host behind nothing"));
    };
    hosts.swap(0, public);
    Ok(hosts)
}

fn members(values: &Values, (topology, hosts): (&Topology, &[HostId]), rng: &Rng) -> Result<Vec<NodeSpec>> {
    let [mut seeds, mut choice] = ["members", "bootstraps"].map(|name| rng.fork(name));
    let (boxes, pairs) = (Boxes::new(), pairs(values, &mut rng.fork("private")));
    let digits = hosts.len().to_string().len().max(3);
    let mut reachable: Vec<NodeIndex> = Vec::new();
    let mut nodes = Vec::with_capacity(hosts.len());
    for (index, host) in (0u32..).zip(hosts) {
        let joiner = index.checked_sub(values.public);
        let name = match (joiner, values.experiment) {
            (None, _) => format!("m{index:0digits$}"),
            (Some(joiner), Experiment::Join) => format!("j{joiner:0digits$}"),
            (Some(pair), _) => format!("p{pair:0digits$}"),
        };
        let seed = seeds.next_u64();
        nodes.push(NodeSpec {
            name,
            address: NodeSpec::address_of(seed)?,
            host: *host,
            behind: boxes.behind(topology, *host),
            bootstraps: sample(&reachable, &mut choice),
            seed,
            private: pairs.contains(&index).then(|| NodeSpec::private_address_of(seed)).transpose()?,
        });
        if joiner.is_none() && topology.hosts[host.0 as usize].is_public() {
            reachable.push(NodeIndex(index));
        }
    }
    Ok(nodes)
}

/// Who is a member of the private overlay, too.
fn pairs(values: &Values, rng: &mut Rng) -> BTreeSet<u32> {
    if values.private() == 0 {
        return BTreeSet::new();
    }
    let added = values.public..values.members();
    if !values.experiment.shares() {
        return added.collect();
    }
    let mut first: Vec<u32> = (0..values.public).collect();
    rng.shuffle(&mut first);
    first.into_iter().take(values.private() as usize).chain(added).collect()
}

/// The presets, to find the name of a behaviour again.
struct Boxes(Vec<(&'static str, Gateway)>);

impl Boxes {
    fn new() -> Self {
        let known = |name| preset(name).ok().map(|gateway| (name, gateway));
        Self(preset_names().filter_map(known).collect())
    }

    /// What a host is behind, from the inside out.
    fn behind(&self, topology: &Topology, host: HostId) -> String {
        let mut next = topology.hosts[host.0 as usize].gateway;
        let mut chain = Vec::new();
        while let Some(gateway) = next {
            let placed = &topology.gateways[gateway.0 as usize];
            let name = self.0.iter().find(|(_, known)| *known == placed.behaviour).map(|(name, _)| *name);
            chain.push(name.unwrap_or("custom"));
            next = placed.behind;
        }
        if chain.is_empty() { "public".to_owned() } else { chain.join(" behind ") }
    }
}

/// At most [`BOOTSTRAPS_MAX`] different ones.
pub(super) fn sample(from: &[NodeIndex], rng: &mut Rng) -> Vec<NodeIndex> {
    let mut sample: Vec<NodeIndex> = Vec::with_capacity(BOOTSTRAPS_MAX);
    while sample.len() < BOOTSTRAPS_MAX.min(from.len()) {
        let one = from[rng.below(from.len())];
        if !sample.contains(&one) {
            sample.push(one);
        }
    }
    sample
}

fn refused(values: &Values, error: &TopologyError) -> Error {
    let what = match &values.nat {
        Nat::Named(name) => format!("cannot draw the population `{name}`"),
        Nat::File(file) => file.path.display().to_string(),
    };
    let failed = Error::new(what, error);
    if error.hint.is_empty() { failed } else { failed.with_hint(error.hint.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Overrides, Plan};

    fn trial(set: &[&str], seed: u64) -> Result<Trial> {
        trial_of("join", set, seed)
    }

    fn trial_of(experiment: &str, set: &[&str], seed: u64) -> Result<Trial> {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let plan = Plan::load(experiment, &Overrides { set, ..Overrides::default() })?;
        draw(&plan.points[0].values, Turn { number: 0, point: 0, seed })
    }

    #[test]
    fn the_same_seed_draws_the_same_trial_and_another_seed_another() {
        let draw = |seed| trial(&["public=50", "joiners=5"], seed).unwrap();
        assert_eq!(draw(3).nodes, draw(3).nodes);
        assert_eq!(draw(3).topology, draw(3).topology);
        assert_ne!(draw(3).nodes[0].address, draw(4).nodes[0].address);
    }

    #[test]
    fn members_ask_only_earlier_ones_that_anyone_can_reach() {
        let trial = trial(&["public=200", "joiners=20", "nat=default"], 1).unwrap();
        assert_eq!(trial.nodes.len(), 220);
        assert!(trial.nodes[0].bootstraps.is_empty());
        for (index, node) in trial.nodes.iter().enumerate().skip(1) {
            assert!((1..=BOOTSTRAPS_MAX).contains(&node.bootstraps.len()), "{}", node.name);
            for bootstrap in &node.bootstraps {
                let host = trial.nodes[bootstrap.index()].host;
                assert!(bootstrap.index() < index.min(200), "{}", node.name);
                assert!(trial.topology.hosts[host.0 as usize].is_public());
            }
        }
        assert!(trial.nodes.iter().any(|node| node.bootstraps.len() == BOOTSTRAPS_MAX));
    }

    #[test]
    fn names_are_unique_and_tell_joiners_apart() {
        let trial = trial(&["public=1200", "joiners=3", "nat=none"], 1).unwrap();
        let names: BTreeSet<&str> = trial.nodes.iter().map(|node| &node.name[..]).collect();
        assert_eq!(names.len(), 1203);
        assert!(names.contains("m0000") && names.contains("j0002"));
    }

    #[test]
    fn the_smallest_populations_have_a_member_that_lets_the_others_in() {
        for (nat, public) in
            ["cones", "default", "symmetric"].into_iter().flat_map(|nat| (1..15).map(move |n| (nat, n)))
        {
            let set = [format!("nat={nat}"), format!("public={public}"), "joiners=0".to_owned()];
            let trial = trial(&set.each_ref().map(String::as_str), 1).unwrap();
            let first = trial.nodes[0].host.0 as usize;
            assert!(trial.topology.hosts[first].is_public(), "{nat} {public}");
            assert_eq!(trial.nodes.len(), public);
        }
    }

    #[test]
    fn the_seed_draws_who_is_private_and_every_joiner_is() {
        let draw = |private: &str, seed| trial(&["public=50", private, "joiners=5"], seed).unwrap();
        let pairs = |trial: &Trial| -> Vec<usize> {
            (0..trial.nodes.len()).filter(|node| trial.nodes[*node].private.is_some()).collect()
        };
        let drawn = draw("private=10", 3);
        assert_eq!(pairs(&drawn).len(), 15);
        assert_eq!(pairs(&drawn)[10..], [50, 51, 52, 53, 54]);
        assert_eq!(pairs(&drawn), pairs(&draw("private=10", 3)));
        assert_ne!(pairs(&drawn), pairs(&draw("private=10", 4)));
        let without = draw("private=0", 3);
        assert!(pairs(&without).is_empty() && without.group.is_none());
        let public = |trial: &Trial| trial.nodes.iter().map(|node| node.address).collect::<Vec<_>>();
        assert_eq!(public(&without), public(&drawn), "the public overlay is the same");
    }

    #[test]
    fn the_pairs_of_a_pool_come_behind_its_public_members() {
        let trial = trial_of("pool", &["public=20", "private=7"], 1).unwrap();
        assert_eq!(trial.nodes.len(), 27);
        assert!(trial.nodes[..20].iter().all(|node| node.private.is_none()));
        assert!(trial.nodes[20..].iter().all(|node| node.private.is_some() && node.name.starts_with('p')));
    }

    #[test]
    fn loss_reaches_the_paths() {
        let trial = trial(&["public=5", "joiners=0", "loss=2 %"], 1).unwrap();
        assert_eq!(trial.topology.path.loss.independent, 0.02);
    }
}
