//! Members that start together form one ring.

use std::time::Duration;

use atoll_core::control::{Command, EventKind, Reply};

use crate::town::Town;

const OVERLAY: &str = "public";

fn forms(members: usize, population: &str) -> Duration {
    let mut town = Town::new(members, population, 1);
    town.start_all();
    let took = town.completes_within(Duration::from_secs(15));
    town.world.run_for(Duration::from_secs(120)).unwrap();
    assert_eq!(town.wrong(), 0, "the ring does not last");
    took
}

#[test]
fn two_members_form_a_ring() {
    forms(2, "none");
}

#[test]
fn twenty_members_form_a_ring() {
    forms(20, "none");
}

#[test]
fn a_hundred_members_form_a_ring_within_six_seconds() {
    assert!(forms(100, "none") <= Duration::from_secs(6));
}

#[test]
fn three_hundred_members_form_a_ring_within_six_seconds() {
    assert!(forms(300, "none") <= Duration::from_secs(6));
}

#[test]
fn two_hundred_members_behind_cones_form_a_ring() {
    forms(200, "cones");
}

#[test]
fn every_seed_forms_a_ring() {
    for seed in 2..12 {
        let mut town = Town::new(40, "cones", seed);
        town.start_all();
        town.completes_within(Duration::from_secs(15));
    }
}

#[test]
fn members_that_join_one_after_the_other_find_their_places() {
    let mut town = Town::settled(50, "none", 1);
    for host in town.hosts().into_iter().skip(9).step_by(10) {
        town.stop(host, atoll_sim::Stop::Kill);
        town.world.run_for(Duration::from_secs(60)).unwrap();
        town.start(host);
        assert!(town.completes_within(Duration::from_secs(5)) > Duration::ZERO);
    }
}

#[test]
fn the_same_seed_gives_the_same_ring_in_the_same_steps() {
    let run = |seed| {
        let mut town = Town::new(60, "cones", seed);
        town.start_all();
        town.world.run_for(Duration::from_secs(30)).unwrap();
        (town.world.trace_hash(), town.world.counters())
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first.0, run(2).0);
}

/// Members are connected before all of them are in their places, where packets can still go astray.
#[test]
fn pings_that_are_sent_as_soon_as_everybody_is_connected_are_answered() {
    let (mut pings, mut repeated) = (0, 0);
    for seed in 1..21 {
        let mut town = Town::new(8, "cones", seed);
        town.start_all();
        let hosts = town.hosts();
        let is_connected =
            |town: &Town, host| town.first(host, OVERLAY, |kind| *kind == EventKind::Connected);
        while !hosts.iter().all(|host| is_connected(&town, *host).is_some()) {
            town.world.run_for(Duration::from_millis(10)).unwrap();
        }
        let (pairs, asked) =
            (hosts.iter().flat_map(|from| hosts.iter().map(move |to| (*from, *to))), town.world.now());
        let asks: Vec<_> = pairs
            .map(|(from, to)| {
                let command = Command::Ping { overlay: OVERLAY.to_owned(), address: town.member(to) };
                town.world.request(from, command)
            })
            .collect();
        town.world.run_for(Duration::from_secs(10)).unwrap();
        for id in asks {
            let (at, reply) = town.world.take_reply(id).unwrap();
            assert!(matches!(reply, Reply::Ping { .. }), "seed {seed}: {reply:?}");
            pings += 1;
            repeated += u32::from(at.since(asked) > Duration::from_secs(1));
        }
    }
    println!("{repeated} of {pings} pings were asked again");
}
