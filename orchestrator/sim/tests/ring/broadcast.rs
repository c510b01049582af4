//! Payloads for everybody: all hear them once, also when members die meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_core::control::EventKind;
use atoll_core::wire::Address;
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::town::Town;

/// How often each host has heard something since the last call, and when it last did.
fn heard(town: &mut Town) -> BTreeMap<HostId, (usize, Duration)> {
    let mut heard: BTreeMap<HostId, (usize, Duration)> = BTreeMap::new();
    for one in town.world.take_heard() {
        let entry = heard.entry(one.host).or_default();
        *entry = (entry.0 + 1, one.time.since(atoll_core::Time::ZERO));
    }
    heard
}

fn done(town: &Town, host: HostId, since: atoll_core::Time) -> Option<(u32, bool)> {
    town.told_since(host, since).into_iter().find_map(|kind| match kind {
        EventKind::Broadcast { members, complete } => Some((members, complete)),
        _ => None,
    })
}

#[test]
fn everybody_hears_it_once_in_spite_of_loss_and_the_origin_hears_that() {
    let mut town = Town::settled(200, "cones", 1);
    town.world.apply(&atoll_topology::Fault::Loss {
        sites: None,
        loss: atoll_topology::Loss { independent: 0.05, burst: None },
    });
    let (origin, start) = (HostId(17), town.world.now());
    town.world.broadcast(origin, 0, None, b"news");
    town.world.run_for(Duration::from_secs(15)).unwrap();
    let heard = heard(&mut town);
    assert!(heard.len() == 199 && heard.values().all(|(times, _)| *times == 1), "{} heard it", heard.len());
    assert_eq!(done(&town, origin, start), Some((199, true)));
    let last = heard.values().map(|(_, at)| *at).max().unwrap() - start.since(atoll_core::Time::ZERO);
    println!("the last heard it after {last:?}");
}

#[test]
fn only_those_in_the_range_hear_it() {
    let mut town = Town::settled(60, "none", 2);
    let (from, to) = (Address::from_bytes([0x20; 20]), Address::from_bytes([0x90; 20]));
    let inside = |address: Address| from.clockwise(address) < from.clockwise(to);
    let start = town.world.now();
    let origin = town.hosts().into_iter().find(|host| !inside(town.member(*host))).unwrap();
    town.world.broadcast(origin, 0, Some((from, to)), b"news");
    town.world.run_for(Duration::from_secs(10)).unwrap();
    let heard: Vec<HostId> = heard(&mut town).into_keys().collect();
    let wanted: Vec<HostId> = town.hosts().into_iter().filter(|host| inside(town.member(*host))).collect();
    assert_eq!(heard, wanted);
    assert_eq!(done(&town, origin, start), Some((wanted.len() as u32, true)));
}

#[test]
fn every_living_member_hears_it_though_a_tenth_dies_meanwhile() {
    for seed in 1..4 {
        let mut town = Town::settled(200, "cones", seed);
        let dead: Vec<HostId> = (0..200).skip(seed as usize).step_by(10).map(HostId).collect();
        let origin = HostId(5 + u32::from(seed));
        town.world.broadcast(origin, 0, None, b"news");
        town.world.run_for(Duration::from_millis(150)).unwrap();
        for host in &dead {
            town.stop(*host, Stop::Kill);
        }
        town.world.run_for(Duration::from_secs(15)).unwrap();
        let heard = heard(&mut town);
        let deaf: Vec<HostId> = (0..200)
            .map(HostId)
            .filter(|host| !dead.contains(host) && *host != origin && !heard.contains_key(host))
            .collect();
        assert!(deaf.is_empty(), "{deaf:?} heard nothing");
        assert!(heard.values().all(|(times, _)| *times == 1));
    }
}
