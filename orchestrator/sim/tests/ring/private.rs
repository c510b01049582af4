//! Private overlays: found through the DHT of the public one, carried by it where nothing else goes.

use std::time::Duration;

use atoll_core::control::EventKind;
use atoll_sim::Stop;
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
fn whom_others_found_before_it_found_anybody_knows_that_it_is_connected() {
    let mut town = Town::new(80, "none", 3);
    for host in 0..40 {
        town.start(HostId(host));
    }
    town.completes_within(Duration::from_secs(30));
    for host in 40..80 {
        town.join_group(HostId(host));
        town.start(HostId(host));
    }
    town.group_completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(10)).unwrap();
    for host in 40..80 {
        assert!(town.first(HostId(host), "group", connected).is_some(), "{host} says that it still joins");
    }
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

#[test]
fn who_leaves_makes_nobody_look_for_members_and_who_vanishes_does() {
    let mut town = Town::new(60, "none", 5).grouped((0..60).step_by(4).map(HostId));
    town.start_all();
    town.completes_within(Duration::from_secs(30));
    town.group_completes_within(Duration::from_secs(60));
    // Their timers have doubled so often that none of them is due in the next minute but by chance.
    town.world.run_for(Duration::from_secs(4 * 3600)).unwrap();
    let after = |town: &mut Town, host: u32, how: Stop| {
        let before = looks(town);
        town.stop(HostId(host), how);
        town.world.run_for(Duration::from_secs(40)).unwrap();
        looks(town) - before
    };
    let left = after(&mut town, 8, Stop::Leave);
    let vanished = after(&mut town, 24, Stop::Kill);
    assert!(left <= 1.0, "{left} looks after a leave");
    assert!(vanished >= 2.0, "both neighbours look after a crash: {vanished}");
}

/// How often the members of the group that never stop have looked for others.
fn looks(town: &mut Town) -> f64 {
    let hosts = (0..60).step_by(4).filter(|host| ![8, 24].contains(host)).map(HostId);
    hosts.map(|host| town.metric(host, "atoll_discovery_looks_total", "group")).sum()
}

/// Two are alone in their group, one of them is gone: the other one is connected, and takes in who comes next.
fn is_connected_alone(how: Stop, limit: Duration) {
    let mut town = Town::new(20, "none", 6).grouped([3, 11].map(HostId));
    for host in 0..19 {
        town.start(HostId(host));
    }
    town.completes_within(Duration::from_secs(30));
    town.group_completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(120)).unwrap();
    let gone = town.world.now();
    town.stop(HostId(3), how);
    town.world.run_for(limit).unwrap();
    let is_last = |kind: &&EventKind| matches!(kind, EventKind::Connected | EventKind::Disconnected);
    let told = town.told_in(HostId(11), "group", gone);
    assert_eq!(told.iter().rfind(is_last), Some(&EventKind::Connected), "{told:?}");
    town.join_group(HostId(19));
    let start = town.world.now();
    town.start(HostId(19));
    town.world.run_for(Duration::from_secs(30)).unwrap();
    let joined = town.told_in(HostId(19), "group", start);
    assert!(joined.contains(&EventKind::Connected), "{joined:?}");
}

#[test]
fn whoever_is_left_alone_by_a_goodbye_is_connected() {
    is_connected_alone(Stop::Leave, Duration::from_secs(30));
}

#[test]
fn whoever_is_left_alone_by_a_crash_is_connected() {
    is_connected_alone(Stop::Kill, Duration::from_secs(180));
}
