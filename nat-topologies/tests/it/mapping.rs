//! RFC 4787 sections 4 and 4.2: REQ-1 mapping, REQ-2 pooling, REQ-3 ports, REQ-4 parity, REQ-11 determinism.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use atoll_topology::*;

use crate::lab::{Lab, gateway};

/// The observed addresses towards one server, another port of it, and another server.
fn three(name: &str) -> [SocketAddr; 3] {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway(name)]);
    [(0, 1), (0, 2), (1, 1)].map(|to| lab.observed(host, 5000, to).unwrap())
}

#[test]
fn cone_presets_map_independently_of_the_endpoint() {
    let cones = ["full-cone", "restricted-cone", "port-restricted-cone", "short-timer", "carrier-grade"];
    for name in cones {
        let [a, b, c] = three(name);
        assert!(a == b && b == c, "{name}: {a} {b} {c}");
    }
}

#[test]
fn symmetric_presets_map_anew_for_every_remote_port() {
    for name in ["symmetric", "symmetric-sequential", "symmetric-port-preserving"] {
        let [a, b, c] = three(name);
        assert!(a != b && b != c && a != c, "{name}: {a} {b} {c}");
    }
}

#[test]
fn address_dependent_mapping_differs_by_remote_address_only() {
    let mut lab = Lab::new();
    let behaviour = Gateway { mapping: Dependence::AddressDependent, ..gateway("port-restricted-cone") };
    let host = lab.home(&[behaviour]);
    let [a, b, c] = [(0, 1), (0, 2), (1, 1)].map(|to| lab.observed(host, 5000, to).unwrap());
    assert_eq!(a, b);
    assert_ne!(a, c);
}

#[test]
fn sequential_ports_follow_one_another_and_preserved_ones_come_first() {
    let [a, b, c] = three("symmetric-sequential");
    assert_eq!([b.port(), c.port()], [a.port() + 1, a.port() + 2]);
    let [a, b, c] = three("symmetric-port-preserving");
    assert_eq!(a.port(), 5000);
    assert_eq!(c.port(), b.port() + 1);
}

#[test]
fn one_host_behind_a_paired_pool_has_one_external_address() {
    let mut lab = Lab::new();
    let first = lab.home(&[Gateway { pool: 4, ..gateway("port-restricted-cone") }]);
    let second = lab.beside(first);
    let mut addresses = |host| -> BTreeSet<_> {
        (0..50).map(|n| lab.observed(host, 4000 + n, (0, 1)).unwrap().ip()).collect()
    };
    let (first, second) = (addresses(first), addresses(second));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second, "subscribers take the addresses in turn");
}

#[test]
fn an_arbitrary_pool_gives_one_host_several_external_addresses() {
    let mut lab = Lab::new();
    let behaviour = Gateway { pool: 4, pooling: Pooling::Arbitrary, ..gateway("port-restricted-cone") };
    let host = lab.home(&[behaviour]);
    let addresses: BTreeSet<_> =
        (0..50).map(|n| lab.observed(host, 4000 + n, (0, 1)).unwrap().ip()).collect();
    assert_eq!(addresses.len(), 4);
    assert_eq!(
        lab.observed(host, 4000, (0, 1)),
        lab.observed(host, 4000, (1, 1)),
        "REQ-1 holds all the same"
    );
}

#[test]
fn two_hosts_never_share_an_external_port() {
    for name in
        preset_names().filter(|name| !["none", "naive-linux", "udp-blocked", "only-443"].contains(name))
    {
        let family = gateway(name).family;
        let mut lab = Lab::with_family(family);
        let first = lab.home(&[gateway(name)]);
        let mut seen = BTreeSet::new();
        let hosts: Vec<_> = (0..20).map(|_| lab.beside(first)).collect();
        for host in hosts {
            assert!(seen.insert(lab.observed(host, 5000, (0, 3478)).unwrap()), "{name}");
        }
    }
}

#[test]
fn naive_linux_shares_a_port_until_the_destination_is_the_same() {
    let mut lab = Lab::new();
    let first = lab.home(&[gateway("naive-linux")]);
    let second = lab.beside(first);
    let a = lab.observed(first, 5000, (0, 1)).unwrap();
    assert_eq!(a, lab.observed(second, 5000, (1, 1)).unwrap(), "breaks REQ-3");
    assert_ne!(a, lab.observed(second, 5000, (0, 1)).unwrap(), "breaks REQ-11");
}

#[test]
fn ports_stay_in_their_range_and_keep_their_parity() {
    for name in ["full-cone", "restricted-cone", "port-restricted-cone", "short-timer"] {
        let mut lab = Lab::new();
        let first = lab.home(&[gateway(name)]);
        let hosts: Vec<_> = (0..8).map(|_| lab.beside(first)).collect();
        for port in [500, 501, 5000, 5001] {
            for host in &hosts {
                let external = lab.observed(*host, port, (0, 1)).unwrap().port();
                assert_eq!(external < 1024, port < 1024, "{name}: REQ-3a, {port} became {external}");
                assert_eq!(external % 2, port % 2, "{name}: REQ-4, {port} became {external}");
            }
        }
    }
}

#[test]
fn blocks_keep_one_subscriber_within_its_ports() {
    let mut lab = Lab::new();
    let ports = Ports { preserve: false, otherwise: Allocator::Random, block: Some(64) };
    let first = lab.home(&[Gateway { ports, ..gateway("port-restricted-cone") }]);
    let second = lab.beside(first);
    let mut blocks = |host| -> BTreeSet<_> {
        (0..64).map(|n| (lab.observed(host, 4000 + n, (0, 1)).unwrap().port() - 1024) / 64).collect()
    };
    let (first, second) = (blocks(first), blocks(second));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
}

#[test]
fn a_thousand_flows_and_collisions_do_not_change_the_behaviour() {
    for (name, is_independent) in [("port-restricted-cone", true), ("symmetric", false)] {
        let mut lab = Lab::new();
        let first = lab.home(&[gateway(name)]);
        let second = lab.beside(first);
        for port in 0..1000 {
            lab.udp(first, 4000 + port, lab.server(0, 1));
            lab.udp(second, 4000 + port, lab.server(0, 1));
        }
        lab.wait(crate::lab::DELAY * 5);
        for host in [first, second] {
            let a = lab.observed(host, 4500, (0, 1));
            let b = lab.observed(host, 4500, (1, 1));
            assert_eq!(a == b, is_independent, "{name}");
        }
    }
}

#[test]
fn a_gateway_without_free_ports_refuses_and_says_so() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("symmetric")]);
    let id = lab.net.host(host).gateway.unwrap();
    for n in 0..65_000_u32 {
        let to = SocketAddr::new(lab.server(n % 2, 1).ip(), (n / 2 + 1) as u16);
        let mut packet = Packet::udp(lab.address(host, 5000), to, 100);
        lab.net.depart(host, &mut packet, lab.now);
    }
    assert_eq!(lab.net.mappings(id, lab.now), 64_512);
    assert_eq!(lab.net.counters().drops(DropReason::PortsExhausted), 65_000 - 64_512);
    assert_eq!(lab.net.gateway_counters(id).refused, 65_000 - 64_512);
}
