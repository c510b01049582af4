//! Members die and leave; those who stay close the ring.

use std::time::Duration;

use atoll_core::control::{Command, Reply};
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
    let mut sides = [Vec::new(), Vec::new()];
    for (number, host) in town.hosts().into_iter().enumerate() {
        sides[number % 2].push(town.world.internet().host(host).site);
    }
    town.world.apply(&Fault::Partition { name: "cut".to_owned(), sides });
}

fn mend(town: &mut Town) {
    town.world.apply(&Fault::Heal { name: "cut".to_owned() });
}

#[test]
fn two_halves_are_one_ring_within_a_minute_of_the_end_of_a_cut() {
    for (population, minutes, seed) in [("cones", 2, 1), ("none", 10, 2), ("cones", 60, 3), ("cones", 600, 4)]
    {
        let mut town = Town::settled(60, population, seed);
        cut(&mut town);
        town.world.run_for(Duration::from_secs(60 * minutes)).unwrap();
        assert!(town.wrong() > 30, "the cut does nothing");
        mend(&mut town);
        let took = town.completes_within(Duration::from_secs(300));
        println!("{population}, {minutes} min: {took:?}");
        assert!(took < Duration::from_secs(60), "{took:?}");
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
        mend(&mut town);
        let took = town.completes_within(Duration::from_secs(300));
        println!("{took:?}");
        assert!(took < Duration::from_secs(60), "{took:?}");
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
