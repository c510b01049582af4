//! RFC 6888: REQ-4 port limit, REQ-8 hold time; gateways behind gateways, with the same subnet in every home.

use std::time::Duration;

use atoll_topology::*;

use crate::lab::{Lab, gateway};

#[test]
fn a_subscriber_has_at_most_its_share_of_ports_and_others_are_not_affected() {
    let mut lab = Lab::new();
    let behaviour = Gateway { ports_per_subscriber: Some(10), ..gateway("carrier-grade") };
    let first = lab.home(&[behaviour]);
    let second = lab.beside(first);
    for port in 0..15 {
        lab.udp(first, 4000 + port, lab.server(0, 1));
    }
    assert_eq!(lab.drops, [DropReason::SubscriberLimit; 5]);
    assert!(lab.observed(second, 4000, (0, 1)).is_some());
    lab.wait(Duration::from_secs(250));
    assert!(lab.observed(first, 4020, (0, 1)).is_some(), "the old ones expired");
}

#[test]
fn a_released_port_is_kept_from_others_for_two_minutes() {
    for (after, is_free) in [(230, false), (250, true)] {
        let mut lab = Lab::new();
        let ports = Ports { preserve: true, ..gateway("carrier-grade").ports };
        let first = lab.home(&[Gateway { pool: 1, ports, ..gateway("carrier-grade") }]);
        let second = lab.beside(first);
        assert_eq!(lab.observed(first, 5000, (0, 1)).unwrap().port(), 5000);
        // 120 s until it expires, 120 s more until it is free.
        lab.wait(Duration::from_secs(after));
        let port = lab.observed(second, 5000, (0, 1)).unwrap().port();
        assert_eq!(port == 5000, is_free, "after {after} s");
    }
}

#[test]
fn a_released_port_returns_to_its_own_subscriber_at_once() {
    let mut lab = Lab::new();
    let ports = Ports { preserve: true, ..gateway("carrier-grade").ports };
    let host = lab.home(&[Gateway { pool: 1, ports, ..gateway("carrier-grade") }]);
    let before = lab.observed(host, 5000, (0, 1));
    lab.wait(Duration::from_secs(125));
    assert_eq!(lab.observed(host, 5000, (0, 1)), before);
}

#[test]
fn homes_with_the_same_subnet_and_port_stay_apart_behind_one_carrier() {
    let mut lab = Lab::new();
    let home = gateway("port-restricted-cone");
    let first = lab.home(&[home.clone(), gateway("carrier-grade")]);
    let mut hosts = vec![first];
    for _ in 0..20 {
        hosts.push(lab.subscriber(first, std::slice::from_ref(&home)));
    }
    let mut shared = 0;
    for host in &hosts {
        shared += usize::from(lab.net.host(*host).address == lab.net.host(first).address);
        let seen = lab.observed(*host, 5000, (0, 1)).unwrap();
        assert!(lab.reaches((0, 1), seen, *host));
        assert!(!lab.reaches((1, 1), seen, *host), "the home still filters");
    }
    assert!(shared > 5, "private addresses repeat");
}

#[test]
fn two_homes_of_one_carrier_punch_through_its_hairpin() {
    for (hairpin, is_open) in [(Hairpin::ExternalSource, true), (Hairpin::Off, false)] {
        let mut lab = Lab::new();
        let home = gateway("port-restricted-cone");
        let carrier = Gateway { hairpin, ..gateway("carrier-grade") };
        let first = lab.home(&[home.clone(), carrier]);
        let second = lab.subscriber(first, &[home]);
        let a = lab.observed(first, 5000, (0, 1)).unwrap();
        let b = lab.observed(second, 5000, (0, 1)).unwrap();
        lab.udp(first, 5000, b);
        lab.settle();
        lab.udp(second, 5000, a);
        lab.settle();
        let sources: Vec<_> = lab.take(first).iter().map(|packet| packet.source).collect();
        assert_eq!(sources, if is_open { vec![b] } else { vec![] });
    }
}

#[test]
fn gateways_stack_to_any_depth() {
    let mut lab = Lab::new();
    let mut chain = vec![gateway("port-restricted-cone")];
    chain.extend(std::iter::repeat_n(gateway("carrier-grade"), 6));
    let host = lab.home(&chain);
    let seen = lab.observed(host, 5000, (0, 1)).unwrap();
    assert!(lab.reaches((0, 1), seen, host));
    assert!(!lab.reaches((1, 1), seen, host));
}

#[test]
fn a_firewall_behind_a_carrier_shares_the_carriers_network() {
    let mut lab = Lab::new();
    let firewall = Gateway { family: Family::Ipv4, ..gateway("stateful-ipv6") };
    let host = lab.home(&[firewall, gateway("carrier-grade")]);
    let seen = lab.observed(host, 5000, (0, 1)).unwrap();
    assert!(lab.reaches((0, 1), seen, host));
    assert!(!lab.reaches((1, 1), seen, host));
}
