//! Members come, go and die, and datagrams are lost; what was put stays.

use std::time::Duration;

use atoll_core::control::Reply;
use atoll_core::wire::{Key, points};
use atoll_sim::Stop;
use atoll_topology::{Fault, HostId, Loss};

use crate::ask::{HOUR, put, stored};
use crate::town::Town;
use crate::values::held;

const KEYS: usize = 40;

fn key(number: usize) -> String {
    format!("key {number}")
}

/// A town with values under forty keys.
fn filled(hosts: usize, seed: u8) -> Town {
    filled_where(hosts, "none", seed)
}

fn filled_where(hosts: usize, population: &str, seed: u8) -> Town {
    let mut town = Town::settled(hosts, population, seed);
    for number in 0..KEYS {
        let host = HostId((number % hosts) as u32);
        stored(&town.put(host, (&key(number), &format!("value {number}")), 2 * HOUR));
    }
    town.world.run_for(Duration::from_secs(5)).unwrap();
    town
}

#[track_caller]
fn finds_all(town: &mut Town, reader: u32) {
    for number in 0..KEYS {
        let found = town.get(HostId(reader), &key(number));
        assert_eq!(found.texts(), [format!("value {number}")], "{} {found:?}", key(number));
    }
}

#[test]
fn a_value_whose_root_crashes_is_found_at_once_and_held_nine_times_again() {
    let mut town = filled(50, 1);
    for host in [5, 6, 7, 8, 9] {
        town.stop(HostId(host), Stop::Kill);
        finds_all(&mut town, 30);
    }
    town.world.run_for(Duration::from_secs(400)).unwrap();
    assert_eq!(held(&mut town), (120.0, 240.0));
    finds_all(&mut town, 31);
}

#[test]
fn a_reading_puts_a_value_back_where_all_that_held_it_at_a_point_died_at_once() {
    let mut town = Town::settled(50, "none", 1);
    stored(&town.put(HostId(3), ("a", "1"), 10 * HOUR));
    town.world.run_for(Duration::from_secs(5)).unwrap();
    for point in 0..3 {
        assert_eq!(held(&mut town), (3.0, 6.0));
        let holders = town.holders(points(Key::named("a").place())[point]);
        holders.into_iter().for_each(|host| town.stop(host, Stop::Kill));
        town.completes_within(Duration::from_secs(60));
        // Neighbours compare once a minute; what none of them has stays away.
        town.world.run_for(Duration::from_secs(200)).unwrap();
        assert_eq!(held(&mut town), (2.0, 4.0));
        let reader = town.hosts().into_iter().find(|host| town.world.is_running(*host)).unwrap();
        assert_eq!(town.get(reader, "a").texts(), ["1"]);
        town.world.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(held(&mut town), (3.0, 6.0));
        holders.into_iter().for_each(|host| town.restart(host));
        town.completes_within(Duration::from_secs(60));
        town.world.run_for(Duration::from_secs(400)).unwrap();
    }
}

#[test]
fn what_a_root_has_not_passed_on_yet_is_with_its_neighbours_right_after_it_left() {
    let mut town = Town::settled(50, "none", 1);
    let [before, root, after] = town.holders(points(Key::named("many").place())[1]);
    let values = |town: &mut Town, host: HostId| {
        ["root", "copy"].map(|role| town.metric(host, "atoll_dht_values", role)).iter().sum::<f64>()
    };
    let writer = HostId((0..).find(|host| ![before, root, after].contains(&HostId(*host))).unwrap());
    for number in 0..60 {
        let value = format!("{number:0900}");
        town.world.request(writer, put("many", &value, HOUR));
    }
    while values(&mut town, root) < 60.0 {
        town.world.run_for(Duration::from_millis(10)).unwrap();
    }
    let [early, other] = [before, after].map(|host| values(&mut town, host));
    assert!(early < 30.0 && other < 30.0, "{early} and {other} were passed on already");
    town.stop(root, Stop::Leave);
    town.world.run_for(Duration::from_millis(150)).unwrap();
    assert_eq!([before, after].map(|host| values(&mut town, host)), [60.0, 60.0]);
}

#[test]
fn members_that_leave_take_nothing_with_them() {
    let mut town = filled(50, 1);
    for host in 0..20 {
        town.stop(HostId(host), Stop::Leave);
        town.world.run_for(Duration::from_secs(3)).unwrap();
    }
    finds_all(&mut town, 45);
    town.world.run_for(Duration::from_secs(400)).unwrap();
    assert_eq!(held(&mut town), (120.0, 240.0));
}

#[test]
fn where_nats_keep_members_apart_copies_are_handed_over_as_well() {
    let mut town = filled_where(60, "symmetric", 2);
    for turn in 0..16 {
        let host = HostId(3 * turn + 2);
        town.stop(host, if turn % 2 == 0 { Stop::Leave } else { Stop::Kill });
        town.world.run_for(Duration::from_secs(1)).unwrap();
        town.world.stop(host, Stop::Kill);
        town.world.run_for(Duration::from_secs(9)).unwrap();
        if turn % 4 > 1 {
            town.restart(host);
            town.world.run_for(Duration::from_secs(10)).unwrap();
        }
    }
    finds_all(&mut town, 4);
    town.completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(400)).unwrap();
    assert_eq!(held(&mut town), (120.0, 240.0));
    finds_all(&mut town, 10);
}

#[test]
fn a_newcomer_takes_over_what_it_is_nearest_to() {
    let mut town = Town::new(60, "none", 1);
    for host in 0..10 {
        town.start(HostId(host));
    }
    town.completes_within(Duration::from_secs(60));
    for number in 0..KEYS {
        stored(&town.put(HostId(3), (&key(number), &format!("value {number}")), 2 * HOUR));
    }
    for host in 10..60 {
        town.start(HostId(host));
        town.world.run_for(Duration::from_secs(1)).unwrap();
        let number = host as usize % KEYS;
        let found = town.get(HostId(host / 2), &key(number));
        assert_eq!(found.texts(), [format!("value {number}")]);
    }
    finds_all(&mut town, 55);
    town.world.run_for(Duration::from_secs(400)).unwrap();
    assert_eq!(held(&mut town), (120.0, 240.0));
}

#[test]
fn a_member_that_restarts_at_once_gets_back_what_it_held_before_anybody_believes_it_empty() {
    let mut town = filled(20, 1);
    for host in 1..20 {
        town.stop(HostId(host), Stop::Kill);
        town.restart(HostId(host));
        town.completes_within(Duration::from_secs(60));
        for wait in [0, 2, 4] {
            town.world.run_for(Duration::from_secs(wait)).unwrap();
            let number = (host as usize * 3 + wait as usize) % KEYS;
            let found = town.get(HostId(0), &key(number));
            assert_eq!(found.texts(), [format!("value {number}")]);
        }
    }
    finds_all(&mut town, 5);
}

#[test]
fn a_tenth_of_all_datagrams_lost_loses_no_value() {
    let mut town = Town::settled(50, "none", 1);
    let loss = Loss { independent: 0.1, ..Loss::default() };
    town.world.apply(&Fault::Loss { sites: None, loss });
    for number in 0..KEYS {
        stored(&town.put(HostId(number as u32), (&key(number), &format!("value {number}")), HOUR));
        assert!(!matches!(town.create(HostId(3), (&key(number), "x"), HOUR), Reply::DhtStored { .. }));
    }
    finds_all(&mut town, 45);
    let again = town.create(HostId(4), ("created", "once"), HOUR);
    stored(&again);
    assert_eq!(town.create(HostId(5), ("created", "twice"), HOUR), Reply::DhtExists);
}

#[test]
fn at_rest_without_values_it_sends_nothing_and_with_some_little() {
    let sent =
        |town: &Town| -> u64 { town.hosts().iter().map(|host| town.world.traffic(*host).sent_bytes).sum() };
    // Members rest ever more, so that those with values are compared with others of the same age.
    let at_rest = |values: usize| {
        let mut town = Town::settled(50, "none", 1);
        for number in 0..values {
            town.world.request(HostId((number % 50) as u32), put(&key(number), "value", 4 * HOUR));
        }
        town.world.run_for(Duration::from_secs(1800)).unwrap();
        let before = sent(&town);
        town.world.run_for(Duration::from_secs(1800)).unwrap();
        assert_eq!(held(&mut town), (3.0 * values as f64, 6.0 * values as f64));
        (sent(&town) - before) as f64 / 1800.0 / 50.0
    };
    let [empty, some, many] = [0, KEYS, 10 * KEYS].map(at_rest);
    println!(
        "bytes a second and member at rest: {empty:.1} without values, {some:.1} with {KEYS}, {many:.1} with {}",
        10 * KEYS
    );
    assert!(some - empty < 8.0 && many - empty < 12.0, "{empty} {some} {many}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = || {
        let mut town = filled(30, 7);
        town.stop(HostId(5), Stop::Kill);
        town.stop(HostId(9), Stop::Leave);
        town.world.run_for(Duration::from_secs(120)).unwrap();
        town.world.trace_hash()
    };
    assert_eq!(run(), run());
}
