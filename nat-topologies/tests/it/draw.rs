//! Drawn topologies: exact shares, documented addresses, deterministic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use atoll_topology::*;

fn draw(population: &str, hosts: usize) -> Topology {
    let latency = Latency::Constant(Duration::from_millis(50));
    Topology::draw(&Population::named(population).unwrap(), hosts, latency, [5; 32]).unwrap()
}

/// How many hosts are behind which behaviours, the innermost first.
fn kinds(topology: &Topology, hosts: usize) -> BTreeMap<Vec<(Dependence, Dependence, bool, u16)>, usize> {
    let mut kinds = BTreeMap::new();
    for host in &topology.hosts[..hosts] {
        let mut chain = Vec::new();
        let mut gateway = host.gateway;
        while let Some(id) = gateway {
            let placed = &topology.gateways[id.0 as usize];
            let is_open = placed.behaviour.outbound.udp == Allowed::All;
            chain.push((
                placed.behaviour.mapping,
                placed.behaviour.filtering,
                is_open,
                placed.behaviour.subscribers,
            ));
            gateway = placed.behind;
        }
        *kinds.entry(chain).or_default() += 1;
    }
    kinds
}

#[test]
fn the_default_population_has_exactly_its_shares() {
    let topology = draw("default", 10_000);
    let mut numbers: Vec<usize> = kinds(&topology, 10_000).into_values().collect();
    numbers.sort_unstable();
    // Blocked, public, restricted, full, carrier, symmetric of both sorts, port-restricted.
    assert_eq!(numbers, [300, 800, 801, 1068, 1335, 1424 + 267, 4005]);
    assert_eq!(topology.hosts.iter().filter(|host| host.is_public()).count(), 800);
}

#[test]
fn every_prefix_has_nearly_the_right_shares_and_starts_with_a_public_host() {
    for name in ["default", "cones", "symmetric", "stateful-ipv6"] {
        let topology = draw(name, 1000);
        assert!(topology.hosts[0].is_public(), "{name}");
        let all = kinds(&topology, 1000);
        for prefix in [50, 200, 500] {
            for (kind, number) in kinds(&topology, prefix) {
                let expected = all[&kind] as f64 * prefix as f64 / 1000.0;
                assert!(
                    (number as f64 - expected).abs() <= 2.0,
                    "{name}: {number} of {prefix}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn built_in_populations_are_what_they_say() {
    assert_eq!(kinds(&draw("none", 50), 50).len(), 1);
    assert!(draw("none", 50).hosts.iter().all(Host::is_public));
    assert_eq!(kinds(&draw("cones", 1000), 1000).len(), 5);
    let symmetric = draw("symmetric", 100);
    assert_eq!(symmetric.hosts.iter().filter(|host| host.is_public()).count(), 8);
    assert_eq!(symmetric.gateways.len(), 92);
    for name in Population::names() {
        let topology = draw(name, 20);
        assert_eq!(topology.hosts.len(), 20);
        Internet::new(topology, [0; 32]).unwrap();
    }
}

#[test]
fn addresses_are_public_outside_and_repeat_inside() {
    let topology = draw("default", 2000);
    let is_private = |address: IpAddr| {
        let IpAddr::V4(address) = address else { return false };
        address.is_private() || address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64
    };
    let public = Subnet::v4(Ipv4Addr::new(44, 128, 0, 0), 10);
    for host in &topology.hosts {
        assert_eq!(host.is_public(), public.contains(host.address), "{host:?}");
        assert_eq!(host.is_public(), !is_private(host.address), "{host:?}");
    }
    let outside: Vec<IpAddr> = topology
        .gateways
        .iter()
        .filter(|gateway| gateway.behind.is_none())
        .flat_map(|gateway| gateway.external.clone())
        .chain(topology.hosts.iter().filter(|host| host.is_public()).map(|host| host.address))
        .collect();
    assert_eq!(outside.iter().collect::<BTreeSet<_>>().len(), outside.len());
    assert!(outside.iter().all(|address| public.contains(*address)));
    let inside: BTreeSet<_> =
        topology.hosts.iter().filter(|host| !host.is_public()).map(|host| host.address).collect();
    assert!(inside.len() <= 3, "{inside:?}");
}

#[test]
fn homes_of_one_carrier_share_its_site() {
    let topology = draw("cones", 1000);
    let mut homes = BTreeMap::new();
    for gateway in &topology.gateways {
        if let Some(outer) = gateway.behind {
            assert_eq!(gateway.site, topology.gateways[outer.0 as usize].site);
            *homes.entry(outer).or_insert(0) += 1;
        }
    }
    assert!(homes.values().filter(|homes| **homes == 8).count() + 1 >= homes.len(), "{homes:?}");
}

#[test]
fn ipv6_populations_have_ipv6_hosts_only() {
    assert!(draw("stateful-ipv6", 50).hosts.iter().all(|host| host.address.is_ipv6()));
    let share = |name: &str| Share { weight: 1.0, behind: vec![preset(name).unwrap()] };
    let mixed = Population::new(vec![share("stateful-ipv6"), share("full-cone")]);
    assert!(mixed.unwrap_err().message.contains("mixes"));
}

#[test]
fn more_hosts_than_points_share_sites_at_a_small_delay() {
    let matrix = RttMatrix::from_rtt_ms_csv("x,a,b\na,,80\nb,80,\n").unwrap();
    let population = Population::named("none").unwrap();
    let topology = Topology::draw(&population, 4, Latency::Matrix(matrix), [1; 32]).unwrap();
    assert_eq!(topology.sites.len(), 2);
    let mut net = Internet::new(topology, [1; 32]).unwrap();
    let mut delay = |to: usize| {
        let hosts: Vec<_> = net.hosts().map(|(id, host)| (id, host.address)).collect();
        let mut packet = Packet::udp((hosts[0].1, 1).into(), (hosts[to].1, 1).into(), 100);
        match net.depart(hosts[0].0, &mut packet, Duration::ZERO) {
            Departure::InFlight { at } => at,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delay(2), Duration::from_micros(500));
    assert_eq!(delay(1), Duration::from_millis(40), "half of the round trip");
}

#[test]
fn the_same_seed_draws_the_same_topology() {
    assert_eq!(draw("default", 300), draw("default", 300));
    let population = Population::named("default").unwrap();
    let latency = Latency::Constant(Duration::from_millis(50));
    assert_ne!(draw("default", 300), Topology::draw(&population, 300, latency, [6; 32]).unwrap());
}

#[test]
fn a_contradictory_topology_is_refused() {
    let broken = |change: fn(&mut Topology)| {
        let mut topology = draw("cones", 100);
        change(&mut topology);
        Internet::new(topology, [0; 32]).unwrap_err().to_string()
    };
    assert!(broken(|topology| topology.hosts[0].site = SiteId(999)).contains("site 999"));
    assert!(broken(|topology| topology.hosts[0].gateway = Some(GatewayId(999))).contains("does not exist"));
    assert!(broken(|topology| topology.gateways[0].inside.prefix = 33).contains("/33 is no block"));
    assert!(
        broken(|topology| topology.gateways[0].inside.base = [192, 168, 1, 7].into()).contains("192.168.1.7")
    );
    let burst = |topology: &mut Topology| {
        topology.path.loss.burst = Some(Burst { enter: 0.1, leave: 1.5, loss: 1.0 });
    };
    assert!(broken(burst).contains("1.5 is no share"));
    assert!(broken(|topology| topology.path.loss.independent = f64::NAN).contains("NaN is no share"));
    assert!(broken(|topology| topology.gateways[0].behind = Some(GatewayId(0))).contains("come before"));
    assert!(broken(|topology| topology.gateways[0].external.clear()).contains("0 external addresses"));
    assert!(broken(|topology| topology.gateways[0].behaviour.overloading = true).contains("needs mapping"));
    let twice = broken(|topology| topology.gateways[0].external[0] = topology.hosts[0].address);
    assert!(twice.contains("two machines"), "{twice}");
}
