//! Members of the public overlay that pass nothing on for the edges of private ones.

use std::time::Duration;

use atoll_core::control::EventKind;
use atoll_core::wire::PacketKind;
use atoll_topology::HostId;

use crate::spoiler::Spoil;
use crate::town::Town;

/// A public ring of 60, and a private one of the first 40 of those with an even number.
fn settled(population: &str, seed: u8) -> Town {
    let group = (0..40).step_by(2).map(HostId);
    let mut town = Town::new(60, population, seed).secured("modelled").corruptible().grouped(group);
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    town.group_completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(60)).unwrap();
    town
}

/// Packets that these hosts did not pass on.
fn spoiled(town: &mut Town, hosts: &[HostId]) -> u64 {
    hosts.iter().map(|host| town.switch(*host).spoiled()).sum()
}

#[test]
fn a_private_ring_forms_and_stays_though_a_sixth_of_the_public_members_pass_nothing_on() {
    for (population, spoil) in [
        ("cones", Spoil::Drop),
        ("symmetric", Spoil::Drop),
        ("symmetric", Spoil::Alter),
        ("symmetric", Spoil::Delay(Duration::from_secs(4))),
    ] {
        let group: Vec<HostId> = (0..60).step_by(2).map(HostId).collect();
        let mut town = Town::new(60, population, 5).secured("modelled").corruptible();
        town.start_all();
        town.completes_within(Duration::from_secs(60));
        let spoilers: Vec<HostId> = (1..60).step_by(6).map(HostId).collect();
        for host in &spoilers {
            town.turn(*host, Some((PacketKind::Edge, spoil)));
        }
        for host in &group {
            town.join_group(*host);
            town.restart(*host);
        }
        let took = town.group_completes_within(Duration::from_secs(120));
        let (since, count) = (town.world.now(), spoiled(&mut town, &spoilers));
        println!("{population}, {spoil:?}: {took:?}, {count} spoiled");
        assert!(count > 50, "{population}, {spoil:?}: only {count} packets came to spoilers");
        town.world.run_for(Duration::from_secs(300)).unwrap();
        town.group_completes_within(Duration::from_secs(1));
        assert!(town.is_complete(), "{population}, {spoil:?}: {} have wrong neighbours", town.wrong());
        for host in group {
            let told = town.told_since(host, since);
            assert!(!told.contains(&EventKind::Disconnected), "{population}, {spoil:?}: {host:?}");
        }
    }
}

#[test]
fn newcomers_find_their_place_in_a_private_ring_though_their_public_neighbours_pass_nothing_on() {
    let mut dropped = 0;
    for (population, seed) in [("cones", 6), ("symmetric", 7)] {
        let mut town = settled(population, seed);
        for host in [1, 11, 21, 31, 41, 51].map(HostId) {
            let near = town.neighbours(host);
            for one in near {
                town.turn(one, Some((PacketKind::Edge, Spoil::Drop)));
            }
            town.stop(host, atoll_sim::Stop::Leave);
            town.world.run_for(Duration::from_secs(10)).unwrap();
            town.join_group(host);
            town.restart(host);
            let took = town.group_completes_within(Duration::from_secs(90));
            dropped += spoiled(&mut town, &near);
            println!("{population}: {took:?}");
        }
        town.completes_within(Duration::from_secs(10));
        town.world.run_for(Duration::from_secs(60)).unwrap();
        town.group_completes_within(Duration::from_secs(1));
    }
    assert!(dropped > 0, "nothing was there to drop");
}
