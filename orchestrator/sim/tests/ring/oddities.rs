//! Starts that should not happen, and do.

use std::time::Duration;

use atoll_core::wire::Address;
use atoll_topology::HostId;

use crate::town::Town;

fn address(first: u8) -> Address {
    let mut bytes = [0; Address::LEN];
    bytes[0] = first;
    Address::from_bytes(bytes)
}

#[test]
fn a_member_that_is_its_own_bootstrap_rests() {
    let mut town = Town::new(2, "none", 1);
    town.start_at(HostId(0), address(1), &[HostId(0)]);
    town.world.run_for(Duration::from_secs(60)).unwrap();
    assert!(town.world.traffic(HostId(0)).sent_datagrams < 100, "{:?}", town.world.traffic(HostId(0)));
    town.start_at(HostId(1), address(2), &[HostId(0)]);
    town.completes_within(Duration::from_secs(10));
}

#[test]
fn a_member_whose_bootstrap_has_its_own_private_address_rests() {
    let mut town = Town::new(30, "cones", 1);
    let home = town.hosts().into_iter().find(|host| !town.world.internet().host(*host).is_public()).unwrap();
    town.start_at(home, address(1), &[home]);
    town.world.run_for(Duration::from_secs(60)).unwrap();
    assert!(town.world.traffic(home).sent_datagrams < 100, "{:?}", town.world.traffic(home));
}

#[test]
fn a_bootstrap_that_is_named_twice_is_dialled_once() {
    let mut town = Town::new(3, "none", 1);
    town.start_at(HostId(0), address(1), &[HostId(2); 5]);
    town.world.run_for(Duration::from_millis(10)).unwrap();
    assert_eq!(town.world.traffic(HostId(0)).sent_datagrams, 1);
}

#[test]
fn a_bootstrap_that_starts_later_is_found() {
    let mut town = Town::new(2, "none", 1);
    town.start_at(HostId(1), address(2), &[HostId(0)]);
    town.world.run_for(Duration::from_secs(20)).unwrap();
    town.start_at(HostId(0), address(1), &[]);
    town.completes_within(Duration::from_secs(60));
}

#[test]
fn two_that_know_only_each_other_and_start_at_once_form_a_ring() {
    let mut town = Town::new(2, "none", 1);
    town.start_at(HostId(0), address(1), &[HostId(1)]);
    town.start_at(HostId(1), address(2), &[HostId(0)]);
    town.completes_within(Duration::from_secs(10));
}

#[test]
fn members_next_to_each_other_on_the_ring_find_each_other() {
    let mut town = Town::new(30, "none", 1);
    for host in town.hosts() {
        let mut bytes = [0; Address::LEN];
        bytes[Address::LEN - 1] = host.0 as u8;
        town.start_at(host, Address::from_bytes(bytes), &[HostId(0)][..usize::from(host.0 > 0)]);
    }
    town.completes_within(Duration::from_secs(30));
}
