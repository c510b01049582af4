//! RFC 4787 section 6: REQ-9 and 9a hairpinning; REQ-7 equal addresses on both sides of a home router.

use atoll_topology::*;

use crate::lab::{Lab, gateway};

/// What `second` sees of `first`'s packet to its external address, after `second` opened its filter for it.
fn hairpin(behaviour: Gateway) -> (Option<std::net::SocketAddr>, std::net::SocketAddr, Lab, [HostId; 2]) {
    let mut lab = Lab::new();
    let first = lab.home(&[behaviour]);
    let second = lab.beside(first);
    let a = lab.observed(first, 5000, (0, 1)).unwrap();
    let b = lab.observed(second, 6000, (0, 1)).unwrap();
    lab.udp(second, 6000, a);
    lab.settle();
    lab.got.clear();
    lab.udp(first, 5000, b);
    lab.settle();
    let seen = lab.take(second).first().map(|packet| packet.source);
    (seen, a, lab, [first, second])
}

#[test]
fn a_hairpinned_packet_shows_its_external_source() {
    let cones = ["full-cone", "restricted-cone", "port-restricted-cone", "short-timer", "carrier-grade"];
    for name in cones {
        let (seen, external, ..) = hairpin(gateway(name));
        assert_eq!(seen, Some(external), "{name}");
    }
}

#[test]
fn an_internal_source_hairpin_shows_the_private_address() {
    let behaviour = Gateway { hairpin: Hairpin::InternalSource, ..gateway("port-restricted-cone") };
    let (seen, _, lab, [first, _]) = hairpin(behaviour);
    assert_eq!(seen, Some(lab.address(first, 5000)));
}

#[test]
fn a_hairpin_honours_the_filter() {
    let mut lab = Lab::new();
    let first = lab.home(&[gateway("port-restricted-cone")]);
    let second = lab.beside(first);
    let b = lab.observed(second, 6000, (0, 1)).unwrap();
    lab.udp(first, 5000, b);
    lab.settle();
    assert!(lab.got.is_empty());
    assert_eq!(lab.drops, [DropReason::Filtered]);
}

#[test]
fn without_hairpin_the_packet_is_lost() {
    let behaviour = Gateway { hairpin: Hairpin::Off, ..gateway("full-cone") };
    let (seen, _, lab, _) = hairpin(behaviour);
    assert_eq!(seen, None);
    assert_eq!(lab.drops, [DropReason::NoHairpin; 2]);
}

#[test]
fn hosts_of_one_home_reach_each_other_past_the_router() {
    let mut lab = Lab::new();
    let first = lab.home(&[gateway("udp-blocked")]);
    let second = lab.beside(first);
    lab.udp(first, 5000, lab.address(second, 6000));
    lab.settle();
    let got = lab.got[0];
    assert_eq!((got.host, got.packet.source), (second, lab.address(first, 5000)));
}

#[test]
fn a_home_may_use_the_subnet_of_its_carrier() {
    let mut lab = Lab::new();
    let home = gateway("port-restricted-cone");
    let carrier = Gateway { subscribers: 1, ..gateway("carrier-grade") };
    let host = lab.home(&[home, carrier]);
    let mut topology = lab.net.topology().clone();
    // Same block on both sides, and the host has the very address that its router has outside.
    let outside = topology.gateways[1].external[0];
    topology.gateways[1].inside = topology.gateways[0].inside;
    topology.hosts[host.0 as usize].address = outside;
    let mut lab = Lab::of(topology);
    let seen = lab.observed(host, 5000, (0, 1)).unwrap();
    assert!(lab.reaches((0, 1), seen, host), "REQ-7");
}
