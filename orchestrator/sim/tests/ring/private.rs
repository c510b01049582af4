//! Private overlays: found through the DHT of the public one, carried by it where nothing else goes.

use std::time::Duration;

use atoll_core::control::EventKind;
use atoll_topology::HostId;

use crate::town::Town;

fn connected(kind: &EventKind) -> bool {
    *kind == EventKind::Connected
}

#[test]
fn members_of_a_group_find_each_other_and_form_a_ring() {
    let mut town = Town::new(60, "cones", 1).grouped((0..60).step_by(3).map(HostId));
    town.start_all();
    let public = town.completes_within(Duration::from_secs(30));
    let private = town.group_completes_within(Duration::from_secs(60));
    println!("public {public:?}, private {private:?} later");
    town.world.run_for(Duration::from_secs(60)).unwrap();
    town.group_completes_within(Duration::from_secs(1));
}

#[test]
fn a_newcomer_is_in_both_rings_within_seconds() {
    let mut town = Town::new(80, "none", 2).grouped((0..80).step_by(4).map(HostId));
    for host in 0..70 {
        town.start(HostId(host));
    }
    town.completes_within(Duration::from_secs(30));
    town.group_completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(120)).unwrap();
    for host in 70..80 {
        let (host, start) = (HostId(host), town.world.now());
        town.join_group(host);
        town.start(host);
        town.world.run_for(Duration::from_secs(30)).unwrap();
        let since = |at: Option<atoll_core::Time>| at.map(|at| at.since(start));
        let public = since(town.first(host, "public", connected));
        let found = since(town.first(host, "group", |kind| matches!(kind, EventKind::Discovered { .. })));
        let private = since(town.first(host, "group", connected));
        println!("public {public:?}, answer {found:?}, private {private:?}");
        assert!(private.is_some_and(|private| private < Duration::from_secs(8)), "{private:?}");
    }
}

#[test]
fn many_new_pairs_at_once_form_one_private_ring() {
    for (population, seed) in [("none", 1), ("cones", 2), ("cones", 3), ("symmetric", 4)] {
        let mut town = Town::new(140, population, seed).secured("modelled");
        for host in 0..70 {
            town.start(HostId(host));
        }
        town.completes_within(Duration::from_secs(40));
        town.world.run_for(Duration::from_secs(60)).unwrap();
        for host in 70..140 {
            town.join_group(HostId(host));
            town.start(HostId(host));
        }
        let public = town.completes_within(Duration::from_secs(60));
        let private = public + town.group_completes_within(Duration::from_secs(120));
        println!("{population}: public {public:?}, private {private:?}");
    }
}
