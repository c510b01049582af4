//! RFC 4787 REQ-12 and RFC 5508: errors do not end mappings and are translated; echo passes.

use std::net::SocketAddr;

use atoll_topology::*;

use crate::lab::{Lab, gateway};

fn error(lab: &Lab, from: u32, about: Packet) -> Packet {
    let quote = Quote { protocol: Protocol::Udp, source: about.source, destination: about.destination };
    let to = SocketAddr::new(about.source.ip(), 0);
    Packet::new(lab.server(from, 0), to, Body::Icmp(Icmp::Error(IcmpError::PortUnreachable, quote)), 56)
}

#[test]
fn an_error_reaches_the_sender_translated_and_ends_no_mapping() {
    for name in preset_names().filter(|name| !["none", "udp-blocked", "only-443"].contains(name)) {
        let behaviour = gateway(name);
        let mut lab = Lab::with_family(behaviour.family);
        let host = lab.home(&[behaviour]);
        lab.udp(host, 5000, lab.server(0, 7));
        lab.settle();
        let sent = lab.take(HostId(0))[0];
        // One from the server itself, one from a router on the way.
        for from in [0, 2] {
            let packet = error(&lab, from, sent);
            lab.send(HostId(from), packet);
        }
        lab.settle();
        let got = lab.take(host);
        assert_eq!(got.len(), 2, "{name}: {:?}", lab.drops);
        let Body::Icmp(Icmp::Error(IcmpError::PortUnreachable, quote)) = got[0].body else { panic!() };
        assert_eq!((quote.source, quote.destination), (lab.address(host, 5000), lab.server(0, 7)), "{name}");
        assert_eq!(got[0].destination, lab.address(host, 0));
        assert!(lab.reaches((0, 7), sent.source, host), "{name}: REQ-12");
    }
}

#[test]
fn an_error_about_nothing_is_dropped() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("full-cone")]);
    let seen = lab.observed(host, 5000, (0, 1)).unwrap();
    let about = Packet::udp(SocketAddr::new(seen.ip(), 6000), lab.server(0, 1), 100);
    let packet = error(&lab, 0, about);
    lab.send(HostId(0), packet);
    lab.settle();
    assert_eq!(lab.drops, [DropReason::StrayIcmp]);
}

#[test]
fn an_error_from_inside_shows_the_external_address() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("full-cone"), gateway("carrier-grade")]);
    let seen = lab.observed(host, 5000, (0, 1)).unwrap();
    lab.udp(HostId(1), 9, seen);
    lab.settle();
    let arrived = lab.take(host)[0];
    let quote = Quote { protocol: Protocol::Udp, source: arrived.source, destination: arrived.destination };
    let body = Body::Icmp(Icmp::Error(IcmpError::PortUnreachable, quote));
    let packet = Packet::new(lab.address(host, 0), SocketAddr::new(arrived.source.ip(), 0), body, 56);
    lab.send(host, packet);
    lab.settle();
    let got = lab.take(HostId(1))[0];
    let Body::Icmp(Icmp::Error(_, quote)) = got.body else { panic!() };
    assert_eq!((got.source.ip(), quote.destination), (seen.ip(), seen));
}

#[test]
fn an_echo_passes_two_gateways_and_keeps_its_identifier() {
    let mut lab = Lab::new();
    let first = lab.home(&[gateway("port-restricted-cone"), gateway("carrier-grade")]);
    let second = lab.subscriber(first, &[gateway("port-restricted-cone")]);
    for host in [first, second] {
        let request = Packet::new(lab.address(host, 77), lab.server(0, 0), Body::Icmp(Icmp::EchoRequest), 84);
        lab.send(host, request);
    }
    lab.settle();
    let requests = lab.take(HostId(0));
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0].source, requests[1].source);
    for request in requests {
        let reply = Packet::new(request.destination, request.source, Body::Icmp(Icmp::EchoReply), 84);
        lab.send(HostId(0), reply);
    }
    lab.settle();
    let replies: Vec<_> = lab.got.iter().map(|got| (got.host, got.packet.destination)).collect();
    assert_eq!(replies, [first, second].map(|host| (host, lab.address(host, 77))));
}
