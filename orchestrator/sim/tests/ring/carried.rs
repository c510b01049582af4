//! Datagrams of programs that secure themselves, carried by the ring.

use std::time::Duration;

use atoll_core::wire::{Address, CARRIED_MAX};
use atoll_topology::HostId;

use crate::town::Town;

const FROM: HostId = HostId(3);
const TO: HostId = HostId(20);
const WAIT: Duration = Duration::from_secs(5);

fn town() -> Town {
    let mut town = Town::new(30, "cones", 1).secured("dtls");
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    town
}

#[test]
fn a_carried_datagram_arrives_as_it_was_with_the_address_that_its_packet_names() {
    let mut town = town();
    let (from, to) = (town.member(FROM), town.member(TO));
    town.world.carry(FROM, (0, to), b"hello");
    town.world.carry(FROM, (0, to), b"");
    town.world.run_for(WAIT).unwrap();
    let arrived = town.world.take_carried();
    let arrived: Vec<_> =
        arrived.iter().map(|one| (one.host, one.overlay, one.from, &one.payload[..])).collect();
    assert_eq!(arrived, [(TO, 0, from, &b"hello"[..]), (TO, 0, from, b"")]);
    assert!(town.world.take_received().is_empty(), "no application was meant");
}

#[test]
fn the_longest_datagram_arrives_and_a_longer_one_is_told_and_counted() {
    let mut town = town();
    let to = town.member(TO);
    town.world.carry(FROM, (0, to), &[7; CARRIED_MAX]);
    town.world.run_for(WAIT).unwrap();
    assert_eq!(town.world.take_carried()[0].payload, [7; CARRIED_MAX]);
    assert_eq!(town.metric(FROM, "atoll_drops_total", "too_big"), 0.0);
    town.world.carry(FROM, (0, to), &[7; CARRIED_MAX + 1]);
    town.world.run_for(WAIT).unwrap();
    assert!(town.world.take_carried().is_empty());
    assert_eq!(town.metric(FROM, "atoll_drops_total", "too_big"), 1.0);
    assert_eq!(town.not_sent(FROM), [(to, "too_big".to_owned())]);
}

#[test]
fn a_datagram_for_nobody_is_lost_without_a_word() {
    let mut town = town();
    let nobody = Address::from_bytes([0x77; Address::LEN]);
    town.world.carry(FROM, (0, nobody), b"hello");
    let own = town.member(FROM);
    town.world.carry(FROM, (0, own), b"hello");
    town.world.run_for(WAIT).unwrap();
    assert!(town.world.take_carried().is_empty() && town.not_sent(FROM).is_empty());
}
