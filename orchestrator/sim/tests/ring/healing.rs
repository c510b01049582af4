//! Members die and leave; those who stay close the ring.

use std::time::Duration;

use atoll_core::Rng;
use atoll_core::control::{Command, Reply};
use atoll_core::wire::Address;
use atoll_sim::Stop;
use atoll_topology::{Fault, HostId, Loss};

use crate::town::Town;

#[test]
fn a_silent_death_at_rest_is_healed_within_fifteen_seconds() {
    let mut town = Town::settled(100, "none", 1);
    for host in [7, 50, 93] {
        town.stop(HostId(host), Stop::Kill);
        assert_eq!(town.wrong(), 2, "both neighbours still believe in it");
        town.completes_within(Duration::from_secs(15));
        town.world.run_for(Duration::from_secs(60)).unwrap();
        assert_eq!(town.wrong(), 0, "the dead came back");
    }
}

#[test]
fn a_silent_death_behind_cones_is_healed_within_twenty_seconds() {
    let mut town = Town::settled(100, "cones", 1);
    town.stop(HostId(42), Stop::Kill);
    town.completes_within(Duration::from_secs(20));
}

#[test]
fn a_clean_leave_is_healed_within_a_second() {
    let mut town = Town::settled(100, "none", 1);
    for host in [7, 50, 93] {
        town.stop(HostId(host), Stop::Leave);
        town.completes_within(Duration::from_secs(1));
        assert!(!town.world.is_running(HostId(host)) || town.world.run_for(Duration::from_secs(3)).is_ok());
        assert!(!town.world.is_running(HostId(host)), "it is gone after its grace");
        assert_eq!(town.wrong(), 0);
    }
}

#[test]
fn three_neighbours_that_die_together_leave_a_ring() {
    let mut town = Town::settled(100, "none", 1);
    let [before, after] = town.neighbours(HostId(30));
    for host in [before, HostId(30), after] {
        town.stop(host, Stop::Kill);
    }
    town.completes_within(Duration::from_secs(30));
}

#[test]
fn a_tenth_that_dies_at_once_leaves_a_ring() {
    let mut town = Town::settled(100, "none", 1);
    for host in (0..100).step_by(10).map(HostId) {
        town.stop(host, Stop::Kill);
    }
    town.completes_within(Duration::from_secs(60));
}

#[test]
fn a_member_that_restarts_at_its_old_address_finds_its_place() {
    let mut town = Town::settled(50, "none", 1);
    let (host, member) = (HostId(20), town.member(HostId(20)));
    town.stop(host, Stop::Kill);
    town.start_at(host, member, &[HostId(0)]);
    town.completes_within(Duration::from_secs(30));
}

#[test]
fn at_rest_nothing_is_lost_and_little_is_sent() {
    let mut town = Town::settled(50, "cones", 1);
    let sent =
        |town: &Town| -> u64 { town.hosts().iter().map(|host| town.world.traffic(*host).sent_bytes).sum() };
    let before = sent(&town);
    town.world.run_for(Duration::from_secs(3600)).unwrap();
    assert_eq!(town.wrong(), 0);
    let rate = (sent(&town) - before) as f64 / 3600.0 / 50.0;
    assert!(rate <= 30.0, "each member sends {rate:.1} bytes/s");
}

/// Cuts the town in two halves by their sites.
fn cut(town: &mut Town) {
    let mut halves = [Vec::new(), Vec::new()];
    for (number, host) in town.hosts().into_iter().enumerate() {
        halves[number % 2].push(host);
    }
    cut_off(town, &halves);
}

/// Cuts the two parts off from each other.
fn cut_off(town: &mut Town, parts: &[Vec<HostId>; 2]) {
    let site = |host: &HostId| town.world.internet().host(*host).site;
    let sides = parts.each_ref().map(|part| part.iter().map(site).collect());
    town.world.apply(&Fault::Partition { name: "cut".to_owned(), sides });
}

/// The cut ends, and a minute later at most there is one ring.
fn mend(town: &mut Town, which: &str) {
    town.world.apply(&Fault::Heal { name: "cut".to_owned() });
    let took = town.completes_within(Duration::from_secs(300));
    println!("{which}: {took:?}");
    assert!(took < Duration::from_secs(60), "{which}: {took:?}");
}

#[test]
fn two_halves_are_one_ring_within_a_minute_of_the_end_of_a_cut() {
    for (population, minutes, seed) in [("cones", 2, 1), ("none", 10, 2), ("cones", 60, 3), ("cones", 600, 4)]
    {
        let mut town = Town::settled(60, population, seed);
        cut(&mut town);
        town.world.run_for(Duration::from_secs(60 * minutes)).unwrap();
        assert!(town.wrong() > 30, "the cut does nothing");
        mend(&mut town, &format!("{population}, {minutes} min"));
    }
}

#[test]
fn a_cut_in_the_middle_of_a_mass_start_heals_too() {
    for seed in 1..10 {
        let mut town = Town::new(60, "cones", seed);
        town.start_all();
        town.world.run_for(Duration::from_millis(700)).unwrap();
        cut(&mut town);
        town.world.run_for(Duration::from_secs(300)).unwrap();
        mend(&mut town, &format!("seed {seed}"));
    }
}

/// Five that share their sites with nobody, a public one first, and the others.
fn parts(town: &Town) -> [Vec<HostId>; 2] {
    let site = |host: &HostId| town.world.internet().host(*host).site;
    let is_alone = |host: &HostId| town.hosts().iter().filter(|other| site(other) == site(host)).count() == 1;
    let mut alone: Vec<HostId> = town.hosts().into_iter().rev().filter(is_alone).collect();
    let first = alone.iter().position(|host| town.world.internet().host(*host).is_public()).unwrap();
    alone[..=first].rotate_right(1);
    let small: Vec<HostId> = alone.into_iter().take(5).collect();
    let large = town.hosts().into_iter().filter(|host| !small.contains(host)).collect();
    [small, large]
}

fn addresses(count: usize) -> Vec<Address> {
    let mut rng = Rng::new([count as u8; 32]).fork("part");
    let mut address = || {
        let mut address = [0; Address::LEN];
        rng.fill(&mut address);
        Address::from_bytes(address)
    };
    (0..count).map(|_| address()).collect()
}

/// Starts a ring of these: the first begins it, the others know the public ones before them, and `other`.
fn begin_anew(town: &mut Town, (part, addresses): (&[HostId], &[Address]), other: Option<HostId>) {
    let mut known = Vec::new();
    for (host, address) in part.iter().zip(addresses) {
        let other = other.filter(|_| !known.is_empty());
        let bootstraps: Vec<HostId> = known.iter().copied().chain(other).collect();
        town.start_at(*host, *address, &bootstraps);
        if town.world.internet().host(*host).is_public() && known.len() < 4 {
            known.push(*host);
        }
    }
}

#[test]
fn a_small_part_that_knows_nobody_of_the_other_is_found_by_it() {
    for (population, minutes, seed) in [("none", 3, 1), ("cones", 10, 2), ("none", 60, 3), ("cones", 60, 4)] {
        let mut town = Town::settled(60, population, seed);
        let parts = parts(&town);
        cut_off(&mut town, &parts);
        let addresses: Vec<Address> = parts[0].iter().map(|host| town.member(*host)).collect();
        begin_anew(&mut town, (&parts[0], &addresses), None);
        town.world.run_for(Duration::from_secs(60 * minutes)).unwrap();
        assert!(town.wrong() > 4, "the cut does nothing");
        mend(&mut town, &format!("{population}, {minutes} min"));
    }
}

#[test]
fn a_large_part_that_never_knew_the_other_is_found_by_it() {
    for (population, minutes, seed) in [("none", 3, 1), ("cones", 10, 2), ("none", 60, 3), ("cones", 60, 4)] {
        let mut town = Town::new(60, population, seed);
        let parts = parts(&town);
        cut_off(&mut town, &parts);
        let is_public = |host: &HostId| town.world.internet().host(*host).is_public();
        let other = parts[1].iter().copied().find(is_public);
        let mut large = parts[1].clone();
        large.sort_by_key(|host| Some(*host) != other);
        begin_anew(&mut town, (&large, &addresses(55)), None);
        town.completes_within(Duration::from_secs(60));
        begin_anew(&mut town, (&parts[0], &addresses(5)), other);
        town.world.run_for(Duration::from_secs(60 * minutes)).unwrap();
        assert!(town.wrong() > 4, "the cut does nothing");
        mend(&mut town, &format!("{population}, {minutes} min"));
    }
}

#[test]
fn nobody_is_avoided_long_after_what_it_did_not_acknowledge() {
    for seed in 1..9 {
        let mut town = Town::new(40, "cones", seed);
        let lose = |town: &mut Town, ratio: f64| {
            let loss = Loss { independent: ratio, burst: None };
            town.world.apply(&Fault::Loss { sites: None, loss });
        };
        lose(&mut town, 0.4);
        town.start_all();
        town.world.run_for(Duration::from_secs(8)).unwrap();
        lose(&mut town, 0.0);
        town.world.run_for(Duration::from_secs(20)).unwrap();
        let mut peers = 0;
        for host in town.hosts() {
            let command = Command::Peers { overlay: "public".to_owned() };
            let Reply::Peers(own) = town.world.command(host, command) else { panic!("peers") };
            let avoided: Vec<_> = own.iter().filter(|peer| peer.avoided).collect();
            assert!(avoided.is_empty(), "seed {seed}, {host:?}: {avoided:?}");
            peers += own.len();
        }
        assert!(peers > 4 * 40, "seed {seed}: there is hardly anybody");
    }
}
