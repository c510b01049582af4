//! RFC 4787 section 5: REQ-8 filtering, and what must never get in.

use atoll_topology::*;

use crate::lab::{Lab, gateway};

/// Whether another address, another port of a known address, and the known one get in.
fn who_gets_in(behaviour: Gateway) -> [bool; 3] {
    let mut lab = Lab::with_family(behaviour.family);
    let host = lab.home(&[behaviour]);
    let seen = lab.observed(host, 5000, (0, 3478)).unwrap();
    [(1, 3478), (0, 9999), (0, 3478)].map(|from| lab.reaches(from, seen, host))
}

#[test]
fn presets_filter_as_their_names_say() {
    let expected = [
        ("full-cone", [true, true, true]),
        ("carrier-grade", [true, true, true]),
        ("restricted-cone", [false, true, true]),
        ("port-restricted-cone", [false, false, true]),
        ("short-timer", [false, false, true]),
        ("symmetric", [false, false, true]),
        ("symmetric-sequential", [false, false, true]),
        ("symmetric-port-preserving", [false, false, true]),
        ("naive-linux", [false, false, true]),
        ("stateful-ipv6", [false, false, true]),
    ];
    for (name, who) in expected {
        assert_eq!(who_gets_in(gateway(name)), who, "{name}");
    }
}

#[test]
fn every_mapping_goes_with_every_filtering() {
    for mapping in Dependence::ALL {
        for filtering in Dependence::ALL {
            let [other, port, known] =
                who_gets_in(Gateway { mapping, filtering, ..gateway("port-restricted-cone") });
            assert!(known);
            assert_eq!(port, filtering != Dependence::AddressAndPortDependent, "{mapping:?} {filtering:?}");
            assert_eq!(other, filtering == Dependence::EndpointIndependent, "{mapping:?} {filtering:?}");
        }
    }
}

#[test]
fn an_unsolicited_packet_vanishes_without_an_answer() {
    for name in preset_names().filter(|name| !["none", "naive-linux", "stateful-ipv6"].contains(name)) {
        let mut lab = Lab::new();
        let host = lab.home(&[gateway(name)]);
        let external = lab.net.topology().gateways[0].external[0];
        lab.udp(HostId(0), 1, (external, 5000).into());
        lab.tcp(HostId(0), 1, (external, 5000).into(), TcpFlags::SYN);
        lab.settle();
        assert!(lab.got.is_empty(), "{name}: {:?}", lab.got);
        assert_eq!(lab.drops, [DropReason::NoMapping; 2], "{name}");
        assert!(!lab.net.host(host).is_public());
    }
}

#[test]
fn private_addresses_are_out_of_reach_from_outside_and_from_other_homes() {
    let mut lab = Lab::new();
    let first = lab.home(&[gateway("full-cone")]);
    let second = lab.home(&[gateway("full-cone")]);
    let to = lab.address(first, 5000);
    lab.observed(first, 5000, (0, 1));
    lab.udp(HostId(0), 1, to);
    lab.udp(second, 5000, to);
    lab.settle();
    assert!(lab.got.is_empty(), "{:?}", lab.got);
    assert_eq!(lab.drops.last(), Some(&DropReason::NoRoute));
}

#[test]
fn a_forged_source_does_not_leave() {
    let mut lab = Lab::new();
    let packet = Packet::udp(lab.server(1, 1), lab.server(2, 1), 100);
    lab.send(HostId(0), packet);
    assert_eq!(lab.drops, [DropReason::ForeignSource]);
}

#[test]
fn an_early_packet_spoils_the_port_behind_naive_linux_only() {
    for (name, is_spoiled) in [("naive-linux", true), ("port-restricted-cone", false)] {
        let mut lab = Lab::new();
        let host = lab.home(&[gateway(name)]);
        let seen = lab.observed(host, 5000, (0, 1)).unwrap();
        assert!(!lab.reaches((1, 7), seen, host), "{name}: too early");
        let towards = lab.observed(host, 5000, (1, 7)).unwrap();
        assert_eq!(towards != seen, is_spoiled, "{name}");
        assert_eq!(lab.reaches((1, 7), seen, host), !is_spoiled, "{name}");
    }
}

#[test]
fn blocked_protocols_do_not_leave() {
    let mut lab = Lab::new();
    let blocked = lab.home(&[gateway("udp-blocked")]);
    let strict = lab.home(&[gateway("only-443")]);
    lab.udp(blocked, 5000, lab.server(0, 1));
    lab.udp(strict, 5000, lab.server(0, 443));
    lab.tcp(strict, 5000, lab.server(0, 80), TcpFlags::SYN);
    assert_eq!(lab.drops, [DropReason::Blocked; 3]);
    lab.tcp(blocked, 5000, lab.server(0, 80), TcpFlags::SYN);
    lab.tcp(strict, 5000, lab.server(0, 443), TcpFlags::SYN);
    lab.settle();
    assert_eq!(lab.take(HostId(0)).len(), 2);
}
