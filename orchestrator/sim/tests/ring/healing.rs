//! Members die and leave; those who stay close the ring.

use std::time::Duration;

use atoll_core::control::{Command, EventKind, Reply};
use atoll_core::wire::Address;
use atoll_core::{Rng, Time};
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

/// Cuts the two parts off from each other.
fn cut_off(town: &mut Town, parts: &[Vec<HostId>; 2]) {
    let site = |host: &HostId| town.world.internet().host(*host).site;
    let sides = parts.each_ref().map(|part| part.iter().map(site).collect());
    town.world.apply(&Fault::Partition { name: "cut".to_owned(), sides });
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
        mend(&mut town);
        let took = town.completes_within(Duration::from_secs(300));
        println!("{population}, {minutes} min: {took:?}");
        assert!(took < Duration::from_secs(60), "{population}, {minutes} min: {took:?}");
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
        mend(&mut town);
        let took = town.completes_within(Duration::from_secs(300));
        println!("{population}, {minutes} min: {took:?}");
        assert!(took < Duration::from_secs(60), "{population}, {minutes} min: {took:?}");
    }
}

/// When members first closed a connection that nobody needs, and whose those were.
fn closings(town: &Town) -> Vec<(Time, [HostId; 2])> {
    let closings = town.hosts().into_iter().filter_map(|host| {
        let is_closing =
            |kind: &EventKind| matches!(kind, EventKind::PeerLost { why, .. } if why == "no longer needed");
        let at = town.first(host, "public", is_closing)?;
        let EventKind::PeerLost { peer, .. } = town.told_since(host, at).into_iter().find(is_closing)? else {
            return None;
        };
        Some((at, [host, town.host(peer)?]))
    });
    let mut closings: Vec<_> = closings.collect();
    closings.sort();
    closings
}

fn of_twenty((secured, seed): (&'static str, u8)) -> Town {
    let mut town = Town::new(20, "none", seed).secured(secured);
    town.start_all();
    town
}

/// How often a host was told since then that it lost its connection to another's member.
fn losses(town: &Town, [of, host]: [HostId; 2], since: Time) -> usize {
    let member = town.member(of);
    let kinds = town.told_since(host, since).into_iter();
    kinds.filter(|kind| matches!(kind, EventKind::PeerLost { peer, .. } if *peer == member)).count()
}

/// A town in which one closed its connection to another while the two were cut off from each other, which is over. That it
/// would do so soon the other one heard too late to do the same before it is asked.
fn unheard(which: (&'static str, u8), (at, [closes, hears]): (Time, [HostId; 2])) -> Town {
    let mut town = of_twenty(which);
    let millis = Duration::from_millis;
    let sides = [closes, hears].map(|host| vec![town.world.internet().host(host).site]);
    // An unwanted connection is closed after five seconds.
    for (before, span) in [(millis(5010), millis(1400)), (millis(10), millis(400))] {
        town.world.run_until(Time::ZERO + at.since(Time::ZERO).saturating_sub(before)).unwrap();
        town.world.apply(&Fault::Partition { name: "cut".to_owned(), sides: sides.clone() });
        town.world.run_for(span).unwrap();
        mend(&mut town);
    }
    town.world.run_for(millis(400)).unwrap();
    town
}

/// The first such town in which the one still closes and the other one still believes in the connection.
fn still_believes(which: (&'static str, u8)) -> Option<(Town, Time, [HostId; 2])> {
    let mut town = of_twenty(which);
    town.world.run_for(Duration::from_secs(30)).unwrap();
    let is_first =
        |(at, pair): &(Time, [HostId; 2])| losses(&town, *pair, Time::ZERO) == losses(&town, *pair, *at);
    closings(&town).into_iter().filter(is_first).find_map(|(at, pair)| {
        let town = unheard(which, (at, pair));
        let [closed, heard] = [[pair[1], pair[0]], pair].map(|pair| losses(&town, pair, at));
        (closed == 1 && heard == 0).then_some((town, at, pair))
    })
}

#[test]
fn a_peer_that_did_not_hear_a_connection_close_is_told_again_when_it_sends() {
    for secured in ["none", "modelled", "dtls"] {
        let found = (1..10).find_map(|seed| still_believes((secured, seed)));
        let (mut town, at, [closes, hears]) = found.expect("one of nine towns has such a pair");
        let asked = town.world.now();
        let command = Command::Ping { overlay: "public".to_owned(), address: town.member(closes) };
        let ping = town.world.request(hears, command);
        // A ring of 20 and 100 ms one way: to the peer and back, and then the long way.
        town.world.run_for(Duration::from_millis(300)).unwrap();
        assert_eq!(losses(&town, [closes, hears], at), 1, "{secured}: it still believes in the connection");
        town.world.run_for(Duration::from_millis(1200)).unwrap();
        let (answered, reply) = town.world.take_reply(ping).expect("a ping is answered by another way");
        println!("{secured}: {reply:?} after {:?}", answered.since(asked));
        assert!(matches!(reply, Reply::Ping { .. }), "{secured}: {reply:?}");
    }
}
