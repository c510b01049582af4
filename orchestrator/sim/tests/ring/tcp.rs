//! Members at sites that block UDP: they join over TCP, and nobody else needs it.

use std::time::Duration;

use atoll_sim::Stop;
use atoll_topology::{Allowed, Fault, HostId, Loss};

use crate::town::Town;

/// Hosts behind gateways that let no UDP out.
fn blocked(town: &Town) -> Vec<HostId> {
    town.hosts().into_iter().filter(|host| is_blocked(town, *host)).collect()
}

fn is_blocked(town: &Town, host: HostId) -> bool {
    let topology = town.world.internet().topology();
    let gateway = topology.hosts[host.0 as usize].gateway;
    gateway.is_some_and(|id| topology.gateways[id.0 as usize].behaviour.outbound.udp == Allowed::None)
}

fn over_tcp(town: &mut Town, host: HostId) -> f64 {
    town.metric(host, "atoll_tcp_sent_datagrams_total", "public")
}

#[test]
fn members_without_udp_are_in_the_ring_and_the_others_open_no_connection() {
    let mut town = Town::new(60, "default", 3).with_tcp();
    let blocked = blocked(&town);
    assert!(!blocked.is_empty(), "the population has such sites");
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(60)).unwrap();
    assert!(town.is_complete());
    for host in town.hosts() {
        let is_public = town.world.internet().host(host).is_public();
        let datagrams = over_tcp(&mut town, host);
        if blocked.contains(&host) {
            assert!(datagrams > 0.0 && town.metric(host, "atoll_ways", "tcp") > 0.0, "{host:?}");
        } else if !is_public {
            assert_eq!(datagrams, 0.0, "{host:?} has UDP");
        }
    }
}

#[test]
fn a_member_without_udp_joins_within_seconds() {
    let mut town = Town::new(12, "udp-blocked", 5).with_tcp();
    town.start_all();
    let took = town.completes_within(Duration::from_secs(30));
    assert!(took > Duration::from_secs(2), "UDP comes first: {took:?}");
}

#[test]
fn members_that_have_udp_do_without_tcp() {
    let mut town = Town::new(40, "cones", 7).with_tcp().settle();
    for host in town.hosts() {
        assert_eq!(over_tcp(&mut town, host), 0.0, "{host:?}");
    }
}

#[test]
fn a_peer_that_dies_behind_a_connection_is_noticed() {
    let mut town = Town::new(30, "udp-blocked", 9).with_tcp().settle();
    let victim = blocked(&town)[1];
    town.stop(victim, Stop::Kill);
    town.completes_within(Duration::from_secs(60));
    let public =
        town.hosts().into_iter().rfind(|host| town.world.internet().host(*host).is_public()).unwrap();
    town.stop(public, Stop::Kill);
    town.completes_within(Duration::from_secs(90));
}

#[test]
fn the_same_seed_gives_the_same_run_over_tcp() {
    let run = || {
        let mut town = Town::new(20, "udp-blocked", 4).with_tcp();
        town.start_all();
        town.world.run_for(Duration::from_secs(30)).unwrap();
        town.world.trace_hash()
    };
    assert_eq!(run(), run());
}

#[test]
fn over_lossy_lines_tcp_members_join_as_well() {
    let mut town = Town::new(20, "udp-blocked", 6).with_tcp();
    let loss = Loss { independent: 0.03, ..Loss::default() };
    town.world.apply(&Fault::Loss { sites: None, loss });
    town.start_all();
    town.completes_within(Duration::from_secs(120));
}
