//! Members die and leave; those who stay close the ring.

use std::time::Duration;

use atoll_core::Time;
use atoll_core::control::{Command, EventKind, Reply};
use atoll_sim::Stop;
use atoll_topology::{Fault, HostId};

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

/// When the first member closed a connection that nobody needs, and whose that was.
fn first_closing(town: &Town) -> (Time, [HostId; 2]) {
    let closings = town.hosts().into_iter().filter_map(|host| {
        let is_closing =
            |kind: &EventKind| matches!(kind, EventKind::PeerLost { why, .. } if why == "no longer needed");
        let at = town.first(host, "public", is_closing)?;
        let EventKind::PeerLost { peer, .. } = town.told_since(host, at).into_iter().find(is_closing)? else {
            return None;
        };
        Some((at, [host, town.host(peer)?]))
    });
    closings.min_by_key(|(at, _)| *at).expect("somebody has a connection too many")
}

#[test]
fn a_peer_that_did_not_hear_a_connection_close_is_told_again_when_it_sends() {
    let millis = Duration::from_millis;
    let start = |secured: &'static str| {
        let mut town = Town::new(20, "none", 3).secured(secured);
        town.start_all();
        town
    };
    for secured in ["none", "modelled", "dtls"] {
        let mut town = start(secured);
        town.world.run_for(Duration::from_secs(30)).unwrap();
        let (at, [closes, hears]) = first_closing(&town);

        let mut town = start(secured);
        town.world.run_for(at.since(Time::ZERO).saturating_sub(millis(10))).unwrap();
        let sides = [closes, hears].map(|host| vec![town.world.internet().host(host).site]);
        town.world.apply(&Fault::Partition { name: "cut".to_owned(), sides });
        town.world.run_for(millis(400)).unwrap();
        mend(&mut town);
        town.world.run_for(millis(400)).unwrap();
        let asked = town.world.now();
        let lost = |town: &Town| {
            let member = town.member(closes);
            let kinds = town.told_since(hears, at).into_iter();
            kinds.filter(|kind| matches!(kind, EventKind::PeerLost { peer, .. } if *peer == member)).count()
        };
        assert_eq!(lost(&town), 0, "{secured}: it has heard it");
        let command = Command::Ping { overlay: "public".to_owned(), address: town.member(closes) };
        let ping = town.world.request(hears, command);
        // A ring of 20 and 100 ms one way: to the peer and back, and then the long way.
        town.world.run_for(millis(1500)).unwrap();
        assert_eq!(lost(&town), 1, "{secured}: it still believes in the connection");
        let (answered, reply) = town.world.take_reply(ping).expect("a ping is answered by another way");
        println!("{secured}: {reply:?} after {:?}", answered.since(asked));
        assert!(matches!(reply, Reply::Ping { .. }), "{secured}: {reply:?}");
    }
}
