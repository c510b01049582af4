//! RFC 4787 REQ-5 and REQ-6: how long mappings live, and what keeps them alive.

use std::time::Duration;

use atoll_topology::*;

use crate::lab::{Lab, gateway};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Whether the known server gets in after this much silence.
fn survives(behaviour: &Gateway, silence: Duration) -> bool {
    let mut lab = Lab::with_family(behaviour.family);
    let host = lab.home(std::slice::from_ref(behaviour));
    let seen = lab.observed(host, 5000, (0, 3478)).unwrap();
    lab.wait(silence);
    lab.reaches((0, 3478), seen, host)
}

#[test]
fn mappings_live_as_long_as_the_preset_says_and_no_longer() {
    for name in preset_names().filter(|name| !["none", "udp-blocked", "only-443"].contains(name)) {
        let behaviour = gateway(name);
        let timer = behaviour.timers.udp;
        assert_eq!(timer, seconds(if name == "short-timer" { 30 } else { 120 }), "{name}: REQ-5");
        assert!(survives(&behaviour, timer * 9 / 10), "{name}");
        assert!(!survives(&behaviour, timer * 11 / 10), "{name}");
    }
}

#[test]
fn outbound_packets_keep_a_mapping_alive() {
    for name in preset_names().filter(|name| !["none", "udp-blocked", "only-443"].contains(name)) {
        let behaviour = gateway(name);
        let mut lab = Lab::with_family(behaviour.family);
        let host = lab.home(&[behaviour]);
        let seen = lab.observed(host, 5000, (0, 3478)).unwrap();
        for _ in 0..10 {
            lab.wait(seconds(25));
            assert_eq!(lab.observed(host, 5000, (0, 3478)), Some(seen), "{name}");
        }
        assert!(lab.reaches((0, 3478), seen, host), "{name}");
    }
}

#[test]
fn inbound_packets_keep_a_mapping_alive_only_if_the_gateway_says_so() {
    for (udp_refresh, is_alive) in [(Refresh::Outbound, false), (Refresh::Both, true)] {
        let mut behaviour = gateway("port-restricted-cone");
        behaviour.timers.udp_refresh = udp_refresh;
        let mut lab = Lab::new();
        let host = lab.home(&[behaviour]);
        let seen = lab.observed(host, 5000, (0, 1)).unwrap();
        for _ in 0..4 {
            lab.wait(seconds(50));
            lab.reaches((0, 1), seen, host);
        }
        assert_eq!(lab.reaches((0, 1), seen, host), is_alive, "{udp_refresh:?}");
    }
}

#[test]
fn a_permission_ages_although_the_mapping_lives() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("port-restricted-cone")]);
    let seen = lab.observed(host, 5000, (0, 1)).unwrap();
    lab.observed(host, 5000, (1, 1));
    for _ in 0..3 {
        lab.wait(seconds(50));
        assert_eq!(lab.observed(host, 5000, (0, 1)), Some(seen));
    }
    assert!(lab.reaches((0, 1), seen, host));
    assert!(!lab.reaches((1, 1), seen, host), "the filter's entry uses the same timer");
}

#[test]
fn tcp_lives_long_once_established_and_shortly_before_and_after() {
    let flags = |lab: &mut Lab, host, out, back: TcpFlags| {
        lab.got.clear();
        lab.tcp(host, 5000, lab.server(0, 80), out);
        lab.settle();
        let seen = lab.take(HostId(0))[0].source;
        lab.tcp(HostId(0), 80, seen, back);
        lab.settle();
        !lab.take(host).is_empty()
    };
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("port-restricted-cone")]);
    let id = lab.net.host(host).gateway.unwrap();
    lab.tcp(host, 5000, lab.server(0, 80), TcpFlags::SYN);
    lab.wait(seconds(250));
    assert_eq!(lab.net.mappings(id, lab.now), 0, "half open: 4 min");
    assert!(flags(&mut lab, host, TcpFlags::SYN, TcpFlags::SYN.with(TcpFlags::ACK)));
    lab.wait(seconds(7000));
    assert_eq!(lab.net.mappings(id, lab.now), 1, "established: 2 h 4 min");
    assert!(flags(&mut lab, host, TcpFlags::FIN, TcpFlags::FIN));
    lab.wait(seconds(250));
    assert_eq!(lab.net.mappings(id, lab.now), 0, "closing: 4 min");
}
