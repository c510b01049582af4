//! Wall clocks that step, of members of a private overlay whose certificates begin and end.

use std::time::Duration;

use atoll_core::control::{Command, Reply, State};
use atoll_core::wire::Address;
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::ask::{self, HOUR, stored};
use crate::strangers::{self, Judge, Stranger};
use crate::town::Town;

const GROUP: &str = "group";
const DAY: i64 = 86_400;
/// What the simulator's clocks show at first, in seconds since 1970.
const BEGIN: i64 = 1_767_225_600;
/// Certificates begin a month before and end most of a year later.
const VALID: (i64, i64) = (BEGIN - 30 * DAY, BEGIN + 300 * DAY);
/// A little and back, and beyond all certificates on either side.
const STEPS: [i64; 4] = [3600, -3600, 400 * DAY, -400 * DAY];
const STRANGERS: u32 = 5;

/// A private overlay of a quarter of 40, with strangers who try to get in.
fn settled(population: &str, seed: u8) -> (Town, Vec<HostId>) {
    let judge: Judge = |host| match host.0 {
        0..40 => None,
        _ => Some(Stranger::OwnAuthority),
    };
    let mut town = strangers::town(population, seed, judge, VALID);
    let group: Vec<HostId> = (0..40).step_by(4).map(HostId).collect();
    group.iter().for_each(|host| town.join_group(*host));
    (40..40 + STRANGERS).for_each(|host| town.let_intrude(HostId(host)));
    (0..40 + STRANGERS).for_each(|host| town.start(HostId(host)));
    town.completes_within(Duration::from_secs(60));
    town.group_completes_within(Duration::from_secs(90));
    town.world.run_for(Duration::from_secs(60)).unwrap();
    (town, group)
}

/// Values that are found under a key in the private overlay.
fn private_values(town: &mut Town, host: HostId, key: &str) -> usize {
    let command = Command::DhtGet { overlay: GROUP.into(), key: key.into(), owner: None, after: None };
    match town.ask(host, command) {
        Reply::DhtValues { values, .. } => values.len(),
        other => panic!("{other:?}"),
    }
}

fn nobody_else_is_in(town: &mut Town, group: &[HostId]) {
    let members: Vec<Address> = group.iter().map(|host| town.group_member(*host)).collect();
    for host in group {
        let peers = town.peers_in(*host, GROUP);
        assert!(peers.iter().all(|peer| members.contains(&peer.address)), "{host:?}: {peers:?}");
    }
    for host in (40..40 + STRANGERS).map(HostId) {
        assert!(town.peers_in(host, GROUP).is_empty(), "{host:?} is in");
    }
}

#[test]
fn a_clock_that_steps_and_comes_back_loses_no_value_and_lets_nobody_in_and_the_rings_are_whole_again() {
    for (population, seed) in [("cones", 3), ("symmetric", 4)] {
        let (mut town, group) = settled(population, seed);
        for number in 0..4 {
            let (host, value) = (group[number * 2], format!("value {number}"));
            stored(&town.put(host, ("public", &value), 10 * HOUR));
            let (overlay, key) = (GROUP.to_owned(), "private".to_owned());
            let (value, lease_seconds) = (value.into_bytes(), 10 * HOUR);
            stored(&town.ask(host, Command::DhtPut { overlay, key, value, lease_seconds, owned: false }));
        }
        for (turn, off) in STEPS.into_iter().enumerate() {
            let host = group[turn * 2 + 1];
            town.world.set_clock(host, off);
            town.world.run_for(Duration::from_secs(120)).unwrap();
            assert!(town.is_complete(), "{off} s: {} have wrong public neighbours", town.wrong());
            if off.abs() < DAY {
                town.group_completes_within(Duration::from_secs(1));
            }
            nobody_else_is_in(&mut town, &group);
            town.world.set_clock(host, 0);
            let took = town.group_completes_within(Duration::from_secs(180));
            println!("{population}, {off} s: {took:?}");
            town.world.run_for(Duration::from_secs(60)).unwrap();
            town.group_completes_within(Duration::from_secs(1));
            nobody_else_is_in(&mut town, &group);
            for reader in [group[0], host] {
                assert_eq!(town.get(reader, "public").values.len(), 4, "{population}, {off} s, {reader:?}");
                assert_eq!(
                    private_values(&mut town, reader, "private"),
                    4,
                    "{population}, {off} s, {reader:?}"
                );
            }
        }
    }
}

#[test]
fn an_owned_value_that_is_put_again_after_a_step_back_replaces_the_last_one_even_after_a_restart() {
    let mut town = Town::new(30, "cones", 5).secured("dtls");
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    let (writer, reader) = (HostId(7), HostId(22));
    let owner = Some(town.member(writer));
    let is_now = |town: &mut Town, value: &str| {
        stored(&town.ask(writer, ask::put_owned("k", value, HOUR)));
        assert_eq!(town.get_of(reader, "k", owner).texts(), [value]);
    };
    is_now(&mut town, "at the right time");
    for off in STEPS {
        town.world.set_clock(writer, off);
        is_now(&mut town, &format!("{off} s off"));
        town.world.set_clock(writer, 0);
        is_now(&mut town, &format!("back from {off} s"));
    }
    for off in [3600, 400 * DAY] {
        town.world.set_clock(writer, off);
        is_now(&mut town, &format!("{off} s off again"));
        town.stop(writer, Stop::Kill);
        town.world.set_clock(writer, 0);
        town.restart(writer);
        town.completes_within(Duration::from_secs(60));
        is_now(&mut town, &format!("after a restart, back from {off} s"));
    }
}

/// Where a host's member stands in the private overlay, and why somebody refused it.
fn standing(town: &mut Town, host: HostId) -> (State, Option<String>) {
    let Reply::Status(overlays) = town.world.command(host, Command::Status) else { panic!("no status") };
    let own = overlays.into_iter().find(|status| status.overlay == GROUP).unwrap();
    (own.state, own.refused)
}

#[test]
fn whom_a_member_with_a_wrong_clock_refuses_is_not_the_first_while_that_goes_on() {
    let (mut town, group) = settled("none", 5);
    let (wrong, own) = (group[1], group[2]);
    town.world.set_clock(wrong, 400 * DAY);
    town.world.run_for(Duration::from_secs(60)).unwrap();
    for host in group.iter().filter(|host| ![wrong, own].contains(*host)) {
        town.stop(*host, Stop::Leave);
    }
    town.world.run_for(Duration::from_secs(180)).unwrap();
    let expired = Some("the peer says that our membership has expired".to_owned());
    assert_eq!(standing(&mut town, own), (State::Joining, expired));
    // Nobody refuses it any more, and it need not wait for ever.
    town.stop(wrong, Stop::Kill);
    town.world.run_for(Duration::from_secs(15 * 60)).unwrap();
    assert_eq!(standing(&mut town, own).0, State::Connected);
}
