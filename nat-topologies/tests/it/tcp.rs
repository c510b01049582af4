//! RFC 5382: REQ-1 mapping, REQ-2 simultaneous open, REQ-4 silence towards an unsolicited SYN.

use std::time::Duration;

use atoll_topology::*;

use crate::lab::{Lab, gateway};

const SYN_ACK: TcpFlags = TcpFlags::SYN.with(TcpFlags::ACK);

#[test]
fn tcp_maps_as_udp_does() {
    for (name, is_independent) in
        [("full-cone", true), ("port-restricted-cone", true), ("carrier-grade", true), ("symmetric", false)]
    {
        let mut lab = Lab::new();
        let host = lab.home(&[gateway(name)]);
        lab.tcp(host, 5000, lab.server(0, 80), TcpFlags::SYN);
        lab.tcp(host, 5000, lab.server(1, 80), TcpFlags::SYN);
        lab.settle();
        let sources: Vec<_> = lab.got.iter().map(|got| got.packet.source).collect();
        assert_eq!(sources[0] == sources[1], is_independent, "{name}");
    }
}

/// Both connect to each other's observed address; the second one this much later. Returns whether a SYN got through and
/// whether anyone was refused.
fn simultaneous_open(name: &str, stagger: Duration) -> (bool, bool) {
    let mut lab = Lab::new();
    let hosts = [lab.home(&[gateway(name)]), lab.home(&[gateway(name)])];
    let mut seen = Vec::new();
    for host in hosts {
        lab.tcp(host, 5000, lab.server(0, 80), TcpFlags::SYN);
        lab.settle();
        seen.push(lab.take(HostId(0))[0].source);
    }
    lab.tcp(hosts[0], 5000, seen[1], TcpFlags::SYN);
    lab.wait(stagger);
    lab.tcp(hosts[1], 5000, seen[0], TcpFlags::SYN);
    lab.settle();
    let is_reset =
        |got: &crate::lab::Got| matches!(got.packet.body, Body::Tcp(flags) if flags.has(TcpFlags::RST));
    (lab.got.iter().any(|got| !is_reset(got)), lab.got.iter().any(is_reset))
}

#[test]
fn simultaneous_open_works_however_staggered() {
    for name in ["full-cone", "restricted-cone", "port-restricted-cone", "short-timer", "carrier-grade"] {
        for stagger in [0, 150, 1000] {
            assert_eq!(simultaneous_open(name, Duration::from_millis(stagger)), (true, false), "{name}");
        }
    }
    assert_eq!(simultaneous_open("symmetric", Duration::ZERO), (false, false));
}

#[test]
fn naive_linux_resets_whoever_comes_first() {
    let (_, is_reset) = simultaneous_open("naive-linux", Duration::from_millis(150));
    assert!(is_reset, "breaks REQ-4");
}

#[test]
fn a_reset_travels_back_through_the_gateways_of_the_sender() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("port-restricted-cone"), gateway("carrier-grade")]);
    lab.home(&[gateway("naive-linux")]);
    let closed = lab.net.topology().gateways.last().unwrap().external[0];
    lab.tcp(host, 5000, (closed, 80).into(), TcpFlags::SYN);
    lab.udp(host, 5001, (closed, 80).into());
    lab.settle();
    let got = lab.take(host);
    assert_eq!(got.len(), 2, "{:?}", lab.drops);
    assert_eq!(got[0].destination, lab.address(host, 5000));
    assert_eq!(got[0].source, (closed, 80).into());
    assert!(matches!(got[1].body, Body::Icmp(Icmp::Error(IcmpError::PortUnreachable, quote))
        if quote.source == lab.address(host, 5001)));
    assert_eq!(lab.net.counters().packets_returned, 2);
}

#[test]
fn a_connection_to_a_public_host_works_behind_every_preset_that_lets_tcp_out() {
    for name in preset_names() {
        let behaviour = gateway(name);
        let mut lab = Lab::with_family(behaviour.family);
        let host = lab.home(&[behaviour]);
        lab.tcp(host, 5000, lab.server(0, 443), TcpFlags::SYN);
        lab.settle();
        let seen = lab.take(HostId(0))[0].source;
        lab.tcp(HostId(0), 443, seen, SYN_ACK);
        lab.settle();
        assert_eq!(lab.take(host).len(), 1, "{name}");
    }
}

#[test]
fn a_reset_opens_nothing() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("full-cone")]);
    lab.tcp(host, 5000, lab.server(0, 80), TcpFlags::RST);
    assert_eq!(lab.drops, [DropReason::NoMapping]);
}
